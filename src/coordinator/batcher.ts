import type { Clock, Timer } from "../clock.js";
import { DroverError } from "../errors.js";

export interface BatcherOptions<Item, Reply> {
  /** One reply or failure per item, in order. A rejection is given to every item of the batch. */
  run(items: Item[]): Promise<(Reply | Failed)[]>;
  maxItems: number;
  /** Batches under way at once, while so many items wait. */
  maxInFlight: number | ((waiting: number) => number);
  /**
   * Items waiting beyond those under way: once so many wait, what comes is refused as `overloaded`.
   */
  maxWaiting: number;
  /** The first one waits for others for so long; left out: for none. */
  gather?: Gather;
}

export interface Gather {
  readonly clock: Clock;
  readonly ms: number;
  /** So many wait no longer. Default: any number does. */
  readonly enough?: number;
  /** Whether there is time for it. Default: always. */
  readonly may?: () => boolean;
}

/** Stands in the place of a reply when the batch of that item failed. */
export class Failed {
  readonly error: unknown;
  constructor(error: unknown) {
    this.error = error;
  }
}

/** What was pushed together: answered together, by one promise. */
interface Group<Reply> {
  readonly replies: (Reply | Failed)[];
  /** Without a reply yet. */
  left: number;
  resolve(replies: (Reply | Failed)[]): void;
}

/** Items `from` to `to` of a group travel in the same batch. */
interface Slice<Item, Reply> {
  readonly items: readonly Item[];
  readonly group: Group<Reply>;
  from: number;
  to: number;
}

/**
 * What arrives in the same tick, or while earlier batches are under way, shares one call: batches
 * grow with load by themselves, and a lone item waits for nothing, not even for the other events of
 * its tick.
 */
export class Batcher<Item, Reply> {
  readonly #options: BatcherOptions<Item, Reply>;
  #slices: Slice<Item, Reply>[] = [];
  #waiting = 0;
  #inFlight = 0;
  #scheduled = false;
  #gathering: Timer | undefined;
  #idle: (() => void)[] = [];

  constructor(options: BatcherOptions<Item, Reply>) {
    this.#options = options;
  }

  async push(item: Item): Promise<Reply> {
    const [reply] = await this.pushAll([item]);
    if (reply instanceof Failed) throw reply.error;
    return reply as Reply;
  }

  /** One reply or failure per item, in order; never rejects. Costs one promise, however many. */
  pushAll(items: readonly Item[]): Promise<(Reply | Failed)[]> {
    if (items.length === 0) return Promise.resolve([]);
    if (this.#waiting >= this.#options.maxWaiting) {
      const message = `${this.#waiting} requests are waiting already`;
      const failed = new Failed(new DroverError("overloaded", message, { retryAfterMs: 500 }));
      return Promise.resolve(items.map(() => failed));
    }
    return new Promise((resolve) => {
      const group: Group<Reply> = {
        replies: emptyPlaces(items.length),
        left: items.length,
        resolve,
      };
      this.#slices.push({ items, group, from: 0, to: items.length });
      this.#waiting += items.length;
      this.#schedule();
    });
  }

  /** Items that no batch has taken yet. */
  get waiting(): number {
    return this.#waiting;
  }

  /** What waits does so for company. */
  get gathering(): boolean {
    return this.#gathering !== undefined;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  get #mayRun(): boolean {
    const { maxInFlight } = this.#options;
    const most = typeof maxInFlight === "number" ? maxInFlight : maxInFlight(this.#waiting);
    return this.#inFlight < most;
  }

  /** Resolves when nothing waits and nothing is under way. */
  async drained(): Promise<void> {
    if (this.#inFlight === 0 && this.#waiting === 0) return;
    await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  #schedule(): void {
    const gathers = this.#gathers;
    if (this.#gathering && !gathers) {
      this.#gathering.cancel();
      this.#gathering = undefined;
      this.#scheduled = false;
    }
    if (this.#scheduled || !this.#mayRun) return;
    this.#scheduled = true;
    const flush = (): void => {
      this.#gathering = undefined;
      this.#scheduled = false;
      this.#flush();
    };
    const { gather } = this.#options;
    if (gather && gathers) this.#gathering = gather.clock.after(gather.ms, flush);
    else if (this.#inFlight === 0) process.nextTick(flush);
    else setImmediate(flush);
  }

  get #gathers(): boolean {
    const { gather } = this.#options;
    if (!gather || this.#waiting >= (gather.enough ?? Infinity)) return false;
    return gather.may?.() ?? true;
  }

  #flush(): void {
    while (this.#waiting > 0 && this.#mayRun) {
      const slices = this.#take();
      this.#inFlight += 1;
      void this.#run(slices);
    }
  }

  #ran(): void {
    this.#inFlight -= 1;
    if (this.#waiting > 0) this.#schedule();
    else if (this.#inFlight === 0) this.#idle.splice(0).forEach((resolve) => resolve());
  }

  #take(): Slice<Item, Reply>[] {
    const taken: Slice<Item, Reply>[] = [];
    let room = this.#options.maxItems;
    let whole = 0;
    for (const slice of this.#slices) {
      if (room === 0) break;
      const length = Math.min(room, slice.to - slice.from);
      taken.push({ ...slice, to: slice.from + length });
      slice.from += length;
      room -= length;
      if (slice.from === slice.to) whole += 1;
    }
    this.#slices.splice(0, whole);
    this.#waiting -= this.#options.maxItems - room;
    return taken;
  }

  async #run(slices: readonly Slice<Item, Reply>[]): Promise<void> {
    const items: Item[] = [];
    for (const { items: all, from, to } of slices) {
      for (let index = from; index < to; index += 1) items.push(all[index]!);
    }
    let at = 0;
    try {
      const replies = await this.#options.run(items);
      for (const slice of slices) answer(slice, () => replies[at++]!);
    } catch (error) {
      const failed = new Failed(error);
      for (const slice of slices) answer(slice, () => failed);
    }
    this.#ran();
  }
}

function answer<Reply>(
  { group, from, to }: Slice<unknown, Reply>,
  next: () => Reply | Failed,
): void {
  for (let index = from; index < to; index += 1) group.replies[index] = next();
  group.left -= to - from;
  if (group.left === 0) group.resolve(group.replies);
}

/** A list that is filled by place; `Array.from` asks for each of them by name. */
export function emptyPlaces<T>(count: number): T[] {
  const places: T[] = [];
  for (let place = 0; place < count; place += 1) places.push(undefined as T);
  return places;
}

/** What is written until then leaves before what is worked on after it. */
export const endOfTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
