import { expect } from "vitest";
import type { Births, Broker } from "../../../src/broker/broker.js";
import { isFinal, type Task } from "../../../src/task/task.js";
import { createSeededRandom } from "../../support/seeded-random.js";
import { createTaskFactory } from "../../support/task-factory.js";
import type { BrokerHarness } from "../broker-harness.js";
import type { ModelTask, ReferenceBroker } from "./reference.js";

/** The broker under test, and what its caller needs to remember. */
export class Real {
  readonly harness: BrokerHarness;
  readonly make: (change: Partial<Task>) => Task;
  readonly made: Task[] = [];
  readonly births: Births[] = [];

  constructor(harness: BrokerHarness, startMs: number) {
    this.harness = harness;
    this.make = createTaskFactory(createSeededRandom(3), () => startMs).task;
  }

  get broker(): Broker {
    return this.harness.broker;
  }
}

/** `expect` is slow, and here called by the hundred thousand: it only tells of a difference. */
function same(seen: string | undefined, wanted: string | undefined): void {
  if (seen !== wanted) expect(seen).toBe(wanted);
}

const lines = (rows: readonly string[]): string => rows.toSorted().join("\n");

/** After every command: each task, the outbox, the counts and the raw structures. */
export async function expectSame(model: ReferenceBroker, real: Real): Promise<void> {
  const ids = real.made.map((task) => task.id);
  const now = await real.broker.now();
  const found = await real.broker.get(ids);
  for (const [index, id] of ids.entries())
    expectTask(found[index], model.tasks.get(id), model, now);
  const told = await real.broker.readOutbox(0, 0, 1_000);
  const entryOf = (id: string, version: number, status: string) => `${id} v${version} ${status}`;
  const entries = told.map(({ task }) => entryOf(task.id, task.version, task.status));
  const owed = model.outbox.map((entry) => entryOf(entry.taskId, entry.version, entry.status));
  same(entries.join("\n"), owed.join("\n"));
  const counts = new Map<string, number>();
  for (const { status, spec } of model.all()) {
    if (isFinal(status)) continue;
    const key = `${spec.queue}/${spec.priority}/${status}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  const rows = (await real.broker.counts("default")).filter(({ tasks }) => tasks !== 0);
  const shown = rows.map((row) => `${row.queue}/${row.priority}/${row.status} ${row.tasks}`);
  same(lines(shown), lines([...counts].map(([key, tasks]) => `${key} ${tasks}`)));
  if (real.harness.audit) same((await real.harness.audit()).join("\n"), "");
}

function expectTask(
  task: Task | undefined,
  expected: ModelTask | undefined,
  model: ReferenceBroker,
  now: number,
): void {
  const seen = task && viewOf(task, now);
  const wanted = expected && modelViewOf(expected, model.now);
  same(seen?.text, wanted?.text);
  if (seen && wanted && Math.abs(seen.waitsMs - wanted.waitsMs) > 5_000)
    expect(seen).toEqual(wanted);
}

type Visible = Pick<Task, (typeof visible)[number]>;
const visible = [
  "status",
  "version",
  "run",
  "attempt",
  "retryCount",
  "leaseLosses",
  "releases",
  "fencingToken",
  "sessionId",
] as const;

function textOf(state: Visible, spec: Task, rest: readonly unknown[]): string {
  const { id, type, priority, groupKey } = spec;
  const fields = visible.map((field) => `${field} ${state[field]}`);
  return [id, type, priority, groupKey, ...fields, ...rest].join(", ");
}

export const waits = (status: string): boolean => status === "scheduled" || status === "retrying";

function viewOf(task: Task, now: number) {
  const ended = task.completedAt !== undefined;
  const asked = task.status === "running" && task.cancelRequestedAt !== undefined;
  const text = textOf(task, task, [`error ${task.error?.code}`, ended, asked]);
  return { text, waitsMs: waits(task.status) ? task.readyAt! - now : 0 };
}

function modelViewOf(task: ModelTask, now: number) {
  const ended = isFinal(task.status);
  const asked = task.status === "running" && task.cancelDueAt !== undefined;
  const text = textOf(task, task.spec, [`error ${task.errorCode}`, ended, asked]);
  return { text, waitsMs: waits(task.status) ? task.readyAt - now : 0 };
}
