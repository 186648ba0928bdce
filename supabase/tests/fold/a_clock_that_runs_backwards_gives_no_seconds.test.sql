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

select pg_temp.tell('one', '{"jobs": [
  {"repository": "github:1", "external_id": "backwards", "queued_at": "2026-11-02T10:00:05Z", "started_at": "2026-11-02T10:00:00Z", "status": "finished", "outcome": "skipped", "finished_at": "2026-11-02T09:00:00Z"},
  {"repository": "github:1", "external_id": "forwards", "queued_at": "2026-11-02T10:00:00Z", "started_at": "2026-11-02T10:00:01.5Z", "status": "finished", "outcome": "success", "finished_at": "2026-11-02T10:01:00Z"},
  {"repository": "github:1", "external_id": "running", "started_at": "2026-11-02T10:00:01Z", "status": "running"}
]}');
select results_eq(
  'select external_id, queue_seconds, duration_seconds from metrics.jobs order by external_id collate "C"',
  $$values ('backwards', null::float8, null::float8), ('forwards', 1.5, 58.5), ('running', null, null)$$,
  'nothing is invented'
);

select * from finish();
rollback;
