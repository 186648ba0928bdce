import { assert, assertEquals } from "@std/assert";
import { checkFacts, type FactKind, type Facts, outcomes, statuses } from "../facts.ts";
import { ADDRESS, decodeBody, SECRET, testHandler } from "../testing.ts";
import { translate } from "../translate.ts";
import { caseOutcomes, cdevents, ignoredEvents, outcomeTable, redactedFields, translatedEvents } from "./cdevents.ts";

const options = { source: "cdevents", incidentLabels: new Set<string>() };
const at = "2026-03-02T09:00:00.315384Z";
const sha = "1a".repeat(20);

interface Parts {
  context?: Record<string, unknown>;
  subject?: Record<string, unknown>;
  version?: string;
}

/** An event of a type such as `pipelinerun.started`; undefined takes a member away. */
function event(
  type: string,
  content: Record<string, unknown> = {},
  { context, subject, version = "0.3.0" }: Parts = {},
) {
  return {
    context: {
      specversion: "0.5.0",
      id: "271069a8",
      source: "https://git.example/acme/shop",
      type: `dev.cdevents.${type}.${version}`,
      timestamp: at,
      ...context,
    },
    subject: { id: "run-1", content, ...subject },
  };
}

function factsIn(body: unknown): Facts {
  const translation = cdevents.facts("", body, options);
  if (!("facts" in translation)) throw new Error(JSON.stringify(translation));
  const checked = checkFacts(translation.facts);
  if ("wrong" in checked) throw new Error(checked.wrong);
  return checked.facts;
}

/** What becomes of a body that was sent. */
function translated(body: unknown) {
  const contentType = Array.isArray(body) ? "application/cloudevents-batch+json" : "application/cloudevents+json";
  const bytes = new TextEncoder().encode(JSON.stringify(body));
  return translate(cdevents, contentType, bytes, (parsed) => cdevents.identify(new Headers(), parsed), options);
}

/** The one fact in a body. */
// deno-lint-ignore no-explicit-any
function factIn(kind: FactKind, body: unknown): any {
  const facts = factsIn(body);
  assertEquals([Object.keys(facts), facts[kind]!.length], [[kind], 1]);
  return facts[kind]![0];
}

const key = {
  repository: "//git.example/acme/shop",
  external_id: "https://git.example/acme/shop run-1",
  observed_at: at,
};

Deno.test("a pipeline run is told by up to three events, each with its own time", () => {
  const run = { pipelineName: "ci", uri: "https://ci.example/runs/1" };
  const told = { ...key, pipeline: "ci", url: "https://ci.example/runs/1" };
  const waiting = { outcome: null, provider_outcome: null, finished_at: null };
  assertEquals(factIn("pipeline_runs", event("pipelinerun.queued", run)), {
    ...told,
    ...waiting,
    status: "queued",
    queued_at: at,
  });
  assertEquals(factIn("pipeline_runs", event("pipelinerun.started", run)), {
    ...told,
    ...waiting,
    status: "running",
    started_at: at,
  });
  assertEquals(factIn("pipeline_runs", event("pipelinerun.finished", { ...run, outcome: "failure", errors: "x" })), {
    ...told,
    status: "finished",
    outcome: "failure",
    provider_outcome: "failure",
    finished_at: at,
  });
});

Deno.test("a task run is a job of its run, by the names of every version", () => {
  const task = {
    taskName: "build",
    uri: "https://ci.example/tasks/1",
    pipelineRun: { id: "run-0" },
    outcome: "success",
  };
  const told = {
    ...key,
    run_external_id: "https://git.example/acme/shop run-0",
    name: "build",
    status: "finished",
    outcome: "success",
    provider_outcome: "success",
    finished_at: at,
    url: "https://ci.example/tasks/1",
  };
  assertEquals(factIn("jobs", event("taskrun.finished", task)), told);
  const old = { task: "build", url: task.uri, pipelineRun: task.pipelineRun, status: "success" };
  const version = { specversion: undefined, version: "0.3.0" };
  assertEquals(factIn("jobs", event("taskrun.finished", old, { context: version, version: "0.1.1" })), told);
  assertEquals(factIn("jobs", event("taskrun.finished", task, { version: "9.12.0-draft" })), told);
  assertEquals(
    factIn("jobs", event("taskrun.finished", task, { context: { type: "dev.cdevents.taskrun.finished" } })),
    told,
  );
  const elsewhere = { ...task, pipelineRun: { id: "run-0", source: "/ci" } };
  assertEquals(factIn("jobs", event("taskrun.started", elsewhere)).run_external_id, "/ci run-0");
  assert(!("run_external_id" in factIn("jobs", event("taskrun.started", { taskName: "build" }))));
});

Deno.test("an outcome that is missing or not known is unknown, and kept", () => {
  const end = (content: Record<string, unknown>) => {
    const { status, outcome, provider_outcome } = factIn("pipeline_runs", event("pipelinerun.finished", content));
    return [status, outcome, provider_outcome];
  };
  assertEquals(end({ outcome: "cancel" }), ["finished", "cancelled", "cancel"]);
  assertEquals(end({ outcome: "error" }), ["finished", "error", "error"]);
  for (const word of ["evaporated", "constructor", "__proto__"]) {
    assertEquals(end({ outcome: word }), ["finished", "unknown", word]);
  }
  assertEquals(end({}), ["finished", "unknown", null]);
});

Deno.test("an event that has no time leaves its times unknown", () => {
  const told = factIn(
    "pipeline_runs",
    event("pipelinerun.finished", { outcome: "success" }, { context: { timestamp: null } }),
  );
  assertEquals([told.observed_at, told.finished_at], [null, null]);
});

Deno.test("an event belongs to the repository that it names, or whose URL its source is, or to its source", () => {
  const named = (repository: unknown, subject = {}, source = "/event/source") =>
    factIn("pipeline_runs", event("pipelinerun.started", { repository }, { context: { source }, subject })).repository;
  assertEquals(named(undefined), "cdevents:/event/source");
  assertEquals(named(undefined, { source: "/staging/tekton" }), "cdevents:/staging/tekton");
  assertEquals(
    named(undefined, { source: "https://user:pass@Git.Example/Acme/Shop.git?x#y" }),
    "//git.example/acme/shop",
  );
  assertEquals(named(undefined, { source: "/tekton" }, "git@git.example:acme/shop.git"), "//git.example/acme/shop");
  assertEquals(named(undefined, {}, "ssh://git@git.example:2222/acme/shop/"), "//git.example:2222/acme/shop");
  assertEquals(named(undefined, {}, "my-git.example/an-org/a-repo"), "//my-git.example/an-org/a-repo");
  assertEquals(named(undefined, {}, "https://ci.example"), "cdevents:https://ci.example");
  assertEquals(named(undefined, {}, "urn:uuid:1"), "cdevents:urn:uuid:1");
  assertEquals(named({ id: "Acme/Shop", source: "https://git.example" }), "//git.example/acme/shop");
  assertEquals(named({ id: "acme/shop", source: "my-git.example" }), "//my-git.example/acme/shop");
  assertEquals(named({ id: "acme/shop", source: "https://git.example/acme/shop" }), "//git.example/acme/shop");
  assertEquals(named({ id: "acme/shop" }, { source: "git.example/acme/shop" }), "//git.example/acme/shop");
  assertEquals(named({ id: "https://git.example/acme/shop" }), "//git.example/acme/shop");
  assertEquals(named({ id: "acme/shop" }), "cdevents:/event/source acme/shop");
  assertEquals(named({ id: "a b", source: "https://git.example" }), "cdevents:https://git.example a b");
});

Deno.test("a service that is deployed, upgraded or rolled back was deployed, each time anew", () => {
  const content = { environment: { id: "prod-1", name: "production" }, artifactId: `pkg:github/Acme/Shop@${sha}` };
  for (const predicate of ["deployed", "upgraded", "rolledback"]) {
    const context = { source: "/deployer" };
    const body = event(`service.${predicate}`, content, { context, subject: { id: "service/shop" } });
    assertEquals(factIn("deployments", body), {
      repository: "//github.com/acme/shop",
      external_id: `/deployer 271069a8 ${predicate}`,
      observed_at: at,
      name: "service/shop",
      environment: "production",
      commit_sha: sha,
      status: "finished",
      outcome: "success",
      provider_outcome: predicate,
      finished_at: at,
    });
  }
});

Deno.test("a deployment with a beginning and an end is one deployment", () => {
  const content = { environment: { id: "production" } };
  const told = (predicate: string, more = {}) =>
    factIn("deployments", event(`deployment.${predicate}`, { ...content, ...more }));
  assertEquals(told("queued"), {
    ...key,
    environment: "production",
    status: "queued",
    outcome: null,
    provider_outcome: null,
    finished_at: null,
    created_at: at,
  });
  assertEquals([told("started").status, told("started").started_at], ["running", at]);
  assertEquals([told("finished", { outcome: "failure" }).outcome, told("finished").finished_at], ["failure", at]);
});

Deno.test("a package URL tells repository and commit only where it names them", () => {
  const said = (artifactId: string) => {
    const { repository, commit_sha } = factIn("deployments", event("service.deployed", { artifactId }));
    return [repository.replace("//git.example/acme/shop", "its source"), commit_sha];
  };
  const digest = "pkg:oci/shop@sha256%3A0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427";
  assertEquals(said(digest), ["its source", undefined]);
  assertEquals(said(`${digest}?repository_url=registry.example/shop&tag=${sha}`), ["its source", sha]);
  assertEquals(said(`${digest}?vcs_url=git%2Bhttps://Git.Example/acme/worker.git%40${sha}`), [
    "//git.example/acme/worker",
    sha,
  ]);
  assertEquals(said("pkg:oci/shop?vcs_url=git+ssh://git@git.example/acme/worker"), [
    "//git.example/acme/worker",
    undefined,
  ]);
  assertEquals(said("pkg:github/acme/worker@v1.2.3"), ["//github.com/acme/worker", undefined]);
  assertEquals(said(`pkg:gitlab/acme/group/worker@${sha.toUpperCase()}`), ["//gitlab.com/acme/group/worker", sha]);
  assertEquals(said(`pkg:golang/git.example/acme/worker@${sha}`), ["its source", sha]);
  for (
    const none of [
      "",
      "shop-1.2.0.tar.gz",
      "pkg:",
      "pkg:oci/",
      sha,
      `pkg:generic/shop@${"1".repeat(64)}`,
      "pkg:npm/%zz@1",
    ]
  ) {
    assertEquals(said(none), ["its source", undefined], none);
  }
});

Deno.test("addresses of any length are read in no time", () => {
  const started = performance.now();
  for (const length of [900, 2000, 1_000_000]) {
    for (const filler of ["/", "a.", "@", ".git", "a/@", "-", "%"]) {
      const long = `https://x.example/${filler.repeat(length / filler.length)}!`;
      const content = { artifactId: `pkg:github/${long}?vcs_url=${long}`, repository: { id: long, source: long } };
      assert("facts" in cdevents.facts("", event("service.deployed", content, { context: { source: long } }), options));
    }
  }
  assert(performance.now() - started < 1000);
});

Deno.test("a change is a pull request where its id is a number", () => {
  const repository = { id: "acme/shop", source: "https://git.example" };
  const said = (predicate: string, id = "12") =>
    factIn("pull_requests", event(`change.${predicate}`, { repository, description: "x" }, { subject: { id } }));
  const told = { repository: "//git.example/acme/shop", number: 12, observed_at: at };
  assertEquals(said("created"), { ...told, state: "open", opened_at: at });
  assertEquals(said("updated"), told);
  assertEquals(said("reviewed"), told);
  assertEquals(said("merged"), { ...told, state: "merged", merged_at: at, closed_at: at, merge_sha: null });
  assertEquals(said("abandoned"), { ...told, state: "closed", merged_at: null, closed_at: at, merge_sha: null });
  for (const id of ["topic", sha, "2147483648", "-1", "1.5"]) {
    const translation = cdevents.facts("", event("change.created", { repository }, { subject: { id } }), options);
    assertEquals(translation, { ignored: "change: a change whose id is no number of a pull request" });
  }
});

Deno.test("an incident, and the commit in which it was found", () => {
  const content = {
    service: { id: "shop" },
    artifactId: `pkg:github/acme/shop@${sha}`,
    description: "Answers take 2 s",
  };
  const told = { source: "cdevents", external_id: "/monitoring outage-1", observed_at: at, service: "shop" };
  const parts = { context: { source: "/monitoring" }, subject: { id: "outage-1" } };
  const begun = {
    ...told,
    repository: "//github.com/acme/shop",
    commit_sha: sha,
    title: "Answers take 2 s",
    opened_at: at,
    status: "open",
    resolved_at: null,
  };
  assertEquals(factIn("incidents", event("incident.detected", content, parts)), begun);
  const ticketURI = "https://issues.example/1";
  assertEquals(factIn("incidents", event("incident.reported", { ...content, ticketURI }, parts)), {
    ...begun,
    url: ticketURI,
  });
  assertEquals(factIn("incidents", event("incident.resolved", content, parts)), {
    ...told,
    status: "resolved",
    resolved_at: at,
  });
});

Deno.test("test suites and test cases", () => {
  const testSuite = { id: "9283", name: "unit" };
  assertEquals(factIn("test_runs", event("testsuiterun.started", { testSuite })), {
    ...key,
    suite: "unit",
    started_at: at,
  });
  assertEquals(factIn("test_runs", event("testsuiterun.finished", { testSuite: { id: "9283" }, outcome: "failure" })), {
    ...key,
    suite: "9283",
  });
  const said = (predicate: string, content: Record<string, unknown>) =>
    factIn("test_cases", event(`testcaserun.${predicate}`, { testCase: { id: "7", name: "adds" }, ...content }));
  const told = { repository: key.repository, suite: "", name: "adds", observed_at: at };
  assertEquals(
    said("finished", { outcome: "failure", reason: "was 3", testSuiteRun: { id: "suite-1", source: "/tests" } }),
    {
      ...told,
      test_run_external_id: "/tests suite-1",
      outcome: "failed",
      message: "was 3",
    },
  );
  assertEquals(said("skipped", {}), {
    ...told,
    test_run_external_id: key.external_id,
    outcome: "skipped",
    message: null,
  });
  for (const [word, outcome] of Object.entries(caseOutcomes)) {
    assertEquals([said("finished", { outcome: word }).outcome, said("finished", { status: word }).outcome], [
      outcome,
      outcome,
    ]);
  }
  assertEquals(said("finished", { outcome: "exploded" }).outcome, null);
  assertEquals(cdevents.facts("", event("testcaserun.finished", { outcome: "success" }), options), {
    ignored: "testcaserun: a test case that has no name",
  });
});

Deno.test("types that carry no fact are ignored with their reason, other types as not known", () => {
  for (const [name, reason] of Object.entries(ignoredEvents)) {
    const type = name.includes(".") ? name : `${name}.created`;
    assertEquals(cdevents.facts("", event(type), options), { ignored: `${name}: ${reason}` });
    assert(!translatedEvents.includes(type));
  }
  const unknown = { ignored: "a type that is not known" };
  for (const type of ["pipelinerun.sung", "orbit.started", "constructor.created"]) {
    assertEquals(cdevents.facts("", event(type), options), unknown);
  }
  for (const type of ["dev.cdeventsx.acme-tool.started.0.1.0", "com.example.push", "dev.cdevents.", ""]) {
    assertEquals(cdevents.facts("", event("", {}, { context: { type } }), options), unknown);
    assertEquals(cdevents.facts("", { specversion: "1.0", id: "1", source: "/", type, data: [1] }, options), unknown);
  }
});

Deno.test("the event is found in every mode", () => {
  const started = event("pipelinerun.started");
  const { id, source, type } = started.context;
  const envelope = { specversion: "1.0", id, source, type, time: at };
  const base64 = btoa(JSON.stringify(started));
  for (
    const body of [
      started,
      { ...envelope, datacontenttype: "application/json", data: started },
      { ...envelope, datacontenttype: "application/cdevents+json", data: JSON.stringify(started) },
      { ...envelope, datacontenttype: "application/cdevents+json", data_base64: base64 },
    ]
  ) {
    const { deliveryId, event, result, facts } = translated(body);
    assertEquals([result, facts.pipeline_runs?.[0]?.started_at], ["stored", at]);
    assertEquals([deliveryId, event], [
      `${body === started ? "" : "structured "}${type} ${source} ${id}`,
      "pipelinerun.started",
    ]);
  }
  for (const data of [undefined, null, 7, "no JSON", "[]", "null", { subject: {} }]) {
    assertEquals(translated({ ...envelope, data }).result, "quarantined", JSON.stringify(data));
  }
  assertEquals(translated({ ...envelope, data_base64: "%" }).result, "quarantined");
});

Deno.test("nothing that is removed from an event is kept because the event came as text", () => {
  const noisy = event("taskrun.finished", { outcome: "failure", errors: "canary" });
  const text = JSON.stringify({ ...noisy, customData: { password: "canary" } });
  const envelope = { specversion: "1.0", type: noisy.context.type };
  const plain = event("taskrun.finished", { outcome: "failure" });
  const asText = [{ data: text }, { data_base64: btoa(text) }, { data: null, data_base64: btoa(text) }];
  for (const more of asText) {
    const { result, body } = translated({ ...envelope, ...more });
    assertEquals([result, JSON.parse(decodeBody({ body }))], ["stored", { ...envelope, data: plain }]);
    // What is kept says the same when it is offered again.
    assertEquals(translated(JSON.parse(decodeBody({ body }))).result, "stored");
  }
  const batch = translated([noisy, ...asText.map((more) => ({ ...envelope, ...more }))]);
  assertEquals([batch.result, batch.facts.jobs!.length], ["stored", 4]);
  assert(!decodeBody(batch).includes("canary"));
  // A text that cannot be read is not kept; nor is one beside an event, of which nothing is read.
  const long = JSON.stringify({ ...noisy, customData: "canary".repeat(1024 * 1024) });
  for (
    const body of [
      { ...envelope, data: `${text} and more` },
      { ...envelope, data: JSON.stringify(text) },
      { ...envelope, data_base64: btoa(`${text} and more`) },
      { ...envelope, data_base64: `${btoa(text)}%` },
      { ...envelope, data: long },
      { ...envelope, data_base64: btoa(long) },
      { ...envelope, data: plain, data_base64: btoa(text) },
      { ...plain, data: text },
      { ...plain, data_base64: btoa(text) },
      [plain, { ...envelope, data: `${text} and more` }],
    ]
  ) {
    const kept = decodeBody(translated(body));
    assert(!/canary|Y2FuYXJ5|NhbmFye|jYW5hcn/.test(kept), kept.slice(0, 200));
  }
  const deep = new TextEncoder().encode("[".repeat(100_000) + "]".repeat(100_000));
  const identify = (body: unknown) => cdevents.identify(new Headers(), body);
  const became = translate(cdevents, "application/cloudevents-batch+json", deep, identify, options);
  assertEquals([became.result, became.reason], ["quarantined", "[0].body: invalid_type"]);
});

Deno.test("a delivery goes by type, source and id of its event, and by its bytes where they make no key", () => {
  const identify = (body: unknown, headers = {}) => cdevents.identify(new Headers(headers), body);
  assertEquals(identify([]), { deliveryId: null, event: "batch" });
  assertEquals(identify(event("pipelinerun.started", {}, { context: { id: "x".repeat(300) } })).deliveryId, null);
  assertEquals(identify(event("pipelinerun.started", {}, { context: { id: "a\0b" } })).deliveryId, null);
  assertEquals(identify(event("pipelinerun.started", {}, { context: { id: 7 } })), {
    deliveryId: null,
    event: "pipelinerun.started",
  });
  assertEquals(identify({}), { deliveryId: null, event: "unknown" });
  assertEquals(identify(undefined), { deliveryId: null, event: null });
  assertEquals(identify(undefined, { "ce-type": "dev.cdevents.build.started.0.2.0" }).event, "build.started");
  assertEquals(identify({ context: null, data: null }), { deliveryId: null, event: "unknown" });
});

Deno.test("a batch says what its events say, and one that is not understood keeps all, with its place", () => {
  const batch = [
    event("pipelinerun.started"),
    event("build.started"),
    {
      specversion: "1.0",
      type: "dev.cdevents.taskrun.started.0.2.0",
      data: event("taskrun.started", { taskName: "build" }),
    },
    event("pipelinerun.finished", { outcome: "success" }),
  ];
  const facts = factsIn(batch);
  assertEquals([facts.pipeline_runs!.length, facts.jobs!.length], [2, 1]);
  const reason = (item: unknown) => {
    const translation = cdevents.facts("batch", [...batch, item], options);
    return "quarantined" in translation ? translation.quarantined : translation;
  };
  assertEquals(reason(event("taskrun.started", {}, { subject: { id: "" } })), "[4].subject.id: too_small");
  for (const item of [null, 7, []]) assertEquals(reason(item), "[4].body: invalid_type");
  assertEquals(reason({}), "[4].context: invalid_type, [4].subject: invalid_type");
  const nothing = { ignored: "batch: nothing in it carries a fact" };
  assertEquals([cdevents.facts("batch", [], options), cdevents.facts("batch", [batch[1]], options)], [
    nothing,
    nothing,
  ]);
});

Deno.test("every mode comes in by its content type, and a sender that asks first may send", async () => {
  const { handler, store, lines } = testHandler({ INGEST_SECRET_CDEVENTS: SECRET });
  const send = async (contentType: string, body: unknown, token = SECRET) => {
    const headers = { "content-type": contentType, authorization: `Bearer ${token}` };
    const request = new Request(`${ADDRESS}/cdevents`, { method: "POST", headers, body: JSON.stringify(body) });
    const response = await handler(request);
    return [response.status, (await response.json()).result ?? null];
  };
  const started = event("pipelinerun.started", {}, {});
  const noisy = { ...started, customData: { params: [{ name: "TOKEN", value: "canary" }] } };
  const envelope = { specversion: "1.0", type: started.context.type, data: noisy };
  assertEquals(await send("application/cdevents+json; charset=utf-8", noisy), [200, "stored"]);
  assertEquals(await send("application/json", noisy), [200, "stored"]);
  assertEquals(await send("application/cloudevents+json; charset=UTF-8", envelope), [200, "stored"]);
  assertEquals(await send("application/cloudevents-batch+json; charset=utf-8", [envelope, noisy]), [200, "stored"]);
  assertEquals([store.last.delivery.event, store.last.delivery.delivery_id.slice(0, 7)], ["batch", "sha256:"]);
  for (const kept of store.kept) assert(!decodeBody(kept).includes("canary"));
  assertEquals(await send("application/json", [envelope]), [202, "quarantined"]);
  assertEquals(await send("application/cloudevents+xml", envelope), [415, null]);
  assertEquals(await send("application/json", noisy, "another secret, a wrong one"), [401, null]);
  assertEquals(new Set(lines.map((line) => line.event)), new Set(["pipelinerun", "batch", null]));

  const ask = (headers: Record<string, string>, path = "/cdevents") =>
    handler(new Request(`${ADDRESS}${path}`, { method: "OPTIONS", headers }));
  const origin = { "webhook-request-origin": "emitter.example", "webhook-request-rate": "120" };
  const asked = await ask(origin);
  assertEquals([asked.status, await asked.text()], [200, ""]);
  assertEquals(["allow", "webhook-allowed-origin", "webhook-allowed-rate"].map((name) => asked.headers.get(name)), [
    "OPTIONS, POST",
    "*",
    "*",
  ]);
  const before = store.kept.length;
  for (
    const [headers, path, status] of [[{}, "/cdevents", 405], [origin, "/github", 405], [
      origin,
      "/nothing",
      404,
    ]] as const
  ) {
    const refused = await ask(headers, path);
    assertEquals([refused.status, refused.headers.has("webhook-allowed-origin")], [status, false]);
  }
  assertEquals(store.kept.length, before);
});

Deno.test("the page shows the words, the redacted fields and the types of the source", async () => {
  const page = await Deno.readTextFile(new URL("../../../../docs/sources/cdevents.md", import.meta.url));
  const rows = page.split("\n").filter((line) => line.startsWith("|")).map((line) =>
    line.split("|").slice(1, -1).map((cell) => cell.trim())
  );
  const words = Object.entries(outcomeTable).flatMap(([field, table]) =>
    Object.entries(table).map(([word, [status, outcome]]) => [field, `\`${word}\``, status as string, outcome ?? ""])
  );
  assertEquals(rows.filter((row) => row.length === 4 && Object.hasOwn(outcomeTable, row[0]!)), words);
  for (const [, , status, outcome] of words) {
    assert((statuses as readonly string[]).includes(status!));
    assert(!outcome || (outcomes as readonly string[]).includes(outcome));
  }
  const cases = rows.filter((row) => row.length === 3 && row[0] === "test case").map((
    [, word, outcome],
  ) => [word, outcome]);
  assertEquals(cases, Object.entries(caseOutcomes).map(([word, outcome]) => [`\`${word}\``, outcome ?? ""]));
  const listed = rows.filter((row) => row.length === 2).flatMap(([reason, types]) =>
    [...types!.matchAll(/`([\w.]+)`/g)].map(([, type]) => [type!, reason!] as const)
  );
  assertEquals(Object.fromEntries(listed), ignoredEvents);
  const told = rows.filter((row) => row.length === 3 && row[0]!.startsWith("`")).flatMap(([types]) =>
    [...types!.matchAll(/`([\w.]+)`/g)].map((match) => match[1])
  );
  assertEquals(told.sort(), [...translatedEvents].sort());
  assertEquals([...page.matchAll(/^- `([\w.]+)`$/gm)].map((match) => match[1]), [...redactedFields]);
});
