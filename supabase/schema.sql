-- The schema metrics as the migrations leave it, to be read and compared; it is never applied.
-- Made by "deno task schema" with the query tools/deploy/catalog.sql: change a migration, then run that.

-- schema metrics
create schema metrics authorization postgres;
grant usage on schema metrics to authenticated;
grant usage on schema metrics to metrics_reader;
grant usage on schema metrics to service_role;
comment on schema metrics is 'CI/CD and delivery metrics. Nothing outside this schema belongs to it, and the app beside it depends on none of it.';

-- type metrics.claim
create type metrics.claim as (
  url text,
  claimant text,
  claimant_repository_id bigint,
  clock text,
  present_repository_id bigint
);

-- table metrics.audit
create table metrics.audit (
  id bigint generated always as identity not null,
  happened_at timestamp with time zone default now() not null,
  actor text not null,
  action text not null,
  before jsonb,
  after jsonb
);
alter table metrics.audit add constraint audit_pkey PRIMARY KEY (id);
alter table metrics.audit enable row level security;
create policy members_read on metrics.audit
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND ( SELECT metrics.is_admin() AS is_admin)));
grant select on table metrics.audit to authenticated;
comment on column metrics.audit.action is 'The function that was called.';
comment on column metrics.audit.actor is 'Who: the user''s id, or the database role.';
comment on column metrics.audit.after is 'What is there now.';
comment on column metrics.audit.before is 'What was there before.';
comment on column metrics.audit.happened_at is 'When.';
comment on column metrics.audit.id is 'Key.';
comment on table metrics.audit is 'One row for each change that a person made; never a secret.';

-- table metrics.bodies
create table metrics.bodies (
  source text not null,
  delivery_id text not null,
  expires_on date not null,
  body bytea not null
) partition by RANGE (expires_on);
alter table metrics.bodies add constraint bodies_pkey PRIMARY KEY (source, delivery_id, expires_on);
alter table metrics.bodies enable row level security;
comment on column metrics.bodies.body is 'The signed bytes themselves, or, where the source had to remove secrets, the body without them.';
comment on column metrics.bodies.delivery_id is 'The delivery''s id.';
comment on column metrics.bodies.expires_on is 'The day from which this row may be dropped: the partition key.';
comment on column metrics.bodies.source is 'The delivery''s source.';
comment on table metrics.bodies is 'Bodies of deliveries, one partition per week of expiry. Read through metrics.read_body alone.';

-- table metrics.bodies_<YYYYMMDD>
create table metrics.bodies_<YYYYMMDD> partition of metrics.bodies FOR VALUES FROM (<that Monday>) TO (<the Monday after>) (
  source text not null,
  delivery_id text not null,
  expires_on date not null,
  body bytea not null
);
alter table metrics.bodies_<YYYYMMDD> add constraint bodies_<YYYYMMDD>_pkey PRIMARY KEY (source, delivery_id, expires_on);
alter table metrics.bodies_<YYYYMMDD> enable row level security;
comment on table metrics.bodies_<YYYYMMDD> is 'Bodies that expire in the week of this Monday.';

-- table metrics.bodies_default
create table metrics.bodies_default partition of metrics.bodies DEFAULT (
  source text not null,
  delivery_id text not null,
  expires_on date not null,
  body bytea not null
);
alter table metrics.bodies_default add constraint bodies_default_pkey PRIMARY KEY (source, delivery_id, expires_on);
alter table metrics.bodies_default enable row level security;
comment on column metrics.bodies_default.body is 'The body.';
comment on column metrics.bodies_default.delivery_id is 'The delivery''s id.';
comment on column metrics.bodies_default.expires_on is 'The day from which this row may be dropped.';
comment on column metrics.bodies_default.source is 'The delivery''s source.';
comment on table metrics.bodies_default is 'Bodies whose week has no partition yet.';

-- table metrics.commits
create table metrics.commits (
  reference_id bigint not null,
  sha text not null,
  authored_at timestamp with time zone,
  committed_at timestamp with time zone,
  author text,
  author_is_bot boolean,
  title text,
  reverts text[],
  changed_paths text[],
  clocks jsonb default '{}'::jsonb not null,
  updated_at timestamp with time zone default now() not null
);
alter table metrics.commits add constraint commits_pkey PRIMARY KEY (reference_id, sha);
alter table metrics.commits enable row level security;
create policy members_read on metrics.commits
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (reference_id >= ( SELECT metrics.first_readable_id() AS first_readable_id)) AND (reference_id IN ( SELECT metrics.readable_references() AS readable_references))));
create policy readers_read on metrics.commits
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.commits to authenticated;
grant select on table metrics.commits to metrics_reader;
comment on column metrics.commits.author is 'Login of the author, else the name; never an address. Merge: latest.';
comment on column metrics.commits.author_is_bot is 'Whether the author is a bot. Merge: latest, with author.';
comment on column metrics.commits.authored_at is 'When the change was written. Merge: earliest.';
comment on column metrics.commits.changed_paths is 'Paths added, changed or removed; NULL where the push does not list them. Merge: latest.';
comment on column metrics.commits.clocks is 'Clock of the observation that each latest column, or group by its first column, comes from.';
comment on column metrics.commits.committed_at is 'When this commit was made of it. Merge: earliest.';
comment on column metrics.commits.reference_id is 'Repository reference, as the sender named it.';
comment on column metrics.commits.reverts is 'Commits that it says it reverts. Merge: latest.';
comment on column metrics.commits.sha is 'The commit''s id.';
comment on column metrics.commits.title is 'First line of the message. Merge: latest.';
comment on column metrics.commits.updated_at is 'When this row last changed here. Never part of a fact.';
comment on table metrics.commits is 'Commits. Clocks compare by time.';

-- table metrics.deliveries
create table metrics.deliveries (
  source text not null,
  delivery_id text not null,
  event text,
  received_at timestamp with time zone default now() not null,
  result text not null,
  reason text,
  size integer,
  sha256 bytea not null,
  content_type text,
  fact_counts jsonb default '{}'::jsonb not null,
  notes text[] default '{}'::text[] not null,
  reference_ids bigint[] default '{}'::bigint[] not null,
  body_expires_on date,
  identity_id bigint
);
alter table metrics.deliveries add constraint deliveries_pkey PRIMARY KEY (source, delivery_id);
alter table metrics.deliveries add constraint delivery_id_is_short CHECK (((length(delivery_id) >= 1) AND (length(delivery_id) <= 300)));
alter table metrics.deliveries add constraint reason_stands_beside_what_was_not_stored CHECK (((result = 'stored'::text) = (reason IS NULL)));
alter table metrics.deliveries add constraint result_is_known CHECK ((result = ANY (ARRAY['stored'::text, 'ignored'::text, 'quarantined'::text])));
alter table metrics.deliveries add constraint sha256_is_32_bytes CHECK ((octet_length(sha256) = 32));
alter table metrics.deliveries add constraint source_is_a_source_name CHECK (((source ~ '^[a-z0-9]+(-[a-z0-9]+)*$'::text) AND (length(source) <= 100)));
CREATE INDEX deliveries_identity_id_received_at_idx ON metrics.deliveries USING btree (identity_id, received_at) WHERE (identity_id IS NOT NULL);
CREATE INDEX deliveries_source_received_at_idx ON metrics.deliveries USING btree (source, received_at);
alter table metrics.deliveries enable row level security;
create policy members_read on metrics.deliveries
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (source >= ( SELECT metrics.first_readable_text() AS first_readable_text)) AND ( SELECT metrics.is_admin() AS is_admin)));
create policy readers_read on metrics.deliveries
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.deliveries to authenticated;
grant select on table metrics.deliveries to metrics_reader;
comment on column metrics.deliveries.body_expires_on is 'The day on which its body may be dropped; NULL when none was kept.';
comment on column metrics.deliveries.content_type is 'Media type of the body as it is kept.';
comment on column metrics.deliveries.delivery_id is 'The sender''s id of the delivery. A conflict is kept under <id>#<first 12 hex of its SHA-256>.';
comment on column metrics.deliveries.event is 'The provider''s event and action, as event or event.action.';
comment on column metrics.deliveries.fact_counts is 'Observations by fact kind.';
comment on column metrics.deliveries.identity_id is 'The identity that reported it; NULL for a webhook.';
comment on column metrics.deliveries.notes is 'What normalisation changed in the facts: cut texts, replaced characters, numbers out of range.';
comment on column metrics.deliveries.reason is 'Why it was ignored or quarantined; NULL when stored.';
comment on column metrics.deliveries.received_at is 'When it was committed here first. Never part of a fact.';
comment on column metrics.deliveries.reference_ids is 'Repository references that its facts name, for erasing a repository.';
comment on column metrics.deliveries.result is 'stored, ignored or quarantined.';
comment on column metrics.deliveries.sha256 is 'SHA-256 of the bytes that were signed.';
comment on column metrics.deliveries.size is 'Bytes that were signed.';
comment on column metrics.deliveries.source is 'The configured sender.';
comment on table metrics.deliveries is 'One authenticated HTTP request each, with what became of it.';

-- table metrics.deployments
create table metrics.deployments (
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
  created_at timestamp with time zone,
  started_at timestamp with time zone,
  finished_at timestamp with time zone,
  queue_seconds double precision generated always as (
CASE
    WHEN (started_at >= created_at) THEN EXTRACT(epoch FROM (started_at - created_at))
    ELSE NULL::numeric
END) stored,
  duration_seconds double precision generated always as (
CASE
    WHEN (finished_at >= started_at) THEN EXTRACT(epoch FROM (finished_at - started_at))
    ELSE NULL::numeric
END) stored,
  actor text,
  actor_is_bot boolean,
  url text,
  clocks jsonb default '{}'::jsonb not null,
  updated_at timestamp with time zone default now() not null
);
alter table metrics.deployments add constraint deployments_pkey PRIMARY KEY (reference_id, external_id);
alter table metrics.deployments add constraint environment_tier_is_known CHECK ((environment_tier = ANY (ARRAY['production'::text, 'staging'::text, 'development'::text, 'other'::text])));
alter table metrics.deployments add constraint finished_has_an_outcome CHECK (((status IS DISTINCT FROM 'finished'::text) OR (outcome IS NOT NULL)));
alter table metrics.deployments add constraint outcome_is_known CHECK ((outcome = ANY (ARRAY['success'::text, 'failure'::text, 'timed_out'::text, 'error'::text, 'cancelled'::text, 'skipped'::text, 'neutral'::text, 'unknown'::text])));
alter table metrics.deployments add constraint outcome_waits_for_the_end CHECK (((status = 'finished'::text) OR ((outcome IS NULL) AND (finished_at IS NULL))));
alter table metrics.deployments add constraint status_is_known CHECK ((status = ANY (ARRAY['queued'::text, 'running'::text, 'finished'::text])));
CREATE INDEX deployments_unknown_outcome_idx ON metrics.deployments USING btree (reference_id) WHERE (outcome = 'unknown'::text);
alter table metrics.deployments enable row level security;
create policy members_read on metrics.deployments
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (reference_id >= ( SELECT metrics.first_readable_id() AS first_readable_id)) AND (reference_id IN ( SELECT metrics.readable_references() AS readable_references))));
create policy readers_read on metrics.deployments
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.deployments to authenticated;
grant select on table metrics.deployments to metrics_reader;
comment on column metrics.deployments.actor is 'Login of who deployed. Merge: latest.';
comment on column metrics.deployments.actor_is_bot is 'Whether the actor is a bot. Merge: latest, with actor.';
comment on column metrics.deployments.clocks is 'Clock of the observation that each latest column, or group by its first column, comes from.';
comment on column metrics.deployments.commit_sha is 'Commit that was deployed. Merge: latest.';
comment on column metrics.deployments.created_at is 'When it was asked for. Merge: earliest.';
comment on column metrics.deployments.duration_seconds is 'Seconds from started to finished; NULL when either is missing or the clock runs backwards.';
comment on column metrics.deployments.environment is 'Name of the environment. Merge: latest.';
comment on column metrics.deployments.environment_tier is 'production, staging, development or other, where the sender says. Merge: latest.';
comment on column metrics.deployments.external_id is 'The sender''s id of the deployment.';
comment on column metrics.deployments.finished_at is 'When it ended. Merge: latest, with status.';
comment on column metrics.deployments.name is 'What was deployed or how, in the sender''s word. Merge: latest.';
comment on column metrics.deployments.outcome is 'How it ended; NULL until finished. Merge: latest, with status.';
comment on column metrics.deployments.provider_outcome is 'The provider''s own word for it. Merge: latest, with status.';
comment on column metrics.deployments.queue_seconds is 'Seconds from created to started; NULL when either is missing or the clock runs backwards.';
comment on column metrics.deployments.ref is 'Branch, tag or commit that was asked for. Merge: latest.';
comment on column metrics.deployments.reference_id is 'Repository reference, as the sender named it.';
comment on column metrics.deployments.started_at is 'When it started. Merge: earliest.';
comment on column metrics.deployments.status is 'queued, running or finished. Merge: latest.';
comment on column metrics.deployments.updated_at is 'When this row last changed here. Never part of a fact.';
comment on column metrics.deployments.url is 'Link to the provider. Merge: latest.';
comment on table metrics.deployments is 'Attempts to put a commit into an environment. Clocks compare by rank of the state, then time, then the provider''s id of the status.';

-- table metrics.identities
create table metrics.identities (
  id bigint generated always as identity not null,
  name text not null,
  kind text not null,
  provider text,
  issuer text,
  audience text,
  claims jsonb default '{}'::jsonb not null,
  token_sha256 bytea,
  sources text[] not null,
  repositories text[],
  fact_kinds text[] default ARRAY['test_runs'::text, 'test_cases'::text, 'rule_checks'::text, 'measurements'::text] not null,
  calls_per_minute integer default 60 not null,
  created_at timestamp with time zone default now() not null,
  expires_at timestamp with time zone,
  revoked_at timestamp with time zone
);
alter table metrics.identities add constraint audience_is_not_empty CHECK ((audience <> ''::text));
alter table metrics.identities add constraint calls_per_minute_is_positive CHECK ((calls_per_minute > 0));
alter table metrics.identities add constraint claims_are_an_object CHECK ((jsonb_typeof(claims) = 'object'::text));
alter table metrics.identities add constraint claims_are_texts_with_a_star_only_at_the_end CHECK ((NOT jsonb_path_exists(claims, 'strict $.*?(((@.type() != "string" || @ == "") || @ == "*") || @ like_regex "[*].")'::jsonpath)));
alter table metrics.identities add constraint claims_name_their_owner_by_id CHECK (
CASE provider
    WHEN 'github'::text THEN (claims ?| ARRAY['repository_id'::text, 'repository_owner_id'::text])
    WHEN 'gitlab'::text THEN (claims ?| ARRAY['project_id'::text, 'namespace_id'::text])
    WHEN 'buildkite'::text THEN (claims ?| ARRAY['organization_id'::text, 'organization_slug'::text, 'pipeline_id'::text])
    WHEN 'circleci'::text THEN true
    ELSE NULL::boolean
END);
alter table metrics.identities add constraint fact_kinds_are_known CHECK (((cardinality(fact_kinds) > 0) AND (array_position(fact_kinds, NULL::text) IS NULL) AND (fact_kinds <@ ARRAY['repositories'::text, 'pipeline_runs'::text, 'jobs'::text, 'pull_requests'::text, 'reviews'::text, 'pushes'::text, 'commits'::text, 'deployments'::text, 'releases'::text, 'incidents'::text, 'test_runs'::text, 'test_cases'::text, 'rule_checks'::text, 'measurements'::text])));
alter table metrics.identities add constraint identities_pkey PRIMARY KEY (id);
alter table metrics.identities add constraint identity_name_is_not_empty CHECK (((btrim(name) <> ''::text) AND (length(name) <= 200)));
alter table metrics.identities add constraint ids_in_claims_are_exact CHECK ((NOT jsonb_path_exists(claims, '$.keyvalue()?(@."key" like_regex "(_id|_slug|/project-id)$" && @."value" like_regex "[*]$")'::jsonpath)));
alter table metrics.identities add constraint issuer_is_https_or_on_this_machine CHECK (((issuer ~ '^https://[^/?#@[:space:]]+(/[^?#[:space:]]*)?$'::text) OR (issuer ~ '^http://(127[.]0[.]0[.]1|\[::1\]|localhost)(:[0-9]+)?(/[^?#[:space:]]*)?$'::text)));
alter table metrics.identities add constraint kind_is_known CHECK ((kind = ANY (ARRAY['oidc'::text, 'token'::text])));
alter table metrics.identities add constraint more_than_reports_needs_a_ref_or_an_environment CHECK (((kind <> 'oidc'::text) OR (fact_kinds <@ ARRAY['test_runs'::text, 'test_cases'::text, 'rule_checks'::text, 'measurements'::text]) OR (
CASE provider
    WHEN 'github'::text THEN num_nonnulls("substring"((claims ->> 'ref'::text), '^refs/(?:heads|tags)/[^*]'::text), "substring"((claims ->> 'environment'::text), '[^*]$'::text))
    WHEN 'gitlab'::text THEN num_nonnulls("substring"((claims ->> 'ref_path'::text), '^refs/(?:heads|tags)/[^*]'::text), "substring"((claims ->> 'ref'::text), '[^*]$'::text), "substring"((claims ->> 'environment'::text), '[^*]$'::text))
    WHEN 'circleci'::text THEN num_nonnulls("substring"((claims ->> 'oidc.circleci.com/vcs-ref'::text), '^refs/(?:heads|tags)/[^*]'::text))
    WHEN 'buildkite'::text THEN num_nonnulls("substring"((claims ->> 'build_branch'::text), '^[^*]'::text))
    ELSE 0
END > 0)));
alter table metrics.identities add constraint oidc_has_a_provider_an_issuer_and_claims CHECK (((kind <> 'oidc'::text) OR ((num_nulls(provider, issuer) = 0) AND (claims <> '{}'::jsonb) AND (token_sha256 IS NULL))));
alter table metrics.identities add constraint provider_is_known CHECK ((provider = ANY (ARRAY['github'::text, 'gitlab'::text, 'circleci'::text, 'buildkite'::text])));
alter table metrics.identities add constraint repositories_are_references CHECK (((cardinality(repositories) > 0) AND (NOT jsonb_path_exists(to_jsonb(repositories), '$[*]?(@.type() != "string" || !(@ like_regex "^([a-z0-9]+(-[a-z0-9]+)*:[^[:cntrl:]]+|//[^[:cntrl:][:space:][:upper:]]+)$"))'::jsonpath))));
alter table metrics.identities add constraint sources_are_source_names CHECK (((cardinality(sources) > 0) AND (NOT jsonb_path_exists(to_jsonb(sources), '$[*]?(@.type() != "string" || !(@ like_regex "^[a-z0-9]+(-[a-z0-9]+)*$"))'::jsonpath))));
alter table metrics.identities add constraint token_has_its_hash_and_nothing_of_an_issuer CHECK (((kind <> 'token'::text) OR ((octet_length(token_sha256) = 32) AND (num_nonnulls(provider, issuer, audience) = 0) AND (claims = '{}'::jsonb))));
alter table metrics.identities add constraint tokens_of_buildkite_name_no_repository CHECK (((provider <> 'buildkite'::text) OR (repositories IS NOT NULL)));
CREATE UNIQUE INDEX identities_name_idx ON metrics.identities USING btree (name) WHERE (revoked_at IS NULL);
alter table metrics.identities enable row level security;
comment on column metrics.identities.audience is 'Audience that the token must name; NULL means the function''s own URL.';
comment on column metrics.identities.calls_per_minute is 'Deliveries that it may commit within 60 seconds.';
comment on column metrics.identities.claims is 'Claims that must match: exact, or with a trailing *.';
comment on column metrics.identities.created_at is 'When it was made.';
comment on column metrics.identities.expires_at is 'When it ends by itself.';
comment on column metrics.identities.fact_kinds is 'Fact kinds that it may tell.';
comment on column metrics.identities.id is 'Key.';
comment on column metrics.identities.issuer is 'Exact issuer of OIDC tokens.';
comment on column metrics.identities.kind is 'oidc or token.';
comment on column metrics.identities.name is 'Name, for people. Unique among what is not revoked.';
comment on column metrics.identities.provider is 'Whose claims the tokens of the issuer carry: github, gitlab, circleci or buildkite; NULL for a token.';
comment on column metrics.identities.repositories is 'Repository references that it may tell about. NULL means those of the source for a token, and the one in its claims for OIDC.';
comment on column metrics.identities.revoked_at is 'When it was revoked.';
comment on column metrics.identities.sources is 'Sources that it may report to.';
comment on column metrics.identities.token_sha256 is 'SHA-256 of the token; the token itself is never stored.';
comment on table metrics.identities is 'Machines that may report: OIDC issuers with the claims that must match, and tokens. Never deleted, so that deliveries can be traced.';

-- table metrics.incidents
create table metrics.incidents (
  source text not null,
  external_id text not null,
  reference_id bigint,
  service text,
  title text,
  severity text,
  status text,
  opened_at timestamp with time zone,
  acknowledged_at timestamp with time zone,
  resolved_at timestamp with time zone,
  is_withdrawn boolean,
  deployment_external_id text,
  commit_sha text,
  url text,
  clocks jsonb default '{}'::jsonb not null,
  updated_at timestamp with time zone default now() not null
);
alter table metrics.incidents add constraint incidents_pkey PRIMARY KEY (source, external_id);
alter table metrics.incidents add constraint only_a_resolved_incident_has_an_end CHECK (((status = 'resolved'::text) OR (resolved_at IS NULL)));
alter table metrics.incidents add constraint status_is_known CHECK ((status = ANY (ARRAY['open'::text, 'acknowledged'::text, 'resolved'::text])));
CREATE INDEX incidents_reference_id_idx ON metrics.incidents USING btree (reference_id);
alter table metrics.incidents enable row level security;
create policy members_read on metrics.incidents
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (source >= ( SELECT metrics.first_readable_text() AS first_readable_text)) AND ((reference_id IN ( SELECT metrics.readable_references() AS readable_references)) OR ( SELECT metrics.is_admin() AS is_admin))));
create policy readers_read on metrics.incidents
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.incidents to authenticated;
grant select on table metrics.incidents to metrics_reader;
comment on column metrics.incidents.acknowledged_at is 'When somebody took it. Merge: earliest.';
comment on column metrics.incidents.clocks is 'Clock of the observation that each latest column, or group by its first column, comes from.';
comment on column metrics.incidents.commit_sha is 'Commit that it names as its cause. Merge: latest.';
comment on column metrics.incidents.deployment_external_id is 'Deployment that it names as its cause. Merge: latest.';
comment on column metrics.incidents.external_id is 'The sender''s id of the incident.';
comment on column metrics.incidents.is_withdrawn is 'Whether the sender took it back: it was no incident. Merge: latest.';
comment on column metrics.incidents.opened_at is 'When it began. Merge: earliest.';
comment on column metrics.incidents.reference_id is 'Repository that it is about, where the sender says. Merge: latest.';
comment on column metrics.incidents.resolved_at is 'When it ended; NULL while it lasts. Merge: latest, with status.';
comment on column metrics.incidents.service is 'Service that it is about, in the sender''s word. Merge: latest.';
comment on column metrics.incidents.severity is 'Severity, in the sender''s word. Merge: latest.';
comment on column metrics.incidents.source is 'The configured sender.';
comment on column metrics.incidents.status is 'open, acknowledged or resolved. Merge: latest.';
comment on column metrics.incidents.title is 'Title. Merge: latest.';
comment on column metrics.incidents.updated_at is 'When this row last changed here. Never part of a fact.';
comment on column metrics.incidents.url is 'Link to the provider. Merge: latest.';
comment on table metrics.incidents is 'Outages and degradations. Clocks compare by time, then rank of the state.';

-- table metrics.jobs
create table metrics.jobs (
  reference_id bigint not null,
  external_id text not null,
  run_external_id text,
  attempt integer,
  pipeline text,
  name text,
  branch text,
  commit_sha text,
  runner_labels text[],
  status text,
  outcome text,
  provider_outcome text,
  queued_at timestamp with time zone,
  started_at timestamp with time zone,
  finished_at timestamp with time zone,
  queue_seconds double precision generated always as (
CASE
    WHEN (started_at >= queued_at) THEN EXTRACT(epoch FROM (started_at - queued_at))
    ELSE NULL::numeric
END) stored,
  duration_seconds double precision generated always as (
CASE
    WHEN (finished_at >= started_at) THEN EXTRACT(epoch FROM (finished_at - started_at))
    ELSE NULL::numeric
END) stored,
  steps jsonb,
  url text,
  clocks jsonb default '{}'::jsonb not null,
  updated_at timestamp with time zone default now() not null
);
alter table metrics.jobs add constraint attempt_is_counted_from_one CHECK ((attempt >= 1));
alter table metrics.jobs add constraint finished_has_an_outcome CHECK (((status IS DISTINCT FROM 'finished'::text) OR (outcome IS NOT NULL)));
alter table metrics.jobs add constraint jobs_pkey PRIMARY KEY (reference_id, external_id);
alter table metrics.jobs add constraint outcome_is_known CHECK ((outcome = ANY (ARRAY['success'::text, 'failure'::text, 'timed_out'::text, 'error'::text, 'cancelled'::text, 'skipped'::text, 'neutral'::text, 'unknown'::text])));
alter table metrics.jobs add constraint outcome_waits_for_the_end CHECK (((status = 'finished'::text) OR ((outcome IS NULL) AND (finished_at IS NULL))));
alter table metrics.jobs add constraint status_is_known CHECK ((status = ANY (ARRAY['queued'::text, 'running'::text, 'finished'::text])));
alter table metrics.jobs add constraint steps_are_a_list CHECK ((jsonb_typeof(steps) = 'array'::text));
CREATE INDEX jobs_time_idx ON metrics.jobs USING brin (COALESCE(finished_at, started_at, queued_at, updated_at));
CREATE INDEX jobs_unknown_outcome_idx ON metrics.jobs USING btree (reference_id) WHERE (outcome = 'unknown'::text);
alter table metrics.jobs enable row level security;
create policy members_read on metrics.jobs
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (reference_id >= ( SELECT metrics.first_readable_id() AS first_readable_id)) AND (reference_id IN ( SELECT metrics.readable_references() AS readable_references))));
create policy readers_read on metrics.jobs
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.jobs to authenticated;
grant select on table metrics.jobs to metrics_reader;
comment on column metrics.jobs.attempt is 'Attempt of the run that it belongs to. Merge: latest.';
comment on column metrics.jobs.branch is 'Head branch. Merge: latest.';
comment on column metrics.jobs.clocks is 'Clock of the observation that each latest column, or group by its first column, comes from.';
comment on column metrics.jobs.commit_sha is 'Commit that it ran for. Merge: latest.';
comment on column metrics.jobs.duration_seconds is 'Seconds from started to finished, without the queue; NULL when either is missing or the clock runs backwards.';
comment on column metrics.jobs.external_id is 'The sender''s id of the job.';
comment on column metrics.jobs.finished_at is 'When it ended. Merge: latest, with status.';
comment on column metrics.jobs.name is 'Name with its matrix values. Merge: latest.';
comment on column metrics.jobs.outcome is 'How it ended; NULL until finished. Merge: latest, with status.';
comment on column metrics.jobs.pipeline is 'Name of its workflow or pipeline, where the job itself says it. Merge: latest.';
comment on column metrics.jobs.provider_outcome is 'The provider''s own word for it. Merge: latest, with status.';
comment on column metrics.jobs.queue_seconds is 'Seconds from queued to started; NULL when either is missing or the clock runs backwards.';
comment on column metrics.jobs.queued_at is 'When it was asked for. Merge: earliest.';
comment on column metrics.jobs.reference_id is 'Repository reference, as the sender named it.';
comment on column metrics.jobs.run_external_id is 'The sender''s id of its run. Merge: latest.';
comment on column metrics.jobs.runner_labels is 'Labels of the runner that it asked for. Merge: latest.';
comment on column metrics.jobs.started_at is 'When it started. Merge: earliest.';
comment on column metrics.jobs.status is 'queued, running or finished. Merge: latest.';
comment on column metrics.jobs.steps is 'Its steps in order: number, name, status, outcome, started_at, finished_at. Merge: latest.';
comment on column metrics.jobs.updated_at is 'When this row last changed here. Never part of a fact.';
comment on column metrics.jobs.url is 'Link to the provider. Merge: latest.';
comment on table metrics.jobs is 'One attempt of a job within a run each. Clocks compare by rank of the state, then time.';

-- table metrics.measurements
create table metrics.measurements (
  reference_id bigint not null,
  name text not null,
  external_id text not null,
  value double precision,
  unit text,
  attributes jsonb,
  measured_at timestamp with time zone,
  clocks jsonb default '{}'::jsonb not null,
  updated_at timestamp with time zone default now() not null
);
alter table metrics.measurements add constraint attributes_are_an_object CHECK ((jsonb_typeof(attributes) = 'object'::text));
alter table metrics.measurements add constraint measurements_pkey PRIMARY KEY (reference_id, name, external_id);
CREATE INDEX measurements_measured_at_idx ON metrics.measurements USING btree (reference_id, name, measured_at);
alter table metrics.measurements enable row level security;
create policy members_read on metrics.measurements
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (reference_id >= ( SELECT metrics.first_readable_id() AS first_readable_id)) AND (reference_id IN ( SELECT metrics.readable_references() AS readable_references))));
create policy readers_read on metrics.measurements
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.measurements to authenticated;
grant select on table metrics.measurements to metrics_reader;
comment on column metrics.measurements.attributes is 'What it is about, by name. Merge: latest, with value.';
comment on column metrics.measurements.clocks is 'Clock of the observation that each latest column, or group by its first column, comes from.';
comment on column metrics.measurements.external_id is 'The sender''s id of the measurement.';
comment on column metrics.measurements.measured_at is 'When. Merge: latest, with value.';
comment on column metrics.measurements.name is 'Name of the number.';
comment on column metrics.measurements.reference_id is 'Repository reference, as the sender named it.';
comment on column metrics.measurements.unit is 'Its unit. Merge: latest, with value.';
comment on column metrics.measurements.updated_at is 'When this row last changed here. Never part of a fact.';
comment on column metrics.measurements.value is 'The number. Merge: latest.';
comment on table metrics.measurements is 'Named numbers. Clocks compare by time.';

-- table metrics.members
create table metrics.members (
  email text not null,
  role text not null,
  user_id uuid,
  added_at timestamp with time zone default now() not null,
  accepted_at timestamp with time zone
);
alter table metrics.members add constraint accepted_when_tied_to_a_user CHECK (((user_id IS NULL) = (accepted_at IS NULL)));
alter table metrics.members add constraint email_is_lower_case CHECK (((email = lower(email)) AND (email ~ '^[^@[:space:]]+@[^@[:space:]]+$'::text)));
alter table metrics.members add constraint member_is_one_user UNIQUE (user_id);
alter table metrics.members add constraint members_pkey PRIMARY KEY (email);
alter table metrics.members add constraint role_is_known CHECK ((role = ANY (ARRAY['viewer'::text, 'admin'::text])));
alter table metrics.members enable row level security;
create policy members_read on metrics.members
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (( SELECT metrics.is_admin() AS is_admin) OR (user_id = ( SELECT auth.uid() AS uid)))));
grant select on table metrics.members to authenticated;
comment on column metrics.members.accepted_at is 'When the signed-in user accepted.';
comment on column metrics.members.added_at is 'When the member was added.';
comment on column metrics.members.email is 'Address, in lower case, by which the member was added.';
comment on column metrics.members.role is 'viewer reads the repositories of its teams; admin reads everything and changes settings.';
comment on column metrics.members.user_id is 'The user''s id in auth.users once the membership was accepted.';
comment on table metrics.members is 'Who may read metrics. A member is tied to a user of the app on accepting; no foreign key, so deleting a user never waits for metrics.';

-- table metrics.pipeline_runs
create table metrics.pipeline_runs (
  reference_id bigint not null,
  external_id text not null,
  attempt integer not null,
  rerun_group text,
  pipeline text,
  number bigint,
  trigger text,
  branch text,
  on_default_branch boolean,
  commit_sha text,
  pull_request_numbers integer[],
  actor text,
  actor_is_bot boolean,
  status text,
  outcome text,
  provider_outcome text,
  queued_at timestamp with time zone,
  started_at timestamp with time zone,
  finished_at timestamp with time zone,
  queue_seconds double precision generated always as (
CASE
    WHEN (started_at >= queued_at) THEN EXTRACT(epoch FROM (started_at - queued_at))
    ELSE NULL::numeric
END) stored,
  duration_seconds double precision generated always as (
CASE
    WHEN (finished_at >= started_at) THEN EXTRACT(epoch FROM (finished_at - started_at))
    ELSE NULL::numeric
END) stored,
  url text,
  clocks jsonb default '{}'::jsonb not null,
  updated_at timestamp with time zone default now() not null
);
alter table metrics.pipeline_runs add constraint attempt_is_counted_from_one CHECK ((attempt >= 1));
alter table metrics.pipeline_runs add constraint finished_has_an_outcome CHECK (((status IS DISTINCT FROM 'finished'::text) OR (outcome IS NOT NULL)));
alter table metrics.pipeline_runs add constraint outcome_is_known CHECK ((outcome = ANY (ARRAY['success'::text, 'failure'::text, 'timed_out'::text, 'error'::text, 'cancelled'::text, 'skipped'::text, 'neutral'::text, 'unknown'::text])));
alter table metrics.pipeline_runs add constraint outcome_waits_for_the_end CHECK (((status = 'finished'::text) OR ((outcome IS NULL) AND (finished_at IS NULL))));
alter table metrics.pipeline_runs add constraint pipeline_runs_pkey PRIMARY KEY (reference_id, external_id, attempt);
alter table metrics.pipeline_runs add constraint status_is_known CHECK ((status = ANY (ARRAY['queued'::text, 'running'::text, 'finished'::text])));
CREATE INDEX pipeline_runs_unknown_outcome_idx ON metrics.pipeline_runs USING btree (reference_id) WHERE (outcome = 'unknown'::text);
alter table metrics.pipeline_runs enable row level security;
create policy members_read on metrics.pipeline_runs
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (reference_id >= ( SELECT metrics.first_readable_id() AS first_readable_id)) AND (reference_id IN ( SELECT metrics.readable_references() AS readable_references))));
create policy readers_read on metrics.pipeline_runs
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.pipeline_runs to authenticated;
grant select on table metrics.pipeline_runs to metrics_reader;
comment on column metrics.pipeline_runs.actor is 'Login of who started it. Merge: latest.';
comment on column metrics.pipeline_runs.actor_is_bot is 'Whether the actor is a bot. Merge: latest, with actor.';
comment on column metrics.pipeline_runs.attempt is 'The provider''s own number of the attempt, else 1.';
comment on column metrics.pipeline_runs.branch is 'Head branch. Merge: latest.';
comment on column metrics.pipeline_runs.clocks is 'Clock of the observation that each latest column, or group by its first column, comes from.';
comment on column metrics.pipeline_runs.commit_sha is 'Commit that it ran for. Merge: latest.';
comment on column metrics.pipeline_runs.duration_seconds is 'Seconds from started to finished, without the queue; NULL when either is missing or the clock runs backwards.';
comment on column metrics.pipeline_runs.external_id is 'The sender''s id of the run.';
comment on column metrics.pipeline_runs.finished_at is 'When it ended. Merge: latest, with status.';
comment on column metrics.pipeline_runs.number is 'The provider''s running number. Merge: latest.';
comment on column metrics.pipeline_runs.on_default_branch is 'Whether it ran on the default branch, where the sender says. Merge: latest.';
comment on column metrics.pipeline_runs.outcome is 'How it ended; NULL until finished. Merge: latest, with status.';
comment on column metrics.pipeline_runs.pipeline is 'Name of the workflow or pipeline. Merge: latest.';
comment on column metrics.pipeline_runs.provider_outcome is 'The provider''s own word for it. Merge: latest, with status.';
comment on column metrics.pipeline_runs.pull_request_numbers is 'Pull requests that it ran for; providers leave forks out. Merge: latest.';
comment on column metrics.pipeline_runs.queue_seconds is 'Seconds from queued to started; NULL when either is missing or the clock runs backwards.';
comment on column metrics.pipeline_runs.queued_at is 'When it was asked for. Merge: earliest.';
comment on column metrics.pipeline_runs.reference_id is 'Repository reference, as the sender named it.';
comment on column metrics.pipeline_runs.rerun_group is 'Runs with the same text are tries of the same thing. Merge: latest.';
comment on column metrics.pipeline_runs.started_at is 'When it started. Merge: earliest.';
comment on column metrics.pipeline_runs.status is 'queued, running or finished. Merge: latest.';
comment on column metrics.pipeline_runs.trigger is 'What started it, in the provider''s word. Merge: latest.';
comment on column metrics.pipeline_runs.updated_at is 'When this row last changed here. Never part of a fact.';
comment on column metrics.pipeline_runs.url is 'Link to the provider. Merge: latest.';
comment on table metrics.pipeline_runs is 'One attempt of a workflow or pipeline each. Clocks compare by rank of the state, then time.';

-- table metrics.pull_requests
create table metrics.pull_requests (
  reference_id bigint not null,
  number integer not null,
  title text,
  author text,
  author_is_bot boolean,
  head_branch text,
  base_branch text,
  is_fork boolean,
  head_sha text,
  merge_sha text,
  state text,
  is_draft boolean,
  labels text[],
  additions integer,
  deletions integer,
  changed_files integer,
  opened_at timestamp with time zone,
  ready_times timestamp with time zone[],
  merged_at timestamp with time zone,
  closed_at timestamp with time zone,
  url text,
  ready_at timestamp with time zone,
  first_commit_at timestamp with time zone,
  first_review_at timestamp with time zone,
  approved_at timestamp with time zone,
  clocks jsonb default '{}'::jsonb not null,
  updated_at timestamp with time zone default now() not null
);
alter table metrics.pull_requests add constraint only_a_merged_pull_request_has_a_merge_commit CHECK (((state = 'merged'::text) OR ((merge_sha IS NULL) AND (merged_at IS NULL))));
alter table metrics.pull_requests add constraint pull_requests_pkey PRIMARY KEY (reference_id, number);
alter table metrics.pull_requests add constraint state_is_known CHECK ((state = ANY (ARRAY['open'::text, 'closed'::text, 'merged'::text])));
CREATE INDEX pull_requests_head_branch_idx ON metrics.pull_requests USING btree (reference_id, head_branch);
CREATE INDEX pull_requests_head_sha_idx ON metrics.pull_requests USING btree (reference_id, head_sha);
CREATE INDEX pull_requests_merge_sha_idx ON metrics.pull_requests USING btree (reference_id, merge_sha) WHERE (merge_sha IS NOT NULL);
alter table metrics.pull_requests enable row level security;
create policy members_read on metrics.pull_requests
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (reference_id >= ( SELECT metrics.first_readable_id() AS first_readable_id)) AND (reference_id IN ( SELECT metrics.readable_references() AS readable_references))));
create policy readers_read on metrics.pull_requests
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.pull_requests to authenticated;
grant select on table metrics.pull_requests to metrics_reader;
comment on column metrics.pull_requests.additions is 'Lines added. Merge: latest.';
comment on column metrics.pull_requests.approved_at is 'Derived: the first approval by another human.';
comment on column metrics.pull_requests.author is 'Login of the author. Merge: latest.';
comment on column metrics.pull_requests.author_is_bot is 'Whether the author is a bot. Merge: latest, with author.';
comment on column metrics.pull_requests.base_branch is 'Branch that it goes to. Merge: latest.';
comment on column metrics.pull_requests.changed_files is 'Files changed. Merge: latest, with additions.';
comment on column metrics.pull_requests.clocks is 'Clock of the observation that each latest column, or group by its first column, comes from.';
comment on column metrics.pull_requests.closed_at is 'When it was closed, merged or not; NULL while open. Merge: latest, with state.';
comment on column metrics.pull_requests.deletions is 'Lines removed. Merge: latest, with additions.';
comment on column metrics.pull_requests.first_commit_at is 'Derived: the earliest authored_at among its own commits; NULL for forks.';
comment on column metrics.pull_requests.first_review_at is 'Derived: the first review by another human.';
comment on column metrics.pull_requests.head_branch is 'Branch that it comes from. Merge: latest.';
comment on column metrics.pull_requests.head_sha is 'Last commit of its branch. Merge: latest.';
comment on column metrics.pull_requests.is_draft is 'Whether it is a draft. Merge: latest.';
comment on column metrics.pull_requests.is_fork is 'Whether it comes from another repository. Merge: latest.';
comment on column metrics.pull_requests.labels is 'Labels. Merge: latest.';
comment on column metrics.pull_requests.merge_sha is 'Commit that it became on the base branch; only when merged. Merge: latest, with state.';
comment on column metrics.pull_requests.merged_at is 'When it was merged. Merge: latest, with state.';
comment on column metrics.pull_requests.number is 'Number within the repository.';
comment on column metrics.pull_requests.opened_at is 'When it was opened. Merge: earliest.';
comment on column metrics.pull_requests.ready_at is 'Derived: the latest of ready_times, or opened_at, before the first review.';
comment on column metrics.pull_requests.ready_times is 'Each time it was marked ready for review. Merge: union.';
comment on column metrics.pull_requests.reference_id is 'Repository reference, as the sender named it.';
comment on column metrics.pull_requests.state is 'open, closed or merged. Merge: latest.';
comment on column metrics.pull_requests.title is 'Title. Merge: latest.';
comment on column metrics.pull_requests.updated_at is 'When this row last changed here. Never part of a fact.';
comment on column metrics.pull_requests.url is 'Link to the provider. Merge: latest.';
comment on table metrics.pull_requests is 'Pull requests and merge requests, with the moments that phases are cut from. Clocks compare by time, then rank of the state.';

-- table metrics.pushes
create table metrics.pushes (
  id bigint generated always as identity not null,
  reference_id bigint not null,
  ref text not null,
  before text not null,
  after text not null,
  pushed_at timestamp with time zone,
  forced boolean,
  created boolean,
  deleted boolean,
  on_default_branch boolean,
  commits text[],
  truncated boolean,
  pusher text,
  pusher_is_bot boolean,
  clocks jsonb default '{}'::jsonb not null,
  updated_at timestamp with time zone default now() not null
);
alter table metrics.pushes add constraint push_is_unique UNIQUE NULLS NOT DISTINCT (reference_id, ref, before, after, pushed_at);
alter table metrics.pushes add constraint pushes_pkey PRIMARY KEY (id);
CREATE INDEX pushes_after_idx ON metrics.pushes USING btree (reference_id, after);
CREATE INDEX pushes_commits_idx ON metrics.pushes USING gin (commits);
alter table metrics.pushes enable row level security;
create policy members_read on metrics.pushes
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (id >= ( SELECT metrics.first_readable_id() AS first_readable_id)) AND (reference_id >= ( SELECT metrics.first_readable_id() AS first_readable_id)) AND (reference_id IN ( SELECT metrics.readable_references() AS readable_references))));
create policy readers_read on metrics.pushes
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.pushes to authenticated;
grant select on table metrics.pushes to metrics_reader;
comment on column metrics.pushes.after is 'Commit after the move; zeros when the ref is gone.';
comment on column metrics.pushes.before is 'Commit before the move; zeros when the ref is new.';
comment on column metrics.pushes.clocks is 'Clock of the observation that each latest column, or group by its first column, comes from.';
comment on column metrics.pushes.commits is 'Its commits in the provider''s order. Merge: latest.';
comment on column metrics.pushes.created is 'Whether the ref is new. Merge: latest.';
comment on column metrics.pushes.deleted is 'Whether the ref is gone. Merge: latest.';
comment on column metrics.pushes.forced is 'Whether history was rewritten. Merge: latest.';
comment on column metrics.pushes.id is 'Key, because pushed_at may be unknown.';
comment on column metrics.pushes.on_default_branch is 'Whether the ref was the default branch, as the push itself said. Merge: latest.';
comment on column metrics.pushes.pushed_at is 'When, by the provider''s clock; NULL where it does not say.';
comment on column metrics.pushes.pusher is 'Login of who pushed. Merge: latest.';
comment on column metrics.pushes.pusher_is_bot is 'Whether the pusher is a bot. Merge: latest, with pusher.';
comment on column metrics.pushes.ref is 'The full ref, for example refs/heads/main.';
comment on column metrics.pushes.reference_id is 'Repository reference, as the sender named it.';
comment on column metrics.pushes.truncated is 'Whether the provider listed only some of them. Merge: latest, with commits.';
comment on column metrics.pushes.updated_at is 'When this row last changed here. Never part of a fact.';
comment on table metrics.pushes is 'Moves of a branch or tag. Clocks compare by time.';

-- table metrics.releases
create table metrics.releases (
  reference_id bigint not null,
  external_id text not null,
  tag text,
  commit_sha text,
  name text,
  is_draft boolean,
  is_prerelease boolean,
  is_withdrawn boolean,
  created_at timestamp with time zone,
  published_at timestamp with time zone,
  url text,
  clocks jsonb default '{}'::jsonb not null,
  updated_at timestamp with time zone default now() not null
);
alter table metrics.releases add constraint releases_pkey PRIMARY KEY (reference_id, external_id);
alter table metrics.releases enable row level security;
create policy members_read on metrics.releases
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (reference_id >= ( SELECT metrics.first_readable_id() AS first_readable_id)) AND (reference_id IN ( SELECT metrics.readable_references() AS readable_references))));
create policy readers_read on metrics.releases
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.releases to authenticated;
grant select on table metrics.releases to metrics_reader;
comment on column metrics.releases.clocks is 'Clock of the observation that each latest column, or group by its first column, comes from.';
comment on column metrics.releases.commit_sha is 'Commit of the tag, where the sender says. Merge: latest.';
comment on column metrics.releases.created_at is 'When it was made. Merge: earliest.';
comment on column metrics.releases.external_id is 'The sender''s id of the release.';
comment on column metrics.releases.is_draft is 'Whether it is a draft. Merge: latest.';
comment on column metrics.releases.is_prerelease is 'Whether it is a pre-release. Merge: latest.';
comment on column metrics.releases.is_withdrawn is 'Whether it was deleted or unpublished. Merge: latest.';
comment on column metrics.releases.name is 'Name. Merge: latest.';
comment on column metrics.releases.published_at is 'When it was published. Merge: latest.';
comment on column metrics.releases.reference_id is 'Repository reference, as the sender named it.';
comment on column metrics.releases.tag is 'Tag. Merge: latest.';
comment on column metrics.releases.updated_at is 'When this row last changed here. Never part of a fact.';
comment on column metrics.releases.url is 'Link to the provider. Merge: latest.';
comment on table metrics.releases is 'Published versions. Clocks compare by time.';

-- table metrics.repositories
create table metrics.repositories (
  id bigint generated always as identity not null,
  full_name text,
  default_branch text,
  url text,
  clocks jsonb default '{}'::jsonb not null,
  updated_at timestamp with time zone default now() not null
);
alter table metrics.repositories add constraint repositories_pkey PRIMARY KEY (id);
alter table metrics.repositories enable row level security;
create policy members_read on metrics.repositories
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (id IN ( SELECT metrics.readable_repositories() AS readable_repositories))));
create policy readers_read on metrics.repositories
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.repositories to authenticated;
grant select on table metrics.repositories to metrics_reader;
comment on column metrics.repositories.clocks is 'Clock of the observation that each latest column, or group by its first column, comes from.';
comment on column metrics.repositories.default_branch is 'Name of the default branch. Merge: latest.';
comment on column metrics.repositories.full_name is 'Owner and name as the provider shows them. Merge: latest.';
comment on column metrics.repositories.id is 'Key.';
comment on column metrics.repositories.updated_at is 'When this row last changed here. Never part of a fact.';
comment on column metrics.repositories.url is 'Link to the repository as the provider shows it. Merge: latest.';
comment on table metrics.repositories is 'Where code lives. One row per (source, external_id), and one per URL that no such repository claims.';

-- table metrics.repository_references
create table metrics.repository_references (
  id bigint generated always as identity not null,
  reference text not null,
  source text,
  external_id text,
  url text,
  repository_id bigint not null,
  claim_clock text collate pg_catalog."C",
  claimed_by text collate pg_catalog."C"
);
alter table metrics.repository_references add constraint only_a_url_is_claimed CHECK (((claimed_by IS NULL) OR (url IS NOT NULL)));
alter table metrics.repository_references add constraint reference_is_an_external_id_or_a_url CHECK ((((url IS NULL) AND (source IS NOT NULL) AND (external_id IS NOT NULL) AND (reference = ((source || ':'::text) || external_id))) OR ((url IS NOT NULL) AND (source IS NULL) AND (external_id IS NULL) AND (reference = ('//'::text || url)))));
alter table metrics.repository_references add constraint repository_reference_belongs_to_a_repository FOREIGN KEY (repository_id) REFERENCES metrics.repositories(id);
alter table metrics.repository_references add constraint repository_reference_is_unique UNIQUE (reference);
alter table metrics.repository_references add constraint repository_references_pkey PRIMARY KEY (id);
CREATE INDEX repository_references_repository_id_idx ON metrics.repository_references USING btree (repository_id);
alter table metrics.repository_references enable row level security;
create policy members_read on metrics.repository_references
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (repository_id IN ( SELECT metrics.readable_repositories() AS readable_repositories))));
create policy readers_read on metrics.repository_references
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.repository_references to authenticated;
grant select on table metrics.repository_references to metrics_reader;
comment on column metrics.repository_references.claim_clock is 'Clock of the observation by which a repository last said that this URL is its own. Merge: latest.';
comment on column metrics.repository_references.claimed_by is 'Reference of the repository that said so. Merge: latest, with claim_clock.';
comment on column metrics.repository_references.external_id is 'The sender''s own id of the repository; NULL for a URL.';
comment on column metrics.repository_references.id is 'Key, kept by facts.';
comment on column metrics.repository_references.reference is 'The reference as text: source:external_id, or //host/path.';
comment on column metrics.repository_references.repository_id is 'The repository that this reference means now.';
comment on column metrics.repository_references.source is 'The sender that uses this id; NULL for a URL.';
comment on column metrics.repository_references.url is 'Normalised URL host/path; NULL for an external id.';
comment on table metrics.repository_references is 'How senders name repositories, and which repository each name means. Facts keep the reference, so a rename moves no fact.';

-- table metrics.reviews
create table metrics.reviews (
  reference_id bigint not null,
  external_id text not null,
  pull_request_number integer,
  reviewer text,
  reviewer_is_bot boolean,
  state text,
  submitted_at timestamp with time zone,
  url text,
  clocks jsonb default '{}'::jsonb not null,
  updated_at timestamp with time zone default now() not null
);
alter table metrics.reviews add constraint reviews_pkey PRIMARY KEY (reference_id, external_id);
CREATE INDEX reviews_pull_request_idx ON metrics.reviews USING btree (reference_id, pull_request_number);
alter table metrics.reviews enable row level security;
create policy members_read on metrics.reviews
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (reference_id >= ( SELECT metrics.first_readable_id() AS first_readable_id)) AND (reference_id IN ( SELECT metrics.readable_references() AS readable_references))));
create policy readers_read on metrics.reviews
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.reviews to authenticated;
grant select on table metrics.reviews to metrics_reader;
comment on column metrics.reviews.clocks is 'Clock of the observation that each latest column, or group by its first column, comes from.';
comment on column metrics.reviews.external_id is 'The sender''s id of the review.';
comment on column metrics.reviews.pull_request_number is 'The pull request that it is about. Merge: latest.';
comment on column metrics.reviews.reference_id is 'Repository reference, as the sender named it.';
comment on column metrics.reviews.reviewer is 'Login of the reviewer. Merge: latest.';
comment on column metrics.reviews.reviewer_is_bot is 'Whether the reviewer is a bot. Merge: latest, with reviewer.';
comment on column metrics.reviews.state is 'approved, changes_requested, commented, dismissed or pending. Merge: latest.';
comment on column metrics.reviews.submitted_at is 'When it was given. Merge: earliest.';
comment on column metrics.reviews.updated_at is 'When this row last changed here. Never part of a fact.';
comment on column metrics.reviews.url is 'Link to the provider. Merge: latest.';
comment on table metrics.reviews is 'Reviews of pull requests. Clocks compare by time, then rank: a dismissed review ranks above any other state.';

-- table metrics.rule_checks
create table metrics.rule_checks (
  reference_id bigint not null,
  external_id text not null,
  rule text,
  category text,
  status text,
  commit_sha text,
  pull_request_number integer,
  run_external_id text,
  detail text,
  checked_at timestamp with time zone,
  url text,
  clocks jsonb default '{}'::jsonb not null,
  updated_at timestamp with time zone default now() not null
);
alter table metrics.rule_checks add constraint rule_checks_pkey PRIMARY KEY (reference_id, external_id);
alter table metrics.rule_checks add constraint status_is_known CHECK ((status = ANY (ARRAY['compliant'::text, 'violation'::text, 'warning'::text])));
alter table metrics.rule_checks enable row level security;
create policy members_read on metrics.rule_checks
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (reference_id >= ( SELECT metrics.first_readable_id() AS first_readable_id)) AND (reference_id IN ( SELECT metrics.readable_references() AS readable_references))));
create policy readers_read on metrics.rule_checks
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.rule_checks to authenticated;
grant select on table metrics.rule_checks to metrics_reader;
comment on column metrics.rule_checks.category is 'Category of the rule. Merge: latest.';
comment on column metrics.rule_checks.checked_at is 'When. Merge: latest.';
comment on column metrics.rule_checks.clocks is 'Clock of the observation that each latest column, or group by its first column, comes from.';
comment on column metrics.rule_checks.commit_sha is 'Commit that was checked. Merge: latest.';
comment on column metrics.rule_checks.detail is 'What was found. Merge: latest.';
comment on column metrics.rule_checks.external_id is 'The sender''s id of the check.';
comment on column metrics.rule_checks.pull_request_number is 'Pull request that was checked. Merge: latest.';
comment on column metrics.rule_checks.reference_id is 'Repository reference, as the sender named it.';
comment on column metrics.rule_checks.rule is 'Name of the rule. Merge: latest.';
comment on column metrics.rule_checks.run_external_id is 'Run that was checked. Merge: latest.';
comment on column metrics.rule_checks.status is 'compliant, violation or warning. Merge: latest.';
comment on column metrics.rule_checks.updated_at is 'When this row last changed here. Never part of a fact.';
comment on column metrics.rule_checks.url is 'Link to the provider. Merge: latest.';
comment on table metrics.rule_checks is 'One rule''s outcome for a commit, pull request or run each. Clocks compare by time.';

-- table metrics.settings
create table metrics.settings (
  is_single boolean default true not null,
  time_zone text default 'UTC'::text not null,
  body_days integer default 30 not null,
  quarantined_body_days integer default 90 not null,
  delivery_days integer default 35 not null,
  job_days integer default 400 not null,
  test_case_days integer default 400 not null
);
alter table metrics.settings add constraint body_days_is_a_day_to_400 CHECK (((body_days >= 1) AND (body_days <= 400)));
alter table metrics.settings add constraint delivery_days_outlasts_redelivery CHECK (((delivery_days >= 31) AND (delivery_days <= 36500)));
alter table metrics.settings add constraint job_days_is_at_least_a_week CHECK (((job_days >= 7) AND (job_days <= 36500)));
alter table metrics.settings add constraint quarantined_body_days_is_a_day_to_400 CHECK (((quarantined_body_days >= 1) AND (quarantined_body_days <= 400)));
alter table metrics.settings add constraint settings_are_one_row CHECK (is_single);
alter table metrics.settings add constraint settings_pkey PRIMARY KEY (is_single);
alter table metrics.settings add constraint test_case_days_is_at_least_a_week CHECK (((test_case_days >= 7) AND (test_case_days <= 36500)));
alter table metrics.settings enable row level security;
create policy members_read on metrics.settings
  as permissive
  for select
  to authenticated
  using ((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)));
create policy readers_read on metrics.settings
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.settings to authenticated;
grant select on table metrics.settings to metrics_reader;
comment on column metrics.settings.body_days is 'Days that the body of a stored delivery is kept.';
comment on column metrics.settings.delivery_days is 'Days that a delivery is remembered, so that its id is known when it comes again.';
comment on column metrics.settings.is_single is 'Always true: the key that keeps this table at one row.';
comment on column metrics.settings.job_days is 'Days that jobs are kept; the horizon moves by whole ISO weeks.';
comment on column metrics.settings.quarantined_body_days is 'Days that the body of a quarantined delivery is kept.';
comment on column metrics.settings.test_case_days is 'Days that test cases are kept; the horizon moves by whole ISO weeks.';
comment on column metrics.settings.time_zone is 'IANA name of the zone in which days and ISO weeks are cut.';
comment on table metrics.settings is 'What this installation chose. One row, changed by metrics.set_setting.';

-- table metrics.team_members
create table metrics.team_members (
  team_id bigint not null,
  email text not null
);
alter table metrics.team_members add constraint team_member_is_a_member FOREIGN KEY (email) REFERENCES metrics.members(email) ON DELETE CASCADE;
alter table metrics.team_members add constraint team_member_is_of_a_team FOREIGN KEY (team_id) REFERENCES metrics.teams(id) ON DELETE CASCADE;
alter table metrics.team_members add constraint team_members_pkey PRIMARY KEY (team_id, email);
CREATE INDEX team_members_email_idx ON metrics.team_members USING btree (email);
alter table metrics.team_members enable row level security;
create policy members_read on metrics.team_members
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND ( SELECT metrics.is_admin() AS is_admin)));
grant select on table metrics.team_members to authenticated;
comment on column metrics.team_members.email is 'Member.';
comment on column metrics.team_members.team_id is 'Team.';
comment on table metrics.team_members is 'Which members are in which teams.';

-- table metrics.team_repositories
create table metrics.team_repositories (
  team_id bigint not null,
  repository_id bigint not null
);
alter table metrics.team_repositories add constraint team_repositories_pkey PRIMARY KEY (team_id, repository_id);
alter table metrics.team_repositories add constraint team_repository_is_a_repository FOREIGN KEY (repository_id) REFERENCES metrics.repositories(id) ON DELETE CASCADE;
alter table metrics.team_repositories add constraint team_repository_is_of_a_team FOREIGN KEY (team_id) REFERENCES metrics.teams(id) ON DELETE CASCADE;
CREATE INDEX team_repositories_repository_id_idx ON metrics.team_repositories USING btree (repository_id);
alter table metrics.team_repositories enable row level security;
create policy members_read on metrics.team_repositories
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (repository_id IN ( SELECT metrics.readable_repositories() AS readable_repositories))));
create policy readers_read on metrics.team_repositories
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.team_repositories to authenticated;
grant select on table metrics.team_repositories to metrics_reader;
comment on column metrics.team_repositories.repository_id is 'Repository.';
comment on column metrics.team_repositories.team_id is 'Team.';
comment on table metrics.team_repositories is 'Which repositories the viewers of a team may read.';

-- table metrics.teams
create table metrics.teams (
  id bigint generated always as identity not null,
  name text not null
);
alter table metrics.teams add constraint team_name_is_not_empty CHECK (((btrim(name) <> ''::text) AND (length(name) <= 200)));
alter table metrics.teams add constraint team_name_is_unique UNIQUE (name);
alter table metrics.teams add constraint teams_pkey PRIMARY KEY (id);
alter table metrics.teams enable row level security;
create policy members_read on metrics.teams
  as permissive
  for select
  to authenticated
  using ((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)));
create policy readers_read on metrics.teams
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.teams to authenticated;
grant select on table metrics.teams to metrics_reader;
comment on column metrics.teams.id is 'Key.';
comment on column metrics.teams.name is 'Name.';
comment on table metrics.teams is 'Teams, which share the reading of repositories.';

-- table metrics.test_cases
create table metrics.test_cases (
  reference_id bigint not null,
  test_run_external_id text not null,
  test_id bigint not null,
  outcome text,
  message text,
  duration_seconds double precision,
  retries integer,
  clocks jsonb default '{}'::jsonb not null,
  updated_at timestamp with time zone default now() not null
);
alter table metrics.test_cases add constraint outcome_is_known CHECK ((outcome = ANY (ARRAY['passed'::text, 'failed'::text, 'error'::text, 'skipped'::text])));
alter table metrics.test_cases add constraint retries_are_not_negative CHECK ((retries >= 0));
alter table metrics.test_cases add constraint test_cases_pkey PRIMARY KEY (reference_id, test_run_external_id, test_id);
CREATE INDEX test_cases_test_id_idx ON metrics.test_cases USING btree (test_id);
CREATE INDEX test_cases_time_idx ON metrics.test_cases USING brin (updated_at);
alter table metrics.test_cases enable row level security;
create policy members_read on metrics.test_cases
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (reference_id >= ( SELECT metrics.first_readable_id() AS first_readable_id)) AND (test_id >= ( SELECT metrics.first_readable_id() AS first_readable_id)) AND (reference_id IN ( SELECT metrics.readable_references() AS readable_references))));
create policy readers_read on metrics.test_cases
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.test_cases to authenticated;
grant select on table metrics.test_cases to metrics_reader;
comment on column metrics.test_cases.clocks is 'Clock of the observation that each latest column, or group by its first column, comes from.';
comment on column metrics.test_cases.duration_seconds is 'Seconds, as reported. Merge: latest, with outcome.';
comment on column metrics.test_cases.message is 'What it said. Merge: latest, with outcome.';
comment on column metrics.test_cases.outcome is 'passed, failed, error or skipped. Merge: latest.';
comment on column metrics.test_cases.reference_id is 'Repository reference, as the sender named it.';
comment on column metrics.test_cases.retries is 'How often it was tried again. Merge: latest, with outcome.';
comment on column metrics.test_cases.test_id is 'The test.';
comment on column metrics.test_cases.test_run_external_id is 'The sender''s id of the test run.';
comment on column metrics.test_cases.updated_at is 'When this row last changed here. Never part of a fact.';
comment on table metrics.test_cases is 'Test cases that need words: failures, retries, slow ones. Clocks compare by time.';

-- table metrics.test_runs
create table metrics.test_runs (
  reference_id bigint not null,
  external_id text not null,
  suite text,
  commit_sha text,
  branch text,
  pipeline text,
  job text,
  passed_count integer,
  failed_count integer,
  skipped_count integer,
  error_count integer,
  duration_seconds double precision,
  started_at timestamp with time zone,
  passed bigint[],
  skipped bigint[],
  url text,
  clocks jsonb default '{}'::jsonb not null,
  updated_at timestamp with time zone default now() not null
);
alter table metrics.test_runs add constraint counts_are_not_negative CHECK ((LEAST(passed_count, failed_count, skipped_count, error_count) >= 0));
alter table metrics.test_runs add constraint test_runs_pkey PRIMARY KEY (reference_id, external_id);
alter table metrics.test_runs enable row level security;
create policy members_read on metrics.test_runs
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (reference_id >= ( SELECT metrics.first_readable_id() AS first_readable_id)) AND (reference_id IN ( SELECT metrics.readable_references() AS readable_references))));
create policy readers_read on metrics.test_runs
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.test_runs to authenticated;
grant select on table metrics.test_runs to metrics_reader;
comment on column metrics.test_runs.branch is 'Branch. Merge: latest.';
comment on column metrics.test_runs.clocks is 'Clock of the observation that each latest column, or group by its first column, comes from.';
comment on column metrics.test_runs.commit_sha is 'Commit that was tested. Merge: latest.';
comment on column metrics.test_runs.duration_seconds is 'Seconds, as reported. Merge: latest.';
comment on column metrics.test_runs.error_count is 'Tests that ended in an error of their machinery. Merge: latest, with passed_count.';
comment on column metrics.test_runs.external_id is 'The sender''s id of the test run.';
comment on column metrics.test_runs.failed_count is 'Tests that failed. Merge: latest, with passed_count.';
comment on column metrics.test_runs.job is 'Name of the job. Merge: latest.';
comment on column metrics.test_runs.passed is 'Numbers of the tests that passed, ascending. Merge: latest.';
comment on column metrics.test_runs.passed_count is 'Tests that passed. Merge: latest.';
comment on column metrics.test_runs.pipeline is 'Name of the pipeline. Merge: latest.';
comment on column metrics.test_runs.reference_id is 'Repository reference, as the sender named it.';
comment on column metrics.test_runs.skipped is 'Numbers of the tests that were skipped, ascending. Merge: latest.';
comment on column metrics.test_runs.skipped_count is 'Tests that were skipped. Merge: latest, with passed_count.';
comment on column metrics.test_runs.started_at is 'When it started. Merge: earliest.';
comment on column metrics.test_runs.suite is 'Suite. Merge: latest.';
comment on column metrics.test_runs.updated_at is 'When this row last changed here. Never part of a fact.';
comment on column metrics.test_runs.url is 'Link to the provider. Merge: latest.';
comment on table metrics.test_runs is 'One suite''s result for a commit each. Clocks compare by time.';

-- table metrics.tests
create table metrics.tests (
  id bigint generated always as identity not null,
  reference_id bigint not null,
  suite text not null,
  name text not null
);
alter table metrics.tests add constraint test_is_unique UNIQUE (reference_id, suite, name);
alter table metrics.tests add constraint tests_pkey PRIMARY KEY (id);
alter table metrics.tests enable row level security;
create policy members_read on metrics.tests
  as permissive
  for select
  to authenticated
  using (((ctid >= ( SELECT metrics.first_readable_row() AS first_readable_row)) AND (id >= ( SELECT metrics.first_readable_id() AS first_readable_id)) AND (reference_id >= ( SELECT metrics.first_readable_id() AS first_readable_id)) AND (reference_id IN ( SELECT metrics.readable_references() AS readable_references))));
create policy readers_read on metrics.tests
  as permissive
  for select
  to metrics_reader
  using (true);
grant select on table metrics.tests to authenticated;
grant select on table metrics.tests to metrics_reader;
comment on column metrics.tests.id is 'Key.';
comment on column metrics.tests.name is 'Full name of the test.';
comment on column metrics.tests.reference_id is 'Repository reference.';
comment on column metrics.tests.suite is 'Suite, empty where the report has none.';
comment on table metrics.tests is 'A number per test, so that a passed test costs eight bytes a run.';

-- function metrics.accept_membership()
CREATE OR REPLACE FUNCTION metrics.accept_membership()
 RETURNS text
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
declare
  caller_id constant uuid := (select auth.uid());
  accepted record;
begin
  select m.role
  into accepted
  from metrics.members as m
  where m.user_id = caller_id;
  if found then
    return accepted.role;
  end if;
  update metrics.members as m
  set
    user_id = caller_id,
    accepted_at = now()
  from auth.users as u
  where u.id = caller_id
    and u.email_confirmed_at is not null
    and lower(u.email) = m.email
    and m.user_id is null
  returning m.email, m.role
  into accepted;
  if not found then
    raise exception using
      errcode = '42501',
      message = 'no membership waits for this user',
      hint = 'An admin adds the address with metrics.add_member, and the address must be confirmed.';
  end if;
  perform metrics.note('accept_membership', null, jsonb_build_object('email', accepted.email, 'role', accepted.role));
  return accepted.role;
end
$function$;
grant execute on function metrics.accept_membership() to authenticated;
comment on function metrics.accept_membership() is 'Ties the signed-in user to the membership of its confirmed address, once; returns the role.';

-- function metrics.add_identity(identity metrics.identities)
CREATE OR REPLACE FUNCTION metrics.add_identity(identity metrics.identities)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
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
$function$;
comment on function metrics.add_identity(identity metrics.identities) is 'Keeps a new identity, with its repositories named as facts name them. Raises 22023 for an end in the past, 23502 for what is missing, 23514 for what its constraints refuse.';

-- function metrics.add_issuer(name text, provider text, issuer text, claims jsonb, sources text[], audience text, repositories text[], fact_kinds text[], calls_per_minute integer, expires_at timestamp with time zone)
CREATE OR REPLACE FUNCTION metrics.add_issuer(name text, provider text, issuer text, claims jsonb, sources text[], audience text DEFAULT NULL::text, repositories text[] DEFAULT NULL::text[], fact_kinds text[] DEFAULT ARRAY['test_runs'::text, 'test_cases'::text, 'rule_checks'::text, 'measurements'::text], calls_per_minute integer DEFAULT 60, expires_at timestamp with time zone DEFAULT NULL::timestamp with time zone)
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
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
$function$;
grant execute on function metrics.add_issuer(name text, provider text, issuer text, claims jsonb, sources text[], audience text, repositories text[], fact_kinds text[], calls_per_minute integer, expires_at timestamp with time zone) to authenticated;
comment on function metrics.add_issuer(name text, provider text, issuer text, claims jsonb, sources text[], audience text, repositories text[], fact_kinds text[], calls_per_minute integer, expires_at timestamp with time zone) is 'Trusts the OIDC tokens of an issuer whose claims match; returns the id of the identity.';

-- function metrics.add_member(email text, role text)
CREATE OR REPLACE FUNCTION metrics.add_member(email text, role text DEFAULT 'viewer'::text)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
declare
  address constant text := lower(btrim(email));
  earlier jsonb;
begin
  perform metrics.require_admin();
  if add_member.role is null or add_member.role not in ('viewer', 'admin') then
    raise exception using
      errcode = '22023',
      message = format('role is viewer or admin, not %s', add_member.role);
  end if;
  select jsonb_build_object('email', m.email, 'role', m.role)
  into earlier
  from metrics.members as m
  where m.email = address;
  if earlier ->> 'role' = 'admin' and add_member.role <> 'admin' then
    perform metrics.require_another_admin(address);
  end if;
  insert into metrics.members as m (email, role)
  values (address, add_member.role)
  on conflict on constraint members_pkey do update set role = excluded.role;
  perform metrics.note('add_member', earlier, jsonb_build_object('email', address, 'role', add_member.role));
end
$function$;
grant execute on function metrics.add_member(email text, role text) to authenticated;
comment on function metrics.add_member(email text, role text) is 'Adds a member by address, or changes its role: viewer or admin.';

-- function metrics.add_team(name text)
CREATE OR REPLACE FUNCTION metrics.add_team(name text)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
begin
  perform metrics.require_admin();
  insert into metrics.teams (name)
  values (btrim(add_team.name));
  perform metrics.note('add_team', null, jsonb_build_object('team', btrim(add_team.name)));
end
$function$;
grant execute on function metrics.add_team(name text) to authenticated;
comment on function metrics.add_team(name text) is 'Makes a team.';

-- function metrics.add_team_member(team text, email text)
CREATE OR REPLACE FUNCTION metrics.add_team_member(team text, email text)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
begin
  perform metrics.require_admin();
  insert into metrics.team_members (team_id, email)
  values (metrics.team_named(team), lower(btrim(add_team_member.email)))
  on conflict do nothing;
  perform metrics.note('add_team_member', null, jsonb_build_object('team', team, 'email', lower(btrim(add_team_member.email))));
exception
  when foreign_key_violation then
    raise exception using
      errcode = 'P0002',
      message = format('%s is no member', add_team_member.email),
      hint = 'Add the member first with metrics.add_member.';
end
$function$;
grant execute on function metrics.add_team_member(team text, email text) to authenticated;
comment on function metrics.add_team_member(team text, email text) is 'Puts a member into a team.';

-- function metrics.add_team_repository(team text, repository text)
CREATE OR REPLACE FUNCTION metrics.add_team_repository(team text, repository text)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
begin
  perform metrics.require_admin();
  insert into metrics.team_repositories (team_id, repository_id)
  values (metrics.team_named(team), metrics.repository_named(repository))
  on conflict do nothing;
  perform metrics.note('add_team_repository', null, jsonb_build_object('team', team, 'repository', repository));
end
$function$;
grant execute on function metrics.add_team_repository(team text, repository text) to authenticated;
comment on function metrics.add_team_repository(team text, repository text) is 'Lets the viewers of a team read a repository, named by its full name or reference.';

-- function metrics.caller()
CREATE OR REPLACE FUNCTION metrics.caller()
 RETURNS name
 LANGUAGE sql
 STABLE
 SET search_path TO ''
AS $function$
  select coalesce(nullif(current_setting('role', true), 'none'), session_user)::name
$function$;
grant execute on function metrics.caller() to authenticated;
grant execute on function metrics.caller() to metrics_reader;
comment on function metrics.caller() is 'The role that calls: the one set by the Data API, else the one that logged in. Not hidden by security definer.';

-- function metrics.claim_url(claim metrics.claim)
CREATE OR REPLACE FUNCTION metrics.claim_url(claim metrics.claim)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
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
  return found;
end
$function$;
comment on function metrics.claim_url(claim metrics.claim) is 'Makes a URL mean the repository that claims it. The locks of both repositories must be held.';

-- function metrics.comparable(alias text, column_name text, type text)
CREATE OR REPLACE FUNCTION metrics.comparable(alias text, column_name text, type text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO ''
AS $function$
  select format(
    case
      when column_name = 'reference_id' then $f$coalesce('1' || metrics.reference_text(%1$s.%2$I), '0') collate "C"$f$
      when type = 'bigint[]' then $f$coalesce('1' || metrics.test_names(%1$s.%2$I), '0') collate "C"$f$
      when type in ('jsonb') or type like '%[]' then $f$coalesce('1' || to_jsonb(%1$s.%2$I)::text, '0') collate "C"$f$
      when type = 'text' then $f$coalesce('1' || %1$s.%2$I, '0') collate "C"$f$
      when type = 'boolean' then $f$coalesce(%1$s.%2$I::integer, -1)$f$
      when type in ('integer', 'bigint') then $f$coalesce(%1$s.%2$I::numeric, '-infinity')$f$
      when type in ('double precision', 'timestamp with time zone') then $f$coalesce(%1$s.%2$I, '-infinity')$f$
    end,
    alias,
    column_name
  )
$function$;
comment on function metrics.comparable(alias text, column_name text, type text) is 'SQL that compares a column''s values with NULL lowest, for compile_fold. NULL for a type that has no order here.';

-- function metrics.create_token(name text, sources text[], repositories text[], fact_kinds text[], calls_per_minute integer, expires_at timestamp with time zone)
CREATE OR REPLACE FUNCTION metrics.create_token(name text, sources text[], repositories text[] DEFAULT NULL::text[], fact_kinds text[] DEFAULT ARRAY['test_runs'::text, 'test_cases'::text, 'rule_checks'::text, 'measurements'::text], calls_per_minute integer DEFAULT 60, expires_at timestamp with time zone DEFAULT NULL::timestamp with time zone)
 RETURNS text
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
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
$function$;
grant execute on function metrics.create_token(name text, sources text[], repositories text[], fact_kinds text[], calls_per_minute integer, expires_at timestamp with time zone) to authenticated;
comment on function metrics.create_token(name text, sources text[], repositories text[], fact_kinds text[], calls_per_minute integer, expires_at timestamp with time zone) is 'Makes a token and returns it, this once: only its SHA-256 is kept.';

-- function metrics.derive_pull_requests(reference_ids bigint[], numbers integer[])
CREATE OR REPLACE FUNCTION metrics.derive_pull_requests(reference_ids bigint[], numbers integer[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
 SET enable_seqscan TO 'off'
AS $function$
#variable_conflict use_column
begin
  update metrics.pull_requests as t
  set
    ready_at = d.ready_at,
    first_commit_at = d.first_commit_at,
    first_review_at = d.first_review_at,
    approved_at = d.approved_at,
    updated_at = now()
  from (
    select
      p.reference_id,
      p.number,
      reviewed.first_review_at,
      reviewed.approved_at,
      (
        select max(m.at)
        from (
          select unnest(p.ready_times)
          union all
          -- A draft that nobody has marked ready or reviewed has not been ready yet.
          select p.opened_at
          where not (
            coalesce(p.is_draft, false)
            and coalesce(cardinality(p.ready_times), 0) = 0
            and reviewed.first_review_at is null
          )
        ) as m (at)
        where m.at <= coalesce(reviewed.first_review_at, 'infinity')
      ) as ready_at,
      own.first_commit_at
    from (
      select distinct u.reference_id, u.number
      from unnest(derive_pull_requests.reference_ids, derive_pull_requests.numbers) as u (reference_id, number)
    ) as touched
    join metrics.pull_requests as p
      on p.reference_id = touched.reference_id
      and p.number = touched.number
    join metrics.repository_references as here
      on here.id = p.reference_id
    cross join lateral (
      select array_agg(r.id) as list
      from metrics.repository_references as r
      where r.repository_id = here.repository_id
    ) as siblings
    cross join lateral (
      select
        min(v.submitted_at) as first_review_at,
        min(v.submitted_at) filter (where v.state = 'approved') as approved_at
      from metrics.reviews as v
      where v.reference_id = any(siblings.list)
        and v.pull_request_number = p.number
        and v.reviewer is distinct from p.author
        and v.reviewer_is_bot is not true
        and v.state is distinct from 'pending'
    ) as reviewed
    cross join lateral (
      -- A branch name is used again and again: what was pushed before the previous pull request from it was closed is not ours.
      select max(b.closed_at) as closed_at
      from metrics.pull_requests as b
      where b.reference_id = any(siblings.list)
        and b.head_branch = p.head_branch
        and b.is_fork is not true
        and b.number < p.number
    ) as previous
    cross join lateral (
      select coalesce(
        (
          select min(m.pushed_at)
          from metrics.pushes as m
          where m.reference_id = any(siblings.list)
            and m.on_default_branch
            and p.merge_sha is not null
            and (m.after = p.merge_sha or m.commits @> array[p.merge_sha])
        ),
        p.merged_at,
        'infinity'
      ) as at
    ) as merge
    cross join lateral (
      select min(c.authored_at) as first_commit_at
      from (
        select unnest(h.commits)
        from metrics.pushes as h
        where h.reference_id = any(siblings.list)
          and h.ref = 'refs/heads/' || p.head_branch
          and h.deleted is not true
          and h.on_default_branch is not true
          and (previous.closed_at is null or h.pushed_at > previous.closed_at)
        union
        select p.head_sha
      ) as o (sha)
      join metrics.commits as c
        on c.reference_id = any(siblings.list)
        and c.sha = o.sha
      where p.is_fork is not true
        and p.head_branch is not null
        and not exists (
          select
          from metrics.pushes as e
          where e.reference_id = any(siblings.list)
            and e.on_default_branch
            and e.pushed_at < merge.at
            and e.commits @> array[o.sha]
        )
    ) as own
  ) as d
  where t.reference_id = d.reference_id
    and t.number = d.number
    and (t.ready_at, t.first_commit_at, t.first_review_at, t.approved_at)
      is distinct from (d.ready_at, d.first_commit_at, d.first_review_at, d.approved_at);
end
$function$;
comment on function metrics.derive_pull_requests(reference_ids bigint[], numbers integer[]) is 'Derives the moments of these pull requests again from the facts. The repository''s lock must be held.';

-- function metrics.ensure_references(names text[])
CREATE OR REPLACE FUNCTION metrics.ensure_references(names text[])
 RETURNS bigint[]
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
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
    end if;
  end loop;
  return array(
    select r.id
    from metrics.repository_references as r
    where r.reference = any(names)
  );
end
$function$;
comment on function metrics.ensure_references(names text[]) is 'Makes these repository references and returns their ids. In sorted order, so that two callers cannot wait for each other.';

-- function metrics.expire_identity(name text, at timestamp with time zone)
CREATE OR REPLACE FUNCTION metrics.expire_identity(name text, at timestamp with time zone)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
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
$function$;
grant execute on function metrics.expire_identity(name text, at timestamp with time zone) to authenticated;
comment on function metrics.expire_identity(name text, at timestamp with time zone) is 'Says when an identity ends by itself; NULL for never. A later time makes one that has ended live again.';

-- function metrics.first_readable_id()
CREATE OR REPLACE FUNCTION metrics.first_readable_id()
 RETURNS bigint
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO ''
AS $function$
  select case when metrics.is_member() then -9223372036854775808 end
$function$;
grant execute on function metrics.first_readable_id() to authenticated;
comment on function metrics.first_readable_id() is 'Where a scan in the order of an index that begins with a number may begin: at the first for members, nowhere for everyone else.';

-- function metrics.first_readable_row()
CREATE OR REPLACE FUNCTION metrics.first_readable_row()
 RETURNS tid
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO ''
AS $function$
  select case when metrics.is_member() then '(0,0)'::tid else '(4294967295,65535)'::tid end
$function$;
grant execute on function metrics.first_readable_row() to authenticated;
comment on function metrics.first_readable_row() is 'Where a scan may begin: at the first row for members, behind the last for everyone else. A policy that only says is_member() is evaluated once and then filters every row; this one ends the scan before it reads a page.';

-- function metrics.first_readable_text()
CREATE OR REPLACE FUNCTION metrics.first_readable_text()
 RETURNS text
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO ''
AS $function$
  select case when metrics.is_member() then '' end
$function$;
grant execute on function metrics.first_readable_text() to authenticated;
comment on function metrics.first_readable_text() is 'Where a scan in the order of an index that begins with a text may begin: at the first for members, nowhere for everyone else.';

-- function metrics.fold_columns(relation regclass)
CREATE OR REPLACE FUNCTION metrics.fold_columns(relation regclass)
 RETURNS TABLE(name text, place integer, type text, rule text, lead text, later text)
 LANGUAGE sql
 STABLE
 SET search_path TO ''
AS $function$
  with columns as (
    select
      a.attname::text as name,
      a.attnum::integer as place,
      format_type(a.atttypid, null) as type,
      (regexp_match(d.comment, 'Merge: (latest|earliest|union)(?:, with [a-z_]+)?\.$'))[1] as rule,
      coalesce((regexp_match(d.comment, 'Merge: latest, with ([a-z_]+)\.$'))[1], a.attname::text) as lead
    from pg_catalog.pg_attribute as a
    cross join lateral (select col_description(a.attrelid, a.attnum) as comment) as d
    where a.attrelid = relation
      and a.attnum > 0
      and not a.attisdropped
  )
  select
    c.name,
    c.place,
    c.type,
    c.rule,
    c.lead,
    (
      select format(
        $f$(excluded.clocks ->> %1$L) collate "C" > coalesce(t.clocks ->> %1$L, '')
        or (excluded.clocks ->> %1$L = t.clocks ->> %1$L and row(%2$s) > row(%3$s))$f$,
        c.lead,
        string_agg(metrics.comparable('excluded', m.name, m.type), ', ' order by m.name <> c.lead, m.place),
        string_agg(metrics.comparable('t', m.name, m.type), ', ' order by m.name <> c.lead, m.place)
      )
      from columns as m
      where m.lead = c.lead
        and m.rule = 'latest'
    )
  from columns as c
$function$;
comment on function metrics.fold_columns(relation regclass) is 'The columns of a fact table with their merge rules, read from their comments; later is SQL that says whether what is said now (excluded) is later than what is kept (t).';

-- function metrics.fold_commits(observations jsonb)
CREATE OR REPLACE FUNCTION metrics.fold_commits(observations jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  batch jsonb;
  batches jsonb[];
begin

  -- Nearly always one observation comes alone, of a new key or later than all that was said of it: that needs no comparison of each
  -- column, and a short statement, which is prepared anew at every call.
  if jsonb_array_length(observations) = 1 then
    declare
      said constant jsonb := observations -> 0;
      o constant metrics.commits := jsonb_populate_record(null::metrics.commits, said);
      clock constant text := coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || ' ' || (0)::text || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '');
      r record;
    begin
      select i.id
      into r
      from metrics.repository_references as i
      where i.reference = said ->> 'repository';
      insert into metrics.commits as t (reference_id, sha, authored_at, committed_at, author, author_is_bot, title, reverts, changed_paths, clocks)
      values (
        r.id, o.sha,
        o.authored_at,
        o.committed_at,
        o.author,
        case when said ? 'author' then o.author_is_bot end,
        o.title,
        o.reverts,
        o.changed_paths,
        jsonb_strip_nulls(jsonb_build_object(
          'author', case when said ? 'author' then clock end,
          'title', case when said ? 'title' then clock end,
          'reverts', case when said ? 'reverts' then clock end,
          'changed_paths', case when said ? 'changed_paths' then clock end
        ))
      )
      on conflict (reference_id, sha) do update set
          authored_at = least(t.authored_at, excluded.authored_at),
          committed_at = least(t.committed_at, excluded.committed_at),
          author = case when excluded.clocks ? 'author' then excluded.author else t.author end,
          author_is_bot = case when excluded.clocks ? 'author' then excluded.author_is_bot else t.author_is_bot end,
          title = case when excluded.clocks ? 'title' then excluded.title else t.title end,
          reverts = case when excluded.clocks ? 'reverts' then excluded.reverts else t.reverts end,
          changed_paths = case when excluded.clocks ? 'changed_paths' then excluded.changed_paths else t.changed_paths end,
          clocks = t.clocks || excluded.clocks,
          updated_at = now()
      where excluded.clocks <> '{}'
        and clock > coalesce(greatest((t.clocks ->> 'author') collate "C", (t.clocks ->> 'title') collate "C", (t.clocks ->> 'reverts') collate "C", (t.clocks ->> 'changed_paths') collate "C"), '');
      if found then
        return;
      end if;
    end;
  end if;

  -- A statement can touch a row once: several observations of one key go in one after the other.
  if jsonb_array_length(observations) > 1 and exists (
    select
    from (
      select row_number() over (partition by r.id, o.sha) as n
      from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (sha text)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
    ) as s
    where s.n > 1
  ) then
    select array_agg(b.said order by b.n)
    into batches
    from (
      select jsonb_agg(s.said) as said, s.n
      from (
        select e.said, row_number() over (partition by r.id, o.sha) as n
        from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (sha text)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
      ) as s
      group by s.n
    ) as b;
  else
    batches := array[observations];
  end if;
  foreach batch in array batches loop

    insert into metrics.commits as t (reference_id, sha, authored_at, committed_at, author, author_is_bot, title, reverts, changed_paths, clocks)
    select
        r.id, o.sha,
        o.authored_at,
        o.committed_at,
        o.author,
        case when said ? 'author' then o.author_is_bot end,
        o.title,
        o.reverts,
        o.changed_paths,
        jsonb_strip_nulls(jsonb_build_object(
          'author', case when said ? 'author' then c.clock end,
          'title', case when said ? 'title' then c.clock end,
          'reverts', case when said ? 'reverts' then c.clock end,
          'changed_paths', case when said ? 'changed_paths' then c.clock end
        ))
      from jsonb_array_elements(batch) as e (said)
      cross join lateral jsonb_populate_record(null::metrics.commits, said) as o
      inner join metrics.repository_references as r
        on r.reference = said ->> 'repository'
      cross join lateral (select coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || ' ' || (0)::text || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '') as clock offset 0) as c
    order by 1, 2
    on conflict (reference_id, sha) do update set
        authored_at = least(t.authored_at, excluded.authored_at),
        committed_at = least(t.committed_at, excluded.committed_at),
        author = case when (excluded.clocks ->> 'author') collate "C" > coalesce(t.clocks ->> 'author', '')
        or (excluded.clocks ->> 'author' = t.clocks ->> 'author' and row(coalesce('1' || excluded.author, '0') collate "C", coalesce(excluded.author_is_bot::integer, -1)) > row(coalesce('1' || t.author, '0') collate "C", coalesce(t.author_is_bot::integer, -1))) then excluded.author else t.author end,
        author_is_bot = case when (excluded.clocks ->> 'author') collate "C" > coalesce(t.clocks ->> 'author', '')
        or (excluded.clocks ->> 'author' = t.clocks ->> 'author' and row(coalesce('1' || excluded.author, '0') collate "C", coalesce(excluded.author_is_bot::integer, -1)) > row(coalesce('1' || t.author, '0') collate "C", coalesce(t.author_is_bot::integer, -1))) then excluded.author_is_bot else t.author_is_bot end,
        title = case when (excluded.clocks ->> 'title') collate "C" > coalesce(t.clocks ->> 'title', '')
        or (excluded.clocks ->> 'title' = t.clocks ->> 'title' and row(coalesce('1' || excluded.title, '0') collate "C") > row(coalesce('1' || t.title, '0') collate "C")) then excluded.title else t.title end,
        reverts = case when (excluded.clocks ->> 'reverts') collate "C" > coalesce(t.clocks ->> 'reverts', '')
        or (excluded.clocks ->> 'reverts' = t.clocks ->> 'reverts' and row(coalesce('1' || to_jsonb(excluded.reverts)::text, '0') collate "C") > row(coalesce('1' || to_jsonb(t.reverts)::text, '0') collate "C")) then excluded.reverts else t.reverts end,
        changed_paths = case when (excluded.clocks ->> 'changed_paths') collate "C" > coalesce(t.clocks ->> 'changed_paths', '')
        or (excluded.clocks ->> 'changed_paths' = t.clocks ->> 'changed_paths' and row(coalesce('1' || to_jsonb(excluded.changed_paths)::text, '0') collate "C") > row(coalesce('1' || to_jsonb(t.changed_paths)::text, '0') collate "C")) then excluded.changed_paths else t.changed_paths end,
        clocks = jsonb_strip_nulls(jsonb_build_object(
          'author', greatest((excluded.clocks ->> 'author') collate "C", t.clocks ->> 'author'),
          'title', greatest((excluded.clocks ->> 'title') collate "C", t.clocks ->> 'title'),
          'reverts', greatest((excluded.clocks ->> 'reverts') collate "C", t.clocks ->> 'reverts'),
          'changed_paths', greatest((excluded.clocks ->> 'changed_paths') collate "C", t.clocks ->> 'changed_paths')
        )),
        updated_at = now()
    -- The same said again is not written again.
    where not (t.clocks @> excluded.clocks)
      or (excluded.authored_at, excluded.committed_at, excluded.author, excluded.author_is_bot, excluded.title, excluded.reverts, excluded.changed_paths) is distinct from (t.authored_at, t.committed_at, t.author, t.author_is_bot, t.title, t.reverts, t.changed_paths);
  end loop;
end
$function$;
comment on function metrics.fold_commits(observations jsonb) is 'Folds a list of observations into metrics.commits. Written by metrics.compile_fold from the rules in its columns'' comments.';

-- function metrics.fold_deployments(observations jsonb)
CREATE OR REPLACE FUNCTION metrics.fold_deployments(observations jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  batch jsonb;
  batches jsonb[];
begin

  -- Nearly always one observation comes alone, of a new key or later than all that was said of it: that needs no comparison of each
  -- column, and a short statement, which is prepared anew at every call.
  if jsonb_array_length(observations) = 1 then
    declare
      said constant jsonb := observations -> 0;
      o constant metrics.deployments := jsonb_populate_record(null::metrics.deployments, said);
      clock constant text := (case said ->> 'status' when 'finished' then 3 when 'running' then 2 when 'queued' then 1 else 0 end)::text || ' ' || coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '');
      r record;
    begin
      select i.id
      into r
      from metrics.repository_references as i
      where i.reference = said ->> 'repository';
      insert into metrics.deployments as t (reference_id, external_id, name, environment, environment_tier, commit_sha, ref, status, outcome, provider_outcome, created_at, started_at, finished_at, actor, actor_is_bot, url, clocks)
      values (
        r.id, o.external_id,
        o.name,
        o.environment,
        o.environment_tier,
        o.commit_sha,
        o.ref,
        o.status,
        case when said ? 'status' then o.outcome end,
        case when said ? 'status' then o.provider_outcome end,
        o.created_at,
        o.started_at,
        case when said ? 'status' then o.finished_at end,
        o.actor,
        case when said ? 'actor' then o.actor_is_bot end,
        o.url,
        jsonb_strip_nulls(jsonb_build_object(
          'name', case when said ? 'name' then clock end,
          'environment', case when said ? 'environment' then clock end,
          'environment_tier', case when said ? 'environment_tier' then clock end,
          'commit_sha', case when said ? 'commit_sha' then clock end,
          'ref', case when said ? 'ref' then clock end,
          'status', case when said ? 'status' then clock end,
          'actor', case when said ? 'actor' then clock end,
          'url', case when said ? 'url' then clock end
        ))
      )
      on conflict (reference_id, external_id) do update set
          name = case when excluded.clocks ? 'name' then excluded.name else t.name end,
          environment = case when excluded.clocks ? 'environment' then excluded.environment else t.environment end,
          environment_tier = case when excluded.clocks ? 'environment_tier' then excluded.environment_tier else t.environment_tier end,
          commit_sha = case when excluded.clocks ? 'commit_sha' then excluded.commit_sha else t.commit_sha end,
          ref = case when excluded.clocks ? 'ref' then excluded.ref else t.ref end,
          status = case when excluded.clocks ? 'status' then excluded.status else t.status end,
          outcome = case when excluded.clocks ? 'status' then excluded.outcome else t.outcome end,
          provider_outcome = case when excluded.clocks ? 'status' then excluded.provider_outcome else t.provider_outcome end,
          created_at = least(t.created_at, excluded.created_at),
          started_at = least(t.started_at, excluded.started_at),
          finished_at = case when excluded.clocks ? 'status' then excluded.finished_at else t.finished_at end,
          actor = case when excluded.clocks ? 'actor' then excluded.actor else t.actor end,
          actor_is_bot = case when excluded.clocks ? 'actor' then excluded.actor_is_bot else t.actor_is_bot end,
          url = case when excluded.clocks ? 'url' then excluded.url else t.url end,
          clocks = t.clocks || excluded.clocks,
          updated_at = now()
      where excluded.clocks <> '{}'
        and clock > coalesce(greatest((t.clocks ->> 'name') collate "C", (t.clocks ->> 'environment') collate "C", (t.clocks ->> 'environment_tier') collate "C", (t.clocks ->> 'commit_sha') collate "C", (t.clocks ->> 'ref') collate "C", (t.clocks ->> 'status') collate "C", (t.clocks ->> 'actor') collate "C", (t.clocks ->> 'url') collate "C"), '');
      if found then
        return;
      end if;
    end;
  end if;

  -- A statement can touch a row once: several observations of one key go in one after the other.
  if jsonb_array_length(observations) > 1 and exists (
    select
    from (
      select row_number() over (partition by r.id, o.external_id) as n
      from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (external_id text)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
    ) as s
    where s.n > 1
  ) then
    select array_agg(b.said order by b.n)
    into batches
    from (
      select jsonb_agg(s.said) as said, s.n
      from (
        select e.said, row_number() over (partition by r.id, o.external_id) as n
        from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (external_id text)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
      ) as s
      group by s.n
    ) as b;
  else
    batches := array[observations];
  end if;
  foreach batch in array batches loop

    insert into metrics.deployments as t (reference_id, external_id, name, environment, environment_tier, commit_sha, ref, status, outcome, provider_outcome, created_at, started_at, finished_at, actor, actor_is_bot, url, clocks)
    select
        r.id, o.external_id,
        o.name,
        o.environment,
        o.environment_tier,
        o.commit_sha,
        o.ref,
        o.status,
        case when said ? 'status' then o.outcome end,
        case when said ? 'status' then o.provider_outcome end,
        o.created_at,
        o.started_at,
        case when said ? 'status' then o.finished_at end,
        o.actor,
        case when said ? 'actor' then o.actor_is_bot end,
        o.url,
        jsonb_strip_nulls(jsonb_build_object(
          'name', case when said ? 'name' then c.clock end,
          'environment', case when said ? 'environment' then c.clock end,
          'environment_tier', case when said ? 'environment_tier' then c.clock end,
          'commit_sha', case when said ? 'commit_sha' then c.clock end,
          'ref', case when said ? 'ref' then c.clock end,
          'status', case when said ? 'status' then c.clock end,
          'actor', case when said ? 'actor' then c.clock end,
          'url', case when said ? 'url' then c.clock end
        ))
      from jsonb_array_elements(batch) as e (said)
      cross join lateral jsonb_populate_record(null::metrics.deployments, said) as o
      inner join metrics.repository_references as r
        on r.reference = said ->> 'repository'
      cross join lateral (select (case said ->> 'status' when 'finished' then 3 when 'running' then 2 when 'queued' then 1 else 0 end)::text || ' ' || coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '') as clock offset 0) as c
    order by 1, 2
    on conflict (reference_id, external_id) do update set
        name = case when (excluded.clocks ->> 'name') collate "C" > coalesce(t.clocks ->> 'name', '')
        or (excluded.clocks ->> 'name' = t.clocks ->> 'name' and row(coalesce('1' || excluded.name, '0') collate "C") > row(coalesce('1' || t.name, '0') collate "C")) then excluded.name else t.name end,
        environment = case when (excluded.clocks ->> 'environment') collate "C" > coalesce(t.clocks ->> 'environment', '')
        or (excluded.clocks ->> 'environment' = t.clocks ->> 'environment' and row(coalesce('1' || excluded.environment, '0') collate "C") > row(coalesce('1' || t.environment, '0') collate "C")) then excluded.environment else t.environment end,
        environment_tier = case when (excluded.clocks ->> 'environment_tier') collate "C" > coalesce(t.clocks ->> 'environment_tier', '')
        or (excluded.clocks ->> 'environment_tier' = t.clocks ->> 'environment_tier' and row(coalesce('1' || excluded.environment_tier, '0') collate "C") > row(coalesce('1' || t.environment_tier, '0') collate "C")) then excluded.environment_tier else t.environment_tier end,
        commit_sha = case when (excluded.clocks ->> 'commit_sha') collate "C" > coalesce(t.clocks ->> 'commit_sha', '')
        or (excluded.clocks ->> 'commit_sha' = t.clocks ->> 'commit_sha' and row(coalesce('1' || excluded.commit_sha, '0') collate "C") > row(coalesce('1' || t.commit_sha, '0') collate "C")) then excluded.commit_sha else t.commit_sha end,
        ref = case when (excluded.clocks ->> 'ref') collate "C" > coalesce(t.clocks ->> 'ref', '')
        or (excluded.clocks ->> 'ref' = t.clocks ->> 'ref' and row(coalesce('1' || excluded.ref, '0') collate "C") > row(coalesce('1' || t.ref, '0') collate "C")) then excluded.ref else t.ref end,
        status = case when (excluded.clocks ->> 'status') collate "C" > coalesce(t.clocks ->> 'status', '')
        or (excluded.clocks ->> 'status' = t.clocks ->> 'status' and row(coalesce('1' || excluded.status, '0') collate "C", coalesce('1' || excluded.outcome, '0') collate "C", coalesce('1' || excluded.provider_outcome, '0') collate "C", coalesce(excluded.finished_at, '-infinity')) > row(coalesce('1' || t.status, '0') collate "C", coalesce('1' || t.outcome, '0') collate "C", coalesce('1' || t.provider_outcome, '0') collate "C", coalesce(t.finished_at, '-infinity'))) then excluded.status else t.status end,
        outcome = case when (excluded.clocks ->> 'status') collate "C" > coalesce(t.clocks ->> 'status', '')
        or (excluded.clocks ->> 'status' = t.clocks ->> 'status' and row(coalesce('1' || excluded.status, '0') collate "C", coalesce('1' || excluded.outcome, '0') collate "C", coalesce('1' || excluded.provider_outcome, '0') collate "C", coalesce(excluded.finished_at, '-infinity')) > row(coalesce('1' || t.status, '0') collate "C", coalesce('1' || t.outcome, '0') collate "C", coalesce('1' || t.provider_outcome, '0') collate "C", coalesce(t.finished_at, '-infinity'))) then excluded.outcome else t.outcome end,
        provider_outcome = case when (excluded.clocks ->> 'status') collate "C" > coalesce(t.clocks ->> 'status', '')
        or (excluded.clocks ->> 'status' = t.clocks ->> 'status' and row(coalesce('1' || excluded.status, '0') collate "C", coalesce('1' || excluded.outcome, '0') collate "C", coalesce('1' || excluded.provider_outcome, '0') collate "C", coalesce(excluded.finished_at, '-infinity')) > row(coalesce('1' || t.status, '0') collate "C", coalesce('1' || t.outcome, '0') collate "C", coalesce('1' || t.provider_outcome, '0') collate "C", coalesce(t.finished_at, '-infinity'))) then excluded.provider_outcome else t.provider_outcome end,
        created_at = least(t.created_at, excluded.created_at),
        started_at = least(t.started_at, excluded.started_at),
        finished_at = case when (excluded.clocks ->> 'status') collate "C" > coalesce(t.clocks ->> 'status', '')
        or (excluded.clocks ->> 'status' = t.clocks ->> 'status' and row(coalesce('1' || excluded.status, '0') collate "C", coalesce('1' || excluded.outcome, '0') collate "C", coalesce('1' || excluded.provider_outcome, '0') collate "C", coalesce(excluded.finished_at, '-infinity')) > row(coalesce('1' || t.status, '0') collate "C", coalesce('1' || t.outcome, '0') collate "C", coalesce('1' || t.provider_outcome, '0') collate "C", coalesce(t.finished_at, '-infinity'))) then excluded.finished_at else t.finished_at end,
        actor = case when (excluded.clocks ->> 'actor') collate "C" > coalesce(t.clocks ->> 'actor', '')
        or (excluded.clocks ->> 'actor' = t.clocks ->> 'actor' and row(coalesce('1' || excluded.actor, '0') collate "C", coalesce(excluded.actor_is_bot::integer, -1)) > row(coalesce('1' || t.actor, '0') collate "C", coalesce(t.actor_is_bot::integer, -1))) then excluded.actor else t.actor end,
        actor_is_bot = case when (excluded.clocks ->> 'actor') collate "C" > coalesce(t.clocks ->> 'actor', '')
        or (excluded.clocks ->> 'actor' = t.clocks ->> 'actor' and row(coalesce('1' || excluded.actor, '0') collate "C", coalesce(excluded.actor_is_bot::integer, -1)) > row(coalesce('1' || t.actor, '0') collate "C", coalesce(t.actor_is_bot::integer, -1))) then excluded.actor_is_bot else t.actor_is_bot end,
        url = case when (excluded.clocks ->> 'url') collate "C" > coalesce(t.clocks ->> 'url', '')
        or (excluded.clocks ->> 'url' = t.clocks ->> 'url' and row(coalesce('1' || excluded.url, '0') collate "C") > row(coalesce('1' || t.url, '0') collate "C")) then excluded.url else t.url end,
        clocks = jsonb_strip_nulls(jsonb_build_object(
          'name', greatest((excluded.clocks ->> 'name') collate "C", t.clocks ->> 'name'),
          'environment', greatest((excluded.clocks ->> 'environment') collate "C", t.clocks ->> 'environment'),
          'environment_tier', greatest((excluded.clocks ->> 'environment_tier') collate "C", t.clocks ->> 'environment_tier'),
          'commit_sha', greatest((excluded.clocks ->> 'commit_sha') collate "C", t.clocks ->> 'commit_sha'),
          'ref', greatest((excluded.clocks ->> 'ref') collate "C", t.clocks ->> 'ref'),
          'status', greatest((excluded.clocks ->> 'status') collate "C", t.clocks ->> 'status'),
          'actor', greatest((excluded.clocks ->> 'actor') collate "C", t.clocks ->> 'actor'),
          'url', greatest((excluded.clocks ->> 'url') collate "C", t.clocks ->> 'url')
        )),
        updated_at = now()
    -- The same said again is not written again.
    where not (t.clocks @> excluded.clocks)
      or (excluded.name, excluded.environment, excluded.environment_tier, excluded.commit_sha, excluded.ref, excluded.status, excluded.outcome, excluded.provider_outcome, excluded.created_at, excluded.started_at, excluded.finished_at, excluded.actor, excluded.actor_is_bot, excluded.url) is distinct from (t.name, t.environment, t.environment_tier, t.commit_sha, t.ref, t.status, t.outcome, t.provider_outcome, t.created_at, t.started_at, t.finished_at, t.actor, t.actor_is_bot, t.url);
  end loop;
end
$function$;
comment on function metrics.fold_deployments(observations jsonb) is 'Folds a list of observations into metrics.deployments. Written by metrics.compile_fold from the rules in its columns'' comments.';

-- function metrics.fold_facts(facts jsonb)
CREATE OR REPLACE FUNCTION metrics.fold_facts(facts jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
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
$function$;
comment on function metrics.fold_facts(facts jsonb) is 'Folds the facts of a call into their tables.';

-- function metrics.fold_incidents(observations jsonb)
CREATE OR REPLACE FUNCTION metrics.fold_incidents(observations jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  batch jsonb;
  batches jsonb[];
begin

  -- Nearly always one observation comes alone, of a new key or later than all that was said of it: that needs no comparison of each
  -- column, and a short statement, which is prepared anew at every call.
  if jsonb_array_length(observations) = 1 then
    declare
      said constant jsonb := observations -> 0;
      o constant metrics.incidents := jsonb_populate_record(null::metrics.incidents, said);
      clock constant text := coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || ' ' || (case said ->> 'status' when 'resolved' then 3 when 'acknowledged' then 2 when 'open' then 1 else 0 end)::text || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '');
      r record;
    begin
      select i.id
      into r
      from metrics.repository_references as i
      where i.reference = said ->> 'repository';
      insert into metrics.incidents as t (source, external_id, reference_id, service, title, severity, status, opened_at, acknowledged_at, resolved_at, is_withdrawn, deployment_external_id, commit_sha, url, clocks)
      values (
        o.source, o.external_id,
        r.id,
        o.service,
        o.title,
        o.severity,
        o.status,
        o.opened_at,
        o.acknowledged_at,
        case when said ? 'status' then o.resolved_at end,
        o.is_withdrawn,
        o.deployment_external_id,
        o.commit_sha,
        o.url,
        jsonb_strip_nulls(jsonb_build_object(
          'reference_id', case when said ? 'repository' then clock end,
          'service', case when said ? 'service' then clock end,
          'title', case when said ? 'title' then clock end,
          'severity', case when said ? 'severity' then clock end,
          'status', case when said ? 'status' then clock end,
          'is_withdrawn', case when said ? 'is_withdrawn' then clock end,
          'deployment_external_id', case when said ? 'deployment_external_id' then clock end,
          'commit_sha', case when said ? 'commit_sha' then clock end,
          'url', case when said ? 'url' then clock end
        ))
      )
      on conflict (source, external_id) do update set
          reference_id = case when excluded.clocks ? 'reference_id' then excluded.reference_id else t.reference_id end,
          service = case when excluded.clocks ? 'service' then excluded.service else t.service end,
          title = case when excluded.clocks ? 'title' then excluded.title else t.title end,
          severity = case when excluded.clocks ? 'severity' then excluded.severity else t.severity end,
          status = case when excluded.clocks ? 'status' then excluded.status else t.status end,
          opened_at = least(t.opened_at, excluded.opened_at),
          acknowledged_at = least(t.acknowledged_at, excluded.acknowledged_at),
          resolved_at = case when excluded.clocks ? 'status' then excluded.resolved_at else t.resolved_at end,
          is_withdrawn = case when excluded.clocks ? 'is_withdrawn' then excluded.is_withdrawn else t.is_withdrawn end,
          deployment_external_id = case when excluded.clocks ? 'deployment_external_id' then excluded.deployment_external_id else t.deployment_external_id end,
          commit_sha = case when excluded.clocks ? 'commit_sha' then excluded.commit_sha else t.commit_sha end,
          url = case when excluded.clocks ? 'url' then excluded.url else t.url end,
          clocks = t.clocks || excluded.clocks,
          updated_at = now()
      where excluded.clocks <> '{}'
        and clock > coalesce(greatest((t.clocks ->> 'reference_id') collate "C", (t.clocks ->> 'service') collate "C", (t.clocks ->> 'title') collate "C", (t.clocks ->> 'severity') collate "C", (t.clocks ->> 'status') collate "C", (t.clocks ->> 'is_withdrawn') collate "C", (t.clocks ->> 'deployment_external_id') collate "C", (t.clocks ->> 'commit_sha') collate "C", (t.clocks ->> 'url') collate "C"), '');
      if found then
        return;
      end if;
    end;
  end if;

  -- A statement can touch a row once: several observations of one key go in one after the other.
  if jsonb_array_length(observations) > 1 and exists (
    select
    from (
      select row_number() over (partition by o.source, o.external_id) as n
      from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (source text, external_id text)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
    ) as s
    where s.n > 1
  ) then
    select array_agg(b.said order by b.n)
    into batches
    from (
      select jsonb_agg(s.said) as said, s.n
      from (
        select e.said, row_number() over (partition by o.source, o.external_id) as n
        from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (source text, external_id text)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
      ) as s
      group by s.n
    ) as b;
  else
    batches := array[observations];
  end if;
  foreach batch in array batches loop

    insert into metrics.incidents as t (source, external_id, reference_id, service, title, severity, status, opened_at, acknowledged_at, resolved_at, is_withdrawn, deployment_external_id, commit_sha, url, clocks)
    select
        o.source, o.external_id,
        r.id,
        o.service,
        o.title,
        o.severity,
        o.status,
        o.opened_at,
        o.acknowledged_at,
        case when said ? 'status' then o.resolved_at end,
        o.is_withdrawn,
        o.deployment_external_id,
        o.commit_sha,
        o.url,
        jsonb_strip_nulls(jsonb_build_object(
          'reference_id', case when said ? 'repository' then c.clock end,
          'service', case when said ? 'service' then c.clock end,
          'title', case when said ? 'title' then c.clock end,
          'severity', case when said ? 'severity' then c.clock end,
          'status', case when said ? 'status' then c.clock end,
          'is_withdrawn', case when said ? 'is_withdrawn' then c.clock end,
          'deployment_external_id', case when said ? 'deployment_external_id' then c.clock end,
          'commit_sha', case when said ? 'commit_sha' then c.clock end,
          'url', case when said ? 'url' then c.clock end
        ))
      from jsonb_array_elements(batch) as e (said)
      cross join lateral jsonb_populate_record(null::metrics.incidents, said) as o
      left join metrics.repository_references as r
        on r.reference = said ->> 'repository'
      cross join lateral (select coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || ' ' || (case said ->> 'status' when 'resolved' then 3 when 'acknowledged' then 2 when 'open' then 1 else 0 end)::text || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '') as clock offset 0) as c
    order by 1, 2
    on conflict (source, external_id) do update set
        reference_id = case when (excluded.clocks ->> 'reference_id') collate "C" > coalesce(t.clocks ->> 'reference_id', '')
        or (excluded.clocks ->> 'reference_id' = t.clocks ->> 'reference_id' and row(coalesce('1' || metrics.reference_text(excluded.reference_id), '0') collate "C") > row(coalesce('1' || metrics.reference_text(t.reference_id), '0') collate "C")) then excluded.reference_id else t.reference_id end,
        service = case when (excluded.clocks ->> 'service') collate "C" > coalesce(t.clocks ->> 'service', '')
        or (excluded.clocks ->> 'service' = t.clocks ->> 'service' and row(coalesce('1' || excluded.service, '0') collate "C") > row(coalesce('1' || t.service, '0') collate "C")) then excluded.service else t.service end,
        title = case when (excluded.clocks ->> 'title') collate "C" > coalesce(t.clocks ->> 'title', '')
        or (excluded.clocks ->> 'title' = t.clocks ->> 'title' and row(coalesce('1' || excluded.title, '0') collate "C") > row(coalesce('1' || t.title, '0') collate "C")) then excluded.title else t.title end,
        severity = case when (excluded.clocks ->> 'severity') collate "C" > coalesce(t.clocks ->> 'severity', '')
        or (excluded.clocks ->> 'severity' = t.clocks ->> 'severity' and row(coalesce('1' || excluded.severity, '0') collate "C") > row(coalesce('1' || t.severity, '0') collate "C")) then excluded.severity else t.severity end,
        status = case when (excluded.clocks ->> 'status') collate "C" > coalesce(t.clocks ->> 'status', '')
        or (excluded.clocks ->> 'status' = t.clocks ->> 'status' and row(coalesce('1' || excluded.status, '0') collate "C", coalesce(excluded.resolved_at, '-infinity')) > row(coalesce('1' || t.status, '0') collate "C", coalesce(t.resolved_at, '-infinity'))) then excluded.status else t.status end,
        opened_at = least(t.opened_at, excluded.opened_at),
        acknowledged_at = least(t.acknowledged_at, excluded.acknowledged_at),
        resolved_at = case when (excluded.clocks ->> 'status') collate "C" > coalesce(t.clocks ->> 'status', '')
        or (excluded.clocks ->> 'status' = t.clocks ->> 'status' and row(coalesce('1' || excluded.status, '0') collate "C", coalesce(excluded.resolved_at, '-infinity')) > row(coalesce('1' || t.status, '0') collate "C", coalesce(t.resolved_at, '-infinity'))) then excluded.resolved_at else t.resolved_at end,
        is_withdrawn = case when (excluded.clocks ->> 'is_withdrawn') collate "C" > coalesce(t.clocks ->> 'is_withdrawn', '')
        or (excluded.clocks ->> 'is_withdrawn' = t.clocks ->> 'is_withdrawn' and row(coalesce(excluded.is_withdrawn::integer, -1)) > row(coalesce(t.is_withdrawn::integer, -1))) then excluded.is_withdrawn else t.is_withdrawn end,
        deployment_external_id = case when (excluded.clocks ->> 'deployment_external_id') collate "C" > coalesce(t.clocks ->> 'deployment_external_id', '')
        or (excluded.clocks ->> 'deployment_external_id' = t.clocks ->> 'deployment_external_id' and row(coalesce('1' || excluded.deployment_external_id, '0') collate "C") > row(coalesce('1' || t.deployment_external_id, '0') collate "C")) then excluded.deployment_external_id else t.deployment_external_id end,
        commit_sha = case when (excluded.clocks ->> 'commit_sha') collate "C" > coalesce(t.clocks ->> 'commit_sha', '')
        or (excluded.clocks ->> 'commit_sha' = t.clocks ->> 'commit_sha' and row(coalesce('1' || excluded.commit_sha, '0') collate "C") > row(coalesce('1' || t.commit_sha, '0') collate "C")) then excluded.commit_sha else t.commit_sha end,
        url = case when (excluded.clocks ->> 'url') collate "C" > coalesce(t.clocks ->> 'url', '')
        or (excluded.clocks ->> 'url' = t.clocks ->> 'url' and row(coalesce('1' || excluded.url, '0') collate "C") > row(coalesce('1' || t.url, '0') collate "C")) then excluded.url else t.url end,
        clocks = jsonb_strip_nulls(jsonb_build_object(
          'reference_id', greatest((excluded.clocks ->> 'reference_id') collate "C", t.clocks ->> 'reference_id'),
          'service', greatest((excluded.clocks ->> 'service') collate "C", t.clocks ->> 'service'),
          'title', greatest((excluded.clocks ->> 'title') collate "C", t.clocks ->> 'title'),
          'severity', greatest((excluded.clocks ->> 'severity') collate "C", t.clocks ->> 'severity'),
          'status', greatest((excluded.clocks ->> 'status') collate "C", t.clocks ->> 'status'),
          'is_withdrawn', greatest((excluded.clocks ->> 'is_withdrawn') collate "C", t.clocks ->> 'is_withdrawn'),
          'deployment_external_id', greatest((excluded.clocks ->> 'deployment_external_id') collate "C", t.clocks ->> 'deployment_external_id'),
          'commit_sha', greatest((excluded.clocks ->> 'commit_sha') collate "C", t.clocks ->> 'commit_sha'),
          'url', greatest((excluded.clocks ->> 'url') collate "C", t.clocks ->> 'url')
        )),
        updated_at = now()
    -- The same said again is not written again.
    where not (t.clocks @> excluded.clocks)
      or (excluded.reference_id, excluded.service, excluded.title, excluded.severity, excluded.status, excluded.opened_at, excluded.acknowledged_at, excluded.resolved_at, excluded.is_withdrawn, excluded.deployment_external_id, excluded.commit_sha, excluded.url) is distinct from (t.reference_id, t.service, t.title, t.severity, t.status, t.opened_at, t.acknowledged_at, t.resolved_at, t.is_withdrawn, t.deployment_external_id, t.commit_sha, t.url);
  end loop;
end
$function$;
comment on function metrics.fold_incidents(observations jsonb) is 'Folds a list of observations into metrics.incidents. Written by metrics.compile_fold from the rules in its columns'' comments.';

-- function metrics.fold_jobs(observations jsonb)
CREATE OR REPLACE FUNCTION metrics.fold_jobs(observations jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  batch jsonb;
  batches jsonb[];
begin

  -- Nearly always one observation comes alone, of a new key or later than all that was said of it: that needs no comparison of each
  -- column, and a short statement, which is prepared anew at every call.
  if jsonb_array_length(observations) = 1 then
    declare
      said constant jsonb := observations -> 0;
      o constant metrics.jobs := jsonb_populate_record(null::metrics.jobs, said);
      clock constant text := (case said ->> 'status' when 'finished' then 3 when 'running' then 2 when 'queued' then 1 else 0 end)::text || ' ' || coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '');
      r record;
    begin
      select i.id
      into r
      from metrics.repository_references as i
      where i.reference = said ->> 'repository';
      insert into metrics.jobs as t (reference_id, external_id, run_external_id, attempt, pipeline, name, branch, commit_sha, runner_labels, status, outcome, provider_outcome, queued_at, started_at, finished_at, steps, url, clocks)
      values (
        r.id, o.external_id,
        o.run_external_id,
        o.attempt,
        o.pipeline,
        o.name,
        o.branch,
        o.commit_sha,
        o.runner_labels,
        o.status,
        case when said ? 'status' then o.outcome end,
        case when said ? 'status' then o.provider_outcome end,
        o.queued_at,
        o.started_at,
        case when said ? 'status' then o.finished_at end,
        o.steps,
        o.url,
        jsonb_strip_nulls(jsonb_build_object(
          'run_external_id', case when said ? 'run_external_id' then clock end,
          'attempt', case when said ? 'attempt' then clock end,
          'pipeline', case when said ? 'pipeline' then clock end,
          'name', case when said ? 'name' then clock end,
          'branch', case when said ? 'branch' then clock end,
          'commit_sha', case when said ? 'commit_sha' then clock end,
          'runner_labels', case when said ? 'runner_labels' then clock end,
          'status', case when said ? 'status' then clock end,
          'steps', case when said ? 'steps' then clock end,
          'url', case when said ? 'url' then clock end
        ))
      )
      on conflict (reference_id, external_id) do update set
          run_external_id = case when excluded.clocks ? 'run_external_id' then excluded.run_external_id else t.run_external_id end,
          attempt = case when excluded.clocks ? 'attempt' then excluded.attempt else t.attempt end,
          pipeline = case when excluded.clocks ? 'pipeline' then excluded.pipeline else t.pipeline end,
          name = case when excluded.clocks ? 'name' then excluded.name else t.name end,
          branch = case when excluded.clocks ? 'branch' then excluded.branch else t.branch end,
          commit_sha = case when excluded.clocks ? 'commit_sha' then excluded.commit_sha else t.commit_sha end,
          runner_labels = case when excluded.clocks ? 'runner_labels' then excluded.runner_labels else t.runner_labels end,
          status = case when excluded.clocks ? 'status' then excluded.status else t.status end,
          outcome = case when excluded.clocks ? 'status' then excluded.outcome else t.outcome end,
          provider_outcome = case when excluded.clocks ? 'status' then excluded.provider_outcome else t.provider_outcome end,
          queued_at = least(t.queued_at, excluded.queued_at),
          started_at = least(t.started_at, excluded.started_at),
          finished_at = case when excluded.clocks ? 'status' then excluded.finished_at else t.finished_at end,
          steps = case when excluded.clocks ? 'steps' then excluded.steps else t.steps end,
          url = case when excluded.clocks ? 'url' then excluded.url else t.url end,
          clocks = t.clocks || excluded.clocks,
          updated_at = now()
      where excluded.clocks <> '{}'
        and clock > coalesce(greatest((t.clocks ->> 'run_external_id') collate "C", (t.clocks ->> 'attempt') collate "C", (t.clocks ->> 'pipeline') collate "C", (t.clocks ->> 'name') collate "C", (t.clocks ->> 'branch') collate "C", (t.clocks ->> 'commit_sha') collate "C", (t.clocks ->> 'runner_labels') collate "C", (t.clocks ->> 'status') collate "C", (t.clocks ->> 'steps') collate "C", (t.clocks ->> 'url') collate "C"), '');
      if found then
        return;
      end if;
    end;
  end if;

  -- A statement can touch a row once: several observations of one key go in one after the other.
  if jsonb_array_length(observations) > 1 and exists (
    select
    from (
      select row_number() over (partition by r.id, o.external_id) as n
      from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (external_id text)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
    ) as s
    where s.n > 1
  ) then
    select array_agg(b.said order by b.n)
    into batches
    from (
      select jsonb_agg(s.said) as said, s.n
      from (
        select e.said, row_number() over (partition by r.id, o.external_id) as n
        from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (external_id text)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
      ) as s
      group by s.n
    ) as b;
  else
    batches := array[observations];
  end if;
  foreach batch in array batches loop

    insert into metrics.jobs as t (reference_id, external_id, run_external_id, attempt, pipeline, name, branch, commit_sha, runner_labels, status, outcome, provider_outcome, queued_at, started_at, finished_at, steps, url, clocks)
    select
        r.id, o.external_id,
        o.run_external_id,
        o.attempt,
        o.pipeline,
        o.name,
        o.branch,
        o.commit_sha,
        o.runner_labels,
        o.status,
        case when said ? 'status' then o.outcome end,
        case when said ? 'status' then o.provider_outcome end,
        o.queued_at,
        o.started_at,
        case when said ? 'status' then o.finished_at end,
        o.steps,
        o.url,
        jsonb_strip_nulls(jsonb_build_object(
          'run_external_id', case when said ? 'run_external_id' then c.clock end,
          'attempt', case when said ? 'attempt' then c.clock end,
          'pipeline', case when said ? 'pipeline' then c.clock end,
          'name', case when said ? 'name' then c.clock end,
          'branch', case when said ? 'branch' then c.clock end,
          'commit_sha', case when said ? 'commit_sha' then c.clock end,
          'runner_labels', case when said ? 'runner_labels' then c.clock end,
          'status', case when said ? 'status' then c.clock end,
          'steps', case when said ? 'steps' then c.clock end,
          'url', case when said ? 'url' then c.clock end
        ))
      from jsonb_array_elements(batch) as e (said)
      cross join lateral jsonb_populate_record(null::metrics.jobs, said) as o
      inner join metrics.repository_references as r
        on r.reference = said ->> 'repository'
      cross join lateral (select (case said ->> 'status' when 'finished' then 3 when 'running' then 2 when 'queued' then 1 else 0 end)::text || ' ' || coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '') as clock offset 0) as c
    order by 1, 2
    on conflict (reference_id, external_id) do update set
        run_external_id = case when (excluded.clocks ->> 'run_external_id') collate "C" > coalesce(t.clocks ->> 'run_external_id', '')
        or (excluded.clocks ->> 'run_external_id' = t.clocks ->> 'run_external_id' and row(coalesce('1' || excluded.run_external_id, '0') collate "C") > row(coalesce('1' || t.run_external_id, '0') collate "C")) then excluded.run_external_id else t.run_external_id end,
        attempt = case when (excluded.clocks ->> 'attempt') collate "C" > coalesce(t.clocks ->> 'attempt', '')
        or (excluded.clocks ->> 'attempt' = t.clocks ->> 'attempt' and row(coalesce(excluded.attempt::numeric, '-infinity')) > row(coalesce(t.attempt::numeric, '-infinity'))) then excluded.attempt else t.attempt end,
        pipeline = case when (excluded.clocks ->> 'pipeline') collate "C" > coalesce(t.clocks ->> 'pipeline', '')
        or (excluded.clocks ->> 'pipeline' = t.clocks ->> 'pipeline' and row(coalesce('1' || excluded.pipeline, '0') collate "C") > row(coalesce('1' || t.pipeline, '0') collate "C")) then excluded.pipeline else t.pipeline end,
        name = case when (excluded.clocks ->> 'name') collate "C" > coalesce(t.clocks ->> 'name', '')
        or (excluded.clocks ->> 'name' = t.clocks ->> 'name' and row(coalesce('1' || excluded.name, '0') collate "C") > row(coalesce('1' || t.name, '0') collate "C")) then excluded.name else t.name end,
        branch = case when (excluded.clocks ->> 'branch') collate "C" > coalesce(t.clocks ->> 'branch', '')
        or (excluded.clocks ->> 'branch' = t.clocks ->> 'branch' and row(coalesce('1' || excluded.branch, '0') collate "C") > row(coalesce('1' || t.branch, '0') collate "C")) then excluded.branch else t.branch end,
        commit_sha = case when (excluded.clocks ->> 'commit_sha') collate "C" > coalesce(t.clocks ->> 'commit_sha', '')
        or (excluded.clocks ->> 'commit_sha' = t.clocks ->> 'commit_sha' and row(coalesce('1' || excluded.commit_sha, '0') collate "C") > row(coalesce('1' || t.commit_sha, '0') collate "C")) then excluded.commit_sha else t.commit_sha end,
        runner_labels = case when (excluded.clocks ->> 'runner_labels') collate "C" > coalesce(t.clocks ->> 'runner_labels', '')
        or (excluded.clocks ->> 'runner_labels' = t.clocks ->> 'runner_labels' and row(coalesce('1' || to_jsonb(excluded.runner_labels)::text, '0') collate "C") > row(coalesce('1' || to_jsonb(t.runner_labels)::text, '0') collate "C")) then excluded.runner_labels else t.runner_labels end,
        status = case when (excluded.clocks ->> 'status') collate "C" > coalesce(t.clocks ->> 'status', '')
        or (excluded.clocks ->> 'status' = t.clocks ->> 'status' and row(coalesce('1' || excluded.status, '0') collate "C", coalesce('1' || excluded.outcome, '0') collate "C", coalesce('1' || excluded.provider_outcome, '0') collate "C", coalesce(excluded.finished_at, '-infinity')) > row(coalesce('1' || t.status, '0') collate "C", coalesce('1' || t.outcome, '0') collate "C", coalesce('1' || t.provider_outcome, '0') collate "C", coalesce(t.finished_at, '-infinity'))) then excluded.status else t.status end,
        outcome = case when (excluded.clocks ->> 'status') collate "C" > coalesce(t.clocks ->> 'status', '')
        or (excluded.clocks ->> 'status' = t.clocks ->> 'status' and row(coalesce('1' || excluded.status, '0') collate "C", coalesce('1' || excluded.outcome, '0') collate "C", coalesce('1' || excluded.provider_outcome, '0') collate "C", coalesce(excluded.finished_at, '-infinity')) > row(coalesce('1' || t.status, '0') collate "C", coalesce('1' || t.outcome, '0') collate "C", coalesce('1' || t.provider_outcome, '0') collate "C", coalesce(t.finished_at, '-infinity'))) then excluded.outcome else t.outcome end,
        provider_outcome = case when (excluded.clocks ->> 'status') collate "C" > coalesce(t.clocks ->> 'status', '')
        or (excluded.clocks ->> 'status' = t.clocks ->> 'status' and row(coalesce('1' || excluded.status, '0') collate "C", coalesce('1' || excluded.outcome, '0') collate "C", coalesce('1' || excluded.provider_outcome, '0') collate "C", coalesce(excluded.finished_at, '-infinity')) > row(coalesce('1' || t.status, '0') collate "C", coalesce('1' || t.outcome, '0') collate "C", coalesce('1' || t.provider_outcome, '0') collate "C", coalesce(t.finished_at, '-infinity'))) then excluded.provider_outcome else t.provider_outcome end,
        queued_at = least(t.queued_at, excluded.queued_at),
        started_at = least(t.started_at, excluded.started_at),
        finished_at = case when (excluded.clocks ->> 'status') collate "C" > coalesce(t.clocks ->> 'status', '')
        or (excluded.clocks ->> 'status' = t.clocks ->> 'status' and row(coalesce('1' || excluded.status, '0') collate "C", coalesce('1' || excluded.outcome, '0') collate "C", coalesce('1' || excluded.provider_outcome, '0') collate "C", coalesce(excluded.finished_at, '-infinity')) > row(coalesce('1' || t.status, '0') collate "C", coalesce('1' || t.outcome, '0') collate "C", coalesce('1' || t.provider_outcome, '0') collate "C", coalesce(t.finished_at, '-infinity'))) then excluded.finished_at else t.finished_at end,
        steps = case when (excluded.clocks ->> 'steps') collate "C" > coalesce(t.clocks ->> 'steps', '')
        or (excluded.clocks ->> 'steps' = t.clocks ->> 'steps' and row(coalesce('1' || to_jsonb(excluded.steps)::text, '0') collate "C") > row(coalesce('1' || to_jsonb(t.steps)::text, '0') collate "C")) then excluded.steps else t.steps end,
        url = case when (excluded.clocks ->> 'url') collate "C" > coalesce(t.clocks ->> 'url', '')
        or (excluded.clocks ->> 'url' = t.clocks ->> 'url' and row(coalesce('1' || excluded.url, '0') collate "C") > row(coalesce('1' || t.url, '0') collate "C")) then excluded.url else t.url end,
        clocks = jsonb_strip_nulls(jsonb_build_object(
          'run_external_id', greatest((excluded.clocks ->> 'run_external_id') collate "C", t.clocks ->> 'run_external_id'),
          'attempt', greatest((excluded.clocks ->> 'attempt') collate "C", t.clocks ->> 'attempt'),
          'pipeline', greatest((excluded.clocks ->> 'pipeline') collate "C", t.clocks ->> 'pipeline'),
          'name', greatest((excluded.clocks ->> 'name') collate "C", t.clocks ->> 'name'),
          'branch', greatest((excluded.clocks ->> 'branch') collate "C", t.clocks ->> 'branch'),
          'commit_sha', greatest((excluded.clocks ->> 'commit_sha') collate "C", t.clocks ->> 'commit_sha'),
          'runner_labels', greatest((excluded.clocks ->> 'runner_labels') collate "C", t.clocks ->> 'runner_labels'),
          'status', greatest((excluded.clocks ->> 'status') collate "C", t.clocks ->> 'status'),
          'steps', greatest((excluded.clocks ->> 'steps') collate "C", t.clocks ->> 'steps'),
          'url', greatest((excluded.clocks ->> 'url') collate "C", t.clocks ->> 'url')
        )),
        updated_at = now()
    -- The same said again is not written again.
    where not (t.clocks @> excluded.clocks)
      or (excluded.run_external_id, excluded.attempt, excluded.pipeline, excluded.name, excluded.branch, excluded.commit_sha, excluded.runner_labels, excluded.status, excluded.outcome, excluded.provider_outcome, excluded.queued_at, excluded.started_at, excluded.finished_at, excluded.steps, excluded.url) is distinct from (t.run_external_id, t.attempt, t.pipeline, t.name, t.branch, t.commit_sha, t.runner_labels, t.status, t.outcome, t.provider_outcome, t.queued_at, t.started_at, t.finished_at, t.steps, t.url);
  end loop;
end
$function$;
comment on function metrics.fold_jobs(observations jsonb) is 'Folds a list of observations into metrics.jobs. Written by metrics.compile_fold from the rules in its columns'' comments.';

-- function metrics.fold_measurements(observations jsonb)
CREATE OR REPLACE FUNCTION metrics.fold_measurements(observations jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  batch jsonb;
  batches jsonb[];
begin

  -- Nearly always one observation comes alone, of a new key or later than all that was said of it: that needs no comparison of each
  -- column, and a short statement, which is prepared anew at every call.
  if jsonb_array_length(observations) = 1 then
    declare
      said constant jsonb := observations -> 0;
      o constant metrics.measurements := jsonb_populate_record(null::metrics.measurements, said);
      clock constant text := coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || ' ' || (0)::text || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '');
      r record;
    begin
      select i.id
      into r
      from metrics.repository_references as i
      where i.reference = said ->> 'repository';
      insert into metrics.measurements as t (reference_id, name, external_id, value, unit, attributes, measured_at, clocks)
      values (
        r.id, o.name, o.external_id,
        o.value,
        case when said ? 'value' then o.unit end,
        case when said ? 'value' then o.attributes end,
        case when said ? 'value' then o.measured_at end,
        jsonb_strip_nulls(jsonb_build_object(
          'value', case when said ? 'value' then clock end
        ))
      )
      on conflict (reference_id, name, external_id) do update set
          value = case when excluded.clocks ? 'value' then excluded.value else t.value end,
          unit = case when excluded.clocks ? 'value' then excluded.unit else t.unit end,
          attributes = case when excluded.clocks ? 'value' then excluded.attributes else t.attributes end,
          measured_at = case when excluded.clocks ? 'value' then excluded.measured_at else t.measured_at end,
          clocks = t.clocks || excluded.clocks,
          updated_at = now()
      where excluded.clocks <> '{}'
        and clock > coalesce(greatest((t.clocks ->> 'value') collate "C"), '');
      if found then
        return;
      end if;
    end;
  end if;

  -- A statement can touch a row once: several observations of one key go in one after the other.
  if jsonb_array_length(observations) > 1 and exists (
    select
    from (
      select row_number() over (partition by r.id, o.name, o.external_id) as n
      from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (name text, external_id text)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
    ) as s
    where s.n > 1
  ) then
    select array_agg(b.said order by b.n)
    into batches
    from (
      select jsonb_agg(s.said) as said, s.n
      from (
        select e.said, row_number() over (partition by r.id, o.name, o.external_id) as n
        from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (name text, external_id text)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
      ) as s
      group by s.n
    ) as b;
  else
    batches := array[observations];
  end if;
  foreach batch in array batches loop

    insert into metrics.measurements as t (reference_id, name, external_id, value, unit, attributes, measured_at, clocks)
    select
        r.id, o.name, o.external_id,
        o.value,
        case when said ? 'value' then o.unit end,
        case when said ? 'value' then o.attributes end,
        case when said ? 'value' then o.measured_at end,
        jsonb_strip_nulls(jsonb_build_object(
          'value', case when said ? 'value' then c.clock end
        ))
      from jsonb_array_elements(batch) as e (said)
      cross join lateral jsonb_populate_record(null::metrics.measurements, said) as o
      inner join metrics.repository_references as r
        on r.reference = said ->> 'repository'
      cross join lateral (select coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || ' ' || (0)::text || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '') as clock offset 0) as c
    order by 1, 2, 3
    on conflict (reference_id, name, external_id) do update set
        value = case when (excluded.clocks ->> 'value') collate "C" > coalesce(t.clocks ->> 'value', '')
        or (excluded.clocks ->> 'value' = t.clocks ->> 'value' and row(coalesce(excluded.value, '-infinity'), coalesce('1' || excluded.unit, '0') collate "C", coalesce('1' || to_jsonb(excluded.attributes)::text, '0') collate "C", coalesce(excluded.measured_at, '-infinity')) > row(coalesce(t.value, '-infinity'), coalesce('1' || t.unit, '0') collate "C", coalesce('1' || to_jsonb(t.attributes)::text, '0') collate "C", coalesce(t.measured_at, '-infinity'))) then excluded.value else t.value end,
        unit = case when (excluded.clocks ->> 'value') collate "C" > coalesce(t.clocks ->> 'value', '')
        or (excluded.clocks ->> 'value' = t.clocks ->> 'value' and row(coalesce(excluded.value, '-infinity'), coalesce('1' || excluded.unit, '0') collate "C", coalesce('1' || to_jsonb(excluded.attributes)::text, '0') collate "C", coalesce(excluded.measured_at, '-infinity')) > row(coalesce(t.value, '-infinity'), coalesce('1' || t.unit, '0') collate "C", coalesce('1' || to_jsonb(t.attributes)::text, '0') collate "C", coalesce(t.measured_at, '-infinity'))) then excluded.unit else t.unit end,
        attributes = case when (excluded.clocks ->> 'value') collate "C" > coalesce(t.clocks ->> 'value', '')
        or (excluded.clocks ->> 'value' = t.clocks ->> 'value' and row(coalesce(excluded.value, '-infinity'), coalesce('1' || excluded.unit, '0') collate "C", coalesce('1' || to_jsonb(excluded.attributes)::text, '0') collate "C", coalesce(excluded.measured_at, '-infinity')) > row(coalesce(t.value, '-infinity'), coalesce('1' || t.unit, '0') collate "C", coalesce('1' || to_jsonb(t.attributes)::text, '0') collate "C", coalesce(t.measured_at, '-infinity'))) then excluded.attributes else t.attributes end,
        measured_at = case when (excluded.clocks ->> 'value') collate "C" > coalesce(t.clocks ->> 'value', '')
        or (excluded.clocks ->> 'value' = t.clocks ->> 'value' and row(coalesce(excluded.value, '-infinity'), coalesce('1' || excluded.unit, '0') collate "C", coalesce('1' || to_jsonb(excluded.attributes)::text, '0') collate "C", coalesce(excluded.measured_at, '-infinity')) > row(coalesce(t.value, '-infinity'), coalesce('1' || t.unit, '0') collate "C", coalesce('1' || to_jsonb(t.attributes)::text, '0') collate "C", coalesce(t.measured_at, '-infinity'))) then excluded.measured_at else t.measured_at end,
        clocks = jsonb_strip_nulls(jsonb_build_object(
          'value', greatest((excluded.clocks ->> 'value') collate "C", t.clocks ->> 'value')
        )),
        updated_at = now()
    -- The same said again is not written again.
    where not (t.clocks @> excluded.clocks)
      or (excluded.value, excluded.unit, excluded.attributes, excluded.measured_at) is distinct from (t.value, t.unit, t.attributes, t.measured_at);
  end loop;
end
$function$;
comment on function metrics.fold_measurements(observations jsonb) is 'Folds a list of observations into metrics.measurements. Written by metrics.compile_fold from the rules in its columns'' comments.';

-- function metrics.fold_pipeline_runs(observations jsonb)
CREATE OR REPLACE FUNCTION metrics.fold_pipeline_runs(observations jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  batch jsonb;
  batches jsonb[];
begin

  -- Nearly always one observation comes alone, of a new key or later than all that was said of it: that needs no comparison of each
  -- column, and a short statement, which is prepared anew at every call.
  if jsonb_array_length(observations) = 1 then
    declare
      said constant jsonb := observations -> 0;
      o constant metrics.pipeline_runs := jsonb_populate_record(null::metrics.pipeline_runs, said);
      clock constant text := (case said ->> 'status' when 'finished' then 3 when 'running' then 2 when 'queued' then 1 else 0 end)::text || ' ' || coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '');
      r record;
    begin
      select i.id
      into r
      from metrics.repository_references as i
      where i.reference = said ->> 'repository';
      insert into metrics.pipeline_runs as t (reference_id, external_id, attempt, rerun_group, pipeline, number, trigger, branch, on_default_branch, commit_sha, pull_request_numbers, actor, actor_is_bot, status, outcome, provider_outcome, queued_at, started_at, finished_at, url, clocks)
      values (
        r.id, o.external_id, coalesce(o.attempt, 1),
        o.rerun_group,
        o.pipeline,
        o.number,
        o.trigger,
        o.branch,
        o.on_default_branch,
        o.commit_sha,
        o.pull_request_numbers,
        o.actor,
        case when said ? 'actor' then o.actor_is_bot end,
        o.status,
        case when said ? 'status' then o.outcome end,
        case when said ? 'status' then o.provider_outcome end,
        o.queued_at,
        o.started_at,
        case when said ? 'status' then o.finished_at end,
        o.url,
        jsonb_strip_nulls(jsonb_build_object(
          'rerun_group', case when said ? 'rerun_group' then clock end,
          'pipeline', case when said ? 'pipeline' then clock end,
          'number', case when said ? 'number' then clock end,
          'trigger', case when said ? 'trigger' then clock end,
          'branch', case when said ? 'branch' then clock end,
          'on_default_branch', case when said ? 'on_default_branch' then clock end,
          'commit_sha', case when said ? 'commit_sha' then clock end,
          'pull_request_numbers', case when said ? 'pull_request_numbers' then clock end,
          'actor', case when said ? 'actor' then clock end,
          'status', case when said ? 'status' then clock end,
          'url', case when said ? 'url' then clock end
        ))
      )
      on conflict (reference_id, external_id, attempt) do update set
          rerun_group = case when excluded.clocks ? 'rerun_group' then excluded.rerun_group else t.rerun_group end,
          pipeline = case when excluded.clocks ? 'pipeline' then excluded.pipeline else t.pipeline end,
          number = case when excluded.clocks ? 'number' then excluded.number else t.number end,
          trigger = case when excluded.clocks ? 'trigger' then excluded.trigger else t.trigger end,
          branch = case when excluded.clocks ? 'branch' then excluded.branch else t.branch end,
          on_default_branch = case when excluded.clocks ? 'on_default_branch' then excluded.on_default_branch else t.on_default_branch end,
          commit_sha = case when excluded.clocks ? 'commit_sha' then excluded.commit_sha else t.commit_sha end,
          pull_request_numbers = case when excluded.clocks ? 'pull_request_numbers' then excluded.pull_request_numbers else t.pull_request_numbers end,
          actor = case when excluded.clocks ? 'actor' then excluded.actor else t.actor end,
          actor_is_bot = case when excluded.clocks ? 'actor' then excluded.actor_is_bot else t.actor_is_bot end,
          status = case when excluded.clocks ? 'status' then excluded.status else t.status end,
          outcome = case when excluded.clocks ? 'status' then excluded.outcome else t.outcome end,
          provider_outcome = case when excluded.clocks ? 'status' then excluded.provider_outcome else t.provider_outcome end,
          queued_at = least(t.queued_at, excluded.queued_at),
          started_at = least(t.started_at, excluded.started_at),
          finished_at = case when excluded.clocks ? 'status' then excluded.finished_at else t.finished_at end,
          url = case when excluded.clocks ? 'url' then excluded.url else t.url end,
          clocks = t.clocks || excluded.clocks,
          updated_at = now()
      where excluded.clocks <> '{}'
        and clock > coalesce(greatest((t.clocks ->> 'rerun_group') collate "C", (t.clocks ->> 'pipeline') collate "C", (t.clocks ->> 'number') collate "C", (t.clocks ->> 'trigger') collate "C", (t.clocks ->> 'branch') collate "C", (t.clocks ->> 'on_default_branch') collate "C", (t.clocks ->> 'commit_sha') collate "C", (t.clocks ->> 'pull_request_numbers') collate "C", (t.clocks ->> 'actor') collate "C", (t.clocks ->> 'status') collate "C", (t.clocks ->> 'url') collate "C"), '');
      if found then
        return;
      end if;
    end;
  end if;

  -- A statement can touch a row once: several observations of one key go in one after the other.
  if jsonb_array_length(observations) > 1 and exists (
    select
    from (
      select row_number() over (partition by r.id, o.external_id, coalesce(o.attempt, 1)) as n
      from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (external_id text, attempt integer)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
    ) as s
    where s.n > 1
  ) then
    select array_agg(b.said order by b.n)
    into batches
    from (
      select jsonb_agg(s.said) as said, s.n
      from (
        select e.said, row_number() over (partition by r.id, o.external_id, coalesce(o.attempt, 1)) as n
        from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (external_id text, attempt integer)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
      ) as s
      group by s.n
    ) as b;
  else
    batches := array[observations];
  end if;
  foreach batch in array batches loop

    insert into metrics.pipeline_runs as t (reference_id, external_id, attempt, rerun_group, pipeline, number, trigger, branch, on_default_branch, commit_sha, pull_request_numbers, actor, actor_is_bot, status, outcome, provider_outcome, queued_at, started_at, finished_at, url, clocks)
    select
        r.id, o.external_id, coalesce(o.attempt, 1),
        o.rerun_group,
        o.pipeline,
        o.number,
        o.trigger,
        o.branch,
        o.on_default_branch,
        o.commit_sha,
        o.pull_request_numbers,
        o.actor,
        case when said ? 'actor' then o.actor_is_bot end,
        o.status,
        case when said ? 'status' then o.outcome end,
        case when said ? 'status' then o.provider_outcome end,
        o.queued_at,
        o.started_at,
        case when said ? 'status' then o.finished_at end,
        o.url,
        jsonb_strip_nulls(jsonb_build_object(
          'rerun_group', case when said ? 'rerun_group' then c.clock end,
          'pipeline', case when said ? 'pipeline' then c.clock end,
          'number', case when said ? 'number' then c.clock end,
          'trigger', case when said ? 'trigger' then c.clock end,
          'branch', case when said ? 'branch' then c.clock end,
          'on_default_branch', case when said ? 'on_default_branch' then c.clock end,
          'commit_sha', case when said ? 'commit_sha' then c.clock end,
          'pull_request_numbers', case when said ? 'pull_request_numbers' then c.clock end,
          'actor', case when said ? 'actor' then c.clock end,
          'status', case when said ? 'status' then c.clock end,
          'url', case when said ? 'url' then c.clock end
        ))
      from jsonb_array_elements(batch) as e (said)
      cross join lateral jsonb_populate_record(null::metrics.pipeline_runs, said) as o
      inner join metrics.repository_references as r
        on r.reference = said ->> 'repository'
      cross join lateral (select (case said ->> 'status' when 'finished' then 3 when 'running' then 2 when 'queued' then 1 else 0 end)::text || ' ' || coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '') as clock offset 0) as c
    order by 1, 2, 3
    on conflict (reference_id, external_id, attempt) do update set
        rerun_group = case when (excluded.clocks ->> 'rerun_group') collate "C" > coalesce(t.clocks ->> 'rerun_group', '')
        or (excluded.clocks ->> 'rerun_group' = t.clocks ->> 'rerun_group' and row(coalesce('1' || excluded.rerun_group, '0') collate "C") > row(coalesce('1' || t.rerun_group, '0') collate "C")) then excluded.rerun_group else t.rerun_group end,
        pipeline = case when (excluded.clocks ->> 'pipeline') collate "C" > coalesce(t.clocks ->> 'pipeline', '')
        or (excluded.clocks ->> 'pipeline' = t.clocks ->> 'pipeline' and row(coalesce('1' || excluded.pipeline, '0') collate "C") > row(coalesce('1' || t.pipeline, '0') collate "C")) then excluded.pipeline else t.pipeline end,
        number = case when (excluded.clocks ->> 'number') collate "C" > coalesce(t.clocks ->> 'number', '')
        or (excluded.clocks ->> 'number' = t.clocks ->> 'number' and row(coalesce(excluded.number::numeric, '-infinity')) > row(coalesce(t.number::numeric, '-infinity'))) then excluded.number else t.number end,
        trigger = case when (excluded.clocks ->> 'trigger') collate "C" > coalesce(t.clocks ->> 'trigger', '')
        or (excluded.clocks ->> 'trigger' = t.clocks ->> 'trigger' and row(coalesce('1' || excluded.trigger, '0') collate "C") > row(coalesce('1' || t.trigger, '0') collate "C")) then excluded.trigger else t.trigger end,
        branch = case when (excluded.clocks ->> 'branch') collate "C" > coalesce(t.clocks ->> 'branch', '')
        or (excluded.clocks ->> 'branch' = t.clocks ->> 'branch' and row(coalesce('1' || excluded.branch, '0') collate "C") > row(coalesce('1' || t.branch, '0') collate "C")) then excluded.branch else t.branch end,
        on_default_branch = case when (excluded.clocks ->> 'on_default_branch') collate "C" > coalesce(t.clocks ->> 'on_default_branch', '')
        or (excluded.clocks ->> 'on_default_branch' = t.clocks ->> 'on_default_branch' and row(coalesce(excluded.on_default_branch::integer, -1)) > row(coalesce(t.on_default_branch::integer, -1))) then excluded.on_default_branch else t.on_default_branch end,
        commit_sha = case when (excluded.clocks ->> 'commit_sha') collate "C" > coalesce(t.clocks ->> 'commit_sha', '')
        or (excluded.clocks ->> 'commit_sha' = t.clocks ->> 'commit_sha' and row(coalesce('1' || excluded.commit_sha, '0') collate "C") > row(coalesce('1' || t.commit_sha, '0') collate "C")) then excluded.commit_sha else t.commit_sha end,
        pull_request_numbers = case when (excluded.clocks ->> 'pull_request_numbers') collate "C" > coalesce(t.clocks ->> 'pull_request_numbers', '')
        or (excluded.clocks ->> 'pull_request_numbers' = t.clocks ->> 'pull_request_numbers' and row(coalesce('1' || to_jsonb(excluded.pull_request_numbers)::text, '0') collate "C") > row(coalesce('1' || to_jsonb(t.pull_request_numbers)::text, '0') collate "C")) then excluded.pull_request_numbers else t.pull_request_numbers end,
        actor = case when (excluded.clocks ->> 'actor') collate "C" > coalesce(t.clocks ->> 'actor', '')
        or (excluded.clocks ->> 'actor' = t.clocks ->> 'actor' and row(coalesce('1' || excluded.actor, '0') collate "C", coalesce(excluded.actor_is_bot::integer, -1)) > row(coalesce('1' || t.actor, '0') collate "C", coalesce(t.actor_is_bot::integer, -1))) then excluded.actor else t.actor end,
        actor_is_bot = case when (excluded.clocks ->> 'actor') collate "C" > coalesce(t.clocks ->> 'actor', '')
        or (excluded.clocks ->> 'actor' = t.clocks ->> 'actor' and row(coalesce('1' || excluded.actor, '0') collate "C", coalesce(excluded.actor_is_bot::integer, -1)) > row(coalesce('1' || t.actor, '0') collate "C", coalesce(t.actor_is_bot::integer, -1))) then excluded.actor_is_bot else t.actor_is_bot end,
        status = case when (excluded.clocks ->> 'status') collate "C" > coalesce(t.clocks ->> 'status', '')
        or (excluded.clocks ->> 'status' = t.clocks ->> 'status' and row(coalesce('1' || excluded.status, '0') collate "C", coalesce('1' || excluded.outcome, '0') collate "C", coalesce('1' || excluded.provider_outcome, '0') collate "C", coalesce(excluded.finished_at, '-infinity')) > row(coalesce('1' || t.status, '0') collate "C", coalesce('1' || t.outcome, '0') collate "C", coalesce('1' || t.provider_outcome, '0') collate "C", coalesce(t.finished_at, '-infinity'))) then excluded.status else t.status end,
        outcome = case when (excluded.clocks ->> 'status') collate "C" > coalesce(t.clocks ->> 'status', '')
        or (excluded.clocks ->> 'status' = t.clocks ->> 'status' and row(coalesce('1' || excluded.status, '0') collate "C", coalesce('1' || excluded.outcome, '0') collate "C", coalesce('1' || excluded.provider_outcome, '0') collate "C", coalesce(excluded.finished_at, '-infinity')) > row(coalesce('1' || t.status, '0') collate "C", coalesce('1' || t.outcome, '0') collate "C", coalesce('1' || t.provider_outcome, '0') collate "C", coalesce(t.finished_at, '-infinity'))) then excluded.outcome else t.outcome end,
        provider_outcome = case when (excluded.clocks ->> 'status') collate "C" > coalesce(t.clocks ->> 'status', '')
        or (excluded.clocks ->> 'status' = t.clocks ->> 'status' and row(coalesce('1' || excluded.status, '0') collate "C", coalesce('1' || excluded.outcome, '0') collate "C", coalesce('1' || excluded.provider_outcome, '0') collate "C", coalesce(excluded.finished_at, '-infinity')) > row(coalesce('1' || t.status, '0') collate "C", coalesce('1' || t.outcome, '0') collate "C", coalesce('1' || t.provider_outcome, '0') collate "C", coalesce(t.finished_at, '-infinity'))) then excluded.provider_outcome else t.provider_outcome end,
        queued_at = least(t.queued_at, excluded.queued_at),
        started_at = least(t.started_at, excluded.started_at),
        finished_at = case when (excluded.clocks ->> 'status') collate "C" > coalesce(t.clocks ->> 'status', '')
        or (excluded.clocks ->> 'status' = t.clocks ->> 'status' and row(coalesce('1' || excluded.status, '0') collate "C", coalesce('1' || excluded.outcome, '0') collate "C", coalesce('1' || excluded.provider_outcome, '0') collate "C", coalesce(excluded.finished_at, '-infinity')) > row(coalesce('1' || t.status, '0') collate "C", coalesce('1' || t.outcome, '0') collate "C", coalesce('1' || t.provider_outcome, '0') collate "C", coalesce(t.finished_at, '-infinity'))) then excluded.finished_at else t.finished_at end,
        url = case when (excluded.clocks ->> 'url') collate "C" > coalesce(t.clocks ->> 'url', '')
        or (excluded.clocks ->> 'url' = t.clocks ->> 'url' and row(coalesce('1' || excluded.url, '0') collate "C") > row(coalesce('1' || t.url, '0') collate "C")) then excluded.url else t.url end,
        clocks = jsonb_strip_nulls(jsonb_build_object(
          'rerun_group', greatest((excluded.clocks ->> 'rerun_group') collate "C", t.clocks ->> 'rerun_group'),
          'pipeline', greatest((excluded.clocks ->> 'pipeline') collate "C", t.clocks ->> 'pipeline'),
          'number', greatest((excluded.clocks ->> 'number') collate "C", t.clocks ->> 'number'),
          'trigger', greatest((excluded.clocks ->> 'trigger') collate "C", t.clocks ->> 'trigger'),
          'branch', greatest((excluded.clocks ->> 'branch') collate "C", t.clocks ->> 'branch'),
          'on_default_branch', greatest((excluded.clocks ->> 'on_default_branch') collate "C", t.clocks ->> 'on_default_branch'),
          'commit_sha', greatest((excluded.clocks ->> 'commit_sha') collate "C", t.clocks ->> 'commit_sha'),
          'pull_request_numbers', greatest((excluded.clocks ->> 'pull_request_numbers') collate "C", t.clocks ->> 'pull_request_numbers'),
          'actor', greatest((excluded.clocks ->> 'actor') collate "C", t.clocks ->> 'actor'),
          'status', greatest((excluded.clocks ->> 'status') collate "C", t.clocks ->> 'status'),
          'url', greatest((excluded.clocks ->> 'url') collate "C", t.clocks ->> 'url')
        )),
        updated_at = now()
    -- The same said again is not written again.
    where not (t.clocks @> excluded.clocks)
      or (excluded.rerun_group, excluded.pipeline, excluded.number, excluded.trigger, excluded.branch, excluded.on_default_branch, excluded.commit_sha, excluded.pull_request_numbers, excluded.actor, excluded.actor_is_bot, excluded.status, excluded.outcome, excluded.provider_outcome, excluded.queued_at, excluded.started_at, excluded.finished_at, excluded.url) is distinct from (t.rerun_group, t.pipeline, t.number, t.trigger, t.branch, t.on_default_branch, t.commit_sha, t.pull_request_numbers, t.actor, t.actor_is_bot, t.status, t.outcome, t.provider_outcome, t.queued_at, t.started_at, t.finished_at, t.url);
  end loop;
end
$function$;
comment on function metrics.fold_pipeline_runs(observations jsonb) is 'Folds a list of observations into metrics.pipeline_runs. Written by metrics.compile_fold from the rules in its columns'' comments.';

-- function metrics.fold_pull_requests(observations jsonb)
CREATE OR REPLACE FUNCTION metrics.fold_pull_requests(observations jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  batch jsonb;
  batches jsonb[];
begin

  -- Nearly always one observation comes alone, of a new key or later than all that was said of it: that needs no comparison of each
  -- column, and a short statement, which is prepared anew at every call.
  if jsonb_array_length(observations) = 1 then
    declare
      said constant jsonb := observations -> 0;
      o constant metrics.pull_requests := jsonb_populate_record(null::metrics.pull_requests, said);
      clock constant text := coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || ' ' || (case said ->> 'state' when 'merged' then 3 when 'closed' then 2 when 'open' then 1 else 0 end)::text || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '');
      r record;
    begin
      select i.id
      into r
      from metrics.repository_references as i
      where i.reference = said ->> 'repository';
      insert into metrics.pull_requests as t (reference_id, number, title, author, author_is_bot, head_branch, base_branch, is_fork, head_sha, merge_sha, state, is_draft, labels, additions, deletions, changed_files, opened_at, ready_times, merged_at, closed_at, url, clocks)
      values (
        r.id, o.number,
        o.title,
        o.author,
        case when said ? 'author' then o.author_is_bot end,
        o.head_branch,
        o.base_branch,
        o.is_fork,
        o.head_sha,
        case when said ? 'state' then o.merge_sha end,
        o.state,
        o.is_draft,
        o.labels,
        o.additions,
        case when said ? 'additions' then o.deletions end,
        case when said ? 'additions' then o.changed_files end,
        o.opened_at,
        (select array_agg(distinct u order by u) from unnest(o.ready_times) as u),
        case when said ? 'state' then o.merged_at end,
        case when said ? 'state' then o.closed_at end,
        o.url,
        jsonb_strip_nulls(jsonb_build_object(
          'title', case when said ? 'title' then clock end,
          'author', case when said ? 'author' then clock end,
          'head_branch', case when said ? 'head_branch' then clock end,
          'base_branch', case when said ? 'base_branch' then clock end,
          'is_fork', case when said ? 'is_fork' then clock end,
          'head_sha', case when said ? 'head_sha' then clock end,
          'state', case when said ? 'state' then clock end,
          'is_draft', case when said ? 'is_draft' then clock end,
          'labels', case when said ? 'labels' then clock end,
          'additions', case when said ? 'additions' then clock end,
          'url', case when said ? 'url' then clock end
        ))
      )
      on conflict (reference_id, number) do update set
          title = case when excluded.clocks ? 'title' then excluded.title else t.title end,
          author = case when excluded.clocks ? 'author' then excluded.author else t.author end,
          author_is_bot = case when excluded.clocks ? 'author' then excluded.author_is_bot else t.author_is_bot end,
          head_branch = case when excluded.clocks ? 'head_branch' then excluded.head_branch else t.head_branch end,
          base_branch = case when excluded.clocks ? 'base_branch' then excluded.base_branch else t.base_branch end,
          is_fork = case when excluded.clocks ? 'is_fork' then excluded.is_fork else t.is_fork end,
          head_sha = case when excluded.clocks ? 'head_sha' then excluded.head_sha else t.head_sha end,
          merge_sha = case when excluded.clocks ? 'state' then excluded.merge_sha else t.merge_sha end,
          state = case when excluded.clocks ? 'state' then excluded.state else t.state end,
          is_draft = case when excluded.clocks ? 'is_draft' then excluded.is_draft else t.is_draft end,
          labels = case when excluded.clocks ? 'labels' then excluded.labels else t.labels end,
          additions = case when excluded.clocks ? 'additions' then excluded.additions else t.additions end,
          deletions = case when excluded.clocks ? 'additions' then excluded.deletions else t.deletions end,
          changed_files = case when excluded.clocks ? 'additions' then excluded.changed_files else t.changed_files end,
          opened_at = least(t.opened_at, excluded.opened_at),
          ready_times = (select array_agg(distinct u order by u) from unnest(coalesce(t.ready_times, '{}') || coalesce(excluded.ready_times, '{}')) as u),
          merged_at = case when excluded.clocks ? 'state' then excluded.merged_at else t.merged_at end,
          closed_at = case when excluded.clocks ? 'state' then excluded.closed_at else t.closed_at end,
          url = case when excluded.clocks ? 'url' then excluded.url else t.url end,
          clocks = t.clocks || excluded.clocks,
          updated_at = now()
      where excluded.clocks <> '{}'
        and clock > coalesce(greatest((t.clocks ->> 'title') collate "C", (t.clocks ->> 'author') collate "C", (t.clocks ->> 'head_branch') collate "C", (t.clocks ->> 'base_branch') collate "C", (t.clocks ->> 'is_fork') collate "C", (t.clocks ->> 'head_sha') collate "C", (t.clocks ->> 'state') collate "C", (t.clocks ->> 'is_draft') collate "C", (t.clocks ->> 'labels') collate "C", (t.clocks ->> 'additions') collate "C", (t.clocks ->> 'url') collate "C"), '');
      if found then
        return;
      end if;
    end;
  end if;

  -- A statement can touch a row once: several observations of one key go in one after the other.
  if jsonb_array_length(observations) > 1 and exists (
    select
    from (
      select row_number() over (partition by r.id, o.number) as n
      from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (number integer)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
    ) as s
    where s.n > 1
  ) then
    select array_agg(b.said order by b.n)
    into batches
    from (
      select jsonb_agg(s.said) as said, s.n
      from (
        select e.said, row_number() over (partition by r.id, o.number) as n
        from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (number integer)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
      ) as s
      group by s.n
    ) as b;
  else
    batches := array[observations];
  end if;
  foreach batch in array batches loop

    insert into metrics.pull_requests as t (reference_id, number, title, author, author_is_bot, head_branch, base_branch, is_fork, head_sha, merge_sha, state, is_draft, labels, additions, deletions, changed_files, opened_at, ready_times, merged_at, closed_at, url, clocks)
    select
        r.id, o.number,
        o.title,
        o.author,
        case when said ? 'author' then o.author_is_bot end,
        o.head_branch,
        o.base_branch,
        o.is_fork,
        o.head_sha,
        case when said ? 'state' then o.merge_sha end,
        o.state,
        o.is_draft,
        o.labels,
        o.additions,
        case when said ? 'additions' then o.deletions end,
        case when said ? 'additions' then o.changed_files end,
        o.opened_at,
        (select array_agg(distinct u order by u) from unnest(o.ready_times) as u),
        case when said ? 'state' then o.merged_at end,
        case when said ? 'state' then o.closed_at end,
        o.url,
        jsonb_strip_nulls(jsonb_build_object(
          'title', case when said ? 'title' then c.clock end,
          'author', case when said ? 'author' then c.clock end,
          'head_branch', case when said ? 'head_branch' then c.clock end,
          'base_branch', case when said ? 'base_branch' then c.clock end,
          'is_fork', case when said ? 'is_fork' then c.clock end,
          'head_sha', case when said ? 'head_sha' then c.clock end,
          'state', case when said ? 'state' then c.clock end,
          'is_draft', case when said ? 'is_draft' then c.clock end,
          'labels', case when said ? 'labels' then c.clock end,
          'additions', case when said ? 'additions' then c.clock end,
          'url', case when said ? 'url' then c.clock end
        ))
      from jsonb_array_elements(batch) as e (said)
      cross join lateral jsonb_populate_record(null::metrics.pull_requests, said) as o
      inner join metrics.repository_references as r
        on r.reference = said ->> 'repository'
      cross join lateral (select coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || ' ' || (case said ->> 'state' when 'merged' then 3 when 'closed' then 2 when 'open' then 1 else 0 end)::text || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '') as clock offset 0) as c
    order by 1, 2
    on conflict (reference_id, number) do update set
        title = case when (excluded.clocks ->> 'title') collate "C" > coalesce(t.clocks ->> 'title', '')
        or (excluded.clocks ->> 'title' = t.clocks ->> 'title' and row(coalesce('1' || excluded.title, '0') collate "C") > row(coalesce('1' || t.title, '0') collate "C")) then excluded.title else t.title end,
        author = case when (excluded.clocks ->> 'author') collate "C" > coalesce(t.clocks ->> 'author', '')
        or (excluded.clocks ->> 'author' = t.clocks ->> 'author' and row(coalesce('1' || excluded.author, '0') collate "C", coalesce(excluded.author_is_bot::integer, -1)) > row(coalesce('1' || t.author, '0') collate "C", coalesce(t.author_is_bot::integer, -1))) then excluded.author else t.author end,
        author_is_bot = case when (excluded.clocks ->> 'author') collate "C" > coalesce(t.clocks ->> 'author', '')
        or (excluded.clocks ->> 'author' = t.clocks ->> 'author' and row(coalesce('1' || excluded.author, '0') collate "C", coalesce(excluded.author_is_bot::integer, -1)) > row(coalesce('1' || t.author, '0') collate "C", coalesce(t.author_is_bot::integer, -1))) then excluded.author_is_bot else t.author_is_bot end,
        head_branch = case when (excluded.clocks ->> 'head_branch') collate "C" > coalesce(t.clocks ->> 'head_branch', '')
        or (excluded.clocks ->> 'head_branch' = t.clocks ->> 'head_branch' and row(coalesce('1' || excluded.head_branch, '0') collate "C") > row(coalesce('1' || t.head_branch, '0') collate "C")) then excluded.head_branch else t.head_branch end,
        base_branch = case when (excluded.clocks ->> 'base_branch') collate "C" > coalesce(t.clocks ->> 'base_branch', '')
        or (excluded.clocks ->> 'base_branch' = t.clocks ->> 'base_branch' and row(coalesce('1' || excluded.base_branch, '0') collate "C") > row(coalesce('1' || t.base_branch, '0') collate "C")) then excluded.base_branch else t.base_branch end,
        is_fork = case when (excluded.clocks ->> 'is_fork') collate "C" > coalesce(t.clocks ->> 'is_fork', '')
        or (excluded.clocks ->> 'is_fork' = t.clocks ->> 'is_fork' and row(coalesce(excluded.is_fork::integer, -1)) > row(coalesce(t.is_fork::integer, -1))) then excluded.is_fork else t.is_fork end,
        head_sha = case when (excluded.clocks ->> 'head_sha') collate "C" > coalesce(t.clocks ->> 'head_sha', '')
        or (excluded.clocks ->> 'head_sha' = t.clocks ->> 'head_sha' and row(coalesce('1' || excluded.head_sha, '0') collate "C") > row(coalesce('1' || t.head_sha, '0') collate "C")) then excluded.head_sha else t.head_sha end,
        merge_sha = case when (excluded.clocks ->> 'state') collate "C" > coalesce(t.clocks ->> 'state', '')
        or (excluded.clocks ->> 'state' = t.clocks ->> 'state' and row(coalesce('1' || excluded.state, '0') collate "C", coalesce('1' || excluded.merge_sha, '0') collate "C", coalesce(excluded.merged_at, '-infinity'), coalesce(excluded.closed_at, '-infinity')) > row(coalesce('1' || t.state, '0') collate "C", coalesce('1' || t.merge_sha, '0') collate "C", coalesce(t.merged_at, '-infinity'), coalesce(t.closed_at, '-infinity'))) then excluded.merge_sha else t.merge_sha end,
        state = case when (excluded.clocks ->> 'state') collate "C" > coalesce(t.clocks ->> 'state', '')
        or (excluded.clocks ->> 'state' = t.clocks ->> 'state' and row(coalesce('1' || excluded.state, '0') collate "C", coalesce('1' || excluded.merge_sha, '0') collate "C", coalesce(excluded.merged_at, '-infinity'), coalesce(excluded.closed_at, '-infinity')) > row(coalesce('1' || t.state, '0') collate "C", coalesce('1' || t.merge_sha, '0') collate "C", coalesce(t.merged_at, '-infinity'), coalesce(t.closed_at, '-infinity'))) then excluded.state else t.state end,
        is_draft = case when (excluded.clocks ->> 'is_draft') collate "C" > coalesce(t.clocks ->> 'is_draft', '')
        or (excluded.clocks ->> 'is_draft' = t.clocks ->> 'is_draft' and row(coalesce(excluded.is_draft::integer, -1)) > row(coalesce(t.is_draft::integer, -1))) then excluded.is_draft else t.is_draft end,
        labels = case when (excluded.clocks ->> 'labels') collate "C" > coalesce(t.clocks ->> 'labels', '')
        or (excluded.clocks ->> 'labels' = t.clocks ->> 'labels' and row(coalesce('1' || to_jsonb(excluded.labels)::text, '0') collate "C") > row(coalesce('1' || to_jsonb(t.labels)::text, '0') collate "C")) then excluded.labels else t.labels end,
        additions = case when (excluded.clocks ->> 'additions') collate "C" > coalesce(t.clocks ->> 'additions', '')
        or (excluded.clocks ->> 'additions' = t.clocks ->> 'additions' and row(coalesce(excluded.additions::numeric, '-infinity'), coalesce(excluded.deletions::numeric, '-infinity'), coalesce(excluded.changed_files::numeric, '-infinity')) > row(coalesce(t.additions::numeric, '-infinity'), coalesce(t.deletions::numeric, '-infinity'), coalesce(t.changed_files::numeric, '-infinity'))) then excluded.additions else t.additions end,
        deletions = case when (excluded.clocks ->> 'additions') collate "C" > coalesce(t.clocks ->> 'additions', '')
        or (excluded.clocks ->> 'additions' = t.clocks ->> 'additions' and row(coalesce(excluded.additions::numeric, '-infinity'), coalesce(excluded.deletions::numeric, '-infinity'), coalesce(excluded.changed_files::numeric, '-infinity')) > row(coalesce(t.additions::numeric, '-infinity'), coalesce(t.deletions::numeric, '-infinity'), coalesce(t.changed_files::numeric, '-infinity'))) then excluded.deletions else t.deletions end,
        changed_files = case when (excluded.clocks ->> 'additions') collate "C" > coalesce(t.clocks ->> 'additions', '')
        or (excluded.clocks ->> 'additions' = t.clocks ->> 'additions' and row(coalesce(excluded.additions::numeric, '-infinity'), coalesce(excluded.deletions::numeric, '-infinity'), coalesce(excluded.changed_files::numeric, '-infinity')) > row(coalesce(t.additions::numeric, '-infinity'), coalesce(t.deletions::numeric, '-infinity'), coalesce(t.changed_files::numeric, '-infinity'))) then excluded.changed_files else t.changed_files end,
        opened_at = least(t.opened_at, excluded.opened_at),
        ready_times = (select array_agg(distinct u order by u) from unnest(coalesce(t.ready_times, '{}') || coalesce(excluded.ready_times, '{}')) as u),
        merged_at = case when (excluded.clocks ->> 'state') collate "C" > coalesce(t.clocks ->> 'state', '')
        or (excluded.clocks ->> 'state' = t.clocks ->> 'state' and row(coalesce('1' || excluded.state, '0') collate "C", coalesce('1' || excluded.merge_sha, '0') collate "C", coalesce(excluded.merged_at, '-infinity'), coalesce(excluded.closed_at, '-infinity')) > row(coalesce('1' || t.state, '0') collate "C", coalesce('1' || t.merge_sha, '0') collate "C", coalesce(t.merged_at, '-infinity'), coalesce(t.closed_at, '-infinity'))) then excluded.merged_at else t.merged_at end,
        closed_at = case when (excluded.clocks ->> 'state') collate "C" > coalesce(t.clocks ->> 'state', '')
        or (excluded.clocks ->> 'state' = t.clocks ->> 'state' and row(coalesce('1' || excluded.state, '0') collate "C", coalesce('1' || excluded.merge_sha, '0') collate "C", coalesce(excluded.merged_at, '-infinity'), coalesce(excluded.closed_at, '-infinity')) > row(coalesce('1' || t.state, '0') collate "C", coalesce('1' || t.merge_sha, '0') collate "C", coalesce(t.merged_at, '-infinity'), coalesce(t.closed_at, '-infinity'))) then excluded.closed_at else t.closed_at end,
        url = case when (excluded.clocks ->> 'url') collate "C" > coalesce(t.clocks ->> 'url', '')
        or (excluded.clocks ->> 'url' = t.clocks ->> 'url' and row(coalesce('1' || excluded.url, '0') collate "C") > row(coalesce('1' || t.url, '0') collate "C")) then excluded.url else t.url end,
        clocks = jsonb_strip_nulls(jsonb_build_object(
          'title', greatest((excluded.clocks ->> 'title') collate "C", t.clocks ->> 'title'),
          'author', greatest((excluded.clocks ->> 'author') collate "C", t.clocks ->> 'author'),
          'head_branch', greatest((excluded.clocks ->> 'head_branch') collate "C", t.clocks ->> 'head_branch'),
          'base_branch', greatest((excluded.clocks ->> 'base_branch') collate "C", t.clocks ->> 'base_branch'),
          'is_fork', greatest((excluded.clocks ->> 'is_fork') collate "C", t.clocks ->> 'is_fork'),
          'head_sha', greatest((excluded.clocks ->> 'head_sha') collate "C", t.clocks ->> 'head_sha'),
          'state', greatest((excluded.clocks ->> 'state') collate "C", t.clocks ->> 'state'),
          'is_draft', greatest((excluded.clocks ->> 'is_draft') collate "C", t.clocks ->> 'is_draft'),
          'labels', greatest((excluded.clocks ->> 'labels') collate "C", t.clocks ->> 'labels'),
          'additions', greatest((excluded.clocks ->> 'additions') collate "C", t.clocks ->> 'additions'),
          'url', greatest((excluded.clocks ->> 'url') collate "C", t.clocks ->> 'url')
        )),
        updated_at = now()
    -- The same said again is not written again.
    where not (t.clocks @> excluded.clocks)
      or (excluded.title, excluded.author, excluded.author_is_bot, excluded.head_branch, excluded.base_branch, excluded.is_fork, excluded.head_sha, excluded.merge_sha, excluded.state, excluded.is_draft, excluded.labels, excluded.additions, excluded.deletions, excluded.changed_files, excluded.opened_at, excluded.ready_times, excluded.merged_at, excluded.closed_at, excluded.url) is distinct from (t.title, t.author, t.author_is_bot, t.head_branch, t.base_branch, t.is_fork, t.head_sha, t.merge_sha, t.state, t.is_draft, t.labels, t.additions, t.deletions, t.changed_files, t.opened_at, t.ready_times, t.merged_at, t.closed_at, t.url);
  end loop;
end
$function$;
comment on function metrics.fold_pull_requests(observations jsonb) is 'Folds a list of observations into metrics.pull_requests. Written by metrics.compile_fold from the rules in its columns'' comments.';

-- function metrics.fold_pushes(observations jsonb)
CREATE OR REPLACE FUNCTION metrics.fold_pushes(observations jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  batch jsonb;
  batches jsonb[];
begin

  -- Nearly always one observation comes alone, of a new key or later than all that was said of it: that needs no comparison of each
  -- column, and a short statement, which is prepared anew at every call.
  if jsonb_array_length(observations) = 1 then
    declare
      said constant jsonb := observations -> 0;
      o constant metrics.pushes := jsonb_populate_record(null::metrics.pushes, said);
      clock constant text := coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || ' ' || (0)::text || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '');
      r record;
    begin
      select i.id
      into r
      from metrics.repository_references as i
      where i.reference = said ->> 'repository';
      insert into metrics.pushes as t (reference_id, ref, before, after, pushed_at, forced, created, deleted, on_default_branch, commits, truncated, pusher, pusher_is_bot, clocks)
      values (
        r.id, o.ref, o.before, o.after, o.pushed_at,
        o.forced,
        o.created,
        o.deleted,
        o.on_default_branch,
        o.commits,
        case when said ? 'commits' then o.truncated end,
        o.pusher,
        case when said ? 'pusher' then o.pusher_is_bot end,
        jsonb_strip_nulls(jsonb_build_object(
          'forced', case when said ? 'forced' then clock end,
          'created', case when said ? 'created' then clock end,
          'deleted', case when said ? 'deleted' then clock end,
          'on_default_branch', case when said ? 'on_default_branch' then clock end,
          'commits', case when said ? 'commits' then clock end,
          'pusher', case when said ? 'pusher' then clock end
        ))
      )
      on conflict (reference_id, ref, before, after, pushed_at) do update set
          forced = case when excluded.clocks ? 'forced' then excluded.forced else t.forced end,
          created = case when excluded.clocks ? 'created' then excluded.created else t.created end,
          deleted = case when excluded.clocks ? 'deleted' then excluded.deleted else t.deleted end,
          on_default_branch = case when excluded.clocks ? 'on_default_branch' then excluded.on_default_branch else t.on_default_branch end,
          commits = case when excluded.clocks ? 'commits' then excluded.commits else t.commits end,
          truncated = case when excluded.clocks ? 'commits' then excluded.truncated else t.truncated end,
          pusher = case when excluded.clocks ? 'pusher' then excluded.pusher else t.pusher end,
          pusher_is_bot = case when excluded.clocks ? 'pusher' then excluded.pusher_is_bot else t.pusher_is_bot end,
          clocks = t.clocks || excluded.clocks,
          updated_at = now()
      where excluded.clocks <> '{}'
        and clock > coalesce(greatest((t.clocks ->> 'forced') collate "C", (t.clocks ->> 'created') collate "C", (t.clocks ->> 'deleted') collate "C", (t.clocks ->> 'on_default_branch') collate "C", (t.clocks ->> 'commits') collate "C", (t.clocks ->> 'pusher') collate "C"), '');
      if found then
        return;
      end if;
    end;
  end if;

  -- A statement can touch a row once: several observations of one key go in one after the other.
  if jsonb_array_length(observations) > 1 and exists (
    select
    from (
      select row_number() over (partition by r.id, o.ref, o.before, o.after, o.pushed_at) as n
      from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (ref text, before text, after text, pushed_at timestamp with time zone)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
    ) as s
    where s.n > 1
  ) then
    select array_agg(b.said order by b.n)
    into batches
    from (
      select jsonb_agg(s.said) as said, s.n
      from (
        select e.said, row_number() over (partition by r.id, o.ref, o.before, o.after, o.pushed_at) as n
        from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (ref text, before text, after text, pushed_at timestamp with time zone)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
      ) as s
      group by s.n
    ) as b;
  else
    batches := array[observations];
  end if;
  foreach batch in array batches loop

    insert into metrics.pushes as t (reference_id, ref, before, after, pushed_at, forced, created, deleted, on_default_branch, commits, truncated, pusher, pusher_is_bot, clocks)
    select
        r.id, o.ref, o.before, o.after, o.pushed_at,
        o.forced,
        o.created,
        o.deleted,
        o.on_default_branch,
        o.commits,
        case when said ? 'commits' then o.truncated end,
        o.pusher,
        case when said ? 'pusher' then o.pusher_is_bot end,
        jsonb_strip_nulls(jsonb_build_object(
          'forced', case when said ? 'forced' then c.clock end,
          'created', case when said ? 'created' then c.clock end,
          'deleted', case when said ? 'deleted' then c.clock end,
          'on_default_branch', case when said ? 'on_default_branch' then c.clock end,
          'commits', case when said ? 'commits' then c.clock end,
          'pusher', case when said ? 'pusher' then c.clock end
        ))
      from jsonb_array_elements(batch) as e (said)
      cross join lateral jsonb_populate_record(null::metrics.pushes, said) as o
      inner join metrics.repository_references as r
        on r.reference = said ->> 'repository'
      cross join lateral (select coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || ' ' || (0)::text || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '') as clock offset 0) as c
    order by 1, 2, 3, 4, 5
    on conflict (reference_id, ref, before, after, pushed_at) do update set
        forced = case when (excluded.clocks ->> 'forced') collate "C" > coalesce(t.clocks ->> 'forced', '')
        or (excluded.clocks ->> 'forced' = t.clocks ->> 'forced' and row(coalesce(excluded.forced::integer, -1)) > row(coalesce(t.forced::integer, -1))) then excluded.forced else t.forced end,
        created = case when (excluded.clocks ->> 'created') collate "C" > coalesce(t.clocks ->> 'created', '')
        or (excluded.clocks ->> 'created' = t.clocks ->> 'created' and row(coalesce(excluded.created::integer, -1)) > row(coalesce(t.created::integer, -1))) then excluded.created else t.created end,
        deleted = case when (excluded.clocks ->> 'deleted') collate "C" > coalesce(t.clocks ->> 'deleted', '')
        or (excluded.clocks ->> 'deleted' = t.clocks ->> 'deleted' and row(coalesce(excluded.deleted::integer, -1)) > row(coalesce(t.deleted::integer, -1))) then excluded.deleted else t.deleted end,
        on_default_branch = case when (excluded.clocks ->> 'on_default_branch') collate "C" > coalesce(t.clocks ->> 'on_default_branch', '')
        or (excluded.clocks ->> 'on_default_branch' = t.clocks ->> 'on_default_branch' and row(coalesce(excluded.on_default_branch::integer, -1)) > row(coalesce(t.on_default_branch::integer, -1))) then excluded.on_default_branch else t.on_default_branch end,
        commits = case when (excluded.clocks ->> 'commits') collate "C" > coalesce(t.clocks ->> 'commits', '')
        or (excluded.clocks ->> 'commits' = t.clocks ->> 'commits' and row(coalesce('1' || to_jsonb(excluded.commits)::text, '0') collate "C", coalesce(excluded.truncated::integer, -1)) > row(coalesce('1' || to_jsonb(t.commits)::text, '0') collate "C", coalesce(t.truncated::integer, -1))) then excluded.commits else t.commits end,
        truncated = case when (excluded.clocks ->> 'commits') collate "C" > coalesce(t.clocks ->> 'commits', '')
        or (excluded.clocks ->> 'commits' = t.clocks ->> 'commits' and row(coalesce('1' || to_jsonb(excluded.commits)::text, '0') collate "C", coalesce(excluded.truncated::integer, -1)) > row(coalesce('1' || to_jsonb(t.commits)::text, '0') collate "C", coalesce(t.truncated::integer, -1))) then excluded.truncated else t.truncated end,
        pusher = case when (excluded.clocks ->> 'pusher') collate "C" > coalesce(t.clocks ->> 'pusher', '')
        or (excluded.clocks ->> 'pusher' = t.clocks ->> 'pusher' and row(coalesce('1' || excluded.pusher, '0') collate "C", coalesce(excluded.pusher_is_bot::integer, -1)) > row(coalesce('1' || t.pusher, '0') collate "C", coalesce(t.pusher_is_bot::integer, -1))) then excluded.pusher else t.pusher end,
        pusher_is_bot = case when (excluded.clocks ->> 'pusher') collate "C" > coalesce(t.clocks ->> 'pusher', '')
        or (excluded.clocks ->> 'pusher' = t.clocks ->> 'pusher' and row(coalesce('1' || excluded.pusher, '0') collate "C", coalesce(excluded.pusher_is_bot::integer, -1)) > row(coalesce('1' || t.pusher, '0') collate "C", coalesce(t.pusher_is_bot::integer, -1))) then excluded.pusher_is_bot else t.pusher_is_bot end,
        clocks = jsonb_strip_nulls(jsonb_build_object(
          'forced', greatest((excluded.clocks ->> 'forced') collate "C", t.clocks ->> 'forced'),
          'created', greatest((excluded.clocks ->> 'created') collate "C", t.clocks ->> 'created'),
          'deleted', greatest((excluded.clocks ->> 'deleted') collate "C", t.clocks ->> 'deleted'),
          'on_default_branch', greatest((excluded.clocks ->> 'on_default_branch') collate "C", t.clocks ->> 'on_default_branch'),
          'commits', greatest((excluded.clocks ->> 'commits') collate "C", t.clocks ->> 'commits'),
          'pusher', greatest((excluded.clocks ->> 'pusher') collate "C", t.clocks ->> 'pusher')
        )),
        updated_at = now()
    -- The same said again is not written again.
    where not (t.clocks @> excluded.clocks)
      or (excluded.forced, excluded.created, excluded.deleted, excluded.on_default_branch, excluded.commits, excluded.truncated, excluded.pusher, excluded.pusher_is_bot) is distinct from (t.forced, t.created, t.deleted, t.on_default_branch, t.commits, t.truncated, t.pusher, t.pusher_is_bot);
  end loop;
end
$function$;
comment on function metrics.fold_pushes(observations jsonb) is 'Folds a list of observations into metrics.pushes. Written by metrics.compile_fold from the rules in its columns'' comments.';

-- function metrics.fold_releases(observations jsonb)
CREATE OR REPLACE FUNCTION metrics.fold_releases(observations jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  batch jsonb;
  batches jsonb[];
begin

  -- Nearly always one observation comes alone, of a new key or later than all that was said of it: that needs no comparison of each
  -- column, and a short statement, which is prepared anew at every call.
  if jsonb_array_length(observations) = 1 then
    declare
      said constant jsonb := observations -> 0;
      o constant metrics.releases := jsonb_populate_record(null::metrics.releases, said);
      clock constant text := coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || ' ' || (0)::text || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '');
      r record;
    begin
      select i.id
      into r
      from metrics.repository_references as i
      where i.reference = said ->> 'repository';
      insert into metrics.releases as t (reference_id, external_id, tag, commit_sha, name, is_draft, is_prerelease, is_withdrawn, created_at, published_at, url, clocks)
      values (
        r.id, o.external_id,
        o.tag,
        o.commit_sha,
        o.name,
        o.is_draft,
        o.is_prerelease,
        o.is_withdrawn,
        o.created_at,
        o.published_at,
        o.url,
        jsonb_strip_nulls(jsonb_build_object(
          'tag', case when said ? 'tag' then clock end,
          'commit_sha', case when said ? 'commit_sha' then clock end,
          'name', case when said ? 'name' then clock end,
          'is_draft', case when said ? 'is_draft' then clock end,
          'is_prerelease', case when said ? 'is_prerelease' then clock end,
          'is_withdrawn', case when said ? 'is_withdrawn' then clock end,
          'published_at', case when said ? 'published_at' then clock end,
          'url', case when said ? 'url' then clock end
        ))
      )
      on conflict (reference_id, external_id) do update set
          tag = case when excluded.clocks ? 'tag' then excluded.tag else t.tag end,
          commit_sha = case when excluded.clocks ? 'commit_sha' then excluded.commit_sha else t.commit_sha end,
          name = case when excluded.clocks ? 'name' then excluded.name else t.name end,
          is_draft = case when excluded.clocks ? 'is_draft' then excluded.is_draft else t.is_draft end,
          is_prerelease = case when excluded.clocks ? 'is_prerelease' then excluded.is_prerelease else t.is_prerelease end,
          is_withdrawn = case when excluded.clocks ? 'is_withdrawn' then excluded.is_withdrawn else t.is_withdrawn end,
          created_at = least(t.created_at, excluded.created_at),
          published_at = case when excluded.clocks ? 'published_at' then excluded.published_at else t.published_at end,
          url = case when excluded.clocks ? 'url' then excluded.url else t.url end,
          clocks = t.clocks || excluded.clocks,
          updated_at = now()
      where excluded.clocks <> '{}'
        and clock > coalesce(greatest((t.clocks ->> 'tag') collate "C", (t.clocks ->> 'commit_sha') collate "C", (t.clocks ->> 'name') collate "C", (t.clocks ->> 'is_draft') collate "C", (t.clocks ->> 'is_prerelease') collate "C", (t.clocks ->> 'is_withdrawn') collate "C", (t.clocks ->> 'published_at') collate "C", (t.clocks ->> 'url') collate "C"), '');
      if found then
        return;
      end if;
    end;
  end if;

  -- A statement can touch a row once: several observations of one key go in one after the other.
  if jsonb_array_length(observations) > 1 and exists (
    select
    from (
      select row_number() over (partition by r.id, o.external_id) as n
      from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (external_id text)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
    ) as s
    where s.n > 1
  ) then
    select array_agg(b.said order by b.n)
    into batches
    from (
      select jsonb_agg(s.said) as said, s.n
      from (
        select e.said, row_number() over (partition by r.id, o.external_id) as n
        from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (external_id text)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
      ) as s
      group by s.n
    ) as b;
  else
    batches := array[observations];
  end if;
  foreach batch in array batches loop

    insert into metrics.releases as t (reference_id, external_id, tag, commit_sha, name, is_draft, is_prerelease, is_withdrawn, created_at, published_at, url, clocks)
    select
        r.id, o.external_id,
        o.tag,
        o.commit_sha,
        o.name,
        o.is_draft,
        o.is_prerelease,
        o.is_withdrawn,
        o.created_at,
        o.published_at,
        o.url,
        jsonb_strip_nulls(jsonb_build_object(
          'tag', case when said ? 'tag' then c.clock end,
          'commit_sha', case when said ? 'commit_sha' then c.clock end,
          'name', case when said ? 'name' then c.clock end,
          'is_draft', case when said ? 'is_draft' then c.clock end,
          'is_prerelease', case when said ? 'is_prerelease' then c.clock end,
          'is_withdrawn', case when said ? 'is_withdrawn' then c.clock end,
          'published_at', case when said ? 'published_at' then c.clock end,
          'url', case when said ? 'url' then c.clock end
        ))
      from jsonb_array_elements(batch) as e (said)
      cross join lateral jsonb_populate_record(null::metrics.releases, said) as o
      inner join metrics.repository_references as r
        on r.reference = said ->> 'repository'
      cross join lateral (select coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || ' ' || (0)::text || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '') as clock offset 0) as c
    order by 1, 2
    on conflict (reference_id, external_id) do update set
        tag = case when (excluded.clocks ->> 'tag') collate "C" > coalesce(t.clocks ->> 'tag', '')
        or (excluded.clocks ->> 'tag' = t.clocks ->> 'tag' and row(coalesce('1' || excluded.tag, '0') collate "C") > row(coalesce('1' || t.tag, '0') collate "C")) then excluded.tag else t.tag end,
        commit_sha = case when (excluded.clocks ->> 'commit_sha') collate "C" > coalesce(t.clocks ->> 'commit_sha', '')
        or (excluded.clocks ->> 'commit_sha' = t.clocks ->> 'commit_sha' and row(coalesce('1' || excluded.commit_sha, '0') collate "C") > row(coalesce('1' || t.commit_sha, '0') collate "C")) then excluded.commit_sha else t.commit_sha end,
        name = case when (excluded.clocks ->> 'name') collate "C" > coalesce(t.clocks ->> 'name', '')
        or (excluded.clocks ->> 'name' = t.clocks ->> 'name' and row(coalesce('1' || excluded.name, '0') collate "C") > row(coalesce('1' || t.name, '0') collate "C")) then excluded.name else t.name end,
        is_draft = case when (excluded.clocks ->> 'is_draft') collate "C" > coalesce(t.clocks ->> 'is_draft', '')
        or (excluded.clocks ->> 'is_draft' = t.clocks ->> 'is_draft' and row(coalesce(excluded.is_draft::integer, -1)) > row(coalesce(t.is_draft::integer, -1))) then excluded.is_draft else t.is_draft end,
        is_prerelease = case when (excluded.clocks ->> 'is_prerelease') collate "C" > coalesce(t.clocks ->> 'is_prerelease', '')
        or (excluded.clocks ->> 'is_prerelease' = t.clocks ->> 'is_prerelease' and row(coalesce(excluded.is_prerelease::integer, -1)) > row(coalesce(t.is_prerelease::integer, -1))) then excluded.is_prerelease else t.is_prerelease end,
        is_withdrawn = case when (excluded.clocks ->> 'is_withdrawn') collate "C" > coalesce(t.clocks ->> 'is_withdrawn', '')
        or (excluded.clocks ->> 'is_withdrawn' = t.clocks ->> 'is_withdrawn' and row(coalesce(excluded.is_withdrawn::integer, -1)) > row(coalesce(t.is_withdrawn::integer, -1))) then excluded.is_withdrawn else t.is_withdrawn end,
        created_at = least(t.created_at, excluded.created_at),
        published_at = case when (excluded.clocks ->> 'published_at') collate "C" > coalesce(t.clocks ->> 'published_at', '')
        or (excluded.clocks ->> 'published_at' = t.clocks ->> 'published_at' and row(coalesce(excluded.published_at, '-infinity')) > row(coalesce(t.published_at, '-infinity'))) then excluded.published_at else t.published_at end,
        url = case when (excluded.clocks ->> 'url') collate "C" > coalesce(t.clocks ->> 'url', '')
        or (excluded.clocks ->> 'url' = t.clocks ->> 'url' and row(coalesce('1' || excluded.url, '0') collate "C") > row(coalesce('1' || t.url, '0') collate "C")) then excluded.url else t.url end,
        clocks = jsonb_strip_nulls(jsonb_build_object(
          'tag', greatest((excluded.clocks ->> 'tag') collate "C", t.clocks ->> 'tag'),
          'commit_sha', greatest((excluded.clocks ->> 'commit_sha') collate "C", t.clocks ->> 'commit_sha'),
          'name', greatest((excluded.clocks ->> 'name') collate "C", t.clocks ->> 'name'),
          'is_draft', greatest((excluded.clocks ->> 'is_draft') collate "C", t.clocks ->> 'is_draft'),
          'is_prerelease', greatest((excluded.clocks ->> 'is_prerelease') collate "C", t.clocks ->> 'is_prerelease'),
          'is_withdrawn', greatest((excluded.clocks ->> 'is_withdrawn') collate "C", t.clocks ->> 'is_withdrawn'),
          'published_at', greatest((excluded.clocks ->> 'published_at') collate "C", t.clocks ->> 'published_at'),
          'url', greatest((excluded.clocks ->> 'url') collate "C", t.clocks ->> 'url')
        )),
        updated_at = now()
    -- The same said again is not written again.
    where not (t.clocks @> excluded.clocks)
      or (excluded.tag, excluded.commit_sha, excluded.name, excluded.is_draft, excluded.is_prerelease, excluded.is_withdrawn, excluded.created_at, excluded.published_at, excluded.url) is distinct from (t.tag, t.commit_sha, t.name, t.is_draft, t.is_prerelease, t.is_withdrawn, t.created_at, t.published_at, t.url);
  end loop;
end
$function$;
comment on function metrics.fold_releases(observations jsonb) is 'Folds a list of observations into metrics.releases. Written by metrics.compile_fold from the rules in its columns'' comments.';

-- function metrics.fold_repositories(observations jsonb)
CREATE OR REPLACE FUNCTION metrics.fold_repositories(observations jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  batch jsonb;
  batches jsonb[];
begin

  -- A statement can touch a row once: several observations of one key go in one after the other.
  if jsonb_array_length(observations) > 1 and exists (
    select
    from (
      select row_number() over (partition by r.repository_id) as n
      from jsonb_array_elements(observations) as e (said)
        
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
    ) as s
    where s.n > 1
  ) then
    select array_agg(b.said order by b.n)
    into batches
    from (
      select jsonb_agg(s.said) as said, s.n
      from (
        select e.said, row_number() over (partition by r.repository_id) as n
        from jsonb_array_elements(observations) as e (said)
        
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
      ) as s
      group by s.n
    ) as b;
  else
    batches := array[observations];
  end if;
  foreach batch in array batches loop

    update metrics.repositories as t
    set
        full_name = case when (excluded.clocks ->> 'full_name') collate "C" > coalesce(t.clocks ->> 'full_name', '')
        or (excluded.clocks ->> 'full_name' = t.clocks ->> 'full_name' and row(coalesce('1' || excluded.full_name, '0') collate "C") > row(coalesce('1' || t.full_name, '0') collate "C")) then excluded.full_name else t.full_name end,
        default_branch = case when (excluded.clocks ->> 'default_branch') collate "C" > coalesce(t.clocks ->> 'default_branch', '')
        or (excluded.clocks ->> 'default_branch' = t.clocks ->> 'default_branch' and row(coalesce('1' || excluded.default_branch, '0') collate "C") > row(coalesce('1' || t.default_branch, '0') collate "C")) then excluded.default_branch else t.default_branch end,
        url = case when (excluded.clocks ->> 'url') collate "C" > coalesce(t.clocks ->> 'url', '')
        or (excluded.clocks ->> 'url' = t.clocks ->> 'url' and row(coalesce('1' || excluded.url, '0') collate "C") > row(coalesce('1' || t.url, '0') collate "C")) then excluded.url else t.url end,
        clocks = jsonb_strip_nulls(jsonb_build_object(
          'full_name', greatest((excluded.clocks ->> 'full_name') collate "C", t.clocks ->> 'full_name'),
          'default_branch', greatest((excluded.clocks ->> 'default_branch') collate "C", t.clocks ->> 'default_branch'),
          'url', greatest((excluded.clocks ->> 'url') collate "C", t.clocks ->> 'url')
        )),
        updated_at = now()
    from (
      select
        r.repository_id as id,
        case when said ? 'full_name' then o.full_name end as full_name,
        case when said ? 'default_branch' then o.default_branch end as default_branch,
        case when said ? 'url' then o.url end as url,
        jsonb_strip_nulls(jsonb_build_object(
          'full_name', case when said ? 'full_name' then c.clock end,
          'default_branch', case when said ? 'default_branch' then c.clock end,
          'url', case when said ? 'url' then c.clock end
        )) as clocks
      from jsonb_array_elements(batch) as e (said)
      cross join lateral jsonb_populate_record(null::metrics.repositories, said) as o
      inner join metrics.repository_references as r
        on r.reference = said ->> 'repository'
      cross join lateral (select coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || ' ' || (0)::text || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '') as clock offset 0) as c
    ) as excluded
    where t.id = excluded.id
      and (
        ((excluded.clocks ->> 'full_name') collate "C" > coalesce(t.clocks ->> 'full_name', '')
        or (excluded.clocks ->> 'full_name' = t.clocks ->> 'full_name' and row(coalesce('1' || excluded.full_name, '0') collate "C") > row(coalesce('1' || t.full_name, '0') collate "C")))
      or ((excluded.clocks ->> 'default_branch') collate "C" > coalesce(t.clocks ->> 'default_branch', '')
        or (excluded.clocks ->> 'default_branch' = t.clocks ->> 'default_branch' and row(coalesce('1' || excluded.default_branch, '0') collate "C") > row(coalesce('1' || t.default_branch, '0') collate "C")))
      or ((excluded.clocks ->> 'url') collate "C" > coalesce(t.clocks ->> 'url', '')
        or (excluded.clocks ->> 'url' = t.clocks ->> 'url' and row(coalesce('1' || excluded.url, '0') collate "C") > row(coalesce('1' || t.url, '0') collate "C")))
      );
  end loop;
end
$function$;
comment on function metrics.fold_repositories(observations jsonb) is 'Folds a list of observations into metrics.repositories. Written by metrics.compile_fold from the rules in its columns'' comments.';

-- function metrics.fold_reviews(observations jsonb)
CREATE OR REPLACE FUNCTION metrics.fold_reviews(observations jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  batch jsonb;
  batches jsonb[];
begin

  -- Nearly always one observation comes alone, of a new key or later than all that was said of it: that needs no comparison of each
  -- column, and a short statement, which is prepared anew at every call.
  if jsonb_array_length(observations) = 1 then
    declare
      said constant jsonb := observations -> 0;
      o constant metrics.reviews := jsonb_populate_record(null::metrics.reviews, said);
      clock constant text := coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || ' ' || (case when said ->> 'state' = 'dismissed' then 2 when said ->> 'state' is not null then 1 else 0 end)::text || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '');
      r record;
    begin
      select i.id
      into r
      from metrics.repository_references as i
      where i.reference = said ->> 'repository';
      insert into metrics.reviews as t (reference_id, external_id, pull_request_number, reviewer, reviewer_is_bot, state, submitted_at, url, clocks)
      values (
        r.id, o.external_id,
        o.pull_request_number,
        o.reviewer,
        case when said ? 'reviewer' then o.reviewer_is_bot end,
        o.state,
        o.submitted_at,
        o.url,
        jsonb_strip_nulls(jsonb_build_object(
          'pull_request_number', case when said ? 'pull_request_number' then clock end,
          'reviewer', case when said ? 'reviewer' then clock end,
          'state', case when said ? 'state' then clock end,
          'url', case when said ? 'url' then clock end
        ))
      )
      on conflict (reference_id, external_id) do update set
          pull_request_number = case when excluded.clocks ? 'pull_request_number' then excluded.pull_request_number else t.pull_request_number end,
          reviewer = case when excluded.clocks ? 'reviewer' then excluded.reviewer else t.reviewer end,
          reviewer_is_bot = case when excluded.clocks ? 'reviewer' then excluded.reviewer_is_bot else t.reviewer_is_bot end,
          state = case when excluded.clocks ? 'state' then excluded.state else t.state end,
          submitted_at = least(t.submitted_at, excluded.submitted_at),
          url = case when excluded.clocks ? 'url' then excluded.url else t.url end,
          clocks = t.clocks || excluded.clocks,
          updated_at = now()
      where excluded.clocks <> '{}'
        and clock > coalesce(greatest((t.clocks ->> 'pull_request_number') collate "C", (t.clocks ->> 'reviewer') collate "C", (t.clocks ->> 'state') collate "C", (t.clocks ->> 'url') collate "C"), '');
      if found then
        return;
      end if;
    end;
  end if;

  -- A statement can touch a row once: several observations of one key go in one after the other.
  if jsonb_array_length(observations) > 1 and exists (
    select
    from (
      select row_number() over (partition by r.id, o.external_id) as n
      from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (external_id text)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
    ) as s
    where s.n > 1
  ) then
    select array_agg(b.said order by b.n)
    into batches
    from (
      select jsonb_agg(s.said) as said, s.n
      from (
        select e.said, row_number() over (partition by r.id, o.external_id) as n
        from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (external_id text)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
      ) as s
      group by s.n
    ) as b;
  else
    batches := array[observations];
  end if;
  foreach batch in array batches loop

    insert into metrics.reviews as t (reference_id, external_id, pull_request_number, reviewer, reviewer_is_bot, state, submitted_at, url, clocks)
    select
        r.id, o.external_id,
        o.pull_request_number,
        o.reviewer,
        case when said ? 'reviewer' then o.reviewer_is_bot end,
        o.state,
        o.submitted_at,
        o.url,
        jsonb_strip_nulls(jsonb_build_object(
          'pull_request_number', case when said ? 'pull_request_number' then c.clock end,
          'reviewer', case when said ? 'reviewer' then c.clock end,
          'state', case when said ? 'state' then c.clock end,
          'url', case when said ? 'url' then c.clock end
        ))
      from jsonb_array_elements(batch) as e (said)
      cross join lateral jsonb_populate_record(null::metrics.reviews, said) as o
      inner join metrics.repository_references as r
        on r.reference = said ->> 'repository'
      cross join lateral (select coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || ' ' || (case when said ->> 'state' = 'dismissed' then 2 when said ->> 'state' is not null then 1 else 0 end)::text || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '') as clock offset 0) as c
    order by 1, 2
    on conflict (reference_id, external_id) do update set
        pull_request_number = case when (excluded.clocks ->> 'pull_request_number') collate "C" > coalesce(t.clocks ->> 'pull_request_number', '')
        or (excluded.clocks ->> 'pull_request_number' = t.clocks ->> 'pull_request_number' and row(coalesce(excluded.pull_request_number::numeric, '-infinity')) > row(coalesce(t.pull_request_number::numeric, '-infinity'))) then excluded.pull_request_number else t.pull_request_number end,
        reviewer = case when (excluded.clocks ->> 'reviewer') collate "C" > coalesce(t.clocks ->> 'reviewer', '')
        or (excluded.clocks ->> 'reviewer' = t.clocks ->> 'reviewer' and row(coalesce('1' || excluded.reviewer, '0') collate "C", coalesce(excluded.reviewer_is_bot::integer, -1)) > row(coalesce('1' || t.reviewer, '0') collate "C", coalesce(t.reviewer_is_bot::integer, -1))) then excluded.reviewer else t.reviewer end,
        reviewer_is_bot = case when (excluded.clocks ->> 'reviewer') collate "C" > coalesce(t.clocks ->> 'reviewer', '')
        or (excluded.clocks ->> 'reviewer' = t.clocks ->> 'reviewer' and row(coalesce('1' || excluded.reviewer, '0') collate "C", coalesce(excluded.reviewer_is_bot::integer, -1)) > row(coalesce('1' || t.reviewer, '0') collate "C", coalesce(t.reviewer_is_bot::integer, -1))) then excluded.reviewer_is_bot else t.reviewer_is_bot end,
        state = case when (excluded.clocks ->> 'state') collate "C" > coalesce(t.clocks ->> 'state', '')
        or (excluded.clocks ->> 'state' = t.clocks ->> 'state' and row(coalesce('1' || excluded.state, '0') collate "C") > row(coalesce('1' || t.state, '0') collate "C")) then excluded.state else t.state end,
        submitted_at = least(t.submitted_at, excluded.submitted_at),
        url = case when (excluded.clocks ->> 'url') collate "C" > coalesce(t.clocks ->> 'url', '')
        or (excluded.clocks ->> 'url' = t.clocks ->> 'url' and row(coalesce('1' || excluded.url, '0') collate "C") > row(coalesce('1' || t.url, '0') collate "C")) then excluded.url else t.url end,
        clocks = jsonb_strip_nulls(jsonb_build_object(
          'pull_request_number', greatest((excluded.clocks ->> 'pull_request_number') collate "C", t.clocks ->> 'pull_request_number'),
          'reviewer', greatest((excluded.clocks ->> 'reviewer') collate "C", t.clocks ->> 'reviewer'),
          'state', greatest((excluded.clocks ->> 'state') collate "C", t.clocks ->> 'state'),
          'url', greatest((excluded.clocks ->> 'url') collate "C", t.clocks ->> 'url')
        )),
        updated_at = now()
    -- The same said again is not written again.
    where not (t.clocks @> excluded.clocks)
      or (excluded.pull_request_number, excluded.reviewer, excluded.reviewer_is_bot, excluded.state, excluded.submitted_at, excluded.url) is distinct from (t.pull_request_number, t.reviewer, t.reviewer_is_bot, t.state, t.submitted_at, t.url);
  end loop;
end
$function$;
comment on function metrics.fold_reviews(observations jsonb) is 'Folds a list of observations into metrics.reviews. Written by metrics.compile_fold from the rules in its columns'' comments.';

-- function metrics.fold_rule_checks(observations jsonb)
CREATE OR REPLACE FUNCTION metrics.fold_rule_checks(observations jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  batch jsonb;
  batches jsonb[];
begin

  -- Nearly always one observation comes alone, of a new key or later than all that was said of it: that needs no comparison of each
  -- column, and a short statement, which is prepared anew at every call.
  if jsonb_array_length(observations) = 1 then
    declare
      said constant jsonb := observations -> 0;
      o constant metrics.rule_checks := jsonb_populate_record(null::metrics.rule_checks, said);
      clock constant text := coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || ' ' || (0)::text || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '');
      r record;
    begin
      select i.id
      into r
      from metrics.repository_references as i
      where i.reference = said ->> 'repository';
      insert into metrics.rule_checks as t (reference_id, external_id, rule, category, status, commit_sha, pull_request_number, run_external_id, detail, checked_at, url, clocks)
      values (
        r.id, o.external_id,
        o.rule,
        o.category,
        o.status,
        o.commit_sha,
        o.pull_request_number,
        o.run_external_id,
        o.detail,
        o.checked_at,
        o.url,
        jsonb_strip_nulls(jsonb_build_object(
          'rule', case when said ? 'rule' then clock end,
          'category', case when said ? 'category' then clock end,
          'status', case when said ? 'status' then clock end,
          'commit_sha', case when said ? 'commit_sha' then clock end,
          'pull_request_number', case when said ? 'pull_request_number' then clock end,
          'run_external_id', case when said ? 'run_external_id' then clock end,
          'detail', case when said ? 'detail' then clock end,
          'checked_at', case when said ? 'checked_at' then clock end,
          'url', case when said ? 'url' then clock end
        ))
      )
      on conflict (reference_id, external_id) do update set
          rule = case when excluded.clocks ? 'rule' then excluded.rule else t.rule end,
          category = case when excluded.clocks ? 'category' then excluded.category else t.category end,
          status = case when excluded.clocks ? 'status' then excluded.status else t.status end,
          commit_sha = case when excluded.clocks ? 'commit_sha' then excluded.commit_sha else t.commit_sha end,
          pull_request_number = case when excluded.clocks ? 'pull_request_number' then excluded.pull_request_number else t.pull_request_number end,
          run_external_id = case when excluded.clocks ? 'run_external_id' then excluded.run_external_id else t.run_external_id end,
          detail = case when excluded.clocks ? 'detail' then excluded.detail else t.detail end,
          checked_at = case when excluded.clocks ? 'checked_at' then excluded.checked_at else t.checked_at end,
          url = case when excluded.clocks ? 'url' then excluded.url else t.url end,
          clocks = t.clocks || excluded.clocks,
          updated_at = now()
      where excluded.clocks <> '{}'
        and clock > coalesce(greatest((t.clocks ->> 'rule') collate "C", (t.clocks ->> 'category') collate "C", (t.clocks ->> 'status') collate "C", (t.clocks ->> 'commit_sha') collate "C", (t.clocks ->> 'pull_request_number') collate "C", (t.clocks ->> 'run_external_id') collate "C", (t.clocks ->> 'detail') collate "C", (t.clocks ->> 'checked_at') collate "C", (t.clocks ->> 'url') collate "C"), '');
      if found then
        return;
      end if;
    end;
  end if;

  -- A statement can touch a row once: several observations of one key go in one after the other.
  if jsonb_array_length(observations) > 1 and exists (
    select
    from (
      select row_number() over (partition by r.id, o.external_id) as n
      from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (external_id text)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
    ) as s
    where s.n > 1
  ) then
    select array_agg(b.said order by b.n)
    into batches
    from (
      select jsonb_agg(s.said) as said, s.n
      from (
        select e.said, row_number() over (partition by r.id, o.external_id) as n
        from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (external_id text)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
      ) as s
      group by s.n
    ) as b;
  else
    batches := array[observations];
  end if;
  foreach batch in array batches loop

    insert into metrics.rule_checks as t (reference_id, external_id, rule, category, status, commit_sha, pull_request_number, run_external_id, detail, checked_at, url, clocks)
    select
        r.id, o.external_id,
        o.rule,
        o.category,
        o.status,
        o.commit_sha,
        o.pull_request_number,
        o.run_external_id,
        o.detail,
        o.checked_at,
        o.url,
        jsonb_strip_nulls(jsonb_build_object(
          'rule', case when said ? 'rule' then c.clock end,
          'category', case when said ? 'category' then c.clock end,
          'status', case when said ? 'status' then c.clock end,
          'commit_sha', case when said ? 'commit_sha' then c.clock end,
          'pull_request_number', case when said ? 'pull_request_number' then c.clock end,
          'run_external_id', case when said ? 'run_external_id' then c.clock end,
          'detail', case when said ? 'detail' then c.clock end,
          'checked_at', case when said ? 'checked_at' then c.clock end,
          'url', case when said ? 'url' then c.clock end
        ))
      from jsonb_array_elements(batch) as e (said)
      cross join lateral jsonb_populate_record(null::metrics.rule_checks, said) as o
      inner join metrics.repository_references as r
        on r.reference = said ->> 'repository'
      cross join lateral (select coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || ' ' || (0)::text || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '') as clock offset 0) as c
    order by 1, 2
    on conflict (reference_id, external_id) do update set
        rule = case when (excluded.clocks ->> 'rule') collate "C" > coalesce(t.clocks ->> 'rule', '')
        or (excluded.clocks ->> 'rule' = t.clocks ->> 'rule' and row(coalesce('1' || excluded.rule, '0') collate "C") > row(coalesce('1' || t.rule, '0') collate "C")) then excluded.rule else t.rule end,
        category = case when (excluded.clocks ->> 'category') collate "C" > coalesce(t.clocks ->> 'category', '')
        or (excluded.clocks ->> 'category' = t.clocks ->> 'category' and row(coalesce('1' || excluded.category, '0') collate "C") > row(coalesce('1' || t.category, '0') collate "C")) then excluded.category else t.category end,
        status = case when (excluded.clocks ->> 'status') collate "C" > coalesce(t.clocks ->> 'status', '')
        or (excluded.clocks ->> 'status' = t.clocks ->> 'status' and row(coalesce('1' || excluded.status, '0') collate "C") > row(coalesce('1' || t.status, '0') collate "C")) then excluded.status else t.status end,
        commit_sha = case when (excluded.clocks ->> 'commit_sha') collate "C" > coalesce(t.clocks ->> 'commit_sha', '')
        or (excluded.clocks ->> 'commit_sha' = t.clocks ->> 'commit_sha' and row(coalesce('1' || excluded.commit_sha, '0') collate "C") > row(coalesce('1' || t.commit_sha, '0') collate "C")) then excluded.commit_sha else t.commit_sha end,
        pull_request_number = case when (excluded.clocks ->> 'pull_request_number') collate "C" > coalesce(t.clocks ->> 'pull_request_number', '')
        or (excluded.clocks ->> 'pull_request_number' = t.clocks ->> 'pull_request_number' and row(coalesce(excluded.pull_request_number::numeric, '-infinity')) > row(coalesce(t.pull_request_number::numeric, '-infinity'))) then excluded.pull_request_number else t.pull_request_number end,
        run_external_id = case when (excluded.clocks ->> 'run_external_id') collate "C" > coalesce(t.clocks ->> 'run_external_id', '')
        or (excluded.clocks ->> 'run_external_id' = t.clocks ->> 'run_external_id' and row(coalesce('1' || excluded.run_external_id, '0') collate "C") > row(coalesce('1' || t.run_external_id, '0') collate "C")) then excluded.run_external_id else t.run_external_id end,
        detail = case when (excluded.clocks ->> 'detail') collate "C" > coalesce(t.clocks ->> 'detail', '')
        or (excluded.clocks ->> 'detail' = t.clocks ->> 'detail' and row(coalesce('1' || excluded.detail, '0') collate "C") > row(coalesce('1' || t.detail, '0') collate "C")) then excluded.detail else t.detail end,
        checked_at = case when (excluded.clocks ->> 'checked_at') collate "C" > coalesce(t.clocks ->> 'checked_at', '')
        or (excluded.clocks ->> 'checked_at' = t.clocks ->> 'checked_at' and row(coalesce(excluded.checked_at, '-infinity')) > row(coalesce(t.checked_at, '-infinity'))) then excluded.checked_at else t.checked_at end,
        url = case when (excluded.clocks ->> 'url') collate "C" > coalesce(t.clocks ->> 'url', '')
        or (excluded.clocks ->> 'url' = t.clocks ->> 'url' and row(coalesce('1' || excluded.url, '0') collate "C") > row(coalesce('1' || t.url, '0') collate "C")) then excluded.url else t.url end,
        clocks = jsonb_strip_nulls(jsonb_build_object(
          'rule', greatest((excluded.clocks ->> 'rule') collate "C", t.clocks ->> 'rule'),
          'category', greatest((excluded.clocks ->> 'category') collate "C", t.clocks ->> 'category'),
          'status', greatest((excluded.clocks ->> 'status') collate "C", t.clocks ->> 'status'),
          'commit_sha', greatest((excluded.clocks ->> 'commit_sha') collate "C", t.clocks ->> 'commit_sha'),
          'pull_request_number', greatest((excluded.clocks ->> 'pull_request_number') collate "C", t.clocks ->> 'pull_request_number'),
          'run_external_id', greatest((excluded.clocks ->> 'run_external_id') collate "C", t.clocks ->> 'run_external_id'),
          'detail', greatest((excluded.clocks ->> 'detail') collate "C", t.clocks ->> 'detail'),
          'checked_at', greatest((excluded.clocks ->> 'checked_at') collate "C", t.clocks ->> 'checked_at'),
          'url', greatest((excluded.clocks ->> 'url') collate "C", t.clocks ->> 'url')
        )),
        updated_at = now()
    -- The same said again is not written again.
    where not (t.clocks @> excluded.clocks)
      or (excluded.rule, excluded.category, excluded.status, excluded.commit_sha, excluded.pull_request_number, excluded.run_external_id, excluded.detail, excluded.checked_at, excluded.url) is distinct from (t.rule, t.category, t.status, t.commit_sha, t.pull_request_number, t.run_external_id, t.detail, t.checked_at, t.url);
  end loop;
end
$function$;
comment on function metrics.fold_rule_checks(observations jsonb) is 'Folds a list of observations into metrics.rule_checks. Written by metrics.compile_fold from the rules in its columns'' comments.';

-- function metrics.fold_test_cases(observations jsonb)
CREATE OR REPLACE FUNCTION metrics.fold_test_cases(observations jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  batch jsonb;
  batches jsonb[];
begin

  -- Nearly always one observation comes alone, of a new key or later than all that was said of it: that needs no comparison of each
  -- column, and a short statement, which is prepared anew at every call.
  if jsonb_array_length(observations) = 1 then
    declare
      said constant jsonb := observations -> 0;
      o constant metrics.test_cases := jsonb_populate_record(null::metrics.test_cases, said);
      clock constant text := coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || ' ' || (0)::text || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '');
      r record;
    begin
      select i.id
      into r
      from metrics.repository_references as i
      where i.reference = said ->> 'repository';
      insert into metrics.test_cases as t (reference_id, test_run_external_id, test_id, outcome, message, duration_seconds, retries, clocks)
      values (
        r.id, o.test_run_external_id, o.test_id,
        o.outcome,
        case when said ? 'outcome' then o.message end,
        case when said ? 'outcome' then o.duration_seconds end,
        case when said ? 'outcome' then o.retries end,
        jsonb_strip_nulls(jsonb_build_object(
          'outcome', case when said ? 'outcome' then clock end
        ))
      )
      on conflict (reference_id, test_run_external_id, test_id) do update set
          outcome = case when excluded.clocks ? 'outcome' then excluded.outcome else t.outcome end,
          message = case when excluded.clocks ? 'outcome' then excluded.message else t.message end,
          duration_seconds = case when excluded.clocks ? 'outcome' then excluded.duration_seconds else t.duration_seconds end,
          retries = case when excluded.clocks ? 'outcome' then excluded.retries else t.retries end,
          clocks = t.clocks || excluded.clocks,
          updated_at = now()
      where excluded.clocks <> '{}'
        and clock > coalesce(greatest((t.clocks ->> 'outcome') collate "C"), '');
      if found then
        return;
      end if;
    end;
  end if;

  -- A statement can touch a row once: several observations of one key go in one after the other.
  if jsonb_array_length(observations) > 1 and exists (
    select
    from (
      select row_number() over (partition by r.id, o.test_run_external_id, o.test_id) as n
      from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (test_run_external_id text, test_id bigint)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
    ) as s
    where s.n > 1
  ) then
    select array_agg(b.said order by b.n)
    into batches
    from (
      select jsonb_agg(s.said) as said, s.n
      from (
        select e.said, row_number() over (partition by r.id, o.test_run_external_id, o.test_id) as n
        from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (test_run_external_id text, test_id bigint)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
      ) as s
      group by s.n
    ) as b;
  else
    batches := array[observations];
  end if;
  foreach batch in array batches loop

    insert into metrics.test_cases as t (reference_id, test_run_external_id, test_id, outcome, message, duration_seconds, retries, clocks)
    select
        r.id, o.test_run_external_id, o.test_id,
        o.outcome,
        case when said ? 'outcome' then o.message end,
        case when said ? 'outcome' then o.duration_seconds end,
        case when said ? 'outcome' then o.retries end,
        jsonb_strip_nulls(jsonb_build_object(
          'outcome', case when said ? 'outcome' then c.clock end
        ))
      from jsonb_array_elements(batch) as e (said)
      cross join lateral jsonb_populate_record(null::metrics.test_cases, said) as o
      inner join metrics.repository_references as r
        on r.reference = said ->> 'repository'
      cross join lateral (select coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || ' ' || (0)::text || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '') as clock offset 0) as c
    order by 1, 2, 3
    on conflict (reference_id, test_run_external_id, test_id) do update set
        outcome = case when (excluded.clocks ->> 'outcome') collate "C" > coalesce(t.clocks ->> 'outcome', '')
        or (excluded.clocks ->> 'outcome' = t.clocks ->> 'outcome' and row(coalesce('1' || excluded.outcome, '0') collate "C", coalesce('1' || excluded.message, '0') collate "C", coalesce(excluded.duration_seconds, '-infinity'), coalesce(excluded.retries::numeric, '-infinity')) > row(coalesce('1' || t.outcome, '0') collate "C", coalesce('1' || t.message, '0') collate "C", coalesce(t.duration_seconds, '-infinity'), coalesce(t.retries::numeric, '-infinity'))) then excluded.outcome else t.outcome end,
        message = case when (excluded.clocks ->> 'outcome') collate "C" > coalesce(t.clocks ->> 'outcome', '')
        or (excluded.clocks ->> 'outcome' = t.clocks ->> 'outcome' and row(coalesce('1' || excluded.outcome, '0') collate "C", coalesce('1' || excluded.message, '0') collate "C", coalesce(excluded.duration_seconds, '-infinity'), coalesce(excluded.retries::numeric, '-infinity')) > row(coalesce('1' || t.outcome, '0') collate "C", coalesce('1' || t.message, '0') collate "C", coalesce(t.duration_seconds, '-infinity'), coalesce(t.retries::numeric, '-infinity'))) then excluded.message else t.message end,
        duration_seconds = case when (excluded.clocks ->> 'outcome') collate "C" > coalesce(t.clocks ->> 'outcome', '')
        or (excluded.clocks ->> 'outcome' = t.clocks ->> 'outcome' and row(coalesce('1' || excluded.outcome, '0') collate "C", coalesce('1' || excluded.message, '0') collate "C", coalesce(excluded.duration_seconds, '-infinity'), coalesce(excluded.retries::numeric, '-infinity')) > row(coalesce('1' || t.outcome, '0') collate "C", coalesce('1' || t.message, '0') collate "C", coalesce(t.duration_seconds, '-infinity'), coalesce(t.retries::numeric, '-infinity'))) then excluded.duration_seconds else t.duration_seconds end,
        retries = case when (excluded.clocks ->> 'outcome') collate "C" > coalesce(t.clocks ->> 'outcome', '')
        or (excluded.clocks ->> 'outcome' = t.clocks ->> 'outcome' and row(coalesce('1' || excluded.outcome, '0') collate "C", coalesce('1' || excluded.message, '0') collate "C", coalesce(excluded.duration_seconds, '-infinity'), coalesce(excluded.retries::numeric, '-infinity')) > row(coalesce('1' || t.outcome, '0') collate "C", coalesce('1' || t.message, '0') collate "C", coalesce(t.duration_seconds, '-infinity'), coalesce(t.retries::numeric, '-infinity'))) then excluded.retries else t.retries end,
        clocks = jsonb_strip_nulls(jsonb_build_object(
          'outcome', greatest((excluded.clocks ->> 'outcome') collate "C", t.clocks ->> 'outcome')
        )),
        updated_at = now()
    -- The same said again is not written again.
    where not (t.clocks @> excluded.clocks)
      or (excluded.outcome, excluded.message, excluded.duration_seconds, excluded.retries) is distinct from (t.outcome, t.message, t.duration_seconds, t.retries);
  end loop;
end
$function$;
comment on function metrics.fold_test_cases(observations jsonb) is 'Folds a list of observations into metrics.test_cases. Written by metrics.compile_fold from the rules in its columns'' comments.';

-- function metrics.fold_test_runs(observations jsonb)
CREATE OR REPLACE FUNCTION metrics.fold_test_runs(observations jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  batch jsonb;
  batches jsonb[];
begin

  -- Nearly always one observation comes alone, of a new key or later than all that was said of it: that needs no comparison of each
  -- column, and a short statement, which is prepared anew at every call.
  if jsonb_array_length(observations) = 1 then
    declare
      said constant jsonb := observations -> 0;
      o constant metrics.test_runs := jsonb_populate_record(null::metrics.test_runs, said);
      clock constant text := coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || ' ' || (0)::text || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '');
      r record;
    begin
      select i.id
      into r
      from metrics.repository_references as i
      where i.reference = said ->> 'repository';
      insert into metrics.test_runs as t (reference_id, external_id, suite, commit_sha, branch, pipeline, job, passed_count, failed_count, skipped_count, error_count, duration_seconds, started_at, passed, skipped, url, clocks)
      values (
        r.id, o.external_id,
        o.suite,
        o.commit_sha,
        o.branch,
        o.pipeline,
        o.job,
        o.passed_count,
        case when said ? 'passed_count' then o.failed_count end,
        case when said ? 'passed_count' then o.skipped_count end,
        case when said ? 'passed_count' then o.error_count end,
        o.duration_seconds,
        o.started_at,
        o.passed,
        o.skipped,
        o.url,
        jsonb_strip_nulls(jsonb_build_object(
          'suite', case when said ? 'suite' then clock end,
          'commit_sha', case when said ? 'commit_sha' then clock end,
          'branch', case when said ? 'branch' then clock end,
          'pipeline', case when said ? 'pipeline' then clock end,
          'job', case when said ? 'job' then clock end,
          'passed_count', case when said ? 'passed_count' then clock end,
          'duration_seconds', case when said ? 'duration_seconds' then clock end,
          'passed', case when said ? 'passed' then clock end,
          'skipped', case when said ? 'skipped' then clock end,
          'url', case when said ? 'url' then clock end
        ))
      )
      on conflict (reference_id, external_id) do update set
          suite = case when excluded.clocks ? 'suite' then excluded.suite else t.suite end,
          commit_sha = case when excluded.clocks ? 'commit_sha' then excluded.commit_sha else t.commit_sha end,
          branch = case when excluded.clocks ? 'branch' then excluded.branch else t.branch end,
          pipeline = case when excluded.clocks ? 'pipeline' then excluded.pipeline else t.pipeline end,
          job = case when excluded.clocks ? 'job' then excluded.job else t.job end,
          passed_count = case when excluded.clocks ? 'passed_count' then excluded.passed_count else t.passed_count end,
          failed_count = case when excluded.clocks ? 'passed_count' then excluded.failed_count else t.failed_count end,
          skipped_count = case when excluded.clocks ? 'passed_count' then excluded.skipped_count else t.skipped_count end,
          error_count = case when excluded.clocks ? 'passed_count' then excluded.error_count else t.error_count end,
          duration_seconds = case when excluded.clocks ? 'duration_seconds' then excluded.duration_seconds else t.duration_seconds end,
          started_at = least(t.started_at, excluded.started_at),
          passed = case when excluded.clocks ? 'passed' then excluded.passed else t.passed end,
          skipped = case when excluded.clocks ? 'skipped' then excluded.skipped else t.skipped end,
          url = case when excluded.clocks ? 'url' then excluded.url else t.url end,
          clocks = t.clocks || excluded.clocks,
          updated_at = now()
      where excluded.clocks <> '{}'
        and clock > coalesce(greatest((t.clocks ->> 'suite') collate "C", (t.clocks ->> 'commit_sha') collate "C", (t.clocks ->> 'branch') collate "C", (t.clocks ->> 'pipeline') collate "C", (t.clocks ->> 'job') collate "C", (t.clocks ->> 'passed_count') collate "C", (t.clocks ->> 'duration_seconds') collate "C", (t.clocks ->> 'passed') collate "C", (t.clocks ->> 'skipped') collate "C", (t.clocks ->> 'url') collate "C"), '');
      if found then
        return;
      end if;
    end;
  end if;

  -- A statement can touch a row once: several observations of one key go in one after the other.
  if jsonb_array_length(observations) > 1 and exists (
    select
    from (
      select row_number() over (partition by r.id, o.external_id) as n
      from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (external_id text)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
    ) as s
    where s.n > 1
  ) then
    select array_agg(b.said order by b.n)
    into batches
    from (
      select jsonb_agg(s.said) as said, s.n
      from (
        select e.said, row_number() over (partition by r.id, o.external_id) as n
        from jsonb_array_elements(observations) as e (said)
        cross join lateral jsonb_to_record(said) as o (external_id text)
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'
      ) as s
      group by s.n
    ) as b;
  else
    batches := array[observations];
  end if;
  foreach batch in array batches loop

    insert into metrics.test_runs as t (reference_id, external_id, suite, commit_sha, branch, pipeline, job, passed_count, failed_count, skipped_count, error_count, duration_seconds, started_at, passed, skipped, url, clocks)
    select
        r.id, o.external_id,
        o.suite,
        o.commit_sha,
        o.branch,
        o.pipeline,
        o.job,
        o.passed_count,
        case when said ? 'passed_count' then o.failed_count end,
        case when said ? 'passed_count' then o.skipped_count end,
        case when said ? 'passed_count' then o.error_count end,
        o.duration_seconds,
        o.started_at,
        o.passed,
        o.skipped,
        o.url,
        jsonb_strip_nulls(jsonb_build_object(
          'suite', case when said ? 'suite' then c.clock end,
          'commit_sha', case when said ? 'commit_sha' then c.clock end,
          'branch', case when said ? 'branch' then c.clock end,
          'pipeline', case when said ? 'pipeline' then c.clock end,
          'job', case when said ? 'job' then c.clock end,
          'passed_count', case when said ? 'passed_count' then c.clock end,
          'duration_seconds', case when said ? 'duration_seconds' then c.clock end,
          'passed', case when said ? 'passed' then c.clock end,
          'skipped', case when said ? 'skipped' then c.clock end,
          'url', case when said ? 'url' then c.clock end
        ))
      from jsonb_array_elements(batch) as e (said)
      cross join lateral jsonb_populate_record(null::metrics.test_runs, said) as o
      inner join metrics.repository_references as r
        on r.reference = said ->> 'repository'
      cross join lateral (select coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-') || ' ' || (0)::text || coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '') as clock offset 0) as c
    order by 1, 2
    on conflict (reference_id, external_id) do update set
        suite = case when (excluded.clocks ->> 'suite') collate "C" > coalesce(t.clocks ->> 'suite', '')
        or (excluded.clocks ->> 'suite' = t.clocks ->> 'suite' and row(coalesce('1' || excluded.suite, '0') collate "C") > row(coalesce('1' || t.suite, '0') collate "C")) then excluded.suite else t.suite end,
        commit_sha = case when (excluded.clocks ->> 'commit_sha') collate "C" > coalesce(t.clocks ->> 'commit_sha', '')
        or (excluded.clocks ->> 'commit_sha' = t.clocks ->> 'commit_sha' and row(coalesce('1' || excluded.commit_sha, '0') collate "C") > row(coalesce('1' || t.commit_sha, '0') collate "C")) then excluded.commit_sha else t.commit_sha end,
        branch = case when (excluded.clocks ->> 'branch') collate "C" > coalesce(t.clocks ->> 'branch', '')
        or (excluded.clocks ->> 'branch' = t.clocks ->> 'branch' and row(coalesce('1' || excluded.branch, '0') collate "C") > row(coalesce('1' || t.branch, '0') collate "C")) then excluded.branch else t.branch end,
        pipeline = case when (excluded.clocks ->> 'pipeline') collate "C" > coalesce(t.clocks ->> 'pipeline', '')
        or (excluded.clocks ->> 'pipeline' = t.clocks ->> 'pipeline' and row(coalesce('1' || excluded.pipeline, '0') collate "C") > row(coalesce('1' || t.pipeline, '0') collate "C")) then excluded.pipeline else t.pipeline end,
        job = case when (excluded.clocks ->> 'job') collate "C" > coalesce(t.clocks ->> 'job', '')
        or (excluded.clocks ->> 'job' = t.clocks ->> 'job' and row(coalesce('1' || excluded.job, '0') collate "C") > row(coalesce('1' || t.job, '0') collate "C")) then excluded.job else t.job end,
        passed_count = case when (excluded.clocks ->> 'passed_count') collate "C" > coalesce(t.clocks ->> 'passed_count', '')
        or (excluded.clocks ->> 'passed_count' = t.clocks ->> 'passed_count' and row(coalesce(excluded.passed_count::numeric, '-infinity'), coalesce(excluded.failed_count::numeric, '-infinity'), coalesce(excluded.skipped_count::numeric, '-infinity'), coalesce(excluded.error_count::numeric, '-infinity')) > row(coalesce(t.passed_count::numeric, '-infinity'), coalesce(t.failed_count::numeric, '-infinity'), coalesce(t.skipped_count::numeric, '-infinity'), coalesce(t.error_count::numeric, '-infinity'))) then excluded.passed_count else t.passed_count end,
        failed_count = case when (excluded.clocks ->> 'passed_count') collate "C" > coalesce(t.clocks ->> 'passed_count', '')
        or (excluded.clocks ->> 'passed_count' = t.clocks ->> 'passed_count' and row(coalesce(excluded.passed_count::numeric, '-infinity'), coalesce(excluded.failed_count::numeric, '-infinity'), coalesce(excluded.skipped_count::numeric, '-infinity'), coalesce(excluded.error_count::numeric, '-infinity')) > row(coalesce(t.passed_count::numeric, '-infinity'), coalesce(t.failed_count::numeric, '-infinity'), coalesce(t.skipped_count::numeric, '-infinity'), coalesce(t.error_count::numeric, '-infinity'))) then excluded.failed_count else t.failed_count end,
        skipped_count = case when (excluded.clocks ->> 'passed_count') collate "C" > coalesce(t.clocks ->> 'passed_count', '')
        or (excluded.clocks ->> 'passed_count' = t.clocks ->> 'passed_count' and row(coalesce(excluded.passed_count::numeric, '-infinity'), coalesce(excluded.failed_count::numeric, '-infinity'), coalesce(excluded.skipped_count::numeric, '-infinity'), coalesce(excluded.error_count::numeric, '-infinity')) > row(coalesce(t.passed_count::numeric, '-infinity'), coalesce(t.failed_count::numeric, '-infinity'), coalesce(t.skipped_count::numeric, '-infinity'), coalesce(t.error_count::numeric, '-infinity'))) then excluded.skipped_count else t.skipped_count end,
        error_count = case when (excluded.clocks ->> 'passed_count') collate "C" > coalesce(t.clocks ->> 'passed_count', '')
        or (excluded.clocks ->> 'passed_count' = t.clocks ->> 'passed_count' and row(coalesce(excluded.passed_count::numeric, '-infinity'), coalesce(excluded.failed_count::numeric, '-infinity'), coalesce(excluded.skipped_count::numeric, '-infinity'), coalesce(excluded.error_count::numeric, '-infinity')) > row(coalesce(t.passed_count::numeric, '-infinity'), coalesce(t.failed_count::numeric, '-infinity'), coalesce(t.skipped_count::numeric, '-infinity'), coalesce(t.error_count::numeric, '-infinity'))) then excluded.error_count else t.error_count end,
        duration_seconds = case when (excluded.clocks ->> 'duration_seconds') collate "C" > coalesce(t.clocks ->> 'duration_seconds', '')
        or (excluded.clocks ->> 'duration_seconds' = t.clocks ->> 'duration_seconds' and row(coalesce(excluded.duration_seconds, '-infinity')) > row(coalesce(t.duration_seconds, '-infinity'))) then excluded.duration_seconds else t.duration_seconds end,
        started_at = least(t.started_at, excluded.started_at),
        passed = case when (excluded.clocks ->> 'passed') collate "C" > coalesce(t.clocks ->> 'passed', '')
        or (excluded.clocks ->> 'passed' = t.clocks ->> 'passed' and row(coalesce('1' || metrics.test_names(excluded.passed), '0') collate "C") > row(coalesce('1' || metrics.test_names(t.passed), '0') collate "C")) then excluded.passed else t.passed end,
        skipped = case when (excluded.clocks ->> 'skipped') collate "C" > coalesce(t.clocks ->> 'skipped', '')
        or (excluded.clocks ->> 'skipped' = t.clocks ->> 'skipped' and row(coalesce('1' || metrics.test_names(excluded.skipped), '0') collate "C") > row(coalesce('1' || metrics.test_names(t.skipped), '0') collate "C")) then excluded.skipped else t.skipped end,
        url = case when (excluded.clocks ->> 'url') collate "C" > coalesce(t.clocks ->> 'url', '')
        or (excluded.clocks ->> 'url' = t.clocks ->> 'url' and row(coalesce('1' || excluded.url, '0') collate "C") > row(coalesce('1' || t.url, '0') collate "C")) then excluded.url else t.url end,
        clocks = jsonb_strip_nulls(jsonb_build_object(
          'suite', greatest((excluded.clocks ->> 'suite') collate "C", t.clocks ->> 'suite'),
          'commit_sha', greatest((excluded.clocks ->> 'commit_sha') collate "C", t.clocks ->> 'commit_sha'),
          'branch', greatest((excluded.clocks ->> 'branch') collate "C", t.clocks ->> 'branch'),
          'pipeline', greatest((excluded.clocks ->> 'pipeline') collate "C", t.clocks ->> 'pipeline'),
          'job', greatest((excluded.clocks ->> 'job') collate "C", t.clocks ->> 'job'),
          'passed_count', greatest((excluded.clocks ->> 'passed_count') collate "C", t.clocks ->> 'passed_count'),
          'duration_seconds', greatest((excluded.clocks ->> 'duration_seconds') collate "C", t.clocks ->> 'duration_seconds'),
          'passed', greatest((excluded.clocks ->> 'passed') collate "C", t.clocks ->> 'passed'),
          'skipped', greatest((excluded.clocks ->> 'skipped') collate "C", t.clocks ->> 'skipped'),
          'url', greatest((excluded.clocks ->> 'url') collate "C", t.clocks ->> 'url')
        )),
        updated_at = now()
    -- The same said again is not written again.
    where not (t.clocks @> excluded.clocks)
      or (excluded.suite, excluded.commit_sha, excluded.branch, excluded.pipeline, excluded.job, excluded.passed_count, excluded.failed_count, excluded.skipped_count, excluded.error_count, excluded.duration_seconds, excluded.started_at, excluded.passed, excluded.skipped, excluded.url) is distinct from (t.suite, t.commit_sha, t.branch, t.pipeline, t.job, t.passed_count, t.failed_count, t.skipped_count, t.error_count, t.duration_seconds, t.started_at, t.passed, t.skipped, t.url);
  end loop;
end
$function$;
comment on function metrics.fold_test_runs(observations jsonb) is 'Folds a list of observations into metrics.test_runs. Written by metrics.compile_fold from the rules in its columns'' comments.';

-- function metrics.forget_person(login text, step integer, continue_after jsonb)
CREATE OR REPLACE FUNCTION metrics.forget_person(login text, step integer DEFAULT 10000, continue_after jsonb DEFAULT NULL::jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
declare
  place record;
  erased integer := 0;
  rows integer;
  looked integer := 0;
  last_body jsonb;
begin
  perform metrics.require_admin();
  if login is null or length(btrim(login)) < 2 then
    raise exception using
      errcode = '22023',
      message = 'login needs at least two characters';
  end if;
  if step is null or step not between 1 and 100000 then
    raise exception using
      errcode = '22023',
      message = format('step is between 1 and 100000, not %s', step);
  end if;

  for place in
    select *
    from (
      values
        ('pipeline_runs', 'actor'), ('pull_requests', 'author'), ('reviews', 'reviewer'), ('pushes', 'pusher'), ('commits', 'author'),
        ('deployments', 'actor')
    ) as p (fact_table, fact_column)
  loop
    exit when erased >= step;
    execute format(
      'update metrics.%1$I set %2$I = null, updated_at = now()
       where ctid in (select t.ctid from metrics.%1$I as t where lower(t.%2$I) = lower($1) limit $2)',
      place.fact_table,
      place.fact_column
    )
    using login, step - erased;
    get diagnostics rows = row_count;
    erased := erased + rows;
  end loop;

  if erased < step then
    update metrics.measurements as m
    set
      attributes = (
        select coalesce(jsonb_object_agg(a.key, a.value), '{}')
        from jsonb_each(m.attributes) as a
        where lower(a.value #>> '{}') is distinct from lower(login)
      ),
      updated_at = now()
    where m.ctid in (
      select t.ctid
      from metrics.measurements as t
      cross join lateral jsonb_each(t.attributes) as a
      where lower(a.value #>> '{}') = lower(login)
      limit step - erased
    );
    get diagnostics rows = row_count;
    erased := erased + rows;
  end if;
  if erased >= step then
    return jsonb_build_object('erased', erased, 'done', false, 'continue_after', null);
  end if;

  -- Bodies are searched a page at a time, in the order of their key: a whole look would outlast any time-out.
  with page as (
    select b.source, b.delivery_id, b.expires_on, metrics.holds_any(b.body, metrics.spellings(login)) as names_them
    from metrics.bodies as b
    where continue_after is null
      or (b.source, b.delivery_id) > (continue_after ->> 'source', continue_after ->> 'delivery_id')
    order by b.source, b.delivery_id
    limit least(step, 2000)
  ),
  gone as (
    delete from metrics.bodies as b
    using page as p
    where p.names_them
      and b.source = p.source
      and b.delivery_id = p.delivery_id
      and b.expires_on = p.expires_on
    returning b.source, b.delivery_id
  ),
  marked as (
    update metrics.deliveries as d
    set body_expires_on = null
    from gone as g
    where d.source = g.source
      and d.delivery_id = g.delivery_id
    returning 1
  )
  select count(*), (select count(*) from marked), (array_agg(jsonb_build_object('source', p.source, 'delivery_id', p.delivery_id)
    order by p.source desc, p.delivery_id desc))[1]
  into looked, rows, last_body
  from page as p;

  if looked < least(step, 2000) then
    perform metrics.note('forget_person', null, null);
  end if;
  return jsonb_build_object(
    'erased', erased + rows,
    'done', looked < least(step, 2000),
    'continue_after', case when looked >= least(step, 2000) then last_body end
  );
end
$function$;
grant execute on function metrics.forget_person(login text, step integer, continue_after jsonb) to authenticated;
comment on function metrics.forget_person(login text, step integer, continue_after jsonb) is 'Erases a login from facts, and the bodies that hold it. Call again with continue_after of the answer until done is true. The audit row holds no name.';

-- function metrics.forget_repository(repository text, step integer)
CREATE OR REPLACE FUNCTION metrics.forget_repository(repository text, step integer DEFAULT 10000)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
declare
  gone bigint;
  gone_references bigint[];
  gone_spellings text[];
  fact_table text;
  erased integer := 0;
  rows integer;
begin
  perform metrics.require_admin();
  if step is null or step not between 1 and 100000 then
    raise exception using
      errcode = '22023',
      message = format('step is between 1 and 100000, not %s', step);
  end if;
  -- Deliveries that are being stored are waited for, and the next ones wait: until this step is done.
  perform pg_advisory_xact_lock(hashtextextended('metrics.erasure', 0));
  gone := metrics.repository_named(repository);
  perform metrics.lock_repositories(array[gone]);
  gone_references := array(
    select r.id
    from metrics.repository_references as r
    where r.repository_id = gone
  );
  gone_spellings := (
    select array_agg(distinct s)
    from (
      select r.full_name
      from metrics.repositories as r
      where r.id = gone
        and r.full_name is not null
      union
      -- Names that it had before stand in the URLs that it claimed.
      select regexp_replace(r.url, '^[^/]*/', '')
      from metrics.repository_references as r
      where r.repository_id = gone
        and r.url like '%/%'
    ) as n (name)
    cross join unnest(metrics.spellings(n.name)) as s
  );

  foreach fact_table in array array[
    'test_cases', 'test_runs', 'tests', 'rule_checks', 'measurements', 'incidents', 'releases', 'deployments', 'commits', 'pushes',
    'reviews', 'pull_requests', 'jobs', 'pipeline_runs'
  ] loop
    exit when erased >= step;
    execute format(
      'delete from metrics.%1$I where ctid in (select t.ctid from metrics.%1$I as t where t.reference_id = any($1) limit $2)',
      fact_table
    )
    using gone_references, step - erased;
    get diagnostics rows = row_count;
    erased := erased + rows;
  end loop;

  if erased < step then
    with theirs as (
      select d.source, d.delivery_id
      from metrics.deliveries as d
      where d.reference_ids && gone_references
      limit step - erased
    ),
    bodies as (
      delete from metrics.bodies as b
      using theirs as t
      where b.source = t.source
        and b.delivery_id = t.delivery_id
    )
    update metrics.deliveries as d
    set
      reference_ids = '{}',
      body_expires_on = null
    from theirs as t
    where d.source = t.source
      and d.delivery_id = t.delivery_id;
    get diagnostics rows = row_count;
    erased := erased + rows;
  end if;

  -- What was not understood has no references: there the name in the bytes decides.
  if erased < step and gone_spellings is not null then
    with theirs as (
      select d.source, d.delivery_id
      from metrics.deliveries as d
      join metrics.bodies as b
        on b.source = d.source
        and b.delivery_id = d.delivery_id
        and b.expires_on = d.body_expires_on
      where d.result = 'quarantined'
        and metrics.holds_any(b.body, gone_spellings)
      limit step - erased
    ),
    bodies as (
      delete from metrics.bodies as b
      using theirs as t
      where b.source = t.source
        and b.delivery_id = t.delivery_id
    )
    update metrics.deliveries as d
    set body_expires_on = null
    from theirs as t
    where d.source = t.source
      and d.delivery_id = t.delivery_id;
    get diagnostics rows = row_count;
    erased := erased + rows;
  end if;

  if erased < step then
    delete from metrics.repository_references as r
    where r.repository_id = gone;
    delete from metrics.repositories as r
    where r.id = gone;
    perform metrics.note('forget_repository', jsonb_build_object('repository', repository), null);
  end if;
  return jsonb_build_object('erased', erased, 'done', erased < step);
end
$function$;
grant execute on function metrics.forget_repository(repository text, step integer) to authenticated;
comment on function metrics.forget_repository(repository text, step integer) is 'Erases a repository: facts, bodies, references. Erases about step rows a call; call again until done is true.';

-- function metrics.health()
CREATE OR REPLACE FUNCTION metrics.health()
 RETURNS boolean
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO ''
AS $function$
  select s.is_single
  from metrics.settings as s
$function$;
grant execute on function metrics.health() to service_role;
comment on function metrics.health() is 'True when the database answers. Read by the function''s health route.';

-- function metrics.holds_any(body bytea, spellings text[])
CREATE OR REPLACE FUNCTION metrics.holds_any(body bytea, spellings text[])
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO ''
AS $function$
  select exists (
    select
    from (select lower(encode(body, 'escape')) as text) as b
    cross join unnest(spellings) as s (spelling)
    where position(s.spelling in b.text) > 0
  )
$function$;
comment on function metrics.holds_any(body bytea, spellings text[]) is 'Whether a body holds one of these spellings, in upper or lower case.';

-- function metrics.identity_named(name text)
CREATE OR REPLACE FUNCTION metrics.identity_named(name text)
 RETURNS metrics.identities
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
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
$function$;
comment on function metrics.identity_named(name text) is 'The identity of this name that was not revoked, locked. Raises P0002 for none.';

-- function metrics.identity_without_hash(identity metrics.identities)
CREATE OR REPLACE FUNCTION metrics.identity_without_hash(identity metrics.identities)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
 SET search_path TO ''
AS $function$
  select to_jsonb(identity) - 'token_sha256'
$function$;
comment on function metrics.identity_without_hash(identity metrics.identities) is 'An identity as the audit trail shows it: without the hash of its token.';

-- function metrics.ingest(delivery jsonb, facts jsonb, body text)
CREATE OR REPLACE FUNCTION metrics.ingest(delivery jsonb, facts jsonb DEFAULT '{}'::jsonb, body text DEFAULT NULL::text)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET lock_timeout TO '3s'
AS $function$
declare
  fact_kinds constant text[] := array[
    'repositories', 'pipeline_runs', 'jobs', 'pull_requests', 'reviews', 'pushes', 'commits', 'deployments', 'releases', 'incidents',
    'test_runs', 'test_cases', 'rule_checks', 'measurements'
  ];
  joined_kinds constant text[] := array['pull_requests', 'reviews', 'pushes', 'commits'];
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
  joined_names text[] := '{}';
  named bigint[];
  locked bigint[] := '{}';
  moved bigint[] := '{}';
  touched_references bigint[] := '{}';
  touched_numbers integer[] := '{}';
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
  if facts ? 'repositories' then
    repositories := metrics.repositories_said_anew(facts -> 'repositories');
    if repositories <> '[]' then
      claims := array(
        select c
        from metrics.new_claims(repositories) as c
      );
    end if;
  end if;
  if cardinality(joined_names) > 0 or cardinality(claims) > 0 then
    locked := array(
      select r.repository_id
      from metrics.repository_references as r
      where r.reference = any(joined_names)
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

  if facts ? 'repositories' then
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

  return jsonb_build_object('result', 'stored', 'reason', null, 'delivery_id', id, 'facts', counts);
end
$function$;
grant execute on function metrics.ingest(delivery jsonb, facts jsonb, body text) to service_role;
comment on function metrics.ingest(delivery jsonb, facts jsonb, body text) is 'Stores a delivery, its facts and all that follows from them in one transaction. The only writer of facts. With an identity, only what that may tell: 28000, 42501, 22008, PT429, and PT422 for an id that came before with other bytes. In place of a delivery it takes a list of calls, {delivery, facts, body} each, and returns a list of what became of them in their order, with null for each that must be made by itself.';

-- function metrics.ingest_health(days integer)
CREATE OR REPLACE FUNCTION metrics.ingest_health(days integer DEFAULT 7)
 RETURNS TABLE(source text, last_received_at timestamp with time zone, seconds_since_last double precision, stored bigint, ignored bigint, quarantined bigint, unknown_words jsonb)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
begin
  perform metrics.require_reader();
  if days is null or days not between 1 and 400 then
    raise exception using
      errcode = '22023',
      message = format('days is between 1 and 400, not %s', days);
  end if;
  return query
  select
    d.source,
    max(d.received_at),
    extract(epoch from now() - max(d.received_at))::double precision,
    count(*) filter (where d.result = 'stored'),
    count(*) filter (where d.result = 'ignored'),
    count(*) filter (where d.result = 'quarantined'),
    (
      select coalesce(jsonb_object_agg(w.provider_outcome, w.times), '{}')
      from (
        select o.provider_outcome, count(*) as times
        from (
          select p.reference_id, p.provider_outcome
          from metrics.pipeline_runs as p
          where p.outcome = 'unknown'
          union all
          select j.reference_id, j.provider_outcome
          from metrics.jobs as j
          where j.outcome = 'unknown'
          union all
          select e.reference_id, e.provider_outcome
          from metrics.deployments as e
          where e.outcome = 'unknown'
        ) as o
        join metrics.repository_references as r
          on r.id = o.reference_id
        where r.source = d.source
          and o.provider_outcome is not null
        group by o.provider_outcome
      ) as w
    )
  from metrics.deliveries as d
  where d.received_at >= now() - make_interval(days => ingest_health.days)
  group by d.source
  order by d.source;
end
$function$;
grant execute on function metrics.ingest_health(days integer) to authenticated;
grant execute on function metrics.ingest_health(days integer) to metrics_reader;
comment on function metrics.ingest_health(days integer) is 'By source, over the last days: the last delivery, what became of all, and the outcomes that no mapping knows. Deliveries are read by admins and BI roles; a viewer sees none.';

-- function metrics.ingest_together(calls jsonb)
CREATE OR REPLACE FUNCTION metrics.ingest_together(calls jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  -- What depends on one row alone, and so on no lock but the row's.
  row_kinds constant text[] := array['repositories', 'pipeline_runs', 'jobs', 'deployments', 'releases', 'rule_checks', 'measurements'];
  body_days integer;
  taken bigint[];
  answers jsonb;
  facts jsonb;
begin
  perform pg_advisory_xact_lock_shared(hashtextextended('metrics.erasure', 0));
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
      and metrics.repositories_said_anew(coalesce(c.facts -> 'repositories', '[]')) = '[]'
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
$function$;
comment on function metrics.ingest_together(calls jsonb) is 'Stores those of several calls that are plain in one transaction: new deliveries that carry no fact, or facts of known repositories that depend on one row alone. Null stands for a call that was left alone.';

-- function metrics.is_admin()
CREATE OR REPLACE FUNCTION metrics.is_admin()
 RETURNS boolean
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO ''
AS $function$
  select exists (
    select
    from metrics.members as m
    where m.user_id = (select auth.uid())
      and m.role = 'admin'
  )
$function$;
grant execute on function metrics.is_admin() to authenticated;
grant execute on function metrics.is_admin() to metrics_reader;
comment on function metrics.is_admin() is 'Whether the signed-in user is an admin.';

-- function metrics.is_member()
CREATE OR REPLACE FUNCTION metrics.is_member()
 RETURNS boolean
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO ''
AS $function$
  select exists (
    select
    from metrics.members as m
    where m.user_id = (select auth.uid())
  )
$function$;
grant execute on function metrics.is_member() to authenticated;
grant execute on function metrics.is_member() to metrics_reader;
comment on function metrics.is_member() is 'Whether the signed-in user is a member.';

-- function metrics.is_operator()
CREATE OR REPLACE FUNCTION metrics.is_operator()
 RETURNS boolean
 LANGUAGE sql
 STABLE
 SET search_path TO ''
AS $function$
  select pg_has_role(metrics.caller(), n.nspowner, 'member')
  from pg_catalog.pg_namespace as n
  where n.nspname = 'metrics'
$function$;
comment on function metrics.is_operator() is 'Whether the caller owns the schema: postgres, in SQL, not through the Data API.';

-- function metrics.is_within(reference text, permitted text[], source text)
CREATE OR REPLACE FUNCTION metrics.is_within(reference text, permitted text[], source text)
 RETURNS boolean
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO ''
AS $function$
begin
  return coalesce(case when permitted is null then starts_with(reference, source || ':') else reference = any(permitted) end, false);
end
$function$;
comment on function metrics.is_within(reference text, permitted text[], source text) is 'Whether a repository reference is among those permitted; NULL permits all of the source. False for no reference.';

-- function metrics.list_identities()
CREATE OR REPLACE FUNCTION metrics.list_identities()
 RETURNS TABLE(id bigint, name text, kind text, provider text, issuer text, audience text, claims jsonb, sources text[], repositories text[], fact_kinds text[], calls_per_minute integer, created_at timestamp with time zone, expires_at timestamp with time zone, revoked_at timestamp with time zone, last_used_at timestamp with time zone)
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
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
$function$;
grant execute on function metrics.list_identities() to authenticated;
comment on function metrics.list_identities() is 'Every identity that there ever was, with its last delivery that is still remembered. No token, and no hash of one.';

-- function metrics.live_identities()
CREATE OR REPLACE FUNCTION metrics.live_identities()
 RETURNS jsonb
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO ''
AS $function$
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
$function$;
grant execute on function metrics.live_identities() to service_role;
comment on function metrics.live_identities() is 'The identities that are neither revoked nor expired, for the function that proves who reports.';

-- function metrics.lock_repositories(repositories bigint[])
CREATE OR REPLACE FUNCTION metrics.lock_repositories(repositories bigint[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  repository bigint;
begin
  for repository in
    select distinct r
    from unnest(repositories) as r
    order by r
  loop
    perform pg_advisory_xact_lock(hashtextextended('metrics.repositories ' || repository, 0));
  end loop;
end
$function$;
comment on function metrics.lock_repositories(repositories bigint[]) is 'Takes the locks of repositories until the end of the transaction, in ascending order, so that no two callers wait for each other.';

-- function metrics.maintain(step integer)
CREATE OR REPLACE FUNCTION metrics.maintain(step integer DEFAULT 10000)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET lock_timeout TO '1s'
AS $function$
declare
  today constant date := (now() at time zone 'UTC')::date;
  chosen metrics.settings;
  partition_name text;
  ahead record;
  dropped integer := 0;
  waiting integer := 0;
  deleted jsonb := '{}';
  horizon timestamptz;
  rows integer;
begin
  select *
  into chosen
  from metrics.settings;

  delete from metrics.bodies_default as b
  where b.ctid in (
    select d.ctid
    from metrics.bodies_default as d
    where d.expires_on <= today
    limit step
  );
  get diagnostics rows = row_count;
  deleted := deleted || jsonb_build_object('bodies_default', rows);

  delete from metrics.deliveries as d
  where (d.source, d.delivery_id) in (
    select o.source, o.delivery_id
    from (select distinct s.source from metrics.deliveries as s) as s
    cross join lateral (
      select p.source, p.delivery_id
      from metrics.deliveries as p
      where p.source = s.source
        and p.received_at < now() - make_interval(days => chosen.delivery_days)
        -- While its body may still be there, the delivery is what replaying and erasing find it by.
        and (p.body_expires_on is null or p.body_expires_on + 7 <= today)
      order by p.received_at
      limit step
    ) as o
    limit step
  );
  get diagnostics rows = row_count;
  deleted := deleted || jsonb_build_object('deliveries', rows);

  horizon := date_trunc('week', (now() - make_interval(days => chosen.job_days)) at time zone chosen.time_zone) at time zone chosen.time_zone;
  delete from metrics.jobs as j
  where j.ctid in (
    select o.ctid
    from metrics.jobs as o
    where coalesce(o.finished_at, o.started_at, o.queued_at, o.updated_at) < horizon
    limit step
  );
  get diagnostics rows = row_count;
  deleted := deleted || jsonb_build_object('jobs', rows);

  horizon := date_trunc('week', (now() - make_interval(days => chosen.test_case_days)) at time zone chosen.time_zone) at time zone chosen.time_zone;
  delete from metrics.test_cases as t
  where t.ctid in (
    select o.ctid
    from metrics.test_cases as o
    where o.updated_at < horizon
    limit step
  );
  get diagnostics rows = row_count;
  deleted := deleted || jsonb_build_object('test_cases', rows);

  -- Last, because each takes a lock that every delivery with a body waits for until this ends.
  for partition_name in
    select c.relname
    from pg_catalog.pg_inherits as i
    join pg_catalog.pg_class as c
      on c.oid = i.inhrelid
    where i.inhparent = 'metrics.bodies'::regclass
      and c.relname ~ '^bodies_[0-9]{8}$'
      and to_date(right(c.relname, 8), 'YYYYMMDD') + 7 <= today
    order by c.relname
  loop
    begin
      execute format('drop table metrics.%I', partition_name);
      dropped := dropped + 1;
    exception
      when lock_not_available then
        -- Tried again at the next call.
        waiting := waiting + 1;
    end;
  end loop;

  select *
  into ahead
  from metrics.make_body_partitions();

  return jsonb_build_object(
    'partitions_made', ahead.made,
    'partitions_dropped', dropped,
    'partitions_waiting', waiting + ahead.waiting,
    'deleted', deleted,
    'done', waiting + ahead.waiting = 0 and not exists (select from jsonb_each(deleted) as d where d.value >= to_jsonb(step))
  );
end
$function$;
comment on function metrics.maintain(step integer) is 'Makes the partitions of the next weeks and drops what is older than the settings say, at most step rows of a table a call.';

-- function metrics.make_body_partitions(OUT made integer, OUT waiting integer)
CREATE OR REPLACE FUNCTION metrics.make_body_partitions(OUT made integer, OUT waiting integer)
 RETURNS record
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  today constant date := (now() at time zone 'UTC')::date;
  chosen metrics.settings;
  week date;
  partition_name text;
begin
  made := 0;
  waiting := 0;
  select *
  into chosen
  from metrics.settings;
  for week in
    select generate_series(
      date_trunc('week', today)::date,
      date_trunc('week', today + greatest(chosen.body_days, chosen.quarantined_body_days) + 14)::date,
      interval '7 days'
    )::date
  loop
    partition_name := 'bodies_' || to_char(week, 'YYYYMMDD');
    if to_regclass('metrics.' || partition_name) is null then
      begin
        execute format(
          'create table metrics.%I partition of metrics.bodies for values from (%L) to (%L)',
          partition_name,
          week,
          week + 7
        );
        execute format('alter table metrics.%I enable row level security', partition_name);
        execute format('comment on table metrics.%I is %L', partition_name, 'Bodies that expire in the week of this Monday.');
        made := made + 1;
      exception
        when lock_not_available or check_violation or duplicate_table then
          -- Busy, or made by somebody else just now, or the default partition already holds rows of this week: they stay there, and the week is served by it.
          waiting := waiting + 1;
      end;
    end if;
  end loop;
end
$function$;
comment on function metrics.make_body_partitions(OUT made integer, OUT waiting integer) is 'Makes the partitions of bodies for as long as one that comes in the next weeks may live.';

-- function metrics.new_claims(repositories jsonb)
CREATE OR REPLACE FUNCTION metrics.new_claims(repositories jsonb)
 RETURNS SETOF metrics.claim
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
AS $function$
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
$function$;
comment on function metrics.new_claims(repositories jsonb) is 'URLs that these observations of repositories claim later than the present claim, with the repository that each means now.';

-- function metrics.next_identity_id()
CREATE OR REPLACE FUNCTION metrics.next_identity_id()
 RETURNS bigint
 LANGUAGE sql
 SET search_path TO ''
AS $function$
  select nextval(pg_get_serial_sequence('metrics.identities', 'id'))
$function$;
comment on function metrics.next_identity_id() is 'The id of the identity that is made next: a token holds it before its row is there.';

-- function metrics.normalised_url(url text)
CREATE OR REPLACE FUNCTION metrics.normalised_url(url text)
 RETURNS text
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO ''
AS $function$
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
$function$;
comment on function metrics.normalised_url(url text) is 'A repository''s URL as host/path in lower case: no scheme, user, .git, query, or trailing slash. NULL for nothing.';

-- function metrics.note(action text, before jsonb, after jsonb)
CREATE OR REPLACE FUNCTION metrics.note(action text, before jsonb, after jsonb)
 RETURNS void
 LANGUAGE sql
 SET search_path TO ''
AS $function$
  insert into metrics.audit (actor, action, before, after)
  values (coalesce((select auth.uid())::text, metrics.caller()), action, before, after)
$function$;
comment on function metrics.note(action text, before jsonb, after jsonb) is 'Leaves one row in the audit trail.';

-- function metrics.pull_requests_touched_by(facts jsonb)
CREATE OR REPLACE FUNCTION metrics.pull_requests_touched_by(facts jsonb)
 RETURNS TABLE(reference_id bigint, number integer)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
 SET enable_seqscan TO 'off'
AS $function$
#variable_conflict use_column
begin
  return query
  with said as materialized (
    select k.kind, r.id as reference_id, r.repository_id, f.fact
    from (values ('pull_requests'), ('reviews'), ('pushes'), ('commits')) as k (kind)
    cross join lateral jsonb_array_elements(facts -> k.kind) as f (fact)
    join metrics.repository_references as r
      on r.reference = f.fact ->> 'repository'
  ),
  stored_pushes as materialized (
    select s.repository_id, p.ref, p.commits
    from said as s
    join metrics.pushes as p
      on p.reference_id = s.reference_id
      and p.ref = s.fact ->> 'ref'
      and p.before = s.fact ->> 'before'
      and p.after = s.fact ->> 'after'
    where s.kind = 'pushes'
  ),
  shas as materialized (
    select s.repository_id, s.fact ->> 'sha' as sha
    from said as s
    where s.kind = 'commits'
    union
    select s.repository_id, s.fact ->> 'after'
    from said as s
    where s.kind = 'pushes'
    union
    select s.repository_id, c.sha
    from said as s
    cross join lateral jsonb_array_elements_text(nullif(s.fact -> 'commits', 'null')) as c (sha)
    where s.kind = 'pushes'
    union
    select p.repository_id, c.sha
    from stored_pushes as p
    cross join lateral unnest(p.commits) as c (sha)
  ),
  branches as materialized (
    select s.repository_id, substr(s.fact ->> 'ref', 12) as branch
    from said as s
    where s.kind = 'pushes'
      and s.fact ->> 'ref' like 'refs/heads/%'
    union
    select s.repository_id, p.head_branch
    from said as s
    join metrics.pull_requests as p
      on p.reference_id = s.reference_id
      and p.number = (s.fact ->> 'number')::integer
    where s.kind = 'pull_requests'
    union
    select s.repository_id, substr(p.ref, 12)
    from (select repository_id, array_agg(sha) as list from shas group by repository_id) as s
    join metrics.repository_references as r
      on r.repository_id = s.repository_id
    join metrics.pushes as p
      on p.reference_id = r.id
      and p.commits && s.list
    where p.ref like 'refs/heads/%'
  )
  select p.reference_id, p.number
  from branches as b
  join metrics.repository_references as r
    on r.repository_id = b.repository_id
  join metrics.pull_requests as p
    on p.reference_id = r.id
    and p.head_branch = b.branch
  union
  select p.reference_id, p.number
  from shas as s
  join metrics.repository_references as r
    on r.repository_id = s.repository_id
  join metrics.pull_requests as p
    on p.reference_id = r.id
    and p.head_sha = s.sha
  union
  select p.reference_id, p.number
  from shas as s
  join metrics.repository_references as r
    on r.repository_id = s.repository_id
  join metrics.pull_requests as p
    on p.reference_id = r.id
    and p.merge_sha = s.sha
  union
  select s.reference_id, (s.fact ->> 'number')::integer
  from said as s
  where s.kind = 'pull_requests'
  union
  select r.id, n.number
  from said as s
  left join metrics.reviews as v
    on v.reference_id = s.reference_id
    and v.external_id = s.fact ->> 'external_id'
  cross join lateral (
    values ((s.fact ->> 'pull_request_number')::integer), (v.pull_request_number)
  ) as n (number)
  join metrics.repository_references as r
    on r.repository_id = s.repository_id
  where s.kind = 'reviews'
    and n.number is not null;
end
$function$;
comment on function metrics.pull_requests_touched_by(facts jsonb) is 'Pull requests whose derived columns may depend on these observations, as the facts stand now.';

-- function metrics.read_body(source text, delivery_id text)
CREATE OR REPLACE FUNCTION metrics.read_body(source text, delivery_id text)
 RETURNS bytea
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
declare
  bytes bytea;
begin
  perform metrics.require_admin();
  select b.body
  into bytes
  from metrics.bodies as b
  where b.source = read_body.source
    and b.delivery_id = read_body.delivery_id;
  if not found then
    raise exception using
      errcode = 'P0002',
      message = 'no body is kept for this delivery';
  end if;
  perform metrics.note('read_body', null, jsonb_build_object('source', read_body.source, 'delivery_id', read_body.delivery_id));
  return bytes;
end
$function$;
grant execute on function metrics.read_body(source text, delivery_id text) to authenticated;
comment on function metrics.read_body(source text, delivery_id text) is 'The body of a delivery, for admins; each reading leaves an audit row.';

-- function metrics.readable_references()
CREATE OR REPLACE FUNCTION metrics.readable_references()
 RETURNS SETOF bigint
 LANGUAGE sql
 STABLE SECURITY DEFINER ROWS 400
 SET search_path TO ''
AS $function$
  select r.id
  from metrics.repository_references as r
  where r.repository_id in (select metrics.readable_repositories())
$function$;
grant execute on function metrics.readable_references() to authenticated;
comment on function metrics.readable_references() is 'Repository references whose repository the signed-in member may read.';

-- function metrics.readable_repositories()
CREATE OR REPLACE FUNCTION metrics.readable_repositories()
 RETURNS SETOF bigint
 LANGUAGE sql
 STABLE SECURITY DEFINER ROWS 200
 SET search_path TO ''
AS $function$
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
  where m.user_id = (select auth.uid())
$function$;
grant execute on function metrics.readable_repositories() to authenticated;
comment on function metrics.readable_repositories() is 'Repositories that the signed-in member may read.';

-- function metrics.reference_text(reference_id bigint)
CREATE OR REPLACE FUNCTION metrics.reference_text(reference_id bigint)
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO ''
AS $function$
  select r.reference
  from metrics.repository_references as r
  where r.id = reference_id
$function$;
comment on function metrics.reference_text(reference_id bigint) is 'A reference as text, because ids depend on the order of arrival and must not decide a tie.';

-- function metrics.refuse_identity(constraint_name text)
CREATE OR REPLACE FUNCTION metrics.refuse_identity(constraint_name text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
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
$function$;
comment on function metrics.refuse_identity(constraint_name text) is 'Raises 23514 with a sentence about the constraint of metrics.identities that does not hold, and without the row.';

-- function metrics.remove_member(email text)
CREATE OR REPLACE FUNCTION metrics.remove_member(email text)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
declare
  address constant text := lower(btrim(email));
  earlier jsonb;
begin
  perform metrics.require_admin();
  select jsonb_build_object('email', m.email, 'role', m.role)
  into earlier
  from metrics.members as m
  where m.email = address;
  if not found then
    raise exception using
      errcode = 'P0002',
      message = format('%s is no member', address);
  end if;
  if earlier ->> 'role' = 'admin' then
    perform metrics.require_another_admin(address);
  end if;
  delete from metrics.members as m
  where m.email = address;
  perform metrics.note('remove_member', earlier, null);
end
$function$;
grant execute on function metrics.remove_member(email text) to authenticated;
comment on function metrics.remove_member(email text) is 'Removes a member, and with it its places in teams.';

-- function metrics.remove_team(team text)
CREATE OR REPLACE FUNCTION metrics.remove_team(team text)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
declare
  gone bigint;
begin
  perform metrics.require_admin();
  gone := metrics.team_named(team);
  delete from metrics.teams as t
  where t.id = gone;
  perform metrics.note('remove_team', jsonb_build_object('team', team), null);
end
$function$;
grant execute on function metrics.remove_team(team text) to authenticated;
comment on function metrics.remove_team(team text) is 'Removes a team; its members and repositories stay.';

-- function metrics.remove_team_member(team text, email text)
CREATE OR REPLACE FUNCTION metrics.remove_team_member(team text, email text)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
declare
  their_team bigint;
begin
  perform metrics.require_admin();
  their_team := metrics.team_named(team);
  delete from metrics.team_members as m
  where m.team_id = their_team
    and m.email = lower(btrim(remove_team_member.email));
  if not found then
    raise exception using
      errcode = 'P0002',
      message = format('%s is not in the team %s', remove_team_member.email, team);
  end if;
  perform metrics.note('remove_team_member', jsonb_build_object('team', team, 'email', lower(btrim(remove_team_member.email))), null);
end
$function$;
grant execute on function metrics.remove_team_member(team text, email text) to authenticated;
comment on function metrics.remove_team_member(team text, email text) is 'Takes a member out of a team.';

-- function metrics.remove_team_repository(team text, repository text)
CREATE OR REPLACE FUNCTION metrics.remove_team_repository(team text, repository text)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
declare
  their_team bigint;
  gone bigint;
begin
  perform metrics.require_admin();
  their_team := metrics.team_named(team);
  gone := metrics.repository_named(repository);
  delete from metrics.team_repositories as g
  where g.team_id = their_team
    and g.repository_id = gone;
  if not found then
    raise exception using
      errcode = 'P0002',
      message = format('the team %s has no repository %s', team, repository);
  end if;
  perform metrics.note('remove_team_repository', jsonb_build_object('team', team, 'repository', repository), null);
end
$function$;
grant execute on function metrics.remove_team_repository(team text, repository text) to authenticated;
comment on function metrics.remove_team_repository(team text, repository text) is 'Takes a repository from a team.';

-- function metrics.repositories_said_anew(repositories jsonb)
CREATE OR REPLACE FUNCTION metrics.repositories_said_anew(repositories jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
AS $function$
declare
  said jsonb;
  clock text;
  anew jsonb[] := '{}';
begin
  for said in
    select jsonb_array_elements(repositories)
  loop
    clock := to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS') || ' 0';
    if not exists (
      select
      from metrics.repository_references as r
      join metrics.repositories as t
        on t.id = r.repository_id
      where r.reference = said ->> 'repository'
        and t.full_name = said ->> 'full_name'
        and t.default_branch = said ->> 'default_branch'
        and t.url = said ->> 'url'
        and t.clocks = jsonb_build_object('full_name', clock, 'default_branch', clock, 'url', clock)
        and not said ? 'sequence'
    ) then
      anew := anew || said;
    end if;
  end loop;
  if cardinality(anew) < 2 then
    return to_jsonb(anew);
  end if;
  -- Sorted, so that two callers cannot wait for each other.
  return (
    select jsonb_agg(f.said order by r.repository_id)
    from unnest(anew) as f (said)
    join metrics.repository_references as r
      on r.reference = f.said ->> 'repository'
  );
end
$function$;
comment on function metrics.repositories_said_anew(repositories jsonb) is 'The observations of repositories that are not exactly what is kept already.';

-- function metrics.repository_named(repository text)
CREATE OR REPLACE FUNCTION metrics.repository_named(repository text)
 RETURNS bigint
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
AS $function$
declare
  found_ids bigint[];
begin
  select array_agg(distinct n.id)
  into found_ids
  from (
    select r.id
    from metrics.repositories as r
    where r.full_name = repository
    union all
    select r.repository_id
    from metrics.repository_references as r
    where r.reference = repository
  ) as n (id);
  if found_ids is null then
    raise exception using
      errcode = 'P0002',
      message = format('no repository is called %s', repository),
      hint = 'Name it as owner/name, or by its reference, for example github:123 or //github.com/acme/app.';
  end if;
  if cardinality(found_ids) > 1 then
    raise exception using
      errcode = '21000',
      message = format('several repositories are called %s', repository),
      hint = 'Name it by its reference, for example github:123 or //github.com/acme/app.';
  end if;
  return found_ids[1];
end
$function$;
comment on function metrics.repository_named(repository text) is 'The repository of this full name or reference. Raises P0002 for none, 21000 for several.';

-- function metrics.require_admin()
CREATE OR REPLACE FUNCTION metrics.require_admin()
 RETURNS void
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
AS $function$
begin
  if not (metrics.is_admin() or metrics.is_operator()) then
    raise exception using
      errcode = '42501',
      message = 'only admins of metrics may call this',
      hint = 'The first admin is made in SQL, as postgres: select metrics.add_member(''ann@example.com'', ''admin'')';
  end if;
end
$function$;
comment on function metrics.require_admin() is 'Raises 42501 unless the caller is an admin or owns the schema.';

-- function metrics.require_another_admin(address text)
CREATE OR REPLACE FUNCTION metrics.require_another_admin(address text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
begin
  -- Two admins who remove each other at the same moment must not both succeed.
  perform
  from metrics.members as m
  where m.role = 'admin'
  order by m.email
  for update;
  if not metrics.is_operator() and not exists (
    select
    from metrics.members as m
    where m.role = 'admin'
      and m.user_id is not null
      and m.email <> address
  ) then
    raise exception using
      errcode = '22023',
      message = 'the last admin stays: add another one first, and let them accept';
  end if;
end
$function$;
comment on function metrics.require_another_admin(address text) is 'Raises 22023 when this address is the last admin who has accepted.';

-- function metrics.require_reader()
CREATE OR REPLACE FUNCTION metrics.require_reader()
 RETURNS void
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
AS $function$
begin
  if not (metrics.is_member() or pg_has_role(metrics.caller(), 'metrics_reader', 'member')) then
    raise exception using
      errcode = '42501',
      message = 'only members of metrics may call this',
      hint = 'An admin adds a member with metrics.add_member; the member then calls metrics.accept_membership once.';
  end if;
end
$function$;
grant execute on function metrics.require_reader() to authenticated;
grant execute on function metrics.require_reader() to metrics_reader;
comment on function metrics.require_reader() is 'Raises 42501 unless the caller is a member or a role in metrics_reader.';

-- function metrics.require_scope(delivery jsonb, facts jsonb)
CREATE OR REPLACE FUNCTION metrics.require_scope(delivery jsonb, facts jsonb)
 RETURNS bigint
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
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
$function$;
comment on function metrics.require_scope(delivery jsonb, facts jsonb) is 'The id of a delivery''s identity when that may tell these facts to its source now. Raises 28000 when it does not live, 42501 when it may not, 22008 for what is observed in the future, PT429 with the seconds to wait when it made its calls of the minute: deliveries that were committed count, and one that came before is let through.';

-- function metrics.revoke_identity(name text)
CREATE OR REPLACE FUNCTION metrics.revoke_identity(name text)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
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
$function$;
grant execute on function metrics.revoke_identity(name text) to authenticated;
comment on function metrics.revoke_identity(name text) is 'Ends an identity at once and for ever. Its name is free for another.';

-- function metrics.set_setting(name text, value text)
CREATE OR REPLACE FUNCTION metrics.set_setting(name text, value text)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET statement_timeout TO '5s'
AS $function$
declare
  earlier text;
begin
  perform metrics.require_admin();
  if set_setting.name = 'time_zone' then
    if not exists (select from pg_catalog.pg_timezone_names as z where z.name = value) then
      raise exception using
        errcode = '22023',
        message = format('no time zone is called %s', value),
        hint = 'Use an IANA name, for example Europe/Berlin.';
    end if;
    update metrics.settings as s
    set time_zone = value
    from metrics.settings as o
    where s.is_single
    returning o.time_zone
    into earlier;
  elsif set_setting.name in ('body_days', 'quarantined_body_days', 'delivery_days', 'job_days', 'test_case_days') then
    execute format(
      'update metrics.settings as s set %1$I = $1::integer from metrics.settings as o where s.is_single returning o.%1$I::text',
      set_setting.name
    )
    using value
    into earlier;
  else
    raise exception using
      errcode = '22023',
      message = format('no setting is called %s', set_setting.name),
      hint = 'Settings are time_zone, body_days, quarantined_body_days, delivery_days, job_days, test_case_days.';
  end if;
  perform metrics.note('set_setting', jsonb_build_object(set_setting.name, earlier), jsonb_build_object(set_setting.name, value));
end
$function$;
grant execute on function metrics.set_setting(name text, value text) to authenticated;
comment on function metrics.set_setting(name text, value text) is 'Changes one setting by name. Days of bodies hold for bodies that come from now on.';

-- function metrics.settle_moved_repositories(moved bigint[])
CREATE OR REPLACE FUNCTION metrics.settle_moved_repositories(moved bigint[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
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
      delete from metrics.repositories as r
      where r.id = moved[i];
    end if;
  end loop;
end
$function$;
comment on function metrics.settle_moved_repositories(moved bigint[]) is 'Removes repositories that no reference means any more, and hands the teams'' reading on to the one that took the URL.';

-- function metrics.spellings(name text)
CREATE OR REPLACE FUNCTION metrics.spellings(name text)
 RETURNS text[]
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO ''
AS $function$
  select array_agg(distinct lower(encode(convert_to(s.spelling, 'UTF8'), 'escape')))
  from (
    select name
    union all
    select replace(name, '/', '\/')
    union all
    select string_agg(
      case
        when b.byte = 32 then '+'
        when chr(b.byte) ~ '^[A-Za-z0-9_.~-]$' then chr(b.byte)
        else '%' || lpad(to_hex(b.byte), 2, '0')
      end,
      '' order by b.place
    )
    from (
      select get_byte(convert_to(name, 'UTF8'), p.place) as byte, p.place
      from generate_series(0, octet_length(convert_to(name, 'UTF8')) - 1) as p (place)
    ) as b
  ) as s (spelling)
$function$;
comment on function metrics.spellings(name text) is 'How a name may stand in a body, in lower case and with bytes that are no ASCII escaped.';

-- function metrics.team_named(team text)
CREATE OR REPLACE FUNCTION metrics.team_named(team text)
 RETURNS bigint
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
AS $function$
declare
  team_id bigint;
begin
  select t.id
  into team_id
  from metrics.teams as t
  where t.name = team;
  if not found then
    raise exception using
      errcode = 'P0002',
      message = format('no team is called %s', team),
      hint = 'Make it with metrics.add_team.';
  end if;
  return team_id;
end
$function$;
comment on function metrics.team_named(team text) is 'The team of this name. Raises P0002 for none.';

-- function metrics.test_names(ids bigint[])
CREATE OR REPLACE FUNCTION metrics.test_names(ids bigint[])
 RETURNS text
 LANGUAGE sql
 STABLE STRICT
 SET search_path TO ''
AS $function$
  select coalesce(
    jsonb_agg(jsonb_build_array(t.suite, t.name) order by t.suite collate "C", t.name collate "C"),
    '[]'
  )::text
  from metrics.tests as t
  where t.id = any(ids)
$function$;
comment on function metrics.test_names(ids bigint[]) is 'Names of tests as text, because ids depend on the order of arrival and must not decide a tie.';

-- function metrics.with_test_ids(facts jsonb)
CREATE OR REPLACE FUNCTION metrics.with_test_ids(facts jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
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
$function$;
comment on function metrics.with_test_ids(facts jsonb) is 'Facts with the numbers of tests in place of their names; tests that are new get a number.';

-- procedure metrics.compile_fold(IN kind text, IN key_columns text[], IN rank text, IN rank_first boolean)
CREATE OR REPLACE PROCEDURE metrics.compile_fold(IN kind text, IN key_columns text[], IN rank text DEFAULT '0'::text, IN rank_first boolean DEFAULT false)
 LANGUAGE plpgsql
 SET search_path TO ''
AS $procedure$
declare
  relation constant regclass := format('metrics.%I', kind)::regclass;
  is_update constant boolean := kind = 'repositories';
  time_text constant text := $$coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-')$$;
  sequence_text constant text := $$coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '')$$;
  clock text;
  names text;
  said_values text;
  said_clocks text;
  assignments text;
  kept_clocks text;
  later_assignments text;
  latest_kept text;
  change text;
  keys text;
  key_values text;
  from_clause text;
  keyed_clause text;
  at_once text := '';
  bad text;
begin
  select string_agg(c.name, ', ')
  into bad
  from metrics.fold_columns(relation) as c
  where c.rule = 'latest'
    and metrics.comparable('x', c.name, c.type) is null;
  if bad is not null then
    raise exception 'metrics.%: no order is known for the type of %', kind, bad;
  end if;

  select
    string_agg(format('%I', c.name), ', ' order by c.place),
    string_agg(
      case
        when c.name = 'reference_id' then 'r.id'
        -- A lead that was not said is NULL anyway; its mates count only when it was.
        when c.rule = 'latest' and c.lead <> c.name then format('case when said ? %L then o.%I end', c.lead, c.name)
        when c.rule = 'union' then format('(select array_agg(distinct u order by u) from unnest(o.%I) as u)', c.name)
        else format('o.%I', c.name)
      end,
      E',\n        ' order by c.place
    ),
    string_agg(
      format(
        case c.rule
          when 'earliest' then '%1$I = least(t.%1$I, excluded.%1$I)'
          when 'union' then
            '%1$I = (select array_agg(distinct u order by u) from unnest(coalesce(t.%1$I, ''{}'') || coalesce(excluded.%1$I, ''{}'')) as u)'
          else '%1$I = case when %2$s then excluded.%1$I else t.%1$I end'
        end,
        c.name,
        c.later
      ),
      E',\n        ' order by c.place
    ),
    string_agg(
      case c.rule
        when 'earliest' then format('excluded.%1$I < coalesce(t.%1$I, ''infinity'')', c.name)
        when 'union' then format('not (coalesce(excluded.%1$I, ''{}'') <@ coalesce(t.%1$I, ''{}''))', c.name)
        else case when c.lead = c.name then format('(%s)', c.later) end
      end,
      E'\n      or ' order by c.place
    ),
    string_agg(
      format('%1$L, case when said ? %1$L then c.clock end', case when c.name = 'reference_id' then 'repository' else c.name end),
      E',\n          ' order by c.place
    ) filter (where c.rule = 'latest' and c.lead = c.name),
    string_agg(
      format('%1$L, greatest((excluded.clocks ->> %1$L) collate "C", t.clocks ->> %1$L)', c.name),
      E',\n          ' order by c.place
    ) filter (where c.rule = 'latest' and c.lead = c.name),
    string_agg(
      format(
        case c.rule
          when 'earliest' then '%1$I = least(t.%1$I, excluded.%1$I)'
          when 'union' then
            '%1$I = (select array_agg(distinct u order by u) from unnest(coalesce(t.%1$I, ''{}'') || coalesce(excluded.%1$I, ''{}'')) as u)'
          else '%1$I = case when excluded.clocks ? %2$L then excluded.%1$I else t.%1$I end'
        end,
        c.name,
        c.lead
      ),
      E',\n          ' order by c.place
    ),
    string_agg(format('(t.clocks ->> %L) collate "C"', c.name), ', ' order by c.place) filter (where c.rule = 'latest' and c.lead = c.name)
  into names, said_values, assignments, change, said_clocks, kept_clocks, later_assignments, latest_kept
  from metrics.fold_columns(relation) as c
  where c.rule is not null;

  -- The observation says "repository", the table keeps reference_id: one name for the clock of both.
  said_clocks := replace(said_clocks, '''repository'', case', '''reference_id'', case');
  said_values := replace(said_values, 'said ? ''reference_id''', 'said ? ''repository''');

  clock := case
    when rank_first then format($$(%s)::text || ' ' || %s || %s$$, rank, time_text, sequence_text)
    else format($$%s || ' ' || (%s)::text || %s$$, time_text, rank, sequence_text)
  end;

  select
    string_agg(format('%I', k), ', ' order by n),
    string_agg(
      case k
        when 'reference_id' then 'r.id'
        when 'id' then 'r.repository_id'
        when 'attempt' then 'coalesce(o.attempt, 1)'
        else format('o.%I', k)
      end,
      ', ' order by n
    )
  into keys, key_values
  from unnest(key_columns) with ordinality as u (k, n);

  from_clause := format(
    $f$from jsonb_array_elements(batch) as e (said)
      cross join lateral jsonb_populate_record(null::metrics.%I, said) as o
      %s join metrics.repository_references as r
        on r.reference = said ->> 'repository'$f$,
    kind,
    case when 'reference_id' = any(key_columns) or is_update then 'inner' else 'left' end
  );

  -- Only what makes the key is read to find out which observations share one.
  select format(
    $f$from jsonb_array_elements(observations) as e (said)
        %s
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'$f$,
    'cross join lateral jsonb_to_record(said) as o (' || string_agg(format('%I %s', c.name, c.type), ', ' order by c.place) || ')'
  )
  into keyed_clause
  from metrics.fold_columns(relation) as c
  where c.name = any(key_columns)
    and c.name not in ('reference_id', 'id');

  if not is_update then
    at_once := format(
      $body$
  -- Nearly always one observation comes alone, of a new key or later than all that was said of it: that needs no comparison of each
  -- column, and a short statement, which is prepared anew at every call.
  if jsonb_array_length(observations) = 1 then
    declare
      said constant jsonb := observations -> 0;
      o constant metrics.%1$I := jsonb_populate_record(null::metrics.%1$I, said);
      clock constant text := %2$s;
      r record;
    begin
      select i.id
      into r
      from metrics.repository_references as i
      where i.reference = said ->> 'repository';
      insert into metrics.%1$I as t (%3$s, %4$s, clocks)
      values (
        %5$s,
        %6$s,
        jsonb_strip_nulls(jsonb_build_object(
          %7$s
        ))
      )
      on conflict (%3$s) do update set
          %8$s,
          clocks = t.clocks || excluded.clocks,
          updated_at = now()
      where excluded.clocks <> '{}'
        and clock > coalesce(greatest(%9$s), '');
      if found then
        return;
      end if;
    end;
  end if;
$body$,
      kind,
      clock,
      keys,
      names,
      key_values,
      said_values,
      replace(said_clocks, 'c.clock', 'clock'),
      later_assignments,
      latest_kept
    );
  end if;

  execute format('drop function if exists metrics.%I(jsonb)', 'fold_' || kind);
  execute format(
    $create$
create function metrics.%1$I(observations jsonb)
returns void
language plpgsql
set search_path = ''
as $fold$
declare
  batch jsonb;
  batches jsonb[];
begin
%5$s
  -- A statement can touch a row once: several observations of one key go in one after the other.
  if jsonb_array_length(observations) > 1 and exists (
    select
    from (
      select row_number() over (partition by %2$s) as n
      %3$s
    ) as s
    where s.n > 1
  ) then
    select array_agg(b.said order by b.n)
    into batches
    from (
      select jsonb_agg(s.said) as said, s.n
      from (
        select e.said, row_number() over (partition by %2$s) as n
        %3$s
      ) as s
      group by s.n
    ) as b;
  else
    batches := array[observations];
  end if;
  foreach batch in array batches loop
%4$s
  end loop;
end
$fold$
    $create$,
    'fold_' || kind,
    key_values,
    keyed_clause,
    case
      when is_update then format(
        $body$
    update metrics.%1$I as t
    set
        %2$s,
        clocks = jsonb_strip_nulls(jsonb_build_object(
          %3$s
        )),
        updated_at = now()
    from (
      select
        %4$s as %5$s,
        %6$s,
        jsonb_strip_nulls(jsonb_build_object(
          %7$s
        )) as clocks
      %8$s
      cross join lateral (select %9$s as clock offset 0) as c
    ) as excluded
    where t.%5$s = excluded.%5$s
      and (
        %10$s
      );$body$,
        kind,
        assignments,
        kept_clocks,
        key_values,
        keys,
        -- A derived table needs its columns named.
        (
          select string_agg(format('case when said ? %L then o.%I end as %I', c.lead, c.name, c.name), E',\n        ' order by c.place)
          from metrics.fold_columns(relation) as c
          where c.rule = 'latest'
        ),
        said_clocks,
        from_clause,
        clock,
        change
      )
      else format(
        $body$
    insert into metrics.%1$I as t (%2$s, %3$s, clocks)
    select
        %4$s,
        %5$s,
        jsonb_strip_nulls(jsonb_build_object(
          %6$s
        ))
      %7$s
      cross join lateral (select %8$s as clock offset 0) as c
    order by %9$s
    on conflict (%2$s) do update set
        %10$s,
        clocks = jsonb_strip_nulls(jsonb_build_object(
          %11$s
        )),
        updated_at = now()
    -- The same said again is not written again.
    where not (t.clocks @> excluded.clocks)
      or (%12$s) is distinct from (%13$s);$body$,
        kind,
        keys,
        names,
        key_values,
        said_values,
        said_clocks,
        from_clause,
        clock,
        (select string_agg(n::text, ', ') from generate_series(1, cardinality(key_columns)) as n),
        assignments,
        kept_clocks,
        (select string_agg(format('excluded.%I', c.name), ', ' order by c.place) from metrics.fold_columns(relation) as c where c.rule is not null),
        (select string_agg(format('t.%I', c.name), ', ' order by c.place) from metrics.fold_columns(relation) as c where c.rule is not null)
      )
    end,
    at_once
  );
  execute format('revoke execute on function metrics.%I(jsonb) from public', 'fold_' || kind);
  execute format(
    'comment on function metrics.%I(jsonb) is %L',
    'fold_' || kind,
    format('Folds a list of observations into metrics.%s. Written by metrics.compile_fold from the rules in its columns'' comments.', kind)
  );
  execute format('comment on column metrics.%I.clocks is %L', kind, 'Clock of the observation that each latest column, or group by its first column, comes from.');
  execute format('comment on column metrics.%I.updated_at is %L', kind, 'When this row last changed here. Never part of a fact.');
  if 'reference_id' = any(key_columns) then
    execute format('comment on column metrics.%I.reference_id is %L', kind, 'Repository reference, as the sender named it.');
  end if;
end
$procedure$;
comment on procedure metrics.compile_fold(IN kind text, IN key_columns text[], IN rank text, IN rank_first boolean) is 'Writes the function that folds observations into a fact table, from the merge rules in the table''s comments.';
