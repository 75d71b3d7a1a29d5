import {
  type Batch,
  type BatchCancel,
  batchEvents,
  type BatchEvent,
  type BatchFacts,
  type BatchSpec,
} from "../../task/batch/batch.js";
import type { TaskDraft } from "../../task/draft.js";
import type { Payload } from "../../task/task.js";
import type { NewBatch } from "../batches.js";
import { int, restored, storable } from "./literals.js";
import { blankDraft } from "./schedule-rows.js";

/** What `{batch}` selects, and the payloads. */
export interface BatchRow {
  id: string;
  namespace: string;
  created_at: number;
  closed_at: number | null;
  completed_at: number | null;
  cancelled_at: number | null;
  watched: boolean;
  failure_threshold: number;
  spec: string;
  payloads: string | null;
  cancel: string | null;
  called: string;
  now: number;
}

export type FactsRow = BatchFacts & BatchRow;

type Draft = Omit<TaskDraft, "payload">;
type ByEvent<T> = Partial<Record<BatchEvent, T>>;

interface SpecColumn {
  readonly description: string;
  readonly callbacks: ByEvent<Draft>;
}

/** Bytes in base64. */
type PayloadsColumn = ByEvent<{ readonly contentType: string; readonly data: string }>;

/** Parameters of `create_batch.sql`. */
export function batchParameters(batch: NewBatch): unknown[] {
  const spec: SpecColumn = {
    description: batch.description,
    callbacks: eachOf(batch.callbacks, (draft) => ({ ...draft, payload: undefined }) as Draft),
  };
  const payloads: PayloadsColumn = eachOf(
    batch.callbacks,
    ({ payload }) => payload && packed(payload),
  );
  return [
    batch.id,
    storable(batch.namespace),
    int(batch.failureThreshold),
    JSON.stringify(spec),
    Object.keys(payloads).length > 0 ? JSON.stringify(payloads) : null,
  ];
}

export const cancelColumn = ({ reason, graceMs }: Omit<BatchCancel, "requestedAt">): string =>
  JSON.stringify({ reason, graceMs });

export function batchOf(row: BatchRow): Batch {
  return {
    id: row.id,
    namespace: restored(row.namespace),
    createdAt: row.created_at,
    ...specOf(row),
    failureThreshold: row.failure_threshold,
    closedAt: row.closed_at ?? undefined,
    completedAt: row.completed_at ?? undefined,
    cancelled: cancelOf(row),
    called: JSON.parse(row.called) as Batch["called"],
  };
}

function specOf(row: BatchRow): Omit<BatchSpec, "failureThreshold"> {
  const { description, callbacks } = JSON.parse(row.spec) as SpecColumn;
  const payloads = JSON.parse(row.payloads ?? "{}") as PayloadsColumn;
  return {
    description,
    callbacks: eachOf(callbacks, (draft, event) => {
      const payload = payloads[event];
      return { ...blankDraft, ...draft, payload: payload && unpacked(payload) };
    }),
  };
}

function cancelOf({ cancelled_at, cancel }: BatchRow): BatchCancel | undefined {
  if (cancelled_at === null || cancel === null) return undefined;
  const { reason, graceMs } = JSON.parse(cancel) as Omit<BatchCancel, "requestedAt">;
  return { requestedAt: cancelled_at, reason, graceMs };
}

export const factsOfRow = ({ live, unsuccessful, failures }: FactsRow): BatchFacts => ({
  live,
  unsuccessful,
  failures,
});

function eachOf<T, R>(
  all: Readonly<ByEvent<T>>,
  change: (one: T, event: BatchEvent) => R | undefined,
): ByEvent<R> {
  const changed: ByEvent<R> = {};
  for (const event of batchEvents) {
    const one = all[event];
    const after = one && change(one, event);
    if (after !== undefined) changed[event] = after;
  }
  return changed;
}

const packed = ({ contentType, data }: Payload) => ({
  contentType,
  data: Buffer.from(data).toString("base64"),
});

const unpacked = ({ contentType, data }: { contentType: string; data: string }): Payload => ({
  contentType,
  data: Buffer.from(data, "base64"),
});
