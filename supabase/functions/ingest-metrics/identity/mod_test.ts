import { assert, assertEquals } from "@std/assert";
import { createHmac } from "node:crypto";
import { createVerifier, type Scheme, wrongSecret } from "./mod.ts";

const KEY = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const TOKEN = "a token of more than sixteen bytes";
const NOW = 1767225600;
const schemes: Scheme[] = [{ kind: "standard_webhooks" }, { kind: "bearer", header: "x-token", prefix: "" }];
const body = new TextEncoder().encode("{}");

function signed(key = KEY): Record<string, string> {
  const hmac = createHmac("sha256", atob(key.slice("whsec_".length))).update(`m.${NOW}.{}`).digest("base64");
  return { "webhook-id": "m", "webhook-timestamp": String(NOW), "webhook-signature": `v1,${hmac}` };
}
/** Null for a request that claims nothing. */
async function accepts(secrets: string[], headers: Record<string, string>): Promise<boolean | null> {
  const claim = createVerifier(schemes, secrets, () => NOW * 1000).claim(new Headers(headers));
  return claim && await claim.proves(body);
}
const wrongKey = `whsec_${btoa("x".repeat(32))}`;

Deno.test("with a signing key alone only signatures are accepted", async () => {
  assertEquals(await accepts([KEY], signed()), true);
  assertEquals(await accepts([KEY], signed(wrongKey)), false);
  assertEquals(await accepts([KEY], { "x-token": KEY }), null);
  assertEquals(await accepts([KEY], {}), null);
});

Deno.test("with a token alone only the token counts, whatever is signed", async () => {
  assertEquals(await accepts([TOKEN], { "x-token": TOKEN }), true);
  assertEquals(await accepts([TOKEN], { "x-token": TOKEN, ...signed(wrongKey) }), true);
  assertEquals(await accepts([TOKEN], signed()), null);
});

Deno.test("with both, a signature that is there must be right, and a token is enough where there is none", async () => {
  assertEquals(await accepts([TOKEN, KEY], signed()), true);
  assertEquals(await accepts([TOKEN, KEY], { "x-token": TOKEN }), true);
  assertEquals(await accepts([TOKEN, KEY], { "x-token": TOKEN, ...signed(wrongKey) }), false);
  assertEquals(await accepts([TOKEN, KEY], { "x-token": TOKEN, "webhook-signature": "" }), null);
  assertEquals(await accepts([TOKEN, KEY], { "x-token": TOKEN, "webhook-signature": "v1,none" }), null);
  // An id and a time without a signature are no signature.
  assertEquals(await accepts([TOKEN, KEY], { "x-token": TOKEN, "webhook-id": "m", "webhook-timestamp": "1" }), true);
});

Deno.test("the challenge names what is accepted, and no secret", () => {
  const challenge = (secrets: string[]) => createVerifier(schemes, secrets).challenge;
  assertEquals(challenge([KEY]), 'StandardWebhooks header="webhook-signature"');
  assertEquals(challenge([TOKEN]), 'Token header="x-token"');
  assertEquals(challenge([TOKEN, KEY]), 'StandardWebhooks header="webhook-signature", Token header="x-token"');
  const bearer = createVerifier({ kind: "bearer", header: "authorization", prefix: "Bearer " }, [TOKEN]);
  assertEquals(bearer.challenge, "Bearer");
});

Deno.test("a scheme without signing keys takes whsec_ for a text like any other", async () => {
  const verifier = createVerifier({ kind: "bearer", header: "x-token", prefix: "" }, ["whsec_of somebody else"]);
  assert(await verifier.claim(new Headers({ "x-token": "whsec_of somebody else" }))!.proves(body));
  assertEquals(wrongSecret({ kind: "hmac", header: "x", prefix: "" }, "whsec_of somebody else"), null);
});

Deno.test("a malformed signing key is said, and never shown", () => {
  for (const wrong of ["whsec_", "whsec_not base64 at all, but long", `${KEY}x`, `whsec_${btoa("short")}`]) {
    assertEquals(
      wrongSecret(schemes, wrong),
      "holds a signing key that is not whsec_ and then 24 to 64 bytes in base64",
    );
  }
  assertEquals([wrongSecret(schemes, KEY), wrongSecret(schemes, TOKEN)], [null, null]);
  const only: Scheme = { kind: "standard_webhooks" };
  assertEquals(
    wrongSecret(only, TOKEN),
    "holds a secret that is no signing key: whsec_ and then 24 to 64 bytes in base64",
  );
});
