import { type Command, Option } from "commander";
import type { Client, Priority, SubmitOptions, Task } from "../client/index.js";
import { limits } from "../limits.js";
import {
  duration,
  label,
  priority,
  readPayload,
  several,
  time,
  timeOrIn,
  whole,
} from "./arguments.js";
import { addEndedCommands } from "./bulk.js";
import { filterOf, type FilterFlags, filterOptions } from "./filter.js";
import { Exit } from "./exit.js";
import { printJson } from "./json.js";
import {
  callOptions,
  clientCommand,
  type CliParts,
  type CommonFlags,
  given,
  withClient,
} from "./parts.js";
import { addCancel } from "./cancel.js";
import { type RetryFlags, retryOptions, retryPolicyOf } from "./retry-flags.js";
import { showAttempts, showTask, showTasks } from "./show-task.js";
import { addWatchCommands } from "./watch.js";

export function addTaskCommands(program: Command, parts: CliParts): void {
  const task = program.command("task").description("submit, read and steer tasks");
  addSubmit(task, parts);
  addReads(task, parts);
  addSteering(task, parts);
  addEndedCommands(task, parts);
  addWatchCommands(task, parts);
}

interface SubmitFlags extends CommonFlags, RetryFlags {
  queue?: string;
  priority?: Priority;
  delay?: number;
  runAt?: Date;
  timeout?: number;
  heartbeatTimeout?: number;
  expireAt?: Date | number;
  finishBy?: Date | number;
  group?: string;
  label?: Record<string, string>;
  tag?: string[];
  idempotencyKey?: string;
  uniqueKey?: string;
  uniqueScope?: Scope;
  uniqueWindow?: number;
  onConflict?: Conflict;
  batch?: string;
  retention?: number;
  wait?: boolean;
}

function addSubmit(task: Command, parts: CliParts): void {
  retryOptions(
    clientCommand(task, "submit", "asks for one unit of work; prints the id of its task"),
  )
    .argument("<type>", "names the handler, e.g. send_email")
    .argument("[payload]", "JSON, @file, or - for stdin")
    .option("-q, --queue <name>", "where it waits (default: default)")
    .option("-p, --priority <level>", "low, medium, high or critical (default: medium)", priority)
    .option("--delay <duration>", "not before this much time from now", duration)
    .option("--run-at <time>", "not before this time, e.g. 2030-01-31T08:00:00Z", time)
    .option("--timeout <duration>", "longest run of one attempt (default: 15m)", duration)
    .option("--heartbeat-timeout <duration>", "longest silence of an attempt, from 1s", duration)
    .option("--expire-at <time>", "not started by then: expired; or a duration from now", timeOrIn)
    .option("--finish-by <time>", "its deadline: final by then; or a duration from now", timeOrIn)
    .option("--group <key>", "fairness flow: groups share the workers of a queue evenly")
    .option("--label <name=value>", "a worker must carry it; may be given again", label)
    .option("--tag <tag>", "a mark to filter by; may be given again", several)
    .option("--idempotency-key <key>", "the same key gives the same task for 24 h")
    .option("--unique-key <key>", "at most one live task of the queue has it")
    .addOption(new Option("--unique-scope <scope>", "how long it is taken").choices(scopes))
    .option("--unique-window <duration>", "of for_time and debounce", duration)
    .addOption(new Option("--on-conflict <what>", "where the key is taken").choices(conflicts))
    .option("--batch <id>", "an open batch that it joins")
    .option("--retention <duration>", "how long the ended task is kept (default: 7d)", duration)
    .option("-w, --wait", "until it ends, and show it; exit code 1 unless it completed")
    .action(async (type: string, given: string | undefined, flags: SubmitFlags) => {
      const payload = await readPayload(given, parts.terminal);
      await withClient(parts, flags, async (client) => {
        const options = { ...submitOptions(flags, parts.clock), ...callOptions(flags) };
        const submitted = await client.submit(type, payload, options);
        if (flags.wait) return await waitFor(client, submitted.id, undefined, flags, parts);
        if (flags.json)
          printJson({ taskId: submitted.id, status: submitted.status }, parts.terminal);
        else parts.terminal.print(submitted.id);
        const note = notes[submitted.status];
        if (note) parts.terminal.note(`drover: ${note}`);
      });
    });
}

const notes: Readonly<Record<string, string>> = {
  existing: "the key was seen before; this is the task that has it",
  replaced: "the key was taken by a task that waited; this one has taken its place",
  debounced: "the key was taken by a task that waited; this one has taken its place, and waits",
};

const scopes = ["until_final", "until_started", "for_time"] as const;
type Scope = (typeof scopes)[number];
const conflicts = ["return_existing", "reject", "replace", "debounce"] as const;
type Conflict = (typeof conflicts)[number];

function uniqueOf(flags: SubmitFlags): SubmitOptions["unique"] {
  const { uniqueScope: scope, uniqueWindow: windowMs, onConflict } = flags;
  const unique = given({ scope, windowMs, onConflict });
  return Object.keys(unique).length > 0 ? unique : undefined;
}

function submitOptions(flags: SubmitFlags, clock: CliParts["clock"]): SubmitOptions {
  const at = (when: Date | number | undefined): Date | undefined =>
    typeof when === "number" ? new Date(clock.now() + when) : when;
  return given({
    queue: flags.queue,
    priority: flags.priority,
    maxRetries: flags.maxRetries,
    retryPolicy: retryPolicyOf(flags),
    delayMs: flags.delay,
    runAt: flags.runAt,
    attemptTimeoutMs: flags.timeout,
    heartbeatTimeoutMs: flags.heartbeatTimeout,
    expireAt: at(flags.expireAt),
    deadline: at(flags.finishBy),
    groupKey: flags.group,
    requiredLabels: flags.label,
    tags: flags.tag,
    idempotencyKey: flags.idempotencyKey,
    uniqueKey: flags.uniqueKey,
    unique: uniqueOf(flags),
    batchId: flags.batch,
    retentionMs: flags.retention,
  });
}

interface ListFlags extends CommonFlags, FilterFlags {
  limit: number;
}

const listLimitMax = 1_000_000;

function addReads(task: Command, parts: CliParts): void {
  clientCommand(task, "get", "one task as it stands")
    .argument("<id>")
    .action((id: string, flags: CommonFlags) =>
      withClient(parts, flags, async (client) =>
        showTask(await client.get(id, callOptions(flags)), flags, parts),
      ),
    );
  filterOptions(
    clientCommand(task, "list", "tasks, newest first; the failed ones are the dead letters"),
  )
    .option("-n, --limit <n>", "at most so many", whole(1, listLimitMax), limits.pageSize)
    .action((flags: ListFlags) =>
      withClient(parts, flags, async (client) =>
        showTasks(await listTasks(client, flags, parts), flags, parts),
      ),
    );
  clientCommand(task, "attempts", "every grant of a task to a worker, oldest first")
    .argument("<id>")
    .option("--stacks", "with the stack of each error")
    .action((id: string, flags: CommonFlags & { stacks?: boolean }) =>
      withClient(parts, flags, async (client) =>
        showAttempts(await client.attempts(id, callOptions(flags)), flags, parts),
      ),
    );
}

async function listTasks(client: Client, flags: ListFlags, parts: CliParts): Promise<Task[]> {
  const { limit } = flags;
  const tasks: Task[] = [];
  const pageSize = Math.min(limit, limits.pageSizeMax);
  const filter = { ...filterOf(flags, parts), pageSize, ...callOptions(flags) };
  for await (const task of client.list(filter)) {
    tasks.push(task);
    if (tasks.length >= limit) break;
  }
  return tasks;
}

function addSteering(task: Command, parts: CliParts): void {
  addCancel(task, parts);
  clientCommand(task, "wait", "until a task ends, and show it; exit code 1 unless it completed")
    .argument("<id>")
    .option("--timeout <duration>", "give up after this long (default: never)", duration)
    .action((id: string, flags: CommonFlags & { timeout?: number }) =>
      withClient(parts, flags, (client) => waitFor(client, id, flags.timeout, flags, parts)),
    );
}

/** `timeoutMs` of the wait, none: for ever. */
async function waitFor(
  client: Client,
  id: string,
  timeoutMs: number | undefined,
  flags: CommonFlags,
  parts: CliParts,
): Promise<void> {
  const task = await client.wait(id, given({ timeoutMs }));
  showTask(task, flags, parts);
  if (task.status !== "completed") parts.terminal.exitCode(Exit.notCompleted);
}
