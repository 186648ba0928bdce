// Loads what an export wrote into the same schema, which holds nothing but what its migrations wrote, in one transaction.
import { join } from "@std/path";
import { TextLineStream } from "@std/streams/text-line-stream";
import type { TransactionSql } from "postgres";
import {
  appliedOf,
  fileHash,
  type Manifest,
  manifestName,
  plainText,
  quoted,
  readTables,
  referenceOf,
} from "./export.ts";
import { takeLock } from "./push.ts";
import { type Finding, type GateContext, type GateResult, Report } from "./result.ts";
import { codeOf, connect, nameOf, type Target } from "./target.ts";

/** What to restore. */
export interface RestoreOptions extends GateContext {
  target: Target;
  /** The folder of an export. */
  folder: string;
  /** Milliseconds to wait for a deployment that is under way, default a minute. */
  wait?: number | undefined;
}

/** The one table whose row upkeep and admins change from the first minute on; nothing is lost with it. */
const alwaysThere = "settings";

/** Ends the transaction; nothing was loaded. */
class Refused extends Error {
  constructor(readonly finding: Finding) {
    super(finding.code);
  }
}

/** The gate `restore`. */
export async function runRestore(options: RestoreOptions): Promise<GateResult> {
  const { target, env, folder, wait = 60_000 } = options;
  const report = new Report("restore", nameOf(target), options);
  const manifest = await readManifest(folder, target, report);
  if (!manifest) return report.result();
  const sql = await connect(target, env, "metrics deploy: lock");
  try {
    report.find(...await takeLock(sql, Date.now() + wait));
    if (!report.ok) return report.result();
    const { tokens, others } = await sql.begin(async (sql) => {
      await sql.unsafe(`set local lock_timeout = '2s'; ${plainText}`);
      return await load(sql, folder, manifest);
    }) as Loaded;
    const rows = manifest.tables.reduce((sum, { rows }) => sum + rows, 0);
    report.note(`Restored ${rows} rows of ${manifest.tables.length} tables, as of ${manifest.exported_at}.`);
    if (tokens > 0) {
      report.note(
        `${tokens} tokens are revoked, because an export holds no hash of a token: make new ones with metrics.create_token.`,
      );
    }
    if (others.length > 0) {
      report.note(
        `The export does not hold ${
          others.map((name) => `metrics.${name}`).join(", ")
        }, which stay as the migrations made them.`,
      );
    }
  } catch (error) {
    report.find(
      error instanceof Refused ? error.finding : {
        code: "not_loaded",
        sentence: `Postgres refused the data (${
          codeOf(error)
        }); nothing was loaded. The schema must be of the release of the export, or a later one.`,
      },
    );
  } finally {
    await sql.end({ timeout: 5 });
  }
  return report.result();
}

/** The manifest of an export of this target, once every file is what it says; the report says why it is none. */
export async function readManifest(folder: string, target: Target, report: Report): Promise<Manifest | undefined> {
  const text = await Deno.readTextFile(join(folder, manifestName)).catch(() => undefined);
  let manifest: Manifest | undefined;
  try {
    manifest = text === undefined ? undefined : JSON.parse(text);
  } catch (error) {
    // Said below.
    if (!(error instanceof SyntaxError)) throw error;
  }
  if (manifest?.format !== 1) {
    report.find({
      code: "no_export",
      sentence: `The folder holds no export that this version reads: ${manifestName} must stand in it, with format 1.`,
    });
    return undefined;
  }
  if (manifest.project !== referenceOf(target)) {
    report.find({
      code: "export_of_another",
      sentence: `The export is not of ${nameOf(target)}: take the one that was made there.`,
    });
    return undefined;
  }
  for (const { name, sha256: expected } of manifest.tables) {
    const hash = await fileHash(join(folder, `${name}.jsonl`)).catch(() => undefined);
    if (hash !== expected) {
      report.find({
        code: "file_differs",
        file: `${name}.jsonl`,
        sentence: `is ${hash ? "not what was exported" : "missing"}: take the whole export as it was written.`,
      });
    }
  }
  return report.ok ? manifest : undefined;
}

/** What came of loading. */
interface Loaded {
  /** How many tokens were revoked. */
  tokens: number;
  /** Tables that the export does not hold. */
  others: string[];
}

/** Loads all tables. */
async function load(sql: TransactionSql, folder: string, manifest: Manifest): Promise<Loaded> {
  const present = await readTables(sql);
  if (present.length === 0) {
    throw new Refused({
      code: "schema_missing",
      sentence: "The database has no schema metrics: push the migrations first.",
    });
  }
  for (const { name, columns } of manifest.tables) {
    const table = present.find((table) => table.name === name);
    const unknown = table ? columns.filter((column) => !table.columns.includes(column)) : [];
    if (!table || unknown.length > 0) {
      throw new Refused({
        code: "schema_is_older",
        sentence:
          `The schema does not know ${
            table ? `the columns ${unknown.join(", ")} of ` : ""
          }the table metrics.${name}: push the ` +
          "migrations of the export's release first.",
      });
    }
  }
  const prefilled: typeof present = [];
  for (const table of present) {
    const { name } = table;
    // A file is one transaction with its row of the history, which so tells what migrations wrote.
    const [rows] = await sql.unsafe<[{ all: number; others: number }]>(
      `select
        count(*)::int as all,
        count(*) filter (where t.xmin::text not in (
          select m.xmin::text from supabase_migrations.schema_migrations as m where to_jsonb(m) ->> 'name' like 'metrics\\_%'
        ))::int as others
      from metrics.${quoted(name)} as t`,
    );
    if (rows.others > 0 && name !== alwaysThere) {
      throw new Refused({
        code: "not_empty",
        sentence: `metrics.${name} holds rows already: an export is restored into a schema that was just made.`,
      });
    }
    if (rows.all > 0 && manifest.tables.some((exported) => exported.name === name)) prefilled.push(table);
  }
  const isSameRelease = (await appliedOf(sql)).migrations_sha256 === manifest.migrations_sha256;
  let tokens = 0;
  // Stored sums come with the export; triggers would add to them.
  for (const table of present.filter(({ triggers }) => triggers)) await switchTriggers(sql, table.name, "disable");
  for (const { name } of prefilled.toReversed()) {
    await sql.unsafe(`create temporary table ${quoted(`new_${name}`)} on commit drop as table metrics.${quoted(name)}`);
    await sql.unsafe(`delete from metrics.${quoted(name)} where true`);
  }
  for (const table of present) {
    const exported = manifest.tables.find(({ name }) => name === table.name);
    if (!exported) continue;
    const file = join(folder, `${table.name}.jsonl`);
    if (table.name === "identities") {
      tokens = await loadIdentities(sql, exported.columns, typesOf(table, exported.columns), file);
    } else await insert(sql, table.name, exported.columns, typesOf(table, exported.columns), file);
    const [count] = await sql.unsafe(`select count(*)::int as rows from metrics.${quoted(table.name)}`);
    if (count!.rows !== exported.rows) {
      throw new Refused({
        code: "not_loaded",
        sentence: `metrics.${table.name} got ${count!.rows} rows of ${exported.rows}; nothing was loaded.`,
      });
    }
    // What a later release knows more of, and the export cannot.
    if (prefilled.includes(table) && !isSameRelease) {
      const columns = table.columns.map(quoted).join(", ");
      await sql.unsafe(
        `insert into metrics.${quoted(table.name)} (${columns}) overriding system value
        select ${columns} from pg_temp.${quoted(`new_${table.name}`)} on conflict do nothing`,
      );
    }
  }
  for (const table of present.filter(({ triggers }) => triggers)) await switchTriggers(sql, table.name, "enable");
  for (const { name, last_value, is_called } of manifest.sequences) {
    await sql`select setval(${`metrics.${quoted(name)}`}::regclass, ${last_value}::bigint, ${is_called})`;
  }
  const held = manifest.tables.map(({ name }) => name);
  return {
    tokens,
    others: present.filter(({ name }) => !held.includes(name) && name !== "bodies").map(({ name }) => name),
  };
}

/** The types of these columns. */
function typesOf(table: { columns: string[]; types: string[] }, columns: string[]): string[] {
  return columns.map((column) => table.types[table.columns.indexOf(column)]!);
}

async function switchTriggers(sql: TransactionSql, table: string, how: "enable" | "disable"): Promise<void> {
  await sql.unsafe(`alter table metrics.${quoted(table)} ${how} trigger user`);
}

/** Most bytes of lines that go together. */
const together = 1024 * 1024;

/** Inserts the lines of a file, whose values are texts of these types; `others` are expressions for columns, which may use `value`. */
async function insert(
  sql: TransactionSql,
  table: string,
  columns: string[],
  types: string[],
  file: string,
  others: (value: (column: string) => string) => Record<string, string> = () => ({}),
): Promise<void> {
  const value = (column: string) => {
    const index = columns.indexOf(column);
    return `(line ->> ${index})::${types[index]}`;
  };
  const values = { ...Object.fromEntries(columns.map((column) => [column, value(column)])), ...others(value) };
  const statement = `insert into metrics.${quoted(table)} (${
    Object.keys(values).map(quoted).join(", ")
  }) overriding system value
    select ${Object.values(values).join(", ")} from json_array_elements($1::text::json) as l (line)`;
  let lines: string[] = [];
  let bytes = 0;
  const send = async () => {
    if (lines.length > 0) await sql.unsafe(statement, [`[${lines.join(",")}]`]);
    lines = [];
    bytes = 0;
  };
  using open = await Deno.open(file);
  const text: ReadableStream<string> = open.readable.pipeThrough(new TextDecoderStream()).pipeThrough(
    new TextLineStream(),
  );
  for await (const line of text) {
    if (bytes + line.length > together) await send();
    lines.push(line);
    bytes += line.length;
  }
  await send();
}

/** Identities stay, so that deliveries can be traced to them; a token gets the hash of nothing that anybody knows, and is revoked. */
async function loadIdentities(sql: TransactionSql, columns: string[], types: string[], file: string): Promise<number> {
  await insert(sql, "identities", columns, types, file, (value) => ({
    token_sha256: `case when ${value("kind")} = 'token'
      then sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8')) end`,
  }));
  const live = await sql`
    update metrics.identities
    set revoked_at = now()
    where kind = 'token' and revoked_at is null
    returning id
  `;
  return live.length;
}
