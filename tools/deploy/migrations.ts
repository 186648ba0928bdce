import { encodeHex } from "@std/encoding/hex";
import { join } from "@std/path";
import { Sentence } from "../stack/sentence.ts";

/** A migration of the repository. */
export interface Migration {
  /** Its file's name. */
  name: string;
  /** Its path below the root, as findings name it. */
  file: string;
  /** The digits that its name begins with. */
  version: string;
  /** Whether it is one of ours; the others are the app's, and not judged. */
  isOurs: boolean;
  sql: string;
  /** SHA-256 of its bytes, in hex. */
  sha256: string;
}

/** The name of a migration of ours: fourteen digits of time, `metrics`, and the capability. */
export const ourName: RegExp = /^(\d{14})_metrics_([a-z0-9]+(?:_[a-z0-9]+)*)\.sql$/;

/** A name that looks like one of ours at a glance. */
export const almostOurName: RegExp = /^[\d_.-]*metrics(?:[_.-]|$)/i;

/** What the CLI takes for a migration. */
const anyName = /^(\d+)_.*\.sql$/;

/**
 * The migrations of a repository in the order in which the CLI applies them.
 *
 * @param root the folder that holds `supabase/`
 * @throws {Sentence} when there are none, or when one is a link or a folder
 */
export async function readMigrations(root: string): Promise<Migration[]> {
  const folder = join(root, "supabase", "migrations");
  const names: string[] = [];
  try {
    for await (const { name, isFile } of Deno.readDir(folder)) {
      if (!anyName.test(name)) continue;
      // The CLI would follow a link, to where no checksum and no rule of ours looks.
      if (!isFile) {
        throw new Sentence(`supabase/migrations/${name} is no plain file: put the migration itself in its place.`);
      }
      names.push(name);
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new Sentence(
      `There is no folder supabase/migrations in ${root}: name the repository's folder with --root=<folder>.`,
    );
  }
  return await Promise.all(
    names.sort().map(async (name) => {
      const bytes = await Deno.readFile(join(folder, name));
      return {
        name,
        file: `supabase/migrations/${name}`,
        version: anyName.exec(name)![1]!,
        isOurs: ourName.test(name),
        sql: new TextDecoder().decode(bytes),
        sha256: await sha256(bytes),
      };
    }),
  );
}

/** SHA-256 in hex. */
export async function sha256(data: Uint8Array<ArrayBuffer> | string): Promise<string> {
  const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
  return encodeHex(await crypto.subtle.digest("SHA-256", bytes));
}
