import { assert, assertEquals } from "@std/assert";
import { encodeHex } from "@std/encoding/hex";
import type { Sql } from "postgres";
import { readIncidentLabels } from "../../supabase/functions/ingest-metrics/configuration.ts";
import { encodeBase64 } from "@std/encoding/base64";
import { githubExample } from "../../supabase/functions/ingest-metrics/testing.ts";
import { testDatabase } from "../../tests/support/database.ts";
import { replay, type Replayed, type ReplayOptions } from "./replay.ts";

const usual: ReplayOptions = { isDry: false, withConflicts: false, incidentLabels: readIncidentLabels({}) };

interface Kept {
  id: string;
  source?: string;
  event?: string | null;
  type?: string;
  hasBody?: boolean;
}

/** Puts a delivery into quarantine, as a function of the past that did not understand it. */
async function quarantine(
  sql: Sql,
  body: unknown,
  { id, source = "github", event = "workflow_job.completed", type, hasBody = true }: Kept,
) {
  const bytes = new TextEncoder().encode(typeof body === "string" ? body : JSON.stringify(body));
  const sha256 = encodeHex(await crypto.subtle.digest("SHA-256", bytes));
  const delivery = {
    source,
    delivery_id: id,
    event,
    sha256,
    size: bytes.length,
    content_type: type ?? "application/json",
    result: "quarantined",
    reason: "not understood in the past",
  };
  const kept = hasBody ? encodeBase64(bytes) : null;
  const [row] = await sql`select metrics.ingest(${sql.json(delivery)}::jsonb, '{}'::jsonb, ${kept}) as answer`;
  assertEquals(row!.answer.result, "quarantined");
}

async function replayed(sql: Sql, options: Partial<ReplayOptions> = {}): Promise<Replayed[]> {
  return await Array.fromAsync(replay(sql, { ...usual, ...options }));
}
const brief = (all: Replayed[]) =>
  Object.fromEntries(all.map(({ deliveryId, result }) => [deliveryId.slice(0, 8), result]));

Deno.test("what is understood now is committed with its facts, once", async () => {
  await using database = await testDatabase();
  const { sql } = database;
  const job = await githubExample("workflow_job", 1);
  await quarantine(sql, job, { id: "job" });
  await quarantine(sql, `payload=${encodeURIComponent(JSON.stringify(await githubExample("push", 4)))}`, {
    id: "form",
    event: "push",
    type: "application/x-www-form-urlencoded",
  });
  await quarantine(sql, { zen: "Keep it logically awesome." }, { id: "ping", event: "ping" });
  const dry = await replayed(sql, { isDry: true });
  assertEquals(brief(dry), { job: "stored", form: "stored", ping: "ignored" });
  assertEquals((await sql`select from metrics.jobs`).length, 0);

  const all = await replayed(sql);
  assertEquals(brief(all), { job: "stored", form: "stored", ping: "ignored" });
  assertEquals(all.map(({ facts }) => facts), [
    { repositories: 1, jobs: 1 },
    { repositories: 1, pushes: 1, commits: 1 },
    {},
  ]);
  const [row] = await sql`select name, status, outcome from metrics.jobs`;
  assertEquals({ ...row }, { name: "linters", status: "finished", outcome: "failure" });
  assertEquals(await replayed(sql), []);
  const results = await sql`select delivery_id, result from metrics.deliveries`;
  assertEquals(Object.fromEntries(results.map((one) => [one.delivery_id, one.result])), brief(all));
});

Deno.test("every content type is read as it came", async () => {
  await using database = await testDatabase();
  const { sql } = database;
  const event = (subject: string, predicate: string) => ({
    context: {
      id: predicate,
      source: "/ci",
      type: `dev.cdevents.${subject}.${predicate}.0.2.0`,
      timestamp: "2026-03-02T09:00:00Z",
    },
    subject: { id: "run-1", content: {} },
  });
  const [started, finished] = [event("pipelinerun", "started"), event("pipelinerun", "finished")];
  const envelope = { specversion: "1.0", type: finished.context.type, data: finished };
  const kept = { source: "cdevents", event: "pipelinerun.started" };
  await quarantine(sql, started, { ...kept, id: "binary", type: "application/cdevents+json" });
  await quarantine(sql, envelope, { ...kept, id: "envelope", type: "application/cloudevents+json" });
  await quarantine(sql, [started, envelope], {
    ...kept,
    id: "batch",
    event: "batch",
    type: "application/cloudevents-batch+json",
  });
  await quarantine(sql, [started], { ...kept, id: "no-batch", type: "application/json" });
  const all = await replayed(sql);
  assertEquals(brief(all), { binary: "stored", envelope: "stored", batch: "stored", "no-batch": "quarantined" });
  assertEquals(all.map(({ facts }) => facts.pipeline_runs ?? 0), [1, 1, 2, 0]);
  const types = await sql`select content_type from metrics.deliveries where result = 'stored' order by delivery_id`;
  assertEquals(types.map((row) => row.content_type.split("/")[1]), [
    "cloudevents-batch+json",
    "cdevents+json",
    "cloudevents+json",
  ]);
});

Deno.test("what is not understood, has no body or no source, or is refused, stays where it is", async () => {
  await using database = await testDatabase();
  const { sql } = database;
  const job = await githubExample("workflow_job", 1);
  await quarantine(sql, "not JSON", { id: "broken" });
  await quarantine(sql, job, { id: "no-event", event: null });
  await quarantine(sql, job, { id: "bodyless", hasBody: false });
  await quarantine(sql, job, { id: "nobodys", source: "nobody" });
  await quarantine(sql, { ...job, workflow_job: { ...job.workflow_job, run_attempt: 0 } }, { id: "refused" });
  await quarantine(sql, job, { id: "other", source: "github-other" });
  const deliveries = async () => [...await sql`select * from metrics.deliveries where source = 'github' order by 1, 2`];
  const before = await deliveries();
  const all = await replayed(sql, { source: "github" });
  assertEquals(brief(all), {
    broken: "quarantined",
    "no-event": "quarantined",
    bodyless: "without body",
    refused: "refused",
  });
  assertEquals(all.find((one) => one.result === "refused")!.reason, "SQLSTATE 23514");
  assertEquals(await deliveries(), before);
  assertEquals(brief(await replayed(sql, { source: "nobody" })), { nobodys: "without source" });
  assertEquals(brief(await replayed(sql, { source: "github-other" })), { other: "stored" });
  const [reference] = await sql`select reference from metrics.repository_references where source = 'github-other'`;
  assertEquals(reference!.reference, `github-other:${job.repository.id}`);
});

Deno.test("a conflict is applied only when somebody says so", async () => {
  await using database = await testDatabase();
  const { sql } = database;
  const job = await githubExample("workflow_job", 1);
  await quarantine(sql, job, { id: "twice" });
  await replayed(sql);
  await quarantine(sql, { ...job, workflow_job: { ...job.workflow_job, name: "other", id: 5 } }, { id: "twice" });
  assertEquals((await replayed(sql)).map(({ result }) => result), ["conflict"]);
  assertEquals((await sql`select from metrics.jobs`).length, 1);
  assertEquals((await replayed(sql, { withConflicts: true })).map(({ result }) => result), ["stored"]);
  assertEquals((await sql`select from metrics.jobs`).length, 2);
  assertEquals(await replayed(sql, { withConflicts: true }), []);
});

Deno.test("the command says what became of each, nothing of a body, and by its exit code whether something is left", async () => {
  await using database = await testDatabase();
  const { sql } = database;
  const canary = "canary-0123456789";
  const issue = await githubExample("issues", 0);
  Object.assign(issue.issue, { title: canary, labels: [{ name: "Sev1" }] });
  await quarantine(sql, issue, { id: "incident", event: "issues.opened" });
  await quarantine(sql, `{"${canary}`, { id: "broken" });
  const command = async (...args: string[]) => {
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", new URL("mod.ts", import.meta.url).pathname, ...args],
      env: { INGEST_INCIDENT_LABELS: "sev1", SUPABASE_DB_URL: "" },
    }).output();
    const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
    assert(!text.includes(canary) && !text.includes(new URL(database.url).password || canary));
    return { code, text };
  };
  const dry = await command("--database-url", database.url, "--dry-run", "--source", "github");
  assertEquals([dry.code, dry.text.split("\n").at(-2)], [1, "Would be: 1 stored, 1 quarantined"]);
  const first = await command("--database-url", database.url);
  assertEquals(first, {
    code: 1,
    text: "github\tincident\tissues.opened\tstored\t1 incidents, 1 repositories\n" +
      "github\tbroken\tworkflow_job.completed\tquarantined\tbody: not JSON\n1 stored, 1 quarantined\n",
  });
  await sql`delete from metrics.deliveries where result = 'quarantined'`;
  assertEquals(await command("--database-url", database.url), { code: 0, text: "Nothing is in quarantine.\n" });
  assertEquals([(await command()).code, (await command("--all")).code], [2, 2]);
});
