import { assert, assertEquals, assertMatch } from "@std/assert";
import * as clean from "./clean.ts";

function apply(rule: clean.Clean, value: unknown) {
  const notes: string[] = [];
  return { value: rule(value, (what) => notes.push(what)), notes };
}
const bytesOf = (text: unknown) => new TextEncoder().encode(text as string).length;

Deno.test("text that fits stays as it is, in every plane of Unicode", () => {
  for (
    const text of [
      "",
      "a",
      "naïve ✓ 漢字 𝒳 🚀 \u{10ffff}",
      "x".repeat(4096),
      "✓".repeat(1365),
      "actions/checkout@v4",
      "@user",
      "a@b",
    ]
  ) {
    assertEquals(apply(clean.cleanText, text), { value: text, notes: [] });
  }
  assertEquals(apply(clean.cleanText, null).value, null);
});

Deno.test("NUL and lone surrogates become U+FFFD", () => {
  assertEquals(apply(clean.cleanText, "a\0b\0"), { value: "a\ufffdb\ufffd", notes: ["had NUL"] });
  assertEquals(apply(clean.cleanText, "a\ud800b\udc00"), { value: "a\ufffdb\ufffd", notes: ["had lone surrogates"] });
});

Deno.test("text is cut at 4096 bytes, never inside a code point", () => {
  for (
    const [text, kept] of [["x".repeat(4097), 4096], ["✓".repeat(1366), 4095], ["🚀".repeat(1025), 4096], [
      "a" + "🚀".repeat(1024),
      4093,
    ]]
  ) {
    const { value, notes } = apply(clean.cleanText, text);
    assertEquals([bytesOf(value), notes], [kept as number, ["cut at 4096 bytes"]]);
    assert((text as string).startsWith(value as string) && (value as string).isWellFormed());
  }
});

Deno.test("addresses that hang together are one, and a text of marks costs no more than another", () => {
  assertEquals(apply(clean.cleanText, "a@b.co@c.com and d%40e.fr").value, "[e-mail] and [e-mail]");
  const started = performance.now();
  for (let count = 0; count < 500; count++) apply(clean.cleanText, `@${"a".repeat(4000)}${count}`);
  assert(performance.now() - started < 1000);
});

Deno.test("no e-mail address stays in a text, wherever it stands and however it is written", () => {
  const addresses = [
    ...[
      "ann@example.com",
      "Ann.B+tag@mail.example.co.uk",
      "o'neill@example.org",
      "ünï@exämple.de",
      "用户@例子.广告",
      '"ann b"@example.com',
    ],
    ...["21031067+ann@users.noreply.example.com", "ann%40example.com", "a@b.cd", `${"l".repeat(250)}@example.com`],
  ];
  for (const address of addresses) {
    for (
      const [before, after] of [["", ""], ["Co-authored-by: Ann <", ">"], ["mailto:", " "], ["(", ")"], ["see ", "."]]
    ) {
      const { value, notes } = apply(clean.cleanText, `${before}${address}${after}`);
      assertEquals([value, notes], [`${before}[e-mail]${after}`, ["had an e-mail address"]]);
    }
  }
  for (let at = 4060; at < 6200; at += 7) {
    const { value } = apply(clean.cleanText, `${"x ".repeat(at / 2)}ann@example.com${" y".repeat(3000)}`);
    assert(!(value as string).includes("ann"), `an address that starts at ${at} is in the text`);
    assert(bytesOf(value) <= 4096);
  }
});

Deno.test("a text made to be slow to search is not", () => {
  const started = performance.now();
  for (
    const text of [
      "a".repeat(1e6) + "@",
      "a@".repeat(1e6),
      `${"a".repeat(256)}@`.repeat(1e4),
      "@" + "a.".repeat(1e6),
      '"'.repeat(1e6) + "@",
    ]
  ) {
    apply(clean.cleanText, text);
  }
  assert(performance.now() - started < 2000);
});

Deno.test("a commit's name is hexadecimal in lower case, and nothing when it is all zeros", () => {
  assertEquals(apply(clean.cleanSha, "ABCDEF0123"), { value: "abcdef0123", notes: [] });
  assertEquals(apply(clean.cleanSha, "0".repeat(40)), { value: null, notes: [] });
  for (const wrong of ["", "main", "abc", "g".repeat(40), "a".repeat(65)]) {
    assertEquals(apply(clean.cleanSha, wrong), { value: null, notes: ["is no commit sha"] });
  }
});

Deno.test("times are canonical, or null with a note", () => {
  assertEquals(apply(clean.cleanTime, "2026-01-01T01:00:00+01:00"), { value: "2026-01-01T00:00:00Z", notes: [] });
  assertEquals(apply(clean.cleanTime, "0001-01-01T00:00:00Z"), { value: null, notes: ["is no time that can be kept"] });
  assertEquals(apply(clean.cleanTime, null), { value: null, notes: [] });
});

Deno.test("an address is http, without user and password", () => {
  assertEquals(apply(clean.cleanUrl, "https://ci.test/a?b=c#d"), { value: "https://ci.test/a?b=c#d", notes: [] });
  assertEquals(apply(clean.cleanUrl, "https://me:pass@ci.test/a@b"), {
    value: "https://ci.test/a@b",
    notes: ["had user information"],
  });
  assertEquals(apply(clean.cleanUrl, ""), { value: null, notes: [] });
  for (
    const wrong of [
      "javascript:alert(1)",
      "//ci.test",
      "https://",
      "ftp://ci.test",
      `https://ci.test/${"a".repeat(5000)}`,
    ]
  ) {
    assertEquals(apply(clean.cleanUrl, wrong), { value: null, notes: ["is no http address"] });
  }
});

Deno.test("numbers outside the column's range are null", () => {
  const int4 = clean.cleanNumber(-2147483648, 2147483647, true);
  for (const fits of [0, -2147483648, 2147483647]) assertEquals(apply(int4, fits), { value: fits, notes: [] });
  for (const wrong of [2147483648, 1.5, NaN, Infinity, 1e300]) {
    assertEquals(apply(int4, wrong), { value: null, notes: ["is out of range"] });
  }
  assertEquals(apply(clean.cleanNumber(-1e308, 1e308, false), 1.5).value, 1.5);
});

Deno.test("keys that differ stay different, and those that hold nothing to take away stay as they are", () => {
  const key = (text: string) => apply(clean.cleanKey, text).value as string;
  assertEquals(["a", "job @v4", "x".repeat(5000)].map(key), ["a", "job @v4", "x".repeat(4096)]);
  assertEquals(apply(clean.cleanKey, "a@example.com").notes, ["had an e-mail address"]);
  const different = ["a@example.com", "b@example.com", "[e-mail]", "\ud800", "\ud801", "\0", "\ufffd"];
  const cleaned = different.map(key);
  assertEquals(new Set(cleaned).size, different.length);
  assertMatch(cleaned[0]!, /^\[e-mail\]~[0-9a-f]{16}$/);
  assertEquals(cleaned.map(key), cleaned);
  // A key as long as one may be stays one.
  const long = `${"é".repeat(500)} a@example.com`;
  assert(bytesOf(key(long)) <= clean.MAX_KEY_BYTES && key(long).isWellFormed());
});

Deno.test("lists and objects are cleaned item by item", () => {
  assertEquals(apply(clean.cleanList(clean.cleanSha), ["ABCDEF0", "x"]), {
    value: ["abcdef0"],
    notes: ["is no commit sha"],
  });
  assertEquals(apply(clean.cleanList(clean.cleanText), Array(10_001).fill("a")).notes, ["cut at 10000 items"]);
  assertEquals(apply(clean.cleanObject({ name: clean.cleanText }), { name: "a\0", other: 1 }), {
    value: { name: "a\ufffd" },
    notes: ["name had NUL"],
  });
  const given = JSON.parse('{"a":1,"b\\u0000":"x","c":{"d":1},"e":1e400,"f":null,"__proto__":"g"}');
  const { value, notes } = apply(clean.cleanAttributes, given);
  assertEquals(JSON.stringify(value), '{"a":1,"b\ufffd":"x","f":null,"__proto__":"g"}');
  assertEquals(notes, ["had NUL", "has a member that is no plain value", "is out of range"]);
});
