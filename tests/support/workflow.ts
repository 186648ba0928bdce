/**
 * A small interpreter of GitHub workflows: enough to execute our own, step by step, with the environment that each step would have. What
 * it does not know it refuses, so that a workflow cannot grow beyond what is tested.
 */
import { parse } from "@std/yaml";
import { basename, join } from "@std/path";

/** A step of a job, as it is written. */
export interface Step {
  name?: string;
  id?: string;
  if?: string;
  uses?: string;
  with?: Record<string, string | number | boolean>;
  run?: string;
  env?: Record<string, string>;
}

/** A job, as it is written. */
export interface Job {
  needs?: string | string[];
  if?: string;
  environment?: string;
  permissions?: Record<string, string>;
  env?: Record<string, string>;
  "runs-on": string;
  "timeout-minutes"?: number;
  steps: Step[];
}

/** A workflow, as it is written. */
export interface Workflow {
  name: string;
  on: Record<string, unknown>;
  permissions?: Record<string, string>;
  concurrency?: { group: string; "cancel-in-progress": boolean };
  env?: Record<string, string>;
  jobs: Record<string, Job>;
}

/** Reads a workflow's text. */
export function readWorkflow(text: string): Workflow {
  return parse(text) as Workflow;
}

/** What made the workflow run. */
export interface Trigger {
  event: "push" | "workflow_dispatch" | "schedule" | "pull_request";
  /** The branch. */
  branch: string;
  /** What was chosen by hand; what was not has its default. */
  inputs?: Record<string, string>;
  /** Whether the repository is private; default true. */
  isPrivate?: boolean;
}

/** What a protected environment holds. */
export interface Environment {
  vars?: Record<string, string>;
  secrets?: Record<string, string>;
  /** What a runner is told that has no hosted projects; it stands for the defaults of the tools. */
  runner?: Record<string, string>;
}

/** Where and with what to execute. */
export interface RunnerOptions {
  trigger: Trigger;
  environments: Record<string, Environment>;
  /** A clone's `origin`: the address or folder of a repository with the branch. */
  origin: string;
  /** The commit. */
  sha: string;
  /** Puts into a fresh checkout what the runner would have downloaded. */
  prepare?: (workspace: string) => Promise<void>;
  /** Folders of programs that actions install, by the action's name. */
  programs?: Record<string, string>;
  /** Folders with the artifacts of earlier runs, by the run's id. */
  earlier?: Record<string, Map<string, string>>;
  /** Added to the environment of every step: what the machine is. */
  machine: Record<string, string>;
  /**
   * What scripts of jobs without an environment came to, by what they see: the origin's branches, the script and its variables; of the
   * gate validate the commit alone. Where it is given, such a script is not run on the same again.
   */
  known?: Map<string, { code: number; output: string }>;
}

/** What came of a step. */
export interface StepOutcome {
  name: string;
  result: "success" | "failure" | "skipped";
  /** The program's exit code, undefined for an action. */
  code: number | undefined;
  /** What it printed on both streams. */
  output: string;
  /** The names of the environment's secrets that it could see. */
  secrets: string[];
  /** How long it took. */
  milliseconds: number;
}

/** What came of a job. */
export interface JobOutcome {
  result: "success" | "failure" | "skipped";
  environment: string | undefined;
  steps: StepOutcome[];
}

/** What came of a run. */
export interface RunOutcome {
  jobs: Record<string, JobOutcome>;
  /** Folders with the files of each artifact, by name. */
  artifacts: Map<string, string>;
  [Symbol.asyncDispose](): Promise<void>;
}

type Value = string | number | boolean | null | Value[] | { [name: string]: Value };
type Contexts = Record<string, Value>;

/** Executes a workflow: jobs in the order of their needs, steps in the order in which they stand. */
export async function runWorkflow(workflow: Workflow, options: RunnerOptions): Promise<RunOutcome> {
  const folder = await Deno.makeTempDir({ prefix: "metrics-workflow-" });
  const artifacts = new Map<string, string>();
  const outcome: RunOutcome = {
    jobs: {},
    artifacts,
    [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
  };
  const { trigger } = options;
  const github: Contexts = {
    event_name: trigger.event,
    ref: `refs/heads/${trigger.branch}`,
    ref_name: trigger.branch,
    sha: options.sha,
    token: "",
    event: { repository: { private: trigger.isPrivate ?? true } },
  };
  const inputs = inputsOf(workflow, trigger);
  for (const name of inOrder(workflow)) {
    const job = workflow.jobs[name]!;
    const needs = needsOf(job);
    const results = needs.map((need) => outcome.jobs[need]!.result);
    const contexts = { github, inputs, needs: {}, vars: {}, secrets: {}, env: {}, runner: {} };
    const isFree = results.every((result) => result === "success");
    if (!isFree || !isTrue(job.if === undefined ? true : evaluate(bare(job.if), contexts))) {
      outcome.jobs[name] = { result: "skipped", environment: undefined, steps: [] };
      continue;
    }
    const environmentName = job.environment === undefined ? undefined : filled(job.environment, contexts);
    const environment = environmentName === undefined ? {} : options.environments[environmentName];
    if (!environment) throw new Error(`the job ${name} runs in the environment ${environmentName}, which is not there`);
    const temporary = join(folder, name);
    await Deno.mkdir(temporary);
    outcome.jobs[name] = await runJob(workflow, job, {
      options,
      environmentName,
      environment,
      artifacts,
      workspace: join(folder, `${name}-workspace`),
      temporary,
      contexts: {
        ...contexts,
        vars: environment.vars ?? {},
        secrets: environment.secrets ?? {},
        runner: { temp: temporary },
      },
    });
  }
  return outcome;
}

/** Names of the jobs, each after those that it needs. */
function inOrder(workflow: Workflow): string[] {
  const order: string[] = [];
  const visit = (name: string) => {
    if (order.includes(name)) return;
    for (const need of needsOf(workflow.jobs[name]!)) visit(need);
    order.push(name);
  };
  for (const name of Object.keys(workflow.jobs)) visit(name);
  return order;
}

const needsOf = ({ needs }: Job): string[] => needs === undefined ? [] : [needs].flat();

function inputsOf(workflow: Workflow, trigger: Trigger): Contexts {
  // A push knows no inputs: each is empty.
  if (trigger.event !== "workflow_dispatch") return {};
  const { inputs = {} } = (workflow.on.workflow_dispatch ?? {}) as {
    inputs?: Record<string, { default?: string; required?: boolean; options?: string[] }>;
  };
  for (const name of Object.keys(trigger.inputs ?? {})) {
    if (!Object.hasOwn(inputs, name)) throw new Error(`the workflow has no input ${name}`);
  }
  return Object.fromEntries(
    Object.entries(inputs).map(([name, input]) => {
      const value = trigger.inputs?.[name] ?? input.default;
      if (value === undefined) throw new Error(`the input ${name} is missing`);
      if (input.options && !input.options.includes(value)) throw new Error(`${name} cannot be ${value}`);
      return [name, value];
    }),
  );
}

interface JobRun {
  options: RunnerOptions;
  environmentName: string | undefined;
  environment: Environment;
  artifacts: Map<string, string>;
  workspace: string;
  temporary: string;
  contexts: Contexts;
}

async function runJob(workflow: Workflow, job: Job, run: JobRun): Promise<JobOutcome> {
  const { options, contexts } = run;
  await Deno.mkdir(run.workspace);
  const paths: string[] = [];
  const steps: StepOutcome[] = [];
  let failed = false;
  for (const step of job.steps) {
    const title = step.name ?? step.uses?.split("@")[0] ?? step.run!.split("\n")[0]!;
    const env: Record<string, string> = {};
    for (const [key, value] of Object.entries({ ...workflow.env, ...job.env, ...step.env })) {
      env[key] = filled(String(value), contexts);
    }
    const secrets = Object.entries((contexts.secrets ?? {}) as Record<string, string>)
      .filter(([, value]) => value !== "" && Object.values(env).some((given) => given.includes(value)))
      .map(([key]) => key);
    const condition = step.if === undefined ? "success()" : bare(step.if);
    const asked = /\b(success|failure|always|cancelled)\(/.test(condition) ? condition : `success() && (${condition})`;
    if (!isTrue(evaluate(asked, { ...contexts, env }, failed))) {
      steps.push({ name: title, result: "skipped", code: undefined, output: "", secrets: [], milliseconds: 0 });
      continue;
    }
    const started = Date.now();
    let code: number | undefined;
    let output = "";
    let isRight = true;
    if (step.uses !== undefined) {
      await act(step, run, paths);
    } else {
      const used = Object.entries(env).filter(([name]) => step.run!.includes(`$${name}`));
      const key = run.environmentName === undefined
        ? JSON.stringify([
          / deploy validate\b/.test(step.run!)
            ? options.sha
            : [await branchesOf(options.origin), options.trigger.branch],
          step.run,
          used,
        ])
        : undefined;
      const known = key === undefined ? undefined : options.known?.get(key);
      const outcome = known ?? await shell(step.run!, {
        cwd: run.workspace,
        env: {
          ...options.machine,
          PATH: [...paths, options.machine.PATH ?? "/usr/bin:/bin"].join(":"),
          CI: "true",
          GITHUB_ACTIONS: "true",
          GITHUB_EVENT_NAME: options.trigger.event,
          GITHUB_REPOSITORY: "example/app",
          GITHUB_WORKFLOW_REF:
            `example/app/.github/workflows/${workflow.name}.yml@refs/heads/${options.trigger.branch}`,
          GITHUB_REF: `refs/heads/${options.trigger.branch}`,
          GITHUB_REF_NAME: options.trigger.branch,
          GITHUB_SHA: options.sha,
          GITHUB_WORKSPACE: run.workspace,
          RUNNER_TEMP: run.temporary,
          ...run.environment.runner,
          ...env,
        },
      });
      if (key !== undefined) options.known?.set(key, outcome);
      ({ code, output } = outcome);
      isRight = code === 0;
    }
    failed ||= !isRight;
    const milliseconds = Date.now() - started;
    steps.push({ name: title, result: isRight ? "success" : "failure", code, output, secrets, milliseconds });
  }
  return { result: failed ? "failure" : "success", environment: run.environmentName, steps };
}

/** Runs a script as the runner does where no shell is named: `bash -e`. */
async function shell(
  script: string,
  options: { cwd: string; env: Record<string, string> },
): Promise<{ code: number; output: string }> {
  if (script.includes("${{")) throw new Error("an expression within a script is not executed here");
  const file = await Deno.makeTempFile({ suffix: ".sh" });
  try {
    await Deno.writeTextFile(file, script);
    const { code, stdout, stderr } = await new Deno.Command("bash", {
      args: ["-e", file],
      cwd: options.cwd,
      env: options.env,
      clearEnv: true,
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).output();
    const decoder = new TextDecoder();
    return { code, output: `${decoder.decode(stdout)}${decoder.decode(stderr)}` };
  } finally {
    await Deno.remove(file);
  }
}

/** Does what one of the actions does that we use. */
async function act(step: Step, run: JobRun, paths: string[]): Promise<void> {
  const { options, contexts, artifacts, workspace } = run;
  const action = step.uses!.split("@")[0]!;
  const given = Object.fromEntries(
    Object.entries(step.with ?? {}).map(([name, value]) => [name, filled(String(value), contexts)]),
  );
  switch (action) {
    case "actions/checkout": {
      const ref = given.ref ?? options.trigger.branch;
      const depth = given["fetch-depth"] === "0" ? ["--no-single-branch"] : ["--depth=1"];
      await git("clone", "--quiet", "--branch", ref, ...depth, `file://${options.origin}`, workspace);
      await options.prepare?.(workspace);
      return;
    }
    case "actions/setup-node":
      return;
    case "supabase/setup-cli": {
      const program = options.programs?.[action];
      if (!program) throw new Error(`no program stands for ${action}`);
      paths.push(program);
      return;
    }
    case "actions/upload-artifact": {
      const kept = await Deno.makeTempDir({ dir: run.temporary, prefix: "artifact-" });
      await copyInto(given.path!, kept);
      artifacts.set(given.name!, kept);
      return;
    }
    case "actions/download-artifact": {
      const source = given["run-id"] === undefined ? artifacts : options.earlier?.[given["run-id"]];
      const kept = source?.get(given.name!);
      if (!kept) throw new Error(`there is no artifact ${given.name}`);
      await copyInto(kept, given.path!);
      return;
    }
    default:
      throw new Error(`the action ${action} is not known here`);
  }
}

async function git(...words: string[]): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command("git", { args: words, stdin: "null" }).output();
  if (code !== 0) throw new Error(`git ${words[0]} failed: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout);
}

/** Every branch of a repository, with its commit. */
const branchesOf = (folder: string): Promise<string> =>
  git("-C", folder, "for-each-ref", "--format=%(refname) %(objectname)", "refs/heads");

/** Copies a file, or what is in a folder, into a folder. */
async function copyInto(from: string, folder: string): Promise<void> {
  await Deno.mkdir(folder, { recursive: true });
  if ((await Deno.stat(from)).isFile) return await Deno.copyFile(from, join(folder, basename(from)));
  for (const { name, isDirectory } of Deno.readDirSync(from)) {
    const path = join(from, name);
    if (isDirectory) await copyInto(path, join(folder, name));
    else await Deno.copyFile(path, join(folder, name));
  }
}

/** The expression of a condition, which may stand without its braces. */
const bare = (condition: string): string => /^\s*\$\{\{(.*)\}\}\s*$/s.exec(condition)?.[1] ?? condition;

/** A text with its expressions replaced by what they come to. */
export function filled(text: string, contexts: Contexts): string {
  return text.replace(/\$\{\{(.*?)\}\}/gs, (_, expression) => {
    const value = evaluate(expression, contexts);
    if (value !== null && typeof value === "object") throw new Error(`${expression} is no text`);
    return value === null ? "" : String(value);
  });
}

const isTrue = (value: Value): boolean => value !== null && value !== false && value !== 0 && value !== "";

/** Evaluates an expression of GitHub's language: literals, contexts, `!`, `==`, `!=`, `&&`, `||`, parentheses and the functions of conditions. */
export function evaluate(expression: string, contexts: Contexts, failed = false): Value {
  const tokens = [
    ...expression.matchAll(/\s*('(?:[^']|'')*'|\d+|[\w-]+(?:\.[\w-]+)*(?:\(\))?|==|!=|&&|\|\||[!()])\s*|(.)/gs),
  ]
    .map(([text, token]) => {
      if (token === undefined && text.trim() !== "") throw new Error(`${text} is not understood in ${expression}`);
      return token;
    }).filter((token) => token !== undefined);
  let at = 0;
  const either = (): Value => {
    let left = both();
    while (tokens[at] === "||") {
      at++;
      const right = both();
      left = isTrue(left) ? left : right;
    }
    return left;
  };
  const both = (): Value => {
    let left = equal();
    while (tokens[at] === "&&") {
      at++;
      const right = equal();
      left = isTrue(left) ? right : left;
    }
    return left;
  };
  const equal = (): Value => {
    const left = single();
    const operator = tokens[at];
    if (operator !== "==" && operator !== "!=") return left;
    at++;
    return (plain(left) === plain(single())) === (operator === "==");
  };
  const single = (): Value => {
    const token = tokens[at++];
    if (token === undefined) throw new Error(`${expression} ends early`);
    if (token === "!") return !isTrue(single());
    if (token === "(") {
      const value = either();
      if (tokens[at++] !== ")") throw new Error(`a parenthesis is open in ${expression}`);
      return value;
    }
    if (token.startsWith("'")) return token.slice(1, -1).replaceAll("''", "'");
    if (/^\d+$/.test(token)) return Number(token);
    if (token === "true" || token === "false") return token === "true";
    if (token === "null") return null;
    if (token === "success()") return !failed;
    if (token === "failure()") return failed;
    if (token === "always()") return true;
    // Nobody cancels a dry run.
    if (token === "cancelled()") return false;
    const [root, ...path] = token.split(".");
    if (!root || !Object.hasOwn(contexts, root)) throw new Error(`${token} is not known in ${expression}`);
    return path.reduce<Value>((value, name) => {
      const inside = value !== null && typeof value === "object" && !Array.isArray(value) ? value[name] : undefined;
      return inside ?? null;
    }, contexts[root]!);
  };
  const value = either();
  if (at < tokens.length) throw new Error(`${tokens[at]} is too much in ${expression}`);
  return value;
}

/** Comparisons take no notice of upper and lower case, and nothing is an empty text. */
const plain = (value: Value): Value => typeof value === "string" ? value.toLowerCase() : value ?? "";
