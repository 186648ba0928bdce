import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { createHash } from "node:crypto";
import type { Sql } from "postgres";
import { testDatabase } from "../../tests/support/database.ts";
import { loadYear } from "./year.ts";

const SCALE = 0.002;

const kinds = [
  "pipeline_runs",
  "jobs",
  "pull_requests",
  "reviews",
  "pushes",
  "commits",
  "deployments",
  "releases",
  "incidents",
  "tests",
  "test_runs",
  "test_cases",
  "rule_checks",
  "measurements",
];

async function loaded(tail: number) {
  const database = await testDatabase({
    connection: { application_name: "year", jit: "off" } as Record<string, string>,
  });
  await loadYear(database.sql, { scale: SCALE, tail, width: 1, say: () => {} });
  return database;
}

/** A hash of all that is fact in each table, in the order of the rows' text. */
async function hashes(sql: Sql): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const kind of kinds) {
    const rows = await sql.unsafe(
      `select (to_jsonb(t) - 'updated_at' ${kind === "pushes" ? "- 'id'" : ""})::text as line
      from metrics.${kind} as t`,
    );
    const hash = createHash("sha256");
    for (const line of rows.map(({ line }) => line).sort()) hash.update(`${line}\n`);
    found[kind] = `${rows.length} rows, ${hash.digest("hex")}`;
  }
  return found;
}

/** That it has the shape that figures are promised for. */
async function checkShape(sql: Sql): Promise<void> {
  const [counts] = await sql`
    select
      (select count(*) from metrics.repositories)::int as repositories,
      (select count(*) from metrics.pipeline_runs)::int as runs,
      (select count(*) from metrics.jobs)::int as jobs,
      (select count(*) from metrics.pull_requests)::int as pull_requests,
      (select sum(cardinality(p.commits)) from metrics.pushes as p where p.on_default_branch)::int as commits,
      (select count(*) from metrics.deployments where environment = 'production' and outcome = 'success')::int as deployments,
      (select count(*) from metrics.incidents)::int as incidents`;
  const { jobs, pull_requests, ...others } = counts!;
  assertEquals(others, {
    repositories: 200,
    runs: 2000,
    commits: 2000,
    deployments: 730,
    incidents: 16,
  });
  assert(jobs > 9500 && jobs < 10500, `${jobs} jobs`);
  // Where a year is small, the last pushes of two hundred repositories merge some more.
  assert(pull_requests >= 800 && pull_requests < 840, `${pull_requests} pull requests`);

  const [shares] = await sql`
    select
      (select max(n.count) from (select count(*) from metrics.pipeline_runs group by reference_id) as n) / 2000.0 as largest,
      avg((r.outcome in ('failure', 'timed_out', 'error'))::int) as failed,
      avg((r.attempt > 1)::int) as again,
      avg((r.actor_is_bot)::int) as bots,
      avg((extract(isodow from coalesce(r.queued_at, r.started_at) at time zone 'UTC') < 6)::int) as weekdays,
      (select count(*) from metrics.pipeline_runs as a join metrics.pipeline_runs as b using (reference_id, external_id)
        where a.attempt = 1 and b.attempt = 2 and a.outcome = 'failure')::int as tried_again,
      avg((r.attempt = 2)::int) * 2000 as second_attempts
    from metrics.pipeline_runs as r`;
  const between = (name: string, least: number, most: number) => {
    const value = Number(shares![name]);
    assert(value >= least && value <= most, `${name} is ${value}`);
  };
  between("largest", 0.07, 0.11);
  between("failed", 0.1, 0.14);
  between("again", 0.03, 0.05);
  between("bots", 0.05, 0.3);
  between("weekdays", 0.9, 1);
  assertEquals(Number(shares!.tried_again), Number(shares!.second_attempts));

  // Each default branch is one chain, and rows lie in the order of time.
  const [broken] = await sql`
    select
      (select count(*) from (
        select p.before, lag(p.after) over (partition by p.reference_id order by p.pushed_at, p.id) as after_before
        from metrics.pushes as p
        where p.on_default_branch
      ) as m where m.before <> m.after_before)::int as pushes,
      (select corr((j.ctid::text::point)[0], extract(epoch from j.queued_at)) from metrics.jobs as j) as order_of_jobs`;
  assertEquals(broken!.pushes, 0);
  assert(broken!.order_of_jobs > 0.99, `${broken!.order_of_jobs}`);
}

Deno.test("a generated year is the same at every call, and what goes through ingest comes to the rows that were generated", async () => {
  await using whole = await loaded(0);
  await using through = await loaded(150);
  const [row] = await through
    .sql`select count(*)::int as deliveries from metrics.deliveries where delivery_id like 'tail-%'`;
  assert(row!.deliveries >= 150, `${row!.deliveries} deliveries`);
  await checkShape(whole.sql);
  const expected = await hashes(whole.sql);
  assertEquals(await hashes(through.sql), expected);
  await through.sql`
    update metrics.jobs as j
    set steps = '[]'
    where (j.reference_id, j.external_id) = (select reference_id, external_id from metrics.jobs where steps <> '[]' limit 1)`;
  assertNotEquals((await hashes(through.sql)).jobs, expected.jobs);

  // What is derived was generated as well, because deriving it for a whole year takes long.
  await whole.sql`
    select metrics.derive_pull_requests(array_agg(p.reference_id), array_agg(p.number))
    from metrics.pull_requests as p`;
  assertEquals(await hashes(whole.sql), expected);
});
