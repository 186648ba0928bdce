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
  unknown_words jsonb
)
language plpgsql
stable
set search_path = ''
set statement_timeout = '5s'
as $$
begin
  perform metrics.require_reader();
  if days is null or days not between 1 and 400 then
    raise exception using
      errcode = '22023',
      message = format('days is between 1 and 400, not %s', days);
  end if;
  return query
  select
    d.source,
    max(d.received_at),
    extract(epoch from now() - max(d.received_at))::double precision,
    count(*) filter (where d.result = 'stored'),
    count(*) filter (where d.result = 'ignored'),
    count(*) filter (where d.result = 'quarantined'),
    (
      select coalesce(jsonb_object_agg(w.provider_outcome, w.times), '{}')
      from (
        select o.provider_outcome, count(*) as times
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
        join metrics.repository_references as r
          on r.id = o.reference_id
        where r.source = d.source
          and o.provider_outcome is not null
        group by o.provider_outcome
      ) as w
    )
  from metrics.deliveries as d
  where d.received_at >= now() - make_interval(days => ingest_health.days)
  group by d.source
  order by d.source;
end
$$;
revoke execute on function metrics.ingest_health(integer) from public;

comment on function metrics.ingest_health(integer) is 'By source, over the last days: the last delivery, what became of all, and the outcomes that no mapping knows. Deliveries are read by admins and BI roles; a viewer sees none.';
