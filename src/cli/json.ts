import type { Terminal } from "./terminal.js";

/**
 * The plain JSON style of REST: snake_case, lower-case enum words, RFC 3339 times, durations as
 * `"1.5s"`. What users gave themselves (payloads, results, labels) is left as it is.
 */
export function printJson(value: unknown, terminal: Pick<Terminal, "print" | "tty">): void {
  terminal.print(JSON.stringify(toRestJson(value), undefined, terminal.tty ? 2 : undefined));
}

/** Their keys, or all of what is inside, are the users'. */
const ofUsers = new Set([
  "payload",
  "result",
  "labels",
  "requiredLabels",
  "traceContext",
  "fields",
]);

/** Maps whose keys are the users', and whose values are not. */
const byKeysOfUsers = new Set(["types"]);

/** Text that REST writes as "" where there is none; for anything else it writes null. */
const texts = new Set([
  "workerId",
  "progressMessage",
  "groupKey",
  "idempotencyKey",
  "redrivenFrom",
  "batchId",
  "completeTaskId",
  "successTaskId",
  "failureTaskId",
  "stack",
]);
/** The SDK calls it so because its submits have a timeout of their own. */
const renamed: Readonly<Record<string, string>> = { attemptTimeoutMs: "timeoutMs" };

export function toRestJson(value: unknown): unknown {
  if (value === undefined) return null;
  if (value instanceof Date) return value.toISOString();
  if (typeof value === "bigint") return Number(value);
  if (Array.isArray(value)) return value.map(toRestJson);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => member(name, item)));
}

function member(given: string, item: unknown): readonly [string, unknown] {
  const name = renamed[given] ?? given;
  if (name.endsWith("Ms")) {
    return [snake(name.slice(0, -2)), typeof item === "number" ? `${item / 1000}s` : null];
  }
  if (item === undefined && texts.has(name)) return [snake(name), ""];
  if (byKeysOfUsers.has(name) && isMap(item)) {
    const entries = Object.entries(item).map(([key, value]) => [key, toRestJson(value)]);
    return [snake(name), Object.fromEntries(entries)];
  }
  if (!ofUsers.has(name)) return [snake(name), toRestJson(item)];
  return isContent(item) ? [`${snake(name)}_blob`, blobOf(item)] : [snake(name), item ?? null];
}

const isMap = (item: unknown): item is object =>
  typeof item === "object" && item !== null && !Array.isArray(item);

interface Content {
  readonly contentType: string;
  readonly data: Uint8Array;
}

const isContent = (item: unknown): item is Content =>
  typeof item === "object" && item !== null && "data" in item && item.data instanceof Uint8Array;

const blobOf = ({ contentType, data }: Content) => ({
  content_type: contentType,
  data: Buffer.from(data).toString("base64"),
});

const snake = (name: string): string => name.replace(/[A-Z]/g, (up) => `_${up.toLowerCase()}`);
