/** Clients that post one delivery after the other, in a thread of their own so that they do not delay who measures. */

import { GitHubRepository, sha } from "./history_github.ts";
import { post, type StackAddress } from "./http.ts";

/** What clients do: post deliveries of a source, or write the same bytes through REST into a table `(id text, body text)` of `public`. */
export type Target = { source: string } | { table: string };

/** What the thread is told: whether to post, and how. */
type Order = { start: { stack: StackAddress; target: Target; clients: number } } | { stop: true };

/** What became of the deliveries of one period, by status; 0 is no answer. */
export type Statuses = Record<number, number>;

/** The thread, seen from outside. */
export class PostingClients {
  #worker = new Worker(import.meta.url, { type: "module" });

  start(stack: StackAddress, target: Target, clients: number): void {
    // Not everything that a stack is can be sent to a thread.
    const { url, database_url, publishable_key, secret_key, sources, data, pid } = stack;
    const address = { url, database_url, publishable_key, secret_key, sources, data, pid };
    this.#worker.postMessage({ start: { stack: address, target, clients } } satisfies Order);
  }

  /** Lets what was posted be answered. */
  stop(): Promise<Statuses> {
    const { promise, resolve } = Promise.withResolvers<Statuses>();
    this.#worker.onmessage = ({ data }: MessageEvent<Statuses>) => resolve(data);
    this.#worker.postMessage({ stop: true } satisfies Order);
    return promise;
  }

  [Symbol.dispose](): void {
    this.#worker.terminate();
  }
}

/** A job that was never told before. */
function delivery(source: string) {
  const at = "2026-01-05T09:00:00Z";
  const id = Math.floor(Math.random() * 2 ** 48);
  return new GitHubRepository(1 + id % 200, `acme/app-${id % 200}`, { source }).job({
    action: "completed",
    id,
    runId: id,
    name: "build",
    status: "completed",
    conclusion: "success",
    branch: "main",
    sha: sha(1),
    createdAt: at,
    startedAt: at,
    completedAt: at,
    by: "dev-1",
  });
}

async function client(stack: StackAddress, target: Target, statuses: Statuses, runs: () => boolean): Promise<void> {
  while (runs()) {
    const { id, event, body } = delivery("source" in target ? target.source : "github");
    const sent = "source" in target
      ? post(stack, { source: target.source, event, body }).then((answer) => answer.status)
      : insert(stack, target.table, crypto.randomUUID() + id, JSON.stringify(body));
    const status = await sent.catch(() => 0);
    statuses[status] = (statuses[status] ?? 0) + 1;
    if (status >= 300 || status === 0) await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function insert(stack: StackAddress, table: string, id: string, body: string): Promise<number> {
  const response = await fetch(`${stack.url}/rest/v1/${table}`, {
    method: "POST",
    headers: {
      apikey: stack.secret_key,
      authorization: `Bearer ${stack.secret_key}`,
      "content-type": "application/json",
      prefer: "return=minimal",
    },
    body: JSON.stringify({ id, body }),
  });
  await response.body?.cancel();
  return response.status;
}

// deno-lint-ignore no-explicit-any
const self = globalThis as any;
if (typeof self.postMessage === "function" && typeof self.DedicatedWorkerGlobalScope === "function") {
  let runs = false;
  let statuses: Statuses = {};
  let ends: Promise<void>[] = [];
  self.onmessage = async ({ data }: MessageEvent<Order>) => {
    if ("start" in data) {
      const { stack, target, clients } = data.start;
      runs = true;
      statuses = {};
      ends = Array.from({ length: clients }, () => client(stack, target, statuses, () => runs));
    } else {
      runs = false;
      await Promise.all(ends);
      self.postMessage(statuses);
    }
  };
}
