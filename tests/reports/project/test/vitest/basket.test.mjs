import { createRequire } from "node:module";
import { describe, expect, test } from "vitest";

const { discount, total } = createRequire(import.meta.url)("../../src/basket.js");

let tries = 0;

describe("basket", () => {
  test("adds up", () => expect(total([{ price: 250, count: 2 }, { price: 99, count: 1 }])).toBe(599));

  test("is wrong on purpose: 1 < 2 & \"quoted\"", () => expect(discount(1000, 10)).toBe(901));

  test.skip("takes a voucher", () => expect(total([])).toBe(1));

  test.todo("knows taxes");

  describe("discount – größer", () => {
    test("refuses 101 %", () => expect(() => discount(1, 101)).toThrow(RangeError));

    test("ends in an exception", () => {
      throw new TypeError("not an assertion");
    });
  });

  test("passes when it is tried again", { retry: 2 }, () => expect(++tries).toBe(2));
});
