-- The facts as records, for readers who think in events and days. Test runs are a table already. Each view reads as its reader.

set lock_timeout = '2s';
set statement_timeout = '60s';

drop view if exists metrics.pull_request_events;

create view metrics.pull_request_events
with (security_invoker = true)
as
select
  r.repository_id,
  o.full_name as repository,
  p.number,
  e.event,
  e.happened_at,
  e.actor,
  e.actor_is_bot,
  p.title,
  p.head_branch,
  p.base_branch,
  e.commit_sha,
  e.url
from metrics.pull_requests as p
join metrics.repository_references as r
  on r.id = p.reference_id
join metrics.repositories as o
  on o.id = r.repository_id
cross join lateral (
  select 'opened' as event, p.opened_at as happened_at, p.author as actor, p.author_is_bot as actor_is_bot, null::text as commit_sha, p.url
  union all
  select 'ready', t.at, null, null, null, p.url
  from unnest(p.ready_times) as t (at)
  union all
  select coalesce('review_' || v.state, 'review'), v.submitted_at, v.reviewer, v.reviewer_is_bot, null, v.url
  from metrics.reviews as v
  where v.reference_id = p.reference_id
    and v.pull_request_number = p.number
  union all
  select case p.state when 'merged' then 'merged' else 'closed' end, coalesce(p.merged_at, p.closed_at), null, null, p.merge_sha, p.url
  where p.state in ('merged', 'closed')
) as e
where e.happened_at is not null;

comment on view metrics.pull_request_events is 'What happened to pull requests: one row each time that one was opened, marked ready, reviewed, merged or closed.';
comment on column metrics.pull_request_events.repository_id is 'Repository.';
comment on column metrics.pull_request_events.repository is 'Owner and name; NULL where no sender said it.';
comment on column metrics.pull_request_events.number is 'Number of the pull request.';
comment on column metrics.pull_request_events.event is 'opened, ready, review_ with the state of the review, merged or closed.';
comment on column metrics.pull_request_events.happened_at is 'When.';
comment on column metrics.pull_request_events.actor is 'Login of the author or reviewer, where the sender says.';
comment on column metrics.pull_request_events.actor_is_bot is 'Whether that is a bot.';
comment on column metrics.pull_request_events.title is 'Title of the pull request.';
comment on column metrics.pull_request_events.head_branch is 'Branch that it comes from.';
comment on column metrics.pull_request_events.base_branch is 'Branch that it goes to.';
comment on column metrics.pull_request_events.commit_sha is 'Commit that it became when merged.';
comment on column metrics.pull_request_events.url is 'Link to the provider.';

drop view if exists metrics.deployment_events;

create view metrics.deployment_events
with (security_invoker = true)
as
select
  r.repository_id,
  o.full_name as repository,
  d.external_id,
  e.event,
  e.happened_at,
  d.name,
  d.environment,
  d.environment_tier,
  d.commit_sha,
  e.outcome,
  d.actor,
  d.actor_is_bot,
  d.url
from metrics.deployments as d
join metrics.repository_references as r
  on r.id = d.reference_id
join metrics.repositories as o
  on o.id = r.repository_id
cross join lateral (
  values
    ('created', d.created_at, null),
    ('started', d.started_at, null),
    ('finished', case when d.status = 'finished' then d.finished_at end, d.outcome)
) as e (event, happened_at, outcome)
where e.happened_at is not null;

comment on view metrics.deployment_events is 'What happened to deployments: one row each time that one was created, started or finished.';
comment on column metrics.deployment_events.repository_id is 'Repository.';
comment on column metrics.deployment_events.repository is 'Owner and name; NULL where no sender said it.';
comment on column metrics.deployment_events.external_id is 'The sender''s id of the deployment.';
comment on column metrics.deployment_events.event is 'created, started or finished.';
comment on column metrics.deployment_events.happened_at is 'When.';
comment on column metrics.deployment_events.name is 'What was deployed or how, in the sender''s word.';
comment on column metrics.deployment_events.environment is 'Name of the environment.';
comment on column metrics.deployment_events.environment_tier is 'production, staging, development or other, where the sender says.';
comment on column metrics.deployment_events.commit_sha is 'Commit that was deployed.';
comment on column metrics.deployment_events.outcome is 'How it ended, of finished.';
comment on column metrics.deployment_events.actor is 'Login of who deployed.';
comment on column metrics.deployment_events.actor_is_bot is 'Whether that is a bot.';
comment on column metrics.deployment_events.url is 'Link to the provider.';

drop view if exists metrics.rule_compliance_events;

create view metrics.rule_compliance_events
with (security_invoker = true)
as
select
  r.repository_id,
  o.full_name as repository,
  k.external_id,
  k.checked_at as happened_at,
  k.rule,
  k.category,
  k.status,
  k.commit_sha,
  k.pull_request_number,
  k.run_external_id,
  k.detail,
  k.url
from metrics.rule_checks as k
join metrics.repository_references as r
  on r.id = k.reference_id
join metrics.repositories as o
  on o.id = r.repository_id;

comment on view metrics.rule_compliance_events is 'Outcomes of rules: one row for each check of one.';
comment on column metrics.rule_compliance_events.repository_id is 'Repository.';
comment on column metrics.rule_compliance_events.repository is 'Owner and name; NULL where no sender said it.';
comment on column metrics.rule_compliance_events.external_id is 'The sender''s id of the check.';
comment on column metrics.rule_compliance_events.happened_at is 'When it was checked.';
comment on column metrics.rule_compliance_events.rule is 'Name of the rule.';
comment on column metrics.rule_compliance_events.category is 'Category of the rule.';
comment on column metrics.rule_compliance_events.status is 'compliant, violation or warning.';
comment on column metrics.rule_compliance_events.commit_sha is 'Commit that was checked.';
comment on column metrics.rule_compliance_events.pull_request_number is 'Pull request that was checked.';
comment on column metrics.rule_compliance_events.run_external_id is 'Run that was checked.';
comment on column metrics.rule_compliance_events.detail is 'What was found.';
comment on column metrics.rule_compliance_events.url is 'Link to the provider.';

drop view if exists metrics.daily_development_metrics;

-- Each day is looked up by itself, so that a condition on day reads those days alone; and its midnights once, not for each repository.
create view metrics.daily_development_metrics
with (security_invoker = true)
as
select d.day, m.metric, m.value, m.unit, m.sample_size
from (
  select
    g.id as generation,
    s.at::date as day,
    m.starts_at,
    m.ends_at,
    f.first_deployed_at
  from metrics.generations as g
  cross join lateral (
    select min(e.at) as first_deployed_at
    from metrics.services as v
    cross join lateral (
      select t.at
      from metrics.service_deployments as t
      where t.generation = g.id
        and t.service_id = v.id
        and t.outcome = 'success'
      order by t.at
      limit 1
    ) as e
    where v.generation = g.id
  ) as f
  cross join lateral generate_series(
    (now() at time zone g.time_zone)::date - interval '399 days',
    (now() at time zone g.time_zone)::date,
    interval '1 day'
  ) as s (at)
  cross join lateral (
    select metrics.midnight(s.at::date, g.time_zone) as starts_at, metrics.midnight(s.at::date + 1, g.time_zone) as ends_at
    offset 0
  ) as m
  where g.state = 'current'
) as d
cross join lateral (
  select
    'deployment_frequency' as metric,
    -- Before the first one there is no telling whether anybody would have said so.
    case when d.first_deployed_at < d.ends_at then count(e.at) end::double precision as value,
    'deployments' as unit,
    count(e.at) as sample_size
  from metrics.services as s
  cross join lateral (
    select t.at
    from metrics.service_deployments as t
    where t.generation = d.generation
      and t.service_id = s.id
      and t.outcome = 'success'
      and t.at >= d.starts_at
      and t.at < d.ends_at
    offset 0
  ) as e
  where s.generation = d.generation
  union all
  select 'change_lead_time', percentile_disc(0.5) within group (order by c.lead_seconds), 'seconds', count(c.lead_seconds)
  from metrics.services as s
  cross join lateral (
    select t.lead_seconds
    from metrics.changes as t
    where t.generation = d.generation
      and t.service_id = s.id
      and t.shipped_at >= d.starts_at
      and t.shipped_at < d.ends_at
      and t.exclusion is null
    offset 0
  ) as c
  where s.generation = d.generation
  union all
  select 'pull_request_cycle_time', percentile_disc(0.5) within group (order by p.total_seconds), 'seconds', count(p.total_seconds)
  from metrics.repository_references as r
  cross join lateral (
    select t.total_seconds
    from metrics.pull_requests as t
    where t.reference_id = r.id
      and t.merged_at >= d.starts_at
      and t.merged_at < d.ends_at
    offset 0
  ) as p
  union all
  select v.metric, v.value, v.unit, v.sample_size
  from (
    select
      count(*) filter (where p.outcome = 'success') as success,
      count(*) filter (where p.outcome in ('success', 'failure', 'timed_out', 'error')) as decided,
      percentile_disc(0.5) within group (order by p.duration_seconds) as duration,
      count(p.duration_seconds) as durations
    from metrics.repository_references as r
    cross join lateral (
      select t.outcome, t.duration_seconds
      from metrics.pipeline_runs as t
      where t.reference_id = r.id
        and t.ended_at >= d.starts_at
        and t.ended_at < d.ends_at
      offset 0
    ) as p
  ) as o
  cross join lateral (
    values
      ('pipeline_success_rate', o.success::double precision / nullif(o.decided, 0), 'ratio', o.decided),
      ('pipeline_duration', o.duration, 'seconds', o.durations)
  ) as v (metric, value, unit, sample_size)
  union all
  select 'test_pass_rate', sum(t.passed)::double precision / nullif(sum(t.passed + t.failed), 0), 'ratio', coalesce(sum(t.passed + t.failed), 0)
  from metrics.repository_references as r
  cross join lateral (
    select coalesce(u.passed_count, 0) as passed, coalesce(u.failed_count, 0) + coalesce(u.error_count, 0) as failed
    from metrics.test_runs as u
    where u.reference_id = r.id
      and u.started_at >= d.starts_at
      and u.started_at < d.ends_at
    offset 0
  ) as t
  union all
  select 'rule_compliance_rate', count(*) filter (where k.status = 'compliant')::double precision / nullif(count(k.status), 0), 'ratio', count(k.status)
  from metrics.repository_references as r
  cross join lateral (
    select c.status
    from metrics.rule_checks as c
    where c.reference_id = r.id
      and c.checked_at >= d.starts_at
      and c.checked_at < d.ends_at
    offset 0
  ) as k
) as m;

comment on view metrics.daily_development_metrics is 'A number for each of the last 400 days and each metric, of all repositories that the reader may read; NULL where there is nothing to count. A function says more, and of any period: the one of that name; pipeline_health of pipelines, test_health of tests, rule_compliance of rules.';
comment on column metrics.daily_development_metrics.day is 'The day, in the installation''s time zone.';
comment on column metrics.daily_development_metrics.metric is 'deployment_frequency (successful production deployments), change_lead_time, pull_request_cycle_time, pipeline_duration (medians), pipeline_success_rate, test_pass_rate or rule_compliance_rate.';
comment on column metrics.daily_development_metrics.value is 'The number; NULL where there is nothing to count.';
comment on column metrics.daily_development_metrics.unit is 'deployments, seconds or ratio.';
comment on column metrics.daily_development_metrics.sample_size is 'How many deployments, changes, pull requests, runs, tests or checks it is of.';
