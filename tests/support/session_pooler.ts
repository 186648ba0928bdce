/**
 * A pooler of sessions as hosted projects have it, as far as its clients see: it takes the role `postgres.<ref>` for the project's
 * role `postgres` and leads to that project's database. Each connection is one connection of the server.
 */

/** A database behind the pooler. */
export interface PooledDatabase {
  /** The project's reference: what stands after the dot in the user name. */
  ref: string;
  /** Address of the database; its password is the one that clients must know. */
  databaseUrl: string;
}

/** A running pooler. */
export interface SessionPooler {
  /** On loopback. */
  port: number;
  /** Sessions that were opened so far, by reference. */
  sessions: Map<string, number>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** What a client asks before it says who it is: whether it may talk encrypted. */
const tlsRequest = 80877103;

/** Starts a pooler on a free port. */
export function sessionPooler(databases: PooledDatabase[]): SessionPooler {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const sessions = new Map<string, number>();
  const open = new Set<Deno.Conn>();
  const served = (async () => {
    for await (const client of listener) {
      open.add(client);
      serve(client).catch(() => {}).finally(() => {
        open.delete(client);
        close(client);
      });
    }
  })();

  async function serve(client: Deno.Conn): Promise<void> {
    const { words, rest } = await startup(client);
    const [user, ref] = (words.get("user") ?? "").split(".");
    const database = databases.find((database) => database.ref === ref);
    // A client that names no project, or another one, finds the door shut, as with the hosted pooler.
    if (user !== "postgres" || !database) return;
    sessions.set(database.ref, (sessions.get(database.ref) ?? 0) + 1);
    const { hostname, port, pathname, username } = new URL(database.databaseUrl);
    words.set("user", username);
    words.set("database", pathname.slice(1));
    const server = await Deno.connect({ hostname, port: Number(port) });
    open.add(server);
    try {
      await writeAll(server, startupMessage(words));
      await writeAll(server, rest);
      // Whoever ends first ends both.
      await Promise.race([
        client.readable.pipeTo(server.writable, { preventClose: true }),
        server.readable.pipeTo(client.writable, { preventClose: true }),
      ]);
    } finally {
      open.delete(server);
      close(server);
    }
  }

  return {
    port: (listener.addr as Deno.NetAddr).port,
    sessions,
    async [Symbol.asyncDispose]() {
      listener.close();
      for (const connection of open) close(connection);
      await served;
    },
  };
}

function close(connection: Deno.Conn): void {
  try {
    connection.close();
  } catch {
    // It was closed already.
  }
}

/** Reads what a client says first, after a refusal of TLS; `rest` are bytes that came after it. */
async function startup(client: Deno.Conn): Promise<{ words: Map<string, string>; rest: Uint8Array }> {
  let bytes = new Uint8Array();
  const chunk = new Uint8Array(4096);
  for (;;) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const length = bytes.length < 8 ? 8 : view.getInt32(0);
    if (bytes.length < length) {
      const count = await client.read(chunk);
      if (count === null) throw new Error("the client went away");
      bytes = new Uint8Array([...bytes, ...chunk.subarray(0, count)]);
    } else if (view.getInt32(4) === tlsRequest) {
      await writeAll(client, new TextEncoder().encode("N"));
      bytes = bytes.slice(length);
    } else {
      const items = new TextDecoder().decode(bytes.subarray(8, length)).split("\0");
      const words = new Map<string, string>();
      for (let index = 0; items[index]; index += 2) words.set(items[index]!, items[index + 1]!);
      return { words, rest: bytes.slice(length) };
    }
  }
}

/** The first message of version 3.0 of the protocol. */
function startupMessage(words: Map<string, string>): Uint8Array {
  const text = [...words].flat().map((word) => `${word}\0`).join("") + "\0";
  const body = new TextEncoder().encode(text);
  const message = new Uint8Array(8 + body.length);
  const view = new DataView(message.buffer);
  view.setInt32(0, message.length);
  view.setInt32(4, 3 << 16);
  message.set(body, 8);
  return message;
}

async function writeAll(connection: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let written = 0; written < bytes.length;) written += await connection.write(bytes.subarray(written));
}
