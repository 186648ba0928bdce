/** What a first screen shows, put together from the other numbers; and whether deliveries come in. Part of the model. */

import { pipelineHealth, pullRequestCycleTime, ruleCompliance, testHealth } from "./model_ci.ts";
import { dora, type NumberRow } from "./model_dora.ts";
import { servicesOf } from "./model_services.ts";
import { compareText } from "./model_values.ts";
import { rowsOf, type Seen, textOf } from "./model_world.ts";

/** The five numbers of DORA, the phases of pull requests, and how pipelines, tests and rules do. */
export function overview(world: Seen, given: Record<string, unknown>): NumberRow[] {
  const [pipelines] = pipelineHealth(world, given) as [NumberRow];
  const [tests] = testHealth(world, given) as [NumberRow];
  const [rules] = ruleCompliance(world, given) as [NumberRow];
  const take = (row: NumberRow, ...columns: string[]) =>
    Object.fromEntries(columns.map((column) => [column, row[column]]));
  const one = (
    section: string,
    metric: string,
    value: unknown,
    unit: string,
    sample_size: unknown,
    from: NumberRow,
  ) => ({
    section,
    metric,
    value,
    unit,
    reason: value !== null ? null : from["reason"] ?? "too_few",
    band: null,
    sample_size,
    previous_value: null,
    trend: null,
  });
  const ofPipelines = (metric: string, column: string, sample_size: unknown, unit: string, ...beside: string[]) => ({
    ...one("pipelines", metric, pipelines[column], unit, sample_size, pipelines),
    detail: take(pipelines, ...beside),
  });
  return [
    ...dora(world, given).map((row): NumberRow => ({
      section: "dora",
      ...take(row, "metric", "value", "unit", "reason", "band", "sample_size", "previous_value", "trend"),
      detail: row["notes"],
    })),
    ...pullRequestCycleTime(world, given).map((row) => ({
      ...one("pull_requests", String(row["phase"]), row["p50_seconds"], "seconds", row["sample_size"], row),
      detail: take(row, "p75_seconds", "p95_seconds", "pull_requests"),
    })),
    ofPipelines(
      "success_rate",
      "success_rate",
      ["failure", "timed_out", "error"].reduce<number | null>(
        (sum, outcome) => added(sum, pipelines[outcome]),
        pipelines["success"] as number | null,
      ),
      "ratio",
      "first_try_success_rate",
      "final_success_rate",
      "rerun_rate",
    ),
    ...["duration", "queue"].map((what) =>
      ofPipelines(
        what,
        `${what}_p50_seconds`,
        pipelines[`${what}_sample_size`],
        "seconds",
        `${what}_p75_seconds`,
        `${what}_p95_seconds`,
      )
    ),
    {
      ...one("tests", "pass_rate", tests["pass_rate"], "ratio", added(tests["passed"], tests["failed"]), tests),
      detail: take(tests, "runs", "passed", "failed", "skipped"),
    },
    {
      ...one("rules", "compliance", rules["rate"], "ratio", rules["checks"], rules),
      detail: take(rules, "compliant", "violation", "warning"),
    },
  ].map((row) => renamed(row));
}

/** Percentiles stand under their own names beside what they belong to. */
function renamed({ detail, ...row }: NumberRow): NumberRow {
  if (detail === null || typeof detail !== "object") return { ...row, detail };
  return {
    ...row,
    detail: Object.fromEntries(
      Object.entries(detail).map(([name, value]) => [name.replace(/^(duration|queue)_(p\d+_seconds)$/, "$2"), value]),
    ),
  };
}

function added(a: unknown, b: unknown): number | null {
  return a === null || b === null ? null : Number(a) + Number(b);
}

/** What came from each source, and whether anything did; when is not known here. Only who sees everything sees any. */
export function ingestHealth(world: Seen): NumberRow[] {
  const deliveries = rowsOf(world.tables, "deliveries");
  const services = new Set(servicesOf(world).map(({ name }) => name.toLowerCase()));
  return [...Map.groupBy(deliveries, (row) => row["source"] as string)].map(([source, some]) => {
    const of = (result: string) => some.filter((row) => row["result"] === result);
    return {
      source,
      last_received_at: "received",
      seconds_since_last: "received",
      stored: of("stored").length,
      ignored: of("ignored").length,
      quarantined: of("quarantined").length,
      unknown_words: countsOf(unknownWords(world, source)),
      last_stored_at: of("stored").length > 0 ? "received" : null,
      ignored_reasons: countsOf(of("ignored").map((row) => row["reason"] as string)),
      quarantined_reasons: countsOf(of("quarantined").map((row) => row["reason"] as string)),
      unknown_services: countsOf(
        rowsOf(world.tables, "incidents")
          .filter((row) =>
            row["source"] === source && row["is_withdrawn"] !== true && textOf(row, "repository") === null
          )
          .map((row) => textOf(row, "service"))
          .filter((service) => service !== null && !services.has(service.toLowerCase())) as string[],
      ),
      reason: null,
    };
  }).sort((a, b) => compareText(a.source, b.source));
}

/** Words for outcomes that no mapping knows, of references that are the source's own, or of URLs that it told about. */
function unknownWords(world: Seen, source: string): string[] {
  const told = new Set(
    rowsOf(world.tables, "deliveries").filter((row) => row["source"] === source)
      .flatMap((row) => row["references"] as unknown as string[]),
  );
  const isItsOwn = (reference: string) =>
    reference.startsWith("//") ? told.has(reference) : reference.split(":", 1)[0] === source;
  return ["pipeline_runs", "jobs", "deployments"].flatMap((kind) => rowsOf(world.tables, kind))
    .filter((row) => row["outcome"] === "unknown" && isItsOwn(row["repository"] as string))
    .map((row) => textOf(row, "provider_outcome"))
    .filter((word) => word !== null);
}

function countsOf(words: readonly string[]): Record<string, number> {
  return Object.fromEntries([...Map.groupBy(words, (word) => word)].map(([word, some]) => [word, some.length]));
}
