/** Bodies between bytes and JSON: parsed once they are proven, and written again only where something had to be removed. */

import type { ContentType } from "./sources/mod.ts";

/** More objects and arrays than this would take more memory than a function has; no delivery that was seen has a tenth of it. */
const MAX_CONTAINERS = 1_000_000;

/** Levels that are kept where a body is nested too deeply to be written again. */
const KEPT_LEVELS = 100;

/** The content type without its parameters, in lower case; empty where there is none. */
export function contentTypeOf(headers: Headers): string {
  return (headers.get("content-type") ?? "").split(";", 1)[0]!.trim().toLowerCase();
}

/**
 * The JSON object in a body, which a form carries in its field `payload`, or the array that is a batch; or why there is none. `hides` says that
 * the bytes hold more than the value shows: a name that comes twice in one object, of which the last counts, or another field of a form.
 */
export function parseBody(
  contentType: ContentType,
  bytes: Uint8Array,
): { value: object; hides: boolean } | { wrong: string } {
  if (bytes.length > MAX_CONTAINERS && countContainers(bytes) > MAX_CONTAINERS) {
    return { wrong: `body: more than ${MAX_CONTAINERS} objects and arrays` };
  }
  let text: string | null;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return { wrong: "body: not UTF-8" };
  }
  let fields = 1;
  if (contentType === "application/x-www-form-urlencoded") {
    const form = new URLSearchParams(text);
    fields = form.size;
    text = form.get("payload");
    if (text === null) return { wrong: "body: a form without the field payload" };
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { wrong: "body: not JSON" };
  }
  const mayBeArray = contentType === "application/cloudevents-batch+json";
  if (typeof value !== "object" || value === null || (Array.isArray(value) && !mayBeArray)) {
    return { wrong: "body: not an object" };
  }
  return { value, hides: fields > 1 || countColons(text) > countMembers(value) };
}

/** Colons outside of strings: one a member. */
function countColons(json: string): number {
  let count = 0;
  for (let at = 0; at < json.length; at++) {
    const code = json.charCodeAt(at);
    if (code === 0x3a) count++;
    else if (code === 0x22) {
      do at = json.indexOf('"', at + 1); while (isEscaped(json, at));
    }
  }
  return count;
}

function isEscaped(json: string, at: number): boolean {
  let backslashes = 0;
  while (json.charCodeAt(at - 1 - backslashes) === 0x5c) backslashes++;
  return backslashes % 2 === 1;
}

function countMembers(value: object): number {
  let count = 0;
  const containers = [value];
  for (let container = containers.pop(); container; container = containers.pop()) {
    const members = Object.values(container);
    if (!Array.isArray(container)) count += members.length;
    for (const member of members) if (typeof member === "object" && member !== null) containers.push(member);
  }
  return count;
}

function countContainers(bytes: Uint8Array): number {
  let count = 0;
  for (const byte of bytes) if (byte === 0x5b || byte === 0x7b) count++;
  return count;
}

/**
 * Removes the members at these dotted paths from a parsed body, or from each item of one that is an array. False when there was nothing to
 * remove: absent, null or empty.
 */
export function redact(body: object, paths: readonly string[]): boolean {
  let isChanged = false;
  if (Array.isArray(body)) {
    for (const item of body) {
      if (typeof item === "object" && item && !Array.isArray(item) && redact(item, paths)) isChanged = true;
    }
    return isChanged;
  }
  for (const path of paths) {
    const names = path.split(".");
    const last = names.pop()!;
    let parent: unknown = body;
    for (const name of names) parent = member(parent, name);
    const value = member(parent, last);
    if (value === undefined || value === null || value === "") continue;
    if (typeof value === "object" && Object.keys(value).length === 0) continue;
    delete (parent as Record<string, unknown>)[last];
    isChanged = true;
  }
  return isChanged;
}

function member(value: unknown, name: string): unknown {
  if (typeof value !== "object" || value === null || !Object.hasOwn(value, name)) return undefined;
  return (value as Record<string, unknown>)[name];
}

/** A parsed body as bytes again, in the form that it came in. */
export function writeBody(contentType: ContentType, value: object): Uint8Array {
  let text: string;
  try {
    text = JSON.stringify(value);
  } catch {
    prune(value);
    text = JSON.stringify(value);
  }
  const isForm = contentType === "application/x-www-form-urlencoded";
  return new TextEncoder().encode(isForm ? `payload=${encodeURIComponent(text.toWellFormed())}` : text);
}

/** Cuts what lies deeper than {@link KEPT_LEVELS}: JSON can be read at any depth, but not written. */
function prune(value: object): void {
  let level: object[] = [value];
  for (let depth = 1; level.length > 0; depth++) {
    const next: object[] = [];
    for (const container of level) {
      for (const [name, inner] of Object.entries(container)) {
        if (typeof inner !== "object" || inner === null) continue;
        if (depth < KEPT_LEVELS) next.push(inner);
        else (container as Record<string, unknown>)[name] = null;
      }
    }
    level = next;
  }
}
