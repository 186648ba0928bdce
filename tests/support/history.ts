/** Arbitraries of whole histories: what GitHub would post about one or two repositories, in the order in which it happened. */

import fc from "fast-check";
import { GitHubRepository, NO_COMMIT, type Posted, type PullRequestState, sha } from "./history_github.ts";

const PEOPLE = ["dev-1", "dev-2", "renovate[bot]"];
const person = fc.constantFrom(...PEOPLE);
/** Seconds until the next thing happens; often none, so that much carries the same time. */
const pause = fc.constantFrom(0, 0, 1, 30, 600);

const change = fc.record({
  kind: fc.constant("change" as const),
  branch: fc.constantFrom("topic", "fix"),
  author: person,
  isDraft: fc.boolean(),
  isFork: fc.constantFrom(false, false, true),
  pushes: fc.array(fc.record({ isForced: fc.boolean(), pause }), { minLength: 1, maxLength: 3 }),
  reviews: fc.array(
    fc.record({ reviewer: person, state: fc.constantFrom("approved", "commented", "changes_requested"), pause }),
    { maxLength: 2 },
  ),
  isDismissed: fc.boolean(),
  end: fc.constantFrom("open", "closed", "squashed", "merged"),
  isBranchDeleted: fc.boolean(),
  pause,
});

const pipeline = fc.record({
  kind: fc.constant("pipeline" as const),
  attempts: fc.array(fc.constantFrom("success", "failure", "cancelled", "action_required", "something_new"), {
    minLength: 1,
    maxLength: 2,
  }),
  jobs: fc.array(fc.constantFrom("success", "failure", "skipped", "timed_out"), { maxLength: 2 }),
  by: person,
  pause,
});

const deployment = fc.record({
  kind: fc.constant("deployment" as const),
  environment: fc.constantFrom("production", "staging"),
  states: fc.subarray(["queued", "in_progress", "success", "failure", "error", "inactive"] as const),
  by: person,
  pause,
});

const incident = fc.record({
  kind: fc.constant("incident" as const),
  actions: fc.subarray(["opened", "labeled", "closed", "reopened", "unlabeled", "deleted"] as const, { minLength: 1 }),
  by: person,
  pause,
});

const rename = fc.record({ kind: fc.constant("rename" as const), name: fc.constantFrom("one", "two", "three"), pause });

const release = fc.record({
  kind: fc.constant("release" as const),
  actions: fc.subarray(["created", "published", "released", "edited", "deleted"] as const, { minLength: 1 }),
  pause,
});

type Of<A> = A extends fc.Arbitrary<infer T> ? T : never;
type Episode =
  | Of<typeof change>
  | Of<typeof pipeline>
  | Of<typeof deployment>
  | Of<typeof incident>
  | Of<typeof rename>
  | Of<typeof release>;

/**
 * What happened to one repository or two, in up to eight episodes. Two repositories may come to bear one name, one after the
 * other.
 */
export function deliveryHistory(): fc.Arbitrary<Posted[]> {
  const episode: fc.Arbitrary<Episode> = fc.oneof(
    { weight: 4, arbitrary: change },
    { weight: 3, arbitrary: pipeline },
    { weight: 2, arbitrary: deployment },
    { weight: 1, arbitrary: incident },
    { weight: 1, arbitrary: rename },
    { weight: 1, arbitrary: release },
  );
  return fc.array(fc.tuple(fc.constantFrom(0, 0, 1), episode), { minLength: 1, maxLength: 8 }).map((episodes) => {
    const tellers = [new Teller(71, "acme/one"), new Teller(72, "acme/two")];
    return episodes.flatMap(([which, what]) => (tellers[which] as Teller).tell(what));
  });
}

/** Lives episodes, one after the other, and posts what they bring. */
class Teller {
  readonly #repository: GitHubRepository;
  #seconds = Date.UTC(2026, 2, 2, 8) / 1000;
  #number = 0;
  #id: number;
  #head = sha(1);

  constructor(id: number, name: string) {
    this.#repository = new GitHubRepository(id, name, { deliveries: id * 100_000 });
    this.#id = id * 1000;
  }

  tell(episode: Episode): Posted[] {
    this.#wait(episode.pause);
    if (episode.kind === "change") return this.#change(episode);
    if (episode.kind === "pipeline") return this.#pipeline(episode);
    if (episode.kind === "deployment") return this.#deployment(episode);
    if (episode.kind === "incident") return this.#incident(episode);
    if (episode.kind === "rename") return [this.#repository.rename(episode.name, this.#now(), "dev-1")];
    return this.#release(episode);
  }

  #wait(seconds: number): void {
    this.#seconds += seconds;
  }

  #now(): string {
    return new Date(this.#seconds * 1000).toISOString().replace(".000Z", "Z");
  }

  #next(): number {
    return this.#id += 1;
  }

  #commit(): string {
    return sha(this.#next() % 250 + 2);
  }

  #change(
    { branch, author, isDraft, isFork, pushes, reviews, isDismissed, end, isBranchDeleted }: Episode & {
      kind: "change";
    },
  ) {
    const posted: Posted[] = [];
    const ref = `refs/heads/${branch}`;
    let head = NO_COMMIT;
    let state: PullRequestState | undefined;
    const number = this.#number += 1;
    const update = (more: Partial<PullRequestState>) =>
      ({ ...state, ...more, updatedAt: this.#now() }) as PullRequestState;
    for (const [i, { isForced, pause }] of pushes.entries()) {
      this.#wait(pause);
      const before = head;
      head = this.#commit();
      const commits = [{ sha: head, message: `Change ${i}`, at: this.#now(), by: author, modified: ["a.ts"] }];
      const push = { ref, before, after: head, at: this.#now(), by: author, commits, forced: isForced && i > 0 };
      if (!isFork) posted.push(this.#repository.push(push));
      state = state === undefined
        ? {
          number,
          title: `Change ${number}`,
          author,
          head: branch,
          headSha: head,
          draft: isDraft,
          createdAt: this.#now(),
          updatedAt: this.#now(),
          additions: 1,
          deletions: 0,
          changedFiles: 1,
          ...(isFork ? { fork: "dev-3/one" } : {}),
        }
        : update({ headSha: head, additions: i + 1 });
      posted.push(this.#repository.pullRequest(i === 0 ? "opened" : "synchronize", state));
    }
    if (isDraft) posted.push(this.#repository.pullRequest("ready_for_review", state = update({ draft: false })));
    for (const review of reviews) {
      this.#wait(review.pause);
      const options = { id: this.#next(), reviewer: review.reviewer, submittedAt: this.#now(), sha: head };
      state = update({});
      posted.push(this.#repository.review(state, { ...options, action: "submitted", state: review.state }));
      if (isDismissed) {
        posted.push(this.#repository.review(state, { ...options, action: "dismissed", state: "dismissed" }));
      }
    }
    this.#wait(1);
    const closed = { state: "closed" as const, closedAt: this.#now() };
    if (end === "squashed" || end === "merged") {
      const mergeSha = this.#commit();
      const own = end === "merged" ? [{ sha: head, message: "Change", at: this.#now(), by: author }] : [];
      const commits = [...own, { sha: mergeSha, message: `Merge #${number}`, at: this.#now(), by: author }];
      const before = this.#head;
      this.#head = mergeSha;
      posted.push(
        this.#repository.push({
          ref: "refs/heads/main",
          before,
          after: mergeSha,
          at: this.#now(),
          by: author,
          commits,
        }),
        this.#repository.pullRequest("closed", state = update({ ...closed, mergeSha, mergedAt: this.#now() })),
      );
    }
    if (end === "closed") posted.push(this.#repository.pullRequest("closed", state = update(closed)));
    if (isBranchDeleted && !isFork) {
      posted.push(
        this.#repository.push({ ref, before: head, after: NO_COMMIT, at: this.#now(), by: author, commits: [] }),
      );
    }
    return posted;
  }

  #pipeline({ attempts, jobs, by }: Episode & { kind: "pipeline" }): Posted[] {
    const posted: Posted[] = [];
    const common = {
      id: this.#next(),
      number: this.#next(),
      branch: "main",
      sha: this.#head,
      createdAt: this.#now(),
      by,
    };
    for (const [i, conclusion] of attempts.entries()) {
      const run = { ...common, attempt: i + 1, startedAt: this.#now() };
      const step = (
        action: "requested" | "in_progress" | "completed",
        status: string,
        conclusion: string | null = null,
      ) => posted.push(this.#repository.run({ ...run, action, status, conclusion, updatedAt: this.#now() }));
      if (i === 0) step("requested", "queued");
      step("in_progress", "in_progress");
      for (const [j, outcome] of jobs.entries()) {
        const job = {
          id: this.#next(),
          runId: common.id,
          attempt: i + 1,
          name: `job ${j}`,
          branch: "main",
          sha: this.#head,
          createdAt: this.#now(),
          startedAt: this.#now(),
          by,
        };
        posted.push(this.#repository.job({ ...job, action: "queued", status: "queued" }));
        if (outcome !== "skipped") {
          posted.push(this.#repository.job({ ...job, action: "in_progress", status: "in_progress" }));
        }
        this.#wait(1);
        const end = { status: "completed", conclusion: outcome, completedAt: this.#now() };
        posted.push(this.#repository.job({ ...job, action: "completed", ...end }));
      }
      step("completed", "completed", conclusion);
    }
    return posted;
  }

  #deployment({ environment, states, by }: Episode & { kind: "deployment" }): Posted[] {
    const production = environment === "production";
    const options = {
      id: this.#next(),
      environment,
      sha: this.#head,
      ref: "main",
      createdAt: this.#now(),
      by,
      production,
    };
    const posted = [this.#repository.deployment(options)];
    for (const state of states) {
      posted.push(this.#repository.deploymentStatus(options, { id: this.#next(), state, at: this.#now(), by }));
    }
    return posted;
  }

  #incident({ actions, by }: Episode & { kind: "incident" }): Posted[] {
    const common = { id: this.#next(), number: this.#number += 1, title: "Down", createdAt: this.#now(), by };
    return actions.map((action) => {
      const state = action === "closed" || action === "deleted" ? "closed" as const : "open" as const;
      const closedAt = state === "closed" ? this.#now() : null;
      const labels = action === "unlabeled" ? ["question"] : ["incident"];
      const issue = this.#repository.issue({ ...common, action, state, labels, updatedAt: this.#now(), closedAt });
      if (action === "unlabeled") issue.body["label"] = { name: "incident" };
      return issue;
    });
  }

  #release({ actions }: Episode & { kind: "release" }): Posted[] {
    const common = { id: this.#next(), tag: "v1", name: "One", target: "main", createdAt: this.#now(), by: "dev-1" };
    return actions.map((action) =>
      this.#repository.release({ ...common, action, publishedAt: action === "created" ? null : this.#now() })
    );
  }
}
