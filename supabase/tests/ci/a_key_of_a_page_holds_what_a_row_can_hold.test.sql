begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(4);

-- A number of JSON may be larger and smaller than any of a column.
select throws_ok(
  $$select * from metrics.slowest_jobs(page_after => '[1e400, "a", "b", "c"]')$$,
  '22023',
  null,
  'the slowest have no such duration'
);
select throws_ok(
  $$select * from metrics.slowest_jobs(page_after => '[1e-400, "a", "b", "c"]')$$,
  '22023',
  null,
  'nor one so short'
);
select throws_ok(
  $$select * from metrics.step_health(page_after => '["a", "b", "c", -1e400, "d"]')$$,
  '22023',
  null,
  'no step such a place'
);
select is_empty($$select * from metrics.slowest_jobs(page_after => '[1e300, "a", "b", "c"]')$$, 'a large one is a key');

select * from finish();
rollback;
