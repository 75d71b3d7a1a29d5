import type { Broker } from "../broker/broker.js";
import type { Clock } from "../clock.js";
import type { History } from "../history/history.js";
import { createLoop, type Service } from "../service.js";
import type { Task } from "../task/task.js";
import type { Events } from "../telemetry/events.js";
import { firstId, lifted, restoreAll, restorePage } from "./restore.js";

export interface CompareOptions {
  readonly broker: Broker;
  readonly history: History;
  readonly events: Events;
  readonly clock: Clock;
}

export interface Compare extends Service {
  /** Looks at every live row of the partition now, at full speed. */
  request(partition: number): void;
}

/**
 * Slow on purpose: it looks for holes nobody knows of, and 40 rows a second find one within the
 * hour.
 */
const pageRows = 200;
const pageEveryMs = 5_000;
/** Between two partitions; most have few rows. */
const partitionEveryMs = 100;
/** After the last partition. */
const passEveryMs = 60_000;
/** A younger row is still on its way to the broker; if it was lost, its marker finds it. */
const settledMs = 60_000;

/**
 * Live in history but unknown to the broker, for whatever reason: given to the broker again, for
 * ever.
 */
export function createCompare(options: CompareOptions): Compare {
  const { broker, history, clock, events } = options;
  const urgent = new Set<number>();
  let partition = 0;
  let afterId = firstId;

  const prepare = (row: Task): Task =>
    clock.now() - row.createdAt > settledMs ? lifted(row) : row;
  const report = (restored: number) => {
    if (restored > 0) events.emit("commit.recovered", { tasks: restored });
  };

  async function whole(wanted: number, signal: AbortSignal): Promise<number> {
    const page = { ...options, partition: wanted, afterId: firstId, limit: pageRows, prepare };
    const { restored } = await restoreAll(page, signal);
    urgent.delete(wanted);
    report(restored);
    return 0;
  }

  async function next(): Promise<number> {
    if (!broker.serves(partition)) return nextPartition();
    const page = await restorePage({ ...options, partition, afterId, limit: pageRows, prepare });
    report(page.restored.length);
    if (page.ids.length === pageRows) {
      afterId = page.ids.at(-1)!;
      return pageEveryMs;
    }
    return nextPartition();
  }

  function nextPartition(): number {
    afterId = firstId;
    partition = (partition + 1) % broker.partitions;
    return partition === 0 ? passEveryMs : partitionEveryMs;
  }

  const loop = createLoop({
    name: "compare",
    clock,
    everyMs: pageEveryMs,
    onError: (error, name) => events.emit("loop.failed", { loop: name, error }),
    async run(signal) {
      if (!broker.available || !history.available) return undefined;
      const wanted = [...urgent].find((one) => broker.serves(one));
      return wanted === undefined ? next() : whole(wanted, signal);
    },
  });
  return {
    start: () => loop.start(),
    stop: () => loop.stop(),
    request(wanted) {
      urgent.add(wanted);
      loop.poke();
    },
  };
}
