/** The functions that numbers are read with, as OpenAPI 3.1 describes their calls over REST: read from the catalog of a migrated database. */

import type { Sql, TransactionSql } from "postgres";
import type { Json } from "./schemas.ts";

/** A function that members and BI tools read numbers with. */
export interface ReadingFunction {
  name: string;
  comment: string;
  arguments: { name: string; type: string; default: string | null }[];
  columns: { name: string; type: string; comment: string | null }[];
  /** The type of its rows where that is one of its own, shared by several functions. */
  row_type: string | null;
  body: string;
}

/**
 * The reading functions of a database, by name. They are told from what they are made of, which is not for calls from outside, by the
 * time-out that each has.
 */
export async function readingFunctions(sql: Sql | TransactionSql): Promise<ReadingFunction[]> {
  return [
    ...await sql<ReadingFunction[]>`
      select
        p.proname::text as name,
        obj_description(p.oid, 'pg_proc') as comment,
        p.prosrc as body,
        (select t.typname::text from pg_catalog.pg_type as t where t.oid = p.prorettype and t.typrelid <> 0) as row_type,
        (
          select coalesce(jsonb_agg(
            jsonb_build_object(
              'name', a.name,
              'type', format_type(a.type, null),
              'default', pg_get_function_arg_default(p.oid, a.place::integer)
            )
            order by a.place
          ), '[]')
          from unnest(p.proargnames, coalesce(p.proallargtypes, p.proargtypes::oid[]), coalesce(p.proargmodes, array_fill('i'::"char", array[p.pronargs::integer])))
            with ordinality as a (name, type, mode, place)
          where a.mode = 'i'
        ) as arguments,
        coalesce(
          (
            select jsonb_agg(
              jsonb_build_object('name', a.name, 'type', format_type(a.type, null), 'comment', null)
              order by a.place
            )
            from unnest(p.proargnames, p.proallargtypes, p.proargmodes) with ordinality as a (name, type, mode, place)
            where a.mode = 't'
          ),
          (
            select jsonb_agg(
              jsonb_build_object('name', c.attname, 'type', format_type(c.atttypid, null), 'comment', col_description(c.attrelid, c.attnum))
              order by c.attnum
            )
            from pg_catalog.pg_type as t
            join pg_catalog.pg_attribute as c
              on c.attrelid = t.typrelid
              and c.attnum > 0
              and not c.attisdropped
            where t.oid = p.prorettype
          )
        ) as columns
      from pg_catalog.pg_proc as p
      where p.pronamespace = 'metrics'::regnamespace
        and p.provolatile = 's'
        and p.proretset
        and exists (select from unnest(p.proconfig) as c (setting) where c.setting like 'statement_timeout=%')
        and has_function_privilege('authenticated', p.oid, 'execute')
        and has_function_privilege('metrics_reader', p.oid, 'execute')
      order by p.proname collate "C"`,
  ];
}

/** What each argument means, in whichever function. */
const argumentWords: Readonly<Record<string, string>> = {
  since: "First day of the period, in the installation's time zone; 90 days before until when absent",
  until: "The day after the last of the period; tomorrow when absent",
  bucket: "What the period is cut into; weeks are ISO weeks",
  by: "What the rows are grouped or ordered by",
  service: "Only this service",
  repository: "Only this repository: its name, or a reference such as github:1234",
  team: "Only the repositories of this team",
  environment: "Only deployments to the environment of this name",
  branch: "Only this branch; default is the default branch of each repository",
  bots: "false leaves out what bots did",
  pipeline: "Only the pipeline of this name",
  job: "Only the job of this name",
  step: "Only the step of this name",
  runner: "Only the runner with these labels, separated by commas",
  metric: "The number that the rows are behind",
  section: "The part of the overview that the rows are behind",
  name: "Name of the measurement",
  attributes: "Only measurements that have all of these attributes",
  days: "So many days up to now",
  source: "Only this source",
  page_after: "The page_key of the last row that was read; absent for the first page",
  page_size: "How many rows come at most",
};

/** What each column means, in whichever function; a comment of the database comes before it. */
const columnWords: Readonly<Record<string, string>> = {
  band: "elite, high, medium or low",
  band_reason: "Why there is no band",
  basis: "How many changes start by which moment: commit, first_commit, pull_request_opened",
  billed_minutes: "Minutes that have a price, as they are rounded",
  bucket_start: "First day of the bucket; null for none",
  cancelled: "How many were cancelled",
  causes: "How many failed by which cause: rolled_back, incident, fixed_forward",
  changes: "How many changes the percentiles are of",
  checks: "How many checks were made",
  compliant: "How many checks were compliant",
  cost: "What the billed minutes cost",
  currency: "ISO 4217",
  deployment_days_per_week: "Median number of days with a deployment, of the whole weeks since the first",
  deployment_failure_rate: "Failed attempts / (failed attempts + deployments), 0 to 1",
  deployments: "Successful deployments to production",
  deployments_per_day: "Deployments / days that are not after today",
  detail: "What else is known",
  duration_p50_seconds: "Median duration in seconds, without the time in the queue",
  duration_p75_seconds: "75th percentile of the duration in seconds",
  duration_p95_seconds: "95th percentile of the duration in seconds",
  error: "How many ended because the machinery failed",
  excluded: "How many changes are left out for which reason",
  failed: "How many failed, errors among them",
  failed_attempts: "Deployments that did not reach production",
  failed_changes: "Deployments that failed afterwards",
  failure: "How many failed",
  final_success_rate: "Success rate of last tries, 0 to 1",
  first_try_success_rate: "Success rate of first tries, 0 to 1",
  ignored: "Deliveries of a kind that carries no fact",
  ignored_reasons: "How many were ignored for which reason",
  is_exact: "Whether percentiles are exact; else at most 4.9 % off",
  is_frozen: "Whether it begins before the horizon, where what it is made of is dropped",
  jobs: "How many jobs",
  last_received_at: "When the last delivery came",
  last_stored_at: "When the last one came that was stored",
  metric: "The number",
  minutes: "Minutes of all together",
  name: "Name of the group; null for all together",
  neutral: "How many ended neutral",
  notes: "The columns of the function of this number",
  open_failures: "Failures of the period that nothing has ended",
  p50_seconds: "Median in seconds",
  p75_seconds: "75th percentile in seconds",
  p95_seconds: "95th percentile in seconds",
  page_key: "Pass that of the last row as page_after to get the next page",
  pass_rate: "Passed / (passed + failed), 0 to 1",
  passed: "How many passed",
  phase: "coding, pickup, review, merge, deploy or total",
  previous_value: "The number of the bucket before, or of as many days before the period",
  pull_requests: "How many were merged",
  quarantined: "Deliveries that were not understood, and are kept",
  quarantined_reasons: "How many are in quarantine for which reason",
  queue_p50_seconds: "Median time in the queue in seconds",
  queue_p75_seconds: "75th percentile of the time in the queue in seconds",
  queue_p95_seconds: "95th percentile of the time in the queue in seconds",
  duration_sample_size: "Of how many the duration is known",
  queue_sample_size: "Of how many the time in the queue is known",
  rate: "Share, 0 to 1",
  reason: "Why a number is null: see docs/metrics.md",
  recovered: "How many failures ended in the period",
  redeploys: "Deployments of the commit that was there",
  rerun_rate: "Runs that were no first try / runs, 0 to 1",
  rework_deployments: "Deployments that rolled back or fixed another",
  runs: "How many finished",
  sample_size: "How many the number is of",
  seconds_since_last: "How long ago the last delivery came",
  section: "dora, pull_requests, pipelines, tests or rules",
  skipped: "How many were skipped",
  source: "Name of the source",
  stored: "Deliveries that became facts",
  success: "How many succeeded",
  success_rate: "Success / (success + failure + timed out + error), 0 to 1",
  timed_out: "How many took too long",
  total: "How many rows there are on all pages",
  trend: "value less previous_value",
  truncated_pushes: "Pushes that list not all of their commits",
  unit: "Unit of the value",
  unknown: "How many ended in a word that no mapping knows",
  unknown_commits: "Deployments of a commit that has no place on the default branch",
  unknown_services: "Services that incidents name and nobody has, with how often",
  unknown_words: "Outcomes that no mapping knows, with how often",
  unlinked_incidents: "Incidents that fit no deployment",
  unpriced_minutes: "Minutes whose runner has no price",
  value: "The number",
  violation: "How many checks were violations",
  warning: "How many checks were warnings",
};

/**
 * The whole document.
 *
 * @throws Error for an argument or a column that has no words here
 */
export async function openapiRest(sql: Sql | TransactionSql): Promise<Json> {
  const functions = await readingFunctions(sql);
  const [period] = await sql`select prosrc as body from pg_catalog.pg_proc where oid = 'metrics.period_of'::regproc`;
  const buckets = /bucket not in \(([^)]*)\)/.exec(period?.["body"])?.[1];
  const page = /page_size not between (\d+) and (\d+)/.exec(period?.["body"]);
  if (!buckets || !page) throw new Error("metrics.period_of no longer says what buckets and pages there are");
  const bounds = { buckets: wordsOf(buckets), minimum: Number(page[1]), maximum: Number(page[2]) };
  const rows = Map.groupBy(functions, rowName);
  const taken = new Map(functions.map((one) => [one.name, argumentsOf(one, bounds)]));
  const shared = sharedOf([...taken.values()]);
  return {
    openapi: "3.1.1",
    info: {
      title: "The numbers",
      version: "1",
      summary: "Functions that members of metrics read numbers with, over the Data API.",
      description:
        "What each number means is in docs/metrics.md. Each function may be asked with GET or POST. Rows come in pages: page_after takes the " +
        "page_key of the last row, and total says how many there are on all pages.",
    },
    servers: [{
      url: "{project}/rest/v1",
      variables: { project: { default: "http://127.0.0.1:54321", description: "The address of the Supabase project" } },
    }],
    security: [{ apikey: [], session: [] }],
    paths: Object.fromEntries(functions.map((one) => [`/rpc/${one.name}`, pathOf(one, taken.get(one.name)!, shared)])),
    components: {
      securitySchemes: {
        apikey: { type: "apiKey", in: "header", name: "apikey", description: "The project's publishable key" },
        session: {
          type: "http",
          scheme: "bearer",
          bearerFormat: "JWT",
          description: "The access token of a member who signed in",
        },
      },
      responses: {
        400: problem(
          "An argument that cannot be: `22023`, with the value in the message and what would be right in the hint; or a date that is none.",
        ),
        401: problem("No key, or a token that is wrong or over; or nobody signed in: `42501`."),
        403: problem("Signed in, and no member: `42501`."),
        404: problem(
          "No function of that name, or none with such an argument; or the header with the schema is missing: `PGRST202`.",
        ),
        500: problem("It took longer than 5 s: `57014`."),
      },
      parameters: Object.fromEntries([...shared].map(([name, schema]) => [name, { name, in: "query", schema }])),
      schemas: {
        Error: {
          type: "object",
          properties: {
            code: { type: "string", description: "SQLSTATE, or a code of the Data API" },
            message: { type: "string" },
            details: { type: ["string", "null"] },
            hint: { type: ["string", "null"] },
          },
          required: ["code", "message"],
        },
        ...Object.fromEntries([...taken].map(([name, { properties, ...rest }]) => [`${name}_arguments`, {
          type: "object",
          properties: Object.fromEntries(
            Object.entries(properties).map(([argument, schema]) => [
              argument,
              shared.has(argument) ? { $ref: `#/components/parameters/${argument}/schema` } : schema,
            ]),
          ),
          ...rest,
        }])),
        ...Object.fromEntries([...rows].map(([name, [first]]) => [name, rowOf(first!)])),
      },
    },
  };
}

const rowName = ({ name, row_type }: ReadingFunction) => row_type ?? `${name}_row`;
const json = (schema: Json) => ({ "application/json": { schema } });
const problem = (description: string) => ({ description, content: json({ $ref: "#/components/schemas/Error" }) });

/** What a function takes, as properties of an object. */
interface Taken {
  properties: Record<string, Json>;
  required?: string[];
  additionalProperties: false;
}

/** Arguments that are the same wherever they are taken, and taken by several. */
function sharedOf(all: readonly Taken[]): Map<string, Json> {
  const found = Map.groupBy(all.flatMap(({ properties }) => Object.entries(properties)), ([name]) => name);
  return new Map(
    [...found].filter(([, same]) =>
      same.length > 1 && new Set(same.map(([, schema]) => JSON.stringify(schema))).size === 1
    )
      .map(([name, [first]]): [string, Json] => [name, first![1]])
      // What is an object has to be written as JSON in an address.
      .filter(([, schema]) => schema["type"] !== "object"),
  );
}

function pathOf(one: ReadingFunction, taken: Taken, shared: ReadonlyMap<string, Json>): Json {
  const profile = (name: string) => ({ name, in: "header", required: true, schema: { const: "metrics" } });
  const responses = {
    200: {
      description: "One page of rows.",
      content: json({ type: "array", items: { $ref: `#/components/schemas/${rowName(one)}` } }),
    },
    ...Object.fromEntries(
      [400, 401, 403, 404, 500].map((status) => [status, { $ref: `#/components/responses/${status}` }]),
    ),
  };
  const schema = `#/components/schemas/${one.name}_arguments`;
  return {
    summary: one.comment,
    get: {
      operationId: `get_${one.name}`,
      parameters: [
        ...Object.entries(taken.properties).map(([name, { type }]) => {
          if (shared.has(name)) return { $ref: `#/components/parameters/${name}` };
          const own = { $ref: `${schema}/properties/${name}` };
          return {
            name,
            in: "query",
            ...(taken.required?.includes(name) ? { required: true } : {}),
            ...(type === "object" ? { content: json(own) } : { schema: own }),
          };
        }),
        profile("Accept-Profile"),
      ],
      responses,
    },
    post: {
      operationId: one.name,
      parameters: [profile("Content-Profile")],
      requestBody: { required: true, content: json({ $ref: schema }) },
      responses,
    },
  };
}

/** The buckets that there are, and how many rows a page may have. */
interface Bounds {
  buckets: string[];
  minimum: number;
  maximum: number;
}

function argumentsOf(one: ReadingFunction, { buckets, ...bounds }: Bounds): Taken {
  const required = one.arguments.filter((argument) => argument.default === null).map(({ name }) => name);
  return {
    properties: Object.fromEntries(one.arguments.map(({ name, type, default: usual }) => {
      const value = /^'(.*)'::text$/.exec(usual ?? "")?.[1] ??
        (/^(\d+|true|false)$/.test(usual ?? "") ? JSON.parse(usual!) : undefined);
      return [name, {
        ...typeOf(type),
        description: worded(argumentWords, name, `an argument of ${one.name}`),
        ...(value === undefined ? {} : { default: value }),
        ...(name === "bucket" ? { enum: buckets } : {}),
        ...(name === "page_size" ? bounds : {}),
        ...enumOf(one, name),
      }];
    })),
    ...(required.length > 0 ? { required } : {}),
    additionalProperties: false,
  };
}

/** The words that a function takes for an argument, where it checks them. */
function enumOf({ body, name: asked }: ReadingFunction, name: string): Json {
  const list = new RegExp(`checked_word\\(\\s*'${name}',[^[]*?array\\[([^\\]]*)\\]`).exec(body)?.[1];
  if (list) return { enum: wordsOf(list) };
  if (name === "by") throw new Error(`${asked} no longer says what it groups by`);
  return {};
}

const wordsOf = (list: string) => [...list.matchAll(/'([^']*)'/g)].map(([, word]) => word!);

function rowOf(one: ReadingFunction): Json {
  return {
    type: "object",
    properties: Object.fromEntries(one.columns.map(({ name, type, comment }) => {
      const { type: known, ...rest } = typeOf(type);
      return [name, {
        ...(known === undefined ? {} : { type: [known, "null"] }),
        ...rest,
        description: comment ?? worded(columnWords, name, `a column of ${one.name}`),
      }];
    })),
    required: one.columns.map(({ name }) => name),
  };
}

function worded(words: Readonly<Record<string, string>>, name: string, what: string): string {
  const found = words[name];
  if (found === undefined) throw new Error(`${name}, ${what}, has no words in tools/deploy/openapi_rest.ts`);
  return found;
}

/** A type of Postgres as JSON has it. */
function typeOf(type: string): Json {
  const types: Readonly<Record<string, Json>> = {
    text: { type: "string" },
    date: { type: "string", format: "date" },
    "timestamp with time zone": { type: "string", format: "date-time" },
    boolean: { type: "boolean" },
    integer: { type: "integer", format: "int32" },
    bigint: { type: "integer", format: "int64" },
    "double precision": { type: "number", format: "double" },
    jsonb: { type: "object" },
  };
  const found = types[type];
  if (!found) throw new Error(`the type ${type} is not one that tools/deploy/openapi_rest.ts knows`);
  return found;
}
