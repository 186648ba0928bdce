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

select pg_temp.tell('first', '{
  "repositories": [{"repository": "github:1", "full_name": "acme/one"}],
  "jobs": [{"repository": "github:1", "external_id": "1", "name": "first"}]
}');
select pg_temp.tell('second', '{
  "repositories": [{"repository": "github:2", "full_name": "acme/two"}],
  "jobs": [{"repository": "github:2", "external_id": "2", "name": "second"}]
}');
select metrics.add_team('one'), metrics.add_team_member('one', 'vera@example.com'), metrics.add_team_repository('one', 'github:1');
select metrics.add_team('two'), metrics.add_team_member('two', 'otto@example.com'), metrics.add_team_repository('two', 'acme/two');

select pg_temp.tell('incidents', '{"incidents": [
  {"source": "pager", "external_id": "1", "title": "everything is slow"},
  {"source": "pager", "external_id": "2", "title": "one is down", "repository": "github:1"},
  {"source": "pager", "external_id": "3", "title": "two is down", "service": "ACME/Two", "url": "https://example.com/3", "opened_at": "2026-03-03T10:00:00Z"},
  {"source": "pager", "external_id": "4", "title": "nobody has it", "service": "acme/three"}
]}');
select pg_temp.tell('deployment', '{"deployments": [
  {"repository": "github:2", "external_id": "1", "environment": "production", "status": "finished", "outcome": "success", "finished_at": "2026-03-03T09:00:00Z"},
  {"repository": "github:2", "external_id": "2", "environment": "production", "status": "finished", "outcome": "success", "finished_at": "2026-03-05T09:00:00Z"}
]}');

select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-000000000001", "role": "authenticated"}', true);
set local role authenticated;

select results_eq('select title from metrics.incidents', array['one is down'], 'a viewer reads those of her repositories, and not those of others');

select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-000000000002", "role": "authenticated"}', true);
set local role authenticated;

select results_eq('select title from metrics.incidents', array['two is down'], 'and those that name her service, in any letter case');
select results_eq(
  $$select bucket_start, failed_changes, rate, reason from metrics.change_fail_rate('2026-03-03', '2026-03-06', 'day') where deployments > 0$$,
  $$values (date '2026-03-03', 1::bigint, 1::float8, null::text), ('2026-03-05', 0, 0, null)$$,
  'her deployment failed, and as an incident is known to her, the one after it did not'
);
select results_eq(
  $$select detail #>> '{failures,0,incident}', detail #>> '{failures,0,incident_url}'
    from metrics.change_fail_rate_evidence('2026-03-03', '2026-03-06')
    where reason = 'incident'$$,
  $$values ('3', 'https://example.com/3')$$,
  'what stands behind it is told'
);

select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-00000000000a", "role": "authenticated"}', true);
set local role authenticated;

select set_eq(
  'select title from metrics.incidents', array['everything is slow', 'one is down', 'two is down', 'nobody has it'], 'an admin reads all'
);
reset role;
select set_config('request.jwt.claims', '', true);
select metrics.remove_team_repository('two', 'github:2');
select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-000000000002", "role": "authenticated"}', true);
set local role authenticated;
select is_empty('select title from metrics.incidents', 'who may no longer read the service does not read them');

select * from finish();
rollback;
