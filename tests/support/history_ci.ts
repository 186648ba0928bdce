/** Random observations of few pipeline runs and jobs, which meet in the same pipelines, weeks and tries. */

import { callTelling } from "./history_copies.ts";
import type { Said } from "./history_observations.ts";
import type { Call } from "./model.ts";

/** Around midnight between two weeks, in UTC and in Berlin; and no time. */
export const TIMES = [
  "2026-03-01T22:59:59Z",
  "2026-03-01T23:00:00Z",
  "2026-03-01T23:59:59.999999Z",
  "2026-03-02T00:00:00Z",
  "2026-03-02T00:00:00.1Z",
  "2026-03-04T12:00:00Z",
  "2026-03-11T12:00:00Z",
  null,
];

const OUTCOMES = ["success", "success", "failure", "timed_out", "error", "cancelled", "skipped", "neutral", "unknown"];

/** What random observations are about. */
export interface Place {
  repositories: string[];
  /** How many jobs there are in each repository, by default 6, and a bit more than half as many runs. */
  ids?: number;
  /** Whether a run may be said to be a try of this and then of that, which no provider does. */
  isRestless?: boolean;
}

function observation(random: () => number, { repositories, ids = 6, isRestless = false }: Place): Said {
  const one = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
  const upTo = (count: number) => String(1 + Math.floor(random() * count));
  const maybe = <T>(name: string, list: readonly T[]) => random() < 0.7 ? { [name]: one(list) } : {};
  const progress = random() < 0.25
    ? { status: one(["queued", "running"]) }
    : { status: "finished", outcome: one(OUTCOMES), ...maybe("finished_at", TIMES) };
  const said = {
    repository: one(repositories),
    observed_at: one(TIMES),
    ...progress,
    ...maybe("queued_at", TIMES),
    ...maybe("started_at", TIMES),
    ...maybe("pipeline", ["build", "deploy", null]),
  };
  if (random() < 0.5) {
    const labels = [["linux", "arm"], ["arm", "linux"], ["arm"], [], null];
    return {
      kind: "jobs",
      observation: {
        ...said,
        external_id: upTo(ids),
        ...maybe("name", ["test", "lint", null]),
        ...maybe("runner_labels", labels),
      },
    };
  }
  const run = upTo(Math.ceil(ids * 0.6));
  // Two runs are tries of one thing, every third is alone.
  const group = Number(run) % 3 === 0 ? null : `group ${Math.floor(Number(run) / 3)}`;
  return {
    kind: "pipeline_runs",
    observation: {
      ...said,
      external_id: run,
      attempt: one([1, 1, 2, 3]),
      ...maybe("rerun_group", isRestless ? ["a", "b", null] : [group]),
      ...maybe("on_default_branch", [true, false, null]),
      ...(random() < 0.5 ? { actor: "dev-1", actor_is_bot: one([true, false]) } : {}),
    },
  };
}

/** So many calls of one to `most` observations each; their ids begin with the prefix. */
export function randomRunsAndJobs(
  random: () => number,
  prefix: string,
  count: number,
  most: number,
  place: Place,
): Call[] {
  return Array.from({ length: count }, (_, n) =>
    callTelling(
      `${prefix}-${n}`,
      Array.from({ length: 1 + Math.floor(random() * most) }, () => observation(random, place)),
    ));
}
