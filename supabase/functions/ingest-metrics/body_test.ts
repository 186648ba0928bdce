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
  assertEquals(parseBody("application/json", bytes(JSON.stringify(value))), { value, hides: false });
  assertEquals(parseBody("application/json", bytes(`\ufeff${JSON.stringify(value)}`)), { value, hides: false });
  assertEquals(parseBody(form, bytes(`payload=${encodeURIComponent(JSON.stringify(value))}`)), { value, hides: false });
  assertEquals(parseBody(form, writeBody(form, value)), { value, hides: false });
  assertEquals(parseBody("application/json", writeBody("application/json", value)), { value, hides: false });
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
    assertEquals(parseBody(batch, bytes(text)), { value: JSON.parse(text), hides: false });
    assertEquals(parseBody(batch, writeBody(batch, JSON.parse(text))), { value: JSON.parse(text), hides: false });
  }
  for (const text of ["null", "1", '"a"']) {
    assertEquals(parseBody(batch, bytes(text)), { wrong: "body: not an object" }, text);
  }
  for (const one of ["application/cloudevents+json", "application/cdevents+json"] as const) {
    assertEquals(parseBody(one, bytes("[]")), { wrong: "body: not an object" });
    assertEquals(parseBody(one, bytes('{"a":1}')), { value: { a: 1 }, hides: false });
  }
});

Deno.test("what a value does not show of its bytes is noticed, and what it shows is not", () => {
  const hides = (text: string, type: Parameters<typeof parseBody>[0] = "application/json") => {
    const parsed = parseBody(type, bytes(text));
    return "value" in parsed && parsed.hides;
  };
  for (
    const text of [
      '{"a":1,"a":1}',
      '{"a":{"b":"secret"},"a":null}',
      '{"x":[{},{"y":1,"\\u0079":2}]}',
      '{"__proto__":1,"__proto__":2}',
      '{"":"","":""}',
    ]
  ) assertEquals(hides(text), true, text);
  for (
    const text of [
      "{}",
      '{"a:b":":","c":"\\":","d":"\\\\","e":["a:b",{"a":1},{"a":1}]}',
      '{"__proto__":{"a":1}, "constructor" : null}',
      '{"a": "\\"a\\": 1"}',
    ]
  ) assertEquals(hides(text), false, text);
  const once = encodeURIComponent('{"a":1}');
  assertEquals(hides(`payload=${once}`, form), false);
  assertEquals(hides(`payload=${once}&payload=${once}`, form), true);
  assertEquals(hides(`env=secret&payload=${once}`, form), true);
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
