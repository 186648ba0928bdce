/**
 * Arbitraries of what the numbers are made from: histories of one to three repositories as calls of `metrics.ingest`, rules of an
 * administrator, and arguments of a call.
 *
 * Few commits, few names and times on a coarse grid, so that ties, collisions and commits that come again are common.
 */

import fc from "fast-check";
import { sha } from "./history_github.ts";
import { callTelling } from "./history_copies.ts";
import type { Said } from "./history_observations.ts";
import type { Call, Observation } from "./model.ts";
import type { Rule } from "./model_numbers.ts";
import { addDays, startOf } from "./model_periods.ts";

/** One history with the rules under which it is read. */
export interface NumbersHistory {
  /** The Monday on which it begins. */
  begins: string;
  /** The first call names every repository, so that rules can be about them. */
  calls: Call[];
  rules: Rule[];
}

const REPOSITORIES = ["github:1", "gitlab:2", "github:3"];
const NAMES = ["acme/one", "acme/two", "acme/three"];
/** Who delivers, one after the other. */
const SENDERS = ["test", "github", "gitlab"];
const ENVIRONMENTS = ["production", "production", "prod-eu", "prod-eu", "prod-us", "blue", "staging", null];
const OUTCOMES = ["success", "success", "success", "success", "failure", "error", "timed_out", "cancelled", null];
const ZEROS = "0".repeat(40);

/** How many commits a repository has before their names come again. */
const COMMITS = 16;

/**
 * Mondays before which or after which clocks change in one of the zones (in Havana over midnight), or the week 53 of a year is; and a recent
 * one.
 */
function mondays(): string[] {
  const recent = startOf(addDays(Temporal.Now.plainDateISO("UTC").toString(), -14), "week");
  return ["2026-03-02", "2025-10-20", "2020-12-21", recent];
}

/** Hours until the next thing happens; often none, so that much carries the same time. */
const pause = fc.constantFrom(0, 0, 0, 1, 1, 6, 20, 40);
const lag = fc.constantFrom(0, 1, 5, 30, -6);
const isRare = fc.constantFrom(false, false, false, false, true);

const commit = fc.record({
  lag: fc.oneof({ weight: 6, arbitrary: lag }, { weight: 1, arbitrary: fc.constant(null) }),
  isTold: fc.constantFrom(true, true, true, true, false),
  isBot: isRare,
  paths: fc.constantFrom(null, [], ["api/a.ts"], ["web/b/c.ts"], ["api/a.ts", "web/b.ts"], ["README.md"]),
  /** How many commits before this one is the one that it reverts. */
  reverts: fc.constantFrom(null, null, null, 1, 2, 3),
  digits: fc.constantFrom(40, 40, 7, 6),
});

const push = fc.record({
  kind: fc.constant("push" as const),
  how: fc.constantFrom(
    "chained",
    "chained",
    "chained",
    "chained",
    "chained",
    "chained",
    "chained",
    "missing",
    "truncated",
    "unlisted",
    "back",
    "elsewhere",
    "again",
    "undone",
  ),
  commits: fc.array(commit, { minLength: 1, maxLength: 3 }),
  steps: fc.constantFrom(1, 1, 2, 3),
  isTimed: fc.constantFrom(true, true, true, false),
  pause,
});

const review = fc.record({
  reviewer: fc.constantFrom("dev-1", "dev-2", "dev-3", "checks[bot]"),
  state: fc.constantFrom("approved", "approved", "commented"),
  lag: fc.constantFrom(0, 1, 6),
});

const pullRequest = fc.record({
  kind: fc.constant("pull request" as const),
  branch: fc.constantFrom("topic", "topic", "fix"),
  commits: fc.array(commit, { minLength: 1, maxLength: 2 }),
  isFork: isRare,
  isBot: isRare,
  isDraft: isRare,
  labels: fc.constantFrom([], [], ["hotfix"], ["Urgent", "ui"]),
  openedAfter: fc.constantFrom(0, 1, 6),
  reviews: fc.array(review, { maxLength: 2 }),
  end: fc.constantFrom("squashed", "squashed", "rebased", "merged", "forwarded", "closed", "open"),
  isPushMissing: isRare,
  mergedAfter: fc.constantFrom(0, 1, 20),
  pause,
});

const deployment = fc.record({
  kind: fc.constant("deployment" as const),
  name: fc.constantFrom("api", "api", "web", null),
  environment: fc.constantFrom<string | null>(...ENVIRONMENTS),
  tier: fc.constantFrom(undefined, undefined, undefined, undefined, undefined, "production", "staging"),
  outcome: fc.constantFrom<string | null>(...OUTCOMES),
  /** What is deployed: the branch's tip, so many commits before it, what was deployed before that, or something else. */
  what: fc.constantFrom("tip", "tip", "earlier", "again", "unknown", "nothing"),
  steps: fc.constantFrom(0, 1, 1, 2, 3),
  /** Which times are told, and how many hours lie between them. */
  times: fc.constantFrom("finished", "finished", "all", "started", "created"),
  lasts: fc.constantFrom(0, 0, 1, 3),
  hasUrlOnly: isRare,
  pause,
});

/** One as most are: without a few in a row there is no rollback, and nothing but first deployments. */
const shipment = fc.tuple(deployment, fc.constantFrom("tip", "tip", "earlier", "again")).map(([event, what]) => ({
  ...event,
  name: "api" as const,
  environment: "production",
  tier: undefined,
  outcome: "success",
  what,
  hasUrlOnly: false,
}));

const incident = fc.record({
  kind: fc.constant("incident" as const),
  about: fc.constantFrom("repository", "repository", "service", "both", "nothing"),
  service: fc.constantFrom("acme/one", "API", "web", "shop", "acme/two"),
  names: fc.constantFrom(null, null, "deployment", "commit", "something"),
  steps: fc.constantFrom(1, 1, 2, 3),
  after: fc.constantFrom(0, 1, 6, 24, 30, -1),
  resolvedAfter: fc.constantFrom(null, 0, 1, 6, 30, -6),
  isWithdrawn: isRare,
  pause,
});

const run = fc.record({
  kind: fc.constant("run" as const),
  pipeline: fc.constantFrom("build", "deploy", "deploy"),
  tries: fc.array(
    fc.record({
      outcome: fc.constantFrom(
        "success",
        "success",
        "failure",
        "timed_out",
        "error",
        "cancelled",
        "skipped",
        "unknown",
        null,
      ),
      queued: fc.constantFrom(null, 0, 0.5),
      lasts: fc.constantFrom(null, 0, 1, 2),
      jobs: fc.array(fc.constantFrom("success", "success", "failure", "failure", "timed_out", "skipped", "unknown"), {
        maxLength: 2,
      }),
    }),
    { minLength: 1, maxLength: 3 },
  ),
  group: fc.constantFrom("own", "own", "shared", null),
  isRerunInPlace: fc.boolean(),
  branch: fc.constantFrom("main", "main", "topic", null),
  isDefault: fc.constantFrom(true, true, false, null),
  isBot: isRare,
  runner: fc.constantFrom(undefined, ["ubuntu-latest"], ["gpu"], ["self-hosted", "gpu"], ["macos-latest", "gpu"]),
  /** How the steps of the jobs end; NULL where the sender tells none. */
  parts: fc.constantFrom<(string | null)[] | null>(null, null, [], ["success"], ["success", "failure", null], [
    "skipped",
    "success",
    "unknown",
  ]),
  /** Whether another sender, who knows only the URL, tells of the jobs. */
  hasUrlOnly: isRare,
  steps: fc.constantFrom(0, 0, 1, 2),
  pause,
});

const release = fc.record({
  kind: fc.constant("release" as const),
  isDraft: isRare,
  isPrerelease: isRare,
  isWithdrawn: isRare,
  isPublished: fc.constantFrom(true, true, true, false),
  steps: fc.constantFrom(0, 0, 1),
  pause,
});

const rename = fc.record({
  kind: fc.constant("rename" as const),
  branch: fc.constantFrom("main", "trunk", null),
  isClaiming: fc.boolean(),
  pause,
});

const TESTS = ["adds", "waits", "writes"];

const check = fc.record({
  kind: fc.constant("check" as const),
  rule: fc.constantFrom("signed", "reviewed"),
  category: fc.constantFrom("safety", "style"),
  status: fc.constantFrom("compliant", "violation", "warning"),
  counts: fc.constantFrom([3, 2, 1, 0], [1, 0, 0, 1], [0, 0, 2, 0], [5, 1, 0, 0], [4, 15, 0, 1], [20, 0, 0, 0]),
  seconds: fc.constantFrom(undefined, 0, 1.5, 60),
  passed: fc.subarray(TESTS),
  failed: fc.subarray(TESTS),
  retried: fc.constantFrom(undefined, undefined, ...TESTS),
  measured: fc.constantFrom(undefined, 0, 1, 2.5, 1000),
  unit: fc.constantFrom("bytes", "bytes", "pages", null),
  pause,
});

type Of<A> = A extends fc.Arbitrary<infer T> ? T : never;
type Event =
  | Of<typeof push>
  | Of<typeof pullRequest>
  | Of<typeof deployment>
  | Of<typeof incident>
  | Of<typeof run>
  | Of<typeof release>
  | Of<typeof rename>
  | Of<typeof check>;

/** What happened to one to three repositories over about three weeks, in the order in which it happened. */
export function numbersHistory(): fc.Arbitrary<NumbersHistory> {
  const event: fc.Arbitrary<Event> = fc.oneof(
    { weight: 7, arbitrary: push },
    { weight: 5, arbitrary: pullRequest },
    { weight: 4, arbitrary: deployment },
    { weight: 12, arbitrary: shipment },
    { weight: 3, arbitrary: incident },
    { weight: 2, arbitrary: run },
    { weight: 1, arbitrary: release },
    { weight: 1, arbitrary: rename },
    { weight: 1, arbitrary: check },
  );
  const events = fc.array(fc.tuple(fc.constantFrom(0, 0, 0, 0, 1, 1, 2), event), {
    minLength: 1,
    maxLength: 40,
    size: "max",
  });
  // One webhook brings a fact or two; what is fetched later brings many.
  const together = fc.array(fc.constantFrom(1, 1, 2, 3, 8, 20), { minLength: 1, maxLength: 5 });
  // Without a first push most deployments would be of no known commit; some repositories tell of none.
  const start = fc.option(push, { freq: 6, nil: null });
  const starts = fc.tuple(start, start, start);
  return fc.tuple(fc.constantFrom(...mondays()), starts, events, together, someRules()).map(
    ([begins, starts, more, together, rules]) => {
      const lives = REPOSITORIES.map((reference, i) => new Life(reference, NAMES[i] as string, begins));
      const which = new Set([0, ...more.map(([which]) => which)]);
      const first = [...which].flatMap((i) => starts[i] ? [[i, starts[i]] as [number, Event]] : []);
      const events = [...first, ...more];
      const said = events.flatMap(([which, event]) => (lives[which] as Life).live(event));
      const named = lives.filter((_, i) => which.has(i)).map((life) => life.named());
      const mine = rules.filter(({ arguments: { repository } }) =>
        repository === undefined || which.has(REPOSITORIES.indexOf(repository as string))
      );
      const calls = [named, ...inParts(said, together)].map((s, i) => {
        const { delivery, facts } = callTelling(`d${i}`, s);
        return { delivery: { ...delivery, source: SENDERS[i % SENDERS.length] as string }, facts: facts ?? {} };
      });
      return { begins, calls, rules: mine };
    },
  );
}

/** The list in parts of these sizes, over and over. */
function inParts<T>(list: readonly T[], sizes: readonly number[]): T[][] {
  const parts: T[][] = [];
  for (let start = 0; start < list.length;) {
    const size = sizes[parts.length % sizes.length] as number;
    parts.push(list.slice(start, start + size));
    start += size;
  }
  return parts;
}

/** Rules that an administrator may have made, about the repositories of these histories. */
export function someRules(): fc.Arbitrary<Rule[]> {
  const service = (name: string, more: Record<string, unknown>): Rule => ({
    call: "add_service",
    arguments: { name, repository: REPOSITORIES[0], may_match_nothing: true, ...more },
  });
  const monorepo = [
    service("api", { deployment_pattern: "^api$", path_globs: ["api/**"] }),
    service("web", { environment_pattern: "^prod", path_globs: ["web/**", "*.md"] }),
  ];
  const apart = [
    service("api", { deployment_pattern: "^api$", path_globs: ["api/**"] }),
    service("web", { deployment_pattern: "^web$", path_globs: ["web/**", "*.md"] }),
  ];
  const ofServices: fc.Arbitrary<Rule[]> = fc.constantFrom(
    [],
    [],
    [],
    monorepo,
    monorepo.toReversed(),
    apart,
    apart.toReversed(),
    [service("shop", { rollout_pattern: "^prod-" })],
    [service("shop", { source: "pipeline", pipeline: "deploy" })],
    [service("shop", { source: "releases" }), service("api", { deployment_pattern: "api" })],
    [service("all", {}), service("builds", { source: "pipeline", pipeline: "build", path_globs: ["api/*"] })],
    [service("two", { repository: REPOSITORIES[1], environment_pattern: "production" })],
  );
  const ofTiers: fc.Arbitrary<Rule[]> = fc.constantFrom([], [], [
    { call: "set_environment_tier", arguments: { pattern: "^blue$", tier: "production" } },
    { call: "set_environment_tier", arguments: { pattern: "us", tier: "staging" } },
  ]);
  // Some histories are old: nothing of them may be beyond what is kept.
  const keeping = { job_days: "36500", test_case_days: "36500" };
  const settings: fc.Arbitrary<Record<string, string>> = fc.oneof(
    fc.constant({}),
    fc.record({
      time_zone: fc.constantFrom("UTC", "Europe/Berlin", "America/New_York", "America/Havana"),
      rollout_seconds: fc.constantFrom("3600", "10800"),
      incident_window_seconds: fc.constantFrom("86400", "3600"),
      hotfix_labels: fc.constantFrom("{hotfix}", "{urgent,hotfix}"),
    }, { requiredKeys: [] }),
  );
  const price = (label: string, price_per_minute: number, valid_from: string, is_hosted: boolean): Rule => ({
    call: "set_price",
    arguments: { label, price_per_minute, valid_from, is_hosted },
  });
  const ofPrices: fc.Arbitrary<Rule[]> = fc.constantFrom<Rule[]>(
    [],
    [],
    [price("gpu", 0.12, "2020-01-06", false)],
    [price("gpu", 0.05, "2020-01-06", true), price("gpu", 0.07, "2026-03-09", false)],
    [price("self-hosted", 0, "2020-01-06", false), price("ubuntu-latest", 0.01, "2026-03-09", true)],
  );
  return fc.tuple(settings, ofTiers, ofServices, ofPrices).map(([settings, tiers, services, prices]) => [
    ...Object.entries({ ...keeping, ...settings }).map(([name, value]) => ({
      call: "set_setting",
      arguments: { name, value },
    })),
    ...prices,
    ...tiers,
    ...services,
  ]);
}

/** Arguments that a function may be called with, its groups apart. */
export interface SomeArguments {
  since?: string;
  until?: string;
  bucket?: string;
  service?: string;
  repository?: string;
  environment?: string;
  branch?: string;
  bots?: boolean;
}

/** A history with arguments of calls about it, and how it is told. */
export interface NumbersCase extends NumbersHistory {
  arguments: SomeArguments[];
  /** The seed of the order in which its calls are made. */
  shuffle: number;
  /** After how many calls the rules are made. */
  rulesAfter: number;
  /** Whose turn it is among the groups that functions are asked by. */
  turn: number;
}

/** A random history, and all that it takes to compare its numbers. */
export function numbersCase(): fc.Arbitrary<NumbersCase> {
  const period = fc.record({
    offset: fc.constantFrom(0, 0, 1, 2, 4, 6, 7, 9, 14, -7, -14),
    days: fc.constantFrom(40, 21, 14, 7, 7, 3, 1),
  });
  const others = fc.record({
    bucket: fc.constantFrom("none", "day", "week", "week", "month"),
    bots: fc.boolean(),
    branch: fc.constantFrom("default", "main", "topic"),
    one: fc.constantFrom<SomeArguments>(
      {},
      {},
      {},
      {},
      { service: "acme/one" },
      { service: "api" },
      { service: "shop" },
      { service: "nothing of that name" },
      { repository: "acme/one" },
      { repository: "acme/two" },
      { repository: "nothing of that name" },
      { service: "web", repository: "acme/one" },
      { environment: "production" },
      { environment: "prod-eu" },
    ),
  }, { requiredKeys: ["one"] });
  const asked = fc.array(fc.tuple(period, others), { minLength: 1, maxLength: 3 });
  const told = fc.tuple(numbersHistory(), asked, fc.integer(), fc.nat(30), fc.nat(59));
  return told.map(([history, asked, shuffle, rulesAfter, turn]) => ({
    ...history,
    arguments: asked.map(([{ offset, days }, { one, ...others }]) => {
      const since = addDays(history.begins, offset);
      return { since, until: addDays(since, days), ...others, ...one };
    }),
    shuffle,
    // Where deployments are known, rules that match one of them twice are refused.
    rulesAfter: isAmbiguous(history.rules) ? 0 : rulesAfter,
    turn,
  }));
}

/** Whether a deployment could match two of these services. */
function isAmbiguous(rules: readonly Rule[]): boolean {
  const services = rules.filter(({ call, arguments: named }) =>
    call === "add_service" && named["source"] === undefined
  );
  return services.length > 1 && services.some(({ arguments: named }) => named["deployment_pattern"] === undefined);
}

/** Lives events of one repository, one after the other, and says what its senders would. */
class Life {
  readonly #reference: string;
  readonly #url: string;
  readonly #name: string;
  readonly #monday: number;
  #hours = 8;
  #id = 0;
  #commit = 0;
  #branch = "main";
  /** What was ever pushed to the default branch, in order; the last is its tip. */
  #line: string[] = [ZEROS];
  /** The last pushes, for those that are told or made again. */
  #pushes: Observation[] = [];
  #deployed: { id: string; sha: string | null }[] = [];

  constructor(reference: string, name: string, begins: string) {
    this.#reference = reference;
    this.#url = `//git.example/${name}`;
    this.#name = name;
    this.#monday = Date.parse(`${begins}T00:00:00Z`);
  }

  /** Says that the repository is there, and most say where. */
  named(): Said {
    const url = this.#isSilent ? {} : { url: `https:${this.#url}` };
    return this.#say("repositories", {
      observed_at: this.#time(-24),
      full_name: this.#name,
      default_branch: "main",
      ...url,
    });
  }

  live(event: Event): Said[] {
    this.#hours += event.pause;
    switch (event.kind) {
      case "push":
        return this.#push(event);
      case "pull request":
        return this.#pullRequest(event);
      case "deployment":
        return [this.#deployment(event)];
      case "incident":
        return [this.#incident(event)];
      case "run":
        return this.#run(event);
      case "release":
        return [this.#release(event)];
      case "rename":
        return [this.#rename(event)];
      case "check":
        return this.#check(event);
    }
  }

  /** GitLab tells neither when a push was, nor that it was forced. */
  get #isSilent(): boolean {
    return this.#reference.startsWith("gitlab");
  }

  #time(hours = 0): string {
    return new Date(this.#monday + (this.#hours + hours) * 3_600_000).toISOString();
  }

  #say(kind: string, said: Observation): Said {
    return { kind, observation: { repository: this.#reference, observed_at: this.#time(), ...said } };
  }

  #newSha(): string {
    return sha(1 + this.#commit++ % COMMITS);
  }

  /** A commit of the default branch, counted back from its tip; the oldest where there are not so many. */
  #before(steps: number): string {
    return this.#line.at(-1 - steps) ?? this.#line[1] ?? ZEROS;
  }

  #commits(shas: string[], commits: Of<typeof commit>[], hours = 0): Said[] {
    return shas.flatMap((sha, i) => {
      const { lag, isTold, isBot, paths, reverts, digits } = commits[i] as Of<typeof commit>;
      if (!isTold) return [];
      const reverted = reverts === null ? ZEROS : this.#before(reverts);
      return [this.#say("commits", {
        sha,
        authored_at: lag === null ? null : this.#time(hours - lag),
        author: isBot ? "renovate[bot]" : "dev-1",
        author_is_bot: isBot,
        changed_paths: paths,
        ...(reverted === ZEROS ? {} : { reverts: [reverted.slice(0, digits)] }),
      })];
    });
  }

  #pushed(before: string, after: string, commits: string[], more: Observation = {}): Said {
    const isNew = before === ZEROS;
    const said = this.#say("pushes", {
      ref: `refs/heads/${this.#branch}`,
      before,
      after,
      pushed_at: this.#isSilent ? null : this.#time(),
      commits,
      truncated: false,
      on_default_branch: true,
      ...(this.#isSilent ? {} : { forced: false, created: isNew, deleted: false }),
      ...more,
    });
    this.#pushes.push(said.observation);
    return said;
  }

  #push({ how, commits, steps, isTimed }: Event & { kind: "push" }): Said[] {
    const tip = this.#before(0);
    const last = this.#pushes.at(-1);
    if (how === "again" && last !== undefined) {
      // Another sender tells of the same push, with less, or the branch comes the same way again.
      return [this.#pushed(last["before"] as string, last["after"] as string, last["commits"] as string[], {
        ...(isTimed ? {} : { pushed_at: null }),
        ...(steps > 1 ? { commits: [], truncated: true } : {}),
        on_default_branch: steps > 2 ? null : true,
      })];
    }
    if (how === "undone" && last !== undefined) {
      this.#line.push(last["before"] as string);
      return [this.#pushed(last["after"] as string, last["before"] as string, [], isTimed ? { forced: true } : {})];
    }
    if (how === "back" && this.#line.length > 1) {
      const after = this.#before(steps);
      this.#line.push(after);
      return [this.#pushed(tip, after, [], this.#isSilent ? {} : { forced: true })];
    }
    const shas = commits.map(() => this.#newSha());
    const after = shas.at(-1) as string;
    const told = this.#commits(shas, commits);
    this.#line.push(...shas);
    if (how === "missing") return told;
    if (how === "elsewhere") {
      return [...told, this.#pushed(tip, after, steps > 2 ? [] : shas, this.#isSilent ? {} : { forced: true })];
    }
    if (how === "truncated") return [...told, this.#pushed(tip, after, shas.slice(1), { truncated: true })];
    if (how === "unlisted") return [...told, this.#pushed(tip, after, shas.slice(0, -1), { truncated: true })];
    return [...told, this.#pushed(tip, after, shas, steps > 2 ? { on_default_branch: null } : {})];
  }

  #pullRequest(event: Event & { kind: "pull request" }): Said[] {
    const { branch, commits, isFork, isBot, isDraft, labels, reviews, end } = event;
    const number = this.#id += 1;
    const own = commits.map(() => this.#newSha());
    const head = own.at(-1) as string;
    const said = this.#commits(own, commits);
    const authored = said.map(({ observation }) => observation["authored_at"]);
    if (!isFork) {
      const ref = `refs/heads/${branch}`;
      said.push(this.#say("pushes", {
        ref,
        before: ZEROS,
        after: head,
        pushed_at: this.#isSilent ? null : this.#time(),
        commits: own,
        on_default_branch: false,
      }));
    }
    this.#hours += event.openedAfter;
    const opened = {
      number,
      author: isBot ? "renovate[bot]" : "dev-1",
      author_is_bot: isBot,
      head_branch: branch,
      base_branch: this.#branch,
      is_fork: isFork,
      head_sha: head,
      labels,
      opened_at: this.#time(),
    };
    said.push(this.#say("pull_requests", { ...opened, state: "open", is_draft: isDraft }));
    if (isDraft) said.push(this.#say("pull_requests", { number, is_draft: false, ready_times: [this.#time(1)] }));
    for (const { reviewer, state, lag } of reviews) {
      said.push(this.#say("reviews", {
        external_id: `${this.#id += 1}`,
        pull_request_number: number,
        reviewer,
        reviewer_is_bot: reviewer.endsWith("[bot]"),
        state,
        submitted_at: this.#time(lag),
      }));
    }
    this.#hours += event.mergedAfter;
    if (end === "open") return said;
    const closed_at = this.#time();
    if (end === "closed") return [...said, this.#say("pull_requests", { number, state: "closed", closed_at })];

    const tip = this.#before(0);
    const brought = end === "forwarded"
      ? own
      : end === "squashed"
      ? [this.#newSha()]
      : end === "merged"
      ? [...own, this.#newSha()]
      : own.map(() => this.#newSha());
    const merge_sha = brought.at(-1) as string;
    if (end === "rebased") {
      // A rebase keeps when a commit was written.
      for (const [i, sha] of brought.entries()) {
        if (authored[i] !== undefined) said.push(this.#say("commits", { sha, authored_at: authored[i] }));
      }
    } else if (end !== "forwarded") {
      said.push(
        this.#say("commits", { sha: merge_sha, authored_at: this.#time(), author: "dev-1", author_is_bot: false }),
      );
    }
    this.#line.push(...brought);
    if (!event.isPushMissing) said.push(this.#pushed(tip, merge_sha, brought));
    said.push(this.#say("pull_requests", {
      number,
      state: "merged",
      merge_sha,
      merged_at: closed_at,
      closed_at,
      labels,
      head_sha: head,
      head_branch: branch,
    }));
    return said;
  }

  #deployment(event: Event & { kind: "deployment" }): Said {
    const { name, environment, tier, outcome, what, steps, times, lasts, hasUrlOnly } = event;
    const commits: Record<string, string | null> = {
      tip: this.#before(0),
      earlier: this.#before(steps),
      again: this.#deployed.at(-1 - steps)?.sha ?? this.#before(1),
      unknown: sha(200 + steps),
      nothing: null,
    };
    const commit_sha = commits[what] === ZEROS ? null : commits[what] ?? null;
    const id = `${this.#id += 1}`;
    this.#deployed.push({ id, sha: commit_sha });
    return this.#say("deployments", {
      ...(hasUrlOnly ? { repository: this.#url } : {}),
      external_id: id,
      name,
      environment,
      ...(tier === undefined ? {} : { environment_tier: tier }),
      commit_sha,
      ...(outcome === null
        ? { status: "running" }
        : { status: "finished", outcome, finished_at: ["finished", "all"].includes(times) ? this.#time(lasts) : null }),
      ...(["started", "all"].includes(times) ? { started_at: this.#time() } : {}),
      ...(["created", "all"].includes(times) ? { created_at: this.#time(-lasts) } : {}),
    });
  }

  #incident(event: Event & { kind: "incident" }): Said {
    const { about, service, names, steps, after, resolvedAfter, isWithdrawn } = event;
    const named = this.#deployed.at(-steps);
    return this.#say("incidents", {
      source: "pagerduty",
      repository: ["repository", "both"].includes(about) ? this.#reference : null,
      external_id: `${this.#reference} ${this.#id += 1}`,
      ...(["service", "both"].includes(about) ? { service } : {}),
      ...(names === "deployment" && named !== undefined ? { deployment_external_id: named.id } : {}),
      ...(names === "commit" ? { commit_sha: named?.sha ?? this.#before(steps) } : {}),
      ...(names === "something" ? { deployment_external_id: "something", commit_sha: sha(250) } : {}),
      opened_at: this.#time(after),
      is_withdrawn: isWithdrawn,
      ...(resolvedAfter === null
        ? { status: "open" }
        : { status: "resolved", resolved_at: this.#time(after + resolvedAfter) }),
    });
  }

  #run(event: Event & { kind: "run" }): Said[] {
    const { pipeline, tries, group, isRerunInPlace, branch, isDefault, isBot, steps } = event;
    const { runner, parts, hasUrlOnly } = event;
    const first = this.#id += 1;
    const tip = this.#before(steps);
    const commit_sha = tip === ZEROS ? sha(1) : tip;
    return tries.flatMap(({ outcome, queued, lasts, jobs }, i) => {
      if (!isRerunInPlace && i > 0) this.#id += 1;
      const external_id = `${this.#id}`;
      const end = (outcome: string | null, hours: number | null) =>
        outcome === null ? { status: "running" } : {
          status: "finished",
          outcome,
          ...(outcome === "unknown" ? { provider_outcome: "stale" } : {}),
          finished_at: hours === null ? null : this.#time(hours),
        };
      const begun = {
        ...(queued === null ? {} : { queued_at: this.#time(-queued) }),
        ...(lasts === 2 && queued !== null ? {} : { started_at: this.#time() }),
      };
      const said = [
        this.#say("pipeline_runs", {
          external_id,
          attempt: isRerunInPlace ? i + 1 : 1,
          rerun_group: group === "own" ? `g${first}` : group,
          pipeline,
          branch,
          on_default_branch: isDefault,
          commit_sha,
          actor: isBot ? "renovate[bot]" : "dev-1",
          actor_is_bot: isBot,
          ...begun,
          ...end(outcome, lasts),
        }),
        ...jobs.map((outcome, j) =>
          this.#say("jobs", {
            ...(hasUrlOnly ? { repository: this.#url } : {}),
            external_id: `${external_id}-${i}-${j}`,
            ...(runner === undefined ? {} : { runner_labels: runner }),
            ...(parts === null ? {} : { steps: this.#steps(parts) }),
            run_external_id: external_id,
            attempt: i + 1,
            pipeline,
            name: j === 0 ? "test" : "lint",
            branch,
            commit_sha,
            ...begun,
            ...end(outcome, lasts),
          })
        ),
      ];
      this.#hours += 1;
      return said;
    });
  }

  /** Steps of a job, a quarter of an hour each; one that is still under way has no end. */
  #steps(outcomes: readonly (string | null)[]): Observation[] {
    return outcomes.map((outcome, i) => ({
      number: i + 1,
      name: i === 0 ? "set up" : "work",
      outcome,
      started_at: this.#time(i / 4),
      finished_at: outcome === null ? null : this.#time(i / 4 + (outcome === "skipped" ? -1 : i) / 4),
    }));
  }

  #release({ isDraft, isPrerelease, isWithdrawn, isPublished, steps }: Event & { kind: "release" }): Said {
    const tip = this.#before(steps);
    return this.#say("releases", {
      external_id: `${this.#id += 1}`,
      tag: `v${this.#id}`,
      commit_sha: tip === ZEROS ? null : tip,
      is_draft: isDraft,
      is_prerelease: isPrerelease,
      is_withdrawn: isWithdrawn,
      created_at: this.#time(-1),
      published_at: isPublished ? this.#time() : null,
    });
  }

  #rename({ branch, isClaiming }: Event & { kind: "rename" }): Said {
    if (branch !== null) this.#branch = branch;
    return this.#say("repositories", {
      full_name: this.#name,
      default_branch: branch,
      ...(isClaiming ? { url: `https:${this.#url}` } : {}),
    });
  }

  #check(event: Event & { kind: "check" }): Said[] {
    const { rule, category, status, counts, seconds, passed, failed, retried, measured, unit } = event;
    const external_id = `${this.#id += 1}`;
    const [passed_count, failed_count, skipped_count, error_count] = counts;
    // What passed when it was tried again, and what failed, needs words.
    const cases = [
      ...failed.map((name) => ({ name, outcome: "failed", retries: 0 })),
      ...(retried === undefined || failed.includes(retried) ? [] : [{ name: retried, outcome: "passed", retries: 1 }]),
    ];
    return [
      this.#say("rule_checks", { external_id, rule, category, status, checked_at: this.#time() }),
      this.#say("test_runs", {
        external_id,
        suite: category,
        commit_sha: this.#before(0),
        started_at: this.#time(),
        passed: passed.filter((name) => cases.every((one) => one.name !== name)),
        passed_count,
        failed_count,
        skipped_count,
        error_count,
        ...(seconds === undefined ? {} : { duration_seconds: seconds }),
      }),
      ...cases.map((one) => this.#say("test_cases", { test_run_external_id: external_id, suite: category, ...one })),
      ...(measured === undefined
        ? []
        : [this.#say("measurements", { name: "size", external_id, value: measured, unit, measured_at: this.#time() })]),
    ];
  }
}
