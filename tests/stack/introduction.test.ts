import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import postgres from "postgres";
import { readSamples } from "../../tools/stack/samples.ts";
import { startCommand } from "../support/stack.ts";

/** A stack started as a person starts it: what it says until it is asked to stop. */
async function startForPerson(data: string) {
  const [program, ...args] = startCommand({ data, samples: true }).filter((word) => word !== "--json");
  const process = new Deno.Command(program!, { args, stdin: "null", stdout: "piped", stderr: "piped" }).spawn();
  const reader = process.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  while (!/Logs: /.test(text)) {
    const { value, done } = await reader.read();
    if (done) break;
    text += value;
  }
  return {
    text: () => text,
    async stop() {
      process.kill("SIGINT");
      for (let part = await reader.read(); !part.done; part = await reader.read()) text += part.value;
      await process.stderr.cancel();
      return (await process.status).code;
    },
  };
}

Deno.test("a first start", async (t) => {
  const data = await Deno.makeTempDir({ prefix: "metrics-first-" });
  let stack = await startForPerson(data);
  const url = /http:\/\/127\.0\.0\.1:\d+/.exec(stack.text())![0];
  const samples = await readSamples();

  await t.step("fills the database with signed deliveries, all of which become facts", async () => {
    const sql = postgres((await Deno.readTextFile(join(data, "database.url"))).trim(), { max: 1 });
    const rows = await sql`select result, count(*)::integer as count from metrics.deliveries group by result`;
    assertEquals(rows.map((row) => ({ ...row })), [{ result: "stored", count: samples.length }]);
    await sql.end();
  });

  await t.step("says how to read facts over the API, in a line that can be pasted", async () => {
    const line = /^ {2}curl -H @(\S+) '([^']+)'$/m.exec(stack.text());
    if (!line) throw new Error(`no such line in: ${stack.text()}`);
    const headers = new Headers(
      (await Deno.readTextFile(line[1]!)).trim().split("\n").map((text) => text.split(": ", 2) as [string, string]),
    );
    const response = await fetch(line[2]!, { headers });
    const jobs = await response.json();
    assertEquals(response.status, 200);
    assert(jobs.length > 0 && jobs[0].name);
  });

  await t.step("keeps what it wrote for such lines to the owner", async () => {
    for (const name of ["member.headers", "github.secret", "database.url", "secrets.json"]) {
      assertEquals((await Deno.stat(join(data, name))).mode! & 0o777, 0o600);
    }
  });

  await t.step("welcomes whoever opens the origin in a browser", async () => {
    const response = await fetch(url);
    assertStringIncludes(await response.text(), "/functions/v1/ingest-metrics/<source>");
  });

  await t.step("says what became of the deliveries, and no secret", async () => {
    assertEquals(await stack.stop(), 0);
    assertMatch(
      stack.text(),
      new RegExp(`${samples.length} sample deliveries were posted: ${samples.length} stored\\.`),
    );
    assertStringIncludes(stack.text(), "What they observed: ");
    assertStringIncludes(stack.text(), "Their jobs as facts:");
    const secrets = Object.values(JSON.parse(await Deno.readTextFile(join(data, "secrets.json"))));
    for (const secret of secrets) assertEquals(stack.text().includes(secret as string), false);
  });

  await t.step("is not repeated: a second start posts nothing", async () => {
    stack = await startForPerson(data);
    assertEquals(await stack.stop(), 0);
    assertEquals(stack.text().includes("sample deliveries"), false);
    assertStringIncludes(stack.text(), "curl -H @");
  });

  await t.step("leaves no secret in a log", async () => {
    const secrets = Object.values(JSON.parse(await Deno.readTextFile(join(data, "secrets.json"))));
    for await (const { name } of Deno.readDir(join(data, "log"))) {
      const log = await Deno.readTextFile(join(data, "log", name));
      for (const secret of secrets) assertEquals(log.includes(secret as string), false, name);
    }
  });
  await Deno.remove(data, { recursive: true });
});
