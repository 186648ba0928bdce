import { assert, assertEquals } from "@std/assert";
import { Occurrences, segment, shorten, uploadId } from "./ids.ts";
import { contextWith } from "./testing.ts";

Deno.test("an upload is named by its run or commit, its attempt and its job", () => {
  assertEquals(uploadId(contextWith()), "7/2/build");
  assertEquals(uploadId(contextWith({ jobExternalId: "42" })), "7/2/42");
  assertEquals(
    uploadId(contextWith({ runExternalId: null, attempt: null, job: null })),
    `${contextWith().commitSha}/1/-`,
  );
  assertEquals(uploadId(contextWith({ runExternalId: null, commitSha: null })), null);
  assertEquals(uploadId(contextWith({ job: "a/b#1 50%" })), "7/2/a%2Fb%231 50%25");
  assertEquals(segment("plain"), "plain");
});

Deno.test("a long text is cut between its characters, and what differs stays different", () => {
  assertEquals(shorten("short", 20), "short");
  assertEquals(shorten("x".repeat(20), 20), "x".repeat(20));
  const [one, other] = ["✓".repeat(500) + "1", "✓".repeat(500) + "2"].map((text) => shorten(text, 100));
  assert(one !== other);
  assert(new TextEncoder().encode(one).length <= 100 && one!.startsWith("✓✓") && one!.isWellFormed());
});

Deno.test("names that come again are numbered, and meet no other", () => {
  const names = new Occurrences();
  const given = ["a", "a", "a #2", "a", "b"];
  const taken = given.map((name) => names.next(name));
  assertEquals(taken, ["a", "a #2", "a #2 #2", "a #3", "b"]);
});
