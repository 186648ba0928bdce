// @ts-check
/**
 * Sends the reports of a job to ingest-metrics and says in the job summary what became of each. Whatever happens, the job goes on: the exit
 * code is 0, and what went wrong is a warning. Needs nothing but Node 20.19 or newer.
 */

import { appendFile, readdir, readFile, stat } from "node:fs/promises";
import { matchesGlob } from "node:path/posix";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";

/**
 * One report that is to be sent.
 * @typedef {{ report: string, label: string, suite: string, read: () => Promise<Body | Problem> }} Upload
 * @typedef {{ type: string, bytes: Uint8Array }} Body
 *
 * What went wrong, as sentences without anything secret; `forAll` when it holds for every other report as well.
 * @typedef {{ problem: string, details?: string[], forAll?: true }} Problem
 *
 * What became of a report.
 * @typedef {{ report: string, label: string, taken: boolean, text: string, details: string[] }} Row
 *
 * Where reports go, what is said about all of them, and what proves this job.
 * @typedef {{ url: string, parameters: Record<string, string | null | undefined>, mint: () => Promise<string | Problem> }} Way
 *
 * @typedef {(name: string) => string} Input
 * @typedef {{ env: Record<string, string | undefined>, print: (line: string) => void }} Runner
 */

const MEBIBYTE = 1024 * 1024;
/** No installation takes more (`INGEST_MAX_BYTES`). */
const LARGEST_FILE = 25 * MEBIBYTE;
const MOST_FILES = 500;
/** GitHub cuts a step's summary at 1 MiB and its annotations at 10. */
const MOST_ROWS = 200;
const MOST_ANNOTATIONS = 9;
const MOST_DETAILS = 5;
const REQUEST_MS = 30_000;
const LONGEST_WAIT_MS = 60_000;
const OIDC_MS = 10_000;
/** GitHub's tokens live longer than this; a job with many files asks again. */
const OIDC_AGE_MS = 240_000;

/** @type {Record<string, string>} */
const hints = {
  401: "The issuer, the audience or the expiry of the identity does not fit; see docs/identities.",
  403: "The identity does not permit this; see docs/identities.",
  404: "Is the source in the url right, and does an identity name it?",
  429: "Send fewer and larger files, or raise calls_per_minute of the identity.",
};

/**
 * Runs the action.
 *
 * @param {Runner} runner
 */
async function run({ env, print }) {
  /** @type {Input} */
  const input = (name) => (env[`INPUT_${name.toUpperCase()}`] ?? "").trim();
  const seconds = Number(input("timeout-seconds"));
  const deadline = Date.now() + 1000 * (seconds > 0 && seconds <= 3600 ? seconds : 120);

  /** @type {Row[]} */
  const rows = [];
  const uploads = await collect(input, rows, deadline);
  if (uploads.length > 0) {
    const way = await prepare({ env, print }, input);
    /** @type {Problem | null} */
    let away = "problem" in way ? way : null;
    for (const upload of uploads) {
      const answer = away ?? await send(upload, /** @type {Way} */ (way), deadline);
      if ("problem" in answer && answer.forAll) away = answer;
      rows.push(row(upload, answer));
    }
  }

  const missed = rows.filter(({ taken }) => !taken);
  const warnings = missed.map(({ label, text, details }) => `${label}: ${[text, ...details].join(" ")}`);
  if (rows.length === 0) warnings.push("There is nothing to send: junit, sarif, coverage and measurements are empty.");
  for (const warning of warnings.slice(0, MOST_ANNOTATIONS)) print(annotation(warning));
  const more = warnings.length - MOST_ANNOTATIONS;
  if (more > 0) print(annotation(`${more} more; the job summary says which.`));
  const sent = rows.length - missed.length;
  print(`${sent} sent, ${missed.length} not sent.`);
  await append(env.GITHUB_OUTPUT, `sent=${sent}\nnot-sent=${missed.length}\n`);
  await append(env.GITHUB_STEP_SUMMARY, rows.length > 0 ? summary(rows) : `### Metrics\n\n${warnings[0]}\n`);
}

/**
 * Where reports go, as whom and about what.
 *
 * @param {Runner} runner
 * @param {Input} input
 * @returns {Promise<Way | Problem>}
 */
async function prepare({ env, print }, input) {
  const address = readAddress(input("url"));
  if ("problem" in address) return address;
  const event = await readEvent(env);
  const token = input("token");
  if (/\s/.test(token)) return forAll("The token holds white space.");
  if (token) print(`::add-mask::${token}`);
  const mint = token
    ? () => Promise.resolve(token)
    : oidc(env, print, input("audience") || address.audience, event.isFork);
  return { url: address.url, parameters: context(env, input, token ? address.source : null, event), mint };
}

/**
 * Everything that the inputs name, in order. What cannot be sent at all becomes a row at once.
 *
 * @param {Input} input
 * @param {Row[]} rows
 * @param {number} deadline
 * @returns {Promise<Upload[]>}
 */
async function collect(input, rows, deadline) {
  /** @type {Upload[]} */
  const uploads = [];
  for (const report of ["junit", "sarif", "coverage"]) {
    /** @type {Set<string>} */
    const files = new Set();
    const patterns = input(report).split("\n").map((line) => line.trim()).filter(Boolean);
    for (const pattern of patterns) {
      const found = await filesOf(pattern, deadline);
      if (found.length === 0) rows.push(row({ report, label: pattern }, { problem: "No such file." }));
      for (const file of found) files.add(file);
    }
    const names = [...files].sort().slice(0, MOST_FILES);
    const more = files.size - names.length;
    if (more > 0) {
      rows.push(row({ report, label: `${more} files` }, { problem: `More than ${MOST_FILES} files are not sent.` }));
    }
    for (const name of names) {
      const suite = [input("suite"), suiteOf(name, patterns)].filter(Boolean).join("/");
      uploads.push({ report, label: name, suite, read: () => readReport(report, name) });
    }
  }
  const text = input("measurements");
  if (text) {
    const read = () => Promise.resolve(readMeasurements(text));
    uploads.push({ report: "measurements", label: "measurements", suite: input("suite"), read });
  }
  return uploads;
}

/**
 * What tells a file from the others of its input. It is part of the names of tests, so it hangs on what the workflow says and not on how
 * many files there are: nothing for one path, the path below what is plain of one pattern, and the whole path where there are several lines.
 *
 * @param {string} name
 * @param {string[]} patterns
 */
function suiteOf(name, patterns) {
  const [pattern = ""] = patterns;
  if (patterns.length > 1) return name;
  return name === normalised(pattern) ? "" : name.slice(plainPart(normalised(pattern)).length);
}

/** @param {string} pattern */
function normalised(pattern) {
  return (process.platform === "win32" ? pattern.replaceAll("\\", "/") : pattern).replace(/^(?:\.\/)+/, "");
}

/**
 * The folders of a pattern before its first wildcard.
 *
 * @param {string} pattern
 */
function plainPart(pattern) {
  return /^(?:[^*?{[\]\\]*\/)?/.exec(pattern)?.[0] ?? "";
}

/**
 * The files of a path or pattern, sorted. Folders named node_modules or .git, and folders behind links, are looked into only where the part
 * before the first wildcard names them.
 *
 * @param {string} given
 * @param {number} deadline
 * @returns {Promise<string[]>}
 */
async function filesOf(given, deadline) {
  const pattern = normalised(given);
  if (await isFile(pattern)) return [pattern];
  /** @type {string[]} */
  const files = [];
  /** @type {(folder: string) => Promise<void>} */
  const walk = async (folder) => {
    if (Date.now() > deadline) return;
    const entries = await readdir(folder || ".", { withFileTypes: true }).catch(() => []);
    for (const entry of entries) {
      const path = `${folder}${entry.name}`;
      if (entry.isDirectory()) {
        if (entry.name !== "node_modules" && entry.name !== ".git") await walk(`${path}/`);
      } else if (matchesGlob(path, pattern) && await isFile(path)) files.push(path);
    }
  };
  await walk(plainPart(pattern));
  return files.sort();
}

/** @param {string} path */
async function isFile(path) {
  return await stat(path).then((found) => found.isFile(), () => false);
}

/**
 * @param {string} report
 * @param {string} name
 * @returns {Promise<Body | Problem>}
 */
async function readReport(report, name) {
  try {
    const { size } = await stat(name);
    if (size === 0) return { problem: "The file is empty." };
    if (size > LARGEST_FILE) {
      const mebibytes = (size / MEBIBYTE).toFixed(1);
      return { problem: `The file has ${mebibytes} MiB, and no installation takes more than 25: split it.` };
    }
    const bytes = await readFile(name);
    return { type: typeOf(report, bytes), bytes };
  } catch {
    return { problem: "The file cannot be read." };
  }
}

/**
 * @param {string} report
 * @param {Uint8Array} bytes
 */
function typeOf(report, bytes) {
  if (report === "sarif") return "application/sarif+json";
  const start = new TextDecoder().decode(bytes.subarray(0, 256)).trimStart();
  return start.startsWith("<") ? "application/xml" : "text/plain";
}

/**
 * @param {string} text
 * @returns {Body | Problem}
 */
function readMeasurements(text) {
  const measurements = [];
  for (const [index, line] of text.split("\n").entries()) {
    if (line.trim() === "") continue;
    const found = /^\s*([^=\s][^=]*?)\s*=\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?:\s+(\S.*?))?\s*$/.exec(line);
    const value = Number(found?.[2]);
    if (!found || !Number.isFinite(value)) {
      return { problem: `Line ${index + 1} is not name=value or name=value unit.` };
    }
    measurements.push({ name: found[1], value, ...(found[3] ? { unit: found[3] } : {}) });
  }
  return { type: "application/json", bytes: new TextEncoder().encode(JSON.stringify(measurements)) };
}

/**
 * @param {string} text
 * @returns {{ url: string, source: string, audience: string } | Problem}
 */
function readAddress(text) {
  const found = /^(https?):\/\/([^/?#@\s]+)(?:\/[^?#\s]*)?\/ingest-metrics\/([a-z0-9]+(?:-[a-z0-9]+)*)\/?$/.exec(text);
  if (!found) {
    return {
      problem:
        "The url must end with the source, as in https://<project>.supabase.co/functions/v1/ingest-metrics/github.",
    };
  }
  if (found[1] === "http" && !/^(?:localhost|127\.0\.0\.1|\[::1\])(?::\d+)?$/.test(found[2] ?? "")) {
    return { problem: "The url must begin with https: what proves this job would be readable on the way." };
  }
  const url = text.replace(/\/$/, "");
  return { url, source: found[3] ?? "", audience: url.slice(0, url.lastIndexOf("/")) };
}

/**
 * What only the event's file says: the head of a pull request, where the workflow runs for its merge with the base, and whether it comes
 * from a fork.
 *
 * @param {Runner["env"]} env
 */
async function readEvent(env) {
  try {
    const { pull_request: pullRequest } = JSON.parse(await readFile(env.GITHUB_EVENT_PATH ?? "", "utf8"));
    if (!pullRequest) return { head: null, number: null, isFork: false };
    const { head, base, number } = pullRequest;
    return { head: `${head.sha}`, number: `${number}`, isFork: head.repo?.id !== base.repo.id };
  } catch {
    return { head: null, number: null, isFork: false };
  }
}

/**
 * The parameters of a request. An OIDC token claims most of them itself; with a token they are all said.
 *
 * @param {Runner["env"]} env
 * @param {(name: string) => string} input
 * @param {string | null} source of a token, null with OIDC
 * @param {{ head: string | null, number: string | null }} event
 */
function context(env, input, source, event) {
  /** @type {Record<string, string | null | undefined>} */
  const parameters = { job: input("job") || jobName(env, input("matrix")), commit: input("commit") || event.head };
  if (source) {
    const run = `${env.GITHUB_SERVER_URL}/${env.GITHUB_REPOSITORY}/actions/runs/${env.GITHUB_RUN_ID}`;
    Object.assign(parameters, {
      repository: `${source}:${env.GITHUB_REPOSITORY_ID}`,
      commit: parameters.commit || env.GITHUB_SHA,
      branch: env.GITHUB_HEAD_REF || (env.GITHUB_REF_TYPE === "branch" ? env.GITHUB_REF_NAME : null),
      run: env.GITHUB_RUN_ID,
      attempt: env.GITHUB_RUN_ATTEMPT,
      pull_request: event.number,
      pipeline: env.GITHUB_WORKFLOW,
      url: `${run}/attempts/${env.GITHUB_RUN_ATTEMPT}`,
    });
  }
  return parameters;
}

/**
 * The job as GitHub names it where the workflow does not: `test (20, ubuntu-24.04)`. Without the values, the jobs of a matrix would tell the
 * same fact.
 *
 * @param {Runner["env"]} env
 * @param {string} matrix
 */
function jobName(env, matrix) {
  /** @type {string[]} */
  const values = [];
  /** @type {(value: unknown) => void} */
  const add = (value) => {
    if (typeof value !== "object") values.push(`${value}`);
    else if (value !== null) Object.values(value).forEach(add);
  };
  try {
    add(JSON.parse(matrix || "null"));
  } catch {
    // Then there is none.
  }
  return `${env.GITHUB_JOB ?? ""}${values.length > 0 ? ` (${values.join(", ")})` : ""}`;
}

/**
 * What mints a token of this job, and keeps it for a while.
 *
 * @param {Runner["env"]} env
 * @param {Runner["print"]} print
 * @param {string} audience
 * @param {boolean} isFork
 * @returns {Way["mint"]}
 */
function oidc(env, print, audience, isFork) {
  const { ACTIONS_ID_TOKEN_REQUEST_URL: address, ACTIONS_ID_TOKEN_REQUEST_TOKEN: bearer } = env;
  /** @type {{ token: string, until: number } | null} */
  let cached = null;
  return async () => {
    if (!address || !bearer) {
      return forAll(
        isFork
          ? "GitHub gives no OIDC token to a pull request from a fork."
          : "GitHub gives no OIDC token to this job: it needs the permission id-token: write, or this action a token.",
      );
    }
    if (cached && Date.now() < cached.until) return cached.token;
    const url = new URL(address);
    url.searchParams.set("audience", audience);
    let said = "it did not answer";
    for (const pause of [0, 1000]) {
      await sleep(pause);
      try {
        const headers = { authorization: `Bearer ${bearer}`, accept: "application/json" };
        const response = await fetch(url, { headers, redirect: "error", signal: AbortSignal.timeout(OIDC_MS) });
        said = `it answered ${response.status}`;
        const token = response.ok ? (await response.json()).value : null;
        if (typeof token === "string" && /^\S+$/.test(token)) {
          print(`::add-mask::${token}`);
          cached = { token, until: Date.now() + OIDC_AGE_MS };
          return token;
        }
      } catch {
        // Tried again, then said.
      }
    }
    return forAll(`GitHub gave no OIDC token: ${said}.`);
  };
}

/**
 * @param {string} problem
 * @returns {Problem}
 */
function forAll(problem) {
  return { problem, forAll: true };
}

/**
 * Sends one report, and once more where that may help.
 *
 * @param {Upload} upload
 * @param {Way} way
 * @param {number} deadline
 * @returns {Promise<{ stored: string } | Problem>}
 */
async function send({ report, suite, read }, { url, parameters, mint }, deadline) {
  const body = await read();
  if ("problem" in body) return body;
  const target = new URL(`${url}/${report}`);
  for (const [name, value] of Object.entries({ ...parameters, suite })) {
    if (value) target.searchParams.set(name, value);
  }
  for (let isLast = false;; isLast = true) {
    const left = deadline - Date.now();
    if (left <= 0) return forAll("The time is over; see the input timeout-seconds.");
    const token = await mint();
    if (typeof token !== "string") return token;
    let wait = 1000;
    try {
      const response = await fetch(target, {
        method: "POST",
        headers: { authorization: `Bearer ${token}`, "content-type": body.type, accept: "application/json" },
        body: /** @type {Uint8Array<ArrayBuffer>} */ (body.bytes),
        // What proves this job goes to the address that was given, and nowhere else.
        redirect: "manual",
        signal: AbortSignal.timeout(Math.min(REQUEST_MS, left)),
      });
      const said = await readJson(response);
      if (response.status === 200) return { stored: describe(said) };
      wait = response.status === 429 || response.status === 503
        ? retryAfter(response.headers.get("retry-after"))
        : Infinity;
      if (isLast || Date.now() + wait >= deadline) return refusal(response.status, said);
    } catch {
      if (isLast || Date.now() + wait >= deadline) return forAll("The endpoint does not answer.");
    }
    await sleep(wait);
  }
}

/**
 * @param {Response} response
 * @returns {Promise<unknown>}
 */
async function readJson(response) {
  try {
    return JSON.parse((await response.text()).slice(0, MEBIBYTE));
  } catch {
    return null;
  }
}

/** @param {string | null} header */
function retryAfter(header) {
  const seconds = Number(header ?? "10");
  const wait = Number.isFinite(seconds) ? 1000 * seconds : Date.parse(header ?? "") - Date.now();
  return Math.min(LONGEST_WAIT_MS, Math.max(0, Number.isFinite(wait) ? wait : 10_000));
}

/**
 * @param {unknown} said
 * @returns {string}
 */
function describe(said) {
  const { result, facts } = /** @type {{ result?: unknown, facts?: unknown }} */ (said ?? {});
  if (result === "duplicate") return "Was there already.";
  const counts = Object.entries(facts ?? {}).filter(([kind, count]) =>
    /^[a-z_]+$/.test(kind) && Number.isInteger(count)
  );
  const words = counts.map(([kind, count]) => {
    const name = kind.replaceAll("_", " ");
    return `${count} ${count === 1 ? name.replace(/ies$/, "y").replace(/s$/, "") : name}`;
  });
  return words.length > 0 ? `Stored: ${words.join(", ")}.` : "Stored.";
}

/**
 * @param {number} status
 * @param {unknown} said
 * @returns {Problem}
 */
function refusal(status, said) {
  const { detail, errors } = /** @type {{ detail?: unknown, errors?: unknown }} */ (said ?? {});
  const sentences = [`Answered ${status}.`, ...(typeof detail === "string" ? [detail.slice(0, 500)] : [])];
  const hint = hints[status];
  if (hint) sentences.push(hint);
  const details = (Array.isArray(errors) ? errors : []).map((error) =>
    `${error?.place}: ${error?.detail ?? error?.code}`.slice(0, 300)
  );
  const more = details.length - MOST_DETAILS;
  return {
    problem: sentences.join(" "),
    details: [...details.slice(0, MOST_DETAILS), ...(more > 0 ? [`and ${more} more`] : [])],
    // The same credentials and the same address.
    ...(status === 401 || status === 404 ? { forAll: true } : {}),
  };
}

/**
 * @param {Pick<Upload, "report" | "label">} upload
 * @param {{ stored: string } | Problem} answer
 * @returns {Row}
 */
function row({ report, label }, answer) {
  if ("stored" in answer) return { report, label, taken: true, text: answer.stored, details: [] };
  return { report, label, taken: false, text: answer.problem, details: answer.details ?? [] };
}

/**
 * The job summary.
 *
 * @param {Row[]} rows
 */
function summary(rows) {
  const lines = rows.slice(0, MOST_ROWS).map(({ report, label, taken, text, details }) => {
    const result = [text, ...details].map(escape).join("<br>");
    return `| <code>${escape(label)}</code> | ${report} | ${taken ? "" : "**Not sent.** "}${result} |`;
  });
  const more = rows.length - lines.length;
  return [
    "### Metrics",
    "",
    "| from | report | result |",
    "| --- | --- | --- |",
    ...lines,
    ...(more > 0 ? ["", `And ${more} more.`] : []),
    "",
  ].join("\n");
}

/**
 * Text that is nothing but text in a table of Markdown: no code, no link, no mention, no cell.
 *
 * @param {string} text
 */
function escape(text) {
  return visible(text).replace(
    /[^\p{L}\p{M}\p{N} ,.:;()/=+%?'-]|:(?! )|(?<=www)\./giu,
    (character) => `&#${character.codePointAt(0)};`,
  );
}

/**
 * Characters that are not to be seen, or that turn the direction, as their numbers.
 *
 * @param {string} text
 */
function visible(text) {
  return text.replace(
    /[\p{C}\p{Zl}\p{Zp}]/gu,
    (character) => `\\u${(character.codePointAt(0) ?? 0).toString(16).padStart(4, "0")}`,
  );
}

/**
 * A warning as a workflow command.
 *
 * @param {string} text
 */
function annotation(text) {
  return `::warning title=Metrics not sent::${visible(text).replaceAll("%", "%25")}`;
}

/**
 * @param {string | undefined} path
 * @param {string} text
 */
async function append(path, text) {
  if (path) await appendFile(path, text).catch(() => {});
}

const print = (/** @type {string} */ line) => process.stdout.write(`${line}\n`);
const giveUp = () => print(annotation("This action failed."));
process.on("uncaughtException", giveUp);
process.on("exit", () => process.exitCode = 0);
await run({ env: process.env, print }).catch(giveUp);
// A connection that is kept open would hold the job.
setTimeout(() => process.exit(0), 1000).unref();
