import { assert, assertEquals } from "@std/assert";
import { sources } from "./mod.ts";
import { synthetic } from "./synthetic.ts";

const options = { source: "synthetic", incidentLabels: new Set<string>() };
const pullRequest = { repository: "synthetic:1", number: 7, state: "open" };

Deno.test("a synthetic delivery says its facts as they are", () => {
  const facts = { pull_requests: [pullRequest], incidents: [{ source: "synthetic", external_id: "1" }] };
  assertEquals(synthetic.facts("facts", { facts }, options), { facts });
});

Deno.test("headers carry the id and the event", () => {
  const headers = new Headers({ "x-synthetic-event": "facts", "x-synthetic-delivery": "d-1" });
  assert(synthetic.match(headers));
  assertEquals(synthetic.identify(headers, undefined), { deliveryId: "d-1", event: "facts" });
  assert(!synthetic.match(new Headers()));
  assertEquals(synthetic.identify(new Headers(), undefined), { deliveryId: null, event: null });
});

Deno.test("a ping and an event of another version carry no fact", () => {
  for (const event of ["ping", "later"]) assert("ignored" in synthetic.facts(event, {}, options), event);
});

Deno.test("what is said about something of another source is quarantined, and so is a body that does not fit", () => {
  const wrong: [unknown, string][] = [
    [{ facts: { pull_requests: [{ ...pullRequest, repository: "github:1" }] } }, "facts.pull_requests[0].repository"],
    [{ facts: { pull_requests: [pullRequest, { number: 7 }] } }, "facts.pull_requests[1].repository"],
    [{ facts: { commits: [{ repository: "//github.com/acme/app", sha: "0f3c1d2" }] } }, "facts.commits[0].repository"],
    [{ facts: { incidents: [{ source: "pagerduty", external_id: "1" }] } }, "facts.incidents[0].source"],
    [{ facts: { people: [] } }, "facts"],
    [{ facts: { pull_requests: pullRequest } }, "facts.pull_requests"],
    [{ facts: {}, more: true }, "body"],
    [null, "body"],
  ];
  for (const [body, path] of wrong) {
    const translation = synthetic.facts("facts", body, options);
    assert(
      "quarantined" in translation && translation.quarantined.startsWith(path),
      JSON.stringify([body, translation]),
    );
  }
});

Deno.test("it is one of the sources", () => {
  assertEquals(sources.get("synthetic"), synthetic);
});
