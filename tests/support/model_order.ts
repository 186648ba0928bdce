/** In which order commits came to stand on the default branch of a repository. Part of the model. */

import type { Row } from "./model.ts";
import { instantOf } from "./model_periods.ts";
import { compareText } from "./model_values.ts";

/** Where a commit stands. Places on different lines cannot be compared. */
export interface Place {
  line: number;
  /** The number of the move that brought it. */
  move: number;
  index: number;
}

/** One move of the default branch. */
export interface Move {
  before: string;
  after: string;
  pushed_at: number | null;
  commits: string[];
  is_truncated: boolean;
  is_forced: boolean;
}

/** Why a commit is no longer on the branch, and since which move. */
export interface Gone {
  how: "taken_off" | "rewritten";
  at: Place;
}

/** What is known of the order of a repository's commits. */
export interface Order {
  moves: Move[];
  places: Map<string, Place>;
  /** Commits that a move lists. Others have a place only because a branch pointed to them. */
  listed: Set<string>;
  gone: Map<string, Gone>;
}

/** The order that these pushes tell of, when the repository's default branch has this name. */
export function orderOf(pushes: readonly Row[], defaultBranch: string | null): Order {
  const moves = movesOf(pushes, defaultBranch);
  const lines = linesOf(moves);

  // Every place that a commit ever had, in the order of the moves.
  const all = new Map<string, Place[]>();
  const put = (sha: string, place: Place) => all.set(sha, [...(all.get(sha) ?? []), place]);
  const forced: { move: Move; at: Place; back: Place | undefined }[] = [];
  let ordinal = 0;
  for (const [line, chain] of lines.entries()) {
    for (const move of chain) {
      ordinal += 1;
      const at = { line, move: ordinal, index: -1 };
      // Zeros are no commit: a branch that is forced to them is forced back to nothing.
      const isCommit = !/^0*$/.test(move.after);
      const back = (all.get(move.after) ?? []).filter((place) => place.line === line).at(-1);
      if (move.is_forced) forced.push({ move, at, back });
      for (const [index, sha] of move.commits.entries()) put(sha, { ...at, index });
      // A branch that is forced back to a commit does not bring it: the commit stays where it was.
      const stays = move.is_forced && back !== undefined;
      if (isCommit && !move.commits.includes(move.after) && !stays) {
        put(move.after, { ...at, index: move.commits.length });
      }
    }
  }

  const places = new Map([...all].map(([sha, list]) => [sha, theOne(list)]));
  return {
    moves,
    places,
    listed: new Set(moves.flatMap((move) => move.commits)),
    gone: goneFrom(places, forced),
  };
}

/** Whether what is deployed at a commit contains another. */
export function contains(order: Order, deployed: string | null, sha: string): boolean {
  const at = deployed === null ? undefined : order.places.get(deployed);
  const place = order.places.get(sha);
  if (at === undefined || place === undefined || at.line !== place.line) return false;
  const gone = order.gone.get(sha);
  return comparePlaces(place, at) <= 0 && (gone === undefined || comparePlaces(at, gone.at) < 0);
}

/** Orders two places of one line. Negative, zero or positive. */
export function comparePlaces(a: Place, b: Place): number {
  return a.move - b.move || a.index - b.index;
}

function movesOf(pushes: readonly Row[], defaultBranch: string | null): Move[] {
  const onDefault = pushes.filter((push) => {
    const said = push["on_default_branch"] ?? null;
    const isCalledSo = defaultBranch !== null && push["ref"] === `refs/heads/${defaultBranch}`;
    return push["deleted"] !== true && (said === true || (said === null && isCalledSo));
  });
  const groups = groupBy(onDefault, (push) => `${push["before"]} ${push["after"]}`);
  return groups.flatMap((group) => {
    // Who tells no time tells of a push that somebody else told with its time.
    const timed = group.filter((push) => (push["pushed_at"] ?? null) !== null);
    return groupBy(timed.length > 0 ? timed : group, (push) => String(push["pushed_at"])).map(oneMove);
  });
}

function oneMove(told: Row[]): Move {
  const lists = told.map((push) => ({
    commits: (push["commits"] ?? []) as string[],
    is_truncated: push["truncated"] === true,
  }));
  const [best] = lists.sort((a, b) =>
    Number(a.is_truncated) - Number(b.is_truncated) || b.commits.length - a.commits.length ||
    compareText(JSON.stringify(a.commits), JSON.stringify(b.commits))
  );
  const before = told[0]?.["before"] as string;
  const isNew = /^0*$/.test(before) || told.some((push) => push["created"] === true);
  return {
    before,
    after: told[0]?.["after"] as string,
    pushed_at: instantOf(told[0]?.["pushed_at"]),
    ...best as { commits: string[]; is_truncated: boolean },
    is_forced: told.some((push) => push["forced"] === true) && !isNew,
  };
}

/** The first line holds every move that a time or a chain puts in order; each other line is a chain of its own. */
function linesOf(moves: readonly Move[]): Move[][] {
  const remaining = new Set(moves);
  const first: Move[] = [];
  let tip: string | null = null;
  const take = (move: Move, line: Move[]) => {
    remaining.delete(move);
    line.push(move);
    tip = move.after;
  };
  const untimedAtTip = () => least([...remaining].filter((move) => move.pushed_at === null && move.before === tip));

  for (;;) {
    const timed = [...remaining].filter((move) => move.pushed_at !== null);
    const time = Math.min(...timed.map((move) => move.pushed_at as number));
    const earliest = timed.filter((move) => move.pushed_at === time);
    const next: Move | undefined = least(earliest.filter((move) => move.before === tip)) ?? untimedAtTip() ??
      least(startsOf(earliest));
    if (next === undefined) break;
    take(next, first);
  }

  const lines = [first];
  while (remaining.size > 0) {
    const line: Move[] = [];
    for (let next = least(startsOf([...remaining])); next !== undefined; next = untimedAtTip()) take(next, line);
    lines.push(line);
  }
  return lines;
}

/** Those that follow none of the others; all where they run in circles. */
function startsOf(moves: Move[]): Move[] {
  const starts = moves.filter((move) => !moves.some((other) => other !== move && other.after === move.before));
  return starts.length > 0 ? starts : moves;
}

function least(moves: Move[]): Move | undefined {
  return moves.toSorted((a, b) => compareText(a.before, b.before) || compareText(a.after, b.after))[0];
}

/** Of all places that a commit had the one that counts. */
function theOne(places: Place[]): Place {
  const line = Math.min(...places.map((place) => place.line));
  return places.filter((place) => place.line === line).sort(comparePlaces).at(-1) as Place;
}

function goneFrom(
  places: Map<string, Place>,
  forced: { at: Place; back: Place | undefined }[],
): Map<string, Gone> {
  const gone = new Map<string, Gone>();
  for (const { at, back } of forced) {
    for (const [sha, place] of places) {
      const isBefore = place.line === at.line && comparePlaces(place, at) < 0;
      if (!isBefore || gone.has(sha)) continue;
      if (back === undefined) gone.set(sha, { how: "rewritten", at });
      else if (comparePlaces(back, place) < 0) gone.set(sha, { how: "taken_off", at });
    }
  }
  return gone;
}

function groupBy<T>(items: readonly T[], key: (item: T) => string): T[][] {
  return [...Map.groupBy(items, key).values()];
}
