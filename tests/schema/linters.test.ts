import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import { repository, squawkCommand, supabaseCommand } from "../../tools/stack/packages.ts";
import { run } from "../../tools/stack/process.ts";
import { testDatabase } from "../support/database.ts";

/** What a linter found, as far as it is compared here. */
interface Finding {
  rule: string;
  level: string;
  detail: string;
}

/** What squawk finds in files of SQL, with the settings of the repository. */
async function squawk(files: string[]): Promise<Finding[]> {
  const { code, stdout, stderr } = await run(
    [...squawkCommand(), "--config", join(repository, ".squawk.toml"), "--reporter", "json", ...files],
  );
  const found: { rule_name: string; level: string; file: string; line: number; message: string }[] = JSON.parse(
    stdout || "[]",
  );
  assertEquals(code !== 0, found.length > 0, `squawk answers ${code} with ${found.length} findings: ${stderr}`);
  return found.map(({ rule_name, level, file, line, message }) => ({
    rule: rule_name,
    level,
    detail: `${file}:${line + 1}: ${message}`,
  }));
}

function migrations(): string[] {
  const folder = join(repository, "supabase", "migrations");
  return [...Deno.readDirSync(folder)].map(({ name }) => join(folder, name)).sort();
}

Deno.test("squawk finds nothing in the migrations", async () => {
  assertEquals(await squawk(migrations()), []);
});

Deno.test("squawk finds a migration that would lock a table in use, and one that leans on the search_path", async () => {
  const file = await Deno.makeTempFile({ suffix: ".sql" });
  try {
    await Deno.writeTextFile(
      file,
      `set lock_timeout = '2s';
set statement_timeout = '60s';
create index jobs_name_idx on metrics.jobs (name);
create table extra (id bigint primary key);
alter table metrics.jobs alter column name set not null;
`,
    );
    const rules = (await squawk([file])).map(({ rule }) => rule).sort();
    assertEquals(rules, ["adding-not-nullable-field", "require-concurrent-index-creation", "require-table-schema"]);
  } finally {
    await Deno.remove(file);
  }
});

/** What the advisors of the Supabase CLI find in a database, with the schemas that config.toml exposes. */
async function advisors(url: string): Promise<Finding[]> {
  const home = await Deno.makeTempDir({ prefix: "supabase-cli-" });
  try {
    const { code, stdout, stderr } = await run(
      [
        ...supabaseCommand(),
        "db",
        "advisors",
        `--remote=${url}?sslmode=disable`,
        "--level=info",
        "--output-format=json",
        "--agent=no",
      ],
      {
        cwd: repository,
        clearEnv: true,
        timeout: 60_000,
        env: {
          PATH: Deno.env.get("PATH") ?? "/usr/bin:/bin",
          HOME: home,
          SUPABASE_HOME: home,
          SUPABASE_TELEMETRY_DISABLED: "1",
          DO_NOT_TRACK: "1",
          SUPABASE_NO_UPDATE_NOTIFIER: "1",
          NO_COLOR: "1",
        },
      },
    );
    assertEquals(code, 0, stderr);
    const { results }: { results: { name: string; level: string; detail: string }[] } = JSON.parse(stdout);
    return results.map(({ name, level, detail }) => ({ rule: name, level, detail }));
  } finally {
    await Deno.remove(home, { recursive: true });
  }
}

Deno.test("the advisors have no warning, and remark only on what is meant", async () => {
  await using database = await testDatabase({ max: 1 });
  const found = await advisors(database.url);
  assertEquals(found.filter(({ level }) => level !== "INFO"), []);
  for (const { rule, detail } of found) {
    // A table without a policy is closed to everybody, which is what it is for; an index of a new database was never used.
    const isMeant = rule === "unused_index" ||
      rule === "rls_enabled_no_policy" &&
        /`metrics\.(bodies_(default|\d{8})|bodies|identities|environments|postponed|under_way)`/.test(detail);
    assert(isMeant, `${rule}: ${detail}`);
  }
});

Deno.test("the advisors look at the schema metrics", async () => {
  await using database = await testDatabase({ max: 1 });
  await database.sql`create table metrics.extra (id bigint)`;
  await database.sql`grant select on metrics.extra to anon`;
  await database.sql`create function metrics.extra() returns boolean language sql return true`;
  const rules = (await advisors(database.url)).filter(({ detail }) => detail.includes("extra")).map(({ rule }) => rule);
  for (const rule of ["rls_disabled_in_public", "no_primary_key", "function_search_path_mutable"]) {
    assert(rules.includes(rule), `${rule} is not among ${rules}`);
  }
});
