-- The five numbers of DORA, each by itself and all in one.

set lock_timeout = '2s';
set statement_timeout = '60s';

drop function if exists metrics.selected_services(integer, text, text, text);

create function metrics.selected_services(generation integer, service text, repository text, team text)
returns table (service_id bigint, repository_id bigint, label text, repository_label text)
language plpgsql
stable
set search_path = ''
rows 200
as $$
#variable_conflict use_column
begin
  return query
  select s.id, s.repository_id, coalesce(s.name, r.label), r.label
  from (select distinct o.repository_id, o.label from metrics.selected_references(repository, team) as o) as r
  join metrics.services as s
    on s.generation = selected_services.generation
    and s.repository_id = r.repository_id
  where service is null
    or coalesce(s.name, r.label) = service;
end
$$;
revoke execute on function metrics.selected_services(integer, text, text, text) from public;

comment on function metrics.selected_services(integer, text, text, text) is 'Services that the caller may read, of this name, repository and team.';

do $$
begin
  if to_regtype('metrics.delivery_counts') is null then
    create type metrics.delivery_counts as (
      name text,
      is_asked boolean,
      bucket_start date,
      is_unknown boolean,
      days integer,
      deployments bigint,
      redeploys bigint,
      firsts bigint,
      unknown_commits bigint,
      failed_attempts bigint,
      failed_changes bigint,
      open_failures bigint,
      rolled_back bigint,
      incidents bigint,
      fixed_forward bigint,
      rework bigint,
      unlinked_incidents bigint,
      days_per_week double precision,
      has_deployed boolean,
      has_ever_deployed boolean,
      has_changes boolean,
      has_incidents boolean,
      lead_p50 double precision,
      lead_p75 double precision,
      lead_p95 double precision,
      changes bigint,
      basis jsonb,
      excluded jsonb,
      truncated_pushes bigint,
      is_lead_exact boolean,
      recovery_p50 double precision,
      recovery_p75 double precision,
      recovery_p95 double precision,
      recovered bigint,
      is_recovery_exact boolean
    );
  end if;
end
$$;

revoke usage on type metrics.delivery_counts from public;

comment on type metrics.delivery_counts is 'What all numbers about deployments are made of, for one group and bucket.';

-- What is asked for of it says wanted: frequency, lead, failures, recovery.
drop function if exists metrics.count_deliveries(metrics.period, metrics.period, text[], text, text, text, text, text, boolean, text[]);

create function metrics.count_deliveries(
  asked metrics.period,
  earlier metrics.period,
  wanted text[],
  by text,
  service text,
  repository text,
  team text,
  environment text,
  bots boolean,
  shown text[]
)
returns setof metrics.delivery_counts
language plpgsql
stable
set search_path = ''
-- Planned once: counts are looked up by an index, of each service, whatever is asked for and however much the caller may read; what is put
-- together of them is hashed.
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_tidscan = off
set enable_nestloop = off
set enable_sort = off
set jit = off
as $$
#variable_conflict use_variable
declare
  with_bots constant boolean := coalesce(bots, true);
  -- Those of humans are all less those of bots, so both are read.
  only_bots_read constant boolean[] := case when with_bots then array[false] else array[false, true] end;
  time_zone constant text := (asked).time_zone;
  today constant date := (now() at time zone (asked).time_zone)::date;
  first_day constant date := least((asked).since, (earlier).since);
  first_at constant timestamptz := metrics.midnight(first_day, time_zone);
  ends_at constant timestamptz := metrics.midnight((asked).until, time_zone);
  is_restricted constant boolean := num_nonnulls(service, repository, team) > 0;
  service_ids bigint[];
  repository_ids bigint[];
  names text[];
  is_unknown boolean;
  has_incidents boolean := false;
begin
  select
    coalesce(array_agg(s.service_id order by s.service_id), '{}'),
    coalesce(array_agg(s.repository_id order by s.service_id), '{}'),
    coalesce(array_agg(case by when 'service' then s.label when 'repository' then s.repository_label else '' end order by s.service_id), '{}')
  into service_ids, repository_ids, names
  from metrics.selected_services((asked).generation, service, repository, team) as s;
  is_unknown := is_restricted and names = '{}';
  if wanted && array['failures', 'recovery'] then
    has_incidents := exists (select from metrics.incidents);
  end if;

  return query
  with periods as materialized (
    select true as is_asked, asked as period
    union all
    select false, earlier
    where (earlier).since is not null
  ),
  -- Whether percentiles are exact is a matter of the whole selection, whatever the page shows of it.
  selection as materialized (
    select c.service_id, c.repository_id, c.name, shown is null or c.name = any(shown) as is_shown
    from unnest(service_ids, repository_ids, names) as c (service_id, repository_id, name)
  ),
  chosen as materialized (
    select s.service_id, s.repository_id, s.name
    from selection as s
    where s.is_shown
  ),
  buckets as materialized (
    select p.is_asked, b.bucket_start, b.first_day, b.end_day
    from periods as p
    cross join lateral metrics.buckets_of(p.period) as b
  ),
  days as materialized (
    select b.is_asked, b.bucket_start, b.first_day + i.n as day
    from buckets as b
    cross join lateral generate_series(0, b.end_day - b.first_day - 1) as i (n)
  ),
  weeks as materialized (
    select p.is_asked, w.bucket_start, w.week, w.first_day, w.end_day
    from periods as p
    cross join lateral metrics.nearest_weeks_of(p.period) as w
  ),
  deployment_spans as materialized (
    select p.is_asked, s.bucket_start, s.days, s.first_day, s.times
    from periods as p
    cross join lateral metrics.counted_spans_of(p.period, 7) as s
  ),
  deployment_reads as materialized (
    select s.days, array_agg(distinct s.first_day) as first_days
    from deployment_spans as s
    group by s.days
  ),
  change_spans as materialized (
    select p.is_asked, s.bucket_start, s.days, s.first_day, s.times
    from periods as p
    cross join lateral metrics.counted_spans_of(p.period, 28) as s
    where 'lead' = any(wanted)
      and environment is null
  ),
  change_reads as materialized (
    select s.days, array_agg(distinct s.first_day) as first_days
    from change_spans as s
    group by s.days
  ),
  grid as materialized (
    select
      g.name,
      b.is_asked,
      b.bucket_start,
      greatest(least(b.end_day, today + 1) - b.first_day, 0) as days,
      metrics.midnight(b.end_day, time_zone) as ends_at
    from (
      select distinct c.name from chosen as c
      union
      select '' where by = 'nothing' or is_unknown
    ) as g
    cross join buckets as b
  ),
  firsts as materialized (
    select c.name, min(f.at) as at
    from chosen as c
    cross join lateral (
      select t.at
      from metrics.service_deployments as t
      where t.generation = (asked).generation
        and t.service_id = c.service_id
        and t.outcome = 'success'
        and (environment is null or t.environment = environment)
      order by t.at
      limit 1
    ) as f
    group by c.name
  ),
  service_counts as materialized (
    select
      c.name,
      c.is_shown,
      t.days,
      t.first_day,
      sum(t.deployments) as deployments,
      sum(t.redeploys) as redeploys,
      sum(t.firsts) as firsts,
      sum(t.unknown_commits) as unknown_commits,
      sum(t.failed_attempts) as failed_attempts,
      sum(t.failed_changes) as failed_changes,
      sum(t.open_failures) as open_failures,
      sum(t.rolled_back) as rolled_back,
      sum(t.incidents) as incidents,
      sum(t.fixed_forward) as fixed_forward,
      sum(t.rework) as rework,
      (sum(t.by_day[1]) > 0)::integer + (sum(t.by_day[2]) > 0)::integer + (sum(t.by_day[3]) > 0)::integer
        + (sum(t.by_day[4]) > 0)::integer + (sum(t.by_day[5]) > 0)::integer + (sum(t.by_day[6]) > 0)::integer
        + (sum(t.by_day[7]) > 0)::integer as days_with_any,
      sum(t.recovered) as recovered,
      sum(t.recovery_tally) as recovery_tally
    from deployment_reads as r
    cross join lateral (
      select *
      from metrics.service_spans as o
      where o.generation = (asked).generation
        and o.service_id = any(service_ids)
        and o.days = r.days
        and o.first_day = any(r.first_days)
        and (environment is null or o.environment = environment)
      offset 0
    ) as t
    join selection as c
      on c.service_id = t.service_id
    group by c.name, c.is_shown, t.days, t.first_day
  ),
  deployed as materialized (
    select
      r.name,
      s.is_asked,
      s.bucket_start,
      sum(s.times * r.deployments) as deployments,
      sum(s.times * r.redeploys) as redeploys,
      sum(s.times * r.firsts) as firsts,
      sum(s.times * r.unknown_commits) as unknown_commits,
      sum(s.times * r.failed_attempts) as failed_attempts,
      sum(s.times * r.failed_changes) as failed_changes,
      sum(s.times * r.open_failures) as open_failures,
      sum(s.times * r.rolled_back) as rolled_back,
      sum(s.times * r.incidents) as incidents,
      sum(s.times * r.fixed_forward) as fixed_forward,
      sum(s.times * r.rework) as rework,
      sum(s.times * r.recovery_tally) as recovery_tally
    from service_counts as r
    join deployment_spans as s
      on s.days = r.days
      and s.first_day = r.first_day
    where r.is_shown
    group by r.name, s.is_asked, s.bucket_start
  ),
  -- Days with a deployment, of each whole week since the group's first: all of those are counted.
  weekly as (
    select
      f.name,
      w.is_asked,
      w.bucket_start,
      percentile_disc(0.5) within group (order by coalesce(r.days_with_any, 0)) as days_per_week
    from firsts as f
    join weeks as w
      on w.end_day = w.first_day + 7
      and w.week >= metrics.week_of(f.at, time_zone)
      and w.week + 7 <= today
    left join service_counts as r
      on r.name = f.name
      and r.days = 7
      and r.first_day = w.week
    where 'frequency' = any(wanted)
    group by f.name, w.is_asked, w.bucket_start
  ),
  -- Few are read one by one, so that their percentiles are exact; of many the counts are.
  recovery_sizes as materialized (
    select p.is_asked, coalesce(sum(s.times * r.recovered), 0) <= 2000 as is_small
    from periods as p
    left join deployment_spans as s
      on s.is_asked = p.is_asked
    left join service_counts as r
      on r.days = s.days
      and r.first_day = s.first_day
    where 'recovery' = any(wanted)
    group by p.is_asked
  ),
  recovery_stretches as materialized (
    select metrics.midnight(lower(r.days), time_zone) as starts_at, metrics.midnight(upper(r.days), time_zone) as ends_at
    from (
      select unnest(range_agg(daterange(d.day, d.day + 1))) as days
      from recovery_sizes as z
      join days as d
        on d.is_asked = z.is_asked
      where z.is_small
    ) as r
  ),
  recovery_values as materialized (
    select r.name, r.is_asked, r.bucket_start, metrics.seconds_of(k.bucket) as value, k.count as n
    from recovery_sizes as z
    join deployed as r
      on r.is_asked = z.is_asked
    cross join lateral metrics.counts_of(r.recovery_tally) as k
    where not z.is_small
    union all
    select c.name, d.is_asked, d.bucket_start, t.recovery_seconds, count(*)
    from recovery_stretches as s
    cross join chosen as c
    cross join lateral (
      select o.recovery_seconds, (o.recovered_at at time zone time_zone)::date as day
      from metrics.service_deployments as o
      where o.generation = (asked).generation
        and o.service_id = c.service_id
        and o.causes is not null
        and o.recovered_at >= s.starts_at
        and o.recovered_at < s.ends_at
        and o.recovery_seconds is not null
        and (environment is null or o.environment = environment)
      offset 0
    ) as t
    join days as d
      on d.day = t.day
    join recovery_sizes as z
      on z.is_asked = d.is_asked
      and z.is_small
    group by 1, 2, 3, 4
  ),
  recoveries as (
    select
      v.name,
      v.is_asked,
      v.bucket_start,
      max(v.total) as recovered,
      min(v.value) filter (where v.up_to >= ceil(0.5 * v.total)) as p50,
      min(v.value) filter (where v.up_to >= ceil(0.75 * v.total)) as p75,
      min(v.value) filter (where v.up_to >= ceil(0.95 * v.total)) as p95
    from (
      select
        r.*,
        sum(r.n) over (partition by r.name, r.is_asked, r.bucket_start order by r.value) as up_to,
        sum(r.n) over (partition by r.name, r.is_asked, r.bucket_start) as total
      from recovery_values as r
    ) as v
    group by v.name, v.is_asked, v.bucket_start
  ),
  lead_counts as materialized (
    select
      c.name,
      c.is_shown,
      t.days,
      t.first_day,
      case when t.only_bots then -1 else 1 end as sign,
      sum(t.from_commit) as from_commit,
      sum(t.from_first_commit) as from_first_commit,
      sum(t.from_pull_request_opened) as from_pull_request_opened,
      sum(t.first_deployment) as first_deployment,
      sum(t.rewritten) as rewritten,
      sum(t.order_unknown) as order_unknown,
      sum(t.start_unknown) as start_unknown,
      sum(t.start_after_shipping) as start_after_shipping,
      sum(t.lead_tally) as lead_tally
    from change_reads as r
    cross join lateral (
      select *
      from metrics.lead_time_spans as o
      where o.generation = (asked).generation
        and o.service_id = any(service_ids)
        and o.days = r.days
        and o.first_day = any(r.first_days)
        and o.only_bots = any(only_bots_read)
      offset 0
    ) as t
    join selection as c
      on c.service_id = t.service_id
    group by c.name, c.is_shown, t.days, t.first_day, t.only_bots
  ),
  -- Of one environment, which counts do not tell apart, each is read.
  lead_sizes as materialized (
    select
      p.is_asked,
      environment is not null
        or coalesce(sum(s.times * r.sign * (r.from_commit + r.from_first_commit + r.from_pull_request_opened)), 0) <= 2000 as is_small
    from periods as p
    left join change_spans as s
      on s.is_asked = p.is_asked
    left join lead_counts as r
      on r.days = s.days
      and r.first_day = s.first_day
    where 'lead' = any(wanted)
    group by p.is_asked
  ),
  lead_stretches as materialized (
    select metrics.midnight(lower(r.days), time_zone) as starts_at, metrics.midnight(upper(r.days), time_zone) as ends_at
    from (
      select unnest(range_agg(daterange(d.day, d.day + 1))) as days
      from lead_sizes as z
      join days as d
        on d.is_asked = z.is_asked
      where z.is_small
    ) as r
  ),
  led as materialized (
    select
      r.name,
      s.is_asked,
      s.bucket_start,
      sum(s.times * r.sign * r.from_commit) as from_commit,
      sum(s.times * r.sign * r.from_first_commit) as from_first_commit,
      sum(s.times * r.sign * r.from_pull_request_opened) as from_pull_request_opened,
      sum(s.times * r.sign * r.first_deployment) as first_deployment,
      sum(s.times * r.sign * r.rewritten) as rewritten,
      sum(s.times * r.sign * r.order_unknown) as order_unknown,
      sum(s.times * r.sign * r.start_unknown) as start_unknown,
      sum(s.times * r.sign * r.start_after_shipping) as start_after_shipping,
      sum(s.times * r.sign * r.lead_tally) as lead_tally
    from lead_sizes as z
    join change_spans as s
      on s.is_asked = z.is_asked
    join lead_counts as r
      on r.days = s.days
      and r.first_day = s.first_day
      and r.is_shown
    where not z.is_small
    group by r.name, s.is_asked, s.bucket_start
  ),
  lead_rows as materialized (
    select c.name, d.is_asked, d.bucket_start, t.label, t.lead_seconds, count(*) as n
    from lead_stretches as s
    cross join chosen as c
    cross join lateral (
      select
        coalesce(o.exclusion, o.basis) as label,
        case when o.exclusion is null then o.lead_seconds end as lead_seconds,
        (o.shipped_at at time zone time_zone)::date as day
      from metrics.changes as o
      where o.generation = (asked).generation
        and o.service_id = c.service_id
        and o.shipped_at >= s.starts_at
        and o.shipped_at < s.ends_at
        and coalesce(o.exclusion, '') not in ('no_change', 'merge_commit')
        and (with_bots or not o.is_bot)
        and (environment is null or exists (select from metrics.service_deployments as d where d.id = o.shipped_by and d.environment = environment))
      offset 0
    ) as t
    join days as d
      on d.day = t.day
    join lead_sizes as z
      on z.is_asked = d.is_asked
      and z.is_small
    group by 1, 2, 3, 4, 5
    union all
    -- What was not shipped counts in the days in which it began.
    select c.name, d.is_asked, d.bucket_start, t.exclusion, null, count(*)
    from lead_stretches as s
    cross join chosen as c
    cross join lateral (
      select o.exclusion, (o.started_at at time zone time_zone)::date as day
      from metrics.changes as o
      where o.generation = (asked).generation
        and o.service_id = c.service_id
        and o.exclusion in ('rewritten', 'order_unknown')
        and o.started_at >= s.starts_at
        and o.started_at < s.ends_at
        and (with_bots or not o.is_bot)
      offset 0
    ) as t
    join days as d
      on d.day = t.day
    join lead_sizes as z
      on z.is_asked = d.is_asked
      and z.is_small
    group by 1, 2, 3, 4
  ),
  told as (
    select
      l.name,
      l.is_asked,
      l.bucket_start,
      coalesce(sum(l.n) filter (where l.label in ('commit', 'first_commit', 'pull_request_opened')), 0) as changes,
      coalesce(jsonb_object_agg(l.label, l.n) filter (where l.label in ('commit', 'first_commit', 'pull_request_opened')), '{}') as basis,
      coalesce(jsonb_object_agg(l.label, l.n) filter (where l.label not in ('commit', 'first_commit', 'pull_request_opened')), '{}') as excluded
    from (
      select u.name, u.is_asked, u.bucket_start, u.label, sum(u.n) as n
      from (
        select r.name, r.is_asked, r.bucket_start, v.label, v.n
        from led as r
        cross join lateral (
          values
            ('commit', r.from_commit),
            ('first_commit', r.from_first_commit),
            ('pull_request_opened', r.from_pull_request_opened),
            ('first_deployment', r.first_deployment),
            ('rewritten', r.rewritten),
            ('order_unknown', r.order_unknown),
            ('start_unknown', r.start_unknown),
            ('start_after_shipping', r.start_after_shipping)
        ) as v (label, n)
        union all
        select r.name, r.is_asked, r.bucket_start, r.label, r.n
        from lead_rows as r
      ) as u
      group by u.name, u.is_asked, u.bucket_start, u.label
      having sum(u.n) > 0
    ) as l
    group by l.name, l.is_asked, l.bucket_start
  ),
  leads as (
    select
      v.name,
      v.is_asked,
      v.bucket_start,
      min(v.value) filter (where v.up_to >= ceil(0.5 * v.total)) as p50,
      min(v.value) filter (where v.up_to >= ceil(0.75 * v.total)) as p75,
      min(v.value) filter (where v.up_to >= ceil(0.95 * v.total)) as p95
    from (
      select
        l.*,
        sum(l.n) over (partition by l.name, l.is_asked, l.bucket_start order by l.value) as up_to,
        sum(l.n) over (partition by l.name, l.is_asked, l.bucket_start) as total
      from (
        select u.name, u.is_asked, u.bucket_start, u.value, sum(u.n) as n
        from (
          select r.name, r.is_asked, r.bucket_start, metrics.seconds_of(k.bucket) as value, k.count as n
          from led as r
          cross join lateral metrics.counts_of(r.lead_tally) as k
          union all
          select r.name, r.is_asked, r.bucket_start, r.lead_seconds, r.n
          from lead_rows as r
          where r.lead_seconds is not null
        ) as u
        group by u.name, u.is_asked, u.bucket_start, u.value
        having sum(u.n) > 0
      ) as l
    ) as v
    group by v.name, v.is_asked, v.bucket_start
  ),
  unlinked as (
    select u.name, u.is_asked, u.bucket_start, count(*) as n
    from (
      select
        case
          when f.service_id is not null then c.name
          when service is null and by <> 'service' then
            case
              when f.repository_id is not null then (select o.name from chosen as o where o.repository_id = f.repository_id limit 1)
              when not is_restricted and by = 'nothing' then ''
            end
        end as name,
        d.is_asked,
        d.bucket_start
      from metrics.deployment_failures as f
      join days as d
        on d.day = (f.at at time zone time_zone)::date
      left join chosen as c
        on c.service_id = f.service_id
      where 'failures' = any(wanted)
        and f.generation = (asked).generation
        and f.failed_id is null
        and f.at >= first_at
        and f.at < ends_at
    ) as u
    where u.name is not null
    group by u.name, u.is_asked, u.bucket_start
  ),
  truncated as (
    select c.name, d.is_asked, d.bucket_start, count(*) as n
    from (select distinct o.name, o.repository_id from chosen as o) as c
    cross join lateral (
      select (m.pushed_at at time zone time_zone)::date as day
      from metrics.branch_moves as m
      where m.generation = (asked).generation
        and m.repository_id = c.repository_id
        and m.is_truncated
        and m.pushed_at >= first_at
        and m.pushed_at < ends_at
      offset 0
    ) as m
    join days as d
      on d.day = m.day
    where 'lead' = any(wanted)
    group by c.name, d.is_asked, d.bucket_start
  ),
  -- Looked for only where no change was shipped.
  having_changes as materialized (
    select
      c.name,
      bool_or(
        exists (
          select
          from metrics.changes as t
          where t.generation = (asked).generation
            and t.service_id = c.service_id
            and t.is_listed
            and not t.is_merge_commit
            and (t.shipped_at is not null or t.gone_reason is distinct from 'taken_off')
            and (with_bots or not t.is_bot)
        )
      ) as has_changes
    from chosen as c
    group by c.name
  )
  select
    g.name,
    g.is_asked,
    g.bucket_start,
    is_unknown,
    g.days,
    coalesce(d.deployments, 0)::bigint,
    coalesce(d.redeploys, 0)::bigint,
    coalesce(d.firsts, 0)::bigint,
    coalesce(d.unknown_commits, 0)::bigint,
    coalesce(d.failed_attempts, 0)::bigint,
    coalesce(d.failed_changes, 0)::bigint,
    coalesce(d.open_failures, 0)::bigint,
    coalesce(d.rolled_back, 0)::bigint,
    coalesce(d.incidents, 0)::bigint,
    coalesce(d.fixed_forward, 0)::bigint,
    coalesce(d.rework, 0)::bigint,
    coalesce(n.n, 0)::bigint,
    w.days_per_week::double precision,
    coalesce(f.at < g.ends_at, false),
    f.at is not null,
    case
      when not 'lead' = any(wanted) then false
      when t.changes > 0 then true
      else coalesce((select h.has_changes from having_changes as h where h.name = g.name), false)
    end,
    has_incidents,
    l.p50,
    l.p75,
    l.p95,
    coalesce(t.changes, 0)::bigint,
    coalesce(t.basis, '{}'),
    coalesce(t.excluded, '{}'),
    coalesce(c.n, 0)::bigint,
    (select z.is_small from lead_sizes as z where z.is_asked = g.is_asked),
    r.p50,
    r.p75,
    r.p95,
    coalesce(r.recovered, 0)::bigint,
    (select z.is_small from recovery_sizes as z where z.is_asked = g.is_asked)
  from grid as g
  left join deployed as d
    on d.name = g.name
    and d.is_asked = g.is_asked
    and d.bucket_start is not distinct from g.bucket_start
  left join weekly as w
    on w.name = g.name
    and w.is_asked = g.is_asked
    and w.bucket_start is not distinct from g.bucket_start
  left join told as t
    on t.name = g.name
    and t.is_asked = g.is_asked
    and t.bucket_start is not distinct from g.bucket_start
  left join leads as l
    on l.name = g.name
    and l.is_asked = g.is_asked
    and l.bucket_start is not distinct from g.bucket_start
  left join recoveries as r
    on r.name = g.name
    and r.is_asked = g.is_asked
    and r.bucket_start is not distinct from g.bucket_start
  left join unlinked as n
    on n.name = g.name
    and n.is_asked = g.is_asked
    and n.bucket_start is not distinct from g.bucket_start
  left join truncated as c
    on c.name = g.name
    and c.is_asked = g.is_asked
    and c.bucket_start is not distinct from g.bucket_start
  left join firsts as f
    on f.name = g.name;
end
$$;
revoke execute on function metrics.count_deliveries(metrics.period, metrics.period, text[], text, text, text, text, text, boolean, text[]) from public;

comment on function metrics.count_deliveries(metrics.period, metrics.period, text[], text, text, text, text, text, boolean, text[]) is 'Counts what numbers about deployments are made of, for each bucket and group of a period and of one before it, if any: from the spans of days that make up each bucket, as they were counted.';

drop function if exists metrics.delivery_groups(metrics.period, text, text, text, text);

create function metrics.delivery_groups(asked metrics.period, by text, service text, repository text, team text)
returns text[]
language plpgsql
stable
set search_path = ''
as $$
#variable_conflict use_variable
declare
  groups text[];
begin
  if by = 'nothing' then
    return array[''];
  end if;
  groups := array(
    select distinct (case by when 'service' then s.label else s.repository_label end) collate "C"
    from metrics.selected_services((asked).generation, service, repository, team) as s
    order by 1
  );
  return case when groups = '{}' then array[''] else groups end;
end
$$;
revoke execute on function metrics.delivery_groups(metrics.period, text, text, text, text) from public;

comment on function metrics.delivery_groups(metrics.period, text, text, text, text) is 'Names of the groups of a number about deployments, in the order of their bytes: "" for all together, for what is not known, and where there is none, so that a row says why.';

drop function if exists metrics.delivery_page(metrics.period, text[], text, text, text, text, text, boolean);

create function metrics.delivery_page(
  asked metrics.period,
  wanted text[],
  by text,
  service text,
  repository text,
  team text,
  environment text,
  bots boolean
)
returns table (page_name text, counted metrics.delivery_counts, page_key text, total bigint)
language plpgsql
stable
set search_path = ''
rows 100
as $$
#variable_conflict use_variable
declare
  groups constant text[] := metrics.delivery_groups(asked, by, service, repository, team);
  shown constant text[] := array(select distinct coalesce(p.name, '') from metrics.page_of(asked, groups, array['']) as p);
begin
  return query
  select p.name, c, p.page_key, p.total
  from metrics.page_of(asked, groups, array['']) with ordinality as p (name, bucket_start, part, page_key, total, n)
  join metrics.count_deliveries(
    asked, null, wanted, case when groups = array[''] then 'nothing' else by end, service, repository, team, environment, bots, shown
  ) as c
    on c.name = coalesce(p.name, '')
    and c.bucket_start is not distinct from p.bucket_start
  order by p.n;
end
$$;
revoke execute on function metrics.delivery_page(metrics.period, text[], text, text, text, text, text, boolean) from public;

comment on function metrics.delivery_page(metrics.period, text[], text, text, text, text, text, boolean) is 'One page of what count_deliveries counts.';

drop function if exists metrics.deployment_frequency(date, date, text, text, text, text, text, text, text, integer);

create function metrics.deployment_frequency(
  since date default null,
  until date default null,
  bucket text default 'none',
  by text default 'nothing',
  service text default null,
  repository text default null,
  team text default null,
  environment text default null,
  page_after text default null,
  page_size integer default 100
)
returns table (
  bucket_start date,
  name text,
  deployments bigint,
  deployments_per_day double precision,
  deployment_days_per_week double precision,
  redeploys bigint,
  failed_attempts bigint,
  deployment_failure_rate double precision,
  reason text,
  page_key text,
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
  grouped text;
begin
  perform metrics.require_reader();
  asked := metrics.period_of(since, until, bucket, page_after, page_size);
  grouped := metrics.checked_word('by', by, array['nothing', 'service', 'repository']);
  return query
  select
    (p.counted).bucket_start,
    p.page_name,
    case when not (p.counted).is_unknown and (p.counted).has_deployed then (p.counted).deployments end,
    case when not (p.counted).is_unknown and (p.counted).has_deployed then (p.counted).deployments / nullif((p.counted).days, 0)::double precision end,
    (p.counted).days_per_week,
    case when not (p.counted).is_unknown and (p.counted).has_deployed then (p.counted).redeploys end,
    case when not (p.counted).is_unknown then (p.counted).failed_attempts end,
    (p.counted).failed_attempts / nullif((p.counted).failed_attempts + (p.counted).deployments, 0)::double precision,
    case
      when (p.counted).is_unknown then 'unknown_service'
      when not (p.counted).has_deployed then 'no_deployments'
      when (p.counted).days_per_week is null then 'too_few'
    end,
    p.page_key,
    p.total
  from metrics.delivery_page(asked, array['frequency'], grouped, service, repository, team, environment, true) as p;
end
$$;
revoke execute on function metrics.deployment_frequency(date, date, text, text, text, text, text, text, text, integer) from public;

comment on function metrics.deployment_frequency(date, date, text, text, text, text, text, text, text, integer) is 'How often services were deployed to production: successful deployments, on how many days of a week (the median of whole weeks since the first), again of the same commit, and attempts that did not reach it. NULL, not 0, where nothing was ever deployed.';

drop function if exists metrics.change_lead_time(date, date, text, text, text, text, text, text, boolean, text, integer);

create function metrics.change_lead_time(
  since date default null,
  until date default null,
  bucket text default 'none',
  by text default 'nothing',
  service text default null,
  repository text default null,
  team text default null,
  environment text default null,
  bots boolean default true,
  page_after text default null,
  page_size integer default 100
)
returns table (
  bucket_start date,
  name text,
  p50_seconds double precision,
  p75_seconds double precision,
  p95_seconds double precision,
  changes bigint,
  reason text,
  is_exact boolean,
  basis jsonb,
  excluded jsonb,
  unknown_commits bigint,
  truncated_pushes bigint,
  page_key text,
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
  grouped text;
begin
  perform metrics.require_reader();
  asked := metrics.period_of(since, until, bucket, page_after, page_size);
  grouped := metrics.checked_word('by', by, array['nothing', 'service', 'repository']);
  return query
  select
    (p.counted).bucket_start,
    p.page_name,
    (p.counted).lead_p50,
    (p.counted).lead_p75,
    (p.counted).lead_p95,
    case when not (p.counted).is_unknown then (p.counted).changes end,
    case
      when (p.counted).is_unknown then 'unknown_service'
      when (p.counted).changes > 0 then null
      when (p.counted).deployments = 0 then 'no_deployments'
      when (p.counted).firsts = (p.counted).deployments then 'only_first_deployment'
      when not (p.counted).has_changes then 'no_changes_seen'
      else 'too_few'
    end,
    case when not (p.counted).is_unknown then (p.counted).is_lead_exact end,
    case when not (p.counted).is_unknown then (p.counted).basis end,
    case when not (p.counted).is_unknown then (p.counted).excluded end,
    case when not (p.counted).is_unknown then (p.counted).unknown_commits end,
    case when not (p.counted).is_unknown then (p.counted).truncated_pushes end,
    p.page_key,
    p.total
  from metrics.delivery_page(asked, array['lead'], grouped, service, repository, team, environment, bots) as p;
end
$$;
revoke execute on function metrics.change_lead_time(date, date, text, text, text, text, text, text, boolean, text, integer) from public;

comment on function metrics.change_lead_time(date, date, text, text, text, text, text, text, boolean, text, integer) is 'How long changes took from their start to the first successful production deployment that contains them, in seconds, with what each time is based on and what was left out. A change counts where it was shipped.';

drop function if exists metrics.change_fail_rate(date, date, text, text, text, text, text, text, text, integer);

create function metrics.change_fail_rate(
  since date default null,
  until date default null,
  bucket text default 'none',
  by text default 'nothing',
  service text default null,
  repository text default null,
  team text default null,
  environment text default null,
  page_after text default null,
  page_size integer default 100
)
returns table (
  bucket_start date,
  name text,
  deployments bigint,
  failed_changes bigint,
  rate double precision,
  causes jsonb,
  unlinked_incidents bigint,
  reason text,
  page_key text,
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
  grouped text;
begin
  perform metrics.require_reader();
  asked := metrics.period_of(since, until, bucket, page_after, page_size);
  grouped := metrics.checked_word('by', by, array['nothing', 'service', 'repository']);
  return query
  select
    (p.counted).bucket_start,
    p.page_name,
    case when not (p.counted).is_unknown then (p.counted).deployments end,
    case when not (p.counted).is_unknown then (p.counted).failed_changes end,
    case
      when (p.counted).failed_changes > 0 or (p.counted).has_incidents
        then (p.counted).failed_changes / nullif((p.counted).deployments, 0)::double precision
    end,
    case
      when not (p.counted).is_unknown then jsonb_strip_nulls(jsonb_build_object(
        'rolled_back', nullif((p.counted).rolled_back, 0),
        'incident', nullif((p.counted).incidents, 0),
        'fixed_forward', nullif((p.counted).fixed_forward, 0)
      ))
    end,
    case when not (p.counted).is_unknown then (p.counted).unlinked_incidents end,
    case
      when (p.counted).is_unknown then 'unknown_service'
      when (p.counted).deployments = 0 then 'no_deployments'
      when (p.counted).failed_changes = 0 and not (p.counted).has_incidents then 'no_incident_source'
    end,
    p.page_key,
    p.total
  from metrics.delivery_page(asked, array['failures'], grouped, service, repository, team, environment, true) as p;
end
$$;
revoke execute on function metrics.change_fail_rate(date, date, text, text, text, text, text, text, text, integer) from public;

comment on function metrics.change_fail_rate(date, date, text, text, text, text, text, text, text, integer) is 'Which share of successful production deployments failed afterwards: rolled back, with an incident, or fixed forward. NULL where nothing failed and no incident was ever told: then nobody could know.';

drop function if exists metrics.failed_deployment_recovery_time(date, date, text, text, text, text, text, text, text, integer);

create function metrics.failed_deployment_recovery_time(
  since date default null,
  until date default null,
  bucket text default 'none',
  by text default 'nothing',
  service text default null,
  repository text default null,
  team text default null,
  environment text default null,
  page_after text default null,
  page_size integer default 100
)
returns table (
  bucket_start date,
  name text,
  p50_seconds double precision,
  p75_seconds double precision,
  p95_seconds double precision,
  recovered bigint,
  open_failures bigint,
  reason text,
  is_exact boolean,
  page_key text,
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
  grouped text;
begin
  perform metrics.require_reader();
  asked := metrics.period_of(since, until, bucket, page_after, page_size);
  grouped := metrics.checked_word('by', by, array['nothing', 'service', 'repository']);
  return query
  select
    (p.counted).bucket_start,
    p.page_name,
    (p.counted).recovery_p50,
    (p.counted).recovery_p75,
    (p.counted).recovery_p95,
    case when not (p.counted).is_unknown then (p.counted).recovered end,
    case when not (p.counted).is_unknown then (p.counted).open_failures end,
    case
      when (p.counted).is_unknown then 'unknown_service'
      when (p.counted).recovered > 0 then null
      when (p.counted).failed_changes = 0 and not (p.counted).has_incidents then 'no_incident_source'
      when not (p.counted).has_ever_deployed then 'no_deployments'
      else 'too_few'
    end,
    case when not (p.counted).is_unknown then (p.counted).is_recovery_exact end,
    p.page_key,
    p.total
  from metrics.delivery_page(asked, array['recovery'], grouped, service, repository, team, environment, true) as p;
end
$$;
revoke execute on function metrics.failed_deployment_recovery_time(date, date, text, text, text, text, text, text, text, integer) from public;

comment on function metrics.failed_deployment_recovery_time(date, date, text, text, text, text, text, text, text, integer) is 'How long it took from a failed deployment to its rollback, its fix or the end of its incident, whichever came first, in seconds. It counts where it ended; failures that nothing has ended stand beside it.';

drop function if exists metrics.deployment_rework_rate(date, date, text, text, text, text, text, text, text, integer);

create function metrics.deployment_rework_rate(
  since date default null,
  until date default null,
  bucket text default 'none',
  by text default 'nothing',
  service text default null,
  repository text default null,
  team text default null,
  environment text default null,
  page_after text default null,
  page_size integer default 100
)
returns table (
  bucket_start date,
  name text,
  deployments bigint,
  rework_deployments bigint,
  rate double precision,
  reason text,
  page_key text,
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
  grouped text;
begin
  perform metrics.require_reader();
  asked := metrics.period_of(since, until, bucket, page_after, page_size);
  grouped := metrics.checked_word('by', by, array['nothing', 'service', 'repository']);
  return query
  select
    (p.counted).bucket_start,
    p.page_name,
    case when not (p.counted).is_unknown then (p.counted).deployments end,
    case when not (p.counted).is_unknown then (p.counted).rework end,
    (p.counted).rework / nullif((p.counted).deployments, 0)::double precision,
    case
      when (p.counted).is_unknown then 'unknown_service'
      when (p.counted).deployments = 0 then 'no_deployments'
    end,
    p.page_key,
    p.total
  from metrics.delivery_page(asked, array['rework'], grouped, service, repository, team, environment, true) as p;
end
$$;
revoke execute on function metrics.deployment_rework_rate(date, date, text, text, text, text, text, text, text, integer) from public;

comment on function metrics.deployment_rework_rate(date, date, text, text, text, text, text, text, text, integer) is 'Which share of successful production deployments were made to roll back or to fix another.';

drop function if exists metrics.dora(date, date, text, text, text, text, text, text, boolean, text, integer);

create function metrics.dora(
  since date default null,
  until date default null,
  bucket text default 'none',
  by text default 'nothing',
  service text default null,
  repository text default null,
  team text default null,
  environment text default null,
  bots boolean default true,
  page_after text default null,
  page_size integer default 100
)
returns table (
  bucket_start date,
  name text,
  metric text,
  value double precision,
  unit text,
  reason text,
  band text,
  band_reason text,
  sample_size bigint,
  previous_value double precision,
  trend double precision,
  is_exact boolean,
  notes jsonb,
  page_key text,
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
  earlier metrics.period;
  grouped text;
  groups text[];
  shown text[];
  band_year constant integer := (select s.band_year from metrics.settings as s);
begin
  perform metrics.require_reader();
  asked := metrics.period_of(since, until, bucket, page_after, page_size);
  grouped := metrics.checked_word('by', by, array['nothing', 'service', 'repository']);
  groups := metrics.delivery_groups(asked, grouped, service, repository, team);
  if groups = array[''] then
    grouped := 'nothing';
  end if;
  shown := array(select distinct coalesce(p.name, '') from metrics.page_of(asked, groups, array['1', '2', '3', '4', '5']) as p);

  -- What the first bucket is compared with: the one before it, or as many days just before.
  earlier := asked;
  if asked.bucket = 'none' then
    earlier.until := asked.since;
    earlier.since := asked.since - (asked.until - asked.since);
  else
    earlier.until := date_trunc(asked.bucket, asked.since::timestamp)::date;
    earlier.since := (earlier.until - ('1 ' || asked.bucket)::interval)::date;
  end if;

  return query
  with counted as materialized (
    select *
    from metrics.count_deliveries(
      asked, earlier, array['frequency', 'lead', 'failures', 'recovery'], grouped, service, repository, team, environment, bots, shown
    )
  ),
  -- Read once: each look would ask for the caller's rights.
  bounds as materialized (
    select b.metric, b.band, b.rank, b.at_most, b.below, b.at_least
    from metrics.bands as b
    where b.report_year = band_year
  ),
  valued as (
    select
      c.name,
      c.bucket_start,
      c.is_asked,
      v.*,
      lag(v.value) over (partition by c.name, v.part order by c.is_asked, c.bucket_start) as previous_value
    from counted as c
    cross join lateral (
      values
        (
          '1',
          'deployment_frequency',
          'deployments per day',
          case when c.has_deployed then c.deployments / nullif(c.days, 0)::double precision end,
          case
            when not c.has_deployed then 'no_deployments'
            when c.days = 0 then 'too_few'
          end,
          c.days_per_week,
          case when c.days_per_week is not null then c.deployments * 30 / nullif(c.days, 0)::double precision end,
          case when c.has_deployed then c.deployments end,
          true,
          jsonb_build_object(
            'deployments', case when c.has_deployed then c.deployments end,
            'deployment_days_per_week', c.days_per_week,
            'redeploys', case when c.has_deployed then c.redeploys end,
            'failed_attempts', c.failed_attempts,
            'deployment_failure_rate', c.failed_attempts / nullif(c.failed_attempts + c.deployments, 0)::double precision
          )
        ),
        (
          '2',
          'change_lead_time',
          'seconds',
          c.lead_p50,
          case
            when c.changes > 0 then null
            when c.deployments = 0 then 'no_deployments'
            when c.firsts = c.deployments then 'only_first_deployment'
            when not c.has_changes then 'no_changes_seen'
            else 'too_few'
          end,
          c.lead_p50,
          null,
          c.changes,
          c.is_lead_exact,
          jsonb_build_object(
            'p75_seconds', c.lead_p75,
            'p95_seconds', c.lead_p95,
            'changes', c.changes,
            'basis', c.basis,
            'excluded', c.excluded,
            'unknown_commits', c.unknown_commits,
            'truncated_pushes', c.truncated_pushes
          )
        ),
        (
          '3',
          'change_fail_rate',
          'ratio',
          case when c.failed_changes > 0 or c.has_incidents then c.failed_changes / nullif(c.deployments, 0)::double precision end,
          case
            when c.deployments = 0 then 'no_deployments'
            when c.failed_changes = 0 and not c.has_incidents then 'no_incident_source'
          end,
          case when c.failed_changes > 0 or c.has_incidents then c.failed_changes / nullif(c.deployments, 0)::double precision end,
          null,
          c.deployments,
          true,
          jsonb_build_object(
            'deployments', c.deployments,
            'failed_changes', c.failed_changes,
            'causes', jsonb_strip_nulls(jsonb_build_object(
              'rolled_back', nullif(c.rolled_back, 0),
              'incident', nullif(c.incidents, 0),
              'fixed_forward', nullif(c.fixed_forward, 0)
            )),
            'unlinked_incidents', c.unlinked_incidents
          )
        ),
        (
          '4',
          'failed_deployment_recovery_time',
          'seconds',
          c.recovery_p50,
          case
            when c.recovered > 0 then null
            when c.failed_changes = 0 and not c.has_incidents then 'no_incident_source'
            when not c.has_ever_deployed then 'no_deployments'
            else 'too_few'
          end,
          c.recovery_p50,
          null,
          c.recovered,
          c.is_recovery_exact,
          jsonb_build_object('p75_seconds', c.recovery_p75, 'p95_seconds', c.recovery_p95, 'recovered', c.recovered, 'open_failures', c.open_failures)
        ),
        (
          '5',
          'deployment_rework_rate',
          'ratio',
          c.rework / nullif(c.deployments, 0)::double precision,
          case when c.deployments = 0 then 'no_deployments' end,
          null,
          null,
          c.deployments,
          true,
          jsonb_build_object('deployments', c.deployments, 'rework_deployments', c.rework)
        )
    ) as v (part, metric, unit, value, reason, banded, banded_a_month, sample_size, is_exact, notes)
  )
  select
    p.bucket_start,
    p.name,
    v.metric,
    v.value,
    v.unit,
    case when c.is_unknown then 'unknown_service' else v.reason end,
    b.band,
    case
      when b.band is not null then null
      when v.metric = 'deployment_rework_rate' then 'no_band'
      when c.is_unknown then 'unknown_service'
      else coalesce(v.reason, 'too_few')
    end,
    case when not c.is_unknown then v.sample_size end,
    v.previous_value,
    v.value - v.previous_value,
    case when not c.is_unknown then v.is_exact end,
    case when not c.is_unknown then v.notes end,
    p.page_key,
    p.total
  from metrics.page_of(asked, groups, array['1', '2', '3', '4', '5']) with ordinality as p (name, bucket_start, part, page_key, total, n)
  join valued as v
    on v.is_asked
    and v.name = coalesce(p.name, '')
    and v.bucket_start is not distinct from p.bucket_start
    and v.part = p.part
  join counted as c
    on c.is_asked
    and c.name = v.name
    and c.bucket_start is not distinct from v.bucket_start
  left join lateral (
    select o.band
    from bounds as o
    cross join lateral (
      select case o.metric when v.metric then v.banded when 'deployments_per_month' then v.banded_a_month end as value
    ) as u
    where u.value <= o.at_most
      or u.value < o.below
      or u.value >= o.at_least
    -- What a month holds says something only where weeks do not.
    order by o.metric = v.metric desc, o.rank
    limit 1
  ) as b
    on true
  order by p.n;
end
$$;
revoke execute on function metrics.dora(date, date, text, text, text, text, text, text, boolean, text, integer) from public;

comment on function metrics.dora(date, date, text, text, text, text, text, text, boolean, text, integer) is 'The five numbers of DORA for production deployments: a row for each bucket, group and number, with its band, sample size and trend.';
