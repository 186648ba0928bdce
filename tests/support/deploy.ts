/**
 * A bed for tests of deployments: databases as hosted projects have them, each with an app in it, and folders of an app's repository
 * with our files installed. Databases are copies of one that the real CLI filled, so each costs a fraction of a second.
 */

import { join } from "@std/path";
import postgres, { type Sql } from "postgres";
import { type Cluster, templateDatabase, temporaryCluster } from "../../tools/stack/cluster.ts";
import { pushMigrations } from "../../tools/stack/migrate.ts";
import { repository } from "../../tools/stack/packages.ts";
import { run } from "../../tools/stack/process.ts";
import { type Rest, startRest } from "../../tools/stack/rest.ts";
import type { GateResult } from "../../tools/deploy/result.ts";
import type { Target } from "../../tools/deploy/target.ts";
import { type SystemCatalogs, systemCatalogs } from "./snapshot.ts";

/** The app's migrations, by file name: tables, functions, a view, a trigger and policies in two schemas, with data. */
export const appMigrations: Record<string, string> = {
  "20260110080000_notes.sql": `create type public.mood as enum ('good', 'bad');
create table public.notes (
  id bigint generated always as identity primary key,
  owner uuid references auth.users (id) on delete cascade,
  mood public.mood not null default 'good',
  text text not null,
  changed_at timestamptz not null default now()
);
alter table public.notes enable row level security;
create policy notes_are_public on public.notes for select to anon, authenticated using (true);
create policy notes_are_written_by_owners on public.notes for insert to authenticated with check (owner = (select auth.uid()));
grant select on public.notes to anon, authenticated;
grant insert on public.notes to authenticated;
grant all on public.notes to service_role;
insert into public.notes (text) select 'note ' || n from generate_series(1, 20) as n;
`,
  "20260214100000_billing.sql": `create schema billing;
create table billing.invoices (id int primary key, cents bigint not null check (cents >= 0));
create function billing.total() returns bigint language sql stable security definer set search_path = ''
as 'select sum(cents)::bigint from billing.invoices';
insert into billing.invoices select n, n * 100 from generate_series(1, 10) as n;
create function public.touch() returns trigger language plpgsql as 'begin new.changed_at := now(); return new; end';
create trigger notes_touch before update on public.notes for each row execute function public.touch();
create view public.note_counts with (security_invoker = true) as select mood, count(*) from public.notes group by mood;
grant select on public.note_counts to anon, authenticated;
`,
};

const appTemplate = "app_template";
const deployedTemplate = "deployed_template";
const deployed = new Map<Cluster, Promise<void>>();

/** A cluster for a test file, which apps' databases are copies in. To be made while the module loads. */
export async function deployCluster(): Promise<Cluster> {
  const cluster = await temporaryCluster(() => Promise.resolve());
  Deno.test.afterAll(() => cluster.server.stop());
  await copy(cluster, templateDatabase, appTemplate);
  await using app = await appRepository({ metrics: false });
  await pushMigrations(cluster.url(appTemplate), app.folder);
  return cluster;
}

/** Makes a database as a copy of another, to which nobody may be connected. */
async function copy(cluster: Cluster, from: string, to: string): Promise<void> {
  await cluster.with(cluster.adminUrl("template1"), async (sql) => {
    await sql.unsafe(`create database ${to} template ${from} owner postgres`);
    // Privileges on the database itself are not copied.
    await sql.unsafe(`grant create on database ${to} to supabase_auth_admin`);
  });
}

/** A database with an app in it; dropped when disposed of. */
export interface AppDatabase {
  name: string;
  /** Its address, as the role `postgres`, who is no superuser; TLS is off. */
  url: string;
  target: Target;
  /** Connected as `postgres`. */
  sql: Sql;
  /** Connected as the superuser. */
  admin: Sql;
  /** Every row of every system catalog, to compare with `changesBeyond`. */
  catalogs(): Promise<SystemCatalogs>;
  /** Every row of the app's tables, with its transaction. */
  rows(): Promise<string[]>;
  /** Versions in the history of migrations. */
  history(): Promise<string[]>;
  /** A REST server on it as hosted projects have, to be closed by the caller. */
  rest(): Promise<Rest>;
  [Symbol.asyncDispose](): Promise<void>;
}

async function makeDeployedTemplate(cluster: Cluster): Promise<void> {
  await copy(cluster, appTemplate, deployedTemplate);
  await using app = await appRepository();
  await pushMigrations(cluster.url(deployedTemplate), app.folder);
}

/** The keys that {@link AppDatabase.rest} answers to. */
export const restKeys = { publishableKey: "sb_publishable_test", secretKey: "sb_secret_test" };

/** The origin of the requests to {@link AppDatabase.rest}. */
export const restOrigin = "http://127.0.0.1:54321";

/**
 * A fresh database with the app of {@link appMigrations}, which stand in its history.
 *
 * @param options.app false for one without an app, as of a project of our own
 * @param options.deployed whether our migrations are applied, too, as they stand in the repository
 */
export async function appDatabase(
  cluster: Cluster,
  options: { name?: string; app?: boolean; deployed?: boolean } = {},
): Promise<AppDatabase> {
  if (options.deployed) {
    if (!deployed.has(cluster)) deployed.set(cluster, makeDeployedTemplate(cluster));
    await deployed.get(cluster);
  }
  const name = `${options.name ?? "app"}_${crypto.randomUUID().slice(0, 8)}`;
  await copy(
    cluster,
    options.deployed ? deployedTemplate : options.app === false ? templateDatabase : appTemplate,
    name,
  );
  const url = `${cluster.url(name)}?sslmode=disable`;
  const sql = postgres(url, { onnotice: () => {} }) as Sql;
  const admin = postgres(cluster.adminUrl(name), { max: 1, onnotice: () => {} }) as Sql;
  return {
    name,
    url,
    target: { kind: "url", url },
    sql,
    admin,
    catalogs: () => systemCatalogs(admin),
    rows: async () => {
      const tables = await admin<{ name: string }[]>`
        select format('%I.%I', n.nspname, c.relname) as name
        from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
        where n.nspname in ('public', 'billing', 'auth') and c.relkind = 'r'
        order by 1`;
      const lines: string[] = [];
      for (const { name } of tables) {
        const rows = await admin.unsafe(`select t.xmin::text || ' ' || t::text as row from ${name} as t`);
        lines.push(...rows.map(({ row }) => `${name} ${row}`).sort());
      }
      return lines;
    },
    history: async () => {
      const rows = await sql`select version from supabase_migrations.schema_migrations order by version`;
      return rows.map(({ version }) => version);
    },
    rest: () => startRest({ url, origin: restOrigin, jwtSecret: "a secret of at least 32 characters", ...restKeys }),
    async [Symbol.asyncDispose]() {
      await Promise.all([sql.end({ timeout: 5 }), admin.end({ timeout: 5 })]);
      await cluster.with(cluster.adminUrl("template1"), (sql) => sql.unsafe(`drop database ${name} with (force)`));
    },
  };
}

/** A folder with an app's repository; removed when disposed of. */
export interface AppRepository {
  /** Its absolute path; `supabase/` lies in it. */
  folder: string;
  /** Absolute path of its migrations. */
  migrations: string;
  /** Writes a migration, or replaces one. */
  write(name: string, sql: string): Promise<void>;
  /** Removes a migration. */
  remove(name: string): Promise<void>;
  /** Names of our migrations in it, in their order. */
  ours(): string[];
  [Symbol.asyncDispose](): Promise<void>;
}

/** Whether a file is a migration of ours. */
const isOurs = (name: string) => /^\d{14}_metrics_[a-z0-9_]+\.sql$/.test(name);

/**
 * The repository of the app of {@link appMigrations}, with our files in it.
 *
 * @param options.metrics false leaves ours out
 * @param options.app false leaves the app's migrations out, as in a clone of this repository
 */
export async function appRepository(options: { metrics?: boolean; app?: boolean } = {}): Promise<AppRepository> {
  const folder = await Deno.makeTempDir({ prefix: "metrics-app-" });
  const migrations = join(folder, "supabase", "migrations");
  await Deno.mkdir(migrations, { recursive: true });
  const ours = join(repository, "supabase");
  await Deno.copyFile(join(ours, "config.toml"), join(folder, "supabase", "config.toml"));
  if (options.app !== false) {
    for (const [name, sql] of Object.entries(appMigrations)) await Deno.writeTextFile(join(migrations, name), sql);
  }
  if (options.metrics !== false) {
    await copyFolder(join(ours, "functions"), join(folder, "supabase", "functions"));
    await Deno.copyFile(join(ours, "schema.sql"), join(folder, "supabase", "schema.sql"));
    for (const { name } of Deno.readDirSync(join(ours, "migrations"))) {
      if (isOurs(name)) await Deno.copyFile(join(ours, "migrations", name), join(migrations, name));
    }
  }
  return {
    folder,
    migrations,
    write: (name, sql) => Deno.writeTextFile(join(migrations, name), sql),
    remove: (name) => Deno.remove(join(migrations, name)),
    ours: () => [...Deno.readDirSync(migrations)].map(({ name }) => name).filter(isOurs).sort(),
    [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
  };
}

async function copyFolder(from: string, to: string): Promise<void> {
  await Deno.mkdir(to, { recursive: true });
  for (const { name, isDirectory } of Deno.readDirSync(from)) {
    if (isDirectory) await copyFolder(join(from, name), join(to, name));
    else await Deno.copyFile(join(from, name), join(to, name));
  }
}

/** How a gate ended that was run as a command. */
export interface GateRun {
  code: number;
  result: GateResult;
  /** What it said to people. */
  said: string;
}

/**
 * Runs a gate in a process of its own, as `deno task deploy <words> --json` does.
 *
 * @param env added to the environment
 */
export async function gate(words: string[], env: Record<string, string> = {}): Promise<GateRun> {
  const { code, stdout, stderr } = await run(gateCommand(words), { env, timeout: 180_000 });
  let result: GateResult;
  try {
    result = JSON.parse(stdout);
  } catch {
    throw new Error(`${words[0]} ended with ${code} and no result: ${stdout}${stderr}`);
  }
  return { code, result, said: stderr };
}

/** The command of {@link gate}, for tests that kill it. */
export function gateCommand(words: string[]): string[] {
  return [
    Deno.execPath(),
    "run",
    "-A",
    "--no-check",
    join(repository, "tools", "deploy", "mod.ts"),
    ...words,
    "--json",
  ];
}

/** Codes of what a gate found, sorted. */
export function codes({ findings }: Pick<GateResult, "findings">): string[] {
  return findings.map(({ code }) => code).sort();
}
