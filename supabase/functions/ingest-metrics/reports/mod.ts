/** What a report is, and which there are. A report is pure: text and context in, facts out; no I/O, no clock, no environment. */

import type { Facts } from "../facts.ts";
import { coverage } from "./coverage.ts";
import { facts } from "./facts.ts";
import { junit } from "./junit.ts";
import { measurements } from "./measurements.ts";
import { sarif } from "./sarif.ts";

/** What the credentials and the parameters of a request say about what is reported. */
export interface Context {
  /** Reference of the repository that the report is about. */
  repository: string;
  commitSha: string | null;
  branch: string | null;
  runExternalId: string | null;
  attempt: number | null;
  pullRequestNumber: number | null;
  pipeline: string | null;
  jobExternalId: string | null;
  job: string | null;
  /** For several uploads of one job. */
  suite: string | null;
  environment: string | null;
  /** When the credentials say that they were made: the provider's time, ISO 8601; null for tokens. */
  observedAt: string | null;
  url: string | null;
}

/** What is wrong with one item. */
export interface ReportProblem {
  /** Where, in words and numbers of ours and never of the input: `testsuites.testsuite[2].testcase[5]@name`, `line 12`, `[3].value`. */
  place: string;
  /** What; {@link sentences} says it in full. */
  code: string;
}

/** What a report became: facts; or why it cannot be parsed, as a code with a place behind it (`not_xml: line 12`); or which items are refused. */
export type Reported =
  | { facts: Facts; notes?: string[] }
  | { unreadable: string }
  | { refused: ReportProblem[] };

export interface Report {
  name: string;
  contentTypes: readonly string[];
  /** Takes the text that `decodeReport` of text.ts makes of the bytes. Never throws. */
  read(text: string, context: Context): Reported;
}

/** Every report, by its name. */
export const reports: ReadonlyMap<string, Report> = new Map(
  [junit, sarif, coverage, measurements, facts].map((report) => [report.name, report]),
);

export { sentences } from "./problems.ts";
