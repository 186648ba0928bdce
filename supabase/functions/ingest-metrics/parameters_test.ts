import { assert, assertEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import { writeParameters } from "./parameters.ts";

const read = (parameters: Record<string, unknown>) =>
  JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(writeParameters(parameters)));

Deno.test("parameters are the JSON that they would be as one text", () => {
  const commits = Array.from(
    { length: 100 },
    (_, n) => ({ sha: `${n}`, title: `Zähle – 🚀 "${n}"\n`, reverts: [], at: null }),
  );
  const all = [
    {},
    { delivery: {}, facts: {}, body: null },
    { delivery: { source: "github", notes: [], reason: null, size: 1.5, event: undefined }, facts: { jobs: [] } },
    {
      facts: { commits, "päth": [[1, [2]], "\ud800", undefined] },
      list: [1, { a: 1 }],
      text: "é\u0000",
      last: undefined,
    },
  ];
  for (const parameters of all) assertEquals(read(parameters), JSON.parse(JSON.stringify(parameters)));
});

Deno.test("bytes are base64 of what is in view, whatever their length", () => {
  const bytes = crypto.getRandomValues(new Uint8Array(65_536));
  const large = new Uint8Array(300_001);
  for (let at = 0; at < large.length; at += bytes.length) large.set(bytes.subarray(0, large.length - at), at);
  const step = 48 * 1024;
  for (const length of [0, 1, 2, 3, 4, step - 1, step, step + 1, 2 * step, 300_001]) {
    const view = large.subarray(300_001 - length);
    const { before, body, after } = read({ before: 1, body: view, after: ["é"] });
    assert(Buffer.from(body, "base64").equals(view), `${length} bytes`);
    assertEquals([before, body.length, after], [1, 4 * Math.ceil(length / 3), ["é"]]);
  }
});
