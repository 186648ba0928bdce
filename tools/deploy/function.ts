// Deploys the function by the Supabase CLI, and looks at what the platform then has: its settings, the names of its secrets, its files.
import { dirname, join, relative } from "@std/path";
import { managedProject } from "./project.ts";
import { sha256 } from "./migrations.ts";
import { type Finding, type GateContext, type GateResult, Report } from "./result.ts";
import { callManagementApi, nameOf, runCli, type Target } from "./target.ts";

/** Where a project stands: staging takes synthetic deliveries alone, production everything but those. */
export type Environment = "staging" | "production";

/** How to deploy the function. */
export interface FunctionOptions extends GateContext {
  target: Target;
  environment: Environment;
  /** Deploys nothing and only says what differs. */
  check?: boolean | undefined;
  /** Names of secrets that must be there beside those that the environment needs. */
  expect?: string[] | undefined;
}

/** The function's name, its folder's and its address's. */
const functionName = "ingest-metrics";
const folder = `supabase/functions/${functionName}`;

/** The gate `function`. */
export async function runFunction(options: FunctionOptions): Promise<GateResult> {
  const { target, check = false } = options;
  const report = new Report("function", nameOf(target), options);
  // A secret too many would let in what must stay out, as soon as the new function is there.
  report.find(...await secretFindings(options));
  if (report.ok && !check) await deploy(options, report);
  if (report.ok || check) report.find(...await functionFindings(options));
  if (report.ok) {
    report.note(`The function ${functionName} is that of the repository, with the secrets of ${options.environment}.`);
  }
  return report.result({ function_sha256: await functionHash(options.root) });
}

async function deploy({ target, root, env }: FunctionOptions, report: Report): Promise<void> {
  if (target.kind === "url") {
    report.note("A stack on this machine runs the function from its folder: there is nothing to deploy.");
    return;
  }
  const { code, stderr, stdout } = await runCli(["functions", "deploy", functionName, "--use-api", "--yes"], target, {
    root,
    env,
  });
  if (code === 0) report.note(`Deployed the function ${functionName}.`);
  else {
    const said = `${stderr}\n${stdout}`.split("\n").map((line) => line.trim()).filter((line) =>
      /fail|error|invalid/i.test(line)
    );
    report.find({
      code: "function_not_deployed",
      sentence: `The function was not deployed, and the one before goes on. The CLI says: ${
        said.join(" ") || `code ${code}`
      }`,
    });
  }
}

/** What is wrong with the names of the function's secrets in this environment. Their values are not looked at. */
export async function secretFindings(
  { target, env, environment, expect = [] }: Pick<FunctionOptions, "target" | "env" | "environment" | "expect">,
): Promise<Finding[]> {
  const secrets = await callManagementApi<{ name: string; value: string }[]>(
    managedProject(target, env),
    env,
    "secrets",
  );
  const names = secrets.map(({ name }) => name).sort();
  const isSecret = (name: string) => name.startsWith("INGEST_SECRET_");
  const isSynthetic = (name: string) => /^INGEST_SECRET_SYNTHETIC(_|$)/.test(name);
  const findings: Finding[] = [];
  const find = (code: string, sentence: string) => findings.push({ code, sentence });
  if (environment === "staging") {
    const value = secrets.find(({ name }) => name === "METRICS_ENVIRONMENT")?.value;
    // The platform shows the SHA-256 of a value.
    if (value !== await sha256("staging")) {
      find(
        "not_staging",
        "METRICS_ENVIRONMENT is not staging in this project: supabase secrets set METRICS_ENVIRONMENT=staging.",
      );
    }
    if (!names.includes("INGEST_SECRET_SYNTHETIC")) {
      find(
        "secret_missing",
        "INGEST_SECRET_SYNTHETIC is missing: staging is proven with deliveries that are signed with it.",
      );
    }
    for (const name of names.filter((name) => isSecret(name) && name !== "INGEST_SECRET_SYNTHETIC")) {
      find(
        "secret_forbidden",
        `${name} must not be on staging, which never sees a real event: supabase secrets unset ${name}.`,
      );
    }
  } else {
    for (const name of names.filter((name) => name === "METRICS_ENVIRONMENT" || isSynthetic(name))) {
      find(
        "secret_forbidden",
        `${name} belongs to staging and must not be in production: supabase secrets unset ${name}.`,
      );
    }
  }
  for (const name of expect.filter((name) => !names.includes(name))) {
    find("secret_missing", `${name} is missing: supabase secrets set ${name}=...`);
  }
  return findings;
}

/** What is wrong with the function that the platform runs: its settings, and files that are not the repository's. */
export async function functionFindings(
  { target, env, root }: Pick<FunctionOptions, "target" | "env" | "root">,
): Promise<Finding[]> {
  const project = managedProject(target, env);
  const functions = await callManagementApi<Deployed[]>(project, env, "functions");
  const deployed = functions.find(({ slug }) => slug === functionName);
  if (!deployed) {
    return [{ code: "function_missing", sentence: `The project has no function ${functionName}: deploy it.` }];
  }
  const findings: Finding[] = [];
  if (deployed.verify_jwt) {
    findings.push({
      code: "function_verifies_jwt",
      sentence:
        "The platform checks a JWT before the function runs, so that every webhook is refused: verify_jwt must be false in " +
        `[functions.${functionName}] of supabase/config.toml; deploy it again.`,
    });
  }
  if (deployed.status !== "ACTIVE") {
    findings.push({
      code: "function_inactive",
      sentence: `The function is not active (${deployed.status}): deploy it again.`,
    });
  }
  return target.kind === "linked" ? [...findings, ...await fileFindings(target, env, root)] : findings;
}

interface Deployed {
  slug: string;
  status: string;
  verify_jwt?: boolean;
}

async function fileFindings(target: Target, env: FunctionOptions["env"], root: string): Promise<Finding[]> {
  const download = await Deno.makeTempDir({ prefix: "metrics-function-" });
  try {
    // The CLI finds its project's folder by this file, and must not find ours.
    await Deno.mkdir(join(download, "supabase"));
    await Deno.copyFile(join(root, "supabase", "config.toml"), join(download, "supabase", "config.toml"));
    const { code } = await runCli(["functions", "download", functionName, "--use-api"], target, {
      root: download,
      env,
    });
    if (code !== 0) {
      return [{
        code: "function_not_readable",
        sentence: "The CLI cannot download the function to compare it: the token must be able to read it.",
      }];
    }
    const differing: string[] = [];
    for (const path of await functionFiles(root)) {
      const there = await Deno.readTextFile(join(download, path)).catch(() => undefined);
      if (there !== await Deno.readTextFile(join(root, path))) differing.push(relative(folder, path));
    }
    return differing.length === 0 ? [] : [{
      code: "function_differs",
      sentence: `The deployed function is not that of the repository (${differing.join(", ")}): deploy it again.`,
    }];
  } finally {
    await Deno.remove(download, { recursive: true });
  }
}

/** SHA-256 of what the function ships: paths and SHA-256 of its files, one a line. */
export async function functionHash(root: string): Promise<string> {
  const lines: string[] = [];
  for (const path of await functionFiles(root)) {
    lines.push(`${await sha256(await Deno.readFile(join(root, path)))}  ${path}\n`);
  }
  return await sha256(lines.join(""));
}

/** The files that the function ships, as paths below the root: its entry, every module that it leads to, and its versions. */
export async function functionFiles(root: string): Promise<string[]> {
  const found = new Set([`${folder}/index.ts`]);
  // Grows while it is walked.
  for (const path of found) {
    const text = await Deno.readTextFile(join(root, path));
    for (const [, specifier] of text.matchAll(/^(?:import|export)\b[^;"']*["'](\.{1,2}\/[^"']+)["']/gm)) {
      found.add(join(dirname(path), specifier!));
    }
  }
  found.add(`${folder}/deno.json`);
  return [...found].sort();
}
