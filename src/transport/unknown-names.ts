import { nearest } from "../nearest.js";

export type Names<Of extends object> = Readonly<Record<keyof Of, true>>;

/** A name that stands for nothing, and how to mend it. */
export interface UnknownName {
  readonly name: string;
  readonly hint: string;
}

/**
 * The first name in what a caller gave that is not known; undefined: all are. Only TypeScript tells
 * of a misspelt one by itself: without it, say, a task whose delay is misspelt would run at once.
 */
export function unknownName(
  given: object,
  known: Readonly<Record<string, unknown>>,
): UnknownName | undefined {
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined || Object.hasOwn(known, name)) continue;
    const names = Object.keys(known);
    const near = nearest(name, names);
    return { name, hint: near ? `Did you mean ${near}?` : `Known are ${names.join(", ")}.` };
  }
  return undefined;
}

/** Throws a TypeError for a name that is not known. `where`: the call that got it. */
export function refuseUnknown(
  where: string,
  given: object,
  known: Readonly<Record<string, true>>,
): void {
  if (typeof given !== "object" || given === null) {
    throw new TypeError(`${where}: expected an object of options, got ${String(given)}`);
  }
  const unknown = unknownName(given, known);
  if (!unknown) return;
  const { name, hint } = unknown;
  throw new TypeError(`${where}: expected only known options, got ${name}. ${hint}`);
}
