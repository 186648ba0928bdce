/**
 * What ingest means, once more: slow, obvious, and written from the design alone.
 *
 * It keeps everything that it was ever told and works every row out of all of it when asked. Property tests compare the
 * real tables with it, so nothing that ships imports it and it imports nothing that ships.
 */

import { derivePullRequests } from "./model_pull_requests.ts";
import { canonical, compare, compareText, jsonText, secondsBetween, typeOf, type Value } from "./model_values.ts";

/** A row in canonical form: natural keys instead of generated ids, without the times of receipt and of writing. */
export type Row = Record<string, Value>;

/** Every table by its name, its rows in the order of their text. */
export type Tables = Record<string, Row[]>;

/** What one delivery says about one key. */
export type Observation = Record<string, unknown>;

/** One call of `metrics.ingest`. `body` is base64. */
export interface Call {
  delivery: {
    source: string;
    delivery_id: string;
    event?: string | null;
    sha256: string;
    size: number;
    content_type?: string | null;
    result: "stored" | "ignored" | "quarantined";
    reason?: string | null;
    notes?: string[];
  };
  facts?: Record<string, Observation[]>;
  body?: string | null;
}

/** What `metrics.ingest` answers. */
export interface Answer {
  result: "stored" | "duplicate" | "ignored" | "quarantined";
  reason: string | null;
  delivery_id: string;
}

/** How the rows of one kind of fact come about. */
export interface Kind {
  /** Columns that name the row; `repository` is a repository reference. */
  key: string[];
  /** Groups of columns that come together, each led by its first; the latest observation of a group wins. */
  latest: string[][];
  /** Columns that keep the earliest time. */
  earliest?: string[];
  /** Columns that collect every value. */
  union?: string[];
  /** What the clock compares first. */
  clock: "rank" | "time";
  /** The rank of the state of an observation; 0 when it tells none. */
  rank?: (observation: Observation) => number;
}

const rankOf = (column: string, words: string[]) => (observation: Observation) =>
  words.indexOf(String(observation[column])) + 1;

const byStatus = rankOf("status", ["queued", "running", "finished"]);
const outcome = ["status", "outcome", "provider_outcome", "finished_at"];
const single = (...columns: string[]) => columns.map((column) => [column]);

/** Every kind of fact. */
export const KINDS: Record<string, Kind> = {
  repositories: { key: ["repository"], latest: single("full_name", "default_branch", "url"), clock: "time" },
  pipeline_runs: {
    key: ["repository", "external_id", "attempt"],
    latest: [
      ...single("rerun_group", "pipeline", "number", "trigger", "branch", "on_default_branch", "commit_sha"),
      ...single("pull_request_numbers", "url"),
      ["actor", "actor_is_bot"],
      outcome,
    ],
    earliest: ["queued_at", "started_at"],
    clock: "rank",
    rank: byStatus,
  },
  jobs: {
    key: ["repository", "external_id"],
    latest: [
      ...single("run_external_id", "attempt", "pipeline", "name", "branch", "commit_sha", "runner_labels"),
      ...single("steps", "url"),
      outcome,
    ],
    earliest: ["queued_at", "started_at"],
    clock: "rank",
    rank: byStatus,
  },
  pull_requests: {
    key: ["repository", "number"],
    latest: [
      ...single("title", "head_branch", "base_branch", "is_fork", "head_sha", "is_draft", "labels", "url"),
      ["author", "author_is_bot"],
      ["state", "merge_sha", "merged_at", "closed_at"],
      ["additions", "deletions", "changed_files"],
    ],
    earliest: ["opened_at"],
    union: ["ready_times"],
    clock: "time",
    rank: rankOf("state", ["open", "closed", "merged"]),
  },
  reviews: {
    key: ["repository", "external_id"],
    latest: [...single("pull_request_number", "state", "url"), ["reviewer", "reviewer_is_bot"]],
    earliest: ["submitted_at"],
    clock: "time",
    rank: ({ state }) => state === undefined || state === null ? 0 : state === "dismissed" ? 2 : 1,
  },
  pushes: {
    key: ["repository", "ref", "before", "after", "pushed_at"],
    latest: [
      ...single("forced", "created", "deleted", "on_default_branch"),
      ["commits", "truncated"],
      ["pusher", "pusher_is_bot"],
    ],
    clock: "time",
  },
  commits: {
    key: ["repository", "sha"],
    latest: [["author", "author_is_bot"], ...single("title", "reverts", "changed_paths")],
    earliest: ["authored_at", "committed_at"],
    clock: "time",
  },
  deployments: {
    key: ["repository", "external_id"],
    latest: [
      ...single("name", "environment", "environment_tier", "commit_sha", "ref", "url"),
      outcome,
      ["actor", "actor_is_bot"],
    ],
    earliest: ["created_at", "started_at"],
    clock: "rank",
    rank: byStatus,
  },
  releases: {
    key: ["repository", "external_id"],
    latest: single("tag", "commit_sha", "name", "is_draft", "is_prerelease", "is_withdrawn", "published_at", "url"),
    earliest: ["created_at"],
    clock: "time",
  },
  incidents: {
    key: ["source", "external_id"],
    latest: [
      ...single("repository", "service", "title", "severity", "is_withdrawn"),
      ...single("deployment_external_id", "commit_sha", "url"),
      ["status", "resolved_at"],
    ],
    earliest: ["opened_at", "acknowledged_at"],
    clock: "time",
    rank: rankOf("status", ["open", "acknowledged", "resolved"]),
  },
  test_runs: {
    key: ["repository", "external_id"],
    latest: [
      ...single("suite", "commit_sha", "branch", "pipeline", "job", "duration_seconds", "passed", "skipped", "url"),
      ["passed_count", "failed_count", "skipped_count", "error_count"],
    ],
    earliest: ["started_at"],
    clock: "time",
  },
  test_cases: {
    key: ["repository", "test_run_external_id", "suite", "name"],
    latest: [["outcome", "message", "duration_seconds", "retries"]],
    clock: "time",
  },
  rule_checks: {
    key: ["repository", "external_id"],
    latest: single(
      "rule",
      "category",
      "status",
      "commit_sha",
      "pull_request_number",
      "run_external_id",
      "detail",
      "checked_at",
      "url",
    ),
    clock: "time",
  },
  measurements: {
    key: ["repository", "name", "external_id"],
    latest: [["value", "unit", "attributes", "measured_at"]],
    clock: "time",
  },
};

/** Says that the facts of a call do not fit: nothing of it may be kept. */
export class Refused extends Error {}

/** What one observation says about one group. */
interface Candidate {
  clock: readonly [Value, Value, Value];
  members: readonly Value[];
}

/** Chooses among what several observations, in the order of their arrival, say about one group. */
export type Choice = (candidates: readonly Candidate[], group: readonly string[]) => Candidate;

/** The rule: the greatest clock, then the greatest value. The order of arrival plays no part. */
export const greatest: Choice = (candidates, group) =>
  candidates.reduce((best, next) => compareCandidates(next, best, group) > 0 ? next : best);

/** A wrong rule, for tests that must notice it: whatever came last. */
export const lastArrived: Choice = (candidates) => candidates[candidates.length - 1] as Candidate;

interface Told {
  kind: string;
  key: Row;
  observation: Observation;
}

/** Takes calls as `metrics.ingest` does and tells what the tables hold then. */
export class Model {
  readonly #choose: Choice;
  readonly #deliveries = new Map<string, { row: Row; body: Row | null }>();
  readonly #told: Told[] = [];

  constructor(choose: Choice = greatest) {
    this.#choose = choose;
  }

  /**
   * One call of `metrics.ingest`.
   *
   * @throws {Refused} when an observation does not fit its kind; nothing of the call is kept
   */
  ingest({ delivery, facts = {}, body = null }: Call): Answer {
    const id = delivery.delivery_id;
    const kept = this.#deliveries.get(`${delivery.source} ${id}`);
    if (kept !== undefined && kept.row["sha256"] !== delivery.sha256) {
      return this.#conflict(delivery, body);
    }
    if (kept !== undefined && kept.row["result"] !== "quarantined") {
      return { result: "duplicate", reason: null, delivery_id: id };
    }
    if (kept !== undefined && delivery.result === "quarantined") {
      return { result: "quarantined", reason: kept.row["reason"] as string | null, delivery_id: id };
    }
    const told = delivery.result === "stored" ? this.#read(delivery.source, facts) : [];
    this.#told.push(...told);
    this.#keep(delivery, body, told, Object.entries(delivery.result === "stored" ? facts : {}));
    return { result: delivery.result, reason: delivery.reason ?? null, delivery_id: id };
  }

  /** Every table as it is now. */
  tables(): Tables {
    const tables: Tables = {};
    for (const [name, kind] of Object.entries(KINDS)) tables[name] = this.#fold(name, kind);
    tables["tests"] = this.#tests();
    tables["repository_references"] = this.#references();
    tables["repositories"] = this.#repositories(tables["repositories"] ?? [], tables["repository_references"]);
    derivePullRequests(tables);
    tables["deliveries"] = [...this.#deliveries.values()].map(({ row }) => row);
    tables["bodies"] = [...this.#deliveries.values()].flatMap(({ body }) => body === null ? [] : [body]);
    for (const rows of Object.values(tables)) sortRows(rows);
    return tables;
  }

  #conflict(delivery: Call["delivery"], body: string | null): Answer {
    const id = `${delivery.delivery_id}#${delivery.sha256.slice(0, 12)}`;
    const reason = "conflict: the delivery id came before with other bytes";
    if (!this.#deliveries.has(`${delivery.source} ${id}`)) {
      this.#keep({ ...delivery, delivery_id: id, result: "quarantined", reason }, body, [], []);
    }
    return { result: "quarantined", reason, delivery_id: id };
  }

  #keep(delivery: Call["delivery"], body: string | null, told: Told[], facts: [string, Observation[]][]): void {
    const { source, delivery_id } = delivery;
    const counts = Object.fromEntries(facts.filter(([, list]) => list.length > 0).map(([k, list]) => [k, list.length]));
    const row: Row = {
      source,
      delivery_id,
      event: delivery.event ?? null,
      result: delivery.result,
      reason: delivery.reason ?? null,
      size: delivery.size,
      sha256: delivery.sha256,
      content_type: delivery.content_type ?? null,
      fact_counts: canonical("json", counts),
      notes: delivery.notes ?? [],
      references: [...new Set(told.flatMap(referencesOf))].sort(compareText),
      // Histories are told by webhooks.
      identity_id: null,
    };
    this.#deliveries.set(`${source} ${delivery_id}`, {
      row,
      body: body === null ? null : { source, delivery_id, body },
    });
  }

  #read(source: string, facts: Record<string, Observation[]>): Told[] {
    return Object.entries(facts).flatMap(([kind, observations]) => observations.map((o) => readOne(source, kind, o)));
  }

  /** One row for each key: each column by its rule, out of all that was ever said. */
  #fold(name: string, kind: Kind): Row[] {
    const byKey = new Map<string, Told[]>();
    for (const told of this.#told.filter((t) => t.kind === name)) {
      const key = JSON.stringify(told.key);
      byKey.set(key, [...(byKey.get(key) ?? []), told]);
    }
    return [...byKey.values()].map((told) => {
      const row: Row = { ...(told[0] as Told).key };
      for (const group of kind.latest) Object.assign(row, this.#latest(kind, group, told));
      for (const column of kind.earliest ?? []) row[column] = valuesOf(column, told).sort(compareText)[0] ?? null;
      for (const column of kind.union ?? []) row[column] = unionOf(column, told);
      return { ...row, ...seconds(name, row) };
    });
  }

  #latest(kind: Kind, group: string[], told: Told[]): Row {
    const candidates = told
      .filter(({ observation }) => (group[0] as string) in observation)
      .map(({ observation }) => ({
        clock: clockOf(kind, observation),
        members: group.map((column) => canonical(typeOf(column), observation[column])),
      }));
    const chosen = candidates.length === 0 ? null : this.#choose(candidates, group);
    return Object.fromEntries(group.map((column, i) => [column, chosen?.members[i] ?? null]));
  }

  /** Every test that any report ever named. */
  #tests(): Row[] {
    const rows = this.#told.flatMap(({ kind, key, observation }) => {
      const repository = key["repository"] as string;
      if (kind === "test_cases") return [{ repository, suite: key["suite"] ?? null, name: key["name"] ?? null }];
      if (kind !== "test_runs") return [];
      const tests = [observation["passed"], observation["skipped"]].flatMap((list) =>
        (list ?? []) as [string, string][]
      );
      return tests.map(([suite, name]) => ({ repository, suite, name }));
    });
    return distinct(rows);
  }

  /** Every reference that any fact named, and the repository that it means. */
  #references(): Row[] {
    const named = this.#told.flatMap(referencesOf);
    const claims = this.#claims();
    return [...new Set([...named, ...claims.keys()])].map((reference) => {
      const isUrl = reference.startsWith("//");
      const colon = reference.indexOf(":");
      return {
        reference,
        source: isUrl ? null : reference.slice(0, colon),
        external_id: isUrl ? null : reference.slice(colon + 1),
        url: isUrl ? reference.slice(2) : null,
        repository: claims.get(reference) ?? reference,
      };
    });
  }

  /** For each URL the repository that said last that it is its own. */
  #claims(): Map<string, string> {
    const claims = new Map<string, { clock: Candidate["clock"]; repository: string }>();
    for (const { kind, key, observation } of this.#told) {
      if (kind !== "repositories" || typeof observation["url"] !== "string") continue;
      const url = normalisedUrl(observation["url"]);
      if (url === "") continue;
      const claim = {
        clock: clockOf(KINDS["repositories"] as Kind, observation),
        repository: key["repository"] as string,
      };
      const best = claims.get(`//${url}`);
      const order = best === undefined
        ? 1
        : compareClocks(claim.clock, best.clock) || compareText(claim.repository, best.repository);
      if (order > 0) claims.set(`//${url}`, claim);
    }
    return new Map([...claims].map(([url, { repository }]) => [url, repository]));
  }

  /** One repository for each that a reference means, with what was said about it. */
  #repositories(facts: Row[], references: Row[]): Row[] {
    return [...new Set(references.map((r) => r["repository"] as string))].map((repository) => {
      const said = facts.find((row) => row["repository"] === repository);
      return said ?? { repository, full_name: null, default_branch: null, url: null };
    });
  }
}

/** What the tables hold after these calls. */
export function apply(calls: readonly Call[], choose: Choice = greatest): Tables {
  const model = new Model(choose);
  for (const call of calls) model.ingest(call);
  return model.tables();
}

/** `host/path` of a repository's URL, or of git's `user@host:path`, in lower case; empty for nothing. */
export function normalisedUrl(url: string): string {
  const text = url.trim().toLowerCase().split(/[?#]/)[0] as string;
  const rest = text.replace(/^[a-z0-9+.-]+:\/\//, "").replace(/^\/\//, "");
  const [authority = "", ...path] = rest.split("/");
  let host = authority.slice(authority.lastIndexOf("@") + 1);
  if (rest === text && !/:\d+$/.test(host)) host = host.replace(":", "/");
  let normalised = [host, ...path].join("/");
  while (normalised.endsWith("/")) normalised = normalised.slice(0, -1);
  return normalised.endsWith(".git") ? normalised.slice(0, -4) : normalised;
}

/** Sorts rows by their text, in place, so that equal tables are equal lists. */
export function sortRows(rows: Row[]): Row[] {
  const text = (row: Row) => JSON.stringify(Object.keys(row).sort().map((column) => [column, row[column]]));
  return rows.sort((a, b) => compareText(text(a), text(b)));
}

function readOne(source: string, name: string, told: Observation): Told {
  const kind = KINDS[name];
  if (kind === undefined) throw new Refused(`no such kind of fact: ${name}`);
  const observation = { ...told };
  if (kind.key.includes("source")) observation["source"] ??= source;
  if (kind.key.includes("attempt")) observation["attempt"] ??= 1;
  if (kind.key.includes("pushed_at")) observation["pushed_at"] ??= null;
  const known = [...kind.key, ...kind.latest.flat(), ...(kind.earliest ?? []), ...(kind.union ?? [])];
  for (const column of Object.keys(observation)) {
    if (![...known, "observed_at", "sequence"].includes(column)) throw new Refused(`${name} have no ${column}`);
  }
  for (const column of kind.key) {
    const missing = observation[column] === undefined || observation[column] === null;
    if (missing && column !== "pushed_at") throw new Refused(`${name} need ${column}`);
  }
  for (const [lead = "", ...mates] of kind.latest) {
    const alone = mates.find((mate) => mate in observation && !(lead in observation));
    if (alone !== undefined) throw new Refused(`${name}: ${alone} comes with ${lead}`);
  }
  for (const column of ["passed", "skipped"]) {
    // A report lists names; the suite that it speaks of makes them tests.
    const names = observation[column];
    if (Array.isArray(names)) observation[column] = names.map((test) => [observation["suite"] ?? "", test]);
  }
  const key = Object.fromEntries(kind.key.map((column) => [column, canonical(typeOf(column), observation[column])]));
  return { kind: name, key, observation };
}

function referencesOf({ key, observation }: Told): string[] {
  return [key["repository"], observation["repository"]].filter((text) => typeof text === "string");
}

function clockOf(kind: Kind, observation: Observation): Candidate["clock"] {
  const rank = kind.rank?.(observation) ?? 0;
  const time = canonical("time", observation["observed_at"]);
  const sequence = canonical("number", observation["sequence"]);
  return kind.clock === "rank" ? [rank, time, sequence] : [time, rank, sequence];
}

function compareClocks(a: Candidate["clock"], b: Candidate["clock"]): number {
  for (let i = 0; i < 3; i++) {
    const type = typeof (a[i] ?? b[i]) === "number" ? "number" : "time";
    const order = compare(type, a[i] ?? null, b[i] ?? null);
    if (order !== 0) return order;
  }
  return 0;
}

function compareCandidates(a: Candidate, b: Candidate, group: readonly string[]): number {
  const order = compareClocks(a.clock, b.clock);
  if (order !== 0) return order;
  for (const [i, column] of group.entries()) {
    const byValue = compare(typeOf(column), a.members[i] ?? null, b.members[i] ?? null);
    if (byValue !== 0) return byValue;
  }
  return 0;
}

function valuesOf(column: string, told: Told[]): string[] {
  return told.map(({ observation }) => canonical(typeOf(column), observation[column])).filter((v) =>
    typeof v === "string"
  );
}

function unionOf(column: string, told: Told[]): Value {
  const lists = told.map(({ observation }) => canonical(typeOf(column), observation[column])).filter(Array.isArray);
  const items = [...new Set(lists.flat() as string[])].sort(compareText);
  return items.length === 0 ? null : items;
}

function seconds(name: string, row: Row): Row {
  if (!["pipeline_runs", "jobs", "deployments"].includes(name)) return {};
  const asked = row[name === "deployments" ? "created_at" : "queued_at"] ?? null;
  const started = row["started_at"] ?? null;
  return {
    queue_seconds: secondsBetween(asked, started),
    duration_seconds: secondsBetween(started, row["finished_at"] ?? null),
  };
}

function distinct(rows: Row[]): Row[] {
  return [...new Map(rows.map((row) => [jsonText(row), row])).values()];
}
