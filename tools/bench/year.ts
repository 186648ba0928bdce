/** A generated year of facts, the same at every call, as ingest would have left them. */

import { createHash } from "node:crypto";
import { encodeBase64 } from "@std/encoding/base64";
import type { Sql } from "postgres";
import { rebuild, setAggregates } from "./aggregates.ts";
import { loops } from "./slices.ts";

/** The instant at which the year ends: a Monday, in the night. */
export const YEAR_ENDS = "2026-11-02T00:00:00Z";

/** How much of a year, and how it is loaded. */
export interface YearOptions {
  /** 1 for a million runs; the repositories are the same at every scale. */
  scale: number;
  /** About so many of the last facts go through `metrics.ingest`, one delivery each. */
  tail: number;
  /** Connections to load over. */
  width: number;
  /** Told what was done, with the seconds that it took. */
  say(what: string, seconds: number): void;
}

const DAYS = 365;

/**
 * Loads the year into an empty, migrated database.
 *
 * @param sql as the owner of the tables, with at least `width` connections
 */
export async function loadYear(sql: Sql, { scale, tail, width, say }: YearOptions): Promise<void> {
  const step = async <T>(what: string, work: () => Promise<T>): Promise<T> => {
    const started = performance.now();
    const result = await work();
    say(what, (performance.now() - started) / 1000);
    return result;
  };
  await step("decide what happened", async () => {
    await sql.unsafe(await Deno.readTextFile(new URL("./year.sql", import.meta.url))).simple();
    await sql`select bench.plan(${scale}, ${YEAR_ENDS})`;
  });
  await step("introduce the repositories", async () => {
    // Jobs and test cases of the year stay within what is kept, whenever this runs.
    for (const name of ["job_days", "test_case_days"]) await sql`select metrics.set_setting(${name}, '36500')`;
    const said = await sql<{ source: string; repositories: unknown[] }[]>`
      select source, jsonb_agg(said order by rank) as repositories
      from bench.introductions
      group by source
      order by source`;
    for (const { source, repositories } of said) {
      await ingest(sql, "introduction", source, "repository", { repositories });
    }
    await sql`
      update bench.repositories as b
      set reference_id = r.id
      from metrics.repository_references as r
      where r.reference = b.reference`;
  });
  await setAggregates(sql, false);
  await step("write the facts", async () => {
    // Few at once, so that all connections write nearly the same days and rows lie in the order of time.
    const daysACall = Math.ceil(0.25 / scale);
    const days = Array.from({ length: Math.ceil(DAYS / daysACall) }, (_, index) => index * daysACall);
    const calls = [
      ...["load_changes", "load_deployments", "load_reports"].map((name) => () => sql.unsafe(`select bench.${name}()`)),
      ...days.map((first) => () => sql`select bench.load_days(${first}, ${first + daysACall - 1})`),
    ];
    await loops(width, calls, Infinity, async (call) => void await call());
  });
  if (tail > 0) await step("take the last facts out again", () => sql`select bench.take_tail(${tail})`);
  await setAggregates(sql, true);
  await step("vacuum and analyse", () => tidy(sql));
  const [{ can } = { can: false }] = await sql<{ can: boolean }[]>`
    select exists (
      select from pg_proc where pronamespace = 'metrics'::regnamespace and proname = 'rebuild'
    ) as can`;
  if (can) {
    await step("derive everything", () => rebuild(sql));
    await step("vacuum and analyse", () => tidy(sql));
  }
  await step("let the last facts in", async () => {
    const rows = await sql<{ source: string; event: string; facts: Record<string, unknown> }[]>`
      select source, event, facts from bench.tail order by at, event, facts::text collate "C"`;
    for (const [index, { source, event, facts }] of rows.entries()) {
      await ingest(sql, `tail-${index}`, source, event, facts);
    }
  });
  await sql.unsafe("drop schema bench cascade");
}

/** What autovacuum would have come to by now. */
async function tidy(sql: Sql): Promise<void> {
  const [row] = await sql<{ tables: string }[]>`
    select string_agg(c.oid::regclass::text, ', ') as tables
    from pg_class as c
    where c.relnamespace = 'metrics'::regnamespace and c.relkind = 'r'`;
  await sql.unsafe(`vacuum (analyze) ${row!.tables}`);
}

/** One delivery, as the edge function calls. */
async function ingest(sql: Sql, id: string, source: string, event: string, facts: unknown): Promise<void> {
  const body = new TextEncoder().encode(JSON.stringify(facts));
  const delivery = {
    source,
    delivery_id: id,
    event,
    sha256: createHash("sha256").update(body).digest("hex"),
    size: body.length,
    content_type: "application/json",
    result: "stored",
    reason: null,
    notes: [],
  };
  const [row] = await sql`
    select metrics.ingest(
      ${JSON.stringify(delivery)}::text::jsonb,
      ${JSON.stringify(facts)}::text::jsonb,
      ${encodeBase64(body)}::text
    ) ->> 'result' as result`;
  if (row?.result !== "stored") throw new Error(`the generated delivery ${id} was ${row?.result}`);
}
