/** Two teams with a repository each, and everybody who may come to them. */
import postgres, { type Sql, type TransactionSql } from "postgres";
import { randomWord } from "../../tools/stack/cluster.ts";
import type { TestDatabase } from "./database.ts";

/** Who calls, each as the Data API or a BI tool would. */
export const people = [
  "anon",
  "stranger",
  "other viewer",
  "viewer",
  "admin",
  "service_role",
  "metrics_reader",
] as const;

/** One of {@link people}. */
export type Person = typeof people[number];

/** Signed-in users by who they are. */
export const users = {
  stranger: { id: "00000000-0000-4000-8000-00000000000e", email: "eve@example.com" },
  viewer: { id: "00000000-0000-4000-8000-000000000001", email: "vera@example.com" },
  "other viewer": { id: "00000000-0000-4000-8000-000000000002", email: "otto@example.com" },
  admin: { id: "00000000-0000-4000-8000-00000000000a", email: "ada@example.com" },
} as const;

/** The repository of the viewer's team, and that of the other viewer's. */
export const repositories = { viewer: "github:1", "other viewer": "github:2" } as const;

/** One observation of each fact kind about a repository; what may name no repository comes with a third, which names none. */
function factsOf(reference: string): Record<string, Record<string, unknown>[]> {
  const said = { repository: reference, observed_at: "2026-11-02T10:00:00Z" };
  const sha = reference.at(-1)!.repeat(40);
  const first = `${reference.at(-1)}a`.repeat(20);
  const finished = {
    status: "finished",
    outcome: "success",
    started_at: "2026-11-02T09:58:00Z",
    finished_at: "2026-11-02T09:59:00Z",
  };
  return {
    repositories: [{ ...said, full_name: `acme/${reference.replace(":", "-")}`, default_branch: "main" }],
    pipeline_runs: [{ ...said, ...finished, external_id: "1", attempt: 1, pipeline: "build", actor: "ann" }],
    jobs: [{ ...said, ...finished, external_id: "1", name: "test" }],
    pull_requests: [
      { ...said, number: 1, title: "A change", state: "open", author: "ann" },
      {
        ...said,
        number: 2,
        title: "Another",
        state: "merged",
        author: "ann",
        opened_at: "2026-11-02T09:00:00Z",
        merged_at: "2026-11-02T09:30:00Z",
        merge_sha: sha,
      },
    ],
    reviews: [{ ...said, external_id: "1", pull_request_number: 1, reviewer: "bob", state: "approved" }],
    pushes: [{
      ...said,
      ref: "refs/heads/main",
      before: "0".repeat(40),
      after: sha,
      pushed_at: null,
      commits: [first, sha],
    }],
    commits: [first, sha].map((sha) => ({ ...said, sha, title: "A change", authored_at: "2026-11-02T08:00:00Z" })),
    // The first of a service ships what nobody waited for; the second ships a change.
    deployments: [first, sha].map((commit_sha, i) => ({
      ...said,
      ...finished,
      finished_at: `2026-11-02T10:0${i}:00Z`,
      external_id: String(i + 1),
      environment: "production",
      commit_sha,
    })),
    releases: [{ ...said, external_id: "1", tag: "v1" }],
    incidents: [{
      ...said,
      source: "github",
      external_id: reference,
      title: "Down",
      status: "open",
      opened_at: "2026-11-02T10:30:00Z",
    }],
    test_runs: [{
      ...said,
      external_id: "1",
      suite: "unit",
      started_at: said.observed_at,
      passed: ["one"],
      passed_count: 1,
    }],
    test_cases: [{ ...said, test_run_external_id: "1", suite: "unit", name: "two", outcome: "failed" }],
    rule_checks: [{ ...said, external_id: "1", rule: "signed", status: "compliant", checked_at: said.observed_at }],
    measurements: [{ ...said, name: "size", external_id: "1", value: 1 }],
  };
}

/** Stores facts as the edge function does. */
export async function ingest(sql: Sql, id: string, facts: unknown, delivery: Record<string, unknown> = {}) {
  return await sql.begin(async (sql) => {
    await sql`set local role service_role`;
    const [row] = await sql<{ answer: { result: string; delivery_id: string } }[]>`
      select metrics.ingest(
        ${
      sql.json({
        source: "github",
        delivery_id: id,
        event: "push",
        sha256: "00".repeat(32),
        size: 2,
        content_type: "application/json",
        result: "stored",
        ...delivery,
      })
    },
        ${sql.json(facts as postgres.JSONValue)},
        ${delivery["result"] === "ignored" ? null : "e30="}
      ) as answer`;
    return row!.answer;
  });
}

/** Makes the people, their teams and, in every table of facts, a row for each team's repository. */
export async function seed(sql: Sql): Promise<void> {
  for (const { id, email } of Object.values(users)) {
    await sql`insert into auth.users (id, email, email_confirmed_at) values (${id}, ${email}, now())`;
  }
  for (const reference of Object.values(repositories)) await ingest(sql, reference, factsOf(reference));
  await ingest(sql, "nowhere", {
    incidents: [{ source: "github", external_id: "nowhere", observed_at: "2026-11-02T10:00:00Z", title: "Down" }],
  });
  await sql`select metrics.set_environment_tier('^live-', 'production')`;
  await sql`select metrics.add_service('shop', 'github:2', environment_pattern => '^prod')`;
  await sql`select metrics.set_price('planned', 0.01, '2026-03-02')`;
  await sql`insert into metrics.frozen_weeks (fact, week, time_zone) values ('jobs', '2025-01-06', 'UTC')`;
  await sql`insert into metrics.remembered_sources (source, last_received_at) values ('gitlab', '2025-01-06 12:00+00')`;
  await sql`select metrics.add_member(${users.admin.email}, 'admin')`;
  for (const who of ["viewer", "other viewer"] as const) {
    await sql`select metrics.add_member(${users[who].email}, 'viewer')`;
    await sql`select metrics.add_team(${who})`;
    await sql`select metrics.add_team_member(${who}, ${users[who].email})`;
    await sql`select metrics.add_team_repository(${who}, ${repositories[who]})`;
  }
  // Somebody who has not accepted yet.
  await sql`select metrics.add_member('late@example.com', 'viewer')`;
  for (const who of ["admin", "viewer", "other viewer"] as const) {
    await as(sql, who, (sql) => sql`select metrics.accept_membership()`, true);
  }
  await sql`
    select metrics.add_issuer('ci', 'github', 'https://token.example.com', '{"repository_id": "1"}', '{github}')`;
}

/** Makes the admin alone, who reads everything, and no fact. */
export async function makeAdmin(sql: Sql): Promise<void> {
  const { id, email } = users.admin;
  await sql`insert into auth.users (id, email, email_confirmed_at) values (${id}, ${email}, now())`;
  await sql`select metrics.add_member(${email}, 'admin')`;
  await as(sql, "admin", (sql) => sql`select metrics.accept_membership()`, true);
}

/** What a call of {@link as} came to. */
export type Attempt<T> = { done: true; rows: T } | { done: false; code: string; message: string };

/**
 * Does something as somebody, in a transaction that is rolled back unless `keep`.
 *
 * @param sql as `postgres`, who may become every role of the Data API
 * @throws what the work throws
 */
export async function as<T>(
  sql: Sql,
  who: Exclude<Person, "metrics_reader">,
  work: (sql: TransactionSql) => Promise<T>,
  keep = false,
): Promise<T> {
  let result: { value: T } | undefined;
  const rollback = new Error("roll back");
  await sql.begin(async (sql) => {
    await become(sql, who);
    result = { value: await work(sql) };
    if (!keep) throw rollback;
  }).catch((error) => {
    if (error !== rollback) throw error;
  });
  return result!.value;
}

/** Is somebody from here to the end of the transaction. */
export async function become(sql: TransactionSql, who: Exclude<Person, "metrics_reader">): Promise<void> {
  const role = who in users ? "authenticated" : who;
  const claims = { ...(who in users ? { sub: users[who as keyof typeof users].id } : {}), role };
  await sql`select set_config('request.jwt.claims', ${JSON.stringify(claims)}, true)`;
  await sql.unsafe(`set local role ${role}`);
}

/** A role that logs in, for a BI tool: it belongs to the whole cluster, and is dropped when disposed of. */
export async function reader(database: TestDatabase): Promise<{ name: string; sql: Sql } & AsyncDisposable> {
  const name = `reader_${randomWord().toLowerCase()}`;
  const password = randomWord();
  await database.sql.unsafe(`create role ${name} login password '${password}' in role metrics_reader`);
  const address = new URL(database.url);
  address.username = name;
  address.password = password;
  const sql = postgres(address.href, { max: 1, onnotice: () => {} });
  return {
    name,
    sql,
    async [Symbol.asyncDispose]() {
      await sql.end({ timeout: 5 });
      await database.sql.unsafe(`drop role ${name}`);
    },
  };
}

/**
 * Does something as anybody, in a transaction that is rolled back, and tells how it ended instead of throwing.
 *
 * @param tool the connection of the BI tool's login
 */
export async function attempt<T>(
  sql: Sql,
  tool: Sql,
  who: Person,
  work: (sql: TransactionSql) => Promise<T>,
): Promise<Attempt<T>> {
  try {
    if (who !== "metrics_reader") return { done: true, rows: await as(sql, who, work) };
    let rows: { value: T } | undefined;
    const rollback = new Error("roll back");
    await tool.begin(async (sql) => {
      rows = { value: await work(sql) };
      throw rollback;
    }).catch((error) => {
      if (error !== rollback) throw error;
    });
    return { done: true, rows: rows!.value };
  } catch (error) {
    if (error instanceof postgres.PostgresError) return { done: false, code: error.code, message: error.message };
    throw error;
  }
}
