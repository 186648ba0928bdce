-- What CI did, counted by ISO week as facts arrive, so that numbers over a year cost no more than its weeks; runs by day and by four weeks,
-- too. Kept by triggers in the transaction of the fact: each adds what the rows that it sees count now, less what they counted before.

set lock_timeout = '2s';
set statement_timeout = '60s';

create table if not exists metrics.horizons (
  fact text primary key,
  before date,
  constraint horizon_is_a_monday check (extract(isodow from before) = 1)
);

insert into metrics.horizons (fact)
values ('jobs'), ('test_cases')
on conflict do nothing;

comment on table metrics.horizons is 'How far back the facts of a kind go: it moves by whole ISO weeks, and never back.';
comment on column metrics.horizons.fact is 'Table of the facts.';
comment on column metrics.horizons.before is 'Facts of weeks before this Monday may be gone, and what was counted of them stays as it is. NULL while nothing was dropped.';

create table if not exists metrics.frozen_weeks (
  fact text not null,
  week date not null,
  time_zone text not null,
  constraint frozen_weeks_pkey primary key (fact, week),
  constraint frozen_week_is_a_monday check (extract(isodow from week) = 1)
);

comment on table metrics.frozen_weeks is 'Weeks before the horizon: what was counted of them is never counted again. For admins, because a week stands here whichever repository it is of.';
comment on column metrics.frozen_weeks.fact is 'Table of the facts.';
comment on column metrics.frozen_weeks.week is 'Monday of the week.';
comment on column metrics.frozen_weeks.time_zone is 'IANA name of the zone in which the week was cut.';

create table if not exists metrics.pipeline_spans (
  generation integer not null,
  only_default_branch boolean not null,
  only_humans boolean not null,
  reference_id bigint not null,
  days smallint not null,
  first_day date not null,
  pipeline text not null,
  success integer not null,
  failure integer not null,
  timed_out integer not null,
  error integer not null,
  cancelled integer not null,
  skipped integer not null,
  neutral integer not null,
  unknown integer not null,
  reruns integer not null,
  first_decided integer not null,
  first_success integer not null,
  last_decided integer not null,
  last_success integer not null,
  duration_tally numeric not null,
  queue_tally numeric not null,
  constraint pipeline_spans_pkey primary key (generation, only_default_branch, only_humans, reference_id, days, first_day, pipeline)
)
with (fillfactor = 90);

comment on table metrics.pipeline_spans is 'Finished pipeline runs by ISO week: all of them, and again those of the selections that numbers ask for, so that each is read from few rows. All of them by four weeks and by day, too. A row that counts nothing is not there.';
comment on column metrics.pipeline_spans.generation is 'Generation in whose time zone weeks and days are cut.';
comment on column metrics.pipeline_spans.only_default_branch is 'Whether only runs are counted of which the sender said that they ran on the default branch; else all.';
comment on column metrics.pipeline_spans.only_humans is 'Whether runs are left out of which the sender said that a bot started them. Bots'' runs are not kept by themselves, as pull_request_spans keeps bots'' pull requests: such a selection is read as fast as all.';
comment on column metrics.pipeline_spans.reference_id is 'Repository reference.';
comment on column metrics.pipeline_spans.days is '28 for four weeks, 7 for a week, 1 for a day.';
comment on column metrics.pipeline_spans.first_day is 'The first of them: Monday, or the day in which the run finished; else started, else was queued.';
comment on column metrics.pipeline_spans.pipeline is 'Name of the pipeline; empty where it has none.';
comment on column metrics.pipeline_spans.success is 'Runs that succeeded.';
comment on column metrics.pipeline_spans.failure is 'Runs that failed.';
comment on column metrics.pipeline_spans.timed_out is 'Runs that took too long.';
comment on column metrics.pipeline_spans.error is 'Runs in which the machinery failed.';
comment on column metrics.pipeline_spans.cancelled is 'Runs that were cancelled.';
comment on column metrics.pipeline_spans.skipped is 'Runs that were skipped.';
comment on column metrics.pipeline_spans.neutral is 'Runs that ended neither way.';
comment on column metrics.pipeline_spans.unknown is 'Runs whose outcome no mapping knows.';
comment on column metrics.pipeline_spans.reruns is 'Runs that are not the first try of their rerun_group.';
comment on column metrics.pipeline_spans.first_decided is 'First tries with success, failure, timed_out or error.';
comment on column metrics.pipeline_spans.first_success is 'First tries that succeeded.';
comment on column metrics.pipeline_spans.last_decided is 'Last tries with success, failure, timed_out or error.';
comment on column metrics.pipeline_spans.last_success is 'Last tries that succeeded.';
comment on column metrics.pipeline_spans.duration_tally is 'How long they took: a tally of their seconds, see metrics.tally_of.';
comment on column metrics.pipeline_spans.queue_tally is 'How long they waited: a tally of their seconds.';

create table if not exists metrics.job_weeks (
  generation integer not null,
  reference_id bigint not null,
  week date not null,
  pipeline text not null,
  job text not null,
  runner text not null,
  success integer not null,
  failure integer not null,
  timed_out integer not null,
  error integer not null,
  cancelled integer not null,
  skipped integer not null,
  neutral integer not null,
  unknown integer not null,
  seconds numeric(24, 6) not null,
  rounded_minutes bigint not null,
  duration_tally numeric not null,
  queue_tally numeric not null,
  constraint job_weeks_pkey primary key (generation, reference_id, week, pipeline, job, runner)
)
with (fillfactor = 90);

comment on table metrics.job_weeks is 'Finished jobs by ISO week. A row that counts nothing is not there.';
comment on column metrics.job_weeks.generation is 'Generation in whose time zone the week is cut.';
comment on column metrics.job_weeks.reference_id is 'Repository reference.';
comment on column metrics.job_weeks.week is 'Monday of the week in which the job finished; else started, else was queued.';
comment on column metrics.job_weeks.pipeline is 'Name of its pipeline; empty where it has none.';
comment on column metrics.job_weeks.job is 'Name of the job; empty where it has none.';
comment on column metrics.job_weeks.runner is 'Labels of the runner that it asked for, sorted, with commas between; empty where it named none.';
comment on column metrics.job_weeks.success is 'Jobs that succeeded.';
comment on column metrics.job_weeks.failure is 'Jobs that failed.';
comment on column metrics.job_weeks.timed_out is 'Jobs that took too long.';
comment on column metrics.job_weeks.error is 'Jobs in which the machinery failed.';
comment on column metrics.job_weeks.cancelled is 'Jobs that were cancelled.';
comment on column metrics.job_weeks.skipped is 'Jobs that were skipped.';
comment on column metrics.job_weeks.neutral is 'Jobs that ended neither way.';
comment on column metrics.job_weeks.unknown is 'Jobs whose outcome no mapping knows.';
-- A sum of floating-point numbers depends on their order.
comment on column metrics.job_weeks.seconds is 'Seconds from started to finished of all of them. Exact, so that what is added can be taken away again.';
comment on column metrics.job_weeks.rounded_minutes is 'Minutes of all of them, each job''s rounded up by itself, as hosted runners are paid.';
comment on column metrics.job_weeks.duration_tally is 'How long they took: a tally of their seconds, see metrics.tally_of.';
comment on column metrics.job_weeks.queue_tally is 'How long they waited: a tally of their seconds.';

-- What one row of facts counts, or no longer counts.
do $$
begin
  if to_regtype('metrics.counted_run') is null then
    create type metrics.counted_run as (
      times integer,
      reference_id bigint,
      pipeline text,
      on_default_branch boolean,
      is_bot boolean,
      at timestamptz,
      outcome text,
      is_first_try boolean,
      is_last_try boolean,
      duration_seconds double precision,
      queue_seconds double precision
    );
  end if;
  if to_regtype('metrics.counted_job') is null then
    create type metrics.counted_job as (
      times integer,
      reference_id bigint,
      pipeline text,
      job text,
      runner text,
      at timestamptz,
      outcome text,
      duration_seconds double precision,
      queue_seconds double precision
    );
  end if;
end
$$;

revoke usage on type metrics.counted_run from public;
revoke usage on type metrics.counted_job from public;

comment on type metrics.counted_run is 'What a finished pipeline run counts: times is 1 for what it counts now, -1 for what it counted before.';
comment on type metrics.counted_job is 'What a finished job counts: times is 1 for what it counts now, -1 for what it counted before.';

drop function if exists metrics.runner_of(text[]);

-- In PL/pgSQL, because a function in SQL that cannot be inlined is planned anew at every call.
create function metrics.runner_of(labels text[])
returns text
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
begin
  if coalesce(cardinality(labels), 0) < 2 then
    return coalesce(labels[1], '');
  end if;
  return coalesce(
    (
      select string_agg(l, ',' order by l collate "C")
      from unnest(labels) as l
    ),
    ''
  );
end
$$;
revoke execute on function metrics.runner_of(text[]) from public;

comment on function metrics.runner_of(text[]) is 'The labels of a runner as one text: sorted, with commas between; empty for none.';

-- Rows are written in the order of their key, and tables in one order, so that two callers cannot wait for each other.
drop function if exists metrics.count_runs(metrics.counted_run[], boolean);

create function metrics.count_runs(counted metrics.counted_run[], takes_away boolean)
returns void
language plpgsql
set search_path = ''
as $$
declare
  one metrics.counted_run;
  is_decided boolean;
  taken numeric;
  waited numeric;
begin
  -- Nearly always one run comes alone and ends: that needs no grouping, and a short statement.
  if cardinality(counted) = 1 and not takes_away then
    one := counted[1];
    is_decided := one.outcome in ('success', 'failure', 'timed_out', 'error');
    taken := coalesce(metrics.tally_of(metrics.bucket_of(one.duration_seconds)), 0);
    waited := coalesce(metrics.tally_of(metrics.bucket_of(one.queue_seconds)), 0);
    insert into metrics.pipeline_spans as t (
      generation, only_default_branch, only_humans, reference_id, days, first_day, pipeline, success, failure, timed_out, error, cancelled,
      skipped, neutral, unknown, reruns, first_decided, first_success, last_decided, last_success, duration_tally, queue_tally
    )
    select
      g.id,
      s.only_default_branch,
      s.only_humans,
      one.reference_id,
      w.days,
      w.first_day,
      one.pipeline,
      (one.outcome = 'success')::integer,
      (one.outcome = 'failure')::integer,
      (one.outcome = 'timed_out')::integer,
      (one.outcome = 'error')::integer,
      (one.outcome = 'cancelled')::integer,
      (one.outcome = 'skipped')::integer,
      (one.outcome = 'neutral')::integer,
      (one.outcome = 'unknown')::integer,
      (not one.is_first_try)::integer,
      (one.is_first_try and is_decided)::integer,
      (one.is_first_try and one.outcome = 'success')::integer,
      (one.is_last_try and is_decided)::integer,
      (one.is_last_try and one.outcome = 'success')::integer,
      taken,
      waited
    from metrics.generations as g
    cross join lateral metrics.spans_of(one.at, g.time_zone) as w
    join (
      values (28, false, false), (7, false, false), (7, false, true), (7, true, false), (7, true, true), (1, false, false)
    ) as s (days, only_default_branch, only_humans)
      on s.days = w.days
    where (
        g.state = 'current'
        or (g.state = 'building' and (one.reference_id, one.at) <= (g.counted_reference, g.counted_up_to))
      )
      and (one.on_default_branch or not s.only_default_branch)
      and not (one.is_bot and s.only_humans)
    order by g.id, s.only_default_branch, s.only_humans, w.days, w.first_day
    on conflict (generation, only_default_branch, only_humans, reference_id, days, first_day, pipeline) do update set
      success = t.success + excluded.success,
      failure = t.failure + excluded.failure,
      timed_out = t.timed_out + excluded.timed_out,
      error = t.error + excluded.error,
      cancelled = t.cancelled + excluded.cancelled,
      skipped = t.skipped + excluded.skipped,
      neutral = t.neutral + excluded.neutral,
      unknown = t.unknown + excluded.unknown,
      reruns = t.reruns + excluded.reruns,
      first_decided = t.first_decided + excluded.first_decided,
      first_success = t.first_success + excluded.first_success,
      last_decided = t.last_decided + excluded.last_decided,
      last_success = t.last_success + excluded.last_success,
      duration_tally = t.duration_tally + excluded.duration_tally,
      queue_tally = t.queue_tally + excluded.queue_tally;
    return;
  end if;

  insert into metrics.pipeline_spans as t (
    generation, only_default_branch, only_humans, reference_id, days, first_day, pipeline, success, failure, timed_out, error, cancelled, skipped,
    neutral, unknown, reruns, first_decided, first_success, last_decided, last_success, duration_tally, queue_tally
  )
  select *
  from (
    select
      g.id,
      s.only_default_branch,
      s.only_humans,
      c.reference_id,
      w.days,
      w.first_day,
      c.pipeline,
      coalesce(sum(c.times) filter (where c.outcome = 'success'), 0),
      coalesce(sum(c.times) filter (where c.outcome = 'failure'), 0),
      coalesce(sum(c.times) filter (where c.outcome = 'timed_out'), 0),
      coalesce(sum(c.times) filter (where c.outcome = 'error'), 0),
      coalesce(sum(c.times) filter (where c.outcome = 'cancelled'), 0),
      coalesce(sum(c.times) filter (where c.outcome = 'skipped'), 0),
      coalesce(sum(c.times) filter (where c.outcome = 'neutral'), 0),
      coalesce(sum(c.times) filter (where c.outcome = 'unknown'), 0),
      coalesce(sum(c.times) filter (where not c.is_first_try), 0),
      coalesce(sum(c.times) filter (where c.is_first_try and d.is_decided), 0),
      coalesce(sum(c.times) filter (where c.is_first_try and c.outcome = 'success'), 0),
      coalesce(sum(c.times) filter (where c.is_last_try and d.is_decided), 0),
      coalesce(sum(c.times) filter (where c.is_last_try and c.outcome = 'success'), 0),
      coalesce(sum(c.times * metrics.tally_of(metrics.bucket_of(c.duration_seconds))) filter (where c.duration_seconds is not null), 0),
      coalesce(sum(c.times * metrics.tally_of(metrics.bucket_of(c.queue_seconds))) filter (where c.queue_seconds is not null), 0)
    from unnest(counted) as c
    cross join metrics.generations as g
    cross join lateral metrics.spans_of(c.at, g.time_zone) as w
    join (
      values (28, false, false), (7, false, false), (7, false, true), (7, true, false), (7, true, true), (1, false, false)
    ) as s (days, only_default_branch, only_humans)
      on s.days = w.days
      and (c.on_default_branch or not s.only_default_branch)
      and not (c.is_bot and s.only_humans)
    cross join lateral (select c.outcome in ('success', 'failure', 'timed_out', 'error') as is_decided) as d
    where g.state = 'current'
      or (g.state = 'building' and (c.reference_id, c.at) <= (g.counted_reference, g.counted_up_to))
    group by 1, 2, 3, 4, 5, 6, 7
  ) as n (
    generation, only_default_branch, only_humans, reference_id, days, first_day, pipeline, success, failure, timed_out, error, cancelled, skipped,
    neutral, unknown, reruns, first_decided, first_success, last_decided, last_success, duration_tally, queue_tally
  )
  where (
      n.success, n.failure, n.timed_out, n.error, n.cancelled, n.skipped, n.neutral, n.unknown, n.reruns, n.first_decided, n.first_success,
      n.last_decided, n.last_success, n.duration_tally, n.queue_tally
    ) <> (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
  order by n.generation, n.only_default_branch, n.only_humans, n.reference_id, n.days, n.first_day, n.pipeline collate "C"
  on conflict (generation, only_default_branch, only_humans, reference_id, days, first_day, pipeline) do update set
    success = t.success + excluded.success,
    failure = t.failure + excluded.failure,
    timed_out = t.timed_out + excluded.timed_out,
    error = t.error + excluded.error,
    cancelled = t.cancelled + excluded.cancelled,
    skipped = t.skipped + excluded.skipped,
    neutral = t.neutral + excluded.neutral,
    unknown = t.unknown + excluded.unknown,
    reruns = t.reruns + excluded.reruns,
    first_decided = t.first_decided + excluded.first_decided,
    first_success = t.first_success + excluded.first_success,
    last_decided = t.last_decided + excluded.last_decided,
    last_success = t.last_success + excluded.last_success,
    duration_tally = t.duration_tally + excluded.duration_tally,
    queue_tally = t.queue_tally + excluded.queue_tally;

  if takes_away then
    delete from metrics.pipeline_spans as t
    using (
      select distinct g.id, c.reference_id, w.days, w.first_day, c.pipeline
      from unnest(counted) as c
      cross join metrics.generations as g
      cross join lateral metrics.spans_of(c.at, g.time_zone) as w
      where c.times < 0
    ) as k
    where t.generation = k.id
      and t.only_default_branch in (false, true)
      and t.only_humans in (false, true)
      and t.reference_id = k.reference_id
      and t.days = k.days
      and t.first_day = k.first_day
      and t.pipeline = k.pipeline
      and (
        t.success, t.failure, t.timed_out, t.error, t.cancelled, t.skipped, t.neutral, t.unknown, t.reruns, t.first_decided, t.first_success,
        t.last_decided, t.last_success, t.duration_tally, t.queue_tally
      ) = (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
  end if;
end
$$;
revoke execute on function metrics.count_runs(metrics.counted_run[], boolean) from public;

comment on function metrics.count_runs(metrics.counted_run[], boolean) is 'Adds what pipeline runs count, in every generation that is kept; takes_away says whether some of them no longer count it.';

drop function if exists metrics.count_jobs(metrics.counted_job[], boolean);

create function metrics.count_jobs(counted metrics.counted_job[], takes_away boolean)
returns void
language plpgsql
set search_path = ''
as $$
declare
  one metrics.counted_job;
  kept record;
begin
  -- Nearly always one job comes alone and ends: that needs no grouping, and a short statement.
  if cardinality(counted) = 1 and not takes_away then
    one := counted[1];
    for kept in
      select g.id, w.week
      from metrics.generations as g
      join metrics.horizons as h
        on h.fact = 'jobs'
      cross join lateral (select metrics.week_of(one.at, g.time_zone) as week offset 0) as w
      where w.week >= coalesce(h.before, '-infinity')
        and (
          g.state = 'current'
          or (g.state = 'building' and (one.reference_id, one.at) <= (g.counted_reference, g.counted_up_to))
        )
      order by g.id
    loop
      insert into metrics.job_weeks as t (
        generation, reference_id, week, pipeline, job, runner, success, failure, timed_out, error, cancelled, skipped, neutral, unknown, seconds,
        rounded_minutes, duration_tally, queue_tally
      )
      values (
        kept.id,
        one.reference_id,
        kept.week,
        one.pipeline,
        one.job,
        one.runner,
        (one.outcome = 'success')::integer,
        (one.outcome = 'failure')::integer,
        (one.outcome = 'timed_out')::integer,
        (one.outcome = 'error')::integer,
        (one.outcome = 'cancelled')::integer,
        (one.outcome = 'skipped')::integer,
        (one.outcome = 'neutral')::integer,
        (one.outcome = 'unknown')::integer,
        coalesce(one.duration_seconds::numeric, 0),
        coalesce(ceil(one.duration_seconds::numeric / 60), 0),
        case when one.duration_seconds is not null then metrics.tally_of(metrics.bucket_of(one.duration_seconds)) else 0 end,
        case when one.queue_seconds is not null then metrics.tally_of(metrics.bucket_of(one.queue_seconds)) else 0 end
      )
      on conflict (generation, reference_id, week, pipeline, job, runner) do update set
        success = t.success + excluded.success,
        failure = t.failure + excluded.failure,
        timed_out = t.timed_out + excluded.timed_out,
        error = t.error + excluded.error,
        cancelled = t.cancelled + excluded.cancelled,
        skipped = t.skipped + excluded.skipped,
        neutral = t.neutral + excluded.neutral,
        unknown = t.unknown + excluded.unknown,
        seconds = t.seconds + excluded.seconds,
        rounded_minutes = t.rounded_minutes + excluded.rounded_minutes,
        duration_tally = t.duration_tally + excluded.duration_tally,
        queue_tally = t.queue_tally + excluded.queue_tally;
    end loop;
    return;
  end if;

  insert into metrics.job_weeks as t (
    generation, reference_id, week, pipeline, job, runner, success, failure, timed_out, error, cancelled, skipped, neutral, unknown, seconds,
    rounded_minutes, duration_tally, queue_tally
  )
  select *
  from (
    select
      g.id,
      c.reference_id,
      w.week,
      c.pipeline,
      c.job,
      c.runner,
      coalesce(sum(c.times) filter (where c.outcome = 'success'), 0),
      coalesce(sum(c.times) filter (where c.outcome = 'failure'), 0),
      coalesce(sum(c.times) filter (where c.outcome = 'timed_out'), 0),
      coalesce(sum(c.times) filter (where c.outcome = 'error'), 0),
      coalesce(sum(c.times) filter (where c.outcome = 'cancelled'), 0),
      coalesce(sum(c.times) filter (where c.outcome = 'skipped'), 0),
      coalesce(sum(c.times) filter (where c.outcome = 'neutral'), 0),
      coalesce(sum(c.times) filter (where c.outcome = 'unknown'), 0),
      coalesce(sum(c.times * c.duration_seconds::numeric), 0),
      coalesce(sum(c.times * ceil(c.duration_seconds::numeric / 60)), 0),
      coalesce(sum(c.times * metrics.tally_of(metrics.bucket_of(c.duration_seconds))) filter (where c.duration_seconds is not null), 0),
      coalesce(sum(c.times * metrics.tally_of(metrics.bucket_of(c.queue_seconds))) filter (where c.queue_seconds is not null), 0)
    from unnest(counted) as c
    cross join metrics.generations as g
    join metrics.horizons as h
      on h.fact = 'jobs'
    cross join lateral (select metrics.week_of(c.at, g.time_zone) as week offset 0) as w
    -- What was counted of weeks before the horizon stays as it is, whether their jobs are dropped now or come late.
    where w.week >= coalesce(h.before, '-infinity')
      and (
        g.state = 'current'
        or (g.state = 'building' and (c.reference_id, c.at) <= (g.counted_reference, g.counted_up_to))
      )
    group by 1, 2, 3, 4, 5, 6
  ) as n (
    generation, reference_id, week, pipeline, job, runner, success, failure, timed_out, error, cancelled, skipped, neutral, unknown, seconds,
    rounded_minutes, duration_tally, queue_tally
  )
  where (
      n.success, n.failure, n.timed_out, n.error, n.cancelled, n.skipped, n.neutral, n.unknown, n.seconds, n.rounded_minutes, n.duration_tally,
      n.queue_tally
    ) <> (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
  order by n.generation, n.reference_id, n.week, n.pipeline collate "C", n.job collate "C", n.runner collate "C"
  on conflict (generation, reference_id, week, pipeline, job, runner) do update set
    success = t.success + excluded.success,
    failure = t.failure + excluded.failure,
    timed_out = t.timed_out + excluded.timed_out,
    error = t.error + excluded.error,
    cancelled = t.cancelled + excluded.cancelled,
    skipped = t.skipped + excluded.skipped,
    neutral = t.neutral + excluded.neutral,
    unknown = t.unknown + excluded.unknown,
    seconds = t.seconds + excluded.seconds,
    rounded_minutes = t.rounded_minutes + excluded.rounded_minutes,
    duration_tally = t.duration_tally + excluded.duration_tally,
    queue_tally = t.queue_tally + excluded.queue_tally;

  if takes_away then
    delete from metrics.job_weeks as t
    using (
      select distinct g.id, c.reference_id, metrics.week_of(c.at, g.time_zone) as week, c.pipeline, c.job
      from unnest(counted) as c
      cross join metrics.generations as g
      where c.times < 0
    ) as k
    where t.generation = k.id
      and t.reference_id = k.reference_id
      and t.week = k.week
      and t.pipeline = k.pipeline
      and t.job = k.job
      and (
        t.success, t.failure, t.timed_out, t.error, t.cancelled, t.skipped, t.neutral, t.unknown, t.seconds, t.rounded_minutes, t.duration_tally,
        t.queue_tally
      ) = (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
  end if;
end
$$;
revoke execute on function metrics.count_jobs(metrics.counted_job[], boolean) from public;

comment on function metrics.count_jobs(metrics.counted_job[], boolean) is 'Adds what jobs count, in every generation that is kept; takes_away says whether some of them no longer count it.';

drop function if exists metrics.lock_tries(bigint, text);

create function metrics.lock_tries(reference_id bigint, rerun_group text)
returns void
language plpgsql
set search_path = ''
as $$
begin
  perform pg_advisory_xact_lock(hashtextextended('metrics.tries ' || reference_id || ' ' || rerun_group, 0));
end
$$;
revoke execute on function metrics.lock_tries(bigint, text) from public;

comment on function metrics.lock_tries(bigint, text) is 'Takes the lock of the tries of one thing until the end of the transaction.';

-- Tries of one thing that come at the same moment must each see the other. And a call that brings several of a kind writes counters in
-- several rounds, between which nobody else may hold a counter that it still needs: it has its repositories to itself. A call that brings
-- one writes in one round, shares its repository with others of that kind, and locks its run and the tries that it is one of.
drop function if exists metrics.lock_counted(jsonb);

create function metrics.lock_counted(facts jsonb)
returns void
language plpgsql
set search_path = ''
as $$
declare
  runs constant jsonb := coalesce(facts -> 'pipeline_runs', '[]');
  jobs constant jsonb := coalesce(facts -> 'jobs', '[]');
  tests constant jsonb := coalesce(facts -> 'test_runs', '[]');
  checks constant jsonb := coalesce(facts -> 'rule_checks', '[]');
  is_alone constant boolean := greatest(
    jsonb_array_length(runs), jsonb_array_length(jobs), jsonb_array_length(tests), jsonb_array_length(checks)
  ) > 1;
  place bigint;
begin
  for place in
    -- 1024 places, because a call may bring thousands of repositories and the server has room for a few thousand locks.
    select distinct hashtextextended('metrics.counted', hashtextextended(f.said ->> 'repository', 0) & 1023)
    from jsonb_array_elements(runs || jobs || tests || checks) as f (said)
    order by 1
  loop
    if is_alone then
      perform pg_advisory_xact_lock(place);
    else
      perform pg_advisory_xact_lock_shared(place);
    end if;
  end loop;
  if runs <> '[]' and not is_alone then
    -- First the run itself: who tells of it at the same moment may be the one that says which try it is.
    perform pg_advisory_xact_lock(hashtextextended('metrics.run ' || (runs -> 0 ->> 'repository') || ' ' || (runs -> 0 ->> 'external_id'), 0));
    perform metrics.lock_tries(g.reference_id, g.rerun_group)
    from (
      select distinct r.id as reference_id, u.rerun_group collate "C" as rerun_group
      from jsonb_array_elements(runs) as f (said)
      join metrics.repository_references as r
        on r.reference = f.said ->> 'repository'
      left join metrics.pipeline_runs as p
        on p.reference_id = r.id
        and p.external_id = f.said ->> 'external_id'
        and p.attempt = coalesce((f.said ->> 'attempt')::integer, 1)
      cross join lateral (values (f.said ->> 'rerun_group'), (p.rerun_group)) as u (rerun_group)
      where u.rerun_group is not null
      order by 1, 2
    ) as g;
  end if;
end
$$;
revoke execute on function metrics.lock_counted(jsonb) from public;

comment on function metrics.lock_counted(jsonb) is 'Takes the locks that counting these observations of pipeline runs, jobs, test runs and checks needs, in one order, until the end of the transaction.';

drop function if exists metrics.mark_tries(bigint[], text[]);

create function metrics.mark_tries(reference_ids bigint[], rerun_groups text[])
returns metrics.counted_run[]
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
  counted metrics.counted_run[];
begin
  -- Held already where one run is told of; taken here by what deletes and what counts anew. A call that brings many has the whole repository.
  if cardinality(mark_tries.reference_ids) <= 4 then
    perform metrics.lock_tries(g.reference_id, g.rerun_group)
    from (
      select distinct u.reference_id, u.rerun_group collate "C" as rerun_group
      from unnest(mark_tries.reference_ids, mark_tries.rerun_groups) as u (reference_id, rerun_group)
      where u.rerun_group is not null
      order by 1, 2
    ) as g;
  end if;

  -- Nearly always it is the only try.
  if cardinality(mark_tries.reference_ids) = 1 and mark_tries.rerun_groups[1] is not null and (
    select count(*) = 1 and bool_and(p.is_first_try and p.is_last_try)
    from metrics.pipeline_runs as p
    where p.reference_id = mark_tries.reference_ids[1]
      and p.rerun_group = mark_tries.rerun_groups[1]
      and p.outcome is not null
  ) then
    return '{}';
  end if;

  with touched as (
    select distinct u.reference_id, u.rerun_group
    from unnest(mark_tries.reference_ids, mark_tries.rerun_groups) as u (reference_id, rerun_group)
  ),
  tries as (
    select
      p.reference_id,
      p.external_id,
      p.attempt,
      p.is_first_try,
      p.is_last_try,
      row_number() over tries_in_order = 1 as is_first,
      row_number() over tries_in_order = count(*) over (partition by p.reference_id, p.rerun_group) as is_last
    from touched as g
    join metrics.pipeline_runs as p
      on p.reference_id = g.reference_id
      and p.rerun_group = g.rerun_group
    where p.outcome is not null
    window tries_in_order as (
      partition by p.reference_id, p.rerun_group
      order by coalesce(p.queued_at, p.started_at, p.finished_at), p.attempt, p.external_id collate "C"
    )
  ),
  judged as (
    select *
    from tries
    union all
    -- What has left its group is alone.
    select p.reference_id, p.external_id, p.attempt, p.is_first_try, p.is_last_try, true, true
    from touched as g
    join metrics.pipeline_runs as p
      on p.reference_id = g.reference_id
    where g.rerun_group is null
      and p.rerun_group is null
      and p.outcome is not null
  ),
  marked as (
    update metrics.pipeline_runs as t
    set
      is_first_try = s.is_first,
      is_last_try = s.is_last,
      updated_at = now()
    from judged as s
    where t.reference_id = s.reference_id
      and t.external_id = s.external_id
      and t.attempt = s.attempt
      and (s.is_first_try, s.is_last_try) <> (s.is_first, s.is_last)
    returning
      t.reference_id,
      coalesce(t.pipeline, '') as pipeline,
      t.on_default_branch is true as on_default_branch,
      t.actor_is_bot is true as is_bot,
      t.ended_at as at,
      t.outcome,
      t.duration_seconds,
      t.queue_seconds,
      s.is_first_try as was_first,
      s.is_last_try as was_last,
      s.is_first,
      s.is_last
  )
  select array_agg(row(
    v.times, m.reference_id, m.pipeline, m.on_default_branch, m.is_bot, m.at, m.outcome, v.is_first_try, v.is_last_try, m.duration_seconds,
    m.queue_seconds
  )::metrics.counted_run)
  into counted
  from marked as m
  cross join lateral (values (-1, m.was_first, m.was_last), (1, m.is_first, m.is_last)) as v (times, is_first_try, is_last_try)
  where m.at is not null;
  return coalesce(counted, '{}');
end
$$;
revoke execute on function metrics.mark_tries(bigint[], text[]) from public;

comment on function metrics.mark_tries(bigint[], text[]) is 'Says again of each finished try of these things whether it is the first or the last; returns what that changes in what is counted.';

drop trigger if exists pipeline_runs_inserted on metrics.pipeline_runs;
drop trigger if exists pipeline_runs_updated on metrics.pipeline_runs;
drop trigger if exists pipeline_runs_deleted on metrics.pipeline_runs;
drop function if exists metrics.count_changed_runs();

create function metrics.count_changed_runs()
returns trigger
language plpgsql
set search_path = ''
as $$
declare
  counted metrics.counted_run[] := '{}';
  no_longer metrics.counted_run[] := '{}';
  otherwise metrics.counted_run[] := '{}';
  reference_ids bigint[];
  rerun_groups text[];
begin
  if tg_op <> 'DELETE' then
    counted := array(
      select row(
        1, n.reference_id, coalesce(n.pipeline, ''), n.on_default_branch is true, n.actor_is_bot is true,
        n.ended_at, n.outcome, n.is_first_try, n.is_last_try, n.duration_seconds, n.queue_seconds
      )::metrics.counted_run
      from new_rows as n
      where n.ended_at is not null
    );
  end if;
  if tg_op <> 'INSERT' then
    no_longer := array(
      select row(
        -1, o.reference_id, coalesce(o.pipeline, ''), o.on_default_branch is true, o.actor_is_bot is true,
        o.ended_at, o.outcome, o.is_first_try, o.is_last_try, o.duration_seconds, o.queue_seconds
      )::metrics.counted_run
      from old_rows as o
      where o.ended_at is not null
    );
  end if;

  if tg_op = 'INSERT' then
    select array_agg(n.reference_id), array_agg(n.rerun_group)
    into reference_ids, rerun_groups
    from new_rows as n
    where n.rerun_group is not null
      and n.outcome is not null;
  elsif tg_op = 'DELETE' then
    select array_agg(o.reference_id), array_agg(o.rerun_group)
    into reference_ids, rerun_groups
    from old_rows as o
    where o.rerun_group is not null
      and o.outcome is not null;
  elsif exists (
    select
    from new_rows as n
    where n.outcome is not null
  ) then
    -- No join of the two: within metrics.ingest it would compare each row with each.
    select array_agg(c.reference_id), array_agg(c.rerun_group)
    into reference_ids, rerun_groups
    from (
      select a.reference_id, a.rerun_group
      from (
        select n.reference_id, n.external_id, n.attempt, n.rerun_group, coalesce(n.queued_at, n.started_at, n.finished_at)
        from new_rows as n
        where n.outcome is not null
        except
        select o.reference_id, o.external_id, o.attempt, o.rerun_group, coalesce(o.queued_at, o.started_at, o.finished_at)
        from old_rows as o
        where o.outcome is not null
      ) as a
      where a.rerun_group is not null
      union all
      select b.reference_id, b.rerun_group
      from (
        select o.reference_id, o.external_id, o.attempt, o.rerun_group, coalesce(o.queued_at, o.started_at, o.finished_at)
        from old_rows as o
        where o.outcome is not null
        except
        select n.reference_id, n.external_id, n.attempt, n.rerun_group, coalesce(n.queued_at, n.started_at, n.finished_at)
        from new_rows as n
        where n.outcome is not null
      ) as b
      where b.rerun_group is not null
      union all
      select n.reference_id, null
      from new_rows as n
      where n.rerun_group is null
        and not (n.is_first_try and n.is_last_try)
    ) as c;
  end if;
  if reference_ids is not null then
    otherwise := metrics.mark_tries(reference_ids, rerun_groups);
  end if;

  if cardinality(counted) + cardinality(no_longer) + cardinality(otherwise) > 0 then
    perform metrics.count_runs(counted || no_longer || otherwise, cardinality(no_longer) + cardinality(otherwise) > 0);
  end if;
  return null;
end
$$;
revoke execute on function metrics.count_changed_runs() from public;

comment on function metrics.count_changed_runs() is 'Trigger: counts what changed in pipeline runs.';

drop trigger if exists jobs_inserted on metrics.jobs;
drop trigger if exists jobs_updated on metrics.jobs;
drop trigger if exists jobs_deleted on metrics.jobs;
drop function if exists metrics.count_changed_jobs();

create function metrics.count_changed_jobs()
returns trigger
language plpgsql
set search_path = ''
as $$
declare
  counted metrics.counted_job[] := '{}';
  no_longer metrics.counted_job[] := '{}';
begin
  if tg_op <> 'DELETE' then
    counted := array(
      select row(
        1, n.reference_id, coalesce(n.pipeline, ''), coalesce(n.name, ''), metrics.runner_of(n.runner_labels),
        n.ended_at, n.outcome, n.duration_seconds, n.queue_seconds
      )::metrics.counted_job
      from new_rows as n
      where n.ended_at is not null
    );
  end if;
  if tg_op <> 'INSERT' then
    no_longer := array(
      select row(
        -1, o.reference_id, coalesce(o.pipeline, ''), coalesce(o.name, ''), metrics.runner_of(o.runner_labels),
        o.ended_at, o.outcome, o.duration_seconds, o.queue_seconds
      )::metrics.counted_job
      from old_rows as o
      where o.ended_at is not null
    );
  end if;
  if cardinality(counted) + cardinality(no_longer) > 0 then
    perform metrics.count_jobs(counted || no_longer, cardinality(no_longer) > 0);
  end if;
  return null;
end
$$;
revoke execute on function metrics.count_changed_jobs() from public;

comment on function metrics.count_changed_jobs() is 'Trigger: counts what changed in jobs.';

-- A change that a trigger makes is counted by that trigger.
create trigger pipeline_runs_inserted
  after insert on metrics.pipeline_runs
  referencing new table as new_rows
  for each statement
  when (pg_trigger_depth() = 0)
  execute function metrics.count_changed_runs();

create trigger pipeline_runs_updated
  after update on metrics.pipeline_runs
  referencing old table as old_rows new table as new_rows
  for each statement
  when (pg_trigger_depth() = 0)
  execute function metrics.count_changed_runs();

create trigger pipeline_runs_deleted
  after delete on metrics.pipeline_runs
  referencing old table as old_rows
  for each statement
  when (pg_trigger_depth() = 0)
  execute function metrics.count_changed_runs();

create trigger jobs_inserted
  after insert on metrics.jobs
  referencing new table as new_rows
  for each statement
  execute function metrics.count_changed_jobs();

create trigger jobs_updated
  after update on metrics.jobs
  referencing old table as old_rows new table as new_rows
  for each statement
  execute function metrics.count_changed_jobs();

create trigger jobs_deleted
  after delete on metrics.jobs
  referencing old table as old_rows
  for each statement
  execute function metrics.count_changed_jobs();

-- The definition of what stands in the tables above: the facts themselves, read once more. So many at a time that deliveries need not wait
-- for long.
drop function if exists metrics.count_facts(integer, bigint, timestamptz, timestamptz);

create function metrics.count_facts(generation integer, reference bigint, after timestamptz, up_to timestamptz)
returns void
language plpgsql
set search_path = ''
set enable_seqscan = off
set enable_hashjoin = on
as $$
#variable_conflict use_column
declare
  time_zone text;
  horizon timestamptz;
begin
  select g.time_zone, coalesce(metrics.midnight(h.before, g.time_zone), '-infinity')
  into time_zone, horizon
  from metrics.generations as g
  left join metrics.horizons as h
    on h.fact = 'jobs'
  where g.id = count_facts.generation;
  if not found then
    raise exception using
      errcode = '22023',
      message = format('there is no generation %s', count_facts.generation);
  end if;

  -- Right already wherever the triggers saw each run come.
  perform metrics.mark_tries(array_agg(p.reference_id), array_agg(p.rerun_group))
  from metrics.pipeline_runs as p
  where p.reference_id = count_facts.reference
    and p.ended_at > count_facts.after
    and p.ended_at <= count_facts.up_to
    and p.rerun_group is not null;

  insert into metrics.pipeline_spans as t (
    generation, only_default_branch, only_humans, reference_id, days, first_day, pipeline, success, failure, timed_out, error, cancelled, skipped,
    neutral, unknown, reruns, first_decided, first_success, last_decided, last_success, duration_tally, queue_tally
  )
  -- What each run says, once, and not for each span that it lies in.
  with ended as materialized (
    select
      p.ended_at,
      coalesce(p.pipeline, '') as pipeline,
      p.on_default_branch is true as on_default_branch,
      p.actor_is_bot is true as is_bot,
      p.outcome,
      p.outcome in ('success', 'failure', 'timed_out', 'error') as is_decided,
      p.is_first_try,
      p.is_last_try,
      metrics.bucket_of(p.duration_seconds) as duration,
      metrics.bucket_of(p.queue_seconds) as queue
    from metrics.pipeline_runs as p
    where p.reference_id = count_facts.reference
      and p.ended_at > count_facts.after
      and p.ended_at <= count_facts.up_to
  ),
  runs as materialized (
    select w.days, w.first_day, e.*
    from ended as e
    cross join lateral metrics.spans_of(e.ended_at, time_zone) as w
  ),
  selections as (
    select *
    from (
      values (28, false, false), (7, false, false), (7, false, true), (7, true, false), (7, true, true), (1, false, false)
    ) as s (days, only_default_branch, only_humans)
  ),
  buckets as (
    select n.days, n.first_day, n.pipeline, n.on_default_branch, n.is_bot, m.measure, count(*) * metrics.tally_of(m.bucket) as tally
    from runs as n
    cross join lateral (values ('duration', n.duration), ('queue', n.queue)) as m (measure, bucket)
    where m.bucket is not null
    group by n.days, n.first_day, n.pipeline, n.on_default_branch, n.is_bot, m.measure, m.bucket
  ),
  tallies as (
    select
      b.days,
      b.first_day,
      b.pipeline,
      s.only_default_branch,
      s.only_humans,
      sum(b.tally) filter (where b.measure = 'duration') as duration,
      sum(b.tally) filter (where b.measure = 'queue') as queue
    from buckets as b
    join selections as s
      on s.days = b.days
      and (b.on_default_branch or not s.only_default_branch)
      and not (b.is_bot and s.only_humans)
    group by b.days, b.first_day, b.pipeline, s.only_default_branch, s.only_humans
  )
  select
    count_facts.generation,
    c.only_default_branch,
    c.only_humans,
    count_facts.reference,
    c.days,
    c.first_day,
    c.pipeline,
    c.success,
    c.failure,
    c.timed_out,
    c.error,
    c.cancelled,
    c.skipped,
    c.neutral,
    c.unknown,
    c.reruns,
    c.first_decided,
    c.first_success,
    c.last_decided,
    c.last_success,
    coalesce(l.duration, 0),
    coalesce(l.queue, 0)
  from (
    select
      n.days,
      n.first_day,
      n.pipeline,
      s.only_default_branch,
      s.only_humans,
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
      count(*) filter (where n.is_last_try and n.outcome = 'success') as last_success
    from runs as n
    join selections as s
      on s.days = n.days
      and (n.on_default_branch or not s.only_default_branch)
      and not (n.is_bot and s.only_humans)
    group by n.days, n.first_day, n.pipeline, s.only_default_branch, s.only_humans
  ) as c
  left join tallies as l
    on l.days = c.days
    and l.first_day = c.first_day
    and l.pipeline = c.pipeline
    and l.only_default_branch = c.only_default_branch
    and l.only_humans = c.only_humans
  on conflict (generation, only_default_branch, only_humans, reference_id, days, first_day, pipeline) do update set
    success = t.success + excluded.success,
    failure = t.failure + excluded.failure,
    timed_out = t.timed_out + excluded.timed_out,
    error = t.error + excluded.error,
    cancelled = t.cancelled + excluded.cancelled,
    skipped = t.skipped + excluded.skipped,
    neutral = t.neutral + excluded.neutral,
    unknown = t.unknown + excluded.unknown,
    reruns = t.reruns + excluded.reruns,
    first_decided = t.first_decided + excluded.first_decided,
    first_success = t.first_success + excluded.first_success,
    last_decided = t.last_decided + excluded.last_decided,
    last_success = t.last_success + excluded.last_success,
    duration_tally = t.duration_tally + excluded.duration_tally,
    queue_tally = t.queue_tally + excluded.queue_tally;

  -- Jobs of weeks before the horizon may be gone: see metrics.copy_frozen_weeks.
  insert into metrics.job_weeks as t (
    generation, reference_id, week, pipeline, job, runner, success, failure, timed_out, error, cancelled, skipped, neutral, unknown, seconds,
    rounded_minutes, duration_tally, queue_tally
  )
  with jobs as materialized (
    select
      metrics.week_of(j.ended_at, time_zone) as week,
      coalesce(j.pipeline, '') as pipeline,
      coalesce(j.name, '') as job,
      metrics.runner_of(j.runner_labels) as runner,
      j.outcome,
      j.duration_seconds::numeric as seconds,
      metrics.bucket_of(j.duration_seconds) as duration,
      metrics.bucket_of(j.queue_seconds) as queue
    from metrics.jobs as j
    where j.reference_id = count_facts.reference
      and j.ended_at > count_facts.after
      and j.ended_at <= count_facts.up_to
      and j.ended_at >= horizon
  ),
  tallies as (
    select
      b.week,
      b.pipeline,
      b.job,
      b.runner,
      sum(b.jobs * metrics.tally_of(b.bucket)) filter (where b.measure = 'duration') as duration,
      sum(b.jobs * metrics.tally_of(b.bucket)) filter (where b.measure = 'queue') as queue
    from (
      select n.week, n.pipeline, n.job, n.runner, m.measure, m.bucket, count(*) as jobs
      from jobs as n
      cross join lateral (values ('duration', n.duration), ('queue', n.queue)) as m (measure, bucket)
      where m.bucket is not null
      group by n.week, n.pipeline, n.job, n.runner, m.measure, m.bucket
    ) as b
    group by b.week, b.pipeline, b.job, b.runner
  )
  select
    count_facts.generation,
    count_facts.reference,
    c.week,
    c.pipeline,
    c.job,
    c.runner,
    c.success,
    c.failure,
    c.timed_out,
    c.error,
    c.cancelled,
    c.skipped,
    c.neutral,
    c.unknown,
    c.seconds,
    c.rounded_minutes,
    coalesce(l.duration, 0),
    coalesce(l.queue, 0)
  from (
    select
      n.week,
      n.pipeline,
      n.job,
      n.runner,
      count(*) filter (where n.outcome = 'success') as success,
      count(*) filter (where n.outcome = 'failure') as failure,
      count(*) filter (where n.outcome = 'timed_out') as timed_out,
      count(*) filter (where n.outcome = 'error') as error,
      count(*) filter (where n.outcome = 'cancelled') as cancelled,
      count(*) filter (where n.outcome = 'skipped') as skipped,
      count(*) filter (where n.outcome = 'neutral') as neutral,
      count(*) filter (where n.outcome = 'unknown') as unknown,
      coalesce(sum(n.seconds), 0) as seconds,
      coalesce(sum(ceil(n.seconds / 60)), 0) as rounded_minutes
    from jobs as n
    group by n.week, n.pipeline, n.job, n.runner
  ) as c
  left join tallies as l
    on l.week = c.week
    and l.pipeline = c.pipeline
    and l.job = c.job
    and l.runner = c.runner
  on conflict (generation, reference_id, week, pipeline, job, runner) do update set
    success = t.success + excluded.success,
    failure = t.failure + excluded.failure,
    timed_out = t.timed_out + excluded.timed_out,
    error = t.error + excluded.error,
    cancelled = t.cancelled + excluded.cancelled,
    skipped = t.skipped + excluded.skipped,
    neutral = t.neutral + excluded.neutral,
    unknown = t.unknown + excluded.unknown,
    seconds = t.seconds + excluded.seconds,
    rounded_minutes = t.rounded_minutes + excluded.rounded_minutes,
    duration_tally = t.duration_tally + excluded.duration_tally,
    queue_tally = t.queue_tally + excluded.queue_tally;

  perform metrics.count_pull_requests(
    array(
      select p
      from metrics.pull_requests as p
      where p.reference_id = count_facts.reference
        and p.merged_at > count_facts.after
        and p.merged_at <= count_facts.up_to
    ),
    '{}',
    count_facts.generation
  );
  perform metrics.count_reports(count_facts.generation, count_facts.reference, count_facts.after, count_facts.up_to);
end
$$;
revoke execute on function metrics.count_facts(integer, bigint, timestamptz, timestamptz) from public;

comment on function metrics.count_facts(integer, bigint, timestamptz, timestamptz) is 'Adds the pipeline runs and jobs of a reference that ended, its pull requests that were merged and what was reported of tests and rules, after a moment and up to another, to a generation that has not counted them yet. Nothing may be stored meanwhile.';

-- A slice ends with a week where it can, so that a row of a week is written once.
drop function if exists metrics.end_of_slice(integer, bigint, timestamptz, integer);

create function metrics.end_of_slice(generation integer, reference bigint, after timestamptz, most integer)
returns timestamptz
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
declare
  time_zone constant text := (
    select g.time_zone
    from metrics.generations as g
    where g.id = end_of_slice.generation
  );
  ends_at timestamptz;
  week_begins_at timestamptz;
begin
  ends_at := least(
    (
      select p.ended_at
      from metrics.pipeline_runs as p
      where p.reference_id = end_of_slice.reference
        and p.ended_at > end_of_slice.after
      order by p.ended_at
      offset most - 1
      limit 1
    ),
    (
      select j.ended_at
      from metrics.jobs as j
      where j.reference_id = end_of_slice.reference
        and j.ended_at > end_of_slice.after
      order by j.ended_at
      offset most - 1
      limit 1
    ),
    (
      select p.merged_at
      from metrics.pull_requests as p
      where p.reference_id = end_of_slice.reference
        and p.merged_at > end_of_slice.after
      order by p.merged_at
      offset most - 1
      limit 1
    ),
    (
      select t.started_at
      from metrics.test_runs as t
      where t.reference_id = end_of_slice.reference
        and t.started_at > end_of_slice.after
      order by t.started_at
      offset most - 1
      limit 1
    ),
    (
      select c.checked_at
      from metrics.rule_checks as c
      where c.reference_id = end_of_slice.reference
        and c.checked_at > end_of_slice.after
      order by c.checked_at
      offset most - 1
      limit 1
    ),
    (
      select metrics.midnight(w.week, time_zone)
      from metrics.job_weeks as w
      where w.generation = metrics.current_generation()
        and w.reference_id = end_of_slice.reference
        and w.week > metrics.week_of(end_of_slice.after, time_zone)
        and w.week < (select h.before from metrics.horizons as h where h.fact = 'jobs')
      order by w.week
      offset most - 1
      limit 1
    ),
    'infinity'
  );
  if isfinite(ends_at) then
    week_begins_at := metrics.midnight(metrics.week_of(ends_at, time_zone), time_zone);
    if week_begins_at - interval '1 microsecond' > end_of_slice.after then
      return week_begins_at - interval '1 microsecond';
    end if;
  end if;
  return ends_at;
end
$$;
revoke execute on function metrics.end_of_slice(integer, bigint, timestamptz, integer) from public;

comment on function metrics.end_of_slice(integer, bigint, timestamptz, integer) is 'Up to when a reference has no more than so many facts of a kind after a moment, and frozen rows of weeks: what metrics.count_facts is to count next. All of one moment, and all rows of one frozen week, belong together.';

drop function if exists metrics.copy_frozen_weeks(integer, bigint, timestamptz, timestamptz);

create function metrics.copy_frozen_weeks(to_generation integer, reference bigint, after timestamptz, up_to timestamptz)
returns void
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
begin
  insert into metrics.job_weeks (
    generation, reference_id, week, pipeline, job, runner, success, failure, timed_out, error, cancelled, skipped, neutral, unknown, seconds,
    rounded_minutes, duration_tally, queue_tally
  )
  select
    to_generation, w.reference_id, w.week, w.pipeline, w.job, w.runner, w.success, w.failure, w.timed_out, w.error, w.cancelled, w.skipped,
    w.neutral, w.unknown, w.seconds, w.rounded_minutes, w.duration_tally, w.queue_tally
  from metrics.generations as g
  join metrics.horizons as h
    on h.fact = 'jobs'
  join metrics.job_weeks as w
    on w.generation = metrics.current_generation()
    and w.reference_id = reference
    and w.week < h.before
    and w.week >= metrics.week_of(after, g.time_zone)
    and w.week <= metrics.week_of(up_to, g.time_zone)
  where g.id = to_generation
    and metrics.midnight(w.week, g.time_zone) > after
    and metrics.midnight(w.week, g.time_zone) <= up_to
  on conflict do nothing;
end
$$;
revoke execute on function metrics.copy_frozen_weeks(integer, bigint, timestamptz, timestamptz) from public;

comment on function metrics.copy_frozen_weeks(integer, bigint, timestamptz, timestamptz) is 'Copies what was counted of a reference in weeks before the horizon, that began after a moment and up to another, from the current generation to another, as it is. Again changes nothing.';

drop function if exists metrics.move_job_horizon(date);

create function metrics.move_job_horizon(before date)
returns date
language plpgsql
set search_path = ''
as $$
declare
  reached date;
begin
  -- Weeks that are being counted anew are frozen once that is done.
  if not exists (
    select
    from metrics.generations as g
    where g.state = 'building'
  ) then
    update metrics.horizons as h
    set before = move_job_horizon.before
    where h.fact = 'jobs'
      and coalesce(h.before, '-infinity') < move_job_horizon.before;
    if found then
      insert into metrics.frozen_weeks (fact, week, time_zone)
      select distinct 'jobs', w.week, g.time_zone
      from metrics.generations as g
      join metrics.job_weeks as w
        on w.generation = g.id
      where g.state = 'current'
        and w.week < move_job_horizon.before
      on conflict do nothing;
    end if;
  end if;
  select h.before
  into reached
  from metrics.horizons as h
  where h.fact = 'jobs';
  return reached;
end
$$;
revoke execute on function metrics.move_job_horizon(date) from public;

comment on function metrics.move_job_horizon(date) is 'Moves the horizon of jobs forward to this Monday and freezes the weeks before it; returns where it is now. Stands still while a generation is built.';
