/**
 * One history of a service, told by GitHub alone, by GitLab alone, and by GitHub, CDEvents and PagerDuty together, leaves the same facts, in
 * whatever order it arrives, and with the repository renamed half way.
 *
 * Left out are ids and links, the repository's own names and addresses, and words that each sender has for itself. What a sender cannot say
 * is listed by column, and must be NULL with it: so every other column is compared.
 */

import { assert, assertEquals } from "@std/assert";
import type postgres from "postgres";
import { testDatabase } from "../support/database.ts";
import { deep } from "../support/depth.ts";
import { callOf, ingest } from "../support/history_calls.ts";
import { CDEventsProducer } from "../support/history_cdevents.ts";
import { rolledBack } from "../support/history_copies.ts";
import { GitHubRepository, NO_COMMIT, type Posted, type PullRequestState, sha } from "../support/history_github.ts";
import { type BuildOptions, GitLabProject, type MergeRequestState } from "../support/history_gitlab.ts";
import { PagerDutyAccount } from "../support/history_pagerduty.ts";
import { newSeed, randomFrom, shuffledWithDuplicates } from "../support/history_random.ts";
import { apply, type Call, KINDS, lastArrived, type Row, type Tables } from "../support/model.ts";
import { differences, readTables } from "../support/model_tables.ts";
import { compareText } from "../support/model_values.ts";

const at = (time: string) => `2026-03-02T${time}Z`;

// What happened. The repository is called acme/shop first, and acme/store from `renamed` on.
const [root, work, merge] = [sha(0x10), sha(0x11), sha(0x12)];
const by = "dev-1";
const title = "Let users sign in with a passkey";
const committed = [{ sha: work, message: `${title}\n\nFor everybody.`, at: at("08:55:00"), by, modified: ["shop.ts"] }];
const squashed = [{ sha: merge, message: `${title} (#7)`, at: at("09:50:00"), by, modified: ["shop.ts"] }];
const [pushed, opened, approved, merged, renamed] = ["09:00", "09:10", "09:40", "09:50", "09:59"].map((minute) =>
  at(`${minute}:00`)
) as [string, string, string, string, string];
const run = { queuedAt: at("09:50:05"), startedAt: at("09:50:12"), finishedAt: at("09:58:00") };
const runner = ["linux", "large"];
const jobs = [
  { name: "build", queuedAt: at("09:50:10"), startedAt: at("09:50:12"), finishedAt: at("09:53:00"), fails: false },
  { name: "test", queuedAt: at("09:53:00"), startedAt: at("09:53:02"), finishedAt: at("09:57:58"), fails: true },
];
const deployment = { createdAt: at("10:00:00"), startedAt: at("10:00:10"), finishedAt: at("10:03:00") };
const outage = { title: "Nobody can sign in", openedAt: at("10:20:00"), resolvedAt: at("10:50:00") };

/** Commits and pull request, by GitHub. */
function changeByGitHub(repository: GitHubRepository): Posted[] {
  const state: PullRequestState = {
    number: 7,
    title,
    author: by,
    head: "passkey",
    headSha: work,
    createdAt: opened,
    updatedAt: opened,
    additions: 1,
    deletions: 1,
    changedFiles: 1,
  };
  const closed = { state: "closed" as const, closedAt: merged, mergedAt: merged, mergeSha: merge, updatedAt: merged };
  const review = { id: 31, reviewer: "dev-2", state: "approved", submittedAt: approved, sha: work };
  const [branch, main] = ["refs/heads/passkey", "refs/heads/main"];
  return [
    repository.push({ ref: branch, before: NO_COMMIT, after: work, at: pushed, by, commits: committed }),
    repository.pullRequest("opened", state),
    repository.review({ ...state, updatedAt: approved }, { ...review, action: "submitted" }),
    repository.push({ ref: main, before: root, after: merge, at: merged, by, commits: squashed }),
    repository.pullRequest("closed", { ...state, ...closed }),
  ];
}

function byGitHub(): Posted[] {
  const repository = new GitHubRepository(7300, "acme/shop");
  const theRun = {
    id: 41,
    number: 1,
    branch: "main",
    sha: merge,
    createdAt: run.queuedAt,
    startedAt: run.startedAt,
    by,
  };
  const pipeline = [
    repository.run({ ...theRun, action: "in_progress", status: "in_progress", updatedAt: run.startedAt }),
    ...jobs.flatMap(({ fails, ...times }, i) => {
      const job = {
        id: 51 + i,
        runId: 41,
        name: times.name,
        branch: "main",
        sha: merge,
        labels: runner,
        createdAt: times.queuedAt,
        by,
      };
      const { startedAt, finishedAt: completedAt } = times;
      const conclusion = fails ? "failure" : "success";
      return [
        repository.job({ ...job, action: "in_progress", status: "in_progress", startedAt }),
        repository.job({ ...job, action: "completed", status: "completed", conclusion, startedAt, completedAt }),
      ];
    }),
    repository.run({
      ...theRun,
      action: "completed",
      status: "completed",
      conclusion: "failure",
      updatedAt: run.finishedAt,
    }),
  ];
  const change = changeByGitHub(repository);
  const rename = repository.rename("store", renamed, by);
  const options = { id: 61, environment: "production", sha: merge, ref: "main", by, production: true };
  const told = { ...options, createdAt: deployment.createdAt };
  const issue = { id: 71, number: 8, title: outage.title, labels: ["incident"], createdAt: outage.openedAt, by };
  const { openedAt, resolvedAt: closedAt } = outage;
  return [
    ...change,
    ...pipeline,
    rename,
    repository.deployment(told),
    repository.deploymentStatus(told, { id: 62, state: "in_progress", at: deployment.startedAt, by }),
    repository.deploymentStatus(told, { id: 63, state: "success", at: deployment.finishedAt, by }),
    repository.issue({ ...issue, action: "opened", state: "open", updatedAt: openedAt }),
    repository.issue({ ...issue, action: "closed", state: "closed", updatedAt: closedAt, closedAt }),
  ];
}

function byGitLab(): Posted[] {
  const project = new GitLabProject(7300, "acme/shop");
  const [branch, main] = ["refs/heads/passkey", "refs/heads/main"];
  const times = { createdAt: opened, updatedAt: opened };
  const state: MergeRequestState = { id: 21, number: 7, title, author: by, source: "passkey", headSha: work, ...times };
  const seconds = (from: string, to: string) => (Date.parse(to) - Date.parse(from)) / 1000;
  const built = jobs.map(({ name, queuedAt, startedAt, finishedAt, fails }, i): BuildOptions => ({
    id: 51 + i,
    name,
    status: fails ? "failed" : "success",
    createdAt: queuedAt,
    startedAt,
    finishedAt,
    queued: seconds(queuedAt, startedAt),
    tags: runner,
  }));
  const pipeline = { id: 41, number: 1, name: "ci", ref: "main", sha: merge, createdAt: run.queuedAt, queued: 7, by };
  const running = built.map((build) => ({ ...build, status: "running", finishedAt: null }));
  const told = [
    project.push({ ref: branch, before: NO_COMMIT, after: work, by, commits: committed }),
    project.mergeRequest("open", state),
    project.mergeRequest("approved", { ...state, updatedAt: approved }, "dev-2"),
    project.push({ ref: main, before: root, after: merge, by, commits: squashed }),
    project.mergeRequest("merge", { ...state, state: "merged", mergeSha: merge, updatedAt: merged }),
    project.pipeline({ ...pipeline, status: "running" }),
    ...running.map((build) => project.job(build, { ...pipeline, status: "running" })),
    ...built.map((build) => project.job(build, { ...pipeline, status: "running" })),
    project.pipeline({ ...pipeline, status: "failed", finishedAt: run.finishedAt, duration: 464, builds: built }),
    project.rename("acme/store", renamed),
  ];
  const options = { id: 61, jobId: 53, environment: "production", tier: "production", sha: merge, ref: "main", by };
  const { createdAt, startedAt, finishedAt } = deployment;
  for (
    const [status, changedAt] of [["created", createdAt], ["running", startedAt], ["success", finishedAt]] as const
  ) {
    told.push(project.deployment({ ...options, status, changedAt }));
  }
  const issue = { id: 71, number: 8, title: outage.title, createdAt: outage.openedAt, by };
  const { openedAt, resolvedAt: closedAt } = outage;
  told.push(
    project.issue({ ...issue, action: "open", state: "opened", updatedAt: openedAt }),
    project.issue({ ...issue, action: "close", state: "closed", updatedAt: closedAt, closedAt }),
  );
  return told;
}

/** GitHub tells the commits, CDEvents the pipeline and the deployment, PagerDuty the incident. */
function byThree(): Posted[] {
  const repository = new GitHubRepository(7300, "acme/shop");
  const change = changeByGitHub(repository);
  const rename = repository.rename("store", renamed, by);
  const ci = new CDEventsProducer("https://github.com/acme/shop");
  const theRun = { id: "41", content: { pipelineName: "ci" } };
  const pipeline = [
    ci.event("pipelinerun.queued", { ...theRun, at: run.queuedAt }),
    ci.event("pipelinerun.started", { ...theRun, at: run.startedAt }),
    ...jobs.flatMap(({ name, queuedAt, startedAt, finishedAt, fails }, i) => {
      const task = (type: string, time: string, more = {}) => {
        const content = { taskName: name, pipelineRun: { id: "41" }, ...more };
        return ci.event(`taskrun.${type}`, { id: `${51 + i}`, at: time, content });
      };
      const outcome = fails ? "failure" : "success";
      return [task("queued", queuedAt), task("started", startedAt), task("finished", finishedAt, { outcome })];
    }),
    ci.event("pipelinerun.finished", {
      id: "41",
      at: run.finishedAt,
      content: { pipelineName: "ci", outcome: "failure" },
    }),
  ];
  // The deployer knows what it deploys, by the new name.
  const deployer = new CDEventsProducer("/deployer", { events: 100 });
  const content = { environment: { id: "production" }, artifactId: `pkg:github/acme/store@${merge}` };
  const deployed = [
    deployer.event("deployment.queued", { id: "61", at: deployment.createdAt, content }, "0.1.0"),
    deployer.event("deployment.started", { id: "61", at: deployment.startedAt, content }, "0.1.0"),
    deployer.event("deployment.finished", {
      id: "61",
      at: deployment.finishedAt,
      content: { ...content, outcome: "success" },
    }, "0.1.0"),
  ];
  const incident = new PagerDutyAccount().open({
    id: "PINC1",
    number: 8,
    title: outage.title,
    createdAt: outage.openedAt,
    service: "shop",
  });
  return [
    ...change,
    ci.alone(pipeline[0]!),
    ci.enveloped(pipeline[1]!),
    ci.batch(pipeline.slice(2, 5), 1),
    ...pipeline.slice(5).map((event) => ci.alone(event)),
    rename,
    ...deployed.map((event) => deployer.enveloped(event)),
    incident.tell("triggered", outage.openedAt),
    incident.tell("resolved", outage.resolvedAt),
  ];
}

/** Ids and links, and words that each sender has for itself. */
const LEFT_OUT = new Set([
  ...["external_id", "rerun_group", "run_external_id", "pipeline_runs.number", "source", "url"],
  ...["provider_outcome", "severity"],
]);

/** What each telling cannot say, as the pages of its senders have it, and why. */
const UNSAID: Record<string, Record<string, string>> = {
  github: {
    "incidents.service": "an issue is about a repository",
  },
  gitlab: {
    "jobs.steps": "a job is a script",
    "pull_requests.additions pull_requests.deletions pull_requests.changed_files":
      "a merge request comes without its size",
    "pushes.pushed_at pushes.forced": "a push comes without its time, and as any other move of the branch",
    "deployments.name": "a deployment is known by its environment",
    "incidents.service": "an incident is about a project",
  },
  three: {
    "pipeline_runs.trigger pipeline_runs.actor pipeline_runs.actor_is_bot":
      "CDEvents know no reason of a run, and nobody",
    "pipeline_runs.branch pipeline_runs.on_default_branch pipeline_runs.commit_sha":
      "CDEvents know nothing of what a run is for",
    "pipeline_runs.pull_request_numbers jobs.branch jobs.commit_sha jobs.pipeline": "nor of what a task is for",
    "jobs.attempt jobs.runner_labels jobs.steps": "CDEvents know nothing of how a task runs",
    "deployments.name deployments.ref deployments.actor deployments.actor_is_bot":
      "CDEvents know an artifact and nobody",
    "deployments.environment_tier": "CDEvents know an environment by its name",
    "incidents.repository": "PagerDuty knows a service",
  },
};

const unsaidBy = (teller: string) => new Set(Object.keys(UNSAID[teller]!).flatMap((columns) => columns.split(" ")));

/** The facts of a telling by kind, without what is left out; a reference is the repository that it means, by its name. */
function comparable(tables: Tables): Record<string, Row[]> {
  const names = new Map((tables["repositories"] ?? []).map((row) => [row["repository"], row["full_name"] ?? null]));
  const means = new Map((tables["repository_references"] ?? []).map((row) => [row["reference"], row["repository"]]));
  const runs = new Set((tables["pipeline_runs"] ?? []).map((row) => row["external_id"]));
  return Object.fromEntries(
    Object.keys(KINDS).map((kind) => {
      const rows = (tables[kind] ?? []).map((row) => {
        if (kind === "jobs") assert(runs.has(row["run_external_id"]!), "a job of a run that is not there");
        const kept = Object.entries(row).filter(([name]) => !LEFT_OUT.has(name) && !LEFT_OUT.has(`${kind}.${name}`));
        const reference = row["repository"] ?? null;
        const repository = reference === null ? null : names.get(means.get(reference) ?? null) ?? reference;
        return { ...Object.fromEntries(kept), repository };
      });
      return [kind, rows];
    }),
  );
}

/** What two tellings say otherwise, of what both can say; and what one says that it cannot know. */
function disagreements(told: Record<string, Tables>, one: string, other: string): string[] {
  const found: string[] = [];
  const facts = new Map([one, other].map((teller) => [teller, comparable(told[teller]!)]));
  const unsaid = new Set([...unsaidBy(one), ...unsaidBy(other)]);
  const texts = (teller: string, kind: string) =>
    facts.get(teller)![kind]!.map((row) => {
      for (const [name, value] of Object.entries(row)) {
        if (unsaidBy(teller).has(`${kind}.${name}`) && value !== null) found.push(`${teller} guesses ${kind}.${name}`);
      }
      const kept = Object.entries(row).filter(([name]) => !unsaid.has(`${kind}.${name}`));
      return JSON.stringify(kept.sort(([a], [b]) => compareText(a, b)));
    }).sort(compareText);
  for (const kind of Object.keys(KINDS)) {
    const [left, right] = [texts(one, kind), texts(other, kind)];
    if (JSON.stringify(left) !== JSON.stringify(right)) found.push(`${kind}: ${left} by ${one}, ${right} by ${other}`);
  }
  return found;
}

const tellings: Record<string, Posted[]> = { github: byGitHub(), gitlab: byGitLab(), three: byThree() };
const pairs = [["github", "gitlab"], ["github", "three"], ["gitlab", "three"]] as const;
const callsOf = (history: Posted[]) => Promise.all(history.map((posted) => callOf(posted)));

/** What these calls leave in a database that is left as it was. */
async function leaves(sql: postgres.Sql, calls: Call[]): Promise<Tables> {
  return await rolledBack(sql, async (transaction) => {
    await Promise.all(calls.map((call) => ingest(transaction, call)));
    return await readTables(transaction);
  });
}

Deno.test("one_history: three tellings of a service leave the same facts, in any order", async () => {
  const random = randomFrom(newSeed("one_history"));
  await using database = await testDatabase();
  const told: Record<string, Tables> = {};
  for (const [teller, history] of Object.entries(tellings)) {
    const calls = await callsOf(history);
    told[teller] = await leaves(database.sql, calls);
    assertEquals(differences(told[teller], apply(calls)), {}, teller);
    for (let i = 0; i < deep(20, 200); i++) {
      const shuffled = shuffledWithDuplicates(calls, random);
      const found = differences(await leaves(database.sql, shuffled), told[teller]);
      assertEquals(found, {}, `${teller}: ${JSON.stringify(shuffled.map((call) => calls.indexOf(call)))}`);
    }
  }
  for (const [one, other] of pairs) assertEquals(disagreements(told, one, other), []);
  for (const [teller, tables] of Object.entries(told)) {
    assertEquals(tables["repositories"]!.map((row) => row["full_name"]), ["acme/store"], teller);
    for (
      const kind of [
        "pipeline_runs",
        "jobs",
        "pull_requests",
        "reviews",
        "pushes",
        "commits",
        "deployments",
        "incidents",
      ]
    ) {
      assert(tables[kind]!.length > 0, `${teller} tells no ${kind}`);
    }
  }
});

Deno.test("one_history: what one telling says otherwise, or makes up, is noticed", async () => {
  const told: Record<string, Tables> = {};
  for (const [teller, history] of Object.entries(tellings)) told[teller] = apply(await callsOf(history));
  for (const [one, other] of pairs) assertEquals(disagreements(told, one, other), []);
  const changed = (kind: string, change: Row) => ({
    ...told,
    three: { ...told["three"]!, [kind]: told["three"]![kind]!.map((row) => ({ ...row, ...change })) },
  });
  const kindsFound = (tables: Record<string, Tables>) =>
    disagreements(tables, "github", "three").map((found) =>
      found.split(/[: ]/, 3).slice(0, found.startsWith("three") ? 3 : 1).join(" ")
    );
  assertEquals(kindsFound(changed("deployments", { outcome: "failure" })), ["deployments"]);
  assertEquals(kindsFound(changed("incidents", { resolved_at: null })), ["incidents"]);
  assertEquals(kindsFound(changed("jobs", { repository: "cdevents:/ci" })), ["jobs"]);
  assertEquals(kindsFound(changed("deployments", { environment_tier: "production" })), [
    "three guesses deployments.environment_tier",
  ]);
  // A fold that takes what came last lets an end be forgotten, and the old name stay.
  const calls = await callsOf(tellings["three"]!);
  const backwards = { ...told, three: apply(calls.toReversed(), lastArrived) };
  assert(disagreements(backwards, "github", "three").length > 0);
});
