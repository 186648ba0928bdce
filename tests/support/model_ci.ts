/** The numbers of pipelines, jobs, pull requests and rules: what needs no deployments, or few. Part of the model. */

import type { Row } from "./model.ts";
import { deliveryOf, type NumberRow, ratio } from "./model_dora.ts";
import { type Change, changesOf } from "./model_changes.ts";
import type { Order } from "./model_order.ts";
import { type Bucket, instantOf } from "./model_periods.ts";
import { isExact, percentile, type Percentiles, percentiles } from "./model_percentiles.ts";
import { type Asked, askedOf, isIn, repositoriesAsked } from "./model_selection.ts";
import { deploymentsOf } from "./model_services.ts";
import { type Repository, repositoryOf, rowsOf, type Seen, textOf } from "./model_world.ts";
import { compareText } from "./model_values.ts";

const OUTCOMES = ["success", "failure", "timed_out", "error", "cancelled", "skipped", "neutral", "unknown"];

/** Outcomes that a rate is about; the rest is counted beside it. */
const JUDGED = OUTCOMES.slice(0, 4);

const SPANS = [
  ...["duration_p50", "duration_p75", "duration_p95", "queue_p50", "queue_p75", "queue_p95"].map((name) =>
    `${name}_seconds`
  ),
  "duration_sample_size",
  "queue_sample_size",
];

/** A fact with the repository that it is about and the moment that decides its bucket. */
export interface Timed {
  row: Row;
  repository: Repository;
  at: number | null;
}

/** Success, durations and queue times of pipeline runs. */
export function pipelineHealth(world: Seen, given: Record<string, unknown>): NumberRow[] {
  const asked = askedOf(world, given, ["nothing", "repository", "pipeline"]);
  const rates = ["success_rate", "first_try_success_rate", "final_success_rate", "rerun_rate"];
  const repositories = repositoriesAsked(world, asked);
  const columns = ["runs", ...OUTCOMES, ...rates, ...SPANS, "is_exact"];
  if (repositories === null) return unknown(asked, columns);

  const finished = timedOf(world, "pipeline_runs").filter(({ row }) => row["status"] === "finished");
  const tries = triesOf(finished);
  const runs = finished
    .filter(({ row }) => asked.bots || row["actor_is_bot"] !== true)
    .filter(({ row }) =>
      asked.branch === null ||
      (asked.branch === "default" ? row["on_default_branch"] === true : row["branch"] === asked.branch)
    );
  const nameOf = ({ row, repository }: Timed) => `${repository.name} / ${row["pipeline"] ?? ""}`;
  return grouped(world, asked, repositories, runs, nameOf, (here, exact) => {
    const first = here.filter((run) => tries.get(run)?.is_first);
    const last = here.filter((run) => tries.get(run)?.is_last);
    return {
      ...health(here, exact),
      first_try_success_rate: successRate(first),
      final_success_rate: successRate(last),
      rerun_rate: ratio(here.length - first.length, here.length),
    };
  });
}

/** Success, durations and queue times of jobs. */
export function jobHealth(world: Seen, given: Record<string, unknown>): NumberRow[] {
  const asked = askedOf(world, given, ["nothing", "repository", "pipeline", "job"]);
  const repositories = repositoriesAsked(world, asked);
  if (repositories === null) {
    return unknown(asked, ["runs", ...OUTCOMES, "success_rate", ...SPANS, "is_exact", "is_frozen"]);
  }
  const jobs = timedOf(world, "jobs")
    .filter(({ row }) => row["status"] === "finished")
    .filter(({ row, repository }) => {
      const branch = asked.branch === "default" ? repository.default_branch : asked.branch;
      return asked.branch === null || (branch !== null && row["branch"] === branch);
    });
  const nameOf = ({ row, repository }: Timed) =>
    [repository.name, row["pipeline"] ?? "", ...(asked.by === "job" ? [row["name"] ?? ""] : [])].join(" / ");
  return grouped(
    world,
    asked,
    repositories,
    jobs,
    nameOf,
    (here, exact) => ({ ...health(here, exact), is_frozen: false }),
  );
}

/** How long the phases of merged pull requests took. */
export function pullRequestCycleTime(world: Seen, given: Record<string, unknown>): NumberRow[] {
  const asked = askedOf(world, given, ["nothing", "repository"]);
  const repositories = repositoriesAsked(world, asked);
  const withPhase = (rows: NumberRow[]) =>
    rows.flatMap((row) =>
      PHASES.map((phase) => ({ bucket_start: row["bucket_start"], name: row["name"], phase, ...row }))
    );
  if (repositories === null) {
    return withPhase(
      unknown(asked, ["p50_seconds", "p75_seconds", "p95_seconds", "sample_size", "pull_requests", "is_exact"]),
    );
  }
  const delivery = deliveryOf(world);
  const deployments = delivery.services.flatMap(deploymentsOf);
  const changes = new Map(repositories.map((repository) => [
    repository,
    delivery.services.filter((service) => service.repository === repository)
      .flatMap((service) => changesOf(world, service, delivery.orders.get(repository) as Order)),
  ]));
  const merged = rowsOf(world.tables, "pull_requests")
    .filter((row) => asked.bots || row["author_is_bot"] !== true)
    .flatMap((row) => {
      const repository = repositoryOf(world, row["repository"]);
      const at = instantOf(row["merged_at"]);
      return repository === null || at === null || !repositories.includes(repository) ? [] : [{ row, repository, at }];
    });
  const inPeriod = merged.filter(({ at }) => isIn(at, { from: asked.since, to: asked.until }, world.zone));
  const exact = isExact(inPeriod.length);

  const groups = asked.by === "nothing"
    ? [{ name: null, some: repositories }]
    : repositories.map((repository) => ({ name: repository.name, some: [repository] }));
  return groups.sort((a, b) => compareText(a.name ?? "", b.name ?? "")).flatMap(({ name, some }) =>
    asked.buckets.flatMap((bucket) => {
      const here = merged.filter(({ repository, at }) => some.includes(repository) && isIn(at, bucket, world.zone));
      const isDeployed = deployments.some(({ service }) => some.includes(service.repository));
      return PHASES.map((phase) => {
        const lengths = here
          .map((one) => phaseOf(phase, one.row, deployedAt(one, changes)))
          .filter((seconds) => seconds !== null);
        return {
          bucket_start: bucket.start,
          name,
          phase,
          ...percentiles(lengths, exact),
          sample_size: lengths.length,
          pull_requests: here.length,
          reason: lengths.length > 0 ? null : phase === "deploy" && !isDeployed ? "no_deployments" : "too_few",
          is_exact: exact,
        };
      });
    })
  );
}

const PHASES = ["coding", "pickup", "review", "merge", "deploy", "total"];

function phaseOf(phase: string, row: Row, deployed: number | null): number | null {
  const time = (column: string) => instantOf(row[column]);
  const ends: Record<string, [number | null, number | null]> = {
    coding: [time("first_commit_at"), time("opened_at")],
    pickup: [time("ready_at"), time("first_review_at")],
    review: [time("first_review_at"), time("approved_at")],
    merge: [time("approved_at"), time("merged_at")],
    deploy: [time("merged_at"), deployed],
    total: [time("first_commit_at") ?? time("opened_at"), time("merged_at")],
  };
  const [from, to] = ends[phase] as [number | null, number | null];
  return from === null || to === null || to < from ? null : (to - from) / 1e6;
}

/**
 * When the commit that a pull request became first reached production, with one of the services that it changes. Of several that became one
 * commit it is told of that of the least number.
 */
function deployedAt(
  { row, repository }: { row: Row; repository: Repository },
  changes: Map<Repository, Change[]>,
): number | null {
  const sha = textOf(row, "merge_sha");
  const times = (changes.get(repository) ?? [])
    .filter(({ sha: changed, pullRequest }) =>
      changed === sha && pullRequest?.["number"] === row["number"] && pullRequest?.["repository"] === row["repository"]
    )
    .map(({ shipped }) => shipped?.at);
  return times.reduce<number | null>((first, at) => at === undefined ? first : Math.min(first ?? at, at), null);
}

/** How much of what rules ask for is kept. */
export function ruleCompliance(world: Seen, given: Record<string, unknown>): NumberRow[] {
  const asked = askedOf(world, given, ["nothing", "repository", "category", "rule"]);
  const repositories = repositoriesAsked(world, asked);
  if (repositories === null) return unknown(asked, ["compliant", "violation", "warning", "checks", "rate"]);
  const checks = rowsOf(world.tables, "rule_checks").flatMap((row) => {
    const repository = repositoryOf(world, row["repository"]);
    return repository === null ? [] : [{ row, repository, at: instantOf(row["checked_at"]) }];
  });
  const nameOf = ({ row }: Timed) => textOf(row, asked.by) ?? "";
  return grouped(world, asked, repositories, checks, nameOf, (here) => {
    const count = (status: string) => here.filter(({ row }) => row["status"] === status).length;
    return {
      compliant: count("compliant"),
      violation: count("violation"),
      warning: count("warning"),
      checks: count("compliant") + count("violation") + count("warning"),
      rate: ratio(count("compliant"), count("compliant") + count("violation") + count("warning")),
    };
  });
}

/** How many of the tests that ran passed. */
export function testHealth(world: Seen, given: Record<string, unknown>): NumberRow[] {
  const asked = askedOf(world, given, ["nothing", "repository", "suite"]);
  const repositories = repositoriesAsked(world, asked);
  const columns = ["runs", "passed", "failed", "skipped", "pass_rate", "duration_p50_seconds", "duration_p95_seconds"];
  if (repositories === null) return unknown(asked, columns);
  const runs = rowsOf(world.tables, "test_runs").flatMap((row) => {
    const repository = repositoryOf(world, row["repository"]);
    return repository === null ? [] : [{ row, repository, at: instantOf(row["started_at"]) }];
  });
  const nameOf = ({ row, repository }: Timed) => `${repository.name} / ${row["suite"] ?? ""}`;
  return grouped(world, asked, repositories, runs, nameOf, (here) => {
    const sum = (column: string) => here.reduce((total, { row }) => total + Number(row[column] ?? 0), 0);
    // A test that ended in an error of its machinery did not pass.
    const failed = sum("failed_count") + sum("error_count");
    const seconds = here.map(({ row }) => row["duration_seconds"]).filter((value) => typeof value === "number");
    return {
      runs: here.length,
      passed: sum("passed_count"),
      failed,
      skipped: sum("skipped_count"),
      pass_rate: ratio(sum("passed_count"), sum("passed_count") + failed),
      duration_p50_seconds: percentile(seconds, 0.5),
      duration_p95_seconds: percentile(seconds, 0.95),
    };
  });
}

/** So long may pass between two ends of one thing that is flaky. */
export const WEEK = 7 * 86_400 * 1e6;

function timedOf(world: Seen, kind: string): Timed[] {
  return rowsOf(world.tables, kind).flatMap((row) => {
    const repository = repositoryOf(world, row["repository"]);
    return repository === null ? [] : [{ row, repository, at: timeOf(row) }];
  });
}

function timeOf(row: Row): number | null {
  return instantOf(row["finished_at"]) ?? instantOf(row["started_at"]) ?? instantOf(row["queued_at"]);
}

/** Whether a run is the first or the last try of its group. */
function triesOf(runs: readonly Timed[]): Map<Timed, { is_first: boolean; is_last: boolean }> {
  const groups = Map.groupBy(runs, (run) => {
    const group = textOf(run.row, "rerun_group");
    return group === null ? run : `${run.row["repository"]} ${group}`;
  });
  return new Map(
    [...groups.values()].flatMap((group) => {
      const tries = group.toSorted((a, b) =>
        beganAt(a) - beganAt(b) || Number(a.row["attempt"]) - Number(b.row["attempt"]) ||
        compareText(String(a.row["external_id"]), String(b.row["external_id"]))
      );
      return tries.map((run, i) => [run, { is_first: i === 0, is_last: i === tries.length - 1 }] as const);
    }),
  );
}

/** When a try began; one without a time comes last. */
function beganAt({ row }: Timed): number {
  return instantOf(row["queued_at"]) ?? instantOf(row["started_at"]) ?? instantOf(row["finished_at"]) ??
    Number.MAX_SAFE_INTEGER;
}

function health(here: readonly Timed[], exact: boolean): NumberRow {
  const measured = (column: string) =>
    here.map(({ row }) => row[column]).filter((seconds) => typeof seconds === "number");
  const spans = (column: string) => percentiles(measured(column), exact);
  return {
    runs: here.length,
    ...Object.fromEntries(OUTCOMES.map((outcome) => [outcome, countOf(here, outcome)])),
    success_rate: successRate(here),
    ...prefixed("duration", spans("duration_seconds")),
    ...prefixed("queue", spans("queue_seconds")),
    duration_sample_size: measured("duration_seconds").length,
    queue_sample_size: measured("queue_seconds").length,
    is_exact: exact,
  };
}

function countOf(here: readonly Timed[], ...outcomes: string[]): number {
  return here.filter(({ row }) => outcomes.includes(String(row["outcome"]))).length;
}

function successRate(here: readonly Timed[]): number | null {
  return ratio(countOf(here, "success"), countOf(here, ...JUDGED));
}

function prefixed(prefix: string, spans: Percentiles): NumberRow {
  return Object.fromEntries(Object.entries(spans).map(([name, seconds]) => [`${prefix}_${name}`, seconds]));
}

/** A row for each group and bucket. A group by repository is there for each, any other where something is in the period. */
export function grouped(
  world: Seen,
  asked: Asked,
  repositories: readonly Repository[],
  facts: readonly Timed[],
  nameOf: (fact: Timed) => string,
  numbers: (here: Timed[], exact: boolean) => NumberRow,
): NumberRow[] {
  const isHere = (bucket: Pick<Bucket, "from" | "to">) => ({ at }: Timed) => isIn(at, bucket, world.zone);
  const mine = facts.filter(({ repository }) => repositories.includes(repository))
    .filter(isHere({ from: asked.since, to: asked.until }));
  const exact = isExact(mine.length);
  const groups: [string | null, Timed[]][] = asked.by === "nothing"
    ? [[null, mine]]
    : asked.by === "repository"
    ? repositories.map((repository) => [repository.name, mine.filter((fact) => fact.repository === repository)])
    : [...Map.groupBy(mine, nameOf)];
  return groups.sort(([a], [b]) => compareText(a ?? "", b ?? "")).flatMap(([name, some]) =>
    asked.buckets.map((bucket) => {
      const row = numbers(some.filter(isHere(bucket)), exact);
      const isIncomplete = Object.values(row).includes(null);
      return { bucket_start: bucket.start, name, ...row, reason: isIncomplete ? "too_few" : null };
    })
  );
}

/** The rows of what nobody knows. */
export function unknown(asked: Asked, columns: readonly string[]): NumberRow[] {
  const nothing = Object.fromEntries(columns.map((column) => [column, null]));
  return asked.buckets.map(({ start }) => ({ bucket_start: start, name: null, ...nothing, reason: "unknown_service" }));
}
