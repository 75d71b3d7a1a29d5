import type { Command } from "commander";
import { DroverError } from "../errors.js";
import { duration } from "./arguments.js";
import { bulk, bulkCommand, type BulkFlags, requireNoFilter } from "./bulk.js";
import { filterOf } from "./filter.js";
import { callOptions, type CliParts, given, withClient } from "./parts.js";
import { showTask } from "./show-task.js";

interface CancelFlags extends BulkFlags {
  readonly grace?: number;
  readonly reason?: string;
}

export function addCancel(task: Command, parts: CliParts): void {
  bulkCommand(
    task,
    "cancel [id]",
    "a queued task never starts, a running one is asked to stop; one, or all that fit",
  )
    .option("--grace <duration>", "for a running handler to stop (default: 30s)", duration)
    .option("--reason <text>", "for people; kept in the task")
    .action((id: string | undefined, flags: CancelFlags) =>
      id === undefined ? cancelMany(flags, parts) : cancelOne(id, flags, parts),
    );
}

const termsOf = ({ grace, reason }: CancelFlags) => given({ graceMs: grace, reason });

function cancelOne(id: string, flags: CancelFlags, parts: CliParts): Promise<void> {
  requireNoFilter(flags, parts);
  const options = { ...termsOf(flags), ...callOptions(flags) };
  return withClient(parts, flags, async (client) =>
    showTask(await client.cancel(id, options), flags, parts),
  );
}

/** Without a filter it would mean every task: too easily said. */
function cancelMany(flags: CancelFlags, parts: CliParts): Promise<void> {
  if (Object.keys(filterOf(flags, parts)).length === 0) {
    throw new DroverError("invalid_field", "neither an id nor a filter is given", {
      hint: "Give an id, or a filter such as --type send_email or --queue mail.",
    });
  }
  return withClient(parts, flags, (client) =>
    bulk(
      "cancelled",
      flags,
      parts,
      async (filter, plan) => {
        const outcome = await client.cancelMany(filter, { ...plan, ...termsOf(flags) });
        const { matched, cancelled, requested, ended, scanned } = outcome;
        return { matched, cancelled, requested, ended, scanned };
      },
      ({ requested, ended }) => `, ${requested} asked to stop, ${ended} had ended meanwhile`,
    ),
  );
}
