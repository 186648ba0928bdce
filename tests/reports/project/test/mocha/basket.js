const assert = require("node:assert");
const { discount, total } = require("../../src/basket.js");

let tries = 0;

describe("basket", function () {
  it("adds up", () => assert.equal(total([{ price: 250, count: 2 }, { price: 99, count: 1 }]), 599));

  it("is wrong on purpose: 1 < 2 & \"quoted\"", () => assert.equal(discount(1000, 10), 901));

  it.skip("takes a voucher", () => assert.equal(total([]), 1));

  it("knows taxes");

  describe("discount – größer", function () {
    it("refuses 101 %", () => assert.throws(() => discount(1, 101), RangeError));

    it("ends in an exception", () => {
      throw new TypeError("not an assertion");
    });
  });

  it("passes when it is tried again", function () {
    this.retries(2);
    assert.equal(++tries, 2);
  });
});
