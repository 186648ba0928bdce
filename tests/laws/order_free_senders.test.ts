/** Law 2 for senders that are not like GitHub: incidents that are reopened, and events that come alone, in envelopes and in batches. */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type postgres from "postgres";
import { testDatabase } from "../support/database.ts";
import { deep } from "../support/depth.ts";
import { callOf, ingest } from "../support/history_calls.ts";
import { cdeventsHistory } from "../support/history_cdevents.ts";
import { callsOfCopies, inTheseOrders, rolledBack } from "../support/history_copies.ts";
import { readExamples } from "../support/history_examples.ts";
import { incidentHistory } from "../support/history_pagerduty.ts";
import { newSeed, randomFrom, shuffledWithDuplicates } from "../support/history_random.ts";
import { apply, type Call, lastArrived, type Tables } from "../support/model.ts";
import { differences, readTables } from "../support/model_tables.ts";

/** What these calls leave in a database that is left as it was. */
async function leaves(sql: postgres.Sql, calls: Call[]): Promise<Tables> {
  return await rolledBack(sql, async (transaction) => {
    await Promise.all(calls.map((call) => ingest(transaction, call)));
    return await readTables(transaction);
  });
}

const isGitHub = ({ source }: { source: string }) => source === "github" || source.startsWith("github-");

Deno.test("order_free: any order of every example that GitHub does not tell leaves what the model says", async () => {
  const random = randomFrom(newSeed("order_free_senders"));
  await using database = await testDatabase();
  const examples = readExamples().filter(({ deliveries }) => !deliveries.every(isGitHub));
  assert(examples.length >= 4);
  for (const { name, deliveries } of examples) {
    const calls = await Promise.all(deliveries.map((posted) => callOf(posted)));
    const expected = apply(calls);
    for (let i = 0; i < deep(6, 200); i++) {
      const shuffled = shuffledWithDuplicates(calls, random);
      const found = differences(await leaves(database.sql, shuffled), expected);
      assertEquals(found, {}, `${name}: ${JSON.stringify(shuffled.map((call) => calls.indexOf(call)))}`);
    }
  }
});

for (const history of readExamples().filter(({ name }) => /^(?:pagerduty|cdevents)-/.test(name))) {
  const count = deep(40, 200);
  Deno.test(`order_free: ${count} orders of ${history.name}, with duplicates, leave the same facts`, async () => {
    const random = randomFrom(newSeed(`order_free_senders ${history.name}`));
    await using database = await testDatabase();
    const calls = await callsOfCopies(history);
    const inOrder = calls.map((_, i) => i);
    const orders = [inOrder, ...Array.from({ length: count }, () => shuffledWithDuplicates(inOrder, random))];
    const [expected, ...others] = await inTheseOrders(database.sql, calls, orders);
    assert(Object.keys(expected!).length >= 1);
    for (const [i, tables] of others.entries()) {
      assertEquals(differences(tables, expected!), {}, JSON.stringify(orders[i + 1]));
    }
  });
}

for (const [sender, history] of [["PagerDuty", incidentHistory()], ["CDEvents", cdeventsHistory()]] as const) {
  Deno.test(`order_free: any order of a generated history of ${sender} leaves what the model says`, async () => {
    const seed = newSeed(`order_free_senders ${sender}`);
    await using database = await testDatabase();
    const property = fc.asyncProperty(history, fc.integer(), async (posted, shuffle) => {
      const calls = await Promise.all(posted.map((one) => callOf(one)));
      const expected = apply(calls);
      assertEquals(differences(await leaves(database.sql, calls), expected), {});
      const shuffled = shuffledWithDuplicates(calls, randomFrom(shuffle));
      assertEquals(differences(await leaves(database.sql, shuffled), expected), {});
      assertEquals(differences(apply(shuffled), expected), {});
    });
    await fc.assert(property, { seed, numRuns: deep(12, 300) });
  });
}

Deno.test("order_free: a fold that takes what came last is noticed when an incident is reopened", async () => {
  const { deliveries } = readExamples().find(({ name }) => name === "pagerduty-reopened")!;
  const calls = await Promise.all(deliveries.map((posted) => callOf(posted)));
  const backwards = differences(apply(calls, lastArrived), apply(calls.toReversed(), lastArrived));
  assert(Object.keys(backwards).includes("incidents"));
  assertEquals(differences(apply(calls), apply(calls.toReversed())), {});
});
