begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(3);

-- A delivery from GitHub; its bytes are its id.
create function pg_temp.tell(id text, facts jsonb)
returns jsonb
language sql
as $$
  select metrics.ingest(
    jsonb_build_object(
      'source', 'github',
      'delivery_id', id,
      'event', 'told',
      'sha256', encode(sha256(convert_to(id, 'UTF8')), 'hex'),
      'size', length(id),
      'content_type', 'application/json',
      'result', 'stored'
    ),
    facts,
    encode(convert_to(id, 'UTF8'), 'base64')
  )
$$;

do $$
declare
  partition regclass;
begin
  for partition in
    select inhrelid::regclass
    from pg_catalog.pg_inherits
    where inhparent = 'metrics.bodies'::regclass
      and inhrelid <> 'metrics.bodies_default'::regclass
  loop
    execute format('drop table %s', partition);
  end loop;
end
$$;
select is(pg_temp.tell('one', '{}') ->> 'result', 'stored', 'the delivery is not refused');
select is((select count(*) from metrics.bodies_default), 1::bigint, 'its body lies in the default partition');
select is((select body from metrics.bodies), 'one'::bytea, 'and is found');

select * from finish();
rollback;
