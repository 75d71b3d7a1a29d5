import { DroverError } from "../errors.js";
import { slotOfId } from "../task/ids.js";
import { isFinal, type Status, type Task } from "../task/task.js";
import { Failed } from "./batcher.js";
import type { Parts } from "./parts.js";
import { partitionwise } from "./partitionwise.js";

/** Tasks of one read of the broker. */
const readItems = 500;
/** Answers given in one turn: each has a watch or a call go on, and leases must not wait for it. */
const turnItems = 50;

interface Asked {
  readonly done: Promise<Task | undefined>;
  resolve(task: Task | undefined): void;
  reject(error: unknown): void;
}

/** In the broker it has ended, or is not, or that does not answer. */
interface Open {
  readonly id: string;
  readonly one: Asked;
  readonly live: Task | undefined;
  readonly failed: Failed | undefined;
}

async function inTurns<T>(items: readonly T[], take: (item: T, index: number) => void) {
  for (let from = 0; from < items.length; from += turnItems) {
    if (from > 0) await new Promise<void>((resolve) => setImmediate(resolve));
    items.slice(from, from + turnItems).forEach((item, nth) => take(item, from + nth));
  }
}

/**
 * Reads tasks as they may be shown: a final status only once it can no longer be lost (P13). What
 * is asked for in one turn shares its reads, however many ask for the same task.
 */
export class TaskLoader {
  readonly #parts: Pick<Parts, "broker" | "history">;
  #asked = new Map<string, Asked>();

  constructor(parts: Pick<Parts, "broker" | "history">) {
    this.#parts = parts;
  }

  /** Of any namespace: who asks has to compare it. Undefined: no such task. */
  load(taskId: string): Promise<Task | undefined> {
    const known = this.#asked.get(taskId);
    if (known) return known.done;
    if (this.#asked.size === 0) setImmediate(() => this.#flush());
    let answer: Pick<Asked, "resolve" | "reject"> | undefined;
    const done = new Promise<Task | undefined>((resolve, reject) => (answer = { resolve, reject }));
    this.#asked.set(taskId, { done, ...answer! });
    return done;
  }

  #flush(): void {
    const asked = [...this.#asked];
    this.#asked = new Map();
    for (let at = 0; at < asked.length; at += readItems) {
      void this.#read(asked.slice(at, at + readItems));
    }
  }

  async #read(asked: readonly [string, Asked][]): Promise<void> {
    const { broker } = this.#parts;
    const ids = asked.map(([id]) => id);
    const reads = partitionwise(broker, ids, slotOfId, (some) => broker.get(some));
    const live = await reads.catch((error: unknown) => ids.map(() => new Failed(error)));
    const open: Open[] = [];
    await inTurns(asked, ([id, one], index) => {
      const found = live[index];
      const failed = found instanceof Failed ? found : undefined;
      const task = found instanceof Failed ? undefined : found;
      const shown = task && !(isFinal(task.status) && task.durability === "durable");
      if (shown) one.resolve(task);
      else open.push({ id, one, live: task, failed });
    });
    if (open.length > 0) await this.#readEnded(open);
  }

  async #readEnded(open: readonly Open[]): Promise<void> {
    const { history } = this.#parts;
    try {
      const stored = await history.get(
        undefined,
        open.map(({ id }) => id),
      );
      await inTurns(open, ({ one, live, failed }, index) => {
        const row = stored[index];
        // It may be one that history is yet to hear of.
        if (failed && !row) one.reject(DroverError.from(failed.error));
        else one.resolve(shownOf(live, row));
      });
    } catch (error) {
      for (const { one, live } of open) {
        // What ended there meanwhile cannot be known; that it is not shown as ended yet can.
        if (live) one.resolve(shownOf(live, undefined));
        else one.reject(DroverError.from(error));
      }
    }
  }
}

/** A task that ended in the broker only is shown as it was while it ran. */
function shownOf(live: Task | undefined, stored: Task | undefined): Task | undefined {
  if (!live || (stored && stored.version >= live.version)) return stored;
  const status: Status = live.attempt > 0 ? "running" : "pending";
  const shown = Object.assign({ ...live }, { status, completedAt: undefined, result: undefined });
  unsettled.add(shown);
  return shown;
}

const unsettled = new WeakSet<Task>();

/** It has ended in the broker, and reads as before because history does not hold the end yet. */
export const isUnsettled = (task: Task): boolean => unsettled.has(task);
