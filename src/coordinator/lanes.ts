import type { EnqueueItem, Lane } from "../broker/broker.js";
import { FreshTask } from "../task/fresh-task.js";
import type { Task, TaskSpec } from "../task/task.js";

/** One string per lane; labels in a fixed order. */
export function laneKey(lane: Lane): string {
  // Most have none; names hold no slash, and none begins as the text of an array does.
  if (isEmpty(lane.requiredLabels)) return `${lane.queue}/${lane.type}/${lane.namespace}`;
  const labels = Object.entries(lane.requiredLabels).sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify([lane.namespace, lane.queue, lane.type, labels]);
}

function isEmpty(labels: Lane["requiredLabels"]): boolean {
  for (const _ in labels) return false;
  return true;
}

export function laneOf(task: TaskSpec): Lane {
  const { namespace, queue, type, requiredLabels } = task;
  return { namespace, queue, type, requiredLabels };
}

/** Of those that may be leased at once. */
export function lanesOf(items: readonly EnqueueItem[]): Lane[] {
  let lanes: Map<string, Lane> | undefined;
  let first: Lane | undefined;
  let last: TaskSpec | undefined;
  for (const item of items) {
    const spec = item instanceof FreshTask ? item.spec : pendingOf(item.task);
    if (!spec || (last && sameLane(last, spec))) continue;
    last = spec;
    const lane = laneOf(spec);
    if (first) (lanes ??= new Map([[laneKey(first), first]])).set(laneKey(lane), lane);
    // Nearly always the only one: it needs no key.
    else first = lane;
  }
  if (lanes) return [...lanes.values()];
  return first ? [first] : [];
}

const pendingOf = (task: Task): Task | undefined => (task.status === "pending" ? task : undefined);

/** Cheap, and true of most neighbours; false says nothing. */
const sameLane = (a: TaskSpec, b: TaskSpec): boolean =>
  a === b ||
  (a.type === b.type &&
    a.queue === b.queue &&
    a.namespace === b.namespace &&
    a.requiredLabels === b.requiredLabels);
