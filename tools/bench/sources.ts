/** `deno task bench sources`: what one body of each source, and a large report, cost the function before the database is asked. */

import { parseArgs } from "@std/cli/parse-args";
import process from "node:process";
import { checkFacts } from "../../supabase/functions/ingest-metrics/facts.ts";
import { createVerifier, type Scheme } from "../../supabase/functions/ingest-metrics/identity/mod.ts";
import { reports } from "../../supabase/functions/ingest-metrics/reports/mod.ts";
import { contextWith, largeJunit } from "../../supabase/functions/ingest-metrics/reports/testing.ts";
import { decodeReport } from "../../supabase/functions/ingest-metrics/reports/text.ts";
import { type Source, sources } from "../../supabase/functions/ingest-metrics/sources/mod.ts";
import { translate } from "../../supabase/functions/ingest-metrics/translate.ts";
import { readExample } from "../../tests/support/history_examples.ts";
import { sentAs } from "../../tests/support/history_senders.ts";
import { signatureOf, standardHeaders } from "../../tests/support/http.ts";
import { Report } from "./report.ts";

const usage = `deno task bench sources [--slices N] [--check]

  --slices N   slices of each source and readings of the report, default 15
  --check      end with an error when a target is missed
`;

const BODY_BYTES = 10 * 1024;
const BODIES_A_SLICE = 100;
const REPORT_BYTES = 5e6;
const SECRET = "a secret of the benchmark";

/** For each provider a delivery of tests/examples, and the list in it that is lengthened until the body has its size. */
const examples: Readonly<Record<string, { file: string; event: string; list: string }>> = {
  github: { file: "repository-life", event: "workflow_job", list: "workflow_job.steps" },
  gitlab: { file: "gitlab-project-life", event: "Pipeline Hook", list: "builds" },
  pagerduty: { file: "pagerduty-merged", event: "incident.triggered", list: "event.data.assignees" },
  cdevents: { file: "cdevents-pipeline", event: "batch", list: "" },
};

/** A body as its sender would send it, and everything that the function needs to take it. */
interface Sent {
  headers: Headers;
  contentType: Source["contentTypes"][number];
  bytes: Uint8Array;
  secret: string;
}

/** Runs the benchmark: the exit code. */
export async function run(args: string[]): Promise<number> {
  const options = parseArgs(args, { string: ["slices"], boolean: ["check", "help"] });
  const slices = Number(options.slices ?? 15);
  if (options.help || !(slices >= 1)) {
    console.log(usage);
    return options.help ? 0 : 2;
  }
  const report = new Report();
  report.part(
    `deno task bench ${["sources", ...args].join(" ")}`,
    `${navigator.hardwareConcurrency} cores, load before ${Deno.loadavg()[0]!.toFixed(2)}; CPU of the whole process`,
    `verify + parse + normalise: medians of ${slices} slices of ${BODIES_A_SLICE} bodies (least to greatest)`,
  );
  for (const source of sources.values()) {
    const sent = await bodyOf(source);
    const take = taker(source, sent);
    // What is compiled once is not what a body costs.
    for (let count = 0; count < 3 * BODIES_A_SLICE; count++) await take();
    const each: number[] = [];
    for (let slice = 0; slice < slices; slice++) {
      const before = process.cpuUsage();
      for (let count = 0; count < BODIES_A_SLICE; count++) await take();
      each.push(milliseconds(before) / BODIES_A_SLICE);
    }
    report.target(`${source.provider}, ${sent.bytes.length} bytes`, each, "ms", { atMost: 1 }, 3);
  }
  largeReport(report, slices);
  if (report.missed.length > 0) console.log(`\nmissed: ${report.missed.join("; ")}`);
  return options.check && report.missed.length > 0 ? 1 : 0;
}

/** A JUnit file as Surefire writes it, a seventh of whose tests fail. */
function largeReport(report: Report, readings: number): void {
  const bytes = new TextEncoder().encode(largeJunit(REPORT_BYTES, Infinity));
  const each: number[] = [];
  let counted = "";
  for (let reading = 0; reading < readings; reading++) {
    const before = process.cpuUsage();
    const decoded = decodeReport(bytes);
    const read = "text" in decoded ? reports.get("junit")!.read(decoded.text, contextWith()) : decoded;
    const checked = "facts" in read ? checkFacts(read.facts) : { wrong: "refused" };
    each.push(milliseconds(before));
    if ("wrong" in checked) throw new Error(checked.wrong);
    counted = Object.entries(checked.facts).map(([kind, list]) => `${list.length} ${kind}`).join(", ");
  }
  report.part(`junit, ${bytes.length} bytes: ${counted}`);
  report.figure("the first reading, when nothing is compiled", each.slice(0, 1), "ms", 0);
  report.target("decode + parse + normalise", each, "ms", { atMost: 500 }, 0);
}

function milliseconds(before: { user: number; system: number }): number {
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

/** Takes one body as the handler does, up to what the database is given. */
function taker(source: Source, { headers, contentType, bytes, secret }: Sent): () => Promise<void> {
  const verifier = createVerifier(source.scheme, [secret]);
  const options = { source: source.provider, incidentLabels: new Set<string>() };
  return async () => {
    if (!(await verifier.claim(headers)?.proves(bytes))) throw new Error(`${source.provider}: not proven`);
    const { result, reason } = translate(source, contentType, bytes, (body) => source.identify(headers, body), options);
    if (result !== "stored") throw new Error(`${source.provider}: ${result}, ${reason}`);
  };
}

async function bodyOf(source: Source): Promise<Sent> {
  const example = examples[source.provider];
  if (!example) throw new Error(`tools/bench/sources.ts names no example of ${source.provider}`);
  const found = readExample(example.file).deliveries.find(({ event, body }) =>
    event === example.event && listIn(body, example.list).length > 0
  );
  if (!found) throw new Error(`tests/examples/${example.file}.json has no ${example.event} with ${example.list}`);
  const body = structuredClone(found.body);
  lengthen(body, listIn(body, example.list));
  const { contentType, headers } = sentAs({ ...found, body });
  const bytes = new TextEncoder().encode(JSON.stringify(body));
  const scheme = ([source.scheme].flat() as Scheme[])[0]!;
  const secret = scheme.kind === "standard_webhooks" ? `whsec_${btoa("x".repeat(32))}` : SECRET;
  return {
    headers: new Headers({
      "content-type": contentType,
      ...headers,
      ...await proofOf(scheme, bytes, secret, found.id),
    }),
    contentType,
    bytes,
    secret,
  };
}

function listIn(body: unknown, path: string): { id?: unknown }[] {
  const names = path === "" ? [] : path.split(".");
  return names.reduce<unknown>((value, name) => (value as Record<string, unknown>)[name], body) as { id?: unknown }[];
}

/** Repeats the items of a list in a body, with ids of their own where they have numbers, until the body is long enough. */
function lengthen(body: unknown, list: { id?: unknown }[]): void {
  const items = structuredClone(list);
  for (let index = 0; JSON.stringify(body).length < BODY_BYTES; index++) {
    const item = structuredClone(items[index % items.length]!);
    if (typeof item.id === "number") item.id += 1000 + index;
    list.push(item);
  }
}

async function proofOf(scheme: Scheme, bytes: Uint8Array, secret: string, id: string): Promise<Record<string, string>> {
  switch (scheme.kind) {
    case "hmac": {
      const [, digits = ""] = (await signatureOf(bytes, secret)).split("=");
      return { [scheme.header]: scheme.prefix + digits };
    }
    case "standard_webhooks":
      return await standardHeaders(bytes, secret, id);
    case "bearer":
      return { [scheme.header]: scheme.prefix + secret };
  }
}
