-- The schema, the readers' role, and the small functions that everything else stands on.

set lock_timeout = '2s';
set statement_timeout = '60s';

create schema if not exists metrics;

comment on schema metrics is 'CI/CD and delivery metrics. Nothing outside this schema belongs to it, and the app beside it depends on none of it.';

revoke all on schema metrics from public;

-- Roles belong to the whole cluster, so another database on the same server may have made it already.
do $$
begin
  if not exists (select from pg_catalog.pg_roles where rolname = 'metrics_reader') then
    create role metrics_reader nologin;
  end if;
end
$$;

comment on role metrics_reader is 'Group for BI tools: reads what an admin of metrics sees, but no bodies, identities or members.';

-- Who calls, as the role that was logged in or set: a security definer's current_user would hide it.
create or replace function metrics.caller()
returns name
language sql
stable
set search_path = ''
as $$
  select coalesce(nullif(current_setting('role', true), 'none'), session_user)::name
$$;
revoke execute on function metrics.caller() from public;

comment on function metrics.caller() is 'The role that calls: the one set by the Data API, else the one that logged in. Not hidden by security definer.';

-- In PL/pgSQL, because a function in SQL that cannot be inlined is planned anew at every call.
create or replace function metrics.normalised_url(url text)
returns text
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
declare
  text constant text := regexp_replace(
    regexp_replace(lower(btrim(url)), '[?#].*$', ''),
    '^(?:(?:[a-z][a-z0-9+.-]*:)?//)?(?:[^/@]*@)?',
    ''
  );
begin
  -- host:owner/name is how git writes ssh://host/owner/name; host:8443/owner/name is a port.
  return nullif(regexp_replace(regexp_replace(text, '^([^/:]+):(?![0-9]+(?:/|$))', '\1/'), '/*(?:\.git)?/*$', ''), '');
end
$$;
revoke execute on function metrics.normalised_url(text) from public;

comment on function metrics.normalised_url(text) is 'A repository''s URL as host/path in lower case: no scheme, user, .git, query, or trailing slash. NULL for nothing.';
