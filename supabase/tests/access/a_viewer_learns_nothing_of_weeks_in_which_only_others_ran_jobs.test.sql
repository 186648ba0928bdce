begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(6);

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

create function pg_temp.job(repository text, at text)
returns jsonb
language sql
as $$
  select jsonb_build_object(
    'repository', repository, 'external_id', at, 'pipeline', 'build', 'name', 'test', 'status', 'finished', 'outcome', 'success',
    'queued_at', at::timestamptz - interval '70 s', 'started_at', at::timestamptz - interval '60 s', 'finished_at', at
  )
$$;

-- Ada is an admin; Vera reads acme/one.
insert into auth.users (id, email, email_confirmed_at)
values
  ('00000000-0000-4000-8000-00000000000a', 'ada@example.com', now()),
  ('00000000-0000-4000-8000-000000000001', 'vera@example.com', now());
insert into metrics.members (email, role, user_id, accepted_at)
values
  ('ada@example.com', 'admin', '00000000-0000-4000-8000-00000000000a', now()),
  ('vera@example.com', 'viewer', '00000000-0000-4000-8000-000000000001', now());

select pg_temp.tell('jobs', jsonb_build_object(
  'repositories', jsonb_build_array(
    '{"repository": "github:1", "full_name": "acme/one"}'::jsonb,
    '{"repository": "github:2", "full_name": "acme/two"}'::jsonb
  ),
  'jobs', jsonb_build_array(
    pg_temp.job('github:1', '2026-06-17T12:00:00Z'),
    pg_temp.job('github:2', '2026-06-24T12:00:00Z')
  )
));
select metrics.add_team('one'), metrics.add_team_member('one', 'vera@example.com'), metrics.add_team_repository('one', 'github:1');
select metrics.move_job_horizon('2026-07-06');

select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-00000000000a", "role": "authenticated"}', true);
set local role authenticated;
select results_eq(
  $$select bucket_start, runs, is_frozen, reason from metrics.job_health('2026-06-15', '2026-06-29', 'week')$$,
  $$values (date '2026-06-15', 1::bigint, true, null), ('2026-06-22', 1, true, null)$$,
  'an admin reads both weeks'
);
select set_eq('select week from metrics.frozen_weeks', array['2026-06-15', '2026-06-22']::date[], 'and which they are');

select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-000000000001", "role": "authenticated"}', true);
select results_eq(
  $$select bucket_start, runs, reason from metrics.job_health('2026-06-15', '2026-06-29', 'week')$$,
  $$values (date '2026-06-15', 1::bigint, null), ('2026-06-22', null, 'outside_retention')$$,
  'of a week in which only others ran jobs a viewer reads what there is of a week in which nobody did'
);
select results_eq(
  $$select bucket_start, jobs, reason from metrics.pipeline_cost('2026-06-15', '2026-06-29', 'week')$$,
  $$values (date '2026-06-15', 1::bigint, 'no_price'), ('2026-06-22', null, 'outside_retention')$$,
  'in what they cost, too'
);
select results_eq(
  $$select runs, reason from metrics.slowest_jobs('2026-06-22', '2026-06-29')$$,
  $$values (null::bigint, 'outside_retention')$$,
  'and how long they took'
);
select is_empty('select * from metrics.frozen_weeks', 'and cannot look it up');

select * from finish();
rollback;
