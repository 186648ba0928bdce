import postgres, { type Sql } from "postgres";
import { supabaseCommand } from "../stack/packages.ts";
import { run } from "../stack/process.ts";
import { Sentence } from "../stack/sentence.ts";

/** A database that is deployed to: that of the linked project, or any by its address. */
export type Target =
  | { kind: "linked"; /** The project's reference, 20 lower-case letters. */ ref: string }
  | { kind: "url"; /** A `postgresql://` address with its password, as the role `postgres`. */ url: string };

/** Where hosted projects are managed, unless `SUPABASE_API_URL` names another place. */
export const managementApi = "https://api.supabase.com";

/** The port of Supavisor, the hosted pooler, where a connection lasts for a transaction only. */
const transactionPort = "6543";
/** Its port where a connection is one session. */
const sessionPort = "5432";

type Environment = Record<string, string | undefined>;

/** The base of the Management API, without a slash at its end. */
export function managementApiOf(env: Environment): string {
  return (env.SUPABASE_API_URL || managementApi).replace(/\/+$/, "");
}

/**
 * The target that a command line means.
 *
 * @param remote the value of `--remote`: `true` where it has none, for the linked project, else an address, or `env:NAME` for the
 *   variable that holds one
 * @throws {Sentence} when a variable is missing, the address is none, or leads to a transaction pooler
 */
export function targetOf(remote: string | true, env: Environment): Target {
  if (remote === true) {
    const ref = env.SUPABASE_PROJECT_ID ?? "";
    if (!/^[a-z]{20}$/.test(ref)) {
      throw new Sentence(
        "SUPABASE_PROJECT_ID must be the project's reference, 20 lower-case letters: it stands in the address of its dashboard.",
      );
    }
    return { kind: "linked", ref };
  }
  // A command line can be read by others on the machine, and is printed by what runs it.
  const variable = /^env:(\w+)$/.exec(remote)?.[1];
  if (variable === undefined) return { kind: "url", url: checkedUrl(remote) };
  const address = env[variable];
  if (!address) throw new Sentence(`${variable} is missing: the address of the database, postgresql://...`);
  return { kind: "url", url: checkedUrl(address) };
}

/** Refuses an address that is none, and one that leads to a pooler of transactions. */
function checkedUrl(text: string): string {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw new Sentence("The address of the database is none: give postgresql://user:password@host:port/database.");
  }
  if (!/^postgres(ql)?:$/.test(url.protocol) || !url.hostname) {
    throw new Sentence("The address of the database is none: give postgresql://user:password@host:port/database.");
  }
  if (url.searchParams.has("password")) {
    throw new Sentence("The password stands in the wrong place: give postgresql://user:password@host:port/database.");
  }
  if (url.port === transactionPort || url.searchParams.get("pgbouncer") === "true") {
    throw new Sentence(
      `The address leads to a transaction pooler (port ${transactionPort}), where a lock is lost with each transaction: take the ` +
        `session pooler (port ${sessionPort}) or the database itself.`,
    );
  }
  return text;
}

/** The target in words, without its password. */
export function nameOf(target: Target): string {
  if (target.kind === "linked") return `project ${target.ref}`;
  const { hostname, port, pathname } = new URL(target.url);
  return `${hostname}${port && `:${port}`}${pathname}`;
}

/** The one argument of the Supabase CLI that says where to. It holds no password: others on the machine can read it. */
export function cliArguments(target: Target): [string] {
  if (target.kind === "linked") return ["--remote"];
  const url = new URL(target.url);
  url.password = "";
  return [`--remote=${url.href}`];
}

/** The password in an address, empty when there is none. */
function passwordOf(address: string): string {
  const { password } = new URL(address);
  try {
    return decodeURIComponent(password);
  } catch {
    return password;
  }
}

/**
 * The address of a session connection to the target.
 *
 * @throws {Sentence} when the project's password is missing, or the Management API does not say where its pooler is
 */
export async function sessionUrl(target: Target, env: Environment): Promise<string> {
  if (target.kind === "url") return checkedUrl(target.url);
  const password = env.SUPABASE_DB_PASSWORD;
  if (!password) {
    throw new Sentence("SUPABASE_DB_PASSWORD is missing: the database password of the project, from its settings.");
  }
  // The pooler answers over IPv4, too, which the database itself does not, and CI runners often have nothing else.
  const poolers = await callManagementApi<Pooler[]>(target, env, "config/database/pooler");
  const pooler = poolers.find(({ database_type }) => database_type === "PRIMARY") ?? poolers[0];
  if (!pooler) throw new Sentence(`The Management API names no pooler for the project ${target.ref}.`);
  const url = new URL(`postgresql://${pooler.db_host}`);
  url.username = encodeURIComponent(pooler.db_user);
  url.password = encodeURIComponent(password);
  // The same pooler lends sessions at its other port.
  url.port = pooler.pool_mode === "session" ? `${pooler.db_port}` : sessionPort;
  url.pathname = `/${pooler.db_name}`;
  // Several hosts may stand in it, which URL does not parse.
  const mode = /[?&]sslmode=([a-z-]+)/.exec(pooler.connection_string)?.[1] ?? "require";
  url.searchParams.set("sslmode", mode);
  return checkedUrl(url.href);
}

interface Pooler {
  database_type: string;
  db_user: string;
  db_host: string;
  db_port: number;
  db_name: string;
  pool_mode: "transaction" | "session";
  connection_string: string;
}

/**
 * Asks the Management API about the linked project.
 *
 * @param path below `/v1/projects/<ref>/`
 * @throws {Sentence} when the token is missing or the answer is no success; names the status and the path, never the token
 */
export async function callManagementApi<T>(
  target: Extract<Target, { kind: "linked" }>,
  env: Environment,
  path: string,
  options: { method?: string; body?: unknown } = {},
): Promise<T> {
  const token = env.SUPABASE_ACCESS_TOKEN;
  if (!token) {
    throw new Sentence("SUPABASE_ACCESS_TOKEN is missing: an access token of the project, from the account's page.");
  }
  const { method = "GET", body } = options;
  const response = await fetch(`${managementApiOf(env)}/v1/projects/${target.ref}/${path}`, {
    method,
    headers: {
      authorization: `Bearer ${token}`,
      ...(body === undefined ? {} : { "content-type": "application/json" }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    signal: AbortSignal.timeout(30_000),
  }).catch(() => undefined);
  if (!response) throw new Sentence(`The Management API does not answer (${method} ${path}): run it again later.`);
  if (!response.ok) {
    await response.body?.cancel();
    const advice = response.status === 401
      ? "SUPABASE_ACCESS_TOKEN is not valid, or has expired"
      : response.status === 403
      ? "the token lacks the permission for it"
      : "run it again later";
    throw new Sentence(`The Management API answers ${response.status} to ${method} ${path}: ${advice}.`);
  }
  const text = await response.text();
  return (text === "" ? undefined : JSON.parse(text)) as T;
}

/**
 * Opens one session to the target; it is one connection, and ends with `end`.
 *
 * @param name what the server's list of sessions shows
 * @throws {Sentence} when it cannot be reached; the message holds no address
 */
export async function connect(target: Target, env: Environment, name = "metrics deploy"): Promise<Sql> {
  const sql = postgres(await sessionUrl(target, env), {
    max: 1,
    // Closed by us alone: a lock is held as long as the session lasts.
    idle_timeout: 0,
    max_lifetime: null,
    connect_timeout: 15,
    onnotice: () => {},
    prepare: false,
    connection: { application_name: name },
  });
  try {
    await sql`select`;
    return sql;
  } catch (error) {
    await sql.end({ timeout: 1 });
    throw new Sentence(
      `The database of ${nameOf(target)} cannot be reached (${
        codeOf(error)
      }): see whether it runs, and whether address and ` +
        `password are right.`,
    );
  }
}

/** The code of an error of Postgres or of the network; the message may hold an address, so it is not repeated. */
export function codeOf(error: unknown): string {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return typeof code === "string" ? code : "no code";
}

/** How the Supabase CLI ended. */
export interface CliOutcome {
  code: number;
  /** What it printed; the target's address and password are taken out. */
  stdout: string;
  stderr: string;
}

/** The words of the command, without its program: what the linked form and the tested one have in common but for the target. */
export function cliCommand(words: string[], target: Target): string[] {
  return [...words, ...cliArguments(target), "--agent=no"];
}

/**
 * Runs the Supabase CLI on the target.
 *
 * @param words the command and its flags but for the target, for example `["db", "push", "--yes"]`
 * @param options `root` holds `supabase/`; `env` the variables of the workflow, of which the CLI gets those that it needs;
 *   `add` variables for it alone; `timeout` in milliseconds, afterwards it is killed and ends with a code that is not 0
 */
export async function runCli(
  words: string[],
  target: Target,
  options: { root: string; env: Environment; add?: Record<string, string>; timeout?: number },
): Promise<CliOutcome> {
  const home = await Deno.makeTempDir({ prefix: "supabase-cli-" });
  try {
    const { code, stdout, stderr } = await run([...supabaseCommand(), ...cliCommand(words, target)], {
      cwd: options.root,
      clearEnv: true,
      timeout: options.timeout ?? 600_000,
      env: { ...cliEnvironment(target, options.env, home), ...options.add },
    });
    const hidden = (text: string) => withoutSecrets(text, target, options.env);
    return { code, stdout: hidden(stdout), stderr: hidden(stderr) };
  } finally {
    await Deno.remove(home, { recursive: true });
  }
}

/** What the CLI finds in its environment: nothing of the person's own settings, and no variable that it does not need. */
export function cliEnvironment(target: Target, env: Environment, home: string): Record<string, string> {
  const given: Record<string, string> = {
    PATH: env.PATH ?? "/usr/bin:/bin",
    // Settings and tokens of the person's own CLI must not lead elsewhere, nor be changed.
    HOME: home,
    SUPABASE_HOME: home,
    SUPABASE_TELEMETRY_DISABLED: "1",
    DO_NOT_TRACK: "1",
    SUPABASE_NO_UPDATE_NOTIFIER: "1",
    NO_COLOR: "1",
  };
  if (target.kind === "linked") {
    // The CLI finds the Management API by its profile, which is its default where none is named.
    for (const name of ["SUPABASE_ACCESS_TOKEN", "SUPABASE_DB_PASSWORD", "SUPABASE_API_URL", "SUPABASE_PROFILE"]) {
      const value = env[name];
      if (value) given[name] = value;
    }
    given.SUPABASE_PROJECT_ID = target.ref;
  } else {
    const password = passwordOf(target.url);
    if (password) given.PGPASSWORD = password;
  }
  return given;
}

/** A text without the target's address, its password and the access token. */
export function withoutSecrets(text: string, target: Target, env: Environment): string {
  const secrets = [env.SUPABASE_DB_PASSWORD, env.SUPABASE_ACCESS_TOKEN];
  if (target.kind === "url") {
    text = text.replaceAll(target.url, nameOf(target));
    secrets.push(new URL(target.url).password, passwordOf(target.url));
  }
  for (const secret of secrets) if (secret) text = text.replaceAll(secret, "***");
  return text;
}
