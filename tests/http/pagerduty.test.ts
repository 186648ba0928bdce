// PagerDuty's webhooks over HTTP through the whole stack: signed as it signs them, refused when they are not, and told again.
import { assertEquals } from "@std/assert";
import { answered, connect, sharedStack, signatureOf } from "../support/http.ts";
import { readExample } from "../support/history_examples.ts";
import { sentAs } from "../support/history_senders.ts";
import type { Posted } from "../support/history_github.ts";

const stack = await sharedStack();
const sql = connect(stack);
const source = "pagerduty-http";
const secret = stack.sources[source]!;
const options = { sanitizeOps: false, sanitizeResources: false };
const { deliveries } = readExample("pagerduty-reopened");
const [ping, triggered] = deliveries as [Posted, Posted];

async function v1(body: string, key = secret): Promise<string> {
  return (await signatureOf(new TextEncoder().encode(body), key)).replace("sha256=", "v1=");
}

/** Posts a delivery with these headers beside its own; without a signature among them, with the right one. */
async function post(posted: Posted, headers: Record<string, string> = {}, body = JSON.stringify(posted.body)) {
  const sent = sentAs(posted);
  const given = "x-pagerduty-signature" in headers ? {} : { "x-pagerduty-signature": await v1(body) };
  const response = await fetch(`${stack.url}/functions/v1/ingest-metrics/${source}`, {
    method: "POST",
    headers: { "content-type": sent.contentType, ...sent.headers, ...given, ...headers },
    body,
  });
  return await answered(response);
}

const kept = () => sql`select * from metrics.deliveries where source = ${source} order by delivery_id`;

Deno.test(
  "pagerduty: what is not signed with a secret of the source is refused and leaves nothing",
  options,
  async () => {
    const body = JSON.stringify(triggered.body);
    const right = await v1(body);
    const digits = right.slice(3);
    const claims: Record<string, string> = {
      "of another secret": await v1(body, "another secret, a wrong one"),
      "of other bytes": await v1(`${body} `),
      "several, all wrong": `${await v1(body, "another secret, a wrong one")},${await v1("")}`,
      empty: "",
      "without its version": digits,
      "of another version": `v2=${digits}`,
      "GitHub's": `sha256=${digits}`,
      "cut off": right.slice(0, -2),
      "no digits": `v1=${"z".repeat(64)}`,
      "only commas": ",,,",
    };
    for (const [name, claim] of Object.entries(claims)) {
      const answer = await post(triggered, { "x-pagerduty-signature": claim });
      assertEquals([answer.status, answer.headers.get("content-type")], [401, "application/problem+json"], name);
    }
    const others = {
      "x-hub-signature-256": `sha256=${digits}`,
      authorization: `Bearer ${secret}`,
      "x-gitlab-token": secret,
    };
    for (const [header, value] of Object.entries(others)) {
      const response = await fetch(`${stack.url}/functions/v1/ingest-metrics/${source}`, {
        method: "POST",
        headers: { "content-type": "application/json", [header]: value },
        body,
      });
      assertEquals((await answered(response)).status, 401, header);
    }
    assertEquals((await kept()).length, 0);
  },
);

Deno.test(
  "pagerduty: the life of an incident leaves the incident, and comes again as duplicates",
  options,
  async () => {
    for (const [index, posted] of deliveries.entries()) {
      const body = JSON.stringify(posted.body);
      // Every other one while a secret is changed, when PagerDuty signs with both.
      const both = `${await v1(body, "the secret before this one")},${await v1(body)}`;
      const headers: Record<string, string> = index % 2 === 0 ? {} : { "x-pagerduty-signature": both };
      const answer = await post(posted, { ...headers, "content-type": "application/json; charset=utf-8" });
      const isIgnored = posted === ping || posted.event === "incident.annotated";
      assertEquals([answer.status, answer.json.result], isIgnored ? [202, "ignored"] : [200, "stored"], posted.event);
    }
    const incidents = () =>
      sql`
      select external_id, service, title, severity, status, opened_at, acknowledged_at, resolved_at, is_withdrawn
      from metrics.incidents where source = ${source}
    `;
    const expected = [{
      external_id: "PSHOP1",
      service: "shop",
      title: "Checkout answers 500",
      severity: "P1",
      status: "resolved",
      opened_at: new Date("2026-03-02T09:00:00Z"),
      acknowledged_at: new Date("2026-03-02T09:04:10Z"),
      resolved_at: new Date("2026-03-02T11:30:00.250Z"),
      is_withdrawn: false,
    }];
    assertEquals((await incidents()).map((row) => ({ ...row })), expected);

    const before = [...await kept()];
    assertEquals(before.length, deliveries.length);
    for (const posted of deliveries.toReversed()) {
      const answer = await post(posted);
      assertEquals([answer.status, answer.json.result], [200, "duplicate"], posted.event);
    }
    assertEquals([...await kept()], before);
    assertEquals((await incidents()).map((row) => ({ ...row })), expected);
  },
);

Deno.test("pagerduty: an authentic delivery is never answered 4xx", options, async () => {
  const id = () => ({ "x-webhook-id": crypto.randomUUID() });
  const results = [];
  for (
    const body of ["no JSON", "[]", "{}", '{"event":{"event_type":"incident.triggered","data":{"type":"incident"}}}']
  ) {
    const { status, json } = await post(triggered, id(), body);
    results.push([status, json.result, json.reason]);
  }
  const unknown = { event: { ...(ping.body["event"] as object), event_type: "pagey.pong" } };
  const { status, json } = await post(triggered, id(), JSON.stringify(unknown));
  assertEquals([...results, [status, json.result, json.reason]], [
    [202, "quarantined", "body: not JSON"],
    [202, "quarantined", "body: not an object"],
    [202, "quarantined", "event: invalid_type"],
    [202, "quarantined", "event.data.id: invalid_type"],
    [202, "ignored", "an event that is not known"],
  ]);
});
