begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(2);

select metrics.ingest(
  jsonb_build_object('source', 'github', 'delivery_id', id, 'sha256', repeat('00', 32), 'size', 2, 'result', 'stored'),
  jsonb_build_object('deployments', jsonb_build_array(jsonb_build_object(
    'repository', 'github:1', 'external_id', id, 'environment', 'production', 'commit_sha', repeat(commit, 40),
    'status', 'finished', 'outcome', outcome, 'finished_at', '2026-03-03T08:00Z'::timestamptz + id::integer * interval '1 hour'
  )))
)
from (values ('1', '1', 'success'), ('2', '2', 'failure'), ('3', '2', 'success'), ('4', '2', 'success')) as v (id, commit, outcome);

select results_eq(
  $$select external_id, value, unit, reason from metrics.deployment_frequency_evidence('2026-03-02', '2026-03-09')$$,
  $$values
    ('1', 1::float8, 'deployments', 'first_deployment'),
    ('2', 0, 'deployments', 'failed_attempt'),
    ('3', 1, 'deployments', null),
    ('4', 1, 'deployments', 'redeploy')$$,
  'a deployment counts, an attempt does not'
);
select is(
  (select sum(value) from metrics.dora_evidence('deployment_frequency', '2026-03-02', '2026-03-09')),
  (select deployments::float8 from metrics.deployment_frequency('2026-03-02', '2026-03-09')),
  'all together they are the number'
);

select * from finish();
rollback;
