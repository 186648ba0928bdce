import { AsyncLocalStorage } from "node:async_hooks";
import { parse } from "@std/toml";
import postgres from "postgres";
import { App } from "@supabase/lite";
import { createPostgresConnection, type PostgresConnection } from "@supabase/lite/postgres";
import { join } from "@std/path";
import { repository } from "./packages.ts";

/** What the REST and Auth server needs to know. */
export interface RestOptions {
  /** The database, as the role `postgres`. */
  url: string;
  /** Where the outside reaches it, for links. */
  origin: string;
  jwtSecret: string;
  publishableKey: string;
  secretKey: string;
  /** How many rows a request gets at most; what config.toml says, unless it is said here. */
  maxRows?: number;
}

/** REST and Auth: what answers `/rest/v1` and `/auth/v1`. */
export interface Rest {
  fetch(request: Request): Promise<Response>;
  /** The schemas that the Data API serves, the first one where a request names none. */
  readonly schemas: readonly string[];
  /** Serves these schemas from now on, as soon as the catalog is read; requests go on meanwhile. */
  expose(schemas: readonly string[]): Promise<void>;
  close(): Promise<void>;
}

/** The part of supabase/config.toml that the Data API reads. */
export async function apiConfig(): Promise<{ schemas: string[]; max_rows: number }> {
  const config = parse(await Deno.readTextFile(join(repository, "supabase", "config.toml"))) as {
    api?: { schemas?: string[]; max_rows?: number };
  };
  return { schemas: config.api?.schemas ?? ["public"], max_rows: config.api?.max_rows ?? 1000 };
}

/** Names of the roles that a request may have. */
const apiRoles = ["anon", "authenticated", "service_role"];

type Variables = { auth?: { role?: string; jwt?: Record<string, unknown> } };
type Rpc = { method: string; path: string; requestHeaders?: Record<string, string>; readOnly?: boolean };
type Executor = { executeQuery(query: unknown): Promise<unknown> };

/** The members of lite's connection that we take the place of; it declares them as private. */
interface Inside {
  ensureRlsContext(): Promise<boolean>;
  applyJwtSessionContext(db: unknown, variables: Variables, setRole: boolean): Promise<void>;
  applyRpcRequestGucs(db: unknown, rpc: Rpc): Promise<void>;
}

/** One life of the server: the driver's pool cannot replace a session that Postgres ended, so we replace the pool. */
interface Life {
  app: App;
  connection: PostgresConnection;
  /** Resolves when a session was lost. */
  lost: Promise<void>;
  /** Makes it resolve. */
  lose: () => void;
  /** Requests under way: what ends each when it does not end by itself. */
  giveUp: Set<() => void>;
}

/** How long a request waits for a new life, and how long one that was under way may go on after a loss: milliseconds. */
const patience = 2_000;

/**
 * Starts REST and Auth on a database and answers one request each, so that the first real ones do not meet a server that is
 * still reading the catalog. Sessions that Postgres ends, one or all, are replaced.
 */
export async function startRest(options: RestOptions): Promise<Rest> {
  const api = await apiConfig();
  const begin = () => live(options, api);
  let current: Life | undefined = await begin();
  const catalog = watchSchemas(options.url, () => api.schemas);
  let waiting = Promise.withResolvers<void>();
  let isClosed = false;

  async function keepAlive(): Promise<void> {
    while (!isClosed) {
      const life: Life = current!;
      await life.lost;
      if (isClosed) return;
      // Requests on its other sessions may still end well.
      setTimeout(() => {
        for (const giveUp of life.giveUp) giveUp();
        end(life);
      }, patience);
      // With another list of schemas another life has begun already.
      if (current !== life) continue;
      current = undefined;
      for (let pause = 20; !current && !isClosed; pause = Math.min(pause * 2, 1_000)) {
        current = await begin().catch(() => undefined);
        if (!current) await new Promise((resolve) => setTimeout(resolve, pause));
      }
      waiting.resolve();
      waiting = Promise.withResolvers<void>();
    }
  }
  const kept = keepAlive();

  return {
    async fetch(request) {
      if (!current) await Promise.race([waiting.promise, after(patience)]);
      const life = current;
      if (!life) throw new Error("the database is away");
      if (/^[a-z]+:\/\/[^/]*\/rest\/v1/.test(request.url) && catalog.isOneMissing()) return noSchemaCache();
      const failure: Failure = {};
      const { promise, resolve, reject } = Promise.withResolvers<Response>();
      const giveUp = () => reject(new Error("the session was lost"));
      life.giveUp.add(giveUp);
      failures.run(failure, () => life.app.fetch(request, { peerAddress: "127.0.0.1" })).then(resolve, reject);
      const response = await promise.finally(() => life.giveUp.delete(giveUp));
      return response.status === 500 ? asPostgrest(response, failure.error) : response;
    },
    get schemas() {
      return api.schemas;
    },
    async expose(schemas) {
      api.schemas = [...schemas];
      const before = current;
      // A schema that is listed and missing is answered for; the list holds all the same.
      await catalog.look().catch(() => {});
      const next = await begin();
      if (isClosed) return await end(next);
      current = next;
      before?.lose();
    },
    async close() {
      isClosed = true;
      await catalog.close();
      if (current) await end(current);
      await kept;
    },
  };
}

function after(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

async function end(life: Life): Promise<void> {
  await (life.connection.driver as postgres.Sql).end({ timeout: 2 }).catch(() => {});
}

/**
 * Looks whether every schema of the list exists: PostgREST serves nothing at all while one is missing, where lite would serve the rest.
 * Looked at in the background when a request comes, at most five times a second.
 */
function watchSchemas(url: string, schemas: () => readonly string[]) {
  const sql = postgres(url, {
    max: 1,
    connect_timeout: 5,
    onnotice: () => {},
    connection: { application_name: "schemas" },
  });
  let isOneMissing = false;
  let looked = 0;
  async function look(): Promise<void> {
    const [row] = await sql<{ missing: boolean }[]>`
      select exists (
        select from unnest(${[...schemas()]}::text[]) as s (name) where to_regnamespace(quote_ident(s.name)) is null
      ) as missing
    `;
    isOneMissing = row?.missing ?? false;
  }
  return {
    look,
    isOneMissing(): boolean {
      if (Date.now() - looked > 200) {
        looked = Date.now();
        // While the database is away nothing is known, and requests are answered for by themselves.
        look().catch(() => {});
      }
      return isOneMissing;
    },
    close: () => sql.end({ timeout: 1 }),
  };
}

function noSchemaCache(): Response {
  const message = "Could not query the database for the schema cache. Retrying.";
  return Response.json({ code: "PGRST002", details: null, hint: null, message }, { status: 503 });
}

async function live(options: RestOptions, api: { schemas: string[]; max_rows: number }): Promise<Life> {
  const { promise: lost, resolve: lose } = Promise.withResolvers<void>();
  const connection = createPostgresConnection({
    url: options.url,
    postgresOptions: {
      max: 10,
      connect_timeout: 5,
      // A session ends only by a fault, which the pool would not survive.
      max_lifetime: null,
      onclose: () => lose(),
      connection: { application_name: "rest" },
      onnotice: () => {},
      types: { json: json(114), jsonb: json(3802) },
    },
  });
  const app = new App(
    {
      connection,
      api: { enabled: true, schemas: api.schemas, max_rows: options.maxRows ?? api.max_rows },
      auth: {
        enabled: true,
        site_url: options.origin,
        jwt_secret: options.jwtSecret,
        publishable_key: options.publishableKey,
        secret_key: options.secretKey,
        email: { enable_confirmations: false },
      },
      options: { server: { admin: false, disableStudio: true, disableFallback: true } },
    } as unknown as ConstructorParameters<typeof App>[0],
  ) as App;
  const life: Life = { app, connection, lost, lose, giveUp: new Set() };
  try {
    await takePlaces(connection, options.url, api.schemas);
    const headers = { apikey: options.secretKey, authorization: `Bearer ${options.secretKey}` };
    // One after the other: several at once while it initialises update the same catalog rows.
    for (const path of ["/rest/v1/", "/rest/v1/rpc/no_such_function", "/auth/v1/health"]) {
      const response = await app.fetch(new Request(`${options.origin}${path}`, { headers }));
      await response.body?.cancel();
    }
    return life;
  } catch (error) {
    await end(life);
    throw error;
  }
}

/** What a statement of the request under way failed with. */
interface Failure {
  error?: { code: string; message: string; detail?: string; hint?: string };
}

const failures = new AsyncLocalStorage<Failure>();

/** PostgREST's status for an SQLSTATE; lite answers 500 for those that it does not know. */
function statusOf(code: string): number {
  if (/^(08|57P01|57P02|57P03)/.test(code) || (code.startsWith("53") && code !== "53400")) return 503;
  if (code === "P0001" || /^(2[0-4]|26|2F|34|42)/.test(code)) return 400;
  if (/^(0L|0P|28)/.test(code)) return 403;
  if (code === "25006") return 405;
  return 500;
}

// lite answers an error that it does not know with a code of its own and the error's class in the message.
async function asPostgrest(response: Response, error: Failure["error"]): Promise<Response> {
  if (!error) {
    const text = await response.text();
    // Ours to answer for, not the request's: the gateway says 503.
    if (text.includes('"code":"SUP"')) throw new Error("the REST server failed");
    return new Response(text, response);
  }
  await response.body?.cancel();
  const { code, message, detail = null, hint = null } = error;
  return Response.json({ code, details: detail, hint, message }, { status: statusOf(code) });
}

// lite hands over JSON that is text already; the driver's own serialiser would make a JSON string of it. An argument that is
// a bare JSON string cannot be told from it and must be wrapped in an object or sent as text.
function json(oid: number): postgres.PostgresType {
  return {
    to: oid,
    from: [oid],
    serialize: (value: unknown) => typeof value === "string" ? value : JSON.stringify(value),
    parse: (text: string) => JSON.parse(text),
  };
}

/**
 * Puts our own ways of preparing a request in the place of lite's: it grants everything to everybody when it meets a table
 * with row level security, prepares a request in ten round trips, and knows no timeouts. What is set here is what PostgREST
 * sets: role, claims, the request, the role's timeouts or the called function's own.
 */
async function takePlaces(connection: PostgresConnection, url: string, schemas: string[]): Promise<void> {
  const inside = connection as unknown as Inside;
  const timeouts = await readTimeouts(url, schemas);
  const set = (db: unknown, values: Record<string, string>) => {
    const names = Object.keys(values);
    const list = names.map((name, index) => `set_config('${name}', $${index + 1}, true)`).join(", ");
    return (db as Executor).executeQuery({
      query: { kind: "RawNode" },
      queryId: { queryId: "request" },
      sql: `select ${list}`,
      parameters: names.map((name) => values[name]!),
    });
  };
  const withContext = connection.withContext.bind(connection);
  connection.withContext = async (...args: Parameters<typeof withContext>) => {
    try {
      return await withContext(...args) as never;
    } catch (error) {
      const failure = failures.getStore();
      if (failure && error instanceof Error && error.name === "PostgresError") {
        failure.error = error as unknown as NonNullable<Failure["error"]>;
      }
      throw error;
    }
  };
  inside.ensureRlsContext = () => Promise.resolve(true);
  inside.applyJwtSessionContext = async (db, variables) => {
    const wanted = variables.auth?.role ?? "anon";
    const role = apiRoles.includes(wanted) ? wanted : "anon";
    await set(db, {
      role,
      "request.jwt.claims": JSON.stringify(variables.auth?.jwt ?? { role }),
      statement_timeout: timeouts.role(role, "statement_timeout"),
      lock_timeout: timeouts.role(role, "lock_timeout"),
    });
  };
  inside.applyRpcRequestGucs = async (db, rpc) => {
    const headers = rpc.requestHeaders ?? {};
    const schema = headers["content-profile"] ?? headers["accept-profile"] ?? schemas[0]!;
    const own = timeouts.functions.get(`${schema}.${decodeURIComponent(rpc.path.split("/").at(-1) ?? "")}`);
    await set(db, {
      "response.status": "",
      "response.headers": "",
      "request.method": rpc.method,
      "request.path": rpc.path,
      "request.headers": JSON.stringify(headers),
      ...(own === undefined ? {} : { statement_timeout: own }),
    });
  };
}

/** Timeouts of roles and functions, read once: a migration starts the server again. */
async function readTimeouts(url: string, schemas: string[]) {
  const sql = postgres(url, { max: 1, onnotice: () => {} });
  try {
    const settings = await sql<{ name: string; setting: string }[]>`
      select role.rolname as name, setting
      from pg_catalog.pg_roles as role, unnest(role.rolconfig) as setting
      where role.rolname = any(${[...apiRoles, "authenticator"]})
    `;
    const functions = await sql<{ name: string; timeout: string }[]>`
      select format('%s.%s', space.nspname, function.proname) as name, split_part(setting, '=', 2) as timeout
      from pg_catalog.pg_proc as function
      join pg_catalog.pg_namespace as space on space.oid = function.pronamespace
      cross join unnest(function.proconfig) as setting
      where space.nspname = any(${schemas})
        and setting like 'statement_timeout=%'
    `;
    const roles = new Map(settings.map(({ name, setting }) => {
      const [key, value] = setting.split("=", 2);
      return [`${name}.${key}`, value!];
    }));
    return {
      role: (role: string, key: string) => roles.get(`${role}.${key}`) ?? roles.get(`authenticator.${key}`) ?? "0",
      functions: new Map(functions.map(({ name, timeout }) => [name, timeout])),
    };
  } finally {
    await sql.end({ timeout: 5 });
  }
}
