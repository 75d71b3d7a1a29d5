import type { WatchTasksRequest, WatchTasksResponse } from "../../gen/drover/v1/task_pb.js";
import type { TaskEvent } from "../coordinator/coordinator.js";
import { DroverError } from "../errors.js";
import { limits } from "../limits.js";
import { parseTaskId } from "../task/ids.js";
import { checkLength, refuse } from "../task/rules.js";
import { isFinal, type Task } from "../task/task.js";
import type { Opaque, OpaqueInit } from "./contract.js";
import { toWireLogEntry } from "./convert-log.js";
import { toWireError, toWireTask, wireStatus } from "./convert-task.js";
import { toTimestampIf } from "./convert-time.js";

/** The tasks of a watch, each once, in the order given. */
export function watchedIds({ taskIds, taskId }: Opaque<WatchTasksRequest>): string[] {
  const given = taskId === "" ? taskIds : [taskId, ...taskIds];
  if (given.length === 0) refuse("task_ids", `1 to ${limits.watchTasks} ids`, "none");
  if (given.length > limits.watchTasks) {
    const message = `task_ids: expected at most ${limits.watchTasks}, got ${given.length}`;
    throw new DroverError("too_many_items", message, { field: "task_ids" });
  }
  const ids = given.map((text, nth) => {
    const id = parseTaskId(text);
    if (id) return id;
    const field = taskId === "" ? `task_ids[${nth}]` : nth === 0 ? "task_id" : "task_ids";
    const message = `${field}: expected a UUID, got "${text.slice(0, 60)}"`;
    throw new DroverError("invalid_id", message, { field });
  });
  return [...new Set(ids)];
}

export function checkCursor(cursor: string): string {
  checkLength("cursor", cursor, 0, limits.watchCursorLength);
  return cursor;
}

export function toWireEvent(event: TaskEvent): OpaqueInit<WatchTasksResponse> {
  const { taskId, cursor } = event;
  switch (event.kind) {
    case "status":
      return { taskId, cursor, task: shown(event.task), event: statusOf(event.step) };
    case "progress": {
      const value = { ...event.progress, attempt: event.attempt };
      return { taskId, cursor, event: { case: "progress", value } };
    }
    case "logs": {
      const value = { entries: event.entries.map(toWireLogEntry) };
      return { taskId, cursor, event: { case: "logs", value } };
    }
  }
}

type Event = NonNullable<OpaqueInit<WatchTasksResponse>["event"]>;

const statusOf = (step: Extract<TaskEvent, { kind: "status" }>["step"]): Event => ({
  case: "status",
  value: {
    status: wireStatus[step.status],
    final: isFinal(step.status),
    attempt: step.attempt,
    run: step.run,
    time: toTimestampIf(step.time),
    workerId: step.workerId,
    error: toWireError(step.error),
    cancelRequested: step.cancelRequested,
  },
});

/** What was asked is known to who watches; a checkpoint is for handlers. */
function shown(task: Task | undefined) {
  if (!task) return undefined;
  const wire = toWireTask(Object.assign({ ...task }, { pendingReason: undefined }));
  return Object.assign(wire, {
    payload: undefined,
    payloadBlob: undefined,
    checkpoint: undefined,
    checkpointBlob: undefined,
  });
}
