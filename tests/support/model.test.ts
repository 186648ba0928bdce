import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { deep } from "./depth.ts";
import { callTelling } from "./history_copies.ts";
import { observationsOf, pullRequestStory, type Said } from "./history_observations.ts";
import { newSeed, ordersOf } from "./history_random.ts";
import { apply, type Call, KINDS, lastArrived, Model, normalisedUrl, type Observation, Refused } from "./model.ts";
import { differences } from "./model_tables.ts";
import { canonical, compare, jsonText, secondsBetween } from "./model_values.ts";

const at = (time: string) => `2026-03-02T${time}Z`;
const exact = (time: string) => `2026-03-02T${time}.000000Z`;

/** What the model makes of observations that arrive one by one. */
function told(...said: [string, Observation][]) {
  return apply(said.map(([kind, observation], i) => callTelling(String(i), [{ kind, observation }])));
}

Deno.test("model: every order of partial observations leaves the same tables", () => {
  const seed = newSeed("model");
  const arbitrary = fc.oneof(pullRequestStory(), ...Object.keys(KINDS).map(observationsOf));
  for (const history of fc.sample(arbitrary.filter((said) => said.length < 6), { seed, numRuns: deep(60, 2000) })) {
    const first = factsOf(history);
    for (const order of ordersOf(history)) assertEquals(differences(factsOf(order), first), {}, JSON.stringify(order));
    assertEquals(differences(factsOf([...history, ...history]), first), {});
  }
});

function factsOf(history: Said[], choose?: typeof lastArrived) {
  const { deliveries: _, bodies: __, ...facts } = apply(
    history.map((said, i) => callTelling(String(i), [said])),
    choose,
  );
  return facts;
}

Deno.test("model: a rule that takes what arrived last is not free of order", () => {
  const history: Said[] = ["a", "b"].map((name, i) => ({
    kind: "jobs",
    observation: { repository: "github:1", external_id: "1", observed_at: at(`09:00:0${i}`), name },
  }));
  assertEquals(
    differences(factsOf(history, lastArrived), factsOf(history.toReversed(), lastArrived)) === undefined,
    false,
  );
  assertEquals(factsOf(history.toReversed(), lastArrived)["jobs"]?.[0]?.["name"], "a");
  assertEquals(factsOf(history.toReversed())["jobs"]?.[0]?.["name"], "b");
});

Deno.test("model: the rank of a run's state goes before its time, and a group comes together", () => {
  const run = { repository: "github:1", external_id: "1" };
  const finished = {
    ...run,
    observed_at: at("09:00:00"),
    status: "finished",
    outcome: "failure",
    finished_at: at("09:00:00"),
  };
  const running = { ...run, observed_at: at("10:00:00"), status: "running", branch: "main" };
  const [row] = told(["pipeline_runs", finished], ["pipeline_runs", running])["pipeline_runs"] ?? [];
  assertEquals([row?.["status"], row?.["outcome"], row?.["finished_at"]], ["finished", "failure", exact("09:00:00")]);
  // What only the lower rank said is kept.
  assertEquals(row?.["branch"], "main");
});

Deno.test("model: the time of a pull request's observation goes before the rank of its state", () => {
  const pullRequest = { repository: "github:1", number: 1 };
  const merged = { ...pullRequest, observed_at: at("09:00:00"), state: "merged", merged_at: at("09:00:00") };
  const reopened = { ...pullRequest, observed_at: at("10:00:00"), state: "open" };
  const [row] = told(["pull_requests", merged], ["pull_requests", reopened])["pull_requests"] ?? [];
  assertEquals([row?.["state"], row?.["merged_at"]], ["open", null]);
  const sameSecond = { ...reopened, observed_at: at("09:00:00") };
  assertEquals(
    told(["pull_requests", merged], ["pull_requests", sameSecond])["pull_requests"]?.[0]?.["state"],
    "merged",
  );
});

Deno.test("model: NULL said later empties, and what is not said is left alone", () => {
  const job = { repository: "github:1", external_id: "1" };
  const jobs = told(
    ["jobs", { ...job, observed_at: at("09:00:00"), name: "a", branch: "b" }],
    ["jobs", { ...job, observed_at: at("09:00:01"), name: null }],
  )["jobs"];
  assertEquals([jobs?.[0]?.["name"], jobs?.[0]?.["branch"]], [null, "b"]);
});

Deno.test("model: seconds are NULL where an end is missing or the clock runs backwards", () => {
  assertEquals(secondsBetween(exact("09:00:00"), "2026-03-02T09:00:01.500000Z"), 1.5);
  assertEquals(secondsBetween(exact("09:00:01"), exact("09:00:00")), null);
  assertEquals(secondsBetween(null, exact("09:00:00")), null);
});

Deno.test("model: a URL belongs to the repository that said last that it is its own", () => {
  const url = "https://git.example/a/b.git";
  const tables = told(
    ["repositories", { repository: "github:2", observed_at: at("10:00:00"), url }],
    ["repositories", { repository: "github:1", observed_at: at("09:00:00"), url }],
    ["jobs", { repository: "//git.example/a/b", external_id: "1" }],
    ["jobs", { repository: "//git.example/c/d", external_id: "1" }],
  );
  const means = new Map(tables["repository_references"]?.map((row) => [row["reference"], row["repository"]]));
  assertEquals(
    means,
    new Map([
      ["//git.example/a/b", "github:2"],
      ["//git.example/c/d", "//git.example/c/d"],
      ["github:1", "github:1"],
      ["github:2", "github:2"],
    ]),
  );
});

Deno.test("model: URLs of a repository are one, however they are written", () => {
  const written = [
    "https://GitHub.com/acme/Shop",
    "https://user:secret@github.com/acme/shop.git",
    "ssh://git@github.com/acme/shop.git/",
    "git@github.com:acme/shop.git",
    "//github.com/acme/shop/",
    " https://github.com/acme/shop?tab=readme ",
  ];
  for (const url of written) assertEquals(normalisedUrl(url), "github.com/acme/shop", url);
  assertEquals(normalisedUrl("https://git.example:8443/a"), "git.example:8443/a");
  assertEquals(normalisedUrl(""), "");
});

Deno.test("model: first review, approval and readiness of a pull request", () => {
  const repository = "github:1";
  const review = (id: string, reviewer: string, state: string, time: string, isBot = false): [string, Observation] => [
    "reviews",
    {
      repository,
      external_id: id,
      pull_request_number: 1,
      reviewer,
      reviewer_is_bot: isBot,
      state,
      submitted_at: at(time),
    },
  ];
  const tables = told(
    ["pull_requests", {
      repository,
      number: 1,
      author: "dev-1",
      opened_at: at("08:00:00"),
      ready_times: [at("09:00:00"), at("11:00:00")],
    }],
    review("1", "dev-1", "commented", "08:10:00"),
    review("2", "bot", "approved", "08:20:00", true),
    review("3", "dev-2", "pending", "08:30:00"),
    review("4", "dev-2", "changes_requested", "10:00:00"),
    review("5", "dev-3", "approved", "12:00:00"),
    review("6", "dev-3", "dismissed", "11:30:00"),
  );
  const [row] = tables["pull_requests"] ?? [];
  assertEquals(
    [row?.["first_review_at"], row?.["approved_at"], row?.["ready_at"]],
    [exact("10:00:00"), exact("12:00:00"), exact("09:00:00")],
  );
});

Deno.test("model: a draft that nobody marked ready or reviewed was never ready", () => {
  const draft = { repository: "github:1", number: 1, opened_at: at("08:00:00"), is_draft: true };
  const readyAt = (...said: [string, Observation][]) => told(...said)["pull_requests"]?.[0]?.["ready_at"];
  assertEquals(readyAt(["pull_requests", draft]), null);
  assertEquals(readyAt(["pull_requests", { ...draft, is_draft: false }]), exact("08:00:00"));
  const review = {
    repository: "github:1",
    external_id: "1",
    pull_request_number: 1,
    reviewer: "dev-2",
    submitted_at: at("09:00:00"),
  };
  assertEquals(readyAt(["pull_requests", draft], ["reviews", review]), exact("08:00:00"));
});

Deno.test("model: first_commit_at leaves out what others brought and what an earlier pull request of that name had", () => {
  const repository = "github:1";
  const push = (ref: string, time: string | null, commits: string[], isDefault = false): [string, Observation] => [
    "pushes",
    {
      repository,
      ref: `refs/heads/${ref}`,
      before: "0",
      after: commits.at(-1) ?? "0",
      pushed_at: time && at(time),
      commits,
      on_default_branch: isDefault,
    },
  ];
  const commit = (
    sha: string,
    time: string,
  ): [string, Observation] => ["commits", { repository, sha, authored_at: at(time) }];
  const commits = [commit("a", "07:00:00"), commit("b", "08:00:00"), commit("c", "09:00:00"), commit("d", "10:00:00")];
  const first = (number: number, more: Observation, ...said: [string, Observation][]) => {
    const pullRequest: Observation = { repository, number, head_branch: "topic", ...more };
    const rows = told(["pull_requests", pullRequest], ...commits, ...said)["pull_requests"];
    return rows?.find((row) => row["number"] === number)?.["first_commit_at"];
  };
  assertEquals(first(2, {}, push("topic", "10:30:00", ["c", "d"])), exact("09:00:00"));
  assertEquals(first(2, { is_fork: true }, push("topic", "10:30:00", ["c"])), null);
  assertEquals(first(2, { head_branch: null }, push("topic", "10:30:00", ["c"])), null);
  assertEquals(first(2, { head_sha: "b" }), exact("08:00:00"));
  // a came to main before the merge, b with it.
  const merge = push("main", "12:00:00", ["b", "m"], true);
  const merged = { state: "merged", merge_sha: "m", merged_at: at("11:00:00") };
  assertEquals(
    first(2, merged, push("topic", "10:30:00", ["a", "b"]), push("main", "07:30:00", ["a"], true), merge),
    exact("08:00:00"),
  );
  // The name was used before, until 09:30; a push without a time cannot be placed.
  const earlier: [string, Observation] = [
    "pull_requests",
    { repository, number: 1, head_branch: "topic", state: "closed", closed_at: at("09:30:00") },
  ];
  const pushes = [push("topic", "09:00:00", ["a"]), push("topic", null, ["b"]), push("topic", "10:30:00", ["d"])];
  assertEquals(first(2, {}, earlier, ...pushes), exact("10:00:00"));
});

Deno.test("model: deliveries that come again, conflict, or leave quarantine", () => {
  const call = (id: string, sha: string, result: "stored" | "quarantined", title: string): Call => ({
    delivery: {
      source: "github",
      delivery_id: id,
      sha256: sha.repeat(64),
      size: 1,
      result,
      reason: result === "stored" ? null : "?",
    },
    facts: result === "stored" ? { releases: [{ repository: "github:1", external_id: id, name: title }] } : {},
    body: "Ym9keQ==",
  });
  const model = new Model();
  const answers = [
    call("1", "a", "stored", "one"),
    call("1", "a", "stored", "one"),
    call("1", "b", "stored", "other"),
    call("2", "c", "quarantined", ""),
    call("2", "c", "stored", "two"),
    call(`1#${"b".repeat(12)}`, "b", "stored", "after all"),
  ].map((one) => model.ingest(one).result);
  assertEquals(answers, ["stored", "duplicate", "quarantined", "quarantined", "stored", "stored"]);
  const tables = model.tables();
  assertEquals(tables["releases"]?.map((row) => row["name"]).sort(), ["after all", "one", "two"]);
  assertEquals(tables["deliveries"]?.length, 3);
});

Deno.test("model: what does not fit is refused", () => {
  const refuse = (kind: string, observation: Observation) => assertThrows(() => told([kind, observation]), Refused);
  refuse("jobs", { repository: "github:1", external_id: "1", outcome: "success" });
  refuse("jobs", { repository: "github:1" });
  refuse("jobs", { repository: "github:1", external_id: "1", colour: "red" });
  refuse("dreams", { repository: "github:1", external_id: "1" });
});

Deno.test("model: values are ordered as Postgres orders them", () => {
  assertEquals(Math.sign(compare("text", "\u{fffd}", "\u{1f600}")), -1);
  assertEquals(Math.sign(compare("text", "B", "a")), -1);
  assertEquals(Math.sign(compare("text", null, "")), -1);
  assertEquals(Math.sign(compare("boolean", true, false)), 1);
  assertEquals(Math.sign(compare("number", 10, 9)), 1);
  assertEquals(Math.sign(compare("number[]", [10], [9])), -1);
  assertEquals(jsonText({ bb: [1, true], a: { c: null }, é: "x" }), '{"a": {"c": null}, "bb": [1, true], "é": "x"}');
  assertEquals(canonical("time", "2026-03-02T10:00:00.5+01:00"), "2026-03-02T09:00:00.500000Z");
  assertEquals(canonical("time", "0001-01-01T00:00:00Z"), "0001-01-01T00:00:00.000000Z");
});
