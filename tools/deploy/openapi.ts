/** The function as OpenAPI 3.1 describes it: its addresses, what each takes, and every answer. */

import { details, type ProblemCode } from "../../supabase/functions/ingest-metrics/answers.ts";
import { parameterSchema } from "../../supabase/functions/ingest-metrics/context.ts";
import { schemas } from "../../supabase/functions/ingest-metrics/facts.ts";
import type { Scheme } from "../../supabase/functions/ingest-metrics/identity/mod.ts";
import { reports } from "../../supabase/functions/ingest-metrics/reports/mod.ts";
import { sources } from "../../supabase/functions/ingest-metrics/sources/mod.ts";
import type { Json } from "./schemas.ts";

/** Errors that any address may answer which takes a body. */
const ofBodies = [
  "not_found",
  "not_on_staging",
  "method_not_allowed",
  "too_slow",
  "incomplete",
  "busy",
  "unavailable",
] as const;
const ofWebhooks: readonly ProblemCode[] = [
  ...ofBodies,
  "credentials_missing",
  "credentials_wrong",
  "content_type",
  "too_large",
];
const ofReports: readonly ProblemCode[] = [
  ...ofBodies,
  "no_such_report",
  "credentials_missing",
  "credentials_wrong",
  "not_allowed",
  "parameters",
  "report_type",
  "report_too_large",
  "unreadable",
  "refused",
  "key_reused",
  "too_many_calls",
  "issuer_unavailable",
];

/** What each report is, in a sentence. */
const summaries: Readonly<Record<string, string>> = {
  junit: "Test results as JUnit XML",
  sarif: "Rule checks as SARIF 2.1.0",
  coverage: "Coverage as LCOV or Cobertura",
  measurements: "Named numbers",
  facts: "The canonical facts; all or nothing",
};

/** The whole document. */
export function openapi(): Json {
  return {
    openapi: "3.1.1",
    info: {
      title: "ingest-metrics",
      version: "1",
      summary: "Takes webhooks of CI systems and reports of pipelines, and stores them as facts.",
      description:
        "Every address may be asked again with the same body: what is stored already is answered as duplicate.",
    },
    servers: [{
      url: "{project}/functions/v1/ingest-metrics",
      variables: { project: { default: "http://127.0.0.1:54321", description: "The address of the Supabase project" } },
    }],
    paths: {
      "/health": { get: health() },
      "/{source}": { parameters: [{ $ref: "#/components/parameters/source" }], post: webhook(), options: handshake() },
      ...Object.fromEntries([...reports.keys()].map((name) => [`/{source}/${name}`, {
        parameters: [{ $ref: "#/components/parameters/source" }],
        post: report(name),
      }])),
    },
    components: {
      parameters: { source: sourceParameter(), ...reportParameters() },
      headers: { "Retry-After": { description: "Seconds to wait", schema: { type: "integer", minimum: 1 } } },
      responses: Object.fromEntries(
        Object.entries(problems(ofReports)).map(([status, answer]) => [`report-${status}`, answer]),
      ),
      securitySchemes: securitySchemes(),
      schemas: { Facts: factCounts(), Problem: problemSchema() },
    },
  };
}

function health(): Json {
  return {
    operationId: "health",
    summary: "Whether the function can commit, from a read that is at most 5 s old",
    security: [],
    responses: {
      200: {
        description: "It can.",
        content: json({ type: "object", properties: { healthy: { const: true } }, required: ["healthy"] }),
      },
      ...problems(["method_not_allowed", "unhealthy"]),
    },
  };
}

function webhook(): Json {
  const types = new Set([...sources.values()].flatMap((source) => source.contentTypes));
  return {
    operationId: "webhook",
    summary: "A webhook, as its sender makes and signs it",
    security: [...sources.values()].flatMap(({ scheme }) =>
      schemesOf(scheme).map((one) => ({ [schemeName(one)]: [] as string[] }))
    ),
    requestBody: {
      required: true,
      content: Object.fromEntries(
        [...types].map((type) => [type, { schema: { description: "The sender's own body" } }]),
      ),
    },
    responses: {
      200: {
        description: "Committed, or committed before.",
        content: json(stored("Of a webhook")),
      },
      202: {
        description: "Authentic, and kept with the reason why no fact came of it.",
        content: json({
          type: "object",
          properties: { result: { enum: ["ignored", "quarantined"] }, reason: { type: "string" } },
          required: ["result"],
        }),
      },
      ...problems(ofWebhooks),
    },
  };
}

function handshake(): Json {
  return {
    operationId: "handshake",
    summary: "The handshake of CloudEvents, for sources whose senders ask first",
    security: [],
    parameters: [{
      name: "WebHook-Request-Origin",
      in: "header",
      required: true,
      schema: { type: "string" },
    }],
    responses: {
      200: {
        description: "The sender may send.",
        headers: { "WebHook-Allowed-Origin": { schema: { type: "string" } } },
      },
      ...problems(["not_found", "method_not_allowed"]),
    },
  };
}

function report(name: string): Json {
  const { contentTypes } = reports.get(name)!;
  const bodies: Readonly<Record<string, Json>> = {
    sarif: { $ref: "schemas/sarif.json" },
    measurements: { $ref: "schemas/measurements.json" },
    facts: { $ref: "schemas/facts.json" },
  };
  const schemaOf = (type: string) =>
    type === "application/x-ndjson"
      ? { type: "string", description: "One fact a line, each as schemas/facts.json has it at $defs/fact" }
      : bodies[name] ?? { type: "string" };
  return {
    operationId: name,
    summary: summaries[name],
    security: [{ token: [] }, { oidc: [] }],
    parameters: [
      ...Object.keys(parameterSchema.shape).map((parameter) => ({ $ref: `#/components/parameters/${parameter}` })),
      {
        name: "Idempotency-Key",
        in: "header",
        description: "The sender's own name for this report; the hash of the body when absent",
        schema: { type: "string", pattern: "^[\\x21-\\x7e]{1,255}$" },
      },
    ],
    requestBody: {
      required: true,
      content: Object.fromEntries(contentTypes.map((type) => [type, { schema: schemaOf(type) }])),
    },
    responses: {
      200: { description: "Committed, or committed before.", content: json(stored("Of a report")) },
      ...Object.fromEntries(
        Object.keys(problems(ofReports)).map((status) => [
          status,
          { $ref: `#/components/responses/report-${status}` },
        ]),
      ),
    },
  };
}

const json = (schema: Json) => ({ "application/json": { schema } });

function stored(title: string): Json {
  return {
    title,
    type: "object",
    properties: { result: { enum: ["stored", "duplicate"] }, facts: { $ref: "#/components/schemas/Facts" } },
    required: ["result"],
  };
}

/** One answer a status, with the codes that it may have. */
function problems(codes: readonly ProblemCode[]): Json {
  const byStatus = Map.groupBy(codes, (code) => details[code][0]);
  const entries = [...byStatus].sort(([one], [other]) => one - other);
  return Object.fromEntries(entries.map(([status, ofStatus]) => [status, {
    description: ofStatus.map((code) => `\`${code}\`: ${details[code][1]}`).join("\n\n"),
    ...(status === 429 || status === 503
      ? { headers: { "Retry-After": { $ref: "#/components/headers/Retry-After" } } }
      : {}),
    content: {
      "application/problem+json": {
        schema: {
          allOf: [{ $ref: "#/components/schemas/Problem" }],
          properties: { status: { const: status }, code: { enum: ofStatus } },
        },
      },
    },
  }]));
}

function problemSchema(): Json {
  return {
    description: "An error as RFC 9457 describes it.",
    type: "object",
    properties: {
      type: { const: "about:blank" },
      title: { type: "string" },
      status: { type: "integer" },
      detail: { type: "string", description: "What is wrong, and what would be right" },
      code: { type: "string" },
      errors: {
        description: "What is wrong in particular, at most 100 of it",
        type: "array",
        items: {
          type: "object",
          properties: {
            place: { type: "string", description: "Where, counted from 0; lines from 1: [3].value, line 12" },
            code: { type: "string" },
            detail: { type: "string" },
          },
          required: ["place", "code"],
        },
      },
    },
    required: ["type", "title", "status", "detail", "code"],
  };
}

function factCounts(): Json {
  return {
    description: "How many facts of each kind were stored.",
    type: "object",
    properties: Object.fromEntries(Object.keys(schemas).map((kind) => [kind, { type: "integer", minimum: 0 }])),
  };
}

function sourceParameter(): Json {
  return {
    name: "source",
    in: "path",
    required: true,
    description: `A provider (${[...sources.keys()].join(", ")}), or an instance of it: github-acme`,
    schema: { type: "string", pattern: "^[a-z0-9]+(-[a-z0-9]+)*$", maxLength: 100 },
  };
}

function reportParameters(): Json {
  const { properties } = parameterSchema.toJSONSchema({ io: "input" }) as { properties: Record<string, Json> };
  return Object.fromEntries(
    Object.entries(properties).map(([name, { description, ...schema }]) => [
      name,
      { name, in: "query", description, schema },
    ]),
  );
}

const schemesOf = (scheme: Scheme | readonly Scheme[]) => [scheme].flat() as Scheme[];
const headerOf = (scheme: Scheme) => scheme.kind === "standard_webhooks" ? "webhook-signature" : scheme.header;
const schemeName = (scheme: Scheme) => headerOf(scheme) === "authorization" ? "secret" : headerOf(scheme);

function securitySchemes(): Json {
  const described = {
    hmac: "HMAC-SHA256 of the raw body, with the source's secret",
    standard_webhooks: "Signatures of Standard Webhooks",
    bearer: "The source's secret itself",
  };
  const ofSources = [...sources.values()].flatMap(({ scheme }) => schemesOf(scheme)).map((scheme) => {
    const description = described[scheme.kind];
    return [
      schemeName(scheme),
      headerOf(scheme) === "authorization"
        ? { type: "http", scheme: "bearer", description }
        : { type: "apiKey", in: "header", name: headerOf(scheme), description },
    ];
  });
  return {
    token: { type: "http", scheme: "bearer", description: "A token that an admin made: mtr_<id>_<secret>" },
    oidc: { type: "http", scheme: "bearer", bearerFormat: "JWT", description: "A CI system's OIDC token of the job" },
    ...Object.fromEntries(ofSources),
  };
}
