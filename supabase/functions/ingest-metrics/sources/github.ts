/** GitHub and GitHub Enterprise: webhooks of repositories and organisations. What it cannot say: docs/sources/github.md. */

import { z } from "zod";
import type { Facts, Observation, Outcome, Status, Step } from "../facts.ts";
import type { Source, SourceOptions, Translation } from "./mod.ts";
import {
  anyNumber,
  changedPathsOf,
  id,
  type OutcomeTable,
  read,
  reasonsByName,
  revertsOf,
  type Text,
  text,
  time,
  titleOf,
  withAction,
  yesNo,
} from "./shared.ts";

/**
 * GitHub's words, and what they mean. `status` counts until it says `completed`; then `conclusion` does. A conclusion or deployment state that
 * is not here is `finished` and `unknown`. `action_required` waits for a person, so it is not finished; `inactive` says that a newer
 * deployment took the place of this one, and nothing about how this one ended.
 */
export const outcomeTable: OutcomeTable = {
  status: {
    requested: ["queued", null],
    queued: ["queued", null],
    pending: ["queued", null],
    waiting: ["queued", null],
    in_progress: ["running", null],
  },
  conclusion: {
    success: ["finished", "success"],
    failure: ["finished", "failure"],
    timed_out: ["finished", "timed_out"],
    startup_failure: ["finished", "error"],
    cancelled: ["finished", "cancelled"],
    stale: ["finished", "cancelled"],
    skipped: ["finished", "skipped"],
    neutral: ["finished", "neutral"],
    action_required: ["queued", null],
  },
  "deployment state": {
    queued: ["queued", null],
    pending: ["queued", null],
    waiting: ["queued", null],
    in_progress: ["running", null],
    success: ["finished", "success"],
    failure: ["finished", "failure"],
    error: ["finished", "error"],
    inactive: [null, null],
  },
};

/** Events that carry no fact, each with its reason. An event that is neither here nor translated is ignored as not known. */
export const ignoredEvents = reasonsByName({
  "sent when the hook is made; it carries no fact": "ping",
  "checks of other apps; the runs of GitHub Actions come as workflow_run and workflow_job":
    "check_run check_suite status",
  "told by another event: the push, the deployment or the workflow run that follows": `
    create delete deployment_protection_rule deployment_review merge_group package page_build
    registry_package repository_dispatch workflow_dispatch
  `,
  "conversation, not delivery": `
    commit_comment discussion discussion_comment gollum issue_comment pull_request_review_comment
    pull_request_review_thread
  `,
  "security alerts are not delivery facts": `
    bypass_request_push_ruleset bypass_request_secret_scanning code_scanning_alert dependabot_alert
    dismissal_request_code_scanning dismissal_request_dependabot dismissal_request_secret_scanning
    repository_advisory repository_vulnerability_alert secret_scanning_alert secret_scanning_alert_location
    secret_scanning_scan security_advisory security_and_analysis
  `,
  "settings and access are not delivery facts": `
    branch_protection_configuration branch_protection_rule custom_property
    custom_property_promoted_to_enterprise custom_property_values deploy_key enterprise github_app_authorization
    installation installation_repositories installation_target member membership meta org_block organization
    organization_custom_property organization_custom_property_values personal_access_token_request public
    repository_import repository_ruleset team team_add user
  `,
  "planning is not a delivery fact": `
    issue_dependencies label milestone project project_card project_column projects_v2 projects_v2_item
    projects_v2_status_update sub_issues
  `,
  "attention and trade are not delivery facts": "cache_sync fork marketplace_purchase sponsorship star watch",
});

/** Fields that carry what people put into deployments and dispatches. They are removed before a body is stored. */
export const redactedFields = [
  "deployment.payload",
  "check_run.deployment.payload",
  "client_payload",
  "inputs",
] as const;

const user = z.object({ login: text, type: text }).nullish();
const named = z.object({ name: text }).nullish();
const other = z.object({ id: id.nullish() }).nullish();

const repository = z.object({
  id,
  full_name: text,
  default_branch: text,
  html_url: text,
  updated_at: time,
  pushed_at: time,
});
const envelope = { action: text, repository };

const workflowRun = z.object({
  id,
  name: text,
  run_number: anyNumber,
  run_attempt: z.int32().min(1).nullish(),
  event: text,
  status: text,
  conclusion: text,
  head_branch: text,
  head_sha: text,
  created_at: time,
  run_started_at: time,
  updated_at: time,
  html_url: text,
  actor: user,
  triggering_actor: user,
  head_repository: other,
  pull_requests: z.array(z.object({ number: anyNumber, base: z.object({ repo: other }).nullish() })).nullish(),
});

const step = z.object({
  name: text,
  number: anyNumber,
  status: text,
  conclusion: text,
  started_at: time,
  completed_at: time,
});

const workflowJob = z.object({
  id,
  run_id: id.nullish(),
  run_attempt: anyNumber,
  name: text,
  workflow_name: text,
  status: text,
  conclusion: text,
  head_branch: text,
  head_sha: text,
  labels: z.array(z.string()).nullish(),
  created_at: time,
  started_at: time,
  completed_at: time,
  steps: z.array(step).nullish(),
  html_url: text,
});

const pullRequest = z.object({
  number: z.int32(),
  title: text,
  user,
  state: text,
  draft: yesNo,
  merged: yesNo,
  merged_at: time,
  closed_at: time,
  created_at: time,
  updated_at: time,
  merge_commit_sha: text,
  head: z.object({ ref: text, sha: text, repo: other }),
  base: z.object({ ref: text, repo: other }),
  labels: z.array(named).nullish(),
  additions: anyNumber,
  deletions: anyNumber,
  changed_files: anyNumber,
  html_url: text,
});

const review = z.object({ id, user, state: text, submitted_at: time, html_url: text });

const commit = z.object({
  id: z.string(),
  message: text,
  timestamp: time,
  author: z.object({ name: text, username: text }).nullish(),
  added: z.array(z.string()).nullish(),
  modified: z.array(z.string()).nullish(),
  removed: z.array(z.string()).nullish(),
});

const push = z.object({
  ...envelope,
  ref: z.string(),
  before: z.string(),
  after: z.string(),
  created: yesNo,
  deleted: yesNo,
  forced: yesNo,
  commits: z.array(commit).nullish(),
  head_commit: z.object({ id: text }).nullish(),
  size: anyNumber,
  pusher: named,
  sender: user,
});

const deployment = z.object({
  id,
  sha: text,
  ref: text,
  task: text,
  environment: text,
  production_environment: yesNo,
  created_at: time,
  updated_at: time,
  creator: user,
});

const deploymentStatus = z.object({
  id: anyNumber,
  state: text,
  environment: text,
  log_url: text,
  target_url: text,
  created_at: time,
  updated_at: time,
});

const issue = z.object({
  id,
  title: text,
  state: text,
  labels: z.array(named).nullish(),
  type: named,
  created_at: time,
  updated_at: time,
  closed_at: time,
  html_url: text,
});

const release = z.object({
  id,
  tag_name: text,
  target_commitish: text,
  name: text,
  draft: yesNo,
  prerelease: yesNo,
  created_at: time,
  updated_at: time,
  published_at: time,
  html_url: text,
});

/** Runs of these events belong to a pull request, whatever their branch is called. */
const pullRequestEvents = new Set([
  "pull_request",
  "pull_request_target",
  "pull_request_review",
  "pull_request_review_comment",
  "merge_group",
]);
/** GitHub lists at most so many commits of a push. */
const LISTED_COMMITS = 2048;

interface Context extends SourceOptions {
  reference: string;
  repository: z.infer<typeof repository>;
}
type Said = { facts: Facts; notes?: string[] } | { ignored: string };
type Translate = (body: unknown, options: SourceOptions) => Translation;

/** One event: what of its body is needed, and the facts in it. Every one tells the repository too. */
function event<T extends { repository: z.infer<typeof repository> }>(
  schema: z.ZodType<T>,
  say: (body: T, context: Context) => Said,
): Translate {
  return (body, options) => {
    const parsed = read(schema, body);
    if ("quarantined" in parsed) return parsed;
    const { repository } = parsed.read;
    const reference = `${options.source}:${repository.id}`;
    const translation = say(parsed.read, { ...options, reference, repository });
    if ("ignored" in translation) return translation;
    const told = {
      repository: reference,
      observed_at: repository.updated_at,
      full_name: repository.full_name,
      default_branch: repository.default_branch,
      url: repository.html_url,
    };
    return { ...translation, facts: { repositories: [told], ...translation.facts } };
  };
}

const events: Readonly<Record<string, Translate>> = {
  repository: event(z.object(envelope), () => ({ facts: {} })),

  workflow_run: event(z.object({ ...envelope, workflow_run: workflowRun, workflow: named }), (body, at) => {
    const run = body.workflow_run;
    const attempt = run.run_attempt ?? 1;
    const progress = progressOf(run.status, run.conclusion, run.updated_at);
    const isQueued = progress.status === undefined || progress.status === "queued";
    const isOfFork = run.head_repository?.id !== at.repository.id;
    const isOfPullRequest = pullRequestEvents.has(run.event ?? "");
    const numbers = run.pull_requests?.filter((pull) => (pull.base?.repo?.id ?? at.repository.id) === at.repository.id)
      .flatMap((pull) => pull.number ?? []);
    const fact: Observation<"pipeline_runs"> = {
      repository: at.reference,
      external_id: run.id,
      attempt,
      observed_at: run.updated_at,
      rerun_group: run.id,
      pipeline: run.name || body.workflow?.name,
      number: run.run_number,
      trigger: run.event,
      branch: run.head_branch,
      on_default_branch: isOfPullRequest
        ? false
        : run.head_branch && run.head_repository && at.repository.default_branch
        ? !isOfFork && run.head_branch === at.repository.default_branch
        : undefined,
      commit_sha: run.head_sha,
      // GitHub leaves the list empty for forks, so there an empty one says nothing.
      pull_request_numbers: isOfFork && numbers?.length === 0 ? undefined : numbers,
      ...actorOf(run.triggering_actor ?? run.actor),
      ...progress,
      // A re-run keeps the first attempt's created_at.
      queued_at: attempt === 1 ? run.created_at : undefined,
      started_at: isQueued ? undefined : run.run_started_at,
      url: run.html_url,
    };
    return { facts: { pipeline_runs: [fact] }, notes: notesOf("pipeline_runs", run.status, progress) };
  }),

  workflow_job: event(z.object({ ...envelope, workflow_job: workflowJob }), (body, at) => {
    const job = body.workflow_job;
    const progress = progressOf(job.status, job.conclusion, job.completed_at);
    const isQueued = progress.status === undefined || progress.status === "queued";
    // What was skipped, or cancelled before its first step, never started, whatever its clock says.
    const neverStarted = progress.outcome === "skipped" ||
      (progress.outcome === "cancelled" && job.steps?.length === 0);
    const fact: Observation<"jobs"> = {
      repository: at.reference,
      external_id: job.id,
      observed_at: progress.status === "finished"
        ? job.completed_at
        : progress.status === "running"
        ? job.started_at
        : job.created_at ?? job.started_at,
      run_external_id: job.run_id,
      attempt: job.run_attempt,
      pipeline: job.workflow_name,
      name: job.name,
      branch: job.head_branch,
      commit_sha: job.head_sha,
      runner_labels: job.labels,
      ...progress,
      queued_at: job.created_at,
      // What a queued job calls its start is when it was made.
      started_at: isQueued || neverStarted ? undefined : job.started_at,
      steps: job.steps?.map(stepOf),
      url: job.html_url,
    };
    return { facts: { jobs: [fact] }, notes: notesOf("jobs", job.status, progress) };
  }),

  pull_request: event(z.object({ ...envelope, pull_request: pullRequest }), (body, at) => {
    const fact = pullRequestOf(body.pull_request, at);
    if (body.action === "ready_for_review" && fact.observed_at) fact.ready_times = [fact.observed_at];
    return { facts: { pull_requests: [fact] } };
  }),

  pull_request_review: event(
    z.object({ ...envelope, review, pull_request: pullRequest }),
    ({ review, ...body }, at) => {
      const fact: Observation<"reviews"> = {
        repository: at.reference,
        external_id: review.id,
        // A review only ever goes from submitted to dismissed, and the rank of dismissed is greater: the time of
        // submission orders its observations whatever else GitHub tells, and its API tells nothing else.
        observed_at: review.submitted_at,
        pull_request_number: body.pull_request.number,
        ...withPrefix("reviewer", review.user),
        state: review.state?.toLowerCase(),
        submitted_at: review.submitted_at,
        url: review.html_url,
      };
      return { facts: { reviews: [fact], pull_requests: [pullRequestOf(body.pull_request, at)] } };
    },
  ),

  push: event(push, (body, at) => {
    const pushedAt = at.repository.pushed_at ?? null;
    const listed = body.commits ?? [];
    const head = body.head_commit?.id;
    const isCut = listed.length >= LISTED_COMMITS || (body.size ?? 0) > listed.length ||
      (listed.length > 0 && !!head && !listed.some((commit) => commit.id === head));
    const pusher = body.pusher?.name;
    const fact: Observation<"pushes"> = {
      repository: at.reference,
      ref: body.ref,
      before: body.before,
      after: body.after,
      pushed_at: pushedAt,
      observed_at: pushedAt,
      forced: body.forced,
      created: body.created,
      deleted: body.deleted,
      on_default_branch: at.repository.default_branch
        ? body.ref === `refs/heads/${at.repository.default_branch}`
        : undefined,
      commits: listed.map((commit) => commit.id),
      truncated: isCut,
      ...(pusher === undefined ? {} : withPrefix("pusher", {
        login: pusher,
        type: body.sender?.login === pusher ? body.sender?.type : null,
      })),
    };
    return { facts: { pushes: [fact], commits: listed.map((commit) => commitOf(commit, at.reference, pushedAt)) } };
  }),

  deployment: event(
    z.object({ ...envelope, deployment, workflow_run: z.object({ html_url: text }).nullish() }),
    (body, at) => {
      const fact = deploymentOf(body.deployment, at);
      return { facts: { deployments: [{ ...fact, url: body.workflow_run?.html_url ?? undefined }] } };
    },
  ),

  deployment_status: event(z.object({ ...envelope, deployment, deployment_status: deploymentStatus }), (body, at) => {
    const status = body.deployment_status;
    const progress = progressIn("deployment state", status.state, status.created_at);
    const fact: Observation<"deployments"> = {
      ...deploymentOf(body.deployment, at),
      observed_at: status.updated_at ?? status.created_at,
      sequence: status.id,
      environment: status.environment || body.deployment.environment,
      ...progress,
      started_at: progress.status === "running" ? status.created_at : undefined,
      url: status.log_url || status.target_url || undefined,
    };
    return { facts: { deployments: [fact] } };
  }),

  issues: event(z.object({ ...envelope, issue, label: named, type: named }), ({ issue, ...body }, at) => {
    const isOne = (what: { name?: string | null | undefined } | null | undefined) =>
      at.incidentLabels.has((what?.name ?? "").toLowerCase());
    const isIncident = issue.labels?.some(isOne) || isOne(issue.type);
    const wasIncident = (body.action === "unlabeled" && isOne(body.label)) ||
      (body.action === "untyped" && isOne(body.type));
    if (!isIncident && !wasIncident) return { ignored: "issues: without a label or type that makes it an incident" };
    const isGone = body.action === "deleted" || body.action === "transferred";
    const fact: Observation<"incidents"> = {
      source: at.source,
      external_id: issue.id,
      observed_at: issue.updated_at,
      repository: at.reference,
      title: issue.title,
      opened_at: issue.created_at,
      ...(issue.state === "closed"
        ? { status: "resolved", resolved_at: issue.closed_at ?? null }
        : issue.state === "open"
        ? { status: "open", resolved_at: null }
        : {}),
      is_withdrawn: isGone || !isIncident,
      url: issue.html_url,
    };
    return { facts: { incidents: [fact] } };
  }),

  release: event(z.object({ ...envelope, release }), ({ release, ...body }, at) => {
    const fact: Observation<"releases"> = {
      repository: at.reference,
      external_id: release.id,
      observed_at: release.updated_at ?? release.published_at ?? release.created_at,
      tag: release.tag_name,
      // Else it is a branch, which moves.
      commit_sha: /^[0-9a-f]{40}$/i.test(release.target_commitish ?? "") ? release.target_commitish : undefined,
      name: release.name,
      is_draft: release.draft,
      is_prerelease: release.prerelease,
      is_withdrawn: body.action === "deleted" || body.action === "unpublished",
      created_at: release.created_at,
      published_at: release.published_at,
      url: release.html_url,
    };
    return { facts: { releases: [fact] } };
  }),
};

interface ProgressSaid {
  status?: Status;
  outcome?: Outcome | null;
  provider_outcome?: string | null;
  finished_at?: string | null;
}

function progressOf(status: Text, conclusion: Text, finishedAt: Text): ProgressSaid {
  if (status !== "completed" && !conclusion) return progressIn("status", status, null);
  if (!conclusion) {
    return { status: "finished", outcome: "unknown", provider_outcome: null, finished_at: finishedAt ?? null };
  }
  return progressIn("conclusion", conclusion, finishedAt);
}

/** What a word says; nothing for one that means nothing for the progress, or for a status that is not known. */
function progressIn(table: string, word: Text, finishedAt: Text): ProgressSaid {
  if (!word) return {};
  const words = outcomeTable[table]!;
  const isKnown = Object.hasOwn(words, word);
  if (!isKnown && table === "status") return {};
  const [status, outcome] = isKnown ? words[word]! : ["finished", "unknown"] as const;
  if (!status) return {};
  const ends = status === "finished";
  return {
    status,
    outcome,
    provider_outcome: table === "status" ? null : word,
    finished_at: ends ? finishedAt ?? null : null,
  };
}

function notesOf(kind: string, status: Text, progress: ProgressSaid): string[] {
  return status && !progress.status ? [`${kind}.status is not known`] : [];
}

function stepOf(step: z.infer<typeof workflowJob>["steps"] extends (infer S)[] | null | undefined ? S : never): Step {
  const { status, outcome } = progressOf(step.status, step.conclusion, null);
  return {
    name: step.name,
    number: step.number,
    status,
    outcome,
    started_at: step.started_at,
    finished_at: step.completed_at,
  };
}

type User = z.infer<typeof user>;

function isBot(user: NonNullable<User>): boolean {
  return user.type === "Bot" || (user.login ?? "").endsWith("[bot]");
}

/** A person's name and whether it is a bot, in two attributes; an account that is gone is nobody, one that is absent is not said. */
function withPrefix<P extends string>(
  prefix: P,
  user: User,
): { [K in P]?: Text } & { [K in `${P}_is_bot`]?: boolean | null } {
  if (user === undefined) return {} as ReturnType<typeof withPrefix<P>>;
  return {
    [prefix]: user?.login ?? null,
    [`${prefix}_is_bot`]: user ? isBot(user) : null,
  } as ReturnType<typeof withPrefix<P>>;
}

const actorOf = (user: User) => withPrefix("actor", user);

function pullRequestOf(pull: z.infer<typeof pullRequest>, at: Context): Observation<"pull_requests"> {
  const isMerged = pull.merged ?? !!pull.merged_at;
  const state = isMerged ? "merged" : pull.state === "open" || pull.state === "closed" ? pull.state : undefined;
  return {
    repository: at.reference,
    number: pull.number,
    observed_at: pull.updated_at,
    title: pull.title,
    ...withPrefix("author", pull.user),
    head_branch: pull.head.ref,
    base_branch: pull.base.ref,
    // The repository of a fork that is gone is null.
    is_fork: pull.head.repo === undefined ? undefined : pull.head.repo?.id !== (pull.base.repo?.id ?? at.repository.id),
    head_sha: pull.head.sha,
    // The merge commit of one that is open is a trial.
    ...(state && {
      state,
      merge_sha: isMerged ? pull.merge_commit_sha ?? null : null,
      merged_at: isMerged ? pull.merged_at ?? null : null,
      closed_at: pull.closed_at ?? null,
    }),
    is_draft: pull.draft,
    labels: pull.labels?.flatMap((label) => label?.name ?? []),
    ...(typeof pull.additions === "number" && {
      additions: pull.additions,
      deletions: pull.deletions ?? null,
      changed_files: pull.changed_files ?? null,
    }),
    opened_at: pull.created_at,
    url: pull.html_url,
  };
}

function commitOf(given: z.infer<typeof commit>, reference: string, pushedAt: string | null): Observation<"commits"> {
  const { author, message } = given;
  return {
    repository: reference,
    sha: given.id,
    observed_at: pushedAt,
    authored_at: given.timestamp,
    ...(author && withPrefix("author", { login: author.username ?? author.name })),
    title: titleOf(message),
    reverts: revertsOf(message),
    changed_paths: changedPathsOf(given.added, given.modified, given.removed),
  };
}

function deploymentOf(given: z.infer<typeof deployment>, at: Context): Observation<"deployments"> {
  return {
    repository: at.reference,
    external_id: given.id,
    observed_at: given.updated_at ?? given.created_at,
    name: given.task,
    environment: given.environment,
    // That it is not called production says nothing: GitHub knows no other tier.
    environment_tier: given.production_environment === true ? "production" : undefined,
    commit_sha: given.sha,
    ref: given.ref,
    created_at: given.created_at,
    ...actorOf(given.creator),
  };
}

/** GitHub as a source. */
export const github: Source = {
  provider: "github",
  scheme: { kind: "hmac", header: "x-hub-signature-256", prefix: "sha256=" },
  contentTypes: ["application/json", "application/x-www-form-urlencoded"],
  events: new Set([...Object.keys(events), ...Object.keys(ignoredEvents)]),
  redacted: redactedFields,

  match(headers) {
    // Its followers send the same headers beside their own.
    const isFollower = ["x-gitea-event", "x-forgejo-event", "x-gogs-event"].some((name) => headers.has(name));
    return !isFollower && /^[a-z0-9_]{1,64}$/.test(headers.get("x-github-event") ?? "");
  },

  identify(headers, body) {
    const sentId = headers.get("x-github-delivery") ?? "";
    const action = (body as { action?: unknown } | null | undefined)?.action;
    const name = this.match(headers) ? headers.get("x-github-event")! : null;
    return {
      deliveryId: /^[0-9A-Za-z-]{1,100}$/.test(sentId) ? sentId : null,
      event: name && withAction(name, action),
    };
  },

  facts(event, body, options) {
    const name = event.split(".", 1)[0]!;
    if (Object.hasOwn(ignoredEvents, name)) return { ignored: `${name}: ${ignoredEvents[name]}` };
    if (!Object.hasOwn(events, name)) return { ignored: "an event that is not known" };
    return events[name]!(body, options);
  },
};
