-- Whether deliveries come in, and what became of them.

set lock_timeout = '2s';
set statement_timeout = '60s';

drop function if exists metrics.health();

create function metrics.health()
returns boolean
language sql
stable
security definer
set search_path = ''
as $$
  select s.is_single
  from metrics.settings as s
$$;
revoke execute on function metrics.health() from public;

comment on function metrics.health() is 'True when the database answers. Read by the function''s health route.';

drop function if exists metrics.ingest_health(integer);
drop function if exists metrics.ingest_health(integer, text, integer);

create function metrics.ingest_health(
  days integer default 7,
  page_after text default null,
  page_size integer default 100
)
returns table (
  source text,
  last_received_at timestamptz,
  seconds_since_last double precision,
  stored bigint,
  ignored bigint,
  quarantined bigint,
  unknown_words jsonb,
  last_stored_at timestamptz,
  ignored_reasons jsonb,
  quarantined_reasons jsonb,
  unknown_services jsonb,
  reason text,
  page_key text,
  total bigint
)
language plpgsql
stable
set search_path = ''
set statement_timeout = '5s'
as $$
#variable_conflict use_column
declare
  asked metrics.period;
  begins_at timestamptz;
begin
  perform metrics.require_reader();
  if days is null or days not between 1 and 400 then
    raise exception using
      errcode = '22023',
      message = format('days is between 1 and 400, not %s', days);
  end if;
  asked := metrics.period_of(null, null, 'none', page_after, page_size);
  if asked.after is not null and (jsonb_array_length(asked.after) <> 1 or jsonb_typeof(asked.after -> 0) <> 'string') then
    raise exception using
      errcode = '22023',
      message = format('%s is no key of a page', left(asked.after::text, 100)),
      hint = 'Pass the page_key of the last row that was read, with the arguments that it was read with.';
  end if;
  begins_at := now() - make_interval(days => days);
  return query
  -- Whoever was ever heard, from one source to the next: there are few, however many deliveries there are.
  with recursive heard (source) as (
    (
      select d.source
      from metrics.deliveries as d
      order by d.source
      limit 1
    )
    union all
    select n.source
    from heard as h
    cross join lateral (
      select d.source
      from metrics.deliveries as d
      where d.source > h.source
      order by d.source
      limit 1
    ) as n
  ),
  known as materialized (
    select h.source
    from heard as h
    union
    select r.source
    from metrics.remembered_sources as r
  ),
  senders as materialized (
    select
      k.source,
      greatest(l.received_at, r.last_received_at) as last_at,
      -- Some of what would have to be counted is no longer kept.
      coalesce(r.last_received_at >= begins_at, false) as is_cut,
      (select count(*) from known) as senders_in_all
    from known as k
    left join metrics.remembered_sources as r
      on r.source = k.source
    left join lateral (
      select d.received_at
      from metrics.deliveries as d
      where d.source = k.source
      order by d.received_at desc
      limit 1
    ) as l
      on true
    where asked.after is null
      or k.source collate "C" > asked.after ->> 0
    order by k.source collate "C"
    limit asked.page_size
  ),
  received as materialized (
    select s.source, d.result, d.reason, count(*) as deliveries
    from senders as s
    join metrics.deliveries as d
      on d.source = s.source
      and d.received_at >= begins_at
    group by s.source, d.result, d.reason
  ),
  words as materialized (
    select o.reference_id, o.provider_outcome, count(*) as times
    from (
      select p.reference_id, p.provider_outcome
      from metrics.pipeline_runs as p
      where p.outcome = 'unknown'
        and p.updated_at >= begins_at
      union all
      select j.reference_id, j.provider_outcome
      from metrics.jobs as j
      where j.outcome = 'unknown'
        and j.updated_at >= begins_at
      union all
      select e.reference_id, e.provider_outcome
      from metrics.deployments as e
      where e.outcome = 'unknown'
        and e.updated_at >= begins_at
    ) as o
    where o.provider_outcome is not null
    group by o.reference_id, o.provider_outcome
  ),
  said as materialized (
    select s.source, w.provider_outcome, sum(w.times) as times
    from words as w
    join metrics.repository_references as r
      on r.id = w.reference_id
    join senders as s
      on case
        when r.source is not null then s.source = r.source
        -- A URL is no sender's own: whoever told about it may have said the word.
        else exists (
          select
          from metrics.deliveries as d
          where d.source = s.source
            and d.received_at >= begins_at
            and d.reference_ids @> array[w.reference_id]
        )
      end
    group by s.source, w.provider_outcome
  ),
  meant as materialized (
    select i.source, i.service, count(*) as times
    from metrics.incidents as i
    where i.reference_id is null
      and i.service is not null
      and i.is_withdrawn is not true
    group by i.source, i.service
  )
  select
    s.source,
    s.last_at,
    extract(epoch from now() - s.last_at)::double precision,
    case
      when not s.is_cut then coalesce((select sum(r.deliveries) from received as r where r.source = s.source and r.result = 'stored'), 0)
    end::bigint,
    case
      when not s.is_cut then coalesce((select sum(r.deliveries) from received as r where r.source = s.source and r.result = 'ignored'), 0)
    end::bigint,
    case
      when not s.is_cut then coalesce((select sum(r.deliveries) from received as r where r.source = s.source and r.result = 'quarantined'), 0)
    end::bigint,
    (
      select coalesce(jsonb_object_agg(w.provider_outcome, w.times), '{}')
      from said as w
      where w.source = s.source
    ),
    (
      select d.received_at
      from metrics.deliveries as d
      where d.source = s.source
        and d.result = 'stored'
      order by d.received_at desc
      limit 1
    ),
    case
      when not s.is_cut then (
        select coalesce(jsonb_object_agg(r.reason, r.deliveries), '{}')
        from received as r
        where r.source = s.source
          and r.result = 'ignored'
      )
    end,
    case
      when not s.is_cut then (
        select coalesce(jsonb_object_agg(r.reason, r.deliveries), '{}')
        from received as r
        where r.source = s.source
          and r.result = 'quarantined'
      )
    end,
    (
      select coalesce(jsonb_object_agg(m.service, m.times), '{}')
      from meant as m
      where m.source = s.source
        and not exists (
          select
          from metrics.services as v
          left join metrics.repositories as o
            on o.id = v.repository_id
          where v.generation = metrics.current_generation()
            and lower(coalesce(v.name, o.full_name)) = lower(m.service)
        )
    ),
    case when s.is_cut then 'outside_retention' end,
    jsonb_build_array(s.source)::text,
    s.senders_in_all
  from senders as s
  order by s.source collate "C";
end
$$;
revoke execute on function metrics.ingest_health(integer, text, integer) from public;

comment on function metrics.ingest_health(integer, text, integer) is 'Each source that was ever heard, by name, the silent ones too: the last delivery and how many seconds ago it came; the last one that is still kept and was stored; of the last days what became of all, why those that were not stored were not, and the outcomes that no mapping knows, of the runs, jobs and deployments that deliveries of those days first told of or changed; the services that incidents of any time name and nobody has. Reason: outside_retention where some deliveries of those days are no longer kept, and the counts NULL. Deliveries are read by admins and BI roles; a viewer sees none. Raises 22023 for what cannot be asked.';

drop function if exists metrics.ingest_health_evidence(integer, text, text, integer);

create function metrics.ingest_health_evidence(
  days integer default 7,
  source text default null,
  page_after text default null,
  page_size integer default 100
)
returns setof metrics.evidence
language plpgsql
stable
set search_path = ''
set statement_timeout = '5s'
as $$
#variable_conflict use_column
declare
  asked metrics.period;
  after metrics.evidence_key;
  rows_in_all bigint;
begin
  perform metrics.require_reader();
  if days is null or days not between 1 and 400 then
    raise exception using
      errcode = '22023',
      message = format('days is between 1 and 400, not %s', days);
  end if;
  asked := metrics.period_of(null, null, 'none', page_after, page_size);
  after := metrics.evidence_after(asked);
  select count(*)
  into rows_in_all
  from metrics.deliveries as d
  where d.result <> 'stored'
    and d.received_at >= now() - make_interval(days => days)
    and (ingest_health_evidence.source is null or d.source = ingest_health_evidence.source);

  return query
  select
    d.received_at,
    null::text,
    null::text,
    'delivery',
    d.delivery_id,
    null::text,
    d.event,
    null::double precision,
    null::text,
    d.reason,
    null::text,
    jsonb_build_object('source', d.source, 'result', d.result, 'size', d.size, 'notes', d.notes, 'body_expires_on', d.body_expires_on),
    metrics.evidence_page_key(d.received_at, '', 'delivery', d.delivery_id, d.source),
    rows_in_all
  from metrics.deliveries as d
  where d.result <> 'stored'
    and d.received_at >= greatest(after.happened_at, now() - make_interval(days => days))
    and (ingest_health_evidence.source is null or d.source = ingest_health_evidence.source)
    and (
      after.happened_at is null
      -- Two sources may have given one id.
      or (d.received_at, '', 'delivery', d.delivery_id, d.source)::metrics.evidence_key > after
    )
  order by d.received_at, d.delivery_id collate "C", d.source collate "C"
  limit asked.page_size;
end
$$;
revoke execute on function metrics.ingest_health_evidence(integer, text, text, integer) from public;

comment on function metrics.ingest_health_evidence(integer, text, text, integer) is 'The deliveries of the last days that were ignored or quarantined, in the order in which they came, each with its reason. Read by admins and BI roles; a viewer sees none.';
