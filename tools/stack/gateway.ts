import type { Rest } from "./rest.ts";
import type { EdgeFunction } from "./edge_function.ts";

/** The parts behind the one origin; one that is away is undefined and answered for. */
export interface Parts {
  rest: Rest | undefined;
  functions: Map<string, EdgeFunction>;
  /** What the platform does for a project: answers its API's requests, and those of Auth that take the secret key. */
  platform: ((request: Request, path: string) => Promise<Response | undefined>) | undefined;
  /** What `GET /` says. */
  welcome: string;
}

/** Headers that concern one connection only (RFC 9110, 7.6.1), and what the next hop negotiates by itself. */
const hopHeaders = [
  "accept-encoding",
  "connection",
  "host",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
];

/** An error document (RFC 9457). */
function problem(status: number, title: string, headers: Record<string, string> = {}): Response {
  return Response.json({ type: "about:blank", title, status }, {
    status,
    headers: { "content-type": "application/problem+json", "cache-control": "no-store", ...headers },
  });
}

const away = (what: string) => problem(503, `${what} is not there at the moment; try again.`, { "retry-after": "1" });

/**
 * The handler of the one origin: `/rest/v1` and `/auth/v1` in this process, `/functions/v1/<name>` in the function's. Bodies
 * pass through as they come.
 */
export function gateway(parts: Parts): (request: Request, info: Deno.ServeHandlerInfo) => Promise<Response> {
  const client = Deno.createHttpClient({ poolMaxIdlePerHost: 64, poolIdleTimeout: 30_000, http2: false });
  return async (request) => {
    const path = pathOf(request.url);
    if (path.startsWith("/functions/v1/")) return await toFunction(request, path.slice("/functions/v1".length));
    if (path.startsWith("/v1/projects/") || path.startsWith("/auth/v1/admin/")) {
      return await parts.platform?.(request, path).catch(() => undefined) ?? away("The platform");
    }
    if (path.startsWith("/rest/v1") || path.startsWith("/auth/v1")) {
      if (!parts.rest) return away("The database");
      try {
        return withoutTrace(await parts.rest.fetch(request));
      } catch {
        return away("The database");
      }
    }
    if (path === "/") {
      return new Response(parts.welcome, { headers: { "content-type": "text/plain; charset=utf-8" } });
    }
    return problem(404, "There is nothing here: see /");
  };

  async function toFunction(request: Request, path: string): Promise<Response> {
    const name = /^\/([^/?]*)/.exec(path)?.[1] ?? "";
    const target = parts.functions.get(name);
    if (!target) return problem(404, "There is no such function.");
    if (!target.port) return away("The function");
    const headers = new Headers(request.headers);
    for (const word of (headers.get("connection") ?? "").split(",")) {
      if (/^[\w-]+$/.test(word.trim())) headers.delete(word.trim());
    }
    for (const header of hopHeaders) headers.delete(header);
    // What is compressed is compressed once, on the way out.
    headers.set("accept-encoding", "identity");
    headers.set("x-forwarded-host", request.headers.get("host") ?? "");
    headers.set("x-forwarded-proto", "http");
    headers.set("x-forwarded-for", "127.0.0.1");
    // Chunks that are none fail in many words; with a length one knows the words, and the body goes through untouched.
    const chunks = request.body && !request.headers.has("content-length") ? watched(request.body) : undefined;
    try {
      const response = await fetch(`http://127.0.0.1:${target.port}${path}${queryOf(request.url)}`, {
        method: request.method,
        headers,
        body: chunks?.body ?? request.body,
        redirect: "manual",
        client,
      });
      const answered = new Headers(response.headers);
      for (const header of hopHeaders) answered.delete(header);
      return new Response(response.body, {
        status: response.status,
        statusText: response.statusText,
        headers: answered,
      });
    } catch (error) {
      const isSenders = isOfRequestBody(error) || await chunks?.hasFailed();
      return isSenders ? problem(400, "The body ended early.") : away("The function");
    }
  }
}

/** A body that remembers whether its sender failed; asked just after a failure, which may be noticed on the other side first. */
function watched(body: ReadableStream<Uint8Array<ArrayBuffer>>) {
  const reader = body.getReader();
  const failure = Promise.withResolvers<true>();
  const copy = new ReadableStream<Uint8Array<ArrayBuffer>>({
    async pull(controller) {
      try {
        const { done, value } = await reader.read();
        if (done) controller.close();
        else controller.enqueue(value);
      } catch (error) {
        failure.resolve(true);
        controller.error(error);
      }
    },
    cancel: (reason) => reader.cancel(reason),
  });
  const hasFailed = () => Promise.race([failure.promise, new Promise<false>((done) => setTimeout(done, 100, false))]);
  return { body: copy, hasFailed };
}

/** Whether a call failed because what was to be sent on ended early: the sender's fault, not the function's. */
function isOfRequestBody(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (/request body|body from connection/i.test(cause.message)) return true;
  }
  return false;
}

// An error of the machinery, not of the request, is told in our words: lite's may hold a statement or an address.
function withoutTrace(response: Response): Response | Promise<Response> {
  if (response.status < 500) return response;
  if (!response.headers.get("content-type")?.includes("json")) {
    response.body?.cancel();
    return away("The database");
  }
  return response;
}

// The URL class costs more than the whole routing.
function pathOf(url: string): string {
  const start = url.indexOf("/", url.indexOf("://") + 3);
  const end = url.indexOf("?", start);
  return url.slice(start, end < 0 ? undefined : end);
}

function queryOf(url: string): string {
  const at = url.indexOf("?");
  return at < 0 ? "" : url.slice(at);
}
