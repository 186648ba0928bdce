import { assert, assertEquals } from "@std/assert";
import { contextOf, parameterSchema, readParameters } from "./context.ts";

const address = "https://project.test/functions/v1/ingest-metrics/github/junit";
const read = (query: string) => readParameters(`${address}${query}`);
const wrong = (query: string) => {
  const result = read(query);
  return "wrong" in result ? result.wrong : [];
};
const parameters = (query: string) => {
  const result = read(query);
  if ("wrong" in result) throw new Error(JSON.stringify(result));
  return result.parameters;
};
const nothing = { said: {}, otherwise: {} };

Deno.test("every parameter is read, an empty one is none, and the platform's own is passed over", () => {
  const query =
    "?repository=github:1&commit=0F3C1D2E&branch=a%2Fb&run=7&attempt=2&pull_request=3&pipeline=CI&job=test%20(1)" +
    "&suite=unit&environment=staging&url=https://ci.test/7&forceFunctionRegion=eu-west-1";
  assertEquals(parameters(query), {
    repository: "github:1",
    commit: "0f3c1d2e",
    branch: "a/b",
    run: "7",
    attempt: 2,
    pull_request: 3,
    pipeline: "CI",
    job: "test (1)",
    suite: "unit",
    environment: "staging",
    url: "https://ci.test/7",
  });
  assertEquals(parameters(""), {});
  assertEquals(parameters("?commit=&pull_request=&suite"), {});
  assertEquals(parameters("?repository=//GitHub.com/Acme/App").repository, "//github.com/acme/app");
  // A Host header that is none.
  assertEquals(readParameters("http://[/ingest-metrics/github/junit?suite=a"), { parameters: { suite: "a" } });
});

Deno.test("a parameter that is wrong is named, with what would be right", () => {
  const queries: [string, string, string][] = [
    ["?repository=acme/app", "repository", "invalid_format"],
    ["?repository=//github.com/a%20b", "repository", "invalid_format"],
    ["?repository=GitHub:1", "repository", "invalid_format"],
    ["?commit=main", "commit", "invalid_format"],
    ["?commit=0f3c1d", "commit", "invalid_format"],
    ["?branch=a%00b", "branch", "invalid_format"],
    [`?suite=${"x".repeat(256)}`, "suite", "too_big"],
    ["?attempt=0", "attempt", "invalid_format"],
    ["?attempt=1.5", "attempt", "invalid_format"],
    ["?pull_request=99999999999", "pull_request", "invalid_format"],
    ["?url=javascript:alert(1)", "url", "invalid_format"],
    ["?url=https://", "url", "invalid_format"],
    ["?suite=a&suite=b", "suite", "said_twice"],
    ["?sha=1", "parameters", "unrecognized_keys"],
    ["?__proto__=1", "parameters", "unrecognized_keys"],
  ];
  for (const [query, place, code] of queries) {
    const [{ detail, ...first } = { detail: "" }] = wrong(query);
    assertEquals(first, { place, code }, query);
    assert(detail!.length > 10, query);
    if (place !== "parameters") assertEquals(detail, parameterSchema.shape[place as "commit"].description, query);
  }
  const places = wrong("?commit=x&attempt=x&nothing=x").map((one) => one.place);
  assertEquals(places.sort(), ["attempt", "commit", "parameters"]);
});

Deno.test("parameters complete what the credentials say, and what both say must agree", () => {
  const job = {
    said: { repository: "github:1", commitSha: "0f3c1d2e", runExternalId: "7", observedAt: "2026-01-05T09:00:00Z" },
    otherwise: { url: "https://ci.test/7", job: "test" },
  };
  const complete = contextOf(job, parameters("?commit=0F3C1D2E&job=build&suite=unit"), null);
  assertEquals(complete, {
    context: {
      repository: "github:1",
      commitSha: "0f3c1d2e",
      branch: null,
      runExternalId: "7",
      attempt: null,
      pullRequestNumber: null,
      pipeline: null,
      jobExternalId: null,
      job: "build",
      suite: "unit",
      environment: null,
      observedAt: "2026-01-05T09:00:00Z",
      url: "https://ci.test/7",
    },
  });
  const other = contextOf(job, parameters("?repository=github:2&commit=0f3c1d2f&run=7&url=https://a.test"), null);
  const told = "contradicted" in other ? other.contradicted : [];
  assertEquals(told.map(({ place, code }) => [place, code]), [
    ["repository", "credentials_say_otherwise"],
    ["commit", "credentials_say_otherwise"],
  ]);
});

Deno.test("a report is about a repository: the one that is said, or the only one that may be told about", () => {
  const repository = (query: string, only: string | null) => {
    const result = contextOf(nothing, parameters(query), only);
    if ("context" in result) return result.context.repository;
    return "missing" in result ? result.missing.map(({ place, code }) => `${place}: ${code}`) : result;
  };
  assertEquals(repository("", "github:1"), "github:1");
  assertEquals(repository("?repository=github:2", "github:1"), "github:2");
  assertEquals(repository("", null), ["repository: required"]);
});
