import { assert, assertEquals, assertMatch } from "@std/assert";
import { githubExample, SECRET, signature, testHandler } from "./testing.ts";

const body = JSON.stringify(await githubExample("workflow_job", 1));
const signed = await signature(body);

/** Serves a handler on a free port while `use` talks to it. */
async function served(
  handler: (request: Request) => Promise<Response>,
  use: (address: Deno.NetAddr) => Promise<void>,
) {
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, handler);
  try {
    await use(server.addr);
  } finally {
    await server.shutdown();
  }
}

/** Writes these pieces to a new connection, one every `pauseMs`, and reads until the server closes it or `waitMs` are over. */
async function speak(address: Deno.NetAddr, pieces: string[], { pauseMs = 0, waitMs = 1000, isLeft = false } = {}) {
  const connection = await Deno.connect({ hostname: address.hostname, port: address.port });
  let said = "";
  const listening = (async () => {
    const buffer = new Uint8Array(65536);
    const decoder = new TextDecoder();
    for (;;) {
      const count = await connection.read(buffer).catch(() => null);
      if (count === null) return;
      said += decoder.decode(buffer.subarray(0, count), { stream: true });
      if (/\r\n\r\n[^]*\}$/.test(said)) return;
    }
  })();
  for (const piece of pieces) {
    if (said !== "") break;
    await connection.write(new TextEncoder().encode(piece)).catch(() => {});
    if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
  let timer: ReturnType<typeof setTimeout> | undefined;
  const patience = new Promise((resolve) => timer = setTimeout(resolve, waitMs));
  if (!isLeft) await Promise.race([listening, patience]);
  clearTimeout(timer);
  connection.close();
  await listening;
  return said;
}

function head(length: number | "chunked", signature = signed) {
  return [
    "POST /ingest-metrics/github HTTP/1.1",
    "host: localhost",
    "content-type: application/json",
    "x-github-event: workflow_job",
    "x-github-delivery: 1",
    `x-hub-signature-256: ${signature}`,
    length === "chunked" ? "transfer-encoding: chunked" : `content-length: ${length}`,
    "\r\n",
  ].join("\r\n");
}
const chunk = (text: string) => `${new TextEncoder().encode(text).length.toString(16)}\r\n${text}\r\n`;

Deno.test("a body may come in any pieces", async () => {
  const { handler, store } = testHandler();
  await served(handler, async (address) => {
    const middle = Math.floor(body.length / 2);
    const [first, second] = [body.slice(0, middle), body.slice(middle)];
    assertMatch(await speak(address, [head(body.length), first, second], { pauseMs: 5 }), /^HTTP\/1.1 200 OK/);
    assertMatch(
      await speak(address, [head("chunked"), chunk(first), chunk(second) + "0\r\n\r\n"], { pauseMs: 5 }),
      /^HTTP\/1.1 200 OK/,
    );
  });
  assertEquals(store.kept.length, 2);
});

Deno.test("a body that comes a byte at a time is answered 408 when its time is over, and the next request is served", async () => {
  const { handler, store } = testHandler({}, { bodyTimeoutMs: 100 });
  await served(handler, async (address) => {
    const answer = await speak(address, [head(body.length), ...body.slice(0, 200)], { pauseMs: 5, waitMs: 3000 });
    assertMatch(answer, /^HTTP\/1.1 408 Request Timeout[^]*"code":"too_slow"/);
    assertMatch(await speak(address, [head(body.length), body]), /^HTTP\/1.1 200 OK/);
  });
  assertEquals(store.kept.length, 1);
});

Deno.test("a body above the limit is answered 413 before and while it is read", async () => {
  const { handler, store } = testHandler({ INGEST_MAX_BYTES: "1000" });
  await served(handler, async (address) => {
    assertMatch(await speak(address, [head(1001), "{"]), /^HTTP\/1.1 413 [^]*"code":"too_large"/);
    const pieces = Array.from({ length: 20 }, () => chunk("z".repeat(100)));
    assertMatch(
      await speak(address, [head("chunked"), ...pieces], { pauseMs: 2 }),
      /^HTTP\/1.1 413 [^]*"code":"too_large"/,
    );
  });
  assertEquals(store.kept.length, 0);
});

Deno.test("a sender that leaves in the middle of its body leaves nothing", async () => {
  const { handler, store, lines } = testHandler();
  await served(handler, async (address) => {
    await speak(address, [head(body.length), body.slice(0, 100)], { pauseMs: 20, isLeft: true });
    for (let waited = 0; lines.length === 0 && waited < 2000; waited += 10) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  });
  assertEquals([store.kept.length, lines[0]?.status], [0, 400]);
});

Deno.test("lengths and headers that lie are refused", async () => {
  const { handler, store } = testHandler();
  await served(handler, async (address) => {
    // More than declared belongs to no request.
    assertMatch(await speak(address, [head(body.length - 1), body]), /^HTTP\/1.1 401 /);
    for (const length of ["-1", "1e3", "abc", "99999999999999999999999"]) {
      const lying = head(0).replace("content-length: 0", `content-length: ${length}`);
      assertMatch(await speak(address, [lying, body]), /^HTTP\/1.1 4(00|13) /);
    }
    const twice = head(body.length).replace("\r\n\r\n", `\r\nx-hub-signature-256: ${signed}\r\n\r\n`);
    assertMatch(await speak(address, [twice, body]), /^HTTP\/1.1 401 /);
  });
  assertEquals(store.kept.length, 0);
});

Deno.test("the function starts where it is told to, says so first, and names mistakes without their values", async () => {
  const secrets = {
    INGEST_SECRET_GITHUB: SECRET,
    INGEST_SECRET_GITHUB_B: "tooshort",
    INGEST_SECRET_NOBODY: "a secret of nobody at all",
  };
  const process = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--no-lock",
      "--node-modules-dir=none",
      "--allow-net=127.0.0.1",
      "--allow-env",
      new URL("index.ts", import.meta.url).pathname,
    ],
    env: {
      ...secrets,
      SUPABASE_URL: "http://127.0.0.1:9",
      SUPABASE_SECRET_KEYS: '{"default":"sb_secret_0"}',
      INGEST_LISTEN: "127.0.0.1:0",
    },
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const lines = process.stdout.pipeThrough(new TextDecoderStream())[Symbol.asyncIterator]();
  const errors = new Response(process.stderr).text();
  try {
    const { listening } = JSON.parse((await lines.next()).value.split("\n", 1)[0]);
    assertEquals(listening.hostname, "127.0.0.1");
    const answer = await speak(listening, [head(body.length), body], { waitMs: 5000 });
    assertMatch(answer, /^HTTP\/1.1 503 [^]*retry-after: 10[^]*"code":"unavailable"/);
    const line = JSON.parse((await lines.next()).value);
    assertEquals([line.status, line.source, line.event, line.bytes], [503, "github", "workflow_job", body.length]);
    assertMatch(
      await speak(listening, ["GET /ingest-metrics/health HTTP/1.1\r\nhost: localhost\r\n\r\n"]),
      /^HTTP\/1.1 503 /,
    );
  } finally {
    process.kill("SIGKILL");
    await process.status;
    for await (const _ of { [Symbol.asyncIterator]: () => lines });
  }
  const told = await errors;
  assertMatch(told, /"level":"error","variable":"INGEST_SECRET_GITHUB_B"/);
  assertMatch(told, /"level":"warning","variable":"INGEST_SECRET_NOBODY"/);
  for (const value of [SECRET, "tooshort", "a secret of", "sb_secret_0"]) assert(!told.includes(value));
});
