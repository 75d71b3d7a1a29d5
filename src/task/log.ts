/** What handlers log, as it is kept with their task. Pure types; no I/O, no wire format. */

export type LogLevel = "debug" | "info" | "warn" | "error";

/** In the order of their numbers in the contract, from 1. */
export const logLevels: readonly LogLevel[] = ["debug", "info", "warn", "error"];

/** Where an entry stands among those of its task. Both 0: before the first. */
export interface LogPlace {
  /** Of the grant whose handler logged it. */
  readonly fencingToken: number;
  /** From 1, +1 with each entry of the attempt. */
  readonly sequence: number;
}

export interface LogEntry extends LogPlace {
  readonly taskId: string;
  readonly attempt: number;
  /** Milliseconds since 1970, by the worker's clock. */
  readonly time: number;
  readonly level: LogLevel;
  readonly message: string;
  /** A JSON object as text, or "". */
  readonly fields: string;
  /** Of a marker: so many entries are missing here. 0: an entry as it was logged. */
  readonly dropped: number;
}

export const firstLogPlace: LogPlace = Object.freeze({ fencingToken: 0, sequence: 0 });

export const isAfter = (one: LogPlace, other: LogPlace): boolean =>
  one.fencingToken > other.fencingToken ||
  (one.fencingToken === other.fencingToken && one.sequence > other.sequence);
