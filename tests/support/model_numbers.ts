/**
 * What the numbers mean, once more: slow, obvious, and written from the design alone.
 *
 * Property tests compare the functions of the database with it, so nothing that ships imports it and it imports nothing that
 * ships. It knows no retention: it counts what the tables hold.
 */

import { jobHealth, pipelineHealth, pullRequestCycleTime, ruleCompliance, testHealth } from "./model_ci.ts";
import { dora, METRICS, type NumberRow, oneNumber } from "./model_dora.ts";
import { flakyJobs, pipelineCost, slowestJobs, stepHealth } from "./model_jobs.ts";
import { ingestHealth, overview } from "./model_overview.ts";
import { flakyTests, measurementSeries } from "./model_reports.ts";
import { seen, type World } from "./model_world.ts";

export { BadArguments } from "./model_selection.ts";
export type { NumberRow } from "./model_dora.ts";
export type { Rule, World } from "./model_world.ts";

/**
 * The rows of a function of the schema `metrics`, in its order, with every column but `page_key` and `total`: what all pages
 * hold together.
 *
 * @param call the name of the function
 * @param args its named arguments; those that are left out have their defaults
 * @throws {BadArguments} when the arguments make no sense
 */
export function numbersOf(world: World, call: string, args: Record<string, unknown> = {}): NumberRow[] {
  const what = seen(world);
  if (METRICS.includes(call)) return oneNumber(what, call, args);
  const number = OTHERS[call];
  if (number === undefined) throw new Error(`the model does not know ${call}`);
  return number(what, args);
}

const OTHERS: Record<string, typeof dora> = {
  dora,
  pull_request_cycle_time: pullRequestCycleTime,
  pipeline_health: pipelineHealth,
  job_health: jobHealth,
  test_health: testHealth,
  rule_compliance: ruleCompliance,
  flaky_jobs: flakyJobs,
  flaky_tests: flakyTests,
  slowest_jobs: slowestJobs,
  step_health: stepHealth,
  pipeline_cost: pipelineCost,
  overview,
  ingest_health: ingestHealth,
  measurement_series: measurementSeries,
};
