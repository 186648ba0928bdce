/**
 * Webhook bodies in the shape that GitLab sends them, for histories that are made up here: people are dev-1 and dev-2, and
 * the same calls make the same bytes. Times are given as ISO 8601 in UTC and written in the format that GitLab uses in each place.
 */

import { type Login, NO_COMMIT, type Posted, type PushedCommit } from "./history_github.ts";

export interface PushOptions {
  ref: string;
  before: string;
  after: string;
  by: Login;
  /** All of them, oldest first; GitLab lists the latest 20. */
  commits: PushedCommit[];
}

export interface BuildOptions {
  id: number;
  name: string;
  stage?: string;
  status: string;
  createdAt: string;
  startedAt?: string | null;
  finishedAt?: string | null;
  /** Seconds from pending to running. */
  queued?: number | null;
  failureReason?: string | null;
  allowFailure?: boolean;
  manual?: boolean;
  retries?: number;
  tags?: string[];
}

export interface PipelineOptions {
  id: number;
  number: number;
  name?: string | null;
  status: string;
  source?: string;
  ref: string;
  tag?: boolean;
  sha: string;
  createdAt: string;
  finishedAt?: string | null;
  /** Seconds from created to running. */
  queued?: number | null;
  /** Seconds that its jobs ran. */
  duration?: number | null;
  mergeRequest?: MergeRequestState;
  builds?: BuildOptions[];
  variables?: { key: string; value: string }[];
  parent?: { pipelineId: number; jobId: number };
  by: Login;
}

export interface MergeRequestState {
  id: number;
  number: number;
  title: string;
  author: Login;
  source: string;
  target?: string;
  /** Number of the project that it comes from, where that is another one. */
  fork?: number;
  headSha: string;
  state?: "opened" | "closed" | "merged";
  draft?: boolean;
  mergeSha?: string | null;
  labels?: string[];
  reviewers?: { name: Login; state: string }[];
  createdAt: string;
  updatedAt: string;
}

export interface DeploymentOptions {
  id: number;
  jobId: number | null;
  status: string;
  changedAt: string;
  environment: string;
  tier?: string;
  sha: string;
  ref: string;
  by: Login;
}

export interface IssueOptions {
  action: "open" | "update" | "close" | "reopen";
  id: number;
  number: number;
  title: string;
  type?: string;
  state: "opened" | "closed";
  severity?: string;
  escalation?: string;
  labels?: string[];
  confidential?: boolean;
  createdAt: string;
  updatedAt: string;
  closedAt?: string | null;
  by: Login;
}

export interface ReleaseOptions {
  action: "create" | "update" | "delete";
  id: number;
  tag: string;
  name: string;
  sha: string;
  createdAt: string;
  releasedAt: string;
}

type Changes = Record<string, { previous: unknown; current: unknown }>;

/** A project on a server of GitLab's that tells what happens to it. */
export class GitLabProject {
  readonly id: number;
  readonly source: string;
  path: string;
  defaultBranch = "main";
  #posted: number;

  /** `deliveries` is the number that delivery ids start from, so that two projects do not share any. */
  constructor(id: number, path: string, { source = "gitlab", deliveries = 0 } = {}) {
    this.id = id;
    this.source = source;
    this.path = path;
    this.#posted = deliveries;
  }

  get url(): string {
    return `https://gitlab.example.com/${this.path}`;
  }

  push({ ref, before, after, by, commits }: PushOptions): Posted {
    const isTag = ref.startsWith("refs/tags/");
    const kind = isTag ? "tag_push" : "push";
    return this.#post(isTag ? "Tag Push Hook" : "Push Hook", {
      object_kind: kind,
      event_name: kind,
      before,
      after,
      ref,
      ref_protected: true,
      checkout_sha: after === NO_COMMIT ? null : after,
      message: null,
      user_id: userId(by),
      user_name: by,
      user_username: by,
      user_email: "",
      project_id: this.id,
      project: this.#project(),
      commits: commits.slice(-20).map((commit) => this.#commit(commit)),
      total_commits_count: commits.length,
      push_options: {},
      repository: this.#repository(),
    });
  }

  pipeline(options: PipelineOptions): Posted {
    const { mergeRequest, parent } = options;
    return this.#post("Pipeline Hook", {
      object_kind: "pipeline",
      object_attributes: {
        id: options.id,
        iid: options.number,
        name: options.name ?? null,
        ref: options.ref,
        tag: options.tag ?? false,
        sha: options.sha,
        before_sha: NO_COMMIT,
        source: options.source ?? "push",
        status: options.status,
        detailed_status: options.status === "success" ? "passed" : options.status,
        stages: ["test", "deploy"],
        created_at: spaced(options.createdAt),
        finished_at: spaced(options.finishedAt),
        duration: options.duration ?? null,
        queued_duration: options.queued ?? null,
        protected_ref: true,
        variables: options.variables ?? [],
        url: `${this.url}/-/pipelines/${options.id}`,
      },
      merge_request: mergeRequest === undefined ? null : {
        id: mergeRequest.id,
        iid: mergeRequest.number,
        title: mergeRequest.title,
        source_branch: mergeRequest.source,
        source_project_id: mergeRequest.fork ?? this.id,
        target_branch: mergeRequest.target ?? this.defaultBranch,
        target_project_id: this.id,
        state: mergeRequest.state ?? "opened",
        merge_status: "can_be_merged",
        url: `${this.url}/-/merge_requests/${mergeRequest.number}`,
      },
      user: user(options.by),
      project: this.#project(),
      commit: { id: options.sha, title: "Work", url: `${this.url}/-/commit/${options.sha}` },
      ...(parent && {
        source_pipeline: {
          project: { id: this.id, web_url: this.url, path_with_namespace: this.path },
          job_id: parent.jobId,
          pipeline_id: parent.pipelineId,
        },
      }),
      builds: (options.builds ?? []).map((build) => ({
        id: build.id,
        stage: build.stage ?? "test",
        name: build.name,
        status: build.status,
        created_at: spaced(build.createdAt),
        started_at: spaced(build.startedAt),
        finished_at: spaced(build.finishedAt),
        duration: secondsOf(build),
        queued_duration: build.queued ?? null,
        failure_reason: build.status === "failed" ? build.failureReason ?? "script_failure" : null,
        when: build.manual ? "manual" : "on_success",
        manual: build.manual ?? false,
        allow_failure: build.allowFailure ?? false,
        user: user(options.by),
        runner: runner(build),
        artifacts_file: { filename: null, size: null },
        environment: null,
      })),
    });
  }

  job(build: BuildOptions, pipeline: PipelineOptions): Posted {
    const { mergeRequest } = pipeline;
    return this.#post("Job Hook", {
      object_kind: "build",
      ref: mergeRequest === undefined ? pipeline.ref : `refs/merge-requests/${mergeRequest.number}/merge`,
      tag: pipeline.tag ?? false,
      before_sha: NO_COMMIT,
      sha: pipeline.sha,
      retries_count: build.retries ?? 0,
      build_id: build.id,
      build_name: build.name,
      build_stage: build.stage ?? "test",
      build_status: build.status,
      build_created_at: spaced(build.createdAt),
      build_created_at_iso: build.createdAt,
      build_started_at: spaced(build.startedAt),
      build_started_at_iso: build.startedAt ?? null,
      build_finished_at: spaced(build.finishedAt),
      build_finished_at_iso: build.finishedAt ?? null,
      build_duration: secondsOf(build),
      build_queued_duration: build.queued ?? null,
      build_allow_failure: build.allowFailure ?? false,
      build_failure_reason: build.failureReason ?? "unknown_failure",
      pipeline_id: pipeline.id,
      runner: runner(build),
      project_id: this.id,
      project_name: this.path.split("/").join(" / "),
      user: user(pipeline.by),
      commit: {
        id: pipeline.id,
        name: pipeline.name ?? null,
        sha: pipeline.sha,
        message: "Work\n",
        author_name: pipeline.by,
        status: pipeline.status,
        duration: null,
        started_at: null,
        finished_at: null,
      },
      repository: this.#repository(),
      project: this.#project(),
      environment: null,
    });
  }

  /** A merge request as it is after an action by somebody. */
  mergeRequest(action: string, state: MergeRequestState, by: Login = state.author, changes: Changes = {}): Posted {
    const target = state.target ?? this.defaultBranch;
    const labels = (state.labels ?? []).map(label);
    const source = state.fork === undefined ? this.#project() : { ...this.#project(), id: state.fork };
    return this.#post("Merge Request Hook", {
      object_kind: "merge_request",
      event_type: "merge_request",
      user: user(by),
      project: this.#project(),
      object_attributes: {
        assignee_id: null,
        author_id: userId(state.author),
        created_at: spaced(state.createdAt),
        description: "",
        draft: state.draft ?? false,
        head_pipeline_id: null,
        id: state.id,
        iid: state.number,
        merge_commit_sha: state.mergeSha ?? null,
        merge_status: "can_be_merged",
        source_branch: state.source,
        source_project_id: state.fork ?? this.id,
        target_branch: target,
        target_project_id: this.id,
        title: state.title,
        updated_at: spaced(state.updatedAt),
        prepared_at: spaced(state.createdAt),
        url: `${this.url}/-/merge_requests/${state.number}`,
        source,
        target: this.#project(),
        last_commit: {
          id: state.headSha,
          message: "Work",
          title: "Work",
          timestamp: state.createdAt,
          url: `${this.url}/-/commit/${state.headSha}`,
          author: { name: state.author, email: "[REDACTED]" },
        },
        work_in_progress: state.draft ?? false,
        labels,
        state: state.state ?? "opened",
        blocking_discussions_resolved: true,
        first_contribution: false,
        detailed_merge_status: "mergeable",
        system: false,
        action,
      },
      labels,
      changes: { updated_at: { previous: null, current: spaced(state.updatedAt) }, ...changes },
      repository: this.#repository(),
      ...(state.reviewers && { reviewers: state.reviewers.map(reviewer) }),
    });
  }

  /** What reviewers did before and after, as `changes` of a merge request say it. */
  reviewerChange(previous: MergeRequestState, current: MergeRequestState): Changes {
    const list = (state: MergeRequestState) => (state.reviewers ?? []).map(reviewer);
    return { reviewers: { previous: list(previous), current: list(current) } };
  }

  deployment(options: DeploymentOptions): Posted {
    return this.#post("Deployment Hook", {
      object_kind: "deployment",
      status: options.status,
      status_changed_at: spaced(options.changedAt, "+0000"),
      deployment_id: options.id,
      deployable_id: options.jobId,
      deployable_url: options.jobId === null ? null : `${this.url}/-/jobs/${options.jobId}`,
      environment: options.environment,
      environment_tier: options.tier ?? "other",
      environment_slug: options.environment,
      environment_external_url: null,
      project: this.#project(),
      short_sha: options.sha.slice(0, 8),
      user: user(options.by),
      user_url: `https://gitlab.example.com/${options.by}`,
      commit_url: `${this.url}/-/commit/${options.sha}`,
      commit_title: "Work",
      ref: options.ref,
    });
  }

  issue(options: IssueOptions, changes: Changes = {}): Posted {
    const labels = (options.labels ?? []).map(label);
    const kind = options.type === "Issue" ? "issue" : "work_item";
    const name = options.confidential ? "Confidential Issue Hook" : kind === "issue" ? "Issue Hook" : "Work Item Hook";
    return this.#post(name, {
      object_kind: kind,
      event_type: options.confidential ? `confidential_${kind}` : kind,
      user: user(options.by),
      project: this.#project(),
      object_attributes: {
        author_id: userId(options.by),
        closed_at: options.closedAt ?? null,
        confidential: options.confidential ?? false,
        created_at: options.createdAt,
        description: "",
        id: options.id,
        iid: options.number,
        project_id: this.id,
        title: options.title,
        updated_at: options.updatedAt,
        moved_to_id: null,
        duplicated_to_id: null,
        type: options.type ?? "Incident",
        url: `${this.url}/-/issues/${options.number}`,
        labels,
        state: options.state,
        severity: options.severity ?? "unknown",
        ...(options.escalation && { escalation_status: options.escalation }),
        action: options.action,
      },
      labels,
      changes: { updated_at: { previous: null, current: options.updatedAt }, ...changes },
      repository: this.#repository(),
    });
  }

  release(options: ReleaseOptions): Posted {
    return this.#post("Release Hook", {
      id: options.id,
      created_at: spaced(options.createdAt),
      description: "",
      name: options.name,
      released_at: spaced(options.releasedAt),
      tag: options.tag,
      object_kind: "release",
      project: this.#project(),
      url: `${this.url}/-/releases/${options.tag}`,
      action: options.action,
      assets: { count: 0, links: [], sources: [] },
      commit: { id: options.sha, title: "Work", url: `${this.url}/-/commit/${options.sha}` },
    });
  }

  /** Somebody says something about a merge request. */
  note(id: number, text: string, by: Login, state: MergeRequestState): Posted {
    return this.#post("Note Hook", {
      object_kind: "note",
      event_type: "note",
      user: user(by),
      project_id: this.id,
      project: this.#project(),
      object_attributes: { id, note: text, noteable_type: "MergeRequest", author_id: userId(by), action: "create" },
      merge_request: { id: state.id, iid: state.number, title: state.title, state: state.state ?? "opened" },
    });
  }

  /** Gives the project another path, as a system hook tells it; what is posted from here on carries it. */
  rename(path: string, at: string): Posted {
    const old = this.path;
    this.path = path;
    return this.#post("System Hook", {
      event_name: "project_rename",
      created_at: "2025-01-15T08:00:00Z",
      updated_at: at,
      name: path.split("/").at(-1),
      path: path.split("/").at(-1),
      path_with_namespace: path,
      project_id: this.id,
      project_namespace_id: this.id + 1,
      project_visibility: "private",
      old_path_with_namespace: old,
    });
  }

  #post(event: string, body: Record<string, unknown>): Posted {
    this.#posted += 1;
    const id = `00000000-0000-4000-a000-${String(this.#posted).padStart(12, "0")}`;
    return { source: this.source, event, id, body };
  }

  #project(): Record<string, unknown> {
    return {
      id: this.id,
      name: this.path.split("/").at(-1),
      description: null,
      web_url: this.url,
      avatar_url: null,
      git_ssh_url: `git@gitlab.example.com:${this.path}.git`,
      git_http_url: `${this.url}.git`,
      namespace: this.path.split("/")[0],
      visibility_level: 0,
      path_with_namespace: this.path,
      default_branch: this.defaultBranch,
      ci_config_path: null,
    };
  }

  #repository(): Record<string, unknown> {
    return {
      name: this.path.split("/").at(-1),
      url: `git@gitlab.example.com:${this.path}.git`,
      description: null,
      homepage: this.url,
    };
  }

  #commit(commit: PushedCommit): Record<string, unknown> {
    return {
      id: commit.sha,
      message: commit.message,
      title: commit.message.split("\n")[0],
      timestamp: commit.at,
      url: `${this.url}/-/commit/${commit.sha}`,
      author: { name: commit.by, email: `${commit.by}@example.com` },
      added: commit.added ?? [],
      modified: commit.modified ?? [],
      removed: commit.removed ?? [],
    };
  }
}

/** `2026-03-02 09:00:00 UTC`, as GitLab writes most of its times. */
function spaced(time: string | null | undefined, zone = "UTC"): string | null {
  return time ? `${time.slice(0, 10)} ${time.slice(11, 19)} ${zone}` : null;
}

function secondsOf({ startedAt, finishedAt }: BuildOptions): number | null {
  return startedAt && finishedAt ? (Date.parse(finishedAt) - Date.parse(startedAt)) / 1000 : null;
}

function runner({ startedAt, tags = ["docker"] }: BuildOptions) {
  if (!startedAt) return null;
  return { id: 7, description: "runner-7", runner_type: "instance_type", active: true, is_shared: true, tags };
}

function userId(login: Login): number {
  return 1000 + [...login].reduce((sum, letter) => sum + letter.charCodeAt(0), 0);
}

function user(login: Login) {
  return { id: userId(login), name: login, username: login, avatar_url: null, email: "[REDACTED]" };
}

function reviewer({ name, state }: { name: Login; state: string }) {
  return { ...user(name), state, re_requested: false };
}

function label(title: string) {
  return { id: 3000 + title.length, title, color: "#d73a4a", project_id: null, type: "GroupLabel", group_id: 4 };
}
