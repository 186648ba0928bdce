import postgres, { type Sql } from "postgres";
import { join } from "@std/path";
import { bootstrapCluster, bootstrapDatabase, demotePostgres } from "./bootstrap.ts";
import { PostgresServer, type ServerOptions } from "./postgres.ts";

/** The passwords of the two roles that log in from outside. */
export interface Passwords {
  /** Of the superuser, whom only the stack itself uses. */
  admin: string;
  /** Of the role `postgres`, who owns the database and is no superuser. */
  postgres: string;
}

/** A random word of letters and digits, 190 bits strong: a password or key that needs no quoting anywhere. */
export function randomWord(): string {
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
  let word = "";
  while (word.length < 32) {
    for (const byte of crypto.getRandomValues(new Uint8Array(64))) {
      // Bytes beyond the last multiple of 62 would favour the first letters.
      if (byte < 248 && word.length < 32) word += alphabet[byte % 62];
    }
  }
  return word;
}

/** A Postgres server that looks like a hosted project's. */
export class Cluster {
  readonly server: PostgresServer;
  readonly passwords: Passwords;

  constructor(options: ServerOptions, passwords: Passwords) {
    this.server = new PostgresServer(options);
    this.passwords = passwords;
  }

  /** The address of a database for the role `postgres`. */
  url(database = "postgres"): string {
    return `postgresql://postgres:${this.passwords.postgres}@127.0.0.1:${this.server.port}/${database}`;
  }

  /** The address of a database for the superuser. */
  adminUrl(database = "postgres"): string {
    return `postgresql://supabase_admin:${this.passwords.admin}@127.0.0.1:${this.server.port}/${database}`;
  }

  /** Runs something with a connection that is closed afterwards. */
  async with<T>(url: string, work: (sql: Sql) => Promise<T>): Promise<T> {
    const sql = postgres(url, { max: 1, onnotice: () => {} });
    try {
      return await work(sql);
    } finally {
      await sql.end({ timeout: 5 });
    }
  }

  /**
   * Makes the cluster: roles as on hosted projects, and the database `postgres` as it is before the first migration. The
   * server runs afterwards.
   *
   * @param port the port wanted, 0 for any
   */
  async create(port: number): Promise<void> {
    await this.server.initialise(this.passwords.admin);
    await this.server.start(port);
    await this.with(this.adminUrl(), async (sql) => {
      await bootstrapCluster(sql, this.passwords.postgres);
      await bootstrapDatabase(sql);
      await demotePostgres(sql);
    });
  }
}

/**
 * Copies the bootstrapped database `postgres`; nobody may be connected to it.
 *
 * @param sql as the superuser, connected to another database
 * @param name needs no quoting
 */
export async function copyBootstrapped(sql: Sql, name: string): Promise<void> {
  await sql.unsafe(`create database ${name} template postgres owner postgres`);
  // Privileges on the database itself are not copied.
  await sql.unsafe(`grant create on database ${name} to supabase_auth_admin`);
}

/** The database that tests copy: migrated once, never connected to afterwards. */
export const templateDatabase = "metrics_template";

/**
 * Starts a cluster in a temporary folder that vanishes with it, for tests: nothing is forced to disk unless `durable`.
 *
 * @returns the running cluster, with a bootstrapped database `postgres` and the migrated {@link templateDatabase}
 */
export async function temporaryCluster(
  migrate: (url: string) => Promise<void>,
  options: { durable?: boolean } = {},
): Promise<Cluster> {
  const folder = await Deno.makeTempDir({ prefix: "metrics-cluster-" });
  const settings = options.durable
    ? {}
    : { fsync: "off", synchronous_commit: "off", full_page_writes: "off", autovacuum_naptime: "10s" };
  const cluster = new Cluster({
    folder: join(folder, "postgres"),
    log: join(folder, "postgres.log"),
    settings: { ...settings, max_connections: "200" },
    afterwards: { script: 'rm -rf "$1"', args: [folder] },
  }, { admin: randomWord(), postgres: randomWord() });
  await cluster.create(0);
  try {
    await cluster.with(cluster.adminUrl("template1"), (sql) => copyBootstrapped(sql, templateDatabase));
    await migrate(cluster.url(templateDatabase));
  } catch (error) {
    await cluster.server.stop();
    throw error;
  }
  return cluster;
}
