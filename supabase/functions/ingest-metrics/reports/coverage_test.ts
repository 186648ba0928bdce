import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { factsOf, refusalOf } from "./testing.ts";

/** Numbers by their names, and the times and formats that they have. */
function covered(text: string, change = {}) {
  const facts = factsOf("coverage", text, change).measurements ?? [];
  return Object.fromEntries(facts.map((fact) => [fact.name!.replace("coverage.", ""), fact.value]));
}

Deno.test("LCOV: what each record says of itself is added up", () => {
  const text = `TN:
SF:src/a.ts
FN:1,3,add
FNDA:2,add
FNF:1
FNH:1
DA:1,1
DA:2,0
LF:2
LH:1
BRDA:1,0,0,1
BRDA:1,0,1,-
BRF:2
BRH:1
end_of_record
SF:src/b.ts\r
DA:1,5,checksum\r
LF:2
LH:2
end_of_record
`;
  assertEquals(covered(text), {
    lines: 75,
    "lines.covered": 3,
    "lines.total": 4,
    branches: 50,
    "branches.covered": 1,
    "branches.total": 2,
    functions: 100,
    "functions.covered": 1,
    "functions.total": 1,
  });
  const [fact, count] = factsOf("coverage", text, { suite: "web" }).measurements!;
  assertEquals([fact!.unit, count!.unit, fact!.external_id, count!.external_id], [
    "%",
    "lines",
    "7/2/build/web",
    "7/2/build/web",
  ]);
  assertEquals([fact!.attributes!.format, fact!.attributes!.suite, fact!.measured_at], [
    "lcov",
    "web",
    "2026-01-05T09:00:00Z",
  ]);
});

Deno.test("LCOV: a file that several tests tell of counts once, and listed lines count where nothing is summed up", () => {
  const text = `TN:one
SF:a.c
DA:1,1
DA:2,0
LF:2
LH:1
end_of_record
TN:two
SF:a.c
DA:1,0
DA:2,3
DA:3,0
FNL:0,4,6
FNA:0,0,main
BRDA:2,0,1,0
LF:3
LH:1
end_of_record`;
  assertEquals(covered(text), {
    lines: 200 / 3,
    "lines.covered": 2,
    "lines.total": 3,
    branches: 0,
    "branches.covered": 0,
    "branches.total": 1,
    functions: 0,
    "functions.covered": 0,
    "functions.total": 1,
  });
});

Deno.test("LCOV: words that are not known say nothing, whatever they are", () => {
  const known = factsOf("coverage", "SF:a\nDA:1,1\nend_of_record\n");
  assertEquals(factsOf("coverage", "toString:1\nSF:a\nDA:1,1\nconstructor:1\n__proto__:1\nend_of_record\n"), known);
});

Deno.test("LCOV: what counts nothing has no number", () => {
  assertEquals(covered("SF:a\nLF:0\nLH:0\nend_of_record\n"), {});
});

Deno.test("LCOV: a line that cannot be, or a file that was cut, is refused", () => {
  assertEquals(refusalOf("coverage", "SF:a\nDA:x,1\nDA:1,y\nLF:-1\nLH:\nFNDA:,f\nend_of_record\nDA:1,1\nSF:b\n"), [
    ...[2, 3, 4, 5, 6].map((line) => ({ place: `line ${line}`, code: "not_a_number" })),
    { place: "line 8", code: "outside_of_a_file" },
    { place: "line 9", code: "ends_early" },
  ]);
  const files = Array.from({ length: 100_001 }, (_, n) => `SF:${n}\nend_of_record\n`).join("");
  assertEquals(refusalOf("coverage", files), [{ place: "line 200001", code: "too_many_files" }]);
});

const cobertura = (root: string, classes = "") =>
  `<?xml version="1.0"?>
<!DOCTYPE coverage SYSTEM "http://cobertura.example/xml/coverage-04.dtd">
<coverage ${root}><packages><package><classes>${classes}</classes></package></packages></coverage>`;

Deno.test("Cobertura: the sums of the root, its functions, and its time", () => {
  const text = cobertura(
    `lines-valid="8" lines-covered="6" line-rate="0.75" branches-valid="4" branches-covered="1" timestamp="1767600000000"`,
    `<class filename="a.ts"><methods>
      <method name="f"><lines><line number="1" hits="1"/></lines></method>
      <method name="g" line-rate="0"><lines><line number="5" hits="0"/></lines></method>
      <method name="h" line-rate="0.5"/>
    </methods><lines><line number="1" hits="1"/></lines></class>`,
  );
  assertEquals(covered(text), {
    lines: 75,
    "lines.covered": 6,
    "lines.total": 8,
    branches: 25,
    "branches.covered": 1,
    "branches.total": 4,
    functions: 200 / 3,
    "functions.covered": 2,
    "functions.total": 3,
  });
  const [fact] = factsOf("coverage", text).measurements!;
  assertEquals([fact!.measured_at, fact!.attributes!.format], ["2026-01-05T08:00:00Z", "cobertura"]);
});

Deno.test("Cobertura: lines count where nothing is summed up, each of a file once", () => {
  const lines =
    `<lines><line number="1" hits="0"/><line number="2" hits="3" branch="true" condition-coverage="50% (1/2)"/></lines>`;
  const again = `<lines><line number="1" hits="1"/><line number="9" hits="0"/></lines>`;
  const text = cobertura("", `<class filename="a">${lines}</class><class filename="a">${again}</class>`);
  assertEquals(covered(text), {
    lines: 200 / 3,
    "lines.covered": 2,
    "lines.total": 3,
    branches: 50,
    "branches.covered": 1,
    "branches.total": 2,
  });
});

Deno.test("Cobertura: a rate counts by itself where there are no lines, unless it is 0", () => {
  assertEquals(covered(cobertura(`line-rate="0,825" branch-rate="0"`)), { lines: 82.5 });
  assertEquals(covered(cobertura(`line-rate="0" branch-rate="0" lines-valid="0" lines-covered="0"`)), {});
});

Deno.test("what is neither LCOV nor Cobertura is refused", () => {
  const others = {
    "<coverage generated='1' clover='4.4.1'><project/></coverage>": "not_coverage: line 1",
    "<coverage generated='1'>\n<project/></coverage>": "not_coverage: line 2",
    "<report name='JaCoCo'/>": "not_coverage: line 1",
    "<testsuites/>": "not_coverage: line 1",
    "": "not_coverage",
    "{}": "not_coverage",
    "<coverage>": "not_xml: line 1",
    "<!DOCTYPE coverage [<!ENTITY e 'x'>]><coverage/>": "xml_doctype: line 1",
  };
  for (const [text, code] of Object.entries(others)) assertEquals(refusalOf("coverage", text), code, text);
  assertEquals(refusalOf("coverage", "SF:a\nend_of_record", { runExternalId: null, commitSha: null }), [
    { place: "run", code: "run_or_commit_missing" },
  ]);
});

Deno.test("LCOV and Cobertura of the same lines give the same numbers, in any order of files", () => {
  const hits = fc.array(fc.integer({ min: 0, max: 2 }), { minLength: 1, maxLength: 6 });
  fc.assert(fc.property(fc.array(hits, { minLength: 1, maxLength: 5 }), (files) => {
    const record = (lines: number[], at: number) =>
      `SF:f${at}\n${lines.map((hit, n) => `DA:${n + 1},${hit}\n`).join("")}end_of_record\n`;
    const element = (lines: number[], at: number) =>
      `<class filename="f${at}"><lines>${
        lines.map((hit, n) => `<line number="${n + 1}" hits="${hit}"/>`).join("")
      }</lines></class>`;
    const [total, covers] = [files.flat().length, files.flat().filter((hit) => hit > 0).length];
    const expected = { lines: 100 * covers / total, "lines.covered": covers, "lines.total": total };
    assertEquals(covered(files.map(record).join("")), expected);
    assertEquals(covered(files.map(record).toReversed().join("")), expected);
    assertEquals(covered(cobertura("", files.map(element).join(""))), expected);
  }));
});
