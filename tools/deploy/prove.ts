// Shows that staging works as deployed: a pull request's life comes as signed deliveries through the function, is read back over REST
// by a member and by nobody else, and is forgotten. What was proven is written to proof.json, which lets production have the same.
import type { Sql } from "postgres";
import { Sentence } from "../stack/sentence.ts";
import { findExposure } from "./expose.ts";
import { functionFindings, functionHash, secretFindings } from "./function.ts";
import { type Migration, readMigrations, sha256 } from "./migrations.ts";
import { commitOf, historyOf, isCutFrom, type Proof } from "./preflight.ts";
import { projectUrl, publishableKey, secretKey } from "./project.ts";
import { type GateContext, type GateResult, Report } from "./result.ts";
import { schemaText } from "./schema.ts";
import { lifeOf, type Said } from "./life.ts";
import { connect, nameOf, type Target } from "./target.ts";

/** How to prove. */
export interface ProveOptions extends GateContext {
  target: Target;
  /** The file that the proof is written to. */
  proof: string;
  /** The commit that was deployed; default: GITHUB_SHA, else that of the root. */
  commit?: string | undefined;
}

/** Something did not happen as it must. */
class Unproven extends Error {
  constructor(readonly code: string, readonly sentence: string) {
    super(code);
  }
}

/** The gate `prove`. */
export async function runProve(options: ProveOptions): Promise<GateResult> {
  const { target, env, root, proof: file } = options;
  const report = new Report("prove", nameOf(target), options);
  const secret = env.INGEST_SECRET_SYNTHETIC?.split(",")[0]?.trim();
  if (!secret) {
    throw new Sentence("INGEST_SECRET_SYNTHETIC is missing: the secret that staging's function has by that name.");
  }
  // An old proof must not outlive a failure.
  await Deno.remove(file).catch(() => {});
  report.find(
    ...await secretFindings({ target, env, environment: "staging" }),
    ...await functionFindings({ target, env, root }),
  );
  await findExposure({ target, env }, report);
  if (!report.ok) return report.result();
  const project: Project = {
    url: projectUrl(target, env),
    publishable: await publishableKey(target, env),
    secret: await secretKey(target, env),
  };
  const sql = await connect(target, env);
  try {
    const migrations = await readMigrations(root);
    const applied = new Map((await historyOf(sql)).map(({ version, statements }) => [version, statements]));
    const missing = migrations.filter(({ version, isOurs }) => isOurs && !applied.has(version));
    for (const { file } of missing) {
      report.find({ code: "not_applied", file, sentence: "is not applied on staging: push first." });
    }
    const isProven = ({ version, sql }: Migration) => isCutFrom(sql, applied.get(version));
    for (const migration of migrations) {
      const { version, file, isOurs } = migration;
      if (!applied.has(version) || isProven(migration)) continue;
      const sentence = "Staging's history does not show that it ran what the file holds now";
      if (isOurs) report.find({ code: "edited", file, sentence: `${sentence}: put it back as it was.` });
      else report.note(`${file}: ${sentence}, so the proof leaves it out.`);
    }
    if (!report.ok) return report.result();
    await prove(sql, project, secret, report);
    const proof: Proof = {
      commit: await commitOf(options),
      versions: migrations.filter(isProven).map(({ version, name, sha256 }) => ({
        version,
        name,
        sha256,
      })),
      catalog_sha256: await sha256(await schemaText(sql)),
      function_sha256: await functionHash(root),
      proven_at: new Date().toISOString(),
    };
    await Deno.writeTextFile(file, `${JSON.stringify(proof, null, 2)}\n`);
    report.note(`Proven for commit ${proof.commit.slice(0, 12)}, with ${proof.versions.length} migrations.`);
    return report.result({ proof });
  } catch (error) {
    if (!(error instanceof Unproven)) throw error;
    report.find({ code: error.code, sentence: error.sentence });
    return report.result();
  } finally {
    await sql.end({ timeout: 5 });
  }
}

/** Where to send, and the keys to read with. */
interface Project {
  url: string;
  publishable: string;
  secret: string;
}

/** Lets a pull request live, and sees to it that nothing of it stays, whatever happens. */
async function prove(sql: Sql, project: Project, secret: string, report: Report): Promise<void> {
  const run = crypto.randomUUID();
  const life = lifeOf(run);
  const question = await numbersQuestion(sql);
  await forgetOthers(sql, project);
  const people: Person[] = [];
  let reference: string | undefined;
  try {
    await proveDoors(project, secret);
    for (const [step, facts] of Object.entries(life.deliveries)) {
      await deliver(project, secret, `${run}-${step}`, step, facts);
    }
    report.note(
      `A pull request was ${Object.keys(life.deliveries).join(", ")}: ${
        Object.keys(life.deliveries).length
      } deliveries, each twice.`,
    );
    const team = `proof ${run}`;
    const member = await newPerson(project, `proof-${run}-member@example.com`, people);
    const stranger = await newPerson(project, `proof-${run}-stranger@example.com`, people);
    await sql`select metrics.add_member(${member.email}, 'viewer'), metrics.add_team(${team})`;
    await sql`select metrics.add_team_member(${team}, ${member.email}), metrics.add_team_repository(${team}, ${life.reference})`;
    await call(project, "rpc/accept_membership", { key: project.publishable, token: member.token, method: "POST" });
    await proveReading(project, member, stranger, life.expected);
    const [known] = await sql`select id::text from metrics.repository_references where reference = ${life.reference}`;
    reference = known?.id;
    report.note("A member read its facts over REST; a signed-in stranger, anon and service_role read none.");
    if (question) {
      await proveNumbers(project, member, stranger, question);
      report.note(`A member read metrics.${numbers} over REST, and nobody else did.`);
    } else report.note(`There is no metrics.${numbers} yet, so no number was read.`);
  } finally {
    await forget(sql, project, run, life.reference, people);
  }
  for (const table of Object.keys(life.expected)) {
    const [row] = await sql.unsafe(
      `select exists (select from metrics."${table}" where reference_id = $1::bigint) as is_there`,
      [reference!],
    );
    if (row!.is_there) throw new Unproven("not_forgotten", `metrics.${table} still holds what was to be forgotten.`);
  }
  report.note("All of it is forgotten.");
}

/** Each of these must be refused, and a good secret must not be. */
async function proveDoors(project: Project, secret: string): Promise<void> {
  const body = JSON.stringify({ facts: {} });
  const doors: [string, string, Record<string, string>, number, string][] = [
    ["provider_not_refused", "github", {}, 421, "a delivery of a provider"],
    ["unsigned_taken", "synthetic", {}, 401, "a delivery without a signature"],
    [
      "forged_taken",
      "synthetic",
      await signed(body, `${secret}, but another`),
      401,
      "a delivery with a wrong signature",
    ],
    [
      "secret_wrong",
      "synthetic",
      { ...await signed(body, secret), "x-synthetic-event": "ping" },
      202,
      "a signed delivery without facts",
    ],
  ];
  for (const [code, source, headers, expected, what] of doors) {
    const { status } = await post(project, source, body, {
      "x-synthetic-event": "facts",
      "x-synthetic-delivery": crypto.randomUUID(),
      ...headers,
    });
    if (status !== expected) {
      // Whatever was asked, that is no refusal.
      throw new Unproven(
        status >= 500 ? "function_fails" : code,
        `The function must answer ${expected} to ${what}, and answered ${status}.`,
      );
    }
  }
}

async function deliver(project: Project, secret: string, id: string, step: string, facts: unknown): Promise<void> {
  const body = JSON.stringify({ facts });
  const headers = { ...await signed(body, secret), "x-synthetic-event": "facts", "x-synthetic-delivery": id };
  for (const expected of ["stored", "duplicate"]) {
    const { status, result } = await post(project, "synthetic", body, headers);
    if (status !== 200 || result !== expected) {
      throw new Unproven(
        "delivery_not_stored",
        `The delivery "${step}" must be answered 200 ${expected}, and was answered ${status} ${result ?? ""}`.trim() +
          ".",
      );
    }
  }
}

async function signed(body: string, secret: string): Promise<Record<string, string>> {
  const bytes = new TextEncoder();
  const key = await crypto.subtle.importKey("raw", bytes.encode(secret), { name: "HMAC", hash: "SHA-256" }, false, [
    "sign",
  ]);
  const signature = new Uint8Array(await crypto.subtle.sign("HMAC", key, bytes.encode(body)));
  return {
    "x-synthetic-signature": `sha256=${Array.from(signature, (byte) => byte.toString(16).padStart(2, "0")).join("")}`,
  };
}

async function post(project: Project, source: string, body: string, headers: Record<string, string>) {
  const response = await request(`${project.url}/functions/v1/ingest-metrics/${source}`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body,
  });
  const answer = await response.json().catch(() => ({})) as { result?: string };
  return { status: response.status, result: answer.result };
}

async function request(url: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(url, { ...init, signal: AbortSignal.timeout(30_000) });
  } catch {
    throw new Unproven("no_answer", `${new URL(url).pathname} did not answer within 30 s.`);
  }
}

/** A signed-in user, made for this proof. */
interface Person {
  id: string;
  email: string;
  token: string;
}

async function newPerson(project: Project, email: string, people: Person[]): Promise<Person> {
  const password = `${crypto.randomUUID()}Aa1!`;
  const headers = {
    apikey: project.secret,
    authorization: `Bearer ${project.secret}`,
    "content-type": "application/json",
  };
  const made = await request(`${project.url}/auth/v1/admin/users`, {
    method: "POST",
    headers,
    body: JSON.stringify({ email, password, email_confirm: true }),
  });
  const { id } = await made.json().catch(() => ({})) as { id?: string };
  if (!made.ok || !id) {
    throw new Unproven("no_user", `Auth must make a user for the proof, and answered ${made.status}.`);
  }
  const person = { id, email, token: "" };
  // From now on it has to be removed.
  people.push(person);
  const session = await request(`${project.url}/auth/v1/token?grant_type=password`, {
    method: "POST",
    headers: { apikey: project.publishable, "content-type": "application/json" },
    body: JSON.stringify({ email, password }),
  });
  const { access_token } = await session.json().catch(() => ({})) as { access_token?: string };
  if (!access_token) {
    throw new Unproven(
      "no_session",
      `A user must be able to sign in with a password on staging; Auth answered ${session.status}.`,
    );
  }
  person.token = access_token;
  return person;
}

/** One request to the Data API, in the schema metrics. */
async function call(
  project: Project,
  path: string,
  { key, token, method = "GET", body = {} }: { key: string; token?: string; method?: string; body?: unknown },
): Promise<{ status: number; rows: unknown }> {
  const response = await request(`${project.url}/rest/v1/${path}`, {
    method,
    headers: {
      apikey: key,
      ...(token ? { authorization: `Bearer ${token}` } : {}),
      "accept-profile": "metrics",
      "content-profile": "metrics",
      ...(method === "POST" ? { "content-type": "application/json" } : {}),
    },
    ...(method === "POST" ? { body: JSON.stringify(body) } : {}),
  });
  return { status: response.status, rows: await response.json().catch(() => null) };
}

async function proveReading(project: Project, member: Person, stranger: Person, expected: Said): Promise<void> {
  for (const [table, row] of Object.entries(expected)) {
    const path = `${table}?select=${Object.keys(row).join(",")}&url=eq.${encodeURIComponent(String(row.url))}`;
    const seen = await call(project, path, { key: project.publishable, token: member.token });
    const rows = Array.isArray(seen.rows) ? seen.rows as Record<string, unknown>[] : [];
    const wrong = Object.keys(row).filter((column) => !isSame(rows[0]?.[column], row[column]));
    if (rows.length !== 1 || wrong.length > 0) {
      throw new Unproven(
        "facts_not_read",
        `A member must read one row of metrics.${table} over REST as it was delivered, and got ${rows.length} (${seen.status})` +
          (rows.length === 1 ? `, with other values in ${wrong.join(", ")}.` : "."),
      );
    }
    const others: [string, { key: string; token?: string }, (answer: { status: number; rows: unknown }) => boolean][] =
      [
        [
          "a signed-in stranger",
          { key: project.publishable, token: stranger.token },
          ({ status, rows }) => status === 200 && Array.isArray(rows) && rows.length === 0,
        ],
        ["anon", { key: project.publishable }, ({ status }) => status === 401 || status === 403],
        [
          "service_role",
          { key: project.secret, token: project.secret },
          ({ status }) => status === 401 || status === 403,
        ],
      ];
    for (const [who, as, isRefused] of others) {
      const answer = await call(project, path, as);
      if (!isRefused(answer)) {
        throw new Unproven(
          "read_by_others",
          `metrics.${table} must not be read by ${who}; the Data API answered ${answer.status}.`,
        );
      }
    }
  }
}

/** The function that answers what a team asks first. */
const numbers = "dora";

/**
 * The arguments with which the numbers of the month of {@link lifeOf} are asked for; the rest has its default.
 *
 * @returns undefined where the schema has no such function
 */
async function numbersQuestion(sql: Sql): Promise<Record<string, string> | undefined> {
  const [row] = await sql<{ names: string[]; types: string[] }[]>`
    select
      array(select a.name from unnest(p.proargnames) with ordinality as a (name, place) where place <= p.pronargs order by place) as names,
      array(select format_type(t.type, null) from unnest(p.proargtypes) with ordinality as t (type, place) order by place) as types
    from pg_catalog.pg_proc as p
    where p.pronamespace = to_regnamespace('metrics') and p.proname = ${numbers} and p.prokind = 'f'
    order by p.pronargs
    limit 1`;
  if (!row) return undefined;
  const ends = ["2026-01-01", "2026-02-01"];
  const given = row.types.map((type, place): [string, string | undefined] => [
    row.names[place]!,
    /range$/.test(type) ? `[${ends.join(",")})` : /^(date|timestamp)/.test(type) ? ends.shift() : undefined,
  ]);
  return Object.fromEntries(given.filter((pair): pair is [string, string] => pair[1] !== undefined));
}

/** Members get numbers, everybody else is refused: no empty answer, which could be taken for one. */
async function proveNumbers(
  project: Project,
  member: Person,
  stranger: Person,
  question: Record<string, string>,
): Promise<void> {
  const ask = (who: { key: string; token?: string }) =>
    call(project, `rpc/${numbers}`, { ...who, method: "POST", body: question });
  const { status, rows } = await ask({ key: project.publishable, token: member.token });
  if (status !== 200 || !Array.isArray(rows) || rows.length === 0) {
    throw new Unproven(
      "numbers_not_read",
      `A member must get rows of metrics.${numbers} over REST, and was answered ${status}` +
        (Array.isArray(rows) ? ` with ${rows.length}.` : "."),
    );
  }
  const others: [string, { key: string; token?: string }, number[]][] = [
    ["a signed-in stranger", { key: project.publishable, token: stranger.token }, [403]],
    ["anon", { key: project.publishable }, [401, 403]],
    ["service_role", { key: project.secret, token: project.secret }, [401, 403]],
  ];
  for (const [who, as, refusals] of others) {
    const answer = await ask(as);
    if (!refusals.includes(answer.status)) {
      throw new Unproven(
        "numbers_read_by_others",
        `metrics.${numbers} must be refused to ${who}; the Data API answered ${answer.status}.`,
      );
    }
  }
}

/** Equal values; times are equal however they are written. */
function isSame(seen: unknown, expected: unknown): boolean {
  if (typeof seen === "string" && typeof expected === "string" && /^\d{4}-\d\d-\d\dT/.test(expected)) {
    return Date.parse(seen) === Date.parse(expected);
  }
  return JSON.stringify(seen) === JSON.stringify(expected);
}

async function forget(sql: Sql, project: Project, run: string, reference: string, people: Person[]): Promise<void> {
  const [known] =
    await sql`select exists (select from metrics.repository_references where reference = ${reference}) as exists`;
  for (let rounds = 0, done = !known!.exists; !done && rounds < 100; rounds++) {
    const [row] = await sql`select metrics.forget_repository(${reference}) as said`;
    done = row!.said.done === true;
  }
  const teams = await sql`select name from metrics.teams where name = ${`proof ${run}`}`;
  for (const { name } of teams) await sql`select metrics.remove_team(${name})`;
  for (const { id, email } of people) {
    const members = await sql`select email from metrics.members where email = ${email}`;
    for (const member of members) await sql`select metrics.remove_member(${member.email})`;
    const response = await request(`${project.url}/auth/v1/admin/users/${id}`, {
      method: "DELETE",
      headers: { apikey: project.secret, authorization: `Bearer ${project.secret}` },
    });
    await response.body?.cancel();
  }
}

/** What an earlier proof left that was ended in the middle. */
async function forgetOthers(sql: Sql, project: Project): Promise<void> {
  const uuid = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}";
  const references = await sql<{ run: string }[]>`
    select distinct substring(reference from ${`^synthetic:(${uuid})$`}) as run
    from metrics.repository_references
    where reference ~ ${`^synthetic:${uuid}$`}
  `;
  for (const { run } of references) await forget(sql, project, run, `synthetic:${run}`, []);
  const people = await sql<{ run: string; id: string; email: string }[]>`
    select substring(email from ${`^proof-(${uuid})-`}) as run, id::text, email
    from auth.users
    where email ~ ${`^proof-${uuid}-(member|stranger)@example[.]com$`}
  `;
  for (const { run, id, email } of people) {
    await forget(sql, project, run, `synthetic:${run}`, [{ id, email, token: "" }]);
  }
}
