begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(4);

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
select pg_temp.push('1', '2', '2026-03-02T10:00Z');
select pg_temp.deploy('1', '1', '2026-03-02T09:00Z');
select pg_temp.deploy('2', '2', '2026-03-02T12:00Z');
select results_eq(
  $$select value, band from metrics.dora(since => '2026-03-02', until => '2026-03-09') where metric = 'change_lead_time'$$,
  $$values (7200::float8, 'elite')$$,
  'two hours are elite in 2023'
);
select metrics.set_setting('band_year', '2021');
select is((select band from metrics.dora(since => '2026-03-02', until => '2026-03-09') where metric = 'change_lead_time'), 'high', 'and high in 2021');
select results_eq(
  $$select band, band_reason from metrics.dora(since => '2026-03-02', until => '2026-03-09') where metric = 'deployment_rework_rate'$$,
  $$values (null::text, 'no_band')$$,
  'no report has bands for rework'
);
select throws_ok($$select metrics.set_setting('band_year', '1999')$$, '22023', 'no bands are known for the year 1999', 'a year without a report');

select * from finish();
rollback;
