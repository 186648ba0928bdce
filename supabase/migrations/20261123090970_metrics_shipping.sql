-- What reached production: deployments of services in their order, the changes that each shipped first, and which of them failed.

set lock_timeout = '2s';
set statement_timeout = '60s';

create table if not exists metrics.service_deployments (
  id bigint generated always as identity primary key,
  generation integer not null,
  repository_id bigint not null,
  service_id bigint not null,
  kind text not null,
  reference_id bigint not null,
  external_id text not null,
  reference text not null,
  environment text not null,
  commit_sha text,
  outcome text not null,
  began_at timestamptz,
  at timestamptz,
  url text,
  member_ids text[],
  line integer,
  position bigint,
  sequence integer,
  is_first boolean not null default false,
  is_redeploy boolean not null default false,
  is_rework boolean not null default false,
  causes text[],
  recovered_at timestamptz,
  recovery_seconds double precision generated always as (
    case when recovered_at >= at then extract(epoch from recovered_at - at) end
  ) stored,
  constraint service_deployment_is_unique unique (generation, service_id, reference_id, external_id),
  constraint service_deployment_kind_is_known check (kind in ('deployment', 'pipeline_run', 'release')),
  constraint service_deployment_outcome_is_known check (outcome in ('success', 'failure'))
);

create index if not exists service_deployments_at_idx on metrics.service_deployments (generation, service_id, at);
create index if not exists service_deployments_sequence_idx
  on metrics.service_deployments (generation, service_id, environment, sequence)
  where sequence is not null;
create index if not exists service_deployments_position_idx
  on metrics.service_deployments (generation, service_id, line, position)
  where outcome = 'success' and position is not null;
create index if not exists service_deployments_commit_sha_idx on metrics.service_deployments (generation, repository_id, commit_sha);
create index if not exists service_deployments_began_at_idx
  on metrics.service_deployments (generation, service_id, began_at)
  where outcome = 'success';
create index if not exists service_deployments_recovered_at_idx
  on metrics.service_deployments (generation, service_id, recovered_at)
  where causes is not null;
create index if not exists service_deployments_member_ids_idx on metrics.service_deployments using gin (member_ids) where member_ids is not null;
create index if not exists service_deployments_external_id_idx on metrics.service_deployments (generation, reference_id, external_id);

comment on table metrics.service_deployments is 'Derived: production deployments of services, those of one rollout as one. Times are known of all.';
comment on column metrics.service_deployments.id is 'Key.';
comment on column metrics.service_deployments.generation is 'The generation that it belongs to.';
comment on column metrics.service_deployments.repository_id is 'Repository of the service.';
comment on column metrics.service_deployments.service_id is 'Service.';
comment on column metrics.service_deployments.kind is 'What told of it: deployment, pipeline_run or release.';
comment on column metrics.service_deployments.reference_id is 'Repository reference of the fact; of a rollout, of its first.';
comment on column metrics.service_deployments.external_id is 'The sender''s id of the fact; of a run with #attempt; of a rollout, of its first.';
comment on column metrics.service_deployments.reference is 'That reference as text, which decides between equal ids.';
comment on column metrics.service_deployments.environment is 'Name of the environment; of a rollout, of its first.';
comment on column metrics.service_deployments.commit_sha is 'Commit that was deployed.';
comment on column metrics.service_deployments.outcome is 'success, or failure when it did not reach the environment.';
comment on column metrics.service_deployments.began_at is 'When it began; of a rollout, the first of it.';
comment on column metrics.service_deployments.at is 'When it was done; of a rollout, the last of it.';
comment on column metrics.service_deployments.url is 'Link to the provider.';
comment on column metrics.service_deployments.member_ids is 'External ids of all deployments of the rollout; NULL for one alone.';
comment on column metrics.service_deployments.line is 'Line of moves that its commit stands on; NULL when the commit is not on the default branch.';
comment on column metrics.service_deployments.position is 'Place of its commit in the line.';
comment on column metrics.service_deployments.sequence is 'Place among the successful deployments of its service and environment.';
comment on column metrics.service_deployments.is_first is 'Whether it is the first successful one of its service.';
comment on column metrics.service_deployments.is_redeploy is 'Whether the one before it in its environment put the same commit there.';
comment on column metrics.service_deployments.is_rework is 'Whether it rolled back or fixed another one.';
comment on column metrics.service_deployments.causes is 'Why it is a failed change: rolled_back, incident, fixed_forward; NULL when it is none.';
comment on column metrics.service_deployments.recovered_at is 'When the first of what ended the failure was there.';
comment on column metrics.service_deployments.recovery_seconds is 'Seconds from its end to that.';

create table if not exists metrics.deployment_failures (
  id bigint generated always as identity primary key,
  generation integer not null,
  repository_id bigint,
  service_id bigint,
  failed_id bigint,
  cause text not null,
  mended_by bigint,
  incident_source text,
  incident_external_id text,
  at timestamptz not null,
  ended_at timestamptz,
  constraint deployment_failure_is_unique unique nulls not distinct (generation, service_id, failed_id, cause, mended_by, incident_source, incident_external_id),
  constraint cause_is_known check (cause in ('rolled_back', 'incident', 'fixed_forward')),
  constraint an_incident_or_a_deployment_is_the_cause check (
    (cause = 'incident') = (incident_source is not null and incident_external_id is not null)
    and (cause = 'incident') = (mended_by is null)
  )
);

create index if not exists deployment_failures_failed_id_idx on metrics.deployment_failures (failed_id);
create index if not exists deployment_failures_mended_by_idx on metrics.deployment_failures (mended_by);
create index if not exists deployment_failures_at_idx on metrics.deployment_failures (generation, service_id, at);
create index if not exists deployment_failures_unlinked_idx on metrics.deployment_failures (generation, at) where failed_id is null;
create index if not exists deployment_failures_incident_idx
  on metrics.deployment_failures (generation, incident_source, incident_external_id)
  where cause = 'incident';

comment on table metrics.deployment_failures is 'Derived: why a deployment is a failed change, once for each cause; and incidents that belong to none.';
comment on column metrics.deployment_failures.id is 'Key.';
comment on column metrics.deployment_failures.generation is 'The generation that it belongs to.';
comment on column metrics.deployment_failures.repository_id is 'Repository of the service, or that the incident is about.';
comment on column metrics.deployment_failures.service_id is 'Service; NULL for an incident that is about none.';
comment on column metrics.deployment_failures.failed_id is 'The failed change; NULL for an incident that belongs to no deployment.';
comment on column metrics.deployment_failures.cause is 'rolled_back, incident or fixed_forward.';
comment on column metrics.deployment_failures.mended_by is 'The deployment that rolled it back or fixed it.';
comment on column metrics.deployment_failures.incident_source is 'Source of the incident.';
comment on column metrics.deployment_failures.incident_external_id is 'The sender''s id of the incident.';
comment on column metrics.deployment_failures.at is 'When that deployment was done, or the incident was opened.';
comment on column metrics.deployment_failures.ended_at is 'When the failure ended by it; NULL while an incident lasts.';

-- What attempts there are, as deployments of a service: by deployments, runs or releases.
drop function if exists metrics.attempts_of(integer, bigint, text[], text[]);

create function metrics.attempts_of(generation integer, repository bigint, commits text[], ids text[])
returns table (
  service_id bigint,
  kind text,
  reference_id bigint,
  external_id text,
  reference text,
  environment text,
  commit_sha text,
  outcome text,
  began_at timestamptz,
  at timestamptz,
  url text,
  is_of_rollout boolean
)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
begin
  return query
  select
    s.id,
    a.kind,
    a.reference_id,
    a.external_id,
    a.reference,
    coalesce(a.environment, 'production'),
    a.commit_sha,
    case
      when a.outcome = 'success' then 'success'
      when a.outcome in ('failure', 'timed_out', 'error') then 'failure'
    end,
    a.began_at,
    a.at,
    a.url,
    coalesce(a.environment ~ s.rollout_pattern, false)
  from (
    select
      'deployment' as kind,
      d.reference_id,
      d.external_id,
      r.reference,
      d.name,
      d.environment,
      metrics.tier_of(attempts_of.generation, d.environment, d.environment_tier) as tier,
      d.commit_sha,
      d.outcome,
      coalesce(d.started_at, d.created_at, d.finished_at) as began_at,
      coalesce(d.finished_at, d.started_at, d.created_at) as at,
      d.url,
      null as pipeline
    from metrics.repository_references as r
    join metrics.deployments as d
      on d.reference_id = r.id
    where r.repository_id = repository
      and d.status = 'finished'
      and (commits is null or d.commit_sha = any(commits) or (d.commit_sha is null and d.external_id = any(ids)))
    union all
    select
      'pipeline_run',
      p.reference_id,
      p.external_id || '#' || p.attempt,
      r.reference,
      null,
      null,
      'production',
      p.commit_sha,
      p.outcome,
      coalesce(p.started_at, p.queued_at, p.finished_at),
      coalesce(p.finished_at, p.started_at, p.queued_at),
      p.url,
      p.pipeline
    from metrics.repository_references as r
    join metrics.pipeline_runs as p
      on p.reference_id = r.id
    where r.repository_id = repository
      and p.status = 'finished'
      and p.on_default_branch
      and p.pipeline in (
        select s.pipeline
        from metrics.services as s
        where s.generation = attempts_of.generation
          and s.repository_id = repository
          and s.source = 'pipeline'
      )
      and (commits is null or p.commit_sha = any(commits) or (p.commit_sha is null and p.external_id = any(ids)))
    union all
    select
      'release',
      l.reference_id,
      l.external_id,
      r.reference,
      null,
      null,
      'production',
      l.commit_sha,
      'success',
      l.published_at,
      l.published_at,
      l.url,
      null
    from metrics.repository_references as r
    join metrics.releases as l
      on l.reference_id = r.id
    where r.repository_id = repository
      and l.is_draft is not true
      and l.is_prerelease is not true
      and l.is_withdrawn is not true
      and (commits is null or l.commit_sha = any(commits) or (l.commit_sha is null and l.external_id = any(ids)))
  ) as a
  join lateral (
    select v.id, v.rollout_pattern
    from metrics.services as v
    where v.generation = attempts_of.generation
      and v.repository_id = repository
      and (
        (a.kind = 'deployment' and v.source = 'deployments')
        or (a.kind = 'pipeline_run' and v.source = 'pipeline' and v.pipeline = a.pipeline)
        or (a.kind = 'release' and v.source = 'releases')
      )
      and (v.deployment_pattern is null or a.kind <> 'deployment' or coalesce(a.name ~ v.deployment_pattern, false))
      and (v.environment_pattern is null or a.kind <> 'deployment' or coalesce(a.environment ~ v.environment_pattern, false))
    order by v.position, v.id
    limit case when a.kind = 'deployment' then 1 end
  ) as s
    on true
  where a.tier = 'production'
    and a.at is not null;
end
$$;
revoke execute on function metrics.attempts_of(integer, bigint, text[], text[]) from public;

comment on function metrics.attempts_of(integer, bigint, text[], text[]) is 'Finished production deployments of a repository''s services, of these commits (and of these ids, where they have none) or all, before those of one rollout are put together.';

-- The deployments of a repository's services as they are counted: those of one rollout are one.
drop function if exists metrics.deployments_of(integer, bigint, text[], text[]);

create function metrics.deployments_of(generation integer, repository bigint, commits text[], ids text[])
returns table (
  service_id bigint,
  kind text,
  reference_id bigint,
  external_id text,
  reference text,
  environment text,
  commit_sha text,
  outcome text,
  began_at timestamptz,
  at timestamptz,
  url text,
  member_ids text[]
)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
  rollout_time constant interval := (
    select make_interval(secs => g.rollout_seconds)
    from metrics.generations as g
    where g.id = deployments_of.generation
  );
  one record;
  first_of record;
  members text[];
  last_at timestamptz;
  least_began_at timestamptz;
  has_failed boolean;
  has_succeeded boolean;
  is_open boolean := false;
begin
  for one in
    select *
    from metrics.attempts_of(deployments_of.generation, repository, commits, ids) as a
    order by a.service_id, a.is_of_rollout, a.commit_sha, a.at, a.external_id collate "C", a.reference collate "C"
  loop
    if is_open then
      if (
        one.is_of_rollout
        and one.service_id = first_of.service_id
        and one.commit_sha = first_of.commit_sha
        and one.at <= first_of.at + rollout_time
      ) is not true then
        if has_failed or has_succeeded then
          return query select
            first_of.service_id, first_of.kind, first_of.reference_id, first_of.external_id, first_of.reference, first_of.environment,
            first_of.commit_sha, case when has_failed then 'failure' else 'success' end, least_began_at, last_at, first_of.url,
            case when cardinality(members) > 1 then members end;
        end if;
        is_open := false;
      end if;
    end if;
    if not one.is_of_rollout or one.commit_sha is null then
      if one.outcome is not null then
        return query select
          one.service_id, one.kind, one.reference_id, one.external_id, one.reference, one.environment, one.commit_sha, one.outcome,
          one.began_at, one.at, one.url, null::text[];
      end if;
    elsif is_open then
      members := members || one.external_id;
      last_at := one.at;
      least_began_at := least(least_began_at, one.began_at);
      has_failed := has_failed or coalesce(one.outcome = 'failure', false);
      has_succeeded := has_succeeded and coalesce(one.outcome = 'success', false);
    else
      first_of := one;
      members := array[one.external_id];
      last_at := one.at;
      least_began_at := one.began_at;
      has_failed := coalesce(one.outcome = 'failure', false);
      has_succeeded := coalesce(one.outcome = 'success', false);
      is_open := true;
    end if;
  end loop;
  if is_open and (has_failed or has_succeeded) then
    return query select
      first_of.service_id, first_of.kind, first_of.reference_id, first_of.external_id, first_of.reference, first_of.environment,
      first_of.commit_sha, case when has_failed then 'failure' else 'success' end, least_began_at, last_at, first_of.url,
      case when cardinality(members) > 1 then members end;
  end if;
end
$$;
revoke execute on function metrics.deployments_of(integer, bigint, text[], text[]) from public;

comment on function metrics.deployments_of(integer, bigint, text[], text[]) is 'Production deployments as they are counted: one row for all of a rollout, which failed if one of it failed and counts when all are successful.';

-- Writes the deployments of these commits again. Returns, for each service of which something changed, since when.
drop function if exists metrics.write_deployments(integer, bigint, text[], text[]);

create function metrics.write_deployments(generation integer, repository bigint, commits text[], ids text[])
returns table (service_id bigint, since timestamptz, began_since timestamptz)
language plpgsql
set search_path = ''
set enable_hashjoin = on
as $$
#variable_conflict use_column
begin
  return query
  with wanted as materialized (
    select w.*, p.line, p.position
    from metrics.deployments_of(write_deployments.generation, repository, commits, ids) as w
    left join lateral (
      select c.line, c.position
      from metrics.changes as c
      where c.generation = write_deployments.generation
        and c.repository_id = repository
        and c.sha = w.commit_sha
      limit 1
    ) as p
      on true
  ),
  stale as (
    select d.id, d.service_id, d.at, d.began_at
    from metrics.service_deployments as d
    where d.generation = write_deployments.generation
      and d.repository_id = repository
      and (commits is null or d.commit_sha = any(commits) or (d.commit_sha is null and split_part(d.external_id, '#', 1) = any(ids)))
      and not exists (
        select
        from wanted as w
        where w.service_id = d.service_id
          and w.reference_id = d.reference_id
          and w.external_id = d.external_id
      )
  ),
  unmarked as (
    delete from metrics.deployment_failures as f
    using stale as s
    where f.failed_id = s.id
      or f.mended_by = s.id
    returning f.service_id, f.failed_id
  ),
  gone as (
    delete from metrics.service_deployments as d
    using stale as s
    where d.id = s.id
    returning d.service_id, d.at, d.began_at
  ),
  old as (
    select d.service_id, d.reference_id, d.external_id, d.at, d.began_at
    from metrics.service_deployments as d
    join wanted as w
      on w.service_id = d.service_id
      and w.reference_id = d.reference_id
      and w.external_id = d.external_id
    where d.generation = write_deployments.generation
  ),
  put as (
    insert into metrics.service_deployments as t (
      generation, repository_id, service_id, kind, reference_id, external_id, reference, environment, commit_sha, outcome, began_at, at, url,
      member_ids, line, position
    )
    select
      write_deployments.generation, repository, w.service_id, w.kind, w.reference_id, w.external_id, w.reference, w.environment, w.commit_sha,
      w.outcome, w.began_at, w.at, w.url, w.member_ids, w.line, w.position
    from wanted as w
    on conflict on constraint service_deployment_is_unique do update set
      kind = excluded.kind,
      environment = excluded.environment,
      commit_sha = excluded.commit_sha,
      outcome = excluded.outcome,
      began_at = excluded.began_at,
      at = excluded.at,
      url = excluded.url,
      member_ids = excluded.member_ids,
      line = excluded.line,
      position = excluded.position,
      sequence = null,
      is_first = false,
      is_redeploy = false
    where (t.kind, t.environment, t.commit_sha, t.outcome, t.began_at, t.at, t.url, t.member_ids, t.line, t.position)
      is distinct from (
        excluded.kind, excluded.environment, excluded.commit_sha, excluded.outcome, excluded.began_at, excluded.at, excluded.url,
        excluded.member_ids, excluded.line, excluded.position
      )
    returning t.service_id, t.reference_id, t.external_id, t.at, t.began_at
  ),
  -- A deployment that was marked by one that is gone is looked at again, too.
  marked as (
    select u.service_id, d.at, d.began_at
    from unmarked as u
    join metrics.service_deployments as d
      on d.id = u.failed_id
  )
  select c.service_id, min(c.at), min(c.began_at)
  from (
    select g.service_id, g.at, g.began_at
    from gone as g
    union all
    select p.service_id, p.at, p.began_at
    from put as p
    union all
    select p.service_id, o.at, o.began_at
    from put as p
    join old as o
      on o.service_id = p.service_id
      and o.reference_id = p.reference_id
      and o.external_id = p.external_id
    union all
    select m.service_id, m.at, m.began_at
    from marked as m
  ) as c
  group by c.service_id;
end
$$;
revoke execute on function metrics.write_deployments(integer, bigint, text[], text[]) from public;

comment on function metrics.write_deployments(integer, bigint, text[], text[]) is 'Writes the production deployments of these commits, and of these ids where they have none, or all. Returns from when on each service changed.';

-- What follows from a service's deployments since a moment: their order, what each shipped first, which rolled back or fixed another.
drop function if exists metrics.ship(integer, bigint, bigint, timestamptz);

create function metrics.ship(generation integer, repository bigint, service bigint, since timestamptz)
returns void
language plpgsql
set search_path = ''
set enable_hashjoin = on
as $$
#variable_conflict use_column
declare
  marked bigint[];
begin
  -- Order.
  with tail as (
    select
      d.id,
      d.environment,
      d.commit_sha,
      row_number() over of_environment as place,
      lag(d.commit_sha) over of_environment as earlier_sha,
      row_number() over (order by d.at, d.external_id collate "C", d.reference collate "C") as place_of_all
    from metrics.service_deployments as d
    where d.generation = ship.generation
      and d.service_id = service
      and d.outcome = 'success'
      and d.at >= ship.since
    window of_environment as (
      partition by d.environment
      order by d.at, d.external_id collate "C", d.reference collate "C"
    )
  ),
  kept as (
    select e.environment, k.sequence, k.commit_sha
    from (select distinct t.environment from tail as t) as e
    cross join lateral (
      select d.sequence, d.commit_sha
      from metrics.service_deployments as d
      where d.generation = ship.generation
        and d.service_id = service
        and d.environment = e.environment
        and d.sequence is not null
        and d.outcome = 'success'
        and d.at < ship.since
      order by d.sequence desc
      limit 1
    ) as k
  ),
  ordered as (
    select
      t.id,
      coalesce(k.sequence, 0) + t.place as sequence,
      t.place_of_all = 1 and not exists (
        select
        from metrics.service_deployments as d
        where d.generation = ship.generation
          and d.service_id = service
          and d.outcome = 'success'
          and d.at < ship.since
      ) as is_first,
      coalesce(case when t.place = 1 then k.commit_sha else t.earlier_sha end = t.commit_sha, false) as is_redeploy
    from tail as t
    left join kept as k
      on k.environment = t.environment
  )
  update metrics.service_deployments as d
  set
    sequence = o.sequence,
    is_first = o.is_first,
    is_redeploy = o.is_redeploy
  from ordered as o
  where d.id = o.id
    and (d.sequence, d.is_first, d.is_redeploy) is distinct from (o.sequence, o.is_first, o.is_redeploy);

  -- Shipping. A deployment that stands further on than all before it ships what lies between.
  with tail as materialized (
    select d.id, d.line, d.position, d.at, d.is_first, d.external_id, d.reference
    from metrics.service_deployments as d
    where d.generation = ship.generation
      and d.service_id = service
      and d.outcome = 'success'
      and d.at >= ship.since
      and d.position is not null
  ),
  reached as (
    select l.line, m.position
    from (select distinct t.line from tail as t) as l
    cross join lateral (
      select d.position
      from metrics.service_deployments as d
      where d.generation = ship.generation
        and d.service_id = service
        and d.outcome = 'success'
        and d.line = l.line
        and d.position is not null
        and d.at < ship.since
      order by d.position desc
      limit 1
    ) as m
  ),
  advancing as (
    select
      t.id,
      t.line,
      t.at,
      t.is_first,
      t.position,
      greatest(
        max(t.position) over (
          partition by t.line
          order by t.at, t.external_id collate "C", t.reference collate "C"
          rows between unbounded preceding and 1 preceding
        ),
        r.position,
        -1
      ) as reached
    from tail as t
    left join reached as r
      on r.line = t.line
  ),
  assigned as materialized (
    select c.sha, a.id, a.at, a.is_first
    from advancing as a
    -- Looked up for each: what lies between is little, however much there is.
    cross join lateral (
      select o.sha, o.gone_position
      from metrics.changes as o
      where o.generation = ship.generation
        and o.service_id = service
        and o.line = a.line
        and o.position > a.reached
        and o.position <= a.position
      offset 0
    ) as c
    where a.position > a.reached
      and c.gone_position is null
    union all
    -- What was taken off the branch is only in what was deployed from before.
    select c.sha, f.id, f.at, f.is_first
    from metrics.changes as c
    cross join lateral (
      select d.id, d.at, d.is_first
      from metrics.service_deployments as d
      where d.generation = ship.generation
        and d.service_id = service
        and d.outcome = 'success'
        and d.line = c.line
        and d.position >= c.position
        and d.position < c.gone_position
      order by d.at, d.external_id collate "C", d.reference collate "C"
      limit 1
    ) as f
    where c.generation = ship.generation
      and c.repository_id = repository
      and c.service_id = service
      and c.gone_position is not null
      and f.at >= ship.since
  ),
  freed as (
    update metrics.changes as c
    set
      shipped_by = null,
      shipped_at = null,
      is_first_shipped = false
    where c.generation = ship.generation
      and c.service_id = service
      and c.shipped_at >= ship.since
      and not exists (
        select
        from assigned as a
        where a.sha = c.sha
      )
  )
  update metrics.changes as c
  set
    shipped_by = a.id,
    shipped_at = a.at,
    is_first_shipped = a.is_first,
    is_order_unknown = false
  from assigned as a
  where c.generation = ship.generation
    and c.repository_id = repository
    and c.service_id = service
    and c.sha = a.sha
    and (c.shipped_by, c.shipped_at, c.is_first_shipped, c.is_order_unknown) is distinct from (a.id, a.at, a.is_first, false);

  -- What may or may not have been deployed since, because the order of two lines is unknown.
  if exists (
    select
    from metrics.branch_moves as m
    where m.generation = ship.generation
      and m.repository_id = repository
      and m.line > 1
  ) or exists (
    select
    from metrics.branch_moves as m
    where m.generation = ship.generation
      and m.repository_id = repository
      and m.line = 1
  ) and exists (
    select
    from metrics.branch_moves as m
    where m.generation = ship.generation
      and m.repository_id = repository
      and m.line = 0
  ) then
    update metrics.changes as c
    set is_order_unknown = not c.is_order_unknown
    where c.generation = ship.generation
      and c.service_id = service
      and c.repository_id = repository
      and c.shipped_at is null
      and c.is_order_unknown <> exists (
        select
        from metrics.service_deployments as d
        where d.generation = ship.generation
          and d.service_id = service
          and d.outcome = 'success'
          and d.line <> c.line
          and d.position is not null
          and d.at >= coalesce(c.started_at, '-infinity')
      );
  else
    update metrics.changes as c
    set is_order_unknown = false
    where c.generation = ship.generation
      and c.service_id = service
      and c.repository_id = repository
      and c.shipped_at is null
      and c.is_order_unknown;
  end if;

  -- What rolled back or fixed another.
  with tail as materialized (
    select d.id, d.environment, d.sequence, d.line, d.position, d.commit_sha, d.at, d.external_id, d.reference
    from metrics.service_deployments as d
    where d.generation = ship.generation
      and d.service_id = service
      and d.outcome = 'success'
      and d.at >= ship.since
  ),
  found as materialized (
    select distinct f.failed_id, f.cause, f.mended_by, f.at
    from (
      -- Rolled back: the first one after the last deployment of a commit at or before this one's. Nearly always the one just before is that last one, and nothing lies between.
      select v.id as failed_id, 'rolled_back' as cause, k.id as mended_by, k.at
      from tail as k
      join metrics.service_deployments as e
        on e.generation = ship.generation
        and e.service_id = service
        and e.environment = k.environment
        and e.sequence = k.sequence - 1
        and case when e.line = k.line then e.position > k.position else (e.commit_sha = k.commit_sha) is not true end
      cross join lateral (
        select coalesce(max(u.sequence), 0) as sequence
        from (
          (
            select j.sequence
            from metrics.service_deployments as j
            where k.position is not null
              and j.generation = ship.generation
              and j.service_id = service
              and j.environment = k.environment
              and j.sequence < k.sequence
              and j.line = k.line
              and j.position <= k.position
            order by j.sequence desc
            limit 1
          )
          union all
          (
            select max(j.sequence)
            from metrics.service_deployments as j
            where j.generation = ship.generation
              and j.repository_id = repository
              and j.commit_sha = k.commit_sha
              and j.service_id = service
              and j.environment = k.environment
              and j.sequence < k.sequence
              and j.line is distinct from k.line
          )
          union all
          (
            select max(j.sequence)
            from metrics.service_deployments as j
            where k.position is null
              and j.generation = ship.generation
              and j.repository_id = repository
              and j.commit_sha = k.commit_sha
              and j.service_id = service
              and j.environment = k.environment
              and j.sequence < k.sequence
          )
        ) as u
      ) as l
      cross join lateral (
        select j.id
        from metrics.service_deployments as j
        where j.generation = ship.generation
          and j.service_id = service
          and j.environment = k.environment
          and j.sequence > l.sequence
          and j.sequence < k.sequence
          and (
            (j.line = k.line and j.position > k.position)
            or (
              (j.line = k.line) is not true
              and exists (
                select
                from metrics.service_deployments as i
                where i.generation = ship.generation
                  and i.repository_id = repository
                  and i.commit_sha = k.commit_sha
                  and i.service_id = service
                  and i.environment = k.environment
                  and i.sequence < j.sequence
              )
            )
          )
        order by j.sequence
        limit 1
      ) as v
      union all
      -- Fixed forward: this one first ships what reverts a change that an earlier one first shipped.
      select o.id, 'fixed_forward', k.id, k.at
      from tail as k
      join metrics.changes as r
        on r.shipped_by = k.id
        and r.reverts is not null
      cross join lateral unnest(r.reverts) as v (sha)
      join metrics.changes as c
        on c.generation = ship.generation
        and c.repository_id = repository
        and c.service_id = service
        and (
          c.sha = v.sha
          or (
            length(v.sha) between 7 and 39
            and c.sha >= v.sha
            and c.sha < v.sha || 'g'
            and starts_with(c.sha, v.sha)
          )
        )
      join metrics.service_deployments as o
        on o.id = c.shipped_by
      where (o.at, o.external_id collate "C", o.reference collate "C") < (k.at, k.external_id collate "C", k.reference collate "C")
      union all
      -- Or a hotfix: what was there just before needed it.
      select o.id, 'fixed_forward', k.id, k.at
      from tail as k
      join metrics.changes as r
        on r.shipped_by = k.id
        and r.is_hotfix
      join metrics.service_deployments as o
        on o.generation = ship.generation
        and o.service_id = service
        and o.environment = k.environment
        and o.sequence = k.sequence - 1
    ) as f
  ),
  put as (
    insert into metrics.deployment_failures as t (generation, repository_id, service_id, failed_id, cause, mended_by, at, ended_at)
    select ship.generation, repository, service, f.failed_id, f.cause, f.mended_by, f.at, f.at
    from found as f
    on conflict on constraint deployment_failure_is_unique do update set
      at = excluded.at,
      ended_at = excluded.ended_at
    where (t.at, t.ended_at) is distinct from (excluded.at, excluded.ended_at)
    returning t.failed_id
  ),
  gone as (
    delete from metrics.deployment_failures as t
    where t.generation = ship.generation
      and t.service_id = service
      and t.mended_by is not null
      and t.at >= ship.since
      and not exists (
        select
        from found as f
        where f.failed_id = t.failed_id
          and f.cause = t.cause
          and f.mended_by = t.mended_by
      )
    returning t.failed_id
  )
  select coalesce(array_agg(u.failed_id), '{}')
  into marked
  from (select p.failed_id from put as p union select g.failed_id from gone as g) as u;
  perform metrics.mark_failures(ship.generation, service, ship.since, marked);
end
$$;
revoke execute on function metrics.ship(integer, bigint, bigint, timestamptz) from public;

comment on function metrics.ship(integer, bigint, bigint, timestamptz) is 'Derives again what follows from the deployments of a service since a moment. All since then are done again, and nothing before but what these mark.';

drop function if exists metrics.mark_failures(integer, bigint, timestamptz, bigint[]);

create function metrics.mark_failures(generation integer, service bigint, since timestamptz, ids bigint[])
returns void
language sql
set search_path = ''
as $$
  update metrics.service_deployments as d
  set
    causes = m.causes,
    recovered_at = m.recovered_at,
    is_rework = m.is_rework
  from (
    select
      o.id,
      (
        select array_agg(distinct f.cause)
        from metrics.deployment_failures as f
        where f.failed_id = o.id
      ) as causes,
      (
        select min(f.ended_at)
        from metrics.deployment_failures as f
        where f.failed_id = o.id
      ) as recovered_at,
      exists (
        select
        from metrics.deployment_failures as f
        where f.mended_by = o.id
      ) as is_rework
    from (
      select d.id
      from metrics.service_deployments as d
      where d.generation = mark_failures.generation
        and d.service_id = service
        and d.at >= since
      union
      select unnest(ids)
    ) as o
  ) as m
  where d.id = m.id
    and (d.causes, d.recovered_at, d.is_rework) is distinct from (m.causes, m.recovered_at, m.is_rework)
$$;
revoke execute on function metrics.mark_failures(integer, bigint, timestamptz, bigint[]) from public;

comment on function metrics.mark_failures(integer, bigint, timestamptz, bigint[]) is 'Writes into deployments whether and by what they failed, when that ended, and whether they mended another: those since a moment, and these.';
