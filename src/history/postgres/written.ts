import { slotOfId } from "../../task/ids.js";
import type { Attempt, Payload, Task } from "../../task/task.js";
import {
  bigint,
  int,
  optionalBigint,
  plainArray,
  smallint,
  storable,
  textArray,
} from "./literals.js";
import { extraColumn, specColumn } from "./spec-column.js";
import { RowWriter } from "./wire.js";

/** Type numbers of this schema; see `types.ts`. */
export interface RowTypes {
  readonly wholeTask: number;
  readonly taskChange: number;
}

export const wholeTaskColumns = 34;
const taskChangeColumns = 26;

/** A row to be: the payload apart, because wide objects are not copied. */
export interface Born {
  readonly task: Task;
  readonly payload: Payload | undefined;
  /** It is written already; `task` and `payload` are read from it then. */
  readonly early?: Written | undefined;
}

/** A row of a plain task up to the times of its end, among others in a slab. */
export interface Written extends Pick<
  Task,
  "id" | "namespace" | "queue" | "status" | "run" | "retentionMs"
> {
  /** Which columns it has. */
  readonly shape: "default" | "plain";
  readonly slab: RowWriter;
  readonly from: number;
  readonly to: number;
  /** Of memory. Estimated. */
  readonly bytes: number;
}

/** A `whole_task[]`. */
export function wholeTasks(types: RowTypes, rows: readonly Born[]): Buffer {
  const writer = new RowWriter(types.wholeTask, wholeTaskColumns);
  let before: Task | undefined;
  for (const row of rows) {
    writer.begin();
    writeWhole(writer, row, before);
    writer.end();
    before = row.task;
  }
  return writer.finish();
}

export function writeWhole(
  writer: RowWriter,
  { task, payload }: Born,
  before: Task | undefined,
): void {
  writer.uuid(task.id);
  writer.int8(bigint(task.version));
  writer.int8(bigint(task.fencingToken));
  writer.int8(bigint(task.createdAt));
  writeTimes(writer, task);
  writer.int8(bigint(task.retentionMs));
  writeCounts(writer, task);
  writeKind(writer, task, before);
  writer.text(task.idempotencyKey ? storable(task.idempotencyKey) : undefined);
  writer.texts(task.tags.length === 0 ? undefined : task.tags.map(storable));
  writer.json(specColumn(task));
  writer.json(json(task.error));
  writer.json(json(task.progress));
  writePayload(writer, payload);
  writePayload(writer, task.result);
  writer.uuid(task.terms?.batchId);
  writer.text(task.terms?.schedule && storable(task.terms.schedule));
  writer.json(extraColumn(task));
}

/** From the slot to the worker. */
export function writeKind(writer: RowWriter, task: Task, before: Task | undefined): void {
  writer.int2(slotOfId(task.id));
  writer.int2(smallint(task.priority));
  if (before && isNamedAlike(before, task)) writer.again();
  else writeNames(writer, task);
}

/** Most rows of a batch are alike in these, so that their bytes are copied from the row before. */
function writeNames(writer: RowWriter, task: Task): void {
  writer.keepFrom();
  writer.text(task.status);
  writer.text(storable(task.namespace));
  writer.text(storable(task.queue));
  writer.text(storable(task.type));
  writer.text(storable(task.sessionId));
  writer.text(storable(task.workerId));
  writer.keepTo();
}

const isNamedAlike = (one: Task, other: Task): boolean =>
  one.status === other.status &&
  one.namespace === other.namespace &&
  one.queue === other.queue &&
  one.type === other.type &&
  one.sessionId === other.sessionId &&
  one.workerId === other.workerId;

/** What becomes of a row whose version is below `above`. */
export interface Change {
  readonly task: Task;
  readonly above: number;
  /** To be written with it; of this grant of the task. */
  readonly attempt: Attempt | undefined;
}

/** The change of a row that was locked and judged. */
export const replacing = (task: Task): Change => ({
  task,
  above: task.version,
  attempt: undefined,
});

/** A `task_change[]`. */
export function taskChanges(types: RowTypes, changes: readonly Change[]): Buffer {
  const writer = new RowWriter(types.taskChange, taskChangeColumns);
  for (const { task, above, attempt } of changes) {
    writer.begin();
    writer.uuid(task.id);
    writer.int8(bigint(above));
    writer.int8(bigint(task.version));
    writer.int8(bigint(task.fencingToken));
    writeTimes(writer, task);
    writeCounts(writer, task);
    writer.int2(smallint(task.priority));
    writer.text(task.status);
    writer.text(storable(task.sessionId));
    writer.text(storable(task.workerId));
    writer.json(json(task.error));
    writer.json(json(task.progress));
    writePayload(writer, task.result);
    writer.json(extraColumn(task));
    writer.int8(attempt && bigint(attempt.startedAt));
    writer.int8(optionalBigint(attempt?.endedAt));
    writer.text(attempt?.outcome);
    writer.json(json(attempt?.error));
    writer.end();
  }
  return writer.finish();
}

function writeTimes(writer: RowWriter, task: Task): void {
  writer.int8(optionalBigint(task.readyAt));
  writer.int8(optionalBigint(task.startedAt));
  writer.int8(optionalBigint(task.completedAt));
  writer.int8(optionalBigint(task.cancelRequestedAt));
}

function writeCounts(writer: RowWriter, task: Task): void {
  writer.int4(int(task.run));
  writer.int4(int(task.attempt));
  writer.int4(int(task.retryCount));
  writer.int4(int(task.leaseLosses));
  writer.int4(int(task.releases));
}

export function writePayload(writer: RowWriter, payload: Payload | undefined): void {
  writer.text(payload && storable(payload.contentType));
  writer.bytes(payload?.data);
}

const json = (value: object | undefined): string | undefined => value && JSON.stringify(value);

/** Parameters of `upsert_attempts.sql`; one row per (task, fencing token). */
export function attemptParameters(attempts: readonly Attempt[]): unknown[] {
  const text = (column: (attempt: Attempt) => string | undefined) =>
    textArray(attempts.map(column));
  const plain = (column: (attempt: Attempt) => number | string | undefined) =>
    plainArray(attempts.map(column));
  return [
    plain((attempt) => attempt.taskId),
    plain((attempt) => bigint(attempt.fencingToken)),
    plain((attempt) => bigint(attempt.startedAt)),
    plain((attempt) => optionalBigint(attempt.endedAt)),
    plain((attempt) => int(attempt.attempt)),
    plain((attempt) => int(attempt.run)),
    plain((attempt) => attempt.outcome),
    text((attempt) => storable(attempt.sessionId)),
    text((attempt) => storable(attempt.workerId)),
    text((attempt) => json(attempt.error)),
  ];
}
