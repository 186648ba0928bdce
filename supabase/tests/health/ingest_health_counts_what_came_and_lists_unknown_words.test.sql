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

select pg_temp.tell('one', '{"jobs": [{"repository": "github:1", "external_id": "1", "status": "finished", "outcome": "unknown", "provider_outcome": "stale"}, {"repository": "github:1", "external_id": "2", "status": "finished", "outcome": "success", "provider_outcome": "success"}]}');
select pg_temp.tell('two', '{"deployments": [{"repository": "github:1", "external_id": "1", "status": "finished", "outcome": "unknown", "provider_outcome": "stale"}]}');
select metrics.ingest('{"source": "github", "delivery_id": "ping", "result": "ignored", "reason": "ping", "sha256": "0000000000000000000000000000000000000000000000000000000000000001"}');
-- CircleCI knows its repository by a URL alone.
select metrics.ingest(
  '{"source": "circleci", "delivery_id": "job", "event": "told", "result": "stored", "size": 1, "sha256": "0000000000000000000000000000000000000000000000000000000000000002"}',
  '{"jobs": [{"repository": "//github.com/acme/one", "external_id": "9", "status": "finished", "outcome": "unknown", "provider_outcome": "unheard"}]}'
);
select metrics.ingest(
  '{"source": "pagerduty", "delivery_id": "down", "event": "told", "result": "stored", "size": 1, "sha256": "0000000000000000000000000000000000000000000000000000000000000003"}',
  '{"incidents": [{"source": "pagerduty", "external_id": "1", "service": "Checkout", "status": "open"}]}'
);
select metrics.ingest('{"source": "gitlab", "delivery_id": "odd", "result": "quarantined", "reason": "odd", "sha256": "0000000000000000000000000000000000000000000000000000000000000001"}');

select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-00000000000a", "role": "authenticated"}', true);
set local role authenticated;

select results_eq(
  'select source, stored, ignored, quarantined, unknown_words from metrics.ingest_health()',
  $$values
    ('circleci', 1::bigint, 0::bigint, 0::bigint, '{"unheard": 1}'::jsonb),
    ('github', 2, 1, 0, '{"stale": 2}'),
    ('gitlab', 0, 0, 1, '{}'),
    ('pagerduty', 1, 0, 0, '{}')$$,
  'by source'
);
select results_eq(
  'select source, last_stored_at is not null, ignored_reasons, quarantined_reasons, unknown_services from metrics.ingest_health()',
  $$values
    ('circleci', true, '{}'::jsonb, '{}'::jsonb, '{}'::jsonb),
    ('github', true, '{"ping": 1}', '{}', '{}'),
    ('gitlab', false, '{}', '{"odd": 1}', '{}'),
    ('pagerduty', true, '{}', '{}', '{"Checkout": 1}')$$,
  'with the reasons, and what nobody has'
);
select set_eq(
  $$select external_id, reason, detail ->> 'source' as source, detail ->> 'result' as result, total from metrics.ingest_health_evidence()$$,
  $$values ('ping', 'ping', 'github', 'ignored', 2::bigint), ('odd', 'odd', 'gitlab', 'quarantined', 2)$$,
  'each delivery that was not stored'
);
select results_eq($$select external_id, total from metrics.ingest_health_evidence(source => 'gitlab')$$, $$values ('odd', 1::bigint)$$, 'of one source');
select results_eq(
  $$select n.external_id
    from metrics.ingest_health_evidence(page_size => 1) as f
    cross join lateral metrics.ingest_health_evidence(page_size => 1, page_after => f.page_key) as n$$,
  array['ping'],
  'page by page'
);
select throws_ok('select metrics.ingest_health_evidence(401)', '22023', 'days is between 1 and 400, not 401', 'more days than there are');
select throws_ok('select metrics.ingest_health(0)', '22023', 'days is between 1 and 400, not 0', 'no days');

select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-000000000001", "role": "authenticated"}', true);
set local role authenticated;

select is_empty('select * from metrics.ingest_health()', 'a viewer reads no deliveries');
select is_empty('select * from metrics.ingest_health_evidence()', 'nor what stands behind them');

select * from finish();
rollback;
