import { parseArgs } from "@std/cli/parse-args";
import process from "node:process";
import { isAbsolute, join, resolve } from "@std/path";
import { commandLine, isAlive, parentOf } from "./process.ts";
import { repository } from "./packages.ts";
import { Sentence } from "./sentence.ts";
import { Stack } from "./stack.ts";
import { introduce, renewFiles } from "./introduction.ts";

const usage = `Runs the whole project on this machine until Ctrl-C.

  deno task start [--port N] [--data DIR] [--empty] [--json]

  --port N    of the one origin, default 54321; 0 for any free one
  --data DIR  where the database lives, default .data in the repository
  --empty     do not fill a new database with sample deliveries
  --json      print one line of JSON when ready, and nothing else
`;

/** What the command line asks for. */
interface Options {
  port: number;
  data: string;
  empty: boolean;
  json: boolean;
}

function options(args: string[]): Options {
  const unknown: string[] = [];
  const parsed = parseArgs(args, {
    string: ["port", "data"],
    boolean: ["empty", "json", "help"],
    default: { port: "54321" },
    unknown: (argument: string) => {
      unknown.push(argument);
      return false;
    },
  });
  if (parsed.help) {
    console.log(usage);
    Deno.exit(0);
  }
  if (unknown.length > 0) throw new Sentence(`There is no option ${unknown[0]}: see deno task start --help.`);
  const port = Number(parsed.port);
  if (!/^\d+$/.test(parsed.port) || port > 65535) {
    throw new Sentence(`${parsed.port || "Nothing"} is no port: give a number from 0 to 65535 with --port N.`);
  }
  if (parsed.data === "") throw new Sentence("--data needs a folder: --data DIR.");
  // A task runs in the repository's folder; the person may have typed the path in another.
  const base = Deno.env.get("INIT_CWD") ?? Deno.cwd();
  const data = parsed.data === undefined
    ? join(repository, ".data")
    : isAbsolute(parsed.data)
    ? parsed.data
    : resolve(base, parsed.data);
  return { port, data, empty: parsed.empty, json: parsed.json };
}

/**
 * The processes between us and what the person started: `npx`, the `deno` of npm (a Node program that waits for the real
 * one), `deno task`. A signal to one of them does not reach us, so we stop when one of them has ended.
 */
function chainAbove(): number[] {
  const chain: number[] = [];
  for (let pid = parentOf(Deno.pid); pid > 1 && chain.length < 8; pid = parentOf(pid)) {
    const [program = "", ...rest] = commandLine(pid).split(" ");
    const name = program.split("/").at(-1)!;
    const isOurs = name === "deno" || (/^(node|npm|npx)$/.test(name) && /deno|npx|npm/.test(rest.join(" ")));
    if (isOurs || /^npm exec/.test(commandLine(pid))) chain.push(pid);
    else if (!(/^(sh|dash|bash)$/.test(name) && rest[0] === "-c" && /deno/.test(rest.join(" ")))) break;
  }
  return chain;
}

function exists(pid: number): boolean {
  if (Deno.build.os === "linux") return isAlive(pid);
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as { code?: string }).code === "EPERM";
  }
}

function stackOf(error: unknown): string {
  return error instanceof Error ? error.stack ?? error.message : String(error);
}

/** Prints a sentence for the person, on the stream for them. */
function tell(text: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(`${text}\n`));
}

/**
 * lite prints every error of a request, statement and values included. What an error was goes to the file, what was in it
 * does not.
 */
function quieten(file: string): void {
  const log = Deno.openSync(file, { append: true, create: true, mode: 0o600 });
  const note = (...values: unknown[]) => {
    const error = values.find((value) => value instanceof Error) as (Error & { code?: string }) | undefined;
    const what = error ? `${error.name} ${error.code ?? ""}`.trim() : "a message";
    log.writeSync(new TextEncoder().encode(`${new Date().toISOString()} ${what}\n`));
  };
  Object.assign(console, { error: note, warn: note, info: note, debug: note });
  // When a session is lost, the driver rejects what nobody waits for any more and throws where nobody can catch it. The
  // request has its answer by then, and the session is replaced.
  globalThis.addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    note(event.reason);
  });
  globalThis.addEventListener("error", (event) => {
    event.preventDefault();
    note(event.error);
  });
}

async function main(): Promise<void> {
  const chain = chainAbove();
  const { promise: asked, resolve: ask } = Promise.withResolvers<void>();
  // Before anything is started: what has been started by then is stopped in order.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) Deno.addSignalListener(signal, () => ask());
  const watch = setInterval(() => chain.every(exists) || ask(), 300);
  let stack: Stack | undefined;
  try {
    const { port, data, empty, json } = options(Deno.args);
    const say = (text: string) => json ? undefined : console.log(text);
    stack = await Stack.start({ port, data, env: Deno.env.toObject(), note: tell, logs: quieten });
    const introduction = introduce(stack, { fill: !empty, say });
    await Promise.race([introduction, asked]);
    // The member's access ends after an hour.
    const running = stack;
    setInterval(() => renewFiles(running).catch(() => {}), 3_000_000);
    if (json) console.log(JSON.stringify(stack.ready));
    await asked;
    say("Stopping.");
  } catch (error) {
    Deno.exitCode = 1;
    tell(
      error instanceof Sentence
        ? error.message
        : `The stack stopped because of an error that it does not know: ${stackOf(error)}`,
    );
  }
  clearInterval(watch);
  // Whatever hangs, we do not.
  const deadline = setTimeout(() => Deno.exit(1), 45_000);
  await stack?.stop();
  clearTimeout(deadline);
  Deno.exit();
}

await main();
