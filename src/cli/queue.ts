import { type Command, Option } from "commander";
import type { Client, Queue, QueueSettings, RetryPolicy, TypeSettings } from "../client/index.js";
import { DroverError } from "../errors.js";
import { duration } from "./arguments.js";
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
import { changedPolicy, type RetryFlags, retryOptions, retryPolicyOf } from "./retry-flags.js";
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

interface SetFlags extends CommonFlags, RetryFlags {
  paused?: boolean;
  durability?: "durable" | "relaxed";
  retention?: number;
  type?: string;
  timeout?: number;
  dropType?: string;
}

function addSet(queue: Command, parts: CliParts): void {
  const set = clientCommand(
    queue,
    "set",
    "changes the settings given; makes the queue if it is not there",
  )
    .argument("<name>")
    .option("--paused", "take tasks, lease none")
    .option("--no-paused", "lease again")
    .addOption(
      new Option(
        "--durability <kind>",
        "what OK of a submission means; needs an empty queue",
      ).choices(["durable", "relaxed"]),
    )
    .option("--retention <duration>", "of tasks that give none", duration)
    .option("-t, --type <type>", "the settings of retries that follow are for this type only")
    .option("--timeout <duration>", "with --type: longest run of one attempt", duration)
    .option("--drop-type <type>", "this type goes back to the settings of the queue");
  retryOptions(set).action((name: string, flags: SetFlags) =>
    withClient(parts, flags, async (client) => {
      const change = await changeOf(client, name, flags);
      showQueue(await client.queues.update(name, change, callOptions(flags)), flags, parts);
    }),
  );
}

async function changeOf(client: Client, name: string, flags: SetFlags): Promise<QueueSettings> {
  const { paused, durability, maxRetries, retention, type, timeout, dropType } = flags;
  const retryPolicy = retryPolicyOf(flags);
  if (timeout !== undefined && type === undefined) {
    const hint = "Give --type too: a queue as a whole has no timeout of its own.";
    throw new DroverError("invalid_field", "--timeout is of a type", { hint });
  }
  const change: QueueSettings = given({
    paused,
    durability,
    retentionMs: retention,
    maxRetries: type === undefined ? maxRetries : undefined,
  });
  const policyHere = type === undefined ? retryPolicy : undefined;
  const ofTypes = type !== undefined || dropType !== undefined;
  if (!policyHere && !ofTypes && Object.keys(change).length === 0) {
    const hint = "Give at least one, e.g. --paused; --help lists them.";
    throw new DroverError("invalid_field", "no setting given to change", { hint });
  }
  if (!policyHere && !ofTypes) return change;
  // Each of these is one setting: what is not given here stays as it is. With the etag, so that a
  // change in between is refused and not undone.
  const before = await queueBefore(client, name, flags);
  return given({
    ...change,
    etag: before?.etag,
    retryPolicy: policyHere && changedPolicy(before?.retryPolicy ?? {}, policyHere),
    types: ofTypes ? typesAfter(before?.types ?? {}, flags, retryPolicy) : undefined,
  });
}

function typesAfter(
  before: Readonly<Record<string, TypeSettings>>,
  { type, dropType, maxRetries, timeout }: SetFlags,
  change: RetryPolicy | undefined,
): Record<string, TypeSettings> {
  const types = new Map(Object.entries(before));
  if (dropType !== undefined) types.delete(dropType);
  if (type !== undefined) {
    const known = types.get(type) ?? {};
    const retryPolicy = change && changedPolicy(known.retryPolicy ?? {}, change);
    types.set(type, {
      ...known,
      ...given({ maxRetries, attemptTimeoutMs: timeout, retryPolicy }),
    });
  }
  return Object.fromEntries(types);
}

async function queueBefore(
  client: Client,
  name: string,
  flags: SetFlags,
): Promise<Queue | undefined> {
  try {
    return await client.queues.get(name, callOptions(flags));
  } catch (error) {
    if (error instanceof Error && "id" in error && error.id === "queue_not_found") return undefined;
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
    ["backoff", retryPolicy.backoff],
    ["first backoff", span(initialBackoffMs)],
    ["longest backoff", span(maxBackoffMs)],
    ["multiplier", multiplier],
    ["retry delays", retryPolicy.delaysMs?.map(showDuration).join(" ")],
    ["jitter", jitter],
    ["non-retryable", nonRetryableCodes?.join(" ")],
    ["retention", span(queue.retentionMs)],
    ...Object.entries(queue.types).map(([type, own]) => [`type ${type}`, typeFact(own)] as const),
    ...statsFacts(stats),
  ];
}

function typeFact({ maxRetries, retryPolicy = {}, attemptTimeoutMs }: TypeSettings): string {
  const facts = {
    "max retries": maxRetries,
    backoff: retryPolicy.backoff,
    first: span(retryPolicy.initialBackoffMs),
    longest: span(retryPolicy.maxBackoffMs),
    multiplier: retryPolicy.multiplier,
    delays: retryPolicy.delaysMs?.map(showDuration).join(" "),
    jitter: retryPolicy.jitter,
    "non-retryable": retryPolicy.nonRetryableCodes?.join(" ") || undefined,
    timeout: span(attemptTimeoutMs),
  };
  const known = Object.entries(facts).filter(([, value]) => value !== undefined);
  return known.map(([name, value]) => `${name} ${value}`).join(", ");
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
