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

create or replace function metrics.normalised_url(url text)
returns text
language sql
immutable
parallel safe
set search_path = ''
as $$
  select nullif(without_suffix.text, '')
  from regexp_replace(lower(btrim(url)), '[?#].*$', '') as whole (text)
  cross join lateral regexp_replace(whole.text, '^(?:[a-z][a-z0-9+.-]*:)?//', '') as without_scheme (text)
  cross join lateral regexp_replace(without_scheme.text, '^[^/@]*@', '') as without_user (text)
  -- host:owner/name is how git writes ssh://host/owner/name; host:8443/owner/name is a port.
  cross join lateral regexp_replace(without_user.text, '^([^/:]+):(?![0-9]+(?:/|$))', '\1/') as with_path (text)
  cross join lateral regexp_replace(with_path.text, '/*(?:\.git)?/*$', '') as without_suffix (text)
$$;
revoke execute on function metrics.normalised_url(text) from public;

comment on function metrics.normalised_url(text) is 'A repository''s URL as host/path in lower case: no scheme, user, .git, query, or trailing slash. NULL for nothing.';
