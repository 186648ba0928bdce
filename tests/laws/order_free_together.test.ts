/** Laws 1 and 2 for deliveries that go to the database together: what they leave is what each by itself would. */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import fc from "fast-check";
import postgres, { type Sql, type TransactionSql } from "postgres";
import { testDatabase } from "../support/database.ts";
import { deep } from "../support/depth.ts";
import { deliveryHistory } from "../support/history.ts";
import { callOf, ingestTogether } from "../support/history_calls.ts";
import { rolledBack } from "../support/history_copies.ts";
import { readExample } from "../support/history_examples.ts";
import { newSeed, randomFrom, shuffledWithDuplicates } from "../support/history_random.ts";
import { apply, type Call } from "../support/model.ts";
import { differences, readTables } from "../support/model_tables.ts";

const CONNECTIONS = 8;
const MOST = 16;

async function callsOf(name: string): Promise<Call[]> {
  return await Promise.all(readExample(name).deliveries.map((posted) => callOf(posted)));
}

/** The calls in lists of random lengths. */
function listsOf(calls: Call[], random: () => number): Call[][] {
  const lists: Call[][] = [];
  for (let at = 0; at < calls.length;) {
    const length = 1 + Math.floor(random() * MOST);
    lists.push(calls.slice(at, at += length));
  }
  return lists;
}

async function ingestAll(sql: Sql | TransactionSql, calls: Call[], random: () => number) {
  const answers = [];
  for (const list of listsOf(calls, random)) answers.push(...await ingestTogether(sql, list));
  return answers;
}

Deno.test("order_free: deliveries that go together leave what the model says, in any order and duplicated", async () => {
  const seed = newSeed("order_free_together");
  const life = await callsOf("repository-life");
  await using database = await testDatabase();
  const histories = fc.oneof(
    { weight: 1, arbitrary: fc.constant(life) },
    {
      weight: 3,
      arbitrary: deliveryHistory().map((history) => Promise.all(history.map((posted) => callOf(posted)))),
    },
  );
  let wentTogether = 0;
  const property = fc.asyncProperty(histories, fc.integer(), async (history, shuffle) => {
    const calls = await history;
    const random = randomFrom(shuffle);
    await rolledBack(database.sql, async (transaction) => {
      const answers = await ingestAll(transaction, shuffledWithDuplicates(calls, random), random);
      wentTogether += answers.filter(({ isTogether }) => isTogether).length;
      const results = new Set(answers.map(({ answer }) => answer.result));
      assertEquals([...results].filter((result) => !["stored", "duplicate", "ignored"].includes(result)), []);
      assertEquals(differences(await readTables(transaction), apply(calls)), {});
    });
  });
  await fc.assert(property, { seed, numRuns: deep(16, 600) });
  assert(wentTogether > 50, `${wentTogether} went together`);
});

Deno.test(`order_free: lists over ${CONNECTIONS} connections at once leave the same tables`, async () => {
  const random = randomFrom(newSeed("order_free_together"));
  const calls = await callsOf("repository-life");
  for (let round = 0; round < deep(2, 60); round++) {
    await using database = await testDatabase({ max: CONNECTIONS });
    const parts: Call[][] = Array.from({ length: CONNECTIONS }, () => []);
    for (const call of shuffledWithDuplicates(calls, random)) parts[Math.floor(random() * CONNECTIONS)]!.push(call);
    await Promise.all(parts.map(async (part) => {
      const connection = postgres(database.url, { max: 1, onnotice: () => {} });
      try {
        await ingestAll(connection, part, random);
      } finally {
        await connection.end();
      }
    }));
    assertEquals(differences(await readTables(database.sql), apply(calls)), {});
  }
});

Deno.test("order_free: a list of which nothing is taken, though it is said to be, is noticed", async () => {
  await using database = await testDatabase();
  await database.sql.unsafe(`
    create or replace function metrics.ingest_together(calls jsonb) returns jsonb language sql set search_path = '' as $$
      select jsonb_agg(jsonb_build_object('result', 'stored', 'delivery_id', c -> 'delivery' ->> 'delivery_id', 'facts', '{}'::jsonb))
      from jsonb_array_elements(calls) as c
    $$;`);
  const calls = await callsOf("sample");
  await ingestAll(database.sql, calls, randomFrom(1));
  assertNotEquals(differences(await readTables(database.sql), apply(calls)), {});
});
