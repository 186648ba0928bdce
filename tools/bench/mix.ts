/** What GitHub posts while people work: of twenty deliveries fourteen about jobs, three about runs, three about pushes, pull requests, deployments. */

import { createHash } from "node:crypto";
import type { Sql } from "postgres";
import { callOf } from "../../tests/support/history_calls.ts";
import { GitHubRepository, NO_COMMIT, type Posted, type PullRequestState } from "../../tests/support/history_github.ts";
import type { Call } from "./jobs.ts";
import { YEAR_ENDS } from "./year.ts";

/** Runs that are under way at once: deliveries of as many take turns. */
const TOGETHER = 20;
/** Share of the largest repository. */
const LARGEST = 0.09;
/** Seconds from one run to the next, as in the office hours of the year. */
const SECONDS_A_RUN = 12;

const stepNames = [
  "Set up job",
  "Run actions/checkout@v5",
  "Set up the language's tools",
  "Restore the dependency cache",
  "Install dependencies",
  "Run the job itself",
  "Complete job",
];

interface Known {
  repository: GitHubRepository;
  /** Share of what comes that is below or at this one. */
  upTo: number;
  tip: string;
  pullRequests: number;
}

/** An endless stream of deliveries about the repositories of the year that are on GitHub, from where the year ends. */
export class DeliveryMix {
  #known: Known[];
  #runs = 0;
  #waiting: Posted[] = [];
  #number: number;

  private constructor(known: Known[], number: number) {
    this.#known = known;
    this.#number = number;
  }

  /**
   * @param sql of a database that holds a year
   * @param number of the stream: another one has other runs, jobs and deliveries
   */
  static async open(sql: Sql, number: number): Promise<DeliveryMix> {
    const rows = await sql<{ id: string; full_name: string; tip: string; pull_requests: number }[]>`
      select
        f.external_id as id,
        r.full_name,
        coalesce(p.after, ${NO_COMMIT}) as tip,
        coalesce(q.pull_requests, 0) as pull_requests
      from metrics.repository_references as f
      join metrics.repositories as r on r.id = f.repository_id
      left join (
        select distinct on (p.reference_id) p.reference_id, p.after
        from metrics.pushes as p
        where p.on_default_branch
        order by p.reference_id, p.pushed_at desc
      ) as p on p.reference_id = f.id
      left join (
        select q.reference_id, max(q.number) as pull_requests
        from metrics.pull_requests as q
        group by q.reference_id
      ) as q on q.reference_id = f.id
      where f.source = 'github'
      order by f.id`;
    const known = rows.map(({ id, full_name, tip, pull_requests }, index) => ({
      repository: new GitHubRepository(Number(id), full_name, { deliveries: number * 1e10 + index * 1e7 }),
      // The first is the largest, and its share as large as it was in the year.
      upTo: index === 0 ? LARGEST : LARGEST + ((1 - LARGEST) * index) / (rows.length - 1),
      tip,
      pullRequests: pull_requests + number * 10_000,
    }));
    return new DeliveryMix(known, number);
  }

  /** The next so many deliveries, translated as the edge function does. */
  async take(count: number): Promise<Call[]> {
    const calls: Call[] = [];
    while (calls.length < count) {
      if (this.#waiting.length === 0) this.#fill();
      const { delivery, facts, body } = await callOf(this.#waiting.shift()!);
      calls.push({ delivery: JSON.stringify(delivery), facts: JSON.stringify(facts), body: body ?? "" });
    }
    return calls;
  }

  #fill(): void {
    const cycles = Array.from({ length: TOGETHER }, () => this.#cycle(this.#runs++));
    for (let step = 0; step < cycles[0]!.length; step++) {
      for (const cycle of cycles) this.#waiting.push(cycle[step]!);
    }
  }

  /** Twenty deliveries about one run and what goes on beside it in its repository. */
  #cycle(run: number): Posted[] {
    const known = this.#known.find(({ upTo }) => share(run, this.#number) <= upTo) ?? this.#known.at(-1)!;
    const { repository } = known;
    const start = Date.parse(YEAR_ENDS) + (this.#number * 86_400 + run * SECONDS_A_RUN) * 1000;
    const at = (seconds: number) => new Date(start + seconds * 1000).toISOString().replace(".000", "");
    const id = 20_000_000_000 + this.#number * 100_000_000 + run;
    const by = `dev-${1 + (run % 400)}`;
    const fails = share(run, 7) < 0.12;
    const before = known.tip;
    const after = createHash("sha1").update(`${repository.id} ${id}`).digest("hex");
    const branch = `feature/${run}-retry-failed-notifications`;

    const beside: Posted[] = [];
    const isPullRequest = run % 3 === 2;
    if (isPullRequest) {
      const state: PullRequestState = {
        number: ++known.pullRequests,
        title: "Retry failed notifications before giving up",
        author: by,
        head: branch,
        headSha: after,
        createdAt: at(0),
        updatedAt: at(0),
        additions: 40,
        deletions: 12,
        changedFiles: 3,
      };
      beside.push(
        repository.push(this.#push(branch, NO_COMMIT, after, at(0), by)),
        repository.pullRequest("opened", state),
        repository.review({ ...state, updatedAt: at(900) }, {
          action: "submitted",
          id: id + 1,
          reviewer: `dev-${1 + ((run + 7) % 400)}`,
          state: "approved",
          submittedAt: at(900),
          sha: after,
        }),
      );
    } else {
      known.tip = after;
      const deployment = {
        id,
        environment: "production",
        sha: after,
        ref: "main",
        createdAt: at(600),
        by,
        production: true,
      };
      beside.push(
        repository.push(this.#push("main", before, after, at(0), by)),
        repository.deployment(deployment),
        repository.deploymentStatus(deployment, { id: id + 1, state: "success", at: at(900), by }),
      );
    }

    const about = {
      id,
      number: run + 1,
      workflow: "CI (services)",
      sha: after,
      by,
      createdAt: at(1),
      startedAt: at(4),
    };
    const where = { branch: isPullRequest ? branch : "main", event: isPullRequest ? "pull_request" : "push" };
    const runs = [
      repository.run({ ...about, ...where, action: "requested", status: "queued", updatedAt: at(1) }),
      repository.run({ ...about, ...where, action: "in_progress", status: "in_progress", updatedAt: at(4) }),
      repository.run({
        ...about,
        ...where,
        action: "completed",
        status: "completed",
        conclusion: fails ? "failure" : "success",
        updatedAt: at(420 + (run % 240)),
      }),
    ];

    const jobs = [0, 1, 2, 3, 4].map((job) => {
      const ends = 60 + job * 40 + Math.floor(share(run, 20 + job) * 200);
      const shape = {
        id: id * 8 + job,
        runId: id,
        workflow: about.workflow,
        name: [
          "build",
          "unit tests (ubuntu-24.04, node 22)",
          "integration tests (1)",
          "static analysis",
          "package",
        ][job]!,
        branch: where.branch,
        sha: after,
        createdAt: at(2),
        by,
      };
      const conclusion = fails && job === 2 ? "failure" : "success";
      return {
        queued: repository.job({ ...shape, action: "queued", status: "queued", startedAt: at(2) }),
        running: repository.job({
          ...shape,
          action: "in_progress",
          status: "in_progress",
          startedAt: at(10),
          steps: steps(4, at, 10, ends, null),
        }),
        done: repository.job({
          ...shape,
          action: "completed",
          status: "completed",
          conclusion,
          startedAt: at(10),
          completedAt: at(ends),
          steps: steps(stepNames.length, at, 10, ends, conclusion),
        }),
      };
    });
    // One in five ends before anybody was told that it began: fourteen deliveries about five jobs.
    return [
      ...[beside[0]!, runs[0]!],
      ...jobs.map(({ queued }) => queued),
      runs[1]!,
      ...jobs.slice(0, 4).map(({ running }) => running),
      ...jobs.map(({ done }) => done),
      ...[runs[2]!, beside[1]!, beside[2]!],
    ];
  }

  #push(branch: string, before: string, after: string, at: string, by: string) {
    return {
      ref: `refs/heads/${branch}`,
      before,
      after,
      at,
      by,
      commits: [{
        sha: after,
        message: "Retry failed notifications before giving up",
        at,
        by,
        modified: ["services/api/src/orders/handler.ts", "services/api/tests/handler.test.ts"],
      }],
    };
  }
}

/** Evenly from 0 to below 1, the same at every call. */
function share(number: number, salt: number): number {
  return createHash("md5").update(`${number} ${salt}`).digest().readUInt32BE(0) / 2 ** 32;
}

/** Steps that share the time of their job evenly; without a conclusion the last one is still running. */
function steps(
  count: number,
  at: (seconds: number) => string,
  from: number,
  until: number,
  conclusion: string | null,
) {
  const length = (until - from) / stepNames.length;
  return stepNames.slice(0, count).map((name, index) => {
    const isDone = conclusion !== null || index < count - 1;
    return {
      name,
      status: isDone ? "completed" : "in_progress",
      conclusion: !isDone ? null : conclusion === "failure" && index === 5 ? "failure" : "success",
      startedAt: at(Math.round(from + index * length)),
      completedAt: isDone ? at(Math.round(from + (index + 1) * length)) : null,
    };
  });
}
