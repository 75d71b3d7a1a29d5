import { WorkerService, type Hello, type WorkRequest } from "../../gen/drover/v1/task_pb.js";
import type { HandlerContext } from "@connectrpc/connect";
import type { Clock } from "../clock.js";
import type { Coordinator } from "../coordinator/coordinator.js";
import type { Session, SessionHello, WorkerFrame } from "../coordinator/frames.js";
import { DroverError } from "../errors.js";
import { limits } from "../limits.js";
import { refuse } from "../task/rules.js";
import { breakOffKey, namespaceOf } from "./context.js";
import { mount, type MountedService, type Opaque } from "./contract.js";
import { toHello, toWorkerFrame } from "./convert-frames.js";
import { readGeneralFrame, readPlainFrame } from "./hot/read-work.js";
import { rawStreamOf, type RawEvents, type RawStream } from "./raw-stream.js";
import { StreamPort } from "./session-port.js";

/** Workers: frames of the stream to and from the coordinator's session. */
export const workerService = (coordinator: Coordinator, clock: Clock): MountedService =>
  mount(WorkerService, {
    // Nothing is yielded: frames are written as they are sent, see StreamPort.
    // oxlint-disable-next-line require-yield
    async *work(_, context) {
      await new WorkStream(coordinator, clock, context).serve();
    },
  });

/** One Work stream, from its hello to its end. */
class WorkStream implements RawEvents {
  readonly #coordinator: Coordinator;
  readonly #clock: Clock;
  readonly #context: HandlerContext;
  readonly #stream: RawStream;
  readonly #port: StreamPort;
  #session: Session | undefined;
  #greeted = false;
  #finished = false;
  /** Came while the session was being opened. */
  readonly #early: Buffer[] = [];
  #finish: (error: unknown) => void = () => undefined;

  constructor(coordinator: Coordinator, clock: Clock, context: HandlerContext) {
    this.#coordinator = coordinator;
    this.#clock = clock;
    this.#context = context;
    this.#stream = rawStreamOf(context);
    this.#port = new StreamPort({
      clock,
      stream: this.#stream,
      abort: context.values.get(breakOffKey),
      onWritable: () => this.#session?.onWritable(),
      onOver: (error) => this.#finish(error),
    });
  }

  async serve(): Promise<void> {
    const { signal } = this.#context;
    const onAbort = (): void => this.#finish(signal.reason);
    // A stream that stays silent is closed, so that it cannot be held open for nothing.
    const timer = this.#clock.after(limits.sessionLeaseMs, () => {
      if (!this.#greeted) this.#finish(silentFor(limits.sessionLeaseMs));
    });
    try {
      await new Promise<void>((resolve, reject) => {
        this.#finish = (error) => (error === undefined ? resolve() : reject(error as Error));
        if (signal.aborted) return onAbort();
        signal.addEventListener("abort", onAbort, { once: true });
        this.#stream.listen(this);
      });
    } finally {
      timer.cancel();
      signal.removeEventListener("abort", onAbort);
      this.#finished = true;
      this.#port.close();
      this.#session?.disconnected();
    }
  }

  onMessage(bytes: Buffer): void {
    if (!this.#greeted) return this.#greet(bytes);
    if (this.#session) this.#receive(this.#session, bytes);
    else this.#early.push(bytes);
  }

  /** The end alone is no goodbye. */
  onEnd(): void {
    if (!this.#greeted) this.#finish(noHello());
    this.#port.close();
  }

  /** An error ends this stream only. */
  onFailure(error: unknown): void {
    if (!this.#greeted) this.#finish(error);
    this.#port.fail(error);
  }

  onWritable(): void {
    this.#port.drained();
  }

  #greet(bytes: Buffer): void {
    const first = readGeneralFrame(bytes);
    const hello = toHello(helloOf(first));
    this.#greeted = true;
    this.#stream.pause();
    this.#open(hello, first).catch((error: unknown) => this.#finish(error));
  }

  async #open(hello: SessionHello, first: Opaque<WorkRequest>): Promise<void> {
    const namespace = namespaceOf(this.#context);
    const session = await this.#coordinator.openSession(namespace, hello, this.#port);
    if (this.#finished) return session.disconnected();
    this.#session = session;
    try {
      session.receive(toWorkerFrame(first));
      for (const bytes of this.#early.splice(0)) this.#receive(session, bytes);
    } catch (error) {
      this.#port.fail(error);
    }
    this.#stream.resume();
  }

  #receive(session: Session, bytes: Buffer): void {
    if (!this.#port.closed) session.receive(readPlainFrame(bytes) ?? readLaterFrame(bytes));
  }
}

function readLaterFrame(bytes: Buffer): WorkerFrame {
  const frame = readGeneralFrame(bytes);
  if (frame.hello) refuse("hello", "it in the first frame only", "another one");
  return toWorkerFrame(frame);
}

function helloOf({ hello }: Opaque<WorkRequest>): Opaque<Hello> {
  if (hello) return hello;
  throw noHello();
}

const noHello = (came = "nothing") =>
  new DroverError("invalid_field", `hello: expected it in the first frame, got ${came}`, {
    field: "hello",
  });

const silentFor = (ms: number) => noHello(`nothing for ${ms} ms`);
