import type { LeaseReply, Settlement, SettleReply, Transition } from "../broker/broker.js";
import type { RecordOutcome } from "../history/history.js";
import { limits } from "../limits.js";
import { partitionOfSlot, slotOfLeaseToken } from "../task/ids.js";
import type { AttemptOutcome } from "../task/task.js";
import { Batcher, endOfTurn, Failed } from "./batcher.js";
import { fewResults, type NextLeases } from "./next-leases.js";
import type { Parts } from "./parts.js";
import { partitionwise } from "./partitionwise.js";
import type { SettleDesk } from "./settle-desk.js";
import type { Waiters } from "./waiters.js";

export type Verdict = "accepted" | "duplicate" | "stale";

/** Told of those with these indexes; undefined: the wait for them was ended. */
export type OnVerdict = (indexes: readonly number[], verdict: Verdict | undefined) => void;

type Outcome = "complete" | "fail" | "timeout" | "release" | "cancel" | "lose";

/**
 * While no worker is kept waiting by it, results wait so long for others, or for so many: a call of
 * ten costs the store what one of a hundred does.
 */
const gatherMs = 2;
const gatherMost = 64;

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
  readonly #next: NextLeases;
  readonly #batch: Batcher<Settlement, SettleReply>;
  /** Calls under way for few settlements. */
  #short = 0;
  /** Called with the token when a lease ended without its worker having said so. */
  onTaken: (token: Uint8Array, reason: string) => void = () => undefined;

  constructor(parts: Parts, waiters: Waiters, next: NextLeases) {
    this.#parts = parts;
    this.#waiters = waiters;
    this.#next = next;
    // Few wait for those under way, so that they can go with the leases that follow those. With
    // several partitions one that is away would keep them waiting.
    const few = parts.broker.partitions === 1 ? fewResults : 0;
    this.#batch = new Batcher({
      run: (settlements) => this.#send(settlements),
      maxItems: limits.leaseBatch,
      maxInFlight: (waiting) => (waiting > few ? 2 : 1),
      maxWaiting: limits.pendingSubmits,
      gather: { clock: parts.clock, ms: gatherMs, enough: gatherMost, may: () => next.stocked },
    });
  }

  /** Settlements that are about to be sent, or will be once short calls are answered; or 0. */
  get soon(): number {
    const { waiting, inFlight, gathering } = this.#batch;
    if (gathering) return 0;
    const answering = this.#parts.broker.partitions === 1 ? this.#short : 0;
    return inFlight === answering ? waiting : 0;
  }

  async #send(settlements: Settlement[]): Promise<(SettleReply | Failed)[]> {
    const { broker } = this.#parts;
    const isShort = settlements.length <= fewResults;
    if (isShort) this.#short += 1;
    else this.#next.walk();
    try {
      const replies = partitionwise(broker, settlements, slotOfSettlement, (some) =>
        isShort ? this.#settleFew(some) : broker.settle(some),
      );
      if (isShort) this.#next.walk();
      return await replies;
    } finally {
      if (isShort) this.#short -= 1;
    }
  }

  /** All of one partition. */
  async #settleFew(settlements: Settlement[]): Promise<SettleReply[]> {
    const { broker } = this.#parts;
    const slot = slotOfSettlement(settlements[0]!) ?? 0;
    const request = this.#next.ride(partitionOfSlot(slot, broker.partitions));
    if (!request) return broker.settle(settlements);
    let leased: LeaseReply | undefined;
    try {
      const both = await broker.settleAndLease(settlements, request);
      leased = both.leased;
      return both.replies;
    } finally {
      this.#next.rode(request, leased);
      // The worker's frame leaves at the end of the turn: acks and records are made after that.
      if (leased && leased.leases.length > 0) await endOfTurn();
    }
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
    const tookMs = this.#parts.clock.monotonic() - askedAt;
    replies.forEach((reply, index) => {
      const settlement = settlements[index]!;
      if (reply.verdict !== "accepted" || !reply.transition) return;
      this.#accepted(settlement, reply.transition, tookMs);
      this.onTaken(settlement.token, outcomeOf(settlement));
      void this.#recorded(reply.transition).catch(() => undefined);
    });
    return replies;
  }

  ended(transitions: readonly Transition[]): void {
    for (const transition of transitions) {
      const { namespace, queue, type, id: taskId, status, traceContext } = transition.task;
      const fields = { namespace, queue, type, taskId, status, traceContext };
      this.#parts.events.emit("task.overdue", fields);
      // The outbox keeps it for whoever drains it.
      void this.#recorded(transition).catch(() => undefined);
    }
  }

  /**
   * For workers' results: goes on until there is an answer to each. While a store is away it is
   * withheld, since workers send again on a new stream only; the outbox keeps what was accepted
   * meanwhile. `answer` is called with what has come, as often as it takes to name each index once;
   * undefined: `signal` ended the wait. Never rejects.
   */
  async reportAll(
    settlements: readonly Settlement[],
    signal: AbortSignal,
    answer: OnVerdict,
  ): Promise<void> {
    const askedAt = this.#parts.clock.monotonic();
    const replies = await this.#batch.pushAll(settlements);
    const tookMs = this.#parts.clock.monotonic() - askedAt;
    const now: number[] = [];
    const later: Promise<void>[] = [];
    const recording: number[] = [];
    const transitions: Transition[] = [];
    for (let index = 0; index < replies.length; index += 1) {
      const reply = replies[index]!;
      const settlement = settlements[index]!;
      const accepted = !(reply instanceof Failed) && reply.verdict === "accepted";
      if (!accepted) {
        const first = reply instanceof Failed ? undefined : reply;
        const judged = this.#insist(settlement, first, signal);
        later.push(judged.then((verdict) => answer([index], verdict)));
      } else if (!reply.transition || this.#accept(settlement, reply.transition, tookMs)) {
        now.push(index);
      } else {
        recording.push(index);
        transitions.push(reply.transition);
      }
    }
    if (now.length > 0) answer(now, "accepted");
    if (recording.length > 0) {
      const insist = (index: number) => this.#insist(settlements[index]!, undefined, signal);
      later.push(this.#whenRecorded(recording, transitions, insist, answer));
    }
    if (later.length > 0) await Promise.all(later);
  }

  /** True: as good as recorded (RELAXED), and recorded in the background. */
  #accept(settlement: Settlement, transition: Transition, tookMs: number): boolean {
    this.#accepted(settlement, transition, tookMs);
    if (transition.task.durability !== "relaxed") return false;
    this.#parts.recorder.keep(transition);
    return true;
  }

  /**
   * Those that one flush has recorded are answered together; nobody waits for a slower one.
   * `recording`: the index of each transition; `insist`: asks for one that was not written.
   */
  #whenRecorded(
    recording: readonly number[],
    transitions: readonly Transition[],
    insist: (index: number) => Promise<Verdict | undefined>,
    answer: OnVerdict,
  ): Promise<void> {
    let left = recording.length;
    return new Promise((resolve) => {
      const say = (indexes: readonly number[], verdict: Verdict | undefined): void => {
        answer(indexes, verdict);
        left -= indexes.length;
        if (left === 0) resolve();
      };
      this.#parts.recorder.recordAll(transitions, (nths, outcome) => {
        const indexes = nths.map((nth) => recording[nth]!);
        if (outcome === undefined) {
          for (const index of indexes) {
            void insist(index).then((verdict) => say([index], verdict));
          }
          return;
        }
        for (const nth of nths) this.#waiters.changed(transitions[nth]!.task.id);
        say(indexes, verdictOf(outcome));
      });
    });
  }

  /** `first`: what the broker has said already, if it has. Undefined: `signal` ended the wait. */
  async #insist(
    settlement: Settlement,
    first: SettleReply | undefined,
    signal: AbortSignal,
  ): Promise<Verdict | undefined> {
    let verdict = first && (await this.#judge(settlement, first, 0));
    try {
      for (let tries = 0; !verdict; tries += 1) {
        const pauseMs = Math.min(retryMaxMs, retryFirstMs * 2 ** Math.min(tries, 10));
        await this.#parts.clock.sleep(pauseMs, signal);
        verdict = await this.#try(settlement);
      }
      return verdict;
    } catch {
      return undefined;
    }
  }

  async #try(settlement: Settlement): Promise<Verdict | undefined> {
    const askedAt = this.#parts.clock.monotonic();
    const [reply] = await this.#batch.pushAll([settlement]);
    if (!reply || reply instanceof Failed) return undefined;
    return this.#judge(settlement, reply, this.#parts.clock.monotonic() - askedAt);
  }

  /** Undefined: ask again. */
  async #judge(
    settlement: Settlement,
    { verdict, recorded, transition }: SettleReply,
    tookMs: number,
  ): Promise<Verdict | undefined> {
    if (verdict === "stale") {
      return (await this.#mayBeAdopted(settlement.token)) ? undefined : "stale";
    }
    // A duplicate is one only once history has it; until then the first acceptance could still be
    // forgotten.
    if (verdict === "duplicate") return recorded ? "duplicate" : undefined;
    if (!transition || this.#accept(settlement, transition, tookMs)) return "accepted";
    return this.#recorded(transition).catch(() => undefined);
  }

  /**
   * A store that was emptied knows no lease, until the session's next heartbeat has brought back
   * those of its inventory.
   */
  async #mayBeAdopted(token: Uint8Array): Promise<boolean> {
    const { broker } = this.#parts;
    const slot = slotOfLeaseToken(token);
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
    return verdictOf(outcome);
  }

  #accepted(settlement: Settlement, transition: Transition, tookMs: number): void {
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
      tookMs,
    });
  }
}

const verdictOf = (outcome: RecordOutcome): Verdict =>
  outcome === "refused" ? "stale" : "accepted";

const slotOfSettlement = ({ token }: Settlement): number | undefined => slotOfLeaseToken(token);

function outcomeOf(settlement: Settlement): Outcome {
  if (settlement.kind === "fail") return settlement.cause === "timeout" ? "timeout" : "fail";
  return settlement.kind;
}

function outcomeFrom(outcome: AttemptOutcome | undefined, settlement: Settlement): Outcome {
  return outcome === "cancelled" ? "cancel" : outcomeOf(settlement);
}
