// What is not right gets one exact answer each, and leaves what it should, over HTTP through the whole stack.
import { assert, assertEquals, assertMatch } from "@std/assert";
import { encodeHex } from "@std/encoding/hex";
import { join } from "@std/path";
import { EdgeFunction } from "../../tools/stack/edge_function.ts";
import { GitHubRepository, sha } from "../support/history_github.ts";
import {
  type Answered,
  bytesOf,
  connect,
  headersOf,
  post,
  raw,
  sharedStack,
  signatureOf,
  type StackAddress,
} from "../support/http.ts";
import { repository as folder } from "../support/stack.ts";

const stack = await sharedStack();
const sql = connect(stack);
const source = "github-refusals";
const secret = stack.sources[source]!;
const options = { sanitizeOps: false, sanitizeResources: false };
const limit = 10 * 1024 * 1024;

/** The documents that a sender reads, by their code. */
const problems = {
  not_found: [404, "Not Found", "There is no such source."],
  method_not_allowed: [405, "Method Not Allowed", "The header Allow says which method this address takes."],
  credentials_missing: [401, "Unauthorized", "The header that proves the sender is missing or malformed."],
  credentials_wrong: [401, "Unauthorized", "The credentials are not those of a sender of this source."],
  content_type: [415, "Unsupported Media Type", "The header Accept says which content types this source sends."],
  too_large: [413, "Content Too Large", "The body is larger than the limit of this installation."],
  too_slow: [408, "Request Timeout", "The body took too long."],
} as const;

function documentOf(code: keyof typeof problems) {
  const [status, title, detail] = problems[code];
  return { type: "about:blank", title, status, detail, code };
}

function assertProblem(answer: Answered, code: keyof typeof problems): void {
  assertEquals(answer.json, documentOf(code));
  assertEquals(answer.status, problems[code][0]);
  assertEquals(answer.headers.get("content-type"), "application/problem+json");
  assertEquals(answer.headers.get("cache-control"), "no-store");
}

async function counted(): Promise<number> {
  const [row] = await sql`select count(*)::integer as count from metrics.deliveries where source like ${source + "%"}`;
  return row!.count;
}

/** Posts to a repository of its own what a job of it says. */
function aJob(repository = new GitHubRepository(1, "acme/app", { source }), id = 1, name = "build") {
  return repository.job({
    action: "queued",
    id,
    runId: 1,
    name,
    status: "queued",
    branch: "main",
    sha: sha(1),
    createdAt: "2026-01-05T09:00:00Z",
    startedAt: "2026-01-05T09:00:00Z",
    by: "dev-1",
  });
}

/** A function of its own with other variables, before the same database. */
async function startFunction(env: Record<string, string>) {
  const log = await Deno.makeTempFile({ prefix: "metrics-function-" });
  const edge = new EdgeFunction({
    name: "ingest-metrics",
    folder: join(folder, "supabase", "functions", "ingest-metrics"),
    env: { SUPABASE_URL: stack.url, SUPABASE_SECRET_KEYS: JSON.stringify({ default: stack.secret_key }), ...env },
    log,
  });
  assert(await edge.start());
  return {
    log: () => Deno.readTextFile(log),
    /** Posts a job signed with this secret. */
    async post(to: string, secret: string): Promise<Answered> {
      // The same paths as behind the gateway.
      const address = { ...stack, url: `http://127.0.0.1:${edge.port}` } as StackAddress;
      return await post(address, { source: to, secret, event: "workflow_job", body: aJob().body });
    },
    async [Symbol.asyncDispose]() {
      await edge.stop();
      await Deno.remove(log);
    },
  };
}

/** A request's head for a bare connection. */
function head(path: string, headers: Record<string, string>): string {
  return `POST ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\n${
    Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`).join("")
  }\r\n`;
}

const path = `/functions/v1/ingest-metrics/${source}`;
const slowId = crypto.randomUUID();

// Takes as long as a sender may take, so it runs beside the other tests.
async function sendSlowly() {
  const body = bytesOf(aJob().body);
  const headers = await headersOf(stack, { source, id: slowId, body });
  const started = performance.now();
  const pieces = [
    head(path, { ...headers, "content-length": `${body.length}` }),
    ...Array.from(body.subarray(0, 60), (byte) => Uint8Array.of(byte)),
  ];
  const answer = await raw(stack.url, pieces, { pause: 1_000, patience: 5_000 });
  return { ...answer, seconds: (performance.now() - started) / 1000 };
}
const slow = sendSlowly();

Deno.test("an unknown source, one without a secret and names that are none get the same answer", options, async () => {
  const before = await counted();
  const texts = new Set<string>();
  for (
    const name of [
      "unknown",
      "github-nosecret",
      "gitlab-nosecret",
      "constructor",
      "__proto__",
      "GITHUB",
      "github-",
      "github-nosecret/junit",
      "",
      "github%00",
      "%67ithub-refusals",
    ]
  ) {
    const answer = await post(stack, { source: name, secret, body: aJob().body });
    assertProblem(answer, "not_found");
    texts.add(`${answer.text}${JSON.stringify([...answer.headers].filter(([name]) => name !== "date"))}`);
  }
  assertEquals(texts.size, 1);
  assertEquals(await counted(), before);
});

Deno.test(
  "a source with an empty or a short secret is disabled at start, and the log names the variable only",
  options,
  async () => {
    const short = "only-15-bytes-x";
    await using edge = await startFunction({
      INGEST_SECRET_GITHUB_EMPTY: "",
      INGEST_SECRET_GITHUB_BLANK: `${secret}, ,`,
      INGEST_SECRET_GITHUB_SHORT: short,
      INGEST_SECRET_GITHUB_LIST: `["${secret}", "${short}"]`,
      INGEST_SECRET_GITHUB_REFUSALS: secret,
    });
    for (const name of ["empty", "blank", "short", "list"]) {
      assertProblem(await edge.post(`github-${name}`, name === "short" ? short : secret), "not_found");
    }
    assertEquals((await edge.post(source, secret)).status, 200);
    const log = await edge.log();
    const mistakes = log.split("\n").filter((line) => line.includes('"variable"')).map((line) => JSON.parse(line));
    assertEquals(mistakes.map(({ level, variable }) => [level, variable]), [
      ["error", "INGEST_SECRET_GITHUB_BLANK"],
      ["error", "INGEST_SECRET_GITHUB_EMPTY"],
      ["error", "INGEST_SECRET_GITHUB_LIST"],
      ["error", "INGEST_SECRET_GITHUB_SHORT"],
    ]);
    assert(!log.includes(short) && !log.includes(secret));
  },
);

Deno.test("both secrets are live during a rotation, the old one is refused after it", options, async () => {
  const old = encodeHex(crypto.getRandomValues(new Uint8Array(16)));
  {
    await using during = await startFunction({ INGEST_SECRET_GITHUB_REFUSALS: ` ${old} , ${secret}` });
    assertEquals((await during.post(source, old)).json, { result: "stored", facts: { repositories: 1, jobs: 1 } });
    assertEquals((await during.post(source, secret)).json, { result: "stored", facts: { repositories: 1, jobs: 1 } });
  }
  const before = await counted();
  await using after = await startFunction({ INGEST_SECRET_GITHUB_REFUSALS: secret });
  assertProblem(await after.post(source, old), "credentials_wrong");
  assertEquals(await counted(), before);
  assertEquals((await after.post(source, secret)).status, 200);
});

Deno.test("only POST is taken", options, async () => {
  const before = await counted();
  for (const method of ["PUT", "GET", "PATCH", "DELETE"]) {
    const answer = await post(stack, { source, method, body: aJob().body });
    assertProblem(answer, "method_not_allowed");
    assertEquals(answer.headers.get("allow"), "POST");
  }
  assertEquals((await post(stack, { source, method: "HEAD", body: "" })).status, 405);
  assertProblem(await post(stack, { source: "health", body: "" }), "method_not_allowed");
  assertEquals(await counted(), before);
});

Deno.test("a content type that this source does not send is refused", options, async () => {
  for (const type of ["text/plain", "application/xml", "application/json+x", "multipart/form-data; boundary=x", ""]) {
    const answer = await post(stack, { source, body: aJob().body, headers: { "content-type": type } });
    assertProblem(answer, "content_type");
    assertEquals(answer.headers.get("accept"), "application/json, application/x-www-form-urlencoded");
  }
  for (const type of ["application/json;charset=utf-8", "Application/JSON ; x=y"]) {
    assertEquals((await post(stack, { source, body: aJob().body, headers: { "content-type": type } })).status, 200);
  }
});

Deno.test(
  "an unsigned, wrongly signed or malformed signature is refused, and which of them is told apart",
  options,
  async () => {
    const before = await counted();
    const body = bytesOf(aJob().body);
    const right = await signatureOf(body, secret);
    for (
      const value of [
        null,
        "",
        "sha256=",
        right.slice(0, -1),
        `${right}0`,
        right.slice(7),
        right.replace("256", "1"),
        "x",
      ]
    ) {
      const answer = await post(stack, { source, body, headers: { "x-hub-signature-256": value } });
      assertProblem(answer, "credentials_missing");
      assertEquals(answer.headers.get("www-authenticate"), 'HMAC-SHA256 header="x-hub-signature-256"');
    }
    const other = bytesOf(aJob(undefined, 2).body);
    for (
      const value of [
        await signatureOf(other, secret),
        await signatureOf(body, stack.sources["github-hostile"]!),
        `sha256=${"0".repeat(64)}`,
      ]
    ) {
      const answer = await post(stack, { source, body, headers: { "x-hub-signature-256": value } });
      assertProblem(answer, "credentials_wrong");
    }
    assertProblem(await post(stack, { source, body, secret: "" + secret + " " }), "credentials_wrong");
    assertEquals(await counted(), before);
  },
);

Deno.test("a body that is empty, not JSON, or JSON that is not an object is kept in quarantine", options, async () => {
  const cases: [string | Uint8Array, string][] = [
    ["", "body: not JSON"],
    [" ", "body: not JSON"],
    ["{", "body: not JSON"],
    ["{} {}", "body: not JSON"],
    ["NaN", "body: not JSON"],
    ["[]", "body: not an object"],
    ["null", "body: not an object"],
    ['"text"', "body: not an object"],
    ["5", "body: not an object"],
    [Uint8Array.of(0x7b, 0xff, 0x7d), "body: not UTF-8"],
    ["{}", "repository: missing"],
  ];
  for (const [body, reason] of cases) {
    const id = crypto.randomUUID();
    const answer = await post(stack, { source, id, body });
    assertEquals(answer.status, 202);
    assertEquals(answer.json.result, "quarantined");
    if (body !== "{}") assertEquals(answer.json, { result: "quarantined", reason });
    const [kept] = await sql`
      select d.result, d.reason, d.size, b.body
      from metrics.deliveries as d
      left join metrics.bodies as b using (source, delivery_id)
      where d.source = ${source} and d.delivery_id = ${id}
    `;
    assertEquals([kept!.result, kept!.reason, kept!.size], ["quarantined", answer.json.reason, bytesOf(body).length]);
    assertEquals(new Uint8Array(kept!.body), bytesOf(body));
  }
  const form = { "content-type": "application/x-www-form-urlencoded" };
  assertEquals((await post(stack, { source, body: "a=b", headers: form })).json, {
    result: "quarantined",
    reason: "body: a form without the field payload",
  });
});

Deno.test("a delivery id that comes again with other content is kept apart as a conflict", options, async () => {
  const id = crypto.randomUUID();
  const repository = new GitHubRepository(20, "acme/conflict", { source });
  const first = aJob(repository, 200, "first").body;
  const second = aJob(repository, 200, "second").body;
  assertEquals((await post(stack, { source, id, body: first })).json.result, "stored");
  const conflict = { result: "quarantined", reason: "conflict: the delivery id came before with other bytes" };
  for (let time = 0; time < 2; time++) {
    const answer = await post(stack, { source, id, body: second });
    assertEquals([answer.status, answer.json], [202, conflict]);
  }
  assertEquals((await post(stack, { source, id, body: first })).json, { result: "duplicate" });
  const digest = encodeHex(await crypto.subtle.digest("SHA-256", bytesOf(second)));
  const rows = await sql`
    select d.delivery_id, d.result, d.reason, b.body is not null as has_body
    from metrics.deliveries as d
    left join metrics.bodies as b using (source, delivery_id)
    where d.source = ${source} and starts_with(d.delivery_id, ${id})
    order by length(d.delivery_id)
  `;
  assertEquals([...rows], [
    { delivery_id: id, result: "stored", reason: null, has_body: true },
    { delivery_id: `${id}#${digest.slice(0, 12)}`, result: "quarantined", reason: conflict.reason, has_body: true },
  ]);
  const names = await sql`
    select j.name from metrics.jobs as j
    join metrics.repository_references as r on r.id = j.reference_id
    where r.reference = ${`${source}:20`}
  `;
  assertEquals([...names], [{ name: "first" }]);
});

Deno.test("times in the year 1 are unknown, times in 9999 are kept", options, async () => {
  const repository = new GitHubRepository(21, "acme/times", { source });
  const job = (id: number, createdAt: string, startedAt: string, completedAt: string) =>
    repository.job({
      action: "completed",
      id,
      runId: 1,
      name: "build",
      status: "completed",
      conclusion: "success",
      branch: "main",
      sha: sha(1),
      createdAt,
      startedAt,
      completedAt,
      by: "dev-1",
    }).body;
  const last = "9999-12-31T23:59:59Z";
  const zero = "0001-01-01T00:00:00Z";
  for (
    const body of [
      job(210, zero, zero, zero),
      job(211, last, last, last),
      job(212, zero, "2026-01-05T09:00:00Z", last),
      job(213, "9999-12-31T23:59:59-12:00", "10000-01-01T00:00:00Z", "0000-00-00T00:00:00Z"),
    ]
  ) assertEquals((await post(stack, { source, body })).json, { result: "stored", facts: { repositories: 1, jobs: 1 } });
  const rows = await sql`
    select j.external_id, j.queued_at::text, j.started_at::text, j.finished_at::text, j.duration_seconds
    from metrics.jobs as j
    join metrics.repository_references as r on r.id = j.reference_id
    where r.reference = ${`${source}:21`}
    order by j.external_id
  `;
  const kept = "9999-12-31 23:59:59+00";
  assertEquals(rows.map((row) => [row.external_id, row.queued_at, row.started_at, row.finished_at]), [
    ["210", null, null, null],
    ["211", kept, kept, kept],
    ["212", null, "2026-01-05 09:00:00+00", kept],
    ["213", null, null, null],
  ]);
  const notes = await sql`
    select count(*)::integer as count from metrics.deliveries
    where source = ${source} and notes::text like '%is no time that can be kept%'
  `;
  assertEquals(notes[0]!.count, 3);
});

Deno.test(
  "facts stay with their repository when it is renamed, transferred, deleted and made again under its name",
  options,
  async () => {
    const first = new GitHubRepository(30, "acme/moving", { source });
    const post1 = async (posted: { event: string; body: unknown }) => {
      const { json } = await post(stack, { source, event: posted.event, body: posted.body });
      assertEquals(json.result, "stored");
    };
    await post1(aJob(first, 300));
    await post1(first.rename("renamed", "2026-01-06T08:00:00Z", "dev-1"));
    await post1(aJob(first, 301));
    // Transferred: GitHub tells the new owner, and the event after it.
    first.owner = "other";
    first.updatedAt = "2026-01-07T08:00:00Z";
    await post1(aJob(first, 302));
    // Another repository takes the first one's old name; then both are there.
    const second = new GitHubRepository(31, "acme/moving", { source });
    second.updatedAt = "2026-01-08T08:00:00Z";
    await post1(aJob(second, 310));
    // The first is deleted, and its last name is registered again, too.
    const third = new GitHubRepository(32, "other/renamed", { source });
    third.updatedAt = "2026-01-09T08:00:00Z";
    await post1(aJob(third, 320));
    // What is late still finds its own repository.
    await post1(aJob(first, 303));
    const rows = await sql`
    select r.reference, p.full_name, array_agg(j.external_id order by j.external_id) as jobs
    from metrics.repository_references as r
    join metrics.repositories as p on p.id = r.repository_id
    join metrics.jobs as j on j.reference_id = r.id
    where r.reference = any(${[30, 31, 32].map((id) => `${source}:${id}`)})
    group by r.reference, p.id, p.full_name
    order by r.reference
  `;
    assertEquals([...rows], [
      { reference: `${source}:30`, full_name: "other/renamed", jobs: ["300", "301", "302", "303"] },
      { reference: `${source}:31`, full_name: "acme/moving", jobs: ["310"] },
      { reference: `${source}:32`, full_name: "other/renamed", jobs: ["320"] },
    ]);
  },
);

Deno.test("names with every Unicode plane come back as they were", options, async () => {
  const planes = Array.from({ length: 17 }, (_, plane) => String.fromCodePoint(plane * 0x10000 + 0xab12)).join("");
  const names = [
    planes,
    "\u{1f468}\u200d\u{1f469}\u200d\u{1f467} ma\u0301n\u0303 \u202eabc\u202c \ufeff \ufffe\uffff",
    "'; drop table metrics.jobs; -- \\ \" $$ \u2028 \t\n",
  ];
  const repository = new GitHubRepository(40, `acme/${planes}`, { source });
  for (const [index, name] of names.entries()) {
    const body = aJob(repository, 400 + index, name).body;
    assertEquals((await post(stack, { source, body })).json.result, "stored");
  }
  const rows = await sql`
    select j.name, p.full_name
    from metrics.jobs as j
    join metrics.repository_references as r on r.id = j.reference_id
    join metrics.repositories as p on p.id = r.repository_id
    where r.reference = ${`${source}:40`}
    order by j.external_id
  `;
  assertEquals(rows.map((row) => row.name), names);
  assertEquals(rows[0]!.full_name, `acme/${planes}`);
});

Deno.test("a Content-Length over the limit is refused before the body is read", options, async () => {
  const headers = await headersOf(stack, { source, body: "{}" });
  for (const length of [limit + 1, 2 ** 40]) {
    const started = performance.now();
    const answer = await raw(stack.url, [head(path, { ...headers, "content-length": `${length}` }), "{"]);
    assertEquals([answer.status, answer.json], [413, documentOf("too_large")]);
    assert(performance.now() - started < 2_000);
  }
});

Deno.test("a body over the limit without a Content-Length is refused while it streams", options, async () => {
  let sent = 0;
  const piece = new Uint8Array(256 * 1024).fill(0x20);
  const endless = new ReadableStream<Uint8Array<ArrayBuffer>>({
    async pull(controller) {
      if (sent > 10 * limit) return controller.close();
      sent += piece.length;
      controller.enqueue(piece);
      await new Promise((resolve) => setTimeout(resolve, 1));
    },
  });
  const response = await fetch(`${stack.url}${path}`, {
    method: "POST",
    headers: await headersOf(stack, { source, body: "{}" }),
    body: endless,
  });
  assertEquals([response.status, await response.json()], [413, documentOf("too_large")]);
  assert(sent < 3 * limit, `${sent} bytes were read`);
});

Deno.test("a body at the limit is taken, one byte more is not", options, async () => {
  const text = JSON.stringify(aJob(new GitHubRepository(50, "acme/large", { source }), 500).body);
  const body = new Uint8Array(limit + 1).fill(0x20);
  body.set(bytesOf(text));
  assertEquals((await post(stack, { source, body: body.subarray(0, limit) })).json.result, "stored");
  assertProblem(await post(stack, { source, body }), "too_large");
});

Deno.test("a body that arrives one byte a second is given up after 15 s", options, async () => {
  const { status, json, seconds } = await slow;
  assertEquals([status, json], [408, documentOf("too_slow")]);
  assert(seconds > 14 && seconds < 20, `${seconds} s`);
  assertEquals(
    (await sql`select from metrics.deliveries where source = ${source} and delivery_id = ${slowId}`).length,
    0,
  );
});

Deno.test("a Host header that is none changes no answer", options, async () => {
  const body = bytesOf(aJob().body);
  for (const host of ["[", "a b", "x:99999", "%%", "<>", "::::"]) {
    const headers = await headersOf(stack, { source, id: crypto.randomUUID(), body });
    const lines = Object.entries({ ...headers, "content-length": `${body.length}`, connection: "close" });
    const answer = await raw(stack.url, [
      `POST ${path} HTTP/1.1\r\nhost: ${host}\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n`,
      body,
    ]);
    assert(answer.status < 500, `${host}: ${answer.text}`);
  }
});

Deno.test("a value that no index can hold is kept whole in quarantine", options, async () => {
  const posted = aJob(new GitHubRepository(77, "acme/long", { source }), 77);
  // Random, because what repeats itself would be compressed to fit.
  const branch = encodeHex(crypto.getRandomValues(new Uint8Array(1900)));
  const repository = {
    ...(posted.body as { repository: Record<string, unknown> }).repository,
    html_url: `https://h/${branch}`,
  };
  const answer = await post(stack, { source, event: "workflow_job", body: { ...(posted.body as object), repository } });
  assertEquals(answer.status, 202);
  assertMatch(answer.text, /quarantined.*SQLSTATE/);
});

Deno.test("the log tells of refused requests, in words of ours alone", options, async () => {
  const log = await Deno.readTextFile(join(stack.data, "log", "ingest-metrics.log"));
  const lines = log.split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
  for (const status of [401, 404, 405, 408, 413, 415]) {
    assert(lines.some((line) => line.status === status), `${status} is not in the log`);
  }
  for (const line of lines.filter((line) => line.source === source)) {
    assertEquals(Object.keys(line), [
      "level",
      "message",
      "method",
      "route",
      "source",
      "report",
      "event",
      "status",
      "result",
      "ms",
      "bytes",
      "facts",
    ]);
  }
  assertMatch(log, /"status":408/);
});
