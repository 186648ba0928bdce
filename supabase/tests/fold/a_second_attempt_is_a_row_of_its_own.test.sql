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

select pg_temp.tell('one', '{"pipeline_runs": [{"repository": "github:1", "external_id": "1", "status": "finished", "outcome": "failure"}]}');
select pg_temp.tell('two', '{"pipeline_runs": [{"repository": "github:1", "external_id": "1", "attempt": 2, "status": "queued"}]}');
select results_eq(
  'select attempt, status, outcome from metrics.pipeline_runs order by attempt',
  $$values (1, 'finished', 'failure'), (2, 'queued', null)$$,
  'the first stays as it ended; without a number it is the first'
);

select * from finish();
rollback;
