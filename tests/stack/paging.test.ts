/** Long numbers through the Data API, whose own limit of rows is smaller than a page: nothing is cut silently. */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { createClient } from "@supabase/supabase-js";
import { startRest } from "../../tools/stack/rest.ts";
import { testDatabase } from "../support/database.ts";
import { ingest } from "../support/history_calls.ts";
import { callTelling } from "../support/history_copies.ts";
import { reportsOf } from "../support/history_reports.ts";
import { readAll, type ReadingFunction, readingFunctions, type Row } from "../support/reading.ts";

// lite prints each request's error; the stack turns that off, and so do we.
console.error = () => {};

// The server keeps connections for later requests; they are closed at the end of the test.
const options = { sanitizeResources: false, sanitizeOps: false };
const origin = "http://127.0.0.1:54321";
const keys = { publishableKey: "sb_publishable_test", secretKey: "sb_secret_test" };
const maxRows = 10;
const since = "2026-03-02";
const period = { since, until: "2026-03-30" };

/** Deployments of a repository, of which each is named in the evidence. */
function deploymentsOf(repository: string) {
  return callTelling(`deployments of ${repository}`, [
    { kind: "repositories", observation: { repository, full_name: repository.replace(":", "-") } },
    ...[3, 4, 5, 10].map((day) => ({
      kind: "deployments",
      observation: {
        repository,
        external_id: `${day}`,
        environment: "production",
        commit_sha: String(day % 10).repeat(40),
        status: "finished",
        outcome: "success",
        finished_at: `2026-03-${String(day).padStart(2, "0")}T12:00:00Z`,
      },
    })),
  ]);
}

/** A row whose moments are written in one way: lite writes them as Postgres does as text, Postgres otherwise as JSON. */
function withMoments(row: Row): Row {
  return Object.fromEntries(
    Object.entries(row).map(([name, value]) => [
      name,
      name.endsWith("_at") && typeof value === "string" ? new Date(value).toISOString() : value,
    ]),
  );
}

/** All rows that a function gives through the API: asks for more as long as what came is less than the total beside it. */
async function throughRest(
  call: (args: Row) => PromiseLike<{ data: Row[] | null; error: unknown }>,
  args: Row,
): Promise<{ rows: Row[]; requests: number }> {
  const rows: Row[] = [];
  for (let requests = 1;; requests++) {
    const after = rows.at(-1)?.["page_key"];
    const { data, error } = await call({
      ...args,
      page_size: 500,
      ...(after === undefined ? {} : { page_after: after }),
    });
    assertEquals(error, null);
    assert(data!.length <= maxRows, `the API gave ${data!.length} rows`);
    rows.push(...data!);
    const total = rows.at(-1)?.["total"];
    if (rows.length >= Number(total ?? 0) || data!.length === 0) return { rows, requests };
  }
}

Deno.test("paging: with an API that gives ten rows at once, all pages together are the whole", options, async (t) => {
  const database = await testDatabase();
  const rest = await startRest({
    url: database.url,
    origin,
    jwtSecret: "a secret of at least 32 characters",
    ...keys,
    maxRows,
  });
  try {
    const { sql } = database;
    for (let n = 1; n <= 4; n++) {
      await ingest(sql, deploymentsOf(`github:${n}`));
      await ingest(sql, reportsOf(`github:${n}`, since));
    }
    const client = createClient(origin, keys.publishableKey, {
      auth: { persistSession: false, autoRefreshToken: false },
      global: { fetch: (input, init) => rest.fetch(new Request(input as string, init)) },
    });
    await client.auth.signUp({ email: "ann@example.com", password: "a long password" });
    await sql`select metrics.add_member('ann@example.com', 'admin')`;
    const metrics = client.schema("metrics" as "public");
    assertEquals((await metrics.rpc("accept_membership")).error, null);

    const functions = await readingFunctions(sql);
    const argsOf = ({ name, takes }: ReadingFunction): Row => ({
      ...period,
      ...(takes.includes("bucket") ? { bucket: "week" } : {}),
      ...(takes.includes("by") && name !== "slowest_jobs" ? { by: "repository" } : {}),
      ...(name.startsWith("measurement_series") ? { name: "size" } : {}),
    });
    let long = 0;
    for (const reading of functions) {
      await t.step(reading.name, async () => {
        const args = argsOf(reading);
        const whole = await readAll(sql, reading, args);
        assert(whole.every((row) => "total" in row), `${reading.name} tells how many rows there are`);
        if (!reading.takes.includes("page_after")) {
          // The API's own pages.
          const given: Row[] = [];
          while (given.length < whole.length) {
            const { data } = await metrics.rpc(reading.name, args).range(given.length, given.length + 499);
            assertEquals(Number((data as Row[])[0]!["total"]), whole.length);
            given.push(...data as Row[]);
          }
          assertEquals(given.map(withMoments), whole.map(withMoments));
          return;
        }
        const { rows, requests } = await throughRest((args) => metrics.rpc(reading.name, args), args);
        assertEquals(rows.map(withMoments), whole.map(withMoments));
        if (requests > 1) long++;
      });
    }
    assert(long > 10, `${long} answers were longer than the API gives at once`);

    await t.step("a reader who takes the first answer for the whole is wrong, and can see it", async () => {
      const dora = functions.find(({ name }) => name === "dora")!;
      const { data } = await metrics.rpc("dora", { ...argsOf(dora), page_size: 500 });
      assertEquals((data as Row[]).length, maxRows);
      assertNotEquals(Number((data as Row[])[0]!["total"]), maxRows);
    });
  } finally {
    await rest.close();
    await database[Symbol.asyncDispose]();
  }
});
