import { auditKeys, type AuditOptions, type AuditParts } from "../broker/redis/audit.js";
import { auditCounts, type CountsAudit } from "../broker/redis/audit-counts.js";
import type { Status } from "../task/task.js";
import { type Check, createChart } from "./check.js";

export interface StructuresReport {
  readonly checks: Check[];
  /** Live tasks by status, over all partitions and namespaces. */
  readonly tasks: Readonly<Partial<Record<Status, number>>>;
}

const shownMax = 5;

/** The counts against what they count, and every key against its record (B1, B11). */
export async function checkStructures(
  parts: AuditParts,
  partitions: number,
  options: AuditOptions,
): Promise<StructuresReport> {
  const chart = createChart("structures");
  const numbers = Array.from({ length: partitions }, (_, partition) => partition);
  const counts: CountsAudit[] = [];
  for (const partition of numbers) counts.push(await auditCounts(parts, partition));
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
  const keys = await auditKeys(parts, numbers, options);
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
