import { parse } from "@std/toml";
import { encodeHex } from "@std/encoding/hex";
import postgres, { type Sql } from "postgres";
import { join } from "@std/path";
import type { Secrets } from "./data_folder.ts";
import { repository } from "./packages.ts";
import type { Rest } from "./rest.ts";

/** What the platform knows of the one project of a stack. */
export interface PlatformOptions {
  rest: Rest;
  secrets: Pick<Secrets, "publishable_key" | "secret_key">;
  /** The variables that the team set for its functions. */
  variables: Record<string, string>;
  /** The database, as the role `postgres`. */
  databaseUrl: string;
  /** Names of the functions. */
  functions: string[];
}

/**
 * The part of Supabase's Management API that deployments ask, for the project that a stack is, and the requests of Auth that make and
 * remove users. The access token of both is the secret key; the reference in the path may be any.
 *
 * @returns the handler of what lies below `/v1/projects/` and `/auth/v1/admin/`
 */
export function createPlatform(options: PlatformOptions): (request: Request, path: string) => Promise<Response> {
  const { rest, secrets, variables } = options;
  const notFound = () => Response.json({ message: "There is nothing here." }, { status: 404 });

  async function managed(request: Request, path: string): Promise<Response> {
    switch (`${request.method} ${path}`) {
      case "GET postgrest":
        return Response.json({
          db_schema: rest.schemas.join(","),
          db_extra_search_path: "public, extensions",
          max_rows: 1000,
        });
      case "PATCH postgrest": {
        const { db_schema } = await request.json() as { db_schema?: unknown };
        if (typeof db_schema !== "string" || db_schema.trim() === "") {
          return Response.json({ message: "db_schema is a list of names, separated by commas." }, { status: 400 });
        }
        await rest.expose(db_schema.split(",").map((name) => name.trim()));
        return Response.json({ db_schema: rest.schemas.join(",") });
      }
      case "GET secrets":
        return Response.json(
          await Promise.all(
            Object.entries(variables).map(async ([name, value]) => ({ name, value: await digestOf(value) })),
          ),
        );
      case "GET api-keys":
        return Response.json([
          { name: "default", type: "publishable", api_key: secrets.publishable_key },
          { name: "default", type: "secret", api_key: secrets.secret_key },
        ]);
      case "GET functions":
        return Response.json(
          await Promise.all(
            options.functions.map(async (slug) => ({ slug, status: "ACTIVE", verify_jwt: await verifiesJwt(slug) })),
          ),
        );
    }
    return notFound();
  }

  async function users(request: Request, path: string): Promise<Response> {
    if (`${request.method} ${path}` === "POST users") {
      // Nobody confirms an address on one's own machine: signing up is all that making a user takes.
      const response = await rest.fetch(
        new Request(new URL("/auth/v1/signup", request.url), {
          method: "POST",
          headers: { apikey: secrets.publishable_key, "content-type": "application/json" },
          body: await request.text(),
        }),
      );
      const made = await response.json();
      return Response.json(response.ok ? made.user : made, { status: response.status });
    }
    const id = request.method === "DELETE" && /^users\/([0-9a-f-]{36})$/.exec(path)?.[1];
    if (!id) return notFound();
    const rows = await asPostgres((sql) => sql`delete from auth.users where id = ${id} returning id`);
    return rows.length > 0 ? Response.json({}) : notFound();
  }

  async function asPostgres<T>(work: (sql: Sql) => Promise<T>): Promise<T> {
    const sql = postgres(options.databaseUrl, { max: 1, onnotice: () => {} });
    try {
      return await work(sql);
    } finally {
      await sql.end({ timeout: 5 });
    }
  }

  return async (request, path) => {
    if (request.headers.get("authorization") !== `Bearer ${secrets.secret_key}`) {
      return Response.json({ message: "Unauthorized" }, { status: 401 });
    }
    const project = /^\/v1\/projects\/[a-z]+\/(.+)$/.exec(path)?.[1];
    return project ? await managed(request, project) : await users(request, path.slice("/auth/v1/admin/".length));
  };
}

/** What the platform shows of a variable's value: its SHA-256 in hexadecimal. */
async function digestOf(value: string): Promise<string> {
  return encodeHex(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(value)));
}

/** Whether the platform would check for a JWT before the function runs: unless supabase/config.toml says no. */
async function verifiesJwt(name: string): Promise<boolean> {
  const config = parse(await Deno.readTextFile(join(repository, "supabase", "config.toml"))) as {
    functions?: Record<string, { verify_jwt?: boolean }>;
  };
  return config.functions?.[name]?.verify_jwt ?? true;
}
