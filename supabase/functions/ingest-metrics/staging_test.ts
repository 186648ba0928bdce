/** What a staging installation takes, and what production does not. */

import { assertEquals } from "@std/assert";
import { readConfiguration } from "./configuration.ts";
import { ADDRESS, SECRET, signature, testHandler, webhook } from "./testing.ts";

const STAGING = { METRICS_ENVIRONMENT: "staging", INGEST_SECRET_SYNTHETIC: SECRET };

async function synthetic(content: unknown, source = "synthetic"): Promise<Request> {
  const body = JSON.stringify(content);
  return new Request(`${ADDRESS}/${source}`, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      "x-synthetic-event": "facts",
      "x-synthetic-delivery": crypto.randomUUID(),
      "x-synthetic-signature": await signature(body),
    },
    body,
  });
}

const facts = { facts: { commits: [{ repository: "synthetic:1", sha: "0f3c1d2e" }] } };

Deno.test("staging takes synthetic deliveries, and whatever else is sent goes to production", async () => {
  const { handler, store } = testHandler(STAGING);
  assertEquals((await handler(await synthetic(facts))).status, 200);
  const paths = ["/github", "/github/junit", "/github-acme", "/synthetic-2", "/nobody", "/github/health"];
  const statuses: number[] = [];
  for (const path of paths) statuses.push((await handler(await webhook({}, { path }))).status);
  assertEquals(statuses, paths.map(() => 421));
  assertEquals(store.kept.length, 1);
  const refused = await handler(await webhook({}));
  assertEquals(await refused.json(), {
    type: "about:blank",
    title: "Misdirected Request",
    status: 421,
    detail: "This is a staging installation, which takes synthetic deliveries alone: send it to production.",
    code: "not_on_staging",
  });
  assertEquals((await handler(new Request(`${ADDRESS}/health`))).status, 200);
});

Deno.test("staging answers before any secret is looked at: a good signature and a bad one are alike", async () => {
  const { handler } = testHandler(STAGING);
  const answers: string[] = [];
  for (const secret of [SECRET, "a secret that nobody knows"]) {
    const response = await handler(await webhook({}, { secret }));
    answers.push(`${response.status} ${await response.text()}`);
  }
  assertEquals(new Set(answers).size, 1);
  const { sources, mistakes } = readConfiguration({ ...STAGING, INGEST_SECRET_GITHUB: "short" });
  assertEquals([...sources.keys()], ["synthetic"]);
  const message = "belongs to production; the variable is not used";
  assertEquals(mistakes.filter(({ variable }) => variable === "INGEST_SECRET_GITHUB"), [
    { level: "warning", variable: "INGEST_SECRET_GITHUB", message },
  ]);
});

Deno.test("production does not know the source synthetic, whatever secret is set", async () => {
  for (const environment of [{}, { METRICS_ENVIRONMENT: "production" }, { METRICS_ENVIRONMENT: "stagging" }]) {
    const { handler, store, configuration } = testHandler({
      ...environment,
      INGEST_SECRET_SYNTHETIC: SECRET,
      INGEST_SECRET_SYNTHETIC_2: SECRET,
    });
    for (const source of ["synthetic", "synthetic-2"]) {
      assertEquals((await handler(await synthetic(facts, source))).status, 404);
    }
    assertEquals(store.kept, []);
    assertEquals([...configuration.sources.keys()], ["github"]);
  }
});

Deno.test("an environment that is neither is production, and said to be wrong", () => {
  const { isStaging, mistakes } = readConfiguration({ METRICS_ENVIRONMENT: "Staging" });
  assertEquals(isStaging, false);
  assertEquals(mistakes.some(({ level, variable }) => level === "error" && variable === "METRICS_ENVIRONMENT"), true);
});
