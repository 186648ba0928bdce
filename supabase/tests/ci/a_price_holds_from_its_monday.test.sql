begin;
set local search_path = extensions;
create extension if not exists pgtap with schema extensions;
select plan(12);

-- A delivery from GitHub; its bytes are its id.
create function pg_temp.tell(id text, facts jsonb)
returns jsonb
language sql
as $$
  select metrics.ingest(
    jsonb_build_object(
      'source', 'github',
      'delivery_id', id,
      'event', 'told',
      'sha256', encode(sha256(convert_to(id, 'UTF8')), 'hex'),
      'size', length(id),
      'content_type', 'application/json',
      'result', 'stored'
    ),
    facts,
    encode(convert_to(id, 'UTF8'), 'base64')
  )
$$;

create function pg_temp.job(id text, labels jsonb, seconds integer, at text)
returns jsonb
language sql
as $$
  select jsonb_build_object(
    'repository', 'github:1', 'external_id', id, 'name', 'test', 'runner_labels', labels, 'status', 'finished', 'outcome', 'success',
    'started_at', at::timestamptz - make_interval(secs => seconds), 'finished_at', at
  )
$$;

select metrics.remove_price(p.label)
from (select distinct label from metrics.prices) as p;
select metrics.set_price('hosted', 0.01, '2026-03-02', is_hosted => true);
select metrics.set_price('hosted', 0.02, '2026-03-09', is_hosted => true);
select metrics.set_price('own', 0.03, '2026-03-02');
select pg_temp.tell('jobs', jsonb_build_object('jobs', jsonb_build_array(
  pg_temp.job('1', '["hosted"]', 61, '2026-03-03T10:00:00Z'),
  pg_temp.job('2', '["hosted"]', 30, '2026-03-04T10:00:00Z'),
  pg_temp.job('3', '["hosted"]', 60, '2026-03-10T10:00:00Z'),
  pg_temp.job('4', '["linux", "own", "hosted"]', 90, '2026-03-10T10:00:00Z'),
  pg_temp.job('5', '["elsewhere"]', 120, '2026-03-10T10:00:00Z'),
  pg_temp.job('6', '["hosted"]', 60, '2026-02-24T10:00:00Z')
)));

select results_eq(
  $$select bucket_start, jobs, minutes, billed_minutes, unpriced_minutes, round(cost::numeric, 6), currency, reason
    from metrics.pipeline_cost('2026-02-23', '2026-03-23', 'week')$$,
  $$values
    (date '2026-02-23', 1::bigint, 1::float8, null::float8, 1::float8, null::numeric, null::text, 'no_price'),
    ('2026-03-02', 2, 91 / 60::float8, 3, 0, 0.03, 'USD', null),
    ('2026-03-09', 3, 4.5, 2.5, 2, 0.065, 'USD', null),
    ('2026-03-16', 0, null, null, null, null, null, 'too_few')$$,
  'each hosted job rounded up by itself, the dearest of a job''s labels, and what has no price beside it'
);
select results_eq(
  $$select name, cost from metrics.pipeline_cost('2026-03-09', '2026-03-16', by => 'runner')$$,
  $$values ('elsewhere', null::float8), ('hosted', 0.02), ('hosted,linux,own', 0.045)$$,
  'by runner'
);
select results_eq(
  $$select external_id, value, unit, reason from metrics.pipeline_cost_evidence('2026-03-09', '2026-03-16')$$,
  $$values ('3', 0.02::float8, 'USD', null), ('4', 0.045, 'USD', null), ('5', null, null, 'no_price')$$,
  'each job with what it cost'
);
select is(
  (select after ->> 'price_per_minute' from metrics.audit where action = 'set_price' order by id desc limit 1),
  '0.03',
  'a price that is set leaves a row in the audit trail'
);
select metrics.set_price('own', 0.04, '2026-03-02');
select results_eq(
  $$select before ->> 'price_per_minute', after ->> 'price_per_minute' from metrics.audit where action = 'set_price' order by id desc limit 1$$,
  $$values ('0.03', '0.04')$$,
  'with what it was before'
);
select metrics.remove_price('own', '2026-03-02');
select is(
  (select before -> 0 ->> 'label' from metrics.audit where action = 'remove_price' order by id desc limit 1),
  'own',
  'and so does one that is removed'
);

select throws_ok($$select metrics.set_price('own', 1, '2026-03-04')$$, '22023', 'valid_from is a Monday, not 2026-03-04', 'a Monday');
select throws_ok($$select metrics.set_price('own', -1)$$, '22023', 'price_per_minute is between 0 and 1000000, not -1', 'not less than nothing');
select throws_ok($$select metrics.set_price('own', 1, currency => 'eur')$$, '22023', 'currency is three capital letters, not eur', 'a currency');
select throws_ok($$select metrics.set_price('own', 1, currency => 'EUR')$$, '22023', 'prices are in USD, and cannot be in EUR as well', 'and one currency');
select throws_ok($$select metrics.set_price('own,other', 1)$$, '22023', 'label is the name of a runner without commas, not own,other', 'one label');
select throws_ok($$select metrics.remove_price('own')$$, 'P0002', 'no price of own', 'what is not there is not removed');

select * from finish();
rollback;
