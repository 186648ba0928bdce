begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(2);

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

select pg_temp.tell('one', '{"pipeline_runs": [{"repository": "github:1", "external_id": "1", "attempt": 1, "observed_at": "2026-11-02T10:00:00Z", "branch": "main", "pipeline": "build"}]}');
select pg_temp.tell('two', '{"pipeline_runs": [{"repository": "github:1", "external_id": "1", "attempt": 1, "observed_at": "2026-11-02T10:01:00Z", "branch": null}]}');

select results_eq('select branch, pipeline from metrics.pipeline_runs', $$values (null::text, 'build')$$, 'a later null takes a value away, silence does not');
select pg_temp.tell('three', '{"pipeline_runs": [{"repository": "github:1", "external_id": "1", "attempt": 1, "observed_at": "2026-11-02T10:00:30Z", "branch": "main"}]}');

select is((select branch from metrics.pipeline_runs), null, 'and an earlier value does not bring it back');

select * from finish();
rollback;
