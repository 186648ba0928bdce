import { Sentence } from "../stack/sentence.ts";
import { callManagementApi, type Target } from "./target.ts";

type Environment = Record<string, string | undefined>;

/** A project as the Management API knows it. */
export type Managed = Extract<Target, { kind: "linked" }>;

/** Where hosted projects answer, below their reference. */
const projectHost = "supabase.co";

/**
 * The project behind a target. A stack on this machine is managed at its own origin and answers to any reference.
 *
 * @throws {Sentence} for a database by its address of which SUPABASE_API_URL does not say where its project is managed
 */
export function managedProject(target: Target, env: Environment): Managed {
  if (target.kind === "linked") return target;
  if (!env.SUPABASE_API_URL) {
    throw new Sentence(
      "An address leads to a database and not to its project: SUPABASE_API_URL must say where that is managed, and SUPABASE_ACCESS_TOKEN " +
        "open it. For a stack on this machine they are its url and its secret_key.",
    );
  }
  return { kind: "linked", ref: "stack" };
}

/** The origin of a project's APIs and functions, without a slash at its end. */
export function projectUrl(target: Target, env: Environment): string {
  const url = env.SUPABASE_URL ||
    (target.kind === "linked" ? `https://${target.ref}.${projectHost}` : env.SUPABASE_API_URL);
  if (!url) throw new Sentence("SUPABASE_URL is missing: the origin of the project's APIs.");
  return url.replace(/\/+$/, "");
}

interface ApiKey {
  name: string;
  type?: "publishable" | "secret" | "legacy" | null;
  api_key?: string | null;
}

/**
 * The project's key for clients: SUPABASE_PUBLISHABLE_KEY, else what the Management API lists.
 *
 * @throws {Sentence} when there is none
 */
export async function publishableKey(target: Target, env: Environment): Promise<string> {
  if (env.SUPABASE_PUBLISHABLE_KEY) return env.SUPABASE_PUBLISHABLE_KEY;
  const keys = await callManagementApi<ApiKey[]>(managedProject(target, env), env, "api-keys");
  const key = keys.find(({ type }) => type === "publishable") ?? keys.find(({ name }) => name === "anon");
  if (!key?.api_key) {
    throw new Sentence("The project has no publishable key: make one in its settings, under API keys.");
  }
  return key.api_key;
}

/**
 * The project's key for servers: SUPABASE_SECRET_KEY, else what the Management API reveals.
 *
 * @throws {Sentence} when there is none, or the token may not see it
 */
export async function secretKey(target: Target, env: Environment): Promise<string> {
  if (env.SUPABASE_SECRET_KEY) return env.SUPABASE_SECRET_KEY;
  const keys = await callManagementApi<ApiKey[]>(managedProject(target, env), env, "api-keys?reveal=true");
  const key = keys.find(({ type }) => type === "secret") ?? keys.find(({ name }) => name === "service_role");
  if (!key?.api_key) throw new Sentence("The project has no secret key: make one in its settings, under API keys.");
  return key.api_key;
}

/** What the Data API says about a schema: it serves it, does not list it, or serves nothing at all. */
export type Served = "served" | "not_exposed" | "down";

/**
 * Asks the Data API whether it serves a schema, by a table that nobody has.
 *
 * @param url of the project
 * @param key publishable key
 * @throws {Sentence} when the project refuses the key
 */
export async function servedState(url: string, key: string, schema: string): Promise<Served> {
  const response = await fetch(`${url}/rest/v1/is_this_schema_served?limit=0`, {
    headers: { apikey: key, "accept-profile": schema },
    signal: AbortSignal.timeout(10_000),
  }).catch(() => undefined);
  const answer = await response?.json().catch(() => ({})) as { code?: string } | undefined;
  if (!response || response.status >= 500) return "down";
  if (answer?.code === "PGRST106") return "not_exposed";
  // PostgREST's refusals carry a code, those of the gateway before it do not.
  if (response.status === 401 && !answer?.code) {
    throw new Sentence(
      "The project refuses its publishable key: see whether SUPABASE_URL and the key are of one project.",
    );
  }
  return "served";
}

/** Asks until the answer is there or the time is over; returns the last one. */
export async function until<T>(
  ask: () => Promise<T>,
  isThere: (answer: T) => boolean,
  milliseconds: number,
): Promise<T> {
  const end = Date.now() + milliseconds;
  let pause = 100;
  for (;;) {
    const answer = await ask();
    if (isThere(answer) || Date.now() + pause > end) return answer;
    await new Promise((resolve) => setTimeout(resolve, pause));
    pause = Math.min(pause * 2, 2_000);
  }
}
