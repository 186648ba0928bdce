begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(3);

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
select pg_temp.deploy('1', '1', '2026-03-02T12:00Z');
select pg_temp.push('2', '3', '2026-03-02T10:00Z');
select pg_temp.deploy('2', '3', '2026-03-02T14:00Z');
select is((select changes from metrics.change_lead_time(since => '2026-03-02', until => '2026-03-09')), 1::bigint, 'the push between has not come');
select pg_temp.push('1', '2', '2026-03-02T09:00Z');
select results_eq(
  'select p.after from metrics.branch_moves as m join metrics.pushes as p on p.id = m.push_id order by m.line, m.ordinal',
  $$values (repeat('1', 40)), (repeat('2', 40)), (repeat('3', 40))$$,
  'it stands where it was pushed'
);
select results_eq(
  $$select changes, p50_seconds, p95_seconds from metrics.change_lead_time(since => '2026-03-02', until => '2026-03-09')$$,
  $$values (2::bigint, 14400::float8, 18000::float8)$$,
  'and was shipped with the one behind it'
);

select * from finish();
rollback;
