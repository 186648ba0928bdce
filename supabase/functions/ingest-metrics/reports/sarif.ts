/**
 * SARIF 2.1.0 of any linter or scanner, as rule checks: one for each result that counts, and a compliant one for each rule that a tool ran
 * to its end without one.
 */

import { z } from "zod";
import { cleanText, MAX_TEXT_BYTES } from "../clean.ts";
import { MAX_FACTS, type Observation } from "../facts.ts";
import { parseTime } from "../times.ts";
import { lastSegment, Occurrences, segment, shorten, shortHash, uploadId } from "./ids.ts";
import { addProblems, parseJson } from "./json.ts";
import type { Context, Report } from "./mod.ts";
import { Problems } from "./problems.ts";

const levels = ["none", "note", "warning", "error"] as const;
type Level = typeof levels[number];

/** Tools write null for a list that is empty. */
const list = <T extends z.ZodType>(item: T) => z.array(item).nullish();
const index = z.int().min(-1);
const level = z.enum(levels);
const message = z.looseObject({
  text: z.string().optional(),
  id: z.string().optional(),
  arguments: list(z.string()),
});
const configuration = z.looseObject({ level: level.optional(), enabled: z.boolean().optional() });
const properties = z.looseObject({
  category: z.unknown().optional(),
  tags: list(z.string()),
});
const rule = z.looseObject({
  id: z.string().min(1),
  defaultConfiguration: configuration.optional(),
  messageStrings: z.record(z.string(), z.looseObject({ text: z.string() })).optional(),
  properties: properties.optional(),
});
const component = z.looseObject({ name: z.string().min(1), rules: list(rule) });
const ruleReference = z.looseObject({
  id: z.string().optional(),
  index: index.optional(),
  toolComponent: z.looseObject({ name: z.string().optional(), index: index.optional() }).optional(),
});
const artifactLocation = z.looseObject({ uri: z.string().optional(), index: index.optional() });
const location = z.looseObject({
  physicalLocation: z.looseObject({
    artifactLocation: artifactLocation.optional(),
    region: z.looseObject({ startLine: z.int().optional() }).optional(),
  }).optional(),
  logicalLocations: list(z.looseObject({ fullyQualifiedName: z.string().optional(), name: z.string().optional() })),
});
const fingerprints = z.record(z.string(), z.string());
const result = z.looseObject({
  ruleId: z.string().optional(),
  ruleIndex: index.optional(),
  rule: ruleReference.optional(),
  kind: z.enum(["notApplicable", "pass", "fail", "review", "open", "informational"]).optional(),
  level: level.optional(),
  message,
  locations: list(location),
  correlationGuid: z.string().optional(),
  fingerprints: fingerprints.optional(),
  partialFingerprints: fingerprints.optional(),
  baselineState: z.enum(["new", "unchanged", "updated", "absent"]).optional(),
  suppressions: list(z.looseObject({ status: z.enum(["accepted", "underReview", "rejected"]).optional() })),
});
const invocation = z.looseObject({
  executionSuccessful: z.boolean().optional(),
  endTimeUtc: z.string().optional(),
  ruleConfigurationOverrides: list(z.looseObject({ descriptor: ruleReference, configuration })),
});
const run = z.looseObject({
  tool: z.looseObject({ driver: component, extensions: list(component) }),
  automationDetails: z.looseObject({ id: z.string().optional() }).optional(),
  artifacts: list(z.looseObject({ location: artifactLocation.optional() })),
  invocations: list(invocation),
  results: list(result),
});

/** The part of SARIF that is read; the rest of a log may be anything. */
export const sarifBody = z.looseObject({
  version: z.literal("2.1.0"),
  runs: z.array(run),
}).meta({ title: "SARIF", description: "The part of SARIF 2.1.0 that is read." });

/**
 * Longest text of a rule, a file or a message that is looked at: many results may name one and the same. It is more than a column keeps,
 * so that cleaning sees an e-mail address on the border whole.
 */
const MAX_TEXT = 2 * MAX_TEXT_BYTES;
/** Longest name of a rule or a category, in bytes: every result of a rule has both. */
const MAX_NAME_BYTES = 512;
/** Characters that the details of a report may have together, however short the report is. */
const ROOM = 1024 * 1024;

type Run = z.infer<typeof run>;
type Result = z.infer<typeof result>;
type Rule = z.infer<typeof rule>;
type Status = NonNullable<Observation<"rule_checks">["status"]>;

/** What a result's kind, and for the kind `fail` its level, says about its rule; null says nothing. */
export const statusTable: Readonly<Record<"kind" | "level", Readonly<Record<string, Status | null>>>> = {
  kind: { pass: "compliant", review: "warning", open: null, informational: null, notApplicable: null },
  level: { error: "violation", warning: "warning", note: "warning", none: null },
};

export const sarif: Report = {
  name: "sarif",
  contentTypes: ["application/sarif+json", "application/json"],
  read(text, context) {
    const upload = uploadId(context);
    if (upload === null) return { refused: [{ place: "run", code: "run_or_commit_missing" }] };
    const parsed = parseJson(text);
    if ("unreadable" in parsed) return parsed;
    const problems = new Problems();
    addProblems(problems, sarifBody, parsed.value);
    if (problems.found.length > 0) return { refused: problems.found };
    const { runs } = parsed.value as z.infer<typeof sarifBody>;
    const checks: Observation<"rule_checks">[] = [];
    const notes = new Set<string>();
    const start = context.suite === null ? upload : `${upload}/${segment(context.suite)}`;
    const ids = new Occurrences();
    // Details take more than the report itself only where many results name one text.
    let room = Math.max(text.length, ROOM);
    for (const [at, one] of runs.entries()) {
      const place = `runs[${at}]`;
      const reader = new RunReader(one, context, ({ detail = null, ...check }) => {
        room -= detail?.length ?? 0;
        if (room < 0) notes.add("rule_checks.detail left out: together they are longer than the report");
        checks.push({
          ...check,
          external_id: ids.next(shorten(`${start}/${check.external_id}`), "#"),
          ...(detail === null || room < 0 ? {} : { detail }),
        });
      }, (note) => notes.add(note));
      for (const [number, given] of (one.results ?? []).entries()) {
        if (!reader.take(given)) problems.add(`${place}.results[${number}].ruleId`, "missing");
        if (checks.length > MAX_FACTS) break;
      }
      if (reader.isWhole) reader.takeRulesWithoutResult();
      else notes.add(`${place}: the tool did not end well, so rules without a result say nothing`);
      if (checks.length > MAX_FACTS) return { refused: [{ place, code: "too_many_facts" }] };
    }
    if (problems.found.length > 0) return { refused: problems.found };
    return { facts: { rule_checks: checks }, notes: [...notes] };
  },
};

/** A rule as its tool describes it. */
interface Described {
  rule: Rule;
  /** Its id, and its category. */
  name: string;
  category: string | null;
  isEnabled: boolean;
  level: Level;
}

/** Reads one run, and tells each check with the part of its id that is the tool's. */
class RunReader {
  #components: Described[][];
  #byId = new Map<string, Described>();
  /** Rules about which a result says something, or says that there is nothing to say. */
  #told = new Set<string>();
  /** The number of a component by its name: the driver has none, the extensions follow. */
  #numbers = new Map<string | undefined, number>();
  #tool: string;
  #checkedAt: string | null;

  constructor(
    readonly run: Run,
    readonly context: Context,
    readonly tell: (check: Observation<"rule_checks">) => void,
    readonly note: (text: string) => void,
  ) {
    const { driver, extensions } = run.tool;
    this.#components = [driver, ...extensions ?? []].map(({ rules }) =>
      (rules ?? []).map((rule) => ({
        rule,
        name: shorten(rule.id, MAX_NAME_BYTES),
        category: categoryOf(rule),
        isEnabled: rule.defaultConfiguration?.enabled ?? true,
        level: rule.defaultConfiguration?.level ?? "warning",
      }))
    );
    for (const described of this.#components.flat()) {
      if (!this.#byId.has(described.rule.id)) this.#byId.set(described.rule.id, described);
    }
    for (const [number, { name }] of (extensions ?? []).entries()) {
      if (!this.#numbers.has(name)) this.#numbers.set(name, number);
    }
    for (
      const { descriptor, configuration } of run.invocations?.flatMap((one) => one.ruleConfigurationOverrides ?? []) ??
        []
    ) {
      const described = this.#find(descriptor);
      if (!described) continue;
      described.isEnabled = configuration.enabled ?? described.isEnabled;
      described.level = configuration.level ?? described.level;
    }
    const automation = run.automationDetails?.id?.slice(0, 255).replace(/\/+$/, "");
    this.#tool = shorten(segment(automation ? `${driver.name} ${automation}` : driver.name), MAX_TEXT);
    this.#checkedAt = parseTime(run.invocations?.at(-1)?.endTimeUtc) ?? context.observedAt;
  }

  /** Whether the tool looked for results, and does not say that it failed. */
  get isWhole(): boolean {
    return Array.isArray(this.run.results) && !this.run.invocations?.some((one) => one.executionSuccessful === false);
  }

  /** False for a result that names no rule. */
  take(given: Result): boolean {
    const reference = {
      ...given.rule,
      id: given.ruleId ?? given.rule?.id,
      index: given.ruleIndex ?? given.rule?.index,
    };
    const described = this.#find(reference);
    const name = described?.name ?? reference.id;
    if (!name) return false;
    if (given.baselineState === "absent" || isSuppressed(given)) return true;
    this.#told.add(name);
    const kind = given.kind ?? "fail";
    const status = statusTable[kind === "fail" ? "level" : "kind"][
      kind === "fail" ? given.level ?? described?.level ?? "warning" : kind
    ];
    if (!status) return true;
    const { place, line } = this.#locate(given);
    const text = messageOf(given, described?.rule);
    const where = line === null ? place : `${place}:${line}`;
    this.#add(name, described, status, `/${shortHash(identityOf(given, place, text))}`, [where, text]);
    return true;
  }

  takeRulesWithoutResult(): void {
    for (const described of new Set(this.#byId.values())) {
      const { name, isEnabled } = described;
      if (isEnabled && !this.#told.has(name)) this.#add(name, described, "compliant", "", []);
    }
  }

  #add(name: string, described: Described | undefined, status: Status, id: string, detail: readonly string[]): void {
    const { context } = this;
    const category = described?.category ?? null;
    // At once and not with all other columns: together, texts that are much too long would fill the memory.
    const told = cleanText(detail.filter((part) => part !== "").join(": "), (what) => {
      this.note(`rule_checks.detail ${what}`);
    });
    this.tell({
      repository: context.repository,
      observed_at: context.observedAt,
      external_id: `${this.#tool}/${lastSegment(name)}${id}`,
      rule: name,
      status,
      ...(category === null ? {} : { category }),
      ...(told === "" ? {} : { detail: told as string }),
      ...(context.commitSha === null ? {} : { commit_sha: context.commitSha }),
      ...(context.pullRequestNumber === null ? {} : { pull_request_number: context.pullRequestNumber }),
      ...(context.runExternalId === null ? {} : { run_external_id: context.runExternalId }),
      ...(context.url === null ? {} : { url: context.url }),
      ...(this.#checkedAt === null ? {} : { checked_at: this.#checkedAt }),
    });
  }

  #find({ id, index, toolComponent }: z.infer<typeof ruleReference>): Described | undefined {
    const number = toolComponent?.index ?? this.#numbers.get(toolComponent?.name) ?? -1;
    const byIndex = index === undefined || index < 0 ? undefined : this.#components[number + 1]?.[index];
    if (byIndex) return byIndex;
    // A result may name a part of a rule: CA1000/1.
    return id === undefined ? undefined : this.#byId.get(id) ?? this.#byId.get(id.replace(/\/[^/]*$/, ""));
  }

  #locate(given: Result): { place: string; line: number | null } {
    const [first] = given.locations ?? [];
    const artifact = first?.physicalLocation?.artifactLocation;
    const listed = artifact?.index !== undefined ? this.run.artifacts?.[artifact.index]?.location?.uri : undefined;
    const [logical] = first?.logicalLocations ?? [];
    return {
      place: (artifact?.uri ?? listed ?? logical?.fullyQualifiedName ?? logical?.name ?? "").slice(0, MAX_TEXT),
      line: first?.physicalLocation?.region?.startLine ?? null,
    };
  }
}

/** Accepted by everyone who was asked; a suppression under review or rejected does not count. */
function isSuppressed(given: Result): boolean {
  const suppressions = given.suppressions ?? [];
  return suppressions.length > 0 && suppressions.every(({ status }) => status === undefined || status === "accepted");
}

/** What stays the same when lines move: the tool's own fingerprints, else the file and the words. */
function identityOf(given: Result, place: string, text: string): string {
  if (given.correlationGuid !== undefined) return given.correlationGuid;
  const prints = Object.entries({ ...given.partialFingerprints, ...given.fingerprints });
  return JSON.stringify([place, prints.length > 0 ? prints.sort(([one], [other]) => one < other ? -1 : 1) : text]);
}

/** What a result says, its arguments in their places; the first part of what is much too long. */
function messageOf({ message }: Result, rule: Rule | undefined): string {
  const { text, id, arguments: given } = message;
  const listed = rule?.messageStrings;
  const named = id !== undefined && listed && Object.hasOwn(listed, id) ? listed[id]!.text : "";
  const template = (text ?? named).slice(0, MAX_TEXT);
  let told = "";
  let end = 0;
  for (const { 0: place, 1: number, index } of template.matchAll(/\{(\d{1,3})\}/g)) {
    if (told.length > MAX_TEXT) break;
    told += template.slice(end, index) + (given?.[Number(number)]?.slice(0, MAX_TEXT) ?? place);
    end = index + place.length;
  }
  return (told + template.slice(end)).slice(0, MAX_TEXT);
}

/** The tool's category of a rule, else its first tag. */
function categoryOf({ properties }: Rule): string | null {
  const category = typeof properties?.category === "string" ? properties.category : properties?.tags?.[0];
  return category === undefined ? null : shorten(category, MAX_NAME_BYTES);
}
