import { inspect } from "node:util";
import type { AnyTasks } from "../transport/task-map.js";
import { type Names, unknownName } from "../transport/unknown-names.js";
import { invalid } from "./errors.js";
import { optionKinds } from "./option-kinds.js";
import type { NewTask, SubmitOptions } from "./surface.js";

const parts: Names<NewTask<AnyTasks>> = { type: true, payload: true, options: true };

/**
 * Throws a DroverClientError for an option of a submission that there is not, or that takes no such
 * value: without TypeScript nobody else says so in words of the caller.
 */
export function checkOptions(given: SubmitOptions): void {
  const unknown = unknownName(given, optionKinds);
  if (unknown) {
    const field = `options.${unknown.name}`;
    throw invalid("invalid_field", field, `${field}: there is no such option`, unknown.hint);
  }
  for (const name of Object.keys(given) as (keyof SubmitOptions)[]) {
    const value: unknown = given[name];
    // One of another name may be there, with no value.
    if (value === undefined || value === null) continue;
    const [words, is] = optionKinds[name];
    if (is(value)) continue;
    refuse(`options.${name}`, words, value);
  }
}

function refuse(field: string, words: string, value: unknown): never {
  const message = `${field}: expected ${words}, got ${shown(value)}`;
  throw invalid("invalid_field", field, message, "Mend the field named and submit it again.");
}

/** As a message shows it. */
export const shown = (value: unknown): string =>
  typeof value === "string" ? JSON.stringify(value) : inspect(value, { depth: 0 });

/** The same, of what stands beside the options of one of many. */
export function checkParts(task: NewTask<AnyTasks>): void {
  if (typeof task !== "object" || task === null) {
    refuse("task", "{ type, payload, options }", task);
  }
  for (const name in task) if (!Object.hasOwn(parts, name)) refusePart(task);
}

function refusePart(task: NewTask<AnyTasks>): void {
  const unknown = unknownName(task, parts);
  if (!unknown) return;
  const { name, hint } = unknown;
  const meant = Object.hasOwn(optionKinds, name) ? `Write options: { ${name}: ... }.` : hint;
  throw invalid("invalid_field", name, `${name}: no such part of a task to submit`, meant);
}
