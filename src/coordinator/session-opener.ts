import type { Lease, SessionInfo } from "../broker/broker.js";
import { DroverError } from "../errors.js";
import { limits } from "../limits.js";
import { decodeLeaseToken, partitionOfSlot, slotOfLeaseToken, slotOfQueue } from "../task/ids.js";
import { isFinal, type Task } from "../task/task.js";
import type { Offer } from "./frames.js";
import type { Parts } from "./parts.js";
import { storeTimes } from "./store-times.js";

export interface Opening {
  readonly namespace: string;
  readonly sessionId: string;
  readonly generation: number;
  readonly offer: Offer;
  readonly info: SessionInfo;
  readonly heldTokens: readonly Uint8Array[];
}

export interface Opened {
  readonly resumed: boolean;
  readonly kept: Lease[];
  readonly revoked: Uint8Array[];
  readonly lostInTransit: Lease[];
  /** Partitions whose store did not answer. */
  readonly unreached: readonly number[];
}

/** How often, and for how long, an opening waits for a partition that is being rebuilt. */
const coldPauseMs = 500;
const coldTries = 20;

/**
 * Opens or resumes a session in the store. Tokens whose task Redis has forgotten are looked up in
 * history and adopted, so that running work survives the loss of Redis.
 */
export class SessionOpener {
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  async open(opening: Opening, signal: AbortSignal): Promise<Opened> {
    // Tokens that cannot be of Drover never reach a store.
    const sane = opening.heldTokens.filter((token) => slotOfLeaseToken(token) !== undefined);
    const forged = opening.heldTokens.filter((token) => slotOfLeaseToken(token) === undefined);
    let restored = false;
    for (let tries = 0; tries < coldTries; tries += 1) {
      const reply = await this.#parts.broker.openSession({
        sessionId: opening.sessionId,
        generation: opening.generation,
        leaseMs: limits.sessionLeaseMs,
        info: opening.info,
        heldTokens: sane,
        partitions: this.partitionsOf(opening.namespace, opening.offer, sane),
      });
      if (reply.kind === "superseded") {
        const message = `generation ${reply.generation} of session ${opening.sessionId} is open`;
        throw new DroverError("session_superseded", message);
      }
      if (reply.kind === "cold") {
        await this.#parts.clock.sleep(coldPauseMs, signal);
        continue;
      }
      if (reply.missing.length > 0 && !restored) {
        restored = true;
        await this.#restore(opening.namespace, reply.missing);
        continue;
      }
      return { ...reply, revoked: [...forged, ...reply.revoked, ...reply.missing] };
    }
    throw new DroverError(
      "broker_unavailable",
      "the store is being rebuilt; no session can open yet",
      {
        retryAfterMs: coldPauseMs,
      },
    );
  }

  async #restore(namespace: string, tokens: readonly Uint8Array[]): Promise<void> {
    const { broker, history } = this.#parts;
    const ids = tokens.map((token) => decodeLeaseToken(token)!.taskId);
    const timeOf = await storeTimes(broker, ids);
    const stored = await history.get(namespace, ids);
    const live = stored.filter((task): task is Task => task !== undefined && !isFinal(task.status));
    if (live.length === 0) return;
    await broker.enqueue(live.map((task) => ({ task, origin: "restore", asOf: timeOf(task.id) })));
  }

  partitionsOf(namespace: string, offer: Offer, tokens: readonly Uint8Array[]): number[] {
    const count = this.#parts.broker.partitions;
    const found = new Set<number>();
    for (const { queue } of offer.subscriptions) {
      found.add(partitionOfSlot(slotOfQueue(namespace, queue), count));
    }
    for (const token of tokens) {
      const parts = decodeLeaseToken(token);
      if (parts) found.add(partitionOfSlot(parts.slot, count));
    }
    return [...found];
  }
}
