/** Reads a request's body within the limits, whatever its sender declares and however slowly it comes. */

import type { ProblemCode } from "./answers.ts";
import type { Slots } from "./slots.ts";

/** Bodies above this size are read by few and worked on one by one. */
export const LARGE = 256 * 1024;
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
  let release = () => {};
  if (!request.body) return { bytes: new Uint8Array(0), release };
  const reader = request.body.getReader();
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    reader.cancel().catch(() => {});
  }, limits.timeoutMs);
  const refuse = (code: ProblemCode) => {
    release();
    reader.cancel().catch(() => {});
    return code;
  };
  try {
    let buffer = new Uint8Array(0);
    let length = 0;
    for (;;) {
      const { done, value } = await reader.read();
      if (isLate) return refuse("too_slow");
      if (done) return { bytes: buffer.subarray(0, length), release };
      const needed = length + value.length;
      if (needed > limits.maxBytes) return refuse("too_large");
      if (needed > LARGE && length <= LARGE) {
        const slot = await limits.slots.acquire(limits.timeoutMs);
        if (!slot) return refuse("busy");
        release = slot;
      }
      if (needed > buffer.length) {
        buffer = grown(buffer, length, needed, Math.min(declared || Infinity, limits.maxBytes));
      }
      buffer.set(value, length);
      length = needed;
    }
  } catch {
    return refuse(isLate ? "too_slow" : "incomplete");
  } finally {
    clearTimeout(timer);
  }
}

/** A buffer with room, doubled so that few copies are made, and never because of what a header declares alone. */
function grown(buffer: Uint8Array, length: number, needed: number, greatest: number): Uint8Array<ArrayBuffer> {
  const room = Math.max(needed, Math.min(greatest, Math.max(FIRST_BUFFER, 2 * buffer.length)));
  const larger = new Uint8Array(room);
  larger.set(buffer.subarray(0, length));
  return larger;
}
