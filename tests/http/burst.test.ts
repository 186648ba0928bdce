// More deliveries at once than can be under way: each waits for its turn, none is turned away, and whoever asks is told that all is well.
import { assert, assertEquals, assertLess } from "@std/assert";
import { deep } from "../support/depth.ts";
import { GitHubRepository, NO_COMMIT, type Posted, sha } from "../support/history_github.ts";
import { connect, inParallel, post, sharedStack } from "../support/http.ts";

const stack = await sharedStack();
const sql = connect(stack);
const source = "github-burst";
const options = { sanitizeOps: false, sanitizeResources: false };
const at = "2026-01-05T09:00:00Z";

/** A third of new jobs, and in equal parts checks that carry no fact, pull requests, pushes, and what came before. */
function mixed(count: number): Posted[] {
  const repositories = Array.from({ length: 20 }, (_, index) => {
    return new GitHubRepository(index + 1, `acme/app-${index}`, { source, deliveries: index * 100_000 });
  });
  const all: Posted[] = [];
  for (let n = 0; n < count; n++) {
    const repository = repositories[n % repositories.length]!;
    const by = "dev-1";
    const kind = n % 6;
    if (kind < 2) {
      const common = { id: n, runId: n, name: "build", branch: "main", sha: sha(n), createdAt: at, startedAt: at, by };
      all.push(
        repository.job({ ...common, action: "completed", status: "completed", conclusion: "success", completedAt: at }),
      );
    } else if (kind === 2) {
      all.push({ ...repository.ping(by), event: "check_run" });
    } else if (kind === 3) {
      const state = {
        number: n,
        title: "Change",
        author: by,
        head: `branch-${n}`,
        headSha: sha(n),
        createdAt: at,
        updatedAt: at,
      };
      all.push(repository.pullRequest("opened", { ...state, additions: 1, deletions: 1, changedFiles: 1 }));
    } else if (kind === 4) {
      const commits = [{ sha: sha(n), message: "Change", at, by }];
      all.push(repository.push({ ref: `refs/heads/branch-${n}`, before: NO_COMMIT, after: sha(n), at, by, commits }));
    } else all.push(all[n >> 1]!);
  }
  return all;
}

Deno.test(
  "a burst of every kind of delivery is taken whole, and health is never denied meanwhile",
  options,
  async () => {
    const deliveries = mixed(deep(600, 2000));
    const counts: Record<string, number> = {};
    let longest = 0;
    let isOver = false;
    const health = (async () => {
      const statuses = new Set<number>();
      while (!isOver) {
        const response = await fetch(`${stack.url}/functions/v1/ingest-metrics/health`);
        await response.body?.cancel();
        statuses.add(response.status);
        await new Promise((resolve) => setTimeout(resolve, 500));
      }
      return [...statuses];
    })();
    await inParallel(deliveries, deep(200, 400), async ({ event, id, body }) => {
      const started = performance.now();
      const { status, json } = await post(stack, { source, event, id, body });
      longest = Math.max(longest, performance.now() - started);
      const told = `${status} ${json?.result ?? json?.code}`;
      counts[told] = (counts[told] ?? 0) + 1;
    });
    isOver = true;
    console.log(`${JSON.stringify(counts)}, longest ${Math.round(longest)} ms`);
    assertEquals(await health, [200]);
    const ids = new Set(deliveries.map(({ id }) => id));
    const fresh = (counts["200 stored"] ?? 0) + (counts["202 ignored"] ?? 0);
    assertEquals([fresh, fresh + (counts["200 duplicate"] ?? 0)], [ids.size, deliveries.length]);
    // Senders hang up after ten seconds.
    assertLess(longest, 10_000);
    const [kept] = await sql`
    select
      (select count(*)::integer from metrics.deliveries where source = ${source}) as deliveries,
      (select count(*)::integer from metrics.jobs as j join metrics.repository_references as r on r.id = j.reference_id
       where r.source = ${source}) as jobs
  `;
    assertEquals(kept?.["deliveries"], ids.size);
    assert(kept?.["jobs"] >= deliveries.length / 3 - 1);
  },
);
