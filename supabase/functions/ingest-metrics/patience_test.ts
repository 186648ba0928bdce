import { assert, assertEquals, assertRejects } from "@std/assert";
import { Patience } from "./patience.ts";

const later = <T>(milliseconds: number, value: T) =>
  new Promise<T>((resolve) => setTimeout(() => resolve(value), milliseconds));

Deno.test("all waits of a request together take no longer than its patience", async () => {
  const patience = new Patience(150);
  const started = performance.now();
  assertEquals(await patience.wait(later(100, "came")), "came");
  const second = later(400, "late");
  assertEquals(await patience.wait(second), null);
  assertEquals(await patience.wait(second), null, "nothing is left");
  assert(performance.now() - started < 350);
  assertEquals(await patience.wait(Promise.resolve("there already")), "there already");
  await second;
});

Deno.test("what happens between the waits costs no patience, and one wait may be limited by itself", async () => {
  const patience = new Patience(300);
  await later(350, null);
  const slow = later(250, "came");
  assertEquals(await patience.wait(slow, 10), null);
  assertEquals(await patience.wait(slow), "came");
  await assertRejects(() => patience.wait(Promise.reject(new Error("failed"))), Error, "failed");
});
