-- What pipelines reported, as numbers: tests and how flaky they are, rules, and whatever was measured.
-- Percentiles are exact, from the facts; how rules are kept is counted by spans of days, as are the tests of a first screen.

set lock_timeout = '2s';
set statement_timeout = '60s';

drop function if exists metrics.test_health(date, date, text, text, text, text, text, text, integer);

create function metrics.test_health(
  since date default null,
  until date default null,
  bucket text default 'none',
  by text default 'nothing',
  repository text default null,
  team text default null,
  branch text default null,
  page_after text default null,
  page_size integer default 100
)
returns table (
  bucket_start date,
  name text,
  runs bigint,
  passed bigint,
  failed bigint,
  skipped bigint,
  pass_rate double precision,
  duration_p50_seconds double precision,
  duration_p95_seconds double precision,
  reason text,
  page_key text,
  total bigint
)
language plpgsql
stable
set search_path = ''
set statement_timeout = '5s'
-- Planned once: test runs are looked up by an index, for each repository, whatever is asked for and however much the caller may read.
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_tidscan = off
set enable_bitmapscan = off
set jit = off
as $$
#variable_conflict use_column
declare
  asked metrics.period;
  grouped text;
  starts_at timestamptz;
  ends_at timestamptz;
  references_read bigint[];
  names text[];
  branches text[];
  is_unknown boolean;
begin
  perform metrics.require_reader();
  asked := metrics.period_of(since, until, bucket, page_after, page_size);
  grouped := metrics.checked_word('by', by, array['nothing', 'repository', 'suite']);
  starts_at := metrics.midnight(asked.since, asked.time_zone);
  ends_at := metrics.midnight(asked.until, asked.time_zone);
  select
    coalesce(array_agg(s.reference_id), '{}'),
    coalesce(array_agg(s.label), '{}'),
    coalesce(array_agg(case when branch = 'default' then o.default_branch else branch end), '{}')
  into references_read, names, branches
  from metrics.selected_references(repository, team) as s
  join metrics.repositories as o
    on o.id = s.repository_id;
  is_unknown := names = '{}' and num_nonnulls(repository, team) > 0;

  return query
  with counted as materialized (
    select
      f.name,
      f.bucket_start,
      count(*) as runs,
      coalesce(sum(f.passed_count), 0) as passed,
      coalesce(sum(f.failed_count), 0) + coalesce(sum(f.error_count), 0) as failed,
      coalesce(sum(f.skipped_count), 0) as skipped,
      percentile_disc(array[0.5, 0.95]) within group (order by f.duration_seconds) as durations
    from (
      select
        case grouped
          when 'nothing' then ''
          when 'repository' then r.label
          else r.label || ' / ' || coalesce(t.suite, '')
        end as name,
        case
          when asked.bucket <> 'none' then date_trunc(asked.bucket, t.started_at at time zone asked.time_zone)::date
        end as bucket_start,
        t.*
      from unnest(references_read, names, branches) as r (reference_id, label, branch)
      cross join lateral (
        select u.suite, u.started_at, u.passed_count, u.failed_count, u.error_count, u.skipped_count, u.duration_seconds
        from metrics.test_runs as u
        where u.reference_id = r.reference_id
          and u.started_at >= starts_at
          and u.started_at < ends_at
          and (test_health.branch is null or u.branch = r.branch)
        offset 0
      ) as t
    ) as f
    group by f.name, f.bucket_start
  )
  select
    g.bucket_start,
    g.name,
    case when not is_unknown then coalesce(c.runs, 0) end,
    case when not is_unknown then coalesce(c.passed, 0) end,
    case when not is_unknown then coalesce(c.failed, 0) end,
    case when not is_unknown then coalesce(c.skipped, 0) end,
    c.passed::double precision / nullif(c.passed + c.failed, 0),
    c.durations[1],
    c.durations[2],
    case
      when is_unknown then 'unknown_service'
      when c.passed + c.failed > 0 and c.durations[1] is not null then null
      else 'too_few'
    end,
    g.page_key,
    g.total
  from metrics.page_of(
    asked,
    case
      when is_unknown or grouped = 'nothing' then array['']
      when grouped = 'repository' then array(select distinct n collate "C" from unnest(names) as n order by 1)
      else array(select distinct o.name collate "C" from counted as o order by 1)
    end,
    array['']
  ) as g
  left join counted as c
    on c.name = coalesce(g.name, '')
    and c.bucket_start is not distinct from g.bucket_start
  order by g.name collate "C" nulls first, g.bucket_start;
end
$$;
revoke execute on function metrics.test_health(date, date, text, text, text, text, text, text, integer) from public;

comment on function metrics.test_health(date, date, text, text, text, text, text, text, integer) is 'How tests went: uploads that started in the period, what became of their tests, the share that passed of those that passed or failed (errors among them), and the median and p95 of their duration in seconds; by bucket and by nothing, repository or suite. branch is a name, or default. Reasons: unknown_service, too_few. Raises 22023 for what cannot be asked.';

do $$
begin
  if to_regtype('metrics.test_counts') is null then
    create type metrics.test_counts as (
      runs bigint,
      passed bigint,
      failed bigint,
      skipped bigint
    );
  end if;
end
$$;

revoke usage on type metrics.test_counts from public;

comment on type metrics.test_counts is 'Test runs, and what became of their tests.';

drop function if exists metrics.tests_of(metrics.period, bigint[]);

create function metrics.tests_of(asked metrics.period, reference_ids bigint[])
returns metrics.test_counts
language plpgsql
stable
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_tidscan = off
set enable_bitmapscan = off
set enable_nestloop = off
set jit = off
as $$
declare
  counts metrics.test_counts;
begin
  with spans as materialized (
    select w.days, w.first_day, w.times
    from metrics.counted_spans_of(asked, 28) as w
  ),
  reads as materialized (
    select w.days, array_agg(distinct w.first_day) as first_days
    from spans as w
    group by w.days
  ),
  counted as materialized (
    select k.days, k.first_day, sum(k.runs) as runs, sum(k.passed) as passed, sum(k.failed) as failed, sum(k.skipped) as skipped
    from reads as s
    cross join lateral (
      select t.days, t.first_day, t.runs, t.passed, t.failed, t.skipped
      from metrics.test_spans as t
      where t.generation = asked.generation
        and t.reference_id = any(tests_of.reference_ids)
        and t.days = s.days
        and t.first_day = any(s.first_days)
      offset 0
    ) as k
    group by k.days, k.first_day
  )
  select
    coalesce(sum(w.times * c.runs), 0),
    coalesce(sum(w.times * c.passed), 0),
    coalesce(sum(w.times * c.failed), 0),
    coalesce(sum(w.times * c.skipped), 0)
  into counts
  from spans as w
  join counted as c
    on c.days = w.days
    and c.first_day = w.first_day;
  return counts;
end
$$;
revoke execute on function metrics.tests_of(metrics.period, bigint[]) from public;

comment on function metrics.tests_of(metrics.period, bigint[]) is 'What became of tests in a period, which is to have one bucket.';

drop function if exists metrics.test_health_evidence(date, date, text, text, text, text, integer);

create function metrics.test_health_evidence(
  since date default null,
  until date default null,
  repository text default null,
  team text default null,
  branch text default null,
  page_after text default null,
  page_size integer default 100
)
returns setof metrics.evidence
language plpgsql
stable
set search_path = ''
set statement_timeout = '5s'
set plan_cache_mode = force_custom_plan
set enable_seqscan = off
set enable_tidscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
#variable_conflict use_column
declare
  asked metrics.period;
  after metrics.evidence_key;
  starts_at timestamptz;
  ends_at timestamptz;
  references_read bigint[];
  names text[];
  reference_names text[];
  branches text[];
  rows_in_all bigint;
begin
  perform metrics.require_reader();
  asked := metrics.period_of(since, until, 'none', page_after, page_size);
  after := metrics.evidence_after(asked);
  starts_at := metrics.midnight(asked.since, asked.time_zone);
  ends_at := metrics.midnight(asked.until, asked.time_zone);
  select
    coalesce(array_agg(s.reference_id), '{}'),
    coalesce(array_agg(s.label), '{}'),
    coalesce(array_agg(s.reference), '{}'),
    coalesce(array_agg(case when branch = 'default' then o.default_branch else branch end), '{}')
  into references_read, names, reference_names, branches
  from metrics.selected_references(repository, team) as s
  join metrics.repositories as o
    on o.id = s.repository_id;

  select coalesce(sum(t.runs), 0)
  into rows_in_all
  from unnest(references_read, branches) as r (reference_id, branch)
  cross join lateral (
    select count(*) as runs
    from metrics.test_runs as u
    where u.reference_id = r.reference_id
      and u.started_at >= starts_at
      and u.started_at < ends_at
      and (test_health_evidence.branch is null or u.branch = r.branch)
  ) as t;

  return query
  select
    e.started_at,
    e.label,
    null::text,
    'test_run',
    e.external_id,
    e.commit_sha,
    e.suite,
    e.passed::double precision / nullif(e.passed + e.failed, 0),
    'ratio',
    case when e.passed + e.failed > 0 then null else 'too_few' end,
    e.url,
    jsonb_build_object(
      'passed', e.passed,
      'failed', e.failed,
      'skipped', coalesce(e.skipped_count, 0),
      'duration_seconds', e.duration_seconds,
      'branch', e.branch,
      'pipeline', e.pipeline,
      'job', e.job
    ),
    metrics.evidence_page_key(e.started_at, e.label, 'test_run', e.external_id, e.reference),
    rows_in_all
  from (
    select
      r.label,
      r.reference,
      coalesce(t.passed_count, 0) as passed,
      coalesce(t.failed_count, 0) + coalesce(t.error_count, 0) as failed,
      t.*
    from unnest(references_read, names, reference_names, branches) as r (reference_id, label, reference, branch)
    -- A page of each reference, in the order of its index: the page of all is among them.
    cross join lateral (
      select
        u.external_id, u.suite, u.commit_sha, u.branch, u.pipeline, u.job, u.passed_count, u.failed_count, u.error_count, u.skipped_count,
        u.duration_seconds, u.started_at, u.url
      from metrics.test_runs as u
      where u.reference_id = r.reference_id
        and u.started_at >= greatest(after.happened_at, starts_at)
        and u.started_at < ends_at
        and (test_health_evidence.branch is null or u.branch = r.branch)
        and (
          after.happened_at is null
          or (u.started_at, r.label collate "C", 'test_run' collate "C", u.external_id collate "C", r.reference collate "C")
            > (after.happened_at, after.repository, after.kind, after.external_id, after.reference)
        )
      order by u.started_at, u.external_id collate "C"
      limit asked.page_size
    ) as t
    order by t.started_at, r.label collate "C", t.external_id collate "C", r.reference collate "C"
    limit asked.page_size
  ) as e
  order by e.started_at, e.label collate "C", e.external_id collate "C", e.reference collate "C";
end
$$;
revoke execute on function metrics.test_health_evidence(date, date, text, text, text, text, integer) from public;

comment on function metrics.test_health_evidence(date, date, text, text, text, text, integer) is 'The test runs behind test_health, in the order of their start: value is the share that passed, detail what became of the others.';

-- A test is flaky where it failed and passed for one commit within a week, or passed only when it was tried again.
drop function if exists metrics.flaky_cases(bigint[], timestamptz, timestamptz);

create function metrics.flaky_cases(reference_ids bigint[], starts_at timestamptz, ends_at timestamptz)
returns table (
  reference_id bigint,
  test_run_external_id text,
  test_id bigint,
  commit_sha text,
  started_at timestamptz,
  outcome text,
  retries integer,
  message text,
  url text,
  passed_in text
)
language plpgsql
stable
set search_path = ''
set plan_cache_mode = force_custom_plan
set enable_seqscan = off
set enable_tidscan = off
rows 100
as $$
#variable_conflict use_column
begin
  return query
  with uploads as materialized (
    select u.*
    from unnest(reference_ids) as r (reference_id)
    cross join lateral (
      select t.reference_id, t.external_id, t.commit_sha, t.started_at, t.url, t.passed
      from metrics.test_runs as t
      where t.reference_id = r.reference_id
        and t.started_at >= flaky_cases.starts_at - interval '168 hours'
        and t.started_at < flaky_cases.ends_at + interval '168 hours'
        and t.commit_sha is not null
        and not t.is_inconclusive
      offset 0
    ) as u
  ),
  -- Only where the commit was tested again can anything have passed: seldom, and so asked first.
  others as materialized (
    select u.reference_id, u.external_id, u.commit_sha, u.started_at, u.url, o.external_id as other_id, o.passed
    from uploads as u
    join uploads as o
      on o.reference_id = u.reference_id
      and o.commit_sha = u.commit_sha
      and o.external_id <> u.external_id
      and o.started_at between u.started_at - interval '168 hours' and u.started_at + interval '168 hours'
    where u.started_at >= flaky_cases.starts_at
      and u.started_at < flaky_cases.ends_at
  )
  select distinct on (f.reference_id, f.external_id, f.test_id)
    f.reference_id,
    f.external_id,
    f.test_id,
    f.commit_sha,
    f.started_at,
    f.outcome,
    f.retries,
    f.message,
    f.url,
    f.other_id
  from (
    select o.reference_id, o.external_id, c.test_id, o.commit_sha, o.started_at, c.outcome, c.retries, c.message, o.url, o.other_id
    from others as o
    cross join lateral (
      select t.test_id, t.outcome, t.retries, t.message
      from metrics.test_cases as t
      where t.reference_id = o.reference_id
        and t.test_run_external_id = o.external_id
        and t.outcome in ('failed', 'error')
      offset 0
    ) as c
    where c.test_id = any(o.passed)
      or exists (
        select
        from metrics.test_cases as t
        where t.reference_id = o.reference_id
          and t.test_run_external_id = o.other_id
          and t.test_id = c.test_id
          and t.outcome = 'passed'
      )
  ) as f
  order by f.reference_id, f.external_id, f.test_id, f.other_id collate "C";

  return query
  select c.reference_id, c.test_run_external_id, c.test_id, u.commit_sha, u.started_at, c.outcome, c.retries, c.message, u.url, c.test_run_external_id
  from unnest(reference_ids) as r (reference_id)
  cross join lateral (
    select t.*
    from metrics.test_cases as t
    where t.reference_id = r.reference_id
      and t.outcome = 'passed'
      and t.retries > 0
    offset 0
  ) as c
  cross join lateral (
    select t.commit_sha, t.started_at, t.url
    from metrics.test_runs as t
    where t.reference_id = c.reference_id
      and t.external_id = c.test_run_external_id
      and t.started_at >= flaky_cases.starts_at
      and t.started_at < flaky_cases.ends_at
      and not t.is_inconclusive
    offset 0
  ) as u;
end
$$;
revoke execute on function metrics.flaky_cases(bigint[], timestamptz, timestamptz) from public;

comment on function metrics.flaky_cases(bigint[], timestamptz, timestamptz) is 'Test cases of uploads that started in the period and show that a test is flaky: those that failed where another upload of the commit, passed_in, says that they passed, and those that passed when tried again.';

do $$
begin
  if to_regtype('metrics.flaky_test') is null then
    create type metrics.flaky_test as (
      repository text,
      suite text,
      test text,
      commits bigint,
      failures bigint,
      retried bigint,
      first_at timestamptz,
      last_at timestamptz,
      reason text,
      is_frozen boolean,
      page_key text,
      total bigint
    );
  end if;
end
$$;

revoke usage on type metrics.flaky_test from public;

comment on type metrics.flaky_test is 'A flaky test: for how many commits it was so, how often it failed where it also passed, and how often it passed only when tried again.';
comment on column metrics.flaky_test.repository is 'Full name of the repository, else its first reference; NULL in the one row that says why there is none.';
comment on column metrics.flaky_test.suite is 'Name of the suite.';
comment on column metrics.flaky_test.test is 'Name of the test.';
comment on column metrics.flaky_test.commits is 'Commits for which it failed and passed, or passed only when tried again.';
comment on column metrics.flaky_test.failures is 'How often it failed for a commit for which it also passed.';
comment on column metrics.flaky_test.retried is 'How often it passed only when tried again within one report.';
comment on column metrics.flaky_test.first_at is 'Start of the first upload that shows it.';
comment on column metrics.flaky_test.last_at is 'Start of the last upload that shows it.';
comment on column metrics.flaky_test.reason is 'Why there is no flaky test.';
comment on column metrics.flaky_test.is_frozen is 'Whether the period begins before the horizon of test cases: of that time some or all are dropped, and what they showed is missing.';
comment on column metrics.flaky_test.page_key is 'Key of the row: as page_after it asks for the rows after it.';
comment on column metrics.flaky_test.total is 'Rows of all pages.';

drop function if exists metrics.flaky_tests(date, date, text, text, text, integer);

create function metrics.flaky_tests(
  since date default null,
  until date default null,
  repository text default null,
  team text default null,
  page_after text default null,
  page_size integer default 100
)
returns setof metrics.flaky_test
language plpgsql
stable
set search_path = ''
set statement_timeout = '5s'
set plan_cache_mode = force_custom_plan
set enable_seqscan = off
set enable_tidscan = off
as $$
#variable_conflict use_column
declare
  asked metrics.period;
  starts_at timestamptz;
  ends_at timestamptz;
  references_read bigint[];
  names text[];
  absent text;
  is_frozen boolean;
begin
  perform metrics.require_reader();
  asked := metrics.period_of(since, until, 'none', page_after, page_size);
  if asked.after is not null and (
    jsonb_array_length(asked.after) <> 4
    or jsonb_path_exists(asked.after, '$[*] ? (@.type() != "string")')
    or asked.after ->> 0 !~ '^[0-9]{1,18}$'
  ) then
    raise exception using
      errcode = '22023',
      message = format('%s is no key of a page', left(asked.after::text, 100)),
      hint = 'Pass the page_key of the last row that was read, with the arguments that it was read with.';
  end if;
  starts_at := metrics.midnight(asked.since, asked.time_zone);
  ends_at := metrics.midnight(asked.until, asked.time_zone);
  select coalesce(array_agg(s.reference_id), '{}'), coalesce(array_agg(s.label), '{}')
  into references_read, names
  from metrics.selected_references(repository, team) as s;

  is_frozen := exists (
    select
    from metrics.horizons as h
    where h.fact = 'test_cases'
      and h.before > asked.since
  );

  -- That no test is flaky can be said only of tests that ran.
  absent := case
    when names = '{}' and num_nonnulls(repository, team) > 0 then 'unknown_service'
    when not exists (
      select
      from unnest(references_read) as r (reference_id)
      cross join lateral (
        select
        from metrics.test_runs as t
        where t.reference_id = r.reference_id
          and t.started_at >= starts_at
          and t.started_at < ends_at
        limit 1
      ) as t
    ) then 'too_few'
  end;
  if absent is not null then
    return query
    select
      null::text, null::text, null::text, null::bigint, null::bigint, null::bigint, null::timestamptz, null::timestamptz, absent,
      case when absent <> 'unknown_service' then is_frozen end, null::text, 1::bigint;
    return;
  end if;

  return query
  select
    f.repository,
    f.suite,
    f.test,
    f.commits,
    f.failures,
    f.retried,
    f.first_at,
    f.last_at,
    null::text,
    is_frozen,
    jsonb_build_array(f.commits::text, f.repository, f.suite, f.test)::text,
    f.total
  from (
    select
      r.label as repository,
      n.suite,
      n.name as test,
      count(distinct c.commit_sha) as commits,
      count(*) filter (where c.outcome <> 'passed') as failures,
      count(*) filter (where c.outcome = 'passed') as retried,
      min(c.started_at) as first_at,
      max(c.started_at) as last_at,
      count(*) over () as total
    from metrics.flaky_cases(references_read, starts_at, ends_at) as c
    join unnest(references_read, names) as r (reference_id, label)
      on r.reference_id = c.reference_id
    cross join lateral (
      select t.suite, t.name
      from metrics.tests as t
      where t.id = c.test_id
    ) as n
    group by r.label, n.suite, n.name
  ) as f
  where asked.after is null
    or f.commits < (asked.after ->> 0)::bigint
    or (
      f.commits = (asked.after ->> 0)::bigint
      and (f.repository collate "C", f.suite collate "C", f.test collate "C") > (asked.after ->> 1, asked.after ->> 2, asked.after ->> 3)
    )
  order by f.commits desc, f.repository collate "C", f.suite collate "C", f.test collate "C"
  limit asked.page_size;

  -- Nor of those whose cases are dropped.
  if not found and asked.after is null and is_frozen then
    return query
    select
      null::text, null::text, null::text, null::bigint, null::bigint, null::bigint, null::timestamptz, null::timestamptz, 'outside_retention',
      true, null::text, 1::bigint;
  end if;
end
$$;
revoke execute on function metrics.flaky_tests(date, date, text, text, text, integer) from public;

comment on function metrics.flaky_tests(date, date, text, text, text, integer) is 'Tests that failed and passed for one commit within 7 days, or passed only when tried again; the flaky for most commits first. No row says that tests ran and none was flaky; a row of nothing but a reason that none ran (too_few), that the period begins before the horizon and nothing is left that shows one (outside_retention), or unknown_service. is_frozen: the period begins before the horizon. Raises 22023 for what cannot be asked.';

drop function if exists metrics.flaky_tests_evidence(date, date, text, text, text, integer);

create function metrics.flaky_tests_evidence(
  since date default null,
  until date default null,
  repository text default null,
  team text default null,
  page_after text default null,
  page_size integer default 100
)
returns setof metrics.evidence
language plpgsql
stable
set search_path = ''
set statement_timeout = '5s'
set plan_cache_mode = force_custom_plan
set enable_seqscan = off
set enable_tidscan = off
as $$
#variable_conflict use_column
declare
  asked metrics.period;
  after metrics.evidence_key;
  references_read bigint[];
  names text[];
  reference_names text[];
begin
  perform metrics.require_reader();
  asked := metrics.period_of(since, until, 'none', page_after, page_size);
  after := metrics.evidence_after(asked);
  select coalesce(array_agg(s.reference_id), '{}'), coalesce(array_agg(s.label), '{}'), coalesce(array_agg(s.reference), '{}')
  into references_read, names, reference_names
  from metrics.selected_references(repository, team) as s;

  return query
  select
    e.started_at,
    e.label,
    null::text,
    'test_case',
    e.external_id,
    e.commit_sha,
    e.name,
    case when e.outcome = 'passed' then e.retries else 1 end::double precision,
    case when e.outcome = 'passed' then 'retries' else 'failures' end,
    null::text,
    e.url,
    jsonb_build_object(
      'suite', e.suite,
      'test_run', e.test_run_external_id,
      'outcome', e.outcome,
      'retries', e.retries,
      'passed_in', e.passed_in,
      'message', e.message
    ),
    metrics.evidence_page_key(e.started_at, e.label, 'test_case', e.external_id, e.reference),
    e.total
  from (
    select
      r.label,
      -- The three parts of the id may be put together in more than one way.
      r.reference || e'\n' || c.test_run_external_id || e'\n' || n.suite as reference,
      n.suite,
      n.name,
      c.test_run_external_id || ' ' || n.suite || ' ' || n.name as external_id,
      c.*,
      count(*) over () as total
    from metrics.flaky_cases(
      references_read,
      metrics.midnight(asked.since, asked.time_zone),
      metrics.midnight(asked.until, asked.time_zone)
    ) as c
    join unnest(references_read, names, reference_names) as r (reference_id, label, reference)
      on r.reference_id = c.reference_id
    cross join lateral (
      select t.suite, t.name
      from metrics.tests as t
      where t.id = c.test_id
    ) as n
  ) as e
  where after.happened_at is null
    or (e.started_at, e.label collate "C", 'test_case' collate "C", e.external_id collate "C", e.reference collate "C")
      > (after.happened_at, after.repository, after.kind, after.external_id, after.reference)
  order by e.started_at, e.label collate "C", e.external_id collate "C", e.reference collate "C"
  limit asked.page_size;
end
$$;
revoke execute on function metrics.flaky_tests_evidence(date, date, text, text, text, integer) from public;

comment on function metrics.flaky_tests_evidence(date, date, text, text, text, integer) is 'The test cases behind flaky_tests, in the order of their uploads: each that failed where another upload of the commit (passed_in) says that it passed, and each that passed only when tried again.';

drop function if exists metrics.rule_compliance(date, date, text, text, text, text, text, integer);

create function metrics.rule_compliance(
  since date default null,
  until date default null,
  bucket text default 'none',
  by text default 'nothing',
  repository text default null,
  team text default null,
  page_after text default null,
  page_size integer default 100
)
returns table (
  bucket_start date,
  name text,
  compliant bigint,
  violation bigint,
  warning bigint,
  checks bigint,
  rate double precision,
  reason text,
  page_key text,
  total bigint
)
language plpgsql
stable
set search_path = ''
set statement_timeout = '5s'
-- Planned once: checks and counts are looked up by an index, of each repository, whatever is asked for and however much the caller may read.
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_tidscan = off
set enable_bitmapscan = off
set enable_nestloop = off
set enable_sort = off
set jit = off
as $$
#variable_conflict use_column
declare
  asked metrics.period;
  grouped text;
  by_span boolean;
  references_read bigint[];
  names text[];
  is_unknown boolean;
begin
  perform metrics.require_reader();
  asked := metrics.period_of(since, until, bucket, page_after, page_size);
  grouped := metrics.checked_word('by', by, array['nothing', 'repository', 'category', 'rule']);
  -- Counted are all rules together.
  by_span := grouped in ('nothing', 'repository');
  select coalesce(array_agg(s.reference_id), '{}'), coalesce(array_agg(s.label), '{}')
  into references_read, names
  from metrics.selected_references(repository, team) as s;
  is_unknown := names = '{}' and num_nonnulls(repository, team) > 0;

  return query
  with spans as materialized (
    select w.bucket_start, w.days, w.first_day, w.times
    from metrics.counted_spans_of(asked, 28) as w
    where by_span
  ),
  stretches as materialized (
    select s.bucket_start, s.starts_at, s.ends_at
    from metrics.stretches_of(asked) as s
    where not by_span
  ),
  reads as materialized (
    select w.days, array_agg(distinct w.first_day) as first_days
    from spans as w
    group by w.days
  ),
  counts as materialized (
    select
      case when grouped = 'nothing' then '' else r.label end as name,
      c.days,
      c.first_day,
      sum(c.compliant) as compliant,
      sum(c.violation) as violation,
      sum(c.warning) as warning
    from reads as s
    cross join lateral (
      select k.reference_id, k.days, k.first_day, k.compliant, k.violation, k.warning
      from metrics.rule_spans as k
      where k.generation = asked.generation
        and k.reference_id = any(references_read)
        and k.days = s.days
        and k.first_day = any(s.first_days)
      offset 0
    ) as c
    join unnest(references_read, names) as r (reference_id, label)
      on r.reference_id = c.reference_id
    group by 1, c.days, c.first_day
  ),
  counted as materialized (
    select
      f.name,
      f.bucket_start,
      sum(f.compliant)::bigint as compliant,
      sum(f.violation)::bigint as violation,
      sum(f.warning)::bigint as warning,
      sum(f.compliant + f.violation + f.warning)::bigint as checks
    from (
      select c.name, w.bucket_start, sum(w.times * c.compliant), sum(w.times * c.violation), sum(w.times * c.warning)
      from spans as w
      join counts as c
        on c.days = w.days
        and c.first_day = w.first_day
      group by c.name, w.bucket_start
      union all
      select
        case grouped when 'category' then coalesce(c.category, '') else coalesce(c.rule, '') end,
        s.bucket_start,
        count(*) filter (where c.status = 'compliant'),
        count(*) filter (where c.status = 'violation'),
        count(*) filter (where c.status = 'warning')
      from stretches as s
      cross join unnest(references_read) as r (reference_id)
      cross join lateral (
        select k.rule, k.category, k.status
        from metrics.rule_checks as k
        where k.reference_id = r.reference_id
          and k.checked_at >= s.starts_at
          and k.checked_at < s.ends_at
        offset 0
      ) as c
      group by 1, 2
    ) as f (name, bucket_start, compliant, violation, warning)
    group by f.name, f.bucket_start
  )
  select
    g.bucket_start,
    -- Checks without a category or a rule are together under an empty name.
    case when grouped in ('category', 'rule') and not is_unknown then coalesce(g.name, '') else g.name end,
    case when not is_unknown then coalesce(c.compliant, 0) end,
    case when not is_unknown then coalesce(c.violation, 0) end,
    case when not is_unknown then coalesce(c.warning, 0) end,
    case when not is_unknown then coalesce(c.checks, 0) end,
    c.compliant::double precision / nullif(c.checks, 0),
    case
      when is_unknown then 'unknown_service'
      when c.checks > 0 then null
      else 'too_few'
    end,
    g.page_key,
    g.total
  from metrics.page_of(
    asked,
    case
      when is_unknown or grouped = 'nothing' then array['']
      when grouped = 'repository' then array(select distinct n collate "C" from unnest(names) as n order by 1)
      else array(select distinct o.name collate "C" from counted as o order by 1)
    end,
    array['']
  ) as g
  left join counted as c
    on c.name = coalesce(g.name, '')
    and c.bucket_start is not distinct from g.bucket_start
  order by g.name collate "C" nulls first, g.bucket_start;
end
$$;
revoke execute on function metrics.rule_compliance(date, date, text, text, text, text, text, integer) from public;

comment on function metrics.rule_compliance(date, date, text, text, text, text, text, integer) is 'How many checks of rules that were made in the period were compliant, of all of them; by bucket and by nothing, repository, category or rule. Reasons: unknown_service, too_few. Raises 22023 for what cannot be asked.';

drop function if exists metrics.rule_compliance_evidence(date, date, text, text, text, integer);

create function metrics.rule_compliance_evidence(
  since date default null,
  until date default null,
  repository text default null,
  team text default null,
  page_after text default null,
  page_size integer default 100
)
returns setof metrics.evidence
language plpgsql
stable
set search_path = ''
set statement_timeout = '5s'
set plan_cache_mode = force_custom_plan
set enable_seqscan = off
set enable_tidscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
#variable_conflict use_column
declare
  asked metrics.period;
  after metrics.evidence_key;
  starts_at timestamptz;
  ends_at timestamptz;
  references_read bigint[];
  names text[];
  reference_names text[];
  rows_in_all bigint;
begin
  perform metrics.require_reader();
  asked := metrics.period_of(since, until, 'none', page_after, page_size);
  after := metrics.evidence_after(asked);
  starts_at := metrics.midnight(asked.since, asked.time_zone);
  ends_at := metrics.midnight(asked.until, asked.time_zone);
  select coalesce(array_agg(s.reference_id), '{}'), coalesce(array_agg(s.label), '{}'), coalesce(array_agg(s.reference), '{}')
  into references_read, names, reference_names
  from metrics.selected_references(repository, team) as s;

  select coalesce(sum(c.checks), 0)
  into rows_in_all
  from unnest(references_read) as r (reference_id)
  cross join lateral (
    select count(*) as checks
    from metrics.rule_checks as k
    where k.reference_id = r.reference_id
      and k.checked_at >= starts_at
      and k.checked_at < ends_at
      and k.status is not null
  ) as c;

  return query
  select
    e.checked_at,
    e.label,
    null::text,
    'rule_check',
    e.external_id,
    e.commit_sha,
    e.rule,
    (e.status = 'compliant')::integer::double precision,
    'ratio',
    null::text,
    e.url,
    jsonb_build_object(
      'category', e.category,
      'status', e.status,
      'pull_request_number', e.pull_request_number,
      'run_external_id', e.run_external_id,
      'detail', e.detail
    ),
    metrics.evidence_page_key(e.checked_at, e.label, 'rule_check', e.external_id, e.reference),
    rows_in_all
  from (
    select r.label, r.reference, c.*
    from unnest(references_read, names, reference_names) as r (reference_id, label, reference)
    -- A page of each reference, in the order of its index: the page of all is among them.
    cross join lateral (
      select k.*
      from metrics.rule_checks as k
      where k.reference_id = r.reference_id
        and k.checked_at >= greatest(after.happened_at, starts_at)
        and k.checked_at < ends_at
        and k.status is not null
        and (
          after.happened_at is null
          or (k.checked_at, r.label collate "C", 'rule_check' collate "C", k.external_id collate "C", r.reference collate "C")
            > (after.happened_at, after.repository, after.kind, after.external_id, after.reference)
        )
      order by k.checked_at, k.external_id collate "C"
      limit asked.page_size
    ) as c
    order by c.checked_at, r.label collate "C", c.external_id collate "C", r.reference collate "C"
    limit asked.page_size
  ) as e
  order by e.checked_at, e.label collate "C", e.external_id collate "C", e.reference collate "C";
end
$$;
revoke execute on function metrics.rule_compliance_evidence(date, date, text, text, text, integer) from public;

comment on function metrics.rule_compliance_evidence(date, date, text, text, text, integer) is 'The checks behind rule_compliance, in their order in time: value is 1 for a compliant one, else 0.';

do $$
begin
  if to_regtype('metrics.series_point') is null then
    create type metrics.series_point as (
      bucket_start date,
      name text,
      unit text,
      sample_size bigint,
      min double precision,
      avg double precision,
      p50 double precision,
      p95 double precision,
      last double precision,
      reason text,
      page_key text,
      total bigint
    );
  end if;
end
$$;

revoke usage on type metrics.series_point from public;

comment on type metrics.series_point is 'What was measured in one bucket, in one unit.';
comment on column metrics.series_point.bucket_start is 'First day of the bucket in the installation''s time zone; NULL for none.';
comment on column metrics.series_point.name is 'The repository, where rows are by repository.';
comment on column metrics.series_point.unit is 'Unit of the values; NULL where they were sent without one. Values of two units are two rows.';
comment on column metrics.series_point.sample_size is 'Values in the bucket.';
comment on column metrics.series_point.min is 'Least of them.';
comment on column metrics.series_point.avg is 'Their mean.';
comment on column metrics.series_point.p50 is 'Their median.';
comment on column metrics.series_point.p95 is 'Their 95th percentile.';
comment on column metrics.series_point.last is 'The latest of them.';
comment on column metrics.series_point.reason is 'Why there is no value.';
comment on column metrics.series_point.page_key is 'Key of the row: as page_after it asks for the rows after it.';
comment on column metrics.series_point.total is 'Rows of all pages.';

drop function if exists metrics.measurement_series(text, jsonb, date, date, text, text, text, text, text, integer);

create function metrics.measurement_series(
  name text,
  attributes jsonb default null,
  since date default null,
  until date default null,
  bucket text default 'none',
  by text default 'nothing',
  repository text default null,
  team text default null,
  page_after text default null,
  page_size integer default 100
)
returns setof metrics.series_point
language plpgsql
stable
set search_path = ''
set statement_timeout = '5s'
set plan_cache_mode = force_custom_plan
set enable_seqscan = off
set enable_tidscan = off
as $$
#variable_conflict use_column
declare
  asked metrics.period;
  grouped text;
  starts_at timestamptz;
  ends_at timestamptz;
  references_read bigint[];
  names text[];
  is_unknown boolean;
begin
  perform metrics.require_reader();
  asked := metrics.period_of(since, until, bucket, page_after, page_size);
  grouped := metrics.checked_word('by', by, array['nothing', 'repository']);
  perform metrics.require_measurement(measurement_series.name, measurement_series.attributes);
  starts_at := metrics.midnight(asked.since, asked.time_zone);
  ends_at := metrics.midnight(asked.until, asked.time_zone);
  select coalesce(array_agg(s.reference_id), '{}'), coalesce(array_agg(s.label), '{}')
  into references_read, names
  from metrics.selected_references(repository, team) as s;
  is_unknown := names = '{}' and num_nonnulls(repository, team) > 0;

  return query
  with measured as materialized (
    select
      f.name,
      f.unit,
      f.bucket_start,
      count(*) as sample_size,
      min(f.value) as min,
      avg(f.value) as avg,
      percentile_disc(array[0.5, 0.95]) within group (order by f.value) as percentiles,
      (array_agg(f.value order by f.measured_at desc, f.external_id collate "C" desc, f.reference_id desc))[1] as last
    from (
      select
        case when grouped = 'repository' then r.label else '' end as name,
        case
          when asked.bucket <> 'none' then date_trunc(asked.bucket, m.measured_at at time zone asked.time_zone)::date
        end as bucket_start,
        coalesce(m.unit, '') as unit,
        m.value,
        m.measured_at,
        m.external_id,
        m.reference_id
      from unnest(references_read, names) as r (reference_id, label)
      cross join lateral (
        select k.*
        from metrics.measurements as k
        where k.reference_id = r.reference_id
          and k.name = measurement_series.name
          and k.measured_at >= starts_at
          and k.measured_at < ends_at
          and k.value is not null
          and (measurement_series.attributes is null or k.attributes @> measurement_series.attributes)
        offset 0
      ) as m
    ) as f
    group by f.name, f.unit, f.bucket_start
  )
  select
    g.bucket_start,
    g.name,
    nullif(g.part, ''),
    case when not is_unknown then coalesce(m.sample_size, 0) end,
    m.min,
    m.avg,
    m.percentiles[1],
    m.percentiles[2],
    m.last,
    case
      when is_unknown then 'unknown_service'
      when m.sample_size > 0 then null
      else 'too_few'
    end,
    g.page_key,
    g.total
  from metrics.page_of(
    asked,
    case
      when is_unknown or grouped = 'nothing' then array['']
      else array(select distinct n collate "C" from unnest(names) as n order by 1)
    end,
    coalesce(nullif(array(select distinct o.unit collate "C" from measured as o order by 1), '{}'), array[''])
  ) as g
  left join measured as m
    on m.name = coalesce(g.name, '')
    and m.unit = g.part
    and m.bucket_start is not distinct from g.bucket_start
  order by g.name collate "C" nulls first, g.bucket_start, g.part collate "C";
end
$$;
revoke execute on function metrics.measurement_series(text, jsonb, date, date, text, text, text, text, text, integer) from public;

comment on function metrics.measurement_series(text, jsonb, date, date, text, text, text, text, text, integer) is 'What was measured under a name in the period, where the measurement has these attributes; by bucket and by nothing or repository. A row for each unit that occurs. last is the latest value. Reasons: unknown_service, too_few. Raises 22023 for what cannot be asked.';

drop function if exists metrics.require_measurement(text, jsonb);

create function metrics.require_measurement(name text, attributes jsonb)
returns void
language plpgsql
immutable
set search_path = ''
as $$
begin
  if name is null then
    raise exception using
      errcode = '22023',
      message = 'name is missing',
      hint = 'Name what was measured, as its measurements do.';
  end if;
  if jsonb_typeof(attributes) <> 'object' then
    raise exception using
      errcode = '22023',
      message = format('attributes cannot be %s', left(attributes::text, 100)),
      hint = 'They are an object, for example {"browser": "firefox"}.';
  end if;
end
$$;
revoke execute on function metrics.require_measurement(text, jsonb) from public;

comment on function metrics.require_measurement(text, jsonb) is 'Raises 22023 unless a measurement is named, and what it is about is an object or NULL.';

drop function if exists metrics.measurement_series_evidence(text, jsonb, date, date, text, text, text, integer);

create function metrics.measurement_series_evidence(
  name text,
  attributes jsonb default null,
  since date default null,
  until date default null,
  repository text default null,
  team text default null,
  page_after text default null,
  page_size integer default 100
)
returns setof metrics.evidence
language plpgsql
stable
set search_path = ''
set statement_timeout = '5s'
set plan_cache_mode = force_custom_plan
set enable_seqscan = off
set enable_tidscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
#variable_conflict use_column
declare
  asked metrics.period;
  after metrics.evidence_key;
  starts_at timestamptz;
  ends_at timestamptz;
  references_read bigint[];
  names text[];
  reference_names text[];
  rows_in_all bigint;
begin
  perform metrics.require_reader();
  asked := metrics.period_of(since, until, 'none', page_after, page_size);
  after := metrics.evidence_after(asked);
  perform metrics.require_measurement(measurement_series_evidence.name, measurement_series_evidence.attributes);
  starts_at := metrics.midnight(asked.since, asked.time_zone);
  ends_at := metrics.midnight(asked.until, asked.time_zone);
  select coalesce(array_agg(s.reference_id), '{}'), coalesce(array_agg(s.label), '{}'), coalesce(array_agg(s.reference), '{}')
  into references_read, names, reference_names
  from metrics.selected_references(repository, team) as s;

  select coalesce(sum(m.measurements), 0)
  into rows_in_all
  from unnest(references_read) as r (reference_id)
  cross join lateral (
    select count(*) as measurements
    from metrics.measurements as k
    where k.reference_id = r.reference_id
      and k.name = measurement_series_evidence.name
      and k.measured_at >= starts_at
      and k.measured_at < ends_at
      and k.value is not null
      and (measurement_series_evidence.attributes is null or k.attributes @> measurement_series_evidence.attributes)
  ) as m;

  return query
  select
    e.measured_at,
    e.label,
    null::text,
    'measurement',
    e.external_id,
    null::text,
    e.name,
    e.value,
    e.unit,
    null::text,
    null::text,
    e.attributes,
    metrics.evidence_page_key(e.measured_at, e.label, 'measurement', e.external_id, e.reference),
    rows_in_all
  from (
    select r.label, r.reference, m.*
    from unnest(references_read, names, reference_names) as r (reference_id, label, reference)
    -- A page of each reference, in the order of its index: the page of all is among them.
    cross join lateral (
      select k.*
      from metrics.measurements as k
      where k.reference_id = r.reference_id
        and k.name = measurement_series_evidence.name
        and k.measured_at >= greatest(after.happened_at, starts_at)
        and k.measured_at < ends_at
        and k.value is not null
        and (measurement_series_evidence.attributes is null or k.attributes @> measurement_series_evidence.attributes)
        and (
          after.happened_at is null
          or (k.measured_at, r.label collate "C", 'measurement' collate "C", k.external_id collate "C", r.reference collate "C")
            > (after.happened_at, after.repository, after.kind, after.external_id, after.reference)
        )
      order by k.measured_at, k.external_id collate "C"
      limit asked.page_size
    ) as m
    order by m.measured_at, r.label collate "C", m.external_id collate "C", r.reference collate "C"
    limit asked.page_size
  ) as e
  order by e.measured_at, e.label collate "C", e.external_id collate "C", e.reference collate "C";
end
$$;
revoke execute on function metrics.measurement_series_evidence(text, jsonb, date, date, text, text, text, integer) from public;

comment on function metrics.measurement_series_evidence(text, jsonb, date, date, text, text, text, integer) is 'The measurements behind measurement_series, in their order in time.';
