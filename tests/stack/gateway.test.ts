import { assertEquals, assertStringIncludes } from "@std/assert";
import { gateway, type Parts } from "../../tools/stack/gateway.ts";
import type { EdgeFunction } from "../../tools/stack/edge_function.ts";

/** A gateway before a function that is a handler in this process. */
function start(handler: Deno.ServeHandler | undefined, parts: Partial<Parts> = {}) {
  const behind = handler && Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, handler);
  const edge = { port: (behind?.addr as Deno.NetAddr | undefined)?.port } as EdgeFunction;
  const front = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    gateway({
      rest: undefined,
      functions: new Map([["ingest-metrics", edge]]),
      platform: undefined,
      welcome: "welcome",
      ...parts,
    }),
  );
  const { port } = front.addr as Deno.NetAddr;
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      await front.shutdown();
      await behind?.shutdown();
    },
  };
}

// The gateway's connections to the function stay open for the next request.
const options = { sanitizeResources: false, sanitizeOps: false };

Deno.test(
  "a function sees its path without /functions/v1, the method, the query and the exact body",
  options,
  async () => {
    await using front = start(async (request) => {
      const { pathname, search } = new URL(request.url);
      const body = new Uint8Array(await request.arrayBuffer());
      return Response.json([request.method, pathname, search, body.length, request.headers.get("content-length")]);
    });
    const body = crypto.getRandomValues(new Uint8Array(50_000));
    const response = await fetch(`${front.url}/functions/v1/ingest-metrics/github?a=1&b=%20`, { method: "PUT", body });
    assertEquals(await response.json(), ["PUT", "/ingest-metrics/github", "?a=1&b=%20", 50_000, "50000"]);
  },
);

Deno.test(
  "a body reaches the function while it is still being sent, and the answer comes before its end",
  options,
  async () => {
    await using front = start(async (request) => {
      const { value } = await request.body!.getReader().read();
      return new Response(value, { status: 202 });
    });
    const { readable, writable } = new TransformStream<Uint8Array<ArrayBuffer>>();
    const writer = writable.getWriter();
    const answer = fetch(`${front.url}/functions/v1/ingest-metrics/github`, { method: "POST", body: readable });
    await writer.write(new TextEncoder().encode("first"));
    const response = await answer;
    assertEquals([response.status, await response.text()], [202, "first"]);
    await writer.close().catch(() => {});
  },
);

Deno.test("an answer streams through as it is made", options, async () => {
  const { readable, writable } = new TransformStream<Uint8Array<ArrayBuffer>>();
  await using front = start(() => new Response(readable));
  const writer = writable.getWriter();
  writer.write(new TextEncoder().encode("one"));
  const response = await fetch(`${front.url}/functions/v1/ingest-metrics/x`);
  const reader = response.body!.getReader();
  assertEquals(new TextDecoder().decode((await reader.read()).value), "one");
  await writer.close();
  assertEquals((await reader.read()).done, true);
});

Deno.test("headers of the connection stop at the gateway, others pass", options, async () => {
  await using front = start((request) => Response.json(Object.fromEntries(request.headers)));
  const connection = await Deno.connect({ hostname: "127.0.0.1", port: front.port });
  await connection.write(new TextEncoder().encode(
    "GET /functions/v1/ingest-metrics/x HTTP/1.1\r\nhost: example.com\r\nconnection: close, x-secret-hop\r\n" +
      "x-secret-hop: 1\r\nte: trailers\r\nproxy-authorization: Basic eA==\r\nx-hub-signature-256: sha256=abc\r\n" +
      "x-forwarded-for: 203.0.113.9\r\n\r\n",
  ));
  const text = await new Response(connection.readable).text();
  const headers = JSON.parse(text.slice(text.indexOf("{"), text.lastIndexOf("}") + 1));
  assertEquals(headers["x-hub-signature-256"], "sha256=abc");
  assertEquals(headers["x-forwarded-host"], "example.com");
  assertEquals(headers["x-forwarded-for"], "127.0.0.1");
  for (const name of ["x-secret-hop", "te", "proxy-authorization"]) assertEquals(headers[name], undefined);
});

Deno.test("a part that is away is 503 with a problem document and a time to try again", options, async () => {
  await using front = start(undefined);
  for (const path of ["/functions/v1/ingest-metrics/github", "/rest/v1/rpc/ingest", "/auth/v1/signup"]) {
    const response = await fetch(front.url + path, { method: "POST", body: "{}" });
    assertEquals(response.status, 503);
    assertEquals(response.headers.get("content-type"), "application/problem+json");
    assertEquals(response.headers.get("retry-after"), "1");
    assertEquals((await response.json()).status, 503);
  }
});

Deno.test("a function that dies under a request is 503", options, async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  (async () => {
    for await (const connection of listener) {
      await connection.read(new Uint8Array(1));
      connection.close();
    }
  })();
  const edge = { port: listener.addr.port } as EdgeFunction;
  await using front = start(undefined, { functions: new Map([["ingest-metrics", edge]]) });
  const response = await fetch(`${front.url}/functions/v1/ingest-metrics/github`, { method: "POST", body: "{}" });
  assertEquals(response.status, 503);
  await response.body?.cancel();
  listener.close();
});

Deno.test("an error that the REST server throws or does not know is told in our words only", options, async () => {
  for (
    const fetchRest of [
      () => Promise.reject(new Error("postgresql://postgres:secret@127.0.0.1")),
      () => Promise.resolve(new Response("postgresql://postgres:secret@127.0.0.1", { status: 500 })),
    ]
  ) {
    await using front = start(undefined, {
      rest: { fetch: fetchRest, schemas: [], expose: () => Promise.resolve(), close: () => Promise.resolve() },
    });
    const response = await fetch(`${front.url}/rest/v1/jobs`);
    assertEquals(response.status, 503);
    assertEquals((await response.text()).includes("secret"), false);
  }
});

Deno.test("an unknown function and an unknown path are 404, / says what is where", options, async () => {
  await using front = start(undefined);
  for (const path of ["/functions/v1/other", "/functions/v1/", "/nothing"]) {
    const response = await fetch(front.url + path);
    assertEquals(response.status, 404);
    await response.body?.cancel();
  }
  assertStringIncludes(await (await fetch(front.url)).text(), "welcome");
});
