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
  member_ids text[],
  line integer,
  position bigint,
  is_first boolean not null default false,
  is_redeploy boolean not null default false,
  is_rework boolean not null default false,
  causes text[],
  recovered_at timestamptz,
  recovery_seconds double precision generated always as (
    case when recovered_at >= at then extract(epoch from recovered_at - at) end
  ) stored,
  constraint service_deployment_is_unique unique (reference_id, external_id, generation, service_id),
  constraint service_deployment_kind_is_known check (kind in ('deployment', 'pipeline_run', 'release')),
  constraint service_deployment_outcome_is_known check (outcome in ('success', 'failure'))
);

create index if not exists service_deployments_at_idx on metrics.service_deployments (generation, service_id, at);
create index if not exists service_deployments_position_idx
  on metrics.service_deployments (generation, service_id, line, position)
  where outcome = 'success' and position is not null;
create index if not exists service_deployments_commit_sha_idx on metrics.service_deployments using hash (commit_sha);
create index if not exists service_deployments_began_at_idx
  on metrics.service_deployments (generation, service_id, began_at)
  where outcome = 'success';
create index if not exists service_deployments_recovered_at_idx
  on metrics.service_deployments (generation, service_id, recovered_at)
  where causes is not null;
create index if not exists service_deployments_member_ids_idx
  on metrics.service_deployments using gin (member_ids)
  with (gin_pending_list_limit = 64)
  where member_ids is not null;

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
comment on column metrics.service_deployments.member_ids is 'External ids of all deployments of the rollout; NULL for one alone.';
comment on column metrics.service_deployments.line is 'Line of moves that its commit stands on; NULL when the commit is not on the default branch.';
comment on column metrics.service_deployments.position is 'Place of its commit in the line.';
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
  is_of_rollout boolean
)
language plpgsql
set search_path = ''
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
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
      null as pipeline
    from metrics.repository_references as r
    cross join lateral (
      select f.*
      from unnest(commits) as c (sha)
      join metrics.deployments as f
        on f.reference_id = r.id
        and f.commit_sha = c.sha
      union all
      select f.*
      from unnest(ids) as i (external_id)
      join metrics.deployments as f
        on f.reference_id = r.id
        and f.external_id = i.external_id
      where f.commit_sha is null
    ) as d
    where r.repository_id = repository
      and d.status = 'finished'
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
      p.pipeline
    from metrics.repository_references as r
    cross join unnest(ids) as i (external_id)
    join metrics.pipeline_runs as p
      on p.reference_id = r.id
      and p.external_id = i.external_id
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
      null
    from metrics.repository_references as r
    cross join unnest(ids) as i (external_id)
    join metrics.releases as l
      on l.reference_id = r.id
      and l.external_id = i.external_id
    where r.repository_id = repository
      and l.is_draft is not true
      and l.is_prerelease is not true
      and l.is_withdrawn is not true
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

comment on function metrics.attempts_of(integer, bigint, text[], text[]) is 'Finished production deployments of a repository''s services, before those of one rollout are put together: deployments of these commits, and of these ids where they have none; runs and releases of these ids.';

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
            first_of.commit_sha, case when has_failed then 'failure' else 'success' end, least_began_at, last_at,
            case when cardinality(members) > 1 then members end;
        end if;
        is_open := false;
      end if;
    end if;
    if not one.is_of_rollout or one.commit_sha is null then
      if one.outcome is not null then
        return query select
          one.service_id, one.kind, one.reference_id, one.external_id, one.reference, one.environment, one.commit_sha, one.outcome,
          one.began_at, one.at, null::text[];
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
      first_of.commit_sha, case when has_failed then 'failure' else 'success' end, least_began_at, last_at,
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
set enable_seqscan = off
set enable_hashjoin = on
as $$
#variable_conflict use_column
declare
  siblings constant bigint[] := array(select r.id from metrics.repository_references as r where r.repository_id = repository);
begin
  return query
  with wanted as materialized (
    select w.*, p.line, p.position
    from metrics.deployments_of(write_deployments.generation, repository, commits, ids) as w
    left join lateral (
      select c.line, c.position
      from metrics.changes as c
      where c.sha = w.commit_sha
        and c.generation + 0 = write_deployments.generation
        and c.repository_id + 0 = repository
      limit 1
    ) as p
      on true
  ),
  present as materialized (
    select d.id, d.service_id, d.reference_id, d.external_id, d.at, d.began_at
    from unnest(commits) as s (sha)
    cross join lateral (
      select o.id, o.service_id, o.reference_id, o.external_id, o.at, o.began_at
      from metrics.service_deployments as o
      where o.commit_sha = s.sha
        and o.generation + 0 = write_deployments.generation
        and o.repository_id + 0 = repository
        and o.kind = 'deployment'
      offset 0
    ) as d
    union
    select d.id, d.service_id, d.reference_id, d.external_id, d.at, d.began_at
    from unnest(siblings) as r (id)
    cross join unnest(ids) as i (external_id)
    cross join lateral (
      select o.id, o.service_id, o.reference_id, o.external_id, o.at, o.began_at
      from metrics.service_deployments as o
      where o.generation + 0 = write_deployments.generation
        and o.reference_id = r.id
        and o.external_id = i.external_id
        and (o.kind = 'release' or (o.kind = 'deployment' and o.commit_sha is null))
      offset 0
    ) as d
    union
    select d.id, d.service_id, d.reference_id, d.external_id, d.at, d.began_at
    from unnest(siblings) as r (id)
    cross join unnest(ids) as i (external_id)
    join metrics.pipeline_runs as p
      on p.reference_id = r.id
      and p.external_id = i.external_id
    cross join lateral (
      select o.id, o.service_id, o.reference_id, o.external_id, o.at, o.began_at
      from metrics.service_deployments as o
      where o.generation + 0 = write_deployments.generation
        and o.reference_id = r.id
        and o.external_id = p.external_id || '#' || p.attempt
        and o.kind = 'pipeline_run'
      offset 0
    ) as d
    union
    select d.id, d.service_id, d.reference_id, d.external_id, d.at, d.began_at
    from wanted as w
    cross join lateral (
      select o.id, o.service_id, o.reference_id, o.external_id, o.at, o.began_at
      from metrics.service_deployments as o
      where o.generation + 0 = write_deployments.generation
        and o.reference_id = w.reference_id
        and o.external_id = w.external_id
        and o.service_id + 0 = w.service_id
      offset 0
    ) as d
  ),
  stale as materialized (
    select p.*
    from present as p
    left join wanted as w
      on w.service_id = p.service_id
      and w.reference_id = p.reference_id
      and w.external_id = p.external_id
    where w.service_id is null
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
  put as (
    insert into metrics.service_deployments as t (
      generation, repository_id, service_id, kind, reference_id, external_id, reference, environment, commit_sha, outcome, began_at, at,
      member_ids, line, position
    )
    select
      write_deployments.generation, repository, w.service_id, w.kind, w.reference_id, w.external_id, w.reference, w.environment, w.commit_sha,
      w.outcome, w.began_at, w.at, w.member_ids, w.line, w.position
    from wanted as w
    on conflict on constraint service_deployment_is_unique do update set
      kind = excluded.kind,
      environment = excluded.environment,
      commit_sha = excluded.commit_sha,
      outcome = excluded.outcome,
      began_at = excluded.began_at,
      at = excluded.at,
      member_ids = excluded.member_ids,
      line = excluded.line,
      position = excluded.position,
      is_first = false,
      is_redeploy = false
    where (t.kind, t.environment, t.commit_sha, t.outcome, t.began_at, t.at, t.member_ids, t.line, t.position)
      is distinct from (
        excluded.kind, excluded.environment, excluded.commit_sha, excluded.outcome, excluded.began_at, excluded.at, excluded.member_ids,
        excluded.line, excluded.position
      )
    returning t.id, t.service_id, t.at, t.began_at
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
    join present as o
      on o.id = p.id
    union all
    select m.service_id, m.at, m.began_at
    from marked as m
  ) as c
  group by c.service_id;
end
$$;
revoke execute on function metrics.write_deployments(integer, bigint, text[], text[]) from public;

comment on function metrics.write_deployments(integer, bigint, text[], text[]) is 'Writes the production deployments of these commits, and of these ids where they have none, and runs and releases of these ids. Returns from when on each service changed.';

-- Deployments of a service since a moment that stand further on in their line than all before them: each ships what lies between.
drop function if exists metrics.advancing_of(integer, bigint, timestamptz, timestamptz);

create function metrics.advancing_of(generation integer, service bigint, since timestamptz, until timestamptz)
returns table (id bigint, at timestamptz, is_first boolean, line integer, reached bigint, reaches bigint)
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
set enable_hashjoin = on
as $$
#variable_conflict use_column
begin
  return query
  with tail as materialized (
    select
      d.id,
      d.line,
      d.position,
      d.at,
      d.external_id,
      d.reference,
      row_number() over (order by d.at, d.external_id collate "C", d.reference collate "C") = 1 and (
        select e.at
        from metrics.service_deployments as e
        where e.generation = advancing_of.generation
          and e.service_id = service
          and e.outcome = 'success'
        order by e.at
        limit 1
      ) >= advancing_of.since as is_first
    from metrics.service_deployments as d
    where d.generation = advancing_of.generation
      and d.service_id = service
      and d.outcome = 'success'
      and d.at >= advancing_of.since
      and d.at < advancing_of.until
  ),
  placed as materialized (
    select *
    from tail as t
    where t.position is not null
  ),
  reached as (
    select l.line, m.position
    from (select distinct t.line from placed as t) as l
    cross join lateral (
      select d.position
      from metrics.service_deployments as d
      where d.generation = advancing_of.generation
        and d.service_id = service
        and d.outcome = 'success'
        and d.line = l.line
        and d.position is not null
        and d.at < advancing_of.since
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
    from placed as t
    left join reached as r
      on r.line = t.line
  )
  select a.id, a.at, a.is_first, a.line, a.reached, a.position
  from advancing as a
  where a.position > a.reached;
end
$$;
revoke execute on function metrics.advancing_of(integer, bigint, timestamptz, timestamptz) from public;

comment on function metrics.advancing_of(integer, bigint, timestamptz, timestamptz) is 'Deployments of a service since a moment and before another that ship something: what lies in their line after the place that was reached before them, up to their own.';

drop function if exists metrics.ship_advancing(integer, bigint, bigint, timestamptz, timestamptz, jsonb, integer);

create function metrics.ship_advancing(
  generation integer,
  repository bigint,
  service bigint,
  since timestamptz,
  until timestamptz,
  after jsonb,
  most integer
)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  last_line constant integer := after ->> 0;
  last_position constant bigint := after ->> 1;
  last_service constant bigint := after ->> 2;
  remaining integer := most;
  seen integer;
  last_seen jsonb;
  own tid[];
  row_ids tid[] := '{}';
  ids bigint[] := '{}';
  moments timestamptz[] := '{}';
  are_first boolean[] := '{}';
  goes_on boolean;
  advancing record;
begin
  for advancing in
    select *
    from metrics.advancing_of(ship_advancing.generation, service, since, until) as a
    where last_line is null
      or (a.line, a.reaches) >= (last_line, last_position)
    order by a.line, a.reaches
  loop
    goes_on := coalesce(advancing.line = last_line and advancing.reached < last_position, false);
    select
      count(*),
      (array_agg(jsonb_build_array(advancing.line, p.position, p.service_id) order by p.position desc, p.service_id desc))[1],
      coalesce(array_agg(p.row_id) filter (where p.service_id = service and p.gone_position is null), '{}')
    into seen, last_seen, own
    from (
      select o.ctid as row_id, o.position, o.service_id, o.gone_position
      from metrics.changes as o
      where o.generation = ship_advancing.generation
        and o.repository_id = repository
        and o.line = advancing.line
        and (o.position, o.service_id) > (
          case when goes_on then last_position else advancing.reached end,
          case when goes_on then last_service else 9223372036854775807 end
        )
        and o.position <= advancing.reaches
      order by o.position, o.service_id
      limit remaining
    ) as p;
    row_ids := row_ids || own;
    ids := ids || array_fill(advancing.id, array[cardinality(own)]);
    moments := moments || array_fill(advancing.at, array[cardinality(own)]);
    are_first := are_first || array_fill(advancing.is_first, array[cardinality(own)]);
    remaining := remaining - seen;
    exit when remaining = 0;
  end loop;

  -- At once, whatever shipped them: what is counted by that is then added up before it is written.
  update metrics.changes as c
  set
    shipped_by = s.id,
    shipped_at = s.at,
    is_first_shipped = s.is_first
  from unnest(row_ids, ids, moments, are_first) as s (row_id, id, at, is_first)
  where c.ctid = s.row_id;

  return case when remaining = 0 then last_seen end;
end
$$;
revoke execute on function metrics.ship_advancing(integer, bigint, bigint, timestamptz, timestamptz, jsonb, integer) from public;

comment on function metrics.ship_advancing(integer, bigint, bigint, timestamptz, timestamptz, jsonb, integer) is 'Looks at so many changes after a place, and says of those of a service what shipped them first: a deployment since a moment and before another, of which nothing was said yet. Returns the place of the last, to go on after; NULL when there are no more.';

-- What follows from a service's deployments since a moment: their order, what each shipped first, which rolled back or fixed another. With
-- an end, only those before it are looked at, nothing may follow from any later one yet, and what they shipped has been said.
drop function if exists metrics.ship(integer, bigint, bigint, timestamptz, timestamptz);

create function metrics.ship(generation integer, repository bigint, service bigint, since timestamptz, until timestamptz)
returns void
language plpgsql
set search_path = ''
set enable_seqscan = off
set enable_hashjoin = on
as $$
#variable_conflict use_column
declare
  first_id constant bigint := (
    select d.id
    from metrics.service_deployments as d
    where d.generation = ship.generation
      and d.service_id = service
      and d.outcome = 'success'
    order by d.at, d.external_id collate "C", d.reference collate "C"
    limit 1
  );
  changed_ids bigint[];
  redeploy_ids bigint[];
  mending_ids bigint[];
  before_ids bigint[];
  marked bigint[];
begin
  -- Shipping. With an end, see metrics.ship_advancing and metrics.ship_taken_off.
  if ship.until = 'infinity' then
    with assigned as materialized (
      select
        c.row_id,
        a.id,
        a.at,
        (c.shipped_by, c.shipped_at, c.is_first_shipped, c.is_order_unknown) is distinct from (a.id, a.at, a.is_first, false) as is_new
      from metrics.advancing_of(ship.generation, service, ship.since, 'infinity') as a
      -- Looked up for each: what lies between is little, however much there is.
      cross join lateral (
        select o.ctid as row_id, o.gone_position, o.shipped_by, o.shipped_at, o.is_first_shipped, o.is_order_unknown
        from metrics.changes as o
        where o.generation = ship.generation
          and o.repository_id = repository
          and o.line = a.line
          and o.position > a.reached
          and o.position <= a.reaches
          and o.service_id + 0 = service
        offset 0
      ) as c
      where c.gone_position is null
      union all
      -- What was taken off the branch is only in what was deployed from before.
      select
        c.row_id,
        s.id,
        s.at,
        (c.shipped_by, c.shipped_at, c.is_first_shipped, c.is_order_unknown) is distinct from (s.id, s.at, s.id = first_id, false)
      from (
        select o.ctid as row_id, o.line, o.position, o.gone_position, o.shipped_by, o.shipped_at, o.is_first_shipped, o.is_order_unknown
        from metrics.changes as o
        where o.generation = ship.generation
          and o.repository_id = repository
          and o.gone_position is not null
          and o.service_id + 0 = service
          and (o.shipped_at is null or o.shipped_at >= ship.since)
        offset 0
      ) as c
      cross join lateral (
        select d.id, d.at
        from metrics.service_deployments as d
        where d.generation = ship.generation
          and d.service_id = service
          and d.outcome = 'success'
          and d.line = c.line
          and d.position >= c.position
          and d.position < c.gone_position
        order by d.at, d.external_id collate "C", d.reference collate "C"
        limit 1
      ) as s
      where s.at >= ship.since
    )
    update metrics.changes as c
    set
      shipped_by = w.id,
      shipped_at = w.at,
      is_first_shipped = w.id is not null and w.id = first_id,
      is_order_unknown = c.is_order_unknown and w.id is null
    from (
      select a.row_id, a.id, a.at
      from assigned as a
      where a.is_new
      union all
      -- What nothing ships any more.
      select o.ctid, null, null
      from metrics.changes as o
      where o.generation = ship.generation
        and o.service_id = service
        and o.shipped_at >= ship.since
        and o.ctid not in (select a.row_id from assigned as a)
    ) as w
    where c.ctid = w.row_id;
  end if;

  -- Which are the first, and which put the same commit there again. And which may have rolled back or fixed another: few do.
  with tail as (
    select
      d.id,
      d.environment,
      d.commit_sha,
      d.line,
      d.position,
      d.is_first,
      d.is_redeploy,
      lag(d.id) over (
        partition by d.environment
        order by d.at, d.external_id collate "C", d.reference collate "C"
      ) as earlier_id
    from metrics.service_deployments as d
    where d.generation = ship.generation
      and d.service_id = service
      and d.outcome = 'success'
      and d.at >= ship.since
      and d.at < ship.until
  ),
  -- Each with the one just before it in its environment.
  following as materialized (
    select
      t.id,
      b.id as before_id,
      t.is_first as was_first,
      t.is_redeploy as was_redeploy,
      coalesce(b.commit_sha = t.commit_sha, false) as is_redeploy,
      case when b.line = t.line then b.position > t.position else b.id is not null and (b.commit_sha = t.commit_sha) is not true end
      or exists (
        select
        from metrics.changes as r
        where r.shipped_by = t.id
          and (r.reverts is not null or r.is_hotfix)
      ) as may_mend
    from tail as t
    left join metrics.service_deployments as b
      on b.id = coalesce(
        t.earlier_id,
        (
          select d.id
          from metrics.service_deployments as d
          where d.generation = ship.generation
            and d.service_id = service
            and d.environment = t.environment
            and d.outcome = 'success'
            and d.at < ship.since
          order by d.at desc, d.external_id collate "C" desc, d.reference collate "C" desc
          limit 1
        )
      )
  )
  select
    array_agg(f.id) filter (where (f.was_first, f.was_redeploy) <> (f.id = first_id, f.is_redeploy)),
    coalesce(array_agg(f.id) filter (where f.is_redeploy), '{}'),
    coalesce(array_agg(f.id) filter (where f.may_mend), '{}'),
    array_agg(f.before_id) filter (where f.may_mend)
  into changed_ids, redeploy_ids, mending_ids, before_ids
  from following as f;
  if changed_ids is not null then
    update metrics.service_deployments as d
    set
      is_first = d.id = first_id,
      is_redeploy = d.id = any(redeploy_ids)
    where d.id = any(changed_ids);
  end if;

  -- Nearly always there is nothing that failed, and nothing was said of it.
  if cardinality(mending_ids) = 0
    and not exists (
      select
      from metrics.deployment_failures as f
      where f.generation = ship.generation
        and f.service_id = service
        and f.at >= ship.since
    )
    and not exists (
      select
      from metrics.service_deployments as d
      where d.generation = ship.generation
        and d.service_id = service
        and d.at >= ship.since
        and d.at < ship.until
        and (
          d.causes is not null
          or d.is_rework
          or exists (
            select
            from metrics.deployment_failures as f
            where f.failed_id = d.id
          )
        )
    )
  then
    return;
  end if;

  -- What rolled back or fixed another.
  with following as materialized (
    select d.id, d.environment, d.line, d.position, d.commit_sha, d.at, d.external_id, d.reference, u.before_id
    from unnest(mending_ids, before_ids) as u (id, before_id)
    join metrics.service_deployments as d
      on d.id = u.id
  ),
  found as materialized (
    select distinct f.failed_id, f.cause, f.mended_by, f.at
    from (
      -- Rolled back: the first one after the last deployment of a commit at or before this one's. Nearly always the one just before is that last one, and nothing lies between.
      select v.id as failed_id, 'rolled_back' as cause, k.id as mended_by, k.at
      from following as k
      join metrics.service_deployments as e
        on e.id = k.before_id
        and case when e.line = k.line then e.position > k.position else (e.commit_sha = k.commit_sha) is not true end
      left join lateral (
        select u.*
        from (
          (
            select j.at, j.external_id, j.reference
            from metrics.service_deployments as j
            where k.position is not null
              and j.generation = ship.generation
              and j.service_id = service
              and j.outcome = 'success'
              and j.environment = k.environment
              and j.at <= k.at
              and (j.at, j.external_id collate "C", j.reference collate "C") < (k.at, k.external_id collate "C", k.reference collate "C")
              and j.line = k.line
              and j.position <= k.position
            order by j.at desc, j.external_id collate "C" desc, j.reference collate "C" desc
            limit 1
          )
          union all
          (
            select j.at, j.external_id, j.reference
            from metrics.service_deployments as j
            where j.commit_sha = k.commit_sha
              and j.generation + 0 = ship.generation
              and j.service_id + 0 = service
              and j.outcome = 'success'
              and j.environment = k.environment
              and (j.at, j.external_id collate "C", j.reference collate "C") < (k.at, k.external_id collate "C", k.reference collate "C")
              and (k.position is null or j.line is distinct from k.line)
            order by j.at desc, j.external_id collate "C" desc, j.reference collate "C" desc
            limit 1
          )
        ) as u
        order by u.at desc, u.external_id collate "C" desc, u.reference collate "C" desc
        limit 1
      ) as l
        on true
      cross join lateral (
        select j.id
        from metrics.service_deployments as j
        where j.generation = ship.generation
          and j.service_id = service
          and j.outcome = 'success'
          and j.environment = k.environment
          and j.at >= coalesce(l.at, '-infinity')
          and j.at <= k.at
          and (l.at is null or (j.at, j.external_id collate "C", j.reference collate "C") > (l.at, l.external_id collate "C", l.reference collate "C"))
          and (j.at, j.external_id collate "C", j.reference collate "C") < (k.at, k.external_id collate "C", k.reference collate "C")
          and (
            (j.line = k.line and j.position > k.position)
            or (
              (j.line = k.line) is not true
              and exists (
                select
                from metrics.service_deployments as i
                where i.commit_sha = k.commit_sha
                  and i.generation + 0 = ship.generation
                  and i.service_id + 0 = service
                  and i.outcome = 'success'
                  and i.environment = k.environment
                  and (i.at, i.external_id collate "C", i.reference collate "C") < (j.at, j.external_id collate "C", j.reference collate "C")
              )
            )
          )
        order by j.at, j.external_id collate "C", j.reference collate "C"
        limit 1
      ) as v
      union all
      -- Fixed forward: this one first ships what reverts a change that an earlier one first shipped.
      select o.id, 'fixed_forward', k.id, k.at
      from following as k
      join metrics.changes as r
        on r.shipped_by = k.id
        and (r.reverts is not null or r.is_hotfix)
      cross join lateral unnest(r.reverts) as v (sha)
      cross join lateral (
        select c.shipped_by
        from metrics.changes as c
        where c.sha = v.sha
          and c.generation + 0 = ship.generation
          and c.service_id + 0 = service
        union all
        select c.shipped_by
        from metrics.changes as c
        where length(v.sha) between 7 and 39
          and c.generation = ship.generation
          and c.repository_id = repository
          and c.service_id = service
          and starts_with(c.sha, v.sha)
      ) as c
      join metrics.service_deployments as o
        on o.id = c.shipped_by
      where (o.at, o.external_id collate "C", o.reference collate "C") < (k.at, k.external_id collate "C", k.reference collate "C")
      union all
      -- Or a hotfix: what was there just before needed it.
      select k.before_id, 'fixed_forward', k.id, k.at
      from following as k
      join metrics.changes as r
        on r.shipped_by = k.id
        and (r.reverts is not null or r.is_hotfix)
      where r.is_hotfix
        and k.before_id is not null
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
    where ship.until = 'infinity'
      and t.generation = ship.generation
      and t.service_id = service
      and t.mended_by is not null
      and t.at >= ship.since
      and (t.failed_id, t.cause, t.mended_by) not in (select f.failed_id, f.cause, f.mended_by from found as f)
    returning t.failed_id
  )
  select coalesce(array_agg(u.failed_id), '{}')
  into marked
  from (select p.failed_id from put as p union select g.failed_id from gone as g) as u;
  perform metrics.mark_failures(ship.generation, service, ship.since, ship.until, marked);
end
$$;
revoke execute on function metrics.ship(integer, bigint, bigint, timestamptz, timestamptz) from public;

comment on function metrics.ship(integer, bigint, bigint, timestamptz, timestamptz) is 'Derives again what follows from the deployments of a service since a moment: all since then is done again, and nothing before but what these mark. With an end, nothing follows from later ones yet, and what those before it shipped is said already.';

drop function if exists metrics.ship_taken_off(integer, bigint, bigint, jsonb, integer);

create function metrics.ship_taken_off(generation integer, repository bigint, service bigint, after jsonb, most integer)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  reached jsonb;
  first_id bigint;
begin
  select d.id
  into first_id
  from metrics.service_deployments as d
  where d.generation = ship_taken_off.generation
    and d.service_id = service
    and d.outcome = 'success'
  order by d.at, d.external_id collate "C", d.reference collate "C"
  limit 1;
  with part as materialized (
    select t.ctid as row_id, t.line, t.position, t.gone_position
    from metrics.changes as t
    where t.generation = ship_taken_off.generation
      and t.repository_id = repository
      and t.gone_position is not null
      and t.service_id + 0 = service
      and (t.line, t.gone_position, t.position)
        > (coalesce((after ->> 0)::integer, -1), coalesce((after ->> 1)::bigint, -1), coalesce((after ->> 2)::bigint, -1))
    order by t.line, t.gone_position, t.position
    limit most
  ),
  put as (
    update metrics.changes as c
    set
      shipped_by = f.id,
      shipped_at = f.at,
      is_first_shipped = f.id = first_id
    from part as p
    cross join lateral (
      select d.id, d.at
      from metrics.service_deployments as d
      where d.generation = ship_taken_off.generation
        and d.service_id = service
        and d.outcome = 'success'
        and d.line = p.line
        and d.position >= p.position
        and d.position < p.gone_position
      order by d.at, d.external_id collate "C", d.reference collate "C"
      limit 1
    ) as f
    where c.ctid = p.row_id
  )
  select jsonb_build_array(p.line, p.gone_position, p.position)
  into reached
  from part as p
  order by p.line desc, p.gone_position desc, p.position desc
  limit 1;
  return reached;
end
$$;
revoke execute on function metrics.ship_taken_off(integer, bigint, bigint, jsonb, integer) from public;

comment on function metrics.ship_taken_off(integer, bigint, bigint, jsonb, integer) is 'Says of so many changes that forced pushes took off what shipped them first, where nothing was said yet. Returns the place of the last, to go on after; NULL when there is none.';

drop function if exists metrics.mark_unknown_order(integer, bigint, bigint, integer);

create function metrics.mark_unknown_order(generation integer, repository bigint, service bigint, most integer)
returns integer
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  -- Something is deployed, and there is something that nothing else is known to stand before or after.
  can_be_unknown constant boolean := (
    select min(m.line) < max(m.line)
    from metrics.branch_moves as m
    where m.generation = mark_unknown_order.generation
      and m.repository_id = repository
  ) and exists (
    select
    from metrics.service_deployments as d
    where d.generation = mark_unknown_order.generation
      and d.service_id = service
      and d.outcome = 'success'
      and d.position is not null
  );
  otherwise tid[];
begin
  if can_be_unknown then
    otherwise := array(
      select t.ctid
      from metrics.changes as t
      where t.generation = mark_unknown_order.generation
        and t.service_id = service
        and t.shipped_at is null
        and t.is_order_unknown <> exists (
          select
          from metrics.service_deployments as d
          where d.generation = mark_unknown_order.generation
            and d.service_id = service
            and d.outcome = 'success'
            and d.line <> t.line
            and d.position is not null
            and d.at >= coalesce(t.started_at, '-infinity')
        )
      limit most
    );
  else
    -- All that waits is not looked at: only what was marked is to be unmarked.
    otherwise := array(
      select t.ctid
      from metrics.changes as t
      where t.generation = mark_unknown_order.generation
        and t.service_id = service
        and t.shipped_at is null
        and t.is_order_unknown
      limit most
    );
  end if;
  -- Nearly always there are none.
  if cardinality(otherwise) > 0 then
    update metrics.changes as c
    set is_order_unknown = not c.is_order_unknown
    where c.ctid = any(otherwise);
  end if;
  return cardinality(otherwise);
end
$$;
revoke execute on function metrics.mark_unknown_order(integer, bigint, bigint, integer) from public;

comment on function metrics.mark_unknown_order(integer, bigint, bigint, integer) is 'Marks what may or may not have been deployed since, because the order of two lines is unknown; at most so many changes, and how many that were.';

drop function if exists metrics.mark_failures(integer, bigint, timestamptz, timestamptz, bigint[]);

create function metrics.mark_failures(generation integer, service bigint, since timestamptz, until timestamptz, ids bigint[])
returns void
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
#variable_conflict use_column
begin
  with causing as materialized (
    select f.failed_id, array_agg(distinct f.cause) as causes, min(f.ended_at) as recovered_at
    from (
      select d.id
      from metrics.service_deployments as d
      where d.generation = mark_failures.generation
        and d.service_id = service
        and d.at >= since
        and d.at < until
      union
      select unnest(ids)
    ) as o
    cross join lateral (
      select t.failed_id, t.cause, t.ended_at
      from metrics.deployment_failures as t
      where t.failed_id = o.id
      offset 0
    ) as f
    group by f.failed_id
  )
  update metrics.service_deployments as d
  set
    causes = m.causes,
    recovered_at = m.recovered_at,
    is_rework = m.is_rework
  from (
    select
      o.id,
      c.causes,
      c.recovered_at,
      exists (
        select
        from metrics.deployment_failures as f
        where f.mended_by = o.id
      ) as is_rework
    from (
      select e.id
      from metrics.service_deployments as e
      where e.generation = mark_failures.generation
        and e.service_id = service
        and e.at >= since
        and e.at < until
      union
      select unnest(ids)
    ) as o
    left join causing as c
      on c.failed_id = o.id
  ) as m
  where d.id = m.id
    and (d.causes, d.recovered_at, d.is_rework) is distinct from (m.causes, m.recovered_at, m.is_rework);
end
$$;
revoke execute on function metrics.mark_failures(integer, bigint, timestamptz, timestamptz, bigint[]) from public;

comment on function metrics.mark_failures(integer, bigint, timestamptz, timestamptz, bigint[]) is 'Writes into deployments whether and by what they failed, when that ended, and whether they mended another: those since a moment and before another, and these.';
