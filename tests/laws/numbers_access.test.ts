/** Access: who reads what of the numbers. A member of one team reads what a database without the other teams' rows would give. */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import fc from "fast-check";
import type postgres from "postgres";
import { testDatabase } from "../support/database.ts";
import { deep } from "../support/depth.ts";
import { ingest } from "../support/history_calls.ts";
import { type NumbersCase, numbersCase } from "../support/history_numbers.ts";
import { newSeed } from "../support/history_random.ts";
import { reportsOf } from "../support/history_reports.ts";
import type { Call } from "../support/model.ts";
import { as, attempt, makeAdmin, reader, users } from "../support/people.ts";
import { callOf, readAll, type ReadingFunction, readingFunctions, type Row } from "../support/reading.ts";
import { makeRule, orderOf } from "../support/tell_numbers.ts";

/** An admin, and a viewer whose team was given the first repository. */
async function makePeople(sql: postgres.Sql): Promise<void> {
  await makeAdmin(sql);
  const { id, email } = users.viewer;
  await sql`insert into auth.users (id, email, email_confirmed_at) values (${id}, ${email}, now())`;
  await sql`select metrics.add_member(${email}, 'viewer')`;
  await as(sql, "viewer", (sql) => sql`select metrics.accept_membership()`, true);
  await sql`select metrics.add_team('blue')`;
  await sql`select metrics.add_team_member('blue', ${email})`;
}

/** The calls without what other teams' repositories had told. */
function withoutOthers(calls: readonly Call[]): Call[] {
  const isOthers = ({ repository }: Row) =>
    typeof repository === "string" && !["github:1", "//git.example/acme/one"].includes(repository);
  return calls.map((call) => ({
    ...call,
    facts: Object.fromEntries(
      Object.entries(call.facts ?? {}).map(([kind, list]) => [kind, list.filter((said) => !isOthers(said))]),
    ),
  }));
}

/** Tells a history, makes its rules, and gives the viewer's team the first repository. */
async function prepare(sql: postgres.Sql, history: NumbersCase, calls: Call[]): Promise<void> {
  const [first, ...others] = calls;
  await ingest(sql, first!);
  await makePeople(sql);
  await sql`select metrics.add_team_repository('blue', 'github:1')`;
  for (const rule of history.rules) {
    if ((rule.arguments["repository"] ?? "github:1") === "github:1") await makeRule(sql, rule);
  }
  for (const call of others) await ingest(sql, call);
}

/** Answers of every function in every group, as somebody. */
async function answers(
  sql: postgres.TransactionSql,
  functions: readonly ReadingFunction[],
  args: readonly Row[],
): Promise<Record<string, Row[]>> {
  const given: Record<string, Row[]> = {};
  for (const reading of functions) {
    const words = reading.takes.includes("by") && reading.name !== "slowest_jobs" ? GROUPS : [undefined];
    for (const by of words) {
      if (by === "service" && !reading.takes.includes("service")) continue;
      for (const some of args) {
        const named = by === undefined ? some : { ...some, by };
        given[callOf(reading, named).join(" ")] = await readAll(sql, reading, named);
      }
    }
  }
  return given;
}

/** What most functions may group by. */
const GROUPS = ["nothing", "repository", "service"];

function periodsOf({ begins }: NumbersCase): Row[] {
  const day = (days: number) => Temporal.PlainDate.from(begins).add({ days }).toString();
  return [{ since: day(-7), until: day(50) }, { since: day(2), until: day(23), bucket: "week", bots: false }];
}

function history(seed: number): NumbersCase {
  // One that tells of several repositories, and of much.
  const many = fc.sample(fc.noBias(numbersCase()), { seed, numRuns: 60 });
  const isRich = ({ calls }: NumbersCase) =>
    calls.length > 20 && (calls[0]!.facts?.["repositories"]?.length ?? 0) > 1 &&
    calls[0]!.facts?.["repositories"]?.[0]?.["repository"] === "github:1";
  return many.find(isRich) ?? history(seed + 1);
}

function callsOfBoth(some: NumbersCase): Call[] {
  const other = some.calls[0]!.facts!["repositories"]![1]!["repository"] as string;
  return [...orderOf(some).calls, reportsOf("github:1", some.begins), reportsOf(other, some.begins)];
}

Deno.test("numbers_access: a viewer reads what a database without the other teams' rows would give", async (t) => {
  const seed = newSeed("numbers_access");
  for (let i = 0; i < deep(1, 20); i++) {
    const some = history(seed + i);
    const calls = callsOfBoth(some);
    await using whole = await testDatabase({ max: 1 });
    await using part = await testDatabase({ max: 1 });
    await prepare(whole.sql, some, calls);
    await prepare(part.sql, some, withoutOthers(calls));
    const functions = await readingFunctions(whole.sql);
    const read = (sql: postgres.Sql, who: "viewer" | "admin") =>
      as(sql, who, (sql) => answers(sql, functions, periodsOf(some)));
    const expected = await read(part.sql, "viewer");
    assertEquals(await read(whole.sql, "viewer"), expected, `seed ${seed + i}`);
    assertNotEquals(await read(whole.sql, "admin"), expected, "the other repositories have numbers");
    if (i > 0) continue;

    await t.step("every function had something to give", () => {
      for (const { name, isEvidence } of functions) {
        const rows = Object.entries(expected).filter(([call]) => call.startsWith(`metrics.${name}(`)).flatMap(([, r]) =>
          r
        );
        assert(rows.some(({ reason }) => isEvidence || reason === null) || SILENT.includes(name), name);
      }
    });
    for (
      const [name, ...more] of [["deployment_frequency", "services"], ["measurement_series_evidence", "measurements"]]
    ) {
      await t.step(`a policy that shows too much of ${more} is noticed`, async () => {
        const tables = ["repositories", "repository_references", ...more];
        for (const shown of tables) {
          await whole.sql.unsafe(`create policy extra on metrics.${shown} for select to authenticated using (true)`);
        }
        const one = functions.filter((reading) => reading.name === name);
        const given = await as(whole.sql, "viewer", (sql) => answers(sql, one, periodsOf(some)));
        assert(Object.entries(given).some(([call, rows]) => JSON.stringify(rows) !== JSON.stringify(expected[call])));
        for (const shown of tables) await whole.sql.unsafe(`drop policy extra on metrics.${shown}`);
      });
    }
  }
});

/** What a random history may leave without a row. */
const SILENT = [
  "failed_deployment_recovery_time",
  "failed_deployment_recovery_time_evidence",
  "change_fail_rate",
  "change_fail_rate_evidence",
  "change_lead_time",
  "change_lead_time_evidence",
  "deployment_frequency",
  "deployment_frequency_evidence",
  "deployment_rework_rate",
  "deployment_rework_rate_evidence",
  "dora",
  "dora_evidence",
  "overview_evidence",
  "pull_request_cycle_time",
  "pull_request_cycle_time_evidence",
  "pipeline_cost",
];

Deno.test("numbers_access: a BI tool reads what an admin reads", async () => {
  const some = history(9);
  await using database = await testDatabase({ max: 1 });
  await prepare(database.sql, some, callsOfBoth(some));
  await using tool = await reader(database);
  const functions = await readingFunctions(database.sql);
  const expected = await as(database.sql, "admin", (sql) => answers(sql, functions, periodsOf(some).slice(0, 1)));
  const given = await attempt(
    database.sql,
    tool.sql,
    "metrics_reader",
    (sql) => answers(sql, functions, periodsOf(some).slice(0, 1)),
  );
  assertEquals(given, { done: true, rows: expected });
});

/** Milliseconds that a refusal may take, as the least of a few: a busy machine makes single ones slow. */
const limit = 3;

/** Milliseconds in the database until a call has refused the stranger. */
async function refusalTime(sql: postgres.Sql, call: string): Promise<number> {
  return await as(sql, "stranger", async (sql) => {
    const results = await sql.unsafe(`
      do $do$
      declare
        began timestamptz;
        least_time double precision := 'infinity';
      begin
        for i in 1..5 loop
          began := clock_timestamp();
          begin
            perform * from ${call};
            raise exception 'not refused';
          exception
            when insufficient_privilege then
              least_time := least(least_time, extract(epoch from clock_timestamp() - began) * 1000);
          end;
        end loop;
        perform set_config('metrics_test.time', least_time::text, true);
      end
      $do$;
      select current_setting('metrics_test.time')::float8 as time`).simple();
    return (results.at(-1) as unknown as { time: number }[])[0]!.time;
  });
}

Deno.test("numbers_access: a stranger is refused by every function at once, and who is not signed in even before", async (t) => {
  const some = history(9);
  await using database = await testDatabase({ max: 1 });
  const { sql } = database;
  await prepare(sql, some, callsOfBoth(some));
  const slow = async () => {
    const found: string[] = [];
    for (const { name, takes } of await readingFunctions(sql)) {
      const call = callOf({ name, takes }, {})[0].replace("$1", "'size'");
      const time = await refusalTime(sql, call);
      if (time >= limit) found.push(`${call} took ${time} ms to refuse a stranger`);
      const anonymous = await attempt(sql, sql, "anon", (sql) => sql.unsafe(`select * from ${call}`));
      assertEquals(anonymous.done ? "done" : anonymous.code, "42501", call);
    }
    return found;
  };
  assertEquals(await slow(), []);
  await t.step("a function that works before it asks is noticed", async () => {
    await sql`
      create function metrics.planted(since date default null, until date default null) returns table (reason text)
      language plpgsql stable set search_path = '' as $$
      begin
        perform count(*) from generate_series(1, 200000);
        perform metrics.require_reader();
      end $$`;
    await sql`revoke execute on function metrics.planted from public`;
    await sql`grant execute on function metrics.planted to authenticated`;
    assertNotEquals(await slow(), []);
  });
});
