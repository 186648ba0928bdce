/**
 * CDEvents, as CloudEvents over HTTP: one event in the body with its envelope in the headers (binary) or around it (structured), or several in
 * an array (batch). What it cannot say: docs/sources/cdevents.md.
 */

import { z } from "zod";
import type { FactKind, Facts, Observation } from "../facts.ts";
import type { Source, Translation } from "./mod.ts";
import {
  LONGEST_URL,
  normalisedUrl,
  type OutcomeTable,
  type Progress,
  read,
  reasonsByName,
  type Text,
  text,
  time,
  urlReference,
} from "./shared.ts";

type CaseOutcome = NonNullable<Observation<"test_cases">["outcome"]>;

/**
 * The words of CDEvents, those of older versions too, and what they mean. `finished` means what the outcome says, and a word that is not here
 * `unknown`. What happened to a service has happened when it is told. A test case that was cancelled has no outcome.
 */
export const outcomeTable = {
  predicate: {
    queued: ["queued", null],
    started: ["running", null],
  },
  outcome: {
    success: ["finished", "success"],
    failure: ["finished", "failure"],
    cancel: ["finished", "cancelled"],
    error: ["finished", "error"],
  },
  service: {
    deployed: ["finished", "success"],
    upgraded: ["finished", "success"],
    rolledback: ["finished", "success"],
  },
} as const satisfies OutcomeTable;

/** How a test case ended, by the words of every version. */
export const caseOutcomes: Readonly<Record<string, CaseOutcome | null>> = {
  success: "passed",
  pass: "passed",
  failure: "failed",
  fail: "failed",
  error: "error",
  cancel: null,
};

/** Types that carry no fact, each with its reason. A type that is neither here nor translated is ignored as not known. */
export const ignoredEvents = reasonsByName({
  "a repository is known here by its URL; the sender that hosts it tells the rest": "repository branch",
  "what was built and kept, not what was deployed: a deployment names its artifact itself": "artifact",
  "a build has no name, no run and no outcome; the task run that builds has them": "build",
  "where services run, and not what was deployed there": "environment",
  "not a deployment": "service.published service.removed",
  "no time is kept of a test case, and none of a suite before it starts": `
    testcaserun.queued testcaserun.started testsuiterun.queued
  `,
  "files, and not results": "testoutput",
  "tests tell their outcome from version 0.3 on": "testcase testsuite",
  "decisions and planning are not delivery facts": "approval ticket",
});

/** Fields that carry whatever a sender adds, whole objects of a cluster among it, and output of what failed. */
export const redactedFields = [
  "customData",
  "subject.content.errors",
  "data.customData",
  "data.subject.content.errors",
] as const;

/** No event that comes as text is longer: more would take longer to read than it is worth. */
const LONGEST_DATA = 1024 * 1024;

const id = z.string().min(1);
const referred = z.object({ id, source: text }).nullish();
const definition = z.object({ id: text, name: text }).nullish();

// Only what is used is named, by the names of every version: `task` and `status` became `taskName` and `outcome`, `url` became `uri`.
const schema = z.object({
  context: z.object({ id, source: id, type: id, timestamp: time }),
  subject: z.object({
    id,
    source: text,
    content: z.object({
      pipelineName: text,
      pipelineRun: referred,
      taskName: text,
      task: text,
      uri: text,
      url: text,
      outcome: text,
      status: text,
      repository: referred,
      environment: definition,
      artifactId: text,
      service: referred,
      description: text,
      ticketURI: text,
      testSuite: definition,
      testSuiteRun: referred,
      testCase: definition,
      reason: text,
    }).nullish().transform((content) => content ?? {} as NonNullable<typeof content>),
  }),
});

type Event = z.infer<typeof schema>;

/** One event, and what is the same about every kind of it. */
interface Told extends Event {
  /** The configured source. */
  source: string;
  predicate: string;
  content: Event["subject"]["content"];
  time: Text;
  /** Key of what it is about: ids are unique only within their source. */
  key: string;
}

const begun = { queued: "queued_at", started: "started_at" } as const;

function progressOf({ predicate, content, time }: Told) {
  if (predicate === "queued" || predicate === "started") {
    const [status] = outcomeTable.predicate[predicate];
    return { status, outcome: null, provider_outcome: null, finished_at: null, [begun[predicate]]: time };
  }
  const word = content.outcome ?? content.status ?? null;
  const known: Readonly<Record<string, Progress>> = outcomeTable.outcome;
  const [status, outcome] = word !== null && Object.hasOwn(known, word)
    ? known[word]!
    : ["finished", "unknown"] as const;
  return { status, outcome, provider_outcome: word, finished_at: time ?? null };
}

const pipelineRun = (told: Told): Facts => ({
  pipeline_runs: [{
    repository: referenceOf(told),
    external_id: told.key,
    observed_at: told.time,
    pipeline: told.content.pipelineName,
    ...progressOf(told),
    url: told.content.uri ?? told.content.url,
  }],
});

const taskRun = (told: Told): Facts => ({
  jobs: [{
    repository: referenceOf(told),
    external_id: told.key,
    observed_at: told.time,
    run_external_id: told.content.pipelineRun && keyOf(told.content.pipelineRun, told),
    name: told.content.taskName ?? told.content.task,
    ...progressOf(told),
    url: told.content.uri ?? told.content.url,
  }],
});

/** A deployment that was told from its beginning to its end. */
function deployment(told: Told): Facts {
  const { queued_at, ...progress } = progressOf(told) as ReturnType<typeof progressOf> & { queued_at?: Told["time"] };
  return { deployments: [{ ...deployed(told), external_id: told.key, created_at: queued_at, ...progress }] };
}

/** What happened to a service is a deployment of its own, told when it was over. */
function service(told: Told): Facts {
  const [status, outcome] = outcomeTable.service[told.predicate as keyof typeof outcomeTable.service];
  const progress = { status, outcome, provider_outcome: told.predicate, finished_at: told.time ?? null };
  const external_id = `${told.context.source} ${told.context.id} ${told.predicate}`;
  return { deployments: [{ ...deployed(told), external_id, name: told.subject.id, ...progress }] };
}

function deployed(told: Told) {
  const artifact = artifactOf(told.content.artifactId);
  return {
    repository: artifact.repository ?? referenceOf(told),
    observed_at: told.time,
    environment: told.content.environment && (told.content.environment.name || told.content.environment.id),
    commit_sha: artifact.commit,
  };
}

function change(told: Told): Facts | string {
  const number = /^\d{1,10}$/.test(told.subject.id) ? Number(told.subject.id) : NaN;
  if (!(number <= 2147483647)) return "a change whose id is no number of a pull request";
  const { predicate, time } = told;
  const end = { merge_sha: null, closed_at: time ?? null };
  const said: Partial<Observation<"pull_requests">> = predicate === "created"
    ? { state: "open", opened_at: time }
    : predicate === "merged"
    ? { state: "merged", merged_at: time ?? null, ...end }
    : predicate === "abandoned"
    ? { state: "closed", merged_at: null, ...end }
    : {};
  return { pull_requests: [{ repository: referenceOf(told), number, observed_at: time, ...said }] };
}

function incident(told: Told): Facts {
  const { predicate, content, time } = told;
  const isOver = predicate === "resolved";
  // What is deployed when it is over may be the cure.
  const artifact = isOver ? {} : artifactOf(content.artifactId);
  return {
    incidents: [{
      source: told.source,
      external_id: told.key,
      observed_at: time,
      repository: artifact.repository,
      service: content.service?.id,
      // The description of its end is that of the cure, too.
      title: isOver ? undefined : content.description,
      opened_at: isOver ? undefined : time,
      ...(isOver ? { status: "resolved", resolved_at: time ?? null } : { status: "open", resolved_at: null }),
      commit_sha: artifact.commit,
      url: content.ticketURI,
    }],
  };
}

const suiteRun = (told: Told): Facts => ({
  test_runs: [{
    repository: referenceOf(told),
    external_id: told.key,
    observed_at: told.time,
    suite: told.content.testSuite && (told.content.testSuite.name || told.content.testSuite.id),
    started_at: told.predicate === "started" ? told.time : undefined,
  }],
});

function caseRun(told: Told): Facts | string {
  const { content, predicate, time } = told;
  const name = content.testCase?.name || content.testCase?.id;
  if (!name) return "a test case that has no name";
  const word = content.outcome ?? content.status ?? "";
  return {
    test_cases: [{
      repository: referenceOf(told),
      test_run_external_id: content.testSuiteRun ? keyOf(content.testSuiteRun, told) : told.key,
      // Which suite it is only the suite's own events say.
      suite: "",
      name,
      observed_at: time,
      outcome: predicate === "skipped" ? "skipped" : Object.hasOwn(caseOutcomes, word) ? caseOutcomes[word]! : null,
      message: content.reason ?? null,
    }],
  };
}

const translations: Readonly<Record<string, readonly [predicates: string, say: (told: Told) => Facts | string]>> = {
  pipelinerun: ["queued started finished", pipelineRun],
  taskrun: ["queued started finished", taskRun],
  deployment: ["queued started finished", deployment],
  service: ["deployed upgraded rolledback", service],
  change: ["created updated reviewed merged abandoned", change],
  incident: ["detected reported resolved", incident],
  testsuiterun: ["started finished", suiteRun],
  testcaserun: ["finished skipped", caseRun],
};

/** Types that are translated, as subject and predicate. */
export const translatedEvents: readonly string[] = Object.entries(translations).flatMap(([subject, [predicates]]) =>
  predicates.split(" ").map((predicate) => `${subject}.${predicate}`)
);

/** An id with its source, which is the subject's own where it names none, and where that has none the producer's. */
function keyOf(named: { id: string; source?: Text }, { context, subject }: Event): string {
  return `${named.source || subject.source || context.source} ${named.id}`;
}

/**
 * The repository that an event is about: the one that it names, else what its source is the URL of, else the source itself, which is all
 * that is known then.
 */
function referenceOf({ source, content: { repository }, context, subject }: Told): string {
  const near = subject.source || context.source;
  if (!repository) return urlReference(near) ?? urlReference(context.source) ?? `${source}:${near}`;
  const { id } = repository;
  const from = repository.source || near;
  const base = normalisedUrl(from);
  const isWhole = base !== null && `/${base}`.endsWith(`/${id.toLowerCase()}`);
  const url = base === null ? null : urlReference(isWhole ? `//${base}` : `//${base}/${id}`);
  return urlReference(id) ?? url ?? `${source}:${from} ${id}`;
}

/** Where packages of these types are kept is where their code lives. */
const forges: Readonly<Record<string, string>> = {
  github: "github.com",
  gitlab: "gitlab.com",
  bitbucket: "bitbucket.org",
};

/** What a package URL says of repository and commit. A version, or an image's tag, of 40 hexadecimal digits is a commit. */
function artifactOf(purl: Text): { repository?: string; commit?: string } {
  if ((purl?.length ?? 0) > LONGEST_URL) return {};
  const match = /^pkg:\/*([a-z0-9.+-]+)\/([^@?#]+)(?:@([^?#]*))?(?:\?([^#]*))?/i.exec(purl ?? "");
  if (!match) return {};
  const [, type = "", path = "", version = "", query = ""] = match;
  // Here a plus is one, as in git+https.
  const qualifiers = new URLSearchParams(query.replaceAll("+", "%2B"));
  const [, from = "", revision = ""] = /^(.*\/[^/@]+)(?:@([^/@]+))?$/.exec(qualifiers.get("vcs_url") ?? "") ?? [];
  const host = forges[type.toLowerCase()];
  const repository = urlReference(from) ?? (host ? urlReference(`//${host}/${path}`) : null);
  const commit = [revision, version, qualifiers.get("tag") ?? ""].find((word) => /^[0-9a-f]{40}$/i.test(word));
  return { ...(repository && { repository }), ...(commit && { commit }) };
}

/** The event in a body: itself, or the data of the envelope around it, unfolded. */
function unwrap(body: unknown): { event: unknown; type: unknown } {
  if (typeof body !== "object" || body === null) return { event: undefined, type: undefined };
  const { context, data, type } = body as Record<string, unknown>;
  const event = context === undefined && data !== undefined ? data : body;
  const own = (event as { context?: { type?: unknown } } | null)?.context?.type;
  return { event, type: own ?? type };
}

/** Puts an event that came as text, or in Base64, in its place as JSON; what cannot be read is taken away. Whether there was one. */
function unfoldOne(body: unknown): boolean {
  if (typeof body !== "object" || body === null) return false;
  const envelope = body as Record<string, unknown>;
  const { data, data_base64 } = envelope;
  const isText = typeof data === "string";
  if (!isText && data_base64 === undefined) return false;
  const event = parse(data ?? decode(data_base64));
  delete envelope["data_base64"];
  if (isText) delete envelope["data"];
  if (event) envelope["data"] = event;
  return true;
}

function parse(json: unknown): object | undefined {
  if (typeof json !== "string" || json.length > LONGEST_DATA) return undefined;
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function decode(base64: unknown): string | undefined {
  if (typeof base64 !== "string" || base64.length > 2 * LONGEST_DATA) return undefined;
  try {
    return new TextDecoder().decode(Uint8Array.from(atob(base64), (char) => char.charCodeAt(0)));
  } catch {
    return undefined;
  }
}

/** Subject and predicate of a type, whatever its version; null for a type of something else. */
function nameOf(type: unknown): string | null {
  return /^dev\.cdevents\.([a-z]{1,40}\.[a-z]{1,40})(?:\.\d.*)?$/.exec(typeof type === "string" ? type : "")?.[1] ??
    null;
}

function translateOne(body: unknown, source: string): Translation {
  const { event, type } = unwrap(body);
  const name = nameOf(type);
  if (name === null && typeof type === "string") return { ignored: "a type that is not known" };
  const [subject = "", predicate = ""] = (name ?? "").split(".");
  for (const known of [subject, name ?? ""]) {
    if (Object.hasOwn(ignoredEvents, known)) return { ignored: `${known}: ${ignoredEvents[known]}` };
  }
  if (name !== null && !translatedEvents.includes(name)) return { ignored: "a type that is not known" };
  const parsed = read(schema, event);
  if ("quarantined" in parsed) return parsed;
  const { context, subject: { content } } = parsed.read;
  const key = keyOf(parsed.read.subject, parsed.read);
  const told = { ...parsed.read, source, predicate, content, time: context.timestamp, key };
  const said = translations[subject]![1](told);
  return typeof said === "string" ? { ignored: `${subject}: ${said}` } : { facts: said };
}

/** What a batch says is what its events say. One that is not understood keeps all: the delivery is one. */
function translateBatch(items: unknown[], source: string): Translation {
  const facts: Record<string, unknown[]> = {};
  for (const [index, item] of items.entries()) {
    const translation = translateOne(item, source);
    if ("quarantined" in translation) {
      return { quarantined: translation.quarantined.split(", ").map((wrong) => `[${index}].${wrong}`).join(", ") };
    }
    if ("ignored" in translation) continue;
    for (const kind of Object.keys(translation.facts) as FactKind[]) {
      (facts[kind] ??= []).push(...translation.facts[kind]!);
    }
  }
  return Object.keys(facts).length > 0 ? { facts: facts as Facts } : { ignored: "batch: nothing in it carries a fact" };
}

/** CDEvents as a source. */
export const cdevents: Source = {
  provider: "cdevents",
  scheme: { kind: "bearer", header: "authorization", prefix: "Bearer " },
  contentTypes: [
    "application/cloudevents+json",
    "application/cloudevents-batch+json",
    "application/cdevents+json",
    "application/json",
  ],
  events: new Set([
    "batch",
    ...[...translatedEvents, ...Object.keys(ignoredEvents)].map((name) => name.split(".")[0]!),
  ]),
  redacted: redactedFields,
  unfold: (body) => Array.isArray(body) ? body.filter(unfoldOne).length > 0 : unfoldOne(body),

  match: (headers) =>
    headers.has("ce-specversion") || /^application\/c(?:loud|d)events/.test(headers.get("content-type") ?? ""),

  identify(headers, body) {
    if (Array.isArray(body)) return { deliveryId: null, event: "batch" };
    const { event, type } = unwrap(body);
    const { context } = (event ?? {}) as { context?: { id?: unknown; source?: unknown } | null };
    const word = type ?? headers.get("ce-type");
    const isNamed = typeof context?.id === "string" && typeof context.source === "string" && typeof word === "string";
    // What comes by two ways, bare and in an envelope, is one event in two deliveries, and not one delivery with other bytes.
    const mode = event === body ? "" : "structured ";
    const deliveryId = isNamed ? `${mode}${word} ${context.source} ${context.id}` : "";
    return {
      deliveryId: /^[^\p{Cc}\p{Cs}]{1,280}$/u.test(deliveryId) ? deliveryId : null,
      event: nameOf(word) ?? (body === undefined && word === null ? null : "unknown"),
    };
  },

  facts: (_, body, { source }) => Array.isArray(body) ? translateBatch(body, source) : translateOne(body, source),

  handshake(headers) {
    if (!headers.get("webhook-request-origin")) return null;
    return { allow: "OPTIONS, POST", "webhook-allowed-origin": "*", "webhook-allowed-rate": "*" };
  },
};
