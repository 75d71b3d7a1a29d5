import { create } from "@bufbuild/protobuf";
import {
  PurgeTasksRequestSchema,
  RetryTasksRequestSchema,
  TaskService,
} from "../../gen/drover/v1/task_pb.js";
import { limits } from "../limits.js";
import { methodCodec } from "../transport/methods.js";
import type { CallOptions, Calls } from "./calls.js";
import { type TaskFilter, toWireFilter } from "./filter.js";

/** What a call for all tasks of a filter did. */
export interface BulkOutcome {
  /** Tasks that fit. */
  readonly matched: number;
  /** Of those, how many were acted on; 0 with `dryRun`. Others had changed meanwhile. */
  readonly done: number;
  /** Tasks looked at. */
  readonly scanned: number;
  /** Goes on where it stopped, for the same filter; empty: nothing is left. */
  readonly nextPageToken: string;
}

export interface BulkOptions extends CallOptions {
  /** Only count. */
  dryRun?: boolean;
  /** At most so many tasks. Default: all, slice by slice. */
  limit?: number;
  /** Goes on where a call with the same filter stopped. */
  pageToken?: string;
  /** Called after each slice with the sums so far. */
  onSlice?: (sofar: BulkOutcome) => void;
}

interface Slice {
  readonly matched: number;
  readonly done: number;
  readonly scanned: number;
  readonly nextPageToken: string;
}

interface Page {
  readonly limit: number;
  readonly dryRun: boolean;
  readonly pageToken: string;
}

const codecs = {
  retry: methodCodec(TaskService.method.retryTasks),
  purge: methodCodec(TaskService.method.purgeTasks),
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
    const { retried, ...rest } = await calls.unary(codecs.retry, request, options);
    return { ...rest, done: retried };
  });
}

export function purgeMany(
  calls: Calls,
  filter: TaskFilter,
  options: BulkOptions = {},
): Promise<BulkOutcome> {
  return inSlices(options, async (page) => {
    const request = create(PurgeTasksRequestSchema, { filter: toWireFilter(filter), ...page });
    const { purged, ...rest } = await calls.unary(codecs.purge, request, options);
    return { ...rest, done: purged };
  });
}

async function inSlices(
  { dryRun = false, limit = Number.POSITIVE_INFINITY, pageToken = "", onSlice }: BulkOptions,
  ask: (page: Page) => Promise<Slice>,
): Promise<BulkOutcome> {
  let sofar: BulkOutcome = { matched: 0, done: 0, scanned: 0, nextPageToken: pageToken };
  do {
    const left = Math.min(limits.bulkTasks, limit - sofar.matched);
    const slice = await ask({ limit: left, dryRun, pageToken: sofar.nextPageToken });
    sofar = {
      matched: sofar.matched + slice.matched,
      done: sofar.done + slice.done,
      scanned: sofar.scanned + slice.scanned,
      nextPageToken: slice.nextPageToken,
    };
    onSlice?.(sofar);
  } while (sofar.nextPageToken !== "" && sofar.matched < limit);
  return sofar;
}
