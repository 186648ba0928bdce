/**
 * Values as the model sees them: one canonical form for each type of column, and one order on it.
 *
 * Part of the model: written from the design alone, shares no code with what it checks.
 */

/**
 * A value in canonical form. Times are `2026-01-01T00:00:00.000000Z`, JSON documents the text that Postgres prints for
 * them, tests pairs of suite and name.
 */
export type Value = null | boolean | number | string | readonly Value[];

/** What a column holds. */
export type Type = "text" | "number" | "boolean" | "time" | "text[]" | "number[]" | "time[]" | "tests" | "json";

const TYPES: Record<string, Type> = {
  additions: "number",
  attempt: "number",
  attributes: "json",
  changed_files: "number",
  changed_paths: "text[]",
  commits: "text[]",
  deletions: "number",
  detail: "text",
  duration_seconds: "number",
  error_count: "number",
  failed_count: "number",
  labels: "text[]",
  number: "number",
  passed: "tests",
  passed_count: "number",
  pull_request_number: "number",
  pull_request_numbers: "number[]",
  queue_seconds: "number",
  ready_times: "time[]",
  retries: "number",
  reverts: "text[]",
  runner_labels: "text[]",
  skipped: "tests",
  skipped_count: "number",
  steps: "json",
  value: "number",
};

const BOOLEANS = new Set([
  "actor_is_bot",
  "author_is_bot",
  "created",
  "deleted",
  "forced",
  "on_default_branch",
  "pusher_is_bot",
  "reviewer_is_bot",
  "truncated",
]);

/** The type of a column, by its name: a name means the same in every table. */
export function typeOf(column: string): Type {
  const type = TYPES[column];
  if (type !== undefined) return type;
  if (column.startsWith("is_") || BOOLEANS.has(column)) return "boolean";
  return column.endsWith("_at") ? "time" : "text";
}

/**
 * Puts a value as JSON or as the Postgres client gives it into canonical form.
 *
 * @throws TypeError when the value does not fit the type
 */
export function canonical(type: Type, value: unknown): Value {
  if (value === null || value === undefined) return null;
  if (type === "time") return canonicalTime(value);
  if (type === "json") return jsonText(value);
  if (type === "number") return canonicalNumber(value);
  if (type === "boolean" && typeof value === "boolean") return value;
  if (type === "text" && typeof value === "string") return value;
  if (type === "tests" && Array.isArray(value)) return canonicalTests(value);
  if (type.endsWith("[]") && Array.isArray(value)) {
    return value.map((item) => canonical(type.slice(0, -2) as Type, item));
  }
  throw new TypeError(`not a ${type}: ${JSON.stringify(value)}`);
}

/** Orders two canonical values of one type, NULL lowest, as the law of ties says. Negative, zero or positive. */
export function compare(type: Type, a: Value, b: Value): number {
  if (a === null || b === null) return Number(a !== null) - Number(b !== null);
  if (type === "number" || type === "boolean") return Number(a) - Number(b);
  if (Array.isArray(a) && Array.isArray(b)) return compareText(jsonText(a), jsonText(b));
  return compareText(String(a), String(b));
}

/** Orders two texts by their UTF-8 bytes. */
export function compareText(a: string, b: string): number {
  const left = new TextEncoder().encode(a);
  const right = new TextEncoder().encode(b);
  for (let i = 0; i < Math.min(left.length, right.length); i++) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return left.length - right.length;
}

/** Seconds from one canonical time to another; NULL when one is missing or the clock ran backwards. */
export function secondsBetween(from: Value, to: Value): Value {
  if (typeof from !== "string" || typeof to !== "string" || compareText(from, to) > 0) return null;
  return Number(micros(to) - micros(from)) / 1e6;
}

/** The text that Postgres prints for a jsonb, keys by length, then by bytes: what documents and lists are ordered by. */
export function jsonText(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(jsonText).join(", ")}]`;
  if (typeof value === "object" && value !== null) {
    const size = (key: string) => new TextEncoder().encode(key).length;
    const keys = Object.keys(value).sort((a, b) => size(a) - size(b) || compareText(a, b));
    return `{${
      keys.map((k) => `${JSON.stringify(k)}: ${jsonText((value as Record<string, unknown>)[k])}`).join(", ")
    }}`;
  }
  return JSON.stringify(value);
}

function canonicalTests(value: unknown[]): Value {
  const tests = [...new Map(value.map((test) => [jsonText(test), test as [string, string]])).values()];
  return tests.sort((a, b) => compareText(a[0], b[0]) || compareText(a[1], b[1]));
}

function canonicalNumber(value: unknown): number {
  const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
  if (typeof number !== "number" || Number.isNaN(number)) throw new TypeError(`not a number: ${JSON.stringify(value)}`);
  return number;
}

const TIME = /^(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?(?:Z|([+-])(\d\d)(?::?(\d\d))?)$/;

function canonicalTime(value: unknown): string {
  const text = value instanceof Date ? value.toISOString() : value;
  const match = typeof text === "string" ? TIME.exec(text) : null;
  if (match === null) throw new TypeError(`not a time with a zone: ${JSON.stringify(value)}`);
  const [, year, month, day, hour, minute, second, fraction = "", sign, hours = "0", minutes = "0"] = match;
  const date = new Date(0);
  date.setUTCFullYear(Number(year), Number(month) - 1, Number(day));
  const offset = (Number(hours) * 60 + Number(minutes)) * (sign === "-" ? -1 : 1);
  date.setUTCHours(Number(hour), Number(minute) - offset, Number(second));
  return `${date.toISOString().slice(0, 19)}.${fraction.padEnd(6, "0")}Z`;
}

function micros(time: string): bigint {
  return BigInt(Date.parse(`${time.slice(0, 19)}Z`)) * 1000n + BigInt(time.slice(20, 26));
}
