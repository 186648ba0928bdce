import { assert, assertEquals } from "@std/assert";
import { checkFacts, type FactKind, type Facts } from "../facts.ts";
import { readSourcePage, wordsOf } from "../testing.ts";
import { translate } from "../translate.ts";
import { gitlab, ignoredEvents, outcomeTable, redactedFields } from "./gitlab.ts";

const options = { source: "gitlab", incidentLabels: new Set(["incident", "outage"]) };
const SHA = "a1".repeat(20);
const OTHER_SHA = "b2".repeat(20);
const NO_SHA = "0".repeat(40);

const project = {
  id: 71,
  name: "one",
  path_with_namespace: "acme/one",
  web_url: "https://gitlab.example.com/acme/one",
  default_branch: "main",
};
const user = { id: 11, name: "Dev One", username: "dev-1", email: "[REDACTED]" };

// deno-lint-ignore no-explicit-any
type Json = any;

/** A body of a kind with some members replaced; undefined takes a member away. */
function pipeline(change: Json = {}, more: Json = {}) {
  return {
    object_kind: "pipeline",
    object_attributes: {
      id: 31,
      iid: 3,
      name: "ci",
      ref: "main",
      tag: false,
      sha: SHA,
      before_sha: OTHER_SHA,
      source: "push",
      status: "success",
      detailed_status: "passed",
      created_at: "2026-01-05 10:00:00 UTC",
      finished_at: "2026-01-05 10:05:12 UTC",
      duration: 240,
      queued_duration: 12,
      url: `${project.web_url}/-/pipelines/31`,
      ...change,
    },
    merge_request: null,
    user,
    project,
    builds: [],
    ...more,
  };
}

const builds = [
  {
    id: 501,
    stage: "test",
    name: "unit 1/2",
    status: "failed",
    created_at: "2026-01-05 10:00:00 UTC",
    started_at: "2026-01-05 10:00:12 UTC",
    finished_at: "2026-01-05 10:03:00 UTC",
    queued_duration: 2.5,
    failure_reason: "script_failure",
    allow_failure: true,
    runner: { id: 7, tags: ["linux", "docker"] },
  },
  {
    id: 502,
    name: "deploy",
    status: "manual",
    created_at: "2026-01-05 10:00:00 UTC",
    started_at: null,
    finished_at: null,
    runner: null,
  },
];

function build(change: Json = {}) {
  return {
    object_kind: "build",
    ref: "main",
    tag: false,
    sha: SHA,
    build_id: 501,
    build_name: "unit 1/2",
    build_stage: "test",
    build_status: "success",
    build_created_at: "2026-01-05T10:00:00.412Z",
    build_started_at: "2026-01-05T10:00:12.500Z",
    build_finished_at: "2026-01-05T10:03:00.125Z",
    build_duration: 167.6,
    build_queued_duration: 2.5,
    build_failure_reason: "unknown_failure",
    retries_count: 0,
    pipeline_id: 31,
    project_id: 71,
    user,
    commit: { id: 31, name: "ci", sha: SHA, status: "running" },
    project,
    runner: { id: 7, tags: ["linux", "docker"] },
    ...change,
  };
}

function mergeRequest(change: Json = {}, more: Json = {}) {
  return {
    object_kind: "merge_request",
    event_type: "merge_request",
    user,
    project,
    object_attributes: {
      id: 9001,
      iid: 4,
      author_id: 11,
      title: "Let people sign in",
      state: "opened",
      draft: false,
      work_in_progress: false,
      source_branch: "topic",
      target_branch: "main",
      source_project_id: 71,
      target_project_id: 71,
      last_commit: { id: SHA },
      merge_commit_sha: null,
      created_at: "2026-01-05 09:00:00 UTC",
      updated_at: "2026-01-05 09:30:00 UTC",
      url: `${project.web_url}/-/merge_requests/4`,
      action: "open",
      ...change,
    },
    labels: [{ id: 1, title: "backend" }],
    changes: {},
    ...more,
  };
}

function push(change: Json = {}) {
  return {
    object_kind: "push",
    event_name: "push",
    before: OTHER_SHA,
    after: SHA,
    ref: "refs/heads/main",
    checkout_sha: SHA,
    user_username: "dev-1",
    project_id: 71,
    project,
    commits: [{
      id: SHA,
      message: "Let people sign in\n\nThis reverts commit " + OTHER_SHA + ".\n",
      title: "Let people sign in",
      timestamp: "2026-01-05T10:00:00+02:00",
      author: { name: "Dev One", email: "dev-1@example.com" },
      added: ["b.ts"],
      modified: ["a.ts"],
      removed: [],
    }],
    total_commits_count: 1,
    ...change,
  };
}

function deployment(change: Json = {}) {
  return {
    object_kind: "deployment",
    status: "success",
    status_changed_at: "2026-01-05 12:10:00 +0200",
    deployment_id: 15,
    deployable_id: 796,
    deployable_url: `${project.web_url}/-/jobs/796`,
    environment: "live",
    environment_tier: "production",
    project,
    short_sha: SHA.slice(0, 8),
    user,
    commit_url: `${project.web_url}/-/commit/${SHA}`,
    ref: "main",
    ...change,
  };
}

function issue(change: Json = {}, more: Json = {}) {
  return {
    object_kind: "work_item",
    event_type: "work_item",
    user,
    project,
    object_attributes: {
      id: 301,
      iid: 23,
      project_id: 71,
      type: "Incident",
      title: "Checkout is down",
      state: "opened",
      action: "open",
      severity: "high",
      escalation_status: "triggered",
      created_at: "2026-01-05T11:00:00.000Z",
      updated_at: "2026-01-05T11:00:00.000Z",
      closed_at: null,
      url: `${project.web_url}/-/issues/23`,
      ...change,
    },
    labels: [],
    changes: {},
    ...more,
  };
}

/** What the source makes of a body, as it comes from JSON. */
function translated(body: Json, header = "System Hook") {
  const bytes = new TextEncoder().encode(typeof body === "string" ? body : JSON.stringify(body));
  const headers = new Headers({ "x-gitlab-event": header });
  return translate(gitlab, "application/json", bytes, (parsed) => gitlab.identify(headers, parsed), options);
}

function factsOf(body: Json): Facts {
  const { result, reason, facts } = translated(body);
  assertEquals([result, reason], ["stored", null]);
  return facts;
}

/** The one fact of a kind. */
function factOf(kind: FactKind, body: Json): Json {
  const facts = factsOf(body)[kind] ?? [];
  assertEquals(facts.length, 1);
  return facts[0];
}

function pick(fact: Json, ...names: string[]) {
  return names.map((name) => fact[name]);
}

const runOf = (change: Json = {}, more: Json = {}) => factOf("pipeline_runs", pipeline(change, more));
const jobOf = (change: Json = {}) => factOf("jobs", build(change));
const pullOf = (change: Json = {}, more: Json = {}) => factOf("pull_requests", mergeRequest(change, more));
const deploymentOf = (change: Json = {}) => factOf("deployments", deployment(change));
const incidentOf = (change: Json = {}, more: Json = {}) => factOf("incidents", issue(change, more));
const progress = ["status", "outcome", "provider_outcome", "finished_at"];

Deno.test("a pipeline", () => {
  const { jobs: _, ...facts } = factsOf(pipeline({}, { builds }));
  assertEquals(facts, {
    repositories: [{
      repository: "gitlab:71",
      observed_at: "2026-01-05T10:05:12Z",
      full_name: "acme/one",
      default_branch: "main",
      url: "https://gitlab.example.com/acme/one",
    }],
    pipeline_runs: [{
      repository: "gitlab:71",
      external_id: "31",
      attempt: 1,
      observed_at: "2026-01-05T10:05:12Z",
      rerun_group: "31",
      pipeline: "ci",
      number: 3,
      trigger: "push",
      branch: "main",
      on_default_branch: true,
      commit_sha: SHA,
      pull_request_numbers: [],
      actor: "dev-1",
      actor_is_bot: false,
      status: "finished",
      outcome: "success",
      provider_outcome: "success",
      queued_at: "2026-01-05T10:00:00Z",
      started_at: "2026-01-05T10:00:12Z",
      finished_at: "2026-01-05T10:05:12Z",
      url: "https://gitlab.example.com/acme/one/-/pipelines/31",
    }],
  });
});

Deno.test("the builds of a pipeline are its jobs", () => {
  const [failed, manual] = factsOf(pipeline({}, { builds })).jobs!;
  assertEquals(failed, {
    repository: "gitlab:71",
    external_id: "501",
    observed_at: "2026-01-05T10:03:00Z",
    run_external_id: "31",
    attempt: 1,
    pipeline: "ci",
    name: "unit 1/2",
    branch: "main",
    commit_sha: SHA,
    runner_labels: ["linux", "docker"],
    status: "finished",
    outcome: "failure",
    provider_outcome: "failed",
    queued_at: "2026-01-05T10:00:09.5Z",
    started_at: "2026-01-05T10:00:12Z",
    finished_at: "2026-01-05T10:03:00Z",
    url: "https://gitlab.example.com/acme/one/-/jobs/501",
  });
  assertEquals(pick(manual, "external_id", "status", "outcome", "observed_at", "queued_at", "started_at"), [
    "502",
    "queued",
    null,
    "2026-01-05T10:00:00Z",
    undefined,
    undefined,
  ]);
});

Deno.test("a job's own hook says the same as its pipeline's, and the id of its commit is the pipeline's", () => {
  const [fromPipeline] = factsOf(pipeline({}, { builds })).jobs!;
  const { build_created_at: _, ...own } = build({
    build_status: "failed",
    build_failure_reason: "script_failure",
    build_started_at: "2026-01-05 10:00:12 UTC",
    build_finished_at: "2026-01-05 10:03:00 UTC",
  });
  assertEquals(factOf("jobs", own), fromPipeline);
  assertEquals(pick(jobOf(), "run_external_id", "queued_at", "started_at", "finished_at"), [
    "31",
    "2026-01-05T10:00:10Z",
    "2026-01-05T10:00:12.5Z",
    "2026-01-05T10:03:00.125Z",
  ]);
});

Deno.test("every status means what the table says, for pipelines, jobs and deployments", () => {
  for (const [word, [status, outcome]] of Object.entries(outcomeTable.status!)) {
    const ended = status === "finished";
    const expected = (at: string) => [status, outcome, ended ? word : null, ended ? at : null];
    assertEquals(pick(runOf({ status: word }), ...progress), expected("2026-01-05T10:05:12Z"), word);
    assertEquals(pick(jobOf({ build_status: word }), ...progress), expected("2026-01-05T10:03:00.125Z"), word);
    assertEquals(pick(deploymentOf({ status: word }), ...progress), expected("2026-01-05T10:10:00Z"), word);
  }
});

Deno.test("the reason of a failure tells the work's from the machinery's, and counts for nothing else", () => {
  for (const [reason, [, outcome]] of Object.entries(outcomeTable["failure reason"]!)) {
    const fact = jobOf({ build_status: "failed", build_failure_reason: reason });
    assertEquals(pick(fact, "outcome", "provider_outcome"), [outcome, reason]);
    assertEquals(jobOf({ build_status: "success", build_failure_reason: reason }).outcome, "success");
  }
  for (const reason of ["script_failure", "unknown_failure", "constructor", null, undefined]) {
    const fact = jobOf({ build_status: "failed", build_failure_reason: reason });
    assertEquals(pick(fact, "outcome", "provider_outcome"), ["failure", "failed"]);
  }
});

Deno.test("a status that is not known is unknown once there is an end, and says nothing before", () => {
  assertEquals(pick(runOf({ status: "exploded" }), ...progress), [
    "finished",
    "unknown",
    "exploded",
    "2026-01-05T10:05:12Z",
  ]);
  assertEquals(pick(runOf({ status: "constructor" }), "outcome", "provider_outcome"), ["unknown", "constructor"]);
  const waiting = pipeline({ status: "waiting_for_dawn", finished_at: null }, {
    builds: [{ ...builds[1], status: "asleep" }, { ...builds[1], id: 503, status: "asleep" }],
  });
  assertEquals(pick(factOf("pipeline_runs", waiting), ...progress, "started_at"), Array(5).fill(undefined));
  assertEquals(translated(waiting).notes, ["pipeline_runs.status is not known", "jobs.status is not known"]);
});

Deno.test("a pipeline that is retried is the same run: its last end counts, and one that runs again has not ended later", () => {
  const [first, again, last] = [
    runOf({ status: "failed" }),
    runOf({ status: "running" }),
    runOf({ status: "success", finished_at: "2026-01-05 11:00:00 UTC" }),
  ];
  assertEquals([first, again, last].map((run) => pick(run, "external_id", "attempt", "rerun_group").join()), [
    "31,1,31",
    "31,1,31",
    "31,1,31",
  ]);
  assertEquals(pick(again, ...progress, "started_at"), ["running", null, null, null, "2026-01-05T10:00:12Z"]);
  assertEquals(pick(last, "observed_at", "outcome", "finished_at", "started_at"), [
    "2026-01-05T11:00:00Z",
    "success",
    "2026-01-05T11:00:00Z",
    "2026-01-05T10:00:12Z",
  ]);
});

Deno.test("a pipeline started with its first job where no queue is told, and never if it was skipped or still waits", () => {
  const started = (change: Json, more: Json = { builds }) => runOf(change, more).started_at;
  assertEquals(started({ queued_duration: null }), "2026-01-05T10:00:12Z");
  assertEquals(started({ queued_duration: undefined, status: "running" }), "2026-01-05T10:00:12Z");
  assertEquals(started({ queued_duration: undefined }, {}), undefined);
  assertEquals(started({ status: "canceled", queued_duration: null }, { builds: [builds[1]] }), undefined);
  for (const status of ["created", "pending", "manual", "skipped"]) {
    assertEquals(started({ status }), undefined, status);
  }
});

Deno.test("a pipeline of a merge request is linked by its number, whatever commit it built", () => {
  const request = { id: 9001, iid: 4, source_branch: "topic", source_project_id: 71, target_project_id: 71 };
  const change = { source: "merge_request_event", ref: "main", sha: "c3".repeat(20) };
  const numbers = (merge_request: Json) =>
    pick(runOf(change, { merge_request }), "pull_request_numbers", "on_default_branch", "commit_sha");
  assertEquals(numbers(request), [[4], false, "c3".repeat(20)]);
  assertEquals(numbers({ iid: 4 }), [[4], false, "c3".repeat(20)]);
  // In a fork's project the number is another project's.
  assertEquals(numbers({ ...request, target_project_id: 72 }), [[], false, "c3".repeat(20)]);
  assertEquals(numbers(undefined), [undefined, false, "c3".repeat(20)]);
  assertEquals(runOf({ source: "external_pull_request_event" }).on_default_branch, false);
});

Deno.test("a pipeline of a tag has no branch, and one of a project without a default branch does not say", () => {
  assertEquals(pick(runOf({ tag: true, ref: "v1" }), "branch", "on_default_branch"), [null, false]);
  assertEquals(runOf({ ref: "topic" }).on_default_branch, false);
  assertEquals(runOf({}, { project: { ...project, default_branch: null } }).on_default_branch, undefined);
  assertEquals(jobOf({ tag: true, ref: "v1" }).branch, null);
});

Deno.test("a child pipeline is a run of its own", () => {
  const source = { project: { id: 41 }, job_id: 3401, pipeline_id: 30 };
  const fact = runOf({ source: "parent_pipeline" }, { source_pipeline: source });
  assertEquals(pick(fact, "external_id", "rerun_group", "trigger"), ["31", "31", "parent_pipeline"]);
});

Deno.test("the ref of a merge request's job is no branch", () => {
  assertEquals(jobOf({ ref: "refs/merge-requests/4/head" }).branch, undefined);
  assertEquals(jobOf({ ref: "topic" }).branch, "topic");
});

Deno.test("a job that was retried is another job", () => {
  const ids = [build({ build_status: "failed" }), build({ build_id: 777, retries_count: 1 })].map((body) =>
    pick(factOf("jobs", body), "external_id", "name", "run_external_id", "attempt").join()
  );
  assertEquals(ids, ["501,unit 1/2,31,1", "777,unit 1/2,31,1"]);
});

Deno.test("a job is queued before it starts and not since its pipeline was made, and one that waits does not say", () => {
  const waiting = { build_status: "pending", build_started_at: null, build_finished_at: null };
  assertEquals(pick(jobOf({ ...waiting, build_queued_duration: 1095.5 }), "status", "queued_at", "started_at"), [
    "queued",
    undefined,
    undefined,
  ]);
  assertEquals(jobOf({ build_queued_duration: undefined }).queued_at, undefined);
  assertEquals(jobOf({ build_queued_duration: 0 }).queued_at, "2026-01-05T10:00:12.5Z");
  assertEquals(jobOf({ build_status: "skipped" }).started_at, undefined);
});

Deno.test("a merge request", () => {
  assertEquals(factsOf(mergeRequest()).pull_requests, [{
    repository: "gitlab:71",
    number: 4,
    observed_at: "2026-01-05T09:30:00Z",
    title: "Let people sign in",
    author: "dev-1",
    author_is_bot: false,
    head_branch: "topic",
    base_branch: "main",
    is_fork: false,
    head_sha: SHA,
    state: "open",
    merge_sha: null,
    merged_at: null,
    closed_at: null,
    is_draft: false,
    labels: ["backend"],
    opened_at: "2026-01-05T09:00:00Z",
    url: "https://gitlab.example.com/acme/one/-/merge_requests/4",
  }]);
});

Deno.test("a merge request was merged or closed when it last changed in the hook that says so, and later hooks are silent", () => {
  const state = (change: Json) => pick(pullOf(change), "state", "merge_sha", "merged_at", "closed_at");
  const at = "2026-01-05T09:30:00Z";
  const merged = { state: "merged", merge_commit_sha: OTHER_SHA };
  assertEquals(state({ ...merged, action: "merge" }), ["merged", OTHER_SHA, at, at]);
  assertEquals(state({ state: "merged", action: "merge" }), ["merged", null, at, at]);
  assertEquals(state({ ...merged, action: "update", merged_at: "2026-01-05T09:10:00Z" }), [
    "merged",
    OTHER_SHA,
    "2026-01-05T09:10:00Z",
    "2026-01-05T09:10:00Z",
  ]);
  assertEquals(state({ state: "closed", action: "close" }), ["closed", null, null, at]);
  assertEquals(state({ state: "opened", action: "reopen" }), ["open", null, null, null]);
  for (const silent of [{ ...merged, action: "update" }, { state: "closed", action: "update" }, { state: "locked" }]) {
    assertEquals(state(silent), Array(4).fill(undefined));
  }
});

Deno.test("the author is found by number, and not said where nobody has it", () => {
  const other = { id: 12, username: "dev-2" };
  const author = (more: Json, change: Json = {}) => pullOf({ action: "update", ...change }, more).author;
  assertEquals(author({ user }), "dev-1");
  assertEquals(author({ user: other }), undefined);
  assertEquals(author({ user: other, assignees: [other, user] }), "dev-1");
  assertEquals(author({ user: other, reviewers: [user] }), "dev-1");
  // Older servers give users no number; who opens it is its author.
  assertEquals(author({ user: { username: "dev-1" } }, { action: "open" }), "dev-1");
  assertEquals(author({ user: { username: "dev-2" } }), undefined);
  assertEquals(author({ user: { username: "dev-2" } }, { author_id: undefined }), undefined);
});

Deno.test("a merge request from another project is a fork, also where that project is gone", () => {
  assertEquals(pullOf({ source_project_id: 99 }).is_fork, true);
  assertEquals(pullOf({ source_project_id: null }).is_fork, true);
  assertEquals(pullOf({ source_project_id: undefined }).is_fork, undefined);
});

Deno.test("a merge request is ready at the moment that the mark of a draft is taken away", () => {
  const ready = (changes: Json, change: Json = {}) => pullOf({ action: "update", ...change }, { changes }).ready_times;
  const at = ["2026-01-05T09:30:00Z"];
  assertEquals(ready({ draft: { previous: true, current: false } }), at);
  assertEquals(ready({ draft: { previous: false, current: true } }), undefined);
  assertEquals(ready({ work_in_progress: { previous: true, current: false } }), at);
  for (const title of ["Draft: Sign in", "WIP: Sign in", "[Draft] Sign in", "(wip) Sign in", "draft - Sign in"]) {
    assertEquals(ready({ title: { previous: title, current: "Sign in" } }), at, title);
    assertEquals(ready({ title: { previous: "Sign in", current: title } }), undefined, title);
    assertEquals(ready({ title: { previous: title, current: `${title} now` } }), undefined, title);
  }
  assertEquals(ready({ title: { previous: "Drafting tools", current: "Tools" } }), undefined);
  assertEquals(ready({ draft: { previous: true, current: false } }, { updated_at: null }), undefined);
  assertEquals([pullOf({ draft: true }).is_draft, pullOf({ draft: undefined, work_in_progress: true }).is_draft], [
    true,
    true,
  ]);
});

Deno.test("approvals are reviews, and withdrawn ones dismissed", () => {
  const reviewer = { id: 12, username: "dev-2" };
  const review = (action: string, change: Json = {}) =>
    factsOf(mergeRequest({ action, ...change }, { user: reviewer })).reviews ?? [];
  const approved = {
    repository: "gitlab:71",
    external_id: "4/12",
    observed_at: "2026-01-05T09:30:00Z",
    pull_request_number: 4,
    reviewer: "dev-2",
    reviewer_is_bot: false,
    state: "approved",
    submitted_at: "2026-01-05T09:30:00Z",
    url: "https://gitlab.example.com/acme/one/-/merge_requests/4",
  };
  const { submitted_at: _, ...withdrawn } = approved;
  for (const action of ["approved", "approval"]) assertEquals(review(action), [approved]);
  for (const action of ["unapproved", "unapproval"]) {
    assertEquals(review(action), [{ ...withdrawn, state: "dismissed" }]);
  }
  // The one who pushes does not withdraw what others approved.
  assertEquals(review("unapproved", { system: true, system_action: "approvals_reset_on_push" }), []);
  assertEquals(review("update"), []);
});

Deno.test("reviewers who commented or asked for changes are reviews, when they begin to be", () => {
  const states = (previous: string | null, current: string) => {
    const changes = {
      reviewers: {
        previous: previous === null ? [] : [{ id: 12, username: "dev-2", state: previous }],
        current: [{ id: 12, username: "dev-2", state: current }, { id: 13, username: "dev-3", state: "unreviewed" }],
      },
    };
    const reviews = factsOf(mergeRequest({ action: "update" }, { changes })).reviews ?? [];
    return reviews.map((review) => `${review.external_id} ${review.reviewer} ${review.state}`);
  };
  assertEquals(states("unreviewed", "requested_changes"), ["4/12/changes_requested dev-2 changes_requested"]);
  assertEquals(states(null, "reviewed"), ["4/12/commented dev-2 commented"]);
  for (const [before, after] of [["reviewed", "reviewed"], ["unreviewed", "approved"], ["reviewed", "unreviewed"]]) {
    assertEquals(states(before!, after!), []);
  }
  const nameless = { reviewers: { previous: [{ id: 12, username: "dev-2" }], current: [user] } };
  assertEquals(factsOf(mergeRequest({ action: "update" }, { changes: nameless })).reviews, undefined);
});

Deno.test("a push with its commits", () => {
  const facts = factsOf(push());
  assertEquals(facts.pushes, [{
    repository: "gitlab:71",
    ref: "refs/heads/main",
    before: OTHER_SHA,
    after: SHA,
    pushed_at: null,
    created: false,
    deleted: false,
    on_default_branch: true,
    commits: [SHA],
    truncated: false,
    pusher: "dev-1",
    pusher_is_bot: false,
  }]);
  assertEquals(facts.commits, [{
    repository: "gitlab:71",
    sha: SHA,
    authored_at: "2026-01-05T08:00:00Z",
    author: "Dev One",
    author_is_bot: false,
    title: "Let people sign in",
    reverts: [OTHER_SHA],
    changed_paths: ["a.ts", "b.ts"],
  }]);
  assertEquals(facts.repositories![0]!.observed_at, null);
});

Deno.test("a push of more commits than GitLab lists is truncated", () => {
  const commits = Array.from({ length: 20 }, (_, i) => ({ id: (i + 10).toString(16).repeat(20) }));
  const truncated = (change: Json) => factOf("pushes", push(change)).truncated;
  assertEquals(truncated({ commits, total_commits_count: 21 }), true);
  assertEquals(truncated({ commits, total_commits_count: 20 }), false);
  assertEquals(truncated({ commits, total_commits_count: undefined }), true);
  assertEquals(truncated({ commits: commits.slice(1), total_commits_count: undefined }), false);
  // A system hook counts them and lists none.
  assertEquals(truncated({ commits: [], total_commits_count: 3 }), true);
  assertEquals(pick(factOf("pushes", push({ commits: undefined })), "commits", "truncated"), [undefined, undefined]);
});

Deno.test("branches come and go, and tags are on no branch", () => {
  const said = (change: Json) => pick(factOf("pushes", push(change)), "created", "deleted", "on_default_branch");
  assertEquals(said({ before: NO_SHA }), [true, false, true]);
  assertEquals(said({ after: NO_SHA, checkout_sha: null, commits: [], total_commits_count: 0, ref: "refs/heads/x" }), [
    false,
    true,
    false,
  ]);
  const tag = { object_kind: "tag_push", event_name: "tag_push", ref: "refs/tags/v1", before: NO_SHA };
  assertEquals(said(tag), [true, false, false]);
  assertEquals(said({ project: { ...project, default_branch: undefined } }), [false, false, undefined]);
});

Deno.test("a deployment", () => {
  assertEquals(factsOf(deployment()).deployments, [{
    repository: "gitlab:71",
    external_id: "15",
    observed_at: "2026-01-05T10:10:00Z",
    environment: "live",
    environment_tier: "production",
    commit_sha: SHA,
    ref: "main",
    status: "finished",
    outcome: "success",
    provider_outcome: "success",
    finished_at: "2026-01-05T10:10:00Z",
    actor: "dev-1",
    actor_is_bot: false,
    url: "https://gitlab.example.com/acme/one/-/jobs/796",
  }]);
  assertEquals(pick(deploymentOf({ status: "running" }), "status", "started_at", "finished_at"), [
    "running",
    "2026-01-05T10:10:00Z",
    null,
  ]);
  assertEquals(pick(deploymentOf({ status: "created" }), "status", "created_at", "started_at"), [
    "queued",
    "2026-01-05T10:10:00Z",
    undefined,
  ]);
});

Deno.test("the commit of a deployment stands in an address, in every form of it, and the short one is not taken", () => {
  const sha = (commit_url: unknown) => deploymentOf({ commit_url }).commit_sha;
  for (const path of [`/commit/${SHA}`, `/-/commit/${SHA}?view=inline`, `/-/commit/${SHA.toUpperCase()}`]) {
    assertEquals(sha(`https://gitlab.example.com/acme/one${path}`), SHA);
  }
  const long = "d4".repeat(32);
  assertEquals(sha(`https://gitlab.example.com/acme/one/-/commit/${long}`), long);
  for (
    const none of [null, "", "https://gitlab.example.com", `https://x/commit/${SHA.slice(0, 8)}`, `https://x/${SHA}`]
  ) {
    assertEquals(sha(none), undefined, String(none));
  }
});

Deno.test("a deployment's tier is GitLab's word, testing is another one, and an unknown one is not said", () => {
  for (const tier of ["production", "staging", "development", "other"]) {
    assertEquals(deploymentOf({ environment_tier: tier }).environment_tier, tier);
  }
  assertEquals(deploymentOf({ environment_tier: "testing" }).environment_tier, "other");
  for (const tier of ["nebula", null, undefined]) {
    assertEquals(deploymentOf({ environment_tier: tier }).environment_tier, undefined);
  }
});

Deno.test("a deployment of an older server goes by its job, and one that names neither is not understood", () => {
  assertEquals(deploymentOf({ deployment_id: undefined }).external_id, "job:796");
  assertEquals(
    translated(deployment({ deployment_id: undefined, deployable_id: null })).reason,
    "deployment_id: missing",
  );
  assertEquals(deploymentOf({ deployable_id: null, deployable_url: null }).url, undefined);
});

Deno.test("every format of a time is the same instant", () => {
  const formats = [
    "2026-01-05 10:10:00 UTC",
    "2026-01-05 12:10:00 +0200",
    "2026-01-05 12:10:00 +02:00",
    "2026-01-05T10:10:00Z",
    "2026-01-05T10:10:00.000Z",
    "2026-01-05T12:10:00+02:00",
    1767607800,
  ];
  for (const status_changed_at of formats) {
    assertEquals(deploymentOf({ status_changed_at }).finished_at, "2026-01-05T10:10:00Z", String(status_changed_at));
  }
  for (const status_changed_at of ["", "soon", null, undefined]) {
    assertEquals(pick(deploymentOf({ status_changed_at }), "status", "finished_at"), ["finished", null]);
  }
});

Deno.test("a release", () => {
  const body = {
    object_kind: "release",
    id: 8,
    tag: "v1",
    name: "One",
    action: "create",
    created_at: "2026-01-05 13:00:00 UTC",
    released_at: "2030-01-05 13:00:00 UTC",
    description: "The first",
    url: `${project.web_url}/-/releases/v1`,
    commit: { id: SHA },
    project,
  };
  assertEquals(factsOf(body), {
    // What is announced for later does not name the project until then.
    repositories: [{
      repository: "gitlab:71",
      observed_at: "2026-01-05T13:00:00Z",
      full_name: "acme/one",
      default_branch: "main",
      url: "https://gitlab.example.com/acme/one",
    }],
    releases: [{
      repository: "gitlab:71",
      external_id: "8",
      observed_at: "2030-01-05T13:00:00Z",
      tag: "v1",
      commit_sha: SHA,
      name: "One",
      is_withdrawn: false,
      created_at: "2026-01-05T13:00:00Z",
      published_at: "2030-01-05T13:00:00Z",
      url: "https://gitlab.example.com/acme/one/-/releases/v1",
    }],
  });
  const deleted = factOf("releases", { ...body, action: "delete", commit: null });
  assertEquals([deleted.is_withdrawn, deleted.commit_sha], [true, undefined]);
});

Deno.test("an incident", () => {
  assertEquals(factsOf(issue()).incidents, [{
    source: "gitlab",
    external_id: "301",
    observed_at: "2026-01-05T11:00:00Z",
    repository: "gitlab:71",
    title: "Checkout is down",
    severity: "high",
    opened_at: "2026-01-05T11:00:00Z",
    status: "open",
    resolved_at: null,
    is_withdrawn: false,
    url: "https://gitlab.example.com/acme/one/-/issues/23",
  }]);
  assertEquals(incidentOf({ severity: "unknown" }).severity, null);
});

Deno.test("an issue is an incident by its type, by a label, or by what old servers tell of incidents alone", () => {
  const plain = { type: "Issue" };
  const becomes = (change: Json, more: Json = {}) => translated(issue(change, more)).result;
  assertEquals(becomes(plain), "ignored");
  assertEquals(becomes({ type: "INCIDENT" }), "stored");
  assertEquals(becomes({ type: "Outage" }), "stored");
  assertEquals(becomes(plain, { labels: [{ title: "Outage" }] }), "stored");
  assertEquals(becomes({ ...plain, labels: [{ title: "incident" }] }), "stored");
  assertEquals(becomes({ type: undefined }), "stored");
  assertEquals(becomes({ type: undefined, escalation_status: undefined }), "ignored");
  // An epic of a group has no project.
  const epic = { ...issue({ type: "Epic", project_id: null }), project: undefined };
  assertEquals(translated(epic).reason, "an issue without a label or type that makes it an incident");
});

Deno.test("an incident is acknowledged by its escalation status, and over when it is closed or set to resolved", () => {
  const at = "2026-01-05T12:00:00Z";
  const state = (change: Json, changes: Json = null) =>
    pick(incidentOf({ updated_at: at, ...change }, { changes }), "status", "acknowledged_at", "resolved_at");
  const toResolved = { escalation_status: { previous: "acknowledged", current: "resolved" } };
  const toAcknowledged = { escalation_status: { previous: "triggered", current: "acknowledged" } };
  assertEquals(state({ escalation_status: "acknowledged" }, toAcknowledged), ["acknowledged", at, null]);
  assertEquals(state({ escalation_status: "resolved" }, toResolved), ["resolved", undefined, at]);
  // A later hook repeats the status, and does not take or end the incident again.
  for (const changes of [null, {}, { title: {} }, { escalation_status: null }]) {
    assertEquals(state({ escalation_status: "acknowledged" }, changes), ["acknowledged", undefined, null]);
    assertEquals(state({ escalation_status: "resolved" }, changes), [undefined, undefined, undefined]);
  }
  assertEquals(state({ escalation_status: "ignored" }), [undefined, undefined, undefined]);
  const closed = { state: "closed", action: "close", closed_at: "2026-01-05T11:45:00Z" };
  assertEquals(state({ ...closed, escalation_status: "resolved" }), ["resolved", undefined, "2026-01-05T11:45:00Z"]);
  assertEquals(state({ ...closed, closed_at: undefined }), ["resolved", undefined, at]);
  assertEquals(state({ ...closed, action: "update" }), ["resolved", undefined, "2026-01-05T11:45:00Z"]);
  assertEquals(state({ ...closed, action: "update", closed_at: undefined }), [undefined, undefined, undefined]);
  assertEquals(state({ action: "reopen", escalation_status: "resolved" }), ["open", undefined, null]);
  assertEquals(state({ state: "asleep" }), [undefined, undefined, undefined]);
});

Deno.test("an incident is withdrawn when its label goes, and when it is moved or a duplicate", () => {
  const withdrawn = (change: Json, more: Json = {}) => incidentOf(change, more).is_withdrawn;
  const changes = { labels: { previous: [{ title: "incident" }], current: [] } };
  assertEquals(withdrawn({ type: "Issue" }, { changes }), true);
  assertEquals(withdrawn({ type: "Incident" }, { changes }), false);
  assertEquals(withdrawn({ moved_to_id: 5 }), true);
  assertEquals(withdrawn({ duplicated_to_id: 5 }), true);
  assertEquals(withdrawn({ moved_to_id: null }), false);
});

Deno.test("the title of a confidential incident is left out, under either name of the hook", () => {
  const confidential = issue({ confidential: true });
  assertEquals(factOf("incidents", confidential).title, null);
  const became = translated({ ...confidential, object_kind: "confidential_issue" }, "Confidential Issue Hook");
  assertEquals([became.event, became.facts.incidents?.[0]?.title], ["issue.open", null]);
});

Deno.test("a system hook tells of a renamed or transferred project", () => {
  for (const event_name of ["project_create", "project_rename", "project_transfer", "project_update"]) {
    const body = {
      event_name,
      project_id: 71,
      path_with_namespace: "other/two",
      old_path_with_namespace: "acme/one",
      updated_at: "2026-01-05T14:00:00Z",
      owner_email: "dev-1@example.com",
    };
    assertEquals(factsOf(body), {
      repositories: [{ repository: "gitlab:71", observed_at: "2026-01-05T14:00:00Z", full_name: "other/two" }],
    });
  }
});

Deno.test("a system hook without a kind goes by the name of its event, and its push is one like any other", () => {
  const { object_kind: _, ...body } = push({ commits: [], total_commits_count: 2 });
  const { project: { id: __, ...nameless } } = body;
  const { facts, event } = translated({ ...body, project: nameless });
  assertEquals([event, facts.pushes?.[0]?.repository, facts.pushes?.[0]?.truncated], ["push", "gitlab:71", true]);
});

Deno.test("a project of an older server goes by the id beside it, else by its address", () => {
  const { id: _, ...nameless } = project;
  const reference = (body: Json) => factsOf({ ...body, project: nameless }).repositories![0]!.repository;
  assertEquals(reference(push()), "gitlab:71");
  assertEquals(reference(mergeRequest()), "gitlab:71");
  assertEquals(reference(issue()), "gitlab:71");
  const { repositories, deployments } = factsOf({ ...deployment(), project: nameless });
  assertEquals([repositories, deployments![0]!.repository], [undefined, "//gitlab.example.com/acme/one"]);
  const job = factsOf({
    ...build(),
    project: undefined,
    repository: { homepage: "https://gitlab.example.com/acme/one" },
  });
  assertEquals(pick(job.repositories![0], "repository", "url", "full_name"), [
    "gitlab:71",
    "https://gitlab.example.com/acme/one",
    undefined,
  ]);
  const at = (web_url: string | null) => translated({ ...deployment(), project: { ...nameless, web_url } });
  const written = at("https://dev-1@GitLab.Example.com/Acme/One.git//").facts.deployments!;
  assertEquals(written[0]!.repository, "//gitlab.example.com/acme/one");
  for (
    const nowhere of [null, "", "https://gitlab.example.com", "here", `https://gitlab.example.com/${"a".repeat(2048)}`]
  ) {
    assertEquals(at(nowhere).reason, "project: neither id nor web_url", String(nowhere));
  }
});

Deno.test("a body that lacks all but its keys is stored", () => {
  const least: [Json, FactKind][] = [
    [{ object_kind: "pipeline", object_attributes: { id: 1 } }, "pipeline_runs"],
    [{ object_kind: "pipeline", object_attributes: { id: 1 }, builds: [{ id: 2 }] }, "jobs"],
    [{ object_kind: "build", build_id: 1 }, "jobs"],
    [{ object_kind: "merge_request", object_attributes: { iid: 1 } }, "pull_requests"],
    [{ object_kind: "push", ref: "refs/heads/main", before: NO_SHA, after: SHA }, "pushes"],
    [{ object_kind: "deployment", deployment_id: 1 }, "deployments"],
    [{ object_kind: "release", id: 1 }, "releases"],
    [{ object_kind: "issue", object_attributes: { id: 1, type: "Incident" } }, "incidents"],
  ];
  for (const [body, kind] of least) {
    assertEquals(factsOf({ ...body, project: { id: 71 } })[kind]?.length, 1, kind);
    const nulls = JSON.parse(JSON.stringify(body));
    assertEquals(factsOf({ ...nulls, project: { id: 71 }, user: null, changes: null, commit: null })[kind]?.length, 1);
  }
});

Deno.test("bots are the users of tokens and services, and who is called so", () => {
  const isBot = (username: string) => runOf({}, { user: { ...user, username } }).actor_is_bot;
  const bots = [
    "project_71_bot_0a1b2c",
    "project_71_bot",
    "group_5_bot_ff",
    "service_account_group_9_ab",
    "renovate-bot",
  ];
  for (const name of [...bots, "renovate[bot]", "alert-bot", "Release Bot", "bot"]) assert(isBot(name), name);
  for (const name of ["dev-1", "talbot", "botanist", "project_manager", "robot"]) assert(!isBot(name), name);
});

Deno.test("e-mail addresses and variables stay out", () => {
  const body = pipeline({ variables: [{ key: "TOKEN", value: "not for us" }] }, {
    user: { ...user, email: "dev-1@example.org" },
  });
  const became = translated(body);
  const kept = new TextDecoder().decode(became.body!);
  assert(!kept.includes("not for us") && kept.includes('"iid":3'));
  assert(!JSON.stringify(became.facts).includes("example.org"));
  const untouched = translated(pipeline({ variables: [] }));
  assertEquals(untouched.body, new TextEncoder().encode(JSON.stringify(pipeline({ variables: [] }))));
});

Deno.test("the body says what it is; the header counts only where a body does not say", () => {
  const event = (header: string, body: Json) => gitlab.identify(new Headers({ "x-gitlab-event": header }), body).event;
  assertEquals(event("Push Hook", pipeline()), "pipeline");
  assertEquals(event("System Hook", mergeRequest({ action: "merge" })), "merge_request.merge");
  assertEquals(event("Job Hook", build()), "build");
  assertEquals(event("Job Hook", {}), "build");
  assertEquals(event("Tag Push Hook", undefined), "tag_push");
  assertEquals(event("Confidential Issue Hook", {}), "issue");
  assertEquals(event("Member Hook", { event_name: "user_add_to_group" }), "user_add_to_group");
  assertEquals(event("Tomorrow Hook", { object_kind: "tomorrow" }), "tomorrow");
  assertEquals(event("Tomorrow Hook", { object_kind: "../etc", action: "a b" }), "tomorrow");
  assertEquals(event("Release Hook", { object_kind: "release", action: "create" }), "release.create");
  for (const header of ["", "push", "Push Hook\u00e9", `${"x".repeat(70)} Hook`]) {
    assertEquals(event(header, push()), null);
  }
  assertEquals(gitlab.identify(new Headers(), push()).event, null);
});

Deno.test("a body that a template wrote is quarantined, whatever it calls itself", () => {
  for (const body of [{ text: "Pipeline 31 passed" }, { object_kind: "my_pipeline", id: 31 }, { object_kind: 7 }]) {
    const { result, reason } = translated(body, "Pipeline Hook");
    assertEquals([result, reason], ["quarantined", "object_attributes: invalid_type"]);
  }
  assertEquals(translated("not even JSON", "Pipeline Hook").result, "quarantined");
  assertEquals(translated({ text: "somebody said something" }, "Note Hook").result, "ignored");
});

Deno.test("the id of a delivery is the key that GitLab keeps when it sends again; without one there is none", () => {
  const idOf = (headers: Record<string, string>) => gitlab.identify(new Headers(headers), push()).deliveryId;
  assertEquals(idOf({ "webhook-id": "a-1", "idempotency-key": "b-2", "x-gitlab-event-uuid": "c-3" }), "a-1");
  assertEquals(idOf({ "idempotency-key": "b-2", "x-gitlab-webhook-uuid": "d-4" }), "b-2");
  assertEquals(idOf({ "x-gitlab-event-uuid": "c-3", "x-gitlab-webhook-uuid": "d-4" }), null);
  for (const odd of ["", "a b", "x".repeat(256)]) assertEquals(idOf({ "idempotency-key": odd }), null);
});

Deno.test("numbers and names at the edges are kept, told as null, or refused as ids", () => {
  assertEquals(runOf({ iid: 1e30 }).number, null);
  assertEquals(runOf({ name: "build (é, 漢字, 𝒳, 🚀)" }).pipeline, "build (é, 漢字, 𝒳, 🚀)");
  assertEquals(translated(mergeRequest({ iid: 1e30 })).reason, "object_attributes.iid: too_big");
  assertEquals(translated(pipeline({ id: "thirty-one" })).reason, "object_attributes.id: invalid_type");
});

Deno.test("what is stored and what is ignored share no event, and logs know both", () => {
  const stored = [
    ...["pipeline", "build", "merge_request", "push", "tag_push", "deployment", "release", "issue", "work_item"],
    ...["project_create", "project_rename", "project_transfer", "project_update"],
  ];
  for (const event of stored) assert(gitlab.events.has(event) && !Object.hasOwn(ignoredEvents, event));
  assertEquals(gitlab.events.size, stored.length + Object.keys(ignoredEvents).length);
  for (const [event, reason] of Object.entries(ignoredEvents)) {
    assertEquals(gitlab.facts(event, {}, options), { ignored: `${event}: ${reason}` });
  }
  for (const odd of ["", "toString", "__proto__", "constructor.created", "unheard_of"]) {
    assertEquals(gitlab.facts(odd, {}, options), { ignored: "an event that is not known" });
  }
});

Deno.test("no part of a body makes the translation fail", () => {
  const bodies = [pipeline({}, { builds }), build(), mergeRequest(), push(), deployment(), issue()];
  const odd = [null, true, -1, 1.5, 1e300, "", "x", [], {}, [null], "constructor"];
  for (const body of bodies) {
    for (const path of pathsOf(body)) {
      for (const value of odd) {
        const { reason, facts } = translated(withValue(body, path, value));
        assert(!reason?.startsWith("the translation failed"), `${path.join(".")} ${JSON.stringify(value)}: ${reason}`);
        assert(!("wrong" in checkFacts(facts)), `${path.join(".")} ${JSON.stringify(value)}`);
      }
    }
  }
});

function pathsOf(value: Json, path: string[] = []): string[][] {
  if (typeof value !== "object" || value === null) return [path];
  return [path, ...Object.keys(value).flatMap((name) => pathsOf(value[name], [...path, name]))].filter((p) =>
    p.length > 0
  );
}

function withValue(body: Json, path: string[], value: unknown): Json {
  const copy = structuredClone(body);
  let parent = copy;
  for (const name of path.slice(0, -1)) parent = parent[name];
  parent[path.at(-1)!] = value;
  return copy;
}

Deno.test("the page shows the words, the redacted fields and the ignored events of the source", async () => {
  assertEquals(await readSourcePage("gitlab"), {
    words: wordsOf(outcomeTable),
    ignored: { ...ignoredEvents },
    redacted: [...redactedFields],
  });
});
