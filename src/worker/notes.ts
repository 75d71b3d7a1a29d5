import { create } from "@bufbuild/protobuf";
import {
  type Kept,
  type LogEntry,
  LogEntrySchema,
  LogLevel,
  type TaskCheckpoint,
  TaskCheckpointSchema,
  type TaskLogs,
  TaskLogsSchema,
} from "../../gen/drover/v1/task_pb.js";
import type { Clock } from "../clock.js";
import { limits } from "../limits.js";
import { encodeContent } from "../transport/content.js";
import { toTimestamp } from "../transport/times.js";
import { TaskAbortedError } from "./errors.js";
import { type RunningLease, tokenBytes, tokenKey } from "./lease-table.js";
import { messageOf } from "./outcome.js";

export type LogLevelName = "debug" | "info" | "warn" | "error";

const levels: Readonly<Record<LogLevelName, LogLevel>> = {
  debug: LogLevel.DEBUG,
  info: LogLevel.INFO,
  warn: LogLevel.WARN,
  error: LogLevel.ERROR,
};

/** Bounds of one frame; beside them 256 KiB of results fit. */
const frameLogBytes = 64 * 1024;
const frameCheckpoints = 2;
const entryBytes = 64;

interface Line {
  readonly entry: LogEntry;
  readonly bytes: number;
}

interface Checkpoint {
  readonly message: TaskCheckpoint;
  readonly settle: (error?: Error) => void;
}

/** What one lease has to say beside its result. */
interface Desk {
  readonly token: Uint8Array;
  readonly lines: Line[];
  /** How many of the lines were sent on the present stream. */
  sent: number;
  sequence: number;
  entries: number;
  bytes: number;
  dropped: number;
  told: number;
  checkpoints: number;
  /** The latest not kept yet, and whether it was sent on the present stream. */
  checkpoint: Checkpoint | undefined;
  checkpointSent: boolean;
}

/**
 * Logs and checkpoints that no coordinator has confirmed yet; sent again on every new stream. Both
 * are bounded: an attempt keeps 1,000 entries and 256 KiB of logs, the worker 10,000 and 8 MiB, and
 * of checkpoints only the latest counts.
 */
export class UnkeptNotes {
  readonly #clock: Clock;
  readonly #desks = new Map<string, Desk>();
  #lines = 0;
  #bytes = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  log(lease: RunningLease, level: LogLevelName, message: string, fields: object | undefined): void {
    const desk = this.#desk(lease);
    desk.sequence += 1;
    const text = cut(String(message), limits.logMessageBytes);
    const fieldsJson = fieldsText(fields);
    const bytes = text.length + fieldsJson.length + entryBytes;
    const spent = desk.entries >= limits.logEntries || desk.bytes + bytes > limits.logBytes;
    const full = this.#lines >= limits.logsWaiting || this.#bytes + bytes > limits.logBytesWaiting;
    if (spent || full) {
      desk.dropped += 1;
      if (desk.dropped >= 2 * desk.told) this.#mark(desk);
      return;
    }
    desk.entries += 1;
    desk.bytes += bytes;
    const { sequence } = desk;
    const time = toTimestamp(new Date(this.#clock.now()));
    const entry = { sequence, time, level: levels[level] ?? LogLevel.INFO, message: text };
    this.#put(desk, create(LogEntrySchema, { ...entry, fieldsJson }), bytes);
  }

  /** Resolves once the coordinator has it; the one before, if it waits still, is settled by it. */
  checkpoint(lease: RunningLease, value: unknown): Promise<void> {
    let blob;
    try {
      blob = encodeContent(value);
    } catch (error) {
      const why = `the checkpoint cannot be written as JSON: ${messageOf(error)}`;
      return Promise.reject(new TypeError(why));
    }
    const size = blob?.data.length ?? 0;
    if (size > limits.payloadBytes) {
      const most = `at most ${limits.payloadBytes} are kept`;
      return Promise.reject(new TypeError(`the checkpoint has ${size} bytes, ${most}`));
    }
    if (lease.signal.aborted) return Promise.reject(lease.signal.reason as Error);
    const desk = this.#desk(lease);
    desk.checkpoints += 1;
    const init = { leaseToken: desk.token, number: desk.checkpoints };
    const message = create(TaskCheckpointSchema, blob ? { ...init, checkpointBlob: blob } : init);
    return new Promise((resolve, reject) => {
      const before = desk.checkpoint;
      const settle = (error?: Error): void => {
        before?.settle(error);
        if (error) reject(error);
        else resolve();
      };
      desk.checkpoint = { message, settle };
      desk.checkpointSent = false;
    });
  }

  /** The handler has ended: what it dropped is told now. */
  end(lease: RunningLease): void {
    const desk = this.#desks.get(lease.key);
    if (desk && desk.dropped > desk.told) this.#mark(desk);
  }

  /** Nobody asks for the rest of this lease: its result is recorded, or it is over. */
  drop(key: string): void {
    if (this.#desks.size === 0) return;
    const desk = this.#desks.get(key);
    if (!desk) return;
    this.#desks.delete(key);
    this.#forget(desk, desk.lines.length);
    desk.checkpoint?.settle(new TaskAbortedError("lease_lost", "the lease is over"));
  }

  kept({ leaseToken, logSequence, checkpoint }: Kept): void {
    const desk = this.#desks.get(tokenKey(leaseToken));
    if (!desk) return;
    let over = 0;
    while (desk.lines[over] && desk.lines[over]!.entry.sequence <= logSequence) over += 1;
    this.#forget(desk, over);
    if (checkpoint < (desk.checkpoint?.message.number ?? Infinity)) return;
    desk.checkpoint?.settle();
    desk.checkpoint = undefined;
  }

  /** A new stream stands: everything is sent again. */
  resendAll(): void {
    for (const desk of this.#desks.values()) {
      desk.sent = 0;
      desk.checkpointSent = false;
    }
  }

  get waits(): boolean {
    for (const desk of this.#desks.values()) if (hasUnsent(desk)) return true;
    return false;
  }

  /** What fits one frame; from then on it counts as sent. */
  take(): { logs: TaskLogs[]; checkpoints: TaskCheckpoint[] } {
    const logs: TaskLogs[] = [];
    const checkpoints: TaskCheckpoint[] = [];
    let room = frameLogBytes;
    for (const desk of this.#desks.values()) {
      const entries: LogEntry[] = [];
      while (room > 0 && desk.sent < desk.lines.length) {
        const line = desk.lines[desk.sent]!;
        room -= line.bytes;
        desk.sent += 1;
        entries.push(line.entry);
      }
      if (entries.length > 0) {
        logs.push(create(TaskLogsSchema, { leaseToken: desk.token, entries }));
      }
      if (desk.checkpoint && !desk.checkpointSent && checkpoints.length < frameCheckpoints) {
        desk.checkpointSent = true;
        checkpoints.push(desk.checkpoint.message);
      }
    }
    return { logs, checkpoints };
  }

  #desk({ key }: RunningLease): Desk {
    const known = this.#desks.get(key);
    if (known) return known;
    const counts = { sent: 0, sequence: 0, entries: 0, bytes: 0, dropped: 0, told: 0 };
    const none = { checkpoints: 0, checkpoint: undefined, checkpointSent: false };
    const desk: Desk = { token: tokenBytes(key), lines: [], ...counts, ...none };
    this.#desks.set(key, desk);
    return desk;
  }

  /** Stands where the last dropped entry would stand. */
  #mark(desk: Desk): void {
    const dropped = desk.dropped - desk.told;
    desk.told = desk.dropped;
    const { logEntries, logBytes } = limits;
    const bound = `an attempt keeps ${logEntries} and ${logBytes} bytes`;
    const message = `${dropped} entries were dropped: ${bound}`;
    const time = toTimestamp(new Date(this.#clock.now()));
    const { sequence } = desk;
    const marker = { sequence, time, level: LogLevel.WARN, message, dropped };
    this.#put(desk, create(LogEntrySchema, marker), message.length + entryBytes);
  }

  #put(desk: Desk, entry: LogEntry, bytes: number): void {
    desk.lines.push({ entry, bytes });
    this.#lines += 1;
    this.#bytes += bytes;
  }

  #forget(desk: Desk, count: number): void {
    for (const { bytes } of desk.lines.splice(0, count)) this.#bytes -= bytes;
    this.#lines -= count;
    desk.sent = Math.max(0, desk.sent - count);
  }
}

const hasUnsent = (desk: Desk): boolean =>
  desk.sent < desk.lines.length || (desk.checkpoint !== undefined && !desk.checkpointSent);

function cut(text: string, bytes: number): string {
  if (text.length * 3 <= bytes || Buffer.byteLength(text) <= bytes) return text;
  return Buffer.from(text)
    .subarray(0, bytes - 3)
    .toString();
}

/** Fields that cannot be kept are said so in their place. */
function fieldsText(fields: object | undefined): string {
  if (fields === undefined) return "";
  try {
    const text = JSON.stringify(fields);
    if (Buffer.byteLength(text) <= limits.logFieldsBytes) return text;
    return JSON.stringify({ dropped_fields: `over ${limits.logFieldsBytes} bytes of JSON` });
  } catch (error) {
    return JSON.stringify({ dropped_fields: cut(messageOf(error), 1_000) });
  }
}
