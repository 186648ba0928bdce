/** What a database is, as rows that can be compared: its contents, its catalog, and what of that lies outside our schema. */

import type { Sql } from "postgres";

/** A line for each row of each table of the schema, with every column and `xmin`: a row written again is another line. */
export async function contentsOf(sql: Sql, { writes = true } = {}): Promise<string[]> {
  const tables = await sql<{ name: string }[]>`
    select format('%I.%I', n.nspname, c.relname) as name
    from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
    where n.nspname = 'metrics' and c.relkind = 'r'
    order by 1`;
  const lines: string[] = [];
  for (const { name } of tables) {
    const rows = await sql.unsafe(`select ${writes ? "t.xmin::text || ' ' ||" : ""} t::text as row from ${name} as t`);
    lines.push(...rows.map(({ row }) => `${name} ${row}`).sort());
  }
  return lines;
}

const catalogQuery = new URL("../../tools/deploy/catalog.sql", import.meta.url);

/** The schema metrics as canonical text. */
export async function catalogOf(sql: Sql): Promise<string> {
  return await sql.begin(async (transaction) => {
    await transaction.unsafe("set local search_path = ''");
    const [row] = await transaction.unsafe(await Deno.readTextFile(catalogQuery));
    return String(Object.values(row ?? {})[0]);
  });
}

/** Every row of every system catalog by its text, and what it belongs to. */
export type SystemCatalogs = Map<string, { catalog: string; belongsTo: string; row: string }>;

/** Columns that change by themselves: statistics, horizons of vacuum, where files lie. */
const RESTLESS = [
  "relpages",
  "reltuples",
  "relallvisible",
  "relfrozenxid",
  "relminmxid",
  "relfilenode",
  "datfrozenxid",
  "datminmxid",
  "last_value",
];

/** Statistics, and what only tells which object needs which: `pg_depend` names both ends, and both are compared themselves. */
const UNINTERESTING = ["pg_statistic", "pg_statistic_ext_data", "pg_depend", "pg_shdepend", "pg_largeobject"];

/**
 * Every row of every system catalog, those of the cluster included, with the schema (or the kind and name, where there is
 * no schema) of the object that it is a row of.
 *
 * @param sql connected as the superuser, because passwords are in it
 */
export async function systemCatalogs(sql: Sql): Promise<SystemCatalogs> {
  const catalogs = await sql<{ name: string; columns: string[] }[]>`
    select c.relname as name, array_agg(a.attname::text) as columns
    from pg_class as c join pg_attribute as a on a.attrelid = c.oid
    where c.relnamespace = 'pg_catalog'::regnamespace and c.relkind = 'r' and a.attnum > 0
      and not a.attisdropped and c.relname <> all(${UNINTERESTING})
    group by c.relname
    order by c.relname`;
  const found: SystemCatalogs = new Map();
  for (const { name, columns } of catalogs) {
    const rows = await sql.unsafe(
      `
      with schema_of as materialized (
        -- A table's overflow, and the index on that, lie elsewhere and belong to the table's schema.
        select o.oid, n.nspname from pg_class as o join pg_namespace as n on n.oid = o.relnamespace where n.nspname <> 'pg_toast'
        union all
        select unnest(array[o.reltoastrelid, i.indexrelid]), n.nspname
        from pg_class as o join pg_namespace as n on n.oid = o.relnamespace
        join pg_index as i on i.indrelid = o.reltoastrelid
      )
      select (to_jsonb(t) - $1::text[])::text as row, ${belongsTo(name, columns)} as object
      from pg_catalog.${name} as t`,
      [RESTLESS],
    );
    for (const { row, object } of rows) {
      found.set(`${name} ${row}`, { catalog: name, belongsTo: String(object ?? ""), row: String(row) });
    }
  }
  return found;
}

/** SQL for what a row of this catalog is about. */
function belongsTo(catalog: string, columns: string[]): string {
  const ofRelation = (oid: string) => `(select 'schema ' || s.nspname from schema_of as s where s.oid = ${oid})`;
  if (catalog === "pg_class") return ofRelation("t.oid");
  const relation = columns.find((c) =>
    /^(attrelid|indexrelid|seqrelid|partrelid|inhrelid|tgrelid|polrelid|ev_class|adrelid|stxrelid|prrelid|srrelid)$/
      .test(c)
  );
  if (relation !== undefined) return ofRelation(`t.${relation}`);
  if (catalog === "pg_namespace") return "'schema ' || t.nspname";
  if (catalog === "pg_auth_members") return "'member of ' || t.roleid::regrole || ': ' || t.member::regrole";
  if (catalog === "pg_authid") return "'role ' || t.rolname";
  if (catalog === "pg_db_role_setting") return "'settings of role ' || t.setrole::regrole";
  const namespace = columns.find((c) => /^[a-z]+namespace$/.test(c));
  if (namespace !== undefined) {
    return `(select 'schema ' || n.nspname from pg_namespace as n where n.oid = t.${namespace})`;
  }
  if (columns.includes("classoid") && columns.includes("objoid")) {
    const part = columns.includes("objsubid") ? "t.objsubid" : "0";
    // Numbers below 16384 came with the server.
    return `case when t.objoid < 16384 then 'the server' else (
      select case
        when i.schema is not null then 'schema ' || i.schema
        when i.type in ('trigger', 'rule', 'policy', 'table constraint') and i.identity ~ ' on metrics[.]' then 'schema metrics'
        else i.type || ' ' || i.identity
      end
      from pg_identify_object(t.classoid, t.objoid, ${part}) as i) end`;
  }
  return columns.includes("oid") ? `'${catalog} ' || t.oid` : "null";
}

/** A system catalog's row that was not there before, or is there no more: what was altered is both. */
export interface CatalogChange {
  change: "added" | "removed";
  catalog: string;
  belongsTo: string;
  row: string;
}

/** What changed from one reading of the system catalogs to the next, but for what belongs to one of these. */
export function changesBeyond(before: SystemCatalogs, after: SystemCatalogs, ours: RegExp): CatalogChange[] {
  const changes = (change: "added" | "removed", from: SystemCatalogs, to: SystemCatalogs) =>
    [...to].filter(([text]) => !from.has(text)).map(([, row]) => ({ change, ...row }));
  return [...changes("removed", after, before), ...changes("added", before, after)]
    .filter(({ belongsTo }) => !ours.test(belongsTo));
}
