-- What numbers are counted over: days and ISO weeks of the installation's time zone, and the generations of all that is derived.

set lock_timeout = '2s';
set statement_timeout = '60s';

-- The functions here are in PL/pgSQL, because one in SQL that cannot be inlined is planned anew by every statement that calls it.

-- All that is derived from facts belongs to a generation: a time zone, a set of rules, and what follows from them. When one of those
-- changes, the next generation is built in bounded steps beside the present one, and readers see either the one or the other.
create table if not exists metrics.generations (
  id integer generated always as identity primary key,
  state text not null,
  time_zone text not null,
  counted_reference bigint not null default 0,
  counted_up_to timestamptz not null default '-infinity',
  repositories_up_to bigint not null default 0,
  incident_window_seconds integer not null default 86400,
  rollout_seconds integer not null default 3600,
  hotfix_labels text[] not null default array['hotfix'],
  created_at timestamptz not null default now(),
  retired_at timestamptz,
  constraint generation_state_is_known check (state in ('building', 'current', 'retired'))
);

create unique index if not exists generations_one_current_idx on metrics.generations (state) where state = 'current';
create unique index if not exists generations_one_building_idx on metrics.generations (state) where state = 'building';

comment on table metrics.generations is 'One set of rules and a time zone each, with all that is derived from facts by them. Numbers are read from the current one.';
comment on column metrics.generations.id is 'Key.';
comment on column metrics.generations.state is 'building, current or retired. A retired one is deleted by metrics.maintain.';
comment on column metrics.generations.time_zone is 'IANA name of the zone in which its days and ISO weeks are cut.';
comment on column metrics.generations.counted_reference is 'While it is built: facts of references below this are counted in its aggregates; of this one those up to counted_up_to.';
comment on column metrics.generations.counted_up_to is 'While it is built: up to when facts of that reference are counted, this moment with them.';
comment on column metrics.generations.repositories_up_to is 'While it is built: repositories up to this id are derived.';
comment on column metrics.generations.incident_window_seconds is 'The setting when it was begun: one generation is never derived by two values.';
comment on column metrics.generations.rollout_seconds is 'The setting when it was begun.';
comment on column metrics.generations.hotfix_labels is 'The setting when it was begun.';
comment on column metrics.generations.created_at is 'When it was begun.';
comment on column metrics.generations.retired_at is 'When another became the current one. It is deleted a while later, so that who is reading it can end.';

insert into metrics.generations (state, time_zone, counted_reference, counted_up_to, repositories_up_to)
select 'current', s.time_zone, 9223372036854775807, 'infinity', 9223372036854775807
from metrics.settings as s
where not exists (select from metrics.generations);

drop function if exists metrics.current_generation();

create function metrics.current_generation()
returns integer
language plpgsql
stable
set search_path = ''
as $$
begin
  return (
    select g.id
    from metrics.generations as g
    where g.state = 'current'
  );
end
$$;
revoke execute on function metrics.current_generation() from public;

comment on function metrics.current_generation() is 'The generation that numbers are read from.';

drop function if exists metrics.week_of(timestamptz, text);

create function metrics.week_of(at timestamptz, time_zone text)
returns date
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
begin
  return date_trunc('week', at at time zone time_zone)::date;
end
$$;
revoke execute on function metrics.week_of(timestamptz, text) from public;

comment on function metrics.week_of(timestamptz, text) is 'The Monday of the ISO week that this moment lies in, in a time zone.';

-- What is counted by day as well as by week, so that a period that cuts a week needs no look at its facts; and by four weeks, so that a long
-- one needs few rows.
drop function if exists metrics.four_weeks_of(date);

create function metrics.four_weeks_of(day date)
returns date
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
declare
  -- A Monday; which one is of no importance, but it stays.
  since constant date := '1999-12-13';
begin
  return day - ((day - since) % 28 + 28) % 28;
end
$$;
revoke execute on function metrics.four_weeks_of(date) from public;

comment on function metrics.four_weeks_of(date) is 'The Monday that begins the four weeks that this day lies in: one four weeks follows the other, from Monday, 13 December 1999, on and before it.';

drop function if exists metrics.spans_of(timestamptz, text);

create function metrics.spans_of(at timestamptz, time_zone text)
returns table (days smallint, first_day date)
language plpgsql
immutable
parallel safe
set search_path = ''
rows 3
as $$
declare
  day constant timestamp := date_trunc('day', at at time zone time_zone);
begin
  days := 28;
  first_day := metrics.four_weeks_of(day::date);
  return next;
  days := 7;
  first_day := date_trunc('week', day)::date;
  return next;
  days := 1;
  first_day := day::date;
  return next;
end
$$;
revoke execute on function metrics.spans_of(timestamptz, text) from public;

comment on function metrics.spans_of(timestamptz, text) is 'The four weeks, the ISO week and the day that this moment lies in, in a time zone: how many days each has, and the first of them.';

-- In place: a view stands on it.
create or replace function metrics.midnight(day date, time_zone text)
returns timestamptz
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
declare
  at constant timestamptz := day::timestamp at time zone time_zone;
  just_before constant timestamp := (at - interval '1 microsecond') at time zone time_zone;
begin
  -- Where clocks go back over midnight there are two, of which Postgres takes the later one. By its date the hour between them is of this day.
  if just_before >= day::timestamp and isfinite(day) then
    return at - interval '1 microsecond' - (just_before - day::timestamp);
  end if;
  return at;
end
$$;
revoke execute on function metrics.midnight(date, text) from public;

comment on function metrics.midnight(date, text) is 'The moment at which a day begins in a time zone: the first midnight, where clocks go back over it.';

-- Percentiles of many values come from counts by bucket. Each bucket is a tenth wider than the one before, and stands for its
-- geometric middle: at most 4.9 % from any value in it.
drop function if exists metrics.bucket_of(double precision);

create function metrics.bucket_of(seconds double precision)
returns smallint
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
begin
  return case
    when seconds > 0 then greatest(floor(ln(seconds) / ln(1.1::double precision)), -32767)::smallint
    when seconds = 0 then (-32768)::smallint
  end;
end
$$;
revoke execute on function metrics.bucket_of(double precision) from public;

comment on function metrics.bucket_of(double precision) is 'The bucket of so many seconds; NULL for NULL and for less than none.';

drop function if exists metrics.seconds_of(smallint);

create function metrics.seconds_of(bucket smallint)
returns double precision
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
begin
  return case when bucket = -32768 then 0 else power(1.1::double precision, bucket + 0.5::double precision) end;
end
$$;
revoke execute on function metrics.seconds_of(smallint) from public;

comment on function metrics.seconds_of(smallint) is 'The seconds that a bucket stands for: at most 4.9 % from any value in it.';

-- All counts by bucket of one span of days in one number. A row for each bucket would be five times as large and as slow to read: most
-- repositories have fewer pull requests or runs a week than there are buckets. Such numbers are added by sum(), across spans and
-- repositories.
drop function if exists metrics.tally_of(smallint);

create function metrics.tally_of(bucket smallint)
returns numeric
language plpgsql
immutable
strict
parallel safe
set search_path = ''
as $$
begin
  -- The shortest time that two moments can lie apart, a microsecond, is in bucket -145.
  return ('1e' || 8 * greatest(bucket + 146, 0))::numeric;
end
$$;
revoke execute on function metrics.tally_of(smallint) from public;

comment on function metrics.tally_of(smallint) is 'A tally of one value in this bucket. A tally is a number each eight decimal digits of which are the count of one bucket: the last eight that of no time at all, the eight before them that of bucket -145, and so on. NULL for no bucket.';

-- One call for many values: calling the two functions above for each of some thousands would take longer than reading them.
drop function if exists metrics.tally_of_all(double precision[]);

create function metrics.tally_of_all(seconds double precision[])
returns numeric
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
#variable_conflict use_column
begin
  return (
    select coalesce(sum(b.values * metrics.tally_of(b.bucket)), 0)
    from (
      select u.bucket, count(*) as values
      from (
        select
          case
            when v.seconds > 0 then greatest(floor(ln(v.seconds) / ln(1.1::double precision)), -32767)::smallint
            when v.seconds = 0 then (-32768)::smallint
          end as bucket
        from unnest(tally_of_all.seconds) as v (seconds)
      ) as u
      where u.bucket is not null
      group by u.bucket
    ) as b
  );
end
$$;
revoke execute on function metrics.tally_of_all(double precision[]) from public;

comment on function metrics.tally_of_all(double precision[]) is 'The tally of many values, each in its metrics.bucket_of; 0 for none.';

drop function if exists metrics.counts_of(numeric);

create function metrics.counts_of(tally numeric)
returns table (bucket smallint, count integer)
language plpgsql
immutable
parallel safe
set search_path = ''
rows 60
as $$
#variable_conflict use_column
begin
  return query
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
  where c.digits <> '00000000'::bytea;
end
$$;
revoke execute on function metrics.counts_of(numeric) from public;

comment on function metrics.counts_of(numeric) is 'The counts of a tally by bucket, without those that are 0.';

drop function if exists metrics.percentiles_of(numeric, double precision[]);

create function metrics.percentiles_of(tally numeric, fractions double precision[])
returns table (sample_size bigint, percentiles double precision[])
language plpgsql
immutable
parallel safe
set search_path = ''
rows 1
as $$
#variable_conflict use_column
begin
  return query
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
  from cumulated as c;
end
$$;
revoke execute on function metrics.percentiles_of(numeric, double precision[]) from public;

comment on function metrics.percentiles_of(numeric, double precision[]) is 'How many values a tally counts, and their percentiles in seconds by the nearest rank, each at most 4.9 % off; NULL for none.';

do $$
begin
  if to_regtype('metrics.period') is null then
    create type metrics.period as (
      generation integer,
      time_zone text,
      since date,
      until date,
      bucket text,
      after jsonb,
      page_size integer
    );
  end if;
end
$$;

revoke usage on type metrics.period from public;

comment on type metrics.period is 'What a reading function is asked for, checked and with its defaults: generation and zone, days from since until before until, and the page.';

drop function if exists metrics.period_of(date, date, text, text, integer);

create function metrics.period_of(since date, until date, bucket text, page_after text, page_size integer)
returns metrics.period
language plpgsql
stable
set search_path = ''
as $$
declare
  asked metrics.period;
begin
  select g.id, g.time_zone
  into asked.generation, asked.time_zone
  from metrics.generations as g
  where g.state = 'current';
  asked.until := coalesce(period_of.until, (now() at time zone asked.time_zone)::date + 1);
  asked.since := coalesce(period_of.since, asked.until - 90);
  asked.bucket := coalesce(period_of.bucket, 'none');
  asked.page_size := coalesce(period_of.page_size, 100);
  if not (isfinite(asked.since) and isfinite(asked.until)) or asked.since >= asked.until then
    raise exception using
      errcode = '22023',
      message = format('since %s is not before until %s', asked.since, asked.until),
      hint = 'The period holds the days from since to the day before until.';
  end if;
  if asked.until - asked.since > 3660 then
    raise exception using
      errcode = '22023',
      message = format('the period from %s until %s is longer than 3660 days', asked.since, asked.until),
      hint = 'Ask for ten years at most.';
  end if;
  if asked.bucket not in ('day', 'week', 'month', 'none') then
    raise exception using
      errcode = '22023',
      message = format('no bucket is called %s', asked.bucket),
      hint = 'Buckets are day, week, month and none.';
  end if;
  if asked.page_size not between 1 and 500 then
    raise exception using
      errcode = '22023',
      message = format('page_size is between 1 and 500, not %s', asked.page_size);
  end if;
  if page_after is not null then
    begin
      asked.after := page_after::jsonb;
    exception
      when others then
        asked.after := null;
    end;
    if asked.after is null or jsonb_typeof(asked.after) <> 'array' then
      raise exception using
        errcode = '22023',
        message = format('%s is no key of a page', left(page_after, 100)),
        hint = 'Pass the page_key of the last row that was read.';
    end if;
  end if;
  return asked;
end
$$;
revoke execute on function metrics.period_of(date, date, text, text, integer) from public;

comment on function metrics.period_of(date, date, text, text, integer) is 'Checks what a reading function was asked for and fills in the defaults: the last 90 days, today included. Raises 22023 with the value that does not fit.';

drop function if exists metrics.checked_word(text, text, text[]);

create function metrics.checked_word(argument text, word text, known text[])
returns text
language plpgsql
immutable
set search_path = ''
as $$
begin
  if coalesce(word, known[1]) <> all(known) then
    raise exception using
      errcode = '22023',
      message = format('%s cannot be %s', argument, word),
      hint = format('It is one of %s.', array_to_string(known, ', '));
  end if;
  return coalesce(word, known[1]);
end
$$;
revoke execute on function metrics.checked_word(text, text, text[]) from public;

comment on function metrics.checked_word(text, text, text[]) is 'The word, or the first of the known ones for NULL. Raises 22023 for any other.';

-- The buckets of a period. The first and the last may be cut by its ends. Everybody who is signed in can ask for them, so what no period_of
-- would let through has none: a stranger must not keep the server busy with them.
drop function if exists metrics.buckets_of(metrics.period);

create function metrics.buckets_of(asked metrics.period)
returns table (bucket_start date, first_day date, end_day date)
language plpgsql
immutable
set search_path = ''
rows 60
as $$
#variable_conflict use_column
begin
  return query
  select null, asked.since, asked.until
  where asked.bucket = 'none'
    and asked.until - asked.since <= 3660
  union all
  select s.day::date, greatest(s.day::date, asked.since), least((s.day + ('1 ' || asked.bucket)::interval)::date, asked.until)
  from generate_series(
    case when asked.bucket <> 'none' and asked.until - asked.since <= 3660 then date_trunc(asked.bucket, asked.since::timestamp) end,
    (asked.until - 1)::timestamp,
    ('1 ' || nullif(asked.bucket, 'none'))::interval
  ) as s (day);
end
$$;
revoke execute on function metrics.buckets_of(metrics.period) from public;

comment on function metrics.buckets_of(metrics.period) is 'The buckets of a period: where each begins (NULL for none), its first day within the period and the day after its last.';

drop function if exists metrics.stretches_of(metrics.period);

create function metrics.stretches_of(asked metrics.period)
returns table (bucket_start date, starts_at timestamptz, ends_at timestamptz)
language plpgsql
immutable
set search_path = ''
rows 60
as $$
#variable_conflict use_column
begin
  return query
  select
    b.bucket_start,
    metrics.midnight(b.first_day, asked.time_zone),
    metrics.midnight(b.end_day, asked.time_zone)
  from metrics.buckets_of(asked) as b;
end
$$;
revoke execute on function metrics.stretches_of(metrics.period) from public;

comment on function metrics.stretches_of(metrics.period) is 'Each bucket of a period as moments.';

-- A period is read from the weeks nearest to it: a week of which most working days lie in a bucket is counted whole, less the days that do
-- not; of any other the days that do are counted by themselves. So a bucket costs two working days and a weekend at each end at most.
drop function if exists metrics.nearest_weeks_of(metrics.period);

create function metrics.nearest_weeks_of(asked metrics.period)
returns table (bucket_start date, week date, first_day date, end_day date, is_counted boolean)
language plpgsql
immutable
set search_path = ''
rows 60
as $$
#variable_conflict use_column
begin
  return query
  select b.bucket_start, w.week::date, d.first_day, d.end_day, least(d.end_day - w.week::date, 5) - least(d.first_day - w.week::date, 5) >= 3
  from metrics.buckets_of(asked) as b
  cross join lateral generate_series(
    date_trunc('week', b.first_day::timestamp),
    (b.end_day - 1)::timestamp,
    interval '7 days'
  ) as w (week)
  cross join lateral (select greatest(w.week::date, b.first_day) as first_day, least(w.week::date + 7, b.end_day) as end_day) as d;
end
$$;
revoke execute on function metrics.nearest_weeks_of(metrics.period) from public;

comment on function metrics.nearest_weeks_of(metrics.period) is 'The ISO weeks of each bucket of the period, with the days of them that lie in it, and whether the week is counted whole.';

drop function if exists metrics.days_off_weeks_of(metrics.period);

create function metrics.days_off_weeks_of(asked metrics.period)
returns table (bucket_start date, week date, starts_at timestamptz, ends_at timestamptz, times integer)
language plpgsql
immutable
set search_path = ''
rows 60
as $$
#variable_conflict use_column
begin
  return query
  select w.bucket_start, w.week, metrics.midnight(d.first_day, asked.time_zone), metrics.midnight(d.end_day, asked.time_zone), d.times
  from metrics.nearest_weeks_of(asked) as w
  cross join lateral (
    values
      (w.first_day, w.end_day, case when not w.is_counted then 1 end),
      (w.week, w.first_day, case when w.is_counted then -1 end),
      (w.end_day, w.week + 7, case when w.is_counted then -1 end)
  ) as d (first_day, end_day, times)
  where d.times is not null
    and d.first_day < d.end_day;
end
$$;
revoke execute on function metrics.days_off_weeks_of(metrics.period) from public;

comment on function metrics.days_off_weeks_of(metrics.period) is 'The stretches by which the counted weeks of each bucket miss it, as moments: times is 1 for those to add, -1 for those to take away.';

drop function if exists metrics.counted_spans_of(metrics.period, integer);

create function metrics.counted_spans_of(asked metrics.period, longest integer)
returns table (bucket_start date, days smallint, first_day date, times integer)
language plpgsql
immutable
set search_path = ''
rows 60
as $$
#variable_conflict use_column
begin
  return query
  with weeks as materialized (
    select w.*, metrics.four_weeks_of(w.week) as four_weeks
    from metrics.nearest_weeks_of(asked) as w
  ),
  -- Of four weeks three may do, less the fourth.
  fours as materialized (
    select w.bucket_start, w.four_weeks, count(*) = 3 as lacks_one, w.four_weeks + 42 - sum(w.week - w.four_weeks)::integer as lacking
    from weeks as w
    where w.is_counted
      and longest >= 28
    group by w.bucket_start, w.four_weeks
    having count(*) >= 3
  )
  select f.bucket_start, 28::smallint, f.four_weeks, 1
  from fours as f
  union all
  select f.bucket_start, 7::smallint, f.lacking, -1
  from fours as f
  where f.lacks_one
  union all
  select w.bucket_start, d.days::smallint, d.first_day + d.days * i.n, d.times
  from weeks as w
  left join fours as f
    on f.bucket_start is not distinct from w.bucket_start
    and f.four_weeks = w.four_weeks
  cross join lateral (
    values
      (7, w.week, w.week + 7, case when w.is_counted and f.four_weeks is null then 1 end),
      (1, w.first_day, w.end_day, case when not w.is_counted then 1 end),
      (1, w.week, w.first_day, case when w.is_counted then -1 end),
      (1, w.end_day, w.week + 7, case when w.is_counted then -1 end)
  ) as d (days, first_day, end_day, times)
  cross join lateral generate_series(0, (d.end_day - d.first_day) / d.days - 1) as i (n)
  where d.times is not null;
end
$$;
revoke execute on function metrics.counted_spans_of(metrics.period, integer) from public;

comment on function metrics.counted_spans_of(metrics.period, integer) is 'The weeks and days that make up each bucket of the period, for what is counted by both; and by four weeks, where longest is 28 and not 7. times is 1 for those to add, -1 for the weeks and days to take away from what is counted whole.';
