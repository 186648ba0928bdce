import { repository, supabaseCommand } from "./packages.ts";
import { run } from "./process.ts";
import { Sentence } from "./sentence.ts";

/**
 * Applies the repository's migrations to a database by the Supabase CLI, as a deployment does.
 *
 * @param url of the database, as the role `postgres`
 * @param project the folder that holds `supabase/`
 * @throws {Sentence} with the CLI's own words when a migration fails; those before it stay applied
 */
export async function pushMigrations(url: string, project: string = repository): Promise<void> {
  const home = await Deno.makeTempDir({ prefix: "supabase-cli-" });
  try {
    const { code, stdout, stderr } = await run(
      [...supabaseCommand(), "db", "push", `--remote=${url}?sslmode=disable`, "--yes", "--agent=no"],
      {
        cwd: project,
        clearEnv: true,
        timeout: 300_000,
        env: {
          PATH: Deno.env.get("PATH") ?? "/usr/bin:/bin",
          // Settings and tokens of the person's own CLI must not lead elsewhere, nor be changed.
          HOME: home,
          SUPABASE_HOME: home,
          SUPABASE_TELEMETRY_DISABLED: "1",
          DO_NOT_TRACK: "1",
          SUPABASE_NO_UPDATE_NOTIFIER: "1",
          NO_COLOR: "1",
        },
      },
    );
    if (code !== 0) {
      const said = `${stderr}\n${stdout}`.replaceAll(url, "the database").split("\n").map((line) => line.trimEnd())
        .filter((line) => line && !/^(Connecting to|Do you want|Finished|Initialising|Using|WARN: no SSL)/i.test(line));
      throw new Sentence(
        `A migration could not be applied; correct it and start again. The CLI says:\n${said.join("\n")}`,
      );
    }
  } finally {
    await Deno.remove(home, { recursive: true });
  }
}
