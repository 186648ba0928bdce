-- What a minute of a runner costs: a table that admins edit, with dates, so that a new price changes no number of the past.

set lock_timeout = '2s';
set statement_timeout = '60s';

do $$
begin
  if to_regclass('metrics.prices') is null then
    create table metrics.prices (
      label text not null,
      valid_from date not null,
      price_per_minute numeric not null,
      currency text not null,
      is_hosted boolean not null,
      source text not null,
      constraint prices_pkey primary key (label, valid_from),
      constraint label_is_not_empty check (btrim(label) <> '' and length(label) <= 200 and strpos(label, ',') = 0),
      -- Jobs are counted by week, so a week has one price.
      constraint valid_from_is_a_monday check (extract(isodow from valid_from) = 1),
      constraint price_is_not_negative check (price_per_minute between 0 and 1000000),
      constraint currency_has_three_letters check (currency ~ '^[A-Z]{3}$'),
      constraint source_is_not_empty check (btrim(source) <> '' and length(source) <= 1000)
    );

    -- Once, with the table: what an admin changes or removes stays so.
    insert into metrics.prices (label, valid_from, price_per_minute, currency, is_hosted, source)
    select
      p.label,
      d.valid_from,
      case d.place when 1 then p.first_price else p.second_price end,
      'USD',
      true,
      d.source
    from (
      values
        ('ubuntu-latest', 0.008, 0.006),
        ('ubuntu-24.04', 0.008, 0.006),
        ('ubuntu-22.04', 0.008, 0.006),
        ('windows-latest', 0.016, 0.010),
        ('windows-2025', 0.016, 0.010),
        ('windows-2022', 0.016, 0.010),
        ('macos-latest', 0.08, 0.062),
        ('macos-15', 0.08, 0.062),
        ('macos-14', 0.08, 0.062)
    ) as p (label, first_price, second_price)
    cross join (
      values
        (1, date '2019-11-11', 'GitHub''s page on the pricing of Actions runners: standard runners of private repositories, until January 1, 2026'),
        (2, date '2026-01-05', 'GitHub''s page on the pricing of Actions runners: standard runners of private repositories, from January 1, 2026')
    ) as d (place, valid_from, source);
  end if;
end
$$;

comment on table metrics.prices is 'Prices of runners by label and date, changed by metrics.set_price and metrics.remove_price. All in one currency.';
comment on column metrics.prices.label is 'Label of a runner, as jobs name it.';
comment on column metrics.prices.valid_from is 'Monday of the first week that it holds for, until the next price of the label.';
comment on column metrics.prices.price_per_minute is 'Price of a minute.';
comment on column metrics.prices.currency is 'Three letters, as in ISO 4217.';
comment on column metrics.prices.is_hosted is 'Whether each job''s minutes are rounded up, as hosted runners are paid.';
comment on column metrics.prices.source is 'Where the price was read.';

drop function if exists metrics.set_price(text, numeric, date, text, boolean, text);

create function metrics.set_price(
  label text,
  price_per_minute numeric,
  valid_from date default null,
  currency text default 'USD',
  is_hosted boolean default false,
  source text default 'set by an admin'
)
returns void
language plpgsql
security definer
set search_path = ''
set statement_timeout = '5s'
as $$
#variable_conflict use_variable
declare
  week constant date := coalesce(valid_from, metrics.week_of(now(), (select g.time_zone from metrics.generations as g where g.state = 'current')));
  other text;
  earlier jsonb;
begin
  perform metrics.require_admin();
  if label is null or btrim(label) = '' or length(label) > 200 or strpos(label, ',') > 0 then
    raise exception using
      errcode = '22023',
      message = format('label is the name of a runner without commas, not %s', coalesce(left(label, 100), 'null'));
  end if;
  if extract(isodow from week) is distinct from 1 then
    raise exception using
      errcode = '22023',
      message = format('valid_from is a Monday, not %s', week),
      hint = format('The Monday of that week is %s.', date_trunc('week', week::timestamp)::date);
  end if;
  if price_per_minute is null or not price_per_minute between 0 and 1000000 then
    raise exception using
      errcode = '22023',
      message = format('price_per_minute is between 0 and 1000000, not %s', coalesce(price_per_minute::text, 'null'));
  end if;
  if currency is null or currency !~ '^[A-Z]{3}$' then
    raise exception using
      errcode = '22023',
      message = format('currency is three capital letters, not %s', coalesce(left(currency, 100), 'null')),
      hint = 'For example USD or EUR.';
  end if;
  if source is null or btrim(source) = '' or length(source) > 1000 then
    raise exception using
      errcode = '22023',
      message = 'source says where the price was read, in at most 1000 characters';
  end if;
  -- Two admins who set prices in two currencies at the same moment must not both succeed.
  perform pg_advisory_xact_lock(hashtextextended('metrics.prices', 0));
  select p.currency
  into other
  from metrics.prices as p
  where p.currency <> set_price.currency
    and (p.label, p.valid_from) <> (set_price.label, week)
  limit 1;
  if found then
    raise exception using
      errcode = '22023',
      message = format('prices are in %s, and cannot be in %s as well', other, currency),
      hint = 'Remove those first with metrics.remove_price.';
  end if;
  select to_jsonb(p)
  into earlier
  from metrics.prices as p
  where p.label = set_price.label
    and p.valid_from = week;
  insert into metrics.prices as p (label, valid_from, price_per_minute, currency, is_hosted, source)
  values (label, week, price_per_minute, currency, coalesce(is_hosted, false), source)
  on conflict on constraint prices_pkey do update set
    price_per_minute = excluded.price_per_minute,
    currency = excluded.currency,
    is_hosted = excluded.is_hosted,
    source = excluded.source;
  perform metrics.note('set_price', earlier, (
    select to_jsonb(p)
    from metrics.prices as p
    where p.label = set_price.label
      and p.valid_from = week
  ));
end
$$;
revoke execute on function metrics.set_price(text, numeric, date, text, boolean, text) from public;

comment on function metrics.set_price(text, numeric, date, text, boolean, text) is 'Sets what a minute of the runners with this label costs from a Monday on; by default from this week''s. is_hosted: each job''s minutes are rounded up.';

drop function if exists metrics.remove_price(text, date);

create function metrics.remove_price(label text, valid_from date default null)
returns void
language plpgsql
security definer
set search_path = ''
set statement_timeout = '5s'
as $$
declare
  earlier jsonb;
begin
  perform metrics.require_admin();
  with gone as (
    delete from metrics.prices as p
    where p.label = remove_price.label
      and (remove_price.valid_from is null or p.valid_from = remove_price.valid_from)
    returning to_jsonb(p) as price
  )
  select jsonb_agg(g.price order by g.price ->> 'valid_from')
  into earlier
  from gone as g;
  if earlier is null then
    raise exception using
      errcode = 'P0002',
      message = format('no price of %s%s', remove_price.label, coalesce(' from ' || remove_price.valid_from, '')),
      hint = 'Prices stand in metrics.prices.';
  end if;
  perform metrics.note('remove_price', earlier, null);
end
$$;
revoke execute on function metrics.remove_price(text, date) from public;

comment on function metrics.remove_price(text, date) is 'Removes the price of a label that holds from this Monday on, or all prices of the label.';
