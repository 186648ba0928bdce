import { assertEquals } from "@std/assert";
import { SECRET, signature } from "../testing.ts";
import { hmacVerifier } from "./hmac.ts";

const scheme = { kind: "hmac", header: "x-hub-signature-256", prefix: "sha256=" } as const;
const published = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

function claim(header: string | null, secrets = [SECRET]) {
  return hmacVerifier(scheme, secrets).claim(new Headers(header === null ? {} : { "x-hub-signature-256": header }));
}
const proves = (header: string, body: string, secrets?: string[]) =>
  claim(header, secrets)!.proves(new TextEncoder().encode(body));

Deno.test("the signature that GitHub's documentation publishes is right", async () => {
  assertEquals(await proves(published, "Hello, World!"), true);
  assertEquals(await proves(published.toUpperCase().replace("SHA256", "sha256"), "Hello, World!"), true);
  assertEquals(await proves(published, "Hello, World?"), false);
  assertEquals(await proves(await signature('{"title":"ünïcode ✓"}'), '{"title":"ünïcode ✓"}'), true);
  assertEquals(await proves(await signature(""), ""), true);
});

Deno.test("every live secret is accepted, and an old one no more", async () => {
  const [old, live] = ["an old secret, retired", "a new secret, in use"];
  const header = await signature("body", old);
  assertEquals(await proves(header, "body", [live, old]), true);
  assertEquals(await proves(header, "body", [live]), false);
});

Deno.test("a header that is missing or malformed claims nothing", () => {
  const digits = published.slice(7);
  const malformed = [
    ...[
      null,
      "",
      "sha256=",
      "sha256=zz",
      digits,
      `sha1=${digits}`,
      `SHA256=${digits}`,
      `sha256= ${digits}`,
      `sha256=${digits}0`,
    ],
    ...[
      `sha256=${digits.slice(1)}`,
      `sha256=${digits.slice(2)}`,
      `${published}, ${published}`,
      `sha256=${"g".repeat(64)}`,
    ],
    `sha256=${digits.slice(0, 62)}\u00e9\u00e9`,
  ];
  for (const header of malformed) assertEquals(claim(header), null, String(header));
});

Deno.test("a header of several signatures needs one that is right, and passes over other prefixes", async () => {
  const several = { kind: "hmac", header: "x-signature", prefix: "v1=", several: true } as const;
  const claim = (header: string) => hmacVerifier(several, [SECRET]).claim(new Headers({ "x-signature": header }));
  const right = `v1=${published.slice(7)}`;
  const wrong = `v1=${"0".repeat(64)}`;
  const body = new TextEncoder().encode("Hello, World!");
  for (
    const header of [
      right,
      `${wrong},${right}`,
      `${right}, ${wrong}`,
      `v2=00 ,${right}`,
      `${`${wrong},`.repeat(90)}${right}`,
    ]
  ) {
    assertEquals(await claim(header)!.proves(body), true, header);
  }
  assertEquals(await claim(`${wrong},${wrong}`)!.proves(body), false);
  for (
    const header of ["", ",", "v1=", `v2=${right.slice(3)}`, `${right}0`, `${right} ${right}`, `${right};${right}`]
  ) {
    assertEquals(claim(header), null, header);
  }
});
