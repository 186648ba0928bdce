/** Law 5 for machines that report: what is out of an identity's scope is refused by the database, whoever calls `metrics.ingest`. */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import postgres, { type Sql, type TransactionSql } from "postgres";
import type { Facts } from "../../supabase/functions/ingest-metrics/facts.ts";
import { type Identity as Known, isInScope } from "../../supabase/functions/ingest-metrics/identities.ts";
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
  external_id?: string;
  name?: string;
  url?: string;
  observed_at: string;
}

/** A report: the facts by kind, and the repository that the credentials name. */
interface Report {
  source: string;
  reference: string | null;
  facts: Record<string, Fact[]>;
}

/** Addresses that were told before, each with the repository that claimed it; null where only facts were told about it. */
type World = Record<string, string | null>;

const sources = ["github", "github-acme", "gitlab"];
const references = ["github:1", "github:11", "github-acme:1", "gitlab:1", "//github.com/acme/app"];
const kinds = ["measurements", "test_runs", "deployments", "incidents", "repositories"];
const addresses = ["//github.com/acme/app", "//github.com/acme/other", "//gitlab.com/acme/app"];
const OBSERVED = "2026-02-02T00:00:00Z";
const AHEAD = "9999-01-01T00:00:00Z";

const worlds: fc.Arbitrary<World> = fc.dictionary(
  fc.constantFrom(...addresses),
  fc.option(fc.constantFrom(...references.filter((reference) => !reference.startsWith("//")))),
);

const identities: fc.Arbitrary<Identity> = fc.record({
  kind: fc.constantFrom("token", "oidc"),
  sources: fc.subarray(sources, { minLength: 1 }),
  repositories: fc.option(fc.subarray(references, { minLength: 1 }), { freq: 1 }),
  fact_kinds: fc.subarray(kinds, { minLength: 3 }),
  ending: fc.constantFrom("none", "none", "none", "none", "none", "none", "none", "expired", "revoked"),
});

/** What is told to begin with; half of it is then made to be what an identity is for, so that not nearly all is refused. */
const drafts = fc.record({
  source: fc.constantFrom(...sources),
  reference: fc.option(fc.constantFrom(...references), { freq: 4 }),
  told: fc.dictionary(
    fc.constantFrom(...kinds, "repositories"),
    fc.array(fc.tuple(fc.constantFrom(...references), fc.option(fc.constantFrom(...addresses))), { maxLength: 2 }),
    { maxKeys: 3 },
  ),
  isOwn: fc.boolean(),
  isBare: fc.boolean(),
  incidentSource: fc.constantFrom(undefined, ...sources),
  odds: fc.constantFrom("ahead", "ahead", "nameless", ...Array<"none">(10).fill("none")),
});
type Draft = typeof drafts extends fc.Arbitrary<infer Drafted> ? Drafted : never;

function reportOf(identity: Identity, draft: Draft): Report {
  const { isOwn, isBare, incidentSource, odds } = draft;
  const source = isOwn ? identity.sources[0]! : draft.source;
  const reference = isOwn ? draft.reference ?? `${source}:1` : draft.reference;
  const own = identity.repositories?.[0] ?? (identity.kind === "oidc" ? reference : `${source}:1`);
  const factOf = (kind: string, [repository, address]: [string, string | null], place: number): Fact => {
    const fact = {
      repository: odds === "nameless" ? null : isOwn ? own : repository,
      observed_at: odds === "ahead" && place === 0 ? AHEAD : OBSERVED,
    };
    if (kind === "repositories") return { ...fact, ...(address ? { url: `https:${address}.git` } : {}) };
    if (kind === "measurements") return { ...fact, external_id: `${place}`, name: "size" };
    if (kind !== "incidents") return { ...fact, external_id: `${place}` };
    const from = isOwn ? source : incidentSource;
    return {
      ...fact,
      repository: isBare ? null : fact.repository,
      external_id: `${place}`,
      ...(from ? { source: from } : {}),
    };
  };
  const told = Object.entries(draft.told).filter(([kind]) => !isOwn || identity.fact_kinds.includes(kind));
  const facts = told.map(([kind, list]) => [kind, list.map((one, i) => factOf(kind, one, i))]);
  return { source, reference, facts: Object.fromEntries(facts) };
}

/** The law in plain words: the SQLSTATE with which a report is refused, or `stored`. */
function expected(identity: Identity, { source, reference, facts }: Report, world: World): string {
  if (identity.ending !== "none") return "28000";
  if (!identity.sources.includes(source)) return "42501";
  for (const [kind, list] of Object.entries(facts)) {
    if (!identity.fact_kinds.includes(kind)) return "42501";
    for (const fact of list) {
      if (kind === "incidents" && fact.source !== source) return "42501";
      if (!mayTellAbout(fact.repository, kind)) return "42501";
      if (fact.url && !mayClaim(fact.url.replace(/^https:|[.]git$/g, ""), fact.repository!)) return "42501";
    }
  }
  return Object.values(facts).flat().some((fact) => fact.observed_at === AHEAD) ? "22008" : "stored";

  function mayTellAbout(repository: string | null, kind: string): boolean {
    if (identity.repositories !== null) return repository !== null && identity.repositories.includes(repository);
    if (identity.kind === "oidc") return repository !== null && repository === reference;
    if (repository === null) return kind === "incidents";
    return repository.split(":")[0] === source && !repository.startsWith("//");
  }

  /** What an address or id means: a repository that claimed it, or itself. */
  function meaning(name: string): string {
    return world[name] ?? name;
  }

  function mayClaim(address: string, repository: string): boolean {
    const isTold = Object.hasOwn(world, address);
    if (isTold && meaning(address) === meaning(repository)) return true;
    if (identity.repositories !== null) return identity.repositories.includes(address);
    if (identity.kind === "oidc") return address === reference;
    return !isTold || world[address] === null || world[address]!.startsWith(`${source}:`);
  }
}

/** Lets webhooks tell it, which need no identity. */
async function tell(sql: TransactionSql, world: World): Promise<void> {
  const claimed = Object.entries(world).filter(([, claimant]) => claimant !== null);
  const facts = {
    jobs: Object.keys(world).map((repository) => ({ repository, external_id: "1" })),
    repositories: claimed.map(([address, repository]) => ({
      repository,
      url: `https:${address}`,
      observed_at: "2026-01-01T00:00:00Z",
    })),
  };
  const delivery = { source: "github", delivery_id: "hook", sha256: "11".repeat(32), result: "stored" };
  await sql`select metrics.ingest(${sql.json(delivery)}, ${sql.json(facts)})`;
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
  world: World;
  got: string;
  wanted: string;
}

/** What the database answers to one report of a new identity. */
async function answer(sql: Sql, identity: Identity, told: Report, world: World = {}): Promise<string> {
  return await rolledBack(sql, async (sql) => {
    const id = await make(sql, identity);
    if (Object.keys(world).length > 0) await tell(sql, world);
    await sql`set local role service_role`;
    return await report(sql, id, told);
  });
}

/** What the database answers to reports that are told by chance, beside what the law wants. */
async function* answers(sql: Sql, seed: number, count: number): AsyncGenerator<Answered> {
  const all = fc.sample(fc.noBias(fc.tuple(identities, drafts, worlds)), { seed, numRuns: count });
  for (const [identity, draft, world] of all) {
    const told = reportOf(identity, draft);
    const got = await answer(sql, identity, told, world);
    yield { identity, told, world, got, wanted: expected(identity, told, world) };
  }
}

Deno.test("scope: the database refuses what is out of an identity's scope, and nothing else", async () => {
  const seed = newSeed("scope");
  await using database = await testDatabase({ max: 1 });
  const answered = await Array.fromAsync(answers(database.sql, seed, deep(300, 10_000)));
  assertEquals(answered.filter(({ got, wanted }) => got !== wanted), []);
  for (const [code, share] of [["stored", 30], ["42501", 30], ["28000", 30], ["22008", 300]] as const) {
    const count = answered.filter(({ got }) => got === code).length;
    assert(count >= answered.length / share, `${code} is the answer to ${count}`);
  }
});

Deno.test("scope: the function judges as the database does, where it is not for the rows to say", async () => {
  const seed = newSeed("scope");
  await using database = await testDatabase({ max: 1 });
  const live = identities.map((identity): Identity => ({ ...identity, sources, ending: "none" }));
  let inScope = 0;
  const all = fc.sample(fc.noBias(fc.tuple(live, drafts)), { seed, numRuns: deep(300, 10_000) });
  for (const [identity, draft] of all) {
    const told = reportOf(identity, draft);
    // Whose an address is, and what time it is, the database knows.
    for (const fact of Object.values(told.facts).flat()) {
      delete fact.url;
      fact.observed_at = OBSERVED;
    }
    const facts = told.facts as unknown as Facts;
    const isPermitted = isInScope(identity as unknown as Known, facts, told.source, told.reference);
    const got = await answer(database.sql, identity, told);
    assertEquals(got, isPermitted ? "stored" : "42501", JSON.stringify([identity, told]));
    if (isPermitted) inScope++;
  }
  assert(inScope > all.length / 10 && inScope < all.length * 0.9, `${inScope} of ${all.length} are in scope`);
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
    create or replace function metrics.require_scope(delivery jsonb, facts jsonb)
    returns bigint language sql set search_path = '' as $$ select (delivery -> 'identity' ->> 'id')::bigint $$`,
  "an address that nobody told yet, and that is free for anybody": changed(
    "(u.repository_id = r.repository_id) is not true",
    "u.repository_id <> r.repository_id",
  ),
  "an address that every identity may take from its source": changed(
    "permitted is null and (u.claimed_by",
    "(u.claimed_by",
  ),
  "what is observed in the future": changed("interval '5 minutes'", "interval '9000 years'"),
};

/** The check with another text in one place. */
function changed(from: string, to: string): string {
  const quoted = (text: string) => `'${text.replaceAll("'", "''")}'`;
  return `do $$ begin
    execute replace(pg_get_functiondef('metrics.require_scope(jsonb, jsonb)'::regprocedure), ${quoted(from)}, ${
    quoted(to)
  });
  end $$`;
}

for (const [fault, statement] of Object.entries(FAULTS)) {
  Deno.test(`scope: ${fault} is noticed`, async () => {
    await using database = await testDatabase({ max: 1 });
    await database.sql.unsafe(statement);
    let isNoticed = false;
    for await (const { got, wanted } of answers(database.sql, 1, 300)) {
      isNoticed = got !== wanted;
      if (isNoticed) break;
    }
    assert(isNoticed);
  });
}

Deno.test("scope: of calls at the same time no more than the calls of a minute are taken", async () => {
  await using database = await testDatabase({ max: 10 });
  const { sql } = database;
  const [row] = await sql<{ id: number }[]>`
    insert into metrics.identities (name, kind, sources, token_sha256, calls_per_minute)
    values ('machine', 'token', '{github}', sha256('a'), 7)
    returning id::int`;
  const facts = { measurements: [{ repository: "github:1", external_id: "1", name: "size", observed_at: OBSERVED }] };
  const got = await Promise.all(
    Array.from(
      { length: 30 },
      (_, i) => report(sql, row!.id, { source: "github", reference: null, facts }, `${i}`),
    ),
  );
  assertEquals(got.filter((answer) => answer === "stored").length, 7);
  assertEquals(got.filter((answer) => answer === "PT429").length, 23);
});
