/** Law 2 for pushes without a time, which nothing but their own commits puts in order; and that one more is not the work of all. */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type postgres from "postgres";
import { testDatabase } from "../support/database.ts";
import { deep } from "../support/depth.ts";
import { ingest } from "../support/history_calls.ts";
import { rolledBack } from "../support/history_copies.ts";
import { newSeed, randomFrom, shuffledWithDuplicates } from "../support/history_random.ts";
import type { Call, Row } from "../support/model.ts";
import { comparePlaces, orderOf } from "../support/model_order.ts";
import { differencesByRebuilding, finishRebuild } from "../support/rebuilt.ts";

const REPOSITORY = { repository: "github:1", full_name: "acme/one", default_branch: "main", observed_at: null };

const shaOf = (n: number) => n.toString(16).padStart(40, "0");

function pushOf(from: number, to: number, more: Record<string, unknown> = {}): Row {
  const sides = { before: shaOf(from), after: shaOf(to) };
  return {
    ref: "refs/heads/main",
    ...sides,
    pushed_at: null,
    on_default_branch: true,
    commits: [sides.after],
    truncated: false,
    ...more,
  };
}

let told = 0;
function callOf(...pushes: Row[]): Call {
  return {
    delivery: { source: "test", delivery_id: `told ${told++}`, sha256: "ab".repeat(32), size: 1, result: "stored" },
    facts: { repositories: [REPOSITORY], pushes: pushes.map((push) => ({ repository: "github:1", ...push })) },
  } as Call;
}

/** Where each commit stands: its line, by its number among the lines, and the commits of each line in their order. */
async function placesIn(sql: postgres.TransactionSql): Promise<[number, string][]> {
  const rows = await sql`
    select case when c.line = 0 then 0 else dense_rank() over (partition by c.line > 0 order by c.line) end::int as line, c.sha
    from (
      select distinct c.sha, c.line, c.position from metrics.changes as c
      where c.generation = metrics.current_generation()
    ) as c
    order by c.line, c.position`;
  return rows.map(({ line, sha }) => [line, sha]);
}

/** The same as the model has it; lines on which nothing stands that counts have no number. */
function placesOf(pushes: Row[]): [number, string][] {
  const places = [...orderOf(pushes, "main").places].map(([sha, place]) => ({ sha, place }));
  places.sort((a, b) => a.place.line - b.place.line || comparePlaces(a.place, b.place));
  const lines = [...new Set(places.map(({ place }) => place.line).filter((line) => line > 0))];
  return places.map(({ sha, place }) => [place.line === 0 ? 0 : lines.indexOf(place.line) + 1, sha]);
}

/** Pushes of few commits, so that they meet, part, leave gaps and run in circles; a few with a time, or told by two. */
const tangled = fc.uniqueArray(
  fc.record({
    from: fc.integer({ min: 1, max: 12 }),
    to: fc.integer({ min: 1, max: 12 }),
    minute: fc.option(fc.integer({ min: 10, max: 14 }), { freq: 8 }),
    others: fc.subarray([21, 22, 23], { maxLength: 2 }),
    truncated: fc.boolean(),
  }).filter(({ from, to }) => from !== to),
  { minLength: 1, maxLength: 12, selector: ({ from, to, minute }) => `${from} ${to} ${minute}` },
).map((all) =>
  all.map(({ from, to, minute, others, truncated }) =>
    pushOf(from, to, {
      pushed_at: minute === null ? null : `2026-03-02T10:${minute}:00Z`,
      commits: [...others.map(shaOf), shaOf(to)],
      truncated,
    })
  )
);

/** Nearly always: each goes on from the one before, whatever their commits are called. Some are missing. */
const chained = fc.tuple(
  fc.shuffledSubarray([...Array(12).keys()], { minLength: 3 }),
  fc.subarray([...Array(12).keys()], { minLength: 9 }),
).map(([shas, there]) =>
  shas.flatMap((sha, n) => n > 0 && there.includes(n) ? [pushOf(shas[n - 1]! + 1, sha + 1)] : [])
);

const pushes = fc.oneof(tangled, chained);

Deno.test("order_free: pushes without a time stand as the model says, one by one, in any order and duplicated", async () => {
  const seed = newSeed("order_free_pushes");
  await using database = await testDatabase({ max: 1 });
  const property = fc.asyncProperty(pushes, fc.integer(), async (history, shuffle) => {
    await rolledBack(database.sql, async (sql) => {
      for (const push of shuffledWithDuplicates(history, randomFrom(shuffle))) await ingest(sql, callOf(push));
      assertEquals(await placesIn(sql), placesOf(history));
    });
    await rolledBack(database.sql, async (sql) => {
      await ingest(sql, callOf(...history));
      assertEquals(await placesIn(sql), placesOf(history), "all at once");
    });
  });
  await fc.assert(property, { seed, numRuns: deep(60, 2000) });
});

/** A deployment of a commit, a minute after each number. */
function deploymentOf(sha: number): Call {
  const at = `2026-03-02T12:${String(sha).padStart(2, "0")}:00Z`;
  const deployment = {
    external_id: `d${sha}`,
    environment: "production",
    environment_tier: "production",
    commit_sha: shaOf(sha),
  };
  const call = callOf();
  const finished = {
    repository: "github:1",
    ...deployment,
    status: "finished",
    outcome: "success",
    finished_at: at,
    observed_at: at,
  };
  return { ...call, facts: { ...call.facts, deployments: [finished] } } as Call;
}

Deno.test("order_free: what pushes without a time shipped is what a rebuild says", async () => {
  const seed = newSeed("order_free_pushes");
  await using database = await testDatabase({ max: 1 });
  const deployed = fc.subarray([...Array(12).keys()], { minLength: 1, maxLength: 4 });
  const property = fc.asyncProperty(pushes, deployed, fc.integer(), async (history, deployed, shuffle) => {
    const calls = [...history.map((push) => callOf(push)), ...deployed.map((sha) => deploymentOf(sha + 1))];
    await rolledBack(database.sql, async (sql) => {
      for (const call of shuffledWithDuplicates(calls, randomFrom(shuffle))) await ingest(sql, call);
      assertEquals(await differencesByRebuilding(sql), []);
    });
  });
  await fc.assert(property, { seed, numRuns: deep(20, 600) });
});

/** How many rows one more delivery reads and writes. */
async function rowsOf(sql: postgres.Sql, call: Call): Promise<number> {
  const count = async (sql: postgres.TransactionSql): Promise<number> => {
    const [row] = await sql`
      select sum(seq_tup_read + idx_tup_fetch + n_tup_ins + n_tup_upd + n_tup_del)::int as rows
      from pg_stat_xact_user_tables
      where schemaname = 'metrics'`;
    return row!["rows"];
  };
  return await sql.begin(async (sql) => {
    const before = await count(sql);
    assertEquals((await ingest(sql, call)).result, "stored");
    return await count(sql) - before;
  });
}

/** What deliveries cost after a chain of so many pushes, of which nothing was ever deployed. */
async function costs(length: number, planted = "select") {
  await using database = await testDatabase({ max: 1 });
  const { sql } = database;
  await ingest(sql, callOf());
  await sql`
    insert into metrics.pushes (reference_id, ref, before, after, on_default_branch, commits, truncated)
    select r.id, 'refs/heads/main', ${"a".repeat(32)} || lpad(to_hex(n), 8, '0'), ${
    "a".repeat(32)
  } || lpad(to_hex(n + 1), 8, '0'),
      true, array[${"a".repeat(32)} || lpad(to_hex(n + 1), 8, '0')], false
    from metrics.repository_references as r, generate_series(0, ${length}) as n
    where r.reference = 'github:1'`;
  await sql`select metrics.begin_rebuild()`;
  await finishRebuild(sql);
  await sql.unsafe(`analyze metrics.pushes, metrics.changes, metrics.branch_moves; ${planted}`).simple();
  const last = "a".repeat(32) + (length + 1).toString(16).padStart(8, "0");
  const next = { ...pushOf(0, 1), before: last };
  return {
    next: await rowsOf(sql, callOf(next)),
    again: await rowsOf(sql, callOf(next)),
    aloneBefore: await rowsOf(sql, callOf(pushOf(100, 101))),
    aloneBehind: await rowsOf(sql, callOf({ ...pushOf(0, 201), before: "f".repeat(40) })),
    afterAlone: await rowsOf(sql, callOf(pushOf(101, 102))),
    // What was missed comes late: between two lines, and before one.
    between: await rowsOf(sql, callOf(pushOf(1, 100))),
    before: await rowsOf(sql, callOf({ ...pushOf(0, 0), before: "e".repeat(40), after: "f".repeat(40) })),
  };
}

Deno.test("order_free: one more push without a time is as much work after many as after few", async (t) => {
  const few = await costs(50);
  const many = await costs(1000);
  for (const [what, rows] of Object.entries(many)) {
    assert(
      rows < 1.5 * few[what as keyof typeof few] + 20,
      `${what}: ${rows} rows after many, ${JSON.stringify(few)} after few`,
    );
  }

  await t.step("a push for which all are ordered again is noticed", async () => {
    const all = await costs(
      1000,
      `create or replace function metrics.append_move(
        generation integer, repository bigint, push bigint, out is_done boolean, out first_line integer, out first_ordinal integer
      ) language sql set search_path = '' as $$ select false, null::integer, null::integer $$`,
    );
    for (const what of ["next", "aloneBefore", "aloneBehind", "afterAlone", "between", "before"] as const) {
      assert(all[what] > 1.5 * few[what] + 20);
    }
  });
});
