/** `deno task bench <name>`: measures what docs/performance.md promises. */

const benches: Readonly<Record<string, () => Promise<{ run: (args: string[]) => Promise<number> }>>> = {
  ingest: () => import("./ingest.ts"),
  queries: () => import("./queries.ts"),
  sources: () => import("./sources.ts"),
};

const [name = "", ...args] = Deno.args;
const load = benches[name];
if (!load) {
  console.error(`deno task bench <name>, where name is one of: ${Object.keys(benches).join(", ")}`);
  Deno.exit(2);
}
const { run } = await load();
Deno.exit(await run(args));
