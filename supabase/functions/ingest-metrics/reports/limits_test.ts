import { assert, assertEquals } from "@std/assert";
import { DEFAULT_MAX_BYTES } from "../configuration.ts";
import { contextWith, largeJunit } from "./testing.ts";

/** What a hosted function may use of the processor for one request. */
const ALLOWED_CPU_MS = 2000;
/** What it may use of memory: V8 holds its share by itself, the rest is what the test adds up. */
const ALLOWED_MEMORY = 256 * 1024 * 1024;
const HEAP = 192 * 1024 * 1024;

/** A text as long as the limit allows, of as many items as fit, but no more than so many. */
function filled(start: string, item: (index: number) => string, end: string, most: number): string {
  const parts = [start];
  let size = start.length + end.length;
  for (let index = 0; index < most; index++) {
    const next = item(index);
    size += next.length;
    if (size > DEFAULT_MAX_BYTES) break;
    parts.push(next);
  }
  return parts.join("") + end;
}
const comma = (index: number) => index === 0 ? "" : ",";
/** A SARIF log of one run: what its driver has beside the name, and what the run has beside the tool. */
const sarifLog = (driver: string, run: string) =>
  `{"version":"2.1.0","runs":[{"tool":{"driver":{"name":"x"${driver}}${run}}]}`;
const nested = (inside: string) =>
  `<testsuites>${Array.from({ length: 98 }, (_, n) => `<testsuite name="${"n".repeat(1000)}${n}">`).join("")}${inside}${
    "</testsuite>".repeat(98)
  }</testsuites>`;
const list = (length: number, item: (index: number) => string) => Array.from({ length }, (_, n) => item(n)).join(",");
const marks = `@${"a".repeat(900)}`;

/** The largest reports, and those that cost most for their size: each with what becomes of it. */
const largest: [report: string, text: () => string, expected: unknown][] = [
  ["junit", () => largeJunit(DEFAULT_MAX_BYTES, 9296), { test_runs: 704, test_cases: 9296 }],
  [
    "junit",
    () =>
      filled(
        "<testsuite>",
        (n) => `<testcase name="${marks}${n}"><failure>${marks}</failure></testcase>`,
        "</testsuite>",
        9999,
      ),
    { test_runs: 1, test_cases: 5656 },
  ],
  ["junit", () => filled("<testsuite>", (n) => `<testcase name="✓${n}${"é".repeat(20)}"/>`, "</testsuite>", 100_000), {
    test_runs: 10,
  }],
  ["junit", () => filled("<testsuite>", () => `<testcase name="a"/>`, "</testsuite>", 1e6), "too_many_tests"],
  [
    "sarif",
    () =>
      filled(
        `{"version":"2.1.0","runs":[{"tool":{"driver":{"name":"x"}},"results":[`,
        (n) =>
          `${comma(n)}{"ruleId":"r${n % 50}","level":"error","message":{"text":"${
            "m".repeat(880)
          }"},"locations":[{"physicalLocation":{"artifactLocation":{"uri":"src/${n}.ts"},"region":{"startLine":1}}}]}`,
        "]}]}",
        10_000,
      ),
    { rule_checks: 10_000 },
  ],
  ["coverage", () => filled("SF:a\n", (n) => `BRDA:${n},0,0,1\n`, "end_of_record\n", 1e6), { measurements: 3 }],
  [
    "measurements",
    () =>
      filled(
        "[",
        (n) => `${comma(n)}{"name":"n${n}","value":${n},"unit":"s","attributes":{"about":"${"x".repeat(960)}"}}`,
        "]",
        10_000,
      ),
    { measurements: 10_000 },
  ],
  [
    "facts",
    () =>
      filled(
        "",
        (n) =>
          `${
            JSON.stringify({
              kind: "jobs",
              external_id: `${n}`,
              name: "x".repeat(800),
              status: "finished",
              outcome: "success",
              steps: [{ name: "test", number: 1 }],
            })
          }\n`,
        "",
        10_000,
      ),
    { jobs: 10_000 },
  ],
  // Small reports that make much: of the names around each test, of one text that many results name, of each wrong item.
  ["junit", () => nested("<testcase name='a'/>".repeat(99_000)), { test_runs: 10 }],
  ["junit", () => nested(`<testsuite name="a" tests="1"/>`.repeat(300_000)), "xml_too_many_names"],
  [
    "sarif",
    () =>
      sarifLog(
        `,"rules":[{"id":"r","messageStrings":{"m":{"text":"${"y".repeat(2 ** 20)}{0}"}}}]}`,
        `,"results":[${
          list(5000, (n) => `{"ruleId":"r","message":{"id":"m","arguments":["${n}"]},"correlationGuid":"${n}"}`)
        }]`,
      ),
    { rule_checks: 5000 },
  ],
  [
    "sarif",
    () =>
      sarifLog(
        `,"rules":[{"id":"${"/".repeat(3 * 2 ** 20)}"}]}`,
        `,"artifacts":[{"location":{"uri":"${"u".repeat(2 ** 20)}"}}],"results":[${
          list(
            6000,
            () =>
              `{"ruleIndex":0,"message":{"text":"${
                "{0}".repeat(20)
              }"},"locations":[{"physicalLocation":{"artifactLocation":{"index":0}}}]}`,
          )
        }]`,
      ),
    { rule_checks: 6000 },
  ],
  [
    "sarif",
    () =>
      sarifLog(
        "}",
        `,"results":[{"ruleId":"r","message":{"text":"${"{0}".repeat(300)}","arguments":["${"y".repeat(3e6)}"]}}]`,
      ),
    { rule_checks: 1 },
  ],
  [
    "sarif",
    () =>
      sarifLog(
        `},"extensions":[${list(30_000, (n) => `{"name":"${n}"}`)}]`,
        `,"results":[${
          list(
            60_000,
            (n) => `{"ruleId":"r","kind":"open","rule":{"toolComponent":{"name":"${n % 30_000}"}},"message":{}}`,
          )
        }]`,
      ),
    {},
  ],
  ["sarif", () => sarifLog("}", `,"results":[${list(4_900_000, () => "0")}]`), "json_too_many_values"],
  ["sarif", () => sarifLog("}", `,"results":[${list(990_000, () => "0")}]`), "invalid_type"],
  [
    "sarif",
    () => sarifLog("}", `,"results":[{"message":{},"partialFingerprints":{${list(700_000, (n) => `"${n}":0`)}}}]`),
    "invalid_type",
  ],
  ["measurements", () => `{"name":"a","value":1,"attributes":{${list(490_000, (n) => `"${n}":[]`)}}}`, "too_big"],
  ["facts", () => `{"test_runs":[{"external_id":"a","passed":[${list(990_000, () => "0")}]}]}`, "invalid_type"],
];

Deno.test("the largest reports, and those that make most of little, are read within 2 s of CPU and the memory of a hosted function, or refused", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const jobs = [];
    for (const [index, [report, text]] of largest.entries()) {
      const bytes = new TextEncoder().encode(text());
      await Deno.writeFile(`${folder}/${index}`, bytes);
      jobs.push(report);
    }
    // From the bytes to what is sent to the database. A process of its own, that is ended when its heap is full.
    const code = `
      const from = (name) => import(new URL(name, ${JSON.stringify(import.meta.url)}).href);
      const [{ reports }, { decodeReport }, { checkFacts }, { writeParameters }, { default: process }] = await Promise.all(
        [from("mod.ts"), from("text.ts"), from("../facts.ts"), from("../parameters.ts"), import("node:process")],
      );
      for (const [index, name] of ${JSON.stringify(jobs)}.entries()) {
        const bytes = await Deno.readFile(${JSON.stringify(`${folder}/`)} + index);
        // What the report before left behind is none of this one's.
        gc();
        const [before, started] = [process.cpuUsage(), performance.now()];
        const read = reports.get(name).read(decodeReport(bytes).text, ${JSON.stringify(contextWith())});
        const { facts } = read.facts ? checkFacts(read.facts) : {};
        const sent = facts && writeParameters({ facts });
        const { user, system } = process.cpuUsage(before);
        const counts = facts && Object.fromEntries(Object.entries(facts).map(([kind, list]) => [kind, list.length]));
        console.log(JSON.stringify({
          result: counts ?? read.unreadable?.split(":")[0] ?? read.refused[0].code,
          // Deno of old does not tell; what passed by the clock is no less.
          ms: (user + system) / 1000 || performance.now() - started,
          external: Deno.memoryUsage().external,
          sent: sent?.length,
        }));
      }`;
    const { code: ended, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        "eval",
        "--no-lock",
        "--node-modules-dir=none",
        `--v8-flags=--expose-gc,--max-old-space-size=${HEAP / 1024 / 1024}`,
        code,
      ],
      stdout: "piped",
      stderr: "piped",
    }).output();
    assertEquals(ended, 0, new TextDecoder().decode(stderr).slice(-2000));
    const lines = new TextDecoder().decode(stdout).trim().split("\n").map((line) => JSON.parse(line));
    assertEquals(lines.map(({ result }) => result), largest.map(([, , expected]) => expected));
    console.log(
      lines.map(({ ms, external }) => `${Math.round(ms)} ms, ${Math.round(external / 2 ** 20)} MiB`).join("; "),
    );
    for (const [index, { ms, external }] of lines.entries()) {
      const name = `${index} ${largest[index]![0]}`;
      assert(ms < ALLOWED_CPU_MS, `${name}: ${ms} ms`);
      assert(external < ALLOWED_MEMORY - HEAP, `${name}: ${external} bytes outside of the heap`);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
