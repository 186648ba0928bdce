// A cluster for work by hand: `deno run -A tests/support/scratch.ts` prints one JSON line and runs until Ctrl-C.
//
//   url        a migrated database, as the role `postgres`
//   admin_url  the same as the superuser
//   cluster    for METRICS_TEST_CLUSTER, so that test files share this cluster: they copy the migrated template
//
// After a change of a migration, `kill -HUP <pid>` makes the template and the database again, from nothing.
import { templateDatabase, temporaryCluster } from "../../tools/stack/cluster.ts";
import { pushMigrations } from "../../tools/stack/migrate.ts";

const cluster = await temporaryCluster(async () => {});

async function again() {
  try {
    await cluster.with(cluster.adminUrl("template1"), async (sql) => {
      for (const name of ["scratch", templateDatabase]) {
        await sql.unsafe(`drop database if exists ${name} with (force)`);
      }
      await sql.unsafe(`create database ${templateDatabase} template postgres owner postgres`);
    });
    await pushMigrations(cluster.url(templateDatabase));
    await cluster.with(cluster.url(), (sql) => sql.unsafe(`create database scratch template ${templateDatabase}`));
    console.log(JSON.stringify({
      pid: Deno.pid,
      url: cluster.url("scratch"),
      admin_url: cluster.adminUrl("scratch"),
      cluster: cluster.url(),
    }));
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
  }
}

Deno.addSignalListener("SIGHUP", again);
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.addSignalListener(signal, async () => {
    await cluster.server.stop();
    Deno.exit(0);
  });
}
await again();
// Neither the server nor a listener for signals keeps this process alive.
setInterval(() => {}, 2 ** 30);
