-- Incidents and what they are about; deriving all of a repository's delivery; and what is counted of it by span.

set lock_timeout = '2s';
set statement_timeout = '60s';

drop function if exists metrics.service_label(bigint);

create function metrics.service_label(service bigint)
returns text
language plpgsql
stable
set search_path = ''
as $$
begin
  return (
    select coalesce(s.name, metrics.repository_label(s.repository_id))
    from metrics.services as s
    where s.id = service
  );
end
$$;
revoke execute on function metrics.service_label(bigint) from public;

comment on function metrics.service_label(bigint) is 'What a service is called: its name, else its repository''s.';

drop function if exists metrics.services_called(integer, text);

create function metrics.services_called(generation integer, called text)
returns table (service_id bigint, repository_id bigint)
language plpgsql
stable
set search_path = ''
as $$
#variable_conflict use_column
begin
  return query
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
    and metrics.repository_label(r.id) = called;
end
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
  concerned_sources text[];
  concerned_ids text[];
  marked record;
begin
  select array_agg(c.source), array_agg(c.external_id)
  into concerned_sources, concerned_ids
  from (
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
  ) as c;
  if concerned_sources is null then
    return;
  end if;

  for marked in
    with incident as materialized (
      select i.*, r.repository_id as about_repository
      from unnest(concerned_sources, concerned_ids) as c (source, external_id)
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
        from (
          select o.*
          from metrics.repository_references as f
          join metrics.service_deployments as o
            on o.generation + 0 = link_incidents.generation
            and o.reference_id = f.id
            and o.external_id = i.deployment_external_id
          where f.repository_id in (i.about_repository, a.repository_id)
          union
          select o.*
          from metrics.service_deployments as o
          where o.member_ids is not null
            and o.member_ids @> array[i.deployment_external_id]
            and o.generation + 0 = link_incidents.generation
            and i.deployment_external_id is not null
          union
          select o.*
          from metrics.service_deployments as o
          where o.commit_sha = i.commit_sha
            and o.generation + 0 = link_incidents.generation
        ) as d
        where d.outcome = 'success'
          and (d.repository_id = i.about_repository or d.service_id = a.service_id)
        order by
          (d.external_id = i.deployment_external_id or d.member_ids @> array[i.deployment_external_id]) is true desc,
          (d.began_at <= i.opened_at) desc,
          case when d.began_at <= i.opened_at then d.began_at end desc,
          case when d.began_at <= i.opened_at then d.at end desc,
          case when d.began_at <= i.opened_at then d.external_id end collate "C" desc,
          case when d.began_at <= i.opened_at then d.reference end collate "C" desc,
          -- One run may be a deployment of several services.
          case when d.began_at <= i.opened_at then metrics.service_label(d.service_id) end collate "C" desc,
          d.began_at,
          d.at,
          d.external_id collate "C",
          d.reference collate "C",
          metrics.service_label(d.service_id) collate "C"
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
      using unnest(concerned_sources, concerned_ids) as c (source, external_id)
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
    perform metrics.mark_failures(link_incidents.generation, marked.service_id, 'infinity', 'infinity', marked.ids);
  end loop;
end
$$;
revoke execute on function metrics.link_incidents(integer, bigint, timestamptz, text[], text[]) from public;

comment on function metrics.link_incidents(integer, bigint, timestamptz, text[], text[]) is 'Finds again what incidents belong to: those of a repository opened since a moment or naming something, and these.';

-- Whose deployments go takes along what was said of incidents that name no repository: they may be about something else.
drop function if exists metrics.link_lost_incidents(integer, text, text, integer);

create function metrics.link_lost_incidents(generation integer, after_source text, after_external_id text, most integer)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
  sources text[];
  external_ids text[];
begin
  select
    array_agg(p.source order by p.source, p.external_id),
    array_agg(p.external_id order by p.source, p.external_id)
  into sources, external_ids
  from (
    select i.source, i.external_id
    from metrics.incidents as i
    where i.reference_id is null
      and (after_source is null or (i.source, i.external_id) > (after_source, after_external_id))
      and not exists (
        select
        from metrics.deployment_failures as t
        where t.generation = link_lost_incidents.generation
          and t.cause = 'incident'
          and t.incident_source = i.source
          and t.incident_external_id = i.external_id
      )
    order by i.source, i.external_id
    limit most
  ) as p;
  if sources is null then
    return null;
  end if;
  perform metrics.link_incidents(link_lost_incidents.generation, null, 'infinity', sources, external_ids);
  return jsonb_build_array(sources[cardinality(sources)], external_ids[cardinality(external_ids)]);
end
$$;
revoke execute on function metrics.link_lost_incidents(integer, text, text, integer) from public;

comment on function metrics.link_lost_incidents(integer, text, text, integer) is 'Finds what incidents belong to that name no repository and were linked to nothing, not even to that: so many after one. Returns the last, to go on after; NULL when there is none.';

drop function if exists metrics.link_all_lost_incidents(integer);

create function metrics.link_all_lost_incidents(generation integer)
returns void
language plpgsql
set search_path = ''
as $$
declare
  reached jsonb := '[]';
begin
  while reached is not null loop
    reached := metrics.link_lost_incidents(link_all_lost_incidents.generation, reached ->> 0, reached ->> 1, 1000);
  end loop;
end
$$;
revoke execute on function metrics.link_all_lost_incidents(integer) from public;

comment on function metrics.link_all_lost_incidents(integer) is 'The same, all of them.';

do $$
begin
  if to_regtype('metrics.touched') is null then
    create type metrics.touched as (
      is_whole boolean,
      pushed_since timestamptz,
      untimed_pushes bigint[],
      shas text[],
      deployed_shas text[],
      pull_request_references bigint[],
      pull_request_numbers integer[],
      deployment_ids text[],
      is_renamed boolean
    );
  end if;
end
$$;

revoke usage on type metrics.touched from public;

comment on type metrics.touched is 'What was told about a repository: all of it, or pushes since a moment, pushes without a time, commits, deployed commits, pull requests, deployments, its name.';

-- How far a repository is that is being derived in slices.
create table if not exists metrics.under_way (
  generation integer primary key,
  repository_id bigint not null,
  place jsonb
);

comment on table metrics.under_way is 'The repository that is being derived in a generation that is built, and how far that is.';
comment on column metrics.under_way.generation is 'The generation.';
comment on column metrics.under_way.repository_id is 'The repository.';
comment on column metrics.under_way.place is 'Where to go on: see metrics.derive_slice. NULL once all is derived but what was told meanwhile.';

create table if not exists metrics.postponed (
  id bigint generated always as identity primary key,
  generation integer not null,
  repository_id bigint not null,
  told metrics.touched not null
);

create index if not exists postponed_repository_id_idx on metrics.postponed (generation, repository_id, id);

comment on table metrics.postponed is 'What was told of a repository while it was being derived in slices: it is derived after them.';
comment on column metrics.postponed.id is 'Key.';
comment on column metrics.postponed.generation is 'The generation.';
comment on column metrics.postponed.repository_id is 'The repository.';
comment on column metrics.postponed.told is 'What was told.';

-- All of a repository of which nothing is derived yet, so much at a time. What is told between two slices is derived once more after the
-- last, so it makes no difference whether a slice saw it.
drop function if exists metrics.derive_slice(integer, bigint, jsonb, integer);

create function metrics.derive_slice(generation integer, repository bigint, place jsonb, most integer)
returns jsonb
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  siblings constant bigint[] := array(select r.id from metrics.repository_references as r where r.repository_id = repository order by r.id);
  stage constant text := coalesce(place ->> 'stage', 'moves');
  -- The stage after this one. Services are gone through one after the other.
  service constant bigint := place ->> 'service';
  next_service bigint;
  since timestamptz;
  until timestamptz;
  this_line integer;
  first_ordinal integer;
  last_ordinal integer;
  this_reference bigint;
  last_id text;
  seen integer;
  reached jsonb;
  shas text[];
  ids text[];
  sources text[];
begin
  if stage in ('taken_off_shipped', 'shipped', 'unknown_order') then
    select min(s.id)
    into next_service
    from metrics.services as s
    where s.generation = derive_slice.generation
      and s.repository_id = repository
      and s.id > service;
  end if;

  case stage
    when 'moves' then
      perform metrics.ensure_service(derive_slice.generation, repository);
      if exists (
        select
        from metrics.pushes as p
        where p.reference_id = any(siblings)
          and p.on_default_branch is not false
          and p.pushed_at is null
      ) then
        -- Each may follow any other: all at once.
        perform metrics.order_moves(derive_slice.generation, repository, '-infinity', 'infinity', true);
        return '{"stage": "places", "line": -1, "ordinal": 0}';
      end if;
      since := coalesce(place ->> 'since', '-infinity');
      select min(u.pushed_at)
      into until
      from unnest(siblings) as r (id)
      cross join lateral (
        select p.pushed_at
        from metrics.pushes as p
        where p.reference_id = r.id
          and p.on_default_branch is not false
          and p.pushed_at > since
        order by p.pushed_at
        offset most
        limit 1
      ) as u;
      perform metrics.order_moves(derive_slice.generation, repository, since, coalesce(until, 'infinity'), false);
      return case
        when until is null then '{"stage": "places", "line": -1, "ordinal": 0}'::jsonb
        else jsonb_build_object('stage', 'moves', 'since', until)
      end;

    when 'places' then
      -- Moves with about so many commits, of one line.
      select m.line, m.ordinal
      into this_line, first_ordinal
      from metrics.branch_moves as m
      where m.generation = derive_slice.generation
        and m.repository_id = repository
        and (m.line, m.ordinal) > ((place ->> 'line')::integer, (place ->> 'ordinal')::integer)
      order by m.line, m.ordinal
      limit 1;
      if not found then
        return '{"stage": "taken_off", "line": -1, "ordinal": 0}';
      end if;
      select max(u.ordinal)
      into last_ordinal
      from (
        select m.ordinal, sum(coalesce(cardinality(p.commits), 0) + 1) over (order by m.ordinal) - coalesce(cardinality(p.commits), 0) as commits
        from (
          select o.ordinal, o.push_id
          from metrics.branch_moves as o
          where o.generation = derive_slice.generation
            and o.repository_id = repository
            and o.line = this_line
            and o.ordinal >= first_ordinal
          order by o.ordinal
          limit most
        ) as m
        join metrics.pushes as p
          on p.id = m.push_id
      ) as u
      where u.commits <= most
        or u.ordinal = first_ordinal;
      perform metrics.place_changes(derive_slice.generation, repository, this_line, first_ordinal, last_ordinal, '{}');
      return jsonb_build_object('stage', 'places', 'line', this_line, 'ordinal', last_ordinal);

    when 'taken_off' then
      select m.line, m.ordinal
      into this_line, first_ordinal
      from metrics.branch_moves as m
      where m.generation = derive_slice.generation
        and m.repository_id = repository
        and m.is_forced
        and (m.line, m.ordinal) > ((place ->> 'line')::integer, (place ->> 'ordinal')::integer)
      order by m.line, m.ordinal
      limit 1;
      if not found then
        return '{"stage": "described", "after": []}';
      end if;
      shas := metrics.take_off_changes(derive_slice.generation, repository, this_line, first_ordinal, most);
      return jsonb_build_object(
        'stage', 'taken_off',
        'line', this_line,
        'ordinal', case when cardinality(shas) < most then first_ordinal else first_ordinal - 1 end
      );

    when 'described' then
      select array_agg(distinct c.sha), (array_agg(jsonb_build_array(c.line, c.position) order by c.line desc, c.position desc))[1]
      into shas, reached
      from (
        select t.sha, t.line, t.position
        from metrics.changes as t
        where t.generation = derive_slice.generation
          and t.repository_id = repository
          and (t.line, t.position) > (coalesce((place -> 'after' ->> 0)::integer, -1), coalesce((place -> 'after' ->> 1)::bigint, -1))
        order by t.line, t.position
        limit most
      ) as c;
      if shas is null then
        return '{"stage": "deployments"}';
      end if;
      perform metrics.describe_changes(derive_slice.generation, repository, shas);
      return jsonb_build_object('stage', 'described', 'after', reached);

    when 'deployments', 'pipeline_runs', 'releases' then
      this_reference := coalesce((place ->> 'reference')::bigint, siblings[1]);
      -- From the last one on, which is written once more: there may be no other way to say where the first is.
      if stage = 'deployments' then
        select
          array_agg(distinct d.commit_sha) filter (where d.commit_sha is not null),
          array_agg(d.external_id) filter (where d.commit_sha is null),
          max(d.external_id),
          count(*)
        into shas, ids, last_id, seen
        from (
          select f.external_id, f.commit_sha
          from metrics.deployments as f
          where f.reference_id = this_reference
            and f.external_id >= coalesce(place ->> 'external_id', '')
          order by f.external_id
          limit most + 1
        ) as d;
      elsif stage = 'releases' then
        select array_agg(d.external_id), max(d.external_id), count(*)
        into ids, last_id, seen
        from (
          select f.external_id
          from metrics.releases as f
          where f.reference_id = this_reference
            and f.external_id >= coalesce(place ->> 'external_id', '')
          order by f.external_id
          limit most + 1
        ) as d;
      elsif exists (
        select
        from metrics.services as s
        where s.generation = derive_slice.generation
          and s.repository_id = repository
          and s.source = 'pipeline'
      ) then
        select array_agg(distinct d.external_id), max(d.external_id), count(distinct d.external_id)
        into ids, last_id, seen
        from (
          select f.external_id
          from metrics.pipeline_runs as f
          where f.reference_id = this_reference
            and f.external_id >= coalesce(place ->> 'external_id', '')
          order by f.external_id
          limit most + 1
        ) as d;
      end if;
      if cardinality(shas) > 0 or cardinality(ids) > 0 then
        perform metrics.write_deployments(derive_slice.generation, repository, coalesce(shas, '{}'), coalesce(ids, '{}'));
      end if;
      if seen > 1 and last_id is distinct from place ->> 'external_id' then
        return jsonb_build_object('stage', stage, 'reference', this_reference, 'external_id', last_id);
      end if;
      select min(u.id)
      into this_reference
      from unnest(siblings) as u (id)
      where u.id > coalesce((place ->> 'reference')::bigint, siblings[1]);
      if this_reference is not null then
        return jsonb_build_object('stage', stage, 'reference', this_reference);
      end if;
      if stage <> 'releases' then
        return jsonb_build_object('stage', case stage when 'deployments' then 'pipeline_runs' else 'releases' end);
      end if;
      select min(s.id)
      into next_service
      from metrics.services as s
      where s.generation = derive_slice.generation
        and s.repository_id = repository;
      return jsonb_build_object('stage', 'taken_off_shipped', 'service', next_service, 'after', '[]'::jsonb);

    when 'taken_off_shipped' then
      reached := metrics.ship_taken_off(derive_slice.generation, repository, service, place -> 'after', most);
      return case
        when reached is not null then jsonb_build_object('stage', 'taken_off_shipped', 'service', service, 'after', reached)
        else jsonb_build_object('stage', 'shipped', 'service', service)
      end;

    when 'shipped' then
      since := coalesce(place ->> 'since', '-infinity');
      select d.at
      into until
      from metrics.service_deployments as d
      where d.generation = derive_slice.generation
        and d.service_id = service
        and d.at > since
      order by d.at
      offset most / 2
      limit 1;
      -- No end of time: that would say that what follows from later ones is there.
      until := coalesce(until, '294276-01-01');
      reached := metrics.ship_advancing(derive_slice.generation, repository, service, since, until, place -> 'after', most);
      if reached is not null then
        return place || jsonb_build_object('after', reached);
      end if;
      perform metrics.ship(derive_slice.generation, repository, service, since, until);
      return case
        when until < '294276-01-01' then jsonb_build_object('stage', 'shipped', 'service', service, 'since', until)
        else jsonb_build_object('stage', 'unknown_order', 'service', service)
      end;

    when 'unknown_order' then
      if metrics.mark_unknown_order(derive_slice.generation, repository, service, most) >= most then
        return place;
      end if;
      return case
        when next_service is not null then jsonb_build_object('stage', 'taken_off_shipped', 'service', next_service, 'after', '[]'::jsonb)
        else '{"stage": "incidents", "after": []}'::jsonb
      end;

    when 'incidents' then
      select
        array_agg(i.source order by i.source, i.external_id),
        array_agg(i.external_id order by i.source, i.external_id)
      into sources, ids
      from (
        select o.source, o.external_id
        from (
          select f.source, f.external_id
          from metrics.incidents as f
          where f.reference_id = any(siblings)
          union
          select f.source, f.external_id
          from metrics.services as s
          cross join lateral (select lower(metrics.service_label(s.id)) as label offset 0) as l
          join metrics.incidents as f
            on lower(f.service) = l.label
            and f.reference_id is null
          where s.generation = derive_slice.generation
            and s.repository_id = repository
        ) as o
        where place -> 'after' = '[]'
          or (o.source, o.external_id) > (place -> 'after' ->> 0, place -> 'after' ->> 1)
        order by o.source, o.external_id
        limit most / 4 + 1
      ) as i;
      if sources is null then
        return null;
      end if;
      perform metrics.link_incidents(derive_slice.generation, null, 'infinity', sources, ids);
      return jsonb_build_object(
        'stage', 'incidents', 'after', jsonb_build_array(sources[cardinality(sources)], ids[cardinality(ids)])
      );
  end case;
end
$$;
revoke execute on function metrics.derive_slice(integer, bigint, jsonb, integer) from public;

comment on function metrics.derive_slice(integer, bigint, jsonb, integer) is 'Derives the next so many facts of a repository of which nothing was derived before, from a place on (NULL: the beginning). Returns where to go on; NULL when nothing is left.';

-- Everything that joins facts of a repository, for one generation. The repository's lock must be held.
drop function if exists metrics.derive_delivery(integer, bigint, metrics.touched);

create function metrics.derive_delivery(generation integer, repository bigint, told metrics.touched)
returns void
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
  siblings constant bigint[] := array(select r.id from metrics.repository_references as r where r.repository_id = repository);
  place jsonb;
  has_untimed boolean;
  has_fallen_back boolean;
  is_placed boolean := false;
  tail record;
  first_line integer;
  first_ordinal integer;
  placed text[];
  merging text[];
  told_shas text[] := '{}';
  deployed_shas text[];
  changed text[] := '{}';
  mended_since timestamptz;
  began_since timestamptz;
  sinces jsonb := '{}';
  one record;
begin
  if told.is_whole then
    perform metrics.forget_delivery(derive_delivery.generation, repository);
    loop
      place := metrics.derive_slice(derive_delivery.generation, repository, place, 1000);
      exit when place is null;
    end loop;
    perform metrics.link_all_lost_incidents(derive_delivery.generation);
    return;
  end if;
  perform metrics.ensure_service(derive_delivery.generation, repository);

  -- Commits of which something was told, those that pull requests became of which it was, and those that they were before.
  if cardinality(told.shas) > 0 or cardinality(told.pull_request_numbers) > 0 then
    told_shas := array(
      select s.sha
      from (
        select unnest(told.shas) as sha
        union
        select p.merge_sha
        from unnest(told.pull_request_references, told.pull_request_numbers) as t (reference_id, number)
        join metrics.pull_requests as p
          on p.reference_id = t.reference_id
          and p.number = t.number
        union
        select c.sha
        from unnest(told.pull_request_references, told.pull_request_numbers) as t (reference_id, number)
        join metrics.changes as c
          on c.pull_request_reference_id = t.reference_id
          and c.pull_request_number = t.number
          and c.generation = derive_delivery.generation
          and c.repository_id = repository
      ) as s
      where exists (
        select
        from metrics.changes as c
        where c.sha = s.sha
          and c.generation + 0 = derive_delivery.generation
          and c.repository_id + 0 = repository
      )
    );
  end if;

  -- Where commits stand.
  if told.pushed_since is not null or cardinality(told.untimed_pushes) > 0 then
    if told.pushed_since is null and cardinality(told.untimed_pushes) = 1 then
      select *
      into tail
      from metrics.append_move(derive_delivery.generation, repository, told.untimed_pushes[1]);
      is_placed := tail.is_done;
      first_line := tail.first_line;
      first_ordinal := tail.first_ordinal;
    end if;
    if not is_placed then
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
        case when cardinality(told.untimed_pushes) > 0 then '-infinity' else told.pushed_since end,
        'infinity',
        has_untimed
      );
      first_line := tail.first_line;
      first_ordinal := tail.first_ordinal;
    end if;
  end if;
  if first_ordinal is not null or cardinality(told_shas) > 0 then
    select p.written, p.merging, p.fallen_back
    into placed, merging, has_fallen_back
    from metrics.place_changes(derive_delivery.generation, repository, first_line, first_ordinal, 2147483647, told_shas) as p;
    if first_ordinal is not null then
      placed := placed || metrics.take_off_all(derive_delivery.generation, repository, first_line, first_ordinal, has_fallen_back);
      placed := array(select distinct p from unnest(placed) as p);
    end if;
    changed := array(select unnest(merging) union select unnest(told_shas));
    -- A part at a time, so that it takes as long for each whatever their number.
    for part in 0 .. (cardinality(changed) + 499) / 500 - 1 loop
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

  -- What was deployed. What was there under these ids before may have been of another commit.
  if cardinality(told.deployed_shas) > 0 or cardinality(told.deployment_ids) > 0 then
    deployed_shas := array(
      select unnest(told.deployed_shas)
      union
      select d.commit_sha
      from unnest(siblings) as r (id)
      cross join unnest(told.deployment_ids) as i (external_id)
      join metrics.service_deployments as d
        on d.generation + 0 = derive_delivery.generation
        and d.reference_id = r.id
        and d.external_id = i.external_id
      where d.commit_sha is not null
      union
      select d.commit_sha
      from metrics.service_deployments as d
      where d.generation + 0 = derive_delivery.generation
        and d.repository_id + 0 = repository
        and d.member_ids is not null
        and d.member_ids && told.deployment_ids
    );
    for one in
      select w.service_id, w.since, w.began_since
      from metrics.write_deployments(derive_delivery.generation, repository, deployed_shas, coalesce(told.deployment_ids, '{}')) as w
    loop
      sinces := sinces || jsonb_build_object(one.service_id, least(one.since, (sinces ->> one.service_id::text)::timestamptz));
      began_since := least(began_since, one.began_since);
    end loop;
  end if;

  -- A commit that stands elsewhere now: what was deployed of it, and whatever was deployed from there on.
  if cardinality(placed) > 0 then
    for one in
      with stands as materialized (
        select p.sha, c.line, c.position, c.service_id, c.shipped_at
        from unnest(placed) as p (sha)
        left join lateral (
          select v.line, v.position, v.service_id, v.shipped_at
          from metrics.changes as v
          where v.sha = p.sha
            and v.generation + 0 = derive_delivery.generation
            and v.repository_id + 0 = repository
          offset 0
        ) as c
          on true
      ),
      elsewhere as (
        update metrics.service_deployments as d
        set
          line = o.line,
          position = o.position
        from (
          select d.row_id, c.line, c.position
          from (select distinct s.sha, s.line, s.position from stands as s) as c
          cross join lateral (
            select t.ctid as row_id, t.line, t.position
            from metrics.service_deployments as t
            where t.commit_sha = c.sha
              and t.generation + 0 = derive_delivery.generation
              and t.repository_id + 0 = repository
            offset 0
          ) as d
          where (d.line, d.position) is distinct from (c.line, c.position)
        ) as o
        where d.ctid = o.row_id
        returning d.service_id, d.at
      ),
      least_place as (
        select s.line, min(s.position) as position
        from stands as s
        where s.line is not null
        group by s.line
      ),
      beyond as (
        select s.id as service_id, d.at
        from metrics.services as s
        cross join least_place as l
        cross join lateral (
          select min(o.at) as at
          from (
            -- Looked up by their places: the first by its time would be found behind all that came before it.
            select t.at
            from metrics.service_deployments as t
            where t.generation = derive_delivery.generation
              and t.service_id = s.id
              and t.outcome = 'success'
              and t.line = l.line
              and t.position >= l.position
            offset 0
          ) as o
        ) as d
        where s.generation = derive_delivery.generation
          and s.repository_id = repository
          and d.at is not null
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
        select s.service_id, s.shipped_at
        from stands as s
        where s.shipped_at is not null
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
      cross join lateral (
        select v.service_id, v.shipped_at
        from metrics.changes as v
        where v.sha = t.sha
          and v.generation + 0 = derive_delivery.generation
          and v.repository_id + 0 = repository
        offset 0
      ) as c
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
    if one.since < 'infinity' then
      perform metrics.ship(derive_delivery.generation, repository, one.service_id, one.since, 'infinity');
    end if;
    perform metrics.mark_unknown_order(derive_delivery.generation, repository, one.service_id, null);
  end loop;

  -- What went wrong.
  if told.is_renamed then
    perform metrics.link_incidents(derive_delivery.generation, repository, '-infinity', '{}', '{}');
  elsif began_since is not null then
    perform metrics.link_incidents(derive_delivery.generation, repository, began_since, '{}', '{}');
  end if;
end
$$;
revoke execute on function metrics.derive_delivery(integer, bigint, metrics.touched) from public;

comment on function metrics.derive_delivery(integer, bigint, metrics.touched) is 'Derives what joins facts of a repository in one generation: the order of its commits, what each deployment shipped, and what failed.';

-- What was told between slices, of so many deliveries at a time.
drop function if exists metrics.derive_postponed(integer, bigint, integer);

create function metrics.derive_postponed(generation integer, repository bigint, most integer)
returns boolean
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
  ids bigint[];
  told metrics.touched;
begin
  ids := array(
    select p.id
    from metrics.postponed as p
    where p.generation = derive_postponed.generation
      and p.repository_id = repository
    order by p.id
    limit most
  );
  if cardinality(ids) = 0 then
    return false;
  end if;
  select
    false,
    min((p.told).pushed_since),
    array(select distinct u from metrics.postponed as o, unnest((o.told).untimed_pushes) as u where o.id = any(ids)),
    array(select distinct u from metrics.postponed as o, unnest((o.told).shas) as u where o.id = any(ids)),
    array(select distinct u from metrics.postponed as o, unnest((o.told).deployed_shas) as u where o.id = any(ids)),
    array(
      select u.reference_id
      from metrics.postponed as o
      cross join lateral unnest((o.told).pull_request_references, (o.told).pull_request_numbers) as u (reference_id, number)
      where o.id = any(ids)
      order by u.reference_id, u.number
    ),
    array(
      select u.number
      from metrics.postponed as o
      cross join lateral unnest((o.told).pull_request_references, (o.told).pull_request_numbers) as u (reference_id, number)
      where o.id = any(ids)
      order by u.reference_id, u.number
    ),
    array(select distinct u from metrics.postponed as o, unnest((o.told).deployment_ids) as u where o.id = any(ids)),
    bool_or((p.told).is_renamed)
  into told
  from metrics.postponed as p
  where p.id = any(ids);
  perform metrics.derive_delivery(derive_postponed.generation, repository, told);
  delete from metrics.postponed as p
  where p.id = any(ids);
  return true;
end
$$;
revoke execute on function metrics.derive_postponed(integer, bigint, integer) from public;

comment on function metrics.derive_postponed(integer, bigint, integer) is 'Derives what was told of a repository while it was derived in slices: what the first so many deliveries told. False when there is none.';

-- What is counted by week and by day, and by four weeks, in the same transaction as the rows that it is counted from. A period is read from its
-- weeks, and from the days by which those miss it.
create table if not exists metrics.service_spans (
  generation integer not null,
  service_id bigint not null,
  days smallint not null,
  first_day date not null,
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
  recovered integer not null default 0,
  recovery_tally numeric not null default 0,
  constraint service_spans_pkey primary key (generation, service_id, days, first_day, environment)
);

comment on table metrics.service_spans is 'Production deployments of services by environment and ISO week, and again by day. Equals its recomputation from service_deployments.';
comment on column metrics.service_spans.generation is 'The generation that it belongs to.';
comment on column metrics.service_spans.service_id is 'Service.';
comment on column metrics.service_spans.days is '7 for a week, 1 for a day.';
comment on column metrics.service_spans.first_day is 'Monday of the week, or the day, in which they were done, or ended.';
comment on column metrics.service_spans.environment is 'Environment.';
comment on column metrics.service_spans.repository_id is 'Repository of the service.';
comment on column metrics.service_spans.deployments is 'Successful ones.';
comment on column metrics.service_spans.redeploys is 'Successful ones of the commit that was there.';
comment on column metrics.service_spans.firsts is 'Whether the service''s first is among them.';
comment on column metrics.service_spans.unknown_commits is 'Successful ones of a commit that is not on the default branch.';
comment on column metrics.service_spans.failed_attempts is 'Those that did not reach the environment.';
comment on column metrics.service_spans.failed_changes is 'Successful ones that failed afterwards.';
comment on column metrics.service_spans.open_failures is 'Those of them that nothing has ended yet.';
comment on column metrics.service_spans.rolled_back is 'Failed ones that were rolled back.';
comment on column metrics.service_spans.incidents is 'Failed ones with an incident.';
comment on column metrics.service_spans.fixed_forward is 'Failed ones that were fixed forward.';
comment on column metrics.service_spans.rework is 'Successful ones that rolled back or fixed another.';
comment on column metrics.service_spans.by_day is 'Successful ones by day of the week, Monday first.';
comment on column metrics.service_spans.recovered is 'Failures that ended then, whenever they were deployed.';
comment on column metrics.service_spans.recovery_tally is 'How long those took to end: a tally of their seconds, see metrics.tally_of.';

create table if not exists metrics.lead_time_spans (
  generation integer not null,
  service_id bigint not null,
  days smallint not null,
  first_day date not null,
  only_bots boolean not null,
  repository_id bigint not null,
  from_commit integer not null,
  from_first_commit integer not null,
  from_pull_request_opened integer not null,
  first_deployment integer not null,
  rewritten integer not null,
  order_unknown integer not null,
  start_unknown integer not null,
  start_after_shipping integer not null,
  lead_tally numeric not null,
  constraint lead_time_spans_pkey primary key (generation, service_id, days, first_day, only_bots)
)
with (fillfactor = 70);

comment on table metrics.lead_time_spans is 'Changes of services by ISO week, again by four of them and by day: those that count by their basis, others by why they do not. Equals its recomputation from changes.';
comment on column metrics.lead_time_spans.generation is 'The generation that it belongs to.';
comment on column metrics.lead_time_spans.service_id is 'Service.';
comment on column metrics.lead_time_spans.days is '28 for four weeks, 7 for a week, 1 for a day.';
comment on column metrics.lead_time_spans.first_day is 'The first of them: Monday, or the day in which they were shipped, or, of those that were not, begun.';
comment on column metrics.lead_time_spans.only_bots is 'Whether these are those of bots alone, or all: those of humans are all less those of bots.';
comment on column metrics.lead_time_spans.repository_id is 'Repository of the service.';
comment on column metrics.lead_time_spans.from_commit is 'Changes that began with their own commit.';
comment on column metrics.lead_time_spans.from_first_commit is 'Changes that began with the first commit of their pull request.';
comment on column metrics.lead_time_spans.from_pull_request_opened is 'Changes that began as their pull request was opened.';
comment on column metrics.lead_time_spans.first_deployment is 'Left out: shipped by the first deployment of the service.';
comment on column metrics.lead_time_spans.rewritten is 'Left out: taken off the branch by force before they were shipped.';
comment on column metrics.lead_time_spans.order_unknown is 'Left out: nobody knows whether they were shipped.';
comment on column metrics.lead_time_spans.start_unknown is 'Left out: nobody knows when they began.';
comment on column metrics.lead_time_spans.start_after_shipping is 'Left out: begun after they were shipped, by the clocks of those who say so.';
comment on column metrics.lead_time_spans.lead_tally is 'How long those took that count: a tally of their seconds, see metrics.tally_of.';

-- Adds to spans what came and takes away what went. Both triggers below work so: on insert, update and delete. In PL/pgSQL, which keeps
-- the plans: planning them took longer than counting one deployment.
drop function if exists metrics.count_service_deployments(metrics.service_deployments[], metrics.service_deployments[]);

create function metrics.count_service_deployments(gone metrics.service_deployments[], come metrics.service_deployments[])
returns void
language plpgsql
set search_path = ''
set enable_hashjoin = on
as $$
begin
  with counted as (
    select
      c.generation,
      c.service_id,
      s.days,
      s.first_day,
      c.environment,
      c.repository_id,
      u.n,
      w.is_end,
      not w.is_end and c.outcome = 'success' as is_deployed,
      not w.is_end and c.outcome = 'failure' as is_failed_attempt,
      not w.is_end and c.causes is not null as is_failed_change,
      extract(isodow from c.at at time zone g.time_zone) as day,
      not w.is_end and c.is_redeploy as is_redeploy,
      not w.is_end and c.is_first as is_first,
      not w.is_end and c.is_rework as is_rework,
      c.position,
      c.causes,
      c.recovered_at,
      c.recovery_seconds
    from (
      select o as c, -1 as n
      from unnest(gone) as o
      union all
      select o, 1
      from unnest(come) as o
    ) as u
    cross join lateral (select (u.c).*) as c
    -- Once where it was done, and once where its failure ended.
    join lateral (values (c.at, false), (c.recovered_at, true)) as w (at, is_end)
      on not w.is_end
      or (c.causes is not null and c.recovery_seconds is not null)
    join metrics.generations as g
      on g.id = c.generation
      and g.state <> 'retired'
    -- Not by four weeks: on how many days of each week something was deployed is asked for with them.
    join lateral metrics.spans_of(w.at, g.time_zone) as s
      on s.days < 28
  ),
  added as (
    select
      c.generation,
      c.service_id,
      c.days,
      c.first_day,
      c.environment,
      min(c.repository_id) as repository_id,
      coalesce(sum(c.n) filter (where c.is_deployed), 0) as deployments,
      coalesce(sum(c.n) filter (where c.is_redeploy), 0) as redeploys,
      coalesce(sum(c.n) filter (where c.is_first), 0) as firsts,
      coalesce(sum(c.n) filter (where c.is_deployed and c.position is null), 0) as unknown_commits,
      coalesce(sum(c.n) filter (where c.is_failed_attempt), 0) as failed_attempts,
      coalesce(sum(c.n) filter (where c.is_failed_change), 0) as failed_changes,
      coalesce(sum(c.n) filter (where c.is_failed_change and c.recovered_at is null), 0) as open_failures,
      coalesce(sum(c.n) filter (where c.is_failed_change and 'rolled_back' = any(c.causes)), 0) as rolled_back,
      coalesce(sum(c.n) filter (where c.is_failed_change and 'incident' = any(c.causes)), 0) as incidents,
      coalesce(sum(c.n) filter (where c.is_failed_change and 'fixed_forward' = any(c.causes)), 0) as fixed_forward,
      coalesce(sum(c.n) filter (where c.is_rework), 0) as rework,
      array[
        coalesce(sum(c.n) filter (where c.is_deployed and c.day = 1), 0),
        coalesce(sum(c.n) filter (where c.is_deployed and c.day = 2), 0),
        coalesce(sum(c.n) filter (where c.is_deployed and c.day = 3), 0),
        coalesce(sum(c.n) filter (where c.is_deployed and c.day = 4), 0),
        coalesce(sum(c.n) filter (where c.is_deployed and c.day = 5), 0),
        coalesce(sum(c.n) filter (where c.is_deployed and c.day = 6), 0),
        coalesce(sum(c.n) filter (where c.is_deployed and c.day = 7), 0)
      ] as by_day,
      coalesce(sum(c.n) filter (where c.is_end), 0) as recovered,
      coalesce(sum(c.n * metrics.tally_of(metrics.bucket_of(c.recovery_seconds))) filter (where c.is_end), 0) as recovery_tally
    from counted as c
    group by c.generation, c.service_id, c.days, c.first_day, c.environment
  )
  insert into metrics.service_spans as t (
    generation, service_id, days, first_day, environment, repository_id, deployments, redeploys, firsts, unknown_commits, failed_attempts,
    failed_changes, open_failures, rolled_back, incidents, fixed_forward, rework, by_day, recovered, recovery_tally
  )
  select
    a.generation, a.service_id, a.days, a.first_day, a.environment, a.repository_id, a.deployments, a.redeploys, a.firsts, a.unknown_commits,
    a.failed_attempts, a.failed_changes, a.open_failures, a.rolled_back, a.incidents, a.fixed_forward, a.rework, a.by_day, a.recovered,
    a.recovery_tally
  from added as a
  where (
    a.deployments, a.redeploys, a.firsts, a.unknown_commits, a.failed_attempts, a.failed_changes, a.open_failures, a.rolled_back, a.incidents,
    a.fixed_forward, a.rework, a.by_day, a.recovered, a.recovery_tally
  ) <> (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, array[0, 0, 0, 0, 0, 0, 0]::bigint[], 0, 0)
  order by 1, 2, 3, 4, 5
  on conflict on constraint service_spans_pkey do update set
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
    ],
    recovered = t.recovered + excluded.recovered,
    recovery_tally = t.recovery_tally + excluded.recovery_tally;

  -- A span in which nothing is left has no row.
  if cardinality(gone) > 0 then
    delete from metrics.service_spans as t
    using (
      select distinct o.generation, o.service_id, s.days, s.first_day, o.environment
      from unnest(gone) as o
      join lateral (values (o.at), (o.recovered_at)) as w (at)
        on w.at is not null
      join metrics.generations as g
        on g.id = o.generation
        and g.state <> 'retired'
      cross join lateral metrics.spans_of(w.at, g.time_zone) as s
    ) as k
    where t.generation = k.generation
      and t.service_id = k.service_id
      and t.days = k.days
      and t.first_day = k.first_day
      and t.environment = k.environment
      and t.deployments = 0
      and t.failed_attempts = 0
      and t.recovered = 0;
  end if;
end
$$;
revoke execute on function metrics.count_service_deployments(metrics.service_deployments[], metrics.service_deployments[]) from public;

comment on function metrics.count_service_deployments(metrics.service_deployments[], metrics.service_deployments[]) is 'Keeps service_spans equal to service_deployments, of which these rows went and these came.';

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

comment on function metrics.service_deployments_changed() is 'Counts deployments by span as they change.';

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
language plpgsql
set search_path = ''
set enable_hashjoin = on
as $$
begin
  insert into metrics.lead_time_spans as t (
    generation, service_id, days, first_day, only_bots, repository_id, from_commit, from_first_commit, from_pull_request_opened,
    first_deployment, rewritten, order_unknown, start_unknown, start_after_shipping, lead_tally
  )
  select *
  from (
    select
      c.generation,
      c.service_id,
      s.days,
      s.first_day,
      b.only_bots,
      min(c.repository_id) as repository_id,
      coalesce(sum(u.n) filter (where l.label = 'commit'), 0) as from_commit,
      coalesce(sum(u.n) filter (where l.label = 'first_commit'), 0) as from_first_commit,
      coalesce(sum(u.n) filter (where l.label = 'pull_request_opened'), 0) as from_pull_request_opened,
      coalesce(sum(u.n) filter (where l.label = 'first_deployment'), 0) as first_deployment,
      coalesce(sum(u.n) filter (where l.label = 'rewritten'), 0) as rewritten,
      coalesce(sum(u.n) filter (where l.label = 'order_unknown'), 0) as order_unknown,
      coalesce(sum(u.n) filter (where l.label = 'start_unknown'), 0) as start_unknown,
      coalesce(sum(u.n) filter (where l.label = 'start_after_shipping'), 0) as start_after_shipping,
      coalesce(sum(u.n * metrics.tally_of(metrics.bucket_of(c.lead_seconds))) filter (where c.exclusion is null), 0) as lead_tally
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
    cross join lateral metrics.spans_of(l.at, g.time_zone) as s
    -- All, and again those of bots, which are few: what is asked for most is read from one row, and a human's is counted in one.
    join (values (false), (true)) as b (only_bots)
      on c.is_bot
      or not b.only_bots
    where l.at is not null
      and coalesce(c.exclusion, '') not in ('no_change', 'merge_commit', 'taken_off', 'waiting')
    group by c.generation, c.service_id, s.days, s.first_day, b.only_bots
  ) as a
  where (
    a.from_commit, a.from_first_commit, a.from_pull_request_opened, a.first_deployment, a.rewritten, a.order_unknown, a.start_unknown, a.start_after_shipping,
    a.lead_tally
  ) <> (0, 0, 0, 0, 0, 0, 0, 0, 0)
  order by a.generation, a.service_id, a.days, a.first_day, a.only_bots
  on conflict on constraint lead_time_spans_pkey do update set
    from_commit = t.from_commit + excluded.from_commit,
    from_first_commit = t.from_first_commit + excluded.from_first_commit,
    from_pull_request_opened = t.from_pull_request_opened + excluded.from_pull_request_opened,
    first_deployment = t.first_deployment + excluded.first_deployment,
    rewritten = t.rewritten + excluded.rewritten,
    order_unknown = t.order_unknown + excluded.order_unknown,
    start_unknown = t.start_unknown + excluded.start_unknown,
    start_after_shipping = t.start_after_shipping + excluded.start_after_shipping,
    lead_tally = t.lead_tally + excluded.lead_tally;

  -- A span in which nothing is left has no row.
  if cardinality(gone) > 0 then
    delete from metrics.lead_time_spans as t
    using (
      select distinct o.generation, o.service_id, s.days, s.first_day
      from unnest(gone) as o
      join metrics.generations as g
        on g.id = o.generation
        and g.state <> 'retired'
      cross join lateral metrics.spans_of(coalesce(o.shipped_at, o.started_at), g.time_zone) as s
      where coalesce(o.shipped_at, o.started_at) is not null
    ) as k
    where t.generation = k.generation
      and t.service_id = k.service_id
      and t.days = k.days
      and t.first_day = k.first_day
      and t.from_commit + t.from_first_commit + t.from_pull_request_opened + t.first_deployment + t.rewritten + t.order_unknown + t.start_unknown
        + t.start_after_shipping = 0;
  end if;
end
$$;
revoke execute on function metrics.count_changes(metrics.changes[], metrics.changes[]) from public;

comment on function metrics.count_changes(metrics.changes[], metrics.changes[]) is 'Keeps lead_time_spans equal to changes, of which these rows went and these came.';

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

comment on function metrics.changes_changed() is 'Counts changes by span as they change.';

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
language plpgsql
set search_path = ''
as $$
begin
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
    and t.repository_id = repository;
end
$$;
revoke execute on function metrics.forget_delivery(integer, bigint) from public;

comment on function metrics.forget_delivery(integer, bigint) is 'Deletes what was derived for a repository, and with it what was counted of it.';
