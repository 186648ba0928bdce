/** How long property tests run: a small number in every run, a large one with `deno task test --deep`. */

/** Whether this is a long run. */
export const isDeep: boolean = Deno.env.get("METRICS_TEST_DEPTH") === "deep";

/** The first number, or in a long run the second. */
export function deep(small: number, deepCount: number): number {
  return isDeep ? deepCount : small;
}
