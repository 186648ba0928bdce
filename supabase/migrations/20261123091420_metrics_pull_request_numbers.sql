-- How long pull requests take, by phase: coding, pickup, review, merge, deploy, and in total.

set lock_timeout = '2s';
set statement_timeout = '60s';

do $$
begin
  if to_regtype('metrics.phase_sample') is null then
    create type metrics.phase_sample as (
      name text,
      bucket_start date,
      part text,
      sample_size bigint,
      percentiles double precision[]
    );
  end if;
end
$$;

revoke usage on type metrics.phase_sample from public;

comment on type metrics.phase_sample is 'How long one phase of the pull requests of a group took in a bucket; part 0 counts the pull requests themselves.';

drop function if exists metrics.merged_pull_requests(metrics.period, bigint[], boolean);

create function metrics.merged_pull_requests(asked metrics.period, reference_ids bigint[], with_bots boolean)
returns bigint
language plpgsql
stable
set search_path = ''
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_tidscan = off
as $$
declare
  -- Those of humans are all less those of bots, so both are read.
  only_bots_read constant boolean[] := case when with_bots then array[false] else array[false, true] end;
begin
  return (
    with spans as materialized (
      select *
      from metrics.counted_spans_of(asked, 28)
    ),
    reads as materialized (
      select p.days, array_agg(distinct p.first_day) as first_days
      from spans as p
      group by p.days
    )
    select coalesce(sum(p.times * c.sign * c.pull_requests), 0)
    from reads as d
    cross join lateral (
      select o.days, o.first_day, case when o.only_bots then -1 else 1 end as sign, o.pull_requests
      from metrics.pull_request_spans as o
      where o.generation = asked.generation
        and o.reference_id = any(merged_pull_requests.reference_ids)
        and o.days = d.days
        and o.first_day = any(d.first_days)
        and o.only_bots = any(only_bots_read)
      offset 0
    ) as c
    join spans as p
      on p.days = c.days
      and p.first_day = c.first_day
  );
end
$$;
revoke execute on function metrics.merged_pull_requests(metrics.period, bigint[], boolean) from public;

comment on function metrics.merged_pull_requests(metrics.period, bigint[], boolean) is 'How many pull requests were merged in a period, which is to have one bucket.';

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
-- Planned once: facts and counts are looked up by an index, of each repository, whatever is asked for and however much the caller may read;
-- what is put together of them is little, or hashed.
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_tidscan = off
set enable_bitmapscan = off
set enable_nestloop = off
set enable_sort = off
set enable_memoize = off
set jit = off
as $$
#variable_conflict use_column
declare
  phases constant text[] := array['coding', 'pickup', 'review', 'merge', 'deploy', 'total'];
  parts constant text[] := array['1', '2', '3', '4', '5', '6'];
  fractions constant double precision[] := array[0.5, 0.75, 0.95];
  with_bots constant boolean := coalesce(bots, true);
  -- Those of humans are all less those of bots, so both are read.
  only_bots_read constant boolean[] := case when with_bots then array[false] else array[false, true] end;
  asked metrics.period;
  whole metrics.period;
  grouped text;
  is_unknown boolean;
  references_read bigint[];
  repositories_read bigint[];
  names text[];
  groups text[];
  groups_shown text[];
  page_since date;
  page_until date;
  begins_at timestamptz;
  ends_at timestamptz;
  first_bucket date;
  last_bucket date;
  is_small boolean;
  rows_looked_at integer;
  samples metrics.phase_sample[];
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

  -- The whole period decides whether percentiles are exact, whatever the page shows of it: whether there are at most 2,000. Where there are
  -- many, the first weeks within it say so; of humans they do not, since a part of a difference is no lower bound.
  if with_bots then
    foreach rows_looked_at in array array[100, 1000] loop
      select sum(c.pull_requests) <= 2000
      into is_small
      from (
        select w.pull_requests
        from unnest(references_read) as r (reference_id)
        cross join lateral (
          select o.pull_requests
          from metrics.pull_request_spans as o
          where o.generation = asked.generation
            and o.reference_id = r.reference_id
            and o.days = 7
            and o.first_day >= asked.since
            and o.first_day <= asked.until - 7
            and not o.only_bots
          offset 0
        ) as w
        limit rows_looked_at
      ) as c;
      exit when not is_small;
    end loop;
  end if;
  if is_small is not false then
    whole := asked;
    whole.bucket := 'none';
    is_small := metrics.merged_pull_requests(whole, references_read, with_bots) <= 2000;
  end if;

  -- Facts are read of what stands on the page alone.
  select min(b.first_day), max(b.end_day), min(b.bucket_start), max(b.bucket_start), array_agg(distinct coalesce(g.name, ''))
  into page_since, page_until, first_bucket, last_bucket, groups_shown
  from metrics.page_of(asked, groups, parts) as g
  join metrics.buckets_of(asked) as b
    on b.bucket_start is not distinct from g.bucket_start;
  select coalesce(array_agg(r.reference_id), '{}'), coalesce(array_agg(r.repository_id), '{}'), coalesce(array_agg(r.name), '{}')
  into references_read, repositories_read, names
  from unnest(references_read, repositories_read, names) as r (reference_id, repository_id, name)
  where r.name = any(groups_shown);
  begins_at := metrics.midnight(page_since, asked.time_zone);
  ends_at := metrics.midnight(page_until, asked.time_zone);

  if is_small then
    -- Each by itself. What deploying took stands with the commit that a pull request became, and a commit tells of one of them: of several
    -- merged ones, that of the least number.
    samples := array(
      with shipped as (
        select c.pull_request_reference_id as reference_id, c.pull_request_number as number, min(c.shipped_at) as at
        from (select distinct o.repository_id from unnest(repositories_read) as o (repository_id)) as r
        cross join lateral (
          select o.pull_request_reference_id, o.pull_request_number, o.shipped_at
          from metrics.changes as o
          where o.generation = asked.generation
            and o.repository_id = r.repository_id
            and o.merged_at >= begins_at
            and o.merged_at < ends_at
          offset 0
        ) as c
        group by 1, 2
      ),
      merged as (
        select
          r.place,
          case
            when asked.bucket <> 'none' then date_trunc(asked.bucket, p.merged_at at time zone asked.time_zone)::date
          end as bucket_start,
          p.coding_seconds,
          p.pickup_seconds,
          p.review_seconds,
          p.merge_seconds,
          p.total_seconds,
          p.merged_at,
          s.at as deployed_at
        from (
          select o.reference_id, array_position(groups_shown, o.name) as place
          from unnest(references_read, names) as o (reference_id, name)
        ) as r
        cross join lateral (
          select *
          from metrics.pull_requests as q
          where q.reference_id = r.reference_id
            and q.merged_at >= begins_at
            and q.merged_at < ends_at
            and (with_bots or q.author_is_bot is not true)
          offset 0
        ) as p
        left join shipped as s
          on s.reference_id = p.reference_id
          and s.number = p.number
        offset 0
      )
      select row(groups_shown[m.place], m.bucket_start, v.part, v.sample_size, v.percentiles)::metrics.phase_sample
      from (
        select
          d.place,
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
        from (
          select
            n.*,
            case when n.deployed_at >= n.merged_at then extract(epoch from n.deployed_at - n.merged_at)::double precision end as deploy_seconds
          from merged as n
        ) as d
        group by d.place, d.bucket_start
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
    );
  else
    -- As they were counted, by the spans that make up the period.
    samples := array(
      with chosen as materialized (
        select r.reference_id, array_position(groups_shown, r.name) as place
        from unnest(references_read, names) as r (reference_id, name)
      ),
      spans as materialized (
        select p.bucket_start, p.days, p.first_day, p.times
        from metrics.counted_spans_of(asked, 28) as p
        where (p.bucket_start between first_bucket and last_bucket) is not false
      ),
      reads as materialized (
        select p.days, array_agg(distinct p.first_day) as first_days
        from spans as p
        group by p.days
      ),
      counts as materialized (
        select
          r.place,
          t.days,
          t.first_day,
          case when t.only_bots then -1 else 1 end as sign,
          sum(t.pull_requests) as pull_requests,
          sum(t.coding) as coding,
          sum(t.pickup) as pickup,
          sum(t.review) as review,
          sum(t.merge) as merge,
          sum(t.deploy) as deploy,
          sum(t.total) as total
        from reads as d
        cross join lateral (
          select *
          from metrics.pull_request_spans as c
          where c.generation = asked.generation
            and c.reference_id = any(references_read)
            and c.days = d.days
            and c.first_day = any(d.first_days)
            and c.only_bots = any(only_bots_read)
          offset 0
        ) as t
        join chosen as r
          on r.reference_id = t.reference_id
        group by 1, 2, 3, 4
      )
      select row(groups_shown[t.place], t.bucket_start, p.part, p.sample_size, p.percentiles)::metrics.phase_sample
      from (
        select
          c.place,
          p.bucket_start,
          sum(p.times * c.sign * c.pull_requests)::bigint as pull_requests,
          sum(p.times * c.sign * c.coding) as coding,
          sum(p.times * c.sign * c.pickup) as pickup,
          sum(p.times * c.sign * c.review) as review,
          sum(p.times * c.sign * c.merge) as merge,
          sum(p.times * c.sign * c.deploy) as deploy,
          sum(p.times * c.sign * c.total) as total
        from counts as c
        join spans as p
          on p.days = c.days
          and p.first_day = c.first_day
        group by 1, 2
      ) as t
      cross join lateral (
        select '0' as part, t.pull_requests as sample_size, null::double precision[] as percentiles
        union all
        select v.part, q.sample_size, q.percentiles
        from (
          values ('1', t.coding), ('2', t.pickup), ('3', t.review), ('4', t.merge), ('5', t.deploy), ('6', t.total)
        ) as v (part, tally)
        cross join lateral metrics.percentiles_of(v.tally, fractions) as q
      ) as p
    );
  end if;

  return query
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
        from unnest(repositories_read, names) as r (repository_id, name)
        cross join lateral (
          select
          from metrics.service_deployments as o
          where o.generation = asked.generation
            and o.repository_id = r.repository_id
            and o.outcome = 'success'
          limit 1
        ) as d
        where r.name = coalesce(g.name, '')
      ) then 'no_deployments'
      else 'too_few'
    end,
    case when not is_unknown then is_small end,
    g.page_key,
    g.total
  from metrics.page_of(asked, groups, parts) as g
  left join unnest(samples) as s
    on s.name = coalesce(g.name, '')
    and s.bucket_start is not distinct from g.bucket_start
    and s.part = g.part
  left join unnest(samples) as n
    on n.name = coalesce(g.name, '')
    and n.bucket_start is not distinct from g.bucket_start
    and n.part = '0'
  order by g.name collate "C" nulls first, g.bucket_start, g.part;
end
$$;
revoke execute on function metrics.pull_request_cycle_time(date, date, text, text, text, text, boolean, text, integer) from public;

comment on function metrics.pull_request_cycle_time(date, date, text, text, text, text, boolean, text, integer) is 'How long merged pull requests took: the median, p75 and p95 of each phase in seconds, of those merged in the period, by bucket (day, week, month, none) and by nothing or repository. A phase with a missing end is not in the sample; of several pull requests that became one commit, that of the least number has the phase deploy. Exact up to 2,000 pull requests, else at most 4.9 % off. Reasons: unknown_service, no_deployments (of the phase deploy), too_few. Raises 22023 for what cannot be asked.';

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
  reference_names text[];
  rows_in_all bigint;
begin
  perform metrics.require_reader();
  asked := metrics.period_of(since, until, 'none', page_after, page_size);
  after := metrics.evidence_after(asked);
  begins_at := greatest(after.happened_at, metrics.midnight(asked.since, asked.time_zone));
  select
    coalesce(array_agg(s.reference_id), '{}'),
    coalesce(array_agg(s.repository_id), '{}'),
    coalesce(array_agg(s.label), '{}'),
    coalesce(array_agg(s.reference), '{}')
  into references_read, repositories_read, names, reference_names
  from metrics.selected_references(repository, team) as s;

  rows_in_all := metrics.merged_pull_requests(asked, references_read, with_bots);

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
          and c.pull_request_reference_id = e.reference_id
          and c.pull_request_number = e.number
      ),
      'total', e.total_seconds
    ),
    metrics.evidence_page_key(e.merged_at, e.name, 'pull_request', e.number::text, e.reference),
    rows_in_all
  from (
    select r.name, r.repository_id, r.reference, p.*
    from unnest(references_read, repositories_read, names, reference_names) as r (reference_id, repository_id, name, reference)
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
          or (q.merged_at, r.name collate "C", 'pull_request' collate "C", q.number::text collate "C", r.reference collate "C")
            > (after.happened_at, after.repository, after.kind, after.external_id, after.reference)
        )
      order by q.merged_at, q.number::text collate "C"
      limit asked.page_size
    ) as p
    order by p.merged_at, r.name collate "C", p.number::text collate "C", r.reference collate "C"
    limit asked.page_size
  ) as e
  order by e.merged_at, e.name collate "C", e.number::text collate "C", e.reference collate "C";
end
$$;
revoke execute on function metrics.pull_request_cycle_time_evidence(date, date, text, text, boolean, text, integer) from public;

comment on function metrics.pull_request_cycle_time_evidence(date, date, text, text, boolean, text, integer) is 'The merged pull requests behind pull_request_cycle_time, in the order of merging: value is the total in seconds, detail the seconds of each phase. Of several that became one commit, that of the least number has the phase deploy.';
