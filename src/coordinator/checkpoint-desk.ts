import type { WorkerCheckpoint } from "./frames.js";
import type { Parts } from "./parts.js";
import { tokenKey, type WorkerSession } from "./worker-session.js";

const retryFirstMs = 100;
const retryMaxMs = 2_000;

/** Checkpoints on their way into the broker; the end of an attempt waits for its own. */
export class CheckpointDesk {
  readonly #parts: Parts;
  /** The latest of each lease, until it stands or is refused. */
  readonly #open = new Map<string, { readonly number: number; readonly done: Promise<void> }>();

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  take(session: WorkerSession, checkpoints: readonly WorkerCheckpoint[]): void {
    for (const one of checkpoints) {
      const key = tokenKey(one.token);
      const done = this.#keep(session, key, one).finally(() => {
        if (this.#open.get(key)?.done === done) this.#open.delete(key);
      });
      this.#open.set(key, { number: one.number, done });
    }
  }

  /** Undefined: none of this lease is on its way. */
  standing(key: string): Promise<void> | undefined {
    return this.#open.get(key)?.done;
  }

  /** Goes on while the broker is away, until a later one or the end of the stream takes over. */
  async #keep(session: WorkerSession, key: string, one: WorkerCheckpoint): Promise<void> {
    const { token, number, checkpoint } = one;
    const { sessionId } = session;
    for (let tries = 0; !session.closed; tries += 1) {
      try {
        const [kept] = await this.#parts.broker.checkpoint([{ token, sessionId, checkpoint }]);
        if (session.closed) return;
        if (kept) session.port.send({ kept: [{ token, logSequence: 0, checkpoint: number }] });
        // Only if it still counts as running here: its result may have come since.
        else session.revoke(token, "the lease was over when its checkpoint came");
        return;
      } catch {
        const pauseMs = Math.min(retryMaxMs, retryFirstMs * 2 ** Math.min(tries, 10));
        await this.#parts.clock.sleep(pauseMs, session.ended.signal).catch(() => undefined);
        if ((this.#open.get(key)?.number ?? number) > number) return;
      }
    }
  }
}
