import { assertEquals } from "@std/assert";
import { isIssuing, readJob } from "./issuers.ts";

const iat = 1_767_603_600;
const observedAt = "2026-01-05T09:00:00Z";
const sha = "0f3c1d2e4b5a69788796a5b4c3d2e1f001122334";

const pushed = {
  iat,
  repository: "acme/app",
  repository_id: "42",
  repository_owner_id: "7",
  event_name: "push",
  ref: "refs/heads/main",
  ref_type: "branch",
  sha,
  run_id: "100",
  run_attempt: "2",
  workflow: "CI",
  check_run_id: "555",
  head_ref: "",
  base_ref: "",
  actor: "dev-1",
};
const githubIssuer = "https://token.actions.githubusercontent.com";
const github = (claims: object, issuer = githubIssuer, source = "github") =>
  readJob("github", { ...pushed, ...claims }, issuer, source);

Deno.test("GitHub says repository, commit, branch, run, attempt and job of a push", () => {
  assertEquals(github({}), {
    said: {
      repository: "github:42",
      commitSha: sha,
      branch: "main",
      runExternalId: "100",
      attempt: 2,
      pipeline: "CI",
      jobExternalId: "555",
      observedAt,
    },
    otherwise: { url: "https://github.com/acme/app/actions/runs/100/attempts/2" },
  });
  const tagged = github({ ref: "refs/tags/v1", environment: "production" }).said;
  assertEquals([tagged.branch, tagged.commitSha, tagged.environment], [undefined, sha, "production"]);
});

Deno.test("the commit of a pull request's run is a merge that no push carried: it is left to the sender", () => {
  const claims = { event_name: "pull_request", ref: "refs/pull/27/merge", head_ref: "feature", base_ref: "main" };
  const { said } = github(claims);
  assertEquals([said.commitSha, said.branch, said.pullRequestNumber], [undefined, "feature", 27]);
  const target = github({ event_name: "pull_request_target", ref: "refs/heads/main", head_ref: "feature" }).said;
  assertEquals([target.commitSha, target.branch, target.pullRequestNumber], [undefined, undefined, undefined]);
  // A fork's branch may be called main as well, and no claim says whose it is.
  for (const head_ref of ["main", "feature"]) {
    const fork = github({ event_name: "pull_request_target", ref: "refs/heads/main", head_ref });
    assertEquals([fork.said.branch, fork.otherwise.branch], [undefined, undefined]);
  }
  for (const event_name of ["workflow_run", "issue_comment"]) {
    const { said } = github({ event_name });
    assertEquals([said.commitSha, said.branch, said.runExternalId], [undefined, undefined, "100"], event_name);
  }
});

Deno.test("GitHub's other servers have other addresses and other sources", () => {
  const url = (issuer: string) => github({}, issuer).otherwise.url;
  assertEquals(url(`${githubIssuer}/acme`), "https://github.com/acme/app/actions/runs/100/attempts/2");
  assertEquals(
    url("https://git.acme.test/_services/token"),
    "https://git.acme.test/acme/app/actions/runs/100/attempts/2",
  );
  assertEquals(
    url("https://token.actions.acme.ghe.com"),
    "https://acme.ghe.com/acme/app/actions/runs/100/attempts/2",
  );
  assertEquals(github({}, githubIssuer, "github-acme").said.repository, "github-acme:42");
});

Deno.test("a number of one provider names nothing at a source of another", () => {
  assertEquals(github({ repository: "Acme/App" }, githubIssuer, "pagerduty").said.repository, "//github.com/acme/app");
  const claims = { project_id: "42", project_path: "Acme/sub/App" };
  assertEquals(readJob("gitlab", claims, "https://gitlab.com", "github").said.repository, "//gitlab.com/acme/sub/app");
});

Deno.test("GitLab says project, commit, branch, pipeline and job; a merge request's pipeline no commit", () => {
  const claims = {
    iat,
    project_id: "42",
    project_path: "acme/app",
    sha,
    ref: "main",
    ref_type: "branch",
    ref_path: "refs/heads/main",
    ref_protected: "true",
    pipeline_id: "100",
    pipeline_source: "push",
    job_id: "555",
    environment: "production",
  };
  const gitlab = (more: object) => readJob("gitlab", { ...claims, ...more }, "https://git.acme.test", "gitlab-acme");
  assertEquals(gitlab({}), {
    said: {
      repository: "gitlab-acme:42",
      commitSha: sha,
      branch: "main",
      runExternalId: "100",
      jobExternalId: "555",
      environment: "production",
      observedAt,
    },
    otherwise: { url: "https://git.acme.test/acme/app/-/jobs/555" },
  });
  assertEquals(gitlab({ ref_type: "tag", ref: "v1" }).said.branch, undefined);
  const merge = gitlab({ pipeline_source: "merge_request_event", ref: "feature", job_project_path: "acme/upstream" });
  assertEquals([merge.said.commitSha, merge.said.branch], [undefined, "feature"]);
  assertEquals(merge.otherwise.url, "https://git.acme.test/acme/upstream/-/jobs/555");
});

Deno.test("CircleCI says the repository's address, the branch, the workflow and the job", () => {
  const claims = {
    iat,
    aud: "org",
    "oidc.circleci.com/project-id": "p",
    "oidc.circleci.com/vcs-origin": "github.com/Acme/app.git",
    "oidc.circleci.com/vcs-ref": "refs/heads/main",
    "oidc.circleci.com/pipeline-id": "pi",
    "oidc.circleci.com/workflow-id": "w",
    "oidc.circleci.com/job-id": "j",
  };
  const circleci = (more: object) => readJob("circleci", { ...claims, ...more }, "https://o.test/org/1", "github");
  assertEquals(circleci({}), {
    said: { repository: "//github.com/acme/app", branch: "main", runExternalId: "w", jobExternalId: "j", observedAt },
    otherwise: {},
  });
  const pull = circleci({ "oidc.circleci.com/vcs-ref": "refs/pull/12/head" }).said;
  assertEquals([pull.branch, pull.pullRequestNumber], [undefined, 12]);
  for (const origin of [7, "", "github.com", "https://user:pass@github.com/acme/app", "github.com/a b"]) {
    assertEquals(circleci({ "oidc.circleci.com/vcs-origin": origin }).said.repository, undefined, String(origin));
  }
});

Deno.test("Buildkite says commit, branch and pipeline; its build's own id it does not", () => {
  const claims = {
    iat,
    organization_slug: "acme",
    pipeline_slug: "app",
    build_number: 5,
    build_branch: "main",
    build_tag: null,
    build_commit: sha.toUpperCase(),
    step_key: null,
    job_id: "01945ecf",
  };
  const buildkite = (more: object) => readJob("buildkite", { ...claims, ...more }, "https://b.test", "github");
  assertEquals(buildkite({}), {
    said: { commitSha: sha, branch: "main", pipeline: "app", jobExternalId: "01945ecf", observedAt },
    otherwise: { runExternalId: "acme/app/5", url: "https://buildkite.com/acme/app/builds/5#01945ecf" },
  });
  const tagged = buildkite({ build_tag: "v1", step_key: "test", build_commit: "HEAD" });
  assertEquals([tagged.said.branch, tagged.said.commitSha, tagged.otherwise.job], [undefined, undefined, "test"]);
});

Deno.test("what a claim does not say in its own form is not said", () => {
  const odd = [undefined, null, "", {}, [], true, "a\u0000b", "x".repeat(256), "4 2"];
  for (const value of odd) {
    const { said } = github({ repository_id: value, run_attempt: value, sha: value, iat: value, ref: value });
    const told = [said.repository, said.attempt, said.commitSha, said.branch, said.observedAt];
    assertEquals(told, [undefined, undefined, undefined, undefined, null], String(value));
  }
  for (const provider of ["github", "gitlab", "circleci", "buildkite"]) {
    assertEquals(isIssuing(provider), true);
    assertEquals(readJob(provider, {}, "https://a.test", "github"), { said: { observedAt: null }, otherwise: {} });
  }
  assertEquals([isIssuing("jenkins"), isIssuing("constructor")], [false, false]);
});
