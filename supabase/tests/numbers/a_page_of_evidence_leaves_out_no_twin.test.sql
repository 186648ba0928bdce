begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(20);

-- A delivery from this source, in which the references of its repository are NAME.
create function pg_temp.tell(source text, id text, name text, facts text)
returns jsonb
language sql
as $$
  select metrics.ingest(
    jsonb_build_object('source', source, 'delivery_id', id, 'sha256', repeat('00', 32), 'size', 2, 'result', 'stored'),
    replace(facts, 'NAME', name)::jsonb
  )
$$;

-- How many rows come when they are asked for one by one, and how many there are.
create function pg_temp.one_by_one(called text, arguments text, out rows bigint, out total bigint)
language plpgsql
as $$
declare
  after text;
  page_rows bigint;
begin
  rows := 0;
  loop
    execute format(
      'select min(e.page_key), count(*), coalesce(max(e.total), $2) from metrics.%I(%s, page_after => $1, page_size => 1) as e',
      called, arguments
    ) into after, page_rows, total using after, total;
    exit when page_rows = 0 or rows > 50;
    rows := rows + page_rows;
  end loop;
end
$$;

-- One repository that is hooked twice, and named by its URL as well: three references that tell of the same things under the same ids.
select pg_temp.tell(source, name, name, '{
  "repositories": [{"repository": "NAME", "observed_at": "2026-03-01T00:00:00Z", "full_name": "acme/one", "default_branch": "main", "url": "https://github.com/acme/one"}]
}')
from (values ('github', 'github:1'), ('github-acme', 'github-acme:1')) as v (source, name);
select pg_temp.tell(source, 'history of ' || name, name, '{
  "pushes": [
    {"repository": "NAME", "ref": "refs/heads/main", "before": "0000000000000000000000000000000000000000", "after": "1111111111111111111111111111111111111111", "pushed_at": "2026-03-02T08:00:00Z", "on_default_branch": true, "commits": ["1111111111111111111111111111111111111111"]},
    {"repository": "NAME", "ref": "refs/heads/main", "before": "1111111111111111111111111111111111111111", "after": "2222222222222222222222222222222222222222", "pushed_at": "2026-03-02T09:00:00Z", "on_default_branch": true, "commits": ["2222222222222222222222222222222222222222"]}
  ],
  "commits": [
    {"repository": "NAME", "sha": "1111111111111111111111111111111111111111", "authored_at": "2026-03-02T08:00:00Z"},
    {"repository": "NAME", "sha": "2222222222222222222222222222222222222222", "authored_at": "2026-03-02T09:00:00Z"}
  ],
  "deployments": [
    {"repository": "NAME", "external_id": "1", "environment": "production", "commit_sha": "1111111111111111111111111111111111111111", "status": "finished", "outcome": "success", "finished_at": "2026-03-03T08:00:00Z"},
    {"repository": "NAME", "external_id": "2", "environment": "production", "commit_sha": "2222222222222222222222222222222222222222", "status": "finished", "outcome": "success", "finished_at": "2026-03-03T09:00:00Z"},
    {"repository": "NAME", "external_id": "3", "environment": "production", "commit_sha": "1111111111111111111111111111111111111111", "status": "finished", "outcome": "success", "finished_at": "2026-03-03T10:00:00Z"}
  ],
  "pull_requests": [
    {"repository": "NAME", "number": 1, "state": "merged", "opened_at": "2026-03-03T08:00:00Z", "merged_at": "2026-03-03T09:00:00Z"}
  ],
  "pipeline_runs": [
    {"repository": "NAME", "external_id": "1", "attempt": 1, "pipeline": "ci", "status": "finished", "outcome": "success", "finished_at": "2026-03-03T09:00:00Z"}
  ],
  "jobs": [
    {"repository": "NAME", "external_id": "1", "name": "build", "commit_sha": "a", "status": "finished", "outcome": "failure", "finished_at": "2026-03-03T08:00:00Z", "steps": [{"name": "make"}]},
    {"repository": "NAME", "external_id": "2", "name": "build", "commit_sha": "a", "status": "finished", "outcome": "success", "finished_at": "2026-03-03T09:00:00Z", "steps": [{"name": "make"}]}
  ],
  "test_runs": [
    {"repository": "NAME", "external_id": "1", "suite": "all", "commit_sha": "a", "started_at": "2026-03-03T08:00:00Z", "passed": [], "passed_count": 9, "failed_count": 2},
    {"repository": "NAME", "external_id": "2", "suite": "all", "commit_sha": "a", "started_at": "2026-03-03T09:00:00Z", "passed": [], "passed_count": 11, "failed_count": 0}
  ],
  "test_cases": [
    {"repository": "NAME", "test_run_external_id": "1", "suite": "a", "name": "b c", "outcome": "passed", "retries": 1},
    {"repository": "NAME", "test_run_external_id": "1", "suite": "a b", "name": "c", "outcome": "passed", "retries": 1}
  ],
  "rule_checks": [
    {"repository": "NAME", "external_id": "1", "rule": "reviewed", "category": "review", "status": "compliant", "checked_at": "2026-03-03T09:00:00Z"}
  ],
  "measurements": [
    {"repository": "NAME", "name": "size", "external_id": "1", "value": 1, "measured_at": "2026-03-03T09:00:00Z"}
  ]
}')
from (values ('github', 'github:1'), ('github-acme', 'github-acme:1'), ('github', '//github.com/acme/one')) as v (source, name);
-- Incidents of one id from two senders, of long before any deployment.
select pg_temp.tell(source, 'incident', source, '{
  "incidents": [{"source": "NAME", "repository": "github:1", "external_id": "1", "status": "resolved", "opened_at": "2026-03-02T08:00:00Z", "resolved_at": "2026-03-02T09:00:00Z"}]
}')
from (values ('pagerduty'), ('pagerduty-acme')) as v (source);
-- Two senders give their deliveries one id; both come in this moment.
select metrics.ingest(jsonb_build_object('source', source, 'delivery_id', 'ping', 'sha256', repeat('00', 32), 'result', 'ignored', 'reason', 'ping'))
from (values ('github'), ('github-acme')) as v (source);

select is(
  (select count(*) from metrics.deployment_frequency_evidence('2026-03-02', '2026-03-09') as e where e.external_id = '1'),
  3::bigint,
  'a deployment is told of three times'
);
select is(
  (select count(distinct e.page_key) from metrics.deployment_frequency_evidence('2026-03-02', '2026-03-09') as e),
  9::bigint,
  'and each has a key'
);
select results_eq(
  format($$select p.rows, p.total from pg_temp.one_by_one(%L, %L) as p$$, called || '_evidence', first || '''2026-03-02'', ''2026-03-09'''),
  format('values (%1$s::bigint, %1$s::bigint)', rows),
  called
)
from (
  values
    ('deployment_frequency', 9, ''),
    ('change_lead_time', 4, ''),
    ('change_fail_rate', 11, ''),
    ('failed_deployment_recovery_time', 2, ''),
    ('deployment_rework_rate', 9, ''),
    ('pull_request_cycle_time', 3, ''),
    ('pipeline_health', 3, ''),
    ('job_health', 6, ''),
    ('slowest_jobs', 6, ''),
    ('flaky_jobs', 6, ''),
    ('step_health', 6, ''),
    ('pipeline_cost', 6, ''),
    ('test_health', 6, ''),
    ('flaky_tests', 6, ''),
    ('rule_compliance', 3, ''),
    ('measurement_series', 3, '''size'', null, ')
) as v (called, rows, first);
select results_eq(
  $$select p.rows, p.total from pg_temp.one_by_one('ingest_health_evidence', 'days => 1') as p$$,
  'values (2::bigint, 2::bigint)',
  'ingest_health'
);
select throws_ok(
  $$select metrics.deployment_frequency_evidence('2026-03-02', '2026-03-09', page_after => '["2026-03-03T08:00:00Z", "acme/one", "deployment", "1"]')$$,
  '22023',
  '["2026-03-03T08:00:00Z", "acme/one", "deployment", "1"] is no key of a page',
  'half a key is none'
);

select * from finish();
rollback;
