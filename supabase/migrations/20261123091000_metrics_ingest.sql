-- The one writer of facts: stores a delivery, its facts and all that follows from them in one transaction, whether it brings one fact
-- or ten thousand.

set lock_timeout = '2s';
set statement_timeout = '60s';

do $$
begin
  if to_regtype('metrics.claim') is null then
    create type metrics.claim as (
      url text,
      claimant text,
      claimant_repository_id bigint,
      clock text,
      present_repository_id bigint
    );
  end if;
end
$$;

revoke usage on type metrics.claim from public;

comment on type metrics.claim is 'A repository says that a URL is its own: the URL, who says so by which clock, and the repository that the URL means now.';

-- Claims that would change the map: a repository says that a URL is its own, later than whoever said so before.
drop function if exists metrics.new_claims(jsonb);

create function metrics.new_claims(repositories jsonb)
returns setof metrics.claim
language plpgsql
stable
set search_path = ''
as $$
#variable_conflict use_column
begin
  return query
  select distinct on (c.url)
    c.url,
    c.claimant,
    c.repository_id,
    c.clock,
    u.repository_id
  from (
    select
      metrics.normalised_url(f.said ->> 'url') as url,
      (f.said ->> 'repository') collate "C" as claimant,
      r.repository_id,
      (
        coalesce(to_char((f.said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-')
        || coalesce(' ' || lpad(f.said ->> 'sequence', 19, '0'), '')
      ) collate "C" as clock
    from jsonb_array_elements(new_claims.repositories) as f (said)
    join metrics.repository_references as r
      on r.reference = f.said ->> 'repository'
    where f.said ->> 'url' is not null
  ) as c
  left join metrics.repository_references as u
    on u.reference = '//' || c.url
  where c.url is not null
    and (u.claimed_by is null or (c.clock, c.claimant) > (u.claim_clock, u.claimed_by))
  order by c.url, c.clock desc, c.claimant desc;
end
$$;
revoke execute on function metrics.new_claims(jsonb) from public;

comment on function metrics.new_claims(jsonb) is 'URLs that these observations of repositories claim later than the present claim, with the repository that each means now.';

-- Nearly every delivery brings its repository, and it is nearly always as it was. What has been folded before needs no second look:
-- a repository that did not change is not touched, and not even locked.
drop function if exists metrics.repositories_said_anew(jsonb);

create function metrics.repositories_said_anew(repositories jsonb, out anew jsonb, out has_news boolean)
language plpgsql
stable
set search_path = ''
as $$
declare
  said jsonb;
  clock text collate "C";
  is_told boolean;
  is_otherwise boolean;
  told jsonb[] := '{}';
begin
  has_news := false;
  for said in
    select jsonb_array_elements(repositories)
  loop
    clock := coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || ' 0'
      || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '');
    select
      count(*) > 0,
      coalesce(bool_or(k.is_later and said ->> k.name is distinct from k.kept), false)
    into is_told, is_otherwise
    from metrics.repository_references as r
    join metrics.repositories as t
      on t.id = r.repository_id
    cross join lateral (
      select
        v.name,
        v.kept,
        (
          t.clocks ->> v.name is null
          or clock > t.clocks ->> v.name
          or (clock = t.clocks ->> v.name and said ->> v.name is distinct from v.kept)
        ) as is_later
      from (values ('full_name', t.full_name), ('default_branch', t.default_branch), ('url', t.url)) as v (name, kept)
    ) as k
    where r.reference = said ->> 'repository'
      and said ? k.name
      -- A URL that it had before may have been claimed by nobody yet.
      and (k.is_later or (k.name = 'url' and said ->> k.name is distinct from k.kept));
    if is_told then
      told := told || said;
    end if;
    has_news := has_news or is_otherwise;
  end loop;
  if cardinality(told) < 2 then
    anew := to_jsonb(told);
    return;
  end if;
  -- Sorted, so that two callers cannot wait for each other.
  anew := (
    select jsonb_agg(f.said order by r.repository_id)
    from unnest(told) as f (said)
    join metrics.repository_references as r
      on r.reference = f.said ->> 'repository'
  );
end
$$;
revoke execute on function metrics.repositories_said_anew(jsonb) from public;

comment on function metrics.repositories_said_anew(jsonb) is 'The observations of repositories that say something later than what is kept, or another URL, and whether one of them says something else later: most senders tell the time of the event, and so say the same again and again, each time later.';

drop function if exists metrics.is_said_of_names(jsonb);

create function metrics.is_said_of_names(repositories jsonb)
returns boolean
language sql
stable
set search_path = ''
as $$
  select s.has_news or exists (
    select
    from metrics.new_claims(s.anew) as c
    where c.present_repository_id is distinct from c.claimant_repository_id
  )
  from metrics.repositories_said_anew(repositories) as s
$$;
revoke execute on function metrics.is_said_of_names(jsonb) from public;

comment on function metrics.is_said_of_names(jsonb) is 'Whether these observations of repositories change what one is called, or what a URL means.';

drop function if exists metrics.keep_clocks(jsonb);

create function metrics.keep_clocks(repositories jsonb)
returns void
language plpgsql
set search_path = ''
as $$
declare
  one record;
begin
  for one in
    select r.repository_id, f.said, c.clock
    from jsonb_array_elements(repositories) with ordinality as f (said, n)
    join metrics.repository_references as r
      on r.reference = f.said ->> 'repository'
    cross join lateral (
      select (
        coalesce(to_char((f.said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || ' 0'
        || coalesce(' ' || lpad(f.said ->> 'sequence', 19, '0'), '')
      ) collate "C" as clock
    ) as c
    order by r.repository_id, f.n
  loop
    update metrics.repositories as t
    set
      clocks = (
        select jsonb_object_agg(k.name, greatest((t.clocks ->> k.name) collate "C", case when one.said ? k.name then one.clock end))
        from unnest(array['full_name', 'default_branch', 'url']) as k (name)
        where t.clocks ? k.name
          or one.said ? k.name
      ),
      updated_at = now()
    where t.id = one.repository_id
      -- Whoever changes these holds the lock of names, which the caller does not.
      and not exists (
        select
        from (values ('full_name', t.full_name), ('default_branch', t.default_branch), ('url', t.url)) as k (name, kept)
        where one.said ? k.name
          and one.said ->> k.name is distinct from k.kept
          and ((t.clocks ->> k.name) collate "C" > one.clock) is not true
      );
    if not found then
      raise exception using
        errcode = '40001',
        message = 'a repository came to be called otherwise: try again';
    end if;
  end loop;
end
$$;
revoke execute on function metrics.keep_clocks(jsonb) from public;

comment on function metrics.keep_clocks(jsonb) is 'Keeps when repositories were last said to be what they are: an older observation that comes later must lose to these, though they change nothing.';

-- False when somebody else changed what the URL means since the claim was looked up.
create or replace function metrics.claim_url(claim metrics.claim)
returns boolean
language plpgsql
set search_path = ''
as $$
begin
  if claim.present_repository_id is null then
    insert into metrics.repository_references (reference, url, repository_id, claim_clock, claimed_by)
    values ('//' || claim.url, claim.url, claim.claimant_repository_id, claim.clock, claim.claimant)
    on conflict (reference) do nothing;
  else
    update metrics.repository_references as r
    set
      repository_id = claim.claimant_repository_id,
      claim_clock = claim.clock,
      claimed_by = claim.claimant
    where r.reference = '//' || claim.url
      and r.repository_id = claim.present_repository_id
      and (r.claimed_by is null or (claim.clock collate "C", claim.claimant collate "C") > (r.claim_clock, r.claimed_by));
  end if;
  -- One that changes nothing may be overtaken by a later one of the same kind.
  return found or (
    claim.present_repository_id = claim.claimant_repository_id
    and exists (
      select
      from metrics.repository_references as r
      where r.reference = '//' || claim.url
        and (r.claim_clock, r.claimed_by) >= (claim.clock collate "C", claim.claimant collate "C")
    )
  );
end
$$;
revoke execute on function metrics.claim_url(metrics.claim) from public;

comment on function metrics.claim_url(metrics.claim) is 'Makes a URL mean the repository that claims it. Where it means another one, the locks of both must be held.';

-- Makes the references that are not known yet, each with a repository of its own.
drop function if exists metrics.ensure_references(text[]);

create function metrics.ensure_references(names text[])
returns bigint[]
language plpgsql
set search_path = ''
as $$
declare
  name text;
  repository bigint;
begin
  for name in
    select distinct n collate "C"
    from unnest(names) as n
    order by 1
  loop
    if name !~ '^([a-z0-9]+(-[a-z0-9]+)*:[^[:cntrl:]]+|//[^[:cntrl:][:space:]]+)$' or length(name) > 1000 then
      raise exception using
        errcode = '22023',
        message = 'a repository reference is <source>:<external id> or //<host>/<path>';
    end if;
    insert into metrics.repositories default values
    returning id into repository;
    insert into metrics.repository_references (reference, source, external_id, url, repository_id)
    values (
      name,
      case when name not like '//%' then split_part(name, ':', 1) end,
      case when name not like '//%' then substr(name, strpos(name, ':') + 1) end,
      case when name like '//%' then substr(name, 3) end,
      repository
    )
    on conflict (reference) do nothing;
    if not found then
      delete from metrics.repositories as r
      where r.id = repository;
    else
      -- Whatever is told of it first: one that only has pipelines is a service too, which was never deployed.
      perform metrics.ensure_service(g.id, repository)
      from metrics.generations as g
      where g.state <> 'retired';
    end if;
  end loop;
  return array(
    select r.id
    from metrics.repository_references as r
    where r.reference = any(names)
  );
end
$$;
revoke execute on function metrics.ensure_references(text[]) from public;

comment on function metrics.ensure_references(text[]) is 'Makes these repository references, each with a repository that is one service, and returns their ids. In sorted order, so that two callers cannot wait for each other.';

-- Numbers for tests, in place of their names: {passed: [names]} becomes {passed: [ids]}, and a test case gets its test_id.
create or replace function metrics.with_test_ids(facts jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
begin
  -- One look-up for each name, here and below, as a query that the planner cannot turn round: while it believes the table to be empty, as it
  -- does until it is analysed, it would read the table first and compare each test with each name.
  insert into metrics.tests (reference_id, suite, name)
  -- In the order of bytes, which is found faster than that of a language: any order will do that all callers keep.
  select distinct n.reference_id, n.suite collate "C", n.name collate "C"
  from (
    select r.id as reference_id, coalesce(f.said ->> 'suite', '') as suite, t.name
    from jsonb_array_elements(facts -> 'test_runs') as f (said)
    cross join lateral (
      select q.id
      from metrics.repository_references as q
      where q.reference = f.said ->> 'repository'
      offset 0
    ) as r
    cross join lateral (
      select jsonb_array_elements_text(nullif(f.said -> 'passed', 'null'))
      union all
      select jsonb_array_elements_text(nullif(f.said -> 'skipped', 'null'))
    ) as t (name)
    union all
    select r.id, coalesce(f.said ->> 'suite', ''), f.said ->> 'name'
    from jsonb_array_elements(facts -> 'test_cases') as f (said)
    cross join lateral (
      select q.id
      from metrics.repository_references as q
      where q.reference = f.said ->> 'repository'
      offset 0
    ) as r
  ) as n
  where (
    select t.id
    from metrics.tests as t
    where t.reference_id = n.reference_id
      and t.suite = n.suite
      and t.name = n.name
  ) is null
  order by 1, 2, 3
  on conflict do nothing;

  return facts
    || case
      when facts ? 'test_cases' then jsonb_build_object(
        'test_cases',
        (
          select coalesce(jsonb_agg(f.said || jsonb_build_object('test_id', i.id)), '[]')
          from jsonb_array_elements(facts -> 'test_cases') as f (said)
          cross join lateral (
            select t.id
            from metrics.tests as t
            where t.reference_id = (
                select r.id
                from metrics.repository_references as r
                where r.reference = f.said ->> 'repository'
              )
              and t.suite = coalesce(f.said ->> 'suite', '')
              and t.name = f.said ->> 'name'
            offset 0
          ) as i
        )
      )
      else '{}'
    end
    || case
      when facts ? 'test_runs' then jsonb_build_object(
        'test_runs',
        (
          select coalesce(jsonb_agg(f.said || ids.list), '[]')
          from jsonb_array_elements(facts -> 'test_runs') as f (said)
          cross join lateral (
            select q.id
            from metrics.repository_references as q
            where q.reference = f.said ->> 'repository'
            offset 0
          ) as r
          cross join lateral (
            select coalesce(jsonb_object_agg(k.key, (
              select jsonb_agg(distinct i.id order by i.id)
              from jsonb_array_elements_text(f.said -> k.key) as n (name)
              cross join lateral (
                select t.id
                from metrics.tests as t
                where t.reference_id = r.id
                  and t.suite = coalesce(f.said ->> 'suite', '')
                  and t.name = n.name
                offset 0
              ) as i
            )), '{}') as list
            from (values ('passed'), ('skipped')) as k (key)
            where jsonb_typeof(f.said -> k.key) = 'array'
              and f.said -> k.key <> '[]'
          ) as ids
        )
      )
      else '{}'
    end;
end
$$;
revoke execute on function metrics.with_test_ids(jsonb) from public;

comment on function metrics.with_test_ids(jsonb) is 'Facts with the numbers of tests in place of their names; tests that are new get a number.';

-- A repository that was only known by a URL is none of its own any more once another claims the URL.
create or replace function metrics.settle_moved_repositories(moved bigint[])
returns void
language plpgsql
set search_path = ''
as $$
declare
  i integer;
begin
  -- Pairs: the repository that the URL meant before, and the one that it means now.
  for i in 1 .. cardinality(moved) by 2 loop
    if not exists (
      select
      from metrics.repository_references as r
      where r.repository_id = moved[i]
    ) then
      insert into metrics.team_repositories (team_id, repository_id)
      select g.team_id, moved[i + 1]
      from metrics.team_repositories as g
      where g.repository_id = moved[i]
      on conflict do nothing;
      -- Services that admins named go with the code.
      update metrics.services as s
      set repository_id = moved[i + 1]
      where s.repository_id = moved[i]
        and s.name is not null;
      delete from metrics.services as s
      where s.name is null
        and (
          s.repository_id = moved[i]
          or (
            s.repository_id = moved[i + 1]
            and exists (
              select
              from metrics.services as o
              where o.generation = s.generation
                and o.repository_id = s.repository_id
                and o.name is not null
            )
          )
        );
      delete from metrics.repositories as r
      where r.id = moved[i];
    end if;
  end loop;
end
$$;
revoke execute on function metrics.settle_moved_repositories(bigint[]) from public;

comment on function metrics.settle_moved_repositories(bigint[]) is 'Removes repositories that no reference means any more, and hands the teams'' reading on to the one that took the URL.';

-- Every table in one order, so that two callers cannot wait for each other.
create or replace function metrics.fold_facts(facts jsonb)
returns void
language plpgsql
set search_path = ''
as $$
begin
  if facts -> 'repositories' <> '[]' then
    perform metrics.fold_repositories(facts -> 'repositories');
  end if;
  if facts ? 'pipeline_runs' then
    perform metrics.fold_pipeline_runs(facts -> 'pipeline_runs');
  end if;
  if facts ? 'jobs' then
    perform metrics.fold_jobs(facts -> 'jobs');
  end if;
  if facts ? 'pull_requests' then
    perform metrics.fold_pull_requests(facts -> 'pull_requests');
  end if;
  if facts ? 'reviews' then
    perform metrics.fold_reviews(facts -> 'reviews');
  end if;
  if facts ? 'pushes' then
    perform metrics.fold_pushes(facts -> 'pushes');
  end if;
  if facts ? 'commits' then
    perform metrics.fold_commits(facts -> 'commits');
  end if;
  if facts ? 'deployments' then
    perform metrics.fold_deployments(facts -> 'deployments');
  end if;
  if facts ? 'releases' then
    perform metrics.fold_releases(facts -> 'releases');
  end if;
  if facts ? 'incidents' then
    perform metrics.fold_incidents(facts -> 'incidents');
  end if;
  if facts ? 'test_runs' then
    perform metrics.fold_test_runs(facts -> 'test_runs');
  end if;
  if facts ? 'test_cases' then
    perform metrics.fold_test_cases(facts -> 'test_cases');
  end if;
  if facts ? 'rule_checks' then
    perform metrics.fold_rule_checks(facts -> 'rule_checks');
  end if;
  if facts ? 'measurements' then
    perform metrics.fold_measurements(facts -> 'measurements');
  end if;
end
$$;
revoke execute on function metrics.fold_facts(jsonb) from public;

comment on function metrics.fold_facts(jsonb) is 'Folds the facts of a call into their tables.';

-- An incident may be about a repository by its service's name, or have been about another one before.
drop function if exists metrics.repositories_of_incidents(jsonb);

create function metrics.repositories_of_incidents(incidents jsonb)
returns bigint[]
language plpgsql
stable
set search_path = ''
as $$
begin
  return array(
    select n.repository_id
    from jsonb_array_elements(incidents) as f (said)
    join metrics.incidents as i
      on i.source = f.said ->> 'source'
      and i.external_id = f.said ->> 'external_id'
    cross join lateral (
      select r.repository_id
      from metrics.repository_references as r
      where r.id = i.reference_id
      union
      select t.repository_id
      from metrics.deployment_failures as t
      where t.generation in (select g.id from metrics.generations as g where g.state <> 'retired')
        and t.cause = 'incident'
        and t.incident_source = i.source
        and t.incident_external_id = i.external_id
        and t.repository_id is not null
    ) as n
    union
    select s.repository_id
    from jsonb_array_elements(incidents) as f (said)
    left join metrics.incidents as i
      on i.source = f.said ->> 'source'
      and i.external_id = f.said ->> 'external_id'
    cross join lateral (values (f.said ->> 'service'), (i.service)) as c (called)
    cross join metrics.generations as g
    cross join lateral metrics.services_called(g.id, c.called) as s
    where g.state <> 'retired'
  );
end
$$;
revoke execute on function metrics.repositories_of_incidents(jsonb) from public;

comment on function metrics.repositories_of_incidents(jsonb) is 'Repositories that these incidents are about besides those that they name, now or before.';

-- What these facts touch of each repository, and all that follows from that, in each generation that is kept.
drop function if exists metrics.derive_deliveries(jsonb, text, bigint[], bigint[], bigint[], bigint[], integer[]);

create function metrics.derive_deliveries(
  facts jsonb,
  source text,
  concerned bigint[],
  moved bigint[],
  renamed bigint[],
  pull_request_references bigint[],
  pull_request_numbers integer[]
)
returns void
language plpgsql
set search_path = ''
as $$
#variable_conflict use_column
declare
  generation metrics.generations;
  repository bigint;
  siblings bigint[];
  told metrics.touched;
begin
  foreach repository in array moved loop
    perform metrics.forget_delivery(g.id, repository)
    from metrics.generations as g
    where g.state <> 'retired';
  end loop;
  for repository in
    select distinct r.id
    from unnest(concerned || moved) as u (id)
    join metrics.repositories as r
      on r.id = u.id
    order by r.id
  loop
    siblings := array(select r.id from metrics.repository_references as r where r.repository_id = repository);
    told := null;
    told.is_whole := repository = any(moved);
    told.is_renamed := repository = any(renamed);
    if told.is_renamed and not told.is_whole then
      -- Which of its branches is the default one may be another now.
      told.is_whole := exists (
        select
        from metrics.pushes as p
        where p.reference_id = any(siblings)
          and p.on_default_branch is null
      );
    end if;
    if not told.is_whole then
      if facts ? 'pushes' then
        select
          min(p.pushed_at),
          coalesce(array_agg(p.id) filter (where p.pushed_at is null), '{}')
        into told.pushed_since, told.untimed_pushes
        from jsonb_array_elements(facts -> 'pushes') as f (said)
        join metrics.repository_references as r
          on r.reference = f.said ->> 'repository'
          and r.repository_id = repository
        join metrics.pushes as p
          on p.reference_id = r.id
          and p.ref = f.said ->> 'ref'
          and p.before = f.said ->> 'before'
          and p.after = f.said ->> 'after'
          and p.pushed_at is not distinct from (f.said ->> 'pushed_at')::timestamptz
        -- Written by this delivery: of what was only told again all is derived already.
        where p.updated_at = now()
          and (
            p.on_default_branch is not false
            or exists (
              select
              from metrics.branch_moves as m
              where m.push_id = p.id
            )
          );
      end if;
      if facts ? 'commits' then
        told.shas := array(
          select f.said ->> 'sha'
          from jsonb_array_elements(facts -> 'commits') as f (said)
          join metrics.repository_references as r
            on r.reference = f.said ->> 'repository'
            and r.repository_id = repository
        );
      end if;
      if cardinality(pull_request_numbers) > 0 then
        select array_agg(t.reference_id), array_agg(t.number)
        into told.pull_request_references, told.pull_request_numbers
        from (
          select distinct u.reference_id, u.number
          from unnest(pull_request_references, pull_request_numbers) as u (reference_id, number)
          where u.reference_id = any(siblings)
        ) as t;
      end if;
      if facts ?| array['deployments', 'releases', 'pipeline_runs'] then
        select
          coalesce(array_agg(distinct u.commit_sha) filter (where u.commit_sha is not null), '{}'),
          coalesce(array_agg(distinct u.external_id), '{}')
        into told.deployed_shas, told.deployment_ids
        from (
          select d.commit_sha, d.external_id
          from jsonb_array_elements(facts -> 'deployments') as f (said)
          join metrics.repository_references as r
            on r.reference = f.said ->> 'repository'
            and r.repository_id = repository
          join metrics.deployments as d
            on d.reference_id = r.id
            and d.external_id = f.said ->> 'external_id'
          -- Nothing follows from one that is under way, and one that is finished stays so.
          where d.status = 'finished'
          union all
          select null, f.said ->> 'external_id'
          from jsonb_array_elements(facts -> 'releases') as f (said)
          join metrics.repository_references as r
            on r.reference = f.said ->> 'repository'
            and r.repository_id = repository
          union all
          select null, f.said ->> 'external_id'
          from jsonb_array_elements(facts -> 'pipeline_runs') as f (said)
          join metrics.repository_references as r
            on r.reference = f.said ->> 'repository'
            and r.repository_id = repository
          where exists (
            select
            from metrics.services as s
            where s.repository_id = repository
              and s.source = 'pipeline'
          )
        ) as u;
      end if;
    end if;
    for generation in
      select *
      from metrics.generations as g
      where g.state <> 'retired'
      order by g.id
    loop
      if repository <= generation.repositories_up_to then
        perform metrics.derive_delivery(generation.id, repository, told);
      elsif exists (
        select
        from metrics.under_way as w
        where w.generation = generation.id
          and w.repository_id = repository
      ) then
        -- What is being derived just now may have seen this, or not: it is looked at once that is done.
        insert into metrics.postponed (generation, repository_id, told)
        values (generation.id, repository, told);
      end if;
    end loop;
  end loop;
  if cardinality(moved) = 0 and not facts ? 'incidents' then
    return;
  end if;
  for generation in
    select *
    from metrics.generations as g
    where g.state <> 'retired'
    order by g.id
  loop
    -- One that is being built links them at its end.
    if cardinality(moved) > 0 and generation.repositories_up_to = 9223372036854775807 then
      perform metrics.link_all_lost_incidents(generation.id);
    end if;
    -- Once for all repositories, those about nothing that is known among them. What a deployment of this call changes is found above.
    if facts ? 'incidents' then
      perform metrics.link_incidents(
        generation.id,
        null,
        'infinity',
        array(select coalesce(f.said ->> 'source', source) from jsonb_array_elements(facts -> 'incidents') as f (said)),
        array(select f.said ->> 'external_id' from jsonb_array_elements(facts -> 'incidents') as f (said))
      );
    end if;
  end loop;
end
$$;
revoke execute on function metrics.derive_deliveries(jsonb, text, bigint[], bigint[], bigint[], bigint[], integer[]) from public;

comment on function metrics.derive_deliveries(jsonb, text, bigint[], bigint[], bigint[], bigint[], integer[]) is 'Derives what joins facts of these repositories, as far as these facts, a change of the map, or a new name touch it. Their locks must be held.';

drop function if exists metrics.ingest_together(jsonb);

create function metrics.ingest_together(calls jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
  -- What depends on one row alone, and so on no lock but the row's.
  row_kinds text[] := array['repositories', 'jobs', 'rule_checks', 'measurements'];
  body_days integer;
  taken bigint[];
  answers jsonb;
  facts jsonb;
  repositories jsonb;
  claim metrics.claim;
begin
  perform pg_advisory_xact_lock_shared(hashtextextended('metrics.erasure', 0));
  -- Asked now that no rule can change any more. Runs are deployments where a rule says so.
  if not exists (select from metrics.services as s where s.source = 'pipeline') then
    row_kinds := row_kinds || array['pipeline_runs'];
  end if;
  select s.body_days
  into body_days
  from metrics.settings as s;

  with call as materialized (
    select
      c.n,
      c.said -> 'delivery' as delivery,
      c.said -> 'facts' as facts,
      jsonb_typeof(c.said -> 'body') = 'string' as has_body
    from jsonb_array_elements(calls) with ordinality as c (said, n)
  ),
  plain as materialized (
    -- The same delivery may have come twice.
    select distinct on (c.delivery ->> 'source', c.delivery ->> 'delivery_id') c.*, k.counts, r.reference_ids
    from call as c
    cross join lateral (
      select
        coalesce(jsonb_object_agg(e.kind, jsonb_array_length(e.list)) filter (where e.list <> '[]'), '{}') as counts,
        bool_and(e.kind = any(row_kinds)) is not false as is_plain
      from jsonb_each(c.facts) as e (kind, list)
    ) as k
    cross join lateral (
      select
        coalesce(array_agg(distinct r.id) filter (where r.id is not null), '{}') as reference_ids,
        bool_and(r.id is not null) is not false as are_known
      from jsonb_path_query(c.facts, '$.*[*]') as f (said)
      left join metrics.repository_references as r
        on r.reference = f.said ->> 'repository'
    ) as r
    where c.delivery ->> 'result' in ('stored', 'ignored')
      and not c.delivery ? 'identity'
      and k.is_plain
      and r.are_known
      and not metrics.is_said_of_names(coalesce(c.facts -> 'repositories', '[]'))
    order by c.delivery ->> 'source', c.delivery ->> 'delivery_id', c.n
  ),
  put as (
    insert into metrics.deliveries as d (
      source, delivery_id, event, result, reason, size, sha256, content_type, fact_counts, notes, reference_ids, body_expires_on
    )
    select
      p.delivery ->> 'source',
      p.delivery ->> 'delivery_id',
      p.delivery ->> 'event',
      p.delivery ->> 'result',
      p.delivery ->> 'reason',
      (p.delivery ->> 'size')::integer,
      decode(p.delivery ->> 'sha256', 'hex'),
      p.delivery ->> 'content_type',
      p.counts,
      coalesce(array(select jsonb_array_elements_text(p.delivery -> 'notes')), '{}'),
      p.reference_ids,
      case when p.has_body then (now() at time zone 'UTC')::date + body_days end
    from plain as p
    order by 1, 2
    on conflict do nothing
    returning d.source, d.delivery_id, d.result, d.reason
  )
  select
    coalesce(array_agg(p.n order by p.n), '{}'),
    jsonb_object_agg(p.n, jsonb_build_object('result', i.result, 'reason', i.reason, 'delivery_id', i.delivery_id, 'facts', p.counts))
  into taken, answers
  from put as i
  join plain as p
    on p.delivery ->> 'source' = i.source
    and p.delivery ->> 'delivery_id' = i.delivery_id;

  insert into metrics.bodies (source, delivery_id, expires_on, body)
  select
    c.said -> 'delivery' ->> 'source',
    c.said -> 'delivery' ->> 'delivery_id',
    (now() at time zone 'UTC')::date + body_days,
    decode(c.said ->> 'body', 'base64')
  from jsonb_array_elements(calls) with ordinality as c (said, n)
  where c.n = any(taken)
    and c.said ->> 'body' is not null;

  select jsonb_object_agg(k.kind, k.list)
  into facts
  from (
    select e.kind, jsonb_agg(f.said order by c.n) as list
    from jsonb_array_elements(calls) with ordinality as c (said, n)
    cross join lateral jsonb_each(c.said -> 'facts') as e (kind, list)
    cross join lateral jsonb_array_elements(e.list) as f (said)
    where c.n = any(taken)
      and e.kind <> 'repositories'
    group by e.kind
  ) as k;
  select r.anew
  into repositories
  from metrics.repositories_said_anew(coalesce(
    (
      select jsonb_agg(f.said)
      from jsonb_array_elements(calls) with ordinality as c (said, n)
      cross join lateral jsonb_array_elements(c.said -> 'facts' -> 'repositories') as f (said)
      where c.n = any(taken)
    ),
    '[]'
  )) as r;
  if repositories <> '[]' then
    for claim in
      select c.*
      from metrics.new_claims(repositories) as c
      order by c.url
    loop
      if claim.present_repository_id is distinct from claim.claimant_repository_id or not metrics.claim_url(claim) then
        raise exception using
          errcode = '40001',
          message = 'a URL came to mean another repository: try again';
      end if;
    end loop;
  end if;
  if facts is not null then
    perform metrics.lock_counted(facts);
  end if;
  if repositories <> '[]' then
    perform metrics.keep_clocks(repositories);
  end if;
  if facts is not null then
    perform metrics.fold_facts(facts);
  end if;

  -- What was there before, or came twice in this list.
  return (
    select jsonb_agg(
      coalesce(
        answers -> c.n::text,
        case
          when d.result <> 'quarantined' then jsonb_build_object('result', 'duplicate', 'reason', null, 'delivery_id', d.delivery_id, 'facts', '{}'::jsonb)
        end
      )
      order by c.n
    )
    from jsonb_array_elements(calls) with ordinality as c (said, n)
    left join metrics.deliveries as d
      on d.source = c.said -> 'delivery' ->> 'source'
      and d.delivery_id = c.said -> 'delivery' ->> 'delivery_id'
      and d.sha256 = decode(c.said -> 'delivery' ->> 'sha256', 'hex')
      and not (c.said -> 'delivery') ? 'identity'
  );
end
$$;
revoke execute on function metrics.ingest_together(jsonb) from public;

comment on function metrics.ingest_together(jsonb) is 'Stores those of several calls that are plain in one transaction: new deliveries that carry no fact, or facts of known repositories, called as before, that depend on one row alone. Null stands for a call that was left alone.';

drop function if exists metrics.ingest(jsonb, jsonb, text);

create function metrics.ingest(delivery jsonb, facts jsonb default '{}', body text default null)
returns jsonb
language plpgsql
security definer
set search_path = ''
-- Every row is looked up by its key. A plan made while the tables were small or not yet analysed, which the session keeps, must not read
-- them whole, neither here nor in what is called from here; and as that is the plan whatever the values are, none is made for them.
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
-- Whoever waits holds one of the few sessions that the Data API has for everybody, the app included.
set lock_timeout = '3s'
as $$
declare
  fact_kinds constant text[] := array[
    'repositories', 'pipeline_runs', 'jobs', 'pull_requests', 'reviews', 'pushes', 'commits', 'deployments', 'releases', 'incidents',
    'test_runs', 'test_cases', 'rule_checks', 'measurements'
  ];
  joined_kinds text[] := array['pull_requests', 'reviews', 'pushes', 'commits', 'deployments', 'releases', 'incidents'];
  source_name constant text := delivery ->> 'source';
  hash constant bytea := decode(delivery ->> 'sha256', 'hex');
  id text := delivery ->> 'delivery_id';
  verdict text := delivery ->> 'result';
  why text := delivery ->> 'reason';
  earlier record;
  is_retry boolean := false;
  counts jsonb := '{}';
  names jsonb;
  unknown_kinds text;
  nameless_kinds text;
  new_names text[];
  repositories jsonb := '[]';
  has_news boolean := false;
  has_nameless boolean;
  holds_names boolean := false;
  joined_names text[] := '{}';
  named bigint[];
  locked bigint[] := '{}';
  moved bigint[] := '{}';
  touched_references bigint[] := '{}';
  touched_numbers integer[] := '{}';
  renamed bigint[] := '{}';
  concerned bigint[] := '{}';
  claim metrics.claim;
  claims metrics.claim[] := '{}';
  expires_on date;
  identity_id bigint;
begin
  if jsonb_typeof(delivery) = 'array' then
    return metrics.ingest_together(delivery);
  end if;
  if source_name is null or id is null or hash is null or verdict is null then
    raise exception using
      errcode = '22023',
      message = 'delivery needs source, delivery_id, sha256 and result';
  end if;

  if delivery ->> 'identity' is not null then
    identity_id := metrics.require_scope(delivery, facts);
  end if;

  if verdict = 'stored' then
    -- Erasing a repository waits for those who are adding to it, so that it leaves nothing behind that no reference leads to.
    perform pg_advisory_xact_lock_shared(hashtextextended('metrics.erasure', 0));
    -- Asked now that no rule can change any more. Runs are deployments where a rule says so.
    if facts ? 'pipeline_runs' and exists (select from metrics.services as s where s.source = 'pipeline') then
      joined_kinds := joined_kinds || array['pipeline_runs'];
    end if;
    select
      coalesce(jsonb_object_agg(e.kind, n.count) filter (where n.count > 0), '{}'),
      jsonb_object_agg(e.kind, n.names) filter (where n.names is not null),
      string_agg(e.kind, ', ') filter (where e.kind <> all(fact_kinds)),
      string_agg(e.kind, ', ') filter (where n.is_nameless and e.kind <> 'incidents')
    into counts, names, unknown_kinds, nameless_kinds
    from jsonb_each(facts) as e (kind, list)
    cross join lateral (
      select
        count(*) as count,
        jsonb_agg(distinct f.said ->> 'repository') filter (where f.said ->> 'repository' is not null) as names,
        bool_or(f.said ->> 'repository' is null) as is_nameless
      from jsonb_array_elements(e.list) as f (said)
    ) as n;
    select
      coalesce(array_agg(distinct r.id) filter (where r.id is not null), '{}'),
      array_agg(distinct n.name) filter (where r.id is null)
    into named, new_names
    from jsonb_array_elements_text(jsonb_path_query_array(names, '$.*[*]')) as n (name)
    left join metrics.repository_references as r
      on r.reference = n.name;
  end if;

  -- Nearly every delivery is new, and of repositories that are known: it is put in at once, and only else looked for.
  loop
    if unknown_kinds is null and nameless_kinds is null and new_names is null then
      insert into metrics.deliveries as d (
        source, delivery_id, event, result, reason, size, sha256, content_type, fact_counts, notes, reference_ids, body_expires_on,
        identity_id
      )
      values (
        source_name,
        id,
        delivery ->> 'event',
        verdict,
        why,
        (delivery ->> 'size')::integer,
        hash,
        delivery ->> 'content_type',
        counts,
        coalesce(array(select jsonb_array_elements_text(delivery -> 'notes')), '{}'),
        coalesce(named, '{}'),
        case
          when body is not null then (
            select (now() at time zone 'UTC')::date + case when verdict = 'quarantined' then s.quarantined_body_days else s.body_days end
            from metrics.settings as s
          )
        end,
        identity_id
      )
      on conflict do nothing
      returning d.body_expires_on
      into expires_on;
      exit when found;
    end if;

    select d.result, d.reason, d.sha256
    into earlier
    from metrics.deliveries as d
    where d.source = source_name
      and d.delivery_id = id;

    if found and earlier.sha256 <> hash then
      if identity_id is not null then
        raise exception using
          errcode = 'PT422',
          message = 'the delivery id came before with other bytes';
      end if;
      id := id || '#' || left(encode(hash, 'hex'), 12);
      verdict := 'quarantined';
      why := 'conflict: the delivery id came before with other bytes';
      facts := '{}';
      counts := '{}';
      named := null;
      new_names := null;
      unknown_kinds := null;
      nameless_kinds := null;
      continue;
    end if;

    if found then
      if earlier.result <> 'quarantined' then
        return jsonb_build_object('result', 'duplicate', 'reason', null, 'delivery_id', id, 'facts', '{}'::jsonb);
      end if;
      if verdict = 'quarantined' then
        return jsonb_build_object('result', 'quarantined', 'reason', earlier.reason, 'delivery_id', id, 'facts', '{}'::jsonb);
      end if;
      -- It was not understood then. Whoever tries the same one at the same time waits here, and then finds it done.
      perform
      from metrics.deliveries as d
      where d.source = source_name
        and d.delivery_id = id
        and d.result = 'quarantined'
      for update;
      if not found then
        return jsonb_build_object('result', 'duplicate', 'reason', null, 'delivery_id', id, 'facts', '{}'::jsonb);
      end if;
      is_retry := true;
    end if;

    if unknown_kinds is not null then
      raise exception using
        errcode = '22023',
        message = format('unknown fact kind: %s', unknown_kinds),
        hint = format('Fact kinds are %s.', array_to_string(fact_kinds, ', '));
    end if;
    if nameless_kinds is not null then
      raise exception using
        errcode = '22023',
        message = format('facts without a repository: %s', nameless_kinds);
    end if;
    if new_names is not null then
      named := named || metrics.ensure_references(new_names);
      new_names := null;
    end if;
    exit when is_retry;
  end loop;

  if is_retry then
    update metrics.deliveries as d
    set
      result = verdict,
      reason = why,
      event = coalesce(delivery ->> 'event', d.event),
      fact_counts = counts,
      notes = coalesce(array(select jsonb_array_elements_text(delivery -> 'notes')), '{}'),
      reference_ids = coalesce(named, '{}'),
      body_expires_on = case when verdict = 'ignored' then null else d.body_expires_on end
    where d.source = source_name
      and d.delivery_id = id;
    if verdict = 'ignored' then
      delete from metrics.bodies as b
      where b.source = source_name
        and b.delivery_id = id;
    end if;
  elsif body is not null then
    insert into metrics.bodies (source, delivery_id, expires_on, body)
    values (source_name, id, expires_on, decode(body, 'base64'));
  end if;

  if verdict <> 'stored' then
    return jsonb_build_object('result', verdict, 'reason', why, 'delivery_id', id, 'facts', '{}'::jsonb);
  end if;

  if facts ?| joined_kinds then
    joined_names := array(
      select distinct n.name
      from unnest(joined_kinds) as k (kind)
      cross join lateral jsonb_array_elements_text(names -> k.kind) as n (name)
    );
  end if;

  -- What joins facts, and a change of the map, happens under the locks of the repositories concerned.
  has_nameless := exists (
    select
    from jsonb_array_elements(facts -> 'incidents') as f (said)
    where f.said ->> 'repository' is null
  );
  loop
    if facts ? 'repositories' then
      select r.anew, r.has_news
      into repositories, has_news
      from metrics.repositories_said_anew(facts -> 'repositories') as r;
      if repositories <> '[]' then
        claims := array(
          select c
          from metrics.new_claims(repositories) as c
        );
      end if;
    end if;
    exit when holds_names or not (
      has_nameless
      or has_news
      or exists (
        select
        from unnest(claims) as c
        where c.present_repository_id is distinct from c.claimant_repository_id
      )
    );
    -- An incident that names a service by its name, and that name, must not miss each other. Before the repositories, always. It is one
    -- lock for all: not for a repository that is what it was. What is called how is looked up again, as somebody else may have held it.
    perform pg_advisory_xact_lock(hashtextextended('metrics.names', 0));
    holds_names := true;
    claims := '{}';
  end loop;
  if has_news then
    renamed := array(
      select r.repository_id
      from jsonb_array_elements(repositories) as f (said)
      join metrics.repository_references as r
        on r.reference = f.said ->> 'repository'
      join metrics.repositories as t
        on t.id = r.repository_id
      where (f.said ? 'full_name' and f.said ->> 'full_name' is distinct from t.full_name)
        or (f.said ? 'default_branch' and f.said ->> 'default_branch' is distinct from t.default_branch)
    );
  end if;
  if facts ? 'incidents' then
    concerned := metrics.repositories_of_incidents(facts -> 'incidents');
  end if;
  if cardinality(joined_names) > 0 or cardinality(claims) > 0 or cardinality(renamed) > 0 or cardinality(concerned) > 0 then
    concerned := array(
      select r.repository_id
      from metrics.repository_references as r
      where r.reference = any(joined_names)
      union
      select unnest(concerned)
      union
      select unnest(renamed)
    );
    locked := array(
      select unnest(concerned)
      union
      select unnest(array[c.claimant_repository_id, c.present_repository_id])
      from unnest(claims) as c
      where c.present_repository_id <> c.claimant_repository_id
    );
    perform metrics.lock_repositories(locked);
    if exists (
      select
      from metrics.repository_references as r
      where r.reference = any(joined_names)
        and r.repository_id <> all(locked)
    ) then
      raise exception using
        errcode = '40001',
        message = 'a repository reference came to mean another repository: try again';
    end if;
    if cardinality(joined_names) > 0 then
      select coalesce(array_agg(p.reference_id), '{}'), coalesce(array_agg(p.number), '{}')
      into touched_references, touched_numbers
      from metrics.pull_requests_touched_by(facts) as p;
    end if;
    foreach claim in array claims loop
      if not metrics.claim_url(claim) then
        raise exception using
          errcode = '40001',
          message = 'a URL came to mean another repository: try again';
      end if;
      if claim.present_repository_id <> claim.claimant_repository_id then
        moved := moved || array[claim.present_repository_id, claim.claimant_repository_id];
      end if;
    end loop;
  end if;

  if facts ?| array['test_runs', 'test_cases'] then
    facts := metrics.with_test_ids(facts);
  end if;

  perform metrics.lock_counted(facts);
  if facts ? 'repositories' then
    if not holds_names then
      perform metrics.keep_clocks(repositories);
      repositories := '[]';
    end if;
    facts := jsonb_set(facts, '{repositories}', repositories);
  end if;
  perform metrics.fold_facts(facts);

  if cardinality(moved) > 0 then
    perform metrics.settle_moved_repositories(moved);
  end if;
  if cardinality(joined_names) > 0 or cardinality(moved) > 0 then
    select coalesce(array_agg(p.reference_id), '{}') || touched_references, coalesce(array_agg(p.number), '{}') || touched_numbers
    into touched_references, touched_numbers
    from (
      select t.reference_id, t.number
      from metrics.pull_requests_touched_by(facts) as t
      union
      select q.reference_id, q.number
      from metrics.repository_references as r
      join metrics.pull_requests as q
        on q.reference_id = r.id
      where r.repository_id = any(moved)
    ) as p;
    perform metrics.derive_pull_requests(touched_references, touched_numbers);
  end if;
  if cardinality(concerned) > 0 or cardinality(moved) > 0 or facts ? 'incidents' then
    perform metrics.derive_deliveries(facts, source_name, concerned, moved, renamed, touched_references, touched_numbers);
  end if;

  return jsonb_build_object('result', 'stored', 'reason', null, 'delivery_id', id, 'facts', counts);
end
$$;
revoke execute on function metrics.ingest(jsonb, jsonb, text) from public;

comment on function metrics.ingest(jsonb, jsonb, text) is 'Stores a delivery, its facts and all that follows from them in one transaction. The only writer of facts. With an identity, only what that may tell: 28000, 42501, 22008, PT429, and PT422 for an id that came before with other bytes. In place of a delivery it takes a list of calls, {delivery, facts, body} each, and returns a list of what became of them in their order, with null for each that must be made by itself.';
