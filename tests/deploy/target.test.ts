import { assert, assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { main } from "../../tools/deploy/mod.ts";
import { pushCommand } from "../../tools/deploy/push.ts";
import {
  callManagementApi,
  cliCommand,
  cliEnvironment,
  nameOf,
  sessionUrl,
  type Target,
  targetOf,
  withoutSecrets,
} from "../../tools/deploy/target.ts";
import { Sentence } from "../../tools/stack/sentence.ts";

const ref = "abcdefghijklmnopqrst";
const linked: Extract<Target, { kind: "linked" }> = { kind: "linked", ref };
const url = "postgresql://postgres:pass%2Fword@127.0.0.1:5432/postgres?sslmode=disable";

Deno.test("the command that deploys and the one that is tested differ in the target alone", () => {
  assertEquals(cliCommand(pushCommand, targetOf(true, { SUPABASE_PROJECT_ID: ref })), [
    "db",
    "push",
    "--yes",
    "--skip-vault",
    "--remote",
    "--agent=no",
  ]);
  assertEquals(cliCommand(pushCommand, targetOf(url, {})), [
    "db",
    "push",
    "--yes",
    "--skip-vault",
    "--remote=postgresql://postgres@127.0.0.1:5432/postgres?sslmode=disable",
    "--agent=no",
  ]);
});

Deno.test("the CLI is given the password in its environment, where nobody else can read it", () => {
  for (const password of ["pass%2Fword", "p%40ss", "100%", ""]) {
    const target = targetOf(`postgresql://postgres:${password}@127.0.0.1:5432/postgres`, {});
    assertEquals(cliCommand(["db", "push"], target).slice(2), [
      "--remote=postgresql://postgres@127.0.0.1:5432/postgres",
      "--agent=no",
    ]);
  }
  assertEquals(cliEnvironment({ kind: "url", url }, {}, "/home").PGPASSWORD, "pass/word");
  assert(!("PGPASSWORD" in cliEnvironment(linked, { PGPASSWORD: "another" }, "/home")));
});

Deno.test("no gate uses a command of the CLI that would hurt an app in the same project", async () => {
  const folder = new URL("../../tools/deploy/", import.meta.url);
  for (const { name } of Deno.readDirSync(folder)) {
    if (!name.endsWith(".ts")) continue;
    const text = await Deno.readTextFile(new URL(name, folder));
    for (const words of ['"config", "push"', '"--prune"', '"migration", "down"', '"db", "reset"', '"--include-all"']) {
      assert(!text.includes(words), `${name} holds ${words}`);
    }
  }
});

Deno.test("a target that is none, or a transaction pooler, is refused with a sentence", () => {
  const refused: [remote: string | true, env: Record<string, string>, words: string][] = [
    [true, {}, "SUPABASE_PROJECT_ID must be the project's reference"],
    ["", { SUPABASE_PROJECT_ID: ref }, "give postgresql://user:password@host:port/database"],
    ["postgresql://postgres@127.0.0.1/postgres?password=secret", {}, "The password stands in the wrong place"],
    [true, { SUPABASE_PROJECT_ID: "short" }, "SUPABASE_PROJECT_ID must be the project's reference"],
    ["nothing", {}, "give postgresql://user:password@host:port/database"],
    ["https://127.0.0.1/x", {}, "give postgresql://user:password@host:port/database"],
    ["postgresql://postgres:secret@127.0.0.1:6543/postgres", {}, "a transaction pooler (port 6543)"],
    ["postgresql://postgres:secret@127.0.0.1/postgres?pgbouncer=true", {}, "a transaction pooler"],
  ];
  for (const [remote, env, words] of refused) {
    const error = assertThrows(() => targetOf(remote, env), Sentence);
    assertStringIncludes(error.message, words);
    assert(!error.message.includes("secret"));
  }
  assertEquals(nameOf(targetOf(url, {})), "127.0.0.1:5432/postgres");
});

Deno.test("no address, password or token is repeated", () => {
  const env = { SUPABASE_ACCESS_TOKEN: "sbp_token" };
  const text = withoutSecrets(`${url} pass%2Fword pass/word sbp_token`, { kind: "url", url }, env);
  assertEquals(text, "127.0.0.1:5432/postgres *** *** ***");
});

Deno.test("the linked project is reached by the session port of its pooler, over its Management API", async () => {
  const asked: string[] = [];
  let answer: () => Response = () => Response.json([]);
  await using server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    asked.push(`${request.method} ${new URL(request.url).pathname} ${request.headers.get("authorization")}`);
    return answer();
  });
  const env = {
    SUPABASE_API_URL: `http://127.0.0.1:${server.addr.port}/`,
    SUPABASE_ACCESS_TOKEN: "sbp_token",
    SUPABASE_DB_PASSWORD: "pass/word",
  };
  const pooler = {
    database_type: "PRIMARY",
    db_user: `postgres.${ref}`,
    db_host: "pooler.example.com",
    db_port: 6543,
    db_name: "postgres",
    pool_mode: "transaction",
    connection_string: `postgresql://postgres.${ref}:[YOUR-PASSWORD]@pooler.example.com:6543/postgres`,
  };
  answer = () => Response.json([{ ...pooler, database_type: "READ_REPLICA", db_host: "replica.example.com" }, pooler]);
  assertEquals(
    await sessionUrl(linked, env),
    `postgresql://postgres.${ref}:pass%2Fword@pooler.example.com:5432/postgres?sslmode=require`,
  );
  assertEquals(asked, [`GET /v1/projects/${ref}/config/database/pooler Bearer sbp_token`]);
  answer = () => Response.json([{ ...pooler, pool_mode: "session", db_port: 5439 }]);
  assertStringIncludes(await sessionUrl(linked, env), ":5439/");

  const refused: [() => Response, Record<string, string>, string][] = [
    [() => Response.json([]), env, "names no pooler"],
    [() => new Response("no", { status: 401 }), env, "SUPABASE_ACCESS_TOKEN is not valid, or has expired"],
    [() => new Response("no", { status: 403 }), env, "the token lacks the permission"],
    [answer, { ...env, SUPABASE_DB_PASSWORD: "" }, "SUPABASE_DB_PASSWORD is missing"],
    [answer, { ...env, SUPABASE_ACCESS_TOKEN: "" }, "SUPABASE_ACCESS_TOKEN is missing"],
    [answer, { ...env, SUPABASE_API_URL: "http://127.0.0.1:1" }, "does not answer"],
  ];
  for (const [given, env, words] of refused) {
    answer = given;
    const error = await assertRejects(() => sessionUrl(linked, env), Sentence);
    assertStringIncludes(error.message, words);
    assert(!/sbp_token|pass\/word/.test(error.message));
  }
  answer = () => new Response(null, { status: 204 });
  assertEquals(await callManagementApi(linked, env, "postgrest", { method: "PATCH", body: {} }), undefined);
});

Deno.test("a wrong command line ends with 2 and a sentence, a target that does not answer with 1", async () => {
  const run = async (...args: string[]) => {
    const [out, err]: [string[], string[]] = [[], []];
    const code = await main(args, { SUPABASE_PROJECT_ID: ref }, {
      out: (line) => out.push(line),
      err: (line) => err.push(line),
    });
    return { code, out, said: err.join("\n") };
  };
  const wrong: [args: string[], words: string][] = [
    [[], "deno task deploy <gate>"],
    [["pusch"], 'There is no gate "pusch"'],
    [["constructor"], 'There is no gate "constructor"'],
    [["push"], "The gate push needs a target"],
    [["push", "--remote", "--force"], "The gate push does not take --force"],
    [["push", "--remote=x", "extra"], "The gate push does not take extra"],
    [["push", `--remote=${url}`, "--wait=soon"], "--wait takes a number of milliseconds"],
    [["preflight", `--remote=${url}`, "--proof="], "--proof needs a value"],
    [["push", `--remote=${url}`, "--root="], "--root needs a value"],
    // An empty variable does not lead to the linked project.
    [["push", "--remote="], "--remote= has an empty value"],
    [["remove", "--remote=", "--confirm=x"], "--remote= has an empty value"],
    [["push", "--remote", ""], "The gate push does not take ;"],
    [["push", `--remote=${url}`, "--remote"], "--remote stands twice"],
  ];
  for (const [args, words] of wrong) {
    const { code, said } = await run(...args);
    assertEquals(code, 2, said);
    assertStringIncludes(said, words);
  }
  assertEquals((await run("--help")).code, 0);
  const { code, out, said } = await run("drift", "--remote=postgresql://postgres:secret@127.0.0.1:1/x", "--json");
  assertEquals(code, 1);
  assertStringIncludes(said, "The database of 127.0.0.1:1/x cannot be reached (ECONNREFUSED)");
  assertEquals(JSON.parse(out[0]!).findings[0].code, "stopped");
  assert(!`${out}${said}`.includes("secret"));
});

Deno.test("an address may come from a variable, so that no command line holds a password", () => {
  const url = "postgresql://looker:secret@127.0.0.1:5432/postgres";
  assertEquals(targetOf("env:CATALOG_DATABASE_URL", { CATALOG_DATABASE_URL: url }), { kind: "url", url });
  assertThrows(() => targetOf("env:CATALOG_DATABASE_URL", {}), Sentence, "CATALOG_DATABASE_URL is missing");
  const pooled = url.replace("5432", "6543");
  assertThrows(() => targetOf("env:URL", { URL: pooled }), Sentence, "transaction pooler");
});
