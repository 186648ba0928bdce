// Law 5, least privilege: every table and every function of the schema, as the catalog lists them, for everybody. A table or
// function that is not in the maps below fails, so a new one cannot escape.
import { assert, assertEquals } from "@std/assert";
import type { Sql, TransactionSql } from "postgres";
import { type TestDatabase, testDatabase } from "../support/database.ts";
import { as, attempt, people, type Person, reader, repositories, seed, users } from "../support/people.ts";

/** What somebody reads of a table. */
type Reading =
  /** 42501: the table is closed to the role. */
  | "refused"
  /** The table looks empty. */
  | "nothing"
  /** The rows of the repository of the caller's team, of which there are some, and not the others, of which there are some. */
  | "own"
  /** Every row, of which there are some. */
  | "all";

/** Tables that are read alike. */
const tableClasses: Record<string, { tables: string[]; reads: Record<Person, Reading>; own?: string }> = {
  "rows of a repository": {
    tables: [
      "pipeline_runs",
      "jobs",
      "pull_requests",
      "reviews",
      "pushes",
      "commits",
      "deployments",
      "releases",
      "incidents",
      "tests",
      "test_runs",
      "test_cases",
      "rule_checks",
      "measurements",
    ],
    own: "select t.ctid from metrics.%s as t join metrics.repository_references as r on r.id = t.reference_id " +
      "where r.reference = $1",
    reads: reads({ stranger: "nothing", "other viewer": "own", viewer: "own", admin: "all", metrics_reader: "all" }),
  },
  "repositories": {
    tables: ["repositories"],
    own: "select t.ctid from metrics.%s as t join metrics.repository_references as r on r.repository_id = t.id " +
      "where r.reference = $1",
    reads: reads({ stranger: "nothing", "other viewer": "own", viewer: "own", admin: "all", metrics_reader: "all" }),
  },
  "names of repositories": {
    tables: ["repository_references", "team_repositories"],
    own: "select t.ctid from metrics.%s as t join metrics.repository_references as r " +
      "on r.repository_id = t.repository_id where r.reference = $1",
    reads: reads({ stranger: "nothing", "other viewer": "own", viewer: "own", admin: "all", metrics_reader: "all" }),
  },
  "what every member reads": {
    tables: ["settings", "teams"],
    reads: reads({ stranger: "nothing", "other viewer": "all", viewer: "all", admin: "all", metrics_reader: "all" }),
  },
  "the inbox": {
    tables: ["deliveries"],
    reads: reads({
      stranger: "nothing",
      "other viewer": "nothing",
      viewer: "nothing",
      admin: "all",
      metrics_reader: "all",
    }),
  },
  "oneself": {
    tables: ["members"],
    own: "select t.ctid from metrics.%s as t where t.email = $2",
    reads: reads({ stranger: "nothing", "other viewer": "own", viewer: "own", admin: "all" }),
  },
  "what only admins read": {
    tables: ["team_members", "audit"],
    reads: reads({ stranger: "nothing", "other viewer": "nothing", viewer: "nothing", admin: "all" }),
  },
  "what nobody reads": {
    tables: ["bodies", "bodies_default", "bodies_<YYYYMMDD>", "identities"],
    reads: reads({}),
  },
};

/** What a function does when somebody may execute it. */
type Doing =
  /** 42501, because the role may not execute it. */
  | "refused"
  /** 42501, raised by the function itself. */
  | "forbidden"
  /** It does what it is for. */
  | "does";

/** Functions that are called alike; a call is SQL with arguments that fit the rows of {@link seed}. */
const functionClasses: Record<string, { functions: Record<string, string>; does: Record<Person, Doing> }> = {
  "what the edge function calls": {
    functions: {
      "ingest(delivery jsonb, facts jsonb, body text)":
        `ingest('{"source": "github", "delivery_id": "new", "result": "stored", "sha256": "${"00".repeat(32)}"}')`,
      "health()": "health()",
      "live_identities()": "live_identities()",
    },
    does: does({ service_role: "does" }),
  },
  "what policies and readers ask": {
    functions: {
      "is_member()": "is_member()",
      "is_admin()": "is_admin()",
      "caller()": "caller()",
    },
    does: does({ ...signedIn("does"), metrics_reader: "does" }),
  },
  "what policies for members ask": {
    functions: {
      "readable_repositories()": "readable_repositories()",
      "readable_references()": "readable_references()",
      "first_readable_row()": "first_readable_row()",
      "first_readable_id()": "first_readable_id()",
      "first_readable_text()": "first_readable_text()",
    },
    does: does(signedIn("does")),
  },
  "reading": {
    functions: {
      "require_reader()": "require_reader()",
      "ingest_health(days integer)": "ingest_health()",
    },
    does: does({ ...signedIn("does"), stranger: "forbidden", metrics_reader: "does" }),
  },
  "accepting": {
    functions: { "accept_membership()": "accept_membership()" },
    does: does({ ...signedIn("does"), stranger: "forbidden" }),
  },
  "administration": {
    functions: {
      "add_member(email text, role text)": "add_member('new@example.com')",
      "remove_member(email text)": "remove_member('late@example.com')",
      "add_team(name text)": "add_team('new')",
      "remove_team(team text)": "remove_team('viewer')",
      "add_team_member(team text, email text)": "add_team_member('viewer', 'late@example.com')",
      "remove_team_member(team text, email text)": `remove_team_member('viewer', '${users.viewer.email}')`,
      "add_team_repository(team text, repository text)": "add_team_repository('viewer', 'github:2')",
      "remove_team_repository(team text, repository text)": "remove_team_repository('viewer', 'github:1')",
      "set_setting(name text, value text)": "set_setting('body_days', '7')",
      "read_body(source text, delivery_id text)": "read_body('github', 'github:1')",
      "forget_repository(repository text, step integer)": "forget_repository('github:1')",
      "forget_person(login text, step integer, continue_after jsonb)": "forget_person('ann')",
      "create_token(name text, sources text[], repositories text[], fact_kinds text[], calls_per_minute integer, expires_at timestamp with time zone)":
        "create_token('script', '{github}')",
      "add_issuer(name text, provider text, issuer text, claims jsonb, sources text[], audience text, repositories text[], fact_kinds text[], calls_per_minute integer, expires_at timestamp with time zone)":
        `add_issuer('job', 'github', 'https://token.example.com', '{"repository_id": "2"}', '{github}')`,
      "list_identities()": "list_identities()",
      "revoke_identity(name text)": "revoke_identity('ci')",
      "expire_identity(name text, at timestamp with time zone)": "expire_identity('ci', now())",
    },
    does: does({ ...signedIn("forbidden"), admin: "does" }),
  },
  "machinery": {
    functions: Object.fromEntries(
      [
        "add_identity(identity metrics.identities)",
        "claim_url(claim metrics.claim)",
        "comparable(alias text, column_name text, type text)",
        "compile_fold(IN kind text, IN key_columns text[], IN rank text, IN rank_first boolean)",
        "derive_pull_requests(reference_ids bigint[], numbers integer[])",
        "ensure_references(names text[])",
        "fold_columns(relation regclass)",
        ...[
          "commits",
          "deployments",
          "incidents",
          "jobs",
          "measurements",
          "pipeline_runs",
          "pull_requests",
          "pushes",
          "releases",
          "repositories",
          "reviews",
          "rule_checks",
          "test_cases",
          "test_runs",
        ].map((kind) => `fold_${kind}(observations jsonb)`),
        "fold_facts(facts jsonb)",
        "holds_any(body bytea, spellings text[])",
        "identity_named(name text)",
        "identity_without_hash(identity metrics.identities)",
        "ingest_together(calls jsonb)",
        "is_operator()",
        "is_within(reference text, permitted text[], source text)",
        "lock_repositories(repositories bigint[])",
        "maintain(step integer)",
        "make_body_partitions(OUT made integer, OUT waiting integer)",
        "new_claims(repositories jsonb)",
        "next_identity_id()",
        "normalised_url(url text)",
        "note(action text, before jsonb, after jsonb)",
        "pull_requests_touched_by(facts jsonb)",
        "reference_text(reference_id bigint)",
        "refuse_identity(constraint_name text)",
        "repositories_said_anew(repositories jsonb)",
        "repository_named(repository text)",
        "require_admin()",
        "require_another_admin(address text)",
        "require_scope(delivery jsonb, facts jsonb)",
        "settle_moved_repositories(moved bigint[])",
        "spellings(name text)",
        "team_named(team text)",
        "test_names(ids bigint[])",
        "with_test_ids(facts jsonb)",
      ].map((name) => [name, ""]),
    ),
    does: does({}),
  },
};

function reads(some: Partial<Record<Person, Reading>>): Record<Person, Reading> {
  return Object.fromEntries(people.map((who) => [who, some[who] ?? "refused"])) as Record<Person, Reading>;
}

function does(some: Partial<Record<Person, Doing>>): Record<Person, Doing> {
  return Object.fromEntries(people.map((who) => [who, some[who] ?? "refused"])) as Record<Person, Doing>;
}

function signedIn(doing: Doing): Partial<Record<Person, Doing>> {
  return { stranger: doing, "other viewer": doing, viewer: doing, admin: doing };
}

/** Names of the tables and views in the catalog, partitions included. */
async function tablesOf(sql: Sql | TransactionSql): Promise<string[]> {
  const rows = await sql<{ name: string }[]>`
    select c.relname as name
    from pg_class as c
    where c.relnamespace = 'metrics'::regnamespace
      and c.relkind in ('r', 'p', 'v', 'm', 'f')
    order by c.relname collate "C"`;
  return rows.map(({ name }) => name);
}

/** Functions and procedures in the catalog, as name(arguments). */
async function functionsOf(sql: Sql | TransactionSql): Promise<{ name: string; oid: number }[]> {
  return await sql<{ name: string; oid: number }[]>`
    select format('%s(%s)', p.proname, pg_get_function_identity_arguments(p.oid)) as name, p.oid::bigint::int as oid
    from pg_proc as p
    where p.pronamespace = 'metrics'::regnamespace
    order by p.proname, 1`;
}

/** The class of a table or function, or a sentence for the one who adds it. */
function classOf<T>(classes: Record<string, T>, has: (value: T) => boolean, what: string): T {
  const found = Object.values(classes).filter(has);
  assertEquals(found.length, 1, `${what} belongs to exactly one class of this test: say who may do what with it`);
  return found[0]!;
}

const tableClass = (table: string) =>
  classOf(
    tableClasses,
    ({ tables }) => tables.includes(table.replace(/_[0-9]{8}$/, "_<YYYYMMDD>")),
    `the table metrics.${table}`,
  );

const functionClass = (name: string) =>
  classOf(functionClasses, ({ functions }) => name in functions, `the function metrics.${name}`);

/** The role whose privileges somebody has. */
function roleOf(who: Person, readerName: string): string {
  return who in users ? "authenticated" : who === "metrics_reader" ? readerName : who;
}

async function prepared(): Promise<
  { database: TestDatabase; tool: Awaited<ReturnType<typeof reader>> } & AsyncDisposable
> {
  const database = await testDatabase({ max: 1 });
  await seed(database.sql);
  const tool = await reader(database);
  return {
    database,
    tool,
    async [Symbol.asyncDispose]() {
      await tool[Symbol.asyncDispose]();
      await database[Symbol.asyncDispose]();
    },
  };
}

Deno.test("everybody reads of every table what its class says, and nobody writes any", async (t) => {
  await using all = await prepared();
  const { database: { sql }, tool } = all;
  for (const table of await tablesOf(sql)) {
    await t.step(table, async () => {
      const { reads, own } = tableClass(table);
      const name = `metrics.${table}`;
      const everything = (await sql.unsafe(`select ctid from ${name}`)).map(({ ctid }) => ctid).sort();
      const [column] = await sql<{ name: string }[]>`
        select attname as name
        from pg_attribute
        where attrelid = ${name}::regclass and attnum > 0 and attgenerated = '' and attidentity = ''
        limit 1`;
      for (const who of people) {
        const expected = reads[who];
        const got = await attempt(sql, tool.sql, who, (sql) => sql.unsafe(`select t.ctid, t.* from ${name} as t`));
        const seen = got.done ? got.rows.map(({ ctid }) => ctid as string).sort() : got.code;
        if (expected === "refused") assertEquals(seen, "42501", `${who} selects from ${name}`);
        if (expected === "nothing") {
          assert(everything.length > 0, `${name} has rows that could be seen`);
          assertEquals(seen, [], `${who} selects from ${name}`);
        }
        if (expected === "all") {
          assert(everything.length > 0, `${name} has rows to see`);
          assertEquals(seen, everything, `${who} selects from ${name}`);
        }
        if (expected === "own") {
          const side = who as keyof typeof repositories;
          const query = own!.replace("%s", table);
          const values = query.includes("$2") ? [users[side].email] : [repositories[side]];
          const hers = (await sql.unsafe(query.replace("$2", "$1"), values)).map(({ ctid }) => ctid as string).sort();
          assert(hers.length > 0, `${name} has rows of ${who}`);
          assert(hers.length < everything.length, `${name} has rows of others`);
          assertEquals(seen, hers, `${who} selects from ${name}`);
        }
        // No condition, because one would need the privilege to read, too.
        for (
          const statement of [
            `insert into ${name} default values`,
            `update ${name} set ${column!.name} = default`,
            `delete from ${name}`,
            `truncate ${name}`,
          ]
        ) {
          const got = await attempt(sql, tool.sql, who, (sql) => sql.unsafe(statement));
          assertEquals(got.done ? "done" : got.code, "42501", `${who}: ${statement}`);
        }
        // What no statement above needs: references, triggers, maintenance, and single columns.
        const role = roleOf(who, tool.name);
        const [privileges] = await sql<{ list: string[] }[]>`
          select array(
            select p
            from unnest(array['select', 'insert', 'update', 'delete', 'truncate', 'references', 'trigger', 'maintain']) as p
            where case
              when p in ('select', 'insert', 'update', 'references') then has_any_column_privilege(${role}, ${name}::regclass, p)
              else has_table_privilege(${role}, ${name}::regclass, p)
            end
          ) as list`;
        assertEquals(privileges!.list, expected === "refused" ? [] : ["select"], `privileges of ${who} on ${name}`);
      }
    });
  }
});

Deno.test("everybody may call of every function what its class says, and it refuses whom it should", async (t) => {
  await using all = await prepared();
  const { database: { sql }, tool } = all;
  for (const { name, oid } of await functionsOf(sql)) {
    await t.step(name, async () => {
      const { does, functions } = functionClass(name);
      const call = functions[name];
      for (const who of people) {
        const [may] = await sql<{ execute: boolean }[]>`
          select has_function_privilege(${roleOf(who, tool.name)}, ${oid}::oid, 'execute') as execute`;
        assertEquals(may!.execute, does[who] !== "refused", `${who} may execute ${name}`);
        if (!call) continue;
        const got = await attempt(sql, tool.sql, who, (sql) => sql.unsafe(`select metrics.${call}`));
        if (does[who] === "does") assert(got.done, `${who} calls ${call}: ${JSON.stringify(got)}`);
        else assertEquals(got.done ? "done" : got.code, "42501", `${who} calls ${call}: ${JSON.stringify(got)}`);
      }
    });
  }
});

Deno.test("the helpers of policies tell everybody only about themselves", async () => {
  await using all = await prepared();
  const { database: { sql } } = all;
  const told: Record<string, unknown> = {};
  for (const who of ["stranger", "viewer", "other viewer", "admin"] as const) {
    const [row] = await as(sql, who, (sql) =>
      sql`select metrics.is_member() as member, metrics.is_admin() as admin,
            array(select r::int from metrics.readable_repositories() as r order by 1) as repositories, metrics.caller() as caller`);
    told[who] = row;
  }
  const ids = new Map(
    (await sql`select reference, repository_id::int as id from metrics.repository_references`).map((
      { reference, id },
    ) => [reference, id]),
  );
  const one = [ids.get(repositories.viewer)];
  const other = [ids.get(repositories["other viewer"])];
  const caller = "authenticated";
  assertEquals(told, {
    stranger: { member: false, admin: false, repositories: [], caller },
    viewer: { member: true, admin: false, repositories: one, caller },
    "other viewer": { member: true, admin: false, repositories: other, caller },
    admin: { member: true, admin: true, repositories: [...one, ...other].sort(), caller },
  });
});

Deno.test("a member who is removed reads nothing at once", async () => {
  await using all = await prepared();
  const { database: { sql } } = all;
  await as(sql, "admin", (sql) => sql`select metrics.remove_member(${users.viewer.email})`, true);
  for (
    const table of Object.values(tableClasses).flatMap(({ tables, reads }) => reads.viewer === "refused" ? [] : tables)
  ) {
    assertEquals((await as(sql, "viewer", (sql) => sql.unsafe(`select from metrics.${table}`))).length, 0, table);
  }
  const got = await attempt(sql, all.tool.sql, "viewer", (sql) => sql`select metrics.ingest_health()`);
  assertEquals(!got.done && got.code, "42501");
});

// Planted faults: each must turn a test above red.
Deno.test("a table that nobody has thought of is noticed", async () => {
  await using database = await testDatabase({ max: 1 });
  await database.sql`create table metrics.extra (id bigint primary key)`;
  const unknown = (await tablesOf(database.sql)).filter((table) => throws(() => tableClass(table)));
  assertEquals(unknown, ["extra"]);
});

Deno.test("a function that nobody has thought of is noticed, and so is another one of a known name", async () => {
  await using database = await testDatabase({ max: 1 });
  await database.sql`create function metrics.health(extra text) returns boolean language sql return true`;
  await database.sql`create function metrics.extra() returns boolean language sql return true`;
  const unknown = (await functionsOf(database.sql)).filter(({ name }) => throws(() => functionClass(name)));
  assertEquals(unknown.map(({ name }) => name), ["extra()", "health(extra text)"]);
});

Deno.test("a policy that shows too much is noticed", async () => {
  await using all = await prepared();
  const { database: { sql } } = all;
  const count = async () => (await as(sql, "viewer", (sql) => sql`select from metrics.jobs`)).length;
  assertEquals(await count(), 1);
  await sql`create policy extra on metrics.jobs for select to authenticated using (true)`;
  assertEquals(await count(), 2);
});

function throws(work: () => unknown): boolean {
  try {
    work();
    return false;
  } catch {
    return true;
  }
}
