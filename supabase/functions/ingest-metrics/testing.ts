/** For the tests beside the code: signed requests, example bodies, and a store that remembers. */

import { readConfiguration } from "./configuration.ts";
import type { Facts } from "./facts.ts";
import { createHandler, type HandlerOptions, type LogLine } from "./handler.ts";
import type { OutcomeTable } from "./sources/shared.ts";
import type { Committed, Delivery, Refused, Store } from "./store.ts";

export const SECRET = "It's a Secret to Everybody";
export const ADDRESS = "https://project.test/functions/v1/ingest-metrics";

export interface Kept {
  delivery: Delivery;
  facts: Facts;
  body: Uint8Array | null;
}

/** A store that commits everything, or what `answer` says. */
export class FakeStore implements Store {
  readonly kept: Kept[] = [];
  healthy = true;
  healthCalls = 0;
  answer: ((kept: Kept) => Committed | null | Promise<Committed | null>) | undefined;
  /** What of a report is not taken. */
  refused: Refused | undefined;
  /** Rows of identities; null while the database is away. */
  identities: object[] | null = [];
  identityCalls = 0;

  async ingest(delivery: Delivery, facts: Facts, body: Uint8Array | null): Promise<Committed | null> {
    const kept = { delivery, facts, body };
    this.kept.push(kept);
    if (this.answer) return await this.answer(kept);
    const counts = Object.entries(facts).map(([kind, list]) => [kind, list.length] as const);
    return { result: delivery.result, reason: delivery.reason, facts: Object.fromEntries(counts) };
  }

  report(delivery: Delivery, facts: Facts): Promise<Committed | Refused | null> {
    return this.refused ? Promise.resolve(this.refused) : this.ingest(delivery, facts, null);
  }

  liveIdentities(): Promise<object[] | null> {
    this.identityCalls++;
    return Promise.resolve(this.identities);
  }

  health(): Promise<boolean> {
    this.healthCalls++;
    return Promise.resolve(this.healthy);
  }

  get last(): Kept {
    return this.kept.at(-1)!;
  }
}

export type Environment = Record<string, string>;

/** A handler with a source `github` (and what the environment adds), its store, and the lines that it logged. */
export function testHandler(environment: Environment = {}, options: Partial<HandlerOptions> = {}) {
  const store = new FakeStore();
  const lines: LogLine[] = [];
  const configuration = readConfiguration({ INGEST_SECRET_GITHUB: SECRET, ...environment });
  const handler = createHandler({ configuration, store, log: (line) => lines.push(line), ...options });
  return { handler, store, lines, configuration };
}

/** The header's value for these bytes. */
export async function signature(body: Uint8Array | string, secret: string = SECRET): Promise<string> {
  const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("raw", new TextEncoder().encode(secret), algorithm, false, ["sign"]);
  const signed = new Uint8Array(await crypto.subtle.sign("HMAC", key, bytes as BufferSource));
  return `sha256=${Array.from(signed, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

export interface Sent {
  event?: string | null;
  id?: string | null;
  secret?: string;
  path?: string;
  method?: string;
  /** Replaces or, with null, removes headers of the signed request. */
  headers?: Record<string, string | null>;
}

/** A signed webhook as GitHub sends it. */
export async function webhook(body: unknown, sent: Sent = {}): Promise<Request> {
  const { event = "workflow_job", id = crypto.randomUUID(), path = "/github", method = "POST" } = sent;
  const bytes = body instanceof Uint8Array
    ? body
    : new TextEncoder().encode(typeof body === "string" ? body : JSON.stringify(body));
  const headers = new Headers({
    "content-type": "application/json",
    "x-hub-signature-256": await signature(bytes, sent.secret),
    "content-length": String(bytes.length),
  });
  if (event !== null) headers.set("x-github-event", event);
  if (id !== null) headers.set("x-github-delivery", id);
  for (const [name, value] of Object.entries(sent.headers ?? {})) {
    if (value === null) headers.delete(name);
    else headers.set(name, value);
  }
  const hasBody = method !== "GET" && method !== "HEAD";
  return new Request(`${ADDRESS}${path}`, {
    method,
    headers,
    ...(hasBody ? { body: bytes as BodyInit } : {}),
  });
}

export interface Example {
  event: string;
  index: number;
  // deno-lint-ignore no-explicit-any
  body: any;
}

/** Every body that GitHub's community has collected of api.github.com. */
export async function githubExamples(): Promise<Example[]> {
  // Through a variable, because the types of four megabytes of JSON take longer than every test.
  const collection: string = "@octokit/webhooks-examples";
  const module = await import(collection, { with: { type: "json" } });
  // deno-lint-ignore no-explicit-any
  const events = module.default as { name: string; examples: any[] }[];
  return events.flatMap(({ name, examples }) => examples.map((body, index) => ({ event: name, index, body })));
}

/** A copy of one example, free to be changed. */
// deno-lint-ignore no-explicit-any
export async function githubExample(event: string, index = 0): Promise<any> {
  return structuredClone((await githubExamples()).find((one) => one.event === event && one.index === index)!.body);
}

export function decodeBody(kept: Pick<Kept, "body">): string {
  return new TextDecoder().decode(kept.body!);
}

/** What the page of a source says in its tables and lists: `[field, word, status, outcome]`, reasons by ignored event, redacted fields. */
export async function readSourcePage(provider: string) {
  const page = await Deno.readTextFile(new URL(`../../../docs/sources/${provider}.md`, import.meta.url));
  const rows = page.split("\n").filter((line) => line.startsWith("|")).map((line) =>
    line.split("|").slice(1, -1).map((cell) => cell.trim())
  );
  const words = rows.filter((row) => row.length === 4 && /^`.*`$/.test(row[1]!)).map((
    [field, word, ...said],
  ) => [field, word!.slice(1, -1), ...said]);
  const ignored = rows.filter((row) => row.length === 2).flatMap(([reason, events]) =>
    Array.from(events!.matchAll(/`([\w.-]+)`/g), ([, event]) => [event!, reason!] as const)
  );
  const redacted = Array.from(page.matchAll(/^- `([\w.]+)`$/gm), (match) => match[1]!);
  return { words, ignored: Object.fromEntries(ignored), redacted };
}

/** A source's table of words as its page shows it. */
export function wordsOf(outcomeTable: OutcomeTable): string[][] {
  return Object.entries(outcomeTable).flatMap(([field, table]) =>
    Object.entries(table).map(([word, [status, outcome]]) => [field, word, status ?? "", outcome ?? ""])
  );
}
