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

select pg_temp.tell('know acme/one', '{"repositories": [{"repository": "github:1", "observed_at": "2026-11-02T10:00:00Z", "full_name": "acme/one", "url": "https://github.com/acme/one"}]}');
select pg_temp.tell('renamed', '{"repositories": [{"repository": "github:1", "observed_at": "2026-11-02T11:00:00Z", "full_name": "acme/zwölf", "url": "https://github.com/acme/zwölf"}]}');
create function pg_temp.quarantine(id text, body text)
returns jsonb
language sql
as $$
  select metrics.ingest(
    jsonb_build_object(
      'source', 'github', 'delivery_id', id, 'sha256', encode(sha256(convert_to(body, 'UTF8')), 'hex'), 'result', 'quarantined', 'reason', 'odd'
    ),
    '{}',
    encode(convert_to(body, 'UTF8'), 'base64')
  )
$$;
select pg_temp.quarantine('as it is', '{"name": "acme/zwölf"}');
select pg_temp.quarantine('by its earlier name', '{"name": "ACME/One"}');
select pg_temp.quarantine('with escaped slashes', '{"name": "acme\/one"}');
select pg_temp.quarantine('in a form', 'payload=%7B%22name%22%3A%22acme%2Fzw%C3%B6lf%22%7D');
select pg_temp.quarantine('of another', '{"name": "acme/two"}');
select is(metrics.forget_repository('github:1') ->> 'done', 'true', 'the repository is forgotten');
select results_eq('select delivery_id from metrics.bodies', array['of another'], 'only what is another''s is kept');

select * from finish();
rollback;
