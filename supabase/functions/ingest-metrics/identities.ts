/** Who may report: the live rows of the database's identities, and what a request's credentials prove about them. */

import { z } from "zod";
import type { FactKind, Facts } from "./facts.ts";
import { type Claims, isIssuing, type Job, readJob } from "./identity/issuers.ts";
import { createOidcVerifier, issuerOf, IssuerUnavailable, type OidcVerifier } from "./identity/oidc.ts";
import { type PresentedToken, readToken } from "./identity/tokens.ts";
import type { Store } from "./store.ts";

/** How long what the database said is used. */
const FRESH_MS = 10_000;
/** Pause between an answer and the next question, however many come with credentials that nobody knows. */
const PAUSE_MS = 1000;
/** How long an answer is waited for; and how long where an older one is known, because the issuer may be slow as well. */
const PATIENCE_MS = 1500;
const SHORT_PATIENCE_MS = 400;

const common = {
  id: z.int().positive(),
  sources: z.array(z.string()),
  repositories: z.array(z.string()).nullable(),
  fact_kinds: z.array(z.string()),
  expires_at: z.string().nullable(),
};
const identity = z.discriminatedUnion("kind", [
  z.object({ ...common, kind: z.literal("token"), token_sha256: z.string().regex(/^[0-9a-f]{64}$/) }),
  z.object({
    ...common,
    kind: z.literal("oidc"),
    provider: z.string().refine(isIssuing),
    issuer: z.string().refine((issuer) => URL.canParse(issuer)),
    audience: z.string().nullable(),
    claims: z.record(z.string(), z.string()),
  }),
]);
/** A machine that may report, as `metrics.live_identities` tells it. */
export type Identity = z.infer<typeof identity>;

/** Credentials as a request carries them, well-formed and not proven. */
export type Credentials = { token: PresentedToken } | { jwt: string; issuer: string };

/** The credentials in `Authorization: Bearer`; null when there are none, or none that are well-formed. Nothing is looked up. */
export function readCredentials(headers: Headers): Credentials | null {
  const text = /^Bearer +([\w.~+/=-]{1,16384})$/i.exec(headers.get("authorization") ?? "")?.[1];
  if (text === undefined) return null;
  const token = readToken(text);
  if (token) return { token };
  const issuer = issuerOf(text);
  return issuer === null ? null : { jwt: text, issuer };
}

/** Identities that the credentials prove and that may report to the source, in a fixed order; and what they say about the job. */
export interface Proven {
  identities: Identity[];
  job: Job;
}

/** `unavailable`: the database has not said yet who may report. */
export type Refusal = "credentials_wrong" | "not_allowed" | "issuer_unavailable" | "unavailable";

export interface Identities {
  /** Whether anybody may report to the source; null when the database has not said yet. */
  mayReportTo(source: string): Promise<boolean | null>;
  /** What the credentials prove. Never throws. */
  prove(credentials: Credentials, source: string): Promise<Proven | Refusal>;
}

/**
 * The identities in a store. They are asked for again after 10 s, and earlier, but at most once a second, when nobody is found: so whom an
 * admin adds may report after a second. While the database is away the last that it said holds; `metrics.ingest` has the last word.
 *
 * @param audience what tokens must name for which the admin set nothing else; null refuses them
 */
export function createIdentities(
  store: Pick<Store, "liveIdentities">,
  audience: string | null,
  now: () => number = Date.now,
  oidc: OidcVerifier = createOidcVerifier(now),
): Identities {
  const snapshot = new Snapshot(store, now);

  async function judge(all: Identity[], credentials: Credentials, source: string): Promise<Proven | Refusal> {
    if ("token" in credentials) {
      const { token } = credentials;
      const found = all.find((one) => one.kind === "token" && String(one.id) === token.id);
      if (found?.kind !== "token" || !token.isOf(found.token_sha256)) return "credentials_wrong";
      if (!found.sources.includes(source)) return "not_allowed";
      return { identities: [found], job: { said: {}, otherwise: {} } };
    }
    const { jwt, issuer } = credentials;
    const listed = all.flatMap((one) => {
      const named = one.kind === "oidc" && one.issuer === issuer ? one.audience ?? audience : null;
      return one.kind === "oidc" && named !== null ? [{ ...one, audience: named }] : [];
    });
    // Only now is the issuer asked for its keys: nobody else can make this function ask a server of their choice.
    if (listed.length === 0) return "credentials_wrong";
    const claims = await oidc.verify(jwt, { issuer, audiences: listed.map((one) => one.audience) });
    if (!claims) return "credentials_wrong";
    const [first, ...others] = listed.filter((one) =>
      [claims.aud].flat().includes(one.audience) && match(one.claims, claims) && one.sources.includes(source)
    );
    if (!first) return "not_allowed";
    const identities = [first, ...others.filter((one) => one.provider === first.provider)];
    return { identities, job: readJob(first.provider, claims, issuer, source) };
  }

  return {
    async mayReportTo(source) {
      const mayAny = (known: Known) => known && snapshot.live(known).some((one) => one.sources.includes(source));
      const known = await snapshot.get();
      return mayAny(known) || mayAny(await snapshot.newer(known));
    },
    async prove(credentials, source) {
      try {
        const known = await snapshot.get();
        const proven = known && await judge(snapshot.live(known), credentials, source);
        if (proven && typeof proven !== "string") return proven;
        const newer = await snapshot.newer(known);
        return newer && newer !== known
          ? await judge(snapshot.live(newer), credentials, source)
          : proven ?? "unavailable";
      } catch (error) {
        return error instanceof IssuerUnavailable ? "issuer_unavailable" : "unavailable";
      }
    },
  };
}

/** Whether each claim is what it must be: the same, or with a `*` at the end, something that begins so. */
function match(expected: Readonly<Record<string, string>>, claims: Claims): boolean {
  return Object.entries(expected).every(([name, value]) => {
    const claim = Object.hasOwn(claims, name) ? claims[name] : undefined;
    if (typeof claim !== "string" && typeof claim !== "number" && typeof claim !== "boolean") return false;
    return value.endsWith("*") ? String(claim).startsWith(value.slice(0, -1)) : String(claim) === value;
  });
}

/**
 * Whether an identity may tell these facts: the same as `metrics.ingest` asks, to choose between identities whose credentials are the same.
 *
 * @param reference the repository that the credentials name
 */
export function isInScope(identity: Identity, facts: Facts, source: string, reference: string | null): boolean {
  const { repositories, kind } = identity;
  const isOwn = (repository: string) =>
    repositories
      ? repositories.includes(repository)
      : kind === "token"
      ? repository.startsWith(`${source}:`)
      : repository === reference;
  return (Object.entries(facts) as [FactKind, { repository?: string | null; source?: string }[]][]).every((
    [kindOfFact, list],
  ) =>
    identity.fact_kinds.includes(kindOfFact) && list.every((fact) => {
      if (fact.source !== undefined && fact.source !== source) return false;
      // Only an incident can be of no repository.
      return fact.repository ? isOwn(fact.repository) : kind === "token" && repositories === null;
    })
  );
}

/** What the database said last; null when it never did. */
type Known = readonly Identity[] | null;

class Snapshot {
  #known: Known = null;
  #loadedAt = -Infinity;
  #askedAt = -Infinity;
  #asking: Promise<void> | undefined;

  constructor(readonly store: Pick<Store, "liveIdentities">, readonly now: () => number) {}

  async get(): Promise<Known> {
    if (this.now() - this.#loadedAt >= FRESH_MS) {
      const asking = this.#ask();
      await (this.#known ? within(SHORT_PATIENCE_MS, asking) : asking);
    }
    return this.#known;
  }

  /** What it said since then, asked for unless that was just done; the same when it said nothing. */
  async newer(known: Known): Promise<Known> {
    if (this.#known === known) await this.#ask();
    return this.#known;
  }

  /** Those that have not ended meanwhile. */
  live(known: readonly Identity[]): Identity[] {
    const now = this.now();
    return known.filter(({ expires_at }) => expires_at === null || !(Date.parse(expires_at) <= now));
  }

  #ask(): Promise<void> {
    if (!this.#asking && this.now() - this.#askedAt >= PAUSE_MS) {
      this.#asking = this.#load().finally(() => {
        this.#asking = undefined;
        this.#askedAt = this.now();
      });
    }
    return this.#asking ?? Promise.resolve();
  }

  async #load(): Promise<void> {
    const abort = new AbortController();
    const rows = await within(PATIENCE_MS, this.store.liveIdentities(abort.signal).catch(() => null));
    abort.abort();
    if (!rows) return;
    this.#loadedAt = this.now();
    // A row that is not understood is for another version of this function.
    this.#known = rows.flatMap((row) => identity.safeParse(row).data ?? []);
  }
}

/** What is promised, or null when it takes longer. */
async function within<T>(milliseconds: number, promised: Promise<T>): Promise<T | null> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const patience = new Promise<null>((resolve) => timer = setTimeout(() => resolve(null), milliseconds));
  return await Promise.race([promised, patience]).finally(() => clearTimeout(timer));
}
