import type { BatchCallback, Client } from "../client/index.js";
import type { Clock } from "../clock.js";
import { parseTraceparent } from "../traceparent.js";
import { fromWireCallback } from "../transport/batch.js";
import { decodeContent } from "../transport/content.js";
import { timestampDate } from "../transport/times.js";
import { submitFrom } from "./follow-up.js";
import type { Grant } from "./grant.js";
import type { HandlerContext } from "./handler.js";
import type { RunningLease } from "./lease-table.js";
import { type Logger, withFields } from "./logger.js";
import type { LogLevelName } from "./notes.js";
import { messageOf } from "./outcome.js";

/** What contexts of one worker share. */
export interface ContextTools {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly labels: Readonly<Record<string, string>>;
  /** For what handlers submit. */
  readonly client: Pick<Client, "submit"> | undefined;
  readonly onProgress: (lease: RunningLease, fraction: number, message: string) => void;
  readonly onLog: (
    lease: RunningLease,
    level: LogLevelName,
    message: string,
    fields: object | undefined,
  ) => void;
  readonly onCheckpoint: (lease: RunningLease, value: unknown) => Promise<void>;
}

export const defaultQueue = "default";
const progressMessageLength = 1_024;

/**
 * Most handlers look at little of their context: each part is made when somebody asks for it. Its
 * functions need no `this`, so that they may be taken out of it.
 */
export class TaskContext implements HandlerContext {
  readonly #lease: RunningLease;
  readonly #grant: Grant;
  readonly #tools: ContextTools;
  #logger: Logger | undefined;
  #checkpoint: { readonly value: unknown } | undefined;

  constructor(lease: RunningLease, grant: Grant, tools: ContextTools) {
    this.#lease = lease;
    this.#grant = grant;
    this.#tools = tools;
  }

  get taskId(): string {
    return this.#grant.taskId;
  }

  get type(): string {
    return this.#grant.type;
  }

  get queue(): string {
    return this.#grant.queue || defaultQueue;
  }

  get attempt(): number {
    return this.#grant.attempt;
  }

  get retryCount(): number {
    return this.#grant.retryCount;
  }

  get fencingToken(): number {
    return this.#grant.fencingToken;
  }

  get deadline(): number {
    return this.#lease.dueAt;
  }

  get taskDeadline(): Date | undefined {
    return deadlineOf(this.#grant);
  }

  get submit(): Client["submit"] {
    return submitFrom(this.#tools.client, this.taskDeadline);
  }

  get remainingMs(): () => number {
    const { clock } = this.#tools;
    return () => Math.max(0, this.deadline - clock.monotonic());
  }

  get signal(): AbortSignal {
    return this.#lease.signal;
  }

  get progress(): HandlerContext["progress"] {
    return (fraction, message = "") => {
      if (this.#lease.standing !== "held" || Number.isNaN(fraction)) return;
      const share = Math.min(1, Math.max(0, fraction));
      this.#tools.onProgress(this.#lease, share, message.slice(0, progressMessageLength));
    };
  }

  get log(): HandlerContext["log"] {
    return (level, message, fields) => {
      if (this.#lease.standing === "held") this.#tools.onLog(this.#lease, level, message, fields);
    };
  }

  get checkpoint(): HandlerContext["checkpoint"] {
    return (value) => {
      const kept = this.#tools.onCheckpoint(this.#lease, value);
      // Who does not wait for it hears of a lost lease by the signal.
      kept.catch(() => undefined);
      return kept;
    };
  }

  /** One that cannot be read is none: the attempt begins anew, and says so. */
  get lastCheckpoint(): unknown {
    this.#checkpoint ??= { value: checkpointOf(this.#grant, this.#tools.logger) };
    return this.#checkpoint.value;
  }

  get logger(): Logger {
    return (this.#logger ??= loggerOf(this.#grant, this.#tools.logger));
  }

  get tags(): readonly string[] {
    return this.#grant.tags;
  }

  get batchId(): string | undefined {
    return this.#grant.rare?.batchId || undefined;
  }

  get batchCallback(): BatchCallback | undefined {
    return fromWireCallback(this.#grant.rare?.batchCallback);
  }

  get traceContext(): Readonly<Record<string, string>> {
    return this.#grant.traceContext;
  }

  get labels(): Readonly<Record<string, string>> {
    return this.#tools.labels;
  }
}

function checkpointOf({ taskId, rare }: Grant, logger: Logger): unknown {
  if (!rare) return undefined;
  try {
    return decodeContent(rare.checkpoint, rare.checkpointBlob);
  } catch (error) {
    logger.warn({ task_id: taskId, error: messageOf(error) }, "the checkpoint cannot be decoded");
    return undefined;
  }
}

function loggerOf({ taskId, type, attempt, traceContext }: Grant, logger: Logger): Logger {
  const trace = parseTraceparent(traceContext);
  const fields = { task_id: taskId, type, attempt, ...(trace && { trace_id: trace.traceId }) };
  return withFields(logger, fields);
}

/** A later run goes on whatever its deadline was. */
export const deadlineOf = ({ run, rare }: Grant): Date | undefined =>
  run === 1 && rare?.deadline ? timestampDate(rare.deadline) : undefined;
