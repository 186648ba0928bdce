import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { checkFacts } from "../facts.ts";
import { reports, sentences } from "./mod.ts";
import { contextWith } from "./testing.ts";

/** A report of each kind that is whole. */
const whole: Record<string, string> = {
  junit:
    `<testsuites><testsuite name="a" time="1,5"><testcase name="x" classname="B"><failure message="m">t</failure></testcase></testsuite></testsuites>`,
  sarif:
    `{"version":"2.1.0","runs":[{"tool":{"driver":{"name":"a","rules":[{"id":"r"}]}},"results":[{"ruleId":"r","message":{"text":"m"}}]}]}`,
  coverage: "TN:\nSF:a\nFN:1,f\nFNDA:1,f\nBRDA:1,0,0,1\nDA:1,1\nLF:1\nLH:1\nend_of_record\n",
  measurements: `[{"name":"a","value":1,"attributes":{"b":"c"},"measured_at":"2026-01-05","id":"i"}]`,
  facts: `{"kind":"jobs","external_id":"1","steps":[{"name":"s"}]}\n{"kind":"commits","sha":"0123456"}`,
};

Deno.test("every report is read by its name", () => {
  assertEquals([...reports.keys()], Object.keys(whole));
  for (const [name, report] of reports) {
    assertEquals(report.name, name);
    assert(report.contentTypes.length > 0);
    assert("facts" in report.read(whole[name]!, contextWith()), name);
  }
});

Deno.test("no text makes a report throw, and what is wrong has a known code and a place without anything of the text", () => {
  const piece = fc.oneof(
    fc.constantFrom(
      '"',
      "<",
      ">",
      "/",
      "{",
      "}",
      "[",
      "]",
      ",",
      ":",
      "null",
      "-1",
      "\n",
      "&#0;",
      "\0",
      "__proto__",
      "SECRET",
    ),
    fc.string({ maxLength: 5 }),
  );
  const edits = fc.array(fc.tuple(fc.nat(), fc.nat(8), piece), { maxLength: 4 });
  fc.assert(
    fc.property(fc.constantFrom(...reports.values()), edits, (report, edits) => {
      let text = whole[report.name]!;
      for (const [at, length, piece] of edits) {
        const start = at % (text.length + 1);
        text = text.slice(0, start) + piece + text.slice(start + length);
      }
      const read = report.read(text, contextWith());
      if ("facts" in read) {
        const checked = checkFacts(read.facts);
        assert("facts" in checked, JSON.stringify(checked));
        return;
      }
      const problems = "refused" in read
        ? read.refused
        : [{ code: read.unreadable.split(": ")[0]!, place: read.unreadable }];
      assert(problems.length > 0);
      for (const { code, place } of problems) {
        assert(Object.hasOwn(sentences, code), code);
        assert(/^[\w.@: []*(?:\[\d+\][\w.@: ]*)*$/.test(place) && !/SECRET|proto/.test(place), place);
      }
    }),
    { numRuns: 3000 },
  );
});
