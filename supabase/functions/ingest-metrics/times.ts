/** Instants as senders write them, in every format that was seen: text with and without a zone, and epochs of four scales. */

const isoTime =
  /^(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?)?\s?(Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?$/i;

/** Go's and .NET's year 1 and Unix's 1970 mean "not set"; nothing that a CI system tells happened before this year. */
const FIRST_YEAR = 1990;
const LAST_YEAR = 9999;

/**
 * The instant as canonical ISO 8601 text in UTC (`2026-01-01T00:00:00Z`, a fraction of up to six digits only where there is one), so that
 * equal instants are equal text. Takes ISO 8601, `YYYY-MM-DD HH:MM:SS` with `UTC` or an offset, and epochs as number or digits, in
 * seconds, ms, µs or ns by their size. No zone means UTC. Null for what is no time, for zero times, and outside the years 1990 to 9999.
 */
export function parseTime(value: unknown): string | null {
  if (typeof value === "number") return fromEpoch(value);
  if (typeof value !== "string" || value.length > 64) return null;
  const text = value.trim();
  if (/^\d{9,19}$/.test(text)) return fromEpoch(Number(text));
  const match = isoTime.exec(text);
  if (!match) return null;
  const [year, month, day, hour, minute, second] = match.slice(1, 7).map((part) => Number(part ?? 0)) as number[];
  if (year! < FIRST_YEAR || hour! > 23 || minute! > 59 || second! > 60) return null;
  const midnight = Date.UTC(year!, month! - 1, day!);
  const date = new Date(midnight);
  if (date.getUTCMonth() !== month! - 1 || date.getUTCDate() !== day!) return null;
  const seconds = midnight / 1000 + hour! * 3600 + minute! * 60 + second! - offsetSeconds(match[8]);
  return format(seconds, match[7] ?? "");
}

function offsetSeconds(zone: string | undefined): number {
  if (!zone || !/^[+-]/.test(zone)) return 0;
  const digits = zone.slice(1).replace(":", "");
  const seconds = Number(digits.slice(0, 2)) * 3600 + Number(digits.slice(2, 4)) * 60;
  return zone.startsWith("-") ? -seconds : seconds;
}

function fromEpoch(value: number): string | null {
  if (!Number.isFinite(value) || value <= 0) return null;
  const perSecond = value < 1e11 ? 1 : value < 1e14 ? 1e3 : value < 1e17 ? 1e6 : 1e9;
  const seconds = Math.floor(value / perSecond);
  const microseconds = Math.floor((value - seconds * perSecond) * (1e6 / perSecond));
  return format(seconds, String(microseconds).padStart(6, "0"));
}

function format(seconds: number, fraction: string): string | null {
  const date = new Date(seconds * 1000);
  const year = date.getUTCFullYear();
  if (!(year >= FIRST_YEAR && year <= LAST_YEAR)) return null;
  const digits = fraction.slice(0, 6).replace(/0+$/, "");
  return `${date.toISOString().slice(0, 19)}${digits ? `.${digits}` : ""}Z`;
}
