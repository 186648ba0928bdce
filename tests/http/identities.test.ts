// Who may report, over HTTP through the whole stack: tokens made by an admin, jobs of an issuer on this machine, and everybody else.
import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "@std/path";
import { TestIssuer, unsigned } from "../../supabase/functions/ingest-metrics/identity/testing.ts";
import { EdgeFunction } from "../../tools/stack/edge_function.ts";
import { type Answered, answered, connect, post, sharedStack, signedIn } from "../support/http.ts";
import { repository as folder } from "../support/stack.ts";

const stack = await sharedStack();
const sql = connect(stack);
const options = { sanitizeOps: false, sanitizeResources: false };
const source = "github-identities";
const audience = `${stack.url}/functions/v1/ingest-metrics`;
const sha = "0f3c1d2e4b5a69788796a5b4c3d2e1f001122334";
const junit =
  '<testsuite name="unit" tests="2"><testcase name="adds"/><testcase name="divides"><failure/></testcase></testsuite>';

const admin = await signedIn(stack, sql, "admin");
Deno.test.afterAll(() => admin.client.auth.stopAutoRefresh());

/** Calls a function of the schema as the admin, over REST. */
async function asAdmin(name: string, parameters: object): Promise<unknown> {
  const { data, error } = await admin.client.rpc(name, parameters);
  if (error) throw new Error(`${error.code}: ${error.message}`);
  return data;
}

let count = 0;
/** A new token, with its name. */
async function createToken(more: object = {}): Promise<{ name: string; token: string }> {
  const name = `identities ${++count}`;
  return { name, token: await asAdmin("create_token", { name, sources: [source], ...more }) as string };
}

/** Lets the jobs of an issuer report. */
async function addIssuer(issuer: TestIssuer, claims: object, more: object = {}): Promise<void> {
  const parameters = {
    name: `identities ${++count}`,
    provider: "github",
    issuer: issuer.url,
    claims,
    sources: [source],
  };
  await asAdmin("add_issuer", { ...parameters, ...more });
}

// All are made before the first is used: for somebody whom it does not know the function asks once a second, and not at once.
const reporting = await createToken();
const keyed = await createToken();
const good = await createToken();
const revoked = await createToken();
const expired = await createToken();
const elsewhere = await createToken({ sources: [`${source}-elsewhere`] });
const limited = await createToken({ repositories: [`${source}:20`], calls_per_minute: 2 });
const secretive = await createToken();
const [jobs, others, slow, down, stranger] = await Promise.all([
  TestIssuer.start("RS256"),
  TestIssuer.start("RS256"),
  ...[1, 2, 3].map(() => TestIssuer.start()),
]) as [TestIssuer, TestIssuer, TestIssuer, TestIssuer, TestIssuer];
for (const issuer of [jobs, others, slow, down]) await addIssuer(issuer, { repository_id: "42" });
await addIssuer(others, { repository_id: "42", ref: "refs/heads/main" }, { fact_kinds: ["deployments"] });
Deno.test.afterAll(async () => {
  for (const issuer of [jobs, others, slow, stranger]) await issuer[Symbol.asyncDispose]();
});

interface Sent {
  to?: string;
  query?: string;
  headers?: Record<string, string>;
  body?: string;
}

/** Posts a report, and fails when the answer takes 2 s. */
async function tell(bearer: string | null, sent: Sent = {}): Promise<Answered> {
  const { to = `${source}/junit`, query = `?repository=${source}:1&commit=${sha}`, body = junit } = sent;
  const headers = {
    "content-type": "application/xml",
    ...(bearer ? { authorization: `Bearer ${bearer}` } : {}),
    ...sent.headers,
  };
  const started = performance.now();
  const answer = await answered(await fetch(`${audience}/${to}${query}`, { method: "POST", headers, body }));
  const took = performance.now() - started;
  assert(took < 2000, `${took} ms`);
  return answer;
}

/** Status and code, or result. */
const short = ({ status, json }: Answered) => `${status} ${json?.code ?? json?.result}`;
const deliveries = async () => {
  const [row] = await sql`select count(*)::integer as count from metrics.deliveries where source = ${source}`;
  return row!.count as number;
};

Deno.test(
  "a source that nobody may send to is 404; once a token names it, reports are taken and webhooks are 401",
  options,
  async () => {
    const fresh = `${source}-fresh`;
    assertEquals(short(await tell(null, { to: `${fresh}/junit` })), "404 not_found");
    assertEquals(short(await post(stack, { source: fresh, body: {} })), "404 not_found");
    const { token } = await createToken({ sources: [fresh] });
    // Those before made the function ask a moment ago.
    await new Promise((resolve) => setTimeout(resolve, 1100));
    assertEquals(
      short(await tell(token, { to: `${fresh}/junit`, query: `?repository=${fresh}:1&run=1` })),
      "200 stored",
    );
    assertEquals(short(await post(stack, { source: fresh, body: {} })), "401 credentials_missing");
    assertEquals(short(await tell(null, { to: `${fresh}/nothing` })), "404 no_such_report");
  },
);

Deno.test(
  "a token's report becomes facts and a delivery without a body; the same again is a duplicate",
  options,
  async () => {
    const { token } = reporting;
    assertMatch(token, /^mtr_[1-9]\d*_[\w-]{43,64}$/);
    const query = `?repository=${source}:10&commit=${sha}&run=7&attempt=2&branch=main&pipeline=CI&job=test&suite=a`;
    const first = await tell(token, { query });
    assertEquals([short(first), first.json.facts.test_runs], ["200 stored", 1]);
    assertEquals(short(await tell(token, { query })), "200 duplicate");
    assertEquals(short(await tell(token, { query: query.replace("suite=a", "suite=b") })), "200 stored");
    const runs = await sql`
    select t.commit_sha, t.branch, t.pipeline, t.job, t.failed_count, t.passed_count
    from metrics.test_runs as t
    join metrics.repository_references as r on r.id = t.reference_id
    where r.reference = ${`${source}:10`}
  `;
    const run = { commit_sha: sha, branch: "main", pipeline: "CI", job: "test", failed_count: 1, passed_count: 1 };
    assertEquals([...runs], [run, run]);
    const kept = await sql`
    select d.event, d.result, d.content_type, d.size, i.kind, b.delivery_id as body
    from metrics.deliveries as d
    join metrics.identities as i on i.id = d.identity_id
    left join metrics.bodies as b on b.source = d.source and b.delivery_id = d.delivery_id
    where d.source = ${source} and d.event = 'report.junit' and d.fact_counts ->> 'test_runs' = '1'
      and d.reference_ids = (select array[r.id] from metrics.repository_references as r where r.reference = ${`${source}:10`})
  `;
    const delivery = {
      event: "report.junit",
      result: "stored",
      content_type: null,
      size: junit.length,
      kind: "token",
      body: null,
    };
    assertEquals([...kept], [delivery, delivery]);
  },
);

Deno.test(
  "a key stands for one report of one job: with other bytes it is refused, and nothing is kept",
  options,
  async () => {
    const { token } = keyed;
    const headers = { "idempotency-key": "build-1" };
    const query = `?repository=${source}:11&run=1`;
    assertEquals(short(await tell(token, { headers, query })), "200 stored");
    assertEquals(short(await tell(token, { headers, query })), "200 duplicate");
    const before = await deliveries();
    assertEquals(short(await tell(token, { headers, query, body: `${junit} ` })), "422 key_reused");
    assertEquals(await deliveries(), before);
    assertEquals(short(await tell(token, { headers, query: `?repository=${source}:11&run=2` })), "200 stored");
  },
);

Deno.test(
  "guessed, wrong, revoked, expired and foreign tokens are each answered exactly, and leave nothing",
  options,
  async () => {
    for (const { token } of [good, revoked, expired]) assertEquals((await tell(token)).status, 200);
    const at = new Date(Date.now() + 1000).toISOString();
    await asAdmin("revoke_identity", { name: revoked.name });
    await asAdmin("expire_identity", { name: expired.name, at });
    const [, id, secret] = /^mtr_(\d+)_(.+)$/.exec(good.token)!;
    const before = await deliveries();
    await new Promise((resolve) => setTimeout(resolve, 1100));
    const cases: [string, string | null, string][] = [
      ["none", null, "401 credentials_missing"],
      ["malformed", "mtr_1_short", "401 credentials_missing"],
      ["revoked", revoked.token, "401 credentials_wrong"],
      ["expired", expired.token, "401 credentials_wrong"],
      ["a guessed id", `mtr_9${id}9_${secret}`, "401 credentials_wrong"],
      ["a wrong secret", `mtr_${id}_${secret!.split("").reverse().join("")}`, "401 credentials_wrong"],
      ["another's id", good.token.replace(`_${id}_`, `_${/\d+/.exec(elsewhere.token)![0]}_`), "401 credentials_wrong"],
      ["another source", elsewhere.token, "403 not_allowed"],
    ];
    for (const [name, token, expected] of cases) {
      const answer = await tell(token, { query: `?repository=${source}:1&run=2` });
      assertEquals(short(answer), expected, name);
      assertEquals(answer.headers.has("www-authenticate"), answer.status === 401, name);
    }
    assertEquals(await deliveries(), before);
    assertEquals(short(await tell(good.token, { query: `?repository=${source}:1&run=2` })), "200 stored");
  },
);

Deno.test("a token tells nothing outside its scope, and not more often than it may", options, async () => {
  const { token } = limited;
  const facts = (kind: string, repository = `${source}:20`) => ({
    to: `${source}/facts`,
    query: "",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ kind, repository, external_id: "1", environment: "production" }),
  });
  assertEquals(short(await tell(token, { query: `?repository=${source}:21&run=1` })), "403 not_allowed");
  assertEquals(short(await tell(token, { query: "?repository=//github.com/acme/app&run=1" })), "403 not_allowed");
  assertEquals(short(await tell(token, facts("deployments"))), "403 not_allowed");
  for (const run of [1, 2]) assertEquals(short(await tell(token, { query: `?run=${run}` })), "200 stored");
  const third = await tell(token, { query: "?run=3" });
  assertEquals(short(third), "429 too_many_calls");
  const seconds = Number(third.headers.get("retry-after"));
  assert(seconds >= 1 && seconds <= 60, `${seconds}`);
  assertEquals(short(await tell(token, { query: "?run=1" })), "200 duplicate", "this one is there");
  const [row] = await sql`
    select count(*)::integer as count
    from metrics.repository_references
    where reference in (${`${source}:21`}, '//github.com/acme/app')
  `;
  assertEquals(row!.count, 0);
});

Deno.test("a token is readable nowhere once it was made", options, async () => {
  const { token } = secretive;
  assertEquals((await tell(token)).status, 200);
  const secret = token.split("_").slice(2).join("_");
  const tables = await sql`
    select format('%I.%I', schemaname, tablename) as name
    from pg_catalog.pg_tables
    where schemaname = 'metrics'
  `;
  for (const { name } of tables) {
    const [row] = await sql.unsafe(
      `select count(*)::integer as count from ${name} as t where strpos(t::text, $1) > 0`,
      [secret],
    );
    assertEquals(row!.count, 0, name as string);
  }
  assert(!JSON.stringify(await asAdmin("list_identities", {})).includes(secret));
  const { error } = await admin.client.from("identities").select();
  assert(error, "not even an admin reads the table");
  assertEquals((await admin.client.rpc("live_identities")).error?.code, "42501");
  const log = await Deno.readTextFile(join(stack.data, "log", "ingest-metrics.log"));
  assert(!log.includes(secret) && log.includes('"report":"junit"'));
});

const claims = {
  aud: audience,
  repository: "acme/identities",
  repository_id: "42",
  event_name: "push",
  ref: "refs/heads/main",
  sha,
  run_id: "100",
  run_attempt: "1",
  workflow: "CI",
};

Deno.test("a job's token tells about its own repository, as its claims say", options, async () => {
  const issuer = jobs;
  assertEquals(short(await tell(await issuer.sign(claims), { query: "" })), "200 stored");
  // The same job, a minute later.
  const iat = Math.floor(Date.now() / 1000) - 30;
  assertEquals(short(await tell(await issuer.sign({ ...claims, iat }), { query: "" })), "200 duplicate");
  const [run] = await sql`
    select t.commit_sha, t.branch, t.pipeline
    from metrics.test_runs as t
    join metrics.repository_references as r on r.id = t.reference_id
    where r.reference = ${`${source}:42`}
  `;
  assertEquals(run, { commit_sha: sha, branch: "main", pipeline: "CI" });
  await issuer.rotate();
  assertEquals(
    short(await tell(await issuer.sign({ ...claims, run_id: "101" }), { query: "" })),
    "200 stored",
    "rotated",
  );
});

Deno.test("every other job is answered as it should be, in time, and leaves nothing", options, async () => {
  const issuer = others;
  slow.answer = () => new Promise<Response>(() => {});
  const ofDown = await down.sign(claims);
  await down[Symbol.asyncDispose]();
  const now = Math.floor(Date.now() / 1000);
  const key = new TextEncoder().encode(JSON.stringify(await crypto.subtle.exportKey("jwk", issuer.publicKey)));
  const before = await deliveries();
  const cases: [string, string, string][] = [
    ["wrong audience", await issuer.sign({ ...claims, aud: "https://project.test" }), "401 credentials_wrong"],
    ["expired", await issuer.sign({ ...claims, exp: now - 61 }), "401 credentials_wrong"],
    ["not yet valid", await issuer.sign({ ...claims, nbf: now + 90 }), "401 credentials_wrong"],
    ["alg none", unsigned({ ...claims, iss: issuer.url, exp: now + 300 }), "401 credentials_wrong"],
    ["HS256 with the public key", await issuer.sign(claims, { alg: "HS256", key }), "401 credentials_wrong"],
    ["a key that does not exist", await issuer.sign(claims, { kid: "none" }), "401 credentials_wrong"],
    ["an issuer that is not listed", await stranger.sign(claims), "401 credentials_wrong"],
    ["an issuer that is down", ofDown, "503 issuer_unavailable"],
    ["an issuer that is slow", await slow.sign(claims), "503 issuer_unavailable"],
    [
      "another repository",
      await issuer.sign({ ...claims, repository: "acme/other", repository_id: "43" }),
      "403 not_allowed",
    ],
    ["the same name, registered again", await issuer.sign({ ...claims, repository_id: "44" }), "403 not_allowed"],
  ];
  for (const [name, token, expected] of cases) assertEquals(short(await tell(token, { query: "" })), expected, name);
  assertEquals(stranger.requests, []);

  const deployment = (ref: string) => async () =>
    await tell(await issuer.sign({ ...claims, ref }), {
      to: `${source}/facts`,
      query: "",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({
        kind: "deployments",
        external_id: "1",
        environment: "production",
        environment_tier: "production",
      }),
    });
  assertEquals(short(await deployment("refs/heads/feature")()), "403 not_allowed");
  assertEquals(await deliveries(), before);
  assertEquals(short(await deployment("refs/heads/main")()), "200 stored");
});

Deno.test("a function that never reached its database says 503, in time", options, async () => {
  const gone = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = gone.addr;
  gone.close();
  const log = await Deno.makeTempFile({ prefix: "metrics-function-" });
  const edge = new EdgeFunction({
    name: "ingest-metrics",
    folder: join(folder, "supabase", "functions", "ingest-metrics"),
    env: { SUPABASE_URL: `http://127.0.0.1:${port}`, SUPABASE_SECRET_KEYS: JSON.stringify({ default: "none" }) },
    log,
  });
  try {
    assert(await edge.start());
    const headers = { authorization: `Bearer mtr_1_${"a".repeat(43)}`, "content-type": "application/xml" };
    const address = `http://127.0.0.1:${edge.port}/ingest-metrics/github/junit`;
    const answer = await answered(await fetch(address, { method: "POST", headers, body: junit }));
    assertEquals([short(answer), answer.headers.get("retry-after")], ["503 unavailable", "10"]);
  } finally {
    await edge.stop();
    await Deno.remove(log);
  }
});

Deno.test("the statements of the pages can be run as they stand", options, async () => {
  const pages = join(folder, "docs", "identities");
  for (const page of ["github", "gitlab", "circleci", "buildkite", "tokens"]) {
    const text = await Deno.readTextFile(join(pages, `${page}.md`));
    const statements = [...text.matchAll(/^( *)```sql\n([^]*?)^\1```/gm)].map((match) => match[2]!);
    assertEquals(statements.length, page === "tokens" ? 1 : 2, page);
    await sql.begin(async (transaction) => {
      for (const statement of statements) {
        assert((await transaction.unsafe(statement.replace(/<[a-z ]+>/g, "0ab1")))[0], page);
      }
      const made = await transaction`
        select provider
        from metrics.list_identities()
        where name like '%acme%' and revoked_at is null
      `;
      assertEquals(made.map(({ provider }) => provider ?? "tokens"), statements.map(() => page));
      await transaction`
        select metrics.revoke_identity(name)
        from metrics.list_identities()
        where name like '%acme%' and revoked_at is null
      `;
    });
  }
  const readme = await Deno.readTextFile(join(pages, "README.md"));
  for (
    const code of [
      "credentials_missing",
      "credentials_wrong",
      "not_allowed",
      "not_found",
      "too_many_calls",
      "issuer_unavailable",
    ]
  ) {
    assert(readme.includes(`\`${code}\``), code);
  }
});
