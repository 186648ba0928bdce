/**
 * Lives of projects on GitLab, made up at random, with what must be known of them in the end.
 *
 * Part of the model: what is written down here comes from what happened, and not from the bodies that GitLab sends about it.
 */

import fc from "fast-check";
import { type BuildOptions, GitLabProject, type MergeRequestState, type PipelineOptions } from "./history_gitlab.ts";
import { type Posted, sha } from "./history_github.ts";

/** Rows that must be there, by table: each with its key and the columns that are known. */
export type Truth = Record<string, Record<string, unknown>[]>;

export interface Life {
  deliveries: Posted[];
  truth: Truth;
}

const pause = fc.integer({ min: 1, max: 600 });
const person = fc.constantFrom("dev-2", "dev-3", "project_71_bot_0a1b");
const verdict = fc.constantFrom("success", "failed", "canceled");

const pipeline = fc.record({
  kind: fc.constant("pipeline" as const),
  isOfMergeRequest: fc.boolean(),
  /** A pipeline is retried as a whole, each time with new jobs. */
  tries: fc.array(fc.record({ jobs: fc.array(verdict, { minLength: 1, maxLength: 2 }), pause }), {
    minLength: 1,
    maxLength: 3,
  }),
  queued: fc.integer({ min: 1, max: 90 }),
});

const change = fc.record({
  kind: fc.constant("change" as const),
  isDraft: fc.boolean(),
  isReady: fc.boolean(),
  /** True approves, false takes it back. */
  approvals: fc.array(fc.tuple(person, fc.boolean(), pause), { maxLength: 4 }),
  ends: fc.array(fc.constantFrom("close", "reopen"), { maxLength: 2 }),
  isMerged: fc.boolean(),
  isLabelledLater: fc.boolean(),
});

const deployment = fc.record({
  kind: fc.constant("deployment" as const),
  tier: fc.constantFrom("production", "staging", "testing"),
  end: fc.constantFrom(null, "success", "failed", "canceled"),
});

const incident = fc.record({
  kind: fc.constant("incident" as const),
  isAcknowledged: fc.boolean(),
  /** Either, or one after the other. */
  ends: fc.subarray(["resolved", "closed"]),
  /** Older servers do not say when it was closed. */
  tellsClosedAt: fc.boolean(),
  /** Only what is closed is opened again. */
  isReopened: fc.boolean(),
  /** Once before its end and once after it: the state is told again then, and has not changed. */
  isRetitled: fc.boolean(),
  isConfidential: fc.boolean(),
});

const rename = fc.record({ kind: fc.constant("rename" as const), path: fc.constantFrom("acme/two", "other/one") });

type Of<A> = A extends fc.Arbitrary<infer T> ? T : never;

/** A project's life in up to six episodes, one after the other. */
export function gitlabLife(): fc.Arbitrary<Life> {
  const episode = fc.oneof(pipeline, change, deployment, incident, rename);
  return fc.array(episode, { minLength: 1, maxLength: 6 }).map((episodes) => {
    const chronicler = new Chronicler();
    for (const one of episodes) chronicler.live(one);
    return { deliveries: chronicler.deliveries, truth: chronicler.truth };
  });
}

class Chronicler {
  readonly deliveries: Posted[] = [];
  readonly truth: Truth = {};
  readonly #project = new GitLabProject(71, "acme/one");
  #seconds = Date.UTC(2026, 2, 2, 8) / 1000;
  #id = 100;

  live(
    episode: Of<typeof pipeline> | Of<typeof change> | Of<typeof deployment> | Of<typeof incident> | Of<typeof rename>,
  ) {
    this.#later(60);
    switch (episode.kind) {
      case "pipeline":
        return this.#pipeline(episode);
      case "change":
        return this.#change(episode);
      case "deployment":
        return this.#deployment(episode);
      case "incident":
        return this.#incident(episode);
      case "rename":
        return this.#rename(episode);
    }
  }

  #later(seconds: number): string {
    this.#seconds += seconds;
    return new Date(this.#seconds * 1000).toISOString().replace(".000Z", "Z");
  }

  #next(): number {
    return this.#id += 1;
  }

  #know(table: string, row: Record<string, unknown>): void {
    (this.truth[table] ??= []).push({
      ...(table === "incidents" ? { source: "gitlab" } : { repository: "gitlab:71" }),
      ...row,
    });
  }

  #pipeline({ isOfMergeRequest, tries, queued }: Of<typeof pipeline>): void {
    const createdAt = this.#later(0);
    const number = this.#next();
    const mergeRequest: MergeRequestState = {
      ...{ id: number, number, title: "Work", author: "dev-1", source: "topic", headSha: sha(7) },
      ...{ createdAt, updatedAt: createdAt },
    };
    const options: PipelineOptions = {
      ...{ id: this.#next(), number: 1, status: "created", createdAt, by: "dev-1", sha: sha(8) },
      ...(isOfMergeRequest ? { mergeRequest, source: "merge_request_event", ref: "topic" } : { ref: "main" }),
    };
    const tell = (more: Partial<PipelineOptions>) =>
      this.deliveries.push(this.#project.pipeline({ ...options, ...more }));
    tell({});
    let finishedAt: string | null = null;
    let outcome = "";
    const startedAt = this.#later(queued);
    for (const { jobs, pause } of tries) {
      if (finishedAt !== null) this.#later(pause);
      const builds: BuildOptions[] = [];
      for (const status of jobs) {
        const started = this.#later(finishedAt === null && builds.length === 0 ? 0 : 5);
        const build: BuildOptions = {
          id: this.#next(),
          name: "test",
          status: "running",
          createdAt,
          startedAt: started,
          queued: 2,
        };
        tell({ status: "running", queued, finishedAt, builds: [...builds, build] });
        this.deliveries.push(this.#project.job(build, options));
        const ended = { ...build, status, finishedAt: this.#later(10) };
        this.deliveries.push(this.#project.job(ended, options));
        builds.push(ended);
        this.#know("jobs", {
          external_id: String(build.id),
          run_external_id: String(options.id),
          outcome: { success: "success", failed: "failure", canceled: "cancelled" }[status],
          queued_at: new Date(Date.parse(started) - 2000).toISOString(),
          started_at: started,
          finished_at: ended.finishedAt,
          branch: isOfMergeRequest ? "topic" : "main",
        });
      }
      const worst = jobs.includes("failed") ? "failed" : jobs.includes("canceled") ? "canceled" : "success";
      outcome = { success: "success", failed: "failure", canceled: "cancelled" }[worst]!;
      finishedAt = builds.at(-1)!.finishedAt!;
      tell({ status: worst, queued, finishedAt, builds });
    }
    this.#know("pipeline_runs", {
      external_id: String(options.id),
      attempt: 1,
      status: "finished",
      outcome,
      queued_at: createdAt,
      started_at: startedAt,
      finished_at: finishedAt,
      commit_sha: sha(8),
      pull_request_numbers: isOfMergeRequest ? [number] : [],
      on_default_branch: !isOfMergeRequest,
    });
  }

  #change({ isDraft, isReady, approvals, ends, isMerged, isLabelledLater }: Of<typeof change>): void {
    const number = this.#next();
    const openedAt = this.#later(1);
    let state: MergeRequestState = {
      ...{ id: number, number, title: "Work", author: "dev-1", source: "topic", headSha: sha(7), draft: isDraft },
      ...{ createdAt: openedAt, updatedAt: openedAt },
    };
    const tell = (action: string, more: Partial<MergeRequestState>, by = "dev-1", changes = {}) => {
      state = { ...state, ...more, updatedAt: this.#later(3) };
      this.deliveries.push(this.#project.mergeRequest(action, state, by, changes));
      return state.updatedAt;
    };
    this.deliveries.push(this.#project.mergeRequest("open", state));
    let readyTimes: string[] | null = null;
    if (isDraft && isReady) {
      readyTimes = [tell("update", { draft: false }, "dev-1", { draft: { previous: true, current: false } })];
    }
    const standing = new Map<string, { state: string; submitted_at: string | null }>();
    for (const [who, isGiven, pause] of approvals) {
      this.#later(pause);
      const time = tell(isGiven ? "approved" : "unapproved", {}, who);
      const first = standing.get(who)?.submitted_at ?? (isGiven ? time : null);
      standing.set(who, { state: isGiven ? "approved" : "dismissed", submitted_at: first });
    }
    for (const [reviewer, review] of standing) {
      this.#know("reviews", {
        pull_request_number: number,
        reviewer,
        reviewer_is_bot: reviewer.includes("bot"),
        ...review,
      });
    }
    let closedAt: string | null = null;
    for (const end of ends) {
      const time = tell(end, { state: end === "close" ? "closed" : "opened" });
      closedAt = end === "close" ? time : null;
    }
    let mergedAt: string | null = null;
    if (isMerged) closedAt = mergedAt = tell("merge", { state: "merged", mergeSha: sha(9) });
    if (isLabelledLater) tell("update", { labels: ["later"] }, "dev-2");
    this.#know("pull_requests", {
      number,
      author: "dev-1",
      state: isMerged ? "merged" : closedAt === null ? "open" : "closed",
      merge_sha: isMerged ? sha(9) : null,
      merged_at: mergedAt,
      closed_at: closedAt,
      opened_at: openedAt,
      is_draft: isDraft && !isReady,
      ready_times: readyTimes,
      labels: isLabelledLater ? ["later"] : [],
    });
  }

  #deployment({ tier, end }: Of<typeof deployment>): void {
    const options = {
      id: this.#next(),
      jobId: this.#next(),
      environment: tier,
      tier,
      sha: sha(8),
      ref: "main",
      by: "dev-2",
    };
    const startedAt = this.#later(1);
    this.deliveries.push(this.#project.deployment({ ...options, status: "running", changedAt: startedAt }));
    const finishedAt = end === null ? null : this.#later(30);
    if (end !== null && finishedAt !== null) {
      this.deliveries.push(this.#project.deployment({ ...options, status: end, changedAt: finishedAt }));
    }
    this.#know("deployments", {
      external_id: String(options.id),
      environment_tier: tier === "testing" ? "other" : tier,
      status: end === null ? "running" : "finished",
      outcome: end === null ? null : { success: "success", failed: "failure", canceled: "cancelled" }[end],
      started_at: startedAt,
      finished_at: finishedAt,
      commit_sha: sha(8),
      actor: "dev-2",
    });
  }

  #incident(
    { isAcknowledged, ends, tellsClosedAt, isReopened, isRetitled, isConfidential }: Of<typeof incident>,
  ): void {
    const openedAt = this.#later(1);
    const id = this.#next();
    let title = "Down";
    let escalation = "triggered";
    let state: "opened" | "closed" = "opened";
    let resolvedAt: string | null = null;
    const tell = (action: "open" | "update" | "close" | "reopen", changes = {}) => {
      const updatedAt = this.#later(20);
      const common = {
        id,
        number: id,
        title,
        severity: "high",
        escalation,
        createdAt: openedAt,
        updatedAt,
        by: "dev-2",
      };
      if (action === "close") resolvedAt = updatedAt;
      const closedAt = state === "closed" && tellsClosedAt ? resolvedAt : null;
      const options = { ...common, action, state, closedAt, confidential: isConfidential };
      this.deliveries.push(this.#project.issue(options, changes));
      return updatedAt;
    };
    const escalate = (to: string) => {
      const changes = { escalation_status: { previous: escalation, current: to } };
      escalation = to;
      return tell("update", changes);
    };
    const retitle = (to: string) => {
      const changes = { title: { previous: title, current: to } };
      title = to;
      tell("update", changes);
    };
    tell("open");
    const acknowledgedAt = isAcknowledged ? escalate("acknowledged") : null;
    if (isRetitled) retitle("Is down");
    if (ends.includes("resolved")) resolvedAt = escalate("resolved");
    if (ends.includes("closed")) {
      // Closing sets it to resolved, which no hook tells as a change.
      [state, escalation] = ["closed", "resolved"];
      tell("close");
    }
    const goesOn = isReopened && state === "closed";
    if (goesOn) {
      [state, resolvedAt] = ["opened", null];
      tell("reopen");
    }
    if (isRetitled) retitle("Was down");
    this.#know("incidents", {
      external_id: String(id),
      title: isConfidential ? null : title,
      severity: "high",
      status: resolvedAt !== null ? "resolved" : isAcknowledged && !goesOn ? "acknowledged" : "open",
      opened_at: openedAt,
      acknowledged_at: acknowledgedAt,
      resolved_at: resolvedAt,
      is_withdrawn: false,
    });
  }

  #rename({ path }: Of<typeof rename>): void {
    this.deliveries.push(this.#project.rename(path, this.#later(1)));
    this.truth["repositories"] = [{ repository: "gitlab:71", full_name: path }];
  }
}
