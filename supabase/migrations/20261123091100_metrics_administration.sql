-- What admins do: members, teams, settings, reading a body. Each function leaves one row in metrics.audit.

set lock_timeout = '2s';
set statement_timeout = '60s';

create or replace function metrics.is_operator()
returns boolean
language sql
stable
set search_path = ''
as $$
  select pg_has_role(metrics.caller(), n.nspowner, 'member')
  from pg_catalog.pg_namespace as n
  where n.nspname = 'metrics'
$$;
revoke execute on function metrics.is_operator() from public;

comment on function metrics.is_operator() is 'Whether the caller owns the schema: postgres, in SQL, not through the Data API.';

create or replace function metrics.require_admin()
returns void
language plpgsql
stable
set search_path = ''
as $$
begin
  if not (metrics.is_admin() or metrics.is_operator()) then
    raise exception using
      errcode = '42501',
      message = 'only admins of metrics may call this',
      hint = 'The first admin is made in SQL, as postgres: select metrics.add_member(''ann@example.com'', ''admin'')';
  end if;
end
$$;
revoke execute on function metrics.require_admin() from public;

comment on function metrics.require_admin() is 'Raises 42501 unless the caller is an admin or owns the schema.';

create or replace function metrics.note(action text, before jsonb, after jsonb)
returns void
language sql
set search_path = ''
as $$
  insert into metrics.audit (actor, action, before, after)
  values (coalesce((select auth.uid())::text, metrics.caller()), action, before, after)
$$;
revoke execute on function metrics.note(text, jsonb, jsonb) from public;

comment on function metrics.note(text, jsonb, jsonb) is 'Leaves one row in the audit trail.';

create or replace function metrics.repository_named(repository text)
returns bigint
language plpgsql
stable
set search_path = ''
as $$
declare
  found_ids bigint[];
begin
  select array_agg(distinct n.id)
  into found_ids
  from (
    select r.id
    from metrics.repositories as r
    where r.full_name = repository
    union all
    select r.repository_id
    from metrics.repository_references as r
    where r.reference = repository
  ) as n (id);
  if found_ids is null then
    raise exception using
      errcode = 'P0002',
      message = format('no repository is called %s', repository),
      hint = 'Name it as owner/name, or by its reference, for example github:123 or //github.com/acme/app.';
  end if;
  if cardinality(found_ids) > 1 then
    raise exception using
      errcode = '21000',
      message = format('several repositories are called %s', repository),
      hint = 'Name it by its reference, for example github:123 or //github.com/acme/app.';
  end if;
  return found_ids[1];
end
$$;
revoke execute on function metrics.repository_named(text) from public;

comment on function metrics.repository_named(text) is 'The repository of this full name or reference. Raises P0002 for none, 21000 for several.';

create or replace function metrics.team_named(team text)
returns bigint
language plpgsql
stable
set search_path = ''
as $$
declare
  team_id bigint;
begin
  select t.id
  into team_id
  from metrics.teams as t
  where t.name = team;
  if not found then
    raise exception using
      errcode = 'P0002',
      message = format('no team is called %s', team),
      hint = 'Make it with metrics.add_team.';
  end if;
  return team_id;
end
$$;
revoke execute on function metrics.team_named(text) from public;

comment on function metrics.team_named(text) is 'The team of this name. Raises P0002 for none.';

drop function if exists metrics.add_member(text, text);

create function metrics.add_member(email text, role text default 'viewer')
returns void
language plpgsql
security definer
set search_path = ''
set statement_timeout = '5s'
as $$
declare
  address constant text := lower(btrim(email));
  earlier jsonb;
begin
  perform metrics.require_admin();
  if add_member.role is null or add_member.role not in ('viewer', 'admin') then
    raise exception using
      errcode = '22023',
      message = format('role is viewer or admin, not %s', add_member.role);
  end if;
  select jsonb_build_object('email', m.email, 'role', m.role)
  into earlier
  from metrics.members as m
  where m.email = address;
  if earlier ->> 'role' = 'admin' and add_member.role <> 'admin' then
    perform metrics.require_another_admin(address);
  end if;
  insert into metrics.members as m (email, role)
  values (address, add_member.role)
  on conflict on constraint members_pkey do update set role = excluded.role;
  perform metrics.note('add_member', earlier, jsonb_build_object('email', address, 'role', add_member.role));
end
$$;
revoke execute on function metrics.add_member(text, text) from public;

comment on function metrics.add_member(text, text) is 'Adds a member by address, or changes its role: viewer or admin.';

drop function if exists metrics.require_another_admin(text);

create function metrics.require_another_admin(address text)
returns void
language plpgsql
set search_path = ''
as $$
begin
  -- Two admins who remove each other at the same moment must not both succeed.
  perform
  from metrics.members as m
  where m.role = 'admin'
  order by m.email
  for update;
  if not metrics.is_operator() and not exists (
    select
    from metrics.members as m
    where m.role = 'admin'
      and m.user_id is not null
      and m.email <> address
  ) then
    raise exception using
      errcode = '22023',
      message = 'the last admin stays: add another one first, and let them accept';
  end if;
end
$$;
revoke execute on function metrics.require_another_admin(text) from public;

comment on function metrics.require_another_admin(text) is 'Raises 22023 when this address is the last admin who has accepted.';

drop function if exists metrics.remove_member(text);

create function metrics.remove_member(email text)
returns void
language plpgsql
security definer
set search_path = ''
set statement_timeout = '5s'
as $$
declare
  address constant text := lower(btrim(email));
  earlier jsonb;
begin
  perform metrics.require_admin();
  select jsonb_build_object('email', m.email, 'role', m.role)
  into earlier
  from metrics.members as m
  where m.email = address;
  if not found then
    raise exception using
      errcode = 'P0002',
      message = format('%s is no member', address);
  end if;
  if earlier ->> 'role' = 'admin' then
    perform metrics.require_another_admin(address);
  end if;
  delete from metrics.members as m
  where m.email = address;
  perform metrics.note('remove_member', earlier, null);
end
$$;
revoke execute on function metrics.remove_member(text) from public;

comment on function metrics.remove_member(text) is 'Removes a member, and with it its places in teams.';

drop function if exists metrics.accept_membership();

create function metrics.accept_membership()
returns text
language plpgsql
security definer
set search_path = ''
set statement_timeout = '5s'
as $$
declare
  caller_id constant uuid := (select auth.uid());
  accepted record;
begin
  select m.role
  into accepted
  from metrics.members as m
  where m.user_id = caller_id;
  if found then
    return accepted.role;
  end if;
  update metrics.members as m
  set
    user_id = caller_id,
    accepted_at = now()
  from auth.users as u
  where u.id = caller_id
    and u.email_confirmed_at is not null
    and lower(u.email) = m.email
    and m.user_id is null
  returning m.email, m.role
  into accepted;
  if not found then
    raise exception using
      errcode = '42501',
      message = 'no membership waits for this user',
      hint = 'An admin adds the address with metrics.add_member, and the address must be confirmed.';
  end if;
  perform metrics.note('accept_membership', null, jsonb_build_object('email', accepted.email, 'role', accepted.role));
  return accepted.role;
end
$$;
revoke execute on function metrics.accept_membership() from public;

comment on function metrics.accept_membership() is 'Ties the signed-in user to the membership of its confirmed address, once; returns the role.';

drop function if exists metrics.add_team(text);

create function metrics.add_team(name text)
returns void
language plpgsql
security definer
set search_path = ''
set statement_timeout = '5s'
as $$
begin
  perform metrics.require_admin();
  insert into metrics.teams (name)
  values (btrim(add_team.name));
  perform metrics.note('add_team', null, jsonb_build_object('team', btrim(add_team.name)));
end
$$;
revoke execute on function metrics.add_team(text) from public;

comment on function metrics.add_team(text) is 'Makes a team.';

drop function if exists metrics.remove_team(text);

create function metrics.remove_team(team text)
returns void
language plpgsql
security definer
set search_path = ''
set statement_timeout = '5s'
as $$
declare
  gone bigint;
begin
  perform metrics.require_admin();
  gone := metrics.team_named(team);
  delete from metrics.teams as t
  where t.id = gone;
  perform metrics.note('remove_team', jsonb_build_object('team', team), null);
end
$$;
revoke execute on function metrics.remove_team(text) from public;

comment on function metrics.remove_team(text) is 'Removes a team; its members and repositories stay.';

drop function if exists metrics.add_team_member(text, text);

create function metrics.add_team_member(team text, email text)
returns void
language plpgsql
security definer
set search_path = ''
set statement_timeout = '5s'
as $$
begin
  perform metrics.require_admin();
  insert into metrics.team_members (team_id, email)
  values (metrics.team_named(team), lower(btrim(add_team_member.email)))
  on conflict do nothing;
  perform metrics.note('add_team_member', null, jsonb_build_object('team', team, 'email', lower(btrim(add_team_member.email))));
exception
  when foreign_key_violation then
    raise exception using
      errcode = 'P0002',
      message = format('%s is no member', add_team_member.email),
      hint = 'Add the member first with metrics.add_member.';
end
$$;
revoke execute on function metrics.add_team_member(text, text) from public;

comment on function metrics.add_team_member(text, text) is 'Puts a member into a team.';

drop function if exists metrics.remove_team_member(text, text);

create function metrics.remove_team_member(team text, email text)
returns void
language plpgsql
security definer
set search_path = ''
set statement_timeout = '5s'
as $$
declare
  their_team bigint;
begin
  perform metrics.require_admin();
  their_team := metrics.team_named(team);
  delete from metrics.team_members as m
  where m.team_id = their_team
    and m.email = lower(btrim(remove_team_member.email));
  if not found then
    raise exception using
      errcode = 'P0002',
      message = format('%s is not in the team %s', remove_team_member.email, team);
  end if;
  perform metrics.note('remove_team_member', jsonb_build_object('team', team, 'email', lower(btrim(remove_team_member.email))), null);
end
$$;
revoke execute on function metrics.remove_team_member(text, text) from public;

comment on function metrics.remove_team_member(text, text) is 'Takes a member out of a team.';

drop function if exists metrics.add_team_repository(text, text);

create function metrics.add_team_repository(team text, repository text)
returns void
language plpgsql
security definer
set search_path = ''
set statement_timeout = '5s'
as $$
begin
  perform metrics.require_admin();
  insert into metrics.team_repositories (team_id, repository_id)
  values (metrics.team_named(team), metrics.repository_named(repository))
  on conflict do nothing;
  perform metrics.note('add_team_repository', null, jsonb_build_object('team', team, 'repository', repository));
end
$$;
revoke execute on function metrics.add_team_repository(text, text) from public;

comment on function metrics.add_team_repository(text, text) is 'Lets the viewers of a team read a repository, named by its full name or reference.';

drop function if exists metrics.remove_team_repository(text, text);

create function metrics.remove_team_repository(team text, repository text)
returns void
language plpgsql
security definer
set search_path = ''
set statement_timeout = '5s'
as $$
declare
  their_team bigint;
  gone bigint;
begin
  perform metrics.require_admin();
  their_team := metrics.team_named(team);
  gone := metrics.repository_named(repository);
  delete from metrics.team_repositories as g
  where g.team_id = their_team
    and g.repository_id = gone;
  if not found then
    raise exception using
      errcode = 'P0002',
      message = format('the team %s has no repository %s', team, repository);
  end if;
  perform metrics.note('remove_team_repository', jsonb_build_object('team', team, 'repository', repository), null);
end
$$;
revoke execute on function metrics.remove_team_repository(text, text) from public;

comment on function metrics.remove_team_repository(text, text) is 'Takes a repository from a team.';

drop function if exists metrics.set_setting(text, text);

create function metrics.set_setting(name text, value text)
returns void
language plpgsql
security definer
set search_path = ''
set statement_timeout = '5s'
as $$
declare
  earlier text;
begin
  perform metrics.require_admin();
  if set_setting.name = 'time_zone' then
    if not exists (select from pg_catalog.pg_timezone_names as z where z.name = value) then
      raise exception using
        errcode = '22023',
        message = format('no time zone is called %s', value),
        hint = 'Use an IANA name, for example Europe/Berlin.';
    end if;
    update metrics.settings as s
    set time_zone = value
    from metrics.settings as o
    where s.is_single
    returning o.time_zone
    into earlier;
  elsif set_setting.name in (
    'body_days', 'quarantined_body_days', 'delivery_days', 'job_days', 'test_case_days', 'incident_window_seconds', 'rollout_seconds', 'band_year'
  ) then
    if set_setting.name = 'band_year' and not exists (select from metrics.bands as b where b.report_year::text = value) then
      raise exception using
        errcode = '22023',
        message = format('no bands are known for the year %s', value),
        hint = format('There are those of %s.', (select string_agg(distinct b.report_year::text, ', ') from metrics.bands as b));
    end if;
    begin
      execute format(
        'update metrics.settings as s set %1$I = $1::integer from metrics.settings as o where s.is_single returning o.%1$I::text',
        set_setting.name
      )
      using value
      into earlier;
    exception
      when check_violation or not_null_violation or invalid_text_representation or numeric_value_out_of_range then
        raise exception using
          errcode = '22023',
          message = format('%s cannot be %s', set_setting.name, coalesce(value, 'null')),
          detail = sqlerrm,
          hint = col_description('metrics.settings'::regclass, (
            select a.attnum
            from pg_catalog.pg_attribute as a
            where a.attrelid = 'metrics.settings'::regclass
              and a.attname = set_setting.name
          ));
    end;
  elsif set_setting.name = 'hotfix_labels' then
    update metrics.settings as s
    set hotfix_labels = array(select btrim(l) from unnest(string_to_array(btrim(value, '{}'), ',')) as l where btrim(l) <> '')
    from metrics.settings as o
    where s.is_single
    returning array_to_string(o.hotfix_labels, ',')
    into earlier;
  else
    raise exception using
      errcode = '22023',
      message = format('no setting is called %s', set_setting.name),
      hint = 'Settings are time_zone, body_days, quarantined_body_days, delivery_days, job_days, test_case_days, incident_window_seconds, rollout_seconds, hotfix_labels, band_year.';
  end if;
  perform metrics.note('set_setting', jsonb_build_object(set_setting.name, earlier), jsonb_build_object(set_setting.name, value));
  -- What numbers are derived by.
  if set_setting.name in ('time_zone', 'incident_window_seconds', 'rollout_seconds', 'hotfix_labels') and earlier is distinct from value then
    perform metrics.begin_generation();
    perform metrics.rebuild();
  end if;
end
$$;
revoke execute on function metrics.set_setting(text, text) from public;

comment on function metrics.set_setting(text, text) is 'Changes one setting by name. Days of bodies hold for bodies that come from now on. A time zone and what failures are found by hold for all numbers, once metrics.rebuild is done.';

drop function if exists metrics.read_body(text, text);

create function metrics.read_body(source text, delivery_id text)
returns bytea
language plpgsql
security definer
set search_path = ''
set statement_timeout = '5s'
as $$
declare
  bytes bytea;
begin
  perform metrics.require_admin();
  select b.body
  into bytes
  from metrics.bodies as b
  where b.source = read_body.source
    and b.delivery_id = read_body.delivery_id;
  if not found then
    raise exception using
      errcode = 'P0002',
      message = 'no body is kept for this delivery';
  end if;
  perform metrics.note('read_body', null, jsonb_build_object('source', read_body.source, 'delivery_id', read_body.delivery_id));
  return bytes;
end
$$;
revoke execute on function metrics.read_body(text, text) from public;

comment on function metrics.read_body(text, text) is 'The body of a delivery, for admins; each reading leaves an audit row.';
