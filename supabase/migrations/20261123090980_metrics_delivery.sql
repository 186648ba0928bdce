-- Incidents and what they are about; deriving all of a repository's delivery; and what is counted of it by week.

set lock_timeout = '2s';
set statement_timeout = '60s';

drop function if exists metrics.service_label(bigint);

create function metrics.service_label(service bigint)
returns text
language sql
stable
set search_path = ''
as $$
  select coalesce(s.name, metrics.repository_label(s.repository_id))
  from metrics.services as s
  where s.id = service
$$;
revoke execute on function metrics.service_label(bigint) from public;

comment on function metrics.service_label(bigint) is 'What a service is called: its name, else its repository''s.';

drop function if exists metrics.services_called(integer, text);

create function metrics.services_called(generation integer, called text)
returns table (service_id bigint, repository_id bigint)
language sql
stable
set search_path = ''
as $$
  select s.id, s.repository_id
  from metrics.services as s
  where s.generation = services_called.generation
    and lower(s.name) = lower(called)
  union
  select s.id, s.repository_id
  from metrics.repositories as r
  join metrics.services as s
    on s.generation = services_called.generation
    and s.repository_id = r.id
    and s.name is null
  where lower(r.full_name) = lower(called)
  union
  -- One that has no name yet goes by its reference.
  select s.id, s.repository_id
  from metrics.repository_references as f
  join metrics.repositories as r
    on r.id = f.repository_id
    and r.full_name is null
  join metrics.services as s
    on s.generation = services_called.generation
    and s.repository_id = f.repository_id
    and s.name is null
  where f.reference = called
    and metrics.repository_label(r.id) = called
$$;
revoke execute on function metrics.services_called(integer, text) from public;

comment on function metrics.services_called(integer, text) is 'Services of this name, in any letter case.';

-- Which deployment each incident belongs to.
drop function if exists metrics.link_incidents(integer, bigint, timestamptz, text[], text[]);

create function metrics.link_incidents(generation integer, repository bigint, since timestamptz, sources text[], external_ids text[])
returns void
language plpgsql
set search_path = ''
set enable_hashjoin = on
as $$
#variable_conflict use_column
declare
  siblings constant bigint[] := array(select r.id from metrics.repository_references as r where r.repository_id = repository);
  incident_window constant interval := (
    select make_interval(secs => g.incident_window_seconds)
    from metrics.generations as g
    where g.id = link_incidents.generation
  );
  marked record;
begin
  for marked in
    with concerned as materialized (
      select i.source, i.external_id
      from metrics.incidents as i
      where i.reference_id = any(siblings)
        and (i.opened_at >= since or i.deployment_external_id is not null or i.commit_sha is not null)
      union
      select i.source, i.external_id
      from metrics.services as s
      cross join lateral (select lower(metrics.service_label(s.id)) as label offset 0) as l
      join metrics.incidents as i
        on lower(i.service) = l.label
        and i.reference_id is null
        and (i.opened_at >= since or i.deployment_external_id is not null or i.commit_sha is not null)
      where s.generation = link_incidents.generation
        and s.repository_id = repository
      union
      -- Those of a name that it had before.
      select t.incident_source, t.incident_external_id
      from metrics.deployment_failures as t
      where t.generation = link_incidents.generation
        and t.repository_id = repository
        and t.cause = 'incident'
        and since = '-infinity'
      union
      select u.source, u.external_id
      from unnest(sources, external_ids) as u (source, external_id)
    ),
    incident as materialized (
      select i.*, r.repository_id as about_repository
      from concerned as c
      join metrics.incidents as i
        on i.source = c.source
        and i.external_id = c.external_id
      left join metrics.repository_references as r
        on r.id = i.reference_id
      where i.is_withdrawn is not true
        and i.opened_at is not null
    ),
    placed as (
      select
        i.source,
        i.external_id,
        i.opened_at,
        i.resolved_at,
        coalesce(n.repository_id, a.repository_id, i.about_repository) as repository_id,
        coalesce(n.service_id, a.service_id) as service_id,
        coalesce(n.id, w.id) as failed_id
      from incident as i
      left join lateral (
        -- The service that it is about, if that is certain.
        select c.service_id, c.repository_id
        from (
          select s.service_id, s.repository_id
          from (
            select v.id as service_id, v.repository_id, count(*) over () as services, v.name
            from metrics.services as v
            where v.generation = link_incidents.generation
              and v.repository_id = i.about_repository
          ) as s
          where s.services = 1
            or lower(s.name) = lower(i.service)
          union all
          select s.service_id, s.repository_id
          from metrics.services_called(link_incidents.generation, i.service) as s
          where i.reference_id is null
        ) as c
        -- Ids differ from one generation to the next: what is called alike is told apart by what senders say.
        order by
          metrics.service_label(c.service_id) collate "C",
          (
            select min(f.reference collate "C")
            from metrics.repository_references as f
            where f.repository_id = c.repository_id
              and f.source is not null
          ),
          c.service_id
        limit 1
      ) as a
        on true
      left join lateral (
        -- The deployment that it names, or the last of the commit that it names.
        select d.id, d.service_id, d.repository_id
        from metrics.service_deployments as d
        where d.generation = link_incidents.generation
          and d.outcome = 'success'
          and (d.repository_id = i.about_repository or d.service_id = a.service_id)
          and (
            (i.deployment_external_id is not null and (d.external_id = i.deployment_external_id or d.member_ids @> array[i.deployment_external_id]))
            or (i.commit_sha is not null and d.commit_sha = i.commit_sha)
          )
        order by
          (d.external_id = i.deployment_external_id or d.member_ids @> array[i.deployment_external_id]) is true desc,
          (d.began_at <= i.opened_at) desc,
          case when d.began_at <= i.opened_at then d.began_at end desc,
          case when d.began_at <= i.opened_at then d.at end desc,
          case when d.began_at <= i.opened_at then d.external_id end collate "C" desc,
          d.began_at,
          d.at,
          d.external_id collate "C",
          d.reference collate "C"
        limit 1
      ) as n
        on i.deployment_external_id is not null or i.commit_sha is not null
      left join lateral (
        -- The last that began before it, not too long before.
        select d.id
        from metrics.service_deployments as d
        where d.generation = link_incidents.generation
          and d.service_id = a.service_id
          and d.outcome = 'success'
          and d.began_at < i.opened_at
          and d.began_at >= i.opened_at - incident_window
        order by d.began_at desc, d.at desc, d.external_id collate "C" desc, d.reference collate "C" desc
        limit 1
      ) as w
        on n.id is null
    ),
    put as (
      insert into metrics.deployment_failures as t (
        generation, repository_id, service_id, failed_id, cause, incident_source, incident_external_id, at, ended_at
      )
      select
        link_incidents.generation, p.repository_id, p.service_id, p.failed_id, 'incident', p.source, p.external_id, p.opened_at, p.resolved_at
      from placed as p
      on conflict on constraint deployment_failure_is_unique do update set
        repository_id = excluded.repository_id,
        at = excluded.at,
        ended_at = excluded.ended_at
      where (t.repository_id, t.at, t.ended_at) is distinct from (excluded.repository_id, excluded.at, excluded.ended_at)
      returning t.service_id, t.failed_id
    ),
    gone as (
      delete from metrics.deployment_failures as t
      using concerned as c
      where t.generation = link_incidents.generation
        and t.cause = 'incident'
        and t.incident_source = c.source
        and t.incident_external_id = c.external_id
        and not exists (
          select
          from placed as p
          where p.source = c.source
            and p.external_id = c.external_id
            and p.service_id is not distinct from t.service_id
            and p.failed_id is not distinct from t.failed_id
        )
      returning t.service_id, t.failed_id
    )
    select m.service_id, array_agg(m.failed_id) as ids
    from (select * from put union select * from gone) as m
    where m.failed_id is not null
    group by m.service_id
  loop
    perform metrics.mark_failures(link_incidents.generation, marked.service_id, 'infinity', marked.ids);
  end loop;
end
$$;
revoke execute on function metrics.link_incidents(integer, bigint, timestamptz, text[], text[]) from public;

comment on function metrics.link_incidents(integer, bigint, timestamptz, text[], text[]) is 'Finds again what incidents belong to: those of a repository opened since a moment or naming something, and these.';

-- Whose deployments go takes along what was said of incidents that name no repository: they may be about something else.
drop function if exists metrics.link_lost_incidents(integer);

create function metrics.link_lost_incidents(generation integer)
returns void
language plpgsql
set search_path = ''
as $$
declare
  sources text[];
  external_ids text[];
begin
  select
    array_agg(i.source order by i.source, i.external_id),
    array_agg(i.external_id order by i.source, i.external_id)
  into sources, external_ids
  from metrics.incidents as i
  where i.reference_id is null
    and not exists (
      select
      from metrics.deployment_failures as t
      where t.generation = link_lost_incidents.generation
        and t.cause = 'incident'
        and t.incident_source = i.source
        and t.incident_external_id = i.external_id
    );
  if sources is not null then
    perform metrics.link_incidents(link_lost_incidents.generation, null, 'infinity', sources, external_ids);
  end if;
end
$$;
revoke execute on function metrics.link_lost_incidents(integer) from public;

comment on function metrics.link_lost_incidents(integer) is 'Finds what incidents belong to that name no repository and were linked to nothing, not even to that.';

do $$
begin
  if to_regtype('metrics.touched') is null then
    create type metrics.touched as (
      is_whole boolean,
      pushed_since timestamptz,
      untimed_pushes bigint[],
      shas text[],
      deployed_shas text[],
      deployment_ids text[],
      is_renamed boolean
    );
  end if;
end
$$;

revoke usage on type metrics.touched from public;

comment on type metrics.touched is 'What was told about a repository: all of it, or pushes since a moment, pushes without a time, commits, deployed commits, deployments, its name.';

-- Everything that joins facts of a repository, for one generation. The repository's lock must be held.
drop function if exists metrics.derive_delivery(integer, bigint, metrics.touched);

create function metrics.derive_delivery(generation integer, repository bigint, told metrics.touched)
returns void
language plpgsql
set search_path = ''
as $$
declare
  siblings constant bigint[] := array(select r.id from metrics.repository_references as r where r.repository_id = repository);
  has_untimed boolean;
  tail record;
  first_line integer;
  first_ordinal integer;
  placed text[];
  told_shas text[] := coalesce(told.shas, '{}');
  changed text[] := '{}';
  mended_since timestamptz;
  began_since timestamptz;
  since timestamptz;
  sinces jsonb := '{}';
  one record;
begin
  perform metrics.ensure_service(derive_delivery.generation, repository);

  -- Where commits stand.
  if told.is_whole or told.pushed_since is not null or cardinality(told.untimed_pushes) > 0 then
    if not told.is_whole and told.pushed_since is null and cardinality(told.untimed_pushes) = 1 then
      select *
      into tail
      from metrics.append_move(derive_delivery.generation, repository, told.untimed_pushes[1]);
      first_line := tail.first_line;
      first_ordinal := tail.first_ordinal;
    end if;
    if first_ordinal is null then
      has_untimed := exists (
        select
        from metrics.pushes as p
        where p.reference_id = any(siblings)
          and p.on_default_branch is not false
          and p.pushed_at is null
      );
      select *
      into tail
      from metrics.order_moves(
        derive_delivery.generation,
        repository,
        case when told.is_whole then '-infinity' else coalesce(told.pushed_since, '-infinity') end,
        has_untimed
      );
      first_line := tail.first_line;
      first_ordinal := tail.first_ordinal;
    end if;
  end if;
  if first_ordinal is not null or cardinality(told_shas) > 0 then
    placed := metrics.place_changes(derive_delivery.generation, repository, first_line, first_ordinal, told_shas);
    if cardinality(told_shas) > 0 then
      changed := array(select unnest(placed) union select unnest(told_shas));
    else
      changed := placed;
    end if;
    -- What a plan knows of a table is from before all this was written to it.
    if cardinality(placed) > 1000 then
      analyze metrics.changes;
      analyze metrics.branch_moves;
    end if;
    -- A part at a time, so that it takes as long for each whatever their number.
    for part in 0 .. (cardinality(changed) - 1) / 500 loop
      mended_since := least(
        mended_since,
        metrics.describe_changes(derive_delivery.generation, repository, changed[part * 500 + 1:part * 500 + 500])
      );
    end loop;
    if mended_since is not null then
      for one in
        select s.id
        from metrics.services as s
        where s.generation = derive_delivery.generation
          and s.repository_id = repository
      loop
        sinces := sinces || jsonb_build_object(one.id, mended_since);
      end loop;
    end if;
  end if;

  -- What was deployed.
  if told.is_whole or cardinality(told.deployed_shas) > 0 or cardinality(told.deployment_ids) > 0 then
    for one in
      select w.service_id, w.since, w.began_since
      from metrics.write_deployments(
        derive_delivery.generation,
        repository,
        case when not told.is_whole then coalesce(told.deployed_shas, '{}') end,
        coalesce(told.deployment_ids, '{}')
      ) as w
    loop
      sinces := sinces || jsonb_build_object(one.service_id, least(one.since, (sinces ->> one.service_id::text)::timestamptz));
      began_since := least(began_since, one.began_since);
    end loop;
  end if;

  if told.is_whole and (
    select count(*)
    from metrics.service_deployments as d
    where d.generation = derive_delivery.generation
      and d.repository_id = repository
  ) > 1000 then
    analyze metrics.service_deployments;
  end if;

  -- A commit that stands elsewhere now: what was deployed of it, and whatever was deployed from there on.
  if cardinality(placed) > 0 then
    for one in
      with elsewhere as (
        update metrics.service_deployments as d
        set
          line = c.line,
          position = c.position
        from (
          select p.sha, o.line, o.position
          from unnest(placed) as p (sha)
          left join lateral (
            select v.line, v.position
            from metrics.changes as v
            where v.generation = derive_delivery.generation
              and v.repository_id = repository
              and v.sha = p.sha
            limit 1
          ) as o
            on true
          offset 0
        ) as c
        where d.generation = derive_delivery.generation
          and d.repository_id = repository
          and d.commit_sha = c.sha
          and (d.line, d.position) is distinct from (c.line, c.position)
        returning d.service_id, d.at
      ),
      least_place as (
        select c.line, min(c.position) as position
        from unnest(placed) as p (sha)
        join metrics.changes as c
          on c.generation = derive_delivery.generation
          and c.repository_id = repository
          and c.sha = p.sha
        group by c.line
      ),
      beyond as (
        select d.service_id, d.at
        from metrics.services as s
        cross join least_place as l
        join metrics.service_deployments as d
          on d.generation = derive_delivery.generation
          and d.service_id = s.id
          and d.outcome = 'success'
          and d.line = l.line
          and d.position >= l.position
        where s.generation = derive_delivery.generation
          and s.repository_id = repository
      )
      select u.service_id, min(u.at) as since
      from (
        select e.service_id, e.at
        from elsewhere as e
        union all
        select b.service_id, b.at
        from beyond as b
        union all
        -- Its place was there before.
        select c.service_id, c.shipped_at
        from unnest(placed) as p (sha)
        join metrics.changes as c
          on c.generation = derive_delivery.generation
          and c.repository_id = repository
          and c.sha = p.sha
        where c.shipped_at is not null
        union all
        -- Nothing of it is deployed, but whether it may be is to be asked.
        select s.id, 'infinity'
        from metrics.services as s
        where s.generation = derive_delivery.generation
          and s.repository_id = repository
      ) as u
      group by u.service_id
    loop
      sinces := sinces || jsonb_build_object(one.service_id, least(one.since, (sinces ->> one.service_id::text)::timestamptz));
    end loop;
  elsif cardinality(told_shas) > 0 then
    for one in
      select distinct c.service_id
      from unnest(told_shas) as t (sha)
      join metrics.changes as c
        on c.generation = derive_delivery.generation
        and c.repository_id = repository
        and c.sha = t.sha
      where c.shipped_at is null
        and c.service_id > 0
        and exists (
          select
          from metrics.branch_moves as m
          where m.generation = derive_delivery.generation
            and m.repository_id = repository
            and m.line > 0
        )
    loop
      sinces := sinces || jsonb_build_object(one.service_id, coalesce((sinces ->> one.service_id::text)::timestamptz, 'infinity'));
    end loop;
  end if;

  for one in
    select s.key::bigint as service_id, s.value::timestamptz as since
    from jsonb_each_text(sinces) as s
    where s.key <> '0'
    order by s.key::bigint
  loop
    perform metrics.ship(derive_delivery.generation, repository, one.service_id, one.since);
  end loop;

  -- What went wrong.
  if told.is_whole or told.is_renamed then
    perform metrics.link_incidents(derive_delivery.generation, repository, '-infinity', '{}', '{}');
  elsif began_since is not null then
    perform metrics.link_incidents(derive_delivery.generation, repository, began_since, '{}', '{}');
  end if;
end
$$;
revoke execute on function metrics.derive_delivery(integer, bigint, metrics.touched) from public;

comment on function metrics.derive_delivery(integer, bigint, metrics.touched) is 'Derives what joins facts of a repository in one generation: the order of its commits, what each deployment shipped, and what failed.';

-- What is counted by week, in the same transaction as the rows that it is counted from.
create table if not exists metrics.service_weeks (
  generation integer not null,
  service_id bigint not null,
  week date not null,
  environment text not null,
  repository_id bigint not null,
  deployments integer not null default 0,
  redeploys integer not null default 0,
  firsts integer not null default 0,
  unknown_commits integer not null default 0,
  failed_attempts integer not null default 0,
  failed_changes integer not null default 0,
  open_failures integer not null default 0,
  rolled_back integer not null default 0,
  incidents integer not null default 0,
  fixed_forward integer not null default 0,
  rework integer not null default 0,
  by_day integer[] not null default '{0,0,0,0,0,0,0}',
  constraint service_weeks_pkey primary key (generation, service_id, week, environment)
);

comment on table metrics.service_weeks is 'Production deployments of services by ISO week and environment. Equals its recomputation from service_deployments.';
comment on column metrics.service_weeks.generation is 'The generation that it belongs to.';
comment on column metrics.service_weeks.service_id is 'Service.';
comment on column metrics.service_weeks.week is 'Monday of the week in which they were done.';
comment on column metrics.service_weeks.environment is 'Environment.';
comment on column metrics.service_weeks.repository_id is 'Repository of the service.';
comment on column metrics.service_weeks.deployments is 'Successful ones.';
comment on column metrics.service_weeks.redeploys is 'Successful ones of the commit that was there.';
comment on column metrics.service_weeks.firsts is 'Whether the service''s first is among them.';
comment on column metrics.service_weeks.unknown_commits is 'Successful ones of a commit that is not on the default branch.';
comment on column metrics.service_weeks.failed_attempts is 'Those that did not reach the environment.';
comment on column metrics.service_weeks.failed_changes is 'Successful ones that failed afterwards.';
comment on column metrics.service_weeks.open_failures is 'Those of them that nothing has ended yet.';
comment on column metrics.service_weeks.rolled_back is 'Failed ones that were rolled back.';
comment on column metrics.service_weeks.incidents is 'Failed ones with an incident.';
comment on column metrics.service_weeks.fixed_forward is 'Failed ones that were fixed forward.';
comment on column metrics.service_weeks.rework is 'Successful ones that rolled back or fixed another.';
comment on column metrics.service_weeks.by_day is 'Successful ones by day, Monday first.';

create table if not exists metrics.lead_time_weeks (
  generation integer not null,
  service_id bigint not null,
  week date not null,
  label text not null,
  repository_id bigint not null,
  human integer not null default 0,
  bot integer not null default 0,
  constraint lead_time_weeks_pkey primary key (generation, service_id, week, label)
);

comment on table metrics.lead_time_weeks is 'Changes of services by ISO week: those that count by their basis, others by why they do not. Equals its recomputation from changes.';
comment on column metrics.lead_time_weeks.generation is 'The generation that it belongs to.';
comment on column metrics.lead_time_weeks.service_id is 'Service.';
comment on column metrics.lead_time_weeks.week is 'Monday of the week in which they were shipped, or, of those that were not, begun.';
comment on column metrics.lead_time_weeks.label is 'Basis, or exclusion.';
comment on column metrics.lead_time_weeks.repository_id is 'Repository of the service.';
comment on column metrics.lead_time_weeks.human is 'Changes by humans.';
comment on column metrics.lead_time_weeks.bot is 'Changes by bots.';

create table if not exists metrics.lead_time_week_buckets (
  generation integer not null,
  service_id bigint not null,
  week date not null,
  bucket smallint not null,
  repository_id bigint not null,
  human integer not null default 0,
  bot integer not null default 0,
  constraint lead_time_week_buckets_pkey primary key (generation, service_id, week, bucket)
);

comment on table metrics.lead_time_week_buckets is 'Lead times of services by ISO week, counted by bucket_of. Equals its recomputation from changes.';
comment on column metrics.lead_time_week_buckets.generation is 'The generation that it belongs to.';
comment on column metrics.lead_time_week_buckets.service_id is 'Service.';
comment on column metrics.lead_time_week_buckets.week is 'Monday of the week in which they were shipped.';
comment on column metrics.lead_time_week_buckets.bucket is 'Bucket of the seconds.';
comment on column metrics.lead_time_week_buckets.repository_id is 'Repository of the service.';
comment on column metrics.lead_time_week_buckets.human is 'Changes by humans.';
comment on column metrics.lead_time_week_buckets.bot is 'Changes by bots.';

-- Adds to the weeks what came and takes away what went. Both triggers below work so: on insert, update and delete.
drop function if exists metrics.count_service_deployments(metrics.service_deployments[], metrics.service_deployments[]);

create function metrics.count_service_deployments(gone metrics.service_deployments[], come metrics.service_deployments[])
returns void
language sql
set search_path = ''
set enable_hashjoin = on
as $$
  with counted as (
    select
      c.generation,
      c.service_id,
      metrics.week_of(c.at, g.time_zone) as week,
      c.environment,
      c.repository_id,
      u.n,
      c.outcome = 'success' as is_deployed,
      extract(isodow from c.at at time zone g.time_zone) as day,
      c.is_redeploy,
      c.is_first,
      c.position,
      c.causes,
      c.recovered_at,
      c.is_rework
    from (
      select o as c, -1 as n
      from unnest(gone) as o
      union all
      select o, 1
      from unnest(come) as o
    ) as u
    cross join lateral (select (u.c).*) as c
    join metrics.generations as g
      on g.id = c.generation
      and g.state <> 'retired'
  ),
  added as (
    select
      c.generation,
      c.service_id,
      c.week,
      c.environment,
      min(c.repository_id) as repository_id,
      coalesce(sum(c.n) filter (where c.is_deployed), 0) as deployments,
      coalesce(sum(c.n) filter (where c.is_redeploy), 0) as redeploys,
      coalesce(sum(c.n) filter (where c.is_first), 0) as firsts,
      coalesce(sum(c.n) filter (where c.is_deployed and c.position is null), 0) as unknown_commits,
      coalesce(sum(c.n) filter (where not c.is_deployed), 0) as failed_attempts,
      coalesce(sum(c.n) filter (where c.causes is not null), 0) as failed_changes,
      coalesce(sum(c.n) filter (where c.causes is not null and c.recovered_at is null), 0) as open_failures,
      coalesce(sum(c.n) filter (where 'rolled_back' = any(c.causes)), 0) as rolled_back,
      coalesce(sum(c.n) filter (where 'incident' = any(c.causes)), 0) as incidents,
      coalesce(sum(c.n) filter (where 'fixed_forward' = any(c.causes)), 0) as fixed_forward,
      coalesce(sum(c.n) filter (where c.is_rework), 0) as rework,
      array[
        coalesce(sum(c.n) filter (where c.is_deployed and c.day = 1), 0),
        coalesce(sum(c.n) filter (where c.is_deployed and c.day = 2), 0),
        coalesce(sum(c.n) filter (where c.is_deployed and c.day = 3), 0),
        coalesce(sum(c.n) filter (where c.is_deployed and c.day = 4), 0),
        coalesce(sum(c.n) filter (where c.is_deployed and c.day = 5), 0),
        coalesce(sum(c.n) filter (where c.is_deployed and c.day = 6), 0),
        coalesce(sum(c.n) filter (where c.is_deployed and c.day = 7), 0)
      ] as by_day
    from counted as c
    group by c.generation, c.service_id, c.week, c.environment
  )
  insert into metrics.service_weeks as t (
    generation, service_id, week, environment, repository_id, deployments, redeploys, firsts, unknown_commits, failed_attempts,
    failed_changes, open_failures, rolled_back, incidents, fixed_forward, rework, by_day
  )
  select
    a.generation, a.service_id, a.week, a.environment, a.repository_id, a.deployments, a.redeploys, a.firsts, a.unknown_commits,
    a.failed_attempts, a.failed_changes, a.open_failures, a.rolled_back, a.incidents, a.fixed_forward, a.rework, a.by_day
  from added as a
  where (
    a.deployments, a.redeploys, a.firsts, a.unknown_commits, a.failed_attempts, a.failed_changes, a.open_failures, a.rolled_back, a.incidents,
    a.fixed_forward, a.rework, a.by_day
  ) <> (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, array[0, 0, 0, 0, 0, 0, 0]::bigint[])
  order by 1, 2, 3, 4
  on conflict on constraint service_weeks_pkey do update set
    deployments = t.deployments + excluded.deployments,
    redeploys = t.redeploys + excluded.redeploys,
    firsts = t.firsts + excluded.firsts,
    unknown_commits = t.unknown_commits + excluded.unknown_commits,
    failed_attempts = t.failed_attempts + excluded.failed_attempts,
    failed_changes = t.failed_changes + excluded.failed_changes,
    open_failures = t.open_failures + excluded.open_failures,
    rolled_back = t.rolled_back + excluded.rolled_back,
    incidents = t.incidents + excluded.incidents,
    fixed_forward = t.fixed_forward + excluded.fixed_forward,
    rework = t.rework + excluded.rework,
    by_day = array[
      t.by_day[1] + excluded.by_day[1],
      t.by_day[2] + excluded.by_day[2],
      t.by_day[3] + excluded.by_day[3],
      t.by_day[4] + excluded.by_day[4],
      t.by_day[5] + excluded.by_day[5],
      t.by_day[6] + excluded.by_day[6],
      t.by_day[7] + excluded.by_day[7]
    ];

  -- A week in which nothing is left has no row.
  delete from metrics.service_weeks as t
  using (
    select distinct o.generation, o.service_id, metrics.week_of(o.at, g.time_zone) as week, o.environment
    from unnest(gone) as o
    join metrics.generations as g
      on g.id = o.generation
      and g.state <> 'retired'
  ) as k
  where t.generation = k.generation
    and t.service_id = k.service_id
    and t.week = k.week
    and t.environment = k.environment
    and t.deployments = 0
    and t.failed_attempts = 0
$$;
revoke execute on function metrics.count_service_deployments(metrics.service_deployments[], metrics.service_deployments[]) from public;

comment on function metrics.count_service_deployments(metrics.service_deployments[], metrics.service_deployments[]) is 'Keeps service_weeks equal to service_deployments, of which these rows went and these came.';

drop trigger if exists count_inserted on metrics.service_deployments;
drop trigger if exists count_updated on metrics.service_deployments;
drop trigger if exists count_deleted on metrics.service_deployments;
drop function if exists metrics.service_deployments_changed();

create function metrics.service_deployments_changed()
returns trigger
language plpgsql
set search_path = ''
as $$
declare
  gone metrics.service_deployments[];
  come metrics.service_deployments[];
begin
  if tg_op <> 'INSERT' then
    gone := array(select o from old_rows as o);
  end if;
  if tg_op <> 'DELETE' then
    come := array(select n from new_rows as n);
  end if;
  if cardinality(gone) > 0 or cardinality(come) > 0 then
    perform metrics.count_service_deployments(coalesce(gone, '{}'), coalesce(come, '{}'));
  end if;
  return null;
end
$$;
revoke execute on function metrics.service_deployments_changed() from public;

comment on function metrics.service_deployments_changed() is 'Counts deployments by week as they change.';

create trigger count_inserted
  after insert on metrics.service_deployments
  referencing new table as new_rows
  for each statement
  execute function metrics.service_deployments_changed();
create trigger count_updated
  after update on metrics.service_deployments
  referencing old table as old_rows new table as new_rows
  for each statement
  execute function metrics.service_deployments_changed();
create trigger count_deleted
  after delete on metrics.service_deployments
  referencing old table as old_rows
  for each statement
  execute function metrics.service_deployments_changed();

-- What a change counts as, and when: by its basis in the week of its shipping, or by why it does not count.
drop function if exists metrics.count_changes(metrics.changes[], metrics.changes[]);

create function metrics.count_changes(gone metrics.changes[], come metrics.changes[])
returns void
language sql
set search_path = ''
set enable_hashjoin = on
as $$
  with counted as materialized (
    select
      c.generation,
      c.service_id,
      metrics.week_of(l.at, g.time_zone) as week,
      l.label,
      case when c.exclusion is null then metrics.bucket_of(c.lead_seconds) end as bucket,
      c.repository_id,
      u.n * (not c.is_bot)::integer as human,
      u.n * c.is_bot::integer as bot
    from (
      select o as c, -1 as n
      from unnest(gone) as o
      union all
      select o, 1
      from unnest(come) as o
    ) as u
    cross join lateral (select (u.c).*) as c
    cross join lateral (
      select
        coalesce(c.exclusion, c.basis) as label,
        case when c.exclusion in ('rewritten', 'order_unknown') then c.started_at else c.shipped_at end as at
    ) as l
    join metrics.generations as g
      on g.id = c.generation
      and g.state <> 'retired'
    where l.at is not null
      and coalesce(c.exclusion, '') not in ('no_change', 'merge_commit', 'taken_off', 'waiting')
  ),
  labels as (
    insert into metrics.lead_time_weeks as t (generation, service_id, week, label, repository_id, human, bot)
    select c.generation, c.service_id, c.week, c.label, min(c.repository_id), sum(c.human), sum(c.bot)
    from counted as c
    group by c.generation, c.service_id, c.week, c.label
    having sum(c.human) <> 0
      or sum(c.bot) <> 0
    order by 1, 2, 3, 4
    on conflict on constraint lead_time_weeks_pkey do update set
      human = t.human + excluded.human,
      bot = t.bot + excluded.bot
  )
  insert into metrics.lead_time_week_buckets as t (generation, service_id, week, bucket, repository_id, human, bot)
  select c.generation, c.service_id, c.week, c.bucket, min(c.repository_id), sum(c.human), sum(c.bot)
  from counted as c
  where c.bucket is not null
  group by c.generation, c.service_id, c.week, c.bucket
  having sum(c.human) <> 0
    or sum(c.bot) <> 0
  order by 1, 2, 3, 4
  on conflict on constraint lead_time_week_buckets_pkey do update set
    human = t.human + excluded.human,
    bot = t.bot + excluded.bot;

  -- A week in which nothing is left has no row.
  delete from metrics.lead_time_weeks as t
  using (
    select distinct o.generation, o.service_id, metrics.week_of(coalesce(o.shipped_at, o.started_at), g.time_zone) as week
    from unnest(gone) as o
    join metrics.generations as g
      on g.id = o.generation
      and g.state <> 'retired'
    where coalesce(o.shipped_at, o.started_at) is not null
  ) as k
  where t.generation = k.generation
    and t.service_id = k.service_id
    and t.week = k.week
    and t.human = 0
    and t.bot = 0;
  delete from metrics.lead_time_week_buckets as t
  using (
    select distinct o.generation, o.service_id, metrics.week_of(o.shipped_at, g.time_zone) as week
    from unnest(gone) as o
    join metrics.generations as g
      on g.id = o.generation
      and g.state <> 'retired'
    where o.shipped_at is not null
  ) as k
  where t.generation = k.generation
    and t.service_id = k.service_id
    and t.week = k.week
    and t.human = 0
    and t.bot = 0
$$;
revoke execute on function metrics.count_changes(metrics.changes[], metrics.changes[]) from public;

comment on function metrics.count_changes(metrics.changes[], metrics.changes[]) is 'Keeps lead_time_weeks and lead_time_week_buckets equal to changes, of which these rows went and these came.';

drop trigger if exists count_inserted on metrics.changes;
drop trigger if exists count_updated on metrics.changes;
drop trigger if exists count_deleted on metrics.changes;
drop function if exists metrics.changes_changed();

create function metrics.changes_changed()
returns trigger
language plpgsql
set search_path = ''
as $$
declare
  gone metrics.changes[];
  come metrics.changes[];
begin
  -- What waits to be shipped is not counted yet.
  if tg_op <> 'INSERT' then
    gone := array(select o from old_rows as o where coalesce(o.exclusion, '') not in ('no_change', 'merge_commit', 'taken_off', 'waiting'));
  end if;
  if tg_op <> 'DELETE' then
    come := array(select n from new_rows as n where coalesce(n.exclusion, '') not in ('no_change', 'merge_commit', 'taken_off', 'waiting'));
  end if;
  if cardinality(gone) > 0 or cardinality(come) > 0 then
    perform metrics.count_changes(coalesce(gone, '{}'), coalesce(come, '{}'));
  end if;
  return null;
end
$$;
revoke execute on function metrics.changes_changed() from public;

comment on function metrics.changes_changed() is 'Counts changes by week as they change.';

create trigger count_inserted
  after insert on metrics.changes
  referencing new table as new_rows
  for each statement
  execute function metrics.changes_changed();
create trigger count_updated
  after update on metrics.changes
  referencing old table as old_rows new table as new_rows
  for each statement
  execute function metrics.changes_changed();
create trigger count_deleted
  after delete on metrics.changes
  referencing old table as old_rows
  for each statement
  execute function metrics.changes_changed();

drop function if exists metrics.forget_delivery(integer, bigint);

create function metrics.forget_delivery(generation integer, repository bigint)
returns void
language sql
set search_path = ''
as $$
  delete from metrics.deployment_failures as t
  where t.generation = forget_delivery.generation
    and t.repository_id = repository;
  delete from metrics.service_deployments as t
  where t.generation = forget_delivery.generation
    and t.repository_id = repository;
  delete from metrics.changes as t
  where t.generation = forget_delivery.generation
    and t.repository_id = repository;
  delete from metrics.branch_moves as t
  where t.generation = forget_delivery.generation
    and t.repository_id = repository
$$;
revoke execute on function metrics.forget_delivery(integer, bigint) from public;

comment on function metrics.forget_delivery(integer, bigint) is 'Deletes what was derived for a repository, and with it what was counted of it.';
