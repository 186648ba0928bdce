/** Generated years in a Postgres server of their own, kept from one run to the next below `.data/bench`. */

import { createHash } from "node:crypto";
import postgres, { type Sql } from "postgres";
import { join } from "@std/path";
import { Cluster, copyBootstrapped } from "../stack/cluster.ts";
import { DataFolder } from "../stack/data_folder.ts";
import { pushMigrations } from "../stack/migrate.ts";
import { repository } from "../stack/packages.ts";
import { run } from "../stack/process.ts";
import { Sentence } from "../stack/sentence.ts";
import { loadYear } from "./year.ts";

const kept = join(repository, ".data", "bench");
/** Facts that go through `metrics.ingest`, at scale 1. */
const TAIL = 2000;
/** A year that is lost is made again, so that nothing needs to be safe while it is loaded. */
const whileLoading = {
  fsync: "off",
  synchronous_commit: "off",
  full_page_writes: "off",
  jit: "off",
  checkpoint_timeout: "1h",
  maintenance_work_mem: "512MB",
  work_mem: "256MB",
};

/** A running server with the years that were asked for, set as the local stack sets its own: nothing but the defaults. */
export interface YearCluster extends AsyncDisposable {
  cluster: Cluster;
  /** The database with the year of a scale, which is not to be changed: see {@link YearCluster.copy}. */
  database(scale: number): string;
  /** A copy of a year, to be changed; it is there until it is disposed of. */
  copy(scale: number): Promise<{ name: string } & AsyncDisposable>;
  /** A client of a database as the role `postgres`. */
  connect(database: string, max: number): Sql;
}

/** Starts the server; years that are not there yet are loaded first. */
export async function openYears(scales: readonly number[], say: (line: string) => void): Promise<YearCluster> {
  const hash = await hashOfWhatMakesIt();
  await removeOthers(hash, say);
  const folder = await DataFolder.open(join(kept, hash));
  const clusterWith = async (settings: Record<string, string>) => {
    const secrets = await folder.secrets();
    return new Cluster({ folder: folder.postgres, log: join(folder.log, "postgres.log"), settings }, {
      admin: secrets.admin_password,
      postgres: secrets.postgres_password,
    });
  };
  let cluster: Cluster | undefined;
  try {
    if (!folder.isComplete) {
      cluster = await clusterWith(whileLoading);
      await cluster.create(0);
      await cluster.server.stop();
      await folder.complete({});
    }
    cluster = await clusterWith({});
    await cluster.server.start(0);
    // What an interrupted run left.
    await dropDatabases(cluster, /^(loading|copy)_/);
    const there = await databases(cluster);
    const missing = scales.filter((scale) => !there.includes(nameOf(scale)));
    if (missing.length > 0) {
      await cluster.server.stop();
      cluster = await clusterWith(whileLoading);
      await cluster.server.start(0);
      for (const scale of missing) await load(cluster, scale, say);
      await cluster.server.stop();
      await run(["sync"]);
      cluster = await clusterWith({});
      await cluster.server.start(0);
    }
    const running = cluster;
    say(`the years are kept in ${folder.path}; to remove them: rm -r ${kept}`);
    return {
      cluster,
      database: nameOf,
      async copy(scale) {
        const name = `copy_${crypto.randomUUID().replaceAll("-", "")}`;
        await running.with(
          running.adminUrl("template1"),
          (sql) => sql.unsafe(`create database ${name} template ${nameOf(scale)} owner postgres strategy file_copy`),
        );
        return { name, [Symbol.asyncDispose]: () => dropDatabases(running, new RegExp(`^${name}$`)) };
      },
      connect: (database, max) => postgres(running.url(database), { max, onnotice: () => {} }),
      async [Symbol.asyncDispose]() {
        await running.server.stop();
        folder.close();
      },
    };
  } catch (error) {
    await cluster?.server.stop();
    folder.close();
    throw error;
  }
}

function nameOf(scale: number): string {
  return `year_${String(scale).replace(".", "_")}`;
}

async function load(cluster: Cluster, scale: number, say: (line: string) => void): Promise<void> {
  const started = performance.now();
  say(`loading the year at scale ${scale}, which is kept for the next time`);
  const name = `loading_${nameOf(scale)}`;
  await cluster.with(cluster.adminUrl("template1"), (sql) => copyBootstrapped(sql, name));
  await pushMigrations(cluster.url(name));
  const width = 2;
  const sql = postgres(cluster.url(name), { max: width, onnotice: () => {} });
  try {
    await loadYear(sql, {
      scale,
      tail: Math.ceil(TAIL * Math.min(1, scale)),
      width,
      say: (what, seconds) => say(`  ${what.padEnd(36)} ${seconds.toFixed(1).padStart(7)} s`),
    });
  } finally {
    await sql.end({ timeout: 5 });
  }
  await cluster.with(
    cluster.adminUrl("template1"),
    (sql) => sql.unsafe(`alter database ${name} rename to ${nameOf(scale)}`),
  );
  say(`  ${"altogether".padEnd(36)} ${((performance.now() - started) / 1000).toFixed(1).padStart(7)} s`);
}

async function databases(cluster: Cluster): Promise<string[]> {
  return await cluster.with(cluster.adminUrl("template1"), async (sql) => {
    const rows = await sql<{ name: string }[]>`select datname::text as name from pg_database`;
    return rows.map(({ name }) => name);
  });
}

async function dropDatabases(cluster: Cluster, which: RegExp): Promise<void> {
  const names = (await databases(cluster)).filter((name) => which.test(name));
  await cluster.with(cluster.adminUrl("template1"), async (sql) => {
    for (const name of names) await sql.unsafe(`drop database ${name} with (force)`);
  });
}

/** Another text of the generator or of a migration makes other years. */
async function hashOfWhatMakesIt(): Promise<string> {
  const migrations = join(repository, "supabase", "migrations");
  const files = [
    ...["year.sql", "year.ts"].map((name) => join(repository, "tools", "bench", name)),
    ...[...Deno.readDirSync(migrations)].map(({ name }) => join(migrations, name)).sort(),
  ];
  const hash = createHash("sha256");
  for (const file of files) hash.update(`${file.slice(repository.length)}\0`).update(await Deno.readFile(file));
  return hash.digest("hex").slice(0, 16);
}

/** Years of another hash are of no use any more, unless another run has them just now. */
async function removeOthers(hash: string, say: (line: string) => void): Promise<void> {
  await Deno.mkdir(kept, { recursive: true });
  for (const { name } of [...Deno.readDirSync(kept)]) {
    if (name === hash) continue;
    const path = join(kept, name);
    try {
      (await DataFolder.open(path)).close();
    } catch (error) {
      if (!(error instanceof Sentence)) throw error;
      say(`left alone: ${error.message}`);
      continue;
    }
    await Deno.remove(path, { recursive: true });
    say(`removed ${path}, which was made by another generator or other migrations`);
  }
}
