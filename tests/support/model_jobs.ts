/** Numbers of single jobs and their steps: flaky ones, slow ones, what they cost. Part of the model. */

import type { Row } from "./model.ts";
import { grouped, type Timed, WEEK } from "./model_ci.ts";
import type { NumberRow } from "./model_dora.ts";
import { percentile, percentiles } from "./model_percentiles.ts";
import { dateOf, instantOf, startOf } from "./model_periods.ts";
import { type Asked, askedOf, isIn, repositoriesAsked } from "./model_selection.ts";
import { compareText } from "./model_values.ts";
import { priceOf } from "./model_prices.ts";
import { type Repository, repositoryOf, rowsOf, type Seen, textOf } from "./model_world.ts";

/** Steps are read of so many jobs, the latest. */
const SAMPLE = 5000;

/** Jobs that failed in the period and passed for the same commit within a week. */
export function flakyJobs(world: Seen, given: Record<string, unknown>): NumberRow[] {
  const asked = askedOf(world, given, ["nothing"]);
  const repositories = repositoriesAsked(world, asked);
  const jobs = finishedJobs(world, repositories);
  const inPeriod = jobs.filter(isInPeriod(world, asked));
  const isOne = ({ row }: Timed, ...outcomes: string[]) => outcomes.includes(String(row["outcome"]));
  const judged = inPeriod.filter((job) => isOne(job, "success", "failure", "timed_out")).filter(isOfBranch(asked));

  const key = ({ row }: Timed) =>
    JSON.stringify([row["repository"], row["commit_sha"], row["pipeline"] ?? "", row["name"] ?? ""]);
  const passed = Map.groupBy(jobs.filter((job) => isOne(job, "success")), key);
  const failed = inPeriod.filter((job) => isOne(job, "failure", "timed_out")).filter(isOfBranch(asked)).filter((job) =>
    textOf(job.row, "commit_sha") !== null &&
    passed.get(key(job))?.some(({ at }) => Math.abs(Number(at) - Number(job.at)) <= WEEK) === true
  );
  const rows = [...Map.groupBy(failed, nameOfJob)].map(([name, some]) => {
    const times = some.map(({ row }) => timeText(row) as string).sort(compareText);
    return {
      ...namesOf(name),
      commits: new Set(some.map(({ row }) => `${row["repository"]} ${row["commit_sha"]}`)).size,
      failures: some.length,
      first_at: times[0],
      last_at: times.at(-1),
      reason: null,
      is_frozen: false,
    };
  }).sort((a, b) => b.commits - a.commits || compareJobs(a, b));
  // That none is flaky can be said of jobs that could be.
  if (rows.length > 0 || judged.length > 0) return rows;
  const columns = ["repository", "pipeline", "job", "commits", "failures", "first_at", "last_at"];
  return [{ ...nothing(columns, repositories), is_frozen: repositories === null ? null : false }];
}

/** Jobs, those that take longest first. */
export function slowestJobs(world: Seen, given: Record<string, unknown>): NumberRow[] {
  const asked = askedOf(world, { by: "duration", ...given }, ["duration", "minutes"]);
  const repositories = repositoriesAsked(world, asked);
  const jobs = finishedJobs(world, repositories).filter(isInPeriod(world, asked));
  const rows = [...Map.groupBy(jobs, nameOfJob)].map(([name, some]) => {
    const seconds = durationsOf(some);
    const { p50_seconds, p75_seconds, p95_seconds } = percentiles(seconds);
    return {
      ...namesOf(name),
      runs: some.length,
      minutes: sum(seconds) / 60,
      duration_p50_seconds: p50_seconds,
      duration_p75_seconds: p75_seconds,
      duration_p95_seconds: p95_seconds,
      reason: p95_seconds === null ? "too_few" : null,
      is_exact: true,
      is_frozen: false,
    };
  });
  const size = (row: typeof rows[number]) =>
    asked.by === "minutes" ? row.minutes : row.duration_p95_seconds ?? Number.NEGATIVE_INFINITY;
  if (rows.length > 0) return rows.sort((a, b) => compareNumbers(size(b), size(a)) || compareJobs(a, b));
  const durations = ["duration_p50_seconds", "duration_p75_seconds", "duration_p95_seconds"];
  const columns = ["repository", "pipeline", "job", "runs", "minutes", ...durations, "is_exact"];
  return [{ ...nothing(columns, repositories), is_frozen: repositories === null ? null : false }];
}

const OUTCOMES = ["success", "failure", "timed_out", "error", "cancelled", "skipped", "neutral", "unknown"];

/** How the steps of the latest jobs ended, and how long they took. */
export function stepHealth(world: Seen, given: Record<string, unknown>): NumberRow[] {
  const asked = askedOf(world, given, ["nothing"]);
  const repositories = repositoriesAsked(world, asked);
  const jobs = finishedJobs(world, repositories).filter(isInPeriod(world, asked)).filter(isOfBranch(asked));
  const sample = jobs.filter(({ row }) => row["steps"] !== null).sort((a, b) =>
    Number(b.at) - Number(a.at) || compareText(String(b.row["repository"]), String(a.row["repository"])) ||
    compareText(String(b.row["external_id"]), String(a.row["external_id"]))
  ).slice(0, SAMPLE);
  const steps = sample.flatMap((job) =>
    stepsOf(job.row).filter(({ outcome }) => (outcome ?? null) !== null)
      .map((step) => ({ job, step, name: JSON.stringify([...namesList(job), step.name ?? ""]) }))
  );
  const rows = [...Map.groupBy(steps, ({ name }) => name)].map(([name, some]) => {
    const [repository, pipeline, job, step] = JSON.parse(name) as string[];
    const counts = Object.fromEntries(
      OUTCOMES.map((outcome) => [outcome, some.filter(({ step }) => step.outcome === outcome).length]),
    ) as Record<string, number>;
    const judged = sum(OUTCOMES.slice(0, 4).map((outcome) => counts[outcome] as number));
    const seconds = some.map(({ step }) => secondsOf(step)).filter((one) => one !== null);
    const success_rate = judged === 0 ? null : (counts["success"] as number) / judged;
    return {
      place: Math.min(...some.map(({ step }) => step.number ?? Infinity)),
      row: {
        repository,
        pipeline,
        job,
        step,
        runs: some.length,
        ...counts,
        success_rate,
        duration_p50_seconds: percentile(seconds, 0.5),
        duration_p75_seconds: percentile(seconds, 0.75),
        duration_p95_seconds: percentile(seconds, 0.95),
        jobs: jobs.length,
        sampled_jobs: sample.length,
        reason: success_rate === null || seconds.length === 0 ? "too_few" : null,
        is_frozen: false,
      } as NumberRow,
    };
  });
  if (rows.length > 0) {
    const place = ({ place }: typeof rows[number]) => place === Infinity ? 0 : place;
    return rows.sort((a, b) =>
      compareJobs(a.row, b.row) || place(a) - place(b) || compareText(String(a.row["step"]), String(b.row["step"]))
    ).map(({ row }) => row);
  }
  const durations = ["duration_p50_seconds", "duration_p75_seconds", "duration_p95_seconds"];
  const columns = ["repository", "pipeline", "job", "step", "runs", ...OUTCOMES, "success_rate", ...durations];
  const isNobody = repositories === null || repositories.length === 0;
  return [{
    ...nothing([...columns, "sampled_jobs"], repositories),
    jobs: isNobody ? null : jobs.length,
    is_frozen: repositories === null ? null : false,
  }];
}

/** Minutes of jobs, and what they cost. */
export function pipelineCost(world: Seen, given: Record<string, unknown>): NumberRow[] {
  const asked = askedOf(world, given, ["nothing", "repository", "pipeline", "job", "runner"]);
  const repositories = repositoriesAsked(world, asked);
  const columns = ["jobs", "minutes", "billed_minutes", "unpriced_minutes", "cost", "currency", "is_frozen"];
  if (repositories === null) {
    return asked.buckets.map(({ start }) => ({
      bucket_start: start,
      name: null,
      ...Object.fromEntries(columns.map((column) => [column, null])),
      reason: "unknown_service",
    }));
  }
  const nameOf = (job: Timed) => {
    const [repository, pipeline, name] = namesList(job) as [string, string, string];
    if (asked.by === "runner") return runnerOf(job.row).join(",");
    return [repository, pipeline, ...(asked.by === "job" ? [name] : [])].join(" / ");
  };
  const rows = grouped(world, asked, repositories, finishedJobs(world, repositories), nameOf, (here) => {
    const used = here.map(({ row, at }) => {
      const minutes = Number(row["duration_seconds"] ?? 0) / 60;
      const week = startOf(dateOf(Number(at), world.zone), "week");
      const price = priceOf(world.prices, runnerOf(row), week);
      const billed = price === null ? 0 : price.is_hosted ? Math.ceil(minutes) : minutes;
      return { minutes, price, billed, cost: billed * (price?.price_per_minute ?? 0) };
    });
    const priced = used.filter(({ price }) => price !== null);
    const unpriced = used.filter(({ price }) => price === null);
    return {
      jobs: used.length,
      minutes: used.length === 0 ? null : sum(used.map(({ minutes }) => minutes)),
      billed_minutes: priced.length === 0 ? null : sum(priced.map(({ billed }) => billed)),
      unpriced_minutes: used.length === 0 ? null : sum(unpriced.map(({ minutes }) => minutes)),
      cost: priced.length === 0 ? null : sum(priced.map(({ cost }) => cost)),
      currency: priced.length === 0 ? null : "USD",
      is_frozen: false,
    };
  });
  return rows.map((row) => ({
    ...row,
    reason: row["jobs"] === 0 ? "too_few" : row["cost"] === null ? "no_price" : null,
  }));
}

function finishedJobs(world: Seen, repositories: readonly Repository[] | null): Timed[] {
  return rowsOf(world.tables, "jobs").flatMap((row) => {
    const repository = repositoryOf(world, row["repository"]);
    const time = timeText(row);
    if (row["status"] !== "finished" || time === null) return [];
    return repository === null || !repositories?.includes(repository) ? [] : [{ row, repository, at: instantOf(time) }];
  });
}

/** When a job ended, as far as anybody told. */
function timeText(row: Row): string | null {
  return textOf(row, "finished_at") ?? textOf(row, "started_at") ?? textOf(row, "queued_at");
}

function isInPeriod({ zone }: Seen, { since, until }: Asked): (job: Timed) => boolean {
  return ({ at }) => isIn(at, { from: since, to: until }, zone);
}

function isOfBranch({ branch }: Asked): (job: Timed) => boolean {
  return ({ row, repository }) => {
    const wanted = branch === "default" ? repository.default_branch : branch;
    return branch === null || (wanted !== null && row["branch"] === wanted);
  };
}

function namesList({ row, repository }: Timed): string[] {
  return [repository.name, textOf(row, "pipeline") ?? "", textOf(row, "name") ?? ""];
}

function nameOfJob(job: Timed): string {
  return JSON.stringify(namesList(job));
}

function namesOf(name: string): { repository: string; pipeline: string; job: string } {
  const [repository, pipeline, job] = JSON.parse(name) as [string, string, string];
  return { repository, pipeline, job };
}

function compareJobs(a: NumberRow, b: NumberRow): number {
  return ["repository", "pipeline", "job"].map((column) => compareText(String(a[column]), String(b[column])))
    .find((order) => order !== 0) ?? 0;
}

/** Orders numbers, infinite ones too. */
function compareNumbers(a: number, b: number): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function durationsOf(jobs: readonly Timed[]): number[] {
  return jobs.map(({ row }) => row["duration_seconds"]).filter((seconds) => typeof seconds === "number");
}

function runnerOf(row: Row): string[] {
  return [...((row["runner_labels"] ?? []) as unknown as string[])].sort(compareText);
}

interface Step {
  number?: number;
  name?: string;
  outcome?: string | null;
  started_at?: string | null;
  finished_at?: string | null;
}

function stepsOf(row: Row): Step[] {
  return JSON.parse(String(row["steps"])) as Step[];
}

function secondsOf({ started_at, finished_at }: Step): number | null {
  const [from, to] = [instantOf(started_at), instantOf(finished_at)];
  return from === null || to === null || to < from ? null : (to - from) / 1e6;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** The one row that says why there is none. */
function nothing(columns: readonly string[], repositories: readonly Repository[] | null): NumberRow {
  return {
    ...Object.fromEntries(columns.map((column) => [column, null])),
    reason: repositories === null ? "unknown_service" : "too_few",
  };
}
