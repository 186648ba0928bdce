import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { Context } from "./mod.ts";
import { contextWith, factsOf, refusalOf } from "./testing.ts";
import { junit } from "./junit.ts";

/** What a report says, in short: suites with counts and names, and the cases with words. */
function told(text: string, change: Partial<Context> = {}) {
  const { test_runs = [], test_cases = [] } = factsOf("junit", text, change);
  return {
    suites: test_runs.map((run) => [
      run.suite,
      [run.passed_count, run.failed_count, run.error_count, run.skipped_count],
      run.passed,
      run.skipped,
    ]),
    cases: test_cases.map((one) => [one.suite, one.name, one.outcome, one.message, one.retries]),
  };
}
const suite = (name: string, ...cases: string[]) => `<testsuite name="${name}">${cases.join("")}</testsuite>`;

Deno.test("a suite is a test run with what the context says, and names every test", () => {
  const facts = factsOf(
    "junit",
    `<testsuites><testsuite name="com.acme.BasketTest" tests="3" failures="1" skipped="1" time="1,234.5" timestamp="2026-01-05T08:59:00.250Z">
      <testcase classname="com.acme.BasketTest" name="adds" time="0.5"/>
      <testcase classname="com.acme.BasketTest" name="fails" time="0.25"><failure message="1 &lt; 2" type="E">at line 3</failure></testcase>
      <testcase classname="com.acme.BasketTest" name="waits" time="0"><skipped/></testcase>
    </testsuite></testsuites>`,
    { url: "https://ci.test/7" },
  );
  const common = { repository: "github:1", observed_at: "2026-01-05T09:00:00Z" };
  assertEquals(facts, {
    test_runs: [{
      ...common,
      external_id: "7/2/build/com.acme.BasketTest",
      suite: "com.acme.BasketTest",
      commit_sha: contextWith().commitSha,
      branch: "main",
      pipeline: "CI",
      job: "build",
      url: "https://ci.test/7",
      passed_count: 1,
      failed_count: 1,
      error_count: 0,
      skipped_count: 1,
      duration_seconds: 1234.5,
      started_at: "2026-01-05T08:59:00.25Z",
      passed: ["adds"],
      skipped: ["waits"],
    }],
    test_cases: [{
      ...common,
      test_run_external_id: "7/2/build/com.acme.BasketTest",
      suite: "com.acme.BasketTest",
      name: "fails",
      outcome: "failed",
      message: "1 < 2",
      duration_seconds: 0.25,
      retries: 0,
    }],
  });
});

Deno.test("what the context does not say is not said", () => {
  const text = suite("a", `<testcase name="x"/>`);
  const nothing = { branch: null, pipeline: null, job: null, commitSha: null, observedAt: null };
  assertEquals(factsOf("junit", text, nothing).test_runs, [{
    repository: "github:1",
    observed_at: null,
    external_id: "7/2/-/a",
    suite: "a",
    passed_count: 1,
    failed_count: 0,
    error_count: 0,
    skipped_count: 0,
    passed: ["x"],
    skipped: [],
  }]);
});

Deno.test("Surefire: retries are elements, and a name that comes again is a row of data", () => {
  const schema =
    `xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:noNamespaceSchemaLocation="https://maven.apache.org/surefire/maven-surefire-plugin/xsd/surefire-test-report.xsd"`;
  const report = `<testsuite ${schema} name="a.FooTest" tests="4">
    <testcase name="flaky" classname="a.FooTest" time="0.1">
      <flakyFailure message="first" type="E"><stackTrace>at x</stackTrace><system-out>log</system-out></flakyFailure>
      <flakyError message="second" type="E"><stackTrace>at y</stackTrace></flakyError>
    </testcase>
    <testcase name="broken" classname="a.FooTest" time="0.1">
      <failure message="first" type="E">at x</failure><rerunFailure message="second" type="E"/>
    </testcase>
    <testcase name="data" classname="a.FooTest"/>
    <testcase name="data" classname="a.FooTest"><error message="row 2" type="E"/></testcase>
    <testcase name="" classname="a.FooTest"><error type="a.SetUp"/></testcase>
  </testsuite>`;
  assertEquals(told(report), {
    suites: [["a.FooTest", [2, 1, 2, 0], ["flaky", "data"], []]],
    cases: [
      ["a.FooTest", "broken", "failed", "first", 1],
      ["a.FooTest", "data #2", "error", "row 2", 0],
      ["a.FooTest", "a.FooTest", "error", "a.SetUp", 0],
      ["a.FooTest", "flaky", "passed", "first", 2],
    ],
  });
});

Deno.test("Gradle: a test that is tried again comes again, or has elements where they are merged", () => {
  const attributes =
    `tests="6" skipped="0" failures="4" errors="0" timestamp="2026-01-05T09:00:00" hostname="runner" time="0.1"`;
  const failed = `<testcase name="flaky()" classname="a.FooTest"><failure message="no">at x</failure></testcase>`;
  const broken = `<testcase name="broken()" classname="a.FooTest"><failure message="never"/></testcase>`;
  const merged = `<testcase name="merged()" classname="a.FooTest"><flakyFailure message="once"/></testcase>`;
  const report = `<testsuite name="a.FooTest" ${attributes}>${failed}${failed}
    <testcase name="flaky()" classname="a.FooTest"/>${broken}${broken}${merged}</testsuite>`;
  assertEquals(told(report), {
    suites: [["a.FooTest", [2, 1, 0, 0], ["flaky()", "merged()"], []]],
    cases: [
      ["a.FooTest", "broken()", "failed", "never", 1],
      ["a.FooTest", "flaky()", "passed", "no", 2],
      ["a.FooTest", "merged()", "passed", "once", 1],
    ],
  });
});

Deno.test("pytest: classes are part of the name, and a test that comes again was tried again", () => {
  const report = `<testsuites name="pytest tests">${
    suite(
      "pytest",
      `<testcase classname="tests.test_a.TestX" name="test_one[a-1]" time="0.001"/>`,
      `<testcase classname="tests.test_a" name="test_expected"><skipped type="pytest.xfail" message="later"/></testcase>`,
      `<testcase classname="tests.test_a" name="test_flaky"/>`,
      `<testcase classname="tests.test_a" name="test_flaky"/>`,
      `<testcase classname="tests.test_a" name="test_down"><failure message="assert 0"/></testcase>`,
      `<testcase classname="tests.test_a" name="test_setup"><error message="failed on setup">E</error></testcase>`,
    )
  }</testsuites>`;
  assertEquals(told(report), {
    suites: [[
      "pytest",
      [2, 1, 1, 1],
      ["tests.test_a.test_flaky", "tests.test_a.TestX.test_one[a-1]"],
      ["tests.test_a.test_expected"],
    ]],
    cases: [
      ["pytest", "tests.test_a.test_down", "failed", "assert 0", 0],
      ["pytest", "tests.test_a.test_setup", "error", "failed on setup", 0],
      ["pytest", "tests.test_a.test_flaky", "passed", null, 1],
    ],
  });
});

Deno.test("pytest: a test that failed and could not be torn down is two cases, but one try", () => {
  const one = (name: string, inner = "") => `<testcase classname="tests.test_a" name="${name}">${inner}</testcase>`;
  const failure = `<failure message="assert 0">E</failure>`;
  const report = suite(
    "pytest",
    one("test_down", failure),
    one("test_down", `<error message="failed on teardown with &quot;x&quot;">E</error>`),
    one("test_again", failure),
    one("test_again", `<error message="failed on teardown with &quot;x&quot;">E</error>`),
    one("test_again"),
    one("test_setup", failure),
    one("test_setup", `<error message="failed on setup with &quot;x&quot;">E</error>`),
  );
  assertEquals(told(report), {
    suites: [["pytest", [1, 1, 1, 0], ["tests.test_a.test_again"], []]],
    cases: [
      ["pytest", "tests.test_a.test_down", "failed", "assert 0", 0],
      ["pytest", "tests.test_a.test_setup", "error", 'failed on setup with "x"', 1],
      ["pytest", "tests.test_a.test_again", "passed", "assert 0", 1],
    ],
  });
});

Deno.test("a failure is not hidden by a test of the same name, whatever its class is called", () => {
  const one = (inner: string) => `<testcase classname="Basket" name="adds">${inner}</testcase>`;
  const report = `<testsuites name="jest tests">${
    suite("Basket", one(`<failure>Error: no</failure>`), one(""))
  }</testsuites>`;
  assertEquals(told(report), {
    suites: [["Basket", [1, 1, 0, 0], ["adds #2"], []]],
    cases: [["Basket", "adds", "failed", "Error: no", 0]],
  });
});

Deno.test("Go: a test that comes again was tried again, and failed if it failed after it passed", () => {
  const go = `<properties><property name="go.version" value="go1.25 linux/amd64"/></properties>`;
  const one = (name: string, inner = "") =>
    `<testcase classname="example.test/app/cart" name="${name}">${inner}</testcase>`;
  const failure = `<failure message="Failed" type=""/>`;
  const report = `<testsuites>${
    suite(
      "example.test/app/cart",
      go,
      one("TestFlaky", failure),
      one("TestFlaky"),
      one("TestFlaky/sub_one"),
      one("TestCounted"),
      one("TestCounted"),
      one("TestBroke"),
      one("TestBroke", failure),
    )
  }${suite("example.test/app/tax", go, `<testcase classname="tax" name="TestRate"/>`)}</testsuites>`;
  assertEquals(told(report), {
    suites: [
      ["example.test/app/cart", [3, 1, 0, 0], ["TestFlaky", "TestFlaky/sub_one", "TestCounted"], []],
      ["example.test/app/tax", [1, 0, 0, 0], ["TestRate"], []],
    ],
    cases: [
      ["example.test/app/cart", "TestBroke", "failed", "Failed", 1],
      ["example.test/app/cart", "TestFlaky", "passed", "Failed", 1],
    ],
  });
});

Deno.test("Rust nextest: retries are elements", () => {
  const report = `<testsuites name="nextest-run" tests="2" uuid="1b4e28ba"><testsuite name="app::cli" tests="2">
    <testcase name="parse::empty" classname="app::cli" time="0.004"><flakyFailure type="test failure" message="m"/></testcase>
    <testcase name="parse::bad" classname="app::cli"><failure type="test failure with exit code 101">panicked
at src/lib.rs</failure><rerunFailure type="test failure"/></testcase></testsuite></testsuites>`;
  assertEquals(told(report), {
    suites: [["app::cli", [1, 1, 0, 0], ["parse::empty"], []]],
    cases: [
      ["app::cli", "parse::bad", "failed", "panicked\nat src/lib.rs", 1],
      ["app::cli", "parse::empty", "passed", "m", 1],
    ],
  });
});

Deno.test("PHPUnit: nested by configuration, folder and data set, but the class is the suite", () => {
  const one = (name: string) =>
    `<testcase name="${name}" class="App\\CartTest" classname="App.CartTest" file="/x/CartTest.php"/>`;
  const report = `<testsuites>${
    suite(
      "/build/1/phpunit.xml",
      suite(
        "unit",
        suite("App\\CartTest", one("testAdd"), suite("App\\CartTest::testTax", one("testTax with data set #0"))),
      ),
    )
  }</testsuites>`;
  assertEquals(told(report).suites, [["App\\CartTest", [2, 0, 0, 0], ["testAdd", "testTax with data set #0"], []]]);
});

Deno.test("Playwright: projects are told apart by what others call the host", () => {
  const one = (project: string, inner = "") =>
    `<testsuite name="cart.spec.ts" hostname="${project}"><testcase name="cart › adds" classname="cart.spec.ts">${inner}</testcase></testsuite>`;
  const report = `<testsuites id="" name="">${one("chromium")}${
    one("firefox", `<failure message="no"/>`)
  }</testsuites>`;
  assertEquals(told(report), {
    suites: [
      ["[chromium] cart.spec.ts", [1, 0, 0, 0], ["cart › adds"], []],
      ["[firefox] cart.spec.ts", [0, 1, 0, 0], [], []],
    ],
    cases: [["[firefox] cart.spec.ts", "cart › adds", "failed", "no", 0]],
  });
  const elsewhere =
    `<testsuites name="x"><testsuite name="a" hostname="runner-17"><testcase name="t"/></testsuite></testsuites>`;
  assertEquals(told(elsewhere).suites[0]![0], "a");
});

Deno.test("Node's runner: suites nest, and tests may stand outside of all", () => {
  const report = `<testsuites><testcase name="alone" classname="test"/>${
    suite("cart", `<testcase name="adds" classname="test"/>`, suite("tax", `<testcase name="adds" classname="test"/>`))
  }</testsuites>`;
  assertEquals(told(report).suites, [
    ["", [1, 0, 0, 0], ["alone"], []],
    ["cart", [1, 0, 0, 0], ["adds"], []],
    ["cart > tax", [1, 0, 0, 0], ["adds"], []],
  ]);
});

Deno.test("Jest and Mocha: the class only says the name again, and equal titles are different tests", () => {
  const report = `<testsuites name="jest tests">${
    suite(
      "cart",
      `<testcase classname="cart adds" name="cart adds"><failure>Error: no
    at x</failure></testcase>`,
      `<testcase classname="cart adds" name="cart adds"/>`,
      `<testcase classname="takes off" name="cart takes off"/>`,
      `<testcase classname="basket" name="cart"/>`,
    )
  }</testsuites>`;
  assertEquals(told(report), {
    suites: [["cart", [3, 1, 0, 0], ["cart adds #2", "cart takes off", "basket.cart"], []]],
    cases: [["cart", "cart adds", "failed", "Error: no\n    at x", 0]],
  });
});

Deno.test("how a case ended may stand in an attribute, and the worst of several elements counts", () => {
  const report = suite(
    "gtest",
    `<testcase name="a" status="run" result="completed"/>`,
    `<testcase name="b" status="notrun" result="suppressed"/>`,
    `<testcase name="c" status="failed"/>`,
    `<testcase name="d"><skipped/><error message="e"/><failure message="f1"/><failure message="f2"/></testcase>`,
    `<testcase name="e"><system-out>x</system-out><properties><property name="failure"/></properties></testcase>`,
    `<testcase name="f"><disabled/></testcase>`,
    `<testcase name="g" status="constructor"/>`,
  );
  assertEquals(told(report), {
    suites: [["gtest", [3, 2, 0, 2], ["a", "e", "g"], ["b", "f"]]],
    cases: [["gtest", "c", "failed", null, 0], ["gtest", "d", "failed", "f1", 0]],
  });
});

Deno.test("suites of one name are one, and times are those of the suites or the sum of their cases", () => {
  const timed = (attributes: string, ...seconds: string[]) =>
    `<testsuite name="a" ${attributes}>${
      seconds.map((time, at) => `<testcase name="${at} ${attributes.replaceAll('"', "")}" time="${time}"/>`).join("")
    }</testsuite>`;
  const run = (text: string) => {
    const [one] = factsOf("junit", `<testsuites>${text}</testsuites>`).test_runs!;
    return [one!.passed_count, one!.duration_seconds, one!.started_at];
  };
  assertEquals(run(timed(`time="2"`, "0.5") + timed(`time="3"`, "0.5")), [2, 5, undefined]);
  assertEquals(run(timed("", "0.1", "0.2") + timed(`time="3"`, "0.5")), [3, 0.8, undefined]);
  assertEquals(run(timed("", "0.1", "")), [2, undefined, undefined]);
  assertEquals(run(timed("", "-1")), [1, undefined, undefined]);
  assertEquals(run(timed(`time="1,5"`, "1,234")), [1, 1.5, undefined]);
  const started = (second: string) => timed(`timestamp="2026-01-05T09:00:${second}Z"`, "1");
  assertEquals(run(started("00.5") + started("00") + timed("", "1"))[2], "2026-01-05T09:00:00Z");
});

Deno.test("a suite that lists no test has the counts that it says, and one without tests is none", () => {
  assertEquals(told(`<testsuite name="a" tests="10" failures="1" errors="2" skipped="3"/>`).suites, [
    ["a", [4, 1, 2, 3], [], []],
  ]);
  assertEquals(told(`<testsuites><testsuite name="a" tests="0"/><testsuite name="b"/></testsuites>`).suites, []);
  assertEquals(junit.read("<testsuites/>", contextWith()), {
    facts: { test_runs: [], test_cases: [] },
    notes: ["the report holds no test"],
  });
});

Deno.test("the parameter suite stands before the names of suites", () => {
  const text = suite("a", `<testcase name="x"/>`);
  const [run] = factsOf("junit", text, { suite: "unit" }).test_runs!;
  assertEquals([run!.suite, run!.external_id], ["unit > a", "7/2/build/unit > a"]);
});

Deno.test("names that the database would make equal, or cannot hold, stay different", () => {
  const long = "x".repeat(5000);
  const names = ["ann@example.com", "bob@example.com", `${long}1`, `${long}2`];
  const { suites: [[, counts, passed] = []] } = told(suite(long, ...names.map((name) => `<testcase name="${name}"/>`)));
  assertEquals(counts, [4, 0, 0, 0]);
  assertEquals(new Set(passed as string[]).size, 4);
  assertEquals((passed as string[]).slice(0, 2), ["[e-mail]~61c26e6edb6acdd1", "[e-mail]~4ac1499463bb4769"]);
  for (const name of passed as string[]) assert(new TextEncoder().encode(name).length <= 1024);
});

Deno.test("a suite of more tests than a list holds is several test runs", () => {
  const cases = Array.from(
    { length: 25_000 },
    (_, n) => `<testcase name="t${n}">${n % 5 ? "" : "<skipped/>"}</testcase>`,
  );
  const retried = `<testcase name="last"><flakyFailure message="m"/></testcase>`;
  const { test_runs, test_cases } = factsOf(
    "junit",
    suite("all", ...cases, `<testcase name="f"><failure/></testcase>`, retried),
  );
  assertEquals(test_runs!.map((run) => [run.external_id, run.passed_count, run.skipped_count, run.failed_count]), [
    ["7/2/build/all", 10_000, 5000, 1],
    ["7/2/build/all#2", 10_000, 0, 0],
    ["7/2/build/all#3", 1, 0, 0],
  ]);
  assertEquals(new Set(test_runs!.flatMap((run) => run.passed!)).size, 20_001);
  // The test with words is in the run that its words name.
  assert(test_runs![0]!.passed!.includes("last"));
  assertEquals(test_cases!.map((one) => [one.name, one.test_run_external_id]), [
    ["f", "7/2/build/all"],
    ["last", "7/2/build/all"],
  ]);
});

Deno.test("what is wrong is named by its place, counted from 0", () => {
  const text = `<testsuites>${suite("a")}${suite("b", `<testcase name="x"/>`, `<testcase classname=" "/>`)}${
    suite("c", `<testsuite name="d" tests="1" failures="2"/>`)
  }</testsuites>`;
  assertEquals(refusalOf("junit", text), [
    { place: "testsuites.testsuite[1].testcase[1]@name", code: "missing" },
    { place: "testsuites.testsuite[2].testsuite[0]@tests", code: "counts_do_not_add_up" },
  ]);
  const nameless = suite("a", ..."<testcase/>,".repeat(500).split(","));
  assertEquals(refusalOf("junit", nameless).length, 100);
  assertEquals(refusalOf("junit", text, { runExternalId: null, commitSha: null }), [
    { place: "run", code: "run_or_commit_missing" },
  ]);
});

Deno.test("what is no JUnit XML is refused", () => {
  assertEquals(refusalOf("junit", "<coverage/>"), "not_junit: line 1");
  assertEquals(refusalOf("junit", "<html><testsuite/></html>"), "not_junit: line 1");
  assertEquals(refusalOf("junit", `<testsuite name="a">\n<testcase name="x">`), "not_xml: line 2");
  assertEquals(refusalOf("junit", ""), "not_xml: line 1");
  assertEquals(refusalOf("junit", `<!DOCTYPE a [<!ENTITY e "x">]><testsuite name="&e;"/>`), "xml_doctype: line 1");
  assertEquals(refusalOf("junit", "<testsuite>".repeat(200)), "xml_too_deep: line 1");
});

Deno.test("more than can be taken at once is refused", () => {
  const failures = Array.from({ length: 10_000 }, (_, n) => `<testcase name="${n}"><failure/></testcase>`);
  assertEquals(refusalOf("junit", suite("a", ...failures)), [{ place: "testsuites", code: "too_many_facts" }]);
  assertEquals(told(suite("a", ...failures.slice(1))).cases.length, 9999);
  const tests = "<testcase name='a'/>".repeat(100_001);
  assertEquals(refusalOf("junit", suite("a", tests)), [{ place: "testsuites", code: "too_many_tests" }]);
});

const name = fc.constantFrom("a", "b", "a #2", "com.acme.FooTest", "x y", "ü✓", "<&>", "d@example.com");
const child = fc.constantFrom(
  "",
  "<failure/>",
  `<error message="m"/>`,
  "<skipped/>",
  "<flakyFailure/>",
  "<rerunError/><failure/>",
);
const escaped = (text: string) => text.replace(/[<&>]/g, (char) => `&#${char.charCodeAt(0)};`);
const testcase = fc.record({ className: name, name, child }).map((one) =>
  `<testcase classname="${escaped(one.className)}" name="${escaped(one.name)}" time="0.1">${one.child}</testcase>`
);
const { node } = fc.letrec<{ node: string; nested: string }>((tie) => ({
  node: fc.record({
    name,
    go: fc.boolean(),
    cases: fc.array(testcase, { maxLength: 8 }),
    suites: fc.array(tie("nested"), { maxLength: 2 }),
  })
    .map((one) => {
      const go = one.go ? `<properties><property name="go.version" value="1"/></properties>` : "";
      return `<testsuite name="${escaped(one.name)}">${go}${one.cases.join("")}${one.suites.join("")}</testsuite>`;
    }),
  nested: fc.oneof({ depthSize: "small" }, fc.constant(""), tie("node")),
}));

Deno.test("counts add up: every count is of names that are told, each once, and no case is lost", () => {
  fc.assert(fc.property(fc.array(node, { maxLength: 4 }), (suites) => {
    const text = `<testsuites>${suites.join("")}</testsuites>`;
    const { test_runs = [], test_cases = [] } = factsOf("junit", text);
    const ids = test_runs.map((run) => run.external_id);
    assertEquals(new Set(ids).size, ids.length);
    let tests = 0;
    for (const run of test_runs) {
      const words = test_cases.filter((one) => one.test_run_external_id === run.external_id);
      const named = (outcome: string) => words.filter((one) => one.outcome === outcome).map((one) => one.name);
      assertEquals(run.passed_count, run.passed!.length);
      assertEquals(run.skipped_count, run.skipped!.length);
      assertEquals([run.failed_count, run.error_count], [named("failed").length, named("error").length]);
      const names = [...run.passed!, ...run.skipped!, ...named("failed"), ...named("error")];
      assertEquals(new Set(names).size, names.length);
      for (const one of words.filter(({ outcome }) => outcome === "passed")) {
        assert(one.retries! > 0 && run.passed!.includes(one.name));
      }
      tests += names.length;
    }
    // Only runs of one test are put together.
    const cases = text.split("<testcase").length - 1;
    assert(tests <= cases && (tests === cases || /go\.version/.test(text)));
    assert((cases > 0) === (tests > 0));
    const failures = text.split(/<failure|<error/).length - 1;
    assert(failures === 0 || test_cases.length > 0);
  }));
});

Deno.test("the same upload twice gives equal facts, and the order of suites changes none", () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(name, { maxLength: 6 }),
      fc.array(fc.array(testcase, { minLength: 1, maxLength: 6 }), { minLength: 6, maxLength: 6 }),
      (names, cases) => {
        const suites = names.map((name, at) => suite(escaped(name), ...cases[at]!));
        const sorted = (list: string[]) => {
          const { test_runs = [], test_cases = [] } = factsOf("junit", `<testsuites>${list.join("")}</testsuites>`);
          const byId = (one: { external_id: string }, other: { external_id: string }) =>
            one.external_id < other.external_id ? -1 : 1;
          const key = (one: typeof test_cases[number]) => `${one.test_run_external_id}\n${one.name}`;
          return { runs: test_runs.toSorted(byId), cases: test_cases.toSorted((a, b) => key(a) < key(b) ? -1 : 1) };
        };
        assertEquals(sorted(suites), sorted(suites));
        assertEquals(sorted(suites), sorted(suites.toReversed()));
      },
    ),
  );
});
