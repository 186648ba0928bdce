import type { Finding } from "./result.ts";
import { runCli, type Target } from "./target.ts";

/** What the advisors of the platform warn of in the schema metrics. */
export async function advisors(
  { target, env, root }: { target: Target; env: Record<string, string | undefined>; root: string },
): Promise<Finding[]> {
  const { code, stdout, stderr } = await runCli(["db", "advisors", "--level=warn", "--output-format=json"], target, {
    root,
    env,
    timeout: 120_000,
  });
  if (code !== 0) {
    const cause = stderr.split("\n").find((line) => /error|failed|denied|permission/i.test(line)) ??
      "it did not say why";
    return [{ code: "advisors_failed", sentence: `The advisors could not be asked: ${cause.trim()}` }];
  }
  const { results }: { results: { name: string; level: string; detail: string; metadata?: { schema?: string } }[] } =
    JSON
      .parse(stdout);
  return results.filter(({ detail, metadata, level }) =>
    level !== "INFO" && (metadata?.schema === "metrics" || /\bmetrics\./.test(detail))
  ).map(({ name, detail }) => ({ code: `advisor_${name}`, sentence: `The advisor ${name} warns: ${detail}` }));
}
