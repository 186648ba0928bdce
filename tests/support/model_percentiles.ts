/** Percentiles of seconds, exact or from a sketch. Part of the model. */

/** More values than this in one call are not sorted but counted in buckets. */
const EXACT_VALUES = 2_000;

/** Each bucket of a sketch begins so many times higher than the one before. */
const GROWTH = 1.1;

/** A number for none: no number is known. */
export type Percentiles = { p50_seconds: number | null; p75_seconds: number | null; p95_seconds: number | null };

/** Whether so many values in a call are few enough for exact percentiles. */
export function isExact(count: number): boolean {
  return count <= EXACT_VALUES;
}

/** The value at the nearest rank, or NULL of no values. */
export function percentile(values: readonly number[], share: number, exact = true): number | null {
  const sorted = values.map((value) => exact ? value : representative(value)).sort((a, b) => a - b);
  return sorted[Math.ceil(share * sorted.length) - 1] ?? null;
}

/** The three percentiles that stand beside each other everywhere. */
export function percentiles(values: readonly number[], exact = true): Percentiles {
  return {
    p50_seconds: percentile(values, 0.5, exact),
    p75_seconds: percentile(values, 0.75, exact),
    p95_seconds: percentile(values, 0.95, exact),
  };
}

/** What a sketch remembers of a value: the middle of its bucket. */
export function representative(value: number): number {
  return value === 0 ? 0 : GROWTH ** (Math.floor(Math.log(value) / Math.log(GROWTH)) + 0.5);
}
