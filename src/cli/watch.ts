import type { Command } from "commander";
import { isFinal, type LogEntry, type TaskEvent } from "../client/index.js";
import { limits } from "../limits.js";
import { whole } from "./arguments.js";
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

/** `task watch` and `task logs`. With --json each event, or entry, is a line of its own. */
export function addWatchCommands(task: Command, parts: CliParts): void {
  clientCommand(task, "watch", "status, progress and logs until tasks end; 1 unless all completed")
    .argument("<id...>")
    .option("--cursor <cursor>", "only what came after this event of an earlier watch")
    .action((ids: string[], flags: CommonFlags & { cursor?: string }) => watch(ids, flags, parts));
  clientCommand(task, "logs", "what the handlers of a task logged, oldest first")
    .argument("<id>")
    .option("-f, --follow", "go on until the task ends")
    .option("--attempt <n>", "only this attempt", whole(1, 1_000_000))
    .action((id: string, flags: LogFlags) =>
      flags.follow ? follow(id, flags, parts) : logs(id, flags, parts),
    );
}

interface LogFlags extends CommonFlags {
  follow?: boolean;
  attempt?: number;
}

async function watch(
  ids: readonly string[],
  flags: CommonFlags & { cursor?: string },
  parts: CliParts,
): Promise<void> {
  const ends = new Map<string, string>();
  await withClient(parts, flags, async (client) => {
    const options = given({ cursor: flags.cursor, giveUpMs: flags.deadline });
    for await (const event of client.watch(ids, options)) {
      if (event.type === "status") ends.set(event.taskId, event.status);
      printEvent(event, ids.length > 1, flags, parts);
    }
  });
  const statuses = ids.map((id) => ends.get(id));
  // Resumed behind the end of a task, a watch does not hear of it again.
  if (statuses.some((status) => status !== undefined && status !== "completed")) {
    parts.terminal.exitCode(Exit.notCompleted);
  }
}

async function logs(id: string, flags: LogFlags, parts: CliParts): Promise<void> {
  await withClient(parts, flags, async (client) => {
    const { attempt } = flags;
    const options = given({ attempt, pageSize: limits.pageSizeMax, ...callOptions(flags) });
    for await (const entry of client.logs(id, options)) printEntry(entry, flags, parts);
  });
}

async function follow(id: string, flags: LogFlags, parts: CliParts): Promise<void> {
  await withClient(parts, flags, async (client) => {
    for await (const event of client.watch(id, { giveUpMs: flags.deadline })) {
      if (event.type !== "logs") continue;
      for (const entry of event.entries) {
        if (flags.attempt === undefined || entry.attempt === flags.attempt) {
          printEntry(entry, flags, parts);
        }
      }
    }
  });
}

function printEvent(event: TaskEvent, named: boolean, flags: CommonFlags, parts: CliParts): void {
  const { terminal } = parts;
  if (flags.json) return printLine(event, parts);
  const who = named ? `${event.taskId} ` : "";
  if (event.type === "logs") {
    for (const entry of event.entries) terminal.print(`${who}${entryLine(entry)}`);
  } else terminal.print(`${who}${eventLine(event)}`);
}

function eventLine(event: Exclude<TaskEvent, { type: "logs" }>): string {
  if (event.type === "progress") {
    const percent = `${Math.round(event.fraction * 100)}%`;
    return `${percent} ${event.message}`.trimEnd();
  }
  const { status, attempt, time, workerId, error } = event;
  const parts = [time?.toISOString(), status.toUpperCase()];
  if (attempt > 0 && !isFinal(status)) parts.push(`attempt ${attempt}`);
  if (status === "running" && workerId) parts.push(`on ${workerId}`);
  if (error) parts.push(`${error.code}: ${error.message}`);
  return parts.filter((part) => part !== undefined).join(" ");
}

function printEntry(entry: LogEntry, flags: CommonFlags, parts: CliParts): void {
  if (flags.json) printLine(entry, parts);
  else parts.terminal.print(entryLine(entry));
}

/** One line each, also for people: whoever reads a stream reads lines. */
const printLine = (value: object, { terminal }: CliParts): void =>
  printJson(value, { print: (text) => terminal.print(text), tty: false });

function entryLine({ time, level, message, fields, attempt }: LogEntry): string {
  const rest = fields === undefined ? "" : ` ${JSON.stringify(fields)}`;
  return `${time?.toISOString() ?? ""} #${attempt} ${level.padEnd(5)} ${message}${rest}`;
}
