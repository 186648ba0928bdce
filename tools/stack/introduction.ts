import postgres from "postgres";
import { join, relative } from "@std/path";
import { repository } from "./packages.ts";
import { type Answer, post, readSamples } from "./samples.ts";
import type { Stack } from "./stack.ts";

/** How to introduce a stack to the person who started it. */
export interface IntroductionOptions {
  /** Whether an empty database is filled with sample deliveries. */
  fill: boolean;
  say: (text: string) => void;
}

/** The member who reads the facts of a new stack, until there are real ones. */
const demoMember = "dev-1@example.com";

/**
 * Fills an empty database with sample deliveries over HTTP, writes what a person needs to post and read into files of the
 * data folder, and says what runs where. Secrets stand in those files only, never in what is said.
 */
export async function introduce(stack: Stack, { fill, say }: IntroductionOptions): Promise<void> {
  const isEmpty = fill && await asPostgres(stack, async (sql) => {
    const [row] = await sql`select not exists (select from metrics.deliveries) as empty`;
    return row?.empty === true;
  });
  const answers = isEmpty ? await fillWithSamples(stack) : [];
  if (isEmpty) await inviteDemoMember(stack);
  const canRead = await renewFiles(stack);
  say(describe(stack, canRead));
  if (answers.length > 0) {
    say(summary(answers));
    say(await sampleJobs(stack));
  }
}

/**
 * Writes the files that pasted commands read: the demo member's headers, which end after an hour, the secret that a GitHub
 * webhook is signed with, and the database's address.
 *
 * @returns whether there is a demo member to read as
 */
export async function renewFiles(stack: Stack): Promise<boolean> {
  const write = (name: string, text: string) =>
    Deno.writeTextFile(join(stack.ready.data, name), `${text}\n`, { mode: 0o600 });
  await write("database.url", stack.databaseUrl);
  if (stack.sources.github) await write("github.secret", stack.sources.github);
  const session = await auth(stack, "token?grant_type=password");
  if (!session) return false;
  await write(
    "member.headers",
    [
      `apikey: ${stack.secrets.publishable_key}`,
      `authorization: Bearer ${session}`,
      "accept-profile: metrics",
      "content-profile: metrics",
    ].join("\n"),
  );
  return true;
}

/** Calls Auth with the demo member's address and password: an access token, or undefined. */
async function auth(stack: Stack, path: string): Promise<string | undefined> {
  const response = await fetch(`${stack.url}/auth/v1/${path}`, {
    method: "POST",
    headers: { apikey: stack.secrets.publishable_key, "content-type": "application/json" },
    body: JSON.stringify({ email: demoMember, password: stack.secrets.member_password }),
  });
  const answer = await response.json().catch(() => ({}));
  return response.ok ? answer.access_token : undefined;
}

async function inviteDemoMember(stack: Stack): Promise<void> {
  const token = await auth(stack, "signup");
  if (!token) return;
  await asPostgres(stack, (sql) => sql`select metrics.add_member(${demoMember}, 'admin')`);
  const response = await fetch(`${stack.url}/rest/v1/rpc/accept_membership`, {
    method: "POST",
    headers: {
      apikey: stack.secrets.publishable_key,
      authorization: `Bearer ${token}`,
      "content-profile": "metrics",
    },
  });
  await response.body?.cancel();
}

async function asPostgres<T>(stack: Stack, work: (sql: postgres.Sql) => Promise<T>): Promise<T> {
  const sql = postgres(stack.databaseUrl, { max: 1, onnotice: () => {} });
  try {
    return await work(sql);
  } finally {
    await sql.end({ timeout: 5 });
  }
}

async function fillWithSamples(stack: Stack): Promise<Answer[]> {
  const answers: Answer[] = [];
  for (const delivery of await readSamples()) {
    const secret = stack.sources[delivery.source];
    if (secret) answers.push(await post(stack.url, secret, delivery));
  }
  return answers;
}

function describe(stack: Stack, canRead: boolean): string {
  const { data } = stack.ready;
  const path = data.startsWith(`${repository}/`) ? relative(repository, data) : data;
  const lines = [
    `The stack runs. Ctrl-C stops it; its data stays in ${path}.`,
    "",
    "Post webhooks, signed with the secret in the file:",
    `  ${stack.url}/functions/v1/ingest-metrics/github   ${path}/github.secret`,
    "",
    ...(canRead
      ? [
        "Read facts over the API, as the demo member:",
        `  curl -H @${path}/member.headers '${stack.url}/rest/v1/jobs?select=name,outcome,duration_seconds'`,
        "",
      ]
      : []),
    "Read facts in SQL, as the owner of the database:",
    `  psql "$(cat ${path}/database.url)" -c 'select name, outcome, duration_seconds from metrics.jobs'`,
    "",
    `Logs: ${path}/log   Keys: ${path}/secrets.json`,
    "",
  ];
  return lines.join("\n");
}

/** What became of the sample deliveries: one line, then the facts by kind. */
function summary(answers: Answer[]): string {
  const results: Record<string, number> = {};
  const facts: Record<string, number> = {};
  for (const answer of answers) {
    results[answer.result] = (results[answer.result] ?? 0) + 1;
    for (const [kind, count] of Object.entries(answer.facts)) facts[kind] = (facts[kind] ?? 0) + count;
  }
  const list = (counts: Record<string, number>) =>
    Object.entries(counts).map(([name, count]) => `${count} ${name.replaceAll("_", " ")}`).join(", ");
  return `${answers.length} sample deliveries were posted: ${list(results)}.\n` +
    `What they observed: ${list(facts) || "nothing"}.\n`;
}

/** The jobs that the samples left, as a reader sees them. */
async function sampleJobs(stack: Stack): Promise<string> {
  const rows = await asPostgres(stack, (sql) =>
    sql`
      select name, coalesce(outcome, status) as outcome, duration_seconds::text as seconds
      from metrics.jobs
      order by started_at
      limit 5
    `);
  const lines = rows.map((row) => `  ${row.name}: ${row.outcome}, ${row.seconds ?? "?"} s`);
  return lines.length > 0 ? `Their jobs as facts:\n${lines.join("\n")}\n` : "";
}
