import { assert, assertEquals } from "@std/assert";
import { contentTypeOf, parseBody, redact, writeBody } from "./body.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const form = "application/x-www-form-urlencoded";

Deno.test("a content type is compared without parameters and case", () => {
  const type = (value: string) => contentTypeOf(new Headers({ "content-type": value }));
  assertEquals(type("Application/JSON ; charset=UTF-8"), "application/json");
  assertEquals([type(""), contentTypeOf(new Headers())], ["", ""]);
});

Deno.test("JSON and forms give the same object", () => {
  const value = { a: "é & + %", n: [1, null] };
  assertEquals(parseBody("application/json", bytes(JSON.stringify(value))), { value });
  assertEquals(parseBody("application/json", bytes(`\ufeff${JSON.stringify(value)}`)), { value });
  assertEquals(parseBody(form, bytes(`payload=${encodeURIComponent(JSON.stringify(value))}`)), { value });
  assertEquals(parseBody(form, writeBody(form, value)), { value });
  assertEquals(parseBody("application/json", writeBody("application/json", value)), { value });
});

Deno.test("what is not JSON, not an object or not UTF-8 is told by a code", () => {
  for (const text of ["", " ", "{", "{'a':1}", "undefined", '{"a":1}x', "\0"]) {
    assertEquals(parseBody("application/json", bytes(text)), { wrong: "body: not JSON" }, text);
  }
  for (const text of ["null", "1", '"a"', "[]", "true"]) {
    assertEquals(parseBody("application/json", bytes(text)), { wrong: "body: not an object" }, text);
  }
  assertEquals(parseBody("application/json", new Uint8Array([0x7b, 0xff, 0x7d])), { wrong: "body: not UTF-8" });
  assertEquals(parseBody(form, bytes("body={}")), { wrong: "body: a form without the field payload" });
  assertEquals(parseBody(form, bytes("payload=%zz")), { wrong: "body: not JSON" });
  const many = { wrong: "body: more than 1000000 objects and arrays" };
  assertEquals(parseBody("application/json", bytes(`{"a":[${"[],".repeat(1_000_000)}1]}`)), many);
});

Deno.test("a batch is an array, or one of what comes in a batch", () => {
  const batch = "application/cloudevents-batch+json";
  for (const text of ["[]", '[{"a":1},2]', '{"a":1}']) {
    assertEquals(parseBody(batch, bytes(text)), { value: JSON.parse(text) });
    assertEquals(parseBody(batch, writeBody(batch, JSON.parse(text))), { value: JSON.parse(text) });
  }
  for (const text of ["null", "1", '"a"']) {
    assertEquals(parseBody(batch, bytes(text)), { wrong: "body: not an object" }, text);
  }
  for (const one of ["application/cloudevents+json", "application/cdevents+json"] as const) {
    assertEquals(parseBody(one, bytes("[]")), { wrong: "body: not an object" });
    assertEquals(parseBody(one, bytes('{"a":1}')), { value: { a: 1 } });
  }
});

Deno.test("deep nesting is read, and written as deep as it can be", () => {
  const levels = 100_000;
  const parsed = parseBody("application/json", bytes(`${'{"a":['.repeat(levels)}${"]}".repeat(levels)}`));
  if ("wrong" in parsed) throw new Error(parsed.wrong);
  const written = parseBody("application/json", writeBody("application/json", parsed.value));
  assert("value" in written);
});

Deno.test("only what is there and holds something is removed", () => {
  const paths = ["deployment.payload", "inputs"];
  const body = { deployment: { id: 1, payload: { token: "x" } }, inputs: ["y"], kept: { payload: "z" } };
  assertEquals(redact(body, paths), true);
  assertEquals<unknown>(body, { deployment: { id: 1 }, kept: { payload: "z" } });
  for (
    const nothing of [{}, { deployment: null, inputs: {} }, { deployment: "payload", inputs: "" }, {
      deployment: { payload: null },
      inputs: [],
    }]
  ) {
    const before = structuredClone(nothing);
    assertEquals([redact(nothing, paths), nothing], [false, before]);
  }
  assertEquals(redact({}, ["constructor.name", "__proto__.toString"]), false);
  const items = [{ inputs: ["y"], a: 1 }, null, 7, "inputs", [{ inputs: "z" }], {}];
  assertEquals(redact(items, paths), true);
  assertEquals<unknown>(items, [{ a: 1 }, null, 7, "inputs", [{ inputs: "z" }], {}]);
  assertEquals([redact(items, paths), redact([], paths)], [false, false]);
});
