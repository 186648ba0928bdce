/** A source is one file that is pure: it reaches nothing outside of its arguments, and shares no code with another but through files for that. */

import { assert, assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path";

/** Texts of files by their path. */
type Files = ReadonlyMap<string, string>;

const folder = fromFileUrl(new URL("../../supabase/functions/ingest-metrics/", import.meta.url));
const read = (path: string) => Deno.readTextFileSync(`${folder}${path}`);

const sourceFiles: Files = new Map(
  [...Deno.readDirSync(`${folder}sources`)].map((entry) => `sources/${entry.name}`)
    .filter((path) => path.endsWith(".ts") && !path.endsWith("_test.ts")).sort()
    .map((path) => [path, read(path)]),
);

/** Lines that two files may have in common in one run, less one. */
const RUN = 12;

/** The runs of so many lines that two files have in common, each by its first; indents and blank lines do not count. */
function sharedRuns(files: Files): string[] {
  const seen = new Map<string, string>();
  const found: string[] = [];
  for (const [path, text] of files) {
    const lines = text.split("\n").map((line) => line.trim()).filter((line) => line !== "");
    for (let i = 0; i + RUN <= lines.length; i++) {
      const run = lines.slice(i, i + RUN).join("\n");
      const other = seen.get(run) ?? path;
      if (other !== path) found.push(`${other} and ${path}: ${lines[i]}`);
      else seen.set(run, path);
    }
  }
  return found;
}

/** What may be imported as it is; local files are followed. */
const PURE_PACKAGES = new Set(["zod"]);
const importOf = /^(?:import|export)\s(?!type\s)(?:[^;"']*?\sfrom\s+)?["']([^"']+)["']/gm;
const reaches: Readonly<Record<string, RegExp>> = {
  "the environment or the system": /\b(?:Deno|process|globalThis|self|navigator|localStorage)\s*[.[]/,
  "the network": /\b(?:fetch|WebSocket|EventSource|XMLHttpRequest|Worker)\b\s*[.(]/,
  "the clock":
    /\bDate\.now\b|\bnew Date\b(?!\s*\()|\bnew Date\(\s*\)|\b(?:performance|Temporal)\s*\.|\bset(?:Timeout|Interval)\s*\(/,
  chance: /\bMath\.random\b/,
  "a log": /\bconsole\s*\./,
  "a signature": /\bcrypto\s*\.|\bcreateHmac\b|\btimingSafeEqual\b|\bsubtle\b/,
  "code of elsewhere": /\bimport\s*\(|\brequire\s*\(|\beval\s*\(|\bnew Function\b/,
};

/** What of a source, or of a file that it imports, reaches out of it. Types are no code. */
function impurities(files: Files, open: (path: string) => string): string[] {
  const found: string[] = [];
  const texts = new Map(files);
  for (const [path, text] of texts) {
    const code = text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/^\s*\/\/.*$/gm, "")
      // A hash depends on nothing but what it is of.
      .replace('import { createHash } from "node:crypto";', "");
    for (const [what, pattern] of Object.entries(reaches)) {
      if (pattern.test(code)) found.push(`${path} reaches ${what}`);
    }
    for (const [, name] of code.matchAll(importOf)) {
      if (PURE_PACKAGES.has(name!)) continue;
      if (!name!.startsWith(".")) found.push(`${path} imports ${name}`);
      else {
        const local = new URL(name!, `file:///${path}`).pathname.slice(1);
        // A file added here is visited by this loop in its turn.
        if (local.startsWith("identity/")) found.push(`${path} imports ${local}`);
        else if (!texts.has(local)) texts.set(local, open(local));
      }
    }
  }
  return found;
}

Deno.test("sources: no two files share a run of 12 equal lines", () => {
  assert(sourceFiles.size >= 6);
  assertEquals(sharedRuns(sourceFiles), []);
});

Deno.test("sources: a run of 12 lines that was copied is noticed, one of 11 is not", () => {
  const [[path, text]] = sourceFiles as unknown as [[string, string]];
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  const copy = (count: number) =>
    new Map([...sourceFiles, ["sources/copy.ts", lines.slice(40, 40 + count).join("\n\n  ")]]);
  assertEquals(sharedRuns(copy(RUN)), [`${path} and sources/copy.ts: ${lines[40]!.trim()}`]);
  assertEquals(sharedRuns(copy(RUN - 1)), []);
});

Deno.test("sources: no source reaches out of its arguments, nor does what it imports", () => {
  assertEquals(impurities(sourceFiles, read), []);
});

Deno.test("sources: whatever reaches out is noticed, in a source and in what it imports", () => {
  const faults: Record<string, string> = {
    'import { readFile } from "node:fs";': "sources/odd.ts imports node:fs",
    'import "npm:left-pad";': "sources/odd.ts imports npm:left-pad",
    'export { hmacVerifier } from "../identity/hmac.ts";': "sources/odd.ts imports identity/hmac.ts",
    'import { reach } from "../far.ts";': "far.ts reaches the network",
    'const zone = Deno.env.get("TZ");': "sources/odd.ts reaches the environment or the system",
    'await fetch("https://x.example");': "sources/odd.ts reaches the network",
    "const now = Date.now();": "sources/odd.ts reaches the clock",
    "const now = new Date();": "sources/odd.ts reaches the clock",
    "const id = Math.random();": "sources/odd.ts reaches chance",
    'console.log("seen");': "sources/odd.ts reaches a log",
    'crypto.subtle.digest("SHA-256", bytes);': "sources/odd.ts reaches a signature",
    'const more = await import("./more.ts");': "sources/odd.ts reaches code of elsewhere",
  };
  const open = (path: string) => path === "far.ts" ? 'export const reach = () => fetch("https://x.example");' : "";
  for (const [line, fault] of Object.entries(faults)) {
    assertEquals(impurities(new Map([["sources/odd.ts", `/** A source. */\n${line}\n`]]), open), [fault], line);
  }
  const fine = [
    'import type { Scheme } from "../identity/mod.ts";',
    'import { z } from "zod";',
    'import {\n  text,\n} from "./shared.ts";',
    "// Date.now() is no argument.",
    "const day = new Date(milliseconds);",
  ];
  assertEquals(impurities(new Map([["sources/odd.ts", fine.join("\n")]]), open), []);
});

/** The lines of code on a page that the file which it is about does not have. */
function inventedLines(page: string, text: string): string[] {
  const known = new Set(text.split("\n").map((line) => line.trim()));
  return [...page.matchAll(/^```ts\n([\s\S]*?)^```$/gm)].flatMap(([, code]) => code!.split("\n"))
    .map((line) => line.trim()).filter((line) => !known.has(line));
}

Deno.test("sources: the page on adding one shows the code as it is, and a line that is made up is noticed", () => {
  const page = Deno.readTextFileSync(new URL("../../docs/sources/adding.md", import.meta.url));
  const text = sourceFiles.get("sources/pagerduty.ts")!;
  assertEquals(inventedLines(page, text), []);
  assertEquals(inventedLines(page, text.replace("occurred_at: time", "occurred_at: text")), ["occurred_at: time,"]);
  assertEquals(inventedLines(page.replaceAll("several: true", "several: 2"), text).length, 1);
});
