import type { ListTasksRequest, TaskFilter as WireFilter } from "../../gen/drover/v1/task_pb.js";
import { checkFilter, type TaskFilter } from "../task/filter.js";
import { refuse } from "../task/rules.js";
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
    // One of a list that says nothing would leave more tasks to act on than were meant.
    statuses: statuses.map((one) => toStatus(one) ?? refuse(`${path}status`, "a status", one)),
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
