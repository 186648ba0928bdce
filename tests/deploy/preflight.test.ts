import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { functionHash } from "../../tools/deploy/function.ts";
import { readMigrations, sha256 } from "../../tools/deploy/migrations.ts";
import { isCutFrom, type PreflightOptions, type Proof, runPreflight } from "../../tools/deploy/preflight.ts";
import type { GateResult } from "../../tools/deploy/result.ts";
import {
  type AppDatabase,
  appDatabase,
  type AppRepository,
  appRepository,
  codes,
  deployCluster,
  gate,
} from "../support/deploy.ts";

const cluster = await deployCluster();
const env = Deno.env.toObject();
const timeouts = "set lock_timeout = '2s';\nset statement_timeout = '60s';\n";

async function preflight(
  database: AppDatabase,
  { folder }: AppRepository,
  options: Partial<PreflightOptions> = {},
): Promise<GateResult> {
  return await runPreflight({ root: folder, env, target: database.target, production: false, cluster, ...options });
}

/** What was found, without the sentences. */
function found({ findings }: GateResult): string[] {
  return findings.map(({ code, file }) => `${code}${file ? ` ${file.split("/").at(-1)}` : ""}`).sort();
}

Deno.test("preflight says what would run, and changes nothing", async () => {
  await using database = await appDatabase(cluster);
  await using repository = await appRepository();
  await repository.write("20261123090050_tags.sql", "create table public.tags (id int primary key);");
  const [before, ours] = [await database.history(), repository.ours().length];
  const { code, result, said } = await gate([
    "preflight",
    `--remote=${database.url}`,
    `--root=${repository.folder}`,
  ]);
  assertEquals([code, result.ok], [0, true], said);
  assertStringIncludes(said, `${ours} of ours, 1 of the app's.`);
  assertEquals((result.pending as string[])[1], "20261123090050_tags.sql");
  assert(!said.includes(new URL(database.url).password), "the password is not said");
  assertEquals(await database.history(), before);
});

Deno.test("preflight has nothing to say against a target that has everything", async () => {
  await using database = await appDatabase(cluster, { deployed: true });
  await using repository = await appRepository();
  const result = await preflight(database, repository);
  assertEquals([result.findings, result.pending], [[], []]);
  assertEquals(result.notes, [
    `Nothing to do: all ${repository.ours().length + 2} migrations of the repository are applied.`,
  ]);
});

Deno.test("preflight and push refuse a target with an app's migrations that the repository lacks, and leave its history", async () => {
  await using database = await appDatabase(cluster);
  await using clone = await appRepository({ app: false });
  const [before, catalogs] = [await database.history(), await database.catalogs()];
  for (const name of ["preflight", "push"]) {
    const { code, result, said } = await gate([name, `--remote=${database.url}`, `--root=${clone.folder}`]);
    assertEquals([code, codes(result)], [1, ["unknown_versions"]], said);
    assertStringIncludes(
      said,
      "2 migrations that this repository lacks (20260110080000_notes, 20260214100000_billing)",
    );
    assertStringIncludes(said, "deno task install <repository>");
    assertStringIncludes(said, "a project of its own");
    assert(!/repair/i.test(said), "the CLI's advice would erase the app's history");
  }
  assertEquals(await database.history(), before);
  assertEquals(await database.catalogs(), catalogs);
});

Deno.test("preflight refuses a migration of ours that was edited after it was applied, and the app's it does not judge", async () => {
  await using database = await appDatabase(cluster, { deployed: true });
  await using repository = await appRepository();
  const [, second, third, fourth] = repository.ours() as [string, string, string, string];
  const read = (name: string) => Deno.readTextFile(join(repository.migrations, name));
  await repository.write(second, `${await read(second)}\ncomment on schema metrics is 'edited';\n`);
  await repository.write(third, (await read(third)).replace("set lock_timeout = '2s'", "set lock_timeout = '3s'"));
  await repository.write(fourth, (await read(fourth)).replace(/^-- /, "-- Edited: "));
  await repository.write("20260110080000_notes.sql", "select 'edited by the app';");
  const result = await preflight(database, repository);
  assertEquals(found(result), [`edited ${second}`, `edited ${third}`, `edited ${fourth}`]);
  assertStringIncludes(result.findings[1]!.sentence, "from statement 1 on");
  assertStringIncludes(result.findings[0]!.sentence, "write a new migration with the change");
});

Deno.test("preflight refuses a version that is missing here, and one that stands before what is applied", async () => {
  await using database = await appDatabase(cluster, { deployed: true });
  await using repository = await appRepository();
  const last = repository.ours().at(-1)!;
  await repository.remove(last);
  await repository.write("20261123090001_metrics_early.sql", timeouts);
  const result = await preflight(database, repository);
  assertEquals(found(result), [`ahead ${last}`, "out_of_order 20261123090001_metrics_early.sql"]);
  assert(!result.findings.some(({ sentence }) => /repair/i.test(sentence)));
});

Deno.test("preflight refuses a history that does not say what was applied, and a schema that is in no history", async () => {
  await using database = await appDatabase(cluster, { deployed: true });
  await using repository = await appRepository();
  const first = repository.ours()[0]!;
  await database.sql`
    update supabase_migrations.schema_migrations set statements = null where version = ${first.slice(0, 14)}`;
  assertEquals(found(await preflight(database, repository)), [`content_unknown ${first}`]);
  await database.sql`delete from supabase_migrations.schema_migrations where name like 'metrics%'`;
  assertEquals(found(await preflight(database, repository)), ["schema_without_history"]);
});

Deno.test("preflight lets production have only what staging has proven for this very commit", async (t) => {
  await using database = await appDatabase(cluster, { name: "production" });
  await using repository = await appRepository();
  const folder = await Deno.makeTempDir();
  const file = join(folder, "proof.json");
  const commit = "1".repeat(40);
  const migrations = await readMigrations(repository.folder);
  const proof: Proof = {
    commit,
    versions: migrations.map(({ version, name, sha256 }) => ({ version, name, sha256 })),
    catalog_sha256: await sha256(await Deno.readTextFile(join(repository.folder, "supabase", "schema.sql"))),
    function_sha256: await functionHash(repository.folder),
    proven_at: "2026-11-23T12:00:00Z",
  };
  const judge = async (proof: unknown, options: Partial<PreflightOptions> = {}) => {
    await Deno.writeTextFile(file, JSON.stringify(proof));
    return await preflight(database, repository, { production: true, proof: file, commit, ...options });
  };
  try {
    await t.step("the proof of this commit", async () => {
      assertEquals((await judge(proof)).findings, []);
      assertEquals((await judge(proof, { commit: undefined, env: { ...env, GITHUB_SHA: commit } })).findings, []);
    });
    await t.step("no proof", async () => {
      assertEquals(found(await judge(proof, { proof: undefined })), ["proof_missing"]);
      assertEquals(found(await judge(proof, { proof: join(folder, "none.json") })), ["proof_missing"]);
      assertEquals(found(await judge({ other: 1 })), ["proof_unreadable"]);
      const { code, result } = await gate([
        "preflight",
        `--remote=${database.url}`,
        `--root=${repository.folder}`,
        "--production",
      ], { GITHUB_SHA: commit });
      assertEquals([code, codes(result)], [1, ["proof_missing"]]);
    });
    await t.step("the proof of another commit", async () => {
      const result = await judge({ ...proof, commit: "2".repeat(40) });
      assertEquals(found(result), ["proof_of_another_commit"]);
      assertStringIncludes(result.findings[0]!.sentence, "Deploy this commit to staging first");
    });
    await t.step("something that staging has not, or has with another content", async () => {
      const [notes, , first, second, ...rest] = proof.versions;
      // The app's own two are applied in production already.
      const versions = [{ ...notes!, sha256: "0" }, { ...second!, sha256: "0" }, ...rest];
      assertEquals(found(await judge({ ...proof, versions })), [
        `not_on_staging ${first!.name}`,
        `other_on_staging ${second!.name}`,
      ]);
    });
    await t.step("a migration of the app that staging ran with another content, or not at all", async () => {
      await repository.write("20990101000000_tags.sql", "create table public.tags (id bigint primary key);");
      assertEquals(found(await judge(proof)), ["not_on_staging 20990101000000_tags.sql"]);
      await repository.remove("20990101000000_tags.sql");
    });
    await t.step("another schema, or another function", async () => {
      assertEquals(found(await judge({ ...proof, catalog_sha256: "0" })), ["proof_of_another_schema schema.sql"]);
      assertEquals(found(await judge({ ...proof, function_sha256: "0" })), [
        "proof_of_another_function ingest-metrics",
      ]);
    });
    await t.step("production ahead of staging", async () => {
      await database.sql`
        insert into supabase_migrations.schema_migrations (version, name, statements)
        values ('20261201000000', 'metrics_later', array['select 1'])`;
      assertEquals(
        found(await judge(proof)).filter((text) => text.startsWith("ahead")),
        ["ahead 20261201000000_metrics_later.sql"],
      );
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("preflight refuses a project whose secrets say that it is the other environment", async () => {
  await using database = await appDatabase(cluster);
  await using repository = await appRepository();
  const secrets: Record<string, string[][]> = {
    staging: [["METRICS_ENVIRONMENT", await sha256("staging")], ["INGEST_SECRET_SYNTHETIC", ""]],
    production: [["INGEST_SECRET_GITHUB", ""]],
  };
  let names: string[][] = [];
  await using server = Deno.serve(
    { port: 0, hostname: "127.0.0.1", onListen() {} },
    () => Response.json(names.map(([name, value]) => ({ name, value }))),
  );
  const api = { SUPABASE_API_URL: `http://127.0.0.1:${server.addr.port}`, SUPABASE_ACCESS_TOKEN: "of the test" };
  const proof = "there-is-none.json";
  for (
    const [project, environment, expected] of [
      ["staging", "staging", []],
      ["production", "production", ["proof_missing"]],
      ["production", "staging", ["not_staging", "secret_forbidden", "secret_missing"]],
      ["staging", "production", ["proof_missing", "secret_forbidden", "secret_forbidden"]],
    ] as const
  ) {
    names = secrets[project]!;
    const { code, result, said } = await gate([
      "preflight",
      `--remote=${database.url}`,
      `--root=${repository.folder}`,
      `--environment=${environment}`,
      ...(environment === "production" ? [`--proof=${proof}`] : []),
    ], { ...api, GITHUB_SHA: "1".repeat(40) });
    assertEquals([code, codes(result)], [expected.length === 0 ? 0 : 1, [...expected]], said);
  }
  const { code } = await gate(["preflight", `--remote=${database.url}`, "--environment=prod"], api);
  assertEquals(code, 2);
});

Deno.test("a file is what its statements in the history say, one after the other", () => {
  const file = "-- First.\nselect 'a;  b';\n\n/* Second. */ select 2;\n-- The end.\n";
  const cut = ["-- First.\nselect 'a;  b'", "/* Second. */ select 2"];
  assertEquals(isCutFrom(file, cut), true);
  assertEquals(isCutFrom(file.replace("-- The end.\n", ""), cut), true);
  for (
    const other of [
      file.replace("a;  b", "a; b"),
      file.replace("select 2", "select 3"),
      `${file}select 3;\n`,
      file.replace("/* Second. */ select 2;", ""),
    ]
  ) assertEquals(isCutFrom(other, cut), false, other);
  for (const statements of [[], null, undefined, cut.slice(1), [...cut].reverse()]) {
    assertEquals(isCutFrom(file, statements), false);
  }
});
