begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(9);

create function pg_temp.tell(result text, facts jsonb)
returns text
language sql
as $$
  select metrics.ingest(
    jsonb_build_object(
      'source', 'github',
      'delivery_id', 'one',
      'event', 'workflow_job.queued',
      'sha256', repeat('ab', 32),
      'result', result,
      'reason', case when result <> 'stored' then 'a field is not what it was' end
    ),
    facts,
    'Ym9keQ=='
  ) ->> 'result'
$$;
select is(pg_temp.tell('quarantined', '{}'), 'quarantined', 'it was not understood');
select is(
  (select body_expires_on - (now() at time zone 'UTC')::date from metrics.deliveries),
  (select quarantined_body_days from metrics.settings),
  'its body is kept longer'
);
select is(pg_temp.tell('quarantined', '{}'), 'quarantined', 'it is still not understood');
select is((select reason from metrics.deliveries), 'a field is not what it was', 'the reason stands beside it');
select is(pg_temp.tell('stored', '{"jobs": [{"repository": "github:1", "external_id": "1", "name": "test"}]}'), 'stored', 'after a fix it is');
select is((select name from metrics.jobs), 'test', 'its facts are applied');
select results_eq('select result, reason, fact_counts from metrics.deliveries', $$values ('stored', null::text, '{"jobs": 1}'::jsonb)$$, 'it left quarantine');
select is(pg_temp.tell('stored', '{}'), 'duplicate', 'from now on it is a duplicate');
select is((select count(*) from metrics.bodies), 1::bigint, 'with one body');

select * from finish();
rollback;
