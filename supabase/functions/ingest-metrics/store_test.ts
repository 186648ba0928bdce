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

const report: Delivery = {
  ...delivery,
  event: "report.junit",
  content_type: null,
  identity: { id: 7, reference: null },
};

Deno.test("a report is committed in one call, or not at all, and the database says why", async () => {
  const { store, calls } = storeOf({ code: "40P01" }, stored);
  assertEquals(await store.report(report, facts, never), { result: "stored", reason: null, facts: { jobs: 1 } });
  assertEquals(calls, Array(2).fill(["ingest", { delivery: report, facts, body: null }]));
  const reasons: [Answer, string, number | undefined][] = [
    [{ code: "28000" }, "identity", undefined],
    [{ code: "42501" }, "scope", undefined],
    [{ code: "PT429", details: "42" }, "rate", 42],
    [{ code: "PT429", details: "soon" }, "rate", undefined],
    [{ code: "PT422" }, "conflict", undefined],
    ...["22023", "23514", "54000", "P0001"].map((code): [Answer, string, undefined] => [{ code }, "facts", undefined]),
  ];
  for (const [answer, refused, seconds] of reasons) {
    const { store, calls } = storeOf(answer, stored);
    assertEquals([await store.report(report, facts, never), calls.length], [{ refused, seconds }, 1]);
  }
  for (const answer of [{ code: "" }, { code: "57014" }, { code: "55P03" }, new Error(), { data: null }]) {
    assertEquals(await storeOf(answer, stored).store.report(report, facts, never), null);
  }
});

Deno.test("identities are the rows that the database gives, or not known", async () => {
  const { store, calls } = storeOf({ data: [{ id: 1 }] }, { data: [] }, { code: "42883" }, new Error(), { data: null });
  const answers = [];
  for (let i = 0; i < 5; i++) answers.push(await store.liveIdentities(never));
  assertEquals(answers, [[{ id: 1 }], [], null, null, null]);
  assertEquals(calls[0], ["live_identities", {}]);
});

/** A store whose calls are answered by hand: the calls under way, and those that were made. */
function storeByHand() {
  // deno-lint-ignore no-explicit-any
  const made: any[] = [];
  const answers: ((answer: Answer) => void)[] = [];
  const names: string[] = [];
  const call: Call = (name, parameters) => {
    names.push(name);
    made.push(parameters["delivery"]);
    return new Promise((answer) => answers.push(answer));
  };
  const store = createStore(call);
  const send = (id: string, signal = never, body = bytes) => {
    return store.ingest({ ...delivery, delivery_id: id }, facts, body, signal);
  };
  return { store, made, names, answers, send };
}

const ids = (made: { delivery: Delivery }[]) => made.map((one) => one.delivery.delivery_id);
/** Lets what was answered go its way. */
const turn = () => new Promise((resolve) => setTimeout(resolve));

/** Takes every session, so that what comes then has to wait. */
async function takeSessions({ made, send }: ReturnType<typeof storeByHand>): Promise<number> {
  for (;;) {
    const before = made.length;
    send("early");
    await turn();
    if (made.length === before) return before;
  }
}

/** Answers all that is under way and all that follows from it. */
async function finish({ answers }: ReturnType<typeof storeByHand>): Promise<void> {
  for (let at = 0; at < answers.length; at++) {
    answers[at]!({ code: "" });
    await turn();
  }
}

Deno.test("deliveries that come while every session is taken go together, in their order", async () => {
  const hand = storeByHand();
  const sessions = await takeSessions(hand);
  // The one that found no session waits as well.
  const later = ["a", "b", "c"].map((id) => hand.send(id));
  hand.answers[0]!(stored);
  await turn();
  assertEquals(ids(hand.made[sessions]), ["early", "a", "b", "c"]);
  const answer = (id: string) => ({ result: "stored", delivery_id: id, facts: { jobs: 1 } });
  // What is left alone is tried by itself, and so is what comes when a session is free.
  hand.answers[sessions]!({ data: [answer("early"), answer("a"), null, answer("c")] });
  await turn();
  assertEquals(hand.made[sessions + 1].delivery_id, "b");
  hand.answers[sessions + 1]!({ data: { result: "duplicate" } });
  assertEquals((await Promise.all(later)).map((one) => one?.result), ["stored", "duplicate", "stored"]);
  await finish(hand);
});

Deno.test("what could be the fault of one is tried by each alone; after anything else nothing was committed", async () => {
  const kinds: [Answer, (string | undefined)[]][] = [
    [{ code: "40P01" }, ["stored", "stored"]],
    [{ code: "55P03" }, ["stored", "stored"]],
    [{ code: "22003" }, ["stored", "stored"]],
    [{ code: "" }, [undefined, undefined]],
    [{ code: "57014" }, [undefined, undefined]],
    [{ data: "nothing that is understood" }, [undefined, undefined]],
  ];
  for (const [answer, results] of kinds) {
    const hand = storeByHand();
    const sessions = await takeSessions(hand);
    const later = ["a", "b"].map((id) => hand.send(id));
    hand.answers[0]!(stored);
    await turn();
    hand.answers[sessions]!(answer);
    for (let count = sessions + 1; count < sessions + 4; count++) {
      await turn();
      hand.answers[count]?.(stored);
    }
    assertEquals((await Promise.all(later)).map((one) => one?.result), results);
    await finish(hand);
  }
});

Deno.test("a delivery that was given up while it waited is not sent, and does not hold up the others", async () => {
  const hand = storeByHand();
  const sessions = await takeSessions(hand);
  const abort = new AbortController();
  const [givenUp, other] = [hand.send("a", abort.signal), hand.send("b")];
  abort.abort();
  assertEquals(await givenUp, null);
  hand.answers[0]!(stored);
  await turn();
  assertEquals(ids(hand.made[sessions]), ["early", "b"]);
  hand.answers[sessions]!({ data: [null, { result: "stored" }] });
  assertEquals((await other)?.result, "stored");
  await finish(hand);
});

Deno.test("deliveries that were given up leave the queue, and those behind them are not forgotten", async () => {
  const hand = storeByHand();
  const sessions = await takeSessions(hand);
  const abort = new AbortController();
  const large = new Uint8Array(200 * 1024);
  const givenUp = Array.from({ length: 5 }, (_, index) => hand.send(`${index}`, abort.signal, large));
  abort.abort();
  assertEquals(await Promise.all(givenUp), Array(5).fill(null));
  const last = hand.send("last", never, large);
  hand.answers[0]!(stored);
  await turn();
  assertEquals(ids(hand.made[sessions]), ["early", "last"]);
  hand.answers[sessions]!({ data: Array(2).fill(stored.data) });
  assertEquals((await last)?.result, "stored");
  await finish(hand);
});

Deno.test("a call that is given up keeps its session until it ends, and no longer", async () => {
  const hand = storeByHand();
  const abort = new AbortController();
  const givenUp = hand.send("given up", abort.signal);
  await turn();
  const sessions = await takeSessions(hand);
  abort.abort();
  assertEquals(await givenUp, null);
  const next = hand.send("next");
  await turn();
  assertEquals(hand.made.length, sessions);
  hand.answers[0]!(stored);
  await turn();
  hand.answers[sessions]!({ data: [{ result: "stored" }, { result: "stored" }] });
  assertEquals((await next)?.result, "stored");
  await finish(hand);
});

Deno.test("one that was given up before it came is answered, and not sent", async () => {
  const hand = storeByHand();
  assertEquals(await hand.send("late", AbortSignal.abort()), null);
  await takeSessions(hand);
  assertEquals(await hand.send("late", AbortSignal.abort()), null);
  assertEquals(hand.made.some((made) => made.delivery_id === "late"), false);
  await finish(hand);
});

Deno.test("what can never go with others goes alone, and health waits for nobody", async () => {
  const hand = storeByHand();
  const sessions = await takeSessions(hand);
  const { store } = hand;
  store.ingest({ ...delivery, delivery_id: "push" }, { pushes: [] }, bytes, never);
  store.ingest({ ...delivery, delivery_id: "odd", result: "quarantined" }, {}, bytes, never);
  store.ingest({ ...delivery, delivery_id: "ignored", result: "ignored" }, {}, null, never);
  store.health(never);
  await turn();
  assertEquals(hand.names.at(-1), "health");
  for (let at = 0; at < hand.answers.length; at++) {
    hand.answers[at]!(stored);
    await turn();
  }
  const later = hand.made.slice(sessions).filter(Boolean).map((made) =>
    Array.isArray(made) ? ids(made) : made.delivery_id
  );
  assertEquals(later, [["early", "ignored"], "push", "odd"]);
});

Deno.test("only so many deliveries, and so many bytes, go together", async () => {
  const hand = storeByHand();
  const sessions = await takeSessions(hand);
  for (let count = 0; count < 40; count++) hand.send(`${count}`);
  hand.answers[0]!(stored);
  await turn();
  assertEquals(hand.made[sessions].length, 16);
  await finish(hand);
  const large = storeByHand();
  await takeSessions(large);
  for (const id of ["a", "b", "c"]) large.send(id, never, new Uint8Array(200 * 1024));
  large.answers[0]!(stored);
  await turn();
  assertEquals(ids(large.made[sessions]), ["early", "a"]);
  large.answers[1]!(stored);
  await turn();
  assertEquals(large.made[sessions + 1].delivery_id, "b");
  await finish(large);
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
    () => Response.json({ code: "PT429", message: "m", details: "42", hint: null }, { status: 429 }),
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
    assertEquals(await call("ingest", {}, never), { code: "PT429", details: "42" });
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
