/**
 * A hosted project for tests of deployments: REST, Auth and the function at one origin over a database of tests/support/deploy.ts, and
 * the Management API that knows it by its reference, as far as the Supabase CLI 3.1.0 and the gates ask it.
 */

import { encodeHex } from "@std/encoding/hex";
import { join } from "@std/path";
import { EdgeFunction } from "../../tools/stack/edge_function.ts";
import { gateway, type Parts } from "../../tools/stack/gateway.ts";
import { repository } from "../../tools/stack/packages.ts";
import { createPlatform } from "../../tools/stack/platform.ts";
import { startRest } from "../../tools/stack/rest.ts";
import type { Target } from "../../tools/deploy/target.ts";
import type { AppDatabase } from "./deploy.ts";

/** What the Management API shall do wrong. */
export interface Faults {
  /** Answers this status to changes. */
  refuse?: number | undefined;
  /** Says that the list of schemas was written, and keeps the old one. */
  lose?: boolean | undefined;
  /** Writes the list and does not tell the Data API. */
  stale?: boolean | undefined;
  /** Changes the list before the Data API is told, as somebody else would. */
  rewrite?: ((list: string) => string) | undefined;
  /** What the platform says of the function instead. */
  deployed?: Record<string, unknown> | undefined;
}

/** A running project. */
export interface Project {
  /** Its origin. */
  url: string;
  /** Its reference. */
  ref: string;
  /** Its linked form. */
  linked: Target;
  /** Variables with which a gate reaches it by its reference, as a workflow gives them. */
  env: Record<string, string>;
  /** Variables with which a gate reaches it by its database's address, as one does on a stack on one machine. */
  urlEnv: Record<string, string>;
  /** The function's variables as the platform shows them; the running function keeps those that it began with. */
  variables: Record<string, string>;
  /** The files of the function that was deployed, by path. */
  deployed: Map<string, string>;
  faults: Faults;
  /** Requests to the Management API that change something. */
  changes: string[];
  /** The list of schemas as the Management API has it. */
  list(): string;
  /** Sets that list, as somebody at the dashboard would. */
  setList(text: string): Promise<void>;
  /** One GET to the Data API as a client without a session. */
  read(path: string, schema?: string): Promise<{ status: number; text: string }>;
  [Symbol.asyncDispose](): Promise<void>;
}

const functionName = "ingest-metrics";

// lite prints the error of every request that is refused, and most requests here shall be.
Object.assign(console, { error: () => {} });

/** A name of lower-case letters that nothing else has. */
const randomLetters = (length: number) =>
  Array.from(crypto.getRandomValues(new Uint8Array(length)), (byte) => String.fromCharCode(97 + byte % 26)).join("");

/**
 * Starts a project on a database. Its Data API serves `public` alone.
 *
 * @param options.variables those of its function; without any the function does not run
 */
export async function startProject(
  database: AppDatabase,
  options: { variables?: Record<string, string> } = {},
): Promise<Project> {
  const ref = randomLetters(20);
  const token = `sbp_${encodeHex(crypto.getRandomValues(new Uint8Array(20)))}`;
  const keys = { publishable_key: `sb_publishable_${ref}`, secret_key: `sb_secret_${ref}` };
  const variables = { ...options.variables };
  const parts: Parts = { rest: undefined, functions: new Map(), platform: undefined, welcome: "" };
  const listen = { hostname: "127.0.0.1", port: 0, onListen: () => {} };
  const server = Deno.serve(listen, gateway(parts)) as Deno.HttpServer<Deno.NetAddr>;
  const url = `http://127.0.0.1:${server.addr.port}`;
  const rest = await startRest({
    url: database.url,
    origin: url,
    jwtSecret: "a secret of at least 32 characters",
    publishableKey: keys.publishable_key,
    secretKey: keys.secret_key,
  });
  await rest.expose(["public"]);
  const platform = createPlatform({
    rest,
    secrets: keys,
    variables,
    databaseUrl: database.url,
    functions: [functionName],
  });
  parts.rest = rest;
  parts.platform = platform;

  let list = "public";
  let details: Record<string, unknown> | undefined;
  const faults: Faults = {};
  const deployed = new Map<string, string>();
  const changes: string[] = [];
  const tell = (text: string) => rest.expose(text.split(",").map((name) => name.trim()).filter(Boolean));

  async function manage(request: Request): Promise<Response> {
    const { pathname } = new URL(request.url);
    if (request.headers.get("authorization") !== `Bearer ${token}`) {
      return Response.json({ message: "Unauthorized" }, { status: 401 });
    }
    const path = new RegExp(`^/v1/projects/${ref}(?:/(.*))?$`).exec(pathname)?.[1] ?? "";
    if (request.method !== "GET") {
      if (faults.refuse) return Response.json({ message: "Forbidden" }, { status: faults.refuse });
      changes.push(`${request.method} ${path}`);
    }
    switch (`${request.method} ${path}`) {
      case "GET ":
        return Response.json({ id: ref, ref, name: "app", region: "local", status: "ACTIVE_HEALTHY" });
      case "GET config/database/pooler": {
        const { hostname, port, pathname } = new URL(database.url);
        return Response.json([{
          database_type: "PRIMARY",
          db_user: "postgres",
          db_host: hostname,
          db_port: Number(port),
          db_name: pathname.slice(1),
          pool_mode: "session",
          connection_string: `postgresql://postgres:[YOUR-PASSWORD]@${hostname}:${port}${pathname}?sslmode=disable`,
        }]);
      }
      case "GET postgrest":
        return Response.json({ db_schema: list, db_extra_search_path: "public, extensions", max_rows: 1000 });
      case "PATCH postgrest": {
        const { db_schema } = await request.json();
        if (!faults.lose) list = db_schema;
        if (!faults.lose && !faults.stale) await tell(faults.rewrite?.(list) ?? list);
        return Response.json({ db_schema });
      }
      case "GET functions":
        return Response.json(details ? [{ ...details, ...faults.deployed }] : []);
      case "POST functions/deploy": {
        const form = await request.formData();
        const part = form.get("metadata");
        const metadata = JSON.parse(part instanceof File ? await part.text() : String(part));
        deployed.clear();
        for (const file of form.getAll("file")) if (file instanceof File) deployed.set(file.name, await file.text());
        const moment = { created_at: 0, updated_at: 0 };
        details = { id: "1", slug: functionName, version: 1, status: "ACTIVE", ...moment, ...metadata };
        return Response.json(details, { status: 201 });
      }
      case `GET functions/${functionName}`:
        return details ? Response.json(details) : Response.json({ message: "Not Found" }, { status: 404 });
      case `GET functions/${functionName}/body`: {
        const form = new FormData();
        form.append("metadata", JSON.stringify(details));
        for (const [name, text] of deployed) form.append("file", new File([text], name), name);
        return new Response(form);
      }
      case "GET secrets":
      case "GET api-keys": {
        const headers = { authorization: `Bearer ${keys.secret_key}` };
        return await platform(new Request(request.url, { headers }), pathname);
      }
    }
    return Response.json({ message: "Not Found" }, { status: 404 });
  }

  const management = Deno.serve(listen, manage) as Deno.HttpServer<Deno.NetAddr>;
  const managementUrl = `http://127.0.0.1:${management.addr.port}`;
  const folder = await Deno.makeTempDir({ prefix: "metrics-project-" });
  const profile = join(folder, "profile.yaml");
  await Deno.writeTextFile(
    profile,
    `name: local\napi_url: ${managementUrl}\ndashboard_url: ${managementUrl}\nproject_host: project.invalid\n`,
  );
  const log = join(folder, "function.log");
  const edge = new EdgeFunction({
    name: functionName,
    folder: join(repository, "supabase", "functions", functionName),
    env: {
      SUPABASE_URL: url,
      SUPABASE_PUBLISHABLE_KEYS: JSON.stringify({ default: keys.publishable_key }),
      SUPABASE_SECRET_KEYS: JSON.stringify({ default: keys.secret_key }),
      ...variables,
    },
    log,
  });
  if (options.variables) {
    parts.functions.set(functionName, edge);
    if (!await edge.start()) throw new Error(`the function does not start: ${await Deno.readTextFile(log)}`);
  }
  return {
    url,
    ref,
    linked: { kind: "linked", ref },
    env: {
      PATH: Deno.env.get("PATH") ?? "/usr/bin:/bin",
      SUPABASE_API_URL: managementUrl,
      SUPABASE_PROFILE: profile,
      SUPABASE_PROJECT_ID: ref,
      SUPABASE_ACCESS_TOKEN: token,
      SUPABASE_DB_PASSWORD: decodeURIComponent(new URL(database.url).password),
      SUPABASE_URL: url,
    },
    urlEnv: { SUPABASE_API_URL: url, SUPABASE_ACCESS_TOKEN: keys.secret_key },
    variables,
    deployed,
    faults,
    changes,
    list: () => list,
    async setList(text) {
      list = text;
      await tell(text);
    },
    async read(path, schema = "public") {
      const headers = { apikey: keys.publishable_key, "accept-profile": schema };
      const response = await fetch(`${url}/rest/v1/${path}`, { headers });
      return { status: response.status, text: await response.text() };
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([server.shutdown(), management.shutdown()]);
      if (options.variables) await edge.stop();
      await rest.close();
      await Deno.remove(folder, { recursive: true });
    },
  };
}
