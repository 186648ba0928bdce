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

select pg_temp.tell(id, '{}') from unnest(array['new', 'old', 'quarantined', 'very old']) as id;
update metrics.deliveries
set received_at = now() - interval '36 days'
where delivery_id in ('old', 'quarantined');
update metrics.deliveries
set received_at = now() - interval '91 days'
where delivery_id = 'very old';
update metrics.deliveries
set
  result = 'quarantined',
  reason = 'not understood'
where delivery_id in ('quarantined', 'very old');
select is(metrics.maintain() #>> '{deleted,deliveries}', '2', 'two are dropped');
select set_eq('select delivery_id from metrics.deliveries', array['new', 'quarantined'], 'but not what can still be replayed');

select * from finish();
rollback;
