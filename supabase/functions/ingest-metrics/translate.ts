/** What an authentic delivery becomes. One path for what comes over HTTP and for what is replayed. */

import { parseBody, redact, writeBody } from "./body.ts";
import { checkFacts, type Facts } from "./facts.ts";
import type { ContentType, Identified, Source, SourceOptions } from "./sources/mod.ts";

export interface Translated extends Identified {
  result: "stored" | "ignored" | "quarantined";
  /** Why it is not stored, in words without anything of the body; null when it is. */
  reason: string | null;
  /** What normalising changed. */
  notes: string[];
  facts: Facts;
  /** What to keep of the body: the bytes themselves unless something had to be removed; null for what is ignored. */
  body: Uint8Array | null;
}

/**
 * Parses, identifies, translates, checks and redacts the bytes of one authentic delivery. Never throws: what cannot be understood is
 * quarantined with a reason made of paths and codes.
 */
export function translate(
  source: Source,
  contentType: ContentType,
  bytes: Uint8Array,
  identify: (body: unknown) => Identified,
  options: SourceOptions,
): Translated {
  const parsed = parseBody(contentType, bytes);
  const value = "value" in parsed ? parsed.value : undefined;
  const isUnfolded = value !== undefined && source.unfold?.(value);
  const identified = identify(value);
  const quarantined = (reason: string) => ({ result: "quarantined" as const, reason, notes: [], facts: {} });
  const become = () => {
    if ("wrong" in parsed) return quarantined(parsed.wrong);
    if (identified.event === null) return quarantined("headers: not in this provider's manner");
    const translation = source.facts(identified.event, parsed.value, options);
    if ("quarantined" in translation) return quarantined(translation.quarantined);
    if ("ignored" in translation) {
      return { result: "ignored" as const, reason: translation.ignored, notes: [], facts: {} };
    }
    const checked = checkFacts(translation.facts);
    if ("wrong" in checked) return quarantined(checked.wrong);
    const notes = [...translation.notes ?? [], ...checked.notes];
    return { result: "stored" as const, reason: null, notes, facts: checked.facts };
  };
  let became: ReturnType<typeof become>;
  try {
    became = become();
  } catch (error) {
    became = quarantined(`the translation failed: ${error instanceof Error ? error.name : "unknown"}`);
  }
  if (became.result === "ignored") return { ...identified, ...became, body: null };
  // What hides in a text, or behind a name that comes twice, cannot be removed by its path: then what is seen is kept, and nothing else.
  const isRedacted = "value" in parsed && (redact(parsed.value, source.redacted) || parsed.hides || isUnfolded);
  return { ...identified, ...became, body: isRedacted ? writeBody(contentType, parsed.value) : bytes };
}
