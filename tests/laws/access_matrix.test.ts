// Law 5, least privilege: every table and every function of the schema, as the catalog lists them, for everybody. A table or
// function that is not in the maps below fails, so a new one cannot escape.
import { assert, assertEquals } from "@std/assert";
import type { Sql, TransactionSql } from "postgres";
import { type TestDatabase, testDatabase } from "../support/database.ts";
import { as, attempt, people, type Person, reader, repositories, seed, users } from "../support/people.ts";

/** What somebody reads of a table. */
type Reading =
  /** 42501: the table is closed to the role. */
  | "refused"
  /** The table looks empty. */
  | "nothing"
  /** The rows of the repository of the caller's team, of which there are some, and not the others, of which there are some. */
  | "own"
  /** Every row, of which there are some. */
  | "all"
  /** Some rows, made of what the caller reads. */
  | "some";

/** Tables that are read alike. */
const tableClasses: Record<string, { tables: string[]; reads: Record<Person, Reading>; own?: string }> = {
  "rows of a repository": {
    tables: [
      "pipeline_runs",
      "jobs",
      "pull_requests",
      "reviews",
      "pushes",
      "commits",
      "deployments",
      "releases",
      "incidents",
      "tests",
      "test_runs",
      "test_cases",
      "rule_checks",
      "measurements",
      "pipeline_spans",
      "job_weeks",
      "pull_request_spans",
      "test_spans",
      "rule_spans",
    ],
    own: "select %i as row from metrics.%s as t join metrics.repository_references as r on r.id = t.reference_id " +
      "where r.reference = $1",
    reads: reads({ stranger: "nothing", "other viewer": "own", viewer: "own", admin: "all", metrics_reader: "all" }),
  },
  "repositories": {
    tables: ["repositories"],
    own: "select %i as row from metrics.%s as t join metrics.repository_references as r on r.repository_id = t.id " +
      "where r.reference = $1",
    reads: reads({ stranger: "nothing", "other viewer": "own", viewer: "own", admin: "all", metrics_reader: "all" }),
  },
  "what joins the rows of a repository": {
    tables: [
      "repository_references",
      "team_repositories",
      "services",
      "branch_moves",
      "changes",
      "service_deployments",
      "deployment_failures",
      "service_spans",
      "lead_time_spans",
      "pull_request_events",
      "deployment_events",
      "rule_compliance_events",
    ],
    own: "select %i as row from metrics.%s as t where t.repository_id = " +
      "(select r.repository_id from metrics.repository_references as r where r.reference = $1)",
    reads: reads({ stranger: "nothing", "other viewer": "own", viewer: "own", admin: "all", metrics_reader: "all" }),
  },
  "what every member reads": {
    tables: ["settings", "generations", "horizons", "teams", "prices", "environment_rules", "bands"],
    reads: reads({ stranger: "nothing", "other viewer": "all", viewer: "all", admin: "all", metrics_reader: "all" }),
  },
  "numbers": {
    tables: ["daily_development_metrics"],
    reads: reads({ stranger: "nothing", "other viewer": "some", viewer: "some", admin: "all", metrics_reader: "all" }),
  },
  "the inbox": {
    tables: ["deliveries", "remembered_sources"],
    reads: reads({
      stranger: "nothing",
      "other viewer": "nothing",
      viewer: "nothing",
      admin: "all",
      metrics_reader: "all",
    }),
  },
  "which weeks are frozen": {
    tables: ["frozen_weeks"],
    reads: reads({
      stranger: "nothing",
      "other viewer": "nothing",
      viewer: "nothing",
      admin: "all",
      metrics_reader: "all",
    }),
  },
  "oneself": {
    tables: ["members"],
    own: "select %i as row from metrics.%s as t where t.email = $2",
    reads: reads({ stranger: "nothing", "other viewer": "own", viewer: "own", admin: "all" }),
  },
  "what only admins read": {
    tables: ["team_members", "audit"],
    reads: reads({ stranger: "nothing", "other viewer": "nothing", viewer: "nothing", admin: "all" }),
  },
  "what nobody reads": {
    tables: ["bodies", "bodies_default", "bodies_<YYYYMMDD>", "identities", "environments", "under_way", "postponed"],
    reads: reads({}),
  },
};

/** What a function does when somebody may execute it. */
type Doing =
  /** 42501, because the role may not execute it. */
  | "refused"
  /** 42501, raised by the function itself. */
  | "forbidden"
  /** It does what it is for. */
  | "does";

/** Functions that are called alike; a call is SQL with arguments that fit the rows of {@link seed}. */
const functionClasses: Record<string, { functions: Record<string, string>; does: Record<Person, Doing> }> = {
  "what the edge function calls": {
    functions: {
      "ingest(delivery jsonb, facts jsonb, body text)":
        `ingest('{"source": "github", "delivery_id": "new", "result": "stored", "sha256": "${"00".repeat(32)}"}')`,
      "health()": "health()",
      "live_identities()": "live_identities()",
    },
    does: does({ service_role: "does" }),
  },
  "what policies and readers ask": {
    functions: {
      "is_member()": "is_member()",
      "is_admin()": "is_admin()",
      "caller()": "caller()",
    },
    does: does({ ...signedIn("does"), metrics_reader: "does" }),
  },
  "what policies for members ask": {
    functions: {
      "readable_repositories()": "readable_repositories()",
      "readable_references()": "readable_references()",
      "readable_service_names()": "readable_service_names()",
      "first_readable_row()": "first_readable_row()",
      "first_readable_id()": "first_readable_id()",
      "first_readable_text()": "first_readable_text()",
    },
    does: does(signedIn("does")),
  },
  "reading": {
    functions: {
      "change_fail_rate(since date, until date, bucket text, by text, service text, repository text, team text, environment text, page_after text, page_size integer)":
        "change_fail_rate()",
      "change_fail_rate_evidence(since date, until date, service text, repository text, team text, environment text, page_after text, page_size integer)":
        "change_fail_rate_evidence()",
      "change_lead_time(since date, until date, bucket text, by text, service text, repository text, team text, environment text, bots boolean, page_after text, page_size integer)":
        "change_lead_time()",
      "change_lead_time_evidence(since date, until date, service text, repository text, team text, environment text, bots boolean, page_after text, page_size integer)":
        "change_lead_time_evidence()",
      "deployment_frequency(since date, until date, bucket text, by text, service text, repository text, team text, environment text, page_after text, page_size integer)":
        "deployment_frequency()",
      "deployment_frequency_evidence(since date, until date, service text, repository text, team text, environment text, page_after text, page_size integer)":
        "deployment_frequency_evidence()",
      "deployment_rework_rate(since date, until date, bucket text, by text, service text, repository text, team text, environment text, page_after text, page_size integer)":
        "deployment_rework_rate()",
      "deployment_rework_rate_evidence(since date, until date, service text, repository text, team text, environment text, page_after text, page_size integer)":
        "deployment_rework_rate_evidence()",
      "dora(since date, until date, bucket text, by text, service text, repository text, team text, environment text, bots boolean, page_after text, page_size integer)":
        "dora()",
      "dora_evidence(metric text, since date, until date, service text, repository text, team text, environment text, bots boolean, page_after text, page_size integer)":
        "dora_evidence('change_fail_rate')",
      "failed_deployment_recovery_time(since date, until date, bucket text, by text, service text, repository text, team text, environment text, page_after text, page_size integer)":
        "failed_deployment_recovery_time()",
      "failed_deployment_recovery_time_evidence(since date, until date, service text, repository text, team text, environment text, page_after text, page_size integer)":
        "failed_deployment_recovery_time_evidence()",
      "flaky_jobs(since date, until date, repository text, team text, branch text, page_after text, page_size integer, pipeline text, job text)":
        "flaky_jobs()",
      "flaky_jobs_evidence(since date, until date, repository text, team text, branch text, page_after text, page_size integer, pipeline text, job text)":
        "flaky_jobs_evidence()",
      "flaky_tests(since date, until date, repository text, team text, page_after text, page_size integer)":
        "flaky_tests()",
      "flaky_tests_evidence(since date, until date, repository text, team text, page_after text, page_size integer)":
        "flaky_tests_evidence()",
      "ingest_health(days integer, page_after text, page_size integer)": "ingest_health()",
      "ingest_health_evidence(days integer, source text, page_after text, page_size integer)":
        "ingest_health_evidence()",
      "job_health(since date, until date, bucket text, by text, repository text, team text, branch text, page_after text, page_size integer, pipeline text, job text)":
        "job_health()",
      "job_health_evidence(since date, until date, repository text, team text, branch text, page_after text, page_size integer, pipeline text, job text)":
        "job_health_evidence()",
      "measurement_series(name text, attributes jsonb, since date, until date, bucket text, by text, repository text, team text, page_after text, page_size integer)":
        "measurement_series('size')",
      "measurement_series_evidence(name text, attributes jsonb, since date, until date, repository text, team text, page_after text, page_size integer)":
        "measurement_series_evidence('size')",
      "overview(since date, until date, repository text, team text, bots boolean)": "overview()",
      "overview_evidence(section text, metric text, since date, until date, repository text, team text, bots boolean, page_after text, page_size integer)":
        "overview_evidence('dora')",
      "pipeline_cost(since date, until date, bucket text, by text, repository text, team text, page_after text, page_size integer, pipeline text, job text, runner text)":
        "pipeline_cost()",
      "pipeline_cost_evidence(since date, until date, repository text, team text, page_after text, page_size integer, pipeline text, job text, runner text)":
        "pipeline_cost_evidence()",
      "pipeline_health(since date, until date, bucket text, by text, repository text, team text, branch text, bots boolean, page_after text, page_size integer, pipeline text)":
        "pipeline_health()",
      "pipeline_health_evidence(since date, until date, repository text, team text, branch text, bots boolean, page_after text, page_size integer, pipeline text)":
        "pipeline_health_evidence()",
      "pull_request_cycle_time(since date, until date, bucket text, by text, repository text, team text, bots boolean, page_after text, page_size integer)":
        "pull_request_cycle_time()",
      "pull_request_cycle_time_evidence(since date, until date, repository text, team text, bots boolean, page_after text, page_size integer)":
        "pull_request_cycle_time_evidence()",
      "require_reader()": "require_reader()",
      "rule_compliance(since date, until date, bucket text, by text, repository text, team text, page_after text, page_size integer)":
        "rule_compliance()",
      "rule_compliance_evidence(since date, until date, repository text, team text, page_after text, page_size integer)":
        "rule_compliance_evidence()",
      "slowest_jobs(since date, until date, by text, repository text, team text, page_after text, page_size integer, pipeline text)":
        "slowest_jobs()",
      "slowest_jobs_evidence(since date, until date, repository text, team text, page_after text, page_size integer, pipeline text, job text)":
        "slowest_jobs_evidence()",
      "step_health(since date, until date, repository text, team text, branch text, page_after text, page_size integer, pipeline text, job text)":
        "step_health()",
      "step_health_evidence(since date, until date, repository text, team text, branch text, page_after text, page_size integer, pipeline text, job text, step text)":
        "step_health_evidence()",
      "test_health(since date, until date, bucket text, by text, repository text, team text, branch text, page_after text, page_size integer)":
        "test_health()",
      "test_health_evidence(since date, until date, repository text, team text, branch text, page_after text, page_size integer)":
        "test_health_evidence()",
    },
    does: does({ ...signedIn("does"), stranger: "forbidden", metrics_reader: "does" }),
  },
  "what reading is made of": {
    functions: {
      "current_generation()": "current_generation()",
      "week_of(at timestamp with time zone, time_zone text)": "week_of(now(), 'UTC')",
      "midnight(day date, time_zone text)": "midnight('2026-03-02', 'UTC')",
      "bucket_of(seconds double precision)": "bucket_of(60)",
      "seconds_of(bucket smallint)": "seconds_of(42::smallint)",
      "period_of(since date, until date, bucket text, page_after text, page_size integer)":
        "period_of(null, null, null, null, null)",
      "checked_word(argument text, word text, known text[])": "checked_word('by', null, '{nothing}')",
      "buckets_of(asked metrics.period)": "buckets_of(null)",
      "stretches_of(asked metrics.period)": "stretches_of(null)",
      "repository_label(repository_id bigint)": "repository_label(1)",
      "selected_references(repository text, team text)": "selected_references(null, null)",
      "runner_of(labels text[])": "runner_of(null)",
      "counts_of(tally numeric)": "counts_of(null)",
      "counted_spans_of(asked metrics.period, longest integer)": "counted_spans_of(null, 28)",
      "four_weeks_of(day date)": "four_weeks_of('2026-03-02')",
      "days_off_weeks_of(asked metrics.period)": "days_off_weeks_of(null)",
      "key_of_page(asked metrics.period, kinds text[])": "key_of_page(null, null)",
      "nearest_weeks_of(asked metrics.period)": "nearest_weeks_of(null)",
      "percentiles_of(tally numeric, fractions double precision[])": "percentiles_of(null, null)",
      "require_measurement(name text, attributes jsonb)": "require_measurement('size', null)",
      "tally_of(bucket smallint)": "tally_of(1::smallint)",
      "count_deliveries(asked metrics.period, earlier metrics.period, wanted text[], by text, service text, repository text, team text, environment text, bots boolean, shown text[])":
        "count_deliveries(metrics.period_of(null, null, null, null, null), null, '{lead}', 'nothing', null, null, null, null, true, null)",
      "tally_of_all(seconds double precision[])": "tally_of_all(null)",
      "delivery_evidence(asked metrics.period, about text, service text, repository text, team text, environment text, bots boolean)":
        "delivery_evidence(metrics.period_of(null, null, null, null, null), 'deployments', null, null, null, null, true)",
      "delivery_groups(asked metrics.period, by text, service text, repository text, team text)":
        "delivery_groups(metrics.period_of(null, null, null, null, null), 'service', null, null, null)",
      "delivery_page(asked metrics.period, wanted text[], by text, service text, repository text, team text, environment text, bots boolean)":
        "delivery_page(metrics.period_of(null, null, null, null, null), '{lead}', 'service', null, null, null, null, true)",
      "evidence_after(asked metrics.period)": "evidence_after(null)",
      "deployment_url(kind text, reference bigint, id text)": "deployment_url('deployment', 1, '1')",
      "failures_of(deployments bigint[])": "failures_of('{1}')",
      "evidence_page_key(happened_at timestamp with time zone, repository text, kind text, external_id text, reference text)":
        "evidence_page_key(now(), '', '', '', '')",
      "flaky_cases(reference_ids bigint[], starts_at timestamp with time zone, ends_at timestamp with time zone)":
        "flaky_cases('{1}', '-infinity', 'infinity')",
      "flaky_pairs(asked metrics.period, reference_ids bigint[], only_branch text, only_pipeline text, only_job text)":
        "flaky_pairs(metrics.period_of(null, null, null, null, null), '{1}', null, null, null)",
      "ended_runs(asked metrics.period, reference_ids bigint[], branch text, pipeline text, with_bots boolean)":
        "ended_runs(metrics.period_of(null, null, null, null, null), '{1}', null, null, true)",
      "job_horizon()": "job_horizon()",
      "kept_weeks_of(asked metrics.period, from_weeks boolean, reference_ids bigint[])":
        "kept_weeks_of(null, true, '{1}')",
      "kept_days_of(asked metrics.period, from_weeks boolean)": "kept_days_of(null, true)",
      "has_many_jobs(asked metrics.period, reference_ids bigint[], pipeline text, job text)":
        "has_many_jobs(metrics.period_of(null, null, null, null, null), '{1}', null, null)",
      "kept_jobs(asked metrics.period, reference_ids bigint[], branch text, pipeline text, job text)":
        "kept_jobs(metrics.period_of(null, null, null, null, null), '{1}', null, null, null)",
      "latest_jobs_with_steps(asked metrics.period, reference_ids bigint[], branch text, pipeline text, job text)":
        "latest_jobs_with_steps(metrics.period_of(null, null, null, null, null), '{1}', null, null, null)",
      "tests_of(asked metrics.period, reference_ids bigint[])":
        "tests_of(metrics.period_of(null, null, null, null, null), '{1}')",
      "merged_pull_requests(asked metrics.period, reference_ids bigint[], with_bots boolean)":
        "merged_pull_requests(metrics.period_of(null, null, null, null, null), '{1}', true)",
      "page_of(asked metrics.period, groups text[], parts text[])":
        "page_of(metrics.period_of(null, null, null, null, null), array[''], array[''])",
      "price_of(runner text, week date)": "price_of('linux', '2026-03-02')",
      "selected_services(generation integer, service text, repository text, team text)":
        "selected_services(1, null, null, null)",
      "service_label(service bigint)": "service_label(1)",
    },
    does: does({ ...signedIn("does"), metrics_reader: "does" }),
  },
  "accepting": {
    functions: { "accept_membership()": "accept_membership()" },
    does: does({ ...signedIn("does"), stranger: "forbidden" }),
  },
  "administration": {
    functions: {
      "add_member(email text, role text)": "add_member('new@example.com')",
      "remove_member(email text)": "remove_member('late@example.com')",
      "add_team(name text)": "add_team('new')",
      "remove_team(team text)": "remove_team('viewer')",
      "add_team_member(team text, email text)": "add_team_member('viewer', 'late@example.com')",
      "remove_team_member(team text, email text)": `remove_team_member('viewer', '${users.viewer.email}')`,
      "add_team_repository(team text, repository text)": "add_team_repository('viewer', 'github:2')",
      "remove_team_repository(team text, repository text)": "remove_team_repository('viewer', 'github:1')",
      "set_setting(name text, value text)": "set_setting('body_days', '7')",
      "rebuild(seconds double precision)": "rebuild(0)",
      "add_service(name text, repository text, deployment_pattern text, environment_pattern text, path_globs text[], source text, pipeline text, rollout_pattern text, may_match_nothing boolean)":
        "add_service('new', 'github:1', may_match_nothing => true)",
      "begin_rebuild()": "begin_rebuild()",
      "remove_price(label text, valid_from date)": "remove_price('planned', '2026-03-02')",
      "remove_service(name text)": "remove_service('shop')",
      "set_environment_tier(pattern text, tier text)": "set_environment_tier('^qa', 'staging')",
      "set_price(label text, price_per_minute numeric, valid_from date, currency text, is_hosted boolean, source text)":
        "set_price('linux', 0.01, '2026-03-02')",
      "read_body(source text, delivery_id text)": "read_body('github', 'github:1')",
      "forget_repository(repository text, step integer)": "forget_repository('github:1')",
      "forget_person(login text, step integer, continue_after jsonb)": "forget_person('ann')",
      "create_token(name text, sources text[], repositories text[], fact_kinds text[], calls_per_minute integer, expires_at timestamp with time zone)":
        "create_token('script', '{github}')",
      "add_issuer(name text, provider text, issuer text, claims jsonb, sources text[], audience text, repositories text[], fact_kinds text[], calls_per_minute integer, expires_at timestamp with time zone)":
        `add_issuer('job', 'github', 'https://token.example.com', '{"repository_id": "2"}', '{github}')`,
      "list_identities()": "list_identities()",
      "revoke_identity(name text)": "revoke_identity('ci')",
      "expire_identity(name text, at timestamp with time zone)": "expire_identity('ci', now())",
    },
    does: does({ ...signedIn("forbidden"), admin: "does" }),
  },
  "machinery": {
    functions: Object.fromEntries(
      [
        "add_identity(identity metrics.identities)",
        "claim_url(claim metrics.claim)",
        "comparable(alias text, column_name text, type text)",
        "copy_frozen_weeks(to_generation integer, reference bigint, after timestamp with time zone, up_to timestamp with time zone)",
        "count_changed_jobs()",
        "count_changed_runs()",
        "spans_of(at timestamp with time zone, time_zone text)",
        "count_jobs(counted metrics.counted_job[], takes_away boolean)",
        "count_runs(counted metrics.counted_run[], takes_away boolean)",
        "count_facts(generation integer, reference bigint, after timestamp with time zone, up_to timestamp with time zone)",
        "end_of_slice(generation integer, reference bigint, after timestamp with time zone, most integer)",
        "lock_counted(facts jsonb)",
        "lock_tries(reference_id bigint, rerun_group text)",
        "mark_tries(reference_ids bigint[], rerun_groups text[])",
        "move_job_horizon(before date)",
        "compile_fold(IN kind text, IN key_columns text[], IN rank text, IN rank_first boolean)",
        "derive_pull_requests(reference_ids bigint[], numbers integer[])",
        "ensure_references(names text[])",
        "fold_columns(relation regclass)",
        ...[
          "commits",
          "deployments",
          "incidents",
          "jobs",
          "measurements",
          "pipeline_runs",
          "pull_requests",
          "pushes",
          "releases",
          "repositories",
          "reviews",
          "rule_checks",
          "test_cases",
          "test_runs",
        ].map((kind) => `fold_${kind}(observations jsonb)`),
        "fold_facts(facts jsonb)",
        "holds_any(body bytea, spellings text[])",
        "identity_named(name text)",
        "identity_without_hash(identity metrics.identities)",
        "ingest_together(calls jsonb)",
        "is_operator()",
        "is_within(reference text, permitted text[], source text)",
        "lock_repositories(repositories bigint[])",
        "maintain(step integer)",
        "make_body_partitions(OUT made integer, OUT waiting integer)",
        "new_claims(repositories jsonb)",
        "next_identity_id()",
        "normalised_url(url text)",
        "note(action text, before jsonb, after jsonb)",
        "pull_requests_touched_by(facts jsonb)",
        "reference_text(reference_id bigint)",
        "refuse_identity(constraint_name text)",
        "is_said_of_names(repositories jsonb)",
        "keep_clocks(repositories jsonb)",
        "repositories_said_anew(repositories jsonb, OUT anew jsonb, OUT has_news boolean)",
        "repository_named(repository text)",
        "require_admin()",
        "require_another_admin(address text)",
        "require_scope(delivery jsonb, facts jsonb)",
        "settle_moved_repositories(moved bigint[])",
        "spellings(name text)",
        "team_named(team text)",
        "test_names(ids bigint[])",
        "with_test_ids(facts jsonb)",
        "checked_pattern(argument text, pattern text)",
        "glob_pattern(glob text)",
        "moves_of(repository bigint, since timestamp with time zone, until timestamp with time zone)",
        "own_commits_of(reference_ids bigint[], numbers integer[])",
        "places_of(generation integer, repository bigint, shas text[])",
        "repositories_of_incidents(incidents jsonb)",
        "services_called(generation integer, called text)",
        "append_move(generation integer, repository bigint, push bigint, OUT is_done boolean, OUT first_line integer, OUT first_ordinal integer)",
        "attempts_of(generation integer, repository bigint, commits text[], ids text[])",
        "begin_generation()",
        "hold_deliveries()",
        "changes_changed()",
        "count_changed_deploys()",
        "count_changed_pull_requests()",
        "count_changes(gone metrics.changes[], come metrics.changes[])",
        "count_deploys(added metrics.changes[], removed metrics.changes[])",
        "count_pull_requests(added metrics.pull_requests[], removed metrics.pull_requests[], generation_id integer)",
        "count_reports(generation integer, reference bigint, after timestamp with time zone, up_to timestamp with time zone)",
        "count_test_runs(counted metrics.counted_test_run[])",
        "count_checks(counted metrics.counted_check[])",
        "count_changed_test_runs()",
        "count_changed_checks()",
        "count_service_deployments(gone metrics.service_deployments[], come metrics.service_deployments[])",
        "delete_retired(step integer)",
        "deployments_of(generation integer, repository bigint, commits text[], ids text[])",
        "derive_deliveries(facts jsonb, source text, concerned bigint[], moved bigint[], renamed bigint[], pull_request_references bigint[], pull_request_numbers integer[])",
        "derive_delivery(generation integer, repository bigint, told metrics.touched)",
        "derive_postponed(generation integer, repository bigint, most integer)",
        "derive_slice(generation integer, repository bigint, place jsonb, most integer)",
        "describe_changes(generation integer, repository bigint, shas text[])",
        "described(generation integer, repository bigint, shas text[])",
        "ensure_service(generation integer, repository bigint)",
        "forget_delivery(generation integer, repository bigint)",
        "link_incidents(generation integer, repository bigint, since timestamp with time zone, sources text[], external_ids text[])",
        "link_all_lost_incidents(generation integer)",
        "link_lost_incidents(generation integer, after_source text, after_external_id text, most integer)",
        "mark_failures(generation integer, service bigint, since timestamp with time zone, until timestamp with time zone, ids bigint[])",
        "mark_unknown_order(generation integer, repository bigint, service bigint, most integer)",
        "order_moves(generation integer, repository bigint, since timestamp with time zone, until timestamp with time zone, has_untimed boolean, OUT first_line integer, OUT first_ordinal integer)",
        "place_changes(generation integer, repository bigint, first_line integer, first_ordinal integer, last_ordinal integer, touched text[], OUT written text[], OUT merging text[], OUT fallen_back boolean)",
        "rebuild_slice(most integer)",
        "service_deployments_changed()",
        "advancing_of(generation integer, service bigint, since timestamp with time zone, until timestamp with time zone)",
        "ship_advancing(generation integer, repository bigint, service bigint, since timestamp with time zone, until timestamp with time zone, after jsonb, most integer)",
        "ship(generation integer, repository bigint, service bigint, since timestamp with time zone, until timestamp with time zone)",
        "ship_taken_off(generation integer, repository bigint, service bigint, after jsonb, most integer)",
        "take_off_all(generation integer, repository bigint, first_line integer, first_ordinal integer, fallen_back boolean)",
        "take_off_changes(generation integer, repository bigint, line integer, ordinal integer, most integer)",
        "tier_of(generation integer, environment text, said text)",
        "write_deployments(generation integer, repository bigint, commits text[], ids text[])",
      ].map((name) => [name, ""]),
    ),
    does: does({}),
  },
};

function reads(some: Partial<Record<Person, Reading>>): Record<Person, Reading> {
  return Object.fromEntries(people.map((who) => [who, some[who] ?? "refused"])) as Record<Person, Reading>;
}

function does(some: Partial<Record<Person, Doing>>): Record<Person, Doing> {
  return Object.fromEntries(people.map((who) => [who, some[who] ?? "refused"])) as Record<Person, Doing>;
}

function signedIn(doing: Doing): Partial<Record<Person, Doing>> {
  return { stranger: doing, "other viewer": doing, viewer: doing, admin: doing };
}

/** Names of the tables and views in the catalog, partitions included. */
async function tablesOf(sql: Sql | TransactionSql): Promise<string[]> {
  const rows = await sql<{ name: string }[]>`
    select c.relname as name
    from pg_class as c
    where c.relnamespace = 'metrics'::regnamespace
      and c.relkind in ('r', 'p', 'v', 'm', 'f')
    order by c.relname collate "C"`;
  return rows.map(({ name }) => name);
}

/** Functions and procedures in the catalog, as name(arguments). */
async function functionsOf(sql: Sql | TransactionSql): Promise<{ name: string; oid: number }[]> {
  return await sql<{ name: string; oid: number }[]>`
    select format('%s(%s)', p.proname, pg_get_function_identity_arguments(p.oid)) as name, p.oid::bigint::int as oid
    from pg_proc as p
    where p.pronamespace = 'metrics'::regnamespace
    order by p.proname, 1`;
}

/** The class of a table or function, or a sentence for the one who adds it. */
function classOf<T>(classes: Record<string, T>, has: (value: T) => boolean, what: string): T {
  const found = Object.values(classes).filter(has);
  assertEquals(found.length, 1, `${what} belongs to exactly one class of this test: say who may do what with it`);
  return found[0]!;
}

const tableClass = (table: string) =>
  classOf(
    tableClasses,
    ({ tables }) => tables.includes(table.replace(/_[0-9]{8}$/, "_<YYYYMMDD>")),
    `the table metrics.${table}`,
  );

const functionClass = (name: string) =>
  classOf(functionClasses, ({ functions }) => name in functions, `the function metrics.${name}`);

/** The role whose privileges somebody has. */
function roleOf(who: Person, readerName: string): string {
  return who in users ? "authenticated" : who === "metrics_reader" ? readerName : who;
}

async function prepared(): Promise<
  { database: TestDatabase; tool: Awaited<ReturnType<typeof reader>> } & AsyncDisposable
> {
  const database = await testDatabase({ max: 1 });
  await seed(database.sql);
  const tool = await reader(database);
  return {
    database,
    tool,
    async [Symbol.asyncDispose]() {
      await tool[Symbol.asyncDispose]();
      await database[Symbol.asyncDispose]();
    },
  };
}

Deno.test("everybody reads of every table what its class says, and nobody writes any", async (t) => {
  await using all = await prepared();
  const { database: { sql }, tool } = all;
  for (const table of await tablesOf(sql)) {
    await t.step(table, async () => {
      const { reads, own } = tableClass(table);
      const name = `metrics.${table}`;
      const isView =
        (await sql`select relkind = 'v' as is_view from pg_class where oid = ${name}::regclass`)[0]!["is_view"];
      // A row of a view has no place: it is known by what it says.
      const id = isView ? "to_jsonb(t)::text" : "t.ctid::text";
      const everything = (await sql.unsafe(`select ${id} as row from ${name} as t`)).map(({ row }) => row as string)
        .sort();
      const [column] = await sql<{ name: string }[]>`
        select attname as name
        from pg_attribute
        where attrelid = ${name}::regclass and attnum > 0 and attgenerated = '' and attidentity = ''
        limit 1`;
      for (const who of people) {
        const expected = reads[who];
        const got = await attempt(
          sql,
          tool.sql,
          who,
          (sql) => sql.unsafe(`select t.*, ${id} as row from ${name} as t`),
        );
        const seen = got.done ? got.rows.map(({ row }) => row as string).sort() : got.code;
        if (expected === "some") assert(seen.length > 0 && got.done, `${who} selects from ${name}`);
        if (expected === "refused") assertEquals(seen, "42501", `${who} selects from ${name}`);
        if (expected === "nothing") {
          assert(everything.length > 0, `${name} has rows that could be seen`);
          assertEquals(seen, [], `${who} selects from ${name}`);
        }
        if (expected === "all") {
          assert(everything.length > 0, `${name} has rows to see`);
          assertEquals(seen, everything, `${who} selects from ${name}`);
        }
        if (expected === "own") {
          const side = who as keyof typeof repositories;
          const query = own!.replace("%s", table).replace("%i", id);
          const values = query.includes("$2") ? [users[side].email] : [repositories[side]];
          const hers = (await sql.unsafe(query.replace("$2", "$1"), values)).map(({ row }) => row as string).sort();
          assert(hers.length > 0, `${name} has rows of ${who}`);
          assert(hers.length < everything.length, `${name} has rows of others`);
          assertEquals(seen, hers, `${who} selects from ${name}`);
        }
        // No condition, because one would need the privilege to read, too. A view that joins tables has no row to write.
        for (
          const statement of isView ? [] : [
            `insert into ${name} default values`,
            `update ${name} set ${column!.name} = default`,
            `delete from ${name}`,
            `truncate ${name}`,
          ]
        ) {
          const got = await attempt(sql, tool.sql, who, (sql) => sql.unsafe(statement));
          assertEquals(got.done ? "done" : got.code, "42501", `${who}: ${statement}`);
        }
        // What no statement above needs: references, triggers, maintenance, and single columns.
        const role = roleOf(who, tool.name);
        const [privileges] = await sql<{ list: string[] }[]>`
          select array(
            select p
            from unnest(array['select', 'insert', 'update', 'delete', 'truncate', 'references', 'trigger', 'maintain']) as p
            where case
              when p in ('select', 'insert', 'update', 'references') then has_any_column_privilege(${role}, ${name}::regclass, p)
              else has_table_privilege(${role}, ${name}::regclass, p)
            end
          ) as list`;
        assertEquals(privileges!.list, expected === "refused" ? [] : ["select"], `privileges of ${who} on ${name}`);
      }
    });
  }
});

Deno.test("everybody may call of every function what its class says, and it refuses whom it should", async (t) => {
  await using all = await prepared();
  const { database: { sql }, tool } = all;
  for (const { name, oid } of await functionsOf(sql)) {
    await t.step(name, async () => {
      const { does, functions } = functionClass(name);
      const call = functions[name];
      for (const who of people) {
        const [may] = await sql<{ execute: boolean }[]>`
          select has_function_privilege(${roleOf(who, tool.name)}, ${oid}::oid, 'execute') as execute`;
        assertEquals(may!.execute, does[who] !== "refused", `${who} may execute ${name}`);
        if (!call) continue;
        const got = await attempt(sql, tool.sql, who, (sql) => sql.unsafe(`select metrics.${call}`));
        if (does[who] === "does") assert(got.done, `${who} calls ${call}: ${JSON.stringify(got)}`);
        else assertEquals(got.done ? "done" : got.code, "42501", `${who} calls ${call}: ${JSON.stringify(got)}`);
      }
    });
  }
});

Deno.test("the helpers of policies tell everybody only about themselves", async () => {
  await using all = await prepared();
  const { database: { sql } } = all;
  const told: Record<string, unknown> = {};
  for (const who of ["stranger", "viewer", "other viewer", "admin"] as const) {
    const [row] = await as(sql, who, (sql) =>
      sql`select metrics.is_member() as member, metrics.is_admin() as admin,
            array(select r::int from metrics.readable_repositories() as r order by 1) as repositories, metrics.caller() as caller`);
    told[who] = row;
  }
  const ids = new Map(
    (await sql`select reference, repository_id::int as id from metrics.repository_references`).map((
      { reference, id },
    ) => [reference, id]),
  );
  const one = [ids.get(repositories.viewer)];
  const other = [ids.get(repositories["other viewer"])];
  const caller = "authenticated";
  assertEquals(told, {
    stranger: { member: false, admin: false, repositories: [], caller },
    viewer: { member: true, admin: false, repositories: one, caller },
    "other viewer": { member: true, admin: false, repositories: other, caller },
    admin: { member: true, admin: true, repositories: [...one, ...other].sort(), caller },
  });
});

Deno.test("a member who is removed reads nothing at once", async () => {
  await using all = await prepared();
  const { database: { sql } } = all;
  await as(sql, "admin", (sql) => sql`select metrics.remove_member(${users.viewer.email})`, true);
  for (
    const table of Object.values(tableClasses).flatMap(({ tables, reads }) => reads.viewer === "refused" ? [] : tables)
  ) {
    assertEquals((await as(sql, "viewer", (sql) => sql.unsafe(`select from metrics.${table}`))).length, 0, table);
  }
  const got = await attempt(sql, all.tool.sql, "viewer", (sql) => sql`select metrics.ingest_health()`);
  assertEquals(!got.done && got.code, "42501");
});

// Planted faults: each must turn a test above red.
Deno.test("a table that nobody has thought of is noticed", async () => {
  await using database = await testDatabase({ max: 1 });
  await database.sql`create table metrics.extra (id bigint primary key)`;
  const unknown = (await tablesOf(database.sql)).filter((table) => throws(() => tableClass(table)));
  assertEquals(unknown, ["extra"]);
});

Deno.test("a function that nobody has thought of is noticed, and so is another one of a known name", async () => {
  await using database = await testDatabase({ max: 1 });
  await database.sql`create function metrics.health(extra text) returns boolean language sql return true`;
  await database.sql`create function metrics.extra() returns boolean language sql return true`;
  const unknown = (await functionsOf(database.sql)).filter(({ name }) => throws(() => functionClass(name)));
  assertEquals(unknown.map(({ name }) => name), ["extra()", "health(extra text)"]);
});

Deno.test("a policy that shows too much is noticed", async () => {
  await using all = await prepared();
  const { database: { sql } } = all;
  const count = async () => (await as(sql, "viewer", (sql) => sql`select from metrics.jobs`)).length;
  assertEquals(await count(), 1);
  await sql`create policy extra on metrics.jobs for select to authenticated using (true)`;
  assertEquals(await count(), 2);
});

function throws(work: () => unknown): boolean {
  try {
    work();
    return false;
  } catch {
    return true;
  }
}
