/**
 * CDEvents in the shapes in which they are sent, alone, in the envelope of a CloudEvent, or several in a batch, for histories that are made
 * up here: the same calls make the same bytes.
 */

import fc from "fast-check";
import type { Posted } from "./history_github.ts";

/** One CDEvent. */
export interface CDEvent {
  [name: string]: unknown;
  context: { specversion?: string; version?: string; id: string; source: string; type: string; timestamp: string };
  subject: { id: string; source?: string; content: Record<string, unknown> };
}

export interface EventOptions {
  at: string;
  /** Of the subject. */
  id: string;
  content?: Record<string, unknown>;
  /** Of the subject, where it is not the producer's. */
  subjectSource?: string;
}

/** A producer of CDEvents: a pipeline, a deployer, a monitor. */
export class CDEventsProducer {
  readonly source: string;
  /** What it calls itself: a URI reference, or a repository's URL. */
  producer: string;
  #told: number;

  /** `events` is the number that ids of events start from, so that two producers do not share any. */
  constructor(producer: string, { source = "cdevents", events = 0 } = {}) {
    this.producer = producer;
    this.source = source;
    this.#told = events;
  }

  /** An event of a type such as `pipelinerun.finished`, with its version as of a specification. */
  event(type: string, { at, id, content = {}, subjectSource }: EventOptions, version = "0.3.0"): CDEvent {
    this.#told += 1;
    return {
      context: {
        specversion: "0.5.0",
        id: `00000000-0000-4000-a000-${String(this.#told).padStart(12, "0")}`,
        source: this.producer,
        type: `dev.cdevents.${type}.${version}`,
        timestamp: at,
      },
      subject: { id, ...(subjectSource === undefined ? {} : { source: subjectSource }), content },
    };
  }

  /** The event alone, as binary mode has it in the body. */
  alone(event: CDEvent): Posted {
    const { type, source, id } = event.context;
    return { source: this.source, event: nameOf(type), id: `${type} ${source} ${id}`, body: event };
  }

  /** The event in its envelope, as structured mode has it. */
  enveloped(event: CDEvent): Posted {
    const { id, source, type, timestamp: time } = event.context;
    const datacontenttype = "application/cdevents+json";
    const alone = this.alone(event);
    return {
      ...alone,
      id: `structured ${alone.id}`,
      body: { specversion: "1.0", id, source, type, time, datacontenttype, data: event },
    };
  }

  /** Several in one delivery; its id is the hash of its bytes, which this number stands for. */
  batch(events: CDEvent[], number: number): Posted {
    const body = events.map((event) => this.enveloped(event).body);
    return { source: this.source, event: "batch", id: `batch-${number}`, body: body as unknown as Posted["body"] };
  }
}

function nameOf(type: string): string {
  return type.split(".").slice(2, 4).join(".");
}

const pause = fc.constantFrom(0, 0, 1, 30, 600);
const outcome = fc.constantFrom("success", "failure", "cancel", "error", "abandoned", undefined);

const run = fc.record({
  kind: fc.constant("run" as const),
  steps: fc.subarray(["queued", "started", "finished"]),
  tasks: fc.array(outcome, { maxLength: 2 }),
  outcome,
  pause,
});
const deployment = fc.record({
  kind: fc.constant("deployment" as const),
  what: fc.constantFrom("deployed", "upgraded", "rolledback", "removed"),
  version: fc.constantFrom("1".repeat(40), "v1.2.3", "sha256%3A0b31"),
  pause,
});
const change = fc.record({
  kind: fc.constant("change" as const),
  steps: fc.subarray(["created", "updated", "reviewed", "merged", "abandoned"], { minLength: 1 }),
  id: fc.constantFrom("7", "topic"),
  pause,
});
const incident = fc.record({
  kind: fc.constant("incident" as const),
  steps: fc.subarray(["detected", "reported", "resolved"], { minLength: 1 }),
  pause,
});
const tests = fc.record({
  kind: fc.constant("tests" as const),
  cases: fc.array(outcome, { maxLength: 3 }),
  pause,
});

/** What one producer told, which knows its repository by URL or does not, in every mode. */
export function cdeventsHistory(): fc.Arbitrary<Posted[]> {
  const episodes = fc.array(fc.oneof(run, deployment, change, incident, tests), { minLength: 1, maxLength: 6 });
  const producer = fc.constantFrom("https://git.example/acme/shop", "/ci/acme");
  return fc.tuple(producer, episodes, fc.infiniteStream(fc.constantFrom("alone", "enveloped", "batch"))).map(
    ([name, list, modes]) => {
      const teller = new CDEventsProducer(name);
      const events: CDEvent[] = [];
      let seconds = Date.UTC(2026, 2, 2, 8) / 1000;
      const say = (type: string, id: string, content = {}) => {
        const at = new Date((seconds += type.endsWith("finished") ? 1 : 0) * 1000).toISOString();
        events.push(teller.event(type, { at, id, content }));
      };
      for (const [n, episode] of list.entries()) {
        seconds += episode.pause;
        if (episode.kind === "run") {
          const end = (type: string, outcome: string | undefined) => type === "finished" ? { outcome } : {};
          for (const type of episode.steps) {
            say(`pipelinerun.${type}`, `run-${n}`, { pipelineName: "ci", ...end(type, episode.outcome) });
          }
          for (const [i, outcome] of episode.tasks.entries()) {
            const content = { taskName: `task ${i}`, pipelineRun: { id: `run-${n}` } };
            say("taskrun.started", `task-${n}-${i}`, content);
            say("taskrun.finished", `task-${n}-${i}`, { ...content, outcome });
          }
        }
        if (episode.kind === "deployment") {
          const artifactId = `pkg:github/acme/shop@${episode.version}`;
          say(`service.${episode.what}`, "service/shop", { environment: { id: "production" }, artifactId });
        }
        if (episode.kind === "change") {
          const repository = { id: "acme/shop", source: "https://git.example" };
          for (const type of episode.steps) say(`change.${type}`, episode.id, { repository });
        }
        if (episode.kind === "incident") {
          for (const type of episode.steps) say(`incident.${type}`, `incident-${n}`, { service: { id: "shop" } });
        }
        if (episode.kind === "tests") {
          say("testsuiterun.started", `suite-${n}`, { testSuite: { id: "s", name: "unit" } });
          for (const [i, outcome] of episode.cases.entries()) {
            const content = { testCase: { id: `case-${i}` }, testSuiteRun: { id: `suite-${n}` }, outcome };
            say("testcaserun.finished", `case-${n}-${i}`, content);
          }
          say("testsuiterun.finished", `suite-${n}`, { testSuite: { id: "s", name: "unit" }, outcome: "failure" });
        }
      }
      return posted(teller, events, modes);
    },
  );
}

/** Each event in a mode of its own; a batch takes the next two along. */
function posted(teller: CDEventsProducer, events: CDEvent[], modes: Iterable<string>): Posted[] {
  const iterator = modes[Symbol.iterator]();
  const list: Posted[] = [];
  for (let i = 0; i < events.length; i++) {
    const event = events[i] as CDEvent;
    const mode = iterator.next().value;
    if (mode === "alone") list.push(teller.alone(event));
    else if (mode === "enveloped") list.push(teller.enveloped(event));
    else {
      list.push(teller.batch(events.slice(i, i + 3), i));
      i += 2;
    }
  }
  return list;
}
