// Everything that metrics holds, as files: one of JSON lines for each table, and one that says what they are. Hashes of
// tokens stay where they are, and bodies unless they are asked for.
import { createHash } from "node:crypto";
import { join } from "@std/path";
import type { Sql, TransactionSql } from "postgres";
import { ourName, sha256 } from "./migrations.ts";
import { historyOf } from "./preflight.ts";
import { takeLock } from "./push.ts";
import { type GateContext, type GateResult, Report } from "./result.ts";
import { connect, nameOf, type Target } from "./target.ts";

/** What to export. */
export interface ExportOptions extends GateContext {
  target: Target;
  /** The folder to write to, which is made and must be empty. */
  folder: string;
  /** Adds the bodies of deliveries: what senders said, word for word. */
  bodies?: boolean | undefined;
  /** Milliseconds to wait for a deployment that is under way, default a minute. */
  wait?: number | undefined;
}

/** What a person calls the database of a target: the project's reference, or the name of the database behind an address. */
export function referenceOf(target: Target): string {
  return target.kind === "linked" ? target.ref : decodeURIComponent(new URL(target.url).pathname.slice(1));
}

/** The file that says what the others are. */
export const manifestName = "export.json";

/** Columns that are never written to a file. */
const secret = ["token_sha256"];

/** What an export holds. */
export interface Manifest {
  format: 1;
  /** Whose data it is: {@link referenceOf} its target. */
  project: string;
  /** The moment that all tables are of, as `pg_current_snapshot()` gives it. */
  snapshot: string;
  exported_at: string;
  /** Versions of our migrations that the database had. */
  versions: string[];
  /** SHA-256 of what these migrations did, so of the rows, too, that a new schema holds. */
  migrations_sha256: string;
  tables: {
    name: string;
    columns: string[];
    rows: number;
    /** Of the file `<name>.jsonl`. */
    sha256: string;
  }[];
  /** Where generated keys go on. */
  sequences: { name: string; last_value: string; is_called: boolean }[];
  /** Whether the bodies are there. */
  bodies: boolean;
}

/** How values are written as text: the same in every database, and without loss. */
export const plainText = `
  set local search_path = '';
  set local datestyle = 'ISO, YMD';
  set local timezone = 'UTC';
  set local intervalstyle = 'postgres';
  set local extra_float_digits = 1;
  set local bytea_output = 'hex';
`;

/** The gate `export`. */
export async function runExport(options: ExportOptions): Promise<GateResult> {
  const { target, env, folder, bodies = false, wait = 60_000 } = options;
  const report = new Report("export", nameOf(target), options);
  await Deno.mkdir(folder, { recursive: true, mode: 0o700 });
  for await (const { name } of Deno.readDir(folder)) {
    report.find({
      code: "folder_not_empty",
      sentence: `The folder of the export is not empty (it holds ${name}): name a new one with --folder=...`,
    });
    return report.result();
  }
  const sql = await connect(target, env, "metrics deploy: lock");
  try {
    report.find(...await takeLock(sql, Date.now() + wait));
    if (!report.ok) return report.result();
    // One moment of all tables, and nothing is written.
    const manifest = await sql.begin("isolation level repeatable read read only", async (sql) => {
      await sql.unsafe(plainText);
      const [row] = await sql`select to_regclass('metrics.settings') is not null as exists`;
      return row?.exists ? await write(sql, referenceOf(target), folder, bodies) : undefined;
    }) as Manifest | undefined;
    if (!manifest) {
      report.find({
        code: "schema_missing",
        sentence: "The database has no schema metrics: there is nothing to export.",
      });
      return report.result();
    }
    await Deno.writeTextFile(join(folder, manifestName), `${JSON.stringify(manifest, null, 2)}\n`, { mode: 0o600 });
    const rows = manifest.tables.reduce((sum, { rows }) => sum + rows, 0);
    report.note(`Exported ${rows} rows of ${manifest.tables.length} tables to ${folder}.`);
    if (!bodies) {
      report.note(
        "Bodies of deliveries are left out: what is in quarantine cannot be replayed from it. --bodies adds them.",
      );
    }
    return report.result({ folder, rows });
  } finally {
    await sql.end({ timeout: 5 });
  }
}

async function write(sql: TransactionSql, project: string, folder: string, bodies: boolean): Promise<Manifest> {
  const tables = (await readTables(sql)).filter(({ name }) => bodies || name !== "bodies");
  const written: Manifest["tables"] = [];
  for (const { name, columns, key } of tables) {
    const file = join(folder, `${name}.jsonl`);
    const order = key.length > 0 ? `order by ${key.map((column) => `t.${quoted(column)}`).join(", ")}` : "";
    using open = await Deno.open(file, { write: true, createNew: true, mode: 0o600 });
    let rows = 0;
    const write = async (lines: string[]) => {
      const bytes = new TextEncoder().encode(lines.join(""));
      for (let done = 0; done < bytes.length;) done += await open.write(bytes.subarray(done));
    };
    const texts = columns.map((column) => `${quoted(column)}::text`).join(", ");
    const query = sql.unsafe<Record<string, string | null>[]>(
      `select ${texts} from metrics.${quoted(name)} as t ${order}`,
    );
    // A line is an array of texts and nulls. In pieces, because a table may be larger than memory.
    for await (const some of query.cursor(1_000)) {
      rows += some.length;
      await write(some.map((row) => `${JSON.stringify(columns.map((column) => row[column] ?? null))}\n`));
    }
    written.push({ name, columns, rows, sha256: await fileHash(file) });
  }
  const [moment] = await sql<[{ snapshot: string }]>`select pg_current_snapshot()::text as snapshot`;
  return {
    format: 1,
    project,
    snapshot: moment!.snapshot,
    exported_at: new Date().toISOString(),
    ...await appliedOf(sql),
    tables: written,
    sequences: await readSequences(sql),
    bodies,
  };
}

/** Our migrations in the history: their versions, and a hash of what they did. */
export async function appliedOf(sql: TransactionSql): Promise<Pick<Manifest, "versions" | "migrations_sha256">> {
  // A transaction answers as a connection does.
  const ours = (await historyOf(sql as unknown as Sql)).filter(({ version, name }) =>
    ourName.test(`${version}_${name}.sql`)
  );
  return {
    versions: ours.map(({ version }) => version),
    migrations_sha256: await sha256(JSON.stringify(ours.map(({ statements }) => statements))),
  };
}

/** The tables of the schema in an order in which each comes after those that it references. */
export async function readTables(sql: TransactionSql): Promise<
  { name: string; columns: string[]; types: string[]; key: string[]; triggers: boolean }[]
> {
  const tables = await sql<
    { name: string; columns: string[]; types: string[]; key: string[]; references: string[]; triggers: boolean }[]
  >`
    select
      c.relname as name,
      array(
        select a.attname::text
        from pg_catalog.pg_attribute as a
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
          and a.attname <> all(${secret})
        order by a.attnum
      ) as columns,
      array(
        select format_type(a.atttypid, a.atttypmod)
        from pg_catalog.pg_attribute as a
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
          and a.attname <> all(${secret})
        order by a.attnum
      ) as types,
      array(
        select a.attname::text
        from pg_catalog.pg_constraint as k
        cross join unnest(k.conkey) with ordinality as p (attnum, place)
        join pg_catalog.pg_attribute as a on a.attrelid = c.oid and a.attnum = p.attnum
        where k.conrelid = c.oid and k.contype = 'p'
        order by p.place
      ) as key,
      array(
        select f.relname::text
        from pg_catalog.pg_constraint as k
        join pg_catalog.pg_class as f on f.oid = k.confrelid
        where k.conrelid = c.oid and k.contype = 'f' and k.confrelid <> c.oid
      ) as "references",
      exists (select from pg_catalog.pg_trigger as t where t.tgrelid = c.oid and not t.tgisinternal) as triggers
    from pg_catalog.pg_class as c
    where c.relnamespace = to_regnamespace('metrics') and c.relkind in ('r', 'p') and not c.relispartition
    order by c.relname
  `;
  const ordered: typeof tables[number][] = [];
  const visit = (table: typeof tables[number]) => {
    if (ordered.includes(table)) return;
    for (const other of tables) if (table.references.includes(other.name)) visit(other);
    ordered.push(table);
  };
  for (const table of tables) visit(table);
  return ordered;
}

async function readSequences(sql: TransactionSql): Promise<Manifest["sequences"]> {
  const names = await sql<{ name: string }[]>`
    select c.relname as name from pg_catalog.pg_class as c
    where c.relnamespace = to_regnamespace('metrics') and c.relkind = 'S'
    order by 1
  `;
  const sequences: Manifest["sequences"] = [];
  for (const { name } of names) {
    const [row] = await sql.unsafe(`select last_value::text, is_called from metrics.${quoted(name)}`);
    sequences.push({ name, last_value: String(row!.last_value), is_called: row!.is_called === true });
  }
  return sequences;
}

/** SHA-256 of a file in hex; the file may be larger than memory. */
export async function fileHash(file: string): Promise<string> {
  const hash = createHash("sha256");
  using open = await Deno.open(file);
  for await (const chunk of open.readable) hash.update(chunk);
  return hash.digest("hex");
}

/** A name as an identifier of SQL. */
export function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
