/** Law 9: applying every migration again, on an empty database or on one with data, changes neither catalog nor data. */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import type { Sql } from "postgres";
import { testDatabase } from "../support/database.ts";
import { callOf, ingest } from "../support/history_calls.ts";
import { readExamples } from "../support/history_examples.ts";
import { catalogOf, contentsOf } from "../support/snapshot.ts";

const folder = new URL("../../supabase/migrations/", import.meta.url);

interface Migration {
  name: string;
  sql: string;
}

/** The migrations, in their order. */
async function migrations(): Promise<Migration[]> {
  const names = [...Deno.readDirSync(folder)].map(({ name }) => name).filter((name) =>
    /^\d{14}_metrics_.*\.sql$/.test(name)
  );
  return await Promise.all(
    names.sort().map(async (name) => ({ name, sql: await Deno.readTextFile(new URL(name, folder)) })),
  );
}

/** Applies each file as the CLI does: with settings reset, in one transaction of its own. */
async function applyAgain(sql: Sql, files: Migration[]): Promise<void> {
  const connection = await sql.reserve();
  try {
    for (const file of files) {
      await connection.unsafe("reset all");
      await connection.unsafe(file.sql);
    }
    await connection.unsafe("reset all");
  } finally {
    connection.release();
  }
}

async function stateOf(sql: Sql) {
  // Rows may be written again, as long as they stay what they are.
  return { catalog: (await catalogOf(sql)).split("\n"), contents: await contentsOf(sql, { writes: false }) };
}

async function fill(sql: Sql): Promise<void> {
  for (const { deliveries } of readExamples()) {
    for (const posted of deliveries) await ingest(sql, await callOf(posted));
  }
  await sql`select metrics.add_member('ann@example.com', 'admin')`;
}

Deno.test("re_runnable: on an empty database all migrations again change nothing", async () => {
  await using database = await testDatabase();
  const before = await stateOf(database.sql);
  assert(before.catalog.length > 100);
  await applyAgain(database.sql, await migrations());
  assertEquals(await stateOf(database.sql), before);
});

Deno.test("re_runnable: on a database with data all migrations again change nothing", async () => {
  await using database = await testDatabase();
  await fill(database.sql);
  const before = await stateOf(database.sql);
  assert(before.contents.some((line) => line.startsWith("metrics.members ")));
  await applyAgain(database.sql, await migrations());
  assertEquals(await stateOf(database.sql), before);
});

Deno.test("re_runnable: they are applied by a role that is no superuser", async () => {
  await using database = await testDatabase();
  const [row] = await database.sql`select rolsuper, rolname from pg_roles where rolname = current_user`;
  assertEquals({ ...row }, { rolsuper: false, rolname: "postgres" });
});

const FAULTS = {
  "a constraint without a name": "alter table metrics.jobs add check (attempt < 1000000)",
  "a default that is set each time": "update metrics.settings set body_days = body_days + 1 where true",
  "a row that is added each time": "insert into metrics.teams (name) values (gen_random_uuid()::text)",
  "a privilege that comes back": "grant select on metrics.jobs to anon",
  "a function without its revoke": "create or replace function metrics.extra() returns int language sql as 'select 1'",
};

for (const [fault, statement] of Object.entries(FAULTS)) {
  Deno.test(`re_runnable: ${fault} is noticed`, async () => {
    await using database = await testDatabase();
    const before = await stateOf(database.sql);
    await applyAgain(database.sql, [{ name: "planted", sql: statement }]);
    assertNotEquals(await stateOf(database.sql), before);
  });
}
