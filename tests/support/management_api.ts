/**
 * The Management API in front of several projects of tests/support/project.ts, each with an access token that opens no other, and the
 * pooler that leads to their databases. So the linked form of a command (`supabase link`, `--remote` without a value) runs here with
 * the real CLI as it does on a runner.
 */
import { encodeHex } from "@std/encoding/hex";
import { join } from "@std/path";
import type { AppDatabase } from "./deploy.ts";
import type { Project } from "./project.ts";
import { sessionPooler } from "./session_pooler.ts";

/** A project that the API knows. */
export interface ManagedProject {
  /** As the CLI shows it. */
  name: string;
  database: AppDatabase;
  /** What answers for everything that is not told here. */
  project: Project;
}

/** A request that the API was asked. */
export interface ApiRequest {
  method: string;
  path: string;
  /** The name of the project that the token belongs to, undefined for a token of none. */
  caller: string | undefined;
  status: number;
}

/** A running Management API. */
export interface ManagementApi {
  requests: ApiRequest[];
  /** Sessions that the pooler opened so far, by the project's reference. */
  sessions: Map<string, number>;
  /** What an environment of a workflow holds for a project: its reference, token and password. */
  credentials(
    name: string,
  ): { SUPABASE_PROJECT_ID: string; SUPABASE_ACCESS_TOKEN: string; SUPABASE_DB_PASSWORD: string };
  /** Variables that lead the CLI and the gates here instead of to hosted projects. */
  address: { SUPABASE_API_URL: string; SUPABASE_PROFILE: string };
  [Symbol.asyncDispose](): Promise<void>;
}

/** Starts the API and the pooler on loopback. */
export async function managementApi(projects: ManagedProject[]): Promise<ManagementApi> {
  const known = projects.map((project) => ({
    ...project,
    ref: project.project.env.SUPABASE_PROJECT_ID!,
    token: `sbp_${encodeHex(crypto.getRandomValues(new Uint8Array(20)))}`,
  }));
  const pooler = sessionPooler(known.map(({ ref, database }) => ({ ref, databaseUrl: database.url })));
  const requests: ApiRequest[] = [];
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    const token = request.headers.get("authorization")?.replace(/^Bearer /, "");
    const caller = known.find((project) => project.token === token);
    const response = await answer(request, known, caller, pooler.port);
    requests.push({
      method: request.method,
      path: new URL(request.url).pathname,
      caller: caller?.name,
      status: response.status,
    });
    return response;
  });
  const url = `http://127.0.0.1:${server.addr.port}`;
  const folder = await Deno.makeTempDir({ prefix: "supabase-profile-" });
  const profile = join(folder, "profile.yaml");
  // The direct host of a project (db.<ref>.<project_host>) answers nowhere, so that the CLI takes the pooler, as on runners.
  await Deno.writeTextFile(
    profile,
    `name: local\napi_url: ${url}\ndashboard_url: ${url}/dashboard\nproject_host: project.invalid\n`,
  );
  return {
    requests,
    sessions: pooler.sessions,
    address: { SUPABASE_API_URL: url, SUPABASE_PROFILE: profile },
    credentials(name) {
      const found = known.find((project) => project.name === name);
      if (!found) throw new Error(`there is no project ${name}`);
      return {
        SUPABASE_PROJECT_ID: found.ref,
        SUPABASE_ACCESS_TOKEN: found.token,
        SUPABASE_DB_PASSWORD: decodeURIComponent(new URL(found.database.url).password),
      };
    },
    async [Symbol.asyncDispose]() {
      await server.shutdown();
      await pooler[Symbol.asyncDispose]();
      await Deno.remove(folder, { recursive: true });
    },
  };
}

type Known = ManagedProject & { ref: string; token: string };

const refused = (status: number, message: string) => Response.json({ message }, { status });

/** What the API answers. */
async function answer(
  request: Request,
  projects: Known[],
  caller: Known | undefined,
  poolerPort: number,
): Promise<Response> {
  const { pathname, search } = new URL(request.url);
  if (!caller) return refused(401, "Unauthorized");
  const [, ref, path = ""] = /^\/v1\/projects\/([^/]+)(?:\/(.*))?$/.exec(pathname) ?? [];
  const project = projects.find((project) => project.ref === ref);
  if (!project) return refused(404, "Project not found");
  if (project !== caller) return refused(403, "Your account does not have the necessary privileges");
  switch (`${request.method} ${path}`) {
    case "GET ":
      return Response.json({
        id: ref,
        ref,
        organization_id: "organization",
        organization_slug: "organization",
        name: project.name,
        region: "eu-central-1",
        created_at: "2026-01-05T09:00:00Z",
        status: "ACTIVE_HEALTHY",
        database: {
          host: `db.${ref}.project.invalid`,
          version: "17.6.1",
          postgres_engine: "17",
          release_channel: "ga",
        },
      });
    case "GET config/database/pooler": {
      // The CLI takes port 5432 of the first host and wants a domain name there; when that fails it tries the next.
      const connection_string =
        `postgresql://postgres.${ref}:[YOUR-PASSWORD]@pooler.invalid:5432,127.0.0.1:${poolerPort}/postgres?sslmode=disable`;
      return Response.json([{
        identifier: ref,
        database_type: "PRIMARY",
        is_using_scram_auth: true,
        db_user: `postgres.${ref}`,
        db_host: "127.0.0.1",
        db_port: poolerPort,
        db_name: "postgres",
        connection_string,
        connectionString: connection_string,
        default_pool_size: 15,
        max_client_conn: 200,
        pool_mode: "session",
      }]);
    }
    case "GET config/storage":
      return refused(404, "Storage is not used");
    case "GET advisors/security":
    case "GET advisors/performance":
      return Response.json({ lints: [] });
  }
  const headers = new Headers(request.headers);
  headers.set("authorization", `Bearer ${project.project.env.SUPABASE_ACCESS_TOKEN}`);
  return await fetch(`${project.project.env.SUPABASE_API_URL}${pathname}${search}`, {
    method: request.method,
    headers,
    body: request.body,
  });
}
