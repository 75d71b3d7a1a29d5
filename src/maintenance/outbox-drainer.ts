import type { Broker, Transition } from "../broker/broker.js";
import type { Clock } from "../clock.js";
import type { Recorder } from "../coordinator/recorder.js";
import { DroverError } from "../errors.js";
import type { History, RecordOutcome } from "../history/history.js";
import { limits } from "../limits.js";
import { createLoop, type Service } from "../service.js";
import type { Events } from "../telemetry/events.js";

export interface OutboxDrainerOptions {
  readonly broker: Broker;
  readonly history: History;
  readonly recorder: Recorder;
  readonly events: Events;
  readonly clock: Clock;
}

export interface OutboxDrainer extends Service {
  /**
   * The oldest entry of this partition's outbox is so old. Entries left behind are drained soon.
   */
  notice(partition: number, oldestMs: number): void;
}

const everyMs = 5_000;
/**
 * An entry whose task neither store knows any more is kept this long, in case its insert is still
 * on its way.
 */
const orphanMs = limits.restoreStaleMs;

/**
 * Records what other coordinators left in the outbox: they died, or cannot reach history, or had no
 * room for it. Sweeps say where to look, so an idle system costs nothing. One drainer at a time per
 * partition; two would only work twice.
 */
export function createOutboxDrainer(options: OutboxDrainerOptions): OutboxDrainer {
  const { broker, history, clock, events } = options;
  const due = new Set<number>();
  const orphans = new Orphans(options);
  const loop = createLoop({
    name: "outbox-drainer",
    clock,
    everyMs,
    onError: (error, name) => events.emit("loop.failed", { loop: name, error }),
    async run(signal) {
      const partitions = [...due];
      due.clear();
      if (!broker.available || !history.available) return undefined;
      for (const partition of partitions) {
        if (!broker.serves(partition)) continue;
        await history.exclusively(`outbox-${partition}`, async (held) => {
          await drain(options, orphans, partition, AbortSignal.any([held, signal]));
        });
      }
      return undefined;
    },
  });
  return {
    start: () => loop.start(),
    stop: () => loop.stop(),
    notice(partition, oldestMs) {
      if (oldestMs < limits.outboxIdleMs) return;
      due.add(partition);
      loop.poke();
    },
  };
}

async function drain(
  { broker, recorder, events }: OutboxDrainerOptions,
  orphans: Orphans,
  partition: number,
  signal: AbortSignal,
): Promise<void> {
  let told = new Set<string>();
  for (;;) {
    signal.throwIfAborted();
    const entries = await broker.readOutbox(partition, limits.outboxIdleMs, limits.outboxBatch);
    if (entries.some((entry) => told.has(nameOf(entry)))) throw notTaken(partition);
    // All at once: the recorder keeps the order of each task, and order between tasks means nothing
    // to history.
    const answers = await abortable(
      Promise.allSettled(entries.map((entry) => recorder.record(entry, true))),
      signal,
    );
    const answered = (wanted: (outcome: RecordOutcome) => boolean) =>
      entries.filter((_, index) => {
        const answer = answers[index]!;
        return answer.status === "fulfilled" && wanted(answer.value);
      });
    told = new Set(answered((outcome) => outcome !== "missing").map(nameOf));
    if (told.size > 0) events.emit("outbox.drained", { partition, entries: told.size });
    await orphans.check(answered((outcome) => outcome === "missing"));
    if (entries.length < limits.outboxBatch || told.size === 0) return;
  }
}

const nameOf = ({ partition, outboxId, outboxPlace }: Transition): string =>
  `${partition}:${outboxId}/${outboxPlace}`;

/** Recorded, and yet read again: the broker did not hear of it, and to go on would never end. */
const notTaken = (partition: number): DroverError =>
  new DroverError(
    "broker_unavailable",
    `partition ${partition}: expected recorded entries to leave the outbox, they are still there`,
    { hint: "It is tried again; see the broker's own errors if it goes on." },
  );

/**
 * Entries that no insert will ever come for, because the row they speak of was recorded and has
 * since been pruned.
 */
class Orphans {
  readonly #options: OutboxDrainerOptions;
  readonly #since = new Map<string, number>();

  constructor(options: OutboxDrainerOptions) {
    this.#options = options;
  }

  async check(missing: readonly Transition[]): Promise<void> {
    const { broker, events, clock } = this.#options;
    if (this.#since.size > 2 * limits.outboxBatch) this.#since.clear();
    const old = missing.filter((entry) => {
      const key = nameOf(entry);
      if (!this.#since.has(key)) this.#since.set(key, clock.monotonic());
      return clock.monotonic() - this.#since.get(key)! >= orphanMs;
    });
    if (old.length === 0) return;
    const known = await broker.get(old.map((entry) => entry.task.id));
    const orphaned = old.filter((_, index) => known[index] === undefined);
    if (orphaned.length === 0) return;
    await broker.recorded(
      orphaned.map(({ partition, outboxId = "", outboxPlace, task }) => ({
        partition,
        outboxId,
        outboxPlace,
        taskId: task.id,
        version: task.version,
      })),
    );
    const error = new DroverError(
      "internal",
      `${orphaned.length} outbox entries of tasks no store knows were dropped`,
    );
    events.emit("loop.failed", { loop: "outbox-drainer", error });
  }
}

/** The recorder may wait out an outage of history; whoever stops does not. */
function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason as Error);
    if (signal.aborted) onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
