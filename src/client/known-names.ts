import type { AnyTasks } from "../transport/task-map.js";
import { type Names, unknownName } from "../transport/unknown-names.js";
import { invalid } from "./errors.js";
import type { NewTask, SubmitOptions } from "./surface.js";

const options: Names<SubmitOptions> = {
  queue: true,
  priority: true,
  maxRetries: true,
  retryPolicy: true,
  runAt: true,
  delayMs: true,
  attemptTimeoutMs: true,
  heartbeatTimeoutMs: true,
  expireAt: true,
  deadline: true,
  groupKey: true,
  requiredLabels: true,
  tags: true,
  idempotencyKey: true,
  uniqueKey: true,
  unique: true,
  batchId: true,
  retentionMs: true,
  traceContext: true,
  signal: true,
  timeoutMs: true,
};
const parts: Names<NewTask<AnyTasks>> = { type: true, payload: true, options: true };

/** Throws a DroverClientError for an option of a submission that there is not. */
export function checkOptions(given: SubmitOptions): void {
  const unknown = unknownName(given, options);
  if (!unknown) return;
  const field = `options.${unknown.name}`;
  throw invalid("invalid_field", field, `${field}: there is no such option`, unknown.hint);
}

/** The same, of what stands beside the options of one of many. */
export function checkParts(task: NewTask<AnyTasks>): void {
  for (const name in task) if (!Object.hasOwn(parts, name)) refusePart(task);
}

function refusePart(task: NewTask<AnyTasks>): void {
  const unknown = unknownName(task, parts);
  if (!unknown) return;
  const { name, hint } = unknown;
  const meant = Object.hasOwn(options, name) ? `Write options: { ${name}: ... }.` : hint;
  throw invalid("invalid_field", name, `${name}: no such part of a task to submit`, meant);
}
