/** GitLab: webhooks of projects and groups, and system hooks. What it cannot say: docs/sources/gitlab.md. */

import { z } from "zod";
import type { Facts, Observation } from "../facts.ts";
import type { Source, SourceOptions, Translation } from "./mod.ts";
import {
  anyNumber,
  changedPathsOf,
  earliestOf,
  id,
  isNoCommit,
  type OutcomeTable,
  read,
  reasonsByName,
  revertsOf,
  shiftTime,
  type Text,
  text,
  time,
  titleOf,
  urlReference,
  withAction,
  yesNo,
} from "./shared.ts";

/**
 * GitLab's words, and what they mean. A `status` stands in pipelines, jobs and deployments alike; `manual` and `blocked` wait for a person, so
 * they are not finished. Why a job is `failed` stands beside it: a reason that is not here says that the work failed.
 */
export const outcomeTable: OutcomeTable = {
  status: {
    created: ["queued", null],
    waiting_for_resource: ["queued", null],
    waiting_for_callback: ["queued", null],
    preparing: ["queued", null],
    pending: ["queued", null],
    scheduled: ["queued", null],
    manual: ["queued", null],
    blocked: ["queued", null],
    running: ["running", null],
    canceling: ["running", null],
    success: ["finished", "success"],
    failed: ["finished", "failure"],
    canceled: ["finished", "cancelled"],
    skipped: ["finished", "skipped"],
  },
  "failure reason": {
    job_execution_timeout: ["finished", "timed_out"],
    job_execution_server_timeout: ["finished", "timed_out"],
    server_timeout_running: ["finished", "timed_out"],
    server_timeout_canceling: ["finished", "timed_out"],
    stuck_or_timeout_failure: ["finished", "timed_out"],
    api_failure: ["finished", "error"],
    ci_quota_exceeded: ["finished", "error"],
    data_integrity_failure: ["finished", "error"],
    job_router_failure: ["finished", "error"],
    no_matching_runner: ["finished", "error"],
    no_updates_canceling: ["finished", "error"],
    no_updates_running: ["finished", "error"],
    runner_configuration_error: ["finished", "error"],
    runner_external_dependency_failure: ["finished", "error"],
    runner_interrupted: ["finished", "error"],
    runner_system_failure: ["finished", "error"],
    runner_unsupported: ["finished", "error"],
    scheduler_failure: ["finished", "error"],
    stuck_pending_no_matching_runners: ["finished", "error"],
    stuck_pending_with_matching_runners: ["finished", "error"],
    failed_outdated_deployment_job: ["finished", "cancelled"],
    forward_deployment_failure: ["finished", "cancelled"],
  },
};

/** Events that carry no fact, each with its reason. An event that is neither here nor translated is ignored as not known. */
export const ignoredEvents = reasonsByName({
  "conversation, not delivery": "note emoji",
  "told by another event: the pushes of the refs": "repository_update",
  "planning is not a delivery fact": "milestone",
  "a switch in the product is not a deployment": "feature_flag",
  "security alerts are not delivery facts": "vulnerability",
  "settings and access are not delivery facts": `
    access_token deploy_token expiring_access_token expiring_deploy_token gitlab_subscription_member_approval
    gitlab_subscription_member_approvals group_create group_destroy group_rename key_create key_destroy
    project_destroy subgroup_create subgroup_destroy user_access_request_denied_for_group
    user_access_request_denied_for_project user_access_request_revoked_for_group
    user_access_request_revoked_for_project user_access_request_to_group user_access_request_to_project
    user_add_to_group user_add_to_team user_create user_destroy user_failed_login user_remove_from_group
    user_remove_from_team user_rename user_update_for_group user_update_for_team
  `,
  "pages of a wiki are not delivered": "wiki_page",
});

/** Fields that carry what people put into pipelines. They are removed before a body is stored. */
export const redactedFields = ["object_attributes.variables"] as const;

/** What the header `X-Gitlab-Event` calls an event, where its words are not those of the body. */
const otherNames: Readonly<Record<string, string>> = {
  job: "build",
  resource_access_token: "access_token",
  resource_deploy_token: "deploy_token",
};

/** GitLab lists at most so many commits of a push. */
const LISTED_COMMITS = 20;

const user = z.object({ id: anyNumber, username: text }).nullish();
const project = z.object({ id: id.nullish(), path_with_namespace: text, default_branch: text, web_url: text })
  .nullish();
/** Where something happened; the older a server is, the less of it there is. */
const place = { project, project_id: id.nullish(), repository: z.object({ homepage: text }).nullish() };
interface Place {
  project?: z.infer<typeof project>;
  project_id?: Text;
  repository?: { homepage?: Text } | null | undefined;
}

const build = z.object({
  id,
  name: text,
  status: text,
  created_at: time,
  started_at: time,
  finished_at: time,
  queued_duration: anyNumber,
  failure_reason: text,
  runner: z.object({ tags: z.array(z.string()).nullish() }).nullish(),
});

const pipeline = z.object({
  ...place,
  object_attributes: z.object({
    id,
    iid: anyNumber,
    name: text,
    ref: text,
    tag: yesNo,
    sha: text,
    source: text,
    status: text,
    created_at: time,
    finished_at: time,
    queued_duration: anyNumber,
    url: text,
  }),
  merge_request: z.object({ iid: anyNumber, target_project_id: id.nullish() }).nullish(),
  user,
  builds: z.array(build).nullish(),
});

const job = z.object({
  ...place,
  build_id: id,
  build_name: text,
  build_status: text,
  build_created_at: time,
  build_started_at: time,
  build_finished_at: time,
  build_queued_duration: anyNumber,
  build_failure_reason: text,
  pipeline_id: id.nullish(),
  ref: text,
  tag: yesNo,
  sha: text,
  runner: build.shape.runner,
  // Its id is the pipeline's, and its name too.
  commit: z.object({ id: z.unknown(), name: text }).nullish(),
});

const label = z.object({ title: text }).nullish();
const reviewer = z.object({ id: anyNumber, username: text, state: text });
const change = <T extends z.ZodType>(value: T) =>
  z.object({ previous: value.nullish(), current: value.nullish() }).nullish();

const mergeRequest = z.object({
  ...place,
  object_attributes: z.object({
    iid: z.int32(),
    target_project_id: id.nullish(),
    source_project_id: id.nullish(),
    author_id: anyNumber,
    action: text,
    system: yesNo,
    title: text,
    state: text,
    draft: yesNo,
    work_in_progress: yesNo,
    source_branch: text,
    target_branch: text,
    last_commit: z.object({ id: text }).nullish(),
    merge_commit_sha: text,
    squash_commit_sha: text,
    merged_at: time,
    created_at: time,
    updated_at: time,
    labels: z.array(label).nullish(),
    url: text,
  }),
  user,
  labels: z.array(label).nullish(),
  assignees: z.array(reviewer).nullish(),
  reviewers: z.array(reviewer).nullish(),
  changes: z.object({
    draft: change(z.boolean()),
    work_in_progress: change(z.boolean()),
    title: change(z.string()),
    reviewers: change(z.array(reviewer)),
  }).nullish(),
});

const commit = z.object({
  id: z.string(),
  message: text,
  timestamp: time,
  author: z.object({ name: text }).nullish(),
  added: z.array(z.string()).nullish(),
  modified: z.array(z.string()).nullish(),
  removed: z.array(z.string()).nullish(),
});

const push = z.object({
  ...place,
  ref: z.string(),
  before: z.string(),
  after: z.string(),
  commits: z.array(commit).nullish(),
  total_commits_count: anyNumber,
  user_username: text,
});

const deployment = z.object({
  ...place,
  deployment_id: id.nullish(),
  deployable_id: id.nullish(),
  deployable_url: text,
  status: text,
  status_changed_at: time,
  environment: text,
  environment_tier: text,
  ref: text,
  commit_url: text,
  user,
});

const release = z.object({
  ...place,
  id,
  tag: text,
  name: text,
  action: text,
  created_at: time,
  released_at: time,
  commit: z.object({ id: text }).nullish(),
  url: text,
});

const issue = z.object({
  ...place,
  object_attributes: z.object({
    id,
    project_id: id.nullish(),
    type: text,
    action: text,
    title: text,
    confidential: yesNo,
    state: text,
    severity: text,
    escalation_status: text,
    moved_to_id: anyNumber,
    duplicated_to_id: anyNumber,
    created_at: time,
    updated_at: time,
    closed_at: time,
    labels: z.array(label).nullish(),
    url: text,
  }),
  labels: z.array(label).nullish(),
  changes: z.object({ labels: change(z.array(label)), escalation_status: change(z.string()) }).nullish(),
});

const projectChange = z.object({ project_id: id, path_with_namespace: text, updated_at: time });

interface Context extends SourceOptions {
  reference: string;
  /** Of the project's pages; null where it is not told. */
  webUrl: string | null;
  defaultBranch: Text;
}
interface Said {
  /** The latest time that the body tells of its project, by GitLab's clock. */
  at: Text;
  facts: Facts;
  notes?: string[];
}
type Translate = (body: unknown, options: SourceOptions) => Translation;

/** What a kind of event needs beside its body. */
interface Manner<T> {
  /** The project's id where neither the project nor the body says it. */
  idOf?: (body: T) => Text;
  /** Why a body carries no fact, before it is asked where it happened. */
  ignores?: (body: T, options: SourceOptions) => string | null;
}

/** One kind of event: what of its body is needed, and the facts in it. Every one tells the repository too. */
function event<T extends Place>(
  schema: z.ZodType<T>,
  say: (body: T, context: Context) => Said | { quarantined: string },
  { idOf, ignores }: Manner<T> = {},
): Translate {
  return (body, options) => {
    const parsed = read(schema, body);
    if ("quarantined" in parsed) return parsed;
    const told = parsed.read;
    const ignored = ignores?.(told, options);
    if (ignored) return { ignored };
    const projectId = told.project?.id ?? told.project_id ?? idOf?.(told);
    const webUrl = told.project?.web_url || told.repository?.homepage || null;
    const reference = projectId ? `${options.source}:${projectId}` : webUrl && urlReference(webUrl);
    if (!reference) return { quarantined: "project: neither id nor web_url" };
    const said = say(told, { ...options, reference, webUrl, defaultBranch: told.project?.default_branch });
    if ("quarantined" in said) return said;
    const repository: Observation<"repositories"> = {
      repository: reference,
      observed_at: said.at,
      full_name: told.project?.path_with_namespace,
      default_branch: told.project?.default_branch,
      url: webUrl ?? undefined,
    };
    // An address must not be claimed by a project whose number is not known: it belongs to one that has a number.
    const repositories = projectId ? [repository] : [];
    return { facts: { repositories, ...said.facts }, ...(said.notes && { notes: said.notes }) };
  };
}

const pushed = event(push, (body, at) => {
  const listed = body.commits ?? undefined;
  const total = body.total_commits_count;
  const isBranch = body.ref.startsWith("refs/heads/");
  const fact: Observation<"pushes"> = {
    repository: at.reference,
    ref: body.ref,
    before: body.before,
    after: body.after,
    pushed_at: null,
    created: isNoCommit(body.before),
    deleted: isNoCommit(body.after),
    on_default_branch: !isBranch ? false : at.defaultBranch ? body.ref === `refs/heads/${at.defaultBranch}` : undefined,
    ...(listed && {
      commits: listed.map((commit) => commit.id),
      // System hooks count the commits and list none.
      truncated: typeof total === "number" ? total > listed.length : listed.length >= LISTED_COMMITS,
    }),
    ...person("pusher", body.user_username),
  };
  return {
    at: null,
    facts: { pushes: [fact], commits: listed?.map((commit) => commitOf(commit, at.reference)) ?? [] },
  };
});

const issueChanged = event(issue, (body, at) => {
  const given = body.object_attributes;
  const fact: Observation<"incidents"> = {
    source: at.source,
    external_id: given.id,
    observed_at: given.updated_at,
    repository: at.reference,
    // Who reads the numbers of a project need not be one of those who may know.
    title: given.confidential ? null : given.title,
    severity: given.severity === "unknown" ? null : given.severity,
    opened_at: given.created_at,
    acknowledged_at: isEscalatedTo("acknowledged", body) ? given.updated_at : undefined,
    ...incidentState(body),
    is_withdrawn: !isIncident(body, at) || typeof given.moved_to_id === "number" ||
      typeof given.duplicated_to_id === "number",
    url: given.url,
  };
  return { at: given.updated_at, facts: { incidents: [fact] } };
}, {
  idOf: (body) => body.object_attributes.project_id,
  ignores: (body, options) =>
    isIncident(body, options) || body.changes?.labels?.previous?.some((label) => isIncidentLabel(label, options))
      ? null
      : "an issue without a label or type that makes it an incident",
});

function isIncident({ object_attributes: given, labels }: Issue, options: SourceOptions): boolean {
  const type = given.type?.toLowerCase();
  if (type === "incident" || options.incidentLabels.has(type ?? "")) return true;
  // Servers that do not tell the type tell this of incidents alone.
  if (type === undefined && given.escalation_status) return true;
  return (given.labels ?? labels ?? []).some((label) => isIncidentLabel(label, options));
}

function isIncidentLabel(label: { title?: Text } | null | undefined, options: SourceOptions): boolean {
  return options.incidentLabels.has((label?.title ?? "").toLowerCase());
}

type Issue = z.infer<typeof issue>;

/** Whether a body tells of the moment at which the escalation status became this one: later hooks repeat the status. */
function isEscalatedTo(status: string, { object_attributes: given, changes }: Issue): boolean {
  return given.escalation_status === status && changes?.escalation_status?.current === status;
}

/**
 * How an incident stands. It is over when it is closed, or set to resolved. Only the hook of that moment gives it a time, but where the body
 * says when the incident was closed; every other hook of one that is over says nothing of its state.
 */
function incidentState(body: Issue): Pick<Observation<"incidents">, "status" | "resolved_at"> {
  const given = body.object_attributes;
  if (given.state === "closed") {
    const closedAt = given.closed_at ?? (given.action === "close" ? given.updated_at : undefined);
    return closedAt ? { status: "resolved", resolved_at: closedAt } : {};
  }
  if (given.state !== "opened") return {};
  if (given.action === "reopen") return { status: "open", resolved_at: null };
  switch (given.escalation_status) {
    case "acknowledged":
      return { status: "acknowledged", resolved_at: null };
    case "resolved":
      return isEscalatedTo("resolved", body) ? { status: "resolved", resolved_at: given.updated_at ?? null } : {};
    case "ignored":
      return {};
    default:
      return { status: "open", resolved_at: null };
  }
}

const projectChanged: Translate = (body, options) => {
  const parsed = read(projectChange, body);
  if ("quarantined" in parsed) return parsed;
  const { project_id, path_with_namespace, updated_at } = parsed.read;
  const repository = `${options.source}:${project_id}`;
  return { facts: { repositories: [{ repository, observed_at: updated_at, full_name: path_with_namespace }] } };
};

const events: Readonly<Record<string, Translate>> = {
  pipeline: event(pipeline, (body, at) => {
    const given = body.object_attributes;
    const progress = progressOf(given.status, null, given.finished_at);
    const mergeRequest = body.merge_request;
    // In the pipeline of a fork the number is one of the other project.
    const isOwn = `${at.source}:${mergeRequest?.target_project_id}` === at.reference ||
      !mergeRequest?.target_project_id;
    const ofRun = {
      run_external_id: given.id,
      pipeline: given.name || undefined,
      branch: given.tag ? null : given.ref,
      commit_sha: given.sha,
    };
    const jobs = (body.builds ?? []).map((build) => jobOf(build, at, ofRun));
    const hasStarted = progress.status === "running" ||
      (progress.status === "finished" && progress.outcome !== "skipped");
    const startedAt = (given.queued_duration && shiftTime(given.created_at, given.queued_duration)) ||
      earliestOf(jobs.map((job) => job.started_at));
    const observedAt = progress.status === "finished" ? given.finished_at ?? given.created_at : given.created_at;
    const fact: Observation<"pipeline_runs"> = {
      repository: at.reference,
      external_id: given.id,
      attempt: 1,
      observed_at: observedAt,
      rerun_group: given.id,
      pipeline: ofRun.pipeline,
      number: given.iid,
      trigger: given.source,
      branch: ofRun.branch,
      on_default_branch: mergeRequest || given.tag || given.source?.endsWith("_request_event")
        ? false
        : given.ref && at.defaultBranch
        ? given.ref === at.defaultBranch
        : undefined,
      commit_sha: given.sha,
      pull_request_numbers: mergeRequest === undefined
        ? undefined
        : typeof mergeRequest?.iid === "number" && isOwn
        ? [mergeRequest.iid]
        : [],
      ...person("actor", body.user?.username),
      ...progress,
      queued_at: given.created_at,
      started_at: hasStarted ? startedAt : undefined,
      url: given.url || pageOf(at, "pipelines", given.id),
    };
    return {
      at: observedAt,
      facts: { pipeline_runs: [fact], jobs },
      notes: [
        ...notesOf("pipeline_runs", given.status, progress),
        ...new Set(body.builds?.flatMap((build, i) => notesOf("jobs", build.status, jobs[i]!))),
      ],
    };
  }),

  build: event(job, (body, at) => {
    const given = {
      id: body.build_id,
      name: body.build_name,
      status: body.build_status,
      created_at: body.build_created_at,
      started_at: body.build_started_at,
      finished_at: body.build_finished_at,
      queued_duration: body.build_queued_duration,
      failure_reason: body.build_failure_reason,
      runner: body.runner,
    };
    const fact = jobOf(given, at, {
      run_external_id: body.pipeline_id,
      commit_sha: body.sha,
      pipeline: body.commit?.name || undefined,
      // The ref of a merge request's pipeline is none of a branch.
      branch: body.tag ? null : body.ref?.startsWith("refs/") ? undefined : body.ref,
    });
    return { at: fact.observed_at, facts: { jobs: [fact] }, notes: notesOf("jobs", body.build_status, fact) };
  }),

  merge_request: event(
    mergeRequest,
    (body, at) => ({
      at: body.object_attributes.updated_at,
      facts: { pull_requests: [pullRequestOf(body, at)], reviews: reviewsOf(body, at) },
    }),
    { idOf: (body) => body.object_attributes.target_project_id },
  ),

  push: pushed,
  tag_push: pushed,

  deployment: event(deployment, (body, at) => {
    const externalId = body.deployment_id ?? (body.deployable_id && `job:${body.deployable_id}`);
    if (!externalId) return { quarantined: "deployment_id: missing" };
    const changedAt = body.status_changed_at;
    const progress = progressOf(body.status, null, changedAt);
    const fact: Observation<"deployments"> = {
      repository: at.reference,
      external_id: externalId,
      observed_at: changedAt,
      environment: body.environment,
      environment_tier: tierOf(body.environment_tier),
      // The short one beside it is no key.
      commit_sha: /\/commit\/([0-9a-f]{40,64})(?:[/?#]|$)/i.exec(body.commit_url ?? "")?.[1],
      ref: body.ref,
      ...person("actor", body.user?.username),
      ...progress,
      created_at: body.status === "created" ? changedAt : undefined,
      started_at: body.status === "running" ? changedAt : undefined,
      url: body.deployable_url || undefined,
    };
    return { at: changedAt, facts: { deployments: [fact] }, notes: notesOf("deployments", body.status, progress) };
  }),

  release: event(release, (body, at) => {
    const fact: Observation<"releases"> = {
      repository: at.reference,
      external_id: body.id,
      observed_at: body.released_at ?? body.created_at,
      tag: body.tag,
      commit_sha: body.commit?.id ?? undefined,
      name: body.name,
      is_withdrawn: body.action === "delete",
      created_at: body.created_at,
      published_at: body.released_at,
      url: body.url,
    };
    // When it is published may lie ahead.
    return { at: body.created_at, facts: { releases: [fact] } };
  }),

  issue: issueChanged,
  work_item: issueChanged,

  project_create: projectChanged,
  project_rename: projectChanged,
  project_transfer: projectChanged,
  project_update: projectChanged,
};

type ProgressSaid = Pick<Observation<"jobs">, "status" | "outcome" | "provider_outcome" | "finished_at">;

/** What a status says; nothing for one that is not known, unless the work has ended all the same. */
function progressOf(status: Text, failureReason: Text, finishedAt: Text): ProgressSaid {
  if (!status) return {};
  const reasons = outcomeTable["failure reason"]!;
  const [table, word] = status === "failed" && failureReason && Object.hasOwn(reasons, failureReason)
    ? [reasons, failureReason]
    : [outcomeTable.status!, status];
  if (!Object.hasOwn(table, word) && !finishedAt) return {};
  const [progress, outcome] = Object.hasOwn(table, word) ? table[word]! : ["finished", "unknown"] as const;
  if (progress !== "finished") return { status: progress, outcome: null, provider_outcome: null, finished_at: null };
  return { status: progress, outcome, provider_outcome: word, finished_at: finishedAt ?? null };
}

function notesOf(kind: string, status: Text, progress: ProgressSaid): string[] {
  return status && !progress.status ? [`${kind}.status is not known`] : [];
}

/** A job, as its own hook and the one of its pipeline tell it. */
function jobOf(
  given: z.infer<typeof build>,
  at: Context,
  ofRun: Pick<Observation<"jobs">, "run_external_id" | "commit_sha" | "pipeline" | "branch">,
): Observation<"jobs"> {
  const progress = progressOf(given.status, given.failure_reason, given.finished_at);
  const isQueued = progress.status === undefined || progress.status === "queued";
  const startedAt = isQueued || progress.outcome === "skipped" ? undefined : given.started_at ?? undefined;
  const latest = progress.status === "finished" ? given.finished_at ?? given.started_at : isQueued ? null : startedAt;
  return {
    repository: at.reference,
    external_id: given.id,
    observed_at: latest ?? given.created_at,
    attempt: 1,
    ...ofRun,
    name: given.name,
    runner_labels: given.runner?.tags ?? undefined,
    ...progress,
    // It is created with its pipeline, long before it may run; while it waits, the duration goes on.
    queued_at: typeof given.queued_duration === "number" ? shiftTime(startedAt, -given.queued_duration) : undefined,
    started_at: startedAt,
    url: pageOf(at, "jobs", given.id),
  };
}

/** The address of something's page. */
function pageOf(at: Context, kind: string, id: string): string | undefined {
  return at.webUrl === null ? undefined : `${at.webUrl}/-/${kind}/${id}`;
}

type MergeRequest = z.infer<typeof mergeRequest>;

function pullRequestOf(body: MergeRequest, at: Context): Observation<"pull_requests"> {
  const given = body.object_attributes;
  const labels = given.labels ?? body.labels;
  const author = [body.user, ...body.assignees ?? [], ...body.reviewers ?? []]
    .find((user) => typeof user?.id === "number" && user.id === given.author_id) ??
    (given.action === "open" && typeof body.user?.id !== "number" ? body.user : undefined);
  const becameReady = turnedReady(body.changes);
  return {
    repository: at.reference,
    number: given.iid,
    observed_at: given.updated_at,
    title: given.title,
    ...person("author", author?.username),
    head_branch: given.source_branch,
    base_branch: given.target_branch,
    // The project of a fork that is gone is null.
    is_fork: given.source_project_id === undefined || !given.target_project_id
      ? undefined
      : given.source_project_id !== given.target_project_id,
    head_sha: given.last_commit?.id ?? undefined,
    ...stateOf(given),
    is_draft: given.draft ?? given.work_in_progress,
    labels: labels?.flatMap((label) => label?.title ?? []),
    opened_at: given.created_at,
    ready_times: becameReady && given.updated_at ? [given.updated_at] : undefined,
    url: given.url,
  };
}

/**
 * The state with its times. A merge request carries no time of its end: it ended when it changed last in the hook that says so, and later hooks of
 * one that has ended say nothing of it.
 */
function stateOf(given: MergeRequest["object_attributes"]): Partial<Observation<"pull_requests">> {
  if (given.state === "opened") return { state: "open", merge_sha: null, merged_at: null, closed_at: null };
  if (given.state === "merged" && (given.action === "merge" || given.merged_at)) {
    const mergedAt = given.merged_at ?? given.updated_at ?? null;
    const mergeSha = given.merge_commit_sha || given.squash_commit_sha || null;
    return { state: "merged", merge_sha: mergeSha, merged_at: mergedAt, closed_at: mergedAt };
  }
  if (given.state === "closed" && given.action === "close") {
    return { state: "closed", merge_sha: null, merged_at: null, closed_at: given.updated_at ?? null };
  }
  return {};
}

/** Whether a change took away the mark of a draft; older servers kept it in the title alone. */
function turnedReady(changes: MergeRequest["changes"]): boolean {
  const flag = changes?.draft ?? changes?.work_in_progress;
  if (flag) return flag.previous === true && flag.current === false;
  const isDraft = (title: Text) =>
    /^\s*(?:\[(?:draft|wip)\]|\((?:draft|wip)\)|(?:draft|wip)(?::|\s-\s))/i.test(title ?? "");
  const { previous, current } = changes?.title ?? {};
  return isDraft(previous) && !!current && !isDraft(current);
}

/** States of a reviewer that are a review, and what each says. */
const reviewStates: Readonly<Record<string, string>> = {
  requested_changes: "changes_requested",
  reviewed: "commented",
};

/**
 * Approvals, given and withdrawn, and what reviewers did otherwise. They have no ids: the approval of one person is one review, whose first time
 * counts.
 */
function reviewsOf(body: MergeRequest, at: Context): Observation<"reviews">[] {
  const { iid, action, system, updated_at, url } = body.object_attributes;
  const review = (
    user: { id?: unknown; username?: Text },
    kind: string | null,
    state: string,
  ): Observation<"reviews">[] => {
    const who = typeof user.id === "number" ? String(user.id) : user.username;
    if (!who) return [];
    return [{
      repository: at.reference,
      external_id: [iid, who, ...(kind ? [kind] : [])].join("/"),
      observed_at: updated_at,
      pull_request_number: iid,
      ...person("reviewer", user.username),
      state,
      submitted_at: state === "dismissed" ? undefined : updated_at,
      url,
    }];
  };
  const stateBefore = new Map(body.changes?.reviewers?.previous?.map((one) => [one.username, one.state]));
  const reviews = (body.changes?.reviewers?.current ?? []).flatMap((one) => {
    const state = reviewStates[one.state ?? ""];
    return state && stateBefore.get(one.username) !== one.state ? review(one, state, state) : [];
  });
  // Approvals that a push took away are not withdrawn by the one who pushed.
  if (body.user && !system) {
    if (action === "approved" || action === "approval") reviews.push(...review(body.user, null, "approved"));
    if (action === "unapproved" || action === "unapproval") reviews.push(...review(body.user, null, "dismissed"));
  }
  return reviews;
}

function commitOf(given: z.infer<typeof commit>, reference: string): Observation<"commits"> {
  return {
    repository: reference,
    sha: given.id,
    // The committer's time: no other is told.
    authored_at: given.timestamp,
    ...person("author", given.author?.name ?? undefined),
    title: titleOf(given.message),
    reverts: revertsOf(given.message),
    changed_paths: changedPathsOf(given.added, given.modified, given.removed),
  };
}

function tierOf(tier: Text): "production" | "staging" | "development" | "other" | undefined {
  switch (tier) {
    case "production":
    case "staging":
    case "development":
    case "other":
      return tier;
    case "testing":
      return "other";
    default:
      return undefined;
  }
}

/** GitLab names the users of access tokens and service accounts; other bots are called so. */
const botName = /^(?:project|group)_\d+_bot|^service_account_|\[bot\]$|(?:^|[-_. ])bot$/i;

/** A person's name and whether it is a bot, in two attributes; a name that is absent is not said. */
function person<P extends string>(prefix: P, name: Text): { [K in P]?: string } & { [K in `${P}_is_bot`]?: boolean } {
  const said = typeof name === "string" ? { [prefix]: name, [`${prefix}_is_bot`]: botName.test(name) } : {};
  return said as ReturnType<typeof person<P>>;
}

const isKnown = (kind: string) => Object.hasOwn(events, kind) || Object.hasOwn(ignoredEvents, kind);

/** GitLab as a source. */
export const gitlab: Source = {
  provider: "gitlab",
  scheme: [{ kind: "standard_webhooks" }, { kind: "bearer", header: "x-gitlab-token", prefix: "" }],
  contentTypes: ["application/json"],
  takesAnyContentType: true,
  events: new Set([...Object.keys(events), ...Object.keys(ignoredEvents)]),
  redacted: redactedFields,

  match(headers) {
    return /^[A-Za-z ]{1,64} Hook$/.test(headers.get("x-gitlab-event") ?? "");
  },

  identify(headers, body) {
    const sentId = headers.get("webhook-id") ?? headers.get("idempotency-key") ?? "";
    return {
      deliveryId: /^[!-~]{1,255}$/.test(sentId) ? sentId : null,
      event: this.match(headers) ? eventOf(headers.get("x-gitlab-event")!, body) : null,
    };
  },

  facts(event, body, options) {
    const kind = event.split(".", 1)[0]!;
    if (Object.hasOwn(ignoredEvents, kind)) return { ignored: `${kind}: ${ignoredEvents[kind]}` };
    if (!Object.hasOwn(events, kind)) return { ignored: "an event that is not known" };
    return events[kind]!(body, options);
  },
};

/**
 * The body says what it is; system hooks call everything `System Hook`. The header helps where a template of the installation wrote a body that
 * does not say, which is then not understood.
 */
function eventOf(header: string, body: unknown): string {
  const { object_kind, event_name, object_attributes, action } = (body ?? {}) as Record<string, unknown>;
  const plain = (kind: unknown) => typeof kind === "string" ? kind.replace(/^confidential_/, "") : "";
  const called = header.toLowerCase().replace(/ hook$/, "").replaceAll(" ", "_");
  const byHeader = otherNames[plain(called)] ?? plain(called);
  const byBody = [object_kind, event_name].map(plain).filter((kind) => /^[a-z_]{1,64}$/.test(kind));
  const kind = [...byBody, byHeader].find(isKnown) ?? byBody[0] ?? byHeader;
  return withAction(kind, (object_attributes as { action?: unknown } | null | undefined)?.action ?? action);
}
