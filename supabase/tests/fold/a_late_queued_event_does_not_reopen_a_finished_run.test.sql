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

select pg_temp.tell('completed', '{"pipeline_runs": [{"repository": "github:1", "external_id": "1", "attempt": 1, "observed_at": "2026-11-02T10:05:00Z", "status": "finished", "outcome": "success", "finished_at": "2026-11-02T10:05:00Z"}]}');
select pg_temp.tell('queued', '{"pipeline_runs": [{"repository": "github:1", "external_id": "1", "attempt": 1, "observed_at": "2026-11-02T10:06:00Z", "status": "queued", "outcome": null, "queued_at": "2026-11-02T10:00:00Z"}]}');

select results_eq(
  'select status, outcome, finished_at, queued_at from metrics.pipeline_runs',
  $$values ('finished', 'success', '2026-11-02T10:05:00Z'::timestamptz, '2026-11-02T10:00:00Z'::timestamptz)$$,
  'a higher rank stays, whatever the time; what the late one adds is added'
);

select * from finish();
rollback;
