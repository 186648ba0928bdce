/** What the numbers are made from: facts, rules and settings, as one caller may see them. Part of the model. */

import type { Row, Tables } from "./model.ts";
import { instantOf } from "./model_periods.ts";
import { type Price, pricesOf } from "./model_prices.ts";
import { compareText, type Value } from "./model_values.ts";

/** One call of an administrator: `add_service`, `set_environment_tier`, `set_setting`, `set_price`, `add_team`, `add_team_repository`. */
export interface Rule {
  call: string;
  arguments: Record<string, unknown>;
}

/** Everything that a number depends on, its arguments apart. */
export interface World {
  /** What the model, or the database, holds. */
  tables: Tables;
  /** What an administrator chose before the rules. */
  settings?: Record<string, unknown>;
  /** What administrators said, in its order. */
  rules?: readonly Rule[];
  now: string;
  /** Repositories, by the reference that is their own, that the caller may read; NULL for all, as an admin may. */
  readable?: ReadonlySet<string> | null;
}

/** A repository with all its references. */
export interface Repository {
  /** The reference that is its own. */
  key: string;
  /** What results call it. */
  name: string;
  references: string[];
  default_branch: string | null;
}

/** An administrator's rule for a service. */
export interface ServiceRule {
  name: string;
  repository: string;
  deployment_pattern: RegExp | null;
  environment_pattern: RegExp | null;
  path_globs: string[] | null;
  source: "deployments" | "pipeline" | "releases";
  pipeline: string | null;
  rollout_pattern: RegExp | null;
}

/** A world as one caller sees it. */
export interface Seen {
  tables: Tables;
  repositories: Repository[];
  services: ServiceRule[];
  tiers: { pattern: RegExp; tier: string }[];
  teams: Map<string, Set<string>>;
  now: number;
  zone: string;
  prices: Price[];
  rollout_seconds: number;
  incident_window_seconds: number;
  hotfix_labels: string[];
}

/** The world without what the caller may not see: as if the rest did not exist. */
export function seen({ tables, settings = {}, rules = [], now, readable = null }: World): Seen {
  const references = new Map(
    rowsOf(tables, "repository_references").map((row) => [row["reference"] as string, row["repository"] as string]),
  );
  const isReadable = (reference: Value | undefined) =>
    readable === null || (typeof reference === "string" && readable.has(references.get(reference) ?? ""));
  const visible = Object.fromEntries(
    Object.entries(tables).map(([name, rows]) => [name, rows.filter((row) => isReadable(row["repository"]))]),
  );
  const repositories = repositoriesOf(visible);
  const find = (named: unknown) =>
    repositories.find(({ references }) => references.includes(String(named))) ??
      repositories.find(({ name }) => name === named);

  const chosen = { ...settings };
  const said = (call: string) => rules.filter((rule) => rule.call === call).map((rule) => rule.arguments);
  for (const { name, value } of said("set_setting")) chosen[String(name)] = value;
  const services = said("add_service").flatMap((rule) => {
    const repository = find(rule["repository"]);
    return repository === undefined ? [] : [serviceRuleOf(rule, repository)];
  });
  return {
    tables: { ...visible, incidents: incidentsSeen(tables, isReadable, readable === null, repositories, services) },
    repositories,
    services,
    tiers: said("set_environment_tier").map(({ pattern, tier }) => ({
      pattern: new RegExp(String(pattern)),
      tier: String(tier),
    })),
    teams: teamsOf(said("add_team"), said("add_team_repository"), find),
    now: instantOf(now) as number,
    prices: pricesOf(said("set_price")),
    zone: String(chosen["time_zone"] ?? "UTC"),
    rollout_seconds: Number(chosen["rollout_seconds"] ?? 3600),
    incident_window_seconds: Number(chosen["incident_window_seconds"] ?? 86_400),
    hotfix_labels: listOf(chosen["hotfix_labels"] ?? "{hotfix}").map((label) => label.toLowerCase()),
  };
}

/** Incidents of the repositories that the caller sees, and those about none that name a service of one; an admin sees all. */
function incidentsSeen(
  tables: Tables,
  isReadable: (reference: Value | undefined) => boolean,
  isAdmin: boolean,
  repositories: readonly Repository[],
  services: readonly ServiceRule[],
): Row[] {
  const names = new Set(
    repositories.flatMap(({ key, name }) => {
      const own = services.filter(({ repository }) => repository === key);
      return own.length === 0 ? [name] : own.map(({ name }) => name);
    }).map((name) => name.toLowerCase()),
  );
  return rowsOf(tables, "incidents").filter((row) =>
    isAdmin ||
    (textOf(row, "repository") === null
      ? names.has((textOf(row, "service") ?? "").toLowerCase())
      : isReadable(row["repository"]))
  );
}

/** The facts of one kind about a repository, whatever reference they name it by. */
export function factsOf({ tables }: Pick<Seen, "tables">, kind: string, repository: Repository): Row[] {
  return rowsOf(tables, kind).filter((row) => repository.references.includes(row["repository"] as string));
}

/** The rows of a table. */
export function rowsOf(tables: Tables, name: string): Row[] {
  return tables[name] ?? [];
}

/** The repository that a reference means, among those that the caller sees. */
export function repositoryOf({ repositories }: Pick<Seen, "repositories">, reference: unknown): Repository | null {
  return repositories.find(({ references }) => references.includes(String(reference))) ?? null;
}

/** Column of text, NULL for what is not there. */
export function textOf(row: Row, column: string): string | null {
  return (row[column] ?? null) as string | null;
}

function repositoriesOf(tables: Tables): Repository[] {
  return rowsOf(tables, "repositories").map((row) => {
    const key = row["repository"] as string;
    const references = rowsOf(tables, "repository_references").filter((reference) => reference["repository"] === key)
      .map((reference) => reference["reference"] as string).sort(compareReferences);
    return {
      key,
      name: textOf(row, "full_name") ?? references[0] ?? key,
      references,
      default_branch: textOf(row, "default_branch"),
    };
  }).sort((a, b) => compareText(a.name, b.name) || compareReferences(a.key, b.key));
}

/** External ids before URLs. */
function compareReferences(a: string, b: string): number {
  return Number(a.startsWith("//")) - Number(b.startsWith("//")) || compareText(a, b);
}

function serviceRuleOf(rule: Record<string, unknown>, repository: Repository): ServiceRule {
  const pattern = (name: string) =>
    rule[name] === undefined || rule[name] === null ? null : new RegExp(`${rule[name]}`);
  return {
    name: String(rule["name"]),
    repository: repository.key,
    deployment_pattern: pattern("deployment_pattern"),
    environment_pattern: pattern("environment_pattern"),
    path_globs: (rule["path_globs"] ?? null) as string[] | null,
    source: (rule["source"] ?? "deployments") as ServiceRule["source"],
    pipeline: (rule["pipeline"] ?? null) as string | null,
    rollout_pattern: pattern("rollout_pattern"),
  };
}

function teamsOf(
  teams: Record<string, unknown>[],
  given: Record<string, unknown>[],
  find: (named: unknown) => Repository | undefined,
): Map<string, Set<string>> {
  const members = (team: string) =>
    given.filter((one) => one["team"] === team).map((one) => find(one["repository"])?.key)
      .filter((key) => key !== undefined);
  return new Map(teams.map(({ name }) => [String(name), new Set(members(String(name)))]));
}

/** A list as JSON, or as the text of a Postgres array. */
function listOf(value: unknown): string[] {
  if (Array.isArray(value)) return value.map(String);
  const text = String(value).trim().replace(/^\{|\}$/g, "");
  return text === "" ? [] : text.split(",").map((item) => item.trim().replace(/^"|"$/g, ""));
}

/** Every time that a fact tells of. */
export function factsTimes(tables: Tables): string[] {
  return Object.values(tables).flat().flatMap((row) =>
    Object.entries(row).flatMap(([column, value]) => column.endsWith("_at") && typeof value === "string" ? [value] : [])
  );
}
