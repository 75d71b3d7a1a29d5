import { type Command, Option } from "commander";
import type { Client, Queue, QueueSettings, RetryPolicy } from "../client/index.js";
import { DroverError } from "../errors.js";
import { limits } from "../limits.js";
import { decimal, duration, several, whole } from "./arguments.js";
import { showDuration } from "./duration.js";
import { printJson } from "./json.js";
import {
  callOptions,
  clientCommand,
  type CliParts,
  type CommonFlags,
  given,
  withClient,
} from "./parts.js";
import { type Cell, type Column, printFacts, printRows } from "./table.js";

const columns: readonly Column<Queue>[] = [
  { title: "QUEUE", cell: ({ name }) => name, shrinks: true },
  { title: "STATE", cell: ({ paused }) => (paused ? "paused" : "open") },
  { title: "PENDING", cell: ({ stats }) => stats.pending },
  { title: "PROCESSING", cell: ({ stats }) => stats.processing },
  { title: "SCHEDULED", cell: ({ stats }) => stats.scheduled, optional: true },
  { title: "RETRYING", cell: ({ stats }) => stats.retrying, optional: true },
  { title: "FAILED", cell: ({ stats }) => stats.failed },
  { title: "COMPLETED", cell: ({ stats }) => stats.completed, optional: true },
  { title: "DURABILITY", cell: ({ durability }) => durability, optional: true },
  { title: "WORKERS", cell: ({ stats }) => stats.workers, optional: true },
];

export function addQueueCommands(program: Command, parts: CliParts): void {
  const queue = program.command("queue").description("queues, their counts and settings");
  clientCommand(queue, "list", "all queues that were used or set, by name").action(
    (flags: CommonFlags) =>
      withClient(parts, flags, async (client) => {
        const queues: Queue[] = [];
        for await (const each of client.queues.list(callOptions(flags))) queues.push(each);
        const options = {
          terminal: parts.terminal,
          now: parts.clock.now(),
          empty: "No queues yet.",
        };
        if (flags.json) printJson({ queues }, parts.terminal);
        else printRows(queues, columns, options);
      }),
  );
  clientCommand(queue, "get", "settings and counts of one queue")
    .argument("<name>")
    .action((name: string, flags: CommonFlags) =>
      withClient(parts, flags, async (client) =>
        showQueue(await client.queues.get(name, callOptions(flags)), flags, parts),
      ),
    );
  addSet(queue, parts);
}

interface SetFlags extends CommonFlags {
  paused?: boolean;
  durability?: "durable" | "relaxed";
  maxRetries?: number;
  retention?: number;
  initialBackoff?: number;
  maxBackoff?: number;
  multiplier?: number;
  jitter?: number;
  nonRetryable?: string[];
}

function addSet(queue: Command, parts: CliParts): void {
  clientCommand(queue, "set", "changes the settings given; makes the queue if it is not there")
    .argument("<name>")
    .option("--paused", "take tasks, lease none")
    .option("--no-paused", "lease again")
    .addOption(
      new Option(
        "--durability <kind>",
        "what OK of a submission means; needs an empty queue",
      ).choices(["durable", "relaxed"]),
    )
    .option("--max-retries <n>", "of tasks that give none", whole(0, limits.maxRetriesMax))
    .option("--retention <duration>", "of tasks that give none", duration)
    .option("--initial-backoff <duration>", "wait before the first retry", duration)
    .option("--max-backoff <duration>", "longest wait before a retry", duration)
    .option("--multiplier <number>", "growth of that wait, 1 to 10", decimal(1, 10))
    .option("--jitter <share>", "spread of that wait, 0 to 1", decimal(0, 1))
    .option("--non-retryable <code>", "error code that ends a task; may be given again", several)
    .action((name: string, flags: SetFlags) =>
      withClient(parts, flags, async (client) => {
        const change = await changeOf(client, name, flags);
        showQueue(await client.queues.update(name, change, callOptions(flags)), flags, parts);
      }),
    );
}

async function changeOf(client: Client, name: string, flags: SetFlags): Promise<QueueSettings> {
  const { paused, durability, maxRetries, retention } = flags;
  const change: QueueSettings = given({ paused, durability, maxRetries, retentionMs: retention });
  const retry = retryOf(flags);
  if (Object.keys(retry).length === 0 && Object.keys(change).length === 0) {
    const hint = "Give at least one, e.g. --paused; --help lists them.";
    throw new DroverError("invalid_field", "no setting given to change", { hint });
  }
  if (Object.keys(retry).length === 0) return change;
  // The retry policy is one setting: what is not given here stays as it is.
  const before = await policyOf(client, name, flags);
  return { ...change, ...before, retryPolicy: { ...before.retryPolicy, ...retry } };
}

const retryOf = (flags: SetFlags): RetryPolicy =>
  given({
    initialBackoffMs: flags.initialBackoff,
    maxBackoffMs: flags.maxBackoff,
    multiplier: flags.multiplier,
    jitter: flags.jitter,
    nonRetryableCodes: flags.nonRetryable,
  });

/** With its etag, so that a change in between is refused and not undone. */
async function policyOf(
  client: Client,
  name: string,
  flags: SetFlags,
): Promise<Pick<QueueSettings, "retryPolicy" | "etag">> {
  try {
    const { retryPolicy, etag } = await client.queues.get(name, callOptions(flags));
    return given({ retryPolicy, etag });
  } catch (error) {
    if (error instanceof Error && "id" in error && error.id === "queue_not_found") return {};
    throw error;
  }
}

function showQueue(queue: Queue, flags: CommonFlags, { terminal, clock }: CliParts): void {
  if (flags.json) printJson(queue, terminal);
  else printFacts(queueFacts(queue), { terminal, now: clock.now() });
}

function queueFacts({ stats, retryPolicy = {}, ...queue }: Queue): (readonly [string, Cell])[] {
  const { initialBackoffMs, maxBackoffMs, multiplier, jitter, nonRetryableCodes } = retryPolicy;
  return [
    ["queue", queue.name],
    ["state", queue.paused ? "paused" : "open"],
    ["durability", queue.durability],
    ["max retries", queue.maxRetries],
    ["first backoff", span(initialBackoffMs)],
    ["longest backoff", span(maxBackoffMs)],
    ["multiplier", multiplier],
    ["jitter", jitter],
    ["non-retryable", nonRetryableCodes?.join(" ")],
    ["retention", span(queue.retentionMs)],
    ...statsFacts(stats),
  ];
}

const span = (ms: number | undefined): string | undefined =>
  ms === undefined ? undefined : showDuration(ms);

export const statsFacts = (stats: Queue["stats"]): (readonly [string, Cell])[] => [
  ["pending", stats.pending],
  ["processing", stats.processing],
  ["scheduled", stats.scheduled],
  ["retrying", stats.retrying],
  ["blocked", stats.blocked],
  ["completed", stats.completed],
  ["failed", stats.failed],
  ["cancelled", stats.cancelled],
  ["expired", stats.expired],
  ["workers", stats.workers],
];
