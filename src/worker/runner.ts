import { durationMs } from "../transport/times.js";
import { type ContextTools, deadlineOf, defaultQueue, TaskContext } from "./context.js";
import { Deadlines } from "./deadlines.js";
import type { Grant } from "./grant.js";
import {
  composeHandler,
  type Handler,
  type HandlerContext,
  type HandlerRegistry,
  type Middleware,
} from "./handler.js";
import type { LeaseTable, RunningLease } from "./lease-table.js";
import { failed, messageOf, type Outcome, released, succeeded, thrown } from "./outcome.js";
import { type ProcessSpan, startProcessSpan } from "./process-span.js";

export interface RunnerOptions extends ContextTools {
  registry: HandlerRegistry;
  middleware: readonly Middleware[];
  leases: LeaseTable;
  /** Most handlers at once. */
  concurrency: number;
  /** False once the worker leaves: it starts nothing more. */
  accepting(): boolean;
  /** Whether this lease ended here before, and its result is on its way. */
  finished(key: string): boolean;
  /** Undefined: the lease ended and nobody waits for its result. */
  onEnd(lease: RunningLease, outcome: Outcome | undefined): void;
  /** A lease that is not run at all is handed back. */
  readonly onRefused: (taskId: string, outcome: Outcome) => void;
}

/** A type we do not handle waits this long before somebody else may get it. */
const strangeTypeDelayMs = 1_000;

/** Runs handlers for leases. */
export class Runner {
  readonly #options: RunnerOptions;
  readonly #deadlines: Deadlines<RunningLease>;
  /** Grants whose attempt ends with the deadline of the task. */
  readonly #cut = new WeakSet<RunningLease>();

  constructor(options: RunnerOptions) {
    this.#options = options;
    const { clock, leases } = options;
    const onDue = (lease: RunningLease): void => this.#overdue(lease);
    this.#deadlines = new Deadlines({ clock, running: () => leases.running(), onDue });
  }

  start(grant: Grant): void {
    const { leases, logger, registry, concurrency, onRefused, clock } = this.#options;
    const { key, taskId, type, timeoutMs } = grant;
    if (this.#options.finished(key) || leases.has(key)) return;
    if (!this.#options.accepting()) return onRefused(taskId, released(key));
    if (leases.held >= concurrency) {
      logger.warn({ task_id: taskId }, "got more leases than offered; handing one back");
      return onRefused(taskId, released(key));
    }
    const queue = grant.queue || defaultQueue;
    const handler = registry.find(queue, type);
    if (!handler) {
      logger.warn({ task_id: taskId, type, queue }, "no such handler; handing back");
      return onRefused(taskId, released(key, strangeTypeDelayMs));
    }
    const lease = leases.add(key, taskId, timeoutMs, clock.monotonic());
    this.#deadlines.began(lease);
    if (isCut(grant)) this.#cut.add(lease);
    this.#run(lease, grant, handler);
  }

  /** No promise for a handler that makes none: its result is there at once. */
  #run(lease: RunningLease, grant: Grant, handler: Handler): void {
    let payload: unknown;
    try {
      payload = grant.takePayload();
    } catch (error) {
      return this.#end(lease, undecodable(lease, error));
    }
    const context = new TaskContext(lease, grant, this.#options);
    const tracing = startProcessSpan(grant);
    if (tracing) {
      const handle = () => composeHandler(this.#options.middleware, handler, payload, context);
      return void traced(lease, tracing, handle).then((outcome) => this.#end(lease, outcome));
    }
    try {
      const returned = this.#call(handler, payload, context);
      if (!isPromise(returned)) return this.#end(lease, succeeded(lease.key, returned));
      returned.then(
        (value) => this.#end(lease, succeeded(lease.key, value)),
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

  #overdue(lease: RunningLease): void {
    const cut = this.#cut.has(lease);
    const message = cut
      ? "the task's deadline is over"
      : `the attempt ran for its ${lease.timeoutMs} ms`;
    this.#options.leases.abort(lease, cut ? "deadline" : "timeout", message);
  }

  #end(lease: RunningLease, outcome: Outcome | undefined): void {
    this.#options.onEnd(lease, lease.standing === "over" ? undefined : outcome);
  }
}

/** The deadline comes before the attempt's own timeout. */
const isCut = (grant: Grant): boolean =>
  grant.rare !== undefined &&
  deadlineOf(grant) !== undefined &&
  grant.timeoutMs < durationMs(grant.rare.timeout!);

const isPromise = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === "object" &&
  value !== null &&
  "then" in value &&
  typeof value.then === "function";

function undecodable({ key }: RunningLease, error: unknown): Outcome {
  const message = `the payload cannot be decoded: ${messageOf(error)}`;
  return failed(key, { code: "payload_undecodable", message, retryable: false });
}

async function traced(
  lease: RunningLease,
  tracing: Promise<ProcessSpan>,
  handle: () => Promise<unknown>,
): Promise<Outcome | undefined> {
  const span = await tracing;
  let outcome: Outcome | undefined;
  try {
    outcome = succeeded(lease.key, await span.run(handle));
  } catch (error) {
    outcome = thrown(lease, error);
  }
  span.end(outcome);
  return outcome;
}
