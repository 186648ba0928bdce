/** OIDC tokens: signed by a CI system for one job, and proven by the keys that the CI system publishes. */

import {
  createLocalJWKSet,
  decodeJwt,
  errors,
  type FlattenedJWSInput,
  type JSONWebKeySet,
  type JWTHeaderParameters,
  type JWTPayload,
  jwtVerify,
} from "jose";
import { Patience } from "../patience.ts";

/** Asymmetric ones alone: with a symmetric one the published key itself could sign. */
const ALGORITHMS = [
  "RS256",
  "RS384",
  "RS512",
  "PS256",
  "PS384",
  "PS512",
  "ES256",
  "ES384",
  "ES512",
  "EdDSA",
  "Ed25519",
];
/** How far clocks may be apart, in seconds. */
const SKEW = 60;
/** How long published keys are used without a look. */
const FRESH_MS = 10 * 60_000;
/** How long they are used while the issuer is down: a key that it took back must end some time. */
const STALE_MS = 24 * 3_600_000;
/** Pause between two looks for a key that is not there: anybody can name one. As long as `Retry-After` says. */
const UNKNOWN_KEY_MS = 10_000;
/** Pause after a look that failed, so that not every request waits for an issuer that is down. */
const FAILURE_MS = 5000;
/** For both documents together. */
const FETCH_MS = 1500;
const MAX_DOCUMENT_BYTES = 64 * 1024;

/** The issuer's keys cannot be had, so nothing can be said about a token. */
export class IssuerUnavailable extends Error {}

/** The issuer that a text names as its own, with nothing proven; null when the text is no token. */
export function issuerOf(text: string): string | null {
  try {
    const { iss } = decodeJwt(text);
    return typeof iss === "string" ? iss : null;
  } catch {
    return null;
  }
}

export interface Expected {
  /** Exact. Its keys are fetched, so it must be one that an admin listed. */
  issuer: string;
  /** The token must name one of these. */
  audiences: string[];
}

/** Proves tokens, and keeps the keys of their issuers. */
export interface OidcVerifier {
  /**
   * The claims of a token that its issuer signed for one of these audiences and that is valid now; null for any other.
   *
   * @throws {IssuerUnavailable} when its keys do not come in time, or when it names one for which it is too early to look
   */
  verify(token: string, expected: Expected, patience: Patience): Promise<JWTPayload | null>;
}

/** @param now the time in milliseconds */
export function createOidcVerifier(now: () => number = Date.now): OidcVerifier {
  const keys = new IssuerKeys(now);
  return {
    async verify(token, { issuer, audiences }, patience) {
      try {
        const { payload } = await jwtVerify(token, (header, jws) => keys.find(issuer, header, jws, patience), {
          issuer,
          audience: audiences,
          algorithms: ALGORITHMS,
          clockTolerance: SKEW,
          currentDate: new Date(now()),
          requiredClaims: ["exp"],
        });
        // A token from the future is none, whatever it says about its start.
        return payload.iat !== undefined && payload.iat > now() / 1000 + SKEW ? null : payload;
      } catch (error) {
        if (error instanceof IssuerUnavailable) throw error;
        return null;
      }
    },
  };
}

type KeySet = ReturnType<typeof createLocalJWKSet>;

/** What is known of one issuer's keys; times in milliseconds. */
interface Known {
  keys?: KeySet;
  loadedAt: number;
  failedAt: number;
  /** The last look for a key that was not there, and its name. */
  soughtAt: number;
  sought?: string | undefined;
  loading?: Promise<KeySet> | undefined;
}

class IssuerKeys {
  readonly #known = new Map<string, Known>();
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** The key that a token names. Fails with the library's error when the issuer has no such key. */
  async find(
    issuer: string,
    header: JWTHeaderParameters,
    jws: FlattenedJWSInput,
    patience: Patience,
  ): Promise<CryptoKey> {
    const known = this.#known.get(issuer) ?? { loadedAt: -Infinity, failedAt: -Infinity, soughtAt: -Infinity };
    this.#known.set(issuer, known);
    const before = known.keys;
    const keys = before && this.#age(known) < FRESH_MS
      ? before
      : await inTime(this.#load(issuer, known), patience).catch((error) => {
        if (before && this.#age(known) < STALE_MS) return before;
        throw error;
      });
    try {
      return await keys(header, jws);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey) || keys !== before) throw error;
    }
    return await (await inTime(this.#seek(issuer, known, keys, header.kid), patience))(header, jws);
  }

  #age(known: Known): number {
    return this.#now() - known.loadedAt;
  }

  /**
   * Keys in which one may be that is not among these. While it is too early to ask again nothing can be said about it, because somebody who
   * named another one may have been the reason; unless it is the one that was just looked for.
   */
  async #seek(issuer: string, known: Known, keys: KeySet, kid: string | undefined): Promise<KeySet> {
    if (known.keys !== keys) return known.keys!;
    if (this.#now() - known.soughtAt < UNKNOWN_KEY_MS && !known.loading) {
      if (kid !== undefined && kid === known.sought) return keys;
      throw new IssuerUnavailable();
    }
    known.soughtAt = this.#now();
    known.sought = kid;
    return await this.#load(issuer, known);
  }

  #load(issuer: string, known: Known): Promise<KeySet> {
    if (known.loading) return known.loading;
    if (this.#now() - known.failedAt < FAILURE_MS) return Promise.reject(new IssuerUnavailable());
    known.loading = fetchKeys(issuer).then((keys) => {
      known.loadedAt = this.#now();
      return known.keys = keys;
    }, () => {
      known.failedAt = this.#now();
      known.soughtAt = -Infinity;
      throw new IssuerUnavailable();
    }).finally(() => known.loading = undefined);
    return known.loading;
  }
}

async function inTime<T>(promised: Promise<T>, patience: Patience): Promise<T> {
  const came = await patience.wait(promised);
  if (came === null) throw new IssuerUnavailable();
  return came;
}

async function fetchKeys(issuer: string): Promise<KeySet> {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), FETCH_MS);
  try {
    const address = `${issuer.replace(/\/$/, "")}/.well-known/openid-configuration`;
    const configuration = await fetchJson(address, abort.signal) as { issuer?: unknown; jwks_uri?: unknown } | null;
    const keys = String(configuration?.jwks_uri);
    // The admin trusts the issuer's server, and no other that a document names: it could be one that only this function can reach.
    if (configuration?.issuer !== issuer || new URL(keys).origin !== new URL(issuer).origin) {
      throw new IssuerUnavailable();
    }
    return createLocalJWKSet(await fetchJson(keys, abort.signal) as JSONWebKeySet);
  } finally {
    clearTimeout(timer);
  }
}

async function fetchJson(address: string, signal: AbortSignal): Promise<unknown> {
  const response = await fetch(address, { redirect: "error", signal, headers: { accept: "application/json" } });
  let text = "";
  let length = 0;
  const decoder = new TextDecoder();
  // Leaving the loop early cancels what is still to come.
  for await (const chunk of response.body ?? []) {
    length += chunk.length;
    if (!response.ok || length > MAX_DOCUMENT_BYTES) throw new IssuerUnavailable();
    text += decoder.decode(chunk, { stream: true });
  }
  if (!response.ok) throw new IssuerUnavailable();
  return JSON.parse(text);
}
