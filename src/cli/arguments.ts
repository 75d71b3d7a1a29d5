import { InvalidArgumentError } from "commander";
import { priorities, type Priority, taskStatuses, type TaskStatus } from "../client/index.js";
import { DroverError } from "../errors.js";
import { limits } from "../limits.js";
import { parseDuration } from "./duration.js";
import type { Terminal } from "./terminal.js";

/** What people type, judged where it is typed. The rules themselves are the coordinator's. */

export const priorityNames = Object.keys(priorities);

/** Milliseconds. */
export function duration(text: string): number {
  const ms = parseDuration(text);
  if (ms === undefined) {
    throw new InvalidArgumentError("Expected a duration such as 500ms, 30s, 5m, 1h30m or 7d.");
  }
  return ms;
}

const rfc3339 = /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:\d\d)$/;

/** A time with its zone: without one, it would mean another moment on another machine. */
export function time(text: string): Date {
  const date = new Date(text);
  if (rfc3339.test(text) && !Number.isNaN(date.getTime())) return date;
  throw new InvalidArgumentError("Expected a time with its zone, such as 2030-01-31T08:00:00Z.");
}

/** A time with its zone, or a duration from now in milliseconds. */
export function timeOrIn(text: string): Date | number {
  const ms = parseDuration(text);
  if (ms !== undefined) return ms;
  const date = new Date(text);
  if (rfc3339.test(text) && !Number.isNaN(date.getTime())) return date;
  throw new InvalidArgumentError(
    "Expected a time with its zone, such as 2030-01-31T08:00:00Z, or a duration from now.",
  );
}

/** Its number: 0 low to 3 critical. */
export function priority(text: string): Priority {
  for (const [name, level] of Object.entries(priorities)) {
    if (text.toLowerCase() === name || text === String(level)) return level;
  }
  throw new InvalidArgumentError(`Expected ${priorityNames.join(", ")}, or 0 to 3.`);
}

export function status(text: string): TaskStatus {
  const known = taskStatuses.find((name) => name === text.toLowerCase());
  if (known) return known;
  throw new InvalidArgumentError(`Expected one of ${taskStatuses.join(", ")}.`);
}

/** Parser of a whole number between two bounds, both allowed. */
export function whole(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= least && value <= most) return value;
    throw new InvalidArgumentError(`Expected a whole number of ${least} to ${most}.`);
  };
}

export function decimal(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() !== "" && value >= least && value <= most) return value;
    throw new InvalidArgumentError(`Expected a number of ${least} to ${most}.`);
  };
}

/** Collects `--label k=v` given several times. */
export function label(
  text: string,
  before: Readonly<Record<string, string>> = {},
): Readonly<Record<string, string>> {
  const at = text.indexOf("=");
  if (at < 1 || at === text.length - 1) {
    throw new InvalidArgumentError("Expected name=value, such as region=eu.");
  }
  return { ...before, [text.slice(0, at)]: text.slice(at + 1) };
}

/** Collects an option given several times. */
export const several = (text: string, before: readonly string[] = []): readonly string[] => [
  ...before,
  text,
];

const utf8 = new TextDecoder("utf-8", { fatal: true });

/**
 * The payload of a task: JSON as typed, `@file`, or `-` for stdin. It travels as the bytes given,
 * so that integers beyond 2^53 are not rounded here.
 */
export async function readPayload(
  text: string | undefined,
  terminal: Pick<Terminal, "read">,
): Promise<{ contentType: string; data: Uint8Array } | undefined> {
  if (text === undefined) return undefined;
  const bytes = await payloadBytes(text, terminal);
  if (bytes.length > limits.payloadBytes) {
    const message = `the payload is over ${limits.payloadBytes} bytes`;
    throw new DroverError("payload_too_large", message, { field: "task.payload" });
  }
  try {
    JSON.parse(utf8.decode(bytes));
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    const hint = `Give JSON in quotes of the shell ('{"to":"a@b.c"}'), @file, or - for stdin.`;
    const details = { field: "task.payload", hint, cause };
    throw new DroverError("invalid_field", `task.payload: no JSON: ${why}`, details);
  }
  return { contentType: "application/json", data: bytes };
}

async function payloadBytes(text: string, terminal: Pick<Terminal, "read">): Promise<Buffer> {
  if (text === "-") return await terminal.read("-", limits.payloadBytes);
  if (text.startsWith("@")) return await terminal.read(text.slice(1), limits.payloadBytes);
  return Buffer.from(text, "utf8");
}
