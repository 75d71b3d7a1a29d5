import type { Command } from "commander";
import type { BulkOutcome, CallOptions, Client, TaskFilter } from "../client/index.js";
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

/** Of every command for all tasks of a filter. */
export interface BulkFlags extends CommonFlags, FilterFlags {
  readonly dryRun?: boolean;
  readonly yes?: boolean;
  readonly limit?: number;
}

interface RetryFlags extends BulkFlags {
  readonly payload?: string;
}

const limitMax = 1_000_000_000;

/** What is done to ended tasks: one by its id, or all of a filter. */
export function addEndedCommands(task: Command, parts: CliParts): void {
  bulkCommand(task, "retry [id]", "a new run of an ended task; or of all dead letters that fit")
    .option("--payload <json>", "with an id: a new task with this payload; @file, or -")
    .action((id: string | undefined, flags: RetryFlags) =>
      withClient(parts, flags, (client) =>
        id === undefined ? retryMany(client, flags, parts) : retryOne(client, id, flags, parts),
      ),
    );
  bulkCommand(task, "purge", "removes ended tasks that fit; --status says which").action(
    (flags: BulkFlags) =>
      withClient(parts, flags, (client) =>
        bulk("purged", flags, parts, async (filter, options) =>
          doneOf("purged", await client.purgeMany(filter, options)),
        ),
      ),
  );
}

export function bulkCommand(task: Command, usage: string, description: string): Command {
  return filterOptions(clientCommand(task, usage, description))
    .option("--dry-run", "only count them; so it is without --yes")
    .option("-y, --yes", "do it to all that fit")
    .option("-n, --limit <n>", "at most so many", whole(1, limitMax));
}

async function retryOne(
  client: Client,
  id: string,
  flags: RetryFlags,
  parts: CliParts,
): Promise<void> {
  requireNoFilter(flags, parts);
  const payload = await readPayload(flags.payload, parts.terminal);
  showTask(await client.retry(id, given({ payload, ...callOptions(flags) })), flags, parts);
}

/** Of a command that was given one task. */
export function requireNoFilter(flags: BulkFlags, parts: CliParts): void {
  if (Object.keys(filterOf(flags, parts)).length === 0) return;
  throw new DroverError("invalid_field", "an id and a filter are given", {
    hint: "Give one of them.",
  });
}

function retryMany(client: Client, flags: RetryFlags, parts: CliParts): Promise<void> {
  if (flags.payload !== undefined) {
    throw new DroverError("invalid_field", "--payload is for one task", {
      hint: "Give the id of the task, or leave the payload out.",
    });
  }
  return bulk("retried", flags, parts, async (filter, options) =>
    doneOf("retried", await client.retryMany(filter, options)),
  );
}

const doneOf = (verb: "retried" | "purged", { matched, done, scanned }: BulkOutcome) => ({
  matched,
  [verb]: done,
  scanned,
});

export interface BulkPlan extends CallOptions {
  readonly dryRun: boolean;
  readonly limit?: number;
}

/** Nothing happens without --yes: the filter is shown to mean so many tasks. */
export async function bulk<Outcome extends { readonly matched: number }>(
  verb: "retried" | "purged" | "cancelled",
  flags: BulkFlags,
  parts: CliParts,
  act: (
    filter: TaskFilter,
    plan: BulkPlan,
  ) => Promise<Outcome & { readonly [name: string]: number }>,
  more: (outcome: Outcome) => string = () => "",
): Promise<void> {
  const { terminal } = parts;
  const dryRun = flags.dryRun === true || flags.yes !== true;
  const plan = given({ dryRun, limit: flags.limit, ...callOptions(flags) });
  const outcome = await act(filterOf(flags, parts), plan);
  const { matched } = outcome;
  if (flags.json) printJson({ ...outcome, dryRun }, terminal);
  else if (dryRun) terminal.print(`${matched} would be ${verb}`);
  else terminal.print(`${outcome[verb]} of ${matched} ${verb}${more(outcome)}`);
  if (dryRun && !flags.dryRun) terminal.note("drover: only counted; --yes does it");
}
