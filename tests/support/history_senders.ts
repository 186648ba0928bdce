/** How each sender puts a delivery of a history into a request; what proves it, signature or token, comes on top. */

import type { ContentType } from "../../supabase/functions/ingest-metrics/sources/mod.ts";
import type { Posted } from "./history_github.ts";

/** The content type of a delivery, and its headers without it. */
export interface SentAs {
  contentType: ContentType;
  headers: Record<string, string>;
}

const senders: Record<string, (posted: Posted) => SentAs> = {
  github: ({ event, id }) => ({
    contentType: "application/json",
    headers: { "user-agent": "GitHub-Hookshot/history", "x-github-event": event, "x-github-delivery": id },
  }),
  gitlab: ({ event, id }) => ({
    contentType: "application/json",
    headers: { "user-agent": "GitLab/19.0.0", "x-gitlab-event": event, "webhook-id": id, "idempotency-key": id },
  }),
  synthetic: ({ event, id }) => ({
    contentType: "application/json",
    headers: { "x-synthetic-event": event, "x-synthetic-delivery": id },
  }),
  pagerduty: ({ id }) => ({
    contentType: "application/json",
    headers: { "user-agent": "PagerDuty-Webhook/V3.0", "x-webhook-id": id },
  }),
  // As the shape of the body has it: several, one in its envelope, or one alone with the envelope in the headers.
  cdevents: ({ body }) => {
    if (Array.isArray(body)) return { contentType: "application/cloudevents-batch+json", headers: {} };
    const { context } = body as { context?: Record<string, string> };
    if (!context) return { contentType: "application/cloudevents+json", headers: {} };
    const { id = "", source = "", type = "", timestamp = "" } = context;
    return {
      contentType: "application/cdevents+json",
      headers: { "ce-specversion": "1.0", "ce-id": id, "ce-source": source, "ce-type": type, "ce-time": timestamp },
    };
  },
};

/**
 * How the sender of a delivery sends it.
 *
 * @throws Error for a source of no provider that is known here
 */
export function sentAs(posted: Posted): SentAs {
  const sender = senders[posted.source.split("-", 1)[0] as string];
  if (sender === undefined) throw new Error(`no sender for ${posted.source}`);
  return sender(posted);
}
