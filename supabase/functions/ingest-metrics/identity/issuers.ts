/** Issuers of OIDC tokens, by the CI system whose claims they carry: what a token says about the job that it was made for. */

import type { Context } from "../reports/mod.ts";
import { providerOf } from "../sources/mod.ts";
import { parseTime } from "../times.ts";

/** The claims of a proven token. */
export type Claims = Readonly<Record<string, unknown>>;

/** What a token says about its job. What it does not say is left out. */
export interface Job {
  /** Said by the issuer: nobody may say otherwise. */
  said: Partial<Context>;
  /** Made of what it said, for whoever says nothing better. */
  otherwise: Partial<Context>;
}

type ReadJob = (claims: Claims, issuer: string, source: string) => Job;

/** What is text or a number and not empty, as text that a fact can hold. */
function text(claims: Claims, name: string): string | undefined {
  const claim = claims[name];
  const value = typeof claim === "number" ? String(claim) : claim;
  return typeof value === "string" && /^[^\p{Cc}]{1,255}$/u.test(value) ? value : undefined;
}

const matched = (value: string | undefined, pattern: RegExp) => value && pattern.exec(value)?.[1];
const branchOf = (ref: string | undefined) => matched(ref, /^refs\/heads\/(.+)$/);
const commitOf = (sha: string | undefined) => matched(sha, /^([0-9a-f]{40}|[0-9a-f]{64})$/i)?.toLowerCase();
const numberOf = (digits: string | undefined) =>
  digits && /^[1-9][0-9]{0,8}$/.test(digits) ? Number(digits) : undefined;

/** The reference of a repository of which only the address is known. */
function urlReference(address: string | undefined): string | undefined {
  const url = address?.toLowerCase().replace(/^[a-z]+:\/\//, "").replace(/(?:\.git)?\/*$/, "");
  return url && /^[^/\s@:]+(?::\d+)?\/[^\s?#]+$/.test(url) ? `//${url}` : undefined;
}

/**
 * The repository by the number that the provider gave it. Such a number means nothing to a source of another provider, for which the
 * repository is an address.
 */
function referenceOf(provider: string, source: string, id: string | undefined, address: string | undefined) {
  if (providerOf(source) !== provider) return urlReference(address);
  return id && /^[0-9]+$/.test(id) ? `${source}:${id}` : undefined;
}

/** Removes what is not said, so that one object can be laid over another. */
function said(context: { [K in keyof Context]?: Context[K] | undefined }): Partial<Context> {
  return Object.fromEntries(Object.entries(context).filter(([, value]) => value !== undefined && value !== null));
}

/** Events whose `sha` is not the commit that was tested: a merge that no push carried, or the head of the default branch. */
const otherCommit = /^(?:pull_request(?:_.+)?|workflow_run|issue_comment)$/;

const github: ReadJob = (claims, issuer, source) => {
  const event = text(claims, "event_name");
  const ref = text(claims, "ref");
  const [run, attempt] = [text(claims, "run_id"), numberOf(text(claims, "run_attempt"))];
  const path = text(claims, "repository");
  // The issuer is a server beside that of the pages, or a path on it.
  const host = new URL(issuer).host.replace(/^token\.actions\./, "").replace(/^githubusercontent\.com$/, "github.com");
  const isOther = event === undefined || otherCommit.test(event);
  return {
    said: said({
      repository: referenceOf("github", source, text(claims, "repository_id"), path && `${host}/${path}`),
      commitSha: isOther ? undefined : commitOf(text(claims, "sha")),
      // Of `pull_request_target` the head may be a fork's, whose branches may be called as ours.
      branch: event === "pull_request" ? text(claims, "head_ref") : isOther ? undefined : branchOf(ref),
      runExternalId: run,
      attempt,
      pullRequestNumber: numberOf(matched(ref, /^refs\/pull\/(\d+)\//)),
      pipeline: text(claims, "workflow"),
      jobExternalId: text(claims, "check_run_id"),
      environment: text(claims, "environment"),
    }),
    otherwise: path && run ? { url: `https://${host}/${path}/actions/runs/${run}/attempts/${attempt ?? 1}` } : {},
  };
};

const gitlab: ReadJob = (claims, issuer, source) => {
  const path = text(claims, "project_path");
  // The pipeline of a fork's merge request may run elsewhere than in the fork, whose project the token names.
  const place = text(claims, "job_project_path") ?? path;
  const job = text(claims, "job_id");
  const host = issuer.replace(/^https?:\/\//, "");
  return {
    said: said({
      repository: referenceOf("gitlab", source, text(claims, "project_id"), path && `${host}/${path}`),
      // The pipeline of a merge request may build a merge that no push carried.
      commitSha: text(claims, "pipeline_source") === "merge_request_event" ? undefined : commitOf(text(claims, "sha")),
      branch: text(claims, "ref_type") === "branch" ? text(claims, "ref") : undefined,
      runExternalId: text(claims, "pipeline_id"),
      jobExternalId: job,
      environment: text(claims, "environment"),
    }),
    otherwise: place && job ? { url: `${issuer}/${place}/-/jobs/${job}` } : {},
  };
};

const circleci: ReadJob = (claims) => {
  const own = (name: string) => text(claims, `oidc.circleci.com/${name}`);
  const ref = own("vcs-ref");
  return {
    said: said({
      repository: urlReference(own("vcs-origin")),
      branch: branchOf(ref),
      // What a run is there: a workflow. A pipeline is several of them.
      runExternalId: own("workflow-id"),
      pullRequestNumber: numberOf(matched(ref, /^refs\/pull\/(\d+)\//)),
      jobExternalId: own("job-id"),
    }),
    otherwise: {},
  };
};

const buildkite: ReadJob = (claims) => {
  const [organization, pipeline] = [text(claims, "organization_slug"), text(claims, "pipeline_slug")];
  const [build, job] = [text(claims, "build_number"), text(claims, "job_id")];
  const isBuild = organization && pipeline && build;
  return {
    said: said({
      commitSha: commitOf(text(claims, "build_commit")),
      branch: text(claims, "build_tag") === undefined ? text(claims, "build_branch") : undefined,
      pipeline,
      jobExternalId: job,
    }),
    otherwise: said({
      // The build's own id is no claim.
      runExternalId: isBuild ? `${organization}/${pipeline}/${build}` : undefined,
      job: text(claims, "step_key"),
      url: isBuild
        ? `https://buildkite.com/${organization}/${pipeline}/builds/${build}${job ? `#${job}` : ""}`
        : undefined,
    }),
  };
};

const readers: ReadonlyMap<string, ReadJob> = new Map(Object.entries({ github, gitlab, circleci, buildkite }));

/** Whether there is an issuer that carries this provider's claims. */
export const isIssuing = (provider: string): boolean => readers.has(provider);

/**
 * What the claims of a proven token say about the job that it was made for, to be told to a source. The time is that of the token.
 *
 * @param provider whose claims these are: `github`, `gitlab`, `circleci` or `buildkite`
 */
export function readJob(provider: string, claims: Claims, issuer: string, source: string): Job {
  const { said: told, otherwise } = readers.get(provider)!(claims, issuer, source);
  return { said: { ...told, observedAt: parseTime(claims.iat) }, otherwise };
}
