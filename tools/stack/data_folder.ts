import { join } from "@std/path";
import { randomWord } from "./cluster.ts";
import { stopLeftBehind } from "./postgres.ts";
import { explain, Sentence } from "./sentence.ts";

/** Keys and secrets of one data folder, made at its first start. */
export interface Secrets {
  admin_password: string;
  postgres_password: string;
  jwt_secret: string;
  publishable_key: string;
  secret_key: string;
  /** What a GitHub webhook is signed with, unless the environment names another. */
  github_secret: string;
  /** Of the demo member who reads the facts over the API. */
  member_password: string;
}

/** What the file that marks a folder as ours says. */
interface Marker {
  made_by: string;
  /** False until the first start has been through: what is in the folder by then is worth nothing. */
  complete: boolean;
  /** SHA-256 of each applied migration, by file name. */
  migrations: Record<string, string>;
}

const markerName = "stack.json";
const madeBy = "the local stack of CI/CD metrics";

/** The data folder of a stack: only one process has it at a time. */
export class DataFolder {
  readonly path: string;
  #lock: Deno.FsFile | undefined;
  #marker: Marker = { made_by: madeBy, complete: false, migrations: {} };

  private constructor(path: string) {
    this.path = path;
  }

  /** The folder of the database cluster. */
  get postgres(): string {
    return join(this.path, "postgres");
  }

  /** The folder of the logs. */
  get log(): string {
    return join(this.path, "log");
  }

  /** Whether a start has been through on this folder. */
  get isComplete(): boolean {
    return this.#marker.complete;
  }

  /** SHA-256 of each migration that was applied here, by file name. */
  get migrations(): Record<string, string> {
    return this.#marker.migrations;
  }

  /**
   * Opens a data folder, or makes one; removes what an interrupted first start left.
   *
   * @param path absolute
   * @throws {Sentence} when it is in use, not ours, of another Postgres version or cannot be written
   */
  static async open(path: string): Promise<DataFolder> {
    const folder = new DataFolder(path);
    try {
      await folder.#open();
      return folder;
    } catch (error) {
      folder.close();
      if (error instanceof Sentence) throw error;
      const text = error instanceof Error ? error.message : String(error);
      if (error instanceof Deno.errors.PermissionDenied || error instanceof Deno.errors.NotCapable) {
        throw new Sentence(
          `The data folder ${path} cannot be written by this user: change its owner, or choose another folder with --data DIR.`,
        );
      }
      if (error instanceof Deno.errors.NotADirectory || error instanceof Deno.errors.AlreadyExists) {
        throw new Sentence(`${path} is a file, not a folder: choose another folder with --data DIR.`);
      }
      throw explain(text, path) ??
        new Sentence(`The data folder ${path} cannot be used (${text}): choose another with --data DIR.`);
    }
  }

  async #open(): Promise<void> {
    await Deno.mkdir(this.path, { recursive: true, mode: 0o700 });
    const entries = (await Array.fromAsync(Deno.readDir(this.path))).map((entry) => entry.name);
    const marker = entries.includes(markerName) ? await this.#read() : undefined;
    if (entries.length > 0 && !marker && !entries.every((name) => name === "lock")) {
      const version = await Deno.readTextFile(join(this.path, "PG_VERSION")).catch(() => undefined);
      throw new Sentence(
        version
          ? `${this.path} is the data folder of a Postgres ${version.trim()} that this stack did not make: choose another folder with --data DIR.`
          : `The folder ${this.path} is not empty and was not made by this stack: choose an empty or new folder with --data DIR.`,
      );
    }
    // A folder of another user that this one may write to would not stay private.
    const { uid } = await Deno.stat(this.path);
    if (uid !== null && uid !== Deno.uid()) {
      throw new Sentence(
        `The data folder ${this.path} belongs to another user: start as that user, or choose another folder with --data DIR.`,
      );
    }
    await Deno.chmod(this.path, 0o700);
    // The kernel lets go of the lock when the process ends, however it ends.
    this.#lock = await Deno.open(join(this.path, "lock"), { read: true, write: true, create: true, mode: 0o600 });
    if (!await this.#lock.tryLock(true)) {
      throw new Sentence(
        `A stack is running on ${this.path} already: use that one, stop it first, or choose another folder with --data DIR.`,
      );
    }
    if (marker) this.#marker = marker;
    if (!this.isComplete) {
      await stopLeftBehind(this.postgres);
      for (const name of entries.filter((name) => name !== "lock")) {
        await Deno.remove(join(this.path, name), { recursive: true });
      }
      await this.#write();
    }
    await Deno.mkdir(this.log, { recursive: true, mode: 0o700 });
    for await (const { name } of Deno.readDir(this.log)) {
      const file = join(this.log, name);
      if ((await Deno.stat(file)).size > 20_000_000) await Deno.rename(file, `${file}.old`);
    }
  }

  async #read(): Promise<Marker | undefined> {
    try {
      const marker = JSON.parse(await Deno.readTextFile(join(this.path, markerName)));
      return marker.made_by === madeBy ? marker : undefined;
    } catch (error) {
      if (error instanceof SyntaxError) return undefined;
      throw error;
    }
  }

  async #write(): Promise<void> {
    await writeWhole(join(this.path, markerName), JSON.stringify(this.#marker, null, 2));
  }

  /** The first start has been through, or another migration was applied. */
  async complete(migrations: Record<string, string>): Promise<void> {
    this.#marker.complete = true;
    this.#marker.migrations = migrations;
    await this.#write();
  }

  /** The folder's keys and secrets, made now if there are none. */
  async secrets(): Promise<Secrets> {
    const file = join(this.path, "secrets.json");
    try {
      return JSON.parse(await Deno.readTextFile(file));
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
    if (this.isComplete) {
      throw new Sentence(
        `${file}, which holds the keys of the database beside it, is gone: put it back from a copy, or choose another folder ` +
          `with --data DIR.`,
      );
    }
    const secrets: Secrets = {
      admin_password: randomWord(),
      postgres_password: randomWord(),
      jwt_secret: randomWord(),
      publishable_key: `sb_publishable_${randomWord()}`,
      secret_key: `sb_secret_${randomWord()}`,
      github_secret: randomWord(),
      member_password: randomWord(),
    };
    await writeWhole(file, JSON.stringify(secrets, null, 2));
    return secrets;
  }

  /** Lets another process have the folder. */
  close(): void {
    this.#lock?.close();
    this.#lock = undefined;
  }
}

/** Writes a private file so that a reader, and the next start after a crash, sees the old content or the new one. */
async function writeWhole(path: string, text: string): Promise<void> {
  const draft = `${path}.new`;
  await Deno.writeTextFile(draft, text, { mode: 0o600 });
  const file = await Deno.open(draft);
  await file.sync();
  file.close();
  await Deno.rename(draft, path);
}
