begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(6);

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

select metrics.create_token('build', array['github'], expires_at => now() + interval '1 hour');
select is(pg_temp.report('build', 'one', pg_temp.measurement('github:1')), 'stored', 'before its end');

select metrics.expire_identity('build', now());
select throws_ok(
  $$select pg_temp.report('build', 'two', pg_temp.measurement('github:1'))$$,
  '28000', 'this identity is unknown, revoked or expired', 'at its end'
);
select is(metrics.live_identities(), '[]'::jsonb, 'it does not live any more');

select metrics.expire_identity('build', now() + interval '1 second');
select is(pg_temp.report('build', 'two', pg_temp.measurement('github:1')), 'stored', 'a later end makes it live again');
select metrics.expire_identity('build', null);
select is((select expires_at from metrics.list_identities()), null, 'and none lets it live for ever');
select throws_ok(
  $$select metrics.create_token('late', array['github'], expires_at => now())$$,
  '22023', 'expires_at is in the past', 'none is made that has ended'
);

select * from finish();
rollback;
