import type { Command } from "commander";
import {
  type Batch,
  type BatchCounts,
  type NewBatch,
  type SubmitOutcome,
  type TaskTemplate,
} from "../client/index.js";
import { limits } from "../limits.js";
import { duration, readPayload, whole } from "./arguments.js";
import { Exit, explain } from "./exit.js";
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

const columns: readonly Column<Batch>[] = [
  { title: "BATCH", cell: ({ id }) => id },
  { title: "STATUS", cell: ({ status }) => status },
  { title: "CREATED", cell: ({ createdAt }) => createdAt },
  { title: "COMPLETED", cell: ({ completedAt }) => completedAt, optional: true },
  { title: "CANCEL ASKED", cell: (batch) => batch.cancelRequestedAt, optional: true },
  { title: "DESCRIPTION", cell: ({ description }) => description, shrinks: true },
];

export function addBatchCommands(program: Command, parts: CliParts): void {
  const batch = program.command("batch").description("tasks that are told of together");
  addCreate(batch, parts);
  addAdd(batch, parts);
  addReads(batch, parts);
  addEnds(batch, parts);
}

interface CreateFlags extends CommonFlags {
  description?: string;
  onComplete?: string;
  onCompletePayload?: string;
  onSuccess?: string;
  onSuccessPayload?: string;
  onFailure?: string;
  onFailurePayload?: string;
  failureThreshold?: number;
  callbackQueue?: string;
}

function addCreate(batch: Command, parts: CliParts): void {
  const payload = "its payload: JSON, @file, or - for stdin";
  clientCommand(batch, "create", "a new, open batch; prints its id")
    .option("--description <text>", "for people")
    .option("--on-complete <type>", "task to make once it is closed and all its tasks have ended")
    .option("--on-complete-payload <json>", payload)
    .option("--on-success <type>", "task to make once it is closed and all are completed")
    .option("--on-success-payload <json>", payload)
    .option("--on-failure <type>", "task to make as soon as so many failed or expired")
    .option("--on-failure-payload <json>", payload)
    .option("--failure-threshold <n>", "so many (default: 1)", whole(1, limits.batchThresholdMax))
    .option("--callback-queue <name>", "where these wait (default: default)")
    .action(async (flags: CreateFlags) => {
      const wanted = await wantedOf(flags, parts);
      await withClient(parts, flags, async (client) => {
        const made = await client.batches.create(wanted, callOptions(flags));
        if (flags.json) printJson(await made.get(callOptions(flags)), parts.terminal);
        else parts.terminal.print(made.id);
      });
    });
}

async function wantedOf(flags: CreateFlags, parts: CliParts): Promise<NewBatch> {
  const template = async (
    type: string | undefined,
    text: string | undefined,
  ): Promise<TaskTemplate | undefined> => {
    if (type === undefined) return undefined;
    const payload = await readPayload(text, parts.terminal);
    return given({ type, payload, queue: flags.callbackQueue });
  };
  return given({
    description: flags.description,
    onComplete: await template(flags.onComplete, flags.onCompletePayload),
    onSuccess: await template(flags.onSuccess, flags.onSuccessPayload),
    onFailure: await template(flags.onFailure, flags.onFailurePayload),
    failureThreshold: flags.failureThreshold,
  });
}

function addAdd(batch: Command, parts: CliParts): void {
  clientCommand(batch, "add", "a task for each payload; prints their ids, says which were refused")
    .argument("<id>", "an open batch")
    .argument("<type>", "names the handler")
    .argument("[payloads...]", "JSON, @file, or - for stdin; none: one task without a payload")
    .option("-q, --queue <name>", "where they wait (default: default)")
    .action(
      async (
        id: string,
        type: string,
        texts: string[],
        flags: CommonFlags & { queue?: string },
      ) => {
        const asked = texts.length > 0 ? texts : [undefined];
        const payloads = await Promise.all(asked.map((text) => readPayload(text, parts.terminal)));
        const options = given({ queue: flags.queue });
        await withClient(parts, flags, async (client) => {
          const tasks = payloads.map((payload) => ({ type, payload, options }));
          const outcomes = await client.batches.handle(id).submitMany(tasks, callOptions(flags));
          showOutcomes(outcomes, flags, parts);
        });
      },
    );
}

function showOutcomes(
  outcomes: readonly SubmitOutcome[],
  flags: CommonFlags,
  { terminal }: CliParts,
): void {
  const said = outcomes.map((outcome) =>
    outcome.ok
      ? { taskId: outcome.id, status: outcome.status, error: undefined }
      : { taskId: "", status: undefined, error: explain(outcome.error) },
  );
  if (flags.json) printJson({ outcomes: said }, terminal);
  for (const { taskId, error } of flags.json ? [] : said) {
    if (error === undefined) terminal.print(taskId);
    else terminal.note(error);
  }
  if (said.some(({ error }) => error !== undefined)) terminal.exitCode(Exit.refused);
}

function addReads(batch: Command, parts: CliParts): void {
  const { terminal, clock } = parts;
  clientCommand(batch, "list", "all batches, newest first; without the counts of their tasks")
    .option("-n, --limit <n>", "at most so many", whole(1, 1_000_000), limits.pageSize)
    .action((flags: CommonFlags & { limit: number }) =>
      withClient(parts, flags, async (client) => {
        const batches: Batch[] = [];
        const pageSize = Math.min(flags.limit, limits.pageSizeMax);
        for await (const each of client.batches.list({ pageSize, ...callOptions(flags) })) {
          batches.push(each);
          if (batches.length >= flags.limit) break;
        }
        const options = { terminal, now: clock.now(), empty: "No batches yet." };
        if (flags.json) printJson({ batches }, terminal);
        else printRows(batches, columns, options);
      }),
    );
  clientCommand(batch, "get", "one batch, and its tasks by status")
    .argument("<id>")
    .action((id: string, flags: CommonFlags) =>
      withClient(parts, flags, async (client) =>
        showBatch(await client.batches.get(id, callOptions(flags)), flags, parts),
      ),
    );
}

interface CancelFlags extends CommonFlags {
  grace?: number;
  reason?: string;
}

function addEnds(batch: Command, parts: CliParts): void {
  clientCommand(batch, "close", "nothing joins from now on")
    .argument("<id>")
    .action((id: string, flags: CommonFlags) =>
      withClient(parts, flags, async (client) =>
        showBatch(await client.batches.close(id, callOptions(flags)), flags, parts),
      ),
    );
  clientCommand(batch, "cancel", "closes it and cancels all its tasks that have not ended")
    .argument("<id>")
    .option("--grace <duration>", "for running handlers to stop (default: 30s)", duration)
    .option("--reason <text>", "for people; kept in the batch and its tasks")
    .action((id: string, flags: CancelFlags) =>
      withClient(parts, flags, async (client) => {
        const { grace: graceMs, reason } = flags;
        const options = given({ graceMs, reason, ...callOptions(flags) });
        showBatch(await client.batches.cancel(id, options), flags, parts);
      }),
    );
  clientCommand(batch, "wait", "until it is complete; exit code 1 unless all its tasks completed")
    .argument("<id>")
    .option("--timeout <duration>", "give up after this long (default: never)", duration)
    .action((id: string, flags: CommonFlags & { timeout?: number }) =>
      withClient(parts, flags, async (client) => {
        const done = await client.batches.wait(id, given({ timeoutMs: flags.timeout }));
        showBatch(done, flags, parts);
        const { total = 0, completed = 0 } = done.counts ?? {};
        if (completed < total) parts.terminal.exitCode(Exit.notCompleted);
      }),
    );
}

function showBatch(batch: Batch, flags: CommonFlags, { terminal, clock }: CliParts): void {
  if (flags.json) printJson(batch, terminal);
  else printFacts(batchFacts(batch), { terminal, now: clock.now() });
}

function batchFacts(batch: Batch): (readonly [string, Cell])[] {
  const { onComplete, onSuccess, onFailure } = batch;
  const called = (of: TaskTemplate | undefined, id: string | undefined): Cell =>
    of && (id === undefined ? `${of.type}, not yet` : `${of.type}, task ${id}`);
  return [
    ["batch", batch.id],
    ["description", batch.description],
    ["status", batch.status],
    ...(batch.counts ? countFacts(batch.counts) : []),
    ["created", batch.createdAt],
    ["closed", batch.closedAt],
    ["completed at", batch.completedAt],
    ["cancel asked", batch.cancelRequestedAt],
    ["cancel reason", batch.cancelReason],
    ["on complete", called(onComplete, batch.completeTaskId)],
    ["on success", called(onSuccess, batch.successTaskId)],
    ["on failure", called(onFailure, batch.failureTaskId)],
    ["failure threshold", batch.failureThreshold],
  ];
}

const countFacts = (counts: BatchCounts): (readonly [string, Cell])[] =>
  Object.entries(counts).flatMap(([status, tasks]: [string, number]) =>
    tasks > 0 || status === "total" ? [[status === "total" ? "tasks" : status, tasks]] : [],
  );
