begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(4);

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

select pg_temp.tell('jobs', (
  select jsonb_build_object('jobs', jsonb_agg(jsonb_build_object('repository', 'github:1', 'external_id', n, 'queued_at', '2001-01-01T00:00:00Z')))
  from generate_series(1, 25) as n
));
select results_eq('select (metrics.maintain(10) #>> ''{deleted,jobs}'')::integer', array[10], 'ten');
select results_eq('select (metrics.maintain(10) ->> ''done'')::boolean', array[false], 'twenty, and there is more');
select results_eq('select metrics.maintain(10) ->> ''done''', array['true'], 'and the rest');
select is_empty('select * from metrics.jobs', 'none is left');

select * from finish();
rollback;
