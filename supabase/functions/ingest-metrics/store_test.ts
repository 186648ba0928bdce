import { assertEquals } from "@std/assert";
import { type Answer, type Call, callThroughApi, createStore, type Delivery } from "./store.ts";

const delivery: Delivery = {
  source: "github",
  delivery_id: "1",
  event: "workflow_job.completed",
  sha256: "00".repeat(32),
  size: 2,
  content_type: "application/json",
  result: "stored",
  reason: null,
  notes: [],
};
const facts = { jobs: [{ repository: "github:1", external_id: "7" }] };
const stored = { data: { result: "stored", reason: null, delivery_id: "1", facts: { jobs: 1 } } };
const bytes = new TextEncoder().encode("{}");
const never = new AbortController().signal;

/** A store over these answers, and the parameters of the calls that were made. */
function storeOf(...answers: (Answer | Error)[]) {
  // deno-lint-ignore no-explicit-any
  const calls: any[] = [];
  const call: Call = (name, parameters) => {
    calls.push([name, parameters]);
    const answer = answers.shift() ?? { code: "" };
    return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
  };
  return { store: createStore(call), calls };
}

Deno.test("a delivery is committed in one call", async () => {
  const { store, calls } = storeOf(stored);
  assertEquals(await store.ingest(delivery, facts, bytes, never), {
    result: "stored",
    reason: null,
    facts: { jobs: 1 },
  });
  assertEquals(calls, [["ingest", { delivery, facts, body: bytes }]]);
});

Deno.test("a serialisation failure or a deadlock is tried once more", async () => {
  for (const code of ["40001", "40P01"]) {
    const lucky = storeOf({ code }, stored);
    assertEquals((await lucky.store.ingest(delivery, facts, bytes, never))?.result, "stored");
    assertEquals(lucky.calls[0], lucky.calls[1]);
    const unlucky = storeOf({ code }, { code }, stored);
    assertEquals([await unlucky.store.ingest(delivery, facts, bytes, never), unlucky.calls.length], [null, 2]);
  }
});

Deno.test("facts that the database refuses are kept in quarantine with their body", async () => {
  const quarantined = { data: { result: "quarantined", reason: "r", delivery_id: "1", facts: {} } };
  for (const code of ["22003", "22P02", "23514", "P0001"]) {
    const { store, calls } = storeOf({ code }, { code: "40001" }, quarantined);
    assertEquals((await store.ingest(delivery, facts, bytes, never))?.result, "quarantined");
    const reason = `the database refused the facts (SQLSTATE ${code})`;
    const kept = { delivery: { ...delivery, result: "quarantined", reason }, facts: {}, body: bytes };
    assertEquals(calls.slice(1), [["ingest", kept], ["ingest", kept]]);
    const away = storeOf({ code }, { code: "57014" });
    assertEquals(await away.store.ingest(delivery, facts, bytes, never), null);
  }
});

Deno.test("after anything else nothing was committed", async () => {
  const answers = [
    ...["", "57014", "53300", "42501", "42883", "3F000", "PGRST002", "PGRST202", "08006", "2201", "P0002"].map((
      code,
    ) => ({ code })),
    ...[new Error("connection refused"), { data: null }, { data: "stored" }, { data: { result: "lost" } }],
  ];
  for (const answer of answers) {
    const { store, calls } = storeOf(answer, stored);
    assertEquals([await store.ingest(delivery, facts, bytes, never), calls.length], [null, 1]);
  }
});

Deno.test("health is what the database says", async () => {
  const answers: [Answer | Error, boolean][] = [
    [{ data: true }, true],
    [{ data: false }, false],
    [{ code: "" }, false],
    [new Error(), false],
  ];
  for (const [answer, healthy] of answers) assertEquals(await storeOf(answer).store.health(never), healthy);
});

Deno.test("calls go through the project's API with its key, and end when they are aborted", async () => {
  const seen: Record<string, string | null>[] = [];
  const answers = [
    () => Response.json(true),
    () => Response.json({ code: "22003", message: "m", details: null, hint: null }, { status: 400 }),
    () => new Response("<html>bad gateway</html>", { status: 502 }),
    () => new Promise<Response>((resolve) => setTimeout(() => resolve(new Response()), 300)),
  ];
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
    const { headers } = request;
    seen.push({
      path: new URL(request.url).pathname,
      apikey: headers.get("apikey"),
      schema: headers.get("content-profile"),
      body: await request.text(),
    });
    return await answers[seen.length - 1]!();
  });
  try {
    const call = callThroughApi({ url: `http://127.0.0.1:${server.addr.port}`, key: "sb_secret_0123456789" });
    assertEquals(await call("health", {}, never), { data: true });
    const asked = { path: "/rest/v1/rpc/health", apikey: "sb_secret_0123456789", schema: "metrics", body: "{}" };
    assertEquals(seen, [asked]);
    assertEquals(await call("ingest", { delivery, facts, body: bytes }, never), { code: "22003" });
    assertEquals(JSON.parse(seen[1]!.body!), { delivery, facts, body: "e30=" });
    assertEquals("code" in await call("ingest", {}, never), true);
    const abort = new AbortController();
    setTimeout(() => abort.abort(), 20);
    const started = performance.now();
    assertEquals("code" in await call("ingest", {}, abort.signal), true);
    assertEquals(performance.now() - started < 250, true);
  } finally {
    await server.shutdown();
  }
  const nobody = callThroughApi({ url: `http://127.0.0.1:${server.addr.port}`, key: "sb_secret_0123456789" });
  assertEquals("code" in await nobody("health", {}, never), true);
});
