import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { pushMigrations } from "../../tools/stack/migrate.ts";
import { Sentence } from "../../tools/stack/sentence.ts";
import { clusterUrl, testDatabase } from "../support/database.ts";
import { copyRepository, refusedStart, type RunningStack, startStack } from "../support/stack.ts";

async function call(stack: RunningStack, name: string): Promise<unknown> {
  const response = await fetch(`${stack.url}/rest/v1/rpc/${name}`, {
    method: "POST",
    headers: { apikey: stack.secret_key },
  });
  return [response.status, await response.json()];
}

Deno.test("migrations on the next start", async (t) => {
  const folder = await Deno.makeTempDir({ prefix: "metrics-migrations-" });
  const repository = join(folder, "repository");
  await copyRepository(repository);
  const start = { repository, data: join(folder, "data") };
  const migration = (version: string, text: string) =>
    Deno.writeTextFile(join(repository, "supabase", "migrations", `${version}_example.sql`), text);
  let stack = await startStack(start);
  await stack.stop();

  await t.step("a new one is applied, and REST knows what it made", async () => {
    await migration(
      "29990101000000",
      "create function public.answer() returns integer language sql as 'select 42';\n" +
        "grant execute on function public.answer() to service_role;\n",
    );
    stack = await startStack(start);
    assertEquals(await call(stack, "answer"), [200, 42]);
    assertEquals(await stack.stop(), 0);
  });

  await t.step("one that was edited after it was applied is named", async () => {
    await migration("29990101000000", "select 1;\n");
    stack = await startStack(start);
    assertStringIncludes(stack.said(), "A migration was edited or removed after this data folder had it (2999");
    assertEquals(await call(stack, "answer"), [200, 42]);
    await stack.stop();
  });

  await t.step("one that fails stops the start with the CLI's message and changes nothing", async () => {
    await migration("29990101000001", "create table public.half (id integer);\nselect * from public.missing;\n");
    const { code, said, stdout } = await refusedStart(start);
    assertEquals([code, stdout], [1, ""]);
    assertStringIncludes(said, "A migration could not be applied; correct it and start again.");
    assertStringIncludes(said, 'relation "public.missing" does not exist');
    assertEquals(said.includes("postgresql://"), false);
  });

  await t.step("and the start works when it is corrected", async () => {
    await migration("29990101000001", "create table public.half (id integer);\n");
    stack = await startStack(start);
    assertEquals(await call(stack, "answer"), [200, 42]);
    assertEquals(await stack.stop(), 0);
  });
  await Deno.remove(folder, { recursive: true });
});

Deno.test("a push to a database that is away is told with a sentence", async () => {
  const url = new URL(clusterUrl);
  url.port = "1";
  await assertRejects(() => pushMigrations(url.href), Sentence, "could not be applied");
});

Deno.test("a push leaves nothing in the person's home", async () => {
  await using database = await testDatabase();
  const home = await Deno.makeTempDir();
  const before = Deno.env.get("HOME");
  Deno.env.set("HOME", home);
  try {
    await pushMigrations(database.url);
  } finally {
    if (before === undefined) Deno.env.delete("HOME");
    else Deno.env.set("HOME", before);
  }
  assertEquals(await Array.fromAsync(Deno.readDir(home)), []);
  await Deno.remove(home);
});
