import type { HandlerContext } from "@connectrpc/connect";
import {
  TaskService,
  type ListTasksRequest,
  type SubmitTasksRequest,
} from "../../gen/drover/v1/task_pb.js";
import type { Clock } from "../clock.js";
import type { Coordinator, Submission, SubmitOutcome } from "../coordinator/coordinator.js";
import { DroverError } from "../errors.js";
import type { ListQuery } from "../history/history.js";
import { limits } from "../limits.js";
import { checkName, refuse } from "../task/rules.js";
import type { Task } from "../task/task.js";
import { idOf, redriveMethods } from "./redrive.js";
import { withCallerTrace } from "./caller-trace.js";
import { cancelMany, cancelOne } from "./cancel-calls.js";
import { namespaceOf } from "./context.js";
import {
  mount,
  type DirectCall,
  type Implementation,
  type MountedService,
  type Opaque,
} from "./contract.js";
import { listFilter } from "./convert-filter.js";
import { toWireLogEntry } from "./convert-log.js";
import { toDraft, toWireAttempt, toWireTask } from "./convert-task.js";
import { toWireStats } from "./convert-queue.js";
import { durationMs } from "./convert-time.js";
import { readSubmitRequest, writeSubmitResponse } from "./hot/submit-frames.js";
import { toPage } from "./page.js";
import { submitStream, toWireOutcome } from "./submit-stream.js";
import { watchTasks } from "./watch-stream.js";

/** Long polls without a timeout of their own. */
const defaultWaitMs = 30_000;
/** Room for everything else in a reply of 4 MiB. */
const pageBytes = limits.messageBytes - 512 * 1024;

/** Producers: each method parses, makes one call of the coordinator, and replies. */
export const taskService = (coordinator: Coordinator, clock: Clock): MountedService =>
  mount(TaskService, methods(coordinator, clock), {
    submitTask: (bytes, call) => submitDirect(coordinator, bytes, call),
  });

function methods(coordinator: Coordinator, clock: Clock): Implementation<typeof TaskService> {
  return {
    async submitTask(request, context) {
      const draft = withCallerTrace(toDraft(request.task), context.requestHeader);
      const submission = { draft, requestId: request.requestId };
      const [outcome] = await coordinator.submit(namespaceOf(context), [submission]);
      if (outcome!.kind === "refused") throw outcome!.error;
      return toWireOutcome(outcome!);
    },
    async submitTasks(request, context) {
      const outcomes = await submitAll(coordinator, context, request);
      return { outcomes: outcomes.map(toWireOutcome) };
    },
    submitStream: (_, context) => submitStream(coordinator, context),
    async getTask(request, context) {
      return { task: toWireTask(await coordinator.get(namespaceOf(context), idOf(request))) };
    },
    async listTasks(request, context) {
      const { tasks, nextPageToken, scanned } = await listFitting(
        coordinator,
        toListQuery(namespaceOf(context), request),
      );
      return { tasks: tasks.map(toWireTask), nextPageToken, scanned };
    },
    async cancelTask(request, context) {
      return cancelOne(coordinator, namespaceOf(context), idOf(request), request);
    },
    async cancelTasks(request, context) {
      return cancelMany(coordinator, namespaceOf(context), request);
    },
    ...redriveMethods(coordinator),
    async waitTask(request, context) {
      const { timeout } = request;
      const timeoutMs = timeout ? Math.ceil(durationMs(timeout, "timeout")) : defaultWaitMs;
      const namespace = namespaceOf(context);
      const { signal } = context;
      const waited = await coordinator.wait(namespace, idOf(request), timeoutMs, signal);
      return { task: toWireTask(waited.task), finished: waited.finished };
    },
    async listAttempts(request, context) {
      const attempts = await coordinator.attempts(namespaceOf(context), idOf(request));
      return { attempts: attempts.map(toWireAttempt) };
    },
    async listLogs(request, context) {
      const { attempt } = request;
      const namespace = namespaceOf(context);
      const page = toPage(request);
      const found = await coordinator.logs(namespace, idOf(request), attempt || undefined, page);
      return { entries: found.entries.map(toWireLogEntry), nextPageToken: found.nextPageToken };
    },
    async getStats(request, context) {
      const { queue } = request;
      if (queue !== "") checkName("queue", queue);
      const stats = await coordinator.stats(namespaceOf(context), queue || undefined);
      return { stats: toWireStats(stats) };
    },
    watchTasks: (request, context) => watchTasks(coordinator, clock, request, context),
  };
}

/** As `submitTask`, from bytes to bytes. */
async function submitDirect(
  coordinator: Coordinator,
  bytes: Buffer,
  { namespace, headers }: DirectCall,
): Promise<Buffer> {
  const { draft, requestId } = readSubmitRequest(bytes);
  const submission = { draft: withCallerTrace(draft, headers), requestId };
  const [outcome] = await coordinator.submit(namespace, [submission]);
  if (outcome!.kind === "refused") throw outcome!.error;
  return writeSubmitResponse(outcome!);
}

async function submitAll(
  coordinator: Coordinator,
  context: HandlerContext,
  { tasks, requestIds }: Opaque<SubmitTasksRequest>,
): Promise<SubmitOutcome[]> {
  if (tasks.length === 0) refuse("tasks", `1 to ${limits.submitItems} tasks`, "none");
  if (tasks.length > limits.submitItems) {
    const message = `tasks: expected at most ${limits.submitItems}, got ${tasks.length}`;
    throw new DroverError("too_many_items", message, { field: "tasks" });
  }
  if (requestIds.length !== 0 && requestIds.length !== tasks.length) {
    refuse("request_ids", `none, or one for each of ${tasks.length} tasks`, requestIds.length);
  }
  const outcomes: SubmitOutcome[] = [];
  const sound: { readonly index: number; readonly submission: Submission }[] = [];
  for (const [index, task] of tasks.entries()) {
    try {
      const draft = withCallerTrace(toDraft(task), context.requestHeader);
      const submission = { draft, requestId: requestIds[index] ?? "" };
      sound.push({ index, submission });
    } catch (thrown) {
      outcomes[index] = { kind: "refused", error: DroverError.from(thrown) };
    }
  }
  const submissions = sound.map((it) => it.submission);
  const given = await coordinator.submit(namespaceOf(context), submissions);
  for (const [at, { index }] of sound.entries()) outcomes[index] = given[at]!;
  return outcomes;
}

function toListQuery(namespace: string, request: Opaque<ListTasksRequest>): ListQuery {
  const { pageSize, pageToken } = request;
  return Object.assign(
    { namespace, pageSize: pageSize || limits.pageSize, pageToken },
    listFilter(request),
  );
}

/** A page that would not fit a message is read again, shorter: its token then leads to the rest. */
async function listFitting(coordinator: Coordinator, query: ListQuery) {
  const page = await coordinator.list(query);
  let bytes = 0;
  const over = page.tasks.findIndex((task) => (bytes += roughBytes(task)) > pageBytes);
  if (over === -1) return page;
  return coordinator.list({ ...query, pageSize: Math.max(1, over) });
}

function roughBytes(task: Task): number {
  const texts = (task.error?.message.length ?? 0) + (task.error?.stack?.length ?? 0);
  const data = (task.payload?.data.length ?? 0) + (task.result?.data.length ?? 0);
  const tags = task.tags.reduce((sum, tag) => sum + tag.length, 0);
  return data + 3 * (texts + tags) + 8 * 1024;
}
