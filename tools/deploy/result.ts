/** What a gate found, one finding for each thing that is wrong. */
export interface Finding {
  /** What kind of fault it is, in lower case and underscores; scripts and tests go by it. */
  code: string;
  /** What is wrong and what would be right, for people. Holds no secret. */
  sentence: string;
  /** The file that it is about, as a path below the root. */
  file?: string;
  /** The statement that it is about, shortened to one line. */
  statement?: string;
}

/** What came of a gate; with `--json` printed as one line. */
export interface GateResult {
  gate: string;
  /** Whether the way is free. */
  ok: boolean;
  /** The target's name without its password, null for a gate that needs none. */
  target: string | null;
  /** What is wrong; empty if and only if `ok`. */
  findings: Finding[];
  /** What was done or seen, for people; also said while the gate runs. */
  notes: string[];
  /** What else a gate tells to scripts. */
  [detail: string]: unknown;
}

/** What every gate is given. */
export interface GateContext {
  /** Absolute path of the folder that holds `supabase/`: this repository, or the app's that ours was installed into. */
  root: string;
  /** Variables, as the workflow gives them. */
  env: Record<string, string | undefined>;
  /** Says something to people at once; a gate that takes long says what it does. */
  say?: ((sentence: string) => void) | undefined;
}

/** Collects findings and notes of one run of a gate. */
export class Report {
  readonly gate: string;
  readonly target: string | null;
  readonly findings: Finding[] = [];
  readonly notes: string[] = [];
  readonly #say: (sentence: string) => void;

  constructor(gate: string, target: string | null, context: Pick<GateContext, "say">) {
    this.gate = gate;
    this.target = target;
    this.#say = context.say ?? (() => {});
  }

  /** Whether nothing is wrong so far. */
  get ok(): boolean {
    return this.findings.length === 0;
  }

  /** Something is wrong. */
  find(...findings: Finding[]): void {
    this.findings.push(...findings);
  }

  /** Something was done or seen. */
  note(sentence: string): void {
    this.notes.push(sentence);
    this.#say(sentence);
  }

  /** The result, with what else scripts want to know. */
  result(details: Record<string, unknown> = {}): GateResult {
    return {
      ...details,
      gate: this.gate,
      ok: this.ok,
      target: this.target,
      findings: this.findings,
      notes: this.notes,
    };
  }
}

/** A statement on one line, at most 160 characters long. */
export function shortened(statement: string): string {
  const line = statement.replace(/\s+/g, " ").trim();
  return line.length > 160 ? `${line.slice(0, 157)}...` : line;
}

/** A number and what it counts, for example "1 migration" or "2 migrations". */
export function counted(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? "" : "s"}`;
}
