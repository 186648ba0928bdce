/** Commits deliveries: the only place that talks to the database, through one function of it. */

import { createClient } from "@supabase/supabase-js";
import { z } from "zod";
import type { FactKind, Facts } from "./facts.ts";
import { writeParameters } from "./parameters.ts";
import { Slots } from "./slots.ts";

/** A delivery as `metrics.ingest` takes it. */
export interface Delivery {
  source: string;
  delivery_id: string;
  event: string | null;
  /** Of the bytes that were signed, in hexadecimal. */
  sha256: string;
  /** Bytes that were signed. */
  size: number;
  /** Of the body as it is kept. */
  content_type: string | null;
  result: "stored" | "ignored" | "quarantined";
  reason: string | null;
  notes: string[];
  /** Who reports, and the repository that the credentials name. */
  identity?: { id: number; reference: string | null };
}

const committed = z.object({
  result: z.enum(["stored", "duplicate", "ignored", "quarantined"]),
  reason: z.string().nullish(),
  facts: z.record(z.string(), z.number()).nullish(),
});
/** Null for a delivery that must go alone. */
const answersTogether = z.array(committed.nullable());
/** What the database made of a delivery. */
export type Committed = z.infer<typeof committed>;

/** Why the database took nothing of a report, and when to come again where it is a matter of time. */
export interface Refused {
  refused: "identity" | "scope" | "rate" | "conflict" | "facts";
  seconds?: number | undefined;
}

export interface Store {
  /** Commits one delivery with its facts and its body. Null when it did not commit in time: the sender must come again. */
  ingest(delivery: Delivery, facts: Facts, body: Uint8Array | null, signal: AbortSignal): Promise<Committed | null>;
  /** Commits what an identity reports: all of it, or nothing. Null when it did not commit in time. */
  report(delivery: Delivery, facts: Facts, signal: AbortSignal): Promise<Committed | Refused | null>;
  /** The rows of the identities that may report; null when the database does not say. */
  liveIdentities(signal: AbortSignal): Promise<unknown[] | null>;
  /** Whether a delivery could be committed now. */
  health(signal: AbortSignal): Promise<boolean>;
}

/**
 * Calls under way at once. The Data API has few sessions, which an app shares: deliveries that wait, for a lock or for a slow disk, must
 * never have them all. Those that come while all are taken go together, as soon as one is free.
 */
const SESSIONS = 3;
/** Most deliveries that go together, and most bytes of their bodies: one call must not keep the next one, or an app's, waiting for long. */
const TOGETHER = 16;
const TOGETHER_BYTES = 256 * 1024;
/** Kinds whose facts depend on one row alone: deliveries of nothing else can go together. */
const rowKinds: ReadonlySet<string> = new Set<FactKind>([
  "repositories",
  "pipeline_runs",
  "jobs",
  "rule_checks",
  "measurements",
]);
/** When a statement of ours ends at the latest: the Data API's own limit. */
const STATEMENT_MS = 8000;

/** A delivery whose turn has not come. */
interface Waiting {
  parameters: { delivery: Delivery; facts: Facts; body: Uint8Array | null };
  signal: AbortSignal;
  answer: (committed: Committed | null) => void;
}

/**
 * Commits with these functions of the database. A serialisation failure or deadlock is tried once more; facts that the database refuses
 * (SQLSTATE classes 22 and 23, P0001) are kept in quarantine instead; after anything else nothing was committed.
 */
export function createStore(call: Call): Store {
  const sessions = new Slots(SESSIONS);
  const waiting: Waiting[] = [];

  /** One call. It keeps its session until it ends, whoever gives it up: the database goes on with it. */
  async function once(parameters: Parameters, signal: AbortSignal | null, session?: () => void): Promise<Answer> {
    const release = session ?? await sessions.acquire(STATEMENT_MS);
    if (!release) return { code: "" };
    const limit = new AbortController();
    const timer = setTimeout(() => limit.abort(), STATEMENT_MS);
    try {
      return signal?.aborted ? { code: "" } : await call("ingest", parameters, limit.signal);
    } catch {
      return { code: "" };
    } finally {
      clearTimeout(timer);
      release();
    }
  }

  async function twice(parameters: Parameters, signal: AbortSignal, session?: () => void): Promise<Answer> {
    const answer = await once(parameters, signal, session);
    return isPassing(answer) ? await once(parameters, signal) : answer;
  }

  async function alone(
    { parameters, signal }: Omit<Waiting, "answer">,
    session?: () => void,
  ): Promise<Committed | null> {
    let answer = await twice(parameters, signal, session);
    if ("code" in answer && isRefusal(answer.code)) {
      const reason = `the database refused the facts (SQLSTATE ${answer.code})`;
      const delivery = { ...parameters.delivery, result: "quarantined", reason };
      answer = await twice({ ...parameters, delivery, facts: {} }, signal);
    }
    return "data" in answer ? committed.safeParse(answer.data).data ?? null : null;
  }

  /** Takes those that may go together off the queue. */
  function takeSome(): Waiting[] {
    let count = 0;
    for (let bytes = 0; count < Math.min(waiting.length, TOGETHER); count++) {
      bytes += waiting[count]!.parameters.body?.length ?? 0;
      if (count > 0 && bytes > TOGETHER_BYTES) break;
    }
    return waiting.splice(0, count);
  }

  async function together(some: Waiting[], session: () => void): Promise<void> {
    const answer = await once({ delivery: some.map((one) => one.parameters) }, null, session);
    const answers = "data" in answer ? answersTogether.safeParse(answer.data).data : undefined;
    const isOfOne = "code" in answer && (isPassing(answer) || isRefusal(answer.code) || answer.code === LOCKED);
    await Promise.all(some.map(async (one, index) => {
      // What could not be committed with the others, and what could be the fault of one of them, is tried by itself.
      const isOpen = answers ? !answers[index] : isOfOne;
      one.answer(isOpen ? await alone(one) : answers?.[index] ?? null);
    }));
  }

  async function takeTurn(): Promise<void> {
    const session = await sessions.acquire(STATEMENT_MS);
    if (!session) return;
    const [first, ...others] = takeSome();
    if (!first) session();
    else if (others.length > 0) await together([first, ...others], session);
    else first.answer(await alone(first, session));
  }

  /** Waits for a turn, perhaps with others; one that is given up leaves the queue. */
  function inTurn({ parameters, signal }: Omit<Waiting, "answer">): Promise<Committed | null> {
    return new Promise((answer) => {
      const one = { parameters, signal, answer };
      waiting.push(one);
      whenAborted(signal).then(() => {
        const at = waiting.indexOf(one);
        if (at >= 0) waiting.splice(at, 1);
      });
      takeTurn();
    });
  }

  return {
    async ingest(delivery, facts, body, signal) {
      const one = { parameters: { delivery, facts, body }, signal };
      const isPlain = delivery.result !== "quarantined" && Object.keys(facts).every((kind) => rowKinds.has(kind));
      const work = isPlain && !sessions.areFree ? inTurn(one) : alone(one);
      return await Promise.race([work, whenAborted(signal)]);
    },
    async report(delivery, facts, signal) {
      const work = twice({ delivery, facts, body: null }, signal);
      const answer = await Promise.race([work, whenAborted(signal)]);
      if (answer === null) return null;
      if ("data" in answer) return committed.safeParse(answer.data).data ?? null;
      const refused = isRefusal(answer.code) ? "facts" : refusals.get(answer.code);
      const seconds = /^[1-9]\d?$/.test(answer.details ?? "") ? Number(answer.details) : undefined;
      return refused ? { refused, seconds } : null;
    },
    async liveIdentities(signal) {
      // Seldom, and never several at once: it need not wait behind deliveries.
      const answer = await call("live_identities", {}, signal).catch(() => ({ code: "" }));
      return "data" in answer && Array.isArray(answer.data) ? answer.data : null;
    },
    async health(signal) {
      const answer = await call("health", {}, signal).catch(() => ({ code: "" }));
      return "data" in answer && answer.data === true;
    },
  };
}

/** Nothing, as soon as whoever waits gave up. */
function whenAborted(signal: AbortSignal): Promise<null> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(null);
    else signal.addEventListener("abort", () => resolve(null), { once: true });
  });
}

type Parameters = Readonly<Record<string, unknown>>;

/**
 * Calls a function of the schema `metrics`: what it returned, or the code of the error, empty when there is none. Parameters that are bytes
 * arrive as text in base64.
 */
export type Call = (name: string, parameters: Parameters, signal: AbortSignal) => Promise<Answer>;
export type Answer = { data: unknown } | { code: string; details?: string };

/** What the SQLSTATEs mean that `metrics.ingest` raises about an identity. */
const refusals: ReadonlyMap<string, Refused["refused"]> = new Map([
  ["28000", "identity"],
  ["42501", "scope"],
  ["PT429", "rate"],
  ["PT422", "conflict"],
]);

/** Somebody else held a row for too long. */
const LOCKED = "55P03";
const isPassing = (answer: Answer) => "code" in answer && (answer.code === "40001" || answer.code === "40P01");
const isRefusal = (code: string) => /^(?:2[23][0-9A-Z]{3}|54[0-9A-Z]{3}|P0001)$/.test(code);

/** Calls through the project's Data API, with the project's secret key and without a session. */
export function callThroughApi(project: { url: string; key: string }): Call {
  // The client makes one text of whatever it is given. It is given a name, and what goes out in its place are the bytes that we wrote.
  const written = new Map<string, Uint8Array>();
  let calls = 0;
  const send = (address: string | URL | Request, init?: { body?: unknown }) =>
    fetch(address, { ...init, body: written.get(`${init?.body}`) ?? null } as RequestInit);
  const client = createClient(project.url, project.key, {
    db: { schema: "metrics" },
    auth: { persistSession: false, autoRefreshToken: false, detectSessionInUrl: false },
    // The key is all there is: without this every call would ask the client's own store for a session.
    accessToken: () => Promise.resolve(project.key),
    global: { fetch: send as typeof fetch },
  });
  return async (name, parameters, signal) => {
    const id = ++calls;
    written.set(`${id}`, writeParameters(parameters));
    try {
      const { data, error } = await client.rpc(name, { toJSON: () => id }).abortSignal(signal);
      if (!error) return { data };
      return { code: error.code ?? "", ...(error.details ? { details: error.details } : {}) };
    } finally {
      written.delete(`${id}`);
    }
  };
}
