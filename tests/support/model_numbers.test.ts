import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { matchesGlob } from "./model_changes.ts";
import fc from "fast-check";
import { argumentsFor, COMPARED, differencesOf } from "./compare_numbers.ts";
import { deep } from "./depth.ts";
import { callTelling } from "./history_copies.ts";
import { type NumbersCase, numbersCase, type SomeArguments } from "./history_numbers.ts";
import { newSeed } from "./history_random.ts";
import { apply, type Observation } from "./model.ts";
import { BadArguments, type NumberRow, numbersOf, type World } from "./model_numbers.ts";
import { bucketsOf, dateOf, instantOf, midnight } from "./model_periods.ts";
import { percentile, representative } from "./model_percentiles.ts";

type Said = [kind: string, observation: Observation];

const HOUR = 3600;
const ZEROS = "0".repeat(40);

/** March 2026 begins on a Sunday: the 2nd is a Monday. */
const at = (day: number, hour = 0) => {
  const time = new Date(Date.UTC(2026, 2, day));
  time.setUTCMinutes(hour * 60);
  return time.toISOString();
};
/** A commit's name that begins with these letters. */
const sha = (letters: string) => letters.padEnd(40, "0");

const one = { repository: "github:1" };

const named = (more: Observation = {}): Said => [
  "repositories",
  { ...one, full_name: "acme/one", default_branch: "main", ...more },
];

/** A push to the default branch, from one commit to the last of these. */
const push = (before: string, commits: string[], pushed_at: string | null, more: Observation = {}): Said => [
  "pushes",
  {
    ...one,
    ref: "refs/heads/main",
    before: sha(before),
    after: sha(commits.at(-1) ?? before),
    pushed_at,
    on_default_branch: true,
    commits: commits.map(sha),
    ...more,
  },
];

const commit = (name: string, authored_at: string | null, more: Observation = {}): Said => [
  "commits",
  { ...one, sha: sha(name), authored_at, ...more },
];

const deploy = (external_id: string, name: string, finished_at: string, more: Observation = {}): Said => [
  "deployments",
  {
    ...one,
    external_id,
    environment: "production",
    commit_sha: sha(name),
    status: "finished",
    outcome: "success",
    finished_at,
    ...more,
  },
];

const incident = (external_id: string, opened_at: string, more: Observation = {}): Said => [
  "incidents",
  { source: "pagerduty", ...one, external_id, opened_at, ...more },
];

const merged = (number: number, merge: string, more: Observation = {}): Said => [
  "pull_requests",
  { ...one, number, state: "merged", merge_sha: sha(merge), merged_at: at(3), closed_at: at(3), ...more },
];

/** A branch's push, which no deployment contains. */
const topic = (commits: string[], pushed_at: string): Said =>
  push("a", commits, pushed_at, { ref: "refs/heads/topic", on_default_branch: false });

function world(said: readonly Said[], more: Partial<World> = {}): World {
  const calls = said.map(([kind, observation], i) => callTelling(String(i), [{ kind, observation }]));
  return { tables: apply(calls), now: at(60), ...more };
}

const MARCH = { since: "2026-03-01", until: "2026-04-01" };

/** The row of a call about March. */
function march(call: string, said: readonly Said[] | World, args: Record<string, unknown> = {}) {
  const [row] = numbersOf(Array.isArray(said) ? world(said) : said as World, call, { ...MARCH, ...args });
  return row ?? {};
}

function pick(row: Record<string, unknown>, ...columns: string[]) {
  return Object.fromEntries(columns.map((column) => [column, row[column]]));
}

/** Four commits, each pushed alone and authored an hour before the day of its push. */
const CHAIN: Said[] = [
  named(),
  push("0", ["a"], at(1, 12)),
  push("a", ["b"], at(2, 12)),
  push("b", ["c"], at(3, 12)),
  push("c", ["d"], at(4, 12)),
  ...["a", "b", "c", "d"].map((name, i) => commit(name, at(i + 1, 11))),
];

Deno.test("numbers: a change's lead time runs from authored_at to the first deployment that contains it", () => {
  const said = [...CHAIN, deploy("1", "a", at(1, 13)), deploy("2", "c", at(3, 15)), deploy("3", "d", at(5, 11))];
  // b: 28 hours, c: 4, d: 24; a came with the first deployment.
  assertEquals(
    pick(march("change_lead_time", said), "p50_seconds", "p95_seconds", "changes", "basis", "excluded", "reason"),
    {
      p50_seconds: 24 * HOUR,
      p95_seconds: 28 * HOUR,
      changes: 3,
      basis: { commit: 3 },
      excluded: { first_deployment: 1 },
      reason: null,
    },
  );
});

Deno.test("numbers: an earlier deployment that comes later takes the place of the first", () => {
  const said = [...CHAIN, deploy("2", "b", at(3))];
  assertEquals(pick(march("change_lead_time", said), "changes", "reason"), {
    changes: 0,
    reason: "only_first_deployment",
  });
  assertEquals(march("change_lead_time", [...said, deploy("1", "a", at(1, 13))])["p50_seconds"], 13 * HOUR);
});

Deno.test("numbers: pushes are put in order by their chain, whenever they are told", () => {
  const said = [...CHAIN, deploy("1", "a", at(1, 13)), deploy("2", "d", at(5))];
  assertEquals(march("change_lead_time", said)["changes"], 3);
  assertEquals(numbersOf(world(said.toReversed()), "change_lead_time", MARCH), [march("change_lead_time", said)]);
});

Deno.test("numbers: of pushes of the same moment the chain decides", () => {
  const said = [
    named(),
    push("b", ["c"], at(2)),
    push("a", ["b"], at(2)),
    push("0", ["a"], at(1)),
    ...["a", "b", "c"].map((name) => commit(name, at(1))),
    deploy("1", "a", at(3)),
    deploy("2", "b", at(4)),
  ];
  assertEquals(march("change_lead_time", said)["changes"], 1);
});

Deno.test("numbers: a missing push leaves segments that times put in order", () => {
  const said = CHAIN.filter(([kind, { before }]) => kind !== "pushes" || before !== sha("a"));
  const deployed = [...said, deploy("1", "a", at(1, 13)), deploy("2", "d", at(5))];
  assertEquals(pick(march("change_lead_time", deployed), "changes", "excluded"), {
    changes: 2,
    excluded: { first_deployment: 1 },
  });
});

Deno.test("numbers: pushes without time that no chain joins have no known order", () => {
  const said = [
    named(),
    push("a", ["b"], null),
    push("x", ["y"], null),
    commit("b", at(2)),
    commit("y", at(2)),
    deploy("1", "b", at(3)),
    deploy("2", "b", at(4)),
  ];
  const { changes, excluded, reason } = march("change_lead_time", said);
  assertEquals([changes, excluded, reason], [0, { first_deployment: 1, order_unknown: 1 }, "too_few"]);
});

Deno.test("numbers: a push told without its time is the one told with it", () => {
  const said = [...CHAIN, push("b", ["c"], null), deploy("1", "a", at(1, 13)), deploy("2", "c", at(5))];
  assertEquals(march("change_lead_time", said)["changes"], 2);
});

Deno.test("numbers: a truncated push keeps its place and is counted", () => {
  const said = [
    named(),
    push("0", ["a"], at(1)),
    push("a", ["c", "d"], at(2), { truncated: true }),
    commit("a", at(1)),
    commit("c", at(2)),
    commit("d", at(2)),
    deploy("1", "a", at(3)),
    deploy("2", "d", at(4)),
  ];
  assertEquals(pick(march("change_lead_time", said), "changes", "truncated_pushes"), {
    changes: 2,
    truncated_pushes: 1,
  });
});

Deno.test("numbers: the end of a push that lists nothing has a place, and is no change", () => {
  const said = [
    named(),
    push("0", ["a"], at(1)),
    push("a", [], at(2), { after: sha("b"), truncated: true }),
    push("b", ["c"], at(3)),
    ...["a", "b", "c"].map((name) => commit(name, at(1))),
    deploy("1", "b", at(4)),
    deploy("2", "c", at(5)),
  ];
  assertEquals(pick(march("change_lead_time", said), "changes", "excluded", "unknown_commits"), {
    changes: 1,
    excluded: { first_deployment: 1 },
    unknown_commits: 0,
  });
});

Deno.test("numbers: a deployed commit that is not on the branch contains nothing", () => {
  const said = [...CHAIN, deploy("1", "a", at(2)), deploy("2", "x", at(5))];
  assertEquals(pick(march("change_lead_time", said), "changes", "unknown_commits", "reason"), {
    changes: 0,
    unknown_commits: 1,
    reason: "too_few",
  });
});

Deno.test("numbers: a branch forced back takes commits off, which ship with nothing that comes after", () => {
  const said = [
    ...CHAIN,
    push("d", [], at(5), { after: sha("b"), forced: true }),
    push("b", ["e"], at(6)),
    commit("e", at(6)),
    deploy("1", "a", at(1, 13)),
    deploy("2", "e", at(7)),
  ];
  // b and e; c and d were taken off, and are no changes.
  assertEquals(pick(march("change_lead_time", said), "changes", "excluded"), {
    changes: 2,
    excluded: { first_deployment: 1 },
  });
});

Deno.test("numbers: a commit that a branch is forced back to stays where it was", () => {
  const said = [...CHAIN, push("d", [], at(5), { after: sha("b"), forced: true })];
  const deployed = [...said, deploy("1", "a", at(1, 13)), deploy("2", "d", at(4, 13)), deploy("3", "b", at(6))];
  // b shipped with d, not with the rollback to it.
  assertEquals(march("change_lead_time", deployed)["changes"], 3);
  assertEquals(march("change_fail_rate", deployed)["causes"], { rolled_back: 1 });
});

Deno.test("numbers: another forced push marks what had not shipped as rewritten", () => {
  const said = [
    ...CHAIN,
    push("d", ["x", "y"], at(5), { forced: true }),
    commit("x", at(5)),
    commit("y", at(5)),
    deploy("1", "a", at(1, 13)),
    deploy("2", "b", at(2, 13)),
    deploy("3", "y", at(6)),
  ];
  // b, x and y; c and d began on the 3rd and 4th.
  assertEquals(pick(march("change_lead_time", said), "changes", "excluded"), {
    changes: 3,
    excluded: { first_deployment: 1, rewritten: 2 },
  });
  assertEquals(march("change_lead_time", said, { since: "2026-03-04" })["excluded"], { rewritten: 1 });
});

Deno.test("numbers: the push that makes a branch is not forced, whatever it says", () => {
  const said = [
    named(),
    push("a", ["b"], at(1)),
    push("0", ["c"], at(2), { before: ZEROS, forced: true }),
    push("x", ["d"], at(3), { created: true, forced: true }),
    ...["b", "c", "d"].map((name) => commit(name, at(1))),
    deploy("0", "x", at(1)),
    deploy("1", "d", at(4)),
  ];
  assertEquals(march("change_lead_time", said)["changes"], 3);
});

Deno.test("numbers: a renamed default branch keeps its past", () => {
  const said = [
    named({ default_branch: "trunk" }),
    push("0", ["a"], at(1)),
    push("a", ["b"], at(2), { ref: "refs/heads/trunk", on_default_branch: null }),
    push("b", ["c"], at(3), { ref: "refs/heads/main", on_default_branch: null }),
    ...["a", "b", "c"].map((name) => commit(name, at(1))),
    deploy("0", "x", at(1)),
    deploy("1", "c", at(4)),
  ];
  // The last went to what is no longer the default branch.
  assertEquals(pick(march("change_lead_time", said), "changes", "unknown_commits"), { changes: 0, unknown_commits: 2 });
  assertEquals(march("change_lead_time", [...said, deploy("2", "b", at(5))])["changes"], 2);
});

/** A pull request whose two commits were pushed on the 1st, opened on the 2nd and merged on the 3rd. */
const PULL_REQUEST: Said[] = [
  named(),
  push("0", ["a"], at(1)),
  commit("a", at(1)),
  topic(["c1", "c2"], at(1, 20)),
  commit("c1", at(1, 10)),
  commit("c2", at(1, 12)),
  deploy("1", "a", at(1, 1)),
];

Deno.test("numbers: a squash starts with the first commit of its pull request", () => {
  const said = [
    ...PULL_REQUEST,
    push("a", ["ee"], at(3)),
    commit("ee", at(3)),
    merged(7, "ee", { head_branch: "topic", head_sha: sha("c2"), opened_at: at(2) }),
    deploy("2", "ee", at(4)),
  ];
  assertEquals(pick(march("change_lead_time", said), "p50_seconds", "changes", "basis"), {
    p50_seconds: 62 * HOUR,
    changes: 1,
    basis: { first_commit: 1 },
  });
});

Deno.test("numbers: a squash from a fork starts when its pull request was opened", () => {
  const said = [
    ...PULL_REQUEST,
    push("a", ["ee"], at(3)),
    commit("ee", at(3)),
    merged(7, "ee", { head_branch: "topic", is_fork: true, opened_at: at(2) }),
    deploy("2", "ee", at(4)),
  ];
  assertEquals(pick(march("change_lead_time", said), "p50_seconds", "basis"), {
    p50_seconds: 48 * HOUR,
    basis: { pull_request_opened: 1 },
  });
});

Deno.test("numbers: rebased commits start at their own authored_at, which the rebase kept", () => {
  const said = [
    ...PULL_REQUEST,
    push("a", ["e1", "e2"], at(3)),
    commit("e1", at(1, 10)),
    commit("e2", at(1, 12)),
    merged(7, "e2", { head_branch: "topic", head_sha: sha("c2"), opened_at: at(2) }),
    deploy("2", "e2", at(4)),
  ];
  assertEquals(pick(march("change_lead_time", said), "p50_seconds", "p95_seconds", "basis"), {
    p50_seconds: 60 * HOUR,
    p95_seconds: 62 * HOUR,
    basis: { commit: 2 },
  });
});

Deno.test("numbers: a merge commit is no change, its pull request's commits are", () => {
  const said = [
    ...PULL_REQUEST,
    push("a", ["c1", "c2", "ee"], at(3)),
    commit("ee", at(3)),
    merged(7, "ee", { head_branch: "topic", head_sha: sha("c2"), opened_at: at(2) }),
    deploy("2", "ee", at(4)),
  ];
  assertEquals(pick(march("change_lead_time", said), "changes", "basis", "excluded"), {
    changes: 2,
    basis: { commit: 2 },
    excluded: { first_deployment: 1 },
  });
});

Deno.test("numbers: a merge that only moved the branch forward is its commits", () => {
  const said = [
    ...PULL_REQUEST,
    push("a", ["c1", "c2"], at(3)),
    merged(7, "c2", { head_branch: "topic", head_sha: sha("c2"), opened_at: at(2) }),
    deploy("2", "c2", at(4)),
  ];
  assertEquals(pick(march("change_lead_time", said), "changes", "basis"), { changes: 2, basis: { commit: 2 } });
});

Deno.test("numbers: a change that nobody told of has no start, and one that starts after shipping has no length", () => {
  const said = [
    named(),
    push("0", ["a"], at(1)),
    push("a", ["b", "c"], at(2)),
    commit("c", at(9)),
    deploy("1", "a", at(1)),
    deploy("2", "c", at(3)),
  ];
  assertEquals(march("change_lead_time", said)["excluded"], {
    first_deployment: 1,
    start_unknown: 1,
    start_after_shipping: 1,
  });
});

Deno.test("numbers: bots' changes can be left out; a squash is who opened its pull request", () => {
  const said = [
    ...PULL_REQUEST,
    push("a", ["b"], at(2)),
    commit("b", at(2), { author: "renovate[bot]", author_is_bot: true }),
    push("b", ["ee"], at(3)),
    commit("ee", at(3), { author: "dev-1", author_is_bot: false }),
    merged(7, "ee", {
      head_branch: "topic",
      head_sha: sha("c2"),
      author: "renovate[bot]",
      author_is_bot: true,
    }),
    deploy("2", "ee", at(4)),
  ];
  assertEquals(march("change_lead_time", said)["changes"], 2);
  const { changes, reason } = march("change_lead_time", said, { bots: false });
  assertEquals([changes, reason], [0, "too_few"]);
});

Deno.test("numbers: no changes seen is another thing than too few", () => {
  const said = [named(), deploy("1", "a", at(2)), deploy("2", "b", at(3))];
  assertEquals(march("change_lead_time", said)["reason"], "no_changes_seen");
  assertEquals(march("change_lead_time", [...said, push("x", ["y"], at(1))])["reason"], "too_few");
  assertEquals(march("change_lead_time", said, { since: "2026-03-04" })["reason"], "no_deployments");
});

Deno.test("numbers: V1 V2 V3 V1 marks V2, V1 V1 marks nothing", () => {
  const back = [
    ...CHAIN,
    deploy("1", "a", at(2)),
    deploy("2", "b", at(3)),
    deploy("3", "c", at(4)),
    deploy("4", "a", at(5)),
  ];
  assertEquals(pick(march("change_fail_rate", back), "deployments", "failed_changes", "rate", "causes"), {
    deployments: 4,
    failed_changes: 1,
    rate: 0.25,
    causes: { rolled_back: 1 },
  });
  assertEquals(march("change_fail_rate", back, { since: "2026-03-03", until: "2026-03-04" })["failed_changes"], 1);
  // V2 finished on the 3rd, the rollback on the 5th.
  assertEquals(march("failed_deployment_recovery_time", back)["p50_seconds"], 48 * HOUR);
  assertEquals(march("deployment_rework_rate", back)["rate"], 0.25);
  const again = [...CHAIN, deploy("1", "a", at(2)), deploy("2", "a", at(3))];
  assertEquals(pick(march("change_fail_rate", again), "failed_changes", "rate", "reason"), {
    failed_changes: 0,
    rate: null,
    reason: "no_incident_source",
  });
  assertEquals(march("deployment_frequency", again)["redeploys"], 1);
});

Deno.test("numbers: a rollback between commits of unknown order is one to a commit deployed before", () => {
  const said = [
    named(),
    deploy("1", "a", at(2)),
    deploy("2", "b", at(3)),
    deploy("3", "c", at(4)),
    deploy("4", "a", at(5)),
    deploy("5", "c", at(6)),
  ];
  // The fourth puts back a: b failed. The fifth puts back c, over the fourth.
  assertEquals(march("change_fail_rate", said)["causes"], { rolled_back: 2 });
  assertEquals(march("change_fail_rate", said, { until: "2026-03-04" })["causes"], { rolled_back: 1 });
  assertEquals(march("change_fail_rate", said, { since: "2026-03-05", until: "2026-03-06" })["failed_changes"], 1);
});

Deno.test("numbers: a rollback belongs to its environment", () => {
  const eu = { environment: "prod-eu" };
  const said = [...CHAIN, deploy("1", "c", at(2)), deploy("2", "a", at(3), eu), deploy("3", "b", at(4), eu)];
  assertEquals(march("change_fail_rate", said)["failed_changes"], 0);
  assertEquals(march("change_fail_rate", [...said, deploy("4", "a", at(5), eu)], { environment: "prod-eu" }), {
    bucket_start: null,
    name: null,
    deployments: 3,
    failed_changes: 1,
    rate: 1 / 3,
    causes: { rolled_back: 1 },
    unlinked_incidents: 0,
    reason: null,
  });
});

Deno.test("numbers: an incident marks the deployment that it names, or the last before it within the window", () => {
  const said = [...CHAIN, deploy("1", "a", at(2)), deploy("2", "b", at(3)), deploy("3", "c", at(4))];
  const failedOn = (day: number, ...more: Said[]) =>
    march("change_fail_rate", [...said, ...more], {
      since: `2026-03-0${day}`,
      until: `2026-03-0${day + 1}`,
    })["failed_changes"];
  assertEquals(failedOn(3, incident("i", at(3, 12))), 1);
  assertEquals(failedOn(2, incident("i", at(9), { deployment_external_id: "1" })), 1);
  assertEquals(failedOn(3, incident("i", at(9), { commit_sha: sha("b") })), 1);
  assertEquals(failedOn(4, incident("i", at(5))), 1);
  assertEquals(failedOn(4, incident("i", at(5, 1))), 0);
  // What begins with the incident cannot have caused it.
  assertEquals(failedOn(4, incident("i", at(4))), 0);
  assertEquals(failedOn(3, incident("i", at(4))), 1);
  assertEquals(failedOn(3, incident("i", at(3, 12), { is_withdrawn: true })), 0);
  const { unlinked_incidents, rate } = march("change_fail_rate", [...said, incident("i", at(9))]);
  assertEquals([unlinked_incidents, rate], [1, 0]);
});

Deno.test("numbers: a commit deployed again fails by its last deployment before the incident", () => {
  const said = [...CHAIN, deploy("1", "a", at(2)), deploy("2", "a", at(4)), deploy("3", "a", at(6))];
  const failedOn = (opened: string, day: number) =>
    march("change_fail_rate", [...said, incident("i", opened, { commit_sha: sha("a") })], {
      since: `2026-03-0${day}`,
      until: `2026-03-0${day + 1}`,
    })["failed_changes"];
  assertEquals([failedOn(at(5), 4), failedOn(at(1), 2)], [1, 1]);
});

Deno.test("numbers: an incident without a repository is its service's, whatever the case of the name", () => {
  const said = [named(), deploy("1", "a", at(2)), incident("i", at(2, 1), { repository: null, service: "ACME/One" })];
  assertEquals(march("change_fail_rate", said)["failed_changes"], 1);
  const other = [named(), deploy("1", "a", at(2)), incident("i", at(2, 1), { repository: null, service: "other" })];
  assertEquals(pick(march("change_fail_rate", other), "rate", "unlinked_incidents"), {
    rate: 0,
    unlinked_incidents: 1,
  });
  assertEquals(march("change_fail_rate", other, { by: "service" })["unlinked_incidents"], 0);
});

Deno.test("numbers: recovery is the first end, and a failure without one is open", () => {
  const said = [
    ...CHAIN,
    deploy("1", "a", at(2)),
    deploy("2", "b", at(3)),
    incident("i", at(3, 1), { status: "resolved", resolved_at: at(3, 5) }),
    deploy("3", "a", at(4)),
    deploy("4", "c", at(6)),
    incident("j", at(6, 1), { status: "open" }),
  ];
  assertEquals(
    pick(march("failed_deployment_recovery_time", said), "p50_seconds", "recovered", "open_failures", "reason"),
    { p50_seconds: 5 * HOUR, recovered: 1, open_failures: 1, reason: null },
  );
  assertEquals(march("change_fail_rate", said)["causes"], { rolled_back: 1, incident: 2 });
});

Deno.test("numbers: recovery without a source of incidents, a deployment or a failure says so", () => {
  const reason = (...said: Said[]) => march("failed_deployment_recovery_time", [named(), ...said])["reason"];
  assertEquals(reason(), "no_incident_source");
  assertEquals(reason(incident("i", at(2))), "no_deployments");
  assertEquals(reason(incident("i", at(2)), deploy("1", "a", at(9))), "too_few");
});

Deno.test("numbers: a shipped revert marks what first shipped the reverted change", () => {
  const reverting = [
    ...CHAIN,
    push("d", ["ff"], at(5)),
    commit("ff", at(5), { reverts: [sha("b").slice(0, 7)] }),
    deploy("1", "a", at(1, 13)),
    deploy("2", "b", at(2, 13)),
    deploy("3", "d", at(4, 13)),
    deploy("4", "ff", at(5, 13)),
  ];
  assertEquals(march("change_fail_rate", reverting)["causes"], { fixed_forward: 1 });
  assertEquals(march("change_fail_rate", reverting, { until: "2026-03-03" })["failed_changes"], 1);
  assertEquals(march("failed_deployment_recovery_time", reverting)["p50_seconds"], 72 * HOUR);
  assertEquals(march("deployment_rework_rate", reverting)["rework_deployments"], 1);
  const together = reverting.filter(([, { external_id }]) => !["2", "3"].includes(String(external_id)));
  assertEquals(march("change_fail_rate", together)["failed_changes"], 0);
});

Deno.test("numbers: a hotfix marks the deployment just before it", () => {
  const said = [
    ...CHAIN,
    merged(7, "c", { labels: ["HotFix"], opened_at: at(3) }),
    deploy("1", "a", at(1, 13)),
    deploy("2", "b", at(2, 13)),
    deploy("3", "c", at(3, 13)),
  ];
  assertEquals(march("change_fail_rate", said)["causes"], { fixed_forward: 1 });
  assertEquals(march("change_fail_rate", world(said, { settings: { hotfix_labels: "{urgent}" } }))["causes"], {});
});

Deno.test("numbers: deployments that failed are counted apart", () => {
  const said = [
    named(),
    deploy("1", "a", at(2)),
    deploy("2", "b", at(3), { outcome: "failure" }),
    deploy("3", "b", at(4), { outcome: "cancelled" }),
    deploy("4", "b", at(5), { outcome: "error" }),
    deploy("5", "b", at(6), { environment: "staging" }),
  ];
  assertEquals(
    pick(march("deployment_frequency", said), "deployments", "failed_attempts", "deployment_failure_rate"),
    { deployments: 1, failed_attempts: 2, deployment_failure_rate: 2 / 3 },
  );
});

Deno.test("numbers: days per week are a median over whole weeks since the first, empty ones included", () => {
  const said = [named(), ...[3, 4, 5, 17, 18].map((day) => deploy(`${day}`, "a", at(day)))];
  // Weeks of the 2nd (3 days), 9th (0), 16th (2), 23rd (0): the second of 0 0 2 3.
  const { deployments_per_day, deployment_days_per_week } = march("deployment_frequency", said);
  assertEquals([deployments_per_day, deployment_days_per_week], [5 / 31, 0]);
  assertEquals(march("deployment_frequency", said, { until: "2026-03-09" })["deployment_days_per_week"], 3);
  // Before the first week nothing counts, and a week that has not ended says nothing yet.
  assertEquals(march("deployment_frequency", said, { since: "2026-02-02", until: "2026-03-09" }), {
    ...march("deployment_frequency", said, { until: "2026-03-09" }),
    deployments_per_day: 3 / 35,
  });
  const { deployment_days_per_week: none, reason } = march("deployment_frequency", world(said, { now: at(8, 23) }), {
    until: "2026-03-09",
  });
  assertEquals([none, reason], [null, "too_few"]);
});

Deno.test("numbers: a group that never deployed has no frequency, one that paused has 0", () => {
  const said = [named(), deploy("1", "a", at(10))];
  const rows = numbersOf(world(said), "deployment_frequency", {
    since: "2026-03-02",
    until: "2026-03-23",
    bucket: "week",
  });
  assertEquals(rows.map(({ bucket_start, deployments, reason }) => [bucket_start, deployments, reason]), [
    ["2026-03-02", null, "no_deployments"],
    ["2026-03-09", 1, null],
    ["2026-03-16", 0, null],
  ]);
});

Deno.test("numbers: tiers come from rules, then from the deployment, then from the name", () => {
  const tiers = (environment: string | null, said: string | null = null) => {
    const rules = [{ call: "set_environment_tier", arguments: { pattern: "^blue$", tier: "production" } }];
    const deployed = deploy("1", "a", at(2), { environment, environment_tier: said });
    return march("deployment_frequency", world([named(), deployed], { rules }))["deployments"];
  };
  const isProduction = (...args: Parameters<typeof tiers>) => tiers(...args) === 1;
  assertEquals(["blue", "prod", "PROD-eu", "eu.live", "production1"].map((name) => isProduction(name)), [
    true,
    true,
    true,
    true,
    true,
  ]);
  assertEquals(
    ["pre-prod", "preprod", "product", "staging", "qa", "olive", null].map((name) => isProduction(name)),
    [false, false, false, false, false, false, false],
  );
  assertEquals([isProduction("shop", "production"), isProduction("prod", "staging"), isProduction("blue", "other")], [
    true,
    false,
    true,
  ]);
});

Deno.test("numbers: a rollout group is one deployment, done with its last and failed with any", () => {
  const rules = [{
    call: "add_service",
    arguments: { name: "shop", repository: "github:1", rollout_pattern: "^prod-" },
  }];
  const eu = deploy("1", "b", at(3), { environment: "prod-eu", started_at: at(2, 23) });
  const us = (more: Observation = {}) => deploy("2", "b", at(3, 1), { environment: "prod-us", ...more });
  const said = [...CHAIN, deploy("0", "a", at(2), { environment: "prod-eu" }), eu];
  const of = (last: Said, call = "deployment_frequency") => march(call, world([...said, last], { rules }));
  assertEquals(of(us())["deployments"], 2);
  // b began on the 2nd at 11: it is out when the last environment has it.
  assertEquals(of(us(), "change_lead_time")["p50_seconds"], 14 * HOUR);
  assertEquals(pick(of(us({ outcome: "failure" })), "deployments", "failed_attempts"), {
    deployments: 1,
    failed_attempts: 1,
  });
  assertEquals(of(us({ outcome: "cancelled" }))["deployments"], 1);
  assertEquals(of(us({ finished_at: at(3, 1.5) }))["deployments"], 3);
  assertEquals(of(us({ commit_sha: sha("c") }))["deployments"], 3);
  const later = world([...said, us(), incident("i", at(9), { deployment_external_id: "2" })], { rules });
  assertEquals(march("change_fail_rate", later)["failed_changes"], 1);
});

Deno.test("numbers: two services of one repository each have their deployments and their changes", () => {
  const rules = ["api", "web"].map((name) => ({
    call: "add_service",
    arguments: {
      name,
      repository: "github:1",
      deployment_pattern: `^${name}$`,
      path_globs: [`${name}/**`, "shared/*"],
    },
  }));
  const said = [
    named(),
    push("0", ["a"], at(1)),
    push("a", ["b", "c", "d", "e"], at(2)),
    commit("a", at(1)),
    commit("b", at(2), { changed_paths: ["api/x/y.ts"] }),
    commit("c", at(2), { changed_paths: ["web/x.ts", "docs/a.md"] }),
    commit("d", at(2), { changed_paths: ["shared/x.ts"] }),
    commit("e", at(2)),
    ...["api", "web"].flatMap((name) => [
      deploy(`${name}1`, "a", at(1, 1), { name }),
      deploy(`${name}2`, "e", at(3), { name }),
    ]),
    deploy("other", "e", at(3), { name: "jobs" }),
    incident("i", at(3, 1), { service: "WEB" }),
    incident("j", at(3, 1), { service: "jobs" }),
    incident("k", at(1, 2), { deployment_external_id: "api1" }),
  ];
  const monorepo = world(said, { rules });
  const each = (call: string, column: string) =>
    numbersOf(monorepo, call, { ...MARCH, by: "service" }).map((row) => [row["name"], row[column]]);
  assertEquals(each("deployment_frequency", "deployments"), [["api", 2], ["web", 2]]);
  assertEquals(each("change_lead_time", "changes"), [["api", 3], ["web", 3]]);
  assertEquals(each("change_fail_rate", "failed_changes"), [["api", 1], ["web", 1]]);
  assertEquals(each("change_fail_rate", "unlinked_incidents"), [["api", 0], ["web", 0]]);
  assertEquals(march("change_fail_rate", monorepo)["unlinked_incidents"], 1);
  assertEquals(march("change_lead_time", monorepo, { service: "api" })["changes"], 3);
  assertEquals(march("deployment_frequency", monorepo, { by: "repository" })["deployments"], 4);
});

Deno.test("numbers: runs of a pipeline, or releases, can be the deployments", () => {
  const run: Said = ["pipeline_runs", {
    ...one,
    external_id: "9",
    attempt: 2,
    pipeline: "deploy",
    on_default_branch: true,
    commit_sha: sha("a"),
    status: "finished",
    outcome: "success",
    finished_at: at(2),
  }];
  const release = (external_id: string, more: Observation = {}): Said => [
    "releases",
    { ...one, external_id, tag: "v1", commit_sha: sha("b"), published_at: at(3), ...more },
  ];
  const said = [
    ...CHAIN,
    run,
    ["pipeline_runs", { ...run[1], external_id: "10", on_default_branch: false }] as Said,
    release("1"),
    release("2", { is_draft: true }),
    release("3", { is_prerelease: true }),
    release("4", { is_withdrawn: true }),
    deploy("x", "a", at(4)),
    incident("i", at(9), { deployment_external_id: "9#2" }),
  ];
  const from = (source: Record<string, unknown>) =>
    world(said, { rules: [{ call: "add_service", arguments: { name: "shop", repository: "github:1", ...source } }] });
  assertEquals(march("deployment_frequency", from({ source: "pipeline", pipeline: "deploy" }))["deployments"], 1);
  assertEquals(march("change_fail_rate", from({ source: "pipeline", pipeline: "deploy" }))["failed_changes"], 1);
  assertEquals(march("deployment_frequency", from({ source: "releases" }), { since: "2026-03-03" })["deployments"], 1);
  assertEquals(march("deployment_frequency", from({}), { since: "2026-03-04" })["deployments"], 1);
});

Deno.test("numbers: a star of a glob stays in its folder, two do not", () => {
  assertEquals(["a/b.ts", "a/b/c.ts", "b.ts"].map((path) => matchesGlob(path, "a/*")), [true, false, false]);
  assertEquals(["a/b.ts", "a/b/c.ts", "ab.ts"].map((path) => matchesGlob(path, "a/**")), [true, true, false]);
  assertEquals(["x.md", "a/b/x.md", "x.mdx", "xamd"].map((path) => matchesGlob(path, "**/*.md")), [
    true,
    true,
    false,
    false,
  ]);
});

Deno.test("numbers: what nobody knows by that name is an unknown service, in every bucket", () => {
  const rows = numbersOf(world([named()]), "deployment_frequency", {
    since: "2026-03-02",
    until: "2026-03-16",
    bucket: "week",
    service: "nothing",
  });
  assertEquals(rows.map(({ name, deployments, reason }) => [name, deployments, reason]), [
    [null, null, "unknown_service"],
    [null, null, "unknown_service"],
  ]);
  assertEquals(numbersOf(world([named()]), "dora", { ...MARCH, repository: "acme/two" }).length, 5);
  assertEquals(march("pipeline_health", [named()], { team: "none" })["reason"], "unknown_service");
});

Deno.test("numbers: who may not read a repository gets the numbers of a world without it", () => {
  const two = { repository: "github:2" };
  const said = [
    named(),
    named({ ...two, full_name: "acme/two" }),
    deploy("1", "a", at(2)),
    deploy("2", "b", at(3), two),
    incident("i", at(2, 1), { repository: null, service: "ACME/one" }),
    incident("j", at(3, 1), two),
    incident("k", at(3, 1), { repository: null, service: "acme/two" }),
    incident("l", at(3, 1), { repository: null }),
  ];
  const counts = ({ failed_changes, unlinked_incidents }: NumberRow) => [failed_changes, unlinked_incidents];
  assertEquals(counts(march("change_fail_rate", said)), [2, 1]);
  const readable = new Set(["github:1"]);
  // An incident that names no repository, but a service of this one, is of this world.
  const ownWorld = [
    named(),
    deploy("1", "a", at(2)),
    incident("i", at(2, 1), { repository: null, service: "acme/one" }),
  ];
  assertEquals(march("change_fail_rate", world(said, { readable })), march("change_fail_rate", ownWorld));
  assertEquals(counts(march("change_fail_rate", ownWorld)), [1, 0]);
  assertEquals(
    march("deployment_frequency", world(said, { readable }), { service: "acme/two" })["reason"],
    "unknown_service",
  );
});

Deno.test("numbers: a team is its repositories", () => {
  const said = [named(), deploy("1", "a", at(2)), named({ repository: "github:2", full_name: "acme/two" })];
  const rules = [
    { call: "add_team", arguments: { name: "blue" } },
    { call: "add_team_repository", arguments: { team: "blue", repository: "github:2" } },
  ];
  assertEquals(march("deployment_frequency", world(said, { rules }), { team: "blue" })["reason"], "no_deployments");
});

Deno.test("numbers: dora gives all five with bands, samples and what was before", () => {
  const said = [
    ...CHAIN,
    deploy("1", "a", at(2)),
    deploy("2", "b", at(3)),
    deploy("3", "c", at(9)),
    deploy("4", "b", at(9, 2)),
  ];
  const rows = numbersOf(world(said), "dora", { since: "2026-03-02", until: "2026-03-16", bucket: "week" });
  assertEquals(rows.map(({ metric, value, band, band_reason }) => [metric, value, band, band_reason]).slice(5), [
    ["deployment_frequency", 2 / 7, "high", null],
    ["change_lead_time", (5 * 24 + 13) * HOUR, "high", null],
    ["change_fail_rate", 0.5, "low", null],
    ["failed_deployment_recovery_time", 2 * HOUR, "high", null],
    ["deployment_rework_rate", 0.5, null, "no_band"],
  ]);
  assertEquals(rows.map(({ sample_size }) => sample_size), [2, 1, 2, 0, 2, 2, 1, 2, 1, 2]);
  const lead = rows[6] ?? {};
  assertEquals([lead["previous_value"], lead["trend"]], [13 * HOUR, 5 * 24 * HOUR]);
  assertEquals(pick(rows[0] ?? {}, "previous_value", "trend"), { previous_value: null, trend: null });
  assertEquals(rows[3]?.["band_reason"], "no_incident_source");
});

Deno.test("numbers: what was before a period is the period of equal length", () => {
  const said = [named(), deploy("1", "a", at(2)), deploy("2", "b", at(9)), deploy("3", "c", at(10))];
  const [frequency] = numbersOf(world(said), "dora", { since: "2026-03-09", until: "2026-03-16" });
  assertEquals(pick(frequency ?? {}, "value", "previous_value"), { value: 2 / 7, previous_value: 1 / 7 });
});

Deno.test("numbers: a pull request's phases, and those that are not known", () => {
  const said = [
    ...PULL_REQUEST,
    push("a", ["ee"], at(3, 1)),
    merged(7, "ee", {
      head_branch: "topic",
      head_sha: sha("c2"),
      author: "dev-1",
      opened_at: at(2),
      merged_at: at(3, 1),
    }),
    merged(8, "x", { opened_at: at(1), merged_at: at(2) }),
    ["reviews", {
      ...one,
      external_id: "1",
      pull_request_number: 7,
      reviewer: "dev-2",
      state: "approved",
      submitted_at: at(2, 6),
    }] as Said,
    deploy("2", "ee", at(4)),
  ];
  const rows = numbersOf(world(said), "pull_request_cycle_time", MARCH);
  assertEquals(
    rows.map(({ phase, p50_seconds, sample_size, pull_requests }) => [phase, p50_seconds, sample_size, pull_requests]),
    [
      ["coding", 14 * HOUR, 1, 2],
      ["pickup", 6 * HOUR, 1, 2],
      ["review", 0, 1, 2],
      ["merge", 19 * HOUR, 1, 2],
      ["deploy", 23 * HOUR, 1, 2],
      ["total", 24 * HOUR, 2, 2],
    ],
  );
  const undeployed = said.filter(([kind]) => kind !== "deployments");
  assertEquals(numbersOf(world(undeployed), "pull_request_cycle_time", MARCH)[4]?.["reason"], "no_deployments");
  assertEquals(numbersOf(world(undeployed), "pull_request_cycle_time", { ...MARCH, bots: false })[0]?.["reason"], null);
});

const run = (external_id: string, outcome: string, queued_at: string, more: Observation = {}): Said => [
  "pipeline_runs",
  {
    ...one,
    external_id,
    pipeline: "build",
    queued_at,
    started_at: queued_at,
    status: "finished",
    outcome,
    finished_at: queued_at,
    ...more,
  },
];

Deno.test("numbers: first tries and last tries are told apart, and re-runs counted", () => {
  const said = [
    named(),
    run("1", "failure", at(2), { rerun_group: "g" }),
    run("1", "success", at(3), { rerun_group: "g", attempt: 2 }),
    run("2", "success", at(2)),
    run("3", "cancelled", at(2)),
    run("4", "something", at(2), { status: "running", outcome: null, finished_at: null }),
    run("5", "unknown", at(2)),
  ];
  assertEquals(
    pick(
      march("pipeline_health", said),
      "runs",
      "success",
      "failure",
      "cancelled",
      "unknown",
      "success_rate",
      "first_try_success_rate",
      "final_success_rate",
      "rerun_rate",
    ),
    {
      runs: 5,
      success: 2,
      failure: 1,
      cancelled: 1,
      unknown: 1,
      success_rate: 2 / 3,
      first_try_success_rate: 1 / 2,
      final_success_rate: 1,
      rerun_rate: 1 / 5,
    },
  );
});

Deno.test("numbers: durations leave the queue out, and have three percentiles", () => {
  const said = [1, 2, 3, 4].map((n) =>
    run(`${n}`, "success", at(2), { started_at: at(2, 1), finished_at: at(2, 1 + n) })
  );
  assertEquals(
    pick(
      march("pipeline_health", [named(), ...said]),
      "duration_p50_seconds",
      "duration_p75_seconds",
      "duration_p95_seconds",
      "queue_p95_seconds",
    ),
    {
      duration_p50_seconds: 2 * HOUR,
      duration_p75_seconds: 3 * HOUR,
      duration_p95_seconds: 4 * HOUR,
      queue_p95_seconds: HOUR,
    },
  );
});

Deno.test("numbers: runs by branch, by bot and by pipeline", () => {
  const said = [
    named(),
    run("1", "success", at(2), { branch: "main", on_default_branch: true }),
    run("2", "failure", at(2), { branch: "topic", pipeline: "deploy", actor: "ci[bot]", actor_is_bot: true }),
  ];
  const runs = (args: Record<string, unknown>) =>
    numbersOf(world(said), "pipeline_health", { ...MARCH, ...args }).map(({ name, runs }) => [name, runs]);
  assertEquals(runs({ branch: "default" }), [[null, 1]]);
  assertEquals(runs({ branch: "topic" }), [[null, 1]]);
  assertEquals(runs({ bots: false, by: "pipeline" }), [["acme/one / build", 1]]);
  assertEquals(runs({ by: "pipeline" }), [["acme/one / build", 1], ["acme/one / deploy", 1]]);
  assertEquals(runs({ since: "2026-03-03", by: "repository" }), [["acme/one", 0]]);
});

Deno.test("numbers: jobs by their names, and those that are flaky", () => {
  const job = (external_id: string, outcome: string, finished_at: string, more: Observation = {}): Said => ["jobs", {
    ...one,
    external_id,
    pipeline: "build",
    name: "test",
    commit_sha: sha("a"),
    status: "finished",
    outcome,
    finished_at,
    ...more,
  }];
  const said = [
    named(),
    job("1", "failure", at(2)),
    job("2", "success", at(9)),
    job("3", "error", at(2), { name: "x" }),
  ];
  const rows = numbersOf(world(said), "job_health", { ...MARCH, by: "job" });
  assertEquals(rows.map(({ name, runs, success_rate, reason }) => [name, runs, success_rate, reason]), [
    ["acme/one / build / test", 2, 1 / 2, "too_few"],
    ["acme/one / build / x", 1, 0, "too_few"],
  ]);
  const flaky = (...said: Said[]) => numbersOf(world([named(), ...said]), "flaky_jobs", MARCH).map(({ job }) => job);
  assertEquals(flaky(job("1", "timed_out", at(2)), job("2", "success", at(9))), ["test"]);
  assertEquals(flaky(job("1", "failure", at(2)), job("2", "success", at(9, 1))), []);
  assertEquals(flaky(job("1", "failure", at(2)), job("2", "success", at(2), { commit_sha: sha("b") })), []);
});

Deno.test("numbers: tests that passed of those that passed or failed, and rules that are kept", () => {
  const ran = (external_id: string, suite: string, passed_count: number, failed_count: number): Said => ["test_runs", {
    ...one,
    external_id,
    suite,
    started_at: at(2),
    passed_count,
    failed_count,
    skipped_count: 5,
    error_count: 0,
  }];
  const check = (external_id: string, status: string, category: string): Said => [
    "rule_checks",
    { ...one, external_id, rule: "signed", category, status, checked_at: at(2) },
  ];
  const said = [
    named(),
    ran("1", "unit", 3, 1),
    ran("2", "browser", 0, 0),
    check("1", "compliant", "safety"),
    check("2", "warning", "safety"),
    check("3", "violation", "style"),
  ];
  assertEquals(pick(march("test_health", said), "pass_rate", "skipped"), { pass_rate: 3 / 4, skipped: 10 });
  const suites = numbersOf(world(said), "test_health", { ...MARCH, by: "suite" });
  assertEquals(suites.map(({ name, pass_rate, reason }) => [name, pass_rate, reason]), [
    ["acme/one / browser", null, "too_few"],
    ["acme/one / unit", 3 / 4, "too_few"],
  ]);
  const categories = numbersOf(world(said), "rule_compliance", { ...MARCH, by: "category" });
  assertEquals(categories.map(({ name, rate }) => [name, rate]), [["safety", 1 / 2], ["style", 0]]);
});

Deno.test("numbers: buckets are days, ISO weeks and months, cut by the period", () => {
  assertEquals(bucketsOf("2026-01-01", "2026-01-14", "week"), [
    { start: "2025-12-29", from: "2026-01-01", to: "2026-01-05" },
    { start: "2026-01-05", from: "2026-01-05", to: "2026-01-12" },
    { start: "2026-01-12", from: "2026-01-12", to: "2026-01-14" },
  ]);
  // The year 2020 has a week 53, which ends in 2021.
  assertEquals(bucketsOf("2020-12-28", "2021-01-11", "week").map(({ start }) => start), ["2020-12-28", "2021-01-04"]);
  assertEquals(bucketsOf("2026-01-31", "2026-03-01", "month"), [
    { start: "2026-01-01", from: "2026-01-31", to: "2026-02-01" },
    { start: "2026-02-01", from: "2026-02-01", to: "2026-03-01" },
  ]);
});

Deno.test("numbers: days are those of the zone, also when its clocks change", () => {
  const hours = (date: string, next: string, zone: string) =>
    (midnight(next, zone) - midnight(date, zone)) / (HOUR * 1e6);
  assertEquals(hours("2026-03-29", "2026-03-30", "Europe/Berlin"), 23);
  assertEquals(hours("2026-11-01", "2026-11-02", "America/New_York"), 25);
  assertEquals(dateOf(instantOf("2026-03-28T23:30:00Z") as number, "Europe/Berlin"), "2026-03-29");
  const said = [named(), deploy("1", "a", "2026-03-29T22:30:00Z")];
  const berlin = world(said, { settings: { time_zone: "Europe/Berlin" } });
  assertEquals(march("deployment_frequency", berlin, { since: "2026-03-30" })["deployments"], 1);
  assertEquals(march("deployment_frequency", said, { since: "2026-03-30" })["deployments"], 0);
});

Deno.test("numbers: without dates the period is the last ninety days, today included", () => {
  const said = [named(), deploy("1", "a", at(2)), deploy("2", "b", at(3))];
  const deployments = (now: string) => numbersOf(world(said, { now }), "deployment_frequency")[0]?.["deployments"];
  // Until the 31st of May at midnight, since the 2nd of March: ninety days.
  assertEquals(deployments("2026-05-30T23:00:00Z"), 2);
  assertEquals(deployments("2026-05-31T00:00:00Z"), 1);
});

Deno.test("numbers: days that have not come do not make a frequency smaller", () => {
  const said = [named(), deploy("1", "a", at(2)), deploy("2", "b", at(3))];
  const now = world(said, { now: at(4, 12) });
  assertEquals(march("deployment_frequency", now, { since: "2026-03-02" })["deployments_per_day"], 2 / 3);
});

Deno.test("numbers: percentiles are by nearest rank, and a sketch is at most 5 % off", () => {
  assertEquals([0.5, 0.75, 0.95].map((share) => percentile([4, 1, 3, 2], share)), [2, 3, 4]);
  assertEquals(percentile([], 0.5), null);
  assertEquals([percentile([7], 0.5), representative(0)], [7, 0]);
  for (const value of [0.001, 0.9, 1, 1.1, 59, 3600, 1e7]) {
    assertAlmostEquals(representative(value) / value, 1, 0.05);
    assertEquals(percentile([value], 0.95, false), representative(value));
  }
});

Deno.test("numbers: arguments that make no sense are refused", () => {
  const call = (args: Record<string, unknown>) => () => numbersOf(world([named()]), "deployment_frequency", args);
  assertThrows(call({ since: "2026-03-02", until: "2026-03-02" }), BadArguments);
  assertThrows(call({ since: "2006-03-02", until: "2026-03-02" }), BadArguments);
  assertThrows(call({ bucket: "year" }), BadArguments);
  assertThrows(call({ by: "pipeline" }), BadArguments);
});

Deno.test("numbers: the order of rows in the tables plays no part", () => {
  const seed = newSeed("numbers");
  const property = fc.property(fc.noBias(numbersCase()), ({ calls, rules, arguments: given }) => {
    const tables = apply(calls);
    const reversed = Object.fromEntries(Object.entries(tables).map(([name, rows]) => [name, rows.toReversed()]));
    for (const [call, { by, takes }] of Object.entries(COMPARED)) {
      for (const [i, asked] of given.entries()) {
        const some = Object.entries(asked).filter(([name]) => (takes as string[]).includes(name));
        const args = { ...Object.fromEntries(some), by: by[i % by.length] };
        const [one, other] = [tables, reversed].map((tables) =>
          numbersOf({ tables, rules, now: "2026-03-20T00:00:00Z" }, call, args)
        );
        // Sums of fractions differ in their last digit.
        assertEquals(differencesOf(one as NumberRow[], other as NumberRow[]), {}, call);
      }
    }
  });
  fc.assert(property, { seed, numRuns: deep(20, 500) });
});

Deno.test("numbers: random histories know every cause, basis, exclusion and reason", () => {
  const missing = new Set([
    ...["rolled_back", "incident", "fixed_forward", "commit", "first_commit", "pull_request_opened", "rewritten"],
    ...["first_deployment", "start_unknown", "start_after_shipping", "order_unknown", "no_deployments", "too_few"],
    ...["only_first_deployment", "no_changes_seen", "no_incident_source", "unknown_service"],
    ...["redeploys", "failed_attempts", "unknown_commits", "truncated_pushes", "unlinked_incidents", "open_failures"],
  ]);
  let histories = 0;
  for (; missing.size > 0 && histories < 1000; histories++) {
    // One by one: how many it takes is not known before.
    const [{ calls, rules }] = fc.sample(fc.noBias(numbersCase()), { seed: histories, numRuns: 1 }) as [NumbersCase];
    const world = { tables: apply(calls), rules, now: "2026-11-20T00:00:00Z" };
    for (const call of Object.keys(COMPARED).slice(1, 5)) {
      const [{ since, until }] = argumentsFor(world) as [SomeArguments];
      for (const service of [undefined, "nothing of that name"]) {
        for (const row of numbersOf(world, call, { since, until, service, by: "service" })) {
          const { reason, causes, basis, excluded, ...counts } = row;
          for (const words of [causes, basis, excluded]) {
            for (const word of Object.keys(words ?? {})) missing.delete(word);
          }
          for (const [column, count] of Object.entries(counts)) {
            if (count !== 0 && count !== null) missing.delete(column);
          }
          missing.delete(String(reason));
        }
      }
    }
  }
  assertEquals([...missing], [], `in ${histories} histories`);
});
