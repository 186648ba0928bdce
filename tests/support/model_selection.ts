/** What a call of a number asks for: a period in buckets, and the repositories and services that take part. Part of the model. */

import { addDays, type Bucket, type BucketSize, bucketsOf, dateOf, midnight } from "./model_periods.ts";
import type { Service } from "./model_services.ts";
import { compareText } from "./model_values.ts";
import type { Repository, Seen } from "./model_world.ts";

/** The arguments of a call, with their defaults. */
export interface Asked {
  since: string;
  until: string;
  bucket: BucketSize;
  buckets: Bucket[];
  by: string;
  service: string | null;
  repository: string | null;
  team: string | null;
  environment: string | null;
  branch: string | null;
  bots: boolean;
}

/** Says that the arguments of a call make no sense. */
export class BadArguments extends Error {}

/** Some of the selected services, or repositories, whose numbers are one row. */
export interface Group {
  name: string | null;
  services: Service[];
  repositories: Repository[];
}

/**
 * The arguments of a call.
 *
 * @param known what rows may be grouped by
 * @throws {BadArguments}
 */
export function askedOf(world: Seen, given: Record<string, unknown>, known: readonly string[]): Asked {
  const text = (name: string) => (given[name] ?? null) as string | null;
  const until = text("until") ?? addDays(dateOf(world.now, world.zone), 1);
  const since = text("since") ?? addDays(until, -90);
  const bucket = text("bucket") ?? "none";
  const by = text("by") ?? "nothing";
  if (since >= until) throw new BadArguments(`since ${since} is not before until ${until}`);
  if (addDays(since, 3660) < until) throw new BadArguments(`${since} to ${until} is longer than 3,660 days`);
  if (!["day", "week", "month", "none"].includes(bucket)) throw new BadArguments(`no bucket ${bucket}`);
  if (!known.includes(by)) throw new BadArguments(`no group ${by}`);
  return {
    since,
    until,
    bucket: bucket as BucketSize,
    buckets: bucketsOf(since, until, bucket as BucketSize),
    by,
    service: text("service"),
    repository: text("repository"),
    team: text("team"),
    environment: text("environment"),
    branch: text("branch"),
    bots: (given["bots"] ?? true) as boolean,
  };
}

/** Whether a moment lies in a bucket. */
export function isIn(instant: number | null, { from, to }: Pick<Bucket, "from" | "to">, zone: string): boolean {
  return instant !== null && instant >= midnight(from, zone) && instant < midnight(to, zone);
}

/** The repositories that are asked for; NULL where none is known by that name. */
export function repositoriesAsked(world: Seen, { repository, team }: Asked): Repository[] | null {
  const chosen = world.repositories.filter(({ key, name, references }) =>
    (repository === null || name === repository || references.includes(repository)) &&
    (team === null || world.teams.get(team)?.has(key) === true)
  );
  return chosen.length === 0 && (repository !== null || team !== null) ? null : chosen;
}

/** The services that are asked for; NULL where none is known by that name. */
export function servicesAsked(world: Seen, services: readonly Service[], asked: Asked): Service[] | null {
  const repositories = repositoriesAsked(world, asked);
  if (repositories === null) return null;
  const chosen = services.filter(({ name, repository }) =>
    repositories.includes(repository) && (asked.service === null || name === asked.service)
  );
  return chosen.length === 0 && asked.service !== null ? null : chosen;
}

/** Services in the groups that are asked for, in the order of names. */
export function groupsOf(services: readonly Service[], by: string): Group[] {
  const groups = by === "nothing"
    ? [{ name: null, services: [...services] }]
    : [...Map.groupBy(services, (service) => by === "service" ? service : service.repository)]
      .map(([{ name }, some]) => ({ name, services: some }));
  return groups
    .map((group) => ({ ...group, repositories: [...new Set(group.services.map(({ repository }) => repository))] }))
    .sort((a, b) => compareText(a.name ?? "", b.name ?? ""));
}
