import { type Finding, type GateContext, type GateResult, Report } from "./result.ts";
import { connect, nameOf, type Target } from "./target.ts";
import { accessFindings } from "./validate.ts";
import { schemaFindings } from "./verify.ts";

/** How {@link runDrift} is called. */
export interface DriftOptions extends GateContext {
  target: Target;
}

/**
 * Says what somebody changed by hand: what of the target's schema metrics is not as the repository says. Needs a role that may read
 * the catalog, which is any, and changes nothing.
 */
export async function runDrift(options: DriftOptions): Promise<GateResult> {
  const report = new Report("drift", nameOf(options.target), options);
  const sql = await connect(options.target, options.env, "metrics drift");
  try {
    await sql`set default_transaction_read_only = on`;
    const found: Finding[] = [...await schemaFindings(sql, options.root), ...await accessFindings(sql)];
    report.find(...found);
    if (found.length === 0) report.note("The schema metrics is what the repository says.");
  } finally {
    await sql.end({ timeout: 5 });
  }
  return report.result();
}
