-- Rules of admins: services, tiers of environments. A change of a rule begins a new generation, which is built beside the present one.

set lock_timeout = '2s';
set statement_timeout = '60s';

-- Whoever stores a delivery reads which generations and rules there are. They give up after three seconds, so nobody may keep them for long,
-- not even by waiting in front of them.
drop function if exists metrics.hold_deliveries();

create function metrics.hold_deliveries()
returns void
language plpgsql
set search_path = ''
set lock_timeout = '1s'
as $$
begin
  perform pg_advisory_xact_lock(hashtextextended('metrics.erasure', 0));
exception
  when lock_not_available then
    raise exception using
      errcode = '55P03',
      message = 'a delivery that takes long is being stored',
      hint = 'Nothing was changed. Call again.';
end
$$;
revoke execute on function metrics.hold_deliveries() from public;

comment on function metrics.hold_deliveries() is 'Waits for the deliveries that are being stored, for a second at most, and lets no other be stored until the transaction ends. Raises 55P03 when that second was not enough.';

drop function if exists metrics.begin_generation();

create function metrics.begin_generation()
returns integer
language plpgsql
set search_path = ''
as $$
declare
  earlier integer;
  begun integer;
begin
  perform metrics.hold_deliveries();
  select g.id
  into earlier
  from metrics.generations as g
  where g.state in ('building', 'current')
  order by g.state
  limit 1;
  -- One that is not ready yet is of no use any more.
  update metrics.generations as g
  set
    state = 'retired',
    retired_at = now()
  where g.state = 'building';
  insert into metrics.generations (state, time_zone, incident_window_seconds, rollout_seconds, hotfix_labels)
  select 'building', s.time_zone, s.incident_window_seconds, s.rollout_seconds, s.hotfix_labels
  from metrics.settings as s
  returning id
  into begun;
  insert into metrics.environment_rules (generation, position, pattern, tier)
  select begun, r.position, r.pattern, r.tier
  from metrics.environment_rules as r
  where r.generation = earlier;
  insert into metrics.services (
    generation, repository_id, name, position, deployment_pattern, environment_pattern, path_globs, source, pipeline, rollout_pattern
  )
  select
    begun, s.repository_id, s.name, s.position, s.deployment_pattern, s.environment_pattern, s.path_globs, s.source, s.pipeline,
    s.rollout_pattern
  from metrics.services as s
  where s.generation = earlier
    and s.name is not null;
  return begun;
end
$$;
revoke execute on function metrics.begin_generation() from public;

comment on function metrics.begin_generation() is 'Begins a generation with the present settings and the latest rules. Nothing is derived in it yet.';

drop function if exists metrics.add_service(text, text, text, text, text[], text, text, text, boolean);

create function metrics.add_service(
  name text,
  repository text,
  deployment_pattern text default null,
  environment_pattern text default null,
  path_globs text[] default null,
  source text default 'deployments',
  pipeline text default null,
  rollout_pattern text default null,
  may_match_nothing boolean default false
)
returns jsonb
language plpgsql
security definer
set search_path = ''
set statement_timeout = '5s'
as $$
#variable_conflict use_variable
declare
  repository_id bigint;
  siblings bigint[];
  begun integer;
  also text;
  matched bigint;
begin
  perform metrics.require_admin();
  repository_id := metrics.repository_named(repository);
  siblings := array(select r.id from metrics.repository_references as r where r.repository_id = repository_id);
  if btrim(coalesce(name, '')) = '' or length(name) > 200 then
    raise exception using
      errcode = '22023',
      message = 'a service needs a name of at most 200 characters';
  end if;
  source := metrics.checked_word('source', source, array['deployments', 'pipeline', 'releases']);
  if (source = 'pipeline') <> (pipeline is not null) then
    raise exception using
      errcode = '22023',
      message = format('pipeline is named when source is pipeline, and only then; source is %s', source),
      hint = 'For example source => ''pipeline'', pipeline => ''Deploy''.';
  end if;
  deployment_pattern := metrics.checked_pattern('deployment_pattern', deployment_pattern);
  environment_pattern := metrics.checked_pattern('environment_pattern', environment_pattern);
  rollout_pattern := metrics.checked_pattern('rollout_pattern', rollout_pattern);
  if cardinality(path_globs) = 0 or array_position(path_globs, null) is not null or cardinality(path_globs) > 100
    or exists (select from unnest(path_globs) as g (glob) where length(g.glob) not between 1 and 200) then
    raise exception using
      errcode = '22023',
      message = 'path_globs are one to a hundred globs of at most 200 characters',
      hint = 'For example array[''services/api/**''].';
  end if;
  begun := metrics.begin_generation();
  if exists (
    select
    from metrics.services as s
    where s.generation = begun
      and s.name = name
  ) then
    raise exception using
      errcode = '22023',
      message = format('there is a service called %s already', name),
      hint = 'Remove it first with metrics.remove_service, or choose another name.';
  end if;

  if source = 'deployments' then
    select count(*)
    into matched
    from metrics.deployments as d
    where d.reference_id = any(siblings)
      and (deployment_pattern is null or d.name ~ deployment_pattern)
      and (environment_pattern is null or d.environment ~ environment_pattern);
    select format('%s, deployment %s (name %s, environment %s)', s.name, d.external_id, coalesce(d.name, '-'), coalesce(d.environment, '-'))
    into also
    from metrics.services as s
    join metrics.deployments as d
      on d.reference_id = any(siblings)
      and (s.deployment_pattern is null or d.name ~ s.deployment_pattern)
      and (s.environment_pattern is null or d.environment ~ s.environment_pattern)
      and (deployment_pattern is null or d.name ~ deployment_pattern)
      and (environment_pattern is null or d.environment ~ environment_pattern)
    where s.generation = begun
      and s.repository_id = repository_id
      and s.source = 'deployments'
    limit 1;
    if also is not null then
      raise exception using
        errcode = '22023',
        message = format('the rule of %s matches what another service has: %s', name, also),
        hint = 'Choose a deployment_pattern or environment_pattern that only the deployments of this service match.';
    end if;
  elsif source = 'pipeline' then
    select count(*)
    into matched
    from metrics.pipeline_runs as p
    where p.reference_id = any(siblings)
      and p.pipeline = pipeline;
  else
    select count(*)
    into matched
    from metrics.releases as l
    where l.reference_id = any(siblings);
  end if;
  if matched = 0 and may_match_nothing is not true then
    raise exception using
      errcode = '22023',
      message = format(
        'the rule of %s matches nothing: %s',
        name,
        concat_ws(
          ', ',
          'source ' || source,
          'pipeline ' || pipeline,
          'deployment_pattern ' || deployment_pattern,
          'environment_pattern ' || environment_pattern
        )
      ),
      hint = 'Mend the rule, or say may_match_nothing => true to make it before the first deployment comes.';
  end if;

  insert into metrics.services (
    generation, repository_id, name, position, deployment_pattern, environment_pattern, path_globs, source, pipeline, rollout_pattern
  )
  values (
    begun,
    repository_id,
    name,
    coalesce((select max(s.position) + 1 from metrics.services as s where s.generation = begun and s.repository_id = repository_id), 1),
    deployment_pattern,
    environment_pattern,
    path_globs,
    source,
    pipeline,
    rollout_pattern
  );
  perform metrics.note(
    'add_service',
    null,
    jsonb_strip_nulls(jsonb_build_object(
      'name', name, 'repository', repository, 'deployment_pattern', deployment_pattern, 'environment_pattern', environment_pattern,
      'path_globs', path_globs, 'source', source, 'pipeline', pipeline, 'rollout_pattern', rollout_pattern
    ))
  );
  return metrics.rebuild();
end
$$;
revoke execute on function metrics.add_service(text, text, text, text, text[], text, text, text, boolean) from public;

comment on function metrics.add_service(text, text, text, text, text[], text, text, text, boolean) is 'Names a service of a repository by rules, in place of the one that goes by the repository''s name. Answers as metrics.rebuild does: numbers are by the new rules once it is done.';

drop function if exists metrics.remove_service(text);

create function metrics.remove_service(name text)
returns jsonb
language plpgsql
security definer
set search_path = ''
set statement_timeout = '5s'
as $$
declare
  begun integer;
begin
  perform metrics.require_admin();
  begun := metrics.begin_generation();
  delete from metrics.services as s
  where s.generation = begun
    and s.name = remove_service.name;
  if not found then
    raise exception using
      errcode = 'P0002',
      message = format('no service by a rule is called %s', remove_service.name),
      hint = 'A repository without rules is a service by itself: that one cannot be removed.';
  end if;
  perform metrics.note('remove_service', jsonb_build_object('name', remove_service.name), null);
  return metrics.rebuild();
end
$$;
revoke execute on function metrics.remove_service(text) from public;

comment on function metrics.remove_service(text) is 'Removes the rules of a service. Answers as metrics.rebuild does.';

drop function if exists metrics.set_environment_tier(text, text);

create function metrics.set_environment_tier(pattern text, tier text)
returns jsonb
language plpgsql
security definer
set search_path = ''
set statement_timeout = '5s'
as $$
declare
  begun integer;
  earlier text;
begin
  perform metrics.require_admin();
  if nullif(set_environment_tier.pattern, '') is null then
    raise exception using
      errcode = '22023',
      message = 'a rule for environments needs a pattern',
      hint = 'For example ^live-.';
  end if;
  perform metrics.checked_pattern('pattern', set_environment_tier.pattern);
  perform metrics.checked_word('tier', set_environment_tier.tier, array['production', 'staging', 'development', 'other']);
  begun := metrics.begin_generation();
  select r.tier
  into earlier
  from metrics.environment_rules as r
  where r.generation = begun
    and r.pattern = set_environment_tier.pattern;
  delete from metrics.environment_rules as r
  where r.generation = begun
    and r.pattern = set_environment_tier.pattern;
  if set_environment_tier.tier is not null then
    insert into metrics.environment_rules (generation, position, pattern, tier)
    select begun, coalesce(max(r.position), 0) + 1, set_environment_tier.pattern, set_environment_tier.tier
    from metrics.environment_rules as r
    where r.generation = begun;
  elsif earlier is null then
    raise exception using
      errcode = 'P0002',
      message = format('no rule for environments has the pattern %s', set_environment_tier.pattern);
  end if;
  perform metrics.note(
    'set_environment_tier',
    case when earlier is not null then jsonb_build_object('pattern', set_environment_tier.pattern, 'tier', earlier) end,
    case when set_environment_tier.tier is not null then jsonb_build_object('pattern', set_environment_tier.pattern, 'tier', set_environment_tier.tier) end
  );
  return metrics.rebuild();
end
$$;
revoke execute on function metrics.set_environment_tier(text, text) from public;

comment on function metrics.set_environment_tier(text, text) is 'Says which tier environments are of whose name matches a regular expression; NULL takes the rule back. The first rule counts. Answers as metrics.rebuild does.';

drop function if exists metrics.begin_rebuild();

create function metrics.begin_rebuild()
returns void
language plpgsql
security definer
set search_path = ''
set statement_timeout = '5s'
as $$
begin
  perform metrics.require_admin();
  perform metrics.begin_generation();
  perform metrics.note('begin_rebuild', null, null);
end
$$;
revoke execute on function metrics.begin_rebuild() from public;

comment on function metrics.begin_rebuild() is 'Begins to derive everything anew from the facts. metrics.rebuild goes on with it.';

drop function if exists metrics.rebuild_slice(integer);

create function metrics.rebuild_slice(most integer)
returns boolean
language plpgsql
set search_path = ''
-- As in metrics.ingest: whatever the planner knows of tables that are being filled, all is looked up by its key.
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set lock_timeout = '1s'
as $$
#variable_conflict use_column
declare
  built metrics.generations;
  one metrics.under_way;
  ends_at timestamptz;
  next_id bigint;
  name text;
begin
  -- Nobody is to wait for nothing.
  if not exists (
    select
    from metrics.generations as g
    where g.state = 'building'
  ) then
    return false;
  end if;
  -- Deliveries are waited for, and wait, so that each is counted once: here or where it is stored.
  perform metrics.hold_deliveries();
  select *
  into built
  from metrics.generations as g
  where g.state = 'building';
  if not found then
    return false;
  end if;

  -- First what each row counts by itself, reference by reference.
  if built.counted_reference < 9223372036854775807 then
    if built.counted_up_to = 'infinity' or built.counted_reference = 0 then
      select min(r.id)
      into next_id
      from metrics.repository_references as r
      where r.id > built.counted_reference;
      built.counted_reference := coalesce(next_id, 9223372036854775807);
      built.counted_up_to := case when next_id is null then 'infinity' else '-infinity' end;
    end if;
    if built.counted_up_to < 'infinity' then
      ends_at := metrics.end_of_slice(built.id, built.counted_reference, built.counted_up_to, 2 * most);
      perform metrics.copy_frozen_weeks(built.id, built.counted_reference, built.counted_up_to, ends_at);
      perform metrics.count_facts(built.id, built.counted_reference, built.counted_up_to, ends_at);
    end if;
    update metrics.generations as g
    set
      counted_reference = built.counted_reference,
      counted_up_to = coalesce(ends_at, built.counted_up_to)
    where g.id = built.id;
    return true;
  end if;

  -- Then what joins facts, repository by repository.
  select *
  into one
  from metrics.under_way as u
  where u.generation = built.id;
  if found and one.repository_id = 0 then
    -- All repositories are derived. Incidents that name something else, what the planner is to know of all this, and then it is read.
    if one.place ? 'after' then
      one.place := metrics.link_lost_incidents(built.id, one.place -> 'after' ->> 0, one.place -> 'after' ->> 1, most);
      update metrics.under_way as u
      set place = case when one.place is null then '{"analysed": ""}'::jsonb else jsonb_build_object('after', one.place) end
      where u.generation = built.id;
      return true;
    end if;
    select min(c.relname)
    into name
    from pg_catalog.pg_class as c
    join pg_catalog.pg_attribute as a
      on a.attrelid = c.oid
      and a.attname = 'generation'
    where c.relnamespace = 'metrics'::regnamespace
      and c.relkind = 'r'
      and c.relname > one.place ->> 'analysed';
    if name is not null then
      begin
        execute format('analyze metrics.%I', name);
      exception
        when lock_not_available then
          -- It is being cleaned up, which analyses it as well.
          null;
      end;
      update metrics.under_way as u
      set place = jsonb_build_object('analysed', name)
      where u.generation = built.id;
      return true;
    end if;
    delete from metrics.under_way as u
    where u.generation = built.id;
    update metrics.generations as g
    set
      state = 'retired',
      retired_at = now()
    where g.state = 'current';
    update metrics.generations as g
    set state = 'current'
    where g.id = built.id;
    return false;
  end if;
  if not found then
    select min(r.id)
    into next_id
    from metrics.repositories as r
    where r.id > built.repositories_up_to;
    insert into metrics.under_way (generation, repository_id, place)
    values (built.id, coalesce(next_id, 0), case when next_id is null then '{"after": []}' else '{}' end::jsonb);
    if next_id is null then
      -- One that comes from now on is derived as its deliveries come.
      update metrics.generations as g
      set repositories_up_to = 9223372036854775807
      where g.id = built.id;
    end if;
    return true;
  end if;

  if exists (
    select
    from metrics.postponed as p
    where p.generation = built.id
      and p.repository_id = one.repository_id
      and (p.told).is_whole
  ) then
    -- All of it may be another's now: from the beginning, when that is done.
    perform metrics.forget_delivery(built.id, one.repository_id);
    delete from metrics.postponed as p
    where p.generation = built.id
      and p.repository_id = one.repository_id;
    update metrics.under_way as u
    set place = '{}'
    where u.generation = built.id;
    return true;
  end if;
  if not exists (
    select
    from metrics.repositories as r
    where r.id = one.repository_id
  ) then
    -- It became part of another, or was forgotten.
    perform metrics.forget_delivery(built.id, one.repository_id);
    delete from metrics.postponed as p
    where p.generation = built.id
      and p.repository_id = one.repository_id;
    one.place := null;
  elsif one.place is not null then
    one.place := metrics.derive_slice(built.id, one.repository_id, one.place, most);
    update metrics.under_way as u
    set place = one.place
    where u.generation = built.id;
    return true;
  elsif metrics.derive_postponed(built.id, one.repository_id, 100) then
    return true;
  end if;
  update metrics.generations as g
  set repositories_up_to = one.repository_id
  where g.id = built.id;
  delete from metrics.under_way as u
  where u.generation = built.id;
  return true;
end
$$;
revoke execute on function metrics.rebuild_slice(integer) from public;

comment on function metrics.rebuild_slice(integer) is 'Goes on building the next generation by about so many facts. False when there is nothing to build any more.';

drop function if exists metrics.rebuild(double precision);

create function metrics.rebuild(seconds double precision default 0.5)
returns jsonb
language plpgsql
security definer
set search_path = ''
as $$
declare
  began constant timestamptz := clock_timestamp();
begin
  perform metrics.require_admin();
  if seconds is null or seconds not between 0 and 2 then
    raise exception using
      errcode = '22023',
      message = format('seconds is between 0 and 2, not %s', seconds),
      hint = 'Deliveries wait meanwhile, and give up after three seconds: call again instead.';
  end if;
  loop
    if not metrics.rebuild_slice(1000) then
      return jsonb_build_object('done', true, 'references_left', 0, 'repositories_left', 0);
    end if;
    exit when clock_timestamp() >= began + make_interval(secs => seconds);
  end loop;
  return (
    select jsonb_build_object(
      'done', false,
      'references_left', (
        select count(*)
        from metrics.repository_references as r
        where r.id > g.counted_reference
          or (r.id = g.counted_reference and g.counted_up_to < 'infinity')
      ),
      'repositories_left', (select count(*) from metrics.repositories as r where r.id > g.repositories_up_to)
    )
    from metrics.generations as g
    where g.state = 'building'
  );
end
$$;
revoke execute on function metrics.rebuild(double precision) from public;

comment on function metrics.rebuild(double precision) is 'Goes on building the next generation, for about so many seconds: call again until done is true. Numbers are read from the present one until then. Deliveries wait while it runs: for that time and one slice more.';

drop function if exists metrics.delete_retired(integer);

create function metrics.delete_retired(step integer)
returns integer
language plpgsql
set search_path = ''
as $$
declare
  gone integer;
  name text;
  deleted integer := 0;
  rows integer;
begin
  select g.id
  into gone
  from metrics.generations as g
  where g.state = 'retired'
    and g.retired_at < now() - interval '10 minutes'
  order by g.id
  limit 1;
  if not found then
    return 0;
  end if;
  for name in
    select c.relname
    from pg_catalog.pg_class as c
    join pg_catalog.pg_attribute as a
      on a.attrelid = c.oid
      and a.attname = 'generation'
    where c.relnamespace = 'metrics'::regnamespace
      and c.relkind = 'r'
    order by c.relname in ('changes', 'service_deployments'), c.relname
  loop
    exit when deleted >= step;
    execute format(
      'delete from metrics.%1$I where ctid in (select t.ctid from metrics.%1$I as t where t.generation = $1 limit $2)',
      name
    )
    using gone, step - deleted;
    get diagnostics rows = row_count;
    deleted := deleted + rows;
  end loop;
  if deleted < step then
    delete from metrics.generations as g
    where g.id = gone;
  end if;
  return deleted;
end
$$;
revoke execute on function metrics.delete_retired(integer) from public;

comment on function metrics.delete_retired(integer) is 'Deletes up to so many rows of the oldest generation that nobody reads any more.';
