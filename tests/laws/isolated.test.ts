/** Law 4: nothing outside the schema metrics is created, altered, granted or revoked. */

import { assertEquals, assertNotEquals } from "@std/assert";
import connect from "postgres";
import { temporaryCluster } from "../../tools/stack/cluster.ts";
import { pushMigrations } from "../../tools/stack/migrate.ts";
import { type CatalogChange, changesBeyond, systemCatalogs } from "../support/snapshot.ts";

/** The schema, the one role that is an exception, and the list of applied migrations, which is the CLI's. */
const OURS = /^(schema (metrics|supabase_migrations)|role metrics_reader|member of metrics_reader: postgres)$/;

/** What would break the law, each in a way of its own. */
const FAULTS = {
  "a privilege on an app's table": "grant select on public.app_table to anon",
  "a privilege on an app's column": "grant update (id) on public.app_table to authenticated",
  "a privilege taken from an app's function": "revoke execute on function public.app_function() from public",
  "a default privilege for every schema": "alter default privileges revoke execute on functions from public",
  "a default privilege in the app's schema": "alter default privileges in schema public grant select on tables to anon",
  "a setting of a role": "alter role anon set statement_timeout = '9s'",
  "a setting of the database": "alter database postgres set work_mem = '8MB'",
  "an extension": "create extension if not exists hstore",
  "a trigger on an app's table": `create trigger watch after insert on public.app_table
    for each row execute function metrics.planted()`,
  "a foreign key to an app's table":
    "alter table metrics.planted add foreign key (id) references public.app_table (id)",
  "a foreign key to the users": "alter table metrics.planted add foreign key (user_id) references auth.users (id)",
  "a function in the app's schema": "create function public.helper() returns int language sql as 'select 1'",
  "a policy on an app's table": "create policy seen on public.app_table for select to anon using (true)",
  "row level security of an app's table": "alter table public.app_table enable row level security",
  "a comment on the app's schema": "comment on schema public is 'ours now'",
  "a second role": "create role metrics_writer nologin",
  "a membership": "grant metrics_reader to authenticated",
  "a publication": "create publication metrics_changes for table metrics.planted",
};

// A cluster of its own, because roles belong to the whole cluster. Started while modules load, as tests/support/database.ts does.
const cluster = await temporaryCluster(() => Promise.resolve());

Deno.test("isolated: migrations change no system catalog outside the schema, but for the readers' role", async (t) => {
  const admin = connect(cluster.adminUrl(), { max: 1, onnotice: () => {} });
  const postgres = connect(cluster.url(), { max: 1, onnotice: () => {} });
  try {
    await postgres.unsafe(`
      create table public.app_table (id int primary key);
      create function public.app_function() returns int language sql as 'select 1';`);
    const before = await systemCatalogs(admin);
    await pushMigrations(cluster.url());
    const after = await systemCatalogs(admin);
    assertEquals(readable(changesBeyond(before, after, OURS)), []);
    assertEquals([...after.values()].some(({ belongsTo }) => belongsTo === "role metrics_reader"), true);

    await postgres.unsafe(`
      create table metrics.planted (id int, user_id uuid);
      create function metrics.planted() returns trigger language plpgsql as 'begin return new; end';`);
    let last = await systemCatalogs(admin);
    assertEquals(readable(changesBeyond(after, last, OURS)), []);
    for (const [fault, statement] of Object.entries(FAULTS)) {
      await t.step(`isolated: ${fault} is noticed`, async () => {
        await postgres.unsafe(statement);
        const now = await systemCatalogs(admin);
        assertNotEquals(changesBeyond(last, now, OURS), []);
        last = now;
      });
    }
  } finally {
    await Promise.all([admin.end(), postgres.end()]);
  }
});

function readable(changes: CatalogChange[]): string[] {
  return changes.map(({ change, catalog, belongsTo, row }) => `${change} ${catalog} (${belongsTo}): ${row}`);
}
