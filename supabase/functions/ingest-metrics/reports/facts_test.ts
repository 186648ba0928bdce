import { assertEquals } from "@std/assert";
import { factsOf, refusalOf } from "./testing.ts";

const job = {
  external_id: "42",
  name: "build",
  status: "finished",
  outcome: "success",
  finished_at: "2026-01-05T09:00:00Z",
};
const release = { external_id: "1", tag: "v1", repository: "//git.test/acme/app", observed_at: null };
const completed = { repository: "github:1", observed_at: "2026-01-05T09:00:00Z" };

Deno.test("facts come by kind, as an array, one a line, or alone", () => {
  const expected = { jobs: [{ ...completed, ...job }], releases: [release] };
  const items = [{ kind: "jobs", ...job }, { kind: "releases", ...release }];
  const lines = items.map((item) => JSON.stringify(item));
  const bodies = [
    JSON.stringify({ jobs: [job], releases: [release] }),
    JSON.stringify(items),
    lines.join("\n"),
    `\n${lines.join("\r\n\r\n")}\n`,
  ];
  for (const body of bodies) assertEquals(factsOf("facts", body), expected, body);
  assertEquals(factsOf("facts", `${lines[0]}\n`), { jobs: expected.jobs });
  assertEquals(factsOf("facts", JSON.stringify(items[0], null, 2)), { jobs: expected.jobs });
  assertEquals(factsOf("facts", "[]"), {});
});

Deno.test("an incident needs no repository, so it is given none", () => {
  const incident = { source: "pagerduty", external_id: "P1", title: "down" };
  assertEquals(factsOf("facts", JSON.stringify({ incidents: [incident] }), { observedAt: null }), {
    incidents: [incident],
  });
});

Deno.test("each refused item is named by its place, and nothing of it is told", () => {
  assertEquals(
    refusalOf(
      "facts",
      JSON.stringify({
        jobs: [job, { ...job, external_id: "" }, { ...job, secret: 1 }, { external_id: "7", outcome: "success" }, 7],
        commits: [{ sha: "HEAD" }],
        pipeline_runs: {},
        unheard_of: [],
        measurements: [{ name: "a", external_id: "1", value: "1" }],
        test_cases: [{ test_run_external_id: "1", suite: "", name: "x".repeat(2000) }],
      }),
    ),
    [
      { place: "pipeline_runs", code: "invalid_type" },
      { place: "body", code: "kind_unknown" },
      { place: "jobs[1].external_id", code: "too_small" },
      { place: "jobs[2]", code: "unrecognized_keys" },
      { place: "jobs[3].outcome", code: "said_without_its_lead" },
      { place: "jobs[4]", code: "invalid_type" },
      { place: "commits[0].sha", code: "invalid_format" },
      { place: "measurements[0].value", code: "invalid_type" },
      { place: "test_cases[0].name", code: "custom" },
    ],
  );
  const items = [{ kind: "jobs" }, { kind: "secret" }, { external_id: "1" }, null, { kind: "constructor" }];
  const codes = ["external_id: invalid_type", "kind: kind_unknown", "kind: missing", "", "kind: kind_unknown"];
  const problems = (place: (index: number) => string) =>
    codes.map((code, index) => {
      const [path, word] = code === "" ? ["", "invalid_type"] : code.split(": ");
      return { place: path === "" ? place(index) : `${place(index)}.${path}`, code: word! };
    });
  assertEquals(refusalOf("facts", JSON.stringify(items)), problems((index) => `[${index}]`));
  assertEquals(
    refusalOf("facts", items.map((item) => JSON.stringify(item)).join("\n")),
    problems((index) => `line ${index + 1}`),
  );
  assertEquals(refusalOf("facts", JSON.stringify(items[0])), [{ place: "external_id", code: "invalid_type" }]);
});

Deno.test("a line that is no JSON is an item that is refused", () => {
  const line = JSON.stringify({ kind: "jobs", ...job });
  assertEquals(refusalOf("facts", `${line}\n{"kind":\n${line}`), [{ place: "line 2", code: "not_json" }]);
});

Deno.test("what is no JSON, or too much, is refused", () => {
  assertEquals(refusalOf("facts", '{"jobs": [\n}'), "not_json");
  assertEquals(refusalOf("facts", ""), "not_json");
  assertEquals(refusalOf("facts", "7"), "not_facts");
  const tooMany = [{ place: "body", code: "too_many_facts" }];
  const line = `${JSON.stringify({ kind: "jobs", ...job })}\n`;
  assertEquals(refusalOf("facts", line.repeat(10_001)), tooMany);
  assertEquals(refusalOf("facts", JSON.stringify({ jobs: Array(10_001).fill(job) })), tooMany);
  assertEquals(factsOf("facts", line.repeat(10_000)).jobs!.length, 10_000);
});
