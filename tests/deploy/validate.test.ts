import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import postgres from "postgres";
import { readMigrations } from "../../tools/deploy/migrations.ts";
import type { Finding } from "../../tools/deploy/result.ts";
import { judge } from "../../tools/deploy/rules.ts";
import { runValidate } from "../../tools/deploy/validate.ts";
import { repository } from "../../tools/stack/packages.ts";
import { run } from "../../tools/stack/process.ts";
import { Sentence } from "../../tools/stack/sentence.ts";
import { scratchCluster } from "../../tools/deploy/scratch.ts";
import { isDeep } from "../support/depth.ts";
import { type AppRepository, appRepository, codes, gate } from "../support/deploy.ts";

const cluster = await scratchCluster();
Deno.test.afterAll(() => cluster.server.stop());

const env = Deno.env.toObject();
const timeouts = "set lock_timeout = '2s';\nset statement_timeout = '60s';\n";

/** What is found in a migration of ours with these statements after its time-outs. */
async function judged(sql: string, withTimeouts = true): Promise<Finding[]> {
  const text = withTimeouts ? timeouts + sql : sql;
  const name = "20990101000000_metrics_planted.sql";
  return await judge({ name, file: name, version: "20990101000000", isOurs: true, sql: text, sha256: "" });
}

Deno.test("our own migrations break no rule", async () => {
  for (const migration of await readMigrations(repository)) assertEquals(await judge(migration), [], migration.name);
});

/** Statements that break a rule: its code, and words of the sentence. */
const FAULTS: [statement: string, code: string, words: string][] = [
  ["alter table public.notes add column metrics_id bigint", "touches_outside", "It reaches public.notes"],
  ["create table public.extra (id int)", "touches_outside", "It reaches public.extra"],
  ["create table extra (id int)", "touches_outside", "It reaches extra (without a schema)"],
  ["create schema other", "touches_outside", "It reaches other,"],
  ["comment on schema public is 'ours'", "touches_outside", "It reaches public,"],
  ["update public.notes set text = ''", "touches_outside", "It reaches public.notes"],
  ["with gone as (delete from public.notes returning 1) select 1 from gone", "touches_outside", "public.notes"],
  ["insert into metrics.teams (name) select text from public.notes", "touches_outside", "It reaches public.notes"],
  ["create view metrics.seen as select * from public.notes", "touches_outside", "It reaches public.notes"],
  ["alter table metrics.members add foreign key (user_id) references auth.users (id)", "touches_outside", "auth.users"],
  [
    "create trigger t after insert on auth.users for each row execute function metrics.f()",
    "touches_outside",
    "auth.users",
  ],
  [
    "create trigger t after insert on metrics.jobs for each row execute function public.f()",
    "touches_outside",
    "public.f",
  ],
  ["alter table metrics.jobs add column mood public.mood", "touches_outside", "It reaches public.mood"],
  ["select public.touch()", "touches_outside", "It reaches public.touch"],
  ["drop function public.touch()", "touches_outside", "It reaches public.touch"],
  ["alter function metrics.health() set schema public", "touches_outside", "It reaches public"],
  ["grant select on public.notes to authenticated", "touches_outside", "It reaches public.notes"],
  ["revoke all on all tables in schema public from authenticated", "touches_outside", "It reaches public"],
  ["create role metrics_writer", "touches_outside", "It creates the role metrics_writer"],
  ["grant metrics_reader to authenticated", "touches_outside", "It changes who is a member of which role"],
  ["alter role anon set statement_timeout = '9s'", "touches_outside", "(AlterRoleSet)"],
  ["alter database postgres set work_mem = '8MB'", "touches_outside", "(AlterDatabaseSet)"],
  ["alter system set work_mem = '8MB'", "touches_outside", "(AlterSystem)"],
  ["create extension hstore", "touches_outside", "It creates the extension hstore"],
  ["drop extension pgcrypto", "touches_outside", "It works on extension"],
  ["create publication p for table metrics.jobs", "touches_outside", "(CreatePublication)"],
  ["alter table metrics.jobs owner to service_role", "touches_outside", "It changes an owner"],
  ["set role anon", "touches_outside", "It becomes another role"],
  ["alter default privileges in schema public grant select on tables to authenticated", "touches_outside", "public"],
  ["alter default privileges revoke execute on functions from public", "global_default_privilege", "for every schema"],
  ["grant select on metrics.jobs to anon", "grants_to_anon", "whom everybody is"],
  ["alter default privileges in schema metrics grant select on tables to anon", "grants_to_anon", "whom everybody is"],
  ["grant execute on function metrics.health() to public", "grants_to_public", "It grants to public"],
  ["alter table metrics.jobs disable row level security", "disables_rls", "It disables row level security"],
  ["drop schema metrics cascade", "drops_schema", "deno task deploy remove"],
  ["begin", "transaction_control", "It holds a transaction of its own"],
  ["commit", "transaction_control", "remove begin, commit"],
  ["select 1; create index concurrently i on metrics.jobs (name)", "transaction_control", "a file of its own"],
  ["set lock_timeout = 0", "time_out_unbounded", "at most 5 s"],
  ["set statement_timeout = '1h'", "time_out_unbounded", "at most 600 s"],
  ["reset lock_timeout", "time_out_unbounded", "lock_timeout must be set"],
  ["reset all", "time_out_unbounded", "lock_timeout must be set"],
  [
    "do $$ begin create table metrics.x (id int); commit; end $$",
    "transaction_control",
    "Its body ends the transaction",
  ],
  ["do 'begin if true then rollback and chain; end if; end'", "transaction_control", "Its body ends the transaction"],
  [
    "create procedure metrics.half() language plpgsql as $$ begin do $x$ begin commit; end $x$; end $$",
    "transaction_control",
    "remove commit and rollback from it",
  ],
  ["do $$ begin delete from auth.users; end $$", "touches_outside", "It reaches auth.users"],
  [
    "do $$ begin if true then delete from supabase_migrations.schema_migrations; end if; end $$",
    "touches_outside",
    "schema_m",
  ],
  [
    "do $$ begin if to_regclass('public.orders') is not null then null; end if; end $$",
    "touches_outside",
    "public.orders",
  ],
  ["do $$ declare n int := (select count(*) from public.notes); begin null; end $$", "touches_outside", "public.notes"],
  [
    "do $$ declare n int; begin update public.notes set a = 1 returning a into strict n; end $$",
    "touches_outside",
    "notes",
  ],
  [
    "do $$ begin for i in 1..3 loop insert into public.notes values (case when i > 1 then 1 else 2 end); end loop; end $$",
    "touches_outside",
    "public.notes",
  ],
  ["do $$ begin set statement_timeout = 0; end $$", "time_out_unbounded", "at most 600 s"],
  ["do $$ begin frobnicate; drop table notes nonsense; end $$", "unjudged", "cannot be read by itself"],
  ["do language plperl 'die'", "unjudged", "It is written in plperl"],
  ["select dblink_exec('host=other', 'delete from notes')", "touches_outside", "It calls dblink_exec"],
  [
    "create function metrics.f() returns int language sql as 'select lo_unlink(1)'",
    "touches_outside",
    "It calls lo_unlink",
  ],
  ["select pg_terminate_backend(1)", "touches_outside", "It calls pg_terminate_backend"],
  ["select setval('billing.numbers', 1)", "touches_outside", "It reaches billing.numbers"],
  ["select cron.schedule('metrics-of-the-app', '* * * * *', 'select 1')", "touches_outside", "metrics-maintain"],
  ["select cron.unschedule('nightly')", "touches_outside", "metrics-maintain"],
  ["vacuum full", "touches_outside", "It works on every table"],
  ["analyze", "touches_outside", "It works on every table"],
  ["vacuum full public.notes", "touches_outside", "It reaches public.notes"],
  ["reindex schema public", "touches_outside", "It works on every table"],
  ["reindex table public.notes", "touches_outside", "It reaches public.notes"],
  ["select set_config('lock_timeout', '0', false)", "setting", "It sets lock_timeout"],
  ["select set_config('role', 'anon', true)", "touches_outside", "It becomes another role"],
  ["select set_config(name, '0', false) from metrics.settings", "setting", "a setting that only shows when it runs"],
  ["set transaction_timeout = 0", "setting", "It sets transaction_timeout"],
  ["set session_replication_role = replica", "setting", "It sets session_replication_role"],
  ["set work_mem = '1GB'", "setting", "It sets work_mem"],
  ["comment on constraint c on domain public.share is 'x'", "touches_outside", "It reaches public.share"],
  ["refresh materialized view public.totals", "touches_outside", "It reaches public.totals"],
  ["alter schema metrics rename to other", "touches_outside", "It reaches other"],
  ["alter role authenticated rename to other", "touches_outside", "It works on role"],
  ["alter function public.touch() set schema metrics", "touches_outside", "It reaches public.touch"],
  ["alter type public.mood set schema metrics", "touches_outside", "It reaches public.mood"],
  ["alter extension pgcrypto set schema metrics", "touches_outside", "It works on extension"],
  ["call public.tidy()", "touches_outside", "It reaches public.tidy"],
  ["call tidy()", "touches_outside", "It reaches tidy (without a schema)"],
  ["alter sequence metrics.s owned by public.notes.id", "touches_outside", "It reaches public.notes"],
  ["select 1 as id into extra", "touches_outside", "It reaches extra (without a schema)"],
  ["create role metrics_reader login bypassrls", "touches_outside", "more than a name"],
  ["alter role metrics_reader login", "touches_outside", "(AlterRole)"],
  ["select 1;\nselec 2", "syntax_error", 'syntax error at or near "selec" in line 4'],
];

for (const [statement, code, words] of FAULTS) {
  Deno.test(`validate refuses: ${statement.split("\n")[0]}`, async () => {
    const found = await judged(`${statement};\n`);
    assertEquals(found.map(({ code }) => code), [code]);
    assertStringIncludes(found[0]!.sentence, words);
    if (code !== "syntax_error") assert(statement.includes(found[0]!.statement!), found[0]!.statement);
  });
}

Deno.test("validate refuses a migration of ours that does not begin with its time-outs", async () => {
  for (const sql of ["select 1;", "set lock_timeout = '2s';\nselect 1;", "select 1;\n" + timeouts, ""]) {
    assertEquals((await judged(sql, false)).map(({ code }) => code), ["time_outs_missing"], sql);
  }
  assertEquals(await judged(""), []);
  assertEquals(
    (await judged(`-- pg-delta: transaction=false\n${timeouts}`, false)).map(({ code }) => code),
    ["transaction_control"],
  );
});

Deno.test("validate refuses a cluster of every table, which needs a file of its own, too", async () => {
  assertEquals((await judged("cluster;")).map(({ code }) => code), ["touches_outside"]);
});

Deno.test("validate lets pass what stays within the schema metrics", async () => {
  const statements = [
    "create index concurrently if not exists i on metrics.jobs (name)",
    "with old as (select id from metrics.jobs) delete from metrics.jobs using old where jobs.id = old.id",
    "alter default privileges in schema metrics revoke all on tables from authenticated",
    "revoke all on metrics.jobs from anon, public",
    "grant select on metrics.jobs to authenticated, metrics_reader",
    "comment on role metrics_reader is 'x'",
    "vacuum metrics.jobs",
    "reindex (concurrently) index metrics.i",
    "set local work_mem = '64MB'",
    "create type metrics.band as enum ('low', 'high')",
    "comment on constraint c on domain metrics.share is 'x'",
    "refresh materialized view metrics.totals",
    "create or replace aggregate metrics.total(numeric) (sfunc = pg_catalog.numeric_add, stype = numeric)",
    "insert into metrics.bands as b (year, band) select v.year, v.band::metrics.band from (values (2025, 'low')) as v (year, band) " +
    "on conflict (year) do update set band = excluded.band where b.band is distinct from excluded.band",
    "create trigger t after insert on metrics.jobs referencing new table as new_rows for each statement execute function metrics.f()",
    "create view metrics.v with (security_invoker = true) as with w as (select id from metrics.jobs) select w.id from w",
    "drop function if exists metrics.dora(date, date, text)",
    // What a change begins with is a commit, in words and in a column.
    "create function metrics.basis() returns text language plpgsql as $$ begin if exists (select from metrics.jobs as commit where " +
    "commit is null and true) then return 'commit'; end if; return 'rollback'; end $$",
    "do $$ declare name text; begin foreach name in array array['bands'] loop execute format('grant select on metrics.%I to " +
    "metrics_reader', name); end loop; if exists (select from pg_catalog.pg_extension where extname = 'pg_cron') then perform " +
    "cron.schedule('metrics-maintain', '*/10 * * * *', 'select metrics.maintain()'); end if; end $$",
    "call metrics.compile_fold('jobs', array['id'])",
    "alter sequence metrics.s owned by metrics.jobs.id",
    "alter function metrics.f() rename to g",
    "select setval(pg_get_serial_sequence('metrics.jobs', 'id'), 1)",
    "do $$ declare n int; begin select count(*) into n from metrics.jobs; -- commit;\n n := case when n > 1 then 2 else 3 end; " +
    "if n > 2 then raise notice 'now commit, or not: %', n; else perform metrics.f(); end if; end $$",
    "create policy p on metrics.jobs for select to authenticated using ((select auth.uid()) is not null)",
    "create function metrics.f() returns metrics.jobs language sql as 'select * from public.anything'",
  ];
  for (const statement of statements) assertEquals(await judged(`${statement};`), [], statement);
});

const last = "20990101000000_metrics_planted.sql";

async function validated(repository: AppRepository, base?: string) {
  return await runValidate({ root: repository.folder, env, cluster, base });
}

Deno.test("validate judges ours and lets the app's migrations pass, whatever they hold", async () => {
  await using repository = await appRepository();
  await repository.write("20261123090350_app.sql", "begin; grant all on public.notes to anon; commit; not even SQL");
  await repository.write("20990101000000_metrics2_of_the_app.sql", "create table public.metrics2 ();");
  const { ok, findings, notes } = await validated(repository);
  assertEquals([ok, findings], [true, []]);
  assertStringIncludes(notes.join(), "and 4 of the app's, which pass unjudged");
  assertStringIncludes(notes.join(), "Applied again on one with data, they change neither catalog nor data.");
});

Deno.test("validate as a command refuses begin with 1, a sentence and a result", async () => {
  await using repository = await appRepository();
  await repository.write(last, `${timeouts}begin;\ncreate table metrics.extra (id bigint primary key);\ncommit;\n`);
  const { code, result, said } = await gate(["validate", `--root=${repository.folder}`]);
  assertEquals([code, result.gate, result.ok, result.target], [1, "validate", false, null]);
  assertEquals([...new Set(codes(result))], ["transaction_control"]);
  assertEquals(result.findings[0]!.file, `supabase/migrations/${last}`);
  assertStringIncludes(said, `supabase/migrations/${last}: It holds a transaction of its own`);
});

Deno.test("validate refuses what a superuser may and a hosted postgres may not", async () => {
  const statement = "create or replace function metrics.read() returns text language internal as 'pg_typeof'";
  await using repository = await appRepository();
  await repository.write(last, `${timeouts}${statement};\n`);
  const { findings } = await validated(repository);
  assertEquals(findings.map(({ code, file }) => [code, file]), [["migration_fails", `supabase/migrations/${last}`]]);
  assertStringIncludes(findings[0]!.sentence, "where postgres is no superuser, in statement 3");
  assertStringIncludes(findings[0]!.sentence, "permission denied for language internal");
  const sql = postgres(cluster.adminUrl(), { max: 1, onnotice: () => {} });
  try {
    await sql.unsafe(`begin; create schema metrics; ${statement}; rollback`);
  } finally {
    await sql.end();
  }
});

/** What only shows when it is applied: it hides in code that builds statements, or is something that was left out. */
const HIDDEN: [name: string, statement: string, code: string, words: string][] = [
  [
    "a new table without row level security",
    "create table if not exists metrics.forgotten (id bigint primary key);",
    "rls_missing",
    "The table metrics.forgotten has no row level security",
  ],
  [
    "a function that everybody may execute",
    "create or replace function metrics.open() returns int language sql set search_path = '' as 'select 1';",
    "grants_to_public",
    "Everybody may execute metrics.open()",
  ],
  [
    "a privilege on an app's table",
    built("grant select on public.neighbours to authenticated"),
    "touches_outside",
    "Applying them changes schema public (pg_class)",
  ],
  [
    "a default privilege for every schema",
    built("alter default privileges revoke execute on functions from public"),
    "global_default_privilege",
    "for every schema",
  ],
  [
    "a grant to anon",
    built("grant select on metrics.jobs to anon"),
    "grants_to_anon",
    "anon has select on the table metrics.jobs",
  ],
  [
    "a write into an app's table",
    built("update public.neighbours set note = note"),
    "touches_outside",
    "writes into public.neighbours",
  ],
  [
    "a write into an app's table, if it is there",
    built(
      "do $x$ begin if exists (select from pg_class where relname = 'notes') then delete from public.notes; end if; end $x$",
    ),
    "touches_outside",
    "writes into public.notes",
  ],
  ["a deleted user", built("delete from auth.users"), "touches_outside", "writes into auth.users"],
  [
    "an advanced sequence",
    "create or replace function metrics.next() returns bigint language sql set search_path = '' as " +
    "'select nextval(''public.neighbour_numbers'')'; revoke execute on function metrics.next() from public; select metrics.next();",
    "touches_outside",
    "writes into public.neighbour_numbers",
  ],
  [
    "the app's history",
    built("update supabase_migrations.schema_migrations set name = 'other' where version = '20000101000000'"),
    "touches_outside",
    "what supabase_migrations.schema_migrations says of the app's migrations",
  ],
  [
    "a view that reads as its owner",
    "create or replace view metrics.bare as select name from metrics.jobs;",
    "view_bypasses_rls",
    "The view metrics.bare reads with its owner's rights",
  ],
  [
    "a security definer without a search_path",
    "create or replace function metrics.loose() returns int language sql security definer as 'select 1'; " +
    "revoke execute on function metrics.loose() from public;",
    "search_path_missing",
    "metrics.loose() is security definer without a search_path",
  ],
  [
    "a policy for everybody",
    "drop policy if exists open on metrics.jobs; create policy open on metrics.jobs for select using (true);",
    "policy_for_everybody",
    "The policy open on metrics.jobs is for everybody",
  ],
  [
    "what the advisors warn of",
    "grant select on metrics.bare to authenticated;",
    "advisor_security_definer_view",
    "metrics.bare",
  ],
  [
    "a view on an app's table",
    built("create or replace view metrics.leaning as select id from public.neighbours"),
    "touches_outside",
    "leans on public.neighbours",
  ],
  [
    "a foreign key to the users",
    built("alter table metrics.members add foreign key (user_id) references auth.users (id)"),
    "touches_outside",
    "leans on auth.users",
  ],
];

/** A block of code that runs a statement which no parser of the file sees. */
function built(statement: string): string {
  return `do $$ begin execute '${statement.replaceAll("'", "''")}'; end $$;`;
}

Deno.test("validate refuses what only shows when it is applied", async (t) => {
  await using repository = await appRepository();
  await repository.write(last, timeouts + HIDDEN.map(([, statement]) => statement).join("\n"));
  const { findings } = await validated(repository);
  for (const [name, , code, words] of HIDDEN) {
    await t.step(name, () => {
      const found = findings.find((finding) => finding.code === code && finding.sentence.includes(words));
      assert(found, JSON.stringify(findings, null, 1));
      if (["rls_missing", "grants_to_public", "view_bypasses_rls", "search_path_missing"].includes(code)) {
        assertEquals(found!.file, `supabase/migrations/${last}`);
      }
    });
  }
  await t.step("a schema.sql that was not brought up to date", () => {
    const found = findings.find(({ code }) => code === "schema_differs")!;
    assertStringIncludes(found.sentence, "+ table metrics.forgotten");
  });
});

Deno.test("validate refuses a file that ends its transaction in code that builds code", async () => {
  await using repository = await appRepository();
  const procedure = "create or replace procedure metrics.half() language plpgsql as ''begin com' || 'mit; end''";
  await repository.write(last, `${timeouts}do $$ begin execute '${procedure}'; end $$;\ncall metrics.half();\n`);
  const { findings } = await validated(repository);
  assertEquals(findings.map(({ code, file }) => [code, file]), [[
    "transaction_control",
    `supabase/migrations/${last}`,
  ]]);
  assertStringIncludes(findings[0]!.sentence, "what stands before it would stay");
});

/** What cannot be applied again: where it shows, and words of the sentence. */
const ONCE: [where: string, statement: string, words: string][] = [
  ["on the database that they made", "insert into metrics.teams (name) values ('all');", "duplicate key value"],
  ["on one with data", "update metrics.members set email = email || 'x' where true;", "the rows of metrics.members"],
];

// In small runs the one that needs the longer way.
for (const [where, statement, words] of isDeep ? ONCE : ONCE.slice(1)) {
  Deno.test(`validate refuses what cannot be applied again ${where}`, async () => {
    await using repository = await appRepository();
    await repository.write(last, timeouts + statement);
    const { findings } = await validated(repository);
    assertEquals(codes({ findings }), ["not_re_runnable"]);
    assertStringIncludes(findings[0]!.sentence, `Applied again ${where}`);
    assertStringIncludes(findings[0]!.sentence, words);
  });
}

Deno.test("validate refuses names that would not be applied, or not be judged", async () => {
  await using repository = await appRepository();
  await repository.write("2099_metrics_short.sql", timeouts);
  await repository.write("20991301000000_metrics_month.sql", timeouts);
  await repository.write("20260110080000_metrics_twin.sql", timeouts);
  await repository.write("20990101000000_metrics_Upper.sql", timeouts);
  await repository.write("20990101000001_Metrics_schema.sql", timeouts);
  await repository.write("20990101000002_metrics-schema.sql", timeouts);
  await repository.write("20990101000060_metrics_sixty.sql", timeouts);
  const { findings } = await validated(repository);
  assertEquals(
    findings.map(({ code, file }) => `${code} ${file!.split("/").at(-1)}`).sort(),
    [
      "name 20990101000000_metrics_Upper.sql",
      "name 20990101000001_Metrics_schema.sql",
      "name 20990101000002_metrics-schema.sql",
      "name 20991301000000_metrics_month.sql",
      "name 2099_metrics_short.sql",
      "version_taken 20260110080000_notes.sql",
    ],
  );
});

Deno.test("validate refuses what is not ours in a repository that has no app", async () => {
  await using repository = await appRepository();
  const gates = join(repository.folder, "tools", "deploy");
  await Deno.mkdir(gates, { recursive: true });
  await Deno.writeTextFile(join(gates, "validate.ts"), "");
  const { findings } = await validated(repository);
  assertEquals(findings.map(({ code, file }) => `${code} ${file!.split("/").at(-1)}`), [
    "not_ours 20260110080000_notes.sql",
    "not_ours 20260214100000_billing.sql",
  ]);
});

Deno.test("a gate that meets an error nobody foresaw says where, and no value", async () => {
  await using repository = await appRepository();
  await Deno.mkdir(join(repository.folder, "metrics"));
  await Deno.writeTextFile(join(repository.folder, "metrics", "manifest.json"), "hunter2");
  const { code, result, said } = await gate(["validate", `--root=${repository.folder}`]);
  assertEquals([code, result.ok, codes(result)], [1, false, ["stopped"]]);
  assertStringIncludes(result.findings[0]!.sentence, "SyntaxError at tools/deploy/validate.ts:");
  assert(!said.includes("hunter2") && !JSON.stringify(result).includes("hunter2"), said);
});

Deno.test("a migration that is a link is refused, whosever it is", async () => {
  await using repository = await appRepository();
  await Deno.symlink("/dev/null", join(repository.migrations, last));
  await assertRejects(() => readMigrations(repository.folder), Sentence, `${last} is no plain file`);
});

Deno.test("validate refuses a migration that squawk warns of", async () => {
  await using repository = await appRepository();
  await repository.write(last, `${timeouts}create index jobs_name_idx on metrics.jobs (name);\n`);
  const { findings } = await validated(repository);
  assertEquals(codes({ findings }), ["squawk_require_concurrent_index_creation"]);
});

Deno.test("validate refuses an edited, a removed and a new early migration once there is a release", async () => {
  await using repository = await appRepository({ app: false });
  const git = async (...words: string[]) => {
    const who = ["-c", "user.name=dev-1", "-c", "user.email=dev-1@example.com"];
    const { code, stderr } = await run(["git", "-C", repository.folder, ...who, ...words]);
    assertEquals(code, 0, stderr);
  };
  await git("init", "--quiet");
  await git("add", ".");
  await git("commit", "--quiet", "--message=one");
  const [first, second] = repository.ours() as [string, string];
  const text = await Deno.readTextFile(join(repository.migrations, first));
  await repository.write(first, `${text}-- edited\n`);
  await repository.remove(second);
  await repository.write("20261123090101_metrics_late.sql", timeouts);
  const said = ["out_of_order", "released_edited", "released_removed"];

  await Deno.writeTextFile(join(repository.folder, "CHANGELOG.md"), "# Changelog\n\n## 1.0.0\n");
  assertEquals(codes(await validated(repository)), ["base_unknown"]);
  assertEquals(codes(await validated(repository, "no-such-commit")), ["base_unknown"]);
  assertEquals(codes(await validated(repository, "HEAD")), said);
  await git("tag", "v1.0.0");
  const { findings } = await validated(repository);
  assertEquals(codes({ findings }), said);
  assertStringIncludes(findings.find(({ code }) => code === "released_edited")!.sentence, "released with v1.0.0");
});
