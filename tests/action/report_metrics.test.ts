// The action report-metrics, run as a runner of GitHub Actions runs it, against servers that play GitHub and the endpoint.
import { assert, assertEquals, assertMatch } from "@std/assert";
import { dirname, join } from "@std/path";
import { repository } from "../support/stack.ts";
import { type Job, type Ran, readAction, runAction, variables } from "./runner.ts";
import { type LocalServer, problem, serve, serveTokens, tokenVariables } from "./servers.ts";

const bearer = "the-bearer-of-the-request";
const oidcToken = "head.claims.signature";
const stored = (facts: Record<string, number>) => Response.json({ result: "stored", facts });

const passing = '<testsuite name="s"><testcase name="passes"/></testsuite>';

/** Runs the action in a workspace of its own with these files, with tokens from GitHub unless `env` says otherwise. */
async function report(
  files: Record<string, string | Uint8Array>,
  endpoint: LocalServer,
  job: Partial<Job> = {},
): Promise<Ran & { audiences: string[] }> {
  const workspace = await Deno.makeTempDir({ prefix: "metrics-workspace-" });
  await using github = serveTokens(bearer, () => oidcToken);
  try {
    for (const [name, content] of Object.entries(files)) {
      await Deno.mkdir(dirname(join(workspace, name)), { recursive: true });
      await (typeof content === "string" ? Deno.writeTextFile : Deno.writeFile)(
        join(workspace, name),
        content as never,
      );
    }
    const ran = await runAction("report-metrics", {
      workspace,
      ...job,
      with: { url: `${endpoint.url}/functions/v1/ingest-metrics/github`, ...job.with },
      env: { ...tokenVariables(github, bearer), ...job.env },
    });
    assertEquals(ran.code, 0, ran.printed);
    // What proves the job is in no log, but for the command that masks it.
    const rest = ran.printed.replaceAll(/^::add-mask::.*$/gm, "") + ran.summary + JSON.stringify(ran.outputs);
    for (const secret of [bearer, oidcToken, ...ran.masks]) assert(!rest.includes(secret), rest);
    return { ...ran, audiences: github.received.map(({ query }) => query.audience!) };
  } finally {
    await Deno.remove(workspace, { recursive: true });
  }
}

/** The summary with these rows. */
function table(...rows: string[]): string {
  return ["### Metrics", "", "| from | report | result |", "| --- | --- | --- |", ...rows, ""].join("\n");
}

Deno.test("the action installs nothing, needs no shell, and says what each input and output is", async () => {
  const action = await readAction("report-metrics");
  assertEquals(action.runs, { using: "node24", main: "report.mjs" });
  for (const { description } of [...Object.values(action.inputs), ...Object.values(action.outputs)]) {
    assertMatch(description, /\w/);
  }
  const source = await Deno.readTextFile(join(repository, ".github/actions/report-metrics/report.mjs"));
  const imports = [...source.matchAll(/^import .* from "(.*)";$/gm)].map((match) => match[1]!);
  assertEquals(imports.filter((name) => !name.startsWith("node:")), []);
  // Files of other actions that it would run, by tag or branch, could change under it.
  assertEquals(source.match(/uses:/), null);
});

Deno.test("each report of a job goes to its address, with the job's OIDC token", async () => {
  await using endpoint = serve(({ path }) =>
    path.endsWith("/junit")
      ? stored({ test_runs: 1, test_cases: 2 })
      : path.endsWith("/sarif")
      ? stored({ rule_checks: 3 })
      : path.endsWith("/coverage")
      ? stored({ measurements: 4 })
      : stored({ measurements: 2 })
  );
  const ran = await report(
    {
      "junit.xml": passing,
      "lint/eslint.sarif": '{"version":"2.1.0","runs":[]}',
      "coverage/lcov.info": "SF:a.js\nLF:1\nLH:1\nend_of_record\n",
    },
    endpoint,
    {
      with: {
        junit: "junit.xml",
        sarif: "lint/*.sarif",
        coverage: "coverage/lcov.info",
        measurements: "bundle.size = 183.5 kB\n\nwarnings=-2e1\n",
      },
    },
  );
  assertEquals(
    ran.summary,
    table(
      "| <code>junit.xml</code> | junit | Stored: 1 test run, 2 test cases. |",
      "| <code>lint/eslint.sarif</code> | sarif | Stored: 3 rule checks. |",
      "| <code>coverage/lcov.info</code> | coverage | Stored: 4 measurements. |",
      "| <code>measurements</code> | measurements | Stored: 2 measurements. |",
    ),
  );
  assertEquals(ran.warnings, []);
  assertEquals(ran.log, ["4 sent, 0 not sent."]);
  assertEquals(ran.outputs, { sent: "4", "not-sent": "0" });
  assertEquals(ran.masks, [oidcToken]);
  // One token serves all; its audience is the endpoint without the source.
  assertEquals(ran.audiences, [`${endpoint.url}/functions/v1/ingest-metrics`]);
  const base = "/functions/v1/ingest-metrics/github";
  assertEquals(
    endpoint.received.map(({ method, path, query, headers, text }) => ({
      method,
      path,
      query,
      type: headers.get("content-type"),
      text,
    })),
    [
      { method: "POST", path: `${base}/junit`, query: { job: "test" }, type: "application/xml", text: passing },
      {
        method: "POST",
        path: `${base}/sarif`,
        query: { job: "test", suite: "eslint.sarif" },
        type: "application/sarif+json",
        text: '{"version":"2.1.0","runs":[]}',
      },
      {
        method: "POST",
        path: `${base}/coverage`,
        query: { job: "test" },
        type: "text/plain",
        text: "SF:a.js\nLF:1\nLH:1\nend_of_record\n",
      },
      {
        method: "POST",
        path: `${base}/measurements`,
        query: { job: "test" },
        type: "application/json",
        text: '[{"name":"bundle.size","value":183.5,"unit":"kB"},{"name":"warnings","value":-20}]',
      },
    ],
  );
  for (const { headers } of endpoint.received) assertEquals(headers.get("authorization"), `Bearer ${oidcToken}`);
});

Deno.test("files of patterns are told apart by their paths, and a file that two patterns name goes once", async () => {
  await using endpoint = serve(() => stored({ test_runs: 1 }));
  const ran = await report(
    {
      "a/TEST-one.xml": passing,
      "a/b/TEST-two.xml": passing,
      "a/b/notes.txt": "",
      "a/b/c/eslint.sarif": "{}",
      "node_modules/x/TEST-three.xml": passing,
      "coverage.xml": "\n<coverage/>",
    },
    endpoint,
    {
      with: {
        junit: "**/TEST-*.xml\n./a/b/*.xml\n",
        sarif: "a/b/**/*.sarif",
        coverage: "coverage.xml",
        suite: "unit",
        job: "tests",
      },
    },
  );
  assertEquals(
    ran.summary,
    table(
      "| <code>a/TEST-one.xml</code> | junit | Stored: 1 test run. |",
      "| <code>a/b/TEST-two.xml</code> | junit | Stored: 1 test run. |",
      "| <code>a/b/c/eslint.sarif</code> | sarif | Stored: 1 test run. |",
      "| <code>coverage.xml</code> | coverage | Stored: 1 test run. |",
    ),
  );
  assertEquals(endpoint.received.map(({ query }) => query), [
    { job: "tests", suite: "unit/a/TEST-one.xml" },
    { job: "tests", suite: "unit/a/b/TEST-two.xml" },
    { job: "tests", suite: "unit/c/eslint.sarif" },
    { job: "tests", suite: "unit" },
  ]);
  assertEquals(endpoint.received.at(-1)!.headers.get("content-type"), "application/xml");
});

Deno.test("the jobs of a matrix have names of their own", async () => {
  await using endpoint = serve(() => stored({}));
  await report({ "junit.xml": passing }, endpoint, {
    with: { junit: "junit.xml" },
    matrix: { node: 20, os: "ubuntu-24.04", database: { name: "postgres", version: 17 }, empty: null },
  });
  assertEquals(endpoint.received[0]!.query, { job: "test (20, ubuntu-24.04, postgres, 17)" });
});

Deno.test("a report that is there already is said to be", async () => {
  await using endpoint = serve(() => Response.json({ result: "duplicate" }));
  const ran = await report({ "junit.xml": passing }, endpoint, { with: { junit: "junit.xml" } });
  assertEquals(ran.summary, table("| <code>junit.xml</code> | junit | Was there already. |"));
  assertEquals(ran.outputs, { sent: "1", "not-sent": "0" });
});

Deno.test("no inputs, and inputs that name no file, are said, and no token is asked for", async () => {
  await using endpoint = serve(() => stored({}));
  const nothing = await report({}, endpoint);
  const text = "There is nothing to send: junit, sarif, coverage and measurements are empty.";
  assertEquals(nothing.summary, `### Metrics\n\n${text}\n`);
  assertEquals(nothing.warnings, [{ title: "Metrics not sent", text }]);

  const missing = await report({ "empty.xml": "" }, endpoint, { with: { junit: "reports/*.xml", sarif: "a|b.sarif" } });
  assertEquals(
    missing.summary,
    table(
      "| <code>reports/&#42;.xml</code> | junit | **Not sent.** No such file. |",
      "| <code>a&#124;b.sarif</code> | sarif | **Not sent.** No such file. |",
    ),
  );
  assertEquals(missing.warnings.map((warning) => warning.text), [
    "reports/*.xml: No such file.",
    "a|b.sarif: No such file.",
  ]);
  assertEquals(missing.outputs, { sent: "0", "not-sent": "2" });
  assertEquals([...nothing.audiences, ...missing.audiences, ...endpoint.received], []);
});

Deno.test("empty files, files that are too large, and lines that are no measurement are not sent", async () => {
  await using endpoint = serve(() => stored({ test_runs: 1 }));
  const ran = await report(
    { "a.xml": "", "b.xml": new Uint8Array(25 * 1024 * 1024 + 1), "c.xml": passing },
    endpoint,
    { with: { junit: "[abc].xml", measurements: "a=1\nb = two\n" } },
  );
  assertEquals(
    ran.summary,
    table(
      "| <code>a.xml</code> | junit | **Not sent.** The file is empty. |",
      "| <code>b.xml</code> | junit | **Not sent.** The file has 25.0 MiB, and no installation takes more than 25: split it. |",
      "| <code>c.xml</code> | junit | Stored: 1 test run. |",
      "| <code>measurements</code> | measurements | **Not sent.** Line 2 is not name=value or name=value unit. |",
    ),
  );
  assertEquals(endpoint.received.length, 1);
});

Deno.test("names with spaces, other scripts, Markdown, HTML and line breaks are shown as they are", async () => {
  await using endpoint = serve(() => stored({ test_runs: 1 }));
  const shown = {
    "100%.xml": "100%.xml",
    "<b>&amp;<!--.xml": "&#60;b&#62;&#38;amp;&#60;&#33;--.xml",
    "[link](javascript:x) @dev-1 #1.xml": "&#91;link&#93;(javascript&#58;x) &#64;dev-1 &#35;1.xml",
    "`tick` | **bold** ~ \\.xml": "&#96;tick&#96; &#124; &#42;&#42;bold&#42;&#42; &#126; &#92;.xml",
    "größer – 試験.xml": "größer &#8211; 試験.xml",
    "line\n::error::break\u202e.xml": "line&#92;u000a&#58;&#58;error&#58;&#58;break&#92;u202e.xml",
    "with space.xml": "with space.xml",
    "www.example.com.xml": "www&#46;example.com.xml",
  };
  const ran = await report(Object.fromEntries(Object.keys(shown).map((name) => [name, passing])), endpoint, {
    with: { junit: "*.xml" },
  });
  assertEquals(
    ran.summary,
    table(...Object.values(shown).map((name) => `| <code>${name}</code> | junit | Stored: 1 test run. |`)),
  );
  assertEquals(endpoint.received.map(({ query }) => query.suite), Object.keys(shown));
  assertEquals(ran.warnings, []);

  await using refusing = serve(() => problem(422, "Refused: `x` | <b>", { errors: [{ place: "a|b", code: "c" }] }));
  const refused = await report({ "line\n::error::break.xml": passing }, refusing, { with: { junit: "*.xml" } });
  assertEquals(
    refused.summary,
    table(
      "| <code>line&#92;u000a&#58;&#58;error&#58;&#58;break.xml</code> | junit | **Not sent.** Answered 422. " +
        "Refused: &#96;x&#96; &#124; &#60;b&#62;<br>a&#124;b: c |",
    ),
  );
  assertEquals(refused.warnings, [{
    title: "Metrics not sent",
    text: "line\\u000a::error::break.xml: Answered 422. Refused: `x` | <b> a|b: c",
  }]);
});

/** What one file comes to when the endpoint answers so. */
async function answered(answer: (before: number) => Response, job: Partial<Job> = {}) {
  await using endpoint = serve((_, before) => answer(before));
  const started = performance.now();
  const ran = await report({ "junit.xml": passing }, endpoint, { ...job, with: { junit: "junit.xml", ...job.with } });
  return { ...ran, calls: endpoint.received.length, seconds: (performance.now() - started) / 1000 };
}

/** Checks that one file was not sent, by the summary, the warning and the outputs. */
function assertNotSent(ran: Ran, text: string, escaped = text): void {
  assertEquals(ran.summary, table(`| <code>junit.xml</code> | junit | **Not sent.** ${escaped} |`));
  assertEquals(ran.warnings, [{ title: "Metrics not sent", text: `junit.xml: ${text.replaceAll("<br>", " ")}` }]);
  assertEquals(ran.outputs, { sent: "0", "not-sent": "1" });
}

Deno.test("a refusal is said with what the endpoint says and what to do, and is not tried again", async () => {
  for (
    const [status, hint] of [
      [400, ""],
      [401, " The issuer, the audience or the expiry of the identity does not fit; see docs/identities."],
      [403, " The identity does not permit this; see docs/identities."],
      [404, " Is the source in the url right, and does an identity name it?"],
      [413, ""],
      [415, ""],
      [500, ""],
    ] as const
  ) {
    const ran = await answered(() => problem(status, "It is so."));
    assertNotSent(
      ran,
      `Answered ${status}. It is so.${hint}`,
      `Answered ${status}. It is so.${hint.replaceAll("_", "&#95;")}`,
    );
    assertEquals(ran.calls, 1, `${status}`);
  }
  const elsewhere = await answered(() =>
    new Response(null, { status: 302, headers: { location: "https://example.com" } })
  );
  assertNotSent(elsewhere, "Answered 302.");
  const page = await answered(() => new Response("<h1>Bad Gateway</h1>", { status: 502 }));
  assertNotSent(page, "Answered 502.");
});

Deno.test("the first refused items are named with their places", async () => {
  const errors = Array.from({ length: 7 }, (_, index) => ({
    place: `[${index}].value`,
    code: "invalid_type",
    ...(index === 4 ? { detail: "Should be a number." } : {}),
  }));
  const ran = await answered(() => problem(422, "Items are refused.", { errors }));
  const lines = [0, 1, 2, 3, 4].map((index) =>
    `[${index}].value: ${index === 4 ? "Should be a number." : "invalid_type"}`
  );
  const text = ["Answered 422. Items are refused.", ...lines, "and 2 more"].join("<br>");
  assertNotSent(ran, text, text.replace(/[[\]_]/g, (character) => `&#${character.charCodeAt(0)};`));
});

Deno.test("an endpoint that is busy is asked once more, after the time that it names", async () => {
  for (const status of [429, 503]) {
    const again = await answered((before) =>
      before === 0 ? problem(status, "Later.", {}, { "retry-after": "1" }) : stored({ test_runs: 1 })
    );
    assertEquals(again.summary, table("| <code>junit.xml</code> | junit | Stored: 1 test run. |"));
    assertEquals(again.calls, 2);
    assert(again.seconds >= 1 && again.seconds < 5, `${again.seconds}`);

    const never = await answered(() => problem(status, "Later.", {}, { "retry-after": "0" }));
    const hint = status === 429 ? " Send fewer and larger files, or raise calls_per_minute of the identity." : "";
    assertNotSent(
      never,
      `Answered ${status}. Later.${hint}`,
      `Answered ${status}. Later.${hint.replaceAll("_", "&#95;")}`,
    );
    assertEquals(never.calls, 2);
  }
  // Longer than the time that is left.
  const late = await answered(() => problem(503, "Later.", {}, { "retry-after": "30" }), {
    with: { "timeout-seconds": "10" },
  });
  assertNotSent(late, "Answered 503. Later.");
  assertEquals(late.calls, 1);
  assert(late.seconds < 5, `${late.seconds}`);
});

Deno.test("an endpoint that is away, or never answers, holds the job for a bounded time and for all files once", async () => {
  const gone = serve(() => stored({}));
  await gone[Symbol.asyncDispose]();
  const ran = await report({ "a.xml": passing, "b.xml": passing }, gone, { with: { junit: "*.xml" } });
  const text = "The endpoint does not answer.";
  assertEquals(
    ran.summary,
    table(
      `| <code>a.xml</code> | junit | **Not sent.** ${text} |`,
      `| <code>b.xml</code> | junit | **Not sent.** ${text} |`,
    ),
  );
  assertEquals(ran.warnings.map((warning) => warning.text), [`a.xml: ${text}`, `b.xml: ${text}`]);

  const release = Promise.withResolvers<void>();
  await using silent = serve(async () => {
    await release.promise;
    return stored({});
  });
  const started = performance.now();
  try {
    assertNotSent(
      await report({ "junit.xml": passing }, silent, { with: { junit: "junit.xml", "timeout-seconds": "1" } }),
      text,
    );
    assert(performance.now() - started < 5000);
  } finally {
    release.resolve();
  }
});

Deno.test("a job without a token says what it lacks", async () => {
  const none = { ACTIONS_ID_TOKEN_REQUEST_URL: null, ACTIONS_ID_TOKEN_REQUEST_TOKEN: null };
  assertNotSent(
    await answered(() => stored({}), { env: none }),
    "GitHub gives no OIDC token to this job: it needs the permission id-token: write, or this action a token.",
  );
  assertNotSent(
    await answered(() => stored({}), {
      env: none,
      event: {
        number: 12,
        pull_request: { number: 12, head: { sha: "a1b2c3d", repo: { id: 2 } }, base: { repo: { id: 1 } } },
      },
    }),
    "GitHub gives no OIDC token to a pull request from a fork.",
  );
  const ran = await answered(() => stored({}), { env: { ACTIONS_ID_TOKEN_REQUEST_TOKEN: "another" } });
  assertNotSent(ran, "GitHub gave no OIDC token: it answered 401.");
  assertEquals([ran.calls, ran.audiences.length], [0, 2]);
});

Deno.test("a url that leads nowhere, or that anybody could listen to, gets no token", async () => {
  for (
    const url of [
      "",
      "https://x.supabase.co/functions/v1/ingest-metrics/",
      "https://u:p@x.co/github",
      "ftp://x.co/github",
    ]
  ) {
    const ran = await answered(() => stored({}), { with: { url } });
    assertMatch(ran.warnings[0]!.text, /^junit\.xml: The url must end with the source/);
    assertEquals([ran.calls, ran.audiences], [0, []]);
  }
  const plain = await answered(() => stored({}), { with: { url: "http://x.co/functions/v1/ingest-metrics/github" } });
  assertNotSent(
    plain,
    "The url must begin with https: what proves this job would be readable on the way.",
  );
});

Deno.test("of a pull request, the commit is its head and not the merge that the workflow runs for", async () => {
  await using endpoint = serve(() => stored({}));
  const event = {
    number: 12,
    pull_request: { number: 12, head: { sha: "a1b2c3d4", repo: { id: 1 } }, base: { repo: { id: 1 } } },
  };
  const env = {
    GITHUB_EVENT_NAME: "pull_request",
    GITHUB_HEAD_REF: "feature/x y",
    GITHUB_REF: "refs/pull/12/merge",
    GITHUB_REF_NAME: "12/merge",
  };
  await report({ "junit.xml": passing }, endpoint, { with: { junit: "junit.xml" }, event, env });
  assertEquals(endpoint.received[0]!.query, { job: "test", commit: "a1b2c3d4" });

  const token = "mtr_1_0123456789012345678901234567890123456789012";
  const ran = await report({ "junit.xml": passing }, endpoint, { with: { junit: "junit.xml", token }, event, env });
  assertEquals(endpoint.received[1]!.query, {
    repository: "github:1",
    commit: "a1b2c3d4",
    branch: "feature/x y",
    pull_request: "12",
    run: "7",
    attempt: "2",
    pipeline: "CI",
    job: "test",
    url: "https://github.com/acme/app/actions/runs/7/attempts/2",
  });
  assertEquals(endpoint.received[1]!.headers.get("authorization"), `Bearer ${token}`);
  assertEquals([ran.masks, ran.audiences], [[token], []]);
});

Deno.test("with a token, a push says its branch and commit, and a tag says no branch", async () => {
  await using endpoint = serve(() => stored({}));
  const token = "mtr_1_0123456789012345678901234567890123456789012";
  const said = {
    repository: "github:1",
    commit: variables.GITHUB_SHA!,
    run: "7",
    attempt: "2",
    pipeline: "CI",
    job: "test",
    url: "https://github.com/acme/app/actions/runs/7/attempts/2",
  };
  await report({ "junit.xml": passing }, endpoint, { with: { junit: "junit.xml", token } });
  assertEquals(endpoint.received[0]!.query, { ...said, branch: "main" });
  await report({ "junit.xml": passing }, endpoint, {
    with: { junit: "junit.xml", token, commit: "b2c3d4e" },
    env: { GITHUB_REF: "refs/tags/v1", GITHUB_REF_NAME: "v1", GITHUB_REF_TYPE: "tag" },
  });
  assertEquals(endpoint.received[1]!.query, { ...said, commit: "b2c3d4e" });
});

Deno.test("many refusals leave ten warnings, and all of them in the summary", async () => {
  await using endpoint = serve(() => problem(400, "No."));
  const names = Array.from({ length: 12 }, (_, index) => `${10 + index}.xml`);
  const ran = await report(Object.fromEntries(names.map((name) => [name, passing])), endpoint, {
    with: { junit: "*.xml" },
  });
  assertEquals(
    ran.summary,
    table(...names.map((name) => `| <code>${name}</code> | junit | **Not sent.** Answered 400. No. |`)),
  );
  assertEquals(ran.warnings.map(({ text }) => text), [
    ...names.slice(0, 9).map((name) => `${name}: Answered 400. No.`),
    "3 more; the job summary says which.",
  ]);
});

Deno.test("more files than are sent, and more rows than a summary holds, are counted", async () => {
  await using endpoint = serve(() => problem(401, "No."));
  const files = Object.fromEntries(Array.from({ length: 502 }, (_, index) => [`${1000 + index}.xml`, passing]));
  const ran = await report(files, endpoint, { with: { junit: "*.xml" } });
  const lines = ran.summary.split("\n");
  assertEquals(lines[4], "| <code>2 files</code> | junit | **Not sent.** More than 500 files are not sent. |");
  // The heading, two lines of the table's head, and their empty lines.
  assertEquals(lines.slice(204), ["", "And 301 more.", ""]);
  assertEquals(ran.outputs, { sent: "0", "not-sent": "501" });
  assertEquals(endpoint.received.length, 1);
});

Deno.test("what nobody expected is no failure of the job", async () => {
  await using endpoint = serve(() => stored({}));
  const ran = await report({ "junit.xml": passing }, endpoint, {
    with: { junit: "junit.xml" },
    env: { ACTIONS_ID_TOKEN_REQUEST_URL: "no url" },
  });
  assertEquals(ran.warnings, [{ title: "Metrics not sent", text: "This action failed." }]);
});

Deno.test("a runner without a summary, or with files that cannot be written, is no failure", async () => {
  await using endpoint = serve(() => stored({}));
  const ran = await report({ "junit.xml": passing }, endpoint, {
    with: { junit: "junit.xml" },
    env: { GITHUB_STEP_SUMMARY: null, GITHUB_OUTPUT: "/nowhere/at/all", GITHUB_EVENT_PATH: null },
  });
  assertEquals([ran.log, ran.warnings], [["1 sent, 0 not sent."], []]);
});
