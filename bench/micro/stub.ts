import * as path from "node:path";
import type { Lease } from "../../src/broker/broker.js";
import type { Coordinator, Submission } from "../../src/coordinator/coordinator.js";
import type { Offer, Session, SessionHello, SessionPort } from "../../src/coordinator/frames.js";
import type * as NewTask from "../../src/task/new-task.js";
import type { QueueSettings, Task } from "../../src/task/task.js";
import type * as Validate from "../../src/task/validate.js";

/** What a build's coordinator is made of, as far as the stub needs it. */
export interface Build {
  newTask(id: string, draft: Submission["draft"]): Task;
}

export async function loadBuild(dir: string): Promise<Build> {
  const load = (file: string): Promise<unknown> => import(path.resolve(dir, file));
  const { newTask } = (await load("task/new-task.js")) as typeof NewTask;
  const validate = (await load("task/validate.js")) as typeof Validate;
  const queue: QueueSettings = validate.defaultQueueSettings("default", "default");
  const context = { namespace: "default", queue, now: 1_790_000_000_000 };
  return { newTask: (id, draft) => newTask(id, validate.toSpec(draft, context)) };
}

interface StubSession {
  readonly sessionId: string;
  readonly port: SessionPort;
  offer: Offer;
  out: number;
}

/**
 * Takes every task, leases it to whoever has a free slot, and accepts every result: the coordinator
 * without its stores, so that what is left is the cost of frames and streams.
 */
export class StubCoordinator {
  readonly #build: Build;
  #waiting: Task[] = [];
  readonly #sessions = new Set<StubSession>();
  #taken = 0;
  #done = 0;
  #onDone: (() => void) | undefined;
  #awaited = Infinity;
  /** Frames that came in: of submissions and of workers. */
  submitCalls = 0;
  workFrames = 0;

  constructor(build: Build) {
    this.#build = build;
  }

  /** Resolves when so many results came in all. */
  until(done: number): Promise<void> {
    this.#awaited = done;
    if (this.#done >= done) return Promise.resolve();
    return new Promise((resolve) => {
      this.#onDone = resolve;
    });
  }

  /** Drops what nobody took. */
  forget(): void {
    this.#waiting = [];
  }

  /** With the methods the two streams and SubmitTask use. */
  get coordinator(): Coordinator {
    const parts: Pick<Coordinator, "id" | "notReady" | "submit" | "openSession"> = {
      id: "stub",
      notReady: () => undefined,
      submit: (_, items) => this.#submit(items),
      openSession: (_, hello, port) => this.#open(hello, port),
    };
    return parts as Coordinator;
  }

  #submit(items: readonly Submission[]): ReturnType<Coordinator["submit"]> {
    this.submitCalls += 1;
    const outcomes = items.map(({ draft }) => {
      this.#taken += 1;
      const hex = this.#taken.toString(16).padStart(12, "0");
      const taskId = `019ac000-0000-7000-8000-${hex}`;
      this.#waiting.push(this.#build.newTask(taskId, draft));
      return { kind: "submitted" as const, taskId };
    });
    this.#lease();
    return Promise.resolve(outcomes);
  }

  #open(hello: SessionHello, port: SessionPort): Promise<Session> {
    const { sessionId, offer } = hello;
    const session: StubSession = { sessionId, port, offer, out: 0 };
    this.#sessions.add(session);
    port.send({
      welcome: {
        sessionId,
        resumed: false,
        leaseMs: 15_000,
        heartbeatMs: 5_000,
        revokedTokens: [],
        coordinatorId: "stub",
      },
    });
    this.#lease();
    return Promise.resolve({
      sessionId,
      receive: (frame) => {
        this.workFrames += 1;
        if (frame.offer) session.offer = frame.offer;
        if (frame.heartbeat) {
          const { number } = frame.heartbeat;
          port.send({ heartbeatAck: { number, renewed: true, unknownTokens: [] } });
        }
        session.out -= frame.results.length;
        this.#done += frame.results.length;
        if (this.#done >= this.#awaited) this.#onDone?.();
        const acks = frame.results.map(({ key }) => ({
          token: Buffer.from(key, "latin1"),
          verdict: "accepted" as const,
          message: "",
        }));
        if (acks.length > 0) port.send({ acks });
        this.#lease();
      },
      onWritable: () => this.#lease(),
      disconnected: () => void this.#sessions.delete(session),
    });
  }

  #lease(): void {
    for (const session of this.#sessions) {
      const free = session.port.writable ? session.offer.slots - session.out : 0;
      if (free <= 0 || this.#waiting.length === 0) continue;
      const leases = this.#waiting
        .splice(0, Math.min(free, 200))
        .map((task) => leaseOf(task, session.sessionId));
      session.out += leases.length;
      session.port.send({ leases });
    }
  }
}

function leaseOf(task: Task, sessionId: string): Lease {
  const token = Buffer.alloc(34);
  token.write(task.id.replaceAll("-", ""), 2, "hex");
  return { token, sessionId, task, timeoutMs: task.timeoutMs } as Lease;
}
