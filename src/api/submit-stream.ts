import type {
  SubmitOutcome as WireOutcome,
  SubmitStreamItem,
  SubmitStreamOutcome,
  SubmitStreamRequest,
  SubmitStreamResponse,
} from "../../gen/drover/v1/task_pb.js";
import { SubmitStatus } from "../../gen/drover/v1/task_pb.js";
import type { Coordinator, Submission, SubmitOutcome } from "../coordinator/coordinator.js";
import { DroverError } from "../errors.js";
import { limits } from "../limits.js";
import type { Opaque, OpaqueInit } from "./contract.js";
import { toDraft, toItemError } from "./convert-task.js";
import { Mailbox } from "./mailbox.js";

type Answer = OpaqueInit<SubmitStreamOutcome>;
interface Waiting {
  readonly number: number;
  readonly submission: Submission;
}

export const toWireOutcome = (outcome: SubmitOutcome): OpaqueInit<WireOutcome> =>
  outcome.kind === "refused"
    ? { error: toItemError(outcome.error) }
    : {
        taskId: outcome.taskId,
        status: outcome.kind === "existing" ? SubmitStatus.EXISTING : SubmitStatus.SUBMITTED,
      };

/**
 * One SubmitStream: what arrives in one tick is one call of the coordinator; answers go out as they
 * come.
 */
class SubmitStream {
  readonly answers = new Mailbox<Answer>();
  readonly #coordinator: Coordinator;
  readonly #namespace: string;
  #waiting: Waiting[] = [];
  #unanswered = 0;
  #ended = false;
  #roomy: (() => void) | undefined;

  constructor(coordinator: Coordinator, namespace: string) {
    this.#coordinator = coordinator;
    this.#namespace = namespace;
  }

  /** Reads until the peer half-closes; stops reading while too many items are unanswered. */
  async read(requests: AsyncIterable<Opaque<SubmitStreamRequest>>): Promise<void> {
    try {
      for await (const { items } of requests) {
        if (items.length > limits.submitItems) throw tooMany(items.length);
        for (const item of items) this.#accept(item);
        if (this.#unanswered >= limits.pendingSubmits) await this.#room();
      }
      this.#ended = true;
      this.#endIfDone();
    } catch (error) {
      this.answers.close(error);
      this.#roomy?.();
    }
  }

  #room(): Promise<void> {
    return new Promise((resolve) => {
      this.#roomy = resolve;
    });
  }

  #accept(item: Opaque<SubmitStreamItem>): void {
    this.#unanswered += 1;
    try {
      const submission = { draft: toDraft(item.task), requestId: item.requestId };
      if (this.#waiting.push({ number: item.number, submission }) === 1) {
        setImmediate(() => void this.#flush());
      }
    } catch (thrown) {
      this.#answer(item.number, { kind: "refused", error: DroverError.from(thrown) });
    }
  }

  async #flush(): Promise<void> {
    const batch = this.#waiting;
    this.#waiting = [];
    const submissions = batch.map((it) => it.submission);
    let outcomes: SubmitOutcome[];
    try {
      outcomes = await this.#coordinator.submit(this.#namespace, submissions);
    } catch (thrown) {
      const error = DroverError.from(thrown);
      outcomes = batch.map(() => ({ kind: "refused", error }));
    }
    for (const [index, { number }] of batch.entries()) this.#answer(number, outcomes[index]!);
  }

  #answer(number: number, outcome: SubmitOutcome): void {
    this.#unanswered -= 1;
    this.answers.put({ number, outcome: toWireOutcome(outcome) });
    // Half empty before reading goes on, so that it does not stutter frame by frame.
    if (this.#roomy && this.#unanswered < limits.pendingSubmits / 2) {
      this.#roomy();
      this.#roomy = undefined;
    }
    this.#endIfDone();
  }

  #endIfDone(): void {
    if (this.#ended && this.#unanswered === 0) this.answers.close();
  }
}

const tooMany = (count: number) =>
  new DroverError(
    "too_many_items",
    `items: expected at most ${limits.submitItems} a frame, got ${count}`,
    { field: "items" },
  );

export async function* submitStream(
  coordinator: Coordinator,
  namespace: string,
  requests: AsyncIterable<Opaque<SubmitStreamRequest>>,
  signal: AbortSignal,
): AsyncGenerator<OpaqueInit<SubmitStreamResponse>> {
  const stream = new SubmitStream(coordinator, namespace);
  void stream.read(requests);
  for (;;) {
    const answers = await stream.answers.take(signal);
    if (!answers) return;
    for (let at = 0; at < answers.length; at += limits.submitItems) {
      yield { outcomes: answers.slice(at, at + limits.submitItems) };
    }
  }
}
