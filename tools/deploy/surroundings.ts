/** What a database holds beside the schema metrics, in a form that shows whether any of it was changed. */

import type { Sql } from "postgres";

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

/** Catalogs of which every row counts: what came with the server may be changed in these by who is no superuser. */
const OPEN = [
  ..."pg_namespace pg_database pg_authid pg_roles pg_auth_members pg_tablespace pg_language pg_extension".split(" "),
  "pg_largeobject_metadata",
];

/**
 * Every row of every system catalog, those of the cluster included, with the schema (or the kind and name, where there is
 * no schema) of the object that it is a row of.
 *
 * @param sql connected as any role; what it may not read, which on hosted projects are passwords, is left out
 */
export async function systemCatalogs(sql: Sql): Promise<SystemCatalogs> {
  const rows = await sql.unsafe<{ catalog: string; row: string; object: string | null }[]>(
    `${await rowsOfCatalogs(sql)} select * from rows`,
    [RESTLESS],
  );
  return new Map(
    rows.map(({ catalog, row, object }) => [`${catalog} ${row}`, { catalog, row, belongsTo: object ?? "" }]),
  );
}

/** The beginning of a query over `rows` (catalog, row, object): every row of every catalog, in one snapshot. */
async function rowsOfCatalogs(sql: Sql): Promise<string> {
  const catalogs = await sql<{ name: string; columns: string[] }[]>`
    select c.relname as name, array_agg(a.attname::text) as columns
    from pg_class as c join pg_attribute as a on a.attrelid = c.oid
    where c.relnamespace = 'pg_catalog'::regnamespace and a.attnum > 0
      -- The view shows of the roles what everybody may see, where the table with their passwords is closed.
      and (c.relkind = 'r' or c.relname = 'pg_roles')
      and not a.attisdropped and c.relname <> all(${UNINTERESTING})
      and has_column_privilege(c.oid, a.attnum, 'select')
    group by c.relname
    order by c.relname`;
  const each = catalogs.map(({ name, columns }) => {
    const relation = relationOf(name, columns);
    return `
    select '${name}' as catalog, (to_jsonb(t) - $1::text[])::text as row, (${
      relation ? "'schema ' || s.nspname" : belongsTo(name, columns)
    })::text as object
    from (select ${columns.map((column) => `"${column}"`).join(", ")} from pg_catalog.${name}) as t
    ${relation ? `left join schema_of as s on s.oid = t.${relation}` : ""}
    where ${name === "pg_database" ? "t.datname = current_database()" : whatCameLater(name, columns)}`;
  });
  return `
    with schema_of as materialized (
      -- A table's overflow, and the index on that, lie elsewhere and belong to the table's schema.
      select o.oid, n.nspname from pg_class as o join pg_namespace as n on n.oid = o.relnamespace where n.nspname !~ '^pg_toast'
      union all
      select unnest(array[o.reltoastrelid, i.indexrelid]), n.nspname
      from pg_class as o join pg_namespace as n on n.oid = o.relnamespace
      join pg_index as i on i.indrelid = o.reltoastrelid
    ),
    every_row as (${each.join(" union all ")}),
    -- Sessions make temporary tables, and their schemas stay until another session uses them.
    rows as (select * from every_row where object is null or object !~ '^schema pg_(toast_)?temp_')`;
}

/** SQL for whether a row was made since the server was: numbers below 16384 came with it, and belong to its superuser. */
function whatCameLater(catalog: string, columns: string[]): string {
  if (OPEN.includes(catalog)) return "true";
  if (columns.includes("classoid") && columns.includes("objoid")) {
    return `(t.objoid >= 16384 or t.classoid in (${
      OPEN.filter((name) => name !== "pg_roles").map((name) => `'pg_catalog.${name}'::regclass`).join(", ")
    }))`;
  }
  const key = columns.find((column) => /^(oid|mapcfg|aggfnoid|objoid)$/.test(column)) ?? relationOf(catalog, columns);
  return key === undefined ? "true" : `t.${key} >= 16384`;
}

/** The column that says which table, view, index or sequence a row of this catalog is about. */
function relationOf(catalog: string, columns: string[]): string | undefined {
  if (catalog === "pg_class") return "oid";
  return columns.find((c) =>
    /^(attrelid|indexrelid|seqrelid|partrelid|inhrelid|tgrelid|polrelid|ev_class|adrelid|stxrelid|prrelid|srrelid)$/
      .test(c)
  );
}

/** SQL for what a row of another catalog is about. */
function belongsTo(catalog: string, columns: string[]): string {
  if (catalog === "pg_namespace") return "'schema ' || t.nspname";
  if (catalog === "pg_auth_members") return "'member of ' || t.roleid::regrole || ': ' || t.member::regrole";
  if (catalog === "pg_authid" || catalog === "pg_roles") return "'role ' || t.rolname";
  if (catalog === "pg_db_role_setting") return "'settings of role ' || t.setrole::regrole";
  // What completes a type or a function lies in its schema.
  const type = columns.find((c) => /^(enumtypid|rngtypid)$/.test(c));
  if (type !== undefined) {
    return `(select 'schema ' || n.nspname from pg_type as o join pg_namespace as n on n.oid = o.typnamespace where o.oid = t.${type})`;
  }
  if (catalog === "pg_aggregate") {
    return "(select 'schema ' || n.nspname from pg_proc as o join pg_namespace as n on n.oid = o.pronamespace where o.oid = t.aggfnoid)";
  }
  const namespace = columns.find((c) => /^[a-z]+namespace$/.test(c));
  if (namespace !== undefined) {
    return `(select 'schema ' || n.nspname from pg_namespace as n where n.oid = t.${namespace})`;
  }
  if (columns.includes("classoid") && columns.includes("objoid")) {
    const part = columns.includes("objsubid") ? "t.objsubid" : "0";
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

/** What belongs to us, or is written by the CLI: the schema, the readers' role, and the history of migrations. */
export const OURS = /^(schema (metrics|supabase_migrations)|role metrics_reader|member of metrics_reader: postgres)$/;

/** A reading of the system catalogs that can be kept in a file: SHA-256 of the rows, by what they belong to and their catalog. */
export type Surroundings = Record<string, string>;

/** What a database holds beside the schema metrics, short enough for a file. */
export async function surroundingsOf(sql: Sql): Promise<Surroundings> {
  const rows = await sql.unsafe<{ object: string; catalog: string; hash: string }[]>(
    `${await rowsOfCatalogs(sql)}
    select
      -- What has no name is told by its catalog alone.
      case when object ~ '^pg_[a-z_]+ [0-9]+$' then '' else coalesce(object, '') end as object,
      catalog,
      encode(sha256(convert_to(string_agg(row, E'\\n' order by row collate "C"), 'UTF8')), 'hex') as hash
    from rows
    group by 1, 2`,
    [RESTLESS],
  );
  return Object.fromEntries(
    rows.filter(({ object }) => !OURS.test(object)).map(({ object, catalog, hash }) => [
      `${object || "the database"} (${catalog})`,
      hash,
    ]),
  );
}

/** What was changed between two readings. */
export function changedSurroundings(before: Surroundings, after: Surroundings): string[] {
  return [...new Set([...Object.keys(before), ...Object.keys(after)])].filter((what) => before[what] !== after[what])
    .sort();
}
