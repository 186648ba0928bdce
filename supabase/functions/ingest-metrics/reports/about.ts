/** What a number is about: the part that the context tells. */

import type { Observation } from "../facts.ts";
import type { Context } from "./mod.ts";

/** A measurement with what the context says: it wins over what the sender says of the same name. */
export function numberFact(
  context: Context,
  fact: Omit<Observation<"measurements">, "repository" | "observed_at">,
): Observation<"measurements"> {
  const about = attributesOf(context);
  return {
    repository: context.repository,
    observed_at: context.observedAt,
    measured_at: context.observedAt,
    ...fact,
    attributes: { ...about, ...fact.attributes, ...about },
  };
}

/** What a number or a check is about, by the names that attributes have; what is not known is left out. */
function attributesOf(context: Context): Record<string, string | number> {
  const named = {
    commit: context.commitSha,
    branch: context.branch,
    run: context.runExternalId,
    attempt: context.attempt,
    pull_request: context.pullRequestNumber,
    pipeline: context.pipeline,
    job: context.job,
    suite: context.suite,
    environment: context.environment,
  };
  const known = Object.entries(named).filter((entry): entry is [string, string | number] => entry[1] !== null);
  return Object.fromEntries(known);
}
