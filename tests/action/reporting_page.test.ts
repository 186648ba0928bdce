// Every snippet of docs/reporting.md, run with the variables of its CI system against a server that plays the endpoint.
import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import { parse } from "@std/yaml";
import { parameterSchema } from "../../supabase/functions/ingest-metrics/context.ts";
import { reports } from "../../supabase/functions/ingest-metrics/reports/mod.ts";
import { repository } from "../support/stack.ts";
import { block, hasCurl, page, pasted, runPasted, tableOf } from "./page.ts";
import { readAction } from "./runner.ts";
import { type LocalServer, problem, serve } from "./servers.ts";

const junit = '<testsuite name="s"><testcase name="passes"/></testsuite>';
const lcov = "SF:a.js\nLF:1\nLH:1\nend_of_record\n";
const token = "the-token-of-the-job";
const commit = "0f3c1d2e4b5a69788796a5b4c3d2e1f001122334";

const options = { ignore: !hasCurl };

/** Runs `work` in a folder that holds what the snippets report. */
async function withReports<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = await Deno.makeTempDir({ prefix: "metrics-job-" });
  try {
    for (const name of ["reports", "coverage"]) await Deno.mkdir(join(folder, name));
    await Deno.writeTextFile(join(folder, "reports", "junit.xml"), junit);
    await Deno.writeTextFile(join(folder, "coverage", "lcov.info"), lcov);
    return await work(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** The jobs: what each CI system sets, which programs stand for its own, and what must arrive beside the files. */
const jobs: Record<
  string,
  {
    source: string;
    variables: Record<string, string>;
    programs?: Record<string, string>;
    query: Record<string, string>;
    /** What arrives with the coverage alone. */
    ofCoverage?: Record<string, string>;
  }
> = {
  "GitLab CI": {
    source: "gitlab",
    variables: {
      METRICS_TOKEN: token,
      CI_JOB_NAME: "test: [20, größer]",
      CI_PIPELINE_NAME: "",
      CI_COMMIT_SHA: "1111111111111111111111111111111111111111",
      CI_MERGE_REQUEST_IID: "12",
      CI_MERGE_REQUEST_SOURCE_BRANCH_SHA: commit,
    },
    query: { job: "test: [20, größer]", pipeline: "", pull_request: "12", commit },
  },
  "CircleCI": {
    source: "github",
    variables: {
      CIRCLE_OIDC_TOKEN_V2: token,
      CIRCLE_JOB: "test & more",
      CIRCLE_SHA1: commit,
      CIRCLE_BUILD_URL: "https://circleci.com/gh/acme/app/42",
      CIRCLE_NODE_INDEX: "3",
    },
    query: { job: "test & more", commit, url: "https://circleci.com/gh/acme/app/42", suite: "" },
    ofCoverage: { suite: "3" },
  },
  "Buildkite": {
    source: "github",
    variables: {
      BUILDKITE_LABEL: ":test_tube: test",
      BUILDKITE_BUILD_ID: "018485f6-1f53-4f18-9b53-72428db4d239",
      BUILDKITE_PULL_REQUEST: "false",
    },
    programs: {
      npm: "exit 3",
      "buildkite-agent": `[ "$1 $2 $3" = "oidc request-token --audience" ] && echo "${token}" && echo "$4" > audience`,
    },
    query: { job: ":test_tube: test", run: "018485f6-1f53-4f18-9b53-72428db4d239", pull_request: "" },
  },
  "Jenkins": {
    source: "github",
    variables: {
      METRICS_TOKEN: token,
      METRICS_REPOSITORY: "//github.com/acme/app",
      JOB_NAME: "acme/app/feature%2Fx",
      BRANCH_NAME: "PR-12",
      CHANGE_BRANCH: "feature/x",
      CHANGE_ID: "12",
      BUILD_TAG: "jenkins-acme-app-feature%2Fx-7",
      BUILD_URL: "https://ci.example.com/job/acme/job/app/7/",
      STAGE_NAME: "test",
      GIT_COMMIT: commit,
    },
    query: {
      repository: "//github.com/acme/app",
      pipeline: "acme/app",
      run: "jenkins-acme-app-feature%2Fx-7",
      job: "test",
      commit,
      branch: "feature/x",
      pull_request: "12",
      url: "https://ci.example.com/job/acme/job/app/7/",
    },
  },
};

function assertArrived(
  endpoint: LocalServer,
  source: string,
  query: Record<string, string>,
  ofCoverage: Record<string, string> = {},
): void {
  assertEquals(
    endpoint.received.map(({ method, path, headers, query, text }) => ({
      method,
      path,
      authorization: headers.get("authorization"),
      type: headers.get("content-type"),
      query,
      text,
    })),
    [["junit", "application/xml", junit], ["coverage", "text/plain", lcov]].map(([report, type, text]) => ({
      method: "POST",
      path: `/functions/v1/ingest-metrics/${source}/${report}`,
      authorization: `Bearer ${token}`,
      type,
      query: report === "coverage" ? { ...query, ...ofCoverage } : query,
      text,
    })),
  );
}

for (const [system, { source, variables, programs, query, ofCoverage }] of Object.entries(jobs)) {
  Deno.test(`the snippet for ${system} sends both reports with what the job's variables say`, options, async () => {
    await using endpoint = serve(() => Response.json({ result: "stored", facts: {} }));
    await withReports(async (folder) => {
      const { code, text } = await runPasted(pasted[system]!(), folder, endpoint.url, variables, programs);
      assertEquals(code, system === "Buildkite" ? 3 : 0, text);
      assert(!text.includes(token), text);
      if (programs) {
        const audience = await Deno.readTextFile(join(folder, "audience"));
        assertEquals(audience.trim(), `${endpoint.url}/functions/v1/ingest-metrics`);
      }
    });
    assertArrived(endpoint, source, query, ofCoverage);
  });

  Deno.test(
    `the snippet for ${system} changes nothing about the job when reports are refused or not there`,
    options,
    async () => {
      await using endpoint = serve(() => problem(403, "Not for this."));
      await withReports(async (folder) => {
        await Deno.remove(join(folder, "coverage", "lcov.info"));
        const { code, text } = await runPasted(pasted[system]!(), folder, endpoint.url, variables, programs);
        assertEquals(code, system === "Buildkite" ? 3 : 0, text);
        assert(text.includes("Not for this.") && text.includes("reports/junit.xml was not reported"), text);
        assert(text.includes("coverage/lcov.info was not reported"), text);
        assert(!text.includes(token), text);
      });
      assertEquals(endpoint.received.map(({ path }) => path.split("/").at(-1)), ["junit"]);
    },
  );
}

Deno.test(
  "outside of a multibranch pipeline, Jenkins' pipeline is the job, and no parameter is a guess",
  options,
  async () => {
    await using endpoint = serve(() => Response.json({ result: "stored", facts: {} }));
    const { METRICS_TOKEN, BUILD_TAG, GIT_COMMIT } = jobs.Jenkins!.variables as Record<string, string>;
    await withReports((folder) =>
      runPasted(pasted.Jenkins!(), folder, endpoint.url, {
        METRICS_TOKEN: METRICS_TOKEN!,
        BUILD_TAG: BUILD_TAG!,
        GIT_COMMIT: GIT_COMMIT!,
        JOB_NAME: "acme/nightly",
      })
    );
    const said = Object.entries(endpoint.received[0]!.query).filter(([, value]) => value !== "");
    assertEquals(Object.fromEntries(said), { pipeline: "acme/nightly", run: BUILD_TAG, commit });
  },
);

Deno.test("the snippet for anything else sends a number", options, async () => {
  await using endpoint = serve(() => Response.json({ result: "stored", facts: { measurements: 1 } }));
  await withReports(async (folder) => {
    const { code, text } = await runPasted(pasted["Anything else"]!(), folder, endpoint.url, {
      METRICS_TOKEN: token,
      METRICS_URL: `${endpoint.url}/functions/v1/ingest-metrics/github`,
    }, { git: `[ "$1" = rev-parse ] && echo ${commit} || echo "feature/x y"` });
    assertEquals([code, text], [0, '{"result":"stored","facts":{"measurements":1}}']);
  });
  const [received] = endpoint.received;
  assertEquals(received!.query, { repository: "github:1234", commit, branch: "feature/x y" });
  assertEquals(JSON.parse(received!.text), [{ name: "bundle.size", value: 183.5, unit: "kBy" }]);
});

Deno.test("the page's GitHub workflow uses the action as it is, with the permission that it needs", async () => {
  // deno-lint-ignore no-explicit-any
  const { test } = (parse(block("GitHub Actions", "yaml")) as any).jobs;
  assertEquals(test.permissions, { contents: "read", "id-token": "write" });
  const step = test.steps.at(-1);
  assertEquals(step.uses, "./.github/actions/report-metrics");
  const { inputs } = await readAction("report-metrics");
  assertEquals(Object.keys(step.with).filter((input) => !(input in inputs)), []);
});

Deno.test("whatever a workflow or the page uses from elsewhere is pinned to a commit", async () => {
  const texts = [page];
  for await (const { name } of Deno.readDir(join(repository, ".github", "workflows"))) {
    texts.push(await Deno.readTextFile(join(repository, ".github", "workflows", name)));
  }
  const uses = texts.flatMap((text) => [...text.matchAll(/^\s*(?:- )?uses: (\S+)/gm)].map((match) => match[1]!));
  assert(uses.length > 3);
  assertEquals(uses.filter((name) => !name.startsWith("./") && !/@[0-9a-f]{40}$/.test(name)), []);
});

Deno.test("the page names every report with its content types, and every parameter", () => {
  const intro = page.split(/^## /m)[0]!;
  const rows = [...intro.matchAll(/^\| `(\w+)` +\| .*? \| (`[^|]*) \| [^|]* \|$/gm)];
  assertEquals(
    Object.fromEntries(rows.map(([, name, types]) => [name!, types!.match(/[a-z]+\/[a-z+-]+/g)!])),
    Object.fromEntries([...reports.values()].map(({ name, contentTypes }) => [
      name,
      // Other names of the same.
      contentTypes.filter((type) => type !== "text/xml" && (name !== "sarif" || type !== "application/json")),
    ])),
  );
  assertEquals(tableOf("Parameters").map(([name]) => name!.replaceAll("`", "")), Object.keys(parameterSchema.shape));
});
