begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(5);

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

create function pg_temp.partitions()
returns setof text
language sql
as $$
  select c.relname::text
  from pg_catalog.pg_inherits as i
  join pg_catalog.pg_class as c
    on c.oid = i.inhrelid
  where i.inhparent = 'metrics.bodies'::regclass
    and c.relname <> 'bodies_default'
$$;
select results_eq(
  'select partition from pg_temp.partitions() as partition order by 1',
  $$
    select to_char(week, '"bodies_"YYYYMMDD')
    from generate_series(
      date_trunc('week', (now() at time zone 'UTC')::date)::timestamp,
      (now() at time zone 'UTC')::date + (select greatest(body_days, quarantined_body_days) + 14 from metrics.settings),
      interval '7 days'
    ) as week
    order by 1
  $$,
  'one for each week in which a body of the next two weeks may end'
);
create table metrics.bodies_20010101 partition of metrics.bodies for values from ('2001-01-01') to ('2001-01-08');
insert into metrics.bodies (source, delivery_id, expires_on, body)
values ('github', 'old', '2001-01-07', 'old');
select is(metrics.maintain() ->> 'partitions_dropped', '1', 'a week that is over is dropped');
select hasnt_table('metrics', 'bodies_20010101', 'as a whole');
select is(metrics.maintain() -> 'done', 'true'::jsonb, 'then there is nothing to do');
select is_empty($$
  select relname
  from pg_catalog.pg_class
  where oid in (select format('metrics.%I', partition)::regclass from pg_temp.partitions() as partition)
    and not relrowsecurity
$$, 'each partition has row level security of its own');

select * from finish();
rollback;
