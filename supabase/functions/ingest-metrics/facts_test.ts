import { assert, assertEquals } from "@std/assert";
import { type Checked, checkFacts, type Facts, MAX_FACTS, schemas } from "./facts.ts";

const job = { repository: "github:1", external_id: "7" };
const push = {
  repository: "github:1",
  ref: "refs/heads/main",
  before: "0".repeat(40),
  after: "ab".repeat(20),
  pushed_at: null,
};
// deno-lint-ignore no-explicit-any
const check = (facts: any) => checkFacts(facts as Facts);

function passed(checked: Checked): { facts: Facts; notes: string[] } {
  if ("wrong" in checked) throw new Error(checked.wrong);
  return checked;
}

Deno.test("what is absent stays absent, what is null stays null", () => {
  const checked = check({
    jobs: [{ ...job, name: undefined, branch: null, observed_at: "2026-01-01T00:00:00Z" }],
    commits: [],
  });
  assertEquals(checked, {
    facts: { jobs: [{ ...job, branch: null, observed_at: "2026-01-01T00:00:00Z" }] },
    notes: [],
  });
});

Deno.test("notes say what was changed, each once and not the value", () => {
  const checked = check({
    jobs: [{ ...job, name: "a\0" }, { ...job, name: "b\0", runner_labels: ["ann@example.com"], started_at: "soon" }],
  });
  assertEquals(passed(checked).notes.sort(), [
    "jobs.name had NUL",
    "jobs.runner_labels had an e-mail address",
    "jobs.started_at is no time that can be kept",
  ]);
});

Deno.test("steps are cleaned inside", () => {
  const checked = check({
    jobs: [{
      ...job,
      steps: [{ name: "x\0", number: 1e99, status: "finished", started_at: "2026-01-01T01:00:00+01:00", log: "no" }],
    }],
  });
  const steps = [{ name: "x\ufffd", number: null, status: "finished", started_at: "2026-01-01T00:00:00Z" }];
  assertEquals(passed(checked).facts.jobs![0]!.steps, steps);
  assertEquals(passed(checked).notes, ["jobs.steps name had NUL", "jobs.steps number is out of range"]);
});

Deno.test("a key that is missing, malformed or too long is refused by its path", () => {
  const refused: [unknown, string][] = [
    [{ jobs: [{ repository: "github:1" }] }, "jobs[0].external_id: invalid_type"],
    [{ jobs: [job, { ...job, external_id: "" }] }, "jobs[1].external_id: too_small"],
    [{ jobs: [{ ...job, external_id: "✓".repeat(342) }] }, "jobs[0].external_id: custom"],
    [{ jobs: [{ ...job, repository: "GitHub:1" }] }, "jobs[0].repository: invalid_format"],
    [{ jobs: [{ ...job, repository: "github:" }] }, "jobs[0].repository: invalid_format"],
    [{ pipeline_runs: [{ ...job, attempt: 0 }] }, "pipeline_runs[0].attempt: too_small"],
    [{ pull_requests: [{ repository: "github:1", number: 2 ** 31 }] }, "pull_requests[0].number: too_big"],
    [{ pushes: [{ ...push, after: "main" }] }, "pushes[0].after: invalid_format"],
    [{ jobs: [{ ...job, status: "done" }] }, "jobs[0].status: invalid_value"],
    [{ jobs: [{ ...job, secret: "x" }] }, "jobs[0].unrecognized_keys"],
    [{ jobs: [{ ...job, outcome: "success" }] }, "jobs[0].outcome: said without status"],
    [{ pushes: [{ ...push, truncated: true }] }, "pushes[0].truncated: said without commits"],
  ];
  for (const [facts, wrong] of refused) assertEquals(check(facts), { wrong });
  assert("facts" in check({ jobs: [{ ...job, external_id: "✓".repeat(341) }], pushes: [push] }));
  assert("facts" in check({ jobs: [{ ...job, repository: "//git.example.com/team/app" }] }));
});

Deno.test("so many facts and no more", () => {
  assert("facts" in check({ jobs: Array(MAX_FACTS).fill(job) }));
  assertEquals(check({ jobs: Array(MAX_FACTS).fill(job), releases: [job] }), { wrong: "more than 10000 facts" });
});

Deno.test("every kind has its key and takes null for each attribute", () => {
  const keys = {
    ...push,
    ...job,
    sha: "ab".repeat(20),
    number: 1,
    source: "github",
    test_run_external_id: "1",
    suite: "",
    name: "n",
  };
  for (const [kind, schema] of Object.entries(schemas)) {
    const observation = Object.fromEntries(
      Object.entries(schema.shape).map((
        [name, type],
      ) => [name, type.safeParse(null).success ? null : keys[name as keyof typeof keys]]),
    );
    assert("facts" in check({ [kind]: [observation] }), kind);
  }
});

Deno.test("keys that differ by an e-mail address stay different, and so do those that name them", () => {
  const [one, other] = ["a@example.com", "b@example.com"];
  const { facts } = passed(check({
    pipeline_runs: [one, other].map((id) => ({ ...job, external_id: id })),
    jobs: [one, other].map((id) => ({ ...job, external_id: id, run_external_id: id, name: id })),
    test_runs: [{ ...job, external_id: "7", suite: one, passed: [one, other] }],
    test_cases: [
      { repository: "github:1", test_run_external_id: "7", suite: one, name: other, outcome: "failed" as const },
    ],
  }));
  const ids = facts.pipeline_runs!.map((run) => run.external_id);
  assertEquals(new Set(ids).size, 2);
  assertEquals(facts.jobs!.map((job) => job.external_id), ids);
  assertEquals(facts.jobs!.map((job) => job.run_external_id), ids);
  assertEquals(facts.jobs!.map((job) => job.name), ["[e-mail]", "[e-mail]"]);
  assertEquals(facts.test_runs![0]!.passed, ids);
  assertEquals([facts.test_runs![0]!.suite, facts.test_cases![0]!.suite], [ids[0], ids[0]]);
  assertEquals(facts.test_cases![0]!.name, ids[1]);
  assert(!JSON.stringify(facts).includes("@"));
});
