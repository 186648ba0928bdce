import { assertEquals } from "@std/assert";
import { Attempts } from "./attempts.ts";

/** Attempts with a clock of their own. */
function counted() {
  const clock = { now: 1_000_000 };
  const attempts = new Attempts(() => clock.now);
  const taken = (count: number, ...identities: [id: number, calls_per_minute: number][]) => {
    const said = Array.from(
      { length: count },
      () => attempts.take(identities.map(([id, calls_per_minute]) => ({ id, calls_per_minute }))),
    );
    return said.filter((seconds) => seconds === null).length;
  };
  return { clock, attempts, taken };
}

Deno.test("in a minute an identity has twice its calls and ten attempts, and is told how long to wait for more", () => {
  const { clock, attempts, taken } = counted();
  assertEquals([taken(20, [1, 1]), taken(200, [2, 60])], [12, 130]);
  clock.now += 18_500;
  assertEquals(attempts.take([{ id: 1, calls_per_minute: 1 }]), 42);
  clock.now += 41_499;
  assertEquals(attempts.take([{ id: 1, calls_per_minute: 1 }]), 1);
  clock.now += 1;
  assertEquals(taken(20, [1, 1]), 12);
});

Deno.test("of several identities one with attempts left is enough", () => {
  const { attempts, taken } = counted();
  assertEquals(taken(40, [1, 1], [2, 10]), 30);
  assertEquals(taken(1, [1, 1]), 0);
  assertEquals(taken(1, [3, 1], [1, 1]), 1);
  assertEquals(attempts.take([{ id: 1, calls_per_minute: 1 }, { id: 2, calls_per_minute: 10 }]), 60);
});
