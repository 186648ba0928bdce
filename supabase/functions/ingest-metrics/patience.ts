/** Waiting for others than the sender: the database, and the issuers of credentials. */

/** For all waits of one request together, in milliseconds: no answer takes 2 s because of them. */
const WHOLE_MS = 1800;

/** What one request has left for its waits. What it no longer waits for goes on, so that whoever comes next may find it done. */
export class Patience {
  #left: number;

  constructor(milliseconds = WHOLE_MS) {
    this.#left = milliseconds;
  }

  /**
   * What is promised; null when it takes longer.
   *
   * @param atMost milliseconds for this wait alone
   */
  async wait<T>(promised: Promise<T>, atMost = Infinity): Promise<T | null> {
    const started = performance.now();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const end = new Promise<null>((resolve) => timer = setTimeout(() => resolve(null), Math.min(this.#left, atMost)));
    try {
      return await Promise.race([promised, end]);
    } finally {
      clearTimeout(timer);
      this.#left = Math.max(0, this.#left - (performance.now() - started));
    }
  }
}
