-- The schema metrics as canonical text: what the catalog holds, whatever way it came there. One query, one row, one column.
--
-- Independent of oids, of the order of privileges and of the database: everything is sorted byte by byte, and names are
-- written with their schema, for which the caller sets an empty search_path (tools/deploy/schema.ts does). Privileges that
-- an owner has by default are left out, those that PUBLIC has by default are not. Partitions whose names end in a date are
-- described once, as a template; one that differs from the others is described beside it.

with
here as (
  select n.oid, n.nspname, n.nspowner, n.nspacl
  from pg_catalog.pg_namespace as n
  where n.nspname = 'metrics'
),

-- Tables, views and sequences, with the heading that each stands under. Indexes stand under their table.
relations as (
  select
    c.oid,
    c.relname,
    c.relkind,
    c.relowner,
    c.relacl,
    c.relpersistence,
    c.relispartition,
    c.relrowsecurity,
    c.relforcerowsecurity,
    c.relreplident,
    c.reloptions,
    c.relpartbound,
    format('%I.%I', h.nspname, c.relname) as name,
    case
      when c.relkind in ('v', 'm') then 'view'
      when c.relkind = 'S' then 'sequence'
      when c.relkind = 'c' then 'type'
      else 'table'
    end as kind,
    dated.template,
    dated.monday
  from here as h
  join pg_catalog.pg_class as c
    on c.relnamespace = h.oid
  cross join lateral (
    select c.relispartition and c.relname ~ '_[0-9]{8}$' and pg_input_is_valid(right(c.relname, 8), 'date')
  ) as ends (in_date)
  cross join lateral (
    select
      case when ends.in_date then regexp_replace(c.relname, '[0-9]{8}$', '<YYYYMMDD>') end,
      case when ends.in_date then right(c.relname, 8)::date end
  ) as dated (template, monday)
  where c.relkind in ('r', 'p', 'f', 'v', 'm', 'S', 'c')
),

-- The sequence of an identity column belongs to the column.
identities as (
  select d.refobjid as relation, d.refobjsubid as attnum, s.*
  from pg_catalog.pg_depend as d
  join pg_catalog.pg_sequence as s
    on s.seqrelid = d.objid
  where d.classid = 'pg_catalog.pg_class'::regclass
    and d.refclassid = 'pg_catalog.pg_class'::regclass
    and d.deptype = 'i'
),

columns as (
  select
    a.attrelid as relation,
    a.attnum,
    a.attname,
    a.attacl,
    concat_ws(
      ' ',
      quote_ident(a.attname),
      format_type(a.atttypid, a.atttypmod),
      case when a.attcollation <> t.typcollation then format('collate %I.%I', cn.nspname, co.collname) end,
      case when a.attstorage <> t.typstorage then format('storage "%s"', a.attstorage) end,
      case when a.attcompression <> '' then format('compression "%s"', a.attcompression) end,
      case
        when a.attgenerated = 's' then format('generated always as (%s) stored', pg_get_expr(e.adbin, e.adrelid))
        when a.attidentity <> '' then concat(
          'generated ',
          case a.attidentity when 'a' then 'always' else 'by default' end,
          ' as identity',
          case
            when (i.seqstart, i.seqincrement, i.seqmin, i.seqcache, i.seqcycle) is distinct from (1, 1, 1, 1, false)
              then format(
                ' (start %s increment %s minvalue %s cache %s%s)',
                i.seqstart,
                i.seqincrement,
                i.seqmin,
                i.seqcache,
                case when i.seqcycle then ' cycle' end
              )
          end
        )
        when a.atthasdef then format('default %s', pg_get_expr(e.adbin, e.adrelid))
      end,
      case when a.attnotnull then 'not null' end
    ) as definition
  from relations as r
  join pg_catalog.pg_attribute as a
    on a.attrelid = r.oid
  join pg_catalog.pg_type as t
    on t.oid = a.atttypid
  left join pg_catalog.pg_collation as co
    on co.oid = a.attcollation
  left join pg_catalog.pg_namespace as cn
    on cn.oid = co.collnamespace
  left join pg_catalog.pg_attrdef as e
    on e.adrelid = a.attrelid
    and e.adnum = a.attnum
  left join identities as i
    on i.relation = a.attrelid
    and i.attnum = a.attnum
  where a.attnum > 0
    and not a.attisdropped
),

routines as (
  select
    p.oid,
    p.proowner,
    p.proacl,
    case p.prokind when 'p' then 'procedure' when 'a' then 'aggregate' else 'function' end as kind,
    i.signature as name,
    case
      when p.prokind = 'a' then format(
        'create aggregate %s (sfunc = %s, stype = %s%s)',
        i.signature,
        g.aggtransfn,
        format_type(g.aggtranstype, null),
        case when g.aggfinalfn <> 0 then ', finalfunc = ' || g.aggfinalfn end
      )
      else rtrim(pg_get_functiondef(p.oid), E'\n')
    end as definition
  from here as h
  join pg_catalog.pg_proc as p
    on p.pronamespace = h.oid
  left join pg_catalog.pg_aggregate as g
    on g.aggfnoid = p.oid
  cross join lateral (
    select format('%I.%I(%s)', h.nspname, p.proname, pg_get_function_identity_arguments(p.oid))
  ) as i (signature)
),

-- Enumerations, domains and ranges; composite types are relations.
types as (
  select
    t.oid,
    t.typowner,
    t.typacl,
    format('%I.%I', h.nspname, t.typname) as name,
    case t.typtype
      when 'e' then format(
        'create type %I.%I as enum (%s)',
        h.nspname,
        t.typname,
        (
          select string_agg(quote_literal(l.enumlabel), ', ' order by l.enumsortorder)
          from pg_catalog.pg_enum as l
          where l.enumtypid = t.oid
        )
      )
      when 'd' then concat_ws(
        ' ',
        format('create domain %I.%I as %s', h.nspname, t.typname, format_type(t.typbasetype, t.typtypmod)),
        'default ' || t.typdefault,
        case when t.typnotnull then 'not null' end,
        (
          select string_agg(
            format('constraint %I %s', k.conname, pg_get_constraintdef(k.oid)),
            ' ' order by k.conname collate "C"
          )
          from pg_catalog.pg_constraint as k
          where k.contypid = t.oid
            and k.contype = 'c'
        )
      )
      else format(
        'create type %I.%I as range (subtype = %s)',
        h.nspname,
        t.typname,
        (
          select format_type(g.rngsubtype, null)
          from pg_catalog.pg_range as g
          where g.rngtypid = t.oid
        )
      )
    end as definition
  from here as h
  join pg_catalog.pg_type as t
    on t.typnamespace = h.oid
  where t.typtype in ('e', 'd', 'r')
),

-- Whatever can be granted, with what its owner and PUBLIC have without a grant.
grantables as (
  select
    'schema' as kind,
    h.nspname::text as name,
    h.oid as under,
    format('schema %I', h.nspname) as target,
    null::text as column_name,
    h.nspowner as owner,
    h.nspacl as acl,
    acldefault('n', h.nspowner) as usual
  from here as h
  union all
  select
    r.kind,
    r.name,
    r.oid,
    format('%s %s', case when r.relkind = 'S' then 'sequence' else 'table' end, r.name),
    null,
    r.relowner,
    r.relacl,
    acldefault(case when r.relkind = 'S' then 's' else 'r' end::"char", r.relowner)
  from relations as r
  where r.relkind <> 'c'
  union all
  select r.kind, r.name, r.oid, format('table %s', r.name), quote_ident(c.attname), r.relowner, c.attacl, null
  from columns as c
  join relations as r
    on r.oid = c.relation
  union all
  select
    f.kind,
    f.name,
    f.oid,
    format('%s %s', case f.kind when 'procedure' then 'procedure' else 'function' end, f.name),
    null,
    f.proowner,
    f.proacl,
    acldefault('f', f.proowner)
  from routines as f
  union all
  select 'type', t.name, t.oid, format('type %s', t.name), null, t.typowner, t.typacl, acldefault('T', t.typowner)
  from types as t
  union all
  select r.kind, r.name, r.oid, format('type %s', r.name), null, t.typowner, t.typacl, acldefault('T', t.typowner)
  from relations as r
  join pg_catalog.pg_type as t
    on t.typrelid = r.oid
  where r.relkind = 'c'
),

grants as (
  select
    g.kind,
    g.name,
    g.under,
    format(
      'grant %s on %s to %s%s',
      string_agg(
        lower(a.privilege_type) || coalesce(' (' || g.column_name || ')', ''),
        ', ' order by a.privilege_type collate "C"
      ),
      g.target,
      case when a.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end,
      case when a.is_grantable then ' with grant option' end
    ) as statement
  from grantables as g
  cross join lateral (
    select distinct e.grantee, e.privilege_type, e.is_grantable
    from aclexplode(coalesce(g.acl, g.usual)) as e
  ) as a
  cross join lateral (
    select array_agg(u.privilege_type order by u.privilege_type collate "C") as list
    from aclexplode(g.usual) as u
    where u.grantee = g.owner
  ) as own
  group by g.kind, g.name, g.under, g.target, g.column_name, g.owner, own.list, a.grantee, a.is_grantable
  having a.grantee <> g.owner
    or array_agg(a.privilege_type order by a.privilege_type collate "C") is distinct from own.list
),

default_grants as (
  select format(
    'alter default privileges for role %I in schema %I grant %s on %s to %s%s',
    pg_get_userbyid(d.defaclrole),
    h.nspname,
    string_agg(lower(a.privilege_type), ', ' order by a.privilege_type collate "C"),
    case d.defaclobjtype when 'r' then 'tables' when 'S' then 'sequences' when 'f' then 'functions' else 'types' end,
    case when a.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end,
    case when a.is_grantable then ' with grant option' end
  ) as statement
  from here as h
  join pg_catalog.pg_default_acl as d
    on d.defaclnamespace = h.oid
  cross join lateral aclexplode(d.defaclacl) as a
  group by h.nspname, d.defaclrole, d.defaclobjtype, a.grantee, a.is_grantable
),

-- Comments, under the object that they belong to.
comments as (
  select
    o.under,
    format(
      'comment on %s %s is %L',
      case i.type when 'table column' then 'column' when 'table constraint' then 'constraint' else i.type end,
      coalesce(o.name, i.identity),
      d.description
    ) as statement
  from (
    select 'pg_catalog.pg_namespace'::regclass as class, h.oid, h.oid as under, null::text as name
    from here as h
    union all
    select 'pg_catalog.pg_class'::regclass, r.oid, r.oid, null
    from relations as r
    union all
    select 'pg_catalog.pg_class'::regclass, x.indexrelid, r.oid, null
    from relations as r
    join pg_catalog.pg_index as x
      on x.indrelid = r.oid
    union all
    select 'pg_catalog.pg_constraint'::regclass, k.oid, r.oid, null
    from relations as r
    join pg_catalog.pg_constraint as k
      on k.conrelid = r.oid
    union all
    select 'pg_catalog.pg_policy'::regclass, p.oid, r.oid, null
    from relations as r
    join pg_catalog.pg_policy as p
      on p.polrelid = r.oid
    union all
    select 'pg_catalog.pg_trigger'::regclass, g.oid, r.oid, null
    from relations as r
    join pg_catalog.pg_trigger as g
      on g.tgrelid = r.oid
    union all
    select 'pg_catalog.pg_proc'::regclass, f.oid, f.oid, f.name
    from routines as f
    union all
    select 'pg_catalog.pg_type'::regclass, t.oid, t.oid, null
    from types as t
  ) as o
  join pg_catalog.pg_description as d
    on d.classoid = o.class
    and d.objoid = o.oid
  cross join lateral pg_identify_object(d.classoid, d.objoid, d.objsubid) as i
),

-- Everything of one relation, in the order in which it is read: itself, constraints, indexes, triggers, policies, grants, comments.
statements as (
  select
    r.oid as under,
    1 as place,
    '' as name,
    case
      when r.relkind in ('v', 'm') then format(
        'create %s %s%s as%s%s',
        case r.relkind when 'm' then 'materialized view' else 'view' end,
        r.name,
        ' with (' || array_to_string(r.reloptions, ', ') || ')',
        E'\n',
        btrim(pg_get_viewdef(r.oid), ';')
      )
      when r.relkind = 'S' then (
        select format(
          'create sequence %s as %s start %s increment %s minvalue %s maxvalue %s cache %s%s',
          r.name,
          format_type(s.seqtypid, null),
          s.seqstart,
          s.seqincrement,
          s.seqmin,
          s.seqmax,
          s.seqcache,
          case when s.seqcycle then ' cycle' end
        )
        from pg_catalog.pg_sequence as s
        where s.seqrelid = r.oid
          and not exists (
            select
            from identities as i
            where i.seqrelid = r.oid
          )
      )
      else concat(
        'create ',
        case r.relpersistence when 'u' then 'unlogged ' end,
        case r.relkind when 'f' then 'foreign table ' when 'c' then 'type ' else 'table ' end,
        r.name,
        case
          when r.relispartition then format(
            ' partition of %s %s',
            (
              select string_agg(i.inhparent::regclass::text, ', ')
              from pg_catalog.pg_inherits as i
              where i.inhrelid = r.oid
            ),
            case
              when extract(isodow from r.monday) = 1
                and pg_get_expr(r.relpartbound, r.oid) = format('FOR VALUES FROM (%L) TO (%L)', r.monday, r.monday + 7)
                then 'FOR VALUES FROM (<that Monday>) TO (<the Monday after>)'
              else pg_get_expr(r.relpartbound, r.oid)
            end
          )
        end,
        case when r.relkind = 'c' then ' as' end,
        E' (\n  ',
        (
          select string_agg(c.definition, E',\n  ' order by c.attnum)
          from columns as c
          where c.relation = r.oid
        ),
        E'\n)',
        case when r.relkind = 'p' then ' partition by ' || pg_get_partkeydef(r.oid) end,
        ' with (' || array_to_string(r.reloptions, ', ') || ')'
      )
    end as statement
  from relations as r
  union all
  select r.oid, 2, '', format('alter %s %s owner to %I', r.kind, r.name, pg_get_userbyid(r.relowner))
  from relations as r
  cross join here as h
  where r.relowner <> h.nspowner
  union all
  select k.conrelid, 3, k.conname, format('alter table %s add constraint %I %s', r.name, k.conname, pg_get_constraintdef(k.oid))
  from relations as r
  join pg_catalog.pg_constraint as k
    on k.conrelid = r.oid
  where k.contype in ('c', 'p', 'u', 'f', 'x')
  union all
  select x.indrelid, 4, i.relname, pg_get_indexdef(x.indexrelid) || case when not x.indisvalid then ' -- not valid' else '' end
  from relations as r
  join pg_catalog.pg_index as x
    on x.indrelid = r.oid
  join pg_catalog.pg_class as i
    on i.oid = x.indexrelid
  where not exists (
    select
    from pg_catalog.pg_constraint as k
    where k.conindid = x.indexrelid
      and k.contype in ('p', 'u', 'x')
  )
  union all
  select r.oid, 5, '', format('alter table %s replica identity "%s"', r.name, r.relreplident)
  from relations as r
  where r.kind = 'table'
    and r.relreplident <> 'd'
  union all
  select
    g.tgrelid,
    6,
    g.tgname,
    pg_get_triggerdef(g.oid) || case when g.tgenabled <> 'O' then format(' -- enabled "%s"', g.tgenabled) else '' end
  from relations as r
  join pg_catalog.pg_trigger as g
    on g.tgrelid = r.oid
  where not g.tgisinternal
  union all
  select l.ev_class, 6, l.rulename, rtrim(pg_get_ruledef(l.oid), ';')
  from relations as r
  join pg_catalog.pg_rewrite as l
    on l.ev_class = r.oid
  where l.rulename <> '_RETURN'
  union all
  select r.oid, 7, f.name, format('alter table %s %s row level security', r.name, f.name)
  from relations as r
  cross join lateral (
    values ('enable', r.relrowsecurity), ('force', r.relforcerowsecurity)
  ) as f (name, is_on)
  where f.is_on
  union all
  select
    p.polrelid,
    8,
    p.polname,
    concat_ws(
      E'\n  ',
      format('create policy %I on %s', p.polname, r.name),
      case when p.polpermissive then 'as permissive' else 'as restrictive' end,
      'for ' || case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete' else 'all' end,
      'to ' || (
        select string_agg(u.name, ', ' order by u.name collate "C")
        from (
          select case when role = 0 then 'public' else quote_ident(pg_get_userbyid(role)) end
          from unnest(p.polroles) as role
        ) as u (name)
      ),
      'using (' || pg_get_expr(p.polqual, p.polrelid) || ')',
      'with check (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')'
    )
  from relations as r
  join pg_catalog.pg_policy as p
    on p.polrelid = r.oid
  union all
  select f.oid, 1, '', f.definition
  from routines as f
  union all
  select f.oid, 2, '', format('alter %s %s owner to %I', f.kind, f.name, pg_get_userbyid(f.proowner))
  from routines as f
  cross join here as h
  where f.proowner <> h.nspowner
  union all
  select t.oid, 1, '', t.definition
  from types as t
  union all
  select h.oid, 1, '', format('create schema %I authorization %I', h.nspname, pg_get_userbyid(h.nspowner))
  from here as h
  union all
  select h.oid, 10, d.statement, d.statement
  from here as h
  cross join default_grants as d
  union all
  select g.under, 9, g.statement, g.statement
  from grants as g
  union all
  select c.under, 11, c.statement, c.statement
  from comments as c
),

headings as (
  select h.oid, 'schema' as kind, h.nspname::text as name, null::text as own, null::text as template
  from here as h
  union all
  select r.oid, r.kind, r.name, r.relname, r.template
  from relations as r
  union all
  select f.oid, f.kind, f.name, null, null
  from routines as f
  union all
  select t.oid, 'type', t.name, null, null
  from types as t
),

blocks as (
  -- Distinct, so that all partitions that are alike are one template.
  select distinct
    b.kind,
    coalesce(replace(b.name, b.own, b.template), b.name) as name,
    coalesce(replace(b.text, b.own, b.template), b.text) as text
  from (
    select
      h.kind,
      h.name,
      h.own,
      h.template,
      string_agg(s.statement || E';\n', '' order by s.place, s.name collate "C") as text
    from headings as h
    join statements as s
      on s.under = h.oid
      and s.statement is not null
    group by h.oid, h.kind, h.name, h.own, h.template
  ) as b
)

select string_agg(
  format(E'-- %s %s\n%s', b.kind, b.name, b.text),
  E'\n'
  order by
    array_position(array['schema', 'type', 'sequence', 'table', 'view', 'function', 'procedure', 'aggregate'], b.kind),
    b.name collate "C",
    b.text collate "C"
) as schema
from blocks as b
