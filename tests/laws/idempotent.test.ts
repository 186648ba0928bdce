/** Law 1: the same delivery any number of times leaves what once leaves. */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import fc from "fast-check";
import postgres, { type Sql } from "postgres";
import { testDatabase } from "../support/database.ts";
import { deep } from "../support/depth.ts";
import { deliveryHistory } from "../support/history.ts";
import { callOf, ingest, ingestPatiently } from "../support/history_calls.ts";
import { readExample } from "../support/history_examples.ts";
import { newSeed } from "../support/history_random.ts";
import { apply, type Call } from "../support/model.ts";
import { differences, readTables } from "../support/model_tables.ts";
import { contentsOf } from "../support/snapshot.ts";

async function callsOf(name: string): Promise<Call[]> {
  return await Promise.all(readExample(name).deliveries.map((posted) => callOf(posted)));
}

/** Sends each call again, some twice: what is different afterwards, rows that were only written again included. */
async function repeated(sql: Sql, calls: Call[]) {
  const before = await contentsOf(sql);
  const answers = [];
  for (const call of [...calls, ...calls.slice(0, 5)]) answers.push(await ingest(sql, call));
  const after = await contentsOf(sql);
  return {
    results: new Set(answers.map(({ result }) => result)),
    changed: [...after.filter((line) => !before.includes(line)), ...before.filter((line) => !after.includes(line))],
  };
}

Deno.test("idempotent: deliveries that come again are duplicates and touch no row", async () => {
  await using database = await testDatabase();
  const calls = await callsOf("repository-life");
  for (const call of calls) await ingest(database.sql, call);
  assertEquals(await repeated(database.sql, calls), { results: new Set(["duplicate"]), changed: [] });
});

Deno.test("idempotent: what is told again under another delivery id changes no fact", async () => {
  const seed = newSeed("idempotent");
  const histories = fc.sample(deliveryHistory(), { seed, numRuns: deep(3, 100) });
  const calls = await Promise.all(histories.map((history) => Promise.all(history.map((posted) => callOf(posted)))));
  for (const history of [await callsOf("repository-life"), ...calls]) {
    await using database = await testDatabase();
    for (const call of history) await ingest(database.sql, call);
    const before = await readTables(database.sql, { clocks: true });
    for (const call of history) {
      await ingest(database.sql, { ...call, delivery: { ...call.delivery, delivery_id: crypto.randomUUID() } });
    }
    const after = await readTables(database.sql, { clocks: true });
    const changed = Object.keys(differences(after, before));
    assertEquals(changed.filter((name) => !["deliveries", "bodies"].includes(name)), []);
  }
});

Deno.test("idempotent: the same delivery over eight connections at once is stored once", async () => {
  await using database = await testDatabase();
  const connections = Array.from({ length: 8 }, () => postgres(database.url, { max: 1, onnotice: () => {} }));
  try {
    const calls = (await callsOf("sample")).slice(0, deep(6, 12));
    for (const call of calls) {
      const answers = await Promise.all(connections.map((connection) => ingestPatiently(connection, call)));
      const results = answers.map(({ answer }) => answer.result).sort();
      assertEquals(results, [...Array(7).fill("duplicate"), "stored"]);
    }
    assertEquals(differences(await readTables(database.sql), apply(calls)), {});
  } finally {
    await Promise.all(connections.map((connection) => connection.end()));
  }
});

Deno.test("idempotent: other bytes under a known id are kept as a conflict, once, and change no fact", async () => {
  await using database = await testDatabase();
  const [call, other] = await callsOf("sample") as [Call, Call];
  const conflicting = { ...other, delivery: { ...other.delivery, delivery_id: call.delivery.delivery_id } };
  const calls = [call, conflicting, conflicting, call];
  const answers = [];
  for (const one of calls) answers.push(await ingest(database.sql, one));
  assertEquals(answers.map(({ result }) => result), ["stored", "quarantined", "quarantined", "duplicate"]);
  const kept = `${call.delivery.delivery_id}#${other.delivery.sha256.slice(0, 12)}`;
  assertEquals(answers[1]?.delivery_id, kept);
  const tables = await readTables(database.sql);
  assertEquals(differences(tables, apply(calls)), {});
  assertEquals(tables["bodies"]?.some((row) => row["delivery_id"] === kept && row["body"] === other.body), true);
});

Deno.test("idempotent: an ingest that writes on each delivery is noticed", async () => {
  await using database = await testDatabase();
  await database.sql.unsafe(`
    alter function metrics.ingest(jsonb, jsonb, text) rename to ingest_once;
    create function metrics.ingest(delivery jsonb, facts jsonb default '{}', body text default null) returns jsonb
    language plpgsql security definer set search_path = '' as $$
    begin
      update metrics.repositories set updated_at = clock_timestamp() where true;
      return metrics.ingest_once(delivery, facts, body);
    end $$;`);
  const calls = await callsOf("sample");
  for (const call of calls) await ingest(database.sql, call);
  assertNotEquals((await repeated(database.sql, calls)).changed, []);
});

Deno.test("idempotent: an ingest that knows no delivery again is noticed", async () => {
  await using database = await testDatabase();
  const calls = await callsOf("sample");
  for (const call of calls) await ingest(database.sql, call);
  // As if ids were not looked up: each comes under an id of its own.
  const forgotten = calls.map((call) => ({
    ...call,
    delivery: { ...call.delivery, delivery_id: crypto.randomUUID() },
  }));
  const { results, changed } = await repeated(database.sql, forgotten.slice(0, 3));
  assert(results.has("stored"));
  assertNotEquals(changed, []);
});
