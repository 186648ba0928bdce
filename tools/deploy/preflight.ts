import type { Sql } from "postgres";
import type { Cluster } from "../stack/cluster.ts";
import { run } from "../stack/process.ts";
import { Sentence } from "../stack/sentence.ts";
import { type Environment, functionHash, secretFindings } from "./function.ts";
import { type Migration, readMigrations, sha256 } from "./migrations.ts";
import { counted, type Finding, type GateContext, type GateResult, Report } from "./result.ts";
import { schemaFileOf } from "./schema.ts";
import { failureOf, pushToScratch, scratchCluster, scratchDatabase } from "./scratch.ts";
import { connect, nameOf, type Target } from "./target.ts";

/** What staging proved, as `proof.json` holds it. */
export interface Proof {
  /** The commit that was deployed and proven. */
  commit: string;
  /** Every migration in staging's history that it ran as the repository has it, in its order, the app's included. */
  versions: { version: string; name: string; sha256: string }[];
  /** SHA-256 of staging's schema metrics as text, which is that of supabase/schema.sql. */
  catalog_sha256: string;
  /** SHA-256 of the function's files. */
  function_sha256: string;
  /** When, as an ISO 8601 time in UTC. */
  proven_at: string;
}

/** How {@link runPreflight} is called. */
export interface PreflightOptions extends GateContext {
  target: Target;
  /** Where the target stands by what was asked for; its secrets must say the same. */
  environment?: Environment | undefined;
  /** Whether the target is production, which needs a proof. */
  production: boolean;
  /** The file with staging's proof. */
  proof?: string | undefined;
  /** The commit that is deployed; default: `GITHUB_SHA`, else that of the root. */
  commit?: string | undefined;
  /** A running cluster for the scratch database; default: one of its own. */
  cluster?: Cluster | undefined;
}

/** A row of the target's history. */
export interface Applied {
  version: string;
  name: string;
  /** The statements as the CLI cut them; null in histories of early CLIs. */
  statements: string[] | null;
}

/**
 * Compares the target's history of migrations with the repository, before anything is applied: versions that the repository lacks,
 * applied migrations of ours that were edited since, new ones that would be out of order, and what would run. For production also
 * staging's proof.
 */
export async function runPreflight(options: PreflightOptions): Promise<GateResult> {
  const { target } = options;
  const report = new Report("preflight", nameOf(target), options);
  const migrations = await readMigrations(options.root);
  if (options.environment) {
    const { env, environment } = options;
    // Credentials of the other project, or staging's of none: nothing may be pushed there.
    report.find(...await secretFindings({ target, env, environment }));
  }
  const sql = await connect(target, options.env, "metrics preflight");
  let history: Applied[];
  let exists: boolean;
  try {
    history = await historyOf(sql);
    [{ exists }] = await sql<[{ exists: boolean }]>`select to_regnamespace('metrics') is not null as exists`;
  } finally {
    await sql.end({ timeout: 5 });
  }
  report.find(...compare(migrations, history));
  const applied = new Set(history.map(({ version }) => version));
  const pending = migrations.filter(({ version }) => !applied.has(version));
  const ours = migrations.filter(({ isOurs, version }) => isOurs && applied.has(version));
  if (exists && ours.length === 0) {
    report.find({
      code: "schema_without_history",
      sentence:
        "The target has a schema metrics, but its history holds no migration of ours: see whose it is. One that was left behind " +
        "by a removal is taken away by deno task deploy remove.",
    });
  }
  if (ours.length > 0 && report.ok) report.find(...await editedSince(ours, history, options));
  if (options.production) report.find(...await judgeProof(options, migrations, applied));
  const [mine, others] = [pending.filter(({ isOurs }) => isOurs), pending.filter(({ isOurs }) => !isOurs)];
  report.note(
    pending.length === 0
      ? `Nothing to do: all ${migrations.length} migrations of the repository are applied.`
      : `${counted(pending.length, "migration")} would run: ${mine.length} of ours, ${others.length} of the app's.`,
  );
  for (const { name } of pending) report.note(`  ${name}`);
  return report.result({ pending: pending.map(({ name }) => name), applied: history.length });
}

/** The target's history, in the order of versions; empty when it has none. */
export async function historyOf(sql: Sql): Promise<Applied[]> {
  const columns = await sql<{ name: string }[]>`
    select attname as name
    from pg_catalog.pg_attribute
    where attrelid = to_regclass('supabase_migrations.schema_migrations') and attnum > 0 and not attisdropped`;
  const names = columns.map(({ name }) => name);
  if (names.length === 0) return [];
  // Early CLIs kept the versions alone.
  const or = (name: string) => names.includes(name) ? sql(name) : sql`null`;
  const rows = await sql<{ version: string; name: string | null; statements: string[] | null }[]>`
    select version, ${or("name")} as name, ${or("statements")} as statements
    from supabase_migrations.schema_migrations
    order by version collate "C"`;
  return rows.map(({ version, name, statements }) => ({ version, name: name ?? "", statements }));
}

/** What of the history does not fit the repository. */
export function compare(migrations: Migration[], history: Applied[]): Finding[] {
  const findings: Finding[] = [];
  const here = new Map(migrations.map((migration) => [migration.version, migration]));
  const isOfAnApp = migrations.some(({ isOurs }) => !isOurs);
  const unknown = history.filter(({ version }) => !here.has(version));
  const isNameOfOurs = (name: string) => /^metrics_[a-z0-9_]+$/.test(name);
  const apps = unknown.filter(({ name }) => !isNameOfOurs(name));
  const lost = unknown.filter(({ name }) => isNameOfOurs(name));
  if (apps.length > 0) {
    const shown = apps.slice(0, 5).map(({ version, name }) => name ? `${version}_${name}` : version).join(", ");
    findings.push({
      code: "unknown_versions",
      sentence: `The target holds ${counted(apps.length, "migration")} that this repository lacks (${shown}` +
        `${
          apps.length > 5 ? ", ..." : ""
        }), so an app lives there and one database has one history. Either install our files into the ` +
        `app's repository and deploy from there (deno task install <repository>), or give metrics a project of its own and deploy ` +
        `there from a clone of ours.` +
        (isOfAnApp ? " If this is the app's repository: bring it up to date with what was deployed." : "") +
        " Leave the target's history as it is: marking those migrations as reverted would erase the app's.",
    });
  }
  for (const { version, name } of lost) {
    findings.push({
      code: "ahead",
      file: `supabase/migrations/${version}_${name}.sql`,
      sentence:
        "The target holds this migration of ours, and the repository does not: the target is ahead. Deploy the commit that has it, or " +
        "a later one; a migration is taken back by a new one, never by removing its file.",
    });
  }
  const last = history.at(-1)?.version;
  const applied = new Set(history.map(({ version }) => version));
  for (const { version, file } of migrations) {
    if (last !== undefined && !applied.has(version) && version < last) {
      findings.push({
        code: "out_of_order",
        file,
        sentence:
          `It is not applied, but stands before ${last}, which is: give it the time of now, so that every database applies the ` +
          "same files in the same order.",
      });
    }
  }
  return findings;
}

/**
 * Whether these statements are a file's, one after the other, as the CLI cuts it.
 *
 * @param statements as the history has them, undefined or null where it does not say
 */
export function isCutFrom(sql: string, statements: string[] | null | undefined): boolean {
  let at = 0;
  // Between statements stand semicolons, space, and comments that nothing follows.
  const skip = (): boolean => {
    const between = /[\s;]|--[^\n]*|\/\*[\s\S]*?\*\//y;
    between.lastIndex = at;
    const length = between.exec(sql)?.[0].length ?? 0;
    at += length;
    return length > 0;
  };
  for (const statement of statements ?? []) {
    while (!sql.startsWith(statement, at)) if (!skip()) return false;
    at += statement.length;
  }
  while (skip());
  return Array.isArray(statements) && at === sql.length;
}

/** Which applied migrations of ours have another content here than the one that was applied. */
async function editedSince(ours: Migration[], history: Applied[], options: PreflightOptions): Promise<Finding[]> {
  const applied = new Map(history.map(({ version, statements }) => [version, statements]));
  // The text alone shows that a file is what ran; where it does not, a scratch database tells what the CLI makes of it.
  if (ours.every(({ version, sql }) => isCutFrom(sql, applied.get(version)))) return [];
  const own = options.cluster ? undefined : await scratchCluster();
  try {
    await using scratch = await scratchDatabase(options.cluster ?? own!);
    const outcome = await pushToScratch(scratch, ours, options.env);
    if (outcome.code !== 0) {
      const { name, cause } = failureOf(outcome);
      return [{
        code: "migration_fails",
        ...(name ? { file: `supabase/migrations/${name}` } : {}),
        sentence:
          `It cannot be applied to a scratch database, so it cannot be compared with what the target holds: ${cause}`,
      }];
    }
    const here = new Map((await scratch.asPostgres(historyOf)).map((row) => [row.version, row]));
    const there = new Map(history.map((row) => [row.version, row]));
    return ours.flatMap(({ version, file }): Finding[] => {
      const [now, then] = [here.get(version)?.statements, there.get(version)?.statements];
      if (then === null || then === undefined) {
        return [{
          code: "content_unknown",
          file,
          sentence:
            "The target's history does not say what was applied under this version, as after a repair by hand: compare the " +
            "schema with deno task deploy drift, and have the history written by the CLI.",
        }];
      }
      const at = then.findIndex((statement, index) => statement !== now?.[index]);
      const number = at >= 0 ? at + 1 : now && now.length > then.length ? then.length + 1 : 0;
      return number === 0 ? [] : [{
        code: "edited",
        file,
        sentence:
          `It was edited after the target had applied it (from statement ${number} on), and what was changed would never be ` +
          "applied: put it back as it was, and write a new migration with the change.",
      }];
    });
  } finally {
    await own?.server.stop();
  }
}

/** What keeps staging's proof from standing for this deployment to production. */
async function judgeProof(
  options: PreflightOptions,
  migrations: Migration[],
  applied: Set<string>,
): Promise<Finding[]> {
  const how = "Deploy this commit to staging first; its proof travels with the same run.";
  if (!options.proof) {
    return [{
      code: "proof_missing",
      sentence: `Production takes only what staging has proven, and there is no proof. ${how}`,
    }];
  }
  let proof: Proof;
  try {
    proof = JSON.parse(await Deno.readTextFile(options.proof));
    if (typeof proof.commit !== "string" || !Array.isArray(proof.versions)) throw new SyntaxError();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      return [{ code: "proof_missing", sentence: `There is no proof in ${options.proof}. ${how}` }];
    }
    if (!(error instanceof SyntaxError)) throw error;
    return [{
      code: "proof_unreadable",
      sentence: `${options.proof} is not the proof.json that staging writes. ${how}`,
    }];
  }
  const commit = await commitOf(options);
  const findings: Finding[] = [];
  if (proof.commit !== commit) {
    findings.push({
      code: "proof_of_another_commit",
      sentence: `Staging has proven the commit ${proof.commit.slice(0, 12)}, and this is ${
        commit.slice(0, 12)
      }. ${how}`,
    });
  }
  if (proof.catalog_sha256 !== await sha256(await Deno.readTextFile(schemaFileOf(options.root)))) {
    findings.push({
      code: "proof_of_another_schema",
      file: "supabase/schema.sql",
      sentence: `Staging has proven another schema metrics than it describes. ${how}`,
    });
  }
  if (proof.function_sha256 !== await functionHash(options.root)) {
    findings.push({
      code: "proof_of_another_function",
      file: "supabase/functions/ingest-metrics",
      sentence: `Staging has proven another function. ${how}`,
    });
  }
  const proven = new Map(proof.versions.map((version) => [version.version, version]));
  // What the app edits after it ran everywhere runs nowhere again, and is not judged.
  for (const { version, sha256, file } of migrations.filter(({ isOurs, version }) => isOurs || !applied.has(version))) {
    const there = proven.get(version);
    if (!there) {
      findings.push({
        code: "not_on_staging",
        file,
        sentence: `Staging has not applied it, or not with this content. ${how}`,
      });
    } else if (there.sha256 !== sha256) {
      findings.push({
        code: "other_on_staging",
        file,
        sentence: `Staging has applied another content under its version. ${how}`,
      });
    }
  }
  return findings;
}

/**
 * The commit that is deployed.
 *
 * @throws {Sentence} when nothing says which
 */
export async function commitOf(options: Pick<PreflightOptions, "commit" | "env" | "root">): Promise<string> {
  const given = options.commit ?? options.env.GITHUB_SHA;
  if (given) return given;
  const head = await run(["git", "-C", options.root, "rev-parse", "HEAD"]).catch(() => undefined);
  if (head?.code === 0) return head.stdout.trim();
  throw new Sentence(
    "Nothing says which commit is deployed: set GITHUB_SHA, name it with --commit, or deploy from a clone.",
  );
}
