/** Asks for the numbers of an example, and compares them with what stands in it. */

import type { Sql, TransactionSql } from "postgres";
import type { Example, ExpectedNumbers, FunctionCall, NumberRow } from "./history_examples.ts";
import { finishRebuild } from "./rebuilt.ts";

/** An answer that is not as the example has it. */
export interface WrongNumbers {
  asked: FunctionCall;
  why: string;
  /** What is there, with the columns that the example names. */
  found: NumberRow[];
  expected: NumberRow[];
}

/** Settings and rules of an example, as its installation makes them: a rule when its repository is known. */
export async function prepare(sql: Sql | TransactionSql, { settings = {}, rules = [] }: Example): Promise<void> {
  const set = Object.entries(settings).map(([name, value]) => ({ call: "set_setting", arguments: { name, value } }));
  for (const call of [...set, ...rules]) await sql.unsafe(`select ${written(call)}`);
  // A call works for half a second, which is not enough on a machine that is busy.
  await finishRebuild(sql);
}

/** Everything that a function answers, in its order. */
export async function answerOf(sql: Sql | TransactionSql, call: FunctionCall): Promise<NumberRow[]> {
  const [row] = await sql.unsafe(`
    select coalesce(json_agg(to_jsonb(r) - 'ordinality' order by r.ordinality), '[]') as rows
    from ${written(call)} with ordinality as r`);
  return row?.["rows"] as NumberRow[];
}

/** Every answer that is not as the example has it. */
export async function wrongNumbers(
  numbers: readonly ExpectedNumbers[],
  ask: (call: FunctionCall) => NumberRow[] | Promise<NumberRow[]>,
): Promise<WrongNumbers[]> {
  const wrong: WrongNumbers[] = [];
  for (const { rows: expected, why, ...asked } of numbers) {
    const answer = await ask(asked);
    const isAsExpected = answer.length === expected.length &&
      expected.every((row, i) => Object.entries(row).every(([column, value]) => isSame(answer[i]?.[column], value)));
    if (isAsExpected) continue;
    const columns = new Set(expected.flatMap(Object.keys));
    const found = answer.map((row) => Object.fromEntries([...columns].map((column) => [column, row[column]])));
    wrong.push({ asked, why, found, expected });
  }
  return wrong;
}

/** Equal, where numbers may be apart by as much as arithmetic in another order makes them. */
function isSame(a: unknown, b: unknown): boolean {
  if (typeof a === "number" && typeof b === "number") {
    return Math.abs(a - b) <= 1e-9 * Math.max(Math.abs(a), Math.abs(b));
  }
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return a === b;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const [left, right] = [a as Record<string, unknown>, b as Record<string, unknown>];
  return Object.keys(left).length === Object.keys(right).length &&
    Object.keys(left).every((key) => key in right && isSame(left[key], right[key]));
}

function written({ call, arguments: named }: FunctionCall): string {
  const list = Object.entries(named).map(([name, value]) => `${word(name)} => ${literal(value)}`);
  return `metrics.${word(call)}(${list.join(", ")})`;
}

function word(name: string): string {
  if (!/^[a-z][a-z0-9_]*$/.test(name)) throw new Error(`${name} is no name of a function or an argument`);
  return `"${name}"`;
}

/** Without a type, so that it becomes that of the argument. */
function literal(value: unknown): string {
  if (value === null) return "null";
  if (typeof value === "boolean" || typeof value === "number") return String(value);
  if (Array.isArray(value)) return value.length === 0 ? "'{}'" : `array[${value.map(literal).join(", ")}]`;
  return `e'${String(value).replaceAll("\\", "\\\\").replaceAll("'", "''")}'`;
}
