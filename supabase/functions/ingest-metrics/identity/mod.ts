/** How a sender proves itself. A source names its schemes; the handler asks the verifier and knows nothing of how they work. */

import { bearerVerifier } from "./bearer.ts";
import { hmacVerifier } from "./hmac.ts";
import { isSigningKey, SIGNING_KEY_PREFIX, standardWebhooksVerifier } from "./standard_webhooks.ts";

/** A signature in a header: HMAC-SHA256 over the raw body, in hexadecimal after a fixed prefix. */
export interface HmacScheme {
  kind: "hmac";
  header: string;
  prefix: string;
  /** The header may hold several, separated by commas: one that matches is enough, and those of another prefix are passed over. */
  several?: true;
}

/** Signatures as the Standard Webhooks specification has them, over id, time and raw body. Its secrets are `whsec_` and base64. */
export interface StandardWebhooksScheme {
  kind: "standard_webhooks";
}

/** The secret itself in a header, after a fixed prefix. It proves who sent, and not what. */
export interface BearerScheme {
  kind: "bearer";
  header: string;
  prefix: string;
}

/** What a source can name. */
export type Scheme = HmacScheme | StandardWebhooksScheme | BearerScheme;

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

const listOf = (schemes: Scheme | readonly Scheme[]) =>
  Array.isArray(schemes) ? schemes as Scheme[] : [schemes as Scheme];
const signs = (scheme: Scheme) => scheme.kind === "standard_webhooks";
const headerOf = (scheme: Scheme) => scheme.kind === "standard_webhooks" ? "webhook-signature" : scheme.header;

/**
 * The verifier of a source with all secrets that are live at the moment. Where a source names several schemes, secrets that start with
 * `whsec_` are for its signatures and the others for the rest. A request is judged by the first scheme that has secrets and whose header it
 * carries, and by that one alone: a wrong signature is not made good by a token beside it.
 *
 * @param now the time in milliseconds, for signatures that grow old
 */
export function createVerifier(
  schemes: Scheme | readonly Scheme[],
  secrets: readonly string[],
  now: () => number = Date.now,
): Verifier {
  const list = listOf(schemes);
  const ways = list.flatMap((scheme) => {
    const own = list.some(signs)
      ? secrets.filter((secret) => secret.startsWith(SIGNING_KEY_PREFIX) === signs(scheme))
      : secrets;
    return own.length === 0 ? [] : [{ header: headerOf(scheme), verifier: verifierOf(scheme, own, now) }];
  });
  return {
    challenge: ways.map(({ verifier }) => verifier.challenge).join(", "),
    claim: (headers) => ways.find(({ header }) => headers.has(header))?.verifier.claim(headers) ?? null,
  };
}

function verifierOf(scheme: Scheme, secrets: readonly string[], now: () => number): Verifier {
  switch (scheme.kind) {
    case "hmac":
      return hmacVerifier(scheme, secrets);
    case "standard_webhooks":
      return standardWebhooksVerifier(secrets, now);
    case "bearer":
      return bearerVerifier(scheme, secrets);
  }
}

/** What is wrong with a secret for these schemes, in words without the secret; null when it can be used. */
export function wrongSecret(schemes: Scheme | readonly Scheme[], secret: string): string | null {
  const list = listOf(schemes);
  if (!list.some(signs)) return null;
  if (secret.startsWith(SIGNING_KEY_PREFIX)) {
    return isSigningKey(secret) ? null : "holds a signing key that is not whsec_ and then 24 to 64 bytes in base64";
  }
  return list.every(signs) ? "holds a secret that is no signing key: whsec_ and then 24 to 64 bytes in base64" : null;
}
