/** Law 2 for whole histories of deliveries: shuffled, duplicated, and over several connections at once. */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import postgres from "postgres";
import { testDatabase } from "../support/database.ts";
import { deep } from "../support/depth.ts";
import { deliveryHistory } from "../support/history.ts";
import { callOf, ingest, ingestPatiently } from "../support/history_calls.ts";
import { rolledBack } from "../support/history_copies.ts";
import { readExample } from "../support/history_examples.ts";
import { newSeed, randomFrom, shuffledWithDuplicates } from "../support/history_random.ts";
import { apply, type Call, lastArrived, type Tables } from "../support/model.ts";
import { differences, readTables } from "../support/model_tables.ts";

const CONNECTIONS = 8;

async function callsOf(name: string): Promise<Call[]> {
  return await Promise.all(readExample(name).deliveries.map((posted) => callOf(posted)));
}

/** What these calls leave in a database that is left as it was. */
async function leaves(sql: postgres.Sql, calls: Call[]): Promise<Tables> {
  return await rolledBack(sql, async (transaction) => {
    await Promise.all(calls.map((call) => ingest(transaction, call)));
    return await readTables(transaction, { clocks: true });
  });
}

Deno.test("order_free: any order of sixty deliveries, duplicated or not, leaves the same tables", async () => {
  const random = randomFrom(newSeed("order_free"));
  const calls = await callsOf("repository-life");
  assertEquals(calls.length, 60);
  await Promise.all(
    [0, 1].map(async (worker) => {
      // Each has a database of its own: transactions of sixty deliveries would wait for each other in circles.
      await using database = await testDatabase();
      const expected = await leaves(database.sql, calls);
      for (let i = worker; i < deep(16, 1000); i += 2) {
        const shuffled = shuffledWithDuplicates(calls, random);
        const found = differences(await leaves(database.sql, shuffled), expected);
        assertEquals(found, {}, JSON.stringify(shuffled.map((call) => calls.indexOf(call))));
      }
    }),
  );
});

Deno.test("order_free: any order of a generated history leaves what the model says", async () => {
  const seed = newSeed("order_free");
  await using database = await testDatabase();
  const property = fc.asyncProperty(deliveryHistory(), fc.integer(), async (history, shuffle) => {
    const calls = await Promise.all(history.map((posted) => callOf(posted)));
    const expected = apply(calls);
    const first = await leaves(database.sql, calls);
    assertEquals(
      differences(await leaves(database.sql, shuffledWithDuplicates(calls, randomFrom(shuffle))), first),
      {},
    );
    await rolledBack(database.sql, async (transaction) => {
      for (const call of calls) await ingest(transaction, call);
      assertEquals(differences(await readTables(transaction), expected), {});
    });
  });
  await fc.assert(property, { seed, numRuns: deep(12, 400) });
});

Deno.test(`order_free: ${CONNECTIONS} connections at once leave the same tables, with no error but a call to try again`, async () => {
  const random = randomFrom(newSeed("order_free"));
  const histories = [await callsOf("repository-life")];
  for (const history of fc.sample(deliveryHistory(), { seed: Math.floor(random() * 2 ** 31), numRuns: deep(2, 40) })) {
    histories.push(await Promise.all(history.map((posted) => callOf(posted))));
  }
  for (const calls of histories) {
    for (let round = 0; round < deep(2, 10); round++) {
      await using database = await testDatabase({ max: CONNECTIONS });
      const parts: Call[][] = Array.from({ length: CONNECTIONS }, () => []);
      for (const call of shuffledWithDuplicates(calls, random)) parts[Math.floor(random() * CONNECTIONS)]?.push(call);
      const answers = await Promise.all(parts.map(async (part) => {
        const connection = postgres(database.url, { max: 1, onnotice: () => {} });
        try {
          const answers = [];
          for (const call of part) answers.push((await ingestPatiently(connection, call)).answer);
          return answers;
        } finally {
          await connection.end();
        }
      }));
      assert(answers.flat().every(({ result }) => ["stored", "duplicate", "ignored"].includes(result)));
      assertEquals(differences(await readTables(database.sql), apply(calls)), {});
    }
  }
});

Deno.test("order_free: a fold that takes what came last is noticed", async () => {
  const calls = await callsOf("repository-life");
  const inOrder = apply(calls, lastArrived);
  const reversed = apply(calls.toReversed(), lastArrived);
  assert(Object.keys(differences(inOrder, reversed)).includes("jobs"));
  assertEquals(differences(apply(calls), apply(calls.toReversed())), {});
});
