/** What several sources need: shapes of fields, what the message of a commit says, and what to do with a body that does not fit. */

import { z } from "zod";
import { describeIssue, type Outcome, type Status } from "../facts.ts";
import { parseTime } from "../times.ts";

/** A value that a sender may leave out, or say to be nothing. */
export type Text = string | null | undefined;

/** What a word of a provider's says about progress. */
export type Progress = readonly [status: Status | null, outcome: Outcome | null];
/** Words by the field that they stand in, each with what it says. */
export type OutcomeTable = Readonly<Record<string, Readonly<Record<string, Progress>>>>;

// Only what is used is named in a schema, and everything may be absent that a provider, or an older server of it, leaves out.
export const id = z.int().min(0).transform(String);
export const text = z.string().nullish();
export const yesNo = z.boolean().nullish();
export const anyNumber = z.custom<number>((value) => typeof value === "number").nullish();
export const time = z.union([z.string(), z.number().transform(String)]).nullish();

/** Reads what a schema names of a body; or says what does not fit, by paths and codes. */
export function read<T>(schema: z.ZodType<T>, body: unknown): { read: T } | { quarantined: string } {
  const parsed = schema.safeParse(body);
  if (parsed.success) return { read: parsed.data };
  return { quarantined: parsed.error.issues.slice(0, 3).map(describeIssue).join(", ") };
}

/** Names of events, separated by spaces, by the reason why they carry no fact: turned round to the reason of each name. */
export function reasonsByName(namesByReason: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(namesByReason).flatMap(([reason, names]) => names.trim().split(/\s+/).map((name) => [name, reason])),
  );
}

/** An event with its action after a dot, where the action is a word. */
export function withAction(event: string, action: unknown): string {
  return typeof action === "string" && /^[A-Za-z0-9_-]{1,64}$/.test(action) ? `${event}.${action}` : event;
}

/** The first line of a commit's message. */
export function titleOf(message: Text): string | undefined {
  return message?.split("\n", 1)[0]?.trimEnd();
}

/** The commits that a message says it reverts; undefined where there is no message. */
export function revertsOf(message: Text): string[] | undefined {
  if (message === null || message === undefined) return undefined;
  return [...message.matchAll(/\bThis reverts commit ([0-9a-f]{40}(?:[0-9a-f]{24})?)\b/gi)].map((match) => match[1]!);
}

/** Paths that a commit adds, changes or removes, each once, sorted; undefined where it lists none of the three. */
export function changedPathsOf(...lists: (readonly string[] | null | undefined)[]): string[] | undefined {
  if (lists.every((list) => !list)) return undefined;
  return [...new Set(lists.flatMap((list) => list ?? []))].sort();
}

/** Whether a commit's name is all zeros: there is none. */
export function isNoCommit(sha: string): boolean {
  return /^0+$/.test(sha);
}

/** The instant so many seconds after a time, or before it; undefined where one of the two is not known. */
export function shiftTime(from: Text, seconds: number | null | undefined): string | undefined {
  const instant = parseTime(from);
  if (instant === null || typeof seconds !== "number" || !Number.isFinite(seconds)) return undefined;
  const shifted = new Date(Date.parse(instant) + Math.round(seconds * 1000));
  return Number.isNaN(shifted.getTime()) ? undefined : parseTime(shifted.toISOString()) ?? undefined;
}

/** The earliest of these times; undefined where none is known. */
export function earliestOf(times: Iterable<Text>): string | undefined {
  return Array.from(times, parseTime).filter((time) => time !== null)
    .sort((a, b) => Date.parse(a) - Date.parse(b))[0];
}

/** No address is longer: more would take longer to read than it is worth. */
export const LONGEST_URL = 2048;

/** `//host/path` of what is the URL of something; null for what is none, and where there is no path. */
export function urlReference(given: string): string | null {
  const url = normalisedUrl(given);
  return url !== null && /^[^/\s]+\/[^\s\p{Cc}]+$/u.test(url) ? `//${url}` : null;
}

/** `host/path` as `metrics.normalised_url` has it, of what looks like a URL: it has a scheme, a user, or a dot in its host. */
export function normalisedUrl(given: string): string | null {
  if (given.length > LONGEST_URL) return null;
  const lower = given.trim().toLowerCase().replace(/[?#].*$/s, "");
  const looksRight = /^(?:[a-z][a-z0-9+.-]*:)?\/\/[^/]|^[^/@:\s]+@[^/:\s]+[:/]|^[a-z0-9-]+(?:\.[a-z0-9-]+)+(?:[:/]|$)/;
  if (!looksRight.test(lower)) return null;
  const bare = lower.replace(/^(?:(?:[a-z][a-z0-9+.-]*:)?\/\/)?(?:[^/@]*@)?/, "");
  const path = withoutLastSlashes(bare.replace(/^([^/:]+):(?!\d+(?:\/|$))/, "$1/"));
  return path.endsWith(".git") ? withoutLastSlashes(path.slice(0, -".git".length)) : path;
}

/** A pattern for this would look for the end behind every slash. */
function withoutLastSlashes(text: string): string {
  let end = text.length;
  while (text[end - 1] === "/") end--;
  return text.slice(0, end);
}
