/**
 * A situation that the person at the keyboard can do something about: its message is one sentence for them, shown
 * without a stack trace.
 */
export class Sentence extends Error {
  override name = "Sentence";
}

/**
 * The sentence for an error of the operating system or of Postgres, where there is one that says what to do.
 *
 * @param text what was printed or thrown, for example the end of the Postgres log
 * @param folder the data folder, named in the sentence
 * @returns the sentence, or undefined when the text is of no known kind
 */
export function explain(text: string, folder: string): Sentence | undefined {
  const kinds: [RegExp, string][] = [
    [
      /No space left on device|Check free disk space|wrote only \d+ of|ENOSPC|os error 28|Disk quota exceeded|os error 122|File too large|os error 27/i,
      `The disk that holds ${folder} is full: free some space (a fresh database needs about 100 MB) or choose another ` +
      `folder with --data DIR, then start again.`,
    ],
    [
      /Read-only file system|os error 30/i,
      `The data folder ${folder} lies on a read-only file system: choose another folder with --data DIR.`,
    ],
    [
      /could not (create|map) shared memory|Cannot allocate memory|os error 12/i,
      `There is not enough memory to start Postgres: stop other programs and start again.`,
    ],
    [
      /could not look up effective user ID/i,
      "Postgres needs a user with a name, and this one has no entry in /etc/passwd: start as another user.",
    ],
    [
      /database files are incompatible with server|was initialized by PostgreSQL version/i,
      `The data folder ${folder} was made by another version of Postgres: move it away (or choose another folder with ` +
      `--data DIR) and start again.`,
    ],
    [
      /could not locate a valid checkpoint record|invalid (primary )?checkpoint|could not read file "global\/pg_control"/i,
      `The database in ${folder} is damaged and cannot be recovered by Postgres: move the folder away, restore a copy, or ` +
      `choose another one with --data DIR.`,
    ],
  ];
  const hit = kinds.find(([pattern]) => pattern.test(text));
  return hit && new Sentence(hit[1]);
}
