import { assert, assertEquals, assertLess, assertMatch, assertNotEquals, assertStringIncludes } from "@std/assert";
import postgres from "postgres";
import { isAlive } from "../../tools/stack/process.ts";
import { descendants, refusedStart, type RunningStack, startStack } from "../support/stack.ts";

async function query(stack: RunningStack, text: string) {
  const sql = postgres(stack.database_url, { max: 1, onnotice: () => {} });
  try {
    return await sql.unsafe(text);
  } finally {
    await sql.end();
  }
}

async function health(stack: RunningStack): Promise<number> {
  const response = await fetch(`${stack.url}/functions/v1/ingest-metrics/health`);
  await response.body?.cancel();
  return response.status;
}

/** Addresses on which the processes listen, by /proc, so that nothing can hide. */
function listening(pids: number[]): string[] {
  const sockets = new Set<string>();
  for (const pid of pids) {
    for (const { name } of Deno.readDirSync(`/proc/${pid}/fd`)) {
      try {
        const socket = /^socket:\[(\d+)\]$/.exec(Deno.readLinkSync(`/proc/${pid}/fd/${name}`))?.[1];
        if (socket) sockets.add(socket);
      } catch {
        // Closed in the meantime.
      }
    }
  }
  const addresses: string[] = [];
  for (const table of ["tcp", "tcp6"]) {
    for (const line of Deno.readTextFileSync(`/proc/net/${table}`).split("\n").slice(1)) {
      const [, local, , state, , , , , , inode] = line.trim().split(/\s+/);
      if (state === "0A" && sockets.has(inode!)) addresses.push(local!.split(":")[0]!);
    }
  }
  return addresses;
}

Deno.test("a stack", async (t) => {
  const data = await Deno.makeTempDir({ prefix: "metrics-stack-" });
  const env = {
    INGEST_SECRET_GITHUB: "a secret of the environment",
    INGEST_SECRET_GITHUB_ACME: "one of two,two of two",
  };
  let stack = await startStack({ data, env });

  await t.step("answers for the database, the REST server and the function when it says that it is ready", async () => {
    assertEquals(await health(stack), 200);
  });

  await t.step("tells scripts what they need, on one line", () => {
    assertMatch(stack.url, /^http:\/\/127\.0\.0\.1:\d+$/);
    assertMatch(stack.database_url, /^postgresql:\/\/postgres:\w+@127\.0\.0\.1:\d+\/postgres$/);
    assertMatch(stack.publishable_key, /^sb_publishable_\w{32}$/);
    assertMatch(stack.secret_key, /^sb_secret_\w{32}$/);
    assertEquals(stack.said(), "");
  });

  await t.step("takes secrets of sources from its environment", () => {
    assertEquals(stack.sources, { github: "a secret of the environment", "github-acme": "one of two" });
  });

  await t.step("listens on loopback only", () => {
    const addresses = listening(descendants(stack.pid));
    assert(addresses.length >= 3);
    assertEquals(new Set(addresses), new Set(["0100007F"]));
  });

  await t.step("writes to the disk before it says that something is stored", async () => {
    const rows = await query(
      stack,
      "select name, setting from pg_settings where name in ('fsync', 'synchronous_commit', 'full_page_writes')",
    );
    assertEquals(rows.map((row) => row.setting), ["on", "on", "on"]);
  });

  await t.step("does not run as a user who may do everything", async () => {
    const status = await Deno.readTextFile(`/proc/${stack.processes.postgres}/status`);
    assertNotEquals(/^Uid:\s+(\d+)/m.exec(status)?.[1], "0");
    // Looking into folders, where the person is root, and nothing else.
    assert(["0", "2", "4"].includes(parseInt(/^CapEff:\s+(\w+)/m.exec(status)![1]!, 16).toString()));
    assertEquals(/^NoNewPrivs:\s+(\d)/m.exec(status)?.[1], Deno.uid() === 0 ? "1" : "0");
  });

  await t.step("keeps its folder to its owner", () => {
    assertEquals(Deno.statSync(data).mode! & 0o777, 0o700);
    for (const { name } of Deno.readDirSync(`${data}/log`)) {
      assertEquals(Deno.statSync(`${data}/log/${name}`).mode! & 0o077, 0);
    }
  });

  await t.step("gives Postgres no variable of the person's environment", async () => {
    const environment = await Deno.readTextFile(`/proc/${stack.processes.postgres}/environ`);
    assertEquals(environment.includes("INGEST_SECRET"), false);
  });

  await t.step("is not started a second time on its folder", async () => {
    const { code, said, stdout } = await refusedStart({ data });
    assertEquals([code, stdout], [1, ""]);
    assertStringIncludes(said, "A stack is running on");
    assertEquals(await health(stack), 200);
  });

  await t.step("is not started on a port that is taken", async () => {
    const other = await Deno.makeTempDir();
    const { code, said } = await refusedStart({ data: other, port: Number(new URL(stack.url).port) });
    await Deno.remove(other, { recursive: true });
    assertEquals(code, 1);
    assertMatch(
      said,
      /^Port \d+ is taken by another program: stop that program, or choose another port with --port N\.$/,
    );
  });

  await t.step("takes less than 700 MB", async () => {
    let kilobytes = 0;
    for (const pid of descendants(stack.pid)) {
      const text = await Deno.readTextFile(`/proc/${pid}/status`);
      kilobytes += Number(/^VmRSS:\s+(\d+)/m.exec(text)?.[1] ?? 0);
    }
    assertLess(kilobytes / 1024, 700);
  });

  await query(stack, "create table public.kept as select 'here' as word");
  await query(
    stack,
    `
      insert into metrics.deliveries (source, delivery_id, sha256, result, reason, received_at)
      select 'github', age::text, sha256(''), 'ignored', 'of a test', now() - age
      from unnest(array['1 day', '300 days']::interval[]) as age
    `,
  );
  const first = { ...stack };

  await t.step("ends on SIGTERM with everything that belongs to it", async () => {
    const family = descendants(stack.pid);
    assert(family.length > 5);
    assertEquals(await stack.stop("SIGTERM"), 0);
    assertEquals(family.filter(isAlive), []);
  });

  const started = Date.now();
  stack = await startStack({ data });

  await t.step("starts again in less than 10 s", () => {
    assertLess(Date.now() - started, 10_000);
  });

  await t.step("has its data, keys and secrets again", async () => {
    const [row] = await query(stack, "select word from public.kept");
    assertEquals(row?.word, "here");
    assertEquals(stack.secret_key, first.secret_key);
    assertEquals(stack.publishable_key, first.publishable_key);
    assertEquals(new URL(stack.database_url).password, new URL(first.database_url).password);
    assertMatch(stack.sources.github!, /^\w{32}$/);
  });

  await t.step("has removed what the settings call too old, as pg_cron would", async () => {
    const rows = await query(stack, "select delivery_id from metrics.deliveries");
    assertEquals(rows.map((row) => row.delivery_id), ["1 day"]);
  });

  await t.step("ends on Ctrl-C with everything that belongs to it", async () => {
    const family = descendants(stack.pid);
    assertEquals(await stack.stop("SIGINT"), 0);
    assertEquals(family.filter(isAlive), []);
    await Deno.remove(data, { recursive: true });
  });
});
