/** Runs an action of this repository as a runner of GitHub Actions would. */

import { join } from "@std/path";
import { parse } from "@std/yaml";
import { repository } from "../support/stack.ts";

/** What of action.yml a runner reads. */
interface Action {
  inputs: Record<string, { description: string; default?: string; required?: boolean }>;
  outputs: Record<string, { description: string }>;
  runs: { using: string; main: string };
}

/** A job that an action runs in. */
export interface Job {
  /** Values of `with:`. */
  with: Record<string, string>;
  /** The checked-out repository: where the action runs. */
  workspace: string;
  /** Variables, added to those of {@link variables}; null takes one away. */
  env?: Record<string, string | null>;
  /** The job's `matrix` context. */
  matrix?: Record<string, unknown>;
  /** The webhook that started the workflow. */
  event?: unknown;
}

/** What a runner saw of an action. */
export interface Ran {
  code: number;
  /** The lines of the log that are no commands. */
  log: string[];
  warnings: { title: string; text: string }[];
  /** What was to be masked in every log. */
  masks: string[];
  summary: string;
  outputs: Record<string, string>;
  /** Everything that the process printed, as it was printed. */
  printed: string;
}

/** The variables that GitHub sets for a push to main; the names and meanings are GitHub's. */
export const variables: Readonly<Record<string, string>> = {
  CI: "true",
  GITHUB_ACTIONS: "true",
  GITHUB_EVENT_NAME: "push",
  GITHUB_JOB: "test",
  GITHUB_REF: "refs/heads/main",
  GITHUB_REF_NAME: "main",
  GITHUB_REF_TYPE: "branch",
  GITHUB_REPOSITORY: "acme/app",
  GITHUB_REPOSITORY_ID: "1",
  GITHUB_RUN_ATTEMPT: "2",
  GITHUB_RUN_ID: "7",
  GITHUB_SERVER_URL: "https://github.com",
  GITHUB_SHA: "0f3c1d2e4b5a69788796a5b4c3d2e1f001122334",
  GITHUB_WORKFLOW: "CI",
};

/** Reads the action.yml of a folder in `.github/actions`. */
export async function readAction(name: string): Promise<Action> {
  return parse(await Deno.readTextFile(join(repository, ".github", "actions", name, "action.yml"))) as Action;
}

/** Evaluates what an input's default says; throws for an expression that no default here should hold. */
function evaluate(text: string, job: Job): string {
  return text.replace(/\$\{\{\s*(.*?)\s*\}\}/g, (_, expression) => {
    if (expression !== "toJson(matrix)") throw new Error(`unexpected expression ${expression}`);
    return JSON.stringify(job.matrix ?? null, null, 2);
  });
}

/** Runs the action in a process of its own, whose environment is the runner's and nothing else. */
export async function runAction(name: string, job: Job): Promise<Ran> {
  const action = await readAction(name);
  for (const input of Object.keys(job.with)) {
    if (!(input in action.inputs)) throw new Error(`no such input: ${input}`);
  }
  const inputs = Object.entries(action.inputs).map(([input, { default: fallback }]) => [
    `INPUT_${input.replaceAll(" ", "_").toUpperCase()}`,
    job.with[input] ?? evaluate(fallback ?? "", job),
  ]);
  const files = await Deno.makeTempDir({ prefix: "metrics-runner-" });
  try {
    const paths = {
      GITHUB_STEP_SUMMARY: join(files, "summary"),
      GITHUB_OUTPUT: join(files, "output"),
      GITHUB_EVENT_PATH: join(files, "event.json"),
    };
    await Deno.writeTextFile(paths.GITHUB_EVENT_PATH, JSON.stringify(job.event ?? {}));
    for (const path of [paths.GITHUB_STEP_SUMMARY, paths.GITHUB_OUTPUT]) await Deno.writeTextFile(path, "");
    const env = Object.entries({
      PATH: Deno.env.get("PATH")!,
      ...variables,
      ...paths,
      GITHUB_WORKSPACE: job.workspace,
      ...Object.fromEntries(inputs),
      ...job.env,
    }).filter((variable): variable is [string, string] => variable[1] !== null);
    const { code, stdout, stderr } = await new Deno.Command("node", {
      args: [join(repository, ".github", "actions", name, action.runs.main)],
      cwd: job.workspace,
      env: Object.fromEntries(env),
      clearEnv: true,
      stdin: "null",
    }).output();
    const decoder = new TextDecoder();
    const printed = decoder.decode(stdout) + decoder.decode(stderr);
    return {
      code,
      printed,
      ...readCommands(decoder.decode(stdout)),
      summary: await Deno.readTextFile(paths.GITHUB_STEP_SUMMARY),
      outputs: readOutputs(await Deno.readTextFile(paths.GITHUB_OUTPUT), action),
    };
  } finally {
    await Deno.remove(files, { recursive: true });
  }
}

/** What a runner makes of the lines of standard output. */
function readCommands(text: string): Pick<Ran, "log" | "warnings" | "masks"> {
  const commands: Pick<Ran, "log" | "warnings" | "masks"> = { log: [], warnings: [], masks: [] };
  for (const line of text.split("\n").filter(Boolean)) {
    const [, name, properties, value] = /^::([a-z-]+)(?: (.*?))?::(.*)$/.exec(line) ?? [];
    if (name === undefined) commands.log.push(line);
    else if (name === "add-mask") commands.masks.push(unescape(value!));
    else if (name === "warning") {
      commands.warnings.push({ title: unescape(properties?.replace(/^title=/, "") ?? ""), text: unescape(value!) });
    } else throw new Error(`unexpected command ${name}`);
  }
  return commands;
}

function unescape(text: string): string {
  return text.replaceAll("%0D", "\r").replaceAll("%0A", "\n").replaceAll("%3A", ":").replaceAll("%2C", ",")
    .replaceAll("%25", "%");
}

function readOutputs(text: string, action: Action): Record<string, string> {
  const outputs = Object.fromEntries(text.split("\n").filter(Boolean).map((line) => line.split("=", 2)));
  for (const name of Object.keys(outputs)) if (!(name in action.outputs)) throw new Error(`no such output: ${name}`);
  return outputs;
}
