begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(3);

-- Where clocks go back over midnight, in one night of each year, two moments are midnight.
update metrics.settings set time_zone = 'America/Havana';
update metrics.generations set time_zone = 'America/Havana' where state = 'current';
create temporary table nights as
select d.day, metrics.midnight(d.day, 'America/Havana') as begins_at
from (
  select ((now() at time zone 'America/Havana')::date - i.n) as day
  from generate_series(3, 390) as i (n)
) as d
where metrics.midnight(d.day, 'America/Havana') <> d.day::timestamp at time zone 'America/Havana'
order by d.day desc
limit 1;
select is((select count(*) from nights), 1::bigint, 'the last year has such a night');

select metrics.ingest(
  jsonb_build_object('source', 'github', 'delivery_id', '1', 'sha256', repeat('00', 32), 'size', 2, 'result', 'stored'),
  jsonb_build_object(
    'pipeline_runs', (
      select jsonb_agg(jsonb_build_object(
        'repository', 'github:1', 'external_id', m.minutes::text, 'status', 'finished', 'outcome', 'success',
        'started_at', n.begins_at + make_interval(mins => m.minutes - 5), 'finished_at', n.begins_at + make_interval(mins => m.minutes)
      ))
      from nights as n
      cross join (values (-30), (30), (90)) as m (minutes)
    ),
    'test_runs', (
      select jsonb_agg(jsonb_build_object(
        'repository', 'github:1', 'external_id', m.minutes::text, 'passed_count', 1, 'started_at', n.begins_at + make_interval(mins => m.minutes)
      ))
      from nights as n
      cross join (values (-30), (30), (90)) as m (minutes)
    )
  )
);
select results_eq(
  $$
    select d.metric, d.day - n.day, d.sample_size::bigint
    from metrics.daily_development_metrics as d
    join nights as n
      on d.day between n.day - 1 and n.day + 1
    where d.metric in ('pipeline_success_rate', 'test_pass_rate')
    order by 1, 2
  $$,
  $$values
    ('pipeline_success_rate', -1, 1::bigint), ('pipeline_success_rate', 0, 2), ('pipeline_success_rate', 1, 0),
    ('test_pass_rate', -1, 1), ('test_pass_rate', 0, 2), ('test_pass_rate', 1, 0)$$,
  'a day of the records begins with the first of them'
);
select results_eq(
  $$
    select h.bucket_start - n.day, h.success
    from nights as n
    cross join lateral metrics.pipeline_health(since => n.day - 1, until => n.day + 2, bucket => 'day') as h
    order by 1
  $$,
  $$values (-1, 1::bigint), (0, 2), (1, 0)$$,
  'as one of the numbers does'
);

select * from finish();
rollback;
