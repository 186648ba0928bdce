// Every body that GitHub's community has collected of api.github.com goes through the whole stack.
import { assert, assertEquals } from "@std/assert";
import { type Answered, connect, inParallel, post, sharedStack, signedIn } from "../support/http.ts";

const stack = await sharedStack();
const sql = connect(stack);
const source = "github-examples";
const options = { sanitizeOps: false, sanitizeResources: false };

/** Events that carry facts. */
const translated = new Set([
  "workflow_run",
  "workflow_job",
  "pull_request",
  "pull_request_review",
  "push",
  "deployment",
  "deployment_status",
  "issues",
  "release",
  "repository",
]);

interface Example {
  event: string;
  index: number;
  id: string;
  // deno-lint-ignore no-explicit-any
  body: any;
}

async function readExamples(): Promise<Example[]> {
  // Through a variable, because the types of four megabytes of JSON take longer than every test.
  const collection: string = "@octokit/webhooks-examples";
  const module = await import(collection, { with: { type: "json" } });
  // deno-lint-ignore no-explicit-any
  const events = module.default as { name: string; examples: any[] }[];
  return events.flatMap(({ name, examples }) =>
    examples.map((body, index) => ({ event: name, index, id: crypto.randomUUID(), body }))
  );
}

const examples = await readExamples();

async function postAll(): Promise<Map<Example, Answered>> {
  const answers = new Map<Example, Answered>();
  await inParallel(examples, 6, async (example) => {
    answers.set(example, await post(stack, { source, event: example.event, id: example.id, body: example.body }));
  });
  return answers;
}

const name = (example: Example) => `${example.event} ${example.index}`;
const isIncident = ({ issue }: Example["body"]) =>
  [...(issue.labels ?? []), issue.type].some((one) => /^(incident|outage)$/i.test(one?.name ?? ""));

Deno.test(
  "every example is stored or ignored, and of the translated events only what carries no fact is ignored",
  options,
  async () => {
    assertEquals(examples.length, 329);
    const answers = await postAll();
    const wrong: string[] = [];
    const seen = { stored: 0, ignored: 0 };
    for (const [example, { status, json }] of answers) {
      const carriesFacts = translated.has(example.event) && (example.event !== "issues" || isIncident(example.body));
      const expected = carriesFacts ? "200 stored" : "202 ignored";
      const was = `${status} ${json?.result}`;
      if (was !== expected) wrong.push(`${name(example)}: ${was} ${json?.reason ?? ""}, not ${expected}`);
      else if (carriesFacts) seen.stored++;
      else seen.ignored++;
      if (carriesFacts) {
        const counts = Object.values<number>(json?.facts ?? {});
        if (counts.length === 0 || counts.some((count) => count < 1)) wrong.push(`${name(example)}: no fact`);
      } else if (!json?.reason) wrong.push(`${name(example)}: no reason`);
    }
    assertEquals(wrong, []);
    console.log(`${seen.stored} stored, ${seen.ignored} ignored`);
    const rows = await sql`select delivery_id, result, event from metrics.deliveries where source = ${source}`;
    assertEquals(rows.length, examples.length);
    assertEquals(rows.filter((row) => row.result === "quarantined").length, 0);
    for (const event of translated) {
      const total = examples.filter((example) => example.event === event);
      assert(total.length > 0, `there is no example of ${event}`);
    }
  },
);

Deno.test("every example that comes again is a duplicate and changes nothing", options, async () => {
  const facts = () =>
    sql`
      select
        (select jsonb_agg(to_jsonb(j) order by external_id) from metrics.jobs as j) as jobs,
        (select jsonb_agg(to_jsonb(p) order by external_id) from metrics.pipeline_runs as p) as runs,
        (select jsonb_agg(to_jsonb(p) order by number) from metrics.pull_requests as p) as pulls,
        (select jsonb_agg(to_jsonb(d) order by external_id) from metrics.deployments as d) as deployments,
        (select jsonb_agg(to_jsonb(d) order by delivery_id) from metrics.deliveries as d where source = ${source}) as deliveries
    `;
  const before = await facts();
  const answers = await postAll();
  const wrong = [...answers].filter(([, { status, json }]) => status !== 200 || json?.result !== "duplicate");
  assertEquals(wrong.map(([example, { status, text }]) => `${name(example)}: ${status} ${text}`), []);
  assertEquals([...await facts()], [...before]);
});

Deno.test("an admin reads through REST what the examples said", options, async () => {
  const { client } = await signedIn(stack, sql, "admin");
  const { data: repositories } = await client.from("repository_references").select("id,reference,repository_id").eq(
    "source",
    source,
  );
  const references = new Map(
    (repositories as { id: number; reference: string }[]).map((one) => [one.reference, one.id]),
  );
  const find = (event: string, test: (body: Example["body"]) => boolean) =>
    examples.find((example) => example.event === event && test(example.body))!.body;
  const rowsOf = async (table: string, columns: string, repository: { id: number }, key: Record<string, unknown>) => {
    const reference_id = references.get(`${source}:${repository.id}`)!;
    const { data, error } = await client.from(table).select(columns).match({ reference_id, ...key });
    assertEquals(error, null);
    return data as unknown;
  };

  // Its examples contradict each other about the conclusion, in the same second.
  const { workflow_job: job, ...ofJob } = find(
    "workflow_job",
    (body) => body.action === "completed" && body.workflow_job.steps.length > 0,
  );
  assertEquals(
    await rowsOf(
      "jobs",
      "name,status,run_external_id,commit_sha,runner_labels,url",
      ofJob.repository,
      { external_id: String(job.id) },
    ),
    [{
      name: job.name,
      status: "finished",
      run_external_id: String(job.run_id),
      commit_sha: job.head_sha,
      runner_labels: job.labels,
      url: job.html_url,
    }],
  );

  // Its examples are the life of one pull request, never merged.
  const { pull_request: pull, ...ofPull } = find("pull_request", (body) => body.action === "opened");
  assertEquals(
    await rowsOf("pull_requests", "title,author,head_branch,base_branch,merge_sha", ofPull.repository, {
      number: pull.number,
    }),
    [{
      title: pull.title,
      author: pull.user.login,
      head_branch: pull.head.ref,
      base_branch: pull.base.ref,
      merge_sha: null,
    }],
  );

  const push = find("push", (body) => body.commits.length > 0);
  assertEquals(
    await rowsOf("pushes", "before,commits,pusher", push.repository, { ref: push.ref, after: push.after }),
    [{
      before: push.before,
      commits: push.commits.map((commit: { id: string }) => commit.id),
      pusher: push.pusher.name,
    }],
  );

  const { deployment_status: status, ...ofStatus } = find(
    "deployment_status",
    (body) => body.deployment_status.state === "success",
  );
  assertEquals(
    await rowsOf("deployments", "environment,commit_sha,status,outcome", ofStatus.repository, {
      external_id: String(ofStatus.deployment.id),
    }),
    [{
      environment: status.environment,
      commit_sha: ofStatus.deployment.sha,
      status: "finished",
      outcome: "success",
    }],
  );

  const { release, ...ofRelease } = find("release", (body) => body.action === "published");
  assertEquals(
    await rowsOf("releases", "tag,url", ofRelease.repository, { external_id: String(release.id) }),
    [{ tag: release.tag_name, url: release.html_url }],
  );

  const { data: health } = await client.rpc("ingest_health");
  const own = (health as unknown as Record<string, unknown>[]).find((row) => row.source === source)!;
  assertEquals(Number(own.stored) + Number(own.ignored), examples.length);
  assertEquals(Number(own.quarantined), 0);
});
