/** Taking what follows from facts away from their way in, and putting it back. */

import type { Sql } from "postgres";

/**
 * Switches what follows from facts: the triggers that keep the aggregates, and the deriving of what joins facts, which is done for
 * repositories up to a number. While it is off nothing follows, and `metrics.rebuild` has to be done afterwards.
 *
 * @param sql as the owner of the tables
 * @returns how many tables have such triggers
 */
export async function setAggregates(sql: Sql, on: boolean): Promise<number> {
  const tables = await sql<{ name: string }[]>`
    select distinct t.tgrelid::regclass::text as name
    from pg_trigger as t
    join pg_class as c on c.oid = t.tgrelid
    where c.relnamespace = 'metrics'::regnamespace and not t.tgisinternal
    order by 1`;
  for (const { name } of tables) await sql.unsafe(`alter table ${name} ${on ? "enable" : "disable"} trigger user`);
  await sql`
    update metrics.generations
    set repositories_up_to = ${on ? "9223372036854775807" : "0"}
    where state = 'current'`;
  return tables.length;
}

/**
 * Makes everything that is derived from facts again.
 *
 * @returns how many steps it took
 */
export async function rebuild(sql: Sql): Promise<number> {
  await sql`select metrics.begin_rebuild()`;
  for (let steps = 1;; steps++) {
    const [row] = await sql<{ done: boolean }[]>`select (metrics.rebuild() ->> 'done')::boolean as done`;
    if (row?.done) return steps;
  }
}
