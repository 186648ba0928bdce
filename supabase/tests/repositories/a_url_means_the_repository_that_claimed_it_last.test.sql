begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(7);

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

create function pg_temp.meaning()
returns text
language sql
as $$
  select o.reference
  from metrics.repository_references as u
  left join metrics.repository_references as o
    on o.repository_id = u.repository_id
    and o.url is null
  where u.reference = '//github.com/acme/app'
$$;
select pg_temp.tell('ci', '{"jobs": [{"repository": "//github.com/acme/app", "external_id": "1"}]}');
select is(pg_temp.meaning(), null, 'unclaimed, it is a repository of its own');
select is((select count(*) from metrics.repositories), 1::bigint, 'one');
select pg_temp.tell('one', '{"repositories": [{"repository": "github:1", "observed_at": "2026-11-02T10:00:00Z", "url": "https://github.com/Acme/app.git"}]}');
select is(pg_temp.meaning(), 'github:1', 'claimed, whatever the letters and the ending');
select is((select count(*) from metrics.repositories), 1::bigint, 'and the repository of its own is gone');
select pg_temp.tell('late', '{"repositories": [{"repository": "github:2", "observed_at": "2026-11-02T09:00:00Z", "url": "https://github.com/acme/app"}]}');
select is(pg_temp.meaning(), 'github:1', 'an earlier claim that comes late changes nothing');
select pg_temp.tell('two', '{"repositories": [{"repository": "github:2", "observed_at": "2026-11-02T11:00:00Z", "url": "https://github.com/acme/app"}]}');
select is(pg_temp.meaning(), 'github:2', 'a later one does: the name was given to another repository');
select is((select count(*) from metrics.jobs), 1::bigint, 'the fact did not move');

select * from finish();
rollback;
