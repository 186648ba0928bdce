/**
 * Coverage, of LCOV or Cobertura by the look of the text, as measurements: `coverage.lines`, `coverage.branches` and `coverage.functions`
 * in %, each with `.covered` and `.total` beside it as counts. What a report does not count, or counts none of, has no number.
 */

import type { Observation } from "../facts.ts";
import { parseTime } from "../times.ts";
import { numberFact } from "./about.ts";
import { segment, shorten, uploadId } from "./ids.ts";
import type { Context, Report, ReportProblem } from "./mod.ts";
import { parseNumber } from "./numbers.ts";
import { MAX_FILES, Problems } from "./problems.ts";
import { linesOf } from "./text.ts";
import { readXml, XmlProblem } from "./xml.ts";

/** How many there are and how many of them ran. */
interface Count {
  covered: number;
  total: number;
}

const kinds = ["lines", "branches", "functions"] as const;
type Kind = typeof kinds[number];

/** What a file says as a whole. A kind that it says only a rate of has that instead of counts. */
interface Summary {
  counts: Partial<Record<Kind, Count>>;
  rates?: Partial<Record<Kind, number>>;
  measuredAt?: string | null;
  format: "lcov" | "cobertura";
}

export const coverage: Report = {
  name: "coverage",
  contentTypes: ["text/plain", "application/xml", "text/xml"],
  read(text, context) {
    const upload = uploadId(context);
    if (upload === null) return { refused: [{ place: "run", code: "run_or_commit_missing" }] };
    const summary = /^\s*</.test(text) ? readCobertura(text) : readLcov(text);
    if ("unreadable" in summary) return summary;
    if ("refused" in summary) return summary;
    const facts = measurementsOf(summary, shorten(`${upload}/${segment(context.suite ?? "-")}`), context);
    return { facts: { measurements: facts }, ...(facts.length === 0 ? { notes: ["the report covers nothing"] } : {}) };
  },
};

function measurementsOf(summary: Summary, externalId: string, context: Context): Observation<"measurements">[] {
  const facts: Observation<"measurements">[] = [];
  const add = (name: string, value: number, unit: string) =>
    facts.push(numberFact(context, {
      name: `coverage.${name}`,
      external_id: externalId,
      value,
      unit,
      attributes: { format: summary.format },
      ...(summary.measuredAt ? { measured_at: summary.measuredAt } : {}),
    }));
  for (const kind of kinds) {
    const count = summary.counts[kind];
    const rate = summary.rates?.[kind];
    if (count && count.total > 0) {
      add(kind, (100 * count.covered) / count.total, "%");
      add(`${kind}.covered`, count.covered, kind);
      add(`${kind}.total`, count.total, kind);
    } else if (rate !== undefined) add(kind, 100 * rate, "%");
  }
  return facts;
}

/** What LCOV says of one source file, which several tests may tell of. */
interface LcovFile {
  records: number;
  /** Whether each of a kind ran in any of the records. */
  seen: Record<Kind, Map<string | number, boolean>>;
  /** What the last record says itself. */
  said: Partial<Record<Kind, Partial<Count>>>;
}

/** LCOV's words for counts that a record gives of itself. */
const lcovCounts: ReadonlyMap<string, readonly [Kind, keyof Count]> = new Map(Object.entries(
  {
    LF: ["lines", "total"],
    LH: ["lines", "covered"],
    BRF: ["branches", "total"],
    BRH: ["branches", "covered"],
    FNF: ["functions", "total"],
    FNH: ["functions", "covered"],
  } as const,
));

function readLcov(report: string): Summary | { unreadable: string } | { refused: ReportProblem[] } {
  if (!/^[ \t]*SF:/m.test(report)) return { unreadable: "not_coverage" };
  const files = new Map<string, LcovFile>();
  const problems = new Problems();
  let file: LcovFile | null = null;
  let line = 0;
  for (const given of linesOf(report)) {
    line++;
    const text = given.trim();
    const colon = text.indexOf(":");
    const [word, rest] = colon < 0 ? [text, ""] : [text.slice(0, colon), text.slice(colon + 1)];
    if (word === "SF") {
      file = files.get(rest) ??
        { records: 0, seen: { lines: new Map(), branches: new Map(), functions: new Map() }, said: {} };
      files.set(rest, file);
      if (files.size > MAX_FILES) return { refused: [{ place: `line ${line}`, code: "too_many_files" }] };
      file.records++;
      file.said = {};
    } else if (word === "end_of_record") file = null;
    else if (!file) {
      if (lcovCounts.has(word) || word === "DA") problems.add(`line ${line}`, "outside_of_a_file");
    } else if (!takeLcov(file, word, rest)) problems.add(`line ${line}`, "not_a_number");
    if (problems.isFull) break;
  }
  if (file) problems.add(`line ${line}`, "ends_early");
  if (problems.found.length > 0) return { refused: problems.found };
  const counts: Partial<Record<Kind, Count>> = {};
  for (const one of files.values()) {
    for (const kind of kinds) {
      const { covered, total } = lcovCount(one, kind);
      const sum = counts[kind] ??= { covered: 0, total: 0 };
      sum.covered += covered;
      sum.total += total;
    }
  }
  return { counts, format: "lcov" };
}

/** False for a number that is none. */
function takeLcov(file: LcovFile, word: string, rest: string): boolean {
  const comma = rest.indexOf(",");
  const mark = (kind: Kind, key: string | number, hits: number) => {
    if (Number.isNaN(hits)) return false;
    const map = file.seen[kind];
    map.set(key, hits > 0 || map.get(key) === true);
    return true;
  };
  if (word === "DA") {
    const line = Number(rest.slice(0, comma));
    return Number.isInteger(line) && mark("lines", line, numberOf(rest.slice(comma + 1).split(",", 1)[0]!));
  }
  if (word === "BRDA") {
    const last = rest.lastIndexOf(",");
    const taken = rest.slice(last + 1);
    return mark("branches", rest.slice(0, last), taken === "-" ? 0 : numberOf(taken));
  }
  if (word === "FN") return mark("functions", rest.replace(/^(?:\d+,){1,2}/, ""), 0);
  if (word === "FNDA") return mark("functions", rest.slice(comma + 1), numberOf(rest.slice(0, comma)));
  if (word === "FNA") {
    const [, hits = "", name = ""] = /^\d+,(\d+),(.*)$/.exec(rest) ?? [];
    return mark("functions", name, numberOf(hits));
  }
  const said = lcovCounts.get(word);
  if (!said) return true;
  const [kind, part] = said;
  const count = numberOf(rest);
  (file.said[kind] ??= {})[part] = count;
  return Number.isInteger(count) && count >= 0;
}

function numberOf(text: string): number {
  return text.trim() === "" ? NaN : Number(text);
}

/** What one record says of itself; where several tell of one file, or it says nothing, what they list together. */
function lcovCount({ records, seen, said }: LcovFile, kind: Kind): Count {
  const { covered, total } = said[kind] ?? {};
  const listed = seen[kind];
  if (covered !== undefined && total !== undefined && covered <= total && (records === 1 || listed.size === 0)) {
    return { covered, total };
  }
  let hit = 0;
  for (const isHit of listed.values()) if (isHit) hit++;
  return { covered: hit, total: listed.size };
}

function readCobertura(text: string): Summary | { unreadable: string } {
  const reader = new CoberturaReader();
  const unreadable = readXml(text, reader, "skip");
  return unreadable === undefined ? reader.summary() : { unreadable };
}

/** Collects what Cobertura lists, for the tools that sum nothing up. */
class CoberturaReader {
  #root: Readonly<Record<string, string>> | null = null;
  #files = new Map<string, Map<number, { hit: boolean; branches: Count | null }>>();
  #lines: Map<number, { hit: boolean; branches: Count | null }> | null = null;
  #method: { hit: boolean } | null = null;
  #functions: Count = { covered: 0, total: 0 };

  open(element: string, attributes: Readonly<Record<string, string>>): void {
    if (!this.#root) {
      // Clover has a root of the same name.
      if (element !== "coverage" || attributes.clover !== undefined) throw new XmlProblem("not_coverage");
      this.#root = attributes;
    } else if (element === "class") this.#openFile(attributes.filename ?? attributes.name ?? "");
    else if (element === "method") this.#method = { hit: rateOf(attributes["line-rate"]) > 0 };
    else if (element === "line") this.#takeLine(attributes);
    else if (element === "project") throw new XmlProblem("not_coverage");
  }

  text(): void {}

  close(element: string): void {
    if (element === "class") this.#lines = null;
    else if (element === "method" && this.#method) {
      this.#functions.total++;
      if (this.#method.hit) this.#functions.covered++;
      this.#method = null;
    }
  }

  #openFile(name: string): void {
    this.#lines = this.#files.get(name) ?? new Map();
    this.#files.set(name, this.#lines);
  }

  #takeLine(attributes: Readonly<Record<string, string>>): void {
    const hit = (parseNumber(attributes.hits) ?? 0) > 0;
    if (this.#method) {
      this.#method.hit ||= hit;
      return;
    }
    const number = parseNumber(attributes.number);
    if (!this.#lines || number === null) return;
    const [, covered, total] = /\((\d{1,9})\/(\d{1,9})\)/.exec(attributes["condition-coverage"] ?? "") ?? [];
    const branches = total === undefined ? null : { covered: Number(covered), total: Number(total) };
    const before = this.#lines.get(number);
    this.#lines.set(number, { hit: hit || before?.hit === true, branches: branches ?? before?.branches ?? null });
  }

  summary(): Summary {
    const root = this.#root!;
    const lines: Count = { covered: 0, total: 0 };
    const branches: Count = { covered: 0, total: 0 };
    for (const file of this.#files.values()) {
      for (const line of file.values()) {
        lines.total++;
        if (line.hit) lines.covered++;
        branches.total += line.branches?.total ?? 0;
        branches.covered += line.branches?.covered ?? 0;
      }
    }
    const said = (kind: "lines" | "branches", listed: Count): Count => {
      const [covered, total] = [parseNumber(root[`${kind}-covered`]), parseNumber(root[`${kind}-valid`])];
      return covered !== null && total !== null && total > 0 && covered >= 0 && covered <= total
        ? { covered, total }
        : listed;
    };
    // Tools that count nothing of a kind write the rate 0, so that it says nothing by itself.
    const [lineRate, branchRate] = [rateOf(root["line-rate"]), rateOf(root["branch-rate"])];
    const counts = { lines: said("lines", lines), branches: said("branches", branches), functions: this.#functions };
    return {
      counts,
      rates: {
        ...(lineRate > 0 && this.#files.size === 0 ? { lines: lineRate } : {}),
        ...(branchRate > 0 && this.#files.size === 0 ? { branches: branchRate } : {}),
      },
      measuredAt: parseTime(root.timestamp),
      format: "cobertura",
    };
  }
}

/** A rate between 0 and 1; 0 where there is none. */
function rateOf(text: string | undefined): number {
  const rate = parseNumber(text, true);
  return rate !== null && rate > 0 && rate <= 1 ? rate : 0;
}
