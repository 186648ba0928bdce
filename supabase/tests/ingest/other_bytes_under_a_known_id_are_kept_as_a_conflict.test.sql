begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(5);

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

select pg_temp.tell('one', '{"jobs": [{"repository": "github:1", "external_id": "1", "name": "test"}]}');
create function pg_temp.tell_otherwise()
returns jsonb
language sql
as $$
  select metrics.ingest(
    '{
      "source": "github", "delivery_id": "one", "result": "stored",
      "sha256": "abcdef0123450000000000000000000000000000000000000000000000000000"
    }',
    '{"jobs": [{"repository": "github:1", "external_id": "1", "name": "forged", "observed_at": "2026-01-01T00:00:00Z"}]}',
    'Zm9yZ2Vk'
  )
$$;
select is(
  pg_temp.tell_otherwise(),
  '{"result": "quarantined", "reason": "conflict: the delivery id came before with other bytes", "delivery_id": "one#abcdef012345", "facts": {}}'::jsonb,
  'it goes to quarantine'
);
select is((select name from metrics.jobs), 'test', 'its facts are not applied');
select is((select body from metrics.bodies where delivery_id = 'one#abcdef012345'), 'forged'::bytea, 'its bytes are kept');
select is(pg_temp.tell_otherwise() ->> 'result', 'quarantined', 'once more is the same conflict');
select is((select count(*) from metrics.deliveries), 2::bigint, 'and no third row');

select * from finish();
rollback;
