/** JSON of reports: parsed within bounds, and places in it in words and numbers of ours. */

import type { z } from "zod";
import type { ReportProblem } from "./mod.ts";

/** More objects and arrays than this would take more memory than a function has. */
const MAX_CONTAINERS = 1_000_000;

/** The value of a text, or a code. */
export function parseJson(text: string): { value: unknown } | { unreadable: string } {
  if (text.length > MAX_CONTAINERS && countContainers(text) > MAX_CONTAINERS) {
    return { unreadable: "json_too_many_values" };
  }
  try {
    return { value: JSON.parse(text) };
  } catch {
    return { unreadable: "not_json" };
  }
}

function countContainers(text: string): number {
  let count = 0;
  for (let at = 0; at < text.length; at++) {
    const char = text.charCodeAt(at);
    if (char === 0x5b || char === 0x7b) count++;
  }
  return count;
}

/** Members whose names inside are the sender's. */
const free = new Set<PropertyKey>(["attributes", "messageStrings", "fingerprints", "partialFingerprints"]);

/** A path as a place: `runs[0].results[3].level`. It ends where the names become the sender's. */
export function placeOf(path: readonly PropertyKey[], start = ""): string {
  let place = start;
  for (const part of path) {
    if (typeof part === "number") place += `[${part}]`;
    else place += place === "" ? String(part) : `.${String(part)}`;
    if (free.has(part)) break;
  }
  return place === "" ? "body" : place;
}

/** An issue of a schema as a problem. A schema's own refusals have their code as message. */
export function problemOf(issue: z.core.$ZodIssue, start = ""): ReportProblem {
  return { place: placeOf(issue.path, start), code: issue.code === "custom" ? issue.message : issue.code };
}
