import { CheckpointDesk } from "./checkpoint-desk.js";
import type { WorkerFrame } from "./frames.js";
import { LogDesk } from "./log-desk.js";
import type { Parts } from "./parts.js";
import { SignsOfLife } from "./signs-of-life.js";
import type { WorkerSession } from "./worker-session.js";

/** What handlers leave behind while they run: logs for people, checkpoints for the next attempt. */
export class Notes {
  readonly #logs: LogDesk;
  readonly #checkpoints: CheckpointDesk;
  readonly #signs: SignsOfLife;

  constructor(parts: Parts) {
    this.#logs = new LogDesk(parts);
    this.#checkpoints = new CheckpointDesk(parts);
    this.#signs = new SignsOfLife(parts);
  }

  take(session: WorkerSession, { logs, checkpoints }: WorkerFrame): void {
    if (logs) {
      this.#signs.take(session, logs);
      this.#logs.take(session, logs);
    }
    if (checkpoints) this.#checkpoints.take(session, checkpoints);
  }

  /**
   * When the notes of a lease stand, so that its attempt may end. Undefined: none is on its way.
   */
  standing(key: string): Promise<unknown> | undefined {
    const logs = this.#logs.standing(key);
    const checkpoint = this.#checkpoints.standing(key);
    return logs && checkpoint ? Promise.all([logs, checkpoint]) : (logs ?? checkpoint);
  }

  gone(session: WorkerSession): void {
    this.#logs.gone(session);
  }

  stop(): Promise<void> {
    return this.#logs.stop();
  }
}
