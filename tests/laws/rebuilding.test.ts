/** Rules change later: everything is derived anew in steps, while readers see the old result or the new, never a mixture. */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import fc from "fast-check";
import type postgres from "postgres";
import { COMPARED, compareNumbers, readNumbers } from "../support/compare_numbers.ts";
import { testDatabase } from "../support/database.ts";
import { deep } from "../support/depth.ts";
import { ingest } from "../support/history_calls.ts";
import { type NumbersCase, numbersCase, type SomeArguments } from "../support/history_numbers.ts";
import { newSeed } from "../support/history_random.ts";
import { apply, type Call } from "../support/model.ts";
import type { Rule } from "../support/model_numbers.ts";
import { as, makeAdmin } from "../support/people.ts";
import { finishRebuild } from "../support/rebuilt.ts";
import { makeRule, story } from "../support/tell_numbers.ts";

const rule = (call: string, named: Record<string, unknown>): Rule => ({ call, arguments: named });

/** Rules under which numbers of any of these histories are others than without rules. */
const RULES: Rule[] = [
  rule("set_setting", { name: "time_zone", value: "Asia/Tokyo" }),
  rule("set_setting", { name: "incident_window_seconds", value: "3600" }),
  rule("add_service", { name: "all", repository: "github:1", may_match_nothing: true }),
];

/** Begins what these rules' functions begin, but takes no step of it yet. */
async function beginRebuilding(sql: postgres.Sql): Promise<void> {
  await sql.begin(async (sql) => {
    await sql`update metrics.settings set time_zone = 'Asia/Tokyo', incident_window_seconds = 3600`;
    await sql`select metrics.begin_rebuild()`;
    await sql`
      insert into metrics.services (generation, repository_id, name, position)
      select g.id, r.repository_id, 'all', 1
      from metrics.generations as g, metrics.repository_references as r
      where g.state = 'building' and r.reference = 'github:1'`;
  });
}

/** Histories that are long enough to be told while something is rebuilt. */
function histories(seed: number, count: number): NumbersCase[] {
  const many = fc.sample(fc.noBias(numbersCase()), { seed, numRuns: 30 * count });
  return many.filter(({ calls }) => calls.length > 15).slice(0, count);
}

/** One answer of every function, by its call, as an admin reads it who waits for nobody. */
async function answers(sql: postgres.Sql, args: SomeArguments): Promise<Record<string, string>> {
  return await as(sql, "admin", async (sql) => {
    await sql`set local lock_timeout = '200 ms'`;
    const read: Record<string, string> = {};
    for (const [call, { by, takes, needs }] of Object.entries(COMPARED)) {
      const named = Object.entries(args).filter(([name]) => takes.includes(name as keyof SomeArguments));
      const rows = await readNumbers(sql, call, {
        ...needs,
        ...Object.fromEntries(named),
        ...(by[1] === undefined ? {} : { by: by[1] }),
      });
      read[call] = JSON.stringify(rows);
    }
    return read;
  });
}

/** A period that holds a whole history, in weeks. */
function wholeOf({ begins }: NumbersCase): SomeArguments {
  const day = (days: number) => Temporal.PlainDate.from(begins).add({ days }).toString();
  return { since: day(-21), until: day(60), bucket: "week" };
}

Deno.test("rebuilding: the old numbers until the last step, then the new ones, with what came in between", async () => {
  const seed = newSeed("rebuilding");
  for (const history of histories(seed, deep(1, 20))) {
    await using database = await testDatabase({ max: 2 });
    const { sql } = database;
    await makeAdmin(sql);
    // Nothing of an old history is beyond what is kept.
    const kept = history.rules.filter(({ arguments: { name } }) => name === "job_days" || name === "test_case_days");
    for (const one of kept) await makeRule(sql, one);
    const told = history.calls.slice(0, history.calls.length >> 1);
    const late = history.calls.slice(told.length);
    for (const call of told) await ingest(sql, call);
    const compared = async (rules: Rule[]) =>
      await as(
        sql,
        "admin",
        (sql) => compareNumbers(sql, { tables: apply(told), rules: [...kept, ...rules] }, [wholeOf(history)]),
      );

    await beginRebuilding(sql);
    let steps = 0;
    for (let isDone = false; !isDone; steps++) {
      // There are many steps: what comes in between is spread over them, and looked at now and then.
      if (steps % 5 === 0) {
        for (const call of late.splice(0, 1)) {
          await ingest(sql, call);
          told.push(call);
        }
      }
      const isLookedAt = steps % 40 === 0;
      if (isLookedAt) {
        assertEquals(await compared([]), [], `seed ${seed}, before step ${steps}: ${story(history)}`);
      }
      const before = isLookedAt ? await answers(sql, wholeOf(history)) : {};
      await sql.begin(async (step) => {
        // Of very few facts, so that a history of a few deliveries has slices that end in the middle of everything.
        const [row] = await step`select metrics.rebuild_slice(${1 + steps % 3}) as has_more`;
        isDone = !row!["has_more"];
        // The step is not committed: a reader waits for nothing, and sees nothing of it.
        if (isLookedAt) {
          assertEquals(await answers(sql, wholeOf(history)), before, `seed ${seed}, within step ${steps}`);
        }
      });
    }
    assert(steps > 2, "there were steps to look between");
    assertEquals(await compared(RULES), [], `seed ${seed}, after ${steps} steps: ${story(history)}`);
    for (const call of late) {
      await ingest(sql, call);
      told.push(call);
    }
    assertEquals(await compared(RULES), [], `seed ${seed}, at the end: ${story(history)}`);
  }
});

/** Which of two answers an answer is. */
function whichOf(
  answer: Record<string, string>,
  old: Record<string, string>,
  recent: Record<string, string>,
): string[] {
  return Object.entries(answer).map(([call, text]) =>
    text === old[call] ? text === recent[call] ? "both" : "old" : text === recent[call] ? "new" : `a mixture of ${call}`
  );
}

Deno.test("rebuilding: who reads all the time reads the old numbers, then the new ones, and nothing else", async (t) => {
  const [history] = histories(3, 1) as [NumbersCase];
  const args = wholeOf(history);
  const prepared = async () => {
    const database = await testDatabase({ max: 4 });
    await makeAdmin(database.sql);
    for (const call of history.calls) await ingest(database.sql, call);
    return database;
  };
  await using database = await prepared();
  const { sql } = database;
  const old = await answers(sql, args);
  await beginRebuilding(sql);
  const read: string[][] = [];
  let isBuilding = true;
  const reading = async () => {
    const texts: Record<string, string>[] = [];
    while (isBuilding) texts.push(await answers(sql, args));
    return [...texts, await answers(sql, args)];
  };
  const readers = [reading(), reading()];
  for (let isDone = false; !isDone;) {
    const [row] = await sql`select metrics.rebuild(0) as answer`;
    isDone = row!["answer"].done;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  isBuilding = false;
  const all = await Promise.all(readers);
  const recent = await answers(sql, args);
  for (const texts of all) read.push(...texts.map((text) => whichOf(text, old, recent)));
  assert(whichOf(recent, old, recent).includes("new"), "the rules change something");
  assertEquals(read.flat().filter((word) => word.startsWith("a mixture")), []);
  for (const texts of all) {
    // The functions are called one after the other, so within one reading some may be old and later ones new.
    const words = texts.flatMap((text) => whichOf(text, old, recent)).filter((word) => word !== "both");
    assertEquals(words.slice(words.indexOf("new")).filter((word) => word === "old"), [], "what was new is old again");
    assertEquals(words.at(-1), "new");
  }

  await t.step("a generation that is read before it is done is noticed", async () => {
    await using other = await prepared();
    await beginRebuilding(other.sql);
    await other.sql`select metrics.rebuild(0)`;
    await other.sql`update metrics.generations set state = 'retired' where state = 'current'`;
    await other.sql`update metrics.generations set state = 'current' where state = 'building'`;
    const words = whichOf(await answers(other.sql, args), old, recent);
    assertNotEquals(words.filter((word) => word.startsWith("a mixture")), []);
  });
});

Deno.test("rebuilding: rules that change while a rebuild is under way begin another, and only that is read", async () => {
  const [history] = histories(5, 1) as [NumbersCase];
  await using database = await testDatabase({ max: 2 });
  const { sql } = database;
  await makeAdmin(sql);
  for (const call of history.calls) await ingest(sql, call);
  const before = await answers(sql, wholeOf(history));
  await beginRebuilding(sql);
  await sql`select metrics.rebuild(0)`;
  await sql`update metrics.settings set time_zone = 'UTC', incident_window_seconds = 86400`;
  await sql`select metrics.begin_rebuild()`;
  await sql`delete from metrics.services where name = 'all' and generation = (select id from metrics.generations where state = 'building')`;
  await finishRebuild(sql);
  assertEquals(await answers(sql, wholeOf(history)), before);
});

/**
 * Tells of one repository with so many pushes of three commits each, a deployment of each from one on, runs and jobs, as a year would
 * have left them.
 */
async function tellMuch(sql: postgres.Sql, pushes: number, firstDeployed: number): Promise<void> {
  await ingest(sql, {
    delivery: { source: "test", delivery_id: "much", sha256: "00".repeat(32), size: 1, result: "stored" },
    facts: {
      repositories: [{
        repository: "github:1",
        full_name: "acme/one",
        default_branch: "main",
        observed_at: "2026-01-01T00:00:00Z",
      }],
    },
  } as Call);
  const [row] = await sql`select id from metrics.repository_references where reference = 'github:1'`;
  const id = row!["id"];
  // Written past the door: what follows from it is what is rebuilt.
  const at = "timestamptz '2026-01-05T00:00:00Z' + p.n * interval '7 minutes'";
  const sha = (n: string) => `lpad(to_hex(${n}), 40, '0')`;
  await sql.unsafe(`
    insert into metrics.pushes (reference_id, ref, before, after, pushed_at, forced, on_default_branch, commits)
    select ${id}, 'refs/heads/main', ${sha("3 * p.n")}, ${sha("3 * p.n + 3")}, ${at}, false, true,
      array[${sha("3 * p.n + 1")}, ${sha("3 * p.n + 2")}, ${sha("3 * p.n + 3")}]
    from generate_series(1, ${pushes}) as p (n);
    insert into metrics.commits (reference_id, sha, authored_at)
    select ${id}, ${sha("c.n")}, timestamptz '2026-01-05T00:00:00Z' + c.n * interval '2 minutes'
    from generate_series(4, 3 * ${pushes} + 3) as c (n);
    insert into metrics.deployments (reference_id, external_id, environment, environment_tier, commit_sha, status, outcome, finished_at)
    select ${id}, 'd' || p.n, 'production', 'production', ${
    sha("3 * p.n + 3")
  }, 'finished', 'success', ${at} + interval '1 hour'
    from generate_series(${firstDeployed}, ${pushes}) as p (n);
    insert into metrics.jobs (reference_id, external_id, name, status, outcome, started_at, finished_at)
    select ${id}, 'j' || p.n, 'test', 'finished', 'success', ${at}, ${at} + interval '1 minute'
    from generate_series(1, 3 * ${pushes}) as p (n);
    analyze metrics.pushes, metrics.commits, metrics.deployments, metrics.jobs`).simple();
}

/** How many rows, of all tables or one, each slice of a rebuild of so many facts reads and writes, in the order of the slices. */
async function rowsOfSlices(sql: postgres.Sql, most: number, table: string | null = null): Promise<number[]> {
  await sql`select metrics.begin_rebuild()`;
  const rows: number[] = [];
  const count = async (sql: postgres.TransactionSql): Promise<number> => {
    const [row] = await sql`
      select sum(seq_tup_read + idx_tup_fetch + n_tup_ins + n_tup_upd + n_tup_del)::int as rows
      from pg_stat_xact_user_tables
      where schemaname = 'metrics' and relname = coalesce(${table}, relname)`;
    return row!["rows"];
  };
  for (let hasMore = true; hasMore;) {
    await sql.begin(async (step) => {
      // What the session has not reported yet counts as well.
      const before = await count(step);
      const [row] = await step`select metrics.rebuild_slice(${most}) as has_more`;
      hasMore = row!["has_more"];
      rows.push(await count(step) - before);
    });
  }
  return rows;
}

Deno.test("rebuilding: a slice is as large in a large repository as in a small one", async (t) => {
  const largest = async (pushes: number, most: number) => {
    await using database = await testDatabase({ max: 1 });
    const { sql } = database;
    await makeAdmin(sql);
    await tellMuch(sql, pushes, 1);
    const rows = await rowsOfSlices(sql, most);
    const [row] = await sql`
      select count(*)::int as count from metrics.changes where generation = metrics.current_generation() and shipped_at is not null`;
    assertEquals(row!["count"], 3 * pushes, "everything was derived");
    return Math.max(...rows);
  };
  const small = await largest(100, 20);
  const large = await largest(800, 20);
  assert(large < 1.5 * small, `${large} rows in a slice of a large repository, ${small} in one of a small one`);

  await t.step("a slice that grows with the repository is noticed", async () => {
    assert(await largest(800, 10_000) > 1.5 * small);
  });
});

Deno.test("rebuilding: a first deployment that ships everything is as much work for each change, however many there are", async (t) => {
  const rowsPerPush = async (pushes: number, planted = "select") => {
    await using database = await testDatabase({ max: 1 });
    const { sql } = database;
    await makeAdmin(sql);
    await tellMuch(sql, pushes, pushes);
    await sql.unsafe(planted).simple();
    const rows = await rowsOfSlices(sql, 20, "changes");
    const [row] = await sql`
      select count(*)::int as count from metrics.changes where generation = metrics.current_generation() and is_first_shipped`;
    assertEquals(row!["count"], 3 * pushes, "everything was shipped");
    return rows.reduce((sum, one) => sum + one) / pushes;
  };
  const small = await rowsPerPush(50);
  const large = await rowsPerPush(400);
  assert(large < 1.5 * small, `${large} rows for a push of many, ${small} for one of few`);

  await t.step("a slice that reads what was shipped before is noticed", async () => {
    const rows = await rowsPerPush(
      400,
      `create function metrics.read_all() returns trigger language plpgsql as $$
        begin
          perform count(*) from metrics.changes as c where c.service_id > 0 and c.reference_id > 0;
          return null;
        end
      $$;
      create trigger read_all after update on metrics.under_way for each row
        when (new.place ->> 'stage' = 'shipped') execute function metrics.read_all()`,
    );
    assert(rows > 1.5 * small);
  });
});
