import type { Settlement, SettleReply, Transition } from "../broker/broker.js";
import { limits } from "../limits.js";
import { decodeLeaseToken, partitionOfSlot } from "../task/ids.js";
import type { AttemptOutcome } from "../task/task.js";
import { Batcher } from "./batcher.js";
import type { Parts } from "./parts.js";
import type { SettleDesk } from "./settle-desk.js";
import type { Waiters } from "./waiters.js";

export type Verdict = "accepted" | "duplicate" | "stale";

type Outcome = "complete" | "fail" | "timeout" | "release" | "cancel" | "lose";

/** Pauses between tries while a store is away, in ms. */
const retryFirstMs = 100;
const retryMaxMs = 1_000;

/**
 * The single path that ends a lease, whoever ends it: worker, timeout, cancel, or the loss of the
 * session.
 */
export class Settler implements SettleDesk {
  readonly #parts: Parts;
  readonly #waiters: Waiters;
  readonly #batch: Batcher<Settlement, SettleReply>;
  /** Called with the token when a lease ended without its worker having said so. */
  onTaken: (token: Uint8Array, reason: string) => void = () => undefined;

  constructor(parts: Parts, waiters: Waiters) {
    this.#parts = parts;
    this.#waiters = waiters;
    this.#batch = new Batcher({
      run: (settlements) => parts.broker.settle(settlements),
      maxItems: limits.leaseBatch,
      maxInFlight: 2,
      maxWaiting: limits.pendingSubmits,
    });
  }

  drained(): Promise<void> {
    return this.#batch.drained();
  }

  /**
   * For sweeps: one try, replies as the broker gave them; what was accepted is recorded in the
   * background.
   */
  async settle(settlements: readonly Settlement[]): Promise<SettleReply[]> {
    const askedAt = this.#parts.clock.monotonic();
    const replies = await Promise.all(
      settlements.map((settlement) => this.#batch.push(settlement)),
    );
    replies.forEach((reply, index) => {
      const settlement = settlements[index]!;
      if (reply.verdict !== "accepted" || !reply.transition) return;
      this.#accepted(settlement, reply.transition, askedAt);
      this.onTaken(settlement.token, outcomeOf(settlement));
      void this.#recorded(reply.transition).catch(() => undefined);
    });
    return replies;
  }

  /**
   * For a worker's result: goes on until there is an answer to give. While a store is away the
   * answer is withheld, since workers send again on a new stream only; the outbox keeps what was
   * accepted meanwhile.
   */
  async report(settlement: Settlement, signal: AbortSignal): Promise<Verdict> {
    for (let tries = 0; ; tries += 1) {
      const verdict = await this.#try(settlement);
      if (verdict) return verdict;
      const pauseMs = Math.min(retryMaxMs, retryFirstMs * 2 ** Math.min(tries, 10));
      await this.#parts.clock.sleep(pauseMs, signal);
    }
  }

  async #try(settlement: Settlement): Promise<Verdict | undefined> {
    const askedAt = this.#parts.clock.monotonic();
    let reply: SettleReply;
    try {
      reply = await this.#batch.push(settlement);
    } catch {
      return undefined;
    }
    if (reply.verdict === "stale") {
      return (await this.#mayBeAdopted(settlement.token)) ? undefined : "stale";
    }
    // A duplicate is one only once history has it; until then the first acceptance could still be
    // forgotten.
    if (reply.verdict === "duplicate") return reply.recorded ? "duplicate" : undefined;
    const { transition } = reply;
    if (!transition) return "accepted";
    this.#accepted(settlement, transition, askedAt);
    const recorded = this.#recorded(transition);
    if (transition.task.durability === "relaxed") {
      recorded.catch(() => undefined);
      return "accepted";
    }
    try {
      return await recorded;
    } catch {
      return undefined;
    }
  }

  /**
   * A store that was emptied knows no lease, until the session's next heartbeat has brought back
   * those of its inventory.
   */
  async #mayBeAdopted(token: Uint8Array): Promise<boolean> {
    const { broker } = this.#parts;
    const slot = decodeLeaseToken(token)?.slot;
    if (slot === undefined) return false;
    const status = broker.status(partitionOfSlot(slot, broker.partitions));
    return status.then(
      ({ cold }) => cold,
      () => true,
    );
  }

  async #recorded(transition: Transition): Promise<Verdict> {
    const outcome = await this.#parts.recorder.record(transition);
    this.#waiters.changed(transition.task.id);
    return outcome === "refused" ? "stale" : "accepted";
  }

  #accepted(settlement: Settlement, transition: Transition, askedAt: number): void {
    const { task } = transition;
    if (task.durability === "relaxed") this.#waiters.changed(task.id);
    const startedAt = transition.attempt?.startedAt ?? task.startedAt ?? 0;
    const endedAt = transition.attempt?.endedAt ?? task.completedAt ?? startedAt;
    this.#parts.events.emit("task.settled", {
      namespace: task.namespace,
      queue: task.queue,
      type: task.type,
      taskId: task.id,
      attempt: task.attempt,
      status: task.status,
      outcome: outcomeFrom(transition.attempt?.outcome, settlement),
      traceContext: task.traceContext,
      ranMs: Math.max(0, endedAt - startedAt),
      tookMs: this.#parts.clock.monotonic() - askedAt,
    });
  }
}

function outcomeOf(settlement: Settlement): Outcome {
  if (settlement.kind === "fail") return settlement.cause === "timeout" ? "timeout" : "fail";
  return settlement.kind;
}

function outcomeFrom(outcome: AttemptOutcome | undefined, settlement: Settlement): Outcome {
  return outcome === "cancelled" ? "cancel" : outcomeOf(settlement);
}
