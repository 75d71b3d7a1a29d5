import type {
  Broker,
  Lease,
  Settlement,
  SettleReply,
  Transition,
} from "../../src/broker/broker.js";
import { createMemoryBroker, createMemoryStore } from "../../src/broker/memory-broker.js";
import type { SettleDesk } from "../../src/coordinator/settle-desk.js";
import type { Recorder } from "../../src/coordinator/recorder.js";
import type { History } from "../../src/history/history.js";
import { createMemoryHistory } from "../../src/history/memory-history.js";
import { createMemoryHistoryStore } from "../../src/history/memory/store.js";
import { limits } from "../../src/limits.js";
import { createMaintenance } from "../../src/maintenance/maintenance.js";
import { createRecorder, type HistoryRecorder } from "../../src/maintenance/recorder.js";
import type { Service } from "../../src/service.js";
import { createEvents, type EventCatalog, type EventName } from "../../src/telemetry/events.js";
import type { Task } from "../../src/task/task.js";
import { createManualClock, settleMicrotasks, type ManualClock } from "../support/manual-clock.js";
import { createSeededRandom } from "../support/seeded-random.js";
import { createTaskFactory, laneOf, sessionInfo } from "../support/task-factory.js";

export interface Happened {
  readonly name: EventName;
  readonly fields: EventCatalog[EventName];
}

/** One coordinator as maintenance sees it. */
export interface Site {
  readonly broker: Broker;
  readonly history: History;
  readonly recorder: HistoryRecorder;
  readonly desk: SettleDesk;
  readonly maintenance: Service;
  readonly happened: Happened[];
  count(name: EventName): number;
}

export interface WorldOptions {
  readonly partitions?: number;
  readonly recorderBytes?: number;
  /** Puts itself between a site and its history. */
  readonly wrapHistory?: (history: History) => History;
}

/**
 * Two memory stores, a clock that is moved by hand, and as many coordinators on them as a test
 * wants.
 */
export class World {
  readonly clock: ManualClock = createManualClock();
  readonly random = createSeededRandom(7);
  readonly tasks = createTaskFactory(this.random, () => this.clock.now());
  readonly historyStore = createMemoryHistoryStore();
  readonly brokerStore;
  historyDown = false;
  readonly #options: WorldOptions;
  readonly #stops: (() => Promise<void>)[] = [];

  constructor(options: WorldOptions = {}) {
    this.#options = options;
    const { partitions = 1 } = options;
    this.brokerStore = createMemoryStore({ clock: this.clock, random: this.random, partitions });
  }

  async site(): Promise<Site> {
    const { clock, random } = this;
    const { wrapHistory = (it) => it, recorderBytes } = this.#options;
    const isDown = () => this.historyDown;
    const history = wrapHistory(
      createMemoryHistory({ clock, random, store: this.historyStore, isDown }),
    );
    const broker = createMemoryBroker({ clock, random, store: this.brokerStore });
    const events = createEvents();
    const happened: Happened[] = [];
    events.subscribe((name, fields) => happened.push({ name, fields }));
    const parts = { broker, history, events, clock, random };
    const recorder = createRecorder(
      recorderBytes === undefined ? parts : { ...parts, maxBytes: recorderBytes },
    );
    const desk = createDesk(broker, recorder);
    const maintenance = createMaintenance({ ...parts, desk, recorder });
    await broker.start();
    if (!this.historyDown) await history.start();
    this.#stops.push(async () => {
      await maintenance.stop();
      await history.stop();
      await broker.stop();
    });
    const count = (name: EventName) => happened.filter((event) => event.name === name).length;
    return { broker, history, recorder, desk, maintenance, happened, count };
  }

  /** A new RELAXED task as its submitter gives it to the recorder. */
  async relaxed({ broker }: Site, change: Partial<Task> = {}): Promise<Transition> {
    const task = this.tasks.task({ durability: "relaxed", ...change });
    const { outcomes } = await broker.enqueue([{ task, origin: "submit" }]);
    const outcome = outcomes[0]!;
    if (outcome.kind !== "enqueued") throw new Error(`expected enqueued, got ${outcome.kind}`);
    return submitted(task, outcome.outboxId);
  }

  async stop(): Promise<void> {
    await Promise.all(this.#stops.map((stop) => stop()));
  }

  turn = (): Promise<void> => settleMicrotasks();

  /** The worker renews as it would, so that only what a test breaks is lost. */
  async advance(ms: number, ...workers: Worker[]): Promise<void> {
    for (let left = ms; left > 0; left -= limits.heartbeatMs) {
      await this.clock.advance(Math.min(left, limits.heartbeatMs));
      for (const worker of workers) await worker.renew();
    }
  }

  /** The broker loses this task without a trace, as by a defect. Partition 0. */
  forget(taskId: string): void {
    const partition = this.brokerStore.partitions[0]!;
    partition.forget(partition.records.get(taskId)!);
  }

  row(taskId: string): Task | undefined {
    return this.historyStore.tasks.get(taskId)?.task;
  }
}

/** As the coordinator's: the broker decides, history hears of it behind. */
export function createDesk(broker: Broker, recorder: Recorder): SettleDesk {
  return {
    async settle(settlements: readonly Settlement[]): Promise<SettleReply[]> {
      const replies = await broker.settle(settlements);
      for (const { transition } of replies) {
        if (transition) recorder.record(transition).catch(() => undefined);
      }
      return replies;
    },
    ended(transitions) {
      for (const each of transitions) recorder.record(each).catch(() => undefined);
    },
  };
}

/** A session that leases by hand. */
export class Worker {
  readonly #broker: Broker;
  readonly #sessionId: string;
  readonly held: Lease[] = [];
  #generation = 0;

  constructor(broker: Broker, sessionId = "session-1") {
    this.#broker = broker;
    this.#sessionId = sessionId;
  }

  async open() {
    this.#generation += 1;
    return this.#broker.openSession({
      sessionId: this.#sessionId,
      generation: this.#generation,
      leaseMs: limits.sessionLeaseMs,
      info: sessionInfo({ sessionId: this.#sessionId }),
      heldTokens: this.held.map((lease) => lease.token),
      partitions: Array.from({ length: this.#broker.partitions }, (_, number) => number),
    });
  }

  async renew(): Promise<void> {
    const renewal = {
      sessionId: this.#sessionId,
      generation: this.#generation,
      leaseMs: limits.sessionLeaseMs,
    };
    for (let partition = 0; partition < this.#broker.partitions; partition += 1) {
      await this.#broker.renewSessions(partition, [renewal]);
    }
  }

  async lease(like: Task, slots = 1): Promise<Lease[]> {
    const { leases } = await this.#broker.lease({
      partition: 0,
      lanes: [laneOf(like)],
      sessions: [{ sessionId: this.#sessionId, generation: this.#generation, slots }],
      maxBytes: 1_000_000,
    });
    this.held.push(...leases);
    return leases;
  }

  async complete(lease: Lease): Promise<SettleReply> {
    const result = { contentType: "application/json", data: Buffer.from("true") };
    const settlement = {
      token: lease.token,
      sessionId: this.#sessionId,
      kind: "complete" as const,
      result,
    };
    const [reply] = await this.#broker.settle([settlement]);
    return reply!;
  }

  async fail(lease: Lease, retryInMs: number | undefined): Promise<SettleReply> {
    const error = { code: "broken", message: "it broke", retryable: true };
    const [reply] = await this.#broker.settle([
      {
        token: lease.token,
        sessionId: this.#sessionId,
        kind: "fail",
        cause: "handler",
        error,
        retryInMs,
      },
    ]);
    return reply!;
  }
}

/** What a coordinator would do with a submission, up to where it is told to die. */
export async function submit(site: Site, task: Task): Promise<string> {
  const { marker } = await site.history.insert([task]);
  await site.broker.enqueue([{ task, origin: "submit" }]);
  if (marker) await site.history.clearMarkers([marker]);
  return task.id;
}

/** The first entry of a RELAXED task, as its submitter would give it to the recorder. */
export const submitted = (task: Task, outboxId: string | undefined): Transition => ({
  partition: 0,
  outboxId,
  outboxPlace: 0,
  task,
  payloadOmitted: false,
  attempt: undefined,
});

/** The store with some calls replaced; everything else, `available` too, is the original's own. */
export const over = <T extends object>(original: T, calls: Partial<T>): T =>
  Object.assign(Object.create(original) as T, calls);
