/** Law 7's checker: every stored aggregate beside its recomputation from the facts. */

import type postgres from "postgres";
import { rolledBack } from "./history_copies.ts";

/** Aggregates by time, the facts that they count, and the column that says when. */
const COUNTED = {
  pipeline_spans: { facts: "pipeline_runs", when: "first_day" },
  job_weeks: { facts: "jobs", when: "week" },
  pull_request_spans: { facts: "pull_requests", when: "first_day" },
  test_spans: { facts: "test_runs", when: "first_day" },
  rule_spans: { facts: "rule_checks", when: "first_day" },
} as const;

/**
 * What stands in the aggregates and not in the facts (`stored`), and the other way round (`counted`). Weeks before the horizon of their
 * facts are left out. Leaves nothing behind.
 *
 * @param sql as `postgres`; nothing may be stored meanwhile
 * @returns one line for each row that differs, none when the law holds
 */
export async function aggregateDifferences(sql: postgres.Sql): Promise<string[]> {
  return await rolledBack(sql, async (transaction) => {
    const lines: string[] = [];
    // Before facts are counted, which marks the tries again.
    const tries = await transaction`
      select t.external_id, t.attempt
      from (
        select
          p.*,
          row_number() over tries = 1 or p.rerun_group is null as is_first,
          row_number() over tries = count(*) over (partition by p.reference_id, p.rerun_group) or p.rerun_group is null as is_last
        from metrics.pipeline_runs as p
        where p.outcome is not null
        window tries as (
          partition by p.reference_id, p.rerun_group
          order by coalesce(p.queued_at, p.started_at, p.finished_at), p.attempt, p.external_id collate "C"
        )
      ) as t
      where (t.is_first, t.is_last) is distinct from (t.is_first_try, t.is_last_try)`;
    lines.push(...tries.map(({ external_id, attempt }) => `pipeline_runs ${external_id} ${attempt}`));
    const [current] = await transaction<{ id: number; time_zone: string }[]>`
      select id, time_zone from metrics.generations where state = 'current'`;
    const { id, time_zone } = current!;
    const [fresh] = await transaction<{ id: number }[]>`
      insert into metrics.generations (state, time_zone) values ('retired', ${time_zone}) returning id`;
    await transaction`
      select metrics.count_facts(${fresh!.id}, r.id, '-infinity', 'infinity')
      from metrics.repository_references as r`;
    // What deploying took follows from changes: of each pull request, the earliest shipping.
    await transaction`
      insert into metrics.pull_request_spans as t (
        generation, reference_id, days, first_day, only_bots, pull_requests, coding, pickup, review, merge, deploy, total
      )
      select
        ${fresh!.id}, d.reference_id, s.days, s.first_day, b.only_bots, 0, 0, 0, 0, 0, sum(d.tally), 0
      from (
        select
          c.pull_request_reference_id as reference_id, c.merged_at, c.pull_request_is_bot as is_bot,
          metrics.tally_of(metrics.bucket_of(extract(epoch from min(c.shipped_at) - c.merged_at)::double precision)) as tally
        from metrics.changes as c
        where c.generation = ${id} and c.merged_at is not null and c.shipped_at is not null
        group by c.repository_id, c.sha, c.pull_request_reference_id, c.pull_request_number, c.merged_at, c.pull_request_is_bot
      ) as d
      cross join (values (28), (7), (1)) as u (days)
      -- Weeks and fours of them follow each other since a Monday, long before anything was told.
      cross join lateral (
        select
          u.days,
          date '1971-04-12' + ((d.merged_at at time zone ${time_zone})::date - date '1971-04-12') / u.days * u.days as first_day
      ) as s
      join (values (false), (true)) as b (only_bots) on d.is_bot or not b.only_bots
      where d.tally is not null
      group by 2, 3, 4, 5
      on conflict on constraint pull_request_spans_pkey do update set deploy = excluded.deploy`;
    for (const [table, { facts, when }] of Object.entries(COUNTED)) {
      const rows = (generation: number) => `
        select to_jsonb(t) - 'generation' as row
        from metrics.${table} as t
        where t.generation = ${generation}
          and t.${when} >= coalesce((select h.before from metrics.horizons as h where h.fact = '${facts}'), '-infinity')`;
      for (const [what, one, other] of [["stored", id, fresh!.id], ["counted", fresh!.id, id]] as const) {
        const found = await transaction.unsafe(
          `select f.row::text as row from (${rows(one)} except ${rows(other)}) as f`,
        );
        lines.push(...found.map(({ row }) => `${table} ${what} ${row}`));
      }
    }
    return lines.sort();
  });
}
