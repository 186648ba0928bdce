import { assert, assertEquals } from "@std/assert";
import { createHash } from "node:crypto";
import type { Facts } from "./facts.ts";
import { createIdentities, type Identity, isInScope, readCredentials } from "./identities.ts";
import { TestIssuer, unsigned } from "./identity/testing.ts";

const audience = "https://project.test/functions/v1/ingest-metrics";
const token = `mtr_1_${"a".repeat(43)}`;
const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");

/** A row as the database gives it. */
const row = (more: object) => ({
  id: 1,
  kind: "token",
  provider: null,
  issuer: null,
  audience: null,
  claims: {},
  token_sha256: sha256(token),
  sources: ["github"],
  repositories: null,
  fact_kinds: ["test_runs", "test_cases", "rule_checks", "measurements"],
  calls_per_minute: 60,
  expires_at: null,
  ...more,
});
const oidcRow = (issuer: string, claims: object, more: object = {}) =>
  row({ id: 2, kind: "oidc", provider: "github", issuer, claims, token_sha256: null, ...more });

/** Identities over these rows, with a clock of their own. */
function identitiesOf(rows: object[] | null) {
  const state = { rows, now: Date.now(), calls: 0 };
  const liveIdentities = () => {
    state.calls++;
    return Promise.resolve(state.rows);
  };
  const identities = createIdentities({ liveIdentities }, audience, () => state.now);
  const prove = async (bearer: string, source = "github") => {
    const credentials = readCredentials(new Headers({ authorization: `Bearer ${bearer}` }))!;
    const proven = await identities.prove(credentials, source);
    return typeof proven === "string" ? proven : proven.identities.map((one) => one.id);
  };
  return { state, identities, prove };
}

Deno.test("credentials are a token or a JWT behind Bearer, and anything else is none", () => {
  const read = (authorization: string | null) =>
    readCredentials(new Headers(authorization === null ? {} : { authorization }));
  assert("token" in read(`Bearer ${token}`)! && "token" in read(`bearer  ${token}`)!);
  const jwt = unsigned({ iss: "https://issuer.test" });
  assertEquals(read(`Bearer ${jwt}`), { jwt, issuer: "https://issuer.test" });
  const none = [
    ...[null, "", "Bearer", "Bearer ", token, `Basic ${token}`, `Bearer ${token} x`, `Bearer mtr_1_short`],
    ...["Bearer a.b.c", `Bearer ${"a".repeat(20_000)}`, `Bearer ${unsigned({})}`, `Bearer ${token}, Bearer ${token}`],
  ];
  for (const header of none) assertEquals(read(header), null, String(header));
});

Deno.test("a token proves its own identity; a guessed id, a wrong secret and a source that is not its own do not", async () => {
  const { prove } = identitiesOf([row({}), row({ id: 3, token_sha256: sha256("another") })]);
  assertEquals(await prove(token), [1]);
  assertEquals(await prove(token.replace("mtr_1", "mtr_2")), "credentials_wrong");
  assertEquals(await prove(token.replace("mtr_1", "mtr_3")), "credentials_wrong");
  assertEquals(await prove(token.replace("mtr_1", `mtr_${"9".repeat(19)}`)), "credentials_wrong");
  assertEquals(await prove(`mtr_1_${"b".repeat(43)}`), "credentials_wrong");
  assertEquals(await prove(token, "gitlab"), "not_allowed");
});

Deno.test("an identity that ended is none, from that second on", async () => {
  const { prove, state } = identitiesOf(null);
  state.rows = [row({ expires_at: new Date(state.now + 5000).toISOString().replace("Z", "+00:00") })];
  assertEquals(await prove(token), [1]);
  state.now += 4999;
  assertEquals(await prove(token), [1]);
  state.now += 1;
  assertEquals(await prove(token), "credentials_wrong");
});

Deno.test("the database is asked every 10 s, and for whom nobody knows at most once a second", async () => {
  const { prove, identities, state } = identitiesOf([row({})]);
  await Promise.all(Array.from({ length: 20 }, () => prove(token)));
  assertEquals(state.calls, 1);
  const guess = token.replace("mtr_1", "mtr_7");
  await Promise.all(Array.from({ length: 20 }, () => prove(guess)));
  assertEquals(state.calls, 1, "it was just asked");
  state.now += 1000;
  await Promise.all(Array.from({ length: 20 }, () => prove(guess)));
  assertEquals(state.calls, 2);
  state.now += 9000;
  await prove(token);
  assertEquals(state.calls, 2);
  state.now += 1000;
  await prove(token);
  assertEquals(state.calls, 3);
  // Who was added a moment ago may report at once.
  state.now += 1000;
  state.rows = [row({}), row({ id: 7, token_sha256: sha256(guess), sources: ["gitlab"] })];
  assertEquals(await identities.mayReportTo("gitlab"), true);
  assertEquals(await prove(guess, "gitlab"), [7]);
  assertEquals(await identities.mayReportTo("github-acme"), false);
  assertEquals(state.calls, 4);
});

Deno.test("while the database is away the last that it said holds; before it said anything nothing is known", async () => {
  const { prove, identities, state } = identitiesOf(null);
  assertEquals([await prove(token), await identities.mayReportTo("github")], ["unavailable", null]);
  state.now += 1000;
  state.rows = [row({})];
  assertEquals([await prove(token), await identities.mayReportTo("github")], [[1], true]);
  state.rows = null;
  state.now += 3_600_000;
  assertEquals([await prove(token), await identities.mayReportTo("github")], [[1], true]);
  assertEquals([await prove(`mtr_2_${"a".repeat(43)}`), await identities.mayReportTo("gitlab")], [
    "credentials_wrong",
    false,
  ]);
});

Deno.test("a database that does not answer is not waited for", async () => {
  let isAborted = false;
  const liveIdentities = (signal: AbortSignal) => {
    signal.addEventListener("abort", () => void (isAborted = true));
    return new Promise<null>(() => {});
  };
  const identities = createIdentities({ liveIdentities }, audience);
  const started = performance.now();
  assertEquals(await identities.mayReportTo("github"), null);
  assert(isAborted && performance.now() - started < 2000);
});

Deno.test("a database that is slow is not waited for where it is known what it said before", async () => {
  const answers = [Promise.resolve([row({})]), new Promise<null>(() => {})];
  const clock = { now: Date.now() };
  const identities = createIdentities({ liveIdentities: () => answers.shift()! }, audience, () => clock.now);
  assertEquals(await identities.mayReportTo("github"), true);
  clock.now += 60_000;
  const started = performance.now();
  assertEquals(await identities.mayReportTo("github"), true);
  assert(performance.now() - started < 1000);
  // What was asked is given up before the test is over.
  assertEquals(await identities.mayReportTo("gitlab"), false);
});

Deno.test("rows that are not understood are passed over, and the others hold", async () => {
  const odd = [
    ...[null, 7, {}, row({ id: "1" }), row({ token_sha256: null }), row({ kind: "passkey" }), row({ sources: null })],
    ...[
      oidcRow("https://a.test", { a: 1 }),
      oidcRow("nowhere", { a: "1" }),
      oidcRow("https://a.test", {}, { provider: "jenkins" }),
    ],
  ];
  const { prove } = identitiesOf([...odd as object[], row({})]);
  assertEquals(await prove(token), [1]);
});

Deno.test("an issuer that is not listed is never asked", async () => {
  await using issuer = await TestIssuer.start();
  const { prove } = identitiesOf([oidcRow(`${issuer.url}/other`, { repository_id: "42" })]);
  assertEquals(await prove(await issuer.sign({ aud: audience, repository_id: "42" })), "credentials_wrong");
  assertEquals(issuer.requests, []);
});

Deno.test("claims must be the same, or begin the same where a * ends what is expected", async () => {
  await using issuer = await TestIssuer.start();
  const claims = {
    aud: audience,
    repository_id: "42",
    repository: "acme/app",
    ref: "refs/heads/release/1",
    build_number: 5,
  };
  const signed = await issuer.sign(claims);
  const matches = async (expected: object) => (await identitiesOf([oidcRow(issuer.url, expected)]).prove(signed));
  for (
    const expected of [
      { repository_id: "42" },
      { repository_id: "42", ref: "refs/heads/release/*" },
      { build_number: "5" },
      { ref: "refs/heads/release/1*" },
    ]
  ) assertEquals(await matches(expected), [2], JSON.stringify(expected));
  for (
    const expected of [
      // The same name, registered again.
      { repository_id: "41", repository: "acme/app" },
      { repository_id: "4" },
      { repository_id: "42", ref: "refs/heads/main" },
      { repository_id: "42", ref: "refs/heads/release" },
      { repository_id: "42", environment: "production" },
      { repository_id: "42", environment: "p*" },
      { constructor: "*" },
      { aud: "*", repository_id: "4 2" },
    ]
  ) assertEquals(await matches(expected), "not_allowed", JSON.stringify(expected));
});

Deno.test("every identity that a token fits is a candidate; one with another audience is not", async () => {
  await using issuer = await TestIssuer.start();
  const claims = { repository_id: "42" };
  const { prove } = identitiesOf([
    oidcRow(issuer.url, claims),
    oidcRow(issuer.url, { ...claims, ref: "refs/heads/main" }, { id: 3, fact_kinds: ["deployments"] }),
    oidcRow(issuer.url, claims, { id: 4, audience: "https://other.test" }),
    oidcRow(issuer.url, claims, { id: 5, sources: ["gitlab"] }),
    oidcRow(issuer.url, claims, { id: 6, provider: "buildkite" }),
  ]);
  const sign = (more: object) => issuer.sign({ ...claims, aud: audience, ...more });
  assertEquals(await prove(await sign({ ref: "refs/heads/main" })), [2, 3]);
  assertEquals(await prove(await sign({ ref: "refs/heads/feature" })), [2]);
  assertEquals(await prove(await sign({ aud: "https://other.test" })), [4]);
  assertEquals(await prove(await sign({ aud: "https://third.test" })), "credentials_wrong");
  assertEquals(await prove(await sign({}), "gitlab"), [5]);
  issuer.answer = () => new Response(null, { status: 500 });
  const { prove: anew } = identitiesOf([oidcRow(issuer.url, claims)]);
  assertEquals(await anew(await sign({})), "issuer_unavailable");
});

Deno.test("an identity tells only kinds, repositories and sources that are its own", () => {
  const run = (repository: string): Facts => ({ test_runs: [{ repository, external_id: "1" }] });
  const incident = (source: string, repository?: string): Facts => ({
    incidents: [{ source, external_id: "1", ...(repository ? { repository } : {}) }],
  });
  const kinds = { fact_kinds: ["test_runs", "incidents"] };
  const ofToken = { ...row(kinds), kind: "token" } as Identity;
  const ofJob = oidcRow("https://a.test", {}, kinds) as unknown as Identity;
  const limited = (one: Identity) => ({ ...one, repositories: ["github:1", "//github.com/acme/app"] });
  const inScope = (one: Identity, facts: Facts, reference: string | null = null) =>
    isInScope(one, facts, "github", reference);

  assert(
    inScope(ofToken, run("github:1")) && !inScope(ofToken, run("github-acme:1")) && !inScope(ofToken, run("//a/b")),
  );
  assert(!inScope(ofToken, { deployments: [{ repository: "github:1", external_id: "1" }] }));
  assert(!inScope(ofToken, run("gitlab:1"), "gitlab:1"), "a reference widens no token");
  assert(inScope(ofJob, run("github:1"), "github:1") && inScope(ofJob, run("//a/b"), "//a/b"));
  assert(!inScope(ofJob, run("github:2"), "github:1") && !inScope(ofJob, run("github:1"), null));
  for (const one of [limited(ofToken), limited(ofJob)]) {
    assert(inScope(one, run("github:1")) && inScope(one, run("//github.com/acme/app")));
    assert(!inScope(one, run("github:2"), "github:2"));
    assert(!inScope(one, { test_runs: [...run("github:1").test_runs!, ...run("github:2").test_runs!] }));
    assert(inScope(one, incident("github", "github:1")) && !inScope(one, incident("github")));
  }
  assert(
    inScope(ofToken, incident("github")) && !inScope(ofToken, incident("gitlab")) &&
      !inScope(ofJob, incident("github")),
  );
  assert(inScope(ofToken, {}));
  const bare = { test_runs: [{ external_id: "1" }] } as unknown as Facts;
  assert(!inScope(ofToken, bare), "only an incident can be of no repository");
  const nobodys = { incidents: [{ external_id: "1" }] } as unknown as Facts;
  assert(!inScope(ofToken, nobodys), "an incident is of a source");
});
