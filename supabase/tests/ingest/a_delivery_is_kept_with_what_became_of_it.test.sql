begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(4);

select is(
  metrics.ingest(
    '{
      "source": "github", "delivery_id": "one", "event": "workflow_job.queued", "size": 7, "content_type": "application/json",
      "sha256": "239f59ed55e737c77147cf55ad0c1b030b6d7ee748a7426952f9b852d5a935e5",
      "result": "stored", "notes": ["jobs.name cut at 4096 bytes"]
    }',
    '{"jobs": [{"repository": "github:1", "external_id": "1"}, {"repository": "github:1", "external_id": "2"}]}',
    'cGF5bG9hZA=='
  ),
  '{"result": "stored", "reason": null, "delivery_id": "one", "facts": {"jobs": 2}}'::jsonb,
  'the answer'
);
select results_eq(
  'select source, delivery_id, event, result, reason, size, encode(sha256, ''hex''), content_type, fact_counts, notes from metrics.deliveries',
  $$values (
    'github', 'one', 'workflow_job.queued', 'stored', null::text, 7, '239f59ed55e737c77147cf55ad0c1b030b6d7ee748a7426952f9b852d5a935e5',
    'application/json', '{"jobs": 2}'::jsonb, array['jobs.name cut at 4096 bytes']
  )$$,
  'the row'
);
select results_eq('select body from metrics.bodies', array['payload'::bytea], 'the bytes');
select is(
  (select body_expires_on - (now() at time zone 'UTC')::date from metrics.deliveries),
  (select body_days from metrics.settings),
  'for as long as the setting says'
);

select * from finish();
rollback;
