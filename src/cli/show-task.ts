import { type Attempt, type BatchCallback, priorities, type Task } from "../client/index.js";
import { showDuration } from "./duration.js";
import { printJson } from "./json.js";
import type { CliParts, CommonFlags } from "./parts.js";
import { type Cell, type Column, printFacts, printRows } from "./table.js";

/** A level of a newer contract stays a number. */
const priorityName = (priority: number): string =>
  Object.entries(priorities).find(([, level]) => level === priority)?.[0] ?? String(priority);

const span = (ms: number | undefined): string | undefined =>
  ms === undefined ? undefined : showDuration(ms);

const asText = (value: unknown): string | undefined =>
  value === undefined ? undefined : JSON.stringify(value);

const pairs = (labels: Readonly<Record<string, string>>): string =>
  Object.entries(labels)
    .map(([name, value]) => `${name}=${value}`)
    .join(" ");

const errorText = (error: { code: string; message: string } | undefined): string | undefined =>
  error && `${error.code}: ${error.message}`;

/** What a task waits for, or how it fares, in a word or two. */
const remark = (task: Task): string =>
  errorText(task.error) ?? task.pendingReason ?? task.progressMessage ?? "";

export const taskColumns: readonly Column<Task>[] = [
  { title: "ID", cell: (task) => task.id },
  { title: "TYPE", cell: (task) => task.type, shrinks: true },
  { title: "STATUS", cell: (task) => task.status },
  { title: "PRIORITY", cell: (task) => priorityName(task.priority), optional: true },
  { title: "QUEUE", cell: (task) => task.queue, shrinks: true },
  { title: "ATTEMPT", cell: (task) => task.attempt, optional: true },
  { title: "CREATED", cell: (task) => task.createdAt, optional: true },
  { title: "WORKER", cell: (task) => task.workerId, shrinks: true, optional: true },
  { title: "REMARK", cell: remark, shrinks: true, optional: true },
];

const attemptColumns: readonly Column<Attempt>[] = [
  { title: "ATTEMPT", cell: ({ attempt }) => attempt },
  { title: "RUN", cell: ({ run }) => run, optional: true },
  { title: "OUTCOME", cell: ({ outcome }) => outcome },
  { title: "STARTED", cell: ({ startedAt }) => startedAt },
  { title: "TOOK", cell: took, optional: true },
  { title: "WORKER", cell: ({ workerId }) => workerId, shrinks: true },
  { title: "FENCING", cell: ({ fencingToken }) => String(fencingToken), optional: true },
  { title: "ERROR", cell: ({ error }) => errorText(error), shrinks: true, optional: true },
];

function took({ startedAt, endedAt }: Attempt): Cell {
  if (!startedAt || !endedAt) return undefined;
  return showDuration(endedAt.getTime() - startedAt.getTime());
}

const calledBy = ({ batchId, event }: BatchCallback): string => `${batchId} on ${event}`;

export function taskFacts(task: Task): (readonly [string, Cell])[] {
  return [
    ["id", task.id],
    ["type", task.type],
    ["status", task.status],
    ["pending reason", task.pendingReason],
    ["queue", task.queue],
    ["priority", priorityName(task.priority)],
    ["attempt", task.attempt],
    ["retries", `${task.retryCount} of ${task.maxRetries}`],
    ["lease losses", task.leaseLosses || undefined],
    ["run", task.run > 1 ? task.run : undefined],
    ["redriven from", task.redrivenFrom],
    ["batch", task.batchId],
    ["called by batch", task.batchCallback && calledBy(task.batchCallback)],
    ["worker", task.workerId],
    ["progress", task.progress ? `${Math.round(task.progress * 100)} %` : undefined],
    ["says", task.progressMessage],
    ["created", task.createdAt],
    ["run at", task.runAt],
    ["started", task.startedAt],
    ["cancel asked", task.cancelRequestedAt],
    ["cancel reason", task.cancellation?.reason],
    ["cancel delivered", task.cancellation?.deliveredAt],
    ["cancel answered", task.cancellation?.acknowledgedAt],
    ["cancel forced", task.cancellation?.forcedAt],
    ["completed", task.status === "completed" ? task.completedAt : undefined],
    ["ended", task.status === "completed" ? undefined : task.completedAt],
    ["timeout", span(task.attemptTimeoutMs)],
    ["heartbeat timeout", span(task.heartbeatTimeoutMs)],
    ["expires at", task.expireAt],
    ["deadline", task.deadline],
    ["retention", span(task.retentionMs)],
    ["group", task.groupKey],
    ["labels", pairs(task.requiredLabels)],
    ["tags", task.tags.join(" ")],
    ["idempotency key", task.idempotencyKey],
    ["unique key", task.uniqueKey],
    ["payload", asText(task.payload)],
    ["result", asText(task.result)],
    ["error", errorText(task.error)],
  ];
}

export function showTask(task: Task, flags: CommonFlags, { terminal, clock }: CliParts): void {
  if (flags.json) printJson(task, terminal);
  else printFacts(taskFacts(task), { terminal, now: clock.now() });
}

export function showTasks(
  tasks: readonly Task[],
  flags: CommonFlags,
  { terminal, clock }: CliParts,
): void {
  if (flags.json) printJson({ tasks }, terminal);
  else printRows(tasks, taskColumns, { terminal, now: clock.now(), empty: "No such tasks." });
}

/** REST leaves the outcome empty while the attempt runs. */
const asRest = (attempt: Attempt) =>
  attempt.outcome === "running" ? { ...attempt, outcome: "" } : attempt;

export function showAttempts(
  attempts: readonly Attempt[],
  flags: CommonFlags & { readonly stacks?: boolean },
  { terminal, clock }: CliParts,
): void {
  const empty = "No attempt yet.";
  if (flags.json) printJson({ attempts: attempts.map(asRest) }, terminal);
  else printRows(attempts, attemptColumns, { terminal, now: clock.now(), empty });
  if (!flags.stacks || flags.json) return;
  for (const { attempt, error } of attempts) {
    if (error) terminal.print(`\nattempt ${attempt}: ${error.stack ?? errorText(error)}`);
  }
}
