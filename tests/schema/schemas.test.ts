import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { reports } from "../../supabase/functions/ingest-metrics/reports/mod.ts";
import { contextWith } from "../../supabase/functions/ingest-metrics/reports/testing.ts";
import { readingFunctions } from "../../tools/deploy/openapi_rest.ts";
import { generatedFiles, readRepositoryFile, schemasDifference } from "../../tools/deploy/schemas.ts";
import { testDatabase } from "../support/database.ts";

/** The files as they should be. */
async function made(): Promise<Map<string, string>> {
  await using database = await testDatabase({ max: 1 });
  return await generatedFiles(database.sql);
}

Deno.test("docs/schemas, docs/openapi.json and docs/openapi-rest.json are what the code and the migrations say", async () => {
  const sentence = await schemasDifference(await made(), readRepositoryFile);
  assert(sentence === undefined, sentence);
});

Deno.test("a file that is missing or differs is named", async () => {
  const right = await made();
  const files = new Map(right);
  files.delete("docs/schemas/sarif.json");
  files.set("docs/openapi.json", files.get("docs/openapi.json")!.replace("3.1.1", "3.1.0"));
  const sentence = await schemasDifference(right, (path) => Promise.resolve(files.get(path)));
  assert(sentence);
  assertStringIncludes(sentence, "docs/schemas/sarif.json, docs/openapi.json.");
});

Deno.test("OpenAPI names every report with its content types, and each answer once", async () => {
  const { paths } = JSON.parse((await made()).get("docs/openapi.json")!);
  for (const { name, contentTypes } of reports.values()) {
    const { post } = paths[`/{source}/${name}`];
    assertEquals(Object.keys(post.requestBody.content), contentTypes);
    assertEquals(Object.keys(post.responses), "200 400 401 403 404 405 408 413 415 421 422 429 503".split(" "));
  }
  assertEquals(Object.keys(paths), ["/health", "/{source}", ...[...reports.keys()].map((name) => `/{source}/${name}`)]);
});

Deno.test("the schema of facts has the attributes of each kind, and the kind where it is needed", async () => {
  const { anyOf, $defs } = JSON.parse((await made()).get("docs/schemas/facts.json")!);
  const kinds = Object.keys(anyOf[0].properties);
  assertEquals(Object.keys($defs), ["fact", ...kinds]);
  // deno-lint-ignore no-explicit-any
  assertEquals($defs.fact.anyOf.map((one: any) => one.properties.kind.const), kinds);
  assertEquals($defs.measurements.required, ["name", "external_id"]);
  // Every name that the schema has is one that the reader knows.
  const facts = reports.get("facts")!;
  for (const kind of kinds) {
    for (const name of Object.keys($defs[kind].properties)) {
      const read = facts.read(JSON.stringify({ kind, [name]: null }), contextWith());
      const codes = "refused" in read ? read.refused.map(({ code }) => code) : [];
      assert(!codes.includes("unrecognized_keys"), `${kind}.${name}`);
    }
  }
});

Deno.test("a change of a function of the numbers changes docs/openapi-rest.json", async () => {
  await using database = await testDatabase({ max: 1 });
  const before = await generatedFiles(database.sql);
  const add = (body: string) =>
    database.sql.unsafe(`
      drop function if exists metrics.another_number(text);
      create function metrics.another_number(by text default 'nothing') returns table (value integer) language plpgsql stable
        set statement_timeout = '5s' as $$ begin ${body} end $$;
      comment on function metrics.another_number(text) is 'One more.';
      grant execute on function metrics.another_number(text) to authenticated, metrics_reader`);
  await add("perform metrics.checked_word('by', by, array['nothing', 'team']);");
  const sentence = await schemasDifference(
    await generatedFiles(database.sql),
    (path) => Promise.resolve(before.get(path)),
  );
  assertStringIncludes(sentence ?? "", "docs/openapi-rest.json.");
  await add("return;");
  await assertRejects(() => generatedFiles(database.sql), Error, "another_number no longer says what it groups by");
  await database.sql`create function metrics.a_list(shoe text) returns table (value integer) language sql stable
    set statement_timeout = '5s' as 'select 1'`;
  await database.sql`grant execute on function metrics.a_list(text) to authenticated, metrics_reader`;
  await assertRejects(() => generatedFiles(database.sql), Error, "shoe, an argument of a_list, has no words");
});

Deno.test("docs/openapi-rest.json has every reading function, as it can be called", async (t) => {
  await using database = await testDatabase({ max: 1 });
  const document = JSON.parse((await generatedFiles(database.sql)).get("docs/openapi-rest.json")!);
  const { paths, components: { schemas } } = document;
  const functions = await readingFunctions(database.sql);
  assertEquals(Object.keys(paths), functions.map(({ name }) => `/rpc/${name}`));
  const references = [...JSON.stringify(document).matchAll(/"\$ref":"(#[^"]+)"/g)].map(([, reference]) => reference!);
  assert(references.length > 300, `${references.length} references`);
  // deno-lint-ignore no-explicit-any
  const at = (reference: string) => reference.split("/").slice(1).reduce((part: any, key) => part?.[key], document);
  assertEquals(references.filter((reference) => !at(reference)), []);
  for (const { name, columns, row_type } of functions) {
    await t.step(name, async () => {
      const taken = schemas[`${name}_arguments`];
      const given = Object.entries(taken.properties as Record<string, { enum?: string[]; $ref?: string }>)
        .map(([argument, schema]): [string, { enum?: string[] }] => [argument, schema.$ref ? at(schema.$ref) : schema]);
      // Each word by itself, with what must be said beside it.
      const calls = given.flatMap(([argument, { enum: words = [] }]) => words.map((word) => ({ [argument]: word })));
      for (const call of [{}, ...calls]) {
        const said = Object.entries({ ...call, ...(taken.required ? { name: "size" } : {}) });
        const list = said.map(([argument, word]) => `${argument} => '${word}'`).join(", ");
        const rows = await database.sql.unsafe(`select * from metrics.${name}(${list})`);
        assertEquals(rows.columns.map((column) => column.name), columns.map((column) => column.name));
      }
      assertEquals(Object.keys(schemas[row_type ?? `${name}_row`].properties), columns.map((column) => column.name));
    });
  }
});
