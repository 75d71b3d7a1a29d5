import { createClient } from "drover/client";
import { demoTasks, type DemoTask } from "./demo-tasks.js";
import {
  checkEffects,
  countByClient,
  countBySql,
  type Effect,
  type FinishedTask,
} from "./effects.js";
import { createBoard, type Row } from "./lib/board.js";

export interface DemoOptions {
  grpcAddress: string;
  httpUrl: string;
  mailUrl: string;
  sampleUrl: string;
  /** Undefined: history is in memory. */
  database: { url: string; schema: string } | undefined;
  /** Look at the effects from outside the worker. */
  check: boolean;
  signal: AbortSignal;
}

interface ShownTask extends FinishedTask {
  status: string;
  attempt: number;
  worker_id: string;
  error: { code: string; message: string } | null;
}

const ended = new Set(["completed", "failed", "cancelled", "expired"]);
const say = (line: string): void => void process.stdout.write(`${line}\n`);
/** Longest wait for the four tasks. */
const patienceMs = 120_000;

/** Submits the sample tasks, two over REST and two over gRPC, and shows them run to the end. */
export async function runDemo(options: DemoOptions): Promise<boolean> {
  say(`Drover is up: gRPC on ${options.grpcAddress}, REST on ${options.httpUrl}`);
  say(`Mails are caught at ${options.mailUrl}\n`);
  const ids = await submitAll(options);
  const tasks = await watch(options, ids);
  let ok = tasks.every((task) => task.status === "completed");
  for (const task of tasks) {
    if (task.error) say(`${task.type}: ${task.error.code}: ${task.error.message}`);
  }
  if (options.check) ok = showEffects(await effectsOf(options, tasks)) && ok;
  say(ok ? "\nAll four sample tasks did their work." : "\nNot every sample task did its work.");
  if (!options.check) showNext(options, ids[0] ?? "");
  return ok;
}

async function submitAll(options: DemoOptions): Promise<string[]> {
  const client = createClient({ address: options.grpcAddress });
  try {
    const ids: string[] = [];
    for (const [index, task] of demoTasks(options.sampleUrl).entries()) {
      const id =
        index % 2 === 0
          ? await submitByRest(options, task)
          : (
              await client.submit(task.type, task.payload, {
                priority: task.priority,
                maxRetries: task.max_retries,
              })
            ).id;
      ids.push(id);
    }
    return ids;
  } finally {
    await client.close();
  }
}

async function submitByRest(options: DemoOptions, task: DemoTask): Promise<string> {
  const response = await fetch(`${options.httpUrl}/api/v1/tasks`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(task),
    signal: options.signal,
  });
  const body = (await response.json()) as { task_id: string; error?: { message: string } };
  if (!response.ok)
    throw new Error(`POST /api/v1/tasks: ${body.error?.message ?? response.status}`);
  return body.task_id;
}

/** Draws the table anew whenever a task has changed; gives up after two minutes. */
async function watch(options: DemoOptions, ids: readonly string[]): Promise<ShownTask[]> {
  const board = createBoard(process.stdout);
  const signal = AbortSignal.any([options.signal, AbortSignal.timeout(patienceMs)]);
  for (;;) {
    const tasks = await Promise.all(ids.map((id) => read(options, id, signal)));
    board.show(tasks.map(rowOf));
    const waiting = tasks.find((task) => !ended.has(task.status));
    if (!waiting || signal.aborted) {
      board.end();
      return tasks;
    }
    // Long polls pace the loop: the first running task, a tenth of a second at a time.
    await fetch(`${options.httpUrl}/api/v1/tasks/${waiting.id}:wait?timeout=0.1s`, { signal });
  }
}

async function read(options: DemoOptions, id: string, signal: AbortSignal): Promise<ShownTask> {
  const response = await fetch(`${options.httpUrl}/api/v1/tasks/${id}`, { signal });
  if (!response.ok) throw new Error(`GET /api/v1/tasks/${id} answered ${response.status}`);
  return (await response.json()) as ShownTask;
}

function rowOf(task: ShownTask): Row {
  const result = task.status === "completed" ? summary(task.result) : (task.error?.message ?? "");
  return [task.id, task.type, task.status, String(task.attempt), task.worker_id, result];
}

/** The first few facts of a result. */
function summary(result: unknown): string {
  if (typeof result !== "object" || result === null) return JSON.stringify(result) ?? "";
  return Object.entries(result)
    .filter(([, value]) => typeof value !== "object")
    .slice(0, 3)
    .map(([name, value]) => `${name}=${String(value)}`)
    .join(" ");
}

function effectsOf(options: DemoOptions, tasks: readonly ShownTask[]): Promise<Effect[]> {
  const { database } = options;
  const countTasks = database
    ? countBySql({ databaseUrl: database.url, schema: database.schema })
    : countByClient(options.grpcAddress);
  const { mailUrl, sampleUrl } = options;
  return checkEffects(tasks, { mailUrl, sampleUrl, countTasks });
}

function showEffects(effects: readonly Effect[]): boolean {
  say("\nSeen from outside the worker:");
  for (const { name, ok, evidence } of effects)
    say(`  ${ok ? "ok  " : "FAIL"} ${name}: ${evidence}`);
  return effects.every(({ ok }) => ok);
}

function showNext({ httpUrl, grpcAddress }: DemoOptions, id: string): void {
  const task =
    '{"type":"send_email","payload":{"recipient":"you@example.com","subject":"Hi","body":"There"}}';
  say(`
Try it (everything stays up until Ctrl-C):
  curl -s -X POST ${httpUrl}/api/v1/tasks -H 'content-type: application/json' -d '${task}'
  curl -s ${httpUrl}/api/v1/tasks/${id}
  curl -s ${httpUrl}/api/v1/stats
  grpcurl -plaintext -d '{"task":${task}}' ${grpcAddress} drover.v1.TaskService/SubmitTask
  grpcurl -plaintext ${grpcAddress} list
  DROVER_ADDR=${grpcAddress} npx drover task list`);
}
