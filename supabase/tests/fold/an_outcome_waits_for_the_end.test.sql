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

select throws_ok($$select pg_temp.tell('one', '{"jobs": [{"repository": "github:1", "external_id": "1", "status": "running", "outcome": "success"}]}')$$, '23514', null, 'what runs has none');
select throws_ok($$select pg_temp.tell('one', '{"jobs": [{"repository": "github:1", "external_id": "1", "status": "finished"}]}')$$, '23514', null, 'what ended has one');
select throws_ok($$select pg_temp.tell('one', '{"jobs": [{"repository": "github:1", "external_id": "1", "status": "finished", "outcome": "great"}]}')$$, '23514', null, 'of those that are known');
select lives_ok($$select pg_temp.tell('one', '{"jobs": [{"repository": "github:1", "external_id": "1", "status": "finished", "outcome": "unknown", "provider_outcome": "great"}]}')$$, 'an unknown word is unknown, and kept beside it');
select is((select provider_outcome from metrics.jobs), 'great', 'as it was said');

select * from finish();
rollback;
