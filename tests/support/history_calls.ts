/** From what a sender posts to the calls of `metrics.ingest` that the function makes of it, without HTTP in between. */

import type postgres from "postgres";
import { contextOf, readParameters } from "../../supabase/functions/ingest-metrics/context.ts";
import { checkFacts } from "../../supabase/functions/ingest-metrics/facts.ts";
import { reports } from "../../supabase/functions/ingest-metrics/reports/mod.ts";
import { sources } from "../../supabase/functions/ingest-metrics/sources/mod.ts";
import { translate } from "../../supabase/functions/ingest-metrics/translate.ts";
import type { Example, PostedReport } from "./history_examples.ts";
import type { Posted } from "./history_github.ts";
import { sentAs } from "./history_senders.ts";
import type { Answer, Call } from "./model.ts";

/**
 * What a delivery becomes when its source has translated it.
 *
 * @throws Error when it is not understood: histories are made of what is
 */
export async function callOf(posted: Posted, incidentLabels = ["incident"]): Promise<Call> {
  const { source, event, id, body } = posted;
  const known = sources.get(source.split("-", 1)[0] as string);
  if (known === undefined) throw new Error(`no source for ${source}`);
  const bytes = new TextEncoder().encode(JSON.stringify(body));
  const sent = sentAs(posted);
  const headers = new Headers({ ...sent.headers, "content-type": sent.contentType });
  const options = { source, incidentLabels: new Set(incidentLabels) };
  const became = translate(known, sent.contentType, bytes, (parsed) => known.identify(headers, parsed), options);
  if (became.result === "quarantined") throw new Error(`${event} ${id}: ${became.reason}`);
  return {
    delivery: {
      source,
      delivery_id: became.deliveryId ?? `sha256:${await sha256(bytes)}`,
      event: became.event,
      sha256: await sha256(bytes),
      size: bytes.length,
      content_type: became.body ? sent.contentType : null,
      result: became.result,
      reason: became.reason,
      notes: became.notes,
    },
    // As JSON, because what is undefined was not said.
    facts: JSON.parse(JSON.stringify(became.facts)),
    body: became.body && new Uint8Array(became.body).toBase64(),
  };
}

/**
 * What a report becomes when it is read.
 *
 * @throws Error when it is not understood
 */
export async function callOfReport({ to, text }: PostedReport): Promise<Call> {
  const [, source, name] = /^([a-z0-9-]+)\/([a-z]+)\?/.exec(to) ?? [];
  const report = reports.get(name ?? "");
  if (source === undefined || report === undefined) throw new Error(`no report at ${to}`);
  const read = readParameters(to);
  const completed = "parameters" in read ? contextOf({ said: {}, otherwise: {} }, read.parameters, null) : read;
  const body = text.join("\n");
  const reported = "context" in completed ? report.read(body, completed.context) : completed;
  const checked = "facts" in reported ? checkFacts(reported.facts) : reported;
  if (!("facts" in checked)) throw new Error(`${to}: ${JSON.stringify(checked)}`);
  const bytes = new TextEncoder().encode(body);
  return {
    delivery: {
      source,
      delivery_id: `sha256:${await sha256(new TextEncoder().encode(`${to}\n${body}`))}`,
      event: `report.${name}`,
      sha256: await sha256(bytes),
      size: bytes.length,
      content_type: null,
      result: "stored",
      reason: null,
      notes: checked.notes,
    },
    facts: JSON.parse(JSON.stringify(checked.facts)),
    body: null,
  };
}

/** The calls of an example: of its deliveries and of its reports, in their order. */
export async function callsOf({ deliveries, reports = [] }: Pick<Example, "deliveries" | "reports">): Promise<Call[]> {
  return await Promise.all([...deliveries.map((posted) => callOf(posted)), ...reports.map(callOfReport)]);
}

/** SHA-256 in hex. */
export async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}

/** One call of `metrics.ingest`. */
export async function ingest(sql: postgres.Sql | postgres.TransactionSql, call: Call): Promise<Answer> {
  const [row] = await sql.unsafe("select metrics.ingest($1::text::jsonb, $2::text::jsonb, $3) as answer", [
    JSON.stringify(call.delivery),
    JSON.stringify(call.facts ?? {}),
    call.body ?? null,
  ]);
  return row?.["answer"] as Answer;
}

/** One call, made again for as long as the database asks for that: serialisation failures and deadlocks, nothing else. */
export async function ingestPatiently(sql: postgres.Sql, call: Call): Promise<{ answer: Answer; retries: number }> {
  for (let retries = 0;; retries++) {
    try {
      return { answer: await ingest(sql, call), retries };
    } catch (error) {
      const code = (error as { code?: string }).code;
      if ((code !== "40001" && code !== "40P01") || retries === 50) throw error;
    }
  }
}

/** What waits for deliveries, called again for as long as it says that one takes too long: its hint is to do so. */
export async function callPatiently<T>(call: () => PromiseLike<T>): Promise<T> {
  for (let retries = 0;; retries++) {
    try {
      return await call();
    } catch (error) {
      if ((error as { code?: string }).code !== "55P03" || retries === 50) throw error;
    }
  }
}

/** Several calls in one; those that are left alone are made by themselves, as the function does. */
export async function ingestTogether(
  sql: postgres.Sql | postgres.TransactionSql,
  calls: readonly Call[],
): Promise<{ answer: Answer; isTogether: boolean }[]> {
  const list = calls.map(({ delivery, facts, body }) => ({ delivery, facts: facts ?? {}, body: body ?? null }));
  for (let tries = 0;; tries++) {
    try {
      const [row] = await sql.unsafe("select metrics.ingest($1::text::jsonb) as answers", [JSON.stringify(list)]);
      const answers = [];
      for (const [index, answer] of (row?.["answers"] as (Answer | null)[]).entries()) {
        answers.push({ answer: answer ?? await ingest(sql, calls[index]!), isTogether: answer !== null });
      }
      return answers;
    } catch (error) {
      if (!["40001", "40P01"].includes((error as { code?: string }).code ?? "") || tries === 50) throw error;
    }
  }
}
