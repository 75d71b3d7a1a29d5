import { FreshTask, type NewTask } from "../../task/fresh-task.js";
import type { TaskSpec } from "../../task/task.js";
import { inPieces, isPlain, plainShapes, writeUpToPayload } from "./copies.js";
import type { Copy } from "./copy.js";
import { specColumn } from "./spec-column.js";
import { RowWriter, uuidColumnBytes } from "./wire.js";
import { writePayload } from "./written.js";

const { statement, columns } = plainShapes.plain;

/** Where in a writer the columns stand that all tasks of a spec share. */
interface Mould {
  readonly asked: number;
  readonly data: number;
  readonly rest: number;
  readonly end: number;
}

/**
 * Whether nothing needs a whole task: DURABLE ones that differ from others by id and data alone.
 */
export function areFresh(tasks: readonly NewTask[]): tasks is readonly FreshTask[] {
  let last: TaskSpec | undefined;
  for (const task of tasks) {
    if (!(task instanceof FreshTask)) return false;
    if (task.spec === last) continue;
    last = task.spec;
    const { task: whole } = task;
    if (whole.durability !== "durable" || !isPlain(whole, whole.payload)) return false;
  }
  return true;
}

/**
 * COPYs of new tasks in the order given. Of a spec the first row is written, the others are cast.
 */
export const copiesOfFresh = (tasks: readonly FreshTask[]): Copy[] =>
  inPieces(tasks.length, (from, to) => {
    const writer = new RowWriter(undefined, columns);
    const moulds = new Map<TaskSpec, Mould>();
    for (let nth = from; nth < to; nth += 1) {
      const fresh = tasks[nth]!;
      const mould = moulds.get(fresh.spec);
      writer.begin();
      if (mould) cast(writer, fresh, mould);
      else moulds.set(fresh.spec, write(writer, fresh));
      writer.end();
    }
    return { statement, rows: writer.finish() };
  });

function write(writer: RowWriter, { task, frame, from, to }: FreshTask): Mould {
  const asked = writer.length + uuidColumnBytes;
  writeUpToPayload(writer, task, undefined);
  const data = writer.length;
  writer.stretch(frame, from, to);
  const rest = writer.length;
  writePayload(writer, undefined);
  writer.json(specColumn(task));
  // It has not ended.
  writer.int8(undefined);
  writer.int8(undefined);
  return { asked, data, rest, end: writer.length };
}

function cast(writer: RowWriter, fresh: FreshTask, { asked, data, rest, end }: Mould): void {
  writer.uuid(fresh.id);
  writer.repeat(asked, data);
  writer.stretch(fresh.frame, fresh.from, fresh.to);
  writer.repeat(rest, end);
}
