/** Days, weeks and months of a zone, and the buckets that a period is cut into. Part of the model. */

/** What a period is cut into. */
export type BucketSize = "day" | "week" | "month" | "none";

/** A part of a period: dates, half-open. */
export interface Bucket {
  /** The first day of the whole day, week or month, also where the period cuts it; NULL for the whole period. */
  start: string | null;
  from: string;
  to: string;
}

/** Microseconds since 1970 of a time with a zone, to the microsecond. Anything but a text is no time. */
export function instantOf(time: unknown): number | null {
  if (typeof time !== "string") return null;
  // Dates know milliseconds only; the model's own form of a time always has six digits.
  const fraction = /\.(\d+)/.exec(time)?.[1] ?? "";
  return Date.parse(time.replace(/\.\d+/, "")) * 1000 + Number(fraction.padEnd(6, "0"));
}

// Each is asked for each fact of a world; to work it out again takes most of a comparison's time.
const midnights = new Map<string, number>();

/** The moment at which a date begins in a zone. */
export function midnight(date: string, zone: string): number {
  const key = `${date} ${zone}`;
  const known = midnights.get(key) ?? Temporal.PlainDate.from(date).toZonedDateTime(zone).epochMilliseconds * 1000;
  midnights.set(key, known);
  return known;
}

/** The date that a zone's calendar shows at a moment. */
export function dateOf(instant: number, zone: string): string {
  const milliseconds = Math.floor(instant / 1000);
  return Temporal.Instant.fromEpochMilliseconds(milliseconds).toZonedDateTimeISO(zone).toPlainDate().toString();
}

/** The date so many days later. */
export function addDays(date: string, days: number): string {
  return Temporal.PlainDate.from(date).add({ days }).toString();
}

/** How many days lie between two dates. */
export function daysBetween(from: string, to: string): number {
  return Temporal.PlainDate.from(from).until(to, { largestUnit: "day" }).days;
}

/** The first day of the day, ISO week or month in which a date lies. */
export function startOf(date: string, size: Exclude<BucketSize, "none">): string {
  const day = Temporal.PlainDate.from(date);
  if (size === "week") return day.subtract({ days: day.dayOfWeek - 1 }).toString();
  return size === "month" ? day.with({ day: 1 }).toString() : date;
}

/** The first day after the day, ISO week or month that begins on a date. */
export function endOf(start: string, size: Exclude<BucketSize, "none">): string {
  if (size === "day") return addDays(start, 1);
  return size === "week" ? addDays(start, 7) : Temporal.PlainDate.from(start).add({ months: 1 }).toString();
}

/** Every bucket of a period, in order, also those in which nothing is. */
export function bucketsOf(since: string, until: string, size: BucketSize): Bucket[] {
  if (size === "none") return [{ start: null, from: since, to: until }];
  const buckets: Bucket[] = [];
  for (let start = startOf(since, size); start < until; start = endOf(start, size)) {
    const end = endOf(start, size);
    buckets.push({ start, from: start < since ? since : start, to: end > until ? until : end });
  }
  return buckets;
}

/** What the first bucket of a period is compared with: the whole bucket before, or the period of equal length before. */
export function bucketBefore(first: Bucket, size: BucketSize): Bucket {
  if (size === "none" || first.start === null) {
    return { start: null, from: addDays(first.from, -daysBetween(first.from, first.to)), to: first.from };
  }
  const start = startOf(addDays(first.start, -1), size);
  return { start, from: start, to: first.start };
}

/** The ISO weeks, by their Mondays, that lie wholly in a bucket. */
export function wholeWeeksIn({ from, to }: Bucket): string[] {
  const weeks: string[] = [];
  for (let monday = startOf(from, "week"); addDays(monday, 7) <= to; monday = addDays(monday, 7)) {
    if (monday >= from) weeks.push(monday);
  }
  return weeks;
}
