begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(4);

-- Ada is an admin.
insert into auth.users (id, email, email_confirmed_at) values ('00000000-0000-4000-8000-00000000000a', 'ada@example.com', now());
insert into metrics.members (email, role, user_id, accepted_at)
values ('ada@example.com', 'admin', '00000000-0000-4000-8000-00000000000a', now());

-- Twelve thousand over ten weeks, every tenth by a robot; what deploying took is told of half of them.
insert into metrics.repositories (full_name) values ('acme/one');
insert into metrics.repository_references (reference, source, external_id, repository_id)
select 'github:1', 'github', '1', id from metrics.repositories;
insert into metrics.pull_requests (reference_id, number, author_is_bot, state, opened_at, first_commit_at, merged_at, merge_sha)
select r.id, n, n % 10 = 0, 'merged', m.at - interval '1 hour', m.at - interval '1 hour' - make_interval(secs => n % 977 * n % 89), m.at, 'sha' || n
from metrics.repository_references as r
cross join generate_series(1, 12000) as n
cross join lateral (select '2026-03-01T00:00:00Z'::timestamptz + make_interval(mins => n * 8) as at) as m;
insert into metrics.changes (
  generation, repository_id, service_id, sha, line, position, is_listed, pull_request_reference_id, pull_request_number, pull_request_is_bot, merged_at, shipped_at
)
select metrics.current_generation(), r.repository_id, 1, p.merge_sha, 0, p.number, true, p.reference_id, p.number, p.author_is_bot, p.merged_at,
  case when p.number % 2 = 0 then p.merged_at + make_interval(secs => p.number % 1013) end
from metrics.pull_requests as p
join metrics.repository_references as r
  on r.id = p.reference_id;

select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-00000000000a", "role": "authenticated"}', true);
set local role authenticated;

-- What the same facts say, each looked at.
create temp view truth as
select
  s.bots,
  v.phase,
  count(v.seconds) as sample_size,
  percentile_disc(array[0.5, 0.75, 0.95]) within group (order by v.seconds) as percentiles
from metrics.pull_requests as p
join metrics.changes as c
  on c.sha = p.merge_sha
cross join (values (true), (false)) as s (bots)
cross join lateral (
  values
    ('coding', p.coding_seconds), ('merge', p.merge_seconds), ('total', p.total_seconds),
    ('deploy', extract(epoch from c.shipped_at - p.merged_at)::double precision)
) as v (phase, seconds)
where p.merged_at >= '2026-03-04T00:00:00Z'
  and p.merged_at < '2026-05-05T00:00:00Z'
  and (s.bots or p.author_is_bot is not true)
group by s.bots, v.phase;

select results_eq(
  $$select distinct is_exact, pull_requests from metrics.pull_request_cycle_time('2026-03-04', '2026-05-05')$$,
  $$select false, sample_size from truth where bots and phase = 'total'$$,
  'more than ten thousand are not looked at each'
);
select is_empty(
  $$select t.*, f.*
    from truth as t
    join metrics.pull_request_cycle_time('2026-03-04', '2026-05-05', bots => t.bots) as f
      on f.phase = t.phase
    where f.sample_size <> t.sample_size
      or exists (
        select
        from unnest(t.percentiles, array[f.p50_seconds, f.p75_seconds, f.p95_seconds]) as v (exact, told)
        where abs(v.told - v.exact) > 0.049 * v.exact
          or (v.told is null) <> (v.exact is null)
      )$$,
  'each percentile is at most 4.9 % off, and each count exact'
);
select is(
  (select sum(pull_requests) from metrics.pull_request_cycle_time('2026-03-04', '2026-05-05', 'week') where phase = 'total'),
  (select sample_size::numeric from truth where bots and phase = 'total'),
  'weeks that the period cuts are counted as far as they lie in it'
);
select results_eq(
  $$select is_exact, p50_seconds from metrics.pull_request_cycle_time('2026-03-09', '2026-03-16') where phase = 'total'$$,
  $$select true, percentile_disc(0.5) within group (order by total_seconds)
    from metrics.pull_requests where merged_at >= '2026-03-09T00:00:00Z' and merged_at < '2026-03-16T00:00:00Z'$$,
  'fewer are'
);

select * from finish();
rollback;
