/** What a source is, and which there are. A source is pure: no I/O, no clock, no environment, and of HTTP it sees only headers. */

import type { Facts } from "../facts.ts";
import type { Scheme } from "../identity/mod.ts";
import { cdevents } from "./cdevents.ts";
import { github } from "./github.ts";
import { gitlab } from "./gitlab.ts";
import { pagerduty } from "./pagerduty.ts";
import { synthetic } from "./synthetic.ts";

/** What a sender's headers and body say about the delivery. */
export interface Identified {
  /** The sender's own id of the delivery, the same when it comes again; null when it gives none. */
  deliveryId: string | null;
  /** The provider's event, with its action after a dot where there is one; null when the request is not in the provider's manner. */
  event: string | null;
}

/** What the installation sets for translation. */
export interface SourceOptions {
  /** The configured source (`github`, `github-acme`), as references name it. */
  source: string;
  /** Names of labels and issue types that make an issue an incident, in lower case. */
  incidentLabels: ReadonlySet<string>;
}

/** What an authentic delivery became: facts, or why it carries none, or why it could not be understood. */
export type Translation = { facts: Facts; notes?: string[] } | { ignored: string } | { quarantined: string };

export interface Source {
  provider: string;
  /** One scheme, or several of which each request is judged by the first whose header it carries. */
  scheme: Scheme | readonly Scheme[];
  contentTypes: readonly ContentType[];
  /** Whether any other content type is taken for the first of these, because the sender stops sending to who refuses one. */
  takesAnyContentType?: true;
  /** The provider's words for events; only these may be logged. */
  events: ReadonlySet<string>;
  /** Paths of fields that carry variables, parameters, environments or logs: removed before a body is stored, in a batch from each item. */
  redacted: readonly string[];
  /**
   * Puts what a body carries as text in its place as JSON, before anything is read of the body or removed from it; a text that cannot be read is
   * taken away, because nobody could see what is in it. Changes the body, and says whether it did.
   */
  unfold?(body: object): boolean;
  /** Whether the headers are in this provider's manner. */
  match(headers: Headers): boolean;
  /** The body is undefined when it could not be parsed. Never throws. */
  identify(headers: Headers, body: unknown): Identified;
  /** The event is what {@link Source.identify} said, or what was kept of it. */
  facts(event: string, body: unknown, options: SourceOptions): Translation;
  /** The headers that answer OPTIONS where senders ask first whether they may send; null when the request asks nothing of the kind. */
  handshake?(headers: Headers): Record<string, string> | null;
}

/** What a body may come as. All are JSON, which a form carries in its field `payload`; a batch is an array of what else comes one by one. */
export type ContentType =
  | "application/json"
  | "application/x-www-form-urlencoded"
  | "application/cdevents+json"
  | "application/cloudevents+json"
  | "application/cloudevents-batch+json";

/** Every provider, by its name. */
export const sources: ReadonlyMap<string, Source> = new Map(
  [github, gitlab, pagerduty, cdevents, synthetic].map((source) => [source.provider, source]),
);

/** The provider that a source's name starts with, the longest one that fits; undefined for a name that is malformed or of no provider. */
export function providerOf(name: string, providers: Iterable<string> = sources.keys()): string | undefined {
  if (name.length > 100 || !/^[a-z0-9]+(-[a-z0-9]+)*$/.test(name)) return undefined;
  let longest: string | undefined;
  for (const provider of providers) {
    const fits = name === provider || name.startsWith(`${provider}-`);
    if (fits && provider.length > (longest?.length ?? 0)) longest = provider;
  }
  return longest;
}

/**
 * Why a source may not send to this installation: staging takes what it is proven with and nothing else, so that only production holds what
 * happened; production does not know that source. Null when it may.
 */
export function refusalOf(name: string, isStaging: boolean): "not_on_staging" | "not_found" | null {
  if (isStaging) return name === synthetic.provider ? null : "not_on_staging";
  return providerOf(name) === synthetic.provider ? "not_found" : null;
}
