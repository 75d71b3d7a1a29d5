import { ResultStatus, type ResultAck, type TaskResult } from "../../gen/drover/v1/task_pb.js";
import { limits } from "../limits.js";
import { tokenKey } from "./lease-table.js";

interface Unacked {
  readonly token: Uint8Array;
  readonly taskId: string;
  readonly result: TaskResult;
  readonly bytes: number;
  /** Generation of the stream it was last sent on; 0: it waits to be sent. */
  sentOn: number;
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
  readonly #entries = new Map<string, Unacked>();
  readonly #unsent = new Set<Unacked>();
  readonly #countLimit: number;
  #bytes = 0;
  #waiting: (() => void)[] = [];

  constructor(slots: number) {
    const wanted = Math.max(limits.unackedResultsPerSlot * slots, limits.unackedResultsMin);
    this.#countLimit = Math.min(countCeiling, wanted);
  }

  add(taskId: string, result: TaskResult, bytes: number, key = tokenKey(result.leaseToken)): void {
    const entry = { token: result.leaseToken, taskId, result, bytes, sentOn: 0 };
    this.#entries.set(key, entry);
    this.#unsent.add(entry);
    this.#bytes += bytes;
  }

  /** Undefined when its result is acked, or there is none. */
  taskOf(token: Uint8Array): string | undefined {
    return this.#entries.get(tokenKey(token))?.taskId;
  }

  has(key: string): boolean {
    return this.#entries.has(key);
  }

  /** `generation`: of the stream the ack came on. */
  ack(ack: ResultAck, generation: number): AckEffect {
    const key = tokenKey(ack.leaseToken);
    const entry = this.#entries.get(key);
    if (!entry) return "ignored";
    if (ack.status === ResultStatus.RETRY || ack.status === ResultStatus.UNSPECIFIED) {
      // A late RETRY of an older stream says nothing about what was sent since.
      return entry.sentOn === generation ? "kept" : "ignored";
    }
    this.#remove(key);
    return "settled";
  }

  drop(token: Uint8Array): void {
    this.#remove(tokenKey(token));
  }

  #remove(key: string): void {
    const entry = this.#entries.get(key);
    if (!entry) return;
    this.#entries.delete(key);
    this.#unsent.delete(entry);
    this.#bytes -= entry.bytes;
    if (this.#entries.size > 0) return;
    const resolvers = this.#waiting;
    this.#waiting = [];
    for (const resolve of resolvers) resolve();
  }

  tokens(): Uint8Array[] {
    return [...this.#entries.values()].map((entry) => entry.token);
  }

  /**
   * The next results for a stream, within the bounds of a frame; from then on they count as sent
   * there.
   */
  take(generation: number): TaskResult[] {
    const taken: TaskResult[] = [];
    let bytes = 0;
    for (const entry of this.#unsent) {
      if (taken.length >= frameResults) break;
      if (taken.length > 0 && bytes + entry.bytes > frameResultBytes) break;
      this.#unsent.delete(entry);
      entry.sentOn = generation;
      bytes += entry.bytes;
      taken.push(entry.result);
    }
    return taken;
  }

  /** A new stream stands: everything is sent again. */
  resendAll(): void {
    this.#unsent.clear();
    for (const entry of this.#entries.values()) {
      entry.sentOn = 0;
      this.#unsent.add(entry);
    }
  }

  get unsent(): number {
    return this.#unsent.size;
  }

  /** None is on its way to a coordinator. */
  get quiet(): boolean {
    return this.#unsent.size === this.#entries.size;
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
