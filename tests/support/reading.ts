/** The functions that give numbers, as the catalog lists them: one that is made tomorrow is tested like the others. */

import type postgres from "postgres";

type Sql = postgres.Sql | postgres.TransactionSql;

/** A function that gives numbers of a period, or the evidence of one. */
export interface ReadingFunction {
  name: string;
  /** Names of its arguments. */
  takes: string[];
  isEvidence: boolean;
  /** Names and types of the columns of its rows. */
  columns: { name: string; type: string }[];
}

/** A row of an answer, as JSON. */
export type Row = Record<string, unknown>;

/** Values of arguments that have no default. */
const REQUIRED: Record<string, unknown> = {
  measurement_series: { name: "size" },
  measurement_series_evidence: { name: "size" },
};

const TYPES: Record<string, string> = {
  since: "date",
  until: "date",
  bots: "boolean",
  page_size: "integer",
  attributes: "jsonb",
};

/** Every function of the schema that members may call and that takes a period. */
export async function readingFunctions(sql: Sql): Promise<ReadingFunction[]> {
  const found = await sql<{ name: string; takes: string[]; oid: number }[]>`
    select p.proname as name, p.proargnames[1:p.pronargs] as takes, p.oid::int
    from pg_proc as p
    where p.pronamespace = 'metrics'::regnamespace and p.provolatile = 's' and p.proretset
      and p.proargnames[1:p.pronargs] @> array['since', 'until']
      and has_function_privilege('authenticated', p.oid, 'execute')
    order by p.proname`;
  const functions: ReadingFunction[] = [];
  for (const { name, takes } of found) {
    const columns = await sql<{ name: string; type: string }[]>`
      select c.name, c.type
      from pg_proc as p
      cross join lateral (
        select a.name, format_type(a.type, null) as type
        from unnest(p.proargnames, p.proargmodes, p.proallargtypes) as a (name, mode, type)
        where a.mode = 't'
        union all
        select a.attname, format_type(a.atttypid, null)
        from pg_type as t
        join pg_attribute as a on a.attrelid = t.typrelid and a.attnum > 0
        where t.oid = p.prorettype and t.typrelid <> 0
      ) as c
      where p.pronamespace = 'metrics'::regnamespace and p.proname = ${name}`;
    functions.push({ name, takes, isEvidence: name.endsWith("_evidence"), columns });
  }
  return functions;
}

/** A call in SQL, with its values. */
export function callOf(
  { name, takes }: Pick<ReadingFunction, "name" | "takes">,
  args: Row,
): [string, (string | null)[]] {
  const named = Object.entries({ ...REQUIRED[name] as Row, ...args }).filter(([arg]) => takes.includes(arg));
  const list = named.map(([arg], i) => `${arg} => $${i + 1}::text::${TYPES[arg] ?? "text"}`).join(", ");
  return [`metrics.${name}(${list})`, named.map(([, value]) => value === null ? null : String(value))];
}

/** One page of what a function gives. */
export async function readPage(sql: Sql, reading: Pick<ReadingFunction, "name" | "takes">, args: Row): Promise<Row[]> {
  const [call, values] = callOf(reading, args);
  const rows = await sql.unsafe(`select to_jsonb(r)::text as row from ${call} as r`, values);
  return rows.map(({ row }) => JSON.parse(row));
}

/**
 * Everything that a function gives, page by page.
 *
 * @throws Error when the pages together are not as many rows as the last of them says
 */
export async function readAll(sql: Sql, reading: ReadingFunction, args: Row, page_size = 500): Promise<Row[]> {
  if (!reading.takes.includes("page_after")) return await readPage(sql, reading, args);
  const rows: Row[] = [];
  for (let after: unknown = null;;) {
    const page = await readPage(sql, reading, { ...args, page_size, ...(after === null ? {} : { page_after: after }) });
    rows.push(...page);
    const total = Number(page.at(-1)?.["total"] ?? rows.length);
    if (page.length < page_size) {
      if (rows.length !== total) {
        throw new Error(`${reading.name} gave ${rows.length} rows and says that it has ${total}`);
      }
      return rows;
    }
    if (page.at(-1)?.["page_key"] === after) throw new Error(`${reading.name} does not go on after ${after}`);
    after = page.at(-1)?.["page_key"];
  }
}
