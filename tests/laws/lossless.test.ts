/**
 * Law 3: what is authenticated is applied, or ignored with its reason, or kept whole with its reason and replayed after a fix;
 * and success is answered only after the commit.
 */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { encodeBase64 } from "@std/encoding/base64";
import fc from "fast-check";
import postgres, { type Sql } from "postgres";
import { readConfiguration } from "../../supabase/functions/ingest-metrics/configuration.ts";
import { createHandler } from "../../supabase/functions/ingest-metrics/handler.ts";
import { callThroughApi, createStore, type Store } from "../../supabase/functions/ingest-metrics/store.ts";
import { SECRET, webhook } from "../../supabase/functions/ingest-metrics/testing.ts";
import { testDatabase } from "../support/database.ts";
import { deep } from "../support/depth.ts";
import { callOf, ingest } from "../support/history_calls.ts";
import { readExample } from "../support/history_examples.ts";
import { newSeed, randomFrom } from "../support/history_random.ts";
import type { Posted } from "../support/history_github.ts";
import { apply, type Call } from "../support/model.ts";
import { differences, readTables } from "../support/model_tables.ts";

/** The function as it ships, with a connection to the database in place of the Data API. */
function handlerOver(sql: Sql, change: (store: Store) => Store = (store) => store) {
  const store = createStore(async (name, parameters) => {
    try {
      const values = Object.values(parameters).map((value) =>
        value instanceof Uint8Array ? encodeBase64(value) : JSON.stringify(value)
      );
      const [row] = name === "ingest"
        ? await sql.unsafe(
          "select metrics.ingest($1::text::jsonb, $2::text::jsonb, nullif($3, 'null')) as data",
          values,
        )
        : await sql.unsafe("select metrics.health() as data");
      return { data: row?.["data"] };
    } catch (error) {
      return { code: (error as { code?: string }).code ?? "" };
    }
  });
  const configuration = readConfiguration({ INGEST_SECRET_GITHUB: SECRET });
  return createHandler({ configuration, store: change(store), log: () => {} });
}

type Handler = ReturnType<typeof handlerOver>;

async function post(handler: Handler, { event, id, body }: Pick<Posted, "event" | "id"> & { body: unknown }) {
  const response = await handler(await webhook(body, { event, id }));
  return { status: response.status, retryAfter: response.headers.get("retry-after"), ...await response.json() };
}

Deno.test("lossless: what is not understood is kept whole, with its reason", async () => {
  await using database = await testDatabase();
  const handler = handlerOver(database.sql);
  const bodies: [string, string | Uint8Array][] = [
    ["workflow_job", "no JSON at all"],
    ["workflow_job", ""],
    ["workflow_job", "[1, 2, 3]"],
    ["workflow_job", "null"],
    ["workflow_job", '{"action": "completed"}'],
    ["pull_request", '{"repository": {"id": 1}, "pull_request": {"number": "seven"}}'],
    ["push", '{"repository": {"id": "x"}, "ref": 1}'],
    ["push", new Uint8Array([0xff, 0xfe, 0x00, 0x7b])],
    ["deployment", `{"deep": ${"[".repeat(20_000)}${"]".repeat(20_000)}}`],
  ];
  for (const [i, [event, body]] of bodies.entries()) {
    const answer = await post(handler, { event, id: `kept-${i}`, body });
    assertEquals([answer.status, answer.result], [202, "quarantined"], `body ${i}`);
    assert(answer.reason.length > 0);
    const [row] = await database.sql`
      select d.result, d.reason, d.size, b.body
      from metrics.deliveries as d left join metrics.bodies as b using (source, delivery_id)
      where d.delivery_id = ${`kept-${i}`}`;
    const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
    assertEquals([row?.["result"], row?.["reason"], row?.["size"]], ["quarantined", answer.reason, bytes.length]);
    assertEquals(new Uint8Array(row?.["body"]), bytes);
  }
});

Deno.test("lossless: each authentic delivery has its row before it is answered, whatever is in it", async () => {
  const seed = newSeed("lossless");
  await using database = await testDatabase();
  const handler = handlerOver(database.sql);
  const events = ["workflow_job", "push", "pull_request", "release", "issues", "check_run", "ping", "no_such_event"];
  const value = fc.oneof(fc.json(), fc.string({ unit: "binary" }), fc.json().map((text) => `{"repository": ${text}}`));
  let count = 0;
  const property = fc.asyncProperty(fc.constantFrom(...events), value, async (event, body) => {
    const id = `any-${count++}`;
    const answer = await post(handler, { event, id, body });
    const [row] = await database.sql`select result, reason from metrics.deliveries where delivery_id = ${id}`;
    assertEquals(answer.result, row?.["result"]);
    assertEquals(answer.status, row?.["result"] === "stored" ? 200 : 202);
    assertEquals(row?.["result"] === "stored", row?.["reason"] === null);
  });
  await fc.assert(property, { seed, numRuns: deep(100, 3000) });
});

Deno.test("lossless: what the database refused is applied when it comes again after the fix", async () => {
  const { deliveries } = readExample("sample");
  await using database = await testDatabase();
  const handler = handlerOver(database.sql);
  await database.sql`alter table metrics.pull_requests add constraint nothing_is_understood check (number < 0)`;
  const first = [];
  for (const posted of deliveries) first.push(await post(handler, posted));
  const refused = first.filter(({ result }) => result === "quarantined");
  assert(refused.length >= 3);
  assert(refused.every(({ status, reason }) => status === 202 && reason.includes("23514")));
  assertEquals((await readTables(database.sql))["pull_requests"], []);

  await database.sql`alter table metrics.pull_requests drop constraint nothing_is_understood`;
  const results = [];
  for (const posted of deliveries) results.push((await post(handler, posted)).result);
  assertEquals(results, first.map(({ result }) => result === "quarantined" ? "stored" : "duplicate"));
  const calls = await Promise.all(deliveries.map((posted) => callOf(posted)));
  assertEquals(differences(await readTables(database.sql), apply(calls)), {});
});

Deno.test("lossless: what was in quarantine leaves, once replayed, what it would have left at once", async () => {
  const random = randomFrom(newSeed("lossless"));
  const calls = await Promise.all(readExample("repository-life").deliveries.map((posted) => callOf(posted)));
  const expected = apply(calls);
  for (let round = 0; round < deep(3, 40); round++) {
    await using database = await testDatabase();
    const late: Call[] = [];
    for (const call of calls) {
      const isLate = random() < 0.4;
      if (isLate) late.push(call);
      const delivery = { ...call.delivery, result: "quarantined" as const, reason: "not understood yet" };
      await ingest(database.sql, isLate ? { delivery, facts: {}, body: call.body ?? null } : call);
    }
    for (const call of late) await ingest(database.sql, call);
    assertEquals(differences(await readTables(database.sql), expected), {});
  }
});

Deno.test("lossless: what stays in quarantine stays as it was, and what turns out to carry no fact leaves without its body", async () => {
  await using database = await testDatabase();
  const [first, second] = await Promise.all(
    readExample("sample").deliveries.slice(0, 2).map((posted) => callOf(posted)),
  );
  const as = (call: Call | undefined, result: "quarantined" | "ignored", reason: string): Call => ({
    delivery: { ...(call as Call).delivery, result, reason },
    body: result === "ignored" ? null : call?.body ?? null,
  });
  const calls = [
    as(first, "quarantined", "not understood"),
    as(first, "quarantined", "still not"),
    as(second, "quarantined", "not understood"),
    as(second, "ignored", "carries no fact"),
    as(second, "ignored", "carries no fact"),
  ];
  const answers = [];
  for (const call of calls) answers.push(await ingest(database.sql, call));
  assertEquals(
    answers.map(({ result, reason }) => [result, reason]),
    [
      ["quarantined", "not understood"],
      ["quarantined", "not understood"],
      ["quarantined", "not understood"],
      ["ignored", "carries no fact"],
      ["duplicate", null],
    ],
  );
  const tables = await readTables(database.sql);
  assertEquals(differences(tables, apply(calls)), {});
  assertEquals(tables["bodies"]?.length, 1);
});

Deno.test("lossless: a failed commit, a lost connection and a database that is away are answered 503", async (t) => {
  const [posted] = readExample("sample").deliveries as [Posted];
  await t.step("lossless: the commit itself fails", async () => {
    await using database = await testDatabase();
    await database.sql.unsafe(`
      create function metrics.refuse() returns trigger language plpgsql as $$
      begin raise exception using errcode = '53100', message = 'disk full'; end $$;
      create constraint trigger at_commit after insert on metrics.deliveries deferrable initially deferred
        for each row execute function metrics.refuse();`);
    const answer = await post(handlerOver(database.sql), posted);
    assertEquals([answer.status, answer.result], [503, undefined]);
    assertEquals((await readTables(database.sql))["deliveries"], []);
  });
  await t.step("lossless: the connection is cut in the middle", async () => {
    await using database = await testDatabase();
    await database.sql.unsafe(`
      create function metrics.cut() returns trigger language plpgsql as $$
      begin perform pg_terminate_backend(pg_backend_pid()); return new; end $$;
      create trigger in_between after insert on metrics.deliveries for each row execute function metrics.cut();`);
    // A client of its own: one whose connection was cut is slow to end.
    const client = postgres(database.url, { max: 1, onnotice: () => {} });
    const answer = await post(handlerOver(client), posted);
    await client.end({ timeout: 0 });
    assertEquals(answer.status, 503);
    assertEquals((await readTables(database.sql))["deliveries"], []);
  });
  for (
    const [name, url] of Object.entries({ nothing: "http://127.0.0.1:1", "no address": "http://supabase.invalid" })
  ) {
    await t.step(`lossless: the Data API is ${name}`, async () => {
      const configuration = readConfiguration({ INGEST_SECRET_GITHUB: SECRET });
      const store = createStore(callThroughApi({ url, key: "sb_secret_of_nothing" }));
      const answer = await post(createHandler({ configuration, store, log: () => {} }), posted);
      assertEquals(answer.status, 503);
      assert(Number(answer.retryAfter) > 0);
    });
  }
});

/** Whether every success was in the database, as another connection sees it, at the moment of the answer. */
async function isAnsweredAfterCommit(url: string, handler: Handler, deliveries: Posted[]): Promise<boolean> {
  const other = postgres(url, { max: 1, onnotice: () => {} });
  try {
    // Connected before anything is asked, so that asking takes no time.
    await other`select 1`;
    for (const posted of deliveries) {
      const { status } = await post(handler, posted);
      const [row] = await other`select count(*)::int as found from metrics.deliveries where delivery_id = ${posted.id}`;
      if (status < 300 && row?.["found"] !== 1) return false;
    }
    return true;
  } finally {
    await other.end();
  }
}

Deno.test("lossless: success is answered only after the commit, and a handler that answers before is noticed", async () => {
  const { deliveries } = readExample("sample");
  await using database = await testDatabase();
  // Commits that take their time.
  await database.sql.unsafe(`
    create function metrics.dawdle() returns trigger language plpgsql as $$
    begin perform pg_sleep(0.05); return null; end $$;
    create constraint trigger at_commit after insert on metrics.deliveries deferrable initially deferred
      for each row execute function metrics.dawdle();`);
  assertEquals(await isAnsweredAfterCommit(database.url, handlerOver(database.sql), deliveries.slice(0, 4)), true);

  const pending: Promise<unknown>[] = [];
  const hasty = handlerOver(database.sql, (store) => ({
    ...store,
    ingest(delivery, facts, body, signal) {
      pending.push(store.ingest(delivery, facts, body, signal));
      return Promise.resolve({ result: delivery.result });
    },
  }));
  assertEquals(await isAnsweredAfterCommit(database.url, hasty, deliveries.slice(4, 8)), false);
  await Promise.all(pending);
});

Deno.test("lossless: a quarantine that keeps no body is noticed", async () => {
  await using database = await testDatabase();
  const forgetful = handlerOver(database.sql, (store) => ({
    ...store,
    ingest: (delivery, facts, _body, signal) => store.ingest(delivery, facts, null, signal),
  }));
  await post(forgetful, { event: "push", id: "lost", body: "not JSON" });
  const tables = await readTables(database.sql);
  assertNotEquals(tables["deliveries"], []);
  assertEquals(tables["bodies"], []);
});
