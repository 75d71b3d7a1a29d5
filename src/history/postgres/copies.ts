import { isFinal, type Payload, type Task } from "../../task/task.js";
import type { Copy } from "./copy.js";
import { bigint, int, optionalBigint } from "./literals.js";
import { defaultSpec, specColumn } from "./spec-column.js";
import { sql, type Statement } from "./sql.js";
import { RowWriter } from "./wire.js";
import {
  type Born,
  wholeTaskColumns,
  writeKind,
  writePayload,
  writeWhole,
  type Written,
} from "./written.js";

/** Which columns a row names; a column that is left out has its default. */
type Shape = PlainShape | "whole";
export type PlainShape = Written["shape"];

const plainColumns = 22;

const shapes: Readonly<Record<Shape, { statement: Statement; columns: number }>> = {
  default: { statement: sql("copy_default_tasks"), columns: plainColumns },
  plain: { statement: sql("copy_plain_tasks"), columns: plainColumns + 1 },
  whole: { statement: sql("copy_tasks"), columns: wholeTaskColumns + 2 },
};

/** Of rows that are written by `writePlain`. */
export const plainShapes = { default: shapes.default, plain: shapes.plain };

/**
 * Rows of one COPY at most. The server holds a place for each until their end, and finding it takes
 * longer the more there are: of twice as many a row costs 4 % more, of half as many as well,
 * because every COPY has to be begun.
 */
export const copyRows = 250;

/**
 * The rows by their shapes, each in the order given: those that have ended did so `now`, by the
 * store's clock.
 */
export function copiesOf(rows: readonly Born[], now: number): Copy[] {
  const sorted: Record<Shape, Born[]> = { default: [], plain: [], whole: [] };
  for (const row of rows) sorted[row.early?.shape ?? shapeOf(row)].push(row);
  return (["default", "plain", "whole"] as const).flatMap((shape) => {
    const alike = sorted[shape];
    return inPieces(alike.length, (from, to) => copyOf(shape, alike, from, to, now));
  });
}

/** COPYs of about as many rows each. */
export function inPieces(rows: number, copyOf: (from: number, to: number) => Copy): Copy[] {
  const pieces = Math.ceil(rows / copyRows);
  const start = (nth: number): number => Math.floor((nth * rows) / pieces);
  return Array.from({ length: pieces }, (_, nth) => copyOf(start(nth), start(nth + 1)));
}

const shapeOf = ({ task, payload }: Born): Shape =>
  isPlain(task, payload) ? plainShapeOf(specColumn(task)) : "whole";

/** By its spec; the other columns have what `isPlain` asks of them. */
export const plainShapeOf = (spec: string): PlainShape =>
  spec === defaultSpec ? "default" : "plain";

/**
 * Whether what has a column of its own, but seldom anything to say, says nothing: see the defaults
 * of the table `tasks`.
 */
export const isPlain = (task: Task, payload: Payload | undefined): boolean =>
  payload?.contentType === "application/json" &&
  task.run === 1 &&
  task.retryCount === 0 &&
  task.leaseLosses === 0 &&
  task.releases === 0 &&
  task.cancelRequestedAt === undefined &&
  task.idempotencyKey === "" &&
  task.error === undefined &&
  task.progress === undefined &&
  task.cancellation === undefined &&
  task.checkpoint === undefined &&
  task.tags.length === 0 &&
  task.terms === undefined;

function copyOf(shape: Shape, rows: readonly Born[], from: number, to: number, now: number): Copy {
  const { statement, columns } = shapes[shape];
  const writer = new RowWriter(undefined, columns);
  for (let nth = from; nth < to; nth += 1) {
    const row = rows[nth]!;
    const { early } = row;
    const { status, retentionMs } = early ?? row.task;
    const endedAt = isFinal(status) ? now : undefined;
    if (early) writer.copied(early.slab, early.from, early.to);
    else {
      const last = nth > from ? rows[nth - 1]! : undefined;
      const before = last && !last.early ? last.task : undefined;
      writer.begin();
      if (shape === "whole") writeWhole(writer, row, before);
      else writePlain(writer, row, shape, before);
    }
    writer.int8(endedAt);
    writer.int8(endedAt && endedAt + bigint(retentionMs));
    writer.end();
  }
  return { statement, rows: writer.finish() };
}

/** All but the times of its end. */
export function writePlain(
  writer: RowWriter,
  { task, payload }: Born,
  shape: PlainShape,
  before: Task | undefined,
): void {
  writeUpToPayload(writer, task, before);
  writer.bytes(payload?.data);
  writePayload(writer, task.result);
  if (shape === "plain") writer.json(specColumn(task));
}

/** The id first. */
export function writeUpToPayload(writer: RowWriter, task: Task, before: Task | undefined): void {
  writer.uuid(task.id);
  writer.int8(bigint(task.version));
  writer.int8(bigint(task.fencingToken));
  writer.int8(bigint(task.createdAt));
  writer.int8(optionalBigint(task.readyAt));
  writer.int8(optionalBigint(task.startedAt));
  writer.int8(optionalBigint(task.completedAt));
  writer.int8(bigint(task.retentionMs));
  writer.int4(int(task.attempt));
  writeKind(writer, task, before);
}
