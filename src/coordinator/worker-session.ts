import { setMaxListeners } from "node:events";
import type { Lease, SessionInfo } from "../broker/broker.js";
import type { Clock } from "../clock.js";
import type { DroverError } from "../errors.js";
import { limits } from "../limits.js";
import { bytesKey, bytesOfKey } from "../short-text.js";
import type { Offer, Session, SessionHello, SessionPort, WorkerFrame } from "./frames.js";
import { LeaseBook } from "./lease-book.js";
import { Standby } from "./standby.js";

/** A lease as its session's coordinator keeps it. */
export interface Held {
  readonly lease: Lease;
  /** Monotonic ms of the delivery; of the grant while it stands by. */
  since: number;
  /** Heartbeats in a row that did not list it. */
  missed: number;
  cancelRequested: boolean;
  graceMs: number;
  /** The store knows that its worker was told. */
  deliveryNoted: boolean;
  /** Its result is under way. */
  settling: boolean;
}

/** What a session asks of the coordinator around it. */
export interface SessionOwner {
  readonly clock: Pick<Clock, "monotonic" | "after">;
  wallNow(): number;
  coordinatorId: string;
  /** Slots, subscriptions or writability changed. */
  demandChanged(session: WorkerSession): void;
  frame(session: WorkerSession, frame: WorkerFrame): void;
  gone(session: WorkerSession): void;
  /** The worker was told to stop it. */
  cancelSent(session: WorkerSession, held: Held): void;
  /** It was not delivered: hand it back. */
  handBack(lease: Lease): void;
  /** To be cancelled, and not delivered. */
  cancelUnsent(lease: Lease): void;
}

export const tokenKey: (token: Uint8Array) => string = bytesKey;

const heldOf = (lease: Lease, since: number): Held => ({
  lease,
  since,
  missed: 0,
  cancelRequested: lease.task.cancelRequestedAt !== undefined,
  graceMs: limits.cancelGraceMs,
  deliveryNoted: lease.task.cancellation?.deliveredAt !== undefined,
  settling: false,
});

/**
 * One stream of a worker session: its credit, and the leases that are out. Decides nothing by
 * itself.
 */
export class WorkerSession implements Session {
  readonly sessionId: string;
  readonly generation: number;
  readonly namespace: string;
  readonly hello: SessionHello;
  readonly port: SessionPort;
  /** Those that were sent. */
  readonly leases = new LeaseBook();
  readonly standby: Standby;
  /** Ends with the stream: what waits on this session's behalf stops. */
  readonly ended = new AbortController();
  readonly connectedAt: number;
  offer: Offer;
  /** Slots promised to lease calls under way. */
  reserved = 0;
  leaving = false;
  /** Asked to move: takes nothing new. */
  draining = false;
  reopening: Promise<boolean> | undefined;
  /**
   * A call of the store for it went unanswered: it may hold leases there that were never delivered.
   */
  unsure = false;
  /** Partitions whose store did not answer when it was to be opened or renewed there. */
  readonly unreached = new Set<number>();
  /** Monotonic ms of the last time that it was renewed wherever it holds leases. */
  renewedAt: number;
  lastHeartbeatAt: number;
  /** As `ended` says; asking a signal is dear, and every lease call asks each session. */
  #closed = false;
  #cpu = 0;
  #eventLoopDelayMs = 0;
  readonly #owner: SessionOwner;

  constructor(namespace: string, hello: SessionHello, port: SessionPort, owner: SessionOwner) {
    this.namespace = namespace;
    this.hello = hello;
    this.sessionId = hello.sessionId;
    this.generation = hello.generation;
    this.offer = hello.offer;
    this.port = port;
    this.#owner = owner;
    // Each result that a store which is away holds up waits for it.
    setMaxListeners(0, this.ended.signal);
    this.connectedAt = owner.wallNow();
    this.standby = new Standby(owner.clock, ({ lease }) => owner.handBack(lease));
    this.renewedAt = owner.clock.monotonic();
    this.lastHeartbeatAt = this.connectedAt;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** What waits on its behalf stops, for that reason. */
  end(reason: Error): void {
    this.#closed = true;
    this.ended.abort(reason);
  }

  get #takesLeases(): boolean {
    return !this.closed && !this.leaving && !this.draining && this.port.writable;
  }

  /** How many leases it may be sent now. Never more than the offer leaves free. */
  get free(): number {
    return this.#takesLeases ? Math.max(0, this.#left) : 0;
  }

  /**
   * How many leases it may be given now: those that it may be sent, and those that may stand by.
   */
  get room(): number {
    if (!this.#takesLeases) return 0;
    const { slots } = this.offer;
    const most = this.standby.most(slots, this.#maxBytes);
    // Those that follow its next results are there: rather few calls for many leases each.
    if (this.standby.size >= Math.max(slots, most / 2)) return 0;
    return Math.max(0, this.#left + most);
  }

  /** Payload and record bytes that it may be given now. */
  get roomBytes(): number {
    return this.#maxBytes - this.standby.bytes;
  }

  get #left(): number {
    return this.offer.slots - this.leases.size - this.standby.size - this.reserved;
  }

  get #maxBytes(): number {
    return this.offer.maxBytes || limits.leaseBatchBytes;
  }

  receive(frame: WorkerFrame): void {
    if (this.closed) return;
    this.#owner.frame(this, frame);
  }

  onWritable(): void {
    this.sendStandby();
    this.#owner.demandChanged(this);
  }

  disconnected(): void {
    if (this.closed) return;
    this.end(new Error("the worker's stream has ended"));
    this.#owner.gone(this);
  }

  close(error?: DroverError): void {
    this.port.close(error);
    this.disconnected();
  }

  /** `atOnce`: company is not to be expected. */
  deliver(leases: readonly Lease[], atOnce = false): void {
    if (this.closed) {
      for (const lease of leases) this.#owner.handBack(lease);
      return;
    }
    if (this.standby.size === 0 && leases.length <= this.offer.slots - this.leases.size) {
      this.hold(leases);
      this.port.send({ leases }, atOnce);
      return;
    }
    const since = this.#owner.clock.monotonic();
    for (const lease of leases) this.standby.add(tokenKey(lease.token), heldOf(lease, since));
    this.sendStandby();
    if (this.draining || this.leaving) this.standby.clear();
  }

  hold(leases: readonly Lease[]): void {
    const since = this.#owner.clock.monotonic();
    for (const lease of leases) this.leases.set(tokenKey(lease.token), heldOf(lease, since));
  }

  /** What stands by leaves at once, as far as there are free slots. */
  sendStandby(): void {
    const count = Math.min(this.standby.size, this.offer.slots - this.leases.size);
    if (count <= 0 || this.closed || !this.port.writable) return;
    const since = this.#owner.clock.monotonic();
    const leases: Lease[] = [];
    this.standby.take(count, (held, key) => {
      held.since = since;
      this.leases.set(key, held);
      leases.push(held.lease);
    });
    this.port.send({ leases }, true);
  }

  /** Takes a lease off the books; undefined if it is not out. */
  take(token: Uint8Array): Held | undefined {
    return this.leases.take(tokenKey(token));
  }

  /** Tells the worker that a lease ended without it. */
  revoke(token: Uint8Array, reason: string): void {
    if (this.standby.drop(tokenKey(token)) || !this.take(token) || this.closed) return;
    this.port.send({ commands: [{ kind: "revoke", token, reason }] });
    this.#owner.demandChanged(this);
  }

  requestCancel(taskId: string, graceMs: number): void {
    const unsent = this.standby.dropTask(taskId);
    if (unsent) this.#owner.cancelUnsent(unsent.lease);
    for (const held of this.leases.values()) {
      if (held.lease.task.id !== taskId) continue;
      held.cancelRequested = true;
      held.graceMs = graceMs;
      this.#sendCancel(held);
    }
  }

  #sendCancel(held: Held): void {
    if (this.closed) return;
    const { token } = held.lease;
    this.port.send({ commands: [{ kind: "cancel", token, graceMs: held.graceMs }] });
    if (!held.deliveryNoted) this.#owner.cancelSent(this, held);
  }

  /** On a new stream: what was asked while there was none. */
  sendCancels(): void {
    for (const held of this.leases.values()) if (held.cancelRequested) this.#sendCancel(held);
  }

  /** It is out, or stands by. */
  holds(token: Uint8Array): boolean {
    const key = tokenKey(token);
    return this.leases.get(key) !== undefined || this.standby.has(key);
  }

  /** Tokens of every lease that is out or stands by, or whose result is under way. */
  inventory(): Uint8Array[] {
    const held = [...this.leases.values(), ...this.standby.held()];
    return [...held.map(({ lease }) => lease.token), ...this.leases.settlingKeys().map(bytesOfKey)];
  }

  /**
   * Compares the worker's whole inventory with the leases that are out. A lease not listed twice
   * running was lost on the way and goes back; a token the session does not own is unknown.
   */
  compare(listed: readonly Uint8Array[]): { unknown: Uint8Array[]; lost: Held[] } {
    const keys = new Set<string>();
    const unknown: Uint8Array[] = [];
    for (const token of listed) {
      const key = tokenKey(token);
      keys.add(key);
      if (!this.leases.get(key) && !this.leases.isSettling(key)) unknown.push(token);
    }
    const lost: Held[] = [];
    for (const [key, held] of this.leases) {
      held.missed = keys.has(key) ? 0 : held.missed + 1;
      if (held.missed >= 2) lost.push(held);
      else if (held.cancelRequested) this.#sendCancel(held);
    }
    for (const held of lost) this.take(held.lease.token);
    return { unknown, lost };
  }

  heard(cpu: number, eventLoopDelayMs: number): void {
    this.#cpu = cpu;
    this.#eventLoopDelayMs = eventLoopDelayMs;
    this.lastHeartbeatAt = this.#owner.wallNow();
  }

  info(): SessionInfo {
    return {
      sessionId: this.sessionId,
      namespace: this.namespace,
      workerId: this.hello.workerId,
      coordinatorId: this.#owner.coordinatorId,
      host: this.hello.host,
      sdk: this.hello.sdk,
      subscriptions: this.offer.subscriptions,
      labels: this.hello.labels,
      slots: this.offer.slots,
      running: this.leases.size,
      draining: this.draining || this.leaving,
      connectedAt: this.connectedAt,
      lastHeartbeatAt: this.lastHeartbeatAt,
      eventLoopDelayMs: this.#eventLoopDelayMs,
      cpu: this.#cpu,
    };
  }
}
