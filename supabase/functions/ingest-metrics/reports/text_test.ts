import { assertEquals } from "@std/assert";
import { decodeReport, linesOf } from "./text.ts";

const bytes = (...parts: (string | number[])[]) =>
  Uint8Array.from(parts.flatMap((part) => typeof part === "string" ? [...new TextEncoder().encode(part)] : part));
const utf16 = (text: string, big: boolean) =>
  bytes([...text].flatMap((char) => {
    const [high, low] = [char.charCodeAt(0) >> 8, char.charCodeAt(0) & 255];
    return big ? [high, low] : [low, high];
  }));
const declaration = (encoding: string) => `<?xml version="1.0" encoding="${encoding}"?>`;

Deno.test("text is UTF-8, or what a mark or a declaration says", () => {
  const ue = "ü✓";
  const cases: [string, Uint8Array, string][] = [
    ["plain", bytes(ue), ue],
    ["a mark", bytes([0xef, 0xbb, 0xbf], ue), ue],
    [
      "a mark wins over a declaration",
      bytes([0xef, 0xbb, 0xbf], declaration("latin1"), ue),
      declaration("latin1") + ue,
    ],
    ["Latin", bytes(declaration("ISO-8859-1"), [0xfc]), declaration("ISO-8859-1") + "ü"],
    ["Windows", bytes(declaration("windows-1252"), [0x80]), declaration("windows-1252") + "€"],
    ["Japanese", bytes(declaration("Shift_JIS"), [0x83, 0x65]), declaration("Shift_JIS") + "テ"],
    ["UTF-16 with a mark", bytes([0xff, 0xfe], [...utf16(ue, false)]), ue],
    ["UTF-16, the other way", bytes([0xfe, 0xff], [...utf16(ue, true)]), ue],
    ["UTF-16 without a mark", utf16(declaration("UTF-16"), false), declaration("UTF-16")],
    ["UTF-16 without a mark, the other way", utf16(declaration("UTF-16"), true), declaration("UTF-16")],
    ["UTF-8 that says it were UTF-16", bytes(declaration("UTF-16"), ue), declaration("UTF-16") + ue],
    ["nothing", bytes(), ""],
  ];
  for (const [name, given, text] of cases) assertEquals(decodeReport(given), { text }, name);
  assertEquals(decodeReport(bytes([0xfc]), "iso-8859-1"), { text: "ü" });
});

Deno.test("bytes that are not in the encoding are refused, and never replaced", () => {
  assertEquals(decodeReport(bytes("name", [0xfc])), { unreadable: "encoding_wrong" });
  assertEquals(decodeReport(bytes(declaration("utf-8"), [0xff])), { unreadable: "encoding_wrong" });
  assertEquals(decodeReport(bytes(declaration("x-unheard-of"))), { unreadable: "encoding_unknown" });
  assertEquals(decodeReport(bytes("text"), "x-unheard-of"), { unreadable: "encoding_unknown" });
});

Deno.test("lines come one after the other", () => {
  assertEquals([...linesOf("a\n\nb\r\nc")], ["a", "", "b\r", "c"]);
  assertEquals([...linesOf("")], []);
  assertEquals([...linesOf("a\n")], ["a"]);
});
