import type { Settlement } from "../broker/broker.js";
import { decodeLeaseToken } from "../task/ids.js";
import { afterFailure, afterRelease } from "../task/retry.js";
import type { Task } from "../task/task.js";
import type { ResultAck, WorkerResult } from "./frames.js";
import type { Parts } from "./parts.js";
import type { Settler } from "./settle.js";
import { type Held, tokenKey, type WorkerSession } from "./worker-session.js";

/** A worker's word about a lease -> what is settled -> the answer. */
export class ResultDesk {
  readonly #parts: Parts;
  readonly #settler: Settler;

  constructor(parts: Parts, settler: Settler) {
    this.#parts = parts;
    this.#settler = settler;
  }

  /** Frees the slot at once; the ack follows when there is one. */
  take(session: WorkerSession, result: WorkerResult): void {
    const key = tokenKey(result.token);
    if (session.settling.has(key)) return;
    const held = session.take(result.token);
    session.settling.add(key);
    void this.#answer(session, result, held)
      .then(
        (ack) => {
          if (!session.closed) session.port.send({ acks: [ack] });
        },
        // The stream has ended: the worker sends it again on its next one.
        () => undefined,
      )
      .finally(() => session.settling.delete(key));
  }

  async #answer(
    session: WorkerSession,
    result: WorkerResult,
    held: Held | undefined,
  ): Promise<ResultAck> {
    const { token } = result;
    if (!decodeLeaseToken(token))
      return { token, verdict: "stale", message: "no lease of this session" };
    const settlement = await this.#settlement(session, result, held);
    const verdict = await this.#settler.report(settlement, session.ended.signal);
    if (result.outcome.kind === "invalid" && verdict === "accepted") {
      return { token, verdict: "invalid", message: result.outcome.reason };
    }
    if (verdict === "accepted") return { token, verdict, message: "" };
    this.#parts.events.emit("result.refused", {
      taskId: held?.lease.task.id ?? "",
      verdict,
      sessionId: session.sessionId,
    });
    return { token, verdict, message: refusals[verdict] };
  }

  async #settlement(
    session: WorkerSession,
    result: WorkerResult,
    held: Held | undefined,
  ): Promise<Settlement> {
    const base = { token: result.token, sessionId: session.sessionId };
    const { outcome } = result;
    if (outcome.kind === "success") return { ...base, kind: "complete", result: outcome.result };
    const task = held?.lease.task ?? (await this.#find(result.token, session.ended.signal));
    const cancelled = held?.cancelRequested || task?.cancelRequestedAt !== undefined;
    // Asked to stop and did not finish: that is a cancellation, however the handler put it.
    if (cancelled) return { ...base, kind: "cancel" };
    if (outcome.kind === "release" || outcome.kind === "cancelled") {
      const askedMs = outcome.kind === "release" ? outcome.delayMs : 0;
      return {
        ...base,
        kind: "release",
        delayMs: Math.max(askedMs, afterRelease(task?.releases ?? 0)),
      };
    }
    return { ...base, ...this.#failure(outcome, task) };
  }

  #failure(outcome: Failure, task: Task | undefined): FailSettlement {
    const [error, retryAfterMs] =
      outcome.kind === "invalid"
        ? [{ code: "invalid_result", message: outcome.reason, retryable: false }, undefined]
        : [outcome.error, outcome.retryAfterMs];
    const retryInMs =
      task && afterFailure(task, error, retryAfterMs, () => this.#parts.random.next());
    return { kind: "fail", cause: "handler", error, retryInMs };
  }

  /** A lease this coordinator did not grant: its retry budget stands in the record. */
  async #find(token: Uint8Array, signal: AbortSignal): Promise<Task | undefined> {
    const taskId = decodeLeaseToken(token)!.taskId;
    for (;;) {
      try {
        const [task] = await this.#parts.broker.get([taskId]);
        return task;
      } catch {
        await this.#parts.clock.sleep(500, signal);
      }
    }
  }
}

type Failure = Extract<WorkerResult["outcome"], { kind: "failure" | "invalid" }>;
type FailSettlement = Pick<
  Extract<Settlement, { kind: "fail" }>,
  "kind" | "cause" | "error" | "retryInMs"
>;

const refusals = {
  duplicate: "this lease's result was accepted before",
  stale: "the lease was over; the task has moved on",
} as const;
