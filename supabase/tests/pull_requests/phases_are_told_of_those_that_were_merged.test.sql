begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(12);

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
    {"repository": "github:2", "full_name": "acme/two", "default_branch": "main"}
  ],
  "pull_requests": [
    {"repository": "github:1", "number": 1, "title": "First", "author": "dev-1", "opened_at": "2026-03-03T10:00:00Z", "state": "merged", "merged_at": "2026-03-03T14:00:00Z", "url": "https://example.com/1"},
    {"repository": "github:1", "number": 2, "title": "Second", "author": "dev-1", "opened_at": "2026-03-04T10:00:00Z", "state": "merged", "merged_at": "2026-03-04T11:00:00Z"},
    {"repository": "github:1", "number": 3, "title": "A robot''s", "author": "robot", "author_is_bot": true, "opened_at": "2026-03-05T10:00:00Z", "state": "merged", "merged_at": "2026-03-05T10:01:00Z"},
    {"repository": "github:1", "number": 4, "title": "Open", "author": "dev-1", "opened_at": "2026-03-04T10:00:00Z", "state": "open"}
  ],
  "reviews": [
    {"repository": "github:1", "external_id": "1", "pull_request_number": 1, "reviewer": "dev-2", "state": "commented", "submitted_at": "2026-03-03T11:00:00Z"},
    {"repository": "github:1", "external_id": "2", "pull_request_number": 1, "reviewer": "dev-2", "state": "approved", "submitted_at": "2026-03-03T13:30:00Z"}
  ]
}');

select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-00000000000a", "role": "authenticated"}', true);
set local role authenticated;

select results_eq(
  $$select phase, p50_seconds, p95_seconds, sample_size, pull_requests, reason, is_exact, total from metrics.pull_request_cycle_time('2026-03-02', '2026-03-09', bots => false)$$,
  $$values
    ('coding', null::float8, null::float8, 0::bigint, 2::bigint, 'too_few', true, 6::bigint),
    ('pickup', 3600, 3600, 1, 2, null, true, 6),
    ('review', 9000, 9000, 1, 2, null, true, 6),
    ('merge', 1800, 1800, 1, 2, null, true, 6),
    ('deploy', null, null, 0, 2, 'no_deployments', true, 6),
    ('total', 3600, 14400, 2, 2, null, true, 6)$$,
  'each phase of those by humans'
);
select is(
  (select pull_requests from metrics.pull_request_cycle_time('2026-03-02', '2026-03-09') limit 1),
  3::bigint,
  'with those by robots'
);
select results_eq(
  $$select name, bucket_start, pull_requests from metrics.pull_request_cycle_time('2026-03-01', '2026-03-09', 'week', 'repository') where phase = 'total'$$,
  $$values
    ('acme/one', '2026-02-23'::date, 0::bigint), ('acme/one', '2026-03-02', 3),
    ('acme/two', '2026-02-23', 0), ('acme/two', '2026-03-02', 0)$$,
  'every repository and every week has its rows'
);
select results_eq(
  $$select bucket_start, pull_requests from metrics.pull_request_cycle_time('2026-03-03', '2026-03-06', 'day') where phase = 'total'$$,
  $$values ('2026-03-03'::date, 1::bigint), ('2026-03-04', 1), ('2026-03-05', 1)$$,
  'by day'
);
select results_eq(
  $$select phase, pull_requests, sample_size, reason from metrics.pull_request_cycle_time('2026-03-02', '2026-03-09', repository => 'acme/three') limit 1$$,
  $$values ('coding', null::bigint, null::bigint, 'unknown_service')$$,
  'of a repository that nobody knows there is nothing, and why'
);
select results_eq(
  $$select happened_at, repository, kind, external_id, value, unit, reason, url, detail ->> 'review', total from metrics.pull_request_cycle_time_evidence('2026-03-02', '2026-03-09', bots => false)$$,
  $$values
    ('2026-03-03T14:00:00Z'::timestamptz, 'acme/one', 'pull_request', '1', 14400::float8, 'seconds', null, 'https://example.com/1', '9000', 2::bigint),
    ('2026-03-04T11:00:00Z', 'acme/one', 'pull_request', '2', 3600, 'seconds', null, null, null, 2)$$,
  'and what stands behind it'
);
-- Read to its end in pages of any size, it is what one page holds.
create temp table page (place integer, number text, page_key text);
do $$
declare
  key text;
  place integer := 0;
begin
  loop
    place := place + 1;
    insert into page
    select place, e.external_id, e.page_key
    from metrics.pull_request_cycle_time_evidence('2026-03-02', '2026-03-09', page_size => 1, page_after => key) as e;
    exit when not found;
    key := (select p.page_key from page as p where p.place = (select max(q.place) from page as q));
  end loop;
end
$$;
select results_eq('select number from page order by place', array['1', '2', '3'], 'in pages of one');
select results_eq(
  $$select t.name, t.phase
    from metrics.pull_request_cycle_time('2026-03-02', '2026-03-09', by => 'repository', page_size => 2) as f
    cross join lateral metrics.pull_request_cycle_time('2026-03-02', '2026-03-09', by => 'repository', page_size => 2, page_after => f.page_key) as t
    where f.phase = 'pickup'$$,
  $$values ('acme/one', 'review'), ('acme/one', 'merge')$$,
  'and so the number itself'
);
select throws_ok($$select * from metrics.pull_request_cycle_time(by => 'author')$$, '22023', 'by cannot be author', 'nobody is ranked');
select throws_ok($$select * from metrics.pull_request_cycle_time(page_after => '["a"]')$$, '22023', '["a"] is no key of a page', 'a key of something else');
select throws_ok($$select * from metrics.pull_request_cycle_time_evidence(page_after => '["x", "a", "b", "c"]')$$, '22023', '["x", "a", "b", "c"] is no key of a page', 'a key that is no time');
select throws_ok($$select * from metrics.pull_request_cycle_time('2026-03-09', '2026-03-02')$$, '22023', 'since 2026-03-09 is not before until 2026-03-02', 'a period that ends before it begins');

select * from finish();
rollback;
