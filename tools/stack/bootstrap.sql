-- What a hosted project has before its first migration: roles, privileges, schemas and extensions. Run once, by the
-- superuser supabase_admin, on a new cluster. The role `postgres`, which applies migrations, is no superuser, so that a
-- migration which hosted would refuse is refused here.
--
-- Not to be had here: safeupdate (on hosted an UPDATE or DELETE without WHERE is refused in sessions of the API), supautils
-- (reserved roles), pg_cron.

-- A superuser for now: what it creates here shall be its own.
create role postgres superuser createdb createrole login replication bypassrls;
alter role postgres set search_path = "$user", public, extensions;
alter role supabase_admin set search_path = "$user", public, auth, extensions;
create role supabase_auth_admin noinherit createrole login;

alter database postgres owner to postgres;
alter database template1 owner to postgres;

set role postgres;
create role anon nologin noinherit;
create role authenticated nologin noinherit;
create role service_role nologin noinherit bypassrls;
create role authenticator noinherit login;
grant anon, authenticated, service_role to authenticator;
reset role;

grant anon, authenticated, service_role, authenticator to postgres with admin option;
grant pg_monitor, pg_read_all_data, pg_signal_backend, pg_create_subscription to postgres with admin option;

-- Times that a request may take. The REST server sets them per request, as the hosted one does.
alter role anon set statement_timeout = '3s';
alter role authenticated set statement_timeout = '8s';
alter role authenticator set statement_timeout = '8s';
alter role authenticator set lock_timeout = '8s';
