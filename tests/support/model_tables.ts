/** Reads the real tables in the model's form, so that they can be compared with it and with each other. */

import type postgres from "postgres";
import { KINDS, type Row, sortRows, type Tables } from "./model.ts";
import { canonical, compareText, typeOf } from "./model_values.ts";

/** Keys and bookkeeping, and what is computed of a row or its fellows for numbers, which are compared themselves. */
const NOT_PART_OF_A_FACT =
  "{id, reference_id, test_id, clocks, updated_at, is_first_try, is_last_try, ended_at, flaky_key, " +
  "is_inconclusive, coding_seconds, pickup_seconds, review_seconds, merge_seconds, total_seconds}";

const FACTS = Object.keys(KINDS).filter((name) => name !== "repositories");

/**
 * Every table that ingest writes, in canonical form; `clocks` adds the clocks of the facts, which the model does not keep.
 *
 * @param sql a connection that may read everything, for example as `postgres`
 */
export async function readTables(
  sql: postgres.Sql | postgres.TransactionSql,
  { clocks = false } = {},
): Promise<Tables> {
  const selects = [...FACTS.map((name) => [name, factSelect(name, clocks)]), ...otherSelects(clocks)];
  const parts = selects.map(([name, select]) =>
    `'${name}', (select coalesce(jsonb_agg(r.row), '[]') from (${select}) as r)`
  );
  const [read] = await sql.unsafe(`select jsonb_build_object(${parts.join(", ")})::text as tables`);
  const tables = JSON.parse(read?.["tables"]) as Record<string, Record<string, unknown>[]>;
  return Object.fromEntries(
    Object.entries(tables).map(([name, rows]) => [name, sortRows(rows.map((row) => canonicalRow(row)))]),
  );
}

/** A row as JSON, for example from an example, in canonical form. */
export function canonicalRow(row: Record<string, unknown>): Row {
  return Object.fromEntries(
    Object.entries(row).map(([column, value]) => [column, canonical(columnType(column), value)]),
  );
}

function columnType(column: string) {
  if (column === "clocks" || column === "fact_counts") return "json";
  if (column === "size") return "number";
  if (column === "notes" || column === "references") return "text[]";
  return typeOf(column);
}

function factSelect(name: string, clocks: boolean): string {
  const extra = name === "test_runs"
    ? ` || jsonb_build_object('passed', ${pairs("passed")}, 'skipped', ${pairs("skipped")})`
    : name === "test_cases"
    ? " || (select jsonb_build_object('suite', s.suite, 'name', s.name) from metrics.tests as s where s.id = t.test_id)"
    : "";
  return `
    select to_jsonb(t) - '${NOT_PART_OF_A_FACT}'::text[] ${extra} || jsonb_build_object('repository', f.reference)
      ${clocks ? "|| jsonb_build_object('clocks', t.clocks)" : ""} as row
    from metrics.${name} as t
    left join metrics.repository_references as f on f.id = t.reference_id`;
}

function pairs(column: string): string {
  return `case when t.${column} is not null then (
    select coalesce(jsonb_agg(jsonb_build_array(s.suite, s.name)), '[]') from unnest(t.${column}) as u (id)
    left join metrics.tests as s on s.id = u.id) end`;
}

/** A repository goes by the reference that is its own: its external id, or the URL that nobody claims. */
const NAMED = `
  select p.*, (
    select f.reference from metrics.repository_references as f where f.repository_id = p.id
    order by f.source is null, f.reference collate "C" limit 1
  ) as repository
  from metrics.repositories as p`;

function otherSelects(clocks: boolean): [string, string][] {
  return [
    [
      "repositories",
      `select to_jsonb(t) - '{id, updated_at${clocks ? "" : ", clocks"}}'::text[] as row from (${NAMED}) as t`,
    ],
    [
      "repository_references",
      `select jsonb_build_object('reference', f.reference, 'source', f.source, 'external_id', f.external_id, 'url', f.url,
        'repository', p.repository) as row
       from metrics.repository_references as f join (${NAMED}) as p on p.id = f.repository_id`,
    ],
    [
      "tests",
      `select jsonb_build_object('repository', f.reference, 'suite', t.suite, 'name', t.name) as row
       from metrics.tests as t join metrics.repository_references as f on f.id = t.reference_id`,
    ],
    [
      "deliveries",
      `select to_jsonb(t) - '{received_at, reference_ids, body_expires_on}'::text[] || jsonb_build_object(
        'sha256', encode(t.sha256, 'hex'), 'references', (
          select coalesce(jsonb_agg(f.reference order by f.reference collate "C"), '[]')
          from metrics.repository_references as f where f.id = any(t.reference_ids))) as row
       from metrics.deliveries as t`,
    ],
    [
      "bodies",
      `select jsonb_build_object('source', t.source, 'delivery_id', t.delivery_id,
        'body', translate(encode(t.body, 'base64'), e'\\n', '')) as row
       from metrics.bodies as t`,
    ],
  ];
}

/** The names of the tables in which two readings differ, each with the rows that only one of them has. Empty when equal. */
export function differences(
  actual: Tables,
  expected: Tables,
): Record<string, { only_actual: Row[]; only_expected: Row[] }> {
  const found: Record<string, { only_actual: Row[]; only_expected: Row[] }> = {};
  for (const name of [...new Set([...Object.keys(actual), ...Object.keys(expected)])].sort(compareText)) {
    const left = new Map((actual[name] ?? []).map((row) => [textOf(row), row]));
    const right = new Map((expected[name] ?? []).map((row) => [textOf(row), row]));
    const only_actual = [...left].filter(([text]) => !right.has(text)).map(([, row]) => row);
    const only_expected = [...right].filter(([text]) => !left.has(text)).map(([, row]) => row);
    if (only_actual.length + only_expected.length > 0) found[name] = { only_actual, only_expected };
  }
  return found;
}

function textOf(row: Row): string {
  return JSON.stringify(Object.keys(row).sort(compareText).map((column) => [column, row[column]]));
}
