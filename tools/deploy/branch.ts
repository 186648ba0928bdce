// Judges the branch that asks to be deployed, before anything else is looked at.
import { run } from "../stack/process.ts";
import { type GateContext, type GateResult, Report } from "./result.ts";

/** Which branch wants to go where. */
export interface BranchOptions extends GateContext {
  /** Where the deployment would end: what goes to production passes staging first. */
  to: string;
  /** The branch; default: GITHUB_REF_NAME. */
  name?: string | undefined;
}

/** The branch that production takes; every other one must contain it. */
const mainBranch = "main";

/** The gate `branch`. */
export async function runBranch(options: BranchOptions): Promise<GateResult> {
  const { root, env, to } = options;
  const name = options.name ?? env.GITHUB_REF_NAME ?? "";
  const report = new Report("branch", null, options);
  if (to !== "staging" && to !== "production") {
    report.find({
      code: "unknown_environment",
      sentence: `There is no environment ${JSON.stringify(to)}: a deployment goes to staging or to production.`,
    });
  } else if (name === "") {
    report.find({
      code: "no_branch",
      sentence: "It is not known which branch this is: name it with --name=<branch>, or set GITHUB_REF_NAME.",
    });
  } else if (to === "production" && name !== mainBranch) {
    report.find({
      code: "not_main",
      sentence:
        `Production takes the branch ${mainBranch} only, and this is ${name}: merge it into ${mainBranch}, or choose staging.`,
    });
  } else if (name !== mainBranch) {
    await findBehind(root, name, report);
  }
  if (report.ok) report.note(`The branch ${name} may go to ${to}.`);
  return report.result({ branch: name, to });
}

/**
 * Staging follows the branch that pushed last. One that lacks what is on main would take staging back behind production, and what
 * it proves there would not hold.
 */
async function findBehind(root: string, name: string, report: Report): Promise<void> {
  const git = async (...words: string[]) => await run(["git", "-C", root, ...words], { timeout: 30_000 });
  const main = `refs/remotes/origin/${mainBranch}`;
  const known = await git("rev-parse", "--verify", "--quiet", `${main}^{commit}`);
  if (known.code !== 0) {
    report.find({
      code: "main_unknown",
      sentence:
        `The clone does not know the branch ${mainBranch} of origin: fetch the whole history (fetch-depth: 0), so that it can be seen ` +
        `whether ${name} is behind it.`,
    });
    return;
  }
  const missing = await git("rev-list", "--count", `HEAD..${main}`);
  const count = Number(missing.stdout.trim());
  if (missing.code !== 0 || count > 0) {
    report.find({
      code: "behind_main",
      sentence:
        `The branch ${name} lacks ${count} ${
          count === 1 ? "commit" : "commits"
        } of ${mainBranch}, and staging must never fall behind ` +
        `production: merge ${mainBranch} into ${name} and push again.`,
    });
  }
}
