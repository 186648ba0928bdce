-- How long the phases of merged pull requests took, by ISO week, by four of them and by day: counted as facts arrive, so that a percentile
-- of many needs no look at each of them.

set lock_timeout = '2s';
set statement_timeout = '60s';

create table if not exists metrics.pull_request_spans (
  generation integer not null,
  reference_id bigint not null,
  days smallint not null,
  first_day date not null,
  only_bots boolean not null,
  pull_requests integer not null,
  coding numeric not null,
  pickup numeric not null,
  review numeric not null,
  merge numeric not null,
  deploy numeric not null,
  total numeric not null,
  constraint pull_request_spans_pkey primary key (generation, reference_id, days, first_day, only_bots)
)
-- Wide rows that change often: a changed one is to find room beside the old one.
with (fillfactor = 70);

comment on table metrics.pull_request_spans is 'Merged pull requests by ISO week, again by four of them and by day, and how long each phase of them took, as tallies of their seconds: see metrics.tally_of. A row that counts nothing is not there.';
comment on column metrics.pull_request_spans.generation is 'Generation in whose time zone weeks and days are cut.';
comment on column metrics.pull_request_spans.reference_id is 'Repository reference.';
comment on column metrics.pull_request_spans.days is '28 for four weeks, 7 for a week, 1 for a day.';
comment on column metrics.pull_request_spans.first_day is 'The first of them: Monday, or the day in which they were merged.';
comment on column metrics.pull_request_spans.only_bots is 'Whether these are those of bots alone, or all: those of humans are all less those of bots.';
comment on column metrics.pull_request_spans.pull_requests is 'How many were merged.';
comment on column metrics.pull_request_spans.coding is 'Tally of the time from the first commit until they were opened.';
comment on column metrics.pull_request_spans.pickup is 'Tally of the time until the first review.';
comment on column metrics.pull_request_spans.review is 'Tally of the time from then until they were approved.';
comment on column metrics.pull_request_spans.merge is 'Tally of the time from then until they were merged.';
comment on column metrics.pull_request_spans.deploy is 'Tally of the time from then until what they became was in production.';
comment on column metrics.pull_request_spans.total is 'Tally of the time from the first commit until they were merged.';

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
  insert into metrics.pull_request_spans as t (
    generation, reference_id, days, first_day, only_bots, pull_requests, coding, pickup, review, merge, deploy, total
  )
  select n.generation, n.reference_id, n.days, n.first_day, n.only_bots, n.pull_requests, n.coding, n.pickup, n.review, n.merge, 0, n.total
  from (
    select
      g.id as generation,
      c.reference_id,
      s.days,
      s.first_day,
      b.only_bots,
      sum(c.sign) as pull_requests,
      coalesce(sum(c.sign * metrics.tally_of(metrics.bucket_of(c.coding_seconds))) filter (where c.coding_seconds is not null), 0) as coding,
      coalesce(sum(c.sign * metrics.tally_of(metrics.bucket_of(c.pickup_seconds))) filter (where c.pickup_seconds is not null), 0) as pickup,
      coalesce(sum(c.sign * metrics.tally_of(metrics.bucket_of(c.review_seconds))) filter (where c.review_seconds is not null), 0) as review,
      coalesce(sum(c.sign * metrics.tally_of(metrics.bucket_of(c.merge_seconds))) filter (where c.merge_seconds is not null), 0) as merge,
      coalesce(sum(c.sign * metrics.tally_of(metrics.bucket_of(c.total_seconds))) filter (where c.total_seconds is not null), 0) as total
    from (
      select a.*, 1 as sign
      from unnest(added) as a
      union all
      select r.*, -1
      from unnest(removed) as r
    ) as c
    join metrics.generations as g
      on case
        when generation_id is not null then g.id = generation_id
        else g.state = 'current' or (g.state = 'building' and (c.reference_id, c.merged_at) <= (g.counted_reference, g.counted_up_to))
      end
    cross join lateral metrics.spans_of(c.merged_at, g.time_zone) as s
    -- All, and again those of bots, which are few: what is asked for most is read from one row, and a human's is counted in one.
    join (values (false), (true)) as b (only_bots)
      on c.author_is_bot
      or not b.only_bots
    where c.merged_at is not null
    group by 1, 2, 3, 4, 5
  ) as n
  where (n.pull_requests, n.coding, n.pickup, n.review, n.merge, n.total) <> (0, 0, 0, 0, 0, 0)
  order by n.generation, n.reference_id, n.days, n.first_day, n.only_bots
  on conflict on constraint pull_request_spans_pkey do update set
    pull_requests = t.pull_requests + excluded.pull_requests,
    coding = t.coding + excluded.coding,
    pickup = t.pickup + excluded.pickup,
    review = t.review + excluded.review,
    merge = t.merge + excluded.merge,
    total = t.total + excluded.total;

  if cardinality(removed) > 0 then
    delete from metrics.pull_request_spans as t
    using (
      select distinct g.id, r.reference_id, s.days, s.first_day
      from unnest(removed) as r
      cross join metrics.generations as g
      cross join lateral metrics.spans_of(r.merged_at, g.time_zone) as s
    ) as k
    where t.generation = k.id
      and t.reference_id = k.reference_id
      and t.days = k.days
      and t.first_day = k.first_day
      and (t.pull_requests, t.coding, t.pickup, t.review, t.merge, t.deploy, t.total) = (0, 0, 0, 0, 0, 0, 0);
  end if;
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
