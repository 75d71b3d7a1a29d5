import type { ExplainedSetting } from "../config.js";
import { printJson } from "./json.js";
import type { CliParts } from "./parts.js";
import { type Column, printRows } from "./table.js";

const columns: readonly Column<ExplainedSetting>[] = [
  { title: "SETTING", cell: ({ key }) => key },
  { title: "VALUE", cell: ({ value }) => value, shrinks: true },
  { title: "FROM", cell: ({ from }) => from, shrinks: true },
];

/** `drover config`. */
export function showConfig(
  settings: readonly ExplainedSetting[],
  { json }: { json?: boolean },
  { terminal, clock }: CliParts,
): void {
  if (json) printJson({ settings }, terminal);
  else printRows(settings, columns, { terminal, now: clock.now(), empty: "No settings." });
}
