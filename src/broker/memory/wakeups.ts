import type { Lane } from "../broker.js";
import type { LaneState } from "./lanes.js";

interface Waiter {
  readonly lanes: ReadonlySet<string>;
  readonly resolve: (lane: Lane) => void;
}

/** Markers of lanes with new work: one insert wakes one waiter, and what nobody takes stays. */
export class Wakeups {
  private readonly markers = new Map<string, Lane>();
  private readonly waiters = new Set<Waiter>();

  mark(key: string, lane: Lane): void {
    for (const waiter of this.waiters) {
      if (!waiter.lanes.has(key)) continue;
      this.waiters.delete(waiter);
      waiter.resolve(lane);
      return;
    }
    this.markers.set(key, lane);
  }

  clear(state: LaneState): void {
    this.markers.delete(state.key);
  }

  clearAll(): void {
    this.markers.clear();
  }

  /** Takes a marker that stands; the first in the order given. */
  take(keys: readonly string[]): Lane | undefined {
    for (const key of keys) {
      const lane = this.markers.get(key);
      if (!lane) continue;
      this.markers.delete(key);
      return lane;
    }
    return undefined;
  }

  /** Returns the call that gives the wait up. */
  wait(keys: readonly string[], resolve: (lane: Lane) => void): () => void {
    const waiter = { lanes: new Set(keys), resolve };
    this.waiters.add(waiter);
    return () => this.waiters.delete(waiter);
  }
}
