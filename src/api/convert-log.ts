import {
  LogLevel as WireLevel,
  type LogEntry as WireEntry,
  type TaskCheckpoint,
  type TaskLogs,
} from "../../gen/drover/v1/task_pb.js";
import type { WorkerCheckpoint, WorkerLog } from "../coordinator/frames.js";
import { limits } from "../limits.js";
import { type LogEntry, type LogLevel, logLevels } from "../task/log.js";
import { checkWhole } from "../task/rules.js";
import { checkPayload } from "../task/validate.js";
import type { Opaque, OpaqueInit } from "./contract.js";
import { toPayload } from "./convert-task.js";
import { nearestMs, toTimestamp } from "./convert-time.js";

const wireLevels: Readonly<Record<LogLevel, WireLevel>> = {
  debug: WireLevel.DEBUG,
  info: WireLevel.INFO,
  warn: WireLevel.WARN,
  error: WireLevel.ERROR,
};

/** Never throws: one odd entry must not fail the frame. Texts are cut to their bounds. */
export const toWorkerLog = ({ leaseToken, entries }: Opaque<TaskLogs>): WorkerLog => ({
  token: leaseToken,
  entries: entries
    .filter(({ sequence }) => sequence > 0)
    .map(({ sequence, time, level, message, fieldsJson, dropped }) => ({
      sequence,
      time: time ? nearestMs(time) : 0,
      level: logLevels[level - 1] ?? "info",
      message: cut(message, limits.logMessageBytes),
      fields: jsonObject(fieldsJson),
      dropped: Math.max(0, dropped),
    })),
});

function cut(text: string, bytes: number): string {
  if (text.length * 3 <= bytes || Buffer.byteLength(text) <= bytes) return text;
  // A character that the cut divides reads as U+FFFD.
  return Buffer.from(text)
    .subarray(0, bytes - 3)
    .toString();
}

/** What is no JSON object is kept as text, so that it is seen. */
function jsonObject(text: string): string {
  if (text === "") return "";
  if (Buffer.byteLength(text) <= limits.logFieldsBytes) {
    try {
      const value: unknown = JSON.parse(text);
      if (typeof value === "object" && value !== null && !Array.isArray(value)) return text;
    } catch {
      // Falls through.
    }
  }
  return JSON.stringify({ unreadable_fields: cut(text, limits.logFieldsBytes / 4) });
}

/** Throws for what no store could keep: the stream ends with the reason. */
export function toCheckpoint(one: Opaque<TaskCheckpoint>, nth: number): WorkerCheckpoint {
  const field = `checkpoints[${nth}]`;
  checkWhole(`${field}.number`, one.number, 1, 2 ** 31 - 1);
  const checkpoint = toPayload(`${field}.checkpoint`, one.checkpoint, one.checkpointBlob);
  if (checkpoint) checkPayload(`${field}.checkpoint`, checkpoint);
  return { token: one.leaseToken, number: one.number, checkpoint };
}

export const toWireLogEntry = (entry: LogEntry): OpaqueInit<WireEntry> => ({
  sequence: entry.sequence,
  time: toTimestamp(entry.time),
  level: wireLevels[entry.level],
  message: entry.message,
  fieldsJson: entry.fields,
  dropped: entry.dropped,
  attempt: entry.attempt,
});
