// An app in the same project reads its own table through the same REST server while ingest is busy, and while it cannot go on.
//
// What is measured: one reader, one request after the other with a pause, in this process; the clients that post are a thread of
// their own. Slices with and without them alternate, so that what else the machine does falls on both; of each the p95 is taken, and
// the medians of those are compared. With two cores the clients, the gateway, the function and the database take the processor from
// the app whatever they do: the load of comparison is therefore as many clients that write the same bytes through the same server
// into a table of the app's own. What is said is that ingest at its limit costs an app no more than traffic of its own. While
// metrics is locked nothing competes, and the comparison is with the app alone; clients are then more than the server's sessions.
import { assert, assertEquals, assertLess } from "@std/assert";
import { createClient } from "@supabase/supabase-js";
import postgres from "postgres";
import { isDeep } from "../support/depth.ts";
import { connect, inParallel, sharedStack, signedIn } from "../support/http.ts";
import { PostingClients, type Statuses, type Target } from "../support/posting_clients.ts";

const stack = await sharedStack();
const sql = connect(stack);
const source = "github-safe";
const options = { sanitizeOps: false, sanitizeResources: false };
const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

await sql.unsafe(`
  create table public.app_notes (id integer primary key, owner text, text text);
  insert into public.app_notes select n, 'someone', repeat('note ', 10) from generate_series(1, 20) as n;
  alter table public.app_notes enable row level security;
  create policy app_notes_read on public.app_notes for select to authenticated using (owner = 'someone');
  grant select on public.app_notes to authenticated;
  create table public.app_events (id text primary key, body text);
  alter table public.app_events enable row level security;
  grant insert on public.app_events to service_role;
`);
Deno.test.afterAll(async () => {
  const last = postgres(stack.database_url, { max: 1, onnotice: () => {} });
  await last`drop table public.app_notes, public.app_events`;
  await last.end();
});
const { token, client } = await signedIn(stack, sql);
// The server has read the catalog and does so again when it has lost a session.
await sql`select pg_terminate_backend(min(pid)) from pg_stat_activity where application_name = 'rest'`;

/** Reads as the app does for so many milliseconds: the times of each request, in milliseconds. */
async function read(milliseconds: number): Promise<number[]> {
  const times: number[] = [];
  const headers = { apikey: stack.publishable_key, authorization: `Bearer ${token}` };
  for (const end = performance.now() + milliseconds; performance.now() < end; await pause(4)) {
    const started = performance.now();
    const response = await fetch(`${stack.url}/rest/v1/app_notes?select=id,text&order=id&limit=10`, { headers });
    const rows = await response.json();
    times.push(performance.now() - started);
    assertEquals([response.status, rows.length], [200, 10]);
  }
  return times;
}

for (let tries = 0; tries < 100; tries++, await pause(100)) {
  const headers = { apikey: stack.publishable_key, authorization: `Bearer ${token}` };
  const response = await fetch(`${stack.url}/rest/v1/app_notes`, { headers });
  await response.body?.cancel();
  if (response.status === 200) break;
}
// The old sessions end two seconds later.
await pause(2_500);

const quantile = (times: number[], part: number) =>
  times.toSorted((a, b) => a - b)[Math.ceil(times.length * part) - 1]!;
const median = (numbers: number[]) => quantile(numbers, 0.5);
const shown = (numbers: number[]) => numbers.map((number) => number.toFixed(1)).join(" ");

/** Alternates slices of the app alone, or beside something, with slices beside what is to be judged: p95 of each. */
async function compare(
  slices: number,
  milliseconds: number,
  control: (work: () => Promise<number[]>) => Promise<number[]>,
  judged: (work: () => Promise<number[]>) => Promise<number[]>,
): Promise<{ control: number[]; judged: number[]; worst: number }> {
  const result = { control: [] as number[], judged: [] as number[], worst: 0 };
  for (let slice = 0; slice < slices; slice++) {
    result.control.push(quantile(await control(() => read(milliseconds)), 0.95));
    const times = await judged(() => read(milliseconds));
    result.judged.push(quantile(times, 0.95));
    result.worst = Math.max(result.worst, ...times);
  }
  return result;
}

const alone = (work: () => Promise<number[]>) => work();

/** Reads while so many clients post. */
async function beside(target: Target, clients: number, statuses: Statuses, work: () => Promise<number[]>) {
  using posting = new PostingClients();
  posting.start(stack, target, clients);
  // Until every client is under way.
  await pause(500);
  try {
    return await work();
  } finally {
    for (const [status, count] of Object.entries(await posting.stop())) {
      statuses[Number(status)] = (statuses[Number(status)] ?? 0) + count;
    }
  }
}

Deno.test("an app's reads go on at their pace while all of metrics is locked", options, async () => {
  const tables = await sql<{ name: string }[]>`
    select c.oid::regclass::text as name
    from pg_catalog.pg_class as c
    where c.relnamespace = 'metrics'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
  `;
  const statuses: Statuses = {};
  const locked = async (work: () => Promise<number[]>) => {
    const lock = await sql.reserve();
    try {
      await lock`begin`;
      await lock.unsafe(`lock table ${tables.map(({ name }) => name).join(", ")} in access exclusive mode`);
      return await beside({ source }, 16, statuses, async () => {
        try {
          return await work();
        } finally {
          await lock`rollback`;
        }
      });
    } finally {
      await lock`rollback`;
      lock.release();
    }
  };
  await read(500);
  const { control, judged, worst } = await compare(isDeep ? 7 : 2, isDeep ? 4_000 : 1_000, alone, locked);
  console.log(
    `p95 alone ${shown(control)} ms, with metrics locked ${shown(judged)} ms, longest ${worst.toFixed(1)} ms; ` +
      `deliveries meanwhile and after ${JSON.stringify(statuses)}`,
  );
  if (isDeep) {
    // Longer than any delivery waits: those that were given up must not keep the server's sessions, one after the other.
    const times = await locked(() => read(30_000));
    console.log(
      `p95 in half a minute of lock ${shown([quantile(times, 0.95)])} ms, longest ${shown([Math.max(...times)])} ms`,
    );
    assertLess(Math.max(...times), 1_000);
    assert((statuses[503] ?? 0) > 0);
  }
  // Waiting for the lock would take a slice.
  assertLess(worst, 1_000);
  assertLess(median(judged), isDeep ? 1.2 * median(control) : 5 * median(control) + 20);
  // Whoever waited was answered in the end, or told to come again.
  for (const status of Object.keys(statuses)) assert(["200", "503"].includes(status), JSON.stringify(statuses));
});

Deno.test("ingest at its limit costs an app's reads no more than as many writes of the app", options, async () => {
  const deliveries: Statuses = {};
  const writes: Statuses = {};
  await read(500);
  const idle = quantile(await read(1_000), 0.95);
  const { control, judged, worst } = await compare(
    isDeep ? 7 : 2,
    isDeep ? 4_000 : 1_000,
    (work) => beside({ table: "app_events" }, 8, writes, work),
    (work) => beside({ source }, 8, deliveries, work),
  );
  console.log(
    `p95 alone ${idle.toFixed(1)} ms, beside writes of the app ${shown(control)} ms ${JSON.stringify(writes)}, ` +
      `beside ingest ${shown(judged)} ms ${JSON.stringify(deliveries)}, longest ${worst.toFixed(1)} ms`,
  );
  assertEquals(Object.keys(writes), ["201"]);
  assertEquals(Object.keys(deliveries), ["200"]);
  assertLess(worst, 2_000);
  assertLess(median(judged), isDeep ? 1.2 * median(control) : 5 * median(control) + 20);
});

Deno.test(
  "a signed-in stranger is refused functions and sees no row, anon is refused both, within a millisecond of SQL",
  options,
  async () => {
    await sql`select metrics.add_team(${crypto.randomUUID()})`;
    const anonymous = createClient(stack.url, stack.publishable_key, { auth: { persistSession: false } });
    const refused = await client.rpc("ingest_health");
    assertEquals([refused.status, refused.error?.code], [403, "42501"]);
    const tables = await sql<{ name: string; rows: number }[]>`
    select c.relname as name
    from pg_catalog.pg_class as c
    where c.relnamespace = 'metrics'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
      and has_table_privilege('authenticated', c.oid, 'select')
  `;
    assert(tables.length > 10);
    for (const { name } of tables) {
      const { status, data } = await client.from(name).select();
      assertEquals([name, status, data], [name, 200, []]);
      const denied = await anonymous.schema("metrics" as "public").from(name).select();
      assertEquals([name, denied.status, denied.error?.code], [name, 401, "42501"]);
    }
    const none = await anonymous.schema("metrics" as "public").rpc("ingest_health");
    assertEquals([none.status, none.error?.code], [401, "42501"]);

    const own = await sql.reserve();
    const times: number[] = [];
    try {
      const claims = JSON.parse(atob(token.split(".")[1]!));
      await own`begin`;
      await own`select set_config('request.jwt.claims', ${JSON.stringify(claims)}, true)`;
      await own`set local role authenticated`;
      for (const { name } of tables) {
        const costs: number[] = [];
        for (let time = 0; time < 5; time++) {
          const [row] = await own.unsafe(`explain (analyze, format json) select * from metrics.${name}`);
          // deno-lint-ignore no-explicit-any
          costs.push((row as any)["QUERY PLAN"][0]["Execution Time"]);
        }
        times.push(Math.min(...costs));
      }
      await own`rollback`;
    } finally {
      own.release();
    }
    console.log(
      `a stranger's select takes ${
        shown([median(times), Math.max(...times)])
      } ms (median and longest of ${times.length} tables)`,
    );
    assertLess(Math.max(...times), 1);
  },
);

Deno.test("several strangers at once do not keep an app waiting", options, async () => {
  await inParallel(Array(40).keys(), 8, async () => {
    assertEquals((await client.from("jobs").select()).data, []);
  });
});
