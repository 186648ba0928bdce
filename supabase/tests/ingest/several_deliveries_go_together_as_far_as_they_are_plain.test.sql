begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(16);

-- A call as the function makes it; the bytes of a delivery are its content.
create function pg_temp.told(id text, facts jsonb, content text default 'x', result text default 'stored', said jsonb default '{}')
returns jsonb
language sql
as $$
  select jsonb_build_object(
    'delivery', jsonb_build_object(
      'source', 'github',
      'delivery_id', id,
      'event', 'told',
      'sha256', encode(sha256(convert_to(content, 'UTF8')), 'hex'),
      'size', length(content),
      'content_type', 'application/json',
      'result', result,
      'reason', case when result <> 'stored' then 'because' end,
      'notes', '["jobs.name had NUL"]'::jsonb
    ) || said,
    'facts', facts,
    'body', encode(convert_to(content, 'UTF8'), 'base64')
  )
$$;
create function pg_temp.job(id text, name text, repository text default 'github:1')
returns jsonb
language sql
as $$
  select jsonb_build_object(
    'jobs', jsonb_build_array(jsonb_build_object('repository', repository, 'external_id', id, 'observed_at', '2026-01-05T09:00:00Z', 'name', name))
  )
$$;

select is(
  metrics.ingest(jsonb_build_array(pg_temp.told('first', pg_temp.job('0', 'a')))),
  '[null]'::jsonb,
  'a delivery of a repository that is not known is left alone'
);
select is((select count(*) from metrics.deliveries), 0::bigint, 'and leaves nothing');
select is(
  metrics.ingest(pg_temp.told('first', '{}') -> 'delivery', pg_temp.job('0', 'a')) ->> 'result',
  'stored',
  'by itself it is stored'
);

create temporary table answers as
select a.answer, a.n
from jsonb_array_elements(
  metrics.ingest(
    jsonb_build_array(
      pg_temp.told('plain', pg_temp.job('1', 'one')),
      pg_temp.told('first', pg_temp.job('0', 'again')),
      pg_temp.told('plain', pg_temp.job('1', 'twice')),
      pg_temp.told('push', '{"pushes": [{"repository": "github:1", "ref": "r", "before": "aaaaaaa", "after": "bbbbbbb", "pushed_at": null}]}'),
      pg_temp.told('odd', '{}', 'x', 'quarantined'),
      pg_temp.told('elsewhere', pg_temp.job('1', 'one', 'github:2')),
      pg_temp.told('reported', pg_temp.job('1', 'one'), 'x', 'stored', '{"identity": {"id": 1, "reference": null}}'),
      pg_temp.told('renamed', '{"repositories": [{"repository": "github:1", "full_name": "acme/new", "observed_at": "2026-01-05T09:00:00Z"}]}'),
      pg_temp.told('other', pg_temp.job('1', 'later') || '{"measurements": []}'),
      pg_temp.told('empty', '{}'),
      pg_temp.told('none', '{}', 'x', 'ignored') - 'body'
    )
  )
) with ordinality as a (answer, n);

select is(
  (select answer from answers where n = 1),
  '{"result": "stored", "reason": null, "delivery_id": "plain", "facts": {"jobs": 1}}'::jsonb,
  'what is plain is answered as by itself'
);
select is(
  (select array_agg(n order by n) from answers where answer = 'null'),
  array[4, 5, 6, 7, 8]::bigint[],
  'joined facts, one in quarantine, a new repository, an identity and a change of a repository are left alone'
);
select is(
  (select array_agg(answer order by n) from answers where n in (2, 3)),
  array[
    '{"result": "duplicate", "reason": null, "delivery_id": "first", "facts": {}}',
    '{"result": "duplicate", "reason": null, "delivery_id": "plain", "facts": {}}'
  ]::jsonb[],
  'a known delivery and one that came twice are duplicates'
);
select is(
  (select answer from answers where n = 11),
  '{"result": "ignored", "reason": "because", "delivery_id": "none", "facts": {}}'::jsonb,
  'one that carries no fact is kept with its reason'
);
select is((select answer ->> 'result' from answers where n = 10), 'stored', 'one without facts is stored');
select is(
  (select array_agg(delivery_id order by delivery_id) from metrics.deliveries),
  array['empty', 'first', 'none', 'other', 'plain'],
  'the deliveries are there'
);
select is(
  (select body from metrics.bodies where delivery_id = 'plain'),
  'x'::bytea,
  'with their bodies'
);
select is(
  (select (fact_counts, notes, body_expires_on > current_date, content_type)::text from metrics.deliveries where delivery_id = 'plain'),
  (select ('{"jobs": 1}'::jsonb, '{jobs.name had NUL}'::text[], true, 'application/json')::text),
  'and what else a delivery keeps'
);
select is(
  (select reference_ids from metrics.deliveries where delivery_id = 'plain'),
  (select array_agg(id) from metrics.repository_references where reference = 'github:1'),
  'for erasing a repository, too'
);
select is((select count(*) from metrics.jobs where external_id = '1'), 1::bigint, 'two that tell about one job make one row');
select is(
  metrics.ingest(jsonb_build_array(pg_temp.told('plain', pg_temp.job('9', 'x')), pg_temp.told('plain', pg_temp.job('9', 'x'), 'y'))),
  '[{"result": "duplicate", "reason": null, "delivery_id": "plain", "facts": {}}, null]'::jsonb,
  'a known id with other bytes is left alone'
);
select is((select count(*) from metrics.jobs where external_id = '9'), 0::bigint, 'and leaves no fact');
select is(metrics.ingest('[]'), null, 'a list of none is answered by nothing');

select * from finish();
rollback;
