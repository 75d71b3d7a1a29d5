import { inspect } from "node:util";
import { pino, type Logger } from "pino";
import pretty from "pino-pretty";
import type { EventCatalog, EventName, Events } from "./events.js";
import { parseTraceparent } from "../traceparent.js";

export type { Logger } from "pino";

export interface LogOptions {
  level: string;
  format: "json" | "pretty";
}

/** Logs go to standard error: standard output belongs to what people asked for. */
export function createLogger({ level, format }: LogOptions): Logger {
  if (format === "pretty") {
    const stream = pretty({ destination: 2, sync: true, ignore: "pid,hostname" });
    return pino({ level }, stream);
  }
  return pino({ level, base: null }, pino.destination({ dest: 2, sync: false }));
}

/**
 * How loud each event is; those not named are debug: a busy coordinator must not log every task.
 */
const levels: Partial<Record<EventName, "info" | "warn" | "error">> = {
  "server.started": "info",
  "server.stopping": "info",
  "server.stopped": "info",
  "loop.failed": "warn",
  "store.unavailable": "warn",
  "store.available": "info",
  "session.opened": "info",
  "session.closed": "info",
  "session.lost": "warn",
  "outbox.drained": "info",
  "partition.cold": "info",
  "partition.rebuilt": "info",
  "commit.recovered": "warn",
};

const loud: ReadonlySet<string> = new Set(Object.keys(levels));

/** Writes the event catalog to the log: ids and figures, never payloads; `trace_id` where known. */
export function logEvents(events: Events, logger: Logger): () => void {
  // Asked of the logger for each event it costs as much as the metrics do.
  let hearsAll = logger.isLevelEnabled("debug");
  const onLevel = (): void => void (hearsAll = logger.isLevelEnabled("debug"));
  logger.on("level-change", onLevel);
  const unsubscribe = events.subscribe((name, fields) => {
    if (!hearsAll && !loud.has(name)) return;
    logger[levels[name] ?? "debug"](printable(fields), name);
  });
  return () => {
    unsubscribe();
    logger.off("level-change", onLevel);
  };
}

function printable(fields: EventCatalog[EventName]): object {
  if ("traceContext" in fields) {
    const { traceContext, ...rest } = fields;
    const trace = parseTraceparent(traceContext);
    return trace ? { ...rest, trace_id: trace.traceId } : rest;
  }
  if (!("error" in fields)) return fields;
  const { error, ...rest } = fields;
  if (error === undefined) return rest;
  return { ...rest, err: error instanceof Error ? error : new Error(inspect(error, { depth: 0 })) };
}
