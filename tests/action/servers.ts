/** Servers on loopback that play what an action or a snippet of the documentation talks to. */

/** A request as it arrived. */
export interface Received {
  method: string;
  /** Below the address of the server. */
  path: string;
  query: Record<string, string>;
  headers: Headers;
  text: string;
}

/** A server, and what it received. */
export interface LocalServer extends AsyncDisposable {
  url: string;
  received: Received[];
}

/** Serves every request with `answer`, which is told how many came before. */
export function serve(answer: (request: Received, before: number) => Response | Promise<Response>): LocalServer {
  const received: Received[] = [];
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
    const { pathname, searchParams } = new URL(request.url);
    const { method, headers } = request;
    const read = {
      method,
      path: pathname,
      query: Object.fromEntries(searchParams),
      headers,
      text: await request.text(),
    };
    received.push(read);
    return await answer(read, received.length - 1);
  });
  return {
    url: `http://127.0.0.1:${(server.addr as Deno.NetAddr).port}`,
    received,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

/** Mints tokens of a job as GitHub does, for who knows the bearer of the request. */
export function serveTokens(bearer: string, mint: (audience: string) => string | Promise<string>): LocalServer {
  return serve(async ({ headers, query }) => {
    if (headers.get("authorization") !== `Bearer ${bearer}`) return new Response(null, { status: 401 });
    const value = await mint(query.audience ?? "");
    return Response.json({ count: value.length, value });
  });
}

/** The variables of a job that may have OIDC tokens. */
export function tokenVariables(server: LocalServer, bearer: string): Record<string, string> {
  return {
    ACTIONS_ID_TOKEN_REQUEST_URL: `${server.url}/token?api-version=2.0`,
    ACTIONS_ID_TOKEN_REQUEST_TOKEN: bearer,
  };
}

/** An answer as the function gives it when something is wrong. */
export function problem(status: number, detail: string, more: object = {}, headers: HeadersInit = {}): Response {
  return Response.json({ type: "about:blank", title: "", status, detail, code: "code", ...more }, {
    status,
    headers: { "content-type": "application/problem+json", ...Object.fromEntries(new Headers(headers)) },
  });
}
