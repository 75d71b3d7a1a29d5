import {
  WorkerService,
  type Hello,
  type WorkRequest,
  type WorkResponse,
} from "../../gen/drover/v1/task_pb.js";
import type { HandlerContext } from "@connectrpc/connect";
import type { Clock } from "../clock.js";
import type { Coordinator } from "../coordinator/coordinator.js";
import type { Session } from "../coordinator/frames.js";
import { DroverError } from "../errors.js";
import { limits } from "../limits.js";
import { refuse } from "../task/rules.js";
import { breakOffKey, namespaceOf } from "./context.js";
import { mount, type MountedService, type Opaque, type OpaqueInit } from "./contract.js";
import { toHello, toWireFrame, toWorkerFrame } from "./convert-frames.js";
import { StreamPort } from "./session-port.js";

type Frame = Opaque<WorkRequest>;

/** Workers: frames of the stream to and from the coordinator's session. */
export const workerService = (coordinator: Coordinator, clock: Clock): MountedService =>
  mount(WorkerService, {
    work: (requests, context) => work(coordinator, clock, requests, context),
  });

async function* work(
  coordinator: Coordinator,
  clock: Clock,
  requests: AsyncIterable<Frame>,
  context: HandlerContext,
): AsyncGenerator<OpaqueInit<WorkResponse>> {
  const namespace = namespaceOf(context);
  const frames = requests[Symbol.asyncIterator]();
  const first = await firstFrame(frames, clock);
  const hello = toHello(helloOf(first));
  const port = new StreamPort({
    abort: context.values.get(breakOffKey),
    onWritable: () => session.onWritable(),
  });
  const session: Session = await coordinator.openSession(namespace, hello, port);
  try {
    void receiveAll(session, first, frames, port);
    for await (const frame of port.frames(context.signal)) yield toWireFrame(frame);
  } finally {
    port.close();
    session.disconnected();
  }
}

/** A stream that stays silent is closed, so that it cannot be held open for nothing. */
async function firstFrame(frames: AsyncIterator<Frame>, clock: Clock): Promise<Frame | undefined> {
  return new Promise((resolve, reject) => {
    const timer = clock.after(limits.sessionLeaseMs, () => {
      const waited = `nothing for ${limits.sessionLeaseMs} ms`;
      reject(
        new DroverError("invalid_field", `hello: expected it in the first frame, got ${waited}`),
      );
    });
    frames
      .next()
      .then((it) => resolve(it.done ? undefined : it.value), reject)
      .finally(() => timer.cancel());
  });
}

const helloOf = (frame: Frame | undefined): Opaque<Hello> =>
  frame?.hello ?? refuse("hello", "it in the first frame of the stream", undefined);

/**
 * Reads until the peer half-closes; an error ends this stream only. The end alone is no goodbye.
 */
async function receiveAll(
  session: Session,
  first: Frame | undefined,
  frames: AsyncIterator<Frame>,
  port: StreamPort,
): Promise<void> {
  try {
    if (first) session.receive(toWorkerFrame(first));
    for (;;) {
      const next = await frames.next();
      if (next.done || port.closed) break;
      if (next.value.hello) refuse("hello", "it in the first frame only", "another one");
      session.receive(toWorkerFrame(next.value));
    }
    port.close();
  } catch (error) {
    port.fail(error);
  }
}
