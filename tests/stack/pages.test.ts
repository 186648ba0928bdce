/** What README.md and docs/rest.md tell people to paste, run on a stack with its samples as it stands there. */

import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import { createClient } from "@supabase/supabase-js";
import { hasCurl } from "../action/page.ts";
import { answeredBlocks, blocksOf, readPage } from "../support/pages.ts";
import { type RunningStack, startStack } from "../support/stack.ts";

const home = "http://127.0.0.1:54321";

/** Runs what was pasted against this stack: what it prints. */
async function paste(stack: RunningStack, text: string): Promise<string> {
  const command = new Deno.Command("bash", {
    args: ["-e", "-o", "pipefail", "-c", text.replaceAll(".data/", `${stack.data}/`).replaceAll(home, stack.url)],
    stdin: "null",
  });
  const { success, stdout, stderr } = await command.output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}

Deno.test({ name: "pasted commands answer as the pages say", ignore: !hasCurl }, async (t) => {
  await using stack = await startStack({ samples: true });
  const readme = readPage("README.md");

  await t.step("README.md posts a webhook", async () => {
    const { text } = blocksOf(readme).find(({ text }) => text.startsWith("body="))!;
    assertEquals(JSON.parse(await paste(stack, text)).result, "stored");
  });

  for (const [path, language] of [["README.md", "text"], ["docs/rest.md", "text"], ["docs/rest.md", "json"]] as const) {
    const pasted = answeredBlocks(readPage(path), "sh", language);
    assert(pasted.length > 0, `${path} has no command with an answer in ${language}`);
    for (const { run, answer } of pasted) {
      await t.step(`${path}: ${/[a-z_]+(?=\?|'|$)/.exec(run.split("/rest/v1/")[1] ?? run)}`, async () => {
        const found = await paste(stack, run);
        if (language === "json") assertEquals(JSON.parse(found), JSON.parse(answer));
        else assertEquals(found.trimEnd(), answer.trimEnd());
      });
    }
  }

  await t.step(
    "docs/rest.md: the script reads all pages, also where the API gives fewer rows than a page has",
    async () => {
      const { member_password } = JSON.parse(await Deno.readTextFile(join(stack.data, "secrets.json")));
      const { text } = blocksOf(readPage("docs/rest.md")).find(({ language }) => language === "js")!;
      const script = text
        .replace(/^import .*$/m, "")
        .replace(home, stack.url)
        .replace("<publishable key>", stack.publishable_key)
        .replace("<password>", member_password);
      for (const cut of [1000, 1]) {
        let calls = 0;
        const create: typeof createClient = (url, key, options) =>
          createClient(url, key, {
            ...options,
            auth: { persistSession: false, autoRefreshToken: false },
            global: {
              fetch: async (input, init) => {
                const response = await fetch(input, init);
                if (!/\/rpc\//.test(String(input)) || !response.ok) return response;
                calls++;
                return Response.json((await response.json()).slice(0, cut));
              },
            },
          });
        const AsyncFunction = (async () => {}).constructor as FunctionConstructor;
        const jobs = await AsyncFunction("createClient", `${script}; return jobs`)(create);
        assertEquals(jobs.map(({ name }: { name: string }) => name), [
          "acme/hello / ci / lint",
          "acme/hello / ci / test",
        ]);
        assertEquals(calls, cut === 1 ? 2 : 1);
      }
    },
  );
});
