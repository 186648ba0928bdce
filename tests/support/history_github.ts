/**
 * Webhook bodies in the shape that GitHub sends them, for histories that are made up here: people are dev-1 and dev-2, and
 * the same calls make the same bytes.
 */

/** One webhook as a sender posts it: `event` is the `X-GitHub-Event` header, `id` the `X-GitHub-Delivery` one. */
export interface Posted {
  source: string;
  event: string;
  id: string;
  body: Record<string, unknown>;
}

/** Somebody who acts. Logins that end in `[bot]` are bots, as GitHub has it. */
export type Login = string;

/** A commit as a push lists it. Times are ISO 8601 and may carry an offset, as GitHub's do. */
export interface PushedCommit {
  sha: string;
  message: string;
  at: string;
  by: Login;
  added?: string[];
  modified?: string[];
  removed?: string[];
}

export interface PushOptions {
  ref: string;
  before: string;
  after: string;
  at: string;
  by: Login;
  commits: PushedCommit[];
  forced?: boolean;
  /** How many commits it has, where that is more than it lists: GitHub cuts long lists. */
  size?: number;
}

export interface RunOptions {
  action: "requested" | "in_progress" | "completed";
  id: number;
  attempt?: number;
  number: number;
  workflow?: string;
  event?: string;
  status: string;
  conclusion?: string | null;
  branch: string | null;
  sha: string;
  pullRequests?: number[];
  createdAt: string;
  startedAt: string;
  updatedAt: string;
  by: Login;
  headRepository?: string;
}

export interface JobOptions {
  action: "queued" | "waiting" | "in_progress" | "completed";
  id: number;
  runId: number;
  attempt?: number;
  workflow?: string;
  name: string;
  status: string;
  conclusion?: string | null;
  branch: string | null;
  sha: string;
  labels?: string[];
  createdAt: string;
  startedAt: string | null;
  completedAt?: string | null;
  steps?: {
    name: string;
    status: string;
    conclusion: string | null;
    startedAt: string | null;
    completedAt: string | null;
  }[];
  by: Login;
}

export interface PullRequestState {
  number: number;
  title: string;
  author: Login;
  head: string;
  headSha: string;
  base?: string;
  fork?: string;
  state?: "open" | "closed";
  draft?: boolean;
  labels?: string[];
  mergeSha?: string | null;
  createdAt: string;
  updatedAt: string;
  closedAt?: string | null;
  mergedAt?: string | null;
  mergedBy?: Login;
  additions: number;
  deletions: number;
  changedFiles: number;
  commits?: number;
}

export interface ReviewOptions {
  action: "submitted" | "edited" | "dismissed";
  id: number;
  reviewer: Login;
  state: string;
  submittedAt: string;
  sha: string;
}

export interface DeploymentOptions {
  id: number;
  environment: string;
  /** What is done, `deploy` unless the one who deploys says otherwise. */
  task?: string;
  sha: string;
  ref: string;
  createdAt: string;
  updatedAt?: string;
  by: Login;
  production?: boolean;
  transient?: boolean;
}

export interface DeploymentStatusOptions {
  id: number;
  state: "error" | "failure" | "inactive" | "in_progress" | "queued" | "pending" | "success";
  at: string;
  by: Login;
}

export interface IssueOptions {
  action: string;
  id: number;
  number: number;
  title: string;
  labels: string[];
  state: "open" | "closed";
  createdAt: string;
  updatedAt: string;
  closedAt?: string | null;
  by: Login;
}

export interface ReleaseOptions {
  action: string;
  id: number;
  tag: string;
  name: string | null;
  target: string;
  draft?: boolean;
  prerelease?: boolean;
  createdAt: string;
  publishedAt: string | null;
  by: Login;
}

/** What GitHub writes where there is no commit. */
export const NO_COMMIT = "0".repeat(40);

/** A commit id that can be recognised: the number in hex, twenty times over. 1 to 255. */
export function sha(number: number): string {
  return number.toString(16).padStart(2, "0").repeat(20);
}

/** A repository on GitHub that tells what happens to it. */
export class GitHubRepository {
  readonly id: number;
  readonly source: string;
  name: string;
  owner: string;
  defaultBranch = "main";
  /** When something about the repository itself changed last. */
  updatedAt = "2026-01-05T08:00:00Z";
  #pushedAt = "2026-01-05T08:00:00Z";
  #posted: number;

  /** `deliveries` is the number that delivery ids start from, so that two repositories do not share any. */
  constructor(id: number, fullName: string, { source = "github", deliveries = 0 } = {}) {
    this.id = id;
    this.source = source;
    [this.owner = "", this.name = ""] = fullName.split("/");
    this.#posted = deliveries;
  }

  get fullName(): string {
    return `${this.owner}/${this.name}`;
  }

  get url(): string {
    return `https://github.com/${this.fullName}`;
  }

  ping(by: Login): Posted {
    const hook = {
      type: "Repository",
      id: 4242,
      name: "web",
      active: true,
      events: ["*"],
      config: { content_type: "json" },
    };
    return this.#post("ping", by, { zen: "Keep it logically awesome.", hook_id: hook.id, hook });
  }

  push(options: PushOptions): Posted {
    const { ref, before, after, at, by, commits, forced = false, size } = options;
    this.#pushedAt = at;
    if (ref === `refs/heads/${this.defaultBranch}`) this.updatedAt = at;
    const listed = commits.map((commit) => this.#commit(commit));
    const body = {
      ref,
      before,
      after,
      created: before === NO_COMMIT,
      deleted: after === NO_COMMIT,
      forced,
      base_ref: null,
      compare: `${this.url}/compare/${before.slice(0, 12)}...${after.slice(0, 12)}`,
      commits: listed,
      head_commit: listed.at(-1) ?? null,
      ...(size !== undefined && { size }),
      pusher: { name: by, email: `${by}@example.com` },
    };
    const posted = this.#post("push", by, body);
    // Here alone GitHub writes these two as seconds since 1970.
    const repository = posted.body["repository"] as Record<string, unknown>;
    repository["created_at"] = Date.parse(String(repository["created_at"])) / 1000;
    repository["pushed_at"] = Date.parse(at) / 1000;
    return posted;
  }

  run(options: RunOptions): Posted {
    const { attempt = 1, workflow = "ci", event = "push", conclusion = null, pullRequests = [] } = options;
    const api = `https://api.github.com/repos/${this.fullName}`;
    const ends = { ref: options.branch, sha: options.sha, repo: { id: this.id, url: api, name: this.name } };
    const workflow_run = {
      id: options.id,
      name: workflow,
      node_id: `WFR_${options.id}`,
      head_branch: options.branch,
      head_sha: options.sha,
      path: `.github/workflows/${workflow}.yml`,
      display_title: "Let users sign in",
      run_number: options.number,
      run_attempt: attempt,
      event,
      status: options.status,
      conclusion,
      workflow_id: 501,
      check_suite_id: options.id + 1,
      url: `${api}/actions/runs/${options.id}`,
      html_url: `${this.url}/actions/runs/${options.id}`,
      pull_requests: pullRequests.map((number) => ({
        url: `${api}/pulls/${number}`,
        id: 900_000 + number,
        number,
        head: ends,
        base: { ...ends, ref: this.defaultBranch },
      })),
      created_at: options.createdAt,
      run_started_at: options.startedAt,
      updated_at: options.updatedAt,
      actor: user(options.by),
      triggering_actor: user(options.by),
      head_repository: options.headRepository === undefined
        ? { id: this.id, full_name: this.fullName }
        : { id: this.id + 1, full_name: options.headRepository },
      referenced_workflows: [],
    };
    const { action } = options;
    return this.#post("workflow_run", options.by, {
      action,
      workflow_run,
      workflow: { id: 501, name: workflow, path: workflow_run.path, state: "active" },
    });
  }

  job(options: JobOptions): Posted {
    const { attempt = 1, workflow = "ci", conclusion = null, labels = ["ubuntu-latest"], steps = [] } = options;
    const api = `https://api.github.com/repos/${this.fullName}`;
    const hasRunner = options.status === "in_progress" || options.status === "completed";
    const workflow_job = {
      id: options.id,
      run_id: options.runId,
      workflow_name: workflow,
      head_branch: options.branch,
      run_url: `${api}/actions/runs/${options.runId}`,
      run_attempt: attempt,
      node_id: `CR_${options.id}`,
      head_sha: options.sha,
      url: `${api}/actions/jobs/${options.id}`,
      html_url: `${this.url}/actions/runs/${options.runId}/job/${options.id}`,
      status: options.status,
      conclusion,
      created_at: options.createdAt,
      started_at: options.startedAt,
      completed_at: options.completedAt ?? null,
      name: options.name,
      steps: steps.map((step, i) => ({
        name: step.name,
        status: step.status,
        conclusion: step.conclusion,
        number: i + 1,
        started_at: step.startedAt,
        completed_at: step.completedAt,
      })),
      check_run_url: `${api}/check-runs/${options.id}`,
      labels,
      runner_id: hasRunner ? 7 : null,
      runner_name: hasRunner ? "GitHub Actions 7" : null,
      runner_group_id: hasRunner ? 1 : null,
      runner_group_name: hasRunner ? "GitHub Actions" : null,
    };
    return this.#post("workflow_job", options.by, { action: options.action, workflow_job });
  }

  pullRequest(action: string, state: PullRequestState, by: Login = state.author, more: object = {}): Posted {
    return this.#post("pull_request", by, {
      action,
      number: state.number,
      pull_request: {
        ...this.#pullRequest(state),
        merged: (state.mergedAt ?? null) !== null,
        mergeable: null,
        merged_by: state.mergedBy === undefined ? null : user(state.mergedBy),
        comments: 0,
        review_comments: 0,
        commits: state.commits ?? 1,
        additions: state.additions,
        deletions: state.deletions,
        changed_files: state.changedFiles,
      },
      ...more,
    });
  }

  review(state: PullRequestState, options: ReviewOptions): Posted {
    const review = {
      id: options.id,
      node_id: `PRR_${options.id}`,
      user: user(options.reviewer),
      body: null,
      commit_id: options.sha,
      submitted_at: options.submittedAt,
      state: options.state,
      html_url: `${this.url}/pull/${state.number}#pullrequestreview-${options.id}`,
      author_association: "MEMBER",
    };
    const body = { action: options.action, review, pull_request: this.#pullRequest(state) };
    return this.#post("pull_request_review", options.reviewer, body);
  }

  deployment(options: DeploymentOptions): Posted {
    const deployment = this.#deployment(options);
    return this.#post("deployment", options.by, { action: "created", deployment, workflow: null, workflow_run: null });
  }

  deploymentStatus(options: DeploymentOptions, status: DeploymentStatusOptions): Posted {
    const deployment = this.#deployment({ ...options, updatedAt: status.at });
    const deployment_status = {
      url: `${deployment.url}/statuses/${status.id}`,
      id: status.id,
      node_id: `DES_${status.id}`,
      state: status.state,
      creator: user(status.by),
      description: "",
      environment: options.environment,
      target_url: `${this.url}/actions/runs/1`,
      created_at: status.at,
      updated_at: status.at,
      deployment_url: deployment.url,
      log_url: `${this.url}/actions/runs/1`,
      environment_url: "",
    };
    return this.#post("deployment_status", status.by, { action: "created", deployment_status, deployment });
  }

  issue(options: IssueOptions): Posted {
    const issue = {
      url: `https://api.github.com/repos/${this.fullName}/issues/${options.number}`,
      html_url: `${this.url}/issues/${options.number}`,
      id: options.id,
      node_id: `I_${options.id}`,
      number: options.number,
      title: options.title,
      user: user(options.by),
      labels: options.labels.map(label),
      state: options.state,
      state_reason: options.state === "closed" ? "completed" : null,
      locked: false,
      assignees: [],
      comments: 0,
      created_at: options.createdAt,
      updated_at: options.updatedAt,
      closed_at: options.closedAt ?? null,
      author_association: "MEMBER",
      body: null,
    };
    return this.#post("issues", options.by, { action: options.action, issue });
  }

  release(options: ReleaseOptions): Posted {
    const release = {
      url: `https://api.github.com/repos/${this.fullName}/releases/${options.id}`,
      html_url: `${this.url}/releases/tag/${options.tag}`,
      id: options.id,
      node_id: `RE_${options.id}`,
      tag_name: options.tag,
      target_commitish: options.target,
      name: options.name,
      draft: options.draft ?? false,
      prerelease: options.prerelease ?? false,
      author: user(options.by),
      created_at: options.createdAt,
      published_at: options.publishedAt,
      assets: [],
      body: null,
    };
    return this.#post("release", options.by, { action: options.action, release });
  }

  /** Gives the repository another name; what is posted from here on carries it. */
  rename(name: string, at: string, by: Login): Posted {
    const changes = { repository: { name: { from: this.name } } };
    this.name = name;
    this.updatedAt = at;
    return this.#post("repository", by, { action: "renamed", changes });
  }

  #post(event: string, by: Login, body: Record<string, unknown>): Posted {
    this.#posted += 1;
    const id = `00000000-0000-4000-8000-${String(this.#posted).padStart(12, "0")}`;
    return { source: this.source, event, id, body: { ...body, repository: this.#repository(), sender: user(by) } };
  }

  #repository(): Record<string, unknown> {
    return {
      id: this.id,
      node_id: `R_${this.id}`,
      name: this.name,
      full_name: this.fullName,
      private: true,
      owner: { ...user(this.owner), type: "Organization" },
      html_url: this.url,
      description: null,
      fork: false,
      url: `https://api.github.com/repos/${this.fullName}`,
      created_at: "2025-01-15T08:00:00Z",
      updated_at: this.updatedAt,
      pushed_at: this.#pushedAt,
      clone_url: `${this.url}.git`,
      default_branch: this.defaultBranch,
      archived: false,
      visibility: "private",
    };
  }

  #pullRequest(state: PullRequestState) {
    const { number, base = this.defaultBranch, fork } = state;
    const repository = this.#repository();
    const headRepository = fork === undefined
      ? repository
      : { ...repository, id: this.id + 1, full_name: fork, name: fork.split("/")[1], fork: true };
    const headOwner = (fork ?? this.fullName).split("/")[0];
    return {
      url: `https://api.github.com/repos/${this.fullName}/pulls/${number}`,
      id: 900_000 + number,
      node_id: `PR_${number}`,
      html_url: `${this.url}/pull/${number}`,
      number,
      state: state.state ?? "open",
      locked: false,
      title: state.title,
      user: user(state.author),
      body: null,
      labels: (state.labels ?? []).map(label),
      created_at: state.createdAt,
      updated_at: state.updatedAt,
      closed_at: state.closedAt ?? null,
      merged_at: state.mergedAt ?? null,
      merge_commit_sha: state.mergeSha ?? null,
      draft: state.draft ?? false,
      head: { label: `${headOwner}:${state.head}`, ref: state.head, sha: state.headSha, repo: headRepository },
      base: { label: `${this.owner}:${base}`, ref: base, sha: sha(1), repo: repository },
      author_association: "MEMBER",
      auto_merge: null,
    };
  }

  #deployment(options: DeploymentOptions) {
    return {
      url: `https://api.github.com/repos/${this.fullName}/deployments/${options.id}`,
      id: options.id,
      node_id: `DE_${options.id}`,
      task: options.task ?? "deploy",
      original_environment: options.environment,
      environment: options.environment,
      description: null,
      created_at: options.createdAt,
      updated_at: options.updatedAt ?? options.createdAt,
      ref: options.ref,
      sha: options.sha,
      payload: {},
      creator: user(options.by),
      transient_environment: options.transient ?? false,
      production_environment: options.production ?? false,
    };
  }

  #commit(commit: PushedCommit) {
    const author = { name: commit.by, email: `${commit.by}@example.com`, username: commit.by };
    return {
      id: commit.sha,
      tree_id: commit.sha,
      distinct: true,
      message: commit.message,
      timestamp: commit.at,
      url: `${this.url}/commit/${commit.sha}`,
      author,
      committer: author,
      added: commit.added ?? [],
      removed: commit.removed ?? [],
      modified: commit.modified ?? [],
    };
  }
}

function user(login: Login) {
  const isBot = login.endsWith("[bot]");
  return {
    login,
    id: 1000 + [...login].reduce((sum, letter) => sum + letter.charCodeAt(0), 0),
    node_id: `U_${login}`,
    url: `https://api.github.com/users/${encodeURIComponent(login)}`,
    html_url: `https://github.com/${isBot ? `apps/${login.slice(0, -5)}` : login}`,
    type: isBot ? "Bot" : "User",
    site_admin: false,
  };
}

function label(name: string) {
  return { id: 3000 + name.length, name, color: "d73a4a", default: false, description: null };
}
