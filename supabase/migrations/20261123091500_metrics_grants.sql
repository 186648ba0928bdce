-- Who may do what, in one place. Nothing is granted to anon; facts are written by metrics.ingest alone.

set lock_timeout = '2s';
set statement_timeout = '60s';

grant usage on schema metrics to authenticated, service_role, metrics_reader;

do $$
declare
  -- Rows that belong to a repository are read with it.
  fact_tables constant text[] := array[
    'pipeline_runs', 'jobs', 'pull_requests', 'reviews', 'pushes', 'commits', 'deployments', 'releases', 'incidents', 'tests', 'test_runs',
    'test_cases', 'rule_checks', 'measurements'
  ];
  name text;
  rule text;
begin
  for name in
    select c.relname
    from pg_catalog.pg_class as c
    where c.relnamespace = 'metrics'::regnamespace
      and c.relkind in ('r', 'p')
  loop
    execute format('alter table metrics.%I enable row level security', name);
    execute format('revoke all on table metrics.%I from public, anon, authenticated, service_role, metrics_reader', name);
  end loop;
  for name in
    select c.relname
    from pg_catalog.pg_class as c
    where c.relnamespace = 'metrics'::regnamespace
      and c.relkind = 'S'
  loop
    execute format('revoke all on sequence metrics.%I from public, anon, authenticated, service_role, metrics_reader', name);
  end loop;

  -- The first half is evaluated once and ends a stranger's scan before a page is read; the second is a hashed set.
  foreach name in array fact_tables || array[
    'repositories', 'repository_references', 'deliveries', 'settings', 'teams', 'team_repositories', 'members', 'team_members', 'audit'
  ] loop
    rule := case
      when name = any(fact_tables) then 'and reference_id in (select metrics.readable_references())'
      when name = 'repositories' then 'and id in (select metrics.readable_repositories())'
      when name in ('repository_references', 'team_repositories') then 'and repository_id in (select metrics.readable_repositories())'
      when name in ('deliveries', 'audit') then 'and (select metrics.is_admin())'
      when name = 'members' then 'and ((select metrics.is_admin()) or user_id = (select auth.uid()))'
      when name = 'team_members' then 'and (select metrics.is_admin())'
      else ''
    end;
    execute format('drop policy if exists members_read on metrics.%I', name);
    execute format(
      'create policy members_read on metrics.%I for select to authenticated using (ctid >= (select metrics.first_readable_row()) %s %s)',
      name,
      -- A scan in the order of an index (order by its first column, limit 100) begins at no page: the index ends it as well.
      (
        select string_agg(
          format('and %I >= (select metrics.first_readable_%s())', b.attname, case b.atttypid when 'text'::regtype then 'text' else 'id' end),
          ' ' order by b.attnum
        )
        from (
          select distinct a.attname, a.attnum, a.atttypid
          from pg_catalog.pg_index as i
          join pg_catalog.pg_attribute as a
            on a.attrelid = i.indrelid
            and a.attnum = i.indkey[0]
          where i.indrelid = format('metrics.%I', name)::regclass
            and i.indpred is null
            and a.attnotnull
            and a.atttypid in ('bigint'::regtype, 'text'::regtype)
            and name = any(fact_tables || array['deliveries'])
        ) as b
      ),
      rule
    );
    execute format('grant select on table metrics.%I to authenticated', name);
  end loop;

  -- What an admin sees, but no bodies, identities or people.
  foreach name in array fact_tables || array[
    'repositories', 'repository_references', 'deliveries', 'settings', 'teams', 'team_repositories'
  ] loop
    execute format('drop policy if exists readers_read on metrics.%I', name);
    execute format('create policy readers_read on metrics.%I for select to metrics_reader using (true)', name);
    execute format('grant select on table metrics.%I to metrics_reader', name);
  end loop;
end
$$;

-- Incidents may be about no repository: then they are for admins.
drop policy if exists members_read on metrics.incidents;
create policy members_read on metrics.incidents
  for select
  to authenticated
  using (
    ctid >= (select metrics.first_readable_row())
    and source >= (select metrics.first_readable_text())
    and (reference_id in (select metrics.readable_references()) or (select metrics.is_admin()))
  );

-- What policies and reading functions stand on.
grant execute on function metrics.is_member() to authenticated, metrics_reader;
grant execute on function metrics.is_admin() to authenticated, metrics_reader;
grant execute on function metrics.readable_repositories() to authenticated;
grant execute on function metrics.readable_references() to authenticated;
grant execute on function metrics.first_readable_row() to authenticated;
grant execute on function metrics.first_readable_id() to authenticated;
grant execute on function metrics.first_readable_text() to authenticated;
grant execute on function metrics.caller() to authenticated, metrics_reader;
grant execute on function metrics.require_reader() to authenticated, metrics_reader;

-- Reading.
grant execute on function metrics.ingest_health(integer) to authenticated, metrics_reader;

-- For admins: each function asks for itself.
grant execute on function metrics.add_member(text, text) to authenticated;
grant execute on function metrics.remove_member(text) to authenticated;
grant execute on function metrics.accept_membership() to authenticated;
grant execute on function metrics.add_team(text) to authenticated;
grant execute on function metrics.remove_team(text) to authenticated;
grant execute on function metrics.add_team_member(text, text) to authenticated;
grant execute on function metrics.remove_team_member(text, text) to authenticated;
grant execute on function metrics.add_team_repository(text, text) to authenticated;
grant execute on function metrics.remove_team_repository(text, text) to authenticated;
grant execute on function metrics.set_setting(text, text) to authenticated;
grant execute on function metrics.read_body(text, text) to authenticated;
grant execute on function metrics.forget_repository(text, integer) to authenticated;
grant execute on function metrics.forget_person(text, integer, jsonb) to authenticated;
grant execute on function metrics.create_token(text, text[], text[], text[], integer, timestamptz) to authenticated;
grant execute on function metrics.add_issuer(text, text, text, jsonb, text[], text, text[], text[], integer, timestamptz) to authenticated;
grant execute on function metrics.list_identities() to authenticated;
grant execute on function metrics.revoke_identity(text) to authenticated;
grant execute on function metrics.expire_identity(text, timestamptz) to authenticated;

-- What the edge function calls, and nothing else.
grant execute on function metrics.ingest(jsonb, jsonb, text) to service_role;
grant execute on function metrics.live_identities() to service_role;
grant execute on function metrics.health() to service_role;
