import type { RenewVerdict } from "../broker/broker.js";
import { limits } from "../limits.js";
import { partitionOfSlot, slotOfLeaseToken } from "../task/ids.js";
import { Batcher, Failed } from "./batcher.js";
import type { Parts } from "./parts.js";
import type { Opened, SessionOpener } from "./session-opener.js";
import type { WorkerSession } from "./worker-session.js";

/**
 * A thousand workers send 200 heartbeats a second, each by itself: for so long, in ms, the first
 * waits for company. Its worker waits 3 s for the answer.
 */
const gatherMs = 25;
/** Between tries while the store does not answer, in ms. */
const againMs = 250;
/**
 * Leases whose store has not answered for so long are taken back, before the worker gives up all it
 * has: the others are renewed, and it need not.
 */
const patienceMs = limits.workerAbortMs - limits.heartbeatMs;

interface Renewal {
  /** Of the stores that answered. */
  readonly verdict: RenewVerdict;
  /** Partitions that did not, and where it holds leases. */
  readonly unreached: readonly number[];
}

/** Renews the sessions whose heartbeats come together by one call per partition. */
export class Renewer {
  readonly #parts: Parts;
  readonly #opener: SessionOpener;
  readonly #batch: Batcher<WorkerSession, Renewal>;

  constructor(parts: Parts, opener: SessionOpener) {
    this.#parts = parts;
    this.#opener = opener;
    this.#batch = new Batcher({
      run: (sessions) => this.#renew(sessions),
      maxItems: 500,
      maxInFlight: 2,
      maxWaiting: limits.slotsMax,
      gather: { clock: parts.clock, ms: gatherMs },
    });
  }

  /** `failed`: the store did not answer; the session's lease runs on as it was. */
  async renew(session: WorkerSession): Promise<RenewVerdict | "failed"> {
    const { clock } = this.#parts;
    const askedAt = clock.monotonic();
    try {
      const { verdict, unreached } = await this.#batch.push(session);
      if (unreached.length > 0 && verdict !== "superseded") {
        if (clock.monotonic() - session.renewedAt < patienceMs) return "failed";
        this.#takeBack(session, new Set(unreached));
      }
      session.renewedAt = askedAt;
      return verdict;
    } catch {
      return "failed";
    }
  }

  /** What its worker stops now is handed back once their store answers. */
  #takeBack(session: WorkerSession, unreached: ReadonlySet<number>): void {
    for (const { lease } of session.leases.values()) {
      if (!unreached.has(this.#partitionOf(lease.token))) continue;
      session.revoke(lease.token, "the store of its partition does not answer");
    }
  }

  /**
   * After `failed`: asks again until the store answers, while this heartbeat still says that the
   * worker lives. A store that is away now and then must cost no session its lease (P10).
   */
  async renewOnceBack(session: WorkerSession): Promise<RenewVerdict | "failed"> {
    const { lastHeartbeatAt } = session;
    for (let waitedMs = 0; waitedMs < limits.heartbeatMs; waitedMs += againMs) {
      await this.#parts.clock.sleep(againMs, session.ended.signal).catch(() => undefined);
      if (session.closed || session.lastHeartbeatAt !== lastHeartbeatAt) return "failed";
      const verdict = await this.renew(session);
      if (verdict !== "failed") return verdict;
    }
    return "failed";
  }

  reopen(session: WorkerSession): Promise<Opened> {
    return this.#opener.open(
      {
        namespace: session.namespace,
        sessionId: session.sessionId,
        generation: session.generation,
        offer: session.offer,
        info: session.info(),
        heldTokens: session.inventory(),
      },
      session.ended.signal,
    );
  }

  async #renew(sessions: WorkerSession[]): Promise<(Renewal | Failed)[]> {
    const byPartition = new Map<number, WorkerSession[]>();
    for (const session of sessions) {
      for (const partition of this.#partitionsOf(session)) {
        const list = byPartition.get(partition);
        if (list) list.push(session);
        else byPartition.set(partition, [session]);
      }
    }
    const worst = new Map<WorkerSession, RenewVerdict>();
    const failed = new Map<WorkerSession, Failed>();
    const calls = [...byPartition].map(async ([partition, members]) => {
      try {
        const verdicts = await this.#renewIn(partition, members);
        verdicts.forEach((verdict, index) => {
          const session = members[index]!;
          if (rank[verdict] >= rank[worst.get(session) ?? "renewed"]) worst.set(session, verdict);
          // It may hold leases there that its worker has given up, or not be open there at all.
          if (session.unreached.delete(partition)) session.unsure = true;
        });
      } catch (error) {
        for (const session of members) {
          session.unreached.add(partition);
          failed.set(session, new Failed(error));
        }
      }
    });
    await Promise.all(calls);
    return sessions.map((session) => {
      const verdict = worst.get(session);
      if (!verdict) return failed.get(session) ?? { verdict: "renewed", unreached: [] };
      return { verdict, unreached: failed.has(session) ? this.#unreachedOf(session) : [] };
    });
  }

  #renewIn(partition: number, members: readonly WorkerSession[]): Promise<RenewVerdict[]> {
    const renewals = members.map((session) => ({
      sessionId: session.sessionId,
      generation: session.generation,
      leaseMs: limits.sessionLeaseMs,
      info: session.info(),
    }));
    return this.#parts.broker.renewSessions(partition, renewals);
  }

  #unreachedOf({ leases, unreached }: WorkerSession): number[] {
    const held = [...leases.values()].map(({ lease }) => this.#partitionOf(lease.token));
    return [...new Set(held)].filter((partition) => unreached.has(partition));
  }

  #partitionOf(token: Uint8Array): number {
    return partitionOfSlot(slotOfLeaseToken(token) ?? 0, this.#parts.broker.partitions);
  }

  #partitionsOf(session: WorkerSession): number[] {
    const tokens = [...session.leases.values()].map((held) => held.lease.token);
    return this.#opener.partitionsOf(session.namespace, session.offer, tokens);
  }
}

const rank: Record<RenewVerdict, number> = { renewed: 0, gone: 1, superseded: 2 };
