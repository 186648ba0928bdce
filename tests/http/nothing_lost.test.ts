// Parts of the stack, and all of it, are killed while eight clients post: what was answered is there, nothing is there twice.
// The database is as durable as in production: a stack of its own, with nothing turned off.
import { assert, assertEquals } from "@std/assert";
import postgres from "postgres";
import { commandLine, gone, send } from "../../tools/stack/process.ts";
import { deep } from "../support/depth.ts";
import { GitHubRepository, sha } from "../support/history_github.ts";
import { newSeed, randomFrom } from "../support/history_random.ts";
import { post, type StackAddress } from "../support/http.ts";
import { descendants, type RunningStack, startStack } from "../support/stack.ts";

const options = { sanitizeOps: false, sanitizeResources: false };
const clients = 8;
const source = "github";
const random = randomFrom(newSeed("moments to kill at"));
const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** A delivery of its own: one job, whose id is the delivery's number. */
function delivery(number: number) {
  const at = "2026-01-05T09:00:00Z";
  return new GitHubRepository(1 + number % 5, `acme/app-${number % 5}`, { source }).job({
    action: "completed",
    id: number,
    runId: 1 + number % 50,
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

const idOf = (number: number) => `00000000-0000-4000-8000-${String(number).padStart(12, "0")}`;

/** Eight clients that post one delivery after the other, each once, and remember what was answered. */
class Load {
  readonly answered = new Set<number>();
  readonly open = new Set<number>();
  readonly statuses = new Map<number, number>();
  readonly wrong: string[] = [];
  #next = 1;
  #runs = false;
  #ends: Promise<void>[] = [];

  start(address: StackAddress): void {
    this.#runs = true;
    this.#ends = Array.from({ length: clients }, async () => {
      while (this.#runs) {
        const number = this.#next++;
        if (!await this.post(address, number)) await pause(100);
      }
    });
  }

  /** Waits until clients have what they posted answered, or not. */
  async stop(): Promise<void> {
    this.#runs = false;
    await Promise.all(this.#ends);
  }

  /** Whether it was answered that the delivery is kept. */
  async post(address: StackAddress, number: number): Promise<boolean> {
    this.open.add(number);
    let status = 0;
    try {
      const { body, event } = delivery(number);
      const answer = await post(address, { source, id: idOf(number), event, body });
      status = answer.status;
      if (status === 200 || status === 202) {
        if (!["stored", "duplicate"].includes(answer.json?.result)) this.wrong.push(`${number}: ${answer.text}`);
        this.answered.add(number);
        this.open.delete(number);
      } else if (status !== 503) this.wrong.push(`${number}: ${status} ${answer.text}`);
    } catch {
      // The connection ended: whether it was kept is not known.
    }
    this.statuses.set(status, (this.statuses.get(status) ?? 0) + 1);
    return status === 200 || status === 202;
  }

  /** Sends what was not answered again, as a sender would, until it is. */
  async again(address: StackAddress): Promise<void> {
    for (const end = Date.now() + 60_000; this.open.size > 0 && Date.now() < end;) {
      for (const number of [...this.open]) if (!await this.post(address, number)) await pause(50);
    }
  }

  async answeredMore(count: number): Promise<void> {
    const wanted = this.answered.size + count;
    for (const end = Date.now() + 60_000; this.answered.size < wanted; await pause(10)) {
      if (Date.now() > end) throw new Error(`only ${this.answered.size} of ${wanted} were answered after a minute`);
    }
  }
}

/** Everything that was answered is there; when nothing is open, nothing else is, and every fact of it once. */
async function assertKept(stack: RunningStack, load: Load): Promise<void> {
  const sql = postgres(stack.database_url, { max: 1, onnotice: () => {} });
  try {
    const kept = await sql<{ delivery_id: string; result: string; has_body: boolean; jobs: number }[]>`
      select d.delivery_id, d.result, b.body is not null as has_body, count(j.*)::integer as jobs
      from metrics.deliveries as d
      left join metrics.bodies as b using (source, delivery_id)
      left join metrics.jobs as j on j.external_id = right(d.delivery_id, 12)::bigint::text
      group by d.delivery_id, d.result, b.body
    `;
    const ids = new Set(kept.map((row) => row.delivery_id));
    assertEquals([...load.answered].filter((number) => !ids.has(idOf(number))), []);
    assertEquals(kept.filter((row) => row.result !== "stored" || !row.has_body || row.jobs !== 1), []);
    assertEquals(ids.size, kept.length);
    if (load.open.size === 0) assertEquals(kept.length, load.answered.size);
    const [row] = await sql`select count(*)::integer as jobs from metrics.jobs`;
    assertEquals(row!.jobs, kept.length);
  } finally {
    await sql.end({ timeout: 5 });
  }
  assertEquals(load.wrong, []);
}

function processOf(stack: RunningStack, test: (command: string) => boolean): number {
  const found = descendants(stack.pid).find((pid) => test(commandLine(pid)));
  if (found === undefined) throw new Error("the process is not there");
  return found;
}

/** The server of the stack's database; its sessions have titles of their own. */
const postmaster = (stack: RunningStack) => processOf(stack, (command) => command.includes(` -D ${stack.data}/`));
const edge = (stack: RunningStack) => processOf(stack, (command) => command.endsWith("/ingest-metrics/index.ts"));

const rounds = deep(1, 20);

// One history for all of it: what was kept before one kill must be there after the others.
const load = new Load();
const data = await Deno.makeTempDir({ prefix: "metrics-stack-" });
let stack = await startStack({ data });
Deno.test.afterAll(async () => {
  await stack.stop();
  await Deno.remove(data, { recursive: true });
});

/** Stops the load, compares, sends again what was open, compares again, and says what happened. */
async function settle(what: string): Promise<void> {
  await load.stop();
  await assertKept(stack, load);
  const open = load.open.size;
  await load.again(stack);
  await assertKept(stack, load);
  const statuses = [...load.statuses].map(([status, count]) => `${count} x ${status || "no answer"}`).join(", ");
  console.log(
    `${what} killed ${rounds} times: ${load.answered.size} deliveries kept so far, ${open} sent again; ${statuses}`,
  );
}

async function killPart(name: string, find: (stack: RunningStack) => number): Promise<void> {
  load.start(stack);
  for (let round = 0, before = 0; round < rounds; round++) {
    await load.answeredMore(40 + Math.floor(random() * 60));
    await pause(random() * 200);
    const pid = find(stack);
    assert(pid !== before);
    before = pid;
    // With whatever works below it: else sessions of Postgres end what they are at, and nobody waits for an answer in vain.
    for (const member of descendants(pid)) send(member, "SIGKILL");
    assert(await gone(pid, 5_000));
    await load.answeredMore(40);
  }
  await settle(name);
}

Deno.test("nothing that was answered is lost when Postgres is killed under load", options, async () => {
  await killPart("Postgres", postmaster);
});

Deno.test("nothing that was answered is lost when the function is killed under load", options, async () => {
  await killPart("the function", edge);
});

Deno.test("nothing that was answered is lost when the whole stack is killed under load", options, async () => {
  for (let round = 0; round < rounds; round++) {
    load.start(stack);
    await load.answeredMore(40 + Math.floor(random() * 60));
    await pause(random() * 200);
    await stack.kill();
    await load.stop();
    stack = await startStack({ data });
    await assertKept(stack, load);
  }
  await settle("the whole stack");
});
