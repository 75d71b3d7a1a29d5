import type { HandlerContext } from "@connectrpc/connect";
import type { SubmitOutcome as WireOutcome } from "../../gen/drover/v1/task_pb.js";
import type { Coordinator, SubmitOutcome } from "../coordinator/coordinator.js";
import { DroverError } from "../errors.js";
import { limits } from "../limits.js";
import { namespaceOf } from "./context.js";
import type { OpaqueInit } from "./contract.js";
import { toItemError, toSubmitStatus } from "./convert-task.js";
import { Kinds } from "./hot/kinds.js";
import {
  readSubmitFrame,
  writeAnswers,
  type Answer,
  type SubmitFrame,
} from "./hot/submit-frames.js";
import { rawStreamOf, type RawEvents, type RawStream } from "./raw-stream.js";

export const toWireOutcome = (outcome: SubmitOutcome): OpaqueInit<WireOutcome> =>
  outcome.kind === "refused"
    ? { error: toItemError(outcome.error) }
    : { taskId: outcome.taskId, status: toSubmitStatus(outcome.kind) };

/**
 * One SubmitStream: a frame is one call of the coordinator; the answers of a tick are one frame, in
 * any order.
 */
class SubmitStream implements RawEvents {
  readonly #coordinator: Coordinator;
  readonly #namespace: string;
  readonly #stream: RawStream;
  readonly #onOver: (error?: unknown) => void;
  readonly #kinds = new Kinds();
  #answers: Answer[] = [];
  /** Items without an answer, and answers the peer has not taken. */
  #open = 0;
  #ended = false;
  #paused = false;
  #scheduled = false;

  constructor(
    coordinator: Coordinator,
    namespace: string,
    stream: RawStream,
    onOver: (error?: unknown) => void,
  ) {
    this.#coordinator = coordinator;
    this.#namespace = namespace;
    this.#stream = stream;
    this.#onOver = onOver;
  }

  onMessage(bytes: Buffer): void {
    const frame = readSubmitFrame(bytes, this.#kinds);
    const count = frame.submissions.length + frame.refused.length;
    if (count > limits.submitItems) throw tooMany(count);
    this.#open += count;
    if (this.#open >= limits.pendingSubmits && !this.#paused) {
      this.#paused = true;
      this.#stream.pause();
    }
    if (frame.refused.length > 0) this.#answer(frame.refused);
    if (frame.submissions.length > 0) void this.#submit(frame);
  }

  onEnd(): void {
    this.#ended = true;
    this.#endIfDone();
  }

  onFailure(error: unknown): void {
    // What is answered already still goes out.
    this.#flush();
    this.#onOver(error);
  }

  onWritable(): void {
    this.#flush();
  }

  async #submit({ numbers, submissions }: SubmitFrame): Promise<void> {
    let outcomes: SubmitOutcome[];
    try {
      outcomes = await this.#coordinator.submit(this.#namespace, submissions);
    } catch (thrown) {
      const error = DroverError.from(thrown);
      outcomes = numbers.map(() => ({ kind: "refused", error }));
    }
    this.#answer(numbers.map((number, index) => ({ number, outcome: outcomes[index]! })));
  }

  #answer(answers: readonly Answer[]): void {
    for (const answer of answers) this.#answers.push(answer);
    if (this.#scheduled) return;
    this.#scheduled = true;
    // After everything that was settled by what has just come in.
    process.nextTick(() => {
      this.#scheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    let sent = 0;
    while (sent < this.#answers.length && this.#stream.writable) {
      const to = Math.min(this.#answers.length, sent + limits.submitItems);
      this.#stream.write(writeAnswers(this.#answers, sent, to));
      sent = to;
    }
    this.#answers = sent === this.#answers.length ? [] : this.#answers.slice(sent);
    this.#open -= sent;
    // Half empty before reading goes on, so that it does not stutter frame by frame.
    if (this.#paused && this.#open < limits.pendingSubmits / 2) {
      this.#paused = false;
      this.#stream.resume();
    }
    this.#endIfDone();
  }

  #endIfDone(): void {
    if (this.#ended && this.#open === 0) this.#onOver();
  }
}

const tooMany = (count: number) =>
  new DroverError(
    "too_many_items",
    `items: expected at most ${limits.submitItems} a frame, got ${count}`,
    { field: "items" },
  );

/** Serves until the peer has half-closed and everything is answered. */
// Nothing is yielded: answers are written as they come.
// oxlint-disable-next-line require-yield
export async function* submitStream(
  coordinator: Coordinator,
  context: HandlerContext,
): AsyncGenerator<never> {
  const { signal } = context;
  const namespace = namespaceOf(context);
  const stream = rawStreamOf(context);
  await new Promise<void>((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason as Error);
    if (signal.aborted) return onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    const onOver = (error?: unknown): void => {
      signal.removeEventListener("abort", onAbort);
      if (error === undefined) resolve();
      else reject(error as Error);
    };
    stream.listen(new SubmitStream(coordinator, namespace, stream, onOver));
  });
}
