/** Law 7: every stored aggregate equals its recomputation from the facts, right after commit. */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import type postgres from "postgres";
import { aggregateDifferences } from "../support/aggregates.ts";
import { testDatabase } from "../support/database.ts";
import { deep } from "../support/depth.ts";
import { ingestPatiently, ingestTogether } from "../support/history_calls.ts";
import { type Place, randomRunsAndJobs, TIMES } from "../support/history_ci.ts";
import { callTelling } from "../support/history_copies.ts";
import { newSeed, randomFrom } from "../support/history_random.ts";

const here: Place = { repositories: ["github:1"] };

async function counted(sql: postgres.Sql): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    select (select count(*) from metrics.pipeline_spans)::int + (select count(*) from metrics.job_weeks)::int as count`;
  return row!.count;
}

Deno.test("aggregates equal facts: after each call, whatever it brings and in whatever zone", async () => {
  const seed = newSeed("aggregates");
  for (let i = 0; i < deep(2, 60); i++) {
    const random = randomFrom(seed + i);
    await using database = await testDatabase({ max: 1 });
    const { sql } = database;
    if (i % 2 === 1) {
      await sql`update metrics.generations set time_zone = 'Europe/Berlin' where state = 'current'`;
    }
    for (
      const call of randomRunsAndJobs(random, "call", 40, 6, {
        repositories: ["github:1", "github:2"],
        isRestless: true,
      })
    ) {
      await ingestPatiently(sql, call);
      assertEquals(await aggregateDifferences(sql), [], `seed ${seed + i}, ${JSON.stringify(call)}`);
    }
    assert(await counted(sql) > 0);
  }
});

Deno.test("aggregates equal facts: while eight connections tell of one repository", async () => {
  const seed = newSeed("aggregates");
  for (let i = 0; i < deep(3, 60); i++) {
    let retries = 0;
    const place = { ...here, isRestless: i % 3 === 2 };
    await using database = await testDatabase({ max: 8 });
    const { sql } = database;
    await ingestPatiently(
      sql,
      callTelling("first", [{ kind: "jobs", observation: { repository: "github:1", external_id: "1" } }]),
    );
    await Promise.all(Array.from({ length: 8 }, async (_, loop) => {
      const random = randomFrom(seed + 8 * i + loop);
      for (const call of randomRunsAndJobs(random, `single-${loop}`, 25, 1, place)) {
        retries += (await ingestPatiently(sql, call)).retries;
      }
      for (const call of randomRunsAndJobs(random, `several-${loop}`, 8, 8, place)) {
        retries += (await ingestPatiently(sql, call)).retries;
      }
      await ingestTogether(sql, randomRunsAndJobs(random, `together-${loop}`, 12, 2, place));
    }));
    assertEquals(await aggregateDifferences(sql), [], `seed ${seed + 8 * i}`);
    assert(await counted(sql) > 0);
    if (!place.isRestless) assertEquals(retries, 0, "callers waited for each other in a circle");
  }
});

Deno.test("aggregates equal facts: in a generation that is built while facts arrive", async () => {
  const seed = newSeed("aggregates");
  const random = randomFrom(seed);
  await using database = await testDatabase({ max: 1 });
  const { sql } = database;
  for (const call of randomRunsAndJobs(random, "before", 30, 3, here)) await ingestPatiently(sql, call);
  await sql`insert into metrics.generations (state, time_zone) values ('building', 'Asia/Tokyo')`;
  for (const upTo of ["2026-02-25T10:00:00Z", "2026-03-04T00:00:00Z", "2026-03-11T12:00:00Z", "infinity"]) {
    for (const call of randomRunsAndJobs(random, `at ${upTo}`, 15, 3, here)) await ingestPatiently(sql, call);
    await sql`
      select metrics.count_facts(g.id, r.id, g.counted_up_to, ${upTo}::text::timestamptz)
      from metrics.generations as g, metrics.repository_references as r
      where g.state = 'building'`;
    await sql`
      update metrics.generations as g
      set counted_up_to = ${upTo}::text::timestamptz, counted_reference = (select max(r.id) from metrics.repository_references as r)
      where g.state = 'building'`;
  }
  for (const call of randomRunsAndJobs(random, "after", 15, 3, here)) await ingestPatiently(sql, call);
  assertEquals(await aggregateDifferences(sql), []);
  await sql`update metrics.generations set state = 'retired' where state = 'current'`;
  await sql`update metrics.generations set state = 'current' where state = 'building'`;
  assertEquals(await aggregateDifferences(sql), []);
});

Deno.test("aggregates equal facts: after corrections, erasing and retention", async () => {
  const seed = newSeed("aggregates");
  const random = randomFrom(seed);
  await using database = await testDatabase({ max: 1 });
  const { sql } = database;
  for (const call of randomRunsAndJobs(random, "call", 60, 4, { repositories: ["github:1", "github:2"] })) {
    await ingestPatiently(sql, call);
  }
  await sql`delete from metrics.jobs where external_id in ('1', '2')`;
  await sql`delete from metrics.pipeline_runs where attempt = 2`;
  assertEquals(await aggregateDifferences(sql), []);
  await sql`select metrics.forget_person('dev-1')`;
  assertEquals(await aggregateDifferences(sql), []);

  for (let isDone = false; !isDone;) {
    const [row] = await sql<{ answer: { done: boolean } }[]>`select metrics.forget_repository('github:1', 3) as answer`;
    isDone = row!.answer.done;
    assertEquals(await aggregateDifferences(sql), []);
  }
  const left =
    await sql`select distinct reference_id from metrics.job_weeks union select reference_id from metrics.pipeline_spans`;
  assertEquals(left.length, 1, "the other repository's");

  // From here on the first week is behind the horizon.
  const frozen = () => sql`select t::text from metrics.job_weeks as t where week = '2026-02-23' order by 1`;
  await ingestPatiently(
    sql,
    callTelling("old", [{
      kind: "jobs",
      observation: {
        repository: "github:2",
        external_id: "old",
        status: "finished",
        outcome: "success",
        finished_at: TIMES[0],
      },
    }]),
  );
  const before = await frozen();
  assert(before.length > 0);
  await sql`select metrics.move_job_horizon('2026-03-02')`;
  await sql`delete from metrics.jobs where coalesce(finished_at, started_at, queued_at) < '2026-03-02T00:00:00Z'`;
  for (const call of randomRunsAndJobs(random, "late", 40, 4, { repositories: ["github:2"] })) {
    await ingestPatiently(sql, call);
  }
  assertEquals(await aggregateDifferences(sql), []);
  assertEquals(await frozen(), before, "what is frozen stays");
});

const FAULTS = {
  "a counter that is one too high": "update metrics.job_weeks set success = success + 1 where true",
  "a duration that was lost": "update metrics.pipeline_spans set duration_tally = 0 where duration_tally > 0",
  "a row that counts nothing":
    "insert into metrics.job_weeks select generation, reference_id, week, pipeline, 'none', runner, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 from metrics.job_weeks limit 1",
  "a try that says it is the first":
    "update metrics.pipeline_runs set is_first_try = not is_first_try where attempt = 1",
  "a table that nobody counts":
    "alter table metrics.jobs disable trigger jobs_deleted; delete from metrics.jobs where true",
};

Deno.test("aggregates equal facts: a fault is noticed", async (t) => {
  await using database = await testDatabase({ max: 1 });
  const { sql } = database;
  for (const call of randomRunsAndJobs(randomFrom(7), "call", 30, 4, here)) await ingestPatiently(sql, call);
  assertEquals(await aggregateDifferences(sql), []);
  for (const [fault, statement] of Object.entries(FAULTS)) {
    await t.step(fault, async () => {
      await using other = await testDatabase({ max: 1 });
      for (const call of randomRunsAndJobs(randomFrom(7), "call", 30, 4, here)) await ingestPatiently(other.sql, call);
      await other.sql.unsafe(statement);
      assertNotEquals(await aggregateDifferences(other.sql), []);
    });
  }
});
