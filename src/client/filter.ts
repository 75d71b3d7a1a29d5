import type { MessageInitShape } from "@bufbuild/protobuf";
import type { TaskFilterSchema } from "../../gen/drover/v1/task_pb.js";
import { toTimestamp } from "../transport/times.js";
import { present, toWireStatus } from "./convert.js";
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

type WireFilter = MessageInitShape<typeof TaskFilterSchema>;

export function toWireFilter({ status, ...rest }: TaskFilter): WireFilter {
  return { ...fieldsOf(rest), status: statusesOf(status) };
}

/** ListTasks has the fields of a filter as its own; one status has a field of its own there. */
export function toListFields({ status, ...rest }: TaskFilter) {
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
