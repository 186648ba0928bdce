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

select pg_temp.tell('one', '{"pipeline_runs": [{"repository": "github:1", "external_id": "1", "attempt": 1, "observed_at": "2026-11-02T10:00:00Z", "started_at": "2026-11-02T10:00:02Z"}]}');
select pg_temp.tell('two', '{"pipeline_runs": [{"repository": "github:1", "external_id": "1", "attempt": 1, "observed_at": "2026-11-02T10:09:00Z", "started_at": "2026-11-02T10:00:01Z"}]}');
select pg_temp.tell('three', '{"pipeline_runs": [{"repository": "github:1", "external_id": "1", "attempt": 1, "observed_at": "2026-11-02T10:10:00Z", "started_at": "2026-11-02T10:00:03Z"}]}');
select pg_temp.tell('four', '{"pipeline_runs": [{"repository": "github:1", "external_id": "1", "attempt": 1, "observed_at": "2026-11-02T10:11:00Z", "started_at": null}]}');

select is((select started_at from metrics.pipeline_runs), '2026-11-02T10:00:01Z'::timestamptz, 'whatever the order, and nothing takes it away');

select * from finish();
rollback;
