/** Counts what identities try. The database counts what they commit; a repeated or refused report costs too, and commits nothing. */

import type { Identity } from "./identities.ts";

const WINDOW_MS = 60_000;

/** The attempts that each identity made in a minute, at this instance of the function alone. */
export class Attempts {
  readonly #made = new Map<number, { since: number; count: number }>();

  /** @param now the time in milliseconds */
  constructor(readonly now: () => number = Date.now) {}

  /**
   * Counts one attempt for each of these identities, of which any may be the one that is used.
   *
   * @returns null while one of them has attempts left, and else the seconds until it has
   */
  take(identities: readonly Pick<Identity, "id" | "calls_per_minute">[]): number | null {
    const now = this.now();
    const waits = identities.map(({ id, calls_per_minute }) => {
      const before = this.#made.get(id);
      const made = before && now - before.since < WINDOW_MS ? before : { since: now, count: 0 };
      this.#made.set(id, made);
      // Room for reports that are sent twice, also where few may be committed.
      return ++made.count > 2 * calls_per_minute + 10 ? made.since + WINDOW_MS - now : 0;
    });
    const wait = Math.min(...waits);
    return wait > 0 ? Math.ceil(wait / 1000) : null;
  }
}
