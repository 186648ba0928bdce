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

select is(
  pg_temp.tell(
    'many',
    jsonb_build_object('jobs', (
      select jsonb_agg(jsonb_build_object('repository', 'github:1', 'external_id', n % 500, 'observed_at', '2026-11-02T10:00:00Z'::timestamptz + n * interval '1 second', 'name', 'job ' || n))
      from generate_series(1, 1000) as n
    ))
  ) -> 'facts',
  '{"jobs": 1000}'::jsonb,
  'a thousand observations of five hundred jobs'
);
select is((select count(*) from metrics.jobs), 500::bigint, 'are five hundred rows');
select is_empty($$select * from metrics.jobs where name <> 'job ' || (external_id::integer + case when external_id = '0' then 1000 else 500 end)$$, 'each as the later observation said');

select * from finish();
rollback;
