/**
 * The facts that every source translates to: one schema per kind, named like its table. An observation carries its key, the provider's
 * time, and any subset of attributes: absent means not said, null means said to be nothing. Attributes of one group come with its lead.
 */

import { z } from "zod";
import {
  type Clean,
  cleanAttributes,
  cleanKey,
  cleanList,
  cleanNumber,
  cleanObject,
  cleanSha,
  cleanText,
  cleanTime,
  cleanUrl,
  MAX_KEY_BYTES,
} from "./clean.ts";

/** Most observations of one request. */
export const MAX_FACTS = 10_000;
const MAX_NOTES = 50;

/** The states of work; `finished` comes with an {@link Outcome}. */
export const statuses = ["queued", "running", "finished"] as const;
export type Status = typeof statuses[number];

/** How work ended; `error` is the machinery's failure and not the work's, `unknown` a word that the source does not know. */
export const outcomes = [
  "success",
  "failure",
  "timed_out",
  "error",
  "cancelled",
  "skipped",
  "neutral",
  "unknown",
] as const;
export type Outcome = typeof outcomes[number];

const cleaners = new Map<z.ZodType, Clean>();
function column<T extends z.ZodType>(schema: T, clean: Clean): T {
  cleaners.set(schema, clean);
  return schema;
}
const said = <T extends z.ZodType>(schema: T, clean: Clean) => column(schema.nullable().optional(), clean);

const int4 = cleanNumber(-2147483648, 2147483647, true);
const int8 = cleanNumber(Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER, true);
const float8 = cleanNumber(-Number.MAX_VALUE, Number.MAX_VALUE, false);
const asIs: Clean = (value) => value;

const encoder = new TextEncoder();
const key = column(
  z.string().min(1).refine((text) => text.length * 3 <= MAX_KEY_BYTES || encoder.encode(text).length <= MAX_KEY_BYTES),
  cleanKey,
);
const shaKey = column(
  z.string().regex(/^[0-9a-f]{7,64}$/),
  (value) => typeof value === "string" ? value.toLowerCase() : value,
);
const numberKey = column(z.int32(), asIs);
const attemptKey = column(z.int32().min(1).optional(), asIs);
const timeKey = column(z.string().nullable(), cleanTime);
const sourceKey = column(z.string().regex(/^[a-z0-9]+(-[a-z0-9]+)*$/).max(100), asIs);
const referenceText = z.string().regex(/^(?:[a-z0-9]+(?:-[a-z0-9]+)*:[^\p{Cc}]{1,255}|\/\/[^\p{Cc}\s]{3,1000})$/u);
const reference = column(referenceText, cleanText);

const text = said(z.string(), cleanText);
/** The key of another fact, or a part of it. */
const link = said(z.string(), cleanKey);
const sha = said(z.string(), cleanSha);
const url = said(z.string(), cleanUrl);
const time = said(z.string(), cleanTime);
const integer = said(z.number(), int4);
const bigInteger = said(z.number(), int8);
const number = said(z.number(), float8);
const yesNo = said(z.boolean(), asIs);
const texts = said(z.array(z.string()), cleanList(cleanText));
const links = said(z.array(z.string()), cleanList(cleanKey));
const shas = said(z.array(z.string()), cleanList(cleanSha));
const times = said(z.array(z.string()), cleanList(cleanTime));
const integers = said(z.array(z.number()), cleanList(int4));
const word = <const T extends readonly string[]>(words: T) => said(z.enum(words), asIs);
const status = word(statuses);
const outcome = word(outcomes);

const step = z.object({
  name: z.string().nullable().optional(),
  number: z.number().nullable().optional(),
  status: z.enum(statuses).nullable().optional(),
  outcome: z.enum(outcomes).nullable().optional(),
  started_at: z.string().nullable().optional(),
  finished_at: z.string().nullable().optional(),
});
/** A step of a job, in the provider's order. */
export type Step = z.infer<typeof step>;
const steps = said(
  z.array(step),
  cleanList(cleanObject({
    name: cleanText,
    number: int4,
    status: asIs,
    outcome: asIs,
    started_at: cleanTime,
    finished_at: cleanTime,
  })),
);
const attributes = said(
  z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()])),
  cleanAttributes,
);

const observation = { observed_at: time, sequence: bigInteger };
const ofRepository = { ...observation, repository: reference };
const identified = { ...ofRepository, external_id: key };
const actor = { actor: text, actor_is_bot: yesNo };
const author = { author: text, author_is_bot: yesNo };
const progress = { status, outcome, provider_outcome: text, finished_at: time };

/** The schema of each kind. Every one is strict: an attribute that no column holds is refused. */
export const schemas = {
  repositories: z.strictObject({ ...ofRepository, full_name: text, default_branch: text, url }),
  pipeline_runs: z.strictObject({
    ...identified,
    ...progress,
    ...actor,
    attempt: attemptKey,
    rerun_group: text,
    pipeline: text,
    number: bigInteger,
    trigger: text,
    branch: text,
    on_default_branch: yesNo,
    commit_sha: sha,
    pull_request_numbers: integers,
    queued_at: time,
    started_at: time,
    url,
  }),
  jobs: z.strictObject({
    ...identified,
    ...progress,
    run_external_id: link,
    attempt: integer,
    pipeline: text,
    name: text,
    branch: text,
    commit_sha: sha,
    runner_labels: texts,
    queued_at: time,
    started_at: time,
    steps,
    url,
  }),
  pull_requests: z.strictObject({
    ...ofRepository,
    ...author,
    number: numberKey,
    title: text,
    head_branch: text,
    base_branch: text,
    is_fork: yesNo,
    head_sha: sha,
    state: word(["open", "closed", "merged"]),
    merge_sha: sha,
    merged_at: time,
    closed_at: time,
    is_draft: yesNo,
    labels: texts,
    additions: integer,
    deletions: integer,
    changed_files: integer,
    opened_at: time,
    ready_times: times,
    url,
  }),
  reviews: z.strictObject({
    ...identified,
    pull_request_number: integer,
    reviewer: text,
    reviewer_is_bot: yesNo,
    state: text,
    submitted_at: time,
    url,
  }),
  pushes: z.strictObject({
    ...ofRepository,
    ref: key,
    before: shaKey,
    after: shaKey,
    pushed_at: timeKey,
    forced: yesNo,
    created: yesNo,
    deleted: yesNo,
    on_default_branch: yesNo,
    commits: shas,
    truncated: yesNo,
    pusher: text,
    pusher_is_bot: yesNo,
  }),
  commits: z.strictObject({
    ...ofRepository,
    ...author,
    sha: shaKey,
    authored_at: time,
    committed_at: time,
    title: text,
    reverts: shas,
    changed_paths: texts,
  }),
  deployments: z.strictObject({
    ...identified,
    ...progress,
    ...actor,
    name: text,
    environment: text,
    environment_tier: word(["production", "staging", "development", "other"]),
    commit_sha: sha,
    ref: text,
    created_at: time,
    started_at: time,
    url,
  }),
  releases: z.strictObject({
    ...identified,
    tag: text,
    commit_sha: sha,
    name: text,
    is_draft: yesNo,
    is_prerelease: yesNo,
    is_withdrawn: yesNo,
    created_at: time,
    published_at: time,
    url,
  }),
  incidents: z.strictObject({
    ...observation,
    source: sourceKey,
    external_id: key,
    repository: said(referenceText, cleanText),
    service: text,
    title: text,
    severity: text,
    opened_at: time,
    acknowledged_at: time,
    status: word(["open", "acknowledged", "resolved"]),
    resolved_at: time,
    is_withdrawn: yesNo,
    deployment_external_id: link,
    commit_sha: sha,
    url,
  }),
  test_runs: z.strictObject({
    ...identified,
    suite: link,
    commit_sha: sha,
    branch: text,
    pipeline: text,
    job: text,
    passed_count: integer,
    failed_count: integer,
    skipped_count: integer,
    error_count: integer,
    duration_seconds: number,
    started_at: time,
    passed: links,
    skipped: links,
    url,
  }),
  test_cases: z.strictObject({
    ...ofRepository,
    test_run_external_id: key,
    suite: column(z.string(), cleanKey),
    name: key,
    outcome: word(["passed", "failed", "error", "skipped"]),
    message: text,
    duration_seconds: number,
    retries: integer,
  }),
  rule_checks: z.strictObject({
    ...identified,
    rule: text,
    category: text,
    status: word(["compliant", "violation", "warning"]),
    commit_sha: sha,
    pull_request_number: integer,
    run_external_id: link,
    detail: text,
    checked_at: time,
    url,
  }),
  measurements: z.strictObject({
    ...ofRepository,
    name: key,
    external_id: key,
    value: number,
    unit: text,
    attributes,
    measured_at: time,
  }),
} as const;

export type FactKind = keyof typeof schemas;
/** One observation of a kind. */
export type Observation<K extends FactKind> = z.infer<typeof schemas[K]>;
/** Observations by kind, as `metrics.ingest` takes them. */
export type Facts = { [K in FactKind]?: Observation<K>[] };

const progressGroup = ["status", "outcome", "provider_outcome", "finished_at"];
const groups: Partial<Record<FactKind, readonly (readonly string[])[]>> = {
  pipeline_runs: [progressGroup, ["actor", "actor_is_bot"]],
  jobs: [progressGroup],
  pull_requests: [
    ["author", "author_is_bot"],
    ["state", "merge_sha", "merged_at", "closed_at"],
    ["additions", "deletions", "changed_files"],
  ],
  reviews: [["reviewer", "reviewer_is_bot"]],
  pushes: [["commits", "truncated"], ["pusher", "pusher_is_bot"]],
  commits: [["author", "author_is_bot"]],
  deployments: [progressGroup, ["actor", "actor_is_bot"]],
  incidents: [["status", "resolved_at"]],
  test_runs: [["passed_count", "failed_count", "skipped_count", "error_count"]],
  test_cases: [["outcome", "message", "duration_seconds", "retries"]],
  measurements: [["value", "unit", "attributes", "measured_at"]],
};

const rules = Object.fromEntries(
  Object.entries(schemas).map(([kind, schema]) => [
    kind,
    Object.entries(schema.shape).map(([name, type]) => [name, cleaners.get(type)!] as const),
  ]),
) as Record<FactKind, (readonly [string, Clean])[]>;

/** What became of a source's facts: ready for the database, or refused with a reason made of paths and codes. */
export type Checked = { facts: Facts; notes: string[] } | { wrong: string };

/**
 * Makes the facts of one request fit their columns and checks them: notes say what had to be changed (`jobs.name cut at 4096 bytes`), each
 * once. Refuses a key that is missing, too long or malformed, an attribute without its group's lead, and more than {@link MAX_FACTS}.
 */
export function checkFacts(facts: Facts): Checked {
  const notes = new Set<string>();
  const checked: Record<string, unknown[]> = {};
  let count = 0;
  for (const [kind, observations] of Object.entries(facts) as [FactKind, Record<string, unknown>[]][]) {
    if (observations.length === 0) continue;
    count += observations.length;
    if (count > MAX_FACTS) return { wrong: `more than ${MAX_FACTS} facts` };
    const kept: unknown[] = checked[kind] = [];
    for (const [index, given] of observations.entries()) {
      const { observation, wrong } = checkOne(kind, given, (note) => notes.size < MAX_NOTES && notes.add(note));
      if (wrong) return { wrong: `${kind}[${index}].${wrong}` };
      kept.push(observation);
    }
  }
  return { facts: checked as Facts, notes: [...notes] };
}

function checkOne(kind: FactKind, given: Record<string, unknown>, note: (text: string) => void) {
  const observation: Record<string, unknown> = {};
  for (const [name, clean] of rules[kind]) {
    const value = given[name];
    if (value !== undefined) observation[name] = clean(value, (what) => note(`${kind}.${name} ${what}`));
  }
  for (const name in given) {
    if (given[name] !== undefined && !(name in observation)) return { wrong: "unrecognized_keys" };
  }
  const issue = schemas[kind].safeParse(observation).error?.issues[0];
  if (issue) return { wrong: describeIssue(issue) };
  for (const [lead, ...mates] of groups[kind] ?? []) {
    if (observation[lead!] !== undefined) continue;
    const mate = mates.find((name) => observation[name] !== undefined);
    if (mate) return { wrong: `${mate}: said without ${lead}` };
  }
  return { observation };
}

/** An issue of a schema as path and code, without anything of the value: `workflow_job.id: invalid_type`. */
export function describeIssue(issue: { path: PropertyKey[]; code?: string | undefined }): string {
  const path = issue.path.map((part) => typeof part === "number" ? `[${part}]` : `.${String(part)}`).join("");
  return `${path.replace(/^\./, "") || "body"}: ${issue.code ?? "custom"}`;
}
