begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(13);

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

select metrics.create_token('build', array['github']);
select metrics.add_issuer('jobs', 'github', 'https://token.example.com', '{"repository_id": "1"}', array['github']);
select pg_temp.report('build', 'one', pg_temp.measurement('github:1'));

select metrics.revoke_identity('build');
select throws_ok(
  $$select pg_temp.report('build', 'two', pg_temp.measurement('github:1'))$$,
  '28000', 'this identity is unknown, revoked or expired', 'a new report'
);
select throws_ok(
  $$select pg_temp.report('build', 'one', pg_temp.measurement('github:1'))$$,
  '28000', 'this identity is unknown, revoked or expired', 'one that came before, too'
);
select throws_ok(
  $$select pg_temp.report('nobody', 'two', pg_temp.measurement('github:1'))$$,
  '22023', 'identity needs an id, and a reference or null', 'no id'
);
select throws_ok(
  $$select metrics.ingest(
    jsonb_build_object('source', 'github', 'delivery_id', 'two', 'sha256', repeat('0', 64), 'result', 'stored', 'identity', '{"id": 999}'::jsonb)
  )$$,
  '28000', 'this identity is unknown, revoked or expired', 'an id that does not exist: no telling which'
);
select throws_ok(
  $$select metrics.ingest(
    jsonb_build_object('source', 'github', 'delivery_id', 'two', 'sha256', repeat('0', 64), 'result', 'stored', 'identity', 'build')
  )$$,
  '22023', 'identity needs an id, and a reference or null', 'a name in place of an id'
);
select results_eq(
  $$select x ->> 'kind' from jsonb_array_elements(metrics.live_identities()) as x$$,
  array['oidc'],
  'it does not live any more'
);
select throws_ok($$select metrics.revoke_identity('build')$$, 'P0002', null, 'it is not revoked twice');
select throws_ok($$select metrics.expire_identity('build', null)$$, 'P0002', null, 'nor brought back');
select throws_ok($$select metrics.revoke_identity('nobody')$$, 'P0002', null, 'nor one that there never was');
select lives_ok($$select metrics.create_token('build', array['github'])$$, 'its name is free');
select is(pg_temp.report('build', 'two', pg_temp.measurement('github:1')), 'stored', 'and the new one reports under it');
select throws_ok($$select metrics.create_token('build', array['github'])$$, '23505', null, 'one at a time');
select is((select count(*) from metrics.list_identities() where name = 'build' and revoked_at is not null), 1::bigint, 'the old one stays in the list');

select * from finish();
rollback;
