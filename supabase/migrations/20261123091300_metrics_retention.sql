-- What is dropped when it is old, in bounded steps. Run every ten minutes by pg_cron where it is already there, else by whoever calls it.

set lock_timeout = '2s';
set statement_timeout = '60s';

drop function if exists metrics.make_body_partitions();

create function metrics.make_body_partitions(out made integer, out waiting integer)
language plpgsql
set search_path = ''
as $$
declare
  today constant date := (now() at time zone 'UTC')::date;
  chosen metrics.settings;
  week date;
  partition_name text;
begin
  made := 0;
  waiting := 0;
  select *
  into chosen
  from metrics.settings;
  for week in
    select generate_series(
      date_trunc('week', today)::date,
      date_trunc('week', today + greatest(chosen.body_days, chosen.quarantined_body_days) + 14)::date,
      interval '7 days'
    )::date
  loop
    partition_name := 'bodies_' || to_char(week, 'YYYYMMDD');
    if to_regclass('metrics.' || partition_name) is null then
      begin
        execute format(
          'create table metrics.%I partition of metrics.bodies for values from (%L) to (%L)',
          partition_name,
          week,
          week + 7
        );
        execute format('alter table metrics.%I enable row level security', partition_name);
        execute format('comment on table metrics.%I is %L', partition_name, 'Bodies that expire in the week of this Monday.');
        made := made + 1;
      exception
        when lock_not_available or check_violation or duplicate_table then
          -- Busy, or made by somebody else just now, or the default partition already holds rows of this week: they stay there, and the week is served by it.
          waiting := waiting + 1;
      end;
    end if;
  end loop;
end
$$;
revoke execute on function metrics.make_body_partitions() from public;

comment on function metrics.make_body_partitions() is 'Makes the partitions of bodies for as long as one that comes in the next weeks may live.';

drop function if exists metrics.maintain(integer);

create function metrics.maintain(step integer default 10000)
returns jsonb
language plpgsql
security definer
set search_path = ''
set lock_timeout = '1s'
as $$
declare
  today constant date := (now() at time zone 'UTC')::date;
  chosen metrics.settings;
  partition_name text;
  ahead record;
  dropped integer := 0;
  waiting integer := 0;
  deleted jsonb := '{}';
  horizon timestamptz;
  rows integer;
begin
  select *
  into chosen
  from metrics.settings;

  delete from metrics.bodies_default as b
  where b.ctid in (
    select d.ctid
    from metrics.bodies_default as d
    where d.expires_on <= today
    limit step
  );
  get diagnostics rows = row_count;
  deleted := deleted || jsonb_build_object('bodies_default', rows);

  with gone as (
    delete from metrics.deliveries as d
    where (d.source, d.delivery_id) in (
      select o.source, o.delivery_id
      from (select distinct s.source from metrics.deliveries as s) as s
      cross join lateral (
        select p.source, p.delivery_id
        from metrics.deliveries as p
        where p.source = s.source
          and p.received_at < now() - make_interval(days => chosen.delivery_days)
          -- While its body may still be there, the delivery is what replaying and erasing find it by.
          and (p.body_expires_on is null or p.body_expires_on + 7 <= today)
        order by p.received_at
        limit step
      ) as o
      limit step
    )
    returning d.source, d.received_at
  ),
  remembered as (
    insert into metrics.remembered_sources as r (source, last_received_at)
    select g.source, max(g.received_at)
    from gone as g
    group by g.source
    order by g.source
    on conflict (source) do update
    set last_received_at = greatest(r.last_received_at, excluded.last_received_at)
  )
  select count(*)
  into rows
  from gone;
  deleted := deleted || jsonb_build_object('deliveries', rows);

  -- What was counted of weeks before the horizon is frozen before their jobs go. No rebuild may begin meanwhile, which would count some of
  -- them by the one horizon and some by the other.
  perform pg_advisory_xact_lock_shared(hashtextextended('metrics.erasure', 0));
  select metrics.midnight(metrics.move_job_horizon(metrics.week_of(now() - make_interval(days => chosen.job_days), g.time_zone)), g.time_zone)
  into horizon
  from metrics.generations as g
  where g.state = 'current';
  delete from metrics.jobs as j
  where j.ctid in (
    select o.ctid
    from metrics.jobs as o
    where coalesce(o.finished_at, o.started_at, o.queued_at, o.updated_at) < horizon
    limit step
  );
  get diagnostics rows = row_count;
  deleted := deleted || jsonb_build_object('jobs', rows);

  -- A test case has no time of its own. It is never stored before its test run began, so those of test runs from the horizon on are all there.
  update metrics.horizons as h
  set before = w.week
  from (select metrics.week_of(now() - make_interval(days => chosen.test_case_days), chosen.time_zone) as week) as w
  where h.fact = 'test_cases'
    and coalesce(h.before, '-infinity') < w.week;
  select metrics.midnight(h.before, chosen.time_zone)
  into horizon
  from metrics.horizons as h
  where h.fact = 'test_cases';
  delete from metrics.test_cases as t
  where t.ctid in (
    select o.ctid
    from metrics.test_cases as o
    where o.updated_at < horizon
    limit step
  );
  get diagnostics rows = row_count;
  deleted := deleted || jsonb_build_object('test_cases', rows);

  deleted := deleted || jsonb_build_object('retired', metrics.delete_retired(5 * step));

  -- Late, because each takes a lock that every delivery with a body waits for until this ends.
  for partition_name in
    select c.relname
    from pg_catalog.pg_inherits as i
    join pg_catalog.pg_class as c
      on c.oid = i.inhrelid
    where i.inhparent = 'metrics.bodies'::regclass
      and c.relname ~ '^bodies_[0-9]{8}$'
      and to_date(right(c.relname, 8), 'YYYYMMDD') + 7 <= today
    order by c.relname
  loop
    begin
      execute format('drop table metrics.%I', partition_name);
      dropped := dropped + 1;
    exception
      when lock_not_available then
        -- Tried again at the next call.
        waiting := waiting + 1;
    end;
  end loop;

  select *
  into ahead
  from metrics.make_body_partitions();

  -- The very last, because deliveries wait for it; and not while one of them may wait for what was done to partitions.
  if dropped + ahead.made = 0 then
    begin
      perform metrics.rebuild();
    exception
      when lock_not_available or deadlock_detected then
        -- Deliveries come first: tried again at the next call.
        null;
    end;
  end if;

  return jsonb_build_object(
    'partitions_made', ahead.made,
    'partitions_dropped', dropped,
    'partitions_waiting', waiting + ahead.waiting,
    'deleted', deleted,
    'done', waiting + ahead.waiting = 0 and not exists (select from jsonb_each(deleted) as d where d.value >= to_jsonb(step))
  );
end
$$;
revoke execute on function metrics.maintain(integer) from public;

comment on function metrics.maintain(integer) is 'Makes the partitions of the next weeks, drops what is older than the settings say, at most step rows of a table a call, remembers the sources of deliveries that it drops, and goes on with a rebuild.';

-- Only at first: applying this again changes nothing. Later ones are made by metrics.maintain.
do $$
begin
  if (select count(*) from pg_catalog.pg_inherits where inhparent = 'metrics.bodies'::regclass) < 2 then
    perform metrics.make_body_partitions();
  end if;
end
$$;

-- pg_cron is used where the project has it; it is never created here, because an extension belongs to the app.
do $$
begin
  if exists (select from pg_catalog.pg_extension where extname = 'pg_cron') then
    perform cron.schedule('metrics-maintain', '*/10 * * * *', 'select metrics.maintain()');
  end if;
end
$$;
