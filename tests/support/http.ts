import { encodeHex } from "@std/encoding/hex";
import { createClient, type SupabaseClient } from "@supabase/supabase-js";
import postgres, { type Sql } from "postgres";
import type { Ready } from "../../tools/stack/stack.ts";
import { type RunningStack, startStack } from "./stack.ts";

/** Sources of the shared stack, one for each subject, so that the facts of one do not meet another's. */
const subjects = ["examples", "refusals", "hostile", "secrets", "safe", "burst"] as const;
/** Sources of other providers than GitHub, whose secrets are no more than long. */
const others = ["PAGERDUTY_HTTP", "CDEVENTS_HTTP", "GITLAB_TOKEN"] as const;

/** What a test needs to know of a running stack. */
export type StackAddress = Pick<
  Ready,
  "url" | "database_url" | "publishable_key" | "secret_key" | "sources" | "data" | "pid"
>;

/** The secrets of the shared stack's sources, as variables of its environment. */
export function subjectSecrets(): Record<string, string> {
  const named = [...subjects.map((subject) => `GITHUB_${subject.toUpperCase()}`), ...others].map((source) =>
    [`INGEST_SECRET_${source}`, encodeHex(crypto.getRandomValues(new Uint8Array(24)))] as const
  );
  const signingKey = `whsec_${btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(32))))}`;
  return { ...Object.fromEntries(named), INGEST_SECRET_GITLAB_SIGNED: signingKey };
}

/**
 * The stack that the tests over HTTP share: that of the whole run (`METRICS_TEST_STACK`), else one of this file's own, which is
 * stopped after its last test. To be called while the module loads.
 */
export async function sharedStack(): Promise<StackAddress> {
  const given = Deno.env.get("METRICS_TEST_STACK");
  if (given) return JSON.parse(given) as StackAddress;
  const stack: RunningStack = await startStack({ env: subjectSecrets() });
  Deno.test.afterAll(() => stack[Symbol.asyncDispose]());
  return stack;
}

/** Connections as `postgres`, ended after the file's last test. To be called while the module loads. */
export function connect(stack: StackAddress, max = 4): Sql {
  const sql = postgres(stack.database_url, { max, onnotice: () => {} });
  Deno.test.afterAll(() => sql.end({ timeout: 5 }));
  return sql as Sql;
}

/** The `X-Hub-Signature-256` of these bytes. */
export async function signatureOf(bytes: Uint8Array, secret: string): Promise<string> {
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("raw", new TextEncoder().encode(secret), algorithm, false, ["sign"]);
  return `sha256=${encodeHex(await crypto.subtle.sign("HMAC", key, bytes as Uint8Array<ArrayBuffer>))}`;
}

/** The three headers that sign these bytes as Standard Webhooks has it; `at` is in seconds, default now. */
export async function standardHeaders(
  bytes: Uint8Array,
  signingKey: string,
  id: string,
  at: number = Math.floor(Date.now() / 1000),
): Promise<Record<string, string>> {
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const raw = Uint8Array.from(atob(signingKey.slice("whsec_".length)), (char) => char.charCodeAt(0));
  const key = await crypto.subtle.importKey("raw", raw, algorithm, false, ["sign"]);
  const head = new TextEncoder().encode(`${id}.${at}.`);
  const signed = new Uint8Array(await crypto.subtle.sign("HMAC", key, new Uint8Array([...head, ...bytes])));
  return {
    "webhook-id": id,
    "webhook-timestamp": String(at),
    "webhook-signature": `v1,${btoa(String.fromCharCode(...signed))}`,
  };
}

/** A request as GitHub would make it, and what to change about it. */
export interface Webhook {
  source: string;
  event?: string;
  /** Default: a new one. */
  id?: string;
  /** Sent as it is; other values than bytes and texts as JSON. */
  body: unknown;
  secret?: string;
  method?: string;
  /** Replaced or, with null, left out. */
  headers?: Record<string, string | null>;
}

/** An answer, read to its end. */
export interface Answered {
  status: number;
  headers: Headers;
  text: string;
  // deno-lint-ignore no-explicit-any
  json: any;
}

/** Bytes of a body. */
export function bytesOf(body: unknown): Uint8Array<ArrayBuffer> {
  if (body instanceof Uint8Array) return body as Uint8Array<ArrayBuffer>;
  return new TextEncoder().encode(typeof body === "string" ? body : JSON.stringify(body));
}

/** The headers of a signed request. */
export async function headersOf(stack: StackAddress, webhook: Webhook): Promise<Record<string, string>> {
  const headers: Record<string, string> = {
    "content-type": "application/json",
    "user-agent": "GitHub-Hookshot/1234567",
    "x-github-event": webhook.event ?? "workflow_job",
    "x-github-delivery": webhook.id ?? crypto.randomUUID(),
    "x-hub-signature-256": await signatureOf(
      bytesOf(webhook.body),
      webhook.secret ?? stack.sources[webhook.source] ?? "a secret that nobody knows",
    ),
  };
  for (const [name, value] of Object.entries(webhook.headers ?? {})) {
    if (value === null) delete headers[name];
    else headers[name] = value;
  }
  return headers;
}

/** Signs and posts a webhook over HTTP. */
export async function post(stack: StackAddress, webhook: Webhook): Promise<Answered> {
  const method = webhook.method ?? "POST";
  const response = await fetch(`${stack.url}/functions/v1/ingest-metrics/${webhook.source}`, {
    method,
    headers: await headersOf(stack, webhook),
    ...(method === "GET" || method === "HEAD" ? {} : { body: bytesOf(webhook.body) }),
  });
  return await answered(response);
}

/** Reads an answer to its end. */
export async function answered(response: Response): Promise<Answered> {
  const text = await response.text();
  let json: unknown = null;
  try {
    json = JSON.parse(text);
  } catch {
    // Then it is none.
  }
  return { status: response.status, headers: response.headers, text, json };
}

/** What came back over a bare connection: the status of the first answer (0 for none) and everything that was said. */
export interface RawAnswer {
  status: number;
  text: string;
  json: unknown;
}

/**
 * Writes pieces of bytes to a bare connection, as no HTTP client would, and reads until the other side closes, or an answer with
 * its whole body is there.
 *
 * @param pause milliseconds between the pieces
 * @param patience milliseconds to wait for an answer after the last piece
 */
export async function raw(
  url: string,
  pieces: Iterable<string | Uint8Array>,
  { pause = 0, patience = 3_000, close = false }: { pause?: number; patience?: number; close?: boolean } = {},
): Promise<RawAnswer> {
  const connection = await Deno.connect({ hostname: "127.0.0.1", port: Number(new URL(url).port) });
  let text = "";
  let isAnswered = false;
  const reading = (async () => {
    const buffer = new Uint8Array(16_384);
    const decoder = new TextDecoder();
    try {
      for (let count; !isAnswered && (count = await connection.read(buffer)) !== null;) {
        text += decoder.decode(buffer.subarray(0, count), { stream: true });
        const length = /\r\ncontent-length: (\d+)\r\n[\s\S]*?\r\n\r\n/i.exec(text);
        if (length && text.length >= length.index + length[0].length + Number(length[1])) isAnswered = true;
      }
    } catch {
      // Closed by either side.
    }
    isAnswered = true;
  })();
  try {
    for (const piece of pieces) {
      if (isAnswered) break;
      const bytes = typeof piece === "string" ? new TextEncoder().encode(piece) : piece;
      for (let written = 0; written < bytes.length;) written += await connection.write(bytes.subarray(written));
      if (pause > 0) await new Promise((resolve) => setTimeout(resolve, pause));
    }
    if (close) await connection.closeWrite();
  } catch {
    // The other side may hang up in the middle.
  }
  let timer: ReturnType<typeof setTimeout> | undefined;
  await Promise.race([reading, new Promise((resolve) => timer = setTimeout(resolve, patience))]);
  clearTimeout(timer);
  try {
    connection.close();
  } catch {
    // It is.
  }
  await reading;
  let json: unknown = null;
  try {
    json = JSON.parse(/\{[\s\S]*\}/.exec(text)?.[0] ?? "");
  } catch {
    // Then it is none.
  }
  return { status: Number(/^HTTP\/1\.1 ([2-5]\d\d)/m.exec(text)?.[1] ?? 0), text, json };
}

/** A client of the schema `metrics`, whose rows have no types here. */
// deno-lint-ignore no-explicit-any
export type MetricsClient = SupabaseClient<any, any, any>;

/** A client of a newly signed-up user; with a role, of one who has accepted the membership. */
export async function signedIn(
  stack: StackAddress,
  sql: Sql,
  role?: "viewer" | "admin",
): Promise<{ client: MetricsClient; token: string; email: string }> {
  const email = `${crypto.randomUUID()}@example.com`;
  const client = createClient(stack.url, stack.publishable_key, {
    db: { schema: "metrics" },
    auth: { persistSession: false, autoRefreshToken: false },
  });
  const { data, error } = await client.auth.signUp({ email, password: crypto.randomUUID() });
  if (error || !data.session) throw error ?? new Error("no session");
  if (role) {
    await sql`select metrics.add_member(${email}, ${role})`;
    const accepted = await client.rpc("accept_membership");
    if (accepted.error) throw new Error(accepted.error.message);
  }
  return { client: client as MetricsClient, token: data.session.access_token, email };
}

/** Works on items, so many at a time. */
export async function inParallel<T>(
  items: Iterable<T>,
  width: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const iterator = items[Symbol.iterator]();
  await Promise.all(Array.from({ length: width }, async () => {
    for (let next = iterator.next(); !next.done; next = iterator.next()) await work(next.value);
  }));
}
