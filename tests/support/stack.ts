import { dirname, fromFileUrl, join } from "@std/path";
import { TextLineStream } from "@std/streams/text-line-stream";
import type { Ready } from "../../tools/stack/stack.ts";
import { isAlive, parentOf, send } from "../../tools/stack/process.ts";

/** How to start a stack for a test. */
export interface StackOptions {
  /** Default: a new folder, removed on disposal. */
  data?: string;
  /** Default: a free one. */
  port?: number;
  /** Whether a new database is filled with sample deliveries; default false. */
  samples?: boolean;
  /** Added to the environment, for example `INGEST_SECRET_GITHUB`. */
  env?: Record<string, string>;
  /** The repository to start from; default: this one. */
  repository?: string;
  /** Words before the command, for example to become another user. */
  prefix?: string[];
  /** The Deno to start; default: this one. */
  deno?: string;
}

/** A running stack, started as people and scripts start it. */
export interface RunningStack extends Ready {
  /** Everything that the stack said to the person so far. */
  said(): string;
  /** Ends it by a signal (default SIGTERM) and waits: its exit code. */
  stop(signal?: Deno.Signal): Promise<number>;
  /** Kills everything that belongs to it at once, as a power cut would; the data folder stays. */
  kill(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** The folder of this repository. */
export const repository: string = fromFileUrl(new URL("../../", import.meta.url));

/** The command that starts a stack, as `deno task start` does. */
export function startCommand(options: StackOptions & { data: string }): string[] {
  return [
    ...(options.prefix ?? []),
    options.deno ?? Deno.execPath(),
    "run",
    "-A",
    join(options.repository ?? repository, "tools", "stack", "main.ts"),
    `--port=${options.port ?? 0}`,
    `--data=${options.data}`,
    "--json",
    ...(options.samples ? [] : ["--empty"]),
  ];
}

/**
 * Starts a whole stack in a process of its own.
 *
 * @throws {Error} with what it said, when it does not become ready
 */
export async function startStack(options: StackOptions = {}): Promise<RunningStack> {
  const data = options.data ?? await Deno.makeTempDir({ prefix: "metrics-stack-" });
  const [program, ...args] = startCommand({ ...options, data });
  const process = new Deno.Command(program!, {
    args,
    env: options.env ?? {},
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let words = "";
  const ended = (async () => {
    for await (const text of process.stderr.pipeThrough(new TextDecoderStream())) words += text;
    return (await process.status).code;
  })();
  const lines: ReadableStream<string> = process.stdout.pipeThrough(new TextDecoderStream()).pipeThrough(
    new TextLineStream(),
  );
  const reader = lines.getReader();
  const { value } = await reader.read();
  const rest = (async () => {
    while (!(await reader.read()).done);
  })();
  const remove = async () => {
    if (!options.data) await Deno.remove(data, { recursive: true }).catch(() => {});
  };
  if (value === undefined) {
    const code = await ended;
    await remove();
    throw new Error(`the stack ended with ${code} instead of becoming ready: ${words}`);
  }
  const ready = JSON.parse(value) as Ready;
  const finish = async () => {
    await rest;
    return await ended;
  };
  return {
    ...ready,
    said: () => words,
    async stop(signal = "SIGTERM") {
      send(process.pid, signal);
      return await finish();
    },
    async kill() {
      const family = descendants(process.pid);
      for (const pid of family) send(pid, "SIGKILL");
      await finish();
      while (family.some(isAlive)) await new Promise((resolve) => setTimeout(resolve, 20));
    },
    async [Symbol.asyncDispose]() {
      send(process.pid, "SIGTERM");
      await finish();
      await remove();
    },
  };
}

/**
 * Starts a stack that is expected to refuse.
 *
 * @returns its exit code and what it said to the person
 */
export async function refusedStart(
  options: StackOptions & { data: string },
): Promise<{ code: number; said: string; stdout: string }> {
  const [program, ...args] = startCommand(options);
  const { code, stdout, stderr } = await new Deno.Command(program!, { args, env: options.env ?? {}, stdin: "null" })
    .output();
  const decoder = new TextDecoder();
  return { code, said: decoder.decode(stderr).trim(), stdout: decoder.decode(stdout) };
}

/**
 * Copies what a start needs of this repository to another folder; installed packages are shared.
 *
 * @param owner the user id to give it to
 */
export async function copyRepository(folder: string, owner?: number): Promise<void> {
  for (const name of ["deno.json", "deno.lock", "supabase", "tools", "tests/examples"]) {
    await copy(join(repository, name), join(folder, name));
  }
  await Deno.symlink(join(repository, "node_modules"), join(folder, "node_modules"));
  if (owner !== undefined) await give(folder, owner);
}

async function copy(from: string, to: string): Promise<void> {
  if (!(await Deno.stat(from)).isDirectory) {
    await Deno.mkdir(dirname(to), { recursive: true });
    await Deno.copyFile(from, to);
    return;
  }
  await Deno.mkdir(to, { recursive: true });
  for await (const { name } of Deno.readDir(from)) await copy(join(from, name), join(to, name));
}

async function give(path: string, owner: number): Promise<void> {
  const { isDirectory, isSymlink } = await Deno.lstat(path);
  if (isSymlink) return;
  await Deno.chown(path, owner, owner);
  if (!isDirectory) return;
  for await (const { name } of Deno.readDir(path)) await give(join(path, name), owner);
}

/** A process and everything below it. Children in groups of their own are found by their parent. */
export function descendants(pid: number): number[] {
  const family = [pid];
  const parents = [...Deno.readDirSync("/proc")].filter(({ name }) => /^\d+$/.test(name)).map(({ name }) =>
    [Number(name), parentOf(Number(name))] as const
  );
  // Grows while it is walked.
  for (const member of family) {
    for (const [child, parent] of parents) if (parent === member) family.push(child);
  }
  return family;
}
