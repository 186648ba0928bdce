/** A delivery's way: the handler reads, identity proves, the source translates, the store commits. */

import { createHash } from "node:crypto";
import { agreement, answer, problem, type ProblemCode } from "./answers.ts";
import { contentTypeOf } from "./body.ts";
import type { Configuration, ConfiguredSource } from "./configuration.ts";
import { createIdentities, type Identities } from "./identities.ts";
import type { Claim, Verifier } from "./identity/mod.ts";
import { Patience } from "./patience.ts";
import { receive } from "./receive.ts";
import { createReporting } from "./reporting.ts";
import { Slots } from "./slots.ts";
import { type ContentType, providerOf, refusalOf, sources } from "./sources/mod.ts";
import type { Delivery, Store } from "./store.ts";
import { translate } from "./translate.ts";

export interface HandlerOptions {
  configuration: Pick<Configuration, "sources" | "maxBytes" | "isStaging" | "audience">;
  store: Store;
  /** Who may report; those of the store when absent. */
  identities?: Identities;
  /** Takes one line per request; prints it as JSON when absent. */
  log?: (line: LogLine) => void;
  /** Time that a sender has for its body, 15 s when absent. */
  bodyTimeoutMs?: number;
  /** Time from the whole body to the answer, 8 s when absent: less than the 10 s after which senders hang up. */
  answerTimeoutMs?: number;
}

/** What is logged of a request: words that we know, numbers, and nothing that a sender chose. */
export interface LogLine {
  level: "info" | "error";
  message: "request";
  method: string;
  route: "source" | "report" | "health" | "none";
  source: string | null;
  report: string | null;
  event: string | null;
  status: number;
  result: string | null;
  ms: number;
  bytes: number | null;
  facts: Record<string, number> | null;
  /** What reading a report threw: a word that we know. */
  error?: string;
}

const HEALTH_CACHE_MS = 5000;
const HEALTH_TIMEOUT_MS = 3000;
/** Of a source that takes reports alone: a webhook can prove nothing. */
const noSecret: Verifier = { challenge: "Secret", claim: () => null };
const methods = new Set(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);

/** The function: takes a request, answers it as the table in docs and tests says, and never throws. */
export function createHandler(options: HandlerOptions): (request: Request) => Promise<Response> {
  const { configuration, store, bodyTimeoutMs = 15_000, answerTimeoutMs = 8000 } = options;
  const log = options.log ?? ((line) => console.log(JSON.stringify(line)));
  const largeBodies = new Slots(1);
  const isHealthy = cachedHealth(store);
  const identities = options.identities ?? createIdentities(store, configuration.audience);
  const { maxBytes } = configuration;
  const takeReport = createReporting({
    identities,
    store,
    maxBytes,
    slots: largeBodies,
    bodyTimeoutMs,
    answerTimeoutMs,
  });

  /** A source by its name, if it has a secret or an identity may report to it; unknown while the database has not said who may. */
  async function find(name: string, patience: Patience): Promise<ConfiguredSource | "unknown" | null> {
    const configured = configuration.sources.get(name);
    if (configured) return configured;
    const source = sources.get(providerOf(name) ?? "");
    const isNamed = source ? await identities.mayReportTo(name, patience) : false;
    if (!source || isNamed === false) return null;
    return isNamed === null
      ? "unknown"
      : { source, verifier: noSecret, options: { source: name, incidentLabels: new Set() } };
  }

  async function take(request: Request, name: string, configured: ConfiguredSource, line: LogLine): Promise<Response> {
    const refuse = (code: ProblemCode, headers?: Record<string, string>) => {
      // A body that nobody reads would be read to its end before the connection is used again.
      request.body?.cancel().catch(() => {});
      return problem(code, headers);
    };
    const { source, verifier } = configured;
    if (request.method === "OPTIONS") {
      const agreed = source.handshake?.(request.headers);
      if (!agreed) return refuse("method_not_allowed", { allow: "POST" });
      request.body?.cancel().catch(() => {});
      return agreement(agreed);
    }
    if (request.method !== "POST") return refuse("method_not_allowed", { allow: "POST" });
    const claim = verifier.claim(request.headers);
    if (!claim) return refuse("credentials_missing", { "www-authenticate": verifier.challenge });
    const contentType = source.contentTypes.find((type) => type === contentTypeOf(request.headers)) ??
      (source.takesAnyContentType && source.contentTypes[0]);
    if (!contentType) return refuse("content_type", { accept: source.contentTypes.join(", ") });
    const received = await receive(request, {
      maxBytes,
      timeoutMs: bodyTimeoutMs,
      slots: largeBodies,
    });
    if (typeof received === "string") return problem(received, received === "too_large" ? { connection: "close" } : {});
    const deadline = new AbortController();
    const timer = setTimeout(() => deadline.abort(), answerTimeoutMs);
    try {
      line.bytes = received.bytes.length;
      const prepared = await prove(request, name, configured, contentType, claim, received);
      if (!prepared) return problem("credentials_wrong", { "www-authenticate": verifier.challenge });
      line.event = knownEvent(configured, prepared.delivery.event);
      const committed = await store.ingest(prepared.delivery, prepared.facts, prepared.body, deadline.signal);
      if (!committed) return problem("unavailable");
      line.result = committed.result;
      if (committed.result === "stored") line.facts = committed.facts ?? {};
      return answer(committed.result === "stored" || committed.result === "duplicate" ? 200 : 202, {
        result: committed.result,
        ...(committed.reason ? { reason: committed.reason } : {}),
        ...(committed.result === "stored" ? { facts: committed.facts ?? {} } : {}),
      });
    } finally {
      clearTimeout(timer);
      received.release();
    }
  }

  return async (request) => {
    const started = performance.now();
    const [name, report] = routeOf(request.url);
    const line: LogLine = {
      level: "info",
      message: "request",
      method: methods.has(request.method) ? request.method : "other",
      route: "none",
      source: null,
      report: null,
      event: null,
      status: 0,
      result: null,
      ms: 0,
      bytes: null,
      facts: null,
    };
    // Before any secret or identity is looked at.
    const refusal = name === undefined ? null : refusalOf(name, configuration.isStaging);
    let response: Response;
    try {
      if (name === "health" && report === undefined) {
        line.route = "health";
        response = request.method !== "GET"
          ? problem("method_not_allowed", { allow: "GET" })
          : await isHealthy()
          ? answer(200, { healthy: true })
          : problem("unhealthy");
      } else if (refusal) {
        request.body?.cancel().catch(() => {});
        response = problem(refusal);
      } else {
        const patience = new Patience();
        const configured = name === undefined ? null : await find(name, patience);
        if (configured === null || configured === "unknown") {
          request.body?.cancel().catch(() => {});
          response = problem(configured === null ? "not_found" : "unavailable");
        } else {
          line.route = report === undefined ? "source" : "report";
          line.source = name!;
          response = report === undefined
            ? await take(request, name!, configured, line)
            : await takeReport(request, name!, report, line, patience);
        }
      }
    } catch {
      response = problem("unavailable");
    }
    line.status = response.status;
    line.level = response.status >= 500 ? "error" : "info";
    line.ms = Math.round(performance.now() - started);
    log(line);
    return response;
  };
}

/** The source and the report after the function's name; nothing for any other path. The platform may or may not leave its own prefix. */
function routeOf(url: string): [source?: string, report?: string] {
  // A Host header that is none makes a URL that cannot be parsed; the path is there all the same.
  const path = /^[a-z]+:\/\/[^/]*(\/[^?#]*)/.exec(url)?.[1] ?? "";
  const route = /^(?:\/functions\/v1)?\/ingest-metrics\/([a-z0-9-]+)(?:\/([a-z0-9-]+))?$/.exec(path);
  return route ? [route[1]!, route[2]] as [string, string?] : [];
}

/** Only words that the source knows get into logs, and never an action: that is the body's. */
function knownEvent(configured: ConfiguredSource, event: string | null): string | null {
  const word = event?.split(".", 1)[0] ?? "";
  return configured.source.events.has(word) ? word : null;
}

/**
 * Proves the bytes and makes everything that is to be stored of them; null when they prove nothing. The bytes are let go of here: while the
 * database works, a large body is in memory only once.
 */
async function prove(
  request: Request,
  name: string,
  { source, options }: ConfiguredSource,
  contentType: ContentType,
  claim: Claim,
  received: { bytes: Uint8Array },
) {
  if (!(await claim.proves(received.bytes))) return null;
  const { bytes } = received;
  // Web Crypto would copy them once more.
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  received.bytes = new Uint8Array(0);
  const translated = translate(source, contentType, bytes, (body) => source.identify(request.headers, body), options);
  const delivery: Delivery = {
    source: name,
    // Without an id of the sender's, the same bytes are the same delivery.
    delivery_id: translated.deliveryId ?? `sha256:${sha256}`,
    event: translated.event,
    sha256,
    size: bytes.length,
    content_type: translated.body ? contentType : null,
    result: translated.result,
    reason: translated.reason,
    notes: translated.notes,
  };
  return { delivery, facts: translated.facts, body: translated.body };
}

function cachedHealth(store: Store): () => Promise<boolean> {
  let cached: { at: number; healthy: Promise<boolean> } | undefined;
  return () => {
    const now = performance.now();
    if (!cached || now - cached.at >= HEALTH_CACHE_MS) {
      const abort = new AbortController();
      const timer = setTimeout(() => abort.abort(), HEALTH_TIMEOUT_MS);
      const healthy = store.health(abort.signal).catch(() => false).finally(() => clearTimeout(timer));
      cached = { at: now, healthy };
    }
    return cached.healthy;
  };
}
