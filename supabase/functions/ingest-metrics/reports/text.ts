/** Text of reports: UTF-8 unless a byte order mark or an XML declaration names another encoding. */

/**
 * The text of a report's bytes, without a byte order mark; or the code of what is wrong with its encoding. Bytes that the encoding does
 * not know are refused and never replaced: names of tests would change without a word.
 *
 * @param charset the parameter of the content type, which a byte order mark overrules
 */
export function decodeReport(
  bytes: Uint8Array,
  charset: string | null = null,
): { text: string } | { unreadable: "encoding_unknown" | "encoding_wrong" } {
  const label = marked(bytes) ?? charset ?? declared(bytes) ?? "utf-8";
  let decoder: TextDecoder;
  try {
    decoder = new TextDecoder(label, { fatal: true });
  } catch {
    return { unreadable: "encoding_unknown" };
  }
  try {
    return { text: decoder.decode(bytes) };
  } catch {
    return { unreadable: "encoding_wrong" };
  }
}

/** The encoding that a byte order mark, or the first two characters `<?` in UTF-16, tell. */
function marked(bytes: Uint8Array): string | null {
  const [first, second, third, fourth] = bytes;
  if (first === 0xef && second === 0xbb && third === 0xbf) return "utf-8";
  if (first === 0xff && second === 0xfe) return "utf-16le";
  if (first === 0xfe && second === 0xff) return "utf-16be";
  if (first === 0x3c && second === 0 && third === 0x3f && fourth === 0) return "utf-16le";
  if (first === 0 && second === 0x3c && third === 0 && fourth === 0x3f) return "utf-16be";
  return null;
}

/** The encoding that an XML declaration names. In UTF-16 it could not have been read like this, so there it means nothing. */
function declared(bytes: Uint8Array): string | null {
  const start = new TextDecoder("latin1").decode(bytes.subarray(0, 200));
  const name = /^<\?xml\s[^>]*?\bencoding\s*=\s*["']([A-Za-z][\w.:-]*)["']/.exec(start)?.[1];
  return name === undefined || /^utf-?16/i.test(name) ? null : name;
}

/** Lines, one after the other: a large text is never split at once. */
export function* linesOf(text: string): Generator<string> {
  for (let start = 0; start < text.length;) {
    const newline = text.indexOf("\n", start);
    const end = newline < 0 ? text.length : newline;
    yield text.slice(start, end);
    start = end + 1;
  }
}
