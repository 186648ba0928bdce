import type { Sql } from "postgres";
import { type Migration, readMigrations } from "./migrations.ts";
import { compare, historyOf } from "./preflight.ts";
import { counted, type Finding, type GateContext, type GateResult, Report, shortened } from "./result.ts";
import { statementsOf, withoutComments } from "./rules.ts";
import { type CliFailure, failureOf } from "./scratch.ts";
import { surroundingsOf } from "./surroundings.ts";
import { connect, nameOf, runCli, type Target } from "./target.ts";

/** How {@link runPush} is called. */
export interface PushOptions extends GateContext {
  target: Target;
  /** How long a statement of a migration may wait for a lock: milliseconds, default 2000. */
  lockTimeout?: number | undefined;
  /** How long one may take: milliseconds, default 300000. */
  statementTimeout?: number | undefined;
  /** How long to wait for another deployment: milliseconds, default 60000. */
  wait?: number | undefined;
  /** How long the app may be without a watch over the migrations: milliseconds, default 5000. */
  blindness?: number | undefined;
  /** A file to write what the target holds beside metrics to, before anything is applied. */
  before?: string | undefined;
}

/** The file that {@link runPush} writes and `verify` reads. */
export interface Before {
  /** Versions in the history. */
  history: string[];
  surroundings: Record<string, string>;
}

/** The command that applies migrations, without its target. Seeds, roles and vault secrets are the app's, and left alone. */
export const pushCommand = ["db", "push", "--yes", "--skip-vault"];

/** What the CLI's sessions call themselves, by the library that they use: an app may use it, too. */
const cliName = "@effect/sql-pg";

/** What the session of the watch calls itself. */
const watchName = "metrics deploy: watch";

/** The CLI's own statement at the end of each file, in the same transaction. */
const historyInsert = /^insert into supabase_migrations\.schema_migrations\b/i;

/** How long the watch waits for an answer before it takes its connection for dead: milliseconds. */
const answerTime = 5_000;

/**
 * Applies what the target lacks by `supabase db push`, under an advisory lock on a session of its own, because the CLI takes none. A
 * statement that waits for a lock, or takes, longer than it may is cancelled, whatever the migration says itself: so the app is never
 * kept waiting behind it for longer. A file is applied whole or not at all.
 */
export async function runPush(options: PushOptions): Promise<GateResult> {
  const { target, env, lockTimeout = 2_000, statementTimeout = 300_000, wait = 60_000, blindness = 5_000 } = options;
  const report = new Report("push", nameOf(target), options);
  const migrations = await readMigrations(options.root);
  const sql = await connect(target, env, "metrics deploy: lock");
  const watching = await connect(target, env, watchName).catch(async (error) => {
    await sql.end({ timeout: 1 });
    throw error;
  });
  try {
    const end = Date.now() + wait;
    report.find(...await takeLock(sql, end));
    if (!report.ok) return report.result({ applied: [] });
    const lacking = lackedBy(await historyOf(sql), migrations);
    report.find(...await othersFinished(sql, await textsOf(lacking), end));
    // What was left behind may have applied files meanwhile.
    const history = await historyOf(sql);
    report.find(...compare(migrations, history));
    if (!report.ok) return report.result({ applied: [] });
    if (options.before) {
      const before: Before = {
        history: history.map(({ version }) => version),
        surroundings: await surroundingsOf(sql),
      };
      await Deno.writeTextFile(options.before, JSON.stringify(before));
    }

    const pending = lackedBy(history, migrations);
    const texts = await textsOf(pending);
    const watch = await startWatch(watching, () => connect(target, env, watchName), texts, {
      lockTimeout,
      statementTimeout,
    });
    const outcome = await runCli(pushCommand, target, { root: options.root, env, timeout: 3_600_000 }).catch(
      async (error) => {
        await watch.stop();
        throw error;
      },
    );
    const { cancelled, blind } = await watch.stop();
    const heldLock = await holdsLock(sql);
    const after = await historyNow(target, env, texts, Date.now() + wait);
    const applied = pending.filter(({ version }) => after?.has(version)).map(({ name }) => name);
    if (outcome.code !== 0) {
      report.find(explain(failureOf(outcome), cancelled, after === undefined ? undefined : applied, pending));
    } else if (applied.length < pending.length) {
      report.find({
        code: "not_applied",
        sentence: `The CLI ended well, but the history lacks ${
          pending.filter(({ name }) => !applied.includes(name))[0]!.name
        }: run it again.`,
      });
    }
    if (!heldLock) {
      report.find({
        code: "lock_lost",
        sentence:
          "The session that held the lock was lost on the way, so another deployment may have begun meanwhile. See that none is " +
          "under way, and run it again.",
      });
    }
    if (blind > blindness) {
      report.find({
        code: "watch_lost",
        sentence:
          `For ${
            Math.round(blind / 1_000)
          } s nothing watched over the migrations, because the target did not let this gate look at ` +
          "its sessions or cancel a statement: the app may have been kept waiting for longer than it may. See why, and run it again.",
      });
    }
    report.note(
      pending.length === 0
        ? "Nothing to do: every migration of the repository is applied, and nothing was changed."
        : `Of ${counted(pending.length, "migration")}, ${applied.length} were applied.`,
    );
    for (const name of applied) report.note(`  ${name}`);
    return report.result({ applied, upToDate: pending.length === 0 });
  } finally {
    // The end of its session lets go of the lock.
    await Promise.all([sql.end({ timeout: 5 }), watching.end({ timeout: 5 })]);
  }
}

/** Takes the lock of deployments, or says who has it. */
export async function takeLock(sql: Sql, end: number): Promise<Finding[]> {
  for (;;) {
    const [row] = await sql`select pg_try_advisory_lock(hashtextextended('metrics deploy', 0)) as taken`;
    if (row?.taken) return [];
    if (Date.now() > end) break;
    await pause(200);
  }
  const [holder] = await sql<{ seconds: number }[]>`
    select extract(epoch from now() - a.backend_start)::integer as seconds
    from pg_catalog.pg_stat_activity as a join pg_catalog.pg_locks as l on l.pid = a.pid
    where l.locktype = 'advisory' and l.granted and l.database = (select oid from pg_catalog.pg_database where datname = current_database())
      and a.application_name = 'metrics deploy: lock'
    order by a.backend_start
    limit 1`;
  return [{
    code: "deployment_under_way",
    sentence:
      `Another deployment to this target is under way${
        holder ? `, for ${holder.seconds} s` : ""
      }. Nothing was changed: run this ` +
      "one again when that has ended.",
  }];
}

/** Whether the lock is still held by this session, and not lost with an earlier one. */
async function holdsLock(sql: Sql): Promise<boolean> {
  const [row] = await sql<{ held: boolean }[]>`
    select exists (
      select
      from pg_catalog.pg_locks
      where locktype = 'advisory' and granted and pid = pg_backend_pid()
    ) as held`.catch(() => []);
  return row?.held === true;
}

/** The migrations that a history lacks. */
function lackedBy(history: { version: string }[], migrations: Migration[]): Migration[] {
  const known = new Set(history.map(({ version }) => version));
  return migrations.filter(({ version }) => !known.has(version));
}

/** What is being applied, to know it again in the server's list of sessions. */
export interface Texts {
  /** Every statement, without the comments before it. */
  statements: Set<string>;
  /** Every file as a whole. */
  files: string[];
}

/** The texts of migrations that are to be applied. */
export async function textsOf(migrations: Migration[]): Promise<Texts> {
  const texts: Texts = { statements: new Set(), files: migrations.map(({ sql }) => sql) };
  for (const migration of migrations) {
    const statements = await statementsOf(migration);
    if (Array.isArray(statements)) { for (const { text } of statements) texts.statements.add(text); }
  }
  return texts;
}

/** Whether what a session runs stands in the files that are being applied. */
function isAmong({ statements, files }: Texts, query: string): boolean {
  const text = withoutComments(query);
  if (statements.has(text) || historyInsert.test(text)) return true;
  // The server cuts long ones off, perhaps in the comment before the statement.
  return query.length > 80 && files.some((file) => file.includes(query.trim()));
}

/** A session that applies migrations. */
interface Session {
  pid: number;
  /** When it began, as the server writes it. */
  began: string;
  /** When its statement began. */
  asked: string;
  query: string;
  /** How long its transaction has lasted: seconds. */
  seconds: number | null;
  /** How long it has waited for a lock, null when it does not: milliseconds. */
  waited: number | null;
  /** How long its statement has taken, null when none runs: milliseconds. */
  took: number | null;
  /** What it waits for, where that is a table. */
  relation: string | null;
  /** How many sessions hold it back. */
  blockers: number;
  /** Whether it calls itself as the CLI's sessions do. */
  named: boolean;
  /** Whether its transaction has written. */
  wrote: boolean;
}

/**
 * Sessions that apply migrations: those of the same role that run what stands in the files.
 *
 * @param since leaves out those that began before this time of the server, and those of other machines: the CLI's alone remain
 */
async function applyingSessions(sql: Sql, texts: Texts, since?: string): Promise<Session[]> {
  const rows = await sql<Session[]>`
    select
      a.pid,
      a.backend_start::text as began,
      a.query_start::text as asked,
      a.query,
      extract(epoch from clock_timestamp() - a.xact_start)::integer as seconds,
      extract(epoch from clock_timestamp() - l.waitstart)::double precision * 1000 as waited,
      case when a.state = 'active' then extract(epoch from clock_timestamp() - a.query_start)::double precision * 1000 end as took,
      case when c.oid is not null then format('%I.%I', n.nspname, c.relname) end as relation,
      case when l.pid is null then 0 else cardinality(pg_blocking_pids(a.pid)) end as blockers,
      a.application_name = ${cliName} as named,
      a.backend_xid is not null as wrote
    from pg_catalog.pg_stat_activity as a
    join pg_catalog.pg_stat_activity as self on self.pid = pg_backend_pid() and self.datid = a.datid and self.usesysid = a.usesysid
    left join pg_catalog.pg_locks as l on l.pid = a.pid and not l.granted
    left join pg_catalog.pg_class as c on c.oid = l.relation
    left join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    where a.pid <> self.pid
      and a.backend_type = 'client backend'
      and a.state <> 'idle'
      and a.application_name not like 'metrics deploy%'
      and (
        ${since ?? null}::text is null
        or a.backend_start >= ${since ?? null}::text::timestamptz
        and (
          a.client_addr is not distinct from self.client_addr
          -- A pooler, which shows no name of ours, may stand before this session alone.
          or a.application_name = ${cliName} and self.application_name not like 'metrics deploy%'
        )
      )
    order by a.backend_start`;
  return rows.filter(({ query }) => isAmong(texts, query));
}

/** Waits for what a deployment that was killed has left running on the server. */
async function othersFinished(sql: Sql, texts: Texts, end: number): Promise<Finding[]> {
  let quiet = 0;
  for (;;) {
    // A short statement may be one of the app, too: it counts where its session looks like one that applies files.
    const other = (await applyingSessions(sql, texts)).find(({ query, named, wrote }) =>
      named || wrote || withoutComments(query).length > 40
    );
    // A CLI that goes on without its gate may just be between two files.
    if (!other && ++quiet === 2) return [];
    if (!other) {
      await pause(100);
      continue;
    }
    quiet = 0;
    if (Date.now() > end) {
      return [{
        code: "other_session",
        statement: shortened(withoutComments(other.query)),
        sentence:
          `Another session (process ${other.pid}, for ${
            other.seconds ?? 0
          } s) runs a statement of a migration that is to be applied, outside of this lock. Nothing was changed: run this again when ` +
          `it has ended. If a deployment that was killed has left it behind, select pg_terminate_backend(${other.pid}) ends it and ` +
          "undoes the file it is in; if it is the app's, leave it alone.",
      }];
    }
    await pause(200);
  }
}

/** A statement that was cancelled. */
interface Cancelled {
  why: "lock" | "statement";
  /** What it waited for, where that is known. */
  relation: string | null;
  /** How many sessions held it back. */
  blockers: number;
}

/** What came of a watch. */
export interface Watched {
  cancelled: Cancelled | undefined;
  /** The longest time without a look at the sessions, or with a statement that could not be cancelled: milliseconds. */
  blind: number;
}

/**
 * Cancels statements of the CLI that wait or take too long; the app queues behind one that waits. To be started before the CLI: a
 * session that is older is not the CLI's. A connection that is lost is opened again.
 *
 * @param first a connection to begin with; ended by the caller, too
 */
export async function startWatch(
  first: Sql,
  open: () => Promise<Sql>,
  texts: Texts,
  { lockTimeout, statementTimeout }: { lockTimeout: number; statementTimeout: number },
): Promise<{ stop(): Promise<Watched> }> {
  const [{ since }] = await first<[{ since: string }]>`select clock_timestamp()::text as since`;
  let isRunning = true;
  let sql: Sql | undefined = first;
  let cli: Session | undefined;
  let cancelled: Cancelled | undefined;
  let blind = 0;
  let looked = Date.now();

  /** @returns whether all that was due could be cancelled */
  const look = async (sql: Sql): Promise<boolean> => {
    if (cli && !await exists(sql, cli)) cli = undefined;
    const sessions = await applyingSessions(sql, texts, since);
    cli ??= sessions[0];
    const now = sessions.find(({ pid, began }) => pid === cli?.pid && began === cli.began);
    if (!now) return true;
    const { waited, took, relation, blockers } = now;
    const isWaiting = waited !== null && waited >= lockTimeout;
    if (!isWaiting && (took === null || took < statementTimeout)) return true;
    try {
      if (await cancel(sql, now)) cancelled = { why: isWaiting ? "lock" : "statement", relation, blockers };
      return true;
    } catch {
      return false;
    }
  };

  const watched = (async () => {
    while (isRunning) {
      try {
        sql ??= await open();
        if (await inTime(look(sql))) {
          blind = Math.max(blind, Date.now() - looked);
          looked = Date.now();
        }
      } catch {
        const lost = sql;
        sql = undefined;
        await lost?.end({ timeout: 0 }).catch(() => {});
      }
      await pause(50);
    }
    blind = Math.max(blind, Date.now() - looked);
    await sql?.end({ timeout: 5 });
  })();
  return {
    async stop() {
      isRunning = false;
      await watched;
      return { cancelled, blind };
    },
  };
}

/** Whether a session has not ended. */
async function exists(sql: Sql, { pid, began }: Session): Promise<boolean> {
  const rows = await sql`
    select from pg_catalog.pg_stat_activity where pid = ${pid} and backend_start = ${began}::text::timestamptz`;
  return rows.length > 0;
}

/** Cancels a session's statement, unless it has gone on to another one meanwhile. */
async function cancel(sql: Sql, { pid, began, asked }: Session): Promise<boolean> {
  const [row] = await sql<{ done: boolean }[]>`
    select pg_cancel_backend(pid) as done
    from pg_catalog.pg_stat_activity
    where pid = ${pid}
      and backend_start = ${began}::text::timestamptz
      and query_start = ${asked}::text::timestamptz
      and state = 'active'`;
  return row?.done === true;
}

/** Fails when an answer does not come: a connection may be dead without saying so. */
async function inTime<T>(answer: Promise<T>): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error("no answer")), answerTime);
  try {
    return await Promise.race([answer, promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** The versions in the history when nothing is being applied any more; undefined when the target cannot be reached. */
async function historyNow(
  target: Target,
  env: PushOptions["env"],
  texts: Texts,
  end: number,
): Promise<Set<string> | undefined> {
  for (;;) {
    try {
      const sql = await connect(target, env, "metrics deploy: history");
      try {
        await othersFinished(sql, texts, end);
        return new Set((await historyOf(sql)).map(({ version }) => version));
      } finally {
        await sql.end({ timeout: 5 });
      }
    } catch {
      if (Date.now() > end) return undefined;
      await pause(500);
    }
  }
}

const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** What to say of a push that failed. */
function explain(
  failure: CliFailure,
  cancelled: Cancelled | undefined,
  applied: string[] | undefined,
  pending: Migration[],
): Finding {
  const { sqlstate, number, cause } = failure;
  const next = pending.find(({ name }) => !applied?.includes(name))?.name;
  const name = failure.name ?? next;
  const statement = failure.statement ? shortened(failure.statement) : undefined;
  const where = { ...(name ? { file: `supabase/migrations/${name}` } : {}), ...(statement ? { statement } : {}) };
  const at = `${number ? `in statement ${number}` : ""}${statement ? ` (${statement})` : ""}`;
  const state = applied === undefined
    ? "The target cannot be reached now; no file is ever half applied, and the next run goes on where this one stopped."
    : `${
      applied.length === 0
        ? "Nothing was changed"
        : `Applied before it: ${counted(applied.length, "file")}; nothing else was changed`
    }: a ` +
      "file is applied whole or not at all.";
  if (cancelled?.why === "lock" && sqlstate === "57014" || sqlstate === "55P03") {
    const what = cancelled?.relation ? ` on ${cancelled.relation}` : "";
    const held = cancelled?.blockers ? `, which ${counted(cancelled.blockers, "other session")} held` : "";
    return {
      code: "lock_timeout",
      ...where,
      sentence:
        `It gave up ${at} rather than keep the app waiting, because it did not get a lock${what}${held} in time. ${state} Run it ` +
        "again when the target is less busy.",
    };
  }
  if (sqlstate === "57014") {
    return {
      code: "statement_timeout",
      ...where,
      sentence:
        `It gave up ${at}, which took longer than it may. ${state} Make it several smaller migrations, or give it more time with ` +
        "--statement-timeout.",
    };
  }
  if (
    /^(08|57P0)/.test(sqlstate ?? "") || !sqlstate && /connect|ECONN|terminat|closed|reset|lost|socket/i.test(cause)
  ) {
    return {
      code: "connection_lost",
      ...where,
      sentence: next === undefined && applied
        ? "The connection was lost after the last file, so everything is applied: run it again to be sure."
        : `The connection to the database was lost. ${state} Run it again: it goes on with ${next}.`,
    };
  }
  return {
    code: "migration_failed",
    ...where,
    sentence: `It failed ${at}: ${cause}. ${state} Correct it, and deploy again.`,
  };
}
