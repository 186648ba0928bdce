-- What is deployed, and where: services and the tiers of environments, by rules that belong to a generation.

set lock_timeout = '2s';
set statement_timeout = '60s';

create table if not exists metrics.services (
  id bigint generated always as identity primary key,
  generation integer not null,
  repository_id bigint not null,
  name text,
  position integer not null default 0,
  deployment_pattern text,
  environment_pattern text,
  path_globs text[],
  source text not null default 'deployments',
  pipeline text,
  rollout_pattern text,
  constraint service_name_is_not_empty check (btrim(name) <> '' and length(name) <= 200),
  constraint service_source_is_known check (source in ('deployments', 'pipeline', 'releases')),
  constraint only_a_service_of_runs_names_a_pipeline check ((source = 'pipeline') = (pipeline is not null)),
  constraint a_service_without_a_name_has_no_rules check (
    name is not null or (num_nonnulls(deployment_pattern, environment_pattern, path_globs, rollout_pattern) = 0 and source = 'deployments')
  )
);

create unique index if not exists services_name_idx on metrics.services (generation, name) where name is not null;
create index if not exists services_lower_name_idx on metrics.services (generation, lower(name)) where name is not null;
create unique index if not exists services_default_idx on metrics.services (generation, repository_id) where name is null;
create index if not exists services_repository_id_idx on metrics.services (generation, repository_id, position);

comment on table metrics.services is 'What is deployed. A repository is one service of its own name, or has the services that admins named.';
comment on column metrics.services.id is 'Key.';
comment on column metrics.services.generation is 'The generation that it belongs to.';
comment on column metrics.services.repository_id is 'Where its code lives.';
comment on column metrics.services.name is 'Name; NULL for the one that goes by its repository''s.';
comment on column metrics.services.position is 'A deployment belongs to the first service of its repository that it matches, by this.';
comment on column metrics.services.deployment_pattern is 'Regular expression for the names of its deployments; NULL for any.';
comment on column metrics.services.environment_pattern is 'Regular expression for the environments of its deployments; NULL for any.';
comment on column metrics.services.path_globs is 'Paths whose change is a change of it; NULL for all.';
comment on column metrics.services.source is 'What its deployments are told by: deployments, runs of a pipeline on the default branch, or releases.';
comment on column metrics.services.pipeline is 'The pipeline whose finished runs on the default branch are its deployments.';
comment on column metrics.services.rollout_pattern is 'Regular expression for the environments that one rollout goes to.';

create table if not exists metrics.environment_rules (
  generation integer not null,
  position integer not null,
  pattern text not null,
  tier text not null,
  constraint environment_rules_pkey primary key (generation, position),
  constraint environment_rule_is_unique unique (generation, pattern),
  constraint tier_is_known check (tier in ('production', 'staging', 'development', 'other'))
);

comment on table metrics.environment_rules is 'Which tier an environment is of, by its name. The first pattern that matches counts, before what the sender says.';
comment on column metrics.environment_rules.generation is 'The generation that it belongs to.';
comment on column metrics.environment_rules.position is 'Order of the rules.';
comment on column metrics.environment_rules.pattern is 'Regular expression for the environment''s name.';
comment on column metrics.environment_rules.tier is 'production, staging, development or other.';

create table if not exists metrics.environments (
  generation integer not null,
  name text not null,
  ruled_tier text,
  usual_tier text not null,
  constraint environments_pkey primary key (generation, name)
);

comment on table metrics.environments is 'Names of environments that were seen, matched once with every pattern.';
comment on column metrics.environments.generation is 'The generation that it belongs to.';
comment on column metrics.environments.name is 'Name of the environment.';
comment on column metrics.environments.ruled_tier is 'Tier by an admin''s rule; NULL where none matches.';
comment on column metrics.environments.usual_tier is 'Tier by what such a name usually means.';

create table if not exists metrics.bands (
  report_year integer not null,
  metric text not null,
  band text not null,
  rank integer not null,
  at_most double precision,
  below double precision,
  at_least double precision,
  source text not null,
  constraint bands_pkey primary key (report_year, metric, rank),
  constraint band_is_known check (band in ('elite', 'high', 'medium', 'low'))
);

comment on table metrics.bands is 'How the reports of DORA put a number into words. The first band, by rank, whose bound holds.';
comment on column metrics.bands.report_year is 'Year of the report.';
comment on column metrics.bands.metric is 'The number: seconds, a share from 0 to 1, deployment days a week; deployments in 30 days where those say nothing.';
comment on column metrics.bands.band is 'elite, high, medium or low.';
comment on column metrics.bands.rank is 'Order in which bounds are tried.';
comment on column metrics.bands.at_most is 'Holds up to and with this value.';
comment on column metrics.bands.below is 'Holds below this value.';
comment on column metrics.bands.at_least is 'Holds from this value on.';
comment on column metrics.bands.source is 'Where it is said.';

insert into metrics.bands (report_year, metric, band, rank, at_most, below, at_least, source)
select y.report_year, b.metric, b.band, b.rank, b.at_most, b.below, b.at_least, y.source
from (
  values
    (2023, 'Accelerate State of DevOps Report 2023'),
    (2021, 'Accelerate State of DevOps Report 2021')
) as y (report_year, source)
join (
  values
    (2023, 'deployment_frequency', 'elite', 1, null, null, 5),
    (2023, 'deployment_frequency', 'high', 2, null, null, 1),
    (2023, 'deployments_per_month', 'medium', 1, null, null, 1),
    (2023, 'deployments_per_month', 'low', 2, null, null, 0),
    (2023, 'change_lead_time', 'elite', 1, null, 86400, null),
    (2023, 'change_lead_time', 'high', 2, null, 604800, null),
    (2023, 'change_lead_time', 'medium', 3, null, 2592000, null),
    (2023, 'change_lead_time', 'low', 4, null, null, 0),
    (2023, 'change_fail_rate', 'elite', 1, 0.05, null, null),
    (2023, 'change_fail_rate', 'high', 2, 0.10, null, null),
    (2023, 'change_fail_rate', 'medium', 3, 0.15, null, null),
    (2023, 'change_fail_rate', 'low', 4, null, null, 0),
    (2023, 'failed_deployment_recovery_time', 'elite', 1, null, 3600, null),
    (2023, 'failed_deployment_recovery_time', 'high', 2, null, 86400, null),
    (2023, 'failed_deployment_recovery_time', 'medium', 3, null, 604800, null),
    (2023, 'failed_deployment_recovery_time', 'low', 4, null, null, 0),
    (2021, 'deployment_frequency', 'elite', 1, null, null, 5),
    (2021, 'deployments_per_month', 'high', 1, null, null, 1),
    (2021, 'deployments_per_month', 'medium', 2, null, null, 1.0 / 6),
    (2021, 'deployments_per_month', 'low', 3, null, null, 0),
    (2021, 'change_lead_time', 'elite', 1, null, 3600, null),
    (2021, 'change_lead_time', 'high', 2, null, 604800, null),
    (2021, 'change_lead_time', 'medium', 3, null, 15552000, null),
    (2021, 'change_lead_time', 'low', 4, null, null, 0),
    (2021, 'change_fail_rate', 'elite', 1, 0.15, null, null),
    (2021, 'change_fail_rate', 'high', 2, 0.20, null, null),
    (2021, 'change_fail_rate', 'medium', 3, 0.30, null, null),
    (2021, 'change_fail_rate', 'low', 4, null, null, 0),
    (2021, 'failed_deployment_recovery_time', 'elite', 1, null, 3600, null),
    (2021, 'failed_deployment_recovery_time', 'high', 2, null, 86400, null),
    (2021, 'failed_deployment_recovery_time', 'medium', 3, null, 604800, null),
    (2021, 'failed_deployment_recovery_time', 'low', 4, null, null, 0)
) as b (report_year, metric, band, rank, at_most, below, at_least)
  on b.report_year = y.report_year
on conflict do nothing;

-- Postgres matches without going back over the text as long as nothing refers to what was matched before, so that with a bound on the length
-- no pattern can keep it busy.
drop function if exists metrics.checked_pattern(text, text);

create function metrics.checked_pattern(argument text, pattern text)
returns text
language plpgsql
immutable
set search_path = ''
as $$
begin
  if length(pattern) > 200 then
    raise exception using
      errcode = '22023',
      message = format('%s is longer than 200 characters: %s…', argument, left(pattern, 50));
  end if;
  if pattern ~ '\\[1-9]' then
    raise exception using
      errcode = '22023',
      message = format('%s must not refer back to what it matched: %s', argument, pattern),
      hint = 'Write the expression without \1 to \9.';
  end if;
  begin
    perform '' ~ pattern;
  exception
    when others then
      raise exception using
        errcode = '22023',
        message = format('%s is no regular expression: %s', argument, pattern),
        detail = sqlerrm,
        hint = 'Use the syntax of POSIX regular expressions, for example ^prod-.';
  end;
  return nullif(pattern, '');
end
$$;
revoke execute on function metrics.checked_pattern(text, text) from public;

comment on function metrics.checked_pattern(text, text) is 'The regular expression, if it is one that cannot take long. Raises 22023 otherwise.';

drop function if exists metrics.glob_pattern(text);

create function metrics.glob_pattern(glob text)
returns text
language sql
immutable
set search_path = ''
as $$
  -- What stands for ** holds the signs that * and ? are replaced by, so it is put in last.
  select '^' || replace(
    replace(
      replace(
        replace(
          replace(
            replace(regexp_replace(glob, '([.+^$()\[\]{}|\\])', '\\\1', 'g'), '**/', chr(1)),
            '**',
            chr(2)
          ),
          '*',
          '[^/]*'
        ),
        '?',
        '[^/]'
      ),
      chr(1),
      '(.*/)?'
    ),
    chr(2),
    '.*'
  ) || '$'
$$;
revoke execute on function metrics.glob_pattern(text) from public;

comment on function metrics.glob_pattern(text) is 'A glob as a regular expression: * and ? within a folder, ** over folders.';

drop function if exists metrics.tier_of(integer, text, text);

create function metrics.tier_of(generation integer, environment text, said text)
returns text
language plpgsql
set search_path = ''
as $$
declare
  seen record;
begin
  if environment is null then
    return coalesce(said, 'other');
  end if;
  select e.ruled_tier, e.usual_tier
  into seen
  from metrics.environments as e
  where e.generation = tier_of.generation
    and e.name = environment;
  if not found then
    select
      (
        select r.tier
        from metrics.environment_rules as r
        where r.generation = tier_of.generation
          and environment ~ r.pattern
        order by r.position
        limit 1
      ) as ruled_tier,
      case
        when n.name ~ '(^|[^a-z])(stag|staging|stage|stg|preprod|pre-prod|uat)([^a-z]|$)' then 'staging'
        when n.name ~ '(^|[^a-z])(prod|production|live|prd)([^a-z]|$)' then 'production'
        when n.name ~ '(^|[^a-z])(dev|development|test|testing|qa|preview|review|sandbox|local)([^a-z]|$)' then 'development'
        else 'other'
      end as usual_tier
    into seen
    from (select lower(environment) as name) as n;
    insert into metrics.environments (generation, name, ruled_tier, usual_tier)
    values (tier_of.generation, environment, seen.ruled_tier, seen.usual_tier)
    on conflict do nothing;
  end if;
  return coalesce(seen.ruled_tier, said, seen.usual_tier);
end
$$;
revoke execute on function metrics.tier_of(integer, text, text) from public;

comment on function metrics.tier_of(integer, text, text) is 'The tier of an environment: by an admin''s rule, else what the sender said, else what such a name usually means. Matched once for each name.';

-- An incident that names no repository is about whatever service has the name that it gives, and so it is for those who may read that one.
create or replace function metrics.readable_service_names()
returns setof text
language plpgsql
stable
security definer
set search_path = ''
rows 200
as $$
begin
  return query
  select lower(coalesce(s.name, r.full_name, f.reference))
  from metrics.services as s
  join metrics.repositories as r
    on r.id = s.repository_id
  left join lateral (
    select n.reference
    from metrics.repository_references as n
    where n.repository_id = r.id
    order by n.source is null, n.reference collate "C"
    limit 1
  ) as f
    on s.name is null
    and r.full_name is null
  where s.generation = (select metrics.current_generation())
    and s.repository_id in (select metrics.readable_repositories());
end
$$;
revoke execute on function metrics.readable_service_names() from public;

comment on function metrics.readable_service_names() is 'Names, in lower case, of the services whose repository the signed-in member may read.';
