/** Bad input gets a clear error that says what is wrong, with the value, in bounded time; or does no harm. */

import { assert, assertEquals, assertLess, assertNotEquals } from "@std/assert";
import postgres from "postgres";
import { testDatabase } from "../support/database.ts";
import { ingest } from "../support/history_calls.ts";
import { callTelling, rolledBack } from "../support/history_copies.ts";
import { become, makeAdmin } from "../support/people.ts";
import { type ReadingFunction, readingFunctions, readPage, type Row } from "../support/reading.ts";

/** Milliseconds that an error may take to come, at any size of what is stored. */
const limit = 1_000;

/** What a function was asked, what it refused for, and what its refusal must hold. */
interface Bad {
  args: Row;
  says: string | RegExp;
}

const period = { since: "2026-03-02", until: "2026-03-09" };

const BAD: Record<string, Bad> = {
  "since after until": { args: { since: "2026-03-09", until: "2026-03-02" }, says: /2026-03-09.*2026-03-02/ },
  "since as until": { args: { since: "2026-03-09", until: "2026-03-09" }, says: "2026-03-09" },
  "an infinite past": { args: { since: "-infinity", until: "2026-03-09" }, says: "-infinity" },
  "an infinite future": { args: { since: "2026-03-02", until: "infinity" }, says: "infinity" },
  "a century": {
    args: { since: "1926-03-02", until: "2026-03-02", bucket: "day" },
    says: /1926-03-02.*2026-03-02.*3660/,
  },
  "a bucket that does not exist": { args: { ...period, bucket: "fortnight" }, says: "fortnight" },
  "an empty bucket": { args: { ...period, bucket: "" }, says: /bucket/ },
  "a group that does not exist": { args: { ...period, by: "colour" }, says: "colour" },
  "a page of none": { args: { ...period, page_size: 0 }, says: "0" },
  "a page of too many": { args: { ...period, page_size: 501 }, says: "501" },
  "a page of less than none": { args: { ...period, page_size: -1 }, says: "-1" },
  "a key that is none": { args: { ...period, page_after: "garbage" }, says: "garbage" },
  "a key that is another's": { args: { ...period, page_after: '{"a": 1}' }, says: '{"a": 1}' },
  "a key of other parts": {
    args: { ...period, page_after: '[1, [2], {"a": null}, true, "x", "y"]' },
    says: /\[1, \[2\]/,
  },
  "a key of nothing": { args: { ...period, page_after: "[]" }, says: "[]" },
  "a key with no day": { args: { ...period, bucket: "day", page_after: '["", "someday", ""]' }, says: "someday" },
};

/** What is wrong about how a function answers: it did not refuse, said too little, or took too long. */
async function faultOf(
  sql: postgres.TransactionSql,
  reading: ReadingFunction,
  { args, says }: Bad,
): Promise<string | null> {
  const began = performance.now();
  let refusal: unknown;
  try {
    await sql.savepoint((sql) => readPage(sql, reading, args));
  } catch (error) {
    refusal = error;
  }
  const took = performance.now() - began;
  if (took > limit) return `${reading.name} took ${took} ms`;
  if (!(refusal instanceof postgres.PostgresError)) return `${reading.name} did not refuse`;
  if (refusal.code !== "22023") return `${reading.name}: ${refusal.code} ${refusal.message}`;
  const isSaid = typeof says === "string" ? refusal.message.includes(says) : says.test(refusal.message);
  return isSaid ? null : `${reading.name} says only: ${refusal.message}`;
}

Deno.test("bad_input: every function refuses what makes no sense, with the value, at once", async (t) => {
  await using database = await testDatabase({ max: 1 });
  await makeAdmin(database.sql);
  await rolledBack(database.sql, async (sql) => {
    const functions = await readingFunctions(sql);
    await sql.unsafe(`
      create function metrics.planted(since date default null, until date default null, bucket text default 'none')
      returns table (reason text) language sql stable set search_path = '' as $$ select 'too_few'::text $$;
      grant execute on function metrics.planted to authenticated`).simple();
    const [planted] = (await readingFunctions(sql)).filter(({ name }) => name === "planted");
    await become(sql, "admin");
    for (const [what, bad] of Object.entries(BAD)) {
      await t.step(`bad_input: ${what}`, async () => {
        const own = Object.keys(bad.args).filter((name) =>
          !(name in period) || bad.args[name] !== period[name as "since"]
        );
        const asked = functions.filter(({ takes }) => own.every((name) => takes.includes(name)));
        assert(asked.length > 5, "there are functions to ask");
        const faults: string[] = [];
        for (const reading of asked) {
          const fault = await faultOf(sql, reading, bad);
          if (fault !== null) faults.push(fault);
        }
        assertEquals(faults, []);
      });
    }
    await t.step("bad_input: a function that answers nevertheless is noticed", async () => {
      assertNotEquals(await faultOf(sql, planted!, BAD["a century"]!), null);
    });
  });
});

/** Patterns that keep an engine busy that goes back over the text, for each of its letters. */
const CATASTROPHIC = [
  "(a*)*b",
  "(a+)+$",
  "(a|a)*$",
  "(a|aa)+$",
  "(a|b|ab)*c",
  "(.*)*(.*)*(.*)*x",
  "^(([a-z])+.)+[A-Z]([a-z])+$",
  "(x{1,200}){1,200}",
  "((a{1,100}){1,100}){1,100}",
  "(a?){200}a{200}",
  "(.{0,255}){0,255}z",
  "(((((((((a*)*)*)*)*)*)*)*)*)*b",
  "[[:alpha:]]*[[:alpha:]]*[[:alpha:]]*[[:alpha:]]*[[:alpha:]]*[[:alpha:]]*[[:alpha:]]*1",
  "(?=(a+)+b)a",
  "(?!(a+)+b)a",
  "(?<=(a+)+)b",
  `(${"a|".repeat(90)}a)*b`,
];

const REFUSED: Record<string, string> = {
  "what is not closed": "prod(",
  "a set that is not closed": "[a-",
  "nothing to repeat": "*prod",
  "a reference to what was matched": "(a)\\1",
  "an unknown class": "[[:colour:]]",
  "a bound that is too large": "a{1,5000}",
  "what is too long": "a".repeat(201),
};

/** A deployment with names as long as a fact's text may be. */
function longDeployment(id: string) {
  return {
    kind: "deployments",
    observation: {
      repository: "github:1",
      observed_at: "2026-03-02T08:00:00Z",
      external_id: id,
      name: "a".repeat(4_000),
      environment: "ab".repeat(2_000),
      status: "finished",
      outcome: "success",
      finished_at: "2026-03-02T08:00:00Z",
    },
  };
}

/** Milliseconds that a pattern may keep a rule that is made, or a delivery to which it applies. */
const patience = 2_000;

async function timed(work: () => Promise<unknown>): Promise<{ took: number; error?: postgres.PostgresError }> {
  const began = performance.now();
  try {
    await work();
    return { took: performance.now() - began };
  } catch (error) {
    if (!(error instanceof postgres.PostgresError)) throw error;
    return { took: performance.now() - began, error };
  }
}

Deno.test("bad_input: a pattern that would keep another engine busy for ever is refused, or harmless", async (t) => {
  await using database = await testDatabase({ max: 1 });
  const { sql } = database;
  await ingest(sql, callTelling("long", [longDeployment("1")]));
  for (const pattern of CATASTROPHIC) {
    await t.step(`bad_input: ${pattern.slice(0, 60)}`, async () => {
      for (
        const call of [
          "add_service('busy', 'github:1', deployment_pattern => $1, environment_pattern => $1, rollout_pattern => $1, may_match_nothing => true)",
          "set_environment_tier($1, 'production')",
        ]
      ) {
        await rolledBack(sql, async (sql) => {
          await sql`set local statement_timeout = '8 s'`;
          const made = await timed(() => sql.savepoint((sql) => sql.unsafe(`select metrics.${call}`, [pattern])));
          assertLess(made.took, patience, `${call} with ${pattern}`);
          if (made.error) {
            assertEquals(made.error.code, "22023", made.error.message);
            assert(made.error.message.includes(pattern.slice(0, 40)), made.error.message);
            return;
          }
          // What was accepted must not hold up a delivery either.
          const told = await timed(() =>
            sql.savepoint((sql) => ingest(sql, callTelling("more", [longDeployment("2")])))
          );
          assertEquals(told.error, undefined, `a delivery under ${pattern}`);
          assertLess(told.took, patience, `a delivery under ${pattern}`);
        });
      }
    });
  }
  for (const [what, pattern] of Object.entries(REFUSED)) {
    await t.step(`bad_input: ${what} is refused with the pattern`, async () => {
      for (
        const call of [
          "add_service('bad', 'github:1', deployment_pattern => $1)",
          "add_service('bad', 'github:1', environment_pattern => $1)",
          "add_service('bad', 'github:1', rollout_pattern => $1)",
          "set_environment_tier($1, 'production')",
        ]
      ) {
        const { error, took } = await timed(() => sql.unsafe(`select metrics.${call}`, [pattern]));
        assertEquals(error?.code, "22023", `${call}: ${error?.message}`);
        assert(error!.message.includes(pattern.slice(0, 40)), error!.message);
        assertLess(took, limit);
      }
    });
  }
});

Deno.test("bad_input: globs with many stars do not hold up a delivery", async () => {
  await using database = await testDatabase({ max: 1 });
  const { sql } = database;
  const repository = "github:1";
  const commit = (sha: string) => ({
    kind: "commits",
    observation: {
      repository,
      sha,
      authored_at: "2026-03-02T08:00:00Z",
      changed_paths: Array(200).fill(`${"a/".repeat(200)}b`),
    },
  });
  const push = (before: string, after: string) => ({
    kind: "pushes",
    observation: {
      repository,
      ref: "refs/heads/main",
      before,
      after,
      pushed_at: null,
      on_default_branch: true,
      commits: [after],
    },
  });
  await ingest(sql, callTelling("first", [{ kind: "repositories", observation: { repository } }]));
  const globs = Array.from({ length: 100 }, (_, i) => `${"**/a*".repeat(15)}/${i}`);
  const made = await timed(() =>
    sql`select metrics.add_service('many', 'github:1', path_globs => ${globs}, may_match_nothing => true)`
  );
  assertEquals(made.error, undefined);
  const [a, b] = ["a".repeat(40), "b".repeat(40)] as const;
  const told = await timed(() =>
    ingest(sql, callTelling("commits", [commit(a), push("0".repeat(40), a), commit(b), push(a, b)]))
  );
  assertEquals(told.error, undefined);
  assertLess(told.took, 2 * patience, "a delivery of commits with many long paths");
});

Deno.test("bad_input: rules that make no sense are refused, and change nothing", async (t) => {
  await using database = await testDatabase({ max: 1 });
  const { sql } = database;
  const deployment = longDeployment("1");
  deployment.observation.name = "api-web";
  deployment.observation.environment = "production";
  await ingest(sql, callTelling("1", [deployment]));
  await sql`select metrics.add_service('api', 'github:1', deployment_pattern => '^api')`;
  const generations = () => sql`select id, state from metrics.generations order by id`;
  const before = await generations();
  const cases: Record<string, [string, RegExp]> = {
    "a rule that matches nothing": [
      "add_service('none', 'github:1', deployment_pattern => '^nothing$')",
      /none.*\^nothing\$/s,
    ],
    "a rule that matches twice": ["add_service('web', 'github:1', deployment_pattern => 'web$')", /web.*api.*api-web/s],
    "a name twice": ["add_service('api', 'github:1', may_match_nothing => true)", /api/],
    "no name": ["add_service(' ', 'github:1', may_match_nothing => true)", /name/],
    "a name that is too long": [`add_service('${"n".repeat(201)}', 'github:1', may_match_nothing => true)`, /200/],
    "a source that does not exist": ["add_service('new', 'github:1', source => 'tags')", /tags/],
    "runs of no pipeline": ["add_service('new', 'github:1', source => 'pipeline')", /pipeline/],
    "a pipeline of no runs": ["add_service('new', 'github:1', pipeline => 'deploy')", /pipeline/],
    "no globs": ["add_service('new', 'github:1', path_globs => '{}')", /path_globs/],
    "an empty glob": ["add_service('new', 'github:1', path_globs => '{\"\"}')", /path_globs/],
    "a repository that is not known": ["add_service('new', 'acme/none')", /acme\/none/],
    "a tier that does not exist": ["set_environment_tier('^live', 'prod')", /prod/],
    "an environment by no pattern": ["set_environment_tier('', 'production')", /pattern/],
    "a time zone that does not exist": ["set_setting('time_zone', 'Europe/Atlantis')", /Europe\/Atlantis/],
    "a time zone that is a difference": ["set_setting('time_zone', '+99:99')", /\+99:99/],
    "a setting that does not exist": ["set_setting('colour', 'blue')", /colour/],
    "a year without bands": ["set_setting('band_year', '1999')", /1999/],
    "a window that is no number": ["set_setting('incident_window_seconds', 'long')", /incident_window_seconds.*long/],
    "a window that is too long": [
      "set_setting('incident_window_seconds', '999999999')",
      /incident_window_seconds.*999999999/,
    ],
    "a service to remove that is not there": ["remove_service('none')", /none/],
    "a rebuild without an end": ["rebuild('infinity')", /between 0 and 2, not Infinity/],
    "a rebuild of no time": ["rebuild('nan')", /between 0 and 2, not NaN/],
  };
  for (const [what, [call, says]] of Object.entries(cases)) {
    await t.step(`bad_input: ${what} is refused`, async () => {
      const { error, took } = await timed(() => sql.unsafe(`select metrics.${call}`));
      if (error === undefined) throw new Error("it was not refused");
      assert(["22023", "P0002"].includes(error.code), `${error.code}: ${error.message}`);
      assert(says.test(error.message), error.message);
      assertLess(took, limit);
      assertEquals(await generations(), before, "nothing was begun");
    });
  }
});

Deno.test("bad_input: what could only mean nothing is no error, and gives nothing", async () => {
  await using database = await testDatabase({ max: 1 });
  await makeAdmin(database.sql);
  await rolledBack(database.sql, async (sql) => {
    await become(sql, "admin");
    for (const reading of await readingFunctions(sql)) {
      for (
        const [name, value] of [["service", ""], ["repository", "'; drop table x"], ["team", "\u{1F600}"], [
          "environment",
          "x".repeat(10_000),
        ], ["branch", "%"]] as const
      ) {
        if (!reading.takes.includes(name)) continue;
        const { took, error } = await timed(() => readPage(sql, reading, { ...period, [name]: value }));
        assertEquals(error, undefined, `${reading.name} with ${name} ${value.slice(0, 40)}`);
        assertLess(took, limit);
      }
    }
  });
});
