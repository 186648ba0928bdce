-- What reached its users, and what went wrong there: deployments, releases, incidents.

set lock_timeout = '2s';
set statement_timeout = '60s';

create table if not exists metrics.deployments (
  reference_id bigint not null,
  external_id text not null,
  name text,
  environment text,
  environment_tier text,
  commit_sha text,
  ref text,
  status text,
  outcome text,
  provider_outcome text,
  created_at timestamptz,
  started_at timestamptz,
  finished_at timestamptz,
  queue_seconds double precision generated always as (
    case when started_at >= created_at then extract(epoch from started_at - created_at) end
  ) stored,
  duration_seconds double precision generated always as (
    case when finished_at >= started_at then extract(epoch from finished_at - started_at) end
  ) stored,
  actor text,
  actor_is_bot boolean,
  url text,
  clocks jsonb not null default '{}',
  updated_at timestamptz not null default now(),
  constraint deployments_pkey primary key (reference_id, external_id),
  constraint environment_tier_is_known check (environment_tier in ('production', 'staging', 'development', 'other')),
  constraint status_is_known check (status in ('queued', 'running', 'finished')),
  constraint outcome_is_known check (
    outcome in ('success', 'failure', 'timed_out', 'error', 'cancelled', 'skipped', 'neutral', 'unknown')
  ),
  constraint outcome_waits_for_the_end check ((status = 'finished') or (outcome is null and finished_at is null)),
  constraint finished_has_an_outcome check (status is distinct from 'finished' or outcome is not null)
);

create index if not exists deployments_unknown_outcome_idx
  on metrics.deployments (reference_id)
  where outcome = 'unknown';
create index if not exists deployments_commit_sha_idx on metrics.deployments (reference_id, commit_sha);

comment on table metrics.deployments is 'Attempts to put a commit into an environment. Clocks compare by rank of the state, then time, then the provider''s id of the status.';
comment on column metrics.deployments.external_id is 'The sender''s id of the deployment.';
comment on column metrics.deployments.name is 'What was deployed or how, in the sender''s word. Merge: latest.';
comment on column metrics.deployments.environment is 'Name of the environment. Merge: latest.';
comment on column metrics.deployments.environment_tier is 'production, staging, development or other, where the sender says. Merge: latest.';
comment on column metrics.deployments.commit_sha is 'Commit that was deployed. Merge: latest.';
comment on column metrics.deployments.ref is 'Branch, tag or commit that was asked for. Merge: latest.';
comment on column metrics.deployments.status is 'queued, running or finished. Merge: latest.';
comment on column metrics.deployments.outcome is 'How it ended; NULL until finished. Merge: latest, with status.';
comment on column metrics.deployments.provider_outcome is 'The provider''s own word for it. Merge: latest, with status.';
comment on column metrics.deployments.created_at is 'When it was asked for. Merge: earliest.';
comment on column metrics.deployments.started_at is 'When it started. Merge: earliest.';
comment on column metrics.deployments.finished_at is 'When it ended. Merge: latest, with status.';
comment on column metrics.deployments.queue_seconds is 'Seconds from created to started; NULL when either is missing or the clock runs backwards.';
comment on column metrics.deployments.duration_seconds is 'Seconds from started to finished; NULL when either is missing or the clock runs backwards.';
comment on column metrics.deployments.actor is 'Login of who deployed. Merge: latest.';
comment on column metrics.deployments.actor_is_bot is 'Whether the actor is a bot. Merge: latest, with actor.';
comment on column metrics.deployments.url is 'Link to the provider. Merge: latest.';

create table if not exists metrics.releases (
  reference_id bigint not null,
  external_id text not null,
  tag text,
  commit_sha text,
  name text,
  is_draft boolean,
  is_prerelease boolean,
  is_withdrawn boolean,
  created_at timestamptz,
  published_at timestamptz,
  url text,
  clocks jsonb not null default '{}',
  updated_at timestamptz not null default now(),
  constraint releases_pkey primary key (reference_id, external_id)
);

comment on table metrics.releases is 'Published versions. Clocks compare by time.';
comment on column metrics.releases.external_id is 'The sender''s id of the release.';
comment on column metrics.releases.tag is 'Tag. Merge: latest.';
comment on column metrics.releases.commit_sha is 'Commit of the tag, where the sender says. Merge: latest.';
comment on column metrics.releases.name is 'Name. Merge: latest.';
comment on column metrics.releases.is_draft is 'Whether it is a draft. Merge: latest.';
comment on column metrics.releases.is_prerelease is 'Whether it is a pre-release. Merge: latest.';
comment on column metrics.releases.is_withdrawn is 'Whether it was deleted or unpublished. Merge: latest.';
comment on column metrics.releases.created_at is 'When it was made. Merge: earliest.';
comment on column metrics.releases.published_at is 'When it was published. Merge: latest.';
comment on column metrics.releases.url is 'Link to the provider. Merge: latest.';

create table if not exists metrics.incidents (
  source text not null,
  external_id text not null,
  reference_id bigint,
  service text,
  title text,
  severity text,
  status text,
  opened_at timestamptz,
  acknowledged_at timestamptz,
  resolved_at timestamptz,
  is_withdrawn boolean,
  deployment_external_id text,
  commit_sha text,
  url text,
  clocks jsonb not null default '{}',
  updated_at timestamptz not null default now(),
  constraint incidents_pkey primary key (source, external_id),
  constraint status_is_known check (status in ('open', 'acknowledged', 'resolved')),
  constraint only_a_resolved_incident_has_an_end check (status = 'resolved' or resolved_at is null)
);

create index if not exists incidents_reference_id_idx on metrics.incidents (reference_id);
create index if not exists incidents_deployment_idx on metrics.incidents (reference_id, deployment_external_id) where deployment_external_id is not null;
create index if not exists incidents_opened_at_idx on metrics.incidents (reference_id, opened_at);
create index if not exists incidents_service_idx on metrics.incidents (lower(service), opened_at) where reference_id is null;

comment on table metrics.incidents is 'Outages and degradations. Clocks compare by time, then rank of the state.';
comment on column metrics.incidents.source is 'The configured sender.';
comment on column metrics.incidents.external_id is 'The sender''s id of the incident.';
comment on column metrics.incidents.reference_id is 'Repository that it is about, where the sender says. Merge: latest.';
comment on column metrics.incidents.service is 'Service that it is about, in the sender''s word. Merge: latest.';
comment on column metrics.incidents.title is 'Title. Merge: latest.';
comment on column metrics.incidents.severity is 'Severity, in the sender''s word. Merge: latest.';
comment on column metrics.incidents.status is 'open, acknowledged or resolved. Merge: latest.';
comment on column metrics.incidents.opened_at is 'When it began. Merge: earliest.';
comment on column metrics.incidents.acknowledged_at is 'When somebody took it. Merge: earliest.';
comment on column metrics.incidents.resolved_at is 'When it ended; NULL while it lasts. Merge: latest, with status.';
comment on column metrics.incidents.is_withdrawn is 'Whether the sender took it back: it was no incident. Merge: latest.';
comment on column metrics.incidents.deployment_external_id is 'Deployment that it names as its cause. Merge: latest.';
comment on column metrics.incidents.commit_sha is 'Commit that it names as its cause. Merge: latest.';
comment on column metrics.incidents.url is 'Link to the provider. Merge: latest.';
