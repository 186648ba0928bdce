/** Failed changes: which deployments failed in production, by what, and when that ended. Part of the model. */

import type { Change } from "./model_changes.ts";
import { comparePlaces, type Order } from "./model_order.ts";
import { instantOf } from "./model_periods.ts";
import { type Attempt, compareAttempts, deploymentsOf, type Service } from "./model_services.ts";
import { type Repository, repositoryOf, rowsOf, type Seen, textOf } from "./model_world.ts";

/** One reason for which a deployment is a failed change. */
export interface Cause {
  failed: Attempt;
  cause: "rolled_back" | "incident" | "fixed_forward";
  /** The deployment that ended it, where one did. */
  by: Attempt | null;
  ended_at: number | null;
}

/** An incident that fits no deployment. */
export interface Unlinked {
  opened_at: number;
  service: Service | null;
  repository: Repository | null;
}

/** Deployments that put back what stood before an earlier one. */
export function rollbacksOf(service: Service, order: Order): Cause[] {
  return environmentsOf(service).flatMap((deployments) => {
    const known = deployments.map(({ sha }) => ({ sha, place: sha === null ? undefined : order.places.get(sha) }));
    return deployments.flatMap((by, k): Cause[] => {
      const back = known[k] as Known;
      const earlier = known.slice(0, k);
      const last = earlier.findLastIndex((one) => (compared(one, back) ?? (isSame(one, back) ? 0 : 1)) <= 0);
      const failed = earlier.findIndex((one, j) => {
        if (j <= last) return false;
        const order = compared(one, back);
        return order === null ? earlier.slice(0, j).some((before) => isSame(before, back)) : order > 0;
      });
      if (failed < 0) return [];
      return [{ failed: deployments[failed] as Attempt, cause: "rolled_back", by, ended_at: by.at }];
    });
  });
}

/** Deployments that ship the revert of a change, or a hotfix. */
export function fixesOf(world: Seen, service: Service, changes: readonly Change[]): Cause[] {
  const environments = environmentsOf(service);
  return changes.flatMap(({ shipped: by, reverts, pullRequest }): Cause[] => {
    if (by === null) return [];
    const reverted = changes.filter(({ sha }) => reverts.some((name) => isNameOf(name, sha)))
      .flatMap(({ shipped }) => shipped !== null && compareAttempts(shipped, by) < 0 ? [shipped] : []);
    const labels = ((pullRequest?.["labels"] ?? []) as string[]).map((label) => label.toLowerCase());
    const isHotfix = labels.some((label) => world.hotfix_labels.includes(label));
    const mine = environments.find((deployments) => deployments.includes(by)) ?? [];
    const before = mine[mine.indexOf(by) - 1];
    return [...reverted, ...(isHotfix && before !== undefined ? [before] : [])].map((failed) => ({
      failed,
      cause: "fixed_forward",
      by,
      ended_at: by.at,
    }));
  });
}

/** What incidents say: the deployments that they are about, and those that fit none. */
export function incidentsOf(world: Seen, services: readonly Service[]): { causes: Cause[]; unlinked: Unlinked[] } {
  const causes: Cause[] = [];
  const unlinked: Unlinked[] = [];
  for (const incident of rowsOf(world.tables, "incidents")) {
    const opened_at = instantOf(incident["opened_at"]);
    if (incident["is_withdrawn"] === true || opened_at === null) continue;

    const reference = textOf(incident, "repository");
    const repository = reference === null ? null : repositoryOf(world, reference);
    const called = textOf(incident, "service")?.toLowerCase() ?? null;
    const candidates = services.filter((service) =>
      repository === null ? service.name.toLowerCase() === called : service.repository === repository
    );
    const service = candidates.length === 1
      ? candidates[0]
      : candidates.find(({ name }) => name.toLowerCase() === called);
    const failed = namedBy(incident, candidates, opened_at) ?? lastBefore(world, service, opened_at);
    if (failed === null) unlinked.push({ opened_at, service: service ?? null, repository });
    else causes.push({ failed, cause: "incident", by: null, ended_at: instantOf(incident["resolved_at"]) });
  }
  return { causes, unlinked };
}

/** Successful deployments of each environment, in order. */
export function environmentsOf(service: Service): Attempt[][] {
  return [...Map.groupBy(deploymentsOf(service), ({ environment }) => environment).values()];
}

interface Known {
  sha: string | null;
  place: { line: number; move: number; index: number } | undefined;
}

/** The order of two deployed commits, NULL where it is unknown. */
function compared(a: Known, b: Known): number | null {
  if (a.place === undefined || b.place === undefined || a.place.line !== b.place.line) return null;
  return comparePlaces(a.place, b.place);
}

function isSame(a: Known, b: Known): boolean {
  return a.sha !== null && a.sha === b.sha;
}

/** Whether a full name of a commit, or at least seven digits of one, names this. */
function isNameOf(name: string, sha: string): boolean {
  return name === sha || (/^[0-9a-f]{7,}$/i.test(name) && sha.startsWith(name.toLowerCase()));
}

/** Which of two was begun first. */
function compareBeginnings(a: Attempt, b: Attempt): number {
  return a.began_at - b.began_at || compareAttempts(a, b);
}

/** The deployment that an incident names, or of several of its commit the last that was begun before it, else the first. */
function namedBy(
  incident: { [column: string]: unknown },
  services: readonly Service[],
  opened_at: number,
): Attempt | null {
  const deployments = services.flatMap(deploymentsOf).sort(compareBeginnings);
  const id = incident["deployment_external_id"] ?? null;
  const sha = incident["commit_sha"] ?? null;
  for (
    const named of [
      deployments.filter(({ ids }) => id !== null && ids.includes(String(id))),
      deployments.filter((deployment) => sha !== null && deployment.sha === sha),
    ]
  ) {
    const begun = named.filter(({ began_at }) => began_at <= opened_at);
    const one = begun.at(-1) ?? named[0];
    if (one !== undefined) return one;
  }
  return null;
}

/** The last deployment that had begun before an incident, if that is not too long ago. */
function lastBefore(world: Seen, service: Service | undefined, opened_at: number): Attempt | null {
  const begun = service === undefined ? [] : deploymentsOf(service)
    .filter(({ began_at }) => began_at < opened_at)
    .sort(compareBeginnings);
  const last = begun.at(-1);
  if (last === undefined || opened_at - last.began_at > world.incident_window_seconds * 1e6) return null;
  return last;
}
