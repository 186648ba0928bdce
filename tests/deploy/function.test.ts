/** The function: deployed by the real CLI, with the settings, the files and the secrets that its environment must have. */

import { assertEquals } from "@std/assert";
import { join } from "@std/path";
import { repository } from "../../tools/stack/packages.ts";
import {
  functionFiles,
  functionHash,
  type FunctionOptions,
  runFunction,
  secretFindings,
} from "../../tools/deploy/function.ts";
import { appDatabase, appRepository, codes, deployCluster, gate } from "../support/deploy.ts";
import { startProject } from "../support/project.ts";

const cluster = await deployCluster();
const database = await appDatabase(cluster);
const project = await startProject(database);
Deno.test.afterAll(async () => {
  await project[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});
const lax = { sanitizeOps: false, sanitizeResources: false };

const staging = { METRICS_ENVIRONMENT: "staging", INGEST_SECRET_SYNTHETIC: "a secret for what never happened" };
const production = { INGEST_SECRET_GITHUB: "a secret of sixteen bytes" };

/** The function's secrets from now on. */
function secrets(given: Record<string, string>): void {
  for (const name of Object.keys(project.variables)) delete project.variables[name];
  Object.assign(project.variables, given);
}

const run = (options: Partial<FunctionOptions> = {}) =>
  runFunction({ root: repository, env: project.env, target: project.linked, environment: "staging", ...options });

Deno.test("it is deployed by the CLI: every file that it ships, without a check for a JWT", lax, async () => {
  secrets(staging);
  const { code, result, said } = await gate(["function", "--remote", "--environment=staging"], project.env);
  assertEquals([code, result.ok], [0, true], said);
  assertEquals([...project.deployed.keys()].sort(), await functionFiles(repository));
  assertEquals(result.function_sha256, await functionHash(repository));
  assertEquals(project.changes, ["POST functions/deploy"]);
  const checked = await run({ check: true });
  assertEquals([checked.ok, project.changes.length], [true, 1]);
});

Deno.test("in an app's repository it is the same function, by its hash", lax, async () => {
  await using app = await appRepository();
  assertEquals(await functionHash(app.folder), await functionHash(repository));
  const handler = join(app.folder, "supabase", "functions", "ingest-metrics", "handler.ts");
  await Deno.writeTextFile(handler, `${await Deno.readTextFile(handler)}\n// changed\n`);
  assertEquals(await functionHash(app.folder) === await functionHash(repository), false);
});

Deno.test("a function that somebody changed by hand is named by its files", lax, async () => {
  secrets(staging);
  await run();
  const path = "supabase/functions/ingest-metrics/sources/github.ts";
  const text = project.deployed.get(path)!;
  project.deployed.set(path, `${text}// by hand\n`);
  const { findings } = await run({ check: true });
  assertEquals(findings.map(({ code }) => code), ["function_differs"]);
  assertEquals(findings[0]!.sentence.includes("(sources/github.ts)"), true);
  project.deployed.set(path, text);
});

Deno.test(
  "settings that would refuse every webhook are found, and so is a function that is not there",
  lax,
  async () => {
    secrets(staging);
    project.faults.deployed = { verify_jwt: true };
    assertEquals(codes(await run({ check: true })), ["function_verifies_jwt"]);
    project.faults.deployed = { status: "REMOVED" };
    assertEquals(codes(await run({ check: true })), ["function_inactive"]);
    project.faults.deployed = { slug: "another" };
    assertEquals(codes(await run({ check: true })), ["function_missing"]);
    project.faults.deployed = undefined;
  },
);

Deno.test("staging has the secret for synthetic deliveries and no other, or nothing is deployed", lax, async () => {
  const cases: [Record<string, string>, string[]][] = [
    [{}, ["not_staging", "secret_missing"]],
    [{ ...staging, METRICS_ENVIRONMENT: "production" }, ["not_staging"]],
    [{ ...staging, INGEST_SECRET_GITHUB: "x" }, ["secret_forbidden"]],
    [{ ...staging, INGEST_SECRET_SYNTHETIC_2: "x", INGEST_MAX_BYTES: "1" }, ["secret_forbidden"]],
  ];
  const before = project.changes.length;
  for (const [given, expected] of cases) {
    secrets(given);
    assertEquals(codes(await run()), expected, JSON.stringify(given));
  }
  assertEquals(project.changes.length, before);
});

Deno.test("production has neither staging's variable nor its secret", lax, async () => {
  const cases: [Record<string, string>, string[]][] = [
    [production, []],
    [{}, []],
    [{ ...production, ...staging }, ["secret_forbidden", "secret_forbidden"]],
    [{ ...production, METRICS_ENVIRONMENT: "production" }, ["secret_forbidden"]],
    [{ ...production, INGEST_SECRET_SYNTHETIC_2: "x" }, ["secret_forbidden"]],
  ];
  for (const [given, expected] of cases) {
    secrets(given);
    const found = await secretFindings({ env: project.env, target: project.linked, environment: "production" });
    assertEquals(codes({ findings: found }), expected, JSON.stringify(given));
  }
  secrets(production);
  const expect = ["INGEST_SECRET_GITHUB", "INGEST_SECRET_GITLAB"];
  const { findings } = await run({ environment: "production", check: true, expect });
  assertEquals(findings.map(({ code, sentence }) => [code, sentence.split(" ")[0]]), [
    ["secret_missing", "INGEST_SECRET_GITLAB"],
  ]);
});

Deno.test(
  "when the platform refuses the function, the one before goes on and the CLI's reason is told",
  lax,
  async () => {
    secrets(staging);
    project.faults.refuse = 403;
    const { ok, findings } = await run();
    assertEquals([ok, findings.map(({ code }) => code)], [false, ["function_not_deployed"]]);
    project.faults.refuse = undefined;
  },
);

Deno.test("the environment must be named", lax, async () => {
  const { code, said } = await gate(["function", "--remote"], project.env);
  assertEquals([code, said.includes("--environment=staging")], [2, true]);
});
