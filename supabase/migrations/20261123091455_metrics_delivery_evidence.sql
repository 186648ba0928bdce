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
-- A page is read in the order of an index, of each service, whatever the planner guesses of how much the caller may read.
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
  rows_in_all bigint;
begin
  select
    coalesce(array_agg(s.service_id), '{}'),
    coalesce(array_agg(s.repository_id), '{}'),
    coalesce(array_agg(s.label), '{}'),
    coalesce(array_agg(s.repository_label), '{}')
  into service_ids, repository_ids, labels, names
  from metrics.selected_services((asked).generation, service, repository, team) as s;

  if about = 'deployments' then
    rows_in_all := (
      select count(*)
      from unnest(service_ids, repository_ids, labels, names) as c (service_id, repository_id, label, name)
      join metrics.service_deployments as t
        on t.generation = (asked).generation
        and t.service_id = c.service_id
        and t.at >= starts_at
        and t.at < ends_at
      where true
        and (environment is null or t.environment = environment)
    );
    return query
    select
      e.happened_at,
      e.repository,
      e.service,
      e.kind,
      e.external_id,
      e.commit_sha,
      e.title,
      e.value,
      e.unit,
      e.reason,
      coalesce(e.url, metrics.deployment_url(e.kind, e.reference_id, e.external_id)),
      e.detail,
      metrics.evidence_page_key(e.happened_at, e.repository, e.kind, e.place),
      rows_in_all
    from (
      select
        t.at as happened_at, c.name as repository, c.label as service, t.kind, t.external_id, t.commit_sha,
        t.environment as title, null::double precision as value, null as unit, case when t.outcome = 'failure' then 'failed_attempt' when t.is_first then 'first_deployment' when t.is_redeploy then 'redeploy' end as reason, t.reference_id, null::text as url, jsonb_strip_nulls(jsonb_build_object('began_at', t.began_at, 'outcome', t.outcome, 'rollout', t.member_ids, 'has_place', t.position is not null)) as detail, t.place
      from unnest(service_ids, repository_ids, labels, names) as c (service_id, repository_id, label, name)
      cross join lateral (
        select t.*, (t.external_id || ' ' || c.label) as place
        from metrics.service_deployments as t
        where t.generation = (asked).generation
          and t.service_id = c.service_id
          and t.at >= begins_at
          and t.at < ends_at
          and true
          and (environment is null or t.environment = environment)
          and (
            after.happened_at is null
            or (t.at, c.name collate "C", t.kind collate "C", (t.external_id || ' ' || c.label) collate "C")
              > (after.happened_at, after.repository collate "C", after.kind collate "C", after.external_id collate "C")
          )
        order by t.at, t.external_id collate "C"
        limit (asked).page_size
      ) as t
    ) as e
    order by e.happened_at, e.repository collate "C", e.kind collate "C", e.place collate "C"
    limit (asked).page_size;
    return;
  end if;

  if about = 'failures' then
    rows_in_all := (
      select sum(u.n)
      from (
        select count(*) as n
        from unnest(service_ids, repository_ids, labels, names) as c (service_id, repository_id, label, name)
        join metrics.service_deployments as t
          on t.generation = (asked).generation
          and t.service_id = c.service_id
          and t.at >= starts_at
          and t.at < ends_at
        where t.outcome = 'success'
          and (environment is null or t.environment = environment)
        union all
        select count(*)
        from metrics.deployment_failures as f
        where f.generation = (asked).generation
        and f.failed_id is null
        and f.at < ends_at
        and (
          f.service_id = any(service_ids)
          or (f.service_id is null and service is null and (f.repository_id = any(repository_ids) or (f.repository_id is null and not is_restricted)))
        )
          and f.at >= starts_at
      ) as u
    );
    return query
    select
      e.happened_at,
      e.repository,
      e.service,
      e.kind,
      e.external_id,
      e.commit_sha,
      e.title,
      e.value,
      e.unit,
      e.reason,
      coalesce(e.url, metrics.deployment_url(e.kind, e.reference_id, e.external_id)),
      e.detail,
      metrics.evidence_page_key(e.happened_at, e.repository, e.kind, e.place),
      rows_in_all
    from (
      select *
      from (
      select
        t.at as happened_at, c.name as repository, c.label as service, t.kind, t.external_id, t.commit_sha,
        t.environment as title, (t.causes is not null)::integer::double precision as value, 'failed' as unit, array_to_string(t.causes, ', ') as reason, t.reference_id, null::text as url, jsonb_strip_nulls(jsonb_build_object('failures', (
          select jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
            'cause', f.cause,
            'mended_by', m.external_id,
            'mended_by_url', metrics.deployment_url(m.kind, m.reference_id, m.external_id),
            'incident', f.incident_external_id,
            'incident_source', f.incident_source,
            'incident_url', i.url,
            'at', f.at,
            'ended_at', f.ended_at
          )) order by f.at, f.cause)
          from metrics.deployment_failures as f
          left join metrics.service_deployments as m
            on m.id = f.mended_by
          left join metrics.incidents as i
            on i.source = f.incident_source
            and i.external_id = f.incident_external_id
          where f.failed_id = t.id
        ))) as detail, t.place
      from unnest(service_ids, repository_ids, labels, names) as c (service_id, repository_id, label, name)
      cross join lateral (
        select t.*, (t.external_id || ' ' || c.label) as place
        from metrics.service_deployments as t
        where t.generation = (asked).generation
          and t.service_id = c.service_id
          and t.at >= begins_at
          and t.at < ends_at
          and t.outcome = 'success'
          and (environment is null or t.environment = environment)
          and (
            after.happened_at is null
            or (t.at, c.name collate "C", t.kind collate "C", (t.external_id || ' ' || c.label) collate "C")
              > (after.happened_at, after.repository collate "C", after.kind collate "C", after.external_id collate "C")
          )
        order by t.at, t.external_id collate "C"
        limit (asked).page_size
      ) as t
        union all
        select
          f.at,
          coalesce(metrics.repository_label(f.repository_id), ''),
          metrics.service_label(f.service_id),
          'incident',
          f.incident_external_id,
          i.commit_sha,
          i.title,
          null,
          null,
          'unlinked',
          null,
          i.url,
          jsonb_strip_nulls(jsonb_build_object('source', f.incident_source, 'ended_at', f.ended_at)),
          f.incident_source || ' ' || f.incident_external_id
        from metrics.deployment_failures as f
        join metrics.incidents as i
          on i.source = f.incident_source
          and i.external_id = f.incident_external_id
        where f.generation = (asked).generation
        and f.failed_id is null
        and f.at < ends_at
        and (
          f.service_id = any(service_ids)
          or (f.service_id is null and service is null and (f.repository_id = any(repository_ids) or (f.repository_id is null and not is_restricted)))
        )
          and f.at >= begins_at
          and (
            after.happened_at is null
            or (f.at, coalesce(metrics.repository_label(f.repository_id), '') collate "C", 'incident' collate "C", (f.incident_source || ' ' || f.incident_external_id) collate "C")
              > (after.happened_at, after.repository collate "C", after.kind collate "C", after.external_id collate "C")
          )
      ) as u
    ) as e
    order by e.happened_at, e.repository collate "C", e.kind collate "C", e.place collate "C"
    limit (asked).page_size;
    return;
  end if;

  if about = 'recoveries' then
    rows_in_all := (
      select sum(u.n)
      from (
        select count(*) as n
        from unnest(service_ids, repository_ids, labels, names) as c (service_id, repository_id, label, name)
        join metrics.service_deployments as t
          on t.generation = (asked).generation
          and t.service_id = c.service_id
          and t.recovered_at >= starts_at
          and t.recovered_at < ends_at
        where t.causes is not null and t.recovery_seconds is not null
          and (environment is null or t.environment = environment)
        union all
        select count(*)
        from unnest(service_ids, repository_ids, labels, names) as c (service_id, repository_id, label, name)
        join metrics.service_deployments as t
          on t.generation = (asked).generation
          and t.service_id = c.service_id
          and t.at >= starts_at
          and t.at < ends_at
        where t.causes is not null and t.recovered_at is null
          and (environment is null or t.environment = environment)
      ) as u
    );
    return query
    select
      e.happened_at,
      e.repository,
      e.service,
      e.kind,
      e.external_id,
      e.commit_sha,
      e.title,
      e.value,
      e.unit,
      e.reason,
      coalesce(e.url, metrics.deployment_url(e.kind, e.reference_id, e.external_id)),
      e.detail,
      metrics.evidence_page_key(e.happened_at, e.repository, e.kind, e.place),
      rows_in_all
    from (
      select *
      from (
        select
          t.recovered_at as happened_at, c.name as repository, c.label as service, t.kind, t.external_id, t.commit_sha,
          t.environment as title, t.recovery_seconds as value, 'seconds' as unit, array_to_string(t.causes, ', ') as reason, t.reference_id, null::text as url, jsonb_strip_nulls(jsonb_build_object('deployed_at', t.at, 'failures', (
            select jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
              'cause', f.cause,
              'mended_by', m.external_id,
              'mended_by_url', metrics.deployment_url(m.kind, m.reference_id, m.external_id),
              'incident', f.incident_external_id,
              'incident_source', f.incident_source,
              'incident_url', i.url,
              'at', f.at,
              'ended_at', f.ended_at
            )) order by f.at, f.cause)
            from metrics.deployment_failures as f
            left join metrics.service_deployments as m
              on m.id = f.mended_by
            left join metrics.incidents as i
              on i.source = f.incident_source
              and i.external_id = f.incident_external_id
            where f.failed_id = t.id
          ))) as detail, t.place
        from unnest(service_ids, repository_ids, labels, names) as c (service_id, repository_id, label, name)
        cross join lateral (
          select t.*, (t.external_id || ' ' || c.label) as place
          from metrics.service_deployments as t
          where t.generation = (asked).generation
            and t.service_id = c.service_id
            and t.recovered_at >= begins_at
            and t.recovered_at < ends_at
            and t.causes is not null and t.recovery_seconds is not null
            and (environment is null or t.environment = environment)
            and (
              after.happened_at is null
              or (t.recovered_at, c.name collate "C", t.kind collate "C", (t.external_id || ' ' || c.label) collate "C")
                > (after.happened_at, after.repository collate "C", after.kind collate "C", after.external_id collate "C")
            )
          order by t.recovered_at, t.external_id collate "C"
          limit (asked).page_size
        ) as t
        union all
        select
          t.at as happened_at, c.name as repository, c.label as service, t.kind, t.external_id, t.commit_sha,
          t.environment as title, null as value, 'seconds' as unit, 'open' as reason, t.reference_id, null::text as url, jsonb_strip_nulls(jsonb_build_object('deployed_at', t.at, 'failures', (
            select jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
              'cause', f.cause,
              'mended_by', m.external_id,
              'mended_by_url', metrics.deployment_url(m.kind, m.reference_id, m.external_id),
              'incident', f.incident_external_id,
              'incident_source', f.incident_source,
              'incident_url', i.url,
              'at', f.at,
              'ended_at', f.ended_at
            )) order by f.at, f.cause)
            from metrics.deployment_failures as f
            left join metrics.service_deployments as m
              on m.id = f.mended_by
            left join metrics.incidents as i
              on i.source = f.incident_source
              and i.external_id = f.incident_external_id
            where f.failed_id = t.id
          ))) as detail, t.place
        from unnest(service_ids, repository_ids, labels, names) as c (service_id, repository_id, label, name)
        cross join lateral (
          select t.*, (t.external_id || ' ' || c.label) as place
          from metrics.service_deployments as t
          where t.generation = (asked).generation
            and t.service_id = c.service_id
            and t.at >= begins_at
            and t.at < ends_at
            and t.causes is not null and t.recovered_at is null
            and (environment is null or t.environment = environment)
            and (
              after.happened_at is null
              or (t.at, c.name collate "C", t.kind collate "C", (t.external_id || ' ' || c.label) collate "C")
                > (after.happened_at, after.repository collate "C", after.kind collate "C", after.external_id collate "C")
            )
          order by t.at, t.external_id collate "C"
          limit (asked).page_size
        ) as t
      ) as u
    ) as e
    order by e.happened_at, e.repository collate "C", e.kind collate "C", e.place collate "C"
    limit (asked).page_size;
    return;
  end if;

  if about = 'rework' then
    rows_in_all := (
      select count(*)
      from unnest(service_ids, repository_ids, labels, names) as c (service_id, repository_id, label, name)
      join metrics.service_deployments as t
        on t.generation = (asked).generation
        and t.service_id = c.service_id
        and t.at >= starts_at
        and t.at < ends_at
      where t.outcome = 'success'
        and (environment is null or t.environment = environment)
    );
    return query
    select
      e.happened_at,
      e.repository,
      e.service,
      e.kind,
      e.external_id,
      e.commit_sha,
      e.title,
      e.value,
      e.unit,
      e.reason,
      coalesce(e.url, metrics.deployment_url(e.kind, e.reference_id, e.external_id)),
      e.detail,
      metrics.evidence_page_key(e.happened_at, e.repository, e.kind, e.place),
      rows_in_all
    from (
      select
        t.at as happened_at, c.name as repository, c.label as service, t.kind, t.external_id, t.commit_sha,
        t.environment as title, t.is_rework::integer::double precision as value, 'rework' as unit, case when t.is_rework then 'rework' end as reason, t.reference_id, null::text as url, jsonb_strip_nulls(jsonb_build_object('mended', (
          select jsonb_agg(jsonb_build_object('cause', f.cause, 'failed', o.external_id, 'failed_url', metrics.deployment_url(o.kind, o.reference_id, o.external_id)) order by o.at, f.cause)
          from metrics.deployment_failures as f
          join metrics.service_deployments as o
            on o.id = f.failed_id
          where f.mended_by = t.id
        ))) as detail, t.place
      from unnest(service_ids, repository_ids, labels, names) as c (service_id, repository_id, label, name)
      cross join lateral (
        select t.*, (t.external_id || ' ' || c.label) as place
        from metrics.service_deployments as t
        where t.generation = (asked).generation
          and t.service_id = c.service_id
          and t.at >= begins_at
          and t.at < ends_at
          and t.outcome = 'success'
          and (environment is null or t.environment = environment)
          and (
            after.happened_at is null
            or (t.at, c.name collate "C", t.kind collate "C", (t.external_id || ' ' || c.label) collate "C")
              > (after.happened_at, after.repository collate "C", after.kind collate "C", after.external_id collate "C")
          )
        order by t.at, t.external_id collate "C"
        limit (asked).page_size
      ) as t
    ) as e
    order by e.happened_at, e.repository collate "C", e.kind collate "C", e.place collate "C"
    limit (asked).page_size;
    return;
  end if;

  if about = 'changes' then
    rows_in_all := (
      select sum(u.n)
      from (
        select count(*) as n
        from unnest(service_ids, repository_ids, labels, names) as c (service_id, repository_id, label, name)
        join metrics.changes as t
          on t.generation = (asked).generation
          and t.service_id = c.service_id
          and t.shipped_at >= starts_at
          and t.shipped_at < ends_at
        where t.exclusion is distinct from 'no_change' and t.exclusion is distinct from 'merge_commit'
          and (with_bots or not t.is_bot)
          and (environment is null or exists (select from metrics.service_deployments as o where o.id = t.shipped_by and o.environment = environment))
        union all
        select count(*)
        from unnest(service_ids, repository_ids, labels, names) as c (service_id, repository_id, label, name)
        join metrics.changes as t
          on t.generation = (asked).generation
          and t.service_id = c.service_id
          and t.shipped_at is null
          and t.started_at >= starts_at
          and t.started_at < ends_at
        where t.exclusion in ('rewritten', 'order_unknown')
          and (with_bots or not t.is_bot)
      ) as u
    );
    return query
    select
      e.happened_at,
      e.repository,
      e.service,
      e.kind,
      e.external_id,
      e.commit_sha,
      (
        select min(m.title collate "C")
        from metrics.repository_references as f
        join metrics.repository_references as r
          on r.repository_id = f.repository_id
        join metrics.commits as m
          on m.reference_id = r.id
          and m.sha = e.commit_sha
        where f.id = e.reference_id
      ),
      e.value,
      e.unit,
      e.reason,
      coalesce(e.url, d.url),
      e.detail || jsonb_strip_nulls(jsonb_build_object('deployment_url', d.url)),
      metrics.evidence_page_key(e.happened_at, e.repository, e.kind, e.place),
      rows_in_all
    from (
      select *
      from (
        select
          t.shipped_at as happened_at, c.name as repository, c.label as service, 'change' as kind, t.sha as external_id, t.sha as commit_sha, t.reference_id,
          case when t.exclusion is null then t.lead_seconds end as value, 'seconds' as unit, t.exclusion as reason,
          p.url,
          d.kind as deployment_kind,
          d.reference_id as deployment_reference_id,
          d.external_id as deployment_id,
          jsonb_strip_nulls(jsonb_build_object(
            'basis', t.basis,
            'started_at', t.started_at,
            'pull_request', t.pull_request_number,
            'deployment', d.external_id
          )) as detail,
          t.place
        from unnest(service_ids, repository_ids, labels, names) as c (service_id, repository_id, label, name)
        cross join lateral (
          select t.*, (t.sha || ' ' || c.label) as place
          from metrics.changes as t
          where t.generation = (asked).generation
            and t.service_id = c.service_id
            and t.shipped_at >= begins_at and t.shipped_at < ends_at and t.exclusion is distinct from 'no_change' and t.exclusion is distinct from 'merge_commit' and (environment is null or exists (select from metrics.service_deployments as o where o.id = t.shipped_by and o.environment = environment))
            and (with_bots or not t.is_bot)
            and (
            after.happened_at is null
            or (t.shipped_at, c.name collate "C", 'change' collate "C", (t.sha || ' ' || c.label) collate "C")
              > (after.happened_at, after.repository collate "C", after.kind collate "C", after.external_id collate "C")
          )
          order by t.shipped_at, t.sha collate "C"
          limit (asked).page_size
        ) as t
        left join metrics.service_deployments as d
          on d.id = t.shipped_by
        left join metrics.pull_requests as p
          on p.reference_id = t.pull_request_reference_id
          and p.number = t.pull_request_number
        union all
        select
          t.started_at as happened_at, c.name as repository, c.label as service, 'change' as kind, t.sha as external_id, t.sha as commit_sha, t.reference_id,
          case when t.exclusion is null then t.lead_seconds end as value, 'seconds' as unit, t.exclusion as reason,
          p.url,
          d.kind as deployment_kind,
          d.reference_id as deployment_reference_id,
          d.external_id as deployment_id,
          jsonb_strip_nulls(jsonb_build_object(
            'basis', t.basis,
            'started_at', t.started_at,
            'pull_request', t.pull_request_number,
            'deployment', d.external_id
          )) as detail,
          t.place
        from unnest(service_ids, repository_ids, labels, names) as c (service_id, repository_id, label, name)
        cross join lateral (
          select t.*, (t.sha || ' ' || c.label) as place
          from metrics.changes as t
          where t.generation = (asked).generation
            and t.service_id = c.service_id
            and t.shipped_at is null and t.started_at >= begins_at and t.started_at < ends_at and t.exclusion in ('rewritten', 'order_unknown')
            and (with_bots or not t.is_bot)
            and (
            after.happened_at is null
            or (t.started_at, c.name collate "C", 'change' collate "C", (t.sha || ' ' || c.label) collate "C")
              > (after.happened_at, after.repository collate "C", after.kind collate "C", after.external_id collate "C")
          )
          order by t.started_at, t.sha collate "C"
          limit (asked).page_size
        ) as t
        left join metrics.service_deployments as d
          on d.id = t.shipped_by
        left join metrics.pull_requests as p
          on p.reference_id = t.pull_request_reference_id
          and p.number = t.pull_request_number
      ) as u
      order by happened_at, repository collate "C", kind collate "C", place collate "C"
      limit (asked).page_size
    ) as e
    cross join lateral (
      select metrics.deployment_url(e.deployment_kind, e.deployment_reference_id, e.deployment_id) as url
      offset 0
    ) as d
    order by e.happened_at, e.repository collate "C", e.kind collate "C", e.place collate "C";
    return;
  end if;
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

comment on function metrics.deployment_frequency_evidence(date, date, text, text, text, text, text, integer) is 'The production deployments behind deployment_frequency, attempts that did not reach the environment included: reason says what is special about one.';

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
