/** Named numbers as JSON: one object, or an array of them. */

import { z } from "zod";
import { MAX_FACTS, type Observation } from "../facts.ts";
import { parseTime } from "../times.ts";
import { numberFact } from "./about.ts";
import { lastSegment, segment, shorten, shortHash, uploadId } from "./ids.ts";
import { isObject, parseJson, placeOf, problemOf } from "./json.ts";
import type { Context, Report } from "./mod.ts";
import { Problems } from "./problems.ts";

/** Most attributes that are looked at one by one. */
const MAX_ATTRIBUTES = 1000;

const item = z.strictObject({
  name: z.string().regex(/^[^\p{Cc}]{1,200}$/u).describe("Name of the number: bundle.size"),
  value: z.number().describe("The number"),
  unit: z.string().max(64).optional().describe("Its unit: By, s, %, requests"),
  attributes: z.record(z.string().max(200), z.union([z.string().max(1000), z.number(), z.boolean()])).optional()
    .describe("What it is about, by name; what the credentials say of commit, branch, run and job is added"),
  measured_at: z.union([z.string(), z.number()]).refine((time) => parseTime(time) !== null, { error: "invalid_time" })
    .optional().describe("When: ISO 8601, or seconds since 1970. The time of the credentials when absent"),
  id: z.string().regex(/^[^\p{Cc}]{1,200}$/u).optional()
    .describe("The sender's own id: a later number of the same name and id takes the place of this one"),
}).meta({ id: "measurement" });

/** The body of the report `measurements`. */
export const measurementsBody = z.union([item, z.array(item).max(MAX_FACTS)]).meta({
  title: "Measurements",
  description: "Named numbers, one or several.",
});

export const measurements: Report = {
  name: "measurements",
  contentTypes: ["application/json"],
  read(text, context) {
    const parsed = parseJson(text);
    if ("unreadable" in parsed) return parsed;
    const isList = Array.isArray(parsed.value);
    const items: unknown[] = isList ? parsed.value as unknown[] : [parsed.value];
    if (items.length > MAX_FACTS) return { refused: [{ place: "body", code: "too_many_facts" }] };
    const problems = new Problems();
    const ids = new Set<string>();
    const facts: Observation<"measurements">[] = [];
    for (const [index, given] of items.entries()) {
      if (problems.isFull) break;
      const place = isList ? `[${index}]` : "";
      if (isObject(given) && isObject(given.attributes) && Object.keys(given.attributes).length > MAX_ATTRIBUTES) {
        problems.add(placeOf(["attributes"], place), "too_big");
        continue;
      }
      const { data, error } = item.safeParse(given);
      if (error) {
        for (const issue of error.issues) {
          const { place: where, code } = problemOf(issue, place);
          problems.add(where, code);
        }
        continue;
      }
      const fact = measurement(data, context);
      if (fact === null) problems.add(place || "body", "run_commit_id_or_time_missing");
      else if (ids.has(`${fact.name}\n${fact.external_id}`)) problems.add(place, "duplicate");
      else {
        ids.add(`${fact.name}\n${fact.external_id}`);
        facts.push(fact);
      }
    }
    return problems.found.length > 0 ? { refused: problems.found } : { facts: { measurements: facts } };
  },
};

/** Null where nothing tells this number from the one of the next upload. */
function measurement(given: z.infer<typeof item>, context: Context): Observation<"measurements"> | null {
  const upload = uploadId(context);
  const measuredAt = given.measured_at === undefined ? undefined : parseTime(given.measured_at);
  let externalId: string;
  if (given.id !== undefined) externalId = `id/${lastSegment(given.id)}`;
  else if (upload === null && measuredAt === undefined) return null;
  else {
    const about = Object.entries(given.attributes ?? {}).sort(([one], [other]) => one < other ? -1 : 1);
    const hash = shortHash(JSON.stringify([about, measuredAt ?? null]));
    externalId = `${upload ?? "-"}/${segment(context.suite ?? "-")}/${hash}`;
  }
  return numberFact(context, {
    name: given.name,
    external_id: shorten(externalId),
    value: given.value,
    unit: given.unit ?? null,
    attributes: given.attributes ?? {},
    ...(measuredAt === undefined ? {} : { measured_at: measuredAt }),
  });
}
