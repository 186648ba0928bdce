// Whatever is sent, the answer is never a 5xx, and only what proved itself leaves a row.
import { assert, assertEquals } from "@std/assert";
import { encodeHex } from "@std/encoding/hex";
import { join } from "@std/path";
import { deep } from "../support/depth.ts";
import { GitHubRepository, sha } from "../support/history_github.ts";
import { newSeed, randomFrom } from "../support/history_random.ts";
import { type Hostile, hostileRequest, type Seedling } from "../support/hostile.ts";
import { connect, headersOf, inParallel, post, raw, sharedStack, signatureOf } from "../support/http.ts";

const stack = await sharedStack();
const sql = connect(stack);
const source = "github-hostile";
const secret = stack.sources[source]!;
const path = `/functions/v1/ingest-metrics/${source}`;
const options = { sanitizeOps: false, sanitizeResources: false };
const limit = 10 * 1024 * 1024;

/** One delivery of each event, to be spoilt. */
function seedlings(): Seedling[] {
  const at = "2026-01-05T09:00:00Z";
  const by = "dev-1";
  const repository = new GitHubRepository(7, "acme/target", { source });
  const commits = [{ sha: sha(2), message: "Change\n\nThis reverts commit " + sha(1), at, by, added: ["a"] }];
  const pull = {
    number: 3,
    title: "Change",
    author: by,
    head: "change",
    headSha: sha(2),
    createdAt: at,
    updatedAt: at,
    additions: 1,
    deletions: 2,
    changedFiles: 3,
  };
  const deployment = { id: 5, environment: "production", ref: "main", sha: sha(2), createdAt: at, by };
  const run = { id: 8, number: 1, status: "completed", conclusion: "success", branch: "main", sha: sha(2), by };
  const steps = [{ name: "Test", status: "completed", conclusion: "success", startedAt: at, completedAt: at }];
  return [
    repository.push({ ref: "refs/heads/main", before: sha(1), after: sha(2), at, by, commits }),
    repository.run({ ...run, action: "completed", createdAt: at, startedAt: at, updatedAt: at, pullRequests: [3] }),
    repository.job({
      action: "completed",
      id: 9,
      runId: 8,
      name: "build",
      status: "completed",
      conclusion: "success",
      branch: "main",
      sha: sha(2),
      createdAt: at,
      startedAt: at,
      completedAt: at,
      steps,
      by,
    }),
    repository.pullRequest("opened", pull),
    repository.review(pull, {
      action: "submitted",
      id: 4,
      reviewer: "dev-2",
      sha: sha(2),
      submittedAt: at,
      state: "approved",
    }),
    repository.deployment(deployment),
    repository.deploymentStatus(deployment, { id: 6, state: "success", at, by }),
    repository.issue({
      action: "opened",
      id: 10,
      number: 11,
      title: "Down",
      labels: ["incident"],
      state: "open",
      createdAt: at,
      updatedAt: at,
      by,
    }),
    repository.release({
      action: "published",
      id: 12,
      tag: "v1",
      name: "One",
      target: sha(2),
      createdAt: at,
      publishedAt: at,
      by,
    }),
    repository.rename("other", at, by),
  ];
}

/** The id that a delivery is kept under: an id in GitHub's manner, else the bytes' own. */
async function keptUnder({ id, body }: Hostile): Promise<string> {
  if (/^[0-9A-Za-z-]{1,100}$/.test(id)) return id;
  return `sha256:${encodeHex(await crypto.subtle.digest("SHA-256", body))}`;
}

const isHeader = (value: string) => /^[\t\x20-\x7e\x80-\xff]*$/.test(value);

async function send(request: Hostile): Promise<{ status: number; text: string }> {
  if (request.pieces) {
    const signature = await signatureOf(request.body, secret);
    return await raw(stack.url, request.pieces(path, signature), { close: true, patience: 20_000 });
  }
  const { event, id, body, headers } = request;
  return await post(stack, { source, event, id, body, headers });
}

Deno.test(
  "hostile requests never get a 5xx, and leave a row exactly when they proved themselves",
  options,
  async () => {
    const count = deep(400, 20_000);
    const random = randomFrom(newSeed("hostile requests"));
    const starts = seedlings();
    const expected = new Set<string>();
    const refused = new Set<string>();
    const wrong: string[] = [];
    const kinds = new Map<string, Record<number, number>>();
    await inParallel(Array(count).keys(), 8, async () => {
      const request = hostileRequest(starts, random);
      if (!isHeader(request.id) || !isHeader(request.event)) request.id = "x";
      if (request.isAuthentic) expected.add(await keptUnder(request));
      else refused.add(request.id);
      const { status, text } = await send(request);
      const statuses = kinds.get(request.kind) ?? {};
      kinds.set(request.kind, statuses);
      statuses[status] = (statuses[status] ?? 0) + 1;
      const isRight = request.isAuthentic
        ? status === 200 || status === 202
        // A connection may be closed on what is no request.
        : (status >= 400 && status < 500) || (status === 0 && request.pieces !== undefined);
      if (!isRight) {
        wrong.push(
          `${request.kind}: ${status} ${text.slice(0, 200)} (${new TextDecoder().decode(request.body.slice(0, 300))})`,
        );
      }
    });
    console.log(
      `${count} requests: ${[...kinds].map(([kind, statuses]) => `${kind} ${JSON.stringify(statuses)}`).join("; ")}`,
    );
    assertEquals(wrong.slice(0, 5), []);
    const rows = await sql<{ delivery_id: string; result: string }[]>`
    select delivery_id, result from metrics.deliveries where source = ${source}
  `;
    const kept = new Set(rows.map((row) => row.delivery_id));
    assertEquals([...expected].filter((id) => !kept.has(id)), []);
    assertEquals([...kept].filter((id) => !expected.has(id)), []);
    assertEquals([...kept].filter((id) => refused.has(id)), []);
    const results = Object.groupBy(rows, (row) => row.result);
    console.log(Object.entries(results).map(([result, list]) => `${list!.length} ${result}`).join(", "));
    // Few requests may happen to hold no event that is ignored.
    for (const result of count > 1000 ? ["stored", "ignored", "quarantined"] : ["stored", "quarantined"]) {
      assert((results[result as "stored"]?.length ?? 0) > 0, result);
    }
  },
);

Deno.test("bodies that are too large never get a 5xx and leave no row, signed or not", options, async () => {
  const before = await sql`select count(*) from metrics.deliveries`;
  const body = new Uint8Array(limit + 1).fill(0x20);
  const count = deep(6, 60);
  await inParallel(Array(count).keys(), 3, async (index) => {
    const headers = await headersOf(stack, { source, body: index % 2 ? body : "{}" });
    const response = await fetch(`${stack.url}${path}`, {
      method: "POST",
      headers,
      body: index % 3 ? body : new Blob([body]).stream(),
    });
    assertEquals(response.status, 413);
    await response.body?.cancel();
  });
  assertEquals([...await sql`select count(*) from metrics.deliveries`], [...before]);
});

Deno.test("after all of it the same function still runs, and nothing of a body is in its log", options, async () => {
  const log = await Deno.readTextFile(join(stack.data, "log", "ingest-metrics.log"));
  assertEquals(log.match(/^Listening on /gm)?.length, 1);
  const others = log.split("\n").filter((line) =>
    line !== "" && !line.startsWith('{"level":') && !/^Listening on /.test(line)
  );
  assertEquals(others, []);
  const [row] = await sql`select count(*)::integer as count from metrics.members where email like '%isAdmin%'`;
  assertEquals(row!.count, 0);
  const postgres = await Deno.readTextFile(join(stack.data, "log", "postgres.log"));
  assertEquals(postgres.match(/^.*(PANIC|server process .* was terminated).*$/gm), null);
});
