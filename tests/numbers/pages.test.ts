/** The pages about the numbers: what they show is what the examples and the database say. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type postgres from "postgres";
import { readingFunctions } from "../../tools/deploy/openapi_rest.ts";
import { testDatabase } from "../support/database.ts";
import { callOf, ingest } from "../support/history_calls.ts";
import { type ExpectedNumbers, hasNumbers, readExample, readExamples } from "../support/history_examples.ts";
import { answeredBlocks, asPsql, type Block, blocksOf, brokenLinks, readPage } from "../support/pages.ts";
import { reader } from "../support/people.ts";

const page = readPage("docs/metrics.md");
const pages = ["docs/metrics.md", "docs/sql.md", "docs/rest.md", "docs/grafana.md"];

/** What is wrong with a block that shows the numbers of an example. */
function wrongFigure({ about, text, after }: Block): string | undefined {
  const example = readExamples().filter(hasNumbers).find(({ name }) => name === about);
  if (!example) return `no example with numbers is called ${about}`;
  const shown = JSON.parse(text) as ExpectedNumbers;
  const asked = JSON.stringify([shown.call, shown.arguments]);
  const worked = example.numbers.find((one) => JSON.stringify([one.call, one.arguments]) === asked);
  if (!worked) return `${about} has no ${asked}`;
  if (JSON.stringify(shown.rows) !== JSON.stringify(worked.rows)) return `${about} has other rows for ${asked}`;
  if (!after.startsWith(worked.why)) return `${about} says otherwise how it comes to ${asked}`;
  return undefined;
}

const figures = blocksOf(page).filter(({ language }) => language === "json");

Deno.test("pages: each figure of docs/metrics.md is its example's", () => {
  assert(figures.length > 30, `${figures.length} figures`);
  assertEquals(figures.map(wrongFigure).filter((wrong) => wrong !== undefined), []);
});

Deno.test("pages: a figure, a sentence and an example that are not so are noticed", () => {
  const figure = figures.find(({ about }) => about === "squash-merge")!;
  assertEquals(wrongFigure(figure), undefined);
  assertStringIncludes(wrongFigure({ ...figure, text: figure.text.replace("18000", "18001") })!, "other rows");
  assertStringIncludes(wrongFigure({ ...figure, after: "It took 6 h." })!, "otherwise");
  assertStringIncludes(wrongFigure({ ...figure, about: "squash" })!, "no example");
  assertStringIncludes(wrongFigure({ ...figure, text: figure.text.replace("2026-03-09", "2026-03-10") })!, "has no");
});

Deno.test("pages: docs/metrics.md names every reading function, each with its evidence", async () => {
  await using database = await testDatabase({ max: 1 });
  const functions = (await readingFunctions(database.sql)).map(({ name }) => name);
  assert(functions.includes("dora") && functions.includes("pipeline_cost"), functions.join(", "));
  const twins = functions.filter((name) => name.endsWith("_evidence")).map((name) =>
    name.slice(0, -"_evidence".length)
  );
  assertEquals(functions.filter((name) => !name.endsWith("_evidence")), twins, "each has its evidence");
  assertEquals(twins.filter((name) => !page.includes(`\`${name}\``)), []);
});

Deno.test("pages: the reasons of docs/metrics.md are those that functions give", async () => {
  await using database = await testDatabase({ max: 1 });
  const section = page.split(/^## /m).find((part) => part.startsWith("Why a number is missing\n"))!;
  const listed = [...section.matchAll(/^\| `([a-z_]+)`/gm)].map(([, reason]) => reason!).sort();
  assertEquals(listed, await reasonsGiven(database.sql));
  await database.sql.unsafe(`
    create function metrics.another() returns table (value integer, reason text) language sql as
      $$ select null::integer, case when true then 'for_no_reason' end $$`);
  assert((await reasonsGiven(database.sql)).includes("for_no_reason"), "one more is noticed");
});

/** Every word that a function with a reason may put there: literals of several words in its branches. */
async function reasonsGiven(sql: postgres.Sql): Promise<string[]> {
  const rows = await sql`
    select distinct (regexp_matches(p.prosrc, $$(?:then|else) '([a-z]+(?:_[a-z]+)+)'$$, 'g'))[1] as reason
    from pg_catalog.pg_proc as p
    left join pg_catalog.pg_type as t
      on t.oid = p.prorettype
    left join pg_catalog.pg_attribute as a
      on a.attrelid = t.typrelid
      and a.attname = 'reason'
    where p.pronamespace = 'metrics'::regnamespace
      and p.proname not like '%evidence'
      and (a.attname is not null or 'reason' = any(p.proargnames))
    order by 1`;
  return rows.map(({ reason }) => reason);
}

Deno.test("pages: what docs/sql.md asks is answered so", async (t) => {
  await using database = await testDatabase({ max: 1 });
  for (const posted of readExample("sample").deliveries) await ingest(database.sql, await callOf(posted));
  await using tool = await reader(database);
  await tool.sql`set time zone 'UTC'`;
  const asked = answeredBlocks(readPage("docs/sql.md"), "sql", "text");
  assert(asked.length >= 8, `${asked.length} statements`);
  for (const { run, answer } of asked) {
    await t.step(run.split("\n").slice(0, 2).join(" "), async () => {
      const found = await asPsql(tool.sql, run).catch(({ message, hint }) => `ERROR:  ${message}\nHINT:  ${hint}\n`);
      assertEquals(found, answer);
    });
  }
});

Deno.test("pages: links lead somewhere", () => {
  for (const path of pages) assertEquals(brokenLinks(path, readPage(path)), [], path);
  assertEquals(brokenLinks("docs/sql.md", "[a](metrics.md#dora) [b](metrics.md#no-such) [c](no.md)"), [
    "metrics.md#no-such",
    "no.md",
  ]);
});
