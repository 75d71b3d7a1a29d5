import type { Broker } from "../broker/broker.js";
import type { History } from "../history/history.js";
import { isFinal } from "../task/task.js";
import { type Entry, toldAs } from "./record-entry.js";

/** Entries that may be told again, and those that stay as they are. */
export interface Mended {
  readonly again: readonly Entry[];
  readonly left: readonly Entry[];
}

/**
 * For updates that found no row. The insert may never come (its coordinator died): with the
 * payload, the transition is the whole task. Never rejects: without the broker nothing is mended.
 */
export async function fetchPayloads(broker: Broker, entries: readonly Entry[]): Promise<Mended> {
  const ids = entries.map((entry) => entry.taskId);
  const found = await broker.get(ids).catch(() => []);
  return split(entries, (entry, index) => {
    const task = found[index];
    if (!task) return false;
    const { current } = entry;
    const whole = { ...current.task, payload: task.payload };
    entry.current = toldAs(current, whole, false);
    return true;
  });
}

/**
 * For ends of tasks that a later version was in the way of. A store that came back without its last
 * second counts from further back, so an end may carry a smaller version than the live row. The end
 * of the same run wins all the same.
 */
export async function liftVersions(history: History, entries: readonly Entry[]): Promise<Mended> {
  const ids = entries.map((entry) => entry.taskId);
  const rows = await history.get(undefined, ids);
  return split(entries, (entry, index) => {
    const row = rows[index];
    const { current } = entry;
    if (!row || isFinal(row.status) || row.run !== current.task.run) return false;
    const lifted = { ...current.task, version: row.version + 1 };
    entry.current = toldAs(current, lifted, current.payloadOmitted);
    return true;
  });
}

function split(entries: readonly Entry[], mend: (entry: Entry, index: number) => boolean): Mended {
  const again: Entry[] = [];
  const left: Entry[] = [];
  for (const [index, entry] of entries.entries()) (mend(entry, index) ? again : left).push(entry);
  return { again, left };
}
