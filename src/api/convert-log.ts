import { LogLevel as WireLevel, type LogEntry as WireEntry } from "../../gen/drover/v1/task_pb.js";
import type { LogEntry, LogLevel } from "../task/log.js";
import type { OpaqueInit } from "./contract.js";
import { toTimestamp } from "./convert-time.js";

const wireLevels: Readonly<Record<LogLevel, WireLevel>> = {
  debug: WireLevel.DEBUG,
  info: WireLevel.INFO,
  warn: WireLevel.WARN,
  error: WireLevel.ERROR,
};

export const toWireLogEntry = (entry: LogEntry): OpaqueInit<WireEntry> => ({
  sequence: entry.sequence,
  time: toTimestamp(entry.time),
  level: wireLevels[entry.level],
  message: entry.message,
  fieldsJson: entry.fields,
  dropped: entry.dropped,
  attempt: entry.attempt,
});
