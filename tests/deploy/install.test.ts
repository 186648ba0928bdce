import { assert, assertEquals, assertRejects } from "@std/assert";
import { dirname, join } from "@std/path";
import { sourcesOf } from "../../tools/install/files.ts";
import { install, type Manifest, uninstall } from "../../tools/install/install.ts";
import { runValidate } from "../../tools/deploy/validate.ts";
import { repository } from "../../tools/stack/packages.ts";
import { run } from "../../tools/stack/process.ts";
import { Sentence } from "../../tools/stack/sentence.ts";
import { appMigrations, appRepository } from "../support/deploy.ts";

/** What an app has beside its migrations, some of it with names that ours could have. */
const appFiles: Record<string, string> = {
  "supabase/config.toml": `project_id = "app"

[api]
schemas = ["public", "billing"]

[functions.hello]
verify_jwt = true
`,
  "supabase/functions/hello/index.ts": "export default { fetch: () => new Response('hello') };\n",
  "supabase/schema.sql": "-- the app's own\n",
  "supabase/tests/notes.test.sql": "select 1;\n",
  ".github/workflows/ci.yml": "name: app\non: push\njobs: {}\n",
  "deno.json": '{ "workspace": ["./packages/app"], "tasks": { "deploy": "echo the app\'s" } }\n',
  "packages/app/deno.json": '{ "name": "@app/app", "version": "1.0.0", "exports": "./mod.ts" }\n',
  "package.json": '{ "name": "app", "dependencies": {} }\n',
  "tools/deploy/mod.ts": "console.log('the app');\n",
};

const noon = new Date("2026-03-01T12:00:00Z");

/** An app's repository with everything of its own; removed when disposed of. */
async function appFolder() {
  const app = await appRepository({ metrics: false });
  for (const [path, text] of Object.entries(appFiles)) await write(app.folder, path, text);
  return app;
}

async function write(folder: string, path: string, text: string): Promise<void> {
  await Deno.mkdir(dirname(join(folder, path)), { recursive: true });
  await Deno.writeTextFile(join(folder, path), text);
}

/** A copy of what is installed from, to change it; removed when disposed of. */
async function release() {
  const folder = await Deno.makeTempDir({ prefix: "metrics-release-" });
  for (const { source } of await sourcesOf(repository)) {
    await write(folder, source, await Deno.readTextFile(join(repository, source)));
  }
  return { folder, [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }) };
}

/** Every file below a folder, with its text. */
function filesOf(folder: string, below = ""): Record<string, string> {
  const files: Record<string, string> = {};
  for (const { name, isDirectory } of Deno.readDirSync(join(folder, below))) {
    const path = below ? `${below}/${name}` : name;
    if (isDirectory) Object.assign(files, filesOf(folder, path));
    else files[path] = Deno.readTextFileSync(join(folder, path));
  }
  return files;
}

const manifestOf = (folder: string): Manifest =>
  JSON.parse(Deno.readTextFileSync(join(folder, "metrics", "manifest.json")));

const migrationsOf = (folder: string): string[] =>
  [...Deno.readDirSync(join(folder, "supabase", "migrations"))].map(({ name }) => name).sort();

Deno.test("an installation adds our files and touches none of the app's", async () => {
  await using app = await appFolder();
  const before = filesOf(app.folder);
  const outcome = await install(repository, app.folder, noon);
  const after = filesOf(app.folder);
  for (const [path, text] of Object.entries(before)) assertEquals(after[path], text, path);
  const added = Object.keys(after).filter((path) => !(path in before)).sort();
  assertEquals(added, [...outcome.added, "metrics/manifest.json"].sort());
  assertEquals(added, [...Object.keys(manifestOf(app.folder).files), "metrics/manifest.json"].sort());
  assertEquals([outcome.changed, outcome.removed, outcome.kept], [[], [], []]);
  for (const path of ["supabase/functions/ingest-metrics/index.ts", ".github/workflows/metrics-rollback.yml"]) {
    assert(added.includes(path), path);
  }
  assert(!added.some((path) => path.endsWith("_test.ts")), "a test of the function was copied");
});

Deno.test("migrations are stamped with the time of installation, in their order, after the app's last one", async () => {
  const ours = migrationsOf(repository).map((name) => name.slice(15));
  const expected = {
    "20260228000000": "20260301120000",
    "20260301120500": "20260301120501",
    // Digits that are no time come before what is stamped, too.
    "20260301120575": "20260301120616",
  };
  for (const [last, first] of Object.entries(expected)) {
    await using app = await appFolder();
    await app.write(`${last}_last_of_the_app.sql`, "select 1;\n");
    await install(repository, app.folder, noon);
    const found = migrationsOf(app.folder).filter((name) => name.includes("_metrics_"));
    assertEquals(found.map((name) => name.slice(15)), ours);
    assertEquals(found[0]!.slice(0, 14), first);
    assertEquals(new Set(found.map((name) => name.slice(0, 14))).size, ours.length);
  }
});

Deno.test("the app's config.toml is left alone, and what it lacks is said until it is there", async () => {
  await using app = await appFolder();
  const { todo } = await install(repository, app.folder, noon);
  assertEquals(todo.length, 2);
  assert(todo[0]!.includes('schemas = ["public", "billing", "metrics"]'), todo[0]);
  assert(todo[1]!.includes("verify_jwt = false"), todo[1]);
  const config = join(app.folder, "supabase", "config.toml");
  await Deno.writeTextFile(
    config,
    Deno.readTextFileSync(config).replace('"billing"]', '"billing", "metrics"]') +
      '[functions.ingest-metrics]\nverify_jwt = false\nimport_map = "./functions/ingest-metrics/deno.json"\n',
  );
  assertEquals((await install(repository, app.folder, noon)).todo, []);
});

Deno.test("the gates run in the app's repository from the copy, whatever the app's own deno.json says", async () => {
  await using app = await appFolder();
  await install(repository, app.folder, noon);
  // Stands for what a runner would download.
  await Deno.symlink(join(repository, "node_modules"), join(app.folder, "metrics", "node_modules"));
  const env = { PATH: Deno.env.get("PATH")!, HOME: Deno.env.get("HOME")!, NO_COLOR: "1", GITHUB_REF_NAME: "main" };
  const task = [Deno.execPath(), "task", "--config", "metrics/deno.json", "deploy"];
  const { code, stderr } = await run([...task, "branch", "--to=production", "--root=."], { cwd: app.folder, env });
  assertEquals(code, 0, stderr);
  const workflow = Deno.readTextFileSync(join(app.folder, ".github/workflows/metrics-supabase-schema-deploy.yml"));
  assert(workflow.includes('task --config metrics/deno.json deploy branch --root=. --to="$TARGET"'));
  assert(!/task deploy/.test(workflow), "a command of the workflow does not find the copy");
  // Modules that gates load only when they are called are listed, too.
  const modules = await run(
    [Deno.execPath(), "info", "--json", "--config", "metrics/deno.json", "metrics/tools/deploy/mod.ts"],
    { cwd: app.folder, env },
  );
  assertEquals(modules.code, 0, modules.stderr);
  const found = JSON.parse(modules.stdout).modules as { specifier: string; error?: string }[];
  assertEquals(found.filter(({ error }) => error !== undefined), []);
  assert(found.some(({ specifier }) => specifier.endsWith("/metrics/tools/deploy/prove.ts")));
  assertEquals(
    Deno.readTextFileSync(join(app.folder, "metrics", "deno.lock")),
    Deno.readTextFileSync(join(repository, "deno.lock")),
    "running changed a file of ours",
  );
});

Deno.test("a migration of ours that was edited in the app's repository is found by validate", async () => {
  await using app = await appFolder();
  await install(repository, app.folder, noon);
  // What the app says of its own releases does not concern ours.
  await write(app.folder, "CHANGELOG.md", "## 2.0.0\n");
  const name = app.ours()[0]!;
  await app.write(name, `${await Deno.readTextFile(join(app.migrations, name))}\n-- as the team likes it\n`);
  const { findings } = await runValidate({ root: app.folder, env: Deno.env.toObject() });
  assertEquals(findings.map(({ code, file }) => [code, file]), [["installed_edited", `supabase/migrations/${name}`]]);
});

Deno.test("an upgrade changes only our files, keeps the stamps and stamps what is new", async () => {
  await using app = await appFolder();
  await using next = await release();
  await install(repository, app.folder, noon);
  const before = filesOf(app.folder);
  await write(next.folder, "supabase/functions/ingest-metrics/index.ts", "// The next release.\n");
  await write(next.folder, "supabase/migrations/20270101000000_metrics_more.sql", "select 1;\n");
  await Deno.remove(join(next.folder, "supabase/functions/ingest-metrics/slots.ts"));
  const outcome = await install(next.folder, app.folder, new Date("2027-02-03T04:05:06Z"));
  const after = filesOf(app.folder);
  const function_ = "supabase/functions/ingest-metrics";
  assertEquals(outcome.added, ["supabase/migrations/20270203040506_metrics_more.sql"]);
  assertEquals(outcome.changed.sort(), [`metrics/${function_}/index.ts`, `${function_}/index.ts`]);
  assertEquals(outcome.removed.sort(), [`metrics/${function_}/slots.ts`, `${function_}/slots.ts`]);
  const touched = [...outcome.added, ...outcome.changed, ...outcome.removed, "metrics/manifest.json"];
  for (const path of new Set([...Object.keys(before), ...Object.keys(after)])) {
    assertEquals(after[path] === before[path], !touched.includes(path), path);
  }
  const again = await install(next.folder, app.folder, new Date("2028-01-01T00:00:00Z"));
  assertEquals([again.added, again.changed, again.removed, again.kept], [[], [], [], []]);
  assertEquals(filesOf(app.folder), after);
});

Deno.test("a file of ours that was edited or removed by hand is named and left as it is", async () => {
  await using app = await appFolder();
  await using next = await release();
  await install(repository, app.folder, noon);
  const edited = ".github/workflows/metrics-rollback.yml";
  const removed = ".github/workflows/metrics-drift.yml";
  await write(app.folder, edited, "# as the team likes it\n");
  await Deno.remove(join(app.folder, removed));
  await write(next.folder, ".github/workflows/rollback.yml", "# the next release\n");
  for (const from of [next.folder, next.folder, repository]) {
    assertEquals((await install(from, app.folder, noon)).kept, [edited, removed]);
    assertEquals(filesOf(app.folder)[edited], "# as the team likes it\n");
    assertEquals(filesOf(app.folder)[removed], undefined);
  }
});

Deno.test("an uninstallation leaves what was there before, and what was edited by hand", async () => {
  await using app = await appFolder();
  const before = filesOf(app.folder);
  await install(repository, app.folder, noon);
  const edited = "supabase/functions/ingest-metrics/index.ts";
  await write(app.folder, edited, "// as the team likes it\n");
  const outcome = await uninstall(repository, app.folder);
  assertEquals(outcome.kept, [edited]);
  assertEquals(filesOf(app.folder), { ...before, [edited]: "// as the team likes it\n" });
  for (const folder of ["metrics", "supabase/tests/metrics"]) {
    assertEquals(await Deno.stat(join(app.folder, folder)).then(() => true, () => false), false, folder);
  }
  await assertRejects(() => uninstall(repository, app.folder), Sentence, "Nothing of ours is installed");
});

Deno.test("a file of the app's that is in the way is named, and nothing is written", async () => {
  await using app = await appFolder();
  const path = "supabase/functions/ingest-metrics/index.ts";
  await write(app.folder, path, "// the app's\n");
  const before = filesOf(app.folder);
  await assertRejects(() => install(repository, app.folder, noon), Sentence, `${path} is there already and not ours`);
  assertEquals(filesOf(app.folder), before);
  await Deno.remove(join(app.folder, path));
  await app.write("20260201000000_metrics_of_the_app.sql", "select 1;\n");
  await assertRejects(
    () => install(repository, app.folder, noon),
    Sentence,
    "_metrics_of_the_app.sql is there already",
  );
  await app.remove("20260201000000_metrics_of_the_app.sql");
  await Deno.symlink("/nowhere", join(app.folder, path));
  await assertRejects(() => install(repository, app.folder, noon), Sentence, "is there already and not ours");
});

Deno.test("an installation that was killed half way is finished by the next, with the same stamps", async () => {
  await using app = await appFolder();
  await install(repository, app.folder, noon);
  const whole = filesOf(app.folder);
  const manifest = manifestOf(app.folder);
  const missing = [
    "supabase/functions/ingest-metrics/store.ts",
    ...migrationsOf(app.folder).slice(-3).map((name) => `supabase/migrations/${name}`),
  ];
  for (const path of missing) await Deno.remove(join(app.folder, path));
  await write(app.folder, "metrics/manifest.json", JSON.stringify({ ...manifest, complete: false }));
  const outcome = await install(repository, app.folder, new Date("2027-01-01T00:00:00Z"));
  assertEquals([outcome.added.sort(), outcome.kept], [missing.sort(), []]);
  assertEquals(filesOf(app.folder), whole);
});

Deno.test("a manifest that is not ours is refused, because it says what may be removed", async () => {
  await using app = await appFolder();
  await install(repository, app.folder, noon);
  const file = { source: "x", sha256: "0".repeat(64) };
  const manifests = [
    "{",
    "{}",
    "null",
    JSON.stringify({ files: { "../outside": file } }),
    JSON.stringify({ files: { "deno.json": file } }),
  ];
  for (const text of manifests) {
    await write(app.folder, "metrics/manifest.json", text);
    for (const work of [install, uninstall]) {
      await assertRejects(() => work(repository, app.folder), Sentence, "is not what was written there", text);
    }
  }
});

Deno.test("a folder that is no app's repository is refused, with both ways of installing named", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const error = await assertRejects(() => install(repository, folder, noon), Sentence);
    assert(/beside an app/.test(error.message) && /a project of its own/.test(error.message), error.message);
    await assertRejects(() => install(repository, join(folder, "nothing"), noon), Sentence, "There is no folder");
    await assertRejects(() => install(repository, repository, noon), Sentence, "this repository itself");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("the command says what it did, and refuses with a sentence", async () => {
  await using app = await appFolder();
  const command = [Deno.execPath(), "run", "-A", "--no-check", join(repository, "tools", "install", "mod.ts")];
  const installed = await run([...command, app.folder, "--json"]);
  assertEquals(installed.code, 0, installed.stderr);
  assertEquals(JSON.parse(installed.stdout).added.length, Object.keys(manifestOf(app.folder).files).length);
  assert(/^Added \d+ files, changed 0 files/m.test(installed.stderr), installed.stderr);
  const removed = await run([...command, app.folder, "--uninstall"]);
  assert(/^Removed \d+ files\. A database that has the schema keeps it/m.test(removed.stderr), removed.stderr);
  assertEquals((await run([...command, app.folder, "--uninstall"])).code, 1);
  assertEquals((await run([...command])).code, 2);
  assertEquals((await run([...command, app.folder, "--remove"])).code, 2);
  assertEquals(Object.keys(appMigrations), migrationsOf(app.folder));
});
