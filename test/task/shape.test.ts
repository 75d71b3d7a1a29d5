import { expect, test } from "vitest";
import { packTask, unpackTask } from "../../src/broker/redis/record.js";
import { newTask } from "../../src/task/new-task.js";
import { taskShapes } from "../../src/task/shape.js";
import { createSeededRandom } from "../support/seeded-random.js";
import { createTaskFactory } from "../support/task-factory.js";

const members = Object.keys(taskShapes[0]!);

test("tasks that come in and tasks from the store have their members in one order", () => {
  const task = createTaskFactory(createSeededRandom(1), () => 1_000).task();
  const { record } = packTask(task, { inHistory: false, restored: false });
  expect(Object.keys(newTask(task.id, task))).toEqual(members);
  expect(Object.keys(unpackTask(task.id, record))).toEqual(members);
});
