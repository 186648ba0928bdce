import { join, relative } from "@std/path";

/** A file that an app's repository gets from this one. */
export interface Source {
  /** Its path here; what it is known by from one release to the next. */
  source: string;
  /** Its path there; a migration's is decided when it is installed. */
  path: string;
  text: string;
  isMigration: boolean;
}

/** The folder of an app's repository that holds what is no part of its Supabase project. */
export const home = "metrics";

/** Where the list of what was written lies. */
export const manifestPath: string = `${home}/manifest.json`;

/** Our workflows that deploy; an app's repository checks our files by a workflow of its own. */
const workflows = ["supabase-schema-deploy.yml", "rollback.yml", "drift.yml"];

/**
 * Everything that an app's repository gets, in the order of the migrations.
 *
 * @param from the folder of this repository
 */
export async function sourcesOf(from: string): Promise<Source[]> {
  const found: Source[] = [];
  const add = async (source: string, path: string, change: (text: string) => string = (text) => text) => {
    const text = change(await Deno.readTextFile(join(from, source)));
    found.push({ source, path, text, isMigration: source.startsWith("supabase/migrations/") });
  };
  const isShipped = (path: string) => !/(_test|\.test)\.ts$|\/testing\.ts$/.test(path);

  for (const path of filesBelow(from, "supabase/migrations")) await add(path, path);
  for (const path of filesBelow(from, "supabase/functions/ingest-metrics").filter(isShipped)) {
    await add(path, path);
    // The gates read what a delivery means by the function's own code.
    await add(path, `${home}/${path}`);
  }
  for (const path of filesBelow(from, "supabase/tests")) {
    await add(path, path.replace("supabase/tests/", "supabase/tests/metrics/"));
  }
  for (const folder of ["tools/deploy", "tools/stack"]) {
    for (const path of filesBelow(from, folder).filter(isShipped)) await add(path, `${home}/${path}`);
  }
  for (
    const path of ["deno.lock", ".gitignore", ".squawk.toml", "supabase/config.toml", "tests/examples/sample.json"]
  ) {
    await add(path, `${home}/${path}`);
  }
  // An app's repository may have a file of that name below supabase.
  await add("supabase/schema.sql", `${home}/schema.sql`);
  await add("deno.json", `${home}/deno.json`, withoutTasks);
  for (const name of workflows) {
    await add(`.github/workflows/${name}`, `.github/workflows/metrics-${name}`, fromHome);
  }
  await add("tools/install/ci.yml", ".github/workflows/metrics-ci.yml", fromHome);
  return found;
}

/** The task `deploy` alone: the others need the rest of our repository. */
function withoutTasks(text: string): string {
  const { tasks, ...rest } = JSON.parse(text);
  return `${JSON.stringify({ ...rest, tasks: { deploy: tasks.deploy } }, null, 2)}\n`;
}

/** A workflow whose commands find our tasks beside the app's own, and the app's `supabase` folder. */
function fromHome(text: string): string {
  return text.replaceAll(
    /\bdeno@([\d.]+) task deploy (\w+)/g,
    `deno@$1 task --config ${home}/deno.json deploy $2 --root=.`,
  );
}

/** Paths of all files below a folder, relative to `from`, in their order. */
function filesBelow(from: string, folder: string): string[] {
  const paths: string[] = [];
  for (const { name, isDirectory, isFile } of Deno.readDirSync(join(from, folder))) {
    if (isDirectory) paths.push(...filesBelow(from, `${folder}/${name}`));
    else if (isFile) paths.push(relative(from, join(from, folder, name)).replaceAll("\\", "/"));
  }
  return paths.sort();
}
