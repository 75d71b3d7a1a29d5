import type { Lease } from "../broker/broker.js";
import { DroverError } from "../errors.js";
import { limits } from "../limits.js";
import { slotOfId, slotOfLeaseToken } from "../task/ids.js";
import { Batcher, Failed } from "./batcher.js";
import type { Dispatcher } from "./dispatcher.js";
import type { GoAway, Heartbeat, Offer, SessionHello, SessionPort, WorkerFrame } from "./frames.js";
import type { Notes } from "./notes.js";
import type { Parts } from "./parts.js";
import { partitionwise } from "./partitionwise.js";
import { Renewer } from "./renewer.js";
import type { ResultDesk } from "./results.js";
import { SessionOpener } from "./session-opener.js";
import type { Settler } from "./settle.js";
import { type Held, type SessionOwner, WorkerSession } from "./worker-session.js";

/** Leases looked up per heartbeat behind the lossy hints, and from which age on, in ms. */
const verifyLeases = 100;
const verifyAfterMs = 4_000;

const slotOfDelivery = ({ held }: Delivery): number | undefined =>
  slotOfLeaseToken(held.lease.token);

/** A request to stop that went out. */
interface Delivery {
  readonly session: WorkerSession;
  readonly held: Held;
}

const lessThan = (before: Offer, offer: Offer | undefined): boolean =>
  offer !== undefined && offer.slots < before.slots;

/** The worker sessions whose stream is here. */
export class SessionBook implements SessionOwner {
  readonly #parts: Parts;
  readonly #dispatcher: Dispatcher;
  readonly #results: ResultDesk;
  readonly #notes: Notes;
  readonly #settler: Settler;
  readonly #opener: SessionOpener;
  readonly #renewer: Renewer;
  readonly #sessions = new Map<string, WorkerSession>();
  readonly #deliveries: Batcher<Delivery, undefined>;
  #unsubscribe: (() => void) | undefined;
  /**
   * Stopping: closed streams keep their leases, so that workers find them on another coordinator.
   */
  #stopping = false;

  constructor(
    parts: Parts,
    dispatcher: Dispatcher,
    results: ResultDesk,
    notes: Notes,
    settler: Settler,
  ) {
    this.#parts = parts;
    this.#notes = notes;
    this.#dispatcher = dispatcher;
    this.#results = results;
    this.#settler = settler;
    this.#opener = new SessionOpener(parts);
    this.#renewer = new Renewer(parts, this.#opener);
    this.#deliveries = new Batcher({
      run: (sent) =>
        partitionwise(parts.broker, sent, slotOfDelivery, (some) => this.#noteDeliveries(some)),
      maxItems: limits.leaseBatch,
      maxInFlight: 2,
      maxWaiting: limits.slotsMax,
    });
  }

  get coordinatorId(): string {
    return this.#parts.coordinatorId;
  }
  get size(): number {
    return this.#sessions.size;
  }
  get clock(): Parts["clock"] {
    return this.#parts.clock;
  }
  wallNow(): number {
    return this.#parts.clock.now();
  }

  start(): void {
    this.#unsubscribe ??= this.#parts.broker.onHint((hint) => {
      if (hint.kind !== "cancel") return;
      this.requestCancel(hint.sessionId, hint.taskId, hint.graceMs);
    });
    this.#dispatcher.onLostSession = (session) => void this.#reopen(session);
    this.#settler.onTaken = (token, reason) => this.#taken(token, reason);
  }

  stop(): void {
    this.#stopping = true;
    this.#unsubscribe?.();
    for (const session of this.#sessions.values()) {
      session.close(new DroverError("shutting_down", "this coordinator stops"));
    }
  }

  /** Asks sessions to move; those with the longest stream first. */
  goAway(reason: GoAway["reason"], count: number, spreadMs: number): void {
    const staying = [...this.#sessions.values()].filter((session) => !session.draining);
    staying.sort((a, b) => a.connectedAt - b.connectedAt);
    for (const session of staying.slice(0, count)) {
      session.draining = true;
      session.standby.clear();
      const reconnectDelayMs = Math.round(this.#parts.random.next() * spreadMs);
      session.port.send({ goAway: { reason, reconnectDelayMs } });
    }
  }

  async open(namespace: string, hello: SessionHello, port: SessionPort): Promise<WorkerSession> {
    if (this.#stopping) throw new DroverError("shutting_down", "this coordinator stops");
    const session = new WorkerSession(namespace, hello, port, this);
    const opened = await this.#opener.open(
      { ...hello, namespace, info: session.info() },
      session.ended.signal,
    );
    if (session.closed) return session;
    this.#supersede(this.#sessions.get(hello.sessionId));
    session.hold(opened.kept);
    for (const partition of opened.unreached) session.unreached.add(partition);
    this.#sessions.set(hello.sessionId, session);
    for (const lease of opened.lostInTransit) this.handBack(lease);
    for (const lease of opened.kept) this.#parts.recorder.running(lease.task);
    port.send({
      welcome: {
        sessionId: hello.sessionId,
        resumed: opened.resumed,
        leaseMs: limits.sessionLeaseMs,
        heartbeatMs: limits.heartbeatMs,
        revokedTokens: opened.revoked,
        coordinatorId: this.coordinatorId,
      },
    });
    session.sendCancels();
    const { sessionId, generation } = session;
    const { workerId } = hello;
    const { resumed } = opened;
    this.#parts.events.emit("session.opened", { sessionId, workerId, resumed, generation });
    this.#dispatcher.join(session);
    return session;
  }

  #supersede(older: WorkerSession | undefined): void {
    if (!older || older.closed) return;
    older.draining = true;
    this.#dispatcher.leave(older);
    older.port.send({ goAway: { reason: "superseded", reconnectDelayMs: 0 } });
    older.end(new Error("a newer stream of the session is open"));
    older.port.close(
      new DroverError("session_superseded", "a newer stream of this session is open"),
    );
  }

  frame(session: WorkerSession, frame: WorkerFrame): void {
    const bound =
      2 * Math.max(limits.unackedResultsMin, limits.unackedResultsPerSlot * session.offer.slots);
    if (session.leases.settling + frame.results.length > bound) {
      const message = `${session.leases.settling} results of this worker wait for history`;
      session.close(new DroverError("overloaded", message, { retryAfterMs: 1_000 }));
      return;
    }
    this.#notes.take(session, frame);
    if (frame.results.length > 0) this.#results.take(session, frame.results);
    if (frame.progress.length > 0) this.#progress(session, frame);
    if (frame.leaving) session.leaving = true;
    if (frame.leaving || lessThan(session.offer, frame.offer)) session.standby.clear();
    if (frame.offer) {
      session.offer = frame.offer;
      this.#dispatcher.join(session);
    }
    session.sendStandby();
    if (frame.heartbeat) void this.#heartbeat(session, frame.heartbeat);
    if (frame.results.length > 0 && !frame.offer) this.#dispatcher.demandChanged(session);
  }

  demandChanged(session: WorkerSession): void {
    this.#dispatcher.demandChanged(session);
  }

  gone(session: WorkerSession): void {
    this.#dispatcher.leave(session);
    this.#notes.gone(session);
    const { sessionId, generation } = session;
    if (this.#sessions.get(sessionId) === session) this.#sessions.delete(sessionId);
    const reason = session.leaving ? "goodbye" : this.#stopping ? "shutdown" : "broken";
    this.#parts.events.emit("session.closed", { sessionId, generation, reason });
    if (session.leaving) {
      this.#parts.broker.closeSession(sessionId, generation).catch(() => undefined);
    } else if (!this.#stopping) {
      // Also where it was asked to move: if it has, its newer generation is not cut.
      this.#parts.broker
        .cutSession(sessionId, generation, limits.brokenStreamLeaseMs)
        // Its lease runs out by itself.
        .catch(() => undefined);
    }
  }

  handBack(lease: Lease): void {
    const settlement = {
      token: lease.token,
      sessionId: lease.sessionId,
      kind: "release",
      delayMs: 0,
      unsent: true,
    } as const;
    this.#settler.settle([settlement]).catch(() => {
      // Its next heartbeat finds the lease, or its next opening, wherever that is.
      const session = this.#sessions.get(lease.sessionId);
      if (session) session.unsure = true;
    });
  }

  cancelUnsent({ token, sessionId }: Lease): void {
    // If it fails, the sweep finds the lease once the grace is over.
    this.#settler.settle([{ token, sessionId, kind: "cancel" }]).catch(() => undefined);
  }

  /** A running task was asked to stop: pass it on if its worker's stream is here. */
  requestCancel(sessionId: string, taskId: string, graceMs: number): void {
    this.#sessions.get(sessionId)?.requestCancel(taskId, graceMs);
  }

  cancelSent(session: WorkerSession, held: Held): void {
    void this.#deliveries.push({ session, held }).catch(() => undefined);
  }

  /** Fails with the broker; then the next heartbeat sends, and notes, again. */
  async #noteDeliveries(sent: readonly Delivery[]): Promise<undefined[]> {
    const items = sent.map(({ session, held }) => ({
      token: held.lease.token,
      sessionId: session.sessionId,
    }));
    await this.#parts.broker.delivered(items);
    return sent.map(({ held }) => void (held.deliveryNoted = true));
  }

  #taken(token: Uint8Array, reason: string): void {
    for (const session of this.#sessions.values()) session.revoke(token, reason);
  }

  #progress(session: WorkerSession, frame: WorkerFrame): void {
    const items = frame.progress
      .filter(({ token }) => slotOfLeaseToken(token) !== undefined)
      .map(({ token, fraction, message }) => ({
        token,
        sessionId: session.sessionId,
        progress: { fraction, message },
      }));
    // Latest wins, and the next one comes: progress is worth no retry.
    this.#parts.broker.progress(items).catch(() => undefined);
  }

  async #heartbeat(session: WorkerSession, heartbeat: Heartbeat): Promise<void> {
    session.heard(heartbeat.cpu, heartbeat.eventLoopDelayMs);
    const { unknown, lost } = session.compare(heartbeat.heldTokens);
    for (const held of lost) this.handBack(held.lease);
    const verdict = await this.#renewer.renew(session);
    if (session.closed) return;
    if (verdict === "superseded") {
      session.close(
        new DroverError("session_superseded", "a newer stream of this session is open"),
      );
      return;
    }
    const ask = verdict === "gone" || (verdict === "renewed" && session.unsure);
    const reopened = ask && (await this.#reopen(session));
    const renewed = verdict === "renewed" || reopened;
    session.port.send({
      heartbeatAck: { number: heartbeat.number, renewed, unknownTokens: unknown },
    });
    if (lost.length > 0) this.#dispatcher.demandChanged(session);
    if (verdict === "failed") await this.#renewOnceBack(session, heartbeat.number);
    else await this.#verify(session);
  }

  /** The heartbeat was answered with no; it is answered anew once the store has renewed. */
  async #renewOnceBack(session: WorkerSession, number: number): Promise<void> {
    const verdict = await this.#renewer.renewOnceBack(session);
    // Anything else is for the next heartbeat.
    if (verdict !== "renewed" || session.closed) return;
    session.port.send({ heartbeatAck: { number, renewed: true, unknownTokens: [] } });
  }

  /**
   * The store has forgotten the session, or granted what it never got: open it again with what it
   * holds.
   */
  async #reopen(session: WorkerSession): Promise<boolean> {
    if (session.reopening) return session.reopening;
    session.unsure = false;
    session.reopening = this.#renewer
      .reopen(session)
      .then((opened) => {
        for (const partition of opened.unreached) session.unreached.add(partition);
        for (const token of opened.revoked)
          session.revoke(token, "the lease was lost with the store");
        for (const lease of opened.lostInTransit) {
          // Not if its delivery came in between.
          if (!session.holds(lease.token)) this.handBack(lease);
        }
        this.#dispatcher.demandChanged(session);
        return true;
      })
      .catch(() => {
        session.unsure = true;
        return false;
      })
      .finally(() => {
        session.reopening = undefined;
      });
    return session.reopening;
  }

  /**
   * Behind the lossy hints: cancels and lease ends decided elsewhere are found by the next
   * heartbeat.
   */
  async #verify(session: WorkerSession): Promise<void> {
    const now = this.clock.monotonic();
    const old: Held[] = [];
    for (const held of session.leases.values()) {
      if (now - held.since >= verifyAfterMs) old.push(held);
      if (old.length >= verifyLeases) break;
    }
    if (old.length === 0) return;
    const ids = old.map((held) => held.lease.task.id);
    const { broker } = this.#parts;
    const read = partitionwise(broker, ids, slotOfId, (some) => broker.get(some));
    const tasks = await read.catch(() => undefined);
    if (!tasks || session.closed) return;
    old.forEach((held, index) => {
      const task = tasks[index];
      if (!(task instanceof Failed)) this.#verifyOne(session, held, task);
    });
  }

  #verifyOne(session: WorkerSession, held: Held, task: Lease["task"] | undefined): void {
    const { lease } = held;
    const runs = task?.status === "running" && task.fencingToken === lease.task.fencingToken;
    if (!runs) session.revoke(lease.token, "the lease ended without this worker");
    else if (task.cancelRequestedAt !== undefined && !held.cancelRequested) {
      session.requestCancel(task.id, limits.cancelGraceMs);
    }
  }
}
