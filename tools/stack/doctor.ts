// Says what an installation lacks, and what to do about each: `deno task doctor [--database-url URL] [--data DIR]`. Without the option the
// database is that of the variable SUPABASE_DB_URL, else that of the local stack.
//
// Secrets are read from the environment, where hosted functions have them,
// too: run it with the same INGEST_SECRET_* variables. The exit code is 1 when something lacks that matters.
import { parseArgs } from "@std/cli/parse-args";
import { join, resolve } from "@std/path";
import postgres, { type Sql } from "postgres";
import { readConfiguration } from "../../supabase/functions/ingest-metrics/configuration.ts";
import { repository } from "./packages.ts";
import { apiConfig } from "./rest.ts";
import { Sentence } from "./sentence.ts";

/** Something that an installation lacks. */
export interface Finding {
  /** Whether metrics do not work, or not fully, without it. */
  matters: boolean;
  /** What it is, and what to do, one sentence each. */
  text: string;
}

/** What is looked at besides the database. */
export interface Surroundings {
  /** `INGEST_SECRET_*` as the function has them. */
  env: Record<string, string>;
  /** `[api] schemas` of supabase/config.toml. */
  schemas: string[];
  /** Whether it is the local stack, which has a clock of its own. */
  isLocal: boolean;
}

/**
 * Looks at an installation.
 *
 * @param sql connected as `postgres`
 * @returns what it lacks, the worst first; nothing when it lacks nothing
 */
export async function examine(sql: Sql, surroundings: Surroundings): Promise<Finding[]> {
  const [installed] = await sql`
    select to_regclass('metrics.deliveries') is not null and to_regprocedure('metrics.health()') is not null as complete
  `;
  if (!installed?.complete) {
    return [{
      matters: true,
      text: "The schema metrics is not in this database, or only in part. Apply the migrations: supabase db push.",
    }];
  }
  const findings = [
    ...await exposure(sql, surroundings),
    ...await sources(sql, surroundings),
    ...await members(sql),
    ...await clock(sql, surroundings),
  ];
  return findings.sort((left, right) => Number(right.matters) - Number(left.matters));
}

async function exposure(sql: Sql, { schemas }: Surroundings): Promise<Finding[]> {
  // Hosted projects keep the Data API's settings with the role that it logs in as.
  const [row] = await sql`
    select split_part(setting, '=', 2) as schemas
    from pg_catalog.pg_roles as role, unnest(role.rolconfig) as setting
    where role.rolname = 'authenticator'
      and setting like 'pgrst.db_schemas=%'
  `;
  const findings: Finding[] = [];
  const exposed: string[] | undefined = row?.schemas.split(",").map((name: string) => name.trim());
  if (exposed && !exposed.includes("metrics")) {
    findings.push({
      matters: true,
      text:
        "The Data API does not expose the schema metrics. Add it in the project's settings: Data API, Exposed schemas.",
    });
  }
  if (!schemas.includes("metrics")) {
    findings.push({
      matters: !exposed,
      text: 'supabase/config.toml does not expose the schema metrics. Add "metrics" to [api] schemas.',
    });
  }
  return findings;
}

async function sources(sql: Sql, { env }: Surroundings): Promise<Finding[]> {
  const configuration = readConfiguration(env);
  const findings: Finding[] = configuration.mistakes.filter(({ variable }) => variable.startsWith("INGEST_")).map(
    ({ level, variable, message }) => ({
      matters: level === "error",
      text: `${variable} ${message}. Correct or remove it.`,
    }),
  );
  const rows = await sql<{ source: string; days: number; quarantined: number }[]>`
    select
      source,
      floor(extract(epoch from now() - max(received_at)) / 86400)::integer as days,
      (count(*) filter (where result = 'quarantined'))::integer as quarantined
    from metrics.deliveries
    group by source
    order by source
  `;
  const heard = new Map(rows.map((row) => [row.source, row]));
  const named = [...configuration.sources.keys()];
  if (named.length === 0) {
    findings.push({
      matters: true,
      text:
        "No source has a secret in this environment. Set INGEST_SECRET_<SOURCE>, for example INGEST_SECRET_GITHUB, " +
        "for the function (supabase secrets set) and here.",
    });
  }
  for (const name of named) {
    if (!heard.has(name)) {
      findings.push({
        matters: true,
        text: `The source ${name} was never heard. Add the webhook at the provider, with the secret and the address ` +
          `<project>/functions/v1/ingest-metrics/${name}.`,
      });
    }
  }
  for (const { source, days, quarantined } of rows) {
    if (named.length > 0 && !configuration.sources.has(source)) {
      findings.push({
        matters: true,
        text:
          `The source ${source} has sent deliveries and has no secret now, so it is refused. Set its INGEST_SECRET_ ` +
          `variable, or remove the webhook at the provider.`,
      });
    }
    if (days >= 7) {
      findings.push({
        matters: false,
        text:
          `The source ${source} was last heard ${days} days ago. See at the provider whether its webhook is switched off.`,
      });
    }
    if (quarantined > 0) {
      findings.push({
        matters: false,
        text: `${quarantined} ${quarantined === 1 ? "delivery" : "deliveries"} of ${source} ` +
          `${
            quarantined === 1 ? "is" : "are"
          } in quarantine. Read the reasons in metrics.deliveries; after a fix, run deno task replay.`,
      });
    }
  }
  return findings;
}

async function members(sql: Sql): Promise<Finding[]> {
  const [row] = await sql<{ admins: number; waiting: number }[]>`
    select
      (count(*) filter (where role = 'admin'))::integer as admins,
      (count(*) filter (where accepted_at is null))::integer as waiting
    from metrics.members
  `;
  if (!row?.admins) {
    return [{
      matters: true,
      text: "There is no admin, so nobody can read the numbers. Add one in SQL: " +
        "select metrics.add_member('ann@example.com', 'admin').",
    }];
  }
  return row.waiting === 0 ? [] : [{
    matters: false,
    text:
      `${row.waiting} of the members ${row.waiting === 1 ? "has" : "have"} not accepted yet. Each does on the first ` +
      `sign-in to the dashboard.`,
  }];
}

async function clock(sql: Sql, { isLocal }: Surroundings): Promise<Finding[]> {
  if (isLocal) return [];
  const [row] = await sql`select exists (select from pg_catalog.pg_extension where extname = 'pg_cron') as present`;
  if (!row?.present) {
    return [{
      matters: true,
      text:
        "pg_cron is not in this database, so old bodies stay and no partitions are made ahead. Enable it under Database, " +
        "Extensions, then in SQL: select cron.schedule('metrics-maintain', '*/10 * * * *', 'select metrics.maintain()'); or call " +
        "select metrics.maintain() every ten minutes.",
    }];
  }
  const [job] =
    await sql`select exists (select from cron.job where command like '%metrics.maintain(%' and active) as present`;
  return job?.present ? [] : [{
    matters: true,
    text: "pg_cron is there, but nothing calls metrics.maintain(). Schedule it in SQL: " +
      "select cron.schedule('metrics-maintain', '*/10 * * * *', 'select metrics.maintain()').",
  }];
}

async function main(): Promise<number> {
  const parsed = parseArgs(Deno.args, {
    string: ["database-url", "data"],
    boolean: ["help"],
    unknown: (argument: string) => {
      throw new Sentence(`There is no option ${argument}: deno task doctor [--database-url URL] [--data DIR].`);
    },
  });
  if (parsed.help) {
    console.log(
      "Says what an installation lacks: [SUPABASE_DB_URL=URL] deno task doctor [--database-url URL] [--data DIR]",
    );
    return 0;
  }
  const data = parsed.data ? resolve(Deno.env.get("INIT_CWD") ?? Deno.cwd(), parsed.data) : join(repository, ".data");
  const env = Deno.env.toObject();
  // From the environment a password gets into no list of processes.
  let url = parsed["database-url"] ?? env.SUPABASE_DB_URL;
  const isLocal = url === undefined;
  if (url === undefined) {
    const read = (name: string) => Deno.readTextFile(join(data, name)).then((text) => text.trim(), () => undefined);
    url = await read("database.url");
    if (!url) {
      throw new Sentence(
        `There is no local stack in ${data}: start one with deno task start, or name a project with SUPABASE_DB_URL.`,
      );
    }
    const secret = await read("github.secret");
    if (secret && env.INGEST_SECRET_GITHUB === undefined) env.INGEST_SECRET_GITHUB = secret;
  }
  const { schemas } = await apiConfig();
  const sql = connect(url);
  try {
    const findings = await examine(sql, { env, schemas, isLocal });
    for (const { matters, text } of findings) console.log(`${matters ? "lacks" : "note "}  ${text}`);
    if (findings.length === 0) console.log("Nothing lacks.");
    return findings.some(({ matters }) => matters) ? 1 : 0;
  } catch (error) {
    if (!(error instanceof Error) || !("code" in error)) throw error;
    throw new Sentence(
      isLocal
        ? `The local stack in ${data} does not answer (${error.code}): start it with deno task start.`
        : `The database does not answer (${error.code}): see whether the address is right and reachable from here.`,
    );
  } finally {
    await sql.end({ timeout: 2 });
  }
}

function connect(url: string): Sql {
  try {
    return postgres(url, { max: 1, onnotice: () => {}, connect_timeout: 10 });
  } catch {
    throw new Sentence("The address of the database is none: give postgresql://user:password@host:port/database.");
  }
}

if (import.meta.main) {
  try {
    Deno.exitCode = await main();
  } catch (error) {
    Deno.exitCode = 1;
    console.error(error instanceof Sentence ? error.message : error);
  }
}
