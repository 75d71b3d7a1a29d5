import type { Status } from "../../task/task.js";
import type { AuditParts } from "./audit.js";
import { partitionKey, queueOfText } from "./keys.js";
import { statusOfCode } from "./record.js";
import { asList, asNumber, asText } from "./scripts.js";

export interface CountsAudit {
  /** Counts that differ from what they count, in words. */
  readonly findings: string[];
  /** Live tasks by the counts, over all namespaces. */
  readonly tasks: Readonly<Partial<Record<Status, number>>>;
  /** Queues whose counts were read. */
  readonly queues: number;
  /** What was too large to be compared in one step, in words. */
  readonly skipped: string[];
}

/** More than these are not counted in one script: it would hold up all others. */
const flowsMax = 2_000;
const queuesMax = 1_000;

/**
 * Compares the counts of a partition with its structures, without walking a backlog: ready tasks by
 * queue and priority, live tasks by lane, delayed and running ones over all queues (B11).
 */
export async function auditCounts(parts: AuditParts, partition: number): Promise<CountsAudit> {
  const base = partitionKey(parts.prefix, partition);
  const audit = {
    findings: [] as string[],
    tasks: {} as Partial<Record<Status, number>>,
    queues: 0,
    skipped: [] as string[],
  };
  const at = `partition ${partition}`;
  for (let cursor = "0"; ;) {
    const args = [`${base}qn`, cursor, "COUNT", "500"];
    const [next, flat] = asList(await parts.connection.send("HSCAN", args));
    const numbers = asList(flat).filter((_, i) => i % 2 === 0);
    for (const number of numbers) {
      const queue = asText(number);
      const reply = await parts.scripts.run("audit", base, ["queue", queue, String(flowsMax)]);
      addQueue(audit, at, asList(reply));
    }
    cursor = asText(next);
    if (cursor === "0") break;
  }
  const totals = asList(await parts.scripts.run("audit", base, ["totals", String(queuesMax)]));
  if (totals.length === 0) {
    audit.skipped.push(`${at}: totals of more than ${queuesMax} queues`);
    return audit;
  }
  const [delayed, running, delayedCounted, runningCounted] = totals.map(asNumber);
  const compare = (what: string, stand: number, counted: number): void => {
    if (stand !== counted) audit.findings.push(`${at}: ${counted} ${what} counted, ${stand} stand`);
  };
  compare("delayed", delayed!, delayedCounted!);
  compare("running", running!, runningCounted!);
  return audit;
}

type Open = { -readonly [Key in keyof CountsAudit]: CountsAudit[Key] };

function addQueue(audit: Open, at: string, row: readonly unknown[]): void {
  if (row.length === 0) return;
  const { namespace, queue } = queueOfText(asText(row[0]));
  const place = `${at}: queue ${namespace}/${queue}`;
  const waiting = asList(row[2]).map(asNumber);
  const byLanes = asNumber(row[3]);
  const pending = [0, 0, 0, 0];
  let live = 0;
  audit.queues += 1;
  const fields = asList(row[1]);
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const [priority, code] = asText(fields[i]).split(":").map(Number);
    const status = statusOfCode(code!);
    const count = asNumber(fields[i + 1]);
    if (count < 0) audit.findings.push(`${place}: counts ${count} ${status}`);
    if (status === "pending") pending[3 - priority!] = count;
    live += count;
    audit.tasks = { ...audit.tasks, [status]: (audit.tasks[status] ?? 0) + count };
  }
  if (live !== byLanes) {
    audit.findings.push(`${place}: ${live} live counted, ${byLanes} by its lanes`);
  }
  if (waiting.length === 0) audit.skipped.push(`${place}: more than ${flowsMax} groups`);
  for (const [level, stand] of waiting.entries()) {
    if (stand === pending[level]) continue;
    const which = `priority ${3 - level}`;
    audit.findings.push(`${place}: ${pending[level]} pending counted at ${which}, ${stand} stand`);
  }
}
