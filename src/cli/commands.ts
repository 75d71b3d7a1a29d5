import type { Command } from "commander";
import { addBatchCommands } from "./batch.js";
import { Exit, exitHelp } from "./exit.js";
import { printJson } from "./json.js";
import {
  callOptions,
  clientCommand,
  type CliParts,
  type CommonFlags,
  processParts,
  withClient,
} from "./parts.js";
import { addQueueCommands, statsFacts } from "./queue.js";
import { addScheduleCommands } from "./schedule.js";
import { printFacts } from "./table.js";
import { addTaskCommands } from "./task.js";
import { addWorkerCommands } from "./worker.js";

/** Every command that is a client of coordinators; call it after the other commands were added. */
export function addClientCommands(program: Command, parts: CliParts = processParts()): void {
  addTaskCommands(program, parts);
  addQueueCommands(program, parts);
  addScheduleCommands(program, parts);
  addBatchCommands(program, parts);
  addWorkerCommands(program, parts);
  addStats(program, parts);
  program.addHelpText("after", exitHelp);
  endWithUsage(program);
}

function addStats(program: Command, parts: CliParts): void {
  clientCommand(program, "stats", "number of tasks by status, and of workers")
    .option("-q, --queue <name>", "only this queue")
    .action((flags: CommonFlags & { queue?: string }) =>
      withClient(parts, flags, async (client) => {
        const only = flags.queue === undefined ? {} : { queue: flags.queue };
        const stats = await client.stats({ ...only, ...callOptions(flags) });
        const { terminal, clock } = parts;
        if (flags.json) printJson(stats, terminal);
        else printFacts(statsFacts(stats), { terminal, now: clock.now() });
      }),
    );
}

/** Commander ends with 1 for what it cannot parse; here 1 is taken. Help asked for is no error. */
function endWithUsage(command: Command): void {
  command.exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? Exit.ok : Exit.usage));
  for (const below of command.commands) endWithUsage(below);
}
