/** PagerDuty: V3 webhook subscriptions of an account, a team or a service. What it cannot say: docs/sources/pagerduty.md. */

import { z } from "zod";
import type { Observation } from "../facts.ts";
import type { Source } from "./mod.ts";
import { read, reasonsByName, type Text, text, time } from "./shared.ts";

type State = NonNullable<Observation<"incidents">["status"]>;

/**
 * PagerDuty's words, and what they mean. The type of the event counts where it is here: it says what happened at `occurred_at`. The status in
 * the incident counts for every other event, unless it is `resolved`: only the event of that name tells when.
 */
export const outcomeTable: Readonly<Record<string, Readonly<Record<string, State>>>> = {
  event_type: {
    "incident.triggered": "open",
    "incident.acknowledged": "acknowledged",
    "incident.unacknowledged": "open",
    "incident.reopened": "open",
    "incident.resolved": "resolved",
  },
  status: {
    triggered: "open",
    acknowledged: "acknowledged",
  },
};

/** Events that carry no fact, each with its reason. Every other event is about an incident, or ignored as not known. */
export const ignoredEvents = reasonsByName({
  "sent to try the subscription; it carries no fact": "pagey.ping",
  "conversation and people, not the state of the incident": `
    incident.annotated incident.conference_bridge.updated incident.custom_field_values.updated
    incident.responder.added incident.responder.replied incident.role.assigned incident.status_update_published
  `,
  "work on the incident, not its state": `
    incident.action_invocation.created incident.action_invocation.terminated incident.action_invocation.updated
    incident.task.completed incident.task.created incident.task.updated incident.workflow.completed
    incident.workflow.started
  `,
  "a service of PagerDuty's, not an incident; incidents name it": `
    service.created service.custom_field_values.updated service.deleted service.updated
  `,
});

/** Fields with what an alert carried, with access codes, and with what people put into fields of their own. */
export const redactedFields = ["event.data.body", "event.data.conference_bridge", "event.data.custom_fields"] as const;

const named = z.object({ id: text, summary: text }).nullish();

// What of an event is needed to know what it is about, and what of an incident is used.
const envelope = z.object({ event: z.object({ event_type: z.string(), data: z.object({ type: text }).nullish() }) });
const incidentEvent = z.object({
  event: z.object({
    event_type: z.string(),
    occurred_at: time,
    data: z.object({
      id: z.string().min(1),
      status: text,
      title: text,
      created_at: time,
      service: named,
      priority: named,
      urgency: text,
      resolve_reason: z.object({ type: text }).nullish(),
      html_url: text,
    }),
  }),
});
type Event = z.infer<typeof incidentEvent>["event"];

function incidentOf({ event_type, occurred_at, data }: Event, source: string): Observation<"incidents"> {
  const status = stateOf(event_type, data.status);
  return {
    source,
    external_id: data.id,
    observed_at: occurred_at,
    service: data.service?.summary || data.service?.id,
    title: data.title,
    severity: data.priority?.summary || data.urgency,
    opened_at: data.created_at,
    acknowledged_at: event_type === "incident.acknowledged" ? occurred_at : undefined,
    ...(status && { status, resolved_at: status === "resolved" ? occurred_at ?? null : null }),
    // One that was merged into another goes on as that one, and would be counted twice.
    is_withdrawn: status && status !== "resolved"
      ? false
      : data.resolve_reason === undefined
      ? undefined
      : data.resolve_reason?.type === "merge_resolve_reason",
    url: data.html_url,
  };
}

function stateOf(type: string, status: Text): State | undefined {
  for (const [table, word] of [["event_type", type], ["status", status ?? ""]] as const) {
    if (Object.hasOwn(outcomeTable[table]!, word)) return outcomeTable[table]![word];
  }
  return undefined;
}

/** PagerDuty as a source. */
export const pagerduty: Source = {
  provider: "pagerduty",
  scheme: { kind: "hmac", header: "x-pagerduty-signature", prefix: "v1=", several: true },
  contentTypes: ["application/json"],
  takesAnyContentType: true,
  events: new Set(["incident", "service", "pagey"]),
  redacted: redactedFields,

  match: (headers) => headers.has("x-pagerduty-signature"),

  identify(headers, body) {
    const { event } = (body ?? {}) as { event?: { id?: unknown; event_type?: unknown } | null };
    const isWord = typeof event?.event_type === "string" && /^[a-z0-9_.]{1,100}$/.test(event.event_type);
    // The same for every attempt; the event's own id is the same for every subscription, too.
    const sentId = headers.get("x-webhook-id") ?? event?.id;
    return {
      deliveryId: typeof sentId === "string" && /^[\w-]{1,100}$/.test(sentId) ? sentId : null,
      event: isWord ? event.event_type as string : body === undefined ? null : "unknown",
    };
  },

  facts(_, body, { source }) {
    const about = read(envelope, body);
    if ("quarantined" in about) return about;
    const { event_type: type, data } = about.read.event;
    if (Object.hasOwn(ignoredEvents, type)) return { ignored: `${type}: ${ignoredEvents[type]}` };
    const tellsState = Object.hasOwn(outcomeTable["event_type"]!, type);
    const isOfIncident = type.startsWith("incident.") && (data?.type ?? "incident") === "incident";
    if (!tellsState && !isOfIncident) return { ignored: "an event that is not known" };
    const parsed = read(incidentEvent, body);
    if ("quarantined" in parsed) return parsed;
    const { event } = parsed.read;
    const isUnknown = !!event.data.status && event.data.status !== "resolved" && !stateOf("", event.data.status);
    return {
      facts: { incidents: [incidentOf(event, source)] },
      notes: isUnknown ? ["incidents.status is not known"] : [],
    };
  },
};
