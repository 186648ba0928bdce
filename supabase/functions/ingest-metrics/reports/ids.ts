/** Ids of what is reported: made of the context, so that the same upload again makes the same facts. */

import { shorten } from "../clean.ts";
import type { Context } from "./mod.ts";

export { shorten, shortHash } from "../clean.ts";

/** What tells the uploads apart: `<run or commit>/<attempt>/<job or ->`; null where neither run nor commit is known. */
export function uploadId(context: Context): string | null {
  const subject = context.runExternalId ?? context.commitSha;
  if (subject === null) return null;
  return [subject, String(context.attempt ?? 1), context.jobExternalId ?? context.job ?? "-"].map(segment).join("/");
}

/** A part of an id, without the characters that part ids. */
export function segment(text: string): string {
  return text.replace(/[%/#]/g, (char) => encodeURIComponent(char));
}

/** The last part of an id, in which slashes may stay. */
export function lastSegment(text: string): string {
  return text.replace(/[%#]/g, (char) => encodeURIComponent(char));
}

/** Takes a name and returns it, or with ` #2`, ` #3` behind it when it was taken before. */
export class Occurrences {
  #taken = new Map<string, number>();

  next(name: string, mark = " #"): string {
    for (;;) {
      const count = (this.#taken.get(name) ?? 0) + 1;
      this.#taken.set(name, count);
      if (count === 1) return name;
      const numbered = shorten(`${name}${mark}${count}`);
      if (!this.#taken.has(numbered)) {
        this.#taken.set(numbered, 1);
        return numbered;
      }
    }
  }
}
