/** Tells random histories of numbers to the database. */

import type postgres from "postgres";
import { ingest } from "./history_calls.ts";
import type { NumbersCase } from "./history_numbers.ts";
import { randomFrom, shuffledWithDuplicates } from "./history_random.ts";
import type { Call } from "./model.ts";
import type { Rule } from "./model_numbers.ts";
import { finishRebuild } from "./rebuilt.ts";

type Sql = postgres.Sql | postgres.TransactionSql;

/** Makes a rule, as an administrator would. */
export async function makeRule(sql: Sql, { call, arguments: args }: Rule): Promise<void> {
  const named = Object.keys(args).map((name, i) => `${name} => $${i + 1}`).join(", ");
  await sql.unsafe(`select metrics.${call}(${named})`, Object.values(args) as postgres.ParameterOrJSON<never>[]);
  // A call works for half a second, which is not enough on a machine that is busy.
  await finishRebuild(sql);
}

/** The calls of a history in the order in which they are told, some of them again, and after how many the rules are made. */
export function orderOf({ calls, shuffle, rulesAfter }: NumbersCase): { calls: Call[]; rulesAfter: number } {
  // The first names the repositories, so that rules can be about them.
  return {
    calls: [calls[0] as Call, ...shuffledWithDuplicates(calls, randomFrom(shuffle))],
    rulesAfter: rulesAfter + 1,
  };
}

/** Makes the calls of a history in their random order, and the rules somewhere among them. */
export async function tell(sql: Sql, history: NumbersCase): Promise<void> {
  const { calls, rulesAfter } = orderOf(history);
  for (const call of calls.slice(0, rulesAfter)) await ingest(sql, call);
  for (const rule of history.rules) await makeRule(sql, rule);
  for (const call of calls.slice(rulesAfter)) await ingest(sql, call);
}

/** What a failure needs to be read: the rules, and the facts in the order of the history. */
export function story({ rules, calls }: NumbersCase): string {
  return JSON.stringify({ rules, facts: calls.map(({ facts }) => facts) });
}
