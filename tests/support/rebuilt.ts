/** Law 7's checker of everything that is derived: the present generation beside one that is built anew from the facts. */

import type postgres from "postgres";
import { rolledBack } from "./history_copies.ts";

/** Memos of what a pattern said of a name, written when a name is first met: which names it holds depends on the order. */
const MEMOS = ["environments"];

/** Ids and numbers that each generation gives anew, and SQL for what is named by them. */
const NAMES: Record<string, (id: string) => string> = {
  service_id: (id) =>
    `(select coalesce(s.name, 'repository ' || s.repository_id) from metrics.services as s where s.id = ${id})`,
  ...Object.fromEntries(
    ["shipped_by", "failed_id", "mended_by"].map((column) => [
      column,
      (id: string) =>
        `(select d.kind || ' ' || d.reference || ' ' || d.external_id from metrics.service_deployments as d where d.id = ${id})`,
    ]),
  ),
  // Lines have an order and no certain numbers: there is room left between them.
  line: (line) =>
    `case when ${line} > 0 then 1 + (
      select count(distinct m.line) from metrics.branch_moves as m
      where m.generation = t.generation and m.repository_id = t.repository_id and m.line > 0 and m.line < ${line}
    ) else ${line} end`,
};

/** A table whose rows belong to a generation. */
interface GeneratedTable {
  name: string;
  columns: string[];
}

/** Every table whose rows belong to a generation, as the catalog lists them: one that is made tomorrow is compared as well. */
export async function generatedTables(sql: postgres.Sql | postgres.TransactionSql): Promise<GeneratedTable[]> {
  return await sql<GeneratedTable[]>`
    select c.relname as name, array_agg(a.attname::text order by a.attnum) as columns
    from pg_class as c
    join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    where c.relnamespace = 'metrics'::regnamespace and c.relkind in ('r', 'p')
      and exists (select from pg_attribute as g where g.attrelid = c.oid and g.attname = 'generation')
      and c.relname <> all(${MEMOS})
    group by c.relname
    order by c.relname`;
}

/** Goes on with the rebuild that is under way, if there is one, until it is done. */
export async function finishRebuild(sql: postgres.Sql | postgres.TransactionSql): Promise<void> {
  for (let isDone = false; !isDone;) {
    const [row] = await sql<{ answer: { done: boolean } }[]>`select metrics.rebuild(2) as answer`;
    isDone = row!.answer.done;
  }
}

/**
 * Builds everything anew, and tells what stands in the present generation alone (`kept`) and in the new one alone (`rebuilt`). Ends a
 * rebuild that is under way first.
 *
 * @param sql as an admin or `postgres`, in a transaction that is rolled back: the new generation is the current one afterwards
 * @returns one line for each row that differs, none when the law holds
 */
export async function differencesByRebuilding(sql: postgres.TransactionSql): Promise<string[]> {
  await finishRebuild(sql);
  const generation = async () => (await sql`select metrics.current_generation() as id`)[0]!["id"] as number;
  const kept = await generation();
  await sql`select metrics.begin_rebuild()`;
  await finishRebuild(sql);
  const rebuilt = await generation();
  if (rebuilt === kept) throw new Error("nothing was rebuilt");

  const lines: string[] = [];
  for (const { name, columns } of await generatedTables(sql)) {
    const names = columns.filter((column) => column in NAMES);
    const row = `to_jsonb(t) - '{${["generation", "id", ...names].join(",")}}'::text[] || jsonb_build_object(${
      names.map((column) => `'${column}', ${NAMES[column]!(`t.${column}`)}`).join(", ")
    })`;
    const rows = (id: number) => `select ${row} as row from metrics.${name} as t where t.generation = ${id}`;
    for (const [what, one, other] of [["kept", kept, rebuilt], ["rebuilt", rebuilt, kept]] as const) {
      const found = await sql.unsafe(`select f.row::text as row from (${rows(one)} except all ${rows(other)}) as f`);
      lines.push(...found.map(({ row }) => `${name} ${what} ${row}`));
    }
  }
  return lines.sort();
}

/** {@link differencesByRebuilding} in a transaction of its own, of which nothing stays. Nothing may be stored meanwhile. */
export async function rebuildDifferences(sql: postgres.Sql): Promise<string[]> {
  return await rolledBack(sql, differencesByRebuilding);
}
