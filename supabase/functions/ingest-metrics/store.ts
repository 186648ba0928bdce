/** Commits deliveries: the only place that talks to the database, through one function of it. */

import { createClient } from "@supabase/supabase-js";
import { z } from "zod";
import type { Facts } from "./facts.ts";
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
}

const committed = z.object({
  result: z.enum(["stored", "duplicate", "ignored", "quarantined"]),
  reason: z.string().nullish(),
  facts: z.record(z.string(), z.number()).nullish(),
});
/** What the database made of a delivery. */
export type Committed = z.infer<typeof committed>;

export interface Store {
  /** Commits one delivery with its facts and its body. Null when it did not commit in time: the sender must come again. */
  ingest(delivery: Delivery, facts: Facts, body: Uint8Array | null, signal: AbortSignal): Promise<Committed | null>;
  /** Whether a delivery could be committed now. */
  health(signal: AbortSignal): Promise<boolean>;
}

/**
 * Calls under way at once. The Data API has few sessions, which an app shares: deliveries that wait, for a lock or for a slow disk, must
 * never have them all.
 */
const SESSIONS = 6;
/** When a statement of ours ends at the latest: the Data API's own limit. */
const STATEMENT_MS = 8000;

/**
 * Commits with these functions of the database. A serialisation failure or deadlock is tried once more; facts that the database refuses
 * (SQLSTATE classes 22 and 23, P0001) are kept in quarantine instead; after anything else nothing was committed.
 */
export function createStore(call: Call): Store {
  const sessions = new Slots(SESSIONS);
  const once = async (name: string, parameters: Record<string, unknown>, signal: AbortSignal): Promise<Answer> => {
    const release = await sessions.acquire(STATEMENT_MS);
    if (!release) return { code: "" };
    if (signal.aborted) {
      release();
      return { code: "" };
    }
    const started = performance.now();
    try {
      return await call(name, parameters, signal);
    } catch {
      return { code: "" };
    } finally {
      // What is given up here goes on in the database, and keeps its session, until its statement ends.
      if (signal.aborted) setTimeout(release, STATEMENT_MS - (performance.now() - started));
      else release();
    }
  };
  const twice = async (name: string, parameters: Record<string, unknown>, signal: AbortSignal): Promise<Answer> => {
    const answer = await once(name, parameters, signal);
    return isPassing(answer) ? await once(name, parameters, signal) : answer;
  };
  return {
    async ingest(delivery, facts, body, signal) {
      let answer = await twice("ingest", { delivery, facts, body }, signal);
      if (isRefusal(answer)) {
        const reason = `the database refused the facts (SQLSTATE ${answer.code})`;
        const kept = { ...delivery, result: "quarantined", reason };
        answer = await twice("ingest", { delivery: kept, facts: {}, body }, signal);
      }
      return "data" in answer ? committed.safeParse(answer.data).data ?? null : null;
    },
    async health(signal) {
      const answer = await once("health", {}, signal);
      return "data" in answer && answer.data === true;
    },
  };
}

/**
 * Calls a function of the schema `metrics`: what it returned, or the code of the error, empty when there is none. Parameters that are bytes
 * arrive as text in base64.
 */
export type Call = (
  name: string,
  parameters: Readonly<Record<string, unknown>>,
  signal: AbortSignal,
) => Promise<Answer>;
export type Answer = { data: unknown } | { code: string };

const isPassing = (answer: Answer) => "code" in answer && (answer.code === "40001" || answer.code === "40P01");
const isRefusal = (answer: Answer): answer is { code: string } =>
  "code" in answer && /^(?:2[23][0-9A-Z]{3}|54[0-9A-Z]{3}|P0001)$/.test(answer.code);

/** Calls through the project's Data API, with the project's secret key and without a session. */
export function callThroughApi(project: { url: string; key: string }): Call {
  // The client makes one text of whatever it is given. It is given a name, and what goes out in its place are the bytes that we wrote.
  const written = new Map<string, Uint8Array<ArrayBuffer>>();
  let calls = 0;
  const client = createClient(project.url, project.key, {
    db: { schema: "metrics" },
    auth: { persistSession: false, autoRefreshToken: false, detectSessionInUrl: false },
    // The key is all there is: without this every call would ask the client's own store for a session.
    accessToken: () => Promise.resolve(project.key),
    global: { fetch: (address, init) => fetch(address, { ...init, body: written.get(String(init?.body)) ?? null }) },
  });
  return async (name, parameters, signal) => {
    const id = ++calls;
    written.set(`${id}`, writeParameters(parameters));
    try {
      const { data, error } = await client.rpc(name, { toJSON: () => id }).abortSignal(signal);
      return error ? { code: error.code ?? "" } : { data };
    } finally {
      written.delete(`${id}`);
    }
  };
}
