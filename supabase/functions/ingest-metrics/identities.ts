/** Who may report: the live rows of the database's identities, and what a request's credentials prove about them. */

import { z } from "zod";
import type { FactKind, Facts } from "./facts.ts";
import { type Claims, isIssuing, type Job, readJob } from "./identity/issuers.ts";
import { createOidcVerifier, issuerOf, IssuerUnavailable, type OidcVerifier } from "./identity/oidc.ts";
import { type PresentedToken, readToken } from "./identity/tokens.ts";
import { Patience } from "./patience.ts";
import type { Store } from "./store.ts";

/** How long what the database said is used. */
const FRESH_MS = 10_000;
/** Pause between an answer and the next question, however many come with credentials that nobody knows. */
const PAUSE_MS = 1000;
/** How long the database may take to answer; and how long that is waited for where an older answer is known. */
const ANSWER_MS = 1500;
const SHORT_MS = 400;

const common = {
  id: z.int().positive(),
  sources: z.array(z.string()),
  repositories: z.array(z.string()).nullable(),
  fact_kinds: z.array(z.string()),
  calls_per_minute: z.int().positive(),
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

/** Each answers within the request's patience, and never throws. */
export interface Identities {
  /** Whether anybody may report to the source; null when the database has not said yet. */
  mayReportTo(source: string, patience?: Patience): Promise<boolean | null>;
  /** What the credentials prove. */
  prove(credentials: Credentials, source: string, patience?: Patience): Promise<Proven | Refusal>;
  /** What they prove by what the database says now, for whom none of the identities permits that were proven; null when it says nothing new. */
  proveAnew(credentials: Credentials, source: string, patience?: Patience): Promise<Proven | Refusal | null>;
}

/**
 * The identities in a store. They are asked for again after 10 s, and earlier, but at most once a second, when nobody is found who permits
 * what is asked: so whom an admin adds may report after a second. While the database is away the last that it said holds; `metrics.ingest`
 * has the last word.
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

  async function judge(
    known: readonly Identity[],
    credentials: Credentials,
    source: string,
    patience: Patience,
  ): Promise<Proven | Refusal> {
    const all = snapshot.live(known);
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
    const claims = await oidc.verify(jwt, { issuer, audiences: listed.map((one) => one.audience) }, patience);
    if (!claims) return "credentials_wrong";
    const [first, ...others] = listed.filter((one) =>
      [claims.aud].flat().includes(one.audience) && match(one.claims, claims) && one.sources.includes(source)
    );
    if (!first) return "not_allowed";
    const identities = [first, ...others.filter((one) => one.provider === first.provider)];
    return { identities, job: readJob(first.provider, claims, issuer, source) };
  }

  const refusalOf = (error: unknown): Refusal =>
    error instanceof IssuerUnavailable ? "issuer_unavailable" : "unavailable";

  async function proveAnew(
    credentials: Credentials,
    source: string,
    patience = new Patience(),
    known: Known = snapshot.known,
  ): Promise<Proven | Refusal | null> {
    const newer = await snapshot.newer(known, patience);
    if (!newer || newer === known) return null;
    return await judge(newer, credentials, source, patience).catch(refusalOf);
  }

  return {
    async mayReportTo(source, patience = new Patience()) {
      const mayAny = (known: Known) => known && snapshot.live(known).some((one) => one.sources.includes(source));
      const known = await snapshot.get(patience);
      return mayAny(known) || mayAny(await snapshot.newer(known, patience));
    },
    async prove(credentials, source, patience = new Patience()) {
      const known = await snapshot.get(patience);
      const proven = known && await judge(known, credentials, source, patience).catch(refusalOf);
      if (proven && typeof proven !== "string" || proven === "issuer_unavailable") return proven;
      return await proveAnew(credentials, source, patience, known) ?? proven ?? "unavailable";
    },
    proveAnew: (credentials, source, patience) => proveAnew(credentials, source, patience),
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
      if (kindOfFact === "incidents" && fact.source !== source) return false;
      if (fact.repository) return isOwn(fact.repository);
      return kindOfFact === "incidents" && kind === "token" && repositories === null;
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

  get known(): Known {
    return this.#known;
  }

  async get(patience: Patience): Promise<Known> {
    if (this.now() - this.#loadedAt >= FRESH_MS) await patience.wait(this.#ask(), this.#known ? SHORT_MS : Infinity);
    return this.#known;
  }

  /** What it said since then, asked for unless that was just done; the same when it said nothing. */
  async newer(known: Known, patience: Patience): Promise<Known> {
    if (this.#known === known) await patience.wait(this.#ask());
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
    const rows = await new Patience(ANSWER_MS).wait(this.store.liveIdentities(abort.signal).catch(() => null));
    abort.abort();
    if (!rows) return;
    this.#loadedAt = this.now();
    // A row that is not understood is for another version of this function.
    this.#known = rows.flatMap((row) => identity.safeParse(row).data ?? []);
  }
}
