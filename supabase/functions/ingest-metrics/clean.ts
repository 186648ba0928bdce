/**
 * Makes values fit the columns that they go to. What a sender writes into a title or a number must never refuse its delivery, and
 * nothing that a fact may not carry gets through: each change is told to `note`, in words without the value.
 */

import { createHash } from "node:crypto";
import { parseTime } from "./times.ts";

/** Takes a value as a source gave it; returns what the column can hold, and tells what had to be changed. */
export type Clean = (value: unknown, note: (what: string) => void) => unknown;

/** Longest text of a column, in bytes of UTF-8. */
export const MAX_TEXT_BYTES = 4096;
/** Longest part of a key, in bytes of UTF-8: what an index row can hold, with room for a second one. */
export const MAX_KEY_BYTES = 1024;
/** Longest list of a column. */
export const MAX_ITEMS = 10_000;

// The mark is looked for first and what stands before it backwards, in bounded parts: no text makes the search slow. No dot and letters
// behind the mark, no address: actions/checkout@v4 stays.
const emailAddress =
  /(?:@|%40)(?<=(?<local>"[^"\n]{1,64}"|[^\s@<>()[\]",;:\\/]{1,256})(?:@|%40))(?:[\p{L}\p{N}](?:[\p{L}\p{N}\p{M}-]{0,62})?\.){1,10}\p{L}{2,63}/giu;
/** No e-mail address is longer. */
const MAX_EMAIL = 1000;

const encoder = new TextEncoder();
const room = new Uint8Array(MAX_TEXT_BYTES);

/** Text that Postgres can hold, without an e-mail address, cut at {@link MAX_TEXT_BYTES} and never inside a code point. */
export const cleanText: Clean = (value, note) => {
  if (typeof value !== "string") return value;
  let text = value;
  if (!text.isWellFormed()) {
    text = text.toWellFormed();
    note("had lone surrogates");
  }
  if (text.includes("\0")) {
    text = text.replaceAll("\0", "\ufffd");
    note("had NUL");
  }
  if (text.includes("@") || text.includes("%40")) text = withoutAddresses(text, note);
  if (text.length * 3 <= MAX_TEXT_BYTES) return text;
  const { read } = encoder.encodeInto(text, room);
  if (read === text.length) return text;
  note(`cut at ${MAX_TEXT_BYTES} bytes`);
  return text.slice(0, read);
};

function withoutAddresses(text: string, note: (what: string) => void): string {
  // Only what can be kept is searched. An address on its border would go unseen, so the border is taken off again.
  const searched = text.slice(0, MAX_TEXT_BYTES + 2 * MAX_EMAIL);
  let replaced = "";
  let end = 0;
  for (const { index, 0: host, groups } of searched.matchAll(emailAddress)) {
    const start = Math.max(end, index - groups!.local!.length);
    // Nothing but an address before it: both are one.
    if (start < index) replaced += `${searched.slice(end, start)}[e-mail]`;
    end = index + host.length;
  }
  replaced += searched.slice(end);
  if (replaced !== searched) note("had an e-mail address");
  if (searched.length < text.length) {
    replaced = replaced.slice(0, -MAX_EMAIL).replace(/[\ud800-\udbff]$/, "");
    note(`cut at ${MAX_TEXT_BYTES} bytes`);
  }
  return replaced;
}

/** The first 16 hexadecimal digits of the SHA-256 of a text. */
export function shortHash(text: string): string {
  return createHash("sha256").update(text.toWellFormed()).digest("hex").slice(0, 16);
}

/** Text of at most so many bytes of UTF-8. A longer one ends in `~` and its hash, so that what differs stays different. */
export function shorten(text: string, maxBytes: number = MAX_KEY_BYTES): string {
  if (text.length * 3 <= maxBytes) return text;
  const space = new Uint8Array(maxBytes);
  if (encoder.encodeInto(text, space).read === text.length) return text;
  return marked(text, shortHash(text), maxBytes);
}

/** As much of a text as leaves room for `~` and a hash behind it. */
function marked(text: string, hash: string, maxBytes: number): string {
  const { read } = encoder.encodeInto(text, new Uint8Array(maxBytes - 1 - hash.length));
  return `${text.slice(0, read)}~${hash}`;
}

/**
 * Text of a key, or of a name that is one elsewhere. Where cleaning takes something from it, `~` and a hash of the whole follow, so that
 * what differs stays different. The hash of a text with an e-mail address is no e-mail address, and nothing leads from it to one.
 */
export const cleanKey: Clean = (value, note) => {
  const cleaned = cleanText(value, note);
  if (typeof value !== "string" || typeof cleaned !== "string" || cleaned === value) return cleaned;
  // What had to be cut is too long for any key. As JSON, lone surrogates do not hash alike.
  return value.length > MAX_TEXT_BYTES ? cleaned : marked(cleaned, shortHash(JSON.stringify(value)), MAX_KEY_BYTES);
};

/** A commit's name in lower case; null for all zeros, which means that there is none, and for what is no such name. */
export const cleanSha: Clean = (value, note) => {
  if (typeof value !== "string") return value;
  const sha = value.toLowerCase();
  if (!/^[0-9a-f]{7,64}$/.test(sha)) {
    note("is no commit sha");
    return null;
  }
  return /^0+$/.test(sha) ? null : sha;
};

/** An instant as canonical text; null outside the years that can be meant. */
export const cleanTime: Clean = (value, note) => {
  if (value === null || value === undefined) return value;
  const time = parseTime(value);
  if (time === null) note("is no time that can be kept");
  return time;
};

/** An http address without user and password; null for anything else, because pages show it as a link. */
export const cleanUrl: Clean = (value, note) => {
  if (typeof value !== "string") return value;
  if (!/^https?:\/\/[^/]/i.test(value) || value.length > MAX_TEXT_BYTES) {
    if (value !== "") note("is no http address");
    return null;
  }
  const bare = value.replace(/^(https?:\/\/)[^/?#]*@/i, "$1");
  if (bare !== value) note("had user information");
  return cleanText(bare, note);
};

/** A number within a range; null outside, and for fractions where the column holds whole numbers. */
export function cleanNumber(least: number, greatest: number, whole: boolean): Clean {
  return (value, note) => {
    if (typeof value !== "number") return value;
    if (value >= least && value <= greatest && (!whole || Number.isInteger(value))) return value;
    note("is out of range");
    return null;
  };
}

/** A list whose items are cleaned each; items that cannot be kept are left out. */
export function cleanList(cleanItem: Clean): Clean {
  return (value, note) => {
    if (!Array.isArray(value)) return value;
    if (value.length > MAX_ITEMS) note(`cut at ${MAX_ITEMS} items`);
    const items = [];
    for (const item of value.length > MAX_ITEMS ? value.slice(0, MAX_ITEMS) : value) {
      const cleaned = cleanItem(item, note);
      if (cleaned !== null && cleaned !== undefined) items.push(cleaned);
    }
    return items;
  };
}

/** An object whose named members are cleaned each; what has no rule is left out. */
export function cleanObject(rules: Readonly<Record<string, Clean>>): Clean {
  return (value, note) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
    const cleaned: Record<string, unknown> = {};
    for (const [name, clean] of Object.entries(rules)) {
      const member = (value as Record<string, unknown>)[name];
      if (member !== undefined) cleaned[name] = clean(member, (what) => note(`${name} ${what}`));
    }
    return cleaned;
  };
}

/** An object of free names with plain values; names and texts are cleaned, values of other types are left out. */
export const cleanAttributes: Clean = (value, note) => {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  const cleaned: [string, unknown][] = [];
  for (const [name, member] of Object.entries(value)) {
    if (member !== null && !["string", "number", "boolean"].includes(typeof member)) {
      note("has a member that is no plain value");
    } else if (!Number.isFinite(member) && typeof member === "number") note("is out of range");
    else cleaned.push([cleanText(name, note) as string, cleanText(member, note)]);
    if (cleaned.length === 100) break;
  }
  if (Object.keys(value).length > 100) note("cut at 100 members");
  return Object.fromEntries(cleaned);
};
