/** Answers, built from codes and from sentences of this file alone: nothing of a request, no secret, no stack, no SQL gets into one. */

const titles: Readonly<Record<number, string>> = {
  400: "Bad Request",
  401: "Unauthorized",
  404: "Not Found",
  405: "Method Not Allowed",
  408: "Request Timeout",
  413: "Content Too Large",
  415: "Unsupported Media Type",
  503: "Service Unavailable",
};

/** Seconds after which a sender should come again. */
const RETRY_AFTER = "10";

const details = {
  not_found: [404, "There is no such source."],
  method_not_allowed: [405, "The header Allow says which method this address takes."],
  credentials_missing: [401, "The header that proves the sender is missing or malformed."],
  credentials_wrong: [401, "The body is not signed with a secret of this source."],
  content_type: [415, "The header Accept says which content types this source sends."],
  too_large: [413, "The body is larger than the limit of this installation."],
  too_slow: [408, "The body took too long."],
  incomplete: [400, "The body ended early."],
  busy: [503, "Other large bodies are being worked on. Nothing was stored."],
  unavailable: [503, "The database did not commit. Nothing is lost if this is sent again."],
  unhealthy: [503, "The database does not answer."],
} as const;

export type ProblemCode = keyof typeof details;

const common = { "cache-control": "no-store", "x-content-type-options": "nosniff" };

/** An error as RFC 9457 describes it. */
export function problem(code: ProblemCode, headers: Record<string, string> = {}): Response {
  const [status, detail] = details[code];
  const retry: Record<string, string> = status === 503 ? { "retry-after": RETRY_AFTER } : {};
  return new Response(JSON.stringify({ type: "about:blank", title: titles[status], status, detail, code }), {
    status,
    headers: { "content-type": "application/problem+json", ...common, ...retry, ...headers },
  });
}

/** A success as JSON. */
export function answer(status: 200 | 202, content: object): Response {
  return new Response(JSON.stringify(content), {
    status,
    headers: { "content-type": "application/json", ...common },
  });
}
