-- How long the phases of merged pull requests took, by ISO week: counted as facts arrive, so that a percentile of many needs no look at
-- each of them.

set lock_timeout = '2s';
set statement_timeout = '60s';

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
      else g.state = 'current' or (g.state = 'building' and metrics.week_of(c.merged_at, g.time_zone) < g.weeks_before)
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
      else g.state = 'current' or (g.state = 'building' and metrics.week_of(c.merged_at, g.time_zone) < g.weeks_before)
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

drop function if exists metrics.count_pull_requests_of_week(integer, date);

create function metrics.count_pull_requests_of_week(generation integer, week date)
returns void
language sql
set search_path = ''
as $$
  select metrics.count_pull_requests(
    array(
      select p
      from metrics.generations as g
      cross join metrics.repository_references as r
      join metrics.pull_requests as p
        on p.reference_id = r.id
        and p.merged_at >= metrics.midnight(week, g.time_zone)
        and p.merged_at < metrics.midnight(week + 7, g.time_zone)
      where g.id = generation
    ),
    '{}',
    generation
  )
$$;
revoke execute on function metrics.count_pull_requests_of_week(integer, date) from public;

comment on function metrics.count_pull_requests_of_week(integer, date) is 'Counts the pull requests of one week for a generation from the facts. Nothing may be counted of that week yet.';
