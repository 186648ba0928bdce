import { assert, assertEquals } from "@std/assert";
import { DEFAULT_MAX_BYTES } from "./configuration.ts";
import { githubExample, SECRET, signature } from "./testing.ts";

/** What a hosted function may use: it is ended when its used heap and its external memory together reach this. */
const ALLOWED = 256 * 1024 * 1024;
const AT_ONCE = 4;

/** A push as large as the limit allows, with as many commits as there can be, and so with as many facts. */
async function largestPush(): Promise<Uint8Array> {
  const push = await githubExample("push", 4);
  const [first] = push.commits;
  const room = Math.floor(DEFAULT_MAX_BYTES / 2048) - 40;
  push.commits = Array.from({ length: 2048 }, (_, n) => {
    const commit = {
      ...first,
      id: n.toString(16).padStart(40, "a"),
      message: `Change ${n} – 🚀`,
      modified: [] as string[],
    };
    let size = JSON.stringify(commit).length;
    while (size < room) {
      const path = `src/components/module${commit.modified.length}/file${n}.ts`;
      commit.modified.push(path);
      size += path.length + 3;
    }
    return commit;
  });
  push.head_commit = { id: push.commits.at(-1).id };
  const bytes = new TextEncoder().encode(JSON.stringify(push));
  assert(bytes.length <= DEFAULT_MAX_BYTES && bytes.length > 0.97 * DEFAULT_MAX_BYTES, `${bytes.length} bytes`);
  return bytes;
}

/** A job as large as the limit allows, with more steps than are kept. */
async function largestJob(): Promise<Uint8Array> {
  const job = await githubExample("workflow_job", 0);
  const [step] = job.workflow_job.steps;
  const count = Math.floor((DEFAULT_MAX_BYTES - 20_000) / (JSON.stringify(step).length + 1));
  job.workflow_job.steps = Array(count).fill(step);
  const bytes = new TextEncoder().encode(JSON.stringify(job));
  assert(bytes.length <= DEFAULT_MAX_BYTES && bytes.length > 0.97 * DEFAULT_MAX_BYTES, `${bytes.length} bytes`);
  return bytes;
}

/** Posts a body four times at once to a function in a process of its own: the most bytes that it used. */
async function mostUsed(event: string, body: Uint8Array, stored: Record<string, number>): Promise<number> {
  const database = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
    const { facts } = await request.json();
    const counts = Object.entries<unknown[]>(facts).map(([kind, list]) => [kind, list.length] as const);
    return Response.json({ result: "stored", facts: Object.fromEntries(counts) });
  });
  // Tells the most that was used, whenever it grew; the platform looks at the same numbers between the same turns.
  const code = `
    let most = 0;
    setInterval(() => {
      const { heapUsed, external } = Deno.memoryUsage();
      if (heapUsed + external > most) console.error(most = heapUsed + external);
    }, 1);
    await import(${JSON.stringify(new URL("index.ts", import.meta.url).href)});
  `;
  const process = new Deno.Command(Deno.execPath(), {
    args: ["eval", "--no-lock", "--node-modules-dir=none", "--v8-flags=--max-old-space-size=256", code],
    env: {
      INGEST_SECRET_GITHUB: SECRET,
      INGEST_LISTEN: "127.0.0.1:0",
      SUPABASE_URL: `http://127.0.0.1:${database.addr.port}`,
      SUPABASE_SECRET_KEYS: '{"default":"sb_secret_0123456789"}',
    },
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const lines = process.stdout.pipeThrough(new TextDecoderStream())[Symbol.asyncIterator]();
  const errors = new Response(process.stderr).text();
  try {
    const { listening } = JSON.parse((await lines.next()).value.split("\n", 1)[0]);
    const headers = {
      "content-type": "application/json",
      "x-github-event": event,
      "x-hub-signature-256": await signature(body),
    };
    const answers = await Promise.all(Array.from({ length: AT_ONCE }, async () => {
      const address = `http://127.0.0.1:${listening.port}/ingest-metrics/github`;
      const response = await fetch(address, { method: "POST", headers, body: body as BodyInit });
      return await response.json();
    }));
    assertEquals(answers, Array(AT_ONCE).fill({ result: "stored", facts: stored }));
  } finally {
    process.kill("SIGKILL");
    await process.status;
    for await (const _ of { [Symbol.asyncIterator]: () => lines });
    await database.shutdown();
  }
  return Number((await errors).trim().split("\n").at(-1));
}

for (
  const [event, body, stored] of [
    ["push", largestPush, { repositories: 1, pushes: 1, commits: 2048 }],
    ["workflow_job", largestJob, { repositories: 1, jobs: 1 }],
  ] as const
) {
  Deno.test(`four of the largest deliveries at once fit into the memory of a hosted function: ${event}`, async () => {
    const most = await mostUsed(event, await body(), stored);
    console.log(`${Math.round(most / 1024 / 1024)} MiB`);
    assert(most > 0 && most < ALLOWED, `${most} bytes were used`);
  });
}
