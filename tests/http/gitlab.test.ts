// GitLab's webhooks over HTTP through the whole stack: signed and with the older token, refused when they are neither, and told again.
import { assert, assertEquals } from "@std/assert";
import { answered, connect, sharedStack, signatureOf, standardHeaders } from "../support/http.ts";
import { readExample } from "../support/history_examples.ts";
import type { Posted } from "../support/history_github.ts";
import { sentAs } from "../support/history_senders.ts";

const stack = await sharedStack();
const sql = connect(stack);
const [signed, token] = ["gitlab-signed", "gitlab-token"];
const options = { sanitizeOps: false, sanitizeResources: false };
const { deliveries } = readExample("gitlab-project-life");
const pipeline = deliveries.find(({ event }) => event === "Pipeline Hook")!;
const bytesOf = (body: string) => new TextEncoder().encode(body);
const now = () => Math.floor(Date.now() / 1000);

/** Posts a delivery with these headers beside its own: nothing is added that proves it. */
async function post(source: string, posted: Posted, headers: HeadersInit, body = JSON.stringify(posted.body)) {
  const sent = new Headers({ "content-type": "application/json", ...sentAs(posted).headers });
  for (const [name, value] of new Headers(headers)) sent.set(name, value);
  const url = `${stack.url}/functions/v1/ingest-metrics/${source}`;
  return await answered(await fetch(url, { method: "POST", headers: sent, body }));
}

/** The headers that prove a delivery to either source. */
async function proof(source: string, posted: Posted, body = JSON.stringify(posted.body)) {
  const secret = stack.sources[source]!;
  return source === token
    ? { "x-gitlab-token": secret }
    : await standardHeaders(bytesOf(body), secret, sentAs(posted).headers["webhook-id"]!);
}

const kept = (source: string) => sql`select * from metrics.deliveries where source = ${source} order by delivery_id`;

Deno.test("gitlab: what is not signed with the signing token is refused and leaves nothing", options, async () => {
  const body = JSON.stringify(pipeline.body);
  const key = stack.sources[signed]!;
  const id = "00000000-0000-4000-a000-000000000001";
  const sign = (bytes: string, secret = key, at = now()) => standardHeaders(bytesOf(bytes), secret, id, at);
  const right = await sign(body);
  const wrong: Record<string, Record<string, string>> = {
    "of another key": await sign(body, `whsec_${btoa("x".repeat(32))}`),
    "of other bytes": await sign(`${body} `),
    "for another delivery": { ...right, "webhook-id": "another" },
    "at another time": { ...right, "webhook-timestamp": String(now() - 1) },
    "six minutes old": await sign(body, key, now() - 360),
    "from the future": await sign(body, key, now() + 360),
    "an empty one": { ...right, "webhook-signature": "" },
    "an empty time": { ...right, "webhook-timestamp": "" },
    "of another version": { ...right, "webhook-signature": right["webhook-signature"]!.replace("v1,", "v1a,") },
    "none": {},
    "an id and a time alone": { "webhook-id": id, "webhook-timestamp": String(now()) },
    "the key as a token": { "x-gitlab-token": key },
    "the token of another source": { "x-gitlab-token": stack.sources[token]! },
    "a wrong one with a token": { ...await sign(`${body} `), "x-gitlab-token": key },
    "GitHub's": { "x-hub-signature-256": await signatureOf(bytesOf(body), key) },
    "a bearer token": { authorization: `Bearer ${key}` },
  };
  for (const [name, headers] of Object.entries(wrong)) {
    const answer = await post(signed, pipeline, headers);
    assertEquals([answer.status, answer.headers.get("content-type")], [401, "application/problem+json"], name);
  }
  assertEquals((await kept(signed)).length, 0);
});

Deno.test("gitlab: what carries another token than the source's is refused and leaves nothing", options, async () => {
  const right = stack.sources[token]!;
  const body = JSON.stringify(pipeline.body);
  const wrong: Record<string, Record<string, string>> = {
    "another": { "x-gitlab-token": "another token of many bytes" },
    "cut off": { "x-gitlab-token": right.slice(0, -1) },
    "longer": { "x-gitlab-token": `${right}0` },
    "in upper case": { "x-gitlab-token": right.toUpperCase() },
    "empty": { "x-gitlab-token": "" },
    "none": {},
    "in another header": { authorization: `Bearer ${right}` },
    "as a key": { "x-hub-signature-256": await signatureOf(bytesOf(body), right) },
    "a signature": await standardHeaders(bytesOf(body), stack.sources[signed]!, "a-1"),
  };
  for (const [name, headers] of Object.entries(wrong)) {
    assertEquals((await post(token, pipeline, headers)).status, 401, name);
  }
  assertEquals((await kept(token)).length, 0);
});

for (const source of [signed, token] as const) {
  Deno.test(
    `gitlab: the life of a project leaves its facts with ${source}, and comes again as duplicates`,
    options,
    async () => {
      const answers = [];
      for (const posted of deliveries.toReversed()) {
        answers.push([posted, await post(source, posted, await proof(source, posted))] as const);
      }
      for (const [{ event, body }, { status, json }] of answers) {
        assertEquals([status, json.result], event === "Note Hook" ? [202, "ignored"] : [200, "stored"], event);
        if (event === "Pipeline Hook") assertEquals(json.facts.jobs, (body["builds"] as unknown[]).length);
      }
      const facts = async () => {
        const [row] = await sql`
        with r as (select id from metrics.repository_references where reference = ${`${source}:81`})
        select
          (select full_name from metrics.repositories as p join metrics.repository_references as f on f.repository_id = p.id
            where f.id in (select id from r)) as name,
          (select jsonb_object_agg(external_id, outcome) from metrics.pipeline_runs where reference_id in (select id from r)) as runs,
          (select jsonb_object_agg(external_id, outcome) from metrics.jobs where reference_id in (select id from r)) as jobs,
          (select jsonb_object_agg(number, state) from metrics.pull_requests where reference_id in (select id from r)) as pulls,
          (select jsonb_object_agg(external_id, state) from metrics.reviews where reference_id in (select id from r)) as reviews,
          (select count(*)::integer from metrics.pushes where reference_id in (select id from r)) as pushes,
          (select count(*)::integer from metrics.commits where reference_id in (select id from r)) as commits,
          (select jsonb_object_agg(external_id, outcome) from metrics.deployments where reference_id in (select id from r)) as deployments,
          (select jsonb_object_agg(tag, commit_sha) from metrics.releases where reference_id in (select id from r)) as releases,
          (select jsonb_object_agg(external_id, status) from metrics.incidents where source = ${source}) as incidents
      `;
        return { ...row };
      };
      const expected = {
        name: "acme-shop/web",
        runs: { 501: "success", 502: "success" },
        jobs: { 5001: "failure", 5002: "success", 5003: "success", 5004: "success" },
        pulls: { 1: "merged" },
        reviews: { "1/1414": "approved" },
        pushes: 5,
        commits: 3,
        deployments: { 61: "success" },
        releases: { v1: "03".repeat(20) },
        incidents: { 301: "resolved" },
      };
      assertEquals(await facts(), expected);

      const before = [...await kept(source)];
      assertEquals(before.length, deliveries.length);
      for (const posted of deliveries) {
        const { status, json } = await post(source, posted, await proof(source, posted));
        assertEquals([status, json.result], [200, "duplicate"], posted.event);
      }
      assertEquals([...await kept(source)], before);
      assertEquals(await facts(), expected);
    },
  );
}

Deno.test("gitlab: an authentic delivery is never answered 4xx, and variables are not kept", options, async () => {
  const results = [];
  const bodies = [
    "no JSON",
    "[]",
    "{}",
    '{"text":"pipeline 31 passed"}',
    '{"object_kind":"my_own"}',
    '{"object_kind":"note"}',
  ];
  for (const [i, body] of bodies.entries()) {
    const posted = { ...pipeline, id: `odd-${i}` };
    const { status, json } = await post(signed, posted, await proof(signed, posted, body), body);
    results.push([status, json.result, json.reason]);
  }
  const [notUnderstood, ignored] = ["object_attributes: invalid_type", "note: conversation, not delivery"];
  assertEquals(results, [
    [202, "quarantined", "body: not JSON"],
    [202, "quarantined", "body: not an object"],
    [202, "quarantined", notUnderstood],
    [202, "quarantined", notUnderstood],
    [202, "quarantined", notUnderstood],
    [202, "ignored", ignored],
  ]);
  const [row] = await sql`
    select convert_from(body, 'UTF8') as body from metrics.bodies where source = ${signed} and delivery_id = ${pipeline.id}
  `;
  assert(JSON.stringify(pipeline.body).includes("kept out") && !row!["body"].includes("kept out"));
});
