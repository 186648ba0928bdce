import { join, relative } from "@std/path";
import { testDatabase } from "./database.ts";

/** What a pgTAP file came to. */
export interface TapResult {
  /** The file, relative to the repository. */
  file: string;
  passed: number;
  /** One text for each assertion that failed, or for what kept the file from being run. */
  failures: string[];
}

/** The pgTAP files under a folder, in order. */
export function pgtapFiles(folder: string): string[] {
  const files: string[] = [];
  for (const entry of Deno.readDirSync(folder)) {
    const path = join(folder, entry.name);
    if (entry.isDirectory) files.push(...pgtapFiles(path));
    else if (entry.name.endsWith(".sql")) files.push(path);
  }
  return files.sort();
}

/**
 * Runs pgTAP files one after the other in one database, as pg_prove does: each is a transaction that it rolls back itself.
 *
 * @param repository the folder that names in the result are relative to
 */
export async function runPgtap(files: string[], repository: string): Promise<TapResult[]> {
  await using database = await testDatabase({ max: 1 });
  // Here already, so that each file's "if not exists" is no work.
  await database.sql`create extension if not exists pgtap with schema extensions`;
  const results: TapResult[] = [];
  for (const path of files) {
    const file = relative(repository, path);
    try {
      const answers = await database.sql.unsafe(await Deno.readTextFile(path)).simple() as unknown as
        | Record<string, unknown>[]
        | Record<string, unknown>[][];
      const rows = (Array.isArray(answers[0]) ? answers.flat() : answers) as Record<string, unknown>[];
      const text = rows.flatMap((row) => Object.values(row)).filter((value) => typeof value === "string").join("\n");
      results.push({ file, ...readTap(text) });
    } catch (error) {
      results.push({ file, passed: 0, failures: [describe(error)] });
    }
    // What a file that failed left open, and the settings that it made for the session.
    await database.sql.unsafe("rollback; reset role; reset all").simple();
  }
  return results;
}

/**
 * Reads the Test Anything Protocol.
 *
 * @returns how many assertions passed, and a text for each that failed or is missing
 */
export function readTap(text: string): { passed: number; failures: string[] } {
  const failures: string[] = [];
  let passed = 0;
  let planned: number | undefined;
  let isFailing = false;
  for (const line of text.split("\n")) {
    const test = /^(not )?ok\b\s*\d*\s*(?:- )?(.*)$/.exec(line);
    if (test) {
      const [, not, description = ""] = test;
      isFailing = not !== undefined && !/# (TODO|SKIP)\b/i.test(description);
      if (isFailing) failures.push(description || "an assertion without a name");
      else passed++;
      continue;
    }
    const plan = /^1\.\.(\d+)/.exec(line);
    if (plan) planned = Number(plan[1]);
    else if (line.startsWith("Bail out!")) failures.push(line);
    else if (isFailing && line.startsWith("#")) failures[failures.length - 1] += `\n  ${line}`;
  }
  if (planned === undefined) failures.push("the file has no plan: it does not say how many assertions it makes");
  else if (planned !== passed + failures.length) {
    failures.push(`the file plans ${planned} assertions and made ${passed + failures.length}`);
  }
  return { passed, failures };
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { code, where, detail, line } = error as Error & Record<string, string | undefined>;
  return [error.message, code && `(${code})`, detail, where, line && ""].filter(Boolean).join("\n  ");
}
