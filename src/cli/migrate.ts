import type { MigrationReport } from "../migrate.js";
import { Exit } from "./exit.js";
import { printJson } from "./json.js";
import type { CliParts } from "./parts.js";

/** `drover migrate`: what was applied; with `--check` exit code 1 when something is pending. */
export function showMigration(
  report: MigrationReport,
  { json }: { json?: boolean },
  { terminal }: CliParts,
): void {
  const { schema, applied, pending } = report;
  terminal.exitCode(pending.length > 0 ? Exit.notCompleted : Exit.ok);
  if (json) return printJson(report, terminal);
  for (const name of applied) terminal.print(`applied\t${name}`);
  for (const name of pending) terminal.print(`pending\t${name}`);
  if (pending.length > 0) terminal.note("`drover migrate` applies what is pending.");
  else if (applied.length === 0) terminal.print(`schema ${schema} is up to date`);
}
