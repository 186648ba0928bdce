import { assert, assertEquals, assertGreater, assertLess, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import postgres, { type Sql } from "postgres";
import { readMigrations } from "../../tools/deploy/migrations.ts";
import { type PushOptions, runPush, startWatch, textsOf } from "../../tools/deploy/push.ts";
import type { GateResult } from "../../tools/deploy/result.ts";
import { schemaText } from "../../tools/deploy/schema.ts";
import { fillWithSamples, pushToScratch, scratchDatabase } from "../../tools/deploy/scratch.ts";
import { schemaFindings } from "../../tools/deploy/verify.ts";
import { commandLine, send } from "../../tools/stack/process.ts";
import { connect } from "../../tools/deploy/target.ts";
import {
  type AppDatabase,
  appDatabase,
  type AppRepository,
  appRepository,
  codes,
  deployCluster,
  gate,
  gateCommand,
  restKeys,
  restOrigin,
} from "../support/deploy.ts";
import { isDeep } from "../support/depth.ts";
import { contentsOf } from "../support/snapshot.ts";
import { descendants } from "../support/stack.ts";

const cluster = await deployCluster();
const env = Deno.env.toObject();
const timeouts = "set lock_timeout = '2s';\nset statement_timeout = '60s';\n";
const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function push(
  database: AppDatabase,
  { folder }: AppRepository,
  options: Partial<PushOptions> = {},
): Promise<GateResult> {
  return await runPush({ root: folder, env, target: database.target, ...options });
}

/** Writes supabase/schema.sql as the repository's migrations of ours make it. */
async function writeSchema(repository: AppRepository): Promise<void> {
  await using scratch = await scratchDatabase(cluster);
  const ours = (await readMigrations(repository.folder)).filter(({ isOurs }) => isOurs);
  assertEquals((await pushToScratch(scratch, ours, env)).code, 0);
  await Deno.writeTextFile(join(repository.folder, "supabase", "schema.sql"), await scratch.asAdmin(schemaText));
}

Deno.test("a first deployment, one with nothing to do, and one with three migrations among the app's", async (t) => {
  await using staging = await appDatabase(cluster, { name: "staging" });
  await using production = await appDatabase(cluster, { name: "production" });
  await using repository = await appRepository();
  const folder = await Deno.makeTempDir();
  const rows = await production.rows();
  const ours = repository.ours().length;
  // Staging as the workflow does it, as commands; production by what they are made of, which is quicker.
  const deploy = async (database: AppDatabase): Promise<{ pushed: GateResult; said: string }> => {
    const before = join(folder, `${database.name}.json`);
    if (database === production) {
      const pushed = await push(database, repository, { before });
      assertEquals(pushed.findings, []);
      assertEquals(await schemaFindings(database.sql, repository.folder), []);
      return { pushed, said: "" };
    }
    // A path is one from where the person stands, wherever the task runs.
    const where = [`--remote=${database.url}`, `--root=${repository.folder}`, `--before=${database.name}.json`];
    const from = { INIT_CWD: folder };
    const [pushed, verified] = [await gate(["push", ...where], from), await gate(["verify", ...where], from)];
    assertEquals([pushed.code, pushed.result.findings], [0, []], pushed.said);
    assertEquals([verified.code, verified.result.findings], [0, []], verified.said);
    assert(!`${pushed.said}${verified.said}`.includes(new URL(database.url).password));
    return { pushed: pushed.result, said: verified.said };
  };
  try {
    await t.step("the first: both equal schema.sql, and the app is as it was", async () => {
      for (const database of [staging, production]) {
        const { pushed, said } = await deploy(database);
        assertStringIncludes(pushed.notes.join(), `Of ${ours} migrations, ${ours} were applied.`);
        if (database === staging) assertStringIncludes(said, "Everything beside metrics is what it was before.");
      }
    });
    await t.step("the second changes nothing and says so", async () => {
      const [catalogs, contents] = [await production.catalogs(), await contentsOf(production.sql)];
      const pushed = await push(production, repository);
      assertStringIncludes(pushed.notes.join(), "Nothing to do: every migration of the repository is applied");
      assertEquals(pushed.applied, []);
      assertEquals(await production.catalogs(), catalogs);
      assertEquals(await contentsOf(production.sql), contents);
    });
    await t.step("the third applies ours and the app's in one push, in the order of time", async () => {
      const added = {
        "20270101000000_metrics_one.sql": `${timeouts}alter table metrics.jobs add column if not exists one text;\n`,
        // An app may do in its own migrations what ours may not.
        "20270102000000_app.sql": "alter table public.notes add column pinned boolean not null default false;\n",
        "20270103000000_metrics_two.sql": `${timeouts}comment on column metrics.jobs.one is 'One.';\n`,
      };
      for (const [name, sql] of Object.entries(added)) await repository.write(name, sql);
      await writeSchema(repository);
      for (const database of [staging, production]) {
        const { pushed, said } = await deploy(database);
        assertEquals(pushed.applied, Object.keys(added));
        if (database === staging) assertStringIncludes(said, "1 migration of the app came with it");
      }
      assertEquals(await schemaText(staging.sql), await schemaText(production.sql));
    });
    assertEquals(
      (await production.sql`select count(*)::int as notes from public.notes where not pinned`)[0]?.notes,
      20,
    );
    assertEquals(rows.length, (await production.rows()).length);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("a migration that fails in its second statement leaves staging as it was, and says file, statement and cause", async () => {
  await using staging = await appDatabase(cluster, { deployed: true });
  await using repository = await appRepository();
  await repository.write(
    "20270101000000_metrics_fails.sql",
    "create table metrics.half (id int primary key);\n-- the second; one\nselect 1 / 0 as   nothing;\n",
  );
  const [catalogs, history] = [await staging.catalogs(), await staging.history()];
  const { code, result, said } = await gate(["push", `--remote=${staging.url}`, `--root=${repository.folder}`]);
  assertEquals([code, codes(result), result.applied], [1, ["migration_failed"], []]);
  const [finding] = result.findings;
  assertEquals(finding!.file, "supabase/migrations/20270101000000_metrics_fails.sql");
  assertEquals(finding!.statement, "select 1 / 0 as nothing");
  assertStringIncludes(
    said,
    "20270101000000_metrics_fails.sql: It failed in statement 2 (select 1 / 0 as nothing): ERROR: division by",
  );
  assertStringIncludes(said, "Nothing was changed: a file is applied whole or not at all.");
  assertEquals(await staging.catalogs(), catalogs);
  assertEquals(await staging.history(), history);
  // The workflow ends here: production needs staging's proof, and there is none.
  await using production = await appDatabase(cluster, { deployed: true });
  const refused = await gate([
    "preflight",
    `--remote=${production.url}`,
    `--root=${repository.folder}`,
    "--production",
  ], { GITHUB_SHA: "1".repeat(40) });
  assertEquals([refused.code, codes(refused.result)], [1, ["proof_missing"]]);
});

Deno.test("of two deployments at once one waits, and the database is right", async () => {
  await using database = await appDatabase(cluster);
  await using repository = await appRepository();
  const words = ["push", `--remote=${database.url}`, `--root=${repository.folder}`];
  const both = await Promise.all([gate(words), gate(words)]);
  assertEquals(both.map(({ code }) => code), [0, 0], both.map(({ said }) => said).join());
  assertEquals(both.map(({ result }) => (result.applied as string[]).length).sort(), [0, repository.ours().length]);
  assertEquals(await schemaFindings(database.sql, repository.folder), []);
});

Deno.test("a deployment gives up when another does not end", async () => {
  await using database = await appDatabase(cluster, { deployed: true });
  await using repository = await appRepository();
  await database.sql.begin(async (sql) => {
    await sql`select pg_advisory_xact_lock(hashtextextended('metrics deploy', 0))`;
    const result = await push(database, repository, { wait: 300 });
    assertEquals(codes(result), ["deployment_under_way"]);
    assertStringIncludes(result.findings[0]!.sentence, "Nothing was changed: run this one again when that has ended.");
  });
});

/** Reads the app's table through REST, as its users do, one request after the other: the longest took so many milliseconds. */
async function appTraffic(database: AppDatabase): Promise<{ stop(): Promise<number> }> {
  const rest = await database.rest();
  let isRunning = true;
  let longest = 0;
  const reading = (async () => {
    while (isRunning) {
      const started = performance.now();
      const response = await rest.fetch(
        new Request(`${restOrigin}/rest/v1/notes?select=id`, { headers: { apikey: restKeys.publishableKey } }),
      );
      const notes = await response.json();
      longest = Math.max(longest, performance.now() - started);
      assertEquals([response.status, notes.length], [200, 20]);
      await pause(20);
    }
  })();
  return {
    async stop() {
      isRunning = false;
      await reading.finally(() => rest.close());
      return longest;
    },
  };
}

/** Holds a lock while something is done, and for at least so many milliseconds. */
async function whileLocked<T>(
  database: AppDatabase,
  lock: string,
  milliseconds: number,
  work: () => Promise<T>,
): Promise<T> {
  return await database.sql.begin(async (sql) => {
    await sql.unsafe(lock);
    const [result] = await Promise.all([work(), pause(milliseconds)]);
    return result;
  }) as T;
}

const lockTimeout = 1_000;

// The REST server keeps connections for later requests.
const leaky = { sanitizeOps: false, sanitizeResources: false };

Deno.test(
  "while the app holds a lock on its own table, ours are applied, and one of the app's own gives up in time",
  leaky,
  async (t) => {
    await using database = await appDatabase(cluster);
    await using repository = await appRepository();
    // Readers of the app go on beside this lock, until somebody queues for a stronger one.
    const lock = "lock table public.notes in share mode";
    await t.step("ours do not wait for it", async () => {
      await whileLocked(database, lock, 0, async () => {
        assertEquals((await push(database, repository, { lockTimeout })).findings, []);
      });
    });
    await t.step("the app's gives up, and the app is not blocked for longer than the lock time-out", async () => {
      await repository.write("20270101000000_app.sql", "alter table public.notes add column pinned boolean;\n");
      const traffic = await appTraffic(database);
      const result = await whileLocked(
        database,
        lock,
        3 * lockTimeout,
        () => push(database, repository, { lockTimeout }),
      );
      const longest = await traffic.stop();
      assertEquals(codes(result), ["lock_timeout"]);
      assertStringIncludes(
        result.findings[0]!.sentence,
        "rather than keep the app waiting, because it did not get a lock on public.notes",
      );
      assertStringIncludes(result.findings[0]!.sentence, "Nothing was changed");
      // It did wait, else nothing would be proven.
      assertGreater(longest, lockTimeout / 2);
      // The machine that runs the tests is busy, too.
      assertLess(longest, lockTimeout + 1_000);
    });
    await t.step("it goes through when the lock is gone", async () => {
      assertEquals((await push(database, repository)).applied, ["20270101000000_app.sql"]);
    });
  },
);

Deno.test(
  "while the tables of metrics are locked, a deployment gives up, and the app does not notice",
  leaky,
  async () => {
    await using database = await appDatabase(cluster, { deployed: true });
    await using repository = await appRepository();
    await repository.write(
      "20270101000000_metrics_one.sql",
      "set lock_timeout = '1s';\nset statement_timeout = '60s';\nalter table metrics.jobs add column if not exists one text;\n",
    );
    const traffic = await appTraffic(database);
    const result = await whileLocked(
      database,
      "lock table metrics.jobs in access exclusive mode",
      3 * lockTimeout,
      () => push(database, repository),
    );
    const longest = await traffic.stop();
    assertEquals(codes(result), ["lock_timeout"]);
    assertEquals(result.findings[0]!.file, "supabase/migrations/20270101000000_metrics_one.sql");
    assertLess(longest, lockTimeout);
    assertEquals((await push(database, repository)).applied, ["20270101000000_metrics_one.sql"]);
  },
);

Deno.test("a statement that takes longer than it may is cancelled", async () => {
  await using database = await appDatabase(cluster, { deployed: true });
  await using repository = await appRepository();
  await repository.write("20270101000000_app.sql", "create table public.half (id int);\nselect pg_sleep(30);\n");
  const result = await push(database, repository, { statementTimeout: 400 });
  assertEquals(codes(result), ["statement_timeout"]);
  assertStringIncludes(
    result.findings[0]!.sentence,
    "in statement 2 (select pg_sleep(30)), which took longer than it may",
  );
  assertEquals((await database.sql`select to_regclass('public.half') as half`)[0]?.half, null);
});

/** Three migrations of which the second takes its time. */
async function writeSlow(repository: AppRepository): Promise<string[]> {
  const table = (name: string) =>
    `${timeouts}create table if not exists metrics.${name} (id bigint primary key);\nalter table metrics.${name} enable row level security;\n`;
  const files = {
    "20270101000000_metrics_one.sql": table("one"),
    "20270102000000_metrics_two.sql": `${table("two")}select pg_sleep(1.5);\n${table("three")}`,
    "20270103000000_metrics_four.sql": table("four"),
  };
  for (const [name, sql] of Object.entries(files)) await repository.write(name, sql);
  return Object.keys(files);
}

/** Waits until the slow migration is under way: the CLI's session. */
async function slowSession(database: AppDatabase): Promise<number> {
  for (let tries = 0; tries < 400; tries++, await pause(25)) {
    const [row] = await database.admin`
      select pid from pg_stat_activity where datname = ${database.name} and state = 'active' and query like 'select pg_sleep(1.5)%'`;
    if (row) return row.pid;
  }
  throw new Error("the slow migration never began");
}

/** No file is half applied: each is in the history exactly when all that it makes is there. */
async function assertWhole(database: AppDatabase): Promise<void> {
  const history = await database.history();
  const [row] = await database.sql`
    select
      to_regclass('metrics.one') is not null as one,
      to_regclass('metrics.two') is not null as two,
      to_regclass('metrics.three') is not null as three,
      to_regclass('metrics.four') is not null as four`;
  const has = (version: string) => history.includes(version);
  assertEquals({ ...row }, {
    one: has("20270101000000"),
    two: has("20270102000000"),
    three: has("20270102000000"),
    four: has("20270103000000"),
  });
}

Deno.test("when the connection is lost half way, no file is half applied and the next run completes", async () => {
  await using database = await appDatabase(cluster, { deployed: true });
  await using repository = await appRepository();
  const [one, two, four] = await writeSlow(repository);
  const pushing = push(database, repository);
  await slowSession(database);
  const password = new URL(database.url).password;
  const lines = descendants(Deno.pid).filter((pid) => pid !== Deno.pid).map(commandLine);
  assert(lines.some((line) => line.includes("db push")));
  assert(!lines.some((line) => line.includes(password)), "a command line holds the password");
  // The gate's own sessions go with it, as when the server is restarted.
  await database.admin`
    select pg_terminate_backend(pid)
    from pg_stat_activity
    where datname = ${database.name} and (application_name like 'metrics deploy%' or application_name = '@effect/sql-pg')`;
  const result = await pushing;
  assertEquals([codes(result), result.applied], [["connection_lost", "lock_lost"], [one]]);
  assertStringIncludes(result.findings[0]!.sentence, `Run it again: it goes on with ${two}`);
  await assertWhole(database);
  assertEquals((await push(database, repository)).applied, [two, four]);
  await assertWhole(database);
});

// What is left of a gate that was killed alone goes on by itself; in small runs the harder case is enough.
for (const what of isDeep ? ["the gate and the CLI", "the gate alone"] : ["the gate and the CLI"]) {
  Deno.test(`when ${what} is killed half way, no file is half applied and the next run completes`, async () => {
    await using database = await appDatabase(cluster, { deployed: true });
    await using repository = await appRepository();
    const names = await writeSlow(repository);
    const words = ["push", `--remote=${database.url}`, `--root=${repository.folder}`];
    const [program, ...args] = gateCommand(words);
    // What it can no longer clear away lies where it goes with the repository.
    const temporary = { TMPDIR: repository.folder };
    const process = new Deno.Command(program!, { args, env: temporary, stdout: "null", stderr: "null" }).spawn();
    await slowSession(database);
    const killed = what === "the gate alone" ? [process.pid] : descendants(process.pid);
    for (const pid of killed) send(pid, "SIGKILL");
    await process.status;
    // Whatever the server still does for the dead, the next run waits for it.
    const { code, said } = await gate(words);
    assertEquals(code, 0, said);
    await assertWhole(database);
    assertEquals((await database.history()).slice(-3), names.map((name) => name.slice(0, 14)));
  });
}

Deno.test("a deployment that lost its lock or its watch says so and fails, though everything was applied", async () => {
  await using database = await appDatabase(cluster, { deployed: true });
  await using repository = await appRepository();
  const names = await writeSlow(repository);
  const pushing = push(database, repository, { blindness: 500 });
  await slowSession(database);
  const allow = (isAllowed: boolean) =>
    cluster.with(
      cluster.adminUrl("template1"),
      (sql) => sql.unsafe(`alter database ${database.name} allow_connections ${isAllowed}`),
    );
  await allow(false);
  await database.admin`
    select pg_terminate_backend(pid)
    from pg_stat_activity
    where datname = ${database.name} and application_name like 'metrics deploy%'`;
  await pause(1_000);
  await allow(true);
  const result = await pushing;
  assertEquals([result.ok, codes(result), result.applied], [false, ["lock_lost", "watch_lost"], names]);
  await assertWhole(database);
});

/** A session of its own. */
async function session(url: string, name = "app"): Promise<Sql> {
  const sql = postgres(url, { max: 1, onnotice: () => {}, prepare: false, connection: { application_name: name } });
  await sql`select`;
  return sql as Sql;
}

/** A statement of a migration that is to be applied, and how it ends: the SQLSTATE, or "done". */
const slowStatement = "select pg_sleep(0.9) as of_a_migration";
const ends = async (sql: Sql, statement = slowStatement): Promise<string> =>
  await sql.unsafe(statement).then(() => "done", ({ code }) => code);
const slowTexts = () =>
  textsOf([{
    name: "20270101000000_app.sql",
    file: "",
    version: "20270101000000",
    isOurs: false,
    sql: `-- Why.\n${slowStatement};\n`,
    sha256: "",
  }]);

Deno.test("the watch cancels the CLI's statement, and no session of the app", async () => {
  await using database = await appDatabase(cluster);
  const older = await session(database.url);
  const watching = await connect(database.target, env, "metrics deploy: watch");
  const limits = { lockTimeout: 200, statementTimeout: 200 };
  const watch = await startWatch(
    watching,
    () => connect(database.target, env, "metrics deploy: watch"),
    await slowTexts(),
    limits,
  );
  const cli = await session(database.url, "@effect/sql-pg");
  const sameLibrary = await session(database.url, "@effect/sql-pg");
  const sameText = await session(database.url);
  const otherRole = await session(cluster.adminUrl(database.name), "@effect/sql-pg");
  try {
    const others = [ends(older), ends(otherRole), ends(sameLibrary, "select pg_sleep(0.8) as of_the_app")];
    assertEquals(await Promise.all(others), ["done", "done", "done"]);
    const applying = ends(cli, `-- Why.\n${slowStatement}`);
    // The CLI has one session: one that comes later is not its.
    await pause(150);
    const later = ends(sameText);
    assertEquals([await applying, await later], ["57014", "done"]);
    assertEquals((await watch.stop()).cancelled?.why, "statement");
  } finally {
    await watch.stop();
    await Promise.all([older, cli, sameLibrary, sameText, otherRole].map((sql) => sql.end()));
  }
});

Deno.test("a watch whose connection is lost opens another, and says how long it saw nothing", async () => {
  await using database = await appDatabase(cluster);
  const watching = await connect(database.target, env, "metrics deploy: watch");
  let [isReachable, opened] = [false, 0];
  const open = async () => {
    if (!isReachable) throw new Error("not reachable");
    opened++;
    return await connect(database.target, env, "metrics deploy: watch");
  };
  const watch = await startWatch(watching, open, await slowTexts(), { lockTimeout: 200, statementTimeout: 200 });
  const cli = await session(database.url, "@effect/sql-pg");
  try {
    await watching.end({ timeout: 0 });
    await pause(400);
    isReachable = true;
    assertEquals(await ends(cli), "57014");
    // Lost while a statement runs, too, by the server.
    const applying = ends(cli);
    await database.admin`
      select pg_terminate_backend(pid)
      from pg_stat_activity
      where datname = ${database.name} and application_name = 'metrics deploy: watch'`;
    assertEquals(await applying, "57014");
    assertGreater((await watch.stop()).blind, 300);
    assertGreater(opened, 0);
  } finally {
    await watch.stop();
    await cli.end();
  }
});

Deno.test("a session of the app that uses the CLI's library and ran an applied statement keeps no deployment waiting", async () => {
  await using database = await appDatabase(cluster, { deployed: true });
  await using repository = await appRepository();
  const app = await session(database.url, "@effect/sql-pg");
  try {
    await app.begin(async (sql) => {
      await sql.unsafe("insert into billing.invoices select n, n * 100 from generate_series(11, 12) as n");
      await sql.unsafe("grant insert on public.notes to authenticated");
      assertEquals((await push(database, repository, { wait: 300 })).findings, []);
    });
    // One that is to be applied is waited for, and not called somebody's to be ended.
    await repository.write("20270101000000_app.sql", "comment on table public.notes is 'Notes of the app.';\n");
    await app.begin(async (sql) => {
      await sql.unsafe("comment on table public.notes is 'Notes of the app.'");
      const result = await push(database, repository, { wait: 300 });
      assertEquals(codes(result), ["other_session"]);
      assertEquals(result.findings[0]!.statement, "comment on table public.notes is 'Notes of the app.'");
      assertStringIncludes(result.findings[0]!.sentence, "if it is the app's, leave it alone");
    });
    await repository.write("20270101000000_app.sql", "select pg_sleep(0.5);\n");
    await Promise.all([
      app.unsafe("select pg_sleep(0.5)"),
      // What calls itself as the CLI does may be one that was left behind, however short its statement is.
      push(database, repository, { wait: 200 }).then((result) => assertEquals(codes(result), ["other_session"])),
    ]);
    const other = await session(database.url);
    await Promise.all([
      other.unsafe("select pg_sleep(0.5)"),
      push(database, repository, { wait: 200 }).then((result) => assertEquals(result.findings, [])),
    ]);
    await other.end();
  } finally {
    await app.end();
  }
});

Deno.test("a release's database with data is upgraded, and its facts are what they were", async () => {
  await using database = await appDatabase(cluster, { deployed: true });
  await using repository = await appRepository();
  await fillWithSamples(database.sql);
  const before = await contentsOf(database.sql, { writes: false });
  assertGreater(before.length, 30);
  // The next release: another function, and what it needs.
  await repository.write(
    "20270101000000_metrics_next.sql",
    `${timeouts}
create or replace function metrics.next() returns bigint language sql stable set search_path = '' as 'select count(*) from metrics.jobs';
revoke execute on function metrics.next() from public;
comment on function metrics.next() is 'How many jobs there are.';
`,
  );
  await writeSchema(repository);
  assertEquals((await push(database, repository)).findings, []);
  assertEquals(await schemaFindings(database.sql, repository.folder), []);
  assertEquals(await contentsOf(database.sql, { writes: false }), before);
});
