/**
 * Has the reports of `made/` written by the tools that people use, from the tests of `project/`. What is another each time (times, this
 * machine's name and paths) is replaced. Run by itself it writes `made/` again: `deno run -A tests/reports/make.ts`
 */

import { dirname, fromFileUrl, join } from "@std/path";

const here = dirname(fromFileUrl(import.meta.url));

/** The reports as they are committed. */
export const madeFolder: string = join(here, "made");

/** A tool: its command, and the file that it writes. */
interface Tool {
  command: string[];
  file: string;
  env?: Record<string, string>;
}

const coverage = (tool: string, reporter: string) => [
  tool,
  `--reporter=${reporter}`,
  `--${tool === "c8" ? "reports" : "report"}-dir=out/${tool}`,
  "node",
  "test/covered/main.js",
];

/** The tools, by the name of the report in `made/`. Commands are those of docs/reporting.md, but for the paths. */
const tools: Readonly<Record<string, Tool>> = {
  "jest.xml": {
    command: ["jest", "--ci"],
    file: "out/jest.xml",
    env: { JEST_JUNIT_OUTPUT_FILE: "out/jest.xml" },
  },
  "vitest.xml": {
    command: ["vitest", "run", "--reporter=junit", "--outputFile=out/vitest.xml"],
    file: "out/vitest.xml",
  },
  "playwright.xml": {
    command: ["playwright", "test"],
    file: "out/playwright.xml",
    env: { PLAYWRIGHT_JUNIT_OUTPUT_FILE: "out/playwright.xml" },
  },
  "mocha.xml": {
    command: [
      "mocha",
      "test/mocha",
      "--reporter=mocha-junit-reporter",
      "--reporter-options=mochaFile=out/mocha.xml,includePending=true",
    ],
    file: "out/mocha.xml",
  },
  "node.xml": {
    command: [
      "node",
      "--test",
      "--test-reporter=junit",
      "--test-reporter-destination=out/node.xml",
      "test/node/basket.js",
    ],
    file: "out/node.xml",
  },
  "eslint.sarif": {
    command: ["eslint", "-f", "@microsoft/eslint-formatter-sarif", "-o", "out/eslint.sarif", "src"],
    file: "out/eslint.sarif",
  },
  "c8.lcov": { command: coverage("c8", "lcovonly"), file: "out/c8/lcov.info" },
  "c8.cobertura.xml": { command: coverage("c8", "cobertura"), file: "out/c8/cobertura-coverage.xml" },
  "nyc.lcov": { command: coverage("nyc", "lcovonly"), file: "out/nyc/lcov.info" },
  "nyc.cobertura.xml": { command: coverage("nyc", "cobertura"), file: "out/nyc/cobertura-coverage.xml" },
};

/** Names of all reports. */
export const reportNames: readonly string[] = Object.keys(tools);

/**
 * Installs the tools in a copy of the project and runs them: the reports, by name.
 *
 * @throws {Error} when the tools cannot be installed, or one writes no report
 */
export async function makeReports(): Promise<Map<string, string>> {
  // The path may be a link, and tools write where it leads.
  const folder = await Deno.realPath(await Deno.makeTempDir({ prefix: "metrics-reports-" }));
  try {
    await copy(join(here, "project"), folder);
    await Deno.mkdir(join(folder, "out"));
    await run(folder, ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], {}, true);
    const made = new Map<string, string>();
    for (const [name, { command, file, env }] of Object.entries(tools)) {
      // Of tests that fail on purpose, the tool fails as well: its report is what counts.
      await run(folder, command, env ?? {}, false);
      made.set(name, settled(await Deno.readTextFile(join(folder, file)), folder));
    }
    return made;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function run(folder: string, command: string[], env: Record<string, string>, mustPass: boolean): Promise<void> {
  const [program, ...args] = command;
  const { code, stdout, stderr } = await new Deno.Command(program!, {
    args,
    cwd: folder,
    env: {
      PATH: `${join(folder, "node_modules", ".bin")}:${Deno.env.get("PATH")}`,
      CI: "true",
      NO_COLOR: "1",
      TZ: "UTC",
      ...env,
    },
    stdin: "null",
  }).output();
  if (code === 0 || !mustPass) return;
  const decoder = new TextDecoder();
  throw new Error(`${program} ended with ${code}: ${decoder.decode(stdout)}${decoder.decode(stderr)}`);
}

async function copy(from: string, to: string): Promise<void> {
  await Deno.mkdir(to, { recursive: true });
  for await (const { name, isDirectory } of Deno.readDir(from)) {
    if (name === "node_modules") continue;
    if (isDirectory) await copy(join(from, name), join(to, name));
    else await Deno.copyFile(join(from, name), join(to, name));
  }
}

/** The report with one time, one machine and one folder instead of what was there today. */
function settled(text: string, folder: string): string {
  return text
    .replaceAll(folder, "/project")
    .replaceAll(`hostname="${Deno.hostname()}"`, 'hostname="machine"')
    .replace(/\btime="[\d.]+"/g, 'time="0.125"')
    .replace(/\btimestamp="\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d/g, 'timestamp="2026-01-05T09:00:00')
    .replace(/\btimestamp="2026-01-05T09:00:00\.\d+/g, 'timestamp="2026-01-05T09:00:00.000')
    .replace(/\btimestamp="\d{13}"/g, 'timestamp="1767603600000"')
    .replace(/duration_ms [\d.]+/g, "duration_ms 125")
    // Lines of Node's own files are others in each version of it.
    .replace(/\((node:[\w/]+):\d+:\d+\)/g, "($1:1:1)");
}

if (import.meta.main) {
  await Deno.mkdir(madeFolder, { recursive: true });
  for (const [name, text] of await makeReports()) await Deno.writeTextFile(join(madeFolder, name), text);
}
