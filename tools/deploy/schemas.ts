// What the function takes and answers, as docs/schemas/*.json and docs/openapi.json, written from the code; and what the functions of the
// numbers take and answer, as docs/openapi-rest.json, written from the catalog of a migrated database. Compared in tests and in CI.
//
//   deno task schemas            writes the files again
//   deno task schemas --check    says which differ, and fails
import { parseArgs } from "@std/cli/parse-args";
import { dirname, join } from "@std/path";
import { schemas } from "../../supabase/functions/ingest-metrics/facts.ts";
import { measurementsBody } from "../../supabase/functions/ingest-metrics/reports/measurements.ts";
import { sarifBody } from "../../supabase/functions/ingest-metrics/reports/sarif.ts";
import type { Sql } from "postgres";
import { templateDatabase, temporaryCluster } from "../stack/cluster.ts";
import { pushMigrations } from "../stack/migrate.ts";
import { repository } from "../stack/packages.ts";
import { openapi } from "./openapi.ts";
import { openapiRest } from "./openapi_rest.ts";

/** JSON as a program holds it. */
export type Json = { [name: string]: unknown };

const dialect = "https://json-schema.org/draft/2020-12/schema";

/**
 * Every generated file by its path in the repository.
 *
 * @param sql connected to a migrated database, as any role
 */
export async function generatedFiles(sql: Sql): Promise<Map<string, string>> {
  const files: Record<string, Json> = {
    "docs/schemas/facts.json": factsSchema(),
    "docs/schemas/measurements.json": input(measurementsBody),
    "docs/schemas/sarif.json": input(sarifBody),
    "docs/openapi.json": openapi(),
    "docs/openapi-rest.json": await openapiRest(sql),
  };
  return new Map(Object.entries(files).map(([path, json]) => [path, `${JSON.stringify(json, null, 2)}\n`]));
}

/**
 * Which files differ from what the code and the migrations say.
 *
 * @param files as {@link generatedFiles} makes them
 * @param read the text of a file, undefined when there is none
 * @returns undefined when none differs, else sentences that name them
 */
export async function schemasDifference(
  files: ReadonlyMap<string, string>,
  read: (path: string) => Promise<string | undefined>,
): Promise<string | undefined> {
  const wrong: string[] = [];
  for (const [path, text] of files) if (await read(path) !== text) wrong.push(path);
  if (wrong.length === 0) return undefined;
  return `Not what the code and the migrations say: ${wrong.join(", ")}.\n` +
    'If the change is meant, run "deno task schemas" and commit the files.';
}

/** The text of a file of the repository, undefined when there is none. */
export async function readRepositoryFile(path: string): Promise<string | undefined> {
  return await Deno.readTextFile(join(repository, path)).catch(() => undefined);
}

/** A schema as JSON: of what is sent, before it is read. */
function input(schema: typeof measurementsBody | typeof sarifBody | typeof schemas[keyof typeof schemas]): Json {
  return schema.toJSONSchema({ io: "input" });
}

/** One schema a kind of fact, and the three ways to send them. */
function factsSchema(): Json {
  const kinds = Object.keys(schemas) as (keyof typeof schemas)[];
  const definitions = kinds.map((kind): [string, Json] => {
    // What is not known is refused where the definition is used, which may add the kind.
    const { $schema: _, additionalProperties: __, ...schema } = input(schemas[kind]);
    const required = (schema.required as string[]).filter((name) => name !== "repository");
    return [kind, { ...schema, required }];
  });
  const own = (kind: string) => ({ $ref: `#/$defs/${kind}`, unevaluatedProperties: false });
  return {
    $schema: dialect,
    title: "Facts",
    description:
      "The canonical facts, in an object of lists by kind, as an array, one alone, or one a line (NDJSON). An attribute that is " +
      "absent is not said; null says that there is nothing. Without a repository, a fact is about the one that the credentials name.",
    anyOf: [
      {
        type: "object",
        properties: Object.fromEntries(kinds.map((kind) => [kind, { type: "array", items: own(kind) }])),
        additionalProperties: false,
      },
      { type: "array", items: { $ref: "#/$defs/fact" } },
      { $ref: "#/$defs/fact" },
    ],
    $defs: {
      fact: {
        description: "A fact that names its kind.",
        anyOf: kinds.map((kind) => ({ properties: { kind: { const: kind } }, required: ["kind"], ...own(kind) })),
      },
      ...Object.fromEntries(definitions),
    },
  };
}

if (import.meta.main) {
  const { check } = parseArgs(Deno.args, {
    boolean: ["check"],
    unknown: (name: string) => {
      console.error(`deno task schemas takes --check and nothing else, not ${name}.`);
      Deno.exit(2);
    },
  });
  const cluster = await temporaryCluster(pushMigrations);
  let files: Map<string, string>;
  try {
    files = await cluster.with(cluster.url(templateDatabase), generatedFiles);
  } finally {
    await cluster.server.stop();
  }
  if (check) {
    const sentence = await schemasDifference(files, readRepositoryFile);
    if (sentence) {
      console.error(sentence);
      Deno.exit(1);
    }
  } else {
    for (const [path, text] of files) {
      await Deno.mkdir(join(repository, dirname(path)), { recursive: true });
      await Deno.writeTextFile(join(repository, path), text);
    }
  }
}
