/** Percentiles are read from few facts one by one and from many by their weeks and days: both ways must give the same. */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type postgres from "postgres";
import { differencesOf, readNumbers } from "../support/compare_numbers.ts";
import { randomRunsAndJobs } from "../support/history_ci.ts";
import { testDatabase } from "../support/database.ts";
import { deep } from "../support/depth.ts";
import { ingestPatiently } from "../support/history_calls.ts";
import { rolledBack } from "../support/history_copies.ts";
import { type NumbersCase, numbersCase, type SomeArguments } from "../support/history_numbers.ts";
import { newSeed, randomFrom } from "../support/history_random.ts";
import type { NumberRow } from "../support/model_numbers.ts";
import { addDays } from "../support/model_periods.ts";
import { representative } from "../support/model_percentiles.ts";
import { story, tell } from "../support/tell_numbers.ts";

const REPOSITORIES = ["github:1", "github:2"];

/** By which words each function groups, and what else it may be asked for. */
const FUNCTIONS: Record<string, { by: string[]; takes: string[] }> = {
  pipeline_health: { by: ["nothing", "repository", "pipeline"], takes: ["bucket", "branch", "bots", "pipeline"] },
  job_health: { by: ["nothing", "repository", "pipeline", "job"], takes: ["bucket", "pipeline", "job"] },
  slowest_jobs: { by: ["duration", "minutes"], takes: ["pipeline"] },
};

/** Makes the functions read by weeks even what is little. */
async function readByWeeks(sql: postgres.Sql): Promise<void> {
  for (const name of ["pipeline_health", "has_many_jobs"]) {
    const [row] = await sql`select pg_get_functiondef(${`metrics.${name}`}::regproc) as text`;
    const text = String(row?.["text"]);
    assert(text.includes("sum(c.runs) > 2000"), `${name} decides by the number of runs`);
    await sql.unsafe(text.replace("sum(c.runs) > 2000", "true"));
  }
}

/** What a row read one by one is by weeks: its percentiles are the middles of their buckets. */
function asByWeeks(row: NumberRow): NumberRow {
  return Object.fromEntries(
    Object.entries(row).map(([column, value]) =>
      /(^|_)p\d\d_seconds$/.test(column) && typeof value === "number"
        ? [column, representative(value)]
        : column === "is_exact" && value !== null
        ? [column, false]
        : [column, value]
    ),
  );
}

/** Random arguments, with the ends of the period anywhere in a week. */
function someArguments(random: () => number, takes: string[]): Record<string, unknown> {
  const one = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
  const day = (from: string, days: number) =>
    Temporal.PlainDate.from(from).add({ days: Math.floor(random() * days) }).toString();
  const others: Record<string, unknown> = {
    bucket: one(["day", "week", "month", "none"]),
    branch: one([null, null, "default"]),
    bots: one([true, false]),
    pipeline: one([null, null, "build"]),
    job: one([null, null, "test"]),
  };
  return {
    since: day("2026-02-20", 12),
    until: day("2026-03-05", 20),
    repository: one([null, null, REPOSITORIES[0]]),
    ...Object.fromEntries(takes.map((name) => [name, others[name]])),
  };
}

async function compared(seed: number, plant?: (sql: postgres.Sql) => Promise<unknown>): Promise<string[]> {
  const random = randomFrom(seed);
  await using database = await testDatabase({ max: 1 });
  const { sql } = database;
  if (random() < 0.5) await sql`update metrics.generations set time_zone = 'America/New_York' where state = 'current'`;
  const calls = randomRunsAndJobs(random, "call", 60, 8, { repositories: REPOSITORIES, ids: 40 });
  for (const call of calls) await ingestPatiently(sql, call);
  // Beside random ones, a period around four weeks that are counted together.
  const long = { since: "2026-01-25", until: "2026-04-08" };
  const questions = Object.entries(FUNCTIONS).flatMap(([name, { by, takes }]) =>
    by.flatMap((word) =>
      [...Array.from({ length: 4 }, () => someArguments(random, takes)), long].map((some) => ({
        name,
        args: { by: word, ...some } as Record<string, unknown>,
      }))
    )
  );
  const oneByOne: NumberRow[][] = [];
  for (const { name, args } of questions) oneByOne.push(await readNumbers(sql, name, args));
  assert(oneByOne.flat().some(({ is_exact }) => is_exact === true));
  await readByWeeks(sql);
  await plant?.(sql);
  const wrong: string[] = [];
  for (const [i, { name, args }] of questions.entries()) {
    const rows = await readNumbers(sql, name, args);
    // The order of what is equally slow by its bucket is another one.
    const sorted = (some: NumberRow[]) =>
      name === "slowest_jobs"
        ? some.toSorted((a, b) => JSON.stringify(keyOf(a)) < JSON.stringify(keyOf(b)) ? -1 : 1)
        : some;
    const differs = differencesOf(sorted(rows), sorted((oneByOne[i] as NumberRow[]).map(asByWeeks)));
    if (Object.keys(differs).length > 0) wrong.push(`${name} ${JSON.stringify(args)} ${JSON.stringify(differs)}`);
  }
  return wrong;
}

function keyOf({ repository, pipeline, job }: NumberRow) {
  return [repository, pipeline, job];
}

Deno.test("aggregates equal facts: numbers read by weeks are those of the facts", async () => {
  const seed = newSeed("numbers_from_weeks");
  for (let i = 0; i < deep(2, 40); i++) assertEquals(await compared(seed + i), [], `seed ${seed + i}`);
});

Deno.test("aggregates equal facts: spans that count one run too many are noticed in the numbers", async () => {
  for (const days of [1, 7, 28]) {
    const wrong = await compared(
      7,
      (sql) => sql`update metrics.pipeline_spans set success = success + 1 where days = ${days}`,
    );
    assert(wrong.length > 0, `${days} days`);
  }
});

/** Numbers whose percentiles are read by weeks. Those of dora are the same as the first two, as values and in notes. */
const DELIVERY = ["change_lead_time", "failed_deployment_recovery_time", "pull_request_cycle_time"];

/** Where a function decides by the number of values. */
const DECISION = /(?<=\)) <= 2000(?=;| as is_small|\s+into is_small)/g;

/** Numbers that are exact where there are few values: which column counts those, and which function decides. */
const DECIDED = [
  ["change_lead_time", "changes", "count_deliveries", {}],
  ["change_lead_time", "changes", "count_deliveries", { bots: false }],
  ["failed_deployment_recovery_time", "recovered", "count_deliveries", {}],
  ["pull_request_cycle_time", "pull_requests", "pull_request_cycle_time", {}],
  ["pull_request_cycle_time", "pull_requests", "pull_request_cycle_time", { bots: false }],
] as const;

/** Makes these numbers read by weeks even what is little. */
async function readDeliveryByWeeks(sql: postgres.TransactionSql): Promise<void> {
  for (const [name, places] of [["count_deliveries", 2], ["pull_request_cycle_time", 2]] as const) {
    const [row] = await sql`select pg_get_functiondef(${`metrics.${name}`}::regproc) as text`;
    const parts = String(row!["text"]).split(DECISION);
    assertEquals(parts.length, places + 1, `${name} decides by the number of values`);
    await sql.unsafe(parts.join(" < 0"));
  }
}

async function comparedDelivery(history: NumbersCase, sql: postgres.TransactionSql, fault?: string): Promise<string[]> {
  await tell(sql, history);
  // Beside what a history asks, a period around four weeks that are counted together.
  const long = { since: addDays(history.begins, -35), until: addDays(history.begins, 65) };
  const questions = DELIVERY.flatMap((name) =>
    [...history.arguments, long, { ...long, bots: false }].flatMap(({ branch: _, bots, ...some }: SomeArguments) => {
      const isOfPullRequests = name === "pull_request_cycle_time";
      const { environment: __, service: ___, ...ofAny } = some;
      return (isOfPullRequests ? ["nothing", "repository"] : ["nothing", "service", "repository"]).map((by) => ({
        name,
        args: {
          by,
          ...(isOfPullRequests ? ofAny : some),
          ...(name !== "failed_deployment_recovery_time" && bots !== undefined ? { bots } : {}),
        } as Record<string, unknown>,
      }));
    })
  );
  const oneByOne: NumberRow[][] = [];
  for (const { name, args } of questions) oneByOne.push(await readNumbers(sql, name, args));
  await readDeliveryByWeeks(sql);
  if (fault) await sql.unsafe(fault);
  const wrong: string[] = [];
  for (const [i, { name, args }] of questions.entries()) {
    // Of one environment, which weeks do not tell apart, changes are always read one by one.
    const isByWeeks = name !== "change_lead_time" || args.environment === undefined;
    // Where nothing is counted, there is no percentile to be exact.
    const expected = (oneByOne[i] as NumberRow[]).map((row) =>
      isByWeeks && row["is_exact"] !== null ? asByWeeks(row) : row
    );
    const differs = differencesOf(await readNumbers(sql, name, args), expected);
    if (Object.keys(differs).length > 0) wrong.push(`${name} ${JSON.stringify(args)} ${JSON.stringify(differs)}`);
  }
  return wrong;
}

Deno.test("aggregates equal facts: what deployments and pull requests took, read by weeks, is that of the facts", async () => {
  const seed = newSeed("numbers_from_weeks");
  await using database = await testDatabase({ max: 1 });
  for (const history of fc.sample(fc.noBias(numbersCase()), { seed, numRuns: deep(10, 300) })) {
    await rolledBack(database.sql, async (sql) => {
      assertEquals(await comparedDelivery(history, sql), [], `seed ${seed}: ${story(history)}`);
    });
  }
});

Deno.test("numbers: whether percentiles are exact is a matter of how many values a period has, not of its weeks or its bucket", async () => {
  await using database = await testDatabase({ max: 1 });
  const asked = DECIDED.map(() => ({ whole: 0, cut: 0 }));
  for (const history of fc.sample(fc.noBias(numbersCase()), { seed: 7, numRuns: 10 })) {
    await rolledBack(database.sql, async (sql) => {
      await tell(sql, history);
      const whole = { since: addDays(history.begins, -70), until: addDays(history.begins, 70) };
      // Its weeks hold more than it does.
      const cut = { since: addDays(history.begins, 3), until: addDays(history.begins, 10) };
      for (const [n, [name, counted, decides, bots]] of DECIDED.entries()) {
        const [row] = await sql`select pg_get_functiondef(${`metrics.${decides}`}::regproc) as text`;
        for (
          const [kind, asks, buckets] of [["whole", whole, ["none", "day", "week", "month"]], ["cut", cut, [
            "none",
          ]]] as const
        ) {
          const period = { ...asks, ...bots };
          const [all] = await readNumbers(sql, name, period);
          const values = all![counted] as number;
          if (values === 0) continue;
          asked[n]![kind]++;
          for (const [most, isExact] of [[values, true], [values - 1, false]] as const) {
            await sql.unsafe(String(row!["text"]).replaceAll(DECISION, ` <= ${most}`));
            for (const bucket of buckets) {
              const rows = await readNumbers(sql, name, { ...period, bucket });
              assert(
                rows.every(({ is_exact }) => is_exact === isExact),
                `${name} by ${bucket} of ${values}, at most ${most}, ${JSON.stringify(period)}`,
              );
            }
          }
        }
        await sql.unsafe(String(row!["text"]));
      }
    });
  }
  assert(asked.every(({ whole, cut }) => whole > 1 && cut > 0), JSON.stringify(asked));
});

Deno.test("aggregates equal facts: spans that hold other times are noticed in the numbers", async () => {
  await using database = await testDatabase({ max: 1 });
  for (
    const fault of [
      ...[1, 7, 28].map((days) =>
        `update metrics.lead_time_spans set lead_tally = lead_tally * 1e16 where days = ${days}`
      ),
      ...[1, 7].map((days) =>
        `update metrics.service_spans set recovery_tally = recovery_tally * 1e16 where days = ${days}`
      ),
      ...[1, 7, 28].map((days) => `update metrics.pull_request_spans set total = total * 1e16 where days = ${days}`),
      "update metrics.lead_time_spans set from_commit = from_commit + 1 where only_bots",
      "update metrics.pull_request_spans set pull_requests = pull_requests + 1 where only_bots",
    ]
  ) {
    let wrong = 0;
    for (const history of fc.sample(fc.noBias(numbersCase()), { seed: 7, numRuns: 40 })) {
      await rolledBack(database.sql, async (sql) => {
        wrong += (await comparedDelivery(history, sql, fault)).length;
      });
      if (wrong > 0) break;
    }
    assert(wrong > 0, fault);
  }
});

Deno.test("aggregates equal facts: what jobs cost is the sum of what each of them cost", async () => {
  const seed = newSeed("numbers_from_weeks");
  for (let i = 0; i < deep(2, 40); i++) {
    const random = randomFrom(seed + i);
    await using database = await testDatabase({ max: 1 });
    const { sql } = database;
    await sql`select metrics.set_price('arm', 0.05, '2026-02-23', is_hosted => true)`;
    await sql`select metrics.set_price('arm', 0.07, '2026-03-09')`;
    const calls = randomRunsAndJobs(random, "call", 60, 8, { repositories: REPOSITORIES, ids: 40 });
    for (const call of calls) await ingestPatiently(sql, call);
    for (let n = 0; n < 6; n++) {
      const args = someArguments(random, ["pipeline", "job"]);
      const [cost] = await readNumbers(sql, "pipeline_cost", args);
      const jobs = await readNumbers(sql, "pipeline_cost_evidence", args);
      const sum = (of: (job: NumberRow) => unknown) => jobs.reduce((total, job) => total + Number(of(job) ?? 0), 0);
      const detail = (job: NumberRow) => job["detail"] as Record<string, number | null>;
      const differs = differencesOf([{
        jobs: cost!["jobs"],
        cost: cost!["cost"] ?? 0,
        minutes: cost!["minutes"] ?? 0,
        billed: cost!["billed_minutes"] ?? 0,
        unpriced: cost!["unpriced_minutes"] ?? 0,
      }], [{
        jobs: jobs.length,
        cost: sum(({ value }) => value),
        minutes: sum((job) => detail(job)["minutes"]),
        billed: sum((job) => detail(job)["billed_minutes"]),
        unpriced: sum((job) => detail(job)["price_per_minute"] === null ? detail(job)["minutes"] : 0),
      }]);
      assertEquals(differs, {}, `seed ${seed + i} ${JSON.stringify(args)}`);
    }
  }
});
