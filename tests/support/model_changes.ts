/** Changes: commits on the default branch, when their work began, and which deployment shipped them. Part of the model. */

import type { Row } from "./model.ts";
import { contains, type Order, orderOf } from "./model_order.ts";
import { instantOf } from "./model_periods.ts";
import { ownCommits } from "./model_pull_requests.ts";
import { type Attempt, deploymentsOf, type Service } from "./model_services.ts";
import { factsOf, type Repository, type Seen, textOf } from "./model_world.ts";
import { compareText } from "./model_values.ts";

/** What a change's start is taken from. */
export type Basis = "commit" | "first_commit" | "pull_request_opened";

/** Why a change does not count. */
export type Exclusion =
  | "merge_commit"
  | "taken_off"
  | "rewritten"
  | "first_deployment"
  | "start_unknown"
  | "start_after_shipping"
  | "order_unknown";

/** A commit of the default branch as a change of a service. */
export interface Change {
  sha: string;
  reverts: string[];
  pullRequest: Row | null;
  basis: Basis | null;
  start: number | null;
  is_bot: boolean;
  /** The first deployment that contains it. */
  shipped: Attempt | null;
  /** NULL for what counts, and for what still waits to be shipped. */
  exclusion: Exclusion | null;
}

/** Repositories with the order of their commits. */
export function orderOfRepository(world: Seen, repository: Repository): Order {
  return orderOf(factsOf(world, "pushes", repository), repository.default_branch);
}

/** Every commit that the default branch was told to have, as changes of a service. */
export function changesOf(world: Seen, service: Service, order: Order): Change[] {
  const { repository, rule } = service;
  const commits = commitsOf(world, repository);
  const history = {
    order,
    commits,
    pullRequests: factsOf(world, "pull_requests", repository),
    pushes: factsOf(world, "pushes", repository),
  };
  const deployments = deploymentsOf(service);
  return [...order.listed].sort(compareText)
    .filter((sha) => isOfService(commits.get(sha)?.changed_paths ?? null, rule?.path_globs ?? null))
    .map((sha) => {
      const begun = beginningOf(sha, history);
      const shipped = deployments.find((deployment) => contains(order, deployment.sha, sha)) ?? null;
      const exclusion = exclusionOf(sha, begun, shipped, deployments, order);
      return { sha, reverts: commits.get(sha)?.reverts ?? [], ...begun, shipped, exclusion };
    });
}

/** Whether a path matches a glob: `*` and `?` within a folder, `**` over folders, the whole path. */
export function matchesGlob(path: string, glob: string): boolean {
  const parts = glob.match(/\*\*\/|\*\*|\*|\?|[^*?]+/g) ?? [];
  const meanings: Record<string, string> = { "**/": "(.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]" };
  const pattern = parts.map((part) =>
    meanings[part] ?? part.replaceAll(/[^A-Za-z0-9/]/g, (sign) => `\\u{${hex(sign)}}`)
  );
  return new RegExp(`^${pattern.join("")}$`, "su").test(path);
}

interface Commit {
  authored_at: string | null;
  author_is_bot: boolean;
  reverts: string[];
  changed_paths: string[] | null;
}

interface History {
  order: Order;
  commits: Map<string, Commit>;
  pullRequests: Row[];
  pushes: Row[];
}

type Beginning = Pick<Change, "pullRequest" | "basis" | "start" | "is_bot">;

/** The commits of a repository. Where several references tell of one, the first that says a thing is believed. */
function commitsOf(world: Seen, repository: Repository): Map<string, Commit> {
  const rank = (row: Row) => repository.references.indexOf(row["repository"] as string);
  const rows = factsOf(world, "commits", repository).sort((a, b) => rank(a) - rank(b));
  return new Map(
    [...Map.groupBy(rows, (row) => row["sha"] as string)].map(([sha, told]) => {
      const first = (column: string) => told.map((row) => row[column] ?? null).find((value) => value !== null) ?? null;
      const times = told.map((row) => textOf(row, "authored_at")).filter((time) => time !== null);
      return [sha, {
        authored_at: times.sort(compareText)[0] ?? null,
        author_is_bot: first("author_is_bot") === true,
        reverts: (first("reverts") ?? []) as string[],
        changed_paths: first("changed_paths") as string[] | null,
      }];
    }),
  );
}

function isOfService(paths: string[] | null, globs: string[] | null): boolean {
  if (paths === null || globs === null || globs.length === 0) return true;
  return paths.some((path) => globs.some((glob) => matchesGlob(path, glob)));
}

/** When its work began. A basis of NULL is a merge commit, which is no change. */
function beginningOf(sha: string, { order, commits, pullRequests, pushes }: History): Beginning {
  const commit = commits.get(sha);
  const authored_at = commit?.authored_at ?? null;
  const itself: Beginning = {
    pullRequest: null,
    basis: "commit",
    start: instantOf(authored_at),
    is_bot: commit?.author_is_bot ?? false,
  };
  const isUnmerged = (one: { [column: string]: unknown }) => (one["merged_at"] ?? null) === null;
  const [pullRequest] = pullRequests.filter((one) => one["merge_sha"] === sha)
    .sort((a, b) =>
      Number(isUnmerged(a)) - Number(isUnmerged(b)) || Number(a["number"]) - Number(b["number"]) ||
      compareText(String(a["repository"]), String(b["repository"]))
    );
  if (pullRequest === undefined) return itself;

  const own = ownCommits(pullRequest, pullRequests, pushes);
  const isRebased = authored_at !== null && [...own].some((one) => commits.get(one)?.authored_at === authored_at);
  if (own.has(sha) || isRebased) return { ...itself, pullRequest };
  if ([...own].some((one) => order.places.has(one))) return { ...itself, pullRequest, basis: null };
  const first = instantOf(pullRequest["first_commit_at"]);
  return {
    pullRequest,
    basis: first === null ? "pull_request_opened" : "first_commit",
    start: first ?? instantOf(pullRequest["opened_at"]),
    is_bot: pullRequest["author_is_bot"] === true,
  };
}

function exclusionOf(
  sha: string,
  { basis, start }: Beginning,
  shipped: Attempt | null,
  deployments: Attempt[],
  order: Order,
): Exclusion | null {
  if (basis === null) return "merge_commit";
  const gone = order.gone.get(sha);
  if (gone !== undefined && shipped === null) return gone.how;
  if (shipped !== null && shipped === deployments[0]) return "first_deployment";
  if (start === null) return "start_unknown";
  if (shipped !== null) return start > shipped.at ? "start_after_shipping" : null;
  const line = order.places.get(sha)?.line;
  const isElsewhere = ({ sha, at }: Attempt) => {
    const place = sha === null ? undefined : order.places.get(sha);
    return place !== undefined && place.line !== line && at >= start;
  };
  return deployments.some(isElsewhere) ? "order_unknown" : null;
}

function hex(sign: string): string {
  return (sign.codePointAt(0) as number).toString(16);
}
