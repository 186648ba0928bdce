import { assert, assertEquals, assertNotEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import postgres from "postgres";
import { post, readSamples } from "../../tools/stack/samples.ts";
import { gone, isAlive, parentOf, send } from "../../tools/stack/process.ts";
import { descendants, refusedStart, type RunningStack, startCommand, startStack } from "../support/stack.ts";

async function rest(stack: RunningStack): Promise<number> {
  const response = await fetch(`${stack.url}/rest/v1/rpc/health`, {
    method: "POST",
    headers: { apikey: stack.secret_key, "content-profile": "metrics" },
  });
  await response.body?.cancel();
  return response.status;
}

async function health(stack: RunningStack): Promise<number> {
  const response = await fetch(`${stack.url}/functions/v1/ingest-metrics/health`);
  await response.body?.cancel();
  return response.status;
}

/** Milliseconds until a request is answered 200; every answer until then must be 503. */
async function untilAnswered(ask: () => Promise<number>): Promise<number> {
  const started = Date.now();
  for (;;) {
    const status = await ask();
    if (status === 200) return Date.now() - started;
    assertEquals(status, 503);
    assert(Date.now() - started < 15_000, "not answered within 15 s");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function processes(stack: RunningStack, pattern: RegExp): number[] {
  return descendants(stack.pid).filter((pid) => {
    const command = Deno.readTextFileSync(`/proc/${pid}/cmdline`).replaceAll("\0", " ");
    return pattern.test(command) && !command.startsWith("/bin/sh");
  });
}

Deno.test("when a part is killed", async (t) => {
  await using stack = await startStack();

  await t.step("Postgres is started again, and REST and the function answer within seconds", async () => {
    send(stack.processes.postgres, "SIGKILL");
    await gone(stack.processes.postgres, 5_000);
    await untilAnswered(() => rest(stack));
    await untilAnswered(() => health(stack));
    assertStringIncludes(stack.said(), "Postgres had ended and was started again.");
  });

  await t.step("REST outlives the end of all its sessions, which one killed backend brings about", async () => {
    const sql = postgres(stack.database_url, { max: 1, onnotice: () => {}, onclose: () => {} });
    const [backend] = await sql`select pg_backend_pid() as pid`;
    send(backend!.pid, "SIGKILL");
    await untilAnswered(() => rest(stack));
    await sql.end({ timeout: 1 }).catch(() => {});
  });

  await t.step("the function is started again", async () => {
    send(stack.processes.functions["ingest-metrics"]!, "SIGKILL");
    await gone(stack.processes.functions["ingest-metrics"]!, 5_000);
    await untilAnswered(() => health(stack));
  });

  await t.step("deliveries under way are answered 200 or 503, and those with 200 are there", async () => {
    const samples = await readSamples();
    const statuses = new Set<number>();
    const stored: string[] = [];
    let isOver = false;
    const clients = Array.from({ length: 8 }, async (_, client) => {
      for (let count = client; !isOver; count++) {
        const delivery = { ...samples[count % samples.length]!, id: crypto.randomUUID() };
        const { status } = await post(stack.url, stack.sources.github!, delivery);
        statuses.add(status);
        if (status === 200) stored.push(delivery.id);
      }
    });
    for (let round = 0; round < 3; round++) {
      await new Promise((resolve) => setTimeout(resolve, 400));
      for (const pid of processes(stack, /bin\/postgres -D/)) send(pid, "SIGKILL");
      await new Promise((resolve) => setTimeout(resolve, 300));
      await untilAnswered(() => rest(stack));
    }
    isOver = true;
    await Promise.all(clients);
    assertEquals([...statuses].filter((status) => status !== 200 && status !== 503), []);
    const sql = postgres(stack.database_url, { max: 1, onnotice: () => {} });
    const rows = await sql`select delivery_id from metrics.deliveries where delivery_id = any(${stored})`;
    await sql.end();
    assert(stored.length > 0);
    assertEquals(rows.length, stored.length);
  });
});

Deno.test("when everything is killed at once, the next start has what was committed", async () => {
  const data = await Deno.makeTempDir({ prefix: "metrics-stack-" });
  const first = await startStack({ data });
  const sql = postgres(first.database_url, { max: 1, onnotice: () => {} });
  await sql`create table public.acknowledged (id integer)`;
  await sql`insert into public.acknowledged values (1)`;
  await first.kill();
  await sql.end({ timeout: 1 }).catch(() => {});
  const statuses = new Set<number>();
  let isOver = false;
  const early = (async () => {
    while (!isOver) {
      await health(first).then((status) => statuses.add(status), () => {});
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  })();
  const second = await startStack({ data, port: Number(new URL(first.url).port) });
  isOver = true;
  await early;
  // A sender must not take a stack that is starting for one without that function.
  assertEquals([...statuses].filter((status) => status !== 200 && status !== 503), []);
  const again = postgres(second.database_url, { max: 1, onnotice: () => {} });
  assertEquals((await again`select id from public.acknowledged`).map((row) => row.id), [1]);
  await again.end();
  assertEquals(await health(second), 200);
  await second.stop();
  await Deno.remove(data, { recursive: true });
});

Deno.test("when only the stack's own process is killed, what it started ends, and the next start works at once", async () => {
  const data = await Deno.makeTempDir({ prefix: "metrics-stack-" });
  const first = await startStack({ data });
  const family = descendants(first.pid);
  send(first.pid, "SIGKILL");
  const second = await startStack({ data });
  assertEquals(await health(second), 200);
  for (const pid of family) assert(await gone(pid, 5_000), `process ${pid} is still there`);
  await second.stop();
  await Deno.remove(data, { recursive: true });
});

Deno.test("an orphaned Postgres that holds the folder is stopped by the next start", async () => {
  const data = await Deno.makeTempDir({ prefix: "metrics-stack-" });
  const first = await startStack({ data });
  const orphan = first.processes.postgres;
  // Those that would have ended it are killed with the stack.
  for (const pid of descendants(first.pid)) if (pid !== orphan && parentOf(pid) !== orphan) send(pid, "SIGKILL");
  await gone(first.pid, 5_000);
  assertEquals(isAlive(orphan), true);
  const second = await startStack({ data });
  assertNotEquals(second.processes.postgres, orphan);
  assertEquals([isAlive(orphan), await health(second)], [false, 200]);
  await second.stop();
  await Deno.remove(data, { recursive: true });
});

Deno.test("a first start that was killed half-way is done again from nothing", async () => {
  const data = await Deno.makeTempDir({ prefix: "metrics-stack-" });
  const [program, ...args] = startCommand({ data });
  const process = new Deno.Command(program!, { args, stdin: "null", stdout: "null", stderr: "null" }).spawn();
  // initdb has begun.
  while (!await Deno.stat(join(data, "postgres", "base")).catch(() => undefined)) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  for (const pid of descendants(process.pid)) send(pid, "SIGKILL");
  await process.status;
  const stack = await startStack({ data });
  assertEquals(await health(stack), 200);
  await stack.stop();
  await Deno.remove(data, { recursive: true });
});

Deno.test("a signal during the start ends it with nothing left behind", async () => {
  const data = await Deno.makeTempDir({ prefix: "metrics-stack-" });
  const [program, ...args] = startCommand({ data });
  const process = new Deno.Command(program!, { args, stdin: "null", stdout: "null", stderr: "null" }).spawn();
  while (!await Deno.stat(join(data, "postgres", "postmaster.pid")).catch(() => undefined)) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  const family = descendants(process.pid);
  send(process.pid, "SIGTERM");
  await process.status;
  for (const pid of family) assert(await gone(pid, 5_000), `process ${pid} is still there`);
  await Deno.remove(data, { recursive: true });
});

Deno.test("a full disk is told with a sentence, and the start works when there is space again", {
  ignore: Deno.uid() !== 0,
}, async () => {
  const data = await Deno.makeTempDir({ prefix: "metrics-full-" });
  const mount = async (...args: string[]) =>
    (await new Deno.Command("mount", { args, stderr: "null" }).output()).success;
  // A container may forbid mounts; the sentence itself is tested with the texts of the system.
  if (!await mount("-t", "tmpfs", "-o", "size=20m,mode=700", "tmpfs", data)) return;
  try {
    const { code, said } = await refusedStart({ data });
    assertEquals(code, 1);
    assertStringIncludes(said, "is full: free some space");
    assert(await mount("-o", "remount,size=500m", data));
    const stack = await startStack({ data });
    assertEquals(await health(stack), 200);
    await stack.stop();
  } finally {
    await new Deno.Command("umount", { args: [data] }).output();
    await Deno.remove(data, { recursive: true });
  }
});
