import { assertEquals, assertMatch } from "@std/assert";
import { examine, type Surroundings } from "../../tools/stack/doctor.ts";
import { type TestDatabase, testDatabase } from "../support/database.ts";

const complete: Surroundings = {
  env: { INGEST_SECRET_GITHUB: "a secret of sixteen bytes" },
  schemas: ["public", "metrics"],
  isLocal: true,
};

/** A database to which nothing lacks. */
async function installed(): Promise<TestDatabase> {
  const database = await testDatabase();
  const id = "6f2c4b43-6a51-4f5c-9f5d-1c1a5f4c9a11";
  await database.sql`insert into auth.users (id, email, email_confirmed_at) values (${id}, 'dev-1@example.com', now())`;
  await database.sql`select metrics.add_member('dev-1@example.com', 'admin')`;
  await database.sql.begin(async (sql) => {
    await sql`select set_config('request.jwt.claims', ${
      JSON.stringify({ sub: id, role: "authenticated", email: "dev-1@example.com" })
    }, true)`;
    await sql`set local role authenticated`;
    await sql`select metrics.accept_membership()`;
  });
  await deliver(database, "github");
  return database;
}

async function deliver(database: TestDatabase, source: string, result = "ignored", age = "0 days"): Promise<void> {
  await database.sql`
    insert into metrics.deliveries (source, delivery_id, sha256, result, reason, received_at)
    values (${source}, ${crypto.randomUUID()}, sha256(''), ${result}, 'of a test', now() - ${age}::interval)
  `;
}

async function findings(database: TestDatabase, changed: Partial<Surroundings> = {}): Promise<string[]> {
  const found = await examine(database.sql, { ...complete, ...changed });
  return found.map(({ matters, text }) => `${matters ? "lacks" : "note"}: ${text}`);
}

async function assertFinding(found: Promise<string[]>, pattern: RegExp): Promise<void> {
  const list = await found;
  assertEquals(list.length, 1, list.join("\n"));
  assertMatch(list[0]!, pattern);
}

Deno.test("the doctor finds nothing where nothing lacks", async () => {
  await using database = await installed();
  assertEquals(await findings(database), []);
});

Deno.test("the doctor finds a database without the schema", async () => {
  await using database = await testDatabase();
  await database.sql`drop schema metrics cascade`;
  await assertFinding(findings(database), /^lacks: The schema metrics is not in this database.*supabase db push/);
});

Deno.test("the doctor finds that the schema is not exposed", async () => {
  await using database = await installed();
  await assertFinding(findings(database, { schemas: ["public"] }), /^lacks: .*\[api\] schemas/);
});

Deno.test("the doctor finds a secret that names no provider", async () => {
  await using database = await installed();
  const env = { ...complete.env, INGEST_SECRET_NOBODY: "a secret of sixteen bytes" };
  await assertFinding(findings(database, { env }), /INGEST_SECRET_NOBODY names no known provider/);
});

Deno.test("the doctor finds a secret that is too short, and does not show it", async () => {
  await using database = await installed();
  const env = { ...complete.env, INGEST_SECRET_GITHUB_ACME: "tooshort" };
  const list = await findings(database, { env });
  assertMatch(list.join("\n"), /^lacks: INGEST_SECRET_GITHUB_ACME holds a secret shorter than 16 bytes/m);
  assertEquals(list.join("\n").includes("tooshort"), false);
});

Deno.test("the doctor finds that no source has a secret", async () => {
  await using database = await installed();
  await assertFinding(findings(database, { env: {} }), /^lacks: No source has a secret in this environment/);
});

Deno.test("the doctor finds a source that was never heard", async () => {
  await using database = await installed();
  const env = { ...complete.env, INGEST_SECRET_GITHUB_ACME: "a secret of sixteen bytes" };
  await assertFinding(
    findings(database, { env }),
    /^lacks: The source github-acme was never heard.*ingest-metrics\/github-acme/,
  );
});

Deno.test("the doctor finds a source that sends and has no secret any more", async () => {
  await using database = await installed();
  await deliver(database, "github-old");
  await assertFinding(findings(database), /^lacks: The source github-old has sent deliveries and has no secret now/);
});

Deno.test("the doctor notes a source that has been silent for a week, and deliveries in quarantine", async () => {
  await using database = await installed();
  await database.sql`delete from metrics.deliveries where true`;
  await deliver(database, "github", "quarantined", "9 days");
  assertEquals(
    (await findings(database)).map((text) => text.split(".")[0]),
    ["note: The source github was last heard 9 days ago", "note: 1 delivery of github is in quarantine"],
  );
});

Deno.test("the doctor finds that there is no admin", async () => {
  await using database = await installed();
  await database.sql`delete from metrics.members where true`;
  await assertFinding(findings(database), /^lacks: There is no admin.*metrics\.add_member/);
});

Deno.test("the doctor notes members who have not accepted", async () => {
  await using database = await installed();
  await database.sql`
    insert into metrics.members (email, role)
    values ('dev-2@example.com', 'viewer')
  `;
  await assertFinding(findings(database), /^note: 1 of the members has not accepted yet/);
});

Deno.test("the doctor finds that pg_cron is absent, but not on the local stack, which has a clock", async () => {
  await using database = await installed();
  await assertFinding(findings(database, { isLocal: false }), /^lacks: pg_cron is not in this database/);
});

Deno.test("the doctor says in a sentence that there is no stack or that it does not answer, with exit code 1", async () => {
  const main = new URL("../../tools/stack/doctor.ts", import.meta.url).pathname;
  for (
    const [argument, sentence] of [
      ["--data=/nonexistent", /^There is no local stack in \/nonexistent: start one with deno task start/],
      ["--database-url=postgresql://postgres@127.0.0.1:1/postgres", /^The database does not answer \(ECONNREFUSED\)/],
      ["--database-url=nonsense", /^The (database|address)/],
      ["--databse-url=x", /^There is no option --databse-url/],
    ] as const
  ) {
    const { code, stderr } = await new Deno.Command(Deno.execPath(), { args: ["run", "-A", main, argument] }).output();
    assertMatch(new TextDecoder().decode(stderr).trim(), sentence);
    assertEquals(code, 1);
  }
});
