import type { ListTasksRequest, TaskFilter as WireFilter } from "../../gen/drover/v1/task_pb.js";
import { checkFilter, type TaskFilter } from "../task/filter.js";
import type { Opaque } from "./contract.js";
import { toStatus } from "./convert-task.js";
import { timestampMs } from "./convert-time.js";

/** `field`: path of the filter, e.g. `filter`. Not given: it matches everything. */
export function toFilter(wire: Opaque<WireFilter> | undefined, field: string): TaskFilter {
  return wire ? filterOf(wire, wire.status, `${field}.`) : {};
}

/** ListTasks has the fields of a filter as its own. */
export function listFilter(request: Opaque<ListTasksRequest>): TaskFilter {
  const { status, statuses } = request;
  return filterOf(request, status ? [status, ...statuses] : statuses, "");
}

type FilterFields = Omit<Opaque<WireFilter>, "status" | "$typeName" | "$unknown">;

function filterOf(
  wire: FilterFields,
  statuses: Opaque<WireFilter>["status"],
  path: string,
): TaskFilter {
  const { createdAfter, createdBefore } = wire;
  const filter: TaskFilter = {
    statuses: statuses.map(toStatus).filter((status) => status !== undefined),
    type: wire.type || undefined,
    queue: wire.queue || undefined,
    tag: wire.tag || undefined,
    errorCode: wire.errorCode || undefined,
    createdAfter: createdAfter && timestampMs(createdAfter, `${path}created_after`),
    createdBefore: createdBefore && timestampMs(createdBefore, `${path}created_before`),
    batchId: wire.batchId.toLowerCase() || undefined,
    schedule: wire.schedule || undefined,
    text: wire.text || undefined,
  };
  checkFilter(filter, path);
  return filter;
}
