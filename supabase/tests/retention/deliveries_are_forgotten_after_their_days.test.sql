begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(8);

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

select pg_temp.tell(id, '{}') from unnest(array['new', 'old', 'old with a body']) as id;
update metrics.deliveries
set
  received_at = now() - interval '36 days',
  body_expires_on = case delivery_id when 'old' then (now() at time zone 'UTC')::date - 7 else (now() at time zone 'UTC')::date - 6 end
where delivery_id <> 'new';
select is(metrics.maintain() #>> '{deleted,deliveries}', '1', 'one is dropped');
select set_eq('select delivery_id from metrics.deliveries', array['new', 'old with a body'], 'but not what a body may still be found by');
update metrics.deliveries
set received_at = now() - interval '34 days'
where delivery_id = 'new';
select is(metrics.maintain() #>> '{deleted,deliveries}', '0', 'nor what may come again');

-- The source of those that went is remembered: one that falls silent must stay in sight.
select set_eq(
  'select source, last_received_at from metrics.remembered_sources',
  $$values ('github', now() - interval '36 days')$$,
  'when the last that is gone was received'
);
update metrics.deliveries
set
  received_at = now() - make_interval(days => case delivery_id when 'new' then 38 else 37 end),
  body_expires_on = null;
select is(metrics.maintain() #>> '{deleted,deliveries}', '2', 'all are dropped');
select set_eq('select last_received_at from metrics.remembered_sources', array[now() - interval '36 days'], 'an earlier one changes nothing');
select pg_temp.tell('last', '{}');
update metrics.deliveries
set
  received_at = now() - interval '35 days 1 hour',
  body_expires_on = null;
select is(metrics.maintain() #>> '{deleted,deliveries}', '1', 'and one more');
select set_eq('select last_received_at from metrics.remembered_sources', array[now() - interval '35 days 1 hour'], 'a later one does');

select * from finish();
rollback;
