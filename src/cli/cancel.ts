import { type Command, InvalidArgumentError } from "commander";
import { duration } from "./arguments.js";
import { filterOf, type FilterFlags, filterOptions } from "./filter.js";
import { printJson } from "./json.js";
import {
  callOptions,
  clientCommand,
  type CliParts,
  type CommonFlags,
  given,
  withClient,
} from "./parts.js";
import { showTask } from "./show-task.js";

interface CancelFlags extends CommonFlags, FilterFlags {
  readonly grace?: number;
  readonly reason?: string;
  readonly dryRun?: boolean;
  readonly yes?: boolean;
}

export function addCancel(task: Command, parts: CliParts): void {
  const command = clientCommand(
    task,
    "cancel",
    "a queued task never starts, a running one is asked to stop; one by its id, or all of a filter",
  ).argument("[id]", "one task; without it, those that the filter means");
  filterOptions(command)
    .option("--grace <duration>", "for a running handler to stop (default: 30s)", duration)
    .option("--reason <text>", "for people; kept in the task")
    .option("--dry-run", "with a filter: only count")
    .option("-y, --yes", "with a filter: do it")
    .action((id: string | undefined, flags: CancelFlags) =>
      id === undefined ? cancelMany(flags, parts) : cancelOne(id, flags, parts),
    );
}

const optionsOf = (flags: CancelFlags) =>
  given({ graceMs: flags.grace, reason: flags.reason, ...callOptions(flags) });

function cancelOne(id: string, flags: CancelFlags, parts: CliParts): Promise<void> {
  const filter = Object.keys(filterOf(flags, parts));
  if (filter.length > 0) throw usage("Give either an id or a filter, not both.");
  return withClient(parts, flags, async (client) =>
    showTask(await client.cancel(id, optionsOf(flags)), flags, parts),
  );
}

/** Without --yes nothing is cancelled: it says how many would be. */
function cancelMany(flags: CancelFlags, parts: CliParts): Promise<void> {
  const filter = filterOf(flags, parts);
  if (Object.keys(filter).length === 0) {
    throw usage("Give an id, or a filter such as --type send_email or --queue mail.");
  }
  const dryRun = flags.dryRun === true || flags.yes !== true;
  return withClient(parts, flags, async (client) => {
    const outcome = await client.cancelMany(filter, { ...optionsOf(flags), dryRun });
    if (flags.json) return printJson({ ...outcome, dryRun }, parts.terminal);
    const { matched, cancelled, requested, ended } = outcome;
    if (dryRun) {
      parts.terminal.print(`${matched} tasks would be cancelled`);
      if (!flags.dryRun) parts.terminal.note("drover: nothing was done; give --yes to do it");
      return;
    }
    const parted = `${requested} asked to stop, ${ended} had ended meanwhile`;
    parts.terminal.print(`${cancelled} cancelled, ${parted}`);
  });
}

const usage = (message: string): InvalidArgumentError => new InvalidArgumentError(message);
