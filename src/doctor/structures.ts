import { type Audit, auditKeys, type AuditOptions } from "../broker/redis/audit.js";
import { auditCounts, type CountsAudit } from "../broker/redis/audit-counts.js";
import type { Status } from "../task/task.js";
import { type Check, createChart } from "./check.js";
import type { Slice } from "./slices.js";

export interface StructuresReport {
  readonly checks: Check[];
  /** Live tasks by status, over all partitions and namespaces. */
  readonly tasks: Readonly<Partial<Record<Status, number>>>;
}

const shownMax = 5;

/** The counts against what they count, and every key against its record (B1, B11). */
export async function checkStructures(
  slices: readonly Slice[],
  prefix: string,
  options: AuditOptions,
): Promise<StructuresReport> {
  const chart = createChart("structures");
  const counts: CountsAudit[] = [];
  for (const { partitions, connection, scripts } of slices) {
    for (const partition of partitions) {
      counts.push(await auditCounts({ prefix, connection, scripts }, partition));
    }
  }
  const wrong = counts.flatMap(({ findings }) => findings);
  const skipped = counts.flatMap((one) => one.skipped);
  const queues = counts.reduce((sum, one) => sum + one.queues, 0);
  const left = skipped.length === 0 ? "" : `; too large to compare at once: ${listed(skipped)}`;
  if (wrong.length === 0) chart.ok("counts", `right in ${queues} queues${left}`);
  else {
    chart.fail("counts", `${listed(wrong)}${left}`, {
      mend: "Stats and queue_size are off; no task is. Please report it as a defect of Drover.",
    });
  }
  const keys = await auditAllKeys(slices, prefix, options);
  const range = keys.complete ? "all" : "a part (--full looks at all)";
  if (keys.findings.length === 0) chart.ok("keys", `${keys.seen} looked at, ${range}`);
  else {
    chart.fail("keys", listed(keys.findings), {
      mend:
        "Was anything but Drover at these keys? A task that stands wrong comes back when its " +
        "partition is rebuilt from Postgres. Please report it with this output.",
      breaks: "P1",
    });
  }
  return { checks: chart.checks, tasks: sum(counts) };
}

async function auditAllKeys(
  slices: readonly Slice[],
  prefix: string,
  options: AuditOptions,
): Promise<Audit> {
  const audits: Audit[] = [];
  for (const { partitions, connection, scripts } of slices) {
    audits.push(await auditKeys({ prefix, connection, scripts }, partitions, options));
  }
  return {
    findings: audits.flatMap(({ findings }) => findings),
    seen: audits.reduce((all, { seen }) => all + seen, 0),
    complete: audits.every(({ complete }) => complete),
  };
}

function listed(items: readonly string[]): string {
  const more = items.length > shownMax ? ` (and ${items.length - shownMax} more)` : "";
  return items.slice(0, shownMax).join("; ") + more;
}

function sum(counts: readonly CountsAudit[]): Partial<Record<Status, number>> {
  const total: Partial<Record<Status, number>> = {};
  for (const { tasks } of counts) {
    for (const [status, count] of Object.entries(tasks)) {
      total[status as Status] = (total[status as Status] ?? 0) + count;
    }
  }
  return total;
}
