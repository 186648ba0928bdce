const { expect, test } = require("@playwright/test");
const { discount, total } = require("../../src/basket.js");

test.describe("basket", () => {
  test("adds up", () => expect(total([{ price: 250, count: 2 }, { price: 99, count: 1 }])).toBe(599));

  test("is wrong on purpose: 1 < 2 & \"quoted\"", () => expect(discount(1000, 10)).toBe(901));

  test.skip("takes a voucher", () => expect(total([])).toBe(1));

  test.describe("discount – größer", () => {
    test("refuses 101 %", () => expect(() => discount(1, 101)).toThrow(RangeError));

    test("ends in an exception", () => {
      throw new TypeError("not an assertion");
    });
  });

  // Workers end after a failure, so the number of the try is the tool's.
  test("passes when it is tried again", ({}, info) => expect(info.retry).toBe(1));
});
