// The schema metrics as text, in supabase/schema.sql: what the migrations leave, compared in tests and in CI.
//
//   deno task schema            writes the file again
//   deno task schema --check    says what differs, and fails
import { parseArgs } from "@std/cli/parse-args";
import { join } from "@std/path";
import type { Sql, TransactionSql } from "postgres";
import { templateDatabase, temporaryCluster } from "../stack/cluster.ts";
import { pushMigrations } from "../stack/migrate.ts";
import { repository } from "../stack/packages.ts";

/** Absolute path of the file that holds the schema as text. */
export const schemaFile: string = schemaFileOf(repository);

/** Absolute path of that file in the folder that holds `supabase/`. */
export function schemaFileOf(root: string): string {
  // In an app's repository, which may have a file of that name below supabase.
  const installed = join(root, "metrics", "schema.sql");
  try {
    if (Deno.statSync(installed).isFile) return installed;
  } catch {
    // This is our own repository.
  }
  return join(root, "supabase", "schema.sql");
}

const header = `-- The schema metrics as the migrations leave it, to be read and compared; it is never applied.
-- Made by "deno task schema" with the query tools/deploy/catalog.sql: change a migration, then run that.
`;

/**
 * The schema metrics of a database as text, the same for every database with the same schema.
 *
 * @param sql connected as a role that may read the catalog, which is any
 * @returns the text of the file {@link schemaFile}; only its header when there is no schema metrics
 */
export async function schemaText(sql: Sql): Promise<string> {
  return await sql.begin((sql) => schemaTextWithin(sql)) as string;
}

/**
 * The same as {@link schemaText}, within a transaction, whose search path and formats of times change by it.
 */
export async function schemaTextWithin(sql: TransactionSql): Promise<string> {
  const query = await Deno.readTextFile(new URL("./catalog.sql", import.meta.url));
  // The catalog leaves out the names of schemas on the path, and writes dates and times as the session likes them.
  await sql.unsafe(`
    set local search_path = '';
    set local datestyle = 'ISO, YMD';
    set local timezone = 'UTC';
    set local intervalstyle = 'postgres';
    set local extra_float_digits = 1;
    set local quote_all_identifiers = off;
  `);
  const [row] = await sql.unsafe<{ schema: string | null }[]>(query);
  return `${header}\n${row?.schema ?? ""}`;
}

/**
 * What differs between two schemas as text.
 *
 * @param expected the text that should be, from the file
 * @param actual the text that is
 * @returns undefined when they are equal, else sentences with the lines that only one has: "-" expected, "+" actual
 */
export function difference(expected: string, actual: string): string | undefined {
  const lines = differingLines(expected, actual);
  return lines.length === 0
    ? undefined
    : `supabase/schema.sql is not the schema that the migrations make:\n${lines.join("\n")}\n` +
      'If the change is meant, run "deno task schema" and commit the file.';
}

/**
 * What differs between two schemas as text, line by line.
 *
 * @returns lines that only one has, each under the name of its object: "-" expected, "+" actual; the first 60
 */
export function differingLines(expected: string, actual: string): string[] {
  if (expected === actual) return [];
  const before = blocks(expected);
  const after = blocks(actual);
  const lines: string[] = [];
  for (const name of new Set([...before.keys(), ...after.keys()])) {
    const [old, now] = [before.get(name), after.get(name)];
    if (old === now) continue;
    if (now === undefined) lines.push(`- ${name}`);
    else if (old === undefined) lines.push(`+ ${name}`);
    else {
      const gone = without(old, now).map((line) => `-   ${line}`);
      const come = without(now, old).map((line) => `+   ${line}`);
      lines.push(
        `  ${name}${gone.length + come.length === 0 ? ": the same lines in another order" : ""}`,
        ...gone,
        ...come,
      );
    }
  }
  const shown = lines.slice(0, 60);
  if (lines.length > shown.length) shown.push(`  and ${lines.length - shown.length} lines more`);
  return shown;
}

/** The text by heading: a line "-- table metrics.jobs" begins the block of that name. */
function blocks(text: string): Map<string, string> {
  const heading = /^-- (?=(?:schema|type|sequence|table|view|function|procedure|aggregate) metrics\b)/m;
  const [start, ...rest] = text.split(heading);
  const found = new Map([["the header", start!.trim()]]);
  for (const block of rest) {
    const end = block.indexOf("\n");
    const name = block.slice(0, end);
    // Two templates of partitions stand under one heading when one of them differs.
    found.set(name, `${found.get(name) ?? ""}${block.slice(end + 1).trimEnd()}\n`);
  }
  return found;
}

/** The lines of one text that the other lacks, each as often as it has more of them. */
function without(text: string, other: string): string[] {
  const left = new Map<string, number>();
  for (const line of other.split("\n")) left.set(line, (left.get(line) ?? 0) + 1);
  return text.split("\n").filter((line) => {
    const count = left.get(line) ?? 0;
    left.set(line, count - 1);
    return count <= 0;
  });
}

if (import.meta.main) {
  const { check } = parseArgs(Deno.args, {
    boolean: ["check"],
    unknown: (name: string) => {
      console.error(`deno task schema takes --check and nothing else, not ${name}.`);
      Deno.exit(2);
    },
  });
  const cluster = await temporaryCluster(pushMigrations);
  let actual: string;
  try {
    actual = await cluster.with(cluster.url(templateDatabase), schemaText);
  } finally {
    await cluster.server.stop();
  }
  if (check) {
    const expected = await Deno.readTextFile(schemaFile).catch(() => "");
    const sentence = difference(expected, actual);
    if (sentence) {
      console.error(sentence);
      Deno.exit(1);
    }
  } else {
    await Deno.writeTextFile(schemaFile, actual);
  }
}
