import { dirname, join } from "@std/path";
import {
  type Afterlife,
  afterUs,
  asNobody,
  type Child,
  child,
  commandLine,
  gone,
  isAlive,
  run,
  send,
} from "./process.ts";
import { installPgtap, postgresFolder } from "./packages.ts";
import { explain, Sentence } from "./sentence.ts";

/** The major version whose data folders this Postgres opens. */
const majorVersion = "17";

/** Where a Postgres server keeps its files and how it is set. */
export interface ServerOptions {
  /** Absolute path of the folder with PG_VERSION; its parent exists. */
  folder: string;
  /** Absolute path of the file that the server's log is added to. */
  log: string;
  /** Settings on top of the server's own, by name. */
  settings?: Record<string, string>;
  /** Shell commands to run after this process and the server have ended, for temporary clusters. */
  afterwards?: { script: string; args: string[] };
}

/** A Postgres server of this process: made once, started and stopped any number of times. */
export class PostgresServer {
  #options: ServerOptions;
  #nobody = asNobody();
  #native = postgresFolder();
  #child: Child | undefined;
  #afterlife: Afterlife | undefined;
  /** The port that the server listens on, on loopback only; 0 before the first start. */
  port = 0;

  constructor(options: ServerOptions) {
    this.#options = options;
  }

  /** The process id, or undefined while the server does not run. */
  get pid(): number | undefined {
    return this.#child?.isRunning() ? this.#child.pid : undefined;
  }

  #command(program: string, args: string[]): string[] {
    return [...(this.#nobody?.words ?? []), join(this.#native, "bin", program), ...args];
  }

  /**
   * Makes a database cluster with one superuser, `supabase_admin`, who logs in by password.
   *
   * @throws {Sentence} when the disk is full or the folder cannot be written
   */
  async initialise(password: string): Promise<void> {
    const { folder } = this.#options;
    await installPgtap(this.#native);
    await Deno.mkdir(folder, { mode: 0o700 });
    if (this.#nobody) await Deno.chown(folder, this.#nobody.uid, this.#nobody.gid);
    const file = join(dirname(folder), `.password-${Deno.pid}`);
    await Deno.writeTextFile(file, password, { mode: 0o600 });
    try {
      if (this.#nobody) await Deno.chown(file, this.#nobody.uid, this.#nobody.gid);
      const { code, stderr, stdout } = await run(
        this.#command("initdb", [
          `--pgdata=${folder}`,
          "--username=supabase_admin",
          `--pwfile=${file}`,
          "--auth=scram-sha-256",
          "--encoding=UTF8",
          // Hosted projects sort by a language's rules, not by bytes: SQL that needs bytes must say so here, too.
          "--locale-provider=icu",
          "--icu-locale=en-US",
          "--locale=C",
          // Postgres writes the files out again at the first checkpoint; the marker of a finished start comes after that.
          "--no-sync",
        ]),
        { env: { LC_ALL: "C" } },
      );
      if (code !== 0) {
        throw explain(stderr, folder) ??
          new Sentence(`Postgres could not make a database in ${folder}: ${last(stderr || stdout)}`);
      }
    } finally {
      await Deno.remove(file);
    }
  }

  /**
   * Starts the server and waits until it answers; recovers from a crash by itself. A server that was left behind on the same
   * folder by a killed process is stopped first.
   *
   * @param port the port to listen on; when it is taken, or 0, a free one is chosen
   * @throws {Sentence} when it does not come up
   */
  async start(port: number): Promise<void> {
    const { folder, log } = this.#options;
    const version = (await Deno.readTextFile(join(folder, "PG_VERSION"))).trim();
    if (version !== majorVersion) {
      throw new Sentence(
        `The data folder ${folder} was made by Postgres ${version}, and this is Postgres ${majorVersion}: move the folder away ` +
          `(or choose another with --data DIR) and start again; its content can be read by Postgres ${version} only.`,
      );
    }
    await this.#afterlife?.callOff();
    await stopLeftBehind(folder);
    for (let attempt = 0;; attempt++) {
      this.port = attempt === 0 && port && isFree(port) ? port : freePort();
      const before = await size(log);
      const settings = {
        listen_addresses: "127.0.0.1",
        port: `${this.port}`,
        // Sockets in the file system would need a folder that this user may write; nobody needs them.
        unix_socket_directories: "",
        wal_level: "logical",
        max_connections: "100",
        timezone: "UTC",
        ...this.#options.settings,
      };
      const args = Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
      // The shell opens the log as us and becomes the server, which keeps its process id. No variable of ours reaches it.
      const process = new Deno.Command("/bin/sh", {
        args: [
          "-c",
          'umask 077; exec >>"$0" 2>&1; exec "$@"',
          log,
          ...this.#command("postgres", ["-D", folder, ...args]),
        ],
        stdin: "null",
        stdout: "null",
        stderr: "null",
        clearEnv: true,
        env: { PATH: Deno.env.get("PATH") ?? "/usr/bin:/bin", LC_ALL: "C" },
        // Ctrl-C goes to the whole group of the terminal: the server must not stop before those that use it.
        detached: true,
      }).spawn();
      process.unref();
      this.#child = child(process);
      const { script, args: rest } = this.#options.afterwards ?? { script: ":", args: [] };
      this.#afterlife = afterUs(
        `p=$1; shift; kill -INT $p; n=0; while kill -0 $p && [ $n -lt 600 ]; do sleep 0.1; n=$((n + 1)); done; ${script}`,
        [`${process.pid}`, ...rest],
      );
      if (await this.#ready()) return;
      await this.#afterlife.callOff();
      const said = (await Deno.readTextFile(log)).slice(before);
      if (/Address already in use|could not create any TCP\/IP sockets/.test(said) && attempt < 5) continue;
      throw explain(said, folder) ?? new Sentence(`Postgres did not start: ${last(said)} (the whole log is in ${log})`);
    }
  }

  // The server says in its own file when it takes connections.
  async #ready(): Promise<boolean> {
    const file = join(this.#options.folder, "postmaster.pid");
    const end = Date.now() + 120_000;
    while (this.#child!.isRunning() && Date.now() < end) {
      const lines = (await Deno.readTextFile(file).catch(() => "")).split("\n");
      if (lines[0] === `${this.#child!.pid}` && lines[7]?.trim() === "ready") return true;
      await new Promise((resolve) => setTimeout(resolve, 15));
    }
    this.#child!.signal("SIGKILL");
    await this.#child!.ended;
    return false;
  }

  /** Resolves when the server has ended, for whatever reason. */
  async ended(): Promise<void> {
    await this.#child?.ended;
  }

  /** Stops the server: sessions are ended and everything is written; after 20 s less kindly. */
  async stop(): Promise<void> {
    const server = this.#child;
    for (const [signal, milliseconds] of [["SIGINT", 20_000], ["SIGQUIT", 5_000], ["SIGKILL", 5_000]] as const) {
      if (!server?.isRunning()) break;
      server.signal(signal);
      const timer = new AbortController();
      const ended = await Promise.race([
        server.ended.then(() => true),
        new Promise<boolean>((resolve) => {
          const id = setTimeout(() => resolve(false), milliseconds);
          timer.signal.addEventListener("abort", () => clearTimeout(id));
        }),
      ]);
      timer.abort();
      if (ended) break;
    }
    if (this.#options.afterwards) await this.#afterlife?.release();
    else await this.#afterlife?.callOff();
  }
}

/**
 * Stops a server, or what is left of one, that still holds the folder although the process that started it is gone, and
 * removes its lock file. Only for a caller who has the data folder for itself.
 */
export async function stopLeftBehind(folder: string): Promise<void> {
  const file = join(folder, "postmaster.pid");
  const pid = Number((await Deno.readTextFile(file).catch(() => "")).split("\n")[0]);
  if (!pid) return;
  // After a reboot the number may belong to another program: only the server of this very folder is stopped.
  const command = isAlive(pid) ? commandLine(pid) : "";
  if (command.includes("postgres") && command.includes(folder)) {
    for (const signal of ["SIGINT", "SIGQUIT", "SIGKILL"] as const) {
      send(pid, signal);
      if (await gone(pid, 10_000)) break;
    }
  }
  // Its children work in the folder; one in the middle of a statement does not notice that its parent was killed.
  for (const child of processesIn(folder)) {
    send(child, "SIGQUIT");
    if (!await gone(child, 2_000)) send(child, "SIGKILL");
    if (!await gone(child, 10_000)) {
      throw new Sentence(
        `Another Postgres (process ${child}) uses ${folder} and does not stop: stop it and start again.`,
      );
    }
  }
  // Postgres takes a process that has ended for a live one while nobody has asked how it ended, as in a container whose
  // first process does not: then the file would keep it from starting for ever.
  if (Deno.build.os === "linux") await Deno.remove(file).catch(() => {});
}

/** Processes whose working directory is the folder. */
function processesIn(folder: string): number[] {
  if (Deno.build.os !== "linux") return [];
  const found: number[] = [];
  for (const { name } of Deno.readDirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      if (Deno.readLinkSync(`/proc/${name}/cwd`) === folder && isAlive(Number(name))) found.push(Number(name));
    } catch {
      // It has ended, or belongs to another user.
    }
  }
  return found;
}

/** Whether nothing listens on a port of the loopback interface. */
export function isFree(port: number): boolean {
  try {
    Deno.listen({ hostname: "127.0.0.1", port }).close();
    return true;
  } catch {
    return false;
  }
}

/** A port of the loopback interface that nothing listens on at this moment. */
export function freePort(): number {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  return port;
}

async function size(path: string): Promise<number> {
  return (await Deno.stat(path).catch(() => undefined))?.size ?? 0;
}

/** The last line that says what went wrong. */
function last(text: string): string {
  const lines = text.split("\n").map((line) => line.trim()).filter(Boolean);
  return lines.findLast((line) => /FATAL|PANIC|ERROR|error:/i.test(line)) ?? lines.at(-1) ?? "it said nothing";
}
