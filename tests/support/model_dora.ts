/** The five DORA numbers. Part of the model. */

import { type Change, changesOf, orderOfRepository } from "./model_changes.ts";
import { type Cause, environmentsOf, fixesOf, incidentsOf, rollbacksOf, type Unlinked } from "./model_failures.ts";
import type { Order } from "./model_order.ts";
import {
  addDays,
  type Bucket,
  bucketBefore,
  dateOf,
  daysBetween,
  midnight,
  startOf,
  wholeWeeksIn,
} from "./model_periods.ts";
import { isExact, percentile, percentiles } from "./model_percentiles.ts";
import { type Asked, askedOf, type Group, groupsOf, isIn, servicesAsked } from "./model_selection.ts";
import { type Attempt, deploymentsOf, type Service, servicesOf } from "./model_services.ts";
import { type Repository, rowsOf, type Seen } from "./model_world.ts";

/** A row of a result, by its columns. */
export type NumberRow = Record<string, unknown>;

/** Everything that the five numbers are counted from. */
export interface Delivery {
  world: Seen;
  services: Service[];
  orders: Map<Repository, Order>;
  changes: Map<Service, Change[]>;
  causes: Cause[];
  unlinked: Unlinked[];
}

/** What one number is in one bucket of one group. */
type One = (delivery: Delivery, group: Group, asked: Asked, bucket: Bucket) => NumberRow;

const NUMBERS: Record<string, One> = {
  deployment_frequency: deploymentFrequency,
  change_lead_time: changeLeadTime,
  change_fail_rate: changeFailRate,
  failed_deployment_recovery_time: recoveryTime,
  deployment_rework_rate: reworkRate,
};

/** Columns of each number beside those of every row; the first is what `dora` gives as its value. */
const COLUMNS: Record<string, string[]> = {
  deployment_frequency: [
    "deployments_per_day",
    "deployments",
    "deployment_days_per_week",
    "redeploys",
    "failed_attempts",
    "deployment_failure_rate",
  ],
  change_lead_time: [
    "p50_seconds",
    "p75_seconds",
    "p95_seconds",
    "changes",
    "is_exact",
    "basis",
    "excluded",
    "unknown_commits",
    "truncated_pushes",
  ],
  change_fail_rate: ["rate", "deployments", "failed_changes", "causes", "unlinked_incidents"],
  failed_deployment_recovery_time: [
    "p50_seconds",
    "p75_seconds",
    "p95_seconds",
    "recovered",
    "open_failures",
    "is_exact",
  ],
  deployment_rework_rate: ["rate", "deployments", "rework_deployments"],
};

const UNITS: Record<string, string> = {
  deployment_frequency: "deployments per day",
  change_lead_time: "seconds",
  change_fail_rate: "ratio",
  failed_deployment_recovery_time: "seconds",
  deployment_rework_rate: "ratio",
};

const SAMPLES: Record<string, string> = {
  deployment_frequency: "deployments",
  change_lead_time: "changes",
  change_fail_rate: "deployments",
  failed_deployment_recovery_time: "recovered",
  deployment_rework_rate: "deployments",
};

/** The names of the five, in the order in which `dora` gives them. */
export const METRICS: string[] = Object.keys(NUMBERS);

/** The rows of one of the five numbers. */
export function oneNumber(world: Seen, metric: string, given: Record<string, unknown>): NumberRow[] {
  const asked = askedOf(world, given, ["nothing", "service", "repository"]);
  const delivery = deliveryOf(world);
  const services = servicesAsked(world, delivery.services, asked);
  if (services === null) return asked.buckets.map((bucket) => unknown(metric, bucket));
  const grouped = { ...asked, by: services.length === 0 ? "nothing" : asked.by };
  return groupsOf(services, grouped.by).flatMap((group) =>
    asked.buckets.map((bucket) => numberOf(metric, delivery, group, grouped, bucket))
  );
}

/** All five, each with its band and what it was before. */
export function dora(world: Seen, given: Record<string, unknown>): NumberRow[] {
  const asked = askedOf(world, given, ["nothing", "service", "repository"]);
  const delivery = deliveryOf(world);
  const services = servicesAsked(world, delivery.services, asked);
  if (services === null) {
    return asked.buckets.flatMap((bucket) =>
      METRICS.map((metric) => ({ ...doraRow(metric, unknown(metric, bucket), null), notes: null, is_exact: null }))
    );
  }
  const grouped = { ...asked, by: services.length === 0 ? "nothing" : asked.by };
  return groupsOf(services, grouped.by).flatMap((group) =>
    asked.buckets.flatMap((bucket, i) =>
      METRICS.map((metric) => {
        const before = asked.buckets[i - 1] ?? bucketBefore(bucket, asked.bucket);
        const previous = numberOf(metric, delivery, group, grouped, before);
        return doraRow(metric, numberOf(metric, delivery, group, grouped, bucket), valueOf(metric, previous));
      })
    )
  );
}

/** Everything that the numbers of all services that the caller sees are counted from. */
export function deliveryOf(world: Seen): Delivery {
  const services = servicesOf(world);
  const orders = new Map(world.repositories.map((one) => [one, orderOfRepository(world, one)]));
  const orderOf = ({ repository }: Service) => orders.get(repository) as Order;
  const changes = new Map(services.map((service) => [service, changesOf(world, service, orderOf(service))]));
  const incidents = incidentsOf(world, services);
  const causes = services.flatMap((service) => [
    ...rollbacksOf(service, orderOf(service)),
    ...fixesOf(world, service, changes.get(service) as Change[]),
  ]);
  return { world, services, orders, changes, causes: [...causes, ...incidents.causes], unlinked: incidents.unlinked };
}

function numberOf(metric: string, delivery: Delivery, group: Group, asked: Asked, bucket: Bucket): NumberRow {
  const number = NUMBERS[metric] as One;
  return { bucket_start: bucket.start, name: group.name, ...number(delivery, group, asked, bucket) };
}

function unknown(metric: string, bucket: Bucket): NumberRow {
  const nothing = Object.fromEntries((COLUMNS[metric] as string[]).map((column) => [column, null]));
  return { bucket_start: bucket.start, name: null, ...nothing, reason: "unknown_service" };
}

function valueOf(metric: string, row: NumberRow): number | null {
  return row[COLUMNS[metric]?.[0] as string] as number | null;
}

function doraRow(metric: string, row: NumberRow, previous_value: number | null): NumberRow {
  const value = valueOf(metric, row);
  const band = bandOf(metric, row);
  const beside = (COLUMNS[metric] as string[]).slice(1).filter((column) => column !== "is_exact");
  return {
    bucket_start: row["bucket_start"],
    name: row["name"],
    metric,
    value,
    unit: UNITS[metric],
    reason: value === null ? row["reason"] : null,
    band,
    band_reason: band !== null ? null : metric === "deployment_rework_rate" ? "no_band" : row["reason"],
    sample_size: row[SAMPLES[metric] as string],
    previous_value,
    trend: value === null || previous_value === null ? null : value - previous_value,
    is_exact: row["is_exact"] ?? true,
    notes: Object.fromEntries(beside.map((column) => [column, row[column]])),
  };
}

const DAY = 86_400;

/** The band of DORA's report of 2023. */
function bandOf(metric: string, row: NumberRow): string | null {
  const value = valueOf(metric, row);
  if (metric === "deployment_frequency") {
    const days = row["deployment_days_per_week"] as number | null;
    if (days === null || value === null) return null;
    if (days >= 5) return "elite";
    return days >= 1 ? "high" : value * 30 >= 1 ? "medium" : "low";
  }
  if (value === null) return null;
  const upTo = (limits: number[], isBelow: (limit: number) => boolean) =>
    ["elite", "high", "medium", "low"][[...limits, Infinity].findIndex(isBelow)] as string;
  if (metric === "change_lead_time") return upTo([DAY, 7 * DAY, 30 * DAY], (limit) => value < limit);
  if (metric === "change_fail_rate") return upTo([0.05, 0.1, 0.15], (limit) => value <= limit);
  if (metric === "failed_deployment_recovery_time") return upTo([DAY / 24, DAY, 7 * DAY], (limit) => value < limit);
  return null;
}

function deploymentFrequency({ world }: Delivery, group: Group, asked: Asked, bucket: Bucket): NumberRow {
  const ever = deployments(group, asked);
  const here = ever.filter(({ at }) => isIn(at, bucket, world.zone));
  const failed_attempts = group.services.flatMap(({ attempts }) => attempts)
    .filter((attempt) => attempt.outcome === "failed" && isOfEnvironment(attempt, asked))
    .filter(({ at }) => isIn(at, bucket, world.zone)).length;
  const again = group.services.flatMap(environmentsOf)
    .flatMap((list) => list.filter(({ sha }, i) => sha !== null && sha === list[i - 1]?.sha));
  const isNever = !ever.some(({ at }) => at < midnight(bucket.to, world.zone));
  const days = daysUntilToday(world, bucket);
  const perWeek = isNever ? null : daysPerWeek(world, ever, bucket);
  return {
    deployments: isNever ? null : here.length,
    deployments_per_day: isNever || days === 0 ? null : here.length / days,
    deployment_days_per_week: perWeek,
    redeploys: isNever ? null : again.filter((attempt) => here.includes(attempt)).length,
    failed_attempts,
    deployment_failure_rate: ratio(failed_attempts, failed_attempts + here.length),
    reason: isNever ? "no_deployments" : perWeek === null ? "too_few" : null,
  };
}

function daysUntilToday(world: Seen, { from, to }: Bucket): number {
  const tomorrow = addDays(dateOf(world.now, world.zone), 1);
  return Math.max(0, daysBetween(from, to < tomorrow ? to : tomorrow));
}

/** The median, over whole weeks since the first deployment, of the days on which something was deployed. */
function daysPerWeek(world: Seen, ever: Attempt[], bucket: Bucket): number | null {
  const dates = ever.map(({ at }) => dateOf(at, world.zone)).sort();
  const weeks = wholeWeeksIn(bucket).filter((monday) =>
    monday >= startOf(dates[0] as string, "week") && midnight(addDays(monday, 7), world.zone) <= world.now
  );
  const counts = weeks.map((monday) =>
    new Set(dates.filter((date) => date >= monday && date < addDays(monday, 7))).size
  );
  return percentile(counts, 0.5);
}

function changeLeadTime(delivery: Delivery, group: Group, asked: Asked, bucket: Bucket): NumberRow {
  const { world, orders } = delivery;
  const isHere = (instant: number | null) => isIn(instant, bucket, world.zone);
  const changes = changesOfGroup(delivery, group, asked);
  const inEnvironment = changes.filter(({ shipped }) => shipped === null || isOfEnvironment(shipped, asked));
  const counted = inEnvironment.filter(isCounted).filter(({ shipped }) => isHere(shipped.at));
  const excluded = inEnvironment.filter(({ exclusion, shipped, start }) =>
    exclusion !== null && isHere(["rewritten", "order_unknown"].includes(exclusion) ? start : shipped?.at ?? null)
  );
  const here = deployments(group, asked).filter(({ at }) => isHere(at));
  const firsts = group.services.map((service) => deploymentsOf(service)[0]);
  const moves = group.repositories.flatMap((repository) => (orders.get(repository) as Order).moves);
  const isKnown = ({ service, sha }: Attempt) =>
    sha !== null && (orders.get(service.repository) as Order).places.has(sha);
  return {
    ...percentiles(counted.map(({ start, shipped }) => (shipped.at - start) / 1e6), isExactCall(delivery, asked)),
    changes: counted.length,
    is_exact: isExactCall(delivery, asked),
    basis: countsOf(counted.map(({ basis }) => basis)),
    excluded: countsOf(excluded.map(({ exclusion }) => exclusion)),
    unknown_commits: here.filter((deployment) => !isKnown(deployment)).length,
    truncated_pushes: moves.filter(({ is_truncated, pushed_at }) => is_truncated && isHere(pushed_at)).length,
    reason: counted.length > 0
      ? null
      : here.length === 0
      ? "no_deployments"
      : here.every((deployment) => firsts.includes(deployment))
      ? "only_first_deployment"
      : changes.length === 0
      ? "no_changes_seen"
      : "too_few",
  };
}

/** Whether few enough changes take part in the whole call. */
function isExactCall(delivery: Delivery, asked: Asked): boolean {
  const services = servicesAsked(delivery.world, delivery.services, asked) ?? [];
  const all = { name: null, services, repositories: [] };
  const changes = changesOfGroup(delivery, all, asked).filter(isCounted);
  const period = { from: asked.since, to: asked.until };
  const inPeriod = changes.filter(({ shipped }) =>
    isIn(shipped.at, period, delivery.world.zone) && isOfEnvironment(shipped, asked)
  );
  return isExact(inPeriod.length);
}

/** Every change of a group: commits of merges, and what was taken off again, are none. */
function changesOfGroup({ changes }: Delivery, { services }: Group, asked: Asked): Change[] {
  return services.flatMap((service) => changes.get(service) as Change[]).filter((change) =>
    change.exclusion !== "merge_commit" && change.exclusion !== "taken_off" && (asked.bots || !change.is_bot)
  );
}

function isCounted(change: Change): change is Change & { start: number; shipped: Attempt } {
  return change.exclusion === null && change.shipped !== null && change.start !== null;
}

function changeFailRate(delivery: Delivery, group: Group, asked: Asked, bucket: Bucket): NumberRow {
  const { world, causes } = delivery;
  const here = deployments(group, asked).filter(({ at }) => isIn(at, bucket, world.zone));
  const mine = causes.filter(({ failed }) => here.includes(failed));
  const failed = new Set(mine.map(({ failed }) => failed)).size;
  const byCause = Map.groupBy(mine, ({ cause }) => cause);
  const isUnknown = here.length === 0 || (failed === 0 && hasNoIncidents(delivery));
  return {
    deployments: here.length,
    failed_changes: failed,
    rate: isUnknown ? null : failed / here.length,
    causes: Object.fromEntries(
      [...byCause].map(([cause, some]) => [cause, new Set(some.map(({ failed }) => failed)).size]),
    ),
    unlinked_incidents: unlinkedOf(delivery, group, asked)
      .filter(({ opened_at }) => isIn(opened_at, bucket, world.zone)).length,
    reason: here.length === 0 ? "no_deployments" : isUnknown ? "no_incident_source" : null,
  };
}

/** Incidents that may have been about the group, but fit no deployment. */
function unlinkedOf({ unlinked }: Delivery, group: Group, asked: Asked): Unlinked[] {
  return unlinked.filter(({ service, repository }) => {
    if (service !== null) return group.services.includes(service);
    if (asked.by === "service" || asked.service !== null) return false;
    if (repository !== null) return group.repositories.includes(repository);
    return asked.by === "nothing" && asked.repository === null && asked.team === null;
  });
}

function hasNoIncidents({ world }: Delivery): boolean {
  return rowsOf(world.tables, "incidents").length === 0;
}

function recoveryTime(delivery: Delivery, group: Group, asked: Asked, bucket: Bucket): NumberRow {
  const isHere = (instant: number | null) => isIn(instant, bucket, delivery.world.zone);
  const failures = failuresOf(delivery, group, asked);
  const seconds = failures.filter(({ recovered_at }) => isHere(recovered_at))
    .map(({ seconds }) => seconds).filter((one) => one !== null);
  const exact = isExactRecovery(delivery, asked);
  return {
    ...percentiles(seconds, exact),
    recovered: seconds.length,
    open_failures: failures.filter(({ failed, recovered_at }) => recovered_at === null && isHere(failed.at)).length,
    is_exact: exact,
    reason: seconds.length > 0
      ? null
      : hasNoIncidents(delivery) && !failures.some(({ failed }) => isHere(failed.at))
      ? "no_incident_source"
      : deployments(group, asked).length === 0
      ? "no_deployments"
      : "too_few",
  };
}

interface Failure {
  failed: Attempt;
  recovered_at: number | null;
  seconds: number | null;
}

/** Each failed change with its end, the first of what ended it. */
function failuresOf({ causes }: Delivery, group: Group, asked: Asked): Failure[] {
  const mine = causes.filter(({ failed }) => group.services.includes(failed.service) && isOfEnvironment(failed, asked));
  return [...Map.groupBy(mine, ({ failed }) => failed)].map(([failed, some]) => {
    const ends = some.map(({ ended_at }) => ended_at).filter((end) => end !== null);
    const recovered_at = ends.length === 0 ? null : Math.min(...ends);
    const seconds = recovered_at === null || recovered_at < failed.at ? null : (recovered_at - failed.at) / 1e6;
    return { failed, recovered_at, seconds };
  });
}

function isExactRecovery(delivery: Delivery, asked: Asked): boolean {
  const services = servicesAsked(delivery.world, delivery.services, asked) ?? [];
  const failures = failuresOf(delivery, { name: null, services, repositories: [] }, asked);
  const period = { from: asked.since, to: asked.until };
  return isExact(failures.filter(({ recovered_at }) => isIn(recovered_at, period, delivery.world.zone)).length);
}

function reworkRate({ world, causes }: Delivery, group: Group, asked: Asked, bucket: Bucket): NumberRow {
  const here = deployments(group, asked).filter(({ at }) => isIn(at, bucket, world.zone));
  const rework_deployments = here.filter((deployment) => causes.some(({ by }) => by === deployment)).length;
  return {
    deployments: here.length,
    rework_deployments,
    rate: ratio(rework_deployments, here.length),
    reason: here.length === 0 ? "no_deployments" : null,
  };
}

/** Successful production deployments of a group, ever. */
function deployments({ services }: Group, asked: Asked): Attempt[] {
  return services.flatMap(deploymentsOf).filter((deployment) => isOfEnvironment(deployment, asked));
}

function isOfEnvironment({ environment }: Attempt, asked: Asked): boolean {
  return asked.environment === null || environment === asked.environment;
}

/** Nothing of nothing is not known. */
export function ratio(part: number, whole: number): number | null {
  return whole === 0 ? null : part / whole;
}

function countsOf(words: readonly (string | null)[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const word of words) if (word !== null) counts[word] = (counts[word] ?? 0) + 1;
  return counts;
}
