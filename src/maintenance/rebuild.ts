import type { Broker, PartitionStatus } from "../broker/broker.js";
import type { Clock } from "../clock.js";
import type { History } from "../history/history.js";
import { limits } from "../limits.js";
import { formTaskId, partitionOfSlot, slotOfQueue } from "../task/ids.js";
import type { Task } from "../task/task.js";
import type { Events } from "../telemetry/events.js";
import { firstId, lifted, restoreAll, restorePage } from "./restore.js";

export interface RebuildOptions {
  readonly broker: Broker;
  readonly history: History;
  readonly events: Events;
  readonly clock: Clock;
}

/**
 * Ended rows that get a tombstone: the newest of the last two minutes, enough for the second that
 * an AOF may lose.
 */
const buryRows = 2_000;
const queuePage = 500;

export const mustOpen = (status: PartitionStatus): boolean =>
  status.cold || status.storeId !== status.openedOn;

/** A store that was emptied, or is new, has forgotten on whom it was opened. */
const isEmptied = (status: PartitionStatus): boolean => status.openedOn === "";

/**
 * Brings a partition back from history and opens it, unless another coordinator does. Returns how
 * it was opened. `coldSince` is the monotonic time at which it was first seen COLD. Whoever closes
 * a partition on purpose must hold the same lock (`rebuild-<partition>`) for as long as it is to
 * stay closed.
 */
export async function rebuild(
  options: RebuildOptions,
  partition: number,
  coldSince: number,
  stopping: AbortSignal,
): Promise<"rebuilt" | "reopened" | undefined> {
  const { broker, history } = options;
  return history.exclusively(`rebuild-${partition}`, async (held) => {
    const signal = AbortSignal.any([held, stopping]);
    const status = await broker.status(partition);
    if (!mustOpen(status)) return undefined;
    const startedAt = options.clock.monotonic();
    const emptied = isEmptied(status);
    const epoch = await history.raiseEpoch(partition);
    // Never opened before: nothing was ever leased, so no worker can come back with anything.
    const waitFrom = epoch === 1 ? undefined : coldSince;
    const tasks = emptied
      ? await refill(options, partition, waitFrom, signal)
      : await reapply(options, partition, signal);
    await pushQueues(options, partition);
    if (!(await open(options, partition, epoch, signal))) return undefined;
    const ms = options.clock.monotonic() - startedAt;
    options.events.emit("partition.rebuilt", { partition, tasks, epoch, ms });
    return emptied ? "rebuilt" : "reopened";
  });
}

/**
 * Everything live, in id order. The partition stays COLD for one session lease, so that workers
 * come back and keep what they run (`waitFrom` is when that began, undefined: nobody can); only a
 * history without live rows has nothing that could be running.
 */
async function refill(
  options: RebuildOptions,
  partition: number,
  waitFrom: number | undefined,
  signal: AbortSignal,
): Promise<number> {
  const { clock } = options;
  const all = {
    ...options,
    partition,
    afterId: firstId,
    limit: limits.restoreBatch,
    prepare: lifted,
  };
  for (let since = waitFrom; ; since = clock.monotonic()) {
    const { firstPage, rows } = await restoreAll(all, signal);
    await buryRecent(options, partition);
    if (rows === 0 || since === undefined) return rows;
    const waitMs = since + limits.sessionLeaseMs - clock.monotonic();
    if (waitMs > 0) await clock.sleep(waitMs, signal);
    // The store may have been emptied once more meanwhile. Then it lacks what it was given, and all
    // starts anew.
    const again = await restorePage({ ...all, limit: firstPage.size });
    if (!again.restored.some((id) => firstPage.has(id))) return rows;
  }
}

/**
 * The store came back with its records, perhaps without the last second of them. What history knows
 * since goes in.
 */
async function reapply(
  options: RebuildOptions,
  partition: number,
  signal: AbortSignal,
): Promise<number> {
  await buryRecent(options, partition);
  const youngest = options.clock.now() - limits.commitMarkerKeepMs - limits.submitIdAgeMs;
  const afterId = formTaskId(Math.max(0, youngest), 0, new Uint8Array(8));
  const page = { ...options, partition, afterId, limit: limits.restoreBatch, prepare: lifted };
  const { restored } = await restoreAll(page, signal);
  return restored;
}

async function buryRecent({ broker, history }: RebuildOptions, partition: number): Promise<void> {
  const { partitions } = broker;
  const ended = await history.recentlyEnded(
    partition,
    partitions,
    limits.commitMarkerKeepMs,
    buryRows,
  );
  for (let start = 0; start < ended.length; start += limits.restoreBatch) {
    const slim = ended.slice(start, start + limits.restoreBatch).map(withoutData);
    await broker.bury(slim);
  }
}

/** A tombstone needs neither payload nor result. */
const withoutData = (task: Task): Task => ({ ...task, payload: undefined, result: undefined });

/** A paused queue must be so before the first lease. */
async function pushQueues({ broker, history }: RebuildOptions, partition: number): Promise<void> {
  for (let after = ""; ;) {
    const page = await history.queues(undefined, after, queuePage);
    for (const { namespace, name, paused, version } of page) {
      const home = partitionOfSlot(slotOfQueue(namespace, name), broker.partitions);
      if (version > 0 && home === partition)
        await broker.setQueue({ namespace, queue: name, paused });
    }
    const last = page.at(-1);
    if (!last || page.length < queuePage) return;
    after = `${last.namespace}/${last.name}`;
  }
}

/** False: another coordinator was faster, because this one lost its lock on the way. */
async function open(
  { broker }: RebuildOptions,
  partition: number,
  epoch: number,
  signal: AbortSignal,
): Promise<boolean> {
  const status = await broker.status(partition);
  signal.throwIfAborted();
  if (!mustOpen(status)) return false;
  await broker.open(partition, epoch);
  return true;
}
