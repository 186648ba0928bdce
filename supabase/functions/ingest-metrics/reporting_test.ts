import { assert, assertEquals } from "@std/assert";
import { createHash } from "node:crypto";
import { createIdentities } from "./identities.ts";
import { TestIssuer, unsigned } from "./identity/testing.ts";
import { LARGE } from "./receive.ts";
import { reports } from "./reports/mod.ts";
import { ADDRESS, SECRET, testHandler, webhook } from "./testing.ts";

const token = `mtr_1_${"a".repeat(43)}`;
const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");
const sha = "0f3c1d2e4b5a69788796a5b4c3d2e1f001122334";
const junit =
  '<testsuite name="unit" tests="2"><testcase name="adds"/><testcase name="divides"><failure/></testcase></testsuite>';
const deployment = JSON.stringify({
  kind: "deployments",
  external_id: "7",
  environment: "production",
  environment_tier: "production",
  status: "finished",
  outcome: "success",
});

const common = {
  audience: null,
  sources: ["github"],
  repositories: null,
  fact_kinds: ["test_runs", "test_cases", "rule_checks", "measurements"],
  calls_per_minute: 60,
  expires_at: null,
};
const tokenRow = {
  ...common,
  id: 1,
  kind: "token",
  provider: null,
  issuer: null,
  claims: {},
  token_sha256: sha256(token),
};
const oidcRow = (issuer: TestIssuer, more: object = {}) => ({
  ...common,
  id: 2,
  kind: "oidc",
  provider: "github",
  issuer: issuer.url,
  claims: { repository_id: "42" },
  token_sha256: null,
  ...more,
});

/** What a GitHub job on `main` is told about itself. */
const claims = {
  aud: ADDRESS,
  repository: "acme/app",
  repository_id: "42",
  event_name: "push",
  ref: "refs/heads/main",
  sha,
  run_id: "100",
  run_attempt: "1",
  workflow: "CI",
  check_run_id: "555",
};

interface Sent {
  path?: string;
  query?: string;
  method?: string;
  headers?: Record<string, string | null>;
  body?: BodyInit;
}

/** A handler over these identities. */
function reporter(rows: object[] | null = [tokenRow], environment: Record<string, string> = {}, options = {}) {
  const tested = testHandler({
    SUPABASE_URL: "https://project.test",
    SUPABASE_SECRET_KEYS: '{"a":"k"}',
    ...environment,
  }, options);
  tested.store.identities = rows;
  const post = async (bearer: string | null, sent: Sent = {}) => {
    const { path = "/github/junit", query = "?repository=github:42&run=1", method = "POST", body = junit } = sent;
    const headers = new Headers({ "content-type": "application/xml" });
    if (bearer !== null) headers.set("authorization", `Bearer ${bearer}`);
    for (const [name, value] of Object.entries(sent.headers ?? {})) {
      if (value === null) headers.delete(name);
      else headers.set(name, value);
    }
    const init = { method, headers, ...(method === "GET" || method === "HEAD" ? {} : { body }) };
    const started = performance.now();
    const response = await tested.handler(new Request(`${ADDRESS}${path}${query}`, init));
    assert(performance.now() - started < 2000, "no answer takes 2 s");
    const told = response.headers.get("content-type") === null ? null : await response.json();
    return { status: response.status, code: told?.code, told, headers: response.headers };
  };
  return { ...tested, post };
}

Deno.test("a report is stored: its facts and a delivery of its identity, and no body", async () => {
  const { post, store, lines } = reporter();
  const { status, told } = await post(token, { query: `?repository=github:42&commit=${sha}&job=test` });
  assertEquals([status, told.result, told.facts.test_runs], [200, "stored", 1]);
  const { delivery, facts, body } = store.last;
  assertEquals(facts.test_runs!.map((one) => [one.repository, one.commit_sha, one.job, one.failed_count]), [
    ["github:42", sha, "test", 1],
  ]);
  assertEquals(body, null);
  assertEquals({ ...delivery, delivery_id: delivery.delivery_id.replace(/[0-9a-f]{64}$/, "…") }, {
    source: "github",
    delivery_id: "sha256:…",
    event: "report.junit",
    sha256: sha256(junit),
    size: junit.length,
    content_type: null,
    result: "stored",
    reason: null,
    notes: [],
    identity: { id: 1, reference: null },
  });
  const { ms, facts: counts, ...line } = lines[0]!;
  assert(Number.isInteger(ms));
  assertEquals(counts, told.facts);
  assertEquals(line, {
    level: "info",
    message: "request",
    method: "POST",
    route: "report",
    source: "github",
    report: "junit",
    event: null,
    status: 200,
    result: "stored",
    bytes: junit.length,
  });
});

Deno.test("a job's token says what it is about, and a parameter may not say otherwise", async () => {
  await using issuer = await TestIssuer.start();
  const { post, store } = reporter([oidcRow(issuer)]);
  const bearer = await issuer.sign(claims);
  assertEquals((await post(bearer, { query: "?suite=unit" })).status, 200);
  const [run] = store.last.facts.test_runs!;
  assertEquals([run!.repository, run!.commit_sha, run!.branch, run!.pipeline], ["github:42", sha, "main", "CI"]);
  assertEquals(store.last.delivery.identity, { id: 2, reference: "github:42" });
  for (
    const query of [
      "?repository=github:43&run=1",
      `?commit=${sha.replace("0", "1")}`,
      "?attempt=2",
      "?run=7&branch=main",
    ]
  ) {
    const { status, code, told } = await post(bearer, { query });
    const [{ place, code: why }] = told.errors;
    assertEquals([status, code, why], [403, "not_allowed", "credentials_say_otherwise"], query);
    assertEquals(place, query.slice(1).split("=")[0]);
  }
  assertEquals((await post(bearer, { query: `?repository=github:42&commit=${sha}&attempt=1` })).status, 200);
  assertEquals(store.kept.length, 2);
});

Deno.test("the same report again has the same id, and any other has another", async () => {
  await using issuer = await TestIssuer.start();
  const { post, store } = reporter([tokenRow, oidcRow(issuer, { fact_kinds: [...common.fact_kinds, "deployments"] })]);
  const id = async (bearer: string, sent: Sent = {}) => {
    assertEquals((await post(bearer, sent)).status, 200);
    return store.last.delivery.delivery_id;
  };
  const now = Math.floor(Date.now() / 1000);
  const ids = [
    await id(token),
    await id(token, { query: "?repository=github:43&run=1" }),
    await id(token, { query: "?repository=github:42&run=1&suite=a" }),
    await id(token, { body: `${junit} ` }),
    await id(await issuer.sign(claims), { query: "" }),
    await id(await issuer.sign({ ...claims, run_attempt: "2" }), { query: "" }),
    await id(token, { headers: { "idempotency-key": "k" } }),
    await id(token, { headers: { "idempotency-key": "k" }, query: "?repository=github:43&run=1" }),
    await id(await issuer.sign(claims), { query: "", headers: { "idempotency-key": "k" } }),
    await id(token, { headers: { "idempotency-key": "x".repeat(255) } }),
  ];
  assertEquals(new Set(ids).size, ids.length);
  assert(ids.every((one) => one.length <= 300));
  assertEquals(await id(token), ids[0]);
  assertEquals(await id(token, { body: `${junit}  `, headers: { "idempotency-key": "k" } }), ids[6]);
  // Credentials of another minute are the same job's.
  assertEquals(await id(await issuer.sign({ ...claims, iat: now - 30 }), { query: "" }), ids[4]);
});

Deno.test("refusals come in order, and before the body is read", async () => {
  const { post, store } = reporter([tokenRow]);
  const cases: [string, string | null, Sent, number, string][] = [
    ["no such provider", null, { path: "/nobody/nothing", method: "GET" }, 404, "not_found"],
    ["nobody may report there", null, { path: "/github-acme/nothing", method: "GET" }, 404, "not_found"],
    ["no such report", null, { path: "/github/nothing", method: "GET" }, 404, "no_such_report"],
    ["constructor", token, { path: "/github/constructor" }, 404, "no_such_report"],
    ["method", null, { method: "GET" }, 405, "method_not_allowed"],
    ["no handshake for reports", null, { method: "OPTIONS" }, 405, "method_not_allowed"],
    ["no credentials", null, { headers: { "content-type": null } }, 401, "credentials_missing"],
    ["malformed credentials", "mtr_1_x", {}, 401, "credentials_missing"],
    ["wrong credentials", token.replace("_1_", "_2_"), { headers: { "content-type": null } }, 401, "credentials_wrong"],
    ["content type", token, { headers: { "content-type": "image/png" }, query: "?sha=1" }, 415, "report_type"],
    ["key", token, { headers: { "idempotency-key": "a b" } }, 400, "parameters"],
    ["empty key", token, { headers: { "idempotency-key": "" } }, 400, "parameters"],
    ["long key", token, { headers: { "idempotency-key": "x".repeat(256) } }, 400, "parameters"],
    ["parameters", token, { query: "?commit=main" }, 400, "parameters"],
    ["no repository", token, { query: "?run=1" }, 400, "parameters"],
    ["declared size", token, { headers: { "content-length": "99999999" } }, 413, "report_too_large"],
  ];
  for (const [name, bearer, sent, status, code] of cases) {
    let isRead = false;
    const body = new ReadableStream({ pull: () => void (isRead = true) }, { highWaterMark: 0 });
    const answer = await post(bearer, { ...sent, body });
    assertEquals([answer.status, answer.code, isRead], [status, code, false], name);
    const challenge = answer.headers.get("www-authenticate");
    assertEquals(challenge?.split(" ")[0], status === 401 ? "Bearer" : undefined, name);
  }
  assertEquals((await post(null, { method: "GET" })).headers.get("allow"), "POST");
  assertEquals(
    (await post(token, { headers: { "content-type": "image/png" } })).headers.get("accept"),
    "application/xml, text/xml",
  );
  const { told } = await post(null, { path: "/github/nothing" });
  assertEquals(told.errors[0].detail, `Reports are ${[...reports.keys()].join(", ")}.`);
  assertEquals(store.kept.length, 0);
});

Deno.test("a source without a secret takes reports once an identity may report to it, and no webhook", async () => {
  const { handler, post, store } = reporter([{ ...tokenRow, sources: ["github-acme"] }]);
  const path = "/github-acme/junit";
  assertEquals((await post(token, { path, query: "?repository=github-acme:1&run=1" })).status, 200);
  assertEquals((await post(null, { path })).status, 401);
  const hook = await handler(await webhook({}, { path: "/github-acme", secret: SECRET }));
  assertEquals([hook.status, (await hook.json()).code], [401, "credentials_missing"]);
  assertEquals((await handler(await webhook({}, { path: "/github-acme", method: "GET" }))).status, 405);
  assertEquals((await post(token, { path: "/github-other/junit" })).status, 404);
  // The token is good, and not for a source that has only a secret.
  assertEquals((await post(token)).code, "not_allowed");
  assertEquals(store.kept.length, 1);
});

Deno.test("tokens of other times, places and keys are answered each as they should be", async () => {
  await using issuer = await TestIssuer.start("RS256");
  await using stranger = await TestIssuer.start();
  const { post, store } = reporter([oidcRow(issuer)]);
  const now = Math.floor(Date.now() / 1000);
  const hmac = new TextEncoder().encode(JSON.stringify(await crypto.subtle.exportKey("jwk", issuer.publicKey)));
  const { repository_id: _, ...nameless } = claims;
  const cases: [string, string, number, string][] = [
    ["right", await issuer.sign(claims), 200, "-"],
    ["wrong audience", await issuer.sign({ ...claims, aud: "https://other.test" }), 401, "credentials_wrong"],
    ["expired", await issuer.sign({ ...claims, exp: now - 61 }), 401, "credentials_wrong"],
    ["not yet valid", await issuer.sign({ ...claims, nbf: now + 70 }), 401, "credentials_wrong"],
    ["alg none", unsigned({ ...claims, iss: issuer.url, exp: now + 300 }), 401, "credentials_wrong"],
    ["HS256 with the public key", await issuer.sign(claims, { alg: "HS256", key: hmac }), 401, "credentials_wrong"],
    ["unknown key", await issuer.sign(claims, { kid: "none" }), 401, "credentials_wrong"],
    ["unlisted issuer", await stranger.sign(claims), 401, "credentials_wrong"],
    [
      "another repository",
      await issuer.sign({ ...claims, repository: "acme/other", repository_id: "43" }),
      403,
      "not_allowed",
    ],
    ["the name registered again", await issuer.sign({ ...claims, repository_id: "44" }), 403, "not_allowed"],
    ["no repository id", await issuer.sign(nameless), 403, "not_allowed"],
  ];
  for (const [name, bearer, status, code] of cases) {
    const answer = await post(bearer, { query: "" });
    assertEquals([answer.status, answer.code ?? "-"], [status, code], name);
  }
  assertEquals(stranger.requests, []);
  assertEquals(store.kept.length, 1);
});

Deno.test("a database and an issuer that are both slow do not make an answer slower together", async () => {
  await using issuer = await TestIssuer.start();
  const late = <T>(answer: T) => new Promise<T>((resolve) => setTimeout(() => resolve(answer), 1200));
  issuer.answer = (path) =>
    path === "/keys" ? undefined : late(Response.json({ issuer: issuer.url, jwks_uri: `${issuer.url}/keys` }));
  const row = oidcRow(issuer, { sources: ["github-acme"] });
  const store = { liveIdentities: () => late([row]) };
  const { post } = reporter([], {}, { identities: createIdentities(store, ADDRESS) });
  const sent = { path: "/github-acme/junit", query: "" };
  const bearer = await issuer.sign(claims);
  const first = await post(bearer, sent);
  assertEquals([first.status, first.code], [503, "issuer_unavailable"]);
  assertEquals((await post(bearer, sent)).status, 200, "what was asked for is not asked for again");
});

Deno.test("a second identity of an issuer that is in use is known after a second, like a first one", async () => {
  await using issuer = await TestIssuer.start();
  const clock = { now: Date.now() };
  const rows = { list: [oidcRow(issuer)] };
  const identities = createIdentities({ liveIdentities: () => Promise.resolve(rows.list) }, ADDRESS, () => clock.now);
  const { post, store } = reporter([], {}, { identities });
  const tell = async () =>
    await post(await issuer.sign(claims), {
      path: "/github/facts",
      headers: { "content-type": "application/json" },
      body: deployment,
      query: "",
    });
  assertEquals((await tell()).code, "not_allowed");
  rows.list = [...rows.list, oidcRow(issuer, { id: 3, fact_kinds: ["deployments"] })];
  clock.now += 1000;
  assertEquals((await tell()).status, 200);
  assertEquals(store.last.delivery.identity, { id: 3, reference: "github:42" });
});

Deno.test("whoever repeats itself or sends what is refused is stopped before the body is read", async () => {
  const { post, store } = reporter([{ ...tokenRow, calls_per_minute: 1 }, {
    ...tokenRow,
    id: 2,
    token_sha256: sha256(token.replace("_1_", "_2_")),
  }]);
  store.answer = () => ({ result: "duplicate", reason: null, facts: {} });
  const statuses = [];
  for (let i = 0; i < 12; i++) statuses.push((await post(token, i % 2 ? { body: "not xml" } : {})).status);
  assertEquals(statuses, Array(6).fill([200, 400]).flat(), "twice its calls and ten");
  let isRead = false;
  const body = new ReadableStream({ pull: () => void (isRead = true) }, { highWaterMark: 0 });
  const { status, code, headers } = await post(token, { body });
  assertEquals([status, code, isRead], [429, "too_many_calls", false]);
  assert(Number(headers.get("retry-after")) > 50);
  assertEquals((await post(token.replace("_1_", "_2_"))).status, 200, "another's attempts are its own");
});

Deno.test("what is observed in the future is refused with its place", async () => {
  const { post, store } = reporter([{ ...tokenRow, fact_kinds: ["deployments"] }]);
  const tell = (minutes: number) => {
    const observed_at = new Date(Date.now() + minutes * 60_000).toISOString();
    return post(token, {
      path: "/github/facts",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ deployments: [{ external_id: "1" }, { external_id: "2", observed_at }] }),
    });
  };
  assertEquals((await tell(4)).status, 200, "clocks may be some minutes apart");
  const { status, told } = await tell(6);
  assertEquals([status, told.errors.length, told.errors[0].place, told.errors[0].code], [
    422,
    1,
    "deployments[1].observed_at",
    "in_the_future",
  ]);
  assert(told.errors[0].detail.includes("5 minutes"));
  assertEquals(store.kept.length, 1);
});

Deno.test("a new key of the issuer is taken at once", async () => {
  await using issuer = await TestIssuer.start();
  const { post } = reporter([oidcRow(issuer)]);
  assertEquals((await post(await issuer.sign(claims), { query: "" })).status, 200);
  await issuer.rotate();
  assertEquals((await post(await issuer.sign(claims), { query: "" })).status, 200);
});

Deno.test("an issuer that is down or slow is 503 for its own tokens, and nobody else's matter", async () => {
  await using down = await TestIssuer.start();
  await using slow = await TestIssuer.start();
  down.answer = () => new Response(null, { status: 500 });
  slow.answer = () => new Promise<Response>(() => {});
  const { post } = reporter([tokenRow, oidcRow(down), oidcRow(slow, { id: 3 })]);
  for (const issuer of [down, slow]) {
    const { status, code, headers } = await post(await issuer.sign(claims), { query: "" });
    assertEquals([status, code, headers.get("retry-after")], [503, "issuer_unavailable", "10"]);
  }
  assertEquals((await post(token)).status, 200);
});

Deno.test("a feature branch tells no production deployment, main does, and no environment is taken on trust", async () => {
  await using issuer = await TestIssuer.start();
  const { post, store } = reporter([
    oidcRow(issuer),
    oidcRow(issuer, { id: 3, claims: { repository_id: "42", ref: "refs/heads/main" }, fact_kinds: ["deployments"] }),
  ]);
  const tell = async (more: object, query = "") =>
    await post(await issuer.sign({ ...claims, ...more }), {
      path: "/github/facts",
      headers: { "content-type": "application/json" },
      body: deployment,
      query,
    });
  for (const ref of ["refs/heads/feature", "refs/heads/main2", "refs/tags/main"]) {
    const { status, code } = await tell({ ref });
    assertEquals([status, code], [403, "not_allowed"], ref);
  }
  assertEquals((await tell({ ref: "refs/heads/feature" }, "?branch=main")).status, 403);
  assertEquals(store.kept.length, 0);
  assertEquals((await tell({})).status, 200);
  assertEquals(store.last.delivery.identity, { id: 3, reference: "github:42" });
  assertEquals(store.last.facts.deployments!.map((one) => [one.repository, one.environment]), [[
    "github:42",
    "production",
  ]]);
});

Deno.test("what lies outside an identity's repositories is refused whole", async () => {
  const limited = { ...tokenRow, repositories: ["github:42"] };
  const { post, store } = reporter([limited]);
  assertEquals((await post(token, { query: "?run=1" })).status, 200, "the only repository needs not be said");
  assertEquals(store.last.facts.test_runs![0]!.repository, "github:42");
  assertEquals((await post(token, { query: "?repository=github:43&run=1" })).code, "not_allowed");
  assertEquals((await post(token, { query: "?repository=//github.com/acme/app&run=1" })).code, "not_allowed");
  const two = reporter([{ ...tokenRow, repositories: ["github:42", "//github.com/acme/app"] }]);
  assertEquals((await two.post(token, { query: "?run=1" })).code, "parameters");
  assertEquals((await two.post(token, { query: "?repository=//github.com/acme/app&run=1" })).status, 200);
  assertEquals(store.kept.length, 1);
});

Deno.test("what cannot be read is 400, what is wrong in it 422 with its place, and nothing is stored", async () => {
  const { post, store } = reporter([{ ...tokenRow, fact_kinds: ["deployments", "jobs"] }]);
  const unreadable = await post(token, { body: "not xml" });
  assertEquals([unreadable.status, unreadable.code, unreadable.told.errors.length], [400, "unreadable", 1]);
  const encoding = await post(token, { body: new Uint8Array([0x3c, 0xff, 0xfe, 0x61]) });
  assertEquals([encoding.status, encoding.told.errors[0].place], [400, "body"]);
  const json = { "content-type": "application/json; charset=utf-8" };
  const tell = (facts: unknown) => post(token, { path: "/github/facts", headers: json, body: JSON.stringify(facts) });
  const canary = "canary0123456789";
  const wrong = await tell({ deployments: Array.from({ length: 150 }, () => ({ external_id: "", [canary]: canary })) });
  assertEquals([wrong.status, wrong.code, wrong.told.errors.length], [422, "refused", 100]);
  assert(wrong.told.errors[0].place.startsWith("deployments[0]"));
  assert(!JSON.stringify(wrong.told).includes("canary"));
  const many = await tell({ jobs: Array.from({ length: 10_001 }, (_, index) => ({ external_id: `${index}` })) });
  assertEquals([many.status, many.told.errors[0].code], [422, "too_many_facts"]);
  assert(many.told.errors[0].detail.includes("suite"));
  assertEquals(store.kept.length, 0);
});

Deno.test("what the database does not take is answered by its reason", async () => {
  const { post, store } = reporter();
  const reasons: [typeof store.refused, number, string, string | null][] = [
    [{ refused: "identity" }, 401, "credentials_wrong", null],
    [{ refused: "scope" }, 403, "not_allowed", null],
    [{ refused: "rate", seconds: 7 }, 429, "too_many_calls", "7"],
    [{ refused: "rate" }, 429, "too_many_calls", "60"],
    [{ refused: "conflict" }, 422, "key_reused", null],
    [{ refused: "facts" }, 422, "refused", null],
  ];
  for (const [refused, status, code, retry] of reasons) {
    store.refused = refused;
    const answer = await post(token);
    assertEquals([answer.status, answer.code, answer.headers.get("retry-after")], [status, code, retry]);
  }
  store.refused = undefined;
  store.answer = () => ({ result: "duplicate", reason: null, facts: {} });
  assertEquals((await post(token)).told, { result: "duplicate", facts: {} });
  store.answer = () => null;
  const away = await post(token);
  assertEquals([away.status, away.code, away.headers.get("retry-after")], [503, "unavailable", "10"]);
});

Deno.test("while the database is away, who may report is what it said last; before that it is 503", async () => {
  const clock = { now: Date.now() };
  const { store, configuration } = reporter();
  const identities = createIdentities(store, configuration.audience, () => clock.now);
  const { post, store: committing } = reporter(null, {}, { identities });
  store.identities = null;
  committing.answer = () => null;
  const to = (source: string, bearer: string | null = token) =>
    post(bearer, { path: `/${source}/junit`, query: `?repository=${source}:1&run=1` }).then(({ status }) => status);
  assertEquals([await to("github"), await to("github-acme"), await to("nobody")], [503, 503, 404]);
  assertEquals(await to("github", null), 401);
  store.identities = [tokenRow, { ...tokenRow, id: 2, sources: ["github-acme"] }];
  clock.now += 1000;
  assertEquals(await to("github"), 503);
  store.identities = null;
  clock.now += 3_600_000;
  assertEquals([await to("github"), await to("github-acme"), await to("github-other")], [503, 403, 404]);
  assertEquals(await to("github", `mtr_1_${"b".repeat(43)}`), 401);
});

Deno.test("large reports take the place of large webhooks: one at a time", async () => {
  const { post, store } = reporter();
  const large = junit.padEnd(LARGE + 1);
  let working = 0;
  let most = 0;
  store.answer = async () => {
    most = Math.max(most, ++working);
    await new Promise((resolve) => setTimeout(resolve, 20));
    working--;
    return { result: "stored", facts: {} };
  };
  const statuses = await Promise.all(
    Array.from({ length: 4 }, async () => (await post(token, { body: large })).status),
  );
  assertEquals([statuses, most], [Array(4).fill(200), 1]);
  const { post: small } = reporter([tokenRow], { INGEST_MAX_BYTES: String(LARGE) });
  assertEquals((await small(token, { body: large, headers: { "content-length": null } })).code, "report_too_large");
});

Deno.test("answers and logs of reports hold nothing of a request", async () => {
  await using issuer = await TestIssuer.start();
  const { post, lines } = reporter([oidcRow(issuer), tokenRow]);
  const canary = "canary0123456789";
  const bearer = await issuer.sign({ ...claims, workflow: canary, actor: canary });
  const answers = [
    await post(bearer, { query: `?suite=${canary}&job=${canary}` }),
    await post(bearer, { query: `?${canary}=${canary}` }),
    await post(bearer, { query: `?commit=${canary}` }),
    await post(bearer, { query: `?branch=${canary}` }),
    await post(bearer, { query: "", headers: { "idempotency-key": `${canary} ` + canary } }),
    await post(bearer, { query: "", headers: { "content-type": canary } }),
    await post(bearer, { query: "", body: `<testsuites><${canary}>${canary}` }),
    await post(bearer, { query: "", body: `<!DOCTYPE a [<!ENTITY e "${canary}">]><testsuite>&e;</testsuite>` }),
    await post(await issuer.sign({ ...claims, repository_id: canary })),
    await post(await issuer.sign(claims, { kid: canary })),
    await post(token.replace("a", "b"), { query: "" }),
    await post(bearer, { path: `/github/${canary}` }),
    await post(canary),
  ];
  const seen = JSON.stringify([answers.map(({ told, headers }) => [told, [...headers]]), lines]);
  assert(!seen.toLowerCase().includes("canary") && !seen.includes(token.slice(6)) && !seen.includes(bearer));
});

Deno.test("a report that cannot be read for a reason nobody knows is 400, and the log names the error", async () => {
  const report = reports.get("junit")!;
  const { read } = report;
  const { post, store, lines } = reporter();
  try {
    report.read = () => {
      throw new TypeError("dev-1@example.com");
    };
    const { status, told } = await post(token);
    assertEquals([status, told.code, told.errors[0].code], [400, "unreadable", "not_readable"]);
    assert(told.errors[0].detail.length > 0);
    assertEquals(lines.at(-1)!.error, "TypeError");
    report.read = () => {
      throw Object.assign(new Error(), { name: "dev-1@example.com" });
    };
    assertEquals((await post(token)).status, 400);
    assertEquals(lines.at(-1)!.error, "Error");
    assert(!JSON.stringify(lines).includes("@"));
    assertEquals(store.kept, []);
  } finally {
    report.read = read;
  }
});
