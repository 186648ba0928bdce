/** Offers what is in quarantine to the present translation, which is the function's own, and commits it where it is understood now. */

import type { Sql } from "postgres";
import { type ContentType, providerOf, sources } from "../../supabase/functions/ingest-metrics/sources/mod.ts";
import { translate } from "../../supabase/functions/ingest-metrics/translate.ts";

export interface ReplayOptions {
  /** Only deliveries of this source. */
  source?: string | undefined;
  /** Translate and tell, but commit nothing. */
  isDry: boolean;
  /** Apply deliveries whose id came before with other bytes, too. Somebody has to know that both are true. */
  withConflicts: boolean;
  incidentLabels: ReadonlySet<string>;
}

/** What became of one delivery. `refused` and `quarantined` leave it where it was. */
export interface Replayed {
  source: string;
  deliveryId: string;
  event: string | null;
  result:
    | "stored"
    | "ignored"
    | "duplicate"
    | "quarantined"
    | "refused"
    | "conflict"
    | "without body"
    | "without source";
  reason: string | null;
  facts: Record<string, number>;
}

interface Kept {
  source: string;
  delivery_id: string;
  event: string | null;
  sha256: string;
  size: number;
  content_type: ContentType | null;
}

/**
 * Replays every delivery in quarantine, oldest first, one transaction each, and yields what became of it. Needs a connection as
 * `postgres`. Throws what the database says when it is not about the facts.
 */
export async function* replay(sql: Sql, options: ReplayOptions): AsyncGenerator<Replayed> {
  const kept = await sql<Kept[]>`
    select source, delivery_id, event, encode(sha256, 'hex') as sha256, size, content_type
    from metrics.deliveries
    where result = 'quarantined'
      and (${options.source ?? null}::text is null or source = ${options.source ?? null})
    order by received_at, source, delivery_id
  `;
  for (const delivery of kept) {
    const { source, delivery_id: deliveryId, event } = delivery;
    yield { source, deliveryId, event, reason: null, facts: {}, ...await replayOne(sql, delivery, options) };
  }
}

async function replayOne(
  sql: Sql,
  kept: Kept,
  options: ReplayOptions,
): Promise<Pick<Replayed, "result"> & Partial<Replayed>> {
  const source = sources.get(providerOf(kept.source) ?? "");
  if (!source) return { result: "without source" };
  if (!options.withConflicts && kept.delivery_id.endsWith(`#${kept.sha256.slice(0, 12)}`)) {
    return { result: "conflict" };
  }
  const [found] = await sql<{ body: Uint8Array }[]>`
    select body from metrics.bodies where source = ${kept.source} and delivery_id = ${kept.delivery_id} limit 1
  `;
  if (!found) return { result: "without body" };
  const identify = () => ({ deliveryId: kept.delivery_id, event: kept.event });
  const setting = { source: kept.source, incidentLabels: options.incidentLabels };
  const contentType = kept.content_type ?? source.contentTypes[0]!;
  const { result, reason, notes, facts } = translate(source, contentType, found.body, identify, setting);
  const counts = Object.fromEntries(Object.entries(facts).map(([kind, list]) => [kind, list.length]));
  if (options.isDry || result === "quarantined") return { result, reason, facts: counts };
  const { content_type: _, ...rest } = kept;
  const delivery = { ...rest, content_type: result === "ignored" ? null : contentType, result, reason, notes };
  for (let isFirstTry = true;; isFirstTry = false) {
    try {
      const [row] = await sql<{ answer: Pick<Replayed, "result" | "reason" | "facts"> }[]>`
        select metrics.ingest(${sql.json(delivery)}::jsonb, ${sql.json(facts)}::jsonb) as answer
      `;
      return { result: row!.answer.result, reason: row!.answer.reason, facts: row!.answer.facts };
    } catch (error) {
      const code = (error as { code?: unknown }).code;
      if (typeof code !== "string" || !/^(?:2[23]|40|54|P0001)/.test(code)) throw error;
      // Somebody else was at the same rows.
      if (isFirstTry && code.startsWith("40")) continue;
      return { result: "refused", reason: `SQLSTATE ${code}` };
    }
  }
}
