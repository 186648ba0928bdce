const assert = require("node:assert");
const { describe, it, test } = require("node:test");
const { discount, total } = require("../../src/basket.js");

test("stands alone", () => {});

describe("basket", () => {
  it("adds up", () => assert.equal(total([{ price: 250, count: 2 }, { price: 99, count: 1 }]), 599));

  it("is wrong on purpose: 1 < 2 & \"quoted\"", () => assert.equal(discount(1000, 10), 901));

  it("takes a voucher", { skip: true }, () => assert.equal(total([]), 1));

  it("knows taxes", { todo: true }, () => {});

  describe("discount – größer", () => {
    it("refuses 101 %", () => assert.throws(() => discount(1, 101), RangeError));

    it("ends in an exception", () => {
      throw new TypeError("not an assertion");
    });
  });
});
