-- Long results come in pages by key, with the total beside them: numbers as a grid of groups and buckets, evidence as rows in time.

set lock_timeout = '2s';
set statement_timeout = '60s';

drop function if exists metrics.page_of(metrics.period, text[], text[]);

create function metrics.page_of(asked metrics.period, groups text[], parts text[])
returns table (name text, bucket_start date, part text, page_key text, total bigint)
language plpgsql
stable
set search_path = ''
rows 100
as $$
#variable_conflict use_column
declare
  starts date[];
  start_texts text[];
  begin_at bigint := 0;
  total_rows bigint;
begin
  select array_agg(b.bucket_start order by b.bucket_start), array_agg(coalesce(to_char(b.bucket_start, 'YYYY-MM-DD'), '') order by b.bucket_start)
  into starts, start_texts
  from metrics.buckets_of(asked) as b;
  total_rows := cardinality(groups)::bigint * cardinality(starts) * cardinality(parts);
  if asked.after is not null then
    if jsonb_array_length(asked.after) <> 3
      or jsonb_path_exists(asked.after, '$[*] ? (@.type() != "string")')
      or asked.after ->> 1 !~ '^([0-9]{4}-[0-9]{2}-[0-9]{2})?$' then
      raise exception using
        errcode = '22023',
        message = format('%s is no key of a page', left(asked.after::text, 100)),
        hint = 'Pass the page_key of the last row that was read, with the arguments that it was read with.';
    end if;
    -- How many rows stand up to the key; what it names may be gone by now.
    select
      count(*) filter (where g.name collate "C" < asked.after ->> 0) * cardinality(starts) * cardinality(parts)
      + count(*) filter (where g.name = asked.after ->> 0) * (
        (select count(*) from unnest(start_texts) as s (text) where s.text collate "C" < asked.after ->> 1) * cardinality(parts)
        + (select count(*) from unnest(start_texts) as s (text) where s.text = asked.after ->> 1)
          * (select count(*) from unnest(parts) as p (part) where p.part collate "C" <= asked.after ->> 2)
      )
    into begin_at
    from unnest(groups) as g (name);
  end if;
  return query
  select
    nullif(groups[g.place], ''),
    starts[g.start_place],
    parts[g.part_place],
    jsonb_build_array(groups[g.place], start_texts[g.start_place], parts[g.part_place])::text,
    total_rows
  -- Everybody who is signed in can ask for a page, so a page is no larger than period_of lets it be.
  from generate_series(begin_at, least(begin_at + least(asked.page_size, 500), total_rows) - 1) as i (n)
  cross join lateral (
    select
      i.n / (cardinality(starts) * cardinality(parts)) + 1 as place,
      i.n / cardinality(parts) % cardinality(starts) + 1 as start_place,
      i.n % cardinality(parts) + 1 as part_place
  ) as g;
end
$$;
revoke execute on function metrics.page_of(metrics.period, text[], text[]) from public;

comment on function metrics.page_of(metrics.period, text[], text[]) is 'One page of the rows of a number: each group (by name, "" for all together) with each bucket of the period and each part. Groups and parts come in the order of their bytes, without any twice.';

do $$
begin
  if to_regtype('metrics.evidence') is null then
    create type metrics.evidence as (
      happened_at timestamptz,
      repository text,
      service text,
      kind text,
      external_id text,
      commit_sha text,
      title text,
      value double precision,
      unit text,
      reason text,
      url text,
      detail jsonb,
      page_key text,
      total bigint
    );
  end if;
end
$$;

revoke usage on type metrics.evidence from public;

comment on type metrics.evidence is 'A row behind a number: when, of which repository and service, which fact, its part in the number, and the link to the provider.';
comment on column metrics.evidence.happened_at is 'The moment that decides the period to which the row belongs.';
comment on column metrics.evidence.repository is 'Full name of the repository, else its first reference; NULL where it is about none.';
comment on column metrics.evidence.service is 'Name of the service, where the number is about services.';
comment on column metrics.evidence.kind is 'Kind of the fact, in the singular: deployment, pipeline_run or release (as what a service is deployed by), change, incident, pull_request, job, test_run, test_case, rule_check, measurement or delivery.';
comment on column metrics.evidence.external_id is 'The sender''s id of the fact; the sha of a change.';
comment on column metrics.evidence.commit_sha is 'The commit that it is about.';
comment on column metrics.evidence.title is 'What a reader knows it by: a title, a pipeline, a rule, an event.';
comment on column metrics.evidence.value is 'Its part in the number; NULL where it has none, and reason says why.';
comment on column metrics.evidence.unit is 'Unit of value: seconds; ratio; deployments, failed, rework, failures or retries, of which value is a number; the currency of a cost; or what was measured in.';
comment on column metrics.evidence.reason is 'Why it is left out of the number, or what it is counted as.';
comment on column metrics.evidence.url is 'Where the provider shows it; https, or NULL.';
comment on column metrics.evidence.detail is 'What else the number depends on: an object, its keys told by the function.';
comment on column metrics.evidence.page_key is 'Key of the row: as page_after it asks for the rows after it.';
comment on column metrics.evidence.total is 'Rows of all pages.';

do $$
begin
  if to_regtype('metrics.evidence_key') is null then
    create type metrics.evidence_key as (
      happened_at timestamptz,
      repository text collate pg_catalog."C",
      kind text collate pg_catalog."C",
      external_id text collate pg_catalog."C",
      reference text collate pg_catalog."C"
    );
  end if;
end
$$;

revoke usage on type metrics.evidence_key from public;

comment on type metrics.evidence_key is 'What evidence is ordered by: no two rows of an answer have the same, or the page that begins after one would leave out the other.';
comment on column metrics.evidence_key.happened_at is 'The moment of the row.';
comment on column metrics.evidence_key.repository is 'What its repository is called; empty where it is about none.';
comment on column metrics.evidence_key.kind is 'Kind of the fact.';
comment on column metrics.evidence_key.external_id is 'The sender''s id of the fact.';
comment on column metrics.evidence_key.reference is 'What tells facts of one id apart: the reference that the sender knows the repository by, with the service where rows are of services, and with the test run and the suite where they are of test cases; the source of an incident or a delivery. Several senders may tell of one repository, and repositories of several hosts may be called alike.';

drop function if exists metrics.evidence_after(metrics.period);

create function metrics.evidence_after(asked metrics.period)
returns metrics.evidence_key
language plpgsql
stable
set search_path = ''
as $$
declare
  after metrics.evidence_key;
begin
  if asked.after is null then
    return null;
  end if;
  if jsonb_array_length(asked.after) = 5 and not jsonb_path_exists(asked.after, '$[*] ? (@.type() != "string")') then
    begin
      after := (asked.after ->> 0, asked.after ->> 1, asked.after ->> 2, asked.after ->> 3, asked.after ->> 4);
    exception
      when data_exception then
        after := null;
    end;
  end if;
  if after.happened_at is null then
    raise exception using
      errcode = '22023',
      message = format('%s is no key of a page', left(asked.after::text, 100)),
      hint = 'Pass the page_key of the last row that was read, with the arguments that it was read with.';
  end if;
  return after;
end
$$;
revoke execute on function metrics.evidence_after(metrics.period) from public;

comment on function metrics.evidence_after(metrics.period) is 'The key after which a page of evidence begins; NULL for the first page. Raises 22023 for what is no such key.';

drop function if exists metrics.evidence_page_key(timestamptz, text, text, text);
drop function if exists metrics.evidence_page_key(timestamptz, text, text, text, text);

create function metrics.evidence_page_key(happened_at timestamptz, repository text, kind text, external_id text, reference text)
returns text
language sql
stable
set search_path = ''
as $$
  select jsonb_build_array(
    to_char(happened_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    repository,
    kind,
    external_id,
    reference
  )::text
$$;
revoke execute on function metrics.evidence_page_key(timestamptz, text, text, text, text) from public;

comment on function metrics.evidence_page_key(timestamptz, text, text, text, text) is 'The page_key of a row of evidence: the parts of its evidence_key.';
