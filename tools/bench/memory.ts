import { commandLine } from "../stack/process.ts";

/** The most memory that one session of a Postgres server and its parallel workers had at once, without what all processes share. */
export class MemoryOf implements Disposable {
  #server: number;
  #session: number;
  #timer: ReturnType<typeof setInterval>;
  /** Bytes so far. */
  mostBytes = 0;

  /**
   * Looks every 100 ms until it is disposed of.
   *
   * @param server process id of the server
   * @param session process id of the session, as `pg_backend_pid()` tells it
   */
  constructor(server: number, session: number) {
    this.#server = server;
    this.#session = session;
    this.#timer = setInterval(() => this.#look(), 100);
    this.#look();
  }

  #look(): void {
    let bytes = 0;
    const children = Deno.readTextFileSync(`/proc/${this.#server}/task/${this.#server}/children`).trim().split(" ");
    for (const child of children.map(Number)) {
      if (child !== this.#session && !commandLine(child).includes(`parallel worker for PID ${this.#session}`)) continue;
      try {
        const status = Deno.readTextFileSync(`/proc/${child}/status`);
        bytes += 1024 * Number(/^RssAnon:\s+(\d+) kB/m.exec(status)?.[1] ?? 0);
      } catch (error) {
        // It has ended meanwhile.
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      }
    }
    this.mostBytes = Math.max(this.mostBytes, bytes);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}
