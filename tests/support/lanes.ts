/**
 * Does the work twice at once, for both cores of a small machine: each lane with what it makes for itself, a database above all.
 *
 * @throws what the first lane that failed threw, once both have ended
 */
export async function inLanes(work: (lane: number, lanes: number) => Promise<void>): Promise<void> {
  const lanes = 2;
  const results = await Promise.allSettled(Array.from({ length: lanes }, (_, lane) => work(lane, lanes)));
  for (const result of results) if (result.status === "rejected") throw result.reason;
}
