import { assertEquals, assertLess, assertNotEquals } from "@std/assert";
import { App } from "@supabase/lite";
import { createPostgresConnection } from "@supabase/lite/postgres";
import { createClient } from "@supabase/supabase-js";
import { startRest } from "../../tools/stack/rest.ts";
import { testDatabase } from "../support/database.ts";

// lite prints each request's error; the stack turns that off, and so do we.
console.error = () => {};

// The server keeps connections for later requests; they are closed at the end of each test that starts one.
const options = { sanitizeResources: false, sanitizeOps: false };
const origin = "http://127.0.0.1:54321";
const keys = { publishableKey: "sb_publishable_test", secretKey: "sb_secret_test" };

/** REST and Auth on a database of its own that was prepared by `statements`. */
async function start(statements = "select 1") {
  const database = await testDatabase();
  await database.sql.unsafe(statements);
  const rest = await startRest({ url: database.url, origin, jwtSecret: "a secret of at least 32 characters", ...keys });
  const client = (key: string) =>
    createClient(origin, key, {
      auth: { persistSession: false, autoRefreshToken: false },
      global: { fetch: (input, init) => rest.fetch(new Request(input as string, init)) },
    });
  return {
    ...database,
    rest,
    client,
    service: client(keys.secretKey),
    anonymous: client(keys.publishableKey),
    async [Symbol.asyncDispose]() {
      await rest.close();
      await database[Symbol.asyncDispose]();
    },
  };
}

const everyPrivilege = `
  select 'table ' || oid::regclass as what, relacl::text as privileges from pg_class where relacl is not null
  union all select 'schema ' || nspname, nspacl::text from pg_namespace
  union all select 'function ' || oid::regprocedure, proacl::text from pg_proc where proacl is not null
  union all select 'default ' || defaclrole::regrole || ' ' || defaclnamespace::text || defaclobjtype::text, defaclacl::text from pg_default_acl
  union all select 'column ' || attrelid::regclass || ' ' || attname, attacl::text from pg_attribute where attacl is not null
  order by 1
`;

/** One request of each kind, by each role. */
async function traffic(stack: Awaited<ReturnType<typeof start>>): Promise<void> {
  await stack.anonymous.auth.signUp({ email: "someone@example.com", password: "a long password" });
  for (const client of [stack.service, stack.anonymous, stack.client(keys.publishableKey)]) {
    for (const schema of ["public", "metrics"]) {
      await client.schema(schema as "public").from("guarded").select();
      await client.schema(schema as "public").from("jobs").insert({ name: "x" });
      await client.schema(schema as "public").rpc("health");
    }
  }
}

const guarded = `
  create table public.guarded (id integer primary key);
  alter table public.guarded enable row level security;
  revoke all on public.guarded from anon, authenticated, service_role;
`;

Deno.test("traffic leaves every privilege as the migrations made it", options, async () => {
  await using stack = await start(guarded);
  const before = await stack.sql.unsafe(everyPrivilege);
  await traffic(stack);
  assertEquals([...await stack.sql.unsafe(everyPrivilege)], [...before]);
});

Deno.test("the comparison of privileges sees what lite does by itself", options, async () => {
  await using database = await testDatabase();
  await database.sql.unsafe(guarded);
  const before = await database.sql.unsafe(everyPrivilege);
  const connection = createPostgresConnection({ url: database.url, postgresOptions: { onnotice: () => {} } });
  const app = new App({ connection, auth: { enabled: false } } as unknown as ConstructorParameters<typeof App>[0]);
  await (await app.fetch(new Request(`${origin}/rest/v1/guarded`))).body?.cancel();
  await connection.close();
  assertNotEquals([...await database.sql.unsafe(everyPrivilege)], [...before]);
});

Deno.test(
  "a table without a grant is 403 for a role that is signed in and 401 for one that is not",
  options,
  async () => {
    await using stack = await start(guarded);
    const signedIn = stack.client(keys.publishableKey);
    await signedIn.auth.signUp({ email: "someone@example.com", password: "a long password" });
    const answers = [];
    for (const client of [stack.anonymous, signedIn, stack.service]) {
      const { status, error } = await client.from("guarded").select();
      answers.push([status, error?.code]);
    }
    assertEquals(answers, [[401, "42501"], [403, "42501"], [403, "42501"]]);
  },
);

const echo = `
  create function public.echo(value jsonb) returns jsonb language sql as
    $$ select jsonb_build_object('kind', jsonb_typeof(value), 'value', value) $$;
  grant execute on function public.echo to service_role;
  create table public.documents (id integer primary key, document jsonb, words text[]);
  grant select, insert on public.documents to service_role;
`;

Deno.test("JSON arguments and columns arrive as the JSON that was sent", options, async () => {
  await using stack = await start(echo);
  for (
    const [value, kind] of [[{ a: [1, "ü😀"] }, "object"], [[{ b: null }], "array"], [5, "number"], [true, "boolean"]]
  ) {
    const { data } = await stack.service.rpc("echo", { value });
    assertEquals(data, { kind, value });
  }
  const row = { id: 1, document: { a: { b: ["c"] } }, words: ["q", 'r,"s'] };
  const { data } = await stack.service.from("documents").insert(row).select();
  assertEquals(data, [row]);
});

Deno.test("the first requests may come all at once", options, async () => {
  await using stack = await start(echo);
  const answers = await Promise.all(
    Array.from({ length: 40 }, (_, index) => stack.service.rpc("echo", { value: { index } })),
  );
  assertEquals(answers.map(({ status }) => status), Array(40).fill(200));
});

Deno.test("sign-up, sign-in and the signed-in user's claims work without a right to change auth", options, async () => {
  await using stack = await start(`
    create function public.who() returns jsonb language sql as
      $$ select jsonb_build_object('uid', auth.uid(), 'role', auth.role(), 'email', auth.email(), 'user', current_user) $$;
    grant execute on function public.who to anon, authenticated, service_role;
  `);
  const client = stack.client(keys.publishableKey);
  const { data, error } = await client.auth.signUp({ email: "ann@example.com", password: "a long password" });
  assertEquals(error, null);
  const again = await stack.client(keys.publishableKey).auth.signInWithPassword({
    email: "ann@example.com",
    password: "a long password",
  });
  assertEquals(again.data.user?.id, data.user?.id);
  const id = data.user?.id;
  assertEquals((await client.rpc("who")).data, {
    uid: id,
    role: "authenticated",
    email: "ann@example.com",
    user: "authenticated",
  });
  assertEquals((await stack.anonymous.rpc("who")).data, { uid: null, role: "anon", email: null, user: "anon" });
  assertEquals((await stack.service.rpc("who")).data.user, "service_role");
  const [row] = await stack.sql`select email_confirmed_at is not null as confirmed from auth.users`;
  assertEquals(row?.confirmed, true);
});

Deno.test("a wrong key, no key and a role that the API does not have get nothing", options, async () => {
  await using stack = await start(echo);
  const ask = async (headers: Record<string, string>) => {
    const response = await stack.rest.fetch(new Request(`${origin}/rest/v1/documents`, { headers }));
    await response.body?.cancel();
    return response.status;
  };
  assertEquals(await ask({}), 401);
  assertEquals(await ask({ apikey: "sb_secret_other" }), 401);
  const encode = (value: unknown) => btoa(JSON.stringify(value)).replaceAll("=", "");
  const forged = `${encode({ alg: "none", typ: "JWT" })}.${encode({ role: "postgres", sub: "x" })}.`;
  assertEquals(await ask({ apikey: keys.publishableKey, authorization: `Bearer ${forged}` }), 401);
});

const timeouts = `
  create function public.limits() returns jsonb language sql as
    $$ select jsonb_build_object('statement', current_setting('statement_timeout'), 'lock', current_setting('lock_timeout')) $$;
  create function public.impatient() returns text language sql set statement_timeout = '200ms' as
    $$ select pg_sleep(5)::text $$;
  create function public.own() returns text language sql set statement_timeout = '5s' as
    $$ select current_setting('statement_timeout') $$;
  grant execute on all functions in schema public to anon, service_role;
`;

Deno.test("a request has the timeouts of its role, or the called function's own", options, async () => {
  await using stack = await start(timeouts);
  assertEquals((await stack.anonymous.rpc("limits")).data, { statement: "3s", lock: "8s" });
  assertEquals((await stack.service.rpc("limits")).data, { statement: "8s", lock: "8s" });
  assertEquals((await stack.service.rpc("own")).data, "5s");
  const started = Date.now();
  const { status, error } = await stack.service.rpc("impatient");
  assertEquals([status, error?.code], [500, "57014"]);
  assertLess(Date.now() - started, 3_000);
  // The timeout belonged to that request.
  assertEquals((await stack.service.rpc("limits")).data, { statement: "8s", lock: "8s" });
});

Deno.test("an error keeps its SQLSTATE, by which a caller decides to try again", options, async () => {
  await using stack = await start(`
    create function public.fail(state text) returns void language plpgsql as
      $$ begin raise exception 'as asked' using errcode = state; end $$;
    grant execute on function public.fail to service_role;
  `);
  const expected: [string, number][] = [
    ["P0001", 400],
    ["22023", 400],
    ["23514", 400],
    ["40001", 500],
    ["40P01", 500],
    ["55P03", 500],
    ["53100", 503],
    ["57014", 500],
    ["08006", 503],
    ["XX000", 500],
  ];
  for (const [state, expectedStatus] of expected) {
    const { status, error } = await stack.service.rpc("fail", { state });
    assertEquals([error?.code, status], [state, expectedStatus]);
  }
});

Deno.test("schemas that are not exposed are refused", options, async () => {
  await using stack = await start();
  const { status } = await stack.service.schema("auth" as "public").from("users").select();
  assertEquals(status, 406);
});

Deno.test("sessions that Postgres ended are replaced", options, async () => {
  await using stack = await start(echo);
  // A request on a lost session is rejected, for which the gateway answers 503.
  const ask = () =>
    stack.rest.fetch(new Request(`${origin}/rest/v1/documents`, { headers: { apikey: keys.secretKey } })).then(
      async (response) => {
        await response.body?.cancel();
        return response.status;
      },
      () => 503,
    );
  assertEquals(await ask(), 200);
  await stack.sql`
    select pg_terminate_backend(pid)
    from pg_stat_activity
    where datname = current_database() and application_name = 'rest'
  `;
  for (let attempt = 0; await ask() !== 200 && attempt < 100; attempt++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assertEquals(await ask(), 200);
});
