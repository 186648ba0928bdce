/** No text that a sender writes makes a delivery slow: whatever stands in a field, the time to translate it grows no faster than its length. */

import { assert, assertEquals } from "@std/assert";
import { providerOf, type Source, sources } from "../../supabase/functions/ingest-metrics/sources/mod.ts";
import { checkFacts } from "../../supabase/functions/ingest-metrics/facts.ts";
import { translate } from "../../supabase/functions/ingest-metrics/translate.ts";
import { callOf } from "../support/history_calls.ts";
import { readExample, readExamples } from "../support/history_examples.ts";
import type { Posted } from "../support/history_github.ts";
import { sentAs } from "../support/history_senders.ts";

/** A text field of a body. */
interface Field {
  parent: Record<string, unknown>;
  name: string;
  /** Its place, with the indexes of lists left out. */
  path: string;
}

function textFields(value: unknown, path = ""): Field[] {
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([name, member]) => {
    const place = Array.isArray(value) ? `${path}[]` : `${path}.${name}`;
    const field = { parent: value as Record<string, unknown>, name, path: place };
    return typeof member === "string" ? [field] : textFields(member, place);
  });
}

/** What patterns for addresses, names and messages are likely to try again and again, each with an end that does not fit. */
const hostile: readonly ((length: number) => string)[] = [
  ["/", " "],
  ["/", "x"],
  [" ", "!"],
  ["\n", "!"],
  ["@", "!"],
  ["a.", "!"],
  ["a@", "!"],
  ["%40a.", "!"],
  [".git/", "!"],
  [":", " "],
  ["-", "\0"],
  ["0", "!"],
  ['\\"', "!"],
].map(([filler, end]) => (length) => filler!.repeat(Math.ceil(length / filler!.length)) + end);

/** Below this a time says more about the machine than about the text. */
const SLOW_MS = 20;
/** Four times the text may take four times as long, and twice that on a busy machine; what is quadratic takes sixteen times as long. */
const GROWTH = 8;

type Clock = () => number;

/** The best of three, once it is slow at all. */
function milliseconds(work: () => unknown, now: Clock): number {
  let best = Infinity;
  for (let tries = 0; tries < 3 && best > SLOW_MS; tries++) {
    const started = now();
    work();
    best = Math.min(best, now() - started);
  }
  return best;
}

/** The length from which on the work takes more time than the text grew; nothing while it is fast or grows with the text. */
function growsFrom(work: (length: number) => unknown, now: Clock = () => performance.now()): number | undefined {
  // What is fast at the length at which the work of a limited search is greatest, and at the end, needs no closer look.
  if ([2000, 32_000].every((length) => milliseconds(() => work(length), now) <= SLOW_MS)) return undefined;
  let before = Infinity;
  for (const length of [500, 2000, 8000, 32_000]) {
    const time = milliseconds(() => work(length), now);
    if (time > Math.max(SLOW_MS, GROWTH * before)) return length;
    before = time;
  }
  return undefined;
}

/** Whether it is slow whenever one looks: a machine that is busy with something else makes it look so once. */
function isSlow(work: (length: number) => unknown): boolean {
  return [1, 2, 3].every(() => growsFrom(work) !== undefined);
}

/** Puts every hostile text into every text field of a body, behind what stood there and behind what makes it an address; says where it is slow. */
function slowFields(source: Source, posted: Posted, seen: Set<string>): string[] {
  const headers = new Headers(sentAs(posted).headers);
  const body = structuredClone(posted.body);
  const options = { source: posted.source, incidentLabels: new Set(["incident"]) };
  const become = () => {
    const translation = source.facts(source.identify(headers, body).event ?? "", body, options);
    if ("facts" in translation) checkFacts(translation.facts);
  };
  return textFields(body).flatMap(({ parent, name, path }) => {
    const place = `${posted.source} ${posted.event} ${path}`;
    if (seen.has(place)) return [];
    seen.add(place);
    const usual = parent[name] as string;
    const slow = [usual, "https://"].flatMap((start) =>
      hostile.filter((text) =>
        isSlow((length) => {
          parent[name] = start + text(length);
          become();
        })
      ).map((text) => `${place}: ${JSON.stringify(start + text(4))}`)
    );
    parent[name] = usual;
    return slow;
  });
}

/** Puts every hostile text as a whole, and as a body's only member, through everything that is done to bytes; says which are slow. */
function slowBytes(source: Source): string[] {
  const identify = (value: unknown) => source.identify(new Headers(), value);
  const options = { source: source.provider, incidentLabels: new Set<string>() };
  return source.contentTypes.flatMap((contentType) =>
    hostile.flatMap((text) =>
      [text, (length: number) => JSON.stringify({ data: text(length) })].filter((write) =>
        isSlow((length) => {
          translate(source, contentType, new TextEncoder().encode(write(length)), identify, options);
        })
      ).map((write) => `${source.provider} ${contentType}: ${write(4)}`)
    )
  );
}

/** What nothing has happened for stands in no example: the facts of another sender's life, told as its own. */
async function syntheticDeliveries(): Promise<Posted[]> {
  const calls = await Promise.all(readExample("repository-life").deliveries.map((posted) => callOf(posted)));
  return calls.map(({ facts }, index) => ({
    source: "synthetic",
    event: "facts",
    id: `${index}`,
    body: { facts: JSON.parse(JSON.stringify(facts).replaceAll('"github', '"synthetic')) },
  }));
}

for (const [provider, source] of sources) {
  Deno.test(`hostile text: no text in a delivery of ${provider} takes time that grows faster than its length`, async () => {
    const seen = new Set<string>();
    const deliveries = provider === "synthetic"
      ? await syntheticDeliveries()
      : readExamples().flatMap((example) => example.deliveries)
        .filter((posted) => providerOf(posted.source) === provider);
    assertEquals(deliveries.flatMap((posted) => slowFields(source, posted, seen)), []);
    assertEquals(slowBytes(source), []);
    assert(seen.size >= 10, `${seen.size} fields`);
  });
}

Deno.test("hostile text: what grows faster than the text is noticed, what is slow and grows with it is fine", () => {
  // A clock of its own, so that the machine has no part in it.
  let time = 0;
  const from = (cost: (length: number) => number) => growsFrom((length) => time += cost(length), () => time);
  assertEquals(from((length) => length ** 2 / 1e5), 2000);
  // The third power, but never of more than a limit.
  assertEquals(from((length) => length > 2048 ? 1 : length ** 3 / 1e8), 2000);
  assertEquals(from((length) => length ** 1.2 / 1e4), undefined);
  assertEquals(from((length) => 30 + length / 100), undefined);
  assertEquals(from(() => 1), undefined);
});
