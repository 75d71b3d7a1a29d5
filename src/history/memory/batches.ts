import {
  addCount,
  type Batch,
  type BatchCall,
  type BatchCancel,
  type BatchCounts,
  type BatchEvent,
  batchEvents,
  dueEvents,
  factsOf,
  isOver,
} from "../../task/batch/batch.js";
import type { TaskDraft } from "../../task/draft.js";
import type { Task } from "../../task/task.js";
import type { BatchBar, BatchHistory, BatchTasks, CallReply, NewBatch } from "../batches.js";
import { asRead } from "../rules.js";
import type { StoredBatch } from "./batch-counts.js";
import { type MemoryHistoryStore, putTask } from "./store.js";

interface MemoryBatchesOptions {
  readonly store: MemoryHistoryStore;
  readonly newMarker: () => string;
  /** Runs in one step, or rejects while the store is down. */
  readonly step: <T>(work: (now: number) => T) => Promise<T>;
}

export function createMemoryBatches({
  store,
  newMarker,
  step,
}: MemoryBatchesOptions): BatchHistory {
  const { batches } = store;
  const find = (namespace: string, id: string): StoredBatch | undefined => {
    const stored = batches.get(id.toLowerCase());
    return stored?.batch.namespace === namespace ? stored : undefined;
  };
  return {
    create: (batch) => step((now) => create(store, batch, now)),
    get: (namespace, id) => step(() => find(namespace, id)?.batch),
    counts: (id) => step((now) => countsOf(store, id, now)),
    list: (namespace, belowId, limit) =>
      step(() =>
        [...batches.values()]
          .flatMap(({ batch }) =>
            batch.namespace === namespace && batch.id < belowId ? batch : [],
          )
          .toSorted((a, b) => (a.id < b.id ? 1 : -1))
          .slice(0, limit)
          .map(withoutPayloads),
      ),
    close: (namespace, id) => step((now) => change(find(namespace, id), { closedAt: now })),
    cancel: (namespace, id, how) => step((now) => cancel(find(namespace, id), how, now)),
    look: (ids) =>
      step(() =>
        ids.flatMap((id) => {
          const stored = batches.get(id);
          if (!stored) return [];
          const { batch, counts, watched } = stored;
          return [{ batch: withoutPayloads(batch), facts: factsOf(counts), watched }];
        }),
      ),
    call: (id, tasks) => step((now) => call(store, id, tasks, newMarker(), now)),
    watched: (aboveId, limit) =>
      step(() =>
        [...batches.values()]
          .flatMap(({ batch, watched }) => (watched && batch.id > aboveId ? batch.id : []))
          .toSorted()
          .slice(0, limit),
      ),
    prune: (olderThanMs, limit) => step((now) => prune(store, now - olderThanMs, limit)),
  };
}

function create(
  { batches }: MemoryHistoryStore,
  wanted: NewBatch,
  now: number,
): { batch: Batch; existing: boolean } {
  const known = batches.get(wanted.id);
  if (known) return { batch: known.batch, existing: true };
  const batch: Batch = {
    ...wanted,
    createdAt: now,
    closedAt: undefined,
    completedAt: undefined,
    cancelled: undefined,
    called: {},
  };
  batches.set(batch.id, { batch, watched: true, counts: {}, timed: new Set(), standing: 0 });
  return { batch, existing: false };
}

function change(stored: StoredBatch | undefined, { closedAt }: Pick<Batch, "closedAt">) {
  if (!stored) return undefined;
  stored.batch = { ...stored.batch, closedAt: stored.batch.closedAt ?? closedAt };
  return stored.batch;
}

function cancel(
  stored: StoredBatch | undefined,
  how: Omit<BatchCancel, "requestedAt">,
  now: number,
): Batch | undefined {
  if (!stored || stored.batch.cancelled || stored.batch.completedAt !== undefined) {
    return stored?.batch;
  }
  change(stored, { closedAt: now });
  stored.batch = { ...stored.batch, cancelled: { requestedAt: now, ...how } };
  return stored.batch;
}

function countsOf({ batches, tasks }: MemoryHistoryStore, id: string, now: number): BatchCounts {
  const stored = batches.get(id);
  const counts = { ...stored?.counts };
  for (const taskId of stored?.timed ?? []) {
    const { task } = tasks.get(taskId)!;
    addCount(counts, task.status, -1);
    addCount(counts, asRead(task, now).status, 1);
  }
  return Object.fromEntries(Object.entries(counts).filter(([, n]) => n > 0));
}

function call(
  store: MemoryHistoryStore,
  id: string,
  tasks: BatchTasks,
  marker: string,
  now: number,
): CallReply {
  const stored = store.batches.get(id);
  if (!stored) return { called: [], marker: undefined, completed: false };
  const { batch } = stored;
  const facts = factsOf(stored.counts);
  const due = dueEvents(batch, facts);
  const over = isOver(batch, facts);
  const called: { event: BatchEvent; task: Task }[] = [];
  const calls: Partial<Record<BatchEvent, BatchCall>> = { ...batch.called };
  for (const event of due) {
    const task = tasks[event];
    if (!task) continue;
    called.push({ event, task });
    calls[event] = { taskId: task.id, at: now };
    putTask(store, task, now);
  }
  const completedAt = over ? (batch.completedAt ?? now) : batch.completedAt;
  stored.batch = { ...batch, called: calls, completedAt };
  stored.watched = !over || called.length < due.length;
  const completed = over && batch.completedAt === undefined;
  if (called.length === 0) return { called, marker: undefined, completed };
  store.markers.set(marker, { createdAt: now, taskIds: called.map(({ task }) => task.id) });
  return { called, marker, completed };
}

function prune({ batches }: MemoryHistoryStore, before: number, limit: number): number {
  let gone = 0;
  for (const [id, { batch, watched, standing }] of batches) {
    if (gone === limit) break;
    if (watched || standing > 0 || (batch.completedAt ?? before) >= before) continue;
    batches.delete(id);
    gone += 1;
  }
  return gone;
}

/** Why the task cannot join the batch it asks for, if it cannot. */
export function barOf(
  { batches }: MemoryHistoryStore,
  { namespace, terms }: Task,
): BatchBar | undefined {
  if (terms?.batchId === undefined) return undefined;
  const batch = batches.get(terms.batchId)?.batch;
  if (batch?.namespace !== namespace) return "unknown";
  if (batch.cancelled) return "cancelled";
  return batch.closedAt === undefined ? undefined : "closed";
}

/** A batch that was over has a live task again. */
export function watchAgain({ batches }: MemoryHistoryStore, { terms }: Task): void {
  const stored = batches.get(terms?.batchId ?? "");
  if (stored) stored.watched = true;
}

function withoutPayloads(batch: Batch): Batch {
  const callbacks: Partial<Record<BatchEvent, TaskDraft>> = {};
  for (const event of batchEvents) {
    const draft = batch.callbacks[event];
    if (draft) callbacks[event] = { ...draft, payload: undefined };
  }
  return { ...batch, callbacks };
}
