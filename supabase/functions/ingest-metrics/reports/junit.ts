/**
 * JUnit XML in the dialects of the tools that write it: one test run per suite, every test that passed or was skipped by its name, and a test
 * case for each that needs words: it failed, ended in an error, or was tried again.
 */

import { cleanKey, MAX_ITEMS } from "../clean.ts";
import { MAX_FACTS, type Observation } from "../facts.ts";
import { parseTime } from "../times.ts";
import { lastSegment, Occurrences, shorten, uploadId } from "./ids.ts";
import type { Context, Report, Reported } from "./mod.ts";
import { hasDecimalComma, parseNumber } from "./numbers.ts";
import { MAX_TESTS, Problems } from "./problems.ts";
import { readXml, XmlProblem } from "./xml.ts";

type CaseOutcome = "passed" | "failed" | "error" | "skipped";

interface Case {
  className: string;
  name: string;
  outcome: CaseOutcome;
  message: string | null;
  seconds: number | null;
  retries: number;
}

/** All cases that belong to one suite, wherever in the report they stand. */
interface Run {
  suite: string;
  cases: Case[];
  /** Counts of a suite that lists no cases. */
  declared: { passed: number; failed: number; error: number; skipped: number } | null;
  /** Seconds that the suites say; null once one of them cannot be taken at its word. */
  seconds: number | null;
  startedAt: string | null;
  /** Who wrote it, where that decides what a repeated name means. */
  dialect: Dialect;
}

type Dialect = "go" | "pytest" | "gradle" | "surefire" | null;

/** An element `testsuites` or `testsuite` that is open. */
interface Frame {
  attributes: Readonly<Record<string, string>>;
  place: string;
  /** Names of the suites around it and its own. */
  path: string[];
  suites: number;
  cases: number;
  dialect: Dialect;
  /** The run that the cases in it belong to, once there is one. */
  run: Run | null;
  /** Runs that its own cases belong to. */
  runs: Set<Run>;
}

/** An element `testcase` that is open. */
interface OpenCase {
  attributes: Readonly<Record<string, string>>;
  place: string;
  outcome: CaseOutcome | null;
  message: string | null;
  retries: number;
  /** Open elements inside. */
  depth: number;
  /** Takes the text of the element that says why, if its attribute says nothing. */
  text: string[] | null;
}

/** What elements inside a test case say of how it ended. Of several the first in this list counts. */
const outcomeElements: readonly (readonly [element: string, outcome: CaseOutcome])[] = [
  ["failure", "failed"],
  ["rerunFailure", "failed"],
  ["error", "error"],
  ["rerunError", "error"],
  ["flakyFailure", "passed"],
  ["flakyError", "passed"],
  ["skipped", "skipped"],
  ["disabled", "skipped"],
  ["ignored", "skipped"],
];
const outcomeOf = new Map(outcomeElements);
const rankOf = new Map(
  outcomeElements.map(([, outcome], rank) => [outcome, rank]).reverse() as [CaseOutcome, number][],
);
/** A try before the last one, by Surefire, Gradle, nextest and Playwright. */
const tryElements = new Set(["flakyFailure", "flakyError", "rerunFailure", "rerunError"]);

/** Words of the attributes `status` and `result`, which count where no element says how a case ended. */
const outcomeWords: ReadonlyMap<string, CaseOutcome> = new Map(Object.entries(
  {
    notrun: "skipped",
    skipped: "skipped",
    disabled: "skipped",
    ignored: "skipped",
    pending: "skipped",
    suppressed: "skipped",
    failed: "failed",
    failure: "failed",
    fail: "failed",
    error: "error",
  } as const,
));

/** Most characters of the names of suites that become names of runs: each is made of the names of all suites around it. */
const MAX_NAMES = 64 * 1024 * 1024;

export const junit: Report = {
  name: "junit",
  contentTypes: ["application/xml", "text/xml"],
  read(text, context) {
    const upload = uploadId(context);
    if (upload === null) return { refused: [{ place: "run", code: "run_or_commit_missing" }] };
    const reader = new Reader(context, usesDecimalComma(text));
    const unreadable = readXml(text, reader);
    if (reader.isTooLong) return { refused: [{ place: "testsuites", code: "too_many_tests" }] };
    if (unreadable !== undefined) return { unreadable };
    if (reader.problems.found.length > 0) return { refused: reader.problems.found };
    return factsOf([...reader.runs.values()], upload, context);
  },
};

function usesDecimalComma(text: string): boolean {
  if (!/\btime\s*=\s*["'][^"',<]{0,40},/.test(text)) return false;
  const times = text.matchAll(/\btime\s*=\s*["']([^"'<]{1,40})["']/g);
  return hasDecimalComma(function* () {
    for (const [, time] of times) yield time!;
  }());
}

class Reader {
  readonly runs = new Map<string, Run>();
  readonly problems = new Problems();
  #frames: Frame[] = [];
  #case: OpenCase | null = null;
  #tests = 0;
  #named = 0;
  /** Runs of PHPUnit, by their classes. */
  #classes = new Map<string, Run>();

  /** Whether the reading ended at {@link MAX_TESTS}. */
  get isTooLong(): boolean {
    return this.#tests > MAX_TESTS;
  }

  constructor(readonly context: Context, readonly decimalComma: boolean) {}

  open(element: string, attributes: Readonly<Record<string, string>>): void {
    if (this.#case) this.#openInCase(this.#case, element, attributes);
    else if (element === "testsuites" || element === "testsuite") this.#openSuite(element, attributes);
    else if (this.#frames.length === 0) throw new XmlProblem("not_junit");
    else if (element === "testcase") this.#openCase(attributes);
    else if (element === "property") this.#recognise(attributes);
  }

  text(text: string): void {
    this.#case?.text?.push(text);
  }

  close(element: string): void {
    if (this.#case) this.#closeInCase(this.#case);
    else if (element === "testsuites" || element === "testsuite") this.#closeSuite(this.#frames.pop()!);
  }

  #openSuite(element: string, attributes: Readonly<Record<string, string>>): void {
    const parent = this.#frames.at(-1);
    const place = parent ? `${parent.place}.${element}[${parent.suites++}]` : element;
    const path = [...parent?.path ?? []];
    const name = cleaned(attributes.name);
    if (element === "testsuite" && name !== "") {
      // Playwright tells its projects apart by this attribute; everyone else names the machine in it, which is another each time.
      const project = parent && isPlaywright(parent, attributes) ? cleaned(attributes.hostname) : "";
      path.push(project === "" ? name : `[${project}] ${name}`);
    }
    this.#frames.push({
      attributes,
      place,
      path,
      suites: 0,
      cases: 0,
      dialect: dialectOf(attributes) ?? parent?.dialect ?? null,
      run: null,
      runs: new Set(),
    });
  }

  #openCase(attributes: Readonly<Record<string, string>>): void {
    if (++this.#tests > MAX_TESTS) throw new XmlProblem("too_many_tests");
    const frame = this.#frames.at(-1)!;
    this.#case = {
      attributes,
      place: `${frame.place}.testcase[${frame.cases++}]`,
      outcome: null,
      message: null,
      retries: 0,
      depth: 0,
      text: null,
    };
  }

  #recognise(attributes: Readonly<Record<string, string>>): void {
    const frame = this.#frames.at(-1)!;
    if (attributes.name === "go.version") frame.dialect = "go";
    else if (attributes.name?.startsWith("surefire.")) frame.dialect = "surefire";
  }

  #openInCase(open: OpenCase, element: string, attributes: Readonly<Record<string, string>>): void {
    const outcome = open.depth++ === 0 ? outcomeOf.get(element) : undefined;
    if (outcome === undefined) return;
    if (tryElements.has(element)) open.retries++;
    if (open.outcome !== null && rankOf.get(open.outcome)! <= rankOf.get(outcome)!) return;
    open.outcome = outcome;
    open.message = attributes.message?.trim() || attributes.type?.trim() || null;
    open.text = attributes.message?.trim() ? null : [];
  }

  #closeInCase(open: OpenCase): void {
    if (open.depth-- > 0) {
      if (open.depth === 0 && open.text) {
        open.message = open.text.join("").trim() || open.message;
        open.text = null;
      }
      return;
    }
    this.#case = null;
    const { attributes } = open;
    const frame = this.#frames.at(-1)!;
    // PHPUnit nests by configuration, folder and data set; the class is what stays the same.
    const isPhpunit = attributes.class !== undefined && attributes.classname !== undefined;
    const className = isPhpunit ? "" : cleaned(attributes.classname ?? attributes.class);
    const name = cleaned(attributes.name) || className;
    if (name === "") return this.problems.add(`${open.place}@name`, "missing");
    const run = isPhpunit ? this.#runOfClass(attributes.class!, frame) : this.#runOf(frame);
    frame.runs.add(run);
    run.cases.push({
      className,
      name,
      outcome: open.outcome ?? outcomeWords.get((attributes.result ?? attributes.status ?? "").toLowerCase()) ??
        "passed",
      message: open.message,
      seconds: this.#seconds(attributes.time),
      retries: open.retries,
    });
  }

  #closeSuite(frame: Frame): void {
    const seconds = this.#seconds(frame.attributes.time);
    const startedAt = parseTime(frame.attributes.timestamp);
    if (frame.cases === 0 && frame.suites === 0) this.#declare(frame);
    for (const run of frame.runs) {
      // What a suite says of itself covers the suites in it, too.
      const isOwn = frame.suites === 0 && frame.runs.size === 1;
      run.seconds = isOwn && seconds !== null && run.seconds !== null ? run.seconds + seconds : null;
      if (startedAt === null) continue;
      if (run.startedAt === null || Date.parse(startedAt) < Date.parse(run.startedAt)) run.startedAt = startedAt;
    }
  }

  /** Takes the counts of a suite that names no test. */
  #declare(frame: Frame): void {
    const count = (name: string) => parseNumber(frame.attributes[name]) ?? 0;
    const [tests, failed, error] = [count("tests"), count("failures"), count("errors")];
    if (tests === 0) return;
    const skipped = count("skipped") + count("disabled");
    const passed = tests - failed - error - skipped;
    const counts = { passed, failed, error, skipped };
    if (Object.values(counts).some((number) => number < 0 || !Number.isInteger(number))) {
      return this.problems.add(`${frame.place}@tests`, "counts_do_not_add_up");
    }
    const run = this.#runOf(frame);
    frame.runs.add(run);
    const before = run.declared;
    run.declared = {
      passed: passed + (before?.passed ?? 0),
      failed: failed + (before?.failed ?? 0),
      error: error + (before?.error ?? 0),
      skipped: skipped + (before?.skipped ?? 0),
    };
  }

  /** The run of a suite's own cases. */
  #runOf(frame: Frame): Run {
    return frame.run ??= this.#runNamed(frame.path, frame.dialect);
  }

  #runOfClass(name: string, { dialect }: Frame): Run {
    const known = this.#classes.get(name);
    if (known) return known;
    const run = this.#runNamed([cleaned(name)], dialect);
    this.#classes.set(name, run);
    return run;
  }

  #runNamed(path: readonly string[], dialect: Dialect): Run {
    // A folder or file of the machine is no part of a name that is to stay the same.
    const stable = path.length > 1 ? path.filter((part) => !/^(?:\/|[A-Za-z]:[\\/])/.test(part)) : path;
    const parts = this.context.suite === null ? stable : [cleaned(this.context.suite), ...stable];
    for (const part of parts) this.#named += part.length;
    if (this.#named > MAX_NAMES) throw new XmlProblem("xml_too_many_names");
    const suite = shorten(parts.join(" > "));
    let run = this.runs.get(suite);
    if (!run) {
      run = { suite, cases: [], declared: null, seconds: 0, startedAt: null, dialect };
      this.runs.set(suite, run);
    }
    return run;
  }

  #seconds(text: string | undefined): number | null {
    const seconds = parseNumber(text, this.decimalComma);
    return seconds === null || seconds < 0 ? null : seconds;
  }
}

/** Text as the database keeps it, so that names that become equal there are told apart here. */
function cleaned(text: string | undefined): string {
  return shorten(cleanKey((text ?? "").trim(), () => {}) as string);
}

/** Playwright writes an id at the root and, as the only one, the name of a project where others name a machine. */
function isPlaywright(root: Frame, suite: Readonly<Record<string, string>>): boolean {
  return root.place === "testsuites" && root.attributes.id !== undefined && root.attributes.name !== undefined &&
    suite.hostname !== undefined && suite.id === undefined;
}

/** The attributes of a suite as Gradle writes them, and in its order; nothing else tells that it is Gradle. */
const gradleAttributes = "name tests skipped failures errors timestamp hostname time";

function dialectOf(attributes: Readonly<Record<string, string>>): Dialect {
  if (/^pytest(?: tests)?$/.test(attributes.name ?? "")) return "pytest";
  if (attributes["xsi:noNamespaceSchemaLocation"]?.includes("surefire")) return "surefire";
  return Object.keys(attributes).join(" ") === gradleAttributes ? "gradle" : null;
}

/**
 * Whether cases of one name are runs of one test: Go, pytest and Gradle give each test a name of its own, and write a test that is tried
 * again as another case. Surefire marks tries by elements, and repeats a name for each row of data; elsewhere titles may be equal.
 */
function areTries(dialect: Dialect): boolean {
  return dialect !== null && dialect !== "surefire";
}

/** Pytest writes a test that failed and could not be torn down either as two cases: they are one try, and it failed. */
function withoutTearDowns(cases: readonly Case[]): Case[] {
  return cases.filter(({ outcome, message }, index) =>
    !(outcome === "error" && cases[index - 1]?.outcome === "failed" &&
      !/^(?:failed on setup|test setup)\b/.test(message ?? ""))
  );
}

/** One case of several runs of one test. */
function mergeTries(cases: readonly Case[], dialect: Dialect): Case {
  const tries = dialect === "pytest" ? withoutTearDowns(cases) : cases;
  const last = tries.at(-1)!;
  const before = tries.slice(0, -1);
  const failures = tries.filter(({ outcome }) => outcome === "failed" || outcome === "error");
  const isRetried = dialect === "pytest" || before.every(({ outcome }) => outcome === "failed" || outcome === "error");
  const decisive = isRetried ? last : failures.find(({ outcome }) => outcome === "failed") ?? failures[0] ??
    tries.find(({ outcome }) => outcome === "passed") ?? last;
  const told = tries.reduce((sum, one) => sum + one.retries, 0);
  return {
    ...decisive,
    message: decisive.message ?? failures.at(-1)?.message ?? null,
    retries: told + (isRetried || failures.length > 0 ? before.length : 0),
  };
}

/** The tests of a run, each with a name that no other has. */
function testsOf(run: Run): Case[] {
  const groups = new Map<string, Case[]>();
  for (const one of run.cases) {
    const key = `${one.className}\n${one.name}`;
    const group = groups.get(key);
    if (group) group.push(one);
    else groups.set(key, [one]);
  }
  const names = new Occurrences();
  const tests: Case[] = [];
  for (const group of groups.values()) {
    const different = group.length > 1 && areTries(run.dialect) ? [mergeTries(group, run.dialect)] : group;
    for (const one of different) tests.push({ ...one, name: names.next(fullName(run.suite, one)) });
  }
  return tests;
}

/** The name with its class in front, unless the suite or the name itself already says the class. */
function fullName(suite: string, { className, name }: Case): string {
  // Node's own runner calls the class of every test so.
  if (className === "" || className === "test" || className === name) return name;
  const isSaid = endsWithPart(suite, className) || endsWithPart(name, className) ||
    (name.startsWith(className) && !/[\p{L}\d]/u.test(name.charAt(className.length)));
  return isSaid ? name : shorten(`${className}.${name}`);
}

function endsWithPart(text: string, part: string): boolean {
  return text.endsWith(part) && !/[\p{L}\d]/u.test(text.charAt(text.length - part.length - 1));
}

function factsOf(runs: readonly Run[], upload: string, context: Context): Reported {
  const { repository, observedAt } = context;
  const common = { repository, observed_at: observedAt };
  const facts = { test_runs: [] as Observation<"test_runs">[], test_cases: [] as Observation<"test_cases">[] };
  const count = (run: Run, outcome: keyof NonNullable<Run["declared"]>, tests: readonly Case[]) =>
    tests.length + (run.declared?.[outcome] ?? 0);
  for (const run of runs) {
    const tests = testsOf(run);
    const of = (outcome: CaseOutcome) => tests.filter((test) => test.outcome === outcome);
    // Those with words come first: they are in the part that their test cases name.
    const passed = of("passed").sort((one, other) => Number(other.retries > 0) - Number(one.retries > 0));
    const [failed, error, skipped] = [of("failed"), of("error"), of("skipped")];
    const externalId = (part: number) =>
      shorten(`${upload}/${lastSegment(run.suite)}${part === 0 ? "" : `#${part + 1}`}`);
    const parts = Math.max(1, Math.ceil(passed.length / MAX_ITEMS), Math.ceil(skipped.length / MAX_ITEMS));
    for (let part = 0; part < parts; part++) {
      const slice = (list: readonly Case[]) => list.slice(part * MAX_ITEMS, (part + 1) * MAX_ITEMS);
      const ofFirst = part === 0 ? { failed, error } : { failed: [], error: [] };
      const counted = part === 0 ? run : { ...run, declared: null };
      facts.test_runs.push({
        ...common,
        external_id: externalId(part),
        suite: run.suite,
        ...said(context),
        passed_count: count(counted, "passed", slice(passed)),
        failed_count: count(counted, "failed", ofFirst.failed),
        error_count: count(counted, "error", ofFirst.error),
        skipped_count: count(counted, "skipped", slice(skipped)),
        ...(part === 0 ? seconds(run) : {}),
        ...(run.startedAt === null ? {} : { started_at: run.startedAt }),
        passed: slice(passed).map(({ name }) => name),
        skipped: slice(skipped).map(({ name }) => name),
      });
    }
    for (const test of [...failed, ...error, ...passed.filter(({ retries }) => retries > 0)]) {
      facts.test_cases.push({
        ...common,
        test_run_external_id: externalId(0),
        suite: run.suite,
        name: test.name,
        outcome: test.outcome,
        message: test.message,
        duration_seconds: test.seconds,
        retries: test.retries,
      });
    }
    if (facts.test_runs.length + facts.test_cases.length > MAX_FACTS) {
      return { refused: [{ place: "testsuites", code: "too_many_facts" }] };
    }
  }
  return { facts, ...(facts.test_runs.length === 0 ? { notes: ["the report holds no test"] } : {}) };
}

/** What the context says of a test run. */
function said({ commitSha, branch, pipeline, job, url }: Context) {
  return {
    ...(commitSha === null ? {} : { commit_sha: commitSha }),
    ...(branch === null ? {} : { branch }),
    ...(pipeline === null ? {} : { pipeline }),
    ...(job === null ? {} : { job }),
    ...(url === null ? {} : { url }),
  };
}

/** What the suites say, else the sum of their cases where each says its time. */
function seconds(run: Run): { duration_seconds?: number } {
  let sum = run.seconds;
  if (sum === null && run.cases.length > 0) {
    sum = run.cases.reduce<number | null>(
      (total, one) => total === null || one.seconds === null ? null : total + one.seconds,
      0,
    );
  }
  return sum === null ? {} : { duration_seconds: Math.round(sum * 1e6) / 1e6 };
}
