/** Flaky tests and series of measurements. Part of the model. */

import type { Row } from "./model.ts";
import { grouped, type Timed, unknown, WEEK } from "./model_ci.ts";
import type { NumberRow } from "./model_dora.ts";
import { instantOf } from "./model_periods.ts";
import { percentile } from "./model_percentiles.ts";
import { askedOf, isIn, repositoriesAsked } from "./model_selection.ts";
import { compareText } from "./model_values.ts";
import { repositoryOf, rowsOf, type Seen, textOf } from "./model_world.ts";

/** What was measured under a name, a row for each unit. */
export function measurementSeries(world: Seen, given: Record<string, unknown>): NumberRow[] {
  const asked = askedOf(world, given, ["nothing", "repository"]);
  const repositories = repositoriesAsked(world, asked);
  const columns = ["sample_size", "min", "avg", "p50", "p95", "last"];
  if (repositories === null) return unknown(asked, columns).map((row) => ({ unit: null, ...row }));
  const measured = timed(world, "measurements", "measured_at").filter(({ row, repository, at }) =>
    row["name"] === given["name"] && typeof row["value"] === "number" && repositories.includes(repository) &&
    isIn(at, { from: asked.since, to: asked.until }, world.zone)
  );
  const unitOf = ({ row }: Timed) => textOf(row, "unit") ?? "";
  const units = [...new Set(measured.map(unitOf))].sort(compareText);
  const rows = (units.length === 0 ? [""] : units).flatMap((unit) =>
    grouped(world, asked, repositories, measured.filter((one) => unitOf(one) === unit), () => "", (here) => {
      const values = here.map(({ row }) => row["value"] as number);
      const last = here.toSorted((a, b) =>
        Number(a.at) - Number(b.at) || compareText(String(a.row["external_id"]), String(b.row["external_id"]))
      ).at(-1);
      return {
        unit: unit === "" ? null : unit,
        sample_size: values.length,
        min: values.length === 0 ? null : Math.min(...values),
        avg: values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length,
        p50: percentile(values, 0.5),
        p95: percentile(values, 0.95),
        last: (last?.row["value"] ?? null) as number | null,
      };
    })
  );
  return rows
    // That there is no unit is no lack.
    .map((row): NumberRow => ({ ...row, reason: row["sample_size"] === 0 ? "too_few" : null }))
    .sort((a, b) =>
      compareText(place(a["name"]), place(b["name"])) ||
      compareText(place(a["bucket_start"]), place(b["bucket_start"])) ||
      compareText(place(a["unit"]), place(b["unit"]))
    );
}

function place(value: unknown): string {
  return value === null || value === undefined ? "" : String(value);
}

/** A test that failed or was tried again, in an upload that says something of tests. */
interface Case {
  row: Row;
  run: Timed;
}

/** Tests that failed and passed for one commit within a week, or passed only when tried again. */
export function flakyTests(world: Seen, given: Record<string, unknown>): NumberRow[] {
  const asked = askedOf(world, given, ["nothing"]);
  const repositories = repositoriesAsked(world, asked);
  const runs = timed(world, "test_runs", "started_at").filter(({ repository }) => repositories?.includes(repository));
  const inPeriod = (run: Timed) => isIn(run.at, { from: asked.since, to: asked.until }, world.zone);
  if (!runs.some(inPeriod)) return [nothing(repositories === null ? "unknown_service" : "too_few")];

  const telling = runs.filter(({ row }) => !isInconclusive(row));
  const cases = rowsOf(world.tables, "test_cases").flatMap((row) => {
    const run = telling.find((one) =>
      one.row["repository"] === row["repository"] && one.row["external_id"] === row["test_run_external_id"]
    );
    return run === undefined ? [] : [{ row, run }];
  });
  const flaky = cases.filter(({ row, run }) => {
    if (!inPeriod(run)) return false;
    if (row["outcome"] === "passed") return Number(row["retries"] ?? 0) > 0;
    return (row["outcome"] === "failed" || row["outcome"] === "error") &&
      telling.some((other) =>
        other !== run && other.row["repository"] === run.row["repository"] &&
        textOf(run.row, "commit_sha") !== null && other.row["commit_sha"] === run.row["commit_sha"] &&
        other.at !== null && Math.abs(other.at - Number(run.at)) <= WEEK && isPassedIn(other, row, cases)
      );
  });

  const tests = Map.groupBy(flaky, ({ row, run }) => JSON.stringify([run.repository.name, row["suite"], row["name"]]));
  return [...tests].map(([key, some]) => {
    const [repository, suite, test] = JSON.parse(key) as [string, string, string];
    const times = some.map(({ run }) => run.row["started_at"] as string).sort(compareText);
    return {
      repository,
      suite,
      test,
      commits: new Set(some.map(({ run }) => run.row["commit_sha"]).filter((sha) => sha !== null)).size,
      failures: some.filter(({ row }) => row["outcome"] !== "passed").length,
      retried: some.filter(({ row }) => row["outcome"] === "passed").length,
      first_at: times[0] as string,
      last_at: times.at(-1) as string,
      reason: null,
      is_frozen: false,
    };
  }).sort((a, b) =>
    b.commits - a.commits || compareText(a.repository, b.repository) || compareText(a.suite, b.suite) ||
    compareText(a.test, b.test)
  );
}

function nothing(reason: string): NumberRow {
  const columns = ["repository", "suite", "test", "commits", "failures", "retried", "first_at", "last_at"];
  const is_frozen = reason === "unknown_service" ? null : false;
  return { ...Object.fromEntries(columns.map((column) => [column, null])), reason, is_frozen };
}

/** Where four fifths of at least twenty tests fail, the machine is broken and not the tests. */
function isInconclusive(run: Row): boolean {
  const count = (column: string) => Number(run[column] ?? 0);
  const failed = count("failed_count") + count("error_count");
  const all = failed + count("passed_count");
  return all >= 20 && failed >= 0.8 * all;
}

function isPassedIn(run: Timed, test: Row, cases: readonly Case[]): boolean {
  const passed = (run.row["passed"] ?? []) as unknown as [string, string][];
  return passed.some(([suite, name]) => suite === test["suite"] && name === test["name"]) ||
    cases.some((one) =>
      one.run === run && one.row["outcome"] === "passed" && one.row["suite"] === test["suite"] &&
      one.row["name"] === test["name"]
    );
}

/** Facts of a kind with their repository, and the moment that decides their bucket. */
function timed(world: Seen, kind: string, column: string): Timed[] {
  return rowsOf(world.tables, kind).flatMap((row) => {
    const repository = repositoryOf(world, row["repository"]);
    return repository === null ? [] : [{ row, repository, at: instantOf(row[column]) }];
  });
}
