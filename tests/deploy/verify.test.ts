import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { runDrift } from "../../tools/deploy/drift.ts";
import { type Before, runPush } from "../../tools/deploy/push.ts";
import { changedSurroundings, changesBeyond, OURS, surroundingsOf } from "../../tools/deploy/surroundings.ts";
import { accessFindings } from "../../tools/deploy/validate.ts";
import { runVerify } from "../../tools/deploy/verify.ts";
import { appDatabase, appRepository, codes, deployCluster, gate } from "../support/deploy.ts";

const cluster = await deployCluster();
const env = Deno.env.toObject();

/** What somebody may change by hand on production, the code of it, and the line that names it. */
const BY_HAND: [name: string, statement: string, codes: string[], line: string][] = [
  ["a column", "alter table metrics.jobs add column extra text", ["schema_differs"], "+     extra text"],
  [
    "an index that is gone",
    "drop index metrics.pushes_after_idx",
    ["schema_differs"],
    "-   CREATE INDEX pushes_after_idx",
  ],
  [
    "a policy that is gone",
    "drop policy members_read on metrics.jobs",
    ["schema_differs"],
    "-   create policy members_read",
  ],
  [
    "a privilege of members",
    "grant insert on metrics.jobs to authenticated",
    ["schema_differs"],
    "+   grant insert, select on table metrics.jobs to authenticated",
  ],
  [
    "a function's body",
    "create or replace function metrics.is_operator() returns boolean language sql stable set search_path = '' as 'select true'",
    ["schema_differs"],
    "function metrics.is_operator()",
  ],
  [
    "a privilege of anon",
    "grant select on metrics.jobs to anon",
    ["grants_to_anon", "schema_differs"],
    "anon has select on the table metrics.jobs",
  ],
  [
    "a privilege of anon on one column",
    "grant select (name) on metrics.jobs to anon",
    ["grants_to_anon", "schema_differs"],
    "anon has select on the table metrics.jobs",
  ],
  [
    "a function for everybody",
    "grant execute on function metrics.is_operator() to public",
    ["grants_to_public", "schema_differs"],
    "Everybody may execute metrics.is_operator()",
  ],
  [
    "row level security",
    "alter table metrics.jobs disable row level security",
    ["rls_missing", "schema_differs"],
    "The table metrics.jobs has no row level security",
  ],
];

Deno.test("drift names what was changed by hand on production, and verify refuses it", async (t) => {
  await using production = await appDatabase(cluster, { name: "production", deployed: true });
  await using repository = await appRepository();
  const options = { root: repository.folder, env };
  assertEquals((await runDrift({ ...options, target: production.target })).findings, []);
  for (const [name, statement, expected, line] of BY_HAND) {
    await t.step(name, async () => {
      await using copy = await appDatabase(cluster, { deployed: true });
      await copy.sql.unsafe(statement);
      const result = await runDrift({ ...options, target: copy.target });
      assertEquals(codes(result), expected);
      assertStringIncludes(result.findings.map(({ sentence }) => sentence).join("\n"), line);
    });
  }
  await t.step("verify says the same, and the advisors warn", async () => {
    await production.sql`create table metrics.extra (id bigint)`;
    await production.sql`grant select on metrics.extra to authenticated`;
    const { code, result, said } = await gate([
      "verify",
      `--remote=${production.url}`,
      `--root=${repository.folder}`,
    ]);
    assertEquals([code, codes(result)], [1, ["advisor_rls_disabled_in_public", "rls_missing", "schema_differs"]], said);
  });
});

Deno.test("verify refuses a production that has staging's variable or its secret", async () => {
  await using production = await appDatabase(cluster, { name: "production", deployed: true });
  await using repository = await appRepository();
  let names: string[] = [];
  await using server = Deno.serve(
    { port: 0, hostname: "127.0.0.1", onListen() {} },
    () => Response.json(names.map((name) => ({ name, value: "" }))),
  );
  const api = { SUPABASE_API_URL: `http://127.0.0.1:${server.addr.port}`, SUPABASE_ACCESS_TOKEN: "of the test" };
  const words = ["verify", `--remote=${production.url}`, `--root=${repository.folder}`, "--environment=production"];
  names = ["INGEST_SECRET_GITHUB"];
  const clean = await gate(words, api);
  assertEquals([clean.code, clean.result.findings], [0, []], clean.said);
  names = ["INGEST_SECRET_SYNTHETIC", "METRICS_ENVIRONMENT"];
  const { code, result, said } = await gate(words, api);
  assertEquals([code, codes(result)], [1, ["secret_forbidden", "secret_forbidden"]], said);
  assertStringIncludes(said, "METRICS_ENVIRONMENT belongs to staging and must not be in production");
});

/** What somebody may do to the readers' role, what takes it back, and words of the sentence. */
const TO_READERS: [statement: string, back: string, words: string][] = [
  ["alter role metrics_reader login", "alter role metrics_reader nologin", "The role metrics_reader has login"],
  [
    "alter role metrics_reader bypassrls",
    "alter role metrics_reader nobypassrls",
    "The role metrics_reader has bypassrls",
  ],
  ["grant metrics_reader to anon", "revoke metrics_reader from anon", "The role anon is a member of metrics_reader"],
  [
    "grant metrics_reader to authenticated",
    "revoke metrics_reader from authenticated",
    "The role authenticated is a member",
  ],
  [
    "grant pg_read_all_data to metrics_reader",
    "revoke pg_read_all_data from metrics_reader",
    "a member of pg_read_all_data",
  ],
  [
    "alter role metrics_reader set role = 'anon'",
    "alter role metrics_reader reset role",
    "The role metrics_reader sets role",
  ],
];

Deno.test("drift and verify see what the readers' role may and who is in it", async (t) => {
  await using production = await appDatabase(cluster, { name: "production", deployed: true });
  for (const [statement, back, words] of TO_READERS) {
    await t.step(statement, async () => {
      await production.admin.unsafe(statement);
      try {
        const findings = await accessFindings(production.sql);
        assert(findings.some(({ code, sentence }) => code === "reader_role" && sentence.includes(words)));
      } finally {
        await production.admin.unsafe(back);
      }
      assertEquals(await accessFindings(production.sql), []);
    });
  }
});

Deno.test("drift and verify see a job of pg_cron that is not as the migrations say", async () => {
  await using production = await appDatabase(cluster, { name: "production", deployed: true });
  // As the extension has it, of which these binaries come without.
  await production.sql.unsafe(
    "create schema cron; create table cron.job (jobname text, schedule text, command text, active bool)",
  );
  const found = async () =>
    (await accessFindings(production.sql)).map(({ code, sentence }) => `${code}: ${sentence}`).join();
  assertStringIncludes(await found(), "job_differs: pg_cron does not run metrics-maintain");
  await production
    .sql`insert into cron.job values ('metrics-maintain', '*/10 * * * *', 'select metrics.maintain()', true)`;
  assertEquals(await found(), "");
  await production.sql`update cron.job set active = false`;
  assertStringIncludes(await found(), "job_differs: pg_cron runs metrics-maintain otherwise");
});

Deno.test("temporary tables of other sessions do not count as a change", async () => {
  await using database = await appDatabase(cluster);
  const [surroundings, catalogs] = [await surroundingsOf(database.sql), await database.catalogs()];
  const session = await database.sql.reserve();
  try {
    await session.unsafe("create temporary table scratch (id int primary key, text text default 'x')");
    assertEquals(changedSurroundings(surroundings, await surroundingsOf(database.sql)), []);
    assertEquals(changesBeyond(catalogs, await database.catalogs(), /^$/), []);
  } finally {
    session.release();
  }
});

Deno.test("what completes a type or a function of metrics is ours, and that of the app's is the app's", async () => {
  await using database = await appDatabase(cluster, { deployed: true });
  for (const schema of ["metrics", "billing"]) {
    const [surroundings, catalogs] = [await surroundingsOf(database.sql), await database.catalogs()];
    await database.sql.unsafe(`
      create type ${schema}.band as enum ('low', 'high');
      create aggregate ${schema}.total(numeric) (sfunc = pg_catalog.numeric_add, stype = numeric)`);
    const changed = changesBeyond(catalogs, await database.catalogs(), OURS).map(({ catalog, belongsTo }) =>
      `${belongsTo} (${catalog})`
    );
    assertEquals(changedSurroundings(surroundings, await surroundingsOf(database.sql)), [...new Set(changed)].sort());
    assertEquals(
      changed.filter((what) => /pg_enum|pg_aggregate/.test(what)),
      schema === "metrics"
        ? []
        : ["schema billing (pg_aggregate)", "schema billing (pg_enum)", "schema billing (pg_enum)"],
    );
  }
});

Deno.test("drift needs a role that reads the catalog and nothing else, and changes nothing", async () => {
  await using production = await appDatabase(cluster, { name: "production", deployed: true });
  await using repository = await appRepository();
  await production.admin.unsafe("create role catalog_reader login password 'reads-the-catalog'");
  const address = new URL(production.url);
  address.username = "catalog_reader";
  address.password = "reads-the-catalog";
  const words = ["drift", `--remote=${address.href}`, `--root=${repository.folder}`];
  const clean = await gate(words);
  assertEquals([clean.code, clean.result.findings], [0, []], clean.said);
  await production.sql`comment on table metrics.jobs is 'changed by hand'`;
  const changed = await gate(words);
  assertEquals([changed.code, codes(changed.result)], [1, ["schema_differs"]]);
  assertStringIncludes(changed.said, "+   comment on table metrics.jobs is 'changed by hand'");
  assert(!changed.said.includes("reads-the-catalog"));
});

Deno.test("verify finds what is not applied, and what was changed beside metrics since before the deployment", async (t) => {
  await using database = await appDatabase(cluster);
  await using repository = await appRepository();
  const before = join(repository.folder, "before.json");
  const options = { root: repository.folder, env, target: database.target };
  await t.step("nothing is applied", async () => {
    const result = await runVerify(options);
    assertEquals(result.findings.filter(({ code }) => code === "not_applied").length, repository.ours().length);
    assert(result.findings.some(({ code }) => code === "schema_differs"));
  });
  await t.step("everything beside metrics is what it was", async () => {
    assertEquals((await runPush({ ...options, before })).findings, []);
    assertEquals((await runVerify({ ...options, before })).findings, []);
  });
  await t.step("the file holds no password", async () => {
    const [row] = await database.admin`select rolpassword from pg_authid where rolname = 'postgres'`;
    const text = await Deno.readTextFile(before);
    assert(text.length > 1_000 && !text.includes(row?.rolpassword));
  });
  const changes: [statement: string, what: string][] = [
    ["grant select on billing.invoices to anon", "schema billing (pg_class)"],
    ["alter default privileges revoke execute on functions from public", "pg_default_acl"],
    ["alter role anon set statement_timeout = '9s'", "settings of role anon (pg_db_role_setting)"],
    [
      "create or replace function public.touch() returns trigger language plpgsql as 'begin return new; end'",
      "(pg_proc)",
    ],
    ["alter policy notes_are_public on public.notes using (owner is null)", "schema public (pg_policy)"],
  ];
  const { surroundings } = JSON.parse(await Deno.readTextFile(before)) as Before;
  for (const [statement, what] of changes) {
    await t.step(`changed: ${statement}`, async () => {
      const last = await surroundingsOf(database.sql);
      await database.sql.unsafe(statement);
      const now = await surroundingsOf(database.sql);
      assertStringIncludes(changedSurroundings(last, now).join(), what);
      assertStringIncludes(changedSurroundings(surroundings, now).join(), what);
    });
  }
  await t.step("verify says what was changed", async () => {
    const { findings } = await runVerify({ ...options, before });
    assertEquals([...new Set(codes({ findings }))], ["surroundings_changed"]);
    assertStringIncludes(findings.map(({ sentence }) => sentence).join(), "schema billing (pg_class) was changed");
  });
  await database.sql`alter role anon set statement_timeout = '3s'`;
});
