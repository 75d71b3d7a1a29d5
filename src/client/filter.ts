import type { MessageInitShape } from "@bufbuild/protobuf";
import type { TaskFilterSchema } from "../../gen/drover/v1/task_pb.js";
import { toTimestamp } from "../transport/times.js";
import { type Names, refuseUnknown } from "../transport/unknown-names.js";
import { present, toWireStatus } from "./convert.js";
import type { PageOptions } from "./pages.js";
import type { TaskStatus } from "./task.js";

/** Which tasks to list, or to act on; all given must hold. */
export interface TaskFilter {
  /** One, or any of several. */
  status?: TaskStatus | readonly TaskStatus[];
  type?: string;
  queue?: string;
  tag?: string;
  /** Of the latest error, e.g. `timeout`. */
  errorCode?: string;
  /** Submitted at this time or later. */
  createdAfter?: Date;
  /** Submitted before this time. */
  createdBefore?: Date;
  batchId?: string;
  schedule?: string;
  /** Stands in the code or message of the latest error; A to Z match a to z. */
  text?: string;
}

const names: Names<TaskFilter> = {
  status: true,
  type: true,
  queue: true,
  tag: true,
  errorCode: true,
  createdAfter: true,
  createdBefore: true,
  batchId: true,
  schedule: true,
  text: true,
};
const listNames: Names<TaskFilter & PageOptions> = {
  ...names,
  pageSize: true,
  pageToken: true,
  signal: true,
  timeoutMs: true,
};

type WireFilter = MessageInitShape<typeof TaskFilterSchema>;

/**
 * A misspelt field, or one of a variable that turned out empty, would leave more tasks to act on
 * than were meant: throws a TypeError.
 */
export function toWireFilter(filter: TaskFilter): WireFilter {
  refuseUnknown("filter", filter, names);
  for (const [name, value] of Object.entries(filter)) {
    if (value !== "" && !(Array.isArray(value) && value.length === 0)) continue;
    throw new TypeError(`filter.${name}: expected a value, or no such field, got an empty one`);
  }
  const { status, ...rest } = filter;
  return { ...fieldsOf(rest), status: statusesOf(status) };
}

/** ListTasks has the fields of a filter as its own; one status has a field of its own there. */
export function toListFields(options: TaskFilter & PageOptions) {
  refuseUnknown("list", options, listNames);
  const { status, ...rest } = options;
  const statuses = statusesOf(status);
  const fields = fieldsOf(rest);
  return statuses.length === 1 ? { ...fields, status: statuses[0]! } : { ...fields, statuses };
}

function fieldsOf(filter: Omit<TaskFilter, "status">) {
  const { type, queue, tag, errorCode, createdAfter, createdBefore } = filter;
  const { batchId, schedule, text } = filter;
  return present({
    type,
    queue,
    tag,
    errorCode,
    createdAfter: createdAfter && toTimestamp(createdAfter),
    createdBefore: createdBefore && toTimestamp(createdBefore),
    batchId,
    schedule,
    text,
  });
}

const statusesOf = (status: TaskFilter["status"]) =>
  (typeof status === "string" ? [status] : (status ?? [])).map(toWireStatus);
