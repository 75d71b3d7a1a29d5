import { ChurnMap } from "../churn.js";
import { ResultStatus } from "../../gen/drover/v1/task_pb.js";
import { limits } from "../limits.js";
import type { Ack } from "./hot-frames.js";
import { tokenBytes } from "./lease-table.js";
import type { Outcome } from "./outcome.js";

class Unacked {
  readonly taskId: string;
  readonly outcome: Outcome;
  /** Generation of the stream it was last sent on; 0: it waits to be sent. */
  sentOn = 0;
  gone = false;

  constructor(taskId: string, outcome: Outcome) {
    this.taskId = taskId;
    this.outcome = outcome;
  }
}

/** What an ack did: `kept` stays for the next stream, `ignored` was about nothing we have. */
export type AckEffect = "settled" | "kept" | "ignored";

const frameResults = 200;
const frameResultBytes = 256 * 1024;
/** With this many, and 10,000 running leases, the inventory of a heartbeat still fits one frame. */
const countCeiling = 16_000;

/**
 * Finished leases the coordinator has not acked yet. None is ever dropped but by an ack, or when
 * its lease is revoked.
 */
export class UnackedResults {
  readonly #entries = new ChurnMap<string, Unacked>();
  /** In order; those before `#next` were sent, those that are gone are passed over. */
  #queue: Unacked[] = [];
  #next = 0;
  #unsent = 0;
  readonly #countLimit: number;
  #bytes = 0;
  #waiting: (() => void)[] = [];

  constructor(slots: number) {
    const wanted = Math.max(limits.unackedResultsPerSlot * slots, limits.unackedResultsMin);
    this.#countLimit = Math.min(countCeiling, wanted);
  }

  add(taskId: string, outcome: Outcome): void {
    const entry = new Unacked(taskId, outcome);
    this.#entries.set(outcome.key, entry);
    this.#queue.push(entry);
    this.#unsent += 1;
    this.#bytes += outcome.bytes;
  }

  /** Undefined when its result is acked, or there is none. */
  taskOf(key: string): string | undefined {
    return this.#entries.get(key)?.taskId;
  }

  has(key: string): boolean {
    return this.#entries.has(key);
  }

  /** `generation`: of the stream the ack came on. */
  ack({ key, status }: Ack, generation: number): AckEffect {
    const entry = this.#entries.get(key);
    if (!entry) return "ignored";
    if (status === ResultStatus.RETRY || status === ResultStatus.UNSPECIFIED) {
      // A late RETRY of an older stream says nothing about what was sent since.
      return entry.sentOn === generation ? "kept" : "ignored";
    }
    this.#remove(key, entry);
    return "settled";
  }

  drop(key: string): void {
    const entry = this.#entries.get(key);
    if (entry) this.#remove(key, entry);
  }

  #remove(key: string, entry: Unacked): void {
    this.#entries.delete(key);
    entry.gone = true;
    if (entry.sentOn === 0) this.#unsent -= 1;
    this.#bytes -= entry.outcome.bytes;
    if (this.#entries.size > 0) return;
    const resolvers = this.#waiting;
    this.#waiting = [];
    for (const resolve of resolvers) resolve();
  }

  tokens(): Uint8Array[] {
    return [...this.#entries.keys()].map(tokenBytes);
  }

  /**
   * The next results for a stream, within the bounds of a frame; from then on they count as sent
   * there.
   */
  take(generation: number): Outcome[] {
    const taken: Outcome[] = [];
    let bytes = 0;
    while (this.#next < this.#queue.length && taken.length < frameResults) {
      const entry = this.#queue[this.#next]!;
      if (!entry.gone) {
        const { outcome } = entry;
        if (taken.length > 0 && bytes + outcome.bytes > frameResultBytes) break;
        entry.sentOn = generation;
        this.#unsent -= 1;
        bytes += outcome.bytes;
        taken.push(outcome);
      }
      this.#next += 1;
    }
    if (this.#unsent === 0) this.#startQueue([]);
    else if (this.#next >= frameResults) {
      this.#queue.splice(0, this.#next);
      this.#next = 0;
    }
    return taken;
  }

  /** A new stream stands: everything is sent again. */
  resendAll(): void {
    this.#startQueue([...this.#entries.values()]);
    for (const entry of this.#queue) entry.sentOn = 0;
  }

  #startQueue(entries: Unacked[]): void {
    this.#queue = entries;
    this.#next = 0;
    this.#unsent = entries.length;
  }

  get unsent(): number {
    return this.#unsent;
  }

  /** None is on its way to a coordinator. */
  get quiet(): boolean {
    return this.#unsent === this.#entries.size;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** The worker must take no more work until acks come in. */
  get full(): boolean {
    return this.#entries.size >= this.#countLimit || this.#bytes >= limits.unackedBytes;
  }

  /** Resolves when nothing is left. */
  empty(): Promise<void> {
    if (this.#entries.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
}
