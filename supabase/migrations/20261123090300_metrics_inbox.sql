-- What was received: one row per authenticated request, and its body apart, in partitions that are dropped whole.

set lock_timeout = '2s';
set statement_timeout = '60s';

create table if not exists metrics.deliveries (
  source text not null,
  delivery_id text not null,
  event text,
  received_at timestamptz not null default now(),
  result text not null,
  reason text,
  size integer,
  sha256 bytea not null,
  content_type text,
  fact_counts jsonb not null default '{}',
  notes text[] not null default '{}',
  reference_ids bigint[] not null default '{}',
  body_expires_on date,
  identity_id bigint,
  constraint deliveries_pkey primary key (source, delivery_id),
  constraint result_is_known check (result in ('stored', 'ignored', 'quarantined')),
  constraint reason_stands_beside_what_was_not_stored check ((result = 'stored') = (reason is null)),
  constraint sha256_is_32_bytes check (octet_length(sha256) = 32),
  constraint source_is_a_source_name check (source ~ '^[a-z0-9]+(-[a-z0-9]+)*$' and length(source) <= 100),
  constraint delivery_id_is_short check (length(delivery_id) between 1 and 300)
);

create index if not exists deliveries_source_received_at_idx on metrics.deliveries (source, received_at);
create index if not exists deliveries_identity_id_received_at_idx on metrics.deliveries (identity_id, received_at)
  where identity_id is not null;
create index if not exists deliveries_not_stored_idx on metrics.deliveries (received_at) where result <> 'stored';

comment on table metrics.deliveries is 'One authenticated HTTP request each, with what became of it.';
comment on column metrics.deliveries.source is 'The configured sender.';
comment on column metrics.deliveries.delivery_id is 'The sender''s id of the delivery. A conflict is kept under <id>#<first 12 hex of its SHA-256>.';
comment on column metrics.deliveries.event is 'The provider''s event and action, as event or event.action.';
comment on column metrics.deliveries.received_at is 'When it was committed here first. Never part of a fact.';
comment on column metrics.deliveries.result is 'stored, ignored or quarantined.';
comment on column metrics.deliveries.reason is 'Why it was ignored or quarantined; NULL when stored.';
comment on column metrics.deliveries.size is 'Bytes that were signed.';
comment on column metrics.deliveries.sha256 is 'SHA-256 of the bytes that were signed.';
comment on column metrics.deliveries.content_type is 'Media type of the body as it is kept.';
comment on column metrics.deliveries.fact_counts is 'Observations by fact kind.';
comment on column metrics.deliveries.notes is 'What normalisation changed in the facts: cut texts, replaced characters, numbers out of range.';
comment on column metrics.deliveries.reference_ids is 'Repository references that its facts name, for erasing a repository.';
comment on column metrics.deliveries.body_expires_on is 'The day on which its body may be dropped; NULL when none was kept.';
comment on column metrics.deliveries.identity_id is 'The identity that reported it; NULL for a webhook.';

-- Deliveries go when they are old, and with them would go the source that has fallen silent: the one that somebody must see. No delivery
-- writes here, only what removes old ones.
create table if not exists metrics.remembered_sources (
  source text not null,
  last_received_at timestamptz not null,
  constraint remembered_sources_pkey primary key (source)
);

comment on table metrics.remembered_sources is 'Sources of which deliveries have been removed because they were old. Those of which all are still kept are not here.';
comment on column metrics.remembered_sources.source is 'The configured sender.';
comment on column metrics.remembered_sources.last_received_at is 'When the last of the deliveries that are gone was received.';

create table if not exists metrics.bodies (
  source text not null,
  delivery_id text not null,
  expires_on date not null,
  body bytea not null,
  constraint bodies_pkey primary key (source, delivery_id, expires_on)
) partition by range (expires_on);

-- A missing partition never refuses a delivery.
create table if not exists metrics.bodies_default partition of metrics.bodies default;

comment on table metrics.bodies is 'Bodies of deliveries, one partition per week of expiry. Read through metrics.read_body alone.';
comment on column metrics.bodies.source is 'The delivery''s source.';
comment on column metrics.bodies.delivery_id is 'The delivery''s id.';
comment on column metrics.bodies.expires_on is 'The day from which this row may be dropped: the partition key.';
comment on column metrics.bodies.body is 'The signed bytes themselves, or, where the source had to remove secrets, the body without them.';
comment on table metrics.bodies_default is 'Bodies whose week has no partition yet.';
comment on column metrics.bodies_default.source is 'The delivery''s source.';
comment on column metrics.bodies_default.delivery_id is 'The delivery''s id.';
comment on column metrics.bodies_default.expires_on is 'The day from which this row may be dropped.';
comment on column metrics.bodies_default.body is 'The body.';
