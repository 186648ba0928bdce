/** The histories under tests/examples: deliveries, and the facts and numbers that they must leave. */

import type { Posted } from "./history_github.ts";
import { KINDS, type Row, sortRows, type Tables } from "./model.ts";
import { canonicalRow } from "./model_tables.ts";

/** A function of the schema `metrics`, by its name, with named arguments. */
export interface FunctionCall {
  call: string;
  arguments: Record<string, unknown>;
}

/** What a function must answer about a history. */
export interface ExpectedNumbers extends FunctionCall {
  /** Every row, in order; of each the columns that matter here. */
  rows: NumberRow[];
  /** One sentence with the arithmetic, done by hand. */
  why: string;
}

/** A row of a function's answer as JSON: dates as `2026-03-02`. */
export type NumberRow = Record<string, unknown>;

/** What a pipeline reports, as one request with a token. */
export interface PostedReport {
  /** The address behind that of the function: source, report and parameters. */
  to: string;
  /** The lines of its body. */
  text: string[];
}

export interface Example {
  name: string;
  title: string;
  description: string;
  /** What is set before the first delivery, by name. */
  settings?: Record<string, string>;
  /** What rules are made before the first delivery. */
  rules?: FunctionCall[];
  deliveries: Posted[];
  /** What pipelines report after that. */
  reports?: PostedReport[];
  /**
   * Every row of every kind of fact; a column that is not there is NULL. Other tables are compared where they are named. A history that is
   * about numbers only has none.
   */
  facts?: Record<string, Record<string, unknown>[]>;
  numbers?: ExpectedNumbers[];
}

/** An example that says which facts it leaves. */
export type ExampleOfFacts = Example & Required<Pick<Example, "facts">>;

/** An example that says what numbers it leaves. */
export type ExampleOfNumbers = Example & Required<Pick<Example, "numbers">>;

const folder = new URL("../examples/", import.meta.url);

/** One example by the name of its file. */
export function readExample(name: string): Example {
  return { name, ...JSON.parse(Deno.readTextFileSync(new URL(`${name}.json`, folder))) };
}

/** Every example, by name. */
export function readExamples(): Example[] {
  const names = [...Deno.readDirSync(folder)].map((entry) => entry.name).filter((name) => name.endsWith(".json"))
    .sort();
  return names.map((name) => readExample(name.slice(0, -".json".length)));
}

/** Whether an example says which facts it leaves. */
export function hasFacts(example: Example): example is ExampleOfFacts {
  return example.facts !== undefined;
}

/** Whether an example says what numbers it leaves. */
export function hasNumbers(example: Example): example is ExampleOfNumbers {
  return example.numbers !== undefined;
}

/** The tables that an example speaks of, as it expects them, NULL left out. */
export function expectedTables(example: ExampleOfFacts): Tables {
  const tables = { ...Object.fromEntries(Object.keys(KINDS).map((kind) => [kind, []])), ...example.facts };
  return Object.fromEntries(
    Object.entries(tables).map(([name, rows]) => [name, sortRows(rows.map(canonicalRow))]),
  );
}

/** Those of these tables that the example speaks of, NULL left out. */
export function spokenOf(example: ExampleOfFacts, tables: Tables): Tables {
  return Object.fromEntries(
    Object.keys(expectedTables(example)).map((name) => [name, sortRows((tables[name] ?? []).map(withoutNull))]),
  );
}

function withoutNull(row: Row): Row {
  return Object.fromEntries(Object.entries(row).filter(([, value]) => value !== null));
}
