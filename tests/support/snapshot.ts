/** What a database is, as rows that can be compared: its contents, its catalog, and what of that lies outside our schema. */

import type { Sql } from "postgres";

export {
  type CatalogChange,
  changesBeyond,
  type SystemCatalogs,
  systemCatalogs,
} from "../../tools/deploy/surroundings.ts";

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
