/** What a migration of ours may hold, judged from its text alone, by the tree that Postgres' own parser makes of it. */

import { parse } from "libpg-query";
import { asSql, calledIn, endsTransaction, partsOf, qualifiedIn } from "./bodies.ts";
import type { Migration } from "./migrations.ts";
import { type Finding, shortened } from "./result.ts";

/** A node of a parsed statement. Its shape is Postgres' own: https://github.com/pganalyze/libpg_query, protobuf/pg_query.proto. */
// deno-lint-ignore no-explicit-any
type Node = any;

/** One statement of a file. */
export interface Statement {
  text: string;
  /** What kind it is, for example `CreateStmt`. */
  type: string;
  node: Node;
}

/** The longest that a statement of ours may wait for a lock, and may take: milliseconds. */
const longest = { lock_timeout: 5_000, statement_timeout: 600_000 };

/** Schemas whose functions and types ours may use: they are there on every project. */
const common = ["metrics", "pg_catalog", "information_schema"];

/** The only job of pg_cron that is ours. */
const ourJob = "metrics-maintain";

/** Settings that a migration may change beside its time-outs, for itself alone: later migrations share its session. */
const localSettings = ["client_min_messages", "check_function_bodies", "maintenance_work_mem", "work_mem"];

/** Functions that reach beyond the schema metrics, whatever they are given. */
const farReaching = /^(dblink.*|lo_.*|pg_terminate_backend|pg_cancel_backend|pg_reload_conf|pg_switch_wal|pg_promote)$/;

/** Statements that end the transaction which the CLI makes of a file. */
const breakers: Record<string, (node: Node) => boolean> = {
  IndexStmt: (node) => node.concurrent === true,
  DropStmt: (node) => node.concurrent === true,
  ReindexStmt: (node) => (node.params ?? []).some(({ DefElem }: Node) => DefElem.defname === "concurrently"),
  VacuumStmt: (node) => node.is_vacuumcmd === true,
  ClusterStmt: () => true,
};

/**
 * The statements of a file.
 *
 * @returns the statements, or the finding that it cannot be parsed
 */
export async function statementsOf({ file, sql }: Pick<Migration, "file" | "sql">): Promise<Statement[] | Finding> {
  if (withoutComments(sql) === "") return [];
  const bytes = new TextEncoder().encode(sql);
  try {
    const { stmts } = await parse(sql) as { stmts?: { stmt: Node; stmt_location?: number; stmt_len?: number }[] };
    return (stmts ?? []).map(({ stmt, stmt_location = 0, stmt_len }) => {
      const end = stmt_len ? stmt_location + stmt_len : bytes.length;
      const text = new TextDecoder().decode(bytes.subarray(stmt_location, end));
      const [type, node] = Object.entries(stmt)[0]!;
      return { text: withoutComments(text), type, node };
    });
  } catch (error) {
    const { message, cursorPosition } = (error as { sqlDetails?: { message: string; cursorPosition: number } })
      .sqlDetails ?? { message: "it is no SQL", cursorPosition: 0 };
    const before = new TextDecoder().decode(bytes.subarray(0, cursorPosition));
    return {
      code: "syntax_error",
      file,
      sentence: `Postgres cannot parse it: ${message} in line ${before.split("\n").length}.`,
    };
  }
}

/** A statement without the comments that stand before it. */
export function withoutComments(text: string): string {
  return text.replace(/^(?:\s+|--[^\n]*(?:\n|$)|\/\*[\s\S]*?\*\/)+/, "").trim();
}

/** Everything that is wrong with one migration of ours, judged by itself. */
export async function judge(migration: Migration): Promise<Finding[]> {
  const { file, sql } = migration;
  const statements = await statementsOf(migration);
  if (!Array.isArray(statements)) return [statements];
  const findings: Finding[] = [];
  const find = (code: string, sentence: string, statement?: Statement) =>
    findings.push({ code, file, sentence, ...(statement ? { statement: shortened(statement.text) } : {}) });

  if (/^\s*--\s*pg-delta:\s*transaction\s*=\s*false/i.test(sql)) {
    find(
      "transaction_control",
      'Its first line turns the transaction of the file off, so a failure would leave half of it: remove "-- pg-delta: transaction=false".',
    );
  }
  judgeTimeouts(statements, find);
  for (const statement of statements) {
    judgeStatement(statement, statements, find);
    await judgeBody(statement, find);
  }
  return findings;
}

/** The texts of the bodies that a statement holds: a DO block's, or a function's. */
function bodiesOf({ type, node }: Statement): string[] {
  if (type === "DoStmt") return [optionOf(node.args, "as")?.String?.sval ?? ""];
  if (type === "CreateFunctionStmt") return words(optionOf(node.options, "as")?.List?.items ?? []);
  return [];
}

/** Judges what stands in a DO block as if it stood alone, and in a function's body what no function may do. */
async function judgeBody(statement: Statement, find: Find): Promise<void> {
  for (const body of bodiesOf(statement)) {
    if (endsTransaction(body)) {
      find(
        "transaction_control",
        "Its body ends the transaction, so a failure after it would leave half of the file: remove commit and rollback from it.",
        statement,
      );
    }
    if (statement.type === "CreateFunctionStmt") {
      for (const name of new Set(calledIn(body))) {
        if (farReaching.test(name)) find("touches_outside", calls(name), statement);
      }
    }
  }
  if (statement.type !== "DoStmt") return;
  const language = optionOf(statement.node.args, "language")?.String?.sval ?? "plpgsql";
  if (language !== "plpgsql") {
    find("unjudged", `It is written in ${language}, which is not read here: write it in plpgsql.`, statement);
    return;
  }
  for (const part of bodiesOf(statement).flatMap(partsOf)) {
    const { forms, isStatement } = asSql(withoutComments(part));
    let inner: Statement[] | undefined;
    for (const sql of forms) {
      const parsed = await statementsOf({ file: "", sql });
      if (!Array.isArray(parsed)) continue;
      inner = parsed;
      break;
    }
    const text = withoutComments(part);
    if (inner === undefined) {
      if (isStatement) {
        find(
          "unjudged",
          "This statement in its body cannot be read by itself, so nobody knows what it reaches: write it more plainly.",
          { ...statement, text },
        );
      }
      for (const name of qualifiedIn(part)) {
        if (appSchemas.includes(name[0]!)) find("touches_outside", outside(name.join(".")), { ...statement, text });
      }
    }
    for (const found of inner ?? []) {
      if (found.type === "TransactionStmt") continue;
      // SELECT INTO fills a variable here, where at the top it would create a table.
      const node = found.type === "SelectStmt" ? { ...found.node, intoClause: undefined } : found.node;
      judgeStatement({ ...found, node, text }, [], find);
      await judgeBody({ ...found, text }, find);
    }
  }
}

/** Schemas of the platform and of apps, by which a name is told from a variable's field. */
const appSchemas = "public auth storage realtime vault net graphql extensions supabase_migrations supabase_functions"
  .split(" ");

type Find = (code: string, sentence: string, statement?: Statement) => void;

function judgeTimeouts(statements: Statement[], find: Find): void {
  const settings = statements.map((statement) => ({ statement, ...settingOf(statement) }));
  const first = settings.slice(0, 2).map(({ name }) => name).sort();
  if (first.join() !== "lock_timeout,statement_timeout") {
    find(
      "time_outs_missing",
      "It must begin with its time-outs, so that a statement which cannot go on gives up instead of keeping the app waiting: " +
        "set lock_timeout = '2s'; set statement_timeout = '60s';",
    );
  }
}

/** Judges what a statement does to the settings of its session, by SET or by a function. */
function judgeSettings(statement: Statement, find: Find): void {
  const { name, milliseconds } = settingOf(statement);
  if (name === "lock_timeout" || name === "statement_timeout") {
    if (milliseconds === undefined || milliseconds <= 0 || milliseconds > longest[name]) {
      find(
        "time_out_unbounded",
        `${name} must be set to a time of at most ${
          longest[name] / 1000
        } s, which ends a wait; 0 and default mean for ever.`,
        statement,
      );
    }
  } else if (name !== undefined && !isRole(name) && !(localSettings.includes(name) && statement.node.is_local)) {
    find("setting", settingSentence(name), statement);
  }
  for (const { FuncCall: call } of nodesOf(statement, "FuncCall")) {
    if (word(call.funcname.at(-1)) !== "set_config") continue;
    const name = textOf(call.args?.[0])?.toLowerCase();
    if (name === undefined) find("setting", settingSentence("a setting that only shows when it runs"), statement);
    else if (isRole(name)) find("touches_outside", becomesRole, statement);
    else find("setting", settingSentence(name), statement);
  }
}

const isRole = (setting: string) => setting === "role" || setting === "session_authorization";
const becomesRole = "It becomes another role: everything of ours is done by the role that applies the migrations.";
const settingSentence = (name: string) =>
  `It sets ${name}, and later migrations, the app's among them, share the session: set lock_timeout and statement_timeout at the ` +
  `beginning, by "set local" ${localSettings.join(", ")}, and nothing else.`;

/** The text of a constant; undefined when it is none. */
const textOf = (node: Node): string | undefined =>
  node?.A_Const?.sval?.sval ?? (node?.TypeCast ? textOf(node.TypeCast.arg) : undefined);

/** The setting that a statement sets, and the time where it is one. */
function settingOf({ type, node }: Statement): { name?: string; milliseconds?: number } {
  if (type !== "VariableSetStmt") return {};
  if (node.kind === "VAR_RESET_ALL") return { name: "lock_timeout" };
  const value = node.args?.[0]?.A_Const;
  const text = value?.sval?.sval ?? (value?.ival ? `${value.ival.ival ?? 0}` : undefined);
  const match = /^\s*(\d+(?:\.\d+)?)\s*(us|ms|s|min|h|d)?\s*$/.exec(text ?? "");
  if (!match || node.kind !== "VAR_SET_VALUE") return { name: node.name };
  const unit = { us: 0.001, ms: 1, s: 1_000, min: 60_000, h: 3_600_000, d: 86_400_000 }[match[2] ?? "ms"]!;
  return { name: node.name, milliseconds: Number(match[1]) * unit };
}

function judgeStatement(statement: Statement, all: Statement[], find: Find): void {
  const { type, node } = statement;
  if (type === "TransactionStmt") {
    find(
      "transaction_control",
      "It holds a transaction of its own, and the CLI then runs the file statement by statement, so a failure would leave half of " +
        "it: remove begin, commit and the like; each file is one transaction by itself.",
      statement,
    );
    return;
  }
  judgeSettings(statement, find);
  judgeCalls(statement, find);
  if (breakers[type]?.(node)) {
    const others = all.filter((other) => other !== statement && other.type !== "VariableSetStmt");
    if (others.length > 0) {
      find(
        "transaction_control",
        "It cannot run in a transaction, so the CLI commits what stands before it: give it a file of its own, with the time-outs and " +
          "nothing else.",
        statement,
      );
    }
  }
  if (type === "AlterDefaultPrivilegesStmt") {
    const schemas = optionOf(node.options, "schemas")?.List?.items?.map(word) ?? [];
    if (schemas.length === 0) {
      find(
        "global_default_privilege",
        "It sets a default privilege for every schema, so for what the app creates, too, and outlives the schema metrics: say " +
          '"in schema metrics", or grant and revoke on each object.',
        statement,
      );
    } else if (schemas.some((name: string) => name !== "metrics")) {
      find("touches_outside", outside(schemas.filter((name: string) => name !== "metrics").join(", ")), statement);
    }
  }
  const grantees = granteesOf(statement);
  for (const grantee of ["anon", "public"]) {
    if (grantees.includes(grantee)) {
      find(
        grantee === "anon" ? "grants_to_anon" : "grants_to_public",
        grantee === "anon"
          ? "It grants to anon, whom everybody is who has the app's public key: metrics are for members only, so grant to " +
            "authenticated, behind a policy."
          : "It grants to public, which is every role, anon among them: name the role that needs it.",
        statement,
      );
    }
  }
  if (type === "AlterTableStmt") {
    for (const { AlterTableCmd: command } of node.cmds ?? []) {
      if (command.subtype === "AT_DisableRowSecurity") {
        find(
          "disables_rls",
          "It disables row level security, so everybody with a grant would read every row: leave it enabled and change the policy.",
          statement,
        );
      }
      if (command.subtype === "AT_ChangeOwner") find("touches_outside", changesOwner, statement);
    }
  }
  if (type === "DropStmt" && node.removeType === "OBJECT_SCHEMA" && node.objects.map(word).includes("metrics")) {
    find(
      "drops_schema",
      "It drops the schema metrics, which takes the whole Data API down while that lists it: deno task deploy remove does it in the " +
        "right order.",
      statement,
    );
  }
  const reached = new Set(outsideNames(statement));
  for (const name of reached) find("touches_outside", outside(name), statement);
  const kind = reached.size > 0 ? undefined : outsideKind(statement);
  if (kind) find("touches_outside", kind, statement);
}

/** Judges the functions that a statement calls, where their names alone do not tell what they reach. */
function judgeCalls(statement: Statement, find: Find): void {
  for (const { FuncCall: call } of nodesOf(statement, "FuncCall")) {
    const name = word(call.funcname.at(-1));
    const schema = call.funcname.length > 1 ? word(call.funcname[0]) : undefined;
    if (farReaching.test(name)) find("touches_outside", calls(name), statement);
    if (schema === "cron" && textOf(call.args?.[0]) !== ourJob) {
      find(
        "touches_outside",
        `It changes a job of pg_cron that is not ours: the only one of ours is ${ourJob}.`,
        statement,
      );
    }
    if (name === "nextval" || name === "setval") {
      const argument = call.args?.[0];
      const serial = argument?.FuncCall;
      const sequence = serial && word(serial.funcname.at(-1)) === "pg_get_serial_sequence"
        ? textOf(serial.args?.[0])
        : textOf(argument);
      if (!sequence?.startsWith("metrics.")) {
        find("touches_outside", outside(sequence ?? "a sequence that only shows when it runs"), statement);
      }
    }
  }
}

const calls = (name: string) => `It calls ${name}, which reaches beyond the schema metrics: ours stay within it.`;

const outside = (name: string) =>
  `It reaches ${name}, which lies outside the schema metrics and is the app's: ours may create, alter, grant on, write and lean ` +
  "on nothing but metrics.";
const changesOwner = "It changes an owner: everything of ours belongs to the role that applies the migrations.";

/** A word of a list, for example of a qualified name. */
const word = (node: Node): string => node?.String?.sval ?? "";

const optionOf = (options: Node[] | undefined, name: string): Node =>
  options?.find(({ DefElem }) => DefElem.defname === name)?.DefElem.arg;

/** Whom a statement grants to; `public` for everybody. */
function granteesOf({ type, node }: Statement): string[] {
  const grant = type === "GrantStmt" ? node : type === "AlterDefaultPrivilegesStmt" ? node.action : undefined;
  if (!grant?.is_grant) return [];
  return grant.grantees.map(({ RoleSpec }: Node) =>
    RoleSpec.roletype === "ROLESPEC_PUBLIC" ? "public" : RoleSpec.rolename
  );
}

/** Names outside the schema metrics that a statement creates, changes, writes or leans on. */
function* outsideNames(statement: Statement): Iterable<string> {
  const { node, type } = statement;
  const withs = new Set<string>();
  for (const [kind, inner] of nodes(statement)) if (kind === "CommonTableExpr") withs.add(inner.ctename);
  for (const name of targets(statement)) {
    const [schema, ...rest] = name;
    // What has no schema lies where the search_path says, which is public.
    if (rest.length === 0) yield `${schema} (without a schema)`;
    else if (schema !== "metrics") yield name.filter(Boolean).join(".");
  }
  // A trigger's or an operator's function, a foreign key's table, a column's type.
  for (const [kind, inner] of nodes(statement)) {
    const { schemaname, relname } = inner;
    if ((kind === "RangeVar" || relname !== undefined) && schemaname && !common.includes(schemaname)) {
      yield `${schemaname}.${relname}`;
    }
    const names: Node[] | undefined = kind === "FuncCall" || kind === "funccall"
      ? inner.funcname
      : kind === "TypeName" || kind === "typeName" || kind === "returnType" || kind === "argType"
      ? inner.names
      : undefined;
    if (names && names.length > 1 && ![...common, "auth", "cron"].includes(word(names[0]))) {
      yield names.map(word).join(".");
    }
  }
  // A name in a text, as in 'public.notes'::regclass: whether the app has it must not decide what ours do.
  const inText = [
    ...nodesOf(statement, "TypeCast").filter(({ TypeCast }) => /^reg/.test(word(TypeCast.typeName.names.at(-1)))).map((
      { TypeCast },
    ) => TypeCast.arg),
    ...nodesOf(statement, "FuncCall").filter(({ FuncCall }) => /^to_reg/.test(word(FuncCall.funcname.at(-1)))).map((
      { FuncCall },
    ) => FuncCall.args?.[0]),
  ];
  for (const node of inText) {
    const [, schema, name] = /^"?(\w+)"?[.](.+)$/.exec(textOf(node) ?? "") ?? [];
    if (schema && ![...common, "auth", "cron"].includes(schema)) yield `${schema}.${name}`;
  }
  if (type === "CreateTrigStmt" && !common.includes(word(node.funcname[0])) && node.funcname.length > 1) {
    yield node.funcname.map(word).join(".");
  }
}

/** Every node below a statement that has a name of its own, with that. */
function* nodes(statement: Statement): Iterable<[string, Node]> {
  const open: [string, Node][] = [[statement.type, statement.node]];
  for (let next = open.pop(); next; next = open.pop()) {
    const [kind, node] = next;
    if (node === null || typeof node !== "object") continue;
    if (!Array.isArray(node)) yield [kind, node];
    for (const [name, inner] of Object.entries(node)) open.push([Array.isArray(node) ? kind : name, inner]);
  }
}

/** The nodes of a kind below a statement, each in an object with that key. */
function nodesOf(statement: Statement, kind: string): Node[] {
  const found: Node[] = [];
  const search = (node: Node): void => {
    if (node === null || typeof node !== "object") return;
    if (!Array.isArray(node) && node[kind]) found.push(node);
    for (const inner of Object.values(node)) search(inner);
  };
  search(statement.node);
  return found;
}

const relation = (range: Node): string[] => [...(range.schemaname ? [range.schemaname] : []), range.relname];
const words = (list: Node[]): string[] => list.map(word);
const itemsOf = (object: Node): string[] => words(object.List?.items ?? []);

/** An object of DROP, COMMENT, ALTER ... RENAME and the like, by its kind, as a qualified name; undefined for one without a schema. */
function named(kind: string, object: Node): string[] | undefined {
  if (object?.RangeVar) return relation(object.RangeVar);
  if (object === undefined) return undefined;
  if (object?.ObjectWithArgs) return words(object.ObjectWithArgs.objname);
  if (object?.TypeName) return words(object.TypeName.names);
  if (kind === "OBJECT_SCHEMA") return [object.String?.sval ?? "", ""];
  if (kind === "OBJECT_DOMCONSTRAINT") return words(object.List?.items?.[0]?.TypeName?.names ?? []);
  const items = itemsOf(object);
  // schema, table, and the name of the column or policy
  if (["OBJECT_COLUMN", "OBJECT_POLICY", "OBJECT_TRIGGER", "OBJECT_RULE", "OBJECT_TABCONSTRAINT"].includes(kind)) {
    return items.slice(0, -1);
  }
  return items.length > 0 ? items : undefined;
}

/** The qualified names of what a statement creates, changes or writes. */
function targets({ type, node }: Statement): string[][] {
  switch (type) {
    case "CreateStmt":
    case "IndexStmt":
    case "AlterTableStmt":
    case "CreateTrigStmt":
    case "InsertStmt":
    case "UpdateStmt":
    case "DeleteStmt":
    case "MergeStmt":
    case "RuleStmt":
      return [relation(node.relation)];
    case "CreateTableAsStmt":
      return [relation(node.into.rel)];
    case "ViewStmt":
      return [relation(node.view)];
    case "CreateSeqStmt":
    case "AlterSeqStmt": {
      const owner = words(optionOf(node.options, "owned_by")?.List?.items ?? []).slice(0, -1);
      return [relation(node.sequence), ...(owner.length > 0 ? [owner] : [])];
    }
    case "SelectStmt":
      return node.intoClause ? [relation(node.intoClause.rel)] : [];
    case "CallStmt":
      return [words(node.funccall.funcname)];
    case "ClusterStmt":
    case "ReindexStmt":
    case "RefreshMatViewStmt":
      return node.relation ? [relation(node.relation)] : [];
    case "VacuumStmt":
      return (node.rels ?? []).map(({ VacuumRelation }: Node) => relation(VacuumRelation.relation));
    case "CreatePolicyStmt":
    case "AlterPolicyStmt":
      return [relation(node.table)];
    case "CreateFunctionStmt":
      return [words(node.funcname)];
    case "AlterFunctionStmt":
      return [words(node.func.objname)];
    case "CreateEnumStmt":
    case "CreateRangeStmt":
    case "AlterEnumStmt":
      return [words(node.typeName)];
    case "CompositeTypeStmt":
      return [relation(node.typevar)];
    case "CreateDomainStmt":
      return [words(node.domainname)];
    case "AlterDomainStmt":
      return [words(node.typeName)];
    case "CreateStatsStmt":
    case "DefineStmt":
      return [words(node.defnames)];
    case "CreateSchemaStmt":
      return [[node.schemaname, ""]];
    case "TruncateStmt":
      return (node.relations as Node[]).map(({ RangeVar }) => relation(RangeVar));
    case "LockStmt":
      return (node.relations as Node[]).map(({ RangeVar }) => relation(RangeVar));
    case "DropStmt":
      return (node.objects as Node[]).map((object) => named(node.removeType, object) ?? []).filter((name) =>
        name.length
      );
    case "CommentStmt":
      return [named(node.objtype, node.object) ?? []].filter((name) => name.length);
    case "RenameStmt":
      if (node.relation) return [relation(node.relation)];
      if (node.renameType === "OBJECT_SCHEMA") return [[node.subname, ""], [node.newname, ""]];
      return [named(node.renameType, node.object) ?? []].filter((name) => name.length);
    case "AlterObjectSchemaStmt":
      return [
        [node.newschema, ""],
        node.relation ? relation(node.relation) : named(node.objectType, node.object) ?? [],
      ].filter((name) => name.length);
    case "GrantStmt": {
      if (node.targtype === "ACL_TARGET_ALL_IN_SCHEMA") return (node.objects as Node[]).map((name) => [word(name), ""]);
      return (node.objects as Node[]).map((object) => {
        if (object.String) return node.objtype === "OBJECT_SCHEMA" ? [word(object), ""] : [node.objtype, word(object)];
        return named(node.objtype, object) ?? [];
      }).filter((name) => name.length);
    }
    default:
      return [];
  }
}

/** Kinds of statements whose reach the names in them tell. */
const known = new Set([
  ..."CreateStmt IndexStmt AlterTableStmt CreateTrigStmt InsertStmt UpdateStmt DeleteStmt MergeStmt RuleStmt".split(
    " ",
  ),
  ..."CreateTableAsStmt ViewStmt CreateSeqStmt AlterSeqStmt CreatePolicyStmt AlterPolicyStmt CreateFunctionStmt".split(
    " ",
  ),
  ..."AlterFunctionStmt CreateEnumStmt CreateRangeStmt AlterEnumStmt CompositeTypeStmt CreateDomainStmt".split(" "),
  ..."AlterDomainStmt CreateStatsStmt DefineStmt CreateSchemaStmt TruncateStmt LockStmt DropStmt CommentStmt".split(
    " ",
  ),
  ..."RenameStmt AlterObjectSchemaStmt GrantStmt AlterDefaultPrivilegesStmt SelectStmt DoStmt CallStmt".split(" "),
  ..."VacuumStmt ReindexStmt ClusterStmt RefreshMatViewStmt".split(" "),
]);

/** Objects that belong to the database or to the whole server. */
const global = new Set([
  "OBJECT_ACCESS_METHOD",
  "OBJECT_CAST",
  "OBJECT_DATABASE",
  "OBJECT_EVENT_TRIGGER",
  "OBJECT_EXTENSION",
  "OBJECT_FDW",
  "OBJECT_FOREIGN_SERVER",
  "OBJECT_LANGUAGE",
  "OBJECT_PUBLICATION",
  "OBJECT_SUBSCRIPTION",
  "OBJECT_TABLESPACE",
]);

/** What to say of a statement that works on no named object of a schema, undefined when it stays within ours. */
function outsideKind({ type, node }: Statement): string | undefined {
  switch (type) {
    case "VariableSetStmt":
      return isRole(node.name ?? "") ? becomesRole : undefined;
    case "CreateRoleStmt": {
      if (node.role !== "metrics_reader") {
        return `It creates the role ${node.role}: the readers' role metrics_reader is the only one of ours.`;
      }
      const more = (node.options ?? []).filter(({ DefElem }: Node) => DefElem.arg?.Boolean?.boolval !== false);
      return more.length === 0
        ? undefined
        : "It gives the role metrics_reader more than a name: it is created with nologin and no other option, and its readers are " +
          "for the team to grant.";
    }
    case "VacuumStmt":
    case "ClusterStmt":
    case "ReindexStmt":
      return node.relation || node.rels
        ? undefined
        : "It works on every table that there is, the app's among them, and keeps them locked: name a table of metrics.";
    case "GrantRoleStmt":
      return (node.grantee_roles as Node[]).every(({ RoleSpec }) => RoleSpec.rolename === "postgres") &&
          (node.granted_roles as Node[]).every(({ AccessPriv }) => AccessPriv.priv_name === "metrics_reader")
        ? undefined
        : "It changes who is a member of which role, which belongs to the whole server: who reads is for the team to grant.";
    case "CreateExtensionStmt":
      return `It creates the extension ${node.extname}, which belongs to the whole database: use what is there.`;
    case "AlterOwnerStmt":
      return changesOwner;
    case "DropStmt":
    case "RenameStmt":
    case "AlterObjectSchemaStmt":
    case "CommentStmt": {
      const kind = node.removeType ?? node.objtype ?? node.renameType ?? node.objectType;
      if (type === "CommentStmt" && kind === "OBJECT_ROLE" && node.object?.String?.sval === "metrics_reader") {
        return undefined;
      }
      return global.has(kind) || kind === "OBJECT_ROLE"
        ? `It works on ${
          kind.slice("OBJECT_".length).toLowerCase().replaceAll("_", " ")
        }, which belongs to the whole database or server.`
        : undefined;
    }
    default:
      return known.has(type)
        ? undefined
        : `A statement of this kind (${
          type.replace(/Stmt$/, "")
        }) works on the database, a role or the server as a whole: ours stay within ` +
          "the schema metrics.";
  }
}

/** The file that creates each table of ours, by qualified name: where one that lacks something is to be mended. */
export async function tablesOf(migrations: Migration[]): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (const migration of migrations) {
    const statements = await statementsOf(migration);
    if (!Array.isArray(statements)) continue;
    for (const { type, node } of statements) {
      if (type === "CreateStmt") found.set(relation(node.relation).join("."), migration.file);
      if (type === "ViewStmt") found.set(relation(node.view).join("."), migration.file);
      if (type === "CreateTableAsStmt") found.set(relation(node.into.rel).join("."), migration.file);
      if (type === "CreateFunctionStmt") found.set(words(node.funcname).join("."), migration.file);
    }
  }
  return found;
}
