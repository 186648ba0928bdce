begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(5);

select lives_ok(
  $$select metrics.overview_evidence(o.section, o.metric) from metrics.overview() as o$$,
  'every number of the overview has evidence by its own name'
);
select throws_ok($$select metrics.overview_evidence('pipelines', 'sucess_rate')$$, '22023', 'metric cannot be sucess_rate', 'a slip');
select throws_ok($$select metrics.overview_evidence('tests', 'change_fail_rate')$$, '22023', 'metric cannot be change_fail_rate', 'one of another section');
select throws_ok($$select metrics.overview_evidence('delivery')$$, '22023', 'section cannot be delivery', 'a section that is not there');

-- Eve uses the app and is no member.
insert into auth.users (id, email, email_confirmed_at) values ('00000000-0000-4000-8000-00000000000e', 'eve@example.com', now());
select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-00000000000e", "role": "authenticated"}', true);
set local role authenticated;

select throws_ok(
  $$select metrics.overview_evidence('delivery')$$,
  '42501',
  'only members of metrics may call this',
  'whoever may not read is told so first'
);

select * from finish();
rollback;
