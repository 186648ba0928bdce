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

select pg_temp.tell('one', '{"pipeline_runs": [{"repository": "github:1", "external_id": "1", "attempt": 1, "observed_at": "2026-11-02T10:00:00Z", "actor": "robot", "actor_is_bot": true}]}');
select pg_temp.tell('two', '{"pipeline_runs": [{"repository": "github:1", "external_id": "1", "attempt": 1, "observed_at": "2026-11-02T10:01:00Z", "actor": "ann"}]}');

select results_eq('select actor, actor_is_bot from metrics.pipeline_runs', $$values ('ann', null::boolean)$$, 'what is not said of the new one is not kept from the old one');

select * from finish();
rollback;
