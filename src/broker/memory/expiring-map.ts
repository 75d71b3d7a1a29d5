/**
 * A map whose entries end after one fixed time, oldest first: expiry costs O(1) for each entry that
 * ends.
 */
export class ExpiringMap<V> {
  private readonly entries = new Map<string, { value: V; endsAt: number }>();
  private readonly ttlMs: number;

  constructor(ttlMs: number) {
    this.ttlMs = ttlMs;
  }

  get size(): number {
    return this.entries.size;
  }

  get(key: string, now: number): V | undefined {
    const entry = this.entries.get(key);
    return entry && entry.endsAt > now ? entry.value : undefined;
  }

  /** Setting again starts its time anew. */
  set(key: string, value: V, now: number): void {
    this.expire(now);
    this.entries.delete(key);
    this.entries.set(key, { value, endsAt: now + this.ttlMs });
  }

  delete(key: string): void {
    this.entries.delete(key);
  }

  expire(now: number): void {
    for (const [key, entry] of this.entries) {
      if (entry.endsAt > now) return;
      this.entries.delete(key);
    }
  }
}
