/** A pull request's life as synthetic deliveries, and what must be read of it afterwards. */

/** Columns of one row of each table. */
export type Said = Record<string, Record<string, unknown>>;

/** What is delivered, step by step, and what it leaves. */
export interface Life {
  /** How facts name its repository. */
  reference: string;
  deliveries: Record<string, Record<string, Record<string, unknown>[]>>;
  expected: Said;
}

/**
 * The life of one pull request: opened, reviewed, merged, deployed.
 *
 * @param run a word that no other life has
 */
export function lifeOf(run: string): Life {
  const repository = `synthetic:${run}`;
  const at = (minute: number) => new Date(Date.UTC(2026, 0, 5, 9, minute)).toISOString();
  const sha = (text: string) => `${text}${run.replaceAll("-", "")}`.slice(0, 40).padEnd(40, "0");
  const [head, merge] = [sha("a"), sha("b")];
  const address = `https://synthetic.example.com/${run}`;
  const origin = {
    repository,
    observed_at: at(0),
    full_name: `synthetic/${run}`,
    default_branch: "main",
    url: address,
  };
  const pullRequest = {
    repository,
    number: 1,
    title: "A change that nobody made",
    author: "dev-1",
    author_is_bot: false,
    head_branch: "change",
    base_branch: "main",
    head_sha: head,
    opened_at: at(5),
    url: `${address}/1`,
  };
  const review = {
    repository,
    external_id: `${run}-review`,
    pull_request_number: 1,
    reviewer: "dev-2",
    reviewer_is_bot: false,
    state: "approved",
    submitted_at: at(20),
    url: `${address}/1#review`,
  };
  const deployment = {
    repository,
    external_id: `${run}-deployment`,
    environment: "production",
    environment_tier: "production",
    commit_sha: merge,
    created_at: at(40),
    started_at: at(41),
    url: `${address}/deployment`,
  };
  const merged = { state: "merged", merge_sha: merge, merged_at: at(30), closed_at: at(30) };
  return {
    reference: repository,
    deliveries: {
      opened: {
        repositories: [origin],
        pull_requests: [{
          ...pullRequest,
          observed_at: at(5),
          state: "open",
          merge_sha: null,
          merged_at: null,
          closed_at: null,
        }],
        pushes: [{
          repository,
          ref: "refs/heads/change",
          before: "0".repeat(40),
          after: head,
          pushed_at: at(4),
          commits: [head],
          truncated: false,
        }],
        commits: [{
          repository,
          sha: head,
          authored_at: at(1),
          committed_at: at(1),
          author: "dev-1",
          author_is_bot: false,
        }],
      },
      reviewed: { reviews: [{ ...review, observed_at: at(20) }] },
      merged: {
        pull_requests: [{ ...pullRequest, ...merged, observed_at: at(30) }],
        pushes: [{
          repository,
          ref: "refs/heads/main",
          before: sha("c"),
          after: merge,
          pushed_at: at(30),
          on_default_branch: true,
          commits: [merge],
          truncated: false,
        }],
        commits: [{
          repository,
          sha: merge,
          authored_at: at(30),
          committed_at: at(30),
          author: "dev-1",
          author_is_bot: false,
        }],
      },
      deployed: {
        deployments: [
          { ...deployment, observed_at: at(41), status: "running", outcome: null, finished_at: null },
          { ...deployment, observed_at: at(45), status: "finished", outcome: "success", finished_at: at(45) },
        ],
      },
    },
    expected: {
      pull_requests: {
        number: 1,
        title: pullRequest.title,
        author: "dev-1",
        head_sha: head,
        opened_at: at(5),
        url: pullRequest.url,
        ...merged,
        // Derived from the other deliveries.
        first_commit_at: at(1),
        first_review_at: at(20),
        approved_at: at(20),
      },
      reviews: { pull_request_number: 1, reviewer: "dev-2", state: "approved", submitted_at: at(20), url: review.url },
      deployments: {
        environment: "production",
        commit_sha: merge,
        status: "finished",
        outcome: "success",
        started_at: at(41),
        finished_at: at(45),
        url: deployment.url,
      },
    },
  };
}
