import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { factsOf, refusalOf } from "./testing.ts";
import { statusTable } from "./sarif.ts";

type Json = Record<string, unknown>;
const log = (...runs: Json[]) => JSON.stringify({ $schema: "https://sarif.test/2.1.0.json", version: "2.1.0", runs });
const tool = (...rules: Json[]) => ({ driver: { name: "Lint", rules } });
const at = (
  uri: string,
  startLine: number,
) => [{ physicalLocation: { artifactLocation: { uri }, region: { startLine } } }];
const result = (ruleId: string, more: Json = {}) => ({ ruleId, message: { text: "found" }, ...more });
const checks = (text: string, change = {}) => factsOf("sarif", text, change).rule_checks ?? [];
/** Rules and what became of them. */
const told = (...runs: Json[]) => checks(log(...runs)).map((check) => [check.rule, check.status]);

Deno.test("a result is a check of its rule, and a rule without one is compliant", () => {
  const text = log({
    tool: tool({ id: "no-var", properties: { category: "style", tags: ["old"] } }, {
      id: "eqeqeq",
      properties: { tags: ["bugs"] },
    }),
    invocations: [{ executionSuccessful: true, endTimeUtc: "2026-01-05T08:59:00Z" }],
    results: [result("no-var", { level: "error", locations: at("src/a.ts", 12) })],
  });
  const common = {
    repository: "github:1",
    observed_at: "2026-01-05T09:00:00Z",
    commit_sha: "0f3c1d2e4b5a69788796a5b4c3d2e1f001122334",
    pull_request_number: 12,
    run_external_id: "7",
    checked_at: "2026-01-05T08:59:00Z",
    url: "https://ci.test/7",
  };
  assertEquals(checks(text, { pullRequestNumber: 12, url: "https://ci.test/7" }), [
    {
      ...common,
      external_id: "7/2/build/Lint/no-var/3c7fa051f452cc59",
      rule: "no-var",
      category: "style",
      status: "violation",
      detail: "src/a.ts:12: found",
    },
    { ...common, external_id: "7/2/build/Lint/eqeqeq", rule: "eqeqeq", category: "bugs", status: "compliant" },
  ]);
});

Deno.test("the status is what the result says, else its rule, else SARIF", () => {
  const rules = tool(
    { id: "note", defaultConfiguration: { level: "note" } },
    { id: "error", defaultConfiguration: { level: "error" } },
    { id: "raised" },
    { id: "off", defaultConfiguration: { enabled: false } },
    { id: "switched" },
  );
  const invocations = [{
    ruleConfigurationOverrides: [
      { descriptor: { index: 2 }, configuration: { level: "error" } },
      { descriptor: { id: "switched" }, configuration: { enabled: false } },
    ],
  }];
  const results = [
    result("note"),
    result("error"),
    result("error", { level: "warning" }),
    result("raised"),
    result("unlisted"),
    result("unlisted", { level: "none" }),
  ];
  assertEquals(told({ tool: rules, invocations, results }), [
    ["note", "warning"],
    ["error", "violation"],
    ["error", "warning"],
    ["raised", "violation"],
    ["unlisted", "warning"],
  ]);
});

Deno.test("a kind that is no failure says what the table says, and its rule is not compliant besides", () => {
  for (const [kind, status] of Object.entries(statusTable.kind)) {
    const run = { tool: tool({ id: "a" }), results: [result("a", { kind, level: "none" })] };
    assertEquals(told(run), status === null ? [] : [["a", status]], kind);
  }
});

Deno.test("the page shows the table", async () => {
  const page = await Deno.readTextFile(new URL("../../../../docs/reporting.md", import.meta.url));
  const [, table = ""] = page.split("**sarif.**");
  const rows = Array.from(table.matchAll(/^\| `(\w+)` +\| ([\w ]+?) +\|$/gm), ([, word, status]) => [word!, status!]);
  const all = Object.entries({ ...statusTable.level, ...statusTable.kind });
  assertEquals(
    Object.fromEntries(rows),
    Object.fromEntries(all.map(([word, status]) => [word, status ?? "says nothing"])),
  );
});

Deno.test("what is gone or accepted is no violation", () => {
  const cases: [Json, string][] = [
    [{ baselineState: "absent" }, "compliant"],
    [{ baselineState: "unchanged" }, "warning"],
    [{ suppressions: [{ kind: "inSource" }] }, "compliant"],
    [{ suppressions: [{ kind: "external", status: "accepted" }] }, "compliant"],
    [{ suppressions: [{ status: "accepted" }, { status: "underReview" }] }, "warning"],
    [{ suppressions: [{ status: "rejected" }] }, "warning"],
    [{ suppressions: [] }, "warning"],
    [{ suppressions: null }, "warning"],
  ];
  for (const [more, status] of cases) {
    assertEquals(
      told({ tool: tool({ id: "a" }), results: [result("a", more)] }),
      [["a", status]],
      JSON.stringify(more),
    );
  }
});

Deno.test("of a tool that failed, or did not look, a rule without a result says nothing", () => {
  const failed = {
    tool: tool({ id: "a" }, { id: "b" }),
    invocations: [{ executionSuccessful: false }],
    results: [result("a")],
  };
  assertEquals(told(failed), [["a", "warning"]]);
  assertEquals(told({ tool: tool({ id: "a" }) }), []);
  assertEquals(told({ tool: tool({ id: "a" }), results: null }), []);
  assertEquals(told({ tool: tool({ id: "a" }), results: [] }), [["a", "compliant"]]);
});

Deno.test("rules are found by id, by place, in extensions, and by a part of their id", () => {
  const run = {
    tool: {
      driver: { name: "Lint", rules: [{ id: "own" }] },
      extensions: [{ name: "pack", rules: [{ id: "CA1000" }, { id: "other" }] }],
    },
    results: [
      result("CA1000/1"),
      { ruleIndex: 0, message: { text: "x" } },
      { rule: { index: 1, toolComponent: { index: 0 } }, message: { text: "x" } },
      { rule: { index: 0, toolComponent: { name: "pack" } }, message: { text: "y" } },
      { rule: { id: "by reference" }, message: { text: "x" } },
    ],
  };
  assertEquals(told(run).map(([rule]) => rule), ["CA1000", "own", "other", "CA1000", "by reference"]);
});

Deno.test("the words are the message's, its rule's with arguments, and the place's", () => {
  const rules = tool({ id: "a", messageStrings: { m: { text: "{0} is not {1}{2}" } } });
  const detail = (more: Json) =>
    checks(
      log({ tool: rules, artifacts: [{ location: { uri: "src/b.ts" } }], results: [{ ruleId: "a", ...more }] }),
    )[0]!.detail;
  assertEquals(detail({ message: { id: "m", arguments: ["x", "y"] } }), "x is not y{2}");
  assertEquals(
    detail({ message: { text: "said" }, locations: [{ physicalLocation: { artifactLocation: { index: 0 } } }] }),
    "src/b.ts: said",
  );
  assertEquals(
    detail({ message: { text: "said" }, locations: [{ logicalLocations: [{ fullyQualifiedName: "a::b" }] }] }),
    "a::b: said",
  );
  assertEquals(detail({ message: {} }), undefined);
});

Deno.test("a check keeps its id when its line moves, and two equal results stay two", () => {
  const ids = (...results: Json[]) => checks(log({ tool: tool(), results })).map((check) => check.external_id);
  const [one, two] = ids(result("a", { locations: at("f", 1) }), result("a", { locations: at("f", 2) }));
  assertEquals(two, `${one}#2`);
  assertEquals(ids(result("a", { locations: at("f", 9) })), [one]);
  const print = (line: number, hash: string) =>
    result("a", { locations: at("f", line), message: { text: `${line}` }, partialFingerprints: { p: hash } });
  assertEquals(ids(print(1, "x")), ids(print(2, "x")));
  assertEquals(new Set(ids(print(1, "x"), print(1, "y"))).size, 2);
  const guid = { correlationGuid: "8e1b2f6a-0000-4000-8000-000000000001" };
  assertEquals(
    ids(result("a", { ...guid, locations: at("f", 1) })),
    ids(result("a", { ...guid, locations: at("g", 1) })),
  );
  assertEquals(
    checks(log({ tool: tool(), automationDetails: { id: "js/" }, results: [result("a")] }), { suite: "x" })[0]!
      .external_id.slice(0, 22),
    "7/2/build/x/Lint js/a/",
  );
});

Deno.test("what is wrong is named by its place, and nothing of it is told", () => {
  const refused = (value: unknown) => refusalOf("sarif", JSON.stringify(value));
  assertEquals(refused({ version: "2.0.0", runs: [] }), [{ place: "version", code: "invalid_value" }]);
  assertEquals(refused([]), [{ place: "body", code: "invalid_type" }]);
  assertEquals(
    refusalOf(
      "sarif",
      log(
        { tool: { driver: {} }, results: [] },
        {
          tool: tool({ id: "a", messageStrings: { secret: 7 } }),
          results: [result("a", { level: "fatal", partialFingerprints: { secret: 7 } })],
        },
      ),
    ),
    [
      { place: "runs[0].tool.driver.name", code: "invalid_type" },
      { place: "runs[1].tool.driver.rules[0].messageStrings", code: "invalid_type" },
      { place: "runs[1].results[0].level", code: "invalid_value" },
      { place: "runs[1].results[0].partialFingerprints", code: "invalid_type" },
    ],
  );
  assertEquals(refusalOf("sarif", log({ tool: tool(), results: [result("a"), { message: { text: "x" } }] })), [
    { place: "runs[0].results[1].ruleId", code: "missing" },
  ]);
  assertEquals(refusalOf("sarif", "<x/>"), "not_json");
  assertEquals(refusalOf("sarif", log(), { runExternalId: null, commitSha: null }), [{
    place: "run",
    code: "run_or_commit_missing",
  }]);
});

Deno.test("more than can be taken at once is refused", () => {
  const results = Array.from({ length: 10_001 }, (_, n) => result(`r${n % 9}`));
  assertEquals(refusalOf("sarif", log({ tool: tool(), results })), [{ place: "runs[0]", code: "too_many_facts" }]);
  assertEquals(checks(log({ tool: tool(), results: results.slice(1) })).length, 10_000);
});

Deno.test("every rule is told, ids meet no other, and the same upload twice gives equal facts", () => {
  const given = fc.record({
    ruleId: fc.constantFrom("a", "b", "c", "a/b", "a#2"),
    level: fc.constantFrom("error", "warning", "note"),
    line: fc.integer({ min: 1, max: 2 }),
    gone: fc.boolean(),
  });
  fc.assert(fc.property(fc.array(given, { maxLength: 12 }), (list) => {
    const results = list.map(({ ruleId, level, line, gone }) =>
      result(ruleId, { level, locations: at("f", line), ...(gone ? { baselineState: "absent" } : {}) })
    );
    const rules = ["a", "b", "c"];
    const text = log({ tool: tool(...rules.map((id) => ({ id }))), results });
    const found = checks(text);
    assertEquals(checks(text), found);
    assertEquals(new Set(found.map((check) => check.external_id)).size, found.length);
    const there = list.filter(({ gone }) => !gone);
    assertEquals(found.filter(({ status }) => status !== "compliant").length, there.length);
    assertEquals(
      found.filter(({ status }) => status === "violation").length,
      there.filter(({ level }) => level === "error").length,
    );
    for (const rule of rules) {
      const isFound = there.some(({ ruleId }) => ruleId.split("/")[0] === rule);
      assertEquals(found.some((check) => check.rule === rule && check.status === "compliant"), !isFound);
    }
  }));
});

Deno.test("texts that many results name are cut before they are put together", () => {
  const long = "y".repeat(100_000);
  const log = {
    version: "2.1.0",
    runs: [{
      tool: { driver: { name: long, rules: [{ id: long, messageStrings: { m: { text: `{0}${long}` } } }] } },
      artifacts: [{ location: { uri: long } }],
      results: [
        {
          ruleIndex: 0,
          message: { id: "m", arguments: [long] },
          locations: [{ physicalLocation: { artifactLocation: { index: 0 } } }],
        },
        { ruleId: "a", message: { text: "{0}".repeat(300), arguments: [long] } },
        { ruleId: "b", message: { id: "constructor" } },
        { ruleId: "c", message: { text: "{0} and {1} and {2}", arguments: ["x", "{0}"] } },
      ],
    }],
  };
  const checks = factsOf("sarif", JSON.stringify(log)).rule_checks!;
  assertEquals(checks.map((check) => check.detail?.length), [4096, 4096, undefined, "x and {0} and {2}".length]);
  assertEquals(checks[3]!.detail, "x and {0} and {2}");
});

Deno.test("an e-mail address on the border of a text that is cut does not get through in part", () => {
  for (let before = 8150; before < 8200; before++) {
    const text = `${"a@b.example.com ".repeat(300)}${"x".repeat(before - 4800)} {0}`;
    const log = {
      version: "2.1.0",
      runs: [{
        tool: { driver: { name: "x" } },
        results: [{ ruleId: "r", message: { text, arguments: ["dev-1@example.com"] } }],
      }],
    };
    const [check] = factsOf("sarif", JSON.stringify(log)).rule_checks!;
    assert(!check!.detail!.includes("dev-1"));
  }
});

Deno.test("the first hundred problems are named, and no more are looked for", () => {
  const log = (more: object) =>
    JSON.stringify({ version: "2.1.0", runs: [{ tool: { driver: { name: "x" } }, ...more }] });
  const wrong = Array(500).fill(0);
  assertEquals(refusalOf("sarif", log({ results: wrong })).length, 100);
  assertEquals(refusalOf("sarif", log({ results: wrong }))[99], {
    place: "runs[0].results[99]",
    code: "invalid_type",
  });
  assertEquals(refusalOf("sarif", log({ results: [{ message: {}, ruleId: "r", locations: wrong }] })).length, 100);
  assertEquals(refusalOf("sarif", "0"), [{ place: "body", code: "invalid_type" }]);
});
