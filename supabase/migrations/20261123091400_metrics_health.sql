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

create function metrics.ingest_health(days integer default 7)
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
  unknown_services jsonb
)
language plpgsql
stable
set search_path = ''
set statement_timeout = '5s'
as $$
declare
  begins_at timestamptz;
begin
  perform metrics.require_reader();
  if days is null or days not between 1 and 400 then
    raise exception using
      errcode = '22023',
      message = format('days is between 1 and 400, not %s', days);
  end if;
  begins_at := now() - make_interval(days => ingest_health.days);
  return query
  with received as materialized (
    select d.source, d.result, d.reason, count(*) as deliveries, max(d.received_at) as last_at
    from metrics.deliveries as d
    where d.received_at >= begins_at
    group by d.source, d.result, d.reason
  ),
  senders as materialized (
    select r.source, max(r.last_at) as last_at
    from received as r
    group by r.source
  ),
  words as materialized (
    select o.reference_id, o.provider_outcome, count(*) as times
    from (
      select p.reference_id, p.provider_outcome
      from metrics.pipeline_runs as p
      where p.outcome = 'unknown'
      union all
      select j.reference_id, j.provider_outcome
      from metrics.jobs as j
      where j.outcome = 'unknown'
      union all
      select e.reference_id, e.provider_outcome
      from metrics.deployments as e
      where e.outcome = 'unknown'
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
    coalesce((select sum(r.deliveries) from received as r where r.source = s.source and r.result = 'stored'), 0)::bigint,
    coalesce((select sum(r.deliveries) from received as r where r.source = s.source and r.result = 'ignored'), 0)::bigint,
    coalesce((select sum(r.deliveries) from received as r where r.source = s.source and r.result = 'quarantined'), 0)::bigint,
    (
      select coalesce(jsonb_object_agg(w.provider_outcome, w.times), '{}')
      from said as w
      where w.source = s.source
    ),
    (select max(r.last_at) from received as r where r.source = s.source and r.result = 'stored'),
    (
      select coalesce(jsonb_object_agg(r.reason, r.deliveries), '{}')
      from received as r
      where r.source = s.source
        and r.result = 'ignored'
    ),
    (
      select coalesce(jsonb_object_agg(r.reason, r.deliveries), '{}')
      from received as r
      where r.source = s.source
        and r.result = 'quarantined'
    ),
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
    )
  from senders as s
  order by s.source;
end
$$;
revoke execute on function metrics.ingest_health(integer) from public;

comment on function metrics.ingest_health(integer) is 'By source, over the last days: the last delivery and how long ago it came, the last one that was stored, what became of all, why those that were not stored were not, the outcomes that no mapping knows, and the services that incidents name and nobody has. Deliveries are read by admins and BI roles; a viewer sees none.';

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
    -- Two sources may have given one id.
    metrics.evidence_page_key(d.received_at, d.source, 'delivery', d.delivery_id),
    rows_in_all
  from metrics.deliveries as d
  where d.result <> 'stored'
    and d.received_at >= greatest(after.happened_at, now() - make_interval(days => days))
    and (ingest_health_evidence.source is null or d.source = ingest_health_evidence.source)
    and (
      after.happened_at is null
      or (d.received_at, d.source collate "C", 'delivery' collate "C", d.delivery_id collate "C")
        > (after.happened_at, after.repository, after.kind, after.external_id)
    )
  order by d.received_at, d.source collate "C", d.delivery_id collate "C"
  limit asked.page_size;
end
$$;
revoke execute on function metrics.ingest_health_evidence(integer, text, text, integer) from public;

comment on function metrics.ingest_health_evidence(integer, text, text, integer) is 'The deliveries of the last days that were ignored or quarantined, in the order in which they came, each with its reason. Read by admins and BI roles; a viewer sees none.';
