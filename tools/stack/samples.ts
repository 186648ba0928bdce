import { encodeHex } from "@std/encoding/hex";
import { join } from "@std/path";
import { repository } from "./packages.ts";

/** A delivery of an example history, as `tests/examples/*.json` hold them. */
export interface ExampleDelivery {
  source: string;
  event: string;
  id: string;
  body: unknown;
}

/** What the function answered to one delivery. */
export interface Answer {
  event: string;
  id: string;
  status: number;
  result: string;
  /** Facts stored, by kind. */
  facts: Record<string, number>;
}

/** The deliveries that a new stack is filled with. */
export async function readSamples(): Promise<ExampleDelivery[]> {
  const text = await Deno.readTextFile(join(repository, "tests", "examples", "sample.json"));
  return (JSON.parse(text) as { deliveries: ExampleDelivery[] }).deliveries;
}

/**
 * Signs a delivery as GitHub does and posts it.
 *
 * @param url of the one origin
 * @param secret of the delivery's source
 */
export async function post(url: string, secret: string, delivery: ExampleDelivery): Promise<Answer> {
  const body = new TextEncoder().encode(JSON.stringify(delivery.body));
  const key = await crypto.subtle.importKey(
    "raw",
    new TextEncoder().encode(secret),
    { name: "HMAC", hash: "SHA-256" },
    false,
    ["sign"],
  );
  const response = await fetch(`${url}/functions/v1/ingest-metrics/${delivery.source}`, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      "user-agent": "GitHub-Hookshot/sample",
      "x-github-delivery": delivery.id,
      "x-github-event": delivery.event,
      "x-hub-signature-256": `sha256=${encodeHex(await crypto.subtle.sign("HMAC", key, body))}`,
    },
    body,
  });
  const answer = await response.json().catch(() => ({}));
  return {
    event: delivery.event,
    id: delivery.id,
    status: response.status,
    result: answer.result ?? answer.title ?? "no answer",
    facts: answer.facts ?? {},
  };
}
