import type { Settlement } from "../broker/broker.js";
import { bytesOfKey } from "../short-text.js";
import { decodeLeaseToken, partitionOfSlot, slotOfLeaseToken } from "../task/ids.js";
import { afterFailure, afterRelease } from "../task/retry.js";
import type { Task } from "../task/task.js";
import type { ResultAck, WorkerResult } from "./frames.js";
import type { Notes } from "./notes.js";
import type { Parts } from "./parts.js";
import type { Settler, Verdict } from "./settle.js";
import type { Held, WorkerSession } from "./worker-session.js";

/** A worker's word about a lease -> what is settled -> the answer. */
export class ResultDesk {
  readonly #parts: Parts;
  readonly #settler: Settler;
  readonly #notes: Notes;

  constructor(parts: Parts, settler: Settler, notes: Notes) {
    this.#parts = parts;
    this.#notes = notes;
    this.#settler = settler;
  }

  /** Frees the slots at once; the acks follow when there are any. */
  take(session: WorkerSession, results: readonly WorkerResult[]): void {
    const reports: Report[] = [];
    let ended = 0;
    let oldest = Infinity;
    for (const { key, outcome } of results) {
      const held = session.leases.settle(key);
      if (held === "again") continue;
      if (held) {
        ended += 1;
        if (held.since < oldest) oldest = held.since;
      }
      const report = { key, token: held?.lease.token ?? bytesOfKey(key), outcome, held };
      const standing = this.#notes.standing(key);
      if (!standing) reports.push(report);
      // Whoever sees the attempt end finds all its logs, and the next one its checkpoint.
      else void standing.then(() => this.#settle(session, [report]));
    }
    if (ended > 0) session.standby.ended(ended, oldest);
    if (reports.length > 0) void this.#settle(session, reports);
  }

  /** Nearly all are of leases granted here; the others' budgets are looked up first. */
  async #settle(session: WorkerSession, reports: readonly Report[]): Promise<void> {
    const known: Report[] = [];
    const settlements: Settlement[] = [];
    for (const report of reports) {
      const { token, outcome, held } = report;
      if (!held && slotOfLeaseToken(token) === undefined)
        this.#ack(session, [report], () => noLease(token));
      else if (!held && outcome.kind !== "success") void this.#settleFound(session, report);
      else {
        known.push(report);
        settlements.push(this.#settlement(session, report, held?.lease.task));
      }
    }
    if (known.length === 0) return;
    await this.#report(session, known, settlements);
  }

  /** A lease this coordinator did not grant: its retry budget stands in the record. */
  async #settleFound(session: WorkerSession, report: Report): Promise<void> {
    try {
      const task = await this.#find(report.token, session.ended.signal);
      await this.#report(session, [report], [this.#settlement(session, report, task)]);
    } catch {
      // The stream has ended: the worker sends it again on its next one.
      session.leases.settled(report.key);
    }
  }

  async #report(
    session: WorkerSession,
    reports: readonly Report[],
    settlements: readonly Settlement[],
  ): Promise<void> {
    await this.#settler.reportAll(settlements, session.ended.signal, (indexes, verdict) => {
      const answered = indexes.map((nth) => reports[nth]!);
      this.#ack(session, answered, (report) => verdict && this.#answer(session, report, verdict));
    });
  }

  /** Without an ack the stream has ended: the worker sends the result again on its next one. */
  #ack(
    session: WorkerSession,
    reports: readonly Report[],
    ackOf: (report: Report) => ResultAck | undefined,
  ): void {
    const acks: ResultAck[] = [];
    for (const report of reports) {
      session.leases.settled(report.key);
      const ack = ackOf(report);
      if (ack) acks.push(ack);
    }
    if (acks.length > 0 && !session.closed) session.port.send({ acks });
  }

  #answer(session: WorkerSession, report: Report, verdict: Verdict): ResultAck {
    const { token, outcome, held } = report;
    if (outcome.kind === "invalid" && verdict === "accepted") {
      return { token, verdict: "invalid", message: outcome.reason };
    }
    if (verdict === "accepted") return { token, verdict, message: "" };
    this.#parts.events.emit("result.refused", {
      taskId: held?.lease.task.id ?? decodeLeaseToken(token)?.taskId ?? "",
      verdict,
      sessionId: session.sessionId,
    });
    return { token, verdict, message: refusals[verdict] };
  }

  #settlement(
    { sessionId }: WorkerSession,
    { token, outcome, held }: Report,
    task: Task | undefined,
  ): Settlement {
    if (outcome.kind === "success") {
      return { token, sessionId, kind: "complete", result: outcome.result, leased: task };
    }
    const cancelled = held?.cancelRequested || task?.cancelRequestedAt !== undefined;
    // Asked to stop and did not finish: that is a cancellation, however the handler put it.
    if (cancelled) return { token, sessionId, kind: "cancel" };
    if (outcome.kind === "release" || outcome.kind === "cancelled") {
      const askedMs = outcome.kind === "release" ? outcome.delayMs : 0;
      const delayMs = Math.max(askedMs, afterRelease(task?.releases ?? 0));
      return { token, sessionId, kind: "release", delayMs };
    }
    return { token, sessionId, ...this.#failure(outcome, task) };
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

  /**
   * Undefined: there is none. A store that was emptied says so of any, until it is filled again.
   */
  async #find(token: Uint8Array, signal: AbortSignal): Promise<Task | undefined> {
    const { broker, clock } = this.#parts;
    const { taskId, slot } = decodeLeaseToken(token)!;
    for (;;) {
      try {
        const { cold } = await broker.status(partitionOfSlot(slot, broker.partitions));
        const [task] = await broker.get([taskId]);
        if (task || !cold) return task;
      } catch {
        // Asked again.
      }
      await clock.sleep(500, signal);
    }
  }
}

/** A result on its way to its ack. */
interface Report {
  readonly key: string;
  readonly token: Uint8Array;
  readonly outcome: WorkerResult["outcome"];
  /** Undefined: not out here. */
  readonly held: Held | undefined;
}

const noLease = (token: Uint8Array): ResultAck => ({
  token,
  verdict: "stale",
  message: "no lease of this session",
});

type Failure = Extract<WorkerResult["outcome"], { kind: "failure" | "invalid" }>;
type FailSettlement = Pick<
  Extract<Settlement, { kind: "fail" }>,
  "kind" | "cause" | "error" | "retryInMs"
>;

const refusals = {
  duplicate: "this lease's result was accepted before",
  stale: "the lease was over; the task has moved on",
} as const;
