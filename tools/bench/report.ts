/** How a measurement is told: one line each, with its spread and whether the target is reached. */

import { percentile, rate, type Slice, type Spread, spread } from "./slices.ts";

/** What is promised of a number. */
export type Target = { atLeast: number } | { atMost: number };

/** Prints figures and remembers whether every target was reached. */
export class Report {
  #missed: string[] = [];

  /** Names of the figures that missed their target. */
  get missed(): readonly string[] {
    return this.#missed;
  }

  /** A heading and what was done. */
  part(title: string, ...lines: string[]): void {
    console.log(`\n${title}`);
    for (const line of lines) console.log(`  ${line}`);
  }

  /** The rate of one side. */
  rate(name: string, slices: readonly Slice[], unit: string, factor = 1): void {
    console.log(`  ${name.padEnd(52)} ${told(spread(slices.map((slice) => rate(slice) * factor)), 0)} ${unit}`);
  }

  /** A figure without a target. */
  figure(name: string, values: readonly number[], unit: string, digits = 2): void {
    console.log(`  ${name.padEnd(52)} ${told(spread(values), digits)} ${unit}`);
  }

  /** A figure that has to be reached by its median. */
  target(name: string, values: readonly number[], unit: string, target: Target, digits = 2): void {
    this.#judge(name, spread(values).median, told(spread(values), digits), unit, target);
  }

  /** Milliseconds of calls, whose 95th percentile has to be reached. */
  p95(name: string, milliseconds: readonly number[], target: Target): void {
    const p95 = percentile(milliseconds, 0.95);
    const text = `${p95.toFixed(1).padStart(7)} (median ${told(spread(milliseconds), 1).trim()})`;
    this.#judge(name, p95, text, "ms", target);
  }

  /** A figure that could not be measured. */
  missing(name: string, why: string): void {
    this.#missed.push(name);
    console.log(`  ${name.padEnd(52)} MISSED: ${why}`);
  }

  #judge(name: string, value: number, text: string, unit: string, target: Target): void {
    const isReached = "atLeast" in target ? value >= target.atLeast : value <= target.atMost;
    if (!isReached) this.#missed.push(name);
    const bound = "atLeast" in target ? `at least ${target.atLeast}` : `at most ${target.atMost}`;
    const verdict = isReached ? "reached" : "MISSED";
    console.log(`  ${name.padEnd(52)} ${text} ${unit.padEnd(3)} target ${bound}: ${verdict}`);
  }
}

function told({ median, least, greatest }: Spread, digits: number): string {
  return `${median.toFixed(digits).padStart(7)} (${least.toFixed(digits)} to ${greatest.toFixed(digits)})`;
}
