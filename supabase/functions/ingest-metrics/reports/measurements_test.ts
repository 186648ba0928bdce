import { assertEquals, assertNotEquals } from "@std/assert";
import fc from "fast-check";
import { factsOf, refusalOf } from "./testing.ts";

const measured = (body: unknown, change = {}) =>
  factsOf("measurements", JSON.stringify(body), change).measurements ?? [];
const refused = (body: unknown, change = {}) => refusalOf("measurements", JSON.stringify(body), change);

Deno.test("a number is told with what it is about", () => {
  const body = {
    name: "bundle.size",
    value: 48213.5,
    unit: "By",
    attributes: { entry: "main", commit: "of the sender" },
  };
  assertEquals(measured(body, { suite: "web", pullRequestNumber: 12 }), [{
    repository: "github:1",
    observed_at: "2026-01-05T09:00:00Z",
    name: "bundle.size",
    external_id: "7/2/build/web/9122e0e12df14199",
    value: 48213.5,
    unit: "By",
    attributes: {
      commit: "0f3c1d2e4b5a69788796a5b4c3d2e1f001122334",
      branch: "main",
      run: "7",
      attempt: 2,
      pull_request: 12,
      pipeline: "CI",
      job: "build",
      suite: "web",
      entry: "main",
    },
    measured_at: "2026-01-05T09:00:00Z",
  }]);
});

Deno.test("several numbers come in an array, each with its own time", () => {
  const facts = measured([{ name: "a", value: 1 }, { name: "a", value: 2, measured_at: 1767603600 }, {
    name: "b",
    value: -0.5,
  }]);
  assertEquals(facts.map((fact) => [fact.name, fact.value, fact.unit, fact.measured_at]), [
    ["a", 1, null, "2026-01-05T09:00:00Z"],
    ["a", 2, null, "2026-01-05T09:00:00Z"],
    ["b", -0.5, null, "2026-01-05T09:00:00Z"],
  ]);
  assertEquals(new Set(facts.map((fact) => fact.external_id)).size, 2);
  assertEquals(measured([]), []);
});

Deno.test("an id of the sender's stays the same over uploads; else the upload, the attributes and the time are it", () => {
  const id = (item: object, change = {}) => measured({ name: "a", value: 1, ...item }, change)[0]!.external_id;
  assertEquals(id({ id: "x#1" }), id({ id: "x#1", attributes: { b: 1 } }, { runExternalId: "8" }));
  assertEquals(id({ id: "x#1" }), "id/x%231");
  assertEquals(id({ attributes: { b: 1, c: 2 } }), id({ attributes: { c: 2, b: 1 }, value: 3 }));
  for (const other of [{ attributes: { b: 1 } }, { measured_at: "2026-01-05" }]) assertNotEquals(id(other), id({}));
  for (const other of [{ runExternalId: "8" }, { attempt: 3 }, { job: "test" }, { suite: "web" }]) {
    assertNotEquals(id({}, other), id({}));
  }
});

Deno.test("without a run and a commit, a number needs an id or a time", () => {
  const nothing = { runExternalId: null, commitSha: null };
  const place = [{ place: "body", code: "run_commit_id_or_time_missing" }];
  assertEquals(refused({ name: "a", value: 1 }, nothing), place);
  assertEquals(refused([{ name: "a", value: 1 }], nothing), [{ ...place[0]!, place: "[0]" }]);
  assertEquals(measured({ name: "a", value: 1, id: "x" }, nothing).length, 1);
  assertEquals(measured({ name: "a", value: 1, measured_at: "2026-01-05" }, nothing).length, 1);
});

Deno.test("each refused item is named, and nothing of it is told", () => {
  assertEquals(
    refused([
      { name: "a", value: "1" },
      { name: "", value: 1 },
      { name: "b", value: 1, more: 1 },
      { name: "c", value: 1, measured_at: "yesterday" },
      { name: "d", value: 1, attributes: { secret: { nested: 1 } } },
      7,
      { name: "e", value: 1 },
      { name: "e", value: 2 },
    ]),
    [
      { place: "[0].value", code: "invalid_type" },
      { place: "[1].name", code: "invalid_format" },
      { place: "[2]", code: "unrecognized_keys" },
      { place: "[3].measured_at", code: "invalid_time" },
      { place: "[4].attributes", code: "invalid_union" },
      { place: "[5]", code: "invalid_type" },
      { place: "[7]", code: "duplicate" },
    ],
  );
  assertEquals(refused({ name: "a" }), [{ place: "value", code: "invalid_type" }]);
  assertEquals(refused(null), [{ place: "body", code: "invalid_type" }]);
  assertEquals(refusalOf("measurements", '[{"name":"a","value":1e999}]'), [{
    place: "[0].value",
    code: "invalid_type",
  }]);
  assertEquals(refused(Array(500).fill(1)).length, 100);
});

Deno.test("what is no JSON, or too much, is refused", () => {
  assertEquals(refusalOf("measurements", '{\n"name": }'), "not_json");
  assertEquals(refusalOf("measurements", ""), "not_json");
  assertEquals(refused(Array(10_001).fill({ name: "a", value: 1 })), [{ place: "body", code: "too_many_facts" }]);
  assertEquals(refusalOf("measurements", "[".repeat(1_000_001)), "json_too_many_values");
});

Deno.test("the same upload twice gives equal facts, in any order of its items", () => {
  const item = fc.record({
    name: fc.constantFrom("a", "b"),
    value: fc.double({ noNaN: true, noDefaultInfinity: true }),
    attributes: fc.dictionary(fc.constantFrom("x", "y", "z"), fc.oneof(fc.integer(), fc.boolean(), fc.string())),
  });
  const distinct = (one: { name: string; attributes: object }) =>
    JSON.stringify([one.name, Object.entries(one.attributes).sort()]);
  fc.assert(fc.property(fc.uniqueArray(item, { selector: distinct, maxLength: 10 }), (items) => {
    const byId = (list: typeof items) =>
      measured(list).toSorted((one, other) => one.name + one.external_id < other.name + other.external_id ? -1 : 1);
    assertEquals(byId(items), byId(items.toReversed()));
    assertEquals(measured(items).length, items.length);
  }));
});

Deno.test("names and ids that differ by an e-mail address stay different", () => {
  const told = measured(
    ["a@example.com", "b@example.com"].flatMap((text) => [{ name: text, value: 1 }, { name: "n", id: text, value: 1 }]),
  );
  assertEquals(new Set(told.map((one) => `${one.name} ${one.external_id}`)).size, 4);
});

Deno.test("more attributes than can be looked at are refused with their place", () => {
  const attributes = Object.fromEntries(Array.from({ length: 1001 }, (_, n) => [`${n}`, n]));
  assertEquals(refused({ name: "n", value: 1, attributes }), [{ place: "attributes", code: "too_big" }]);
  assertEquals(refused([{ name: "n", value: 1, attributes }]), [{ place: "[0].attributes", code: "too_big" }]);
});
