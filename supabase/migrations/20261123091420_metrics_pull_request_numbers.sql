-- How long pull requests take, by phase: coding, pickup, review, merge, deploy, and in total.

set lock_timeout = '2s';
set statement_timeout = '60s';

drop function if exists metrics.pull_request_cycle_time(date, date, text, text, text, text, boolean, text, integer);

create function metrics.pull_request_cycle_time(
  since date default null,
  until date default null,
  bucket text default 'none',
  by text default 'nothing',
  repository text default null,
  team text default null,
  bots boolean default true,
  page_after text default null,
  page_size integer default 100
)
returns table (
  bucket_start date,
  name text,
  phase text,
  p50_seconds double precision,
  p75_seconds double precision,
  p95_seconds double precision,
  sample_size bigint,
  pull_requests bigint,
  reason text,
  is_exact boolean,
  page_key text,
  total bigint
)
language plpgsql
stable
set search_path = ''
set statement_timeout = '5s'
-- The best plan for one repository and for all, for a day and for years, differ; and each goes by an index, whatever the planner guesses of
-- how much the caller may read.
set plan_cache_mode = force_custom_plan
set enable_seqscan = off
set enable_tidscan = off
set enable_memoize = off
as $$
#variable_conflict use_column
declare
  phases constant text[] := array['coding', 'pickup', 'review', 'merge', 'deploy', 'total'];
  parts constant text[] := array['1', '2', '3', '4', '5', '6'];
  fractions constant double precision[] := array[0.5, 0.75, 0.95];
  with_bots constant boolean := coalesce(bots, true);
  asked metrics.period;
  whole metrics.period;
  grouped text;
  is_unknown boolean;
  references_read bigint[];
  repositories_read bigint[];
  names text[];
  groups text[];
  groups_shown text[];
  first_day date;
  end_day date;
  first_bucket date;
  last_bucket date;
  counted bigint;
  is_small boolean;
begin
  perform metrics.require_reader();
  asked := metrics.period_of(since, until, bucket, page_after, page_size);
  grouped := metrics.checked_word('by', by, array['nothing', 'repository']);
  select
    coalesce(array_agg(s.reference_id), '{}'),
    coalesce(array_agg(s.repository_id), '{}'),
    coalesce(array_agg(case when grouped = 'repository' then s.label else '' end), '{}')
  into references_read, repositories_read, names
  from metrics.selected_references(repository, team) as s (reference_id, repository_id, label);
  is_unknown := names = '{}' and num_nonnulls(repository, team) > 0;
  groups := case
    when is_unknown or grouped = 'nothing' then array['']
    else array(
      select distinct n collate "C"
      from unnest(names) as n
      order by 1
    )
  end;

  -- The whole period decides whether percentiles are exact, whatever the page shows of it.
  whole := asked;
  whole.bucket := 'none';
  select coalesce(sum(c.human + case when with_bots then c.bot else 0 end), 0)
  into counted
  from metrics.pull_request_week_counts as c
  where c.generation = asked.generation
    and c.reference_id = any(references_read)
    and c.week >= (select min(w.week) from metrics.whole_weeks_of(whole) as w)
    and c.week <= (select max(w.week) from metrics.whole_weeks_of(whole) as w);
  if counted <= 10000 then
    select counted + coalesce(sum(p.pull_requests), 0)
    into counted
    from metrics.days_beside_weeks_of(whole) as d
    cross join unnest(references_read) as r (reference_id)
    cross join lateral (
      select count(*) as pull_requests
      from metrics.pull_requests as p
      where p.reference_id = r.reference_id
        and p.merged_at >= d.starts_at
        and p.merged_at < d.ends_at
        and (with_bots or p.author_is_bot is not true)
    ) as p;
  end if;
  is_small := counted <= 10000;

  -- Facts are read of what stands on the page alone.
  select min(b.first_day), max(b.end_day), min(b.bucket_start), max(b.bucket_start), array_agg(distinct coalesce(g.name, ''))
  into first_day, end_day, first_bucket, last_bucket, groups_shown
  from metrics.page_of(asked, groups, parts) as g
  join metrics.buckets_of(asked) as b
    on b.bucket_start is not distinct from g.bucket_start;
  select coalesce(array_agg(r.reference_id), '{}'), coalesce(array_agg(r.repository_id), '{}'), coalesce(array_agg(r.name), '{}')
  into references_read, repositories_read, names
  from unnest(references_read, repositories_read, names) as r (reference_id, repository_id, name)
  where r.name = any(groups_shown);

  return query
  with chosen as (
    select r.reference_id, r.repository_id, r.name
    from unnest(references_read, repositories_read, names) as r (reference_id, repository_id, name)
  ),
  -- Few: each by itself. What deploying took stands with the commit that a pull request became.
  shipped as (
    select c.pull_request_reference_id as reference_id, c.pull_request_number as number, min(c.shipped_at) as at
    from metrics.changes as c
    where is_small
      and c.generation = asked.generation
      and c.repository_id = any(repositories_read)
      and c.merged_at >= metrics.midnight(first_day, asked.time_zone)
      and c.merged_at < metrics.midnight(end_day, asked.time_zone)
    group by 1, 2
  ),
  merged as (
    select
      r.name,
      case
        when asked.bucket <> 'none' then date_trunc(asked.bucket, p.merged_at at time zone asked.time_zone)::date
      end as bucket_start,
      p.coding_seconds,
      p.pickup_seconds,
      p.review_seconds,
      p.merge_seconds,
      case when d.at >= p.merged_at then extract(epoch from d.at - p.merged_at)::double precision end as deploy_seconds,
      p.total_seconds
    from chosen as r
    join metrics.pull_requests as p
      on p.reference_id = r.reference_id
      and p.merged_at >= metrics.midnight(first_day, asked.time_zone)
      and p.merged_at < metrics.midnight(end_day, asked.time_zone)
    left join shipped as s
      on s.reference_id = p.reference_id
      and s.number = p.number
    cross join lateral (
      select case
        when s.number is not null then s.at
        -- A commit tells of one pull request, that of the least number; another may have become the same commit.
        when p.merge_sha is not null then (
          select min(c.shipped_at)
          from metrics.changes as c
          where c.generation = asked.generation
            and c.repository_id = r.repository_id
            and c.sha = p.merge_sha
        )
      end as at
      offset 0
    ) as d
    where is_small
      and (with_bots or p.author_is_bot is not true)
  ),
  -- Many: weeks as they were counted, and the days by which those miss the period.
  tallies as (
    select r.name, w.bucket_start, array_position(phases, t.phase)::text as part, t.human + case when with_bots then t.bot else 0 end as tally
    from chosen as r
    join metrics.pull_request_weeks as t
      on t.generation = asked.generation
      and t.reference_id = r.reference_id
      and t.week > first_day - 7
      and t.week < end_day
    join metrics.nearest_weeks_of(asked) as w
      on w.week = t.week
      and w.is_counted
      and w.first_day >= first_day
      and w.end_day <= end_day
    where not is_small
    union all
    select r.name, w.bucket_start, '0', c.human + case when with_bots then c.bot else 0 end
    from chosen as r
    join metrics.pull_request_week_counts as c
      on c.generation = asked.generation
      and c.reference_id = r.reference_id
      and c.week > first_day - 7
      and c.week < end_day
    join metrics.nearest_weeks_of(asked) as w
      on w.week = c.week
      and w.is_counted
      and w.first_day >= first_day
      and w.end_day <= end_day
    where not is_small
    union all
    select e.name, e.bucket_start, e.part, e.times * metrics.tally_of(e.bucket)
    from (
      select r.name, d.bucket_start, v.part, metrics.bucket_of(v.seconds) as bucket, sum(d.times) as times
      from metrics.days_off_weeks_of(asked) as d
      cross join chosen as r
      cross join lateral (
        select *
        from metrics.pull_requests as p
        where p.reference_id = r.reference_id
          and p.merged_at >= d.starts_at
          and p.merged_at < d.ends_at
          and (with_bots or p.author_is_bot is not true)
        offset 0
      ) as p
      cross join lateral (
        values
          ('0', 0),
          ('1', p.coding_seconds),
          ('2', p.pickup_seconds),
          ('3', p.review_seconds),
          ('4', p.merge_seconds),
          ('6', p.total_seconds)
      ) as v (part, seconds)
      where not is_small
        and (d.bucket_start between first_bucket and last_bucket) is not false
        and v.seconds is not null
      group by 1, 2, 3, 4
      union all
      select
        r.name,
        d.bucket_start,
        '5',
        metrics.bucket_of(extract(epoch from c.at - c.merged_at)::double precision),
        sum(d.times)
      from metrics.days_off_weeks_of(asked) as d
      cross join (
        select distinct o.repository_id, o.name
        from chosen as o
      ) as r
      cross join lateral (
        select c.pull_request_reference_id, c.pull_request_number, c.merged_at, min(c.shipped_at) as at
        from metrics.changes as c
        where c.generation = asked.generation
          and c.repository_id = r.repository_id
          and c.merged_at >= d.starts_at
          and c.merged_at < d.ends_at
          and (with_bots or c.pull_request_is_bot is not true)
        group by 1, 2, 3
      ) as c
      where not is_small
        and (d.bucket_start between first_bucket and last_bucket) is not false
        and c.at >= c.merged_at
      group by 1, 2, 3, 4
    ) as e
  ),
  samples as (
    select m.name, m.bucket_start, v.part, v.sample_size, v.percentiles
    from (
      select
        d.name,
        d.bucket_start,
        count(*) as pull_requests,
        count(d.coding_seconds) as coding,
        percentile_disc(fractions) within group (order by d.coding_seconds) as codings,
        count(d.pickup_seconds) as pickup,
        percentile_disc(fractions) within group (order by d.pickup_seconds) as pickups,
        count(d.review_seconds) as review,
        percentile_disc(fractions) within group (order by d.review_seconds) as reviews,
        count(d.merge_seconds) as merge,
        percentile_disc(fractions) within group (order by d.merge_seconds) as merges,
        count(d.deploy_seconds) as deploy,
        percentile_disc(fractions) within group (order by d.deploy_seconds) as deploys,
        count(d.total_seconds) as total,
        percentile_disc(fractions) within group (order by d.total_seconds) as totals
      from merged as d
      group by d.name, d.bucket_start
    ) as m
    cross join lateral (
      values
        ('0', m.pull_requests, null),
        ('1', m.coding, m.codings),
        ('2', m.pickup, m.pickups),
        ('3', m.review, m.reviews),
        ('4', m.merge, m.merges),
        ('5', m.deploy, m.deploys),
        ('6', m.total, m.totals)
    ) as v (part, sample_size, percentiles)
    union all
    select t.name, t.bucket_start, t.part, p.sample_size, p.percentiles
    from (
      select t.name, t.bucket_start, t.part, sum(t.tally) as tally
      from tallies as t
      group by 1, 2, 3
    ) as t
    cross join lateral metrics.percentiles_of(t.tally, fractions) as p
  )
  select
    g.bucket_start,
    g.name,
    phases[g.part::integer],
    s.percentiles[1],
    s.percentiles[2],
    s.percentiles[3],
    case when not is_unknown then coalesce(s.sample_size, 0) end,
    case when not is_unknown then coalesce(n.sample_size, 0) end,
    case
      when is_unknown then 'unknown_service'
      when s.sample_size > 0 then null
      when g.part = '5' and not exists (
        select
        from chosen as r
        join metrics.service_deployments as d
          on d.generation = asked.generation
          and d.repository_id = r.repository_id
          and d.outcome = 'success'
        where r.name = coalesce(g.name, '')
      ) then 'no_deployments'
      else 'too_few'
    end,
    case when not is_unknown then is_small end,
    g.page_key,
    g.total
  from metrics.page_of(asked, groups, parts) as g
  left join samples as s
    on s.name = coalesce(g.name, '')
    and s.bucket_start is not distinct from g.bucket_start
    and s.part = g.part
  left join samples as n
    on n.name = coalesce(g.name, '')
    and n.bucket_start is not distinct from g.bucket_start
    and n.part = '0'
  order by g.name collate "C" nulls first, g.bucket_start, g.part;
end
$$;
revoke execute on function metrics.pull_request_cycle_time(date, date, text, text, text, text, boolean, text, integer) from public;

comment on function metrics.pull_request_cycle_time(date, date, text, text, text, text, boolean, text, integer) is 'How long merged pull requests took: the median, p75 and p95 of each phase in seconds, of those merged in the period, by bucket (day, week, month, none) and by nothing or repository. A phase with a missing end is not in the sample. Exact up to 10,000 pull requests, else at most 4.9 % off. Reasons: unknown_service, no_deployments (of the phase deploy), too_few. Raises 22023 for what cannot be asked.';

drop function if exists metrics.pull_request_cycle_time_evidence(date, date, text, text, boolean, text, integer);

create function metrics.pull_request_cycle_time_evidence(
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
set plan_cache_mode = force_custom_plan
set enable_seqscan = off
set enable_tidscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
#variable_conflict use_column
declare
  with_bots constant boolean := coalesce(bots, true);
  asked metrics.period;
  after metrics.evidence_key;
  begins_at timestamptz;
  references_read bigint[];
  repositories_read bigint[];
  names text[];
  rows_in_all bigint;
begin
  perform metrics.require_reader();
  asked := metrics.period_of(since, until, 'none', page_after, page_size);
  after := metrics.evidence_after(asked);
  begins_at := greatest(after.happened_at, metrics.midnight(asked.since, asked.time_zone));
  select coalesce(array_agg(s.reference_id), '{}'), coalesce(array_agg(s.repository_id), '{}'), coalesce(array_agg(s.label), '{}')
  into references_read, repositories_read, names
  from metrics.selected_references(repository, team) as s (reference_id, repository_id, label);

  select coalesce(sum(n.pull_requests), 0)
  into rows_in_all
  from (
    select sum(c.human + case when with_bots then c.bot else 0 end) as pull_requests
    from metrics.pull_request_week_counts as c
    where c.generation = asked.generation
      and c.reference_id = any(references_read)
      and c.week >= (select min(w.week) from metrics.whole_weeks_of(asked) as w)
      and c.week <= (select max(w.week) from metrics.whole_weeks_of(asked) as w)
    union all
    select p.pull_requests
    from metrics.days_beside_weeks_of(asked) as d
    cross join unnest(references_read) as r (reference_id)
    cross join lateral (
      select count(*) as pull_requests
      from metrics.pull_requests as p
      where p.reference_id = r.reference_id
        and p.merged_at >= d.starts_at
        and p.merged_at < d.ends_at
        and (with_bots or p.author_is_bot is not true)
    ) as p
  ) as n;

  return query
  select
    e.merged_at,
    e.name,
    null::text,
    'pull_request',
    e.number::text,
    e.merge_sha,
    e.title,
    e.total_seconds,
    'seconds',
    case when e.total_seconds is null then 'too_few' end,
    e.url,
    jsonb_build_object(
      'coding', e.coding_seconds,
      'pickup', e.pickup_seconds,
      'review', e.review_seconds,
      'merge', e.merge_seconds,
      'deploy', (
        select case when min(c.shipped_at) >= e.merged_at then extract(epoch from min(c.shipped_at) - e.merged_at)::double precision end
        from metrics.changes as c
        where c.generation = asked.generation
          and c.repository_id = e.repository_id
          and c.sha = e.merge_sha
      ),
      'total', e.total_seconds
    ),
    metrics.evidence_page_key(e.merged_at, e.name, 'pull_request', e.number::text),
    rows_in_all
  from (
    select r.name, r.repository_id, p.*
    from unnest(references_read, repositories_read, names) as r (reference_id, repository_id, name)
    -- A page of each reference, in the order of its index: the page of all is among them.
    cross join lateral (
      select q.*
      from metrics.pull_requests as q
      where q.reference_id = r.reference_id
        and q.merged_at >= begins_at
        and q.merged_at < metrics.midnight(asked.until, asked.time_zone)
        and (with_bots or q.author_is_bot is not true)
        and (
          after.happened_at is null
          or (q.merged_at, r.name collate "C", 'pull_request' collate "C", q.number::text collate "C")
            > (after.happened_at, after.repository, after.kind, after.external_id)
        )
      order by q.merged_at, q.number::text collate "C"
      limit asked.page_size
    ) as p
    order by p.merged_at, r.name collate "C", p.number::text collate "C"
    limit asked.page_size
  ) as e
  order by e.merged_at, e.name collate "C", e.number::text collate "C";
end
$$;
revoke execute on function metrics.pull_request_cycle_time_evidence(date, date, text, text, boolean, text, integer) from public;

comment on function metrics.pull_request_cycle_time_evidence(date, date, text, text, boolean, text, integer) is 'The merged pull requests behind pull_request_cycle_time, in the order of merging: value is the total in seconds, detail the seconds of each phase.';
