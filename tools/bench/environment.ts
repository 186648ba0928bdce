/** What is measured: a whole stack of its own, set as in production, with what it is compared to beside it. */

import postgres, { type Sql } from "postgres";
import { type RunningStack, startStack } from "../../tests/support/stack.ts";

/** A stack and a connection to its database. */
export interface BenchStack extends AsyncDisposable {
  stack: RunningStack;
  /** So many connections at most, as the role `postgres`. */
  sql: Sql;
}

/**
 * Starts a stack in a temporary folder that goes with it, on loopback, with `public.bare_store`: the least that a call over REST can do to
 * keep some bytes.
 *
 * @throws {Error} when the database would answer before what it answers is on the disk
 */
export async function benchStack(connections: number): Promise<BenchStack> {
  const data = await Deno.makeTempDir({ prefix: "metrics-bench-" });
  const remove = () => Deno.remove(data, { recursive: true });
  let stack: RunningStack | undefined;
  try {
    // Twice, because the REST server reads the schema when it starts.
    stack = await startStack({ data });
    let sql = connect(stack, 1);
    await sql.unsafe(bare).simple();
    await sql.end();
    await stack.stop();
    stack = await startStack({ data });
    sql = connect(stack, connections);
    await requireDurability(sql);
    const running = stack;
    return {
      stack,
      sql,
      async [Symbol.asyncDispose]() {
        await sql.end({ timeout: 5 });
        await running.stop();
        await remove();
      },
    };
  } catch (error) {
    await stack?.stop();
    await remove();
    throw error;
  }
}

function connect(stack: RunningStack, max: number): Sql {
  return postgres(stack.database_url, { max, onnotice: () => {} });
}

async function requireDurability(sql: Sql): Promise<void> {
  for (const name of ["fsync", "synchronous_commit", "full_page_writes"]) {
    const [row] = await sql`select current_setting(${name}) as value`;
    if (row?.value !== "on") {
      throw new Error(`${name} is ${row?.value}: the figures would promise what production cannot`);
    }
  }
}

const bare = `
  create schema bench;
  create table bench.bodies (
    id text primary key,
    body bytea not null
  );
  create function public.bare_store(id text, body text)
  returns void
  language sql
  security definer
  set search_path = ''
  begin atomic
    insert into bench.bodies (id, body)
    values (bare_store.id, decode(bare_store.body, 'base64'));
  end;
  revoke execute on function public.bare_store(text, text) from public;
  grant execute on function public.bare_store(text, text) to service_role;
`;
