-- A year of 200 repositories, the same at every call: what could be random is a hash of a number. Positions in the year go from 0 to 1 and are
-- stretched over its hours by how busy each is, so that numbering things in order puts them in order of time, as ingest leaves them.
--
--   select bench.plan(0.1);                what happened, in narrow tables
--   select bench.load_changes(); …         the facts of that, in the tables of facts
--   drop schema bench cascade;             the facts stay
--
-- A fact is written as the one observation that told it last would leave it, clocks included.

create schema bench;

create function bench.u(number bigint, salt integer)
returns double precision
language sql
immutable
parallel safe
return (hashint8extended(number, salt) & 4503599627370495)::double precision / 4503599627370496;

comment on function bench.u(bigint, integer) is 'Evenly from 0 to below 1.';

create function bench.lognormal(number bigint, salt integer, median double precision, sigma double precision)
returns double precision
language sql
immutable
parallel safe
return median * exp(
  sigma * sqrt(-2 * ln(1 - bench.u(number, salt))) * cos(2 * pi() * bench.u(number, salt + 1000))
);

comment on function bench.lognormal(bigint, integer, double precision, double precision) is 'Log-normal around a median.';

create function bench.sha(salt integer, repository integer, ordinal bigint)
returns text
language sql
immutable
parallel safe
return left(encode(sha256(int8send((salt::bigint << 56) | (repository::bigint << 40) | ordinal)), 'hex'), 40);

comment on function bench.sha(integer, integer, bigint) is 'A commit id. Salt 1: the default branch, by place. Salt 2: head branches, by pull request number times 64 and place.';

create function bench.at(epoch double precision)
returns timestamptz
language sql
immutable
parallel safe
return to_timestamp(epoch);

create function bench.clock(epoch double precision)
returns text
language sql
stable
parallel safe
return to_char(to_timestamp(epoch) at time zone 'UTC', 'YYYYMMDDHH24MISS') || '000000';

create function bench.iso(epoch double precision)
returns text
language sql
stable
parallel safe
return to_char(to_timestamp(epoch) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"');

create table bench.size (
  runs double precision not null,
  pull_requests double precision not null,
  commits double precision not null,
  deployments double precision not null,
  incidents double precision not null,
  test_runs double precision not null,
  rule_checks double precision not null,
  measurements double precision not null,
  starts double precision not null,
  ends double precision not null
);

create unlogged table bench.hours (
  day integer not null,
  starts double precision not null,
  low double precision not null,
  high double precision not null
);

create unlogged table bench.repositories (
  rank integer primary key,
  low double precision not null,
  source text not null,
  reference text not null,
  reference_id bigint,
  full_name text not null,
  url text not null,
  -- Seconds from a push to its deployment, and how long that takes.
  deploy_lag double precision not null,
  deploy_seconds double precision not null,
  has_staging boolean not null,
  rebases boolean not null,
  commits bigint,
  pull_requests integer,
  first_test bigint not null,
  tests integer not null
);

create unlogged table bench.kinds (
  kind integer primary key,
  name text not null,
  weight double precision not null,
  seconds double precision not null,
  on_default_branch boolean not null,
  jobs text[] not null
);

create unlogged table bench.pipelines (
  repository integer not null,
  kind integer not null,
  name text not null,
  low double precision not null,
  high double precision not null,
  seconds double precision not null,
  on_default_branch boolean not null,
  jobs integer not null
);

create unlogged table bench.jobs (
  kind integer not null,
  job integer not null,
  name text not null,
  runner_labels text[] not null,
  share double precision not null,
  -- With places for nine times: SQL's format() fills them in.
  steps text not null,
  failed_steps text not null
);

create unlogged table bench.commits (
  number bigint not null,
  repository integer not null,
  place bigint not null,
  move integer not null,
  at double precision not null,
  primary key (repository, move, place)
);

create unlogged table bench.moves (
  repository integer not null,
  move integer not null,
  number bigint not null,
  first_place bigint not null,
  last_place bigint not null,
  at double precision not null,
  style text not null,
  primary key (repository, move)
);

create unlogged table bench.pull_requests (
  id bigint not null,
  repository integer not null,
  number integer not null,
  move integer,
  style text not null,
  opened double precision not null,
  merged double precision,
  closed double precision,
  author integer not null,
  author_is_bot boolean not null,
  is_fork boolean not null,
  is_pushed boolean not null,
  own_commits integer not null,
  head_branch text not null,
  head_sha text not null,
  merge_sha text,
  primary key (repository, number)
);

create unlogged table bench.deployments (
  id bigint not null,
  repository integer not null,
  environment text not null,
  place bigint not null,
  outcome text not null,
  provider_outcome text not null,
  created double precision not null,
  started double precision not null,
  finished double precision not null
);

create function bench.person(number bigint, is_bot boolean)
returns text
language sql
immutable
parallel safe
return case when is_bot then 'dependency-updates[bot]' else 'dev-' || (1 + number % 400) end;

-- Repositories and how busy each is: the weight falls with the rank, and the first has 9 %. Seven in eight are on GitLab, whose jobs tell no
-- steps, so that a job takes less than a kilobyte on average.
create function bench.plan_repositories()
returns void
language sql
begin atomic
  insert into bench.repositories (
    rank, low, source, reference, full_name, url, deploy_lag, deploy_seconds, has_staging, rebases, first_test, tests
  )
  select
    r.rank,
    coalesce(sum(r.weight) over (order by r.rank rows between unbounded preceding and 1 preceding), 0) / sum(r.weight) over (),
    r.source,
    r.source || ':' || 7000000 + r.rank * 137,
    r.full_name,
    'https://' || r.source || '.com/' || r.full_name,
    bench.lognormal(r.rank, 11, 900, 0.7),
    bench.lognormal(r.rank, 12, 180, 0.6),
    bench.u(r.rank, 13) < 0.4,
    bench.u(r.rank, 14) < 0.35,
    1 + coalesce(sum(r.tests) over (order by r.rank rows between unbounded preceding and 1 preceding), 0),
    r.tests
  from (
    select
      n as rank,
      power(n, -0.7645) as weight,
      case when n = 1 or bench.u(n, 10) < 0.12 then 'github' else 'gitlab' end as source,
      'acme-' || (array['platform', 'payments', 'logistics', 'mobile', 'data'])[1 + n % 5] || '/'
        || (array['checkout', 'catalogue', 'notification', 'inventory', 'identity', 'search', 'reporting', 'billing'])[1 + n % 8] || '-service-'
        || n as full_name,
      40 + (bench.u(n, 15) * 240)::integer as tests
    from generate_series(1, 200) as n
  ) as r;
end;

create function bench.plan_pipelines()
returns void
language sql
begin atomic
  insert into bench.kinds (kind, name, weight, seconds, on_default_branch, jobs)
  values
    (1, 'CI', 0.39, 420, false, array[
      'build', 'unit tests (ubuntu-24.04, node 20)', 'unit tests (ubuntu-24.04, node 22)', 'integration tests (1)', 'integration tests (2)',
      'static analysis', 'types', 'package'
    ]),
    (2, 'Lint', 0.19, 90, false, array['format', 'lint']),
    (3, 'Deploy', 0.14, 300, true, array['plan', 'migrate', 'deploy']),
    (4, 'End-to-end tests', 0.1, 900, false, array[
      'prepare', 'browser tests (chromium)', 'browser tests (firefox)', 'browser tests (webkit)', 'contract tests', 'report'
    ]),
    (5, 'Security scan', 0.08, 240, false, array['dependencies', 'code']),
    (6, 'Release', 0.04, 500, true, array['version', 'image', 'sign', 'publish']),
    (7, 'Docs', 0.06, 120, false, array['build', 'links']);

  -- The twenty largest have every pipeline twice, the small half the first three alone.
  insert into bench.pipelines (repository, kind, name, low, high, seconds, on_default_branch, jobs)
  select
    c.rank,
    c.kind,
    c.name,
    coalesce(lag(c.high) over w, 0),
    case when lead(c.high) over w is null then 1 else c.high end,
    c.seconds * bench.lognormal(c.rank * 100 + c.kind, 16, 1, 0.4),
    c.on_default_branch,
    cardinality(c.jobs)
  from (
    select
      r.rank,
      k.kind,
      case when r.rank <= 20 then k.name || ' (' || half || ')' else k.name end as name,
      k.seconds,
      k.on_default_branch,
      k.jobs,
      sum(k.weight) over (partition by r.rank order by k.kind, half) / sum(k.weight) over (partition by r.rank) as high
    from bench.repositories as r
    join bench.kinds as k
      on r.rank <= 100 or k.kind <= 3
    cross join unnest(case when r.rank <= 20 then array['services', 'web'] else array['all'] end) as half
  ) as c
  window w as (partition by c.rank order by c.high);

  insert into bench.jobs (kind, job, name, runner_labels, share, steps, failed_steps)
  select
    k.kind,
    j.place - 1,
    j.name,
    case k.kind
      when 3 then array['self-hosted', 'linux', 'x64', 'deploy']
      when 4 then array['ubuntu-24.04-large']
      else array['ubuntu-latest']
    end,
    0.35 + 0.6 * bench.u(k.kind * 100 + j.place, 17),
    s.steps,
    s.failed_steps
  from bench.kinds as k
  cross join unnest(k.jobs) with ordinality as j (name, place)
  cross join lateral (
    select
      5 + (bench.u(k.kind * 100 + j.place, 18) * 4)::integer % 4 as count
  ) as c
  cross join lateral (
    select
      '[' || string_agg(format(t.template, t.name, t.place, 'success', 8 - c.count + t.place, 9 - c.count + t.place), ',' order by t.place) || ']' as steps,
      '[' || string_agg(
        format(
          t.template,
          t.name,
          t.place,
          case when t.place < c.count - 1 then 'success' when t.place = c.count - 1 then 'failure' else 'skipped' end,
          8 - c.count + t.place,
          9 - c.count + t.place
        ),
        ',' order by t.place
      ) || ']' as failed_steps
    from (
      select
        place,
        case
          when place = 1 then 'Set up job'
          when place = c.count then 'Complete job'
          else (array[
            'Run actions/checkout@v5', 'Set up the language''s tools', 'Restore the dependency cache', 'Install dependencies',
            'Compile with warnings as errors', 'Run ' || j.name
          ])[case when place = c.count - 1 then 6 else place - 1 end]
        end as name,
        '{"name":"%s","number":%s,"status":"finished","outcome":"%s","started_at":"%%%s$s","finished_at":"%%%s$s"}' as template
      from generate_series(1, c.count) as place
    ) as t
  ) as s;
end;

-- Commits of the default branches in the order in which they came there, half of them the last of a push.
create function bench.plan_commits()
returns void
language sql
begin atomic
  insert into bench.commits (number, repository, place, move, at)
  select
    c.number,
    c.repository,
    row_number() over w,
    1 + (count(*) filter (where bench.u(c.number, 21) < 0.5) over (partition by c.repository order by c.number rows between unbounded preceding and 1 preceding))::integer,
    c.at
  from (
    select
      n as number,
      width_bucket(bench.u(n, 20), (select array_agg(r.low order by r.rank) from bench.repositories as r)) as repository,
      floor(h.starts + 3600 * ((n - 0.5) / s.commits - h.low) / (h.high - h.low)) as at
    from bench.size as s
    cross join bench.hours as h
    cross join lateral generate_series(ceil(h.low * s.commits + 0.5)::bigint, ceil(h.high * s.commits + 0.5)::bigint - 1) as n
  ) as c
  window w as (partition by c.repository order by c.number);

  insert into bench.moves (repository, move, number, first_place, last_place, at, style)
  select
    m.repository,
    m.move,
    m.number,
    m.first_place,
    m.last_place,
    m.at,
    case
      when bench.u(m.number, 22) >= 0.72 then 'direct'
      when m.last_place = m.first_place then 'squash'
      when r.rebases then 'rebase'
      else 'merge'
    end
  from (
    select
      c.repository,
      c.move,
      max(c.number) as number,
      min(c.place) as first_place,
      max(c.place) as last_place,
      max(c.at) as at
    from bench.commits as c
    group by c.repository, c.move
  ) as m
  join bench.repositories as r
    on r.rank = m.repository;

  update bench.repositories as r
  set commits = c.count
  from (
    select c.repository, count(*) as count
    from bench.commits as c
    group by c.repository
  ) as c
  where c.repository = r.rank;
end;

-- Pull requests: those that the moves merge, and as many beside them, closed or still open, as make up the number.
create function bench.plan_pull_requests()
returns void
language sql
begin atomic
  insert into bench.pull_requests (
    id, repository, number, move, style, opened, merged, closed, author, author_is_bot, is_fork, is_pushed, own_commits, head_branch, head_sha,
    merge_sha
  )
  select
    n.id,
    n.repository,
    n.number,
    n.move,
    n.style,
    n.opened,
    n.merged,
    n.closed,
    1 + (bench.u(n.id, 32) * 400)::integer % 400,
    f.is_bot,
    f.is_fork,
    f.is_pushed,
    f.own_commits,
    case
      -- Names that bots use again and again.
      when f.is_bot then 'dependencies/group-' || (bench.u(n.id, 36) * 40)::integer
      else (array['feature', 'fix', 'chore', 'refactor'])[1 + n.id % 4] || '/' || n.number || '-retry-failed-' || (bench.u(n.id, 37) * 900)::integer
    end,
    case
      when n.style = 'merge' then bench.sha(1, n.repository, n.last_place - 1)
      else bench.sha(2, n.repository, n.number * 64::bigint + f.own_commits - 1)
    end,
    case when n.move is not null then bench.sha(1, n.repository, n.last_place) end
  from (
    select
      o.*,
      row_number() over (order by o.opened, o.repository, o.tie) as id,
      (row_number() over (partition by o.repository order by o.opened, o.tie))::integer as number
    from (
      select
        m.repository,
        m.move,
        m.style,
        m.number as tie,
        m.first_place,
        m.last_place,
        m.at - 120 - floor(bench.lognormal(m.number, 30, 72000, 1.2)) as opened,
        m.at as merged,
        m.at as closed
      from bench.moves as m
      where m.style <> 'direct'
      union all
      select
        width_bucket(bench.u(c.n, 24), (select array_agg(r.low order by r.rank) from bench.repositories as r)),
        null,
        'unmerged',
        -c.n,
        null,
        null,
        c.at,
        null,
        case when c.at + c.seconds < c.ends then c.at + c.seconds end
      from (
        select
          n,
          s.ends,
          floor(h.starts + 3600 * ((n - 0.5) / u.count - h.low) / (h.high - h.low)) as at,
          floor(bench.lognormal(n, 31, 400000, 1.5)) as seconds
        from bench.size as s
        cross join (
          select greatest(s.pull_requests - count(*), 0) as count
          from bench.moves as m
          cross join bench.size as s
          where m.style <> 'direct'
          group by s.pull_requests
        ) as u
        cross join bench.hours as h
        cross join lateral generate_series(ceil(h.low * u.count + 0.5)::bigint, ceil(h.high * u.count + 0.5)::bigint - 1) as n
      ) as c
    ) as o
  ) as n
  cross join lateral (
    select
      n.style = 'squash' and bench.u(n.id, 33) < 0.3 as is_bot,
      n.style in ('squash', 'unmerged') and bench.u(n.id, 34) between 0.3 and 0.34 as is_fork
  ) as k
  cross join lateral (
    select
      k.is_bot,
      k.is_fork,
      -- Of a branch whose push was not told, only the last commit is known, and that only by its id.
      not k.is_bot and not k.is_fork and (n.style = 'rebase' or bench.u(n.id, 35) < 0.45) as is_pushed,
      case
        when n.style = 'rebase' then least(n.last_place - n.first_place + 1, 60)
        when n.style = 'merge' then n.last_place - n.first_place
        else 1 + (bench.u(n.id, 38) * 3)::integer
      end::integer as own_commits
  ) as f;

  update bench.repositories as r
  set pull_requests = p.count
  from (
    select p.repository, count(*) as count
    from bench.pull_requests as p
    group by p.repository
  ) as p
  where p.repository = r.rank;
end;

-- Some pushes are deployed by themselves, the others with the next; a few deployments put an earlier commit back.
create function bench.plan_deployments()
returns void
language sql
begin atomic
  insert into bench.deployments (id, repository, environment, place, outcome, provider_outcome, created, started, finished)
  select
    row_number() over (order by d.created, d.repository, d.environment desc, d.finished),
    d.repository,
    d.environment,
    d.place,
    d.outcome,
    d.provider_outcome,
    d.created,
    d.started,
    d.finished
  from (
    with chosen as materialized (
      select
        m.repository,
        m.move,
        m.number,
        m.last_place,
        floor(m.at + r.deploy_lag) as created,
        r.deploy_seconds,
        r.has_staging
      from bench.moves as m
      join bench.repositories as r
        on r.rank = m.repository
      cross join bench.size as s
      where m.at + r.deploy_lag + 4 * r.deploy_seconds < s.ends
      order by bench.u(m.number, 40), m.number
      limit (select s.deployments::bigint from bench.size as s)
    ),
    placed as materialized (
      select
        c.*,
        case
          when bench.u(c.number, 41) < 0.02 then coalesce(lag(c.last_place, 2) over w, c.last_place)
          when bench.u(c.number, 41) < 0.04 then coalesce(lag(c.last_place) over w, c.last_place)
          else c.last_place
        end as place,
        -- What was asked for later is not there earlier.
        max(c.created + 5 + floor(least(bench.lognormal(c.number, 42, c.deploy_seconds, 0.3), 3 * c.deploy_seconds))) over w as finished
      from chosen as c
      window w as (partition by c.repository order by c.move)
    )
    select p.repository, 'production' as environment, p.place, 'success' as outcome, 'success' as provider_outcome, p.created, p.created + 5 as started, p.finished
    from placed as p
    union all
    -- An attempt that failed shortly before.
    select
      p.repository,
      'production',
      p.place,
      f.outcome,
      f.outcome,
      p.created - 90,
      p.created - 85,
      p.created - 5
    from placed as p
    cross join lateral (
      select case when bench.u(p.number, 44) < 0.8 then 'failure' else 'error' end as outcome
    ) as f
    where bench.u(p.number, 43) < 0.041
    union all
    select p.repository, 'staging', p.place, 'success', 'success', p.created - floor(p.deploy_seconds), p.created - floor(p.deploy_seconds) + 5, p.created - 2
    from placed as p
    where p.has_staging
      and p.deploy_seconds > 10
  ) as d;
end;

create function bench.plan(scale double precision, ends timestamptz)
returns void
language plpgsql
as $$
begin
  insert into bench.size (runs, pull_requests, commits, deployments, incidents, test_runs, rule_checks, measurements, starts, ends)
  values (
    round(1000000 * scale),
    round(400000 * scale),
    round(1000000 * scale),
    round(365000 * scale),
    round(8000 * scale),
    round(100000 * scale),
    round(200000 * scale),
    round(200000 * scale),
    extract(epoch from plan.ends) - 365 * 86400.0,
    extract(epoch from plan.ends)
  );
  insert into bench.hours (day, starts, low, high)
  select
    c.day,
    c.starts,
    -- Exactly where the hour before ends.
    coalesce(lag(c.high) over (order by c.n), 0),
    c.high
  from (
    select
      h.*,
      case when h.n = 365 * 24 - 1 then 1 else sum(h.weight) over (order by h.n) / sum(h.weight) over () end as high
    from (
      select
        n,
        n / 24 as day,
        s.starts + n * 3600.0 as starts,
        (array[15, 10, 8, 8, 10, 20, 45, 90, 150, 190, 200, 180, 150, 170, 190, 190, 170, 140, 100, 70, 50, 40, 30, 20])[1 + n % 24]
        * case when extract(isodow from bench.at(s.starts + n * 3600.0) at time zone 'UTC') > 5 then 0.12 else 1 end
        * case when to_char(bench.at(s.starts + n * 3600.0) at time zone 'UTC', 'MMDD') between '1223' and '1231' then 0.15 else 1 end as weight
      from bench.size as s
      cross join generate_series(0, 365 * 24 - 1) as n
    ) as h
  ) as c;
  perform bench.plan_repositories();
  perform bench.plan_pipelines();
  perform bench.plan_commits();
  perform bench.plan_pull_requests();
  perform bench.plan_reviews();
  analyze bench.commits, bench.moves, bench.pull_requests, bench.reviews;
  perform bench.plan_deployments();
  analyze bench.deployments, bench.repositories, bench.pipelines, bench.jobs, bench.hours;
end
$$;

comment on function bench.plan(double precision, timestamptz) is 'Decides what happened in the 365 days before, at a scale of 1 a million runs.';

-- The runs of some days, with their jobs. Of a hundred runs four are second attempts of failed ones a while before.
create function bench.load_days(first_day integer, last_day integer)
returns void
language sql
begin atomic
  with asked as materialized (
    select
      n as number,
      floor(h.starts + 3600 * ((n + 0.5) / s.runs - h.low) / (h.high - h.low)) as at,
      s.ends,
      b.base,
      b.is_again,
      (b.base + 0.5) / s.runs as position,
      -- Whether one of the four later in the hundred tries this one again.
      not b.is_again
        and n % 100 < 60
        and n % 100 % 15 = floor(15 * bench.u(n - n % 100 + 96 + n % 100 / 15, 50))
        and n - n % 100 + 96 + n % 100 / 15 < s.runs as is_tried_again
    from bench.size as s
    cross join bench.hours as h
    cross join lateral generate_series(ceil(h.low * s.runs - 0.5)::bigint, ceil(h.high * s.runs - 0.5)::bigint - 1) as n
    cross join lateral (
      select
        n % 100 >= 96 as is_again,
        case
          when n % 100 >= 96 then n - n % 100 + 15 * (n % 100 - 96) + floor(15 * bench.u(n, 50))::bigint
          else n
        end as base
    ) as b
    where h.day between load_days.first_day and load_days.last_day
  ),
  chosen as materialized (
    select
      a.*,
      r.rank,
      r.reference_id,
      r.source,
      r.url,
      r.pull_requests,
      r.commits,
      p.kind,
      p.name as pipeline,
      p.jobs,
      p.on_default_branch or bench.u(a.base, 53) < 0.25 or r.pull_requests is null as on_default_branch,
      floor(2 + bench.lognormal(a.number, 54, 5, 0.9)) as queue,
      p.seconds * bench.lognormal(a.number, 55, 1, 0.45) as seconds,
      case
        when a.is_tried_again then 'failure'
        when a.is_again then case when bench.u(a.number, 56) < 0.35 then 'failure' else 'success' end
        when bench.u(a.number, 56) < 0.062 then 'failure'
        when bench.u(a.number, 56) < 0.069 then 'timed_out'
        when bench.u(a.number, 56) < 0.072 then 'error'
        when bench.u(a.number, 56) < 0.1 then 'cancelled'
        when bench.u(a.number, 56) < 0.12 then 'skipped'
        when bench.u(a.number, 56) < 0.122 then 'neutral'
        when bench.u(a.number, 56) < 0.1225 then 'unknown'
        else 'success'
      end as fate
    from asked as a
    join bench.repositories as r
      on r.rank = width_bucket(bench.u(a.base, 51), (select array_agg(r.low order by r.rank) from bench.repositories as r))
    join bench.pipelines as p
      on p.repository = r.rank
      and bench.u(a.base, 52) >= p.low
      and bench.u(a.base, 52) < p.high
  ),
  timed as materialized (
    select
      c.*,
      t.started,
      t.finished,
      t.status,
      case when t.status = 'finished' then c.fate end as outcome,
      case when c.on_default_branch then 'main' else q.head_branch end as branch,
      case
        when c.on_default_branch then bench.sha(1, c.rank, greatest(1, ceil(c.position * c.commits))::bigint)
        else q.head_sha
      end as commit_sha,
      case when not c.on_default_branch then q.number end as pull_request,
      case when c.on_default_branch then bench.u(c.base, 57) < 0.08 else q.author_is_bot end as is_bot,
      case when c.on_default_branch then (bench.u(c.base, 58) * 400)::integer else q.author end as person
    from chosen as c
    cross join lateral (
      select
        c.at + c.queue as started,
        c.at + c.queue + ceil(case c.fate when 'skipped' then 1 when 'success' then c.seconds else c.seconds * 0.7 end) as finished,
        case
          when c.at + c.queue + c.seconds + 1 < c.ends then 'finished'
          when c.at + c.queue < c.ends then 'running'
          else 'queued'
        end as status
    ) as t
    -- One look-up for each, whatever the planner thinks of the number of runs.
    left join lateral (
      select q.number, q.head_branch, q.head_sha, q.author, q.author_is_bot
      from bench.pull_requests as q
      where not c.on_default_branch
        and q.repository = c.rank
        and q.number = greatest(1, ceil(c.position * c.pull_requests))::integer
      offset 0
    ) as q
      on true
  ),
  runs as (
    insert into metrics.pipeline_runs (
      reference_id, external_id, attempt, rerun_group, pipeline, number, trigger, branch, on_default_branch, commit_sha, pull_request_numbers,
      actor, actor_is_bot, status, outcome, provider_outcome, queued_at, started_at, finished_at, url, clocks
    )
    select
      t.reference_id,
      (10000000000 + t.base)::text,
      case when t.is_again then 2 else 1 end,
      (10000000000 + t.base)::text,
      t.pipeline,
      t.base / 200 + 1,
      case when t.on_default_branch then 'push' else 'pull_request' end,
      t.branch,
      t.on_default_branch,
      t.commit_sha,
      case when t.pull_request is null then '{}' else array[t.pull_request] end,
      bench.person(t.person, t.is_bot),
      t.is_bot,
      t.status,
      t.outcome,
      case t.outcome when 'error' then 'startup_failure' when 'unknown' then 'superseded' else t.outcome end,
      case when not t.is_again then bench.at(t.at) end,
      case when t.status <> 'queued' then bench.at(t.started) end,
      case when t.status = 'finished' then bench.at(t.finished) end,
      t.url || '/actions/runs/' || 10000000000 + t.base,
      replace(
        '{"url":"@","actor":"@","branch":"@","number":"@","status":"@","trigger":"@","pipeline":"@","commit_sha":"@","rerun_group":"@","on_default_branch":"@","pull_request_numbers":"@"}',
        '@',
        case t.status
          when 'finished' then '3 ' || bench.clock(t.finished)
          when 'running' then '2 ' || bench.clock(t.started)
          else '1 ' || bench.clock(t.at)
        end
      )::jsonb
    from timed as t
    order by t.number
  )
  insert into metrics.jobs (
    reference_id, external_id, run_external_id, attempt, pipeline, name, branch, commit_sha, runner_labels, status, outcome, provider_outcome,
    queued_at, started_at, finished_at, steps, url, clocks
  )
  select
    t.reference_id,
    w.id::text,
    (10000000000 + t.base)::text,
    case when t.is_again then 2 else 1 end,
    t.pipeline,
    j.name,
    t.branch,
    t.commit_sha,
    j.runner_labels,
    t.status,
    o.outcome,
    case o.outcome when 'error' then 'startup_failure' when 'unknown' then 'superseded' else o.outcome end,
    bench.at(t.at),
    case when t.status <> 'queued' and o.outcome is distinct from 'skipped' then bench.at(w.started) end,
    case when t.status = 'finished' then bench.at(w.finished) end,
    case
      when t.source <> 'github' then null
      when t.status <> 'finished' or o.outcome = 'skipped' then '[]'
      else format(
        case when o.outcome in ('success', 'cancelled') then j.steps else j.failed_steps end,
        bench.iso(w.started),
        bench.iso(w.started + floor(w.seconds * 0.02)),
        bench.iso(w.started + floor(w.seconds * 0.05)),
        bench.iso(w.started + floor(w.seconds * 0.12)),
        bench.iso(w.started + floor(w.seconds * 0.2)),
        bench.iso(w.started + floor(w.seconds * 0.4)),
        bench.iso(w.started + floor(w.seconds * 0.6)),
        bench.iso(w.started + floor(w.seconds * 0.9)),
        bench.iso(w.finished)
      )::jsonb
    end,
    t.url || '/actions/runs/' || 10000000000 + t.base || '/job/' || w.id,
    replace(
      case
        when t.source = 'github' then
          '{"url":"@","name":"@","steps":"@","branch":"@","status":"@","attempt":"@","pipeline":"@","commit_sha":"@","runner_labels":"@","run_external_id":"@"}'
        else
          '{"url":"@","name":"@","branch":"@","status":"@","attempt":"@","pipeline":"@","commit_sha":"@","runner_labels":"@","run_external_id":"@"}'
      end,
      '@',
      case t.status
        when 'finished' then '3 ' || bench.clock(w.finished)
        when 'running' then '2 ' || bench.clock(w.started)
        else '1 ' || bench.clock(t.at)
      end
    )::jsonb
  from timed as t
  join bench.jobs as j
    on j.kind = t.kind
  cross join lateral (
    select floor((t.jobs * bench.u(t.number, 60)))::integer as failing
  ) as f
  cross join lateral (
    select
      case
        when t.status <> 'finished' then null
        when t.fate = 'success' then case when j.job > 0 and bench.u(t.number * 16 + j.job, 61) < 0.04 then 'skipped' else 'success' end
        when t.fate = 'skipped' then 'skipped'
        when j.job < f.failing then 'success'
        when j.job = f.failing then t.fate
        when t.fate in ('failure', 'timed_out') and bench.u(t.number * 16 + j.job, 61) < 0.5 then 'success'
        when t.fate in ('neutral', 'unknown') then 'success'
        when t.fate = 'cancelled' then 'cancelled'
        else 'skipped'
      end as outcome
  ) as o
  cross join lateral (
    select
      30000000000 + t.number * 16 + j.job as id,
      x.started,
      x.started + y.seconds as finished,
      y.seconds
    from (
      select t.started + floor((t.finished - t.started) * (1 - j.share) * 0.2 * bench.u(t.number * 16 + j.job, 62)) as started
    ) as x
    cross join lateral (
      select ceil((t.finished - t.started) * j.share * (0.8 + 0.2 * bench.u(t.number * 16 + j.job, 63))) as seconds
    ) as y
  ) as w
  order by t.number, j.job;
end;

create function bench.load_changes()
returns void
language plpgsql
as $$
begin
  insert into metrics.commits (reference_id, sha, authored_at, author, author_is_bot, title, reverts, changed_paths, clocks)
  select
    r.reference_id,
    c.sha,
    bench.at(c.authored),
    bench.person(c.person, c.is_bot),
    c.is_bot,
    c.title,
    c.reverts,
    array[
      'services/api/src/' || (array['orders', 'payments', 'shipping', 'users'])[1 + c.number % 4] || '/handler-' || c.number % 90 || '.ts',
      'services/api/tests/handler-' || c.number % 90 || '.test.ts'
    ],
    replace('{"title":"@","author":"@","reverts":"@","changed_paths":"@"}', '@', bench.clock(c.pushed) || ' 0')::jsonb
  from (
    select
      d.repository,
      bench.sha(1, d.repository, d.place) as sha,
      case
        when m.style = 'direct' then d.at - 5 - floor(bench.lognormal(d.number, 23, 1200, 1))
        when d.place = m.last_place and m.style <> 'rebase' then m.at
        else p.opened - floor(bench.lognormal(d.number, 23, 7200, 1))
      end as authored,
      coalesce(p.author, d.number) as person,
      coalesce(p.author_is_bot, false) as is_bot,
      case
        when d.place > 8 and bench.u(d.number, 25) < 0.008 then 'Revert "Retry failed notifications before giving up (#' || d.place - 5 || ')"'
        when d.place = m.last_place and m.style = 'merge' then 'Merge pull request #' || p.number || ' from ' || p.head_branch
        else 'Retry failed notifications before giving up (#' || coalesce(p.number, d.place) || ')'
      end as title,
      case
        when d.place > 8 and bench.u(d.number, 25) < 0.008 then array[bench.sha(1, d.repository, d.place - 5)]
        else '{}'
      end as reverts,
      d.number,
      m.at as pushed
    from bench.commits as d
    join bench.moves as m
      on m.repository = d.repository
      and m.move = d.move
    left join bench.pull_requests as p
      on p.repository = d.repository
      and p.move = d.move
    union all
    -- On head branches: of a rebase the same changes as on the default branch, before they got other ids.
    select
      p.repository,
      bench.sha(2, p.repository, p.number * 64::bigint + n),
      p.opened - floor(
        bench.lognormal(coalesce(d.number, 1000000000 + p.id * 64 + n), 23, 7200, 1)
      ),
      p.author,
      false,
      'Retry failed notifications before giving up',
      '{}',
      p.id,
      p.opened - 60
    from bench.pull_requests as p
    cross join lateral generate_series(0, p.own_commits - 1) as n
    left join bench.moves as m
      on p.style = 'rebase'
      and m.repository = p.repository
      and m.move = p.move
    left join bench.commits as d
      on d.repository = m.repository
      and d.move = m.move
      and d.place = m.last_place - p.own_commits + 1 + n
    where p.is_pushed
      and p.style <> 'merge'
  ) as c
  join bench.repositories as r
    on r.rank = c.repository
  order by c.pushed, r.reference_id, c.sha collate "C";

  insert into metrics.pushes (
    reference_id, ref, before, after, pushed_at, forced, created, deleted, on_default_branch, commits, truncated, pusher, pusher_is_bot, clocks
  )
  select
    r.reference_id,
    p.ref,
    p.before,
    p.after,
    bench.at(p.at),
    false,
    not p.on_default_branch,
    false,
    p.on_default_branch,
    p.commits,
    false,
    bench.person(p.person, false),
    false,
    replace(
      '{"forced":"@","pusher":"@","commits":"@","created":"@","deleted":"@","on_default_branch":"@"}',
      '@',
      bench.clock(p.at) || ' 0'
    )::jsonb
  from (
    select
      m.repository,
      'refs/heads/main' as ref,
      bench.sha(1, m.repository, m.first_place - 1) as before,
      bench.sha(1, m.repository, m.last_place) as after,
      m.at,
      true as on_default_branch,
      array(select bench.sha(1, m.repository, n) from generate_series(m.first_place, m.last_place) as n) as commits,
      m.number as person
    from bench.moves as m
    union all
    select
      p.repository,
      'refs/heads/' || p.head_branch,
      repeat('0', 40),
      p.head_sha,
      p.opened - 60,
      false,
      case
        when p.style = 'merge' then
          array(select bench.sha(1, p.repository, n) from generate_series(m.first_place, m.last_place - 1) as n)
        else array(select bench.sha(2, p.repository, p.number * 64::bigint + n) from generate_series(0, p.own_commits - 1) as n)
      end,
      p.author
    from bench.pull_requests as p
    left join bench.moves as m
      on m.repository = p.repository
      and m.move = p.move
    where p.is_pushed
  ) as p
  join bench.repositories as r
    on r.rank = p.repository
  order by p.at, r.reference_id, p.ref collate "C";

  insert into metrics.reviews (reference_id, external_id, pull_request_number, reviewer, reviewer_is_bot, state, submitted_at, url, clocks)
  select
    r.reference_id,
    (1000000000 + v.id * 4 + v.n)::text,
    v.number,
    case when v.is_bot then 'review-assistant[bot]' else bench.person(v.author + 1 + (bench.u(v.id * 4 + v.n, 71) * 398)::integer, false) end,
    v.is_bot,
    v.state,
    bench.at(v.at),
    r.url || '/pull/' || v.number || '#pullrequestreview-' || 1000000000 + v.id * 4 + v.n,
    replace('{"url":"@","state":"@","reviewer":"@","pull_request_number":"@"}', '@', bench.clock(v.at) || ' 1')::jsonb
  from bench.reviews as v
  join bench.repositories as r
    on r.rank = v.repository
  order by v.at, r.reference_id, v.id, v.n;

  insert into metrics.pull_requests (
    reference_id, number, title, author, author_is_bot, head_branch, base_branch, is_fork, head_sha, merge_sha, state, is_draft, labels,
    additions, deletions, changed_files, opened_at, ready_times, merged_at, closed_at, url, ready_at, first_commit_at, first_review_at,
    approved_at, clocks
  )
  select
    r.reference_id,
    p.number,
    'Retry failed notifications before giving up on customer ' || p.number,
    bench.person(p.author, p.author_is_bot),
    p.author_is_bot,
    p.head_branch,
    'main',
    p.is_fork,
    p.head_sha,
    p.merge_sha,
    s.state,
    false,
    case
      when p.author_is_bot then array['dependencies']
      when bench.u(p.id, 80) < 0.01 then array['hotfix']
      when bench.u(p.id, 80) < 0.3 then array['feature']
      when bench.u(p.id, 80) < 0.4 then array['bug', 'customer']
      else '{}'
    end,
    floor(bench.lognormal(p.id, 81, 40, 1.4))::integer,
    floor(bench.lognormal(p.id, 82, 15, 1.4))::integer,
    ceil(bench.lognormal(p.id, 83, 3, 0.9))::integer,
    bench.at(p.opened),
    case when t.ready is not null then array[bench.at(t.ready)] end,
    bench.at(p.merged),
    bench.at(p.closed),
    r.url || '/pull/' || p.number,
    bench.at(case when t.ready <= coalesce(v.first_review, 'infinity') then t.ready else p.opened end),
    bench.at(
      case
        when p.is_pushed and p.style in ('squash', 'unmerged') then (
          select min(p.opened - floor(bench.lognormal(1000000000 + p.id * 64 + n, 23, 7200, 1)))
          from generate_series(0, p.own_commits - 1) as n
        )
        when p.style in ('merge', 'rebase') then (
          select min(p.opened - floor(bench.lognormal(d.number, 23, 7200, 1)))
          from bench.moves as m
          join bench.commits as d
            on d.repository = m.repository
            and d.move = m.move
          where m.repository = p.repository
            and m.move = p.move
            and case
              when p.style = 'rebase' then d.place > m.last_place - p.own_commits
              when p.is_pushed then d.place < m.last_place
              else d.place = m.last_place - 1
            end
        )
      end
    ),
    bench.at(v.first_review),
    bench.at(v.approved),
    replace(
      '{"url":"@","state":"@","title":"@","author":"@","labels":"@","is_fork":"@","head_sha":"@","is_draft":"@","additions":"@","base_branch":"@","head_branch":"@"}',
      '@',
      bench.clock(greatest(p.opened, p.closed + 2, t.ready)) || case s.state when 'merged' then ' 3' when 'closed' then ' 2' else ' 1' end
    )::jsonb
  from bench.pull_requests as p
  join bench.repositories as r
    on r.rank = p.repository
  cross join lateral (
    select
      case when p.merged is not null then 'merged' when p.closed is not null then 'closed' else 'open' end as state
  ) as s
  cross join lateral (
    select
      case
        when not p.author_is_bot and bench.u(p.id, 84) < 0.15 and p.closed is not null
          then p.opened + floor((p.closed - p.opened) * 0.2)
      end as ready
  ) as t
  left join (
    select
      v.id,
      min(v.at) filter (where not v.is_bot) as first_review,
      min(v.at) filter (where not v.is_bot and v.state = 'approved') as approved
    from bench.reviews as v
    group by v.id
  ) as v
    on v.id = p.id
  order by p.opened, r.reference_id, p.number;
end
$$;

create unlogged table bench.reviews (
  id bigint not null,
  n integer not null,
  repository integer not null,
  number integer not null,
  author integer not null,
  is_bot boolean not null,
  state text not null,
  at double precision not null
);

-- Up to three for a pull request, the last of a merged one an approval.
create function bench.plan_reviews()
returns void
language sql
begin atomic
  insert into bench.reviews (id, n, repository, number, author, is_bot, state, at)
  select
    p.id,
    n,
    p.repository,
    p.number,
    p.author,
    bench.u(p.id * 4 + n, 70) < 0.06 and n < c.count,
    case
      when n = c.count and p.merged is not null then 'approved'
      when bench.u(p.id * 4 + n, 72) < 0.5 then 'commented'
      else 'changes_requested'
    end,
    p.opened + floor((p.closed - p.opened) * (n - 0.7 * bench.u(p.id * 4 + n, 73)) / (c.count + 0.2))
  from bench.pull_requests as p
  cross join lateral (
    select
      case
        when p.author_is_bot then (bench.u(p.id, 74) < 0.4)::integer
        when bench.u(p.id, 74) < 0.12 then 0
        when bench.u(p.id, 74) < 0.7 then 1
        when bench.u(p.id, 74) < 0.92 then 2
        else 3
      end as count
  ) as c
  cross join lateral generate_series(1, c.count) as n
  where p.closed is not null;
end;

create function bench.load_deployments()
returns void
language plpgsql
as $$
begin
  insert into metrics.deployments (
    reference_id, external_id, name, environment, environment_tier, commit_sha, ref, status, outcome, provider_outcome, created_at, started_at,
    finished_at, actor, actor_is_bot, url, clocks
  )
  select
    r.reference_id,
    (2000000000 + d.id)::text,
    'deploy',
    d.environment,
    case when d.environment = 'production' then 'production' end,
    bench.sha(1, d.repository, d.place),
    'main',
    'finished',
    d.outcome,
    d.provider_outcome,
    bench.at(d.created),
    bench.at(d.started),
    bench.at(d.finished),
    bench.person(d.id, false),
    false,
    r.url || '/actions/runs/' || 9000000000 + d.id,
    replace(
      case
        when d.environment = 'production' then
          '{"ref":"@","url":"@","name":"@","actor":"@","status":"@","commit_sha":"@","environment":"@","environment_tier":"@"}'
        else '{"ref":"@","url":"@","name":"@","actor":"@","status":"@","commit_sha":"@","environment":"@"}'
      end,
      '@',
      '3 ' || bench.clock(d.finished) || ' ' || lpad((4000000000 + d.id)::text, 19, '0')
    )::jsonb
  from bench.deployments as d
  join bench.repositories as r
    on r.rank = d.repository
  order by d.id;

  insert into metrics.releases (
    reference_id, external_id, tag, name, is_draft, is_prerelease, is_withdrawn, created_at, published_at, url, clocks
  )
  select
    r.reference_id,
    (3000000000 + d.id)::text,
    'v1.' || d.place,
    '1.' || d.place,
    false,
    false,
    false,
    bench.at(d.finished + 60),
    bench.at(d.finished + 90),
    r.url || '/releases/tag/v1.' || d.place,
    replace(
      '{"tag":"@","url":"@","name":"@","is_draft":"@","is_withdrawn":"@","published_at":"@","is_prerelease":"@"}',
      '@',
      bench.clock(d.finished + 90) || ' 0'
    )::jsonb
  from bench.deployments as d
  join bench.repositories as r
    on r.rank = d.repository
  where d.environment = 'production'
    and d.outcome = 'success'
    and bench.u(d.id, 45) < 0.012
  order by d.id;

  -- Most begin soon after a deployment, some at any time; half of them are told by GitHub, half by PagerDuty, which names a service.
  insert into metrics.incidents (
    source, external_id, reference_id, service, title, severity, status, opened_at, acknowledged_at, resolved_at, is_withdrawn,
    deployment_external_id, url, clocks
  )
  select
    i.source,
    (5000000000 + i.id)::text,
    case when i.source = 'github' then i.reference_id end,
    case when i.source = 'pagerduty' then i.full_name end,
    'Customers cannot check out, number ' || i.id,
    case when i.source = 'pagerduty' then 'high' end,
    case when i.is_over then 'resolved' else 'open' end,
    bench.at(i.opened),
    case when i.source = 'pagerduty' then bench.at(i.opened + 120) end,
    case when i.is_over then bench.at(i.resolved) end,
    case when i.source = 'github' then false end,
    case when i.source = 'pagerduty' and bench.u(i.id, 92) < 0.3 then (2000000000 + i.id)::text end,
    case i.source when 'github' then i.url || '/issues/' || i.id else 'https://acme.pagerduty.com/incidents/P' || i.id end,
    replace(
      case
        when i.source = 'github' then '{"url":"@","title":"@","status":"@","is_withdrawn":"@","reference_id":"@"}'
        when bench.u(i.id, 92) < 0.3 then '{"url":"@","title":"@","status":"@","service":"@","severity":"@","deployment_external_id":"@"}'
        else '{"url":"@","title":"@","status":"@","service":"@","severity":"@"}'
      end,
      '@',
      bench.clock(case when i.is_over then i.resolved else i.opened + 120 end) || case when i.is_over then ' 3' else ' 1' end
    )::jsonb
  from (
    select
      c.*,
      c.resolved < s.ends and bench.u(c.id, 91) < 0.995 as is_over
    from (
      select
        d.id,
        r.reference_id,
        r.full_name,
        r.url,
        case when bench.u(d.id, 90) < 0.5 then 'github' else 'pagerduty' end as source,
        o.opened,
        o.opened + 300 + floor(bench.lognormal(d.id, 94, 3000, 1)) as resolved
      from (
        select *
        from bench.deployments as d
        where d.environment = 'production'
          and d.outcome = 'success'
        order by bench.u(d.id, 93), d.id
        limit (select s.incidents::bigint from bench.size as s)
      ) as d
      join bench.repositories as r
        on r.rank = d.repository
      cross join lateral (
        select d.finished + 60 + floor(bench.lognormal(d.id, 95, 1500, 1.3)) as opened
      ) as o
    ) as c
    cross join bench.size as s
  ) as i
  order by i.opened, i.id;
end
$$;

-- Uploads of test results come in pairs for one commit in eight: the first failed, the second did not.
create function bench.load_reports()
returns void
language plpgsql
as $$
begin
  insert into metrics.tests (id, reference_id, suite, name)
  overriding system value
  select r.first_test + n, r.reference_id, 'unit', 'orders/handler-' || n || ': retries a failed notification'
  from bench.repositories as r
  cross join lateral generate_series(0, r.tests - 1) as n
  order by 1;
  perform setval(pg_get_serial_sequence('metrics.tests', 'id'), (select max(t.id) from metrics.tests as t));

  create temporary table uploads on commit drop as
  select
    u.n,
    r.reference_id,
    r.url,
    r.first_test,
    r.tests,
    (10000000000 + u.base)::text || '-' || u.n as external_id,
    bench.sha(1, r.rank, greatest(1, ceil(u.position * r.commits))::bigint) as commit_sha,
    u.at,
    f.failed,
    f.skipped
  from (
    select
      n,
      b.base,
      (b.base + 0.5) / s.test_runs as position,
      floor(h.starts + 3600 * ((n + 0.5) / s.test_runs - h.low) / (h.high - h.low)) as at
    from bench.size as s
    cross join bench.hours as h
    cross join lateral generate_series(ceil(h.low * s.test_runs - 0.5)::bigint, ceil(h.high * s.test_runs - 0.5)::bigint - 1) as n
    cross join lateral (select case when n % 16 = 15 then n - 1 else n end as base) as b
  ) as u
  join bench.repositories as r
    on r.rank = width_bucket(bench.u(u.base, 100), (select array_agg(r.low order by r.rank) from bench.repositories as r))
  cross join lateral (
    select
      case
        when u.n % 16 = 15 then '{}'
        when u.n % 16 = 14 or bench.u(u.n, 101) < 0.12
          then array(select distinct r.first_test + floor(r.tests * power(bench.u(u.n * 4 + k, 102), 3))::bigint from generate_series(1, 1 + u.n % 3) as k)
        else '{}'
      end as failed,
      array(select r.first_test + k from generate_series(0, r.tests - 1) as k where k % 40 = 39) as skipped
  ) as f;

  insert into metrics.test_runs (
    reference_id, external_id, suite, commit_sha, branch, pipeline, job, passed_count, failed_count, skipped_count, error_count, duration_seconds,
    started_at, passed, skipped, url, clocks
  )
  select
    u.reference_id,
    u.external_id,
    'unit',
    u.commit_sha,
    'main',
    'CI',
    'unit tests (ubuntu-24.04, node 22)',
    u.tests - cardinality(s.failed) - cardinality(u.skipped),
    cardinality(s.failed),
    cardinality(u.skipped),
    0,
    round(bench.lognormal(u.n, 103, 60, 0.5)::numeric, 3),
    bench.at(u.at),
    array(select u.first_test + k from generate_series(0, u.tests - 1) as k where k % 40 <> 39 and u.first_test + k <> all(s.failed)),
    u.skipped,
    u.url || '/tests/' || u.external_id,
    replace(
      '{"job":"@","url":"@","suite":"@","branch":"@","passed":"@","skipped":"@","pipeline":"@","commit_sha":"@","passed_count":"@","duration_seconds":"@"}',
      '@',
      bench.clock(u.at) || ' 0'
    )::jsonb
  from uploads as u
  cross join lateral (
    select array(select t from unnest(u.failed) as t where t <> all(u.skipped)) as failed
  ) as s
  order by u.n;

  insert into metrics.test_cases (reference_id, test_run_external_id, test_id, outcome, message, duration_seconds, retries, clocks)
  select
    u.reference_id,
    u.external_id,
    t.id,
    t.outcome,
    case when t.outcome = 'failed' then 'expected 200, got 503: the notification service did not answer within 2 s' end,
    round(bench.lognormal(u.n, 104, 0.4, 1)::numeric, 3),
    t.retries,
    jsonb_build_object('outcome', bench.clock(u.at) || ' 0')
  from uploads as u
  cross join lateral (
    select f as id, 'failed' as outcome, 0 as retries
    from unnest(u.failed) as f
    where f <> all(u.skipped)
    union all
    -- It passed when it was tried again within the same upload.
    select u.first_test, 'passed', 1
    where u.n % 50 = 7
      and u.first_test <> all(u.failed)
  ) as t
  order by u.n, t.id;

  insert into metrics.rule_checks (
    reference_id, external_id, rule, category, status, commit_sha, pull_request_number, run_external_id, detail, checked_at, url, clocks
  )
  select
    r.reference_id,
    (6000000000 + c.n)::text,
    (array[
      'commits are signed', 'a reviewer approved', 'no secret in the diff', 'licences are known', 'tests ran', 'the branch is up to date',
      'images are pinned', 'the change is linked', 'no critical finding', 'the owner is known', 'the runbook exists', 'the budget is kept'
    ])[1 + c.rule],
    (array['security', 'review', 'supply chain', 'operations'])[1 + c.rule % 4],
    case when bench.u(c.n, 111) < 0.9 then 'compliant' when bench.u(c.n, 111) < 0.96 then 'violation' else 'warning' end,
    bench.sha(1, r.rank, greatest(1, ceil((c.n + 0.5) / c.count * r.commits))::bigint),
    null,
    null,
    null,
    bench.at(c.at),
    r.url || '/checks/' || c.n,
    replace('{"url":"@","rule":"@","status":"@","category":"@","checked_at":"@","commit_sha":"@"}', '@', bench.clock(c.at) || ' 0')::jsonb
  from (
    select
      n,
      s.rule_checks as count,
      (bench.u(n, 110) * 12)::integer % 12 as rule,
      floor(h.starts + 3600 * ((n + 0.5) / s.rule_checks - h.low) / (h.high - h.low)) as at
    from bench.size as s
    cross join bench.hours as h
    cross join lateral generate_series(ceil(h.low * s.rule_checks - 0.5)::bigint, ceil(h.high * s.rule_checks - 0.5)::bigint - 1) as n
  ) as c
  join bench.repositories as r
    on r.rank = width_bucket(bench.u(c.n, 112), (select array_agg(r.low order by r.rank) from bench.repositories as r))
  order by c.n;

  insert into metrics.measurements (reference_id, name, external_id, value, unit, attributes, measured_at, clocks)
  select
    r.reference_id,
    m.name,
    (7000000000 + m.n)::text,
    round(bench.lognormal(m.n, 121, 80, 0.2)::numeric, 2),
    case m.name when 'coverage' then 'percent' when 'image size' then 'MB' else 's' end,
    '{"branch": "main"}',
    bench.at(m.at),
    replace('{"value":"@"}', '@', bench.clock(m.at) || ' 0')::jsonb
  from (
    select
      n,
      (array['coverage', 'image size', 'start-up time', 'build cache age'])[1 + (bench.u(n, 120) * 4)::integer % 4] as name,
      floor(h.starts + 3600 * ((n + 0.5) / s.measurements - h.low) / (h.high - h.low)) as at
    from bench.size as s
    cross join bench.hours as h
    cross join lateral generate_series(ceil(h.low * s.measurements - 0.5)::bigint, ceil(h.high * s.measurements - 0.5)::bigint - 1) as n
  ) as m
  join bench.repositories as r
    on r.rank = width_bucket(bench.u(m.n, 122), (select array_agg(r.low order by r.rank) from bench.repositories as r))
  order by m.n;
end
$$;

create unlogged table bench.tail (
  at timestamptz not null,
  reference_id bigint,
  source text not null,
  event text not null,
  facts jsonb not null
);

comment on table bench.tail is 'Facts that were taken out of their tables, as the observations that left them: one delivery a row.';

-- What a sender would have to say for this row to be left: what its clocks tell was said, and the key.
create function bench.observation(kind text, key_columns text[], fact jsonb)
returns jsonb
language sql
stable
return (
  select jsonb_strip_nulls(
    jsonb_build_object(
      'repository',
      metrics.reference_text((fact ->> 'reference_id')::bigint),
      'observed_at',
      to_char(to_timestamp(substring(c.clock from '[0-9]{14}(?=0{6})'), 'YYYYMMDDHH24MISS') at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
      'sequence',
      substring(c.clock from ' ([0-9]{19})$')
    )
  ) || (
    select jsonb_object_agg(
      f.name,
      case when f.type = 'bigint[]' then (
        select jsonb_agg(t.name order by t.id)
        from metrics.tests as t
        where t.id in (select jsonb_array_elements_text(fact -> f.name)::bigint)
      ) else fact -> f.name end
    )
    from metrics.fold_columns(format('metrics.%I', kind)::regclass) as f
    where f.name <> 'reference_id'
      and (
        f.name = any(key_columns)
        or (f.rule = 'latest' and fact -> 'clocks' ? f.lead)
        or (f.rule in ('earliest', 'union') and fact -> f.name <> 'null')
      )
  )
  from (
    select max(v.value) as clock
    from jsonb_each_text(fact -> 'clocks') as v
  ) as c
);

-- Takes out about so many of the last facts, a push with its commits and a test run with its cases.
create function bench.take_tail(count integer)
returns void
language plpgsql
set timezone = 'UTC'
as $$
declare
  cutoff timestamptz;
  taken record;
begin
  create temporary table kinds on commit drop as
  select *
  from (
    values
      ('pipeline_runs', 'coalesce(t.finished_at, t.started_at, t.queued_at)', array['external_id', 'attempt']),
      ('jobs', 'coalesce(t.finished_at, t.started_at, t.queued_at)', array['external_id']),
      ('pull_requests', 'coalesce(t.closed_at, t.opened_at)', array['number']),
      ('reviews', 't.submitted_at', array['external_id']),
      ('pushes', 't.pushed_at', array['ref', 'before', 'after', 'pushed_at']),
      ('deployments', 't.finished_at', array['external_id']),
      ('releases', 't.published_at', array['external_id']),
      ('incidents', 'coalesce(t.resolved_at, t.opened_at)', array['source', 'external_id']),
      ('test_runs', 't.started_at', array['external_id']),
      ('rule_checks', 't.checked_at', array['external_id']),
      ('measurements', 't.measured_at', array['name', 'external_id'])
  ) as k (kind, at, key_columns);

  execute (
    select format(
      'select at from (%s) as a order by 1 desc offset %s limit 1',
      string_agg(format('(select %s as at from metrics.%I as t order by 1 desc nulls last limit %s)', k.at, k.kind, count), ' union all '),
      count - 1
    )
    from kinds as k
  )
  into cutoff;

  for taken in
    select *
    from kinds
  loop
    execute format(
      $f$with gone as (
        delete from metrics.%1$I as t
        where %2$s >= $1
        returning %2$s as at, to_jsonb(t) as fact
      )
      insert into bench.tail (at, reference_id, source, event, facts)
      select
        g.at,
        (g.fact ->> 'reference_id')::bigint,
        coalesce(g.fact ->> 'source', 'ci'),
        %1$L,
        jsonb_build_object(%1$L, jsonb_build_array(bench.observation(%1$L, $2, g.fact)))
      from gone as g$f$,
      taken.kind,
      taken.at
    )
    using cutoff, taken.key_columns;
  end loop;

  with gone as (
    delete from metrics.commits as c
    using (
      select distinct t.reference_id, s.sha
      from bench.tail as t
      cross join lateral jsonb_array_elements_text(t.facts #> '{pushes,0,commits}') as s (sha)
      where t.event = 'pushes'
    ) as p
    where c.reference_id = p.reference_id
      and c.sha = p.sha
    returning c.reference_id, c.sha, to_jsonb(c) as fact
  )
  update bench.tail as t
  set facts = t.facts || jsonb_build_object(
    'commits',
    (
      select coalesce(jsonb_agg(bench.observation('commits', array['sha'], g.fact) order by g.sha collate "C"), '[]')
      from gone as g
      where g.reference_id = t.reference_id
        and t.facts #> '{pushes,0,commits}' ? g.sha
    )
  )
  where t.event = 'pushes';

  with gone as (
    delete from metrics.test_cases as c
    using (
      select t.reference_id, t.facts #>> '{test_runs,0,external_id}' as external_id
      from bench.tail as t
      where t.event = 'test_runs'
    ) as r
    where c.reference_id = r.reference_id
      and c.test_run_external_id = r.external_id
    returning c.reference_id, c.test_run_external_id, c.test_id, to_jsonb(c) as fact
  )
  update bench.tail as t
  set facts = t.facts || jsonb_build_object('test_cases', g.cases)
  from (
    select
      g.reference_id,
      g.test_run_external_id,
      jsonb_agg(
        bench.observation('test_cases', array['test_run_external_id'], g.fact) || jsonb_build_object('suite', n.suite, 'name', n.name)
        order by g.test_id
      ) as cases
    from gone as g
    join metrics.tests as n
      on n.id = g.test_id
    group by g.reference_id, g.test_run_external_id
  ) as g
  where g.reference_id = t.reference_id
    and g.test_run_external_id = t.facts #>> '{test_runs,0,external_id}';

  -- Every delivery tells its repository, too.
  update bench.tail as t
  set
    facts = jsonb_build_object('repositories', jsonb_build_array(r.said)) || t.facts,
    source = case t.source when 'ci' then r.source else t.source end
  from bench.introductions as r
  where r.reference_id = t.reference_id;
end
$$;

create view bench.introductions as
select
  r.rank,
  r.reference_id,
  r.source,
  jsonb_build_object(
    'repository', r.reference,
    'observed_at', bench.iso(s.starts - 30 * 86400),
    'full_name', r.full_name,
    'default_branch', 'main',
    'url', r.url
  ) as said
from bench.repositories as r
cross join bench.size as s;

comment on view bench.introductions is 'What each repository says of itself.';
