/** Reading numbers as a member does: a session of the role `authenticated`, under row level security. */

import type { Sql } from "postgres";
import { as, users } from "../../tests/support/people.ts";

/** The viewer reads every repository, because one of the viewer's teams was given each. */
export const READER = "a viewer, not an admin, in one team that was given all repositories";

/** Makes the reader a member, unless that was done before. */
export async function admitReader(sql: Sql): Promise<void> {
  const { admin, viewer } = users;
  const [row] = await sql`select from metrics.members where email = ${viewer.email}`;
  if (row) return;
  for (const { id, email } of [admin, viewer]) {
    await sql`insert into auth.users (id, email, email_confirmed_at) values (${id}, ${email}, now())`;
  }
  await sql`select metrics.add_member(${admin.email}, 'admin')`;
  await sql`select metrics.add_member(${viewer.email}, 'viewer')`;
  await sql`select metrics.add_team('everything')`;
  await sql`select metrics.add_team_member('everything', ${viewer.email})`;
  await sql`
    select metrics.add_team_repository('everything', f.reference)
    from metrics.repository_references as f
    where f.source is not null`;
  for (const who of ["admin", "viewer"] as const) {
    await as(sql, who, (sql) => sql`select metrics.accept_membership()`, true);
  }
}

/** Makes the one session of a client the reader's. */
export async function becomeReader(sql: Sql): Promise<void> {
  const claims = JSON.stringify({ sub: users.viewer.id, role: "authenticated" });
  await sql`select set_config('request.jwt.claims', ${claims}, false)`;
  await sql`set role authenticated`;
}

/** A function of the schema and the arguments that stay the same from call to call. */
export interface Question {
  function: string;
  arguments: Record<string, string | number>;
  /** Days from since to until. */
  days: number;
}

/** Asks for the period that ends so many days before the end of the year: how many rows came. */
export async function ask(sql: Sql, question: Question, ends: string, daysBefore: number): Promise<number> {
  const until = Date.parse(ends) - daysBefore * 86_400_000;
  const given: Record<string, string | number> = {
    since: day(until - question.days * 86_400_000),
    until: day(until),
    ...question.arguments,
  };
  const names = Object.keys(given);
  // The same text each time, so that the statement is prepared once.
  const rows = await sql.unsafe(
    `select * from metrics.${question.function}(${names.map((name, index) => `${name} => $${index + 1}`).join(", ")})`,
    Object.values(given),
    { prepare: true },
  );
  return rows.length;
}

function day(time: number): string {
  return new Date(time).toISOString().slice(0, 10);
}

/** Arguments that a function has no default for, by name: what the benchmark gives. */
const needed: Readonly<Record<string, string>> = {
  measurement: "coverage",
  measurement_name: "coverage",
  name: "coverage",
  metric: "change_lead_time",
};

/** What the catalog says of the functions of the schema that take a period. */
export async function questionsAbout(sql: Sql, repository: string, days: number): Promise<Question[]> {
  const rows = await sql<{ name: string; names: string[]; required: number }[]>`
    select p.proname as name, p.proargnames[1:p.pronargs] as names, p.pronargs - p.pronargdefaults as required
    from pg_proc as p
    where p.pronamespace = 'metrics'::regnamespace
      and p.proretset
      and array['since', 'until'] <@ p.proargnames[1:p.pronargs]
      and has_function_privilege('authenticated', p.oid, 'execute')
    order by p.proname`;
  return rows.map(({ name, names, required }) => {
    const given: Record<string, string> = {};
    for (const [index, argument] of names.entries()) {
      if (argument === "repository") given[argument] = repository;
      else if (needed[argument] && (index < required || argument === "metric")) given[argument] = needed[argument];
      else if (index < required && argument !== "since" && argument !== "until") {
        throw new Error(`metrics.${name} needs ${argument}, and the benchmark does not know what to give`);
      }
    }
    return { function: name, arguments: given, days };
  });
}
