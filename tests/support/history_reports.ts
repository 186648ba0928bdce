/** A small history of one repository that has something for every number that random histories leave out. */

import { callTelling } from "./history_copies.ts";
import type { Call } from "./model.ts";

/** Jobs with steps, tests and their cases, measurements and prices' runners: told of this repository on these days. */
export function reportsOf(repository: string, since: string): Call {
  const monday = Date.parse(`${since}T00:00:00Z`);
  const at = (hours: number) => new Date(monday + hours * 3_600_000).toISOString();
  const said = (hours: number) => ({ repository, observed_at: at(hours) });
  const sha = "5".repeat(40);
  const times = [1, 2, 3, 30, 60, 170];
  const run = (hours: number, i: number) => ({
    status: "finished",
    outcome: i % 3 === 0 ? "failure" : "success",
    queued_at: at(hours - 0.5),
    started_at: at(hours),
    finished_at: at(hours + 0.1 * (i + 1)),
    pipeline: "checks",
    branch: "main",
    commit_sha: sha,
  });
  const facts = {
    pipeline_runs: times.map((hours, i) => ({
      ...said(hours),
      ...run(hours, i),
      external_id: `reports-${i}`,
      attempt: 1,
      on_default_branch: true,
    })),
    jobs: times.map((hours, i) => ({
      ...said(hours),
      ...run(hours, i),
      external_id: `reports-${i}`,
      run_external_id: `reports-${i}`,
      name: "slow",
      runner_labels: ["ubuntu-latest"],
      steps: [
        { name: "build", outcome: "success", started_at: at(hours), finished_at: at(hours + 0.05) },
        {
          name: "test",
          outcome: i % 3 === 0 ? "failure" : "success",
          started_at: at(hours + 0.05),
          finished_at: at(hours + 0.1),
        },
      ],
    })),
    test_runs: times.map((hours, i) => ({
      ...said(hours),
      external_id: `reports-${i}`,
      suite: "unit",
      commit_sha: sha,
      branch: "main",
      started_at: at(hours),
      finished_at: at(hours),
      duration_seconds: 10 * (i + 1),
      passed: i % 2 === 0 ? ["one", "two"] : ["one"],
      passed_count: i % 2 === 0 ? 2 : 1,
      failed_count: i % 2,
      skipped_count: 0,
      error_count: 0,
    })),
    test_cases: times.filter((_, i) => i % 2 === 1).map((hours, i) => ({
      ...said(hours),
      test_run_external_id: `reports-${2 * i + 1}`,
      suite: "unit",
      name: "two",
      outcome: "failed",
    })),
    rule_checks: times.map((hours, i) => ({
      ...said(hours),
      external_id: `reports-${i}`,
      rule: "signed",
      category: "safety",
      status: i % 2 === 0 ? "compliant" : "violation",
      checked_at: at(hours),
    })),
    measurements: times.map((hours, i) => ({
      ...said(hours),
      name: "size",
      external_id: `reports-${i}`,
      value: 100 + i,
      unit: "bytes",
      measured_at: at(hours),
    })),
  };
  return { ...callTelling(`reports of ${repository}`, []), facts };
}
