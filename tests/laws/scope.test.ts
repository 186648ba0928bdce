/** Law 5 for machines that report: what is out of an identity's scope is refused by the database, whoever calls `metrics.ingest`. */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import fc from "fast-check";
import postgres, { type Sql, type TransactionSql } from "postgres";
import { testDatabase } from "../support/database.ts";
import { deep } from "../support/depth.ts";
import { rolledBack } from "../support/history_copies.ts";
import { newSeed } from "../support/history_random.ts";

/** A machine, and what it may. */
interface Identity {
  kind: "token" | "oidc";
  sources: string[];
  repositories: string[] | null;
  fact_kinds: string[];
  ending: "none" | "expired" | "revoked";
}

interface Fact {
  repository: string | null;
  source?: string;
  external_id: string;
  name?: string;
}

/** A report: the facts by kind, and the repository that the credentials name. */
interface Report {
  source: string;
  reference: string | null;
  facts: Record<string, Fact[]>;
}

const sources = ["github", "github-acme", "gitlab"];
const references = ["github:1", "github:11", "github-acme:1", "gitlab:1", "//github.com/acme/app"];
const kinds = ["measurements", "test_runs", "deployments", "incidents"];

const identities: fc.Arbitrary<Identity> = fc.record({
  kind: fc.constantFrom("token", "oidc"),
  sources: fc.subarray(sources, { minLength: 1 }),
  repositories: fc.option(fc.subarray(references, { minLength: 1 }), { freq: 1 }),
  fact_kinds: fc.subarray(kinds, { minLength: 2 }),
  ending: fc.constantFrom("none", "none", "none", "none", "none", "none", "none", "expired", "revoked"),
});

/** Half of them are about what an identity could be for, so that not nearly all are refused. */
const reports: fc.Arbitrary<Report> = fc.record({
  source: fc.constantFrom(...sources),
  reference: fc.option(fc.constantFrom(...references), { freq: 4 }),
  told: fc.dictionary(
    fc.constantFrom(...kinds),
    fc.array(fc.constantFrom(...references), { minLength: 1, maxLength: 2 }),
    {
      maxKeys: 2,
    },
  ),
  isOwn: fc.boolean(),
  isBare: fc.boolean(),
  incidentSource: fc.constantFrom(...sources),
}).map(({ source, reference, told, isOwn, isBare, incidentSource }) => {
  const factOf = (kind: string, repository: string, place: number): Fact => {
    const fact = { repository: isOwn ? reference ?? `${source}:1` : repository, external_id: `${place}` };
    if (kind === "measurements") return { ...fact, name: "size" };
    if (kind !== "incidents") return fact;
    return { ...fact, repository: isBare ? null : fact.repository, source: isOwn ? source : incidentSource };
  };
  const facts = Object.entries(told).map(([kind, list]) => [kind, list.map((one, i) => factOf(kind, one, i))]);
  return { source, reference, facts: Object.fromEntries(facts) };
});

/** The law in plain words: the SQLSTATE with which a report is refused, or `stored`. */
function expected(identity: Identity, { source, reference, facts }: Report): string {
  if (identity.ending !== "none") return "28000";
  if (!identity.sources.includes(source)) return "42501";
  for (const [kind, list] of Object.entries(facts)) {
    if (!identity.fact_kinds.includes(kind)) return "42501";
    for (const fact of list) {
      if (kind === "incidents" && fact.source !== source) return "42501";
      if (!mayTellAbout(fact.repository, kind)) return "42501";
    }
  }
  return "stored";

  function mayTellAbout(repository: string | null, kind: string): boolean {
    if (identity.repositories !== null) return repository !== null && identity.repositories.includes(repository);
    if (identity.kind === "oidc") return repository !== null && repository === reference;
    if (repository === null) return kind === "incidents";
    return repository.split(":")[0] === source && !repository.startsWith("//");
  }
}

async function make(sql: TransactionSql, identity: Identity): Promise<number> {
  const [row] = await sql<{ id: number }[]>`
    insert into metrics.identities ${
    sql({
      name: "machine",
      kind: identity.kind,
      sources: identity.sources,
      repositories: identity.repositories,
      fact_kinds: identity.fact_kinds,
      expires_at: identity.ending === "expired" ? "2026-01-01T00:00:00Z" : null,
      revoked_at: identity.ending === "revoked" ? "2026-01-01T00:00:00Z" : null,
      ...(identity.kind === "oidc"
        ? {
          provider: "github",
          issuer: "https://token.example.com",
          claims: sql.json({ repository_owner_id: "9", ref: "refs/heads/main" }),
        }
        : { token_sha256: new Uint8Array(32) }),
    })
  } returning id::int`;
  return row!.id;
}

/** Calls as the edge function does: what became of it, or the SQLSTATE. */
async function report(sql: Sql | TransactionSql, id: number, report: Report, delivery = "one"): Promise<string> {
  const identity = { id, reference: report.reference };
  try {
    const [row] = await sql<{ answer: { result: string } }[]>`select metrics.ingest(${
      sql.json({
        source: report.source,
        delivery_id: delivery,
        sha256: "00".repeat(32),
        result: "stored",
        identity,
      })
    }, ${sql.json(report.facts as unknown as postgres.JSONValue)}) as answer`;
    return row!.answer.result;
  } catch (error) {
    if (error instanceof postgres.PostgresError) return error.code;
    throw error;
  }
}

interface Answered {
  identity: Identity;
  told: Report;
  got: string;
  wanted: string;
}

/** What the database answers to reports that are told by chance, beside what the law wants. */
async function answers(sql: Sql, seed: number, count: number): Promise<Answered[]> {
  const answered: Answered[] = [];
  for (const [identity, told] of fc.sample(fc.noBias(fc.tuple(identities, reports)), { seed, numRuns: count })) {
    const got = await rolledBack(sql, async (sql) => {
      const id = await make(sql, identity);
      await sql`set local role service_role`;
      return await report(sql, id, told);
    });
    answered.push({ identity, told, got, wanted: expected(identity, told) });
  }
  return answered;
}

const isWrong = ({ got, wanted }: Answered) => got !== wanted;

Deno.test("scope: the database refuses what is out of an identity's scope, and nothing else", async () => {
  const seed = newSeed("scope");
  await using database = await testDatabase({ max: 1 });
  const answered = await answers(database.sql, seed, deep(300, 10_000));
  assertEquals(answered.filter(isWrong), []);
  for (const code of ["stored", "42501", "28000"]) {
    const count = answered.filter(({ got }) => got === code).length;
    assert(count > answered.length / 30, `${code} is the answer to ${count}`);
  }
});

const FAULTS = {
  "a repository of which only the beginning is compared": `
    create or replace function metrics.is_within(reference text, permitted text[], source text)
    returns boolean language sql immutable set search_path = '' as $$
      select coalesce(case when permitted is null then starts_with(reference, source) else reference = any(permitted) end, false)
    $$`,
  "repositories that nobody looks at": `
    create or replace function metrics.is_within(reference text, permitted text[], source text)
    returns boolean language sql immutable set search_path = '' as 'select true'`,
  "an identity that is not asked for": `
    create or replace function metrics.require_scope(identity jsonb, source_name text, facts jsonb)
    returns bigint language sql set search_path = '' as $$ select (identity ->> 'id')::bigint $$`,
};

for (const [fault, statement] of Object.entries(FAULTS)) {
  Deno.test(`scope: ${fault} is noticed`, async () => {
    await using database = await testDatabase({ max: 1 });
    await database.sql.unsafe(statement);
    assertNotEquals((await answers(database.sql, 1, 200)).filter(isWrong), []);
  });
}

Deno.test("scope: of calls at the same time no more than the calls of a minute are taken", async () => {
  await using database = await testDatabase({ max: 10 });
  const { sql } = database;
  const [row] = await sql<{ id: number }[]>`
    insert into metrics.identities (name, kind, sources, token_sha256, calls_per_minute)
    values ('machine', 'token', '{github}', sha256('a'), 7)
    returning id::int`;
  const facts = { measurements: [{ repository: "github:1", external_id: "1", name: "size" }] };
  const got = await Promise.all(
    Array.from(
      { length: 30 },
      (_, i) => report(sql, row!.id, { source: "github", reference: null, facts }, `${i}`),
    ),
  );
  assertEquals(got.filter((answer) => answer === "stored").length, 7);
  assertEquals(got.filter((answer) => answer === "PT429").length, 23);
});
