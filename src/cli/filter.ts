import { type Command, InvalidArgumentError } from "commander";
import type { TaskFilter, TaskStatus } from "../client/index.js";
import { status, time } from "./arguments.js";
import { parseDuration } from "./duration.js";
import { type CliParts, given } from "./parts.js";

/** A moment, or how long ago it was. */
type Moment = Date | number;

export interface FilterFlags {
  readonly status?: readonly TaskStatus[];
  readonly type?: string;
  readonly queue?: string;
  readonly tag?: string;
  readonly errorCode?: string;
  readonly text?: string;
  readonly since?: Moment;
  readonly until?: Moment;
  readonly batch?: string;
  readonly schedule?: string;
}

/** The options of every command that is for the tasks of a filter. */
export function filterOptions(command: Command): Command {
  return command
    .option("-s, --status <status>", "any of these, as a comma list", statuses)
    .option("-t, --type <type>", "only this type")
    .option("-q, --queue <name>", "only this queue")
    .option("--tag <tag>", "only tasks with this tag")
    .option("--error-code <code>", "only if the latest error has this code")
    .option("--text <text>", "only if this stands in the latest error")
    .option("--since <time>", "submitted since then: a time, or how long ago, e.g. 1h", moment)
    .option("--until <time>", "submitted before then: a time, or how long ago", moment)
    .option("--batch <id>", "only tasks of this batch")
    .option("--schedule <name>", "only tasks of this schedule");
}

export function filterOf(flags: FilterFlags, { clock }: Pick<CliParts, "clock">): TaskFilter {
  const at = (when: Moment | undefined): Date | undefined =>
    typeof when === "number" ? new Date(clock.now() - when) : when;
  return given({
    status: flags.status,
    type: flags.type,
    queue: flags.queue,
    tag: flags.tag,
    errorCode: flags.errorCode,
    createdAfter: at(flags.since),
    createdBefore: at(flags.until),
    batchId: flags.batch,
    schedule: flags.schedule,
    text: flags.text,
  });
}

const statuses = (text: string, before: readonly TaskStatus[] = []): readonly TaskStatus[] => [
  ...before,
  ...text.split(",").map((word) => status(word.trim())),
];

function moment(text: string): Moment {
  const ago = parseDuration(text);
  if (ago !== undefined) return ago;
  try {
    return time(text);
  } catch {
    throw new InvalidArgumentError(
      "Expected how long ago (1h, 2d), or a time with its zone (2030-01-31T08:00:00Z).",
    );
  }
}
