/**
 * Law 4 backwards: removing leaves the database exactly as it was before the first deployment, at no step does the app or its REST API
 * notice, and what was exported loads into the next deployment as it was.
 */

import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { runExpose } from "../../tools/deploy/expose.ts";
import { runExport } from "../../tools/deploy/export.ts";
import { until } from "../../tools/deploy/project.ts";
import { runRemove } from "../../tools/deploy/remove.ts";
import { runRestore } from "../../tools/deploy/restore.ts";
import { changesBeyond } from "../../tools/deploy/surroundings.ts";
import { pushMigrations } from "../../tools/stack/migrate.ts";
import { type AppDatabase, appDatabase, appRepository, codes, deployCluster, gate } from "../support/deploy.ts";
import { type Project, startProject } from "../support/project.ts";
import { callOf, ingest } from "../support/history_calls.ts";
import { readExamples } from "../support/history_examples.ts";
import { catalogOf, contentsOf } from "../support/snapshot.ts";

const cluster = await deployCluster();
const app = await appRepository();
Deno.test.afterAll(() => app[Symbol.asyncDispose]());
const lax = { sanitizeOps: false, sanitizeResources: false };

const deploy = (database: AppDatabase) => pushMigrations(database.url.replace("?sslmode=disable", ""), app.folder);

/** Everything of a database that is not metrics: catalogs, the app's rows, the whole history. */
async function everything(database: AppDatabase) {
  const history = await database.sql`select * from supabase_migrations.schema_migrations order by version`;
  return {
    catalogs: await database.catalogs(),
    rows: await database.rows(),
    history: history.map((row) => ({ ...row })),
  };
}

/** Finds any difference, whatever it belongs to. */
function assertUntouched(before: Awaited<ReturnType<typeof everything>>, after: typeof before): void {
  assertEquals(changesBeyond(before.catalogs, after.catalogs, /^(?!)/), []);
  assertEquals(after.rows, before.rows);
  assertEquals(after.history, before.history);
}

/** A month of what every table holds: the examples, and each day runs, jobs, measurements and one delivery in quarantine. */
async function fill(database: AppDatabase): Promise<void> {
  const { sql } = database;
  for (const { deliveries } of readExamples()) {
    for (const posted of deliveries) await ingest(sql, await callOf(posted));
  }
  const begin = Date.now() - 31 * 86_400_000;
  for (let day = 0; day < 31; day++) {
    const at = (minute: number) => new Date(begin + day * 86_400_000 + minute * 60_000).toISOString();
    const repository = `github:${day % 3 + 1}`;
    const runs = Array.from(
      { length: 20 },
      (_, run) => ({ repository, external_id: `${day}-${run}`, observed_at: at(run) }),
    );
    const finished = {
      status: "finished",
      outcome: day % 5 ? "success" : "failure",
      provider_outcome: 'Ünïcode, "quoted"\n',
      finished_at: at(90),
    };
    await ingest(
      sql,
      {
        delivery: delivery(`day-${day}`, "stored"),
        facts: {
          pipeline_runs: runs.map((run) => ({
            ...run,
            ...finished,
            pipeline: "CI",
            queued_at: at(0),
            started_at: at(1),
          })),
          jobs: runs.map((run) => ({
            ...run,
            ...finished,
            name: "build",
            runner_labels: ["a,b", "", "\\N"],
            started_at: at(1),
          })),
          measurements: [{
            repository,
            name: "size",
            external_id: `${day}`,
            value: 0.1 + day,
            unit: "",
            attributes: { a: null },
            measured_at: at(2),
          }],
        },
        body: btoa(`{"day":${day}}`),
      } as Parameters<typeof ingest>[1],
    );
    await ingest(
      sql,
      { delivery: delivery(`wrong-${day}`, "quarantined"), facts: {}, body: btoa("not JSON \xff") } as Parameters<
        typeof ingest
      >[1],
    );
  }
  await sql`select metrics.add_member('dev-1@example.com', 'admin'), metrics.add_team('platform'), metrics.set_setting('time_zone', 'Europe/Berlin')`;
  await sql`select metrics.add_team_member('platform', 'dev-1@example.com')`;
  await sql`select metrics.create_token('ci', array['github'])`;
  await sql`select metrics.create_token('old', array['github'])`;
  await sql`select metrics.revoke_identity('old')`;
}

function delivery(id: string, result: "stored" | "quarantined") {
  const reason = result === "stored" ? null : "body: not JSON";
  return {
    source: "github",
    delivery_id: id,
    event: "workflow_run",
    sha256: "0".repeat(64),
    size: 9,
    content_type: "application/json",
    result,
    reason,
    notes: [],
  };
}

/** The app's reads, one after the other, until it is ended: every answer that differs from the first. */
function traffic(project: Project) {
  let goesOn = true;
  let count = 0;
  const others = new Set<string>();
  const read = async () => JSON.stringify([await project.read("notes?order=id"), await project.read("note_counts")]);
  const ended = (async () => {
    const first = await read();
    assertEquals(JSON.parse(first).map(({ status }: { status: number }) => status), [200, 200]);
    for (; goesOn; count++) {
      const now = await read();
      if (now !== first) others.add(now);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  })();
  const end = async (): Promise<{ count: number; others: string[] }> => {
    goesOn = false;
    await ended;
    return { count, others: [...others] };
  };
  // Before the project ends, however the test does.
  return { end, [Symbol.asyncDispose]: async () => void await end() };
}

/** What a table of metrics holds, without what an export leaves behind. */
async function contents(database: AppDatabase): Promise<string[]> {
  const lines = await contentsOf(database.sql, { writes: false });
  return lines.filter((line) => !line.startsWith("metrics.identities "));
}

const identities = (database: AppDatabase) =>
  database.sql`
  select id, name, kind, sources, fact_kinds, calls_per_minute, created_at::text, token_sha256, revoked_at is not null as revoked
  from metrics.identities order by id`;

Deno.test(
  "law 4: a rollback after a month of data, and forward again: the app never notices, and all data come back",
  lax,
  async () => {
    await using database = await appDatabase(cluster);
    await using project = await startProject(database);
    const { target } = database;
    const at = { root: app.folder, env: project.env, target: project.linked, wait: 5_000 };
    await using reads = traffic(project);
    const before = await everything(database);

    await deploy(database);
    assertEquals(codes(await runExpose(at)), []);
    await fill(database);
    const data = {
      contents: await contents(database),
      identities: await identities(database),
      catalog: await catalogOf(database.sql),
    };
    assert(data.contents.length > 1_500, `${data.contents.length}`);
    const temporary = await Deno.makeTempDir({ prefix: "metrics-export-" });
    const folder = join(temporary, "export");
    assertEquals(codes(await runExport({ ...at, target, folder, bodies: true })), []);

    const removed = await gate(["remove", "--remote", `--confirm=${project.ref}`], project.env);
    assertEquals([removed.code, removed.result.findings], [0, []], removed.said);
    assertEquals(project.list(), "public");
    assertUntouched(before, await everything(database));
    assertEquals((await project.read("settings", "metrics")).status, 406);

    await deploy(database);
    assertEquals(codes(await runRestore({ ...at, target, folder })), []);
    assertEquals(codes(await runExpose(at)), []);
    assertEquals(await catalogOf(database.sql), data.catalog);
    assertEquals(await contents(database), data.contents);
    const now = await identities(database);
    assertEquals(now.map(({ id, name }) => [id, name]), data.identities.map(({ id, name }) => [id, name]));
    assertEquals(now.map(({ revoked }) => revoked), [true, true]);
    // Keys go on where they were: nothing new meets what was restored.
    await database.sql`select metrics.add_team('later'), metrics.create_token('ci', array['github'])`;
    await ingest(
      database.sql,
      {
        delivery: delivery("after", "stored"),
        facts: { commits: [{ repository: "github:new", sha: "0f3c1d2" }] },
      } as Parameters<typeof ingest>[1],
    );

    const again = await runRemove({ ...at, confirm: project.ref });
    assertEquals(again.findings, []);
    assertUntouched(before, await everything(database));
    const { count, others } = await reads.end();
    assert(count > 50, `${count}`);
    assertEquals(others, []);
    const files = [...Deno.readDirSync(folder)].map(({ name }) => name);
    const hash = (data.identities[0]!.token_sha256 as Uint8Array<ArrayBuffer>).toHex();
    for (const file of files) {
      const text = await Deno.readTextFile(join(folder, file));
      assert(!text.includes(hash) && !text.includes("token_sha256"), file);
      assertEquals((await Deno.stat(join(folder, file))).mode! & 0o77, 0);
    }
    await Deno.remove(temporary, { recursive: true });
  },
);

Deno.test(
  "while the schema is exposed and cannot be taken off, it is not dropped; with --force an empty one stands in its place",
  lax,
  async () => {
    await using database = await appDatabase(cluster);
    await using project = await startProject(database);
    const at = { root: app.folder, env: project.env, target: project.linked, wait: 500, confirm: project.ref };
    const before = await everything(database);
    await deploy(database);
    await runExpose(at);
    await using reads = traffic(project);

    project.faults.refuse = 403;
    const denied = await gate(["remove", "--remote", `--confirm=${project.ref}`], project.env);
    assertEquals([denied.code, denied.said.includes("403")], [1, true], denied.said);
    project.faults.refuse = undefined;
    project.faults.stale = true;
    assertEquals(codes(await runRemove(at)), ["data_api_not_following", "still_exposed"]);
    project.faults.stale = undefined;
    await project.setList("public,metrics");
    assertEquals((await database.sql`select to_regclass('metrics.jobs') is not null as there`)[0]!.there, true);

    const forced = await runRemove({ ...at, force: true });
    assertEquals(forced.findings, []);
    assertEquals(project.list(), "public,metrics");
    const tables = await database.sql`select relname from pg_class where relnamespace = 'metrics'::regnamespace`;
    assertEquals(tables.length, 0);
    // What PostgREST would see by now.
    await new Promise((resolve) => setTimeout(resolve, 400));
    assertEquals((await project.read("notes?limit=1")).status, 200);

    // The list no longer names it: the empty one goes, too.
    assertEquals((await runRemove(at)).findings, []);
    assertUntouched(before, await everything(database));
    assertEquals((await reads.end()).others, []);
  },
);

Deno.test(
  "dropped by hand while it was exposed, the app's REST API is down, and removing brings it back",
  lax,
  async () => {
    await using database = await appDatabase(cluster);
    await using project = await startProject(database);
    const at = { root: app.folder, env: project.env, target: project.linked, wait: 3_000, confirm: project.ref };
    const before = await everything(database);
    await deploy(database);
    await runExpose(at);
    await database.sql`drop schema metrics cascade`;
    const { status } = await until(() => project.read("notes"), ({ status }) => status === 503, 3_000);
    assertEquals(status, 503);
    assertEquals((await runRemove(at)).findings, []);
    assertEquals((await project.read("notes")).status, 200);
    assertUntouched(before, await everything(database));
    // What would be left is noticed, wherever it lies.
    for (const planted of ["create role left_over nologin", "alter role anon set work_mem = '5MB'"]) {
      await database.sql.unsafe(planted);
      const now = await everything(database);
      assertThrows(() => assertUntouched(before, now));
      await database.sql.unsafe("drop role if exists left_over");
    }
    await database.sql.unsafe("alter role anon reset work_mem");
  },
);

/** What must not go with metrics, what is found, and how it is undone. */
const obstacles: Record<string, [string, string, string]> = {
  "a view of the app's reads metrics": [
    "create view public.on_metrics as select count(*) from metrics.jobs",
    "app_depends_on_metrics",
    "drop view public.on_metrics",
  ],
  "a trigger of the app's calls a function of metrics": [
    `create function metrics.planted() returns trigger language plpgsql as 'begin return new; end';
    create trigger planted before update on public.notes for each row execute function metrics.planted()`,
    "app_depends_on_metrics",
    "drop function metrics.planted() cascade",
  ],
  "the readers' role may read a table of the app's": [
    "grant select on public.notes to metrics_reader",
    "role_in_use",
    "revoke select on public.notes from metrics_reader",
  ],
};

Deno.test("what stands on metrics in the app is named, and nothing is changed before it is gone", lax, async (t) => {
  await using database = await appDatabase(cluster);
  await using project = await startProject(database);
  const { target } = database;
  const at = { root: app.folder, env: { ...project.urlEnv }, target, wait: 3_000, confirm: database.name };
  const before = await everything(database);
  await deploy(database);
  assertEquals((await runExpose(at)).findings, []);
  const deployed = await everything(database);
  for (const [what, [plant, code, undo]] of Object.entries(obstacles)) {
    await t.step(what, async () => {
      await database.sql.unsafe(plant);
      const { findings } = await runRemove(at);
      assertEquals(findings.map(({ code }) => code), [code]);
      assert(/on_metrics|planted|notes/.test(findings[0]!.sentence), findings[0]!.sentence);
      assertEquals((await project.read("settings", "metrics")).status, 401);
      await database.sql.unsafe(undo);
    });
  }
  await t.step("a table of metrics is locked", async () => {
    const lock = await database.sql.reserve();
    await lock.unsafe("begin; lock table metrics.jobs in access share mode");
    assertEquals(codes(await runRemove(at)), ["locked"]);
    await lock`rollback`;
    lock.release();
    assertEquals((await project.read("settings", "metrics")).status, 401);
  });
  await t.step("nobody has confirmed, or another project", async () => {
    for (const confirm of [undefined, "", "postgres", project.ref]) {
      assertEquals(codes(await runRemove({ ...at, confirm })), ["not_confirmed"]);
    }
  });
  await t.step("it is not known whether it is exposed", async () => {
    assertEquals(codes(await runRemove({ ...at, env: {} })), ["exposure_unknown"]);
    assertNotEquals(await database.history(), before.history.map(({ version }) => version));
  });
  assertUntouched(deployed, await everything(database));
  await database.sql.unsafe(`
    create schema cron;
    create table cron.job (jobid bigint, jobname text);
    insert into cron.job values (1, 'app-nightly'), (2, 'metrics-maintain'), (3, 'metrics-of-the-app');
    create function cron.unschedule(id bigint) returns boolean language sql as 'delete from cron.job where jobid = id returning true'`);
  await database.sql.unsafe("create role grafana_of_the_test login in role metrics_reader");
  const { findings, notes } = await runRemove(at);
  assertEquals(findings, []);
  assert(notes.includes("Unscheduled metrics-maintain."), notes.join("\n"));
  assert(notes.some((note) => note.includes("These were in it and stay: grafana_of_the_test.")), notes.join("\n"));
  assertEquals((await database.sql`select jobname from cron.job`).map(({ jobname }) => jobname), [
    "app-nightly",
    "metrics-of-the-app",
  ]);
  await database.sql.unsafe("drop schema cron cascade; drop role grafana_of_the_test");
  assertUntouched(before, await everything(database));
});

Deno.test("what only has a name like ours is not removed", lax, async (t) => {
  await using database = await appDatabase(cluster);
  const { target, sql, name } = database;
  const at = { root: app.folder, env: {}, target, force: true, confirm: name, wait: 300 };
  const theirs = () =>
    sql`
    insert into supabase_migrations.schema_migrations (version, name, statements)
    values ('20260301000000', 'metrics_dashboard', array['create view public.dashboard as select 1 as one'])`;
  await theirs();
  await t.step("an app's own schema of that name", async () => {
    await sql.unsafe(
      "create schema metrics; create table metrics.visits (id int); insert into metrics.visits values (1)",
    );
    for (const step of ["", "create table metrics.settings (id int)"]) {
      await sql.unsafe(step);
      const before = await everything(database);
      assertEquals(codes(await runRemove(at)), ["not_ours"]);
      assertUntouched(before, await everything(database));
    }
    await sql.unsafe("drop schema metrics cascade");
    await sql.unsafe("create schema metrics");
    assertEquals(codes(await runRemove(at)), ["not_ours"]);
    await sql.unsafe("drop schema metrics");
    assertEquals((await runRemove(at)).notes.includes("There was nothing of ours."), true);
  });
  const before = await everything(database);
  await sql`delete from supabase_migrations.schema_migrations where version = '20260301000000'`;
  await deploy(database);
  await theirs();
  await t.step("migrations on metrics that the repository lacks", async () => {
    await sql`
      insert into supabase_migrations.schema_migrations (version, name, statements)
      values ('20991231000000', 'metrics_later', array['create table metrics.later (id int)'])`;
    const { findings } = await runRemove(at);
    assertEquals(findings.map(({ code }) => code), ["ahead"]);
    assert(findings[0]!.sentence.includes("(20991231000000_metrics_later.sql)"), findings[0]!.sentence);
    await sql`delete from supabase_migrations.schema_migrations where version = '20991231000000'`;
  });
  await t.step("a deployment is under way", async () => {
    const folder = await Deno.makeTempDir();
    const [{ locked }] = await sql<[{ locked: string }]>`
      select pg_advisory_lock(hashtextextended('metrics deploy', 0))::text as locked`;
    assertEquals(locked, "");
    assertEquals(codes(await runRemove(at)), ["deployment_under_way"]);
    assertEquals(codes(await runExport({ ...at, folder: join(folder, "export") })), ["deployment_under_way"]);
    await sql`select pg_advisory_unlock_all()`;
    await Deno.remove(folder, { recursive: true });
  });
  await t.step("other jobs would go, too", async () => {
    await sql.unsafe(`
      create schema cron;
      create table cron.job (jobid bigint, jobname text);
      insert into cron.job values (1, 'app-nightly'), (2, 'metrics-maintain');
      create function cron.unschedule(id bigint) returns boolean language sql as 'delete from cron.job returning true'`);
    const { findings } = await runRemove(at);
    assertEquals(findings.map(({ code }) => code), ["app_would_change"]);
    assert(findings[0]!.sentence.startsWith("the job app-nightly would go"), findings[0]!.sentence);
    assertEquals((await sql`select from cron.job`).length, 2);
    await sql.unsafe("drop schema cron cascade");
  });
  await t.step("a file of the app's with such a name", async () => {
    await using other = await appRepository();
    const mine = "20260301000000_metrics_dashboard.sql";
    await other.write(mine, "create view public.dashboard as select 1 as one;");
    const files = Object.fromEntries(
      other.ours().filter((name) => name !== mine).map((name) => [
        `supabase/migrations/${name}`,
        { source: `supabase/migrations/${name}`, sha256: "" },
      ]),
    );
    await Deno.mkdir(join(other.folder, "metrics"));
    await Deno.writeTextFile(join(other.folder, "metrics", "manifest.json"), JSON.stringify({ files }));
    assertEquals((await runRemove({ ...at, root: other.folder })).findings, []);
  });
  assertUntouched(before, await database.sql`drop schema metrics`.then(() => everything(database)));
});

Deno.test(
  "what has come since the export is not removed, and an export goes back to where it is from",
  lax,
  async () => {
    await using database = await appDatabase(cluster, { deployed: true });
    await using other = await appDatabase(cluster);
    const temporary = await Deno.makeTempDir({ prefix: "metrics-export-" });
    const at = { root: app.folder, env: {}, target: database.target, force: true, confirm: database.name };
    const [first, second] = [join(temporary, "first"), join(temporary, "second")];
    await fill(database);
    assertEquals(codes(await runExport({ ...at, folder: first })), []);
    assertEquals(codes(await runRestore({ ...at, target: other.target, folder: first })), ["export_of_another"]);
    await ingest(
      database.sql,
      { delivery: delivery("late", "stored"), facts: {} } as unknown as Parameters<typeof ingest>[1],
    );
    const refused = await runRemove({ ...at, export: first });
    assertEquals(codes(refused), ["not_exported"]);
    assert(refused.findings[0]!.sentence.includes("metrics.deliveries"), refused.findings[0]!.sentence);
    // As many rows as before, but others.
    await database.sql`delete from metrics.deliveries where delivery_id = 'day-30'`;
    assertEquals(codes(await runRemove({ ...at, export: first })), ["not_exported"]);
    const [there] = await database.sql`select count(*)::int as deliveries from metrics.deliveries`;
    assert(there!.deliveries > 30);
    assertEquals(codes(await runRemove({ ...at, export: second })), ["no_export"]);
    assertEquals(codes(await runExport({ ...at, folder: second })), []);
    assertEquals((await runRemove({ ...at, export: second })).findings, []);
    await Deno.remove(temporary, { recursive: true });
  },
);

Deno.test("rows that migrations wrote go with an export, and those of a later release stay", lax, async (t) => {
  await using database = await appDatabase(cluster);
  await using repository = await appRepository();
  const { target, sql, url } = database;
  const at = { root: repository.folder, env: {}, target };
  const temporary = await Deno.makeTempDir({ prefix: "metrics-export-" });
  const folder = join(temporary, "export");
  const release = async (rows: string) => {
    await repository.write(
      "20990101000000_metrics_tariffs.sql",
      `create table metrics.labels (id bigint primary key, price int not null);
      alter table metrics.labels enable row level security;
      create table metrics.tariffs (label bigint primary key references metrics.labels (id), note text);
      alter table metrics.tariffs enable row level security;
      insert into metrics.labels values ${rows};
      insert into metrics.tariffs select id, 'of the release' from metrics.labels;`,
    );
    await pushMigrations(url.replace("?sslmode=disable", ""), repository.folder);
  };
  const again = async (rows: string) => {
    await sql.unsafe(
      "drop schema metrics cascade; delete from supabase_migrations.schema_migrations where name like 'metrics%'",
    );
    await release(rows);
  };
  const labels = async () =>
    (await sql`select id::int, price from metrics.labels order by id`).map((row) => ({ ...row }));
  await release("(1, 10), (2, 20)");
  // The team's own: one is changed, one is added, one is gone.
  await sql.unsafe(`
    update metrics.labels set price = 11 where id = 1;
    delete from metrics.tariffs where label = 2;
    delete from metrics.labels where id = 2;
    insert into metrics.labels values (3, 30)`);
  assertEquals(codes(await runExport({ ...at, folder })), []);
  await t.step("the same release: as it was", async () => {
    await again("(1, 10), (2, 20)");
    assertEquals((await runRestore({ ...at, folder })).findings, []);
    assertEquals(await labels(), [{ id: 1, price: 11 }, { id: 3, price: 30 }]);
  });
  await t.step("a later one: what only that has stays beside it", async () => {
    await again("(1, 12), (4, 40)");
    await sql`update metrics.settings set time_zone = time_zone where true`;
    assertEquals((await runRestore({ ...at, folder })).findings, []);
    assertEquals(await labels(), [{ id: 1, price: 11 }, { id: 3, price: 30 }, { id: 4, price: 40 }]);
    const prices = await sql`select label::int, note from metrics.tariffs order by label`;
    assertEquals(prices.map(({ label }) => label), [1, 4]);
  });
  await t.step("rows that nobody released are not overwritten", async () => {
    await again("(1, 12)");
    await sql`insert into metrics.labels values (5, 50)`;
    assertEquals(codes(await runRestore({ ...at, folder })), ["not_empty"]);
  });
  await Deno.remove(temporary, { recursive: true });
});

Deno.test("an export goes whole into a schema that was just made, or not at all", lax, async (t) => {
  await using database = await appDatabase(cluster);
  const { target, sql } = database;
  const at = { root: app.folder, env: {}, target };
  const temporary = await Deno.makeTempDir({ prefix: "metrics-export-" });
  const folder = join(temporary, "export");
  assertEquals(codes(await runExport({ ...at, folder })), ["schema_missing"]);
  await deploy(database);
  await fill(database);
  assertEquals(codes(await runExport({ ...at, folder })), []);
  assertEquals(codes(await runExport({ ...at, folder })), ["folder_not_empty"]);
  await t.step("bodies stay away unless they are asked for", async () => {
    assertEquals([...Deno.readDirSync(folder)].some(({ name }) => name === "bodies.jsonl"), false);
    for (const { name } of Deno.readDirSync(folder)) {
      assertEquals((await Deno.readTextFile(join(folder, name))).includes("not JSON \\"), false);
    }
  });
  await t.step("tables that hold rows are not added to", async () => {
    const before = await contents(database);
    assertEquals(codes(await runRestore({ ...at, folder })), ["not_empty"]);
    assertEquals(await contents(database), before);
  });
  await sql.unsafe(
    "drop schema metrics cascade; delete from supabase_migrations.schema_migrations where name like 'metrics%'",
  );
  assertEquals(codes(await runRestore({ ...at, folder })), ["schema_missing"]);
  await deploy(database);
  const empty = await contents(database);
  await t.step("a schema that lacks a column is named", async () => {
    await sql.unsafe("alter table metrics.reviews drop column state cascade");
    assertEquals(codes(await runRestore({ ...at, folder })), ["schema_is_older"]);
    await sql.unsafe("alter table metrics.reviews add column state text");
  });
  await t.step("a file that was edited is named", async () => {
    const file = join(folder, "jobs.jsonl");
    const text = await Deno.readTextFile(file);
    await Deno.writeTextFile(file, text.replace("build", "built"));
    const { findings } = await runRestore({ ...at, folder });
    assertEquals(findings.map(({ code, file }) => [code, file]), [["file_differs", "jobs.jsonl"]]);
    await Deno.writeTextFile(file, text);
  });
  await t.step("data that the schema refuses leave nothing", async () => {
    await sql.unsafe("alter table metrics.measurements add constraint planted check (value < 20)");
    assertEquals(codes(await runRestore({ ...at, folder })), ["not_loaded"]);
    assertEquals(await contents(database), empty);
    await sql.unsafe("alter table metrics.measurements drop constraint planted");
  });
  await t.step("a folder without an export is refused", async () => {
    assertEquals(codes(await runRestore({ ...at, folder: temporary })), ["no_export"]);
    await Deno.writeTextFile(join(temporary, "export.json"), "{");
    assertEquals(codes(await runRestore({ ...at, folder: temporary })), ["no_export"]);
  });
  assertEquals((await runRestore({ ...at, folder })).findings, []);
  await Deno.remove(temporary, { recursive: true });
});
