-- Where code lives, and the map from what senders call a repository to the repository.

set lock_timeout = '2s';
set statement_timeout = '60s';

create table if not exists metrics.repositories (
  id bigint generated always as identity primary key,
  full_name text,
  default_branch text,
  url text,
  clocks jsonb not null default '{}',
  updated_at timestamptz not null default now()
);

create index if not exists repositories_full_name_idx on metrics.repositories (lower(full_name));

comment on table metrics.repositories is 'Where code lives. One row per (source, external_id), and one per URL that no such repository claims.';
comment on column metrics.repositories.id is 'Key.';
comment on column metrics.repositories.full_name is 'Owner and name as the provider shows them. Merge: latest.';
comment on column metrics.repositories.default_branch is 'Name of the default branch. Merge: latest.';
comment on column metrics.repositories.url is 'Link to the repository as the provider shows it. Merge: latest.';

create table if not exists metrics.repository_references (
  id bigint generated always as identity primary key,
  reference text not null,
  source text,
  external_id text,
  url text,
  repository_id bigint not null,
  claim_clock text collate "C",
  claimed_by text collate "C",
  constraint repository_reference_is_unique unique (reference),
  constraint repository_reference_belongs_to_a_repository foreign key (repository_id) references metrics.repositories (id),
  constraint reference_is_an_external_id_or_a_url check (
    (url is null and source is not null and external_id is not null and reference = source || ':' || external_id)
    or (url is not null and source is null and external_id is null and reference = '//' || url)
  ),
  constraint only_a_url_is_claimed check (claimed_by is null or url is not null)
);

create index if not exists repository_references_repository_id_idx on metrics.repository_references (repository_id);

comment on table metrics.repository_references is 'How senders name repositories, and which repository each name means. Facts keep the reference, so a rename moves no fact.';
comment on column metrics.repository_references.id is 'Key, kept by facts.';
comment on column metrics.repository_references.reference is 'The reference as text: source:external_id, or //host/path.';
comment on column metrics.repository_references.source is 'The sender that uses this id; NULL for a URL.';
comment on column metrics.repository_references.external_id is 'The sender''s own id of the repository; NULL for a URL.';
comment on column metrics.repository_references.url is 'Normalised URL host/path; NULL for an external id.';
comment on column metrics.repository_references.repository_id is 'The repository that this reference means now.';
comment on column metrics.repository_references.claim_clock is 'Clock of the observation by which a repository last said that this URL is its own. Merge: latest.';
comment on column metrics.repository_references.claimed_by is 'Reference of the repository that said so. Merge: latest, with claim_clock.';
