/** Law 7 for pull requests: what is counted of them by spans of days equals its recomputation from the facts, right after commit. */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import fc from "fast-check";
import type postgres from "postgres";
import { aggregateDifferences } from "../support/aggregates.ts";
import { testDatabase } from "../support/database.ts";
import { deep } from "../support/depth.ts";
import { ingestPatiently } from "../support/history_calls.ts";
import { callTelling } from "../support/history_copies.ts";
import { numbersHistory } from "../support/history_numbers.ts";
import { pullRequestStory } from "../support/history_observations.ts";
import { newSeed, randomFrom, shuffledWithDuplicates } from "../support/history_random.ts";
import type { Call } from "../support/model.ts";

/** Random histories told in random order: of deliveries that make sense, or of observations that seldom do. */
function callsOf(seed: number, kind: "sense" | "nonsense"): Call[] {
  const calls = kind === "sense"
    ? fc.sample(fc.noBias(numbersHistory()), { seed, numRuns: 3 }).flatMap((history, i) =>
      history.calls.map((call) => ({
        ...call,
        delivery: { ...call.delivery, delivery_id: `${i} ${call.delivery["delivery_id"]}` },
      }))
    )
    : fc.sample(fc.noBias(pullRequestStory()), { seed, numRuns: 8 }).flat().map((said, i) =>
      callTelling(`${i}`, [said])
    );
  return shuffledWithDuplicates(calls, randomFrom(seed));
}

/** Those of the first seed from this one on that tell of something merged. */
function callsOfMerges(seed: number): Call[] {
  for (let tried = seed;; tried++) {
    const calls = callsOf(tried, "sense");
    if (calls.some((call) => JSON.stringify(call.facts).includes('"merged_at":"'))) return calls;
  }
}

/** The phases of which anything is counted. */
async function counted(sql: postgres.Sql): Promise<string[]> {
  const rows = await sql<{ phase: string }[]>`
    select distinct p.phase
    from metrics.pull_request_spans as w
    cross join lateral (
      values ('coding', coding), ('pickup', pickup), ('review', review), ('merge', merge), ('deploy', deploy), ('total', total)
    ) as p (phase, tally)
    where p.tally <> 0
    order by p.phase`;
  return rows.map(({ phase }) => phase);
}

/** Two services of one repository, so that a commit is a change of both and is shipped twice. */
async function twoServices(sql: postgres.Sql): Promise<void> {
  for (const [name, pattern] of [["one", "^production$"], ["two", "^prod-"]] as const) {
    await sql`
      select metrics.add_service(${name}, 'github:1', environment_pattern => ${pattern}, may_match_nothing => true)`;
    await rebuilt(sql);
  }
}

async function rebuilt(sql: postgres.Sql): Promise<void> {
  for (let isDone = false; !isDone;) {
    const [row] = await sql<{ answer: { done: boolean } }[]>`select metrics.rebuild(2) as answer`;
    isDone = row!.answer.done;
  }
}

Deno.test("aggregates equal facts: pull requests, after each call, whatever it brings and in whatever zone", async () => {
  const seed = newSeed("aggregates_pull_requests");
  const phases = new Set<string>();
  for (let i = 0; i < deep(3, 60); i++) {
    await using database = await testDatabase({ max: 1 });
    const { sql } = database;
    if (i % 2 === 1) await sql`update metrics.generations set time_zone = 'Asia/Tokyo' where state = 'current'`;
    const calls = callsOf(seed + i, i % 3 === 1 ? "nonsense" : "sense");
    for (const [n, call] of calls.entries()) {
      await ingestPatiently(sql, call);
      if (n === 5 && i % 3 === 2) await twoServices(sql).catch(unlessUnknown);
      assertEquals(await aggregateDifferences(sql), [], `seed ${seed + i}, ${JSON.stringify(call)}`);
    }
    for (const phase of await counted(sql)) phases.add(phase);
  }
  assert(phases.has("total") && phases.has("deploy"), `only ${[...phases]} were counted`);
});

/** The first calls of a history may tell of no repository. */
function unlessUnknown(error: { code?: string }): void {
  if (error.code !== "P0002") throw error;
}

Deno.test("aggregates equal facts: pull requests, while eight connections tell of one repository", async () => {
  const seed = newSeed("aggregates_pull_requests");
  for (let i = 0; i < deep(2, 40); i++) {
    await using database = await testDatabase({ max: 8 });
    const { sql } = database;
    const calls = callsOfMerges(seed + i);
    await Promise.all(Array.from({ length: 8 }, async (_, loop) => {
      for (const call of calls.filter((_, n) => n % 8 === loop)) await ingestPatiently(sql, call);
    }));
    assertEquals(await aggregateDifferences(sql), [], `seed ${seed + i}`);
    assert((await counts(sql)).length > 0);
  }
});

Deno.test("aggregates equal facts: pull requests, in a generation that is built while facts arrive", async () => {
  const seed = newSeed("aggregates_pull_requests");
  await using database = await testDatabase({ max: 1 });
  const { sql } = database;
  const calls = callsOf(seed, "sense");
  const half = Math.floor(calls.length / 2);
  for (const call of calls.slice(0, half)) await ingestPatiently(sql, call);
  await sql`select metrics.begin_rebuild()`;
  for (const [n, call] of calls.slice(half).entries()) {
    await ingestPatiently(sql, call);
    // A step now and then: at each, some weeks are counted and some repositories derived.
    if (n % 3 === 0) await sql`select metrics.rebuild(0)`;
    assertEquals(await aggregateDifferences(sql), [], `seed ${seed}`);
  }
  await rebuilt(sql);
  assertEquals(await aggregateDifferences(sql), [], `seed ${seed}`);
});

Deno.test("aggregates equal facts: pull requests, after corrections and erasing", async () => {
  const seed = newSeed("aggregates_pull_requests");
  await using database = await testDatabase({ max: 1 });
  const { sql } = database;
  for (const call of callsOf(seed, "sense")) await ingestPatiently(sql, call);
  await sql`delete from metrics.pull_requests where number % 3 = 1`;
  assertEquals(await aggregateDifferences(sql), [], `seed ${seed}`);
  const before = await counts(sql);
  for (const login of ["dev-1", "dev-2", "dev-3"]) await sql`select metrics.forget_person(${login})`;
  assertEquals(await counts(sql), before, "who it was changes no number");
  assertEquals(await aggregateDifferences(sql), [], `seed ${seed}`);
  for (let isDone = false; !isDone;) {
    const [row] = await sql<{ answer: { done: boolean } }[]>`select metrics.forget_repository('github:1', 7) as answer`;
    isDone = row!.answer.done;
    assertEquals(await aggregateDifferences(sql), [], `seed ${seed}`);
  }
  const left = await sql`
    select w.reference_id
    from metrics.pull_request_spans as w
    left join metrics.repository_references as r on r.id = w.reference_id
    where r.id is null`;
  assertEquals([...left], [], "nothing is left of it");
});

async function counts(sql: postgres.Sql): Promise<string[]> {
  const rows = await sql<{ row: string }[]>`
    select w::text as row from metrics.pull_request_spans as w order by 1`;
  return rows.map(({ row }) => row);
}

const FAULTS = {
  "a count that is one too high": "update metrics.pull_request_spans set pull_requests = pull_requests + 1 where true",
  "a value in another bucket": "update metrics.pull_request_spans set total = total * 1e8 where total > 0",
  "a phase that was lost": "update metrics.pull_request_spans set deploy = 0 where deploy > 0",
  "a row that counts nothing":
    "insert into metrics.pull_request_spans select generation, reference_id, days, first_day + 700, only_bots, 0, 0, 0, 0, 0, 0, 0 from metrics.pull_request_spans limit 1",
  "a change that nobody counts":
    "alter table metrics.pull_requests disable trigger count_updated; update metrics.pull_requests set merged_at = merged_at - interval '1 day' where merged_at is not null",
};

Deno.test("aggregates equal facts: a fault in what is counted of pull requests is noticed", async (t) => {
  for (const [fault, statement] of Object.entries(FAULTS)) {
    await t.step(fault, async () => {
      await using database = await testDatabase({ max: 1 });
      for (const call of shipped) await ingestPatiently(database.sql, call);
      assertEquals(await aggregateDifferences(database.sql), []);
      assertEquals(await counted(database.sql), ["coding", "deploy", "total"]);
      await database.sql.unsafe(statement);
      assertNotEquals(await aggregateDifferences(database.sql), []);
    });
  }
});

/** A pull request that was merged as its own commit, and deployed. */
const shipped: Call[] = [
  callTelling("1", [
    { kind: "repositories", observation: { repository: "github:1", full_name: "acme/one", default_branch: "main" } },
    {
      kind: "pushes",
      observation: {
        repository: "github:1",
        ref: "refs/heads/main",
        before: "0".repeat(40),
        after: "a".repeat(40),
        pushed_at: "2026-03-03T12:00:00Z",
        on_default_branch: true,
        commits: ["a".repeat(40)],
      },
    },
    {
      kind: "commits",
      observation: { repository: "github:1", sha: "a".repeat(40), authored_at: "2026-03-03T09:00:00Z" },
    },
    {
      kind: "pull_requests",
      observation: {
        repository: "github:1",
        number: 1,
        head_branch: "topic",
        head_sha: "a".repeat(40),
        is_fork: false,
        opened_at: "2026-03-03T10:00:00Z",
        state: "merged",
        merged_at: "2026-03-03T12:00:00Z",
        merge_sha: "a".repeat(40),
      },
    },
  ]),
  callTelling("2", [{
    kind: "deployments",
    observation: {
      repository: "github:1",
      external_id: "1",
      environment: "production",
      commit_sha: "a".repeat(40),
      status: "finished",
      outcome: "success",
      finished_at: "2026-03-03T13:00:00Z",
    },
  }]),
];
