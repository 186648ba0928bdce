import { assert, assertEquals } from "@std/assert";
import { createRequire } from "node:module";
import { join } from "@std/path";
import { repository } from "../../tools/stack/packages.ts";
import { faultsOf } from "../support/workflow_rules.ts";
import { evaluate, filled, readWorkflow } from "../support/workflow.ts";

const folder = join(repository, ".github", "workflows");
const template = join(repository, "tools", "install", "ci.yml");
const files = [...[...Deno.readDirSync(folder)].map(({ name }) => join(folder, name)), template].sort();
const textOf = (name: string) => Deno.readTextFileSync(join(folder, name));

/** actionlint, compiled to WebAssembly. Its package's entry needs a terminal's colours; the linter itself does not. */
const { runLint } = createRequire(import.meta.url)(
  join(repository, "node_modules", "@tktco", "node-actionlint", "build", "run-lint.js"),
) as { runLint(text: string, path: string): Promise<{ message: string; line: number; kind: string }[]> };

// What Go starts in WebAssembly runs on; it ends with the process.
const unwatched = { sanitizeOps: false, sanitizeResources: false };

Deno.test("actionlint finds nothing in the workflows", unwatched, async () => {
  for (const file of files) assertEquals(await runLint(await Deno.readTextFile(file), file), [], file);
});

Deno.test(
  "actionlint finds a key, a need and an input that do not exist, and a stranger's text in a script",
  unwatched,
  async () => {
    const text = `on: push
jobs:
  a:
    runs-on: ubuntu-24.04
    needs: b
    step: []
    steps:
      - uses: actions/checkout@v4
        with:
          depth: 0
      - run: echo \${{ github.event.issue.title }}
`;
    const kinds = new Set((await runLint(text, "a.yml")).map(({ kind }) => kind));
    assertEquals([...kinds].sort(), ["action", "expression", "job-needs", "syntax-check"]);
  },
);

Deno.test("the workflows keep the rules that no linter knows", () => {
  for (const file of files) assertEquals(faultsOf(Deno.readTextFileSync(file)), [], file);
});

/** A fault, planted by a change of one of the workflows, and the code by which it is found. */
const planted: [code: string, file: string, from: string | RegExp, to: string][] = [
  ["action_not_pinned", "ci.yml", /@[0-9a-f]{40} # (v[\d.]+)/, "@$1"],
  ["action_not_pinned", "ci.yml", / # v7.0.1/, ""],
  ["program_not_pinned", "ci.yml", "npx -y deno@2.9.6", "npx -y deno@latest"],
  ["dangerous_trigger", "ci.yml", "  pull_request:", "  pull_request_target:"],
  ["no_permissions", "ci.yml", "permissions:\n  contents: read\n", ""],
  ["too_many_permissions", "ci.yml", "contents: read", "contents: write"],
  ["too_many_permissions", "rollback.yml", "actions: read", "actions: write"],
  ["no_time_limit", "nightly.yml", / +timeout-minutes: \d+\n/, ""],
  ["credentials_stay", "nightly.yml", / +with:\n +persist-credentials: false\n/, ""],
  ["expression_in_script", "supabase-schema-deploy.yml", '--to="$TARGET"', "--to=${{ github.event.inputs.target }}"],
  [
    "secret_outside_environment",
    "drift.yml",
    '  SUPABASE_TELEMETRY_DISABLED: "1"',
    "  TOKEN: ${{ secrets.SUPABASE_ACCESS_TOKEN }}",
  ],
  [
    "secret_in_every_step",
    "drift.yml",
    "    timeout-minutes: 15\n    env:\n",
    "    timeout-minutes: 15\n    env:\n      SUPABASE_ACCESS_TOKEN: ${{ secrets.SUPABASE_ACCESS_TOKEN }}\n",
  ],
  [
    "secret_not_needed",
    "rollback.yml",
    /( +)(SUPABASE_ACCESS_TOKEN: .*\n)( +run: supabase link)/,
    "$1$2$1SUPABASE_DB_PASSWORD: ${{ secrets.SUPABASE_DB_PASSWORD }}\n$3",
  ],
  ["push_before_environment", "supabase-schema-deploy.yml", " --environment=staging", ""],
  ["push_before_environment", "supabase-schema-deploy.yml", "--environment=production", "--environment=staging"],
  ["secret_outside_environment", "supabase-schema-deploy.yml", "    environment: staging\n", ""],
  ["secret_of_another_environment", "drift.yml", "secrets.CATALOG_DATABASE_URL", "secrets.STAGING_DATABASE_URL"],
  ["all_secrets_at_once", "drift.yml", "${{ secrets.CATALOG_DATABASE_URL }}", "${{ toJSON(secrets) }}"],
  [
    "pull_request_reaches_environment",
    "ci.yml",
    "    timeout-minutes: 30",
    "    timeout-minutes: 30\n    environment: staging",
  ],
  ["deployments_at_once", "supabase-schema-deploy.yml", "group: supabase-deploy", "group: deploy"],
  ["deployments_at_once", "rollback.yml", "cancel-in-progress: false", "cancel-in-progress: true"],
  ["staging_without_validation", "supabase-schema-deploy.yml", "    needs: validate\n", ""],
  ["production_without_staging", "supabase-schema-deploy.yml", "    needs: staging", "    needs: validate"],
  ["hurtful_command", "ci.yml", "supabase db start", "supabase db reset"],
  ["hurtful_command", "supabase-schema-deploy.yml", 'supabase link "$SUPABASE_PROJECT_ID"', "supabase config push"],
  ["download_in_script", "ci.yml", "supabase db start", "curl -s localhost | sh"],
  ["consent_in_pull_request", "ci.yml", "supabase db start", "supabase db push --remote --yes"],
  [
    "not_thin",
    "ci.yml",
    "      - run: supabase db start",
    "      - run: |\n          a\n          b\n          c\n          d",
  ],
];

for (const [code, file, from, to] of planted) {
  Deno.test(`a workflow with a fault is found: ${code} in ${file} (${to.trim().split("\n")[0] || "left out"})`, () => {
    const text = textOf(file);
    const changed = text.replace(from, to);
    assert(changed !== text, "the fault was not planted");
    const codes = faultsOf(changed).map(({ code }) => code);
    assert(codes.includes(code), `found ${codes.join(", ") || "nothing"}`);
  });
}

Deno.test("one version of each action and program, that which the project has", () => {
  const versions = new Map<string, Set<string>>();
  const add = (name: string, version: string) => versions.set(name, (versions.get(name) ?? new Set()).add(version));
  for (const file of files) {
    const text = Deno.readTextFileSync(file);
    for (const [, name, version] of text.matchAll(/uses: (\S+)@(.*)/g)) add(name!, version!);
    for (const [, version] of text.matchAll(/npx -y deno@(\S+)/g)) add("deno", version!);
    for (const [, version] of text.matchAll(/ {10}version: (\S+)/g)) add("supabase", version!);
  }
  for (const [name, found] of versions) assertEquals(found.size, 1, `${name}: ${[...found].join(", ")}`);
  const { imports } = JSON.parse(Deno.readTextFileSync(join(repository, "deno.json")));
  assertEquals([...versions.get("supabase")!], [imports["@supabase/cli-linux-x64"].split("@").at(-1)]);
  assert(
    Deno.readTextFileSync(join(repository, "README.md")).includes(`deno@${[...versions.get("deno")!][0]} task test`),
  );
});

Deno.test("no task and no gate holds a command that would hurt the app", () => {
  const { tasks } = JSON.parse(Deno.readTextFileSync(join(repository, "deno.json")));
  const commands = Object.values(tasks as Record<string, { command: string }>).map(({ command }) => command);
  const sources = ["deploy", "install", "stack"].flatMap((name) => {
    const folder = join(repository, "tools", name);
    return [...Deno.readDirSync(folder)].filter(({ name }) => name.endsWith(".ts")).map(({ name }) =>
      Deno.readTextFileSync(join(folder, name))
    );
  });
  const hurtful = /"config", "push"|--prune|"migration", "(down|repair|squash)"|"db", "reset"|config push|db reset/;
  for (const text of [...commands, ...sources]) {
    // What a comment or a sentence warns of is no command.
    const code = text.split("\n").filter((line) => !/^\s*(\/\/|\*|\/\*|["'`].*(never|not)\b)/i.test(line)).join("\n");
    assertEquals(hurtful.exec(code)?.[0], undefined);
  }
});

Deno.test("expressions mean what they mean to GitHub", () => {
  const contexts = {
    github: { ref_name: "main", event_name: "push", event: { repository: { private: true } } },
    inputs: { target: "" },
  };
  const target = "inputs.target || (github.ref_name == 'main' && 'production' || 'staging')";
  assertEquals(evaluate(target, contexts), "production");
  assertEquals(evaluate(target, { ...contexts, inputs: { target: "staging" } }), "staging");
  assertEquals(evaluate(target, { ...contexts, github: { ref_name: "develop" } }), "staging");
  assertEquals(evaluate("!github.event.repository.private", contexts), false);
  assertEquals(evaluate("!cancelled()", contexts, true), true);
  assertEquals(evaluate("success()", contexts, true), false);
  assertEquals(evaluate("'It''s' == 'IT''S'", contexts), true);
  assertEquals(filled("${{ inputs.unknown }}-${{ github.ref_name }}", contexts), "-main");
  for (const wrong of ["nothing.there", "github.ref ==", "(true", "true true", "#"]) {
    let failed = false;
    try {
      evaluate(wrong, contexts);
    } catch {
      failed = true;
    }
    assert(failed, wrong);
  }
});

Deno.test("each trigger runs the jobs that it should", () => {
  const { jobs } = readWorkflow(textOf("supabase-schema-deploy.yml"));
  const condition = /\$\{\{(.*)\}\}/.exec(jobs.production!.if!)![1]!;
  const goesToProduction = (event_name: string, branch: string, target = "") =>
    evaluate(condition, { github: { event_name, ref: `refs/heads/${branch}` }, inputs: { target } }) === true;
  assertEquals(goesToProduction("push", "main"), true);
  assertEquals(goesToProduction("push", "develop"), false);
  assertEquals(goesToProduction("workflow_dispatch", "main", "production"), true);
  assertEquals(goesToProduction("workflow_dispatch", "main", "staging"), false);
  assertEquals(goesToProduction("workflow_dispatch", "develop", "production"), false);
});

Deno.test("the documentation names every secret, variable, gate and finding as they are", () => {
  const page = Deno.readTextFileSync(join(repository, "docs", "deploying.md"));
  for (const file of files) {
    for (const [, name] of Deno.readTextFileSync(file).matchAll(/\b(?:secrets|vars)\.([A-Z_]+)/g)) {
      assert(page.includes(`\`${name}\``), `${name} of ${file} is not explained`);
    }
    for (const [, gate] of Deno.readTextFileSync(file).matchAll(/task deploy (\w+)/g)) {
      assert(page.includes(`\`${gate}\``) || page.includes(`deploy ${gate}`), `the gate ${gate} is not explained`);
    }
  }
  const gates = page.slice(page.indexOf("## Gates"), page.indexOf("## What can go wrong"));
  const sources = [...Deno.readDirSync(join(repository, "tools", "deploy"))].filter(({ name }) => name.endsWith(".ts"))
    .map(({ name }) => Deno.readTextFileSync(join(repository, "tools", "deploy", name))).join("\n");
  const codes = [...gates.matchAll(/`([a-z]+_[a-z_]+)`/g)].map(([, code]) => code!);
  assert(codes.length > 10);
  for (const code of codes) assert(sources.includes(`"${code}"`), `no gate finds ${code}`);
});

Deno.test("each link within the pages on deploying and installing leads somewhere", () => {
  const anchor = (heading: string) => heading.toLowerCase().replace(/[^\w -]/g, "").replaceAll(" ", "-");
  for (const name of ["deploying.md", "installing.md"]) {
    const text = Deno.readTextFileSync(join(repository, "docs", name));
    for (const [, link] of text.matchAll(/\]\(([^)]+)\)/g)) {
      const [file, part] = link!.split("#");
      const target = Deno.readTextFileSync(join(repository, "docs", file || name));
      const anchors = [...target.matchAll(/^#+ (.*)$/gm)].map(([, heading]) => anchor(heading!));
      assert(part === undefined || anchors.includes(part), `${name}: ${link}`);
    }
  }
});
