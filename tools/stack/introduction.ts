import postgres from "postgres";
import { type Answer, post, readSamples } from "./samples.ts";
import type { Stack } from "./stack.ts";

/** How to introduce a stack to the person who started it. */
export interface IntroductionOptions {
  /** Whether an empty database is filled with sample deliveries. */
  fill: boolean;
  say: (text: string) => void;
}

/** Fills an empty database with sample deliveries over HTTP, and says what runs where and how to read the facts. */
export async function introduce(stack: Stack, { fill, say }: IntroductionOptions): Promise<void> {
  const answers = fill && await isEmpty(stack.databaseUrl) ? await fillWithSamples(stack) : [];
  say(describe(stack));
  if (answers.length > 0) say(summary(answers));
}

async function isEmpty(url: string): Promise<boolean> {
  const sql = postgres(url, { max: 1, onnotice: () => {} });
  try {
    const [found] = await sql`select to_regclass('metrics.deliveries') is not null as exists`;
    if (!found?.exists) return false;
    const [row] = await sql`select not exists (select from metrics.deliveries) as empty`;
    return row?.empty;
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

function describe(stack: Stack): string {
  return `The stack runs. Ctrl-C stops it; what it holds stays in ${stack.ready.data}.

  webhooks   POST ${stack.url}/functions/v1/ingest-metrics/github
  REST       ${stack.url}/rest/v1/   (schema metrics)
  Auth       ${stack.url}/auth/v1/
  database   ${stack.databaseUrl}
`;
}

/** What became of the sample deliveries: one line, then the facts by kind. */
function summary(answers: Answer[]): string {
  const results: Record<string, number> = {};
  const facts: Record<string, number> = {};
  for (const answer of answers) {
    results[answer.result] = (results[answer.result] ?? 0) + 1;
    for (const [kind, count] of Object.entries(answer.facts)) facts[kind] = (facts[kind] ?? 0) + count;
  }
  const list = (counts: Record<string, number>) => Object.entries(counts).map(([name, n]) => `${n} ${name}`).join(", ");
  return `${answers.length} sample deliveries were posted: ${list(results)}.\nThey said: ${
    list(facts) || "nothing"
  }.\n`;
}
