import { systemClock } from "../../src/clock.js";
import { loadWorker } from "../build.js";
import { percentile } from "../summary.js";
import { nothingSeen, type Seen, type WorkOrder } from "./orders.js";
import { markOf, now, type Payload, stampOf } from "./stamp.js";
import { typesOf } from "./mix.js";

/** Counts what workers start; several may share it. */
export class Tally {
  #starts = 0;
  #firstAt = 0;
  #latencies: number[] = [];
  #cycles: number[] = [];
  #endedAt = 0;
  readonly #byWorker: number[];
  readonly #group: string | undefined;
  #ofGroup = 0;
  #groupStarts = 0;

  constructor(workers: number, group: string | undefined) {
    this.#byWorker = Array.from({ length: workers }, () => 0);
    this.#group = group;
  }

  get starts(): number {
    return this.#starts;
  }

  start(worker: number, payload: Payload): void {
    const at = now();
    if (this.#starts === 0) this.#firstAt = at;
    else if (this.#endedAt > 0) this.#cycles.push(at - this.#endedAt);
    this.#starts += 1;
    this.#byWorker[worker]! += 1;
    this.#latencies.push(at - stampOf(payload));
    if (this.#group === undefined) return;
    if (markOf(payload) === this.#group) this.#ofGroup += 1;
    else this.#groupStarts = this.#ofGroup;
  }

  /** With one slot only: a handler has ended. */
  end(): void {
    this.#endedAt = now();
  }

  seen(): Seen {
    const of = (us: readonly number[], share: number): number | null => {
      const found = percentile(us, share);
      return found === null ? null : found / 1_000;
    };
    return {
      ...nothingSeen,
      count: this.#starts,
      startedAt: this.#firstAt,
      endedAt: now(),
      p50: of(this.#latencies, 0.5),
      p99: of(this.#latencies, 0.99),
      cycleP50: of(this.#cycles, 0.5),
      cycleP99: of(this.#cycles, 0.99),
      byWorker: [...this.#byWorker],
      groupStarts: this.#groupStarts,
    };
  }
}

/** Workers of whatever kind that count into one tally. */
export interface Crew {
  readonly tally: Tally;
  /** Tasks whose result waits for its ack. */
  open(): number;
  stop(): Promise<void>;
}

/** Resolves once all take tasks. */
export async function startWorkers(order: WorkOrder): Promise<Crew> {
  const { createWorker } = await loadWorker();
  const { addresses, queue, concurrency, handlerMs } = order;
  const tally = new Tally(addresses.length, order.group);
  const workers = addresses.map((address, n) => {
    const worker = createWorker({ address, workerId: `scale-${n}`, concurrency });
    const handle = async (payload: unknown): Promise<void> => {
      tally.start(n, payload as Payload);
      if (handlerMs > 0) await systemClock.sleep(handlerMs);
      if (concurrency === 1) tally.end();
    };
    for (const type of typesOf(order.types)) worker.handle(type, handle, { queue });
    return worker;
  });
  await Promise.all(workers.map((worker) => worker.start()));
  return {
    tally,
    open: () => workers.reduce((sum, worker) => sum + worker.running + worker.unacked, 0),
    async stop() {
      await Promise.all(workers.map((worker) => worker.stop()));
    },
  };
}
