/** The dashboard for Grafana: each of its queries, as Grafana would send it, runs as a login in `metrics_reader` and finds something. */

import { assert, assertEquals, assertMatch, assertRejects, fail } from "@std/assert";
import { parse } from "@std/yaml";
import postgres from "postgres";
import { type TestDatabase, testDatabase } from "../support/database.ts";
import { callOf, ingest } from "../support/history_calls.ts";
import { readExample } from "../support/history_examples.ts";
import { blocksOf, readPage } from "../support/pages.ts";
import { reader } from "../support/people.ts";
import { finishRebuild } from "../support/rebuilt.ts";

interface Query {
  refId: string;
  rawSql: string;
  format: string;
  rawQuery: boolean;
  datasource: { type: string; uid: string };
}

interface Panel {
  id: number;
  type: string;
  title: string;
  description?: string;
  gridPos: { x: number; y: number; w: number; h: number };
  targets?: Query[];
}

interface Dashboard {
  uid: string;
  title: string;
  schemaVersion: number;
  time: { from: string; to: string };
  templating: { list: { name: string; type: string; query: string }[] };
  panels: Panel[];
}

const dashboard = JSON.parse(readPage("docs/grafana/dashboard.json")) as Dashboard;
const panels = dashboard.panels.filter(({ type }) => type !== "row");
const queries = panels.flatMap(({ title, targets = [] }) => targets.map((query) => ({ title, ...query })));

/** What is chosen above a dashboard. */
interface Chosen {
  from: string;
  to: string;
  repository: string;
  bucket: string;
}

const march: Chosen = { from: "2026-02-23T00:00:00Z", to: "2026-03-15T23:59:59.999Z", repository: "", bucket: "week" };

/** A query with its macros and variables replaced as Grafana's data source for PostgreSQL does. */
function filledIn(sql: string, { from, to, repository, bucket }: Chosen): string {
  const quoted = (text: string) => `'${text.replaceAll("'", "''")}'`;
  const filled = sql
    .replaceAll("$__timeFrom()", quoted(from))
    .replaceAll("$__timeTo()", quoted(to))
    .replaceAll("${repository:sqlstring}", quoted(repository))
    .replaceAll("${bucket:sqlstring}", quoted(bucket));
  if (/\$\{|\$__/.test(filled)) throw new Error(`a macro or variable that is not known: ${filled}`);
  return filled;
}

/** Histories in which there is something of everything. */
const histories = [
  "sample",
  "three-tries",
  "flaky-job",
  "rollback-over-two-versions",
  "incident-within-window",
  "runner-cost",
  "draft-pull-request",
];

async function fill(sql: postgres.Sql): Promise<void> {
  for (const name of histories) {
    for (const posted of readExample(name).deliveries) await ingest(sql, await callOf(posted));
  }
  const said = { repository: "github:1", observed_at: "2026-03-03T12:00:00Z" };
  const delivery = { source: "github", event: "push", sha256: "00".repeat(32), size: 1 };
  const upload = { ...said, suite: "unit", commit_sha: "c1".repeat(20), started_at: "2026-03-03T10:00:00Z" };
  await ingest(sql, {
    delivery: { ...delivery, delivery_id: "report", result: "stored" },
    facts: {
      repositories: [{ ...said, full_name: "acme/o'clock", default_branch: "main" }],
      test_runs: [
        { ...upload, external_id: "1", failed_count: 1, passed_count: 0 },
        { ...upload, external_id: "2", failed_count: 0, passed_count: 1, passed: ["greets"] },
      ],
      test_cases: [{ ...said, test_run_external_id: "1", suite: "unit", name: "greets", outcome: "failed" }],
      rule_checks: [{
        ...said,
        external_id: "1",
        rule: "signed",
        status: "compliant",
        checked_at: "2026-03-03T10:00:00Z",
      }],
    },
  });
  await ingest(sql, {
    delivery: { ...delivery, delivery_id: "odd", result: "quarantined", reason: "not_understood" },
    body: btoa("{}"),
  });
}

/** A database with all of this, and a login of Grafana's. */
async function grafana(): Promise<{ database: TestDatabase; sql: postgres.Sql } & AsyncDisposable> {
  const database = await testDatabase({ max: 1 });
  await fill(database.sql);
  const tool = await reader(database);
  return {
    database,
    sql: tool.sql,
    async [Symbol.asyncDispose]() {
      await tool[Symbol.asyncDispose]();
      await database[Symbol.asyncDispose]();
    },
  };
}

/** The rows of a query for what is chosen. */
async function ask(sql: postgres.Sql, query: string, chosen: Chosen): Promise<Record<string, unknown>[]> {
  return [...await sql.unsafe(filledIn(query, chosen))];
}

Deno.test("grafana: every query runs as a login in metrics_reader and finds what there is", async (t) => {
  await using stack = await grafana();
  for (const { title, rawSql } of queries) {
    await t.step(title, async () => {
      const rows = await ask(stack.sql, rawSql, march);
      assert(rows.length > 0, "no row");
      for (const column of Object.keys(rows[0]!).filter((name) => !["reason", "before", "trend"].includes(name))) {
        assert(rows.some((row) => row[column] !== null), `${column} is always NULL`);
      }
    });
  }
});

Deno.test("grafana: every query runs for one repository, by day and by month, and for a time without data", async () => {
  await using stack = await grafana();
  const others: Chosen[] = [
    { ...march, repository: "acme/hello", bucket: "day" },
    { ...march, repository: "acme/o'clock", bucket: "month" },
    { ...march, from: "2019-01-01T00:00:00Z", to: "2019-01-01T00:00:00Z" },
  ];
  for (const chosen of others) {
    for (const { title, rawSql } of queries) {
      await ask(stack.sql, rawSql, chosen).catch((error) => fail(`${title}: ${error.message}`));
    }
  }
});

Deno.test("grafana: charts hold all of the days that are chosen, or say that they do not", async () => {
  await using stack = await grafana();
  const charts = panels.filter(({ type }) => type === "timeseries").flatMap(({ targets = [] }) => targets);
  for (const { rawSql } of charts) {
    const rows = await ask(stack.sql, rawSql, {
      ...march,
      from: "2026-03-02T12:00:00Z",
      to: "2026-03-04T12:00:00Z",
      bucket: "day",
    });
    const days = [...new Set(rows.map(({ time }) => (time as Date).toISOString().slice(0, 10)))];
    assertEquals(days, ["2026-03-02", "2026-03-03", "2026-03-04"]);
    await assertRejects(
      () => ask(stack.sql, rawSql, { ...march, from: "2024-01-01T00:00:00Z", bucket: "day" }),
      Error,
      "choose a longer bucket or a shorter time: ",
    );
  }
  assert(charts.length >= 10, `${charts.length} charts`);
});

Deno.test("grafana: days are those of the installation's time zone", async () => {
  await using stack = await grafana();
  await stack.database.sql`select metrics.set_setting('time_zone', 'Pacific/Auckland')`;
  await finishRebuild(stack.database.sql);
  const { rawSql } = queries.find(({ title }) => title === "Deployments")!;
  const rows = await ask(stack.sql, rawSql, {
    ...march,
    from: "2026-03-02T12:00:00Z",
    to: "2026-03-03T12:00:00Z",
    bucket: "day",
  });
  assertEquals(rows.map(({ time }) => (time as Date).toISOString()), [
    "2026-03-02T11:00:00.000Z",
    "2026-03-03T11:00:00.000Z",
  ]);
});

Deno.test("grafana: what was not stored is of the last 24 hours, the latest on top", async () => {
  await using stack = await grafana();
  const ignored = { source: "github", sha256: "00".repeat(32), size: 1, result: "ignored", reason: "ping" } as const;
  for (const age of ["1 hour", "2 days"]) {
    await ingest(stack.database.sql, { delivery: { ...ignored, delivery_id: age } });
    await stack.database.sql`
      update metrics.deliveries set received_at = now() - ${age}::text::interval where delivery_id = ${age}`;
  }
  const { rawSql } = queries.find(({ title }) => title === "What was not stored in the last 24 hours")!;
  const rows = await ask(stack.sql, rawSql, march);
  assertEquals(rows.map(({ delivery, total }) => [delivery, total]), [["odd", "2"], ["1 hour", "2"]]);
});

Deno.test("grafana: a query with a wrong column, and one of a table that is not for readers, are noticed", async () => {
  await using stack = await grafana();
  const { rawSql } = queries.find(({ title }) => title === "Change lead time")!;
  const wrong = rawSql.replace("p50_seconds", "p51_seconds");
  await assertRejects(() => ask(stack.sql, wrong, march), Error, '"p51_seconds" does not exist');
  await assertRejects(() => ask(stack.sql, "select email from metrics.members", march), Error, "permission denied");
});

Deno.test("grafana: the repositories to choose from are those that there are", async () => {
  await using stack = await grafana();
  const variable = dashboard.templating.list.find(({ name }) => name === "repository")!;
  const rows = await stack.sql.unsafe(variable.query);
  assertEquals({ ...rows[0] }, { __value: "", __text: "All" });
  assertEquals(rows.some(({ __value }) => __value === "acme/hello"), true);
});

Deno.test("grafana: the login of docs/grafana.md reads with a time-out, and its files and query are right", async () => {
  const [login, source, provider, query] = blocksOf(readPage("docs/grafana.md"));
  const database = await testDatabase({ max: 1 });
  await fill(database.sql);
  const name = `grafana_${crypto.randomUUID().slice(0, 8)}`;
  const address = new URL(database.url);
  address.username = name;
  address.password = name;
  const tool = postgres(address.href, { max: 1 });
  try {
    await database.sql.unsafe(login!.text.replaceAll("grafana", name).replace("<a long random word>", name));
    assertEquals((await tool`show statement_timeout`)[0]?.["statement_timeout"], "5s");
    const rows = await ask(tool, query!.text.replace("'api'", "'acme/hello'"), march);
    assertEquals(rows.map(({ p50_seconds }) => p50_seconds), [null, null, null]);
    await assertRejects(() => tool`select metrics.add_team('more')`.execute(), Error, "permission denied");
  } finally {
    await tool.end();
    await database.sql.unsafe(`drop role if exists ${name}`);
    await database[Symbol.asyncDispose]();
  }
  const [{ type }] = (parse(source!.text) as { datasources: { type: string }[] }).datasources as [{ type: string }];
  assertEquals(type, queries[0]!.datasource.type);
  assertEquals((parse(provider!.text) as { providers: { type: string }[] }).providers[0]?.type, "file");
});

Deno.test("grafana: the file is a dashboard", () => {
  assertMatch(dashboard.uid, /^[a-zA-Z0-9_-]{1,40}$/);
  assert(dashboard.title !== "" && dashboard.schemaVersion >= 36);
  assertEquals(dashboard.templating.list.map(({ name, type }) => [name, type]), [
    ["datasource", "datasource"],
    ["repository", "query"],
    ["bucket", "custom"],
  ]);
  assertEquals(new Set(dashboard.panels.map(({ id }) => id)).size, dashboard.panels.length);
  const taken = new Map<string, string>();
  for (const { title, gridPos: { x, y, w, h } } of dashboard.panels) {
    assert(x >= 0 && w > 0 && x + w <= 24 && h > 0, `${title} is not within 24 columns`);
    for (let column = x; column < x + w; column++) {
      for (let line = y; line < y + h; line++) {
        assertEquals(taken.get(`${column} ${line}`), undefined, `${title} covers another panel`);
        taken.set(`${column} ${line}`, title);
      }
    }
  }
  for (const { type, title, description, targets = [] } of panels) {
    assert(["timeseries", "table"].includes(type), `${title}: ${type}`);
    assert(description && targets.length === 1, title);
    for (const { datasource, rawQuery, format, rawSql, refId } of targets) {
      assertEquals([datasource.type, datasource.uid, rawQuery, refId], [
        "grafana-postgresql-datasource",
        "${datasource}",
        true,
        "A",
      ]);
      assert(["table", "time_series"].includes(format), title);
      assertMatch(rawSql, /\bfrom metrics\.[a-z_]+\(/, title);
    }
  }
});
