/** Each example leaves the facts that stand in it, in the database and in the model. */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { testDatabase } from "../support/database.ts";
import { callsOf, ingest } from "../support/history_calls.ts";
import { rolledBack } from "../support/history_copies.ts";
import { expectedTables, hasFacts, hasNumbers, readExamples, spokenOf } from "../support/history_examples.ts";
import { apply } from "../support/model.ts";
import { differences, readTables } from "../support/model_tables.ts";

for (const example of readExamples().filter(hasFacts)) {
  Deno.test(`examples: ${example.name} leaves its facts`, async () => {
    await using database = await testDatabase();
    const calls = await callsOf(example);
    for (const call of calls) await ingest(database.sql, call);
    const tables = await readTables(database.sql);
    assertEquals(differences(spokenOf(example, tables), expectedTables(example)), {});
    assertEquals(differences(tables, apply(calls)), {});
  });
}

Deno.test("examples: each that is about numbers alone leaves what the model says", async () => {
  // One after the other in one database that is left as it was: a database each would take most of the time.
  await using database = await testDatabase();
  for (const example of readExamples().filter((example) => !hasFacts(example))) {
    assert(hasNumbers(example), `${example.name} says neither facts nor numbers`);
    const calls = await callsOf(example);
    const tables = await rolledBack(database.sql, async (transaction) => {
      for (const call of calls) await ingest(transaction, call);
      return await readTables(transaction);
    });
    assertEquals(differences(tables, apply(calls)), {}, example.name);
  }
});

Deno.test("examples: no delivery id is used twice, so that all can be posted to one database", () => {
  const ids = readExamples().flatMap((example) => example.deliveries.map(({ source, id }) => `${source} ${id}`));
  assertEquals(new Set(ids).size, ids.length);
});

Deno.test("examples: one wrong fact is noticed", async () => {
  const example = readExamples().filter(hasFacts).find(({ name }) => name === "inactive-status")!;
  const tables = apply(await callsOf(example));
  const wrong = structuredClone(example);
  Object.assign(wrong.facts["deployments"]?.[0] ?? {}, { outcome: "failure" });
  assertNotEquals(differences(spokenOf(wrong, tables), expectedTables(wrong)), {});
  assertEquals(differences(spokenOf(example, tables), expectedTables(example)), {});
});
