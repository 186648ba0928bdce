/** Law 2 for GitLab, whose retried pipelines run again under their number and whose pushes have no time. */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import fc from "fast-check";
import { testDatabase } from "../support/database.ts";
import { deep } from "../support/depth.ts";
import { callOf, ingest } from "../support/history_calls.ts";
import { callsOfCopies, inTheseOrders, rolledBack } from "../support/history_copies.ts";
import { readExamples } from "../support/history_examples.ts";
import { newSeed, randomFrom, shuffledWithDuplicates } from "../support/history_random.ts";
import { apply, lastArrived, type Tables } from "../support/model.ts";
import { gitlabLife, type Truth } from "../support/model_gitlab.ts";
import { canonicalRow, differences, readTables } from "../support/model_tables.ts";

const histories = readExamples().filter(({ name }) => name.startsWith("gitlab-"));

for (const history of histories) {
  const count = deep(40, 200);
  Deno.test(`order_free: ${count} orders of ${history.name}, with duplicates, leave the same facts`, async () => {
    const random = randomFrom(newSeed("order_free_gitlab"));
    await using database = await testDatabase();
    const calls = await callsOfCopies(history);
    const inOrder = calls.map((_, i) => i);
    const orders = [inOrder, ...Array.from({ length: count }, () => shuffledWithDuplicates(inOrder, random))];
    const [expected, ...others] = await inTheseOrders(database.sql, calls, orders);
    assert(Object.keys(expected!).length >= 5);
    for (const [i, tables] of others.entries()) {
      assertEquals(differences(tables, expected!), {}, JSON.stringify(orders[i + 1]));
    }
  });
}

/** Rows that are known, and not to be found in the tables; each with what is there. */
function missing(truth: Truth, tables: Tables) {
  return Object.entries(truth).flatMap(([table, rows]) =>
    rows.map((row) => canonicalRow(row)).filter((row) =>
      !tables[table]?.some((one) =>
        Object.keys(row).every((column) => isSame(one[column] ?? null, row[column] ?? null))
      )
    ).map((row) => ({ table, row, there: tables[table] }))
  );
}

const isSame = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b);

Deno.test("order_free: any order of a life on GitLab leaves what happened, as the model and the database have it", async () => {
  const seed = newSeed("order_free_gitlab");
  await using database = await testDatabase();
  const property = fc.asyncProperty(gitlabLife(), fc.integer(), async ({ deliveries, truth }, shuffle) => {
    const calls = await Promise.all(deliveries.map((posted) => callOf(posted)));
    const shuffled = shuffledWithDuplicates(calls, randomFrom(shuffle));
    const tables = await rolledBack(database.sql, async (transaction) => {
      for (const call of shuffled) await ingest(transaction, call);
      return await readTables(transaction);
    });
    assertEquals(differences(tables, apply(calls)), {});
    assertEquals(missing(truth, tables), []);
  });
  await fc.assert(property, { seed, numRuns: deep(25, 300) });
});

Deno.test("order_free: a fold that takes what came last is noticed when a pipeline is retried", async () => {
  const { deliveries } = histories.find(({ name }) => name === "gitlab-project-life")!;
  const calls = await Promise.all(deliveries.map((posted) => callOf(posted)));
  const backwards = differences(apply(calls, lastArrived), apply(calls.toReversed(), lastArrived));
  assertNotEquals(backwards["pipeline_runs"], undefined);
  const merged = { repository: "gitlab:81", number: 1, state: "merged", merged_at: "2026-03-02T10:05:00Z" };
  assertEquals(missing({ pull_requests: [merged] }, apply(calls)), []);
  assertEquals(missing({ pull_requests: [{ ...merged, merged_at: null }] }, apply(calls)).length, 1);
  assertEquals(differences(apply(calls), apply(calls.toReversed())), {});
});
