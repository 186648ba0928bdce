import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import { gone, isAlive } from "../../tools/stack/process.ts";
import { copyRepository, descendants, repository, type RunningStack, startStack } from "../support/stack.ts";

async function health(stack: RunningStack): Promise<number> {
  const response = await fetch(`${stack.url}/functions/v1/ingest-metrics/health`);
  await response.body?.cancel();
  return response.status;
}

const isRoot = Deno.uid() === 0;

Deno.test("a clone and its data in a folder that only its owner may enter run as that owner", async () => {
  const folder = await Deno.makeTempDir({ prefix: "metrics-clone-" });
  await Deno.chmod(folder, 0o700);
  await copyRepository(join(folder, "repository"));
  const stack = await startStack({
    repository: join(folder, "repository"),
    data: join(folder, "data"),
  });
  assertEquals(await health(stack), 200);
  assertEquals(await stack.stop(), 0);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("a stack runs as a normal user without any privilege", async () => {
  const folder = await Deno.makeTempDir({ prefix: "metrics-user-" });
  const user = 65_534;
  // Without a capability that could be had back. Where we are a normal user, we are that user.
  const prefix = isRoot
    ? ["setpriv", `--reuid=${user}`, `--regid=${user}`, "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]
    : [];
  await copyRepository(join(folder, "repository"), isRoot ? user : undefined);
  await Deno.mkdir(join(folder, "home"));
  if (isRoot) {
    await Deno.chown(folder, user, user);
    await Deno.chown(join(folder, "home"), user, user);
    await Deno.chmod(folder, 0o700);
    // The person's own Deno may lie where that user cannot look.
    await Deno.copyFile(Deno.execPath(), join(folder, "deno"));
    await Deno.chmod(join(folder, "deno"), 0o755);
  }
  const stack = await startStack({
    repository: join(folder, "repository"),
    data: join(folder, "data"),
    prefix,
    ...(isRoot ? { deno: join(folder, "deno") } : {}),
    env: { HOME: join(folder, "home"), DENO_DIR: join(folder, "home", "deno") },
  });
  assertEquals(await health(stack), 200);
  if (isRoot) {
    for (const pid of descendants(stack.pid)) {
      const status = await Deno.readTextFile(`/proc/${pid}/status`);
      assertEquals(/^Uid:\s+(\d+)/m.exec(status)?.[1], `${user}`);
    }
  }
  assertEquals(await stack.stop(), 0);
  await Deno.remove(folder, { recursive: true });
});

// The `deno` of npm is a Node program that waits for the real one and hands on no signal; npx is another before it, which
// ignores a SIGINT of its own because a terminal sends it to the whole group.
for (
  const [signal, whom] of [["TERM", "the npx"], ["KILL", "the npx"], ["INT", "the group"], [
    "HUP",
    "the group",
  ]] as const
) {
  Deno.test(`SIG${signal} to ${whom} that started a stack ends everything`, async () => {
    const data = await Deno.makeTempDir({ prefix: "metrics-npx-" });
    const process = new Deno.Command("npx", {
      args: ["-y", `deno@${Deno.version.deno}`, "task", "start", "--port=0", `--data=${data}`, "--json", "--empty"],
      cwd: repository,
      stdin: "null",
      stdout: "piped",
      stderr: "null",
      detached: true,
    }).spawn();
    const reader = process.stdout.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    while (!text.includes("\n")) text += (await reader.read()).value ?? "";
    const { pid } = JSON.parse(text);
    const family = [...new Set([...descendants(process.pid), ...descendants(pid)])];
    assert(family.length > 8);
    const target = whom === "the group" ? -process.pid : process.pid;
    await new Deno.Command("/bin/sh", { args: ["-c", `kill -${signal} ${target}`] }).output();
    for (const member of family) await gone(member, 5_000);
    assertEquals(family.filter(isAlive), []);
    await reader.cancel();
    await process.status;
    await Deno.remove(data, { recursive: true });
  });
}
