begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(3);

select is_empty($$
  select relname
  from pg_catalog.pg_class
  where relnamespace = 'metrics'::regnamespace
    and relkind in ('r', 'p')
    and not relrowsecurity
$$, 'no table is without, no partition either');
select is_empty($$
  select proname
  from pg_catalog.pg_proc as p
  cross join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) as a
  where p.pronamespace = 'metrics'::regnamespace
    and a.grantee = 0
$$, 'no function can be executed by everybody');
select is_empty($$
  select proname
  from pg_catalog.pg_proc
  where pronamespace = 'metrics'::regnamespace
    and not coalesce(proconfig, '{}') @> array['search_path=""']
$$, 'no function looks names up in schemas that its caller chose');

select * from finish();
rollback;
