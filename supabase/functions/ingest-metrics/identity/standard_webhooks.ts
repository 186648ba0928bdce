import { isSigned } from "./hmac.ts";
import type { Verifier } from "./mod.ts";

export const SIGNING_KEY_PREFIX = "whsec_";
/** How far the sender's clock and ours may be apart, and how long a captured request can be sent again. */
const TOLERANCE_MS = 300_000;

/**
 * Verifies signatures of the Standard Webhooks specification: HMAC-SHA256 over `<id>.<timestamp>.<body>`, in base64 after `v1,`. The header may
 * hold several, separated by spaces, of which one must match; those of other versions are passed over. A request that lacks one of the
 * three headers, or has a malformed one, claims nothing; one that is older or newer than five minutes proves nothing.
 *
 * @param secrets each `whsec_` and the key in base64
 * @param now the time in milliseconds
 */
export function standardWebhooksVerifier(secrets: readonly string[], now: () => number): Verifier {
  const keys = secrets.map((secret) => decodeBase64(secret.slice(SIGNING_KEY_PREFIX.length)) ?? new Uint8Array(0))
    .filter((key) => key.length > 0);
  return {
    challenge: 'StandardWebhooks header="webhook-signature"',
    claim(headers) {
      const id = headers.get("webhook-id") ?? "";
      const timestamp = headers.get("webhook-timestamp") ?? "";
      const signatures = (headers.get("webhook-signature") ?? "").split(" ").flatMap((item) =>
        decodeSignature(item) ?? []
      );
      // With a dot in the id, one signature would fit two ways to cut what was signed.
      if (!/^[!-\-/-~]{1,255}$/.test(id) || !/^[1-9]\d{0,11}$/.test(timestamp) || signatures.length === 0) return null;
      const isFresh = Math.abs(now() - Number(timestamp) * 1000) <= TOLERANCE_MS;
      const head = new TextEncoder().encode(`${id}.${timestamp}.`);
      return { proves: (body) => Promise.resolve(isFresh && isSigned(keys, [head, body], signatures)) };
    },
  };
}

/** Whether a secret is `whsec_` and a key of the length that the specification asks for. */
export function isSigningKey(secret: string): boolean {
  const key = secret.startsWith(SIGNING_KEY_PREFIX) ? decodeBase64(secret.slice(SIGNING_KEY_PREFIX.length)) : null;
  return key !== null && key.length >= 24 && key.length <= 64;
}

function decodeSignature(item: string): Uint8Array | null {
  return /^v1,[A-Za-z0-9+/]{43}=$/.test(item) ? decodeBase64(item.slice("v1,".length)) : null;
}

function decodeBase64(text: string): Uint8Array | null {
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text)) return null;
  try {
    return Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  } catch {
    return null;
  }
}
