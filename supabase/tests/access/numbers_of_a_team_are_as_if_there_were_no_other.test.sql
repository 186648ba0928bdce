begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(7);

-- A delivery from GitHub; its bytes are its id.
create function pg_temp.tell(id text, facts jsonb)
returns jsonb
language sql
as $$
  select metrics.ingest(
    jsonb_build_object(
      'source', 'github',
      'delivery_id', id,
      'event', 'told',
      'sha256', encode(sha256(convert_to(id, 'UTF8')), 'hex'),
      'size', length(id),
      'content_type', 'application/json',
      'result', 'stored'
    ),
    facts,
    encode(convert_to(id, 'UTF8'), 'base64')
  )
$$;

-- Ada is an admin; Vera and Otto are viewers, each of a team with a repository; Eve uses the app and is no member.
insert into auth.users (id, email, email_confirmed_at)
values
  ('00000000-0000-4000-8000-00000000000a', 'ada@example.com', now()),
  ('00000000-0000-4000-8000-000000000001', 'vera@example.com', now()),
  ('00000000-0000-4000-8000-000000000002', 'otto@example.com', now()),
  ('00000000-0000-4000-8000-00000000000e', 'eve@example.com', now());
insert into metrics.members (email, role, user_id, accepted_at)
values
  ('ada@example.com', 'admin', '00000000-0000-4000-8000-00000000000a', now()),
  ('vera@example.com', 'viewer', '00000000-0000-4000-8000-000000000001', now()),
  ('otto@example.com', 'viewer', '00000000-0000-4000-8000-000000000002', now());

-- The same things happen in both repositories, in the second one more slowly.
select pg_temp.tell(name, replace(replace('{
  "repositories": [{"repository": "github:NAME", "full_name": "acme/NAME", "default_branch": "main"}],
  "pull_requests": [
    {"repository": "github:NAME", "number": 1, "title": "NAME", "author": "dev-NAME", "opened_at": "2026-03-03T10:00:00Z", "state": "merged", "merged_at": "2026-03-03T10:HH:00Z", "merge_sha": "aNAME", "url": "https://example.com/NAME"}
  ],
  "reviews": [{"repository": "github:NAME", "external_id": "1", "pull_request_number": 1, "reviewer": "else-NAME", "state": "approved", "submitted_at": "2026-03-03T10:01:00Z"}],
  "pushes": [{"repository": "github:NAME", "ref": "refs/heads/main", "before": "0", "after": "aNAME", "commits": ["aNAME"], "on_default_branch": true, "pushed_at": "2026-03-03T10:HH:00Z"}],
  "deployments": [{"repository": "github:NAME", "external_id": "1", "environment": "production", "commit_sha": "aNAME", "status": "finished", "outcome": "success", "finished_at": "2026-03-03T12:HH:00Z"}],
  "test_runs": [
    {"repository": "github:NAME", "external_id": "1", "suite": "NAME", "commit_sha": "aNAME", "started_at": "2026-03-03T10:00:00Z", "passed": [], "passed_count": HH, "failed_count": 1, "error_count": 0, "skipped_count": 0, "duration_seconds": HH},
    {"repository": "github:NAME", "external_id": "2", "suite": "NAME", "commit_sha": "aNAME", "started_at": "2026-03-03T11:00:00Z", "passed": ["wavers"], "passed_count": 1, "failed_count": 0, "error_count": 0, "skipped_count": 0}
  ],
  "test_cases": [{"repository": "github:NAME", "test_run_external_id": "1", "suite": "NAME", "name": "wavers", "outcome": "failed"}],
  "rule_checks": [{"repository": "github:NAME", "external_id": "1", "rule": "NAME", "category": "NAME", "status": "violation", "checked_at": "2026-03-03T10:00:00Z"}],
  "measurements": [{"repository": "github:NAME", "name": "size", "external_id": "1", "value": HH, "unit": "NAME", "measured_at": "2026-03-03T10:00:00Z"}]
}', 'NAME', name), 'HH', minutes)::jsonb)
from (values ('one', '10'), ('two', '50')) as v (name, minutes);
select metrics.add_team('one'), metrics.add_team_member('one', 'vera@example.com'), metrics.add_team_repository('one', 'github:one');
select metrics.add_team('two'), metrics.add_team_member('two', 'otto@example.com'), metrics.add_team_repository('two', 'github:two');

create function pg_temp.all_numbers()
returns table (what text, told text)
language sql
as $$
  select 'cycle time', f::text from metrics.pull_request_cycle_time('2026-03-02', '2026-03-09', 'week', 'repository', page_size => 500) as f
  union all
  select 'cycle time of all', f::text from metrics.pull_request_cycle_time('2026-03-02', '2026-03-09') as f
  union all
  select 'its evidence', f::text from metrics.pull_request_cycle_time_evidence('2026-03-02', '2026-03-09') as f
  union all
  select 'tests', f::text from metrics.test_health('2026-03-02', '2026-03-09', by => 'suite') as f
  union all
  select 'tests of all', f::text from metrics.test_health('2026-03-02', '2026-03-09') as f
  union all
  select 'their evidence', f::text from metrics.test_health_evidence('2026-03-02', '2026-03-09') as f
  union all
  select 'flaky tests', f::text from metrics.flaky_tests('2026-03-02', '2026-03-09') as f
  union all
  select 'their evidence', f::text from metrics.flaky_tests_evidence('2026-03-02', '2026-03-09') as f
  union all
  select 'rules', f::text from metrics.rule_compliance('2026-03-02', '2026-03-09', by => 'rule') as f
  union all
  select 'rules of all', f::text from metrics.rule_compliance('2026-03-02', '2026-03-09') as f
  union all
  select 'their evidence', f::text from metrics.rule_compliance_evidence('2026-03-02', '2026-03-09') as f
  union all
  select 'measurements', f::text from metrics.measurement_series('size', since => '2026-03-02', until => '2026-03-09') as f
  union all
  select 'their evidence', f::text from metrics.measurement_series_evidence('size', since => '2026-03-02', until => '2026-03-09') as f
  union all
  select 'pull request events', f::text from metrics.pull_request_events as f
  union all
  select 'deployment events', f::text from metrics.deployment_events as f
  union all
  select 'rule events', f::text from metrics.rule_compliance_events as f
  union all
  select 'days', f::text from metrics.daily_development_metrics as f
$$;

select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-000000000001", "role": "authenticated"}', true);
set local role authenticated;
create temp table hers as select * from pg_temp.all_numbers();

select is((select count(distinct what) from hers), 14::bigint, 'there is something of everything');
select is_empty($$select * from hers where told ~ 'two'$$, 'no word of the other team''s');
select results_eq(
  $$select p50_seconds, pull_requests from metrics.pull_request_cycle_time('2026-03-02', '2026-03-09') where phase in ('total', 'deploy') order by phase$$,
  $$values (7200::float8, 1::bigint), (600, 1)$$,
  'no time of theirs takes part'
);
select is((select reason from metrics.test_health(repository => 'acme/two')), 'unknown_service', 'their repository might as well not be there');

-- And as if it were not there they stay once it is gone.
reset role;
select set_config('request.jwt.claims', '', true);
select metrics.forget_repository('github:two', 100000);
select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-000000000001", "role": "authenticated"}', true);
set local role authenticated;

select results_eq('select what, told from pg_temp.all_numbers() order by 1, 2', 'select what, told from hers order by 1, 2', 'nothing changes for her when it goes');

select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-00000000000e", "role": "authenticated"}', true);
select throws_ok('select * from metrics.test_health()', '42501', 'only members of metrics may call this', 'a stranger is refused');
select is_empty('select * from metrics.daily_development_metrics', 'and reads no day');

select * from finish();
rollback;
