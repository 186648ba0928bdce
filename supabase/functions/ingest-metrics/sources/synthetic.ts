/**
 * Deliveries that nothing has happened for: what staging is proven with, and takes alone. The body says its facts as they are; production does
 * not know the source. docs/sources/synthetic.md describes it.
 */

import { z } from "zod";
import { describeIssue, type FactKind, type Facts, schemas } from "../facts.ts";
import type { Source, SourceOptions, Translation } from "./mod.ts";

const kinds = Object.keys(schemas) as FactKind[];
const delivery = z.strictObject({
  facts: z.partialRecord(z.enum(kinds), z.array(z.record(z.string(), z.unknown()))),
});

/** The path of what is said about something that this source does not own; undefined when there is none. */
function foreign(facts: z.infer<typeof delivery>["facts"], { source }: SourceOptions): string | undefined {
  for (const [kind, observations] of Object.entries(facts)) {
    for (const [index, { repository, source: own }] of observations.entries()) {
      const isOwn = typeof repository === "string" ? repository.startsWith(`${source}:`) : kind === "incidents";
      if (!isOwn) return `facts.${kind}[${index}].repository`;
      if (kind === "incidents" && own !== source) return `facts.${kind}[${index}].source`;
    }
  }
  return undefined;
}

function facts(event: string, body: unknown, options: SourceOptions): Translation {
  if (event === "ping") return { ignored: "sent to see whether the secret is right; it carries no fact" };
  if (event !== "facts") return { ignored: "not known to this version" };
  const parsed = delivery.safeParse(body);
  if (!parsed.success) return { quarantined: describeIssue(parsed.error.issues[0]!) };
  const path = foreign(parsed.data.facts, options);
  // Their columns are checked as those of every source are.
  return path ? { quarantined: `${path}: not of this source` } : { facts: parsed.data.facts as Facts };
}

export const synthetic: Source = {
  provider: "synthetic",
  scheme: { kind: "hmac", header: "x-synthetic-signature", prefix: "sha256=" },
  contentTypes: ["application/json"],
  events: new Set(["facts", "ping"]),
  redacted: [],
  match: (headers) => headers.has("x-synthetic-event"),
  identify: (headers) => ({
    deliveryId: headers.get("x-synthetic-delivery"),
    event: headers.get("x-synthetic-event"),
  }),
  facts,
};
