begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(10);

create function pg_temp.counts()
returns table (span text, phase text, everybody text, bots text)
language sql
as $$
  select w.days || ' from ' || w.first_day, p.phase, max(p.counts) filter (where not w.only_bots), max(p.counts) filter (where w.only_bots)
  from metrics.pull_request_spans as w
  cross join lateral (
    select 'all' as phase, w.pull_requests::text as counts
    union all
    select v.phase, string_agg(c.bucket || ':' || c.count, ' ' order by c.bucket)
    from (
      values ('coding', w.coding), ('pickup', w.pickup), ('review', w.review), ('merge', w.merge), ('deploy', w.deploy), ('total', w.total)
    ) as v (phase, tally)
    cross join lateral metrics.counts_of(v.tally) as c
    group by v.phase
  ) as p
  group by w.days, w.first_day, p.phase
$$;

select set_eq(
  $$select bucket, count from metrics.counts_of(metrics.tally_of((-32768)::smallint) * 7 + metrics.tally_of(metrics.bucket_of(0.000001)) + metrics.tally_of(150::smallint) * 3)$$,
  $$values ((-32768)::smallint, 7), (-145::smallint, 1), (150::smallint, 3)$$,
  'a tally holds the count of each bucket, from no time to any'
);
select results_eq(
  $$select sample_size, percentiles from metrics.percentiles_of(metrics.tally_of((-32768)::smallint) * 2 + metrics.tally_of(1::smallint), array[0.5, 0.67])$$,
  $$select 3::bigint, array[0, metrics.seconds_of(1::smallint)]$$,
  'and percentiles by the nearest rank'
);
select is(
  metrics.tally_of_all(array[0, 1.05, null, 0, -1, 0.000001]),
  metrics.tally_of((-32768)::smallint) * 2 + metrics.tally_of(0::smallint) + metrics.tally_of(metrics.bucket_of(0.000001)),
  'of many values it is the sum of each one''s, without those that are none'
);
select is((select percentiles from metrics.percentiles_of(0, array[0.5])), array[null]::double precision[], 'of nothing there are none');

insert into metrics.pull_requests (reference_id, number, state, opened_at, merged_at)
values
  (1, 1, 'merged', '2026-03-03T10:00:00Z', '2026-03-03T10:00:00Z'),
  (1, 2, 'merged', '2026-03-03T10:00:00Z', '2026-03-03T10:00:01Z'),
  (1, 3, 'open', '2026-03-03T10:00:00Z', null);
select set_eq(
  'select * from pg_temp.counts()',
  $$values
    ('28 from 2026-03-02', 'all', '2', null), ('28 from 2026-03-02', 'total', '-32768:1 0:1', null),
    ('7 from 2026-03-02', 'all', '2', null), ('7 from 2026-03-02', 'total', '-32768:1 0:1', null),
    ('1 from 2026-03-03', 'all', '2', null), ('1 from 2026-03-03', 'total', '-32768:1 0:1', null)$$,
  'what is merged is counted'
);
update metrics.pull_requests set author_is_bot = true where number = 1;
select set_eq(
  'select * from pg_temp.counts()',
  $$values
    ('28 from 2026-03-02', 'all', '2', '1'), ('28 from 2026-03-02', 'total', '-32768:1 0:1', '-32768:1'),
    ('7 from 2026-03-02', 'all', '2', '1'), ('7 from 2026-03-02', 'total', '-32768:1 0:1', '-32768:1'),
    ('1 from 2026-03-03', 'all', '2', '1'), ('1 from 2026-03-03', 'total', '-32768:1 0:1', '-32768:1')$$,
  'a robot is known later'
);
update metrics.pull_requests set first_commit_at = '2026-03-03T09:59:50Z' where number = 2;
select set_eq(
  'select * from pg_temp.counts()',
  $$values
    ('28 from 2026-03-02', 'all', '2', '1'), ('28 from 2026-03-02', 'total', '-32768:1 25:1', '-32768:1'), ('28 from 2026-03-02', 'coding', '24:1', null),
    ('7 from 2026-03-02', 'all', '2', '1'), ('7 from 2026-03-02', 'total', '-32768:1 25:1', '-32768:1'), ('7 from 2026-03-02', 'coding', '24:1', null),
    ('1 from 2026-03-03', 'all', '2', '1'), ('1 from 2026-03-03', 'total', '-32768:1 25:1', '-32768:1'), ('1 from 2026-03-03', 'coding', '24:1', null)$$,
  'a commit comes late'
);
update metrics.pull_requests set merged_at = '2026-03-09T00:00:00Z' where number = 2;
select set_eq(
  $$select span, everybody, bots from pg_temp.counts() where phase = 'all'$$,
  $$values
    ('28 from 2026-03-02', '2', '1'), ('7 from 2026-03-02', '1', '1'), ('1 from 2026-03-03', '1', '1'), ('7 from 2026-03-09', '1', null), ('1 from 2026-03-09', '1', null)$$,
  'a time is corrected'
);
update metrics.pull_requests set title = 'Another';
select set_eq(
  $$select span, everybody, bots from pg_temp.counts() where phase = 'all'$$,
  $$values
    ('28 from 2026-03-02', '2', '1'), ('7 from 2026-03-02', '1', '1'), ('1 from 2026-03-03', '1', '1'), ('7 from 2026-03-09', '1', null), ('1 from 2026-03-09', '1', null)$$,
  'what does not matter changes nothing'
);
delete from metrics.pull_requests;
select is_empty('select * from pg_temp.counts()', 'and what is deleted leaves no row');

select * from finish();
rollback;
