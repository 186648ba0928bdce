/** For the tests of reports: a context, and facts as they go to the database. */

import { checkFacts, type Facts } from "../facts.ts";
import { type Context, type ReportProblem, reports, sentences } from "./mod.ts";

/** A context as a job of GitHub Actions has it, with what a test changes. */
export function contextWith(change: Partial<Context> = {}): Context {
  return {
    repository: "github:1",
    commitSha: "0f3c1d2e4b5a69788796a5b4c3d2e1f001122334",
    branch: "main",
    runExternalId: "7",
    attempt: 2,
    pullRequestNumber: null,
    pipeline: "CI",
    jobExternalId: null,
    job: "build",
    suite: null,
    environment: null,
    observedAt: "2026-01-05T09:00:00Z",
    url: null,
    ...change,
  };
}

/** The facts of a report, checked as they will be. Throws for one that is refused. */
export function factsOf(report: string, text: string, change: Partial<Context> = {}): Facts {
  const reported = reports.get(report)!.read(text, contextWith(change));
  if (!("facts" in reported)) throw new Error(JSON.stringify(reported));
  const checked = checkFacts(reported.facts);
  if ("wrong" in checked) throw new Error(checked.wrong);
  return checked.facts;
}

/** What is wrong with a report: its problems, or the one code of what cannot be parsed. Throws for a code without a sentence. */
export function refusalOf(report: string, text: string, change: Partial<Context> = {}): ReportProblem[] | string {
  const reported = reports.get(report)!.read(text, contextWith(change));
  if ("facts" in reported) throw new Error("not refused");
  const codes = "refused" in reported
    ? reported.refused.map(({ code }) => code)
    : [reported.unreadable.split(": ")[0]!];
  for (const code of codes) if (!Object.hasOwn(sentences, code)) throw new Error(`no sentence for ${code}`);
  return "refused" in reported ? reported.refused : reported.unreadable;
}

/**
 * A JUnit file of about so many bytes, of suites of 100 tests as Surefire writes them.
 *
 * @param failing how many tests have words, at most
 */
export function largeJunit(bytes: number, failing: number): string {
  const parts = ['<?xml version="1.0" encoding="UTF-8"?>\n<testsuites>\n'];
  let size = parts[0]!.length;
  const trace = "\tat com.acme.shop.checkout.BasketService.total(BasketService.java:117)\n";
  for (let number = 0, left = failing; size < bytes - 4096; number++) {
    const name = `com.acme.shop.checkout.module${number}.BasketService${number}Test`;
    let suite =
      `<testsuite name="${name}" tests="100" time="1,234.5" timestamp="2026-01-05T09:00:00Z" hostname="runner">\n`;
    for (let test = 0; test < 100 && size + suite.length < bytes - 4096; test++) {
      const start = `<testcase classname="${name}" name="addsUpItem${test} &amp; its tax" time="0.0${test}"`;
      const isFailing = test % 7 === 0 && left-- > 0;
      suite += isFailing
        ? `${start}><failure message="expected: &lt;1&gt; but was: &lt;2&gt;" type="E"><![CDATA[${trace}]]></failure></testcase>\n`
        : `${start}/>\n`;
    }
    suite += `<system-out><![CDATA[started ${number}]]></system-out></testsuite>\n`;
    parts.push(suite);
    size += suite.length;
  }
  return `${parts.join("")}</testsuites>\n`;
}
