begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(3);

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

select pg_temp.tell('one', '{"repositories": [{"repository": "github:1", "observed_at": "2026-11-02T10:00:00Z", "full_name": "acme/old", "url": "https://github.com/acme/old"}], "jobs": [{"repository": "github:1", "external_id": "1"}]}');
select pg_temp.tell('url', '{"test_runs": [{"repository": "//github.com/acme/new", "external_id": "1"}]}');
create temporary table earlier on commit drop as
select reference_id, external_id from metrics.jobs
union all
select reference_id, external_id from metrics.test_runs;
select pg_temp.tell('two', '{"repositories": [{"repository": "github:1", "observed_at": "2026-11-02T11:00:00Z", "full_name": "acme/new", "url": "https://github.com/acme/new"}]}');
select is((select full_name from metrics.repositories), 'acme/new', 'one repository, with its new name');
select set_eq('select reference from metrics.repository_references', array['github:1', '//github.com/acme/old', '//github.com/acme/new'], 'known by its id and by both addresses');
select results_eq('select reference_id, external_id from metrics.jobs union all select reference_id, external_id from metrics.test_runs', 'select * from earlier', 'facts keep their reference');

select * from finish();
rollback;
