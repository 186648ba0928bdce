// A canary in every place of a request that may carry a secret or an address is found again nowhere but in bodies, and there
// only where the field is not one of those that are removed.
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { join } from "@std/path";
import { GitHubRepository, type Posted, sha } from "../support/history_github.ts";
import { type Answered, connect, post, sharedStack } from "../support/http.ts";

const stack = await sharedStack();
const sql = connect(stack);
const source = "github-secrets";
const options = { sanitizeOps: false, sanitizeResources: false };
const mark = `canary${crypto.randomUUID().slice(0, 8)}`;
const at = "2026-01-05T09:00:00Z";
const by = "dev-1";

/** Names of places, and whether a body keeps what stands there. */
const places = new Map<string, boolean>();

/** The canary of a place. */
function canary(place: string, isKept = false): string {
  places.set(place, isKept);
  return `${mark}x${place}x`;
}

/** The places whose canary is in a text: as it is, or in base64. */
function placesIn(text: string): string[] {
  const found = [...text.matchAll(new RegExp(`${mark}x([a-z0-9]+)x`, "gi"))].map((match) => match[1]!);
  for (let shift = 0; shift < 3; shift++) {
    // What stands before and after it changes the first and the last letters.
    const letters = btoa(`${"-".repeat(shift)}${mark}`).replace(/=+$/, "").slice(shift === 0 ? 0 : 4, -2);
    if (text.includes(letters)) found.push("base64");
  }
  return [...new Set(found)].sort();
}

interface Found {
  where: string;
  place: string;
}

/** Looks through every table that is not the server's own, every log, and these answers. */
async function search(answers: readonly string[]): Promise<Found[]> {
  const found: Found[] = [];
  const add = (where: string, text: string) => found.push(...placesIn(text).map((place) => ({ where, place })));
  const tables = await sql<{ name: string; bytes: string[] }[]>`
    select
      c.oid::regclass::text as name,
      array(
        select quote_ident(a.attname)
        from pg_catalog.pg_attribute as a
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.atttypid in ('bytea'::regtype, 'bytea[]'::regtype)
      ) as bytes
    from pg_catalog.pg_class as c
    join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    where c.relkind in ('r', 'm')
      and n.nspname !~ '^(pg_|information_schema$)'
      and has_schema_privilege(n.oid, 'usage')
      and has_table_privilege(c.oid, 'select')
  `;
  assert(tables.some(({ name }) => name === "metrics.deliveries") && tables.some(({ name }) => name === "auth.users"));
  for (const { name, bytes } of tables) {
    const texts = ["t::text", ...bytes.map((column) => `encode(t.${column}, 'escape')`)].join(" || ' ' || ");
    const rows = await sql.unsafe(`select ${texts} as text from ${name} as t where ${texts} like '%canary%'`);
    for (const { text } of rows) add(name.replace(/^metrics\.bodies_\w+$/, "metrics.bodies"), text);
  }
  for await (const { name } of Deno.readDir(join(stack.data, "log"))) {
    add(`log ${name}`, await Deno.readTextFile(join(stack.data, "log", name)));
  }
  for (const text of answers) add("an answer", text);
  return [...new Map(found.map((one) => [`${one.where} ${one.place}`, one])).values()];
}

/** Deliveries with a canary wherever one fits. */
function deliveries(): Posted[] {
  const repository = new GitHubRepository(9, "acme/secretive", { source });
  const deployment = { id: 1, environment: "production", ref: "main", sha: sha(1), createdAt: at, by };
  const run = { id: 2, number: 1, status: "completed", conclusion: "success", branch: "main", sha: sha(1), by };
  const made = {
    deployment: repository.deployment(deployment),
    status: repository.deploymentStatus(deployment, { id: 3, state: "success", at, by }),
    stringPayload: repository.deployment({ ...deployment, id: 4 }),
    run: repository.run({ ...run, action: "completed", createdAt: at, startedAt: at, updatedAt: at }),
    job: repository.job({
      action: "completed",
      id: 5,
      runId: 2,
      name: "build",
      status: "completed",
      conclusion: "success",
      branch: "main",
      sha: sha(1),
      createdAt: at,
      startedAt: at,
      completedAt: at,
      steps: [{ name: "Test", status: "completed", conclusion: "success", startedAt: at, completedAt: at }],
      by,
    }),
    push: repository.push({
      ref: "refs/heads/main",
      before: sha(1),
      after: sha(2),
      at,
      by,
      commits: [{
        sha: sha(2),
        message: `Fix ${canary("title", true)}@example.com\n\nCo-authored-by: A <a@example.com>`,
        at,
        by,
      }],
    }),
    anonymous: repository.push({
      ref: "refs/heads/main",
      before: sha(2),
      after: sha(3),
      at,
      by,
      commits: [{ sha: sha(3), message: "Change", at, by }],
    }),
    pull: repository.pullRequest("opened", {
      number: 6,
      title: `Ask ${canary("pulltitle", true)}@example.org`,
      author: by,
      head: "change",
      headSha: sha(2),
      createdAt: at,
      updatedAt: at,
      additions: 1,
      deletions: 1,
      changedFiles: 1,
    }),
    release: repository.release({
      action: "published",
      id: 7,
      tag: "v1",
      name: "One",
      target: sha(2),
      createdAt: at,
      publishedAt: at,
      by,
    }),
    ping: repository.ping(by),
    quarantined: repository.rename("other", at, by),
  };
  // deno-lint-ignore no-explicit-any
  const body = (posted: Posted) => posted.body as any;
  body(made.deployment).deployment.payload = { token: canary("payload"), deep: [{ list: canary("payloaddeep") }] };
  body(made.status).deployment.payload = { token: canary("statuspayload") };
  body(made.stringPayload).deployment.payload = canary("payloadtext");
  body(made.run).inputs = { password: canary("inputs") };
  body(made.run).client_payload = { password: canary("clientpayload") };
  body(made.run).workflow_run.display_title = canary("displaytitle", true);
  body(made.job).env = { SECRET: canary("env", true) };
  body(made.job).workflow_job.env = { SECRET: canary("jobenv", true) };
  body(made.job).workflow_job.log = canary("log", true);
  body(made.job).workflow_job.steps[0].log = canary("steplog", true);
  body(made.job).workflow_job.steps[0].env = { A: canary("stepenv", true) };
  body(made.job).workflow_job.parameters = [{ name: "a", value: canary("parameters", true) }];
  body(made.job).workflow_job.html_url = `https://user:${canary("urlpassword", true)}@github.com/acme/secretive`;
  body(made.job)[canary("unknownkey", true)] = 1;
  const address = (place: string, isKept = true) => `${canary(place, isKept)}@example.com`;
  body(made.push).pusher.email = address("pusher");
  body(made.push).sender.email = address("sender");
  body(made.push).repository.owner.email = address("owner");
  for (const commit of body(made.push).commits) {
    commit.author = { ...commit.author, email: address("author") };
    commit.committer = { ...commit.committer, email: address("committer") };
    commit.message += `\nSigned-off-by: ${address("trailer")}`;
  }
  body(made.push).head_commit = structuredClone(body(made.push).head_commit);
  body(made.push).head_commit.author = { name: "x", email: address("headauthor") };
  body(made.anonymous).commits[0].author = { name: address("nameisaddress"), email: address("anonymousauthor") };
  body(made.anonymous).pusher = { name: address("pushername"), email: null };
  body(made.pull).pull_request.user.email = address("pullauthor");
  body(made.pull).pull_request.body = canary("pullbody", true);
  body(made.release).release.body = canary("releasenotes", true);
  body(made.release).release.author.email = address("releaseauthor");
  body(made.ping).hook.config.secret = canary("hooksecret");
  body(made.ping).hook.config.url = `https://x?token=${canary("hookurl")}`;
  body(made.quarantined).repository.id = canary("wrongid", true);
  body(made.quarantined).inputs = { password: canary("quarantinedinputs") };
  body(made.quarantined).deployment = { payload: canary("quarantinedpayload") };
  const ignored = (event: string, more: object): Posted => ({
    ...made.ping,
    event,
    body: { ...made.ping.body, ...more },
  });
  return [
    ...Object.values(made),
    ignored("workflow_dispatch", { inputs: { a: canary("dispatchinputs") } }),
    ignored("repository_dispatch", { client_payload: { a: canary("dispatchpayload") } }),
    ignored("check_run", {
      check_run: { deployment: { payload: canary("checkrun") }, output: { text: canary("output") } },
    }),
    ignored("organization", { organization: { billing_email: address("billing", false) } }),
    ignored("secret_scanning_alert", { alert: { secret: canary("scanned") } }),
  ];
}

/** Posts everything, in ways that are taken and in ways that are refused; the texts of all answers with their headers. */
async function postAll(): Promise<string[]> {
  const answers: Answered[] = [];
  const headers = {
    authorization: `Bearer ${canary("bearer")}`,
    cookie: `session=${canary("cookie")}`,
    "x-api-key": canary("apikey"),
    "x-hub-signature": `sha1=${canary("sha1")}`,
    "user-agent": canary("useragent"),
    "x-github-hook-id": canary("hookid"),
  };
  for (const { event, body } of deliveries()) answers.push(await post(stack, { source, event, body, headers }));
  const statuses = answers.map(({ status, json }) => `${status} ${json.result}`);
  assertEquals(statuses.filter((status) => status === "200 stored").length, 9);
  assertEquals(statuses.filter((status) => status === "202 quarantined").length, 1);
  assertEquals(statuses.filter((status) => status === "202 ignored").length, 6);

  const form = new URLSearchParams({ payload: JSON.stringify({ ...deliveries()[0]!.body, x: 1 }) }).toString();
  answers.push(
    await post(stack, {
      source,
      event: "deployment",
      body: form,
      headers: { "content-type": "application/x-www-form-urlencoded" },
    }),
  );
  assertEquals(answers.at(-1)!.json.result, "stored");
  const text = (place: string) => ({ body: { x: canary(place) } });
  for (
    const refused of [
      { source, ...text("unsigned"), headers: { "x-hub-signature-256": canary("signature") } },
      { source, ...text("wrongsecret"), secret: canary("secret") },
      { source: canary("path"), ...text("nosource") },
      { source: `${source}?token=${canary("query")}`, ...text("wrongquery"), secret: "x".repeat(16) },
      { source, ...text("wrongtype"), headers: { "content-type": canary("contenttype") } },
      { source, ...text("wrongmethod"), method: "PUT" },
    ]
  ) {
    answers.push(await post(stack, refused));
    assert(answers.at(-1)!.status >= 400 && answers.at(-1)!.status < 500);
  }
  // Signed, but with words in its headers that are not the provider's.
  answers.push(
    await post(stack, {
      source,
      event: `${canary("event")}!`,
      id: `${canary("id")}!`,
      body: { x: canary("strange", true) },
    }),
  );
  assertEquals(answers.at(-1)!.status, 202);
  // Over the query, too, a sender may tell a token.
  answers.push(
    await post(stack, {
      source: `${source}?token=${canary("livequery")}`,
      secret: stack.sources[source]!,
      event: "ping",
      body: { zen: "x" },
    }),
  );
  assertEquals(answers.at(-1)!.status, 202);
  // The log is written behind the answer.
  await new Promise((resolve) => setTimeout(resolve, 300));
  return answers.map(({ text, headers }) => `${text} ${JSON.stringify([...headers])}`);
}

const answers = await postAll();

Deno.test("no canary is found but in bodies, and of removed fields not even there", options, async () => {
  assert(places.size > 50);
  const found = await search(answers);
  assertEquals(found.filter(({ where }) => where !== "metrics.bodies"), []);
  assertEquals(found.filter(({ place }) => !places.get(place)), []);
});

Deno.test("bodies hold what they may, so the search finds what is there", options, async () => {
  const found = await search([]);
  const expected = [...places].filter(([, isKept]) => isKept).map(([place]) => place).sort();
  assertEquals(found.filter(({ where }) => where === "metrics.bodies").map(({ place }) => place).sort(), expected);
});

Deno.test("the search finds a canary that is planted in a table, in a log and in an answer", options, async () => {
  const id = crypto.randomUUID();
  const planted = canary("planted");
  try {
    await sql`
      insert into metrics.deliveries (source, delivery_id, result, sha256, notes)
      values (${source}, ${id}, 'stored', sha256(''), array[${planted}])
    `;
    // A value that a column cannot hold is what Postgres writes into its log.
    await sql.unsafe(`select '${canary("plantedlog")}'::timestamptz`).catch(() => {});
    await Deno.writeTextFile(join(stack.data, "log", "planted.log"), btoa(`body ${mark} body`));
    const found = await search([`{"detail":"${canary("plantedanswer")}"}`]);
    const expected = [
      ["metrics.deliveries", "planted"],
      ["log postgres.log", "plantedlog"],
      ["log planted.log", "base64"],
      ["an answer", "plantedanswer"],
    ];
    for (const [where, place] of expected) {
      assert(found.some((one) => one.where === where && one.place === place), `${where} ${place}`);
    }
  } finally {
    await sql`delete from metrics.deliveries where source = ${source} and delivery_id = ${id}`;
    await Deno.remove(join(stack.data, "log", "planted.log")).catch(() => {});
  }
});

Deno.test("the stack's own secrets are in no table, no log and no answer", options, async () => {
  const own = [...Object.values(stack.sources), stack.secret_key];
  const tables = await sql<{ name: string }[]>`
    select c.oid::regclass::text as name
    from pg_catalog.pg_class as c
    join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    where c.relkind in ('r', 'm')
      and n.nspname !~ '^(pg_|information_schema$)'
      and has_schema_privilege(n.oid, 'usage')
      and has_table_privilege(c.oid, 'select')
  `;
  assertNotEquals(tables.length, 0);
  for (const { name } of tables) {
    const [row] = await sql.unsafe(
      `select count(*)::integer as count from ${name} as t where ${
        own.map((_, index) => `position($${index + 1} in t::text) > 0`).join(" or ")
      }`,
      own,
    );
    assertEquals([name, row!.count], [name, 0]);
  }
  const texts = [...answers];
  for await (const { name } of Deno.readDir(join(stack.data, "log"))) {
    texts.push(await Deno.readTextFile(join(stack.data, "log", name)));
  }
  for (const secret of own) assert(!texts.some((text) => text.includes(secret)));
});
