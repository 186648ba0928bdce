-- How long merged pull requests waited for production, by spans of days: counted as the changes that they became are shipped.

set lock_timeout = '2s';
set statement_timeout = '60s';

drop function if exists metrics.count_deploys(metrics.changes[], metrics.changes[]);

create function metrics.count_deploys(added metrics.changes[], removed metrics.changes[])
returns void
language plpgsql
set search_path = ''
-- A plan made while the tables were empty is kept by the session until they are analysed: it must not be a scan of the whole table.
set enable_seqscan = off
as $$
begin
  insert into metrics.pull_request_spans as t (
    generation, reference_id, days, first_day, only_bots, pull_requests, coding, pickup, review, merge, deploy, total
  )
  select d.generation, d.reference_id, s.days, s.first_day, b.only_bots, 0, 0, 0, 0, 0, sum(d.tally), 0
  from (
    select
      c.generation,
      c.pull_request_reference_id as reference_id,
      c.merged_at,
      c.pull_request_is_bot as is_bot,
      c.sign * metrics.tally_of(metrics.bucket_of(extract(epoch from min(c.shipped_at) - c.merged_at)::double precision)) as tally
    from (
      select a.*, 1 as sign
      from unnest(added) as a
      union all
      select r.*, -1
      from unnest(removed) as r
      union all
      -- A commit may be a change of several services. What the others say was so before, and is so still.
      select o.*, s.sign
      from (
        select k.generation, k.repository_id, k.sha, array_agg(k.service_id) as service_ids
        from (
          select a.generation, a.repository_id, a.sha, a.service_id
          from unnest(added) as a
          union all
          select r.generation, r.repository_id, r.sha, r.service_id
          from unnest(removed) as r
        ) as k
        group by 1, 2, 3
      ) as k
      -- Looked up by the commit, whatever the planner knows of the table.
      cross join lateral (
        select c.*
        from metrics.changes as c
        where c.sha = k.sha
          and c.generation + 0 = k.generation
          and c.repository_id + 0 = k.repository_id
          and c.service_id <> all(k.service_ids)
        offset 0
      ) as o
      cross join (values (1), (-1)) as s (sign)
      where o.merged_at is not null
        and o.shipped_at is not null
    ) as c
    group by c.sign, c.generation, c.repository_id, c.sha, c.pull_request_reference_id, c.pull_request_number, c.merged_at, c.pull_request_is_bot
  ) as d
  join metrics.generations as g
    on g.id = d.generation
    -- What was counted of a generation that nobody reads any more is deleted as it is.
    and g.state <> 'retired'
  cross join lateral metrics.spans_of(d.merged_at, g.time_zone) as s
  -- As they are counted themselves, see metrics.count_pull_requests.
  join (values (false), (true)) as b (only_bots)
    on d.is_bot
    or not b.only_bots
  where d.tally is not null
  group by 1, 2, 3, 4, 5
  having sum(d.tally) <> 0
  order by 1, 2, 3, 4, 5
  on conflict on constraint pull_request_spans_pkey do update set deploy = t.deploy + excluded.deploy;

  if cardinality(removed) = 0 then
    return;
  end if;
  delete from metrics.pull_request_spans as t
  using (
    select distinct r.generation, r.pull_request_reference_id as reference_id, s.days, s.first_day
    from unnest(removed) as r
    join metrics.generations as g
      on g.id = r.generation
    cross join lateral metrics.spans_of(r.merged_at, g.time_zone) as s
  ) as k
  where t.generation = k.generation
    and t.reference_id = k.reference_id
    and t.days = k.days
    and t.first_day = k.first_day
    and (t.pull_requests, t.coding, t.pickup, t.review, t.merge, t.deploy, t.total) = (0, 0, 0, 0, 0, 0, 0);
end
$$;
revoke execute on function metrics.count_deploys(metrics.changes[], metrics.changes[]) from public;

comment on function metrics.count_deploys(metrics.changes[], metrics.changes[]) is 'Adds what became of pull requests to the phase deploy, and takes other out: of a commit that is a change of several services, the earliest shipping.';

create or replace function metrics.count_changed_deploys()
returns trigger
language plpgsql
set search_path = ''
as $$
declare
  added metrics.changes[] := '{}';
  removed metrics.changes[] := '{}';
begin
  if tg_op <> 'DELETE' then
    added := array(
      select n
      from new_rows as n
      where n.merged_at is not null
        and n.shipped_at is not null
    );
  end if;
  if tg_op <> 'INSERT' then
    removed := array(
      select o
      from old_rows as o
      where o.merged_at is not null
        and o.shipped_at is not null
    );
  end if;
  if cardinality(added) + cardinality(removed) > 0 then
    perform metrics.count_deploys(added, removed);
  end if;
  return null;
end
$$;
revoke execute on function metrics.count_changed_deploys() from public;

comment on function metrics.count_changed_deploys() is 'Keeps the phase deploy of pull requests: called once for each statement, with the rows as they really were and are.';

create or replace trigger count_deploys_of_inserted
  after insert on metrics.changes
  referencing new table as new_rows
  for each statement execute function metrics.count_changed_deploys();

create or replace trigger count_deploys_of_updated
  after update on metrics.changes
  referencing old table as old_rows new table as new_rows
  for each statement execute function metrics.count_changed_deploys();

create or replace trigger count_deploys_of_deleted
  after delete on metrics.changes
  referencing old table as old_rows
  for each statement execute function metrics.count_changed_deploys();
