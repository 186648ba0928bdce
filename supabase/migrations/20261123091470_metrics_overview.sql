-- What a first screen needs, in one call.

set lock_timeout = '2s';
set statement_timeout = '60s';

drop function if exists metrics.overview(date, date, text, text, boolean);

create function metrics.overview(
  since date default null,
  until date default null,
  repository text default null,
  team text default null,
  bots boolean default true
)
returns table (
  section text,
  metric text,
  value double precision,
  unit text,
  reason text,
  band text,
  sample_size bigint,
  previous_value double precision,
  trend double precision,
  detail jsonb,
  total bigint
)
language plpgsql
stable
set search_path = ''
set statement_timeout = '5s'
as $$
#variable_conflict use_column
declare
  asked metrics.period;
  reference_ids bigint[];
  is_unknown boolean;
  tests metrics.test_counts;
begin
  perform metrics.require_reader();
  asked := metrics.period_of(since, until, 'none', null, 500);
  -- Of tests only counts are shown, which need no look at each report.
  reference_ids := array(
    select s.reference_id
    from metrics.selected_references(repository, team) as s
  );
  is_unknown := reference_ids = '{}' and num_nonnulls(repository, team) > 0;
  if not is_unknown then
    tests := metrics.tests_of(asked, reference_ids);
  end if;
  -- Few rows, but more than an API may give at once: who reads them sees how many there are.
  return query
  select o.section, o.metric, o.value, o.unit, o.reason, o.band, o.sample_size, o.previous_value, o.trend, o.detail, count(*) over ()
  from (
    select 'dora', d.metric, d.value, d.unit, d.reason, d.band, d.sample_size, d.previous_value, d.trend, d.notes, 1, row_number() over ()
    from metrics.dora(asked.since, asked.until, repository => repository, team => team, bots => bots) as d
    union all
    select
      'pull_requests',
      p.phase,
      p.p50_seconds,
      'seconds',
      p.reason,
      null::text,
      p.sample_size,
      null::double precision,
      null::double precision,
      jsonb_build_object('p75_seconds', p.p75_seconds, 'p95_seconds', p.p95_seconds, 'pull_requests', p.pull_requests),
      2,
      row_number() over ()
    from metrics.pull_request_cycle_time(asked.since, asked.until, repository => repository, team => team, bots => bots) as p
    union all
    select
      'pipelines',
      v.metric,
      v.value,
      v.unit,
      case when v.value is null then coalesce(h.reason, 'too_few') end,
      null::text,
      v.sample_size,
      null::double precision,
      null::double precision,
      v.detail,
      3,
      row_number() over ()
    from metrics.pipeline_health(asked.since, asked.until, repository => repository, team => team, bots => bots) as h
    cross join lateral (
      values
        (
          'success_rate',
          h.success_rate,
          'ratio',
          h.success + h.failure + h.timed_out + h.error,
          jsonb_build_object('first_try_success_rate', h.first_try_success_rate, 'final_success_rate', h.final_success_rate, 'rerun_rate', h.rerun_rate)
        ),
        (
          'duration',
          h.duration_p50_seconds,
          'seconds',
          h.duration_sample_size,
          jsonb_build_object('p75_seconds', h.duration_p75_seconds, 'p95_seconds', h.duration_p95_seconds)
        ),
        (
          'queue',
          h.queue_p50_seconds,
          'seconds',
          h.queue_sample_size,
          jsonb_build_object('p75_seconds', h.queue_p75_seconds, 'p95_seconds', h.queue_p95_seconds)
        )
    ) as v (metric, value, unit, sample_size, detail)
    union all
    select
      'tests',
      'pass_rate',
      tests.passed::double precision / nullif(tests.passed + tests.failed, 0),
      'ratio',
      case
        when is_unknown then 'unknown_service'
        when tests.passed + tests.failed = 0 then 'too_few'
      end,
      null::text,
      tests.passed + tests.failed,
      null::double precision,
      null::double precision,
      jsonb_build_object('runs', tests.runs, 'passed', tests.passed, 'failed', tests.failed, 'skipped', tests.skipped),
      4,
      1
    union all
    select
      'rules',
      'compliance',
      r.rate,
      'ratio',
      r.reason,
      null::text,
      r.checks,
      null::double precision,
      null::double precision,
      jsonb_build_object('compliant', r.compliant, 'violation', r.violation, 'warning', r.warning),
      5,
      row_number() over ()
    from metrics.rule_compliance(asked.since, asked.until, repository => repository, team => team) as r
  ) as o (section, metric, value, unit, reason, band, sample_size, previous_value, trend, detail, part, place)
  order by o.part, o.place;
end
$$;
revoke execute on function metrics.overview(date, date, text, text, boolean) from public;

comment on function metrics.overview(date, date, text, text, boolean) is 'What a first screen needs, in one call: the five numbers of DORA with their trend, the phases of pull requests, how pipelines run, which share of tests pass and of rules is kept.';

drop function if exists metrics.overview_evidence(text, text, date, date, text, text, boolean, text, integer);

create function metrics.overview_evidence(
  section text default 'dora',
  metric text default null,
  since date default null,
  until date default null,
  repository text default null,
  team text default null,
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
declare
  part constant text := metrics.checked_word('section', section, array['dora', 'pull_requests', 'pipelines', 'tests', 'rules']);
begin
  perform metrics.require_reader();
  case part
    when 'dora' then
      return query
      select *
      from metrics.dora_evidence(
        metric, since, until, repository => repository, team => team, bots => bots, page_after => page_after, page_size => page_size
      );
    when 'pull_requests' then
      return query
      select *
      from metrics.pull_request_cycle_time_evidence(
        since, until, repository => repository, team => team, bots => bots, page_after => page_after, page_size => page_size
      );
    when 'pipelines' then
      return query
      select *
      from metrics.pipeline_health_evidence(
        since, until, repository => repository, team => team, bots => bots, page_after => page_after, page_size => page_size
      );
    when 'tests' then
      return query
      select *
      from metrics.test_health_evidence(
        since, until, repository => repository, team => team, page_after => page_after, page_size => page_size
      );
    else
      return query
      select *
      from metrics.rule_compliance_evidence(
        since, until, repository => repository, team => team, page_after => page_after, page_size => page_size
      );
  end case;
end
$$;
revoke execute on function metrics.overview_evidence(text, text, date, date, text, text, boolean, text, integer) from public;

comment on function metrics.overview_evidence(text, text, date, date, text, text, boolean, text, integer) is 'The rows behind one section of overview, as the number''s own evidence shows them; metric names one of the five of dora.';
