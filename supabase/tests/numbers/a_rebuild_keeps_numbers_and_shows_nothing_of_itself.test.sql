begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(5);

-- A delivery that tells these facts.
create function pg_temp.tell(id text, facts jsonb)
returns jsonb
language sql
as $$
  select metrics.ingest(
    jsonb_build_object('source', 'github', 'delivery_id', id, 'sha256', repeat('00', 32), 'size', 2, 'result', 'stored'),
    facts
  )
$$;

-- A push of one commit to the default branch; commits are single letters or digits.
create function pg_temp.push(before text, after text, at timestamptz, more jsonb default '{}', paths text[] default null)
returns jsonb
language sql
as $$
  select pg_temp.tell(format('push %s %s %s', before, after, at), jsonb_build_object(
    'pushes', jsonb_build_array(jsonb_build_object(
      'repository', 'github:1', 'ref', 'refs/heads/main', 'before', repeat(before, 40), 'after', repeat(after, 40), 'pushed_at', at,
      'on_default_branch', true, 'commits', jsonb_build_array(repeat(after, 40))
    ) || more),
    'commits', jsonb_build_array(jsonb_build_object(
      'repository', 'github:1', 'sha', repeat(after, 40), 'authored_at', at, 'changed_paths', paths
    ))
  ))
$$;

-- A successful deployment of a commit.
create function pg_temp.deploy(id text, commit text, at timestamptz, name text default null, environment text default 'production')
returns jsonb
language sql
as $$
  select pg_temp.tell('deployment ' || id, jsonb_build_object('deployments', jsonb_build_array(jsonb_build_object(
    'repository', 'github:1', 'external_id', id, 'name', name, 'environment', environment, 'commit_sha', repeat(commit, 40),
    'status', 'finished', 'outcome', 'success', 'started_at', at, 'finished_at', at
  ))))
$$;

select pg_temp.push('0', '1', '2026-03-02T08:00Z');
select pg_temp.push('1', '2', '2026-03-02T09:00Z');
select pg_temp.deploy('1', '1', '2026-03-02T10:00Z');
select pg_temp.deploy('2', '2', '2026-03-03T10:00Z');
create temporary table before as
select * from metrics.dora(since => '2026-03-02', until => '2026-03-09', bucket => 'day');
create temporary table present as
select metrics.current_generation() as generation;

select metrics.begin_rebuild();
select metrics.rebuild(0);
select is(metrics.current_generation(), (select generation from present), 'the present one is read while the next is built');
select pg_temp.deploy('3', '2', '2026-03-05T10:00Z');
select is((select deployments from metrics.deployment_frequency(since => '2026-03-02', until => '2026-03-09')), 3::bigint, 'a delivery that comes meanwhile is in it');
do $$ begin while not (metrics.rebuild(1) ->> 'done')::boolean loop end loop; end $$;
select is((metrics.rebuild(0) ->> 'done')::boolean, true, 'it is done');
select isnt(metrics.current_generation(), (select generation from present), 'then the next is read');
select results_eq(
  $$select bucket_start, metric, value, reason, notes from metrics.dora(since => '2026-03-02', until => '2026-03-09', bucket => 'day') where bucket_start < '2026-03-05'$$,
  $$select bucket_start, metric, value, reason, notes from before where bucket_start < '2026-03-05'$$,
  'and gives the same numbers'
);

select * from finish();
rollback;
