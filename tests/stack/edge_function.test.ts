import { assertEquals, assertNotEquals } from "@std/assert";
import { join } from "@std/path";
import { EdgeFunction } from "../../tools/stack/edge_function.ts";
import { gone, isAlive } from "../../tools/stack/process.ts";

/** A function with this module as its `index.ts`, run as the stack runs functions. */
async function start(index: string, env: Record<string, string> = {}) {
  const folder = await Deno.makeTempDir({ prefix: "metrics-function-" });
  await Deno.writeTextFile(join(folder, "index.ts"), index);
  await Deno.writeTextFile(join(folder, "deno.json"), "{}");
  const log = join(folder, "log");
  const edge = new EdgeFunction({ name: "example", folder, env, log });
  const listens = await edge.start();
  return {
    edge,
    listens,
    log: () => Deno.readTextFile(log),
    fetch: (path = "/") => fetch(`http://127.0.0.1:${edge.port}${path}`),
    async [Symbol.asyncDispose]() {
      await edge.stop();
      await Deno.remove(folder, { recursive: true });
    },
  };
}

const tried = `
const attempt = (work) => { try { work(); return "done"; } catch (error) { return error.name; } };
Deno.serve(() => Response.json({
  write: attempt(() => Deno.writeTextFileSync("/tmp/metrics-function-was-here", "")),
  read: attempt(() => Deno.readTextFileSync("/etc/hostname")),
  own: attempt(() => Deno.readTextFileSync(new URL("deno.json", import.meta.url))),
  run: attempt(() => new Deno.Command("/bin/true").outputSync()),
  environment: Object.keys(Deno.env.toObject()).filter((name) => !/^(DENO_|NO_COLOR|PATH$)/.test(name)).sort(),
  waitUntil: typeof EdgeRuntime.waitUntil,
}));
`;

Deno.test("a function may use the network, its own files and its own environment, and nothing else", async () => {
  Deno.env.set("METRICS_OF_THE_PARENT", "secret");
  await using example = await start(tried, { SUPABASE_URL: "http://127.0.0.1:1", INGEST_SECRET_GITHUB: "s" });
  assertEquals(await (await example.fetch()).json(), {
    write: "NotCapable",
    read: "NotCapable",
    own: "done",
    run: "NotCapable",
    environment: ["INGEST_SECRET_GITHUB", "SB_EXECUTION_ID", "SB_REGION", "SUPABASE_FUNCTION_SLUG", "SUPABASE_URL"],
    waitUntil: "function",
  });
});

Deno.test("a function listens on loopback only", async () => {
  await using example = await start(`Deno.serve((_, info) => Response.json(info.remoteAddr.hostname))`);
  const port = example.edge.port!.toString(16).toUpperCase().padStart(4, "0");
  const listening = (await Deno.readTextFile("/proc/net/tcp")).split("\n").filter((line) => line.includes(`:${port} `));
  assertEquals(listening.filter((line) => / 0A /.test(line)).map((line) => line.trim().split(/\s+/)[1]), [
    `0100007F:${port}`,
  ]);
});

Deno.test("a function that dies is started again", async () => {
  await using example = await start(`Deno.serve(() => Response.json(Deno.pid))`);
  const first = await (await example.fetch()).json();
  Deno.kill(first, "SIGKILL");
  await gone(first, 5_000);
  for (let waited = 0; (!example.edge.port || example.edge.pid === first) && waited < 10_000; waited += 20) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assertNotEquals(await (await example.fetch()).json(), first);
});

Deno.test("a function that takes more memory than hosted gives ends, and is started again", async () => {
  await using example = await start(`
    const kept = [];
    Deno.serve(() => { for (;;) kept.push(new Array(1_000_000).fill(kept.length + 0.5)); });
  `);
  const first = example.edge.pid!;
  await example.fetch().catch(() => {});
  assertEquals(await gone(first, 20_000), true);
});

Deno.test("a function that cannot start says why in its log and does not hold up the stack", async () => {
  await using example = await start(`throw new Error("no reason to live");`);
  assertEquals([example.listens, example.edge.port], [false, undefined]);
  assertEquals((await example.log()).includes("no reason to live"), true);
});

Deno.test("a function's process ends when it is stopped, even one that does not listen to signals", async () => {
  const example = await start(`Deno.serve(() => { for (;;); });`);
  const pid = example.edge.pid!;
  example.fetch().catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, 100));
  await example[Symbol.asyncDispose]();
  assertEquals(isAlive(pid), false);
});
