-- What a reading function is about: repositories by name and team, as far as the caller may read them.

set lock_timeout = '2s';
set statement_timeout = '60s';

drop function if exists metrics.repository_label(bigint);

create function metrics.repository_label(repository_id bigint)
returns text
language plpgsql
stable
set search_path = ''
as $$
begin
  return coalesce(
    (
      select r.full_name
      from metrics.repositories as r
      where r.id = repository_label.repository_id
    ),
    (
      select f.reference
      from metrics.repository_references as f
      where f.repository_id = repository_label.repository_id
      order by f.source is null, f.reference collate "C"
      limit 1
    )
  );
end
$$;
revoke execute on function metrics.repository_label(bigint) from public;

comment on function metrics.repository_label(bigint) is 'What a repository is called: its full name, else its first reference.';

drop function if exists metrics.selected_references(text, text);

create function metrics.selected_references(repository text, team text)
returns table (reference_id bigint, repository_id bigint, label text, reference text)
language plpgsql
stable
set search_path = ''
rows 400
as $$
#variable_conflict use_column
begin
  -- In one statement: what a repository is called, asked of each by a call, would look up the caller's rights for each. Most have a full name.
  return query
  select
    f.id,
    r.id,
    coalesce(
      r.full_name,
      (
        select n.reference
        from metrics.repository_references as n
        where n.repository_id = r.id
        order by n.source is null, n.reference collate "C"
        limit 1
      )
    ),
    f.reference
  from metrics.repositories as r
  join metrics.repository_references as f
    on f.repository_id = r.id
  where (
      selected_references.repository is null
      or r.full_name = selected_references.repository
      or r.id in (
        select n.repository_id
        from metrics.repository_references as n
        where n.reference = selected_references.repository
      )
    )
    and (
      selected_references.team is null
      or r.id in (
        select g.repository_id
        from metrics.team_repositories as g
        join metrics.teams as t
          on t.id = g.team_id
        where t.name = selected_references.team
      )
    );
end
$$;
revoke execute on function metrics.selected_references(text, text) from public;

comment on function metrics.selected_references(text, text) is 'References of the repositories that the caller may read, of this name or reference and this team; with what each repository is called, and the reference as it was told.';
