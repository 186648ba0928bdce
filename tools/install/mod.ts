// Puts what an app's repository needs into it, as `deno task install <repository> [--uninstall] [--json]`. Run again, it upgrades.
// The exit code is 0 when it is done, 1 when it was refused, 2 when the command line is wrong.
import { parseArgs } from "@std/cli/parse-args";
import { resolve } from "@std/path";
import { repository } from "../stack/packages.ts";
import { Sentence } from "../stack/sentence.ts";
import { manifestPath } from "./files.ts";
import { install, type Outcome, uninstall } from "./install.ts";

const usage = "deno task install <folder of the app's repository> [--uninstall] [--json]";

/** What was done, for people. */
function sentences(outcome: Outcome, isRemoval: boolean): string[] {
  const { added, changed, removed, kept, unchanged, todo } = outcome;
  const count = (files: string[]) => `${files.length} ${files.length === 1 ? "file" : "files"}`;
  const lines = [
    isRemoval
      ? `Removed ${
        count(removed)
      }. A database that has the schema keeps it: take it out by the workflow rollback before you commit this, ` +
        "because a push from a repository that lacks its migrations is refused."
      : `Added ${count(added)}, changed ${count(changed)}, removed ${
        count(removed)
      }, left ${unchanged} as they were. ` +
        `${manifestPath} says which are ours.`,
  ];
  for (const path of kept) {
    lines.push(
      isRemoval
        ? `Kept ${path}: it was edited by hand.`
        : `Kept ${path}: it was edited or removed by hand, or a migration that later releases lack. To have ours, ` +
          "remove its entry from the manifest and the file, and install again.",
    );
  }
  return [...lines, ...todo];
}

const flags = parseArgs(Deno.args, {
  boolean: ["uninstall", "json", "help"],
  unknown: (argument: string) => {
    if (!argument.startsWith("-")) return true;
    console.error(`deno task install does not take ${argument.split("=")[0]}. ${usage}`);
    Deno.exit(2);
  },
});
const [folder, ...rest] = flags._.map(String);
if (flags.help || folder === undefined || rest.length > 0) {
  console.error(usage);
  Deno.exit(flags.help ? 0 : 2);
}
try {
  const target = resolve(Deno.env.get("INIT_CWD") ?? Deno.cwd(), folder);
  const outcome = await (flags.uninstall ? uninstall : install)(repository, target);
  for (const line of sentences(outcome, flags.uninstall)) console.error(line);
  if (flags.json) console.log(JSON.stringify(outcome));
} catch (error) {
  if (!(error instanceof Sentence)) throw error;
  console.error(error.message);
  if (flags.json) console.log(JSON.stringify({ error: error.message }));
  Deno.exit(1);
}
