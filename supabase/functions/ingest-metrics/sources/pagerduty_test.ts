import { assert, assertEquals } from "@std/assert";
import { checkFacts } from "../facts.ts";
import { ADDRESS, decodeBody, SECRET, signature, testHandler } from "../testing.ts";
import { ignoredEvents, outcomeTable, pagerduty, redactedFields } from "./pagerduty.ts";

const options = { source: "pagerduty", incidentLabels: new Set<string>() };

/** A body in the shape of PagerDuty's, with other members where they are given; undefined takes a member away. */
function body(type: string, data: Record<string, unknown> = {}, event: Record<string, unknown> = {}) {
  return {
    event: {
      id: "01J2Y3ZK9M4Q7R8T2VBN5X0F1A",
      event_type: type,
      resource_type: "incident",
      occurred_at: "2026-03-02T09:00:00.169Z",
      agent: { id: "PUSER1", type: "user_reference", summary: "dev-1" },
      client: { name: "PagerDuty" },
      data: {
        id: "PINC1",
        type: "incident",
        html_url: "https://acme.pagerduty.com/incidents/PINC1",
        number: 2,
        status: "triggered",
        incident_key: "d3640fbd",
        created_at: "2026-03-02T08:59:58Z",
        title: "Checkout answers 500",
        service: { id: "PSVC1", type: "service_reference", summary: "shop" },
        assignees: [],
        priority: { id: "PPRI1", type: "priority_reference", summary: "P1" },
        urgency: "high",
        conference_bridge: null,
        resolve_reason: null,
        ...data,
      },
      ...event,
    },
  };
}

/** The incident that a body tells, as it goes to the database. */
// deno-lint-ignore no-explicit-any
function incident(type: string, data: Record<string, unknown> = {}, event: Record<string, unknown> = {}): any {
  const translation = pagerduty.facts(type, body(type, data, event), options);
  if (!("facts" in translation)) throw new Error(JSON.stringify(translation));
  const checked = checkFacts(translation.facts);
  if ("wrong" in checked) throw new Error(checked.wrong);
  assertEquals([Object.keys(checked.facts), checked.facts.incidents!.length], [["incidents"], 1]);
  return checked.facts.incidents![0];
}

Deno.test("an incident, from the event that began it", () => {
  assertEquals(incident("incident.triggered"), {
    source: "pagerduty",
    external_id: "PINC1",
    observed_at: "2026-03-02T09:00:00.169Z",
    service: "shop",
    title: "Checkout answers 500",
    severity: "P1",
    opened_at: "2026-03-02T08:59:58Z",
    status: "open",
    resolved_at: null,
    is_withdrawn: false,
    url: "https://acme.pagerduty.com/incidents/PINC1",
  });
});

Deno.test("what happens to an incident happens when the event occurred, whatever its status is by now", () => {
  const state = (type: string, data = {}) => {
    const { status, resolved_at, acknowledged_at } = incident(type, data);
    return [status, resolved_at, acknowledged_at];
  };
  const now = "2026-03-02T09:00:00.169Z";
  assertEquals(state("incident.triggered", { status: "resolved" }), ["open", null, undefined]);
  assertEquals(state("incident.acknowledged", { status: "acknowledged" }), ["acknowledged", null, now]);
  assertEquals(state("incident.unacknowledged"), ["open", null, undefined]);
  assertEquals(state("incident.resolved", { status: "triggered" }), ["resolved", now, undefined]);
  assertEquals(state("incident.reopened"), ["open", null, undefined]);
});

Deno.test("another event says the status as the incident has it, and never an end without its time", () => {
  for (const what of ["escalated", "delegated", "reassigned", "priority_updated", "service_updated", "invented"]) {
    const state = (status: unknown) => {
      const told = incident(`incident.${what}`, { status });
      return "status" in told ? [told.status, told.resolved_at] : [];
    };
    assertEquals(state("triggered"), ["open", null]);
    assertEquals(state("acknowledged"), ["acknowledged", null]);
    assertEquals([state("resolved"), state(null), state("constructor")], [[], [], []]);
  }
  const translation = pagerduty.facts("", body("incident.escalated", { status: "smouldering" }), options);
  assertEquals("notes" in translation ? translation.notes : null, ["incidents.status is not known"]);
});

Deno.test("an incident that was merged into another is withdrawn, until it is opened again", () => {
  const merged = { status: "resolved", resolve_reason: { type: "merge_resolve_reason", incident: { id: "PINC2" } } };
  const withdrawn = (type: string, data: Record<string, unknown>) => incident(type, data).is_withdrawn;
  assertEquals(withdrawn("incident.resolved", merged), true);
  assertEquals(withdrawn("incident.priority_updated", merged), true);
  assertEquals(withdrawn("incident.reopened", merged), false);
  assertEquals(withdrawn("incident.resolved", { status: "resolved" }), false);
  assertEquals(withdrawn("incident.resolved", { status: "resolved", resolve_reason: undefined }), undefined);
});

Deno.test("the service goes by its name or else its id, the severity by the priority or else the urgency", () => {
  const { service, severity } = incident("incident.triggered", { service: { id: "PSVC1" }, priority: null });
  assertEquals([service, severity], ["PSVC1", "high"]);
  const silent = incident("incident.triggered", { service: undefined, priority: undefined, urgency: undefined });
  assertEquals(["service" in silent, "severity" in silent], [false, false]);
  assert(!("repository" in silent) && !("commit_sha" in silent) && !("deployment_external_id" in silent));
});

Deno.test("events about anything else than an incident are ignored with their reason", () => {
  const note = { id: "PNOTE1", type: "incident_note", content: "x", incident: { id: "PINC1" } };
  for (const [type, reason] of Object.entries(ignoredEvents)) {
    assertEquals(pagerduty.facts(type, { event: { event_type: type, data: note } }, options), {
      ignored: `${type}: ${reason}`,
    });
  }
  const unknown = { ignored: "an event that is not known" };
  assertEquals(pagerduty.facts("", body("incident.sung.about", { type: "incident_song" }), options), unknown);
  assertEquals(pagerduty.facts("", body("team.renamed", { type: "team" }), options), unknown);
  assertEquals(pagerduty.facts("", { event: { event_type: "pagey.pong", data: null } }, options), unknown);
});

Deno.test("what is not understood says where", () => {
  const reason = (given: unknown) => {
    const translation = pagerduty.facts("", given, options);
    return "quarantined" in translation ? translation.quarantined : translation;
  };
  assertEquals(reason({ messages: [] }), "event: invalid_type");
  assertEquals(reason({ event: { data: {} } }), "event.event_type: invalid_type");
  assertEquals(reason(body("incident.triggered", { id: undefined })), "event.data.id: invalid_type");
  assertEquals(reason(body("incident.resolved", {}, { data: null })), "event.data: invalid_type");
  assertEquals(reason(body("incident.triggered", { service: "shop" })), "event.data.service: invalid_type");
});

Deno.test("a delivery goes by the header, which is the same for every attempt, or by the event", () => {
  const identify = (headers: Record<string, string>, given: unknown) => pagerduty.identify(new Headers(headers), given);
  const given = body("incident.responder.added");
  assertEquals(identify({ "x-webhook-id": "6f1c-7" }, given), {
    deliveryId: "6f1c-7",
    event: "incident.responder.added",
  });
  assertEquals(identify({}, given).deliveryId, "01J2Y3ZK9M4Q7R8T2VBN5X0F1A");
  assertEquals(identify({ "x-webhook-id": "no id" }, given).deliveryId, null);
  assertEquals(identify({}, {}), { deliveryId: null, event: "unknown" });
  assertEquals(identify({}, { event: { id: 7, event_type: "a b" } }), { deliveryId: null, event: "unknown" });
  assertEquals(identify({}, undefined), { deliveryId: null, event: null });
  assertEquals([{}, { "x-pagerduty-signature": "" }].map((one) => pagerduty.match(new Headers(one as HeadersInit))), [
    false,
    true,
  ]);
});

Deno.test("any of several signatures proves a delivery, and what an alert carried is not kept", async () => {
  const { handler, store, lines } = testHandler({ INGEST_SECRET_PAGERDUTY: SECRET });
  const text = JSON.stringify(
    body("incident.triggered", { conference_bridge: { conference_number: "+1 canary" }, body: { details: "canary" } }),
  );
  const send = (signatures: string) =>
    handler(
      new Request(`${ADDRESS}/pagerduty`, {
        method: "POST",
        headers: { "content-type": "application/json; charset=utf-8", "x-pagerduty-signature": signatures },
        body: text,
      }),
    );
  const right = (await signature(text)).replace("sha256=", "v1=");
  const old = (await signature(text, "an old secret, retired")).replace("sha256=", "v1=");
  assertEquals((await send(`${old},${right}`)).status, 200);
  assert(!decodeBody(store.last).includes("canary"));
  assertEquals([lines[0]!.source, lines[0]!.event, lines[0]!.result], ["pagerduty", "incident", "stored"]);
  assertEquals((await send(`v2=${right.slice(3)},${right}`)).status, 200);
  for (
    const wrong of [
      old,
      `${old},${old}`,
      "",
      "v1=",
      right.slice(3),
      right.replace("v1", "v2"),
      `sha256=${right.slice(3)}`,
    ]
  ) {
    assertEquals((await send(wrong)).status, 401, wrong);
  }
});

Deno.test("the page shows the words, the redacted fields and the ignored events of the source", async () => {
  const page = await Deno.readTextFile(new URL("../../../../docs/sources/pagerduty.md", import.meta.url));
  const rows = page.split("\n").filter((line) => line.startsWith("|")).map((line) =>
    line.split("|").slice(1, -1).map((cell) => cell.trim())
  );
  const words = Object.entries(outcomeTable).flatMap(([field, table]) =>
    Object.entries(table).map(([word, status]) => [field, `\`${word}\``, status])
  );
  assertEquals(rows.filter((row) => row.length === 3 && Object.hasOwn(outcomeTable, row[0]!)), words);
  // Of the two tables of two columns the second; the first is of what is told.
  const listed = rows.slice(rows.findIndex(([cell]) => cell === "reason")).flatMap(([reason, events]) =>
    [...events!.matchAll(/`([\w.]+)`/g)].map(([, event]) => [event!, reason!] as const)
  );
  assertEquals(Object.fromEntries(listed), ignoredEvents);
  assertEquals([...page.matchAll(/^- `([\w.]+)`$/gm)].map((match) => match[1]), [...redactedFields]);
});
