import { assertEquals } from "@std/assert";
import { readTap } from "./pgtap.ts";

Deno.test("assertions that hold are counted", () => {
  assertEquals(readTap("1..2\nok 1 - one\nok 2"), { passed: 2, failures: [] });
});

Deno.test("an assertion that fails is told with what pgTAP says about it", () => {
  assertEquals(readTap('1..2\nnot ok 1 - one\n# Failed test 1: "one"\n#  have: 1\nok 2 - two'), {
    passed: 1,
    failures: ['one\n  # Failed test 1: "one"\n  #  have: 1'],
  });
});

Deno.test("an assertion that is known to fail or skipped is no failure", () => {
  assertEquals(readTap("1..2\nnot ok 1 - one # TODO later\nok 2 # SKIP not here"), { passed: 2, failures: [] });
});

Deno.test("fewer assertions than planned are a failure", () => {
  assertEquals(readTap("1..3\nok 1 - one").failures, ["the file plans 3 assertions and made 1"]);
});

Deno.test("a file that says nothing is a failure", () => {
  assertEquals(readTap("").failures, ["the file has no plan: it does not say how many assertions it makes"]);
});

Deno.test("giving up is a failure", () => {
  assertEquals(readTap("1..1\nok 1 - one\nBail out! no table").failures.length, 2);
});
