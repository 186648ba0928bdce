/** Rules for workflows that no linter knows: what they may hold, reach and do. Each fault is a code. */
import { type Job, readWorkflow, type Workflow } from "./workflow.ts";

/** A rule that is broken: its code, and where. */
export interface Fault {
  code: string;
  where: string;
}

/** Commands that would hurt an app which shares the project. */
const hurtful = /\b(config push|functions deploy\b.*--prune|migration (down|repair|squash)|db reset)\b/;

/** Environments whose jobs change a project. */
const deploying = ["staging", "production"];

/** Faults of one workflow. */
export function faultsOf(text: string): Fault[] {
  const faults: Fault[] = [];
  const find = (code: string, where: string) => faults.push({ code, where });
  const workflow = readWorkflow(text);

  for (const [, uses] of text.matchAll(/^\s*(?:-\s+)?uses:\s*(.*)$/gm)) {
    // A tag can be moved to other code; a commit cannot. The comment tells people, and tools that renew pins, which it is.
    if (!/^[\w.-]+\/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/.test(uses!)) find("action_not_pinned", uses!);
  }
  for (const command of text.matchAll(/\bnpx (?:-y )?(\S+)/g)) {
    if (!/^@?[\w./-]+@\d+\.\d+\.\d+$/.test(command[1]!)) find("program_not_pinned", command[0]);
  }
  const triggers = Object.keys(workflow.on);
  for (const trigger of triggers) {
    // These run with secrets on what strangers wrote.
    if (["pull_request_target", "workflow_run", "issue_comment"].includes(trigger)) find("dangerous_trigger", trigger);
  }
  if (!workflow.permissions) find("no_permissions", workflow.name);
  for (const [what, may] of Object.entries(workflow.permissions ?? {})) {
    if (what !== "contents" || may !== "read") find("too_many_permissions", `${what}: ${may}`);
  }
  if (/\bsecrets\./.test(text.slice(0, text.search(/^jobs:/m)))) find("secret_outside_environment", workflow.name);
  if (/secrets:\s*inherit|toJSON\(secrets\)|secrets\[/.test(text)) find("all_secrets_at_once", workflow.name);
  for (const [name, job] of Object.entries(workflow.jobs)) faultsOfJob(workflow, name, job, triggers, find);
  return faults;
}

/** Secrets that a command needs; of a database by its address nobody asks the platform. */
function secretsOf(command: string): string[] {
  const gate = /\btask\b.* deploy (\w+)/.exec(command)?.[1];
  if (/--remote=env:CATALOG_DATABASE_URL/.test(command)) return ["CATALOG_DATABASE_URL"];
  if (gate === undefined) return /\bsupabase link\b/.test(command) ? ["SUPABASE_ACCESS_TOKEN"] : [];
  if (gate === "function" || / deploy expose\b.* --check\b/.test(command)) return ["SUPABASE_ACCESS_TOKEN"];
  return ["SUPABASE_ACCESS_TOKEN", "SUPABASE_DB_PASSWORD", ...(gate === "prove" ? ["INGEST_SECRET_SYNTHETIC"] : [])];
}

function faultsOfJob(
  workflow: Workflow,
  name: string,
  job: Job,
  triggers: string[],
  find: (code: string, where: string) => void,
): void {
  const timeout = job["timeout-minutes"];
  if (timeout === undefined || timeout > 120) find("no_time_limit", name);
  for (const [what, may] of Object.entries(job.permissions ?? {})) {
    if (may !== "read" && may !== "none") find("too_many_permissions", `${name}: ${what}: ${may}`);
  }
  const text = JSON.stringify(job);
  // Actions of others are steps, too, and need none.
  if (/\bsecrets\./.test(JSON.stringify(job.env ?? {}))) find("secret_in_every_step", name);
  if (/\bsecrets\./.test(text) && job.environment === undefined) find("secret_outside_environment", name);
  // Whoever opens a pull request writes the code that runs.
  if (triggers.includes("pull_request") && (/\b(secrets|vars)\./.test(text) || job.environment)) {
    find("pull_request_reaches_environment", name);
  }
  // One environment a job, and names that say nothing of which: so no job can hold the credentials of two.
  for (const [, secret] of text.matchAll(/\bsecrets\.(\w+)/g)) {
    if (/STAGING|PRODUCTION/.test(secret!)) find("secret_of_another_environment", `${name}: ${secret}`);
  }
  const environments = /\binputs\.target\b/.test(job.environment ?? "") ? deploying : [job.environment ?? ""];
  if (environments.some((environment) => deploying.includes(environment))) {
    const { group, "cancel-in-progress": cancel } = workflow.concurrency ?? {};
    if (group !== "supabase-deploy" || cancel !== false) find("deployments_at_once", name);
  }
  if (job.environment === "staging" && workflow.jobs.validate && [job.needs].flat().join() !== "validate") {
    find("staging_without_validation", name);
  }
  for (const environment of ["staging", "production"]) {
    const pushes = (command = "") => / deploy push\b/.test(command);
    const asked = (command = "") =>
      / deploy preflight\b/.test(command) && command.includes(`--environment=${environment}`);
    const at = job.steps.findIndex(({ run }) => pushes(run));
    if (job.environment === environment && at >= 0 && !job.steps.slice(0, at).some(({ run }) => asked(run))) {
      find("push_before_environment", name);
    }
  }
  if (job.environment === "production" && [job.needs].flat().join() !== "staging") {
    find("production_without_staging", name);
  }
  for (const step of job.steps) {
    const where = `${name}: ${step.name ?? step.uses ?? step.run}`;
    if (step.uses?.startsWith("actions/checkout@") && step.with?.["persist-credentials"] !== false) {
      find("credentials_stay", where);
    }
    const given = JSON.stringify(step.env ?? {});
    const needs = new Set(secretsOf(step.run ?? ""));
    for (const [, secret] of given.matchAll(/\bsecrets\.(\w+)/g)) {
      if (!needs.has(secret!)) find("secret_not_needed", `${where}: ${secret}`);
    }
    // Also what looks harmless: a branch may be named like a command.
    if (step.run?.includes("${{")) find("expression_in_script", where);
    if (hurtful.test(step.run ?? "")) find("hurtful_command", where);
    if (/\b(curl|wget)\b/.test(step.run ?? "")) find("download_in_script", where);
    if (triggers.includes("pull_request") && /--yes|SUPABASE_YES/.test(JSON.stringify(step))) {
      find("consent_in_pull_request", where);
    }
    // What can be tested is a task; a script in YAML is not.
    if ((step.run ?? "").trim().split("\n").length > 3) find("not_thin", where);
  }
}
