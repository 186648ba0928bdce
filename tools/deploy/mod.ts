// Deploying, gate by gate: `deno task deploy <gate> [--remote | --remote=<postgres url>] [--json] ...`
//
// Bare `--remote` is the linked project: SUPABASE_PROJECT_ID, SUPABASE_ACCESS_TOKEN and SUPABASE_DB_PASSWORD of the environment.
// Sentences for people go to stderr, with --json one line to stdout. The exit code is 0 when the way is free, 1 when something
// is wrong, 2 when the command line is.
import { parseArgs } from "@std/cli/parse-args";
import { resolve } from "@std/path";
import { repository } from "../stack/packages.ts";
import { Sentence } from "../stack/sentence.ts";
import type { Environment } from "./function.ts";
import type { GateContext, GateResult } from "./result.ts";
import { type Target, targetOf } from "./target.ts";

/** Flags of a command line beside those that all gates have. */
type Flags = Record<string, string | boolean | undefined>;

/** How a gate is called. */
interface Gate {
  /** Its purpose, one sentence. */
  about: string;
  /** Whether it works on a database. */
  target: "needed" | "none";
  /** Its own flags that take a value, each with what the value is. */
  values?: Record<string, string>;
  /** Its own flags that take none. */
  switches?: Record<string, string>;
  run(context: GateContext, target: Target, flags: Flags): Promise<GateResult>;
}

/** Every gate, by name. Loaded when called: each needs other packages. */
const gates: Record<string, Gate> = {
  branch: {
    about: "Judges the branch: production takes main only, and no other branch may lack what is on main.",
    target: "none",
    values: { to: "staging or production", name: "the branch; default: GITHUB_REF_NAME" },
    run: async (context, _, { to, name }) =>
      await (await import("./branch.ts")).runBranch({
        ...context,
        to: String(to ?? ""),
        name: name as string | undefined,
      }),
  },
  validate: {
    about: "Judges our migrations by themselves, and applies them to a scratch database.",
    target: "none",
    values: { base: "a commit or tag: migrations that it holds must be unedited" },
    run: async (context, _, { base }) =>
      await (await import("./validate.ts")).runValidate({ ...context, base: base as string | undefined }),
  },
  preflight: {
    about: "Compares the target's history of migrations with the repository's, and says what would run.",
    target: "needed",
    values: {
      proof: "the file proof.json that staging gave; makes the target a production one, which needs it",
      commit: "the commit that is deployed; default: GITHUB_SHA, else that of the root",
      environment: "staging or production: the project's secrets must be those of it; production needs the proof",
    },
    switches: {
      production: "the target is production: proof.json must stand for this commit and for all that would run",
    },
    run: async (context, target, { proof, commit, production, environment }) =>
      await (await import("./preflight.ts")).runPreflight({
        ...context,
        target,
        environment: environmentOf(environment),
        production: production === true || environment === "production" || proof !== undefined,
        proof: optionalPath(context, proof),
        commit: commit as string | undefined,
      }),
  },
  push: {
    about: "Applies what is missing by the Supabase CLI, under a lock that keeps a second deployment out.",
    target: "needed",
    values: {
      "lock-timeout": "milliseconds that a statement waits for a lock; default 2000",
      "statement-timeout": "milliseconds that a statement may take; default 300000",
      wait: "milliseconds to wait for another deployment; default 60000",
      before: "a file to write what the target holds beside metrics to, for verify",
    },
    run: async (context, target, flags) =>
      await (await import("./push.ts")).runPush({
        ...context,
        target,
        lockTimeout: milliseconds(flags, "lock-timeout"),
        statementTimeout: milliseconds(flags, "statement-timeout"),
        wait: milliseconds(flags, "wait"),
        before: optionalPath(context, flags.before),
      }),
  },
  verify: {
    about: "Compares the target's schema metrics with supabase/schema.sql, and the rest with what it was before.",
    target: "needed",
    values: {
      before: "the file that push wrote: what lies beside metrics must be as it says",
      environment: "staging or production: the project's secrets must be those of it",
    },
    run: async (context, target, { before, environment }) =>
      await (await import("./verify.ts")).runVerify({
        ...context,
        target,
        before: optionalPath(context, before),
        environment: environmentOf(environment),
      }),
  },
  expose: {
    about:
      "Puts the schema metrics on the Data API's list, or with --off takes it off; the rest of the list stays as it is.",
    target: "needed",
    values: { wait: "milliseconds that the Data API has to follow; default 60000" },
    switches: {
      off: "takes it off",
      check: "changes nothing and says whether it is on the list, with --off that it is not",
    },
    run: async (context, target, flags) =>
      await (await import("./expose.ts")).runExpose({
        ...context,
        target,
        remove: flags.off === true,
        check: flags.check === true,
        wait: milliseconds(flags, "wait"),
      }),
  },
  function: {
    about: "Deploys the function, and looks at its settings, its files and the names of its secrets.",
    target: "needed",
    values: {
      environment: "staging or production: which secrets must be there, and which must not",
      expect: "names of more secrets that must be there, separated by commas",
    },
    switches: { check: "deploys nothing and says what differs" },
    run: async (context, target, { environment, expect, check }) => {
      const where = environmentOf(environment);
      if (!where) throw new WrongUsage("The gate function needs --environment=staging or --environment=production.");
      return await (await import("./function.ts")).runFunction({
        ...context,
        target,
        environment: where,
        check: check === true,
        expect: String(expect ?? "").split(",").map((name) => name.trim()).filter(Boolean),
      });
    },
  },
  prove: {
    about:
      "Shows on staging that deliveries are stored, read by members alone, and forgotten; writes the proof for production.",
    target: "needed",
    values: {
      proof: "the file to write the proof to; default: proof.json",
      commit: "the commit that was deployed; default: GITHUB_SHA, else that of the root",
    },
    run: async (context, target, { proof, commit }) =>
      await (await import("./prove.ts")).runProve({
        ...context,
        target,
        proof: pathOf(context, proof ?? "proof.json"),
        commit: commit as string | undefined,
      }),
  },
  export: {
    about: "Writes everything that metrics holds to files, without the hashes of tokens.",
    target: "needed",
    values: { folder: "the folder to write to; made, or empty" },
    switches: { bodies: "adds the bodies of deliveries: what senders said, word for word" },
    run: async (context, target, { folder, bodies }) =>
      await (await import("./export.ts")).runExport({
        ...context,
        target,
        folder: pathOf(context, folder),
        bodies: bodies === true,
      }),
  },
  restore: {
    about: "Loads an export into a schema that was just made.",
    target: "needed",
    values: { folder: "the folder of the export" },
    run: async (context, target, { folder }) =>
      await (await import("./restore.ts")).runRestore({ ...context, target, folder: pathOf(context, folder) }),
  },
  remove: {
    about: "Brings the database back to what it was before the first deployment. Export first: the data goes.",
    target: "needed",
    values: {
      confirm: "the project's reference, or the database's name, typed by a person",
      export: "the folder of an export: nothing is dropped when more has come since",
      wait: "milliseconds that the Data API has to follow; default 60000",
    },
    switches: { force: "does not wait for the Data API, and leaves an empty schema where it may still be listed" },
    run: async (context, target, flags) =>
      await (await import("./remove.ts")).runRemove({
        ...context,
        target,
        confirm: flags.confirm as string | undefined,
        export: optionalPath(context, flags.export),
        force: flags.force === true,
        wait: milliseconds(flags, "wait"),
      }),
  },
  drift: {
    about: "Says what differs between the target and the repository, changing nothing.",
    target: "needed",
    run: async (context, target) => await (await import("./drift.ts")).runDrift({ ...context, target }),
  },
};

/** A path of the command line, from where the person stands. */
function pathOf(context: GateContext, path: string | boolean | undefined): string {
  if (typeof path !== "string") throw new WrongUsage("--folder names the folder of the export: --folder=...");
  return optionalPath(context, path)!;
}

/** The same for a flag that may be left out. */
function optionalPath({ env }: GateContext, path: string | boolean | undefined): string | undefined {
  // A task runs where its deno.json lies.
  return typeof path === "string" ? resolve(env.INIT_CWD ?? Deno.cwd(), path) : undefined;
}

/** Where a target stands, undefined where it is not said. */
function environmentOf(value: string | boolean | undefined): Environment | undefined {
  if (value === undefined || value === "staging" || value === "production") return value;
  throw new WrongUsage("--environment is staging or production.");
}

function milliseconds(flags: Flags, name: string): number | undefined {
  const value = flags[name];
  if (value === undefined) return undefined;
  if (!/^[1-9]\d{0,8}$/.test(String(value))) throw new WrongUsage(`--${name} takes a number of milliseconds.`);
  return Number(value);
}

/** The command line is not right. */
class WrongUsage extends Sentence {}

/** What to say of an error that nobody foresaw: its kind and place, as its message may hold values. */
function unexpected(error: unknown): string {
  const { name = "Error", code, stack = "" } = error as { name?: string; code?: unknown; stack?: string };
  const place = /\/(tools\/[\w/]+\.ts:\d+)/.exec(stack)?.[1];
  return `The gate stopped, by a fault of its own: ${name}${/^\w{1,40}$/.test(String(code ?? "")) ? ` ${code}` : ""}${
    place ? ` at ${place}` : ""
  }. Nothing is known to be right.`;
}

function usage(): string {
  const lines = Object.entries(gates).flatMap(([name, { about, target, values, switches }]) => [
    `  ${name}${target === "needed" ? " --remote[=<postgres url>]" : ""}`,
    `      ${about}`,
    ...Object.entries(values ?? {}).map(([flag, what]) => `      --${flag}=...  ${what}`),
    ...Object.entries(switches ?? {}).map(([flag, what]) => `      --${flag}  ${what}`),
  ]);
  return [
    "deno task deploy <gate> [--remote | --remote=<postgres url>] [--root=<folder>] [--json] ...",
    "",
    "  --remote  the linked project (SUPABASE_PROJECT_ID), with a value that database; env:NAME takes it from a variable",
    "  --root    the folder that holds supabase/; default: this repository",
    "  --json    one line of JSON on stdout",
    "",
    ...lines,
  ].join("\n");
}

/**
 * Runs one gate as the command line says.
 *
 * @returns the exit code: 0 the way is free, 1 something is wrong, 2 the command line is
 */
export async function main(
  args: string[],
  env: Record<string, string | undefined>,
  print: { out: (line: string) => void; err: (line: string) => void } = { out: console.log, err: console.error },
): Promise<number> {
  let json = false;
  let name = "";
  try {
    if (args.length === 0 || args.includes("--help")) {
      print.err(usage());
      return args.length === 0 ? 2 : 0;
    }
    name = args[0]!;
    const gate = Object.hasOwn(gates, name) ? gates[name] : undefined;
    if (!gate) {
      throw new WrongUsage(`There is no gate ${JSON.stringify(name)}: choose ${Object.keys(gates).join(", ")}.`);
    }
    const known = ["remote", "root", "json", ...Object.keys(gate.values ?? {}), ...Object.keys(gate.switches ?? {})];
    const flags = parseArgs(args.slice(1), {
      string: ["remote", "root", ...Object.keys(gate.values ?? {})],
      boolean: ["json", ...Object.keys(gate.switches ?? {})],
      unknown: (argument: string) => {
        throw new WrongUsage(
          `The gate ${name} does not take ${argument.split("=")[0]}; it takes ${
            known.map((flag) => `--${flag}`).join(", ")
          }.`,
        );
      },
    }) as unknown as Flags;
    json = flags.json === true;
    if (gate.target === "needed" && flags.remote === undefined) {
      throw new WrongUsage(
        `The gate ${name} needs a target: --remote for the linked project, --remote=<postgres url> for another.`,
      );
    }
    // An empty variable of a workflow must not lead to the linked project.
    const remotes = args.filter((argument) => /^--remote(=|$)/.test(argument));
    if (remotes.length > 1) throw new WrongUsage("--remote stands twice: a gate has one target.");
    if (remotes[0] === "--remote=") {
      throw new WrongUsage(
        "--remote= has an empty value: give an address, or --remote without = for the linked project.",
      );
    }
    for (const value of ["root", ...Object.keys(gate.values ?? {})]) {
      if (flags[value] === "") throw new WrongUsage(`--${value} needs a value: --${value}=...`);
    }
    const base = env.INIT_CWD ?? Deno.cwd();
    const root = flags.root ? resolve(base, String(flags.root)) : repository;
    const context: GateContext = { root, env, say: print.err };
    const { remote = "postgresql://none" } = flags;
    const target = targetOf(remote === "" ? true : String(remote), env);
    const result = await gate.run(context, target, flags);
    for (const { file, sentence } of result.findings) print.err(`${file ? `${file}: ` : ""}${sentence}`);
    if (json) print.out(JSON.stringify(result));
    return result.ok ? 0 : 1;
  } catch (error) {
    const wrongUsage = error instanceof WrongUsage;
    const sentence = error instanceof Sentence ? error.message : unexpected(error);
    print.err(sentence);
    if (json) {
      const findings = [{ code: wrongUsage ? "wrong_usage" : "stopped", sentence }];
      print.out(JSON.stringify({ gate: name, ok: false, target: null, findings, notes: [] }));
    }
    return wrongUsage ? 2 : 1;
  }
}

if (import.meta.main) Deno.exit(await main(Deno.args, Deno.env.toObject()));
