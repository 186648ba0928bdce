-- Erasing a repository or a person, in bounded steps: each call does a limited piece and says whether there is more.

set lock_timeout = '2s';
set statement_timeout = '60s';

-- A name as bodies may hold it: as it is, in a form (a%2Fb), and in JSON with escaped slashes (a\/b).
create or replace function metrics.spellings(name text)
returns text[]
language sql
immutable
set search_path = ''
as $$
  select array_agg(distinct lower(encode(convert_to(s.spelling, 'UTF8'), 'escape')))
  from (
    select name
    union all
    select replace(name, '/', '\/')
    union all
    select string_agg(
      case
        when b.byte = 32 then '+'
        when chr(b.byte) ~ '^[A-Za-z0-9_.~-]$' then chr(b.byte)
        else '%' || lpad(to_hex(b.byte), 2, '0')
      end,
      '' order by b.place
    )
    from (
      select get_byte(convert_to(name, 'UTF8'), p.place) as byte, p.place
      from generate_series(0, octet_length(convert_to(name, 'UTF8')) - 1) as p (place)
    ) as b
  ) as s (spelling)
$$;
revoke execute on function metrics.spellings(text) from public;

comment on function metrics.spellings(text) is 'How a name may stand in a body, in lower case and with bytes that are no ASCII escaped.';

create or replace function metrics.holds_any(body bytea, spellings text[])
returns boolean
language sql
immutable
set search_path = ''
as $$
  select exists (
    select
    from (select lower(encode(body, 'escape')) as text) as b
    cross join unnest(spellings) as s (spelling)
    where position(s.spelling in b.text) > 0
  )
$$;
revoke execute on function metrics.holds_any(bytea, text[]) from public;

comment on function metrics.holds_any(bytea, text[]) is 'Whether a body holds one of these spellings, in upper or lower case.';

drop function if exists metrics.forget_repository(text, integer);

create function metrics.forget_repository(repository text, step integer default 10000)
returns jsonb
language plpgsql
security definer
set search_path = ''
set statement_timeout = '5s'
as $$
declare
  gone bigint;
  gone_references bigint[];
  gone_spellings text[];
  fact_table text;
  erased integer := 0;
  rows integer;
begin
  perform metrics.require_admin();
  if step is null or step not between 1 and 100000 then
    raise exception using
      errcode = '22023',
      message = format('step is between 1 and 100000, not %s', step);
  end if;
  -- Deliveries that are being stored are waited for, and the next ones wait: until this step is done.
  perform metrics.hold_deliveries();
  gone := metrics.repository_named(repository);
  perform metrics.lock_repositories(array[gone]);
  gone_references := array(
    select r.id
    from metrics.repository_references as r
    where r.repository_id = gone
  );
  gone_spellings := (
    select array_agg(distinct s)
    from (
      select r.full_name
      from metrics.repositories as r
      where r.id = gone
        and r.full_name is not null
      union
      -- Names that it had before stand in the URLs that it claimed.
      select regexp_replace(r.url, '^[^/]*/', '')
      from metrics.repository_references as r
      where r.repository_id = gone
        and r.url like '%/%'
    ) as n (name)
    cross join unnest(metrics.spellings(n.name)) as s
  );

  foreach fact_table in array array[
    'test_cases', 'test_runs', 'tests', 'rule_checks', 'measurements', 'incidents', 'releases', 'deployments', 'commits', 'pushes',
    'reviews', 'pull_requests', 'jobs', 'pipeline_runs'
  ] loop
    exit when erased >= step;
    execute format(
      'delete from metrics.%1$I where ctid in (select t.ctid from metrics.%1$I as t where t.reference_id = any($1) limit $2)',
      fact_table
    )
    using gone_references, step - erased;
    get diagnostics rows = row_count;
    erased := erased + rows;
  end loop;

  -- What was derived of it. Changes and deployments last: as they go, so does what was counted of them.
  foreach fact_table in array array['postponed', 'deployment_failures', 'branch_moves', 'changes', 'service_deployments', 'lead_time_spans',
    'service_spans', 'services'
  ] loop
    exit when erased >= step;
    execute format(
      'delete from metrics.%1$I where ctid in (select t.ctid from metrics.%1$I as t where t.repository_id = $1 limit $2)',
      fact_table
    )
    using gone, step - erased;
    get diagnostics rows = row_count;
    erased := erased + rows;
  end loop;

  -- What was counted of facts that were dropped before, or in a generation that nobody reads any more.
  foreach fact_table in array array['pipeline_spans', 'job_weeks', 'pull_request_spans', 'test_spans', 'rule_spans'] loop
    exit when erased >= step;
    execute format(
      'delete from metrics.%1$I where ctid in (
         select t.ctid
         from metrics.generations as g
         join metrics.%1$I as t
           on t.generation = g.id
         where t.reference_id = any($1)
         limit $2
       )',
      fact_table
    )
    using gone_references, step - erased;
    get diagnostics rows = row_count;
    erased := erased + rows;
  end loop;

  if erased < step then
    with theirs as (
      select d.source, d.delivery_id
      from metrics.deliveries as d
      where d.reference_ids && gone_references
      limit step - erased
    ),
    bodies as (
      delete from metrics.bodies as b
      using theirs as t
      where b.source = t.source
        and b.delivery_id = t.delivery_id
    )
    update metrics.deliveries as d
    set
      reference_ids = '{}',
      body_expires_on = null
    from theirs as t
    where d.source = t.source
      and d.delivery_id = t.delivery_id;
    get diagnostics rows = row_count;
    erased := erased + rows;
  end if;

  -- What was not understood has no references: there the name in the bytes decides.
  if erased < step and gone_spellings is not null then
    with theirs as (
      select d.source, d.delivery_id
      from metrics.deliveries as d
      join metrics.bodies as b
        on b.source = d.source
        and b.delivery_id = d.delivery_id
        and b.expires_on = d.body_expires_on
      where d.result = 'quarantined'
        and metrics.holds_any(b.body, gone_spellings)
      limit step - erased
    ),
    bodies as (
      delete from metrics.bodies as b
      using theirs as t
      where b.source = t.source
        and b.delivery_id = t.delivery_id
    )
    update metrics.deliveries as d
    set body_expires_on = null
    from theirs as t
    where d.source = t.source
      and d.delivery_id = t.delivery_id;
    get diagnostics rows = row_count;
    erased := erased + rows;
  end if;

  if erased < step then
    perform metrics.link_all_lost_incidents(g.id)
    from metrics.generations as g
    where g.state <> 'retired'
      -- One that is being built links them at its end.
      and g.repositories_up_to = 9223372036854775807;
    delete from metrics.repository_references as r
    where r.repository_id = gone;
    delete from metrics.repositories as r
    where r.id = gone;
    perform metrics.note('forget_repository', jsonb_build_object('repository', repository), null);
  end if;
  return jsonb_build_object('erased', erased, 'done', erased < step);
end
$$;
revoke execute on function metrics.forget_repository(text, integer) from public;

comment on function metrics.forget_repository(text, integer) is 'Erases a repository: facts, bodies, references. Erases about step rows a call; call again until done is true.';

drop function if exists metrics.forget_person(text, integer, jsonb);

create function metrics.forget_person(login text, step integer default 10000, continue_after jsonb default null)
returns jsonb
language plpgsql
security definer
set search_path = ''
set statement_timeout = '5s'
as $$
declare
  place record;
  erased integer := 0;
  rows integer;
  looked integer := 0;
  last_body jsonb;
begin
  perform metrics.require_admin();
  if login is null or length(btrim(login)) < 2 then
    raise exception using
      errcode = '22023',
      message = 'login needs at least two characters';
  end if;
  if step is null or step not between 1 and 100000 then
    raise exception using
      errcode = '22023',
      message = format('step is between 1 and 100000, not %s', step);
  end if;

  for place in
    select *
    from (
      values
        ('pipeline_runs', 'actor'), ('pull_requests', 'author'), ('reviews', 'reviewer'), ('pushes', 'pusher'), ('commits', 'author'),
        ('deployments', 'actor')
    ) as p (fact_table, fact_column)
  loop
    exit when erased >= step;
    execute format(
      'update metrics.%1$I set %2$I = null, updated_at = now()
       where ctid in (select t.ctid from metrics.%1$I as t where lower(t.%2$I) = lower($1) limit $2)',
      place.fact_table,
      place.fact_column
    )
    using login, step - erased;
    get diagnostics rows = row_count;
    erased := erased + rows;
  end loop;

  if erased < step then
    update metrics.measurements as m
    set
      attributes = (
        select coalesce(jsonb_object_agg(a.key, a.value), '{}')
        from jsonb_each(m.attributes) as a
        where lower(a.value #>> '{}') is distinct from lower(login)
      ),
      updated_at = now()
    where m.ctid in (
      select t.ctid
      from metrics.measurements as t
      cross join lateral jsonb_each(t.attributes) as a
      where lower(a.value #>> '{}') = lower(login)
      limit step - erased
    );
    get diagnostics rows = row_count;
    erased := erased + rows;
  end if;
  if erased >= step then
    return jsonb_build_object('erased', erased, 'done', false, 'continue_after', null);
  end if;

  -- Bodies are searched a page at a time, in the order of their key: a whole look would outlast any time-out.
  with page as (
    select b.source, b.delivery_id, b.expires_on, metrics.holds_any(b.body, metrics.spellings(login)) as names_them
    from metrics.bodies as b
    where continue_after is null
      or (b.source, b.delivery_id) > (continue_after ->> 'source', continue_after ->> 'delivery_id')
    order by b.source, b.delivery_id
    limit least(step, 2000)
  ),
  gone as (
    delete from metrics.bodies as b
    using page as p
    where p.names_them
      and b.source = p.source
      and b.delivery_id = p.delivery_id
      and b.expires_on = p.expires_on
    returning b.source, b.delivery_id
  ),
  marked as (
    update metrics.deliveries as d
    set body_expires_on = null
    from gone as g
    where d.source = g.source
      and d.delivery_id = g.delivery_id
    returning 1
  )
  select count(*), (select count(*) from marked), (array_agg(jsonb_build_object('source', p.source, 'delivery_id', p.delivery_id)
    order by p.source desc, p.delivery_id desc))[1]
  into looked, rows, last_body
  from page as p;

  if looked < least(step, 2000) then
    perform metrics.note('forget_person', null, null);
  end if;
  return jsonb_build_object(
    'erased', erased + rows,
    'done', looked < least(step, 2000),
    'continue_after', case when looked >= least(step, 2000) then last_body end
  );
end
$$;
revoke execute on function metrics.forget_person(text, integer, jsonb) from public;

comment on function metrics.forget_person(text, integer, jsonb) is 'Erases a login from facts, and the bodies that hold it. Call again with continue_after of the answer until done is true. The audit row holds no name.';
