import type { Check } from "../doctor/check.js";
import type { DoctorReport } from "../doctor/doctor.js";
import { Exit } from "./exit.js";
import { printJson } from "./json.js";
import type { CliParts } from "./parts.js";
import { inkOf } from "./table.js";

const exits = { ok: Exit.ok, broken: Exit.notCompleted, unreachable: Exit.unavailable } as const;

/** `drover doctor`: a line a check, and under what is not well how to mend it. */
export function showDoctor(
  { checks, verdict }: DoctorReport,
  { json }: { json?: boolean },
  { terminal }: CliParts,
): void {
  terminal.exitCode(exits[verdict]);
  if (json) return printJson({ verdict, checks: checks.map(whole) }, terminal);
  const ink = inkOf(terminal);
  const labels = { ok: ink.green("ok  "), warn: ink.yellow("warn"), fail: ink.red("FAIL") };
  const width = Math.max(...checks.map((check) => placeOf(check).length));
  for (const check of checks) {
    const { level, says, mend, breaks } = check;
    const promise = breaks === undefined ? "" : ` [${breaks} does not hold]`;
    terminal.print(`${labels[level]}  ${placeOf(check).padEnd(width)}  ${says}${promise}`);
    if (mend !== undefined) terminal.print(`      ${" ".repeat(width)}  -> ${mend}`);
  }
}

const placeOf = ({ subject, name }: Check): string => `${subject} ${name}`;

const whole = ({ subject, name, level, says, mend = "", breaks = "" }: Check) => ({
  subject,
  name,
  level,
  says,
  mend,
  breaks,
});
