import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { difference, schemaFile, schemaText, schemaTextWithin } from "../../tools/deploy/schema.ts";
import { testDatabase } from "../support/database.ts";

Deno.test("supabase/schema.sql is the schema that the migrations make", async () => {
  await using database = await testDatabase({ max: 1 });
  const sentence = difference(await Deno.readTextFile(schemaFile), await schemaText(database.sql));
  assert(sentence === undefined, sentence);
});

Deno.test("the text is the same in every database, whatever the order of privileges and the search path", async () => {
  await using one = await testDatabase({ max: 1 });
  await using other = await testDatabase({ max: 1, connection: { search_path: "metrics, public" } });
  await other.sql`revoke select on metrics.jobs from authenticated, metrics_reader`;
  await other.sql`grant select on metrics.jobs to metrics_reader`;
  await other.sql`grant select on metrics.jobs to authenticated`;
  await other.sql`set datestyle = 'German'`;
  // The schema of next month has other partitions, of the same shape.
  await other
    .sql`create table metrics.bodies_20400102 partition of metrics.bodies for values from ('2040-01-02') to ('2040-01-09')`;
  await other.sql`alter table metrics.bodies_20400102 enable row level security`;
  await other.sql`comment on table metrics.bodies_20400102 is 'Bodies that expire in the week of this Monday.'`;
  assertEquals(difference(await schemaText(one.sql), await schemaText(other.sql)), undefined);
});

/** One change each, and a word of the line that tells it. */
const changes: [name: string, change: string, line: string][] = [
  ["an extra column", "alter table metrics.jobs add column extra text", "+     extra text"],
  ["a missing column", "alter table metrics.jobs drop column url", "-     url text"],
  ["a column's type", "alter table metrics.jobs alter column attempt type bigint", "+     attempt bigint"],
  ["a default", "alter table metrics.settings alter column body_days set default 31", "default 31"],
  ["not null", "alter table metrics.teams alter column name drop not null", "+     name text"],
  [
    "a constraint",
    "alter table metrics.jobs drop constraint status_is_known",
    "-   alter table metrics.jobs add constraint status_is_known",
  ],
  ["an index", "drop index metrics.pushes_after_idx", "-   CREATE INDEX pushes_after_idx"],
  [
    "a comment",
    "comment on column metrics.jobs.url is 'Another.'",
    "+   comment on column metrics.jobs.url is 'Another.'",
  ],
  ["a policy", "drop policy members_read on metrics.jobs", "-   create policy members_read on metrics.jobs"],
  ["row level security", "alter table metrics.jobs disable row level security", "enable row level security"],
  ["a grant on the schema", "grant usage on schema metrics to anon", "+   grant usage on schema metrics to anon"],
  [
    "a grant on a table",
    "grant insert on metrics.jobs to service_role",
    "+   grant insert on table metrics.jobs to service_role",
  ],
  [
    "a grant on a column",
    "grant update (url) on metrics.jobs to authenticated",
    "+   grant update (url) on table metrics.jobs",
  ],
  ["a grant on a sequence", "grant usage on sequence metrics.teams_id_seq to anon", "+ sequence metrics.teams_id_seq"],
  [
    "a grant on a function",
    "grant execute on function metrics.health() to public",
    "+   grant execute on function metrics.health() to public",
  ],
  [
    "a default privilege",
    "alter default privileges in schema metrics grant select on tables to anon",
    "+   alter default privileges",
  ],
  [
    "a setting of a function",
    "alter function metrics.health() set search_path = public",
    "+    SET search_path TO 'public'",
  ],
  ["a new function", "create function metrics.extra() returns int language sql return 1", "+ function metrics.extra()"],
  [
    "a trigger",
    "create trigger extra before insert on metrics.teams for each row execute function suppress_redundant_updates_trigger()",
    "+   CREATE TRIGGER extra",
  ],
  ["a view", "create view metrics.extra as select 1 as one", "+ view metrics.extra"],
  ["a type", "create type metrics.extra as enum ('a', 'b')", "+ type metrics.extra"],
  ["a sequence", "create sequence metrics.extra", "+ sequence metrics.extra"],
  [
    "a partition unlike the others",
    "create table metrics.bodies_20400102 partition of metrics.bodies for values from ('2040-01-02') to ('2040-01-10')",
    "+   create table metrics.bodies_<YYYYMMDD>",
  ],
];

Deno.test("a change of the catalog changes the text, and the sentence says where", async (t) => {
  await using database = await testDatabase({ max: 1 });
  const before = await schemaText(database.sql);
  for (const [name, change, line] of changes) {
    await t.step(name, async () => {
      let after = "";
      await assertRejects(
        () =>
          database.sql.begin(async (sql) => {
            await sql.unsafe(change);
            after = await schemaTextWithin(sql);
            throw new Error("roll back");
          }),
        Error,
        "roll back",
      );
      const sentence = difference(before, after);
      assert(sentence, `nothing differs after ${change}`);
      assertStringIncludes(sentence, line);
    });
  }
  assertEquals(await schemaText(database.sql), before);
});
