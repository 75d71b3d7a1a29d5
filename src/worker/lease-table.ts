import { ChurnMap } from "../churn.js";
import { bytesKey } from "../short-text.js";
import { TaskAbortedError, type AbortCause } from "./errors.js";

/**
 * What a lease is to this worker: `held` is ours; `lapsed` ran past our own deadline without a
 * renewal, and may or may not be over; `unknown` is not of our session any more; `over` ended
 * without us, nobody wants its result.
 */
export type Standing = "held" | "lapsed" | "unknown" | "over";

export interface RunningLease {
  /** The lease token, see `tokenKey`. */
  readonly key: string;
  readonly taskId: string;
  readonly standing: Standing;
  /** Of the attempt, in ms; 0: it has no end. */
  readonly timeoutMs: number;
  /** Its end on the monotonic clock, in ms; Infinity: it has none. */
  readonly dueAt: number;
  readonly signal: AbortSignal;
  /** Undefined until the handler was asked to stop. */
  readonly abortCause: AbortCause | undefined;
}

/** Lease tokens are known by this text: it costs no view of a frame, and maps take it as it is. */
export const tokenKey: (token: Uint8Array) => string = bytesKey;

export const tokenBytes = (key: string): Uint8Array => Buffer.from(key, "latin1");

/** Most handlers never look at their signal: it is made when one does. */
class HeldLease implements RunningLease {
  readonly key: string;
  readonly taskId: string;
  readonly timeoutMs: number;
  readonly dueAt: number;
  standing: Standing = "held";
  abortCause: AbortCause | undefined = undefined;
  #reason: TaskAbortedError | undefined;
  #controller: AbortController | undefined;

  constructor(key: string, taskId: string, timeoutMs: number, now: number) {
    this.key = key;
    this.taskId = taskId;
    this.timeoutMs = timeoutMs;
    this.dueAt = timeoutMs > 0 ? now + timeoutMs : Infinity;
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
  readonly #entries = new ChurnMap<string, HeldLease>();
  /** Becomes an entry when the next one comes: a handler that made no promise has ended by then. */
  #newest: HeldLease | undefined;
  #held = 0;
  #waiting: (() => void)[] = [];

  /** The token must not be running already. `now`: on the monotonic clock. */
  add(key: string, taskId: string, timeoutMs: number, now: number): RunningLease {
    if (this.#newest) this.#entries.set(this.#newest.key, this.#newest);
    this.#newest = new HeldLease(key, taskId, timeoutMs, now);
    this.#held += 1;
    return this.#newest;
  }

  has(key: string): boolean {
    return this.#entryOf(key) !== undefined;
  }

  get(key: string): RunningLease | undefined {
    return this.#entryOf(key);
  }

  remove(lease: RunningLease): void {
    if (lease === this.#newest) this.#newest = undefined;
    else if (!this.#entries.delete(lease.key)) return;
    if (lease.standing === "held") this.#held -= 1;
    if (this.#size > 0) return;
    const resolvers = this.#waiting;
    this.#waiting = [];
    for (const resolve of resolvers) resolve();
  }

  /** Asks the handler to stop; the first cause stays. */
  abort(lease: RunningLease, cause: AbortCause, message: string, standing?: Standing): void {
    const entry = this.#entryOf(lease.key);
    if (!entry) return;
    if (standing) {
      if (entry.standing === "held" && standing !== "held") this.#held -= 1;
      entry.standing = standing;
    }
    if (entry.abortCause) return;
    entry.abort(cause, message);
  }

  running(): readonly RunningLease[] {
    const entries = [...this.#entries.values()];
    return this.#newest ? [...entries, this.#newest] : entries;
  }

  heldTokens(): Uint8Array[] {
    const tokens: Uint8Array[] = [];
    for (const { standing, key } of this.running()) {
      if (standing === "held") tokens.push(tokenBytes(key));
    }
    return tokens;
  }

  get held(): number {
    return this.#held;
  }

  /** Handlers that still run though their lease is gone: they use a slot nobody may lease. */
  get strays(): number {
    return this.#size - this.#held;
  }

  /** Resolves when no handler runs. */
  idle(): Promise<void> {
    if (this.#size === 0) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  get #size(): number {
    return this.#entries.size + (this.#newest ? 1 : 0);
  }

  #entryOf(key: string): HeldLease | undefined {
    return this.#newest?.key === key ? this.#newest : this.#entries.get(key);
  }
}
