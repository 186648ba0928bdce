/** What can be wrong with a report: codes, what each means, and what would be right. */

import { MAX_KEY_BYTES } from "../clean.ts";
import { MAX_FACTS } from "../facts.ts";
import type { ReportProblem } from "./mod.ts";

/** Most problems that one answer names. */
export const MAX_PROBLEMS = 100;

/** Most tests of one report: what the database numbers within the time that it has for a statement. */
export const MAX_TESTS = 100_000;

/** Most source files of one coverage report. */
export const MAX_FILES = 100_000;

const split = "Split it into several files and send each with another value of the parameter suite.";

/** What each code says, and what would be right; none holds anything of a report. */
export const sentences: Readonly<Record<string, string>> = {
  // Of what cannot be parsed.
  encoding_unknown: "The encoding that the report names is not known. Write it in UTF-8.",
  encoding_wrong: "The bytes are not in the encoding that the report names, which is UTF-8 where it names none.",
  not_xml: "The report is not well-formed XML.",
  xml_entity: "The report uses an entity other than the five of XML. Write the character itself.",
  xml_doctype: "The report declares a document type. Leave the declaration out.",
  xml_too_deep: "The elements of the report are nested more than 100 levels deep.",
  xml_too_many_names: "The names of nested suites make more text than can be read. Nest the suites less deep.",
  xml_too_many_attributes: "An element of the report has more than 1000 attributes.",
  not_junit: "The root of the report is neither testsuites nor testsuite, so it is not JUnit XML.",
  not_coverage:
    "The report is neither LCOV nor Cobertura. Clover and JaCoCo reports have to be converted to one of them.",
  not_json: "The report is not JSON.",
  json_too_many_values: "The report has more than a million values. Split it into several files.",
  not_readable: "The report could not be read, though its form is right. Send it in another format of the tool.",
  not_facts: "The body is neither an object nor an array, nor one object a line.",

  // Of the whole.
  too_many_facts: `The report makes more than ${MAX_FACTS} facts. ${split}`,
  too_many_tests: `The report has more than ${MAX_TESTS} tests. ${split}`,
  too_many_files: `The report covers more than ${MAX_FILES} files. ${split}`,
  run_or_commit_missing: "Neither the credentials nor the parameters run and commit say what the report is about.",
  run_commit_id_or_time_missing:
    "Nothing tells this number from the next one: give the parameter run or commit, or its id or measured_at.",

  // Of items.
  missing: "This is missing or empty.",
  counts_do_not_add_up: "The suite lists no test, and failed, ended in an error or skipped more than it has.",
  outside_of_a_file: "This line belongs to a file, but no line SF: is before it.",
  ends_early: "The last record has no end_of_record: the file was cut.",
  not_a_number: "This is not a number.",
  duplicate: "An item before has the same name and attributes. Give each an id, or a time.",
  kind_unknown: "There is no such kind of fact; the JSON Schema lists them.",
  said_without_its_lead:
    "This is only said together with the first attribute of its group: outcome with status, and so on.",
  unrecognized_keys: "An attribute is not known; the JSON Schema lists them.",
  invalid_time: "This is no time between 1990 and 9999: write ISO 8601, or seconds since 1970.",
  invalid_type: "This is missing or of another type than the JSON Schema says.",
  invalid_value: "This is none of the values that the JSON Schema lists.",
  invalid_format: "This is not of the form that the JSON Schema says.",
  invalid_union: "This is of none of the forms that the JSON Schema says.",
  invalid_key: "A name in this object is not of the form that the JSON Schema says.",
  too_big: "This is longer or larger than the JSON Schema says.",
  too_small: "This is shorter or smaller than the JSON Schema says.",
  custom: `This cannot be kept: a part of a key has at most ${MAX_KEY_BYTES} bytes.`,
};

/** Collects problems up to {@link MAX_PROBLEMS}. */
export class Problems {
  readonly found: ReportProblem[] = [];

  get isFull(): boolean {
    return this.found.length >= MAX_PROBLEMS;
  }

  add(place: string, code: string): void {
    if (!this.isFull) this.found.push({ place, code });
  }
}
