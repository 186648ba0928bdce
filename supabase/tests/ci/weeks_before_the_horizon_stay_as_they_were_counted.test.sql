begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(11);

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

-- The Monday before which jobs are dropped, by the settings.
create function pg_temp.horizon()
returns date
language sql
as $$
  select date_trunc('week', ((now() - make_interval(days => job_days)) at time zone 'UTC'))::date
  from metrics.settings
$$;

create function pg_temp.job(id text, at timestamptz)
returns jsonb
language sql
as $$
  select pg_temp.tell(id, jsonb_build_object('jobs', jsonb_build_array(jsonb_build_object(
    'repository', 'github:1', 'external_id', id, 'name', 'test', 'status', 'finished', 'outcome', 'success',
    'queued_at', at - interval '70 s', 'started_at', at - interval '60 s', 'finished_at', at
  ))))
$$;

select pg_temp.job('old', (pg_temp.horizon() - 3) at time zone 'UTC');
select pg_temp.job('kept', pg_temp.horizon() at time zone 'UTC' + interval '1 hour');
create temporary table counted as
select *
from metrics.job_weeks;

select is(metrics.maintain() #>> '{deleted,jobs}', '1', 'the old job is dropped');
select set_eq('select * from metrics.job_weeks', 'select * from counted', 'and what was counted of it stays');
select results_eq(
  $$select fact, week, time_zone from metrics.frozen_weeks$$,
  $$select 'jobs', pg_temp.horizon() - 7, 'UTC'$$,
  'its week is frozen, in the zone in which it was cut'
);
select is((select before from metrics.horizons where fact = 'jobs'), pg_temp.horizon(), 'up to the horizon');
select pg_temp.job('late', (pg_temp.horizon() - 2) at time zone 'UTC');
select set_eq('select * from metrics.job_weeks', 'select * from counted', 'a job that comes late changes nothing of it');

select results_eq(
  $$select runs, is_frozen, is_exact, reason from metrics.job_health(pg_temp.horizon() - 14, pg_temp.horizon() + 7, 'week')$$,
  $$values (null::bigint, true, false, 'outside_retention'), (1, true, false, null), (1, false, false, null)$$,
  'it is read and marked; of the week before, which nobody counted, nothing is known'
);
select results_eq(
  $$select runs, reason from metrics.job_health(pg_temp.horizon() - 3, pg_temp.horizon() - 2)$$,
  $$values (null::bigint, 'outside_retention')$$,
  'and nothing of its days'
);
select results_eq(
  $$select minutes, is_frozen, reason from metrics.pipeline_cost(pg_temp.horizon() - 7, pg_temp.horizon())$$,
  $$values (1::float8, true, 'no_price')$$,
  'what it cost, too'
);
select is_empty($$select * from metrics.job_health_evidence(pg_temp.horizon() - 7, pg_temp.horizon())$$, 'its jobs are gone');
update metrics.horizons
set before = before
where fact = 'jobs';
select is(metrics.move_job_horizon(pg_temp.horizon() - 70), pg_temp.horizon(), 'the horizon never moves back');

insert into metrics.generations (state, time_zone)
values ('building', 'Asia/Tokyo');
select metrics.copy_frozen_weeks(g.id, r.id, '-infinity', 'infinity'), metrics.count_facts(g.id, r.id, '-infinity', pg_temp.horizon() - 1)
from metrics.generations as g
cross join metrics.repository_references as r
where g.state = 'building';
select results_eq(
  $$select w.week, w.success from metrics.job_weeks as w join metrics.generations as g on g.id = w.generation where g.state = 'building'$$,
  $$select pg_temp.horizon() - 7, 1$$,
  'another zone takes it over as it is'
);

select * from finish();
rollback;
