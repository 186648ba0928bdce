/** For tests: an issuer of OIDC tokens on loopback, with real keys. */

import { exportJWK, generateKeyPair, type JWK, type JWTPayload, SignJWT } from "jose";

/** What to change about a token that would be right. */
export interface Signing {
  alg?: string;
  /** Another than that of the newest key. */
  kid?: string;
  /** Another than the newest private key. */
  key?: CryptoKey | Uint8Array;
}

export class TestIssuer {
  /** The paths that were asked for. */
  readonly requests: string[] = [];
  /** Answers in place of the issuer, for the path; undefined lets it answer itself. */
  answer: ((path: string) => Response | Promise<Response> | undefined) | undefined;
  readonly #end = new AbortController();
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  #published: JWK[] = [];
  #private: CryptoKey | undefined;
  #public: CryptoKey | undefined;

  private constructor(readonly alg: string, readonly path: string) {
    const { signal } = this.#end;
    this.#server = Deno.serve({ hostname: "127.0.0.1", port: 0, signal, onListen: () => {} }, async (request) => {
      const { pathname } = new URL(request.url);
      this.requests.push(pathname);
      return await this.answer?.(pathname) ?? this.#document(pathname);
    });
  }

  /** @param path below which it lives, as the issuers of some providers do */
  static async start(alg = "ES256", path = ""): Promise<TestIssuer> {
    const issuer = new TestIssuer(alg, path);
    await issuer.rotate();
    return issuer;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#server.addr.port}${this.path}`;
  }

  get publicKey(): CryptoKey {
    return this.#public!;
  }

  get privateKey(): CryptoKey {
    return this.#private!;
  }

  get kid(): string {
    return this.#published.at(-1)!.kid!;
  }

  /** Signs with a new key from now on, and publishes it alone, or beside the old ones. */
  async rotate(keepsOld = false): Promise<void> {
    const { privateKey, publicKey } = await generateKeyPair(this.alg, { extractable: true });
    const jwk = { ...await exportJWK(publicKey), kid: crypto.randomUUID(), alg: this.alg, use: "sig" };
    this.#published = keepsOld ? [...this.#published, jwk] : [jwk];
    [this.#private, this.#public] = [privateKey, publicKey];
  }

  #document(path: string): Response {
    if (path === `${this.path}/.well-known/openid-configuration`) {
      return Response.json({ issuer: this.url, jwks_uri: `${this.url}/keys` });
    }
    if (path === `${this.path}/keys`) return Response.json({ keys: this.#published });
    return new Response(null, { status: 404 });
  }

  /** A token with these claims; issuer and times are right unless they are among them, and undefined leaves one out. */
  async sign(
    claims: { [name in keyof JWTPayload]?: JWTPayload[name] | undefined },
    signing: Signing = {},
  ): Promise<string> {
    const now = Math.floor(Date.now() / 1000);
    return await new SignJWT({ iss: this.url, iat: now, nbf: now, exp: now + 300, ...claims } as JWTPayload)
      .setProtectedHeader({ alg: signing.alg ?? this.alg, kid: signing.kid ?? this.kid, typ: "JWT" })
      .sign(signing.key ?? this.#private!);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Requests that are never answered are not waited for.
    this.#end.abort();
    await this.#server.finished;
  }
}

/** A token that nobody signed. */
export function unsigned(claims: JWTPayload): string {
  const part = (value: object) =>
    btoa(JSON.stringify(value)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  return `${part({ alg: "none", typ: "JWT" })}.${part(claims)}.`;
}
