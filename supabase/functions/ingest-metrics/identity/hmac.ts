import { createHmac, timingSafeEqual } from "node:crypto";
import type { HmacScheme, Verifier } from "./mod.ts";

/**
 * Verifies HMAC-SHA256 signatures in hexadecimal. A header that is missing, or holds nothing that is exactly the prefix and 64 digits, claims
 * nothing.
 */
export function hmacVerifier(scheme: HmacScheme, secrets: readonly string[]): Verifier {
  const keys = secrets.map((secret) => new TextEncoder().encode(secret));
  return {
    challenge: `HMAC-SHA256 header="${scheme.header}"`,
    claim(headers) {
      const header = headers.get(scheme.header) ?? "";
      const given = scheme.several ? header.split(",").map((item) => item.trim()) : [header];
      const signatures = given.flatMap((item) => decodeSignature(item, scheme.prefix) ?? []);
      if (signatures.length === 0) return null;
      return { proves: (body) => Promise.resolve(isSigned(keys, [body], signatures)) };
    },
  };
}

/**
 * Whether one of the signatures is the HMAC-SHA256 of the parts, one after the other, with one of the keys. The work does not grow with the
 * number of signatures, which the sender chooses, and the parts are not copied, as Web Crypto would do.
 *
 * @param signatures of 32 bytes each; they are compared in constant time
 */
export function isSigned(
  keys: readonly Uint8Array[],
  parts: readonly Uint8Array[],
  signatures: readonly Uint8Array[],
): boolean {
  return keys.some((key) => {
    const hmac = createHmac("sha256", key);
    for (const part of parts) hmac.update(part);
    const right = hmac.digest();
    return signatures.some((signature) => timingSafeEqual(right, signature));
  });
}

function decodeSignature(item: string, prefix: string): Uint8Array | null {
  if (!item.startsWith(prefix)) return null;
  const digits = item.slice(prefix.length);
  if (!/^[0-9a-f]{64}$/i.test(digits)) return null;
  return Uint8Array.from({ length: 32 }, (_, i) => Number.parseInt(digits.slice(2 * i, 2 * i + 2), 16));
}
