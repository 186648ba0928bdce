import { assert, assertEquals, assertMatch } from "@std/assert";
import { createHandler } from "./handler.ts";
import { LARGE } from "./receive.ts";
import type { Committed } from "./store.ts";
import { ADDRESS, decodeBody, FakeStore, githubExample, SECRET, signature, testHandler, webhook } from "./testing.ts";

async function told(response: Response) {
  const type = response.headers.get("content-type");
  const body = await response.json();
  assertEquals(type, response.status < 400 ? "application/json" : "application/problem+json");
  if (response.status >= 400) {
    assertEquals(Object.keys(body), ["type", "title", "status", "detail", "code"]);
    assertEquals(body.status, response.status);
  }
  return { status: response.status, body, code: body.code as string | undefined, headers: response.headers };
}

const job = await githubExample("workflow_job", 1);

Deno.test("a job is stored: facts, delivery and the signed bytes go to the store, the counts to the sender", async () => {
  const { handler, store, lines } = testHandler();
  const text = JSON.stringify(job, null, 1);
  const { status, body } = await told(
    await handler(await webhook(text, { id: "11111111-2222-3333-4444-555555555555" })),
  );
  assertEquals([status, body], [200, { result: "stored", facts: { repositories: 1, jobs: 1 } }]);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
  assertEquals(store.last.delivery, {
    source: "github",
    delivery_id: "11111111-2222-3333-4444-555555555555",
    event: "workflow_job.completed",
    sha256: [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join(""),
    size: text.length,
    content_type: "application/json",
    result: "stored",
    reason: null,
    notes: [],
  });
  assertEquals(decodeBody(store.last), text);
  const { ms, ...line } = lines[0]!;
  assert(Number.isInteger(ms));
  assertEquals(line, {
    level: "info",
    message: "request",
    method: "POST",
    route: "source",
    source: "github",
    report: null,
    event: "workflow_job",
    status: 200,
    result: "stored",
    bytes: text.length,
    facts: { repositories: 1, jobs: 1 },
  });
});

Deno.test("the platform may leave its prefix on the path or take it off", async () => {
  const { handler, store } = testHandler();
  for (const address of [ADDRESS, "http://localhost:8000/ingest-metrics"]) {
    const request = await webhook(job);
    const moved = new Request(`${address}/github?forceFunctionRegion=eu-west-1`, request);
    assertEquals((await told(await handler(moved))).status, 200);
  }
  assertEquals(store.kept.length, 2);
});

Deno.test("an unknown source, one without a secret and one that is disabled are told the same", async () => {
  const { handler, store, configuration } = testHandler({ INGEST_SECRET_GITHUB_SHORT: "short" });
  const answers = [];
  const paths = [
    "/gitlab",
    "/github-acme",
    "/github-short",
    "/nobody",
    "/nobody/junit",
    "/github/junit/1",
    "/health/junit",
    "/github/",
    "/",
    "",
    "/GITHUB",
    "/git%68ub",
    "/../github",
  ];
  for (const path of paths) {
    for (const method of ["POST", "GET", "PUT", "OPTIONS"]) {
      const response = await handler(await webhook(job, { path, method }));
      answers.push(JSON.stringify([response.status, [...response.headers], await response.text()]));
    }
  }
  assertEquals(new Set(answers).size, 1);
  assertMatch(answers[0]!, /^\[404,.*There is no such source/);
  assertEquals(store.kept.length, 0);
  assert(!configuration.sources.has("github-short"));
});

Deno.test("every other method is refused with the one that is allowed", async () => {
  const { handler } = testHandler();
  for (const method of ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"]) {
    const response = await handler(await webhook(job, { method }));
    assertEquals([response.status, response.headers.get("allow")], [405, "POST"], method);
    const health = await handler(new Request(`${ADDRESS}/health`, { method: method === "GET" ? "POST" : method }));
    assertEquals([health.status, health.headers.get("allow")], [405, "GET"]);
  }
});

Deno.test("without well-formed credentials no body is read", async () => {
  const { handler, store } = testHandler();
  for (const header of [null, "", "sha256=", "sha256=zz", `sha1=${"0".repeat(40)}`, "0".repeat(64)]) {
    let isRead = false;
    const body = new ReadableStream({ pull: () => void (isRead = true) }, { highWaterMark: 0 });
    const headers: Record<string, string> = { "content-type": "application/json", "x-github-event": "ping" };
    if (header !== null) headers["x-hub-signature-256"] = header;
    const response = await told(await handler(new Request(`${ADDRESS}/github`, { method: "POST", headers, body })));
    assertEquals([response.status, response.code, isRead], [401, "credentials_missing", false]);
    assertEquals(response.headers.get("www-authenticate"), 'HMAC-SHA256 header="x-hub-signature-256"');
  }
  assertEquals(store.kept.length, 0);
});

Deno.test("a wrong signature leaves nothing", async () => {
  const { handler, store, lines } = testHandler();
  const wrong = [
    await webhook(job, { secret: "another secret, long enough" }),
    await webhook(job, { headers: { "x-hub-signature-256": await signature("{}") } }),
    await webhook(job, { headers: { "x-hub-signature-256": `sha256=${"0".repeat(64)}` } }),
    await webhook("", { secret: "another secret, long enough" }),
  ];
  for (const request of wrong) {
    const response = await told(await handler(request));
    assertEquals([response.status, response.code], [401, "credentials_wrong"]);
  }
  assertEquals(store.kept.length, 0);
  assertEquals(lines.map((line) => [line.status, line.event, line.result]), wrong.map(() => [401, null, null]));
});

Deno.test("two secrets are accepted while one takes the other's place, then only the new one", async () => {
  const [old, live] = ["the old secret of this hook", "the new secret of this hook"];
  const during = testHandler({ INGEST_SECRET_GITHUB: `${live},${old}` }).handler;
  const after = testHandler({ INGEST_SECRET_GITHUB: live }).handler;
  const status = async (handler: typeof during, secret: string) =>
    (await handler(await webhook(job, { secret }))).status;
  assertEquals([await status(during, old), await status(during, live)], [200, 200]);
  assertEquals([await status(after, old), await status(after, live)], [401, 200]);
});

Deno.test("instances of a provider are apart: secret, source and references", async () => {
  const { handler, store } = testHandler({ INGEST_SECRET_GITHUB_ACME: "the secret of another company" });
  const request = () => webhook(job, { path: "/github-acme", secret: "the secret of another company" });
  assertEquals((await handler(await request())).status, 200);
  assertEquals(store.last.delivery.source, "github-acme");
  assertEquals(store.last.facts.jobs![0]!.repository, `github-acme:${job.repository.id}`);
  assertEquals((await handler(await webhook(job, { path: "/github-acme" }))).status, 401);
});

Deno.test("only the content types that the source sends are taken", async () => {
  const { handler } = testHandler();
  for (
    const type of [
      null,
      "",
      "text/plain",
      "application/xml",
      "application/jsonx",
      "multipart/form-data; boundary=a",
      "application/json, text/plain",
    ]
  ) {
    const response = await told(await handler(await webhook(job, { headers: { "content-type": type } })));
    assertEquals([response.status, response.code], [415, "content_type"], String(type));
    assertEquals(response.headers.get("accept"), "application/json, application/x-www-form-urlencoded");
  }
  for (const type of ["application/json; charset=utf-8", "Application/JSON", " application/json ;x=y"]) {
    assertEquals((await handler(await webhook(job, { headers: { "content-type": type } }))).status, 200, type);
  }
});

Deno.test("a sender that stops sending to who refuses is never refused for a content type", async () => {
  const { handler, store } = testHandler({ INGEST_SECRET_GITLAB: SECRET, INGEST_SECRET_PAGERDUTY: SECRET });
  const push = { object_kind: "push", ref: "refs/heads/main", before: "0".repeat(40), after: "1".repeat(40) };
  const body = JSON.stringify({ ...push, project: { id: 71 } });
  const ping = JSON.stringify({ event: { event_type: "pagey.ping" } });
  const send = async (path: string, headers: Record<string, string>, body: string, type: string | null) => {
    const request = new Request(`${ADDRESS}${path}`, { method: "POST", headers, body });
    request.headers.delete("content-type");
    if (type !== null) request.headers.set("content-type", type);
    const response = await handler(request);
    return [response.status, (await response.json()).result ?? null];
  };
  const gitlab = { "x-gitlab-event": "Push Hook", "x-gitlab-token": SECRET };
  const pagerduty = { "x-pagerduty-signature": (await signature(ping)).replace("sha256=", "v1=") };
  for (const type of [null, "", "text/plain", "application/xml", "application/x-www-form-urlencoded"]) {
    assertEquals(await send("/gitlab", gitlab, body, type), [200, "stored"], String(type));
    assertEquals(store.last.delivery.content_type, "application/json");
    assertEquals(await send("/gitlab", gitlab, "payload=%7B%7D", type), [202, "quarantined"], String(type));
    assertEquals(await send("/pagerduty", pagerduty, ping, type), [202, "ignored"], String(type));
    // What proves nothing is refused all the same.
    const before = store.kept.length;
    assertEquals(await send("/gitlab", { ...gitlab, "x-gitlab-token": "another" }, body, type), [401, null]);
    assertEquals(await send("/pagerduty", { "x-pagerduty-signature": "v1=0" }, ping, type), [401, null]);
    assertEquals(store.kept.length, before);
  }
});

Deno.test("a form carries the same facts, and its signature is over the form", async () => {
  const { handler, store } = testHandler();
  const form = `payload=${encodeURIComponent(JSON.stringify(job)).replaceAll("%20", "+")}`;
  const headers = { "content-type": "application/x-www-form-urlencoded" };
  assertEquals((await handler(await webhook(form, { headers }))).status, 200);
  const { facts } = store.last;
  assertEquals([decodeBody(store.last), store.last.delivery.content_type], [form, "application/x-www-form-urlencoded"]);
  await handler(await webhook(job));
  assertEquals(store.last.facts, facts);
});

Deno.test("a body above the limit is refused by what it declares, and by what comes", async () => {
  const { handler, store } = testHandler({ INGEST_MAX_BYTES: "1000" });
  const fits = `{"zen":"${"z".repeat(990 - 10)}"}`.padEnd(1000);
  assertEquals((await handler(await webhook(fits, { event: "ping" }))).status, 202);
  let isRead = false;
  const untouched = new ReadableStream({ pull: () => void (isRead = true) }, { highWaterMark: 0 });
  const declared = await webhook(fits, { headers: { "content-length": "1001" } });
  const early = await told(await handler(new Request(declared, { body: untouched })));
  assertEquals([early.status, early.code, isRead], [413, "too_large", false]);
  for (const length of [null, "10"]) {
    const late = await told(await handler(await webhook(`${fits} `, { headers: { "content-length": length } })));
    assertEquals([late.status, late.code], [413, "too_large"]);
  }
  assertEquals(store.kept.length, 1);
});

Deno.test("a body that comes too slowly, or ends with an error, is given up", async () => {
  const { handler, store } = testHandler({}, { bodyTimeoutMs: 40 });
  const request = await webhook(job, { headers: { "content-length": null } });
  let timer: ReturnType<typeof setInterval> | undefined;
  const slow = new ReadableStream({
    start: (controller) => void (timer = setInterval(() => controller.enqueue(new Uint8Array([32])), 5)),
    cancel: () => clearInterval(timer),
  });
  const started = performance.now();
  const late = await told(await handler(new Request(request.clone(), { body: slow })));
  assertEquals([late.status, late.code], [408, "too_slow"]);
  assert(performance.now() - started < 1000);
  const broken = new ReadableStream({ pull: (controller) => controller.error(new Error("connection reset")) });
  const ended = await told(await handler(new Request(request, { body: broken })));
  assertEquals([ended.status, ended.code], [400, "incomplete"]);
  assertEquals(store.kept.length, 0);
});

Deno.test("a webhook that proved itself is never answered 4xx: what is not understood is kept whole", async () => {
  const { handler, store } = testHandler();
  const odd: [string | Uint8Array, string][] = [
    ["", "body: not JSON"],
    ["Hello, World!", "body: not JSON"],
    ['{"action":', "body: not JSON"],
    [new Uint8Array([0xff, 0xfe, 0x00]), "body: not UTF-8"],
    ["[]", "body: not an object"],
    ["null", "body: not an object"],
    ["{}", "repository: invalid_type, workflow_job: invalid_type"],
    [JSON.stringify({ ...job, repository: null }), "repository: invalid_type"],
    [JSON.stringify({ ...job, workflow_job: { ...job.workflow_job, id: "secret" } }), "workflow_job.id: invalid_type"],
    [JSON.stringify({ ...job, workflow_job: { ...job.workflow_job, id: 2 ** 60 } }), "workflow_job.id: too_big"],
    [
      JSON.stringify({ ...job, workflow_job: { ...job.workflow_job, steps: [{ name: 1 }] } }),
      "workflow_job.steps[0].name: invalid_type",
    ],
  ];
  for (const [body, reason] of odd) {
    const response = await told(await handler(await webhook(body)));
    assertEquals([response.status, response.body], [202, { result: "quarantined", reason }]);
    const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
    assertEquals(store.last.body, bytes);
    assertEquals([store.last.facts, store.last.delivery.result, store.last.delivery.size], [
      {},
      "quarantined",
      bytes.length,
    ]);
  }
});

Deno.test("an event that carries no fact is ignored with its reason, and its body is not kept", async () => {
  const { handler, store } = testHandler();
  for (const event of ["ping", "check_run", "an_event_of_next_year"]) {
    const response = await told(await handler(await webhook({ zen: "Design for failure.", hook_id: 1 }, { event })));
    assertEquals([response.status, response.body.result, store.last.body], [202, "ignored", null]);
    assertEquals(store.last.delivery.content_type, null);
    assert(response.body.reason.length > 10);
  }
});

Deno.test("headers that are not the provider's put an authentic delivery into quarantine", async () => {
  const { handler, store, lines } = testHandler();
  const headers: Record<string, string>[] = [{ "x-gitea-event": "push" }, { "x-forgejo-event": "push" }, {
    "x-github-event": "../../etc",
  }];
  for (
    const request of [
      await webhook(job, { event: null }),
      ...await Promise.all(headers.map((one) => webhook(job, { headers: one }))),
    ]
  ) {
    const { status, body } = await told(await handler(request));
    assertEquals([status, body], [202, { result: "quarantined", reason: "headers: not in this provider's manner" }]);
    assertEquals([store.last.delivery.event, lines.at(-1)!.event], [null, null]);
  }
});

Deno.test("a delivery without a usable id is known by its bytes", async () => {
  const { handler, store } = testHandler();
  for (const id of [null, "", "a b", "x".repeat(300), "1#0123456789ab"]) {
    await handler(await webhook(job, { id }));
    assertEquals(store.last.delivery.delivery_id, `sha256:${store.last.delivery.sha256}`);
  }
});

Deno.test("the answer is what the database made of it", async () => {
  const { handler, store } = testHandler();
  const answers: [Committed, number, object][] = [
    [{ result: "duplicate", reason: null, facts: {} }, 200, { result: "duplicate" }],
    [{ result: "stored", reason: null, facts: { jobs: 1 } }, 200, { result: "stored", facts: { jobs: 1 } }],
    [{ result: "quarantined", reason: "conflict" }, 202, { result: "quarantined", reason: "conflict" }],
    [{ result: "ignored", reason: "ping" }, 202, { result: "ignored", reason: "ping" }],
  ];
  for (const [committed, status, body] of answers) {
    store.answer = () => committed;
    const response = await told(await handler(await webhook(job)));
    assertEquals([response.status, response.body], [status, body]);
  }
});

Deno.test("what is not committed is answered 503, and in time", async () => {
  const failing: FakeStore["answer"][] = [
    () => null,
    () => Promise.reject(new Error("select secret from vault")),
    () => {
      throw new Error("bug");
    },
  ];
  for (const answer of failing) {
    const { handler, store } = testHandler();
    store.answer = answer;
    const response = await told(await handler(await webhook(job)));
    assertEquals([response.status, response.code, response.headers.get("retry-after")], [503, "unavailable", "10"]);
  }
  const store = new FakeStore();
  const hanging = {
    health: () => Promise.resolve(true),
    report: () => Promise.resolve(null),
    liveIdentities: () => Promise.resolve(null),
    ingest: (_delivery: unknown, _facts: unknown, _body: unknown, signal: AbortSignal) =>
      new Promise<null>((resolve) => signal.addEventListener("abort", () => resolve(null))),
  };
  const { configuration } = testHandler();
  const handler = createHandler({ configuration, store: hanging, log: () => {}, answerTimeoutMs: 30 });
  assertEquals((await told(await handler(await webhook(job)))).code, "unavailable");
  assertEquals(store.kept.length, 0);
});

Deno.test("fields that carry payloads are removed before a body is kept, whatever becomes of the delivery", async () => {
  const { handler, store } = testHandler();
  const deployment = await githubExample("deployment_status", 0);
  deployment.deployment.payload = { token: "canary" };
  deployment.client_payload = "canary";
  deployment.inputs = { token: "canary" };
  deployment.check_run = { deployment: { payload: ["canary"] } };
  const broken = { ...deployment, repository: "canary in a place that cannot be known" };
  for (const type of ["application/json", "application/x-www-form-urlencoded"]) {
    for (const [body, result] of [[deployment, "stored"], [{ ...broken, repository: 1 }, "quarantined"]] as const) {
      const text = JSON.stringify(body);
      const bytes = type === "application/json" ? text : `payload=${encodeURIComponent(text)}`;
      await handler(await webhook(bytes, { event: "deployment_status", headers: { "content-type": type } }));
      assertEquals([store.last.delivery.result, store.last.delivery.size], [result, bytes.length]);
      assert(!JSON.stringify(store.last).includes("canary") && !decodeBody(store.last).includes("canary"));
      const kept = type === "application/json"
        ? decodeBody(store.last)
        : new URLSearchParams(decodeBody(store.last)).get("payload")!;
      assertEquals(JSON.parse(kept).deployment.id, deployment.deployment.id);
    }
  }
});

Deno.test("what hides behind a name that comes twice is not kept, either", async () => {
  const { handler, store } = testHandler();
  const deployment = await githubExample("deployment_status", 0);
  const text = `{"inputs":"canary","deployment":{"payload":"canary"},${
    JSON.stringify({ ...deployment, inputs: null }).slice(1)
  }`;
  await handler(await webhook(text, { event: "deployment_status" }));
  assertEquals([store.last.delivery.result, store.last.delivery.size], ["stored", text.length]);
  assertEquals(JSON.parse(decodeBody(store.last)), { ...deployment, inputs: null });
  assert(!decodeBody(store.last).includes("canary"));
});

Deno.test("answers and logs hold nothing of a request", async () => {
  const { handler, store, lines } = testHandler();
  const canary = "canary0123456789";
  const answers = [];
  const strange = {
    ...job,
    action: canary,
    [canary]: canary,
    workflow_job: { ...job.workflow_job, name: 7, [canary]: canary },
  };
  const requests = [
    await webhook(strange, { headers: { "user-agent": canary } }),
    await webhook(job, { secret: canary }),
    await webhook(canary, { event: canary, id: canary }),
    await webhook(job, { event: canary, path: `/${canary}` }),
    await webhook(job, { headers: { "content-type": canary } }),
    new Request(`${ADDRESS}/github`, { method: "CANARY0123456789", headers: { "x-canary": canary } }),
  ];
  for (const request of requests) {
    const response = await handler(request);
    answers.push(await response.text(), ...[...response.headers].flat());
  }
  store.answer = () => Promise.reject(new Error(canary));
  answers.push(await (await handler(await webhook(job))).text());
  const seen = JSON.stringify([answers, lines]).toLowerCase();
  assert(!seen.includes("canary") && !seen.includes(SECRET.toLowerCase()) && !seen.includes("0123456789"));
});

Deno.test("health is asked at most every five seconds", async () => {
  const { handler, store } = testHandler();
  const health = async () => await told(await handler(new Request(`${ADDRESS}/health`)));
  const [first] = await Promise.all([health(), health(), health()]);
  assertEquals([first!.status, first!.body, store.healthCalls], [200, { healthy: true }, 1]);
  store.healthy = false;
  assertEquals([(await health()).status, store.healthCalls], [200, 1]);
  const ill = testHandler();
  ill.store.healthy = false;
  const response = await told(await ill.handler(new Request(`${ADDRESS}/health`)));
  assertEquals([response.status, response.code, response.headers.get("retry-after")], [503, "unhealthy", "10"]);
});

Deno.test("large bodies are worked on one at a time, and small ones do not wait for them", async () => {
  const { handler, store } = testHandler();
  const large = JSON.stringify(job).padEnd(LARGE + 1);
  let working = 0;
  let most = 0;
  store.answer = async ({ delivery }) => {
    if (delivery.size > LARGE) most = Math.max(most, ++working);
    await new Promise((resolve) => setTimeout(resolve, delivery.size > LARGE ? 20 : 0));
    if (delivery.size > LARGE) working--;
    return { result: "stored", facts: {} };
  };
  const requests = await Promise.all(Array.from({ length: 6 }, () => webhook(large)));
  const all = Promise.all(requests.map(async (request) => (await handler(request)).status));
  const started = performance.now();
  assertEquals((await handler(await webhook(job))).status, 200);
  const waited = performance.now() - started;
  assertEquals([await all, most], [Array(6).fill(200), 1]);
  assert(waited < 100);
});

Deno.test("a large body that finds no slot in time is answered 503, and its slot is not lost", async () => {
  const { handler, store } = testHandler({}, { bodyTimeoutMs: 30, answerTimeoutMs: 30 });
  const large = JSON.stringify(job).padEnd(LARGE + 1);
  let isHeld = true;
  store.answer = async () => {
    while (isHeld) await new Promise((resolve) => setTimeout(resolve, 5));
    return { result: "stored", facts: {} };
  };
  const held = handler(await webhook(large));
  const refused = await Promise.all(
    Array.from({ length: 4 }, async () => (await told(await handler(await webhook(large)))).code),
  );
  assertEquals(refused, Array(4).fill("busy"));
  isHeld = false;
  assertEquals((await held).status, 200);
  assertEquals((await handler(await webhook(large))).status, 200);
});
