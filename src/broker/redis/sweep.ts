import { uuidText } from "../../task/uuid.js";
import { overdueCause } from "../../task/times.js";
import type { Lease, OverdueLease, PartitionStatus, SweepReply, Transition } from "../broker.js";
import { type Argument, ownStoreId } from "./connection.js";
import { readOffered } from "./lease.js";
import { asBytes, asList, asNumber, asText, type Reply } from "./scripts.js";
import { readTransition, type Told } from "./transition.js";
import type { Store } from "./store.js";

export async function sweep(store: Store, partition: number): Promise<SweepReply> {
  const args: Argument[] = [ownStoreId];
  const row = asList(await store.scripts.run("sweep", store.base(partition), args));
  const [promoted, time, nextDue, nextEnd, entries, oldest] = row;
  const [lost, left, timedOut, overdue, ended, entry] = row.slice(6);
  const now = asNumber(time);
  const told = { partition, entry: asText(entry ?? null), at: now };
  return {
    lost: readOffered(lost, now),
    left: readOffered(left, now),
    timedOut: readOffered(timedOut, now).map((lease) => overdueLease(lease, now)),
    cancelOverdue: readOffered(overdue, now),
    ended: asList(ended).map((change) => readEnded(told, asList(change))),
    promoted: asNumber(promoted),
    nextDueInMs: msOrNone(nextDue),
    nextEndInMs: msOrNone(nextEnd),
    outboxEntries: asNumber(entries),
    oldestOutboxMs: asNumber(oldest),
  };
}

const overdueLease = (lease: Lease, now: number): OverdueLease => ({
  token: lease.token,
  sessionId: lease.sessionId,
  task: lease.task,
  timeoutMs: lease.timeoutMs,
  cause: overdueCause(lease.task, now),
});

const readEnded = (told: Told, row: readonly Reply[]): Transition =>
  readTransition(told, uuidText(asBytes(row[0]!)), 0, row, 1);

function msOrNone(reply: Reply | undefined): number | undefined {
  const ms = asNumber(reply);
  return ms < 0 ? undefined : ms;
}

export async function now(store: Store, partition: number): Promise<number> {
  return asNumber(await store.scripts.run("partition", store.base(partition), ["now"]));
}

export async function status(store: Store, partition: number): Promise<PartitionStatus> {
  const row = asList(
    await store.scripts.run("partition", store.base(partition), ["status", ownStoreId]),
  );
  const [served, openedOn, epoch, storeId] = row;
  return {
    cold: asNumber(served) !== 1,
    storeId: asText(storeId),
    openedOn: asText(openedOn),
    epoch: asNumber(epoch),
  };
}

export async function close(store: Store, partition: number, reason: string): Promise<void> {
  await store.scripts.run("partition", store.base(partition), ["close", ownStoreId, reason]);
}

export async function open(store: Store, partition: number, epoch: number): Promise<void> {
  const args: Argument[] = ["open", ownStoreId, String(epoch)];
  await store.scripts.run("partition", store.base(partition), args);
}
