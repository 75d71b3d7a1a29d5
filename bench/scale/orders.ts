/** What a scale run asks of a load process. */
export type Order =
  | BulkOrder
  | { do: "pace"; address: string; queue: string; tasks: number; perSecond: number }
  | WorkOrder
  | { do: "until"; starts: number }
  | { do: "during"; ms: number }
  | { do: "rest" }
  | StreamsOrder
  | UnaryOrder
  | { do: "end" };

/** Submits by the SDK, in batches. */
export interface BulkOrder {
  do: "bulk";
  /** Batches go to them in turns. */
  addresses: readonly string[];
  queue: string;
  tasks: number;
  /** Tasks get so many different group keys in turns; 0: none. */
  groups: number;
  /** The group key that they all get instead. */
  group?: string;
  /** Default: one type, and nothing of their own. */
  mix?: Mix;
}

export interface Mix {
  /** In turns. */
  types: number;
  /** What each says of itself beside its payload. */
  own: "nothing" | "options" | "trace";
}

/** Starts SDK workers, one for each address; counts begin anew. */
export interface WorkOrder {
  do: "work";
  addresses: readonly string[];
  queue: string;
  /** Of each worker. */
  concurrency: number;
  handlerMs: number;
  /** Those of a mix. Default 1. */
  types?: number;
  /** Starts of tasks of this group are told apart. */
  group?: string;
}

/** Opens worker streams that speak the protocol without the SDK; counts begin anew. */
export interface StreamsOrder {
  do: "streams";
  address: string;
  queue: string;
  streams: number;
  connections: number;
  /** Of each stream. */
  slots: number;
}

/** SubmitTask without an SDK. */
export interface UnaryOrder {
  do: "unary";
  address: string;
  queue: string;
  calls: number;
  connections: number;
  /** Calls that wait for their answer on one connection. */
  inFlight: number;
}

/** Times are microseconds of CLOCK_MONOTONIC, percentiles milliseconds. */
export interface Seen {
  /** Tasks submitted, or started. */
  readonly count: number;
  readonly startedAt: number;
  readonly endedAt: number;
  /** Of the call that submits; of workers: from before submit to the handler's first line. */
  readonly p50: number | null;
  readonly p99: number | null;
  /** Workers with one slot: from the end of a handler to the start of the next one. */
  readonly cycleP50: number | null;
  readonly cycleP99: number | null;
  /** Starts by worker. */
  readonly byWorker: readonly number[];
  /** Starts of the told group before the last start of another task. */
  readonly groupStarts: number;
}

export const nothingSeen: Seen = {
  count: 0,
  startedAt: 0,
  endedAt: 0,
  p50: null,
  p99: null,
  cycleP50: null,
  cycleP99: null,
  byWorker: [],
  groupStarts: 0,
};
