-- Who may read what: members, teams and the repositories that teams were given; machine identities; the audit trail.

set lock_timeout = '2s';
set statement_timeout = '60s';

create table if not exists metrics.members (
  email text primary key,
  role text not null,
  user_id uuid,
  added_at timestamptz not null default now(),
  accepted_at timestamptz,
  constraint member_is_one_user unique (user_id),
  constraint role_is_known check (role in ('viewer', 'admin')),
  constraint email_is_lower_case check (email = lower(email) and email ~ '^[^@[:space:]]+@[^@[:space:]]+$'),
  constraint accepted_when_tied_to_a_user check ((user_id is null) = (accepted_at is null))
);

comment on table metrics.members is 'Who may read metrics. A member is tied to a user of the app on accepting; no foreign key, so deleting a user never waits for metrics.';
comment on column metrics.members.email is 'Address, in lower case, by which the member was added.';
comment on column metrics.members.role is 'viewer reads the repositories of its teams; admin reads everything and changes settings.';
comment on column metrics.members.user_id is 'The user''s id in auth.users once the membership was accepted.';
comment on column metrics.members.added_at is 'When the member was added.';
comment on column metrics.members.accepted_at is 'When the signed-in user accepted.';

create table if not exists metrics.teams (
  id bigint generated always as identity primary key,
  name text not null,
  constraint team_name_is_unique unique (name),
  constraint team_name_is_not_empty check (btrim(name) <> '' and length(name) <= 200)
);

comment on table metrics.teams is 'Teams, which share the reading of repositories.';
comment on column metrics.teams.id is 'Key.';
comment on column metrics.teams.name is 'Name.';

create table if not exists metrics.team_members (
  team_id bigint not null,
  email text not null,
  constraint team_members_pkey primary key (team_id, email),
  constraint team_member_is_of_a_team foreign key (team_id) references metrics.teams (id) on delete cascade,
  constraint team_member_is_a_member foreign key (email) references metrics.members (email) on delete cascade
);

create index if not exists team_members_email_idx on metrics.team_members (email);

comment on table metrics.team_members is 'Which members are in which teams.';
comment on column metrics.team_members.team_id is 'Team.';
comment on column metrics.team_members.email is 'Member.';

create table if not exists metrics.team_repositories (
  team_id bigint not null,
  repository_id bigint not null,
  constraint team_repositories_pkey primary key (team_id, repository_id),
  constraint team_repository_is_of_a_team foreign key (team_id) references metrics.teams (id) on delete cascade,
  constraint team_repository_is_a_repository foreign key (repository_id) references metrics.repositories (id) on delete cascade
);

create index if not exists team_repositories_repository_id_idx on metrics.team_repositories (repository_id);

comment on table metrics.team_repositories is 'Which repositories the viewers of a team may read.';
comment on column metrics.team_repositories.team_id is 'Team.';
comment on column metrics.team_repositories.repository_id is 'Repository.';

create table if not exists metrics.identities (
  id bigint generated always as identity primary key,
  name text not null,
  kind text not null,
  provider text,
  issuer text,
  audience text,
  claims jsonb not null default '{}',
  token_sha256 bytea,
  sources text[] not null,
  repositories text[],
  fact_kinds text[] not null default array['test_runs', 'test_cases', 'rule_checks', 'measurements'],
  calls_per_minute integer not null default 60,
  created_at timestamptz not null default now(),
  expires_at timestamptz,
  revoked_at timestamptz,
  constraint identity_name_is_not_empty check (btrim(name) <> '' and length(name) <= 200),
  constraint kind_is_known check (kind in ('oidc', 'token')),
  constraint provider_is_known check (provider in ('github', 'gitlab', 'circleci', 'buildkite')),
  constraint oidc_has_a_provider_an_issuer_and_claims check (
    kind <> 'oidc' or (num_nulls(provider, issuer) = 0 and claims <> '{}' and token_sha256 is null)
  ),
  constraint token_has_its_hash_and_nothing_of_an_issuer check (
    kind <> 'token'
    or (octet_length(token_sha256) = 32 and num_nonnulls(provider, issuer, audience) = 0 and claims = '{}')
  ),
  -- Keys that came unencrypted over a network could be anybody's; within one machine there is no network.
  constraint issuer_is_https_or_on_this_machine check (
    issuer ~ '^https://[^/?#@[:space:]]+(/[^?#[:space:]]*)?$'
    or issuer ~ '^http://(127[.]0[.]0[.]1|\[::1\]|localhost)(:[0-9]+)?(/[^?#[:space:]]*)?$'
  ),
  constraint audience_is_not_empty check (audience <> ''),
  constraint claims_are_an_object check (jsonb_typeof(claims) = 'object'),
  constraint claims_are_texts_with_a_star_only_at_the_end check (
    not jsonb_path_exists(claims, 'strict $.* ? (@.type() != "string" || @ == "" || @ == "*" || @ like_regex "[*].")')
  ),
  -- An issuer signs for all its customers, so claims say whose token it is, and by an id: a name can be registered again by somebody else.
  constraint claims_name_their_owner_by_id check (
    case provider
      when 'github' then claims ?| array['repository_id', 'repository_owner_id']
      when 'gitlab' then claims ?| array['project_id', 'namespace_id']
      when 'buildkite' then claims ?| array['organization_id', 'organization_slug', 'pipeline_id']
      -- An issuer for each organisation.
      when 'circleci' then true
    end
  ),
  constraint ids_in_claims_are_exact check (
    not jsonb_path_exists(claims, '$.keyvalue() ? (@.key like_regex "(_id|_slug|/project-id)$" && @.value like_regex "[*]$")')
  ),
  constraint tokens_of_buildkite_name_no_repository check (provider <> 'buildkite' or repositories is not null),
  constraint sources_are_source_names check (
    cardinality(sources) > 0
    and not jsonb_path_exists(
      to_jsonb(sources),
      '$[*] ? (@.type() != "string" || !(@ like_regex "^[a-z0-9]+(-[a-z0-9]+)*$"))'
    )
  ),
  constraint repositories_are_references check (
    cardinality(repositories) > 0
    and not jsonb_path_exists(
      to_jsonb(repositories),
      '$[*] ? (@.type() != "string" || !(@ like_regex "^([a-z0-9]+(-[a-z0-9]+)*:[^[:cntrl:]]+|//[^[:cntrl:][:space:][:upper:]]+)$"))'
    )
  ),
  constraint fact_kinds_are_known check (
    cardinality(fact_kinds) > 0
    and array_position(fact_kinds, null) is null
    and fact_kinds <@ array[
      'repositories', 'pipeline_runs', 'jobs', 'pull_requests', 'reviews', 'pushes', 'commits', 'deployments', 'releases', 'incidents',
      'test_runs', 'test_cases', 'rule_checks', 'measurements'
    ]
  ),
  -- Whoever may push a branch may run a job with its token: what was deployed is told by jobs of a named branch or environment alone. A
  -- pattern names branches only if something of their own names stands before its *.
  constraint more_than_reports_needs_a_ref_or_an_environment check (
    kind <> 'oidc'
    or fact_kinds <@ array['test_runs', 'test_cases', 'rule_checks', 'measurements']
    or case provider
      when 'github' then num_nonnulls(
        substring(claims ->> 'ref' from '^refs/(?:heads|tags)/[^*]'),
        substring(claims ->> 'environment' from '[^*]$')
      )
      when 'gitlab' then num_nonnulls(
        substring(claims ->> 'ref_path' from '^refs/(?:heads|tags)/[^*]'),
        substring(claims ->> 'ref' from '[^*]$'),
        substring(claims ->> 'environment' from '[^*]$')
      )
      when 'circleci' then num_nonnulls(substring(claims ->> 'oidc.circleci.com/vcs-ref' from '^refs/(?:heads|tags)/[^*]'))
      when 'buildkite' then num_nonnulls(substring(claims ->> 'build_branch' from '^[^*]'))
      else 0
    end > 0
  ),
  constraint calls_per_minute_is_positive check (calls_per_minute > 0)
);

-- A name is free again once its identity was revoked: a secret is replaced under its name.
create unique index if not exists identities_name_idx on metrics.identities (name) where revoked_at is null;

comment on table metrics.identities is 'Machines that may report: OIDC issuers with the claims that must match, and tokens. Never deleted, so that deliveries can be traced.';
comment on column metrics.identities.id is 'Key.';
comment on column metrics.identities.name is 'Name, for people. Unique among what is not revoked.';
comment on column metrics.identities.kind is 'oidc or token.';
comment on column metrics.identities.provider is 'Whose claims the tokens of the issuer carry: github, gitlab, circleci or buildkite; NULL for a token.';
comment on column metrics.identities.issuer is 'Exact issuer of OIDC tokens.';
comment on column metrics.identities.audience is 'Audience that the token must name; NULL means the function''s own URL.';
comment on column metrics.identities.claims is 'Claims that must match: exact, or with a trailing *.';
comment on column metrics.identities.token_sha256 is 'SHA-256 of the token; the token itself is never stored.';
comment on column metrics.identities.sources is 'Sources that it may report to.';
comment on column metrics.identities.repositories is 'Repository references that it may tell about. NULL means those of the source for a token, and the one in its claims for OIDC.';
comment on column metrics.identities.fact_kinds is 'Fact kinds that it may tell.';
comment on column metrics.identities.calls_per_minute is 'Deliveries that it may commit within 60 seconds.';
comment on column metrics.identities.created_at is 'When it was made.';
comment on column metrics.identities.expires_at is 'When it ends by itself.';
comment on column metrics.identities.revoked_at is 'When it was revoked.';

create table if not exists metrics.audit (
  id bigint generated always as identity primary key,
  happened_at timestamptz not null default now(),
  actor text not null,
  action text not null,
  before jsonb,
  after jsonb
);

comment on table metrics.audit is 'One row for each change that a person made; never a secret.';
comment on column metrics.audit.id is 'Key.';
comment on column metrics.audit.happened_at is 'When.';
comment on column metrics.audit.actor is 'Who: the user''s id, or the database role.';
comment on column metrics.audit.action is 'The function that was called.';
comment on column metrics.audit.before is 'What was there before.';
comment on column metrics.audit.after is 'What is there now.';

-- create or replace, because policies depend on these: dropping them would drop the policies. In PL/pgSQL, because a function in SQL that
-- cannot be inlined is planned anew at every call, and every table that is read calls some of these.
create or replace function metrics.is_member()
returns boolean
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
  return exists (
    select
    from metrics.members as m
    where m.user_id = (select auth.uid())
  );
end
$$;
revoke execute on function metrics.is_member() from public;

comment on function metrics.is_member() is 'Whether the signed-in user is a member.';

create or replace function metrics.is_admin()
returns boolean
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
  return exists (
    select
    from metrics.members as m
    where m.user_id = (select auth.uid())
      and m.role = 'admin'
  );
end
$$;
revoke execute on function metrics.is_admin() from public;

comment on function metrics.is_admin() is 'Whether the signed-in user is an admin.';

create or replace function metrics.readable_repositories()
returns setof bigint
language plpgsql
stable
security definer
set search_path = ''
rows 200
as $$
begin
  return query
  select r.id
  from metrics.repositories as r
  where (select metrics.is_admin())
  union
  select g.repository_id
  from metrics.members as m
  join metrics.team_members as t
    on t.email = m.email
  join metrics.team_repositories as g
    on g.team_id = t.team_id
  where m.user_id = (select auth.uid());
end
$$;
revoke execute on function metrics.readable_repositories() from public;

comment on function metrics.readable_repositories() is 'Repositories that the signed-in member may read.';

create or replace function metrics.readable_references()
returns setof bigint
language plpgsql
stable
security definer
set search_path = ''
rows 400
as $$
begin
  return query
  select r.id
  from metrics.repository_references as r
  where r.repository_id in (select metrics.readable_repositories());
end
$$;
revoke execute on function metrics.readable_references() from public;

comment on function metrics.readable_references() is 'Repository references whose repository the signed-in member may read.';

create or replace function metrics.first_readable_row()
returns tid
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
  return case when metrics.is_member() then '(0,0)'::tid else '(4294967295,65535)'::tid end;
end
$$;
revoke execute on function metrics.first_readable_row() from public;

comment on function metrics.first_readable_row() is 'Where a scan may begin: at the first row for members, behind the last for everyone else. A policy that only says is_member() is evaluated once and then filters every row; this one ends the scan before it reads a page.';

create or replace function metrics.first_readable_id()
returns bigint
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
  return case when metrics.is_member() then -9223372036854775808 end;
end
$$;
revoke execute on function metrics.first_readable_id() from public;

comment on function metrics.first_readable_id() is 'Where a scan in the order of an index that begins with a number may begin: at the first for members, nowhere for everyone else.';

create or replace function metrics.first_readable_text()
returns text
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
  return case when metrics.is_member() then '' end;
end
$$;
revoke execute on function metrics.first_readable_text() from public;

comment on function metrics.first_readable_text() is 'Where a scan in the order of an index that begins with a text may begin: at the first for members, nowhere for everyone else.';

drop function if exists metrics.require_reader();

create function metrics.require_reader()
returns void
language plpgsql
stable
set search_path = ''
as $$
begin
  if not (metrics.is_member() or pg_has_role(metrics.caller(), 'metrics_reader', 'member')) then
    raise exception using
      errcode = '42501',
      message = 'only members of metrics may call this',
      hint = 'An admin adds a member with metrics.add_member; the member then calls metrics.accept_membership once.';
  end if;
end
$$;
revoke execute on function metrics.require_reader() from public;

comment on function metrics.require_reader() is 'Raises 42501 unless the caller is a member or a role in metrics_reader.';
