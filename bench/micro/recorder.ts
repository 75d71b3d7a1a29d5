/**
 * What recording costs: microseconds of CPU a row, in Postgres and in this process, by the size of
 * the batch. `npx tsx bench/micro/recorder.ts [rows a cell, default 20000]`.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import type { Transition } from "../../src/broker/broker.js";
import { systemClock, systemRandom } from "../../src/clock.js";
import type { History } from "../../src/history/history.js";
import { startEmbeddedPostgres } from "../../src/history/postgres/embedded.js";
import { createPostgresHistory } from "../../src/history/postgres/postgres-history.js";
import type { Attempt, Task } from "../../src/task/task.js";
import { createTaskFactory } from "../../test/support/task-factory.js";
import { cpuOf } from "../cpu.js";

const payload = { contentType: "", data: Buffer.alloc(100, "x") };
const result = { contentType: "", data: Buffer.alloc(20, "y") };
const factory = createTaskFactory(systemRandom, () => systemClock.now());

const newTasks = (count: number): Task[] =>
  Array.from({ length: count }, () => factory.task({ payload, durability: "relaxed" }));

const attemptOf = (task: Task, outcome: Attempt["outcome"]): Attempt => ({
  taskId: task.id,
  fencingToken: 7,
  attempt: 1,
  run: 1,
  sessionId: "0190a6b2-7c1e-7abc-8def-0123456789ab",
  workerId: "worker-1@host",
  startedAt: task.createdAt + 2,
  endedAt: task.createdAt + 5,
  outcome,
  error: undefined,
});

function transition(task: Task, change: Partial<Task>, whole: boolean): Transition {
  const state = {
    version: 3,
    attempt: 1,
    fencingToken: 7,
    sessionId: "0190a6b2-7c1e-7abc-8def-0123456789ab",
    workerId: "worker-1@host",
    startedAt: task.createdAt + 2,
    ...change,
  };
  const next: Task = Object.assign(Object.create(null) as object, task, state);
  const outcome = change.status === "completed" ? "completed" : "failed";
  return {
    partition: 0,
    outboxId: "1-0",
    outboxPlace: 0,
    task: whole ? next : Object.assign(next, { payload: undefined }),
    payloadOmitted: !whole,
    attempt: attemptOf(task, outcome),
  };
}

const ended = (task: Task, whole: boolean): Transition =>
  transition(task, { status: "completed", completedAt: task.createdAt + 5, result }, whole);

const retrying = (task: Task): Transition =>
  transition(task, { status: "retrying", readyAt: task.createdAt + 1_000, retryCount: 1 }, false);

interface Cell {
  readonly postgres: number;
  readonly node: number;
  readonly ms: number;
}

/** Batches one after the other, made before the clock runs. */
async function measure<T>(
  pid: number,
  batches: readonly T[][],
  work: (batch: T[]) => Promise<unknown>,
): Promise<Cell> {
  const rows = batches.reduce((sum, batch) => sum + batch.length, 0);
  const [pgBefore, nodeBefore, at] = [cpuOf({ pid }).pid!, process.cpuUsage(), systemClock.now()];
  for (const batch of batches) await work(batch);
  const ms = systemClock.now() - at;
  const { user, system } = process.cpuUsage(nodeBefore);
  await systemClock.sleep(250);
  const postgres = (cpuOf({ pid }).pid! - pgBefore) / rows;
  return { postgres, node: (user + system) / rows, ms: ms / batches.length };
}

const split = <T>(items: readonly T[], size: number): T[][] =>
  Array.from({ length: Math.ceil(items.length / size) }, (_, n) =>
    items.slice(n * size, (n + 1) * size),
  );

async function cellsOf(history: History, pid: number, size: number, rows: number) {
  const tasks = newTasks(rows);
  const inserted = await measure(pid, split(tasks, size), (batch) => history.insert(batch));
  const updates = tasks.map((task) => ended(task, false));
  const updated = await measure(pid, split(updates, size), (batch) => history.record(batch));
  const finals = newTasks(rows).map((task) => ended(task, true));
  const whole = await measure(pid, split(finals, size), (batch) => history.record(batch));
  const waiting = newTasks(rows);
  await history.insert(waiting.slice(0, 1_000));
  for (const part of split(waiting.slice(1_000), 1_000)) await history.insert(part);
  const failed = await measure(pid, split(waiting.map(retrying), size), (batch) =>
    history.record(batch),
  );
  return { "insert new": inserted, "update to final": updated, "insert final": whole, failed };
}

async function main(): Promise<void> {
  const rowsMax = Number(process.argv[2] ?? 20_000);
  const dir = mkdtempSync(path.join(tmpdir(), "drover-micro-"));
  const postgres = await startEmbeddedPostgres({
    dataDir: path.join(dir, "data"),
    persistent: true,
  });
  const history = createPostgresHistory({ url: postgres.url, statementMs: 20_000 });
  try {
    await history.start();
    await cellsOf(history, postgres.pid, 500, 2_000);
    const table: Record<string, string>[] = [];
    for (const size of [1, 10, 100, 1_000]) {
      const rows = Math.min(rowsMax, Math.max(500, size * 200));
      for (const [what, cell] of Object.entries(await cellsOf(history, postgres.pid, size, rows))) {
        table.push({
          batch: String(size),
          what,
          "postgres us/row": cell.postgres.toFixed(1),
          "node us/row": cell.node.toFixed(1),
          "ms/batch": cell.ms.toFixed(2),
        });
      }
    }
    console.table(table);
  } finally {
    await history.stop();
    await postgres.stop();
    rmSync(dir, { recursive: true, force: true });
  }
}

await main();
