-- How observations merge. A row is the fold of all observations of its key: commutative, associative, idempotent.
--
-- The rule of each column stands in its comment ("Merge: …"), and there alone: compile_fold reads it from the catalog and
-- writes the statement that folds a set of observations into the table. So the rule that people read is the rule that runs.
--
--   Merge: earliest            the smallest time that was said
--   Merge: union               everything that was said, each once, sorted
--   Merge: latest              what was said by the observation with the greatest clock
--   Merge: latest, with <x>    comes with column x: its clock is x's clock, and the group is said when x is said
--
-- A clock is text that compares byte by byte: rank of the state, time, and the provider's increasing id of the observation
-- where there is one; by time before rank where the table says so. What is missing compares lowest. Equal clocks are
-- decided by the values, so that no two different observations tie.

set lock_timeout = '2s';
set statement_timeout = '60s';

create or replace function metrics.reference_text(reference_id bigint)
returns text
language sql
stable
set search_path = ''
as $$
  select r.reference
  from metrics.repository_references as r
  where r.id = reference_id
$$;
revoke execute on function metrics.reference_text(bigint) from public;

comment on function metrics.reference_text(bigint) is 'A reference as text, because ids depend on the order of arrival and must not decide a tie.';

create or replace function metrics.test_names(ids bigint[])
returns text
language sql
stable
-- No list is less than an empty one.
strict
set search_path = ''
as $$
  select coalesce(
    jsonb_agg(jsonb_build_array(t.suite, t.name) order by t.suite collate "C", t.name collate "C"),
    '[]'
  )::text
  from metrics.tests as t
  where t.id = any(ids)
$$;
revoke execute on function metrics.test_names(bigint[]) from public;

comment on function metrics.test_names(bigint[]) is 'Names of tests as text, because ids depend on the order of arrival and must not decide a tie.';

create or replace function metrics.comparable(alias text, column_name text, type text)
returns text
language sql
immutable
set search_path = ''
as $$
  select format(
    case
      when column_name = 'reference_id' then $f$coalesce('1' || metrics.reference_text(%1$s.%2$I), '0') collate "C"$f$
      when type = 'bigint[]' then $f$coalesce('1' || metrics.test_names(%1$s.%2$I), '0') collate "C"$f$
      when type in ('jsonb') or type like '%[]' then $f$coalesce('1' || to_jsonb(%1$s.%2$I)::text, '0') collate "C"$f$
      when type = 'text' then $f$coalesce('1' || %1$s.%2$I, '0') collate "C"$f$
      when type = 'boolean' then $f$coalesce(%1$s.%2$I::integer, -1)$f$
      when type in ('integer', 'bigint') then $f$coalesce(%1$s.%2$I::numeric, '-infinity')$f$
      when type in ('double precision', 'timestamp with time zone') then $f$coalesce(%1$s.%2$I, '-infinity')$f$
    end,
    alias,
    column_name
  )
$$;
revoke execute on function metrics.comparable(text, text, text) from public;

comment on function metrics.comparable(text, text, text) is 'SQL that compares a column''s values with NULL lowest, for compile_fold. NULL for a type that has no order here.';

create or replace function metrics.fold_columns(relation regclass)
returns table (name text, place integer, type text, rule text, lead text, later text)
language sql
stable
set search_path = ''
as $$
  with columns as (
    select
      a.attname::text as name,
      a.attnum::integer as place,
      format_type(a.atttypid, null) as type,
      (regexp_match(d.comment, 'Merge: (latest|earliest|union)(?:, with [a-z_]+)?\.$'))[1] as rule,
      coalesce((regexp_match(d.comment, 'Merge: latest, with ([a-z_]+)\.$'))[1], a.attname::text) as lead
    from pg_catalog.pg_attribute as a
    cross join lateral (select col_description(a.attrelid, a.attnum) as comment) as d
    where a.attrelid = relation
      and a.attnum > 0
      and not a.attisdropped
  )
  select
    c.name,
    c.place,
    c.type,
    c.rule,
    c.lead,
    (
      select format(
        $f$(excluded.clocks ->> %1$L) collate "C" > coalesce(t.clocks ->> %1$L, '')
        or (excluded.clocks ->> %1$L = t.clocks ->> %1$L and row(%2$s) > row(%3$s))$f$,
        c.lead,
        string_agg(metrics.comparable('excluded', m.name, m.type), ', ' order by m.name <> c.lead, m.place),
        string_agg(metrics.comparable('t', m.name, m.type), ', ' order by m.name <> c.lead, m.place)
      )
      from columns as m
      where m.lead = c.lead
        and m.rule = 'latest'
    )
  from columns as c
$$;
revoke execute on function metrics.fold_columns(regclass) from public;

comment on function metrics.fold_columns(regclass) is 'The columns of a fact table with their merge rules, read from their comments; later is SQL that says whether what is said now (excluded) is later than what is kept (t).';

-- Writes metrics.fold_<kind>(observations jsonb), which folds a list of observations into the table of that name.
-- rank is SQL over the observation "said" that gives the rank of its state.
create or replace procedure metrics.compile_fold(kind text, key_columns text[], rank text default '0', rank_first boolean default false)
language plpgsql
set search_path = ''
as $procedure$
declare
  relation constant regclass := format('metrics.%I', kind)::regclass;
  is_update constant boolean := kind = 'repositories';
  time_text constant text := $$coalesce(to_char((said ->> 'observed_at')::timestamptz at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), '-')$$;
  sequence_text constant text := $$coalesce(' ' || lpad(said ->> 'sequence', 19, '0'), '')$$;
  clock text;
  names text;
  said_values text;
  said_clocks text;
  assignments text;
  kept_clocks text;
  later_assignments text;
  latest_kept text;
  change text;
  keys text;
  key_values text;
  from_clause text;
  keyed_clause text;
  at_once text := '';
  bad text;
begin
  select string_agg(c.name, ', ')
  into bad
  from metrics.fold_columns(relation) as c
  where c.rule = 'latest'
    and metrics.comparable('x', c.name, c.type) is null;
  if bad is not null then
    raise exception 'metrics.%: no order is known for the type of %', kind, bad;
  end if;

  select
    string_agg(format('%I', c.name), ', ' order by c.place),
    string_agg(
      case
        when c.name = 'reference_id' then 'r.id'
        -- A lead that was not said is NULL anyway; its mates count only when it was.
        when c.rule = 'latest' and c.lead <> c.name then format('case when said ? %L then o.%I end', c.lead, c.name)
        when c.rule = 'union' then format('(select array_agg(distinct u order by u) from unnest(o.%I) as u)', c.name)
        else format('o.%I', c.name)
      end,
      E',\n        ' order by c.place
    ),
    string_agg(
      format(
        case c.rule
          when 'earliest' then '%1$I = least(t.%1$I, excluded.%1$I)'
          when 'union' then
            '%1$I = (select array_agg(distinct u order by u) from unnest(coalesce(t.%1$I, ''{}'') || coalesce(excluded.%1$I, ''{}'')) as u)'
          else '%1$I = case when %2$s then excluded.%1$I else t.%1$I end'
        end,
        c.name,
        c.later
      ),
      E',\n        ' order by c.place
    ),
    string_agg(
      case c.rule
        when 'earliest' then format('excluded.%1$I < coalesce(t.%1$I, ''infinity'')', c.name)
        when 'union' then format('not (coalesce(excluded.%1$I, ''{}'') <@ coalesce(t.%1$I, ''{}''))', c.name)
        else case when c.lead = c.name then format('(%s)', c.later) end
      end,
      E'\n      or ' order by c.place
    ),
    string_agg(
      format('%1$L, case when said ? %1$L then c.clock end', case when c.name = 'reference_id' then 'repository' else c.name end),
      E',\n          ' order by c.place
    ) filter (where c.rule = 'latest' and c.lead = c.name),
    string_agg(
      format('%1$L, greatest((excluded.clocks ->> %1$L) collate "C", t.clocks ->> %1$L)', c.name),
      E',\n          ' order by c.place
    ) filter (where c.rule = 'latest' and c.lead = c.name),
    string_agg(
      format(
        case c.rule
          when 'earliest' then '%1$I = least(t.%1$I, excluded.%1$I)'
          when 'union' then
            '%1$I = (select array_agg(distinct u order by u) from unnest(coalesce(t.%1$I, ''{}'') || coalesce(excluded.%1$I, ''{}'')) as u)'
          else '%1$I = case when excluded.clocks ? %2$L then excluded.%1$I else t.%1$I end'
        end,
        c.name,
        c.lead
      ),
      E',\n          ' order by c.place
    ),
    string_agg(format('(t.clocks ->> %L) collate "C"', c.name), ', ' order by c.place) filter (where c.rule = 'latest' and c.lead = c.name)
  into names, said_values, assignments, change, said_clocks, kept_clocks, later_assignments, latest_kept
  from metrics.fold_columns(relation) as c
  where c.rule is not null;

  -- The observation says "repository", the table keeps reference_id: one name for the clock of both.
  said_clocks := replace(said_clocks, '''repository'', case', '''reference_id'', case');
  said_values := replace(said_values, 'said ? ''reference_id''', 'said ? ''repository''');

  clock := case
    when rank_first then format($$(%s)::text || ' ' || %s || %s$$, rank, time_text, sequence_text)
    else format($$%s || ' ' || (%s)::text || %s$$, time_text, rank, sequence_text)
  end;

  select
    string_agg(format('%I', k), ', ' order by n),
    string_agg(
      case k
        when 'reference_id' then 'r.id'
        when 'id' then 'r.repository_id'
        when 'attempt' then 'coalesce(o.attempt, 1)'
        else format('o.%I', k)
      end,
      ', ' order by n
    )
  into keys, key_values
  from unnest(key_columns) with ordinality as u (k, n);

  from_clause := format(
    $f$from jsonb_array_elements(batch) as e (said)
      cross join lateral jsonb_populate_record(null::metrics.%I, said) as o
      %s join metrics.repository_references as r
        on r.reference = said ->> 'repository'$f$,
    kind,
    case when 'reference_id' = any(key_columns) or is_update then 'inner' else 'left' end
  );

  -- Only what makes the key is read to find out which observations share one.
  select format(
    $f$from jsonb_array_elements(observations) as e (said)
        %s
        left join metrics.repository_references as r
          on r.reference = said ->> 'repository'$f$,
    'cross join lateral jsonb_to_record(said) as o (' || string_agg(format('%I %s', c.name, c.type), ', ' order by c.place) || ')'
  )
  into keyed_clause
  from metrics.fold_columns(relation) as c
  where c.name = any(key_columns)
    and c.name not in ('reference_id', 'id');

  if not is_update then
    at_once := format(
      $body$
  -- Nearly always one observation comes alone, of a new key or later than all that was said of it: that needs no comparison of each
  -- column, and a short statement, which is prepared anew at every call.
  if jsonb_array_length(observations) = 1 then
    declare
      said constant jsonb := observations -> 0;
      o constant metrics.%1$I := jsonb_populate_record(null::metrics.%1$I, said);
      clock constant text := %2$s;
      r record;
    begin
      select i.id
      into r
      from metrics.repository_references as i
      where i.reference = said ->> 'repository';
      insert into metrics.%1$I as t (%3$s, %4$s, clocks)
      values (
        %5$s,
        %6$s,
        jsonb_strip_nulls(jsonb_build_object(
          %7$s
        ))
      )
      on conflict (%3$s) do update set
          %8$s,
          clocks = t.clocks || excluded.clocks,
          updated_at = now()
      where excluded.clocks <> '{}'
        and clock > coalesce(greatest(%9$s), '');
      if found then
        return;
      end if;
    end;
  end if;
$body$,
      kind,
      clock,
      keys,
      names,
      key_values,
      said_values,
      replace(said_clocks, 'c.clock', 'clock'),
      later_assignments,
      latest_kept
    );
  end if;

  execute format('drop function if exists metrics.%I(jsonb)', 'fold_' || kind);
  execute format(
    $create$
create function metrics.%1$I(observations jsonb)
returns void
language plpgsql
set search_path = ''
as $fold$
declare
  batch jsonb;
  batches jsonb[];
begin
%5$s
  -- A statement can touch a row once: several observations of one key go in one after the other.
  if jsonb_array_length(observations) > 1 and exists (
    select
    from (
      select row_number() over (partition by %2$s) as n
      %3$s
    ) as s
    where s.n > 1
  ) then
    select array_agg(b.said order by b.n)
    into batches
    from (
      select jsonb_agg(s.said) as said, s.n
      from (
        select e.said, row_number() over (partition by %2$s) as n
        %3$s
      ) as s
      group by s.n
    ) as b;
  else
    batches := array[observations];
  end if;
  foreach batch in array batches loop
%4$s
  end loop;
end
$fold$
    $create$,
    'fold_' || kind,
    key_values,
    keyed_clause,
    case
      when is_update then format(
        $body$
    update metrics.%1$I as t
    set
        %2$s,
        clocks = jsonb_strip_nulls(jsonb_build_object(
          %3$s
        )),
        updated_at = now()
    from (
      select
        %4$s as %5$s,
        %6$s,
        jsonb_strip_nulls(jsonb_build_object(
          %7$s
        )) as clocks
      %8$s
      cross join lateral (select %9$s as clock offset 0) as c
    ) as excluded
    where t.%5$s = excluded.%5$s
      and (
        %10$s
      );$body$,
        kind,
        assignments,
        kept_clocks,
        key_values,
        keys,
        -- A derived table needs its columns named.
        (
          select string_agg(format('case when said ? %L then o.%I end as %I', c.lead, c.name, c.name), E',\n        ' order by c.place)
          from metrics.fold_columns(relation) as c
          where c.rule = 'latest'
        ),
        said_clocks,
        from_clause,
        clock,
        change
      )
      else format(
        $body$
    insert into metrics.%1$I as t (%2$s, %3$s, clocks)
    select
        %4$s,
        %5$s,
        jsonb_strip_nulls(jsonb_build_object(
          %6$s
        ))
      %7$s
      cross join lateral (select %8$s as clock offset 0) as c
    order by %9$s
    on conflict (%2$s) do update set
        %10$s,
        clocks = jsonb_strip_nulls(jsonb_build_object(
          %11$s
        )),
        updated_at = now()
    -- The same said again is not written again.
    where not (t.clocks @> excluded.clocks)
      or (%12$s) is distinct from (%13$s);$body$,
        kind,
        keys,
        names,
        key_values,
        said_values,
        said_clocks,
        from_clause,
        clock,
        (select string_agg(n::text, ', ') from generate_series(1, cardinality(key_columns)) as n),
        assignments,
        kept_clocks,
        (select string_agg(format('excluded.%I', c.name), ', ' order by c.place) from metrics.fold_columns(relation) as c where c.rule is not null),
        (select string_agg(format('t.%I', c.name), ', ' order by c.place) from metrics.fold_columns(relation) as c where c.rule is not null)
      )
    end,
    at_once
  );
  execute format('revoke execute on function metrics.%I(jsonb) from public', 'fold_' || kind);
  execute format(
    'comment on function metrics.%I(jsonb) is %L',
    'fold_' || kind,
    format('Folds a list of observations into metrics.%s. Written by metrics.compile_fold from the rules in its columns'' comments.', kind)
  );
  execute format('comment on column metrics.%I.clocks is %L', kind, 'Clock of the observation that each latest column, or group by its first column, comes from.');
  execute format('comment on column metrics.%I.updated_at is %L', kind, 'When this row last changed here. Never part of a fact.');
  if 'reference_id' = any(key_columns) then
    execute format('comment on column metrics.%I.reference_id is %L', kind, 'Repository reference, as the sender named it.');
  end if;
end
$procedure$;
revoke execute on procedure metrics.compile_fold(text, text[], text, boolean) from public;

comment on procedure metrics.compile_fold(text, text[], text, boolean) is 'Writes the function that folds observations into a fact table, from the merge rules in the table''s comments.';

call metrics.compile_fold('repositories', array['id']);
call metrics.compile_fold(
  'pipeline_runs',
  array['reference_id', 'external_id', 'attempt'],
  rank => $$case said ->> 'status' when 'finished' then 3 when 'running' then 2 when 'queued' then 1 else 0 end$$,
  rank_first => true
);
call metrics.compile_fold(
  'jobs',
  array['reference_id', 'external_id'],
  rank => $$case said ->> 'status' when 'finished' then 3 when 'running' then 2 when 'queued' then 1 else 0 end$$,
  rank_first => true
);
call metrics.compile_fold(
  'pull_requests',
  array['reference_id', 'number'],
  rank => $$case said ->> 'state' when 'merged' then 3 when 'closed' then 2 when 'open' then 1 else 0 end$$
);
call metrics.compile_fold(
  'reviews',
  array['reference_id', 'external_id'],
  rank => $$case when said ->> 'state' = 'dismissed' then 2 when said ->> 'state' is not null then 1 else 0 end$$
);
call metrics.compile_fold('pushes', array['reference_id', 'ref', 'before', 'after', 'pushed_at']);
call metrics.compile_fold('commits', array['reference_id', 'sha']);
call metrics.compile_fold(
  'deployments',
  array['reference_id', 'external_id'],
  rank => $$case said ->> 'status' when 'finished' then 3 when 'running' then 2 when 'queued' then 1 else 0 end$$,
  rank_first => true
);
call metrics.compile_fold('releases', array['reference_id', 'external_id']);
call metrics.compile_fold(
  'incidents',
  array['source', 'external_id'],
  rank => $$case said ->> 'status' when 'resolved' then 3 when 'acknowledged' then 2 when 'open' then 1 else 0 end$$
);
call metrics.compile_fold('test_runs', array['reference_id', 'external_id']);
call metrics.compile_fold('test_cases', array['reference_id', 'test_run_external_id', 'test_id']);
call metrics.compile_fold('rule_checks', array['reference_id', 'external_id']);
call metrics.compile_fold('measurements', array['reference_id', 'name', 'external_id']);
