/** Answers, built from codes and from sentences of this file alone: nothing of a request, no secret, no stack, no SQL gets into one. */

const titles: Readonly<Record<number, string>> = {
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  408: "Request Timeout",
  413: "Content Too Large",
  415: "Unsupported Media Type",
  421: "Misdirected Request",
  422: "Unprocessable Content",
  429: "Too Many Requests",
  503: "Service Unavailable",
};

/** Seconds after which a sender should come again. */
const RETRY_AFTER = "10";

/** Every error: its status, and what it means and what would be right. */
export const details = {
  not_found: [404, "There is no such source."],
  no_such_report: [404, "There is no such report."],
  not_on_staging: [
    421,
    "This is a staging installation, which takes synthetic deliveries alone: send it to production.",
  ],
  method_not_allowed: [405, "The header Allow says which method this address takes."],
  credentials_missing: [401, "The header that proves the sender is missing or malformed."],
  credentials_wrong: [401, "The credentials are not those of a sender of this source."],
  not_allowed: [403, "These credentials are good, and not for this. Nothing was stored."],
  parameters: [400, "The parameters or headers that errors names are wrong. Nothing was stored."],
  content_type: [415, "The header Accept says which content types this source sends."],
  report_type: [415, "The header Accept says which content types this report has."],
  too_large: [413, "The body is larger than the limit of this installation."],
  report_too_large: [
    413,
    "The report is larger than the limit of this installation. Split it into several files and send each with another value of the parameter suite.",
  ],
  too_slow: [408, "The body took too long."],
  incomplete: [400, "The body ended early."],
  unreadable: [400, "The body cannot be read as this report, as errors says. Nothing was stored."],
  refused: [422, "Nothing was stored, because of what errors names."],
  key_reused: [422, "Another report came with this Idempotency-Key before. Nothing of this one was stored."],
  too_many_calls: [429, "This identity made its calls of this minute. Nothing was stored."],
  busy: [503, "Other large bodies are being worked on. Nothing was stored."],
  unavailable: [503, "The database did not commit. Nothing is lost if this is sent again."],
  issuer_unavailable: [503, "The keys of the token's issuer cannot be had now. Nothing was stored."],
  unhealthy: [503, "The database does not answer."],
} as const;

export type ProblemCode = keyof typeof details;

const common = { "cache-control": "no-store", "x-content-type-options": "nosniff" };

/** One of several things that are wrong with a request, in words and numbers of ours. */
export interface Wrong {
  place: string;
  code: string;
  /** What it means, and what would be right. */
  detail?: string | undefined;
}

/** An error as RFC 9457 describes it, with what is wrong in its member `errors` where there is more to say. */
export function problem(code: ProblemCode, headers: Record<string, string> = {}, errors?: readonly Wrong[]): Response {
  const [status, detail] = details[code];
  const retry: Record<string, string> = status === 503 ? { "retry-after": RETRY_AFTER } : {};
  return new Response(JSON.stringify({ type: "about:blank", title: titles[status], status, detail, code, errors }), {
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

/** A success without a body, which says what it says by its headers. */
export function agreement(headers: Record<string, string>): Response {
  return new Response(null, { status: 200, headers: { ...common, ...headers } });
}
