import type { Clock } from "../clock.js";
import { fromWireCallback } from "../transport/batch.js";
import { decodeContent } from "../transport/content.js";
import { parseTraceparent } from "../traceparent.js";
import type { Client } from "../client/index.js";
import { durationMs, timestampDate } from "../transport/times.js";
import { Deadlines } from "./deadlines.js";
import { submitFrom } from "./follow-up.js";
import {
  composeHandler,
  type Handler,
  type HandlerContext,
  type HandlerRegistry,
  type Middleware,
} from "./handler.js";
import { type LeaseTable, type RunningLease, tokenKey } from "./lease-table.js";
import { type Logger, withFields } from "./logger.js";
import type { LogLevelName } from "./notes.js";
import { failed, messageOf, type Outcome, released, succeeded, thrown } from "./outcome.js";
import { type ProcessSpan, startProcessSpan } from "./process-span.js";
import type { WireLease } from "./stream.js";

export interface RunnerOptions {
  clock: Clock;
  logger: Logger;
  registry: HandlerRegistry;
  middleware: readonly Middleware[];
  leases: LeaseTable;
  labels: Readonly<Record<string, string>>;
  /** Most handlers at once. */
  concurrency: number;
  /** For what handlers submit. */
  client: Pick<Client, "submit"> | undefined;
  /** False once the worker leaves: it starts nothing more. */
  accepting(): boolean;
  /** Whether this lease ended here before, and its result is on its way. */
  finished(key: string): boolean;
  /** Undefined: the lease ended and nobody waits for its result. */
  onEnd(lease: RunningLease, outcome: Outcome | undefined): void;
  /** A lease that is not run at all is handed back. */
  readonly onRefused: (taskId: string, outcome: Outcome) => void;
  readonly onProgress: (lease: RunningLease, fraction: number, message: string) => void;
  readonly onLog: (
    lease: RunningLease,
    level: LogLevelName,
    message: string,
    fields: object | undefined,
  ) => void;
  readonly onCheckpoint: (lease: RunningLease, value: unknown) => Promise<void>;
}

/** A type we do not handle waits this long before somebody else may get it. */
const strangeTypeDelayMs = 1_000;
const progressMessageLength = 1_024;
const defaultQueue = "default";

/** Runs handlers for leases. */
export class Runner {
  readonly #options: RunnerOptions;

  readonly #deadlines: Deadlines<RunningLease>;

  constructor(options: RunnerOptions) {
    this.#options = options;
    this.#deadlines = new Deadlines(options.clock);
  }

  start(wire: WireLease): void {
    const { leases, logger, registry, concurrency, onRefused } = this.#options;
    const { leaseToken, task } = wire;
    const key = tokenKey(leaseToken);
    if (!task || this.#options.finished(key) || leases.has(key)) return;
    // Copied where it is kept: the token would keep its whole frame in memory.
    const token = new Uint8Array(leaseToken);
    if (!this.#options.accepting()) return onRefused(task.id, released(token));
    if (leases.held >= concurrency) {
      logger.warn({ task_id: task.id }, "got more leases than offered; handing one back");
      return onRefused(task.id, released(token));
    }
    const queue = task.queue || defaultQueue;
    const handler = registry.find(queue, task.type);
    if (!handler) {
      logger.warn({ task_id: task.id, type: task.type, queue }, "no such handler; handing back");
      return onRefused(task.id, released(token, strangeTypeDelayMs));
    }
    const lease = leases.add(token, task.id, key);
    if (lease) this.#run(lease, wire, handler);
  }

  /** No promise for a handler that makes none: its result is there at once. */
  #run(lease: RunningLease, wire: WireLease, handler: Handler): void {
    const timeoutMs = wire.timeout ? durationMs(wire.timeout) : 0;
    if (timeoutMs > 0) this.#limit(lease, wire, timeoutMs);
    let payload: unknown;
    try {
      payload = decodeContent(wire.task!.payload, wire.task!.payloadBlob);
    } catch (error) {
      return this.#end(lease, undecodable(lease, error));
    }
    const context = this.#contextOf(lease, wire, timeoutMs);
    const tracing = startProcessSpan(wire.task!);
    if (tracing) {
      const handle = () => composeHandler(this.#options.middleware, handler, payload, context);
      return void traced(lease, tracing, handle).then((outcome) => this.#end(lease, outcome));
    }
    try {
      const returned = this.#call(handler, payload, context);
      if (!isPromise(returned)) return this.#end(lease, succeeded(lease.token, returned));
      returned.then(
        (value) => this.#end(lease, succeeded(lease.token, value)),
        (error: unknown) => this.#end(lease, thrown(lease, error)),
      );
    } catch (error) {
      this.#end(lease, thrown(lease, error));
    }
  }

  #call(handler: Handler, payload: unknown, context: HandlerContext): unknown {
    const { middleware } = this.#options;
    if (middleware.length === 0) return handler(payload, context);
    return composeHandler(middleware, handler, payload, context);
  }

  #limit(lease: RunningLease, wire: WireLease, timeoutMs: number): void {
    this.#deadlines.add(lease, timeoutMs, () => {
      const cut = isCut(wire, timeoutMs);
      const message = cut
        ? "the task's deadline is over"
        : `the attempt ran for its ${timeoutMs} ms`;
      this.#options.leases.abort(lease, cut ? "deadline" : "timeout", message);
    });
  }

  #end(lease: RunningLease, outcome: Outcome | undefined): void {
    this.#deadlines.delete(lease);
    this.#options.onEnd(lease, lease.standing === "over" ? undefined : outcome);
  }

  /** One that cannot be read is none: the attempt begins anew, and says so. */
  #checkpointOf({ task }: WireLease): unknown {
    try {
      return decodeContent(task!.checkpoint, task!.checkpointBlob);
    } catch (error) {
      const fields = { task_id: task!.id, error: messageOf(error) };
      this.#options.logger.warn(fields, "the checkpoint cannot be decoded");
      return undefined;
    }
  }

  #contextOf(lease: RunningLease, wire: WireLease, timeoutMs: number): HandlerContext {
    const { clock, logger, labels, onProgress, onLog, onCheckpoint } = this.#options;
    const { id: taskId, type, queue, attempt, retryCount, tags, traceContext } = wire.task!;
    const { batchId, batchCallback } = wire.task!;
    let bound: Logger | undefined;
    const deadline = timeoutMs > 0 ? clock.monotonic() + timeoutMs : Infinity;
    return {
      taskId,
      type,
      queue: queue || defaultQueue,
      attempt,
      retryCount,
      fencingToken: Number(wire.fencingToken),
      deadline,
      taskDeadline: deadlineOf(wire),
      submit: submitFrom(this.#options.client, deadlineOf(wire)),
      remainingMs: () => Math.max(0, deadline - clock.monotonic()),
      // Made for those who ask for it.
      get signal() {
        return lease.signal;
      },
      progress(fraction, message = "") {
        if (lease.standing !== "held" || Number.isNaN(fraction)) return;
        const share = Math.min(1, Math.max(0, fraction));
        onProgress(lease, share, message.slice(0, progressMessageLength));
      },
      log(level, message, fields) {
        if (lease.standing === "held") onLog(lease, level, message, fields);
      },
      checkpoint: (value) => {
        const kept = onCheckpoint(lease, value);
        // Who does not wait for it hears of a lost lease by the signal.
        kept.catch(() => undefined);
        return kept;
      },
      lastCheckpoint: this.#checkpointOf(wire),
      get logger() {
        return (bound ??= loggerOf(wire, logger));
      },
      tags,
      batchId: batchId || undefined,
      batchCallback: fromWireCallback(batchCallback),
      traceContext,
      labels,
    };
  }
}

function loggerOf({ task }: WireLease, logger: Logger): Logger {
  const { id, type, attempt, traceContext } = task!;
  const trace = parseTraceparent(traceContext);
  const fields = { task_id: id, type, attempt, ...(trace && { trace_id: trace.traceId }) };
  return withFields(logger, fields);
}

/** A later run goes on whatever its deadline was. */
const deadlineOf = ({ task }: WireLease): Date | undefined =>
  task?.run === 1 && task.deadline ? timestampDate(task.deadline) : undefined;

/** The deadline comes before the attempt's own timeout. */
const isCut = (wire: WireLease, timeoutMs: number): boolean =>
  deadlineOf(wire) !== undefined && timeoutMs < durationMs(wire.task!.timeout!);

const isPromise = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === "object" &&
  value !== null &&
  "then" in value &&
  typeof value.then === "function";

function undecodable({ token }: RunningLease, error: unknown): Outcome {
  const message = `the payload cannot be decoded: ${messageOf(error)}`;
  return failed(token, { code: "payload_undecodable", message, retryable: false });
}

async function traced(
  lease: RunningLease,
  tracing: Promise<ProcessSpan>,
  handle: () => Promise<unknown>,
): Promise<Outcome | undefined> {
  const span = await tracing;
  let outcome: Outcome | undefined;
  try {
    outcome = succeeded(lease.token, await span.run(handle));
  } catch (error) {
    outcome = thrown(lease, error);
  }
  span.end(outcome);
  return outcome;
}
