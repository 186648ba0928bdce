import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { reports } from "../../supabase/functions/ingest-metrics/reports/mod.ts";
import { contextWith } from "../../supabase/functions/ingest-metrics/reports/testing.ts";
import { generatedFiles, readRepositoryFile, schemasDifference } from "../../tools/deploy/schemas.ts";

Deno.test("docs/schemas and docs/openapi.json are what the code says", async () => {
  const sentence = await schemasDifference(readRepositoryFile);
  assert(sentence === undefined, sentence);
});

Deno.test("a file that is missing or differs is named", async () => {
  const files = generatedFiles();
  files.delete("docs/schemas/sarif.json");
  files.set("docs/openapi.json", files.get("docs/openapi.json")!.replace("3.1.1", "3.1.0"));
  const sentence = await schemasDifference((path) => Promise.resolve(files.get(path)));
  assert(sentence);
  assertStringIncludes(sentence, "docs/schemas/sarif.json, docs/openapi.json.");
});

Deno.test("OpenAPI names every report with its content types, and each answer once", () => {
  const { paths } = JSON.parse(generatedFiles().get("docs/openapi.json")!);
  for (const { name, contentTypes } of reports.values()) {
    const { post } = paths[`/{source}/${name}`];
    assertEquals(Object.keys(post.requestBody.content), contentTypes);
    assertEquals(Object.keys(post.responses), "200 400 401 403 404 405 408 413 415 421 422 429 503".split(" "));
  }
  assertEquals(Object.keys(paths), ["/health", "/{source}", ...[...reports.keys()].map((name) => `/{source}/${name}`)]);
});

Deno.test("the schema of facts has the attributes of each kind, and the kind where it is needed", () => {
  const { anyOf, $defs } = JSON.parse(generatedFiles().get("docs/schemas/facts.json")!);
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
