begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(4);

insert into metrics.deliveries (source, delivery_id, result, sha256)
select 'github', n::text, 'stored', sha256(n::text::bytea)
from generate_series(1, 7) as n;
insert into metrics.bodies (source, delivery_id, expires_on, body)
select 'github', n::text, current_date + 1, convert_to(format('{"login":"%s"}', case when n in (2, 5, 7) then 'ann' else 'bob' end), 'UTF8')
from generate_series(1, 7) as n;

create temporary table answers as
with recursive call as (
  select 1 as n, metrics.forget_person('ann', 3) as answer
  union all
  select c.n + 1, metrics.forget_person('ann', 3, c.answer -> 'continue_after')
  from call as c
  where not (c.answer -> 'done')::boolean
    and c.n < 10
)
select *
from call;

select is((select count(*) from answers), 3::bigint, 'seven bodies are looked through in three steps of three');
select is((select array_agg((answer ->> 'erased')::integer order by n) from answers), array[1, 1, 1], 'each erases what it finds');
select is((select answer ->> 'done' from answers order by n desc limit 1), 'true', 'the last says that it is done');
select is((select array_agg(delivery_id order by delivery_id) from metrics.bodies), array['1', '3', '4', '6'], 'and the others'' bodies are left');

select * from finish();
rollback;
