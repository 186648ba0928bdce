/** What a report is about: what the credentials say, completed by the parameters of the request. */

import { z } from "zod";
import type { Wrong } from "./answers.ts";
import { describeIssue } from "./facts.ts";
import type { Job } from "./identity/issuers.ts";
import type { Context } from "./reports/mod.ts";

const word = z.string().max(255).regex(/^[^\p{Cc}]+$/u);
const number = z.string().regex(/^[1-9][0-9]{0,8}$/).transform(Number);

/** The parameters of a report's address. An empty one is as good as none, so that a script may name them all. */
export const parameterSchema = z.strictObject({
  repository: z.string().max(1000).regex(/^(?:[a-z0-9]+(?:-[a-z0-9]+)*:[^\p{Cc}]{1,255}|\/\/[^\p{Cc}\s]{3,1000})$/u)
    .transform((reference) => reference.startsWith("//") ? reference.toLowerCase() : reference).optional()
    .describe("The repository: <source>:<the provider's number of it>, or //<host>/<path> in lower case"),
  commit: z.string().regex(/^[0-9a-f]{7,64}$/i).transform((sha) => sha.toLowerCase()).optional()
    .describe("The sha of the commit that was tested or checked, 7 to 64 hexadecimal digits"),
  branch: word.optional().describe("The branch that it is on, up to 255 characters"),
  run: word.optional().describe("The id that the CI system gave the run, up to 255 characters"),
  attempt: number.optional().describe("The number of the run's attempt, from 1"),
  pull_request: number.optional().describe("The number of the pull request or merge request, from 1"),
  pipeline: word.optional().describe("The name of the workflow or pipeline, up to 255 characters"),
  job: word.optional().describe("The name of the job, up to 255 characters"),
  suite: word.optional().describe("A name that tells several reports of one job apart, up to 255 characters"),
  environment: word.optional().describe("The environment that was tested or measured, up to 255 characters"),
  url: z.string().max(1000).regex(/^https?:\/\/[^\s/]\S*$/).optional().describe(
    "Where a person can see more: an http address",
  ),
});
export type Parameters = z.infer<typeof parameterSchema>;

/** Added to addresses by the platform's clients, and none of ours. */
const PLATFORM_PARAMETER = "forceFunctionRegion";

const known = `Parameters are ${Object.keys(parameterSchema.shape).join(", ")}.`;
const describe = (name: string) => parameterSchema.shape[name as keyof Parameters].description;

/** Reads the parameters of an address; or names those that are wrong. */
export function readParameters(url: string): { parameters: Parameters } | { wrong: Wrong[] } {
  const at = url.indexOf("?");
  const given: Record<string, string> = {};
  const wrong: Wrong[] = [];
  for (const [name, value] of new URLSearchParams(at < 0 ? "" : url.slice(at))) {
    if (name === PLATFORM_PARAMETER || value === "") continue;
    if (!Object.hasOwn(parameterSchema.shape, name)) {
      wrong.push({ place: "parameters", code: "unrecognized_keys", detail: known });
    } else if (Object.hasOwn(given, name)) wrong.push({ place: name, code: "said_twice", detail: describe(name) });
    else given[name] = value;
  }
  const { data, error } = parameterSchema.safeParse(given);
  for (const issue of error?.issues ?? []) {
    const [place, code] = describeIssue(issue).split(": ") as [string, string];
    wrong.push({ place, code, detail: describe(place) });
  }
  return wrong.length > 0 ? { wrong } : { parameters: data! };
}

/**
 * Completes what a job's credentials say by what the parameters say. A parameter that says otherwise than the issuer is refused; so is a
 * report of which nobody says the repository.
 *
 * @param onlyRepository the repository of whoever may tell about one alone
 */
export function contextOf(
  { said, otherwise }: Job,
  parameters: Parameters,
  onlyRepository: string | null,
): { context: Context } | { contradicted: Wrong[] } | { missing: Wrong[] } {
  const given: { [K in keyof Parameters]-?: keyof Context } = {
    repository: "repository",
    commit: "commitSha",
    branch: "branch",
    run: "runExternalId",
    attempt: "attempt",
    pull_request: "pullRequestNumber",
    pipeline: "pipeline",
    job: "job",
    suite: "suite",
    environment: "environment",
    url: "url",
  };
  const asked: Partial<Record<keyof Context, string | number>> = {};
  const contradicted: Wrong[] = [];
  for (const [parameter, name] of Object.entries(given) as [keyof Parameters, keyof Context][]) {
    const value = parameters[parameter];
    if (value === undefined) continue;
    asked[name] = value;
    if (said[name] !== undefined && said[name] !== value) {
      contradicted.push({
        place: parameter,
        code: "credentials_say_otherwise",
        detail: "The credentials say it already: leave the parameter out.",
      });
    }
  }
  if (contradicted.length > 0) return { contradicted };
  const all = { ...otherwise, ...asked, ...said } as Partial<Context>;
  const repository = all.repository ?? onlyRepository;
  if (repository === null) {
    return { missing: [{ place: "repository", code: "required", detail: describe("repository") }] };
  }
  return {
    context: {
      repository,
      commitSha: all.commitSha ?? null,
      branch: all.branch ?? null,
      runExternalId: all.runExternalId ?? null,
      attempt: all.attempt ?? null,
      pullRequestNumber: all.pullRequestNumber ?? null,
      pipeline: all.pipeline ?? null,
      jobExternalId: all.jobExternalId ?? null,
      job: all.job ?? null,
      suite: all.suite ?? null,
      environment: all.environment ?? null,
      observedAt: all.observedAt ?? null,
      url: all.url ?? null,
    },
  };
}
