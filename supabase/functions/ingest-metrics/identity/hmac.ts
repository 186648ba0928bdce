import type { HmacScheme, Verifier } from "./mod.ts";

const algorithm = { name: "HMAC", hash: "SHA-256" };

/**
 * Verifies HMAC-SHA256 signatures in hexadecimal. Keys are imported once; the comparison is Web Crypto's own, in constant time. A header
 * that is missing or not exactly prefix and 64 digits claims nothing.
 */
export function hmacVerifier(scheme: HmacScheme, secrets: readonly string[]): Verifier {
  const encoder = new TextEncoder();
  let imported: Promise<CryptoKey[]> | undefined;
  const keys = () =>
    imported ??= Promise.all(
      secrets.map((secret) => crypto.subtle.importKey("raw", encoder.encode(secret), algorithm, false, ["verify"])),
    );
  return {
    challenge: `HMAC-SHA256 header="${scheme.header}"`,
    claim(headers) {
      const signature = decodeSignature(headers.get(scheme.header), scheme.prefix);
      if (!signature) return null;
      return {
        async proves(body) {
          for (const key of await keys()) {
            if (await crypto.subtle.verify(algorithm, key, signature, body as BufferSource)) return true;
          }
          return false;
        },
      };
    },
  };
}

function decodeSignature(header: string | null, prefix: string) {
  if (!header?.startsWith(prefix)) return null;
  const digits = header.slice(prefix.length);
  if (!/^[0-9a-f]{64}$/i.test(digits)) return null;
  const bytes = new Uint8Array(32);
  for (let i = 0; i < 32; i++) bytes[i] = Number.parseInt(digits.slice(2 * i, 2 * i + 2), 16);
  return bytes;
}
