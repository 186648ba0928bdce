/** The worked examples: each history gives the numbers that somebody worked out by hand, in every order that is tried (law 2). */

import { assert, assertEquals } from "@std/assert";
import type postgres from "postgres";
import { testDatabase } from "../support/database.ts";
import { deep } from "../support/depth.ts";
import { answerOf, prepare, type WrongNumbers, wrongNumbers } from "../support/example_numbers.ts";
import { callsOf, ingest } from "../support/history_calls.ts";
import { rolledBack } from "../support/history_copies.ts";
import { type ExampleOfNumbers, hasNumbers, readExamples } from "../support/history_examples.ts";
import { newSeed, randomFrom, shuffledWithDuplicates } from "../support/history_random.ts";
import { inLanes } from "../support/lanes.ts";
import type { Call } from "../support/model.ts";
import { become, makeAdmin } from "../support/people.ts";

const examples = readExamples().filter(hasNumbers);

/** What is wrong about the numbers of an example when these calls are made for it, in a database that is left as it was. */
async function wrongAfter(sql: postgres.Sql, example: ExampleOfNumbers, calls: Call[]): Promise<WrongNumbers[]> {
  return await rolledBack(sql, async (transaction) => {
    // Rules name repositories, so one must be known; what comes after a rule is derived by it, what came before is derived again.
    const [first, ...others] = calls;
    if (first) await ingest(transaction, first);
    await prepare(transaction, example);
    await Promise.all(others.map((call) => ingest(transaction, call)));
    await become(transaction, "admin");
    return await wrongNumbers(example.numbers, (call) => answerOf(transaction, call));
  });
}

Deno.test("examples: at least forty histories have numbers that are worked out by hand", () => {
  assert(examples.length >= 40, `${examples.length} histories`);
  for (const { name, numbers } of examples) {
    assert(numbers.length > 0, `${name} has no number`);
    for (const { why } of numbers) assert(/[.]$/.test(why), `${name} does not say why`);
  }
});

const orders = deep(3, 200);

Deno.test(`order_free: worked examples have their numbers, in order and in ${orders} other orders with duplicates`, async (t) => {
  const random = randomFrom(newSeed("example_numbers"));
  // Chosen before, so that one seed means one set of orders, whichever lane an order is told in.
  const todo = await Promise.all(examples.map(async (example) => {
    const calls = await callsOf(example);
    const told = [calls, ...Array.from({ length: orders }, () => shuffledWithDuplicates(calls, random))];
    return { example, calls, told, wrong: [] as [string, WrongNumbers[]][] };
  }));
  await inLanes(async (lane, lanes) => {
    await using database = await testDatabase({ max: 1 });
    await makeAdmin(database.sql);
    for (const { example, calls, told, wrong } of todo) {
      for (const [, order] of told.entries().filter(([i]) => i % lanes === lane)) {
        const found = await wrongAfter(database.sql, example, order);
        if (found.length > 0) wrong.push([JSON.stringify(order.map((call) => calls.indexOf(call))), found]);
      }
    }
  });
  for (const { example, wrong } of todo) {
    await t.step(`order_free: ${example.name} has its numbers`, () => assertEquals(wrong, []));
  }
});

Deno.test("examples: a wrong number is noticed", async () => {
  const example = examples.find(({ name }) => name === "squash-merge")!;
  const calls = await callsOf(example);
  const wrong = structuredClone(example);
  Object.assign(wrong.numbers[0]!.rows[0]!, { p50_seconds: 18001 });
  await using database = await testDatabase();
  await makeAdmin(database.sql);
  const [found, ...others] = await wrongAfter(database.sql, wrong, calls);
  assertEquals([found?.asked.call, found?.found[0]?.["p50_seconds"], others.length], ["change_lead_time", 18000, 0]);
  assertEquals(await wrongAfter(database.sql, example, calls), []);
});

Deno.test("examples: a missing row, a row too many, a missing column and NULL for 0 are noticed", async () => {
  const expected = { call: "change_lead_time", arguments: {}, why: "It is made up.", rows: [{ a: 1, b: { c: 0 } }] };
  const isNoticed = async (rows: Record<string, unknown>[]) =>
    (await wrongNumbers([expected], () => rows)).length === 1;
  assertEquals(await isNoticed([{ a: 1 + 1e-12, b: { c: 0 }, other: 5 }]), false);
  for (const row of [{ a: 1 + 1e-6, b: { c: 0 } }, { a: 1 }, { a: 1, b: { c: null } }, { a: 1, b: {} }]) {
    assertEquals(await isNoticed([row]), true, JSON.stringify(row));
  }
  assertEquals(await isNoticed([]), true);
  assertEquals(await isNoticed([expected.rows[0]!, expected.rows[0]!]), true);
});
