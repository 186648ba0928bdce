/** The parameters of a call as JSON, in bytes. */

import { Buffer } from "node:buffer";

/** Bytes are turned to base64 so many at a time: a multiple of three, so that what comes out can be strung together. */
const BASE64_STEP = 48 * 1024;
/** Items of a list that are turned to text at once. */
const ITEMS_STEP = 16;

const encoder = new TextEncoder();

/**
 * Writes parameters as JSON, those that are bytes as text in base64. A body and the facts of it would be text several times over, and all of
 * it in two bytes a character for one that is not Latin: here it is text in small pieces only.
 */
export function writeParameters(parameters: Readonly<Record<string, unknown>>): Uint8Array {
  const writer = new Writer();
  writeCall(writer, parameters);
  return writer.written;
}

function writeParameter(writer: Writer, parameter: unknown): void {
  if (parameter instanceof Uint8Array) writer.base64(parameter);
  else if (Array.isArray(parameter)) writer.list(parameter, (call) => writeCall(writer, call));
  else if (isPlain(parameter)) {
    writer.members(parameter, (value) => {
      if (Array.isArray(value)) writer.items(value);
      else writer.text(JSON.stringify(value));
    });
  } else writer.text(JSON.stringify(parameter));
}

/** Several calls may go in one list, each with its own parameters. */
function writeCall(writer: Writer, call: unknown): void {
  if (isPlain(call)) writer.members(call, (parameter) => writeParameter(writer, parameter));
  else writer.text(JSON.stringify(call));
}

function isPlain(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Grows in place, in a buffer that is doubled so that few copies are made. */
class Writer {
  #bytes = new Uint8Array(16 * 1024);
  #length = 0;

  get written(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  list<T>(list: readonly T[], write: (item: T) => void): void {
    this.text("[");
    for (const [index, item] of list.entries()) {
      if (index > 0) this.text(",");
      write(item);
    }
    this.text("]");
  }

  members(object: Readonly<Record<string, unknown>>, write: (value: unknown) => void): void {
    let before = "{";
    for (const [name, value] of Object.entries(object)) {
      if (value === undefined) continue;
      this.text(`${before}${JSON.stringify(name)}:`);
      write(value);
      before = ",";
    }
    this.text(before === "{" ? "{}" : "}");
  }

  items(list: readonly unknown[]): void {
    this.text("[");
    for (let at = 0; at < list.length; at += ITEMS_STEP) {
      this.text((at > 0 ? "," : "") + JSON.stringify(list.slice(at, at + ITEMS_STEP)).slice(1, -1));
    }
    this.text("]");
  }

  base64(bytes: Uint8Array): void {
    this.#makeRoom(4 * Math.ceil(bytes.length / 3) + 2);
    this.text('"');
    for (let at = 0; at < bytes.length; at += BASE64_STEP) {
      const { buffer, byteOffset, length } = bytes.subarray(at, at + BASE64_STEP);
      this.text(Buffer.from(buffer as ArrayBuffer, byteOffset, length).toString("base64"), 1);
    }
    this.text('"');
  }

  /** A character takes at most three bytes of UTF-8. */
  text(text: string, bytesEach = 3): void {
    this.#makeRoom(bytesEach * text.length);
    this.#length += encoder.encodeInto(text, this.#bytes.subarray(this.#length)).written;
  }

  #makeRoom(count: number): void {
    const needed = this.#length + count;
    if (needed <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(needed, 2 * this.#bytes.length));
    larger.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = larger;
  }
}
