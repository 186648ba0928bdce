/**
 * Webhook bodies in the shape that PagerDuty sends them, for histories that are made up here: the same calls make the same bytes.
 */

import fc from "fast-check";
import type { Posted } from "./history_github.ts";

export interface IncidentOptions {
  id: string;
  number: number;
  title: string;
  createdAt: string;
  /** Name of the service; its id is made of it. */
  service: string;
  priority?: string | null;
  urgency?: "high" | "low";
}

/** What a merge of this incident into another leaves in it. */
interface Merged {
  into: string;
}

/** What each event leaves the incident's status as; other events leave it as it was. */
const STATUS: Record<string, string> = {
  triggered: "triggered",
  acknowledged: "acknowledged",
  unacknowledged: "triggered",
  escalated: "triggered",
  reopened: "triggered",
  resolved: "resolved",
};

/** An account of PagerDuty that tells what happens to its incidents, each in its own order. */
export class PagerDutyAccount {
  readonly source: string;
  #posted: number;

  /** `deliveries` is the number that delivery ids start from, so that two accounts do not share any. */
  constructor({ source = "pagerduty", deliveries = 0 } = {}) {
    this.source = source;
    this.#posted = deliveries;
  }

  /** An incident from its beginning on. */
  open(options: IncidentOptions): PagerDutyIncident {
    return new PagerDutyIncident(options, (type, at, data) => this.#post(type, at, data));
  }

  /** What the button that tries a subscription sends. */
  ping(at: string): Posted {
    return this.#post("pagey.ping", at, { message: "Hello from your friend Pagey!", type: "ping" });
  }

  #post(type: string, at: string, data: Record<string, unknown>): Posted {
    this.#posted += 1;
    const number = String(this.#posted).padStart(12, "0");
    const event = {
      id: `01J0000000PD${number}XX`,
      event_type: type,
      resource_type: type.split(".")[0],
      occurred_at: at,
      agent: reference("user", "PUSER1", "dev-1"),
      client: null,
      data,
    };
    return { source: this.source, event: type, id: `00000000-0000-4000-9000-${number}`, body: { event } };
  }
}

/** One incident; each call is an event of it. */
export class PagerDutyIncident {
  #options: IncidentOptions;
  #status = "triggered";
  #merged: Merged | null = null;
  readonly #post: (type: string, at: string, data: Record<string, unknown>) => Posted;

  constructor(options: IncidentOptions, post: (type: string, at: string, data: Record<string, unknown>) => Posted) {
    this.#options = options;
    this.#post = post;
  }

  /** The event `incident.<what>`, with what changes about the incident by it. */
  tell(what: string, at: string, change: Partial<IncidentOptions> = {}): Posted {
    this.#options = { ...this.#options, ...change };
    this.#status = STATUS[what] ?? this.#status;
    if (what === "reopened") this.#merged = null;
    return this.#post(`incident.${what}`, at, this.#data());
  }

  /** It is resolved because it is the same as another. */
  mergeInto(id: string, at: string): Posted {
    this.#merged = { into: id };
    return this.tell("resolved", at);
  }

  /** Somebody writes something down about it. */
  annotate(at: string): Posted {
    const { id, title } = this.#options;
    return this.#post("incident.annotated", at, {
      id: "PNOTE1",
      type: "incident_note",
      content: "It is the cache.",
      trimmed: false,
      incident: reference("incident", id, title),
    });
  }

  #data(): Record<string, unknown> {
    const { id, number, title, createdAt, service, priority = null, urgency = "high" } = this.#options;
    return {
      ...reference("incident", id, title),
      type: "incident",
      number,
      status: this.#status,
      incident_key: `key-${number}`,
      created_at: createdAt,
      title,
      service: reference("service", `PSVC${service.length}`, service),
      assignees: [reference("user", "PUSER1", "dev-1")],
      escalation_policy: reference("escalation_policy", "PEP1", "Default"),
      teams: [],
      priority: priority === null ? null : reference("priority", `PPRI${priority}`, priority),
      urgency,
      conference_bridge: null,
      resolve_reason: this.#merged === null
        ? null
        : { type: "merge_resolve_reason", incident: reference("incident", this.#merged.into, "") },
    };
  }
}

function reference(kind: string, id: string, summary: string) {
  const plural = kind === "escalation_policy" ? "escalation_policies" : kind === "priority" ? "priorities" : `${kind}s`;
  return {
    id,
    type: `${kind}_reference`,
    self: `https://api.pagerduty.com/${plural}/${id}`,
    html_url: `https://acme.pagerduty.com/${plural}/${id}`,
    summary,
  };
}

const step = fc.record({
  what: fc.constantFrom(
    "acknowledged",
    "unacknowledged",
    "escalated",
    "reassigned",
    "priority_updated",
    "service_updated",
    "resolved",
    "reopened",
    "merged",
    "annotated",
  ),
  // Often none, so that much carries the same time.
  pause: fc.constantFrom(0, 0, 1, 30, 600),
  priority: fc.constantFrom(null, "P1", "P3"),
  service: fc.constantFrom("shop", "payments"),
});

/** What happened to up to three incidents, each triggered first and then anything in any order. */
export function incidentHistory(): fc.Arbitrary<Posted[]> {
  const incident = fc.record({ steps: fc.array(step, { maxLength: 6 }), pause: fc.constantFrom(0, 5) });
  return fc.array(incident, { minLength: 1, maxLength: 3 }).map((incidents) => {
    const account = new PagerDutyAccount();
    let seconds = Date.UTC(2026, 2, 2, 8) / 1000;
    const now = () => new Date(seconds * 1000).toISOString();
    return incidents.flatMap(({ steps, pause }, n) => {
      seconds += pause;
      const id = `PINC${n}`;
      const told = account.open({ id, number: n, title: `Incident ${n}`, createdAt: now(), service: "shop" });
      const posted = [told.tell("triggered", now())];
      for (const { what, pause, priority, service } of steps) {
        seconds += pause;
        posted.push(
          what === "merged" ? told.mergeInto("PINC9", now()) : what === "annotated" ? told.annotate(now()) : told.tell(
            what,
            now(),
            what === "priority_updated" ? { priority } : what === "service_updated" ? { service } : {},
          ),
        );
      }
      return posted;
    });
  });
}
