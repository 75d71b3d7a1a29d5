import { type Durability, isFinal, type Task } from "../../task/task.js";
import type { Copy } from "./copy.js";
import { bigint, int, optionalBigint } from "./literals.js";
import { plainSpecs, specColumn } from "./spec-column.js";
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

/** Which columns a row needs; a column that is left out has its default. */
type Shape = PlainShape | "whole";
export type PlainShape = Written["shape"];

const plainColumns = 22;

const shapes: Readonly<Record<Shape, { statement: Statement; columns: number }>> = {
  relaxed: { statement: sql("copy_relaxed_tasks"), columns: plainColumns },
  plain: { statement: sql("copy_plain_tasks"), columns: plainColumns + 1 },
  whole: { statement: sql("copy_tasks"), columns: wholeTaskColumns + 2 },
};

/** Of rows that are written by `writePlain`, and what stands behind their times. */
export const plainShapes = {
  relaxed: { ...shapes.relaxed, spec: undefined },
  plain: { ...shapes.plain, spec: plainSpecs.durable },
} as const;

/** Of a task about which nothing is special. */
export const plainShapeOf = (durability: Durability): PlainShape =>
  durability === "relaxed" ? "relaxed" : "plain";

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
  const sorted: Record<Shape, Born[]> = { relaxed: [], plain: [], whole: [] };
  for (const row of rows) sorted[row.early?.shape ?? shapeOf(row)].push(row);
  return (["relaxed", "plain", "whole"] as const).flatMap((shape) => {
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

/** See the defaults of the table `tasks`. */
export function shapeOf({ task, payload }: Born): Shape {
  const plain =
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
    specColumn(task) === plainSpecs[task.durability];
  return plain ? plainShapeOf(task.durability) : "whole";
}

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
      else writePlain(writer, row, before);
    }
    writer.int8(endedAt);
    writer.int8(endedAt && endedAt + bigint(retentionMs));
    if (shape === "plain") writer.json(plainShapes.plain.spec);
    writer.end();
  }
  return { statement, rows: writer.finish() };
}

/** The columns of sql/parts/plain_columns.sql, but for the last two. */
export function writePlain(
  writer: RowWriter,
  { task, payload }: Born,
  before: Task | undefined,
): void {
  writeUpToPayload(writer, task, before);
  writer.bytes(payload?.data);
  writePayload(writer, task.result);
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
