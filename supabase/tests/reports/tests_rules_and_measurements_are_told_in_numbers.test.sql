begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(17);

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

select pg_temp.tell('all', '{
  "repositories": [
    {"repository": "github:1", "full_name": "acme/one", "default_branch": "main"},
    {"repository": "github:2", "full_name": "acme/two", "default_branch": "trunk"}
  ],
  "test_runs": [
    {"repository": "github:1", "external_id": "1", "suite": "unit", "branch": "main", "commit_sha": "a", "started_at": "2026-03-03T10:00:00Z", "passed_count": 7, "failed_count": 2, "error_count": 1, "skipped_count": 5, "duration_seconds": 20, "url": "https://example.com/1"},
    {"repository": "github:1", "external_id": "2", "suite": "end", "branch": "topic", "started_at": "2026-03-03T11:00:00Z", "passed_count": 10, "failed_count": 0, "error_count": 0, "skipped_count": 0, "duration_seconds": 30},
    {"repository": "github:2", "external_id": "1", "branch": "trunk", "started_at": "2026-03-09T00:00:00Z", "passed_count": 0, "failed_count": 0, "error_count": 0, "skipped_count": 3}
  ],
  "rule_checks": [
    {"repository": "github:1", "external_id": "1", "rule": "signed", "category": "security", "status": "compliant", "checked_at": "2026-03-03T10:00:00Z", "url": "https://example.com/2"},
    {"repository": "github:1", "external_id": "2", "rule": "signed", "category": "security", "status": "violation", "checked_at": "2026-03-03T10:00:00Z"},
    {"repository": "github:2", "external_id": "3", "rule": "format", "status": "warning", "checked_at": "2026-03-04T10:00:00Z"},
    {"repository": "github:2", "external_id": "4", "rule": "format", "status": "compliant", "checked_at": "2026-03-04T10:00:00Z"}
  ],
  "measurements": [
    {"repository": "github:1", "name": "size", "external_id": "1", "value": 10, "unit": "bytes", "attributes": {"file": "a"}, "measured_at": "2026-03-03T10:00:00Z"},
    {"repository": "github:1", "name": "size", "external_id": "2", "value": 30, "unit": "bytes", "attributes": {"file": "b"}, "measured_at": "2026-03-03T11:00:00Z"},
    {"repository": "github:2", "name": "size", "external_id": "3", "value": 2, "unit": "pages", "measured_at": "2026-03-03T12:00:00Z"},
    {"repository": "github:2", "name": "other", "external_id": "4", "value": 5, "measured_at": "2026-03-03T12:00:00Z"}
  ]
}');

select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-00000000000a", "role": "authenticated"}', true);
set local role authenticated;

select results_eq(
  $$select runs, passed, failed, skipped, pass_rate, duration_p50_seconds, duration_p95_seconds, reason, total from metrics.test_health('2026-03-02', '2026-03-09')$$,
  $$values (2::bigint, 17::bigint, 3::bigint, 5::bigint, 0.85::float8, 20::float8, 30::float8, null, 1::bigint)$$,
  'tests: errors have not passed, and what was skipped is apart'
);
select results_eq(
  $$select name, runs, pass_rate, reason from metrics.test_health('2026-03-02', '2026-03-10', by => 'suite')$$,
  $$values ('acme/one / end', 1::bigint, 1::float8, null), ('acme/one / unit', 1, 0.7, null), ('acme/two / ', 1, null, 'too_few')$$,
  'tests by suite'
);
select results_eq(
  $$select name, bucket_start, runs, pass_rate, reason from metrics.test_health('2026-03-02', '2026-03-10', 'week', 'repository', branch => 'default')$$,
  $$values
    ('acme/one', '2026-03-02'::date, 1::bigint, 0.7::float8, null), ('acme/one', '2026-03-09', 0, null, 'too_few'),
    ('acme/two', '2026-03-02', 0, null, 'too_few'), ('acme/two', '2026-03-09', 1, null, 'too_few')$$,
  'tests of default branches by week and repository'
);
select results_eq(
  $$select external_id, title, value, url, detail -> 'failed', total from metrics.test_health_evidence('2026-03-02', '2026-03-09')$$,
  $$values ('1', 'unit', 0.7::float8, 'https://example.com/1', '3'::jsonb, 2::bigint), ('2', 'end', 1, null, '0', 2)$$,
  'the test runs behind it'
);
select results_eq(
  $$select compliant, violation, warning, checks, rate, reason from metrics.rule_compliance('2026-03-02', '2026-03-09')$$,
  $$values (2::bigint, 1::bigint, 1::bigint, 4::bigint, 0.5::float8, null)$$,
  'rules: what is compliant, of all checks'
);
select results_eq(
  $$select name, checks, rate from metrics.rule_compliance('2026-03-02', '2026-03-09', by => 'category')$$,
  $$values ('', 2::bigint, 0.5::float8), ('security', 2, 0.5)$$,
  'rules by category, those without one under no name'
);
select results_eq(
  $$select external_id, title, value, url, detail ->> 'status', total from metrics.rule_compliance_evidence('2026-03-02', '2026-03-09', 'acme/one')$$,
  $$values ('1', 'signed', 1::float8, 'https://example.com/2', 'compliant', 2::bigint), ('2', 'signed', 0, null, 'violation', 2)$$,
  'the checks behind it'
);
select results_eq(
  $$select unit, sample_size, min, avg, p50, p95, last, reason from metrics.measurement_series('size', since => '2026-03-02', until => '2026-03-09')$$,
  $$values ('bytes', 2::bigint, 10::float8, 20::float8, 10::float8, 30::float8, 30::float8, null), ('pages', 1, 2, 2, 2, 2, 2, null)$$,
  'measurements: a row for each unit'
);
select results_eq(
  $$select name, sample_size, last from metrics.measurement_series('size', '{"file": "a"}', '2026-03-02', '2026-03-09', by => 'repository')$$,
  $$values ('acme/one', 1::bigint, 10::float8), ('acme/two', 0, null)$$,
  'measurements about something, by repository'
);
select results_eq(
  $$select external_id, value, unit, detail, total from metrics.measurement_series_evidence('size', '{"file": "b"}', '2026-03-02', '2026-03-09')$$,
  $$values ('2', 30::float8, 'bytes', '{"file": "b"}'::jsonb, 1::bigint)$$,
  'the measurements behind it'
);
-- Nothing to tell of is told as that, with its reason.
select results_eq(
  $$select 'tests', runs, pass_rate, reason from metrics.test_health('2026-04-02', '2026-04-09')
    union all
    select 'rules', checks, rate, reason from metrics.rule_compliance('2026-04-02', '2026-04-09')
    union all
    select 'measurements', sample_size, avg, reason from metrics.measurement_series('size', since => '2026-04-02', until => '2026-04-09')$$,
  $$values ('tests', 0::bigint, null::float8, 'too_few'), ('rules', 0, null, 'too_few'), ('measurements', 0, null, 'too_few')$$,
  'of an empty period'
);
select results_eq(
  $$select 'tests', runs, pass_rate, reason from metrics.test_health(repository => 'acme/three')
    union all
    select 'rules', checks, rate, reason from metrics.rule_compliance(team => 'three')
    union all
    select 'measurements', sample_size, avg, reason from metrics.measurement_series('size', repository => 'acme/three')$$,
  $$values ('tests', null::bigint, null::float8, 'unknown_service'), ('rules', null, null, 'unknown_service'), ('measurements', null, null, 'unknown_service')$$,
  'of what nobody knows'
);
select is_empty($$select * from metrics.test_health_evidence(repository => 'acme/three')$$, 'and nothing stands behind it');
select throws_ok($$select * from metrics.test_health(by => 'rule')$$, '22023', 'by cannot be rule', 'tests have no rules');
select throws_ok($$select * from metrics.rule_compliance(bucket => 'year')$$, '22023', 'no bucket is called year', 'a bucket that does not exist');
select throws_ok($$select * from metrics.measurement_series(null)$$, '22023', 'name is missing', 'a measurement without a name');
select throws_ok($$select * from metrics.measurement_series('size', '[1]')$$, '22023', 'attributes cannot be [1]', 'attributes that are a list');

select * from finish();
rollback;
