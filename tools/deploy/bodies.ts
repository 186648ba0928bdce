/** Bodies of functions and DO blocks, which Postgres' parser of statements leaves as text, taken apart word by word. */

/** A piece of a body: a word, a string with its contents, or a sign. Comments are left out. */
interface Token {
  kind: "word" | "string" | "sign";
  /** A word in lower case, a string without its quotes. */
  text: string;
  start: number;
  end: number;
}

const pieces =
  /--[^\n]*|\/\*[\s\S]*?\*\/|(?:\b[eE])'(?:[^'\\]|''|\\[\s\S])*'|'(?:[^']|'')*'|\$(\w*)\$[\s\S]*?\$\1\$|"(?:[^"]|"")*"|[\p{L}_][\p{L}\d_$]*|\S/gu;

function tokensOf(body: string): Token[] {
  return [...body.matchAll(pieces)].filter(([text]) => !/^(--|\/\*)/.test(text)).map(({ 0: text, index }) => {
    const [start, end] = [index, index + text.length];
    if (/^[eE]?'/.test(text)) {
      return { kind: "string", text: text.slice(text.indexOf("'") + 1, -1).replaceAll("''", "'"), start, end };
    }
    const tag = /^\$\w*\$/.exec(text)?.[0];
    if (tag) return { kind: "string", text: text.slice(tag.length, -tag.length), start, end };
    if (text.startsWith('"')) return { kind: "word", text: text.slice(1, -1), start, end };
    return { kind: /^[\p{L}_]/u.test(text) ? "word" : "sign", text: text.toLowerCase(), start, end };
  });
}

/** Whether a body, or a string in it, ends a transaction. */
export function endsTransaction(body: string): boolean {
  const tokens = tokensOf(body);
  return tokens.some(({ kind, text }, index) => {
    if (kind === "string") return text !== body && endsTransaction(text);
    if (kind !== "word" || (text !== "commit" && text !== "rollback")) return false;
    // As a statement: a column, and a text that is data, may be called so, too.
    const [before, next, afterNext] = [tokens[index - 1]?.text, tokens[index + 1]?.text, tokens[index + 2]?.text];
    return (before === undefined || [";", "begin", "then", "else", "loop"].includes(before)) &&
      ([";", "work", "transaction"].includes(next ?? "") || next === "and" && /^(no|chain)$/.test(afterNext ?? ""));
  });
}

/** Names of the functions that a body calls, without their schemas. */
export function calledIn(body: string): string[] {
  const tokens = tokensOf(body);
  return tokens.filter(({ kind }, index) => kind === "word" && tokens[index + 1]?.text === "(").map(({ text }) => text);
}

/** Names with a schema in a text that no parser understands. */
export function qualifiedIn(text: string): string[][] {
  const tokens = tokensOf(text);
  return tokens.flatMap((token, index) => {
    const [dot, name] = [tokens[index + 1], tokens[index + 2]];
    return token.kind === "word" && dot?.text === "." && name?.kind === "word" && tokens[index - 1]?.text !== "."
      ? [[token.text, name.text]]
      : [];
  });
}

/**
 * The statements, conditions and declarations of a body in PL/pgSQL, each from its first word on.
 *
 * Words that open a block part them as semicolons do; within brackets, and within a CASE that is an expression, nothing does.
 */
export function partsOf(body: string): string[] {
  const parts: string[] = [];
  let begun: Token[] = [];
  let brackets = 0;
  let cases = 0;
  const end = (upTo: number) => {
    if (begun.length > 0) parts.push(body.slice(begun[0]!.start, upTo).trim());
    begun = [];
    brackets = cases = 0;
  };
  for (const token of tokensOf(body)) {
    const { kind, text, start } = token;
    if (kind === "sign") {
      if ("([".includes(text)) brackets++;
      if (")]".includes(text)) brackets--;
      if (text === ";") {
        end(start);
        continue;
      }
    }
    if (kind === "word" && brackets === 0) {
      if (text === "case" && begun.length > 0 && begun[0]!.text !== "end") cases++;
      else if (text === "end" && cases > 0) cases--;
      else if (cases === 0 && begun[0]?.text !== "merge") {
        if (["begin", "declare", "then", "else", "loop"].includes(text) && begun[0]?.text !== "end") {
          end(start);
          continue;
        }
      }
    }
    begun.push(token);
  }
  end(body.length);
  return parts;
}

/**
 * What of a part of a body is SQL: as a statement that a parser may understand.
 *
 * @returns forms to try, the likeliest first; none where the part holds no SQL
 */
export function asSql(part: string): { forms: string[]; isStatement: boolean } {
  const text = part.replace(/^(?:<<\s*\w+\s*>>\s*)+/, "");
  const first = /^[a-z]+/i.exec(text)?.[0].toLowerCase() ?? "";
  const rest = text.slice(first.length);
  // Where a result goes to is PL/pgSQL's own, and may stand anywhere.
  const withoutTarget = (sql: string) =>
    sql.replace(/(?<!\b(?:insert|merge)\s+)\binto\s+(?:strict\s+)?[\w.]+(?:\s*,\s*[\w.]+)*/i, " ");
  if (/^(end|exit|continue|null|get|close|fetch|move)$/.test(first)) return { forms: [], isStatement: false };
  if (first === "perform") return { forms: [`select${rest}`], isStatement: true };
  if (/^(if|elsif|elseif|while|return|case|when|assert)$/.test(first)) {
    const expression = rest.replace(/^\s+(?:query|next)\b/i, "");
    return { forms: [`select (${expression})`, expression], isStatement: false };
  }
  if (first === "foreach") {
    return { forms: [`select ${rest.replace(/^[\s\S]*?\bin\s+array\b/i, "")}`], isStatement: false };
  }
  if (first === "for") {
    const source = rest.replace(/^[\s\S]*?\bin\b(?:\s+reverse\b)?/i, "");
    return { forms: [source, `select ${source.replace("..", ",")}`], isStatement: false };
  }
  if (first === "execute" || first === "raise" || first === "open") {
    return { forms: [`select ${withoutTarget(rest).replace(/\busing\b/i, ",")}`], isStatement: false };
  }
  const assigned = /^[\w.]+(?:\[[^\]]*\])?\s*:?=([\s\S]*)$/.exec(text) ??
    /^\w+\s[\s\S]*?(?::=|\bdefault\b)([\s\S]*)$/i.exec(text);
  const verb =
    /^(with|select|insert|update|delete|merge|truncate|lock|copy|create|alter|drop|grant|revoke|comment|set|reset|call|do|vacuum|analyze|cluster|reindex|refresh|reassign|security|discard|notify|listen|import|explain|values|table|checkpoint|load|prepare|deallocate)$/;
  if (verb.test(first)) return { forms: [text, withoutTarget(text)], isStatement: true };
  return { forms: assigned ? [`select (${assigned[1]})`] : [], isStatement: false };
}
