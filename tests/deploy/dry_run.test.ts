// The jobs of the workflows as they stand in an app's repository, step by step with the real CLI, on two projects of this machine.
import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import { install } from "../../tools/install/install.ts";
import { pushMigrations } from "../../tools/stack/migrate.ts";
import { repository, supabaseCommand } from "../../tools/stack/packages.ts";
import { run } from "../../tools/stack/process.ts";
import { schemaText } from "../../tools/deploy/schema.ts";
import { type AppDatabase, appDatabase, appRepository, deployCluster } from "../support/deploy.ts";
import { isDeep } from "../support/depth.ts";
import { managementApi } from "../support/management_api.ts";
import { type Project, startProject } from "../support/project.ts";
import { contentsOf } from "../support/snapshot.ts";
import { type Environment, readWorkflow, type RunOutcome, runWorkflow, type Trigger } from "../support/workflow.ts";

const cluster = await deployCluster();
const schemaFile = join(repository, "supabase", "schema.sql");

/** Staging and production with an app in each, the app's repository with ours in it, and a runner. */
async function bed() {
  const stack = new AsyncDisposableStack();
  const staging = stack.use(await appDatabase(cluster, { name: "staging" }));
  const production = stack.use(await appDatabase(cluster, { name: "production" }));
  const synthetic = "a secret of synthetic deliveries";
  const projects = {
    staging: stack.use(
      await startProject(staging, {
        variables: { METRICS_ENVIRONMENT: "staging", INGEST_SECRET_SYNTHETIC: synthetic },
      }),
    ),
    production: stack.use(await startProject(production)),
  };
  const api = stack.use(
    await managementApi([
      { name: "staging", database: staging, project: projects.staging },
      { name: "production", database: production, project: projects.production },
    ]),
  );
  const origin = stack.use(await git());
  const machine = stack.use(await runner());

  const environment = (name: "staging" | "production", more: Record<string, string> = {}): Environment => {
    const { SUPABASE_PROJECT_ID, ...secrets } = api.credentials(name);
    return {
      vars: { SUPABASE_PROJECT_ID },
      secrets: { ...secrets, ...more },
      runner: { ...api.address, SUPABASE_URL: projects[name].url },
    };
  };
  const environments: Record<string, Environment> = {
    staging: environment("staging", { INGEST_SECRET_SYNTHETIC: synthetic }),
    production: environment("production"),
    "staging-read": environment("staging", { CATALOG_DATABASE_URL: await looker(staging) }),
    "production-read": environment("production", { CATALOG_DATABASE_URL: await looker(production) }),
  };
  const known = new Map<string, { code: number; output: string }>();
  return {
    staging,
    production,
    projects,
    api,
    origin,
    /** Values that no output may hold. */
    secrets: Object.values(environments).flatMap(({ secrets }) => Object.values(secrets ?? {})),
    /** Executes one of the installed workflows. */
    async execute(
      name: string,
      trigger: Trigger,
      more: { change?: (text: string) => string; earlier?: Record<string, Map<string, string>>; swapped?: boolean } =
        {},
    ) {
      const text = await Deno.readTextFile(join(origin.folder, ".github", "workflows", `metrics-${name}.yml`));
      const changed = more.change?.(text) ?? text;
      assert(more.change === undefined || changed !== text, "the fault was not planted");
      return await runWorkflow(readWorkflow(changed), {
        trigger,
        environments: more.swapped
          ? { ...environments, staging: environments.production!, production: environments.staging! }
          : environments,
        origin: origin.folder,
        sha: await origin.commitOf(trigger.branch),
        prepare: (workspace) =>
          Deno.symlink(join(repository, "node_modules"), join(workspace, "metrics", "node_modules")),
        programs: { "supabase/setup-cli": machine.cli },
        machine: machine.env,
        ...(isDeep ? {} : { known }),
        ...(more.earlier ? { earlier: more.earlier } : {}),
      });
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** The address of a database for a role that may look at the catalog, as every role may, and at nothing else. */
async function looker(database: AppDatabase): Promise<string> {
  const name = `looker_${database.name}`;
  const password = crypto.randomUUID();
  await database.sql.unsafe(`create role ${name} login noinherit connection limit 3 password '${password}'`);
  const url = new URL(database.url);
  url.username = name;
  url.password = password;
  return url.href;
}

/** The app's repository with ours installed, as its `origin`: `main`, and `develop` at the same commit. */
async function git() {
  const app = await appRepository({ metrics: false });
  await install(repository, app.folder);
  const call = async (...words: string[]) => {
    const author = ["-c", "user.name=dev-1", "-c", "user.email=dev-1@example.com"];
    const { code, stdout, stderr } = await run(["git", ...author, ...words], { cwd: app.folder });
    assertEquals(code, 0, stderr);
    return stdout.trim();
  };
  await call("init", "--quiet", "--initial-branch=main");
  const commit = async (message: string) => {
    await call("add", "--all");
    await call("commit", "--quiet", "--allow-empty", `--message=${message}`);
  };
  await commit("Install metrics");
  await call("branch", "develop");
  return {
    folder: app.folder,
    app,
    commit,
    git: call,
    commitOf: (branch: string) => call("rev-parse", branch),
    [Symbol.asyncDispose]: () => app[Symbol.asyncDispose](),
  };
}

/** A runner's programs: what the workflow downloads by its version is that version, which is here already. */
async function runner() {
  const folder = await Deno.makeTempDir({ prefix: "metrics-runner-" });
  const script = async (path: string, text: string) => {
    await Deno.writeTextFile(join(folder, path), `#!/bin/sh\n${text}\n`);
    await Deno.chmod(join(folder, path), 0o755);
  };
  for (const name of ["bin", "cli", "home"]) await Deno.mkdir(join(folder, name));
  await script(
    "bin/npx",
    `[ "$1 $2" = "-y deno@${Deno.version.deno}" ] || { echo "not here: npx $*" >&2; exit 127; }
shift 2
exec "${Deno.execPath()}" "$@"`,
  );
  // The run that exported, as GitHub knows it.
  await script(
    "bin/gh",
    `[ "$1 $2" = "api repos/$GITHUB_REPOSITORY/actions/runs/1" ] || { echo "not found" >&2; exit 1; }
echo "$GITHUB_WORKFLOW_REF"`,
  );
  const [program, ...words] = supabaseCommand();
  await script("cli/supabase", `exec "${program}" ${words.join(" ")} "$@"`);
  const { DENO_DIR, HOME, PATH } = Deno.env.toObject();
  return {
    cli: join(folder, "cli"),
    env: {
      PATH: `${join(folder, "bin")}:${PATH}`,
      HOME: join(folder, "home"),
      DENO_DIR: DENO_DIR ?? join(HOME!, ".cache", "deno"),
      NO_COLOR: "1",
    },
    [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
  };
}

/** What came of the jobs; of one that failed, the step and what it said. */
function summary({ jobs }: RunOutcome): Record<string, string> {
  return Object.fromEntries(
    Object.entries(jobs).map(([name, job]) => {
      const failed = job.steps.find(({ result }) => result === "failure");
      return [name, failed ? `${failed.name}: ${failed.output}` : job.result];
    }),
  );
}

/** What a step printed. */
function said({ jobs }: RunOutcome, job: string, step: RegExp): string {
  return jobs[job]?.steps.find(({ name }) => step.test(name))?.output ?? "";
}

const schemaOf = (database: AppDatabase): Promise<string> => schemaText(database.sql);

/** What the app has, and what its clients get. */
async function appOf(database: AppDatabase, project: Project) {
  const rows = await database.rows();
  // Auth notes by itself who signed in; on staging a person of the proof does.
  return {
    rows: rows.filter((row) => !row.startsWith("auth.audit_log_entries ")),
    rest: await project.read("notes?select=id,text&order=id"),
  };
}

Deno.test("the workflows deploy, refuse, find drift and roll back, step by step", async (test) => {
  await using beds = await bed();
  const { staging, production, projects, api, origin } = beds;
  const schema = await Deno.readTextFile(schemaFile);
  const apps = async () => [await appOf(staging, projects.staging), await appOf(production, projects.production)];
  const before = await apps();
  const outputs: string[] = [];
  const execute: typeof beds.execute = async (...given) => {
    const outcome = await beds.execute(...given);
    for (const { steps } of Object.values(outcome.jobs)) outputs.push(...steps.map(({ output }) => output));
    return outcome;
  };
  const deploy = (trigger: Trigger, change?: (text: string) => string) =>
    execute("supabase-schema-deploy", trigger, change ? { change } : {});

  await test.step("a step with a typo fails, and nothing after it runs", async () => {
    const faults: [string, string, RegExp][] = [
      ["deploy preflight", "deploy prefligth", /There is no gate "prefligth"/],
      ["SUPABASE_DB_PASSWORD: $", "SUPABASE_DB_PASWORD: $", /SUPABASE_DB_PASSWORD is missing/],
      ['supabase link "$', 'supabase lnik "$', /Link the project: /],
    ];
    for (const [from, to, sentence] of faults) {
      await using outcome = await deploy({ event: "push", branch: "main" }, (text) => text.replace(from, to));
      const { staging, production } = summary(outcome);
      assert(sentence.test(staging ?? ""), staging);
      assertEquals(outcome.jobs.staging!.steps.at(-1)!.result, "skipped");
      assertEquals(production, "skipped");
    }
    assertEquals(await staging.history(), await production.history());
  });

  await test.step("where staging's credentials are those of production, nothing is pushed", async () => {
    const state = [await production.history(), await production.rows()];
    await using outcome = await execute("supabase-schema-deploy", { event: "push", branch: "main" }, { swapped: true });
    const { staging: first, production: second } = summary(outcome);
    assert(/^It is staging[^]*METRICS_ENVIRONMENT is not staging in this project/.test(first ?? ""), first);
    assertEquals(second, "skipped");
    assertEquals([await production.history(), await production.rows()], state);
  });

  await test.step("a push to develop goes to staging and is proven there, and production is left alone", async () => {
    const state = [await production.history(), await production.rows()];
    await using outcome = await deploy({ event: "push", branch: "develop" });
    assertEquals(summary(outcome), { validate: "success", staging: "success", production: "skipped" });
    assertEquals(await schemaOf(staging), schema);
    assertEquals([await production.history(), await production.rows()], state);
    assertEquals(await apps(), before);
  });

  await test.step("a push to main passes staging, where there is nothing to do, and goes on to production", async () => {
    await using outcome = await deploy({ event: "push", branch: "main" });
    assertEquals(summary(outcome), { validate: "success", staging: "success", production: "success" });
    assert(/nothing|up to date/i.test(said(outcome, "staging", /Push/)), said(outcome, "staging", /Push/));
    assertEquals([await schemaOf(staging), await schemaOf(production)], [schema, schema]);
    assertEquals(await apps(), before);
    const seeing = (job: string, secret: string) =>
      outcome.jobs[job]!.steps.filter(({ secrets }) => secrets.includes(secret)).map(({ name }) => name);
    assertEquals(seeing("validate", "SUPABASE_DB_PASSWORD"), []);
    assertEquals(seeing("staging", "INGEST_SECRET_SYNTHETIC"), ["Prove it"]);
    assertEquals(seeing("production", "SUPABASE_DB_PASSWORD"), [
      "It is production, its history fits, and staging proved this commit",
      "Push the migrations",
      "The schema is right, and the rest is as it was",
      "Add metrics to the Data API's schemas",
    ]);
    const proof = JSON.parse(await Deno.readTextFile(join(outcome.artifacts.get("proof")!, "proof.json")));
    assertEquals(proof.commit, await origin.commitOf("main"));
    for (const project of Object.values(projects)) {
      assertEquals((await project.list()).split(/, */), ["public", "metrics"]);
      assert(project.deployed.has("supabase/functions/ingest-metrics/index.ts"));
    }
  });

  await test.step("no job asked for what is another environment's, or reached its database", () => {
    assertEquals(api.requests.filter(({ status }) => status === 401 || status === 403), []);
    for (const [name, project] of Object.entries(projects)) {
      assert((api.sessions.get(project.env.SUPABASE_PROJECT_ID!) ?? 0) > 0, `the linked form did not reach ${name}`);
    }
  });

  await test.step("by hand to staging, production is left alone", async () => {
    const inputs = { target: "staging" };
    const state = [await production.history(), await production.rows()];
    await using outcome = await deploy({ event: "workflow_dispatch", branch: "main", inputs });
    assertEquals(summary(outcome), { validate: "success", staging: "success", production: "skipped" });
    assertEquals([await production.history(), await production.rows()], state);
  });

  await test.step("production takes main only", async () => {
    const inputs = { target: "production" };
    await using outcome = await deploy({ event: "workflow_dispatch", branch: "develop", inputs });
    const { validate, ...others } = summary(outcome);
    assert(validate?.includes("Production takes the branch main only, and this is develop"), validate);
    assertEquals(others, { staging: "skipped", production: "skipped" });
  });

  await test.step("a develop that is behind main is refused", async () => {
    await origin.commit("Only on main");
    await using outcome = await deploy({ event: "push", branch: "develop" });
    const { validate, ...others } = summary(outcome);
    assert(validate?.includes("The branch develop lacks 1 commit of main"), validate);
    assertEquals(others, { staging: "skipped", production: "skipped" });
  });

  // Another commit is validated again, which takes longest.
  if (isDeep) {
    await test.step("the app's migration goes with ours", async () => {
      await origin.git("switch", "--quiet", "develop");
      await origin.git("merge", "--quiet", "main");
      await origin.app.write("20990101000000_tags.sql", "create table public.tags (id bigint primary key);\n");
      await origin.commit("Tags");
      await using outcome = await deploy({ event: "push", branch: "develop" });
      assertEquals(summary(outcome), { validate: "success", staging: "success", production: "skipped" });
      assert((await staging.history()).includes("20990101000000"));
      assert(!(await production.history()).includes("20990101000000"));
      await origin.git("switch", "--quiet", "main");
    });
  }

  await test.step("drift names what was changed by hand, and where", async () => {
    await production.sql`alter table metrics.jobs add column changed_by_hand text`;
    await using outcome = await execute("drift", { event: "schedule", branch: "main" });
    const { staging: first, production: second } = summary(outcome);
    assertEquals(first, "success");
    assert(/^The schema matches: [^]*changed_by_hand/.test(second ?? ""), second);
    // Each look is taken, whatever the one before it found.
    assertEquals(outcome.jobs.production!.steps.slice(-2).map(({ result }) => result), ["success", "success"]);
    await production.sql`alter table metrics.jobs drop column changed_by_hand`;
  });

  await test.step("a rollback is confirmed by the reference, and not done where its export would be public", async () => {
    const inputs = { target: "production", confirmation: projects.staging.env.SUPABASE_PROJECT_ID! };
    await using wrong = await execute("rollback", { event: "workflow_dispatch", branch: "main", inputs });
    assert(summary(wrong).back?.includes("is not that of the project"), summary(wrong).back);
    const trigger: Trigger = { event: "workflow_dispatch", branch: "main", inputs, isPrivate: false };
    await using open = await execute("rollback", trigger);
    assert(summary(open).back?.includes("This repository is public"), summary(open).back);
    assertEquals(await schemaOf(production), schema);
  });

  await test.step("a rollback exports, takes everything of ours out, and leaves the app as it was", async (test) => {
    await production.sql`select metrics.add_member('dev-1@example.com', 'admin')`;
    const kept = await contentsOf(production.sql, { writes: false });
    const inputs = { target: "production", confirmation: projects.production.env.SUPABASE_PROJECT_ID! };
    await using back = await execute("rollback", { event: "workflow_dispatch", branch: "main", inputs });
    assertEquals(summary(back), { back: "success", forward: "skipped" });
    const [row] = await production.sql`select to_regnamespace('metrics') as schema`;
    assertEquals(row?.schema, null);
    assertEquals(await projects.production.list(), "public");
    assertEquals((await apps())[1], before[1]);
    await test.step("and forward again, with what was exported", async () => {
      if (isDeep) {
        await origin.git("merge", "--quiet", "develop");
        await using outcome = await deploy({ event: "push", branch: "main" });
        assertEquals(summary(outcome), { validate: "success", staging: "success", production: "success" });
      } else {
        // What that deployment does to the database, whose steps have run above.
        await pushMigrations(production.url.replace("?sslmode=disable", ""), origin.folder);
      }
      const forward = { ...inputs, direction: "forward", export_run: "1" };
      const earlier = { "1": back.artifacts };
      await using restored = await execute(
        "rollback",
        { event: "workflow_dispatch", branch: "main", inputs: forward },
        { earlier },
      );
      assertEquals(summary(restored), { back: "skipped", forward: "success" });
      assertEquals(await contentsOf(production.sql, { writes: false }), kept);
    });
  });

  await test.step("no output holds a secret", () => {
    for (const secret of beds.secrets) {
      for (const output of outputs) assert(!output.includes(secret), "a secret was printed");
    }
  });
});
