-- What pipelines reported of tests and rules, counted by spans of days as it arrives, so that a first screen needs no look at each report.

set lock_timeout = '2s';
set statement_timeout = '60s';

create table if not exists metrics.test_spans (
  generation integer not null,
  reference_id bigint not null,
  days smallint not null,
  first_day date not null,
  runs integer not null,
  passed bigint not null,
  failed bigint not null,
  skipped bigint not null,
  constraint test_spans_pkey primary key (generation, reference_id, days, first_day)
)
with (fillfactor = 80);

comment on table metrics.test_spans is 'Test runs by ISO week, again by four of them and by day, and what became of their tests. A row that counts nothing is not there.';
comment on column metrics.test_spans.generation is 'Generation in whose time zone weeks and days are cut.';
comment on column metrics.test_spans.reference_id is 'Repository reference.';
comment on column metrics.test_spans.days is '28 for four weeks, 7 for a week, 1 for a day.';
comment on column metrics.test_spans.first_day is 'The first of them: Monday, or the day in which they started.';
comment on column metrics.test_spans.runs is 'Test runs.';
comment on column metrics.test_spans.passed is 'Tests that passed.';
comment on column metrics.test_spans.failed is 'Tests that failed, those among them whose machinery did.';
comment on column metrics.test_spans.skipped is 'Tests that were skipped.';

create table if not exists metrics.rule_spans (
  generation integer not null,
  reference_id bigint not null,
  days smallint not null,
  first_day date not null,
  compliant integer not null,
  violation integer not null,
  warning integer not null,
  constraint rule_spans_pkey primary key (generation, reference_id, days, first_day)
)
with (fillfactor = 80);

comment on table metrics.rule_spans is 'Checks of rules by ISO week, again by four of them and by day. A row that counts nothing is not there.';
comment on column metrics.rule_spans.generation is 'Generation in whose time zone weeks and days are cut.';
comment on column metrics.rule_spans.reference_id is 'Repository reference.';
comment on column metrics.rule_spans.days is '28 for four weeks, 7 for a week, 1 for a day.';
comment on column metrics.rule_spans.first_day is 'The first of them: Monday, or the day in which they were made.';
comment on column metrics.rule_spans.compliant is 'Checks that found the rule kept.';
comment on column metrics.rule_spans.violation is 'Checks that found it broken.';
comment on column metrics.rule_spans.warning is 'Checks that warned.';

-- What one row of facts counts, or no longer counts.
do $$
begin
  if to_regtype('metrics.counted_test_run') is null then
    create type metrics.counted_test_run as (
      times integer,
      reference_id bigint,
      at timestamptz,
      passed integer,
      failed integer,
      skipped integer
    );
  end if;
  if to_regtype('metrics.counted_check') is null then
    create type metrics.counted_check as (
      times integer,
      reference_id bigint,
      at timestamptz,
      status text
    );
  end if;
end
$$;

revoke usage on type metrics.counted_test_run from public;
revoke usage on type metrics.counted_check from public;

comment on type metrics.counted_test_run is 'What a test run counts: times is 1 for what it counts now, -1 for what it counted before.';
comment on type metrics.counted_check is 'What a check of a rule counts: times is 1 for what it counts now, -1 for what it counted before.';

-- Rows are written in the order of their key, so that two callers cannot wait for each other.
drop function if exists metrics.count_test_runs(metrics.counted_test_run[]);

create function metrics.count_test_runs(counted metrics.counted_test_run[])
returns void
language plpgsql
set search_path = ''
-- A plan made while the tables were empty is kept by the session until they are analysed: it must not be a scan of the whole table.
set enable_seqscan = off
as $$
begin
  insert into metrics.test_spans as t (generation, reference_id, days, first_day, runs, passed, failed, skipped)
  select *
  from (
    select
      g.id,
      c.reference_id,
      w.days,
      w.first_day,
      sum(c.times),
      sum(c.times * c.passed),
      sum(c.times * c.failed),
      sum(c.times * c.skipped)
    from unnest(counted) as c
    join metrics.generations as g
      on g.state = 'current'
      or (g.state = 'building' and (c.reference_id, c.at) <= (g.counted_reference, g.counted_up_to))
    cross join lateral metrics.spans_of(c.at, g.time_zone) as w
    group by 1, 2, 3, 4
  ) as n (generation, reference_id, days, first_day, runs, passed, failed, skipped)
  where (n.runs, n.passed, n.failed, n.skipped) <> (0, 0, 0, 0)
  order by n.generation, n.reference_id, n.days, n.first_day
  on conflict on constraint test_spans_pkey do update set
    runs = t.runs + excluded.runs,
    passed = t.passed + excluded.passed,
    failed = t.failed + excluded.failed,
    skipped = t.skipped + excluded.skipped;

  if exists (select from unnest(counted) as c where c.times < 0) then
    delete from metrics.test_spans as t
    using (
      select distinct g.id, c.reference_id, w.days, w.first_day
      from unnest(counted) as c
      cross join metrics.generations as g
      cross join lateral metrics.spans_of(c.at, g.time_zone) as w
      where c.times < 0
    ) as k
    where t.generation = k.id
      and t.reference_id = k.reference_id
      and t.days = k.days
      and t.first_day = k.first_day
      and (t.runs, t.passed, t.failed, t.skipped) = (0, 0, 0, 0);
  end if;
end
$$;
revoke execute on function metrics.count_test_runs(metrics.counted_test_run[]) from public;

comment on function metrics.count_test_runs(metrics.counted_test_run[]) is 'Adds what test runs count, in every generation that is kept.';

drop function if exists metrics.count_checks(metrics.counted_check[]);

create function metrics.count_checks(counted metrics.counted_check[])
returns void
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
begin
  insert into metrics.rule_spans as t (generation, reference_id, days, first_day, compliant, violation, warning)
  select *
  from (
    select
      g.id,
      c.reference_id,
      w.days,
      w.first_day,
      coalesce(sum(c.times) filter (where c.status = 'compliant'), 0),
      coalesce(sum(c.times) filter (where c.status = 'violation'), 0),
      coalesce(sum(c.times) filter (where c.status = 'warning'), 0)
    from unnest(counted) as c
    join metrics.generations as g
      on g.state = 'current'
      or (g.state = 'building' and (c.reference_id, c.at) <= (g.counted_reference, g.counted_up_to))
    cross join lateral metrics.spans_of(c.at, g.time_zone) as w
    group by 1, 2, 3, 4
  ) as n (generation, reference_id, days, first_day, compliant, violation, warning)
  where (n.compliant, n.violation, n.warning) <> (0, 0, 0)
  order by n.generation, n.reference_id, n.days, n.first_day
  on conflict on constraint rule_spans_pkey do update set
    compliant = t.compliant + excluded.compliant,
    violation = t.violation + excluded.violation,
    warning = t.warning + excluded.warning;

  if exists (select from unnest(counted) as c where c.times < 0) then
    delete from metrics.rule_spans as t
    using (
      select distinct g.id, c.reference_id, w.days, w.first_day
      from unnest(counted) as c
      cross join metrics.generations as g
      cross join lateral metrics.spans_of(c.at, g.time_zone) as w
      where c.times < 0
    ) as k
    where t.generation = k.id
      and t.reference_id = k.reference_id
      and t.days = k.days
      and t.first_day = k.first_day
      and (t.compliant, t.violation, t.warning) = (0, 0, 0);
  end if;
end
$$;
revoke execute on function metrics.count_checks(metrics.counted_check[]) from public;

comment on function metrics.count_checks(metrics.counted_check[]) is 'Adds what checks of rules count, in every generation that is kept.';

create or replace function metrics.count_changed_test_runs()
returns trigger
language plpgsql
set search_path = ''
as $$
declare
  counted metrics.counted_test_run[] := '{}';
  no_longer metrics.counted_test_run[] := '{}';
begin
  if tg_op <> 'DELETE' then
    counted := array(
      select row(
        1, n.reference_id, n.started_at, coalesce(n.passed_count, 0),
        coalesce(n.failed_count, 0) + coalesce(n.error_count, 0), coalesce(n.skipped_count, 0)
      )::metrics.counted_test_run
      from new_rows as n
      where n.started_at is not null
    );
  end if;
  if tg_op <> 'INSERT' then
    no_longer := array(
      select row(
        -1, o.reference_id, o.started_at, coalesce(o.passed_count, 0),
        coalesce(o.failed_count, 0) + coalesce(o.error_count, 0), coalesce(o.skipped_count, 0)
      )::metrics.counted_test_run
      from old_rows as o
      where o.started_at is not null
    );
  end if;
  if cardinality(counted) + cardinality(no_longer) > 0 then
    perform metrics.count_test_runs(counted || no_longer);
  end if;
  return null;
end
$$;
revoke execute on function metrics.count_changed_test_runs() from public;

comment on function metrics.count_changed_test_runs() is 'Trigger: counts what changed in test runs.';

create or replace function metrics.count_changed_checks()
returns trigger
language plpgsql
set search_path = ''
as $$
declare
  counted metrics.counted_check[] := '{}';
  no_longer metrics.counted_check[] := '{}';
begin
  if tg_op <> 'DELETE' then
    counted := array(
      select row(1, n.reference_id, n.checked_at, n.status)::metrics.counted_check
      from new_rows as n
      where n.checked_at is not null
        and n.status is not null
    );
  end if;
  if tg_op <> 'INSERT' then
    no_longer := array(
      select row(-1, o.reference_id, o.checked_at, o.status)::metrics.counted_check
      from old_rows as o
      where o.checked_at is not null
        and o.status is not null
    );
  end if;
  if cardinality(counted) + cardinality(no_longer) > 0 then
    perform metrics.count_checks(counted || no_longer);
  end if;
  return null;
end
$$;
revoke execute on function metrics.count_changed_checks() from public;

comment on function metrics.count_changed_checks() is 'Trigger: counts what changed in checks of rules.';

create or replace trigger count_inserted
  after insert on metrics.test_runs
  referencing new table as new_rows
  for each statement execute function metrics.count_changed_test_runs();

create or replace trigger count_updated
  after update on metrics.test_runs
  referencing old table as old_rows new table as new_rows
  for each statement execute function metrics.count_changed_test_runs();

create or replace trigger count_deleted
  after delete on metrics.test_runs
  referencing old table as old_rows
  for each statement execute function metrics.count_changed_test_runs();

create or replace trigger count_inserted
  after insert on metrics.rule_checks
  referencing new table as new_rows
  for each statement execute function metrics.count_changed_checks();

create or replace trigger count_updated
  after update on metrics.rule_checks
  referencing old table as old_rows new table as new_rows
  for each statement execute function metrics.count_changed_checks();

create or replace trigger count_deleted
  after delete on metrics.rule_checks
  referencing old table as old_rows
  for each statement execute function metrics.count_changed_checks();

drop function if exists metrics.count_reports(integer, bigint, timestamptz, timestamptz);

create function metrics.count_reports(generation integer, reference bigint, after timestamptz, up_to timestamptz)
returns void
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
#variable_conflict use_column
begin
  insert into metrics.test_spans as t (generation, reference_id, days, first_day, runs, passed, failed, skipped)
  select
    g.id,
    f.reference_id,
    w.days,
    w.first_day,
    count(*),
    sum(coalesce(f.passed_count, 0)),
    sum(coalesce(f.failed_count, 0) + coalesce(f.error_count, 0)),
    sum(coalesce(f.skipped_count, 0))
  from metrics.generations as g
  join metrics.test_runs as f
    on f.reference_id = count_reports.reference
    and f.started_at > count_reports.after
    and f.started_at <= count_reports.up_to
  cross join lateral metrics.spans_of(f.started_at, g.time_zone) as w
  where g.id = count_reports.generation
  group by g.id, f.reference_id, w.days, w.first_day
  on conflict on constraint test_spans_pkey do update set
    runs = t.runs + excluded.runs,
    passed = t.passed + excluded.passed,
    failed = t.failed + excluded.failed,
    skipped = t.skipped + excluded.skipped;

  insert into metrics.rule_spans as t (generation, reference_id, days, first_day, compliant, violation, warning)
  select
    g.id,
    f.reference_id,
    w.days,
    w.first_day,
    count(*) filter (where f.status = 'compliant'),
    count(*) filter (where f.status = 'violation'),
    count(*) filter (where f.status = 'warning')
  from metrics.generations as g
  join metrics.rule_checks as f
    on f.reference_id = count_reports.reference
    and f.checked_at > count_reports.after
    and f.checked_at <= count_reports.up_to
    and f.status is not null
  cross join lateral metrics.spans_of(f.checked_at, g.time_zone) as w
  where g.id = count_reports.generation
  group by g.id, f.reference_id, w.days, w.first_day
  on conflict on constraint rule_spans_pkey do update set
    compliant = t.compliant + excluded.compliant,
    violation = t.violation + excluded.violation,
    warning = t.warning + excluded.warning;
end
$$;
revoke execute on function metrics.count_reports(integer, bigint, timestamptz, timestamptz) from public;

comment on function metrics.count_reports(integer, bigint, timestamptz, timestamptz) is 'Counts test runs and checks of rules of a reference, after a moment and up to another, for a generation. Nothing of them may be counted yet.';
