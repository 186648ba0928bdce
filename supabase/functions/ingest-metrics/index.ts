/** Wiring: the platform's environment and server around the handler. */

import { readConfiguration } from "./configuration.ts";
import { createHandler } from "./handler.ts";
import { callThroughApi, createStore } from "./store.ts";

const configuration = readConfiguration(Deno.env.toObject());
for (const mistake of configuration.mistakes) console.error(JSON.stringify(mistake));

const { project } = configuration;
const store = createStore(project ? callThroughApi(project) : () => Promise.resolve({ code: "" }));
const handler = createHandler({ configuration, store });

// The platform chooses the address; a stack on one machine chooses it here, as host:port with port 0 for a free one.
const listen = /^(.+):(\d+)$/.exec(Deno.env.get("INGEST_LISTEN") ?? "");
if (listen) {
  const onListen = ({ hostname, port }: Deno.NetAddr) => {
    console.log(JSON.stringify({ listening: { hostname, port } }));
  };
  Deno.serve({ hostname: listen[1]!, port: Number(listen[2]), onListen }, handler);
} else {
  Deno.serve(handler);
}
