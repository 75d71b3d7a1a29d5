import { DroverError } from "../errors.js";
import { limits } from "../limits.js";
import type { Parts } from "./parts.js";

/**
 * A hint may run ahead of history, or be lost: look again after these pauses, then every second.
 */
const recheckMs = [5, 20, 50, 100, 250, 500];
const recheckMaxMs = 1_000;
const waitersMax = 20_000;

/**
 * Those who wait for a task to change. The hot path pays one map look-up, whether anybody waits or
 * not.
 */
export class Waiters {
  readonly #parts: Parts;
  readonly #byTask = new Map<string, Set<() => void>>();
  #count = 0;
  #released = false;
  #unsubscribe: (() => void) | undefined;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  start(): void {
    this.#unsubscribe ??= this.#parts.broker.onHint((hint) => {
      if (hint.kind === "changed") this.changed(hint.taskId);
    });
  }

  stop(): void {
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
  }

  /** The coordinator drains: every wait is answered with what stands now, and no new one begins. */
  release(): void {
    this.#released = true;
    for (const taskId of this.#byTask.keys()) this.changed(taskId);
  }

  changed(taskId: string): void {
    for (const wake of this.#byTask.get(taskId) ?? []) wake();
  }

  /**
   * Calls `look` at once and after each change until it gives a value, or undefined when the time
   * is over.
   */
  async until<T>(
    taskId: string,
    timeoutMs: number,
    signal: AbortSignal,
    look: () => Promise<T | undefined>,
  ): Promise<T | undefined> {
    if (this.#count >= waitersMax) {
      throw new DroverError("overloaded", `${waitersMax} calls wait already`, {
        retryAfterMs: 1_000,
      });
    }
    const { clock } = this.#parts;
    const endsAt = clock.monotonic() + Math.min(timeoutMs, limits.waitTaskMs);
    const ticket = this.#enter(taskId);
    let watchedAt = -Infinity;
    try {
      for (;;) {
        ticket.seen = false;
        const found = await look();
        if (found !== undefined) return found;
        const leftMs = endsAt - clock.monotonic();
        if (leftMs <= 0 || signal.aborted || this.#released) return undefined;
        if (clock.monotonic() - watchedAt > limits.watchMs / 2) {
          watchedAt = clock.monotonic();
          // What changed before it stands is seen by looking again.
          await this.#parts.broker.watch([taskId]).catch(() => undefined);
        } else await this.#pause(ticket, leftMs, signal);
      }
    } finally {
      this.#leave(taskId, ticket.wake);
    }
  }

  #enter(taskId: string): Ticket {
    const ticket: Ticket = { seen: false, hinted: 0, wake: () => undefined, ring: () => undefined };
    ticket.wake = () => {
      ticket.seen = true;
      ticket.hinted = 1;
      ticket.ring();
    };
    const waiting = this.#byTask.get(taskId) ?? new Set();
    waiting.add(ticket.wake);
    this.#byTask.set(taskId, waiting);
    this.#count += 1;
    return ticket;
  }

  #leave(taskId: string, wake: () => void): void {
    const waiting = this.#byTask.get(taskId);
    if (!waiting?.delete(wake)) return;
    this.#count -= 1;
    if (waiting.size === 0) this.#byTask.delete(taskId);
  }

  async #pause(ticket: Ticket, leftMs: number, signal: AbortSignal): Promise<void> {
    if (ticket.seen) return;
    const after = ticket.hinted > 0 ? recheckMs[ticket.hinted++ - 1] : undefined;
    const pauseMs = Math.min(leftMs, after ?? recheckMaxMs);
    const woken = new AbortController();
    ticket.ring = () => woken.abort();
    const either = AbortSignal.any([woken.signal, signal]);
    await this.#parts.clock.sleep(pauseMs, either).catch(() => undefined);
    ticket.ring = () => undefined;
  }
}

interface Ticket {
  /** A change came since the last look. */
  seen: boolean;
  /** 0: none yet; otherwise which pause of `recheckMs` comes next. */
  hinted: number;
  wake: () => void;
  ring: () => void;
}
