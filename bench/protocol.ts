import type { Durability } from "./systems/system.js";

/** What run.ts asks of a producer or a worker. */
export type Command =
  | { do: "single"; durability: Durability; tasks: number; inFlight: number }
  | { do: "bulk"; durability: Durability; tasks: number; batch: number; inFlight: number }
  | { do: "rate"; durability: Durability; tasks: number; perSecond: number }
  | { do: "work"; durability: Durability; concurrency: number }
  | { do: "acked"; tasks: number }
  | { do: "rest" }
  | { do: "end" };

/** Times are microseconds of CLOCK_MONOTONIC; the percentiles are milliseconds. */
export interface Timing {
  readonly count: number;
  readonly startedAt: number;
  readonly endedAt: number;
  readonly p50: number | null;
  readonly p99: number | null;
}

export type Answer = Timing | undefined;

export interface Request {
  readonly id: number;
  readonly command: Command;
}

/** `id` 0 says that the process is ready. */
export interface Reply<Answered = Answer> {
  readonly id: number;
  readonly answer?: Answered;
  readonly error?: string;
}
