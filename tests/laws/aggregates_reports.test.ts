/** Law 7 for what is counted of tests and rules, by spans of days, and as what reads it shows it. */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import type postgres from "postgres";
import { aggregateDifferences } from "../support/aggregates.ts";
import { testDatabase } from "../support/database.ts";
import { deep } from "../support/depth.ts";
import { callPatiently, ingestPatiently } from "../support/history_calls.ts";
import { TIMES } from "../support/history_ci.ts";
import type { Said } from "../support/history_observations.ts";
import { newSeed, randomFrom } from "../support/history_random.ts";
import type { Call } from "../support/model.ts";
import { differencesByRebuilding } from "../support/rebuilt.ts";
import { callTelling, rolledBack } from "../support/history_copies.ts";

/** Random reports of few tests and rules, each of which is told again and otherwise. */
function reports(random: () => number, id: string, calls: number): Call[] {
  const one = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
  const maybe = <T>(name: string, list: readonly T[]) => random() < 0.8 ? { [name]: one(list) } : {};
  const said = (): Said => {
    const common = {
      repository: one(["github:1", "github:2"]),
      observed_at: one(TIMES),
      external_id: one(["1", "2", "3", "4", "5"]),
    };
    return random() < 0.5
      ? {
        kind: "test_runs",
        observation: {
          ...common,
          ...maybe("started_at", TIMES),
          ...maybe("duration_seconds", [0, 2.5, null]),
          passed_count: one([0, 7, null]),
          failed_count: one([0, 2, null]),
          error_count: one([0, 1, null]),
          skipped_count: one([0, 3, null]),
        },
      }
      : {
        kind: "rule_checks",
        observation: {
          ...common,
          rule: one(["signed", "reviewed"]),
          ...maybe("status", ["compliant", "violation", "warning", null]),
          ...maybe("checked_at", TIMES),
        },
      };
  };
  return Array.from(
    { length: calls },
    (_, i) => callTelling(`${id} ${i}`, Array.from({ length: 1 + Math.floor(random() * 4) }, said)),
  );
}

/** What a rebuild would count otherwise. */
async function rebuiltOtherwise(sql: postgres.Sql): Promise<string[]> {
  const lines = await rolledBack(sql, differencesByRebuilding);
  return lines.filter((line) => /^(test|rule)_spans /.test(line));
}

async function counted(sql: postgres.Sql): Promise<string[]> {
  const rows = await sql<{ name: string }[]>`
    select 'tests' as name where exists (select from metrics.test_spans where runs > 0)
    union all
    select 'rules' where exists (select from metrics.rule_spans)`;
  return rows.map(({ name }) => name);
}

Deno.test("aggregates equal facts: tests and rules, after each call, whatever it brings and in whatever zone", async () => {
  const seed = newSeed("aggregates_reports");
  for (let i = 0; i < deep(2, 60); i++) {
    await using database = await testDatabase({ max: 1 });
    const { sql } = database;
    if (i % 2 === 1) {
      await sql`update metrics.settings set time_zone = 'Europe/Berlin' where true`;
      await sql`update metrics.generations set time_zone = 'Europe/Berlin' where state = 'current'`;
    }
    for (const call of reports(randomFrom(seed + i), "call", 40)) {
      await ingestPatiently(sql, call);
      assertEquals(await aggregateDifferences(sql), [], `seed ${seed + i}, ${JSON.stringify(call)}`);
    }
    assertEquals(await counted(sql), ["tests", "rules"]);
    assertEquals(await rebuiltOtherwise(sql), [], `seed ${seed + i}`);
  }
});

Deno.test("aggregates equal facts: tests and rules, while eight connections tell of them and a generation is built", async () => {
  const seed = newSeed("aggregates_reports");
  for (let i = 0; i < deep(1, 20); i++) {
    let retries = 0;
    await using database = await testDatabase({ max: 8 });
    const { sql } = database;
    for (const call of reports(randomFrom(seed + i), "before", 5)) await ingestPatiently(sql, call);
    await sql`select metrics.begin_rebuild()`;
    await Promise.all(Array.from({ length: 8 }, async (_, loop) => {
      for (const call of reports(randomFrom(seed + 100 * i + loop), `loop ${loop}`, 12)) {
        retries += (await ingestPatiently(sql, call)).retries;
        if (loop === 0) await callPatiently(() => sql`select metrics.rebuild(0)`);
      }
    }));
    assertEquals(retries, 0, "callers waited for each other in a circle");
    assertEquals(await aggregateDifferences(sql), [], `seed ${seed + i}`);
    assertEquals(await rebuiltOtherwise(sql), [], `seed ${seed + i}`);
  }
});

/** What is read from spans of days beside the same from the facts, for a period that ends anywhere in a week. */
async function readOtherwise(sql: postgres.Sql, since: string, until: string): Promise<unknown[]> {
  const rows = await sql`
    select 'tests' as name, o.value, o.reason, o.sample_size, o.detail, t.*
    from metrics.overview(${since}::date, ${until}::date) as o
    cross join metrics.test_health(${since}::date, ${until}::date) as t
    where o.section = 'tests'
      and (o.value, o.reason, o.sample_size, o.detail) is distinct from (
        t.pass_rate, case when t.pass_rate is null then t.reason end, t.passed + t.failed,
        jsonb_build_object('runs', t.runs, 'passed', t.passed, 'failed', t.failed, 'skipped', t.skipped)
      )
    union all
    select 'rules', r.rate, null, r.checks, to_jsonb(f), null, null, null, null, null, null, null, null, null, null, null, null
    from metrics.rule_compliance(${since}::date, ${until}::date) as r
    cross join (
      select coalesce(sum(n.compliant), 0) as compliant, coalesce(sum(n.violation), 0) as violation, coalesce(sum(n.warning), 0) as warning
      from metrics.rule_compliance(${since}::date, ${until}::date, by => 'rule') as n
    ) as f
    where (r.compliant, r.violation, r.warning) is distinct from (f.compliant, f.violation, f.warning)`;
  return [...rows];
}

const PERIODS = [
  ["2026-02-20", "2026-03-20"],
  ["2026-03-02", "2026-03-09"],
  ["2026-02-28", "2026-03-03"],
  ["2026-03-04", "2026-03-12"],
  ["2026-03-05", "2026-03-11"],
  ["2026-01-25", "2026-04-08"],
  // Four weeks less the first, in which there are reports.
  ["2026-03-09", "2026-03-30"],
] as const;

Deno.test("aggregates equal facts: tests and rules are shown as their reports say", async () => {
  const seed = newSeed("aggregates_reports");
  for (let i = 0; i < deep(2, 40); i++) {
    await using database = await testDatabase({ max: 1 });
    for (const call of reports(randomFrom(seed + i), "call", 30)) await ingestPatiently(database.sql, call);
    for (const [since, until] of PERIODS) {
      assertEquals(await readOtherwise(database.sql, since, until), [], `seed ${seed + i}, ${since} to ${until}`);
    }
  }
});

const FAULTS = {
  ...Object.fromEntries([1, 7, 28].flatMap((days) => [
    [`a test run too many in ${days} days`, `update metrics.test_spans set runs = runs + 1 where days = ${days}`],
    [
      `a check too many in ${days} days`,
      `update metrics.rule_spans set compliant = compliant + 1 where days = ${days}`,
    ],
  ])),
  "a row that counts nothing":
    "insert into metrics.rule_spans select generation, reference_id, days, first_day + 700, 0, 0, 0 from metrics.rule_spans limit 1",
};

Deno.test("aggregates equal facts: a fault in what is counted of tests and rules is noticed", async (t) => {
  for (const [fault, statement] of Object.entries(FAULTS)) {
    await t.step(fault, async () => {
      await using database = await testDatabase({ max: 1 });
      const { sql } = database;
      for (const call of reports(randomFrom(1), "call", 30)) await ingestPatiently(sql, call);
      assertEquals(await aggregateDifferences(sql), []);
      await sql.unsafe(statement);
      assertNotEquals(await aggregateDifferences(sql), []);
      const wrong = [];
      for (const [since, until] of PERIODS) wrong.push(...await readOtherwise(sql, since, until));
      if (!fault.endsWith("nothing")) assert(wrong.length > 0);
    });
  }
});
