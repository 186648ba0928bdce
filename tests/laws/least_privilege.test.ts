/** Law 5, but for who may do what with each table and function: that is in access_matrix.test.ts. */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import type { Sql, TransactionSql } from "postgres";
import { testDatabase } from "../support/database.ts";
import { rolledBack } from "../support/history_copies.ts";

/** What the edge functions call. */
const FOR_SERVICE_ROLE = ["health", "ingest", "live_identities"];

/** Everything in the catalog that gives more than the law allows, a line each. */
async function excesses(sql: Sql | TransactionSql): Promise<string[]> {
  const rows = await sql.unsafe(
    `
    with objects as (
      select 'schema metrics' as name, 'schema' as kind, n.nspowner as owner, coalesce(n.nspacl, acldefault('n', n.nspowner)) as acl
      from pg_namespace as n where n.nspname = 'metrics'
      union all
      select c.relname, 'relation', c.relowner, coalesce(c.relacl, acldefault(case c.relkind when 'S' then 's' else 'r' end::"char", c.relowner))
      from pg_class as c where c.relnamespace = 'metrics'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
      union all
      select c.relname || '.' || a.attname, 'column', c.relowner, a.attacl
      from pg_class as c join pg_attribute as a on a.attrelid = c.oid
      where c.relnamespace = 'metrics'::regnamespace and a.attacl is not null
      union all
      select p.proname, 'function', p.proowner, coalesce(p.proacl, acldefault('f', p.proowner))
      from pg_proc as p where p.pronamespace = 'metrics'::regnamespace
      union all
      select t.typname, 'type', t.typowner, t.typacl
      from pg_type as t where t.typnamespace = 'metrics'::regnamespace and t.typacl is not null
    ),
    grants as (
      select o.kind, o.name, case when g.grantee = 0 then 'public' else g.grantee::regrole::text end as grantee,
        lower(g.privilege_type) as privilege, g.is_grantable
      from objects as o cross join lateral aclexplode(o.acl) as g
      where g.grantee <> o.owner
    )
    select format('%s may %s %s %s', grantee, privilege, kind, name) as line from grants where grantee in ('anon', 'public')
    union all
    select format('%s may write by %s on %s %s', grantee, privilege, kind, name) from grants
    where kind in ('relation', 'column') and privilege <> 'select'
    union all
    select format('service_role may %s %s %s', privilege, kind, name) from grants
    where grantee = 'service_role' and not (kind = 'schema' and privilege = 'usage')
      and not (kind = 'function' and name = any(array[${FOR_SERVICE_ROLE.map((name) => `'${name}'`)}]))
    union all
    select format('%s may pass on %s of %s %s', grantee, privilege, kind, name) from grants where is_grantable
    union all
    select format('%s may create in the schema', grantee) from grants where kind = 'schema' and privilege = 'create'
    union all
    select format('function %s has a search_path that its caller sets', p.proname)
    from pg_proc as p
    -- A body in standard SQL was bound when it was made.
    where p.pronamespace = 'metrics'::regnamespace and p.prosqlbody is null and not coalesce('search_path=""' = any(p.proconfig), false)
    union all
    select format('table %s has no row level security', c.relname)
    from pg_class as c
    where c.relnamespace = 'metrics'::regnamespace and c.relkind in ('r', 'p') and not c.relrowsecurity
    union all
    select format('view %s reads as its owner', c.relname)
    from pg_class as c
    where c.relnamespace = 'metrics'::regnamespace and c.relkind = 'v'
      and not coalesce(c.reloptions && array['security_invoker=true', 'security_invoker=on', 'security_invoker=1'], false)
    union all
    select format('policy %s on %s is for %s', p.polname, c.relname, array(select r::regrole from unnest(p.polroles) as r))
    from pg_policy as p join pg_class as c on c.oid = p.polrelid
    where c.relnamespace = 'metrics'::regnamespace
      and exists (select from unnest(p.polroles) as r where r = 0 or r::regrole::text not in ('authenticated', 'metrics_reader'))
    union all
    select format('policy %s on %s lets rows be written', p.polname, c.relname)
    from pg_policy as p join pg_class as c on c.oid = p.polrelid
    where c.relnamespace = 'metrics'::regnamespace and p.polcmd <> 'r'
    order by 1`,
  );
  return rows.map(({ line }) => String(line));
}

Deno.test("least_privilege: anon and public have nothing, service_role calls its functions, nobody writes", async () => {
  await using database = await testDatabase();
  assertEquals(await excesses(database.sql), []);
  const callable = await database.sql`
    select p.proname as name from pg_proc as p
    where p.pronamespace = 'metrics'::regnamespace and has_function_privilege('service_role', p.oid, 'execute')
    order by 1`;
  assertEquals(callable.map(({ name }) => name), FOR_SERVICE_ROLE);
});

Deno.test("least_privilege: what is created later is given to nobody by itself", async () => {
  await using database = await testDatabase();
  await rolledBack(database.sql, async (sql) => {
    await sql.unsafe("create table metrics.later (id int primary key); create sequence metrics.later_numbers");
    for (const role of ["anon", "authenticated", "service_role", "metrics_reader"]) {
      const [row] = await sql.unsafe(
        `select has_table_privilege($1, 'metrics.later', 'select, insert, update, delete, truncate, references, trigger, maintain')
          or has_sequence_privilege($1, 'metrics.later_numbers', 'usage, select, update') as has`,
        [role],
      );
      assertEquals(row?.["has"], false, role);
    }
  });
});

const FAULTS = {
  "a function that public may call":
    "create function metrics.planted() returns int language sql set search_path = '' as 'select 1'",
  "a table that anon may read": "grant select on metrics.jobs to anon",
  "a column that anon may read": "grant select (name) on metrics.jobs to anon",
  "a schema that anon may use": "grant usage on schema metrics to anon",
  "facts that service_role may write": "grant insert on metrics.jobs to service_role",
  "facts that service_role may read": "grant select on metrics.jobs to service_role",
  "a writer beside ingest": "grant execute on function metrics.fold_jobs(jsonb) to service_role",
  "facts that members may write": "grant update (title) on metrics.pull_requests to authenticated",
  "a sequence that readers may move": "grant usage on sequence metrics.tests_id_seq to metrics_reader",
  "a privilege that may be passed on": "grant select on metrics.jobs to authenticated with grant option",
  "a schema that members may add to": "grant create on schema metrics to authenticated",
  "a definer that looks where its caller says": `
    create function metrics.planted() returns int language sql security definer as 'select 1';
    revoke execute on function metrics.planted() from public;`,
  "a table without row level security": "create table metrics.planted (id int)",
  "a view that reads as its owner": "create view metrics.planted as select 1 as one",
  "a policy for everybody": "create policy planted on metrics.jobs for select using (true)",
  "a policy to write": "create policy planted on metrics.jobs for insert to authenticated with check (true)",
};

Deno.test("least_privilege: each planted excess is noticed", async (t) => {
  await using database = await testDatabase();
  for (const [fault, statement] of Object.entries(FAULTS)) {
    await t.step(`least_privilege: ${fault} is noticed`, async () => {
      const found = await rolledBack(database.sql, async (sql) => {
        await sql.unsafe(statement);
        return await excesses(sql);
      });
      assertNotEquals(found, []);
    });
  }
});

/** The statements of a script, without comments, in lower case with single spaces. */
function statementsOf(script: string): string[] {
  const parts =
    script.match(/--[^\n]*|\/\*[\s\S]*?\*\/|\$(\w*)\$[\s\S]*?\$\1\$|'(?:[^']|'')*'|"[^"]*"|;|[^;'"$/-]+|[\s\S]/g) ?? [];
  const statements = [""];
  for (const part of parts) {
    if (part === ";") statements.push("");
    else if (!part.startsWith("--") && !part.startsWith("/*")) statements[statements.length - 1] += part;
  }
  return statements.map((text) => text.replaceAll(/\s+/g, " ").trim().toLowerCase()).filter((text) => text !== "");
}

/** The functions that the statement after their creation does not revoke from public. */
function unrevoked(script: string): string[] {
  const statements = statementsOf(script);
  return statements.flatMap((statement, i) => {
    const created = /^create (?:or replace )?(function|procedure) (metrics\.\w+)/.exec(statement);
    if (created === null) return [];
    const next = statements[i + 1] ?? "";
    const isRevoked = next.startsWith(`revoke execute on ${created[1]} ${created[2]}(`) && next.endsWith("from public");
    return isRevoked ? [] : [created[2] as string];
  });
}

Deno.test("least_privilege: each function is revoked from public in the statement after its creation", async () => {
  const folder = new URL("../../supabase/migrations/", import.meta.url);
  let created = 0;
  for (const { name } of Deno.readDirSync(folder)) {
    const script = await Deno.readTextFile(new URL(name, folder));
    assertEquals(unrevoked(script), [], name);
    created += statementsOf(script).filter((text) => /^create (or replace )?(function|procedure) /.test(text)).length;
  }
  assert(created > 20);
  const late =
    "create function metrics.a() returns int language sql as $$ select 1; $$; select 1; revoke execute on function metrics.a() from public;";
  assertEquals(unrevoked(late), ["metrics.a"]);
});
