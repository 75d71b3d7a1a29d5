import { limits } from "../limits.js";
import type { BatchCallback, Client } from "../client/index.js";
import type { Logger } from "./logger.js";
import type { LogLevelName } from "./notes.js";

/**
 * What a handler knows of the task it runs. Its functions may be taken out of it, as in
 * `{ progress, signal }`; a copy of the whole by spreading it holds nothing.
 */
export interface HandlerContext {
  readonly taskId: string;
  readonly type: string;
  readonly queue: string;
  /** Grants of this task so far, this one included: from 1. */
  readonly attempt: number;
  /** Retries scheduled after failures of the handler so far: from 0. */
  readonly retryCount: number;
  /**
   * Rises with every grant of the task. Pass it to the stores you write to, so that they can
   * refuse an older one.
   */
  readonly fencingToken: number;
  /**
   * End of the attempt, or of the whole task if that comes first. On the monotonic clock, in ms;
   * Infinity if the attempt has no end.
   */
  readonly deadline: number;
  /** When the whole task must be final, if it was given a deadline. */
  readonly taskDeadline: Date | undefined;
  /**
   * Submits a task that follows from this one: it inherits the task's deadline, unless its own is
   * sooner. Rejects with a TypeError if the worker was given no client.
   */
  readonly submit: Client["submit"];
  /** Left until the deadline, in ms; never below 0. */
  readonly remainingMs: () => number;
  /** Aborted when the handler should stop; its reason is a TaskAbortedError that says why. */
  readonly signal: AbortSignal;
  /**
   * Says how far it is: 0 to 1, and a word for people of at most 1,024 characters. Only the
   * latest is sent.
   */
  readonly progress: (fraction: number, message?: string) => void;
  /**
   * Keeps a line with the task, where ListLogs and watchers find it. At most 1,000 an attempt and
   * 256 KiB; a message has 4 KiB, fields 4 KiB as JSON. What is beyond is dropped, and a marker
   * says how many were. Never waits, never throws.
   */
  readonly log: (
    level: LogLevelName,
    message: string,
    fields?: Readonly<Record<string, unknown>>,
  ) => void;
  /**
   * Keeps what the next attempt needs to go on from here: JSON, or Content, of at most 256 KiB.
   * Replaces the one before. Resolves once it stands as safely as the task; rejects with a
   * TaskAbortedError if the lease is over by then, with a TypeError if it cannot be kept.
   */
  readonly checkpoint: (value: unknown) => Promise<void>;
  /** The last checkpoint of an earlier attempt of this run; undefined if there is none. */
  readonly lastCheckpoint: unknown;
  /** Logs with the task's id, type and attempt. */
  readonly logger: Logger;
  readonly tags: readonly string[];
  /** The batch this task belongs to; give it to `submit` for what belongs there too. */
  readonly batchId: string | undefined;
  /** If this task is a callback of a batch: whose, at what event, and how many tasks it had. */
  readonly batchCallback: BatchCallback | undefined;
  /** W3C trace context of this attempt: in the producer's trace. */
  readonly traceContext: Readonly<Record<string, string>>;
  /** Labels of this worker. */
  readonly labels: Readonly<Record<string, string>>;
}

interface HandlerMethod<Payload, Result> {
  // Method syntax on purpose: a handler may ask for a narrower payload than the map of the worker
  // knows.
  handle(payload: Payload, context: HandlerContext): Result | Promise<Result>;
}

/**
 * Runs one attempt of a task. What it returns is the result, as JSON of at most 256 KiB; what it
 * throws is the failure.
 */
export type Handler<Payload = unknown, Result = unknown> = HandlerMethod<Payload, Result>["handle"];

/**
 * Runs around every handler, the first one outermost. Has to call `next` once, and to return what
 * the result shall be.
 */
export type Middleware = (
  payload: unknown,
  context: HandlerContext,
  next: () => Promise<unknown>,
) => Promise<unknown>;

export interface HandleOptions {
  /** Default: the queues of the worker. */
  queue?: string;
}

/** Handlers by queue and type. */
export interface HandlerRegistry {
  add(type: string, handler: Handler, queues: readonly string[]): void;
  find(queue: string, type: string): Handler | undefined;
  /** The types handled from each queue. */
  subscriptions(): readonly { readonly queue: string; readonly types: readonly string[] }[];
}

const namePattern = /^[A-Za-z0-9._-]{1,128}$/;

/** Throws unless the text can be a name. */
export function checkName(what: string, name: unknown): string {
  if (typeof name === "string" && namePattern.test(name)) return name;
  throw new TypeError(`${what}: expected 1 to 128 of [A-Za-z0-9._-], got ${JSON.stringify(name)}`);
}

function checkRoom(what: string, taken: ReadonlyMap<string, unknown>, name: string): void {
  if (taken.has(name) || taken.size < limits.subscriptionsMax) return;
  throw new TypeError(
    `${what}: expected at most ${limits.subscriptionsMax}; "${name}" is too many`,
  );
}

export function createHandlerRegistry(): HandlerRegistry {
  const queues = new Map<string, Map<string, Handler>>();
  return {
    add(type, handler, names) {
      checkName("type", type);
      if (typeof handler !== "function") {
        throw new TypeError(`handler of ${type}: expected a function, got ${typeof handler}`);
      }
      for (const queue of names) {
        checkRoom("queues", queues, queue);
        const types = queues.get(checkName("queue", queue)) ?? new Map<string, Handler>();
        if (types.has(type)) {
          throw new TypeError(
            `type ${type} of queue ${queue}: expected one handler, it has one already`,
          );
        }
        checkRoom(`types of queue ${queue}`, types, type);
        types.set(type, handler);
        queues.set(queue, types);
      }
    },
    find: (queue, type) => queues.get(queue)?.get(type),
    subscriptions: () => [...queues].map(([queue, types]) => ({ queue, types: [...types.keys()] })),
  };
}

/** One function of all middleware and the handler. */
export function composeHandler(
  middleware: readonly Middleware[],
  handler: Handler,
  payload: unknown,
  context: HandlerContext,
): Promise<unknown> {
  const call = async (index: number): Promise<unknown> => {
    const layer = middleware[index];
    if (!layer) return handler(payload, context);
    return layer(payload, context, () => call(index + 1));
  };
  return call(0);
}
