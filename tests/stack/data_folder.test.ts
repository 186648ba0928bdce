import { assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { DataFolder } from "../../tools/stack/data_folder.ts";
import { explain, Sentence } from "../../tools/stack/sentence.ts";
import { refusedStart } from "../support/stack.ts";

async function temporary() {
  const path = await Deno.makeTempDir({ prefix: "metrics-folder-" });
  return {
    path,
    async [Symbol.asyncDispose]() {
      await Deno.remove(path, { recursive: true });
    },
  };
}

Deno.test("a data folder and the files in it can be read by their owner only", async () => {
  await using folder = await temporary();
  const path = join(folder.path, "a", "b");
  const data = await DataFolder.open(path);
  await data.secrets();
  data.close();
  assertEquals((await Deno.stat(path)).mode! & 0o777, 0o700);
  for (const name of ["secrets.json", "stack.json", "lock"]) {
    assertEquals((await Deno.stat(join(path, name))).mode! & 0o777, 0o600);
  }
});

Deno.test("a folder that others could read is closed to them", async () => {
  await using folder = await temporary();
  await Deno.chmod(folder.path, 0o777);
  (await DataFolder.open(folder.path)).close();
  assertEquals((await Deno.stat(folder.path)).mode! & 0o777, 0o700);
});

Deno.test("keys and secrets are made once and differ between folders", async () => {
  await using folder = await temporary();
  const first = await DataFolder.open(join(folder.path, "1"));
  const secrets = await first.secrets();
  await first.complete({});
  first.close();
  const again = await DataFolder.open(join(folder.path, "1"));
  assertEquals(await again.secrets(), secrets);
  again.close();
  const second = await DataFolder.open(join(folder.path, "2"));
  const others = Object.values(await second.secrets());
  second.close();
  const all = [...Object.values(secrets), ...others];
  assertEquals(new Set(all).size, all.length);
  for (const secret of all) assertMatch(secret, /^[A-Za-z0-9_]{32,}$/);
});

Deno.test("a second stack on one folder is refused with a sentence", async () => {
  await using folder = await temporary();
  const first = await DataFolder.open(folder.path);
  const { code, said, stdout } = await refusedStart({ data: folder.path });
  first.close();
  assertEquals([code, stdout], [1, ""]);
  assertEquals(
    said,
    `A stack is running on ${folder.path} already: use that one, stop it first, or choose another folder with --data DIR.`,
  );
});

Deno.test("what an interrupted first start left is removed, and the start begins again", async () => {
  await using folder = await temporary();
  const first = await DataFolder.open(folder.path);
  await first.secrets();
  await Deno.mkdir(first.postgres);
  await Deno.writeTextFile(join(first.postgres, "PG_VERSION"), "17\n");
  first.close();
  const second = await DataFolder.open(folder.path);
  assertEquals(second.isComplete, false);
  await assertRejects(() => Deno.stat(second.postgres), Deno.errors.NotFound);
  second.close();
});

Deno.test("a folder that was completed once is never removed", async () => {
  await using folder = await temporary();
  const first = await DataFolder.open(folder.path);
  await Deno.mkdir(first.postgres);
  await first.complete({ "1_a.sql": "abc" });
  first.close();
  const second = await DataFolder.open(folder.path);
  assertEquals([second.isComplete, second.migrations], [true, { "1_a.sql": "abc" }]);
  await Deno.stat(second.postgres);
  second.close();
});

Deno.test("a folder with something else in it is refused and left alone", async () => {
  await using folder = await temporary();
  await Deno.writeTextFile(join(folder.path, "thesis.txt"), "years of work");
  const error = await assertRejects(() => DataFolder.open(folder.path), Sentence);
  assertStringIncludes(error.message, "is not empty and was not made by this stack: choose an empty or new folder");
  assertEquals((await Array.fromAsync(Deno.readDir(folder.path))).map((entry) => entry.name), ["thesis.txt"]);
});

Deno.test("a marker that cannot be read does not make a folder ours", async () => {
  await using folder = await temporary();
  await Deno.writeTextFile(join(folder.path, "stack.json"), '{"made_by":"somebody');
  await Deno.writeTextFile(join(folder.path, "thesis.txt"), "years of work");
  await assertRejects(() => DataFolder.open(folder.path), Sentence, "was not made by this stack");
  await Deno.stat(join(folder.path, "thesis.txt"));
});

Deno.test("the data folder of another Postgres is refused as such", async () => {
  await using folder = await temporary();
  await Deno.writeTextFile(join(folder.path, "PG_VERSION"), "15\n");
  await assertRejects(() => DataFolder.open(folder.path), Sentence, "is the data folder of a Postgres 15");
});

Deno.test("a folder of this stack with another Postgres version is refused and left alone", async () => {
  await using folder = await temporary();
  const data = await DataFolder.open(folder.path);
  await data.secrets();
  await Deno.mkdir(data.postgres);
  await Deno.writeTextFile(join(data.postgres, "PG_VERSION"), "16\n");
  await data.complete({});
  data.close();
  const { code, said } = await refusedStart({ data: folder.path });
  assertEquals(code, 1);
  assertStringIncludes(said, `The data folder ${data.postgres} was made by Postgres 16, and this is Postgres 17`);
  assertStringIncludes(said, "move the folder away");
  assertEquals(await Deno.readTextFile(join(data.postgres, "PG_VERSION")), "16\n");
});

Deno.test("a file, and a folder below a file, are refused with a sentence", async () => {
  await using folder = await temporary();
  const file = join(folder.path, "file");
  await Deno.writeTextFile(file, "");
  for (const path of [file, join(file, "below")]) {
    await assertRejects(() => DataFolder.open(path), Sentence, "is a file, not a folder");
  }
});

Deno.test("a folder of another user is refused with a sentence", { ignore: Deno.uid() !== 0 }, async () => {
  await using folder = await temporary();
  await Deno.chown(folder.path, 12345, 12345);
  await assertRejects(() => DataFolder.open(folder.path), Sentence, "belongs to another user");
});

Deno.test("a folder that cannot be written is refused with a sentence", async () => {
  // Root may write anywhere but here.
  const path = Deno.uid() === 0 ? "/proc/metrics" : "/metrics-data";
  await assertRejects(() => DataFolder.open(path), Sentence, "choose another");
});

Deno.test("what Postgres and the system say has a sentence that says what to do", () => {
  const cases: [string, string][] = [
    ['initdb: error: could not write to file "x": No space left on device', "is full: free some space"],
    ['PANIC:  could not write to file "pg_wal/xlogtemp.1": No space left on device', "is full: free some space"],
    ["HINT:  Check free disk space.", "is full: free some space"],
    ["No space left on device (os error 28)", "is full: free some space"],
    ["File too large (os error 27)", "is full: free some space"],
    ["Read-only file system (os error 30)", "read-only file system"],
    ["FATAL:  could not map anonymous shared memory: Cannot allocate memory", "not enough memory"],
    ["initdb: could not look up effective user ID 54321: user does not exist", "start as another user"],
    ["FATAL:  database files are incompatible with server", "another version of Postgres"],
    ["PANIC:  could not locate a valid checkpoint record", "damaged"],
  ];
  for (const [text, sentence] of cases) {
    assertStringIncludes(explain(text, "/data")?.message ?? "nothing", sentence);
  }
  assertEquals(explain("something new", "/data"), undefined);
});

Deno.test("arguments that make no sense are refused with a sentence and exit code 1", async () => {
  for (
    const [argument, sentence] of [
      ["--port=http", "http is no port: give a number from 0 to 65535 with --port N."],
      ["--port=70000", "70000 is no port: give a number from 0 to 65535 with --port N."],
      ["--data=", "--data needs a folder: --data DIR."],
      ["--dat=x", "There is no option --dat=x: see deno task start --help."],
    ]
  ) {
    const main = new URL("../../tools/stack/main.ts", import.meta.url).pathname;
    const { code, stderr } = await new Deno.Command(Deno.execPath(), { args: ["run", "-A", main, argument!] }).output();
    assertEquals([code, new TextDecoder().decode(stderr).trim()], [1, sentence]);
  }
});
