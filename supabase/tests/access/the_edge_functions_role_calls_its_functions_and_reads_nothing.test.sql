begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(8);

select set_config('request.jwt.claims', '{"role": "service_role"}', true);
set local role service_role;

select lives_ok($$
  select metrics.ingest(
    '{"source": "github", "delivery_id": "1", "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "result": "ignored", "reason": "ping"}'
  )
$$, 'it tells what came');
select is(metrics.health(), true, 'it asks whether the database answers');
select throws_ok('select * from metrics.deliveries', '42501', null, 'it reads no delivery, not even its own');
select throws_ok('select * from metrics.settings', '42501', null, 'nor a setting');
select throws_ok('delete from metrics.deliveries where true', '42501', null, 'it deletes nothing');
select throws_ok('select metrics.ingest_health()', '42501', null, 'it reads no numbers');
select throws_ok('select metrics.maintain()', '42501', null, 'it drops nothing');
select throws_ok($$select metrics.fold_jobs('[]')$$, '42501', null, 'it folds nothing past ingest');

select * from finish();
rollback;
