import type { Command } from "commander";
import type { Client, Schedule } from "../client/index.js";
import { DroverError } from "../errors.js";
import { printJson } from "./json.js";
import {
  callOptions,
  clientCommand,
  type CliParts,
  type CommonFlags,
  withClient,
} from "./parts.js";
import { compareSchedules, type ScheduleChange } from "./schedule-diff.js";
import { readScheduleFile, type ScheduleFile } from "./schedule-file.js";

interface ApplyFlags extends CommonFlags {
  dryRun?: boolean;
  prune?: boolean;
}

/** A file of schedules may be so large. */
const fileBytes = 16 * 1024 * 1024;

export function addApply(schedule: Command, parts: CliParts): void {
  clientCommand(schedule, "apply", "makes the schedules be as a YAML file says; shows the changes")
    .argument("<file>", "YAML with schedules, or - for stdin")
    .option("--dry-run", "show the changes, make none")
    .option("--prune", "delete the schedules that the file does not name")
    .action(async (source: string, flags: ApplyFlags) => {
      const bytes = await parts.terminal.read(source, fileBytes);
      const name = source === "-" ? "stdin" : source;
      const file = readScheduleFile(name, bytes.toString("utf8"));
      if (flags.prune && file.schedules.length === 0) throw namesNone(name);
      await withClient(parts, flags, (client) => apply(client, file, flags, parts));
    });
}

/** What went wrong when the file was made would delete all there are. */
const namesNone = (name: string): DroverError =>
  new DroverError("invalid_field", `${name}: expected a schedule beside --prune, got none`, {
    hint: "It would delete all schedules. If that is meant, delete each by drover schedule delete.",
  });

async function apply(
  client: Client,
  file: ScheduleFile,
  flags: ApplyFlags,
  { terminal }: CliParts,
): Promise<void> {
  await judge(client, file, flags);
  const stored = new Map<string, Schedule>();
  for await (const each of client.schedules.list(callOptions(flags))) stored.set(each.name, each);
  const changes = planOf(file, stored, flags.prune ?? false);
  if (!flags.json)
    for (const change of changes) for (const line of shown(change)) terminal.print(line);
  if (!flags.dryRun) for (const change of changes) await make(client, change, file, stored, flags);
  const summary = countOf(changes);
  const dryRun = flags.dryRun ?? false;
  if (flags.json) {
    printJson({ dryRun, ...summary, changes: changes.map(asRest) }, terminal);
  } else {
    const { created, updated, deleted, unchanged } = summary;
    const left = `${deleted} deleted, ${unchanged} unchanged`;
    const said = `${created} created, ${updated} updated, ${left}`;
    terminal.print(dryRun ? `${said} (dry run: nothing was changed)` : said);
  }
}

/** Every schedule, before any is changed. */
async function judge(client: Client, file: ScheduleFile, flags: ApplyFlags): Promise<void> {
  const mistakes: string[] = [];
  for (const [index, each] of file.schedules.entries()) {
    try {
      await client.schedules.preview(each, { count: 1, ...callOptions(flags) });
    } catch (error) {
      if (!isRefusal(error)) throw error;
      mistakes.push(`${file.place(index, error.field)}${error.message}`);
    }
  }
  if (mistakes.length === 0) return;
  throw new DroverError("invalid_field", mistakes.join("\n"), {
    hint: "Mend the lines named; nothing was changed.",
  });
}

/** Of what was given; anything else is no matter of the file. */
const isRefusal = (error: unknown): error is Error & { readonly field: string | undefined } =>
  error instanceof Error &&
  "field" in error &&
  "id" in error &&
  ["invalid_field", "unsupported_field", "payload_too_large"].includes(String(error.id));

function planOf(
  file: ScheduleFile,
  stored: ReadonlyMap<string, Schedule>,
  prune: boolean,
): ScheduleChange[] {
  const wanted = new Set(file.schedules.map(({ name }) => name));
  const gone = prune ? [...stored.values()].filter(({ name }) => !wanted.has(name)) : [];
  return [
    ...file.schedules.map((each) => compareSchedules(stored.get(each.name), each)),
    ...gone.map((each) => compareSchedules(each, undefined)),
  ];
}

async function make(
  client: Client,
  { name, action }: ScheduleChange,
  file: ScheduleFile,
  stored: ReadonlyMap<string, Schedule>,
  flags: ApplyFlags,
): Promise<void> {
  const wanted = file.schedules.find((each) => each.name === name);
  const etag = stored.get(name)?.etag;
  const options = callOptions(flags);
  if (action === "create") await client.schedules.create(wanted!, options);
  if (action === "update") await client.schedules.update({ ...wanted!, etag: etag! }, options);
  if (action === "delete") await client.schedules.delete(name, { etag: etag!, ...options });
}

const marks = { create: "+", update: "~", delete: "-", none: "=" } as const;

function shown({ name, action, fields }: ScheduleChange): string[] {
  const head = `${marks[action]} ${name}`;
  if (action !== "update" && action !== "create") return [head];
  const lines = Object.entries(fields).map(([field, [before, after]]) =>
    action === "create"
      ? `    ${field}: ${after}`
      : `    ${field}: ${before ?? "(none)"} -> ${after ?? "(none)"}`,
  );
  return [head, ...lines];
}

const countOf = (changes: readonly ScheduleChange[]) => {
  const of = (action: ScheduleChange["action"]) =>
    changes.filter((change) => change.action === action).length;
  return {
    created: of("create"),
    updated: of("update"),
    deleted: of("delete"),
    unchanged: of("none"),
  };
};

const asRest = ({ name, action, fields }: ScheduleChange) => ({
  name,
  action,
  fields: Object.entries(fields).map(([field, [before, after]]) => ({
    field,
    before: before ?? "",
    after: after ?? "",
  })),
});
