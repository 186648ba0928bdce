// Copies what an app's repository needs from this one, and takes it out again. A manifest with hashes says which files are ours; no
// other file is ever touched, and one of ours that somebody edited is left as it is.
import { parse } from "@std/toml";
import { dirname, join, resolve } from "@std/path";
import { encodeHex } from "@std/encoding/hex";
import { ourName } from "../deploy/migrations.ts";
import { Sentence } from "../stack/sentence.ts";
import { manifestPath, type Source, sourcesOf } from "./files.ts";

/** What was written into an app's repository. */
export interface Manifest {
  about: string;
  /** False while an installation is under way: the next one finishes it. */
  complete: boolean;
  /** By path in the app's repository. */
  files: Record<string, {
    /** The path in our repository. */
    source: string;
    /** SHA-256 of what was written, in hex. */
    sha256: string;
    /** SHA-256 of what stood there before, while `complete` is false. */
    replaces?: string;
  }>;
}

/** What an installation did. */
export interface Outcome {
  /** Paths by what became of them. */
  added: string[];
  changed: string[];
  removed: string[];
  /** Ours, but edited or removed by hand: left as they are. */
  kept: string[];
  unchanged: number;
  /** What the person has to do, one sentence each. */
  todo: string[];
}

const about = "Written by deno task install: files of ours in this repository, with the SHA-256 of what was written.";

/**
 * Installs or upgrades.
 *
 * @param from the folder of our repository
 * @param repository the folder of the app's repository, which holds `supabase/`
 * @param now stamps migrations that are new there
 * @throws {Sentence} when the folder is none, or a file of the app's is in the way; nothing was written then
 */
export async function install(from: string, repository: string, now: Date = new Date()): Promise<Outcome> {
  const folder = await appFolder(from, repository);
  const before = await readManifest(folder);
  const wanted = stamped(await sourcesOf(from), before, await namesOf(folder), now);
  const outcome: Outcome = { added: [], changed: [], removed: [], kept: [], unchanged: 0, todo: [] };
  const after: Manifest = { about, complete: false, files: {} };
  const writes: Source[] = [];
  const inTheWay: string[] = [];

  for (const file of wanted) {
    const there = await hashOf(folder, file.path);
    const ours = before?.files[file.path];
    const sha256 = await hash(file.text);
    if (there === sha256) {
      outcome.unchanged++;
      after.files[file.path] = { source: file.source, sha256 };
    } else if (ours === undefined) {
      if (there !== undefined) inTheWay.push(file.path);
      else {
        outcome.added.push(file.path);
        writes.push(file);
        after.files[file.path] = { source: file.source, sha256 };
      }
    } else if (there === undefined ? !before!.complete : there === ours.sha256 || there === ours.replaces) {
      (there === undefined ? outcome.added : outcome.changed).push(file.path);
      writes.push(file);
      after.files[file.path] = { source: file.source, sha256, ...(there === undefined ? {} : { replaces: there }) };
    } else {
      outcome.kept.push(file.path);
      after.files[file.path] = ours;
    }
  }
  // The gates would take it for ours, and a removal would take it out of the history.
  const stray = (await namesOf(folder)).filter((name) => ourName.test(name))
    .map((name) => `supabase/migrations/${name}`).filter((path) => !after.files[path] && !before?.files[path]);
  inTheWay.push(...stray);
  if (inTheWay.length > 0) {
    throw new Sentence(
      `Nothing was written: ${inTheWay.join(", ")} ${
        inTheWay.length === 1 ? "is" : "are"
      } there already and not ours. ` +
        "Rename or move what is in the way, and install again. Migrations named <time>_metrics_<word>.sql are ours.",
    );
  }
  const gone: string[] = [];
  for (const [path, ours] of Object.entries(before?.files ?? {})) {
    if (after.files[path]) continue;
    const there = await hashOf(folder, path);
    // A migration is part of the history of databases, whatever later releases do.
    if (there !== undefined && (isMigration(ours.source) || there !== ours.sha256 && there !== ours.replaces)) {
      outcome.kept.push(path);
      after.files[path] = ours;
    } else if (there !== undefined) {
      gone.push(path);
      outcome.removed.push(path);
    }
  }

  // First the list, so that what is written half is known as ours, then the files, then that all is there.
  await write(folder, manifestPath, textOf(after));
  for (const { path, text } of writes) await write(folder, path, text);
  await removeAll(folder, gone);
  for (const file of Object.values(after.files)) delete file.replaces;
  await write(folder, manifestPath, textOf({ ...after, complete: true }));
  outcome.todo = await missingSettings(folder);
  return outcome;
}

/**
 * Takes out what was installed.
 *
 * @throws {Sentence} when nothing was
 */
export async function uninstall(from: string, repository: string): Promise<Outcome> {
  const folder = await appFolder(from, repository);
  const manifest = await readManifest(folder);
  if (!manifest) throw new Sentence(`Nothing of ours is installed in ${folder}: there is no ${manifestPath}.`);
  const outcome: Outcome = { added: [], changed: [], removed: [], kept: [], unchanged: 0, todo: [] };
  for (const [path, { sha256, replaces }] of Object.entries(manifest.files)) {
    const there = await hashOf(folder, path);
    if (there === undefined) continue;
    (there === sha256 || there === replaces ? outcome.removed : outcome.kept).push(path);
  }
  await removeAll(folder, [...outcome.removed, manifestPath]);
  const toml = await configOf(folder);
  if (toml.schemas.includes("metrics") || toml.section !== undefined) {
    outcome.todo.push(
      "Take metrics out of schemas in [api], and the section [functions.ingest-metrics], of supabase/config.toml.",
    );
  }
  return outcome;
}

const isMigration = (source: string): boolean => source.startsWith("supabase/migrations/");

/** The folder, if it is a repository of an app that uses Supabase. */
async function appFolder(from: string, repository: string): Promise<string> {
  const folder = await Deno.realPath(resolve(repository)).catch(() => undefined);
  if (folder === undefined) throw new Sentence(`There is no folder ${repository}.`);
  if (folder === await Deno.realPath(from)) {
    throw new Sentence("That is this repository itself: name the folder of the app's repository.");
  }
  if (!await Deno.stat(join(folder, "supabase", "config.toml")).catch(() => undefined)) {
    throw new Sentence(
      `There is no supabase/config.toml in ${folder}, so it is not the repository of an app that uses Supabase. There are two ways: ` +
        "install beside an app, into the repository that its migrations are deployed from (where it has none yet, run supabase init " +
        "there); or give metrics a project of its own and deploy it from a clone of this repository.",
    );
  }
  return folder;
}

/** What was written before, or undefined. */
async function readManifest(folder: string): Promise<Manifest | undefined> {
  const text = await Deno.readTextFile(join(folder, manifestPath)).catch(() => undefined);
  if (text === undefined) return undefined;
  const broken = new Sentence(
    `${manifestPath} is not what was written there, so nothing tells which files are ours: restore it from the repository's history.`,
  );
  let manifest: Manifest;
  try {
    manifest = JSON.parse(text);
  } catch {
    throw broken;
  }
  const files = Object.entries(manifest?.files ?? { "": undefined });
  const isOurs = (path: string) =>
    /^(supabase|metrics|\.github\/workflows)\//.test(path) && !path.split("/").includes("..");
  if (!files.every(([path, file]) => isOurs(path) && /^[0-9a-f]{64}$/.test(file?.sha256 ?? ""))) throw broken;
  return manifest;
}

/** Names of the migrations that the app's repository has, ours among them. */
async function namesOf(folder: string): Promise<string[]> {
  try {
    return await Array.fromAsync(Deno.readDir(join(folder, "supabase", "migrations")), ({ name }) => name);
  } catch {
    return [];
  }
}

/**
 * Gives migrations that are new there the time of installation, each a second after the one before, and after every migration that
 * is there: the CLI refuses a version before the last that a database has. Those that are there keep theirs.
 */
function stamped(sources: Source[], before: Manifest | undefined, names: string[], now: Date): Source[] {
  const known = new Map(Object.entries(before?.files ?? {}).map(([path, { source }]) => [source, path]));
  const versions = names.map((name) => /^(\d{14})_.*\.sql$/.exec(name)?.[1]).filter((version) => version !== undefined);
  const last = Math.max(0, ...versions.map(timeOf));
  let next = Math.max(Math.floor(now.getTime() / 1000) * 1000, last + 1000);
  return sources.map((file) => {
    if (!file.isMigration) return file;
    const path = known.get(file.source);
    if (path !== undefined) return { ...file, path };
    const version = new Date(next).toISOString().replace(/\D/g, "").slice(0, 14);
    next += 1000;
    return { ...file, path: file.path.replace(/\/\d{14}_/, `/${version}_`) };
  });
}

/** The time that a version says, in milliseconds; of digits that are no time one that comes after them all the same. */
function timeOf(version: string): number {
  const [year, month, ...rest] = /^(....)(..)(..)(..)(..)(..)$/.exec(version)!.slice(1).map(Number) as [number, number];
  return Date.UTC(year, month - 1, ...rest);
}

/** What supabase/config.toml says that concerns us. */
async function configOf(folder: string) {
  const config = parse(await Deno.readTextFile(join(folder, "supabase", "config.toml"))) as {
    api?: { schemas?: string[] };
    functions?: Record<string, { verify_jwt?: boolean; entrypoint?: string; import_map?: string }>;
  };
  return {
    // What the CLI takes where the file does not say.
    schemas: config.api?.schemas ?? ["public", "graphql_public"],
    section: config.functions?.["ingest-metrics"],
  };
}

/** What supabase/config.toml, which is the app's, needs for us: one sentence for each thing that is missing. */
async function missingSettings(folder: string): Promise<string[]> {
  const { schemas, section } = await configOf(folder);
  const todo: string[] = [];
  if (!schemas.includes("metrics")) {
    const wanted = [...schemas, "metrics"].map((name) => JSON.stringify(name)).join(", ");
    todo.push(`In supabase/config.toml, section [api], write: schemas = [${wanted}]`);
  }
  if (section?.verify_jwt !== false || section.import_map === undefined) {
    todo.push(
      "In supabase/config.toml, write: [functions.ingest-metrics] with the lines verify_jwt = false, " +
        'entrypoint = "./functions/ingest-metrics/index.ts" and import_map = "./functions/ingest-metrics/deno.json"',
    );
  }
  return todo;
}

/** The SHA-256 of a file, undefined where there is none. What is no plain file has the hash of nothing that we write. */
async function hashOf(folder: string, path: string): Promise<string | undefined> {
  const full = join(folder, path);
  const info = await Deno.lstat(full).catch(() => undefined);
  if (!info) return undefined;
  return info.isFile ? await hash(await Deno.readTextFile(full)) : "not a file";
}

async function hash(text: string): Promise<string> {
  return encodeHex(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
}

const textOf = (manifest: Manifest): string => `${JSON.stringify(manifest, null, 2)}\n`;

async function write(folder: string, path: string, text: string): Promise<void> {
  const full = join(folder, path);
  await Deno.mkdir(dirname(full), { recursive: true });
  await Deno.writeTextFile(full, text);
}

/** Removes files, and folders that have become empty by it. */
async function removeAll(folder: string, paths: string[]): Promise<void> {
  for (const path of paths) {
    await Deno.remove(join(folder, path));
    for (let parent = dirname(path); parent !== "."; parent = dirname(parent)) {
      // Not empty: somebody else's files lie in it.
      if (await Deno.remove(join(folder, parent)).then(() => false, () => true)) break;
    }
  }
}
