import type { Transition } from "../broker.js";

type OutboxBounds = Record<"outboxEntries" | "outboxBytes", number>;

interface Entry {
  readonly transition: Transition;
  readonly at: number;
  readonly bytes: number;
}

/**
 * What history has yet to learn, oldest first. Bounded by what callers do while it is `full`:
 * nothing is dropped.
 */
export class Outbox {
  private readonly entries = new Map<string, Entry>();
  private readonly bounds: OutboxBounds;
  private bytes = 0;
  private lastId = 0;

  constructor(bounds: OutboxBounds) {
    this.bounds = bounds;
  }

  get size(): number {
    return this.entries.size;
  }

  get full(): boolean {
    return this.size >= this.bounds.outboxEntries || this.bytes >= this.bounds.outboxBytes;
  }

  append(transition: Omit<Transition, "outboxId" | "outboxPlace">, now: number): Transition {
    this.lastId += 1;
    const outboxId = `${now}-${this.lastId}`;
    const told = { ...transition, outboxId, outboxPlace: 0 };
    const entry = { transition: told, at: now, bytes: sizeOf(transition) };
    this.entries.set(outboxId, entry);
    this.bytes += entry.bytes;
    return entry.transition;
  }

  told(outboxId: string): Transition | undefined {
    return this.entries.get(outboxId)?.transition;
  }

  /** False: it is gone already. */
  remove(outboxId: string): boolean {
    const entry = this.entries.get(outboxId);
    if (!entry) return false;
    this.bytes -= entry.bytes;
    return this.entries.delete(outboxId);
  }

  read(before: number, limit: number): Transition[] {
    const found: Transition[] = [];
    for (const entry of this.entries.values()) {
      if (entry.at > before || found.length >= limit) break;
      found.push(entry.transition);
    }
    return found;
  }

  ageMs(now: number): number {
    for (const entry of this.entries.values()) return now - entry.at;
    return 0;
  }

  transitions(): Transition[] {
    return Array.from(this.entries.values(), (entry) => entry.transition);
  }
}

/** What a record costs beside its payload and result; an estimate for bounds, not an account. */
export const recordBytes = 512;

function sizeOf({ task, successor }: Pick<Transition, "task" | "successor">): number {
  const own = recordBytes + (task.payload?.data.length ?? 0) + (task.result?.data.length ?? 0);
  return own + (successor ? recordBytes + (successor.payload?.data.length ?? 0) : 0);
}
