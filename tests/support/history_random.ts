/** Seeded randomness for tests that print the seed: the same seed makes the same choices. */

/** Numbers from 0 up to 1, by mulberry32. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A seed: METRICS_TEST_SEED, or a new one, printed so that a failure can be had again. */
export function newSeed(name: string): number {
  const given = Deno.env.get("METRICS_TEST_SEED");
  const seed = given === undefined ? crypto.getRandomValues(new Uint32Array(1))[0] as number : Number(given);
  console.log(`${name}: METRICS_TEST_SEED=${seed}`);
  return seed;
}

/** The items in random order, each once, and about a third of them a second or third time. */
export function shuffledWithDuplicates<T>(items: readonly T[], random: () => number): T[] {
  const list = [...items, ...items.filter(() => random() < 0.3), ...items.filter(() => random() < 0.05)];
  for (let i = list.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [list[i], list[j]] = [list[j] as T, list[i] as T];
  }
  return list;
}

/** Every order of the items. */
export function* ordersOf<T>(items: readonly T[]): Generator<T[]> {
  if (items.length === 0) return yield [];
  for (const [i, first] of items.entries()) {
    for (const rest of ordersOf([...items.slice(0, i), ...items.slice(i + 1)])) yield [first, ...rest];
  }
}
