import type { Sql } from "postgres";
import { advisors } from "./advisors.ts";
import { type Environment, secretFindings } from "./function.ts";
import { readMigrations } from "./migrations.ts";
import { historyOf } from "./preflight.ts";
import type { Before } from "./push.ts";
import { counted, type Finding, type GateContext, type GateResult, Report } from "./result.ts";
import { tablesOf } from "./rules.ts";
import { differingLines, schemaFileOf, schemaText } from "./schema.ts";
import { changedSurroundings, surroundingsOf } from "./surroundings.ts";
import { connect, nameOf, type Target } from "./target.ts";
import { accessFindings } from "./validate.ts";
import { Sentence } from "../stack/sentence.ts";

/** How {@link runVerify} is called. */
export interface VerifyOptions extends GateContext {
  target: Target;
  /** The file that `push` wrote before it began. */
  before?: string | undefined;
  /** Where the target stands; production must have nothing of staging's, neither its variable nor its secret. */
  environment?: Environment | undefined;
}

/**
 * Looks at the target after a deployment: its history, its schema metrics against supabase/schema.sql, who may reach what, the
 * advisors, the names of its secrets, and whether anything beside metrics is another than before.
 */
export async function runVerify(options: VerifyOptions): Promise<GateResult> {
  const { target, env, root, environment } = options;
  const report = new Report("verify", nameOf(target), options);
  const migrations = await readMigrations(root);
  const before = options.before === undefined ? undefined : await readBefore(options.before);
  const sql = await connect(target, env, "metrics verify");
  try {
    const applied = new Set((await historyOf(sql)).map(({ version }) => version));
    for (const { file, version } of migrations) {
      if (!applied.has(version)) report.find({ code: "not_applied", file, sentence: "The target has not applied it." });
    }
    report.find(...await schemaFindings(sql, root));
    report.find(...await accessFindings(sql, await tablesOf(migrations.filter(({ isOurs }) => isOurs))));
    if (report.ok) {
      report.note("The schema metrics is that of supabase/schema.sql, and only those reach it who should.");
    }
    if (before) {
      const isOurs = new Map(migrations.map(({ version, isOurs }) => [version, isOurs]));
      const theirs = [...applied].filter((version) => !before.history.includes(version) && !isOurs.get(version));
      if (theirs.length > 0) {
        report.note(
          `${
            counted(theirs.length, "migration")
          } of the app came with it, so what lies beside metrics is not compared.`,
        );
      } else {
        const changed = changedSurroundings(before.surroundings, await surroundingsOf(sql));
        for (const what of changed) {
          report.find({
            code: "surroundings_changed",
            sentence:
              `Since before the deployment, ${what} was changed, and no migration of the app was applied: see whether the app's ` +
              "team did it at the same time; if not, it was this deployment.",
          });
        }
        if (changed.length === 0) report.note("Everything beside metrics is what it was before.");
      }
    }
  } finally {
    await sql.end({ timeout: 5 });
  }
  if (environment) report.find(...await secretFindings({ target, env, environment }));
  const advice = await advisors(options);
  report.find(...advice);
  if (advice.length === 0) report.note("The advisors warn of nothing in metrics.");
  return report.result();
}

async function readBefore(file: string): Promise<Before> {
  try {
    return JSON.parse(await Deno.readTextFile(file));
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound) && !(error instanceof SyntaxError)) throw error;
    throw new Sentence(`${file} is not the file that deno task deploy push --before=... writes.`);
  }
}

/** What of a database's schema metrics is not as supabase/schema.sql says, one finding for each object. */
export async function schemaFindings(sql: Sql, root: string): Promise<Finding[]> {
  const expected = await Deno.readTextFile(schemaFileOf(root)).catch(() => undefined);
  if (expected === undefined) {
    return [{ code: "schema_missing", file: "supabase/schema.sql", sentence: "It is missing: install it again." }];
  }
  const lines = differingLines(expected, await schemaText(sql));
  if (lines.length === 0) return [];
  return [{
    code: "schema_differs",
    file: "supabase/schema.sql",
    sentence: `The target's schema metrics is another ("-" lacking there, "+" only there):\n${lines.join("\n")}`,
  }];
}
