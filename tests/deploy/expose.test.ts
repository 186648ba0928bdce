/** Exposure: one name is put on the list of the Data API, or taken off, and the app's part of it stays as it is written. */

import { assert, assertEquals } from "@std/assert";
import { pushMigrations } from "../../tools/stack/migrate.ts";
import { type ExposeOptions, runExpose } from "../../tools/deploy/expose.ts";
import { appDatabase, appRepository, codes, deployCluster, gate } from "../support/deploy.ts";
import { type Project, startProject } from "../support/project.ts";

const cluster = await deployCluster();
const lax = { sanitizeOps: false, sanitizeResources: false };

/** A project with metrics in its database, not yet exposed. */
async function deployed() {
  const database = await appDatabase(cluster);
  await using app = await appRepository();
  await pushMigrations(database.url.replace("?sslmode=disable", ""), app.folder);
  return database;
}

const database = await deployed();
Deno.test.afterAll(() => database[Symbol.asyncDispose]());

const expose = (project: Project, more: Partial<ExposeOptions> = {}) =>
  runExpose({ root: "/", env: project.env, target: project.linked, wait: 3_000, ...more });

const written = (project: Project) => project.changes.length;

Deno.test("metrics is added to whatever stands on the list, and taken off again", lax, async () => {
  await using project = await startProject(database);
  for (const list of ["public", "public, billing", "billing,public", "public,\tbilling"]) {
    await project.setList(list);
    const app = await project.read("note_counts");
    assertEquals((await project.read("settings", "metrics")).status, 406);
    const before = written(project);

    const on = await expose(project);
    assertEquals([on.ok, on.findings], [true, []]);
    assert(project.list().startsWith(`${list},`), project.list());
    assertEquals(project.list().split(",").at(-1)!.trim(), "metrics");
    assertEquals((await project.read("settings", "metrics")).status, 401);
    const checked = await expose(project, { check: true });
    assertEquals([checked.ok, checked.notes], [true, ["The Data API lists and serves metrics."]]);
    assertEquals(codes(await expose(project, { check: true, remove: true })), ["still_exposed"]);
    // What is there already is not written again.
    assertEquals((await expose(project)).ok, true);
    assertEquals(written(project), before + 1);

    const off = await expose(project, { remove: true });
    assertEquals([off.ok, project.list()], [true, list]);
    assertEquals((await project.read("settings", "metrics")).status, 406);
    assertEquals((await expose(project, { check: true, remove: true })).ok, true);
    assertEquals(codes(await expose(project, { check: true })), ["not_exposed"]);
    assertEquals((await expose(project, { remove: true })).ok, true);
    assertEquals(written(project), before + 2);
    if (list.startsWith("public")) assertEquals(await project.read("note_counts"), app);
  }
});

Deno.test(
  "a schema that is not there is never listed, because that would take the app's REST API down",
  lax,
  async () => {
    await using bare = await appDatabase(cluster);
    await using project = await startProject(bare);
    assertEquals(codes(await expose(project)), ["schema_missing"]);
    assertEquals([project.list(), written(project)], ["public", 0]);
    // What it would have done:
    await project.setList("public,metrics");
    await project.read("notes");
    await new Promise((resolve) => setTimeout(resolve, 300));
    await project.read("notes");
    await new Promise((resolve) => setTimeout(resolve, 100));
    const { status, text } = await project.read("notes");
    assertEquals([status, JSON.parse(text).code], [503, "PGRST002"]);
  },
);

Deno.test("a list that somebody else writes at the same time is not trusted", lax, async () => {
  await using project = await startProject(database);
  project.faults.lose = true;
  assertEquals(codes(await expose(project)), ["list_not_kept"]);
});

Deno.test("the Data API itself must follow, in both directions", lax, async () => {
  await using project = await startProject(database);
  project.faults.stale = true;
  assertEquals(codes(await expose(project, { wait: 500 })), ["data_api_not_following"]);
  assertEquals(codes(await expose(project, { check: true })), ["data_api_not_following"]);
  await project.setList(project.list());
  assertEquals(codes(await expose(project, { check: true })), []);
  assertEquals(codes(await expose(project, { remove: true, wait: 500 })), ["data_api_not_following"]);
});

Deno.test("when the app's REST API does not stand the new list, the old one is written back", lax, async () => {
  await using project = await startProject(database);
  // A schema that another deployment has dropped meanwhile.
  project.faults.rewrite = (list) => list.includes("metrics") ? `${list},dropped_meanwhile` : list;
  assertEquals(codes(await expose(project, { wait: 1_500 })), ["app_rest_down"]);
  assertEquals(project.list(), "public");
});

Deno.test("an empty list is neither begun nor left: the Data API would be off", lax, async () => {
  await using project = await startProject(database);
  await project.setList("");
  assertEquals(codes(await expose(project)), ["no_other_schema"]);
  // Where nothing is served, metrics is not either: a removal may go on.
  assertEquals((await expose(project, { remove: true })).findings, []);
  await project.setList("metrics");
  assertEquals(codes(await expose(project, { remove: true })), ["no_other_schema"]);
  // A project of our own that serves nothing else is right as it is.
  assertEquals((await expose(project)).findings, []);
  assertEquals(written(project), 0);
});

Deno.test(
  "as a command, on the linked project; a token that is not the project's is refused in words",
  lax,
  async () => {
    await using project = await startProject(database);
    const { code, result, said } = await gate(["expose", "--remote"], project.env);
    assertEquals([code, result.ok, result.schemas], [0, true, ["public", "metrics"]], said);
    const wrong = await gate(["expose", "--remote", "--off"], { ...project.env, SUPABASE_ACCESS_TOKEN: "sbp_none" });
    assertEquals([wrong.code, wrong.said.includes("SUPABASE_ACCESS_TOKEN is not valid")], [1, true]);
    assertEquals(project.list(), "public,metrics");
    const off = await gate(["expose", "--remote", "--off"], project.env);
    assertEquals([off.code, project.list()], [0, "public"]);
  },
);
