begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(4);

select is((select proconfig @> array['lock_timeout=1s'] from pg_catalog.pg_proc where oid = 'metrics.maintain(integer)'::regprocedure), true, 'after a second it is left for the next call');
-- What another session would hold cannot be held here; a week that the default partition already serves is left alone in the same way.
update metrics.settings set body_days = 200 where true;
insert into metrics.bodies (source, delivery_id, expires_on, body)
values ('github', 'far', (now() at time zone 'UTC')::date + 150, 'far');
select is((metrics.maintain() ->> 'partitions_waiting')::integer, 1, 'one week waits');
select is((select count(*) from metrics.bodies_default), 1::bigint, 'its body stays where it is');
select is((select count(*) from metrics.bodies where delivery_id = 'far'), 1::bigint, 'and is found');

select * from finish();
rollback;
