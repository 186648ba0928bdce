import { createHash, timingSafeEqual } from "node:crypto";
import type { BearerScheme, Verifier } from "./mod.ts";

/**
 * Compares a token in a header with the secrets: the SHA-256 of both, in constant time, so that neither a wrong letter nor a wrong length shows
 * in the time. A header that is missing, empty or has another prefix (upper and lower case are the same) claims nothing.
 */
export function bearerVerifier(scheme: BearerScheme, secrets: readonly string[]): Verifier {
  const right = secrets.map((secret) => sha256(new TextEncoder().encode(secret)));
  return {
    challenge: scheme.header === "authorization" ? scheme.prefix.trim() : `Token header="${scheme.header}"`,
    claim(headers) {
      const header = headers.get(scheme.header) ?? "";
      if (header.slice(0, scheme.prefix.length).toLowerCase() !== scheme.prefix.toLowerCase()) return null;
      const token = header.slice(scheme.prefix.length);
      if (token === "") return null;
      // A header is given as one character for each byte; what the sender wrote is UTF-8.
      const given = sha256(Uint8Array.from(token, (char) => char.charCodeAt(0)));
      return { proves: () => Promise.resolve(right.some((one) => timingSafeEqual(one, given))) };
    },
  };
}

function sha256(bytes: Uint8Array): Uint8Array {
  return createHash("sha256").update(bytes).digest();
}
