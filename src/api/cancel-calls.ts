import type { CancelTaskRequest, CancelTasksRequest } from "../../gen/drover/v1/task_pb.js";
import type { Coordinator } from "../coordinator/coordinator.js";
import { limits } from "../limits.js";
import { checkLength, checkWhole } from "../task/rules.js";
import type { Opaque } from "./contract.js";
import { toFilter } from "./convert-filter.js";
import { toWireTask } from "./convert-task.js";
import { durationMs } from "./convert-time.js";

/** CancelTask and CancelTasks, read and answered. */
export async function cancelOne(
  coordinator: Coordinator,
  namespace: string,
  taskId: string,
  request: Opaque<CancelTaskRequest>,
) {
  const { graceMs, reason } = termsOf(request);
  return { task: toWireTask(await coordinator.cancel(namespace, taskId, graceMs, reason)) };
}

export async function cancelMany(
  coordinator: Coordinator,
  namespace: string,
  request: Opaque<CancelTasksRequest>,
) {
  const { limit, dryRun, pageToken } = request;
  checkWhole("limit", limit, 0, limits.bulkTasks);
  return coordinator.cancelMany(namespace, {
    filter: toFilter(request.filter, "filter"),
    limit: limit || limits.bulkTasks,
    dryRun,
    pageToken,
    ...termsOf(request),
  });
}

function termsOf({ grace, reason }: Pick<Opaque<CancelTaskRequest>, "grace" | "reason">) {
  checkLength("reason", reason, 0, limits.cancelReasonLength);
  return { graceMs: grace ? Math.ceil(durationMs(grace, "grace")) : limits.cancelGraceMs, reason };
}
