/** What stands in the pages of the documentation: fenced blocks to be run or compared, links, and answers as psql prints them. */

import type postgres from "postgres";
import { join } from "@std/path";
import { repository } from "./stack.ts";

/** A fenced block of a page. */
export interface Block {
  /** First word after the fence: `sql`. */
  language: string;
  /** The words after it: the name of an example. */
  about: string;
  text: string;
  /** The paragraph that follows, in one line. */
  after: string;
}

/** The text of a page, by its path in the repository. */
export function readPage(path: string): string {
  return Deno.readTextFileSync(join(repository, path));
}

/** The fenced blocks of a text, in their order. */
export function blocksOf(text: string): Block[] {
  const parts = text.split(/^```/m);
  const blocks: Block[] = [];
  for (let i = 1; i + 1 < parts.length; i += 2) {
    const [first = "", ...lines] = parts[i]!.split("\n");
    const [language = "", ...about] = first.trim().split(" ");
    const after = parts[i + 1]!.trim().split(/\n\n/)[0]!.replaceAll("\n", " ");
    blocks.push({ language, about: about.join(" "), text: lines.join("\n"), after });
  }
  return blocks;
}

/** Each block of one language that is directly followed by one of another: what is run, and what comes of it. */
export function answeredBlocks(text: string, asked: string, answered: string): { run: string; answer: string }[] {
  const inside = "((?:(?!^```)[^])*)^```";
  return [...text.matchAll(new RegExp(`^\`\`\`${asked}\n${inside}\n+\`\`\`${answered}\n${inside}$`, "gm"))]
    .map(([, run, answer]) => ({ run: run!, answer: answer! }));
}

/** Links of a page that lead nowhere: to files that are not there, or headings that the page or the other page lacks. */
export function brokenLinks(path: string, text: string): string[] {
  const prose = text.replaceAll(/^```[^]*?^```$/gm, "");
  return [...prose.matchAll(/\]\(([^)\s]+)\)/g)].map(([, link]) => link!).filter((link) => {
    if (/^https:/.test(link)) return false;
    const [file = "", anchor] = link.split("#");
    const target = file === "" ? path : join(path, "..", file);
    try {
      const info = Deno.statSync(join(repository, target));
      if (anchor === undefined) return false;
      return !info.isFile || !anchorsOf(file === "" ? text : readPage(target)).has(anchor);
    } catch {
      return true;
    }
  });
}

function anchorsOf(text: string): Set<string> {
  const headings = text.replaceAll(/^```[^]*?^```$/gm, "").matchAll(/^#+ (.*)$/gm);
  return new Set(
    [...headings].map(([, heading]) =>
      heading!.toLowerCase().replaceAll(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-")
    ),
  );
}

/** Types that psql puts to the right. */
const numeric = new Set([20, 21, 23, 700, 701, 1700]);

/** The answer to a statement as psql prints it, without blanks at the ends of lines. */
export async function asPsql(sql: postgres.Sql | postgres.TransactionSql, statement: string): Promise<string> {
  const answer = await sql.unsafe(statement).raw();
  const { columns } = answer as unknown as { columns: { name: string; type: number }[] };
  const rows = [...answer].map((row) =>
    [...row as unknown as (Uint8Array | null)[]].map((cell) => cell === null ? "" : new TextDecoder().decode(cell))
  );
  const widths = columns.map(({ name }, i) => Math.max(name.length, ...rows.map((row) => row[i]!.length)));
  const centred = (text: string, width: number) => `${" ".repeat((width - text.length) >> 1)}${text}`.padEnd(width);
  const lines = [
    columns.map(({ name }, i) => ` ${centred(name, widths[i]!)} `).join("|"),
    widths.map((width) => "-".repeat(width + 2)).join("+"),
    ...rows.map((row) =>
      row.map((cell, i) => ` ${numeric.has(columns[i]!.type) ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)} `)
        .join("|")
    ),
    rows.length === 1 ? "(1 row)" : `(${rows.length} rows)`,
  ];
  return lines.map((line) => `${line.trimEnd()}\n`).join("");
}
