import { join } from "@std/path";
import type { Sql } from "postgres";
import { advisors } from "./advisors.ts";
import type { Cluster } from "../stack/cluster.ts";
import { repository, squawkCommand } from "../stack/packages.ts";
import { run } from "../stack/process.ts";
import { Sentence } from "../stack/sentence.ts";
import { almostOurName, type Migration, ourName, readMigrations } from "./migrations.ts";
import { type Finding, type GateContext, type GateResult, Report, shortened } from "./result.ts";
import { judge, statementsOf, tablesOf } from "./rules.ts";
import { difference, schemaFileOf, schemaText } from "./schema.ts";
import {
  failureOf,
  fillWithSamples,
  pushToScratch,
  type Scratch,
  scratchCluster,
  scratchDatabase,
  tornApart,
  traced,
} from "./scratch.ts";
import { changesBeyond, OURS, systemCatalogs } from "./surroundings.ts";

/** How {@link runValidate} is called. */
export interface ValidateOptions extends GateContext {
  /** A commit or tag whose migrations of ours must be here unedited; default: the newest release. */
  base?: string | undefined;
  /** A running cluster for the scratch database; default: one of its own. */
  cluster?: Cluster | undefined;
}

/**
 * Judges our migrations before they meet a database that matters: their names and order, their text by Postgres' own parser, squawk,
 * and what they do to a scratch database as hosted projects have it, applied once, again, and again with data. The app's migrations
 * pass unjudged.
 */
export async function runValidate(options: ValidateOptions): Promise<GateResult> {
  const report = new Report("validate", null, options);
  const all = await readMigrations(options.root);
  const ours = all.filter(({ isOurs }) => isOurs);
  report.find(...await names(options.root, all));
  for (const migration of ours) report.find(...await judge(migration));
  report.find(...await squawk(options.root, ours));
  report.find(...await edited(options, ours, report));
  if (ours.length === 0) {
    report.find({
      code: "no_migrations",
      sentence:
        "There is no migration of ours (<14 digits>_metrics_<capability>.sql): install them, or name the folder with --root.",
    });
  }
  report.note(
    `${ours.length} migrations of ours were read, and ${all.length - ours.length} of the app's, which pass unjudged.`,
  );
  if (report.ok) {
    const own = options.cluster ? undefined : await scratchCluster();
    try {
      await using scratch = await scratchDatabase(options.cluster ?? own!);
      await tryOut(scratch, options, ours, report);
    } finally {
      await own?.server.stop();
    }
  } else report.note("They were not applied to a scratch database, because of what is wrong with their text.");
  if (report.ok) report.note("Our migrations are in order.");
  return report.result({ migrations: ours.map(({ name, sha256 }) => ({ name, sha256 })) });
}

/** What is wrong with the names of the files. */
async function names(root: string, migrations: Migration[]): Promise<Finding[]> {
  const findings: Finding[] = [];
  // A file whose name the CLI does not understand is never applied; one that only looks like ours is not judged.
  for await (const { name } of Deno.readDir(join(root, "supabase", "migrations"))) {
    if (almostOurName.test(name) && !ourName.test(name)) {
      findings.push({
        code: "name",
        file: `supabase/migrations/${name}`,
        sentence:
          "Its name looks like one of ours, but is not <14 digits>_metrics_<capability>.sql, with the capability in lower case and " +
          "underscores: rename it, so that it is judged and applied.",
      });
    }
  }
  const alone = await isOwnRepository(root);
  for (const [index, { file, version, isOurs, name }] of migrations.entries()) {
    if (alone && !isOurs && !almostOurName.test(name)) {
      findings.push({
        code: "not_ours",
        file,
        sentence:
          "There is no app in this repository, so it would be applied everywhere and judged by nobody: name it " +
          "<14 digits>_metrics_<capability>.sql, or put it into the app's repository.",
      });
    }
    const twin = migrations.find((other, place) => place < index && other.version === version);
    if (twin && (isOurs || twin.isOurs)) {
      findings.push({
        code: "version_taken",
        file,
        sentence:
          `Its version ${version} is that of ${twin.name}, too, and the history holds each once: give ours a later time.`,
      });
    }
    if (isOurs && !hasDate(version)) {
      findings.push({
        code: "name",
        file,
        sentence:
          `${version}, which ${name} begins with, has no date: its version is the time in UTC as YYYYMMDDHHMMSS.`,
      });
    }
  }
  return findings;
}

/** Whether fourteen digits begin with a date. The others put files of one day in their order, and need be no time of it. */
function hasDate(version: string): boolean {
  const day = version.replace(/^(\d{4})(\d\d)(\d\d).*$/, "$1-$2-$3");
  const time = new Date(`${day}T00:00:00Z`);
  return !Number.isNaN(time.getTime()) && time.toISOString().startsWith(day);
}

/** What squawk finds. */
async function squawk(root: string, migrations: Migration[]): Promise<Finding[]> {
  if (migrations.length === 0) return [];
  const paths = migrations.map(({ file }) => join(root, file));
  const { stdout, stderr } = await run(
    [...squawkCommand(), "--config", join(repository, ".squawk.toml"), "--reporter", "json", ...paths],
  );
  let found: { rule_name: string; file: string; line: number; message: string; help?: string | null }[];
  try {
    found = JSON.parse(stdout || "[]");
  } catch {
    throw new Sentence(`squawk cannot be run: ${stderr.trim().split("\n")[0] ?? "it said nothing"}`);
  }
  // Of these two we say more ourselves.
  const said = ["syntax-error", "transaction-nesting"];
  return found.filter(({ rule_name }) => !said.includes(rule_name)).map((
    { rule_name, file, line, message, help },
  ) => ({
    code: `squawk_${rule_name.replaceAll("-", "_")}`,
    file: migrations.find((_, index) => paths[index] === file)?.file ?? file,
    sentence: `squawk (${rule_name}), line ${line + 1}: ${message}${help ? ` ${help}` : ""}`,
  }));
}

/** Whether a folder is the repository of these tools, and not an app's that ours were installed into. */
async function isOwnRepository(root: string): Promise<boolean> {
  if (await installedFiles(root)) return false;
  return await Deno.stat(join(root, "tools", "deploy", "validate.ts")).then(() => true, () => false);
}

/** What was installed into an app's repository, by path; undefined in our own, which has releases instead. */
async function installedFiles(root: string): Promise<Record<string, { sha256: string }> | undefined> {
  const text = await Deno.readTextFile(join(root, "metrics", "manifest.json")).catch(() => undefined);
  return text === undefined ? undefined : JSON.parse(text).files;
}

/** The finding for a migration that is not as it was installed. */
function editedByHand({ file }: Migration): Finding {
  return {
    code: "installed_edited",
    file,
    sentence:
      "It is not as it was installed (metrics/manifest.json): put it back as it was. What the app needs of its own belongs into a " +
      "migration of the app's, with another name.",
  };
}

/** What is wrong with migrations that were released before. */
async function edited(options: ValidateOptions, ours: Migration[], report: Report): Promise<Finding[]> {
  const git = async (...words: string[]) => await run(["git", "-C", options.root, ...words]).catch(() => undefined);
  let { base } = options;
  if (base === undefined) {
    const installed = await installedFiles(options.root);
    if (installed) return ours.filter(({ file, sha256 }) => installed[file]?.sha256 !== sha256).map(editedByHand);
    const changes = await Deno.readTextFile(join(options.root, "CHANGELOG.md")).catch(() => "");
    if (!/^## \[?[1-9]\d*\.\d+\.\d+/m.test(changes)) {
      report.note("Nothing was released yet (CHANGELOG.md), so migrations may still be edited in place.");
      return [];
    }
    const tags = await git("tag", "--merged", "HEAD", "--sort=-version:refname", "--list", "v[1-9]*");
    base = tags?.stdout.split("\n")[0]?.trim();
  } else if (base.startsWith("-")) throw new Sentence("--base takes the name of a commit or tag.");
  const listed = base && await git("ls-tree", "-r", "--name-only", "-z", base, "--", "supabase/migrations");
  if (!base || !listed || listed.code !== 0) {
    return [{
      code: "base_unknown",
      sentence: base
        ? `The commit ${base} is not in this clone, so nobody knows what was released: fetch it, with its history and tags.`
        : "CHANGELOG.md names a release, but this clone has no tag of it (v1.0.0 and so on): fetch the tags, or name a commit with --base.",
    }];
  }
  const findings: Finding[] = [];
  const released = listed.stdout.split("\0").filter((path) => ourName.test(path.split("/").at(-1)!));
  const here = new Map(ours.map((migration) => [migration.file, migration]));
  for (const file of released) {
    const before = (await git("show", `${base}:${file}`))?.stdout;
    if (!here.has(file)) {
      findings.push({
        code: "released_removed",
        file,
        sentence:
          `It was released with ${base} and is not here any more: databases have it in their history, so put it back.`,
      });
    } else if (here.get(file)!.sql !== before) {
      findings.push({
        code: "released_edited",
        file,
        sentence:
          `It was released with ${base} and has been edited since, which no database that has it would notice: put it back ` +
          "as it was, and add a new migration with the change.",
      });
    }
  }
  const last = released.map((file) => file.split("/").at(-1)!).sort().at(-1);
  for (const { file, name } of ours) {
    if (last && !released.includes(file) && name < last) {
      findings.push({
        code: "out_of_order",
        file,
        sentence: `It is new, but stands before ${last}, which was released: give it the time of now.`,
      });
    }
  }
  return findings;
}

/** An app beside which our migrations are tried, with a user and a row in the history. */
const neighbour: Migration = {
  name: "20000101000000_neighbour.sql",
  file: "supabase/migrations/20000101000000_neighbour.sql",
  version: "20000101000000",
  isOurs: false,
  sha256: "",
  sql: `
    create table public.neighbours (id int primary key, note text);
    insert into public.neighbours values (1, 'one'), (2, 'two');
    create table public.notes (id bigint generated always as identity primary key, text text);
    insert into public.notes (text) values ('one'), ('two');
    create sequence public.neighbour_numbers;
    select nextval('public.neighbour_numbers');
    create function public.neighbour() returns int language sql as 'select 1';
    create view public.neighbour_view as select * from public.neighbours;
    insert into auth.users (id, email)
    values ('00000000-0000-4000-8000-000000000001', 'dev-1@example.com');
  `,
};

/** Applies our migrations to a scratch database once, again, and again with data. */
async function tryOut(scratch: Scratch, options: ValidateOptions, ours: Migration[], report: Report): Promise<void> {
  // As the CLI would leave it, which takes longer.
  await scratch.asPostgres((sql) =>
    sql.unsafe(`
      ${neighbour.sql}
      create schema supabase_migrations;
      create table ${history} (version text not null primary key, statements text[], name text);
      insert into ${history} values ('${neighbour.version}', '{}', 'neighbour');
    `)
  );
  const before = await scratch.asAdmin(async (sql) => ({
    catalogs: await systemCatalogs(sql),
    rows: await rowsBeside(sql),
  }));
  const findWrites = async (sql: Sql) => {
    const after = await rowsBeside(sql);
    const written = [...new Set([...before.rows.keys(), ...after.keys()])].filter((name) =>
      before.rows.get(name) !== after.get(name)
    );
    for (const name of written) {
      report.find({
        code: "touches_outside",
        sentence: name === history
          ? `Applying them changes what ${history} says of the app's migrations: the history is the CLI's alone.`
          : `Applying them writes into ${name}, which is a table or sequence of the app or the platform.`,
      });
    }
  };

  if (!await apply(scratch, options, ours, report)) return;
  const first = await scratch.asAdmin(schemaText);
  await scratch.asAdmin(async (sql) => {
    const changes = changesBeyond(before.catalogs, await systemCatalogs(sql), OURS);
    const reached = [
      ...new Set(changes.map(({ belongsTo, catalog }) => `${belongsTo || "the database"} (${catalog})`)),
    ];
    for (const what of reached) {
      const global = changes.some(({ catalog, row }) =>
        catalog === "pg_default_acl" && what.includes(catalog) && row.includes('"defaclnamespace": "0"')
      );
      report.find({
        code: global ? "global_default_privilege" : "touches_outside",
        sentence: global
          ? "Applying them sets a default privilege for every schema, so for what the app creates, too."
          : `Applying them changes ${what}, which lies outside the schema metrics and is the app's.`,
      });
    }
    await findWrites(sql);
    report.find(...await accessFindings(sql, await tablesOf(ours)));
  });
  const expected = await Deno.readTextFile(schemaFileOf(options.root)).catch(() => undefined);
  const sentence = expected === undefined ? "supabase/schema.sql is missing." : difference(expected, first);
  if (sentence) report.find({ code: "schema_differs", file: "supabase/schema.sql", sentence });
  report.find(...await advisors({ ...options, target: scratch.target }));
  if (!report.ok) return;
  report.note("Applied to a scratch database, they leave supabase/schema.sql and touch nothing of an app.");

  for (const what of ["on the database that they made", "on one with data"]) {
    if (what !== "on the database that they made") await scratch.asPostgres(fillWithSamples);
    const contents = await scratch.asAdmin(contentsOf);
    await scratch.asAdmin((sql) =>
      sql`delete from supabase_migrations.schema_migrations where version <> ${neighbour.version}`
    );
    if (!await apply(scratch, options, ours, report, what)) return;
    const again = await scratch.asAdmin(schemaText);
    const different = difference(first, again);
    if (different) {
      report.find({
        code: "not_re_runnable",
        sentence: `Applied again ${what}, they leave another schema:\n${different.split("\n").slice(1, -1).join("\n")}`,
      });
    }
    await scratch.asAdmin(findWrites);
    const after = await scratch.asAdmin(contentsOf);
    const changed = Object.keys({ ...contents, ...after }).filter((name) => contents[name] !== after[name]);
    if (changed.length > 0) {
      report.find({
        code: "not_re_runnable",
        sentence: `Applied again ${what}, they change the rows of ${changed.join(", ")}.`,
      });
    }
    if (!report.ok) return;
    report.note(`Applied again ${what}, they change neither catalog nor data.`);
  }
}

async function apply(
  scratch: Scratch,
  options: ValidateOptions,
  ours: Migration[],
  report: Report,
  again?: string,
): Promise<boolean> {
  const mayCommit = new Set<string>();
  for (const migration of again ? [] : ours) {
    const statements = await statementsOf(migration);
    const isBlock = ({ type }: { type: string }) => type === "DoStmt" || type === "CallStmt";
    if (Array.isArray(statements) && statements.some(isBlock)) mayCommit.add(migration.name);
  }
  const files = ours.map((migration) => mayCommit.has(migration.name) ? traced(migration) : migration);
  const outcome = await pushToScratch(scratch, [neighbour, ...files], options.env);
  if (outcome.code === 0) return true;
  const { name, number: place, statement, cause } = failureOf(outcome);
  if (name && cause.includes(tornApart)) {
    report.find({
      code: "transaction_control",
      file: `supabase/migrations/${name}`,
      sentence:
        "If its last statement failed, what stands before it would stay: something in it ends the transaction, in a block or a " +
        "procedure that it calls.",
    });
    return false;
  }
  const number = place !== undefined && name && mayCommit.has(name) ? place - 1 : place;
  report.find({
    code: again ? "not_re_runnable" : "migration_fails",
    ...(name ? { file: `supabase/migrations/${name}` } : {}),
    ...(statement ? { statement: shortened(statement) } : {}),
    sentence:
      `${
        again ? `Applied again ${again}, it` : "It"
      } fails on a database as hosted projects have it, where postgres is no superuser` +
      `${number ? `, in statement ${number}${statement ? ` (${shortened(statement)})` : ""}` : ""}: ${cause}`,
  });
  return false;
}

/** What is wrong with who may reach the schema metrics of a database. */
export async function accessFindings(sql: Sql, files: Map<string, string> = new Map()): Promise<Finding[]> {
  const at = (name: string) => {
    const file = files.get(name.replace(/\(.*$/, ""));
    return file ? { file } : {};
  };
  const tables = await sql<{ name: string }[]>`
    select format('%I.%I', n.nspname, c.relname) as name
    from pg_catalog.pg_class as c join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    where n.nspname = 'metrics' and c.relkind in ('r', 'p') and not c.relrowsecurity
    order by 1`;
  const findings: Finding[] = tables.map(({ name }) => ({
    code: "rls_missing",
    ...at(name),
    sentence:
      `The table ${name} has no row level security, so a grant would open every row of it: alter table ${name} enable row ` +
      "level security.",
  }));
  const grants = await sql<{ name: string; grantee: string; kind: string; privileges: string }[]>`
    with metrics as (select oid, nspname, nspacl, nspowner from pg_catalog.pg_namespace where nspname = 'metrics'),
    objects as (
      select 'schema' as kind, nspname::text as name, nspacl as acl, acldefault('n', nspowner) as usual from metrics
      union all
      select 'table', format('%I.%I', m.nspname, c.relname), c.relacl, null
      from pg_catalog.pg_class as c join metrics as m on m.oid = c.relnamespace
      union all
      select 'table', format('%I.%I', m.nspname, c.relname), a.attacl, null
      from pg_catalog.pg_attribute as a join pg_catalog.pg_class as c on c.oid = a.attrelid join metrics as m on m.oid = c.relnamespace
      union all
      select 'function', format('%I.%I(%s)', m.nspname, p.proname, pg_get_function_identity_arguments(p.oid)), p.proacl,
        acldefault('f', p.proowner)
      from pg_catalog.pg_proc as p join metrics as m on m.oid = p.pronamespace
    )
    select o.kind, o.name, case when e.grantee = 0 then 'public' else 'anon' end as grantee,
      string_agg(lower(e.privilege_type), ', ' order by e.privilege_type) as privileges
    from objects as o cross join lateral aclexplode(coalesce(o.acl, o.usual)) as e
    where e.grantee = 0 or e.grantee = to_regrole('anon')
    group by o.kind, o.name, 3
    order by o.name, 3`;
  for (const { kind, name, grantee, privileges } of grants) {
    findings.push({
      code: grantee === "anon" ? "grants_to_anon" : "grants_to_public",
      ...at(name),
      sentence: kind === "function" && grantee === "public"
        ? `Everybody may execute ${name}, as Postgres lets them unless told otherwise: revoke execute on function ${name} from public, in ` +
          "the statement after its creation."
        : `${grantee} has ${privileges} on the ${kind} ${name}, and must have nothing: revoke it.`,
    });
  }
  findings.push(...await bypassFindings(sql, at), ...await readerFindings(sql));
  const leaning = await sql<{ what: string; on: string }[]>`
    select distinct pg_describe_object(d.classid, d.objid, 0) as what, on_.identity as on
    from pg_catalog.pg_depend as d
    cross join lateral pg_identify_object(d.classid, d.objid, 0) as mine
    cross join lateral pg_identify_object(d.refclassid, d.refobjid, 0) as on_
    where d.refobjid >= 16384
      -- A view's rule, a constraint, a trigger, a policy and a default have no schema of their own.
      and (mine.schema = 'metrics' or mine.identity ~ '(^| )(on|for) metrics[.]')
      and on_.schema not in ('metrics', 'pg_catalog', 'information_schema', 'pg_toast', 'extensions')
      and d.classid <> 'pg_catalog.pg_namespace'::regclass
      -- Who is signed in is asked of auth.uid() and its like, which are there on every project.
      and not (on_.schema = 'auth' and d.refclassid = 'pg_catalog.pg_proc'::regclass)`;
  for (const { what, on } of leaning) {
    findings.push({
      code: "touches_outside",
      sentence:
        `The ${what} leans on ${on}, which the app could then not change or drop: read it in a function's body instead.`,
    });
  }
  return findings;
}

/** What lets somebody past row level security although it is enabled. */
async function bypassFindings(sql: Sql, at: (name: string) => { file?: string }): Promise<Finding[]> {
  const found = await sql<{ kind: string; name: string; table: string | null }[]>`
    select 'view' as kind, format('%I.%I', n.nspname, c.relname) as name, null as table
    from pg_catalog.pg_class as c join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    where n.nspname = 'metrics' and c.relkind = 'v'
      and not coalesce(
        (select o.option_value::boolean from pg_options_to_table(c.reloptions) as o where o.option_name = 'security_invoker'),
        false
      )
    union all
    select 'function', format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)), null
    from pg_catalog.pg_proc as p join pg_catalog.pg_namespace as n on n.oid = p.pronamespace
    where n.nspname = 'metrics' and p.prosecdef
      and not exists (select from unnest(p.proconfig) as setting where setting like 'search_path=%')
    union all
    select 'policy', l.polname::text, format('%I.%I', n.nspname, c.relname)
    from pg_catalog.pg_policy as l
    join pg_catalog.pg_class as c on c.oid = l.polrelid
    join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    where n.nspname = 'metrics' and (0 = any(l.polroles) or to_regrole('anon')::oid = any(l.polroles))
    order by 1, 2`;
  return found.map(({ kind, name, table }) =>
    kind === "view"
      ? {
        code: "view_bypasses_rls",
        ...at(name),
        sentence:
          `The view ${name} reads with its owner's rights, past row level security: create it with (security_invoker = true).`,
      }
      : kind === "function"
      ? {
        code: "search_path_missing",
        ...at(name),
        sentence:
          `${name} is security definer without a search_path, so its caller chooses what its names mean: set search_path = ''.`,
      }
      : {
        code: "policy_for_everybody",
        ...at(table!),
        sentence: `The policy ${name} on ${table} is for everybody, anon among them: name the roles that it is for.`,
      }
  );
}

/** What the readers' role may beyond what the migrations gave it, and whether the job of pg_cron is ours. */
async function readerFindings(sql: Sql): Promise<Finding[]> {
  const options = await sql<{ what: string }[]>`
    select o.what
    from pg_catalog.pg_roles as r
    cross join lateral (values
      ('login', r.rolcanlogin), ('bypassrls', r.rolbypassrls), ('superuser', r.rolsuper), ('createrole', r.rolcreaterole),
      ('createdb', r.rolcreatedb), ('replication', r.rolreplication)
    ) as o (what, has)
    where r.rolname = 'metrics_reader' and o.has
    order by 1`;
  const memberships = await sql<{ member: string; role: string }[]>`
    select m.rolname as member, 'metrics_reader' as role
    from pg_catalog.pg_roles as m, pg_catalog.pg_roles as r
    where r.rolname = 'metrics_reader' and m.rolname in ('anon', 'authenticated', 'authenticator')
      and pg_has_role(m.oid, r.oid, 'member')
    union all
    select 'metrics_reader', r.rolname
    from pg_catalog.pg_auth_members as a join pg_catalog.pg_roles as r on r.oid = a.roleid
    where a.member = to_regrole('metrics_reader')
    order by 1, 2`;
  const settings = await sql<{ setting: string }[]>`
    select split_part(s.setting, '=', 1) as setting
    from pg_catalog.pg_db_role_setting as d cross join lateral unnest(d.setconfig) as s (setting)
    where d.setrole = to_regrole('metrics_reader')
      and d.setdatabase in (0, (select oid from pg_catalog.pg_database where datname = current_database()))
    order by 1`;
  return [
    ...options.map(({ what }) => ({
      code: "reader_role",
      sentence:
        `The role metrics_reader has ${what}, and is a group with nothing of its own: alter role metrics_reader no${what}.`,
    })),
    ...memberships.map(({ member, role }) => ({
      code: "reader_role",
      sentence: `The role ${member} is a member of ${role}, so ${
        member === "metrics_reader"
          ? "every reader may what that may"
          : "everybody whom the app's API lets in is a reader"
      }: revoke ${role} from ${member}.`,
    })),
    ...settings.map(({ setting }) => ({
      code: "reader_role",
      sentence:
        `The role metrics_reader sets ${setting}, which no migration of ours does: alter role metrics_reader reset ${setting}.`,
    })),
    ...await jobFindings(sql),
  ];
}

/** Whether pg_cron runs our job as the migrations say; nothing where this role does not see its jobs. */
async function jobFindings(sql: Sql): Promise<Finding[]> {
  const [may] = await sql<{ see: boolean; all: boolean }[]>`
    select
      coalesce(has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select'), false) as see,
      -- Others see their own jobs only.
      current_user = (select nspowner::regrole::text from pg_catalog.pg_namespace where nspname = 'metrics') as all
    from pg_catalog.pg_class as c join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    where n.nspname = 'cron' and c.relname = 'job'`;
  if (!may?.see) return [];
  const jobs = await sql<{ schedule: string; command: string; active: boolean }[]>`
    select schedule, command, active from cron.job where jobname = 'metrics-maintain'`;
  const isOurs = jobs.every(({ schedule, command, active }) =>
    schedule === "*/10 * * * *" && command === "select metrics.maintain()" && active
  );
  if (isOurs && (jobs.length === 1 || !may.all)) return [];
  return [{
    code: "job_differs",
    sentence: jobs.length === 0
      ? "pg_cron does not run metrics-maintain, so nothing old is ever dropped: select cron.schedule('metrics-maintain', " +
        "'*/10 * * * *', 'select metrics.maintain()')."
      : "pg_cron runs metrics-maintain otherwise than the migrations say: it is every ten minutes, active, and " +
        "select metrics.maintain().",
  }];
}

/** The table that holds the history of migrations. */
const history = "supabase_migrations.schema_migrations";

/** A text for the rows of each table and sequence outside the schema metrics; of the history, for the app's alone. */
async function rowsBeside(sql: Sql): Promise<Map<string, string>> {
  const relations = await sql<{ name: string; kind: string }[]>`
    select format('%I.%I', n.nspname, c.relname) as name, c.relkind as kind
    from pg_catalog.pg_class as c join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    where c.relkind in ('r', 'm', 'S') and c.relpersistence <> 't'
      and n.nspname not in ('metrics', 'pg_catalog', 'information_schema', 'pg_toast')`;
  const rows = new Map<string, string>();
  for (const { name, kind } of relations) {
    const [row] = await sql.unsafe<{ rows: string }[]>(
      kind === "S"
        ? `select concat(last_value, ' ', is_called) as rows from ${name}`
        : `select coalesce(string_agg(t.xmin::text || ' ' || t::text, E'\\n' order by t::text collate "C"), '') as rows
          from ${name} as t ${name === history ? `where version = '${neighbour.version}'` : ""}`,
    );
    rows.set(name, row!.rows);
  }
  return rows;
}

/** A text for the rows of each table of the schema metrics, the same as long as no row is another. */
async function contentsOf(sql: Sql): Promise<Record<string, string>> {
  const tables = await sql<{ name: string }[]>`
    select format('%I.%I', n.nspname, c.relname) as name
    from pg_catalog.pg_class as c join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    where n.nspname = 'metrics' and c.relkind = 'r'`;
  const contents: Record<string, string> = {};
  for (const { name } of tables) {
    const [row] = await sql.unsafe(
      `select md5(coalesce(string_agg(t::text, E'\\n' order by t::text collate "C"), '')) as hash, count(*) as rows from ${name} as t`,
    );
    contents[name] = `${row?.hash} ${row?.rows}`;
  }
  return contents;
}
