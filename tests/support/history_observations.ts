/**
 * Arbitraries of partial observations: the raw material of the fold, with attributes said, left out and said to be nothing,
 * and with clocks that tie.
 */

import fc from "fast-check";
import { sha } from "./history_github.ts";
import { KINDS, type Observation } from "./model.ts";
import { typeOf } from "./model_values.ts";

/** One observation and the kind of fact that it is about. */
export interface Said {
  kind: string;
  observation: Observation;
}

/** Stands in every name that must be told apart when one history is lived many times in one database. */
export const COPY = "{copy}";

/** The observation as the copy with this name makes it. */
export function ofCopy(said: Said, copy: string): Said {
  return JSON.parse(JSON.stringify(said).replaceAll(COPY, copy)) as Said;
}

const TIMES = [
  "2026-03-02T09:00:00Z",
  "2026-03-02T10:00:00+01:00",
  "2026-03-02T09:00:00.5Z",
  "2026-03-02T09:00:01Z",
  null,
];

// U+1F600 sorts before U+FFFD by UTF-16 units and after it by bytes.
const TEXTS = ["", "a", "b", "B", "é", "\u{fffd}", "\u{1f600}", "a b", null];
const LISTS = [[], ["a"], ["a", "b"], ["b", "a"], ["a b"], ['"'], null];
const OUTCOMES = ["success", "failure", "cancelled", "unknown"];

const DOMAINS: Record<string, readonly unknown[]> = {
  attempt: [1, 2, 10, null],
  attributes: [{}, { a: 1 }, { b: 1 }, { aa: 1, b: "x" }, { b: "x", aa: [true, null] }, null],
  environment_tier: ["production", "staging", null],
  pull_request_numbers: [[], [1], [9, 1], [10], null],
  retries: [0, 1, 2, null],
  rule_status: ["compliant", "violation", "warning", null],
  steps: [[], [{ number: 1, name: "build" }], [{ name: "build", number: 1, outcome: null }], null],
  value: [0, -1.5, 2, 10, 1e9, null],
};

function valuesFor(kind: string, column: string): readonly unknown[] {
  const named = DOMAINS[kind === "rule_checks" && column === "status" ? "rule_status" : column];
  if (named !== undefined) return named;
  const type = typeOf(column);
  if (type === "boolean") return [true, false, null];
  if (type === "number") return [0, 1, 2, 10, null];
  if (type === "time" || column.endsWith("_at")) return TIMES;
  if (type === "time[]") return [[], TIMES.slice(0, 1), TIMES.slice(1, 4), null];
  if (type === "text[]" || type === "tests") return LISTS;
  return TEXTS;
}

/** What the state of each kind may be said to be: an end only where there is one. */
function states(kind: string, lead: string): fc.Arbitrary<Observation> | null {
  const time = fc.constantFrom(...TIMES);
  const word = fc.constantFrom("a", "b", null);
  if (lead === "status" && ["pipeline_runs", "jobs", "deployments"].includes(kind)) {
    return fc.oneof(
      fc.record({ status: fc.constantFrom("queued", "running", null), provider_outcome: word }, {
        requiredKeys: ["status"],
      }),
      fc.record({
        status: fc.constant("finished"),
        outcome: fc.constantFrom(...OUTCOMES),
        provider_outcome: word,
        finished_at: time,
      }, { requiredKeys: ["status", "outcome"] }),
    );
  }
  if (lead === "state" && kind === "pull_requests") {
    return fc.oneof(
      fc.record({ state: fc.constantFrom("open", "closed"), closed_at: time }, { requiredKeys: ["state"] }),
      fc.record({
        state: fc.constant("merged"),
        merge_sha: fc.constantFrom(sha(1), sha(2), null),
        merged_at: time,
        closed_at: time,
      }, { requiredKeys: ["state"] }),
    );
  }
  if (lead === "status" && kind === "incidents") {
    return fc.oneof(
      fc.record({ status: fc.constantFrom("open", "acknowledged") }),
      fc.record({ status: fc.constant("resolved"), resolved_at: time }, { requiredKeys: ["status"] }),
    );
  }
  if (lead === "state" && kind === "reviews") {
    return fc.record({ state: fc.constantFrom("approved", "commented", "dismissed", "pending", null) });
  }
  if (lead === "outcome" && kind === "test_cases") {
    return fc.record({
      outcome: fc.constantFrom("passed", "failed", "error", "skipped", null),
      message: fc.constantFrom("a", "b", null),
      duration_seconds: fc.constantFrom(0.5, 10, null),
      retries: fc.constantFrom(0, 1, null),
    }, { requiredKeys: ["outcome"] });
  }
  if (kind === "repositories" && lead === "url") {
    const urls = [
      `https://git.example/${COPY}/app`,
      `https://git.example/${COPY}/APP.git`,
      `https://git.example/${COPY}/old`,
    ];
    return fc.record({ url: fc.constantFrom(...urls, null) });
  }
  if (kind === "incidents" && lead === "repository") {
    return fc.record({ repository: fc.constantFrom(`github:${COPY}`, `//git.example/${COPY}/app`, null) });
  }
  return null;
}

/** Some of the groups, each with its lead and any of its mates. */
function attributes(kind: string): fc.Arbitrary<Observation> {
  const { latest, earliest = [], union = [] } = KINDS[kind] as (typeof KINDS)[string];
  const groups = [...latest, ...[...earliest, ...union].map((column) => [column])].map((group) => {
    const lead = group[0] as string;
    const said = states(kind, lead) ?? fc.record(
      Object.fromEntries(group.map((column) => [column, fc.constantFrom(...valuesFor(kind, column))])),
      { requiredKeys: [lead] },
    );
    return fc.oneof({ weight: 3, arbitrary: said }, { weight: 2, arbitrary: fc.constant({}) });
  });
  return fc.tuple(...groups).map((said) => Object.assign({}, ...said));
}

const clock: fc.Arbitrary<Observation> = fc.record({
  observed_at: fc.constantFrom(...TIMES),
  sequence: fc.constantFrom(9, 10, 100, null),
}, { requiredKeys: [] });

const KEYS: Record<string, fc.Arbitrary<Observation>> = {
  incidents: fc.constant({ source: "pagerduty", external_id: COPY }),
  pull_requests: fc.constant({ number: 7 }),
  pipeline_runs: fc.constantFrom({ external_id: "11" }, { external_id: "11", attempt: 2 }),
  pushes: fc.constantFrom(
    { ref: "refs/heads/main", before: sha(1), after: sha(2), pushed_at: "2026-03-02T09:00:00Z" },
    { ref: "refs/heads/main", before: sha(1), after: sha(2), pushed_at: null },
    { ref: "refs/heads/main", before: sha(1), after: sha(2) },
  ),
  commits: fc.constant({ sha: sha(1) }),
  repositories: fc.constant({}),
  test_cases: fc.constant({ test_run_external_id: "11", suite: "unit", name: "adds" }),
  measurements: fc.constant({ name: "bundle size", external_id: "11" }),
};

/** Two to six observations of one key of this kind. */
export function observationsOf(kind: string): fc.Arbitrary<Said[]> {
  const named = KEYS[kind] ?? fc.constant({ external_id: "11" });
  const repository = kind === "incidents" ? {} : { repository: `github:${COPY}` };
  return named.chain((key) =>
    fc.array(
      fc.tuple(attributes(kind), clock).map(([said, when]) => ({
        kind,
        observation: { ...repository, ...key, ...when, ...said },
      })),
      { minLength: 2, maxLength: 6 },
    )
  );
}

/**
 * Two to six observations of what makes a pull request's story: it and an earlier one from the same branch, their reviews,
 * pushes and commits, told under an id and under a URL that two repositories claim in turn.
 */
export function pullRequestStory(): fc.Arbitrary<Said[]> {
  const minutes = ["00", "10", "20", "30", "40"].map((minute) => `2026-03-02T09:${minute}:00Z`);
  const time = fc.constantFrom(...minutes);
  const shas = [sha(1), sha(2), sha(3)];
  const references = [`github:${COPY}`, `github:${COPY}b`, `//git.example/${COPY}/app`];
  const reference = fc.constantFrom(references[0] as string, references[0] as string, references[2] as string);
  const said = (kind: string, shape: Record<string, fc.Arbitrary<unknown>>, required: string[]): fc.Arbitrary<Said> =>
    fc.record<Observation>({ repository: reference, observed_at: time, ...shape }, {
      requiredKeys: ["repository", ...required],
    })
      .map((observation) => ({ kind, observation }));
  return fc.array(
    fc.oneof(
      said("repositories", {
        repository: fc.constantFrom(references[0], references[1]),
        url: fc.constant(`https://git.example/${COPY}/app`),
      }, ["url"]),
      said("pull_requests", {
        number: fc.constantFrom(1, 2, 2),
        author: fc.constantFrom("dev-1", "dev-2"),
        head_branch: fc.constantFrom("topic", "topic", "other"),
        head_sha: fc.constantFrom(...shas),
        is_fork: fc.constantFrom(false, false, true),
        is_draft: fc.boolean(),
        ready_times: fc.subarray(minutes, { maxLength: 2 }),
        opened_at: time,
      }, ["number", "head_branch"]),
      fc.tuple(
        said("pull_requests", { number: fc.constantFrom(1, 2) }, ["number"]),
        fc.oneof(
          fc.record({ state: fc.constant("closed"), closed_at: time }),
          fc.record({
            state: fc.constant("merged"),
            merge_sha: fc.constantFrom(...shas),
            merged_at: time,
            closed_at: time,
          }),
        ),
      ).map(([{ kind, observation }, state]) => ({ kind, observation: { ...observation, ...state } })),
      said("reviews", {
        external_id: fc.constantFrom("r1", "r2"),
        pull_request_number: fc.constantFrom(1, 2, 2),
        reviewer: fc.constantFrom("dev-1", "dev-2", "dev-3", null),
        reviewer_is_bot: fc.constantFrom(true, false, false),
        state: fc.constantFrom("approved", "approved", "commented", "dismissed", "pending"),
        submitted_at: time,
      }, ["external_id", "reviewer", "state", "submitted_at"]),
      said("pushes", {
        ref: fc.constantFrom("refs/heads/topic", "refs/heads/topic", "refs/heads/main"),
        before: fc.constant(sha(9)),
        after: fc.constantFrom(...shas),
        pushed_at: fc.oneof(time, fc.constant(null)),
        on_default_branch: fc.constantFrom(true, false, null),
        deleted: fc.constantFrom(true, false, false),
        commits: fc.subarray(shas),
      }, ["ref", "before", "after", "commits"]),
      said("commits", { sha: fc.constantFrom(...shas), authored_at: time }, ["sha", "authored_at"]),
    ),
    { minLength: 2, maxLength: 6 },
  );
}
