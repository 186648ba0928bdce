// What pipelines report, by the action and by the snippets of docs/reporting.md, through the whole stack to the facts.
import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import { TestIssuer } from "../../supabase/functions/ingest-metrics/identity/testing.ts";
import { hasCurl, pasted, runPasted } from "../action/page.ts";
import { type Job, runAction, variables } from "../action/runner.ts";
import { serveTokens, tokenVariables } from "../action/servers.ts";
import { madeFolder } from "../reports/make.ts";
import { connect, sharedStack, signedIn } from "../support/http.ts";

const stack = await sharedStack();
const sql = connect(stack);
const options = { sanitizeOps: false, sanitizeResources: false };
const audience = `${stack.url}/functions/v1/ingest-metrics`;
const commit = variables.GITHUB_SHA!;
const head = "1f2e3d4c5b6a79880a9b8c7d6e5f4a3b2c1d0e9f";

/** A snippet's job: whose claims prove it (none for a token), what its CI system sets, and what is then known of its tests. */
interface SnippetJob {
  system: string;
  provider?: "gitlab" | "circleci" | "buildkite";
  identity: Record<string, unknown>;
  claims?: Record<string, string>;
  variables(token: string): Record<string, string>;
  programs?: (token: string) => Record<string, string>;
  repository: string;
  run: { external_id: string; commit_sha: string; branch: string; pipeline: string | null; job: string; url: string };
}

const snippets: SnippetJob[] = [
  {
    system: "GitLab CI",
    provider: "gitlab",
    identity: { claims: { project_id: "900011" }, sources: ["gitlab"] },
    claims: {
      project_id: "900011",
      project_path: "acme/app",
      pipeline_id: "7",
      pipeline_source: "push",
      job_id: "42",
      ref: "main",
      ref_type: "branch",
      sha: commit,
    },
    variables: (token) => ({ METRICS_TOKEN: token, CI_JOB_NAME: "test: [20]", CI_COMMIT_SHA: commit }),
    repository: "gitlab:900011",
    run: {
      external_id: "7/1/42/basket",
      commit_sha: commit,
      branch: "main",
      pipeline: null,
      job: "test: [20]",
      url: "<issuer>/acme/app/-/jobs/42",
    },
  },
  {
    system: "CircleCI",
    provider: "circleci",
    identity: {
      claims: { "oidc.circleci.com/project-id": "project" },
      sources: ["github"],
      audience: "the-organization",
    },
    claims: {
      aud: "the-organization",
      "oidc.circleci.com/project-id": "project",
      "oidc.circleci.com/vcs-origin": "github.com/acme/by-circle",
      "oidc.circleci.com/vcs-ref": "refs/heads/main",
      "oidc.circleci.com/workflow-id": "w-7",
      "oidc.circleci.com/job-id": "j-42",
    },
    variables: (token) => ({
      CIRCLE_OIDC_TOKEN_V2: token,
      CIRCLE_JOB: "test",
      CIRCLE_SHA1: commit,
      CIRCLE_BUILD_URL: "https://circleci.com/gh/acme/by-circle/42",
    }),
    repository: "//github.com/acme/by-circle",
    run: {
      external_id: "w-7/1/j-42/basket",
      commit_sha: commit,
      branch: "main",
      pipeline: null,
      job: "test",
      url: "https://circleci.com/gh/acme/by-circle/42",
    },
  },
  {
    system: "Buildkite",
    provider: "buildkite",
    identity: { claims: { organization_slug: "acme" }, sources: ["github"], repositories: ["github:900013"] },
    claims: {
      organization_slug: "acme",
      pipeline_slug: "app",
      build_number: "7",
      build_branch: "main",
      build_commit: commit,
      job_id: "j-42",
    },
    variables: () => ({ BUILDKITE_LABEL: "test", BUILDKITE_BUILD_ID: "b-7", BUILDKITE_PULL_REQUEST: "false" }),
    programs: (token) => ({ npm: "exit 0", "buildkite-agent": `echo '${token}'` }),
    repository: "github:900013",
    run: {
      external_id: "b-7/1/j-42/basket",
      commit_sha: commit,
      branch: "main",
      pipeline: "app",
      job: "test",
      url: "https://buildkite.com/acme/app/builds/7#j-42",
    },
  },
  {
    system: "Jenkins",
    identity: { sources: ["github"], repositories: ["github:900014"] },
    variables: (token) => ({
      METRICS_TOKEN: token,
      JOB_NAME: "acme/app/main",
      BRANCH_NAME: "main",
      BUILD_TAG: "jenkins-acme-app-main-7",
      BUILD_URL: "https://ci.example.com/job/acme/7/",
      STAGE_NAME: "test",
      GIT_COMMIT: commit,
    }),
    repository: "github:900014",
    run: {
      external_id: "jenkins-acme-app-main-7/1/test/basket",
      commit_sha: commit,
      branch: "main",
      pipeline: "acme/app",
      job: "test",
      url: "https://ci.example.com/job/acme/7/",
    },
  },
];

/** All that is allowed to report here. One server stands for the issuers of all CI systems: they are told apart by their claims. */
const { issuer, tokens } = await (async () => {
  const issuer = await TestIssuer.start("RS256");
  Deno.test.afterAll(() => issuer[Symbol.asyncDispose]());
  const { client } = await signedIn(stack, sql, "admin");
  const call = async (name: string, parameters: object): Promise<string> => {
    const { data, error } = await client.rpc(name, parameters);
    if (error) throw new Error(error.message);
    return data;
  };
  const tokens = new Map<string, string>();
  const github = { provider: "github", issuer: issuer.url, sources: ["github"] };
  await call("add_issuer", { ...github, name: "action", claims: { repository_id: "900001" } });
  await call("add_issuer", {
    ...github,
    name: "slow action",
    claims: { repository_id: "900003" },
    calls_per_minute: 1,
  });
  for (const { system, provider, identity } of snippets) {
    if (provider) await call("add_issuer", { name: system, provider, issuer: issuer.url, ...identity });
    else tokens.set(system, await call("create_token", { name: system, ...identity }));
  }
  tokens.set("Anything else", await call("create_token", { name: "Anything else", sources: ["github"] }));
  // The function asks for what it does not know at most once a second.
  await new Promise((resolve) => setTimeout(resolve, 1000));
  return { issuer, tokens };
})();

/** Runs `work` in a folder where a job has left the reports of real tools. */
async function withReports<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = await Deno.makeTempDir({ prefix: "metrics-job-" });
  try {
    for (const name of ["reports", "coverage"]) await Deno.mkdir(join(folder, name));
    await Deno.copyFile(join(madeFolder, "jest.xml"), join(folder, "reports", "junit.xml"));
    await Deno.copyFile(join(madeFolder, "eslint.sarif"), join(folder, "reports", "eslint.sarif"));
    await Deno.copyFile(join(madeFolder, "c8.lcov"), join(folder, "coverage", "lcov.info"));
    return await work(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** The test runs and measurements that are kept of a repository. */
async function kept(reference: string) {
  const references = sql`select id from metrics.repository_references where reference = ${reference}`;
  const runs = await sql`
    select external_id, suite, commit_sha, branch, pipeline, job, passed_count, failed_count, skipped_count, url
    from metrics.test_runs
    where reference_id in (${references})
    order by external_id
  `;
  const [numbers] = await sql`
    select count(*)::integer as measurements,
      (select count(*)::integer from metrics.rule_checks where reference_id in (${references})) as rule_checks,
      (select count(*)::integer from metrics.test_cases where reference_id in (${references})) as test_cases
    from metrics.measurements
    where reference_id in (${references})
  `;
  return { runs: runs.map((run): Record<string, unknown> => ({ ...run })), ...numbers };
}

/** The one run of jest.xml. */
const counts = { suite: "basket", passed_count: 4, failed_count: 2, skipped_count: 1 };

Deno.test("a job of GitHub Actions reports by its OIDC token alone", options, async (t) => {
  const id = "900001";
  const claims = {
    repository: "acme/app",
    repository_id: id,
    repository_owner_id: "1",
    event_name: "push",
    ref: "refs/heads/main",
    sha: commit,
    run_id: "7",
    run_attempt: "2",
    workflow: "CI",
  };
  const run = async (job: Partial<Job>, said: Record<string, string> = {}, prepare = (_folder: string) => {}) => {
    await using github = serveTokens("bearer", (aud) => issuer.sign({ aud, ...claims, ...said }));
    return await withReports(async (workspace) => {
      prepare(workspace);
      const ran = await runAction("report-metrics", {
        workspace,
        ...job,
        with: { url: `${audience}/github`, ...job.with },
        env: { GITHUB_REPOSITORY_ID: id, ...tokenVariables(github, "bearer"), ...job.env },
      });
      assertEquals(ran.code, 0);
      return ran;
    });
  };
  const all = {
    junit: "reports/junit.xml",
    sarif: "reports/*.sarif",
    coverage: "coverage/lcov.info",
    measurements: "bundle.size=183.5 kBy\nstartup.time=0.42 s",
  };
  const table = (...rows: string[]) =>
    ["### Metrics", "", "| from | report | result |", "| --- | --- | --- |", ...rows, ""].join("\n");
  const one = (text: string) => table(`| <code>reports/junit.xml</code> | junit | ${text} |`);

  await t.step("everything that it made is stored", async () => {
    const { summary, warnings } = await run({ with: all });
    assertEquals(
      summary,
      table(
        "| <code>reports/junit.xml</code> | junit | Stored: 1 test run, 2 test cases. |",
        "| <code>reports/eslint.sarif</code> | sarif | Stored: 3 rule checks. |",
        "| <code>coverage/lcov.info</code> | coverage | Stored: 9 measurements. |",
        "| <code>measurements</code> | measurements | Stored: 2 measurements. |",
      ),
    );
    assertEquals(warnings, []);
    assertEquals(await kept(`github:${id}`), {
      runs: [{
        ...counts,
        external_id: "7/2/test/basket",
        commit_sha: commit,
        branch: "main",
        pipeline: "CI",
        job: "test",
        url: `https://${new URL(issuer.url).host}/acme/app/actions/runs/7/attempts/2`,
      }],
      measurements: 11,
      rule_checks: 3,
      test_cases: 2,
    });
  });

  await t.step("and once only, when the job's step runs again", async () => {
    const before = await kept(`github:${id}`);
    const { summary, outputs } = await run({ with: all });
    assertEquals(summary.match(/Was there already\./g)?.length, 4);
    assertEquals(outputs, { sent: "4", "not-sent": "0" });
    assertEquals(await kept(`github:${id}`), before);
  });

  await t.step("of a pull request it tells the head, not the merge that GitHub makes", async () => {
    await run({
      with: { junit: "reports/junit.xml" },
      event: {
        number: 12,
        pull_request: { number: 12, head: { sha: head, repo: { id: 1 } }, base: { repo: { id: 1 } } },
      },
    }, { event_name: "pull_request", ref: "refs/pull/12/merge", head_ref: "feature/x", run_id: "8", run_attempt: "1" });
    const { runs } = await kept(`github:${id}`);
    const { external_id, commit_sha, branch } = runs.at(-1)!;
    assertEquals({ external_id, commit_sha, branch }, {
      external_id: "8/1/test/basket",
      commit_sha: head,
      branch: "feature/x",
    });
  });

  await t.step("what the endpoint refuses is said in its words", async () => {
    const junit = { junit: "reports/junit.xml" };
    const docs = "see docs/identities.";
    assertEquals(
      (await run({ with: { ...junit, audience: "https://example.com" } })).summary,
      one(
        "**Not sent.** Answered 401. The credentials are not those of a sender of this source. " +
          `The issuer, the audience or the expiry of the identity does not fit; ${docs}`,
      ),
    );
    assertEquals(
      (await run({ with: junit }, { repository_id: "900002" })).summary,
      one(
        "**Not sent.** Answered 403. These credentials are good, and not for this. Nothing was stored. " +
          `The identity does not permit this; ${docs}`,
      ),
    );
    const withFile = (text: string) =>
      run({ with: junit }, {}, (folder) => Deno.writeTextFileSync(join(folder, "reports", "junit.xml"), text));
    assertEquals(
      (await withFile("<testsuite>\n<testcase name='a'>\n")).summary,
      one(
        "**Not sent.** Answered 400. The body cannot be read as this report, as errors says. Nothing was stored." +
          "<br>line 3: The report is not well-formed XML.",
      ),
    );
    assertEquals(
      (await withFile(`<testsuite>${" ".repeat(11 * 1024 * 1024)}</testsuite>`)).summary,
      one(
        "**Not sent.** Answered 413. The report is larger than the limit of this installation. Split it into several files and " +
          "send each with another value of the parameter suite.",
      ),
    );
    const failed = Array.from(
      { length: 10_001 },
      (_, index) => `<testcase name="${index}"><failure message="m"/></testcase>`,
    );
    assertEquals(
      (await withFile(`<testsuite name="s">${failed.join("")}</testsuite>`)).summary,
      one(
        "**Not sent.** Answered 422. Nothing was stored, because of what errors names.<br>testsuites: The report makes more than " +
          "10000 facts. Split it into several files and send each with another value of the parameter suite.",
      ),
    );
  });

  await t.step("over its rate it waits no longer than it may", async () => {
    const started = performance.now();
    const { summary, outputs } = await run({
      with: { ...all, sarif: "", measurements: "", "timeout-seconds": "5" },
    }, { repository_id: "900003" });
    assert(performance.now() - started < 10_000);
    assertEquals(outputs, { sent: "1", "not-sent": "1" });
    assertEquals(
      summary,
      table(
        "| <code>reports/junit.xml</code> | junit | Stored: 1 test run, 2 test cases. |",
        "| <code>coverage/lcov.info</code> | coverage | **Not sent.** Answered 429. This identity made its calls of this minute. " +
          "Nothing was stored. Send fewer and larger files, or raise calls&#95;per&#95;minute of the identity. |",
      ),
    );
  });
});

for (const { system, claims, variables, programs, repository, run } of snippets) {
  Deno.test(`a job of ${system} reports by the snippet of the page`, { ...options, ignore: !hasCurl }, async () => {
    const token = claims ? await issuer.sign({ aud: audience, ...claims }) : tokens.get(system)!;
    const said = await withReports((folder) =>
      runPasted(pasted[system]!(), folder, stack.url, variables(token), programs?.(token))
    );
    const facts = [{ test_runs: 1, test_cases: 2 }, { measurements: 9 }];
    assertEquals(
      [said.code, [...said.text.matchAll(/\{"result".*?\}\}/g)].map(([text]) => JSON.parse(text!))],
      [0, facts.map((facts) => ({ result: "stored", facts }))],
      said.text,
    );
    const { runs, ...numbers } = await kept(repository);
    assertEquals(numbers, { measurements: 9, rule_checks: 0, test_cases: 2 });
    assertEquals(runs, [{ ...counts, ...run, url: run.url.replace("<issuer>", issuer.url) }]);
  });
}

Deno.test("anything with a shell and a token reports a number", { ...options, ignore: !hasCurl }, async () => {
  const token = tokens.get("Anything else")!;
  const said = await withReports((folder) =>
    runPasted(pasted["Anything else"]!(), folder, stack.url, {
      METRICS_TOKEN: token,
      METRICS_URL: `${audience}/github`,
    }, { git: `[ "$1" = rev-parse ] && echo ${commit} || echo main` })
  );
  assertEquals([said.code, said.text], [0, '{"result":"stored","facts":{"measurements":1}}']);
  const rows = await sql`
    select m.value, m.unit, m.attributes
    from metrics.measurements as m
    join metrics.repository_references as r on r.id = m.reference_id
    where r.reference = 'github:1234' and m.name = 'bundle.size'
  `;
  assertEquals(rows.map((row) => ({ ...row })), [
    { value: 183.5, unit: "kBy", attributes: { commit, branch: "main" } },
  ]);
});
