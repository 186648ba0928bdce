begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(9);

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

-- Ada is an admin.
insert into auth.users (id, email, email_confirmed_at) values ('00000000-0000-4000-8000-00000000000a', 'ada@example.com', now());
insert into metrics.members (email, role, user_id, accepted_at)
values ('ada@example.com', 'admin', '00000000-0000-4000-8000-00000000000a', now());

select pg_temp.tell('all', (
  '{
    "repositories": [{"repository": "github:1", "full_name": "acme/one", "default_branch": "main"}],
    "test_runs": [
      {"repository": "github:1", "external_id": "1", "suite": "unit", "commit_sha": "a", "started_at": "2026-03-03T10:00:00Z", "passed": ["stays"], "passed_count": 1, "failed_count": 1, "error_count": 0, "skipped_count": 0, "url": "https://example.com/1"},
      {"repository": "github:1", "external_id": "2", "suite": "unit", "commit_sha": "a", "started_at": "2026-03-03T11:00:00Z", "passed": ["stays", "wavers"], "passed_count": 2, "failed_count": 0, "error_count": 0, "skipped_count": 0},
      {"repository": "github:1", "external_id": "3", "suite": "unit", "commit_sha": "b", "started_at": "2026-03-03T12:00:00Z", "passed": ["stays"], "passed_count": 1, "failed_count": 1, "error_count": 0, "skipped_count": 0},
      {"repository": "github:1", "external_id": "4", "suite": "unit", "commit_sha": "b", "started_at": "2026-03-10T12:00:01Z", "passed": ["stays", "late"], "passed_count": 2, "failed_count": 0, "error_count": 0, "skipped_count": 0},
      {"repository": "github:1", "external_id": "5", "suite": "unit", "commit_sha": "c", "started_at": "2026-03-03T13:00:00Z", "passed": ["stays"], "passed_count": 2, "failed_count": 0, "error_count": 0, "skipped_count": 0},
      {"repository": "github:1", "external_id": "6", "suite": "other", "commit_sha": "d", "started_at": "2026-03-03T14:00:00Z", "passed": [], "passed_count": 4, "failed_count": 15, "error_count": 1, "skipped_count": 9},
      {"repository": "github:1", "external_id": "7", "suite": "other", "commit_sha": "d", "started_at": "2026-03-03T15:00:00Z", "passed": ["broken"], "passed_count": 20, "failed_count": 0, "error_count": 0, "skipped_count": 9}
    ],
    "test_cases": [
      {"repository": "github:1", "test_run_external_id": "1", "suite": "unit", "name": "wavers", "outcome": "error", "message": "no answer"},
      {"repository": "github:1", "test_run_external_id": "3", "suite": "unit", "name": "late", "outcome": "failed"},
      {"repository": "github:1", "test_run_external_id": "5", "suite": "unit", "name": "tries", "outcome": "passed", "retries": 2},
      {"repository": "github:1", "test_run_external_id": "6", "suite": "other", "name": "broken", "outcome": "failed"}
    ]
  }'
)::jsonb);

-- Clocks in Berlin go forward on 29 March: by them the second upload is more than seven days after the first.
select pg_temp.tell('spring', (
  '{
    "repositories": [{"repository": "github:2", "full_name": "acme/spring"}],
    "test_runs": [
      {"repository": "github:2", "external_id": "1", "suite": "unit", "commit_sha": "a", "started_at": "2026-03-24T12:00:00Z", "passed": [], "passed_count": 0, "failed_count": 1, "error_count": 0, "skipped_count": 0},
      {"repository": "github:2", "external_id": "2", "suite": "unit", "commit_sha": "a", "started_at": "2026-03-31T11:30:00Z", "passed": ["wavers"], "passed_count": 1, "failed_count": 0, "error_count": 0, "skipped_count": 0}
    ],
    "test_cases": [
      {"repository": "github:2", "test_run_external_id": "1", "suite": "unit", "name": "wavers", "outcome": "failed"}
    ]
  }'
)::jsonb);

select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-00000000000a", "role": "authenticated"}', true);
set local role authenticated;

select results_eq(
  $$select repository, suite, test, commits, failures, retried, first_at, last_at, reason, total from metrics.flaky_tests('2026-03-02', '2026-03-09')$$,
  $$values
    ('acme/one', 'unit', 'tries', 1::bigint, 0::bigint, 1::bigint, '2026-03-03T13:00:00Z'::timestamptz, '2026-03-03T13:00:00Z'::timestamptz, null, 2::bigint),
    ('acme/one', 'unit', 'wavers', 1, 1, 0, '2026-03-03T10:00:00Z', '2026-03-03T10:00:00Z', null, 2)$$,
  'within a week, or by being tried again; and what four fifths of twenty say is not believed'
);
select results_eq(
  $$select n.test
    from metrics.flaky_tests('2026-03-02', '2026-03-09', page_size => 1) as f
    cross join lateral metrics.flaky_tests('2026-03-02', '2026-03-09', page_after => f.page_key) as n$$,
  array['wavers'],
  'page by page'
);
select results_eq(
  $$select external_id, title, value, unit, url, detail ->> 'message', detail ->> 'passed_in', total from metrics.flaky_tests_evidence('2026-03-02', '2026-03-09')$$,
  $$values
    ('1 unit wavers', 'wavers', 1::float8, 'failures', 'https://example.com/1', 'no answer', '2', 2::bigint),
    ('5 unit tries', 'tries', 2, 'retries', null, null, '5', 2)$$,
  'each with what shows it'
);
select is_empty($$select * from metrics.flaky_tests('2026-03-09', '2026-03-16')$$, 'tests ran and none was flaky');
select results_eq(
  $$select reason, test, commits from metrics.flaky_tests('2026-03-16', '2026-03-23')$$,
  $$values ('too_few', null, null::bigint)$$,
  'no test ran'
);
select results_eq(
  $$select reason, test, commits from metrics.flaky_tests('2026-03-02', '2026-03-09', 'acme/two')$$,
  $$values ('unknown_service', null, null::bigint)$$,
  'nobody knows the repository'
);
select throws_ok($$select * from metrics.flaky_tests(page_after => '["many", "a", "b", "c"]')$$, '22023', '["many", "a", "b", "c"] is no key of a page', 'a key of something else');

set local time zone 'Europe/Berlin';
select results_eq(
  $$select test, commits from metrics.flaky_tests('2026-03-24', '2026-03-25', 'acme/spring')$$,
  $$values ('wavers', 1::bigint)$$,
  'seven days are 168 hours, whatever the clock of the session'
);
set local time zone 'America/New_York';
select results_eq(
  $$select test, commits from metrics.flaky_tests('2026-03-24', '2026-03-25', 'acme/spring')$$,
  $$values ('wavers', 1::bigint)$$,
  'and the same for everybody'
);

select * from finish();
rollback;
