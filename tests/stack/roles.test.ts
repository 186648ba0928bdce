import { assertEquals, assertRejects } from "@std/assert";
import type postgres from "postgres";
import { testDatabase } from "../support/database.ts";

Deno.test("migrations are applied by a role that is no superuser and owns the database, as on hosted projects", async () => {
  await using database = await testDatabase();
  const [row] = await database.sql`
    select rolname::text as name, rolsuper, rolcreaterole, rolcreatedb, rolbypassrls, rolreplication,
      (select datdba::regrole::text from pg_database where datname = current_database()) as owner
    from pg_roles
    where rolname = current_user
  `;
  assertEquals({ ...row }, {
    name: "postgres",
    rolsuper: false,
    rolcreaterole: true,
    rolcreatedb: true,
    rolbypassrls: true,
    rolreplication: true,
    owner: "postgres",
  });
});

Deno.test("what hosted refuses to the role postgres is refused here", async (t) => {
  await using database = await testDatabase();
  const refused: Record<string, string> = {
    "a superuser is made": "create role mighty superuser",
    "the superuser's role is granted": "grant supabase_admin to postgres",
    "the server's files are read": "select pg_read_file('/etc/passwd')",
    "a program is run": "copy (select 1) to program 'true'",
    "the server is configured": "alter system set work_mem = '1GB'",
    "a table is made in auth": "create table auth.mine (id integer)",
    "auth.users is changed": "alter table auth.users add column mine text",
    "another's default privileges are changed":
      "alter default privileges for role supabase_admin grant all on tables to anon",
  };
  for (const [name, statement] of Object.entries(refused)) {
    await t.step(name, async () => {
      await assertRejects(() => database.sql.unsafe(statement), Error);
    });
  }
});

Deno.test("roles of the API have the attributes and timeouts of hosted projects", async () => {
  await using database = await testDatabase();
  const rows = await database.sql`
    select rolname::text as name, rolcanlogin as login, rolinherit as inherits, rolbypassrls as bypasses,
      array_to_string(rolconfig, ', ') as settings
    from pg_roles
    where rolname in ('anon', 'authenticated', 'service_role', 'authenticator')
    order by rolname collate "C"
  `;
  assertEquals(rows.map((row) => ({ ...row })), [
    { name: "anon", login: false, inherits: false, bypasses: false, settings: "statement_timeout=3s" },
    { name: "authenticated", login: false, inherits: false, bypasses: false, settings: "statement_timeout=8s" },
    {
      name: "authenticator",
      login: true,
      inherits: false,
      bypasses: false,
      settings: "statement_timeout=8s, lock_timeout=8s",
    },
    { name: "service_role", login: false, inherits: false, bypasses: true, settings: null },
  ]);
});

Deno.test("a new table in public is not exposed to the roles of the API", async () => {
  await using database = await testDatabase();
  await database.sql`create table public.fresh (id integer)`;
  await database.sql`create function public.fresh_function() returns integer language sql as 'select 1'`;
  const rows = await database.sql`
    select role, has_table_privilege(role, 'public.fresh', 'select, insert, update, delete') as reachable
    from unnest(array['anon', 'authenticated', 'service_role']) as role
  `;
  assertEquals(rows.map((row) => row.reachable), [false, false, false]);
});

Deno.test("auth.uid, auth.role, auth.email and auth.jwt read the request's claims, and nothing where they are empty", async () => {
  await using database = await testDatabase();
  const id = "6f2c4b43-6a51-4f5c-9f5d-1c1a5f4c9a11";
  const read = (tx: postgres.Sql | postgres.TransactionSql) =>
    tx`select auth.uid() as uid, auth.role() as role, auth.email() as email, auth.jwt() ->> 'sub' as jwt`;
  const [claimed] = await database.sql.begin(async (tx) => {
    await tx`select set_config('request.jwt.claims', ${
      JSON.stringify({ sub: id, role: "authenticated", email: "ann@example.com" })
    }, true)`;
    return await read(tx);
  });
  assertEquals({ ...claimed }, { uid: id, role: "authenticated", email: "ann@example.com", jwt: id });
  const [empty] = await database.sql.begin(async (tx) => {
    await tx`select set_config('request.jwt.claims', '', true), set_config('request.jwt.claim.sub', '', true)`;
    return await read(tx);
  });
  assertEquals({ ...empty }, { uid: null, role: null, email: null, jwt: null });
});

Deno.test("extensions that hosted projects offer can be created by postgres", async () => {
  await using database = await testDatabase();
  await database.sql`create extension pgtap with schema extensions`;
  const rows = await database.sql`
    select extname::text as name
    from pg_extension
    where extnamespace = 'extensions'::regnamespace
    order by extname collate "C"
  `;
  assertEquals(rows.map((row) => row.name), ["pgcrypto", "pgtap", "uuid-ossp"]);
});

Deno.test("text sorts by a language's rules, not by bytes", async () => {
  await using database = await testDatabase();
  const rows = await database.sql`select letter from unnest(array['B', 'a', 'ä', 'c']) as letter order by letter`;
  assertEquals(rows.map((row) => row.letter), ["a", "ä", "B", "c"]);
});
