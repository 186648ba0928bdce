begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(3);

select is(
  metrics.ingest(
    '{
      "source": "github", "delivery_id": "one", "event": "ping", "result": "ignored", "reason": "ping carries no fact",
      "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    }'
  ) ->> 'result',
  'ignored',
  'it is said so'
);
select results_eq('select result, reason, body_expires_on from metrics.deliveries', $$values ('ignored', 'ping carries no fact', null::date)$$, 'with the reason');
select is_empty('select * from metrics.bodies', 'and without bytes');

select * from finish();
rollback;
