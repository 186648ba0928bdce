import postgres from "postgres";
import { encodeHex } from "@std/encoding/hex";
import { join } from "@std/path";
import { Cluster } from "./cluster.ts";
import { DataFolder, type Secrets } from "./data_folder.ts";
import { EdgeFunction } from "./edge_function.ts";
import { gateway, type Parts } from "./gateway.ts";
import { createPlatform } from "./platform.ts";
import { pushMigrations } from "./migrate.ts";
import { repository } from "./packages.ts";
import { startRest } from "./rest.ts";
import { Sentence } from "./sentence.ts";

/** How to run the whole project on this machine. */
export interface StackOptions {
  /** Absolute path of the data folder. */
  data: string;
  /** Of the one origin; 0 for a free one. */
  port: number;
  /** The environment that secrets of sources are taken from. */
  env: Record<string, string>;
  /** Told what happens while the stack runs, one sentence each. */
  note: (sentence: string) => void;
  /** Told the file for what REST and Auth print, before they are started. */
  logs?: (file: string) => void;
}

/** What scripts are told when the stack is ready. */
export interface Ready {
  url: string;
  database_url: string;
  publishable_key: string;
  secret_key: string;
  /** A secret of each source that has one. */
  sources: Record<string, string>;
  data: string;
  pid: number;
  /** Process ids of the parts at this moment. */
  processes: { postgres: number; functions: Record<string, number> };
}

const functionNames = ["ingest-metrics"];

/** The whole project: Postgres, REST, Auth and the functions behind one origin, kept running until it is stopped. */
export class Stack {
  #options: StackOptions;
  #folder: DataFolder;
  #secrets: Secrets;
  #cluster: Cluster;
  #server: Deno.HttpServer<Deno.NetAddr>;
  #parts: Parts = { rest: undefined, functions: new Map(), platform: undefined, welcome: "The stack is starting.\n" };
  #env: Record<string, string>;
  #stopping = false;
  #supervision: Promise<void> | undefined;
  #clock: ReturnType<typeof setInterval> | undefined;
  /** Whether this was the first start on the data folder. */
  readonly isNew: boolean;

  private constructor(
    options: StackOptions,
    folder: DataFolder,
    secrets: Secrets,
    server: (handler: Deno.ServeHandler) => Deno.HttpServer<Deno.NetAddr>,
  ) {
    this.#options = options;
    this.#folder = folder;
    this.#secrets = secrets;
    this.isNew = !folder.isComplete;
    this.#cluster = new Cluster(
      { folder: folder.postgres, log: join(folder.log, "postgres.log") },
      { admin: secrets.admin_password, postgres: secrets.postgres_password },
    );
    // A stack that stands for staging takes nothing of any provider's.
    this.#env = options.env.METRICS_ENVIRONMENT === "staging" ? {} : { INGEST_SECRET_GITHUB: secrets.github_secret };
    for (const [name, value] of Object.entries(options.env)) {
      if (name.startsWith("INGEST_") || name === "METRICS_ENVIRONMENT") this.#env[name] = value;
    }
    // Known before the first request, which may come before anything runs: 503 is not 404.
    this.#server = server(gateway(this.#parts));
    for (const name of functionNames) {
      const part = new EdgeFunction({
        name,
        folder: join(repository, "supabase", "functions", name),
        env: this.#functionEnvironment(),
        log: join(folder.log, `${name}.log`),
      });
      this.#parts.functions.set(name, part);
    }
  }

  /**
   * Starts everything and waits until it answers.
   *
   * @throws {Sentence} when it cannot; nothing runs then
   */
  static async start(options: StackOptions): Promise<Stack> {
    const folder = await DataFolder.open(options.data);
    let stack: Stack | undefined;
    try {
      stack = new Stack(options, folder, await folder.secrets(), (handler) => listen(options.port, handler));
      await stack.#start();
      return stack;
    } catch (error) {
      if (stack) await stack.stop();
      folder.close();
      throw error;
    }
  }

  /** The one origin. */
  get url(): string {
    return `http://127.0.0.1:${this.#server.addr.port}`;
  }

  /** The address of the database, as the role `postgres`. */
  get databaseUrl(): string {
    return this.#cluster.url();
  }

  /** Keys and secrets of this data folder. */
  get secrets(): Secrets {
    return this.#secrets;
  }

  /** A secret of each source that has one, by source. */
  get sources(): Record<string, string> {
    const sources: Record<string, string> = {};
    for (const [name, value] of Object.entries(this.#env)) {
      const source = /^INGEST_SECRET_([A-Z0-9_]+)$/.exec(name)?.[1];
      const secret = firstSecret(value);
      if (source && secret) sources[source.toLowerCase().replaceAll("_", "-")] = secret;
    }
    return sources;
  }

  /** What scripts are told. */
  get ready(): Ready {
    const functions = [...this.#parts.functions].map(([name, part]) => [name, part.pid ?? 0]);
    return {
      url: this.url,
      database_url: this.databaseUrl,
      publishable_key: this.#secrets.publishable_key,
      secret_key: this.#secrets.secret_key,
      sources: this.sources,
      data: this.#folder.path,
      pid: Deno.pid,
      processes: { postgres: this.#cluster.server.pid ?? 0, functions: Object.fromEntries(functions) },
    };
  }

  async #start(): Promise<void> {
    const wanted = this.#server.addr.port + 1;
    if (this.isNew) await this.#cluster.create(wanted);
    else await this.#cluster.server.start(wanted);
    await this.#migrate();
    this.#options.logs?.(join(this.#folder.log, "rest.log"));
    const rest = await this.#startRest();
    this.#parts.rest = rest;
    this.#parts.platform = createPlatform({
      rest,
      secrets: this.#secrets,
      variables: this.#env,
      databaseUrl: this.databaseUrl,
      functions: functionNames,
    });
    for (const [name, part] of this.#parts.functions) {
      if (!await part.start({ SUPABASE_DB_URL: this.databaseUrl })) {
        this.#options.note(
          `The function ${name} does not start; what it said is in ${this.#folder.log}/${name}.log. It is tried again.`,
        );
      }
    }
    this.#supervision = this.#supervise();
    await this.#tick();
    this.#clock = setInterval(() => this.#tick(), 600_000);
    this.#parts.welcome = [
      "CI/CD metrics, the whole project on this machine.",
      "",
      "/functions/v1/ingest-metrics/<source>   takes webhooks (POST); /health says whether it can",
      "/rest/v1/                               the facts and numbers, schema metrics (header Accept-Profile: metrics)",
      "/auth/v1/                               sign-up and sign-in",
      "",
    ].join("\n");
  }

  #startRest() {
    return startRest({
      url: this.databaseUrl,
      origin: this.url,
      jwtSecret: this.#secrets.jwt_secret,
      publishableKey: this.#secrets.publishable_key,
      secretKey: this.#secrets.secret_key,
    });
  }

  // What hosted gives a function, and the secrets that a team sets.
  #functionEnvironment(): Record<string, string> {
    const { publishable_key, secret_key } = this.#secrets;
    return {
      SUPABASE_URL: this.url,
      SUPABASE_PUBLISHABLE_KEYS: JSON.stringify({ default: publishable_key }),
      SUPABASE_SECRET_KEYS: JSON.stringify({ default: secret_key }),
      SUPABASE_JWKS: JSON.stringify({ keys: [] }),
      ...this.#env,
    };
  }

  // The CLI takes a second to say that there is nothing to do: it is asked when a file is new here.
  async #migrate(): Promise<void> {
    const present = await migrationHashes();
    const applied = this.#folder.migrations;
    if (this.isNew || Object.keys(present).some((name) => !(name in applied))) {
      await pushMigrations(this.databaseUrl);
    }
    const edited = Object.keys(applied).filter((name) => present[name] !== applied[name]);
    if (edited.length > 0) {
      this.#options.note(
        `${
          edited.length === 1 ? "A migration was" : "Migrations were"
        } edited or removed after this data folder had it ` +
          `(${edited.join(", ")}): to see the change, start with another --data DIR or remove ${this.#folder.path}.`,
      );
    }
    await this.#folder.complete({ ...present, ...applied });
  }

  // Postgres recovers by itself when it is started again; meanwhile the gateway answers 503.
  async #supervise(): Promise<void> {
    for (let pause = 100; !this.#stopping;) {
      await this.#cluster.server.ended();
      if (this.#stopping) return;
      try {
        await this.#cluster.server.start(this.#cluster.server.port);
        this.#options.note("Postgres had ended and was started again.");
        pause = 100;
      } catch (error) {
        if (this.#stopping) return;
        if (pause === 100) this.#options.note(error instanceof Error ? error.message : String(error));
        await new Promise((resolve) => setTimeout(resolve, pause));
        pause = Math.min(pause * 2, 10_000);
      }
    }
  }

  // What pg_cron does on hosted projects.
  async #tick(): Promise<void> {
    const sql = postgres(this.databaseUrl, { max: 1, onnotice: () => {}, connect_timeout: 10 });
    try {
      const [found] = await sql`select to_regproc('metrics.maintain') is not null as exists`;
      if (found?.exists) await sql`select metrics.maintain()`;
    } catch (error) {
      if (!this.#stopping) {
        this.#options.note(`metrics.maintain() failed and is tried again in ten minutes: ${(error as Error).message}`);
      }
    } finally {
      await sql.end({ timeout: 5 });
    }
  }

  /** Stops everything: requests under way are answered first, for up to 5 s. */
  async stop(): Promise<void> {
    this.#stopping = true;
    clearInterval(this.#clock);
    await within(5_000, this.#server.shutdown());
    await Promise.all([...this.#parts.functions.values()].map((part) => part.stop()));
    await within(5_000, this.#parts.rest?.close());
    await this.#cluster.server.stop();
    await this.#supervision;
    this.#folder.close();
  }
}

/** Listens on loopback. */
function listen(port: number, handler: Deno.ServeHandler): Deno.HttpServer<Deno.NetAddr> {
  try {
    return Deno.serve({ hostname: "127.0.0.1", port, onListen: () => {} }, handler) as Deno.HttpServer<Deno.NetAddr>;
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) {
      throw new Sentence(
        `Port ${port} is taken by another program: stop that program, or choose another port with --port N.`,
      );
    }
    if (error instanceof Deno.errors.PermissionDenied) {
      throw new Sentence(`This user may not listen on port ${port}: choose a port above 1023 with --port N.`);
    }
    throw error;
  }
}

async function within(milliseconds: number, work: Promise<unknown> | undefined): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeout = new Promise<void>((resolve) => timer = setTimeout(resolve, milliseconds));
  await Promise.race([work?.catch(() => {}), timeout]);
  clearTimeout(timer);
}

/** The first of a source's secrets, which are separated by commas or a JSON array. */
function firstSecret(value: string): string | undefined {
  try {
    const list = JSON.parse(value);
    if (Array.isArray(list)) return list.find((item) => typeof item === "string" && item.trim())?.trim();
  } catch {
    // Not JSON: a plain secret, or several.
  }
  return value.split(",").map((item) => item.trim()).find(Boolean);
}

async function migrationHashes(): Promise<Record<string, string>> {
  const folder = join(repository, "supabase", "migrations");
  const hashes: Record<string, string> = {};
  for await (const { name, isFile } of Deno.readDir(folder)) {
    if (!isFile || !name.endsWith(".sql")) continue;
    const bytes = await Deno.readFile(join(folder, name));
    hashes[name] = encodeHex(await crypto.subtle.digest("SHA-256", bytes));
  }
  return hashes;
}
