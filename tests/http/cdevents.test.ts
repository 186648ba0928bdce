// CDEvents over HTTP through the whole stack: in every mode, after the handshake and without it, refused without the token, and told again.
import { assert, assertEquals } from "@std/assert";
import { type Answered, answered, connect, sharedStack } from "../support/http.ts";
import { CDEventsProducer } from "../support/history_cdevents.ts";
import { readExample } from "../support/history_examples.ts";
import { sentAs } from "../support/history_senders.ts";
import type { Posted } from "../support/history_github.ts";

const stack = await sharedStack();
const sql = connect(stack);
const source = "cdevents-http";
const secret = stack.sources[source]!;
const options = { sanitizeOps: false, sanitizeResources: false };
const { deliveries } = readExample("cdevents-pipeline");
const [queued] = deliveries as [Posted];

interface Change {
  method?: string;
  to?: string;
  body?: string;
  /** Replaced or, with null, left out. */
  headers?: Record<string, string | null>;
}

/** Posts a delivery in its own mode with the right token, unless that is changed. */
async function post(
  posted: Posted,
  { method = "POST", to = source, headers = {}, body }: Change = {},
): Promise<Answered> {
  const sent = sentAs(posted);
  const all = { ...sent.headers, "content-type": sent.contentType, authorization: `Bearer ${secret}`, ...headers };
  const given = Object.entries(all).filter((one): one is [string, string] => one[1] !== null);
  const response = await fetch(`${stack.url}/functions/v1/ingest-metrics/${to}`, {
    method,
    headers: given,
    ...(method === "POST" ? { body: body ?? JSON.stringify(posted.body) } : {}),
  });
  return await answered(response);
}

const kept = () => sql`select * from metrics.deliveries where source = ${source} order by delivery_id`;

Deno.test("cdevents: a sender that asks first may send, and needs no token to ask", options, async () => {
  const origin = { "webhook-request-origin": "emitter.example", "webhook-request-rate": "120", authorization: null };
  const asked = await post(queued, {
    method: "OPTIONS",
    headers: { ...origin, "webhook-request-callback": "https://x.example" },
  });
  assertEquals([asked.status, asked.text], [200, ""]);
  assertEquals(
    ["webhook-allowed-origin", "webhook-allowed-rate", "allow"].map((name) => asked.headers.get(name)),
    ["*", "*", "OPTIONS, POST"],
  );
  for (
    const [to, headers, status] of [
      [source, { authorization: null }, 405],
      [source, { origin: "https://app.example", "access-control-request-method": "POST", authorization: null }, 405],
      ["github-refusals", origin, 405],
      ["cdevents-nobody", origin, 404],
    ] as const
  ) {
    const refused = await post(queued, { method: "OPTIONS", to, headers });
    assertEquals([refused.status, refused.headers.get("webhook-allowed-origin")], [status, null], `${to} ${status}`);
    if (status === 405) assertEquals(refused.headers.get("allow"), "POST");
  }
  assertEquals((await kept()).length, 0);
});

Deno.test("cdevents: what does not carry the token is refused and leaves nothing", options, async () => {
  const claims: Record<string, Record<string, string | null>> = {
    missing: { authorization: null },
    empty: { authorization: "" },
    "without a token": { authorization: "Bearer " },
    wrong: { authorization: "Bearer another secret, a wrong one" },
    "the first half": { authorization: `Bearer ${secret.slice(0, 24)}` },
    longer: { authorization: `Bearer ${secret}0` },
    "without its scheme": { authorization: secret },
    Basic: { authorization: `Basic ${btoa(`:${secret}`)}` },
    "of another source": { authorization: `Bearer ${stack.sources["github-refusals"]}` },
    "GitHub's": { authorization: null, "x-hub-signature-256": `sha256=${"0".repeat(64)}` },
    "GitLab's": { authorization: null, "x-gitlab-token": secret },
  };
  for (const [name, headers] of Object.entries(claims)) {
    const answer = await post(queued, { headers });
    assertEquals([answer.status, answer.headers.get("content-type")], [401, "application/problem+json"], name);
  }
  assertEquals(
    (await post(queued, { to: `${source}?access_token=${secret}`, headers: { authorization: null } })).status,
    401,
  );
  assertEquals((await post(queued, { headers: { "content-type": "application/cloudevents+avro" } })).status, 415);
  assertEquals((await kept()).length, 0);
});

Deno.test("cdevents: a pipeline in every mode leaves its facts, and comes again as duplicates", options, async () => {
  for (const posted of deliveries) {
    const type = { "content-type": `${sentAs(posted).contentType}; charset=UTF-8` };
    const answer = await post(posted, { headers: type });
    const isIgnored = posted.event === "build.finished";
    assertEquals([answer.status, answer.json.result], isIgnored ? [202, "ignored"] : [200, "stored"], posted.id);
    if (posted.event === "batch") assertEquals(answer.json.facts, { jobs: 1, test_runs: 1, test_cases: 3 });
  }
  const facts = async () => {
    const reference = "//git.example/acme/shop";
    const [row] = await sql`
      select
        (select jsonb_agg(to_jsonb(p) - '{reference_id,clocks,updated_at}'::text[]) from metrics.pipeline_runs as p
         where p.reference_id = r.id) as runs,
        (select jsonb_agg(jsonb_build_array(j.name, j.outcome, j.duration_seconds) order by j.name) from metrics.jobs as j
         where j.reference_id = r.id) as jobs,
        (select count(*)::integer from metrics.test_cases as c where c.reference_id = r.id) as cases
      from metrics.repository_references as r where r.reference = ${reference}
    `;
    return row!;
  };
  const told = await facts();
  assertEquals(told.jobs, [["build", "success", 90], ["test", "failure", 28]]);
  assertEquals([told.runs.length, told.runs[0].outcome, told.runs[0].duration_seconds, told.cases], [
    1,
    "failure",
    121,
    3,
  ]);

  const before = [...await kept()];
  for (const posted of deliveries.toReversed()) {
    const answer = await post(posted);
    assertEquals([answer.status, answer.json.result], [200, "duplicate"], posted.id);
  }
  assertEquals([...await kept()], before);
  assertEquals(await facts(), told);
});

Deno.test(
  "cdevents: an authentic delivery is never answered 4xx, and a bad event keeps its batch whole",
  options,
  async () => {
    const producer = new CDEventsProducer("/ci/odd", { events: 9000 });
    const good = producer.event("pipelinerun.started", { at: "2026-03-02T09:00:00Z", id: "run-1" });
    const odd = producer.event("pipelinerun.started", { at: "2026-03-02T09:00:00Z", id: "" });
    const body = JSON.stringify([good, odd]);
    const batch = { headers: { "content-type": "application/cloudevents-batch+json" } };
    const results = [];
    for (
      const change of [{ ...batch, body }, { ...batch, body: "[]" }, { body: "no JSON" }, { body: "[1]" }, {
        body: "{}",
      }]
    ) {
      const { status, json } = await post(queued, change);
      results.push([status, json.result, json.reason]);
    }
    assertEquals(results, [
      [202, "quarantined", "[1].subject.id: too_small"],
      [202, "ignored", "batch: nothing in it carries a fact"],
      [202, "quarantined", "body: not JSON"],
      [202, "quarantined", "body: not an object"],
      [202, "quarantined", "context: invalid_type, subject: invalid_type"],
    ]);
    const [row] = await sql`
    select d.content_type, b.body from metrics.deliveries as d join metrics.bodies as b using (source, delivery_id)
    where d.source = ${source} and d.event = 'batch' and d.result = 'quarantined'
  `;
    assertEquals([row!.content_type, new TextDecoder().decode(row!.body)], [
      "application/cloudevents-batch+json",
      body,
    ]);
    const references = await sql`select from metrics.repository_references where reference like 'cdevents-http:%'`;
    assert(references.length === 0);
  },
);
