/** What a minute of a runner costs, when. Part of the model. */

/** A price of one label from a Monday on. */
export interface Price {
  label: string;
  valid_from: string;
  price_per_minute: number;
  is_hosted: boolean;
}

/** Prices of GitHub's standard runners that every installation begins with: until 2026, and from then on. */
const STANDARD: Record<string, [number, number]> = {
  "ubuntu-latest": [0.008, 0.006],
  "ubuntu-24.04": [0.008, 0.006],
  "ubuntu-22.04": [0.008, 0.006],
  "windows-latest": [0.016, 0.01],
  "windows-2025": [0.016, 0.01],
  "windows-2022": [0.016, 0.01],
  "macos-latest": [0.08, 0.062],
  "macos-15": [0.08, 0.062],
  "macos-14": [0.08, 0.062],
};

/** The prices that hold after these were set, each in place of one of the same label and day. */
export function pricesOf(set: readonly Record<string, unknown>[]): Price[] {
  const standard = Object.entries(STANDARD).flatMap(([label, [before, since]]) => [
    { label, valid_from: "2019-11-11", price_per_minute: before, is_hosted: true },
    { label, valid_from: "2026-01-05", price_per_minute: since, is_hosted: true },
  ]);
  const own = set.map((price) => ({
    label: String(price["label"]),
    valid_from: String(price["valid_from"]),
    price_per_minute: Number(price["price_per_minute"]),
    is_hosted: price["is_hosted"] === true,
  }));
  return [...new Map([...standard, ...own].map((price) => [`${price.label} ${price.valid_from}`, price])).values()];
}

/** The dearest of the prices that these labels have in a week; NULL where none has one. Of two as dear, one that is hosted. */
export function priceOf(prices: readonly Price[], labels: readonly string[], week: string): Price | null {
  const valid = labels.flatMap((label) => {
    const mine = prices.filter((price) => price.label === label && price.valid_from <= week);
    const last = mine.sort((a, b) => a.valid_from < b.valid_from ? -1 : 1).at(-1);
    return last === undefined ? [] : [last];
  });
  return valid.sort((a, b) =>
    b.price_per_minute - a.price_per_minute || Number(b.is_hosted) - Number(a.is_hosted)
  )[0] ?? null;
}
