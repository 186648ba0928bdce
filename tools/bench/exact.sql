-- What the numbers would cost without anything prepared for them: exact queries over the same facts, each with the index that covers it.
-- They run as the owner, without row level security, whose condition on ctid rules out an index-only scan; what the reader may read is a
-- hashed set, as it would be in a policy. Of the change lead time even the hard part is given to them, which deployment shipped which commit:
-- a table with a row a change.

create schema bench;

create table bench.readable as
select t.repository_id, f.id as reference_id
from metrics.team_repositories as t
join metrics.repository_references as f
  on f.repository_id = t.repository_id;

create unlogged table bench.changes as
with places as materialized (
  select p.reference_id, c.sha, row_number() over (partition by p.reference_id order by p.pushed_at, c.n) as place
  from metrics.pushes as p
  cross join lateral unnest(p.commits) with ordinality as c (sha, n)
  where p.on_default_branch
),
shipping as (
  select s.reference_id, s.place, min(d.finished_at) as at
  from metrics.deployments as d
  join places as s
    on s.reference_id = d.reference_id
    and s.sha = d.commit_sha
  where d.environment_tier = 'production'
    and d.outcome = 'success'
  group by s.reference_id, s.place
)
select
  w.reference_id,
  w.shipped_at,
  extract(epoch from w.shipped_at - c.authored_at)::double precision as lead_seconds
from (
  select
    p.reference_id,
    p.sha,
    min(s.at) over (partition by p.reference_id order by p.place desc) as shipped_at
  from places as p
  left join shipping as s
    on s.reference_id = p.reference_id
    and s.place = p.place
) as w
join metrics.commits as c
  on c.reference_id = w.reference_id
  and c.sha = w.sha
where w.shipped_at >= c.authored_at
order by w.shipped_at;

create index changes_covering on bench.changes (shipped_at) include (reference_id, lead_seconds);
create index bench_runs_covering on metrics.pipeline_runs (finished_at) include (reference_id, outcome, duration_seconds, queue_seconds);
create index bench_deployments_covering on metrics.deployments (finished_at) include (reference_id, outcome)
where environment_tier = 'production';

create index bench_pull_requests_covering on metrics.pull_requests (merged_at)
  include (reference_id, coding_seconds, pickup_seconds, review_seconds, merge_seconds, total_seconds);
create index bench_tests_covering on metrics.test_runs (started_at) include (reference_id, passed_count, failed_count, error_count, skipped_count);
create index bench_rules_covering on metrics.rule_checks (checked_at) include (reference_id, status);

-- What overview says of deployments, changes, pull requests, pipelines, tests and rules; without failures, recoveries and the phase deploy,
-- which follow from more than one fact, and without bands and samples.
create function bench.overview(since timestamptz, until timestamptz)
returns table (
  deployments bigint,
  earlier_deployments bigint,
  lead_time double precision[],
  earlier_lead_time double precision[],
  coding double precision[],
  pickup double precision[],
  review double precision[],
  merge double precision[],
  total double precision[],
  success_rate double precision,
  duration double precision[],
  queue double precision[],
  pass_rate double precision,
  compliance double precision
)
language sql
stable
as $$
  select d.deployments, d.earlier_deployments, c.lead_time, e.lead_time, m.coding, m.pickup, m.review, m.merge, m.total, p.success_rate,
    p.duration, p.queue, t.pass_rate, k.compliance
  from (
    select
      count(*) filter (where d.finished_at >= overview.since) as deployments,
      count(*) filter (where d.finished_at < overview.since) as earlier_deployments
    from metrics.deployments as d
    where d.environment_tier = 'production'
      and d.outcome = 'success'
      and d.finished_at >= since - (until - since)
      and d.finished_at < until
      and d.reference_id in (select r.reference_id from bench.readable as r)
  ) as d
  cross join (
    select percentile_disc(array[0.5, 0.75, 0.95]) within group (order by c.lead_seconds) as lead_time
    from bench.changes as c
    where c.shipped_at >= since
      and c.shipped_at < until
      and c.reference_id in (select r.reference_id from bench.readable as r)
  ) as c
  cross join (
    select percentile_disc(array[0.5, 0.75, 0.95]) within group (order by c.lead_seconds) as lead_time
    from bench.changes as c
    where c.shipped_at >= since - (until - since)
      and c.shipped_at < since
      and c.reference_id in (select r.reference_id from bench.readable as r)
  ) as e
  cross join (
    select
      percentile_disc(array[0.5, 0.75, 0.95]) within group (order by m.coding_seconds) as coding,
      percentile_disc(array[0.5, 0.75, 0.95]) within group (order by m.pickup_seconds) as pickup,
      percentile_disc(array[0.5, 0.75, 0.95]) within group (order by m.review_seconds) as review,
      percentile_disc(array[0.5, 0.75, 0.95]) within group (order by m.merge_seconds) as merge,
      percentile_disc(array[0.5, 0.75, 0.95]) within group (order by m.total_seconds) as total
    from metrics.pull_requests as m
    where m.merged_at >= since
      and m.merged_at < until
      and m.reference_id in (select r.reference_id from bench.readable as r)
  ) as m
  cross join (
    select
      count(*) filter (where r.outcome = 'success')::double precision
        / nullif(count(*) filter (where r.outcome in ('success', 'failure', 'timed_out', 'error')), 0) as success_rate,
      percentile_disc(array[0.5, 0.75, 0.95]) within group (order by r.duration_seconds) as duration,
      percentile_disc(array[0.5, 0.75, 0.95]) within group (order by r.queue_seconds) as queue
    from metrics.pipeline_runs as r
    where r.finished_at >= since
      and r.finished_at < until
      and r.reference_id in (select r.reference_id from bench.readable as r)
  ) as p
  cross join (
    select sum(t.passed_count)::double precision / nullif(sum(t.passed_count + t.failed_count + t.error_count), 0) as pass_rate
    from metrics.test_runs as t
    where t.started_at >= since
      and t.started_at < until
      and t.reference_id in (select r.reference_id from bench.readable as r)
  ) as t
  cross join (
    select count(*) filter (where k.status = 'compliant')::double precision / nullif(count(k.status), 0) as compliance
    from metrics.rule_checks as k
    where k.checked_at >= since
      and k.checked_at < until
      and k.reference_id in (select r.reference_id from bench.readable as r)
  ) as k
$$;

-- Deployments and change lead time by week, the two of the five that come from many rows.
create function bench.dora(since timestamptz, until timestamptz)
returns table (week timestamptz, deployments bigint, lead_time double precision[])
language sql
stable
as $$
  select coalesce(d.week, c.week), d.deployments, c.lead_time
  from (
    select date_trunc('week', d.finished_at, 'UTC') as week, count(*) filter (where d.outcome = 'success') as deployments
    from metrics.deployments as d
    where d.environment_tier = 'production'
      and d.finished_at >= since
      and d.finished_at < until
      and d.reference_id in (select r.reference_id from bench.readable as r)
    group by 1
  ) as d
  full join (
    select
      date_trunc('week', c.shipped_at, 'UTC') as week,
      percentile_disc(array[0.5, 0.75, 0.95]) within group (order by c.lead_seconds) as lead_time
    from bench.changes as c
    where c.shipped_at >= since
      and c.shipped_at < until
      and c.reference_id in (select r.reference_id from bench.readable as r)
    group by 1
  ) as c
    on c.week = d.week
$$;

create function bench.pipeline_health(since timestamptz, until timestamptz)
returns table (week timestamptz, runs bigint, success bigint, failed bigint, duration double precision[], queue double precision[])
language sql
stable
as $$
  select
    date_trunc('week', r.finished_at, 'UTC'),
    count(*),
    count(*) filter (where r.outcome = 'success'),
    count(*) filter (where r.outcome in ('failure', 'timed_out', 'error')),
    percentile_disc(array[0.5, 0.75, 0.95]) within group (order by r.duration_seconds),
    percentile_disc(array[0.5, 0.75, 0.95]) within group (order by r.queue_seconds)
  from metrics.pipeline_runs as r
  where r.finished_at >= since
    and r.finished_at < until
    and r.reference_id in (select r.reference_id from bench.readable as r)
  group by 1
$$;
