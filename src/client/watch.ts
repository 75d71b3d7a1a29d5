import { create } from "@bufbuild/protobuf";
import {
  LogLevel as WireLevel,
  type LogEntry as WireLogEntry,
  TaskService,
  type WatchTasksResponse,
  WatchTasksRequestSchema,
} from "../../gen/drover/v1/task_pb.js";
import type { Clock, Random } from "../clock.js";
import { Code } from "../errors.js";
import { fullJitter } from "../transport/backoff.js";
import { createHold } from "../transport/hold.js";
import { methodCodec } from "../transport/methods.js";
import { opaque } from "../transport/opaque.js";
import { callServerStream, StreamRefused } from "../transport/server-stream.js";
import { outcomeUnknown, type Refusal } from "../transport/status.js";
import { timestampDate } from "../transport/times.js";
import type { ChannelPool } from "./channel-pool.js";
import { fromWireStatusChange, fromWireTask } from "./convert.js";
import { DroverClientError } from "./errors.js";
import type { LogEntry, LogLevel, TaskEvent } from "./task.js";

export interface WatchOptions {
  /** Ends the watch; it throws the signal's reason. */
  signal?: AbortSignal;
  /** Goes on after this event, of a watch of the same tasks in the same order. */
  cursor?: string;
  /** Gives up when no coordinator can be reached for this long, in ms. Default: never. */
  giveUpMs?: number;
}

export interface WatchParts {
  readonly clock: Clock;
  readonly random: Random;
  readonly pool: ChannelPool;
  /** Aborted when the client is closed. */
  readonly closing: AbortSignal;
}

const method = TaskService.method.watchTasks;
const codec = methodCodec(method, opaque(method.output));

/** Over as many streams as it takes: each goes on after the last event of the one before. */
export async function* watchTasks(
  { clock, random, pool, closing }: WatchParts,
  taskIds: readonly string[],
  options: WatchOptions,
): AsyncGenerator<TaskEvent> {
  const { giveUpMs = Infinity } = options;
  const signal = options.signal ? AbortSignal.any([options.signal, closing]) : closing;
  const hold = createHold();
  hold.take();
  let cursor = options.cursor ?? "";
  let heardAt = clock.monotonic();
  try {
    for (let failures = 0; ; failures += 1) {
      const acquired = await pool.acquire(signal);
      let refusal: Refusal;
      if ("refusal" in acquired) refusal = acquired.refusal;
      else {
        const request = create(WatchTasksRequestSchema, { taskIds: [...taskIds], cursor });
        try {
          const answers = callServerStream(acquired.channel, codec, request, signal);
          for await (const answer of answers) {
            cursor = answer.cursor;
            failures = 0;
            yield toEvent(answer);
            heardAt = clock.monotonic();
          }
          return;
        } catch (error) {
          if (!(error instanceof StreamRefused)) throw error;
          refusal = error.refusal;
          if (outcomeUnknown(refusal.code)) pool.leave(acquired.channel);
        }
      }
      const waitMs = (refusal.retryAfterMs ?? 0) + fullJitter(random, failures);
      const late = clock.monotonic() + waitMs - heardAt > giveUpMs;
      if (late || !mayGoOn(refusal)) throw new DroverClientError(refusal);
      await clock.sleep(waitMs, signal);
    }
  } finally {
    hold.release();
  }
}

const mayGoOn = ({ code }: Refusal): boolean =>
  outcomeUnknown(code) || code === Code.resourceExhausted;

function toEvent(answer: WatchTasksResponse): TaskEvent {
  const { taskId, cursor, event } = answer;
  switch (event.case) {
    case "status": {
      const task = answer.task && fromWireTask(answer.task);
      return { type: "status", taskId, cursor, ...fromWireStatusChange(event.value), task };
    }
    case "progress": {
      const { fraction, message, attempt } = event.value;
      return { type: "progress", taskId, cursor, fraction, message, attempt };
    }
    case "logs":
      return { type: "logs", taskId, cursor, entries: event.value.entries.map(fromWireLogEntry) };
    case undefined:
      // Of a newer contract: its cursor counts.
      return { type: "logs", taskId, cursor, entries: [] };
  }
}

export function fromWireLogEntry(entry: WireLogEntry): LogEntry {
  return {
    attempt: entry.attempt,
    sequence: entry.sequence,
    time: entry.time ? timestampDate(entry.time) : undefined,
    level: (WireLevel[entry.level] ?? "info").toLowerCase() as LogLevel,
    message: entry.message,
    fields: entry.fieldsJson === "" ? undefined : (JSON.parse(entry.fieldsJson) as object),
    dropped: entry.dropped,
  };
}
