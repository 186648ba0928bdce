// Brings the database back to what it was before the first deployment: `metrics` leaves the Data API's list, then the schema goes with
// the readers' role, the jobs and our rows of the history, in one transaction. Before, after and in between it is seen that nothing
// else was touched and that the Data API serves the app.
import { join } from "@std/path";
import type { Sql, TransactionSql } from "postgres";
import { Sentence } from "../stack/sentence.ts";
import { type Manifest, quoted, readTables, referenceOf } from "./export.ts";
import { exposed, unexpose } from "./expose.ts";
import { ourName, readMigrations } from "./migrations.ts";
import { projectUrl, publishableKey, servedState, until } from "./project.ts";
import { historyOf } from "./preflight.ts";
import { takeLock } from "./push.ts";
import { readManifest } from "./restore.ts";
import { type Finding, type GateContext, type GateResult, Report } from "./result.ts";
import { type CatalogChange, changesBeyond, type SystemCatalogs, systemCatalogs } from "./surroundings.ts";
import { codeOf, connect, nameOf, type Target } from "./target.ts";

/** How to remove. */
export interface RemoveOptions extends GateContext {
  target: Target;
  /** What the person typed: the project's reference, or the name of the database behind an address. */
  confirm?: string | undefined;
  /** Does not touch the Data API's list, and leaves an empty schema where the list names it or is not known. */
  force?: boolean | undefined;
  /** The folder of an export of everything: what has come since is not dropped. */
  export?: string | undefined;
  /** Milliseconds that the Data API has to follow, and to wait for a deployment that is under way; default a minute. */
  wait?: number | undefined;
}

/** What may change: the schema, the one group role, and who is in it. */
const ours = /^(schema metrics|role metrics_reader|member of metrics_reader: .*)$/;

/** The one job that our migrations schedule. */
const ourJob = "metrics-maintain";

/** What the schema says of itself that `--force` leaves, so that it is known again. */
const standIn = "Empty: stands in for the schema that was removed, while the Data API may still list it.";

/** What is ours by the repository, and what must be known of it before it goes. */
interface Known {
  /** Names of the files of our migrations, as `<version>_<name>.sql`. */
  ours: Set<string>;
  /** Versions of all its migrations. */
  versions: Set<string>;
  /** The export that must hold everything. */
  exported: Manifest | undefined;
}

/** The gate `remove`. */
export async function runRemove(options: RemoveOptions): Promise<GateResult> {
  const { target, env, confirm, force = false } = options;
  const report = new Report("remove", nameOf(target), options);
  if (confirm !== referenceOf(target)) {
    report.find({
      code: "not_confirmed",
      sentence: `This removes everything that metrics holds in ${nameOf(target)}. To mean it, add ` +
        `--confirm=${referenceOf(target)}.`,
    });
    return report.result();
  }
  const exported = options.export === undefined ? undefined : await readManifest(options.export, target, report);
  if (!report.ok) return report.result();
  const known = { ...await knownMigrations(options.root), exported };
  const sql = await connect(target, env, "metrics deploy: lock");
  try {
    report.find(...await takeLock(sql, Date.now() + (options.wait ?? 60_000)));
    if (report.ok) await remove(sql, options, report, force, known);
  } finally {
    await sql.end({ timeout: 5 });
  }
  return report.result();
}

/** Which migrations are ours: an app may give its own a name like ours, and the manifest of an installation says which it wrote. */
async function knownMigrations(root: string): Promise<Omit<Known, "exported">> {
  const migrations = await readMigrations(root);
  const text = await Deno.readTextFile(join(root, "metrics", "manifest.json")).catch(() => undefined);
  let installed: { files?: Record<string, unknown> } | undefined;
  try {
    installed = text === undefined ? undefined : JSON.parse(text);
    if (installed && !installed.files) throw new SyntaxError();
  } catch {
    throw new Sentence(
      "metrics/manifest.json is not what deno task install wrote: take it from the repository's history.",
    );
  }
  return {
    ours: new Set(
      migrations.filter(({ isOurs, file }) => isOurs && (!installed || Object.hasOwn(installed.files!, file))).map((
        { name },
      ) => name),
    ),
    versions: new Set(migrations.map(({ version }) => version)),
  };
}

async function remove(
  sql: Sql,
  options: RemoveOptions,
  report: Report,
  force: boolean,
  known: Known,
): Promise<void> {
  const before = await systemCatalogs(sql);
  const rows = await rowsBeside(sql, known);
  const app = await watchApp(options, report);
  /** Whether everything beside metrics is as it was; the report says what is not. */
  const isUnharmed = async (step: string): Promise<boolean> => {
    const changes = changesBeyond(before, await systemCatalogs(sql), ours);
    if (changes.length > 0) report.find(foreignChange(step, objectsOf(changes)));
    const changed = changedRows(rows, await rowsBeside(sql, known));
    if (changed) report.find(foreignChange(step, changed));
    const down = await app.down();
    if (down) {
      report.find({
        code: "app_rest_down",
        sentence:
          `${step}, the Data API does not serve the app's schema ${down} any more: see that every schema on its list exists.`,
      });
    }
    return report.ok;
  };

  // What would be refused is refused while everything still stands.
  await drop(sql, report, before, known, { keepEmpty: false, rehearse: true });
  if (!report.ok) return;

  let keepEmpty = false;
  if (force) keepEmpty = app.exposed !== false;
  else if (app.exposed === undefined) {
    report.find({
      code: "exposure_unknown",
      sentence:
        "It is not known whether the Data API lists the schema metrics, and dropping a listed schema takes the app's REST API " +
        "down: SUPABASE_API_URL and SUPABASE_ACCESS_TOKEN must say where its project is managed. With --force an empty schema stays.",
    });
    return;
  } else {
    if (!await unexpose(options, report)) {
      report.find({
        code: "still_exposed",
        sentence:
          "Nothing was dropped: while the Data API serves the schema metrics, dropping it would take the app's REST API down. Run " +
          "this again when the reason above is gone; with --force an empty schema stays in its place.",
      });
      return;
    }
    if (!await isUnharmed("After metrics was taken off the Data API's list")) return;
  }

  await drop(sql, report, before, known, { keepEmpty, rehearse: false });
  if (!report.ok) return;
  if (!await isUnharmed("After the schema was dropped")) return;
  report.note(
    "Everything beside metrics is as it was" + (app.exposed === undefined ? "." : ", and the Data API serves the app."),
  );
  if (keepEmpty) {
    report.note(
      app.exposed === undefined
        ? "An empty schema metrics stands in its place: when you have seen that no Data API lists it, drop schema metrics."
        : "An empty schema metrics stands in its place: when the Data API does not list it any more, run this again without --force.",
    );
  }
}

/** What can be known of the Data API: whether it lists `metrics`, and whether it goes on serving what it served. */
async function watchApp(options: RemoveOptions, report: Report): Promise<{
  /** Undefined where the project is not known. */
  exposed: boolean | undefined;
  /** The app's schema that was served before and is not any more. */
  down(): Promise<string | undefined>;
}> {
  const { target, env } = options;
  if (target.kind === "url" && !env.SUPABASE_API_URL) {
    report.note("The project's Data API is not known, so nothing is said about it.");
    return { exposed: undefined, down: () => Promise.resolve(undefined) };
  }
  const { schemas } = await exposed(options);
  const url = projectUrl(target, env);
  const key = await publishableKey(target, env);
  const served: string[] = [];
  for (const schema of schemas.filter((name) => name !== "metrics")) {
    if (await servedState(url, key, schema) === "served") served.push(schema);
  }
  return {
    exposed: schemas.includes("metrics") || await servedState(url, key, "metrics") === "served",
    async down() {
      for (const schema of served) {
        // The server may just be reading the catalog again.
        const state = await until(() => servedState(url, key, schema), (state) => state === "served", 10_000);
        if (state !== "served") return schema;
      }
      return undefined;
    },
  };
}

/** Ends the transaction of a rehearsal, and of a removal that would change more than it may. */
class Undone extends Error {
  constructor(readonly finding?: Finding) {
    super();
  }
}

/**
 * Drops everything of ours in one transaction, which is undone if it changes anything else.
 *
 * @param before what stood beside metrics at first
 * @param options `keepEmpty` leaves an empty schema in the place of the old one; `rehearse` undoes the transaction in any case
 */
async function drop(
  sql: Sql,
  report: Report,
  before: SystemCatalogs,
  known: Known,
  options: { keepEmpty: boolean; rehearse: boolean },
): Promise<void> {
  const notes: string[] = [];
  try {
    await sql.begin(async (sql) => {
      await sql.unsafe("set local lock_timeout = '2s'; set local statement_timeout = '120s'");
      const rows = await rowsBeside(sql, known);
      notes.push(...await dropWithin(sql, known, options.keepEmpty));
      const changes = changesBeyond(before, await catalogsWithin(sql), ours);
      if (changes.length > 0) {
        throw new Undone({
          code: "app_depends_on_metrics",
          sentence:
            `Something of the app's stands on metrics and would go with it: ${
              objectsOf(changes)
            }. Drop or change it first; nothing ` +
            "was changed.",
        });
      }
      const changed = changedRows(rows, await rowsBeside(sql, known));
      if (changed) {
        throw new Undone({
          code: "app_would_change",
          sentence: `${changed} would go or change with metrics, though not ours: nothing was changed.`,
        });
      }
      if (options.rehearse) throw new Undone();
    });
    for (const note of notes) report.note(note);
  } catch (error) {
    const finding = error instanceof Undone ? error.finding : failure(error);
    if (finding) report.find(finding);
  }
}

async function dropWithin(sql: TransactionSql, known: Known, keepEmpty: boolean): Promise<string[]> {
  const notes: string[] = [];
  const [has] = await sql<{ jobs: boolean; schema: boolean; settings: boolean; stand_in: boolean; role: boolean }[]>`
    select
      to_regclass('cron.job') is not null as jobs,
      to_regnamespace('metrics') is not null as schema,
      to_regclass('metrics.settings') is not null as settings,
      coalesce(obj_description(to_regnamespace('metrics'), 'pg_namespace') = ${standIn}, false) as stand_in,
      to_regrole('metrics_reader') is not null as role
  `;
  const versions = await ourVersions(sql, known);
  // The first of our migrations makes the schema, the second its settings.
  const isOurs = has!.settings ? versions.length > 0 : versions.length === 1;
  if (has!.schema && !isOurs && !has!.stand_in) {
    throw new Undone({
      code: "not_ours",
      sentence:
        "The database has a schema metrics that does not show that it is ours: that takes the table metrics.settings, and our " +
        "migrations in the history. Nothing was changed.",
    });
  }
  if (!has!.schema && versions.length === 0) return ["There was nothing of ours."];
  if (known.exported) await assertExported(sql, known.exported);
  if (has!.jobs) {
    const jobs = await sql`select cron.unschedule(jobid) from cron.job where jobname = ${ourJob}`;
    if (jobs.length > 0) notes.push(`Unscheduled ${ourJob}.`);
  }
  if (has!.schema) await sql`drop schema metrics cascade`;
  if (keepEmpty) await sql.unsafe(`create schema metrics; comment on schema metrics is '${standIn}'`);
  notes.push(
    !has!.schema
      ? "There was no schema metrics."
      : `Dropped the schema metrics${keepEmpty ? " and made it again, empty" : ""}.`,
  );
  if (has!.role) notes.push(await dropRole(sql));
  if (versions.length > 0) {
    await sql`delete from supabase_migrations.schema_migrations where version = any(${versions})`;
    notes.push(`Marked ${versions.length} migrations of ours as reverted in the history.`);
  }
  return notes;
}

const historyTable = "supabase_migrations.schema_migrations";

/**
 * Versions of our migrations in the history.
 *
 * @throws {Undone} when it holds one that may be ours, of which the repository knows nothing
 */
async function ourVersions(sql: TransactionSql, known: Known): Promise<string[]> {
  const rows = (await historyOf(sql as unknown as Sql)).map((row) => ({
    ...row,
    file: `${row.version}_${row.name}.sql`,
  }));
  const lost = rows.filter(({ version, file, statements }) =>
    ourName.test(file) && !known.versions.has(version) &&
    // An app's own migration of such a name has nothing to do with the schema.
    (statements ?? []).some((statement) =>
      /\bschema\s+(if\s+not\s+exists\s+)?metrics\b|\bmetrics\s*\./i.test(statement)
    )
  );
  if (lost.length > 0) {
    throw new Undone({
      code: "ahead",
      sentence:
        `The history holds migrations that work on metrics and that this repository lacks (${
          lost.slice(0, 5).map(({ file }) => file).join(", ")
        }${
          lost.length > 5 ? ", ..." : ""
        }): remove from the commit that was deployed, with --root=<folder> in an app's ` +
        "repository. Nothing was changed.",
    });
  }
  return rows.filter(({ file }) => known.ours.has(file)).map(({ version }) => version);
}

/**
 * Sees to it that the export holds all that the database does. Nothing can come after it: the tables are locked.
 *
 * @throws {Undone} when something has come since
 */
async function assertExported(sql: TransactionSql, exported: Manifest): Promise<void> {
  const missing: string[] = [];
  for (const { name } of await readTables(sql)) {
    await sql.unsafe(`lock table metrics.${quoted(name)} in access exclusive mode`);
    const there = exported.tables.find((table) => table.name === name);
    // Bodies may have been left out on purpose.
    if (!there && name === "bodies" && !exported.bodies) continue;
    // A row's transaction tells what was written later, also where as much was dropped for its age.
    const [since] = await sql.unsafe<{ rows: number; written: boolean }[]>(
      `
      with numbers as (select pg_snapshot_xmax(pg_current_snapshot())::text::bigint as next, 4294967296 as epoch),
      written as (
        select n.next, n.epoch, n.next - n.next % n.epoch + t.xmin::text::bigint as by
        from metrics.${quoted(name)} as t
        cross join numbers as n
      )
      select
        count(*)::int as rows,
        coalesce(
          bool_or(
            not pg_visible_in_snapshot(
              (case when by > next and by >= epoch then by - epoch else by end)::text::xid8,
              $1::text::pg_snapshot
            )
          ),
          false
        ) as written
      from written`,
      [exported.snapshot],
    );
    if (since!.written || since!.rows > (there?.rows ?? 0)) missing.push(name);
  }
  if (missing.length === 0) return;
  throw new Undone({
    code: "not_exported",
    sentence: `More has come since the export (${
      missing.slice(0, 5).map((name) => `metrics.${name}`).join(", ")
    }${
      missing.length > 5 ? ", ..." : ""
    }), and would be lost. Nothing was dropped: keep the senders from posting, export again, and ` +
      "remove with that.",
  });
}

/** What stands in others' rows of the job list and the history of migrations, by a name for people. */
async function rowsBeside(sql: Sql | TransactionSql, known: Known): Promise<Map<string, string>> {
  const rows = new Map<string, string>();
  const [has] = await sql`
    select to_regclass('cron.job') is not null as jobs, to_regclass(${historyTable}) is not null as history
  `;
  const jobs = has!.jobs
    ? await sql`select jobname, t::text as row from cron.job as t where jobname is distinct from ${ourJob}`
    : [];
  for (const { jobname, row } of jobs) rows.set(row, `the job ${jobname}`);
  const history = has!.history
    ? await sql.unsafe(`select version, to_jsonb(t) ->> 'name' as name, md5(t::text) as row from ${historyTable} as t`)
    : [];
  for (const { version, name, row } of history) {
    if (!known.ours.has(`${version}_${name}.sql`)) rows.set(`${version} ${row}`, `the migration ${version}`);
  }
  return rows;
}

/** The first of the rows that are not in both. */
function changedRows(before: Map<string, string>, after: Map<string, string>): string | undefined {
  return [...before].find(([row]) => !after.has(row))?.[1] ?? [...after].find(([row]) => !before.has(row))?.[1];
}

async function dropRole(sql: TransactionSql): Promise<string> {
  const members = await sql<{ name: string }[]>`
    select member::regrole::text as name from pg_catalog.pg_auth_members where roleid = 'metrics_reader'::regrole order by 1
  `;
  try {
    await sql.savepoint((sql) => sql`drop role metrics_reader`);
  } catch (error) {
    const [row] = await sql`
      select exists (
        select from pg_catalog.pg_shdepend as d join pg_catalog.pg_database as b on b.oid = d.dbid
        where d.refobjid = 'metrics_reader'::regrole and b.datname = current_database()
      ) as here
    `;
    if (codeOf(error) !== "2BP01" || row?.here) throw error;
    return "Kept the role metrics_reader: another database of this server has a schema metrics, too.";
  }
  // Who made a role is a member of it.
  const others = members.map(({ name }) => name).filter((name) => name !== "postgres");
  return "Dropped the role metrics_reader." +
    (others.length === 0 ? "" : ` These were in it and stay: ${others.join(", ")}.`);
}

/** Why the transaction failed, without a value of a row. */
function failure(error: unknown): Finding {
  const code = codeOf(error);
  const detail = error instanceof Error && "detail" in error && typeof error.detail === "string" ? error.detail : "";
  return {
    code: code === "55P03" ? "locked" : code === "2BP01" ? "role_in_use" : "not_dropped",
    sentence: code === "55P03"
      ? "A table of metrics was in use for longer than 2 s; nothing was changed. Run this again."
      : code === "2BP01"
      ? `The role metrics_reader has privileges on what is not ours (${
        detail.split("\n").join("; ")
      }): revoke them first; nothing was changed.`
      : `Postgres refused to drop the schema (${code}); nothing was changed.`,
  };
}

// A transaction answers as a connection does.
const catalogsWithin = (sql: TransactionSql): Promise<SystemCatalogs> => systemCatalogs(sql as unknown as Sql);

function foreignChange(step: string, what: string): Finding {
  return {
    code: "app_changed",
    sentence: `${step}, something beside metrics is not as it was: ${what}. Another deployment may have run meanwhile.`,
  };
}

/** What changed, by name, at most five. */
function objectsOf(changes: CatalogChange[]): string {
  const names = [
    ...new Set(changes.map(({ catalog, belongsTo, row }) => {
      const { relname, proname, tgname, conname, polname, typname, rolname } = JSON.parse(row) as Record<
        string,
        string
      >;
      const name = relname ?? proname ?? tgname ?? conname ?? polname ?? typname ?? rolname;
      return name ? `${name} (${belongsTo})` : `${catalog} (${belongsTo})`;
    })),
  ].sort();
  return names.slice(0, 5).join(", ") + (names.length > 5 ? ` and ${names.length - 5} more` : "");
}
