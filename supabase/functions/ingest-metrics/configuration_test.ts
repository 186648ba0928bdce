import { assert, assertEquals } from "@std/assert";
import { DEFAULT_MAX_BYTES, readConfiguration, readIncidentLabels } from "./configuration.ts";
import { providerOf } from "./sources/mod.ts";

const project = {
  SUPABASE_URL: "https://project.test",
  SUPABASE_SECRET_KEYS: '{"other":"sb_secret_o","default":"sb_secret_d"}',
};
const secret = "0123456789abcdef";

Deno.test("a source is a provider or an instance of it; the longest provider wins", () => {
  const providers = ["bitbucket", "bitbucket-server", "git"];
  assertEquals(providerOf("bitbucket", providers), "bitbucket");
  assertEquals(providerOf("bitbucket-acme", providers), "bitbucket");
  assertEquals(providerOf("bitbucket-server", providers), "bitbucket-server");
  assertEquals(providerOf("bitbucket-server-2", providers), "bitbucket-server");
  assertEquals(providerOf("bitbucket-servers", providers), "bitbucket");
  for (
    const none of ["github", "gitx", "", "-git", "git-", "git--a", "Git", "git_a", "git-ä", `git-${"a".repeat(100)}`]
  ) {
    assertEquals(providerOf(none, providers), undefined, none);
  }
});

Deno.test("secrets come alone, separated by commas or as a JSON array", async () => {
  const { sources, mistakes } = readConfiguration({
    ...project,
    INGEST_SECRET_GITHUB: ` ${secret} , ${secret}2 `,
    INGEST_SECRET_GITHUB_ACME_2: `["${secret},with a comma"]`,
  });
  assertEquals([...sources.keys()].sort(), ["github", "github-acme-2"]);
  assertEquals(sources.get("github-acme-2")!.options.source, "github-acme-2");
  assertEquals(mistakes, []);
  const { signature } = await import("./testing.ts");
  const proves = async (source: string, using: string) => {
    const headers = new Headers({ "x-hub-signature-256": await signature("body", using) });
    return await sources.get(source)!.verifier.claim(headers)!.proves(new TextEncoder().encode("body"));
  };
  assert(await proves("github", secret) && await proves("github", `${secret}2`));
  assert(!await proves("github", ` ${secret} `) && !await proves("github-acme-2", secret));
  assert(await proves("github-acme-2", `${secret},with a comma`));
});

Deno.test("a secret that is empty or short disables its source and names the variable, not the value", () => {
  const values: [string, string][] = [
    ["", "holds an empty secret"],
    [" ", "holds an empty secret"],
    [`${secret},`, "holds an empty secret"],
    ["[]", "holds an empty secret"],
    ["0123456789abcde", "holds a secret shorter than 16 bytes"],
    [`${secret},short`, "holds a secret shorter than 16 bytes"],
    ["[not json, at all, but long enough", "starts like a JSON array and is none"],
    ["[1234567890123456]", "is a JSON array of other things than texts"],
  ];
  for (const [value, message] of values) {
    const { sources, mistakes } = readConfiguration({ ...project, INGEST_SECRET_GITHUB: value });
    assertEquals(sources.size, 0);
    assertEquals(mistakes, [{
      level: "error",
      variable: "INGEST_SECRET_GITHUB",
      message: `${message}; the source is disabled`,
    }]);
  }
  assertEquals(readConfiguration({ ...project, INGEST_SECRET_GITHUB: "äöüäöüäö" }).sources.size, 1);
});

Deno.test("signing keys and tokens stand in one variable, and a malformed key disables its source", () => {
  const key = `whsec_${btoa("k".repeat(32))}`;
  const read = (INGEST_SECRET_GITLAB: string) => readConfiguration({ ...project, INGEST_SECRET_GITLAB });
  const claims = (value: string, headers: Record<string, string>) =>
    read(value).sources.get("gitlab")!.verifier.claim(new Headers(headers)) !== null;
  const token = { "x-gitlab-token": secret };
  assertEquals([claims(key, token), claims(secret, token), claims(` ${key} , ${secret} `, token)], [false, true, true]);
  for (const value of [`${key}, ${secret}`, `["${key}", "${secret}"]`, key]) assertEquals(read(value).mistakes, []);
  for (const malformed of ["whsec_0123456789abcdef", `${key}!`, `${secret},whsec_${btoa("k".repeat(23))}`]) {
    const { sources, mistakes } = read(malformed);
    assertEquals(sources.size, 0);
    assertEquals(mistakes, [{
      level: "error",
      variable: "INGEST_SECRET_GITLAB",
      message: "holds a signing key that is not whsec_ and then 24 to 64 bytes in base64; the source is disabled",
    }]);
  }
});

Deno.test("a variable that names no known provider is warned about", () => {
  for (
    const variable of [
      "INGEST_SECRET_NOBODY",
      "INGEST_SECRET_",
      "INGEST_SECRET_github",
      "INGEST_SECRET_GITHUB__A",
      "INGEST_SECRET_HEALTH",
    ]
  ) {
    const { sources, mistakes } = readConfiguration({ ...project, [variable]: secret });
    assertEquals(sources.size, 0);
    assertEquals(mistakes.map(({ level, variable }) => [level, variable]), [["warning", variable]]);
  }
});

Deno.test("the limit is a whole number of bytes up to 25 MiB, else the default", () => {
  const limit = (INGEST_MAX_BYTES: string) => readConfiguration({ ...project, INGEST_MAX_BYTES });
  assertEquals(readConfiguration(project).maxBytes, 10 * 1024 * 1024);
  assertEquals([limit("1").maxBytes, limit(" 26214400 ").maxBytes, limit("26214400").mistakes.length], [
    1,
    26214400,
    0,
  ]);
  for (const wrong of ["", "0", "-1", "26214401", "10MiB", "1e6", "1.5", "9".repeat(30)]) {
    const { maxBytes, mistakes } = limit(wrong);
    assertEquals([maxBytes, mistakes.map((one) => one.variable)], [DEFAULT_MAX_BYTES, ["INGEST_MAX_BYTES"]], wrong);
  }
});

Deno.test("the project's key is the default one, else the first, else the older variable", () => {
  const key = (environment: Record<string, string>) =>
    readConfiguration({ SUPABASE_URL: "https://project.test", ...environment }).project?.key;
  assertEquals(key({ SUPABASE_SECRET_KEYS: project.SUPABASE_SECRET_KEYS }), "sb_secret_d");
  assertEquals(key({ SUPABASE_SECRET_KEYS: '{"a":"sb_secret_a","b":"sb_secret_b"}' }), "sb_secret_a");
  for (const SUPABASE_SECRET_KEYS of ["", "{", "{}", "null", "[]", '{"default":7}']) {
    assertEquals(key({ SUPABASE_SECRET_KEYS, SUPABASE_SERVICE_ROLE_KEY: "older" }), "older", SUPABASE_SECRET_KEYS);
  }
  assertEquals(readConfiguration({}).mistakes.map((one) => one.variable), ["SUPABASE_URL", "SUPABASE_SECRET_KEYS"]);
  assertEquals(readConfiguration({ ...project, SUPABASE_URL: "nowhere" }).project, null);
});

Deno.test("tokens of pipelines must name the function's own address", () => {
  const audience = (SUPABASE_URL: string) => readConfiguration({ ...project, SUPABASE_URL }).audience;
  assertEquals(audience("https://project.test"), "https://project.test/functions/v1/ingest-metrics");
  assertEquals(audience("http://127.0.0.1:54321/"), "http://127.0.0.1:54321/functions/v1/ingest-metrics");
  assertEquals([audience("nowhere"), readConfiguration({}).audience], [null, null]);
});

Deno.test("incident labels are separated by commas, whatever their case", () => {
  assertEquals([...readIncidentLabels({})], ["incident", "outage"]);
  assertEquals([...readIncidentLabels({ INGEST_INCIDENT_LABELS: " Sev 1 ,,SEV2" })], ["sev 1", "sev2"]);
  assertEquals([...readIncidentLabels({ INGEST_INCIDENT_LABELS: "" })], []);
});
