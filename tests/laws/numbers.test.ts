/** Every number is what the model says, whatever order its facts came in, and whoever asks. */

import { assertEquals, assertNotEquals } from "@std/assert";
import fc from "fast-check";
import type postgres from "postgres";
import { COMPARED, compareNumbers, differencesOf } from "../support/compare_numbers.ts";
import { testDatabase } from "../support/database.ts";
import { deep } from "../support/depth.ts";
import { ingest } from "../support/history_calls.ts";
import { callTelling, rolledBack } from "../support/history_copies.ts";
import { numbersCase } from "../support/history_numbers.ts";
import type { Said } from "../support/history_observations.ts";
import { newSeed } from "../support/history_random.ts";
import { inLanes } from "../support/lanes.ts";
import { apply } from "../support/model.ts";
import { numbersOf } from "../support/model_numbers.ts";
import { as, users } from "../support/people.ts";
import { story, tell } from "../support/tell_numbers.ts";

/** An admin and a viewer who is in no team. */
async function members(sql: postgres.Sql): Promise<void> {
  for (const [who, role] of [["admin", "admin"], ["viewer", "viewer"]] as const) {
    const { id, email } = users[who];
    await sql`insert into auth.users (id, email, email_confirmed_at) values (${id}, ${email}, now())`;
    await sql`select metrics.add_member(${email}, ${role})`;
    await as(sql, who, (sql) => sql`select metrics.accept_membership()`, true);
  }
}

/** From here on the transaction reads as this member. */
async function become(sql: postgres.TransactionSql, who: "admin" | "viewer"): Promise<void> {
  const claims = JSON.stringify({ sub: users[who].id, role: "authenticated" });
  await sql`select set_config('request.jwt.claims', ${claims}, true)`;
  await sql`set local role authenticated`;
}

Deno.test("numbers: every number of a history, told in any order under any rules, is the model's", async () => {
  const seed = newSeed("numbers");
  await inLanes(async (lane, lanes) => {
    await using database = await testDatabase({ max: 1 });
    await members(database.sql);
    const property = fc.asyncProperty(fc.noBias(numbersCase()), async (history) => {
      await rolledBack(database.sql, async (sql) => {
        await tell(sql, history);
        await become(sql, "admin");
        const world = { tables: apply(history.calls), rules: history.rules };
        assertEquals(await compareNumbers(sql, world, history.arguments, history.turn), [], story(history));
      });
    });
    await fc.assert(property, { seed: seed + lane, numRuns: deep(20, 1500) / lanes });
  });
});

Deno.test("numbers: a viewer's numbers are those of a world without the other teams' repositories", async () => {
  const seed = newSeed("numbers");
  await inLanes(async (lane, lanes) => {
    await using database = await testDatabase({ max: 1 });
    await members(database.sql);
    const property = fc.asyncProperty(fc.noBias(numbersCase()), async (history) => {
      await rolledBack(database.sql, async (sql) => {
        await tell(sql, history);
        await sql`select metrics.add_team('blue')`;
        await sql`select metrics.add_team_member('blue', ${users.viewer.email})`;
        await sql`select metrics.add_team_repository('blue', 'github:1')`;
        await become(sql, "viewer");
        const world = { tables: apply(history.calls), rules: history.rules, readable: new Set(["github:1"]) };
        assertEquals(await compareNumbers(sql, world, history.arguments, history.turn), [], story(history));
      });
    });
    await fc.assert(property, { seed: seed + lane, numRuns: deep(10, 500) / lanes });
  });
});

Deno.test("numbers: one deployment that the database does not know is noticed in every number that it changes", async () => {
  await using database = await testDatabase();
  await members(database.sql);
  const one = { repository: "github:1" };
  const sha = (letter: string) => letter.repeat(40);
  const calls = [
    callTelling("1", [{ kind: "repositories", observation: { ...one, full_name: "acme/one" } }]),
    ...["a", "b", "a"].map((letter, i) =>
      callTelling(`${i + 2}`, [{
        kind: "deployments",
        observation: {
          ...one,
          external_id: `${i}`,
          environment: "production",
          commit_sha: sha(letter),
          status: "finished",
          outcome: "success",
          finished_at: `2026-03-0${i + 2}T09:00:00Z`,
        },
      }])
    ),
  ];
  await rolledBack(database.sql, async (sql) => {
    for (const call of calls.slice(0, -1)) await ingest(sql, call);
    await become(sql, "admin");
    const asked = [{ since: "2026-03-01", until: "2026-03-15" }];
    assertEquals(await compareNumbers(sql, { tables: apply(calls.slice(0, -1)) }, asked), []);
    const found = await compareNumbers(sql, { tables: apply(calls) }, asked);
    // Of the five and all of them together, and where they are shown; what is about pull requests and pipelines is as it was.
    const wrong = [...Object.keys(COMPARED).slice(0, 6), "overview", "ingest_health"];
    assertEquals([...new Set(found.map(({ call }) => call))], wrong);
    // By turns every one of them is asked.
    const inTurn = await Promise.all(
      [0, 1, 2, 3, 4].map((turn) => compareNumbers(sql, { tables: apply(calls) }, asked, turn)),
    );
    assertEquals(new Set(inTurn.flat().map(({ call }) => call)), new Set(wrong));
  });
});

Deno.test("numbers: one job that the database does not know is noticed in every number that it changes", async () => {
  await using database = await testDatabase();
  await members(database.sql);
  const job = (external_id: string, outcome: string): Said => ({
    kind: "jobs",
    observation: {
      repository: "github:1",
      external_id,
      pipeline: "ci",
      name: "test",
      commit_sha: "a".repeat(40),
      runner_labels: ["ubuntu-latest"],
      status: "finished",
      outcome,
      started_at: "2026-03-03T09:00:00Z",
      finished_at: "2026-03-03T09:01:30Z",
      steps: [{ number: 1, name: "run", outcome }],
    },
  });
  const calls = [callTelling("1", [job("1", "success")]), callTelling("2", [job("2", "failure")])];
  await rolledBack(database.sql, async (sql) => {
    await ingest(sql, calls[0]!);
    await become(sql, "admin");
    const asked = [{ since: "2026-03-01", until: "2026-03-15" }];
    assertEquals(await compareNumbers(sql, { tables: apply(calls.slice(0, 1)) }, asked), []);
    const found = await compareNumbers(sql, { tables: apply(calls) }, asked);
    assertEquals(
      new Set(found.map(({ call }) => call)),
      new Set(["job_health", "flaky_jobs", "slowest_jobs", "step_health", "pipeline_cost", "ingest_health"]),
    );
  });
});

Deno.test("numbers: a number that is a little off is noticed, one that is printed otherwise is not", () => {
  const world = { tables: apply([]), now: "2026-03-20T00:00:00Z" };
  const rows = numbersOf(world, "dora");
  assertEquals(differencesOf(rows, rows), {});
  assertEquals(differencesOf([{ value: 0.1 + 0.2 }], [{ value: 0.3 }]), {});
  assertNotEquals(differencesOf([{ value: 0.300001 }], [{ value: 0.3 }]), {});
  assertNotEquals(differencesOf([{ value: null }], [{ value: 0 }]), {});
  assertNotEquals(differencesOf([{ notes: { deployments: 1 } }], [{ notes: {} }]), {});
  assertNotEquals(differencesOf([], rows), {});
});
