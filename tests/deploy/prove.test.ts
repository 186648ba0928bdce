/** Proof of staging: a pull request's life through the deployed function, read by a member and nobody else; and every way that it must fail. */

import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import { runExpose } from "../../tools/deploy/expose.ts";
import { runFunction } from "../../tools/deploy/function.ts";
import { runProve } from "../../tools/deploy/prove.ts";
import { pushMigrations } from "../../tools/stack/migrate.ts";
import { appDatabase, appRepository, codes, deployCluster, gate } from "../support/deploy.ts";
import { startProject } from "../support/project.ts";

const cluster = await deployCluster();
const lax = { sanitizeOps: false, sanitizeResources: false };
const secret = "a secret for what never happened";
const variables = { METRICS_ENVIRONMENT: "staging", INGEST_SECRET_SYNTHETIC: secret };
const commit = "0f3c1d2e4b5a69788796a5b4c3d2e1f001122334";

const database = await appDatabase(cluster);
const app = await appRepository();
await pushMigrations(database.url.replace("?sslmode=disable", ""), app.folder);
const [{ has }] = await database.sql<[{ has: boolean }]>`
  select exists (select from pg_proc where pronamespace = 'metrics'::regnamespace and proname = 'dora') as has`;
// Before the schema has numbers, something stands for them that answers as they will.
if (!has) {
  await database.sql.unsafe(`
    create function metrics.dora(since date, until date default null, environment text default 'production')
    returns table (week date, deployments bigint)
    language plpgsql stable set search_path = ''
    as $$
    begin
      perform metrics.require_reader();
      return query select since, count(*) from metrics.deployments as d where d.finished_at < dora.until;
    end
    $$;
    revoke execute on function metrics.dora(date, date, text) from public;
    grant execute on function metrics.dora(date, date, text) to authenticated`);
}
const [{ numbers, reader }] = await database.sql<[{ numbers: string; reader: string }]>`
  select
    (select oid::regprocedure::text from pg_proc where pronamespace = 'metrics'::regnamespace and proname = 'dora') as numbers,
    pg_get_functiondef('metrics.require_reader()'::regprocedure) as reader`;
const project = await startProject(database, { variables });
const env: Record<string, string> = { ...project.env, INGEST_SECRET_SYNTHETIC: secret, GITHUB_SHA: commit };
const at = { root: app.folder, env, target: project.linked };
await runExpose({ ...at });
await runFunction({ ...at, environment: "staging" });
const byUrl = {
  env: { ...project.urlEnv, INGEST_SECRET_SYNTHETIC: secret, GITHUB_SHA: commit },
  target: database.target,
};
const proof = join(app.folder, "proof.json");
const isThere = (path: string) => Deno.stat(path).then(() => true, () => false);

Deno.test.afterAll(async () => {
  await project[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
  await app[Symbol.asyncDispose]();
});

/** What a proof would leave if it left anything. */
async function left(): Promise<Record<string, unknown>> {
  const [row] = await database.sql`
    select
      (select count(*)::int from metrics.members) as members,
      (select count(*)::int from metrics.teams) as teams,
      (select count(*)::int from metrics.repository_references) as references,
      (select count(*)::int from metrics.pull_requests) as pull_requests,
      (select count(*)::int from metrics.bodies) as bodies,
      (select count(*)::int from auth.users) as users
  `;
  return { ...row };
}

/** Changes the first of our migrations. */
async function edit(change: (text: string) => string): Promise<void> {
  const name = app.ours()[0]!;
  await app.write(name, change(await Deno.readTextFile(join(app.migrations, name))));
}

const nothing = { members: 0, teams: 0, references: 0, pull_requests: 0, bodies: 0, users: 0 };

Deno.test("a deployed staging is proven, and nothing of the proof stays but its file", lax, async () => {
  const { code, result, said } = await gate(["prove", "--remote", `--proof=${proof}`, `--root=${app.folder}`], env);
  assertEquals([code, result.ok], [0, true], said);
  assert(said.includes("A member read metrics.dora over REST, and nobody else did."), said);
  const written = JSON.parse(await Deno.readTextFile(proof));
  assertEquals(Object.keys(written), ["commit", "versions", "catalog_sha256", "function_sha256", "proven_at"]);
  assertEquals(written.commit, commit);
  const names = [...Deno.readDirSync(app.migrations)].map(({ name }) => name).sort();
  assertEquals(written.versions.map(({ name }: { name: string }) => name), names);
  for (
    const hash of [
      written.catalog_sha256,
      written.function_sha256,
      ...written.versions.map((v: { sha256: string }) => v.sha256),
    ]
  ) {
    assert(/^[0-9a-f]{64}$/.test(hash));
  }
  assertEquals(await left(), nothing);
  assert(!said.includes(secret) && !said.includes(env.SUPABASE_DB_PASSWORD!));
});

Deno.test("what a proof left that was ended in the middle is forgotten by the next", lax, async () => {
  const run = crypto.randomUUID();
  const email = `proof-${run}-member@example.com`;
  await database.sql`insert into auth.users (id, email) values (gen_random_uuid(), ${email})`;
  await database.sql`select metrics.add_member(${email}, 'viewer'), metrics.add_team(${`proof ${run}`})`;
  const delivery = {
    source: "synthetic",
    delivery_id: run,
    event: "facts",
    sha256: "0".repeat(64),
    size: 1,
    content_type: null,
  };
  const facts = { pull_requests: [{ repository: `synthetic:${run}`, number: 1 }] };
  await database.sql`
    select metrics.ingest(
      ${database.sql.json({ ...delivery, result: "stored", reason: null, notes: [] })}, ${
    database.sql.json(facts)
  }, null
    )`;
  assertEquals((await left()).pull_requests, 1);
  const { ok, findings } = await runProve({ ...at, ...byUrl, proof });
  assertEquals([ok, findings], [true, []]);
  assertEquals(await left(), nothing);
});

Deno.test("a migration of the app that was edited after staging ran it is not in the proof", lax, async () => {
  const name = "20260110080000_notes.sql";
  const text = await Deno.readTextFile(join(app.migrations, name));
  await app.write(name, `${text}\nalter table public.notes add column added_later text;\n`);
  const { ok, findings, notes } = await runProve({ ...at, ...byUrl, proof });
  await app.write(name, text);
  assertEquals([ok, findings], [true, []]);
  assert(notes.some((note) => note.startsWith(`supabase/migrations/${name}: `)), notes.join("\n"));
  const { versions } = JSON.parse(await Deno.readTextFile(proof)) as { versions: { name: string }[] };
  const others = [...Deno.readDirSync(app.migrations)].map((entry) => entry.name).filter((other) => other !== name)
    .sort();
  assertEquals(versions.map(({ name }) => name), others);
});

/** What must keep staging from being proven: how it is brought about, how it is undone, and what is found. */
const faults: Record<string, { plant: string | (() => unknown); undo: string | (() => unknown); code: string }> = {
  "the project is not staging": {
    plant: () => delete project.variables.METRICS_ENVIRONMENT,
    undo: () => project.variables.METRICS_ENVIRONMENT = "staging",
    code: "not_staging",
  },
  "a real source has a secret there": {
    plant: () => project.variables.INGEST_SECRET_GITHUB = "a secret of sixteen bytes",
    undo: () => delete project.variables.INGEST_SECRET_GITHUB,
    code: "secret_forbidden",
  },
  "the secret for synthetic deliveries is missing": {
    plant: () => delete project.variables.INGEST_SECRET_SYNTHETIC,
    undo: () => project.variables.INGEST_SECRET_SYNTHETIC = secret,
    code: "secret_missing",
  },
  "the secret is another one than the function's": {
    plant: () => byUrl.env.INGEST_SECRET_SYNTHETIC = `${secret} of last year`,
    undo: () => byUrl.env.INGEST_SECRET_SYNTHETIC = secret,
    code: "secret_wrong",
  },
  "the function is not the repository's": {
    plant: () =>
      Deno.writeTextFile(join(app.folder, "supabase/functions/ingest-metrics/slots.ts"), "// other\n", {
        append: true,
      }),
    undo: () =>
      Deno.copyFile(
        "supabase/functions/ingest-metrics/slots.ts",
        join(app.folder, "supabase/functions/ingest-metrics/slots.ts"),
      ),
    code: "function_differs",
  },
  "metrics is not exposed": {
    plant: () => project.setList("public"),
    undo: () => project.setList("public,metrics"),
    code: "not_exposed",
  },
  "a migration is not applied": {
    plant: () => app.write("20991231000000_metrics_later.sql", "select;"),
    undo: () => app.remove("20991231000000_metrics_later.sql"),
    code: "not_applied",
  },
  "a migration was edited after it was applied": {
    plant: () => edit((text) => `${text}\ncomment on schema metrics is 'edited';\n`),
    undo: () => edit((text) => text.slice(0, text.indexOf("\ncomment on schema metrics is 'edited'"))),
    code: "edited",
  },
  "the function cannot reach the database": {
    plant: "revoke execute on function metrics.ingest(jsonb, jsonb, text) from service_role",
    undo: "grant execute on function metrics.ingest(jsonb, jsonb, text) to service_role",
    code: "function_fails",
  },
  "a delivery lands in quarantine": {
    plant: `create function metrics.planted() returns trigger language plpgsql as 'begin raise ''planted''; end';
      create trigger planted before insert on metrics.reviews for each row execute function metrics.planted()`,
    undo: "drop function metrics.planted() cascade",
    code: "delivery_not_stored",
  },
  "members cannot read": {
    plant: "revoke select on metrics.reviews from authenticated",
    undo: "grant select on metrics.reviews to authenticated",
    code: "facts_not_read",
  },
  "a fact is not what was delivered": {
    plant:
      `create function metrics.planted() returns trigger language plpgsql as 'begin new.environment := ''other''; return new; end';
      create trigger planted before insert or update on metrics.deployments for each row execute function metrics.planted()`,
    undo: "drop function metrics.planted() cascade",
    code: "facts_not_read",
  },
  "a stranger can read": {
    plant: "create policy planted on metrics.reviews for select to authenticated using (true)",
    undo: "drop policy planted on metrics.reviews",
    code: "read_by_others",
  },
  "anon can read": {
    plant: "grant usage on schema metrics to anon; grant select on metrics.pull_requests to anon",
    undo: "revoke usage on schema metrics from anon; revoke select on metrics.pull_requests from anon",
    code: "read_by_others",
  },
  "members get no numbers": {
    plant: `revoke execute on function ${numbers} from authenticated`,
    undo: `grant execute on function ${numbers} to authenticated`,
    code: "numbers_not_read",
  },
  "a stranger gets numbers": {
    plant: reader.replace(/\$function\$[^]*\$function\$/, "$$function$$ begin end $$function$$"),
    undo: reader,
    code: "numbers_read_by_others",
  },
  "service_role can read": {
    plant: "grant select on metrics.deployments to service_role",
    undo: "revoke select on metrics.deployments from service_role",
    code: "read_by_others",
  },
};

for (const [what, { plant, undo, code }] of Object.entries(faults)) {
  Deno.test(`staging is not proven when ${what}`, lax, async () => {
    const change = (how: string | (() => unknown)) => typeof how === "string" ? database.sql.unsafe(how) : how();
    await Deno.writeTextFile(proof, "the proof of an earlier deployment");
    await change(plant);
    try {
      // Only the function's files need the CLI to be seen.
      const result = await runProve({ ...at, ...(code === "function_differs" ? {} : byUrl), proof });
      assertEquals(codes(result), [code], JSON.stringify(result.findings));
      assertEquals(await isThere(proof), false);
      assertEquals(await left(), nothing);
    } finally {
      await change(undo);
    }
  });
}

Deno.test("staging is not proven when what was delivered cannot be forgotten", lax, async () => {
  await database.sql.unsafe(`
    create function metrics.planted() returns trigger language plpgsql as 'begin return null; end';
    create trigger planted before delete on metrics.reviews for each row execute function metrics.planted()`);
  const { findings } = await runProve({ ...at, ...byUrl, proof });
  await database.sql.unsafe("drop function metrics.planted() cascade; delete from metrics.reviews where true");
  assertEquals(findings.map(({ code }) => code), ["not_forgotten"]);
  assertEquals(await isThere(proof), false);
});

Deno.test(
  "staging is not proven when its function is not the staging one, whatever the platform lists",
  lax,
  async () => {
    await using other = await startProject(database, {
      variables: { INGEST_SECRET_GITHUB: "a secret of sixteen bytes" },
    });
    delete other.variables.INGEST_SECRET_GITHUB;
    Object.assign(other.variables, variables);
    const there = { root: app.folder, env: { ...env, ...other.env }, target: other.linked };
    await runExpose(there);
    await runFunction({ ...there, environment: "staging" });
    assertEquals(codes(await runProve({ ...there, proof })), ["provider_not_refused"]);
  },
);
