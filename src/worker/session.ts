import { hostname } from "node:os";
import { create } from "@bufbuild/protobuf";
import {
  type Command,
  type GoAway,
  GoAwayReason,
  HelloSchema,
  type Offer,
  type Welcome,
  type WorkRequest,
  WorkRequestSchema,
} from "../../gen/drover/v1/task_pb.js";
import type { Timer } from "../clock.js";
import { Code } from "../errors.js";
import { limits } from "../limits.js";
import { type Channel, openChannel } from "../transport/channel.js";
import { freshSessionId } from "../transport/ids.js";
import { type Refusal, refusalText } from "../transport/status.js";
import { durationMs } from "../transport/times.js";
import { Dialer } from "./dialer.js";
import { HeartbeatKeeper } from "./heartbeat.js";
import { servesWorkers } from "./health-probe.js";
import type { WorkerSettings } from "./options.js";
import type { UnkeptNotes } from "./notes.js";
import { Outbox } from "./outbox.js";
import type { AckEffect, UnackedResults } from "./results.js";
import type { Grant } from "./grant.js";
import type { Ack, WorkAnswer } from "./hot-frames.js";
import { openWorkStream, type WorkStream } from "./stream.js";
import { watchVitals } from "./vitals.js";

export interface SessionEvents {
  offer(): Offer;
  /** Of running leases and of results not yet acked. */
  heldTokens(): Uint8Array[];
  onLease(grant: Grant): void;
  /** `generation`: of the stream it came on. */
  onAck(ack: Ack, generation: number): AckEffect;
  onCommand(command: Command): void;
  /** Held by us, not by the session: their handlers are to stop, their results stay. */
  onUnknown(tokens: readonly Uint8Array[]): void;
  /** Gone for good: handlers are to stop, results are dropped. */
  onRevoked(tokens: readonly Uint8Array[]): void;
  /** No renewal in time: nothing that runs is surely ours any more. */
  onLapse(): void;
  /** After a lapse: the session is renewed. */
  onRenewed(): void;
  /** A new stream stands. */
  onWelcome(): void;
}

export interface SessionOptions {
  settings: WorkerSettings;
  results: UnackedResults;
  notes: UnkeptNotes;
  events: SessionEvents;
}

/** Says who we are to people who look at ListWorkers. */
const sdk = "drover-node/0.1.0";
/** A coordinator may wait for a store that is being rebuilt; a dead one is noticed by its pings. */
const welcomeMs = 12_000;
/** A replaced stream may still bring acks for this long. */
const lingerMs = 5_000;
/** After a RETRY a new stream is opened within this, so that the result gets its second chance. */
const retryMoveMs = 2_000;

/** One session of a worker, over as many streams as it takes. */
export class Session {
  readonly sessionId: string;
  readonly outbox: Outbox;
  readonly #settings: WorkerSettings;
  readonly #results: UnackedResults;
  readonly #notes: UnkeptNotes;
  readonly #events: SessionEvents;
  readonly #heartbeats: HeartbeatKeeper;
  readonly #dialer: Dialer;
  readonly #stopping = new AbortController();
  /**
   * Every stream that is not closed yet, at most one of them current; the retired ones with the
   * end of their patience.
   */
  readonly #streams = new Map<WorkStream, Timer | undefined>();
  /** Highest generation whose hello was sent: leases on older streams are not ours to take. */
  #generation = 0;
  #current: WorkStream | undefined;
  #currentSince = 0;
  #onEnded: (() => void) | undefined;

  constructor({ settings, results, notes, events }: SessionOptions) {
    const { clock, random, addresses } = settings;
    this.#settings = settings;
    this.#results = results;
    this.#notes = notes;
    this.#events = events;
    this.sessionId = freshSessionId(random);
    const stream = (): WorkStream | undefined => this.#current;
    this.outbox = new Outbox({ clock, results, notes, stream, offer: () => events.offer() });
    this.#dialer = new Dialer({
      clock,
      random,
      addresses,
      dial: (address, ifServed) => this.#dial(address, ifServed),
      onFailure: (address, error, failures) =>
        this.#report(error, { address, failures }, "could not open a stream"),
    });
    this.#heartbeats = new HeartbeatKeeper({
      clock,
      random,
      vitals: watchVitals(clock),
      events: {
        send: (heartbeat) => this.outbox.heartbeat(heartbeat),
        inventory: () => events.heldTokens(),
        onSilence: (reason) => this.#silent(reason),
        onRefused: () => this.#refused(),
        onLapse: () => events.onLapse(),
        onRenewed: () => events.onRenewed(),
      },
    });
  }

  get connected(): boolean {
    return this.#current !== undefined;
  }

  open(): void {
    this.#dialer.plan(0);
  }

  /** Half-closes and waits for the end; never longer than `ms`. Nothing is dialed after. */
  async close(ms: number): Promise<void> {
    this.#dialer.stop();
    this.#stopping.abort(new Error("the worker stops"));
    this.#heartbeats.stop();
    if (this.#current) {
      const ended = new Promise<void>((resolve) => (this.#onEnded = resolve));
      const timer = this.#settings.clock.after(ms, () => this.#onEnded?.());
      this.#current.end();
      await ended;
      timer.cancel();
    }
    this.outbox.stop();
    for (const stream of this.#streams.keys()) stream.cancel();
  }

  /** The connection stands before the hello is sent: until then the present stream stays in use. */
  async #dial(address: string, ifServed: boolean): Promise<boolean> {
    const channel = openChannel(address, this.#settings);
    try {
      if (!(await this.#canGreet(channel, ifServed))) {
        channel.close();
        return false;
      }
    } catch (error) {
      channel.close();
      throw error;
    }
    const before = this.#current;
    const stream = await this.#hello(channel);
    if (before) this.#retire(before);
    // Several parts of one tick may have come: welcomed, and lost again.
    if (stream.closed) throw new Error("the stream broke as soon as it stood");
    return true;
  }

  /** False instead of an error where a stream would only have been better than the present one. */
  async #canGreet(channel: Channel, ifServed: boolean): Promise<boolean> {
    const { signal } = this.#stopping;
    try {
      await channel.connect(signal);
      signal.throwIfAborted();
      return !ifServed || (await servesWorkers(channel, this.#settings.clock, signal));
    } catch (error) {
      if (!ifServed) throw error;
      return false;
    }
  }

  #hello(channel: Channel): Promise<WorkStream> {
    const { clock } = this.#settings;
    const sentAt = clock.monotonic();
    return new Promise((resolve, reject) => {
      const late = clock.after(welcomeMs, () => {
        reject(new Error(`no welcome within ${welcomeMs} ms`));
        stream.cancel();
      });
      const stream: WorkStream = openWorkStream(channel, ++this.#generation, {
        onFrame: (frame) => {
          if (frame.rest?.welcome && this.#current !== stream) {
            late.cancel();
            this.#welcome(stream, frame.rest.welcome, sentAt);
            resolve(stream);
          }
          this.#receive(stream, frame);
        },
        onWritable: () => this.outbox.poke(),
        onClose: (refusal) => {
          late.cancel();
          reject(refusal ?? new Error("the stream ended before its welcome"));
          this.#closed(stream, refusal);
        },
      });
      this.#streams.set(stream, undefined);
      stream.write({ outcomes: [], rest: this.#helloFrame() });
    });
  }

  #helloFrame(): WorkRequest {
    const { workerId, labels } = this.#settings;
    const hello = create(HelloSchema, {
      workerId,
      sessionId: this.sessionId,
      generation: BigInt(this.#generation),
      heldLeaseTokens: this.#events.heldTokens(),
      offer: this.#events.offer(),
      labels: { ...labels },
      sdk,
      host: hostname(),
    });
    return create(WorkRequestSchema, { hello });
  }

  #welcome(stream: WorkStream, answer: Welcome, helloSentAt: number): void {
    const { clock, logger } = this.#settings;
    this.#current = stream;
    this.#currentSince = clock.monotonic();
    this.#events.onRevoked(answer.revokedLeaseTokens);
    // Before the renewal, which may have a new offer to make.
    this.outbox.begin();
    this.#heartbeats.begin(
      helloSentAt,
      answer.heartbeatInterval ? durationMs(answer.heartbeatInterval) : 0,
      answer.leaseDuration ? durationMs(answer.leaseDuration) : 0,
    );
    this.#results.resendAll();
    this.#notes.resendAll();
    const { coordinatorId: coordinator, resumed } = answer;
    logger.info({ address: stream.address, coordinator, resumed }, "connected");
    this.#events.onWelcome();
  }

  #receive(stream: WorkStream, { leases, acks, rest }: WorkAnswer): void {
    const events = this.#events;
    if (stream === this.#current) this.#heartbeats.onFrame();
    if (stream.generation === this.#generation) {
      for (const grant of leases) events.onLease(grant);
    }
    let kept = 0;
    for (const ack of acks) {
      if (events.onAck(ack, stream.generation) === "kept") kept += 1;
    }
    if (kept > 0) this.#dialer.plan(retryMoveMs * (0.5 + this.#settings.random.next() / 2));
    if (rest) this.#heed(stream, rest);
  }

  #heed(stream: WorkStream, rest: NonNullable<WorkAnswer["rest"]>): void {
    const events = this.#events;
    for (const command of rest.commands) events.onCommand(command);
    for (const kept of rest.kept) this.#notes.kept(kept);
    if (stream !== this.#current) return;
    if (rest.heartbeatAck) {
      this.#heartbeats.onAck(rest.heartbeatAck);
      events.onUnknown(rest.heartbeatAck.unknownLeaseTokens);
    }
    if (rest.goAway) this.#move(rest.goAway);
  }

  #move(goAway: GoAway): void {
    const delayMs = goAway.reconnectDelay ? durationMs(goAway.reconnectDelay) : 0;
    const reason = (GoAwayReason[goAway.reason] ?? "unspecified").toLowerCase();
    this.#settings.logger.info({ address: this.#current?.address, reason }, "asked to move");
    this.#dialer.plan(Math.min(delayMs, limits.redialMaxMs));
  }

  #silent(reason: string): void {
    const { logger } = this.#settings;
    logger.warn({ address: this.#current?.address, reason }, "no answer; dialing again");
    this.#dialer.planSoon();
  }

  /**
   * Its coordinator has lost the broker, and another may have it. Only one that says so is worth a
   * hello: after that, leases on the present stream are not ours to take.
   */
  #refused(): void {
    const { logger } = this.#settings;
    logger.warn({ address: this.#current?.address }, "the session was not renewed");
    void this.#dialer.seek();
  }

  /** Its acks may still come for a while; a deaf peer would keep it open for ever. */
  #retire(stream: WorkStream): void {
    if (stream.closed) return;
    stream.end();
    this.#streams.set(
      stream,
      this.#settings.clock.after(lingerMs, () => stream.cancel()),
    );
  }

  #closed(stream: WorkStream, refusal: Refusal | undefined): void {
    this.#streams.get(stream)?.cancel();
    this.#streams.delete(stream);
    if (stream !== this.#current) return;
    this.#current = undefined;
    this.#heartbeats.pause();
    if (this.#stopping.signal.aborted) return this.#onEnded?.();
    // A newer hello is under way, which this stream had to make room for.
    if (stream.generation < this.#generation) return;
    const { address } = stream;
    this.#report(refusal ?? "it ended", { address }, "lost the stream; dialing again");
    this.#dialer.streamLost(this.#settings.clock.monotonic() - this.#currentSince);
  }

  #report(error: unknown, fields: object, message: string): void {
    const text = refusalText(error);
    const level = permanent.has((error as Partial<Refusal>).code ?? -1) ? "error" : "warn";
    this.#settings.logger[level]({ ...fields, error: text }, message);
  }
}

/** No other address will help: somebody has to mend the worker's settings. */
const permanent = new Set<number>([
  Code.unauthenticated,
  Code.permissionDenied,
  Code.invalidArgument,
  Code.unimplemented,
]);
