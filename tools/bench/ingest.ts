/** `deno task bench ingest`: how fast deliveries are kept, against the least that keeping their bytes can cost. */

import { parseArgs } from "@std/cli/parse-args";
import { createClient } from "@supabase/supabase-js";
import type { Sql } from "postgres";
import { encodeBase64 } from "@std/encoding/base64";
import { type BenchStack, benchStack } from "./environment.ts";
import { Connection, paced, post } from "./http.ts";
import { asCall, asOneCall, type Call, type JobDelivery, JobStream, signature } from "./jobs.ts";
import { Report } from "./report.ts";
import { alternate, loops, percentile, rate, ratios, type Side, type SliceOptions, spread } from "./slices.ts";
import type { RunningStack } from "../../tests/support/stack.ts";

const usage = `deno task bench ingest [--seconds S] [--slices N] [--parts http,sql,batch,latency] [--check]

  --seconds S  length of a slice, default 3
  --slices N   slices of each side, default 5
  --parts P    only these parts
  --check      end with an error when a target is missed
`;

const REPOSITORIES = 200;
const IN_FLIGHT = 16;
const CONNECTIONS = 8;
const JOBS_A_CALL = 500;
/** Most requests that may wait for their answer at once when they are sent at a steady rate. */
const WAITING = 64;
const parts = ["http", "sql", "batch", "latency"] as const;

/** Runs the benchmark: the exit code. */
export async function run(args: string[]): Promise<number> {
  const options = parseArgs(args, { string: ["seconds", "slices", "parts"], boolean: ["check", "help"] });
  const timing = { seconds: Number(options.seconds ?? 3), slices: Number(options.slices ?? 5) };
  const chosen = new Set<string>(options.parts?.split(",") ?? parts);
  if (options.help || !(timing.seconds > 0) || !(timing.slices >= 1) || [...chosen].some((part) => !isPart(part))) {
    console.log(usage);
    return options.help ? 0 : 2;
  }
  const report = new Report();
  report.part(
    `deno task bench ${["ingest", ...args].join(" ")}`,
    `${navigator.hardwareConcurrency} cores, load before ${
      Deno.loadavg()[0]!.toFixed(2)
    }; ${REPOSITORIES} repositories; ` +
      "fsync, synchronous_commit and full_page_writes on",
    "workflow_job: a third each queued, in_progress and completed of the same jobs, a new delivery id each, 10 to 19 steps;",
    "a repository changes every 30 jobs; both sides start on empty tables",
    `medians of ${timing.slices} slices of ${timing.seconds} s that take turns (least to greatest)`,
  );
  await using bench = await benchStack(CONNECTIONS);
  if (chosen.has("http") || chosen.has("latency")) await overHttp(bench, timing, report, chosen);
  if (chosen.has("sql") || chosen.has("batch")) await inSql(bench.sql, timing, report, chosen.has("batch"));
  if (report.missed.length > 0) console.log(`\nmissed: ${report.missed.join("; ")}`);
  return options.check && report.missed.length > 0 ? 1 : 0;
}

function isPart(word: string): boolean {
  return (parts as readonly string[]).includes(word);
}

/** A stream whose repositories are known to the database before anything is measured. */
async function openStream(sql: Sql, repositories: number, number: number): Promise<JobStream> {
  const stream = await JobStream.open(repositories, number);
  await loops(CONNECTIONS, stream.introductions().map(asCall), Infinity, (call) => ingest(sql, call));
  return stream;
}

async function overHttp(
  { stack, sql }: BenchStack,
  timing: SliceOptions,
  report: Report,
  chosen: ReadonlySet<string>,
): Promise<void> {
  const stream = await openStream(sql, REPOSITORIES, 1);
  const url = `${stack.url}/functions/v1/ingest-metrics/github`;
  const secret = stack.sources.github!;
  const connections = await Promise.all(Array.from({ length: WAITING }, () => Connection.open(stack.url)));
  const signed = ({ id, body }: JobDelivery) =>
    post(url, {
      "content-type": "application/json",
      "user-agent": "GitHub-Hookshot/0000000",
      "x-github-event": "workflow_job",
      "x-github-delivery": id,
      "x-hub-signature-256": signature(body, secret),
    }, body);
  const expectStored = (status: number) => {
    if (status !== 200) throw new Error(`a delivery was answered ${status}`);
  };

  let requests: Uint8Array[] = [];
  const cpu: number[] = [];
  const sizes: number[] = [];
  const full: Side = {
    guess: 200,
    prepare(count) {
      const deliveries = stream.take(count);
      sizes.push(deliveries.reduce((sum, { body }) => sum + body.length, 0) / count);
      requests = deliveries.map(signed);
    },
    async work(deadline) {
      const before = cpuSeconds(stack);
      const done = await loops(IN_FLIGHT, requests, deadline, async (request, loop) => {
        expectStored(await connections[loop]!.send(request));
      });
      cpu.push((1000 * (cpuSeconds(stack) - before)) / done);
      return done;
    },
  };

  const client = createClient(stack.url, stack.secret_key, {
    auth: { persistSession: false, autoRefreshToken: false, detectSessionInUrl: false },
    accessToken: () => Promise.resolve(stack.secret_key),
  });
  const bodies = await openStream(sql, REPOSITORIES, 2);
  let deliveries: { id: string; body: string }[] = [];
  const bare: Side = {
    guess: 400,
    prepare(count) {
      deliveries = bodies.take(count).map(({ id, body }) => ({ id, body: encodeBase64(body) }));
    },
    work: (deadline) =>
      loops(IN_FLIGHT, deliveries, deadline, async (delivery) => {
        const { error } = await client.rpc("bare_store", delivery);
        if (error) throw new Error(`bare_store: ${error.message}`);
      }),
  };

  const [bareSlices = [], fullSlices = []] = await alternate([bare, full], timing);
  if (chosen.has("http")) {
    report.part(
      `HTTP, ${IN_FLIGHT} in flight`,
      `signed bodies of ${
        (spread(sizes).median / 1024).toFixed(1)
      } KiB on average, against supabase-js rpc of the same bytes`,
    );
    report.rate("bare rpc", bareSlices, "a second");
    report.rate("full path", fullSlices, "a second");
    report.target("full path / bare rpc", ratios(fullSlices, bareSlices), "", { atLeast: 0.6 });
    // Without the slice that warms up.
    report.target("the function's CPU a delivery", cpu.slice(1), "ms", { atMost: 2 });
  }
  if (chosen.has("latency")) {
    const saturation = spread(fullSlices.map(rate)).median;
    const half = saturation / 2;
    const all: number[] = [];
    const p99: number[] = [];
    for (let slice = -1; slice < timing.slices; slice++) {
      const seconds = Math.max(timing.seconds, slice < 0 ? 1 : 200 / half);
      const times = await paced(connections, stream.take(Math.ceil(half * seconds)).map(signed), half, expectStored);
      if (slice < 0) continue;
      p99.push(percentile(times, 0.99));
      all.push(...times);
    }
    report.part(
      `HTTP, a steady ${half.toFixed(0)} a second, half of the saturation rate`,
      `${all.length} deliveries, each timed from the moment that it was due`,
    );
    report.figure("p50", [percentile(all, 0.5)], "ms", 1);
    report.figure("p99 of a slice", p99, "ms", 1);
    report.target("p99", [percentile(all, 0.99)], "ms", { atMost: 150 }, 1);
  }
  for (const connection of connections) connection.close();
}

async function inSql(sql: Sql, timing: SliceOptions, report: Report, withBatch: boolean): Promise<void> {
  const bodies = await openStream(sql, REPOSITORIES, 3);
  let deliveries: { id: string; body: string }[] = [];
  const bare: Side = {
    guess: 2000,
    prepare(count) {
      deliveries = bodies.take(count).map(({ id, body }) => ({ id, body: encodeBase64(body) }));
    },
    work: (deadline) =>
      loops(CONNECTIONS, deliveries, deadline, async ({ id, body }) => {
        await sql`insert into bench.bodies (id, body) values (${id}, decode(${body}, 'base64'))`;
      }),
  };
  const calls = (guess: number, next: (count: number) => Call[]): Side => {
    let prepared: Call[] = [];
    return {
      guess,
      prepare: (count) => void (prepared = next(count)),
      work: (deadline) => loops(CONNECTIONS, prepared, deadline, (call) => ingest(sql, call)),
    };
  };
  const many = await openStream(sql, REPOSITORIES, 4);
  const one = await openStream(sql, 1, 5);
  const history = await openStream(sql, REPOSITORIES, 6);
  const sides = [
    bare,
    calls(1000, (count) => many.take(count).map(asCall)),
    calls(1000, (count) => one.take(count).map(asCall)),
  ];
  if (withBatch) {
    sides.push(calls(20, (count) => Array.from({ length: count }, () => asOneCall(history.history(JOBS_A_CALL)))));
  }
  const [bareSlices = [], manySlices = [], oneSlices = [], batchSlices] = await alternate(sides, timing);
  report.part(
    `SQL, one delivery a call, ${CONNECTIONS} connections`,
    "metrics.ingest with the facts that the function made beforehand, against an insert of the same body",
  );
  report.rate("bare insert", bareSlices, "a second");
  report.rate("metrics.ingest", manySlices, "a second");
  report.rate("metrics.ingest, all of one repository", oneSlices, "a second");
  report.target("metrics.ingest / bare insert", ratios(manySlices, bareSlices), "", { atLeast: 0.4 });
  report.target("one repository / many repositories", ratios(oneSlices, manySlices), "", { atLeast: 0.7 });
  if (batchSlices) {
    report.part(`SQL, ${JOBS_A_CALL} completed jobs of one repository a call, ${CONNECTIONS} connections`);
    report.rate("metrics.ingest", batchSlices, "jobs a second", JOBS_A_CALL);
    report.target(
      "jobs a second / one delivery a call",
      ratios(batchSlices, manySlices).map((ratio) => ratio * JOBS_A_CALL),
      "",
      { atLeast: 15 },
      1,
    );
  }
}

/** Calls the database as the function does: a serialisation failure is tried once more. */
export async function ingest(sql: Sql, call: Call, isSecond = false): Promise<void> {
  const { delivery, facts, body } = call;
  try {
    const [row] = await sql`
      select metrics.ingest(${delivery}::text::jsonb, ${facts}::text::jsonb, ${
      body || null
    }::text) ->> 'result' as result
    `;
    if (row?.result !== "stored") throw new Error(`a delivery was ${row?.result}`);
  } catch (error) {
    if (isSecond || !["40001", "40P01"].includes((error as { code?: string }).code ?? "")) throw error;
    await ingest(sql, call, true);
  }
}

/** Seconds of CPU that the function's process has had, in the kernel's hundredths. */
function cpuSeconds(stack: RunningStack): number {
  const stat = Deno.readTextFileSync(`/proc/${stack.processes.functions["ingest-metrics"]}/stat`);
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}
