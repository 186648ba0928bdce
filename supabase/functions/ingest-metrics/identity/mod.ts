/** How a sender proves itself. A source names its scheme; the handler asks the verifier and knows nothing of how it works. */

import { hmacVerifier } from "./hmac.ts";

/** A signature in a header: HMAC-SHA256 over the raw body, in hexadecimal after a fixed prefix. */
export interface HmacScheme {
  kind: "hmac";
  header: string;
  prefix: string;
}

/** What a source can name. */
export type Scheme = HmacScheme;

/** What a request says about who sent it, still to be proven. */
export interface Claim {
  /** Whether the bytes, exactly as received, prove it with any live secret. */
  proves(body: Uint8Array): Promise<boolean>;
}

/** One configured source's way to prove a sender. */
export interface Verifier {
  /** For `WWW-Authenticate`. */
  challenge: string;
  /** What the headers claim; null when they carry no well-formed credentials, so that no body has to be read to refuse. */
  claim(headers: Headers): Claim | null;
}

/** The verifier of a scheme with all secrets that are live at the moment. */
export function createVerifier(scheme: Scheme, secrets: readonly string[]): Verifier {
  return hmacVerifier(scheme, secrets);
}
