// Puts the schema metrics on the Data API's list of schemas, or takes it off. The list is the app's: what stands on it is read,
// one name is added or removed, and the rest is written back as it was.
import { type GateContext, type GateResult, Report } from "./result.ts";
import { managedProject, projectUrl, publishableKey, servedState, until } from "./project.ts";
import { callManagementApi, connect, nameOf, type Target } from "./target.ts";

/** How to change what the Data API serves. */
export interface ExposeOptions extends GateContext {
  target: Target;
  /** Takes `metrics` off the list instead of putting it on. */
  remove?: boolean | undefined;
  /** Changes nothing and only says whether `metrics` is on the list, or with `remove` that it is not. */
  check?: boolean | undefined;
  /** Milliseconds that the Data API has to follow, default a minute. */
  wait?: number | undefined;
}

const ours = "metrics";

/** The gate `expose`. */
export async function runExpose(options: ExposeOptions): Promise<GateResult> {
  const { target, env, remove = false, check = false } = options;
  const report = new Report("expose", nameOf(target), options);
  if (check) {
    await findExposure(options, report, !remove);
    if (report.ok) report.note(`The Data API ${remove ? "neither lists nor serves" : "lists and serves"} metrics.`);
  } else if (remove) await unexpose(options, report);
  else {
    const sql = await connect(target, env);
    const [row] = await sql<{ exists: boolean }[]>`select to_regnamespace('metrics') is not null as exists`
      .finally(() => sql.end({ timeout: 5 }));
    if (row?.exists) await change(options, report, "add");
    else {
      report.find({
        code: "schema_missing",
        sentence:
          "The database has no schema metrics, and a list that names a missing schema takes the whole Data API down, the app's " +
          "requests too: push the migrations first.",
      });
    }
  }
  return report.result({ schemas: (await exposed(options)).schemas });
}

/** The list of schemas that the Data API serves, as it is written and by name. */
export async function exposed({ target, env }: Pick<ExposeOptions, "target" | "env">) {
  const { db_schema: text } = await callManagementApi<{ db_schema: string }>(
    managedProject(target, env),
    env,
    "postgrest",
  );
  return { text, schemas: text.split(",").map((name) => name.trim()).filter(Boolean) };
}

/** Finds whether the list and the Data API itself say that `metrics` is served, or is not. */
export async function findExposure(
  options: Pick<ExposeOptions, "target" | "env">,
  report: Report,
  shouldBe = true,
): Promise<void> {
  const { schemas } = await exposed(options);
  if (schemas.includes(ours) !== shouldBe) {
    report.find({
      code: shouldBe ? "not_exposed" : "still_exposed",
      sentence: shouldBe
        ? "The Data API does not list the schema metrics: run the gate expose."
        : "The Data API still lists the schema metrics: run the gate expose with --off.",
    });
    return;
  }
  const { url, key } = await addressOf(options);
  const state = await servedState(url, key, ours);
  if (state !== (shouldBe ? "served" : "not_exposed")) report.find(notFollowing(shouldBe, state, 0));
}

/**
 * Takes `metrics` off the list and waits until the Data API says so.
 *
 * @returns whether it is off; if not, the report says why
 */
export async function unexpose(options: ExposeOptions, report: Report): Promise<boolean> {
  return await change(options, report, "remove");
}

/** The project's origin, and its key for clients. */
async function addressOf({ target, env }: Pick<ExposeOptions, "target" | "env">) {
  return { url: projectUrl(target, env), key: await publishableKey(target, env) };
}

async function change(options: ExposeOptions, report: Report, what: "add" | "remove"): Promise<boolean> {
  const { target, env, wait = 60_000 } = options;
  const project = managedProject(target, env);
  const { url, key } = await addressOf(options);
  const { text: before, schemas } = await exposed(options);
  const others = schemas.filter((name) => name !== ours);
  const wanted = what === "add" ? [...others, ours] : others;
  if (schemas.length === 0 && what === "remove") {
    report.note("The Data API of this project is switched off, so it serves metrics neither.");
    return true;
  }
  // A project of our own may serve metrics alone.
  if (others.length === 0 && (what === "remove" || schemas.length === 0)) {
    report.find({
      code: "no_other_schema",
      sentence: schemas.length === 0
        ? "The Data API of this project is switched off: switch it on in its settings, with the schemas that the app needs."
        : "metrics is the only schema on the Data API's list, and an empty list switches it off: add another one, for example public, first.",
    });
    return false;
  }
  const write = (db_schema: string) =>
    callManagementApi(project, env, "postgrest", { method: "PATCH", body: { db_schema } });
  const isThere = schemas.includes(ours) === (what === "add");
  if (isThere) {
    report.note(`The Data API's list ${what === "add" ? "names metrics already" : "does not name metrics"}.`);
  } else {
    const separator = /,\s*/.exec(before)?.[0] ?? ",";
    await write(what === "add" ? `${before}${separator}${ours}` : wanted.join(separator));
    const after = (await exposed(options)).schemas;
    if (after.join() !== wanted.join()) {
      report.find({
        code: "list_not_kept",
        sentence:
          `The Data API's list should be ${wanted.join(", ")} and is ${
            after.join(", ")
          }: somebody else may have changed it ` +
          "just now. See that it names every schema that the app needs, and run this again.",
      });
      return false;
    }
    report.note(`The Data API's list was ${schemas.join(", ")} and is now ${wanted.join(", ")}.`);
  }
  const state = await until(
    () => servedState(url, key, ours),
    (state) => state === (what === "add" ? "served" : "not_exposed"),
    wait,
  );
  const [first] = others;
  const app = first === undefined ? "served" : await until(
    () => servedState(url, key, first),
    (state) => state === "served",
    Math.min(wait, 10_000),
  );
  if (app !== "served") {
    report.find({
      code: "app_rest_down",
      sentence: `The Data API does not serve the app's schema ${first} (${app === "down" ? "503" : app}). ` +
        (what === "add" && !isThere
          ? "The list was put back as it was."
          : "See whether every schema on its list exists."),
    });
    if (what === "add" && !isThere) await write(before);
    return false;
  }
  if (state !== (what === "add" ? "served" : "not_exposed")) {
    report.find(notFollowing(what === "add", state, wait));
    return false;
  }
  report.note(
    `The Data API ${what === "add" ? "serves" : "does not serve"} metrics` +
      (first === undefined ? "." : `, and serves ${others.join(", ")}.`),
  );
  return true;
}

function notFollowing(shouldBe: boolean, state: string, wait: number) {
  const after = wait > 0 ? ` after ${Math.round(wait / 1000)} s` : "";
  return {
    code: "data_api_not_following",
    sentence: state === "down"
      ? `The Data API serves nothing${after} (503): see whether the database runs and every schema on its list exists.`
      : shouldBe
      ? `The Data API does not serve metrics${after}, though its list names it: run this again in a minute.`
      : `The Data API still serves metrics${after}, though its list does not name it: run this again in a minute.`,
  };
}
