/**
 * The canonical facts, for senders that speak this project's own words: an object of lists by kind, an array of facts that name their kind, or
 * one such fact a line (NDJSON). All or nothing.
 */

import { checkFacts, type FactKind, type Facts, MAX_FACTS, schemas } from "../facts.ts";
import { isObject, parseJson } from "./json.ts";
import type { Context, Report, Reported } from "./mod.ts";
import { Problems } from "./problems.ts";
import { linesOf } from "./text.ts";

/** One fact as it came, with its place. */
interface Item {
  place: string;
  kind: unknown;
  given: unknown;
}

export const facts: Report = {
  name: "facts",
  contentTypes: ["application/json", "application/x-ndjson"],
  read(text, context) {
    const problems = new Problems();
    const items = itemsOf(text, problems);
    if ("unreadable" in items) return items;
    if (items.list.length > MAX_FACTS) return { refused: [{ place: "body", code: "too_many_facts" }] };
    return factsOf(items.list, problems, context);
  },
};

function itemsOf(text: string, problems: Problems): { list: Item[] } | { unreadable: string } {
  const parsed = parseJson(text);
  if ("value" in parsed) {
    const { value } = parsed;
    if (Array.isArray(value)) return { list: value.map((given, index) => named(`[${index}]`, given)) };
    if (!isObject(value)) return { unreadable: "not_facts" };
    return { list: "kind" in value ? [named("", value)] : byKind(value, problems) };
  }
  if (parsed.unreadable !== "not_json" || !isObject(valueOf(/\S[^\n]*/.exec(text)?.[0] ?? ""))) return parsed;
  const list: Item[] = [];
  let number = 0;
  for (const line of linesOf(text)) {
    number++;
    if (line.trim() === "") continue;
    const given = valueOf(line);
    if (given === undefined) problems.add(`line ${number}`, "not_json");
    else list.push(named(`line ${number}`, given));
    if (list.length > MAX_FACTS || problems.isFull) break;
  }
  return { list };
}

/** Undefined for what is no JSON. */
function valueOf(line: string): unknown {
  const parsed = parseJson(line);
  return "value" in parsed ? parsed.value : undefined;
}

/** A fact that names its kind. */
function named(place: string, given: unknown): Item {
  if (!isObject(given)) return { place, kind: null, given };
  const { kind = null, ...rest } = given;
  return { place, kind, given: rest };
}

/** Lists of facts under the names of their kinds, as `metrics.ingest` takes them. */
function byKind(value: Record<string, unknown>, problems: Problems): Item[] {
  const list: Item[] = [];
  for (const [kind, items] of Object.entries(value)) {
    if (!isKind(kind)) problems.add("body", "kind_unknown");
    else if (!Array.isArray(items)) problems.add(kind, "invalid_type");
    else items.forEach((given, index) => list.push({ place: `${kind}[${index}]`, kind, given }));
  }
  return list;
}

function isKind(kind: unknown): kind is FactKind {
  return typeof kind === "string" && Object.hasOwn(schemas, kind);
}

function factsOf(items: readonly Item[], problems: Problems, context: Context): Reported {
  const facts: Partial<Record<FactKind, Record<string, unknown>[]>> = {};
  for (const { place, kind, given } of items) {
    if (problems.isFull) break;
    const within = (name: string) => place === "" ? name : `${place}.${name}`;
    if (!isObject(given)) problems.add(place || "body", "invalid_type");
    else if (kind === null) problems.add(within("kind"), "missing");
    else if (!isKind(kind)) problems.add(within("kind"), "kind_unknown");
    else {
      const observation = completed(kind, given, context);
      const wrong = wrongOf(kind, observation);
      if (wrong) problems.add(wrong.path === "" ? place || "body" : within(wrong.path), wrong.code);
      else (facts[kind] ??= []).push(observation);
    }
  }
  return problems.found.length > 0 ? { refused: problems.found } : { facts: facts as Facts };
}

/** A fact with what the credentials say: the repository and the time, where it says none itself. */
function completed(kind: FactKind, given: Record<string, unknown>, context: Context): Record<string, unknown> {
  return {
    ...(kind === "incidents" ? {} : { repository: context.repository }),
    ...(context.observedAt === null ? {} : { observed_at: context.observedAt }),
    ...given,
  };
}

/** Why one fact is refused, by its path and a code. */
function wrongOf(kind: FactKind, observation: Record<string, unknown>): { path: string; code: string } | null {
  const checked = checkFacts({ [kind]: [observation] } as Facts);
  if (!("wrong" in checked)) return null;
  const reason = checked.wrong.slice(`${kind}[0].`.length);
  const [, path = "", code = ""] = /^(?:(.*?): )?(.+)$/.exec(reason) ?? [];
  return {
    path: path === "body" ? "" : path.replace(/^attributes\b.*/, "attributes"),
    code: code.startsWith("said without") ? "said_without_its_lead" : code,
  };
}
