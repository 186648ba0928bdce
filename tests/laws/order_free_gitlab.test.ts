/** Law 2 for GitLab, whose retried pipelines run again under their number and whose pushes have no time. */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import fc from "fast-check";
import { testDatabase } from "../support/database.ts";
import { deep } from "../support/depth.ts";
import { callOf, ingest, ingestTogether } from "../support/history_calls.ts";
import { callsOfCopies, inTheseOrders, rolledBack } from "../support/history_copies.ts";
import { readExamples } from "../support/history_examples.ts";
import { newSeed, ordersOf, randomFrom, shuffledWithDuplicates } from "../support/history_random.ts";
import { apply, type Call, lastArrived, type Tables } from "../support/model.ts";
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

/** A job of a project, whose delivery tells the project at the time of the event. */
function jobOf(project: number, minute: number | null, told: Record<string, string> = {}): Call {
  const repository = `gitlab:${project}`;
  const id = `${project} ${minute} ${JSON.stringify(told)}`;
  const at = minute === null ? null : `2026-03-02T10:${String(minute).padStart(2, "0")}:00Z`;
  const named = { full_name: `acme/${project}`, default_branch: "main", url: `https://git.example/acme/${project}` };
  return {
    delivery: { source: "gitlab", delivery_id: id, sha256: "ab".repeat(32), size: 1, result: "stored" },
    facts: {
      repositories: [{ repository, observed_at: at, ...named, ...told }],
      jobs: [{ repository, external_id: id, observed_at: at, name: "test" }],
    },
  } as Call;
}

Deno.test("order_free: projects that are what they were wait for nobody, and go together", async (t) => {
  await using database = await testDatabase({ max: 3 });
  const { sql } = database;
  for (const project of [1, 2, 3]) await ingest(sql, jobOf(project, 1));

  /** Whether the second is stored while the first is not committed yet. */
  const passes = async (first: Call, second: Call) => {
    const connection = await sql.reserve();
    try {
      await connection`begin`;
      await ingest(connection as unknown as typeof sql, first);
      return await ingest(sql, second).then(({ result }) => result === "stored", (error) => {
        assertEquals(error.code, "55P03");
        return false;
      });
    } finally {
      await connection`rollback`;
      connection.release();
    }
  };
  assert(await passes(jobOf(1, 5), jobOf(2, 5)), "another project waits");
  assert(await passes(jobOf(1, 6, { full_name: "acme/new" }), jobOf(2, 6)), "waits for a name that concerns another");

  const answers = await ingestTogether(sql, [
    jobOf(1, 8),
    jobOf(2, null),
    jobOf(1, 7),
    jobOf(3, 8, { url: "https://git.example/acme/4" }),
  ]);
  assertEquals(answers.map(({ isTogether }) => isTogether), [true, true, true, false]);

  await t.step("names that change at the same time are noticed to wait", async () => {
    assert(!await passes(jobOf(1, 9, { full_name: "acme/new" }), jobOf(2, 9, { full_name: "acme/newer" })));
  });
});

Deno.test("order_free: what a project was called loses to what it is still called later, in every order", async (t) => {
  const life = [
    jobOf(1, 1),
    jobOf(1, 3, { full_name: "acme/other", url: "https://git.example/acme/2" }),
    jobOf(1, 5),
    jobOf(1, 2, { url: "https://git.example/acme/before" }),
    jobOf(2, 4),
  ];
  await using database = await testDatabase({ max: 1 });
  const lives = async (calls: Call[], isTogether: boolean) =>
    await rolledBack(database.sql, async (sql) => {
      if (isTogether) { for (let n = 0; n < calls.length; n += 2) await ingestTogether(sql, calls.slice(n, n + 2)); }
      else for (const call of calls) await ingest(sql, call);
      const claims = await sql`
        select reference, claim_clock, claimed_by from metrics.repository_references where url is not null order by 1`;
      return { tables: await readTables(sql, { clocks: true }), claims: [...claims] };
    });
  const first = await lives(life, false);
  assertEquals(first.tables["repositories"]!.map((row) => row["full_name"]).sort(), ["acme/1", "acme/2"]);
  for (const order of ordersOf(life)) {
    for (const isTogether of [false, true]) {
      assertEquals(await lives(order, isTogether), first, order.map(({ delivery }) => delivery["delivery_id"]).join());
    }
  }

  await t.step("clocks that are not kept are noticed", async () => {
    await database.sql.unsafe(`
      create or replace function metrics.keep_clocks(repositories jsonb) returns void language sql set search_path = '' as ''`);
    const [first, other, last] = life as [Call, Call, Call];
    assertNotEquals(await lives([first, last, other], false), await lives([first, other, last], false));
  });
});
