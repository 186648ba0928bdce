import { join } from "@std/path";
import { TextLineStream } from "@std/streams/text-line-stream";
import { afterUs, type Child, child } from "./process.ts";

/** How one function is run. */
export interface EdgeFunctionOptions {
  name: string;
  /** The folder with its `index.ts`. */
  folder: string;
  /** Everything that the function can see of its environment. */
  env: Record<string, string>;
  /** The file that what it prints is added to. */
  log: string;
  /** MiB of heap, default the 256 that hosted gives. */
  heap?: number;
}

/**
 * A function of `supabase/functions` in a Deno process of its own, with what hosted gives it: the network, its environment,
 * its own files to read, 256 MB, and nothing else. Started again when it dies, after a pause that doubles up to 5 s.
 */
export class EdgeFunction {
  readonly name: string;
  #options: EdgeFunctionOptions;
  #child: Child | undefined;
  #stopping = false;
  #port: number | undefined;
  #supervision: Promise<void> | undefined;

  constructor(options: EdgeFunctionOptions) {
    this.name = options.name;
    this.#options = options;
  }

  /** Where it listens on loopback, or undefined while it does not run. */
  get port(): number | undefined {
    return this.#port;
  }

  /** The process id, or undefined while it does not run. */
  get pid(): number | undefined {
    return this.#child?.isRunning() ? this.#child.pid : undefined;
  }

  /**
   * Starts it and waits until it listens.
   *
   * @param env what of its environment was not known before
   * @returns false when it died or did not listen within 30 s; it is tried again in the background
   */
  start(env: Record<string, string> = {}): Promise<boolean> {
    Object.assign(this.#options.env, env);
    const { promise, resolve } = Promise.withResolvers<boolean>();
    this.#supervision = this.#supervise(resolve);
    return promise;
  }

  async #supervise(first: (listens: boolean) => void): Promise<void> {
    let pause = 100;
    while (!this.#stopping) {
      const started = Date.now();
      await this.#run(first);
      this.#port = undefined;
      first(false);
      if (Date.now() - started > 10_000) pause = 100;
      for (let waited = 0; waited < pause && !this.#stopping; waited += 50) {
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      pause = Math.min(pause * 2, 5_000);
    }
  }

  async #run(first: (listens: boolean) => void): Promise<void> {
    const { folder } = this.#options;
    const process = new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "--no-prompt",
        "--frozen",
        "--cached-only",
        "--allow-net",
        "--allow-env",
        `--allow-read=${folder}`,
        `--v8-flags=--max-old-space-size=${this.#options.heap ?? 256}`,
        `--preload=${join(import.meta.dirname!, "edge_preload.ts")}`,
        join(folder, "index.ts"),
      ],
      cwd: folder,
      clearEnv: true,
      env: {
        ...this.#options.env,
        SUPABASE_FUNCTION_SLUG: this.name,
        SB_EXECUTION_ID: crypto.randomUUID(),
        SB_REGION: "local",
        // Deno's own: where its cache is, a free port on loopback for a server that names none, nothing printed in colour.
        DENO_DIR: denoFolder(),
        DENO_SERVE_ADDRESS: "tcp:127.0.0.1:0",
        DENO_NO_UPDATE_CHECK: "1",
        NO_COLOR: "1",
      },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
      detached: true,
    }).spawn();
    this.#child = child(process);
    const afterlife = afterUs('kill -KILL "$1"', [`${process.pid}`]);
    const timer = setTimeout(() => first(false), 30_000);
    const log = await Deno.open(this.#options.log, { append: true, create: true, mode: 0o600 });
    const note = async (stream: ReadableStream<Uint8Array<ArrayBuffer>>, isError: boolean) => {
      const lines: ReadableStream<string> = stream.pipeThrough(new TextDecoderStream()).pipeThrough(
        new TextLineStream(),
      );
      for await (const line of lines) {
        const port = isError && this.#port === undefined && /^Listening on http:\/\/127\.0\.0\.1:(\d+)/.exec(line)?.[1];
        if (port) {
          this.#port = Number(port);
          first(true);
        }
        await log.write(new TextEncoder().encode(`${line}\n`));
      }
    };
    try {
      await Promise.all([note(process.stdout, false), note(process.stderr, true), this.#child.ended]);
    } finally {
      clearTimeout(timer);
      log.close();
      await afterlife.callOff();
    }
  }

  /** Ends it; requests under way are the gateway's to wait for. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#child?.signal("SIGTERM");
    const timer = setTimeout(() => this.#child?.signal("SIGKILL"), 3_000);
    await this.#supervision;
    clearTimeout(timer);
  }
}

/** The folder of Deno's cache, which Deno finds by variables that a function must not see. */
function denoFolder(): string {
  const get = (name: string) => Deno.env.get(name);
  const home = get("HOME") ?? "/";
  return get("DENO_DIR") ??
    (get("XDG_CACHE_HOME")
      ? join(get("XDG_CACHE_HOME")!, "deno")
      : join(home, Deno.build.os === "darwin" ? "Library/Caches" : ".cache", "deno"));
}
