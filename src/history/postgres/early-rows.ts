import { attemptOf } from "../../task/attempt.js";
import type { Attempt, Payload, Priority, Status, Task } from "../../task/task.js";
import { uuidText } from "../../task/uuid.js";
import type { Told } from "../history.js";
import { isToldByTask } from "../rules.js";
import { isPlain, type PlainShape, plainShapeOf, plainShapes, writePlain } from "./copies.js";
import { restored } from "./literals.js";
import { defaultSpec, saidIn, type SpecColumn, specColumn } from "./spec-column.js";
import { RowWriter } from "./wire.js";
import type { Written } from "./written.js";

/** Rows stand side by side in as many bytes; what would not fit there is not written early. */
const slabBytes = 64 * 1024;
/** Of payload and result together. */
const dataMost = 4 * 1024;
/** Letters of a spec, of up to three bytes. */
const specMost = 1_024;
/** Of a row, beside them its names, which take 128 letters each at most, of up to three bytes. */
export const rowMost = dataMost + 3 * specMost + 4 * 1024;
/** What the object around a row takes. */
const overheadBytes = 256;

type Envelope = Pick<Told, "partition" | "outboxId" | "outboxPlace" | "payloadOmitted">;
type Gist = Pick<Task, "id" | "namespace" | "queue" | "status" | "version" | "retentionMs">;

/**
 * A transition that is its row of a COPY already, but for the two columns that the store's clock
 * decides: bytes beside each other are cheaper to hold than a task of 40 fields, and are written
 * while the task is still at hand. Whoever asks for the task all the same gets it from the row.
 */
export class EarlyRow implements Told, Written {
  readonly partition: number;
  readonly outboxId: string | undefined;
  readonly outboxPlace: number;
  readonly payloadOmitted: boolean;
  readonly taskId: string;
  readonly id: string;
  readonly namespace: string;
  readonly queue: string;
  readonly status: Status;
  readonly version: number;
  readonly retentionMs: number;
  readonly shape: PlainShape;
  readonly slab: RowWriter;
  readonly from: number;
  readonly to: number;
  private read: Task | undefined;

  constructor(
    told: Envelope,
    task: Gist,
    shape: PlainShape,
    slab: RowWriter,
    from: number,
    to: number,
  ) {
    this.partition = told.partition;
    this.outboxId = told.outboxId;
    this.outboxPlace = told.outboxPlace;
    this.payloadOmitted = told.payloadOmitted;
    this.taskId = task.id;
    this.id = task.id;
    this.namespace = task.namespace;
    this.queue = task.queue;
    this.status = task.status;
    this.version = task.version;
    this.retentionMs = task.retentionMs;
    this.shape = shape;
    this.slab = slab;
    this.from = from;
    this.to = to;
    this.read = undefined;
  }

  /** Of the first run: every other is written late. */
  get run(): number {
    return 1;
  }

  get task(): Task {
    return (this.read ??= taskOfRow(this.slab.part(this.from, this.to), this.shape));
  }

  get attempt(): Attempt | undefined {
    if (this.status !== "completed") return undefined;
    return attemptOf(this.task, this.task.completedAt, "completed", undefined);
  }

  get bytes(): number {
    return this.to - this.from + overheadBytes;
  }
}

interface Slab {
  readonly rows: RowWriter;
  before: Task | undefined;
}

/** Writes rows as they are told. */
export class EarlyRows {
  readonly #slabs: Partial<Record<PlainShape, Slab>> = {};

  /** The same, if it has to be looked at when it is recorded. */
  write(told: Told): Told {
    const { task } = told;
    const { payload } = task;
    const shape =
      payload && task.durability === "relaxed" ? earlyShapeOf(told, payload) : undefined;
    if (!shape) return told;
    const slab = this.#slabOf(shape);
    const { rows, before } = slab;
    const from = rows.length;
    rows.begin();
    writePlain(rows, { task, payload }, shape, before);
    rows.end();
    slab.before = task;
    return new EarlyRow(told, task, shape, rows, from, rows.length);
  }

  #slabOf(shape: PlainShape): Slab {
    const slab = this.#slabs[shape];
    if (slab && slab.rows.length <= slabBytes - rowMost) return slab;
    const { columns } = plainShapes[shape];
    const rows = new RowWriter(undefined, columns, Buffer.allocUnsafe(slabBytes));
    return (this.#slabs[shape] = { rows, before: undefined });
  }
}

/**
 * Of what is whole, and new or completed: then the row says all there is, and needs no second look
 * unless history stands otherwise. Undefined: it is not.
 */
export function earlyShapeOf(
  { task, payloadOmitted, attempt, successor }: Told,
  payload: Payload,
): PlainShape | undefined {
  if (successor || dataBytes(task) > dataMost || !isPlain(task, payload)) return undefined;
  if (attempt ? !isToldByTask(attempt, task) : payloadOmitted || task.status === "completed") {
    return undefined;
  }
  const spec = specColumn(task);
  return spec.length > specMost ? undefined : plainShapeOf(spec);
}

const dataBytes = ({ payload, result }: Task): number =>
  (payload?.data.byteLength ?? 0) + (result?.data.byteLength ?? 0);

/** Reads what `writePlain` has written behind the number of columns. */
class RowReader {
  readonly #row: Buffer;
  #at = 2;

  constructor(row: Buffer) {
    this.#row = row;
  }

  bytes(): Buffer | undefined {
    const length = this.#row.readInt32BE(this.#at);
    this.#at += 4;
    if (length < 0) return undefined;
    const from = this.#at;
    this.#at += length;
    return this.#row.subarray(from, this.#at);
  }

  text(): string {
    return restored(this.bytes()?.toString("utf8") ?? "");
  }

  optional(): number | undefined {
    const bytes = this.bytes();
    return bytes && Number(bytes.readBigInt64BE(0));
  }

  number(): number {
    return this.optional() ?? 0;
  }

  int4(): number {
    return this.bytes()!.readInt32BE(0);
  }

  int2(): number {
    return this.bytes()!.readInt16BE(0);
  }
}

/** The other columns have what `isPlain` asks of them. */
function taskOfRow(row: Buffer, shape: PlainShape): Task {
  const from = new RowReader(row);
  const id = uuidText(from.bytes()!);
  const [version, fencingToken, createdAt] = [from.number(), from.number(), from.number()];
  const [readyAt, startedAt, completedAt] = [from.optional(), from.optional(), from.optional()];
  const [retentionMs, attempt] = [from.number(), from.int4()];
  from.int2();
  const priority = from.int2() as Priority;
  const status = from.text() as Status;
  const [namespace, queue, type] = [from.text(), from.text(), from.text()];
  const [sessionId, workerId] = [from.text(), from.text()];
  const data = from.bytes()!;
  const contentType = from.bytes();
  const result = from.bytes();
  const spec = shape === "default" ? defaultSpec : from.bytes()!.toString("utf8");
  const said = saidIn(JSON.parse(spec) as SpecColumn);
  return {
    id,
    namespace,
    queue,
    type,
    priority,
    payload: { contentType: "application/json", data },
    maxRetries: said.maxRetries,
    retry: said.retry,
    runAt: said.runAt,
    timeoutMs: said.timeoutMs,
    groupKey: said.groupKey,
    requiredLabels: said.requiredLabels,
    tags: said.tags,
    idempotencyKey: "",
    retentionMs,
    traceContext: said.traceContext,
    durability: said.durability,
    createdAt,
    terms: said.terms,
    status,
    version,
    run: 1,
    attempt,
    retryCount: 0,
    leaseLosses: 0,
    releases: 0,
    fencingToken,
    sessionId,
    workerId,
    readyAt,
    startedAt,
    completedAt,
    cancelRequestedAt: undefined,
    result: result &&
      contentType && { contentType: restored(contentType.toString()), data: result },
    error: undefined,
    progress: undefined,
    cancellation: undefined,
    checkpoint: undefined,
  };
}
