begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(4);

-- Commit b is what pull requests 1, 2 and 3 became; of 1 nobody says when it was merged. It is deployed at 09:00.
select metrics.ingest(
  jsonb_build_object('source', 'github', 'delivery_id', '1', 'sha256', repeat('00', 32), 'size', 2, 'result', 'stored'),
  jsonb_build_object(
    'pushes', (
      select jsonb_agg(jsonb_build_object(
        'repository', 'github:1', 'ref', 'refs/heads/main', 'before', repeat(p.before, 40), 'after', repeat(p.after, 40), 'pushed_at', p.at,
        'on_default_branch', true, 'commits', jsonb_build_array(repeat(p.after, 40))
      ))
      from (values ('0', 'a', '2026-03-02T07:00:00Z'), ('a', 'b', '2026-03-02T08:30:00Z')) as p (before, after, at)
    ),
    'pull_requests', (
      select jsonb_agg(jsonb_build_object(
        'repository', 'github:1', 'number', p.number, 'state', 'merged', 'opened_at', '2026-03-02T07:30:00Z', 'merged_at', p.at,
        'merge_sha', repeat('b', 40)
      ))
      from (values (1, null), (2, '2026-03-02T08:20:00Z'), (3, '2026-03-02T08:10:00Z')) as p (number, at)
    ),
    'deployments', (
      select jsonb_agg(jsonb_build_object(
        'repository', 'github:1', 'external_id', d.sha, 'environment', 'production', 'commit_sha', repeat(d.sha, 40),
        'status', 'finished', 'outcome', 'success', 'started_at', d.at, 'finished_at', d.at
      ))
      from (values ('a', '2026-03-02T07:10:00Z'), ('b', '2026-03-02T09:00:00Z')) as d (sha, at)
    )
  )
);

select results_eq(
  $$
    select p50_seconds, sample_size, pull_requests, is_exact
    from metrics.pull_request_cycle_time('2026-03-02', '2026-03-09')
    where phase = 'deploy'
  $$,
  $$values (2400::double precision, 1::bigint, 2::bigint, true)$$,
  'of those that were merged it is told of the one of the least number'
);
select results_eq(
  $$select external_id, detail ->> 'deploy' from metrics.pull_request_cycle_time_evidence('2026-03-02', '2026-03-09') order by 1$$,
  $$values ('2', '2400'), ('3', null)$$,
  'as in the rows behind it'
);
select results_eq(
  $$
    select s.days, c.bucket, c.count
    from metrics.pull_request_spans as s
    cross join lateral metrics.counts_of(s.deploy) as c
    order by 1
  $$,
  $$select d.days::smallint, metrics.bucket_of(2400), 1 from (values (1), (7), (28)) as d (days) order by 1$$,
  'and as it is counted'
);
select results_eq(
  $$select pull_request_number from metrics.changes where sha = repeat('b', 40)$$,
  $$values (2)$$,
  'the commit tells of it'
);

select * from finish();
rollback;
