-- What numbers are counted over: days and ISO weeks of the installation's time zone, and the generations of all that is derived.

set lock_timeout = '2s';
set statement_timeout = '60s';

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
language sql
stable
set search_path = ''
as $$
  select g.id
  from metrics.generations as g
  where g.state = 'current'
$$;
revoke execute on function metrics.current_generation() from public;

comment on function metrics.current_generation() is 'The generation that numbers are read from.';

-- These four in PL/pgSQL, because a function in SQL that cannot be inlined is planned anew at every call.
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

drop function if exists metrics.midnight(date, text);

create function metrics.midnight(day date, time_zone text)
returns timestamptz
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
begin
  return day::timestamp at time zone time_zone;
end
$$;
revoke execute on function metrics.midnight(date, text) from public;

comment on function metrics.midnight(date, text) is 'The moment at which a day begins in a time zone.';

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
language sql
immutable
set search_path = ''
rows 60
as $$
  select null, asked.since, asked.until
  where asked.bucket = 'none'
    and asked.until - asked.since <= 3660
  union all
  select s.day::date, greatest(s.day::date, asked.since), least((s.day + ('1 ' || asked.bucket)::interval)::date, asked.until)
  from generate_series(
    case when asked.bucket <> 'none' and asked.until - asked.since <= 3660 then date_trunc(asked.bucket, asked.since::timestamp) end,
    (asked.until - 1)::timestamp,
    ('1 ' || nullif(asked.bucket, 'none'))::interval
  ) as s (day)
$$;
revoke execute on function metrics.buckets_of(metrics.period) from public;

comment on function metrics.buckets_of(metrics.period) is 'The buckets of a period: where each begins (NULL for none), its first day within the period and the day after its last.';

-- Stored aggregates hold whole ISO weeks. A week that lies in one bucket is read from them; the days that are left over from the facts.
drop function if exists metrics.whole_weeks_of(metrics.period);

create function metrics.whole_weeks_of(asked metrics.period)
returns table (bucket_start date, week date)
language sql
immutable
set search_path = ''
rows 60
as $$
  select b.bucket_start, w.week::date
  from metrics.buckets_of(asked) as b
  cross join lateral generate_series(
    date_trunc('week', (b.first_day + 6)::timestamp),
    (b.end_day - 7)::timestamp,
    interval '7 days'
  ) as w (week)
$$;
revoke execute on function metrics.whole_weeks_of(metrics.period) from public;

comment on function metrics.whole_weeks_of(metrics.period) is 'The ISO weeks that lie within one bucket of the period, with that bucket.';

drop function if exists metrics.days_beside_weeks_of(metrics.period);

create function metrics.days_beside_weeks_of(asked metrics.period)
returns table (bucket_start date, starts_at timestamptz, ends_at timestamptz)
language sql
immutable
set search_path = ''
rows 60
as $$
  select
    b.bucket_start,
    d.first_day::timestamp at time zone asked.time_zone,
    d.end_day::timestamp at time zone asked.time_zone
  from metrics.buckets_of(asked) as b
  cross join lateral (
    select
      date_trunc('week', (b.first_day + 6)::timestamp)::date as first_monday,
      date_trunc('week', b.end_day::timestamp)::date as last_monday
  ) as m
  cross join lateral (
    select b.first_day, b.end_day
    where m.first_monday >= m.last_monday
    union all
    select b.first_day, m.first_monday
    where m.first_monday < m.last_monday
      and b.first_day < m.first_monday
    union all
    select m.last_monday, b.end_day
    where m.first_monday < m.last_monday
      and m.last_monday < b.end_day
  ) as d (first_day, end_day)
$$;
revoke execute on function metrics.days_beside_weeks_of(metrics.period) from public;

comment on function metrics.days_beside_weeks_of(metrics.period) is 'The stretches of a period that no whole week within one bucket covers, as moments, with their bucket.';

drop function if exists metrics.stretches_of(metrics.period);

create function metrics.stretches_of(asked metrics.period)
returns table (bucket_start date, starts_at timestamptz, ends_at timestamptz)
language sql
immutable
set search_path = ''
rows 60
as $$
  select
    b.bucket_start,
    b.first_day::timestamp at time zone asked.time_zone,
    b.end_day::timestamp at time zone asked.time_zone
  from metrics.buckets_of(asked) as b
$$;
revoke execute on function metrics.stretches_of(metrics.period) from public;

comment on function metrics.stretches_of(metrics.period) is 'Each bucket of a period as moments.';
