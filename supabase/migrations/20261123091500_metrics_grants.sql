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
  -- What is counted from them, by repository reference as well.
  aggregate_tables constant text[] := array[
    'pipeline_spans', 'job_weeks', 'pull_request_spans', 'test_spans', 'rule_spans'
  ];
  -- So are those that were derived from them, or counted.
  derived_tables constant text[] := array[
    'services', 'branch_moves', 'changes', 'service_deployments', 'deployment_failures', 'service_spans', 'lead_time_spans'
  ];
  -- What holds for all.
  common_tables constant text[] := array['settings', 'generations', 'horizons', 'frozen_weeks', 'prices', 'environment_rules', 'bands'];
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
  foreach name in array fact_tables || aggregate_tables || derived_tables || common_tables || array[
    'repositories', 'repository_references', 'deliveries', 'remembered_sources', 'teams', 'team_repositories', 'members', 'team_members', 'audit'
  ] loop
    rule := case
      when name = any(fact_tables || aggregate_tables) then 'and reference_id in (select metrics.readable_references())'
      when name = 'repositories' then 'and id in (select metrics.readable_repositories())'
      when name = any(derived_tables) or name in ('repository_references', 'team_repositories') then 'and repository_id in (select metrics.readable_repositories())'
      when name in ('deliveries', 'remembered_sources', 'audit', 'frozen_weeks') then 'and (select metrics.is_admin())'
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
            and a.atttypid in ('bigint'::regtype, 'integer'::regtype, 'text'::regtype)
            and name = any(fact_tables || aggregate_tables || array['deliveries'])
        ) as b
      ),
      rule
    );
    execute format('grant select on table metrics.%I to authenticated', name);
  end loop;

  -- What an admin sees, but no bodies, identities or people.
  foreach name in array fact_tables || aggregate_tables || derived_tables || common_tables || array[
    'repositories', 'repository_references', 'deliveries', 'remembered_sources', 'teams', 'team_repositories'
  ] loop
    execute format('drop policy if exists readers_read on metrics.%I', name);
    execute format('create policy readers_read on metrics.%I for select to metrics_reader using (true)', name);
    execute format('grant select on table metrics.%I to metrics_reader', name);
  end loop;
end
$$;

-- Incidents may be about no repository: then they are for those who may read the service that they name, or for admins.
drop policy if exists members_read on metrics.incidents;
create policy members_read on metrics.incidents
  for select
  to authenticated
  using (
    ctid >= (select metrics.first_readable_row())
    and source >= (select metrics.first_readable_text())
    and (
      reference_id in (select metrics.readable_references())
      or (select metrics.is_admin())
      or (reference_id is null and lower(service) in (select metrics.readable_service_names()))
    )
  );

drop policy if exists members_read on metrics.deployment_failures;
create policy members_read on metrics.deployment_failures
  for select
  to authenticated
  using (
    ctid >= (select metrics.first_readable_row())
    and id >= (select metrics.first_readable_id())
    and (repository_id in (select metrics.readable_repositories()) or (select metrics.is_admin()))
  );

-- What policies and reading functions stand on.
grant execute on function metrics.is_member() to authenticated, metrics_reader;
grant execute on function metrics.is_admin() to authenticated, metrics_reader;
grant execute on function metrics.readable_repositories() to authenticated;
grant execute on function metrics.readable_references() to authenticated;
grant execute on function metrics.readable_service_names() to authenticated;
grant execute on function metrics.first_readable_row() to authenticated;
grant execute on function metrics.first_readable_id() to authenticated;
grant execute on function metrics.first_readable_text() to authenticated;
grant execute on function metrics.caller() to authenticated, metrics_reader;
grant execute on function metrics.require_reader() to authenticated, metrics_reader;

-- What reading functions are made of.
grant execute on function metrics.current_generation() to authenticated, metrics_reader;
grant execute on function metrics.week_of(timestamptz, text) to authenticated, metrics_reader;
grant execute on function metrics.midnight(date, text) to authenticated, metrics_reader;
grant execute on function metrics.bucket_of(double precision) to authenticated, metrics_reader;
grant execute on function metrics.seconds_of(smallint) to authenticated, metrics_reader;
grant execute on function metrics.period_of(date, date, text, text, integer) to authenticated, metrics_reader;
grant execute on function metrics.checked_word(text, text, text[]) to authenticated, metrics_reader;
grant execute on function metrics.buckets_of(metrics.period) to authenticated, metrics_reader;
grant execute on function metrics.stretches_of(metrics.period) to authenticated, metrics_reader;
grant execute on function metrics.repository_label(bigint) to authenticated, metrics_reader;
grant execute on function metrics.service_label(bigint) to authenticated, metrics_reader;
grant execute on function metrics.selected_references(text, text) to authenticated, metrics_reader;
grant execute on function metrics.nearest_weeks_of(metrics.period) to authenticated, metrics_reader;
grant execute on function metrics.days_off_weeks_of(metrics.period) to authenticated, metrics_reader;
grant execute on function metrics.four_weeks_of(date) to authenticated, metrics_reader;
grant execute on function metrics.counted_spans_of(metrics.period, integer) to authenticated, metrics_reader;
grant execute on function metrics.key_of_page(metrics.period, text[]) to authenticated, metrics_reader;
grant execute on function metrics.ended_runs(metrics.period, bigint[], text, text, boolean) to authenticated, metrics_reader;
grant execute on function metrics.job_horizon() to authenticated, metrics_reader;
grant execute on function metrics.kept_weeks_of(metrics.period, boolean, bigint[]) to authenticated, metrics_reader;
grant execute on function metrics.kept_days_of(metrics.period, boolean) to authenticated, metrics_reader;
grant execute on function metrics.has_many_jobs(metrics.period, bigint[], text, text) to authenticated, metrics_reader;
grant execute on function metrics.kept_jobs(metrics.period, bigint[], text, text, text) to authenticated, metrics_reader;
grant execute on function metrics.runner_of(text[]) to authenticated, metrics_reader;
grant execute on function metrics.price_of(text, date) to authenticated, metrics_reader;
grant execute on function metrics.flaky_pairs(metrics.period, bigint[], text, text, text) to authenticated, metrics_reader;
grant execute on function metrics.latest_jobs_with_steps(metrics.period, bigint[], text, text, text) to authenticated, metrics_reader;
grant execute on function metrics.selected_services(integer, text, text, text) to authenticated, metrics_reader;
grant execute on function metrics.count_deliveries(metrics.period, metrics.period, text[], text, text, text, text, text, boolean, text[]) to authenticated, metrics_reader;
grant execute on function metrics.delivery_groups(metrics.period, text, text, text, text) to authenticated, metrics_reader;
grant execute on function metrics.delivery_page(metrics.period, text[], text, text, text, text, text, boolean) to authenticated, metrics_reader;
grant execute on function metrics.tally_of(smallint) to authenticated, metrics_reader;
grant execute on function metrics.counts_of(numeric) to authenticated, metrics_reader;
grant execute on function metrics.tally_of_all(double precision[]) to authenticated, metrics_reader;
grant execute on function metrics.percentiles_of(numeric, double precision[]) to authenticated, metrics_reader;
grant execute on function metrics.merged_pull_requests(metrics.period, bigint[], boolean) to authenticated, metrics_reader;
grant execute on function metrics.flaky_cases(bigint[], timestamptz, timestamptz) to authenticated, metrics_reader;
grant execute on function metrics.tests_of(metrics.period, bigint[]) to authenticated, metrics_reader;
grant execute on function metrics.require_measurement(text, jsonb) to authenticated, metrics_reader;
grant execute on function metrics.deployment_url(text, bigint, text) to authenticated, metrics_reader;
grant execute on function metrics.failures_of(bigint[]) to authenticated, metrics_reader;
grant execute on function metrics.delivery_evidence(metrics.period, text, text, text, text, text, boolean) to authenticated, metrics_reader;
grant execute on function metrics.page_of(metrics.period, text[], text[]) to authenticated, metrics_reader;
grant execute on function metrics.evidence_after(metrics.period) to authenticated, metrics_reader;
grant execute on function metrics.evidence_page_key(timestamptz, text, text, text, text) to authenticated, metrics_reader;

-- Reading.
grant execute on function metrics.deployment_frequency_evidence(date, date, text, text, text, text, text, integer) to authenticated, metrics_reader;
grant execute on function metrics.change_lead_time_evidence(date, date, text, text, text, text, boolean, text, integer) to authenticated, metrics_reader;
grant execute on function metrics.change_fail_rate_evidence(date, date, text, text, text, text, text, integer) to authenticated, metrics_reader;
grant execute on function metrics.failed_deployment_recovery_time_evidence(date, date, text, text, text, text, text, integer) to authenticated, metrics_reader;
grant execute on function metrics.deployment_rework_rate_evidence(date, date, text, text, text, text, text, integer) to authenticated, metrics_reader;
grant execute on function metrics.dora_evidence(text, date, date, text, text, text, text, boolean, text, integer) to authenticated, metrics_reader;
grant execute on function metrics.overview(date, date, text, text, boolean) to authenticated, metrics_reader;
grant execute on function metrics.overview_evidence(text, text, date, date, text, text, boolean, text, integer) to authenticated, metrics_reader;
grant execute on function metrics.pipeline_health(date, date, text, text, text, text, text, boolean, text, integer, text) to authenticated, metrics_reader;
grant execute on function metrics.pipeline_health_evidence(date, date, text, text, text, boolean, text, integer, text) to authenticated, metrics_reader;
grant execute on function metrics.job_health(date, date, text, text, text, text, text, text, integer, text, text) to authenticated, metrics_reader;
grant execute on function metrics.job_health_evidence(date, date, text, text, text, text, integer, text, text) to authenticated, metrics_reader;
grant execute on function metrics.step_health(date, date, text, text, text, text, integer, text, text) to authenticated, metrics_reader;
grant execute on function metrics.step_health_evidence(date, date, text, text, text, text, integer, text, text, text) to authenticated, metrics_reader;
grant execute on function metrics.slowest_jobs(date, date, text, text, text, text, integer, text) to authenticated, metrics_reader;
grant execute on function metrics.slowest_jobs_evidence(date, date, text, text, text, integer, text, text) to authenticated, metrics_reader;
grant execute on function metrics.flaky_jobs(date, date, text, text, text, text, integer, text, text) to authenticated, metrics_reader;
grant execute on function metrics.flaky_jobs_evidence(date, date, text, text, text, text, integer, text, text) to authenticated, metrics_reader;
grant execute on function metrics.pipeline_cost(date, date, text, text, text, text, text, integer, text, text, text) to authenticated, metrics_reader;
grant execute on function metrics.pipeline_cost_evidence(date, date, text, text, text, integer, text, text, text) to authenticated, metrics_reader;
grant execute on function metrics.deployment_frequency(date, date, text, text, text, text, text, text, text, integer) to authenticated, metrics_reader;
grant execute on function metrics.change_lead_time(date, date, text, text, text, text, text, text, boolean, text, integer) to authenticated, metrics_reader;
grant execute on function metrics.change_fail_rate(date, date, text, text, text, text, text, text, text, integer) to authenticated, metrics_reader;
grant execute on function metrics.failed_deployment_recovery_time(date, date, text, text, text, text, text, text, text, integer) to authenticated, metrics_reader;
grant execute on function metrics.deployment_rework_rate(date, date, text, text, text, text, text, text, text, integer) to authenticated, metrics_reader;
grant execute on function metrics.dora(date, date, text, text, text, text, text, text, boolean, text, integer) to authenticated, metrics_reader;
grant execute on function metrics.pull_request_cycle_time(date, date, text, text, text, text, boolean, text, integer) to authenticated, metrics_reader;
grant execute on function metrics.pull_request_cycle_time_evidence(date, date, text, text, boolean, text, integer) to authenticated, metrics_reader;
grant execute on function metrics.test_health(date, date, text, text, text, text, text, text, integer) to authenticated, metrics_reader;
grant execute on function metrics.test_health_evidence(date, date, text, text, text, text, integer) to authenticated, metrics_reader;
grant execute on function metrics.flaky_tests(date, date, text, text, text, integer) to authenticated, metrics_reader;
grant execute on function metrics.flaky_tests_evidence(date, date, text, text, text, integer) to authenticated, metrics_reader;
grant execute on function metrics.rule_compliance(date, date, text, text, text, text, text, integer) to authenticated, metrics_reader;
grant execute on function metrics.rule_compliance_evidence(date, date, text, text, text, integer) to authenticated, metrics_reader;
grant execute on function metrics.measurement_series(text, jsonb, date, date, text, text, text, text, text, integer) to authenticated, metrics_reader;
grant execute on function metrics.measurement_series_evidence(text, jsonb, date, date, text, text, text, integer) to authenticated, metrics_reader;
grant execute on function metrics.ingest_health(integer, text, integer) to authenticated, metrics_reader;
grant execute on function metrics.ingest_health_evidence(integer, text, text, integer) to authenticated, metrics_reader;

-- Views read as their reader.
grant select on metrics.pull_request_events to authenticated, metrics_reader;
grant select on metrics.deployment_events to authenticated, metrics_reader;
grant select on metrics.rule_compliance_events to authenticated, metrics_reader;
grant select on metrics.daily_development_metrics to authenticated, metrics_reader;

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
grant execute on function metrics.set_price(text, numeric, date, text, boolean, text) to authenticated;
grant execute on function metrics.remove_price(text, date) to authenticated;
grant execute on function metrics.add_service(text, text, text, text, text[], text, text, text, boolean) to authenticated;
grant execute on function metrics.remove_service(text) to authenticated;
grant execute on function metrics.set_environment_tier(text, text) to authenticated;
grant execute on function metrics.begin_rebuild() to authenticated;
grant execute on function metrics.rebuild(double precision) to authenticated;
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
