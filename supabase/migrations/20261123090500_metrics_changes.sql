-- What people changed: pull requests with their reviews, pushes and commits.

set lock_timeout = '2s';
set statement_timeout = '60s';

create table if not exists metrics.pull_requests (
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
  opened_at timestamptz,
  ready_times timestamptz[],
  merged_at timestamptz,
  closed_at timestamptz,
  url text,
  ready_at timestamptz,
  first_commit_at timestamptz,
  first_review_at timestamptz,
  approved_at timestamptz,
  coding_seconds double precision generated always as (
    case when opened_at >= first_commit_at then extract(epoch from opened_at - first_commit_at) end
  ) stored,
  pickup_seconds double precision generated always as (
    case when first_review_at >= ready_at then extract(epoch from first_review_at - ready_at) end
  ) stored,
  review_seconds double precision generated always as (
    case when approved_at >= first_review_at then extract(epoch from approved_at - first_review_at) end
  ) stored,
  merge_seconds double precision generated always as (
    case when merged_at >= approved_at then extract(epoch from merged_at - approved_at) end
  ) stored,
  total_seconds double precision generated always as (
    case
      when merged_at >= coalesce(first_commit_at, opened_at) then extract(epoch from merged_at - coalesce(first_commit_at, opened_at))
    end
  ) stored,
  clocks jsonb not null default '{}',
  updated_at timestamptz not null default now(),
  constraint pull_requests_pkey primary key (reference_id, number),
  constraint state_is_known check (state in ('open', 'closed', 'merged')),
  constraint only_a_merged_pull_request_has_a_merge_commit check (
    state = 'merged' or (merge_sha is null and merged_at is null)
  )
);

create index if not exists pull_requests_head_branch_idx on metrics.pull_requests (reference_id, head_branch);
create index if not exists pull_requests_head_sha_idx on metrics.pull_requests (reference_id, head_sha);
create index if not exists pull_requests_merge_sha_idx on metrics.pull_requests (reference_id, merge_sha) where merge_sha is not null;
create index if not exists pull_requests_merged_at_idx on metrics.pull_requests (reference_id, merged_at) where merged_at is not null;

comment on table metrics.pull_requests is 'Pull requests and merge requests, with the moments that phases are cut from. Clocks compare by time, then rank of the state.';
comment on column metrics.pull_requests.number is 'Number within the repository.';
comment on column metrics.pull_requests.title is 'Title. Merge: latest.';
comment on column metrics.pull_requests.author is 'Login of the author. Merge: latest.';
comment on column metrics.pull_requests.author_is_bot is 'Whether the author is a bot. Merge: latest, with author.';
comment on column metrics.pull_requests.head_branch is 'Branch that it comes from. Merge: latest.';
comment on column metrics.pull_requests.base_branch is 'Branch that it goes to. Merge: latest.';
comment on column metrics.pull_requests.is_fork is 'Whether it comes from another repository. Merge: latest.';
comment on column metrics.pull_requests.head_sha is 'Last commit of its branch. Merge: latest.';
comment on column metrics.pull_requests.merge_sha is 'Commit that it became on the base branch; only when merged. Merge: latest, with state.';
comment on column metrics.pull_requests.state is 'open, closed or merged. Merge: latest.';
comment on column metrics.pull_requests.is_draft is 'Whether it is a draft. Merge: latest.';
comment on column metrics.pull_requests.labels is 'Labels. Merge: latest.';
comment on column metrics.pull_requests.additions is 'Lines added. Merge: latest.';
comment on column metrics.pull_requests.deletions is 'Lines removed. Merge: latest, with additions.';
comment on column metrics.pull_requests.changed_files is 'Files changed. Merge: latest, with additions.';
comment on column metrics.pull_requests.opened_at is 'When it was opened. Merge: earliest.';
comment on column metrics.pull_requests.ready_times is 'Each time it was marked ready for review. Merge: union.';
comment on column metrics.pull_requests.merged_at is 'When it was merged. Merge: latest, with state.';
comment on column metrics.pull_requests.closed_at is 'When it was closed, merged or not; NULL while open. Merge: latest, with state.';
comment on column metrics.pull_requests.url is 'Link to the provider. Merge: latest.';
comment on column metrics.pull_requests.ready_at is 'Derived: the latest of ready_times, or opened_at, before the first review.';
comment on column metrics.pull_requests.first_commit_at is 'Derived: the earliest authored_at among its own commits; NULL for forks.';
comment on column metrics.pull_requests.first_review_at is 'Derived: the first review by another human.';
comment on column metrics.pull_requests.approved_at is 'Derived: the first approval by another human.';
comment on column metrics.pull_requests.coding_seconds is 'Seconds from the first commit to opened; NULL when either is missing or the clock runs backwards.';
comment on column metrics.pull_requests.pickup_seconds is 'Seconds from ready to the first review; NULL when either is missing or the clock runs backwards.';
comment on column metrics.pull_requests.review_seconds is 'Seconds from the first review to the approval; NULL when either is missing or the clock runs backwards.';
comment on column metrics.pull_requests.merge_seconds is 'Seconds from the approval to the merge; NULL when either is missing or the clock runs backwards.';
comment on column metrics.pull_requests.total_seconds is 'Seconds from the first commit, or from opened where that is unknown, to the merge; NULL when either is missing or the clock runs backwards.';

create table if not exists metrics.reviews (
  reference_id bigint not null,
  external_id text not null,
  pull_request_number integer,
  reviewer text,
  reviewer_is_bot boolean,
  state text,
  submitted_at timestamptz,
  url text,
  clocks jsonb not null default '{}',
  updated_at timestamptz not null default now(),
  constraint reviews_pkey primary key (reference_id, external_id)
);

create index if not exists reviews_pull_request_idx on metrics.reviews (reference_id, pull_request_number);

comment on table metrics.reviews is 'Reviews of pull requests. Clocks compare by time, then rank: a dismissed review ranks above any other state.';
comment on column metrics.reviews.external_id is 'The sender''s id of the review.';
comment on column metrics.reviews.pull_request_number is 'The pull request that it is about. Merge: latest.';
comment on column metrics.reviews.reviewer is 'Login of the reviewer. Merge: latest.';
comment on column metrics.reviews.reviewer_is_bot is 'Whether the reviewer is a bot. Merge: latest, with reviewer.';
comment on column metrics.reviews.state is 'approved, changes_requested, commented, dismissed or pending. Merge: latest.';
comment on column metrics.reviews.submitted_at is 'When it was given. Merge: earliest.';
comment on column metrics.reviews.url is 'Link to the provider. Merge: latest.';

create table if not exists metrics.pushes (
  id bigint generated always as identity primary key,
  reference_id bigint not null,
  ref text not null,
  before text not null,
  after text not null,
  pushed_at timestamptz,
  forced boolean,
  created boolean,
  deleted boolean,
  on_default_branch boolean,
  commits text[],
  truncated boolean,
  pusher text,
  pusher_is_bot boolean,
  clocks jsonb not null default '{}',
  updated_at timestamptz not null default now(),
  constraint push_is_unique unique nulls not distinct (reference_id, ref, before, after, pushed_at)
);

-- What waits to be sorted in is read whole by each look for a commit: not up to 4 MB of it, but the least that can be said, in kB.
create index if not exists pushes_commits_idx on metrics.pushes using gin (commits) with (gin_pending_list_limit = 64);
create index if not exists pushes_after_idx on metrics.pushes (reference_id, after);
create index if not exists pushes_before_idx on metrics.pushes (reference_id, before);
create index if not exists pushes_default_branch_idx
  on metrics.pushes (reference_id, pushed_at)
  where on_default_branch is not false;

comment on table metrics.pushes is 'Moves of a branch or tag. Clocks compare by time.';
comment on column metrics.pushes.id is 'Key, because pushed_at may be unknown.';
comment on column metrics.pushes.ref is 'The full ref, for example refs/heads/main.';
comment on column metrics.pushes.before is 'Commit before the move; zeros when the ref is new.';
comment on column metrics.pushes.after is 'Commit after the move; zeros when the ref is gone.';
comment on column metrics.pushes.pushed_at is 'When, by the provider''s clock; NULL where it does not say.';
comment on column metrics.pushes.forced is 'Whether history was rewritten. Merge: latest.';
comment on column metrics.pushes.created is 'Whether the ref is new. Merge: latest.';
comment on column metrics.pushes.deleted is 'Whether the ref is gone. Merge: latest.';
comment on column metrics.pushes.on_default_branch is 'Whether the ref was the default branch, as the push itself said. Merge: latest.';
comment on column metrics.pushes.commits is 'Its commits in the provider''s order. Merge: latest.';
comment on column metrics.pushes.truncated is 'Whether the provider listed only some of them. Merge: latest, with commits.';
comment on column metrics.pushes.pusher is 'Login of who pushed. Merge: latest.';
comment on column metrics.pushes.pusher_is_bot is 'Whether the pusher is a bot. Merge: latest, with pusher.';

create table if not exists metrics.commits (
  reference_id bigint not null,
  sha text not null,
  authored_at timestamptz,
  committed_at timestamptz,
  author text,
  author_is_bot boolean,
  title text,
  reverts text[],
  changed_paths text[],
  clocks jsonb not null default '{}',
  updated_at timestamptz not null default now(),
  constraint commits_pkey primary key (reference_id, sha)
);

comment on table metrics.commits is 'Commits. Clocks compare by time.';
comment on column metrics.commits.sha is 'The commit''s id.';
comment on column metrics.commits.authored_at is 'When the change was written. Merge: earliest.';
comment on column metrics.commits.committed_at is 'When this commit was made of it. Merge: earliest.';
comment on column metrics.commits.author is 'Login of the author, else the name; never an address. Merge: latest.';
comment on column metrics.commits.author_is_bot is 'Whether the author is a bot. Merge: latest, with author.';
comment on column metrics.commits.title is 'First line of the message. Merge: latest.';
comment on column metrics.commits.reverts is 'Commits that it says it reverts. Merge: latest.';
comment on column metrics.commits.changed_paths is 'Paths added, changed or removed; NULL where the push does not list them. Merge: latest.';
