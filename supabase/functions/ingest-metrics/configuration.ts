/** The installation's settings, read from the environment once. Mistakes are reported by the variable's name, never by its value. */

import { createVerifier, type Scheme, type Verifier, wrongSecret } from "./identity/mod.ts";
import { providerOf, refusalOf, type Source, type SourceOptions, sources as knownSources } from "./sources/mod.ts";

export const DEFAULT_MAX_BYTES = 10 * 1024 * 1024;
/** The largest body that any sender is known to send. */
export const GREATEST_MAX_BYTES = 25 * 1024 * 1024;
const SHORTEST_SECRET = 16;
const SECRET_PREFIX = "INGEST_SECRET_";

/** A source that may send: its translation, and its way to prove a sender. */
export interface ConfiguredSource {
  source: Source;
  verifier: Verifier;
  options: SourceOptions;
}

export interface Mistake {
  level: "error" | "warning";
  variable: string;
  message: string;
}

export interface Configuration {
  sources: ReadonlyMap<string, ConfiguredSource>;
  maxBytes: number;
  /** Whether METRICS_ENVIRONMENT says so: synthetic deliveries alone are taken then, which are not taken otherwise. */
  isStaging: boolean;
  /** What tokens of pipelines must name as their audience: the function's own address; null when the environment does not tell it. */
  audience: string | null;
  /** Address and secret key of the project's API; null when the environment does not give both. */
  project: { url: string; key: string } | null;
  mistakes: Mistake[];
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Reads the configuration. Never throws: a mistake disables what it concerns, and is listed. */
export function readConfiguration(environment: Environment): Configuration {
  const mistakes: Mistake[] = [];
  const report = (level: Mistake["level"], variable: string, message: string) =>
    void mistakes.push({ level, variable, message });
  const incidentLabels = readIncidentLabels(environment);
  const isStaging = readIsStaging(environment, report);
  const sources = new Map<string, ConfiguredSource>();
  for (const variable of Object.keys(environment).filter((name) => name.startsWith(SECRET_PREFIX)).sort()) {
    const suffix = variable.slice(SECRET_PREFIX.length);
    const name = suffix.toLowerCase().replaceAll("_", "-");
    const provider = suffix === suffix.toUpperCase() ? providerOf(name) : undefined;
    const source = provider && knownSources.get(provider);
    if (!source) {
      report("warning", variable, "names no known provider; the variable is not used");
      continue;
    }
    if (refusalOf(name, isStaging)) {
      report("warning", variable, `belongs to ${isStaging ? "production" : "staging"}; the variable is not used`);
      continue;
    }
    const secrets = readSecrets(environment[variable] ?? "", source.scheme);
    if (typeof secrets === "string") {
      report("error", variable, `${secrets}; the source is disabled`);
      continue;
    }
    const verifier = createVerifier(source.scheme, secrets);
    sources.set(name, { source, verifier, options: { source: name, incidentLabels } });
  }
  const project = readProject(environment, report);
  const audience = project && new URL("/functions/v1/ingest-metrics", project.url).href;
  return { sources, isStaging, maxBytes: readMaxBytes(environment, report), audience, project, mistakes };
}

/** Labels and issue types that make an issue an incident, in lower case. */
export function readIncidentLabels(environment: Environment): ReadonlySet<string> {
  const labels = environment.INGEST_INCIDENT_LABELS ?? "incident,outage";
  return new Set(labels.split(",").map((label) => label.trim().toLowerCase()).filter(Boolean));
}

/** The secrets in a variable, separated by commas or as a JSON array, for these schemes; or what is wrong with them. */
function readSecrets(value: string, schemes: Scheme | readonly Scheme[]): string[] | string {
  let items: unknown[] = value.split(",");
  if (value.trim().startsWith("[")) {
    try {
      items = JSON.parse(value);
    } catch {
      return "starts like a JSON array and is none";
    }
  }
  const secrets: string[] = [];
  for (const item of items) {
    if (typeof item !== "string") return "is a JSON array of other things than texts";
    const secret = item.trim();
    if (secret === "") return "holds an empty secret";
    if (new TextEncoder().encode(secret).length < SHORTEST_SECRET) {
      return `holds a secret shorter than ${SHORTEST_SECRET} bytes`;
    }
    const wrong = wrongSecret(schemes, secret);
    if (wrong) return wrong;
    secrets.push(secret);
  }
  return secrets.length > 0 ? secrets : "holds an empty secret";
}

type Report = (level: Mistake["level"], variable: string, message: string) => void;

function readMaxBytes(environment: Environment, report: Report): number {
  const given = environment.INGEST_MAX_BYTES;
  if (given === undefined) return DEFAULT_MAX_BYTES;
  const bytes = /^\d{1,15}$/.test(given.trim()) ? Number(given) : 0;
  if (bytes >= 1 && bytes <= GREATEST_MAX_BYTES) return bytes;
  const message = `is no whole number from 1 to ${GREATEST_MAX_BYTES}; the limit is ${DEFAULT_MAX_BYTES}`;
  report("error", "INGEST_MAX_BYTES", message);
  return DEFAULT_MAX_BYTES;
}

function readIsStaging({ METRICS_ENVIRONMENT: given = "production" }: Environment, report: Report): boolean {
  if (given !== "staging" && given !== "production") {
    report("error", "METRICS_ENVIRONMENT", "is neither staging nor production; this is production");
  }
  return given === "staging";
}

function readProject(environment: Environment, report: Report): Configuration["project"] {
  const url = environment.SUPABASE_URL;
  if (!url || !URL.canParse(url)) report("error", "SUPABASE_URL", "is missing or no address; nothing can be stored");
  const key = readKey(environment.SUPABASE_SECRET_KEYS) ?? environment.SUPABASE_SERVICE_ROLE_KEY;
  if (!key) report("error", "SUPABASE_SECRET_KEYS", "holds no key; nothing can be stored");
  return url && URL.canParse(url) && key ? { url, key } : null;
}

function readKey(keys: string | undefined): string | undefined {
  try {
    const byName = JSON.parse(keys ?? "{}") as Record<string, unknown>;
    const key = byName.default ?? Object.values(byName)[0];
    return typeof key === "string" && key !== "" ? key : undefined;
  } catch {
    return undefined;
  }
}
