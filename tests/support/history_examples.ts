/** The histories under tests/examples: deliveries, and the facts that they must leave. */

import type { Posted } from "./history_github.ts";
import { KINDS, type Row, sortRows, type Tables } from "./model.ts";
import { canonicalRow } from "./model_tables.ts";

export interface Example {
  name: string;
  title: string;
  description: string;
  deliveries: Posted[];
  /** Every row of every kind of fact; a column that is not there is NULL. Other tables are compared where they are named. */
  facts: Record<string, Record<string, unknown>[]>;
  numbers: Record<string, unknown>;
}

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

/** The tables that an example speaks of, as it expects them, NULL left out. */
export function expectedTables(example: Example): Tables {
  const tables = { ...Object.fromEntries(Object.keys(KINDS).map((kind) => [kind, []])), ...example.facts };
  return Object.fromEntries(
    Object.entries(tables).map(([name, rows]) => [name, sortRows(rows.map(canonicalRow))]),
  );
}

/** Those of these tables that the example speaks of, NULL left out. */
export function spokenOf(example: Example, tables: Tables): Tables {
  return Object.fromEntries(
    Object.keys(expectedTables(example)).map((name) => [name, sortRows((tables[name] ?? []).map(withoutNull))]),
  );
}

function withoutNull(row: Row): Row {
  return Object.fromEntries(Object.entries(row).filter(([, value]) => value !== null));
}
