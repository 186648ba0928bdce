/** Tokens: long random texts, each shown once to the admin who made it. Of each only its SHA-256 is known here. */

import { Buffer } from "node:buffer";
import { createHash, timingSafeEqual } from "node:crypto";

/** A token as a request carries it: its shape is right, and nothing is proven. */
export interface PresentedToken {
  /** The id that it claims, in digits: a number may be too large for one. */
  id: string;
  /** Whether it is the token whose SHA-256 this is, in hexadecimal; compared in constant time. */
  isOf(sha256: string): boolean;
}

/** Reads a token of the shape `mtr_<id>_<random>`; null for any other text, so that nothing has to be looked up to refuse it. */
export function readToken(text: string): PresentedToken | null {
  const id = /^mtr_([1-9][0-9]{0,18})_[A-Za-z0-9_-]{43,64}$/.exec(text)?.[1];
  if (id === undefined) return null;
  const digest = createHash("sha256").update(text).digest();
  return {
    id,
    isOf(sha256) {
      const expected = Buffer.from(sha256, "hex");
      return expected.length === digest.length && timingSafeEqual(digest, expected);
    },
  };
}
