-- The numbers of CI: how long pipelines, jobs and steps take and wait, how often they succeed, what is flaky, slow and dear.

set lock_timeout = '2s';
set statement_timeout = '60s';

drop function if exists metrics.key_of_page(metrics.period, text[]);

create function metrics.key_of_page(asked metrics.period, kinds text[])
returns jsonb
language plpgsql
immutable
set search_path = ''
as $$
begin
  if asked.after is not null
    and (
      array(
        select jsonb_typeof(k.value)
        from jsonb_array_elements(asked.after) with ordinality as k (value, place)
        order by k.place
      ) <> kinds
      -- No number of a row is outside what a column holds.
      or exists (
        select
        from jsonb_array_elements(asked.after) as k (value)
        where jsonb_typeof(k.value) = 'number'
          and not pg_input_is_valid(k.value::text, 'double precision')
      )
    ) then
    raise exception using
      errcode = '22023',
      message = format('%s is no key of a page', left(asked.after::text, 100)),
      hint = 'Pass the page_key of the last row that was read, with the arguments that it was read with.';
  end if;
  return asked.after;
end
$$;
revoke execute on function metrics.key_of_page(metrics.period, text[]) from public;

comment on function metrics.key_of_page(metrics.period, text[]) is 'The key after which a page begins, once it is known to be of these kinds of JSON; NULL for the first page. Raises 22023 for what is no such key.';

do $$
begin
  if to_regtype('metrics.health_line') is null then
    create type metrics.health_line as (
      name text,
      bucket_start date,
      success bigint,
      failure bigint,
      timed_out bigint,
      error bigint,
      cancelled bigint,
      skipped bigint,
      neutral bigint,
      unknown bigint,
      reruns bigint,
      first_decided bigint,
      first_success bigint,
      last_decided bigint,
      last_success bigint,
      durations double precision[],
      queues double precision[],
      measured_durations bigint,
      measured_queues bigint
    );
  end if;
end
$$;

revoke usage on type metrics.health_line from public;

comment on type metrics.health_line is 'What the finished runs or jobs of a group in a bucket count, with p50, p75 and p95 of the seconds that they took and waited, and of how many these are known.';

drop function if exists metrics.pipeline_health(date, date, text, text, text, text, text, boolean, text, integer, text);

create function metrics.pipeline_health(
  since date default null,
  until date default null,
  bucket text default 'none',
  by text default 'nothing',
  repository text default null,
  team text default null,
  branch text default null,
  bots boolean default true,
  page_after text default null,
  page_size integer default 100,
  pipeline text default null
)
returns table (
  bucket_start date,
  name text,
  runs bigint,
  success bigint,
  failure bigint,
  timed_out bigint,
  error bigint,
  cancelled bigint,
  skipped bigint,
  neutral bigint,
  unknown bigint,
  success_rate double precision,
  first_try_success_rate double precision,
  final_success_rate double precision,
  rerun_rate double precision,
  duration_p50_seconds double precision,
  duration_p75_seconds double precision,
  duration_p95_seconds double precision,
  queue_p50_seconds double precision,
  queue_p75_seconds double precision,
  queue_p95_seconds double precision,
  duration_sample_size bigint,
  queue_sample_size bigint,
  reason text,
  is_exact boolean,
  page_key text,
  total bigint
)
language plpgsql
stable
set search_path = ''
set statement_timeout = '5s'
-- Planned once: runs and counts are looked up by an index, of each repository, whatever is asked for and however much the caller may read.
-- Groups are few and rows many, so they are hashed.
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
  fractions constant double precision[] := array[0.5, 0.75, 0.95];
  wants_bots constant boolean := coalesce(pipeline_health.bots, true);
  only_default constant boolean := pipeline_health.branch is not null;
  asked metrics.period;
  grouping text;
  reference_ids bigint[];
  labels text[];
  places integer[];
  is_unknown boolean;
  by_pipeline boolean;
  first_week date;
  end_week date;
  from_weeks boolean;
  from_days boolean;
  has_more boolean;
  rows_looked_at integer;
  is_exact boolean;
  all_runs bigint;
  groups text[];
  groups_shown text[];
  first_bucket date;
  last_bucket date;
  lines metrics.health_line[];
begin
  perform metrics.require_reader();
  asked := metrics.period_of(pipeline_health.since, pipeline_health.until, pipeline_health.bucket, page_after, page_size);
  grouping := metrics.checked_word('by', pipeline_health.by, array['nothing', 'repository', 'pipeline']);
  select
    coalesce(array_agg(r.reference_id), '{}'),
    coalesce(array_agg(r.place), '{}'),
    coalesce(array_agg(distinct r.label) filter (where grouping <> 'nothing'), array[''])
  into reference_ids, places, labels
  from (
    select s.reference_id, s.label, case when grouping = 'nothing' then 1 else dense_rank() over (order by s.label) end as place
    from (
      select o.reference_id, o.label collate "C" as label
      from metrics.selected_references(pipeline_health.repository, pipeline_health.team) as o
    ) as s
  ) as r;
  is_unknown := reference_ids = '{}' and (pipeline_health.repository is not null or pipeline_health.team is not null);
  if is_unknown then
    grouping := 'nothing';
    labels := array[''];
  end if;
  by_pipeline := grouping = 'pipeline';
  first_week := date_trunc('week', asked.since::timestamp)::date;
  end_week := date_trunc('week', (asked.until + 6)::timestamp)::date;

  -- Few runs are read one by one, and their percentiles are exact. A branch other than the default one is not counted by weeks.
  foreach rows_looked_at in array array[100, 1000, 5000, 1000000] loop
    select count(*) = rows_looked_at, sum(c.runs) > 2000
    into has_more, from_weeks
    from (
      select w.success + w.failure + w.timed_out + w.error + w.cancelled + w.skipped + w.neutral + w.unknown as runs
      from unnest(reference_ids) as r (reference_id)
      cross join lateral (
        select *
        from metrics.pipeline_spans as w
        where w.generation = asked.generation
          and w.only_default_branch = only_default
          and w.only_humans = not wants_bots
          and w.reference_id = r.reference_id
          and w.days = 7
          and w.first_day >= first_week
          and w.first_day < end_week
          and (pipeline_health.pipeline is null or w.pipeline = pipeline_health.pipeline)
        offset 0
      ) as w
      limit rows_looked_at
    ) as c;
    exit when from_weeks or not has_more;
  end loop;
  from_weeks := coalesce(from_weeks and coalesce(pipeline_health.branch, 'default') = 'default', false);
  is_exact := not from_weeks;
  -- All runs are counted by day and by four weeks, too; of others, those of the days by which weeks miss the period are read one by one.
  from_days := from_weeks and pipeline_health.branch is null and wants_bots;

  -- What ran in the period, whatever its weeks and the days beside them say by themselves.
  if by_pipeline or (is_exact and pipeline_health.branch <> 'default') then
    with spans as materialized (
      select s.days, s.first_day, s.times
      from metrics.counted_spans_of(asked, case when from_days then 28 else 7 end) as s
      where from_weeks
        and (from_days or s.days = 7)
    ),
    reads as materialized (
      select s.days, array_agg(distinct s.first_day) as first_days
      from spans as s
      group by s.days
    )
    select coalesce(array_agg(distinct n.name collate "C"), '{}'), coalesce(sum(n.runs), 0)
    into groups, all_runs
    from (
      select labels[k.place] || ' / ' || k.pipeline as name, sum(k.runs) as runs
      from (
        select r.place, n.pipeline, s.times * n.runs as runs
        from reads as d
        cross join lateral (
          select
            f.reference_id,
            f.pipeline,
            f.days,
            f.first_day,
            f.success + f.failure + f.timed_out + f.error + f.cancelled + f.skipped + f.neutral + f.unknown as runs
          from metrics.pipeline_spans as f
          where f.generation = asked.generation
            and f.only_default_branch = only_default
            and f.only_humans = not wants_bots
            and f.reference_id = any(reference_ids)
            and f.days = d.days
            and f.first_day = any(d.first_days)
            and (pipeline_health.pipeline is null or f.pipeline = pipeline_health.pipeline)
          offset 0
        ) as n
        join unnest(reference_ids, places) as r (reference_id, place)
          on r.reference_id = n.reference_id
        join spans as s
          on s.days = n.days
          and s.first_day = n.first_day
        union all
        select r.place, p.pipeline, s.times * p.runs
        from (
          select d.starts_at, d.ends_at, d.times
          from metrics.days_off_weeks_of(asked) as d
          where from_weeks
            and not from_days
          union all
          select d.starts_at, d.ends_at, 1
          from metrics.stretches_of(asked) as d
          where not from_weeks
        ) as s
        cross join unnest(reference_ids, places) as r (reference_id, place)
        cross join lateral (
          select coalesce(f.pipeline, '') as pipeline, count(*) as runs
          from metrics.pipeline_runs as f
          where f.reference_id = r.reference_id
            and f.ended_at >= s.starts_at
            and f.ended_at < s.ends_at
            and (pipeline_health.pipeline is null or coalesce(f.pipeline, '') = pipeline_health.pipeline)
            and (
              pipeline_health.branch is null
              or (pipeline_health.branch = 'default' and f.on_default_branch)
              or (pipeline_health.branch <> 'default' and f.branch = pipeline_health.branch)
            )
            and (wants_bots or f.actor_is_bot is not true)
          group by 1
          offset 0
        ) as p
      ) as k
      group by k.place, k.pipeline
      having sum(k.runs) > 0
    ) as n;
    is_exact := is_exact and all_runs <= 2000;
  end if;
  if not by_pipeline then
    groups := labels;
  end if;

  -- Only what stands on the page is read.
  select array_agg(distinct coalesce(g.name, '')), min(g.bucket_start), max(g.bucket_start)
  into groups_shown, first_bucket, last_bucket
  from metrics.page_of(asked, groups, array['']) as g;
  if grouping <> 'nothing' then
    select coalesce(array_agg(r.reference_id), '{}'), coalesce(array_agg(r.place), '{}')
    into reference_ids, places
    from unnest(reference_ids, places) as r (reference_id, place)
    where exists (
      select
      from unnest(groups_shown) as g (name)
      where case when by_pipeline then starts_with(g.name, labels[r.place] || ' / ') else g.name = labels[r.place] end
    );
  end if;

  lines := array(
    with stretches as materialized (
      select d.bucket_start, d.starts_at, d.ends_at, d.times
      from metrics.days_off_weeks_of(asked) as d
      where from_weeks
        and not from_days
        and (d.bucket_start between first_bucket and last_bucket) is not false
      union all
      select s.bucket_start, s.starts_at, s.ends_at, 1
      from metrics.stretches_of(asked) as s
      where not from_weeks
        and (s.bucket_start between first_bucket and last_bucket) is not false
    ),
    spans as materialized (
      select s.bucket_start, s.days, s.first_day, s.times
      from metrics.counted_spans_of(asked, case when from_days then 28 else 7 end) as s
      where from_weeks
        and (from_days or s.days = 7)
        and (s.bucket_start between first_bucket and last_bucket) is not false
    ),
    reads as materialized (
      select s.days, array_agg(distinct s.first_day) as first_days
      from spans as s
      group by s.days
    ),
    counted as (
      select
        case when by_pipeline then labels[n.place] || ' / ' || n.pipeline else labels[n.place] end as name,
        n.place,
        n.pipeline,
        n.bucket_start,
        n.times * n.success as success,
        n.times * n.failure as failure,
        n.times * n.timed_out as timed_out,
        n.times * n.error as error,
        n.times * n.cancelled as cancelled,
        n.times * n.skipped as skipped,
        n.times * n.neutral as neutral,
        n.times * n.unknown as unknown,
        n.times * n.reruns as reruns,
        n.times * n.first_decided as first_decided,
        n.times * n.first_success as first_success,
        n.times * n.last_decided as last_decided,
        n.times * n.last_success as last_success,
        n.times * n.duration_tally as duration_tally,
        n.times * n.queue_tally as queue_tally,
        null::double precision[] as durations,
        null::double precision[] as queues,
        null::bigint as measured_durations,
        null::bigint as measured_queues
      from (
        select
          r.place,
          case when by_pipeline then n.pipeline end as pipeline,
          s.bucket_start,
          s.times,
          sum(n.success) as success,
          sum(n.failure) as failure,
          sum(n.timed_out) as timed_out,
          sum(n.error) as error,
          sum(n.cancelled) as cancelled,
          sum(n.skipped) as skipped,
          sum(n.neutral) as neutral,
          sum(n.unknown) as unknown,
          sum(n.reruns) as reruns,
          sum(n.first_decided) as first_decided,
          sum(n.first_success) as first_success,
          sum(n.last_decided) as last_decided,
          sum(n.last_success) as last_success,
          sum(n.duration_tally) as duration_tally,
          sum(n.queue_tally) as queue_tally
        from reads as d
        cross join lateral (
          select *
          from metrics.pipeline_spans as f
          where f.generation = asked.generation
            and f.only_default_branch = only_default
            and f.only_humans = not wants_bots
            and f.reference_id = any(reference_ids)
            and f.days = d.days
            and f.first_day = any(d.first_days)
            and (pipeline_health.pipeline is null or f.pipeline = pipeline_health.pipeline)
          offset 0
        ) as n
        join unnest(reference_ids, places) as r (reference_id, place)
          on r.reference_id = n.reference_id
        join spans as s
          on s.days = n.days
          and s.first_day = n.first_day
        group by 1, 2, 3, 4
      ) as n
      union all
      select
        coalesce(p.name, labels[p.place] || case when by_pipeline then ' / ' || p.pipeline else '' end),
        p.place,
        p.pipeline,
        p.bucket_start,
        p.times * p.success,
        p.times * p.failure,
        p.times * p.timed_out,
        p.times * p.error,
        p.times * p.cancelled,
        p.times * p.skipped,
        p.times * p.neutral,
        p.times * p.unknown,
        p.times * p.reruns,
        p.times * p.first_decided,
        p.times * p.first_success,
        p.times * p.last_decided,
        p.times * p.last_success,
        case when not is_exact then p.times * metrics.tally_of_all(p.durations) end,
        case when not is_exact then p.times * metrics.tally_of_all(p.queues) end,
        case
          when is_exact then (
            select percentile_disc(fractions) within group (order by v.seconds)
            from unnest(p.durations) as v (seconds)
          )
        end,
        case
          when is_exact then (
            select percentile_disc(fractions) within group (order by v.seconds)
            from unnest(p.queues) as v (seconds)
          )
        end,
        p.measured_durations,
        p.measured_queues
      -- Two pipelines may have one name together with their repositories. Tallies can be added; for exact percentiles all values of a row are
      -- needed.
      from (
        select
          case when is_exact then labels[r.place] || case when by_pipeline then ' / ' || n.pipeline else '' end end as name,
          case when not is_exact then r.place end as place,
          case when by_pipeline and not is_exact then n.pipeline end as pipeline,
          s.bucket_start,
          s.times,
          count(*) filter (where n.outcome = 'success') as success,
          count(*) filter (where n.outcome = 'failure') as failure,
          count(*) filter (where n.outcome = 'timed_out') as timed_out,
          count(*) filter (where n.outcome = 'error') as error,
          count(*) filter (where n.outcome = 'cancelled') as cancelled,
          count(*) filter (where n.outcome = 'skipped') as skipped,
          count(*) filter (where n.outcome = 'neutral') as neutral,
          count(*) filter (where n.outcome = 'unknown') as unknown,
          count(*) filter (where not n.is_first_try) as reruns,
          count(*) filter (where n.is_first_try and n.is_decided) as first_decided,
          count(*) filter (where n.is_first_try and n.outcome = 'success') as first_success,
          count(*) filter (where n.is_last_try and n.is_decided) as last_decided,
          count(*) filter (where n.is_last_try and n.outcome = 'success') as last_success,
          array_agg(n.duration_seconds) as durations,
          array_agg(n.queue_seconds) as queues,
          count(n.duration_seconds) as measured_durations,
          count(n.queue_seconds) as measured_queues
        from stretches as s
        cross join unnest(reference_ids, places) as r (reference_id, place)
        cross join lateral (
          select
            coalesce(f.pipeline, '') as pipeline, f.outcome, f.is_first_try, f.is_last_try, f.duration_seconds, f.queue_seconds,
            f.outcome in ('success', 'failure', 'timed_out', 'error') as is_decided
          from metrics.pipeline_runs as f
          where f.reference_id = r.reference_id
            and f.ended_at >= s.starts_at
            and f.ended_at < s.ends_at
            and (pipeline_health.pipeline is null or coalesce(f.pipeline, '') = pipeline_health.pipeline)
            and (
              pipeline_health.branch is null
              or (pipeline_health.branch = 'default' and f.on_default_branch)
              or (pipeline_health.branch <> 'default' and f.branch = pipeline_health.branch)
            )
            and (wants_bots or f.actor_is_bot is not true)
          offset 0
        ) as n
        group by 1, 2, 3, 4, 5
      ) as p
    )
    select
      row(
        c.name, c.bucket_start, c.success, c.failure, c.timed_out, c.error, c.cancelled, c.skipped, c.neutral, c.unknown, c.reruns, c.first_decided,
        c.first_success, c.last_decided, c.last_success,
        case when is_exact then c.durations else d.percentiles end,
        case when is_exact then c.queues else q.percentiles end,
        case when is_exact then c.measured_durations else d.sample_size end,
        case when is_exact then c.measured_queues else q.sample_size end
      )::metrics.health_line
    from (
      select
        c.name,
        c.bucket_start,
        sum(c.success)::bigint as success,
        sum(c.failure)::bigint as failure,
        sum(c.timed_out)::bigint as timed_out,
        sum(c.error)::bigint as error,
        sum(c.cancelled)::bigint as cancelled,
        sum(c.skipped)::bigint as skipped,
        sum(c.neutral)::bigint as neutral,
        sum(c.unknown)::bigint as unknown,
        sum(c.reruns)::bigint as reruns,
        sum(c.first_decided)::bigint as first_decided,
        sum(c.first_success)::bigint as first_success,
        sum(c.last_decided)::bigint as last_decided,
        sum(c.last_success)::bigint as last_success,
        sum(c.duration_tally) as duration_tally,
        sum(c.queue_tally) as queue_tally,
        max(c.durations) as durations,
        max(c.queues) as queues,
        sum(c.measured_durations)::bigint as measured_durations,
        sum(c.measured_queues)::bigint as measured_queues
      from counted as c
      group by c.name, c.bucket_start
    ) as c
    -- Each by itself (offset 0), so that none is called where percentiles are exact.
    left join lateral (
      select p.sample_size, p.percentiles
      from metrics.percentiles_of(c.duration_tally, fractions) as p
      where not is_exact
      offset 0
    ) as d
      on true
    left join lateral (
      select p.sample_size, p.percentiles
      from metrics.percentiles_of(c.queue_tally, fractions) as p
      where not is_exact
      offset 0
    ) as q
      on true
    where c.name = any(groups_shown)
  );

  return query
  select
    g.bucket_start,
    g.name,
    case when not is_unknown then n.runs end,
    case when not is_unknown then coalesce(l.success, 0) end,
    case when not is_unknown then coalesce(l.failure, 0) end,
    case when not is_unknown then coalesce(l.timed_out, 0) end,
    case when not is_unknown then coalesce(l.error, 0) end,
    case when not is_unknown then coalesce(l.cancelled, 0) end,
    case when not is_unknown then coalesce(l.skipped, 0) end,
    case when not is_unknown then coalesce(l.neutral, 0) end,
    case when not is_unknown then coalesce(l.unknown, 0) end,
    r.success_rate,
    r.first_try_success_rate,
    r.final_success_rate,
    r.rerun_rate,
    l.durations[1],
    l.durations[2],
    l.durations[3],
    l.queues[1],
    l.queues[2],
    l.queues[3],
    case when not is_unknown then coalesce(l.measured_durations, 0) end,
    case when not is_unknown then coalesce(l.measured_queues, 0) end,
    case
      when is_unknown then 'unknown_service'
      when num_nulls(
        r.success_rate, r.first_try_success_rate, r.final_success_rate, r.rerun_rate, l.durations[1], l.queues[1]
      ) > 0 then 'too_few'
    end,
    case when not is_unknown then is_exact end,
    g.page_key,
    g.total
  from metrics.page_of(asked, groups, array['']) as g
  left join unnest(lines) as l
    on l.name = coalesce(g.name, '')
    and l.bucket_start is not distinct from g.bucket_start
  cross join lateral (
    select
      coalesce(l.success + l.failure + l.timed_out + l.error, 0) as decided,
      coalesce(l.success + l.failure + l.timed_out + l.error + l.cancelled + l.skipped + l.neutral + l.unknown, 0) as runs
  ) as n
  cross join lateral (
    select
      l.success::double precision / nullif(n.decided, 0) as success_rate,
      l.first_success::double precision / nullif(l.first_decided, 0) as first_try_success_rate,
      l.last_success::double precision / nullif(l.last_decided, 0) as final_success_rate,
      l.reruns::double precision / nullif(n.runs, 0) as rerun_rate
  ) as r
  order by g.name collate "C" nulls first, g.bucket_start;
end
$$;
revoke execute on function metrics.pipeline_health(date, date, text, text, text, text, text, boolean, text, integer, text) from public;

comment on function metrics.pipeline_health(date, date, text, text, text, text, text, boolean, text, integer, text) is 'Finished pipeline runs by outcome; rates from 0 to 1 of all attempts, first tries and last tries; seconds that they took and waited, each with how many it is of. By nothing, repository or pipeline; branch is a name, default, or NULL for all. reason is too_few where a number beside it is NULL.';

drop function if exists metrics.job_horizon();

create function metrics.job_horizon()
returns date
language plpgsql
stable
set search_path = ''
as $$
begin
  return coalesce(
    (
      select h.before
      from metrics.horizons as h
      where h.fact = 'jobs'
    ),
    '-infinity'
  );
end
$$;
revoke execute on function metrics.job_horizon() from public;

comment on function metrics.job_horizon() is 'Jobs of weeks before this Monday may be gone; -infinity while all are kept.';

-- Of what lies before the horizon only whole weeks are left.
drop function if exists metrics.kept_weeks_of(metrics.period, boolean, bigint[]);

create function metrics.kept_weeks_of(asked metrics.period, from_weeks boolean, reference_ids bigint[])
returns table (bucket_start date, week date)
language plpgsql
stable
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
rows 60
as $$
#variable_conflict use_column
declare
  horizon constant date := metrics.job_horizon();
begin
  return query
  select w.bucket_start, w.week
  from metrics.nearest_weeks_of(asked) as w
  -- Of a frozen week no day can be taken away any more: it stands whole where most of its working days lie. Which weeks were counted is told
  -- by what was asked for alone, so that nobody learns in which weeks something else ran.
  where w.is_counted
    and case
      when w.week >= horizon then from_weeks
      else exists (
        select
        from unnest(kept_weeks_of.reference_ids) as r (id)
        cross join lateral (
          select
          from metrics.job_weeks as f
          where f.generation = asked.generation
            and f.reference_id = r.id
            and f.week = w.week
          limit 1
        ) as f
      )
    end;
end
$$;
revoke execute on function metrics.kept_weeks_of(metrics.period, boolean, bigint[]) from public;

comment on function metrics.kept_weeks_of(metrics.period, boolean, bigint[]) is 'The weeks whose jobs are read as they were counted: those of a period with many (from_weeks), and those before the horizon in which something was counted of these references, and of which nothing else is left.';

drop function if exists metrics.kept_days_of(metrics.period, boolean);

create function metrics.kept_days_of(asked metrics.period, from_weeks boolean)
returns table (bucket_start date, week date, starts_at timestamptz, ends_at timestamptz, times integer)
language plpgsql
stable
set search_path = ''
rows 60
as $$
#variable_conflict use_column
declare
  horizon constant date := metrics.job_horizon();
  begins_at constant timestamptz := metrics.midnight(horizon, asked.time_zone);
begin
  return query
  select d.bucket_start, d.week, d.starts_at, d.ends_at, d.times
  from metrics.days_off_weeks_of(asked) as d
  where from_weeks
    and d.week >= horizon
  union all
  select s.bucket_start, null, greatest(s.starts_at, begins_at), s.ends_at, 1
  from metrics.stretches_of(asked) as s
  where not from_weeks
    and s.ends_at > begins_at;
end
$$;
revoke execute on function metrics.kept_days_of(metrics.period, boolean) from public;

comment on function metrics.kept_days_of(metrics.period, boolean) is 'The stretches whose jobs are read one by one: beside the weeks of a period with many (from_weeks), else all of it from the horizon on.';

drop function if exists metrics.has_many_jobs(metrics.period, bigint[], text, text);

create function metrics.has_many_jobs(asked metrics.period, reference_ids bigint[], pipeline text, job text)
returns boolean
language plpgsql
stable
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_tidscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
  first_week constant date := date_trunc('week', asked.since::timestamp)::date;
  has_more boolean;
  are_many boolean;
  rows_looked_at integer;
begin
  foreach rows_looked_at in array array[100, 1000, 5000, 1000000] loop
    select count(*) = rows_looked_at, sum(c.runs) > 2000
    into has_more, are_many
    from (
      select w.success + w.failure + w.timed_out + w.error + w.cancelled + w.skipped + w.neutral + w.unknown as runs
      from unnest(has_many_jobs.reference_ids) as r (reference_id)
      cross join lateral (
        select *
        from metrics.job_weeks as f
        where f.generation = asked.generation
          and f.reference_id = r.reference_id
          and f.week >= first_week
          and f.week < asked.until
          and (has_many_jobs.pipeline is null or f.pipeline = has_many_jobs.pipeline)
          and (has_many_jobs.job is null or f.job = has_many_jobs.job)
        offset 0
      ) as w
      limit rows_looked_at
    ) as c;
    exit when are_many or not has_more;
  end loop;
  return coalesce(are_many, false);
end
$$;
revoke execute on function metrics.has_many_jobs(metrics.period, bigint[], text, text) from public;

comment on function metrics.has_many_jobs(metrics.period, bigint[], text, text) is 'Whether so many jobs ended in the weeks of a period that they are not looked at one by one.';

drop function if exists metrics.job_health(date, date, text, text, text, text, text, text, integer, text, text);

create function metrics.job_health(
  since date default null,
  until date default null,
  bucket text default 'none',
  by text default 'nothing',
  repository text default null,
  team text default null,
  branch text default null,
  page_after text default null,
  page_size integer default 100,
  pipeline text default null,
  job text default null
)
returns table (
  bucket_start date,
  name text,
  runs bigint,
  success bigint,
  failure bigint,
  timed_out bigint,
  error bigint,
  cancelled bigint,
  skipped bigint,
  neutral bigint,
  unknown bigint,
  success_rate double precision,
  duration_p50_seconds double precision,
  duration_p75_seconds double precision,
  duration_p95_seconds double precision,
  queue_p50_seconds double precision,
  queue_p75_seconds double precision,
  queue_p95_seconds double precision,
  duration_sample_size bigint,
  queue_sample_size bigint,
  reason text,
  is_exact boolean,
  is_frozen boolean,
  page_key text,
  total bigint
)
language plpgsql
stable
set search_path = ''
set statement_timeout = '5s'
-- Planned once: jobs and weeks are looked up by an index, for each repository, whatever is asked for and however much the caller may read.
-- Groups are few and rows many, so they are hashed.
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
  fractions constant double precision[] := array[0.5, 0.75, 0.95];
  asked metrics.period;
  grouping text;
  horizon date;
  reference_ids bigint[];
  default_branches text[];
  labels text[];
  places integer[];
  is_unknown boolean;
  by_pipeline boolean;
  by_job boolean;
  first_week date;
  end_week date;
  from_weeks boolean;
  kept_weeks date[];
  kept_buckets date[];
  is_exact boolean;
  all_jobs bigint;
  groups text[];
  groups_shown text[];
  first_bucket date;
  last_bucket date;
  lines metrics.health_line[];
begin
  perform metrics.require_reader();
  asked := metrics.period_of(job_health.since, job_health.until, job_health.bucket, page_after, page_size);
  grouping := metrics.checked_word('by', job_health.by, array['nothing', 'repository', 'pipeline', 'job']);
  select
    coalesce(array_agg(r.reference_id), '{}'),
    coalesce(array_agg(r.default_branch), '{}'),
    coalesce(array_agg(r.place), '{}'),
    coalesce(array_agg(distinct r.label) filter (where grouping <> 'nothing'), array[''])
  into reference_ids, default_branches, places, labels
  from (
    select
      s.reference_id,
      s.default_branch,
      s.label,
      case when grouping = 'nothing' then 1 else dense_rank() over (order by s.label) end as place
    from (
      select o.reference_id, t.default_branch, o.label collate "C" as label
      from metrics.selected_references(job_health.repository, job_health.team) as o
      join metrics.repositories as t
        on t.id = o.repository_id
    ) as s
  ) as r;
  is_unknown := reference_ids = '{}' and (job_health.repository is not null or job_health.team is not null);
  if is_unknown then
    grouping := 'nothing';
    labels := array[''];
  end if;
  by_pipeline := grouping in ('pipeline', 'job');
  by_job := grouping = 'job';
  horizon := metrics.job_horizon();
  first_week := date_trunc('week', asked.since::timestamp)::date;
  end_week := date_trunc('week', (asked.until + 6)::timestamp)::date;

  -- Few jobs are read one by one, and their percentiles are exact. Branches are not counted by weeks.
  from_weeks := job_health.branch is null and metrics.has_many_jobs(asked, reference_ids, job_health.pipeline, job_health.job);

  select coalesce(array_agg(w.week), '{}'), coalesce(array_agg(w.bucket_start), '{}')
  into kept_weeks, kept_buckets
  from metrics.kept_weeks_of(asked, from_weeks, reference_ids) as w
  where job_health.branch is null;

  is_exact := kept_weeks = '{}' and not from_weeks;

  -- What ran in the period, whatever its weeks and the days beside them say by themselves.
  if by_pipeline or (is_exact and job_health.branch is not null) then
    select coalesce(array_agg(distinct n.name collate "C"), '{}'), coalesce(sum(n.jobs), 0)
    into groups, all_jobs
    from (
      select labels[k.place] || ' / ' || k.pipeline || case when by_job then ' / ' || k.job else '' end as name, sum(k.jobs) as jobs
      from (
        select r.place, n.pipeline, case when by_job then n.job end as job, n.jobs
        from unnest(reference_ids, places) as r (reference_id, place)
        cross join lateral (
          select
            f.week,
            f.pipeline,
            f.job,
            f.success + f.failure + f.timed_out + f.error + f.cancelled + f.skipped + f.neutral + f.unknown as jobs
          from metrics.job_weeks as f
          where f.generation = asked.generation
            and f.reference_id = r.reference_id
            and f.week >= first_week
            and f.week < end_week
            and (from_weeks or f.week < horizon)
            and (job_health.pipeline is null or f.pipeline = job_health.pipeline)
            and (job_health.job is null or f.job = job_health.job)
          offset 0
        ) as n
        where n.week in (
          select w.week
          from unnest(kept_weeks) as w (week)
        )
        union all
        select r.place, j.pipeline, case when by_job then j.job end, s.times * j.jobs
        from metrics.kept_days_of(asked, from_weeks) as s
        cross join unnest(reference_ids, places, default_branches) as r (reference_id, place, default_branch)
        cross join lateral (
          select coalesce(f.pipeline, '') as pipeline, coalesce(f.name, '') as job, count(*) as jobs
          from metrics.jobs as f
          where f.reference_id = r.reference_id
            and f.ended_at >= s.starts_at
            and f.ended_at < s.ends_at
            and (job_health.pipeline is null or coalesce(f.pipeline, '') = job_health.pipeline)
            and (job_health.job is null or coalesce(f.name, '') = job_health.job)
            and (
              job_health.branch is null
              or f.branch = case when job_health.branch = 'default' then r.default_branch else job_health.branch end
            )
          group by 1, 2
          offset 0
        ) as j
      ) as k
      group by k.place, k.pipeline, k.job
      having sum(k.jobs) > 0
    ) as n;
    is_exact := is_exact and all_jobs <= 2000;
  end if;
  if not by_pipeline then
    groups := labels;
  end if;

  -- Only what stands on the page is read.
  select array_agg(distinct coalesce(g.name, '')), min(g.bucket_start), max(g.bucket_start)
  into groups_shown, first_bucket, last_bucket
  from metrics.page_of(asked, groups, array['']) as g;
  if grouping <> 'nothing' then
    select coalesce(array_agg(r.reference_id), '{}'), coalesce(array_agg(r.place), '{}'), coalesce(array_agg(r.default_branch), '{}')
    into reference_ids, places, default_branches
    from unnest(reference_ids, places, default_branches) as r (reference_id, place, default_branch)
    where exists (
      select
      from unnest(groups_shown) as g (name)
      where case when by_pipeline then starts_with(g.name, labels[r.place] || ' / ') else g.name = labels[r.place] end
    );
  end if;

  lines := array(
    with weeks as materialized (
      select w.week, w.bucket_start
      from unnest(kept_weeks, kept_buckets) as w (week, bucket_start)
      where (w.bucket_start between first_bucket and last_bucket) is not false
    ),
    stretches as materialized (
      select d.bucket_start, d.starts_at, d.ends_at, d.times
      from metrics.kept_days_of(asked, from_weeks) as d
      where (d.bucket_start between first_bucket and last_bucket) is not false
    ),
    counted as (
      select
        labels[n.place] || case when by_pipeline then ' / ' || n.pipeline else '' end || case when by_job then ' / ' || n.job else '' end as name,
        n.*
      from (
        select
          r.place,
          case when by_pipeline then n.pipeline end as pipeline,
          case when by_job then n.job end as job,
          w.bucket_start,
          sum(n.success) as success,
          sum(n.failure) as failure,
          sum(n.timed_out) as timed_out,
          sum(n.error) as error,
          sum(n.cancelled) as cancelled,
          sum(n.skipped) as skipped,
          sum(n.neutral) as neutral,
          sum(n.unknown) as unknown,
          sum(n.duration_tally) as duration_tally,
          sum(n.queue_tally) as queue_tally,
          null::double precision[] as durations,
          null::double precision[] as queues,
          null::bigint as measured_durations,
          null::bigint as measured_queues
        from unnest(reference_ids, places) as r (reference_id, place)
        cross join lateral (
          select
            f.week, f.pipeline, f.job, f.success, f.failure, f.timed_out, f.error, f.cancelled, f.skipped, f.neutral, f.unknown,
            f.duration_tally, f.queue_tally
          from metrics.job_weeks as f
          where f.generation = asked.generation
            and f.reference_id = r.reference_id
            and f.week >= first_week
            and f.week < end_week
            and (from_weeks or f.week < horizon)
            and (job_health.pipeline is null or f.pipeline = job_health.pipeline)
            and (job_health.job is null or f.job = job_health.job)
          offset 0
        ) as n
        join weeks as w
          on w.week = n.week
        group by 1, 2, 3, 4
      ) as n
      union all
      select
        coalesce(
          p.name,
          labels[p.place] || case when by_pipeline then ' / ' || p.pipeline else '' end || case when by_job then ' / ' || p.job else '' end
        ),
        p.place,
        p.pipeline,
        p.job,
        p.bucket_start,
        p.times * p.success,
        p.times * p.failure,
        p.times * p.timed_out,
        p.times * p.error,
        p.times * p.cancelled,
        p.times * p.skipped,
        p.times * p.neutral,
        p.times * p.unknown,
        case when not is_exact then p.times * metrics.tally_of_all(p.durations) end,
        case when not is_exact then p.times * metrics.tally_of_all(p.queues) end,
        case
          when is_exact then (
            select percentile_disc(fractions) within group (order by v.seconds)
            from unnest(p.durations) as v (seconds)
          )
        end,
        case
          when is_exact then (
            select percentile_disc(fractions) within group (order by v.seconds)
            from unnest(p.queues) as v (seconds)
          )
        end,
        p.measured_durations,
        p.measured_queues
      -- Two jobs may have one name together with their pipelines. Tallies can be added; for exact percentiles all values of a row are needed.
      from (
        select
          case
            when is_exact
              then labels[r.place] || case when by_pipeline then ' / ' || n.pipeline else '' end || case when by_job then ' / ' || n.job else '' end
          end as name,
          case when not is_exact then r.place end as place,
          case when by_pipeline and not is_exact then n.pipeline end as pipeline,
          case when by_job and not is_exact then n.job end as job,
          s.bucket_start,
          s.times,
          count(*) filter (where n.outcome = 'success') as success,
          count(*) filter (where n.outcome = 'failure') as failure,
          count(*) filter (where n.outcome = 'timed_out') as timed_out,
          count(*) filter (where n.outcome = 'error') as error,
          count(*) filter (where n.outcome = 'cancelled') as cancelled,
          count(*) filter (where n.outcome = 'skipped') as skipped,
          count(*) filter (where n.outcome = 'neutral') as neutral,
          count(*) filter (where n.outcome = 'unknown') as unknown,
          array_agg(n.duration_seconds) as durations,
          array_agg(n.queue_seconds) as queues,
          count(n.duration_seconds) as measured_durations,
          count(n.queue_seconds) as measured_queues
        from stretches as s
        cross join unnest(reference_ids, places, default_branches) as r (reference_id, place, default_branch)
        cross join lateral (
          select coalesce(f.pipeline, '') as pipeline, coalesce(f.name, '') as job, f.outcome, f.duration_seconds, f.queue_seconds
          from metrics.jobs as f
          where f.reference_id = r.reference_id
            and f.ended_at >= s.starts_at
            and f.ended_at < s.ends_at
            and (job_health.pipeline is null or coalesce(f.pipeline, '') = job_health.pipeline)
            and (job_health.job is null or coalesce(f.name, '') = job_health.job)
            and (
              job_health.branch is null
              or f.branch = case when job_health.branch = 'default' then r.default_branch else job_health.branch end
            )
          offset 0
        ) as n
        group by 1, 2, 3, 4, 5, 6
      ) as p
    )
    select
      row(
        c.name, c.bucket_start, c.success, c.failure, c.timed_out, c.error, c.cancelled, c.skipped, c.neutral, c.unknown, null, null, null, null,
        null,
        case when is_exact then c.durations else d.percentiles end,
        case when is_exact then c.queues else q.percentiles end,
        case when is_exact then c.measured_durations else d.sample_size end,
        case when is_exact then c.measured_queues else q.sample_size end
      )::metrics.health_line
    from (
      select
        c.name,
        c.bucket_start,
        sum(c.success)::bigint as success,
        sum(c.failure)::bigint as failure,
        sum(c.timed_out)::bigint as timed_out,
        sum(c.error)::bigint as error,
        sum(c.cancelled)::bigint as cancelled,
        sum(c.skipped)::bigint as skipped,
        sum(c.neutral)::bigint as neutral,
        sum(c.unknown)::bigint as unknown,
        sum(c.duration_tally) as duration_tally,
        sum(c.queue_tally) as queue_tally,
        max(c.durations) as durations,
        max(c.queues) as queues,
        sum(c.measured_durations)::bigint as measured_durations,
        sum(c.measured_queues)::bigint as measured_queues
      from counted as c
      group by c.name, c.bucket_start
    ) as c
    -- Each by itself (offset 0), so that none is called where percentiles are exact.
    left join lateral (
      select p.sample_size, p.percentiles
      from metrics.percentiles_of(c.duration_tally, fractions) as p
      where not is_exact
      offset 0
    ) as d
      on true
    left join lateral (
      select p.sample_size, p.percentiles
      from metrics.percentiles_of(c.queue_tally, fractions) as p
      where not is_exact
      offset 0
    ) as q
      on true
    where c.name = any(groups_shown)
  );

  return query
  select
    g.bucket_start,
    g.name,
    case when h.has_numbers then n.jobs end,
    case when h.has_numbers then coalesce(l.success, 0) end,
    case when h.has_numbers then coalesce(l.failure, 0) end,
    case when h.has_numbers then coalesce(l.timed_out, 0) end,
    case when h.has_numbers then coalesce(l.error, 0) end,
    case when h.has_numbers then coalesce(l.cancelled, 0) end,
    case when h.has_numbers then coalesce(l.skipped, 0) end,
    case when h.has_numbers then coalesce(l.neutral, 0) end,
    case when h.has_numbers then coalesce(l.unknown, 0) end,
    n.success_rate,
    l.durations[1],
    l.durations[2],
    l.durations[3],
    l.queues[1],
    l.queues[2],
    l.queues[3],
    case when h.has_numbers then coalesce(l.measured_durations, 0) end,
    case when h.has_numbers then coalesce(l.measured_queues, 0) end,
    case
      when is_unknown then 'unknown_service'
      when not h.has_numbers then 'outside_retention'
      when num_nulls(n.success_rate, l.durations[1], l.queues[1]) > 0 then 'too_few'
    end,
    case when not is_unknown then is_exact end,
    case when not is_unknown then b.first_day < horizon end,
    g.page_key,
    g.total
  from metrics.page_of(asked, groups, array['']) as g
  join metrics.buckets_of(asked) as b
    on b.bucket_start is not distinct from g.bucket_start
  left join unnest(lines) as l
    on l.name = coalesce(g.name, '')
    and l.bucket_start is not distinct from g.bucket_start
  cross join lateral (
    select
      coalesce(l.success + l.failure + l.timed_out + l.error + l.cancelled + l.skipped + l.neutral + l.unknown, 0) as jobs,
      l.success::double precision / nullif(l.success + l.failure + l.timed_out + l.error, 0) as success_rate
  ) as n
  -- Else nothing is known of it: neither its jobs are left nor what was counted of them.
  cross join lateral (
    select
      not is_unknown
        and (
          b.end_day > horizon
          or exists (
            select
            from unnest(kept_buckets) as k (bucket_start)
            where k.bucket_start is not distinct from g.bucket_start
          )
        ) as has_numbers
  ) as h
  order by g.name collate "C" nulls first, g.bucket_start;
end
$$;
revoke execute on function metrics.job_health(date, date, text, text, text, text, text, text, integer, text, text) from public;

comment on function metrics.job_health(date, date, text, text, text, text, text, text, integer, text, text) is 'Finished jobs by outcome; success rate from 0 to 1; seconds that they took and waited, each with how many it is of. By nothing, repository, pipeline or job; branch is a name, default for the repository''s default branch, or NULL for all. is_frozen: it begins before the horizon, where jobs are dropped: of that time only what was counted by week is in it, and of a branch nothing. reason is too_few where a number beside it is NULL, outside_retention where nothing of the time is left.';

-- How many rows evidence has in all its pages.
drop function if exists metrics.ended_runs(metrics.period, bigint[], text, text, boolean);

create function metrics.ended_runs(asked metrics.period, reference_ids bigint[], branch text, pipeline text, with_bots boolean)
returns bigint
language plpgsql
stable
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_tidscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
  from_weeks constant boolean := coalesce(ended_runs.branch, 'default') = 'default';
  from_days constant boolean := ended_runs.branch is null and with_bots;
begin
  return (
    select coalesce(sum(c.runs), 0)
    from (
      select w.times * n.runs as runs
      from unnest(ended_runs.reference_ids) as r (id)
      cross join metrics.counted_spans_of(asked, case when from_days then 28 else 7 end) as w
      cross join lateral (
        select sum(f.success + f.failure + f.timed_out + f.error + f.cancelled + f.skipped + f.neutral + f.unknown) as runs
        from metrics.pipeline_spans as f
        where f.generation = asked.generation
          and f.only_default_branch = (ended_runs.branch is not null)
          and f.only_humans = not with_bots
          and f.reference_id = r.id
          and f.days = w.days
          and f.first_day = w.first_day
          and (ended_runs.pipeline is null or f.pipeline = ended_runs.pipeline)
      ) as n
      where from_weeks
        and (w.days = 7 or from_days)
      union all
      select d.times * n.runs
      from (
        select o.starts_at, o.ends_at, o.times
        from metrics.days_off_weeks_of(asked) as o
        where from_weeks
          and not from_days
        union all
        select o.starts_at, o.ends_at, 1
        from metrics.stretches_of(asked) as o
        where not from_weeks
      ) as d
      cross join unnest(ended_runs.reference_ids) as r (id)
      cross join lateral (
        select count(*) as runs
        from metrics.pipeline_runs as f
        where f.reference_id = r.id
          and f.ended_at >= d.starts_at
          and f.ended_at < d.ends_at
          and (ended_runs.pipeline is null or coalesce(f.pipeline, '') = ended_runs.pipeline)
          and (
            ended_runs.branch is null
            or (ended_runs.branch = 'default' and f.on_default_branch)
            or (ended_runs.branch <> 'default' and f.branch = ended_runs.branch)
          )
          and (with_bots or f.actor_is_bot is not true)
      ) as n
    ) as c
  );
end
$$;
revoke execute on function metrics.ended_runs(metrics.period, bigint[], text, text, boolean) from public;

comment on function metrics.ended_runs(metrics.period, bigint[], text, text, boolean) is 'How many pipeline runs ended in a period, which is to have one bucket.';

-- Evidence of a number is ordered by time; of what ended at one moment, by repository and id.
drop function if exists metrics.pipeline_health_evidence(date, date, text, text, text, boolean, text, integer, text);

create function metrics.pipeline_health_evidence(
  since date default null,
  until date default null,
  repository text default null,
  team text default null,
  branch text default null,
  bots boolean default true,
  page_after text default null,
  page_size integer default 100,
  pipeline text default null
)
returns setof metrics.evidence
language plpgsql
stable
set search_path = ''
set statement_timeout = '5s'
-- The earliest, or the first after a key, are read in the order of the index and no others.
set enable_bitmapscan = off
set jit = off
as $$
#variable_conflict use_column
declare
  asked metrics.period;
  after metrics.evidence_key;
  begins_at timestamptz;
  ends_at timestamptz;
  all_rows bigint;
  wants_bots constant boolean := coalesce(pipeline_health_evidence.bots, true);
begin
  perform metrics.require_reader();
  asked := metrics.period_of(pipeline_health_evidence.since, pipeline_health_evidence.until, 'none', page_after, page_size);
  after := metrics.evidence_after(asked);
  begins_at := greatest(after.happened_at, metrics.midnight(asked.since, asked.time_zone));
  ends_at := metrics.midnight(asked.until, asked.time_zone);
  all_rows := metrics.ended_runs(
    asked,
    array(
      select r.reference_id
      from metrics.selected_references(pipeline_health_evidence.repository, pipeline_health_evidence.team) as r
    ),
    pipeline_health_evidence.branch,
    pipeline_health_evidence.pipeline,
    wants_bots
  );

  return query
  select
    p.at,
    p.label,
    null::text,
    'pipeline_run',
    p.external_id,
    p.commit_sha,
    p.pipeline,
    p.duration_seconds,
    'seconds',
    case when p.duration_seconds is null then 'too_few' end,
    p.url,
    jsonb_build_object(
      'attempt', p.attempt,
      'number', p.number,
      'branch', p.branch,
      'on_default_branch', p.on_default_branch,
      'outcome', p.outcome,
      'provider_outcome', p.provider_outcome,
      'is_first_try', p.is_first_try,
      'is_last_try', p.is_last_try,
      'is_bot', p.actor_is_bot is true,
      'queue_seconds', p.queue_seconds
    ),
    metrics.evidence_page_key(p.at, p.label, 'pipeline_run', p.sort_id, p.reference),
    all_rows
  from (
    select r.label, r.reference, f.*
    from metrics.selected_references(pipeline_health_evidence.repository, pipeline_health_evidence.team) as r
    cross join lateral (
      select
        e.ended_at as at,
        (e.external_id || '#' || lpad(e.attempt::text, 10, '0')) collate "C" as sort_id,
        e.*
      from metrics.pipeline_runs as e
      where e.reference_id = r.reference_id
        and e.ended_at >= begins_at
        and e.ended_at < ends_at
        and (pipeline_health_evidence.pipeline is null or coalesce(e.pipeline, '') = pipeline_health_evidence.pipeline)
        and (
          pipeline_health_evidence.branch is null
          or (pipeline_health_evidence.branch = 'default' and e.on_default_branch)
          or (pipeline_health_evidence.branch <> 'default' and e.branch = pipeline_health_evidence.branch)
        )
        and (wants_bots or e.actor_is_bot is not true)
        and (
          after.happened_at is null
          or (e.ended_at, r.label, e.external_id || '#' || lpad(e.attempt::text, 10, '0'), r.reference)
            > (after.happened_at, after.repository collate "C", after.external_id collate "C", after.reference collate "C")
        )
      order by e.ended_at, (e.external_id || '#' || lpad(e.attempt::text, 10, '0')) collate "C"
      limit asked.page_size
    ) as f
    order by f.at, r.label collate "C", f.sort_id, r.reference collate "C"
    limit asked.page_size
  ) as p
  order by p.at, p.label collate "C", p.sort_id, p.reference collate "C";
end
$$;
revoke execute on function metrics.pipeline_health_evidence(date, date, text, text, text, boolean, text, integer, text) from public;

comment on function metrics.pipeline_health_evidence(date, date, text, text, text, boolean, text, integer, text) is 'The pipeline runs behind pipeline_health, by the time at which they ended; value is the seconds that each took.';

drop function if exists metrics.kept_jobs(metrics.period, bigint[], text, text, text);

create function metrics.kept_jobs(asked metrics.period, reference_ids bigint[], branch text, pipeline text, job text)
returns bigint
language plpgsql
stable
set search_path = ''
set enable_sort = off
set jit = off
as $$
#variable_conflict use_column
declare
  horizon constant date := metrics.job_horizon();
  from_weeks constant boolean := kept_jobs.branch is null;
begin
  asked.since := greatest(asked.since, horizon);
  if asked.since >= asked.until then
    return 0;
  end if;
  return coalesce(sum(c.jobs), 0)
  from (
    select sum(w.success + w.failure + w.timed_out + w.error + w.cancelled + w.skipped + w.neutral + w.unknown) as jobs
    from unnest(kept_jobs.reference_ids) as r (id)
    cross join lateral (
      select *
      from metrics.job_weeks as f
      where from_weeks
        and f.generation = asked.generation
        and f.reference_id = r.id
        and f.week >= date_trunc('week', asked.since::timestamp)::date
        and f.week < asked.until
        and (kept_jobs.pipeline is null or f.pipeline = kept_jobs.pipeline)
        and (kept_jobs.job is null or f.job = kept_jobs.job)
      offset 0
    ) as w
    where w.week in (
      select n.week
      from metrics.nearest_weeks_of(asked) as n
      where n.is_counted
    )
    union all
    select sum(d.times * e.jobs)
    from unnest(kept_jobs.reference_ids) as r (id)
    cross join (
      select o.starts_at, o.ends_at, o.times
      from metrics.days_off_weeks_of(asked) as o
      where from_weeks
      union all
      select o.starts_at, o.ends_at, 1
      from metrics.stretches_of(asked) as o
      where not from_weeks
    ) as d
    cross join lateral (
      select count(*) as jobs
      from metrics.jobs as f
      where f.reference_id = r.id
        and f.ended_at >= d.starts_at
        and f.ended_at < d.ends_at
        and (kept_jobs.pipeline is null or coalesce(f.pipeline, '') = kept_jobs.pipeline)
        and (kept_jobs.job is null or coalesce(f.name, '') = kept_jobs.job)
        and (
          from_weeks
          or f.branch = case
            when kept_jobs.branch = 'default' then (
              select t.default_branch
              from metrics.repository_references as k
              join metrics.repositories as t
                on t.id = k.repository_id
              where k.id = r.id
            )
            else kept_jobs.branch
          end
        )
    ) as e
  ) as c;
end
$$;
revoke execute on function metrics.kept_jobs(metrics.period, bigint[], text, text, text) from public;

comment on function metrics.kept_jobs(metrics.period, bigint[], text, text, text) is 'How many finished jobs of a period are still kept.';

drop function if exists metrics.job_health_evidence(date, date, text, text, text, text, integer, text, text);

create function metrics.job_health_evidence(
  since date default null,
  until date default null,
  repository text default null,
  team text default null,
  branch text default null,
  page_after text default null,
  page_size integer default 100,
  pipeline text default null,
  job text default null
)
returns setof metrics.evidence
language plpgsql
stable
set search_path = ''
set statement_timeout = '5s'
-- The earliest, or the first after a key, are read in the order of the index and no others.
set enable_bitmapscan = off
set jit = off
as $$
#variable_conflict use_column
declare
  asked metrics.period;
  after metrics.evidence_key;
  horizon date;
  begins_at timestamptz;
  ends_at timestamptz;
  all_rows bigint;
begin
  perform metrics.require_reader();
  asked := metrics.period_of(job_health_evidence.since, job_health_evidence.until, 'none', page_after, page_size);
  after := metrics.evidence_after(asked);
  horizon := metrics.job_horizon();
  asked.since := greatest(asked.since, horizon);
  if asked.since >= asked.until then
    return;
  end if;
  begins_at := greatest(after.happened_at, metrics.midnight(asked.since, asked.time_zone));
  ends_at := metrics.midnight(asked.until, asked.time_zone);
  all_rows := metrics.kept_jobs(
    asked,
    array(
      select r.reference_id
      from metrics.selected_references(job_health_evidence.repository, job_health_evidence.team) as r
    ),
    job_health_evidence.branch,
    job_health_evidence.pipeline,
    job_health_evidence.job
  );

  return query
  select
    p.at,
    p.label,
    null::text,
    'job',
    p.external_id,
    p.commit_sha,
    p.name,
    p.duration_seconds,
    'seconds',
    case when p.duration_seconds is null then 'too_few' end,
    p.url,
    jsonb_build_object(
      'pipeline', p.pipeline,
      'run_external_id', p.run_external_id,
      'attempt', p.attempt,
      'branch', p.branch,
      'outcome', p.outcome,
      'provider_outcome', p.provider_outcome,
      'runner', metrics.runner_of(p.runner_labels),
      'queue_seconds', p.queue_seconds
    ),
    metrics.evidence_page_key(p.at, p.label, 'job', p.external_id, p.reference),
    all_rows
  from (
    select r.label, r.reference, f.*
    from metrics.selected_references(job_health_evidence.repository, job_health_evidence.team) as r
    join metrics.repositories as t
      on t.id = r.repository_id
    cross join lateral (
      select e.ended_at as at, e.*
      from metrics.jobs as e
      where e.reference_id = r.reference_id
        and e.ended_at >= begins_at
        and e.ended_at < ends_at
        and (job_health_evidence.pipeline is null or coalesce(e.pipeline, '') = job_health_evidence.pipeline)
        and (job_health_evidence.job is null or coalesce(e.name, '') = job_health_evidence.job)
        and (
          job_health_evidence.branch is null
          or e.branch = case when job_health_evidence.branch = 'default' then t.default_branch else job_health_evidence.branch end
        )
        and (
          after.happened_at is null
          or (e.ended_at, r.label, e.external_id, r.reference)
            > (after.happened_at, after.repository collate "C", after.external_id collate "C", after.reference collate "C")
        )
      order by e.ended_at, e.external_id collate "C"
      limit asked.page_size
    ) as f
    order by f.at, r.label collate "C", f.external_id collate "C", r.reference collate "C"
    limit asked.page_size
  ) as p
  order by p.at, p.label collate "C", p.external_id collate "C", p.reference collate "C";
end
$$;
revoke execute on function metrics.job_health_evidence(date, date, text, text, text, text, integer, text, text) from public;

comment on function metrics.job_health_evidence(date, date, text, text, text, text, integer, text, text) is 'The jobs behind job_health that are still kept, by the time at which they ended; value is the seconds that each took.';

do $$
begin
  if to_regtype('metrics.slow_job') is null then
    create type metrics.slow_job as (
      repository text,
      pipeline text,
      job text,
      runs bigint,
      minutes double precision,
      duration_p50_seconds double precision,
      duration_p75_seconds double precision,
      duration_p95_seconds double precision,
      reason text,
      is_exact boolean,
      is_frozen boolean,
      page_key text,
      total bigint
    );
  end if;
  if to_regtype('metrics.flaky_job') is null then
    create type metrics.flaky_job as (
      repository text,
      pipeline text,
      job text,
      commits bigint,
      failures bigint,
      first_at timestamptz,
      last_at timestamptz,
      reason text,
      is_frozen boolean,
      page_key text,
      total bigint
    );
  end if;
  if to_regtype('metrics.step_numbers') is null then
    create type metrics.step_numbers as (
      repository text,
      pipeline text,
      job text,
      step text,
      runs bigint,
      success bigint,
      failure bigint,
      timed_out bigint,
      error bigint,
      cancelled bigint,
      skipped bigint,
      neutral bigint,
      unknown bigint,
      success_rate double precision,
      duration_p50_seconds double precision,
      duration_p75_seconds double precision,
      duration_p95_seconds double precision,
      jobs bigint,
      sampled_jobs bigint,
      reason text,
      is_frozen boolean,
      page_key text,
      total bigint
    );
  end if;
end
$$;

revoke usage on type metrics.slow_job from public;
revoke usage on type metrics.flaky_job from public;
revoke usage on type metrics.step_numbers from public;

comment on type metrics.slow_job is 'A job with how long its runs took: minutes of all of them together, percentiles in seconds.';
comment on column metrics.slow_job.repository is 'Full name of the repository, else its first reference; NULL in the one row that says why there is none.';
comment on column metrics.slow_job.pipeline is 'Name of the pipeline.';
comment on column metrics.slow_job.job is 'Name of the job, with its matrix.';
comment on column metrics.slow_job.runs is 'Finished runs of the job in the period.';
comment on column metrics.slow_job.minutes is 'Minutes that all of them took together, without the queue.';
comment on column metrics.slow_job.duration_p50_seconds is 'Median of their seconds, without the queue.';
comment on column metrics.slow_job.duration_p75_seconds is '75th percentile of their seconds.';
comment on column metrics.slow_job.duration_p95_seconds is '95th percentile of their seconds.';
comment on column metrics.slow_job.reason is 'Why a number beside it is NULL.';
comment on column metrics.slow_job.is_exact is 'Whether the percentiles are exact; else at most 4.9 % off.';
comment on column metrics.slow_job.is_frozen is 'Whether the period begins before the horizon, where jobs are dropped: of that time only what was counted by week is in it.';
comment on column metrics.slow_job.page_key is 'Key of the row: as page_after it asks for the rows after it.';
comment on column metrics.slow_job.total is 'Rows of all pages.';
comment on type metrics.flaky_job is 'A job that failed and passed for one commit within seven days: for how many commits, how often it failed for them, and when first and last.';
comment on column metrics.flaky_job.repository is 'Full name of the repository, else its first reference; NULL in the one row that says why there is none.';
comment on column metrics.flaky_job.pipeline is 'Name of the pipeline.';
comment on column metrics.flaky_job.job is 'Name of the job, with its matrix.';
comment on column metrics.flaky_job.commits is 'Commits for which it failed and passed within seven days.';
comment on column metrics.flaky_job.failures is 'How often it failed for them.';
comment on column metrics.flaky_job.first_at is 'When the first of these failures was.';
comment on column metrics.flaky_job.last_at is 'When the last of these failures was.';
comment on column metrics.flaky_job.reason is 'Why there is no flaky job.';
comment on column metrics.flaky_job.is_frozen is 'Whether the period begins before the horizon: jobs of that time are dropped, and what they showed is missing.';
comment on column metrics.flaky_job.page_key is 'Key of the row: as page_after it asks for the rows after it.';
comment on column metrics.flaky_job.total is 'Rows of all pages.';
comment on type metrics.step_numbers is 'A step of a job by outcome, with its success rate and how many seconds it took; how many jobs there are, and how many of them were looked at.';
comment on column metrics.step_numbers.repository is 'Full name of the repository, else its first reference; NULL in the one row that says why there is none.';
comment on column metrics.step_numbers.pipeline is 'Name of the pipeline.';
comment on column metrics.step_numbers.job is 'Name of the job, with its matrix.';
comment on column metrics.step_numbers.step is 'Name of the step.';
comment on column metrics.step_numbers.runs is 'Finished runs of the step.';
comment on column metrics.step_numbers.success is 'How many succeeded.';
comment on column metrics.step_numbers.failure is 'How many failed.';
comment on column metrics.step_numbers.timed_out is 'How many took too long.';
comment on column metrics.step_numbers.error is 'How many ended because the machinery failed.';
comment on column metrics.step_numbers.cancelled is 'How many were cancelled.';
comment on column metrics.step_numbers.skipped is 'How many were skipped.';
comment on column metrics.step_numbers.neutral is 'How many ended neither well nor badly.';
comment on column metrics.step_numbers.unknown is 'How many ended with a word that no mapping knows.';
comment on column metrics.step_numbers.success_rate is 'Success / (success + failure + timed_out + error), 0 to 1.';
comment on column metrics.step_numbers.duration_p50_seconds is 'Median of their seconds.';
comment on column metrics.step_numbers.duration_p75_seconds is '75th percentile of their seconds.';
comment on column metrics.step_numbers.duration_p95_seconds is '95th percentile of their seconds.';
comment on column metrics.step_numbers.jobs is 'Finished jobs of the selection, whether they tell their steps or not.';
comment on column metrics.step_numbers.sampled_jobs is 'How many of these jobs were looked at: the latest that tell their steps.';
comment on column metrics.step_numbers.reason is 'Why a number beside it is NULL.';
comment on column metrics.step_numbers.is_frozen is 'Whether the period begins before the horizon: jobs of that time are dropped with their steps, and missing.';
comment on column metrics.step_numbers.page_key is 'Key of the row: as page_after it asks for the rows after it.';
comment on column metrics.step_numbers.total is 'Rows of all pages.';

drop function if exists metrics.slowest_jobs(date, date, text, text, text, text, integer, text);

create function metrics.slowest_jobs(
  since date default null,
  until date default null,
  by text default 'duration',
  repository text default null,
  team text default null,
  page_after text default null,
  page_size integer default 100,
  pipeline text default null
)
returns setof metrics.slow_job
language plpgsql
stable
set search_path = ''
set statement_timeout = '5s'
-- Planned once: jobs and weeks are looked up by an index, for each repository, whatever is asked for and however much the caller may read.
-- Groups are few and rows many, so they are hashed.
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
  fractions constant double precision[] := array[0.5, 0.75, 0.95];
  asked metrics.period;
  after jsonb;
  sorting text;
  horizon date;
  reference_ids bigint[];
  labels text[];
  first_week date;
  end_week date;
  from_weeks boolean;
begin
  perform metrics.require_reader();
  asked := metrics.period_of(slowest_jobs.since, slowest_jobs.until, 'none', page_after, page_size);
  after := metrics.key_of_page(asked, array['number', 'string', 'string', 'string']);
  sorting := metrics.checked_word('by', slowest_jobs.by, array['duration', 'minutes']);
  select coalesce(array_agg(r.reference_id), '{}'), coalesce(array_agg(r.label), '{}')
  into reference_ids, labels
  from metrics.selected_references(slowest_jobs.repository, slowest_jobs.team) as r;
  horizon := metrics.job_horizon();
  first_week := date_trunc('week', asked.since::timestamp)::date;
  end_week := date_trunc('week', (asked.until + 6)::timestamp)::date;
  from_weeks := metrics.has_many_jobs(asked, reference_ids, slowest_jobs.pipeline, null);

  return query
  -- Several senders may tell of one repository, each by a reference of its own: a job is the same by all of them.
  with repositories as materialized (
    select r.reference_id, r.label, n.first_id
    from unnest(reference_ids, labels) as r (reference_id, label)
    join (
      select o.label, min(o.reference_id) as first_id
      from unnest(reference_ids, labels) as o (reference_id, label)
      group by o.label
    ) as n
      on n.label = r.label
  ),
  weeks as materialized (
    select w.week
    from metrics.kept_weeks_of(asked, from_weeks, reference_ids) as w
  ),
  stretches as materialized (
    select d.starts_at, d.ends_at, d.times
    from metrics.kept_days_of(asked, from_weeks) as d
  ),
  exactness as materialized (
    select
      not from_weeks
        and not exists (
          select
          from weeks as w
        ) as is_exact
  ),
  counted as materialized (
    select
      c.reference_id,
      c.pipeline,
      c.job,
      sum(c.runs) as runs,
      sum(c.seconds) as seconds,
      sum(c.duration_tally) as duration_tally,
      max(c.durations) as durations
    from (
      select
        r.first_id as reference_id,
        n.pipeline,
        n.job,
        sum(n.success + n.failure + n.timed_out + n.error + n.cancelled + n.skipped + n.neutral + n.unknown) as runs,
        sum(n.seconds) as seconds,
        sum(n.duration_tally) as duration_tally,
        null::double precision[] as durations
      from repositories as r
      cross join lateral (
        select
          f.week, f.pipeline, f.job, f.success, f.failure, f.timed_out, f.error, f.cancelled, f.skipped, f.neutral, f.unknown,
          f.seconds, f.duration_tally
        from metrics.job_weeks as f
        where f.generation = asked.generation
          and f.reference_id = r.reference_id
          and f.week >= first_week
          and f.week < end_week
          and (from_weeks or f.week < horizon)
          and (slowest_jobs.pipeline is null or f.pipeline = slowest_jobs.pipeline)
        offset 0
      ) as n
      where n.week in (select w.week from weeks as w)
      group by 1, 2, 3
      union all
      select
        p.reference_id,
        p.pipeline,
        p.job,
        p.times * p.runs,
        p.times * p.seconds,
        case when not x.is_exact then p.times * metrics.tally_of_all(p.durations) end,
        case
          when x.is_exact then (
            select percentile_disc(fractions) within group (order by v.seconds)
            from unnest(p.durations) as v (seconds)
          )
        end
      from exactness as x
      cross join (
        select
          r.first_id as reference_id,
          j.pipeline,
          j.job,
          s.times,
          count(*) as runs,
          coalesce(sum(j.duration_seconds::numeric), 0) as seconds,
          array_agg(j.duration_seconds) as durations
        from stretches as s
        cross join repositories as r
        cross join lateral (
          select coalesce(f.pipeline, '') as pipeline, coalesce(f.name, '') as job, f.duration_seconds
          from metrics.jobs as f
          where f.reference_id = r.reference_id
            and f.ended_at >= s.starts_at
            and f.ended_at < s.ends_at
            and (slowest_jobs.pipeline is null or coalesce(f.pipeline, '') = slowest_jobs.pipeline)
          offset 0
        ) as j
        group by 1, 2, 3, 4
      ) as p
    ) as c
    group by c.reference_id, c.pipeline, c.job
    having sum(c.runs) > 0
  ),
  lines as materialized (
    select
      r.label,
      c.pipeline,
      c.job,
      c.runs::bigint as runs,
      (c.seconds / 60)::double precision as minutes,
      q.lengths[1] as p50,
      q.lengths[2] as p75,
      q.lengths[3] as p95,
      coalesce(case when sorting = 'duration' then q.lengths[3] else (c.seconds / 60)::double precision end, -1) as size,
      count(*) over () as total
    from counted as c
    join repositories as r
      on r.reference_id = c.reference_id
    cross join exactness as x
    cross join lateral (
      select
        case
          when x.is_exact then c.durations
          else (
            select o.percentiles
            from metrics.percentiles_of(c.duration_tally, fractions) as o
          )
        end as lengths
      offset 0
    ) as q
  )
  select
    l.label,
    l.pipeline,
    l.job,
    l.runs,
    l.minutes,
    l.p50,
    l.p75,
    l.p95,
    case when l.p95 is null then 'too_few' end,
    x.is_exact,
    asked.since < horizon,
    jsonb_build_array(l.size, l.label, l.pipeline, l.job)::text,
    l.total
  from lines as l
  cross join exactness as x
  where after is null
    or l.size < (after ->> 0)::double precision
    or (
      l.size = (after ->> 0)::double precision
      and (l.label, l.pipeline, l.job) > ((after ->> 1) collate "C", (after ->> 2) collate "C", (after ->> 3) collate "C")
    )
  order by l.size desc, l.label collate "C", l.pipeline collate "C", l.job collate "C"
  limit asked.page_size;

  if not found and after is null then
    return query
    select
      null::text, null::text, null::text, null::bigint, null::double precision, null::double precision, null::double precision,
      null::double precision,
      case
        when reference_ids = '{}' and (slowest_jobs.repository is not null or slowest_jobs.team is not null) then 'unknown_service'
        when asked.until <= horizon then 'outside_retention'
        else 'too_few'
      end,
      null::boolean,
      case when reference_ids <> '{}' or num_nonnulls(slowest_jobs.repository, slowest_jobs.team) = 0 then asked.since < horizon end,
      null::text, 1::bigint;
  end if;
end
$$;
revoke execute on function metrics.slowest_jobs(date, date, text, text, text, text, integer, text) from public;

comment on function metrics.slowest_jobs(date, date, text, text, text, text, integer, text) is 'Jobs, the slowest first: by duration, which is the 95th percentile of their seconds, or by minutes, which is all their time together. Without any job one row that says why.';

drop function if exists metrics.slowest_jobs_evidence(date, date, text, text, text, integer, text, text);

create function metrics.slowest_jobs_evidence(
  since date default null,
  until date default null,
  repository text default null,
  team text default null,
  page_after text default null,
  page_size integer default 100,
  pipeline text default null,
  job text default null
)
returns setof metrics.evidence
language plpgsql
stable
set search_path = ''
set statement_timeout = '5s'
as $$
begin
  return query
  select *
  from metrics.job_health_evidence(since, until, repository, team, null, page_after, page_size, pipeline, job);
end
$$;
revoke execute on function metrics.slowest_jobs_evidence(date, date, text, text, text, integer, text, text) from public;

comment on function metrics.slowest_jobs_evidence(date, date, text, text, text, integer, text, text) is 'The jobs behind slowest_jobs that are still kept, by the time at which they ended; value is the seconds that each took.';

-- Failed and passed for one commit within seven days: the code was the same, so something else decided.
drop function if exists metrics.flaky_pairs(metrics.period, bigint[], text, text, text);

create function metrics.flaky_pairs(asked metrics.period, reference_ids bigint[], only_branch text, only_pipeline text, only_job text)
returns table (reference_id bigint, external_id text, pipeline text, job text, commit_sha text, at timestamptz, passed_ids text[])
language plpgsql
stable
set search_path = ''
as $$
#variable_conflict use_column
begin
  return query
  with failed as materialized (
    select f.reference_id, f.external_id, coalesce(f.pipeline, '') as pipeline, coalesce(f.name, '') as job, f.commit_sha, f.flaky_key, f.at
    from unnest(flaky_pairs.reference_ids) as r (id)
    cross join lateral (
      select e.*, e.ended_at as at
      from metrics.jobs as e
      where e.reference_id = r.id
        and e.outcome in ('failure', 'timed_out')
        and e.ended_at >= metrics.midnight(asked.since, asked.time_zone)
        and e.ended_at < metrics.midnight(asked.until, asked.time_zone)
        and e.commit_sha is not null
      offset 0
    ) as f
    where (only_pipeline is null or coalesce(f.pipeline, '') = only_pipeline)
      and (only_job is null or coalesce(f.name, '') = only_job)
      and (
        only_branch is null
        or f.branch = case
          when only_branch = 'default' then (
            select t.default_branch
            from metrics.repository_references as k
            join metrics.repositories as t
              on t.id = k.repository_id
            where k.id = f.reference_id
          )
          else only_branch
        end
      )
  ),
  passed as materialized (
    select s.reference_id, s.external_id, coalesce(s.pipeline, '') as pipeline, coalesce(s.name, '') as job, s.commit_sha, s.flaky_key, s.at
    from (
      select distinct f.reference_id, f.flaky_key
      from failed as f
    ) as k
    cross join lateral (
      select e.reference_id, e.external_id, e.pipeline, e.name, e.commit_sha, e.flaky_key, e.ended_at as at
      from metrics.jobs as e
      where e.reference_id = k.reference_id
        and e.flaky_key = k.flaky_key
        and e.outcome = 'success'
      offset 0
    ) as s
  )
  select f.reference_id, f.external_id, f.pipeline, f.job, f.commit_sha, f.at, array_agg(s.external_id)
  from failed as f
  join passed as s
    on s.reference_id = f.reference_id
    and s.flaky_key = f.flaky_key
    and s.commit_sha = f.commit_sha
    and s.pipeline = f.pipeline
    and s.job = f.job
    and s.at between f.at - interval '168 hours' and f.at + interval '168 hours'
  group by f.reference_id, f.external_id, f.pipeline, f.job, f.commit_sha, f.at;
end
$$;
revoke execute on function metrics.flaky_pairs(metrics.period, bigint[], text, text, text) from public;

comment on function metrics.flaky_pairs(metrics.period, bigint[], text, text, text) is 'Jobs that failed in a period, each with those of the same commit, pipeline and name that passed within seven days of it.';

drop function if exists metrics.flaky_jobs(date, date, text, text, text, text, integer, text, text);

create function metrics.flaky_jobs(
  since date default null,
  until date default null,
  repository text default null,
  team text default null,
  branch text default null,
  page_after text default null,
  page_size integer default 100,
  pipeline text default null,
  job text default null
)
returns setof metrics.flaky_job
language plpgsql
stable
set search_path = ''
set statement_timeout = '5s'
as $$
#variable_conflict use_column
declare
  asked metrics.period;
  after jsonb;
  horizon date;
  reference_ids bigint[];
  labels text[];
begin
  perform metrics.require_reader();
  asked := metrics.period_of(flaky_jobs.since, flaky_jobs.until, 'none', page_after, page_size);
  after := metrics.key_of_page(asked, array['number', 'string', 'string', 'string']);
  select coalesce(array_agg(r.reference_id), '{}'), coalesce(array_agg(r.label), '{}')
  into reference_ids, labels
  from metrics.selected_references(flaky_jobs.repository, flaky_jobs.team) as r;
  horizon := metrics.job_horizon();

  return query
  select l.label, l.pipeline, l.job, l.commits, l.failures, l.first_at, l.last_at, null::text, asked.since < horizon, l.page_key, l.total
  from (
    select
      r.label,
      f.pipeline,
      f.job,
      count(distinct (f.reference_id, f.commit_sha)) as commits,
      count(*) as failures,
      min(f.at) as first_at,
      max(f.at) as last_at,
      jsonb_build_array(count(distinct (f.reference_id, f.commit_sha)), r.label, f.pipeline, f.job)::text as page_key,
      count(*) over () as total
    from metrics.flaky_pairs(asked, reference_ids, flaky_jobs.branch, flaky_jobs.pipeline, flaky_jobs.job) as f
    join unnest(reference_ids, labels) as r (reference_id, label)
      on r.reference_id = f.reference_id
    group by r.label, f.pipeline, f.job
  ) as l
  where after is null
    or l.commits < (after ->> 0)::numeric
    or (
      l.commits = (after ->> 0)::numeric
      and (l.label, l.pipeline, l.job) > ((after ->> 1) collate "C", (after ->> 2) collate "C", (after ->> 3) collate "C")
    )
  order by l.commits desc, l.label collate "C", l.pipeline collate "C", l.job collate "C"
  limit asked.page_size;

  -- None is an answer where there are jobs that could be flaky, and all of them are kept. That none is of this pipeline or name is told by
  -- the weeks, without a look at each job.
  if not found and after is null and (
    asked.since < horizon
    or not exists (
      select
      from (
        select k.id as reference_id, t.default_branch
        from metrics.repository_references as k
        join metrics.repositories as t
          on t.id = k.repository_id
        where k.id = any(reference_ids)
          and (
            num_nonnulls(flaky_jobs.pipeline, flaky_jobs.job) = 0
            or exists (
              select
              from metrics.job_weeks as w
              where w.generation = asked.generation
                and w.reference_id = k.id
                and w.week > asked.since - 7
                and w.week < asked.until
                and (flaky_jobs.pipeline is null or w.pipeline = flaky_jobs.pipeline)
                and (flaky_jobs.job is null or w.job = flaky_jobs.job)
            )
          )
        offset 0
      ) as r
      cross join lateral (
        select
        from metrics.jobs as e
        where e.reference_id = r.reference_id
          and e.ended_at >= metrics.midnight(asked.since, asked.time_zone)
          and e.ended_at < metrics.midnight(asked.until, asked.time_zone)
          and e.outcome in ('success', 'failure', 'timed_out')
          and (flaky_jobs.pipeline is null or coalesce(e.pipeline, '') = flaky_jobs.pipeline)
          and (flaky_jobs.job is null or coalesce(e.name, '') = flaky_jobs.job)
          and (
            flaky_jobs.branch is null
            or e.branch = case when flaky_jobs.branch = 'default' then r.default_branch else flaky_jobs.branch end
          )
        limit 1
      ) as e
    )
  ) then
    return query
    select
      null::text, null::text, null::text, null::bigint, null::bigint, null::timestamptz, null::timestamptz,
      case
        when reference_ids = '{}' and (flaky_jobs.repository is not null or flaky_jobs.team is not null) then 'unknown_service'
        when asked.since < horizon then 'outside_retention'
        else 'too_few'
      end,
      case when reference_ids <> '{}' or num_nonnulls(flaky_jobs.repository, flaky_jobs.team) = 0 then asked.since < horizon end,
      null::text, 1::bigint;
  end if;
end
$$;
revoke execute on function metrics.flaky_jobs(date, date, text, text, text, text, integer, text, text) from public;

comment on function metrics.flaky_jobs(date, date, text, text, text, text, integer, text, text) is 'Jobs that failed in the period and passed for the same commit within seven days, those of the most commits first. No row where none is flaky; one row that says why where no job of what is asked for could be, or where the period begins before the horizon and none is in what is left. is_frozen: the period begins before the horizon.';

drop function if exists metrics.flaky_jobs_evidence(date, date, text, text, text, text, integer, text, text);

create function metrics.flaky_jobs_evidence(
  since date default null,
  until date default null,
  repository text default null,
  team text default null,
  branch text default null,
  page_after text default null,
  page_size integer default 100,
  pipeline text default null,
  job text default null
)
returns setof metrics.evidence
language plpgsql
stable
set search_path = ''
set statement_timeout = '5s'
as $$
#variable_conflict use_column
declare
  asked metrics.period;
  after metrics.evidence_key;
  reference_ids bigint[];
  labels text[];
  reference_names text[];
begin
  perform metrics.require_reader();
  asked := metrics.period_of(flaky_jobs_evidence.since, flaky_jobs_evidence.until, 'none', page_after, page_size);
  after := metrics.evidence_after(asked);
  select coalesce(array_agg(r.reference_id), '{}'), coalesce(array_agg(r.label), '{}'), coalesce(array_agg(r.reference), '{}')
  into reference_ids, labels, reference_names
  from metrics.selected_references(flaky_jobs_evidence.repository, flaky_jobs_evidence.team) as r;

  return query
  with pairs as materialized (
    select *
    from metrics.flaky_pairs(asked, reference_ids, flaky_jobs_evidence.branch, flaky_jobs_evidence.pipeline, flaky_jobs_evidence.job)
  ),
  shown as materialized (
    select p.reference_id, p.external_id
    from pairs as p
    union
    select p.reference_id, unnest(p.passed_ids)
    from pairs as p
  ),
  lines as materialized (
    select r.label, r.reference, e.ended_at as at, s.reference_id, s.external_id, count(*) over () as total
    from shown as s
    join unnest(reference_ids, labels, reference_names) as r (reference_id, label, reference)
      on r.reference_id = s.reference_id
    cross join lateral (
      select *
      from metrics.jobs as j
      where j.reference_id = s.reference_id
        and j.external_id = s.external_id
      offset 0
    ) as e
  ),
  page as materialized (
    select *
    from lines as l
    where after.happened_at is null
      or (l.at, l.label, l.external_id, l.reference)
        > (after.happened_at, after.repository collate "C", after.external_id collate "C", after.reference collate "C")
    order by l.at, l.label collate "C", l.external_id collate "C", l.reference collate "C"
    limit asked.page_size
  )
  select
    l.at,
    l.label,
    null::text,
    'job',
    e.external_id,
    e.commit_sha,
    e.name,
    e.duration_seconds,
    'seconds',
    case when e.duration_seconds is null then 'too_few' end,
    e.url,
    jsonb_build_object(
      'pipeline', e.pipeline,
      'run_external_id', e.run_external_id,
      'attempt', e.attempt,
      'branch', e.branch,
      'outcome', e.outcome,
      'provider_outcome', e.provider_outcome,
      'runner', metrics.runner_of(e.runner_labels)
    ),
    metrics.evidence_page_key(l.at, l.label, 'job', e.external_id, l.reference),
    l.total
  from page as l
  join metrics.jobs as e
    on e.reference_id = l.reference_id
    and e.external_id = l.external_id
  order by l.at, l.label collate "C", l.external_id collate "C", l.reference collate "C";
end
$$;
revoke execute on function metrics.flaky_jobs_evidence(date, date, text, text, text, text, integer, text, text) from public;

comment on function metrics.flaky_jobs_evidence(date, date, text, text, text, text, integer, text, text) is 'The jobs behind flaky_jobs, those that failed and those that passed, by the time at which they ended.';

-- Steps are kept with their jobs and not counted: of the latest jobs each is opened.
drop function if exists metrics.latest_jobs_with_steps(metrics.period, bigint[], text, text, text);

create function metrics.latest_jobs_with_steps(asked metrics.period, reference_ids bigint[], branch text, pipeline text, job text)
returns table (reference_id bigint, external_id text, at timestamptz)
language plpgsql
stable
set search_path = ''
rows 5000
as $$
#variable_conflict use_column
declare
  most constant integer := 5000;
  begins_at constant timestamptz := metrics.midnight(
    greatest(
      asked.since,
      (
        select h.before
        from metrics.horizons as h
        where h.fact = 'jobs'
      )
    ),
    asked.time_zone
  );
  ends_at constant timestamptz := metrics.midnight(asked.until, asked.time_zone);
  looks_back interval := interval '1 day';
  branches text[];
  names text[];
  many bigint;
begin
  select
    array_agg(case when latest_jobs_with_steps.branch = 'default' then t.default_branch else latest_jobs_with_steps.branch end order by r.place),
    array_agg(k.reference order by r.place)
  into branches, names
  from unnest(latest_jobs_with_steps.reference_ids) with ordinality as r (id, place)
  join metrics.repository_references as k
    on k.id = r.id
  join metrics.repositories as t
    on t.id = k.repository_id;
  -- Of many repositories each would give its latest 5000: a stretch is looked for that has so many of all.
  loop
    exit when cardinality(latest_jobs_with_steps.reference_ids) <= 2;
    exit when ends_at - looks_back <= begins_at;
    select count(*)
    into many
    from (
      select
      from unnest(latest_jobs_with_steps.reference_ids, branches) as r (id, branch)
      cross join lateral (
        select
        from metrics.jobs as e
        where e.reference_id = r.id
          and e.ended_at >= ends_at - looks_back
          and e.ended_at < ends_at
          and e.steps is not null
          and (latest_jobs_with_steps.branch is null or e.branch = r.branch)
          and (latest_jobs_with_steps.pipeline is null or coalesce(e.pipeline, '') = latest_jobs_with_steps.pipeline)
          and (latest_jobs_with_steps.job is null or coalesce(e.name, '') = latest_jobs_with_steps.job)
        offset 0
      ) as e
      limit most
    ) as n;
    exit when many = most;
    looks_back := looks_back * 2;
  end loop;
  return query
  select f.reference_id, f.external_id, f.at
  from unnest(latest_jobs_with_steps.reference_ids, branches, names) as r (id, branch, name)
  cross join lateral (
    select e.reference_id, e.external_id, e.ended_at as at
    from metrics.jobs as e
    where e.reference_id = r.id
      and e.ended_at >= greatest(
        begins_at,
        case when cardinality(latest_jobs_with_steps.reference_ids) > 2 then ends_at - looks_back end
      )
      and e.ended_at < ends_at
      and e.steps is not null
      and (latest_jobs_with_steps.branch is null or e.branch = r.branch)
      and (latest_jobs_with_steps.pipeline is null or coalesce(e.pipeline, '') = latest_jobs_with_steps.pipeline)
      and (latest_jobs_with_steps.job is null or coalesce(e.name, '') = latest_jobs_with_steps.job)
    order by e.ended_at desc, e.external_id collate "C" desc
    limit most
  ) as f
  order by f.at desc, r.name collate "C" desc, f.external_id collate "C" desc
  limit most;
end
$$;
revoke execute on function metrics.latest_jobs_with_steps(metrics.period, bigint[], text, text, text) from public;

comment on function metrics.latest_jobs_with_steps(metrics.period, bigint[], text, text, text) is 'The latest 5000 finished jobs of a period that tell their steps.';

drop function if exists metrics.step_health(date, date, text, text, text, text, integer, text, text);

create function metrics.step_health(
  since date default null,
  until date default null,
  repository text default null,
  team text default null,
  branch text default null,
  page_after text default null,
  page_size integer default 100,
  pipeline text default null,
  job text default null
)
returns setof metrics.step_numbers
language plpgsql
stable
set search_path = ''
set statement_timeout = '5s'
-- The latest are read in the order of the index and no others.
set enable_bitmapscan = off
set enable_sort = off
-- No two jobs have the same steps.
set enable_memoize = off
set jit = off
as $$
#variable_conflict use_column
declare
  asked metrics.period;
  after jsonb;
  horizon date;
  reference_ids bigint[];
  labels text[];
  all_jobs bigint;
begin
  perform metrics.require_reader();
  asked := metrics.period_of(step_health.since, step_health.until, 'none', page_after, page_size);
  after := metrics.key_of_page(asked, array['string', 'string', 'string', 'number', 'string']);
  select coalesce(array_agg(r.reference_id), '{}'), coalesce(array_agg(r.label), '{}')
  into reference_ids, labels
  from metrics.selected_references(step_health.repository, step_health.team) as r;
  horizon := metrics.job_horizon();
  if asked.until > horizon then
    all_jobs := metrics.kept_jobs(asked, reference_ids, step_health.branch, step_health.pipeline, step_health.job);
  end if;

  return query
  with sample as materialized (
    select *
    from metrics.latest_jobs_with_steps(asked, reference_ids, step_health.branch, step_health.pipeline, step_health.job)
  ),
  -- Several senders may tell of one repository, each by a reference of its own: a job is the same by all of them.
  repositories as materialized (
    select r.reference_id, n.first_id
    from unnest(reference_ids, labels) as r (reference_id, label)
    join (
      select o.label, min(o.reference_id) as first_id
      from unnest(reference_ids, labels) as o (reference_id, label)
      group by o.label
    ) as n
      on n.label = r.label
  ),
  -- How long each took is collected beside the counts, and put in order only for the page.
  numbers as materialized (
    select
      g.first_id as reference_id,
      coalesce(j.pipeline, '') collate "C" as pipeline,
      coalesce(j.name, '') collate "C" as job,
      coalesce(s.name, '') collate "C" as step,
      coalesce(min(s.number), 0) as place,
      count(*) as runs,
      count(*) filter (where s.outcome = 'success') as success,
      count(*) filter (where s.outcome = 'failure') as failure,
      count(*) filter (where s.outcome = 'timed_out') as timed_out,
      count(*) filter (where s.outcome = 'error') as error,
      count(*) filter (where s.outcome = 'cancelled') as cancelled,
      count(*) filter (where s.outcome = 'skipped') as skipped,
      count(*) filter (where s.outcome = 'neutral') as neutral,
      count(*) filter (where s.outcome = 'unknown') as unknown,
      array_agg(s.finished_at - s.started_at) filter (where s.finished_at >= s.started_at) as lengths
    from sample as l
    join repositories as g
      on g.reference_id = l.reference_id
    cross join lateral (
      select *
      from metrics.jobs as e
      where e.reference_id = l.reference_id
        and e.external_id = l.external_id
      offset 0
    ) as j
    cross join lateral jsonb_to_recordset(j.steps) as s (
      number integer, name text, outcome text, started_at timestamptz, finished_at timestamptz
    )
    where s.outcome is not null
    group by 1, 2, 3, 4
  )
  select
    l.label,
    l.pipeline,
    l.job,
    l.step,
    l.runs,
    l.success,
    l.failure,
    l.timed_out,
    l.error,
    l.cancelled,
    l.skipped,
    l.neutral,
    l.unknown,
    l.success_rate,
    extract(epoch from p.lengths[1])::double precision,
    extract(epoch from p.lengths[2])::double precision,
    extract(epoch from p.lengths[3])::double precision,
    all_jobs,
    (
      select count(*)
      from sample as s
    ),
    case when num_nulls(l.success_rate, p.lengths[1]) > 0 then 'too_few' end,
    asked.since < horizon,
    jsonb_build_array(l.label, l.pipeline, l.job, l.place, l.step)::text,
    l.total
  from (
    select *
    from (
      select
        r.label,
        n.*,
        n.success::double precision / nullif(n.success + n.failure + n.timed_out + n.error, 0) as success_rate,
        count(*) over () as total
      from numbers as n
      join unnest(reference_ids, labels) as r (reference_id, label)
        on r.reference_id = n.reference_id
    ) as l
    where after is null
      or (l.label, l.pipeline, l.job, l.place, l.step)
        > ((after ->> 0) collate "C", (after ->> 1) collate "C", (after ->> 2) collate "C", (after ->> 3)::numeric, (after ->> 4) collate "C")
    order by l.label collate "C", l.pipeline collate "C", l.job collate "C", l.place, l.step collate "C"
    limit asked.page_size
  ) as l
  cross join lateral (
    select percentile_disc(array[0.5, 0.75, 0.95]) within group (order by u.length) as lengths
    from unnest(l.lengths) as u (length)
  ) as p
  order by l.label collate "C", l.pipeline collate "C", l.job collate "C", l.place, l.step collate "C";

  if not found and after is null then
    return query
    select
      null::text, null::text, null::text, null::text, null::bigint, null::bigint, null::bigint, null::bigint, null::bigint, null::bigint,
      null::bigint, null::bigint, null::bigint, null::double precision, null::double precision, null::double precision, null::double precision,
      case when reference_ids <> '{}' then all_jobs end,
      null::bigint,
      case
        when reference_ids = '{}' and (step_health.repository is not null or step_health.team is not null) then 'unknown_service'
        when asked.until <= horizon then 'outside_retention'
        else 'too_few'
      end,
      case when reference_ids <> '{}' or num_nonnulls(step_health.repository, step_health.team) = 0 then asked.since < horizon end,
      null::text, 1::bigint;
  end if;
end
$$;
revoke execute on function metrics.step_health(date, date, text, text, text, text, integer, text, text) from public;

comment on function metrics.step_health(date, date, text, text, text, text, integer, text, text) is 'Finished steps by outcome, with success rate and exact percentiles of their seconds: of the latest 5000 jobs of the selection that tell their steps (sampled_jobs, of jobs). is_frozen: the period begins before the horizon, and jobs of that time are missing. Without any step one row that says why.';

drop function if exists metrics.step_health_evidence(date, date, text, text, text, text, integer, text, text, text);

create function metrics.step_health_evidence(
  since date default null,
  until date default null,
  repository text default null,
  team text default null,
  branch text default null,
  page_after text default null,
  page_size integer default 100,
  pipeline text default null,
  job text default null,
  step text default null
)
returns setof metrics.evidence
language plpgsql
stable
set search_path = ''
set statement_timeout = '5s'
-- The latest are read in the order of the index and no others.
set enable_bitmapscan = off
set jit = off
as $$
#variable_conflict use_column
declare
  asked metrics.period;
  after metrics.evidence_key;
  reference_ids bigint[];
  labels text[];
  reference_names text[];
begin
  perform metrics.require_reader();
  asked := metrics.period_of(step_health_evidence.since, step_health_evidence.until, 'none', page_after, page_size);
  after := metrics.evidence_after(asked);
  select coalesce(array_agg(r.reference_id), '{}'), coalesce(array_agg(r.label), '{}'), coalesce(array_agg(r.reference), '{}')
  into reference_ids, labels, reference_names
  from metrics.selected_references(step_health_evidence.repository, step_health_evidence.team) as r;

  return query
  with sample as materialized (
    select l.reference_id, l.external_id, l.at, r.label, r.reference
    from metrics.latest_jobs_with_steps(
      asked, reference_ids, step_health_evidence.branch, step_health_evidence.pipeline, step_health_evidence.job
    ) as l
    join unnest(reference_ids, labels, reference_names) as r (reference_id, label, reference)
      on r.reference_id = l.reference_id
  ),
  lines as materialized (
    select l.*, count(*) over () as total
    from sample as l
    where step_health_evidence.step is null
      or (
        select j.steps @> jsonb_build_array(jsonb_build_object('name', step_health_evidence.step))
        from metrics.jobs as j
        where j.reference_id = l.reference_id
          and j.external_id = l.external_id
      )
  ),
  page as materialized (
    select *
    from lines as l
    where after.happened_at is null
      or (l.at, l.label, l.external_id, l.reference)
        > (after.happened_at, after.repository collate "C", after.external_id collate "C", after.reference collate "C")
    order by l.at, l.label collate "C", l.external_id collate "C", l.reference collate "C"
    limit asked.page_size
  )
  select
    l.at,
    l.label,
    null::text,
    'job',
    e.external_id,
    e.commit_sha,
    e.name,
    v.seconds,
    'seconds',
    case when v.seconds is null then 'too_few' end,
    e.url,
    jsonb_build_object(
      'pipeline', e.pipeline,
      'run_external_id', e.run_external_id,
      'attempt', e.attempt,
      'branch', e.branch,
      'outcome', e.outcome,
      'steps', e.steps
    ),
    metrics.evidence_page_key(l.at, l.label, 'job', e.external_id, l.reference),
    l.total
  from page as l
  join metrics.jobs as e
    on e.reference_id = l.reference_id
    and e.external_id = l.external_id
  cross join lateral (
    select
      case
        when step_health_evidence.step is null then e.duration_seconds
        else (
          select sum(extract(epoch from s.finished_at - s.started_at)) filter (where s.finished_at >= s.started_at)
          from jsonb_to_recordset(e.steps) as s (name text, started_at timestamptz, finished_at timestamptz)
          where s.name = step_health_evidence.step
        )::double precision
      end as seconds
  ) as v
  order by l.at, l.label collate "C", l.external_id collate "C", l.reference collate "C";
end
$$;
revoke execute on function metrics.step_health_evidence(date, date, text, text, text, text, integer, text, text, text) from public;

comment on function metrics.step_health_evidence(date, date, text, text, text, text, integer, text, text, text) is 'The jobs that step_health looked at, by the time at which they ended, with their steps; value is the seconds of the step, or of the job where none is named.';

drop function if exists metrics.price_of(text, date);

create function metrics.price_of(runner text, week date)
returns table (label text, price_per_minute numeric, currency text, is_hosted boolean)
language plpgsql
stable
set search_path = ''
rows 1
as $$
#variable_conflict use_column
begin
  return query
  select p.label, p.price_per_minute, p.currency, p.is_hosted
  from unnest(string_to_array(price_of.runner, ',')) as l (label)
  cross join lateral (
    select q.label, q.price_per_minute, q.currency, q.is_hosted
    from metrics.prices as q
    where q.label = l.label
      and q.valid_from <= price_of.week
    order by q.valid_from desc
    limit 1
  ) as p
  order by p.price_per_minute desc, p.is_hosted desc, p.label collate "C"
  limit 1;
end
$$;
revoke execute on function metrics.price_of(text, date) from public;

comment on function metrics.price_of(text, date) is 'The dearest price that the labels of a runner have in a week; no row for none.';

drop function if exists metrics.pipeline_cost(date, date, text, text, text, text, text, integer, text, text, text);

create function metrics.pipeline_cost(
  since date default null,
  until date default null,
  bucket text default 'none',
  by text default 'nothing',
  repository text default null,
  team text default null,
  page_after text default null,
  page_size integer default 100,
  pipeline text default null,
  job text default null,
  runner text default null
)
returns table (
  bucket_start date,
  name text,
  jobs bigint,
  minutes double precision,
  billed_minutes double precision,
  unpriced_minutes double precision,
  cost double precision,
  currency text,
  reason text,
  is_frozen boolean,
  page_key text,
  total bigint
)
language plpgsql
stable
set search_path = ''
set statement_timeout = '5s'
-- Groups are few and rows many: they are hashed, never sorted, and no plan is dear enough to be compiled.
set enable_sort = off
set jit = off
as $$
#variable_conflict use_column
declare
  asked metrics.period;
  after jsonb;
  grouping text;
  horizon date;
  reference_ids bigint[];
  labels text[];
  first_week date;
  end_week date;
  is_unknown boolean;
  one_currency constant text := (
    select min(p.currency)
    from metrics.prices as p
  );
begin
  perform metrics.require_reader();
  asked := metrics.period_of(pipeline_cost.since, pipeline_cost.until, pipeline_cost.bucket, page_after, page_size);
  after := metrics.key_of_page(asked, array['string', 'string']);
  grouping := metrics.checked_word('by', pipeline_cost.by, array['nothing', 'repository', 'pipeline', 'job', 'runner']);
  select coalesce(array_agg(r.reference_id), '{}'), coalesce(array_agg(r.label), '{}')
  into reference_ids, labels
  from metrics.selected_references(pipeline_cost.repository, pipeline_cost.team) as r;
  is_unknown := reference_ids = '{}' and (pipeline_cost.repository is not null or pipeline_cost.team is not null);
  if is_unknown then
    grouping := 'nothing';
  end if;
  horizon := metrics.job_horizon();
  first_week := date_trunc('week', asked.since::timestamp)::date;
  end_week := date_trunc('week', (asked.until + 6)::timestamp)::date;

  return query
  with repositories as materialized (
    select r.reference_id, r.label
    from unnest(reference_ids, labels) as r (reference_id, label)
  ),
  weeks as materialized (
    select w.week, w.bucket_start
    from metrics.kept_weeks_of(asked, true, reference_ids) as w
  ),
  used as materialized (
    select
      u.reference_id,
      u.pipeline,
      u.job,
      u.runner,
      u.week,
      u.bucket_start,
      sum(u.jobs) as jobs,
      sum(u.seconds) / 60 as minutes,
      sum(u.rounded_minutes) as rounded_minutes
    from (
      select k.reference_id, k.pipeline, k.job, k.runner, k.week, w.bucket_start, k.jobs, k.seconds, k.rounded_minutes
      from (
        select
          case when grouping in ('repository', 'pipeline', 'job') then r.reference_id else 0 end as reference_id,
          case when grouping in ('pipeline', 'job') then n.pipeline else '' end as pipeline,
          case when grouping = 'job' then n.job else '' end as job,
          n.runner,
          n.week,
          sum(n.success + n.failure + n.timed_out + n.error + n.cancelled + n.skipped + n.neutral + n.unknown) as jobs,
          sum(n.seconds) as seconds,
          sum(n.rounded_minutes) as rounded_minutes
        from repositories as r
        cross join lateral (
          select *
          from metrics.job_weeks as f
          where f.generation = asked.generation
            and f.reference_id = r.reference_id
            and f.week >= first_week
            and f.week < end_week
            and (pipeline_cost.pipeline is null or f.pipeline = pipeline_cost.pipeline)
            and (pipeline_cost.job is null or f.job = pipeline_cost.job)
            and (pipeline_cost.runner is null or f.runner = pipeline_cost.runner)
          offset 0
        ) as n
        group by 1, 2, 3, 4, 5
      ) as k
      join weeks as w
        on w.week = k.week
      union all
      select e.reference_id, e.pipeline, e.job, x.runner, e.week, e.bucket_start, e.jobs, e.seconds, e.rounded_minutes
      from (
        select
          case when grouping in ('repository', 'pipeline', 'job') then r.reference_id else 0 end as reference_id,
          case when grouping in ('pipeline', 'job') then coalesce(j.pipeline, '') else '' end as pipeline,
          case when grouping = 'job' then coalesce(j.name, '') else '' end as job,
          j.runner_labels,
          d.week,
          d.bucket_start,
          sum(d.times) as jobs,
          coalesce(sum(d.times * j.duration_seconds::numeric), 0) as seconds,
          coalesce(sum(d.times * ceil(j.duration_seconds / 60)::numeric), 0) as rounded_minutes
        from repositories as r
        cross join metrics.kept_days_of(asked, true) as d
        cross join lateral (
          select f.pipeline, f.name, f.runner_labels, f.duration_seconds
          from metrics.jobs as f
          where f.reference_id = r.reference_id
            and f.ended_at >= d.starts_at
            and f.ended_at < d.ends_at
            and (pipeline_cost.pipeline is null or coalesce(f.pipeline, '') = pipeline_cost.pipeline)
            and (pipeline_cost.job is null or coalesce(f.name, '') = pipeline_cost.job)
          offset 0
        ) as j
        group by 1, 2, 3, 4, 5, 6
      ) as e
      cross join lateral (select metrics.runner_of(e.runner_labels) as runner) as x
      where pipeline_cost.runner is null
        or x.runner = pipeline_cost.runner
    ) as u
    group by 1, 2, 3, 4, 5, 6
    having sum(u.jobs) > 0
  ),
  rates as materialized (
    select u.runner, u.week, p.price_per_minute, p.is_hosted
    from (
      select distinct d.runner, d.week
      from used as d
    ) as u
    cross join lateral metrics.price_of(u.runner, u.week) as p
  ),
  sums as materialized (
    select
      u.reference_id,
      u.pipeline,
      u.job,
      case when grouping = 'runner' then u.runner else '' end as runner,
      u.bucket_start,
      sum(u.jobs) as jobs,
      sum(u.minutes) as minutes,
      sum(b.minutes) as billed_minutes,
      coalesce(sum(u.minutes) filter (where p.price_per_minute is null), 0) as unpriced_minutes,
      sum(b.minutes * p.price_per_minute) as cost
    from used as u
    left join rates as p
      on p.runner = u.runner
      and p.week = u.week
    cross join lateral (select case when p.is_hosted then u.rounded_minutes when p.price_per_minute is not null then u.minutes end as minutes) as b
    group by 1, 2, 3, 4, 5
  ),
  named as materialized (
    select 0::bigint as reference_id, '' as pipeline, '' as job, '' as runner, null::text as name
    where grouping = 'nothing'
    union all
    select r.reference_id, '', '', '', r.label
    from repositories as r
    where grouping = 'repository'
    union all
    select
      s.reference_id,
      s.pipeline,
      s.job,
      s.runner,
      case
        when grouping = 'runner' then s.runner
        else r.label || ' / ' || s.pipeline || case when grouping = 'job' then ' / ' || s.job else '' end
      end
    from (
      select distinct d.reference_id, d.pipeline, d.job, d.runner
      from sums as d
    ) as s
    left join repositories as r
      on r.reference_id = s.reference_id
    where grouping in ('pipeline', 'job', 'runner')
  ),
  lines as materialized (
    select
      coalesce(n.name, '') collate "C" as sort_name,
      coalesce(b.bucket_start::text, '') collate "C" as sort_bucket,
      n.name,
      b.bucket_start,
      b.first_day,
      b.end_day,
      count(*) over () as total
    from (select distinct d.name from named as d) as n
    cross join metrics.buckets_of(asked) as b
  ),
  page as materialized (
    select *
    from lines as l
    where after is null
      or (l.sort_name, l.sort_bucket) > ((after ->> 0) collate "C", (after ->> 1) collate "C")
    order by l.sort_name, l.sort_bucket
    limit asked.page_size
  ),
  costs as materialized (
    select
      n.name,
      s.bucket_start,
      sum(s.jobs) as jobs,
      sum(s.minutes) as minutes,
      sum(s.billed_minutes) as billed_minutes,
      sum(s.unpriced_minutes) as unpriced_minutes,
      sum(s.cost) as cost
    from named as n
    join sums as s
      on s.reference_id = n.reference_id
      and s.pipeline = n.pipeline
      and s.job = n.job
      and s.runner = n.runner
    group by n.name, s.bucket_start
  )
  select
    l.bucket_start,
    l.name,
    case when f.has_numbers then coalesce(c.jobs, 0)::bigint end,
    c.minutes::double precision,
    c.billed_minutes::double precision,
    c.unpriced_minutes::double precision,
    c.cost::double precision,
    case when c.cost is not null then one_currency end,
    case
      when is_unknown then 'unknown_service'
      when f.is_outside then 'outside_retention'
      when c.jobs is null then 'too_few'
      when c.cost is null then 'no_price'
    end,
    case when not is_unknown then l.first_day < horizon end,
    jsonb_build_array(l.sort_name, l.sort_bucket)::text,
    l.total
  from page as l
  left join costs as c
    on c.name is not distinct from l.name
    and c.bucket_start is not distinct from l.bucket_start
  cross join lateral (
    select not k.is_known as is_outside, not is_unknown and k.is_known as has_numbers
    from (
      select
        l.end_day > horizon
          or exists (
            select
            from weeks as w
            where w.bucket_start is not distinct from l.bucket_start
          ) as is_known
    ) as k
  ) as f
  order by l.sort_name, l.sort_bucket;
end
$$;
revoke execute on function metrics.pipeline_cost(date, date, text, text, text, text, text, integer, text, text, text) from public;

comment on function metrics.pipeline_cost(date, date, text, text, text, text, text, integer, text, text, text) is 'Minutes of finished jobs and what they cost by metrics.prices. By nothing, repository, pipeline, job or runner. billed_minutes are those with a price, each job''s rounded up where the runner is hosted; unpriced_minutes the others. is_frozen: it begins before the horizon, where jobs are dropped: of that time only what was counted by week is in it. reason is no_price where minutes are there and none has a price.';

drop function if exists metrics.pipeline_cost_evidence(date, date, text, text, text, integer, text, text, text);

create function metrics.pipeline_cost_evidence(
  since date default null,
  until date default null,
  repository text default null,
  team text default null,
  page_after text default null,
  page_size integer default 100,
  pipeline text default null,
  job text default null,
  runner text default null
)
returns setof metrics.evidence
language plpgsql
stable
set search_path = ''
set statement_timeout = '5s'
-- The earliest, or the first after a key, are read in the order of the index and no others.
set enable_bitmapscan = off
set jit = off
as $$
#variable_conflict use_column
declare
  asked metrics.period;
  after metrics.evidence_key;
  horizon date;
  begins_at timestamptz;
  ends_at timestamptz;
  all_rows bigint;
begin
  perform metrics.require_reader();
  asked := metrics.period_of(pipeline_cost_evidence.since, pipeline_cost_evidence.until, 'none', page_after, page_size);
  after := metrics.evidence_after(asked);
  horizon := metrics.job_horizon();
  asked.since := greatest(asked.since, horizon);
  if asked.since >= asked.until then
    return;
  end if;
  begins_at := greatest(after.happened_at, metrics.midnight(asked.since, asked.time_zone));
  ends_at := metrics.midnight(asked.until, asked.time_zone);
  select c.jobs
  into all_rows
  from metrics.pipeline_cost(
    asked.since, asked.until, 'none', 'nothing', pipeline_cost_evidence.repository, pipeline_cost_evidence.team, null, 1,
    pipeline_cost_evidence.pipeline, pipeline_cost_evidence.job, pipeline_cost_evidence.runner
  ) as c;

  return query
  select
    p.at,
    p.label,
    null::text,
    'job',
    p.external_id,
    p.commit_sha,
    p.name,
    (c.billed_minutes * c.price_per_minute)::double precision,
    c.currency,
    case when p.duration_seconds is null then 'too_few' when c.price_per_minute is null then 'no_price' end,
    p.url,
    jsonb_build_object(
      'pipeline', p.pipeline,
      'run_external_id', p.run_external_id,
      'attempt', p.attempt,
      'runner', c.runner,
      'minutes', p.duration_seconds / 60,
      'billed_minutes', c.billed_minutes,
      'price_per_minute', c.price_per_minute,
      'price_label', c.label
    ),
    metrics.evidence_page_key(p.at, p.label, 'job', p.external_id, p.reference),
    coalesce(all_rows, 0)
  from (
    select r.label, r.reference, f.*
    from metrics.selected_references(pipeline_cost_evidence.repository, pipeline_cost_evidence.team) as r
    cross join lateral (
      select e.ended_at as at, e.*
      from metrics.jobs as e
      where e.reference_id = r.reference_id
        and e.ended_at >= begins_at
        and e.ended_at < ends_at
        and (pipeline_cost_evidence.pipeline is null or coalesce(e.pipeline, '') = pipeline_cost_evidence.pipeline)
        and (pipeline_cost_evidence.job is null or coalesce(e.name, '') = pipeline_cost_evidence.job)
        and (pipeline_cost_evidence.runner is null or metrics.runner_of(e.runner_labels) = pipeline_cost_evidence.runner)
        and (
          after.happened_at is null
          or (e.ended_at, r.label, e.external_id, r.reference)
            > (after.happened_at, after.repository collate "C", after.external_id collate "C", after.reference collate "C")
        )
      order by e.ended_at, e.external_id collate "C"
      limit asked.page_size
    ) as f
    order by f.at, r.label collate "C", f.external_id collate "C", r.reference collate "C"
    limit asked.page_size
  ) as p
  cross join lateral (
    select
      u.runner,
      q.label,
      q.price_per_minute,
      q.currency,
      case when q.is_hosted then ceil(p.duration_seconds::numeric / 60) when q.price_per_minute is not null then p.duration_seconds::numeric / 60 end
        as billed_minutes
    from (select metrics.runner_of(p.runner_labels) as runner) as u
    left join lateral metrics.price_of(u.runner, metrics.week_of(p.at, asked.time_zone)) as q
      on true
  ) as c
  order by p.at, p.label collate "C", p.external_id collate "C", p.reference collate "C";
end
$$;
revoke execute on function metrics.pipeline_cost_evidence(date, date, text, text, text, integer, text, text, text) from public;

comment on function metrics.pipeline_cost_evidence(date, date, text, text, text, integer, text, text, text) is 'The jobs behind pipeline_cost that are still kept, by the time at which they ended; value is what each cost.';
