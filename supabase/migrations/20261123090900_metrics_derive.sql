-- What joins facts. It is derived again from the facts whenever one of them changes, under the lock of the repository, so that two
-- deliveries that each see half of the truth cannot both leave half of it.

set lock_timeout = '2s';
set statement_timeout = '60s';

create or replace function metrics.lock_repositories(repositories bigint[])
returns void
language plpgsql
set search_path = ''
as $$
declare
  repository bigint;
begin
  for repository in
    select distinct r
    from unnest(repositories) as r
    order by r
  loop
    perform pg_advisory_xact_lock(hashtextextended('metrics.repositories ' || repository, 0));
  end loop;
end
$$;
revoke execute on function metrics.lock_repositories(bigint[]) from public;

comment on function metrics.lock_repositories(bigint[]) is 'Takes the locks of repositories until the end of the transaction, in ascending order, so that no two callers wait for each other.';

-- Which pull requests may change by these observations. Called before and after they are folded, because an observation can move a
-- review, a push or a branch from one pull request to another.
create or replace function metrics.pull_requests_touched_by(facts jsonb)
returns table (reference_id bigint, number integer)
language plpgsql
stable
set search_path = ''
-- A plan made while the tables were empty is kept by the session until they are analysed: it must not be a scan of the whole table.
set enable_seqscan = off
as $$
#variable_conflict use_column
begin
  return query
  with said as materialized (
    select k.kind, r.id as reference_id, r.repository_id, f.fact
    from (values ('pull_requests'), ('reviews'), ('pushes'), ('commits')) as k (kind)
    cross join lateral jsonb_array_elements(facts -> k.kind) as f (fact)
    join metrics.repository_references as r
      on r.reference = f.fact ->> 'repository'
  ),
  stored_pushes as materialized (
    select s.repository_id, p.ref, p.commits
    from said as s
    join metrics.pushes as p
      on p.reference_id = s.reference_id
      and p.ref = s.fact ->> 'ref'
      and p.before = s.fact ->> 'before'
      and p.after = s.fact ->> 'after'
    where s.kind = 'pushes'
  ),
  shas as materialized (
    select s.repository_id, s.fact ->> 'sha' as sha
    from said as s
    where s.kind = 'commits'
    union
    select s.repository_id, s.fact ->> 'after'
    from said as s
    where s.kind = 'pushes'
    union
    select s.repository_id, c.sha
    from said as s
    cross join lateral jsonb_array_elements_text(nullif(s.fact -> 'commits', 'null')) as c (sha)
    where s.kind = 'pushes'
    union
    select p.repository_id, c.sha
    from stored_pushes as p
    cross join lateral unnest(p.commits) as c (sha)
  ),
  branches as materialized (
    select s.repository_id, substr(s.fact ->> 'ref', 12) as branch
    from said as s
    where s.kind = 'pushes'
      and s.fact ->> 'ref' like 'refs/heads/%'
    union
    select s.repository_id, p.head_branch
    from said as s
    join metrics.pull_requests as p
      on p.reference_id = s.reference_id
      and p.number = (s.fact ->> 'number')::integer
    where s.kind = 'pull_requests'
    union
    -- Looked up for each commit: however many pushes a repository has, few of them hold it.
    select s.repository_id, substr(p.ref, 12)
    from shas as s
    cross join lateral (
      select q.reference_id, q.ref
      from metrics.pushes as q
      where q.commits @> array[s.sha]
      offset 0
    ) as p
    join metrics.repository_references as r
      on r.id = p.reference_id
      and r.repository_id = s.repository_id
    where p.ref like 'refs/heads/%'
  )
  select p.reference_id, p.number
  from branches as b
  join metrics.repository_references as r
    on r.repository_id = b.repository_id
  join metrics.pull_requests as p
    on p.reference_id = r.id
    and p.head_branch = b.branch
  union
  select p.reference_id, p.number
  from shas as s
  join metrics.repository_references as r
    on r.repository_id = s.repository_id
  join metrics.pull_requests as p
    on p.reference_id = r.id
    and p.head_sha = s.sha
  union
  select p.reference_id, p.number
  from shas as s
  join metrics.repository_references as r
    on r.repository_id = s.repository_id
  join metrics.pull_requests as p
    on p.reference_id = r.id
    and p.merge_sha = s.sha
  union
  select s.reference_id, (s.fact ->> 'number')::integer
  from said as s
  where s.kind = 'pull_requests'
  union
  select r.id, n.number
  from said as s
  left join metrics.reviews as v
    on v.reference_id = s.reference_id
    and v.external_id = s.fact ->> 'external_id'
  cross join lateral (
    values ((s.fact ->> 'pull_request_number')::integer), (v.pull_request_number)
  ) as n (number)
  join metrics.repository_references as r
    on r.repository_id = s.repository_id
  where s.kind = 'reviews'
    and n.number is not null;
end
$$;
revoke execute on function metrics.pull_requests_touched_by(jsonb) from public;

comment on function metrics.pull_requests_touched_by(jsonb) is 'Pull requests whose derived columns may depend on these observations, as the facts stand now.';

-- Own commits of pull requests: pushed for them, and not brought to the default branch by an earlier push than the merge's.
drop function if exists metrics.own_commits_of(bigint[], integer[]);

create function metrics.own_commits_of(reference_ids bigint[], numbers integer[])
returns table (reference_id bigint, number integer, shas text[])
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
#variable_conflict use_column
begin
  return query
  select p.reference_id, p.number, own.shas
  from (
    select distinct u.reference_id, u.number
    from unnest(own_commits_of.reference_ids, own_commits_of.numbers) as u (reference_id, number)
  ) as touched
  join metrics.pull_requests as p
    on p.reference_id = touched.reference_id
    and p.number = touched.number
  join metrics.repository_references as here
    on here.id = p.reference_id
  cross join lateral (
    select array_agg(r.id) as list
    from metrics.repository_references as r
    where r.repository_id = here.repository_id
  ) as siblings
  cross join lateral (
    -- A branch name is used again and again: what was pushed before the previous pull request from it was closed is not ours.
    select max(b.closed_at) as closed_at
    from metrics.pull_requests as b
    where b.reference_id = any(siblings.list)
      and b.head_branch = p.head_branch
      and b.is_fork is not true
      and b.number < p.number
  ) as previous
  cross join lateral (
    -- Looked up by the commit: however many pushes a repository has, few of them hold it.
    select coalesce(
      (
        select min(m.pushed_at)
        from (
          select q.reference_id, q.on_default_branch, q.pushed_at
          from metrics.pushes as q
          where q.commits @> array[p.merge_sha]
          union all
          select q.reference_id, q.on_default_branch, q.pushed_at
          from unnest(siblings.list) as r (id)
          join metrics.pushes as q
            on q.reference_id = r.id
            and q.after = p.merge_sha
          offset 0
        ) as m
        where m.reference_id = any(siblings.list)
          and m.on_default_branch
          and p.merge_sha is not null
      ),
      p.merged_at,
      'infinity'
    ) as at
  ) as merge
  cross join lateral (
    select coalesce(array_agg(o.sha), '{}') as shas
    from (
      select unnest(h.commits)
      from metrics.pushes as h
      where h.reference_id = any(siblings.list)
        and h.ref = 'refs/heads/' || p.head_branch
        and p.is_fork is not true
        and h.deleted is not true
        and h.on_default_branch is not true
        and (previous.closed_at is null or h.pushed_at > previous.closed_at)
      union
      select p.head_sha
    ) as o (sha)
    where o.sha is not null
      and not exists (
        select
        from (
          select q.reference_id, q.on_default_branch, q.pushed_at
          from metrics.pushes as q
          where q.commits @> array[o.sha]
          offset 0
        ) as e
        where e.reference_id = any(siblings.list)
          and e.on_default_branch
          and e.pushed_at < merge.at
      )
  ) as own;
end
$$;
revoke execute on function metrics.own_commits_of(bigint[], integer[]) from public;

comment on function metrics.own_commits_of(bigint[], integer[]) is 'The own commits of pull requests; of one from a fork, only the last is known.';

create or replace function metrics.derive_pull_requests(reference_ids bigint[], numbers integer[])
returns void
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
#variable_conflict use_column
begin
  update metrics.pull_requests as t
  set
    ready_at = d.ready_at,
    first_commit_at = d.first_commit_at,
    first_review_at = d.first_review_at,
    approved_at = d.approved_at,
    updated_at = now()
  from (
    select
      p.reference_id,
      p.number,
      reviewed.first_review_at,
      reviewed.approved_at,
      (
        select max(m.at)
        from (
          select unnest(p.ready_times)
          union all
          -- A draft that nobody has marked ready or reviewed has not been ready yet.
          select p.opened_at
          where not (
            coalesce(p.is_draft, false)
            and coalesce(cardinality(p.ready_times), 0) = 0
            and reviewed.first_review_at is null
          )
        ) as m (at)
        where m.at <= coalesce(reviewed.first_review_at, 'infinity')
      ) as ready_at,
      own.first_commit_at
    from (
      select distinct u.reference_id, u.number
      from unnest(derive_pull_requests.reference_ids, derive_pull_requests.numbers) as u (reference_id, number)
    ) as touched
    join metrics.pull_requests as p
      on p.reference_id = touched.reference_id
      and p.number = touched.number
    join metrics.repository_references as here
      on here.id = p.reference_id
    cross join lateral (
      select array_agg(r.id) as list
      from metrics.repository_references as r
      where r.repository_id = here.repository_id
    ) as siblings
    cross join lateral (
      select
        min(v.submitted_at) as first_review_at,
        min(v.submitted_at) filter (where v.state = 'approved') as approved_at
      from metrics.reviews as v
      where v.reference_id = any(siblings.list)
        and v.pull_request_number = p.number
        and v.reviewer is distinct from p.author
        and v.reviewer_is_bot is not true
        and v.state is distinct from 'pending'
    ) as reviewed
    join metrics.own_commits_of(derive_pull_requests.reference_ids, derive_pull_requests.numbers) as mine
      on mine.reference_id = p.reference_id
      and mine.number = p.number
    cross join lateral (
      select min(c.authored_at) as first_commit_at
      from metrics.commits as c
      where c.reference_id = any(siblings.list)
        and c.sha = any(mine.shas)
        -- Of a fork's branch nothing but its end is known.
        and p.is_fork is not true
        and p.head_branch is not null
    ) as own
  ) as d
  where t.reference_id = d.reference_id
    and t.number = d.number
    and (t.ready_at, t.first_commit_at, t.first_review_at, t.approved_at)
      is distinct from (d.ready_at, d.first_commit_at, d.first_review_at, d.approved_at);
end
$$;
revoke execute on function metrics.derive_pull_requests(bigint[], integer[]) from public;

comment on function metrics.derive_pull_requests(bigint[], integer[]) is 'Derives the moments of these pull requests again from the facts. The repository''s lock must be held.';
