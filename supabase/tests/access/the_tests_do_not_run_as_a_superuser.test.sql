begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(1);

select is(current_setting('is_superuser'), 'off', 'who would be refused nothing');

select * from finish();
rollback;
