/**
 * Comparing rates on a machine that is never quite quiet: the sides take turns in slices of a few seconds, and each round gives one ratio, so
 * that what disturbs the machine for longer than a round disturbs both sides alike.
 */

/** One side of a comparison. */
export interface Side {
  /** Pieces a second that may be expected of the first slice. */
  guess: number;
  /** Makes ready so many pieces of work, outside the measured time. */
  prepare(count: number): Promise<void> | void;
  /** Works off what was prepared until the deadline (milliseconds of performance.now()): how many pieces it did. */
  work(deadline: number): Promise<number>;
}

/** What one side did in one slice. */
export interface Slice {
  done: number;
  seconds: number;
}

export interface SliceOptions {
  /** Length of a slice. */
  seconds: number;
  /** Slices of each side. */
  slices: number;
}

/** Runs the sides in turns, after one shorter slice each that is thrown away: the slices of each side, in order. */
export async function alternate(sides: readonly Side[], options: SliceOptions): Promise<Slice[][]> {
  const rates = sides.map((side) => side.guess);
  const taken: Slice[][] = sides.map(() => []);
  for (let round = -1; round < options.slices; round++) {
    const seconds = round < 0 ? Math.min(1, options.seconds) : options.seconds;
    for (const [index, side] of sides.entries()) {
      // Should it be too little, the slice ends early.
      await side.prepare(Math.ceil(rates[index]! * seconds * 1.5) + 8);
      const started = performance.now();
      const done = await side.work(started + seconds * 1000);
      const slice = { done, seconds: (performance.now() - started) / 1000 };
      rates[index] = rate(slice);
      if (round >= 0) taken[index]!.push(slice);
    }
  }
  return taken;
}

/** Calls `piece` for one item after the other in so many loops at once, until the deadline or the end: how many were done. */
export async function loops<T>(
  width: number,
  items: readonly T[],
  deadline: number,
  piece: (item: T, loop: number) => Promise<void>,
): Promise<number> {
  let next = 0;
  let done = 0;
  await Promise.all(Array.from({ length: width }, async (_, loop) => {
    while (next < items.length && performance.now() < deadline) {
      await piece(items[next++]!, loop);
      done++;
    }
  }));
  return done;
}

/** Pieces a second. */
export function rate(slice: Slice): number {
  return slice.done / slice.seconds;
}

/** The middle of some numbers, with the least and the greatest. */
export interface Spread {
  median: number;
  least: number;
  greatest: number;
}

/** @throws {RangeError} when there are none */
export function spread(values: readonly number[]): Spread {
  if (values.length === 0) throw new RangeError("a spread of nothing");
  const sorted = values.toSorted((a, b) => a - b);
  const half = sorted.length >> 1;
  const median = sorted.length % 2 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
  return { median, least: sorted[0]!, greatest: sorted.at(-1)! };
}

/** The ratios of two sides, one a round. */
export function ratios(numerator: readonly Slice[], denominator: readonly Slice[]): number[] {
  return numerator.map((slice, round) => rate(slice) / rate(denominator[round]!));
}

/** The nearest rank: the least value that so large a share of them does not exceed. NaN when there are none. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * share) - 1)] ?? NaN;
}
