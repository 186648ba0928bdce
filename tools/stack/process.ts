import { Sentence } from "./sentence.ts";

/** A started child: its id, its end, and a way to tell it something. */
export interface Child {
  pid: number;
  /** Resolves with the exit code when the child has ended, never rejects. */
  ended: Promise<number>;
  isRunning(): boolean;
  signal(name: Deno.Signal): void;
}

/** Whether a process with this id exists, whoever owns it. */
export function isAlive(pid: number): boolean {
  if (Deno.build.os === "linux") {
    try {
      // A zombie has ended; only its parent has not looked yet.
      return !/^State:\s+[ZX]/m.test(Deno.readTextFileSync(`/proc/${pid}/status`));
    } catch {
      return false;
    }
  }
  const { code, stdout } = new Deno.Command("ps", { args: ["-o", "stat=", "-p", `${pid}`], stderr: "null" })
    .outputSync();
  return code === 0 && !new TextDecoder().decode(stdout).trim().startsWith("Z");
}

/** The command line of a process as one text, empty when there is none. */
export function commandLine(pid: number): string {
  if (Deno.build.os === "linux") {
    try {
      return Deno.readTextFileSync(`/proc/${pid}/cmdline`).replaceAll("\0", " ").trim();
    } catch {
      return "";
    }
  }
  const { stdout } = new Deno.Command("ps", { args: ["-o", "command=", "-p", `${pid}`], stderr: "null" }).outputSync();
  return new TextDecoder().decode(stdout).trim();
}

/** The id of a process's parent, 0 when there is none. */
export function parentOf(pid: number): number {
  if (Deno.build.os === "linux") {
    try {
      return Number(/^PPid:\s+(\d+)/m.exec(Deno.readTextFileSync(`/proc/${pid}/status`))?.[1] ?? 0);
    } catch {
      return 0;
    }
  }
  const { stdout } = new Deno.Command("ps", { args: ["-o", "ppid=", "-p", `${pid}`], stderr: "null" }).outputSync();
  return Number(new TextDecoder().decode(stdout).trim() || 0);
}

/** Sends a signal to a process that may have ended already. */
export function send(pid: number, name: Deno.Signal): void {
  try {
    Deno.kill(pid, name);
  } catch {
    // It has ended: what we wanted.
  }
}

/** Waits until a process has ended: true, or false when it is still there after `milliseconds`. */
export async function gone(pid: number, milliseconds: number): Promise<boolean> {
  const end = Date.now() + milliseconds;
  while (isAlive(pid)) {
    if (Date.now() > end) return false;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return true;
}

/** Wraps a spawned process. */
export function child(process: Deno.ChildProcess): Child {
  let running = true;
  const ended = process.status.then((status) => {
    running = false;
    return status.code;
  });
  return { pid: process.pid, ended, isRunning: () => running, signal: (name) => running && send(process.pid, name) };
}

/**
 * Runs a command to its end.
 *
 * @returns exit code and what it printed on both streams
 */
export async function run(
  command: string[],
  options: { env?: Record<string, string>; clearEnv?: boolean; cwd?: string; timeout?: number } = {},
): Promise<{ code: number; stdout: string; stderr: string }> {
  const [program, ...args] = command;
  const { timeout, ...rest } = options;
  const process = new Deno.Command(program!, { args, stdin: "null", stdout: "piped", stderr: "piped", ...rest })
    .spawn();
  const timer = timeout && setTimeout(() => send(process.pid, "SIGKILL"), timeout);
  const { code, stdout, stderr } = await process.output();
  if (timer) clearTimeout(timer);
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

/** A shell that waits for our end. */
export interface Afterlife {
  /** It shall do nothing any more; resolves when it has ended. */
  callOff(): Promise<void>;
  /** It shall not wait any longer; resolves when it is done. */
  release(): Promise<void>;
}

/**
 * Starts a shell that waits for this process to end, however it ends, and then runs `script`: the kernel closes our end of
 * the pipe even after kill -9, so nothing that we started outlives us.
 */
export function afterUs(script: string, args: string[]): Afterlife {
  const process = new Deno.Command("/bin/sh", {
    args: ["-c", `read -r word; [ "$word" = off ] || { ${script}; }`, "sh", ...args],
    stdin: "piped",
    stdout: "null",
    stderr: "null",
    detached: true,
  }).spawn();
  process.unref();
  const writer = process.stdin.getWriter();
  let said: Promise<void> | undefined;
  const say = async (word: string) => {
    process.ref();
    // The shell may have ended already.
    await writer.write(new TextEncoder().encode(word)).catch(() => {});
    await writer.close().catch(() => {});
    await process.status;
  };
  const callOff = () => said ??= say("off\n");
  const release = () => said ??= say("");
  return { callOff, release };
}

/**
 * The words to put before a command so that it does not run as root, which Postgres refuses.
 *
 * As root we become `nobody`, who exists everywhere, and keep one capability: to look into folders. The repository, the
 * packages and the data folder may all lie below a folder that only root may enter. `no_setuid_fixup` is what makes
 * access(2), which initdb uses, honour that capability. Nothing can be gained back: no-new-privs is set and the bounding set
 * is that one capability.
 *
 * @returns the words and the user and group id to own the files, or undefined when we are not root
 */
export function asNobody(): { words: string[]; uid: number; gid: number } | undefined {
  if (Deno.uid() !== 0) return undefined;
  const id = 65534;
  if (Deno.build.os !== "linux") {
    throw new Sentence("Postgres does not run as root on this system: start it as a normal user.");
  }
  const held = BigInt(`0x${/^CapEff:\s+(\w+)/m.exec(Deno.readTextFileSync("/proc/self/status"))?.[1] ?? "0"}`);
  const has = (bit: number) => (held >> BigInt(bit)) & 1n;
  // Reading is enough, but containers often hold only the wider one.
  const capability = has(2) ? "dac_read_search" : has(1) ? "dac_override" : undefined;
  // setgid, setuid, setpcap
  if (!capability || !has(6) || !has(7) || !has(8)) {
    throw new Sentence(
      "Postgres refuses to run as root and this root may not become another user (its capabilities were taken away): start it as a normal user.",
    );
  }
  const only = `-all,+${capability}`;
  const words = [
    "setpriv",
    "--securebits=+no_setuid_fixup",
    `--reuid=${id}`,
    `--regid=${id}`,
    "--clear-groups",
    `--inh-caps=${only}`,
    `--ambient-caps=${only}`,
    `--bounding-set=${only}`,
    "--no-new-privs",
    "--",
  ];
  return { words, uid: id, gid: id };
}
