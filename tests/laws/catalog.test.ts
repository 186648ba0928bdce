// What holds for everything in the schema, asked of the catalog, so that what is added tomorrow is asked, too. Each query lists
// what breaks the rule; each has a fault that must be on that list.
import { assert, assertEquals, assertRejects } from "@std/assert";
import type { Sql, TransactionSql } from "postgres";
import { testDatabase } from "../support/database.ts";

/** A rule: SQL that lists offenders as `name`, and SQL that makes one, with the name that it then has. */
interface Rule {
  offenders: string;
  fault: string;
  name: string;
}

const here = "'metrics'::regnamespace";

const rules: Record<string, Rule> = {
  "every table has row level security, partitions included": {
    offenders: `
      select relname as name
      from pg_class
      where relnamespace = ${here} and relkind in ('r', 'p') and not relrowsecurity`,
    fault:
      "create table metrics.bodies_20400102 partition of metrics.bodies for values from ('2040-01-02') to ('2040-01-09')",
    name: "bodies_20400102",
  },
  "no index has a long list of what waits to be sorted in, which each look reads whole": {
    offenders: `
      select i.relname as name
      from pg_class as i
      join pg_am as m on m.oid = i.relam
      where i.relnamespace = ${here} and i.relkind = 'i' and m.amname = 'gin'
        and not coalesce('gin_pending_list_limit=64' = any(i.reloptions), false)`,
    fault: "alter index metrics.pushes_commits_idx reset (gin_pending_list_limit)",
    name: "pushes_commits_idx",
  },
  "every table has a primary key": {
    offenders: `
      select c.relname as name
      from pg_class as c
      where c.relnamespace = ${here} and c.relkind in ('r', 'p')
        and not exists (select from pg_constraint as k where k.conrelid = c.oid and k.contype = 'p')`,
    fault: "alter table metrics.audit drop constraint audit_pkey",
    name: "audit",
  },
  "nothing is granted to anon or to everybody: not the schema, a table, a column, a sequence, a function, a type, a default":
    {
      offenders: `
      select g.name || ' to ' || case e.grantee when 0 then 'public' else e.grantee::regrole::text end as name
      from (
        select 'schema' as name, nspacl as acl from pg_namespace where oid = ${here}
        union all
        select relname, relacl from pg_class where relnamespace = ${here}
        union all
        select attrelid::regclass || '.' || attname, attacl
        from pg_attribute as a join pg_class as c on c.oid = a.attrelid
        where c.relnamespace = ${here}
        union all
        select proname, coalesce(proacl, acldefault('f', proowner)) from pg_proc where pronamespace = ${here}
        union all
        select typname, coalesce(typacl, acldefault('T', typowner))
        from pg_type as t left join pg_class as c on c.oid = t.typrelid
        where t.typnamespace = ${here} and t.typelem = 0 and coalesce(c.relkind, 'c') = 'c' and t.typtype <> 'm'
        union all
        select 'default', defaclacl from pg_default_acl where defaclnamespace = ${here}
      ) as g
      cross join lateral aclexplode(g.acl) as e
      where e.grantee in (0, 'anon'::regrole)`,
      fault: "grant select (url) on metrics.jobs to anon",
      name: "metrics.jobs.url to anon",
    },
  "no function can be executed by everybody": {
    offenders: `
      select p.oid::regprocedure::text as name
      from pg_proc as p
      cross join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) as e
      where p.pronamespace = ${here} and e.grantee = 0`,
    fault: "create function metrics.extra() returns boolean language sql set search_path = '' return true",
    name: "metrics.extra()",
  },
  "every function and procedure has an empty search_path, or a body whose names were bound when it was made": {
    offenders: `
      select p.oid::regprocedure::text as name
      from pg_proc as p
      where p.pronamespace = ${here} and p.prosqlbody is null and not coalesce(p.proconfig, '{}') @> array['search_path=""']`,
    fault: "alter function metrics.ingest(jsonb, jsonb, text) set search_path = metrics, public",
    name: "metrics.ingest(jsonb,jsonb,text)",
  },
  "everything belongs to the owner of the schema, so security definer functions can do no more than that": {
    offenders: `
      select o.name
      from (
        select p.oid::regprocedure::text as name, p.proowner as owner from pg_proc as p where p.pronamespace = ${here}
        union all
        select c.oid::regclass::text, c.relowner from pg_class as c where c.relnamespace = ${here}
      ) as o
      join pg_namespace as n on n.oid = ${here}
      where o.owner <> n.nspowner`,
    fault: `
      create role metrics_catalog_test;
      grant metrics_catalog_test to current_user;
      grant create on schema metrics to metrics_catalog_test;
      alter function metrics.health() owner to metrics_catalog_test`,
    name: "metrics.health()",
  },
  "every view asks as its reader": {
    offenders: `
      select relname as name
      from pg_class
      where relnamespace = ${here} and (relkind = 'm' or relkind = 'v' and not coalesce(reloptions, '{}') && array['security_invoker=true', 'security_invoker=on'])`,
    fault: "create view metrics.extra as select 1 as one",
    name: "extra",
  },
  "every function that members and admins call ends after five seconds": {
    offenders: `
      select p.oid::regprocedure::text as name
      from pg_proc as p
      where p.pronamespace = ${here}
        and has_function_privilege('authenticated', p.oid, 'execute')
        and not coalesce(p.proconfig, '{}') @> array['statement_timeout=5s']
        -- Called by policies and by other functions, within a statement that has its own end.
        and p.proname not in (
          'bucket_of', 'buckets_of', 'caller', 'checked_word', 'count_deliveries', 'counts_of',
          'counted_spans_of', 'current_generation', 'days_off_weeks_of', 'delivery_evidence', 'delivery_groups',
          'delivery_page', 'deployment_url', 'ended_runs', 'evidence_after', 'evidence_page_key', 'failures_of', 'first_readable_id',
          'first_readable_row', 'first_readable_text', 'flaky_cases', 'flaky_pairs', 'four_weeks_of', 'has_many_jobs', 'is_admin',
          'is_member', 'job_horizon', 'kept_days_of', 'kept_jobs', 'kept_weeks_of', 'key_of_page',
          'latest_jobs_with_steps', 'merged_pull_requests', 'midnight', 'nearest_weeks_of', 'page_of',
          'percentiles_of', 'period_of', 'price_of', 'readable_references', 'readable_repositories', 'readable_service_names', 'reference_text',
          'repository_label', 'require_measurement', 'require_reader', 'runner_of', 'seconds_of',
          'selected_references', 'selected_services', 'service_label', 'stretches_of', 'tally_of', 'tally_of_all',
          'tests_of', 'week_of'
        )
        -- Ends after the seconds that it is given.
        and p.proname <> 'rebuild'`,
    fault: "alter function metrics.ingest_health(integer, text, integer) reset statement_timeout",
    name: "metrics.ingest_health(integer,text,integer)",
  },
  "every policy is for one role that signs in or reads, for reading, and one for each role": {
    offenders: `
      select tablename || '.' || policyname as name
      from pg_policies
      where schemaname = 'metrics'
        and (roles not in (array['authenticated'::name], array['metrics_reader'::name]) or cmd <> 'SELECT' or permissive <> 'PERMISSIVE')
      union all
      select tablename || ' twice for ' || array_to_string(roles, ', ')
      from pg_policies
      where schemaname = 'metrics'
      group by tablename, roles, cmd
      having count(*) > 1`,
    fault: "create policy extra on metrics.jobs for select using (true)",
    name: "jobs.extra",
  },
  "every policy for members ends a stranger's scan before it reads a page": {
    offenders: `
      select tablename || '.' || policyname as name
      from pg_policies
      where schemaname = 'metrics' and roles = array['authenticated'::name] and qual not like '%(ctid >= ( SELECT metrics.first_readable_row()%'`,
    fault: "alter policy members_read on metrics.jobs using ((select metrics.is_member()))",
    name: "jobs.members_read",
  },
  "every index of a large table in whose order a stranger could read ends that scan, too": {
    offenders: `
      select i.indexrelid::regclass::text as name
      from pg_index as i
      join pg_class as c on c.oid = i.indrelid
      join pg_attribute as a on a.attrelid = c.oid and a.attnum = i.indkey[0] and a.attnotnull
      join pg_policies as p on p.schemaname = 'metrics' and p.tablename = c.relname and p.roles = array['authenticated'::name]
      join pg_class as x on x.oid = i.indexrelid and x.relam = (select oid from pg_am where amname = 'btree')
      where c.relnamespace = ${here} and i.indpred is null
        and (c.relname in ('deliveries', 'tests') or exists (select from pg_attribute where attrelid = c.oid and attname = 'clocks'))
        and c.relname <> 'repositories'
        and strpos(p.qual, format('(%I >= ( SELECT metrics.first_readable_', a.attname)) = 0`,
    fault: "create index extra on metrics.pushes (ref)",
    name: "metrics.extra",
  },
  "every table of facts can be read by members and BI tools": {
    offenders: `
      select c.relname as name
      from pg_class as c
      join pg_attribute as a on a.attrelid = c.oid and a.attname = 'clocks'
      cross join (values ('authenticated'), ('metrics_reader')) as r (role)
      where c.relnamespace = ${here} and c.relkind = 'r'
        and (
          not has_table_privilege(r.role, c.oid, 'select')
          or not exists (select from pg_policies as p where p.schemaname = 'metrics' and p.tablename = c.relname and p.roles = array[r.role::name])
        )`,
    fault: "drop policy readers_read on metrics.jobs",
    name: "jobs",
  },
  "schema, tables, views, columns, functions and types say what they are; a partition's columns are its parent's": {
    offenders: `
      select 'schema' as name
      where obj_description(${here}, 'pg_namespace') is null
      union all
      select c.oid::regclass::text
      from pg_class as c
      where c.relnamespace = ${here} and c.relkind in ('r', 'p', 'v', 'm', 'c') and obj_description(c.oid, 'pg_class') is null
        and not (c.relkind = 'c' and obj_description(c.reltype, 'pg_type') is not null)
      union all
      select c.oid::regclass || '.' || a.attname
      from pg_class as c join pg_attribute as a on a.attrelid = c.oid
      where c.relnamespace = ${here} and c.relkind in ('r', 'p', 'v', 'm') and not c.relispartition
        and a.attnum > 0 and not a.attisdropped and coalesce(col_description(c.oid, a.attnum), '') = ''
      union all
      select p.oid::regprocedure::text
      from pg_proc as p
      where p.pronamespace = ${here} and obj_description(p.oid, 'pg_proc') is null`,
    fault: "alter table metrics.jobs add column extra text",
    name: "metrics.jobs.extra",
  },
  "every column of what a reading function returns says what it is, where the rows are of a type of their own": {
    offenders: `
      select distinct t.oid::regtype || '.' || a.attname as name
      from pg_proc as p
      join pg_type as t on t.oid = p.prorettype
      join pg_class as c on c.oid = t.typrelid and c.relkind = 'c'
      join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
      where p.pronamespace = ${here}
        and has_function_privilege('authenticated', p.oid, 'execute')
        and coalesce(p.proconfig, '{}') @> array['statement_timeout=5s']
        and coalesce(col_description(c.oid, a.attnum), '') = ''`,
    fault: "comment on column metrics.evidence.url is null",
    name: "metrics.evidence.url",
  },
  "every column of a fact has a merge rule that parses, unless it is key, computed, derived or bookkeeping": {
    offenders: `
      select c.oid::regclass || '.' || a.attname as name
      from pg_class as c
      join pg_attribute as k on k.attrelid = c.oid and k.attname = 'clocks'
      join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
      join metrics.fold_columns(c.oid::regclass) as f on f.name = a.attname
      where c.relnamespace = ${here} and c.relkind = 'r'
        and f.rule is null
        and (
          col_description(c.oid, a.attnum) ~* 'merge:'
          or not (
            a.attgenerated <> ''
            or a.attname in ('clocks', 'updated_at')
            or col_description(c.oid, a.attnum) ~ '^Derived: '
            or exists (select from pg_index as i where i.indrelid = c.oid and i.indisunique and a.attnum = any(i.indkey))
          )
        )`,
    fault: "comment on column metrics.jobs.name is 'Name. Merge: newest.'",
    name: "metrics.jobs.name",
  },
  "a column that comes with another names the first of its group": {
    offenders: `
      select c.oid::regclass || '.' || f.name as name
      from pg_class as c
      cross join lateral metrics.fold_columns(c.oid::regclass) as f
      where c.relnamespace = ${here} and c.relkind = 'r'
        and f.rule is not null
        and not exists (
          select
          from metrics.fold_columns(c.oid::regclass) as l
          where l.name = f.lead and l.rule = 'latest' and l.lead = l.name
        )
        and f.rule = 'latest'`,
    fault: "comment on column metrics.jobs.outcome is 'How it ended. Merge: latest, with state.'",
    name: "metrics.jobs.outcome",
  },
  "no column of a key has a merge rule, or another observation could move its row": {
    offenders: `
      select c.oid::regclass || '.' || f.name as name
      from pg_class as c
      cross join lateral metrics.fold_columns(c.oid::regclass) as f
      join pg_attribute as a on a.attrelid = c.oid and a.attname = f.name
      join pg_index as i on i.indrelid = c.oid and i.indisunique and a.attnum = any(i.indkey)
      where c.relnamespace = ${here} and c.relkind = 'r' and f.rule is not null`,
    fault: "comment on column metrics.jobs.external_id is 'Id. Merge: latest.'",
    name: "metrics.jobs.external_id",
  },
  "the statement that folds a table is the one that its comments make": {
    offenders: `
      select c.relname as name
      from pg_class as c
      join pg_attribute as k on k.attrelid = c.oid and k.attname = 'clocks'
      join pg_proc as p on p.pronamespace = ${here} and p.proname = 'fold_' || c.relname
      where c.relnamespace = ${here} and c.relkind = 'r'
        and exists (
          select
          from metrics.fold_columns(c.oid::regclass) as f
          where f.rule is not null
            and strpos(p.prosrc, case f.rule
              when 'earliest' then format('%1$I = least(t.%1$I, excluded.%1$I)', f.name)
              when 'union' then format('%1$I = (select array_agg(distinct', f.name)
              else format('%1$I = case when %2$s then excluded.%1$I else t.%1$I end', f.name, f.later)
            end) = 0
        )`,
    fault: "comment on column metrics.jobs.queued_at is 'When it was asked for. Merge: latest.'",
    name: "jobs",
  },
  "every fact kind has its statement": {
    offenders: `
      select c.relname as name
      from pg_class as c
      join pg_attribute as k on k.attrelid = c.oid and k.attname = 'clocks'
      where c.relnamespace = ${here} and c.relkind = 'r'
        and not exists (select from pg_proc as p where p.pronamespace = ${here} and p.proname = 'fold_' || c.relname)`,
    fault: "drop function metrics.fold_jobs(jsonb)",
    name: "jobs",
  },
  "no key, check or trigger reaches out of the schema, and none from outside reaches in": {
    offenders: `
      select k.conname as name
      from pg_constraint as k
      join pg_class as one on one.oid = k.conrelid
      join pg_class as other on other.oid = k.confrelid
      where k.contype = 'f' and (one.relnamespace = ${here}) <> (other.relnamespace = ${here})
      union all
      select t.tgname
      from pg_trigger as t
      join pg_class as c on c.oid = t.tgrelid
      join pg_proc as p on p.oid = t.tgfoid
      where not t.tgisinternal and (c.relnamespace = ${here}) <> (p.pronamespace = ${here}) and p.pronamespace <> 'pg_catalog'::regnamespace`,
    fault: "alter table metrics.members add constraint extra foreign key (user_id) references auth.users (id)",
    name: "extra",
  },
  "every foreign key has an index that begins with it": {
    offenders: `
      select k.conname as name
      from pg_constraint as k
      where k.connamespace = ${here} and k.contype = 'f'
        and not exists (
          select
          from pg_index as i
          where i.indrelid = k.conrelid and i.indpred is null
            and (i.indkey::int2[])[0:cardinality(k.conkey) - 1] @> k.conkey
        )`,
    fault: "drop index metrics.team_members_email_idx",
    name: "team_member_is_a_member",
  },
};

async function offenders(sql: Sql | TransactionSql, rule: Rule): Promise<string[]> {
  return (await sql.unsafe<{ name: string }[]>(rule.offenders)).map(({ name }) => name);
}

for (const [sentence, rule] of Object.entries(rules)) {
  Deno.test(sentence, async (t) => {
    await using database = await testDatabase({ max: 1 });
    assertEquals(await offenders(database.sql, rule), []);
    await t.step("and a fault is noticed", async () => {
      await assertRejects(
        () =>
          database.sql.begin(async (sql) => {
            await sql.unsafe(rule.fault);
            const found = await offenders(sql, rule);
            assert(found.includes(rule.name), `${rule.fault}: noticed are ${JSON.stringify(found)}`);
            throw new Error("roll back");
          }),
        Error,
        "roll back",
      );
    });
  });
}

Deno.test("tests do not run as a superuser, who would be refused nothing", async () => {
  await using database = await testDatabase({ max: 1 });
  const [row] = await database.sql`select current_setting('is_superuser') as is_superuser`;
  assertEquals(row, { is_superuser: "off" });
});
