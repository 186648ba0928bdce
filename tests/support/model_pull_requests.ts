/** What is derived for a pull request from its reviews, pushes and commits. Part of the model. */

import type { Row, Tables } from "./model.ts";
import { compareText, type Value } from "./model_values.ts";

/** Adds `first_review_at`, `approved_at`, `ready_at` and `first_commit_at` to each pull request, in place. */
export function derivePullRequests(tables: Tables): void {
  const means = new Map((tables["repository_references"] ?? []).map((row) => [row["reference"], row["repository"]]));
  const pullRequests = tables["pull_requests"] ?? [];
  for (const pullRequest of pullRequests) {
    const repository = means.get(pullRequest["repository"] ?? null);
    const inRepository = (table: string) =>
      (tables[table] ?? []).filter((row) => means.get(row["repository"] ?? null) === repository);
    const reviews = inRepository("reviews").filter((review) => isByAnotherHuman(review, pullRequest));
    const first_review_at = earliest(reviews.map((review) => review["submitted_at"]));
    const approvals = reviews.filter((review) => review["state"] === "approved");
    Object.assign(pullRequest, {
      first_review_at,
      approved_at: earliest(approvals.map((review) => review["submitted_at"])),
      ready_at: readyAt(pullRequest, first_review_at),
      first_commit_at: firstCommitAt(
        pullRequest,
        inRepository("pull_requests"),
        inRepository("pushes"),
        inRepository("commits"),
      ),
    });
  }
}

function isByAnotherHuman(review: Row, pullRequest: Row): boolean {
  return review["pull_request_number"] === pullRequest["number"] &&
    review["state"] !== "pending" &&
    review["reviewer"] !== pullRequest["author"] &&
    review["reviewer_is_bot"] !== true;
}

/** The last moment before the first review at which it was ready for one. */
function readyAt(pullRequest: Row, firstReviewAt: Value): Value {
  const readyTimes = (pullRequest["ready_times"] ?? []) as string[];
  const stillDraft = pullRequest["is_draft"] === true && readyTimes.length === 0 && firstReviewAt === null;
  const openedAt = pullRequest["opened_at"] ?? null;
  const candidates = [...readyTimes, ...(stillDraft || openedAt === null ? [] : [openedAt as string])];
  const inTime = candidates.filter((time) => firstReviewAt === null || time <= (firstReviewAt as string));
  return inTime.sort(compareText).at(-1) ?? null;
}

/** When its own work began: the earliest `authored_at` among the commits that were pushed for it. */
function firstCommitAt(pullRequest: Row, pullRequests: Row[], pushes: Row[], commits: Row[]): Value {
  if (isOfUnknownBranch(pullRequest)) return null;
  const own = ownCommits(pullRequest, pullRequests, pushes);
  return earliest(commits.filter((c) => own.has(c["sha"] as string)).map((commit) => commit["authored_at"]));
}

/** A fork's pushes go elsewhere: nothing but the end of its branch is known. */
function isOfUnknownBranch(pullRequest: Row): boolean {
  return pullRequest["is_fork"] === true || (pullRequest["head_branch"] ?? null) === null;
}

/**
 * The commits that were pushed for a pull request, and its head.
 *
 * @param pullRequests those of its repository
 * @param pushes those of its repository
 */
export function ownCommits(pullRequest: Row, pullRequests: Row[], pushes: Row[]): Set<string> {
  // A branch name is used again: what came before the last pull request of that name was closed is not this one's.
  const previous = latest(
    pullRequests
      .filter((other) =>
        other["head_branch"] === pullRequest["head_branch"] &&
        other["is_fork"] !== true &&
        (other["number"] as number) < (pullRequest["number"] as number)
      )
      .map((other) => other["closed_at"]),
  );
  const ownPushes = pushes.filter((push) =>
    !isOfUnknownBranch(pullRequest) &&
    push["ref"] === `refs/heads/${pullRequest["head_branch"]}` &&
    push["deleted"] !== true &&
    push["on_default_branch"] !== true &&
    (previous === null || isBefore(previous, push["pushed_at"]))
  );
  const pushed = ownPushes.flatMap((push) => (push["commits"] ?? []) as string[]);
  const own = new Set([...pushed, ...(pullRequest["head_sha"] ? [pullRequest["head_sha"] as string] : [])]);

  // What the default branch had before the merge came from elsewhere.
  const toDefault = pushes.filter((push) => push["on_default_branch"] === true);
  const mergeSha = pullRequest["merge_sha"] ?? null;
  const merges = toDefault.filter((push) => mergeSha !== null && (push["after"] === mergeSha || lists(push, mergeSha)));
  const mergedAt = earliest(merges.map((push) => push["pushed_at"])) ?? pullRequest["merged_at"] ?? null;
  const earlier = toDefault.filter((push) =>
    (push["pushed_at"] ?? null) !== null && (mergedAt === null || isBefore(push["pushed_at"], mergedAt))
  );
  for (const push of earlier) for (const sha of (push["commits"] ?? []) as string[]) own.delete(sha);
  return own;
}

function lists(push: Row, sha: Value): boolean {
  return ((push["commits"] ?? []) as Value[]).includes(sha);
}

function isBefore(a: Value | undefined, b: Value | undefined): boolean {
  return typeof a === "string" && typeof b === "string" && a < b;
}

function earliest(times: (Value | undefined)[]): Value {
  return times.filter((time) => typeof time === "string").sort(compareText)[0] ?? null;
}

function latest(times: (Value | undefined)[]): Value {
  return times.filter((time) => typeof time === "string").sort(compareText).at(-1) ?? null;
}
