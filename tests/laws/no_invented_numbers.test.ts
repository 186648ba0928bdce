/** Law 8: no data gives NULL and a reason, never 0 and never the best band; nothing ranks people. */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import postgres from "postgres";
import { testDatabase } from "../support/database.ts";
import { ingest } from "../support/history_calls.ts";
import { callTelling, rolledBack } from "../support/history_copies.ts";
import type { Said } from "../support/history_observations.ts";
import { METRICS } from "../support/model_dora.ts";
import { become, makeAdmin } from "../support/people.ts";
import { type ReadingFunction, readingFunctions, readPage, type Row } from "../support/reading.ts";

/** What may stand in the column reason. */
const REASONS = [
  "no_deployments",
  "only_first_deployment",
  "no_changes_seen",
  "no_incident_source",
  "too_few",
  "unknown_service",
  "outside_retention",
  "no_band",
  "no_price",
];

/** What is wrong about a row of numbers, whatever there is in the database: one line each. */
function faultsOf({ name, columns }: ReadingFunction, row: Row): string[] {
  const faults: string[] = [];
  const numbers = columns.filter(({ type }) => type === "double precision").map(({ name }) => name);
  const counts = columns.filter(({ name, type }) => type === "bigint" && name !== "total").map(({ name }) => name);
  const headline = numbers.find((column) => column !== "previous_value" && column !== "trend");
  if (headline !== undefined && row[headline] === null && row["reason"] === null) {
    faults.push(`no reason for no ${headline}`);
  }
  if (row["reason"] !== null && !REASONS.includes(row["reason"] as string)) faults.push(`the reason ${row["reason"]}`);
  // Where nothing took part there is no share of it, no percentile and no trend.
  const isNothing = counts.every((column) => !row[column]);
  // But no deployment in so many days is 0 a day, once there were any.
  const isPerDay = row["deployments"] === 0 && name === "deployment_frequency" ||
    row["sample_size"] === 0 && row["unit"] === "deployments per day";
  for (const column of numbers) {
    const isKnown = column === "previous_value" ||
      isPerDay && ["deployments_per_day", "deployment_days_per_week", "value", "trend"].includes(column);
    if (isNothing && row[column] !== null && !isKnown) faults.push(`${column} is ${row[column]} of nothing`);
  }
  if (
    row["band"] !== undefined && row["band"] !== null && (row["value"] === null || isNothing && row["band"] !== "low")
  ) {
    faults.push(`the band ${row["band"]} of nothing`);
  }
  if (row["reason"] === "unknown_service") {
    for (const column of [...numbers, ...counts]) if (row[column] !== null) faults.push(`${column} of what is unknown`);
  }
  return faults.map((fault) => `${name}: ${fault} in ${JSON.stringify(row)}`);
}

/** Every fault of every function, called so. An evidence twin has nothing to tell where `isEmpty`. */
async function faultsIn(
  sql: postgres.TransactionSql,
  functions: ReadingFunction[],
  args: Row,
  isEmpty: boolean,
): Promise<string[]> {
  const faults: string[] = [];
  for (const reading of functions) {
    // Asked by another name than it knows, a function would answer for all.
    const names = ["service", "repository", "team"].filter((name) => name in args);
    if (names.some((name) => !reading.takes.includes(name))) continue;
    const rows = await readPage(sql, reading, args);
    if (reading.isEvidence) {
      if (isEmpty && rows.length > 0) faults.push(`${reading.name}: evidence of nothing ${JSON.stringify(rows[0])}`);
      continue;
    }
    if (rows.length === 0) faults.push(`${reading.name}: no row, and so no reason`);
    faults.push(...rows.flatMap((row) => faultsOf(reading, row)));
    if (names.length > 0) {
      for (const row of rows) {
        if (row["reason"] !== "unknown_service") faults.push(`${reading.name}: ${row["reason"]} for what is unknown`);
      }
    }
    if (isEmpty) {
      for (const row of rows) {
        if (row["reason"] === null) faults.push(`${reading.name}: ${JSON.stringify(row)} of nothing`);
      }
    }
  }
  return faults;
}

const one = { repository: "github:1", observed_at: "2026-03-02T08:00:00Z" };
const sha = (n: number) => String(n).repeat(40);
const repository: Said = {
  kind: "repositories",
  observation: { ...one, full_name: "acme/one", default_branch: "main" },
};
const push = (n: number): Said[] => [
  {
    kind: "pushes",
    observation: {
      ...one,
      ref: "refs/heads/main",
      before: n === 1 ? "0".repeat(40) : sha(n - 1),
      after: sha(n),
      pushed_at: `2026-03-02T0${n}:00:00Z`,
      on_default_branch: true,
      commits: [sha(n)],
    },
  },
  { kind: "commits", observation: { ...one, sha: sha(n), authored_at: `2026-03-02T0${n}:00:00Z` } },
];
const deployment = (n: number, day = n): Said => ({
  kind: "deployments",
  observation: {
    ...one,
    external_id: `${day}`,
    environment: "production",
    commit_sha: sha(n),
    status: "finished",
    outcome: "success",
    finished_at: `2026-03-0${2 + day}T12:00:00Z`,
  },
});
/** A job, as one of two tries for one commit. */
const job = (attempt: number, outcome: string): Said => ({
  kind: "jobs",
  observation: {
    ...one,
    external_id: `${attempt}`,
    run_external_id: "1",
    attempt,
    pipeline: "ci",
    name: "train",
    commit_sha: sha(1),
    runner_labels: ["gpu"],
    status: "finished",
    outcome,
    queued_at: `2026-03-03T0${attempt}:00:00Z`,
    started_at: `2026-03-03T0${attempt}:01:00Z`,
    finished_at: `2026-03-03T0${attempt}:03:00Z`,
    steps: [{ name: "fit", outcome }],
  },
});
const incident: Said = {
  kind: "incidents",
  observation: { ...one, source: "pagerduty", external_id: "1", status: "open", opened_at: "2025-01-01T00:00:00Z" },
};

const UNPRICED = "jobs whose runner has no price";

/** Histories of which a half is unknown, and the reasons of the five numbers, in their order, in the week of it. */
const HALVES: Record<string, { said: Said[]; reasons: (string | null)[] }> = {
  "nothing at all": {
    said: [],
    reasons: ["no_deployments", "no_deployments", "no_deployments", "no_incident_source", "no_deployments"],
  },
  "pushes without deployments": {
    said: [repository, ...push(1), ...push(2)],
    reasons: ["no_deployments", "no_deployments", "no_deployments", "no_incident_source", "no_deployments"],
  },
  "deployments without pushes": {
    said: [repository, deployment(1), deployment(2), deployment(3)],
    reasons: [null, "no_changes_seen", "no_incident_source", "no_incident_source", null],
  },
  "only a first deployment": {
    said: [repository, ...push(1), deployment(1)],
    reasons: [null, "only_first_deployment", "no_incident_source", "no_incident_source", null],
  },
  "no incident ever": {
    said: [repository, ...push(1), ...push(2), deployment(1), deployment(2)],
    reasons: [null, null, "no_incident_source", "no_incident_source", null],
  },
  "an incident of another year": {
    said: [repository, ...push(1), ...push(2), deployment(1), deployment(2), incident],
    reasons: [null, null, null, "too_few", null],
  },
  [UNPRICED]: {
    said: [repository, job(1, "failure"), job(2, "success")],
    reasons: ["no_deployments", "no_deployments", "no_deployments", "no_incident_source", "no_deployments"],
  },
  "an incident and no deployment": {
    said: [repository, ...push(1), incident],
    reasons: ["no_deployments", "no_deployments", "no_deployments", "no_deployments", "no_deployments"],
  },
};

const week = { since: "2026-03-02", until: "2026-03-09" };

for (const [what, { said, reasons }] of Object.entries(HALVES)) {
  Deno.test(`no_invented_numbers: ${what} gives NULL with a reason where nothing is known`, async () => {
    await using database = await testDatabase({ max: 1 });
    await makeAdmin(database.sql);
    await rolledBack(database.sql, async (sql) => {
      if (said.length > 0) await ingest(sql, callTelling("1", said));
      await become(sql, "admin");
      const functions = await readingFunctions(sql);
      assert(functions.length >= 30, "the functions are found");
      const isNothing = said.length === 0;
      const unknown: Row[] = [
        { ...week, service: "no such service" },
        { ...week, repository: "acme/none" },
        { ...week, repository: "acme/none", bucket: "day" },
        { ...week, team: "no such team" },
      ];
      for (
        const [args, isEmpty] of [
          // Before anything, and after everything; the week of it, whole and in days.
          [{ since: "2019-12-30", until: "2020-01-13", bucket: "week" }, true],
          [{ since: "2026-08-03", until: "2026-08-10" }, isNothing],
          [{ ...week, bots: false }, isNothing],
          [{ ...week, bucket: "day" }, isNothing],
          ...(["nothing at all", "no incident ever"].includes(what) ? unknown.map((args) => [args, true]) : []),
        ] as [Row, boolean][]
      ) {
        assertEquals(await faultsIn(sql, functions, args, isEmpty), [], JSON.stringify(args));
      }
      const delivery = functions.filter(({ name }) => ["dora", ...METRICS].includes(name));
      for (const by of ["service", "repository"]) {
        const grouped: [Row, boolean][] = [[{ ...week, by }, isNothing], [{ ...week, by, bucket: "day" }, isNothing]];
        for (const [args, isEmpty] of grouped) {
          assertEquals(await faultsIn(sql, delivery, args, isEmpty), [], JSON.stringify(args));
        }
      }
      const dora = functions.find(({ name }) => name === "dora")!;
      assertEquals((await readPage(sql, dora, week)).map(({ reason }) => reason), reasons);
      if (what === UNPRICED) {
        const cost = functions.find(({ name }) => name === "pipeline_cost")!;
        const [row] = await readPage(sql, cost, week);
        assertEquals([row?.["cost"], row?.["reason"], row?.["minutes"]], [null, "no_price", 4]);
      }
    });
  });
}

/** Names that a column has which says who somebody is. */
const PEOPLE = /(^|_)(actor|author|reviewer|login|pusher|user|member|person|committer|assignee)(s|_id|_name)?$/;

/** Functions and views that could set people against each other: by a column of theirs, or by what they group by. */
async function rankings(sql: postgres.TransactionSql): Promise<string[]> {
  const found: string[] = [];
  for (const { name, columns } of await readingFunctions(sql)) {
    found.push(...columns.filter((column) => PEOPLE.test(column.name)).map((column) => `${name}.${column.name}`));
  }
  const views = await sql<{ name: string; definition: string; columns: string[] }[]>`
    select c.relname as name, pg_get_viewdef(c.oid) as definition, array_agg(a.attname::text) as columns
    from pg_class as c join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0
    where c.relnamespace = 'metrics'::regnamespace and c.relkind in ('v', 'm')
    group by c.oid, c.relname`;
  for (const { name, definition, columns } of views) {
    // A record may say whose it is. What adds records up may not.
    if (!/\b(group by|count\(|sum\(|avg\(|rank\(|row_number\(|percentile_)/i.test(definition)) continue;
    found.push(...columns.filter((column) => PEOPLE.test(column)).map((column) => `${name}.${column}`));
  }
  return found;
}

Deno.test("no_invented_numbers: no function and no view ranks people", async (t) => {
  await using database = await testDatabase({ max: 1 });
  await makeAdmin(database.sql);
  await rolledBack(database.sql, async (sql) => {
    assertEquals(await rankings(sql), []);
    await become(sql, "admin");
    for (const reading of (await readingFunctions(sql)).filter(({ takes }) => takes.includes("by"))) {
      for (const by of ["actor", "author", "reviewer", "login"]) {
        const refusal = await sql.savepoint((sql) => readPage(sql, reading, { ...week, by })).catch((error) => error);
        assert(refusal instanceof postgres.PostgresError && refusal.code === "22023", `${reading.name} by ${by}`);
      }
    }
  });
  for (
    const [fault, statement] of Object.entries({
      "a column that names people": `
        create function metrics.planted(since date, until date) returns table (author text, deployments bigint) language sql stable
        set search_path = '' as $$ select 'dev-1', 1::bigint $$;
        revoke execute on function metrics.planted from public; grant execute on function metrics.planted to authenticated`,
      "a view that counts by people":
        "create view metrics.planted as select actor, count(*) as deployments from metrics.deployments group by actor",
    })
  ) {
    await t.step(`${fault} is noticed`, async () => {
      await rolledBack(database.sql, async (sql) => {
        await sql.unsafe(statement).simple();
        assertNotEquals(await rankings(sql), []);
      });
    });
  }
});

/** Bodies of a function that invents a number. */
const INVENTED = {
  "0 of nothing": "select 'acme/one', 0::bigint, 0::float8, 0::float8, null::text, null::text",
  "NULL without a reason": "select 'acme/one', 0::bigint, null::float8, null::float8, null::text, null::text",
  "a reason that nobody knows": "select 'acme/one', 0::bigint, null::float8, null::float8, null::text, 'none'",
  "the best band of nothing": "select 'acme/one', 0::bigint, null::float8, null::float8, 'elite', 'too_few'",
  "a percentile of nothing": "select 'acme/one', 0::bigint, null::float8, 5::float8, null::text, 'too_few'",
  "no row": "select 'acme/one', 0::bigint, null::float8, null::float8, null::text, 'too_few' where false",
};

Deno.test("no_invented_numbers: a function that invents a number is noticed", async (t) => {
  await using database = await testDatabase({ max: 1 });
  for (const [fault, body] of Object.entries(INVENTED)) {
    await t.step(`no_invented_numbers: ${fault} is noticed`, async () => {
      await rolledBack(database.sql, async (sql) => {
        await sql.unsafe(`
          create function metrics.planted(since date, until date)
          returns table (name text, deployments bigint, value float8, p95_seconds float8, band text, reason text)
          language sql stable set search_path = '' as $$ ${body} $$;
          grant execute on function metrics.planted to authenticated`).simple();
        const planted = (await readingFunctions(sql)).filter(({ name }) => name === "planted");
        assertNotEquals(await faultsIn(sql, planted, week, true), []);
      });
    });
  }
});
