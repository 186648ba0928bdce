import { assertEquals } from "@std/assert";
import { runBranch } from "../../tools/deploy/branch.ts";
import { run } from "../../tools/stack/process.ts";

/** A clone whose branch `develop` has a commit of its own, and lacks `behind` of main's. */
async function clone(behind: number) {
  const folder = await Deno.makeTempDir({ prefix: "metrics-branch-" });
  const git = async (at: string, ...words: string[]) => {
    const author = ["-c", "user.name=dev-1", "-c", "user.email=dev-1@example.com"];
    const { code, stderr } = await run(["git", "-C", at, ...author, ...words]);
    assertEquals(code, 0, stderr);
  };
  const [origin, root] = [`${folder}/origin`, `${folder}/clone`];
  await Deno.mkdir(origin);
  await git(origin, "init", "--quiet", "--initial-branch=main");
  // Two commits that say the same in the same second would be one.
  const commit = () => git(origin, "commit", "--quiet", "--allow-empty", `--message=${crypto.randomUUID()}`);
  await commit();
  await git(origin, "switch", "--quiet", "--create", "develop");
  await commit();
  await git(origin, "switch", "--quiet", "main");
  for (let count = 0; count < behind; count++) await commit();
  await git(folder, "clone", "--quiet", "--branch", "develop", origin, root);
  return { root, git, [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }) };
}

const codesOf = async (options: { root: string; to: string; name?: string; env?: Record<string, string> }) =>
  (await runBranch({ env: {}, ...options })).findings.map(({ code }) => code);

Deno.test("production takes main only, staging any branch that contains main", async () => {
  await using repository = await clone(0);
  const { root } = repository;
  assertEquals(await codesOf({ root, to: "production", name: "main" }), []);
  assertEquals(await codesOf({ root, to: "production", name: "develop" }), ["not_main"]);
  assertEquals(await codesOf({ root, to: "staging", name: "main" }), []);
  assertEquals(await codesOf({ root, to: "staging", env: { GITHUB_REF_NAME: "develop" } }), []);
});

Deno.test("a branch that lacks commits of main is refused, and says how many", async () => {
  await using repository = await clone(2);
  const { findings } = await runBranch({ root: repository.root, to: "staging", name: "develop", env: {} });
  assertEquals(findings.map(({ code }) => code), ["behind_main"]);
  assertEquals(/lacks 2 commits of main.*merge main into develop/.test(findings[0]!.sentence), true);
});

Deno.test("what is not known is refused: the environment, the branch, and main in a clone without it", async () => {
  await using repository = await clone(0);
  const { root, git } = repository;
  assertEquals(await codesOf({ root, to: "", name: "main" }), ["unknown_environment"]);
  assertEquals(await codesOf({ root, to: "staging" }), ["no_branch"]);
  await git(root, "update-ref", "-d", "refs/remotes/origin/main");
  assertEquals(await codesOf({ root, to: "staging", name: "develop" }), ["main_unknown"]);
});
