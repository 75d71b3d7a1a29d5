import { bytesKey } from "../short-text.js";
import { TaskAbortedError, type AbortCause } from "./errors.js";

/**
 * What a lease is to this worker: `held` is ours; `lapsed` ran past our own deadline without a
 * renewal, and may or may not be over; `unknown` is not of our session any more; `over` ended
 * without us, nobody wants its result.
 */
export type Standing = "held" | "lapsed" | "unknown" | "over";

export interface RunningLease {
  readonly key: string;
  readonly token: Uint8Array;
  readonly taskId: string;
  readonly standing: Standing;
  readonly signal: AbortSignal;
  /** Undefined until the handler was asked to stop. */
  readonly abortCause: AbortCause | undefined;
}

export const tokenKey: (token: Uint8Array) => string = bytesKey;

/** Most handlers never look at their signal: it is made when one does. */
class HeldLease implements RunningLease {
  readonly key: string;
  readonly token: Uint8Array;
  readonly taskId: string;
  standing: Standing = "held";
  abortCause: AbortCause | undefined = undefined;
  #reason: TaskAbortedError | undefined;
  #controller: AbortController | undefined;

  constructor(key: string, token: Uint8Array, taskId: string) {
    this.key = key;
    this.token = token;
    this.taskId = taskId;
  }

  get signal(): AbortSignal {
    if (!this.#controller) {
      this.#controller = new AbortController();
      if (this.#reason) this.#controller.abort(this.#reason);
    }
    return this.#controller.signal;
  }

  abort(cause: AbortCause, message: string): void {
    this.abortCause = cause;
    this.#reason = new TaskAbortedError(cause, message);
    this.#controller?.abort(this.#reason);
  }
}

/**
 * The leases whose handlers run, by token: a task may be leased anew while an old handler of it
 * still ends.
 */
export class LeaseTable {
  readonly #entries = new Map<string, HeldLease>();
  #held = 0;
  #waiting: (() => void)[] = [];

  /** Undefined if this token runs already. */
  add(token: Uint8Array, taskId: string, key = tokenKey(token)): RunningLease | undefined {
    if (this.#entries.has(key)) return undefined;
    const entry = new HeldLease(key, token, taskId);
    this.#entries.set(key, entry);
    this.#held += 1;
    return entry;
  }

  has(key: string): boolean {
    return this.#entries.has(key);
  }

  get(token: Uint8Array): RunningLease | undefined {
    return this.#entries.get(tokenKey(token));
  }

  remove(lease: RunningLease): void {
    if (!this.#entries.delete(lease.key)) return;
    if (lease.standing === "held") this.#held -= 1;
    if (this.#entries.size > 0) return;
    const resolvers = this.#waiting;
    this.#waiting = [];
    for (const resolve of resolvers) resolve();
  }

  /** Asks the handler to stop; the first cause stays. */
  abort(lease: RunningLease, cause: AbortCause, message: string, standing?: Standing): void {
    const entry = this.#entries.get(lease.key);
    if (!entry) return;
    if (standing) {
      if (entry.standing === "held" && standing !== "held") this.#held -= 1;
      entry.standing = standing;
    }
    if (entry.abortCause) return;
    entry.abort(cause, message);
  }

  running(): readonly RunningLease[] {
    return [...this.#entries.values()];
  }

  heldTokens(): Uint8Array[] {
    const tokens: Uint8Array[] = [];
    for (const { standing, token } of this.#entries.values()) {
      if (standing === "held") tokens.push(token);
    }
    return tokens;
  }

  get held(): number {
    return this.#held;
  }

  /** Handlers that still run though their lease is gone: they use a slot nobody may lease. */
  get strays(): number {
    return this.#entries.size - this.#held;
  }

  /** Resolves when no handler runs. */
  idle(): Promise<void> {
    if (this.#entries.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
}
