begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(3);

-- GitHub knows the repository by its number, another sender by its URL; both tell of the same job.
select metrics.ingest(
  '{"source": "github", "delivery_id": "one", "result": "stored", "size": 1, "sha256": "0000000000000000000000000000000000000000000000000000000000000001"}',
  '{
    "repositories": [{"repository": "github:1", "observed_at": "2026-03-01T00:00:00Z", "full_name": "acme/one", "url": "https://git.example/acme/one"}],
    "jobs": [
      {"repository": "github:1", "external_id": "1", "pipeline": "ci", "name": "test", "status": "finished", "outcome": "success", "started_at": "2026-03-03T10:00:00Z", "finished_at": "2026-03-03T10:01:00Z", "steps": [{"number": 1, "name": "run", "outcome": "success"}]},
      {"repository": "//git.example/acme/one", "external_id": "2", "pipeline": "ci", "name": "test", "status": "finished", "outcome": "success", "started_at": "2026-03-03T11:00:00Z", "finished_at": "2026-03-03T11:03:00Z", "steps": [{"number": 1, "name": "run", "outcome": "failure"}]}
    ]
  }'
);

select results_eq(
  $$select repository, pipeline, job, runs, minutes, duration_p50_seconds, duration_p95_seconds, total from metrics.slowest_jobs('2026-03-02', '2026-03-09')$$,
  $$values ('acme/one', 'ci', 'test', 2::bigint, 4::float8, 60::float8, 180::float8, 1::bigint)$$,
  'among the slowest'
);
select results_eq(
  $$select repository, job, step, runs, success, failure, jobs, sampled_jobs, total from metrics.step_health('2026-03-02', '2026-03-09')$$,
  $$values ('acme/one', 'test', 'run', 2::bigint, 1::bigint, 1::bigint, 2::bigint, 2::bigint, 1::bigint)$$,
  'and its steps'
);
select results_eq(
  $$select name, runs, total from metrics.job_health('2026-03-02', '2026-03-09', by => 'job')$$,
  $$values ('acme/one / ci / test', 2::bigint, 1::bigint)$$,
  'as in its health'
);

select * from finish();
rollback;
