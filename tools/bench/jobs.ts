/** Deliveries of GitHub's workflow_job, as GitHub sends them: jobs of many repositories that are queued, run and end. */

import { createHash, createHmac } from "node:crypto";
import { encodeBase64 } from "@std/encoding/base64";
import { githubExample } from "../../supabase/functions/ingest-metrics/testing.ts";
import { github } from "../../supabase/functions/ingest-metrics/sources/github.ts";
import { translate } from "../../supabase/functions/ingest-metrics/translate.ts";

/** One delivery before it is signed. */
export interface JobDelivery {
  id: string;
  body: Uint8Array<ArrayBuffer>;
}

/** A delivery as `metrics.ingest` takes it: its three arguments as text. */
export interface Call {
  delivery: string;
  facts: string;
  body: string;
}

/** Jobs between the moments that one is queued, runs and ends: about so many are under way at once. */
const UNDER_WAY = 40;
/** A repository is pushed to, and says so in its updated_at, every so many jobs. */
const JOBS_A_PUSH = 30;
const START = Date.parse("2026-01-05T08:00:00Z");

const stepNames = [
  "Set up job",
  "Initialize containers",
  "Run actions/checkout@v5",
  "Set up the language's tools",
  "Restore the dependency cache",
  "Install dependencies",
  "Check formatting and lint rules",
  "Compile with warnings as errors",
  "Run unit tests (shard 3 of 8)",
  "Run integration tests against Postgres 17",
  "Collect coverage of all shards",
  "Upload test reports as artifacts",
  "Build the container image",
  "Scan the image for known vulnerabilities",
  "Push the image to the registry",
  "Save the dependency cache",
  "Post Run actions/checkout@v5",
  "Stop containers",
  "Complete job",
];

type States = "queued" | "in_progress" | "completed";

interface Repository {
  id: number;
  name: string;
  jobs: number;
  /** The part of the body that every delivery of the repository shares; {updated_at} is filled in. */
  rest: string;
}

/** An endless, reproducible stream of deliveries, a third each queued, in progress and completed, over so many repositories. */
export class JobStream {
  #repositories: Repository[];
  #count = 0;
  #base: number;

  private constructor(repositories: Repository[], base: number) {
    this.#repositories = repositories;
    this.#base = base;
  }

  /**
   * @param repositories how many repositories take turns
   * @param number of the stream: another one has other repositories and other jobs
   */
  static async open(repositories: number, number: number): Promise<JobStream> {
    const { repository, organization, sender, deployment } = await example();
    const known = Array.from({ length: repositories }, (_, index): Repository => {
      const id = 900_000_000 + number * 1000 + index;
      const name = `octo-platform-engineering/customer-notification-service-${id}`;
      const text = JSON.stringify({
        repository: { ...repository, id, updated_at: "{updated_at}" },
        organization,
        sender,
        deployment: { ...deployment, payload: {} },
      });
      const [owner, short] = name.split("/") as [string, string];
      const rest = text.replaceAll(repository.full_name, name).replaceAll(repository.owner.login, owner)
        .replaceAll(`"name":"${repository.name}"`, `"name":"${short}"`);
      return { id, name, jobs: 0, rest: rest.slice(1) };
    });
    return new JobStream(known, number * 1_000_000_000);
  }

  /** One delivery of each repository, so that all are known. */
  introductions(): JobDelivery[] {
    return this.#repositories.map((repository, index) => this.#delivery(repository, -1 - index, "queued"));
  }

  /** The next so many deliveries. */
  take(count: number): JobDelivery[] {
    return Array.from({ length: count }, () => {
      const turn = Math.floor(this.#count / 3);
      const [job, state] = ([
        [turn, "queued"],
        [turn - UNDER_WAY / 2, "in_progress"],
        [turn - UNDER_WAY, "completed"],
      ] as const)[this.#count % 3]!;
      this.#count++;
      // The first jobs have been queued before the stream began.
      const repository = this.#repositories[(job + UNDER_WAY) % this.#repositories.length]!;
      if (state === "queued") repository.jobs++;
      return this.#delivery(repository, job, state);
    });
  }

  /** So many jobs of the next repository, all of them completed, as a provider's history tells them. */
  history(count: number): JobDelivery[] {
    const repository = this.#repositories[Math.floor(this.#count / count) % this.#repositories.length]!;
    return Array.from({ length: count }, () => this.#delivery(repository, this.#count++, "completed"));
  }

  #delivery(repository: Repository, job: number, state: States): JobDelivery {
    const id = this.#base + job + 1_000_000;
    const run = Math.floor(id / 4) + 5_000_000_000;
    const api = `https://api.github.com/repos/${repository.name}`;
    const web = `https://github.com/${repository.name}`;
    const at = (seconds: number) => new Date(START + (job + seconds) * 1000).toISOString().replace(".000", "");
    const steps = state === "queued" ? [] : stepNames.slice(0, 10 + (id % 10)).map((name, index) => {
      const isDone = state === "completed" || index < 4;
      const isRunning = !isDone && index === 4;
      return {
        name,
        status: isDone ? "completed" : isRunning ? "in_progress" : "pending",
        conclusion: isDone ? "success" : null,
        number: index + 1,
        started_at: isDone || isRunning ? at(12 + index * 9) : null,
        completed_at: isDone ? at(12 + index * 9 + 8) : null,
      };
    });
    const sha = createHash("sha1").update(`${run}`).digest("hex");
    const head = JSON.stringify({
      action: state,
      workflow_job: {
        id,
        run_id: run,
        workflow_name: "Continuous integration and delivery",
        head_branch: `feature/JIRA-${job % 9000}-retry-failed-notifications`,
        run_url: `${api}/actions/runs/${run}`,
        run_attempt: 1,
        node_id: `CR_kwDO${sha.slice(0, 20)}`,
        head_sha: sha,
        url: `${api}/actions/jobs/${id}`,
        html_url: `${web}/actions/runs/${run}/job/${id}`,
        status: state,
        conclusion: state === "completed" ? "success" : null,
        created_at: at(0),
        started_at: at(10),
        completed_at: state === "completed" ? at(12 + steps.length * 9) : null,
        name: `Build and test (ubuntu-24.04, node 22, shard ${id % 8})`,
        steps,
        check_run_url: `${api}/check-runs/${id}`,
        labels: ["self-hosted", "linux", "x64", "large"],
        runner_id: state === "queued" ? null : id % 500,
        runner_name: state === "queued" ? null : `runner-large-${id % 500}`,
        runner_group_id: state === "queued" ? null : 2,
        runner_group_name: state === "queued" ? null : "Build machines",
      },
    });
    const pushed = new Date(START + Math.floor(repository.jobs / JOBS_A_PUSH) * 60_000).toISOString().replace(
      ".000",
      "",
    );
    const text = `${head.slice(0, -1)},${repository.rest.replace("{updated_at}", pushed)}`;
    return { id: crypto.randomUUID(), body: new TextEncoder().encode(text) };
  }
}

/** The header that proves a body to GitHub's receiver. */
export function signature(body: Uint8Array, secret: string): string {
  return `sha256=${createHmac("sha256", secret).update(body).digest("hex")}`;
}

/** The arguments of `metrics.ingest` that the function makes of a delivery, by the function's own code. */
export function asCall({ id, body }: JobDelivery): Call {
  const headers = new Headers({ "x-github-event": "workflow_job", "x-github-delivery": id });
  const options = { source: "github", incidentLabels: new Set<string>() };
  const identify = (value: unknown) => github.identify(headers, value);
  const translated = translate(github, "application/json", body, identify, options);
  if (translated.result !== "stored") {
    throw new Error(`a generated delivery is ${translated.result}: ${translated.reason}`);
  }
  const delivery = {
    source: "github",
    delivery_id: id,
    event: translated.event,
    sha256: createHash("sha256").update(body).digest("hex"),
    size: body.length,
    content_type: "application/json",
    result: translated.result,
    reason: null,
    notes: translated.notes,
  };
  return {
    delivery: JSON.stringify(delivery),
    facts: JSON.stringify(translated.facts),
    body: encodeBase64(translated.body!),
  };
}

/** One call that brings the jobs of so many deliveries of one repository, as the filling of a gap does: without a body. */
export function asOneCall(deliveries: readonly JobDelivery[]): Call {
  const calls = deliveries.map(asCall);
  const facts = calls.map((call) => JSON.parse(call.facts) as { repositories: unknown[]; jobs: unknown[] });
  const delivery = { ...JSON.parse(calls[0]!.delivery), event: null, size: 0, content_type: null };
  return {
    delivery: JSON.stringify(delivery),
    facts: JSON.stringify({
      repositories: facts[0]!.repositories,
      jobs: facts.flatMap((one) => one.jobs),
    }),
    body: "",
  };
}

// The example that has everything GitHub can put beside a job.
async function example() {
  for (let index = 0;; index++) {
    const body = await githubExample("workflow_job", index);
    if (!body.deployment) continue;
    const { organization } = await githubExample("workflow_job", 0);
    return { ...body, organization };
  }
}
