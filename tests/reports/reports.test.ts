// Reports as real tools write them, from the tests of project/, against facts that were written down by hand from these tests.
import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import { checkFacts, type Facts } from "../../supabase/functions/ingest-metrics/facts.ts";
import { type Context, reports } from "../../supabase/functions/ingest-metrics/reports/mod.ts";
import { decodeReport } from "../../supabase/functions/ingest-metrics/reports/text.ts";
import { isDeep } from "../support/depth.ts";
import { madeFolder, makeReports, reportNames } from "./make.ts";

const context: Context = {
  repository: "github:1",
  commitSha: "0f3c1d2e4b5a69788796a5b4c3d2e1f001122334",
  branch: "main",
  runExternalId: "7",
  attempt: 2,
  pullRequestNumber: null,
  pipeline: "CI",
  jobExternalId: null,
  job: "test",
  suite: null,
  environment: null,
  observedAt: "2026-01-05T09:05:00Z",
  url: null,
};

/** The facts of a report, as `metrics.ingest` would get them; nothing may have to be changed about them. */
function read(name: string, text: string): Facts {
  const report = reports.get(name.endsWith(".sarif") ? "sarif" : /lcov|cobertura/.test(name) ? "coverage" : "junit")!;
  const decoded = decodeReport(new TextEncoder().encode(text));
  if (!("text" in decoded)) throw new Error(`${name}: ${decoded.unreadable}`);
  const reported = report.read(decoded.text, context);
  if (!("facts" in reported)) throw new Error(`${name}: ${JSON.stringify(reported)}`);
  const checked = checkFacts(reported.facts);
  if (!("facts" in checked)) throw new Error(`${name}: ${checked.wrong}`);
  assertEquals(checked.notes, [], name);
  return checked.facts;
}

/** What happened in one suite. A test with words is its outcome, how often it was tried again, and how its message begins. */
interface Suite {
  passed: string[];
  skipped: string[];
  worded: Record<string, [outcome: string, retries: number, message: string]>;
}

/** The suites of a report by name. Their counts must be those of their tests. */
function suites({ test_runs, test_cases }: Facts, expected: Record<string, Suite>): Record<string, Suite> {
  return Object.fromEntries(test_runs!.map((run) => {
    const cases = test_cases!.filter((one) => one.test_run_external_id === run.external_id);
    const count = (outcome: string) => cases.filter((one) => one.outcome === outcome).length;
    assertEquals(
      [run.passed_count, run.skipped_count, run.failed_count, run.error_count],
      [run.passed!.length, run.skipped!.length, count("failed"), count("error")],
    );
    assertEquals([run.commit_sha, run.branch, run.pipeline, run.job], [context.commitSha, "main", "CI", "test"]);
    const worded = cases.map((one) => {
      assertEquals(one.suite, run.suite!);
      const begins = expected[run.suite!]?.worded[one.name]?.[2] ?? "";
      const message = one.message!.startsWith(begins) ? begins : one.message!;
      return [one.name, [one.outcome!, one.retries!, message]];
    });
    return [run.suite!, {
      passed: run.passed!.toSorted(),
      skipped: run.skipped!.toSorted(),
      worded: Object.fromEntries(worded),
    }];
  }));
}

const quoted = 'is wrong on purpose: 1 < 2 & "quoted"';

/** What each tool tells of the same tests: by hand, from the tests and from what docs/reporting.md says of the tool. */
const tests: Record<string, Record<string, Suite>> = {
  // Counts a todo as passed, and has one kind of failure.
  "jest.xml": {
    basket: {
      passed: [
        "basket adds up",
        "basket discount – größer refuses 101 %",
        "basket flaky passes when it is tried again",
        "basket knows taxes",
      ],
      skipped: ["basket takes a voucher"],
      worded: {
        [`basket ${quoted}`]: [
          "failed",
          0,
          "Error: expect(received).toBe(expected) // Object.is equality\n\nExpected: 901\nReceived: 900\n",
        ],
        "basket discount – größer ends in an exception": ["failed", 0, "TypeError: not an assertion\n"],
      },
    },
  },
  "vitest.xml": {
    "test/vitest/basket.test.mjs": {
      passed: [
        "basket > adds up",
        "basket > discount – größer > refuses 101 %",
        "basket > passes when it is tried again",
      ],
      skipped: ["basket > knows taxes", "basket > takes a voucher"],
      worded: {
        [`basket > ${quoted}`]: ["failed", 0, "expected 900 to be 901 // Object.is equality"],
        "basket > discount – größer > ends in an exception": ["failed", 0, "not an assertion"],
      },
    },
  },
  // Tells an exception from an assertion, and each try.
  "playwright.xml": {
    "[plain] basket.spec.js": {
      passed: [
        "basket › adds up",
        "basket › discount – größer › refuses 101 %",
        "basket › passes when it is tried again",
      ],
      skipped: ["basket › takes a voucher"],
      worded: {
        [`basket › ${quoted}`]: ["failed", 2, "expect(received).toBe(expected) // Object.is equality"],
        "basket › discount – größer › ends in an exception": ["error", 2, "not an assertion"],
        "basket › passes when it is tried again": [
          "passed",
          1,
          "expect(received).toBe(expected) // Object.is equality",
        ],
      },
    },
  },
  "mocha.xml": {
    basket: {
      passed: ["basket adds up", "basket passes when it is tried again"],
      skipped: ["basket knows taxes", "basket takes a voucher"],
      worded: { [`basket ${quoted}`]: ["failed", 0, "900 == 901"] },
    },
    "discount – größer": {
      passed: ["basket discount – größer refuses 101 %"],
      skipped: [],
      worded: { "basket discount – größer ends in an exception": ["failed", 0, "not an assertion"] },
    },
  },
  // Tests may stand in no suite; and Node 20 writes quotes in names twice escaped.
  "node.xml": {
    "": { passed: ["stands alone"], skipped: [], worded: {} },
    basket: {
      passed: ["adds up"],
      skipped: ["knows taxes", "takes a voucher"],
      worded: { [quoted.replaceAll('"', "&quot;")]: ["failed", 0, "900 == 901"] },
    },
    "basket > discount – größer": {
      passed: ["refuses 101 %"],
      skipped: [],
      worded: { "ends in an exception": ["failed", 0, "not an assertion"] },
    },
  },
};

/** Coverage in counts: V8 (c8) counts every line of the file, Istanbul (nyc) those with statements. */
const coverage: Record<string, Record<"lines" | "branches" | "functions", [covered: number, total: number]>> = {
  "c8.lcov": { lines: [15, 18], branches: [3, 4], functions: [2, 3] },
  "c8.cobertura.xml": { lines: [15, 18], branches: [3, 4], functions: [2, 3] },
  "nyc.lcov": { lines: [6, 7], branches: [3, 4], functions: [2, 3] },
  "nyc.cobertura.xml": { lines: [6, 7], branches: [3, 4], functions: [2, 3] },
};

/** What ESLint finds in src/untidy.js; the fourth finding is switched off by a comment there. */
const checks: [rule: string, status: string, line: number][] = [
  ["eqeqeq", "violation", 5],
  ["no-unused-vars", "violation", 4],
  ["no-var", "warning", 4],
];

function assertFacts(name: string, text: string): void {
  const facts = read(name, text);
  const expectedTests = tests[name];
  if (expectedTests) {
    assertEquals(suites(facts, expectedTests), expectedTests, name);
    assertEquals(Object.keys(facts).sort(), ["test_cases", "test_runs"]);
  } else if (name in coverage) {
    const expected = Object.entries(coverage[name]!).flatMap(([kind, [covered, total]]) => [
      [`coverage.${kind}`, 100 * covered / total, "%"],
      [`coverage.${kind}.covered`, covered, kind],
      [`coverage.${kind}.total`, total, kind],
    ]);
    assertEquals(facts.measurements!.map(({ name, value, unit }) => [name, value, unit]), expected, name);
  } else {
    const found = facts.rule_checks!.map((check) => {
      const [, file, line] = /([\w/]+\.js):(\d+)/.exec(check.detail!)!;
      assert(file!.endsWith("src/untidy.js"));
      assertEquals([check.commit_sha, check.run_external_id], [context.commitSha, "7"]);
      return [check.rule, check.status, Number(line)] as (typeof checks)[number];
    });
    assertEquals(found.toSorted(), checks);
    assertEquals(new Set(facts.rule_checks!.map((check) => check.external_id)).size, checks.length);
  }
}

for (const name of reportNames) {
  Deno.test(`the report ${name} of the tool itself becomes the facts that its tests say`, async () => {
    assertFacts(name, await Deno.readTextFile(join(madeFolder, name)));
  });
}

Deno.test("there is an expectation for each report, and a report for each expectation", () => {
  const expected = [...Object.keys(tests), ...Object.keys(coverage), "eslint.sarif"];
  assertEquals(reportNames.toSorted(), expected.toSorted());
});

Deno.test({
  name: "the tools still write the reports that are kept here",
  ignore: !isDeep,
  async fn() {
    const version = new TextDecoder().decode((await new Deno.Command("node", { args: ["--version"] }).output()).stdout);
    for (const [name, text] of await makeReports()) {
      assertFacts(name, text);
      // Other versions of Node find other branches, and call their own functions otherwise.
      if (version.startsWith("v20.")) assertEquals(text, await Deno.readTextFile(join(madeFolder, name)), name);
    }
  },
});
