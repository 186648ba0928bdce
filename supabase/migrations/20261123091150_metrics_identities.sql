-- Machines that may report: how admins make, list and end them, and what each may tell.

set lock_timeout = '2s';
set statement_timeout = '60s';

drop function if exists metrics.refuse_identity(text);

create function metrics.refuse_identity(constraint_name text)
returns void
language plpgsql
set search_path = ''
as $$
begin
  raise exception using
    errcode = '23514',
    constraint = constraint_name,
    message = format('this identity is refused, because it must hold that %s', replace(constraint_name, '_', ' ')),
    hint = case constraint_name
      when 'identity_name_is_not_empty' then 'A name has 1 to 200 characters.'
      when 'provider_is_known' then 'Providers are github, gitlab, circleci, buildkite.'
      when 'issuer_is_https_or_on_this_machine' then 'For example https://token.actions.githubusercontent.com.'
      when 'audience_is_not_empty' then 'NULL means the address of the function itself.'
      when 'calls_per_minute_is_positive' then 'At least 1.'
      when 'claims_are_texts_with_a_star_only_at_the_end' then 'For example {"repository_id": "123", "ref": "refs/heads/release/*"}.'
      when 'claims_name_their_owner_by_id' then
        'github: repository_id or repository_owner_id; gitlab: project_id or namespace_id; '
        || 'buildkite: organization_id, organization_slug or pipeline_id.'
      when 'ids_in_claims_are_exact' then 'A * in an id would let others in whose id begins alike.'
      when 'tokens_of_buildkite_name_no_repository' then 'Say in repositories which ones its pipelines may tell about.'
      when 'sources_are_source_names' then 'For example {github,gitlab-acme}.'
      when 'repositories_are_references' then
        'For example {github:123,//github.com/acme/app}; NULL for those of the source, and for OIDC the one in its claims.'
      when 'fact_kinds_are_known' then
        'Fact kinds are repositories, pipeline_runs, jobs, pull_requests, reviews, pushes, commits, deployments, releases, incidents, '
        || 'test_runs, test_cases, rule_checks, measurements.'
      when 'more_than_reports_needs_a_ref_or_an_environment' then
        'Add a claim that says where its jobs run: an environment without a * (github, gitlab), or a branch such as refs/heads/main or '
        || 'refs/heads/release/* in ref (github), ref_path (gitlab) or oidc.circleci.com/vcs-ref, release/* in build_branch (buildkite).'
      else 'For example claims {"repository_id": "123"} of the provider github.'
    end;
end
$$;
revoke execute on function metrics.refuse_identity(text) from public;

comment on function metrics.refuse_identity(text) is 'Raises 23514 with a sentence about the constraint of metrics.identities that does not hold, and without the row.';

drop function if exists metrics.add_identity(metrics.identities);

create function metrics.add_identity(identity metrics.identities)
returns void
language plpgsql
set search_path = ''
as $$
declare
  broken text;
begin
  if identity.expires_at <= now() then
    raise exception using
      errcode = '22023',
      message = 'expires_at is in the past';
  end if;
  insert into metrics.identities (
    id, name, kind, provider, issuer, audience, claims, token_sha256, sources, repositories, fact_kinds, calls_per_minute, expires_at
  )
  overriding system value
  values (
    identity.id,
    btrim(identity.name),
    identity.kind,
    identity.provider,
    identity.issuer,
    identity.audience,
    identity.claims,
    identity.token_sha256,
    identity.sources,
    -- As facts name them.
    case
      when identity.repositories is not null then array(
        select case when r.reference ~ '^(https?:)?//' then '//' || metrics.normalised_url(r.reference) else r.reference end
        from unnest(identity.repositories) with ordinality as r (reference, place)
        order by r.place
      )
    end,
    identity.fact_kinds,
    identity.calls_per_minute,
    identity.expires_at
  );
exception
  when not_null_violation then
    get stacked diagnostics broken = column_name;
    raise exception using
      errcode = '23502',
      message = format('%s is missing', broken);
  when check_violation then
    get stacked diagnostics broken = constraint_name;
    perform metrics.refuse_identity(broken);
end
$$;
revoke execute on function metrics.add_identity(metrics.identities) from public;

comment on function metrics.add_identity(metrics.identities) is 'Keeps a new identity, with its repositories named as facts name them. Raises 22023 for an end in the past, 23502 for what is missing, 23514 for what its constraints refuse.';

drop function if exists metrics.identity_without_hash(metrics.identities);

create function metrics.identity_without_hash(identity metrics.identities)
returns jsonb
language sql
stable
set search_path = ''
as $$
  select to_jsonb(identity) - 'token_sha256'
$$;
revoke execute on function metrics.identity_without_hash(metrics.identities) from public;

comment on function metrics.identity_without_hash(metrics.identities) is 'An identity as the audit trail shows it: without the hash of its token.';

drop function if exists metrics.next_identity_id();

create function metrics.next_identity_id()
returns bigint
language sql
set search_path = ''
as $$
  select nextval(pg_get_serial_sequence('metrics.identities', 'id'))
$$;
revoke execute on function metrics.next_identity_id() from public;

comment on function metrics.next_identity_id() is 'The id of the identity that is made next: a token holds it before its row is there.';

drop function if exists metrics.create_token(text, text[], text[], text[], integer, timestamptz);

create function metrics.create_token(
  name text,
  sources text[],
  repositories text[] default null,
  fact_kinds text[] default array['test_runs', 'test_cases', 'rule_checks', 'measurements'],
  calls_per_minute integer default 60,
  expires_at timestamptz default null
)
returns text
language plpgsql
security definer
set search_path = ''
set statement_timeout = '5s'
as $$
declare
  made metrics.identities;
  token text;
begin
  perform metrics.require_admin();
  made.id := metrics.next_identity_id();
  -- A version 4 UUID holds 122 bits of the server's strong random source: three hold more than the 256 that a SHA-256 passes on. So no
  -- extension is needed.
  token := format(
    'mtr_%s_%s',
    made.id,
    rtrim(
      translate(
        encode(sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())), 'base64'),
        '+/',
        '-_'
      ),
      '='
    )
  );
  made.name := create_token.name;
  made.kind := 'token';
  made.claims := '{}';
  made.token_sha256 := sha256(convert_to(token, 'UTF8'));
  made.sources := create_token.sources;
  made.repositories := create_token.repositories;
  made.fact_kinds := create_token.fact_kinds;
  made.calls_per_minute := create_token.calls_per_minute;
  made.expires_at := create_token.expires_at;
  perform metrics.add_identity(made);
  select i.*
  into made
  from metrics.identities as i
  where i.id = made.id;
  perform metrics.note('create_token', null, metrics.identity_without_hash(made));
  return token;
end
$$;
revoke execute on function metrics.create_token(text, text[], text[], text[], integer, timestamptz) from public;

comment on function metrics.create_token(text, text[], text[], text[], integer, timestamptz) is 'Makes a token and returns it, this once: only its SHA-256 is kept.';

drop function if exists metrics.add_issuer(text, text, text, jsonb, text[], text, text[], text[], integer, timestamptz);

create function metrics.add_issuer(
  name text,
  provider text,
  issuer text,
  claims jsonb,
  sources text[],
  audience text default null,
  repositories text[] default null,
  fact_kinds text[] default array['test_runs', 'test_cases', 'rule_checks', 'measurements'],
  calls_per_minute integer default 60,
  expires_at timestamptz default null
)
returns bigint
language plpgsql
security definer
set search_path = ''
set statement_timeout = '5s'
as $$
declare
  made metrics.identities;
begin
  perform metrics.require_admin();
  made.id := metrics.next_identity_id();
  made.name := add_issuer.name;
  made.kind := 'oidc';
  made.provider := add_issuer.provider;
  made.issuer := add_issuer.issuer;
  made.audience := add_issuer.audience;
  made.claims := add_issuer.claims;
  made.sources := add_issuer.sources;
  made.repositories := add_issuer.repositories;
  made.fact_kinds := add_issuer.fact_kinds;
  made.calls_per_minute := add_issuer.calls_per_minute;
  made.expires_at := add_issuer.expires_at;
  perform metrics.add_identity(made);
  select i.*
  into made
  from metrics.identities as i
  where i.id = made.id;
  perform metrics.note('add_issuer', null, metrics.identity_without_hash(made));
  return made.id;
end
$$;
revoke execute on function metrics.add_issuer(text, text, text, jsonb, text[], text, text[], text[], integer, timestamptz) from public;

comment on function metrics.add_issuer(text, text, text, jsonb, text[], text, text[], text[], integer, timestamptz) is 'Trusts the OIDC tokens of an issuer whose claims match; returns the id of the identity.';

drop function if exists metrics.identity_named(text);

create function metrics.identity_named(name text)
returns metrics.identities
language plpgsql
set search_path = ''
as $$
declare
  named metrics.identities;
begin
  select i.*
  into named
  from metrics.identities as i
  where i.name = btrim(identity_named.name)
    and i.revoked_at is null
  for update;
  if not found then
    raise exception using
      errcode = 'P0002',
      message = format('no identity is called %s, or it was revoked', identity_named.name),
      hint = 'metrics.list_identities() tells all.';
  end if;
  return named;
end
$$;
revoke execute on function metrics.identity_named(text) from public;

comment on function metrics.identity_named(text) is 'The identity of this name that was not revoked, locked. Raises P0002 for none.';

drop function if exists metrics.revoke_identity(text);

create function metrics.revoke_identity(name text)
returns void
language plpgsql
security definer
set search_path = ''
set statement_timeout = '5s'
as $$
declare
  before metrics.identities;
  after metrics.identities;
begin
  perform metrics.require_admin();
  before := metrics.identity_named(name);
  update metrics.identities as i
  set revoked_at = now()
  where i.id = before.id
  returning i.*
  into after;
  perform metrics.note('revoke_identity', metrics.identity_without_hash(before), metrics.identity_without_hash(after));
end
$$;
revoke execute on function metrics.revoke_identity(text) from public;

comment on function metrics.revoke_identity(text) is 'Ends an identity at once and for ever. Its name is free for another.';

drop function if exists metrics.expire_identity(text, timestamptz);

create function metrics.expire_identity(name text, at timestamptz)
returns void
language plpgsql
security definer
set search_path = ''
set statement_timeout = '5s'
as $$
declare
  before metrics.identities;
  after metrics.identities;
begin
  perform metrics.require_admin();
  before := metrics.identity_named(name);
  update metrics.identities as i
  set expires_at = expire_identity.at
  where i.id = before.id
  returning i.*
  into after;
  perform metrics.note('expire_identity', metrics.identity_without_hash(before), metrics.identity_without_hash(after));
end
$$;
revoke execute on function metrics.expire_identity(text, timestamptz) from public;

comment on function metrics.expire_identity(text, timestamptz) is 'Says when an identity ends by itself; NULL for never. A later time makes one that has ended live again.';

drop function if exists metrics.list_identities();

create function metrics.list_identities()
returns table (
  id bigint,
  name text,
  kind text,
  provider text,
  issuer text,
  audience text,
  claims jsonb,
  sources text[],
  repositories text[],
  fact_kinds text[],
  calls_per_minute integer,
  created_at timestamptz,
  expires_at timestamptz,
  revoked_at timestamptz,
  last_used_at timestamptz
)
language plpgsql
stable
security definer
set search_path = ''
set statement_timeout = '5s'
as $$
begin
  perform metrics.require_admin();
  return query
  select
    i.id,
    i.name,
    i.kind,
    i.provider,
    i.issuer,
    i.audience,
    i.claims,
    i.sources,
    i.repositories,
    i.fact_kinds,
    i.calls_per_minute,
    i.created_at,
    i.expires_at,
    i.revoked_at,
    (
      select max(d.received_at)
      from metrics.deliveries as d
      where d.identity_id = i.id
    )
  from metrics.identities as i
  order by i.id;
end
$$;
revoke execute on function metrics.list_identities() from public;

comment on function metrics.list_identities() is 'Every identity that there ever was, with its last delivery that is still remembered. No token, and no hash of one.';

drop function if exists metrics.live_identities();

create function metrics.live_identities()
returns jsonb
language sql
stable
security definer
set search_path = ''
as $$
  select coalesce(
    jsonb_agg(
      jsonb_build_object(
        'id', i.id,
        'kind', i.kind,
        'provider', i.provider,
        'issuer', i.issuer,
        'audience', i.audience,
        'claims', i.claims,
        'token_sha256', encode(i.token_sha256, 'hex'),
        'sources', i.sources,
        'repositories', i.repositories,
        'fact_kinds', i.fact_kinds,
        'calls_per_minute', i.calls_per_minute,
        'expires_at', i.expires_at
      )
      order by i.id
    ),
    '[]'
  )
  from metrics.identities as i
  where i.revoked_at is null
    and (i.expires_at is null or i.expires_at > now())
$$;
revoke execute on function metrics.live_identities() from public;

comment on function metrics.live_identities() is 'The identities that are neither revoked nor expired, for the function that proves who reports.';

drop function if exists metrics.is_within(text, text[], text);

create function metrics.is_within(reference text, permitted text[], source text)
returns boolean
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
begin
  return coalesce(case when permitted is null then starts_with(reference, source || ':') else reference = any(permitted) end, false);
end
$$;
revoke execute on function metrics.is_within(text, text[], text) from public;

comment on function metrics.is_within(text, text[], text) is 'Whether a repository reference is among those permitted; NULL permits all of the source. False for no reference.';

drop function if exists metrics.require_scope(jsonb, jsonb);

create function metrics.require_scope(delivery jsonb, facts jsonb)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
  identity constant jsonb := delivery -> 'identity';
  source_name constant text := delivery ->> 'source';
  permit metrics.identities;
  -- What it may tell about; NULL for every repository of the source.
  permitted text[];
  full_since timestamptz;
begin
  if jsonb_typeof(identity -> 'id') is distinct from 'number'
    or coalesce(jsonb_typeof(identity -> 'reference'), 'null') not in ('string', 'null')
  then
    raise exception using
      errcode = '22023',
      message = 'identity needs an id, and a reference or null';
  end if;
  -- One call of an identity at a time, so that none slips past the count. Taken before every other lock, so nobody waits in a circle.
  perform pg_advisory_xact_lock(hashtextextended('metrics.identity ' || (identity ->> 'id'), 0));

  select i.*
  into permit
  from metrics.identities as i
  where i.id = (identity ->> 'id')::bigint
    and i.revoked_at is null
    and (i.expires_at is null or i.expires_at > now());
  if not found then
    raise exception using
      errcode = '28000',
      message = 'this identity is unknown, revoked or expired';
  end if;

  if source_name <> all(permit.sources) then
    raise exception using
      errcode = '42501',
      message = 'this identity may not report to this source';
  end if;
  if exists (
    select
    from jsonb_object_keys(facts) as k (kind)
    where k.kind <> all(permit.fact_kinds)
  ) then
    raise exception using
      errcode = '42501',
      message = 'this identity may not tell facts of this kind';
  end if;

  permitted := case
    when permit.repositories is not null then permit.repositories
    when permit.kind = 'oidc' then array[identity ->> 'reference']
  end;
  if exists (
    select
    from (
      select distinct e.kind, f.said ->> 'repository' as reference
      from jsonb_each(facts) as e (kind, list)
      cross join lateral jsonb_array_elements(e.list) as f (said)
    ) as n
    where not metrics.is_within(n.reference, permitted, source_name)
      -- An incident may be about no repository; who may tell about some only may not tell about all.
      and not (n.kind = 'incidents' and permitted is null and n.reference is null)
  ) then
    raise exception using
      errcode = '42501',
      message = 'this identity may not tell about this repository';
  end if;
  if facts ? 'incidents' and exists (
    select
    from jsonb_array_elements(facts -> 'incidents') as f (said)
    left join metrics.incidents as i
      on i.source = f.said ->> 'source'
      and i.external_id = f.said ->> 'external_id'
    left join metrics.repository_references as r
      on r.id = i.reference_id
    where f.said ->> 'source' is distinct from source_name
      -- Its key names no repository: one that is kept about another repository would be moved.
      or (permitted is not null and i.source is not null and not metrics.is_within(r.reference, permitted, source_name))
  ) then
    raise exception using
      errcode = '42501',
      message = 'this identity may not tell about this incident';
  end if;
  -- A claim takes the facts that were told by the URL, and their readers, from whoever has it or will have it. So who may tell about some
  -- repositories claims what is theirs already, or what an admin named; who may tell about all of a source, what no other source's has.
  if facts ? 'repositories' and exists (
    select
    from jsonb_array_elements(facts -> 'repositories') as f (said)
    cross join lateral (
      select '//' || metrics.normalised_url(f.said ->> 'url') as reference
    ) as n
    left join metrics.repository_references as u
      on u.reference = n.reference
    left join metrics.repository_references as r
      on r.reference = f.said ->> 'repository'
    where n.reference is not null
      and (u.repository_id = r.repository_id) is not true
      and not metrics.is_within(n.reference, permitted, source_name)
      and not (permitted is null and (u.claimed_by is null or metrics.is_within(u.claimed_by, null, source_name)))
  ) then
    raise exception using
      errcode = '42501',
      message = 'this identity may not claim this URL';
  end if;
  -- The latest observation wins: one of the future would win over all that others observe until then.
  if exists (
    select
    from jsonb_each(facts) as e (kind, list)
    cross join lateral jsonb_array_elements(e.list) as f (said)
    where (f.said ->> 'observed_at')::timestamptz > now() + interval '5 minutes'
  ) then
    raise exception using
      errcode = '22008',
      message = 'observed_at is more than 5 minutes ahead of this server';
  end if;

  select d.received_at
  into full_since
  from metrics.deliveries as d
  where d.identity_id = permit.id
    and d.received_at > now() - interval '60 seconds'
  order by d.received_at desc
  offset permit.calls_per_minute - 1
  limit 1;
  -- What is there already adds nothing, and is told so whatever the rate.
  if found and not exists (
    select
    from metrics.deliveries as d
    where d.source = source_name
      and d.delivery_id = delivery ->> 'delivery_id'
      and d.result <> 'quarantined'
  ) then
    raise exception using
      errcode = 'PT429',
      message = 'this identity made its calls of this minute',
      detail = greatest(1, ceil(extract(epoch from full_since + interval '60 seconds' - now())))::integer::text;
  end if;
  return permit.id;
end
$$;
revoke execute on function metrics.require_scope(jsonb, jsonb) from public;

comment on function metrics.require_scope(jsonb, jsonb) is 'The id of a delivery''s identity when that may tell these facts to its source now. Raises 28000 when it does not live, 42501 when it may not, 22008 for what is observed in the future, PT429 with the seconds to wait when it made its calls of the minute: deliveries that were committed count, and one that came before is let through.';
