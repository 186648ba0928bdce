/** `deno task bench queries`: how fast numbers are read from a generated year, and what keeping them ready costs. */

import { parseArgs } from "@std/cli/parse-args";
import type { Sql } from "postgres";
import { rebuild, setAggregates } from "./aggregates.ts";
import { ingest } from "./ingest.ts";
import type { Call } from "./jobs.ts";
import { MemoryOf } from "./memory.ts";
import { DeliveryMix } from "./mix.ts";
import { admitReader, ask, becomeReader, type Question, questionsAbout, READER } from "./reader.ts";
import { Report } from "./report.ts";
import { alternate, loops, percentile, ratios, type Side, type Slice, type SliceOptions } from "./slices.ts";
import { YEAR_ENDS } from "./year.ts";
import { openYears, type YearCluster } from "./year_cluster.ts";

const usage =
  `deno task bench queries [--scale S] [--seconds S] [--slices N] [--calls N] [--deliveries N] [--parts P] [--check]

  --scale S       1, the default, is a year of a million runs
  --seconds S     length of a slice, default 3
  --slices N      slices of each side, default 5
  --calls N       calls of each function, each of another period, default 40 and at least 30
  --deliveries N  that come before any clean-up, default 100000
  --parts P       only these parts: speed,functions,growth,exact,storage,untidy,price,rebuild
  --check         end with an error when a target is missed
`;

const parts = ["speed", "functions", "growth", "exact", "storage", "untidy", "price", "rebuild"] as const;
const CONNECTIONS = 8;
/** Deliveries that come before each slice of the price on the way in. */
const WARMING = 200;
/** The measured periods end on this many different days. */
const PERIODS = 60;

/** The three questions that a first screen asks. */
const overview: Question = { function: "overview", arguments: {}, days: 90 };
const dora: Question = { function: "dora", arguments: { bucket: "week" }, days: 365 };
const pipelines: Question = { function: "pipeline_health", arguments: { bucket: "week" }, days: 90 };
const byPipeline: Question = {
  function: "pipeline_health",
  arguments: { bucket: "week", by: "pipeline", page_size: 100 },
  days: 90,
};
const main = [
  { name: "overview, 90 days, all repositories", question: overview, p95: 150 },
  { name: "dora, 365 days, all services, by week", question: dora, p95: 250 },
  { name: "pipeline_health, 90 days, all, by week", question: pipelines, p95: 100 },
] as const;
/** Functions beside evidence that read rows rather than aggregates. */
const slower = new Set(["step_health", "flaky_tests"]);

/** What a run of the benchmark has at hand. */
interface Bench {
  years: YearCluster;
  scale: number;
  timing: SliceOptions;
  calls: number;
  report: Report;
  /** One session as the reader, of the year that is not changed. */
  reader: Sql;
  /** As the owner, of the same. */
  owner: Sql;
}

/** Runs the benchmark: the exit code. */
export async function run(args: string[]): Promise<number> {
  const options = parseArgs(args, {
    string: ["scale", "seconds", "slices", "calls", "deliveries", "parts"],
    boolean: ["check", "help"],
  });
  const scale = Number(options.scale ?? 1);
  const timing = { seconds: Number(options.seconds ?? 3), slices: Number(options.slices ?? 5) };
  const calls = Number(options.calls ?? 40);
  const deliveries = Number(options.deliveries ?? 100_000);
  const chosen = new Set<string>(options.parts?.split(",") ?? parts);
  if (
    options.help || !(scale > 0) || !(timing.seconds > 0) || !(timing.slices >= 1) || !(calls >= 30) ||
    !(deliveries >= 1) || [...chosen].some((part) => !(parts as readonly string[]).includes(part))
  ) {
    console.log(usage);
    return options.help ? 0 : 2;
  }
  const report = new Report();
  const scales = chosen.has("growth") ? [scale, scale / 10] : [scale];
  await using years = await openYears(scales, (line) => console.log(line));
  await using sessions = new AsyncDisposableStack();
  const open = async (database: string, max: number, isReader = false) => {
    const sql = years.connect(database, max);
    sessions.defer(() => sql.end({ timeout: 5 }));
    if (isReader) await becomeReader(sql);
    return sql;
  };
  for (const scale of scales) await admit(years, years.database(scale));
  // What changes a year changes a copy of it, which is made while nobody reads the year.
  const isChanging = ["exact", "untidy", "price", "rebuild"].some((part) => chosen.has(part));
  const copy = isChanging ? sessions.use(await years.copy(scale)) : undefined;
  const owner = await open(years.database(scale), 1);
  await requireDurability(owner);
  const bench: Bench = {
    years,
    scale,
    timing,
    calls,
    report,
    reader: await open(years.database(scale), 1, true),
    owner,
  };
  const [set] = await owner`
    select current_setting('shared_buffers') as buffers, current_setting('work_mem') as work,
      pg_size_pretty(pg_database_size(current_database())) as size`;
  report.part(
    `deno task bench ${["queries", ...args].join(" ")}`,
    `${navigator.hardwareConcurrency} cores, load before ${Deno.loadavg()[0]!.toFixed(2)}; a year at scale ${scale}, ` +
      `${set!.size}; shared_buffers ${set!.buffers}, work_mem ${
        set!.work
      }; fsync, synchronous_commit and full_page_writes on`,
    `read by ${READER}; a direct connection, prepared statements, warm`,
    `ratios: medians of ${timing.slices} slices of ${timing.seconds} s that take turns (least to greatest)`,
  );
  if (chosen.has("speed")) await speed(bench);
  if (chosen.has("functions")) await functions(bench);
  if (chosen.has("growth")) await growth(bench, await open(years.database(scale / 10), 1, true));
  if (chosen.has("storage")) await storage(bench);
  if (copy) {
    const changer = await open(copy.name, CONNECTIONS);
    const copyReader = await open(copy.name, 1, true);
    if (chosen.has("exact")) await exact(bench, changer);
    if (chosen.has("untidy")) await untidy(bench, changer, copyReader, deliveries);
    if (chosen.has("price")) await price(bench, changer);
    if (chosen.has("rebuild")) await rebuilding(bench, await open(copy.name, 1), copyReader);
  }
  if (report.missed.length > 0) console.log(`\nmissed: ${report.missed.join("; ")}`);
  return options.check && report.missed.length > 0 ? 1 : 0;
}

async function admit(years: YearCluster, database: string): Promise<void> {
  const sql = years.connect(database, 1);
  try {
    await admitReader(sql);
  } finally {
    await sql.end({ timeout: 5 });
  }
}

async function requireDurability(sql: Sql): Promise<void> {
  for (const name of ["fsync", "synchronous_commit", "full_page_writes"]) {
    const [row] = await sql`select current_setting(${name}) as value`;
    if (row?.value !== "on") throw new Error(`${name} is ${row?.value}: production has it on`);
  }
}

/** Milliseconds of each of so many calls, each of another period, after two that warm up. */
async function timed({ reader, calls }: Bench, question: Question): Promise<number[]> {
  const times: number[] = [];
  for (let call = -2; call < calls; call++) {
    const started = performance.now();
    await ask(reader, question, YEAR_ENDS, Math.max(call, 0) % PERIODS);
    if (call >= 0) times.push(performance.now() - started);
  }
  return times;
}

/** Measures something; what fails, or is not there, has missed its target, and the rest is measured all the same. */
async function attempt(report: Report, name: string, measure: () => Promise<void>): Promise<void> {
  try {
    await measure();
  } catch (error) {
    report.missing(name, error instanceof Error ? error.message : String(error));
  }
}

/** Times a question and judges its p95. */
async function judged(bench: Bench, name: string, question: Question, p95: number): Promise<void> {
  await attempt(
    bench.report,
    name,
    async () => bench.report.p95(name, await timed(bench, question), { atMost: p95 }),
  );
}

async function speed(bench: Bench): Promise<void> {
  bench.report.part("Main questions", `p95 of ${bench.calls} calls, each of a period that ends on another day`);
  for (const { name, question, p95 } of main) await judged(bench, name, question, p95);
  await judged(bench, "pipeline_health, by pipeline, a page of 100", byPipeline, 300);
}

async function functions(bench: Bench): Promise<void> {
  const [largest] = await bench.owner`
    select r.full_name, count(*)::int as runs
    from metrics.pipeline_runs as p
    join metrics.repository_references as f on f.id = p.reference_id
    join metrics.repositories as r on r.id = f.repository_id
    group by r.full_name
    order by runs desc
    limit 1`;
  bench.report.part(
    `Every function that takes a period, 90 days of the largest repository, ${largest!.full_name}`,
    `${largest!.runs} runs; p95 of ${bench.calls} calls; of evidence the first page`,
  );
  const questions = await questionsAbout(bench.owner, largest!.full_name, 90);
  for (const question of questions) {
    const isSlower = slower.has(question.function) || question.function.endsWith("_evidence");
    await judged(bench, question.function, question, isSlower ? 150 : 50);
  }
  const expected = [
    "overview",
    "dora",
    "change_lead_time",
    "deployment_frequency",
    "change_fail_rate",
    "failed_deployment_recovery_time",
    "deployment_rework_rate",
    "pull_request_cycle_time",
    "pipeline_health",
    "job_health",
    "step_health",
    "flaky_jobs",
    "flaky_tests",
    "slowest_jobs",
    "test_health",
    "rule_compliance",
    "pipeline_cost",
    "measurement_series",
  ].flatMap((name) => [name, `${name}_evidence`]);
  for (const name of expected) {
    if (!questions.some((question) => question.function === name)) {
      bench.report.missing(name, "there is no such function that takes a period");
    }
  }
}

/** One side of a comparison: asks again and again, each time for another period. */
function asking(question: (call: number) => Promise<unknown>): Side {
  let call = 0;
  return {
    guess: 10,
    prepare: () => {},
    async work(deadline) {
      let done = 0;
      while (performance.now() < deadline) {
        await question(call++ % PERIODS);
        done++;
      }
      return done;
    },
  };
}

/** Lets two sides take turns for each of the main questions. */
async function compare(
  { report, timing }: Bench,
  sides: (question: Question) => [Side, Side],
  tell: (name: string, first: Slice[], second: Slice[]) => void,
): Promise<void> {
  for (const { name, question } of main) {
    await attempt(report, name, async () => {
      const [first = [], second = []] = await alternate(sides(question), timing);
      tell(name, first, second);
    });
  }
}

async function growth(bench: Bench, small: Sql): Promise<void> {
  const { report, reader, scale } = bench;
  report.part(
    "Growth",
    `how many times as long as at scale ${scale / 10}: the same repositories and year, a tenth of the runs`,
  );
  await compare(bench, (question) => [
    asking((before) => ask(reader, question, YEAR_ENDS, before)),
    asking((before) => ask(small, question, YEAR_ENDS, before)),
  ], (name, large, tenth) => report.target(name, ratios(tenth, large), "", { atMost: 4 }));
}

async function exact(bench: Bench, copy: Sql): Promise<void> {
  const { report, reader } = bench;
  report.part(
    "Against the best exact query over the same facts with its own covering index",
    "it runs without row level security, with 64 MB to sort in, and is told which deployment shipped which commit",
  );
  const session = await copy.reserve();
  try {
    await session.unsafe(await Deno.readTextFile(new URL("./exact.sql", import.meta.url))).simple();
    await session`
      vacuum (analyze) bench.changes, bench.readable, metrics.pipeline_runs, metrics.deployments, metrics.pull_requests, metrics.test_runs,
        metrics.rule_checks`;
    await session`set work_mem = '64MB'`;
    await session`set jit = off`;
    await compare(bench, (question) => [
      asking((before) => ask(reader, question, YEAR_ENDS, before)),
      asking((before) => {
        const until = Date.parse(YEAR_ENDS) - before * 86_400_000;
        const since = until - question.days * 86_400_000;
        return session.unsafe(`select * from bench.${question.function}($1::timestamptz, $2::timestamptz)`, [
          new Date(since).toISOString(),
          new Date(until).toISOString(),
        ], { prepare: true });
      }),
    ], (name, ours, theirs) => {
      report.rate(`${name}: ours`, ours, "a second");
      report.rate(`${name}: exact`, theirs, "a second");
      report.target(`${name}: times faster`, ratios(ours, theirs), "", { atLeast: 5 }, 1);
    });
  } finally {
    await session`
      drop index if exists metrics.bench_runs_covering, metrics.bench_deployments_covering, metrics.bench_pull_requests_covering,
        metrics.bench_tests_covering, metrics.bench_rules_covering`;
    await session`drop schema if exists bench cascade`;
    session.release();
  }
}

/** Tables of facts; what is neither one, nor received, nor chosen by people, is derived. */
const factTables = [
  "pipeline_runs",
  "jobs",
  "pull_requests",
  "reviews",
  "pushes",
  "commits",
  "deployments",
  "releases",
  "incidents",
  "tests",
  "test_runs",
  "test_cases",
  "rule_checks",
  "measurements",
  "repositories",
  "repository_references",
];
const otherTables = [
  "deliveries",
  "settings",
  "members",
  "teams",
  "team_members",
  "team_repositories",
  "identities",
  "audit",
];

async function storage({ owner, report, scale }: Bench): Promise<void> {
  const rows = await owner<{ name: string; rows: number; heap: number; indexes: number; total: number }[]>`
    select
      c.relname as name,
      greatest(c.reltuples, 0)::float8 as rows,
      pg_relation_size(c.oid)::float8 as heap,
      pg_indexes_size(c.oid)::float8 as indexes,
      pg_total_relation_size(c.oid)::float8 as total
    from pg_class as c
    where c.relnamespace = 'metrics'::regnamespace
      and c.relkind in ('r', 'm')
      and c.relname !~ '^bodies_'
    order by total desc`;
  report.part(
    `Storage at scale ${scale}, without bodies`,
    "rows, megabytes of the table, of its indexes, and altogether with what is stored out of line",
  );
  const sums = { facts: 0, derived: 0, other: 0 };
  for (const { name, rows: count, heap, indexes, total } of rows) {
    const kind = factTables.includes(name) ? "facts" : otherTables.includes(name) ? "other" : "derived";
    sums[kind] += total;
    if (total < 1e6) continue;
    const figures = [heap, indexes, total].map((bytes) => (bytes / 1e6).toFixed(1).padStart(9)).join(" ");
    console.log(`  ${kind.padEnd(8)} ${name.padEnd(36)} ${count.toFixed(0).padStart(9)} ${figures}`);
  }
  const runs = rows.find(({ name }) => name === "pipeline_runs")!;
  const jobs = rows.find(({ name }) => name === "jobs")!;
  report.figure("bytes per run with its jobs", [(runs.total + jobs.total) / runs.rows], "", 0);
  report.figure("derived bytes per run", [sums.derived / runs.rows], "", 0);
  if (sums.derived === 0) report.missing("aggregates / facts", "there are no aggregates");
  else report.target("aggregates / facts", [sums.derived / sums.facts], "", { atMost: 0.2 }, 3);
}

async function untidy(bench: Bench, copy: Sql, copyReader: Sql, deliveries: number): Promise<void> {
  const { report, reader } = bench;
  const tables = await copy`
    select c.oid::regclass::text as name from pg_class as c
    where c.relnamespace = 'metrics'::regnamespace and c.relkind = 'r'`;
  for (const { name } of tables) await copy.unsafe(`alter table ${name} set (autovacuum_enabled = false)`);
  const mix = await DeliveryMix.open(copy, 1);
  const started = performance.now();
  for (let left = deliveries; left > 0; left -= 5000) {
    await loops(CONNECTIONS, await mix.take(Math.min(left, 5000)), Infinity, (call) => ingest(copy, call));
  }
  report.part(
    `What ${deliveries} deliveries leave behind before any clean-up`,
    `GitHub's mix through metrics.ingest over ${CONNECTIONS} connections in ${
      ((performance.now() - started) / 1000).toFixed(0)
    } s, no vacuum; times the time before them`,
  );
  // The deliveries are of the days after the year.
  const ends = new Date(Date.parse(YEAR_ENDS) + 4 * 86_400_000).toISOString();
  await compare(bench, (question) => [
    asking((days) => ask(reader, question, ends, days % 4)),
    asking((days) => ask(copyReader, question, ends, days % 4)),
  ], (name, before, after) => report.target(name, ratios(before, after), "", { atMost: 1.3 }));
}

async function price({ report, timing }: Bench, copy: Sql): Promise<void> {
  report.part(
    "The price on the way in",
    `metrics.ingest, one delivery a call over ${CONNECTIONS} connections; of twenty fourteen about jobs, three about runs, three about`,
    "pushes, pull requests and deployments",
  );
  const side = (mix: DeliveryMix, isOn: boolean): Side => {
    let prepared: Call[] = [];
    return {
      guess: 800,
      async prepare(count) {
        // What the slice before did not come to is sent first, so that each push finds the one before it.
        const wanted = count + WARMING;
        if (prepared.length < wanted) prepared.push(...await mix.take(wanted - prepared.length));
        if (await setAggregates(copy, isOn) === 0) throw new Error("no table of facts keeps an aggregate");
        // Altered tables make every session plan anew, which nobody's deliveries do every few seconds.
        await loops(CONNECTIONS, prepared.splice(0, WARMING), Infinity, (call) => ingest(copy, call));
      },
      async work(deadline) {
        const done = await loops(CONNECTIONS, prepared, deadline, (call) => ingest(copy, call));
        prepared = prepared.slice(done);
        return done;
      },
    };
  };
  await attempt(report, "on / off", async () => {
    const [on = [], off = []] = await alternate([
      side(await DeliveryMix.open(copy, 2), true),
      side(await DeliveryMix.open(copy, 3), false),
    ], timing);
    report.rate("aggregates on", on, "deliveries a second");
    report.rate("aggregates off", off, "deliveries a second");
    report.target("on / off", ratios(on, off), "", { atLeast: 0.75 });
  });
  await setAggregates(copy, true);
}

async function rebuilding(bench: Bench, rebuilder: Sql, copyReader: Sql): Promise<void> {
  const { report } = bench;
  const alone: number[] = [];
  const during: number[] = [];
  let blocked = 0;
  let isOver = false;
  const readOnce = async (times: number[], call: number) => {
    const { question } = main[call % main.length]!;
    const started = performance.now();
    try {
      await ask(copyReader, question, YEAR_ENDS, call % PERIODS);
    } catch (error) {
      if ((error as { code?: string }).code !== "55P03") throw error;
      blocked++;
    }
    times.push(performance.now() - started);
  };
  report.part(
    "Rebuild of everything",
    "while a reader asks the main questions one after the other; a wait for a lock of 20 ms is an error",
  );
  await attempt(report, "rebuild", async () => {
    await copyReader`set lock_timeout = '20ms'`;
    for (let call = 0; call < 30; call++) await readOnce(alone, call);
    const [{ pid } = { pid: 0 }] = await rebuilder<{ pid: number }[]>`select pg_backend_pid() as pid`;
    using memory = new MemoryOf(bench.years.cluster.server.pid!, pid);
    const reading = (async () => {
      for (let call = 0; !isOver; call++) await readOnce(during, call);
    })();
    const started = performance.now();
    let steps = 0;
    try {
      steps = await rebuild(rebuilder);
    } finally {
      isOver = true;
      await reading;
    }
    report.target("minutes", [(performance.now() - started) / 60_000], "", { atMost: 15 });
    report.figure("steps", [steps], "", 0);
    report.target("reads that had to wait for a lock", [blocked], "", { atMost: 0 }, 0);
    report.figure("the longest read before", [percentile(alone, 1)], "ms", 0);
    report.figure("the longest read meanwhile", [percentile(during, 1)], "ms", 0);
    report.target("memory of its own of the session and its workers", [memory.mostBytes / 2 ** 20], "MB", {
      atMost: 512,
    }, 0);
  });
}
