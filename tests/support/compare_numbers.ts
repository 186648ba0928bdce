/** Compares the numbers that the database gives with those of the model. */

import type postgres from "postgres";
import type { SomeArguments } from "./history_numbers.ts";
import { METRICS } from "./model_dora.ts";
import { type NumberRow, numbersOf, type World } from "./model_numbers.ts";
import { addDays } from "./model_periods.ts";
import { canonical } from "./model_values.ts";
import { factsTimes } from "./model_world.ts";

type Sql = postgres.Sql | postgres.TransactionSql;

/** The functions that are compared: what their rows may be grouped by, which arguments they have, and which they need. */
export const COMPARED: Record<
  string,
  {
    by: (string | undefined)[];
    takes: (keyof SomeArguments)[];
    needs?: Record<string, unknown>;
    /** Whether it gives all its rows at once and not in pages. */
    isWhole?: boolean;
    /** Columns that tell when something was received, which no history says: only whether there is a value is compared. */
    received?: string[];
  }
> = {
  ...Object.fromEntries(
    [
      "dora",
      "deployment_frequency",
      "change_lead_time",
      "change_fail_rate",
      "failed_deployment_recovery_time",
      "deployment_rework_rate",
    ].map((name) => [name, {
      by: ["nothing", "service", "repository"],
      takes: [
        "since",
        "until",
        "bucket",
        "service",
        "repository",
        "environment",
        ...(["dora", "change_lead_time"].includes(name) ? ["bots" as const] : []),
      ] as (keyof SomeArguments)[],
    }]),
  ),
  pull_request_cycle_time: { by: ["nothing", "repository"], takes: ["since", "until", "bucket", "repository", "bots"] },
  pipeline_health: {
    by: ["nothing", "repository", "pipeline"],
    takes: ["since", "until", "bucket", "repository", "branch", "bots"],
  },
  job_health: {
    by: ["nothing", "repository", "pipeline", "job"],
    takes: ["since", "until", "bucket", "repository", "branch"],
  },
  test_health: { by: ["nothing", "repository", "suite"], takes: ["since", "until", "bucket", "repository"] },
  rule_compliance: {
    by: ["nothing", "repository", "category", "rule"],
    takes: ["since", "until", "bucket", "repository"],
  },
  flaky_jobs: { by: [undefined], takes: ["since", "until", "repository", "branch"] },
  flaky_tests: { by: [undefined], takes: ["since", "until", "repository"] },
  slowest_jobs: { by: ["duration", "minutes"], takes: ["since", "until", "repository"] },
  step_health: { by: [undefined], takes: ["since", "until", "repository", "branch"] },
  pipeline_cost: {
    by: ["nothing", "repository", "pipeline", "job", "runner"],
    takes: ["since", "until", "bucket", "repository"],
  },
  measurement_series: {
    by: ["nothing", "repository"],
    takes: ["since", "until", "bucket", "repository"],
    needs: { name: "size" },
  },
  overview: { by: [undefined], takes: ["since", "until", "repository", "bots"], isWhole: true },
  ingest_health: {
    by: [undefined],
    takes: [],
    received: ["last_received_at", "last_stored_at", "seconds_since_last"],
  },
};

/** A call whose rows are not the model's. */
export interface Disagreement {
  call: string;
  args: Record<string, unknown>;
  /** Each value that differs, as `row.column`; the number of rows as `rows`. */
  differs: Record<string, { actual: unknown; expected: unknown }>;
}

/** A function with named arguments. */
type Ask = Pick<Disagreement, "call" | "args">;

/** Every function by every group with each of these arguments. */
function everyAsk(given: readonly SomeArguments[]): Ask[] {
  return Object.entries(COMPARED).flatMap(([call, { by, takes, needs }]) =>
    given.flatMap((some) =>
      by.map((group) => ({
        call,
        args: {
          ...needs,
          ...(group === undefined ? {} : { by: group }),
          ...Object.fromEntries(Object.entries(some).filter(([name]) => takes.includes(name as keyof SomeArguments))),
        },
      }))
    )
  );
}

/**
 * For each of these arguments every function by one group, another one at each turn; and one of the five numbers that `dora` holds as
 * well. Many histories, each asked a part, show more than few that are asked everything.
 */
function asksInTurn(given: readonly SomeArguments[], turn: number): Ask[] {
  const single = METRICS[turn % METRICS.length];
  return given.flatMap((some, i) => {
    const byCall = Map.groupBy(everyAsk([some]), ({ call }) => call);
    return [...byCall].filter(([call]) => call === single || !METRICS.includes(call))
      .map(([, asks]) => asks[(turn + i) % asks.length] as Ask);
  });
}

/**
 * Calls every function with each of these arguments, and compares all its rows with the model's.
 *
 * @param sql as somebody who may read the numbers, seeing what the world says
 * @param world without `now`, which is the database's
 * @param given by default some that show the whole world
 * @param turn whose turn it is, where each function is asked by one group and not by all
 * @returns the calls that disagree; none is what a test wants
 */
export async function compareNumbers(
  sql: Sql,
  world: Omit<World, "now">,
  given: readonly SomeArguments[] = argumentsFor(world),
  turn?: number,
): Promise<Disagreement[]> {
  const [clock] = await sql.unsafe("select to_json(now()) #>> '{}' as now");
  const whole = { ...world, now: clock?.["now"] as string };
  const found: Disagreement[] = [];
  for (const { call, args } of turn === undefined ? everyAsk(given) : asksInTurn(given, turn)) {
    const differs = differencesOf(await readNumbers(sql, call, args), numbersOf(whole, call, args));
    if (Object.keys(differs).length > 0) found.push({ call, args, differs });
  }
  return found;
}

/**
 * All rows that a function gives, page by page, without what only pages have and without when things were received.
 *
 * @throws Error when the pages together are not as many rows as each of them says
 */
export async function readNumbers(sql: Sql, call: string, args: Record<string, unknown>): Promise<NumberRow[]> {
  const rows: NumberRow[] = [];
  for (let after: string | null = null;;) {
    const page_arguments = COMPARED[call]?.isWhole ? {} : { page_after: after, page_size: 500 };
    const named = Object.entries({ ...args, ...page_arguments });
    const list = named.map(([name], i) => `${name} => $${i + 1}::text::${TYPES[name] ?? "text"}`).join(", ");
    const page = await sql.unsafe(
      `select to_jsonb(r)::text as row from metrics.${call}(${list}) as r`,
      named.map(([, value]) => value === null ? null : String(value)),
    );
    const parsed = page.map(({ row }) => withTimes(JSON.parse(row) as NumberRow, COMPARED[call]?.received));
    rows.push(...parsed.map(({ page_key: _, total: __, ...row }) => row));
    const total = Number(parsed.at(-1)?.["total"] ?? rows.length);
    if (parsed.length < 500) {
      if (rows.length !== total) throw new Error(`${call} gave ${rows.length} rows and says that it has ${total}`);
      return rows;
    }
    after = parsed.at(-1)?.["page_key"] as string;
  }
}

/** The row with its times as the model writes them. */
function withTimes(row: NumberRow, received: readonly string[] = []): NumberRow {
  return Object.fromEntries(
    Object.entries(row).map(([name, value]) => {
      if (received.includes(name)) return [name, value === null ? null : "received"];
      return [name, name.endsWith("_at") ? canonical("time", value) : value];
    }),
  );
}

const TYPES: Record<string, string> = { since: "date", until: "date", bots: "boolean", page_size: "integer" };

/** What differs between two results, by row and column. Numbers may differ by a billionth. */
export function differencesOf(actual: readonly NumberRow[], expected: readonly NumberRow[]): Disagreement["differs"] {
  const differs: Disagreement["differs"] = {};
  if (actual.length !== expected.length) {
    differs["rows"] = { actual: actual.map(keyOf), expected: expected.map(keyOf) };
    return differs;
  }
  for (const [i, row] of expected.entries()) {
    const mine = actual[i] as NumberRow;
    for (const column of new Set([...Object.keys(row), ...Object.keys(mine)])) {
      if (isSame(mine[column], row[column])) continue;
      differs[`${i}.${column}`] = { actual: mine[column], expected: row[column] };
    }
  }
  return differs;
}

function keyOf({ name, bucket_start, metric, phase }: NumberRow): string {
  return [name, bucket_start, metric ?? phase].filter((part) => part !== undefined).join(" | ");
}

/** A column that is not there is another thing than one that is NULL. */
function isSame(a: unknown, b: unknown): boolean {
  if (typeof a === "number" && typeof b === "number") {
    return Math.abs(a - b) <= 1e-9 * Math.max(Math.abs(a), Math.abs(b));
  }
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return a === b;
  const left = a as Record<string, unknown>;
  const right = b as Record<string, unknown>;
  return [...new Set([...Object.keys(left), ...Object.keys(right)])].every((key) => isSame(left[key], right[key]));
}

/** The whole time that the facts tell of, in one piece and in buckets, and its middle with some of the rest left out. */
export function argumentsFor(world: Omit<World, "now">): SomeArguments[] {
  const times = factsTimes(world.tables).map((time) => time.slice(0, 10)).sort();
  const [first, middle, last] = [0, times.length >> 1, times.length - 1].map((i) => times[i] ?? "2026-03-02");
  const long = addDays(last as string, -3000);
  const since = addDays(first as string, -1) < long ? long : addDays(first as string, -1);
  const until = addDays(last as string, 2);
  const name = world.tables["repositories"]?.[0]?.["full_name"];
  const environment = world.tables["deployments"]?.[0]?.["environment"];
  return [
    { since, until },
    { since, until, bucket: "month" },
    { since: addDays(until, -60), until, bucket: "week", bots: false },
    { since: addDays(middle as string, -10), until: addDays(middle as string, 4), bucket: "day", branch: "default" },
    { since: addDays(middle as string, -30), until: addDays(middle as string, 30), bucket: "none" },
    ...(typeof name === "string" ? [{ since, until, repository: name }] : []),
    ...(typeof environment === "string" ? [{ since, until, environment }] : []),
    { since, until, service: "no service of that name" },
  ];
}
