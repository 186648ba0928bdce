begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(12);

-- Ada is an admin; Vera is a viewer.
insert into auth.users (id, email, email_confirmed_at)
values
  ('00000000-0000-4000-8000-00000000000a', 'ada@example.com', now()),
  ('00000000-0000-4000-8000-000000000001', 'vera@example.com', now());
insert into metrics.members (email, role, user_id, accepted_at)
values
  ('ada@example.com', 'admin', '00000000-0000-4000-8000-00000000000a', now()),
  ('vera@example.com', 'viewer', '00000000-0000-4000-8000-000000000001', now());

select metrics.ingest(jsonb_build_object('source', s, 'delivery_id', d, 'result', 'stored', 'size', 1, 'sha256', repeat('00', 32)))
from (values ('github', 'today'), ('github', 'before'), ('gitlab', 'before'), ('circleci', 'before')) as t (s, d);
-- GitLab was heard ten days ago, CircleCI so long ago that nothing of it is kept.
update metrics.deliveries
set received_at = now() - case source when 'circleci' then interval '50 days' when 'gitlab' then interval '10 days' else interval '40 days' end
where delivery_id = 'before';
select is(metrics.maintain() #>> '{deleted,deliveries}', '2', 'what is old goes');
select set_eq('select distinct source from metrics.deliveries', array['github', 'gitlab'], 'and with it all of one source');

select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-00000000000a", "role": "authenticated"}', true);
set local role authenticated;

select results_eq(
  'select source, now() - last_received_at, seconds_since_last, now() - last_stored_at, stored, ignored, quarantined, reason, total from metrics.ingest_health()',
  $$values
    ('circleci', interval '50 days', 4320000::double precision, null::interval, 0::bigint, 0::bigint, 0::bigint, null::text, 3::bigint),
    ('github', interval '0', 0, interval '0', 1, 0, 0, null, 3),
    ('gitlab', interval '10 days', 864000, interval '10 days', 0, 0, 0, null, 3)$$,
  'whoever was ever heard is there, with how long ago that was'
);
select results_eq(
  'select source, stored, ignored, quarantined, ignored_reasons, quarantined_reasons, reason from metrics.ingest_health(45)',
  $$values
    ('circleci', 0::bigint, 0::bigint, 0::bigint, '{}'::jsonb, '{}'::jsonb, null::text),
    ('github', null, null, null, null, null, 'outside_retention'),
    ('gitlab', 1, 0, 0, '{}', '{}', null)$$,
  'days of which something is no longer kept are not counted'
);
select results_eq(
  'select source, total from metrics.ingest_health(page_size => 2)',
  $$values ('circleci', 3::bigint), ('github', 3)$$,
  'the first page'
);
select results_eq(
  $$select n.source, n.total
    from metrics.ingest_health(page_size => 2) as f
    cross join lateral metrics.ingest_health(page_size => 2, page_after => f.page_key) as n
    where f.source = 'github'$$,
  $$values ('gitlab', 3::bigint)$$,
  'the page after it'
);
select is_empty($$select * from metrics.ingest_health(page_after => '["gitlab"]')$$, 'there is none after the last');
select throws_ok(
  $$select metrics.ingest_health(page_after => '["github", ""]')$$, '22023', '["github", ""] is no key of a page', 'the key of another function'
);
select throws_ok($$select metrics.ingest_health(page_after => 'github')$$, '22023', 'github is no key of a page', 'no key at all');
select throws_ok($$select metrics.ingest_health(page_size => 501)$$, '22023', 'page_size is between 1 and 500, not 501', 'too large a page');

select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-000000000001", "role": "authenticated"}', true);

select is_empty('select * from metrics.ingest_health()', 'a viewer sees no source');
select is_empty('select * from metrics.remembered_sources', 'nor what is remembered of it');

select * from finish();
rollback;
