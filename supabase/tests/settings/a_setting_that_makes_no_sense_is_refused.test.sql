begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(10);

select throws_ok($$select metrics.set_setting('colour', 'red')$$, '22023', 'no setting is called colour', 'one that is not there');
select throws_ok($$select metrics.set_setting('is_single', 'false')$$, '22023', null, 'the key');
select throws_ok($$select metrics.set_setting('time_zone', 'Mars/Olympus')$$, '22023', 'no time zone is called Mars/Olympus', 'a zone that is none');
select throws_ok($$select metrics.set_setting('time_zone', null)$$, '22023', null, 'no zone');
select throws_ok($$select metrics.set_setting('body_days', 'many')$$, '22023', 'body_days cannot be many', 'no number');
select throws_ok($$select metrics.set_setting('body_days', '0')$$, '22023', 'body_days cannot be 0', 'no day');
select throws_ok($$select metrics.set_setting('body_days', null)$$, '22023', 'body_days cannot be null', 'nothing');
select throws_ok($$select metrics.set_setting('delivery_days', '30')$$, '22023', 'delivery_days cannot be 30', 'an id that is forgotten while it may come again');
select throws_ok('insert into metrics.settings (is_single) values (false)', '23514', null, 'a second row');
select is_empty('select * from metrics.audit', 'nothing was changed, nothing is noted');

select * from finish();
rollback;
