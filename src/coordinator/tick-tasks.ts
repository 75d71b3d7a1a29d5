import type { Schedule } from "../task/schedule/schedule.js";
import type { Task } from "../task/task.js";
import type { TaskMaker } from "./task-maker.js";

/**
 * The task of one tick. Throws a DroverError if no valid one can be made. `idIn`: its id, by slot.
 */
export const tickTask = (
  maker: TaskMaker,
  { namespace, name, task }: Schedule,
  at: number,
  idIn?: (slot: number) => string,
): Promise<Task> => maker.make(namespace, task, { schedule: name, scheduledFor: at }, idIn);
