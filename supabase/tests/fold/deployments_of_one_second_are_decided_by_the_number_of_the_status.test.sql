begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(1);

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

select pg_temp.tell('two', '{"deployments": [{"repository": "github:1", "external_id": "1", "observed_at": "2026-11-02T10:00:00Z", "sequence": 10, "status": "finished", "outcome": "failure"}]}');
select pg_temp.tell('one', '{"deployments": [{"repository": "github:1", "external_id": "1", "observed_at": "2026-11-02T10:00:00Z", "sequence": 9, "status": "finished", "outcome": "success"}]}');
select is((select outcome from metrics.deployments), 'failure', 'the provider''s later one, as a number and not as text');

select * from finish();
rollback;
