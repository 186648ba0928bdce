-- How long the phases of merged pull requests took, by ISO week: counted as facts arrive, so that a percentile of many needs no look at
-- each of them.

set lock_timeout = '2s';
set statement_timeout = '60s';

-- All counts by bucket of one week and phase in one number. A row for each bucket would be five times as large and as slow to read: most
-- repositories merge fewer pull requests a week than there are buckets. Such numbers are added by sum(), across weeks and repositories.
drop function if exists metrics.tally_of(smallint);

-- In PL/pgSQL, because a function in SQL that cannot be inlined is planned anew at every call.
create function metrics.tally_of(bucket smallint)
returns numeric
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
begin
  -- The shortest time that two moments can lie apart, a microsecond, is in bucket -145.
  return ('1e' || 8 * greatest(bucket + 146, 0))::numeric;
end
$$;
revoke execute on function metrics.tally_of(smallint) from public;

comment on function metrics.tally_of(smallint) is 'A tally of one value in this bucket. A tally is a number each eight decimal digits of which are the count of one bucket: the last eight that of no time at all, the eight before them that of bucket -145, and so on.';

drop function if exists metrics.counts_of(numeric);

create function metrics.counts_of(tally numeric)
returns table (bucket smallint, count integer)
language sql
immutable
parallel safe
set search_path = ''
rows 60
as $$
  select
    (case when d.places = p.place then -32768 else d.places - p.place - 146 end)::smallint,
    convert_from(c.digits, 'UTF8')::integer
  from (
    -- As bytes: where a character may be several, each look for the n-th begins at the first. And once, not for each place.
    select convert_to(lpad(t.digits, 8 * t.places, '0'), 'UTF8') as digits, t.places, t.places - t.empty_places as last_place
    from (
      select
        o.digits,
        (length(o.digits) + 7) / 8 as places,
        (length(o.digits) - length(rtrim(o.digits, '0'))) / 8 as empty_places
      from (select tally::text as digits where tally > 0 offset 0) as o
      offset 0
    ) as t
    offset 0
  ) as d
  cross join lateral generate_series(1, d.last_place) as p (place)
  cross join lateral (select substr(d.digits, 8 * p.place - 7, 8) as digits offset 0) as c
  where c.digits <> '00000000'::bytea
$$;
revoke execute on function metrics.counts_of(numeric) from public;

comment on function metrics.counts_of(numeric) is 'The counts of a tally by bucket, without those that are 0.';

drop function if exists metrics.percentiles_of(numeric, double precision[]);

create function metrics.percentiles_of(tally numeric, fractions double precision[])
returns table (sample_size bigint, percentiles double precision[])
language sql
immutable
parallel safe
set search_path = ''
rows 1
as $$
  with cumulated as (
    select
      c.bucket,
      sum(c.count) over (order by c.bucket) as up_to,
      sum(c.count) over () as total
    from metrics.counts_of(tally) as c
  )
  select
    max(c.total),
    array(
      select metrics.seconds_of(
        (
          select min(e.bucket)
          from cumulated as e
          where e.up_to >= ceil(f.fraction * e.total::double precision)
        )
      )
      from unnest(fractions) with ordinality as f (fraction, place)
      order by f.place
    )
  from cumulated as c
$$;
revoke execute on function metrics.percentiles_of(numeric, double precision[]) from public;

comment on function metrics.percentiles_of(numeric, double precision[]) is 'How many values a tally counts, and their percentiles in seconds by the nearest rank, each at most 4.9 % off; NULL for none.';

create table if not exists metrics.pull_request_weeks (
  generation integer not null,
  reference_id bigint not null,
  week date not null,
  phase text collate "C" not null,
  human numeric not null,
  bot numeric not null,
  constraint pull_request_weeks_pkey primary key (generation, reference_id, week, phase),
  constraint phase_is_known check (phase in ('coding', 'pickup', 'review', 'merge', 'deploy', 'total'))
);

comment on table metrics.pull_request_weeks is 'How long each phase of merged pull requests took, as tallies.';
comment on column metrics.pull_request_weeks.generation is 'Generation.';
comment on column metrics.pull_request_weeks.reference_id is 'Repository reference.';
comment on column metrics.pull_request_weeks.week is 'Monday of the ISO week in which they were merged.';
comment on column metrics.pull_request_weeks.phase is 'coding, pickup, review, merge, deploy, or total.';
comment on column metrics.pull_request_weeks.human is 'Tally of those by humans.';
comment on column metrics.pull_request_weeks.bot is 'Tally of those by bots.';

create table if not exists metrics.pull_request_week_counts (
  generation integer not null,
  reference_id bigint not null,
  week date not null,
  human integer not null,
  bot integer not null,
  constraint pull_request_week_counts_pkey primary key (generation, reference_id, week)
);

comment on table metrics.pull_request_week_counts is 'How many pull requests were merged.';
comment on column metrics.pull_request_week_counts.generation is 'Generation.';
comment on column metrics.pull_request_week_counts.reference_id is 'Repository reference.';
comment on column metrics.pull_request_week_counts.week is 'Monday of the ISO week in which they were merged.';
comment on column metrics.pull_request_week_counts.human is 'By humans.';
comment on column metrics.pull_request_week_counts.bot is 'By bots.';

drop function if exists metrics.count_pull_requests(metrics.pull_requests[], metrics.pull_requests[], integer);

create function metrics.count_pull_requests(
  added metrics.pull_requests[],
  removed metrics.pull_requests[],
  generation_id integer
)
returns void
language plpgsql
set search_path = ''
-- A plan made while the tables were empty is kept by the session until they are analysed: it must not be a scan of the whole table.
set enable_seqscan = off
as $$
begin
  -- In the order of the keys, so that no two callers wait for each other.
  insert into metrics.pull_request_week_counts as t (generation, reference_id, week, human, bot)
  select
    g.id,
    c.reference_id,
    metrics.week_of(c.merged_at, g.time_zone),
    coalesce(sum(c.sign) filter (where c.author_is_bot is not true), 0),
    coalesce(sum(c.sign) filter (where c.author_is_bot), 0)
  from (
    select a.reference_id, a.merged_at, a.author_is_bot, 1 as sign
    from unnest(added) as a
    union all
    select r.reference_id, r.merged_at, r.author_is_bot, -1
    from unnest(removed) as r
  ) as c
  join metrics.generations as g
    on case
      when generation_id is not null then g.id = generation_id
      else g.state = 'current' or (g.state = 'building' and (c.reference_id, c.merged_at) <= (g.counted_reference, g.counted_up_to))
    end
  where c.merged_at is not null
  group by 1, 2, 3
  having sum(c.sign) filter (where c.author_is_bot is not true) <> 0
    or sum(c.sign) filter (where c.author_is_bot) <> 0
  order by 1, 2, 3
  on conflict on constraint pull_request_week_counts_pkey do update set
    human = t.human + excluded.human,
    bot = t.bot + excluded.bot;

  insert into metrics.pull_request_weeks as t (generation, reference_id, week, phase, human, bot)
  select
    g.id,
    c.reference_id,
    metrics.week_of(c.merged_at, g.time_zone),
    c.phase,
    coalesce(sum(c.tally) filter (where c.author_is_bot is not true), 0),
    coalesce(sum(c.tally) filter (where c.author_is_bot), 0)
  from (
    select p.reference_id, p.merged_at, p.author_is_bot, v.phase, p.sign * metrics.tally_of(metrics.bucket_of(v.seconds)) as tally
    from (
      select a.*, 1 as sign
      from unnest(added) as a
      union all
      select r.*, -1
      from unnest(removed) as r
    ) as p
    cross join lateral (
      values
        ('coding' collate "C", p.coding_seconds), ('pickup', p.pickup_seconds), ('review', p.review_seconds), ('merge', p.merge_seconds),
        ('total', p.total_seconds)
    ) as v (phase, seconds)
    where p.merged_at is not null
      and v.seconds is not null
  ) as c
  join metrics.generations as g
    on case
      when generation_id is not null then g.id = generation_id
      else g.state = 'current' or (g.state = 'building' and (c.reference_id, c.merged_at) <= (g.counted_reference, g.counted_up_to))
    end
  group by 1, 2, 3, 4
  having sum(c.tally) filter (where c.author_is_bot is not true) <> 0
    or sum(c.tally) filter (where c.author_is_bot) <> 0
  order by 1, 2, 3, 4
  on conflict on constraint pull_request_weeks_pkey do update set
    human = t.human + excluded.human,
    bot = t.bot + excluded.bot;

  if cardinality(removed) = 0 then
    return;
  end if;

  delete from metrics.pull_request_week_counts as t
  using (
    select distinct g.id, r.reference_id, metrics.week_of(r.merged_at, g.time_zone) as week
    from unnest(removed) as r
    cross join metrics.generations as g
  ) as k
  where t.generation = k.id
    and t.reference_id = k.reference_id
    and t.week = k.week
    and t.human = 0
    and t.bot = 0;

  delete from metrics.pull_request_weeks as t
  using (
    select distinct g.id, r.reference_id, metrics.week_of(r.merged_at, g.time_zone) as week
    from unnest(removed) as r
    cross join metrics.generations as g
  ) as k
  where t.generation = k.id
    and t.reference_id = k.reference_id
    and t.week = k.week
    and t.human = 0
    and t.bot = 0;
end
$$;
revoke execute on function metrics.count_pull_requests(metrics.pull_requests[], metrics.pull_requests[], integer) from public;

comment on function metrics.count_pull_requests(metrics.pull_requests[], metrics.pull_requests[], integer) is 'Adds pull requests to the aggregates of a generation, or of each that is kept up to date, and takes others out.';

create or replace function metrics.count_changed_pull_requests()
returns trigger
language plpgsql
set search_path = ''
as $$
declare
  added metrics.pull_requests[] := '{}';
  removed metrics.pull_requests[] := '{}';
begin
  if tg_op <> 'DELETE' then
    added := array(
      select n
      from new_rows as n
      where n.merged_at is not null
    );
  end if;
  if tg_op <> 'INSERT' then
    removed := array(
      select o
      from old_rows as o
      where o.merged_at is not null
    );
  end if;
  if cardinality(added) + cardinality(removed) > 0 then
    perform metrics.count_pull_requests(added, removed, null);
  end if;
  return null;
end
$$;
revoke execute on function metrics.count_changed_pull_requests() from public;

comment on function metrics.count_changed_pull_requests() is 'Keeps the aggregates of pull requests: called once for each statement, with the rows as they really were and are.';

create or replace trigger count_inserted
  after insert on metrics.pull_requests
  referencing new table as new_rows
  for each statement execute function metrics.count_changed_pull_requests();

create or replace trigger count_updated
  after update on metrics.pull_requests
  referencing old table as old_rows new table as new_rows
  for each statement execute function metrics.count_changed_pull_requests();

create or replace trigger count_deleted
  after delete on metrics.pull_requests
  referencing old table as old_rows
  for each statement execute function metrics.count_changed_pull_requests();
