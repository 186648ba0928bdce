// Runs every test, as `deno task test [--deep] [word or path ...]`.
//
//   --deep  the long runs of the property tests
//   path    a test file, or a folder of them
//   word    only tests whose name, or pgTAP files whose path, contains it
//
// The last line says how many passed and failed; the exit code is 1 when one failed or none ran.
import { parseArgs } from "@std/cli/parse-args";
import { fromFileUrl, join, resolve } from "@std/path";
import { temporaryCluster } from "../tools/stack/cluster.ts";
import { pushMigrations } from "../tools/stack/migrate.ts";
import { send } from "../tools/stack/process.ts";
import { type StackAddress, subjectSecrets } from "./support/http.ts";
import { startStack } from "./support/stack.ts";

const repository = fromFileUrl(new URL("..", import.meta.url));

/** The Deno that hosted functions run on, by its oldest name. */
const hostedDeno = "2.1.14";

/** What a part of the run came to. */
interface Outcome {
  passed: number;
  /** Names of what failed. */
  failed: string[];
}

const outcomes: Outcome[] = [];
let current: Deno.ChildProcess | undefined;

/** Runs a command, shows what it prints and returns that as well. */
async function show(command: string[], env: Record<string, string> = {}): Promise<{ code: number; text: string }> {
  const [program, ...args] = command;
  const child = new Deno.Command(program!, {
    args,
    cwd: repository,
    env: { NO_COLOR: "1", ...env },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  current = child;
  let text = "";
  const copy = async (stream: ReadableStream<Uint8Array>, to: { writeSync(bytes: Uint8Array): number }) => {
    const decoder = new TextDecoder();
    for await (const bytes of stream) {
      text += decoder.decode(bytes, { stream: true });
      for (let written = 0; written < bytes.length;) written += to.writeSync(bytes.subarray(written));
    }
  };
  const [{ code }] = await Promise.all([
    child.status,
    copy(child.stdout, Deno.stdout),
    copy(child.stderr, Deno.stderr),
  ]);
  current = undefined;
  return { code, text };
}

/** A check that is one test. */
async function check(name: string, command: string[]): Promise<void> {
  console.log(`\n== ${name}`);
  const { code } = await show(command);
  outcomes.push(code === 0 ? { passed: 1, failed: [] } : { passed: 0, failed: [name] });
}

/** Runs `deno test` and reads its summary. */
async function denoTest(name: string, command: string[], env: Record<string, string>): Promise<void> {
  console.log(`\n== ${name}`);
  const { code, text } = await show(command, env);
  const summary = /^(?:ok|FAILED) \| (\d+) passed[^|]*\| (\d+) failed/m.exec(text);
  const failed = [...new Set([...text.matchAll(/^(\S.*) => \.\/\S+$/gm)].map((match) => `${match[1]} (${name})`))];
  // A file that does not compile is no test that failed, but the run failed.
  const missing = Math.max(Number(summary?.[2] ?? 0), code === 0 ? 0 : 1) - failed.length;
  for (let index = 0; index < missing; index++) failed.push(`${name}: see above`);
  if (!summary && code !== 0 && /No test modules found/.test(text)) failed.length = 0;
  outcomes.push({ passed: Number(summary?.[1] ?? 0), failed });
}

async function isThere(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

async function run(): Promise<void> {
  const { deep, _: words } = parseArgs(Deno.args, { boolean: ["deep"], string: ["_"] });
  const paths: string[] = [];
  const names: string[] = [];
  for (const word of words) (await isThere(resolve(repository, word)) ? paths : names).push(word);
  const deno = Deno.execPath();
  const everything = words.length === 0;
  const filter = names.length > 0 ? [`--filter=${names.join(" ")}`] : [];

  if (everything) {
    await check("format", [deno, "fmt", "--check"]);
    await check("lint", [deno, "lint"]);
    await check("types", [deno, "check"]);
  }

  // One cluster for all; tests copy its template. Nothing in it is forced to disk: what must survive a crash is tested with
  // a stack of its own.
  const cluster = await temporaryCluster(pushMigrations);
  try {
    const env = { METRICS_TEST_CLUSTER: cluster.url(), ...(deep ? { METRICS_TEST_DEPTH: "deep" } : {}) };
    const test = [deno, "test", "-A", "--no-check", "--permit-no-files", ...filter];
    const typescript = paths.filter((path) => !path.endsWith(".sql"));
    if (paths.length > 0) {
      if (typescript.length > 0) await denoTest("tests", [...test, ...typescript], env);
    } else {
      // Whole stacks measure times and use most of the machine: one after the other.
      const alone = ["tests/stack", "tests/http"];
      // The flag takes the place of what deno.json excludes.
      const ignore = [...alone, "node_modules", "tests/reports/project"].join(",");
      await denoTest("unit and database tests", [...test, "--parallel", `--ignore=${ignore}`], {
        ...env,
        DENO_JOBS: "2",
      });
      await denoTest("tests/stack", [...test, "tests/stack"], env);
      {
        await using stack = await startStack({ env: subjectSecrets() });
        const { url, database_url, publishable_key, secret_key, sources, data, pid } = stack;
        const address: StackAddress = { url, database_url, publishable_key, secret_key, sources, data, pid };
        await denoTest("tests/http", [...test, "tests/http"], { ...env, METRICS_TEST_STACK: JSON.stringify(address) });
      }
      await denoTest(
        `the function's tests under Deno ${hostedDeno}`,
        // Its format of the lock file and of node_modules is older: it must touch neither.
        ["npx", "-y", `deno@${hostedDeno}`, "test", "-A", "--no-lock", "--node-modules-dir=none", "--permit-no-files"]
          .concat(filter, "supabase/functions"),
        // It knows no certificates but its own, unless it is told to: a network may have an authority of its own.
        { ...env, DENO_TLS_CA_STORE: "system,mozilla" },
      );
    }
    await pgtap(paths, names, env);
  } finally {
    await cluster.server.stop();
  }
}

/** pgTAP files, in this process. */
async function pgtap(paths: string[], names: string[], env: Record<string, string>): Promise<void> {
  for (const [name, value] of Object.entries(env)) Deno.env.set(name, value);
  const { pgtapFiles, runPgtap } = await import("./support/pgtap.ts");
  const folder = join(repository, "supabase", "tests");
  const files = paths.length > 0
    ? paths.flatMap((path) => {
      const full = resolve(repository, path);
      return full.endsWith(".sql") ? [full] : full.startsWith(folder) ? pgtapFiles(full) : [];
    })
    : (await isThere(folder) ? pgtapFiles(folder) : []).filter((file) => names.every((name) => file.includes(name)));
  if (files.length === 0) return;
  console.log("\n== pgTAP");
  for (const { file, passed, failures } of await runPgtap(files, repository)) {
    console.log(`${failures.length === 0 ? "ok" : "FAILED"} ${file} (${passed} passed)`);
    for (const failure of failures) console.log(`  not ok: ${failure}`);
    outcomes.push({ passed, failed: failures.map((failure) => `${failure.split("\n")[0]} (${file})`) });
  }
}

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.addSignalListener(signal, () => {
    if (current) send(current.pid, "SIGTERM");
    Deno.exit(1);
  });
}

const started = Date.now();
let broken = 0;
try {
  await run();
} catch (error) {
  broken = 1;
  console.error(error instanceof Error ? error.message : error);
}
const passed = outcomes.reduce((sum, outcome) => sum + outcome.passed, 0);
const failures = outcomes.flatMap((outcome) => outcome.failed);
console.log(`\n${Math.round((Date.now() - started) / 1000)} s`);
for (const name of failures) console.log(`failed: ${name}`);
if (passed === 0 && failures.length === 0 && broken === 0) console.log("No test ran.");
console.log(`${passed} passed, ${failures.length + broken} failed`);
Deno.exit(passed === 0 || failures.length + broken > 0 ? 1 : 0);
