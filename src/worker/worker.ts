import { create } from "@bufbuild/protobuf";
import {
  type Command,
  type Offer,
  OfferSchema,
  ResultStatus,
} from "../../gen/drover/v1/task_pb.js";
import { limits } from "../limits.js";
import { createHold, type Hold } from "../transport/hold.js";
import type { AnyTasks, TaskMap } from "../transport/task-map.js";
import { durationMs } from "../transport/times.js";
import { type Names, refuseUnknown } from "../transport/unknown-names.js";
import { drain } from "./drain.js";
import {
  createHandlerRegistry,
  type HandleOptions,
  type Handler,
  type HandlerRegistry,
  type Middleware,
} from "./handler.js";
import type { Ack } from "./hot-frames.js";
import { LeaseTable, type RunningLease, tokenKey } from "./lease-table.js";
import { resolveWorkerOptions, type WorkerOptions, type WorkerSettings } from "./options.js";
import { UnkeptNotes } from "./notes.js";
import type { Outcome } from "./outcome.js";
import { type AckEffect, UnackedResults } from "./results.js";
import { Runner } from "./runner.js";
import { Session } from "./session.js";
import { runUntilSignal } from "./signals.js";

export interface StopOptions {
  /**
   * How long running handlers may take to end before they are asked to stop and handed back.
   * Default 25,000.
   */
  graceMs?: number;
}

export interface Worker<Tasks extends TaskMap<Tasks> = AnyTasks> {
  readonly workerId: string;
  /** Unique per worker object, the same on every stream. */
  readonly sessionId: string;
  readonly connected: boolean;
  /** Handlers that run now. */
  readonly running: number;
  /** Results a coordinator has not acked yet. */
  readonly unacked: number;
  /**
   * Gives the handler of a type. May be called while the worker runs. Throws if the type has one
   * already.
   */
  handle<Type extends keyof Tasks & string>(
    type: Type,
    handler: Handler<Tasks[Type]["payload"], Tasks[Type]["result"]>,
    options?: HandleOptions,
  ): this;
  /** Puts a layer around all handlers. */
  use(middleware: Middleware): this;
  /** Dials until a coordinator welcomes the worker; resolves then, or when it is stopped before. */
  start(): Promise<void>;
  /**
   * Takes no more tasks, lets running ones end, hands back the rest uncharged, and leaves.
   * Calling it again hastens it.
   */
  stop(options?: StopOptions): Promise<void>;
  /**
   * Starts, and stops on SIGTERM or SIGINT; a second signal ends the grace at once. Resolves when
   * all is over.
   */
  run(options?: StopOptions): Promise<void>;
}

/** A worker that takes no task before `start` or `run`. Throws a TypeError on malformed options. */
export function createWorker<Tasks extends TaskMap<Tasks> = AnyTasks>(
  options: WorkerOptions = {},
): Worker<Tasks> {
  return new SessionWorker(resolveWorkerOptions(options)) as Worker<Tasks>;
}

class SessionWorker implements Worker {
  readonly #settings: WorkerSettings;
  readonly #registry: HandlerRegistry = createHandlerRegistry();
  readonly #middleware: Middleware[] = [];
  readonly #leases = new LeaseTable();
  readonly #results: UnackedResults;
  readonly #notes: UnkeptNotes;
  readonly #session: Session;
  readonly #runner: Runner;
  readonly #hold: Hold = createHold();
  readonly #hasten = new AbortController();
  #phase: "new" | "running" | "leaving" = "new";
  #offeredSlots = 0;
  /** The session was not renewed in time: what it is leased now, it might never hear of. */
  #lapsed = false;
  #started: Promise<void> | undefined;
  #stopped: Promise<void> | undefined;
  #onStarted: (() => void) | undefined;

  constructor(settings: WorkerSettings) {
    const { clock, logger, labels, concurrency, client } = settings;
    this.#settings = settings;
    this.#results = new UnackedResults(concurrency);
    this.#notes = new UnkeptNotes(clock);
    this.#session = new Session({
      settings,
      results: this.#results,
      notes: this.#notes,
      events: {
        offer: () => this.#offer(),
        heldTokens: () => [...this.#leases.heldTokens(), ...this.#results.tokens()],
        onLease: (grant) => this.#runner.start(grant),
        onAck: (ack, generation) => this.#onAck(ack, generation),
        onCommand: (command) => this.#onCommand(command),
        onUnknown: (tokens) => this.#onUnknown(tokens),
        onRevoked: (tokens) => this.#onRevoked(tokens, "the session was resumed without it"),
        onLapse: () => this.#onLapse(),
        onRenewed: () => this.#onRenewed(),
        onWelcome: () => this.#onStarted?.(),
      },
    });
    this.#runner = new Runner({
      clock,
      logger,
      labels,
      concurrency,
      client,
      registry: this.#registry,
      middleware: this.#middleware,
      leases: this.#leases,
      accepting: () => this.#phase === "running",
      finished: (key) => this.#results.has(key),
      onEnd: (lease, outcome) => this.#onEnd(lease, outcome),
      onRefused: (taskId, outcome) => this.#send(taskId, outcome),
      onProgress: ({ key }, fraction, message) =>
        this.#session.outbox.progress(key, fraction, message),
      onLog: (lease, level, message, fields) => {
        this.#notes.log(lease, level, message, fields);
        this.#session.outbox.noted();
      },
      onCheckpoint: (lease, value) => {
        const kept = this.#notes.checkpoint(lease, value);
        this.#session.outbox.poke();
        return kept;
      },
    });
  }

  get workerId(): string {
    return this.#settings.workerId;
  }

  get sessionId(): string {
    return this.#session.sessionId;
  }

  get connected(): boolean {
    return this.#session.connected;
  }

  get running(): number {
    return this.#leases.held + this.#leases.strays;
  }

  get unacked(): number {
    return this.#results.size;
  }

  handle(type: string, handler: Handler, options: HandleOptions = {}): this {
    refuseUnknown(`handle ${type}`, options, { queue: true } satisfies Names<HandleOptions>);
    const queues = options.queue === undefined ? this.#settings.queues : [options.queue];
    this.#registry.add(type, handler, queues);
    if (this.#phase === "running") this.#session.outbox.offerChanged();
    return this;
  }

  use(middleware: Middleware): this {
    this.#middleware.push(middleware);
    return this;
  }

  async start(): Promise<void> {
    if (this.#stopped) throw new Error("a stopped worker cannot be started: make a new one");
    if (this.#started) return this.#started;
    if (this.#registry.subscriptions().length === 0) {
      throw new Error('the worker has no handlers: call worker.handle("type", handler) first');
    }
    this.#phase = "running";
    this.#hold.take();
    this.#started = new Promise((resolve) => (this.#onStarted = resolve));
    this.#session.open();
    return this.#started;
  }

  async stop({ graceMs = limits.drainMs }: StopOptions = {}): Promise<void> {
    if (this.#stopped) {
      if (graceMs <= 0) this.#hasten.abort();
      else this.#settings.clock.after(graceMs, () => this.#hasten.abort());
      return this.#stopped;
    }
    this.#phase = "leaving";
    this.#stopped = this.#leave(graceMs);
    return this.#stopped;
  }

  run(options?: StopOptions): Promise<void> {
    return runUntilSignal({
      logger: this.#settings.logger,
      start: () => this.start(),
      stop: () => this.stop(options),
      force: () => this.stop({ graceMs: 0 }),
    });
  }

  async #leave(graceMs: number): Promise<void> {
    const { clock, logger } = this.#settings;
    if (graceMs <= 0) this.#hasten.abort();
    await drain({
      clock,
      logger,
      leases: this.#leases,
      results: this.#results,
      session: this.#session,
      send: (taskId, outcome) => this.#send(taskId, outcome),
      graceMs,
      hasten: this.#hasten.signal,
    });
    this.#onStarted?.();
    this.#hold.release();
  }

  #slots(): number {
    if (this.#phase !== "running" || this.#results.full || this.#lapsed) return 0;
    return Math.max(0, this.#settings.concurrency - this.#leases.strays);
  }

  #offer(): Offer {
    this.#offeredSlots = this.#slots();
    return create(OfferSchema, {
      slots: this.#offeredSlots,
      subscriptions: this.#registry
        .subscriptions()
        .map(({ queue, types }) => ({ queue, types: [...types], weight: 1 })),
    });
  }

  /** Offers are absolute: one is said again only when its number of slots is another one. */
  #refreshOffer(): void {
    if (this.#slots() !== this.#offeredSlots) this.#session.outbox.offerChanged();
  }

  #send(taskId: string, outcome: Outcome): void {
    this.#results.add(taskId, outcome);
    this.#session.outbox.poke();
    this.#refreshOffer();
  }

  #onEnd(lease: RunningLease, outcome: Outcome | undefined): void {
    this.#leases.remove(lease);
    this.#session.outbox.forgetProgress(lease.key);
    if (outcome) this.#notes.end(lease);
    else this.#notes.drop(lease.key);
    if (outcome) this.#send(lease.taskId, outcome);
    else this.#refreshOffer();
  }

  #onAck(ack: Ack, generation: number): AckEffect {
    const refused = ack.status !== ResultStatus.ACCEPTED && ack.status !== ResultStatus.DUPLICATE;
    const taskId = refused ? this.#results.taskOf(ack.key) : undefined;
    const effect = this.#results.ack(ack, generation);
    if (effect === "ignored") return effect;
    if (effect === "settled") this.#notes.drop(ack.key);
    if (refused) {
      const status = (ResultStatus[ack.status] ?? "unspecified").toLowerCase();
      const fields = { task_id: taskId, status, reason: ack.message };
      this.#settings.logger.warn(fields, "a result was not recorded");
    }
    this.#refreshOffer();
    return effect;
  }

  #onCommand({ command }: Command): void {
    if (command.case === "cancel") {
      const lease = this.#leases.get(tokenKey(command.value.leaseToken));
      const graceMs = command.value.grace ? durationMs(command.value.grace) : limits.cancelGraceMs;
      const message = `the task was cancelled; its lease ends in ${graceMs} ms`;
      if (lease) this.#leases.abort(lease, "cancelled", message);
    } else if (command.case === "revoke") {
      this.#onRevoked([command.value.leaseToken], command.value.reason || "no reason given");
    }
  }

  #onUnknown(tokens: readonly Uint8Array[]): void {
    for (const token of tokens) this.#lose(token, "unknown", "the session does not own the lease");
  }

  #onRevoked(tokens: readonly Uint8Array[], reason: string): void {
    for (const token of tokens) {
      this.#lose(token, "over", `the lease was revoked: ${reason}`);
      this.#results.drop(tokenKey(token));
      this.#notes.drop(tokenKey(token));
    }
    this.#refreshOffer();
  }

  #lose(token: Uint8Array, standing: "unknown" | "over", message: string): void {
    const lease = this.#leases.get(tokenKey(token));
    if (!lease) return;
    this.#settings.logger.warn({ task_id: lease.taskId, reason: message }, "stopping a handler");
    this.#leases.abort(lease, "lease_lost", message, standing);
    this.#refreshOffer();
  }

  #onRenewed(): void {
    this.#lapsed = false;
    this.#refreshOffer();
  }

  #onLapse(): void {
    this.#lapsed = true;
    this.#refreshOffer();
    if (this.#leases.held === 0) return;
    const { logger } = this.#settings;
    logger.error({ running: this.#leases.held }, "no renewal in time; stopping what runs");
    for (const lease of this.#leases.running()) {
      if (lease.standing !== "held") continue;
      this.#leases.abort(lease, "lease_lost", "the lease was not renewed in time", "lapsed");
    }
    this.#refreshOffer();
  }
}
