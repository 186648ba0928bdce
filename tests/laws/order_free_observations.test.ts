/** Law 2 for what one delivery says about one key: partial observations in every order, ties included. */

import { assertEquals, assertNotEquals } from "@std/assert";
import fc from "fast-check";
import { testDatabase } from "../support/database.ts";
import { deep } from "../support/depth.ts";
import { atTheSameTime, inEveryOrder, isDisagreement, modelOf } from "../support/history_copies.ts";
import { observationsOf, pullRequestStory, type Said } from "../support/history_observations.ts";
import { newSeed } from "../support/history_random.ts";
import { KINDS } from "../support/model.ts";
import { differences } from "../support/model_tables.ts";

/** Every kind in turn; a pull request's story, where facts meet, for every fourth. */
function histories(seed: number, count: number): Said[][] {
  const kinds = Object.keys(KINDS);
  return Array.from({ length: count }, (_, i) => {
    const arbitrary = i % 4 === 3 ? pullRequestStory() : observationsOf(kinds[(i + seed) % kinds.length] as string);
    // Without the bias towards few and small.
    return fc.sample(fc.noBias(arbitrary), { seed: seed + i, numRuns: 1 })[0] as Said[];
  });
}

Deno.test("order_free: every order of partial observations leaves the same rows, and those are the model's", async () => {
  const seed = newSeed("order_free");
  await using database = await testDatabase();
  for (const history of histories(seed, deep(6, 200))) {
    const result = await inEveryOrder(database.sql, history);
    if (isDisagreement(result)) {
      throw new Error(`two orders differ: ${JSON.stringify(differences(result.other, result.first))}
        history: ${JSON.stringify(result.history)}
        order: ${JSON.stringify(result.order)}`);
    }
    assertEquals(differences(result, modelOf(history)), {}, JSON.stringify(history));
  }
});

Deno.test("order_free: observations that join facts and move the map, told all at once, leave what the model says", async () => {
  const seed = newSeed("order_free");
  let retries = 0;
  for (let i = 0; i < deep(6, 150); i++) {
    await using database = await testDatabase({ max: 6 });
    const history = fc.sample(fc.noBias(pullRequestStory()), { seed: seed + i, numRuns: 1 })[0] as Said[];
    const told = await atTheSameTime(database.sql, history, 12);
    const expected = modelOf(history);
    for (const left of told.left) assertEquals(differences(left, expected), {}, JSON.stringify(history));
    retries += told.retries;
  }
  console.log(`order_free: tried again ${retries} times`);
});

Deno.test("order_free: a table in which the first arrival wins is noticed", async () => {
  await using database = await testDatabase();
  await database.sql.unsafe(`
    create function metrics.first_arrival_wins() returns trigger language plpgsql set search_path = '' as $$
    begin
      new.title := old.title;
      return new;
    end $$;
    create trigger planted before update on metrics.pull_requests
      for each row execute function metrics.first_arrival_wins();`);
  const said = (title: string, second: number): Said => ({
    kind: "pull_requests",
    observation: { repository: "github:{copy}", number: 7, observed_at: `2026-03-02T09:00:0${second}Z`, title },
  });
  const result = await inEveryOrder(database.sql, [said("one", 1), said("two", 2)]);
  assertEquals(isDisagreement(result), true);
});

Deno.test("order_free: an order decided by generated numbers is noticed", async () => {
  await using database = await testDatabase();
  // Compares tests by their ids, which depend on the order of arrival.
  await database.sql.unsafe(`
    create or replace function metrics.test_names(ids bigint[]) returns text language sql stable set search_path = '' as $$
      select ids::text
    $$;`);
  const said = (...passed: string[]): Said => ({
    kind: "test_runs",
    observation: { repository: "github:{copy}", external_id: "11", suite: "unit", passed },
  });
  const result = await inEveryOrder(database.sql, [said("a"), said("b")]);
  assertEquals(isDisagreement(result), true);
  assertNotEquals(result, modelOf([said("a"), said("b")]));
});
