// Offers what is in quarantine to the function's present translation:
//
//   deno task replay [--database-url URL] [--source NAME] [--dry-run] [--conflicts]
//
//   --database-url  the database, as postgres; else the variable SUPABASE_DB_URL
//   --source        only deliveries of this source
//   --dry-run       tell what would become of each, and change nothing
//   --conflicts     also deliveries whose id came before with other bytes
//
// INGEST_INCIDENT_LABELS is honoured as the function honours it. Prints one line per delivery and nothing of a body. The exit code is 1
// when one stays in quarantine, 2 when the call or the database is wrong.
import { parseArgs } from "@std/cli/parse-args";
import postgres from "postgres";
import { readIncidentLabels } from "../../supabase/functions/ingest-metrics/configuration.ts";
import { replay } from "./replay.ts";

/** What asks for a decision or for a change of the code, and so for somebody to look at it. */
const left = new Set(["quarantined", "refused", "without body", "without source"]);

if (import.meta.main) Deno.exit(await main());

async function main(): Promise<number> {
  const unknown: string[] = [];
  const flags = parseArgs(Deno.args, {
    string: ["database-url", "source"],
    boolean: ["dry-run", "conflicts"],
    unknown: (name: string) => void unknown.push(name),
  });
  const address = flags["database-url"] ?? Deno.env.get("SUPABASE_DB_URL");
  if (unknown.length > 0 || !address) {
    console.error(
      unknown.length > 0 ? `What is ${unknown.join(" ")}?` : "Say which database: --database-url, or SUPABASE_DB_URL.",
    );
    return 2;
  }
  const sql = postgres(address, { max: 1, onnotice: () => {} });
  const tally = new Map<string, number>();
  try {
    const options = {
      source: flags.source,
      isDry: flags["dry-run"],
      withConflicts: flags.conflicts,
      incidentLabels: readIncidentLabels(Deno.env.toObject()),
    };
    for await (const { source, deliveryId, event, result, reason, facts } of replay(sql, options)) {
      tally.set(result, (tally.get(result) ?? 0) + 1);
      const counts = Object.entries(facts).map(([kind, count]) => `${count} ${kind}`).join(", ");
      console.log([source, deliveryId, event ?? "-", result, reason ?? counts].filter(Boolean).join("\t"));
    }
  } catch (error) {
    const { code, message } = error as { code?: string; message?: string };
    console.error(`The database did not answer as it should: ${code ?? message ?? "no reason given"}`);
    return 2;
  } finally {
    await sql.end({ timeout: 5 });
  }
  const words = [...tally].map(([result, count]) => `${count} ${result}`).join(", ");
  console.log(`${flags["dry-run"] ? "Would be: " : ""}${words || "Nothing is in quarantine."}`);
  return [...tally.keys()].some((result) => left.has(result)) ? 1 : 0;
}
