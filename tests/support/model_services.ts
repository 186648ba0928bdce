/** Services, the tiers of their environments, and their deployments. Part of the model. */

import type { Row } from "./model.ts";
import { instantOf } from "./model_periods.ts";
import { compareText } from "./model_values.ts";
import { factsOf, type Repository, type Seen, type ServiceRule, textOf } from "./model_world.ts";

/** What is deployed. */
export interface Service {
  name: string;
  repository: Repository;
  /** NULL for the one service of a repository without rules. */
  rule: ServiceRule | null;
  /** Finished attempts at production, in order. Those of a rollout group are one. */
  attempts: Attempt[];
}

/** An attempt to put a commit into a production environment. */
export interface Attempt {
  service: Service;
  external_id: string;
  reference: string;
  /** Its own id, and those of the other deployments of its rollout group. */
  ids: string[];
  environment: string | null;
  sha: string | null;
  outcome: "success" | "failed" | "other";
  at: number;
  began_at: number;
}

/** A deployment as its source tells it. */
interface Told {
  external_id: string;
  reference: string;
  name: string | null;
  environment: string | null;
  tier: string;
  sha: string | null;
  status: string | null;
  outcome: string | null;
  created_at: number | null;
  started_at: number | null;
  finished_at: number | null;
}

/** Every service that the caller sees, in the order of names. */
export function servicesOf(world: Seen): Service[] {
  return world.repositories.flatMap((repository) => {
    const rules = world.services.filter((rule) => rule.repository === repository.key);
    const services: Service[] = rules.length === 0
      ? [{ name: repository.name, repository, rule: null, attempts: [] }]
      : rules.map((rule) => ({ name: rule.name, repository, rule, attempts: [] }));
    for (const service of services) service.attempts = attemptsOf(world, service, services);
    return services;
  }).sort((a, b) => compareText(a.name, b.name));
}

/** The successful ones of a service, in order. */
export function deploymentsOf(service: Service): Attempt[] {
  return service.attempts.filter((attempt) => attempt.outcome === "success");
}

/** Orders deployments: by the end, then by what names them. */
export function compareAttempts(a: Attempt, b: Attempt): number {
  return a.at - b.at || compareText(a.external_id, b.external_id) || compareText(a.reference, b.reference) ||
    compareText(a.service.name, b.service.name);
}

/** The tier of a deployment's environment. */
export function tierOf(world: Pick<Seen, "tiers">, environment: string | null, said: string | null): string {
  const rule = world.tiers.find(({ pattern }) => environment !== null && pattern.test(environment));
  if (rule !== undefined) return rule.tier;
  if (said !== null) return said;
  if (environment === null) return "other";
  const word = (words: string) => new RegExp(`(^|[^a-z])(${words})([^a-z]|$)`).test(environment.toLowerCase());
  // Before production, because of pre-prod.
  if (word("stag|staging|stage|stg|preprod|pre-prod|uat")) return "staging";
  if (word("prod|production|live|prd")) return "production";
  return word("dev|development|test|testing|qa|preview|review|sandbox|local") ? "development" : "other";
}

function attemptsOf(world: Seen, service: Service, services: Service[]): Attempt[] {
  const attempts = toldOf(world, service, services)
    .filter((told) => told.status === "finished" && told.tier === "production")
    .flatMap((told) => {
      const at = told.finished_at ?? told.started_at ?? told.created_at;
      const began_at = told.started_at ?? told.created_at ?? told.finished_at;
      if (at === null || began_at === null) return [];
      const { external_id, reference, environment, sha } = told;
      return [{
        service,
        external_id,
        reference,
        ids: [external_id],
        environment,
        sha,
        at,
        began_at,
        outcome: of(told),
      }];
    })
    .sort(compareAttempts);
  // Who deploys to production without a name for it means the one production environment that every service has.
  return rolledOut(world, service, attempts)
    .map((attempt) => ({ ...attempt, environment: attempt.environment ?? "production" }))
    .sort(compareAttempts);
}

function of({ outcome }: Told): Attempt["outcome"] {
  if (outcome === "success") return "success";
  return ["failure", "timed_out", "error"].includes(outcome ?? "") ? "failed" : "other";
}

/** What the service's source says was deployed. */
function toldOf(world: Seen, service: Service, services: Service[]): Told[] {
  const { repository, rule } = service;
  if (rule?.source === "pipeline") {
    return factsOf(world, "pipeline_runs", repository)
      .filter((run) => run["pipeline"] === rule.pipeline && run["on_default_branch"] === true)
      .map((run) => ({ ...toldBy(run), external_id: `${run["external_id"]}#${run["attempt"]}`, ...production }));
  }
  if (rule?.source === "releases") {
    const isNot = (release: Row, what: string) => release[what] !== true;
    return factsOf(world, "releases", repository)
      .filter((release) => ["is_draft", "is_prerelease", "is_withdrawn"].every((what) => isNot(release, what)))
      .filter((release) => textOf(release, "published_at") !== null)
      .map((release) => ({
        ...toldBy(release),
        ...production,
        created_at: null,
        status: "finished",
        outcome: "success",
        finished_at: instantOf(release["published_at"]),
      }));
  }
  return factsOf(world, "deployments", repository)
    .map((row) => {
      const environment = textOf(row, "environment");
      return { ...toldBy(row), environment, tier: tierOf(world, environment, textOf(row, "environment_tier")) };
    })
    .filter((told) => services.find(({ rule }) => takes(rule, told)) === service);
}

const production = { name: null, environment: "production", tier: "production" };

function toldBy(row: Row): Told {
  return {
    external_id: row["external_id"] as string,
    reference: row["repository"] as string,
    name: textOf(row, "name"),
    environment: null,
    tier: "other",
    sha: textOf(row, "commit_sha"),
    status: textOf(row, "status"),
    outcome: textOf(row, "outcome"),
    created_at: instantOf(row["created_at"]),
    started_at: instantOf(row["started_at"]),
    finished_at: instantOf(row["finished_at"]),
  };
}

/** Whether a deployment would go to the service with this rule, were it the only one. */
function takes(rule: ServiceRule | null, { name, environment }: Told): boolean {
  if (rule === null) return true;
  const matches = (pattern: RegExp | null, text: string | null) =>
    pattern === null || (text !== null && pattern.test(text));
  return rule.source === "deployments" && matches(rule.deployment_pattern, name) &&
    matches(rule.environment_pattern, environment);
}

/** Deployments of one commit to several environments that belong together become one. */
function rolledOut(world: Seen, { rule }: Service, attempts: Attempt[]): Attempt[] {
  const pattern = rule?.rollout_pattern ?? null;
  if (pattern === null) return attempts;
  const belongs = ({ environment, sha }: Attempt) => sha !== null && environment !== null && pattern.test(environment);
  const result = attempts.filter((attempt) => !belongs(attempt));
  let rest = attempts.filter(belongs);
  while (rest.length > 0) {
    const first = rest[0] as Attempt;
    const isOfGroup = (attempt: Attempt) =>
      attempt.sha === first.sha && attempt.at - first.at <= world.rollout_seconds * 1e6;
    const group = rest.filter(isOfGroup);
    rest = rest.filter((attempt) => !isOfGroup(attempt));
    const outcomes = group.map(({ outcome }) => outcome);
    result.push({
      ...first,
      ids: group.flatMap(({ ids }) => ids),
      at: Math.max(...group.map(({ at }) => at)),
      began_at: Math.min(...group.map(({ began_at }) => began_at)),
      outcome: outcomes.includes("failed") ? "failed" : outcomes.includes("other") ? "other" : "success",
    });
  }
  return result;
}
