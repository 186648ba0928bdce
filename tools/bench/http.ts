/** A sender that costs next to nothing: requests are bytes that were made beforehand, connections are kept, answers are not parsed. */

/** One kept connection: one request at a time. */
export class Connection {
  #socket: Deno.TcpConn;
  #buffer = new Uint8Array(16 * 1024);
  #decoder = new TextDecoder();

  private constructor(socket: Deno.TcpConn) {
    this.#socket = socket;
  }

  static async open(origin: string): Promise<Connection> {
    const { hostname, port } = new URL(origin);
    const socket = await Deno.connect({ hostname, port: Number(port) });
    socket.setNoDelay(true);
    return new Connection(socket);
  }

  /**
   * Sends one request and waits for the whole answer.
   *
   * @returns the status
   * @throws {Error} when the connection ends before the answer does
   */
  async send(request: Uint8Array): Promise<number> {
    for (let sent = 0; sent < request.length;) sent += await this.#socket.write(request.subarray(sent));
    let text = "";
    while (!isWhole(text)) {
      const length = await this.#socket.read(this.#buffer);
      if (length === null) throw new Error(`the connection ended after: ${text}`);
      text += this.#decoder.decode(this.#buffer.subarray(0, length));
    }
    return Number(text.slice(9, 12));
  }

  close(): void {
    this.#socket.close();
  }
}

// Answers here are ASCII, so that characters are bytes.
function isWhole(text: string): boolean {
  const end = text.indexOf("\r\n\r\n");
  if (end < 0) return false;
  const length = /\r\ncontent-length: *(\d+)/i.exec(text.slice(0, end))?.[1];
  return length === undefined ? text.endsWith("0\r\n\r\n") : text.length >= end + 4 + Number(length);
}

/** The bytes of a POST. */
export function post(url: string, headers: Record<string, string>, body: Uint8Array): Uint8Array<ArrayBuffer> {
  const { host, pathname } = new URL(url);
  const lines = [
    `POST ${pathname} HTTP/1.1`,
    `host: ${host}`,
    `content-length: ${body.length}`,
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
  ];
  const head = new TextEncoder().encode(`${lines.join("\r\n")}\r\n\r\n`);
  const bytes = new Uint8Array(head.length + body.length);
  bytes.set(head);
  bytes.set(body, head.length);
  return bytes;
}

/**
 * Sends requests at a steady rate whether or not earlier ones were answered, over so many connections.
 *
 * @param rate requests a second
 * @returns milliseconds from the moment that each was due to its answer
 */
export async function paced(
  connections: readonly Connection[],
  requests: readonly Uint8Array[],
  rate: number,
  check: (status: number) => void,
): Promise<number[]> {
  const free = [...connections];
  const waiting: (() => void)[] = [];
  const started = performance.now();
  const one = async (request: Uint8Array, due: number) => {
    // Waiting for a connection is waiting, too.
    if (free.length === 0) await new Promise<void>((resolve) => waiting.push(resolve));
    const connection = free.pop()!;
    try {
      check(await connection.send(request));
    } finally {
      free.push(connection);
      waiting.shift()?.();
    }
    return performance.now() - due;
  };
  const answers: Promise<number>[] = [];
  for (const [index, request] of requests.entries()) {
    const due = started + (index * 1000) / rate;
    const pause = due - performance.now();
    if (pause > 0) await new Promise((resolve) => setTimeout(resolve, pause));
    answers.push(one(request, due));
  }
  return await Promise.all(answers);
}
