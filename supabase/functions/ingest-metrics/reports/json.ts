/** JSON of reports: parsed within bounds, and places in it in words and numbers of ours. */

import { z } from "zod";
import type { ReportProblem } from "./mod.ts";
import type { Problems } from "./problems.ts";

/** More values than this would take more memory than a function has. */
const MAX_VALUES = 1_000_000;

/** The value of a text, or a code. */
export function parseJson(text: string): { value: unknown } | { unreadable: string } {
  if (text.length > MAX_VALUES && countValues(text) > MAX_VALUES) {
    return { unreadable: "json_too_many_values" };
  }
  try {
    return { value: JSON.parse(text) };
  } catch {
    return { unreadable: "not_json" };
  }
}

/** Objects, arrays and what commas part, outside of texts. */
function countValues(text: string): number {
  let count = 0;
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case 0x2c: // ,
      case 0x5b: // [
      case 0x7b: // {
        count++;
        break;
      case 0x22: // "
        at = endOfText(text, at);
    }
  }
  return count;
}

/** Where a text ends that begins there: at a quote behind an even number of backslashes. */
function endOfText(json: string, start: number): number {
  for (let end = json.indexOf('"', start + 1); end >= 0; end = json.indexOf('"', end + 1)) {
    let before = end;
    while (json.charCodeAt(before - 1) === 0x5c) before--;
    if ((end - before) % 2 === 0) return end;
  }
  return json.length;
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

/**
 * Adds what is wrong with a value, and stops when the problems are full: a schema by itself makes an issue of every wrong item, however
 * many there are. For schemas that change nothing of what they take.
 */
export function addProblems(
  problems: Problems,
  schema: z.core.$ZodType,
  value: unknown,
  path: readonly PropertyKey[] = [],
): void {
  if (problems.isFull) return;
  if (schema instanceof z.ZodOptional) {
    if (value !== undefined) addProblems(problems, schema.unwrap(), value, path);
  } else if (schema instanceof z.ZodNullable) {
    if (value !== null) addProblems(problems, schema.unwrap(), value, path);
  } else if (schema instanceof z.ZodArray && Array.isArray(value)) {
    for (let index = 0; index < value.length && !problems.isFull; index++) {
      addProblems(problems, schema.element, value[index], [...path, index]);
    }
  } else if (schema instanceof z.ZodObject && isObject(value)) {
    for (const [name, member] of Object.entries(schema.shape)) {
      addProblems(problems, member, value[name], [...path, name]);
    }
  } else if (schema instanceof z.ZodRecord && isObject(value)) {
    for (const name in value) {
      if (problems.isFull) return;
      addProblems(problems, schema.valueType, value[name], [...path, name]);
    }
  } else {
    for (const issue of z.safeParse(schema, value).error?.issues ?? []) {
      const { place, code } = problemOf({ ...issue, path: [...path, ...issue.path] });
      problems.add(place, code);
    }
  }
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
