import { assert, assertEquals } from "@std/assert";
import { checkFacts, type FactKind, type Facts, outcomes, statuses } from "../facts.ts";
import { githubExample, githubExamples, readSourcePage, testHandler, webhook, wordsOf } from "../testing.ts";
import { github, ignoredEvents, outcomeTable, redactedFields } from "./github.ts";

const options = { source: "github", incidentLabels: new Set(["incident", "outage"]) };

/** Facts of a body as they go to the database. */
function factsOf(event: string, body: unknown): Facts {
  const translation = github.facts(event, body, options);
  if (!("facts" in translation)) throw new Error(JSON.stringify(translation));
  const checked = checkFacts(translation.facts);
  if ("wrong" in checked) throw new Error(checked.wrong);
  return checked.facts;
}

/** The one fact of a kind. */
// deno-lint-ignore no-explicit-any
function factOf(kind: FactKind, event: string, body: unknown): any {
  const facts = factsOf(event, body)[kind] ?? [];
  assertEquals(facts.length, 1);
  return facts[0];
}

/** An example with some members of one of its objects replaced; undefined takes a member away. */
async function changed(event: string, index: number, member: string, change: Record<string, unknown>) {
  const body = await githubExample(event, index);
  Object.assign(body[member], change);
  for (const name in change) if (change[name] === undefined) delete body[member][name];
  return body;
}
const run = (change: Record<string, unknown>, index = 1) => changed("workflow_run", index, "workflow_run", change);
const job = (change: Record<string, unknown>, index = 1) => changed("workflow_job", index, "workflow_job", change);
const pull = (change: Record<string, unknown>, index = 0) => changed("pull_request", index, "pull_request", change);
const noProgress = { status: undefined, outcome: undefined, provider_outcome: undefined, finished_at: undefined };

// deno-lint-ignore no-explicit-any
function progress(fact: any) {
  const { status, outcome, provider_outcome, finished_at } = fact;
  return { status, outcome, provider_outcome, finished_at };
}

Deno.test("every collected body is stored or ignored, and of the events that are told only pings and plain issues are ignored", async () => {
  const { handler, store } = testHandler();
  const examples = await githubExamples();
  assertEquals(examples.length, 329);
  const told = [
    "workflow_run",
    "workflow_job",
    "pull_request",
    "pull_request_review",
    "push",
    "deployment",
    "deployment_status",
  ];
  const ignored = new Map<string, number>();
  for (const { event, index, body } of examples) {
    const response = await handler(await webhook(body, { event }));
    const { result, reason } = await response.json();
    assert(["stored", "ignored"].includes(result), `${event} ${index}: ${result} ${reason}`);
    assertEquals(store.last.delivery.notes, []);
    if (result === "stored") {
      assert(store.last.facts.repositories?.length === 1, `${event} ${index}: without its repository`);
    } else ignored.set(event, (ignored.get(event) ?? 0) + 1);
  }
  assertEquals([ignored.get("ping"), ignored.get("issues")], [4, 29]);
  for (const event of [...told, "release", "repository"]) assertEquals(ignored.get(event), undefined, event);
  for (const event of ignored.keys()) {
    assert(event === "issues" || Object.hasOwn(ignoredEvents, event), `${event} is not in the list`);
  }
});

Deno.test("a run of a workflow", async () => {
  const body = await run({
    name: "CI",
    pull_requests: [{ number: 7, base: { repo: { id: 300029405 } } }, { number: 8, base: { repo: { id: 1 } } }],
  });
  assertEquals(factsOf("workflow_run.completed", body), {
    repositories: [{
      repository: "github:300029405",
      observed_at: "2020-10-05T16:32:10Z",
      full_name: "octo-org/octo-repo",
      default_branch: "master",
      url: "https://github.com/octo-org/octo-repo",
    }],
    pipeline_runs: [{
      repository: "github:300029405",
      external_id: "289782451",
      attempt: 1,
      observed_at: "2020-10-05T16:33:49Z",
      rerun_group: "289782451",
      pipeline: "CI",
      number: 163,
      trigger: "repository_dispatch",
      branch: "master",
      on_default_branch: true,
      commit_sha: "3484a3fb816e0859fd6e1cea078d76385ff50625",
      pull_request_numbers: [7],
      actor: "Codertocat",
      actor_is_bot: false,
      status: "finished",
      outcome: "success",
      provider_outcome: "success",
      queued_at: "2020-10-05T16:33:24Z",
      started_at: "2020-10-05T16:33:49Z",
      finished_at: "2020-10-05T16:33:49Z",
      url: "https://github.com/octo-org/octo-repo/actions/runs/289782451",
    }],
  });
});

Deno.test("a run whose attempt GitHub began again is a row of its own, which was not queued when the first was", async () => {
  const again = await run({ run_attempt: 2, triggering_actor: { login: "renovate[bot]", type: "Bot" } });
  const fact = factOf("pipeline_runs", "workflow_run", again);
  assertEquals([fact.attempt, fact.rerun_group, fact.queued_at, fact.started_at], [
    2,
    "289782451",
    undefined,
    "2020-10-05T16:33:49Z",
  ]);
  assertEquals([fact.actor, fact.actor_is_bot], ["renovate[bot]", true]);
  assertEquals(factOf("pipeline_runs", "workflow_run", await run({ run_attempt: undefined })).attempt, 1);
});

Deno.test("a run that waits for a person is not finished", async () => {
  const fact = factOf("pipeline_runs", "workflow_run.requested", await githubExample("workflow_run", 4));
  assertEquals(progress(fact), {
    status: "queued",
    outcome: null,
    provider_outcome: "action_required",
    finished_at: null,
  });
  assertEquals(fact.started_at, undefined);
});

Deno.test("a run that is queued has not started, whatever its clock says", async () => {
  const fact = factOf("pipeline_runs", "workflow_run.requested", await githubExample("workflow_run", 3));
  assertEquals([fact.status, fact.queued_at, fact.started_at], ["queued", "2020-10-05T16:33:24Z", undefined]);
});

Deno.test("a run is on the default branch only in the repository itself and outside pull requests", async () => {
  const repository = { id: 300029405 };
  const cases: [Record<string, unknown>, boolean | undefined][] = [
    [{ event: "push", head_repository: repository }, true],
    [{ event: "push", head_repository: repository, head_branch: "topic" }, false],
    [{ event: "push", head_repository: { id: 2 } }, false],
    [{ event: "pull_request", head_repository: repository }, false],
    [{ event: "pull_request_target", head_repository: { id: 2 } }, false],
    [{ event: "push", head_repository: repository, head_branch: null }, undefined],
    [{ event: "push", head_repository: null }, undefined],
  ];
  for (const [change, expected] of cases) {
    const fact = factOf("pipeline_runs", "workflow_run", await run(change));
    assertEquals(fact.on_default_branch, expected, JSON.stringify(change));
  }
});

Deno.test("a fork's empty list of pull requests says nothing", async () => {
  const numbers = async (change: Record<string, unknown>) =>
    factOf("pipeline_runs", "workflow_run", await run(change)).pull_request_numbers;
  assertEquals(await numbers({ head_repository: { id: 300029405 }, pull_requests: [] }), []);
  assertEquals(await numbers({ head_repository: { id: 2 }, pull_requests: [] }), undefined);
  assertEquals(await numbers({ pull_requests: undefined }), undefined);
});

Deno.test("every word of the table means what it says, for runs, jobs and steps", async () => {
  const ended = "2020-10-05T16:33:49Z";
  for (const [word, [status, outcome]] of Object.entries(outcomeTable.conclusion!)) {
    const expected = { status, outcome, provider_outcome: word, finished_at: status === "finished" ? ended : null };
    const finished = { status: "completed", conclusion: word };
    assertEquals(progress(factOf("pipeline_runs", "workflow_run", await run(finished))), expected);
    const steps = [{ name: "s", number: 1, ...finished, started_at: null, completed_at: ended }];
    const fact = factOf("jobs", "workflow_job", await job({ ...finished, completed_at: ended, steps }));
    assertEquals(progress(fact), expected);
    assertEquals([fact.steps[0].status, fact.steps[0].outcome, fact.steps[0].finished_at], [status, outcome, ended]);
  }
  for (const [word, [status]] of Object.entries(outcomeTable.status!)) {
    const expected = { status, outcome: null, provider_outcome: null, finished_at: null };
    assertEquals(
      progress(factOf("pipeline_runs", "workflow_run", await run({ status: word, conclusion: null }))),
      expected,
    );
    assertEquals(progress(factOf("jobs", "workflow_job", await job({ status: word, conclusion: null }))), expected);
  }
});

Deno.test("a conclusion that is not known is unknown, a status that is not known says nothing", async () => {
  const unknown = factOf("jobs", "workflow_job", await job({ conclusion: "abandoned" }));
  assertEquals([unknown.status, unknown.outcome, unknown.provider_outcome], ["finished", "unknown", "abandoned"]);
  const prototype = factOf("jobs", "workflow_job", await job({ conclusion: "constructor" }));
  assertEquals([prototype.outcome, prototype.provider_outcome], ["unknown", "constructor"]);
  const missing = factOf("jobs", "workflow_job", await job({ conclusion: null }));
  assertEquals([missing.status, missing.outcome, missing.provider_outcome], ["finished", "unknown", null]);
  const paused = await job({ status: "paused", conclusion: null });
  assertEquals(progress(factOf("jobs", "workflow_job", paused)), noProgress);
  const translation = github.facts("workflow_job", paused, options);
  assertEquals("notes" in translation && translation.notes, ["jobs.status is not known"]);
  assertEquals(
    progress(factOf("jobs", "workflow_job", await job({ status: undefined, conclusion: undefined }))),
    noProgress,
  );
});

Deno.test("a job with its steps", async () => {
  const fact = factOf("jobs", "workflow_job.completed", await githubExample("workflow_job", 1));
  const { steps, ...rest } = fact;
  assertEquals(rest, {
    repository: "github:186853002",
    external_id: "289782451",
    observed_at: "2021-08-05T10:38:16Z",
    run_external_id: "2202229078",
    attempt: 1,
    pipeline: "CodeQL",
    name: "linters",
    branch: "main",
    commit_sha: "3484a3fb816e0859fd6e1cea078d76385ff50625",
    runner_labels: ["ubuntu-latest"],
    status: "finished",
    outcome: "failure",
    provider_outcome: "failure",
    queued_at: "2021-08-05T10:33:58Z",
    started_at: "2021-08-05T10:34:58Z",
    finished_at: "2021-08-05T10:38:16Z",
    url: "https://github.com/octo-org/octo-repo/runs/1291536064",
  });
  assertEquals(steps.length, 12);
  assertEquals(steps[7], {
    name: "Run yarn run format-check",
    number: 8,
    status: "finished",
    outcome: "failure",
    started_at: "2021-08-05T10:26:27Z",
    finished_at: "2021-08-05T10:26:28Z",
  });
  const running = factOf("jobs", "workflow_job.in_progress", await githubExample("workflow_job", 4));
  assertEquals([running.status, running.observed_at, running.started_at], [
    "running",
    "2023-06-26T03:31:36Z",
    "2023-06-26T03:31:36Z",
  ]);
  assertEquals(running.steps[3], {
    name: "Run npm ci",
    number: 4,
    status: "queued",
    outcome: null,
    started_at: null,
    finished_at: null,
  });
});

Deno.test("a queued or waiting job has not started, whatever it calls its start", async () => {
  for (const index of [5, 6, 7]) {
    const fact = factOf("jobs", "workflow_job", await githubExample("workflow_job", index));
    assertEquals([fact.status, fact.started_at, fact.observed_at], ["queued", undefined, fact.queued_at]);
  }
});

Deno.test("a job that was skipped, or cancelled before its first step, never started", async () => {
  const started = async (change: Record<string, unknown>) =>
    factOf("jobs", "workflow_job", await job(change)).started_at;
  assertEquals(await started({ conclusion: "skipped", started_at: "2031-01-01T00:00:00Z", steps: [] }), undefined);
  assertEquals(await started({ conclusion: "cancelled", steps: [] }), undefined);
  assertEquals(await started({ conclusion: "cancelled" }), "2021-08-05T10:34:58Z");
});

Deno.test("a job of an older server lacks what it lacks", async () => {
  const fact = factOf("jobs", "workflow_job.in_progress", await githubExample("workflow_job", 0));
  assertEquals([fact.attempt, fact.branch, fact.queued_at, fact.pipeline], [
    undefined,
    undefined,
    undefined,
    undefined,
  ]);
  assertEquals([fact.started_at, fact.observed_at], ["2021-06-15T19:22:27Z", "2021-06-15T19:22:27Z"]);
  assertEquals(fact.runner_labels, ["gpu", "db-app", "dc-03"]);
  const queued = await job({
    status: "queued",
    conclusion: null,
    created_at: undefined,
    completed_at: null,
    head_branch: null,
  });
  const { observed_at, branch } = factOf("jobs", "workflow_job", queued);
  assertEquals([observed_at, branch], ["2021-08-05T10:34:58Z", null]);
});

Deno.test("a pull request", async () => {
  const body = await pull({ labels: [{ name: "bug" }, { name: "hotfix" }] });
  const { observed_at, ...fact } = factOf("pull_requests", "pull_request.opened", body);
  assertEquals([observed_at, fact.ready_times], ["2019-05-15T15:20:33Z", undefined]);
  assertEquals(fact, {
    repository: "github:186853002",
    number: 2,
    title: "Update the README with new information.",
    author: "Codertocat",
    author_is_bot: false,
    head_branch: "changes",
    base_branch: "master",
    is_fork: false,
    head_sha: "ec26c3e57ca3a959ca5aad62de7213c562f8c821",
    state: "open",
    merge_sha: null,
    merged_at: null,
    closed_at: null,
    is_draft: false,
    labels: ["bug", "hotfix"],
    additions: 1,
    deletions: 1,
    changed_files: 1,
    opened_at: "2019-05-15T15:20:33Z",
    url: "https://github.com/Codertocat/Hello-World/pull/2",
  });
});

Deno.test("a pull request has a merge commit only when it is merged", async () => {
  const at = "2019-05-15T15:21:18Z";
  const sha = "c4295bd74fb0f4fda03689c3df3f2803b658fd85";
  const state = async (change: Record<string, unknown>) => {
    const { state, merge_sha, merged_at, closed_at } = factOf("pull_requests", "pull_request", await pull(change));
    return [state, merge_sha, merged_at, closed_at];
  };
  assertEquals(await state({ merge_commit_sha: sha }), ["open", null, null, null]);
  assertEquals(await state({ merge_commit_sha: sha, state: "closed", closed_at: at }), ["closed", null, null, at]);
  const merged = { merge_commit_sha: sha, state: "closed", merged: true, merged_at: at, closed_at: at };
  assertEquals(await state(merged), ["merged", sha, at, at]);
  assertEquals(await state({ ...merged, merged: undefined }), ["merged", sha, at, at]);
  assertEquals(await state({ state: "locked away" }), [undefined, undefined, undefined, undefined]);
});

Deno.test("a pull request is ready at the moment that it is called so", async () => {
  const ready = factOf("pull_requests", "pull_request.ready_for_review", await githubExample("pull_request", 15));
  assertEquals([ready.ready_times, ready.is_draft], [["2019-05-15T15:21:18Z"], false]);
  const draft = factOf("pull_requests", "pull_request.converted_to_draft", await githubExample("pull_request", 5));
  assertEquals([draft.ready_times, draft.is_draft], [undefined, true]);
});

Deno.test("a pull request of a fork, of a fork that is gone, of a bot and of nobody", async () => {
  const { head } = await githubExample("pull_request").then((body) => body.pull_request);
  const fact = async (change: Record<string, unknown>) => factOf("pull_requests", "pull_request", await pull(change));
  assertEquals((await fact({ head: { ...head, repo: { id: 5 } } })).is_fork, true);
  assertEquals((await fact({ head: { ...head, repo: null } })).is_fork, true);
  assertEquals((await fact({ head: { ref: "a", sha: head.sha } })).is_fork, undefined);
  const bots = [{ login: "dependabot[bot]", type: "User" }, { login: "helper", type: "Bot" }];
  for (const user of bots) assertEquals((await fact({ user })).author_is_bot, true);
  const { author, author_is_bot } = await fact({ user: null });
  assertEquals([author, author_is_bot], [null, null]);
});

Deno.test("a review, and what it honestly says of its pull request", async () => {
  const dismissed = factsOf("pull_request_review.dismissed", await githubExample("pull_request_review", 1));
  assertEquals(dismissed.reviews, [{
    repository: "github:186853002",
    external_id: "237895671",
    observed_at: "2019-05-15T15:20:38Z",
    pull_request_number: 2,
    reviewer: "Codertocat",
    reviewer_is_bot: false,
    state: "dismissed",
    submitted_at: "2019-05-15T15:20:38Z",
    url: "https://github.com/Codertocat/Hello-World/pull/2#pullrequestreview-237895671",
  }]);
  const [pullRequest] = dismissed.pull_requests!;
  assertEquals([pullRequest!.state, pullRequest!.is_draft, pullRequest!.observed_at], [
    "open",
    false,
    "2019-05-15T15:20:38Z",
  ]);
  assert(!("additions" in pullRequest!) && !("deletions" in pullRequest!) && !("changed_files" in pullRequest!));
  const submitted = factsOf("pull_request_review.submitted", await githubExample("pull_request_review", 0));
  assertEquals(submitted.reviews![0]!.state, "commented");
  assert(!("is_draft" in submitted.pull_requests![0]!));
  const later = await changed("pull_request_review", 0, "review", {
    state: "APPROVED",
    updated_at: "2031-01-01T00:00:00Z",
  });
  const { state, observed_at } = factOf("reviews", "pull_request_review.edited", later);
  assertEquals([state, observed_at], ["approved", "2019-05-15T15:20:38Z"]);
});

Deno.test("a push with its commits", async () => {
  const body = await githubExample("push", 4);
  const [first] = body.commits;
  const { id } = first;
  const [a, b] = ["ab".repeat(20), "CD".repeat(20)];
  body.commits = [{ ...first, id: "ef".repeat(20) }, first];
  first.message =
    `Revert "a", "b"\r\n\nThis reverts commit ${a}.\nThis reverts commit ${b}, and this reverts commit 123.\n`;
  Object.assign(first, {
    timestamp: "2019-05-15T08:19:25-07:00",
    added: ["b", "a"],
    modified: ["c", "a"],
    removed: ["d"],
  });
  first.author = { name: "Ann", email: "ann@example.com", username: "renovate[bot]" };
  const facts = factsOf("push", body);
  assertEquals(facts.pushes, [{
    repository: "github:186853002",
    ref: "refs/heads/master",
    before: "0".repeat(40),
    after: id,
    pushed_at: "2019-05-15T15:20:57Z",
    observed_at: "2019-05-15T15:20:57Z",
    forced: false,
    created: true,
    deleted: false,
    on_default_branch: true,
    commits: ["ef".repeat(20), id],
    truncated: false,
    pusher: "Codertocat",
    pusher_is_bot: false,
  }]);
  assertEquals(facts.commits![1], {
    repository: "github:186853002",
    sha: id,
    observed_at: "2019-05-15T15:20:57Z",
    authored_at: "2019-05-15T15:19:25Z",
    author: "renovate[bot]",
    author_is_bot: true,
    title: 'Revert "a", "b"',
    reverts: [a, b.toLowerCase()],
    changed_paths: ["a", "b", "c", "d"],
  });
  for (const list of ["added", "modified", "removed"]) delete first[list];
  first.author = { name: "Ann" };
  const [, plain] = factsOf("push", body).commits!;
  assertEquals([plain!.author, plain!.author_is_bot, plain!.changed_paths], ["Ann", false, undefined]);
});

Deno.test("a push says where it went: tags, other branches, deleted branches, forced", async () => {
  const push = async (change: Record<string, unknown>, index = 4) =>
    factOf("pushes", "push", { ...(await githubExample("push", index)), ...change });
  const tag = await push({}, 0);
  assertEquals([tag.ref, tag.on_default_branch, tag.created, tag.commits], ["refs/tags/simple-tag", false, true, []]);
  const deleted = await push({}, 1);
  assertEquals([deleted.after, deleted.deleted, deleted.commits, deleted.truncated], ["0".repeat(40), true, [], false]);
  const forced = await push({ forced: true, ref: "refs/heads/topic" });
  assertEquals([forced.forced, forced.on_default_branch], [true, false]);
  const bot = await push({ pusher: { name: "builder" }, sender: { login: "builder", type: "Bot" } });
  assertEquals([bot.pusher, bot.pusher_is_bot], ["builder", true]);
  const nobody = await push({ pusher: undefined });
  assert(!("pusher" in nobody));
});

Deno.test("a push whose list of commits is cut says so", async () => {
  const body = await githubExample("push", 4);
  const truncated = (change: Record<string, unknown>) => factOf("pushes", "push", { ...body, ...change }).truncated;
  const many = Array.from({ length: 2048 }, (_, n) => ({ ...body.commits[0], id: n.toString(16).padStart(40, "a") }));
  assertEquals(truncated({ commits: many, head_commit: many.at(-1) }), true);
  assertEquals(truncated({ commits: many.slice(1), head_commit: many.at(-1) }), false);
  assertEquals(truncated({ size: 2 }), true);
  assertEquals(truncated({ size: 1 }), false);
  assertEquals(truncated({ head_commit: { id: "ab".repeat(20) } }), true);
  assertEquals(truncated({ commits: [], head_commit: { id: "ab".repeat(20) } }), false);
});

Deno.test("the time of a push is a number of seconds, or none", async () => {
  const pushedAt = async (change: Record<string, unknown>) =>
    factOf("pushes", "push", await changed("push", 4, "repository", change)).pushed_at;
  assertEquals(await pushedAt({ pushed_at: 1557933657 }), "2019-05-15T15:20:57Z");
  assertEquals(await pushedAt({ pushed_at: "2019-05-15T15:20:57Z" }), "2019-05-15T15:20:57Z");
  for (const nothing of [undefined, null, 0, "0001-01-01T00:00:00Z"]) {
    assertEquals(await pushedAt({ pushed_at: nothing }), null);
  }
});

Deno.test("a deployment, and how it went on", async () => {
  const created = factOf("deployments", "deployment.created", await githubExample("deployment", 1));
  const common = {
    repository: "github:186853002",
    external_id: "145988746",
    observed_at: "2022-01-03T01:28:40Z",
    name: "deploy",
    environment: "github-pages",
    commit_sha: "f95f852bd8fca8fcc58a9a2d6c842781e32a215e",
    created_at: "2022-01-03T01:28:30Z",
    actor: "github-pages[bot]",
    actor_is_bot: true,
  };
  assertEquals(created, {
    ...common,
    ref: "gh-pages",
    url: "https://github.com/Codertocat/Hello-World/actions/runs/289782451",
  });
  const running = factOf("deployments", "deployment_status.created", await githubExample("deployment_status", 1));
  assertEquals(running, {
    ...common,
    ref: "master",
    sequence: 209916254,
    status: "running",
    outcome: null,
    provider_outcome: "in_progress",
    started_at: "2022-01-03T01:28:40Z",
    finished_at: null,
    url: "https://github.com/CorsixTH/CorsixTH/runs/4687056418?check_suite_focus=true",
  });
});

Deno.test("every state of a deployment means what the table says, and inactive says nothing", async () => {
  const at = "2019-05-15T15:20:55Z";
  const fact = async (state: string) =>
    factOf("deployments", "deployment_status", await changed("deployment_status", 0, "deployment_status", { state }));
  for (const [word, [status, outcome]] of Object.entries(outcomeTable["deployment state"]!)) {
    const expected = { status, outcome, provider_outcome: word, finished_at: status === "finished" ? at : null };
    assertEquals(progress(await fact(word)), status ? expected : noProgress);
  }
  const unknown = { status: "finished", outcome: "unknown", provider_outcome: "vanished", finished_at: at };
  assertEquals(progress(await fact("vanished")), unknown);
  assertEquals([(await fact("inactive")).sequence, (await fact("success")).started_at], [209916254, undefined]);
});

Deno.test("an environment is production only when it is called so", async () => {
  for (
    const [production_environment, tier] of [[true, "production"], [false, undefined], [undefined, undefined], [
      null,
      undefined,
    ]]
  ) {
    const body = await changed("deployment", 0, "deployment", { production_environment });
    assertEquals(factOf("deployments", "deployment", body).environment_tier, tier);
  }
  const moved = await changed("deployment_status", 0, "deployment_status", { environment: "canary" });
  assertEquals(factOf("deployments", "deployment_status", moved).environment, "canary");
  const silent = await changed("deployment_status", 0, "deployment_status", { environment: undefined });
  assertEquals(factOf("deployments", "deployment_status", silent).environment, "production");
});

Deno.test("a release", async () => {
  const fact = factOf("releases", "release.published", await githubExample("release", 0));
  assertEquals(fact, {
    repository: "github:186853002",
    external_id: "17372790",
    observed_at: "2019-05-15T15:20:53Z",
    tag: "0.0.1",
    name: null,
    is_draft: false,
    is_prerelease: false,
    is_withdrawn: false,
    created_at: "2019-05-15T15:19:25Z",
    published_at: "2019-05-15T15:20:53Z",
    url: "https://github.com/Codertocat/Hello-World/releases/tag/0.0.1",
  });
  const release = (change: Record<string, unknown>, index = 0) =>
    changed("release", index, "release", change).then((body) => factOf("releases", "release", body));
  assertEquals((await release({ target_commitish: "AB".repeat(20) })).commit_sha, "ab".repeat(20));
  const edited = await release({ name: "One", draft: true, published_at: null, updated_at: "2031-01-01T00:00:00Z" }, 9);
  assertEquals([edited.name, edited.is_draft, edited.is_prerelease, edited.published_at], ["One", true, true, null]);
  assertEquals(edited.observed_at, "2031-01-01T00:00:00Z");
  for (
    const [action, withdrawn] of [["deleted", true], ["unpublished", true], ["published", false], ["edited", false]]
  ) {
    const body = { ...(await githubExample("release", 0)), action };
    assertEquals(factOf("releases", `release.${action}`, body).is_withdrawn, withdrawn);
  }
});

Deno.test("an issue with an incident's label or type is an incident", async () => {
  const issue = (change: Record<string, unknown>) => changed("issues", 0, "issue", change);
  const closed = await issue({
    labels: [{ name: "bug" }, { name: "Incident" }],
    state: "closed",
    closed_at: "2019-05-15T16:00:00Z",
  });
  assertEquals(factOf("incidents", "issues.closed", closed), {
    source: "github",
    external_id: "444500041",
    observed_at: "2019-05-15T15:20:18Z",
    repository: "github:186853002",
    title: "Spelling error in the README file",
    status: "resolved",
    opened_at: "2019-05-15T15:20:18Z",
    resolved_at: "2019-05-15T16:00:00Z",
    is_withdrawn: false,
    url: "https://github.com/Codertocat/Hello-World/issues/1",
  });
  const open = factOf("incidents", "issues.opened", await issue({ labels: [], type: { name: "OUTAGE" } }));
  assertEquals([open.status, open.resolved_at], ["open", null]);
  const silent = factOf("incidents", "issues.pinned", await issue({ labels: [{ name: "outage" }], state: undefined }));
  assert(!("status" in silent) && !("resolved_at" in silent));
});

Deno.test("an issue that is an incident no more is withdrawn, one that never was is ignored", async () => {
  const label = { name: "incident" };
  const withdrawn = async (action: string, issue: Record<string, unknown>, more: Record<string, unknown> = {}) => {
    const body = { ...(await changed("issues", 0, "issue", { labels: [], ...issue })), ...more, action };
    const translation = github.facts(`issues.${action}`, body, options);
    return "facts" in translation
      ? translation.facts.incidents![0]!.is_withdrawn
      : "ignored" in translation
      ? "ignored"
      : "quarantined";
  };
  assertEquals(await withdrawn("labeled", { labels: [label] }, { label }), false);
  assertEquals(await withdrawn("unlabeled", {}, { label }), true);
  assertEquals(await withdrawn("unlabeled", { labels: [{ name: "outage" }] }, { label }), false);
  assertEquals(await withdrawn("unlabeled", {}, { label: { name: "bug" } }), "ignored");
  assertEquals(await withdrawn("untyped", { type: null }, { type: { name: "Incident" } }), true);
  assertEquals(await withdrawn("deleted", { labels: [label] }), true);
  assertEquals(await withdrawn("transferred", { labels: [label] }), true);
  assertEquals(await withdrawn("deleted", {}), "ignored");
  assertEquals(await withdrawn("opened", { labels: undefined }), "ignored");
});

Deno.test("a repository keeps its reference when it is renamed or transferred", async () => {
  for (const [index, name] of [[9, "Octocoders/Hello-World"], [10, "Octocoders/Hello-World"]] as const) {
    const body = await githubExample("repository", index);
    assertEquals(factsOf("repository", body), {
      repositories: [{
        repository: "github:186853261",
        observed_at: "2019-05-15T15:20:41Z",
        full_name: name,
        default_branch: "master",
        url: "https://github.com/Octocoders/Hello-World",
      }],
    });
  }
});

Deno.test("names in every plane of Unicode, and times at the edges, are kept or told", async () => {
  const name = "build (é, 漢字, 𝒳, 🚀, \u{10ffff})";
  const fact = factOf(
    "jobs",
    "workflow_job",
    await job({ name, completed_at: "9999-12-31T23:59:59Z", created_at: "0001-01-01T00:00:00Z" }),
  );
  assertEquals([fact.name, fact.finished_at, fact.queued_at], [name, "9999-12-31T23:59:59Z", null]);
});

Deno.test("numbers that no column holds are told as null, and as ids refused", async () => {
  const body = JSON.parse(JSON.stringify(await pull({ additions: "huge" })).replace('"huge"', "1e400"));
  assertEquals(factOf("pull_requests", "pull_request", body).additions, null);
  assertEquals(factOf("pipeline_runs", "workflow_run", await run({ run_number: 1e30 })).number, null);
  assertEquals(github.facts("pull_request", await pull({ number: 1e30 }), options), {
    quarantined: "pull_request.number: too_big",
  });
});

Deno.test("what is stored and what is ignored share no event, and logs know both", () => {
  const stored = [
    "workflow_run",
    "workflow_job",
    "pull_request",
    "pull_request_review",
    "push",
    "deployment",
    "deployment_status",
    "issues",
    "release",
    "repository",
  ];
  for (const event of stored) assert(github.events.has(event) && !Object.hasOwn(ignoredEvents, event));
  assertEquals(github.events.size, stored.length + Object.keys(ignoredEvents).length);
  for (const odd of ["", "toString", "__proto__", "constructor.created", "unheard_of"]) {
    assertEquals(github.facts(odd, {}, options), { ignored: "an event that is not known" });
  }
});

Deno.test("the page shows the words, the redacted fields and the ignored events of the source", async () => {
  const page = await readSourcePage("github");
  assertEquals(page, { words: wordsOf(outcomeTable), ignored: { ...ignoredEvents }, redacted: [...redactedFields] });
  for (const [, , status, outcome] of page.words) {
    assert(!status || (statuses as readonly string[]).includes(status));
    assert(!outcome || (outcomes as readonly string[]).includes(outcome));
  }
});
