-- The order of commits on a default branch, derived from the pushes that moved it, and what each commit changes. A push that comes late
-- takes its place: what stands behind it is derived again, and nothing else.

set lock_timeout = '2s';
set statement_timeout = '60s';

create table if not exists metrics.branch_moves (
  generation integer not null,
  repository_id bigint not null,
  line integer not null,
  ordinal integer not null,
  push_id bigint not null,
  pushed_at timestamptz,
  is_forced boolean not null,
  is_truncated boolean not null,
  constraint branch_moves_pkey primary key (generation, repository_id, line, ordinal)
);

create index if not exists branch_moves_push_id_idx on metrics.branch_moves (push_id);
create index if not exists branch_moves_first_idx on metrics.branch_moves (generation, repository_id) where ordinal = 1;
create index if not exists branch_moves_truncated_idx on metrics.branch_moves (generation, repository_id, pushed_at) where is_truncated;

comment on table metrics.branch_moves is 'Derived: the moves of a default branch in their order. The order between lines is unknown.';
comment on column metrics.branch_moves.generation is 'The generation that it belongs to.';
comment on column metrics.branch_moves.repository_id is 'Repository.';
comment on column metrics.branch_moves.line is 'Moves of one line have an order: 0 is that of all whose time is known, with what hangs on it. Others are numbered, with gaps, in the order of the names of the commits that they begin with.';
comment on column metrics.branch_moves.ordinal is 'Place in the line.';
comment on column metrics.branch_moves.push_id is 'The push, which says from which commit to which it moved the branch.';
comment on column metrics.branch_moves.pushed_at is 'When, where the provider says.';
comment on column metrics.branch_moves.is_forced is 'Whether it rewrote history.';
comment on column metrics.branch_moves.is_truncated is 'Whether the provider listed only some of its commits.';

create table if not exists metrics.changes (
  generation integer not null,
  repository_id bigint not null,
  service_id bigint not null,
  sha text not null,
  line integer not null,
  position bigint not null,
  is_listed boolean not null,
  gone_position bigint,
  gone_reason text,
  reference_id bigint,
  started_at timestamptz,
  basis text,
  is_bot boolean not null default false,
  is_merge_commit boolean not null default false,
  is_hotfix boolean not null default false,
  reverts text[],
  pull_request_reference_id bigint,
  pull_request_number integer,
  pull_request_is_bot boolean,
  merged_at timestamptz,
  shipped_by bigint,
  shipped_at timestamptz,
  is_first_shipped boolean not null default false,
  is_order_unknown boolean not null default false,
  exclusion text generated always as (
    case
      when not is_listed or service_id = 0 then 'no_change'
      when is_merge_commit then 'merge_commit'
      when shipped_at is null and gone_position is not null then gone_reason
      when shipped_at is null and is_order_unknown then 'order_unknown'
      when shipped_at is null then 'waiting'
      when is_first_shipped then 'first_deployment'
      when started_at is null then 'start_unknown'
      when started_at > shipped_at then 'start_after_shipping'
    end
  ) stored,
  lead_seconds double precision generated always as (
    case when shipped_at >= started_at then extract(epoch from shipped_at - started_at) end
  ) stored,
  constraint changes_pkey primary key (generation, repository_id, line, position, service_id),
  constraint gone_reason_is_known check (gone_reason in ('taken_off', 'rewritten')),
  constraint basis_is_known check (basis in ('commit', 'first_commit', 'pull_request_opened'))
);

-- By hash: a tree of commits' names would be the largest index of all.
create index if not exists changes_sha_idx on metrics.changes using hash (sha);
create index if not exists changes_mending_idx on metrics.changes (shipped_by) where shipped_by is not null and (reverts is not null or is_hotfix);
create index if not exists changes_shipped_at_idx on metrics.changes (generation, service_id, shipped_at);
create index if not exists changes_unshipped_idx
  on metrics.changes (generation, service_id, started_at)
  where exclusion in ('rewritten', 'order_unknown');
create index if not exists changes_merged_at_idx on metrics.changes (generation, repository_id, merged_at) where merged_at is not null;
create index if not exists changes_pull_request_idx
  on metrics.changes (pull_request_reference_id, pull_request_number)
  where pull_request_number is not null;
create index if not exists changes_order_unknown_idx on metrics.changes (generation, service_id) where is_order_unknown;
create index if not exists changes_gone_idx on metrics.changes (generation, repository_id, line, gone_position, position) where gone_position is not null;

comment on table metrics.changes is 'Derived: a commit of a default branch as a change of a service, and the deployment that shipped it first. Service 0 holds the place of commits that change no service.';
comment on column metrics.changes.generation is 'The generation that it belongs to.';
comment on column metrics.changes.repository_id is 'Repository.';
comment on column metrics.changes.service_id is 'Service; 0 for none.';
comment on column metrics.changes.sha is 'The commit.';
comment on column metrics.changes.line is 'The line of moves that it stands on.';
comment on column metrics.changes.position is 'Place in the line: ordinal of the move times 2^20, and the place within it.';
comment on column metrics.changes.is_listed is 'False where a move ends on a commit that it did not list.';
comment on column metrics.changes.gone_position is 'Place of the forced push that took it off the branch.';
comment on column metrics.changes.gone_reason is 'taken_off: the branch went back to an earlier commit. rewritten: to one that was not on it.';
comment on column metrics.changes.reference_id is 'Repository reference that told of the commit.';
comment on column metrics.changes.started_at is 'When the change began, by its basis.';
comment on column metrics.changes.basis is 'commit: when it was authored; first_commit: of the pull request that was squashed into it; pull_request_opened: where that is unknown.';
comment on column metrics.changes.is_bot is 'Whether a bot made it.';
comment on column metrics.changes.is_merge_commit is 'Whether it only joins commits that are on the branch themselves: no change, followed for its pull request.';
comment on column metrics.changes.is_hotfix is 'Whether its pull request has a label of a hotfix.';
comment on column metrics.changes.reverts is 'Commits that it says it reverts.';
comment on column metrics.changes.pull_request_reference_id is 'Repository reference of the pull request that was merged as this commit.';
comment on column metrics.changes.pull_request_number is 'Number of that pull request.';
comment on column metrics.changes.pull_request_is_bot is 'Whether a bot is that pull request''s author.';
comment on column metrics.changes.merged_at is 'When that pull request was merged.';
comment on column metrics.changes.shipped_by is 'The first successful production deployment of the service that contains it.';
comment on column metrics.changes.shipped_at is 'When that finished.';
comment on column metrics.changes.is_first_shipped is 'Whether that is the first of the service.';
comment on column metrics.changes.is_order_unknown is 'Whether something was deployed since that may or may not contain it.';
comment on column metrics.changes.exclusion is 'Why it counts in no lead time; NULL when it counts.';
comment on column metrics.changes.lead_seconds is 'Seconds from its start to its shipping.';

drop function if exists metrics.ensure_service(integer, bigint);

create function metrics.ensure_service(generation integer, repository bigint)
returns void
language plpgsql
set search_path = ''
as $$
begin
  insert into metrics.services (generation, repository_id)
  select ensure_service.generation, repository
  where not exists (
    select
    from metrics.services as s
    where s.generation = ensure_service.generation
      and s.repository_id = repository
  )
  on conflict do nothing;
end
$$;
revoke execute on function metrics.ensure_service(integer, bigint) from public;

comment on function metrics.ensure_service(integer, bigint) is 'Makes a repository a service, unless it has services by rules.';

-- The moves of a default branch, each once: a push that two senders told is one move.
drop function if exists metrics.moves_of(bigint, timestamptz, timestamptz);

create function metrics.moves_of(repository bigint, since timestamptz, until timestamptz)
returns table (push_id bigint, before text, after text, pushed_at timestamptz, is_forced boolean, is_truncated boolean)
language plpgsql
stable
set search_path = ''
rows 1000
as $$
#variable_conflict use_column
begin
  return query
  with moves as materialized (
    select p.id, p.before, p.after, p.pushed_at, p.forced, p.created, p.truncated, p.commits
    from metrics.repository_references as r
    cross join lateral (
      select f.*
      from metrics.pushes as f
      where f.reference_id = r.id
        and f.on_default_branch is not false
        and f.pushed_at >= since
        and f.pushed_at < until
      union all
      select f.*
      from metrics.pushes as f
      where f.reference_id = r.id
        and f.on_default_branch is not false
        and f.pushed_at is null
    ) as p
    where r.repository_id = repository
      and p.deleted is not true
      and (
        p.on_default_branch
        or p.ref = 'refs/heads/' || (select o.default_branch from metrics.repositories as o where o.id = repository)
      )
  )
  select distinct on (m.before collate "C", m.after collate "C", m.pushed_at)
    m.id,
    m.before,
    m.after,
    m.pushed_at,
    bool_or(m.forced is true) over of_move and not bool_or(m.created is true) over of_move and m.before !~ '^0*$',
    m.truncated is true
  from (
    select o.*, max(o.pushed_at) over (partition by o.before, o.after) as told_at
    from moves as o
  ) as m
  where m.pushed_at is not null
    or m.told_at is null
  window of_move as (partition by m.before, m.after, m.pushed_at)
  order by m.before collate "C", m.after collate "C", m.pushed_at, m.truncated is true, coalesce(cardinality(m.commits), 0) desc, m.commits::text collate "C", m.id;
end
$$;
revoke execute on function metrics.moves_of(bigint, timestamptz, timestamptz) from public;

comment on function metrics.moves_of(bigint, timestamptz, timestamptz) is 'Pushes that moved the default branch since a moment and before another, and all whose time is unknown.';

-- Where a commit was put on the branch, each time; a move's end that it does not list counts as a place at its end.
drop function if exists metrics.places_of(integer, bigint, text[]);

create function metrics.places_of(generation integer, repository bigint, shas text[])
returns table (sha text, line integer, place bigint, is_listed boolean)
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  siblings constant bigint[] := array(select r.id from metrics.repository_references as r where r.repository_id = repository);
begin
  return query
  select p.sha, p.line, p.place, p.is_listed
  from (
    select u.*, min(u.place) over (partition by u.sha, u.line) as first_place
    from (
      select c.sha, m.line, (m.ordinal::bigint << 20) + c.n as place, true as is_listed, false as is_forced
      from unnest(shas) as s (sha)
      cross join lateral (
        select q.id, q.commits
        from metrics.pushes as q
        where q.commits @> array[s.sha]
        offset 0
      ) as p
      join metrics.branch_moves as m
        on m.push_id = p.id
        and m.generation = places_of.generation
        and m.repository_id = repository
      cross join lateral unnest(p.commits) with ordinality as c (sha, n)
      where c.sha = s.sha
      union all
      select p.after, m.line, (m.ordinal::bigint << 20) + 1048575, false, m.is_forced
      from unnest(shas) as s (sha)
      cross join lateral (
        select q.id, q.after, q.commits
        from metrics.pushes as q
        where q.reference_id = any(siblings)
          and q.after = s.sha
        offset 0
      ) as p
      join metrics.branch_moves as m
        on m.push_id = p.id
        and m.generation = places_of.generation
        and m.repository_id = repository
      where not coalesce(p.commits @> array[p.after], false)
        and p.after !~ '^0+$'
    ) as u
  ) as p
  -- A branch that is forced back to a commit does not bring it: the commit stays where it was.
  where not p.is_forced
    or p.place = p.first_place;
end
$$;
revoke execute on function metrics.places_of(integer, bigint, text[]) from public;

comment on function metrics.places_of(integer, bigint, text[]) is 'Every place of these commits on the default branch.';

-- Most pushes go on from where a line ends, and one of which the push before was missed begins a line, until that comes. One without a
-- time, which has no other place, is put there without looking at the others.
drop function if exists metrics.append_move(integer, bigint, bigint);

create function metrics.append_move(
  generation integer,
  repository bigint,
  push bigint,
  out is_done boolean,
  out first_line integer,
  out first_ordinal integer
)
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
declare
  siblings constant bigint[] := array(select r.id from metrics.repository_references as r where r.repository_id = repository);
  this metrics.pushes;
  before_it record;
  behind_it record;
  line_before integer;
  line_behind integer;
begin
  is_done := false;
  select *
  into this
  from metrics.pushes as p
  where p.id = append_move.push
    and p.pushed_at is null
    and p.forced is not true
    and p.on_default_branch
    and p.deleted is not true
    and p.after !~ '^0+$'
    -- What was told of it otherwise than before may stand elsewhere.
    and not exists (
      select
      from metrics.branch_moves as o
      where o.push_id = p.id
        and o.generation = append_move.generation
        and o.repository_id = repository
    );
  if not found then
    return;
  end if;

  -- Somebody else told of this move, with its time or more of it.
  is_done := exists (
    select
    from metrics.pushes as q
    join metrics.branch_moves as o
      on o.push_id = q.id
      and o.generation = append_move.generation
      and o.repository_id = repository
    where q.reference_id = any(siblings)
      and q.after = this.after
      and q.before = this.before
      and (
        q.pushed_at is not null
        or (
          not o.is_forced
          and (q.truncated is true, -coalesce(cardinality(q.commits), 0), q.commits::text collate "C", q.id)
            < (this.truncated is true, -coalesce(cardinality(this.commits), 0), this.commits::text collate "C", this.id)
        )
      )
  );
  if is_done then
    return;
  end if;

  -- The one that ends where this one begins, if there is one such, and no other that has a claim on the place of this one or on the next.
  for before_it in
    select o.line, o.ordinal, q.after
    from metrics.pushes as q
    join metrics.branch_moves as o
      on o.push_id = q.id
      and o.generation = append_move.generation
      and o.repository_id = repository
    where q.reference_id = any(siblings)
      and q.after in (this.before, this.after)
  loop
    if before_it.after = this.after or first_line is not null then
      first_line := null;
      return;
    end if;
    first_line := before_it.line;
    first_ordinal := before_it.ordinal + 1;
  end loop;
  if this.before = this.after
    or exists (
      select
      from metrics.pushes as q
      join metrics.branch_moves as o
        on o.push_id = q.id
        and o.generation = append_move.generation
        and o.repository_id = repository
      where q.reference_id = any(siblings)
        and q.before = this.before
        and first_line is not null
    )
    or exists (
      select
      from metrics.branch_moves as o
      where o.generation = append_move.generation
        and o.repository_id = repository
        and o.line = first_line
        and o.ordinal >= append_move.first_ordinal
    )
  then
    first_line := null;
    first_ordinal := null;
    return;
  end if;

  -- The one that begins where this one ends: with it goes its line, unless another has a claim on a place in that.
  select count(*) as count, min(o.line) as line, min(o.ordinal) as ordinal
  into behind_it
  from metrics.pushes as q
  join metrics.branch_moves as o
    on o.push_id = q.id
    and o.generation = append_move.generation
    and o.repository_id = repository
  where q.reference_id = any(siblings)
    and q.before = this.after;
  if behind_it.count > 1
    or behind_it.ordinal > 1
    or behind_it.line = 0
    or behind_it.line = first_line
    or exists (
      select
      from metrics.branch_moves as m
      cross join lateral (
        select p.after
        from metrics.pushes as p
        where p.id = m.push_id
        offset 0
      ) as p
      cross join lateral (
        select q.id
        from metrics.pushes as q
        where q.reference_id = any(siblings)
          and q.before = p.after
        union all
        select q.id
        from metrics.pushes as q
        where q.reference_id = any(siblings)
          and q.after = p.after
      ) as q
      join metrics.branch_moves as o
        on o.push_id = q.id
        and o.generation = append_move.generation
        and o.repository_id = repository
      where m.generation = append_move.generation
        and m.repository_id = repository
        and m.line = behind_it.line
        and (m.is_forced or o.line <> behind_it.line)
    )
  then
    first_line := null;
    first_ordinal := null;
    return;
  end if;

  if first_line is null then
    -- Lines stand in the order in which they are begun: each time by the least of all that follow none which is left.
    select min(o.line)
    into line_behind
    from metrics.branch_moves as o
    join metrics.pushes as q
      on q.id = o.push_id
    where o.generation = append_move.generation
      and o.repository_id = repository
      and o.ordinal = 1
      and o.line > 0
      and (q.before collate "C", q.after collate "C") > (this.before collate "C", this.after collate "C");
    select max(o.line)
    into line_before
    from metrics.branch_moves as o
    where o.generation = append_move.generation
      and o.repository_id = repository
      and o.line < coalesce(line_behind, 2147483647);
    line_before := coalesce(line_before, 0);
    first_line := case
      when line_behind is not null then line_before + (line_behind - line_before) / 2
      when line_before = 0 then 1073741824
      else line_before + least(65536, (2147483646 - line_before) / 2)
    end;
    first_ordinal := 1;
    if first_line = line_before then
      -- No number is left between them.
      first_line := null;
      first_ordinal := null;
      return;
    end if;
  end if;

  insert into metrics.branch_moves (generation, repository_id, line, ordinal, push_id, pushed_at, is_forced, is_truncated)
  values (append_move.generation, repository, first_line, first_ordinal, this.id, null, false, this.truncated is true);
  if behind_it.count = 1 then
    update metrics.branch_moves as m
    set
      line = append_move.first_line,
      ordinal = append_move.first_ordinal + m.ordinal
    where m.generation = append_move.generation
      and m.repository_id = repository
      and m.line = behind_it.line;
  end if;
  is_done := true;
end
$$;
revoke execute on function metrics.append_move(integer, bigint, bigint) from public;

comment on function metrics.append_move(integer, bigint, bigint) is 'Puts a push without a time at the end of the line that it goes on from, or into a line of its own when it goes on from none; the line that goes on from it follows. Done without a line when the move is there already; not done when it is not that simple.';

-- Puts the moves since a moment into their order, up to another where there is nothing of them yet. What was ordered before stays.
drop function if exists metrics.order_moves(integer, bigint, timestamptz, timestamptz, boolean);

create function metrics.order_moves(
  generation integer,
  repository bigint,
  since timestamptz,
  until timestamptz,
  has_untimed boolean,
  out first_line integer,
  out first_ordinal integer
)
language plpgsql
set search_path = ''
set enable_hashjoin = on
as $$
declare
  ids bigint[];
  befores text[] collate "C";
  afters text[] collate "C";
  times timestamptz[];
  are_forced boolean[];
  is_taken boolean[];
  -- Of those without a time that begin with the same commit, which stand side by side, the first: where each belongs, and where each leads.
  groups integer[];
  led_to integer[];
  -- How many that are left lead to the group that begins here. When none does, its members may begin a line.
  left_before integer[];
  is_root boolean[];
  roots_in integer[];
  block integer;
  least_block integer := 0;
  first_left integer;
  spacing integer;
  timed integer;
  total integer;
  tip text collate "C";
  tip_leads_to integer;
  next_ordinal integer;
  current_line integer := 0;
  made_ids bigint[] := '{}';
  made_lines integer[] := '{}';
  made_ordinals integer[] := '{}';
  made_forced boolean[] := '{}';
  i integer := 1;
  j integer;
  k integer;
  pick integer;
  low integer;
  left_of_group integer;
  left_untimed integer;
  follows_none boolean;
begin
  if has_untimed then
    since := '-infinity';
    until := 'infinity';
  end if;
  if isfinite(since) then
    -- Those of line 0 stand in the order of their times.
    select p.after, m.ordinal + 1
    into tip, next_ordinal
    from metrics.branch_moves as m
    join metrics.pushes as p
      on p.id = m.push_id
    where m.generation = order_moves.generation
      and m.repository_id = repository
      and m.line = 0
      and m.pushed_at < since
    order by m.ordinal desc
    limit 1;
  end if;
  if next_ordinal is null then
    delete from metrics.branch_moves as m
    where m.generation = order_moves.generation
      and m.repository_id = repository;
  else
    delete from metrics.branch_moves as m
    where m.generation = order_moves.generation
      and m.repository_id = repository
      and m.line = 0
      and m.ordinal >= next_ordinal;
  end if;
  next_ordinal := coalesce(next_ordinal, 1);
  first_ordinal := next_ordinal;

  -- Those with a time first, by it; then the others, in the order in which they are looked for.
  with moves as materialized (
    select m.*, row_number() over (order by m.pushed_at, m.before collate "C", m.after collate "C")::integer as n
    from metrics.moves_of(repository, since, until) as m
    where m.pushed_at is not null
      or has_untimed
  ),
  beginnings as materialized (
    select m.before, min(m.n) as first
    from moves as m
    where m.pushed_at is null
    group by m.before
  )
  select
    coalesce(array_agg(m.push_id order by m.n), '{}'),
    array_agg(m.before order by m.n),
    array_agg(m.after order by m.n),
    array_agg(m.pushed_at order by m.n),
    array_agg(m.is_forced order by m.n),
    array_agg(b.first order by m.n),
    array_agg(a.first order by m.n),
    count(m.pushed_at),
    count(*)
  into ids, befores, afters, times, are_forced, groups, led_to, timed, total
  from moves as m
  left join beginnings as b
    on b.before = m.before
    and m.pushed_at is null
  left join beginnings as a
    on a.before = m.after;
  is_taken := array_fill(false, array[total]);
  left_untimed := total - timed;
  if left_untimed > 0 then
    left_before := array_fill(0, array[total]);
    is_root := array_fill(false, array[total]);
    -- Counted in blocks as well, so that the least is found without looking at each.
    block := ceil(sqrt(total));
    roots_in := array_fill(0, array[total / block + 1]);
    first_left := timed + 1;
    for n in timed + 1 .. total loop
      if led_to[n] is not null then
        left_before[led_to[n]] := left_before[led_to[n]] + 1;
      end if;
    end loop;
    for n in timed + 1 .. total loop
      if left_before[groups[n]] = 0 then
        is_root[n] := true;
        roots_in[n / block + 1] := roots_in[n / block + 1] + 1;
      end if;
    end loop;
  end if;

  loop
    pick := null;
    if i <= timed then
      if is_taken[i] then
        i := i + 1;
        continue;
      end if;
      -- Of those of one moment, the one that goes on from here.
      j := i;
      left_of_group := 0;
      while j <= timed and times[j] = times[i] loop
        if not is_taken[j] then
          left_of_group := left_of_group + 1;
          if befores[j] = tip and (pick is null or afters[j] < afters[pick]) then
            pick := j;
          end if;
        end if;
        j := j + 1;
      end loop;
    end if;

    if pick is null and left_untimed > 0 and tip_leads_to is not null then
      -- The first of the others whose before is this.
      low := tip_leads_to;
      while low <= total and groups[low] = tip_leads_to loop
        if not is_taken[low] then
          pick := low;
          exit;
        end if;
        low := low + 1;
      end loop;
    end if;

    if pick is null and i <= timed then
      if left_of_group = 1 then
        pick := i;
      else
        -- One that follows none of the others; of several, and of a circle, the least.
        for k in i .. j - 1 loop
          if not is_taken[k] then
            follows_none := true;
            for low in i .. j - 1 loop
              if low <> k and not is_taken[low] and afters[low] = befores[k] then
                follows_none := false;
                exit;
              end if;
            end loop;
            if follows_none then
              pick := k;
              exit;
            end if;
          end if;
        end loop;
        pick := coalesce(pick, i);
      end if;
    end if;

    if pick is null then
      exit when left_untimed = 0;
      -- A line of its own begins.
      current_line := current_line + 1;
      next_ordinal := 1;
      while least_block < cardinality(roots_in) and roots_in[least_block + 1] = 0 loop
        least_block := least_block + 1;
      end loop;
      if least_block < cardinality(roots_in) then
        pick := least_block * block;
        while is_root[pick] is not true loop
          pick := pick + 1;
        end loop;
      else
        -- What is left runs in circles.
        while is_taken[first_left] loop
          first_left := first_left + 1;
        end loop;
        pick := first_left;
      end if;
    end if;

    is_taken[pick] := true;
    if pick > timed then
      left_untimed := left_untimed - 1;
      if is_root[pick] then
        is_root[pick] := false;
        roots_in[pick / block + 1] := roots_in[pick / block + 1] - 1;
      end if;
      low := led_to[pick];
      if low is not null then
        left_before[low] := left_before[low] - 1;
        while left_before[led_to[pick]] = 0 and groups[low] = led_to[pick] loop
          if not is_taken[low] then
            is_root[low] := true;
            roots_in[low / block + 1] := roots_in[low / block + 1] + 1;
            least_block := least(least_block, low / block);
          end if;
          low := low + 1;
        end loop;
      end if;
    end if;
    made_ids := made_ids || ids[pick];
    made_lines := made_lines || current_line;
    made_ordinals := made_ordinals || next_ordinal;
    made_forced := made_forced || are_forced[pick];
    next_ordinal := next_ordinal + 1;
    tip := afters[pick];
    tip_leads_to := led_to[pick];
  end loop;

  -- With room for lines between these.
  spacing := 2147483647 / (current_line + 1);
  insert into metrics.branch_moves (generation, repository_id, line, ordinal, push_id, pushed_at, is_forced, is_truncated)
  select
    order_moves.generation,
    repository,
    u.line * spacing,
    u.ordinal,
    p.id,
    p.pushed_at,
    u.is_forced,
    p.truncated is true
  from unnest(made_ids, made_lines, made_ordinals, made_forced) as u (push_id, line, ordinal, is_forced)
  join metrics.pushes as p
    on p.id = u.push_id;
  first_line := 0;
  if has_untimed or since = '-infinity' then
    first_ordinal := 0;
  end if;
end
$$;
revoke execute on function metrics.order_moves(integer, bigint, timestamptz, timestamptz, boolean) from public;

comment on function metrics.order_moves(integer, bigint, timestamptz, timestamptz, boolean) is 'Orders the moves of a default branch again from a moment on, or all; with an end, those before it, where none is ordered yet. Returns from where on they may stand elsewhere: ordinal 0 when all may.';

-- What a commit changes, since when, by its pull request.
drop function if exists metrics.described(integer, bigint, text[]);

create function metrics.described(generation integer, repository bigint, shas text[])
returns table (
  sha text,
  reference_id bigint,
  basis text,
  started_at timestamptz,
  is_bot boolean,
  is_merge_commit boolean,
  is_hotfix boolean,
  reverts text[],
  pull_request_reference_id bigint,
  pull_request_number integer,
  pull_request_is_bot boolean,
  merged_at timestamptz
)
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
set enable_hashjoin = on
as $$
#variable_conflict use_column
declare
  siblings constant bigint[] := array(select r.id from metrics.repository_references as r where r.repository_id = repository);
  hotfix_labels constant text[] := (
    select array(select lower(l) from unnest(g.hotfix_labels) as l)
    from metrics.generations as g
    where g.id = described.generation
  );
begin
  return query
  with found as materialized (
    select
      s.sha,
      d.reference_id,
      d.authored_at,
      d.is_bot,
      d.reverts,
      m.reference_id as pull_request_reference_id,
      m.number as pull_request_number,
      m.is_bot as pull_request_is_bot,
      m.merged_at,
      m.first_commit_at,
      m.opened_at,
      m.is_hotfix
    from unnest(shas) as s (sha)
    -- Each looked up by its commit, however many there are.
    cross join lateral (
      select
        min(c.reference_id) as reference_id,
        min(c.authored_at) as authored_at,
        coalesce(bool_or(c.author_is_bot), false) as is_bot,
        min(c.reverts) filter (where cardinality(c.reverts) > 0) as reverts
      from metrics.commits as c
      where c.reference_id = any(siblings)
        and c.sha = s.sha
    ) as d
    left join lateral (
      select
        p.reference_id,
        p.number,
        p.author_is_bot is true as is_bot,
        p.merged_at,
        p.first_commit_at,
        p.opened_at,
        coalesce(array(select lower(l) from unnest(p.labels) as l) && hotfix_labels, false) as is_hotfix
      from metrics.pull_requests as p
      where p.reference_id = any(siblings)
        and p.merge_sha = s.sha
      order by
        p.merged_at is null,
        p.number,
        (select r.reference from metrics.repository_references as r where r.id = p.reference_id) collate "C"
      limit 1
    ) as m
      on true
  ),
  owned as materialized (
    select w.reference_id, w.number, w.shas
    from (
      select array_agg(f.pull_request_reference_id) as reference_ids, array_agg(f.pull_request_number) as numbers
      from found as f
      where f.pull_request_number is not null
    ) as n
    cross join lateral (
      select *
      from metrics.own_commits_of(n.reference_ids, n.numbers)
      -- Most commits are of no pull request: then it is not called.
      where n.numbers is not null
    ) as w
  )
  select
    f.sha,
    f.reference_id,
    b.basis,
    case b.basis
      when 'first_commit' then f.first_commit_at
      when 'pull_request_opened' then f.opened_at
      else f.authored_at
    end as started_at,
    coalesce(case when b.basis <> 'commit' then f.pull_request_is_bot else f.is_bot end, false) as is_bot,
    coalesce(k.joins, false) as is_merge_commit,
    coalesce(f.is_hotfix, false) as is_hotfix,
    f.reverts,
    f.pull_request_reference_id,
    f.pull_request_number,
    f.pull_request_is_bot,
    f.merged_at
  from found as f
  left join owned as o
    on o.reference_id = f.pull_request_reference_id
    and o.number = f.pull_request_number
  left join lateral (
    select
      f.sha = any(o.shas)
      or exists (
        select
        from metrics.commits as c
        where c.reference_id = any(siblings)
          and c.sha = any(o.shas)
          and c.authored_at = f.authored_at
      ) as is_own,
      exists (
        select
        from unnest(o.shas) as h (sha)
        cross join lateral (
          select c.generation, c.repository_id
          from metrics.changes as c
          where c.sha = h.sha
          offset 0
        ) as c
        where c.generation = described.generation
          and c.repository_id = repository
      ) as is_there
    where f.pull_request_number is not null
  ) as w
    on true
  cross join lateral (
    select
      f.pull_request_number is not null and not w.is_own and w.is_there as joins,
      f.pull_request_number is not null and not w.is_own and not w.is_there as squashes
  ) as k
  cross join lateral (
    select case
      when not k.squashes then 'commit'
      when f.first_commit_at is not null then 'first_commit'
      else 'pull_request_opened'
    end as basis
  ) as b;
end
$$;
revoke execute on function metrics.described(integer, bigint, text[]) from public;

comment on function metrics.described(integer, bigint, text[]) is 'When these commits began as changes, on what basis, and by which pull request they came, as the facts and the places of commits say now.';

-- Writes where commits stand, as changes of the services that they change: those of a line's moves between two ordinals (first 0: of all
-- lines), and those of which something else was told. Returns the commits that stand elsewhere now, are gone, or change another service.
drop function if exists metrics.place_changes(integer, bigint, integer, integer, integer, text[]);

create function metrics.place_changes(
  generation integer,
  repository bigint,
  first_line integer,
  first_ordinal integer,
  last_ordinal integer,
  touched text[],
  out written text[],
  out merging text[],
  out fallen_back boolean
)
language plpgsql
set search_path = ''
set enable_seqscan = off
-- Whether few commits are looked at or all of a repository: what was made of them is joined by hashing, not row by row.
set enable_hashjoin = on
as $$
#variable_conflict use_column
declare
  first_position constant bigint := place_changes.first_ordinal::bigint << 20;
  -- Bounds that an index is read between, whatever they are.
  least_line constant integer := case when place_changes.first_ordinal = 0 then 0 else first_line end;
  last_line constant integer := case when place_changes.first_ordinal = 0 then 2147483647 else first_line end;
  siblings constant bigint[] := array(select r.id from metrics.repository_references as r where r.repository_id = repository);
  has_globs constant boolean := exists (
    select
    from metrics.services as s
    where s.generation = place_changes.generation
      and s.repository_id = repository
      and s.path_globs is not null
  );
  moved text[] := '{}';
  elsewhere text[] := '{}';
  ends text[] := '{}';
  new_places jsonb;
  stale tid[];
  taken metrics.changes[];
  told text[];
begin
  if place_changes.first_ordinal is not null then
    -- What stood there, and stands there no more, is looked for in what was before.
    select
      coalesce(array_agg(distinct u.sha) filter (where u.is_there), '{}'),
      coalesce(array_agg(distinct u.sha), '{}')
    into moved, elsewhere
    from (
      select c.sha, false as is_there
      from metrics.changes as c
      where c.generation = place_changes.generation
        and c.repository_id = repository
        and (c.line, c.position) between (least_line, first_position) and (last_line, 9223372036854775807)
      union all
      select l.sha, true
      from metrics.branch_moves as m
      -- Each looked up by its push, whatever the planner thinks of how many there are.
      cross join lateral (
        select q.after, q.commits
        from metrics.pushes as q
        where q.id = m.push_id
        offset 0
      ) as p
      cross join lateral unnest(p.commits || p.after) as l (sha)
      where m.generation = place_changes.generation
        and m.repository_id = repository
        and (m.line, m.ordinal) between (least_line, place_changes.first_ordinal) and (last_line, place_changes.last_ordinal)
        and l.sha !~ '^0+$'
    ) as u;
    elsewhere := array(select unnest(elsewhere) except select unnest(moved));
    -- Where a move ends on a commit that it does not list, all places of that commit matter.
    ends := array(
      select distinct p.after
      from metrics.branch_moves as m
      cross join lateral (
        select q.after, q.commits
        from metrics.pushes as q
        where q.id = m.push_id
        offset 0
      ) as p
      where m.generation = place_changes.generation
        and m.repository_id = repository
        and (m.line, m.ordinal) between (least_line, place_changes.first_ordinal) and (last_line, place_changes.last_ordinal)
        and not coalesce(p.commits @> array[p.after], false)
        and p.after !~ '^0+$'
    );
    -- As they do of one that stands on an earlier line.
    if first_line > 0 then
      ends := array(
        select unnest(ends)
        union
        select s.sha
        from unnest(moved) as s (sha)
        cross join lateral (
          select c.generation, c.repository_id
          from metrics.changes as c
          where c.sha = s.sha
          offset 0
        ) as c
        where c.generation = place_changes.generation
          and c.repository_id = repository
      );
    end if;
  end if;
  told := array(
    select unnest(moved)
    union
    select unnest(elsewhere)
    union
    select unnest(touched)
  );

  -- Each looked up by its commit, whatever the planner knows of the table: + 0 keeps it from reading all of the repository.
  with present as materialized (
    select c.*
    from unnest(told) as s (sha)
    cross join lateral (
      select t.ctid as row_id, t.generation, t.repository_id, t.service_id, t.sha, t.line, t.position, t.is_listed, t.gone_position, t.gone_reason
      from metrics.changes as t
      where t.sha = s.sha
        and t.generation + 0 = place_changes.generation
        and t.repository_id + 0 = repository
      offset 0
    ) as c
  ),
  places as (
    select l.sha, m.line, (m.ordinal::bigint << 20) + l.n as place, true as is_listed, null::bigint as gone_position, null as gone_reason
    from metrics.branch_moves as m
    cross join lateral (
      select q.after, q.commits
      from metrics.pushes as q
      where q.id = m.push_id
      offset 0
    ) as p
    cross join lateral unnest(p.commits) with ordinality as l (sha, n)
    where m.generation = place_changes.generation
      and m.repository_id = repository
      and (m.line, m.ordinal) between (least_line, place_changes.first_ordinal) and (last_line, place_changes.last_ordinal)
    union all
    select o.sha, o.line, o.place, o.is_listed, null, null
    from metrics.places_of(place_changes.generation, repository, elsewhere || ends) as o
    where cardinality(elsewhere || ends) > 0
    union all
    select c.sha, c.line, c.position, c.is_listed, c.gone_position, c.gone_reason
    from (
      select unnest(touched)
      except
      select unnest(moved)
      except
      select unnest(elsewhere)
    ) as s (sha)
    join present as c
      on c.sha = s.sha
  ),
  latest as (
    select distinct on (p.sha)
      p.sha, p.line, p.place, bool_or(p.is_listed) over (partition by p.sha) as is_listed, p.gone_position, p.gone_reason
    from places as p
    order by p.sha, p.line, p.place desc
  ),
  wanted as materialized (
    select l.*, coalesce(s.id, 0) as service_id
    from latest as l
    left join lateral (
      select v.id
      from metrics.services as v
      where v.generation = place_changes.generation
        and v.repository_id = repository
        and l.is_listed
        and (
          v.path_globs is null
          or not exists (
            select
            from metrics.commits as c
            where has_globs
              and c.reference_id = any(siblings)
              and c.sha = l.sha
              and c.changed_paths is not null
          )
          or exists (
            select
            from metrics.commits as c
            cross join lateral unnest(c.changed_paths) as f (path)
            join unnest(v.path_globs) as g (glob)
              on f.path ~ metrics.glob_pattern(g.glob)
            where c.reference_id = any(siblings)
              and c.sha = l.sha
          )
        )
    ) as s
      on true
  )
  select
    (
      select array_agg(p.row_id)
      from present as p
      left join wanted as w
        on w.sha = p.sha
        and w.service_id = p.service_id
        and w.line = p.line
        and w.place = p.position
        and w.is_listed = p.is_listed
      where w.sha is null
    ),
    (
      select jsonb_agg(jsonb_build_array(w.sha, w.service_id, w.line, w.place, w.is_listed, w.gone_position, w.gone_reason))
      from wanted as w
      left join present as p
        on p.sha = w.sha
        and p.service_id = w.service_id
        and p.line = w.line
        and p.position = w.place
        and p.is_listed = w.is_listed
      where p.sha is null
    )
  into stale, new_places;
  -- Nearly always each stands where it stood, or nowhere yet.
  if stale is not null then
    with taken_away as (
      delete from metrics.changes as c
      where c.ctid = any(stale)
      returning c.*
    )
    select array_agg(t::metrics.changes)
    into taken
    from taken_away as t;
  end if;

  written := '{}';
  merging := '{}';
  if new_places is not null or stale is not null then
    -- What stands elsewhere keeps what is known of it.
    with put as (
      insert into metrics.changes (
        generation, repository_id, service_id, sha, line, position, is_listed, gone_position, gone_reason, reference_id, started_at, basis, is_bot,
        is_merge_commit, is_hotfix, reverts, pull_request_reference_id, pull_request_number, pull_request_is_bot, merged_at, shipped_by, shipped_at,
        is_first_shipped, is_order_unknown
      )
      select
        place_changes.generation, repository, w.service_id, w.sha, w.line, w.place, w.is_listed, coalesce(o.gone_position, w.gone_position),
        coalesce(o.gone_reason, w.gone_reason), coalesce(o.reference_id, d.reference_id), coalesce(o.started_at, d.started_at),
        coalesce(o.basis, d.basis), coalesce(o.is_bot, d.is_bot, false), coalesce(o.is_merge_commit, d.is_merge_commit, false),
        coalesce(o.is_hotfix, d.is_hotfix, false), coalesce(o.reverts, d.reverts),
        coalesce(o.pull_request_reference_id, d.pull_request_reference_id), coalesce(o.pull_request_number, d.pull_request_number),
        coalesce(o.pull_request_is_bot, d.pull_request_is_bot), coalesce(o.merged_at, d.merged_at), o.shipped_by, o.shipped_at, coalesce(o.is_first_shipped, false), coalesce(o.is_order_unknown, false)
      from (
        select
          a.said ->> 0 as sha,
          (a.said ->> 1)::bigint as service_id,
          (a.said ->> 2)::integer as line,
          (a.said ->> 3)::bigint as place,
          (a.said ->> 4)::boolean as is_listed,
          (a.said ->> 5)::bigint as gone_position,
          a.said ->> 6 as gone_reason
        from jsonb_array_elements(new_places) as a (said)
      ) as w
      left join unnest(taken) as o
        on o.sha = w.sha
        and o.service_id = w.service_id
      left join metrics.described(
        place_changes.generation,
        repository,
        array(select distinct a.said ->> 0 from jsonb_array_elements(new_places) as a (said))
      ) as d
        on d.sha = w.sha
        and o.sha is null
      returning sha, pull_request_number
    )
    select coalesce(array_agg(u.sha), '{}'), coalesce(array_agg(u.sha) filter (where u.is_merging), '{}')
    into written, merging
    from (
      select p.sha, bool_or(p.pull_request_number is not null) as is_merging
      from (
        select t.sha, null::integer as pull_request_number
        from unnest(taken) as t
        union all
        select p.sha, p.pull_request_number
        from put as p
      ) as p
      group by p.sha
    ) as u;
  end if;

  -- What stands at an earlier place again may have been taken off by an earlier forced push.
  fallen_back := false;
  if place_changes.first_ordinal > 0 and cardinality(elsewhere || ends) > 0 then
    fallen_back := exists (
      select
      from unnest(elsewhere || ends) as s (sha)
      cross join lateral (
        select c.generation, c.repository_id, c.line, c.position
        from metrics.changes as c
        where c.sha = s.sha
        offset 0
      ) as c
      where c.generation = place_changes.generation
        and c.repository_id = repository
        and c.line = first_line
        and c.position < first_position
    );
  end if;
end
$$;
revoke execute on function metrics.place_changes(integer, bigint, integer, integer, integer, text[]) from public;

comment on function metrics.place_changes(integer, bigint, integer, integer, integer, text[]) is 'Places commits on the default branch, as changes of services. first_ordinal is what order_moves returned; NULL when no move changed. merging are those of them that pull requests became, to be described again: how depends on what else is placed. fallen_back tells that something stands before that place again.';

drop function if exists metrics.take_off_changes(integer, bigint, integer, integer, integer);

create function metrics.take_off_changes(generation integer, repository bigint, line integer, ordinal integer, most integer)
returns text[]
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  taken_off_at constant bigint := take_off_changes.ordinal::bigint << 20;
  came_back_to bigint;
  written text[];
begin
  select max(o.place)
  into came_back_to
  from metrics.branch_moves as m
  join metrics.pushes as p
    on p.id = m.push_id
  cross join lateral metrics.places_of(take_off_changes.generation, repository, array[p.after]) as o
  where m.generation = take_off_changes.generation
    and m.repository_id = repository
    and m.line = take_off_changes.line
    and m.ordinal = take_off_changes.ordinal
    and o.line = take_off_changes.line
    and o.place < taken_off_at;
  with lost_now as (
    update metrics.changes as c
    set
      gone_position = taken_off_at,
      gone_reason = case when came_back_to is null then 'rewritten' else 'taken_off' end
    where c.ctid in (
      select t.ctid
      from metrics.changes as t
      where t.generation = take_off_changes.generation
        and t.repository_id = repository
        and t.line = take_off_changes.line
        and t.position < taken_off_at
        and t.position > coalesce(came_back_to, -1)
        and t.gone_position is null
      limit most
    )
    returning c.sha
  )
  select coalesce(array_agg(l.sha), '{}')
  into written
  from lost_now as l;
  return written;
end
$$;
revoke execute on function metrics.take_off_changes(integer, bigint, integer, integer, integer) from public;

comment on function metrics.take_off_changes(integer, bigint, integer, integer, integer) is 'Marks what a forced push took off the branch, at most so many of them. Forced pushes are looked at in their order.';

drop function if exists metrics.take_off_all(integer, bigint, integer, integer, boolean);

create function metrics.take_off_all(generation integer, repository bigint, first_line integer, first_ordinal integer, fallen_back boolean)
returns text[]
language plpgsql
set search_path = ''
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  first_position constant bigint := take_off_all.first_ordinal::bigint << 20;
  back tid[];
  written text[];
  forced record;
begin
  select coalesce(array_agg(c.ctid), '{}'), coalesce(array_agg(c.sha), '{}')
  into back, written
  from metrics.changes as c
  where c.generation = take_off_all.generation
    and c.repository_id = repository
    and c.gone_position is not null
    and (take_off_all.first_ordinal = 0 or (c.line = first_line and (c.gone_position >= first_position or c.position >= first_position)));
  -- Nearly always there are none.
  if cardinality(back) > 0 then
    update metrics.changes as c
    set
      gone_position = null,
      gone_reason = null
    where c.ctid = any(back);
  end if;
  for forced in
    select m.line, m.ordinal
    from metrics.branch_moves as m
    where m.generation = take_off_all.generation
      and m.repository_id = repository
      and m.is_forced
      and (m.line, m.ordinal) >= (
        case when take_off_all.first_ordinal = 0 then 0 else first_line end,
        case when fallen_back then 0 else take_off_all.first_ordinal end
      )
      and m.line <= case when take_off_all.first_ordinal = 0 then 2147483647 else first_line end
    order by m.line, m.ordinal
  loop
    written := written || metrics.take_off_changes(take_off_all.generation, repository, forced.line, forced.ordinal, null);
  end loop;
  return written;
end
$$;
revoke execute on function metrics.take_off_all(integer, bigint, integer, integer, boolean) from public;

comment on function metrics.take_off_all(integer, bigint, integer, integer, boolean) is 'Marks again what forced pushes took off the branch, from a place of a line on (ordinal 0: all). Returns what is marked otherwise.';

drop function if exists metrics.describe_changes(integer, bigint, text[]);

create function metrics.describe_changes(generation integer, repository bigint, shas text[])
returns timestamptz
language plpgsql
set search_path = ''
-- Whether few commits are looked at or all of a repository: what was made of them is joined by hashing, not row by row.
set enable_seqscan = off
set enable_hashjoin = on
as $$
#variable_conflict use_column
declare
  since timestamptz;
begin
  with described as materialized (
    select *
    from metrics.described(describe_changes.generation, repository, shas)
  ),
  -- Each looked up by its commit, as above.
  present as materialized (
    select c.*
    from unnest(shas) as s (sha)
    cross join lateral (
      select
        t.ctid as row_id, t.generation, t.repository_id, t.sha, t.shipped_at, t.reference_id, t.started_at, t.basis, t.is_bot, t.is_merge_commit,
        t.is_hotfix, t.reverts, t.pull_request_reference_id, t.pull_request_number, t.pull_request_is_bot, t.merged_at
      from metrics.changes as t
      where t.sha = s.sha
        and t.generation + 0 = describe_changes.generation
        and t.repository_id + 0 = repository
      offset 0
    ) as c
  ),
  differing as materialized (
    select c.row_id, c.shipped_at, (c.reverts, c.is_hotfix) is distinct from (d.reverts, d.is_hotfix) as mends_otherwise, d.*
    from described as d
    join present as c
      on c.sha = d.sha
    where (
        c.reference_id, c.started_at, c.basis, c.is_bot, c.is_merge_commit, c.is_hotfix, c.reverts, c.pull_request_reference_id,
        c.pull_request_number, c.pull_request_is_bot, c.merged_at
      ) is distinct from (
        d.reference_id, d.started_at, d.basis, d.is_bot, d.is_merge_commit, d.is_hotfix, d.reverts, d.pull_request_reference_id,
        d.pull_request_number, d.pull_request_is_bot, d.merged_at
      )
  ),
  mending as (
    select min(d.shipped_at) as at
    from differing as d
    where d.mends_otherwise
  ),
  written as (
    update metrics.changes as c
    set
      reference_id = d.reference_id,
      started_at = d.started_at,
      basis = d.basis,
      is_bot = d.is_bot,
      is_merge_commit = d.is_merge_commit,
      is_hotfix = d.is_hotfix,
      reverts = d.reverts,
      pull_request_reference_id = d.pull_request_reference_id,
      pull_request_number = d.pull_request_number,
      pull_request_is_bot = d.pull_request_is_bot,
      merged_at = d.merged_at
    from differing as d
    where c.ctid = d.row_id
  )
  select m.at
  into since
  from mending as m;
  return since;
end
$$;
revoke execute on function metrics.describe_changes(integer, bigint, text[]) from public;

comment on function metrics.describe_changes(integer, bigint, text[]) is 'Derives again when these changes began, on what basis, and by which pull request they came. Returns the first shipping of one that reverts or mends something else than before.';
