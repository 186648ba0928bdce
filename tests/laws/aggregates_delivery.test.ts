/** Law 7: what is derived and counted as deliveries arrive equals what is derived and counted anew from the facts. */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import fc from "fast-check";
import type postgres from "postgres";
import { testDatabase } from "../support/database.ts";
import { deep } from "../support/depth.ts";
import { callPatiently, ingest, ingestPatiently, ingestTogether } from "../support/history_calls.ts";
import { rolledBack } from "../support/history_copies.ts";
import { type NumbersCase, numbersCase } from "../support/history_numbers.ts";
import { newSeed } from "../support/history_random.ts";
import type { Call } from "../support/model.ts";
import { differencesByRebuilding, generatedTables, rebuildDifferences } from "../support/rebuilt.ts";
import { makeRule, orderOf, story, tell } from "../support/tell_numbers.ts";

/** Histories that the seed makes, as many as that. */
function cases(seed: number, count: number): NumbersCase[] {
  return fc.sample(fc.noBias(numbersCase()), { seed, numRuns: count });
}

/** The calls under other ids, changed where their text holds one of these. */
function retold(calls: readonly Call[], prefix: string, replace: Record<string, string> = {}): Call[] {
  return calls.map((call) => {
    const facts = Object.entries(replace).reduce(
      (text, [from, to]) => text.replaceAll(from, to),
      JSON.stringify(call.facts),
    );
    const delivery = { ...call.delivery, delivery_id: `${prefix} ${call.delivery["delivery_id"]}` };
    return { ...call, delivery, facts: JSON.parse(facts) };
  });
}

/** What all histories tell of becomes one repository, so that they meet in its deployments, commits and pull requests. */
const ONE = {
  '"gitlab:2"': '"github:1"',
  '"github:3"': '"github:1"',
  "acme/two": "acme/one",
  "acme/three": "acme/one",
};

Deno.test("aggregates equal facts: whatever joins them, told in any order under any rules", async () => {
  const seed = newSeed("aggregates_delivery");
  await using database = await testDatabase();
  const property = fc.asyncProperty(fc.noBias(numbersCase()), async (history) => {
    await rolledBack(database.sql, async (sql) => {
      await tell(sql, history);
      assertEquals(await differencesByRebuilding(sql), [], story(history));
    });
  });
  await fc.assert(property, { seed, numRuns: deep(10, 300) });
});

Deno.test("aggregates equal facts: after each delivery of a history", async () => {
  const seed = newSeed("aggregates_delivery");
  await using database = await testDatabase();
  for (const history of cases(seed, deep(1, 30))) {
    const { calls, rulesAfter } = orderOf(history);
    await rolledBack(database.sql, async (sql) => {
      for (const [n, call] of calls.entries()) {
        if (n === rulesAfter) { for (const rule of history.rules) await makeRule(sql, rule); }
        await ingest(sql, call);
        // Of which nothing may stay: what comes next must meet what deliveries left.
        const found = await differencesAfter(sql, "select 1");
        assertEquals(
          found,
          [],
          `seed ${seed}, after ${n} calls: ${story({ ...history, calls: calls.slice(0, n + 1) })}`,
        );
      }
    });
  }
});

Deno.test("aggregates equal facts: while eight connections push to and deploy one repository", async () => {
  const seed = newSeed("aggregates_delivery");
  for (let i = 0; i < deep(2, 40); i++) {
    await using database = await testDatabase({ max: 10 });
    const { sql } = database;
    const histories = cases(seed + i, 4);
    await ingestPatiently(sql, retold(histories[0]!.calls, "first", ONE)[0]!);
    const calls = histories.flatMap((history, n) => retold(orderOf(history).calls, `${n}`, ONE));
    let isTelling = true;
    const rules = async () => {
      // Rules are made and taken back meanwhile, and what is derived by them is built step by step.
      for (let n = 0; isTelling; n++) {
        const tier = n % 2 === 0 ? "production" : "staging";
        await callPatiently(() => sql`select metrics.set_environment_tier('^blue$', ${tier})`);
        // From here on runs are deployments, and later they are no longer.
        if (n % 4 === 1) {
          await callPatiently(() =>
            sql`
              select metrics.add_service(
                'runs', 'github:1', source => 'pipeline', pipeline => 'build', may_match_nothing => true
              )`
          );
        } else if (n % 4 === 3) await callPatiently(() => sql`select metrics.remove_service('runs')`);
        await callPatiently(() => sql`select metrics.begin_rebuild()`);
        for (let step = 0; step < 5; step++) await callPatiently(() => sql`select metrics.rebuild(0)`);
      }
    };
    const senders = Array.from({ length: 8 }, async (_, loop) => {
      const mine = calls.filter((_, n) => n % 8 === loop);
      for (const [n, call] of mine.entries()) {
        if (n % 5 === 4) await ingestTogether(sql, mine.slice(n, n + 3));
        await ingestPatiently(sql, call);
      }
    });
    await Promise.all([
      Promise.all(senders).finally(() => isTelling = false),
      ...(i % 2 === 0 ? [] : [rules()]),
    ]);
    assertEquals(await rebuildDifferences(sql), [], `seed ${seed + i}`);
    const [row] = await sql`select count(*)::int as count from metrics.service_spans`;
    assert(row!["count"] > 0);
  }
});

Deno.test("aggregates equal facts: after corrections, erasing, retention, and changes of the time zone and of rules", async () => {
  const seed = newSeed("aggregates_delivery");
  await using database = await testDatabase();
  for (let i = 0; i < deep(2, 60); i++) {
    const [first, second, third, fourth] = cases(seed + i, 4) as [NumbersCase, NumbersCase, NumbersCase, NumbersCase];
    await rolledBack(database.sql, async (sql) => {
      const check = async (after: string) => {
        const found = await differencesByRebuilding(sql);
        assertEquals(
          found,
          [],
          `seed ${seed + i}, after ${after}: ${JSON.stringify([first, second, third].map(story))}`,
        );
      };
      // The histories use the same ids, so the second corrects the first: some of its keys have another repository's values.
      await tell(sql, first);
      const both = [...retold(second.calls, "second"), ...retold(first.calls, "two", { '"github:1"': '"gitlab:2"' })];
      for (const call of both) await ingest(sql, call);
      await check("corrections");

      const rules = first.rules.some(({ call }) => call === "add_service") ? [] : third.rules;
      for (const rule of rules.filter(({ call }) => call !== "add_service")) await makeRule(sql, rule);
      for (
        const name of new Set(first.rules.filter(({ call }) => call === "add_service").map((r) => r.arguments["name"]))
      ) {
        await sql`select metrics.remove_service(${name as string})`;
        await check("a service's removal");
      }
      await makeRule(sql, {
        call: "add_service",
        arguments: { name: "second", repository: "gitlab:2", environment_pattern: "^prod", may_match_nothing: true },
      });
      await check("a rule");
      for (const time_zone of ["Asia/Tokyo", "America/New_York"]) {
        await sql`select metrics.set_setting('time_zone', ${time_zone})`;
        await check(`days as they are in ${time_zone}`);
      }
      await sql`select metrics.forget_person('dev-1')`;
      await check("a person was forgotten");

      await sql`select metrics.set_setting('job_days', '7')`;
      for (let n = 0; n < 3; n++) await sql`select metrics.maintain(2)`;
      await check("the first steps of retention");
      await sql`select metrics.maintain()`;
      await check("retention");
      for (const call of retold(third.calls, "third")) await ingest(sql, call);
      await check("deliveries about weeks that are frozen");

      for (let isDone = false; !isDone;) {
        const [row] = await sql`select metrics.forget_repository('github:1', 1000) as answer`;
        isDone = row!["answer"].done;
      }
      await check("a repository was forgotten");
      for (const call of retold(fourth.calls, "fourth")) await ingest(sql, call);
      await check("it was told of again");
    });
  }
});

const present = "generation = metrics.current_generation()";

const FAULTS: Record<string, string> = {
  "a counter that is one too high": `
    update metrics.service_spans set deployments = deployments + 1
    where ctid = (select ctid from metrics.service_spans where ${present} limit 1)`,
  "a change that was shipped at another time": `
    update metrics.changes set shipped_at = shipped_at + interval '1 hour'
    where ctid = (select ctid from metrics.changes where ${present} and shipped_at is not null limit 1)`,
  "a change that was shipped by another deployment": `
    update metrics.changes as c set shipped_by = d.id
    from metrics.service_deployments as d
    where c.ctid = (select ctid from metrics.changes where ${present} and shipped_at is not null limit 1)
      and d.id = (select max(id) from metrics.service_deployments where ${present} and id <> c.shipped_by)`,
  "a move that is missing":
    `delete from metrics.branch_moves where ctid = (select ctid from metrics.branch_moves where ${present} limit 1)`,
  "a rollback that nobody saw":
    `delete from metrics.deployment_failures where ctid = (select ctid from metrics.deployment_failures where ${present} limit 1)`,
  "a lead time in another bucket": `
    update metrics.lead_time_spans set lead_tally = lead_tally * 1e8
    where ctid = (select ctid from metrics.lead_time_spans where ${present} and lead_tally > 0 limit 1)`,
  "a row that counts nothing": `
    insert into metrics.lead_time_spans
    select generation, id, 7, '2026-03-02', false, repository_id, 0, 0, 0, 0, 0, 0, 0, 0, 0 from metrics.services where ${present} limit 1`,
  "a run that is not counted": `
    alter table metrics.pipeline_runs disable trigger user;
    delete from metrics.pipeline_runs where true`,
  "a table that nobody derives anew": `
    create table metrics.planted (generation integer primary key);
    insert into metrics.planted select metrics.current_generation()`,
};

Deno.test("aggregates equal facts: a fault in what is derived is noticed", async (t) => {
  await using database = await testDatabase({ max: 1 });
  await rolledBack(database.sql, async (sql) => {
    // A history of which every kind of aggregate has a row: a fault needs something to change.
    for (const [n, history] of cases(11, 16).entries()) {
      for (const call of retold(history.calls, `${n}`)) await ingest(sql, call);
    }
    // Rules may be none, and a generation that is read has nothing under way.
    const mayBeEmpty = ["environment_rules", "under_way", "postponed"];
    for (const { name } of (await generatedTables(sql)).filter(({ name }) => !mayBeEmpty.includes(name))) {
      const [row] = await sql.unsafe(`select count(*)::int as count from metrics.${name} where ${present}`);
      assert(row!["count"] > 0, `${name} has rows to compare`);
    }
    assertEquals(await differencesAfter(sql, "select 1"), []);
    for (const [fault, statement] of Object.entries(FAULTS)) {
      await t.step(fault, async () => assertNotEquals(await differencesAfter(sql, statement), []));
    }
  });
});

/** What differs once these statements are done; all of it is undone. */
async function differencesAfter(sql: postgres.TransactionSql, statements: string): Promise<string[]> {
  const found: string[] = [];
  const undo = new Error("rolled back on purpose");
  await sql.savepoint(async (inner) => {
    await inner.unsafe(statements).simple();
    found.push(...await differencesByRebuilding(inner));
    throw undo;
  }).catch((error) => {
    if (error !== undo) throw error;
  });
  return found;
}
