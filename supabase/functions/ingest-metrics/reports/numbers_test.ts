import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { hasDecimalComma, parseNumber } from "./numbers.ts";

Deno.test("numbers are read in the locales that tools print them in", () => {
  const cases: [string, number | null][] = [
    ["1234.5", 1234.5],
    ["1,234.5", 1234.5],
    ["1,234,567.8", 1234567.8],
    ["1.234,5", 1234.5],
    ["1.234.567,8", 1234567.8],
    ["1 234,5", 1234.5],
    ["1\u202f234,5", 1234.5],
    ["1'234.5", 1234.5],
    ["0,5", 0.5],
    ["0,123", 0.123],
    ["12,34", 12.34],
    ["1,234", 1234],
    ["1,234,567", 1234567],
    [" 0.004 ", 0.004],
    [".5", 0.5],
    ["1e-3", 0.001],
    ["1.5E-05", 0.000015],
    ["0.5s", 0.5],
    ["-1", -1],
    ["7", 7],
    ["", null],
    ["NaN", null],
    ["Infinity", null],
    ["1.2.3", null],
    ["0x10", null],
    ["abc", null],
    ["1".repeat(500), null],
  ];
  for (const [text, number] of cases) assertEquals(parseNumber(text), number, text);
  assertEquals(parseNumber(undefined), null);
  assertEquals(parseNumber("1,234", true), 1.234);
});

Deno.test("a comma means what the other numbers of the report say", () => {
  assertEquals(hasDecimalComma(["1,234", "0,5"]), true);
  assertEquals(hasDecimalComma(["1,234", "12,34"]), true);
  assertEquals(hasDecimalComma(["1,234", "1.234,5"]), true);
  assertEquals(hasDecimalComma(["1,234", "0.5"]), false);
  assertEquals(hasDecimalComma(["1,234", "1,234,567"]), false);
  assertEquals(hasDecimalComma(["1,234"]), false);
  assertEquals(hasDecimalComma([]), false);
});

Deno.test("a number printed in a locale is read again", () => {
  const locales = ["en-US", "de-DE", "fr-FR", "de-CH", "sv-SE"];
  fc.assert(fc.property(fc.integer({ min: 0, max: 1e9 }), fc.constantFrom(...locales), (thousandths, locale) => {
    const number = thousandths / 1000;
    const text = number.toLocaleString(locale, { minimumFractionDigits: 2, maximumFractionDigits: 3 });
    const others = [0.5, 1234.25].map((one) => one.toLocaleString(locale));
    assertEquals(parseNumber(text, hasDecimalComma([text, ...others])), number);
  }));
});
