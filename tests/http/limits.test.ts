// Time and memory of the whole stack, and of the function at its limit. A stack of its own, so that nothing else counts.
import { assert, assertEquals, assertLess } from "@std/assert";
import { join } from "@std/path";
import postgres from "postgres";
import { largeJunit } from "../../supabase/functions/ingest-metrics/reports/testing.ts";
import { EdgeFunction } from "../../tools/stack/edge_function.ts";
import { commandLine } from "../../tools/stack/process.ts";
import { deep, isDeep } from "../support/depth.ts";
import { GitHubRepository, sha } from "../support/history_github.ts";
import { bytesOf, post, raw } from "../support/http.ts";
import { descendants, repository, type RunningStack, startStack } from "../support/stack.ts";

// Memory is read where the kernel tells it.
const options = { sanitizeOps: false, sanitizeResources: false, ignore: Deno.build.os !== "linux" };
const source = "github";
const mebibyte = 1024 * 1024;
const limit = 10 * mebibyte;
const data = await Deno.makeTempDir({ prefix: "metrics-stack-" });
// The first start makes the database; what a person waits for every day is the second.
await (await startStack({ data })).stop();
const started = performance.now();
const stack = await startStack({ data });
const seconds = (performance.now() - started) / 1000;
Deno.test.afterAll(async () => {
  await stack.stop();
  await Deno.remove(data, { recursive: true });
});

/** A number that the kernel tells of a process, in MiB; 0 when it has ended. */
function memory(pid: number, field: string): number {
  try {
    const text = Deno.readTextFileSync(`/proc/${pid}/status`);
    return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(text)?.[1] ?? 0) / 1024;
  } catch {
    return 0;
  }
}

function edge(stack: RunningStack): number {
  return descendants(stack.pid).find((pid) => commandLine(pid).endsWith("/ingest-metrics/index.ts"))!;
}

/** A job with so many bytes of steps in front of spaces, `limit` bytes altogether. */
function large(id: number, ofSteps: number): Uint8Array<ArrayBuffer> {
  const at = "2026-01-05T09:00:00Z";
  const step = { name: "Test", status: "completed", conclusion: "success", startedAt: at, completedAt: at };
  const { body } = new GitHubRepository(1, "acme/app", { source }).job({
    action: "completed",
    id,
    runId: 1,
    name: "build",
    status: "completed",
    conclusion: "success",
    branch: "main",
    sha: sha(1),
    createdAt: at,
    startedAt: at,
    completedAt: at,
    steps: Array.from({ length: Math.floor(ofSteps / 150) }, () => step),
    by: "dev-1",
  });
  const text = bytesOf(body);
  assert(text.length <= limit);
  const bytes = new Uint8Array(limit).fill(0x20);
  bytes.set(text);
  return bytes;
}

Deno.test("a warm start takes less than 10 s", options, () => {
  console.log(`${seconds.toFixed(1)} s`);
  assertLess(seconds, 10);
});

Deno.test("the idle stack takes less than 700 MB", options, async () => {
  await post(stack, { source, event: "ping", body: { zen: "x" } });
  await new Promise((resolve) => setTimeout(resolve, 2_000));
  const family = descendants(stack.pid);
  // The resident sets, though pages that several processes share are then counted several times: it is less all the same.
  const parts = family.map((pid) => ({ pid, mebibytes: memory(pid, "VmRSS") }));
  const sum = parts.reduce((sum, { mebibytes }) => sum + mebibytes, 0);
  const list = parts.toSorted((a, b) => b.mebibytes - a.mebibytes).map(({ mebibytes }) => mebibytes.toFixed(0));
  console.log(`${family.length} processes, ${sum.toFixed(0)} MiB: ${list.join(" + ")}`);
  assertLess(sum * mebibyte, 700e6);
});

Deno.test("four bodies of 10 MiB at once take less than 256 MB of a function", options, async () => {
  // What counts is what the function needs: with a heap of 256 MB the runtime lets garbage lie until it is nearly full, so it is given a
  // quarter of that, and must live. Bodies are outside of the heap: what they take is the growth of the resident set, heap included,
  // over that of a function that has done nothing but one small delivery; the runtime itself is not the function's.
  const log = await Deno.makeTempFile({ prefix: "metrics-function-" });
  const edge = new EdgeFunction({
    name: "ingest-metrics",
    folder: join(repository, "supabase", "functions", "ingest-metrics"),
    env: {
      SUPABASE_URL: stack.url,
      SUPABASE_SECRET_KEYS: JSON.stringify({ default: stack.secret_key }),
      INGEST_SECRET_GITHUB: stack.sources[source]!,
    },
    log,
    heap: 64,
  });
  try {
    assert(await edge.start());
    const pid = edge.pid!;
    const address = { ...stack, url: `http://127.0.0.1:${edge.port}` };
    assertEquals((await post(address, { source, event: "ping", body: { zen: "x" } })).status, 202);
    const idle = memory(pid, "VmRSS");
    for (let round = 0; round < deep(1, 20); round++) {
      for (const ofSteps of isDeep ? [0, 9 * mebibyte] : [2 * mebibyte]) {
        const answers = await Promise.all(
          [1, 2, 3, 4].map((id) => post(address, { source, event: "workflow_job", body: large(id, ofSteps) })),
        );
        assertEquals(answers.map(({ json }) => json?.result), Array(4).fill("stored"));
      }
    }
    assertEquals(edge.pid, pid, "the function had to be started again");
    const most = memory(pid, "VmHWM");
    console.log(`resident set: ${idle.toFixed(0)} MiB before, at most ${most.toFixed(0)} MiB`);
    assertLess(most - idle, 256);
  } finally {
    await edge.stop();
    await Deno.remove(log);
  }
});

Deno.test("the stack's own function takes four bodies of 10 MiB at once and lives", options, async () => {
  const pid = edge(stack);
  const answers = await Promise.all(
    [1, 2, 3, 4].map((id) => post(stack, { source, event: "workflow_job", body: large(id, mebibyte) })),
  );
  assertEquals(answers.map(({ json }) => json?.result), Array(4).fill("stored"));
  assertEquals(edge(stack), pid);
});

Deno.test("the largest report is stored, and the same tests again in another run", options, async () => {
  const sql = postgres(stack.database_url, { max: 1, onnotice: () => {} });
  const [row] = await sql`
    select metrics.create_token(name => 'limits', sources => array['github'], repositories => array['github:800001']) as token
  `;
  await sql.end();
  const report = largeJunit(limit, 9296);
  for (const run of ["1", "2"]) {
    const asked = performance.now();
    const response = await fetch(`${stack.url}/functions/v1/ingest-metrics/github/junit?run=${run}`, {
      method: "POST",
      headers: { authorization: `Bearer ${row!.token}`, "content-type": "application/xml" },
      body: report,
    });
    assertEquals([response.status, await response.json()], [
      200,
      { result: "stored", facts: { test_runs: 704, test_cases: 9296 } },
    ]);
    console.log(`${((performance.now() - asked) / 1000).toFixed(1)} s`);
  }
});

Deno.test("many slow large senders do not keep others from being answered", options, async () => {
  const path = `/functions/v1/ingest-metrics/${source}`;
  const head = (length: number) =>
    `POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nx-hub-signature-256: sha256=${
      "0".repeat(64)
    }\r\n` +
    `content-length: ${length}\r\n\r\n`;
  const slow = Array.from(
    { length: 8 },
    () => raw(stack.url, [head(9 * mebibyte), new Uint8Array(mebibyte).fill(0x20)], { patience: 1_500 }),
  );
  await new Promise((resolve) => setTimeout(resolve, 500));
  const asked = performance.now();
  const { body } = new GitHubRepository(1, "acme/app", { source }).ping("dev-1");
  assertEquals((await post(stack, { source, event: "ping", body })).status, 202);
  assertLess(performance.now() - asked, 1_000);
  await Promise.all(slow);
});
