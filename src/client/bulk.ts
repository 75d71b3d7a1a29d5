import { create } from "@bufbuild/protobuf";
import {
  CancelTasksRequestSchema,
  PurgeTasksRequestSchema,
  RetryTasksRequestSchema,
  TaskService,
} from "../../gen/drover/v1/task_pb.js";
import { limits } from "../limits.js";
import { methodCodec } from "../transport/methods.js";
import { toDuration } from "../transport/times.js";
import type { CallOptions, Calls } from "./calls.js";
import { present } from "./convert.js";
import { type TaskFilter, toWireFilter } from "./filter.js";

interface Slices {
  /** Tasks that fit. */
  readonly matched: number;
  /** Tasks looked at. */
  readonly scanned: number;
  /** Goes on where it stopped, for the same filter; empty: nothing is left. */
  readonly nextPageToken: string;
}

/** What a call for all tasks of a filter did. */
export interface BulkOutcome extends Slices {
  /** Of those that fit, how many were acted on; 0 with `dryRun`. Others had changed meanwhile. */
  readonly done: number;
}

export interface CancelManyOutcome extends Slices {
  /** Of those that fit, these waited, and never start. */
  readonly cancelled: number;
  /** These run, and were asked to stop. */
  readonly requested: number;
  /** These had ended meanwhile. */
  readonly ended: number;
}

/** How the tasks of a filter are gone through. */
export interface SliceOptions<Outcome> extends CallOptions {
  /** Only count. */
  dryRun?: boolean;
  /** At most so many tasks. Default: all, slice by slice. */
  limit?: number;
  /** Goes on where a call with the same filter stopped. */
  pageToken?: string;
  /** Called after each slice with the sums so far. */
  onSlice?: (sofar: Outcome) => void;
}

export type BulkOptions = SliceOptions<BulkOutcome>;

export interface CancelOptions extends CallOptions {
  /** How long a running handler may take to stop, in ms. Default 30,000. */
  graceMs?: number;
  /** For people; kept in the task. At most 1,024 characters. */
  reason?: string;
}

export type CancelManyOptions = CancelOptions & SliceOptions<CancelManyOutcome>;

interface Page {
  readonly limit: number;
  readonly dryRun: boolean;
  readonly pageToken: string;
}

const codecs = {
  retry: methodCodec(TaskService.method.retryTasks),
  purge: methodCodec(TaskService.method.purgeTasks),
  cancel: methodCodec(TaskService.method.cancelTasks),
};

/**
 * A slice whose outcome is unknown is asked for again: what was done before fits no more, so it is
 * not done twice, nor counted.
 */
export function retryMany(
  calls: Calls,
  filter: TaskFilter,
  options: BulkOptions = {},
): Promise<BulkOutcome> {
  return inSlices(options, async (page) => {
    const request = create(RetryTasksRequestSchema, { filter: toWireFilter(filter), ...page });
    const slice = await calls.unary(codecs.retry, request, options);
    const { matched, retried: done, scanned, nextPageToken } = slice;
    return { matched, done, scanned, nextPageToken };
  });
}

export function purgeMany(
  calls: Calls,
  filter: TaskFilter,
  options: BulkOptions = {},
): Promise<BulkOutcome> {
  return inSlices(options, async (page) => {
    const request = create(PurgeTasksRequestSchema, { filter: toWireFilter(filter), ...page });
    const slice = await calls.unary(codecs.purge, request, options);
    const { matched, purged: done, scanned, nextPageToken } = slice;
    return { matched, done, scanned, nextPageToken };
  });
}

export function cancelMany(
  calls: Calls,
  filter: TaskFilter,
  options: CancelManyOptions = {},
): Promise<CancelManyOutcome> {
  const { graceMs, reason } = options;
  const grace = graceMs === undefined ? undefined : toDuration(graceMs);
  return inSlices(options, async (page) => {
    const fields = present({ filter: toWireFilter(filter), grace, reason });
    const request = create(CancelTasksRequestSchema, { ...fields, ...page });
    const slice = await calls.unary(codecs.cancel, request, options);
    const { matched, cancelled, requested, ended, scanned, nextPageToken } = slice;
    return { matched, cancelled, requested, ended, scanned, nextPageToken };
  });
}

async function inSlices<Outcome extends Slices>(
  { dryRun = false, limit = Infinity, pageToken = "", onSlice }: SliceOptions<Outcome>,
  ask: (page: Page) => Promise<Outcome>,
): Promise<Outcome> {
  let sofar: Outcome | undefined;
  do {
    const left = Math.min(limits.bulkTasks, limit - (sofar?.matched ?? 0));
    const slice = await ask({ limit: left, dryRun, pageToken: sofar?.nextPageToken ?? pageToken });
    sofar = sofar ? sumOf(sofar, slice) : slice;
    onSlice?.(sofar);
  } while (sofar.nextPageToken !== "" && sofar.matched < limit);
  return sofar;
}

/** Of all numbers; the token is the later one. */
const sumOf = <Outcome extends Slices>(sofar: Outcome, slice: Outcome): Outcome =>
  Object.fromEntries(
    Object.entries(slice).map(([name, value]) => {
      const before: unknown = sofar[name as keyof Outcome];
      return [name, typeof value === "number" ? Number(before) + value : value];
    }),
  ) as unknown as Outcome;
