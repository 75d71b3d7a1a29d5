import type { Command } from "commander";
import type { BulkOptions, BulkOutcome, Client, TaskFilter } from "../client/index.js";
import { DroverError } from "../errors.js";
import { readPayload, whole } from "./arguments.js";
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

interface BulkFlags extends CommonFlags, FilterFlags {
  readonly dryRun?: boolean;
  readonly yes?: boolean;
  readonly limit?: number;
  readonly payload?: string;
}

const limitMax = 1_000_000_000;

/** What is done to ended tasks: one by its id, or all of a filter. */
export function addEndedCommands(task: Command, parts: CliParts): void {
  bulkCommand(task, "retry [id]", "a new run of an ended task; or of all dead letters that fit")
    .option("--payload <json>", "with an id: a new task with this payload; @file, or -")
    .action((id: string | undefined, flags: BulkFlags) =>
      withClient(parts, flags, (client) =>
        id === undefined ? retryMany(client, flags, parts) : retryOne(client, id, flags, parts),
      ),
    );
  bulkCommand(task, "purge", "removes ended tasks that fit; --status says which").action(
    (flags: BulkFlags) =>
      withClient(parts, flags, (client) =>
        bulk("purged", flags, parts, (filter, options) => client.purgeMany(filter, options)),
      ),
  );
}

function bulkCommand(task: Command, usage: string, description: string): Command {
  return filterOptions(clientCommand(task, usage, description))
    .option("--dry-run", "only count them; so it is without --yes")
    .option("-y, --yes", "do it to all that fit")
    .option("-n, --limit <n>", "at most so many", whole(1, limitMax));
}

async function retryOne(
  client: Client,
  id: string,
  flags: BulkFlags,
  parts: CliParts,
): Promise<void> {
  if (Object.keys(filterOf(flags, parts)).length > 0) {
    throw new DroverError("invalid_field", "an id and a filter are given", {
      hint: "Give one of them.",
    });
  }
  const payload = await readPayload(flags.payload, parts.terminal);
  showTask(await client.retry(id, given({ payload, ...callOptions(flags) })), flags, parts);
}

function retryMany(client: Client, flags: BulkFlags, parts: CliParts): Promise<void> {
  if (flags.payload !== undefined) {
    throw new DroverError("invalid_field", "--payload is for one task", {
      hint: "Give the id of the task, or leave the payload out.",
    });
  }
  return bulk("retried", flags, parts, (filter, options) => client.retryMany(filter, options));
}

/** Nothing happens without --yes: the filter is shown to mean so many tasks. */
async function bulk(
  verb: "retried" | "purged",
  flags: BulkFlags,
  parts: CliParts,
  act: (filter: TaskFilter, options: BulkOptions) => Promise<BulkOutcome>,
): Promise<void> {
  const { terminal } = parts;
  const dryRun = flags.dryRun === true || flags.yes !== true;
  const options = given({ dryRun, limit: flags.limit, ...callOptions(flags) });
  const { matched, done, scanned } = await act(filterOf(flags, parts), options);
  if (flags.json) printJson({ matched, [verb]: done, scanned, dryRun }, terminal);
  else if (dryRun) terminal.print(`${matched} would be ${verb}`);
  else terminal.print(`${done} of ${matched} ${verb}`);
  if (dryRun && !flags.dryRun) terminal.note("drover: only counted; --yes does it");
}
