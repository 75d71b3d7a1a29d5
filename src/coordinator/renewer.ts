import type { RenewVerdict } from "../broker/broker.js";
import { limits } from "../limits.js";
import { Batcher } from "./batcher.js";
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

/** Renews the sessions whose heartbeats come together by one call per partition. */
export class Renewer {
  readonly #parts: Parts;
  readonly #opener: SessionOpener;
  readonly #batch: Batcher<WorkerSession, RenewVerdict>;

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
    try {
      return await this.#batch.push(session);
    } catch {
      return "failed";
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

  async #renew(sessions: WorkerSession[]): Promise<RenewVerdict[]> {
    const byPartition = new Map<number, WorkerSession[]>();
    for (const session of sessions) {
      for (const partition of this.#partitionsOf(session)) {
        const list = byPartition.get(partition);
        if (list) list.push(session);
        else byPartition.set(partition, [session]);
      }
    }
    const worst = new Map<WorkerSession, RenewVerdict>();
    const calls = [...byPartition].map(async ([partition, members]) => {
      const renewals = members.map((session) => ({
        sessionId: session.sessionId,
        generation: session.generation,
        leaseMs: limits.sessionLeaseMs,
        info: session.info(),
      }));
      const verdicts = await this.#parts.broker.renewSessions(partition, renewals);
      verdicts.forEach((verdict, index) => {
        const session = members[index]!;
        if (rank[verdict] > rank[worst.get(session) ?? "renewed"]) worst.set(session, verdict);
      });
    });
    await Promise.all(calls);
    return sessions.map((session) => worst.get(session) ?? "renewed");
  }

  #partitionsOf(session: WorkerSession): number[] {
    const tokens = [...session.leases.values()].map((held) => held.lease.token);
    return this.#opener.partitionsOf(session.namespace, session.offer, tokens);
  }
}

const rank: Record<RenewVerdict, number> = { renewed: 0, gone: 1, superseded: 2 };
