/** One history of observations, lived in every order at once: each order by a copy of it with names of its own. */

import type postgres from "postgres";
import { COPY, ofCopy, type Said } from "./history_observations.ts";
import { callOf, ingest, ingestPatiently } from "./history_calls.ts";
import type { Posted } from "./history_github.ts";
import { ordersOf } from "./history_random.ts";
import { apply, type Call, type Observation, sortRows, type Tables } from "./model.ts";
import { readTables } from "./model_tables.ts";

/** An order in which the tables came out otherwise than in the first. */
export interface Disagreement {
  history: Said[];
  order: Said[];
  first: Tables;
  other: Tables;
}

/** The call that tells these observations in one delivery. */
export function callTelling(id: string, said: Said[]): Call {
  const facts: Record<string, Observation[]> = {};
  for (const { kind, observation } of said) (facts[kind] ??= []).push(observation);
  return { delivery: { source: "test", delivery_id: id, sha256: "ab".repeat(32), size: 1, result: "stored" }, facts };
}

/** What the model makes of a history whose observations arrive one by one. */
export function modelOf(history: Said[]): Tables {
  return factsOf(apply(history.map((said, i) => callTelling(String(i), [ofCopy(said, "p0000")]))), "p0000");
}

/**
 * Tells the history in every order of its observations, each in deliveries of their own and once all in one delivery, with
 * one observation told twice more at the end. Leaves nothing behind.
 *
 * @returns what the tables say, or the first order that disagrees
 */
export async function inEveryOrder(sql: postgres.Sql, history: Said[]): Promise<Tables | Disagreement> {
  const orders = [...ordersOf(history)];
  let first: Tables | undefined;
  for (let start = 0; start < orders.length; start += COPIES_AT_ONCE) {
    const some = orders.slice(start, start + COPIES_AT_ONCE);
    const [separate, together] = await rolledBack(sql, (transaction) => live(transaction, some));
    first ??= separate[0] as Tables;
    const text = JSON.stringify(first);
    for (const [i, other] of [...separate, ...together].entries()) {
      const order = some[i % some.length] as Said[];
      if (JSON.stringify(other) !== text) return { history, order, first, other };
    }
  }
  return withoutClocks(first ?? {});
}

/** More make the statements of one call large, and a database without statistics slow. */
const COPIES_AT_ONCE = 120;

/** What each copy leaves that tells its observations in one of these orders: one by one, and all in one delivery. */
async function live(sql: postgres.TransactionSql, orders: Said[][]): Promise<[Tables[], Tables[]]> {
  const name = (i: number) => `p${String(i).padStart(4, "0")}`;
  const together = orders.slice(0, 12);
  const arrivals = (orders[0] ?? []).map((_, n) => orders.map((order, i) => ofCopy(order[n] as Said, name(i))));
  const atOnce = together.flatMap((order, i) => order.map((said) => ofCopy(said, name(orders.length + i))));
  const calls = [...arrivals, atOnce, [...arrivals[0] ?? [], ...arrivals[0] ?? []]].map((said, n) =>
    callTelling(`d${n}`, said)
  );
  for (const call of calls) await ingest(sql, call);
  const copies = byCopy(await readTables(sql, { clocks: true }));
  const all = [...orders, ...together].map((_, i) => copies.get(name(i)) ?? {});
  return [all.slice(0, orders.length), all.slice(orders.length)];
}

/**
 * Tells the history by so many copies, all observations of a copy at the same time over connections of their own.
 *
 * @param sql with at least as many connections as the history has observations
 * @returns what each copy left, without clocks, and how often the database asked to try again
 */
export async function atTheSameTime(sql: postgres.Sql, history: Said[], copies: number) {
  const name = (i: number) => `p${String(i).padStart(4, "0")}`;
  let retries = 0;
  for (let i = 0; i < copies; i++) {
    const calls = history.map((said, n) => callTelling(`d${i}-${n}`, [ofCopy(said, name(i))]));
    const answers = await Promise.all(calls.map((call) => ingestPatiently(sql, call)));
    retries += answers.reduce((sum, answer) => sum + answer.retries, 0);
  }
  const found = byCopy(await readTables(sql));
  return { left: Array.from({ length: copies }, (_, i) => found.get(name(i)) ?? {}), retries };
}

/** Addresses of repositories in the examples. */
const hosts = /\b(?:git\.example|github\.com|gitlab\.example\.com)\b/g;

/** The calls of an example whose source and servers are each copy's own, for {@link inTheseOrders}. */
export async function callsOfCopies({ deliveries }: { deliveries: Posted[] }): Promise<Call[]> {
  return await Promise.all(deliveries.map(async (posted) => {
    const source = `${posted.source}-copy`;
    const call = await callOf({ ...posted, source });
    const facts = JSON.stringify(call.facts).replaceAll(source, `${posted.source}-${COPY}`)
      .replaceAll(hosts, (host) => `${COPY}.${host}`);
    return { ...call, facts: JSON.parse(facts) };
  }));
}

/**
 * Lives a history of deliveries by a copy for each order, all copies in step: what comes n-th for each is told in one call, so that
 * hundreds of orders cost little more than one. An order may tell a delivery again. Leaves nothing behind.
 *
 * @param history calls whose repositories, sources and addresses hold {@link COPY}
 * @param orders indexes into the history
 * @returns what each copy left, with clocks, {@link COPY} in its names
 */
export async function inTheseOrders(sql: postgres.Sql, history: Call[], orders: number[][]): Promise<Tables[]> {
  const names = orders.map((_, i) => `p${String(i).padStart(4, "0")}`);
  const length = Math.max(...orders.map((order) => order.length));
  return await rolledBack(sql, async (transaction) => {
    for (let n = 0; n < length; n++) {
      const told = orders.flatMap((order, i) => {
        const facts = history[order[n] ?? -1]?.facts;
        return facts ? [JSON.parse(JSON.stringify(facts).replaceAll(COPY, names[i]!)) as Call["facts"] & object] : [];
      });
      const facts: Record<string, Observation[]> = {};
      for (const one of told) for (const [kind, list] of Object.entries(one)) (facts[kind] ??= []).push(...list);
      await ingest(transaction, { ...callTelling(`d${n}`, []), facts });
    }
    const copies = byCopy(await readTables(transaction, { clocks: true }));
    return names.map((name) => copies.get(name) ?? {});
  });
}

export function isDisagreement(result: Tables | Disagreement): result is Disagreement {
  return "history" in result && "order" in result;
}

/** Runs the work in a transaction that is always rolled back. */
export async function rolledBack<T>(sql: postgres.Sql, work: (sql: postgres.TransactionSql) => Promise<T>): Promise<T> {
  let result: { value: T } | undefined;
  const undo = new Error("rolled back on purpose");
  try {
    await sql.begin(async (transaction) => {
      result = { value: await work(transaction) };
      throw undo;
    });
  } catch (error) {
    if (error !== undo) throw error;
  }
  return (result as { value: T }).value;
}

/** The rows of each copy, with the copy's name taken out again, without what tells deliveries. */
function byCopy(tables: Tables): Map<string, Tables> {
  const copies = new Map<string, Tables>();
  for (const [table, rows] of Object.entries(tables)) {
    if (table === "deliveries" || table === "bodies") continue;
    for (const row of rows) {
      const text = JSON.stringify(row);
      const [copy] = /p\d{4}/.exec(text) ?? [];
      if (copy === undefined) throw new Error(`a row of no copy: ${text}`);
      const mine = copies.get(copy) ?? {};
      (mine[table] ??= []).push(JSON.parse(text.replaceAll(copy, COPY)));
      copies.set(copy, mine);
    }
  }
  for (const mine of copies.values()) for (const rows of Object.values(mine)) sortRows(rows);
  return copies;
}

function factsOf(tables: Tables, copy: string): Tables {
  const { deliveries: _, bodies: __, ...facts } = tables;
  const told = Object.entries(facts).filter(([, rows]) => rows.length > 0);
  const named = JSON.parse(JSON.stringify(Object.fromEntries(told)).replaceAll(copy, COPY)) as Tables;
  for (const rows of Object.values(named)) sortRows(rows);
  return named;
}

function withoutClocks(tables: Tables): Tables {
  return Object.fromEntries(
    Object.entries(tables).map(([name, rows]) => [name, sortRows(rows.map(({ clocks: _, ...row }) => row))]),
  );
}
