import { assert, assertEquals, assertRejects } from "@std/assert";
import { exportSPKI } from "jose";
import { Patience } from "../patience.ts";
import { createOidcVerifier, issuerOf, IssuerUnavailable } from "./oidc.ts";
import { TestIssuer, unsigned } from "./testing.ts";

const audience = "https://project.test/functions/v1/ingest-metrics";
const claims = { aud: audience, sub: "repo:acme/app:ref:refs/heads/main", repository_id: "42" };
const DISCOVERY = "/.well-known/openid-configuration";

/** A verifier, with a clock that can be put forward. */
function verifierOf(issuer: TestIssuer, audiences = [audience]) {
  const clock = { ahead: 0 };
  const verifier = createOidcVerifier(() => Date.now() + clock.ahead);
  return {
    clock,
    verify: (token: string, patience = new Patience()) =>
      verifier.verify(token, { issuer: issuer.url, audiences }, patience),
  };
}

/** Fails when it took longer than a sender is to wait. */
async function inTime<T>(work: () => Promise<T>): Promise<T> {
  const started = performance.now();
  try {
    return await work();
  } finally {
    assert(performance.now() - started < 2000);
  }
}

Deno.test("a token is proven by the keys that its issuer publishes, which are asked for once", async () => {
  for (const [alg, path] of [["RS256", ""], ["ES256", "/org/1"], ["PS256", ""], ["EdDSA", ""]]) {
    await using issuer = await TestIssuer.start(alg, path);
    const { verify } = verifierOf(issuer);
    const proven = await Promise.all([1, 2, 3].map(async () => await verify(await issuer.sign(claims))));
    assertEquals(proven.map((one) => one?.repository_id), ["42", "42", "42"]);
    assertEquals(issuer.requests, [`${path}${DISCOVERY}`, `${path}/keys`]);
  }
});

Deno.test("a token for somebody else, of somebody else, or of another time is none", async () => {
  await using issuer = await TestIssuer.start();
  await using other = await TestIssuer.start();
  const { verify } = verifierOf(issuer);
  const now = Math.floor(Date.now() / 1000);
  const wrong: [string, string][] = [
    ["wrong audience", await issuer.sign({ ...claims, aud: "https://other.test" })],
    ["no audience", await issuer.sign({ ...claims, aud: [] })],
    ["expired", await issuer.sign({ ...claims, iat: now - 400, nbf: now - 400, exp: now - 61 })],
    ["without an end", await issuer.sign({ ...claims, exp: undefined })],
    ["not yet valid", await issuer.sign({ ...claims, nbf: now + 61 + 5, exp: now + 400 })],
    ["made in the future", await issuer.sign({ ...claims, iat: now + 61 + 5, exp: now + 400 })],
    ["of another issuer", await issuer.sign({ ...claims, iss: other.url })],
    ["of an issuer whose name begins the same", await issuer.sign({ ...claims, iss: `${issuer.url}/` })],
    ["signed by another's key", await issuer.sign(claims, { key: other.privateKey })],
    ["with an end that is no number", await issuer.sign({ ...claims, exp: "never" as unknown as number })],
    [
      "with another payload",
      (await issuer.sign(claims)).replace(/\.[^.]+\./, `.${btoa('{"aud":1}').replaceAll("=", "")}.`),
    ],
  ];
  for (const [name, token] of wrong) assertEquals(await verify(token), null, name);
  const near = { iat: now + 50, nbf: now + 50, exp: now + 400 };
  assert(await verify(await issuer.sign({ ...claims, ...near })), "clocks may be a minute apart");
  assert(await verify(await issuer.sign({ ...claims, iat: now - 400, nbf: now - 400, exp: now - 50 })));
  assert(await verify(await issuer.sign({ ...claims, aud: ["https://other.test", audience] })));
  assertEquals(other.requests, []);
});

Deno.test("nobody is believed without the issuer's private key", async () => {
  await using issuer = await TestIssuer.start("RS256");
  const { verify } = verifierOf(issuer);
  const pem = new TextEncoder().encode(await exportSPKI(issuer.publicKey));
  const own = { iss: issuer.url, exp: Math.floor(Date.now() / 1000) + 300, ...claims };
  assertEquals(await verify(unsigned(own)), null);
  for (const alg of ["HS256", "HS384", "HS512"]) {
    assertEquals(await verify(await issuer.sign(claims, { alg, key: pem })), null);
  }
  assertEquals(issuer.requests, [], "the algorithm alone is reason enough");
  const token = await issuer.sign(claims);
  assertEquals(await verify(`${token.slice(0, -8)}AAAAAAAA`), null);
  assertEquals(await verify(token.slice(0, token.lastIndexOf(".") + 1)), null);
});

Deno.test("a new key is found when a token names it, and a key that was taken back is believed no more", async () => {
  await using issuer = await TestIssuer.start();
  const { verify, clock } = verifierOf(issuer);
  const [oldKid, oldKey] = [issuer.kid, issuer.privateKey];
  assert(await verify(await issuer.sign(claims)));
  await issuer.rotate(true);
  assert(await verify(await issuer.sign(claims)), "a new key");
  assert(await verify(await issuer.sign(claims, { kid: oldKid, key: oldKey })), "the old one beside it");
  await issuer.rotate();
  clock.ahead = 10 * 60_000;
  const now = Math.floor((Date.now() + clock.ahead) / 1000);
  const later = { ...claims, iat: now, nbf: now, exp: now + 300 };
  assertEquals(await verify(await issuer.sign(later, { kid: oldKid, key: oldKey })), null, "taken back");
  assert(await verify(await issuer.sign(later)));
  assertEquals(issuer.requests.length, 6);
});

Deno.test("a key that does not exist is looked for once in 10 s, however many tokens name one", async () => {
  await using issuer = await TestIssuer.start();
  const { verify, clock } = verifierOf(issuer);
  const guess = async (kid: string = crypto.randomUUID()) => await verify(await issuer.sign(claims, { kid }));
  assertEquals(await guess(), null);
  assertEquals(issuer.requests.length, 2, "these were just asked for");
  // Those that come after the look are told to come again.
  const guesses = await Promise.allSettled(Array.from({ length: 20 }, () => guess()));
  assert(guesses.some((one) => one.status === "fulfilled"));
  for (const one of guesses) {
    assert(one.status === "fulfilled" ? one.value === null : one.reason instanceof IssuerUnavailable);
  }
  assertEquals(issuer.requests.length, 4);
  clock.ahead = 9_000;
  await assertRejects(() => guess(), IssuerUnavailable, undefined, "it may have been published since");
  assertEquals(issuer.requests.length, 4);
  clock.ahead = 11_000;
  assertEquals(await guess("none"), null);
  assertEquals(issuer.requests.length, 6);
  assertEquals(await guess("none"), null, "this one was just looked for");
  assertEquals(issuer.requests.length, 6);
  assert(await verify(await issuer.sign(claims)), "nobody else is hindered");
});

Deno.test("whoever names keys that do not exist gets no job of a new key refused", async () => {
  await using issuer = await TestIssuer.start();
  const { verify, clock } = verifierOf(issuer);
  assert(await verify(await issuer.sign(claims)));
  assertEquals(await verify(await issuer.sign(claims, { kid: "none" })), null);
  await issuer.rotate();
  const job = await issuer.sign(claims);
  await assertRejects(() => verify(job), IssuerUnavailable);
  clock.ahead = 10_000;
  await verify(await issuer.sign(claims, { kid: "nor this" })).catch(() => {});
  assert(await verify(job), "when it comes again after Retry-After, whoever came before it");
});

Deno.test("while the issuer is down, known keys hold and unknown ones are nobody's fault", async () => {
  await using issuer = await TestIssuer.start();
  const { verify, clock } = verifierOf(issuer);
  issuer.answer = () => new Response("away", { status: 502 });
  await assertRejects(async () => await verify(await issuer.sign(claims)), IssuerUnavailable);
  await assertRejects(async () => await verify(await issuer.sign(claims)), IssuerUnavailable);
  assertEquals(issuer.requests.length, 1, "not asked again at once");
  issuer.answer = undefined;
  clock.ahead = 5_000;
  assert(await verify(await issuer.sign(claims)));
  issuer.answer = () => new Response("away", { status: 502 });
  const at = async (ms: number) => {
    clock.ahead = ms;
    const now = Math.floor((Date.now() + ms) / 1000);
    return await verify(await issuer.sign({ ...claims, iat: now, nbf: now, exp: now + 300 }));
  };
  assert(await at(11 * 60_000), "its keys are known");
  await assertRejects(async () => await verify(await issuer.sign(claims, { kid: "new" })), IssuerUnavailable);
  assert(await at(23 * 3_600_000), "and used for a day");
  await assertRejects(() => at(25 * 3_600_000), IssuerUnavailable);
});

Deno.test("an issuer that is slow, or gone, is given up in time", async () => {
  await using silent = await TestIssuer.start();
  await using endless = await TestIssuer.start();
  const gone = await TestIssuer.start();
  silent.answer = () => new Promise<Response>(() => {});
  endless.answer = () => new Response(new ReadableStream({ pull: () => new Promise<void>(() => {}) }));
  const tokens = await Promise.all([silent, endless, gone].map((issuer) => issuer.sign(claims)));
  const verifiers = [silent, endless, gone].map((issuer) => verifierOf(issuer));
  await gone[Symbol.asyncDispose]();
  await inTime(() =>
    Promise.all(verifiers.map(({ verify }, index) => assertRejects(() => verify(tokens[index]!), IssuerUnavailable)))
  );
});

Deno.test("who has waited elsewhere waits less here, and finds the keys when he comes again", async () => {
  await using issuer = await TestIssuer.start();
  const { verify } = verifierOf(issuer);
  const { promise, resolve } = Promise.withResolvers<Response>();
  issuer.answer = (path) => path === "/keys" ? undefined : promise;
  const token = await issuer.sign(claims);
  const started = performance.now();
  await assertRejects(() => verify(token, new Patience(50)), IssuerUnavailable);
  assert(performance.now() - started < 1000);
  resolve(Response.json({ issuer: issuer.url, jwks_uri: `${issuer.url}/keys` }));
  assert(await verify(token));
  assertEquals(issuer.requests, [DISCOVERY, "/keys"]);
});

Deno.test("documents that are not an issuer's are not believed, and lead nowhere else", async () => {
  await using other = await TestIssuer.start();
  await using issuer = await TestIssuer.start();
  const documents: [string, (path: string) => Response | undefined][] = [
    ["of another issuer", () => Response.json({ issuer: other.url, jwks_uri: `${issuer.url}/keys` })],
    ["keys elsewhere", () => Response.json({ issuer: issuer.url, jwks_uri: `${other.url}/keys` })],
    ["keys in a file", () => Response.json({ issuer: issuer.url, jwks_uri: "file:///etc/passwd" })],
    ["no address", () => Response.json({ issuer: issuer.url })],
    ["led elsewhere", () => Response.redirect(`${other.url}${DISCOVERY}`)],
    ["keys led elsewhere", (path) => path === "/keys" ? Response.redirect(`${other.url}/keys`) : undefined],
    ["not JSON", () => new Response("<html>")],
    ["nothing", () => Response.json(null)],
    ["no keys", (path) => path === "/keys" ? Response.json({ keys: "none" }) : undefined],
    ["too large", (path) => path === "/keys" ? Response.json({ keys: [], more: "x".repeat(65_536) }) : undefined],
    ["endless", () => new Response(new ReadableStream({ pull: (to) => to.enqueue(new Uint8Array(16_384).fill(32)) }))],
  ];
  for (const [name, answer] of documents) {
    issuer.answer = answer;
    const { verify } = verifierOf(issuer);
    await inTime(() =>
      assertRejects(async () => await verify(await issuer.sign(claims)), IssuerUnavailable, undefined, name)
    );
  }
  assertEquals(other.requests, []);
});

Deno.test("a text is read for its issuer only when it has the form of a token", async () => {
  await using issuer = await TestIssuer.start();
  assertEquals(issuerOf(await issuer.sign(claims)), issuer.url);
  assertEquals(issuerOf(unsigned({ iss: "https://a.test" })), "https://a.test");
  const none = [
    "",
    "a",
    "a.b",
    "a.b.c",
    "e30.e30",
    "e30.bnVsbA.",
    "e30.W10.",
    `e30.${"?".repeat(20)}.`,
    unsigned({}),
    "a.b.c.d.e",
  ];
  for (const text of none) assertEquals(issuerOf(text), null, text);
});
