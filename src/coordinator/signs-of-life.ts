import type { ProgressItem } from "../broker/broker.js";
import type { WorkerLog } from "./frames.js";
import type { Parts } from "./parts.js";
import { tokenKey, type WorkerSession } from "./worker-session.js";

/**
 * Log entries as signs of life, for attempts that have to give some (heartbeat_timeout): one call
 * of the broker at a time, whatever comes meanwhile is in the next. All other tasks pay one look.
 */
export class SignsOfLife {
  readonly #parts: Parts;
  readonly #heard = new Map<string, ProgressItem>();
  #telling = false;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  take({ leases, sessionId }: WorkerSession, logs: readonly WorkerLog[]): void {
    for (const { token } of logs) {
      const key = tokenKey(token);
      if (leases.get(key)?.lease.task.terms?.heartbeatTimeoutMs === undefined) continue;
      this.#heard.set(key, { token, sessionId, progress: undefined });
    }
    if (this.#heard.size > 0 && !this.#telling) void this.#tell();
  }

  /** What the broker does not hear is said again by the next entry. */
  async #tell(): Promise<void> {
    this.#telling = true;
    while (this.#heard.size > 0) {
      const items = [...this.#heard.values()];
      this.#heard.clear();
      await this.#parts.broker.progress(items).catch(() => undefined);
    }
    this.#telling = false;
  }
}
