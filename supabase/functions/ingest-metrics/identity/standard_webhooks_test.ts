import { assert, assertEquals } from "@std/assert";
import { isSigningKey, standardWebhooksVerifier } from "./standard_webhooks.ts";

// Made with `openssl dgst -sha256 -hmac` over "msg_1.1767225600.<body>".
const SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const OTHER = "whsec_ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";
const BODY = '{"type":"ping"}';
const SIGNED_AT = 1767225600;
const headers = {
  "webhook-id": "msg_1",
  "webhook-timestamp": String(SIGNED_AT),
  "webhook-signature": "v1,sG0nfnqpIcWptC5ONjf6LRu+z1Ll7vUUeeWWN5fWKVU=",
};
const otherSignature = "v1,+hiFW1std2/qOhjTjgLweGbwHvNlcHSqm53ClPQmbsc=";

function claim(changed: Record<string, string | null> = {}, secrets = [SECRET], now = SIGNED_AT) {
  const sent = Object.entries({ ...headers, ...changed }).filter((header): header is [string, string] =>
    header[1] !== null
  );
  return standardWebhooksVerifier(secrets, () => now * 1000).claim(new Headers(sent));
}
const proves = (changed: Record<string, string | null> = {}, secrets?: string[], now?: number, body = BODY) =>
  claim(changed, secrets, now)!.proves(new TextEncoder().encode(body));

Deno.test("a signature over id, time and body proves exactly these", async () => {
  assert(await proves());
  assert(!await proves({}, undefined, undefined, `${BODY} `));
  assert(!await proves({ "webhook-id": "msg_2" }));
  assert(!await proves({ "webhook-timestamp": String(SIGNED_AT + 1) }));
  assert(!await proves({ "webhook-signature": `v1,${"A".repeat(43)}=` }));
});

Deno.test("a request proves nothing when it is more than five minutes old, or from the future", async () => {
  for (const seconds of [-300, -1, 0, 1, 300]) assert(await proves({}, undefined, SIGNED_AT + seconds), `${seconds} s`);
  for (const seconds of [-86400, -301, 301, 86400]) {
    assert(!await proves({}, undefined, SIGNED_AT + seconds), `${seconds} s`);
  }
});

Deno.test("of several signatures one is enough, and those of other versions are passed over", async () => {
  const { "webhook-signature": right } = headers;
  for (
    const list of [`v1a,AAAA ${right}`, `${otherSignature} ${right}`, `${right} ${otherSignature}`, `v2,x ${right} `]
  ) {
    assert(await proves({ "webhook-signature": list }), list);
  }
  assert(!await proves({ "webhook-signature": `v1a,AAAA ${otherSignature}` }));
});

Deno.test("every live signing key is accepted, and an old one no more", async () => {
  const old = { "webhook-signature": otherSignature };
  assert(await proves(old, [SECRET, OTHER]));
  assert(await proves({}, [OTHER, SECRET]));
  assert(!await proves(old, [SECRET]));
});

Deno.test("a header that is missing or malformed claims nothing", () => {
  const right = headers["webhook-signature"];
  const malformed: Record<string, (string | null)[]> = {
    "webhook-id": [null, "", " ", "a.b", "a b", "a".repeat(256), "\u00e9"],
    "webhook-timestamp": [null, "", "0", "-1767225600", "1767225600.5", "1e9", "now", "0x1", "1".repeat(13), " "],
    "webhook-signature": [
      null,
      "",
      " ",
      "v1",
      "v1,",
      right.slice(3),
      right.replace("v1", "v2"),
      right.replace("v1", "v1a"),
      right.replace(",", "="),
      right.slice(0, -1),
      `${right}=`,
      right.replace("=", "\u00e9"),
      `v1,${"-".repeat(43)}=`,
      `${right},${right}`,
    ],
  };
  for (const [name, values] of Object.entries(malformed)) {
    for (const value of values) assertEquals(claim({ [name]: value }), null, `${name}: ${value}`);
  }
});

Deno.test("a signing key is whsec_ and 24 to 64 bytes in base64", () => {
  const key = (bytes: number) => `whsec_${btoa("k".repeat(bytes))}`;
  for (const right of [SECRET, key(24), key(64), key(32).replace("=", "")]) assert(isSigningKey(right), right);
  const wrong = [
    "whsec_",
    key(23),
    key(65),
    `${SECRET}=`,
    `${SECRET} `,
    SECRET.replace("M", "-"),
    SECRET.slice(6),
    `w${SECRET}`,
  ];
  for (const one of [...wrong, "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]) assert(!isSigningKey(one), one);
});
