/** A database to try migrations on, as hosted projects have it: the role that applies them is no superuser. */

import { join } from "@std/path";
import type { Sql } from "postgres";
import { sources } from "../../supabase/functions/ingest-metrics/sources/mod.ts";
import { translate } from "../../supabase/functions/ingest-metrics/translate.ts";
import { type Cluster, templateDatabase, temporaryCluster } from "../stack/cluster.ts";
import { repository } from "../stack/packages.ts";
import { readSamples } from "../stack/samples.ts";
import { type Migration, sha256 } from "./migrations.ts";
import { type CliOutcome, runCli, type Target } from "./target.ts";

/** A database of a scratch cluster; dropped when disposed of. */
export interface Scratch {
  target: Target;
  /** Runs something with a connection as the superuser, closed afterwards. */
  asAdmin<T>(work: (sql: Sql) => Promise<T>): Promise<T>;
  /** Runs something with a connection as `postgres`, closed afterwards. */
  asPostgres<T>(work: (sql: Sql) => Promise<T>): Promise<T>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** A cluster for scratch databases, in a temporary folder; to be stopped. */
export async function scratchCluster(): Promise<Cluster> {
  return await temporaryCluster(() => Promise.resolve());
}

/** A fresh database with what a hosted one holds before its first migration. */
export async function scratchDatabase(cluster: Cluster): Promise<Scratch> {
  const name = `scratch_${crypto.randomUUID().slice(0, 8)}`;
  const asServer = (work: (sql: Sql) => Promise<unknown>) => cluster.with(cluster.adminUrl("template1"), work);
  await asServer((sql) => sql.unsafe(`create database ${name} template ${templateDatabase} owner postgres`));
  return {
    target: { kind: "url", url: `${cluster.url(name)}?sslmode=disable` },
    asAdmin: (work) => cluster.with(cluster.adminUrl(name), work),
    asPostgres: (work) => cluster.with(cluster.url(name), work),
    [Symbol.asyncDispose]: async () => {
      await asServer((sql) => sql.unsafe(`drop database ${name} with (force)`));
    },
  };
}

/** Applies migrations to a scratch database by the CLI, and nothing else that lies in their repository. */
export async function pushToScratch(
  scratch: Scratch,
  migrations: Migration[],
  env: Record<string, string | undefined>,
): Promise<CliOutcome> {
  const folder = await Deno.makeTempDir({ prefix: "metrics-scratch-" });
  try {
    await Deno.mkdir(join(folder, "supabase", "migrations"), { recursive: true });
    await Deno.copyFile(join(repository, "supabase", "config.toml"), join(folder, "supabase", "config.toml"));
    for (const { name, sql } of migrations) {
      await Deno.writeTextFile(join(folder, "supabase", "migrations", name), sql);
    }
    return await runCli(["db", "push", "--yes"], scratch.target, { root: folder, env, timeout: 300_000 });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** What the last statement of {@link traced} says when the file ended its transaction. */
export const tornApart = "the transaction of the file was ended within it";

/** A migration that fails at its end if its last statement is in another transaction than its first; one statement stands before its own. */
export function traced(migration: Migration): Migration {
  const sql = `create table public.metrics_trace as select pg_catalog.pg_current_xact_id()::text as id;
${migration.sql}
;
do $trace$
begin
  if (select id from public.metrics_trace) <> pg_catalog.pg_current_xact_id()::text then
    raise exception '${tornApart}';
  end if;
end
$trace$;
drop table public.metrics_trace;
`;
  return { ...migration, sql };
}

/** Where and why the CLI stopped; its advice is left out, because some of it would hurt. */
export interface CliFailure {
  /** The file that was being applied. */
  name?: string;
  /** The statement that failed. */
  statement?: string;
  /** Its number in the file, from 1. */
  number?: number;
  /** Postgres' own words, with the SQLSTATE. */
  cause: string;
  sqlstate?: string;
}

/** What the CLI says of a failure, taken apart. */
export function failureOf({ stderr, stdout }: CliOutcome): CliFailure {
  const lines = `${stderr}\n${stdout}`.split("\n").map((line) => line.trimEnd());
  const name = lines.findLast((line) => line.startsWith("Applying migration "))?.replace(
    /^Applying migration (.*?)\.{3}$/,
    "$1",
  );
  const at = lines.findIndex((line) => /^(ERROR|FATAL|PANIC): /.test(line));
  const marker = lines.findIndex((line) => /^At statement: \d+$/.test(line));
  const sqlstate = /\(SQLSTATE (\w{5})\)/.exec(lines[at] ?? "")?.[1];
  const isAdvice = (line: string) =>
    /^(Try rerunning|Make sure your local|supabase |And update|Target:|Confirmed by|Applying |Finished|WARN)/.test(
      line,
    );
  const cause = at >= 0
    ? lines.slice(at, marker > at ? marker : at + 1).join(" ")
    : lines.filter((line) => line && !isAdvice(line)).slice(0, 3).join(" ");
  const end = lines.findIndex((line, index) => index > marker && isAdvice(line));
  const statement = marker >= 0 ? lines.slice(marker + 1, end < 0 ? undefined : end) : [];
  return {
    cause: cause || "the CLI did not say why",
    ...(name && (at >= 0 || marker >= 0) ? { name } : {}),
    ...(sqlstate ? { sqlstate } : {}),
    ...(marker >= 0
      ? {
        number: Number(lines[marker]!.slice("At statement: ".length)) + 1,
        // A comment stands before its statement; a caret shows the place in it.
        statement: statement.filter((line) => !/^\s*(--|\^)/.test(line)).join("\n").trim(),
      }
      : {}),
  };
}

/** Fills metrics with the sample deliveries, translated by the function's own code, and a member. */
export async function fillWithSamples(sql: Sql): Promise<void> {
  for (const { source, event, id, body } of await readSamples()) {
    const known = sources.get(source.split("-", 1)[0]!)!;
    const bytes = new TextEncoder().encode(JSON.stringify(body));
    const headers = new Headers({ "x-github-event": event, "x-github-delivery": id });
    const options = { source, incidentLabels: new Set<string>() };
    const became = translate(known, "application/json", bytes, (parsed) => known.identify(headers, parsed), options);
    if (became.result === "quarantined") continue;
    const delivery = {
      source,
      delivery_id: id,
      event: became.event,
      sha256: await sha256(bytes),
      size: bytes.length,
      content_type: became.body ? "application/json" : null,
      result: became.result,
      reason: became.reason,
      notes: became.notes,
    };
    await sql.unsafe("select metrics.ingest($1::text::jsonb, $2::text::jsonb, $3)", [
      JSON.stringify(delivery),
      JSON.stringify(became.facts ?? {}),
      became.body ? new Uint8Array(became.body).toBase64() : null,
    ]);
  }
  await sql`select metrics.add_member('ann@example.com', 'admin')`;
}
