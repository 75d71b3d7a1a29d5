import {
  type PurgeTasksRequest,
  type RetryTaskRequest,
  type RetryTasksRequest,
  type TaskService,
} from "../../gen/drover/v1/task_pb.js";
import type { BulkRequest, Coordinator, Redrive } from "../coordinator/coordinator.js";
import { DroverError } from "../errors.js";
import { limits } from "../limits.js";
import { parseTaskId } from "../task/ids.js";
import { refuse } from "../task/rules.js";
import { checkPayload } from "../task/validate.js";
import { namespaceOf } from "./context.js";
import type { Implementation, Opaque } from "./contract.js";
import { toFilter } from "./convert-filter.js";
import { toPayload, toWireTask } from "./convert-task.js";

type Methods = Pick<Implementation<typeof TaskService>, "retryTask" | "retryTasks" | "purgeTasks">;

/** The calls for what has ended: one task, or all of a filter. */
export const redriveMethods = (coordinator: Coordinator): Methods => ({
  async retryTask(request, context) {
    const redrive = toRedrive(request);
    const task = await coordinator.retry(namespaceOf(context), idOf(request), redrive);
    return { task: toWireTask(task) };
  },
  async retryTasks(request, context) {
    const outcome = await coordinator.retryMany(namespaceOf(context), toBulk(request));
    const { matched, done: retried, scanned, nextPageToken } = outcome;
    return { matched, retried, scanned, nextPageToken };
  },
  async purgeTasks(request, context) {
    const outcome = await coordinator.purgeMany(namespaceOf(context), toBulk(request));
    const { matched, done: purged, scanned, nextPageToken } = outcome;
    return { matched, purged, scanned, nextPageToken };
  },
});

export function idOf({ taskId }: { readonly taskId: string }): string {
  const id = parseTaskId(taskId);
  if (id) return id;
  const message = `task_id: expected a UUID, got "${taskId.slice(0, 60)}"`;
  throw new DroverError("invalid_id", message, { field: "task_id" });
}

function toBulk(request: Opaque<RetryTasksRequest | PurgeTasksRequest>): BulkRequest {
  return {
    filter: toFilter(request.filter, "filter"),
    limit: request.limit || limits.bulkTasks,
    dryRun: request.dryRun,
    pageToken: request.pageToken,
  };
}

/** Undefined: the same task is to run again. */
function toRedrive(request: Opaque<RetryTaskRequest>): Redrive | undefined {
  const payload = toPayload("payload", request.payload, request.payloadBlob);
  checkPayload("payload", payload);
  if (payload) return { payload, requestId: request.requestId };
  if (request.requestId !== "") refuse("request_id", "a payload beside it", "none");
  return undefined;
}
