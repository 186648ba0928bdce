import { assert, assertEquals } from "@std/assert";
import { bearerVerifier } from "./bearer.ts";

const SECRET = "a secret of sixteen bytes, and more";
const bare = { kind: "bearer", header: "x-token", prefix: "" } as const;
const standard = { kind: "bearer", header: "authorization", prefix: "Bearer " } as const;
const nothing = new Uint8Array(0);

const claim = (scheme: typeof bare | typeof standard, value: string | null, secrets = [SECRET]) =>
  bearerVerifier(scheme, secrets).claim(new Headers(value === null ? {} : { [scheme.header]: value }));

Deno.test("the token itself is accepted, and no other", async () => {
  assert(await claim(bare, SECRET)!.proves(nothing));
  for (
    const wrong of [SECRET.slice(1), SECRET.slice(0, -1), `${SECRET}x`, SECRET.toUpperCase(), "x", "x".repeat(5000)]
  ) {
    assert(!await claim(bare, wrong)!.proves(nothing), wrong);
  }
});

Deno.test("the prefix is part of the header, in upper or lower case", async () => {
  for (const prefix of ["Bearer ", "bearer ", "BEARER "]) {
    assert(await claim(standard, prefix + SECRET)!.proves(nothing));
  }
  assert(!await claim(standard, `Bearer  ${SECRET}`)!.proves(nothing));
  for (const none of [SECRET, `Basic ${SECRET}`, `Bearer${SECRET}`, "Bearer ", "Bearer", "", null]) {
    assertEquals(claim(standard, none), null, String(none));
  }
  for (const none of ["", " ", null]) assertEquals(claim(bare, none), null, String(none));
});

Deno.test("every live token is accepted, and an old one no more", async () => {
  const old = "an older secret that was retired";
  assert(await claim(bare, old, [SECRET, old])!.proves(nothing));
  assert(!await claim(bare, old, [SECRET])!.proves(nothing));
});

Deno.test("a token of other letters than ASCII is compared as the UTF-8 that a sender writes", async () => {
  const secret = "ein schl\u00fcssel \u2713";
  const asBytes = String.fromCharCode(...new TextEncoder().encode(secret));
  assert(await claim(bare, asBytes, [secret])!.proves(nothing));
  assert(!await claim(bare, "ein schl\u00fcssel ?", [secret])!.proves(nothing));
});
