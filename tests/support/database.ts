import postgres, { type Sql } from "postgres";
import { Cluster, templateDatabase, temporaryCluster } from "../../tools/stack/cluster.ts";
import { pushMigrations } from "../../tools/stack/migrate.ts";

/** A database of its own for a test, with every migration applied. */
export interface TestDatabase {
  /** Its address, as the role `postgres`, who is no superuser. */
  url: string;
  /** Connected as `postgres`; more connections are opened as they are needed, up to ten. */
  sql: Sql;
  [Symbol.asyncDispose](): Promise<void>;
}

// Started while modules load, not inside a test, which would be blamed for a process that outlives it.
let own: Cluster | undefined;
if (!Deno.env.has("METRICS_TEST_CLUSTER")) own = await temporaryCluster(pushMigrations);

/** The address of the cluster's database `postgres`, which is not migrated; as the role `postgres`. */
export const clusterUrl: string = own?.url() ?? Deno.env.get("METRICS_TEST_CLUSTER")!;

/**
 * A fresh copy of the migrated template database; dropped when disposed of (`await using database = await testDatabase()`).
 *
 * @param options passed to the client, for example `{ max: 1 }`
 */
export async function testDatabase(
  options: postgres.Options<Record<string, postgres.PostgresType>> = {},
): Promise<TestDatabase> {
  const name = `test_${crypto.randomUUID().replaceAll("-", "")}`;
  await inCluster((sql) => sql.unsafe(`create database ${name} template ${templateDatabase}`));
  const address = new URL(clusterUrl);
  address.pathname = `/${name}`;
  const sql = postgres(address.href, { onnotice: () => {}, ...options }) as Sql;
  return {
    url: address.href,
    sql,
    async [Symbol.asyncDispose]() {
      await sql.end({ timeout: 5 });
      await inCluster((sql) => sql.unsafe(`drop database ${name} with (force)`));
    },
  };
}

async function inCluster(work: (sql: Sql) => Promise<unknown>): Promise<void> {
  const sql = postgres(clusterUrl, { max: 1, onnotice: () => {} });
  try {
    await work(sql);
  } finally {
    await sql.end({ timeout: 5 });
  }
}
