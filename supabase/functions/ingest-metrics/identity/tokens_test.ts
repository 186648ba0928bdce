import { assert, assertEquals } from "@std/assert";
import { createHash } from "node:crypto";
import { readToken } from "./tokens.ts";

const random = "aB3_-".repeat(8) + "xyz";
const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");

Deno.test("a token is known by the SHA-256 of its whole text", () => {
  const text = `mtr_42_${random}`;
  const token = readToken(text)!;
  assertEquals(token.id, "42");
  assert(token.isOf(sha256(text)));
  for (const other of [`mtr_42_${random.slice(1)}a`, `mtr_43_${random}`, random, ""]) {
    assert(!token.isOf(sha256(other)), other);
  }
  for (const none of ["", "00", sha256(text).slice(1), `${sha256(text)}00`, "zz".repeat(32)]) assert(!token.isOf(none));
});

Deno.test("anything that has not a token's shape is none", () => {
  const texts = [
    ...["", "mtr_", `mtr_${random}`, `mtr__${random}`, `mtr_0_${random}`, `mtr_07_${random}`, `mtr_-1_${random}`],
    ...[`mtr_1_${random.slice(1)}`, `mtr_1_${"a".repeat(65)}`, `mtr_${"9".repeat(20)}_${random}`, `MTR_1_${random}`],
    ...[
      ` mtr_1_${random}`,
      `mtr_1_${random}\n`,
      `mtr_1_${random.slice(2)}ä.`,
      `mtr_1_${random.slice(1)}=`,
      `mtr_1e3_${random}`,
    ],
  ];
  for (const text of texts) assertEquals(readToken(text), null, text);
  assertEquals(readToken(`mtr_9223372036854775807_${"f".repeat(64)}`)?.id, "9223372036854775807");
});
