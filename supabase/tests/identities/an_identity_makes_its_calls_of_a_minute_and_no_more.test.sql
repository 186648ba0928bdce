begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(14);

-- A report of an identity to the source github; its bytes are its id.
create function pg_temp.report(identity_name text, id text, facts jsonb, reference text default null, source text default 'github')
returns text
language sql
as $$
  select metrics.ingest(
    jsonb_build_object(
      'source', source,
      'delivery_id', id,
      'event', 'report.facts',
      'sha256', encode(sha256(convert_to(id, 'UTF8')), 'hex'),
      'result', 'stored',
      'identity', jsonb_build_object(
        'id', (select max(i.id) from metrics.identities as i where i.name = identity_name),
        'reference', reference
      )
    ),
    facts
  ) ->> 'result'
$$;

create function pg_temp.measurement(repository text)
returns jsonb
language sql
return jsonb_build_object(
  'measurements', jsonb_build_array(jsonb_build_object('repository', repository, 'name', 'size', 'external_id', '1', 'value', 1))
);

select metrics.create_token('build', array['github'], calls_per_minute => 3);
select metrics.create_token('nightly', array['github'], calls_per_minute => 3);

select is(pg_temp.report('build', 'one', pg_temp.measurement('github:1')), 'stored', 'one');
select is(pg_temp.report('build', 'two', pg_temp.measurement('github:1')), 'stored', 'two');
select is(pg_temp.report('build', 'two', pg_temp.measurement('github:1')), 'duplicate', 'the same again counts once');
select throws_ok($$select pg_temp.report('build', 'x', pg_temp.measurement('gitlab:1'))$$, '42501', null, 'what is refused does not count');
select is(pg_temp.report('build', 'three', pg_temp.measurement('github:1')), 'stored', 'three');
select throws_ok(
  $$select pg_temp.report('build', 'four', pg_temp.measurement('github:1'))$$,
  'PT429', 'this identity made its calls of this minute', 'four are too many'
);
select is(pg_temp.report('build', 'three', pg_temp.measurement('github:1')), 'duplicate', 'but the same again is known for what it is');
select throws_ok(
  $$select metrics.ingest(
    jsonb_build_object(
      'source', 'github', 'delivery_id', 'three', 'sha256', repeat('0', 64), 'result', 'stored',
      'identity', jsonb_build_object('id', (select id from metrics.identities where name = 'build'))
    ),
    pg_temp.measurement('github:1')
  )$$,
  'PT422', null, 'and so is another under the same id'
);
select metrics.ingest(
  jsonb_build_object('source', 'github', 'delivery_id', 'odd', 'sha256', encode(sha256('odd'), 'hex'), 'result', 'quarantined', 'reason', 'odd')
);
select throws_ok(
  $$select pg_temp.report('build', 'odd', pg_temp.measurement('github:1'))$$,
  'PT429', null, 'what was quarantined is not there yet'
);
select is(pg_temp.report('nightly', 'four', pg_temp.measurement('github:1')), 'stored', 'another''s calls are its own');

create function pg_temp.seconds_to_wait()
returns text
language plpgsql
as $$
declare
  seconds text;
begin
  perform pg_temp.report('build', 'five', pg_temp.measurement('github:1'));
  return 'none';
exception
  when sqlstate 'PT429' then
    get stacked diagnostics seconds = pg_exception_detail;
    return seconds;
end
$$;
select is(pg_temp.seconds_to_wait(), '60', 'it is told how long to wait');
update metrics.deliveries
set received_at = now() - interval '19.5 seconds'
where delivery_id = 'one';
select is(pg_temp.seconds_to_wait(), '41', 'until the first of the last three is a minute ago, in whole seconds');
update metrics.deliveries
set received_at = now() - interval '60 seconds'
where delivery_id = 'one';
select is(pg_temp.seconds_to_wait(), 'none', 'then one more is taken');
select throws_ok($$select pg_temp.report('build', 'six', pg_temp.measurement('github:1'))$$, 'PT429', null, 'and no second one');

select * from finish();
rollback;
