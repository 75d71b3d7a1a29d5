import type { Command } from "commander";
import type { PreviewedTick, Schedule, Tick } from "../client/index.js";
import { limits } from "../limits.js";
import { time, whole } from "./arguments.js";
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
import { addApply } from "./schedule-apply.js";
import { type Cell, type Column, printFacts, printRows } from "./table.js";

const timingOf = ({ cron, timeZone, everyMs, at }: Schedule): string => {
  if (cron !== undefined) return `${cron} ${timeZone ?? "UTC"}`;
  return everyMs === undefined ? `at ${at?.toISOString() ?? ""}` : `every ${showDuration(everyMs)}`;
};

const columns: readonly Column<Schedule>[] = [
  { title: "SCHEDULE", cell: ({ name }) => name, shrinks: true },
  { title: "WHEN", cell: timingOf, shrinks: true },
  { title: "TASK", cell: ({ task }) => task.type, shrinks: true },
  { title: "STATE", cell: stateOf },
  { title: "NEXT", cell: ({ nextTickAt }) => nextTickAt },
  { title: "LAST", cell: ({ lastTickAt }) => lastTickAt, optional: true },
  { title: "TAKEN", cell: ({ ticksTaken }) => ticksTaken, optional: true },
  { title: "SKIPPED", cell: ({ ticksSkipped }) => ticksSkipped, optional: true },
  { title: "MISSED", cell: ({ ticksMissed }) => ticksMissed, optional: true },
];

function stateOf({ paused, nextTickAt, ticksWaiting }: Schedule): string {
  if (paused) return "paused";
  return nextTickAt || ticksWaiting > 0 ? "open" : "over";
}

export function addScheduleCommands(program: Command, parts: CliParts): void {
  const schedule = program.command("schedule").description("tasks by the clock");
  addReads(schedule, parts);
  addApply(schedule, parts);
  addSteering(schedule, parts);
  addTicks(schedule, parts);
}

function addReads(schedule: Command, parts: CliParts): void {
  const { terminal, clock } = parts;
  clientCommand(schedule, "list", "all schedules, by name").action((flags: CommonFlags) =>
    withClient(parts, flags, async (client) => {
      const schedules: Schedule[] = [];
      for await (const each of client.schedules.list(callOptions(flags))) schedules.push(each);
      const options = { terminal, now: clock.now(), empty: "No schedules yet." };
      if (flags.json) printJson({ schedules }, terminal);
      else printRows(schedules, columns, options);
    }),
  );
  clientCommand(schedule, "get", "one schedule, how far it has come, and its latest ticks")
    .argument("<name>")
    .action((name: string, flags: CommonFlags) =>
      withClient(parts, flags, async (client) =>
        showSchedule(await client.schedules.get(name, callOptions(flags)), flags, parts),
      ),
    );
  clientCommand(schedule, "preview", "the next ticks, in UTC and in the schedule's zone")
    .argument("<name>")
    .option("-n, --count <n>", "how many", whole(1, limits.previewTicks), 5)
    .option("--after <time>", "after this time (default: now)", time)
    .action((name: string, flags: CommonFlags & { count: number; after?: Date }) =>
      withClient(parts, flags, async (client) => {
        const { count, after } = flags;
        const options = given({ count, after, ...callOptions(flags) });
        const ticks = await client.schedules.preview(name, options);
        if (flags.json) printJson({ ticks }, terminal);
        else printRows(ticks, previewColumns, { terminal, now: clock.now(), empty: "It is over." });
      }),
    );
}

const previewColumns: readonly Column<PreviewedTick>[] = [
  { title: "TICK", cell: ({ tickAt }) => tickAt.toISOString() },
  { title: "LOCAL", cell: ({ local }) => local },
];

const tickColumns: readonly Column<Tick>[] = [
  { title: "TICK", cell: ({ tickAt }) => tickAt.toISOString() },
  { title: "OUTCOME", cell: ({ outcome }) => outcome },
  { title: "CAUSE", cell: ({ cause }) => cause },
  { title: "TASK", cell: ({ taskId }) => taskId },
  { title: "ERROR", cell: ({ error }) => error, shrinks: true, optional: true },
];

function addSteering(schedule: Command, parts: CliParts): void {
  clientCommand(schedule, "delete", "its tasks live on")
    .argument("<name>")
    .action((name: string, flags: CommonFlags) =>
      withClient(parts, flags, async (client) => {
        await client.schedules.delete(name, callOptions(flags));
        if (flags.json) printJson({}, parts.terminal);
        else parts.terminal.print(`deleted ${name}`);
      }),
    );
  for (const verb of ["pause", "resume"] as const) {
    const what = verb === "pause" ? "no ticks until it is resumed" : "goes on with the next tick";
    clientCommand(schedule, verb, what)
      .argument("<name>")
      .option("--note <text>", "for people, e.g. why")
      .action((name: string, flags: CommonFlags & { note?: string }) =>
        withClient(parts, flags, async (client) => {
          const options = given({ note: flags.note, ...callOptions(flags) });
          showSchedule(await client.schedules[verb](name, options), flags, parts);
        }),
      );
  }
}

function addTicks(schedule: Command, parts: CliParts): void {
  clientCommand(schedule, "trigger", "one task now, paused or not; prints its id")
    .argument("<name>")
    .action((name: string, flags: CommonFlags) =>
      withClient(parts, flags, async (client) => {
        const { id, status } = await client.schedules.trigger(name, callOptions(flags));
        if (flags.json) printJson({ taskId: id, status }, parts.terminal);
        else parts.terminal.print(id);
      }),
    );
  clientCommand(schedule, "backfill", "takes the ticks of a past range that were not taken")
    .argument("<name>")
    .requiredOption("--start <time>", "first tick it may be, e.g. 2030-01-31T08:00:00Z", time)
    .requiredOption("--end <time>", "last tick it may be", time)
    .option("--in-line", "one task after the other, not all at once")
    .action((name: string, flags: CommonFlags & { start: Date; end: Date; inLine?: boolean }) =>
      withClient(parts, flags, async (client) => {
        const { start, end, inLine } = flags;
        const overlapPolicy = inLine ? ("buffer_all" as const) : ("allow_all" as const);
        const range = { start, end, overlapPolicy, ...callOptions(flags) };
        const filled = await client.schedules.backfill(name, range);
        if (flags.json) return printJson(filled, parts.terminal);
        for (const id of filled.taskIds) parts.terminal.print(id);
        const { taskIds, ticksWaiting, ticksExisting } = filled;
        const rest = `${ticksWaiting} wait, ${ticksExisting} were there`;
        parts.terminal.note(`drover: ${taskIds.length} taken, ${rest}`);
      }),
    );
}

function showSchedule(schedule: Schedule, flags: CommonFlags, parts: CliParts): void {
  const { terminal, clock } = parts;
  if (flags.json) return printJson(schedule, terminal);
  printFacts(scheduleFacts(schedule), { terminal, now: clock.now() });
  if (schedule.recentTicks.length === 0 || !terminal.tty) return;
  terminal.print("");
  printRows(schedule.recentTicks, tickColumns, { terminal, now: clock.now(), empty: "" });
}

function scheduleFacts(schedule: Schedule): (readonly [string, Cell])[] {
  const { task } = schedule;
  return [
    ["schedule", schedule.name],
    ["when", timingOf(schedule)],
    ["state", stateOf(schedule)],
    ["note", schedule.note],
    ["next tick", schedule.nextTickAt],
    ["last tick", schedule.lastTickAt],
    ["last task", schedule.lastTaskId],
    ["overlap", schedule.overlapPolicy],
    ["catch-up window", showDuration(schedule.catchUpWindowMs)],
    ["jitter", schedule.jitterMs > 0 ? showDuration(schedule.jitterMs) : undefined],
    ["task", task.type],
    ["queue", task.queue ?? "default"],
    ["payload", task.payload === undefined ? undefined : JSON.stringify(task.payload)],
    ["taken", schedule.ticksTaken],
    ["skipped", schedule.ticksSkipped],
    ["missed", schedule.ticksMissed],
    ["refused", schedule.ticksRefused],
    ["waiting", schedule.ticksWaiting],
    ["last error", schedule.lastError],
  ];
}
