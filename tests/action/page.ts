/** What docs/reporting.md tells people to paste, taken from the page and run as each CI system would. */

import { join } from "@std/path";
import { parse } from "@std/yaml";
import { repository } from "../support/stack.ts";

/** Text of the page. */
export const page: string = await Deno.readTextFile(join(repository, "docs", "reporting.md"));

/** The first fenced block of a section. */
export function block(section: string, language: string): string {
  const text = page.split(/^## /m).find((part) => part.startsWith(`${section}\n`)) ?? "";
  const found = new RegExp(`^\`\`\`${language}\n([\\s\\S]*?)^\`\`\`$`, "m").exec(text)?.[1];
  if (!found) throw new Error(`no block of ${language} in the section ${section}`);
  return found;
}

/** A table of a section, as cells without the header. */
export function tableOf(section: string): string[][] {
  const text = page.split(/^## /m).find((part) => part.startsWith(`${section}\n`)) ?? "";
  return [...text.matchAll(/^\| (.*) \|$/gm)].slice(2).map(([, row]) => row!.split(" | ").map((cell) => cell.trim()));
}

/** Whether this machine has the curl that the page asks for: 7.87 or newer. Without it the snippets cannot run. */
export const hasCurl: boolean = await (async () => {
  const { stdout } = await new Deno.Command("curl", { args: ["--version"], stdin: "null" }).output().catch(() => ({
    stdout: new Uint8Array(),
  }));
  const [, major, minor] = /^curl (\d+)\.(\d+)/.exec(new TextDecoder().decode(stdout)) ?? [];
  return Number(major) > 7 || (Number(major) === 7 && Number(minor) >= 87);
})();

/** A pasted piece of configuration, and what its CI system does with it. */
export interface Pasted {
  /** The shell that its CI system starts. */
  shell: string[];
  script: string;
  /** The variables that the configuration itself sets. */
  variables: Record<string, string>;
}

// deno-lint-ignore no-explicit-any
const yaml = (section: string): any => parse(block(section, "yaml"));

/** The configurations of the page that run a shell. */
export const pasted: Record<string, () => Pasted> = {
  "GitLab CI"() {
    const { test } = yaml("GitLab CI");
    return { shell: ["sh", "-e", "-c"], script: test.after_script.join("\n"), variables: test.variables };
  },
  CircleCI() {
    const { test } = yaml("CircleCI").jobs;
    const { run } = test.steps.at(-1);
    return { shell: ["bash", "-e", "-o", "pipefail", "-c"], script: run.command, variables: test.environment };
  },
  Buildkite() {
    const { env, steps } = yaml("Buildkite");
    // What `buildkite-agent pipeline upload` leaves of two dollars. A single one would have been its own variable.
    if (/(?<!\$)\$(?!\$)/.test(steps[0].command)) throw new Error("a single $");
    return { shell: ["bash", "-e", "-c"], script: steps[0].command.replaceAll("$$", "$"), variables: env };
  },
  Jenkins() {
    const script = /sh '''\n([\s\S]*?)'''/.exec(block("Jenkins", "groovy"))![1]!;
    return { shell: ["sh", "-xe", "-c"], script, variables: {} };
  },
  "Anything else": () => ({ shell: ["sh", "-e", "-c"], script: block("Anything else", "sh"), variables: {} }),
};

/** What a job printed, and how its step ended. */
export interface Printed {
  code: number;
  text: string;
}

/**
 * Runs a pasted script in a folder.
 *
 * @param address takes the place of `https://<project>.supabase.co` of the page
 * @param variables those of the CI system
 * @param programs shell scripts that take the place of programs, by name
 */
export async function runPasted(
  { shell, script, variables: own }: Pasted,
  folder: string,
  address: string,
  variables: Record<string, string>,
  programs: Record<string, string> = {},
): Promise<Printed> {
  const bin = await Deno.makeTempDir({ prefix: "metrics-bin-" });
  try {
    for (const [name, text] of Object.entries(programs)) {
      await Deno.writeTextFile(join(bin, name), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
    }
    const local = (text: string) => text.replaceAll("https://<project>.supabase.co", address);
    const [program, ...args] = shell;
    const { code, stdout, stderr } = await new Deno.Command(program!, {
      args: [...args, local(script)],
      cwd: folder,
      env: {
        PATH: `${bin}:${Deno.env.get("PATH")}`,
        HOME: folder,
        ...Object.fromEntries(Object.entries(own).map(([name, value]) => [name, local(value)])),
        ...variables,
      },
      clearEnv: true,
      stdin: "null",
    }).output();
    const decoder = new TextDecoder();
    return { code, text: decoder.decode(stdout) + decoder.decode(stderr) };
  } finally {
    await Deno.remove(bin, { recursive: true });
  }
}
