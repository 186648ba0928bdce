/**
 * XML of reports as events, never as a tree. The parser is saxes: it refuses what is not well-formed, knows no entity but the five of XML and
 * opens nothing. A document type is refused as well, or skipped unread where a report's real tools write one.
 */

import { SaxesParser } from "saxes";

/** Deepest nesting of elements. The deepest report that was seen has a dozen levels. */
const MAX_DEPTH = 100;
/** Most attributes of one element. The most that was seen are a dozen. */
const MAX_ATTRIBUTES = 1000;

/** What is told of a document, in its order. */
export interface XmlHandlers {
  open(name: string, attributes: Readonly<Record<string, string>>): void;
  /** Text and CDATA inside the innermost open element, perhaps in several pieces. */
  text(text: string): void;
  close(name: string): void;
}

/** Thrown by a handler to end the reading with a code. */
export class XmlProblem extends Error {
  constructor(readonly code: string) {
    super(code);
  }
}

// Characters that XML does not allow, as themselves and as references; tools copy them from the output of tests.
// deno-lint-ignore no-control-regex
const forbidden = /[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]/g;
const forbiddenReference = /&#(?:x0*(?:[0-8bcef]|1[\da-f]|fff[ef])|0*(?:[0-8]|1[1245-9]|2\d|3[01]|6553[45]));/gi;

/**
 * Reads a document. Characters that XML does not allow become U+FFFD, because the names and counts beside them are right all the same.
 *
 * @param doctype `skip` takes a document type that names an external file, which is never opened, and nothing else
 * @returns undefined, or a code, with the line behind it where there is one: `not_xml: line 12`
 */
export function readXml(
  text: string,
  handlers: XmlHandlers,
  doctype: "refuse" | "skip" = "refuse",
): string | undefined {
  let depth = 0;
  let attributes = 0;
  const parser = new SaxesParser({ xmlns: false });
  const stop = (code: string) => {
    throw new XmlProblem(code);
  };
  parser.on("error", (error) => stop(error.message.endsWith("undefined entity.") ? "xml_entity" : "not_xml"));
  parser.on("doctype", (declaration) => {
    if (doctype === "refuse" || declaration.includes("[")) stop("xml_doctype");
  });
  parser.on("opentag", (tag) => {
    if (++depth > MAX_DEPTH) stop("xml_too_deep");
    attributes = 0;
    handlers.open(tag.name, tag.attributes);
  });
  parser.on("attribute", () => {
    if (++attributes > MAX_ATTRIBUTES) stop("xml_too_many_attributes");
  });
  parser.on("closetag", (tag) => {
    depth--;
    handlers.close(tag.name);
  });
  parser.on("text", (piece) => handlers.text(piece));
  parser.on("cdata", (piece) => handlers.text(piece));
  // Lines before the declaration are not well-formed, and common where a tool's output was redirected to a file.
  const start = /^\s*/.exec(text)![0];
  try {
    parser.write(allowed(text.slice(start.length))).close();
  } catch (error) {
    if (!(error instanceof XmlProblem)) throw error;
    return `${error.code}: line ${parser.line + start.split("\n").length - 1}`;
  }
  return undefined;
}

function allowed(text: string): string {
  const replaced = text.toWellFormed().replace(forbidden, "\ufffd");
  return replaced.includes("&#") ? replaced.replace(forbiddenReference, "\ufffd") : replaced;
}
