/** Reads a request's body within the limits, whatever its sender declares and however slowly it comes. */

import type { ProblemCode } from "./answers.ts";
import type { Slots } from "./slots.ts";

/** Bodies above this size go one by one, from here to the commit: each takes many times its size in memory. */
export const LARGE = 256 * 1024;
/** Time for the rest of a large body: whoever has not proved anything yet and stalls must not keep the others waiting. */
const REST_MS = 5000;
const FIRST_BUFFER = 64 * 1024;

/** The bytes, until somebody takes them away, and a large body's slot, to be given back when nothing holds them any more. */
export interface Received {
  bytes: Uint8Array;
  release: () => void;
}

export interface Limits {
  maxBytes: number;
  timeoutMs: number;
  /** For bodies above {@link LARGE}. */
  slots: Slots;
}

/** Reads the body; a code when it is too large, too slow, or ends early, or when no slot for a large one comes free in time. */
export async function receive(request: Request, limits: Limits): Promise<Received | ProblemCode> {
  const declared = Number(request.headers.get("content-length") ?? NaN);
  if (declared > limits.maxBytes) return "too_large";
  const body = new Body(limits.maxBytes, declared);
  if (!request.body) return body;
  const reader = request.body.getReader();
  let isLate = false;
  const wait = (milliseconds: number) =>
    setTimeout(() => {
      isLate = true;
      reader.cancel().catch(() => {});
    }, milliseconds);
  let timer = wait(limits.timeoutMs);
  const refuse = (code: ProblemCode) => {
    clearTimeout(timer);
    body.release();
    reader.cancel().catch(() => {});
    return code;
  };
  for (;;) {
    const chunk = await reader.read().catch(() => null);
    if (isLate) return refuse("too_slow");
    if (chunk === null) return refuse("incomplete");
    if (chunk.done) break;
    const length = body.bytes.length + chunk.value.length;
    if (length > limits.maxBytes) return refuse("too_large");
    if (length > LARGE && body.bytes.length <= LARGE) {
      // The sender is not to blame for this wait.
      clearTimeout(timer);
      const slot = await limits.slots.acquire(limits.timeoutMs);
      if (!slot) return refuse("busy");
      body.release = slot;
      timer = wait(Math.min(limits.timeoutMs, REST_MS));
    }
    body.append(chunk.value);
  }
  clearTimeout(timer);
  return body;
}

/** Bytes that grow in place, in a buffer that is doubled so that few copies are made. */
class Body implements Received {
  bytes = new Uint8Array(0);
  release = () => {};

  constructor(readonly maxBytes: number, readonly declared: number) {}

  append(chunk: Uint8Array): void {
    const { length } = this.bytes;
    const needed = length + chunk.length;
    const { buffer } = this.bytes;
    if (needed > buffer.byteLength) {
      // What a header declares is believed once enough has come to show that it is meant.
      const wanted = needed > LARGE && this.declared ? this.declared : Math.max(FIRST_BUFFER, 2 * buffer.byteLength);
      const larger = new Uint8Array(Math.max(needed, Math.min(wanted, this.maxBytes)));
      larger.set(this.bytes);
      this.bytes = larger.subarray(0, length);
    }
    this.bytes = new Uint8Array(this.bytes.buffer, 0, needed);
    this.bytes.set(chunk, length);
  }
}
