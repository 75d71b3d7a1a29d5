import type { Broker, Lease } from "../../src/broker/broker.js";
import { createMemoryBroker, createMemoryStore } from "../../src/broker/memory-broker.js";
import type { Coordinator, SubmitOutcome } from "../../src/coordinator/coordinator.js";
import { createCoordinator } from "../../src/coordinator/create-coordinator.js";
import type {
  Command,
  CoordinatorFrame,
  GoAway,
  HeartbeatAck,
  Offer,
  ResultAck,
  Session,
  SessionHello,
  SessionPort,
  Welcome,
  WorkerFrame,
} from "../../src/coordinator/frames.js";
import type { DroverError } from "../../src/errors.js";
import type { History } from "../../src/history/history.js";
import { createMemoryHistory } from "../../src/history/memory-history.js";
import { createBatchKeeper } from "../../src/maintenance/batch-keeper.js";
import { createMaintenance } from "../../src/maintenance/maintenance.js";
import { HistoryRecorder } from "../../src/maintenance/recorder.js";
import { createScheduler } from "../../src/maintenance/scheduler.js";
import { createSequence, type Service } from "../../src/service.js";
import { uuidText } from "../../src/task/uuid.js";
import type { TaskDraft } from "../../src/task/draft.js";
import { bytesKey } from "../../src/short-text.js";
import { createEvents } from "../../src/telemetry/events.js";
import { createManualClock, settleMicrotasks } from "../support/manual-clock.js";
import { createSeededRandom } from "../support/seeded-random.js";

export const utf8 = (text: string): Uint8Array => Buffer.from(text, "utf8");

const blankDraft: TaskDraft = {
  type: "send_email",
  queue: undefined,
  priority: undefined,
  payload: { contentType: "application/json", data: utf8('{"n":1}') },
  maxRetries: undefined,
  retry: undefined,
  runAt: undefined,
  delayMs: undefined,
  timeoutMs: undefined,
  groupKey: "",
  requiredLabels: {},
  tags: [],
  idempotencyKey: "",
  retentionMs: undefined,
  traceContext: {},
  terms: undefined,
};
export const draft = (change: Partial<TaskDraft> = {}): TaskDraft => ({ ...blankDraft, ...change });

const noFrame: WorkerFrame = {
  results: [],
  progress: [],
  offer: undefined,
  heartbeat: undefined,
  leaving: false,
};

export const offer = (slots: number, types = ["send_email"], queue = "default"): Offer => ({
  slots,
  maxBytes: 0,
  subscriptions: [{ queue, types, weight: 1 }],
});

/** A worker's end of a stream, as far as the coordinator can see. */
export class FakeWorker implements SessionPort {
  readonly sessionId: string;
  generation: number;
  session: Session | undefined;
  writable = true;
  closedWith: DroverError | undefined;
  closed = false;
  readonly leases: Lease[] = [];
  readonly acks: ResultAck[] = [];
  readonly commands: Command[] = [];
  readonly beats: HeartbeatAck[] = [];
  welcome: Welcome | undefined;
  goAway: GoAway | undefined;
  #beat = 0;

  constructor(sessionId: string, generation = 1) {
    this.sessionId = sessionId;
    this.generation = generation;
  }

  send(frame: CoordinatorFrame): void {
    if (frame.welcome) this.welcome = frame.welcome;
    this.leases.push(...(frame.leases ?? []));
    this.acks.push(...(frame.acks ?? []));
    this.commands.push(...(frame.commands ?? []));
    if (frame.heartbeatAck) this.beats.push(frame.heartbeatAck);
    if (frame.goAway) this.goAway = frame.goAway;
  }

  close(error?: DroverError): void {
    this.closed = true;
    this.closedWith = error;
  }

  frame(frame: Partial<WorkerFrame>): void {
    this.session!.receive({ ...noFrame, ...frame });
  }

  succeed(lease: Lease, text = "true"): void {
    const result = { contentType: "application/json", data: utf8(text) };
    this.frame({ results: [{ key: bytesKey(lease.token), outcome: { kind: "success", result } }] });
  }

  fail(lease: Lease, code = "broken", retryable = true): void {
    const error = { code, message: "it broke", retryable };
    const outcome = { kind: "failure", error, retryAfterMs: undefined } as const;
    this.frame({ results: [{ key: bytesKey(lease.token), outcome }] });
  }

  beat(held: readonly Lease[]): void {
    const heldTokens = held.map((lease) => lease.token);
    this.#beat += 1;
    this.frame({ heartbeat: { number: this.#beat, heldTokens, cpu: 0, eventLoopDelayMs: 0 } });
  }
}

/** One coordinator with its background duties. */
export interface Node {
  readonly coordinator: Coordinator;
  readonly broker: Broker;
  stop(): Promise<void>;
  /** Its loops and memory are gone at once; nothing is said to anybody. */
  crash(): Promise<void>;
}

/** Coordinators on one memory store and one memory history, in simulated time. */
export function createWorld(bounds: { lanesPerQueue?: number } = {}, partitions = 1) {
  const clock = createManualClock();
  const random = createSeededRandom(7);
  const store = createMemoryStore({ clock, random, bounds, partitions });
  const history: History = createMemoryHistory({ clock, random });
  const nodes: Node[] = [];

  async function until(what: string, holds: () => boolean, limitMs = 60_000): Promise<void> {
    const endsAt = clock.monotonic() + limitMs;
    while (!holds()) {
      await settleMicrotasks();
      if (holds()) return;
      if (clock.monotonic() > endsAt) throw new Error(`not within ${limitMs} ms: ${what}`);
      await clock.advance(5);
    }
  }

  async function wait<T>(what: string, promise: Promise<T>): Promise<T> {
    let done = false;
    void promise.catch(() => undefined).finally(() => (done = true));
    await until(what, () => done);
    return promise;
  }

  async function node(): Promise<Node> {
    const broker = createMemoryBroker({ clock, random, store });
    const events = createEvents();
    const recorder = new HistoryRecorder({ broker, history, events, clock, random });
    const coordinatorId = uuidText(random.bytes(16));
    const decodePayload = () => undefined;
    const parts = {
      coordinatorId,
      broker,
      history,
      recorder,
      events,
      clock,
      random,
      decodePayload,
    };
    const { coordinator, desk, ticks, batches } = createCoordinator(parts);
    recorder.onEnded = (task) => batches.ended(task);
    const minders = [
      createScheduler({ ticks, events, clock }),
      createBatchKeeper({ batches, events, clock }),
    ];
    const scheduler = createSequence(minders, () => undefined);
    const maintenance: Service = createMaintenance({ ...parts, desk });
    await wait(
      "start",
      history.start().then(() => broker.start()),
    );
    await wait("maintenance", maintenance.start());
    await wait("coordinator", coordinator.start());
    await wait("scheduler", scheduler.start());
    const made: Node = {
      coordinator,
      broker,
      stop: async () => {
        await wait("drain", coordinator.drain());
        await wait("scheduler stop", scheduler.stop());
        await wait("stop", coordinator.stop());
        await wait("maintenance stop", maintenance.stop());
        await wait("broker stop", broker.stop());
      },
      crash: async () => {
        await wait("scheduler stop", scheduler.stop());
        await wait("maintenance stop", maintenance.stop());
      },
    };
    nodes.push(made);
    return made;
  }

  async function open(
    at: Node,
    worker: FakeWorker,
    change: Partial<SessionHello> & { offer: Offer },
  ): Promise<FakeWorker> {
    const hello: SessionHello = {
      workerId: "w",
      sessionId: worker.sessionId,
      generation: worker.generation,
      heldTokens: [],
      labels: {},
      sdk: "test",
      host: "here",
      ...change,
    };
    worker.session = await wait("open", at.coordinator.openSession("default", hello, worker));
    return worker;
  }

  return {
    clock,
    history,
    node,
    open,
    until,
    wait,
    worker: (generation = 1) => new FakeWorker(uuidText(random.bytes(16)), generation),
    async submit(at: Node, ...drafts: TaskDraft[]): Promise<string[]> {
      const items = drafts.map((item) => ({ draft: item, requestId: "" }));
      const outcomes = await wait("submit", at.coordinator.submit("default", items));
      return outcomes.map(idOf);
    },
    async stop() {
      for (const made of nodes.splice(0)) await made.stop().catch(() => undefined);
    },
  };
}
export type World = ReturnType<typeof createWorld>;

export function idOf(outcome: SubmitOutcome): string {
  if (outcome.kind === "refused") throw outcome.error;
  return outcome.taskId;
}
