begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(6);

create function pg_temp.asked(since date, until date, bucket text)
returns metrics.period
language sql
as $$
  select row(1, 'UTC', since, until, bucket, null, 100)::metrics.period
$$;

-- Every period of up to 80 days that begins within four weeks.
create function pg_temp.periods()
returns setof metrics.period
language sql
as $$
  select pg_temp.asked(date '2026-01-20' + s.n, date '2026-01-20' + s.n + d.days, b.bucket)
  from generate_series(0, 27) as s (n)
  cross join generate_series(1, 80, 5) as d (days)
  cross join unnest(array['day', 'week', 'month', 'none']) as b (bucket)
$$;

-- How often each day of the spans is counted.
create function pg_temp.counted(asked metrics.period, longest integer)
returns table (bucket_start date, day date, times bigint)
language sql
as $$
  select s.bucket_start, s.first_day + i.n, sum(s.times)
  from metrics.counted_spans_of(asked, longest) as s
  cross join lateral generate_series(0, s.days - 1) as i (n)
  group by 1, 2
  having sum(s.times) <> 0
$$;

create function pg_temp.wrong(longest integer)
returns table (since date, until date, bucket text, day date, times bigint)
language sql
as $$
  select (p).since, (p).until, (p).bucket, x.day, x.times
  from pg_temp.periods() as p
  cross join lateral (
    select coalesce(c.day, d.day) as day, c.times, d.day is not null as is_in_it
    from pg_temp.counted(p, longest) as c
    full join (
      select b.bucket_start, b.first_day + i.n as day
      from metrics.buckets_of(p) as b
      cross join lateral generate_series(0, b.end_day - b.first_day - 1) as i (n)
    ) as d
      on d.day = c.day
      and coalesce(d.bucket_start, '-infinity') = coalesce(c.bucket_start, '-infinity')
  ) as x
  where (x.is_in_it and x.times = 1) is not true
$$;

select is_empty('select * from pg_temp.wrong(28)', 'with four weeks');
select is_empty('select * from pg_temp.wrong(7)', 'and without');
select ok(
  (
    select array_agg(distinct s.days order by s.days) = array[1, 7, 28]::smallint[]
    from pg_temp.periods() as p
    cross join lateral metrics.counted_spans_of(p, 28) as s
  ),
  'spans of each length are among them'
);
select results_eq(
  $$select days, first_day from metrics.spans_of('2026-03-29T23:30:00Z', 'Europe/Berlin') order by days$$,
  $$values (1::smallint, date '2026-03-30'), (7::smallint, date '2026-03-30'), (28::smallint, date '2026-03-30')$$,
  'a moment lies in the day, the week and the four weeks of its time zone'
);
select is(
  metrics.midnight('2025-11-02', 'America/Havana'),
  '2025-11-02T04:00:00Z'::timestamptz,
  'where clocks go back over midnight, a day begins with the first of the two'
);
select is(
  (select first_day from metrics.spans_of('2025-11-02T04:30:00Z', 'America/Havana') where days = 1),
  date '2025-11-02',
  'so that the hour between them lies in the day by whose date it is counted'
);

select * from finish();
rollback;
