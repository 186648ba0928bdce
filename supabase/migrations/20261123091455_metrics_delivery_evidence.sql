-- The rows behind the numbers about deployments, with links to the provider.

set lock_timeout = '2s';
set statement_timeout = '60s';

drop function if exists metrics.deployment_url(text, bigint, text);

create function metrics.deployment_url(kind text, reference bigint, id text)
returns text
language plpgsql
stable
set search_path = ''
as $$
begin
  return case kind
    when 'deployment' then (
      select d.url
      from metrics.deployments as d
      where d.reference_id = reference
        and d.external_id = id
    )
    when 'release' then (
      select l.url
      from metrics.releases as l
      where l.reference_id = reference
        and l.external_id = id
    )
    when 'pipeline_run' then (
      select p.url
      from metrics.pipeline_runs as p
      where p.reference_id = reference
        and p.external_id = regexp_replace(id, '#[0-9]+$', '')
        and p.attempt = substring(id from '#([0-9]+)$')::integer
    )
  end;
end
$$;
revoke execute on function metrics.deployment_url(text, bigint, text) from public;

comment on function metrics.deployment_url(text, bigint, text) is 'The provider''s link to a deployment of a service: what stands with the fact that told of it.';

-- Of a whole page at once: each look at the incidents asks which the caller may read.
drop function if exists metrics.failures_of(bigint[]);

create function metrics.failures_of(deployments bigint[])
returns table (failed_id bigint, failures jsonb)
language plpgsql
stable
set search_path = ''
as $$
#variable_conflict use_column
begin
  return query
  select
    f.failed_id,
    jsonb_agg(
      jsonb_strip_nulls(jsonb_build_object(
        'cause', f.cause,
        'mended_by', m.external_id,
        'mended_by_url', metrics.deployment_url(m.kind, m.reference_id, m.external_id),
        'incident', f.incident_external_id,
        'incident_source', f.incident_source,
        'incident_url', i.url,
        'at', f.at,
        'ended_at', f.ended_at
      ))
      order by f.at, f.cause
    )
  from metrics.deployment_failures as f
  left join metrics.service_deployments as m
    on m.id = f.mended_by
  left join metrics.incidents as i
    on i.source = f.incident_source
    and i.external_id = f.incident_external_id
  where f.failed_id = any(failures_of.deployments)
  group by f.failed_id;
end
$$;
revoke execute on function metrics.failures_of(bigint[]) from public;

comment on function metrics.failures_of(bigint[]) is 'Why each of these deployments of services failed: an object for each cause, with what mended it or the incident. Those that did not have no row.';

-- about: what is shown. deployments: every attempt; changes: what was shipped, and what was not; failures: successful deployments with why
-- they failed, and incidents that fit none; recoveries: failures that ended, and those that last; rework: successful deployments with what
-- they mended.
drop function if exists metrics.delivery_evidence(metrics.period, text, text, text, text, text, boolean);

create function metrics.delivery_evidence(
  asked metrics.period,
  about text,
  service text,
  repository text,
  team text,
  environment text,
  bots boolean
)
returns setof metrics.evidence
language plpgsql
stable
set search_path = ''
-- A page is read in the order of an index, of each service, whatever the planner guesses of how much the caller may read. Planned for what
-- is asked for: the other parts are left out.
set plan_cache_mode = force_custom_plan
set enable_seqscan = off
set enable_tidscan = off
as $$
#variable_conflict use_variable
declare
  with_bots constant boolean := coalesce(bots, true);
  after constant metrics.evidence_key := metrics.evidence_after(asked);
  starts_at constant timestamptz := metrics.midnight((asked).since, (asked).time_zone);
  ends_at constant timestamptz := metrics.midnight((asked).until, (asked).time_zone);
  begins_at constant timestamptz := greatest(after.happened_at, starts_at);
  is_restricted constant boolean := num_nonnulls(service, repository, team) > 0;
  service_ids bigint[];
  repository_ids bigint[];
  labels text[];
  names text[];
  marks text[];
  unlinked bigint[] := '{}';
  rows_in_all bigint;
begin
  select
    coalesce(array_agg(s.service_id), '{}'),
    coalesce(array_agg(s.repository_id), '{}'),
    coalesce(array_agg(s.label), '{}'),
    coalesce(array_agg(s.repository_label), '{}'),
    coalesce(array_agg(e'\n' || s.label || e'\n' || r.reference), '{}')
  into service_ids, repository_ids, labels, names, marks
  from metrics.selected_services((asked).generation, service, repository, team) as s
  join (
    select o.repository_id, min(o.reference collate "C") as reference
    from metrics.repository_references as o
    group by o.repository_id
  ) as r
    on r.repository_id = s.repository_id;

  if about = 'failures' then
    unlinked := array(
      select f.id
      from metrics.deployment_failures as f
      where f.generation = (asked).generation
        and f.failed_id is null
        and f.at >= starts_at
        and f.at < ends_at
        and (
          f.service_id = any(service_ids)
          or (f.service_id is null and service is null and (f.repository_id = any(repository_ids) or (f.repository_id is null and not is_restricted)))
        )
    );
  end if;

  rows_in_all := cardinality(unlinked) + (
    select coalesce(sum(u.n), 0)
    from unnest(service_ids) as c (service_id)
    cross join lateral (
      select count(*) as n
      from metrics.service_deployments as t
      where t.generation = (asked).generation
        and t.service_id = c.service_id
        and t.at >= starts_at
        and t.at < ends_at
        and (environment is null or t.environment = environment)
        and (about = 'deployments' or (about in ('failures', 'rework') and t.outcome = 'success'))
      union all
      -- Few are open: they are looked up as such, and not among all that was deployed.
      select count(*)
      from (
        select o.at, o.environment
        from metrics.service_deployments as o
        where about = 'recoveries'
          and o.generation = (asked).generation
          and o.service_id = c.service_id
          and o.causes is not null
          and o.recovered_at is null
        offset 0
      ) as t
      where t.at >= starts_at
        and t.at < ends_at
        and (environment is null or t.environment = environment)
      union all
      select count(*)
      from metrics.service_deployments as t
      where about = 'recoveries'
        and t.generation = (asked).generation
        and t.service_id = c.service_id
        and t.recovered_at >= starts_at
        and t.recovered_at < ends_at
        and t.causes is not null
        and t.recovery_seconds is not null
        and (environment is null or t.environment = environment)
      union all
      select count(*)
      from metrics.changes as t
      where about = 'changes'
        and t.generation = (asked).generation
        and t.service_id = c.service_id
        and t.shipped_at >= starts_at
        and t.shipped_at < ends_at
        and coalesce(t.exclusion, '') not in ('no_change', 'merge_commit')
        and (with_bots or not t.is_bot)
        and (environment is null or exists (select from metrics.service_deployments as o where o.id = t.shipped_by and o.environment = environment))
      union all
      select count(*)
      from metrics.changes as t
      where about = 'changes'
        and t.generation = (asked).generation
        and t.service_id = c.service_id
        and t.exclusion in ('rewritten', 'order_unknown')
        and t.shipped_at is null
        and t.started_at >= starts_at
        and t.started_at < ends_at
        and (with_bots or not t.is_bot)
    ) as u
  );

  -- Of each service whole moments are read until they are a page, so that in which order rows of one moment come is said in one place: by
  -- the key.
  return query
  with shown as materialized (
    select e.key, e.service, e.deployment, e.change, e.failure
    from (
      select d.key, c.label as service, d.deployment, null::metrics.changes as change, null::metrics.deployment_failures as failure
      from unnest(service_ids, labels, names, marks) as c (service_id, label, name, mark)
      cross join lateral (
        select k.key, t as deployment
        from metrics.service_deployments as t
        cross join lateral (select (t.at, c.name, t.kind, t.external_id, t.reference || c.mark)::metrics.evidence_key as key) as k
        where t.generation = (asked).generation
          and t.service_id = c.service_id
          and t.at >= begins_at
          and t.at < ends_at
          and (environment is null or t.environment = environment)
          and (about = 'deployments' or (about in ('failures', 'rework') and t.outcome = 'success'))
          and (after.happened_at is null or k.key > after)
        order by t.at
        fetch first ((asked).page_size) rows with ties
      ) as d
      where about not in ('changes', 'recoveries')
      union all
      select d.key, c.label, d.deployment, null, null
      from unnest(service_ids, labels, names, marks) as c (service_id, label, name, mark)
      cross join lateral (
        select k.key, u.t as deployment
        from (
          select t
          from metrics.service_deployments as t
          where t.generation = (asked).generation
            and t.service_id = c.service_id
            and t.causes is not null
            and t.recovered_at is null
          offset 0
        ) as u
        cross join lateral (
          select ((u.t).at, c.name, (u.t).kind, (u.t).external_id, (u.t).reference || c.mark)::metrics.evidence_key as key
        ) as k
        where (u.t).at >= begins_at
          and (u.t).at < ends_at
          and (environment is null or (u.t).environment = environment)
          and (after.happened_at is null or k.key > after)
        order by (u.t).at
        fetch first ((asked).page_size) rows with ties
      ) as d
      where about = 'recoveries'
      union all
      select d.key, c.label, d.deployment, null, null
      from unnest(service_ids, labels, names, marks) as c (service_id, label, name, mark)
      cross join lateral (
        select k.key, t as deployment
        from metrics.service_deployments as t
        cross join lateral (select (t.recovered_at, c.name, t.kind, t.external_id, t.reference || c.mark)::metrics.evidence_key as key) as k
        where t.generation = (asked).generation
          and t.service_id = c.service_id
          and t.recovered_at >= begins_at
          and t.recovered_at < ends_at
          and t.causes is not null
          and t.recovery_seconds is not null
          and (environment is null or t.environment = environment)
          and (after.happened_at is null or k.key > after)
        order by t.recovered_at
        fetch first ((asked).page_size) rows with ties
      ) as d
      where about = 'recoveries'
      union all
      select d.key, c.label, null, d.change, null
      from unnest(service_ids, labels, names, marks) as c (service_id, label, name, mark)
      cross join lateral (
        select k.key, t as change
        from metrics.changes as t
        cross join lateral (select (t.shipped_at, c.name, 'change', t.sha, c.mark)::metrics.evidence_key as key) as k
        where t.generation = (asked).generation
          and t.service_id = c.service_id
          and t.shipped_at >= begins_at
          and t.shipped_at < ends_at
          and coalesce(t.exclusion, '') not in ('no_change', 'merge_commit')
          and (with_bots or not t.is_bot)
          and (environment is null or exists (select from metrics.service_deployments as o where o.id = t.shipped_by and o.environment = environment))
          and (after.happened_at is null or k.key > after)
        order by t.shipped_at
        fetch first ((asked).page_size) rows with ties
      ) as d
      where about = 'changes'
      union all
      select d.key, c.label, null, d.change, null
      from unnest(service_ids, labels, names, marks) as c (service_id, label, name, mark)
      cross join lateral (
        select k.key, t as change
        from metrics.changes as t
        cross join lateral (select (t.started_at, c.name, 'change', t.sha, c.mark)::metrics.evidence_key as key) as k
        where t.generation = (asked).generation
          and t.service_id = c.service_id
          and t.exclusion in ('rewritten', 'order_unknown')
          and t.shipped_at is null
          and t.started_at >= begins_at
          and t.started_at < ends_at
          and (with_bots or not t.is_bot)
          and (after.happened_at is null or k.key > after)
        order by t.started_at
        fetch first ((asked).page_size) rows with ties
      ) as d
      where about = 'changes'
      union all
      select k.key, metrics.service_label(f.service_id), null, null, f
      from metrics.deployment_failures as f
      cross join lateral (
        select (
          f.at, coalesce(metrics.repository_label(f.repository_id), ''), 'incident', f.incident_external_id, f.incident_source
        )::metrics.evidence_key as key
      ) as k
      where f.id = any(unlinked)
        and f.at >= begins_at
        and (after.happened_at is null or k.key > after)
    ) as e
    order by e.key
    limit (asked).page_size
  ),
  failed as materialized (
    select f.failed_id, f.failures
    from metrics.failures_of(array(select (s.deployment).id from shown as s where about in ('failures', 'recoveries'))) as f
  )
  select
    (e.key).happened_at,
    nullif((e.key).repository, ''),
    e.service,
    (e.key).kind,
    (e.key).external_id,
    v.commit_sha,
    v.title,
    v.value,
    v.unit,
    v.reason,
    v.url,
    v.detail,
    metrics.evidence_page_key((e.key).happened_at, (e.key).repository, (e.key).kind, (e.key).external_id, (e.key).reference),
    rows_in_all
  from shown as e
  cross join lateral (
    select
      (e.deployment).commit_sha,
      (e.deployment).environment as title,
      p.value,
      p.unit,
      p.reason,
      metrics.deployment_url((e.deployment).kind, (e.deployment).reference_id, (e.deployment).external_id) as url,
      jsonb_strip_nulls(p.detail) as detail
    from (
      select
        ((e.deployment).outcome = 'success')::integer::double precision as value,
        'deployments' as unit,
        case
          when (e.deployment).outcome = 'failure' then 'failed_attempt'
          when (e.deployment).is_first then 'first_deployment'
          when (e.deployment).is_redeploy then 'redeploy'
        end as reason,
        jsonb_build_object(
          'began_at', (e.deployment).began_at,
          'outcome', (e.deployment).outcome,
          'rollout', (e.deployment).member_ids,
          'has_place', (e.deployment).position is not null
        ) as detail
      where about = 'deployments'
      union all
      select
        ((e.deployment).causes is not null)::integer,
        'failed',
        array_to_string((e.deployment).causes, ', '),
        jsonb_build_object('failures', (select f.failures from failed as f where f.failed_id = (e.deployment).id))
      where about = 'failures'
      union all
      select
        (e.deployment).recovery_seconds,
        'seconds',
        case when (e.deployment).recovered_at is null then 'open' else array_to_string((e.deployment).causes, ', ') end,
        jsonb_build_object(
          'deployed_at', (e.deployment).at,
          'failures', (select f.failures from failed as f where f.failed_id = (e.deployment).id)
        )
      where about = 'recoveries'
      union all
      select
        (e.deployment).is_rework::integer,
        'rework',
        case when (e.deployment).is_rework then 'rework' end,
        jsonb_build_object('mended', (
          select jsonb_agg(
            jsonb_build_object(
              'cause', f.cause,
              'failed', o.external_id,
              'failed_url', metrics.deployment_url(o.kind, o.reference_id, o.external_id)
            )
            order by o.at, f.cause
          )
          from metrics.deployment_failures as f
          join metrics.service_deployments as o
            on o.id = f.failed_id
          where f.mended_by = (e.deployment).id
        ))
      where about = 'rework'
    ) as p
    where (e.deployment).id is not null
    union all
    select
      (e.change).sha,
      (
        select min(m.title collate "C")
        from metrics.repository_references as r
        join metrics.commits as m
          on m.reference_id = r.id
          and m.sha = (e.change).sha
        where r.repository_id = (e.change).repository_id
      ),
      case when (e.change).exclusion is null then (e.change).lead_seconds end,
      'seconds',
      (e.change).exclusion,
      coalesce(
        (
          select p.url
          from metrics.pull_requests as p
          where p.reference_id = (e.change).pull_request_reference_id
            and p.number = (e.change).pull_request_number
        ),
        d.url
      ),
      jsonb_strip_nulls(jsonb_build_object(
        'basis', (e.change).basis,
        'started_at', (e.change).started_at,
        'pull_request', (e.change).pull_request_number,
        'deployment', d.external_id,
        'deployment_url', d.url
      ))
    from (select) as o
    left join lateral (
      select s.external_id, metrics.deployment_url(s.kind, s.reference_id, s.external_id) as url
      from metrics.service_deployments as s
      where s.id = (e.change).shipped_by
      offset 0
    ) as d
      on true
    where (e.change).sha is not null
    union all
    select
      i.commit_sha,
      i.title,
      null,
      null,
      'unlinked',
      i.url,
      jsonb_strip_nulls(jsonb_build_object('source', i.source, 'ended_at', (e.failure).ended_at))
    from metrics.incidents as i
    where i.source = (e.failure).incident_source
      and i.external_id = (e.failure).incident_external_id
  ) as v
  order by e.key;
end
$$;
revoke execute on function metrics.delivery_evidence(metrics.period, text, text, text, text, text, boolean) from public;

comment on function metrics.delivery_evidence(metrics.period, text, text, text, text, text, boolean) is 'One page of the rows behind a number about deployments: deployments, changes, failures, recoveries or rework.';

drop function if exists metrics.deployment_frequency_evidence(date, date, text, text, text, text, text, integer);

create function metrics.deployment_frequency_evidence(
  since date default null,
  until date default null,
  service text default null,
  repository text default null,
  team text default null,
  environment text default null,
  page_after text default null,
  page_size integer default 100
)
returns setof metrics.evidence
language plpgsql
stable
set search_path = ''
set statement_timeout = '5s'
as $$
begin
  perform metrics.require_reader();
  return query
  select *
  from metrics.delivery_evidence(
    metrics.period_of(since, until, 'none', page_after, page_size), 'deployments', service, repository, team, environment, true
  );
end
$$;
revoke execute on function metrics.deployment_frequency_evidence(date, date, text, text, text, text, text, integer) from public;

comment on function metrics.deployment_frequency_evidence(date, date, text, text, text, text, text, integer) is 'The production deployments behind deployment_frequency, attempts that did not reach the environment included: value 1 for one that counts and 0 for an attempt, reason what is special about it.';

drop function if exists metrics.change_lead_time_evidence(date, date, text, text, text, text, boolean, text, integer);

create function metrics.change_lead_time_evidence(
  since date default null,
  until date default null,
  service text default null,
  repository text default null,
  team text default null,
  environment text default null,
  bots boolean default true,
  page_after text default null,
  page_size integer default 100
)
returns setof metrics.evidence
language plpgsql
stable
set search_path = ''
set statement_timeout = '5s'
as $$
begin
  perform metrics.require_reader();
  return query
  select *
  from metrics.delivery_evidence(
    metrics.period_of(since, until, 'none', page_after, page_size), 'changes', service, repository, team, environment, bots
  );
end
$$;
revoke execute on function metrics.change_lead_time_evidence(date, date, text, text, text, text, boolean, text, integer) from public;

comment on function metrics.change_lead_time_evidence(date, date, text, text, text, text, boolean, text, integer) is 'The changes behind change_lead_time: value is the lead time in seconds, reason why a change does not count, detail its basis, pull request and deployment.';

drop function if exists metrics.change_fail_rate_evidence(date, date, text, text, text, text, text, integer);

create function metrics.change_fail_rate_evidence(
  since date default null,
  until date default null,
  service text default null,
  repository text default null,
  team text default null,
  environment text default null,
  page_after text default null,
  page_size integer default 100
)
returns setof metrics.evidence
language plpgsql
stable
set search_path = ''
set statement_timeout = '5s'
as $$
begin
  perform metrics.require_reader();
  return query
  select *
  from metrics.delivery_evidence(
    metrics.period_of(since, until, 'none', page_after, page_size), 'failures', service, repository, team, environment, true
  );
end
$$;
revoke execute on function metrics.change_fail_rate_evidence(date, date, text, text, text, text, text, integer) from public;

comment on function metrics.change_fail_rate_evidence(date, date, text, text, text, text, text, integer) is 'The successful production deployments behind change_fail_rate: value 1 for a failed one, with its causes in detail; and the incidents that belong to none.';

drop function if exists metrics.failed_deployment_recovery_time_evidence(date, date, text, text, text, text, text, integer);

create function metrics.failed_deployment_recovery_time_evidence(
  since date default null,
  until date default null,
  service text default null,
  repository text default null,
  team text default null,
  environment text default null,
  page_after text default null,
  page_size integer default 100
)
returns setof metrics.evidence
language plpgsql
stable
set search_path = ''
set statement_timeout = '5s'
as $$
begin
  perform metrics.require_reader();
  return query
  select *
  from metrics.delivery_evidence(
    metrics.period_of(since, until, 'none', page_after, page_size), 'recoveries', service, repository, team, environment, true
  );
end
$$;
revoke execute on function metrics.failed_deployment_recovery_time_evidence(date, date, text, text, text, text, text, integer) from public;

comment on function metrics.failed_deployment_recovery_time_evidence(date, date, text, text, text, text, text, integer) is 'The failed deployments behind failed_deployment_recovery_time: those that ended in the period, with the seconds, and those deployed in it that nothing has ended.';

drop function if exists metrics.deployment_rework_rate_evidence(date, date, text, text, text, text, text, integer);

create function metrics.deployment_rework_rate_evidence(
  since date default null,
  until date default null,
  service text default null,
  repository text default null,
  team text default null,
  environment text default null,
  page_after text default null,
  page_size integer default 100
)
returns setof metrics.evidence
language plpgsql
stable
set search_path = ''
set statement_timeout = '5s'
as $$
begin
  perform metrics.require_reader();
  return query
  select *
  from metrics.delivery_evidence(
    metrics.period_of(since, until, 'none', page_after, page_size), 'rework', service, repository, team, environment, true
  );
end
$$;
revoke execute on function metrics.deployment_rework_rate_evidence(date, date, text, text, text, text, text, integer) from public;

comment on function metrics.deployment_rework_rate_evidence(date, date, text, text, text, text, text, integer) is 'The successful production deployments behind deployment_rework_rate: value 1 for one that rolled back or fixed another, named in detail.';

drop function if exists metrics.dora_evidence(text, date, date, text, text, text, text, boolean, text, integer);

create function metrics.dora_evidence(
  metric text default 'deployment_frequency',
  since date default null,
  until date default null,
  service text default null,
  repository text default null,
  team text default null,
  environment text default null,
  bots boolean default true,
  page_after text default null,
  page_size integer default 100
)
returns setof metrics.evidence
language plpgsql
stable
set search_path = ''
set statement_timeout = '5s'
as $$
begin
  perform metrics.require_reader();
  return query
  select *
  from metrics.delivery_evidence(
    metrics.period_of(since, until, 'none', page_after, page_size),
    case metrics.checked_word(
        'metric',
        metric,
        array[
          'deployment_frequency', 'change_lead_time', 'change_fail_rate', 'failed_deployment_recovery_time', 'deployment_rework_rate'
        ]
      )
      when 'deployment_frequency' then 'deployments'
      when 'change_lead_time' then 'changes'
      when 'change_fail_rate' then 'failures'
      when 'failed_deployment_recovery_time' then 'recoveries'
      else 'rework'
    end,
    service,
    repository,
    team,
    environment,
    bots
  );
end
$$;
revoke execute on function metrics.dora_evidence(text, date, date, text, text, text, text, boolean, text, integer) from public;

comment on function metrics.dora_evidence(text, date, date, text, text, text, text, boolean, text, integer) is 'The rows behind one of the five numbers of dora, as its own evidence shows them.';
