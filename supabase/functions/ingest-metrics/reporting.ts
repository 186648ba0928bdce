/** A report's way: the credentials prove an identity, the report is read, the store commits what the identity may tell. */

import { createHash } from "node:crypto";
import { answer, problem, type ProblemCode, type Wrong } from "./answers.ts";
import { Attempts } from "./attempts.ts";
import { contentTypeOf } from "./body.ts";
import { contextOf, readParameters } from "./context.ts";
import { checkFacts, type Facts } from "./facts.ts";
import { type Identities, type Identity, isInScope, type Proven, readCredentials } from "./identities.ts";
import type { Patience } from "./patience.ts";
import { receive } from "./receive.ts";
import { type Context, type Report, type Reported, reports, sentences } from "./reports/mod.ts";
import { decodeReport } from "./reports/text.ts";
import type { Slots } from "./slots.ts";
import type { Delivery, Refused, Store } from "./store.ts";

export interface ReportingOptions {
  identities: Identities;
  store: Pick<Store, "report">;
  maxBytes: number;
  slots: Slots;
  bodyTimeoutMs: number;
  answerTimeoutMs: number;
}

/** What a request came to, for the log. */
export interface ReportLine {
  report: string | null;
  bytes: number | null;
  result: string | null;
  facts: Record<string, number> | null;
  /** What a report threw, which none should: a word that we know. */
  error?: string;
}

const MAX_ERRORS = 100;
const knownErrors = [TypeError, RangeError, SyntaxError, URIError];
/** How far ahead of our clock an observation may be, in minutes. The latest one wins, so one of the future would for as long. */
const AHEAD_MINUTES = 5;
const knownReports = `Reports are ${[...reports.keys()].join(", ")}.`;
const challenge = (error?: string) => ({ "www-authenticate": error ? `Bearer error="${error}"` : "Bearer" });

/** Takes reports to sources that are known to exist: answers every request, and throws only where the store does. */
export function createReporting(options: ReportingOptions) {
  const { identities, store, maxBytes, slots, bodyTimeoutMs, answerTimeoutMs } = options;
  const attempts = new Attempts();

  return async (
    request: Request,
    source: string,
    name: string,
    line: ReportLine,
    patience: Patience,
  ): Promise<Response> => {
    const refuse = (code: ProblemCode, headers: Record<string, string> = {}, errors?: Wrong[]) => {
      // A body that nobody reads would be read to its end before the connection is used again.
      request.body?.cancel().catch(() => {});
      return problem(code, headers, errors);
    };
    const report = reports.get(name);
    if (!report) return refuse("no_such_report", {}, [{ place: "path", code: "unknown", detail: knownReports }]);
    line.report = name;
    if (request.method !== "POST") return refuse("method_not_allowed", { allow: "POST" });
    const credentials = readCredentials(request.headers);
    if (!credentials) return refuse("credentials_missing", challenge());
    const proven = await identities.prove(credentials, source, patience);
    if (proven === "credentials_wrong") return refuse(proven, challenge("invalid_token"));
    if (typeof proven === "string") return refuse(proven);
    if (!report.contentTypes.includes(contentTypeOf(request.headers))) {
      return refuse("report_type", { accept: report.contentTypes.join(", ") });
    }
    const key = readKey(request.headers);
    if (key instanceof Array) return refuse("parameters", {}, key);
    const read = readParameters(request.url);
    if ("wrong" in read) return refuse("parameters", {}, read.wrong);
    const completed = contextOf(proven.job, read.parameters, onlyRepository(proven.identities));
    if ("missing" in completed) return refuse("parameters", {}, completed.missing);
    if ("contradicted" in completed) return refuse("not_allowed", {}, completed.contradicted);
    const pause = attempts.take(proven.identities);
    if (pause !== null) return refuse("too_many_calls", { "retry-after": String(pause) });
    const received = await receive(request, { maxBytes, timeoutMs: bodyTimeoutMs, slots });
    if (received === "too_large") return problem("report_too_large", { connection: "close" });
    if (typeof received === "string") return problem(received);
    const deadline = new AbortController();
    const timer = setTimeout(() => deadline.abort(), answerTimeoutMs);
    try {
      const size = line.bytes = received.bytes.length;
      const sha256 = createHash("sha256").update(received.bytes).digest("hex");
      const understood = understand(report, charsetOf(request.headers), received, completed.context, line);
      if ("code" in understood) return problem(understood.code, {}, explained(understood.errors));
      const permitted = permit(proven, understood.facts, source) ??
        permit(await identities.proveAnew(credentials, source, patience), understood.facts, source);
      if (!permitted) return problem("not_allowed");
      const { identity, reference } = permitted;
      const delivery: Delivery = {
        source,
        delivery_id: deliveryId(name, identity, completed.context, key, sha256),
        event: `report.${name}`,
        sha256,
        size,
        content_type: null,
        result: "stored",
        reason: null,
        notes: understood.notes,
        identity: { id: identity.id, reference },
      };
      const committed = await store.report(delivery, understood.facts, deadline.signal);
      if (!committed) return problem("unavailable");
      if ("refused" in committed) return told(committed);
      line.result = committed.result;
      line.facts = committed.result === "stored" ? committed.facts ?? {} : null;
      return answer(200, { result: committed.result, facts: committed.facts ?? {} });
    } finally {
      clearTimeout(timer);
      received.release();
    }
  };
}

/** The first identity that may tell these facts, with the repository that its credentials name. */
function permit(proven: Proven | string | null, facts: Facts, source: string) {
  if (proven === null || typeof proven === "string") return null;
  const reference = proven.job.said.repository ?? null;
  const identity = proven.identities.find((one) => isInScope(one, facts, source, reference));
  return identity ? { identity, reference } : null;
}

function told({ refused, seconds }: Refused): Response {
  switch (refused) {
    case "identity":
      return problem("credentials_wrong", challenge("invalid_token"));
    case "scope":
      return problem("not_allowed");
    case "rate":
      return problem("too_many_calls", { "retry-after": String(seconds ?? 60) });
    case "conflict":
      return problem("key_reused");
    case "facts":
      return problem("refused", {}, [
        { place: "body", code: "not_storable", detail: "A value has not the form that its column holds." },
      ]);
  }
}

/** The one repository that these identities may tell about; null when it is not one. */
function onlyRepository(identities: readonly Identity[]): string | null {
  const all = new Set(identities.flatMap((one) => one.repositories ?? [null]));
  return all.size === 1 ? [...all][0]! : null;
}

/** The sender's own name for the request; null when there is none, and what is wrong with it otherwise. */
function readKey(headers: Headers): string | null | Wrong[] {
  const key = headers.get("idempotency-key");
  if (key === null || /^[\x21-\x7e]{1,255}$/.test(key)) return key;
  return [{ place: "Idempotency-Key", code: "invalid_format", detail: "1 to 255 visible characters of ASCII" }];
}

function charsetOf(headers: Headers): string | null {
  return /;\s*charset="?([^\s";]+)/i.exec(headers.get("content-type") ?? "")?.[1] ?? null;
}

/** So many of them as an answer names, with what each code means where that is more than the code says. */
function explained(errors: readonly Wrong[]): Wrong[] {
  return errors.slice(0, MAX_ERRORS).map((one) => ({ ...one, detail: one.detail ?? sentences[one.code] }));
}

/** Reads a report and checks its facts; the bytes are let go of here. */
function understand(
  report: Report,
  charset: string | null,
  received: { bytes: Uint8Array },
  context: Context,
  line: ReportLine,
): { facts: Facts; notes: string[] } | { code: ProblemCode; errors: Wrong[] } {
  const unreadable = (told: string) => {
    const [code = "", place = "body"] = told.split(": ");
    return { code: "unreadable" as const, errors: [{ place, code }] };
  };
  const decoded = decodeReport(received.bytes, charset);
  received.bytes = new Uint8Array(0);
  if ("unreadable" in decoded) return unreadable(decoded.unreadable);
  let reported: Reported;
  try {
    reported = report.read(decoded.text, context);
  } catch (error) {
    line.error = knownErrors.find((known) => error instanceof known)?.name ?? "Error";
    return unreadable("not_readable");
  }
  if ("unreadable" in reported) return unreadable(reported.unreadable);
  if ("refused" in reported) return { code: "refused", errors: reported.refused };
  const checked = checkFacts(reported.facts);
  if ("facts" in checked) {
    const early = tooEarly(checked.facts, Date.now() + AHEAD_MINUTES * 60_000);
    if (early.length > 0) return { code: "refused", errors: early };
    return { facts: checked.facts, notes: [...reported.notes ?? [], ...checked.notes] };
  }
  const [, place, code] = /^(.+): (.+)$/.exec(checked.wrong) ?? [null, "body", "too_many_facts"];
  return { code: "refused", errors: [{ place: place!, code: code! }] };
}

/** Facts that are observed later than so. */
function tooEarly(facts: Facts, latest: number): Wrong[] {
  const wrong: Wrong[] = [];
  for (const [kind, list] of Object.entries(facts)) {
    for (const [index, { observed_at }] of list.entries()) {
      if (!observed_at || Date.parse(observed_at) <= latest) continue;
      wrong.push({
        place: `${kind}[${index}].observed_at`,
        code: "in_the_future",
        detail: `More than ${AHEAD_MINUTES} minutes ahead of the clock here.`,
      });
    }
  }
  return wrong;
}

/**
 * The same for the same report by the same identity about the same job, whenever its credentials were made: it is stored once. The sender's
 * own key stands in the place of the bytes, within the same limits: one key of two jobs is two reports.
 */
function deliveryId(report: string, identity: Identity, context: Context, key: string | null, sha256: string): string {
  const about = JSON.stringify([report, identity.id, { ...context, observedAt: null }]);
  const hash = (text: string) => createHash("sha256").update(text).digest("hex");
  return key === null ? `sha256:${hash(about + sha256)}` : `report:${hash(about).slice(0, 12)}:${key}`;
}
